//! What was asked and what answered: a bounded ring, and the counts that reports and metrics are made of.

use crate::fixture::Origin;
use crate::fixture::table::How;
use bytes::Bytes;
use hyper::HeaderMap;
use std::collections::VecDeque;
use std::time::Duration;

/// Longest part of a request's body that is kept, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Who answered; the answer's `x-aimock-source` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A fixture.
    Fixture,
    /// The upstream.
    Proxy,
    /// Nobody: an error of the server's own.
    Miss,
}

impl Source {
    /// The word in headers and journals.
    pub fn word(self) -> &'static str {
        match self {
            Source::Fixture => "fixture",
            Source::Proxy => "proxy",
            Source::Miss => "miss",
        }
    }
}

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Entry {
    /// `req-N`, N ascending from 1.
    pub id: u64,
    /// Unix milliseconds.
    pub timestamp_ms: i64,
    /// HTTP method.
    pub method: String,
    /// Path and query as they came; secrets are redacted when they are read out.
    pub path: String,
    /// The request's headers; secrets are redacted when they are read out.
    pub headers: HeaderMap,
    /// The request's body, its first [`MAX_BODY_BYTES`].
    pub body: Bytes,
    /// Bytes of the whole body.
    pub body_bytes: usize,
    /// The provider's name.
    pub provider: &'static str,
    /// The endpoint's kind: `chat`, `embedding`, `raw`.
    pub endpoint: &'static str,
    /// The test's id.
    pub test_id: Option<String>,
    /// The answer.
    pub answered: Answered,
}

impl Entry {
    /// The path without its query, which may hold a key.
    pub fn path_alone(&self) -> &str {
        self.path.split('?').next().unwrap_or("")
    }
}

/// How a request was answered.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Who answered.
    pub source: Source,
    /// HTTP status; 0 where the connection was closed without one.
    pub status: u16,
    /// The fixture that answered, and how it was found.
    pub fixture: Option<(Origin, How)>,
    /// Why no fixture answered, or what drifted.
    pub explanation: Option<String>,
    /// Until the answer's head was ready.
    pub duration: Duration,
    /// The injected fault.
    pub chaos: Option<&'static str>,
}

/// The newest entries, oldest first.
#[derive(Debug)]
pub struct Journal {
    entries: VecDeque<Entry>,
    max: usize,
    next_id: u64,
}

impl Journal {
    /// A journal of at most `max` entries.
    pub fn new(max: usize) -> Self {
        Journal { entries: VecDeque::new(), max, next_id: 1 }
    }

    /// Adds an entry, the oldest one going where there are too many. Returns its id.
    pub fn push(&mut self, mut entry: Entry) -> u64 {
        entry.id = self.next_id;
        self.next_id += 1;
        if self.max > 0 {
            if self.entries.len() >= self.max {
                self.entries.pop_front();
            }
            self.entries.push_back(entry);
        }
        self.next_id - 1
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> + ExactSizeIterator {
        self.entries.iter()
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}
