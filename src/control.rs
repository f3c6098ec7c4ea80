//! The control API, health and metrics: what the server tells and is told of itself. Paths, parameters and JSON shapes
//! are the TypeScript aimock's where it has the route.

use crate::app::{App, Stage};
use crate::body::Body;
use crate::exchange::scope;
use crate::fixture::ChaosRates;
use crate::fixture::file::{self, Problem};
use crate::guard::folder::is_within;
use crate::journal::Entry;
use crate::json;
use crate::metrics;
use crate::mock::Recording;
use crate::replay::json_response;
use crate::reply::ErrorAnswer;
use bytes::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What the control API's paths begin with.
const PREFIX: &str = "/__aimock/";

/// Errors that can wait for their requests at once.
const MAX_ERRORS: usize = 10_000;

const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");
const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");

/// A request to the server itself.
struct Ask<'a> {
    app: &'a Rc<App>,
    head: &'a Parts,
    body: &'a Bytes,
}

/// What is wrong with it, for a 400.
struct Bad(Value);

impl<T: Into<String>> From<T> for Bad {
    fn from(message: T) -> Self {
        Bad(json!({"error": message.into()}))
    }
}

type Answer = Result<Response<Body>, Bad>;
type Handler = fn(&Ask<'_>) -> Answer;

/// Path, method and what answers there. `HEAD` goes where `GET` does.
const ROUTES: &[(&str, &str, Handler)] = &[
    ("/health", "GET", health),
    ("/ready", "GET", ready),
    ("/metrics", "GET", metrics),
    ("/__aimock/health", "GET", health),
    ("/__aimock/journal", "GET", journal),
    ("/__aimock/journal", "DELETE", clear_journal),
    ("/__aimock/fixtures", "GET", fixtures),
    ("/__aimock/fixtures", "POST", add_fixtures),
    ("/__aimock/fixtures", "DELETE", clear_fixtures),
    ("/__aimock/reset", "POST", reset),
    ("/__aimock/reset/journal", "POST", clear_journal),
    ("/__aimock/reset/fixtures", "POST", reset_by_old_name),
    ("/__aimock/error", "POST", next_error),
    ("/__aimock/chaos", "GET", chaos),
    ("/__aimock/chaos", "POST", set_chaos),
    ("/__aimock/chaos", "DELETE", unset_chaos),
    ("/__aimock/recording", "GET", recording),
    ("/__aimock/recording", "POST", start_recording),
    ("/__aimock/recording", "DELETE", stop_recording),
    ("/__aimock/report", "GET", report),
    ("/v1/_requests", "GET", last_requests),
    ("/v1/_requests", "DELETE", forget_requests),
];

/// Whether a path belongs to the server itself.
pub fn is_control(path: &str) -> bool {
    path.starts_with(PREFIX) || ROUTES.iter().any(|(route, ..)| *route == path)
}

/// Whether it is one that anyone may ask: it tells nothing but that the server is there.
pub fn is_probe(path: &str) -> bool {
    matches!(path, "/health" | "/ready")
}

/// Whether every `content-type` of a request is JSON: no page can send that without its browser having asked first.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter().map(HeaderValue::as_bytes).peekable();
    let is_json = |value: &[u8]| {
        let media = value.split(|b| *b == b';').next().unwrap_or_default();
        media.trim_ascii().eq_ignore_ascii_case(b"application/json")
    };
    types.peek().is_some() && types.all(is_json)
}

/// Whether a request may change state. A `DELETE` alone, without body or type, is one that browsers ask about first, too.
fn may_change(head: &Parts, body: &Bytes) -> bool {
    let bare_delete = head.method == "DELETE" && body.is_empty() && !head.headers.contains_key(CONTENT_TYPE);
    head.method == "GET" || head.method == "HEAD" || bare_delete || is_json(&head.headers)
}

/// Answers a request to the server itself.
pub fn answer(app: &Rc<App>, head: &Parts, body: &Bytes) -> Response<Body> {
    let path = head.uri.path();
    let method = if head.method == "HEAD" { "GET" } else { head.method.as_str() };
    let here = || ROUTES.iter().filter(|(route, ..)| *route == path);
    if let Some((.., handler)) = here().find(|(_, allowed, _)| *allowed == method) {
        if !may_change(head, body) {
            return refusal(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                &format!("{method} {path} needs the header 'content-type: application/json', without a body too"),
            );
        }
        return handler(&Ask { app, head, body })
            .unwrap_or_else(|Bad(json)| json_response(StatusCode::BAD_REQUEST, &json));
    }
    let allowed: Vec<&str> = here().map(|(_, allowed, _)| *allowed).collect();
    if allowed.is_empty() {
        return refusal(StatusCode::NOT_FOUND, &format!("no such control endpoint: {path}"));
    }
    let allowed = allowed.join(", ");
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, &format!("{path} takes {allowed}"));
    if let Ok(value) = HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}

fn refusal(status: StatusCode, message: &str) -> Response<Body> {
    json_response(status, &json!({"error": message}))
}

fn ok(json: &Value) -> Answer {
    Ok(json_response(StatusCode::OK, json))
}

// --------------------------------------------------------------------------------------------------------- health

fn health(_: &Ask<'_>) -> Answer {
    ok(&json!({"status": "ok"}))
}

fn ready(ask: &Ask<'_>) -> Answer {
    let (status, word) = match ask.app.stage.get() {
        Stage::Ready => (StatusCode::OK, "ready"),
        Stage::Loading => (StatusCode::SERVICE_UNAVAILABLE, "loading"),
        Stage::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
    };
    Ok(json_response(status, &json!({"status": word})))
}

fn metrics(ask: &Ask<'_>) -> Answer {
    if !ask.app.config.metrics {
        return Ok(refusal(StatusCode::NOT_FOUND, "metrics are off: start the server with --metrics"));
    }
    let mut response = Response::new(Body::whole(ask.app.metrics_text()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    Ok(response)
}

fn report(ask: &Ask<'_>) -> Answer {
    ok(&ask.app.report())
}

// -------------------------------------------------------------------------------------------------------- journal

const JOURNAL_PARAMETERS: [&str; 8] =
    ["limit", "offset", "method", "path", "status", "testId", "provider", "requestId"];

/// Oldest first: those that fit the parameters, without the first `offset`, at most `limit` of them.
fn journal(ask: &Ask<'_>) -> Answer {
    let query = ask.query(&JOURNAL_PARAMETERS)?;
    let get = |name: &str| query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let limit = get("limit").map(|text| whole("limit", text)).transpose()?.unwrap_or(usize::MAX);
    let offset = get("offset").map(|text| whole("offset", text)).transpose()?.unwrap_or(0);
    let status = get("status").map(|text| whole("status", text)).transpose()?;
    let journal = ask.app.journal.borrow();
    let fits = |entry: &&Entry| {
        get("method").is_none_or(|method| entry.method.eq_ignore_ascii_case(method))
            && get("path").is_none_or(|part| entry.path.contains(part))
            && status.is_none_or(|status| usize::from(entry.answered.status) == status)
            && get("testId").is_none_or(|id| entry.test_id.as_deref().unwrap_or(DEFAULT_TEST) == id)
            && get("provider").is_none_or(|name| entry.provider == name)
            && get("requestId").is_none_or(|id| entry.headers.get("x-request-id") == Some(id))
    };
    let entries: Vec<&Entry> = journal.entries().filter(fits).collect();
    let total = HeaderValue::from(entries.len());
    let shown = entries.into_iter().skip(offset).take(limit).map(|entry| entry.to_json(&ask.app.redactor));
    let mut response = json_response(StatusCode::OK, &shown.collect());
    response.headers_mut().insert(TOTAL_COUNT, total);
    Ok(response)
}

/// The test of requests that name none, in parameters.
const DEFAULT_TEST: &str = "__default__";

fn clear_journal(ask: &Ask<'_>) -> Answer {
    ask.app.journal.borrow_mut().clear();
    ok(&json!({"reset": true}))
}

/// The journal's former route: its `limit` counts from the newest.
fn last_requests(ask: &Ask<'_>) -> Answer {
    let query = ask.query(&["limit"])?;
    let limit = query.first().map(|(_, text)| whole("limit", text)).transpose()?.unwrap_or(usize::MAX);
    let entries = ask.app.journal_json();
    let first = entries.len().saturating_sub(limit);
    ok(&Value::from(&entries[first..]))
}

fn forget_requests(ask: &Ask<'_>) -> Answer {
    ask.app.journal.borrow_mut().clear();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

// ------------------------------------------------------------------------------------------------------- fixtures

fn fixtures(ask: &Ask<'_>) -> Answer {
    let query = ask.query(&["include"])?;
    let table = ask.app.table.borrow();
    let mut json = json!({"count": table.rows().len()});
    match query.first().map(|(_, value)| value.as_str()) {
        None => {}
        Some("fixtures") => {
            let shown = table.rows().iter().enumerate().map(|(index, row)| {
                let mut entry = file::entry_json(&row.fixture());
                let kind = kind_of(&entry["response"]);
                entry.retain(|name, _| !matches!(name.as_str(), "response" | "wire" | "recordedTimings"));
                ask.app.redactor.redact_members(&mut entry);
                entry.insert("index".into(), index.into());
                entry.insert("responseKind".into(), kind.into());
                entry.insert("file".into(), row.origin().to_string().into());
                entry.insert("hits".into(), row.hits.get().into());
                entry
            });
            json["fixtures"] = shown.collect();
        }
        Some(_) => return Err("Invalid 'include': expected 'fixtures'".into()),
    }
    ok(&json)
}

/// What a response is, by the members that tell it.
fn kind_of(response: &Value) -> &'static str {
    let has = |name: &str| response.get(name).is_some();
    match () {
        () if has("error") => "error",
        () if has("embedding") || has("embeddings") => "embedding",
        () if has("json") => "json",
        () if has("bodyBase64") => "body",
        () if has("blocks") => "blocks",
        () if has("content") && has("toolCalls") => "contentWithToolCalls",
        () if has("toolCalls") => "toolCalls",
        () => "text",
    }
}

/// All of them or, where one has an error, none.
fn add_fixtures(ask: &Ask<'_>) -> Answer {
    let parsed = file::parse(ask.body);
    let told = |problem: &Problem| {
        json!({
            "severity": problem.severity.word(),
            "path": problem.json_path,
            "line": problem.line,
            "column": problem.column,
            "message": problem.message,
        })
    };
    if let Some(problem) = parsed.problems.iter().find(|problem| problem.json_path.is_empty()) {
        let what = if problem.is_error() { "Invalid JSON" } else { "Missing or invalid \"fixtures\" array" };
        return Err(Bad(json!({"error": format!("{what}: {}", problem.message), "details": [told(problem)]})));
    }
    if parsed.problems.iter().any(Problem::is_error) {
        let errors: Vec<Value> = parsed.problems.iter().filter(|problem| problem.is_error()).map(told).collect();
        let first = &errors[0];
        let error = format!("Validation failed: {}: {}", text_of(&first["path"]), text_of(&first["message"]));
        return Err(Bad(json!({"error": error, "details": errors})));
    }
    let mut answer = json!({"added": parsed.fixtures.len()});
    if !parsed.problems.is_empty() {
        answer["warnings"] = parsed.problems.iter().map(told).collect();
    }
    ask.app.add(parsed.fixtures);
    ok(&answer)
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn clear_fixtures(ask: &Ask<'_>) -> Answer {
    ask.app.clear_fixtures();
    ok(&json!({"cleared": true}))
}

// ---------------------------------------------------------------------------------------------------------- reset

fn reset(ask: &Ask<'_>) -> Answer {
    ask.app.reset();
    ok(&json!({"reset": true}))
}

fn reset_by_old_name(ask: &Ask<'_>) -> Answer {
    let advice = "POST /__aimock/reset/fixtures is deprecated; use POST /__aimock/reset, or \
                  POST /__aimock/reset/journal for the journal alone";
    ask.app.log.warn(advice);
    ask.app.reset();
    let mut response =
        json_response(StatusCode::OK, &json!({"reset": true, "deprecated": true, "deprecation": advice}));
    response.headers_mut().insert(DEPRECATION, HeaderValue::from_static("true"));
    Ok(response)
}

// --------------------------------------------------------------------------------------------------------- errors

/// The next request gets this error, whatever it asks.
fn next_error(ask: &Ask<'_>) -> Answer {
    let order = ask.object(&["status", "body", "retryAfter"])?;
    let status = match order.get("status") {
        None | Some(Value::Null) => ErrorAnswer::DEFAULT_STATUS,
        Some(status) => status
            .as_u64()
            .and_then(|n| u16::try_from(n).ok())
            .filter(|n| (200..1000).contains(n))
            .ok_or("Invalid 'status': must be an integer between 200 and 999")?,
    };
    let retry_after = match order.get("retryAfter") {
        None | Some(Value::Null) => None,
        Some(seconds) => Some(seconds.as_u64().ok_or("Invalid 'retryAfter': must be a whole number of seconds")?),
    };
    let body = match order.get("body") {
        None | Some(Value::Null) => &Map::new(),
        Some(Value::Object(body)) => body,
        Some(_) => return Err("Invalid 'body': must be an object".into()),
    };
    let text = |name: &str| match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Bad::from(format!("Invalid 'body.{name}': must be a string"))),
    };
    let error = ErrorAnswer {
        status,
        message: text("message")?.unwrap_or_else(|| "Injected error".into()),
        kind: text("type")?,
        code: text("code")?,
        param: text("param")?,
        retry_after,
    };
    let mut errors = ask.app.errors.borrow_mut();
    if errors.len() >= MAX_ERRORS {
        return Err(format!("{MAX_ERRORS} errors wait for their requests already").into());
    }
    errors.push_back(error);
    ok(&json!({"queued": true}))
}

// ---------------------------------------------------------------------------------------------------------- chaos

const CHAOS_FIELDS: [&str; 3] = ["dropRate", "malformedRate", "disconnectRate"];

fn chaos(ask: &Ask<'_>) -> Answer {
    let rates = ask.app.chaos_rates(&ask.test_id()?);
    let fields = CHAOS_FIELDS.into_iter().zip([rates.drop, rates.malformed, rates.disconnect]);
    let given: Map<String, Value> = fields.filter_map(|(name, rate)| Some((name.to_owned(), rate?.into()))).collect();
    ok(&json!({"chaos": given}))
}

/// Sets all rates for the requests of one test (`X-Test-Id`), or for those that name none.
fn set_chaos(ask: &Ask<'_>) -> Answer {
    let order = ask.object(&CHAOS_FIELDS)?;
    let rate = |name: &str| match order.get(name) {
        None => Ok(None),
        Some(rate) => match rate.as_f64().filter(|rate| (0.0..=1.0).contains(rate)) {
            Some(rate) => Ok(Some(rate)),
            None => Err(Bad::from(format!("Invalid '{name}': must be a number between 0 and 1"))),
        },
    };
    let [drop, malformed, disconnect] = CHAOS_FIELDS.map(rate);
    let rates = ChaosRates { drop: drop?, malformed: malformed?, disconnect: disconnect? };
    let test = ask.test_id()?;
    *ask.app.chaos.borrow_mut().entry(test, ChaosRates::default) = rates;
    chaos(ask)
}

fn unset_chaos(ask: &Ask<'_>) -> Answer {
    ask.app.chaos.borrow_mut().remove(&*ask.test_id()?);
    chaos(ask)
}

// ------------------------------------------------------------------------------------------------------ recording

fn recording(ask: &Ask<'_>) -> Answer {
    let recording = ask.app.recording.borrow();
    let providers: Map<String, Value> =
        recording.upstreams.iter().map(|(provider, url)| (provider.name.to_owned(), url.to_string().into())).collect();
    ok(&json!({
        "recording": recording.record,
        "proxyOnly": recording.proxy_only,
        "providers": providers,
        "fixturePath": recording.folder.to_string_lossy(),
    }))
}

fn start_recording(ask: &Ask<'_>) -> Answer {
    let order = ask.object(&["providers", "fixturePath", "proxyOnly"])?;
    let mut wanted = Recording::new();
    match order.get("providers") {
        None => {}
        Some(Value::Object(providers)) => {
            for (name, url) in providers {
                let url = url.as_str().ok_or_else(|| format!("Invalid 'providers.{name}': must be a URL"))?;
                wanted = wanted.provider(name, url);
            }
        }
        Some(_) => return Err("Invalid 'providers': must be an object of provider names and URLs".into()),
    }
    match order.get("fixturePath") {
        None | Some(Value::Null) => {}
        Some(Value::String(path)) if !path.is_empty() => wanted = wanted.fixture_path(ask.folder(path)?),
        Some(_) => return Err("Invalid 'fixturePath': must be the path of a folder".into()),
    }
    match order.get("proxyOnly") {
        None | Some(Value::Bool(false)) => {}
        Some(Value::Bool(true)) => wanted = wanted.proxy_only(),
        Some(_) => return Err("Invalid 'proxyOnly': must be true or false".into()),
    }
    wanted.begin(ask.app).map_err(|e| e.to_string())?;
    recording(ask)
}

fn stop_recording(ask: &Ask<'_>) -> Answer {
    ask.app.stop_recording();
    recording(ask)
}

// -------------------------------------------------------------------------------------------------------- reading

impl Ask<'_> {
    /// The query's parameters, decoded; unknown ones are refused.
    fn query(&self, known: &[&str]) -> Result<Vec<(String, String)>, Bad> {
        let pairs = self.head.uri.query().unwrap_or("").split('&').filter(|pair| !pair.is_empty());
        let decoded = |text: &str| crate::provider::percent_decode(&text.replace('+', " ")).into_owned();
        let pairs: Vec<(String, String)> = pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decoded(name), decoded(value)))
            .collect();
        match pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => {
                Err(format!("Unknown query parameter: '{name}'. Supported: {}", known.join(", ")).into())
            }
            None => Ok(pairs),
        }
    }

    /// The body as a JSON object that has no other members than these.
    fn object(&self, known: &[&str]) -> Result<Map<String, Value>, Bad> {
        let json: Value = json::parse(self.body).map_err(|e| format!("Invalid JSON: {e}"))?;
        let Value::Object(members) = json else { return Err("Invalid body: expected a JSON object".into()) };
        match members.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(format!("Unknown field: '{name}'. Supported: {}", known.join(", ")).into()),
            None => Ok(members),
        }
    }

    /// A folder for recordings: one that this server was given, or one in it.
    fn folder(&self, path: &str) -> Result<PathBuf, Bad> {
        let folders = self.app.recording_folders();
        if is_within(Path::new(path), &folders) {
            return Ok(PathBuf::from(path));
        }
        let own = folders.first().map(|folder| std::path::absolute(folder).unwrap_or_else(|_| folder.clone()));
        let own = own.unwrap_or_default();
        Err(format!(
            "Invalid 'fixturePath': '{path}' is not in a folder of fixtures that this server was started with (-f); {} \
             or a folder in it, without '..', would do",
            own.display()
        )
        .into())
    }

    /// The test that the request is about, by the id that its requests have; empty where it names none.
    fn test_id(&self) -> Result<String, Bad> {
        let Some(id) = self.head.headers.get("x-test-id") else { return Ok(String::new()) };
        let id = scope(id.as_bytes().trim_ascii(), &self.app.redactor);
        id.ok_or_else(|| "Invalid 'X-Test-Id': header is present but empty".into())
    }
}

fn whole(name: &str, text: &str) -> Result<usize, Bad> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or_else(|| format!("Invalid '{name}': must be an integer >= 0").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn routes_are_unique_and_below_the_prefix_or_named() {
        let mut seen = HashSet::new();
        for (path, method, _) in ROUTES {
            assert!(seen.insert((path, method)), "{method} {path}");
            assert!(is_control(path));
        }
        assert!(is_probe("/health") && is_probe("/ready") && !is_probe("/__aimock/health") && !is_probe("/metrics"));
        assert!(is_control("/__aimock/unknown") && !is_control("/v1/models") && !is_control("/healthz"));
    }

    #[test]
    fn ready_is_neither_loading_nor_draining() {
        let environment = crate::upstream::Environment::default();
        let app = App::new(crate::Config::default(), crate::log::Logger::silent(), &environment, Default::default());
        let app = Rc::new(app.unwrap());
        let (head, ()) = hyper::Request::get("/ready").body(()).unwrap().into_parts();
        for (stage, status) in [(Stage::Loading, 503), (Stage::Ready, 200), (Stage::Draining, 503)] {
            app.stage.set(stage);
            assert_eq!(answer(&app, &head, &Bytes::new()).status(), status, "{stage:?}");
        }
    }

    #[test]
    fn kinds_are_told_by_their_members() {
        for (response, kind) in [
            (json!({"content": "x"}), "text"),
            (json!({"content": "x", "toolCalls": []}), "contentWithToolCalls"),
            (json!({"toolCalls": []}), "toolCalls"),
            (json!({"error": {}}), "error"),
            (json!({"embedding": []}), "embedding"),
            (json!({"json": {}}), "json"),
        ] {
            assert_eq!(kind_of(&response), kind);
        }
    }
}
