//! One request's whole story: route, decode, match, decide, and then replay, relay or miss.

mod chaos;
mod decide;
mod edge;
mod forward;
mod intake;
mod probe;
mod remedy;
mod scope;

pub use decide::{Decision, Mode, decide};
pub use intake::Bodies;
pub(crate) use scope::scope;

use crate::app::App;
use crate::body::{Body, Broken};
use crate::clock;
use crate::config::{OnDrift, OnStale};
use crate::control;
use crate::fixture::table::{Hit, How, Miss, Policy};
use crate::fixture::{Asked, Origin};
use crate::flush::Flushes;
use crate::frame::Framing;
use crate::guard::{self, Door};
use crate::journal::{Answered, Entry, Source, Unanswered};
use crate::provider::{self, BadRequest, Call, Codec, Head, Matched};
use crate::record::{Choices, Plan};
use crate::replay::{self, Endpoint, Manner};
use crate::reply::{Answer, ErrorAnswer, RawAnswer, RawBody};
use crate::request::canonical::{Identity, Subject};
use crate::request::{Kind, Request};
use crate::twins::Joined;
use crate::upstream::{BaseUrl, unknown_credential};
use bytes::Bytes;
use edge::{closing, fixture_header, for_pages, preflight, refuse};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use intake::{Unread, read};
use remedy::{Means, remedy};
use scope::{scope_header, split_test};
use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;
use std::time::Instant;

const SOURCE: HeaderName = HeaderName::from_static("x-aimock-source");
const FIXTURE: HeaderName = HeaderName::from_static("x-aimock-fixture");
const MATCH: HeaderName = HeaderName::from_static("x-aimock-match");

/// What keeps SDKs from asking again what will not be answered: those that OpenAI and Anthropic have made obey the first,
/// others at least do not wait. <https://github.com/openai/openai-python/blob/main/src/openai/_base_client.py>
const NO_RETRY: [(HeaderName, HeaderValue); 2] = [
    (HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false")),
    (HeaderName::from_static("retry-after-ms"), HeaderValue::from_static("1")),
];

/// What the names of headers begin with that are meant for this server.
const OWN_HEADERS: &str = "x-aimock-";

/// Answers one request; says when all of it has come.
///
/// # Errors
/// [`Broken`]: the connection is to be closed without an answer.
pub async fn handle(
    app: Rc<App>,
    request: hyper::Request<Incoming>,
    connection: &Flushes,
) -> Result<Response<Body>, Broken> {
    let started = Instant::now();
    let (head, incoming) = request.into_parts();
    let own = control::is_control(head.uri.path());
    let readers = match app.guard.admit(door(&app, own, &head), &head) {
        Ok(readers) => readers,
        Err(refusal) => {
            let response = refuse(&app, &head, incoming, &refusal).await;
            connection.arrived();
            return Ok(response);
        }
    };
    if let Some(refusal) = refuse_head(&head) {
        connection.arrived();
        return Ok(for_pages(refusal, &readers));
    }
    let body = read(&app, incoming).await;
    connection.arrived();
    if body == Err(Unread::Gone) {
        return Err(Broken);
    }
    if guard::is_preflight(&head) {
        return Ok(for_pages(preflight(&head.headers), &readers));
    }
    if own {
        let answer = match body {
            Ok(body) => control::answer(&app, &head, &body),
            Err(unread) => closing(None, &unread.error(&app)),
        };
        return Ok(for_pages(answer, &readers));
    }
    let _active = app.active.begin();
    app.until_loaded().await;
    let checked = readers.are_checked();
    let exchange = Exchange { checked, ..Exchange::new(&app, &head, body.clone().unwrap_or_default(), started) };
    let answer = match body {
        Ok(_) => exchange.run().await,
        Err(unread) => {
            let error = unread.error(&app);
            let response = closing(Some(&exchange.matched), &error);
            Ok(exchange.finish(response, Outcome::miss(error.message)))
        }
    };
    answer.map(|answer| for_pages(answer, &readers))
}

/// How open what a request asks for is now.
fn door(app: &App, own: bool, head: &Parts) -> Door {
    match own {
        true if control::is_probe(head.uri.path()) => Door::Probe,
        false if !app.recording.borrow().forwards() => Door::Replay,
        _ => Door::Guarded,
    }
}

/// The answer to a request whose head alone is reason enough to read no further.
fn refuse_head(head: &Parts) -> Option<Response<Body>> {
    // Which of two hosts is meant nobody can say: <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>
    let two_hosts = head.headers.get_all(header::HOST).iter().nth(1).is_some();
    two_hosts.then(|| refusal(head, 400, "invalid_request", "the request has two host headers"))
}

/// The answer to a request for which there is no room.
pub fn turn_away(app: &App, head: &Parts) -> Response<Body> {
    let why = "there are more connections than --max-connections allows, and none of them is idle";
    app.warn_once(why);
    let response = refusal(head, 503, "overloaded", why);
    // Pages that may not ask may not read this either.
    match app.guard.admit(door(app, control::is_control(head.uri.path()), head), head) {
        Ok(readers) => for_pages(response, &readers),
        Err(_) => response,
    }
}

/// An error for a request that is looked at no further; in no provider's journal.
fn refusal(head: &Parts, status: u16, code: &str, message: &str) -> Response<Body> {
    let retry_after = (status == 503).then_some(intake::RETRY_AFTER_SECONDS);
    let (message, code) = (message.to_owned(), Some(code.to_owned()));
    let error = ErrorAnswer { status, message, code, retry_after, ..ErrorAnswer::default() };
    let (method, path) = (head.method.as_str(), split_test(head.uri.path()).1);
    let matched =
        provider::route(&Head { method, path, query: head.uri.query().unwrap_or(""), headers: &head.headers });
    closing(Some(&matched).filter(|_| !control::is_control(path)), &error)
}

/// What happened, for the journal and the answer's headers.
struct Outcome {
    source: Source,
    fixture: Option<(Origin, How)>,
    explanation: Option<String>,
    chaos: Option<&'static str>,
    unanswered: Unanswered,
}

impl Outcome {
    fn of(source: Source) -> Self {
        Outcome { source, fixture: None, explanation: None, chaos: None, unanswered: Unanswered::default() }
    }

    fn miss(why: String) -> Self {
        Outcome { explanation: Some(why), ..Outcome::of(Source::Miss) }
    }

    fn proxy() -> Self {
        Outcome::of(Source::Proxy)
    }
}

/// One request on its way.
struct Exchange<'a> {
    app: &'a Rc<App>,
    head: Head<'a>,
    /// Path and query without secrets.
    target: String,
    body: Bytes,
    matched: Matched<'a>,
    /// The wire it is read as: that of its endpoint, or none where it is not what its API takes.
    codec: &'static dyn Codec,
    /// Why it is not what its API takes.
    refused: Option<BadRequest>,
    test_id: Option<String>,
    /// There is a header whose name begins with [`OWN_HEADERS`].
    has_own_headers: bool,
    /// The guard looked at who asks. Recording may have begun since, and then it did not: nothing goes upstream.
    checked: bool,
    started: Instant,
}

impl<'a> Exchange<'a> {
    fn new(app: &'a Rc<App>, parts: &'a Parts, body: Bytes, started: Instant) -> Self {
        let (test_id, path) = split_test(parts.uri.path());
        let query = parts.uri.query().unwrap_or("");
        let in_path = test_id.and_then(|id| scope(provider::percent_decode(id).as_bytes(), &app.redactor));
        let head = Head { method: parts.method.as_str(), path, query, headers: &parts.headers };
        let matched = provider::route(&head);
        Exchange {
            app,
            head,
            target: app.redactor.safe_target(parts.uri.path_and_query().map_or("/", |t| t.as_str())),
            body,
            codec: matched.codec,
            refused: None,
            matched,
            test_id: scope_header(&head, "x-test-id", &app.redactor).or(in_path),
            has_own_headers: parts.headers.keys().any(|name| name.as_str().starts_with(OWN_HEADERS)),
            checked: false,
            started,
        }
    }

    async fn run(mut self) -> Result<Response<Body>, Broken> {
        if let Some(error) = self.next_error() {
            let response = replay::provider_error(self.matched.provider, Some(self.matched.codec), &error);
            let explanation = Some("an error that was ordered".to_owned());
            return Ok(self.finish(response, Outcome { explanation, ..Outcome::of(Source::Fixture) }));
        }
        let body = self.body.clone();
        let call = Call { head: self.head, params: self.matched.params.clone(), body: &body };
        match self.matched.codec.decode(&call) {
            Ok(request) => self.answer(&call, &request).await,
            Err(bad) => {
                // The upstream knows best what it refuses, and what it answers is kept as it is.
                self.codec = provider::verbatim();
                self.refused = Some(bad);
                self.answer(&call, &Request::new(Kind::Raw)).await
            }
        }
    }

    fn next_error(&self) -> Option<ErrorAnswer> {
        self.app.errors.borrow_mut().pop_front()
    }

    /// The answer to a request that its API would refuse.
    fn refuse(self, bad: &BadRequest, unanswered: Unanswered) -> Response<Body> {
        let error = ErrorAnswer {
            status: 400,
            message: self.app.redactor.redact(&bad.message).into_owned(),
            code: Some(bad.code.into()),
            param: bad.param.clone(),
            ..ErrorAnswer::default()
        };
        let why = error.message.clone();
        let response = replay::provider_error(self.matched.provider, Some(self.matched.codec), &error);
        self.finish(response, Outcome { unanswered, ..Outcome::miss(why) })
    }

    fn mode(&self) -> Mode {
        let header = self.strict_header();
        let recording = self.app.recording.borrow();
        Mode {
            upstream: self.checked
                && recording.forwards()
                && recording.upstreams.get(self.matched.provider).is_some()
                && self.unknown_credential().is_none(),
            strict: self.app.config.strict,
            header,
            ask_anew: recording.record && (self.app.config.refresh || self.app.config.record_repeats),
        }
    }

    /// A header that is meant for this server; most requests have none.
    fn own_header(&self, name: &str) -> Option<&'a str> {
        if self.has_own_headers { self.head.header(name) } else { None }
    }

    fn strict_header(&self) -> Option<bool> {
        let value = self.own_header("x-aimock-strict")?;
        let is = |words: [&str; 2]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
        if is(["true", "1"]) { Some(true) } else { is(["false", "0"]).then_some(false) }
    }

    fn base(&self) -> Option<BaseUrl> {
        self.app.recording.borrow().upstreams.get(self.matched.provider).cloned()
    }

    async fn answer(self, call: &Call<'_>, request: &Request<'_>) -> Result<Response<Body>, Broken> {
        let app = self.app;
        let path = self.match_path(request.kind);
        let wire = provider::identity_wire(self.codec, self.head.method, &path);
        let content_type = self.head.header("content-type").unwrap_or("");
        let subject = Subject { wire: &wire, model: &request.model, body: call.body, content_type, codec: self.codec };
        let identity = Identity::new(subject, &app.redactor, &app.ignore);
        let mut asked = Asked::new(request, &identity, self.head.method, &path);
        let context =
            if self.has_own_headers { scope_header(&self.head, "x-aimock-context", &app.redactor) } else { None };
        let test_id = self.test_id.clone();
        asked.context = context.as_deref();
        asked.test_id = test_id.as_deref();
        let mode = self.mode();
        let strict = mode.header.unwrap_or(mode.strict);
        let policy = Policy {
            recording: mode.upstream && mode.header != Some(true) && app.recording.borrow().record,
            reuse_volatile: app.config.reuse_volatile,
            on_drift: app.config.drift(strict),
            strict,
        };
        let mut unharmed = false;
        // One like it has just been recorded.
        let mut fresh = false;
        let mut turn = None;
        loop {
            let found = app.table.borrow().find(&asked, &policy);
            // Rules are written for requests that the API takes.
            let found = found.and_then(|hit| match hit.how {
                How::Rule if self.refused.is_some() => Err(Miss::default()),
                _ => Ok(hit),
            });
            if !std::mem::replace(&mut unharmed, true)
                && let Some(fault) = self.chaos(&asked, found.as_ref().ok())
            {
                let hit = found.as_ref().ok();
                return self.fault(fault, &asked, decide(mode, hit.map(|hit| hit.how)), hit);
            }
            let stale = found.as_ref().is_ok_and(|hit| self.stale(hit));
            let refuse_stale = stale && app.config.on_stale == OnStale::Fail;
            let how = found.as_ref().ok().map(|hit| hit.how);
            let mode = Mode { ask_anew: (mode.ask_anew && !fresh) || refuse_stale, ..mode };
            match (decide(mode, how), &found) {
                (Decision::Replay, Ok(hit)) if !refuse_stale => return Ok(self.replay(request, &asked, hit)),
                (Decision::Relay, _) => {
                    let Some(base) = self.base() else {
                        return Ok(self.miss(call, &asked, strict, Miss::default()));
                    };
                    if !app.recording.borrow().record {
                        return Ok(Box::pin(self.relay(&base, request.framing, None, None)).await);
                    }
                    // Where every answer counts, none waits for another.
                    if turn.is_none() && !app.config.record_repeats {
                        match app.twins.join(asked.key()) {
                            Joined::Goes(first) => turn = Some(first),
                            Joined::Waits(waiting) => {
                                turn = waiting.over().await;
                                fresh = turn.is_none();
                                continue; // the fixtures may be others by now
                            }
                        }
                    }
                    let plan = self.plan(&asked, found.as_ref().ok().filter(|_| mode.ask_anew));
                    // Boxed, as every connection has room for the largest step of an exchange.
                    return Ok(Box::pin(self.relay(&base, request.framing, Some(plan), turn)).await);
                }
                (_, Ok(hit)) => {
                    let stale = app.table.borrow().stale(hit);
                    return Ok(self.miss(call, &asked, strict, stale));
                }
                (_, Err(_)) => return Ok(self.miss(call, &asked, strict, found.err().unwrap_or_default())),
            }
        }
    }

    /// The path that fixtures match.
    fn match_path(&self, kind: Kind) -> Cow<'a, str> {
        if kind != Kind::Raw && self.target == self.head.path {
            return Cow::Borrowed(self.head.path); // it has no secrets
        }
        Cow::Owned(provider::match_path(&self.head, kind, &self.app.redactor))
    }

    /// The wire format and mode that a wire recording answers.
    fn wire_endpoint(&self, framing: Framing) -> String {
        let mode = match framing {
            Framing::Whole => "whole",
            Framing::Sse => "sse",
            Framing::Ndjson => "ndjson",
            Framing::JsonArray => "json-array",
            Framing::EventStream => "eventstream",
        };
        format!("{} {mode}", self.codec.wire())
    }

    fn stale(&self, hit: &Hit) -> bool {
        let Some(days) = self.app.config.max_age_days else { return false };
        let fixture = self.app.table.borrow().fixture(hit.row);
        let recorded_at = fixture.metadata.recorded_at.as_deref();
        let Some(recorded_at) = recorded_at.and_then(clock::parse_rfc3339) else { return false };
        let age = clock::unix_ms().div_euclid(1000) - recorded_at;
        age > i64::try_from(days).unwrap_or(i64::MAX).saturating_mul(86_400)
    }

    fn plan(&self, asked: &Asked<'_>, anew: Option<&Hit>) -> Plan {
        let app = self.app;
        let recording = app.recording.borrow();
        let table = app.table.borrow();
        let next_index = app.config.record_repeats.then(|| table.next_index(asked));
        let anew = anew.filter(|_| next_index.is_none());
        if let Some(hit) = anew {
            table.count_hit(hit, asked); // it is used, and the next one of its sequence is next
        }
        let anew = anew.map(|hit| (table.rows()[hit.row].origin(), table.fixture(hit.row)));
        let choices = Choices {
            folder: &recording.folder,
            keep_model_date: app.config.record_full_model_version,
            next_index,
            instead: anew.as_ref().map(|(origin, fixture)| (origin, &**fixture)),
        };
        Plan::new(asked, self.matched.provider, self.codec, self.wire_endpoint(asked.request.framing), &choices)
    }

    // ------------------------------------------------------------------------------------------------------ replay

    fn replay(self, request: &Request<'_>, asked: &Asked<'_>, hit: &Hit) -> Response<Body> {
        let app = self.app;
        let table = app.table.borrow();
        table.count_hit(hit, asked);
        let row = &table.rows()[hit.row];
        let explanation = self.warn_of(row, hit, asked, &table);
        let fixture = table.fixture(hit.row);
        let fixture_origin = (row.origin(), hit.how);
        drop(table);
        let outcome = Outcome { fixture: Some(fixture_origin), explanation, ..Outcome::of(Source::Fixture) };
        let endpoint = Endpoint { provider: self.matched.provider, codec: self.matched.codec, request };
        let mut response = match &fixture.wire {
            Some(wire) if wire.endpoint == self.wire_endpoint(request.framing) && replay::unedited(&fixture) => {
                replay::wire(wire, &fixture.playback, &self.manner())
            }
            _ => replay::respond(&fixture, &endpoint, &self.manner()),
        };
        if let (Answer::Raw(RawAnswer { body: RawBody::Absent(length), .. }), "HEAD") =
            (&fixture.answer, self.head.method)
        {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(*length));
        }
        self.finish(response, outcome)
    }

    /// Says what is not quite right with a hit: drift and staleness once a fixture, an exhausted sequence each time.
    fn warn_of(
        &self,
        row: &crate::fixture::table::Row,
        hit: &Hit,
        asked: &Asked<'_>,
        table: &crate::fixture::table::FixtureTable,
    ) -> Option<String> {
        if hit.exhausted {
            self.warn(format_args!(
                "the sequence that ends at {} is exhausted: its last answer is repeated",
                row.origin()
            ));
        }
        if self.stale(hit) && !row.stale_logged.replace(true) {
            self.warn(format_args!("the recording {} is older than --max-age allows", row.origin()));
        }
        if hit.how != How::Drift {
            return None;
        }
        let changed = table.drift(hit.row, asked);
        let what = if changed.is_empty() { "the request differs".to_owned() } else { changed.join(", ") };
        let message = format!("drift: {} was recorded from another request: {what}", row.origin());
        let warns = self.app.config.on_drift != Some(OnDrift::Ignore);
        if warns && !row.drift_logged.replace(true) {
            self.warn(&message);
        }
        Some(message)
    }

    /// A line of the log that says which test it is about.
    fn warn(&self, message: impl fmt::Display) {
        match &self.test_id {
            Some(test) => self.app.log.warn(format_args!("{message} (test {test})")),
            None => self.app.log.warn(message),
        }
    }

    fn manner(&self) -> Manner {
        let config = &self.app.config;
        Manner {
            latency_ms: config.latency_ms,
            chunk_chars: config.chunk_chars,
            replay_speed: config.replay_speed,
            now: clock::unix_ms().div_euclid(1000),
            seed: self.seed(),
        }
    }

    /// What ids are made up from: the same request gets the same ones each time.
    fn seed(&self) -> u64 {
        let (path, body) = (crc32fast::hash(self.head.path.as_bytes()), crc32fast::hash(&self.body));
        u64::from(path) << 32 | u64::from(body)
    }

    // -------------------------------------------------------------------------------------------------------- miss

    fn miss(mut self, call: &Call<'_>, asked: &Asked<'_>, strict: bool, miss: Miss) -> Response<Body> {
        let unanswered = Unanswered::MissOf(asked.identity.get().volatile);
        if let Some(bad) = self.refused.take() {
            return self.refuse(&bad, unanswered);
        }
        if !strict {
            let table = self.app.table.borrow();
            let models = models_of(table.rows().iter().filter_map(|row| row.model()));
            if let Some(json) = self.matched.codec.without_fixture(call, asked.request, &models) {
                let response = replay::json_response(StatusCode::OK, &json);
                drop(table);
                return self.finish(response, Outcome::of(Source::Fixture));
            }
        }
        if probe::is_probe(self.head.method, self.head.path) {
            let why = "no fixture is for it, and it is no API call: nothing is missing".to_owned();
            let response = self.not_answered(404, "unknown_endpoint", &why);
            return self.finish(response, Outcome { unanswered: Unanswered::Nothing, ..Outcome::miss(why) });
        }
        let why = self.explain(miss, asked);
        let (status, code) = match (strict, self.matched.known) {
            (true, _) => (503, "no_fixture_match"),
            (false, true) => (404, "no_fixture_match"),
            (false, false) => (404, "unknown_endpoint"),
        };
        let strictly = if strict { "strict: " } else { "" };
        let mut response =
            self.not_answered(status, code, &format!("{strictly}no fixture matches this request; {why}"));
        if strict {
            response.headers_mut().extend(NO_RETRY);
        }
        self.finish(response, Outcome { unanswered, ..Outcome::miss(why) })
    }

    /// The name of a raw request's credential, where that is none of any provider's: only a guess says whose it is.
    fn unknown_credential(&self) -> Option<&str> {
        if self.matched.known { None } else { unknown_credential(&self.head, &self.app.guard.keys) }
    }

    /// Why nothing answers, and what would.
    fn explain(&self, miss: Miss, asked: &Asked<'_>) -> String {
        let miss = self.app.table.borrow().explained(miss, asked);
        let recording = self.app.recording.borrow();
        let means = Means {
            provider: self.matched.provider.name,
            forwards: recording.forwards(),
            upstream: recording.upstreams.get(self.matched.provider).is_some(),
            forbidden: self.strict_header() == Some(true),
            foreign: self.unknown_credential(),
        };
        let why = format!("{}; {}", miss.explain(asked), remedy(&miss, &means));
        self.app.redactor.redact(&why).into_owned()
    }

    /// An error of this server's own in the provider's shape.
    fn not_answered(&self, status: u16, code: &str, message: &str) -> Response<Body> {
        let error = ErrorAnswer { status, message: message.into(), code: Some(code.into()), ..ErrorAnswer::default() };
        replay::provider_error(self.matched.provider, Some(self.matched.codec), &error)
    }

    /// Marks the answer and notes it in the journal.
    fn finish(self, mut response: Response<Body>, outcome: Outcome) -> Response<Body> {
        let headers = response.headers_mut();
        headers.insert(SOURCE, HeaderValue::from_static(outcome.source.word()));
        if let Some((origin, how)) = &outcome.fixture {
            if let Some(value) = fixture_header(origin) {
                headers.insert(FIXTURE, value);
            }
            headers.insert(MATCH, HeaderValue::from_static(how.word()));
        }
        self.note(response.status().as_u16(), outcome);
        response
    }

    fn note(self, status: u16, outcome: Outcome) {
        let strict = self.strict_header();
        let entry = Entry {
            id: 0,
            timestamp_ms: clock::unix_ms(),
            method: self.head.method.to_owned(),
            path: self.target,
            headers: self.head.headers.into(),
            body: (&*self.body).into(),
            provider: self.matched.provider.name,
            endpoint: self.codec.kind().word(),
            test_id: self.test_id,
            strict,
            answered: Answered {
                source: outcome.source,
                status,
                fixture: outcome.fixture,
                explanation: outcome.explanation,
                duration: self.started.elapsed(),
                chaos: outcome.chaos,
                unanswered: outcome.unanswered,
            },
        };
        self.app.observe(entry);
    }
}

fn models_of<'m>(models: impl Iterator<Item = &'m str>) -> Vec<&'m str> {
    let mut models: Vec<&str> = models.collect();
    models.sort_unstable();
    models.dedup();
    models
}
