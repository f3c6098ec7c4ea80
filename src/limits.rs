//! What a client may take: of time, of memory, of places. Each limit has its constant here; a test may lower it.

use std::time::Duration;

/// Connections served at once, unless `--max-connections` says otherwise. Idle ones make room for new ones; where none is
/// idle, a new one is answered 503.
pub const MAX_CONNECTIONS: usize = 4096;

/// Longest head of a request, in bytes; a longer one is 431.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How long a request's head may take to arrive, from its first byte on.
pub const HEAD_TIME: Duration = Duration::from_secs(60);

/// Longest time between two reads of a request's body.
pub const BODY_TIME: Duration = Duration::from_secs(60);

/// How fast a body comes at least once [`Limits::body`] has gone by, in bytes a second: one that drips is not waited for.
pub const MIN_BODY_PACE: u64 = 1024;

/// How long a connection may be idle, or leave its answer unread.
pub const IDLE_TIME: Duration = Duration::from_secs(600);

/// Most bytes of all requests' bodies in flight together, unless `--max-body-bytes` is more.
pub const MAX_BODIES_BYTES: usize = 256 * 1024 * 1024;

/// Tests that are remembered: how often each asked what. Those that asked least recently are forgotten.
pub const MAX_TESTS: usize = 10_000;

/// How long what is in flight may take once the server is told to stop.
pub const DRAIN_TIME: Duration = Duration::from_secs(10);

/// The same where SIGTERM came: Docker kills 10 seconds after it.
pub const DRAIN_TIME_AFTER_TERM: Duration = Duration::from_secs(8);

/// How long what is in flight may take at least, however late the command ended that SIGTERM was passed on to.
pub const MIN_DRAIN_TIME: Duration = Duration::from_secs(1);

/// How often connections look at the clock at least.
const BEAT: Duration = Duration::from_secs(5);

/// The limits of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// [`MAX_CONNECTIONS`]
    pub connections: usize,
    /// [`HEAD_TIME`]
    pub head: Duration,
    /// [`BODY_TIME`]
    pub body: Duration,
    /// [`IDLE_TIME`]
    pub idle: Duration,
    /// [`MAX_BODIES_BYTES`]
    pub bodies_bytes: usize,
    /// [`MAX_TESTS`]
    pub tests: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: MAX_CONNECTIONS,
            head: HEAD_TIME,
            body: BODY_TIME,
            idle: IDLE_TIME,
            bodies_bytes: MAX_BODIES_BYTES,
            tests: MAX_TESTS,
        }
    }
}

impl Limits {
    /// How long what is in flight may take at least, however late the command ended that SIGTERM was passed on to.
    pub const MIN_DRAIN_TIME: Duration = Duration::from_secs(1);

    /// How often connections look at the clock, so that no limit is exceeded by much.
    pub fn beat(&self) -> Duration {
        let shortest = self.head.min(self.body).min(self.idle);
        BEAT.min(shortest / 4).max(Duration::from_millis(1))
    }
}

/// The beginning of a text, of so many bytes at most.
pub fn beginning(text: &str, bytes: usize) -> &str {
    let end = (0..=text.len().min(bytes)).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_is_cut() {
        assert_eq!((0..=4).map(|bytes| beginning("añb", bytes)).collect::<Vec<_>>(), ["", "a", "a", "añ", "añb"]);
        assert_eq!(beginning("añb", 99), "añb");
    }
}
