//! How often what happened, for the report at the end and for `/metrics`.

use crate::fixture::Origin;
use crate::fixture::table::{FixtureTable, How, Row};
use crate::journal::{Answered, Entry, Source};
use crate::log::Logger;
use crate::provider;
use serde_json::{Value, json};
use std::fmt;

/// Most misses, and most drifted fixtures, that a report tells one by one; all are counted.
const MAX_TOLD: usize = 100;

/// Most misses, drifted fixtures and unused fixtures that a summary shows.
const MAX_SHOWN: usize = 20;

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
    /// Requests that nothing answered.
    pub misses: u64,
    /// Recordings written.
    pub recorded: u64,
    /// Recordings that could not be written.
    pub record_errors: u64,
    /// What each upstream made of the requests that it was sent.
    upstreams: Vec<Upstream>,
    /// The first misses, each with its explanation.
    unmatched: Vec<Unmatched>,
    /// Fixtures that answered another request than the one they were recorded from, with what first differed.
    drifts: Vec<(Origin, String)>,
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
}

/// `POST /v1/chat/completions → 404: the nearest fixture is …`
impl fmt::Display for Unmatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} → {}", self.method, self.path, self.status)?;
        if let Some(test) = &self.test_id {
            write!(f, " (test {test})")?;
        }
        if self.explanation.is_empty() { Ok(()) } else { write!(f, ": {}", self.explanation) }
    }
}

impl Counts {
    /// Counts a request.
    pub fn note(&mut self, entry: &Entry) {
        let answered = &entry.answered;
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
            Source::Miss => {
                self.misses += 1;
                if self.unmatched.len() < MAX_TOLD {
                    self.unmatched.push(Unmatched {
                        method: entry.method.clone(),
                        path: entry.path_alone().to_owned(),
                        test_id: entry.test_id.clone(),
                        status: answered.status,
                        explanation: answered.explanation.clone().unwrap_or_default(),
                    });
                }
            }
        }
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

    /// Tells people what happened: the counts, every miss, every fixture that drifted, and those that are unused.
    pub fn summarize(&self, table: &FixtureTable, log: &Logger) {
        log.info(self);
        let more = |n: u64, told: usize| n.saturating_sub(told as u64);
        for miss in self.unmatched.iter().take(MAX_SHOWN) {
            log.warn(format_args!("unmatched: {miss}"));
        }
        if more(self.misses, MAX_SHOWN) > 0 {
            log.warn(format_args!("unmatched: {} more", more(self.misses, MAX_SHOWN)));
        }
        for (_, message) in self.drifts.iter().take(MAX_SHOWN) {
            log.warn(message);
        }
        let unused: Vec<String> = unused(table).map(|row| row.origin().to_string()).collect();
        if !unused.is_empty() {
            let shown = unused[..unused.len().min(MAX_SHOWN)].join(", ");
            let more = more(unused.len() as u64, MAX_SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            log.info(format_args!("{} unused: {shown}{more}", unused.len()));
        }
    }

    /// The report as JSON: counts, upstreams that `refused` all that they were sent, `unmatched` requests with why,
    /// `drifts`, and which `fixtures` of files answered how often and which are `unused`.
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
            })
        });
        let drifts = self.drifts.iter().map(|(origin, message)| with(origin, "explanation", message.as_str().into()));
        let used = table.rows().iter().filter(|row| row.hits.get() > 0);
        let used = used.map(|row| with(&row.origin(), "hits", row.hits.get().into()));
        let refused = self.refusing().map(|upstream| {
            json!({"provider": upstream.provider, "requests": upstream.requests, "explanation": upstream.to_string()})
        });
        let unused = unused(table).map(|row| with(&row.origin(), "recorded", row.recorded().into()));
        json!({
            "hits": self.hits,
            "drifted": self.drifted,
            "relayed": self.relayed,
            "misses": self.misses,
            "recorded": self.recorded,
            "recordErrors": self.record_errors,
            "refused": refused.collect::<Value>(),
            "unmatched": unmatched.collect::<Value>(),
            "drifts": drifts.collect::<Value>(),
            "fixtures": used.collect::<Value>(),
            "unused": unused.collect::<Value>(),
        })
    }
}

/// Fixtures of files that answered nothing. What was recorded just now answered through its upstream.
pub fn unused(table: &FixtureTable) -> impl Iterator<Item = &Row> {
    table.rows().iter().filter(|row| row.hits.get() == 0 && row.path().is_some() && !row.fresh)
}
