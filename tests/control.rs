//! The control API, through a running server.

#[path = "common/http.rs"]
mod http;

use aimock::fixture::{Fixture, Match};
use aimock::{Mock, Reply};
use http::{Answer, ask, chat, chat_body, get, post};
use serde_json::{Value, json};

fn mock() -> Mock {
    let mock = Mock::builder().start().expect("a server that starts");
    mock.on_message("hello", Reply::text("Hi there!"));
    mock
}

fn delete(mock: &Mock, target: &str) -> Answer {
    ask(mock.address(), "DELETE", target, "", "")
}

/// Posts JSON; status and answer.
fn order(mock: &Mock, target: &str, body: Value) -> (u16, Value) {
    let answer = post(mock.address(), target, &body.to_string());
    (answer.status, answer.json())
}

#[test]
fn health_and_readiness() {
    let mock = mock();
    for path in ["/health", "/__aimock/health"] {
        let answer = get(mock.address(), path);
        assert_eq!((answer.status, answer.json()), (200, json!({"status": "ok"})));
    }
    let answer = get(mock.address(), "/ready");
    assert_eq!((answer.status, answer.json()), (200, json!({"status": "ready"})));
    let head = ask(mock.address(), "HEAD", "/health", "", "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(mock.requests().is_empty(), "what asks the server itself is not journaled");
}

#[test]
fn wrong_methods_and_paths() {
    let mock = mock();
    let answer = ask(mock.address(), "PUT", "/__aimock/fixtures", "", "");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, POST, DELETE")));
    assert_eq!(answer.json()["error"], "/__aimock/fixtures takes GET, POST, DELETE");
    let answer = post(mock.address(), "/health", "");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET")));
    let answer = get(mock.address(), "/__aimock/nothing");
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("/__aimock/nothing"), "{}", answer.text());
}

#[test]
fn the_journal_tells_what_was_asked_and_what_answered() {
    let mock = mock();
    let address = mock.address();
    let headers = "x-test-id: t1\r\nx-aimock-strict: true\r\nauthorization: Bearer sk-secret\r\nx-request-id: r1\r\n";
    ask(address, "POST", "/v1/chat/completions?a=b", headers, &chat_body("hello", false));
    chat(address, "unknown");
    let answer = get(address, "/__aimock/journal");
    assert_eq!(answer.header("x-total-count"), Some("2"));
    let entries = answer.json();
    let (hit, miss) = (&entries[0], &entries[1]);
    assert_eq!(
        (&hit["id"], &hit["method"], &hit["path"]),
        (&json!("req-1"), &json!("POST"), &json!("/v1/chat/completions?a=b"))
    );
    assert!(hit["timestamp"].as_i64().is_some_and(|ms| ms > 1_600_000_000_000), "{hit}");
    assert_eq!(hit["headers"]["authorization"], "[redacted]");
    assert_eq!(hit["body"]["messages"][0]["content"], "hello");
    assert_eq!((&hit["provider"], &hit["endpoint"], &hit["testId"]), (&json!("openai"), &json!("chat"), &json!("t1")));
    let response = &hit["response"];
    assert_eq!(response["fixture"], json!({"file": "runtime", "index": 0}));
    assert_eq!(
        (&response["status"], &response["source"], &response["match"]),
        (&json!(200), &json!("fixture"), &json!("rule"))
    );
    assert_eq!(response["strictOverride"], true);
    assert!(response["durationMs"].as_f64().is_some_and(|ms| ms >= 0.0), "{response}");
    let response = &miss["response"];
    assert_eq!(
        (&response["status"], &response["source"], &response["fixture"]),
        (&json!(404), &json!("miss"), &Value::Null)
    );
    let why = response["explanation"].as_str().unwrap();
    assert!(why.contains("userMessage wants \"hello\", the request has \"unknown\""), "{why}");
}

#[test]
fn the_journal_is_filtered_and_paged() {
    let mock = mock();
    let address = mock.address();
    let headers = "x-test-id: a b\r\nx-request-id: r1\r\n";
    ask(address, "POST", "/v1/chat/completions", headers, &chat_body("hello", false));
    chat(address, "unknown");
    get(address, "/v1/models");
    let ids = |query: &str| {
        let entries = get(address, &format!("/__aimock/journal{query}")).json();
        entries.as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(""), ["req-1", "req-2", "req-3"]);
    assert_eq!(ids("?limit=2"), ["req-1", "req-2"]);
    assert_eq!(ids("?limit=1&offset=1"), ["req-2"]);
    assert_eq!(ids("?limit=0"), [""; 0]);
    assert_eq!(ids("?method=get"), ["req-3"]);
    assert_eq!(ids("?path=models"), ["req-3"]);
    assert_eq!(ids("?status=404"), ["req-2"]);
    assert_eq!(ids("?testId=a+b"), ["req-1"]);
    assert_eq!(ids("?testId=a%20b&provider=openai"), ["req-1"]);
    assert_eq!(ids("?testId=__default__"), ["req-2", "req-3"]);
    assert_eq!(ids("?requestId=r1"), ["req-1"]);
    for (query, says) in
        [("limit=-1", "'limit'"), ("offset=x", "'offset'"), ("status=", "'status'"), ("last=1", "'last'")]
    {
        let answer = get(address, &format!("/__aimock/journal?{query}"));
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains(says), "{}", answer.text());
    }
    let newest = get(address, "/v1/_requests?limit=1").json();
    assert_eq!(newest[0]["id"], "req-3");
    assert_eq!(post(address, "/__aimock/reset/journal", "").json(), json!({"reset": true}));
    assert!(ids("").is_empty());
    assert_eq!(chat(address, "hello").status, 200, "fixtures stay");
    assert_eq!(ids(""), ["req-4"]);
    assert_eq!(delete(&mock, "/v1/_requests").status, 204);
    assert!(ids("").is_empty());
}

#[test]
fn the_journal_is_bounded() {
    let mock = Mock::builder().configure(|config| config.journal_max = 2).start().unwrap();
    for _ in 0..3 {
        chat(mock.address(), "x");
    }
    let ids: Vec<Value> = mock.requests().iter().map(|e| e["id"].clone()).collect();
    assert_eq!(ids, ["req-2", "req-3"]);
    let long = "x".repeat(100_000);
    chat(mock.address(), &long);
    let body = &mock.last_request().unwrap()["body"];
    assert_eq!(body["__aimock_truncated"], true);
    assert!(body["originalByteSize"].as_u64().is_some_and(|n| n > 100_000), "{}", body["originalByteSize"]);
}

#[test]
fn fixtures_are_added_all_or_none() {
    let mock = mock();
    let address = mock.address();
    let fixture = |text: &str| json!({"match": {"userMessage": text}, "response": {"content": format!("re {text}")}});
    assert_eq!(
        order(&mock, "/__aimock/fixtures", json!({"fixtures": [fixture("a1"), fixture("b1")]})),
        (200, json!({"added": 2}))
    );
    assert_eq!(chat(address, "b1").json()["choices"][0]["message"]["content"], "re b1");
    let broken = json!({"match": {"userMessage": 5}, "response": {"content": "x"}});
    let (status, answer) = order(&mock, "/__aimock/fixtures", json!({"fixtures": [fixture("c1"), broken]}));
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().is_some_and(|e| e.starts_with("Validation failed")), "{answer}");
    let typo = json!({"match": {"usrMessage": "hello"}, "response": {"content": "x"}});
    let (status, answer) = order(&mock, "/__aimock/fixtures", json!({"fixtures": [fixture("c1"), typo]}));
    let says = "Validation failed: fixtures[1].match.usrMessage: unknown key; did you mean `userMessage`?";
    assert_eq!((status, &answer["error"]), (400, &json!(says)));
    assert_eq!(answer["details"][0]["severity"], "error");
    assert!(answer["details"][0]["path"].as_str().is_some_and(|p| p.starts_with("fixtures[1].match")), "{answer}");
    assert_eq!(chat(address, "c1").status, 404, "none of them was added");
    for (body, says) in
        [("{", "Invalid JSON"), ("{}", "Missing or invalid"), ("[]", "Invalid JSON"), ("{\"fixtures\":5}", "fixtures")]
    {
        let answer = post(address, "/__aimock/fixtures", body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.text().contains(says), "{body}: {}", answer.text());
    }
    assert_eq!(get(address, "/__aimock/fixtures").json(), json!({"count": 3}));
    let shown = get(address, "/__aimock/fixtures?include=fixtures").json();
    assert_eq!(shown["fixtures"][1]["match"], json!({"userMessage": "a1"}));
    assert_eq!((&shown["fixtures"][2]["responseKind"], &shown["fixtures"][2]["hits"]), (&json!("text"), &json!(1)));
    assert_eq!(get(address, "/__aimock/fixtures?include=all").status, 400);
    assert_eq!(delete(&mock, "/__aimock/fixtures").json(), json!({"cleared": true}));
    assert_eq!(get(address, "/__aimock/fixtures").json(), json!({"count": 0}));
    assert_eq!(chat(address, "b1").status, 404);
    assert_eq!(mock.requests().len(), 3, "the journal stays");
}

#[test]
fn reset_forgets_everything() {
    let mock = mock();
    let address = mock.address();
    chat(address, "hello");
    order(&mock, "/__aimock/error", json!({}));
    order(&mock, "/__aimock/chaos", json!({"dropRate": 1}));
    assert_eq!(order(&mock, "/__aimock/reset", json!({})), (200, json!({"reset": true})));
    assert_eq!(get(address, "/__aimock/journal").json(), json!([]));
    assert_eq!(get(address, "/__aimock/report").json()["hits"], 0);
    assert_eq!(get(address, "/__aimock/chaos").json(), json!({"chaos": {}}));
    assert_eq!(chat(address, "hello").status, 404);
    let old = post(address, "/__aimock/reset/fixtures", "");
    assert_eq!((old.status, old.header("deprecation")), (200, Some("true")));
    assert_eq!((&old.json()["reset"], &old.json()["deprecated"]), (&json!(true), &json!(true)));
}

#[test]
fn an_ordered_error_comes_once_in_the_providers_shape() {
    let mock = mock();
    let address = mock.address();
    let error = json!({"status": 429, "body": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limited"}, "retryAfter": 7});
    assert_eq!(order(&mock, "/__aimock/error", error), (200, json!({"queued": true})));
    let answer = chat(address, "hello");
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")));
    assert_eq!(answer.json()["error"]["message"], "slow down");
    assert_eq!(
        (&answer.json()["error"]["type"], &answer.json()["error"]["code"]),
        (&json!("rate_limit_error"), &json!("rate_limited"))
    );
    assert_eq!(chat(address, "hello").status, 200);
    order(&mock, "/__aimock/error", json!({"status": 529, "body": {"message": "busy"}}));
    let body = r#"{"model":"claude-sonnet-4-5","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}"#;
    let answer = ask(address, "POST", "/v1/messages", "anthropic-version: 2023-06-01\r\n", body);
    assert_eq!((answer.status, &answer.json()["type"]), (529, &json!("error")));
    assert_eq!(mock.report()["misses"], 0, "what was ordered is no miss");
    order(&mock, "/__aimock/error", json!({}));
    let answer = chat(address, "hello");
    assert_eq!((answer.status, &answer.json()["error"]["message"]), (500, &json!("Injected error")));
    for (body, says) in [
        (json!({"status": 99}), "'status'"),
        (json!({"status": "500"}), "'status'"),
        (json!({"body": []}), "'body'"),
        (json!({"body": {"message": 5}}), "'body.message'"),
        (json!({"retryAfter": "soon"}), "'retryAfter'"),
        (json!({"Status": 500}), "'Status'"),
        (json!([]), "JSON object"),
    ] {
        let (status, answer) = order(&mock, "/__aimock/error", body);
        assert_eq!(status, 400);
        assert!(answer["error"].as_str().is_some_and(|e| e.contains(says)), "{answer}");
    }
    assert_eq!(chat(address, "hello").status, 200, "what was refused is not queued");
}

#[test]
fn chaos_is_ordered_for_a_test_and_ends() {
    let mock = mock();
    let address = mock.address();
    let test = "x-test-id: t1\r\n";
    let set = ask(address, "POST", "/__aimock/chaos", test, r#"{"malformedRate":1}"#);
    assert_eq!((set.status, set.json()), (200, json!({"chaos": {"malformedRate": 1.0}})));
    assert_eq!(chat(address, "hello").status, 200, "another test");
    let struck = ask(address, "POST", "/v1/chat/completions", test, &chat_body("hello", false));
    assert_eq!(struck.status, 200);
    assert!(serde_json::from_slice::<Value>(&struck.body).is_err(), "{}", struck.text());
    assert_eq!(mock.last_request().unwrap()["response"]["chaosAction"], "malformed");
    assert_eq!(ask(address, "DELETE", "/__aimock/chaos", test, "").json(), json!({"chaos": {}}));
    let healed = ask(address, "POST", "/v1/chat/completions", test, &chat_body("hello", false));
    assert_eq!(healed.json()["choices"][0]["message"]["content"], "Hi there!");
    for (body, says) in [(r#"{"dropRate":2}"#, "'dropRate'"), (r#"{"drop":1}"#, "'drop'"), ("5", "JSON object")] {
        let answer = post(address, "/__aimock/chaos", body);
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains(says), "{}", answer.text());
    }
    assert_eq!(ask(address, "GET", "/__aimock/chaos", "x-test-id: \r\n", "").status, 400);
}

#[test]
fn recording_is_told_whom_to_ask() {
    let mock = mock();
    for (body, says) in [
        (json!({}), "whom to ask"),
        (json!({"providers": {"openia": "http://127.0.0.1:1"}}), "openai"),
        (json!({"providers": {"openai": "ftp://x"}}), "http://"),
        (json!({"providers": {"openai": "http://u:p@x"}}), "password"),
        (json!({"providers": {"openai": 5}}), "'providers.openai'"),
        (json!({"providers": []}), "'providers'"),
        (json!({"providers": {"openai": "http://127.0.0.1:1"}, "fixturePath": ""}), "'fixturePath'"),
        (json!({"providers": {"openai": "http://127.0.0.1:1"}, "proxyOnly": 1}), "'proxyOnly'"),
        (json!({"provider": {}}), "'provider'"),
        (json!({"providers": {"openai": "http://127.0.0.1:1"}, "fixturePath": "/tmp"}), "(-f)"),
    ] {
        let (status, answer) = order(&mock, "/__aimock/recording", body);
        assert_eq!(status, 400, "{answer}");
        assert!(answer["error"].as_str().is_some_and(|e| e.contains(says)), "{says}: {answer}");
    }
    assert_eq!(get(mock.address(), "/__aimock/recording").json()["recording"], false);
    let (status, answer) = order(
        &mock,
        "/__aimock/recording",
        json!({"providers": {"openai": "http://127.0.0.1:1/v1"}, "fixturePath": "fixtures/x"}),
    );
    assert_eq!((status, &answer["recording"], &answer["proxyOnly"]), (200, &json!(true), &json!(false)));
    assert_eq!(
        (&answer["providers"]["openai"], &answer["fixturePath"]),
        (&json!("http://127.0.0.1:1/v1"), &json!("fixtures/x"))
    );
    assert_eq!(chat(mock.address(), "new").status, 502, "it goes to the upstream, which is not there");
    assert_eq!(delete(&mock, "/__aimock/recording").json()["recording"], false);
    assert_eq!(chat(mock.address(), "new").status, 404);
}

#[test]
fn metrics_only_where_they_are_asked_for() {
    let off = mock();
    let answer = get(off.address(), "/metrics");
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("--metrics"), "{}", answer.text());
    let mock = Mock::builder().configure(|config| config.metrics = true).start().unwrap();
    mock.fixture(Fixture::new(Match::message("hello"), Reply::text("Hi!")));
    chat(mock.address(), "hello");
    chat(mock.address(), "hello");
    chat(mock.address(), "unknown");
    let answer = get(mock.address(), "/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    for line in [
        r#"aimock_requests_total{provider="openai",endpoint="chat",source="fixture",status="200"} 2"#,
        r#"aimock_requests_total{provider="openai",endpoint="chat",source="miss",status="404"} 1"#,
        r#"aimock_request_duration_seconds_bucket{provider="openai",endpoint="chat",source="fixture",le="+Inf"} 2"#,
        r#"aimock_request_duration_seconds_count{provider="openai",endpoint="chat",source="fixture"} 2"#,
        "aimock_fixtures_loaded 1",
        "aimock_fixtures_recorded_total 0",
        "aimock_record_errors_total 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    post(mock.address(), "/__aimock/reset", "");
    let text = get(mock.address(), "/metrics").text();
    assert!(text.contains(r#"source="fixture",status="200"} 2"#), "counters never go back: {text}");
}

#[test]
fn the_report_tells_hits_misses_and_why() {
    let mock = mock();
    chat(mock.address(), "hello");
    chat(mock.address(), "my key is sk-aaaaaaaaaaaaaaaaaaaaaaaa");
    let answer = get(mock.address(), "/__aimock/report").json();
    assert_eq!((&answer["hits"], &answer["misses"], &answer["recorded"]), (&json!(1), &json!(1), &json!(0)));
    assert_eq!(answer["fixtures"], json!([{"file": "runtime", "index": 0, "hits": 1}]));
    let unmatched = &answer["unmatched"][0];
    assert_eq!((&unmatched["path"], &unmatched["status"]), (&json!("/v1/chat/completions"), &json!(404)));
    assert!(unmatched["explanation"].as_str().is_some_and(|e| e.contains("[redacted]")), "{unmatched}");
}
