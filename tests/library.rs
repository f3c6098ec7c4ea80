//! The library, as tests in Rust use it.

#[path = "common/http.rs"]
mod http;

use aimock::config::Chaos;
use aimock::{Embeddings, Error, ErrorAnswer, Fixture, Match, Mock, Recording, Reply};
use http::{chat, post};
use serde_json::{Value, json};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

fn start() -> Mock {
    Mock::builder().start().expect("a server that starts")
}

fn text(mock: &Mock, message: &str) -> String {
    let answer = chat(mock.address(), message);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["choices"][0]["message"]["content"].as_str().expect("a text").to_owned()
}

/// A folder of this name for one test, not made yet.
fn folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("library-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn a_handle_can_go_anywhere() {
    fn anywhere<T: Send + Sync + 'static>() {}
    anywhere::<Mock>();
    anywhere::<aimock::mock::Builder>();
    anywhere::<Error>();
}

#[test]
fn rules_answer_in_order() {
    let mock = start();
    mock.on_message("weather", Reply::tool_call("get_weather", r#"{"city":"Oslo"}"#));
    mock.on_tool_result("call_1", Reply::text("It is sunny."));
    mock.on(Match { model: Some("gpt-4o".into()), ..Match::default() }, Reply::text("any"));
    mock.on(
        Match { input_text: Some("cat".into()), ..Match::default() },
        Embeddings { vectors: vec![vec![0.5, 0.25]], ..Embeddings::default() },
    );
    let called = chat(mock.address(), "the weather?").json();
    assert_eq!(called["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "get_weather");
    assert_eq!(called["choices"][0]["finish_reason"], "tool_calls");
    let body = json!({"model": "gpt-4o", "messages": [
        {"role": "user", "content": "hm?"},
        {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sun"},
    ]});
    let answer = post(mock.address(), "/v1/chat/completions", &body.to_string());
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "It is sunny.");
    assert_eq!(text(&mock, "anything"), "any");
    let body = json!({"model": "text-embedding-3-small", "input": "a cat"});
    let answer = post(mock.address(), "/v1/embeddings", &body.to_string());
    assert_eq!(answer.json()["data"][0]["embedding"], json!([0.5, 0.25]));
}

#[test]
fn a_fixture_has_all_that_a_file_can_give_it() {
    let mock = start();
    let mut fixture = Fixture::new(Match::message("slow"), Reply::text("abcdef"));
    fixture.playback.latency_ms = Some(20);
    mock.fixture(fixture);
    let start = Instant::now();
    assert_eq!(text(&mock, "slow"), "abcdef");
    assert!(start.elapsed() >= Duration::from_millis(20));
}

#[test]
fn errors_once_and_as_a_rule() {
    let mock = start();
    mock.on_message("never", ErrorAnswer { status: 403, message: "no".into(), ..ErrorAnswer::default() });
    mock.on_message("hello", Reply::text("hi"));
    mock.next_error(ErrorAnswer {
        status: 429,
        message: "slow down".into(),
        retry_after: Some(3),
        ..Default::default()
    });
    let answer = chat(mock.address(), "hello");
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("3")));
    assert_eq!(text(&mock, "hello"), "hi");
    for _ in 0..2 {
        assert_eq!(chat(mock.address(), "never").status, 403);
    }
}

#[test]
fn what_was_asked_is_remembered_until_a_reset() {
    let mock = start();
    assert!(mock.last_request().is_none());
    mock.on_message("hello", Reply::text("hi"));
    chat(mock.address(), "hello");
    chat(mock.address(), "what?");
    assert_eq!(mock.requests().len(), 2);
    let last = mock.last_request().unwrap();
    assert_eq!(last["body"]["messages"][0]["content"], "what?");
    let report = mock.report();
    assert_eq!((&report["hits"], &report["misses"]), (&json!(1), &json!(1)));
    mock.reset();
    assert!(mock.requests().is_empty());
    assert_eq!(chat(mock.address(), "hello").status, 404);
}

#[test]
fn recording_is_switched_on_and_off() {
    let upstream = start();
    upstream.on_message("question", Reply::text("from upstream"));
    let folder = folder();
    let mock = start();
    assert_eq!(chat(mock.address(), "question").status, 404);
    let recording = Recording::new().provider("openai", upstream.url()).fixture_path(&folder);
    mock.enable_recording(recording).unwrap();
    assert_eq!(text(&mock, "question"), "from upstream");
    mock.disable_recording();
    assert_eq!(text(&mock, "question"), "from upstream");
    assert_eq!(chat(mock.address(), "another question").status, 404);
    assert_eq!(upstream.requests().len(), 1);
    assert_eq!(std::fs::read_dir(&folder).unwrap().filter(|e| e.as_ref().unwrap().path().is_file()).count(), 1);
    // A server that is started on the folder has it.
    let again = Mock::builder().fixtures(&folder).strict().start().unwrap();
    assert_eq!(text(&again, "question"), "from upstream");
    mock.enable_recording(Recording::new().provider("openai", upstream.url()).proxy_only()).unwrap();
    upstream.on_message("thing", Reply::text("passed on"));
    assert_eq!(text(&mock, "another thing"), "passed on");
    assert_eq!(mock.report()["recorded"], 1);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_builder_records_too() {
    let upstream = start();
    upstream.on_message("question", Reply::text("from upstream"));
    let folder = folder();
    let builder = Mock::builder().fixtures(&folder).provider("openai", upstream.url()).record();
    let mock = builder.start().unwrap();
    assert_eq!(text(&mock, "question"), "from upstream");
    assert_eq!((&mock.report()["recorded"], &mock.report()["unused"]), (&json!(1), &json!([])));
    assert!(folder.join("recorded").is_dir());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_recorded_beside_a_file_answers_after_a_restart() {
    let upstream = start();
    upstream.on_message("question", Reply::text("from upstream"));
    let folder = folder();
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("rules.json");
    std::fs::write(&file, r#"{"fixtures":[]}"#).unwrap();
    let mock = Mock::builder().fixtures(&file).provider("openai", upstream.url()).record().start().unwrap();
    assert_eq!(text(&mock, "question"), "from upstream");
    let again = Mock::builder().fixtures(&file).strict().start().unwrap();
    assert_eq!(text(&again, "question"), "from upstream");
    // Where there is a folder, it has them.
    let other = folder.join("other");
    let builder = Mock::builder().fixtures(&file).fixtures(&other).provider("openai", upstream.url()).record();
    let mock = builder.start().unwrap();
    assert_eq!(text(&mock, "another question"), "from upstream");
    assert!(other.join("recorded").is_dir());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_keeps_it_from_starting() {
    let unknown = Mock::builder().provider("openia", "http://x").start().unwrap_err().to_string();
    assert!(unknown.contains("openia") && unknown.contains("anthropic, "), "{unknown}");
    let url = Mock::builder().provider("openai", "x").start().unwrap_err().to_string();
    assert!(url.contains("http://"), "{url}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    assert!(matches!(Mock::builder().port(port).start(), Err(Error::Bind { .. })));
    let folder = folder();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("broken.json"), "{").unwrap();
    assert!(matches!(Mock::builder().fixtures(&folder).strict().start(), Err(Error::Fixtures(_))));
    assert!(Mock::builder().fixtures(&folder).start().is_ok());
    std::fs::remove_dir_all(folder).unwrap();
    let mock = start();
    let nobody = mock.enable_recording(Recording::new()).unwrap_err().to_string();
    assert!(nobody.contains("whom to ask"), "{nobody}");
}

#[test]
fn anything_is_configured() {
    let mock = Mock::builder()
        .configure(|config| {
            config.chaos = Chaos { drop: 1.0, ..Chaos::default() };
            config.metrics = true;
        })
        .start()
        .unwrap();
    assert_eq!(chat(mock.address(), "x").status, 500);
    assert!(http::get(mock.address(), "/metrics").text().contains(r#"action="drop""#));
}

#[test]
fn it_stops_on_drop_and_its_port_is_free() {
    let mock = start();
    let address = mock.address();
    // Idle, and in the middle of an answer.
    let _idle = TcpStream::connect(address).unwrap();
    let mut slow = Fixture::new(Match::default(), Reply::text("x"));
    slow.playback.latency_ms = Some(60_000);
    mock.fixture(slow);
    let waiting = std::thread::spawn(move || chat(address, "x"));
    while mock.requests().is_empty() {
        std::thread::yield_now();
    }
    let start = Instant::now();
    mock.stop();
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(TcpStream::connect(address).is_err());
    assert!(!waiting.join().unwrap().whole);
    assert!(Mock::builder().port(address.port()).start().is_ok());
}

#[test]
fn a_report_is_written_at_the_end() {
    let path = folder().join("report.json");
    let mock = Mock::builder().configure(|config| config.report = Some(path.clone())).start().unwrap();
    chat(mock.address(), "unknown");
    let report = mock.report();
    drop(mock);
    assert_eq!(serde_json::from_slice::<Value>(&std::fs::read(&path).unwrap()).unwrap(), report);
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn it_works_in_async_tests() {
    let mock = start();
    mock.on_message("hello", Reply::text("hi"));
    let address = mock.address();
    let answer = tokio::task::spawn_blocking(move || chat(address, "hello")).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(mock.requests().len(), 1);
}

#[test]
fn many_at_once_do_not_meet() {
    let threads: Vec<_> = (0..50)
        .map(|n| {
            std::thread::spawn(move || {
                let mock = start();
                mock.on_message("who", Reply::text(format!("server {n}")));
                assert_eq!(text(&mock, "who are you?"), format!("server {n}"));
                assert_eq!(mock.requests().len(), 1);
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Resident memory of this process, in bytes.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("a number") * 1024
}

/// What a server costs, on its own in a process: `cargo test --release --test library cost -- --ignored --nocapture`.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "a measurement, alone in its process"]
fn cost() {
    let warm = start();
    chat(warm.address(), "x");
    let before = resident();
    let begun = Instant::now();
    let threads: Vec<_> = (0..50)
        .map(|_| {
            std::thread::spawn(|| {
                let begun = Instant::now();
                let mock = start();
                let took = begun.elapsed();
                mock.on_message("hello", Reply::text("hi"));
                assert_eq!(text(&mock, "hello"), "hi");
                (mock, took)
            })
        })
        .collect();
    let mocks: Vec<(Mock, Duration)> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let all = begun.elapsed();
    let bytes = resident().saturating_sub(before) / 50;
    let mut took: Vec<Duration> = mocks.iter().map(|(_, took)| *took).collect();
    took.sort_unstable();
    let begun = Instant::now();
    drop(start());
    println!("50 at once: {all:?}; each {:?} (median), {:?} (longest), {bytes} bytes", took[25], took[49]);
    println!("one, started and stopped: {:?}", begun.elapsed());
    assert!(bytes < 300 * 1024, "{bytes} bytes each");
    let _: Value = warm.report();
}
