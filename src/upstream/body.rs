//! An answer's body, read chunk by chunk.

use super::error::root;
use super::link::Link;
use super::pool::Pool;
use super::{UpstreamError, millis};
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::timeout;

/// The body of an [`Answer`](super::Answer). Dropped before its end, it closes the connection.
#[derive(Debug)]
pub struct AnswerBody {
    state: State,
    /// Bytes read so far.
    received: u64,
    upstream: String,
    chunk: Duration,
    pool: Rc<Pool>,
}

#[derive(Debug)]
enum State {
    Open(Box<Flow>),
    Ended,
    Failed(UpstreamError),
}

#[derive(Debug)]
struct Flow {
    incoming: Incoming,
    link: Link,
}

impl AnswerBody {
    pub(super) fn new(incoming: Incoming, link: Link, upstream: String, chunk: Duration, pool: &Rc<Pool>) -> Self {
        let state = State::Open(Box::new(Flow { incoming, link }));
        let mut body = AnswerBody { state, received: 0, upstream, chunk, pool: Rc::clone(pool) };
        body.release_at_end();
        body
    }

    /// The next bytes, at most 64 KiB; `None` at a clean end. May be cancelled without losing any.
    ///
    /// # Errors
    /// [`UpstreamError::Cut`] and [`UpstreamError::ChunkTimeout`]; every later call gives the same error.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        let flow = match &mut self.state {
            State::Open(flow) => flow,
            State::Ended => return Ok(None),
            State::Failed(e) => return Err(e.clone()),
        };
        let error = match timeout(self.chunk, poll_fn(|cx| flow.poll_data(cx))).await {
            Ok(Some(Ok(bytes))) => {
                self.received += bytes.len() as u64;
                self.release_at_end();
                return Ok(Some(bytes));
            }
            Ok(None) => {
                self.release();
                return Ok(None);
            }
            Ok(Some(Err(e))) => {
                UpstreamError::Cut { upstream: self.upstream.clone(), received: self.received, reason: root(&e) }
            }
            Err(_) => UpstreamError::ChunkTimeout { upstream: self.upstream.clone(), ms: millis(self.chunk) },
        };
        self.state = State::Failed(error.clone());
        Err(error)
    }

    /// Whether the body is known to be complete: [`AnswerBody::chunk`] would give `None` without waiting. A body whose
    /// length was told is at its end with its last chunk, any other only once `None` was seen.
    pub fn at_end(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn release_at_end(&mut self) {
        if matches!(&self.state, State::Open(flow) if flow.incoming.is_end_stream()) {
            self.release();
        }
    }

    fn release(&mut self) {
        if let State::Open(flow) = std::mem::replace(&mut self.state, State::Ended) {
            self.pool.put(flow.link);
        }
    }
}

impl Flow {
    /// The next data, driving the connection meanwhile.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        let mut driven = false;
        loop {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => return Poll::Ready(Some(Ok(bytes))),
                    _ => {} // trailers do not go on
                },
                Poll::Ready(Some(Err(e))) => return Poll::Ready(Some(Err(e))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending if driven => return Poll::Pending,
                Poll::Pending => {
                    self.link.drive(cx);
                    driven = true;
                }
            }
        }
    }
}
