//! Requests that are alike and on their way at once. The first goes upstream, the others wait for its recording; where
//! it fails, or its client is slow to read, all that wait go at once, and the first answer that is whole is recorded.

use crate::request::canonical::Hash;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// How long the first one's client may leave unread what has come, before those that wait go by themselves.
const MAX_UNREAD: Duration = Duration::from_secs(5);

/// How long a request waits for the recording of one like it, whatever that one's upstream does.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// A request's hash, and the test and context that it belongs to.
pub type RequestKey = (Hash, String);

/// All requests on their way that are to be recorded once.
#[derive(Debug, Default)]
pub struct AllTwins(RefCell<HashMap<RequestKey, Rc<Twins>>>);

/// What a request is to do.
#[derive(Debug)]
pub enum Joined {
    /// Go upstream.
    Goes(Turn),
    /// Wait for the one that went.
    Waits(Waiting),
}

/// Requests that are alike.
#[derive(Debug, Default)]
struct Twins {
    /// How many they are.
    members: Cell<usize>,
    /// Nobody waits for the first one any more.
    open: Cell<bool>,
    /// Since when the first one's client has left unread what has come.
    unread_since: Cell<Option<Instant>>,
    /// The answer of one is being saved.
    saving: Cell<bool>,
    /// The answer of one answers all others from now on.
    recorded: Cell<bool>,
    /// One of these has changed.
    changed: Notify,
}

impl AllTwins {
    /// One more request.
    pub fn join(self: &Rc<Self>, key: RequestKey) -> Joined {
        let mut all = self.0.borrow_mut();
        let leads = !all.contains_key(&key);
        let twins = all.entry(key.clone()).or_default().clone();
        twins.members.set(twins.members.get() + 1);
        let goes = leads || twins.open.get();
        let member = Member { all: self.clone(), key, twins };
        if goes { Joined::Goes(Turn { member, leads, saves: false }) } else { Joined::Waits(Waiting(member)) }
    }
}

/// One of several; they are forgotten with the last.
#[derive(Debug)]
struct Member {
    all: Rc<AllTwins>,
    key: RequestKey,
    twins: Rc<Twins>,
}

impl Member {
    /// Those that come from now on begin anew.
    fn forget(&self) {
        let mut all = self.all.0.borrow_mut();
        if all.get(&self.key).is_some_and(|twins| Rc::ptr_eq(twins, &self.twins)) {
            all.remove(&self.key);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let left = self.twins.members.get() - 1;
        self.twins.members.set(left);
        if left == 0 {
            self.forget();
        }
    }
}

/// One that waits for the first.
#[derive(Debug)]
pub struct Waiting(Member);

impl Waiting {
    /// Waits until there is a recording, which gives `None`, or until it is time to go.
    pub async fn over(self) -> Option<Turn> {
        let twins = &self.0.twins;
        let latest = Instant::now() + MAX_WAIT;
        while !twins.open.get() {
            if twins.recorded.get() {
                return None;
            }
            let now = Instant::now();
            // A client that reads now has left nothing unread for long before this.
            let due = (twins.unread_since.get().unwrap_or(now) + MAX_UNREAD).min(latest);
            if due <= now {
                twins.open.set(true);
                twins.changed.notify_waiters();
            } else {
                // Looked at again, whatever ends the wait.
                let _ = timeout_at(due, twins.changed.notified()).await;
            }
        }
        (!twins.recorded.get()).then(|| Turn { member: self.0, leads: false, saves: false })
    }
}

/// One that goes upstream. Dropped, it has failed.
#[derive(Debug)]
pub struct Turn {
    member: Member,
    leads: bool,
    saves: bool,
}

impl Turn {
    /// The client has not read what has come since then; `None`: it wants more.
    pub fn unread(&self, since: Option<Instant>) {
        if self.leads {
            self.member.twins.unread_since.set(since);
        }
    }

    /// Waits until no other one's answer is being saved. Whether this one's is to be.
    pub async fn may_save(&mut self) -> bool {
        let twins = &self.member.twins;
        while !twins.recorded.get() {
            if !twins.saving.replace(true) {
                self.saves = true;
                return true;
            }
            twins.changed.notified().await;
        }
        false
    }

    /// Its answer is saved: it answers all others.
    pub fn saved(self) {
        self.member.twins.recorded.set(true);
        self.member.forget();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let twins = &self.member.twins;
        if self.saves {
            twins.saving.set(false);
        }
        if self.leads {
            twins.open.set(true);
        }
        twins.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn key() -> RequestKey {
        (Hash(1), String::new())
    }

    fn goes(joined: Joined) -> Turn {
        match joined {
            Joined::Goes(turn) => turn,
            Joined::Waits(_) => panic!("it waits"),
        }
    }

    fn waits(joined: Joined) -> Waiting {
        match joined {
            Joined::Waits(waiting) => waiting,
            Joined::Goes(_) => panic!("it goes"),
        }
    }

    /// What a future gives that is ready.
    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn once_the_first_fails_all_go_and_one_is_saved() {
        let all = Rc::<AllTwins>::default();
        let first = goes(all.join(key()));
        let mut others: Vec<_> = (0..3).map(|_| Box::pin(waits(all.join(key())).over())).collect();
        assert!(others.iter_mut().all(|other| now(other.as_mut()).is_none()));
        drop(first);
        let mut turns: Vec<_> = others.iter_mut().map(|o| now(o.as_mut()).flatten().expect("it goes")).collect();
        turns.push(goes(all.join(key())));
        let mut saver = turns.swap_remove(1);
        assert_eq!(now(saver.may_save()), Some(true));
        assert_eq!(now(turns[0].may_save()), None, "it waits for what becomes of the other");
        saver.saved();
        assert!(turns.iter_mut().all(|turn| now(turn.may_save()) == Some(false)));
        let anew = goes(all.join(key()));
        drop((turns, anew));
        assert!(all.0.borrow().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_could_not_be_saved_leaves_it_to_the_others() {
        let all = Rc::<AllTwins>::default();
        let mut first = goes(all.join(key()));
        let other = waits(all.join(key()));
        assert_eq!(now(first.may_save()), Some(true));
        drop(first);
        let mut other = other.over().await.expect("it goes");
        assert_eq!(now(other.may_save()), Some(true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_holds_nobody_for_long() {
        let all = Rc::<AllTwins>::default();
        let mut first = goes(all.join(key()));
        let (one, two) = (waits(all.join(key())), waits(all.join(key())));
        let started = Instant::now();
        let reads = async {
            for _ in 0..20 {
                tokio::time::sleep(MAX_UNREAD / 2).await;
                first.unread(Some(Instant::now()));
                tokio::time::sleep(MAX_UNREAD / 4).await;
                first.unread(None);
            }
            first.unread(Some(Instant::now()));
            started.elapsed()
        };
        let (one, two, stopped) = tokio::join!(one.over(), two.over(), reads);
        assert_eq!(started.elapsed(), stopped + MAX_UNREAD);
        let (mut one, mut two) = (one.expect("it goes"), two.expect("it goes"));
        assert_eq!(now(two.may_save()), Some(true));
        two.saved();
        assert_eq!((now(one.may_save()), now(first.may_save())), (Some(false), Some(false)));
    }
}
