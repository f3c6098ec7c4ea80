//! It never guesses: which fixture answers which request, and what becomes of a request that none answers.

mod common;

use aimock::config::{Config, OnDrift};
use common::chat::{CHAT, Got, ask, ask_at, ask_with, chat, streamed, whole};
use common::server::{Folder, Server, record, serve, try_serve, with_upstream};
use common::{Script, ScriptedUpstream};
use serde_json::{Value, json};

/// A request under a system prompt.
fn under(system: &str, text: &str) -> String {
    let messages = json!([{"role": "system", "content": system}, {"role": "user", "content": text}]);
    json!({"model": "gpt-4o", "messages": messages}).to_string()
}

/// A folder in which each of these requests was recorded, answered `answer 0`, `answer 1`…
async fn recorded(requests: &[String]) -> Folder {
    let answers: Vec<Script> = (0..requests.len()).map(|n| whole(&format!("answer {n}"))).collect();
    let upstream = ScriptedUpstream::start(answers);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    for (n, request) in requests.iter().enumerate() {
        let got = ask(server.address(), request).await;
        assert_eq!((got.header("x-aimock-source"), got.text()), ("proxy", format!("answer {n}")), "{request}");
    }
    folder
}

fn strict(folder: &Folder) -> Server {
    serve(folder, |config| config.strict = true)
}

fn error(got: &Got) -> (u16, String) {
    (got.status(), got.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}

fn missed(got: &Got) -> (u16, String, String) {
    let (status, code) = error(got);
    (status, code, got.header("x-aimock-source").to_owned())
}

const REFUSED: u16 = 503;

// ------------------------------------------------------------------------------------------------ the ladder

#[tokio::test]
async fn an_answer_says_how_and_where_it_was_found() {
    let folder = recorded(&[under("be brief", "what is up"), chat("at 2025-01-15T10:30:00Z, hello")]).await;
    folder.write(
        "rules.json",
        r#"{"fixtures":[{"match":{"userMessage":"zzz"},"response":{"content":"a"}},
        {"match":{"userMessage":"weather"},"response":{"content":"by rule"}}]}"#,
    );
    let server = serve(&folder, |_| {});
    for (body, how, text) in [
        (under("be brief", "what is up"), "exact", "answer 0"),
        (chat("at 2031-12-01T23:59:59Z, hello"), "volatile", "answer 1"),
        (chat("the weather in Rome"), "rule", "by rule"),
        (under("be verbose", "what is up"), "drift", "answer 0"),
    ] {
        let got = ask(server.address(), &body).await;
        assert_eq!((got.how(), got.text().as_str()), ((200, "fixture", how), text), "{body}");
        let place = got.header("x-aimock-fixture");
        if how == "rule" {
            assert_eq!(place, "rules.json#1");
        } else {
            assert!(place.starts_with("recorded/openai-") && place.ends_with(".json#0"), "{place}");
        }
    }
    let miss = ask(server.address(), chat("something else")).await;
    assert_eq!(missed(&miss), (404, "no_fixture_match".into(), "miss".into()));
    assert_eq!((miss.header("x-aimock-match"), miss.header("x-aimock-fixture")), ("", ""));
}

#[tokio::test]
async fn a_recorded_hi_answers_nothing_that_merely_contains_it() {
    let folder = recorded(&[chat("hi")]).await;
    for on_strict in [true, false] {
        let server = serve(&folder, |config| config.strict = on_strict);
        for text in ["nothing like it", "hi there", "oh hi", "Hi", "hi ", "hi\n", "h", ""] {
            let status = ask(server.address(), chat(text)).await.status();
            assert_eq!(status, if on_strict { REFUSED } else { 404 }, "{text:?}");
        }
        assert_eq!(ask(server.address(), chat("hi")).await.how(), (200, "fixture", "exact"));
    }
}

#[tokio::test]
async fn strict_answers_no_request_that_differs_anywhere() {
    let base = json!({
        "model": "gpt-4o", "temperature": 0.5, "seed": 1,
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "yes"},
            {"role": "user", "content": "second"},
        ],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
    });
    let folder = recorded(&[base.to_string()]).await;
    let server = strict(&folder);
    for (pointer, value) in [
        ("/model", json!("gpt-4o-mini")),
        ("/model", json!("gpt-4o-2024-08-06")),
        ("/temperature", json!(0.6)),
        ("/seed", json!(2)),
        ("/messages/0/content", json!("be very brief")),
        ("/messages/0/role", json!("developer")),
        ("/messages/1/content", json!("First")),
        ("/messages/2/content", json!("no")),
        ("/messages/3/content", json!("second ")),
        (
            "/messages/3/content",
            json!([{"type": "text", "text": "second"}, {"type": "image_url", "image_url": {"url": "x"}}]),
        ),
        ("/tools/0/function/name", json!("time")),
        ("/tools/0/function/parameters/type", json!("array")),
        ("/tools", json!([])),
    ] {
        let mut request = base.clone();
        *request.pointer_mut(pointer).expect("it is there") = value.clone();
        let got = ask(server.address(), request.to_string()).await;
        assert_eq!(error(&got), (REFUSED, "no_fixture_match".into()), "{pointer} = {value}");
    }
    let mut more = base.clone();
    more["top_p"] = json!(0.9);
    assert_eq!(ask(server.address(), more.to_string()).await.status(), REFUSED);
    assert_eq!(ask(server.address(), base.to_string()).await.how(), (200, "fixture", "exact"));
}

#[tokio::test]
async fn what_does_not_change_the_question_does_not_change_the_answer() {
    let folder = recorded(&[r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hé"}],"seed":1}"#.into()]).await;
    let server = strict(&folder);
    for body in [
        r#"{ "seed": 1, "messages": [ {"content": "h\u00e9", "role": "user"} ], "model": "gpt-4o" }"#,
        r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hé"}],"seed":1,"stream":true}"#,
        r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hé"}],"seed":1,"user":"u","metadata":{"run":"7"}}"#,
        r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hé"}],"seed":1,"stream":true,"stream_options":{"include_usage":true}}"#,
    ] {
        assert_eq!(ask(server.address(), body).await.how(), (200, "fixture", "exact"), "{body}");
    }
    let prefixed = ask_at(server.address(), "/openai/v1/chat/completions", "", chat("x")).await;
    assert_eq!(prefixed.status(), REFUSED, "another path of the same API is the same API");
}

#[tokio::test]
async fn two_recordings_that_differ_in_times_alone_answer_only_their_own() {
    let [monday, tuesday, friday] = ["2025-01-13", "2025-01-14", "2025-01-17"].map(|day| chat(&format!("on {day}")));
    let folder = recorded(&[monday.clone(), tuesday.clone()]).await;
    for on_strict in [true, false] {
        let server = serve(&folder, |config| config.strict = on_strict);
        assert_eq!(ask(server.address(), &monday).await.text(), "answer 0");
        assert_eq!(ask(server.address(), &tuesday).await.text(), "answer 1");
        let got = ask(server.address(), &friday).await;
        assert_eq!(got.status(), if on_strict { REFUSED } else { 404 });
        assert!(
            got.body.contains("2 recordings differ from this request in nothing but times and ids"),
            "{}",
            got.body
        );
    }
}

#[tokio::test]
async fn a_rule_answers_where_recordings_are_ambiguous() {
    let folder = recorded(&[chat("on 2025-01-13"), chat("on 2025-01-14")]).await;
    folder.write("rule.json", r#"{"fixtures":[{"match":{"userMessage":"on "},"response":{"content":"by rule"}}]}"#);
    let server = strict(&folder);
    assert_eq!(ask(server.address(), chat("on 2025-01-13")).await.text(), "answer 0");
    let got = ask(server.address(), chat("on 2025-01-17")).await;
    assert_eq!((got.how(), got.text().as_str()), ((200, "fixture", "rule"), "by rule"));
}

#[tokio::test]
async fn drift_is_served_and_told_once_or_refused_or_silent() {
    let folder = recorded(&[under("be brief", "hi")]).await;
    let drifted = under("be verbose", "hi");
    let told = |server: &Server| server.log.to_vec().iter().filter(|l| l.starts_with("aimock: warn: drift: ")).count();

    let warn = serve(&folder, |_| {});
    for _ in 0..2 {
        assert_eq!(ask(warn.address(), &drifted).await.how(), (200, "fixture", "drift"));
    }
    assert_eq!((told(&warn), warn.count("drifted")), (1, 2));
    assert!(warn.log.to_vec().iter().any(|l| l.contains("messages[0] (system) differs")), "{:#?}", warn.log.to_vec());

    let ignore = serve(&folder, |config| config.on_drift = Some(OnDrift::Ignore));
    assert_eq!(ask(ignore.address(), &drifted).await.how(), (200, "fixture", "drift"));
    assert_eq!(told(&ignore), 0);

    for server in [serve(&folder, |config| config.on_drift = Some(OnDrift::Fail)), strict(&folder)] {
        let got = ask(server.address(), &drifted).await;
        assert!(matches!(got.status(), 404 | REFUSED), "{}", got.head);
        assert!(got.body.contains("was recorded from another request: messages[0] (system) differs"), "{}", got.body);
    }

    let lax = serve(&folder, |config| (config.strict, config.on_drift) = (true, Some(OnDrift::Warn)));
    assert_eq!(ask(lax.address(), &drifted).await.how(), (200, "fixture", "drift"));
}

#[tokio::test]
async fn a_fixture_without_a_hash_knows_no_drift() {
    let folder = Folder::new();
    folder.write(
        "a.json",
        r#"{"fixtures":[{"match":{"userMessage":"hi","model":"gpt-4o","turnIndex":0,"hasToolResult":false},
        "response":{"content":"as of old"}}]}"#,
    );
    let server = strict(&folder);
    assert_eq!(ask(server.address(), under("any", "oh hi there")).await.how(), (200, "fixture", "rule"));
}

// ------------------------------------------------------------------------------------------------ while recording

#[tokio::test]
async fn while_recording_another_request_is_a_miss_even_where_the_keys_fit() {
    let requests = [under("one", "hi"), under("two", "hi"), chat("hi"), chat("at 10:30:00"), chat("at 10:30:01")];
    let folder = recorded(&requests).await;
    assert_eq!(folder.recordings().len(), requests.len());
    let server = strict(&folder);
    for (n, request) in requests.iter().enumerate() {
        assert_eq!(ask(server.address(), request).await.text(), format!("answer {n}"), "{request}");
    }
}

#[tokio::test]
async fn while_recording_a_rule_answers_first() {
    let upstream = ScriptedUpstream::start(vec![whole("from afar")]);
    let folder = Folder::new();
    folder.write("rule.json", r#"{"fixtures":[{"match":{"userMessage":"hi"},"response":{"content":"by rule"}}]}"#);
    let server = record(&folder, &upstream.url(), |_| {});
    assert_eq!(ask(server.address(), chat("hi")).await.text(), "by rule");
    assert_eq!(upstream.requests().len(), 0);
}

#[tokio::test]
async fn while_recording_volatile_reuse_is_asked_for() {
    let upstream = ScriptedUpstream::start(vec![whole("first"), whole("second")]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |config| config.reuse_volatile = true);
    ask(server.address(), chat("at 10:30:00")).await;
    let got = ask(server.address(), chat("at 23:59:59")).await;
    assert_eq!((got.how(), got.text().as_str()), ((200, "fixture", "volatile"), "first"));
}

// ------------------------------------------------------------------------------------------------ nobody answers

#[tokio::test]
async fn a_miss_is_404_and_under_strict_503() {
    let folder = Folder::new();
    assert_eq!(
        missed(&ask(serve(&folder, |_| {}).address(), chat("hi")).await),
        (404, "no_fixture_match".into(), "miss".into())
    );
    assert_eq!(
        missed(&ask(strict(&folder).address(), chat("hi")).await),
        (503, "no_fixture_match".into(), "miss".into())
    );
    let got = ask(strict(&folder).address(), streamed("hi")).await;
    assert_eq!((got.status(), got.header("content-type")), (503, "application/json"), "an error is no stream");
}

#[tokio::test]
async fn strict_records_where_there_is_an_upstream_and_refuses_where_there_is_none() {
    let upstream = ScriptedUpstream::start(vec![whole("from afar")]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |config| config.strict = true);
    let anthropic =
        json!({"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let got = ask_at(server.address(), "/v1/messages", "anthropic-version: 2023-06-01\r\n", &anthropic).await;
    assert_eq!((got.status(), got.json()["type"].as_str()), (503, Some("error")));
    assert!(got.body.contains("--provider-anthropic"), "{}", got.body);
    assert_eq!(upstream.requests().len(), 0, "a provider without an upstream reaches none");
    assert_eq!(ask(server.address(), chat("hi")).await.text(), "from afar");
    assert_eq!(ask(server.address(), chat("hi")).await.how(), (200, "fixture", "exact"));
    assert_eq!(folder.recordings().len(), 1);
}

#[tokio::test]
async fn without_record_an_upstream_is_never_asked() {
    let upstream = ScriptedUpstream::start(vec![whole("from afar")]);
    let folder = Folder::new();
    let server = serve(&folder, |config| with_upstream(config, &upstream.url()));
    for headers in ["", "x-aimock-strict: false\r\n"] {
        assert_eq!(ask_with(server.address(), headers, chat("hi")).await.status(), 404);
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn the_header_makes_one_request_strict_and_forbids_the_proxy() {
    let upstream = ScriptedUpstream::start(vec![whole("from afar")]);
    for recording in [true, false] {
        let folder = Folder::new();
        let server =
            record(&folder, &upstream.url(), |config| (config.record, config.proxy_only) = (recording, !recording));
        for value in ["true", "TRUE", "1"] {
            let got = ask_with(server.address(), &format!("x-aimock-strict: {value}\r\n"), chat("hi")).await;
            assert_eq!(error(&got), (503, "no_fixture_match".into()), "{value}");
        }
        assert_eq!(folder.files(), []);
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn the_header_makes_one_request_strict_about_drift() {
    let folder = recorded(&[under("be brief", "hi")]).await;
    let drifted = under("be verbose", "hi");
    let lax = serve(&folder, |_| {});
    assert_eq!(ask_with(lax.address(), "x-aimock-strict: true\r\n", &drifted).await.status(), 503);
    assert_eq!(ask(lax.address(), &drifted).await.how(), (200, "fixture", "drift"));
    let server = strict(&folder);
    assert_eq!(
        ask_with(server.address(), "x-aimock-strict: false\r\n", &drifted).await.how(),
        (200, "fixture", "drift")
    );
    assert_eq!(ask_with(server.address(), "x-aimock-strict: false\r\n", chat("hello")).await.status(), 404);
    assert_eq!(ask(server.address(), &drifted).await.status(), 503);
}

#[tokio::test]
async fn a_miss_names_the_nearest_fixture_and_what_differs() {
    let folder = Folder::new();
    folder.write(
        "a/b.json",
        r#"{"fixtures":[{"match":{"userMessage":"x","model":"m"},"response":{"content":"a"}},
        {"match":{"userMessage":"the weather","model":"gpt-4o"},"response":{"content":"b"}}]}"#,
    );
    let server = serve(&folder, |_| {});
    let got = ask(server.address(), chat("the time")).await;
    for part in ["a/b.json#1", "userMessage", "the weather", "the time"] {
        assert!(got.body.contains(part), "{part}: {}", got.body);
        assert!(server.log.to_vec().iter().any(|l| l.starts_with("aimock: warn: ") && l.contains(part)), "{part}");
    }
    let journal = &server.mock.requests()[0]["response"];
    assert!(journal.to_string().contains("a/b.json#1"), "{journal}");
}

#[tokio::test]
async fn a_miss_names_no_fixture_of_another_kind() {
    let folder = Folder::new();
    let raw = |path: &str| json!({"match": {"method": "POST", "path": path}, "response": {"json": {}}});
    let fixtures = json!({"fixtures": [
        {"match": {"userMessage": "a cat"}, "response": {"content": "a"}},
        {"match": {"userMessage": "a cat"}, "response": {"error": {"message": "b"}}},
        {"match": {"inputText": "a cat"}, "response": {"embedding": [1]}},
        {"match": {"toolName": "f"}, "response": {"json": {"c": 1}}},
        raw("/v1/audio/speech"),
        raw("/v1/images/edits"),
    ]});
    folder.write("a.json", fixtures.to_string());
    let server = strict(&folder);
    let embedding = json!({"model": "m", "input": "a dog"}).to_string();
    for (target, body, says) in [
        ("/v1/images/generations", r#"{"prompt":"a cat"}"#, "the nearest fixture is a.json#5: path wants"),
        ("/v1/moderations", r#"{"input":"a cat"}"#, "no fixture is for POST /v1/moderations; record it"),
        ("/v1/audio/transcriptions", "", "the nearest fixture is a.json#4: path wants"),
        ("/v1/embeddings", embedding.as_str(), "the nearest fixture is a.json#2: inputText wants"),
        (CHAT, &chat("a dog"), "the nearest fixture is a.json#0: userMessage wants"),
    ] {
        let got = ask_at(server.address(), target, "", body).await;
        assert_eq!(error(&got), (REFUSED, "no_fixture_match".into()), "{target}");
        assert!(got.body.contains(says) && !got.body.contains("provider has"), "{target}: {}", got.body);
    }
}

#[tokio::test]
async fn a_miss_says_what_to_do_next() {
    let folder = recorded(&[under("be brief", "hi"), chat("on 2025-01-13"), chat("on 2025-01-14")]).await;
    folder.write("rule.json", r#"{"fixtures":[{"match":{"userMessage":"weather"},"response":{"content":"b"}}]}"#);
    let server = strict(&folder);
    for (body, says) in [
        (
            under("be verbose", "hi"),
            "record it (--record --provider-openai URL), or take the recorded answer all the same (--on-drift warn)",
        ),
        (chat("on 2025-01-17"), "or delete all of these recordings but one"),
        (chat("weathr"), "change userMessage in rule.json#0, or record it (--record --provider-openai URL)"),
    ] {
        let got = ask(server.address(), &body).await;
        assert!(got.body.contains(says), "{says}: {}", got.body);
    }
    let headers = "x-test-id: t7\r\n";
    let upstream = ScriptedUpstream::start(vec![whole("from afar")]);
    let server = record(&folder, &upstream.url(), |_| {});
    let got = ask_with(server.address(), "x-aimock-strict: true\r\n", chat("new")).await;
    assert!(got.body.contains("ask without X-AIMock-Strict: true"), "{}", got.body);
    // Every line that a request causes says which test it is of.
    let lax = serve(&folder, |_| {});
    ask_with(lax.address(), headers, under("be verbose", "hi")).await;
    ask_with(lax.address(), headers, chat("weathr")).await;
    let warnings = lax.log.to_vec();
    let warnings: Vec<&String> = warnings.iter().filter(|line| line.starts_with("aimock: warn: ")).collect();
    assert!(warnings.len() == 2 && warnings.iter().all(|line| line.contains("(test t7)")), "{warnings:#?}");
}

#[tokio::test]
async fn a_strict_miss_is_not_asked_again() {
    let folder = recorded(&[chat("hi")]).await;
    let told = |got: &Got| (got.header("x-should-retry").to_owned(), got.header("retry-after-ms").to_owned());
    let (never, at_once) = ("false".to_owned(), "1".to_owned());
    let server = strict(&folder);
    for target in [CHAT, "/v1/messages", "/v1beta/models/m:generateContent", "/v1/images/generations"] {
        let body =
            json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "new"}], "contents": []});
        let got = ask_at(server.address(), target, "", body.to_string()).await;
        assert_eq!((got.status(), told(&got)), (REFUSED, (never.clone(), at_once.clone())), "{target}");
    }
    let lax = serve(&folder, |_| {});
    let got = ask_with(lax.address(), "x-aimock-strict: true\r\n", chat("new")).await;
    assert_eq!((got.status(), told(&got)), (REFUSED, (never.clone(), at_once.clone())));
    let upstream = ScriptedUpstream::start(vec![whole("from afar")]);
    let recording = record(&folder, &upstream.url(), |config| config.strict = true);
    let got = ask_at(recording.address(), "/v1/text-to-speech/x", "xi-api-key: k\r\n", "{}").await;
    assert_eq!((got.status(), told(&got)), (REFUSED, (never.clone(), at_once.clone())), "whose key it is, is a guess");
    assert!(got.body.contains("a credential 'xi-api-key'"), "{}", got.body);
    let none = (String::new(), String::new());
    assert_eq!(told(&ask(lax.address(), chat("new")).await), none, "nobody asks a 404 again");
    assert_eq!(told(&ask(server.address(), chat("hi")).await), none);
    assert_eq!(told(&ask(server.address(), "{").await), none);
}

#[tokio::test]
async fn requests_for_one_miss_are_one_line_and_one_count() {
    let folder = recorded(&[chat("hi")]).await;
    let server = strict(&folder);
    let is_told = |line: &&String| line.starts_with("aimock: warn: ") && line.contains(" → 503");
    let told = || server.log.to_vec().iter().filter(is_told).count();
    for n in 0..3 {
        ask(server.address(), chat("new")).await;
        assert_eq!((told(), server.count("misses")), (1, 1), "{n}");
    }
    // Nothing but times differ.
    ask(server.address(), chat("at 10:30:00")).await;
    ask(server.address(), chat("at 10:30:01")).await;
    assert_eq!((told(), server.count("misses")), (3, 2));
    server.logged("→ 503 ×3: ").await;
    ask_with(server.address(), "x-test-id: t\r\n", chat("new")).await;
    assert_eq!(server.count("misses"), 3, "another test's");
    assert_eq!(server.mock.requests().len(), 6, "the journal has them all");
    server.mock.reset();
    ask(server.address(), chat("new")).await;
    assert_eq!(server.count("misses"), 1);
}

// ------------------------------------------------------------------------------------------------ what cannot be asked

#[tokio::test]
async fn an_unknown_endpoint_is_404() {
    let folder = Folder::new();
    let server = serve(&folder, |_| {});
    for target in ["/", "/v1", "/v1/unheard-of", "/chat/completions/x"] {
        let got = ask_at(server.address(), target, "", "{}").await;
        assert_eq!(missed(&got), (404, "unknown_endpoint".into(), "miss".into()), "{target}");
    }
}

#[tokio::test]
async fn what_is_no_json_is_400_and_names_the_line() {
    let folder = Folder::new();
    let server = serve(&folder, |_| {});
    for (body, line) in [
        (&b"{\"model\": \"gpt-4o\",\n \"messages\": [\n oops"[..], "line 3"),
        (b"{\"model\": \"gpt-4o\"", "line 1"),
        (b"", "line 1"),
        (b"nope", "line 1"),
        (b"{\"model\": \"\xff\xfe\", \"messages\": []}", "line 1"),
        (b"\xff\xfe\x00", "line 1"),
    ] {
        let got = ask(server.address(), body).await;
        assert_eq!(missed(&got), (400, "invalid_json".into(), "miss".into()), "{body:?}");
        assert!(got.body.contains(line), "{}", got.body);
    }
}

#[tokio::test]
async fn a_missing_field_is_400_and_named() {
    let folder = Folder::new();
    for on_strict in [true, false] {
        let server = serve(&folder, |config| config.strict = on_strict);
        for (body, field) in [
            (r#"{"model":"gpt-4o"}"#, "messages"),
            (r#"{"model":"gpt-4o","messages":null}"#, "messages"),
            (r#"{"messages":[]}"#, "model"),
        ] {
            let got = ask(server.address(), body).await;
            let error = &got.json()["error"];
            assert_eq!(
                (got.status(), &error["param"], &error["code"]),
                (400, &json!(field), &json!("invalid_request"))
            );
            assert_eq!(error["type"], "invalid_request_error");
            assert!(error["message"].as_str().unwrap().contains(field), "{error}");
        }
    }
}

#[tokio::test]
async fn a_body_of_another_shape_is_400_and_says_where() {
    let folder = Folder::new();
    let server = serve(&folder, |_| {});
    for body in ["[]", "7", "null", r#"{"model":"gpt-4o","messages":{}}"#, r#"{"model":["gpt"],"messages":[]}"#] {
        let got = ask(server.address(), body).await;
        assert_eq!(error(&got), (400, "invalid_request".into()), "{body}: {}", got.body);
    }
}

#[tokio::test]
async fn the_upstream_knows_best_what_it_refuses() {
    let refusal = r#"{"error":{"message":"theirs","type":"invalid_request_error","param":null,"code":null}}"#;
    let upstream = ScriptedUpstream::start(vec![common::answer(400, "content-type: application/json\r\n", refusal)]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    for body in ["not json", r#"{"model":"gpt-4o"}"#] {
        let got = ask(server.address(), body).await;
        assert_eq!((got.status(), got.body.as_str()), (400, refusal));
    }
    assert_eq!((upstream.requests().len(), folder.files().len()), (2, 0));
}

#[tokio::test]
async fn strict_does_not_start_with_broken_fixtures_and_others_load_the_rest() {
    let folder = Folder::new();
    folder.write("broken.json", "{\"fixtures\": [\n  {\"match\": {}, \"response\": {\"content\": 7,}}\n]}");
    folder.write("good.json", r#"{"fixtures":[{"match":{"userMessage":"hi"},"response":{"content":"here"}}]}"#);
    let refused = try_serve(&folder, |config| config.strict = true).expect_err("a broken file").to_string();
    assert!(refused.contains("broken.json:2:"), "{refused}");
    let server = serve(&folder, |_| {});
    assert!(server.log.to_vec().iter().any(|l| l.starts_with("aimock: warn: ") && l.contains("broken.json:2:")));
    assert_eq!(ask(server.address(), chat("hi")).await.text(), "here");
}

#[tokio::test]
async fn a_typo_in_a_match_key_answers_nothing() {
    let folder = Folder::new();
    let typo = r#"{"match":{"usrMessage":"hello"},"response":{"content":"anything"}}"#;
    let other = r#"{"match":{"predicate":"x"},"response":{"content":"anything"}}"#;
    let good = r#"{"match":{"userMessage":"hi","_note":"a comment"},"response":{"content":"here"}}"#;
    folder.write("a.json", format!("{{\"fixtures\":[\n{typo},\n{other},\n{good}]}}"));
    let says = "a.json:2:11: error: fixtures[0].match.usrMessage: unknown key; did you mean `userMessage`?";
    for change in [|config: &mut Config| config.strict = true, |config: &mut Config| config.validate_on_load = true] {
        let refused = try_serve(&folder, change).expect_err("a typo");
        assert!(refused.exit_code() == 2 && refused.to_string().contains(says), "{refused}");
    }
    let server = serve(&folder, |_| {});
    let lines = server.log.to_vec();
    assert!(lines.iter().any(|l| l.starts_with("aimock: warn: ") && l.ends_with(says)), "{lines:#?}");
    assert_eq!(ask(server.address(), chat("good day")).await.status(), 404);
    let got = ask(server.address(), chat("hi")).await;
    assert_eq!((got.text().as_str(), got.header("x-aimock-fixture")), ("here", "a.json#2"));
}

#[tokio::test]
async fn a_folder_that_is_named_must_be_there_and_hold_something() {
    let folder = Folder::new();
    let start = |path: &str, change: fn(&mut Config)| {
        let builder = aimock::Mock::builder().fixtures(folder.path().join(path)).strict().configure(change);
        builder.start().map(drop).map_err(|e| e.to_string())
    };
    assert!(start("typo", |_| {}).unwrap_err().contains("typo: no such file or folder"));
    assert!(start("", |_| {}).unwrap_err().contains("no fixture in it"));
    assert_eq!(start("typo", |config| config.record = true), Ok(()));
    assert_eq!(start("typo", |config| config.strict = false), Ok(()));
    folder.write("a.json", r#"{"fixtures":[{"match":{"userMessage":"hi"},"response":{"content":"here"}}]}"#);
    assert_eq!(start("", |_| {}), Ok(()));
    assert!(aimock::Mock::builder().strict().start().is_ok(), "fixtures may come by the API");
}

#[tokio::test]
async fn what_was_asked_is_in_the_journal_in_order() {
    let folder = Folder::new();
    folder.write("good.json", r#"{"fixtures":[{"match":{"userMessage":"hi"},"response":{"content":"here"}}]}"#);
    let server = serve(&folder, |_| {});
    ask(server.address(), chat("hi")).await;
    ask(server.address(), chat("unknown")).await;
    let statuses: Vec<Value> = server.mock.requests().iter().map(|r| r["response"]["status"].clone()).collect();
    assert_eq!(statuses, [200, 404]);
    assert!(server.mock.requests().iter().all(|r| r["path"] == CHAT));
}
