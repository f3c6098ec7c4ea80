//! What a connection knows of its requests, and of the answers that go out on it.
//!
//! An answer that breaks off does so only once all that came before is on its way: hyper closes a connection whose body
//! fails without sending what it has still buffered. And a connection is idle only once its last answer is on its way.

use crate::body::{Body, Broken};
use crate::server::Protocol;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How far a connection is, and how often all that was written to it had been handed to the system.
#[derive(Debug, Default)]
pub struct Flushes {
    count: Cell<u64>,
    waiting: RefCell<Option<Waker>>,
    stage: Cell<Stage>,
    /// How often the stage changed, or the client took a part of an answer.
    steps: Cell<u64>,
    /// The client takes no more of its answer for now.
    stalled: Cell<bool>,
    /// The number of flushes when the last answer ended, if there was one.
    ended_at: Cell<Option<u64>>,
    /// What the client speaks, once it has said a word.
    spoken: Cell<Option<Protocol>>,
}

/// How far a connection is with a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Nothing of one has come.
    #[default]
    Quiet,
    /// A part of its head has come.
    Head,
    /// Its head has come, its body is awaited.
    Body,
    /// All has come that is read of it; it is being answered.
    Answer,
}

impl Flushes {
    /// A request's head has come.
    pub fn begin(&self) {
        self.enter(Stage::Body);
    }

    /// All has come that is going to be read of the request.
    pub fn arrived(&self) {
        self.enter(Stage::Answer);
    }

    fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        self.step();
    }

    fn step(&self) {
        self.steps.set(self.steps.get() + 1);
    }

    /// How far it is.
    pub fn stage(&self) -> Stage {
        match self.stage.get() {
            Stage::Quiet if !self.sent() => Stage::Answer,
            stage => stage,
        }
    }

    /// Whether all answers so far are on their way.
    fn sent(&self) -> bool {
        self.ended_at.get().is_none_or(|at| self.count.get() > at)
    }

    /// A number that changes with everything that gets on.
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// Whether the client takes no more of its answer for now.
    pub fn stalled(&self) -> bool {
        self.stalled.get()
    }

    /// Whether the last answer is on its way, and nothing of a request has come since.
    pub fn idle(&self) -> bool {
        self.stage() == Stage::Quiet && self.ended_at.get().is_some()
    }

    /// Whether no request was asked that is not answered: none has come, or not all of one.
    pub fn unasked(&self) -> bool {
        self.stage.get() != Stage::Answer && self.sent()
    }

    /// What the client speaks, once it has said a word.
    pub fn spoken(&self) -> Option<Protocol> {
        self.spoken.get()
    }

    fn heard(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.stage.get() == Stage::Quiet {
            self.enter(Stage::Head);
        }
        if self.spoken.get().is_none() {
            self.spoken.set(Some(Protocol::of(bytes)));
        }
    }

    fn took(&self, written: &Poll<io::Result<usize>>) {
        self.stalled.set(written.is_pending());
        if written.is_ready() {
            self.step();
        }
    }
}

/// A connection that counts its flushes.
#[derive(Debug)]
pub struct Flushing {
    /// The connection.
    pub stream: TcpStream,
    /// What was read of it before.
    pub early: Bytes,
    /// Shared with the bodies that are sent on it.
    pub flushes: Rc<Flushes>,
}

/// A body that waits for a flush before it fails.
#[derive(Debug)]
pub struct Orderly {
    body: Body,
    flushes: Rc<Flushes>,
    /// It is going to fail after this many flushes.
    breaks_after: Option<u64>,
}

impl Orderly {
    /// A body that is sent on this connection.
    pub fn new(body: Body, flushes: Rc<Flushes>) -> Self {
        Orderly { body, flushes, breaks_after: None }
    }
}

impl Drop for Orderly {
    fn drop(&mut self) {
        self.flushes.enter(Stage::Quiet);
        self.flushes.ended_at.set(Some(self.flushes.count.get()));
    }
}

impl HttpBody for Orderly {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let count = self.flushes.count.get();
        let after = match self.breaks_after {
            Some(after) => after,
            None => match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Err(Broken)) => *self.breaks_after.insert(count),
                next => return Poll::Ready(next),
            },
        };
        if count > after {
            return Poll::Ready(Some(Err(Broken)));
        }
        *self.flushes.waiting.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.breaks_after.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl AsyncRead for Flushing {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let len = self.early.len().min(buf.remaining());
            let early = self.early.split_to(len);
            self.flushes.heard(&early);
            buf.put_slice(&early);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.flushes.heard(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flushing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.flushes.took(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.flushes.took(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.flushes.count.set(self.flushes.count.get() + 1);
        if let Some(waiting) = self.flushes.waiting.take() {
            waiting.wake();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
