//! How fixtures are played, and faults on purpose. Times are checked from below alone: what must not come early; a slow
//! machine may be late. What must not wait for another is shown by the order in which things end.

#[path = "common/http.rs"]
mod http;

use aimock::Mock;
use aimock::config::{Chaos, Config, OnStale};
use http::{Answer, LIMIT, ask, chat, chat_body, chat_streamed, post};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn server(change: impl FnOnce(&mut Config)) -> Mock {
    Mock::builder().configure(change).start().expect("a server that starts")
}

/// Adds a fixture through the control API, as files have it.
fn add(mock: &Mock, fixture: Value) {
    let answer = post(mock.address(), "/__aimock/fixtures", &json!({"fixtures": [fixture]}).to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// A server with one fixture that answers `question`, played like this.
fn played(text: &str, how: Value) -> Mock {
    let mock = server(|_| {});
    let mut fixture = json!({"match": {"userMessage": "question"}, "response": {"content": text}});
    fixture.as_object_mut().expect("an object").extend(how.as_object().expect("an object").clone());
    add(&mock, fixture);
    mock
}

/// What was asked, and how long it took to the end.
fn timed(ask: impl FnOnce() -> Answer) -> (Answer, Duration) {
    let start = Instant::now();
    let answer = ask();
    (answer, start.elapsed())
}

/// The text of a streamed answer, and in how many deltas it came.
fn deltas(answer: &Answer) -> (String, usize) {
    let text = answer.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    let events = data.map(|data| serde_json::from_str::<Value>(data).expect("an event in JSON"));
    let texts: Vec<String> =
        events.filter_map(|e| e["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect();
    let texts: Vec<String> = texts.into_iter().filter(|text| !text.is_empty()).collect();
    (texts.concat(), texts.len())
}

const MS: Duration = Duration::from_millis(1);

// --------------------------------------------------------------------------------------------------------- pacing

#[test]
fn chunk_size_is_in_characters() {
    let mock = played("añ🌍日xyz", json!({"chunkSize": 2}));
    assert_eq!(deltas(&chat_streamed(mock.address(), "question")), ("añ🌍日xyz".into(), 4));
    let mock = server(|config| config.chunk_chars = 3);
    add(&mock, json!({"match": {}, "response": {"content": "abcdefg"}}));
    assert_eq!(deltas(&chat_streamed(mock.address(), "x")), ("abcdefg".into(), 3));
}

#[test]
fn latency_comes_between_frames_and_before_a_whole_answer() {
    let mock = played("abcdefgh", json!({"latency": 20, "chunkSize": 2}));
    let (answer, took) = timed(|| chat_streamed(mock.address(), "question"));
    assert_eq!(deltas(&answer).1, 4);
    assert!(answer.whole && took >= 80 * MS, "{took:?}");
    let (answer, took) = timed(|| chat(mock.address(), "question"));
    assert!(answer.whole && took >= 20 * MS, "{took:?}");
    let mock = server(|config| config.latency_ms = 30);
    add(&mock, json!({"match": {}, "response": {"content": "x"}}));
    let (_, took) = timed(|| chat(mock.address(), "x"));
    assert!(took >= 30 * MS, "{took:?}");
}

#[test]
fn errors_wait_too() {
    let mock = server(|_| {});
    let error = json!({"match": {}, "response": {"error": {"message": "no"}, "status": 503}, "latency": 30});
    add(&mock, error);
    let (answer, took) = timed(|| chat(mock.address(), "x"));
    assert_eq!(answer.status, 503);
    assert!(answer.whole && took >= 30 * MS, "{took:?}");
}

#[test]
fn a_profile_has_a_first_delay_and_a_rate() {
    let how = json!({"streamingProfile": {"ttft": 60, "tps": 100}, "chunkSize": 2});
    let mock = played("abcdefgh", how);
    let (answer, took) = timed(|| chat_streamed(mock.address(), "question"));
    // The first of at least five frames after 60 ms, each of the others after 10.
    assert!(answer.whole && took >= 100 * MS, "{took:?}");
    let (_, took) = timed(|| chat(mock.address(), "question"));
    assert!(took >= 60 * MS, "{took:?}");
}

#[test]
fn recorded_timings_are_played_at_a_speed_alone() {
    let timings = json!({"ttftMs": 10_000, "interChunkDelaysMs": [10_000, 10_000], "totalDurationMs": 30_000});
    let mock = played("abcdefgh", json!({"recordedTimings": timings}));
    let (answer, took) = timed(|| chat_streamed(mock.address(), "question"));
    assert!(answer.whole && took < 10_000 * MS, "{took:?}");
    let mock = played("abcdefgh", json!({"recordedTimings": timings, "replaySpeed": 500}));
    let (answer, took) = timed(|| chat_streamed(mock.address(), "question"));
    assert!(answer.whole && took >= 60 * MS && took < 10_000 * MS, "{took:?}");
    let (_, took) = timed(|| chat(mock.address(), "question"));
    assert!(took >= 60 * MS && took < 10_000 * MS, "a whole answer takes as long as the stream took: {took:?}");
    let mock = server(|config| config.replay_speed = Some(1000.0));
    add(&mock, json!({"match": {}, "response": {"content": "x"}, "recordedTimings": timings}));
    let (_, took) = timed(|| chat(mock.address(), "x"));
    assert!(took >= 30 * MS && took < 10_000 * MS, "{took:?}");
}

#[test]
fn a_paced_stream_delays_nobody_else() {
    let mock = played("abcdefgh", json!({"latency": 60_000, "chunkSize": 2}));
    add(&mock, json!({"match": {"userMessage": "other"}, "response": {"content": "at once"}}));
    let mut waiting: Vec<TcpStream> = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(mock.address()).unwrap();
        let body = chat_body("question", true);
        write!(
            stream,
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        waiting.push(stream);
    }
    for _ in 0..20 {
        assert!(chat(mock.address(), "other").text().contains("at once"));
    }
    assert!(mock.requests().len() >= 20);
    // Those that wait are still there, and have had no more than a head.
    for stream in &mut waiting {
        stream.set_nonblocking(true).unwrap();
        let mut got = [0; 4096];
        let n = stream.read(&mut got).unwrap_or(0);
        assert!(!String::from_utf8_lossy(&got[..n]).contains("data:"));
    }
}

#[test]
fn a_head_comes_before_a_slow_first_frame() {
    let mock = played("abc", json!({"streamingProfile": {"ttft": 60_000}}));
    let mut stream = TcpStream::connect(mock.address()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let body = chat_body("question", true);
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut got = [0; 4096];
    let n = stream.read(&mut got).unwrap();
    assert!(String::from_utf8_lossy(&got[..n]).starts_with("HTTP/1.1 200 OK\r\n"));
}

// -------------------------------------------------------------------------------------------------- interruptions

#[test]
fn a_truncated_stream_has_its_frames_and_no_end() {
    for how in [json!({}), json!({"latency": 5})] {
        for n in 1..4 {
            let mut how = how.clone();
            how["truncateAfterChunks"] = n.into();
            how["chunkSize"] = 2.into();
            let mock = played("abcdefgh", how);
            let answer = chat_streamed(mock.address(), "question");
            assert_eq!((answer.status, answer.whole), (200, false));
            assert_eq!(answer.text().matches("data: ").count(), n, "{}", answer.text());
            assert!(!answer.text().contains("[DONE]"), "{}", answer.text());
        }
    }
}

#[test]
fn a_long_truncated_stream_loses_nothing_of_what_comes_before() {
    let text = "x".repeat(4_000_000);
    let mock = played(&text, json!({"truncateAfterChunks": 3000, "chunkSize": 1000}));
    let answer = chat_streamed(mock.address(), "question");
    assert!(!answer.whole);
    assert_eq!(answer.text().matches("data: ").count(), 3000);
    assert!(deltas(&answer).0.len() >= 2_990_000);
}

#[test]
fn more_chunks_than_there_are_truncate_nothing() {
    let mock = played("abc", json!({"truncateAfterChunks": 100}));
    let answer = chat_streamed(mock.address(), "question");
    assert!(answer.whole && answer.text().contains("[DONE]"));
    assert!(chat(mock.address(), "question").whole, "a whole answer has no chunks");
}

#[test]
fn a_connection_breaks_in_time() {
    let mock = played("abcdefgh", json!({"latency": 60_000, "disconnectAfterMs": 40}));
    let (answer, took) = timed(|| chat_streamed(mock.address(), "question"));
    assert_eq!((answer.status, answer.whole), (200, false));
    assert!(took >= 40 * MS && took < 60_000 * MS, "{took:?}");
    let (answer, took) = timed(|| chat(mock.address(), "question"));
    assert!(!answer.whole && took >= 40 * MS && took < 60_000 * MS, "{took:?}");
    let mock = played("abcdefgh", json!({"latency": 20, "chunkSize": 2, "disconnectAfterMs": 50}));
    let answer = chat_streamed(mock.address(), "question");
    assert!(!answer.whole && answer.text().contains("data: "), "what came before stays: {}", answer.text());
    let mock = played("abc", json!({"disconnectAfterMs": 60_000}));
    assert!(chat_streamed(mock.address(), "question").whole, "it was over before");
    assert!(chat(mock.address(), "question").whole);
}

// ---------------------------------------------------------------------------------------------------------- chaos

/// What became of a request: a status, `malformed` or `cut`.
fn fate(answer: &Answer) -> String {
    match answer.status {
        0 => "cut".into(),
        200 if serde_json::from_slice::<Value>(&answer.body).is_err() => "malformed".into(),
        status => status.to_string(),
    }
}

#[test]
fn faults_come_from_header_fixture_and_server_in_this_order() {
    let mock = server(|config| config.chaos = Chaos { drop: 1.0, ..Chaos::default() });
    let chat_with = |headers: &str, message: &str| {
        fate(&ask(mock.address(), "POST", "/v1/chat/completions", headers, &chat_body(message, false)))
    };
    add(&mock, json!({"match": {"userMessage": "plain"}, "response": {"content": "x"}}));
    let own = json!({"dropRate": 0, "disconnectRate": 1});
    add(&mock, json!({"match": {"userMessage": "own"}, "response": {"content": "x"}, "chaos": own}));
    assert_eq!(chat_with("", "plain"), "500");
    assert_eq!(mock.last_request().unwrap()["response"]["chaosAction"], "drop");
    assert_eq!(chat_with("", "own"), "cut");
    assert_eq!(mock.last_request().unwrap()["response"]["status"], 0);
    assert_eq!(chat_with("x-aimock-chaos-drop: 0\r\n", "plain"), "200");
    assert_eq!(chat_with("x-aimock-chaos-disconnect: 0\r\n", "own"), "200");
    assert_eq!(chat_with("x-aimock-chaos-malformed: 1\r\n", "own"), "malformed");
    assert_eq!(chat_with("x-aimock-chaos-drop: 1\r\n", "own"), "500");
    assert_eq!(chat_with("", "no fixture"), "500", "a miss is struck too");
    assert_eq!(chat_with("x-aimock-chaos-drop: 2\r\n", "plain"), "500", "what is no rate says nothing");
}

#[test]
fn a_dropped_request_has_the_providers_error() {
    let mock = server(|config| config.chaos.drop = 1.0);
    let body = r#"{"model":"claude-sonnet-4-5","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}"#;
    let answer = ask(mock.address(), "POST", "/v1/messages", "anthropic-version: 2023-06-01\r\n", body);
    assert_eq!((answer.status, &answer.json()["type"]), (500, &json!("error")));
    assert_eq!(chat(mock.address(), "x").json()["error"]["code"], "chaos_drop");
}

/// The fates of some requests, asked in this order.
fn fates(seed: u64, questions: impl Iterator<Item = usize>) -> Vec<(usize, String)> {
    let mock = server(|config| {
        config.chaos = Chaos { drop: 0.3, malformed: 0.3, disconnect: 0.3, seed: Some(seed) };
    });
    add(&mock, json!({"match": {}, "response": {"content": "x"}}));
    questions.map(|n| (n, fate(&chat(mock.address(), &format!("question {n}"))))).collect()
}

#[test]
fn a_seed_repeats_the_same_faults_whatever_the_order() {
    let first = fates(7, 0..40);
    assert_eq!(first, fates(7, 0..40));
    let mut backwards = fates(7, (0..40).rev());
    backwards.reverse();
    assert_eq!(first, backwards);
    assert_ne!(first, fates(8, 0..40));
    for fate in ["200", "500", "malformed", "cut"] {
        assert!(first.iter().any(|(_, f)| f == fate), "{fate} in {first:?}");
    }
    let same = fates(7, std::iter::repeat_n(1, 40));
    assert!(same.iter().any(|(_, f)| f != &same[0].1), "the same question again is another draw: {same:?}");
}

// ---------------------------------------------------------------------------------------------------------- stale

/// A server with one recording of this age, made by recording it.
fn recorded(days_old: i64, change: impl FnOnce(&mut Config)) -> Mock {
    let mock = server(change);
    let upstream = server(|_| {});
    upstream.on_message("question", aimock::Reply::text("recorded"));
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "stale-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let recorder = server(|config| config.fixtures = vec![folder.clone()]);
    let recording = aimock::Recording::new().provider("openai", upstream.url());
    recorder.enable_recording(recording).expect("a provider");
    assert_eq!(chat(recorder.address(), "question").status, 200);
    let file = std::fs::read_dir(folder.join("recorded")).expect("a folder").next().expect("a file").expect("a file");
    let text = std::fs::read_to_string(file.path()).expect("a file");
    let mut json: Value = serde_json::from_str(&text).expect("JSON");
    let at = aimock::clock::rfc3339(aimock::clock::unix_ms() / 1000 - days_old * 86_400);
    json["fixtures"][0]["metadata"]["recordedAt"] = at.into();
    add(&mock, json["fixtures"][0].clone());
    let _ = std::fs::remove_dir_all(folder);
    mock
}

#[test]
fn a_stale_recording_answers_or_fails() {
    let fresh = recorded(5, |config| (config.max_age_days, config.on_stale) = (Some(6), OnStale::Fail));
    assert_eq!(chat(fresh.address(), "question").status, 200);
    let warned = recorded(7, |config| config.max_age_days = Some(6));
    assert_eq!(chat(warned.address(), "question").status, 200);
    let failed = recorded(7, |config| (config.max_age_days, config.on_stale) = (Some(6), OnStale::Fail));
    let answer = chat(failed.address(), "question");
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("--max-age"), "{}", answer.text());
    let never = recorded(7000, |_| {});
    assert_eq!(chat(never.address(), "question").status, 200);
}
