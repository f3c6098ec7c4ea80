//! The bodies that the server sends: at once, paced, or as an upstream's chunks come in.

use crate::relay::Relayed;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// A body of the server's own or of an upstream.
#[derive(Debug)]
pub enum Body {
    /// All of it, with its length known.
    Whole(Option<Bytes>),
    /// All of it, sent as a stream without a length.
    Stream(Option<Bytes>),
    /// Pieces with delays between them.
    Paced(Box<Paced>),
    /// An upstream's chunks as they come.
    Relayed(Relayed),
}

/// The answer breaks off: the connection is closed without a clean end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer breaks off")
    }
}

impl std::error::Error for Broken {}

/// Pieces of a body with delays before them.
#[derive(Debug)]
pub struct Paced {
    pieces: VecDeque<(Duration, Bytes)>,
    /// When the next piece is due.
    timer: Option<Pin<Box<Sleep>>>,
    /// When the connection breaks, whatever is left.
    deadline: Option<Pin<Box<Sleep>>>,
    /// The connection breaks after the last piece.
    breaks_off: bool,
    /// Bytes of a body that has a length.
    len: Option<u64>,
}

impl Paced {
    /// Pieces, each with the delay before it. `breaks_off`: no clean end; `break_after`: none after this time.
    pub fn new(
        pieces: impl IntoIterator<Item = (Duration, Bytes)>,
        breaks_off: bool,
        break_after: Option<Duration>,
        len: Option<u64>,
    ) -> Self {
        let deadline = break_after.map(|after| Box::pin(sleep_until(Instant::now() + after)));
        Paced { pieces: pieces.into_iter().collect(), timer: None, deadline, breaks_off, len }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            self.pieces.clear();
            self.breaks_off = false;
            return Poll::Ready(Some(Err(Broken)));
        }
        let Some((delay, _)) = self.pieces.front() else {
            let broken = std::mem::take(&mut self.breaks_off);
            return Poll::Ready(broken.then_some(Err(Broken)));
        };
        if !delay.is_zero() {
            let delay = *delay;
            ready!(self.timer.get_or_insert_with(|| Box::pin(sleep(delay))).as_mut().poll(cx));
            self.timer = None;
        }
        Poll::Ready(self.pieces.pop_front().map(|(_, bytes)| Ok(bytes)))
    }
}

impl Body {
    /// A body with a length.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Body::Whole(Some(bytes.into()))
    }

    /// No body.
    pub fn empty() -> Self {
        Body::Whole(None)
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let next = match &mut *self {
            Body::Whole(bytes) | Body::Stream(bytes) => bytes.take().map(Ok),
            Body::Paced(paced) => ready!(paced.poll(cx)),
            Body::Relayed(relayed) => ready!(relayed.poll(cx)),
        };
        Poll::Ready(next.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(bytes) | Body::Stream(bytes) => bytes.is_none(),
            Body::Paced(paced) => paced.pieces.is_empty() && !paced.breaks_off && paced.deadline.is_none(),
            Body::Relayed(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let len = match self {
            Body::Whole(bytes) => Some(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Body::Paced(paced) => paced.len,
            Body::Relayed(relayed) => relayed.len,
            Body::Stream(_) => None,
        };
        len.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
