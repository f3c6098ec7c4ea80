//! What the server tells all of its connections: that time goes by, that room is wanted, and that it stops.
//!
//! A timer of each connection's own would be armed and disarmed with every request, and a channel of its own be asked at
//! every wake-up, which together cost as much as parsing the request. Here one clock ticks for all, so that what they
//! time out on is as coarse as its beat.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// The server's side.
#[derive(Debug)]
pub struct Pulse {
    interval: Duration,
    now: Cell<Instant>,
    stopping: Cell<bool>,
    /// So many idle connections are to end.
    wanted: Cell<usize>,
    next: Cell<u64>,
    listeners: RefCell<HashMap<u64, Waker>>,
}

/// A connection's side.
#[derive(Debug)]
pub struct Listener {
    pulse: Rc<Pulse>,
    id: u64,
    registered: bool,
}

impl Pulse {
    /// A clock that ticks so often, once it is made to.
    pub fn new(interval: Duration) -> Self {
        Pulse {
            interval,
            now: Cell::new(Instant::now()),
            stopping: Cell::default(),
            wanted: Cell::default(),
            next: Cell::default(),
            listeners: RefCell::default(),
        }
    }

    /// Something that is woken by each beat and by the stop.
    pub fn listen(self: &Rc<Self>) -> Listener {
        self.next.set(self.next.get() + 1);
        Listener { pulse: self.clone(), id: self.next.get(), registered: false }
    }

    /// How often it is to beat.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The time of the last beat.
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// The time of the next beat: what happens now is counted from then on, so that no limit is reached before its time.
    pub fn next_beat(&self) -> Instant {
        self.now() + self.interval
    }

    /// The interval has gone by.
    pub fn beat(&self) {
        self.now.set(self.next_beat());
        self.wake();
    }

    /// So many connections that have been idle for a while are to end.
    pub fn make_room(&self, connections: usize) {
        self.wanted.set(connections);
        self.wake();
    }

    /// The server stops.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.wake();
    }

    fn wake(&self) {
        self.listeners.borrow().values().for_each(Waker::wake_by_ref);
    }
}

impl Listener {
    /// Whether the server stops. The task that asks is woken from then on; it must be the same each time.
    pub fn stopping(&mut self, cx: &Context<'_>) -> bool {
        if !self.registered {
            self.pulse.listeners.borrow_mut().insert(self.id, cx.waker().clone());
            self.registered = true;
        }
        self.pulse.stopping.get()
    }

    /// The time of the last beat.
    pub fn now(&self) -> Instant {
        self.pulse.now()
    }

    /// The time of the next beat, which is what now is counted as.
    pub fn next_beat(&self) -> Instant {
        self.pulse.next_beat()
    }

    /// Whether this connection, which has been idle since then, is one that makes room. One that has just been used may
    /// be about to be used again.
    pub fn makes_room(&self, idle_since: Instant) -> bool {
        let wanted = &self.pulse.wanted;
        let makes_room = wanted.get() > 0 && idle_since < self.now();
        wanted.set(wanted.get() - usize::from(makes_room));
        makes_room
    }

    /// Waits until there is something to read, or the end; not when the server stops, wants room, or nothing has come for
    /// `limit`.
    pub async fn readable(&mut self, stream: &TcpStream, limit: Duration) -> bool {
        let since = self.next_beat();
        poll_fn(|cx| {
            if self.stopping(cx) {
                return Poll::Ready(false);
            }
            if stream.poll_read_ready(cx).is_ready() {
                return Poll::Ready(true);
            }
            if self.now() >= since + limit || self.makes_room(since) { Poll::Ready(false) } else { Poll::Pending }
        })
        .await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.pulse.listeners.borrow_mut().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_told_and_forgotten() {
        let pulse = Rc::new(Pulse::new(Duration::from_secs(1)));
        let cx = Context::from_waker(Waker::noop());
        let (mut one, mut two) = (pulse.listen(), pulse.listen());
        assert!(!one.stopping(&cx) && !two.stopping(&cx));
        drop(one);
        assert_eq!(pulse.listeners.borrow().len(), 1);
        pulse.stop();
        assert!(two.stopping(&cx));
    }

    #[test]
    fn as_many_make_room_as_are_wanted_and_none_that_was_just_used() {
        let pulse = Rc::new(Pulse::new(Duration::from_secs(1)));
        let listeners = [pulse.listen(), pulse.listen(), pulse.listen()];
        let since = pulse.next_beat();
        pulse.make_room(2);
        for _ in 0..2 {
            assert!(!listeners[0].makes_room(since));
            pulse.beat();
        }
        assert!(!listeners[0].makes_room(pulse.next_beat()));
        assert_eq!(listeners.map(|listener| listener.makes_room(since)), [true, true, false]);
    }
}
