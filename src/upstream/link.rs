//! One HTTP/1.1 connection, driven by whoever waits for its answer.

use super::connect::Stream;
use super::{BaseUrl, UpstreamError, name};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of an answer's head.
pub(super) const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Bytes of one read.
const MAX_READ_BYTES: usize = 64 * 1024;

/// Headers of an answer.
pub(super) const MAX_HEADERS: usize = 512;

/// A connection to one upstream.
pub(super) struct Link {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once the connection is closed.
    driver: Option<Connection<TokioIo<Watched>, Full<Bytes>>>,
    traffic: Rc<Traffic>,
    tls: bool,
    host: String,
    port: u16,
}

impl Link {
    pub(super) async fn new(stream: Stream, base: &BaseUrl) -> Result<Link, UpstreamError> {
        let traffic = Rc::<Traffic>::default();
        let io = TokioIo::new(Watched { stream, traffic: Rc::clone(&traffic) });
        let handshake = Builder::new()
            .max_buf_size(MAX_READ_BYTES)
            .max_header_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .handshake(io)
            .await;
        let (sender, driver) = handshake.map_err(|e| UpstreamError::before_head(name(base), &e))?;
        Ok(Link { sender, driver: Some(driver), traffic, tls: base.tls, host: base.host.clone(), port: base.port })
    }

    /// Sends a request and waits for the answer's head.
    pub(super) async fn ask(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, hyper::Error> {
        self.traffic.sent.set(false);
        self.traffic.heard.set(false);
        let mut answer = pin!(self.sender.send_request(request));
        poll_fn(|cx| {
            drive(&mut self.driver, cx);
            answer.as_mut().poll(cx)
        })
        .await
    }

    /// Whether any byte of the last request was written: it may have reached the upstream.
    pub(super) fn sent(&self) -> bool {
        self.traffic.sent.get()
    }

    /// Whether any byte came since the last request was sent.
    pub(super) fn heard(&self) -> bool {
        self.traffic.heard.get()
    }

    /// Moves bytes in both directions as far as it goes without waiting.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.driver, cx);
    }

    /// Whether the connection is open and done with its last request.
    pub(super) fn is_idle(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Whether it leads to this upstream. A proxy in between is a matter of the upstream alone.
    pub(super) fn leads_to(&self, base: &BaseUrl) -> bool {
        self.tls == base.tls && self.port == base.port && self.host == base.host
    }

    /// Whether both lead to the same upstream.
    pub(super) fn is_like(&self, other: &Link) -> bool {
        self.tls == other.tls && self.port == other.port && self.host == other.host
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

/// A driver that ends has told its error to the answer or the body, which are read next.
fn drive<F: Future + Unpin>(driver: &mut Option<F>, cx: &mut Context<'_>) {
    if driver.as_mut().is_some_and(|d| Pin::new(d).poll(cx).is_ready()) {
        *driver = None;
    }
}

/// What went over a connection since its last request began.
#[derive(Debug, Default)]
struct Traffic {
    sent: Cell<bool>,
    heard: Cell<bool>,
}

/// A stream that notes what goes over it.
struct Watched {
    stream: Stream,
    traffic: Rc<Traffic>,
}

impl Watched {
    fn note_sent(&self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.traffic.sent.set(true);
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.traffic.heard.set(true);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note_sent(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note_sent(&written);
        written
    }
}
