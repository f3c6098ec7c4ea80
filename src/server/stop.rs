//! What tells the server to stop, and how long what is in flight may then take.

use crate::command::Ended;
use crate::error::Error;
use crate::limits::{DRAIN_TIME, DRAIN_TIME_AFTER_TERM, MIN_DRAIN_TIME};
use crate::signals::Signals;
use rustix::process::Signal;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

/// The signals that stop it, and its stdin, where that does too.
pub(super) struct Stop {
    signals: Signals,
    stdin: bool,
}

impl Stop {
    pub(super) fn new(stdin: bool) -> Result<Self, Error> {
        Ok(Stop { signals: Signals::new()?, stdin })
    }

    /// Waits until one of them comes; how long what is in flight may then take.
    pub(super) async fn wait(&mut self) -> Duration {
        let stdin = self.stdin;
        tokio::select! {
            signal = self.signals.next() => if signal == Signal::TERM { DRAIN_TIME_AFTER_TERM } else { DRAIN_TIME },
            () = closed_stdin(), if stdin => DRAIN_TIME,
        }
    }
}

/// How long what is in flight may take once a command has ended: it took its time, too.
pub(super) fn drain_after(ended: Ended) -> Duration {
    let left = |at: std::time::Instant| DRAIN_TIME_AFTER_TERM.saturating_sub(at.elapsed()).max(MIN_DRAIN_TIME);
    ended.terminated.map_or(DRAIN_TIME, left)
}

async fn closed_stdin() {
    let mut stdin = tokio::io::stdin();
    let mut ignored = [0; 256];
    while stdin.read(&mut ignored).await.is_ok_and(|n| n > 0) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_takes_its_time_leaves_less_of_it() {
        let ended = |seconds| {
            let terminated = std::time::Instant::now().checked_sub(Duration::from_secs(seconds));
            drain_after(Ended { code: 0, terminated })
        };
        assert!(ended(5) <= DRAIN_TIME_AFTER_TERM - Duration::from_secs(5));
        assert_eq!(ended(60), MIN_DRAIN_TIME);
        assert_eq!(drain_after(Ended::default()), DRAIN_TIME);
    }
}
