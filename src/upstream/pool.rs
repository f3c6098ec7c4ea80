//! Idle connections that wait for the next request.

use super::BaseUrl;
use super::link::Link;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Idle connections to one upstream.
const MAX_IDLE_PER_UPSTREAM: usize = 16;

/// Idle connections to all upstreams.
const MAX_IDLE: usize = 64;

/// How long a connection may be idle.
const MAX_IDLE_TIME: Duration = Duration::from_secs(30);

/// The idle connections, the longest idle first.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: RefCell<Vec<Idle>>,
    sweeping: Cell<bool>,
}

#[derive(Debug)]
struct Idle {
    link: Link,
    until: Instant,
}

impl Pool {
    /// Whether no connection is idle.
    pub(super) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
    }

    /// The connection to this upstream that was used last and is still open.
    pub(super) fn take(&self, base: &BaseUrl) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        loop {
            let at = idle.iter().rposition(|i| i.link.leads_to(base))?;
            let mut found = idle.remove(at);
            if found.until > Instant::now() && found.link.is_idle() {
                return Some(found.link);
            }
        }
    }

    /// Keeps a connection whose answer was read to its end, if it can be used again.
    pub(super) fn put(self: &Rc<Self>, mut link: Link) {
        let mut idle = self.idle.borrow_mut();
        let alike = idle.iter().filter(|i| i.link.is_like(&link)).count();
        if idle.len() >= MAX_IDLE || alike >= MAX_IDLE_PER_UPSTREAM || !link.is_idle() {
            return;
        }
        idle.push(Idle { link, until: Instant::now() + MAX_IDLE_TIME });
        if !self.sweeping.replace(true) {
            tokio::task::spawn_local(sweep(Rc::downgrade(self)));
        }
    }

    /// Closes what was idle for too long; returns when the next one will have been.
    fn expire(&self) -> Option<Instant> {
        let mut idle = self.idle.borrow_mut();
        let now = Instant::now();
        idle.retain(|i| i.until > now);
        idle.first().map(|i| i.until)
    }
}

/// Runs while there are idle connections.
async fn sweep(pool: Weak<Pool>) {
    while let Some(held) = pool.upgrade() {
        let Some(next) = held.expire() else {
            held.sweeping.set(false);
            return;
        };
        drop(held);
        sleep_until(next).await;
    }
}
