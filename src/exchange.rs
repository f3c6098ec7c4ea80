//! One request's whole story: route, decode, match, decide, and then replay, relay or miss.

use crate::app::{App, Waiting};
use crate::body::{Body, Broken};
use crate::clock;
use crate::config::{OnDrift, OnStale};
use crate::control;
use crate::fixture::table::{Hit, How, Policy};
use crate::fixture::{Asked, Origin};
use crate::frame::Framing;
use crate::journal::{Answered, Entry, Source};
use crate::provider::{self, BadRequest, Call, Head, Matched, PROVIDERS};
use crate::record::{Choices, Plan};
use crate::redact::Redactor;
use crate::relay::{self, InFlight};
use crate::replay::{self, Endpoint, Manner};
use crate::reply::ErrorAnswer;
use crate::request::canonical::{Hash, Identity, Subject};
use crate::request::{Kind, Request};
use crate::upstream::{BaseUrl, Outgoing, Signing, forward_headers, relay_headers, sign};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use std::borrow::Cow;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

const SOURCE: HeaderName = HeaderName::from_static("x-aimock-source");
const FIXTURE: HeaderName = HeaderName::from_static("x-aimock-fixture");
const MATCH: HeaderName = HeaderName::from_static("x-aimock-match");
const RECORD_ERROR: HeaderName = HeaderName::from_static("x-aimock-record-error");

/// What the names of headers begin with that are meant for this server.
const OWN_HEADERS: &str = "x-aimock-";

/// What stands before any endpoint, for clients that cannot set `X-Test-Id`: `/__test/{id}/…`.
const TEST_PREFIX: &str = "/__test/";

/// How long a request waits for the recording of one like it, before it goes upstream itself.
const MAX_TURN_WAIT: Duration = Duration::from_secs(120);

/// What is to become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A fixture answers.
    Replay,
    /// The upstream answers.
    Relay,
    /// Nobody answers: 404.
    NotFound,
    /// Nobody answers, and that must not be: 503.
    Refuse,
}

/// What decides between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// Misses are forwarded (`--record` or `--proxy-only`), and the provider has an upstream.
    pub upstream: bool,
    /// `--strict`.
    pub strict: bool,
    /// `X-AIMock-Strict`; `Some(true)` also forbids the upstream.
    pub header: Option<bool>,
    /// The upstream is asked even where a recording fits (`--refresh`, `--record-repeats`, a stale recording).
    pub ask_anew: bool,
}

/// Decides what becomes of a request, from the mode and from how a fixture was found, if one was.
pub fn decide(mode: Mode, hit: Option<How>) -> Decision {
    let may_relay = mode.upstream && mode.header != Some(true);
    let recorded = matches!(hit, Some(How::Exact | How::Volatile | How::Drift));
    match hit {
        Some(_) if !(mode.ask_anew && recorded && may_relay) => Decision::Replay,
        _ if may_relay => Decision::Relay,
        _ if mode.header.unwrap_or(mode.strict) => Decision::Refuse,
        _ => Decision::NotFound,
    }
}

/// Answers one request.
///
/// # Errors
/// [`Broken`]: the connection is to be closed without an answer.
pub async fn handle(app: Rc<App>, request: hyper::Request<Incoming>) -> Result<Response<Body>, Broken> {
    let started = Instant::now();
    let (head, incoming) = request.into_parts();
    if head.method == Method::OPTIONS && head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        return Ok(preflight(&head.headers));
    }
    let body = read(incoming, app.config.max_body_bytes).await?;
    if control::is_control(head.uri.path()) {
        let answer = match body {
            Some(body) => control::answer(&app, &head, &body),
            None => too_large(&app, None),
        };
        return Ok(with_cors(answer));
    }
    let _active = app.active.begin();
    app.until_loaded().await;
    let exchange = Exchange::new(&app, &head, body.clone().unwrap_or_default(), started);
    let answer = match body {
        Some(_) => exchange.run().await,
        None => {
            let why = "the request's body is longer than --max-body-bytes".to_owned();
            let response = too_large(&app, Some(&exchange.matched));
            Ok(exchange.finish(response, Outcome::miss(why)))
        }
    };
    answer.map(with_cors)
}

/// The whole body; `None` where it is longer than allowed.
async fn read(incoming: Incoming, max_bytes: usize) -> Result<Option<Bytes>, Broken> {
    if incoming.size_hint().lower() > max_bytes as u64 {
        return Ok(None);
    }
    match Limited::new(incoming, max_bytes).collect().await {
        Ok(body) => Ok(Some(body.to_bytes())),
        Err(e) if e.is::<LengthLimitError>() => Ok(None),
        Err(_) => Err(Broken), // the client went away
    }
}

fn preflight(asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE"));
    let wanted = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.unwrap_or(HeaderValue::from_static("*")));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    with_cors(response)
}

fn with_cors(mut response: Response<Body>) -> Response<Body> {
    let any = || HeaderValue::from_static("*");
    response.headers_mut().entry(header::ACCESS_CONTROL_ALLOW_ORIGIN).or_insert_with(any);
    response
}

fn too_large(app: &App, matched: Option<&Matched<'_>>) -> Response<Body> {
    let error = ErrorAnswer {
        status: 413,
        message: format!("the request's body is longer than {} bytes (--max-body-bytes)", app.config.max_body_bytes),
        code: Some("body_too_large".into()),
        ..ErrorAnswer::default()
    };
    let (provider, codec) = match matched {
        Some(matched) => (matched.provider, Some(matched.codec)),
        None => (PROVIDERS[PROVIDERS.len() - 1], None),
    };
    let mut response = replay::provider_error(provider, codec, &error);
    // What is left of the body is not read.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// What happened, for the journal and the answer's headers.
struct Outcome {
    source: Source,
    fixture: Option<(Origin, How)>,
    explanation: Option<String>,
    chaos: Option<&'static str>,
}

impl Outcome {
    fn miss(why: String) -> Self {
        Outcome { source: Source::Miss, fixture: None, explanation: Some(why), chaos: None }
    }

    fn proxy() -> Self {
        Outcome { source: Source::Proxy, fixture: None, explanation: None, chaos: None }
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
    test_id: Option<String>,
    /// There is a header whose name begins with [`OWN_HEADERS`].
    has_own_headers: bool,
    started: Instant,
}

impl<'a> Exchange<'a> {
    fn new(app: &'a Rc<App>, parts: &'a Parts, body: Bytes, started: Instant) -> Self {
        let (test_id, path) = match parts.uri.path().strip_prefix(TEST_PREFIX).and_then(|rest| rest.split_once('/')) {
            // The slash that ends the id begins the path.
            Some((id, _)) => (Some(id), &parts.uri.path()[TEST_PREFIX.len() + id.len()..]),
            None => (None, parts.uri.path()),
        };
        let query = parts.uri.query().unwrap_or("");
        let in_path = test_id.and_then(|id| scope(provider::percent_decode(id).as_bytes(), &app.redactor));
        let head = Head { method: parts.method.as_str(), path, query, headers: &parts.headers };
        Exchange {
            app,
            head,
            target: app.redactor.safe_target(parts.uri.path_and_query().map_or("/", |t| t.as_str())),
            body,
            matched: provider::route(&head),
            test_id: scope_header(&head, "x-test-id", &app.redactor).or(in_path),
            has_own_headers: parts.headers.keys().any(|name| name.as_str().starts_with(OWN_HEADERS)),
            started,
        }
    }

    async fn run(self) -> Result<Response<Body>, Broken> {
        if let Some(error) = self.next_error() {
            let response = replay::provider_error(self.matched.provider, Some(self.matched.codec), &error);
            let explanation = Some("an error that was ordered".to_owned());
            let outcome = Outcome { source: Source::Fixture, fixture: None, explanation, chaos: None };
            return Ok(self.finish(response, outcome));
        }
        let body = self.body.clone();
        let call = Call { head: self.head, params: self.matched.params.clone(), body: &body };
        match self.matched.codec.decode(&call) {
            Ok(request) => self.answer(&call, &request).await,
            Err(bad) => Ok(self.undecodable(bad).await),
        }
    }

    fn next_error(&self) -> Option<ErrorAnswer> {
        self.app.errors.borrow_mut().pop_front()
    }

    /// The upstream knows best what it refuses; without one, the answer is 400.
    async fn undecodable(self, bad: BadRequest) -> Response<Body> {
        let mode = self.mode();
        if decide(mode, None) == Decision::Relay
            && let Some(base) = self.base()
        {
            return Box::pin(self.relay(&base, Framing::Whole, None, None)).await;
        }
        let error = ErrorAnswer {
            status: 400,
            message: self.app.redactor.redact(&bad.message).into_owned(),
            code: Some(bad.code.into()),
            param: bad.param,
            ..ErrorAnswer::default()
        };
        let why = error.message.clone();
        let response = replay::provider_error(self.matched.provider, Some(self.matched.codec), &error);
        self.finish(response, Outcome::miss(why))
    }

    fn mode(&self) -> Mode {
        let header = self.strict_header();
        let recording = self.app.recording.borrow();
        Mode {
            upstream: (recording.record || recording.proxy_only)
                && recording.upstreams.get(self.matched.provider).is_some(),
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
        let wire = provider::identity_wire(self.matched.codec, self.head.method, &path);
        let content_type = self.head.header("content-type").unwrap_or("");
        let subject =
            Subject { wire: &wire, model: &request.model, body: call.body, content_type, codec: self.matched.codec };
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
        loop {
            let found = app.table.borrow().find(&asked, &policy);
            if !std::mem::replace(&mut unharmed, true)
                && let Some(fault) = self.chaos(&asked, found.as_ref().ok())
            {
                return self.fault(fault, decide(mode, found.as_ref().ok().map(|hit| hit.how)), found.as_ref().ok());
            }
            let stale = found.as_ref().is_ok_and(|hit| self.stale(hit));
            let refuse_stale = stale && app.config.on_stale == OnStale::Fail;
            let how = found.as_ref().ok().map(|hit| hit.how);
            let mode = Mode { ask_anew: (mode.ask_anew && !fresh) || refuse_stale, ..mode };
            match (decide(mode, how), &found) {
                (Decision::Replay, Ok(hit)) if !refuse_stale => return self.replay(call, request, &asked, hit),
                (Decision::Relay, _) => {
                    let Some(base) = self.base() else { return Ok(self.miss(call, request, strict, String::new())) };
                    if !app.recording.borrow().record {
                        return Ok(Box::pin(self.relay(&base, request.framing, None, None)).await);
                    }
                    let turn = match (!app.config.record_repeats).then(|| self.turn(&asked)) {
                        Some(Ok(turn)) => Some(turn),
                        Some(Err(waiting)) if timeout(MAX_TURN_WAIT, waiting.over.notified()).await.is_ok() => {
                            fresh = waiting.recorded.get();
                            continue;
                        }
                        // Every answer counts, or the other request's client reads too slowly: no turn is kept.
                        _ => None,
                    };
                    let plan = self.plan(&asked, found.as_ref().ok().filter(|_| mode.ask_anew));
                    // Boxed, as every connection has room for the largest step of an exchange.
                    return Ok(Box::pin(self.relay(&base, request.framing, Some(plan), turn)).await);
                }
                (_, Ok(hit)) => {
                    let origin = app.table.borrow().rows()[hit.row].origin.clone();
                    let why = format!("the recording {origin} is older than --max-age allows");
                    return Ok(self.miss(call, request, strict, why));
                }
                (_, Err(miss)) => {
                    let why = app.redactor.redact(&miss.explain(request.kind)).into_owned();
                    return Ok(self.miss(call, request, strict, why));
                }
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
        format!("{} {mode}", self.matched.codec.wire())
    }

    fn stale(&self, hit: &Hit) -> bool {
        let Some(days) = self.app.config.max_age_days else { return false };
        let table = self.app.table.borrow();
        let recorded_at = table.rows()[hit.row].fixture.metadata.recorded_at.as_deref();
        let Some(recorded_at) = recorded_at.and_then(clock::parse_rfc3339) else { return false };
        let age = clock::unix_ms().div_euclid(1000) - recorded_at;
        age > i64::try_from(days).unwrap_or(i64::MAX).saturating_mul(86_400)
    }

    /// This request's turn to go upstream, or what to wait for where one like it is on its way.
    fn turn(&self, asked: &Asked<'_>) -> Result<InFlight, Rc<Waiting>> {
        let key = asked.key();
        let mut in_flight = self.app.in_flight.borrow_mut();
        if let Some(waiting) = in_flight.get(&key) {
            return Err(waiting.clone());
        }
        in_flight.insert(key.clone(), Rc::default());
        Ok(InFlight { app: self.app.clone(), key })
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
        let choices = Choices {
            folder: &recording.folder,
            keep_model_date: app.config.record_full_model_version,
            next_index,
            instead: anew.map(|hit| (&table.rows()[hit.row].origin, &*table.rows()[hit.row].fixture)),
        };
        Plan::new(asked, self.matched.provider, self.wire_endpoint(asked.request.framing), &choices)
    }

    // ------------------------------------------------------------------------------------------------------ replay

    fn replay(
        self,
        call: &Call<'_>,
        request: &Request<'_>,
        asked: &Asked<'_>,
        hit: &Hit,
    ) -> Result<Response<Body>, Broken> {
        let app = self.app;
        let table = app.table.borrow();
        table.count_hit(hit, asked);
        let row = &table.rows()[hit.row];
        let explanation = self.warn_of(row, hit, asked, &table);
        let fixture = row.fixture.clone();
        let fixture_origin = (row.origin.clone(), hit.how);
        drop(table);
        let outcome = Outcome { source: Source::Fixture, fixture: Some(fixture_origin), explanation, chaos: None };
        let endpoint = Endpoint { provider: self.matched.provider, codec: self.matched.codec, request };
        let response = match &fixture.wire {
            Some(wire) if wire.endpoint == self.wire_endpoint(request.framing) && replay::unedited(&fixture) => {
                replay::wire(wire, &fixture.playback, &self.manner())
            }
            _ => replay::respond(&fixture, &endpoint, &self.manner()),
        };
        let _ = call;
        Ok(self.finish(response, outcome))
    }

    /// Says what is not quite right with a hit: drift and staleness once a fixture, an exhausted sequence each time.
    fn warn_of(
        &self,
        row: &crate::fixture::table::Row,
        hit: &Hit,
        asked: &Asked<'_>,
        table: &crate::fixture::table::FixtureTable,
    ) -> Option<String> {
        let log = &self.app.log;
        if hit.exhausted {
            log.warn(format_args!(
                "the sequence that ends at {} is exhausted: its last answer is repeated",
                row.origin
            ));
        }
        if self.stale(hit) && !row.stale_logged.replace(true) {
            log.warn(format_args!("the recording {} is older than --max-age allows", row.origin));
        }
        if hit.how != How::Drift {
            return None;
        }
        let changed = table.drift(hit.row, asked);
        let what = if changed.is_empty() { "the request differs".to_owned() } else { changed.join(", ") };
        let message = format!("drift: {} was recorded from another request: {what}", row.origin);
        let warns = self.app.config.on_drift != Some(OnDrift::Ignore);
        if warns && !row.drift_logged.replace(true) {
            log.warn(&message);
        }
        Some(message)
    }

    fn manner(&self) -> Manner {
        let config = &self.app.config;
        Manner {
            latency_ms: config.latency_ms,
            chunk_chars: config.chunk_chars,
            replay_speed: config.replay_speed,
            now: clock::unix_ms().div_euclid(1000),
            seed: self.app.next_seed(),
        }
    }

    /// The fault that is due, if one is: what the request's headers say goes before the fixture, that before what was
    /// ordered for the test, and that before the configuration. One draw a kind, in this order, and the first that hits
    /// wins.
    fn chaos(&self, asked: &Asked<'_>, hit: Option<&Hit>) -> Option<Fault> {
        let test = asked.test_id.unwrap_or("");
        let server = self.app.chaos_rates(test);
        let own = hit.and_then(|hit| self.app.table.borrow().rows()[hit.row].fixture.playback.chaos);
        let own = own.unwrap_or_default();
        let header = |name: &str| self.own_header(name)?.parse::<f64>().ok().filter(|rate| (0.0..=1.0).contains(rate));
        let rates = [
            (Fault::Drop, header("x-aimock-chaos-drop").or(own.drop).or(server.drop)),
            (Fault::Malformed, header("x-aimock-chaos-malformed").or(own.malformed).or(server.malformed)),
            (Fault::Disconnect, header("x-aimock-chaos-disconnect").or(own.disconnect).or(server.disconnect)),
        ];
        let rates = rates.map(|(fault, rate)| (fault, rate.unwrap_or(0.0)));
        if rates.iter().all(|(_, rate)| *rate == 0.0) {
            return None;
        }
        let mut draw = self.app.chaos_draws(asked.identity.get().volatile, test);
        rates.into_iter().find(|(_, rate)| draw() < *rate).map(|(fault, _)| fault)
    }

    /// Answers with a fault in place of what was decided.
    fn fault(self, fault: Fault, instead_of: Decision, hit: Option<&Hit>) -> Result<Response<Body>, Broken> {
        let table = self.app.table.borrow();
        let (source, fixture) = match (instead_of, hit) {
            (Decision::Relay, _) => (Source::Proxy, None),
            (_, Some(hit)) => (Source::Fixture, Some((table.rows()[hit.row].origin.clone(), hit.how))),
            (_, None) => (Source::Miss, None),
        };
        drop(table);
        let outcome = Outcome { source, fixture, explanation: None, chaos: Some(fault.word()) };
        let response = match fault {
            Fault::Drop => {
                let error = ErrorAnswer {
                    status: 500,
                    message: "chaos: the request was dropped".into(),
                    code: Some("chaos_drop".into()),
                    ..ErrorAnswer::default()
                };
                replay::provider_error(self.matched.provider, Some(self.matched.codec), &error)
            }
            Fault::Malformed => {
                let mut response = Response::new(Body::whole("{\"chaos\": <<<malformed"));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Fault::Disconnect => {
                self.note(0, outcome);
                return Err(Broken);
            }
        };
        Ok(self.finish(response, outcome))
    }

    // ------------------------------------------------------------------------------------------------------- relay

    async fn relay(
        self,
        base: &BaseUrl,
        framing: Framing,
        plan: Option<Plan>,
        turn: Option<InFlight>,
    ) -> Response<Body> {
        let app = self.app;
        let mut headers = forward_headers(self.head.headers);
        let query = app.keys.apply(self.matched.provider, &mut headers, self.head.query);
        let target = base.target(self.head.path, &query);
        let method = Method::from_bytes(self.head.method.as_bytes()).unwrap_or(Method::POST);
        let mut outgoing = Outgoing { method, target, headers, body: self.body.clone() };
        self.sign(base, &mut outgoing);
        let sent = Instant::now();
        let answer = match app.client.send(base, outgoing).await {
            Ok(answer) => {
                app.metrics.borrow_mut().upstream(self.matched.provider.name, sent.elapsed());
                answer
            }
            Err(e) => {
                drop(turn);
                return self.unreachable(&e);
            }
        };
        let status = answer.status;
        let headers = relay_headers(&answer.headers);
        let recording = plan.and_then(|plan| {
            relay::Recording::begin(app, plan, turn, self.matched.codec, framing, status.as_u16(), &answer.headers)
        });
        let (body, record_error) = relay::body(answer.body, recording, &answer.headers).await;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if let Some(error) = record_error {
            let printable: String = error.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
            if let Ok(value) = HeaderValue::from_str(&printable) {
                response.headers_mut().insert(RECORD_ERROR, value);
            }
        }
        self.finish(response, Outcome::proxy())
    }

    /// A signature made for this host cannot hold at the upstream's.
    fn sign(&self, base: &BaseUrl, outgoing: &mut Outgoing) {
        let Some(service) = self.matched.provider.sigv4_service else { return };
        let now = clock::unix_ms().div_euclid(1000);
        if let Signing::Stale(why) = sign(self.app.aws.as_ref(), service, base, outgoing, now) {
            self.app.log.warn(format_args!(
                "the request is forwarded with a signature for another host, which {base} will refuse: {why}"
            ));
        }
    }

    fn unreachable(self, e: &crate::upstream::UpstreamError) -> Response<Body> {
        let status = e.status();
        let code = if status == 504 { "upstream_timeout" } else { "upstream_unreachable" };
        let error = ErrorAnswer { status, message: e.to_string(), code: Some(code.into()), ..ErrorAnswer::default() };
        self.app.log.warn(e);
        let response = replay::provider_error(self.matched.provider, Some(self.matched.codec), &error);
        self.finish(response, Outcome { explanation: Some(e.to_string()), ..Outcome::proxy() })
    }

    // -------------------------------------------------------------------------------------------------------- miss

    fn miss(self, call: &Call<'_>, request: &Request<'_>, strict: bool, why: String) -> Response<Body> {
        if !strict {
            let table = self.app.table.borrow();
            let models = models_of(table.rows().iter().filter_map(|row| row.fixture.matcher.model.as_deref()));
            if let Some(json) = self.matched.codec.without_fixture(call, request, &models) {
                let response = replay::json_response(StatusCode::OK, &json);
                drop(table);
                let outcome = Outcome { source: Source::Fixture, fixture: None, explanation: None, chaos: None };
                return self.finish(response, outcome);
            }
        }
        let (status, code, what) = match (strict, self.matched.known) {
            (true, _) => (503, "no_fixture_match", "strict: no fixture matches this request"),
            (false, true) => (404, "no_fixture_match", "no fixture matches this request"),
            (false, false) => (404, "unknown_endpoint", "no provider has this endpoint, and no fixture answers it"),
        };
        let missing = if self.wants_upstream() {
            format!(" (no upstream for it: --provider-{} sets one)", self.matched.provider.name)
        } else {
            String::new()
        };
        let error = ErrorAnswer {
            status,
            message: format!("{what}{missing}; {why}"),
            code: Some(code.into()),
            ..ErrorAnswer::default()
        };
        let response = replay::provider_error(self.matched.provider, Some(self.matched.codec), &error);
        self.finish(response, Outcome::miss(why))
    }

    /// Misses are recorded, but this provider's have nowhere to go.
    fn wants_upstream(&self) -> bool {
        let recording = self.app.recording.borrow();
        recording.record && recording.upstreams.get(self.matched.provider).is_none()
    }

    /// Marks the answer and notes it in the journal.
    fn finish(self, mut response: Response<Body>, outcome: Outcome) -> Response<Body> {
        let headers = response.headers_mut();
        headers.insert(SOURCE, HeaderValue::from_static(outcome.source.word()));
        if let Some((origin, how)) = &outcome.fixture {
            if let Ok(value) = HeaderValue::from_str(&origin.to_string()) {
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
            endpoint: self.matched.codec.kind().word(),
            test_id: self.test_id,
            strict,
            answered: Answered {
                source: outcome.source,
                status,
                fixture: outcome.fixture,
                explanation: outcome.explanation,
                duration: self.started.elapsed(),
                chaos: outcome.chaos,
            },
        };
        self.app.observe(entry);
    }
}

/// The id of a test or context in a header; none where it is empty.
fn scope_header(head: &Head<'_>, name: &str, redactor: &Redactor) -> Option<String> {
    scope(head.headers.get(name)?.as_bytes(), redactor)
}

/// The id of a test or context, as it is matched and written: text without secrets. Where that is not how it came, a
/// hash keeps it apart from others.
fn scope(id: &[u8], redactor: &Redactor) -> Option<String> {
    let text = String::from_utf8_lossy(id);
    let safe = redactor.redact(&text);
    match safe.as_bytes() {
        [] => None,
        same if same == id => Some(safe.into_owned()),
        _ => Some(format!("{safe}~{}", Hash::of(id).short())),
    }
}

fn models_of<'m>(models: impl Iterator<Item = &'m str>) -> Vec<&'m str> {
    let mut models: Vec<&str> = models.collect();
    models.sort_unstable();
    models.dedup();
    models
}

/// An injected fault.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Drop,
    Malformed,
    Disconnect,
}

impl Fault {
    fn word(self) -> &'static str {
        match self {
            Fault::Drop => "drop",
            Fault::Malformed => "malformed",
            Fault::Disconnect => "disconnect",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_and_every_find() {
        let plain = Mode::default();
        let upstream = Mode { upstream: true, ..plain };
        let strict = Mode { strict: true, ..plain };
        let both = Mode { strict: true, ..upstream };
        let asked_strict = |mode: Mode| Mode { header: Some(true), ..mode };
        let asked_lax = |mode: Mode| Mode { header: Some(false), ..mode };
        let anew = Mode { ask_anew: true, ..upstream };
        for (mode, hit, want) in [
            (plain, Some(How::Rule), Decision::Replay),
            (plain, None, Decision::NotFound),
            (strict, Some(How::Exact), Decision::Replay),
            (strict, None, Decision::Refuse),
            (upstream, Some(How::Volatile), Decision::Replay),
            (upstream, None, Decision::Relay),
            (both, None, Decision::Relay),
            (asked_strict(upstream), None, Decision::Refuse),
            (asked_strict(both), Some(How::Rule), Decision::Replay),
            (asked_lax(strict), None, Decision::NotFound),
            (asked_lax(both), None, Decision::Relay),
            (anew, Some(How::Exact), Decision::Relay),
            (anew, Some(How::Rule), Decision::Replay),
            (asked_strict(anew), Some(How::Exact), Decision::Replay),
            (Mode { ask_anew: true, ..plain }, Some(How::Exact), Decision::Replay),
        ] {
            assert_eq!(decide(mode, hit), want, "{mode:?} {hit:?}");
        }
    }
}
