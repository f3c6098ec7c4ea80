//! What a connection knows of the answers that go out on it.
//!
//! An answer that breaks off does so only once all that came before is on its way: hyper closes a connection whose body
//! fails without sending what it has still buffered. And a connection is idle only once its last answer is on its way.

use crate::body::{Body, Broken};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How often all that was written to a connection had been handed to the system.
#[derive(Debug, Default)]
pub struct Flushes {
    count: Cell<u64>,
    waiting: RefCell<Option<Waker>>,
    /// A request is awaited or being answered.
    answering: Cell<bool>,
    /// The number of flushes when the last answer ended.
    ended_at: Cell<u64>,
}

impl Flushes {
    /// A request has come, or is about to.
    pub fn begin(&self) {
        self.answering.set(true);
    }

    /// Whether the last answer is on its way, and no request has come since.
    pub fn idle(&self) -> bool {
        !self.answering.get() && self.count.get() > self.ended_at.get()
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
        self.flushes.answering.set(false);
        self.flushes.ended_at.set(self.flushes.count.get());
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
            buf.put_slice(&self.early.split_to(len));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Flushing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
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
