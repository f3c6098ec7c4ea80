//! A request's body on its way in: within its limits of time and memory, and not larger in memory than on the wire.

use crate::app::App;
use crate::limits::MIN_BODY_PACE;
use crate::reply::ErrorAnswer;
use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

/// Room that is made for a body's declared length at once; for a longer one it is made as it comes.
const MAX_AHEAD_BYTES: usize = 1024 * 1024;

/// Seconds after which a client that found no room may ask again.
pub(super) const RETRY_AFTER_SECONDS: u64 = 1;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// The client went away.
    Gone,
    /// It is longer than `--max-body-bytes`.
    TooLarge,
    /// It does not come, or drips.
    TooSlow,
    /// With all others in flight it would take too much memory.
    NoRoom,
}

impl Unread {
    /// What the client is told.
    pub(super) fn error(self, app: &App) -> ErrorAnswer {
        let (status, code, message) = match self {
            Unread::TooLarge => {
                let most = app.config.max_body_bytes;
                let message = format!("the request's body is longer than {most} bytes (--max-body-bytes)");
                (413, "body_too_large", message)
            }
            Unread::Gone | Unread::TooSlow => {
                let limit = app.config.limits.body;
                let message = format!(
                    "the request's body did not arrive: nothing for {limit:?}, or less than {MIN_BODY_PACE} bytes a second"
                );
                (408, "request_timeout", message)
            }
            Unread::NoRoom => {
                let most = app.bodies.most;
                let message = format!("the bodies of all requests in flight are longer than {most} bytes together");
                (503, "overloaded", message)
            }
        };
        let retry_after = (self == Unread::NoRoom).then_some(RETRY_AFTER_SECONDS);
        ErrorAnswer { status, message, code: Some(code.into()), retry_after, ..ErrorAnswer::default() }
    }
}

/// Reads a body.
///
/// # Errors
/// [`Unread`]: the rest of it is not read.
pub(super) async fn read(app: &App, mut incoming: Incoming) -> Result<Bytes, Unread> {
    let declared = usize::try_from(incoming.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > app.config.max_body_bytes {
        return Err(Unread::TooLarge);
    }
    if declared > app.bodies.room() {
        return Err(Unread::NoRoom);
    }
    let mut body = Growing { share: app.bodies.share(), first: Bytes::new(), rest: Vec::new(), declared };
    let limit = app.config.limits.body;
    let begun = app.pulse.next_beat();
    let mut last = begun;
    loop {
        let pace = Duration::from_secs(body.len() as u64 / MIN_BODY_PACE);
        let Some(frame) = next(app, &mut incoming, (begun + pace).min(last) + limit).await? else { break };
        let Ok(data) = frame.into_data() else { continue }; // trailers say nothing here
        if body.len() + data.len() > app.config.max_body_bytes {
            return Err(Unread::TooLarge);
        }
        body.push(data)?;
        last = app.pulse.next_beat();
    }
    Ok(body.into_bytes())
}

/// The next piece; the connection is woken by each beat, and so is this.
async fn next(app: &App, incoming: &mut Incoming, deadline: Instant) -> Result<Option<Frame<Bytes>>, Unread> {
    poll_fn(|cx| match Pin::new(&mut *incoming).poll_frame(cx) {
        Poll::Ready(frame) => Poll::Ready(frame.transpose().map_err(|_| Unread::Gone)),
        Poll::Pending if app.pulse.now() >= deadline => Poll::Ready(Err(Unread::TooSlow)),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// What the bodies of all requests in flight take.
#[derive(Debug)]
pub struct Bodies {
    taken: Arc<AtomicUsize>,
    most: usize,
}

impl Bodies {
    /// Room for so many bytes.
    pub fn new(most: usize) -> Self {
        Bodies { taken: Arc::default(), most }
    }

    fn room(&self) -> usize {
        self.most.saturating_sub(self.taken.load(Ordering::Relaxed))
    }

    fn share(&self) -> Share {
        Share { of: self.taken.clone(), most: self.most, bytes: 0 }
    }
}

/// One body's part of what all take. Dropped, it is given back. Bodies go where threads might be, hence the atomic.
#[derive(Debug)]
struct Share {
    of: Arc<AtomicUsize>,
    most: usize,
    bytes: usize,
}

impl Share {
    fn grow(&mut self, bytes: usize) -> Result<(), Unread> {
        if self.of.load(Ordering::Relaxed) + bytes > self.most {
            return Err(Unread::NoRoom);
        }
        self.of.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A body as it comes. One that comes at once stays where it was read; others are put together, so that pieces take no
/// more than their bytes.
struct Growing {
    share: Share,
    first: Bytes,
    rest: Vec<u8>,
    declared: usize,
}

impl Growing {
    fn len(&self) -> usize {
        self.share.bytes
    }

    fn push(&mut self, data: Bytes) -> Result<(), Unread> {
        let before = self.len();
        self.share.grow(data.len())?;
        if before == 0 {
            self.first = data;
            return Ok(());
        }
        self.make_room();
        self.rest.extend_from_slice(&std::mem::take(&mut self.first));
        self.rest.extend_from_slice(&data);
        Ok(())
    }

    /// Room for all that has come, and for as much again as far as more is declared.
    fn make_room(&mut self) {
        let len = self.len();
        if self.rest.capacity() >= len {
            return;
        }
        let most = if self.declared > 0 { self.declared.max(len) } else { usize::MAX };
        let wanted = if most <= MAX_AHEAD_BYTES { most } else { (2 * len).min(most) };
        self.rest.reserve_exact(wanted - self.rest.len());
    }

    /// The body; its share is given back when the last of it is dropped.
    fn into_bytes(mut self) -> Bytes {
        if self.len() == 0 {
            return Bytes::new();
        }
        self.rest.shrink_to_fit();
        let bytes = if self.rest.is_empty() { self.first } else { self.rest.into() };
        Bytes::from_owner(Kept { bytes, _share: self.share })
    }
}

struct Kept {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_counted_while_any_of_it_is_kept() {
        let bodies = Bodies::new(10);
        let body = |pieces: &[&'static [u8]]| {
            let mut body = Growing { share: bodies.share(), first: Bytes::new(), rest: Vec::new(), declared: 0 };
            pieces.iter().try_for_each(|piece| body.push(Bytes::from_static(piece))).map(|()| body.into_bytes())
        };
        let one = body(&[b"abc", b"d", b"", b"ef"]).unwrap();
        assert_eq!((&one[..], bodies.room()), (&b"abcdef"[..], 4));
        assert_eq!(body(&[b"ghi", b"jk"]), Err(Unread::NoRoom));
        assert_eq!(bodies.room(), 4, "what was not kept takes nothing");
        let two = body(&[b"ghij"]).unwrap();
        let part = two.slice(1..2);
        drop((one, two));
        assert_eq!((&part[..], bodies.room()), (&b"h"[..], 6));
        drop(part);
        assert_eq!((bodies.room(), body(&[])), (10, Ok(Bytes::new())));
    }

    #[test]
    fn pieces_take_no_more_than_their_bytes() {
        for declared in [0, 5000, 3 << 20] {
            let bodies = Bodies::new(usize::MAX);
            let mut body = Growing { share: bodies.share(), first: Bytes::new(), rest: Vec::new(), declared };
            for _ in 0..5000 {
                body.push(Bytes::from_static(b"x")).unwrap();
                assert!(body.rest.capacity() <= (2 * body.len()).max(declared.min(MAX_AHEAD_BYTES)));
            }
            assert_eq!(body.into_bytes().len(), 5000);
        }
    }
}
