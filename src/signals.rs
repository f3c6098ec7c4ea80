//! The signals that end a program in order: SIGINT, SIGTERM and SIGHUP.

use crate::error::Error;
use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

/// Those signals, caught from now on.
#[derive(Debug)]
pub struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    /// None where whoever started the program had it ignored, as `nohup` does: it is to outlive its terminal.
    hang_up: Option<unix::Signal>,
}

impl Signals {
    /// Catches them.
    ///
    /// # Errors
    /// [`Error::System`]: the system does not let them be caught.
    pub fn new() -> Result<Self, Error> {
        let on = |kind| signal(kind).map_err(|source| Error::System { what: "signal handler", source });
        let hang_up = if ignored(Signal::HUP) { None } else { Some(on(SignalKind::hangup())?) };
        Ok(Signals { interrupt: on(SignalKind::interrupt())?, terminate: on(SignalKind::terminate())?, hang_up })
    }

    /// The next one.
    pub async fn next(&mut self) -> Signal {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            () = hang_up => Signal::HUP,
        }
    }
}

/// Whether a signal is ignored, where the system says so.
fn ignored(signal: Signal) -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignored_in(&status, signal))
}

/// <https://man7.org/linux/man-pages/man5/proc_pid_status.5.html>
fn ignored_in(status: &str, signal: Signal) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal.as_raw() - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_a_bit() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        assert!(ignored_in(status, Signal::HUP) && ignored_in(status, Signal::PIPE));
        assert!(!ignored_in(status, Signal::INT) && !ignored_in("", Signal::HUP));
    }
}
