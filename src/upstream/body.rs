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
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Longer than any server runs: a limit beyond it is none.
const MAX_WAIT: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The body of an [`Answer`](super::Answer). Dropped before its end, it closes the connection.
#[derive(Debug)]
pub struct AnswerBody {
    state: State,
    /// Bytes read so far.
    received: u64,
    upstream: String,
    patience: Patience,
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
        let patience = Patience { limit: chunk.min(MAX_WAIT), due: None, timer: None };
        let mut body = AnswerBody { state, received: 0, upstream, patience, pool: Rc::clone(pool) };
        body.release_at_end();
        body
    }

    /// The next bytes, at most 64 KiB; `None` at a clean end. May be cancelled without losing any.
    ///
    /// # Errors
    /// [`UpstreamError::Cut`] and [`UpstreamError::ChunkTimeout`]; every later call gives the same error.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// As [`AnswerBody::chunk`].
    ///
    /// # Errors
    /// As [`AnswerBody::chunk`].
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, UpstreamError>> {
        let flow = match &mut self.state {
            State::Open(flow) => flow,
            State::Ended => return Poll::Ready(Ok(None)),
            State::Failed(e) => return Poll::Ready(Err(e.clone())),
        };
        let error = match flow.poll_data(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                self.received += bytes.len() as u64;
                self.patience.due = None;
                self.release_at_end();
                return Poll::Ready(Ok(Some(bytes)));
            }
            Poll::Ready(None) => {
                self.release();
                return Poll::Ready(Ok(None));
            }
            Poll::Ready(Some(Err(e))) => {
                UpstreamError::Cut { upstream: self.upstream.clone(), received: self.received, reason: root(&e) }
            }
            Poll::Pending => {
                ready!(self.patience.poll_over(cx));
                UpstreamError::ChunkTimeout { upstream: self.upstream.clone(), ms: millis(self.patience.limit) }
            }
        };
        self.state = State::Failed(error.clone());
        Poll::Ready(Err(error))
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

/// How long a chunk is waited for. One timer serves all of them: it is set anew where it goes off too early.
#[derive(Debug)]
struct Patience {
    limit: Duration,
    /// When the wait that is under way is over.
    due: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = *self.due.get_or_insert_with(|| Instant::now() + self.limit);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
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
