//! How often what happened, for the report at the end and for `/metrics`.

use crate::fixture::Origin;
use crate::fixture::table::{FixtureTable, How, Row};
use crate::journal::{Answered, Entry, Source, Unanswered};
use crate::log::Logger;
use crate::provider;
use crate::request::canonical::Hash;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::fmt;

/// Most misses, and most drifted fixtures, that a report tells one by one; all are counted. A miss beyond it that is
/// asked again counts again.
const MAX_TOLD: usize = 1_000;

/// Most misses, drifted fixtures and unused fixtures that a summary shows.
const MAX_SHOWN: usize = 20;

/// Most ids of tests that are remembered. Nothing is deleted of those beyond it.
const MAX_TESTS: usize = 10_000;

/// Longest id of a test that is remembered, and longest path and id that are told of a miss, in characters.
const MAX_NAME_CHARS: usize = 500;

/// A miss that is asked again after a longer pause is told again, in milliseconds: no SDK waits so long before it retries.
const MAX_RETRY_PAUSE_MS: i64 = 60_000;

/// What the values begin with that stand in for keys.
const PLACEHOLDER: &str = "sk-aimock-";

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Requests answered by a fixture.
    pub hits: u64,
    /// Of those, answered by a recording of another request.
    pub drifted: u64,
    /// Requests answered by an upstream.
    pub relayed: u64,
    /// Requests that nothing answered; one that was asked again is one.
    pub misses: u64,
    /// Recordings written.
    pub recorded: u64,
    /// Recordings that could not be written.
    pub record_errors: u64,
    /// What the command after `--` ended with.
    pub command_exit: Option<u8>,
    /// What each upstream made of the requests that it was sent.
    upstreams: Vec<Upstream>,
    /// The first misses, each with its explanation.
    unmatched: Vec<Unmatched>,
    /// Where a miss stands among them, by its request and test.
    known: HashMap<(Hash, Option<Hash>), usize>,
    /// Those that came again since that was told.
    again: BTreeSet<usize>,
    /// Fixtures that answered another request than the one they were recorded from, with what first differed.
    drifts: Vec<(Origin, String)>,
    /// Ids of the tests that asked.
    tests: BTreeSet<String>,
}

/// `3 requests answered by fixtures, 1 by an upstream; …`
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests answered by fixtures ({} drifted), ", self.hits, self.drifted)?;
        write!(f, "{} relayed, {} recorded, {} unmatched", self.relayed, self.recorded, self.misses)?;
        match self.record_errors {
            0 => Ok(()),
            n => write!(f, "; {n} recordings could not be written"),
        }
    }
}

/// What an upstream made of the requests that it was sent.
#[derive(Clone, Debug)]
pub struct Upstream {
    provider: &'static str,
    requests: u64,
    refused: u64,
    last: Option<Refusal>,
}

/// Why there was nothing to record.
#[derive(Clone, Debug)]
enum Refusal {
    /// It does not accept the credential: 401 or 403.
    Status(u16),
    /// It was not reached, or gave no answer; what happened.
    Unreachable(String),
}

impl Upstream {
    fn note(&mut self, answered: &Answered) {
        let refusal = match (answered.status, &answered.explanation) {
            (_, Some(error)) => Refusal::Unreachable(error.clone()),
            (status @ (401 | 403), None) => Refusal::Status(status),
            _ => return,
        };
        self.refused += 1;
        self.last = Some(refusal);
    }

    /// Whether its refusals are answers that can be recorded.
    pub fn answers(&self) -> bool {
        matches!(self.last, Some(Refusal::Status(_)))
    }
}

/// Names what to do.
impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Upstream { provider, requests, last, .. } = self;
        write!(f, "nothing could be recorded from {provider}: ")?;
        match last {
            Some(Refusal::Unreachable(error)) => {
                write!(f, "no request of {requests} was answered, the last for this reason: {error}; ")?;
                write!(f, "see whether --provider-{provider} is right and can be reached from here")
            }
            Some(Refusal::Status(status)) => {
                write!(f, "all requests ({requests}) were refused, the last with status {status}; ")?;
                write!(f, "set AIMOCK_PROVIDER_{}_KEY", provider.to_ascii_uppercase())?;
                let known = provider::by_name(provider).map_or(&[][..], |provider| provider.sdk_variables);
                let keys = known.iter().filter(|(_, value)| value.starts_with(PLACEHOLDER)).map(|(name, _)| *name);
                let keys: Vec<&str> = keys.collect();
                if !keys.is_empty() {
                    write!(f, ", or {} where the client reads it,", keys.join(" and "))?;
                }
                f.write_str(" to a key that it accepts")
            }
            None => Ok(()),
        }
    }
}

/// A request that nothing answered.
#[derive(Clone, Debug)]
pub struct Unmatched {
    method: String,
    path: String,
    test_id: Option<String>,
    status: u16,
    explanation: String,
    /// How often it came.
    times: u64,
    /// When it came last, in Unix milliseconds.
    last_ms: i64,
}

impl From<&Entry> for Unmatched {
    fn from(entry: &Entry) -> Self {
        let name = |text: &str| text.chars().take(MAX_NAME_CHARS).collect::<String>();
        Unmatched {
            method: entry.method.clone(),
            path: name(entry.path_alone()),
            test_id: entry.test_id.as_deref().map(name),
            status: entry.answered.status,
            explanation: entry.answered.explanation.clone().unwrap_or_default(),
            times: 1,
            last_ms: entry.timestamp_ms,
        }
    }
}

/// `POST /v1/chat/completions → 503 ×3 (test T): the nearest fixture is …`
impl fmt::Display for Unmatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} → {}", self.method, self.path, self.status)?;
        if self.times > 1 {
            write!(f, " ×{}", self.times)?;
        }
        if let Some(test) = &self.test_id {
            write!(f, " (test {test})")?;
        }
        if self.explanation.is_empty() { Ok(()) } else { write!(f, ": {}", self.explanation) }
    }
}

impl Counts {
    /// Counts a request; what it is, where nothing answered it and that is to be told.
    pub fn note(&mut self, entry: &Entry) -> Option<Unmatched> {
        let answered = &entry.answered;
        if let Some(test) = entry.test_id.as_ref().filter(|test| !self.tests.contains(*test))
            && test.chars().nth(MAX_NAME_CHARS).is_none()
            && self.tests.len() < MAX_TESTS
        {
            self.tests.insert(test.clone());
        }
        match answered.source {
            Source::Fixture => {
                self.hits += 1;
                if let Some((origin, How::Drift)) = &answered.fixture {
                    self.drifted += 1;
                    if self.drifts.len() < MAX_TOLD && !self.drifts.iter().any(|(told, _)| told == origin) {
                        self.drifts.push((origin.clone(), answered.explanation.clone().unwrap_or_default()));
                    }
                }
            }
            Source::Proxy => {
                self.relayed += 1;
                self.upstream(entry.provider).note(answered);
            }
            Source::Miss => return self.miss(entry),
        }
        None
    }

    fn miss(&mut self, entry: &Entry) -> Option<Unmatched> {
        let request = match entry.answered.unanswered {
            Unanswered::Nothing => return None,
            Unanswered::Miss => None,
            Unanswered::MissOf(hash) => Some((hash, entry.test_id.as_deref().map(|id| Hash::of(id.as_bytes())))),
        };
        if let Some(at) = request.and_then(|request| self.known.get(&request).copied()) {
            let miss = &mut self.unmatched[at];
            let pause = entry.timestamp_ms.saturating_sub(std::mem::replace(&mut miss.last_ms, entry.timestamp_ms));
            miss.times += 1;
            if pause > MAX_RETRY_PAUSE_MS {
                self.again.remove(&at);
                return Some(miss.clone());
            }
            self.again.insert(at);
            return None;
        }
        self.misses += 1;
        let unmatched = Unmatched::from(entry);
        if self.unmatched.len() < MAX_TOLD {
            if let Some(request) = request {
                self.known.insert(request, self.unmatched.len());
            }
            self.unmatched.push(unmatched.clone());
        }
        Some(unmatched)
    }

    /// The misses that came again since this was asked last, each with how often it came.
    pub fn take_again(&mut self) -> impl Iterator<Item = &Unmatched> {
        std::mem::take(&mut self.again).into_iter().map(|at| &self.unmatched[at])
    }

    /// Whether this test asked for anything.
    pub fn saw(&self, test: &str) -> bool {
        self.tests.contains(test)
    }

    fn upstream(&mut self, provider: &'static str) -> &mut Upstream {
        let at = self.upstreams.iter().position(|upstream| upstream.provider == provider);
        let at = at.unwrap_or_else(|| {
            self.upstreams.push(Upstream { provider, requests: 0, refused: 0, last: None });
            self.upstreams.len() - 1
        });
        self.upstreams[at].requests += 1;
        &mut self.upstreams[at]
    }

    /// The upstreams that gave nothing but refusals.
    pub fn refusing(&self) -> impl Iterator<Item = &Upstream> {
        self.upstreams.iter().filter(|upstream| upstream.refused == upstream.requests)
    }

    /// Tells people what happened: the counts, every miss, every fixture that drifted and, where the command that ran
    /// ended well, those that are unused.
    pub fn summarize(&self, table: &FixtureTable, log: &Logger) {
        log.info(self);
        for miss in self.unmatched.iter().take(MAX_SHOWN) {
            log.warn(format_args!("unmatched: {miss}"));
        }
        if let Some(more) = beyond_shown(self.misses) {
            log.warn(format_args!("unmatched: {more}"));
        }
        for (_, message) in self.drifts.iter().take(MAX_SHOWN) {
            log.warn(message);
        }
        if self.command_exit == Some(0) {
            for row in unused(table).take(MAX_SHOWN) {
                log.info(format_args!("unused: {row}"));
            }
            if let Some(more) = beyond_shown(unused(table).count() as u64) {
                log.info(format_args!("unused: {more}"));
            }
        }
    }

    /// The report as JSON: counts, upstreams that `refused` all that they were sent, `unmatched` requests with why,
    /// `drifts`, which `fixtures` of files answered how often and which are `unused`, the `tests` that asked, and what the
    /// command ended with.
    pub fn report(&self, table: &FixtureTable) -> Value {
        let place = |origin: &Origin| json!({"file": &*origin.name, "index": origin.index});
        let with = |origin: &Origin, key: &str, value: Value| {
            let mut told = place(origin);
            told[key] = value;
            told
        };
        let unmatched = self.unmatched.iter().map(|u| {
            json!({
                "method": u.method,
                "path": u.path,
                "testId": u.test_id,
                "status": u.status,
                "explanation": u.explanation,
                "times": u.times,
            })
        });
        let drifts = self.drifts.iter().map(|(origin, message)| with(origin, "explanation", message.as_str().into()));
        let used = table.rows().iter().filter(|row| row.hits.get() > 0);
        let used = used.map(|row| with(&row.origin(), "hits", row.hits.get().into()));
        let refused = self.refusing().map(|upstream| {
            json!({"provider": upstream.provider, "requests": upstream.requests, "explanation": upstream.to_string()})
        });
        let unused = unused(table).map(|row| {
            let mut told = with(&row.origin(), "recorded", row.recorded().into());
            if let Some(hash) = row.request_hash() {
                told["requestHash"] = hash.to_string().into();
            }
            told
        });
        json!({
            "hits": self.hits,
            "drifted": self.drifted,
            "relayed": self.relayed,
            "misses": self.misses,
            "recorded": self.recorded,
            "recordErrors": self.record_errors,
            "commandExit": self.command_exit,
            "tests": self.tests,
            "refused": refused.collect::<Value>(),
            "unmatched": unmatched.collect::<Value>(),
            "drifts": drifts.collect::<Value>(),
            "fixtures": used.collect::<Value>(),
            "unused": unused.collect::<Value>(),
        })
    }
}

fn beyond_shown(all: u64) -> Option<String> {
    let more = all.saturating_sub(MAX_SHOWN as u64);
    (more > 0).then(|| format!("{more} more; --report FILE lists them"))
}

/// Fixtures of files that answered nothing. What was recorded just now answered through its upstream.
pub fn unused(table: &FixtureTable) -> impl Iterator<Item = &Row> {
    table.rows().iter().filter(|row| row.hits.get() == 0 && row.path().is_some() && !row.fresh)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Answered, KeptBody};
    use std::time::Duration;

    /// A miss of this test's `n`-th question.
    fn miss(n: u64, test: Option<&str>, timestamp_ms: i64) -> Entry {
        let answered = Answered {
            source: Source::Miss,
            status: 503,
            fixture: None,
            explanation: Some("why".into()),
            duration: Duration::ZERO,
            chaos: None,
            unanswered: Unanswered::MissOf(Hash(n)),
        };
        Entry {
            id: 0,
            timestamp_ms,
            method: "POST".into(),
            path: "/v1?x".into(),
            headers: Default::default(),
            body: KeptBody::default(),
            provider: "openai",
            endpoint: "chat",
            test_id: test.map(str::to_owned),
            strict: None,
            answered,
        }
    }

    fn told(miss: Option<Unmatched>) -> Option<String> {
        miss.map(|miss| miss.to_string())
    }

    #[test]
    fn a_miss_is_told_once_and_again_after_a_pause() {
        let mut counts = Counts::default();
        assert_eq!(told(counts.note(&miss(1, None, 0))).as_deref(), Some("POST /v1 → 503: why"));
        assert_eq!(told(counts.note(&miss(1, None, 1))), None);
        assert_eq!(told(counts.note(&miss(1, Some("t"), 2))).as_deref(), Some("POST /v1 → 503 (test t): why"));
        assert_eq!(told(counts.note(&miss(1, None, MAX_RETRY_PAUSE_MS + 1))), None, "it came again a minute ago");
        let again = |counts: &mut Counts| counts.take_again().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(again(&mut counts), ["POST /v1 → 503 ×3: why"]);
        assert!(again(&mut counts).is_empty());
        let late = told(counts.note(&miss(1, None, 3 * MAX_RETRY_PAUSE_MS)));
        assert_eq!((late.as_deref(), counts.misses), (Some("POST /v1 → 503 ×4: why"), 2));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut counts = Counts::default();
        for n in 0..MAX_TOLD as u64 + 10 {
            for _ in 0..2 {
                counts.note(&miss(n, Some(&"t".repeat(MAX_NAME_CHARS + 1)), 0));
            }
        }
        assert_eq!((counts.unmatched.len(), counts.known.len(), counts.tests.len()), (MAX_TOLD, MAX_TOLD, 0));
        assert_eq!(counts.misses, MAX_TOLD as u64 + 20, "those that are not kept are not known again");
        assert_eq!(counts.unmatched[0].test_id.as_ref().map(String::len), Some(MAX_NAME_CHARS));
        for n in 0..MAX_TESTS + 10 {
            counts.note(&miss(0, Some(&n.to_string()), 0));
        }
        assert_eq!(counts.tests.len(), MAX_TESTS);
    }
}
