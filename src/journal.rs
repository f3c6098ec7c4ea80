//! What was asked and what answered: a bounded ring. Its entries own their memory, so that none keeps alive the buffer
//! that its request was read into.

use crate::fixture::Origin;
use crate::fixture::table::How;
use crate::json;
use crate::limits::beginning;
use crate::redact::{REDACTED, Redactor};
use crate::request::canonical::Hash;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Longest part of a request's body that is kept, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Most bytes of bodies that are kept together; the oldest entries beyond it go on without theirs. A journal that keeps
/// all entries keeps all bodies.
pub const MAX_BODIES_BYTES: usize = 8 * 1024 * 1024;

/// Most bytes of a request's headers, and of its path, that are kept.
const MAX_HEADERS_BYTES: usize = 16 * 1024;
const MAX_PATH_BYTES: usize = 8 * 1024;

/// The header that stands for those that were not kept.
const MORE_HEADERS: &[u8] = b"__aimock_truncated: true\n";

/// Longest word that is left out where a body was cut, in bytes.
const MAX_CUT_BYTES: usize = 512;

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
    /// Path and query without secrets.
    pub path: String,
    /// The request's headers; secrets are redacted when they are read out.
    pub headers: Headers,
    /// The request's body.
    pub body: KeptBody,
    /// The provider's name.
    pub provider: &'static str,
    /// The endpoint's kind: `chat`, `embedding`, `raw`.
    pub endpoint: &'static str,
    /// The test's id.
    pub test_id: Option<String>,
    /// What `X-AIMock-Strict` said.
    pub strict: Option<bool>,
    /// The answer.
    pub answered: Answered,
}

/// A request's headers, in order: a line `name: value` each.
#[derive(Clone, Debug, Default)]
pub struct Headers(Box<str>);

impl From<&HeaderMap> for Headers {
    fn from(headers: &HeaderMap) -> Self {
        let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + ": \n".len();
        let all = headers.iter().map(bytes).sum::<usize>();
        let mut lines = Vec::with_capacity(all.min(MAX_HEADERS_BYTES + MORE_HEADERS.len()));
        for (name, value) in headers {
            if lines.len() + bytes((name, value)) > MAX_HEADERS_BYTES {
                lines.extend_from_slice(MORE_HEADERS);
                break;
            }
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"] {
                lines.extend_from_slice(part);
            }
        }
        let lines = String::from_utf8(lines).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
        Headers(lines.into())
    }
}

impl Headers {
    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split_terminator('\n').filter_map(|line| line.split_once(": "))
    }

    /// The first header of this name, which is lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// As JSON, the values of a repeated header joined, those that may carry credentials replaced.
    fn to_json(&self, redactor: &Redactor) -> Value {
        let mut safe = Map::new();
        for (name, value) in self.iter() {
            let shown = redactor.shown_header(name, value).unwrap_or(REDACTED.into());
            match safe.get_mut(name) {
                Some(Value::String(first)) => *first = format!("{first}, {shown}"),
                _ => drop(safe.insert(name.to_owned(), shown.into())),
            }
        }
        safe.into()
    }
}

/// A request's body, its first [`MAX_BODY_BYTES`].
#[derive(Clone, Debug, Default)]
pub struct KeptBody {
    start: Box<[u8]>,
    whole_bytes: usize,
}

impl KeptBody {
    /// Lets go what was kept; how many bytes that were.
    fn forget(&mut self) -> usize {
        std::mem::take(&mut self.start).len()
    }
}

impl From<&[u8]> for KeptBody {
    fn from(body: &[u8]) -> Self {
        KeptBody { start: body[..body.len().min(MAX_BODY_BYTES)].into(), whole_bytes: body.len() }
    }
}

impl KeptBody {
    /// JSON where all of it was kept and is JSON, else text.
    fn to_json(&self, redactor: &Redactor) -> Value {
        if self.whole_bytes == 0 {
            return Value::Null;
        }
        if self.whole_bytes > self.start.len() {
            let start = String::from_utf8_lossy(self.without_last_word());
            let note = format!(
                "the journal keeps the first {} KiB of a body, and {} MiB of the newest bodies",
                MAX_BODY_BYTES / 1024,
                MAX_BODIES_BYTES / 1024 / 1024
            );
            return json!({
                "__aimock_truncated": true,
                "originalByteSize": self.whole_bytes,
                "note": note,
                "start": redactor.redact(&start),
            });
        }
        let mut json = json::parse(&self.start)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&self.start).into_owned()));
        redactor.redact_json(&mut json);
        json
    }
}

impl KeptBody {
    /// The start without its last word: a secret that was cut is no longer known for one.
    fn without_last_word(&self) -> &[u8] {
        let ends = |b: &u8| b.is_ascii_whitespace() || *b == b'"';
        let word = self.start.iter().rev().take(MAX_CUT_BYTES).position(ends).unwrap_or(0);
        &self.start[..self.start.len() - word]
    }
}

/// `POST /v1/chat/completions → 200 by a.json#3 (rule), test T, in 0.31 ms`
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answered { source, status, fixture, duration, chaos, .. } = &self.answered;
        write!(f, "{} {} → {status} by ", self.method, self.path_alone())?;
        match (source, fixture) {
            (_, Some((origin, how))) => write!(f, "{origin} ({})", how.word())?,
            (Source::Fixture, None) => f.write_str("aimock itself")?,
            (Source::Proxy, None) => f.write_str("the upstream")?,
            (Source::Miss, None) => f.write_str("no fixture")?,
        }
        if let Some(chaos) = chaos {
            write!(f, ", chaos {chaos}")?;
        }
        if let Some(test) = &self.test_id {
            write!(f, ", test {test}")?;
        }
        write!(f, ", in {:.2} ms", duration.as_secs_f64() * 1000.0)
    }
}

impl Entry {
    /// The path without its query.
    pub fn path_alone(&self) -> &str {
        self.path.split('?').next().unwrap_or("")
    }

    /// The entry as the control API gives it, without secrets. `id`, `timestamp`, `method`, `path`, `headers`, `body` and
    /// `response.{status,fixture,source,chaosAction,strictOverride}` are named as in the TypeScript aimock.
    pub fn to_json(&self, redactor: &Redactor) -> Value {
        let answered = &self.answered;
        let fixture =
            answered.fixture.as_ref().map(|(origin, _)| json!({"file": &*origin.name, "index": origin.index}));
        let mut response = Map::new();
        response.insert("status".into(), answered.status.into());
        response.insert("fixture".into(), fixture.into());
        response.insert("source".into(), answered.source.word().into());
        if let Some((_, how)) = &answered.fixture {
            response.insert("match".into(), how.word().into());
        }
        response.insert("durationMs".into(), ((answered.duration.as_secs_f64() * 1e6).round() / 1000.0).into());
        if let Some(why) = &answered.explanation {
            response.insert("explanation".into(), redactor.redact(why).into());
        }
        if let Some(chaos) = answered.chaos {
            response.insert("chaosAction".into(), chaos.into());
        }
        if let Some(strict) = self.strict {
            response.insert("strictOverride".into(), strict.into());
        }
        json!({
            "id": format!("req-{}", self.id),
            "timestamp": self.timestamp_ms,
            "method": self.method,
            "path": redactor.safe_target(&self.path),
            "headers": self.headers.to_json(redactor),
            "body": self.body.to_json(redactor),
            "provider": self.provider,
            "endpoint": self.endpoint,
            "testId": self.test_id,
            "response": response,
        })
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
    /// What it counts as where nobody answered.
    pub unanswered: Unanswered,
}

/// What a request counts as that nobody answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unanswered {
    /// A miss of its own.
    #[default]
    Miss,
    /// One miss with all others of its test that have this hash: a client that asks again misses nothing more.
    MissOf(Hash),
    /// Nothing: it is no API call.
    Nothing,
}

/// The newest entries, oldest first.
#[derive(Debug)]
pub struct Journal {
    entries: VecDeque<Entry>,
    max: usize,
    next_id: u64,
    /// Bytes of all bodies that are kept.
    bodies: usize,
    /// So many of the oldest entries have no body any more.
    bodiless: usize,
}

impl Journal {
    /// A journal of at most `max` entries.
    pub fn new(max: usize) -> Self {
        Journal { entries: VecDeque::new(), max, next_id: 1, bodies: 0, bodiless: 0 }
    }

    /// Adds an entry, the oldest one going where there are too many. Returns its id.
    pub fn push(&mut self, mut entry: Entry) -> u64 {
        entry.id = self.next_id;
        self.next_id += 1;
        if self.max > 0 {
            entry.path.truncate(beginning(&entry.path, MAX_PATH_BYTES).len());
            if self.entries.len() >= self.max
                && let Some(mut oldest) = self.entries.pop_front()
            {
                self.bodies -= oldest.body.forget();
                self.bodiless = self.bodiless.saturating_sub(1);
            }
            self.bodies += entry.body.start.len();
            self.entries.push_back(entry);
            self.forget_bodies();
        }
        self.next_id - 1
    }

    fn forget_bodies(&mut self) {
        while self.bodies > MAX_BODIES_BYTES && self.max < usize::MAX && self.bodiless < self.entries.len() {
            self.bodies -= self.entries[self.bodiless].body.forget();
            self.bodiless += 1;
        }
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> + ExactSizeIterator {
        self.entries.iter()
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        *self = Journal { next_id: self.next_id, ..Journal::new(self.max) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, headers: &[(&'static str, &str)], body: &[u8]) -> Entry {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let answered = Answered {
            source: Source::Miss,
            status: 404,
            fixture: None,
            explanation: None,
            duration: Duration::from_micros(1500),
            chaos: None,
            unanswered: Unanswered::Miss,
        };
        Entry {
            id: 0,
            timestamp_ms: 0,
            method: "POST".into(),
            path: path.into(),
            headers: (&map).into(),
            body: body.into(),
            provider: "openai",
            endpoint: "chat",
            test_id: None,
            strict: None,
            answered,
        }
    }

    #[test]
    fn no_secret_is_read_out() {
        let key = format!("sk-{}", "a1B2".repeat(8));
        let headers = [
            ("authorization", "Bearer abc"),
            ("x-api-key", "abc"),
            ("api-key", "abc"),
            ("x-goog-api-key", "abc"),
            ("cookie", "abc"),
            ("x-amz-security-token", "abc"),
            ("x-note", key.as_str()),
        ];
        let body = format!(r#"{{"messages":[{{"content":"my key is {key}"}}]}}"#);
        let entry = entry("/v1beta/models/x?key=abc&alt=sse", &headers, body.as_bytes());
        let text = entry.to_json(&Redactor::default()).to_string();
        assert!(!text.contains("abc") && !text.contains(&key), "{text}");
        assert!(text.contains("alt=sse") && text.contains("my key is [redacted]"), "{text}");
        let long = [body.as_bytes(), &[b' '; MAX_BODY_BYTES]].concat();
        let text = super::tests::entry("/", &[], &long).to_json(&Redactor::default()).to_string();
        assert!(!text.contains(&key), "{text}");
    }

    #[test]
    fn long_bodies_are_cut_and_marked() {
        let body = vec![b'x'; MAX_BODY_BYTES + 1];
        let json = entry("/", &[], &body).to_json(&Redactor::default());
        assert_eq!(json["body"]["__aimock_truncated"], true);
        assert_eq!(json["body"]["originalByteSize"], body.len());
        assert_eq!(json["body"]["start"].as_str().map(str::len), Some(MAX_BODY_BYTES));
        let json = entry("/", &[], &body[1..]).to_json(&Redactor::default());
        assert_eq!(json["body"].as_str().map(str::len), Some(MAX_BODY_BYTES));
        assert_eq!(entry("/", &[], b"").to_json(&Redactor::default())["body"], Value::Null);
        assert_eq!(entry("/", &[], b"{\"a\":1}").to_json(&Redactor::default())["body"]["a"], 1);
    }

    #[test]
    fn repeated_headers_are_joined() {
        let json = entry("/", &[("x-a", "1"), ("x-a", "2")], b"").to_json(&Redactor::default());
        assert_eq!(json["headers"]["x-a"], "1, 2");
        assert_eq!(json["response"]["durationMs"], 1.5);
    }

    #[test]
    fn the_oldest_bodies_go_first() {
        let mut journal = Journal::new(1000);
        let fit = MAX_BODIES_BYTES / MAX_BODY_BYTES;
        for _ in 0..fit + 2 {
            journal.push(entry("/", &[], &vec![b'x'; MAX_BODY_BYTES]));
        }
        let kept = |journal: &Journal| journal.entries().map(|e| e.body.start.len()).collect::<Vec<_>>();
        assert_eq!(kept(&journal), [&[0, 0][..], &vec![MAX_BODY_BYTES; fit]].concat());
        let json = journal.entries[0].to_json(&Redactor::default());
        assert_eq!((&json["body"]["start"], &json["body"]["originalByteSize"]), (&"".into(), &MAX_BODY_BYTES.into()));
        for _ in 0..1000 {
            journal.push(entry("/", &[], b"{}"));
        }
        assert_eq!((kept(&journal), journal.bodies), (vec![2; 1000], 2000));
        let mut all = Journal::new(usize::MAX);
        for _ in 0..fit + 2 {
            all.push(entry("/", &[], &vec![b'x'; MAX_BODY_BYTES]));
        }
        assert!(kept(&all).iter().all(|bytes| *bytes == MAX_BODY_BYTES));
    }

    #[test]
    fn the_oldest_goes_first() {
        let mut journal = Journal::new(2);
        for path in ["/a", "/b", "/c"] {
            journal.push(entry(path, &[], b""));
        }
        let kept: Vec<_> = journal.entries().map(|e| (e.id, e.path.as_str())).collect();
        assert_eq!(kept, [(2, "/b"), (3, "/c")]);
        let mut none = Journal::new(0);
        assert_eq!(none.push(entry("/", &[], b"")), 1);
        assert_eq!(none.entries().len(), 0);
    }
}
