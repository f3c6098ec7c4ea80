//! Recordings that can be trusted: sequences, tests kept apart, in-place refreshes, verbatim answers.

#[path = "common/plain.rs"]
mod plain;

use aimock::config::{Config, OnStale};
use aimock::log::{Level, Lines, Logger};
use aimock::upstream::BaseUrl;
use aimock::{Mock, provider};
use plain::{Answer, Folder, Given, Upstream};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CHAT: &str = "/v1/chat/completions";
const STRICT: &[(&str, &str)] = &[("x-aimock-strict", "true")];

struct Server {
    mock: Mock,
    log: Lines,
}

/// A server over this folder, recording from the upstream where there is one.
fn server(folder: &Folder, upstream: Option<&Upstream>, change: impl Fn(&mut Config)) -> Server {
    let (logger, log) = Logger::collecting(Level::Debug);
    let builder = Mock::builder().fixtures(&folder.0).log(logger).configure(|config| {
        config.record = upstream.is_some();
        config.strict = upstream.is_none();
        for (provider, upstream) in provider::PROVIDERS.iter().filter_map(|p| Some((p, upstream?))) {
            config.upstreams.set(provider, BaseUrl::parse(&upstream.url()).expect("a URL"));
        }
        change(config);
    });
    Server { mock: builder.start().expect("a server"), log }
}

fn recorder(folder: &Folder, upstream: &Upstream) -> Server {
    server(folder, Some(upstream), |_| {})
}

fn offline(folder: &Folder) -> Server {
    server(folder, None, |_| {})
}

impl Server {
    fn post(&self, target: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
        plain::post(self.mock.address(), target, headers, body)
    }

    fn ask(&self, text: &str) -> Answer {
        self.post(CHAT, &[], chat(text))
    }

    fn ask_in(&self, test: &str, text: &str) -> Answer {
        self.post(CHAT, &[("x-test-id", test)], chat(text))
    }

    fn logged(&self, wanted: &str) -> usize {
        self.log.to_vec().iter().filter(|line| line.contains(wanted)).count()
    }
}

fn chat(text: &str) -> String {
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}).to_string()
}

fn completion(text: &str) -> String {
    json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-4o",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}})
    .to_string()
}

/// What the model said.
fn said(answer: &Answer) -> String {
    let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    json["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
}

/// An upstream that numbers its answers.
fn counting() -> Upstream {
    let calls = AtomicUsize::new(0);
    Upstream::start(move |_| Given::json(completion(&format!("answer {}", calls.fetch_add(1, Ordering::SeqCst)))))
}

// ------------------------------------------------------------------------------------------------------- sequences

#[test]
fn answers_to_the_same_request_come_back_in_order_and_the_last_one_stays() {
    let (folder, upstream) = (Folder::new("sequence"), counting());
    let recording = server(&folder, Some(&upstream), |config| config.record_repeats = true);
    for n in 0..3 {
        assert_eq!((said(&recording.ask("hi")), recording.ask("hi").status), (format!("answer {}", 2 * n), 200));
    }
    drop(recording);
    let indices: Vec<Value> = {
        let files = folder.files().into_iter().map(|(_, text)| serde_json::from_str::<Value>(&text).expect("JSON"));
        files.map(|file| file["fixtures"][0]["match"]["sequenceIndex"].clone()).collect()
    };
    let mut numbers: Vec<u64> = indices.iter().filter_map(Value::as_u64).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);

    let lax = server(&folder, None, |config| config.strict = false);
    let got: Vec<String> = (0..8).map(|_| said(&lax.ask("hi"))).collect();
    let want = ["answer 0", "answer 1", "answer 2", "answer 3", "answer 4", "answer 5", "answer 5", "answer 5"];
    assert_eq!(got, want);
    assert_eq!(lax.logged("is exhausted: its last answer is repeated"), 2);
    // Every test counts for itself.
    assert_eq!(said(&lax.ask_in("a", "hi")), "answer 0");
    assert_eq!(said(&lax.ask_in("b", "hi")), "answer 0");
    assert_eq!(said(&lax.ask_in("a", "hi")), "answer 1");

    let strict = offline(&folder);
    for n in 0..6 {
        assert_eq!(said(&strict.ask("hi")), format!("answer {n}"));
    }
    let missed = strict.ask("hi");
    assert_eq!(missed.status, 503);
    assert!(missed.text().contains("is exhausted: this is request number 7 of its kind"), "{}", missed.text());
}

#[test]
fn a_failed_call_leaves_no_gap_in_a_sequence() {
    let folder = Folder::new("sequence-gap");
    let calls = AtomicUsize::new(0);
    let upstream = Upstream::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        1 => Given::status(500, "{}"),
        n => Given::json(completion(&format!("answer {n}"))),
    });
    let recording = server(&folder, Some(&upstream), |config| config.record_repeats = true);
    assert_eq!([0, 1, 2].map(|_| recording.ask("hi").status), [200, 500, 200]);
    drop(recording);
    let strict = offline(&folder);
    assert_eq!([0, 1].map(|_| said(&strict.ask("hi"))), ["answer 0", "answer 2"]);
    assert_eq!(strict.ask("hi").status, 503);
}

#[test]
fn a_sequence_goes_on_after_a_restart_and_after_a_recording_without_an_index() {
    let (folder, upstream) = (Folder::new("sequence-restart"), counting());
    recorder(&folder, &upstream).ask("hi");
    for _ in 0..2 {
        server(&folder, Some(&upstream), |config| config.record_repeats = true).ask("hi");
    }
    let strict = offline(&folder);
    assert_eq!([0, 1, 2].map(|_| said(&strict.ask("hi"))), ["answer 0", "answer 1", "answer 2"]);
}

#[test]
fn a_sequence_can_be_replayed_by_the_server_that_recorded_it() {
    let (folder, upstream) = (Folder::new("sequence-same"), counting());
    let server = server(&folder, Some(&upstream), |config| config.record_repeats = true);
    for test in ["", "a", "b"] {
        server.ask_in(test, "hi");
        server.ask_in(test, "hi");
    }
    server.mock.disable_recording();
    for (test, first) in [("b", 4), ("", 0), ("a", 2)] {
        let got = [0, 1].map(|_| said(&server.ask_in(test, "hi")));
        assert_eq!(got, [format!("answer {first}"), format!("answer {}", first + 1)], "{test:?}");
    }
}

// ------------------------------------------------------------------------------------------------------- isolation

#[test]
fn recordings_of_one_test_never_answer_another() {
    let (folder, upstream) = (Folder::new("isolation"), counting());
    let server = recorder(&folder, &upstream);
    assert_eq!(said(&server.ask_in("one", "hi")), "answer 0");
    assert_eq!(said(&server.ask_in("two", "hi")), "answer 1");
    assert_eq!(said(&server.post("/__test/three/v1/chat/completions", &[], chat("hi"))), "answer 2");
    assert_eq!(said(&server.ask_in("one", "other")), "answer 3");
    drop(server);
    let paths: Vec<PathBuf> = folder.files().into_iter().map(|(path, _)| path).collect();
    let expected = ["one", "three", "two"].map(|test| folder.0.join("recorded").join(test).join("openai.json"));
    assert_eq!(paths, expected);

    let strict = offline(&folder);
    for (test, answer) in [("two", "answer 1"), ("one", "answer 0"), ("three", "answer 2")] {
        assert_eq!(said(&strict.ask_in(test, "hi")), answer);
        let prefixed = strict.post(&format!("/__test/{test}/v1/chat/completions"), &[], chat("hi"));
        assert_eq!(said(&prefixed), answer);
    }
    assert_eq!(strict.ask_in("four", "hi").status, 503);
    assert_eq!(strict.ask_in("two", "other").status, 503);
    // The path prefix stands before any endpoint.
    assert!(strict.post("/__test/four/v1/moderations", &[], "{}").status >= 400);
}

#[test]
fn a_tests_own_recording_comes_before_one_of_no_test() {
    let (folder, upstream) = (Folder::new("isolation-own"), counting());
    recorder(&folder, &upstream).ask_in("zz", "hi");
    let server = recorder(&folder, &upstream);
    // A recording of a test may answer a request of none, so this one is made by hand.
    let (path, text) = folder.files().remove(0);
    std::fs::write(folder.0.join("a.json"), text.replace("answer 0", "of no test").replace("\"testId\": \"zz\",", ""))
        .expect("a file");
    drop(server);
    let strict = offline(&folder);
    assert_eq!(said(&strict.ask_in("zz", "hi")), "answer 0", "{}", path.display());
    assert_eq!(said(&strict.ask_in("yy", "hi")), "of no test");
    assert_eq!(said(&strict.ask("hi")), "of no test");
}

#[test]
fn no_header_names_a_path_outside_the_folder() {
    let (folder, upstream) = (Folder::new("isolation-paths"), counting());
    let inside = folder.0.join("inside");
    std::fs::create_dir(&inside).expect("a folder");
    let below = Folder(inside);
    let server = recorder(&below, &upstream);
    let long = "x".repeat(5000);
    let awkward = [
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "/",
        "\\..\\..\\windows",
        "C:\\x",
        "a/../../b",
        "~root",
        "CON",
        "%2e%2e%2f",
        "a%00b",
        ".hidden",
        "ünï/ço∂e",
        "日本",
        "a b",
        "A",
        &long,
    ];
    let mut asked = 0;
    for id in awkward {
        for name in ["x-test-id", "x-aimock-context"] {
            let text = format!("{name} {asked}");
            let live = server.post(CHAT, &[(name, id)], chat(&text));
            assert_eq!((live.status, live.source()), (200, "proxy"), "{id}: {}", live.text());
            asked += 1;
        }
        let percent: String = id.bytes().map(|b| format!("%{b:02x}")).collect();
        if id.len() < 100 {
            let live = server.post(&format!("/__test/{percent}{CHAT}"), &[], chat(&format!("prefix {asked}")));
            assert_eq!((live.status, live.source()), (200, "proxy"), "{id}: {}", live.text());
            asked += 1;
        }
    }
    drop(server);
    let outside: Vec<PathBuf> =
        folder.files().into_iter().map(|(path, _)| path).filter(|path| !path.starts_with(&below.0)).collect();
    assert_eq!(outside, Vec::<PathBuf>::new());
    let fixtures: usize = folder.files().iter().map(|(_, text)| text.matches("\"requestHash\"").count()).sum();
    assert_eq!(fixtures, asked, "no recording replaced another");
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    for (path, _) in folder.files() {
        let slug = path.parent().and_then(|p| p.file_name()).expect("a folder").to_string_lossy().into_owned();
        assert!(slug == "recorded" || slug.chars().all(allowed), "{}", path.display());
    }
    let strict = offline(&below);
    for (n, id) in awkward.iter().take(3).enumerate() {
        let replayed = strict.post(CHAT, &[("x-test-id", id)], chat(&format!("x-test-id {}", 3 * n)));
        assert_eq!(replayed.how(), "exact", "{id}");
    }
    std::mem::forget(below); // its parent removes it
}

#[test]
fn a_second_process_sees_the_same_ids_of_calls_as_no_difference() {
    // Gemini's calls have no ids of their own, so every client makes up its own.
    let answer =
        json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "sunny"}]}, "finishReason": "STOP"}]});
    let upstream = Upstream::start(move |_| Given::json(answer.to_string()));
    let folder = Folder::new("call-ids");
    let gemini = |id: &str| {
        json!({"contents": [{"role": "user", "parts": [{"text": "weather?"}]},
            {"role": "model", "parts": [{"functionCall": {"id": id, "name": "f", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"id": id, "name": "f", "response": {"x": 1}}}]}]})
        .to_string()
    };
    let chat = |id: &str| {
        json!({"model": "m", "messages": [{"role": "user", "content": "weather?"},
            {"role": "assistant", "tool_calls": [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": id, "content": "sun"}]})
        .to_string()
    };
    let server = recorder(&folder, &upstream);
    let path = "/v1beta/models/m:generateContent";
    assert_eq!(server.post(path, &[], gemini("one")).source(), "proxy");
    assert_eq!(server.post(path, &[], gemini("two")).how(), "exact");
    std::fs::create_dir_all(folder.0.join("recorded")).expect("a folder");
    drop(server);
    let chats = Upstream::start(|_| Given::json(completion("sunny")));
    let server = recorder(&folder, &chats);
    assert_eq!(server.post(CHAT, &[], chat("call_1")).source(), "proxy");
    assert_eq!(server.post(CHAT, STRICT, chat("call_2")).how(), "exact");
}

// ------------------------------------------------------------------------------------------------------ refreshing

fn only_file(folder: &Folder) -> (PathBuf, String) {
    let mut files = folder.files();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

#[test]
fn a_refresh_rewrites_in_place_and_leaves_alone_what_has_not_changed() {
    let folder = Folder::new("refresh");
    let text = Arc::new(std::sync::Mutex::new("first".to_owned()));
    let (calls, says) = (AtomicUsize::new(0), text.clone());
    // Ids and times differ in every answer.
    let upstream = Upstream::start(move |_| {
        let n = calls.fetch_add(1, Ordering::SeqCst);
        let text = says.lock().expect("no panic").clone();
        if text == "fail" {
            return Given::status(500, "{}");
        }
        let body = completion(&text).replace("chatcmpl-1", &format!("chatcmpl-{n}"));
        Given::json(body.replace("1700000000", &format!("17000000{n:02}")))
    });
    recorder(&folder, &upstream).ask("hi");
    let (path, recorded) = only_file(&folder);

    let refresh = server(&folder, Some(&upstream), |config| config.refresh = true);
    assert_eq!((refresh.ask("hi").source(), refresh.ask("hi").source()), ("proxy", "proxy"));
    assert_eq!(only_file(&folder), (path.clone(), recorded.clone()), "byte for byte");

    *text.lock().expect("no panic") = "fail".into();
    assert_eq!(refresh.ask("hi").status, 500);
    assert_eq!(only_file(&folder), (path.clone(), recorded.clone()), "a failed refresh keeps the old one");

    *text.lock().expect("no panic") = "second".into();
    assert_eq!(said(&refresh.ask("hi")), "second");
    let (same, rewritten) = only_file(&folder);
    assert_eq!(same, path);
    assert!(rewritten.contains("second") && !rewritten.contains("first"), "{rewritten}");
    assert_eq!(said(&refresh.post(CHAT, STRICT, chat("hi"))), "second", "in memory, too");
    drop(refresh);
    assert_eq!(said(&offline(&folder).ask("hi")), "second");
}

#[test]
fn a_refresh_keeps_what_people_wrote() {
    let (folder, upstream) = (Folder::new("refresh-notes"), counting());
    recorder(&folder, &upstream).ask("hi");
    let (path, text) = only_file(&folder);
    let mut file: Value = serde_json::from_str(&text).expect("JSON");
    file["fixtures"][0]["note"] = "mine".into();
    file["fixtures"][0]["latency"] = 1.into();
    file["fixtures"][0]["metadata"]["reviewedBy"] = "me".into();
    file["fixtures"]
        .as_array_mut()
        .expect("a list")
        .insert(0, json!({"match": {"userMessage": "x"}, "response": {"content": "y"}}));
    // Laid out in another way, too.
    std::fs::write(&path, file.to_string()).expect("a file");
    let refresh = server(&folder, Some(&upstream), |config| config.refresh = true);
    assert_eq!(said(&refresh.ask("hi")), "answer 1");
    let file: Value = serde_json::from_str(&only_file(&folder).1).expect("JSON");
    let fixture = &file["fixtures"][1];
    assert_eq!(fixture["response"]["content"], "answer 1");
    assert_eq!(
        (&fixture["note"], &fixture["latency"], &fixture["metadata"]["reviewedBy"]),
        (&json!("mine"), &json!(1), &json!("me"))
    );
}

#[test]
fn a_file_laid_out_by_hand_stays_as_it_is_where_nothing_changed() {
    let folder = Folder::new("refresh-layout");
    let upstream = Upstream::start(|_| Given::json(completion("same")));
    recorder(&folder, &upstream).ask("hi");
    let (path, text) = only_file(&folder);
    let by_hand = serde_json::from_str::<Value>(&text).expect("JSON").to_string();
    std::fs::write(&path, &by_hand).expect("a file");
    server(&folder, Some(&upstream), |config| config.refresh = true).ask("hi");
    assert_eq!(only_file(&folder).1, by_hand);
}

#[test]
fn a_refreshed_wire_recording_is_whole() {
    let (folder, upstream) = (Folder::new("refresh-wire"), counting());
    let wire = |config: &mut Config| (config.record_wire, config.refresh) = (true, true);
    let refresh = server(&folder, Some(&upstream), wire);
    refresh.ask("hi");
    let live = refresh.ask("hi");
    drop(refresh);
    assert_eq!(offline(&folder).ask("hi").body, live.body);
}

#[test]
fn two_in_flight_are_refreshed_by_one_call() {
    let folder = Folder::new("refresh-flight");
    let gate = Arc::new((std::sync::Mutex::new(false), std::sync::Condvar::new()));
    let door = gate.clone();
    let upstream = Upstream::start(move |_| {
        let open = door.0.lock().expect("no panic");
        drop(door.1.wait_while(open, |open| !*open).expect("no panic"));
        Given::json(completion("fresh"))
    });
    let refresh = server(&folder, Some(&upstream), |config| config.refresh = true);
    let ask = || plain::begin(refresh.mock.address(), "POST", CHAT, &[], chat("hi").as_bytes());
    let waiting: Vec<_> = (0..5).map(|_| ask()).collect();
    while upstream.calls() == 0 {
        std::thread::yield_now();
    }
    plain::get(refresh.mock.address(), "/health"); // what was sent before has been read
    *gate.0.lock().expect("no panic") = true;
    gate.1.notify_all();
    let answers: Vec<Answer> = waiting.into_iter().map(plain::read_answer).collect();
    assert!(answers.iter().all(|answer| said(answer) == "fresh"));
    assert_eq!(answers.iter().filter(|answer| answer.source() == "proxy").count(), upstream.calls());
    assert!(upstream.calls() < 5, "{}", upstream.calls());
}

#[test]
fn a_stale_recording_is_told_refused_or_recorded_anew() {
    let (folder, upstream) = (Folder::new("stale"), counting());
    recorder(&folder, &upstream).ask("hi");
    let (path, text) = only_file(&folder);
    let at = text.find("\"recordedAt\": \"").expect("a time") + 15;
    let aged = format!("{}2001-01-01{}", &text[..at], &text[at + 10..]);
    std::fs::write(&path, aged).expect("a file");

    let warned = server(&folder, None, |config| config.max_age_days = Some(30));
    assert_eq!([0, 1].map(|_| said(&warned.ask("hi"))), ["answer 0", "answer 0"]);
    assert_eq!(warned.logged("is older than --max-age allows"), 1);
    let young = server(&folder, None, |config| config.max_age_days = Some(100_000));
    assert_eq!((young.ask("hi").status, young.logged("--max-age")), (200, 0));

    let fail = |config: &mut Config| (config.max_age_days, config.on_stale) = (Some(30), OnStale::Fail);
    let refused = server(&folder, None, fail).ask("hi");
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("is older than --max-age allows"), "{}", refused.text());
    let again = server(&folder, Some(&upstream), fail);
    assert_eq!((said(&again.ask("hi")), said(&again.ask("hi"))), ("answer 1".into(), "answer 1".into()));
    assert_eq!((only_file(&folder).0, upstream.calls()), (path, 2));
}

// ------------------------------------------------------------------------------------------------------------- raw

#[test]
fn raw_endpoints_come_back_as_they_were() {
    let folder = Folder::new("raw");
    let upstream = Upstream::start(|received| {
        let line = received.line();
        let bytes: Vec<u8> = (0..=255).cycle().take(3000).collect();
        if line.contains("/audio/speech") {
            Given::writes("audio/mpeg", bytes.chunks(700))
        } else if line.contains("/content") {
            Given::new("application/octet-stream", bytes)
        } else {
            Given::json(json!({"request": line, "bytes": received.body.len()}).to_string())
        }
    });
    let speech = json!({"model": "tts-1", "input": "hello", "voice": "alloy"}).to_string();
    let picture: Vec<u8> = (0..=255).rev().cycle().take(1000).collect();
    let form = |boundary: &str, prompt: &str, file: &[u8]| {
        let part = |head: &str, data: &[u8]| {
            [format!("--{boundary}\r\ncontent-disposition: form-data; {head}\r\n\r\n").as_bytes(), data, b"\r\n"]
                .concat()
        };
        let parts = [part("name=\"prompt\"", prompt.as_bytes()), part("name=\"image\"; filename=\"a.png\"", file)];
        [&parts[0], &parts[1], format!("--{boundary}--\r\n").as_bytes()].concat()
    };
    let multipart = |boundary: &str| format!("multipart/form-data; boundary={boundary}");
    let ask = |server: &Server, boundary: &str| {
        let address = server.mock.address();
        let type_of_form = multipart(boundary);
        let form_type = [("content-type", type_of_form.as_str())];
        let ours = [("x-api-key", "k"), ("anthropic-version", "2023-06-01")];
        vec![
            server.post("/v1/audio/speech", &[], &speech),
            server.post("/v1/images/edits", &form_type, form(boundary, "a cat", &picture)),
            server.post("/v1/images/edits", &form_type, form(boundary, "a dog", &picture)),
            server.post("/v1/images/edits", &form_type, form(boundary, "a cat", &picture[1..])),
            plain::get(address, "/v1/files?limit=2&after=a"),
            plain::get(address, "/v1/files?limit=3&after=a"),
            plain::get(address, "/v1/files/f1/content"),
            plain::send(address, "GET", "/v1/files/f1", &[], b""),
            plain::send(address, "DELETE", "/v1/files/f1", &[], b""),
            server.post("/v1/moderations", &[], r#"{"input": "x"}"#),
            server.post("/v1/rerank", &[], r#"{"query": "x"}"#),
            plain::send(address, "GET", "/v1/messages/batches?limit=1", &ours, b""),
            server.post("/v1/messages/batches", &ours, r#"{"requests": []}"#),
            server.post("/model/amazon.titan/invoke", &[], r#"{"inputText": "hi"}"#),
            server.post("/v1/completions", &[], r#"{"prompt": "x", "stream": true}"#),
            server.post("/v1/completions", &[], r#"{"prompt": "x"}"#),
        ]
    };
    let live = {
        let server = recorder(&folder, &upstream);
        ask(&server, "one")
    };
    for answer in &live {
        assert_eq!((answer.status, answer.source()), (200, "proxy"), "{}", answer.text());
    }
    let strict = offline(&folder);
    for (n, (live, replayed)) in live.iter().zip(ask(&strict, "another-boundary")).enumerate() {
        assert_eq!((replayed.status, replayed.how()), (200, "exact"), "{n}: {}", replayed.text());
        assert_eq!(replayed.header("content-type"), live.header("content-type"), "{n}");
        let json = |answer: &Answer| serde_json::from_slice::<Value>(&answer.body).ok();
        if json(live).is_some() {
            assert_eq!(json(live), json(&replayed), "{n}");
        } else {
            assert_eq!(live.body, replayed.body, "{n}");
        }
    }
    // The order of a query's parameters and a key in it are no part of what is asked; all else is.
    let get = |target: &str| plain::get(strict.mock.address(), target).status;
    assert_eq!(
        (get("/v1/files?after=a&limit=2"), get("/v1/files?after=a&key=q7Zt04mBx9Lw2Hc8Vn5r1Yd6&limit=2")),
        (200, 200)
    );
    assert_eq!((get("/v1/files?after=b&limit=2"), get("/v1/files/f2")), (503, 503));
    assert_eq!(strict.post("/v1/files/f1", &[], "").status, 503);
    assert_eq!(strict.post("/v1/moderations", &[], r#"{ "input" : "x" }"#).status, 200);
    assert_eq!(strict.post("/v1/moderations", &[], r#"{"input": "y"}"#).status, 503);
}

#[test]
fn a_raw_request_that_differs_in_times_alone_is_answered() {
    let folder = Folder::new("raw-volatile");
    let upstream = Upstream::start(|_| Given::json("{}"));
    let body = |day: &str| format!(r#"{{"input": "on {day}"}}"#);
    recorder(&folder, &upstream).post("/v1/moderations", &[], body("2025-01-01"));
    let strict = offline(&folder);
    assert_eq!(strict.post("/v1/moderations", &[], body("2026-02-02")).how(), "volatile");
}

// ------------------------------------------------------------------------------------------------------------ wire

#[test]
fn wire_recordings_keep_what_no_reply_holds() {
    let chat_stream = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"a\"},\"logprobs\":{\"content\":[{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97],\"top_logprobs\":[]}]}}]}\n\ndata: {\"id\":\"c\",\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other é🌍\"}}]}\n\ndata: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n: a comment\n\ndata: {\"id\":\"c\",\"choices\":[{\"index\":1,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let anthropic = r#"{ "id":"msg_1","type":"message","role":"assistant","model":"m", "content":[{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"query":"x"}},{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[{"type":"web_search_result","url":"https://a","title":"A","encrypted_content":"zz"}]},{"type":"text","text":"It is.","citations":[{"type":"web_search_result_location","url":"https://a","title":"A","encrypted_index":"i","cited_text":"x"}]}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":2}}"#;
    let responses = r#"{"id":"resp_1","object":"response","status":"completed","model":"m","output":[{"type":"web_search_call","id":"ws_1","status":"completed","action":{"type":"search","query":"x"}},{"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[{"type":"output_text","text":"It is.","annotations":[{"type":"url_citation","url":"https://a","title":"A","start_index":0,"end_index":2}],"logprobs":[]}]}],"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}"#;
    let gemini = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"It is."}]},"finishReason":"STOP","groundingMetadata":{"webSearchQueries":["x"]},"avgLogprobs":-0.1},{"content":{"role":"model","parts":[{"text":"Or not."}]},"finishReason":"STOP","index":1}],"usageMetadata":{"promptTokenCount":1}}"#;
    let upstream = Upstream::start(move |received| {
        let line = received.line();
        if line.contains("/messages") {
            Given {
                headers: "content-type: application/json\r\nrequest-id: req_7\r\n".into(),
                ..Given::json(anthropic)
            }
        } else if line.contains("/responses") {
            Given::json(responses)
        } else if line.contains("/models/") {
            Given::json(gemini)
        } else {
            Given::writes("text/event-stream", chat_stream.as_bytes().chunks(37)) // characters are cut
        }
    });
    let asks = [
        (
            CHAT,
            json!({"model": "m", "stream": true, "n": 2, "logprobs": true, "messages": [{"role": "user", "content": "x"}]}),
        ),
        ("/v1/messages", json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]})),
        ("/v1/responses", json!({"model": "m", "input": "x"})),
        ("/v1beta/models/m:generateContent", json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}]})),
    ];
    let folder = Folder::new("wire");
    let recording = server(&folder, Some(&upstream), |config| config.record_wire = true);
    let live: Vec<Answer> = asks.iter().map(|(path, body)| recording.post(path, &[], body.to_string())).collect();
    drop(recording);
    let strict = offline(&folder);
    for ((path, body), live) in asks.iter().zip(&live) {
        let replayed = strict.post(path, &[], body.to_string());
        assert_eq!(
            (live.status, live.source(), replayed.status, replayed.how()),
            (200, "proxy", 200, "exact"),
            "{path}: {} {:?}",
            replayed.text(),
            strict.log.to_vec()
        );
        assert_eq!(replayed.text(), live.text(), "{path}");
        assert_eq!(replayed.header("content-type"), live.header("content-type"), "{path}");
        assert_eq!(replayed.header("request-id"), live.header("request-id"), "{path}");
    }
    // Another mode is encoded from the readable part.
    let mut whole = asks[0].1.clone();
    whole["stream"] = false.into();
    assert_eq!(said(&strict.post(CHAT, &[], whole.to_string())), "a");
    drop(strict);
    // An edited readable part wins.
    let (path, text) = folder.files().into_iter().find(|(_, text)| text.contains("other é")).expect("a file");
    std::fs::write(path, text.replacen("\"content\": \"a\"", "\"content\": \"edited\"", 1)).expect("a file");
    let edited = offline(&folder).post(CHAT, &[], asks[0].1.to_string());
    // The other choice is as it came: the readable part says nothing of it.
    assert!(edited.text().contains("edited") && edited.text().contains("other é"), "{}", edited.text());
    assert!(!edited.text().contains("\"content\":\"a\""), "{}", edited.text());
}

#[test]
fn wire_recordings_come_at_the_pace_they_came() {
    let events: Vec<String> = ["a", "b", "c"]
        .iter()
        .map(|text| format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": text}}]})))
        .chain([
            r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#.to_owned() + "\n\n",
            "data: [DONE]\n\n".to_owned(),
        ])
        .collect();
    let upstream = Upstream::start(move |_| Given {
        pause_ms: 60,
        ..Given::writes("text/event-stream", events.iter().map(|e| e.as_bytes()))
    });
    let body = json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "x"}]}).to_string();
    let folder = Folder::new("pace");
    let recording = server(&folder, Some(&upstream), |config| config.record_wire = true);
    let live = recording.post(CHAT, &[], &body);
    drop(recording);
    let file: Value = serde_json::from_str(&only_file(&folder).1).expect("JSON");
    let fixture = &file["fixtures"][0];
    let (frames, gaps) = (&fixture["wire"]["frames"], &fixture["recordedTimings"]["interChunkDelaysMs"]);
    assert_eq!((frames.as_array().map(Vec::len), gaps.as_array().map(Vec::len)), (Some(5), Some(4)), "{fixture:#}");
    let played = |speed: Option<f64>| {
        let server = server(&folder, None, |config| config.replay_speed = speed);
        let began = Instant::now();
        let replayed = server.post(CHAT, &[], &body);
        assert_eq!(replayed.body, live.body);
        began.elapsed()
    };
    assert!(played(Some(1.0)) >= Duration::from_millis(200));
    played(None);
}
