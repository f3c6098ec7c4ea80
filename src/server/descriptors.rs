//! The limit of open files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a connection needs: its own, and one to an upstream.
const A_CONNECTION: u64 = 2;

/// What all else needs: streams, the event loop, files that are read and written.
const ALL_ELSE: u64 = 64;

/// Raises the limit as far as so many connections need, or as may be. How many connections it is enough for.
pub(super) fn enough_for(connections: usize) -> usize {
    let needed = (connections as u64).saturating_mul(A_CONNECTION).saturating_add(ALL_ELSE);
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let current = Some(limit.maximum.map_or(needed, |most| needed.min(most)));
        // What is refused shows below.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
    }
    let most = getrlimit(Resource::Nofile).current.unwrap_or(needed);
    let enough_for = most.saturating_sub(ALL_ELSE) / A_CONNECTION;
    usize::try_from(enough_for).unwrap_or(usize::MAX).clamp(1, connections)
}
