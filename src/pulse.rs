//! What the server tells all of its connections: that time goes by, and that it stops.
//!
//! A timer of each connection's own would be armed and disarmed with every request, and a channel of its own be asked at
//! every wake-up, which together cost as much as parsing the request. Here one clock ticks for all, so that what they
//! time out on is as coarse as [`BEAT`].

use hyper::rt::{Sleep, Timer};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// How often connections look at the clock.
pub const BEAT: Duration = Duration::from_secs(5);

/// The server's side.
#[derive(Debug, Default)]
pub struct Pulse {
    clock: Clock,
    stopping: Cell<bool>,
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
    /// Something that is woken by each beat and by the stop.
    pub fn listen(self: &Rc<Self>) -> Listener {
        self.next.set(self.next.get() + 1);
        Listener { pulse: self.clone(), id: self.next.get(), registered: false }
    }

    /// [`BEAT`] has gone by.
    pub fn beat(&self) {
        self.clock.beats.fetch_add(1, Ordering::Relaxed);
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

    /// The clock as hyper wants it.
    pub fn timer(&self) -> impl Timer + Send + Sync + 'static {
        self.pulse.clock.clone()
    }

    /// Waits until there is something to read, or the end; not when the server stops or nothing has come for `limit`.
    pub async fn readable(&mut self, stream: &TcpStream, limit: Duration) -> bool {
        let deadline = self.pulse.clock.now() + limit;
        poll_fn(|cx| {
            if self.stopping(cx) || self.pulse.clock.now() >= deadline {
                return Poll::Ready(false);
            }
            stream.poll_read_ready(cx).map(|_| true)
        })
        .await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.pulse.listeners.borrow_mut().remove(&self.id);
    }
}

/// Time in beats. hyper wants a clock that could be shared by threads.
#[derive(Clone, Debug)]
struct Clock {
    started: Instant,
    beats: Arc<AtomicU32>,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { started: Instant::now(), beats: Arc::default() }
    }
}

impl Timer for Clock {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Until { deadline, clock: self.clone() })
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<Until>() {
            Some(mut until) => until.deadline = deadline,
            None => *sleep = self.sleep_until(deadline),
        }
    }

    fn now(&self) -> Instant {
        self.started + BEAT * self.beats.load(Ordering::Relaxed)
    }
}

/// Ready once the deadline is past. It wakes nobody: whoever polls it is woken by each beat.
struct Until {
    deadline: Instant,
    clock: Clock,
}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.clock.now() >= self.deadline { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Sleep for Until {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_ends_with_the_beat_that_passes_its_deadline() {
        let pulse = Rc::new(Pulse::default());
        let timer = pulse.listen().timer();
        let mut sleep = timer.sleep(BEAT * 2);
        let ready =
            |sleep: &mut Pin<Box<dyn Sleep>>| sleep.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        pulse.beat();
        assert!(!ready(&mut sleep));
        pulse.beat();
        assert!(ready(&mut sleep));
        timer.reset(&mut sleep, timer.now() + Duration::from_millis(1));
        assert!(!ready(&mut sleep));
        pulse.beat();
        assert!(ready(&mut sleep));
    }

    #[test]
    fn listeners_are_told_and_forgotten() {
        let pulse = Rc::new(Pulse::default());
        let cx = Context::from_waker(Waker::noop());
        let (mut one, mut two) = (pulse.listen(), pulse.listen());
        assert!(!one.stopping(&cx) && !two.stopping(&cx));
        drop(one);
        assert_eq!(pulse.listeners.borrow().len(), 1);
        pulse.stop();
        assert!(two.stopping(&cx));
    }
}
