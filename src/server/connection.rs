//! One client's connection: its requests, and how long each part of it may take.

use super::Protocol;
use crate::app::{App, Going, Underway};
use crate::body::{Body, Broken};
use crate::exchange;
use crate::flush::{Flushes, Flushing, Orderly, Stage};
use crate::limits::{Limits, MAX_HEAD_BYTES};
use crate::pulse::Listener;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, Version};
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Connections that keep their buffers while they are idle; where there are more, none does.
const MAX_WARM: usize = 64;

/// A connection and its place among the others.
pub(super) struct Connection {
    pub(super) app: Rc<App>,
    pub(super) open: Rc<Underway>,
    /// It came when there were as many as there may be: unless there is room when it asks, it is told so.
    pub(super) late: Cell<bool>,
    /// Until it is dropped, it is one of those that are open.
    pub(super) _going: Going,
}

/// How far hyper came with a connection.
enum Ended {
    /// It is idle, and goes on without its buffers.
    Idle,
    /// It has had its time.
    Cut,
    /// It was closed, in order or not.
    Closed(hyper::Result<()>),
}

impl Connection {
    pub(super) async fn serve(self, stream: TcpStream) {
        // Without it small chunks wait for the client's acknowledgement; a socket that refuses is slower, no more.
        let _ = stream.set_nodelay(true);
        let mut listener = self.app.pulse.listen();
        let flushes = Rc::<Flushes>::default();
        let mut io = Flushing { stream, early: Bytes::new(), flushes: flushes.clone() };
        while let Some(idle) = self.until_idle(io, &mut listener).await {
            io = idle;
            if io.early.is_empty() && !listener.readable(&io.stream, self.app.config.limits.idle).await {
                break;
            }
        }
        if let Some(remark) = flushes.spoken().and_then(Protocol::remark) {
            self.app.warn_once(remark);
        }
    }

    /// Serves until the connection ends or, where there are more than [`MAX_WARM`], until it is idle: then it goes on
    /// without the buffers that hyper keeps for it.
    async fn until_idle(&self, io: Flushing, listener: &mut Listener) -> Option<Flushing> {
        let close_ends_body = Cell::new(false);
        let flushes = io.flushes.clone();
        let service = service_fn(|request| {
            close_ends_body.set(request.version() <= Version::HTTP_10);
            flushes.begin();
            let (answer, flushes) = (self.answer(request, flushes.clone()), flushes.clone());
            // Boxed, as an idle connection would keep room for it otherwise.
            Box::pin(async move { answer.await.map(|response| response.map(|body| Orderly::new(body, flushes))) })
        });
        let mut http = http1::Builder::new();
        http.header_read_timeout(None).max_header_size(MAX_HEAD_BYTES); // Watch has the time
        let mut connection = http.serve_connection(TokioIo::new(io), service);
        let mut watch = Watch { steps: flushes.steps(), since: listener.next_beat() };
        let mut told = false;
        let ended = poll_fn(|cx| {
            let mut connection = Pin::new(&mut connection);
            let stopping = listener.stopping(cx);
            loop {
                // First, so that what has arrived by now counts.
                if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                    return Poll::Ready(Ended::Closed(ended));
                }
                if !stopping || std::mem::replace(&mut told, true) {
                    break;
                }
                connection.as_mut().graceful_shutdown();
            }
            let over = watch.over(&flushes, listener, &self.app.config.limits, self.late.get());
            if over || (stopping && flushes.unasked()) {
                return Poll::Ready(Ended::Cut);
            }
            let idle = !told && self.open.count() > MAX_WARM && flushes.idle();
            if idle { Poll::Ready(Ended::Idle) } else { Poll::Pending }
        })
        .await;
        match ended {
            Ended::Idle => {
                let parts = connection.into_parts();
                return Some(Flushing { early: parts.read_buf, ..parts.io.into_inner() });
            }
            // An error is the client's doing (it went away, or spoke no HTTP), or an answer that breaks off as it should.
            // An orderly close would look like the end of the answer, or keep what nobody reads. A socket that refuses
            // has been closed.
            Ended::Closed(Err(_)) if close_ends_body.get() => reset(connection.into_parts().io),
            Ended::Cut if !flushes.unasked() => reset(connection.into_parts().io),
            Ended::Closed(_) | Ended::Cut => {}
        }
        None
    }
}

fn reset(io: TokioIo<Flushing>) {
    let _ = io.into_inner().stream.set_zero_linger();
}

impl Connection {
    async fn answer(&self, request: hyper::Request<Incoming>, flushes: Rc<Flushes>) -> Result<Response<Body>, Broken> {
        if self.late.get() && self.open.count() > self.app.config.limits.connections {
            flushes.arrived();
            return Ok(exchange::turn_away(&self.app, &request.into_parts().0));
        }
        self.late.set(false);
        exchange::handle(self.app.clone(), request, &flushes).await
    }
}

/// Since when a connection gets no further.
struct Watch {
    steps: u64,
    since: Instant,
}

impl Watch {
    /// Whether a connection has had its time for what it is at, or is one of the idle ones that make room.
    fn over(&mut self, flushes: &Flushes, listener: &Listener, limits: &Limits, late: bool) -> bool {
        if flushes.steps() != self.steps {
            *self = Watch { steps: flushes.steps(), since: listener.next_beat() };
        }
        let quiet = flushes.stage() == Stage::Quiet;
        let limit = match flushes.stage() {
            Stage::Quiet if late => limits.head,
            Stage::Quiet => limits.idle,
            Stage::Head => limits.head,
            Stage::Answer if flushes.stalled() => limits.idle,
            Stage::Body | Stage::Answer => Duration::MAX, // that is the exchange's matter
        };
        listener.now().duration_since(self.since) >= limit || (quiet && listener.makes_room(self.since))
    }
}
