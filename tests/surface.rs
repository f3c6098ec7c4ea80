//! Whatever clients ask and upstreams answer, the server goes on: one panic would end it, as the program aborts. Requests
//! of every wire, and answers to them, are spoilt at random and exchanged with servers of every mode; a hook counts the
//! panics of their threads. `AIMOCK_LONG=1` does it for ten minutes.

#[path = "common/plain.rs"]
mod plain;

use aimock::config::Config;
use aimock::provider::PROVIDERS;
use aimock::upstream::BaseUrl;
use aimock::{Fixture, Match, Mock};
use plain::{Folder, Given, Upstream};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Requests in a usual run.
const REQUESTS: usize = 1500;

/// How long a long run takes.
const LONG: Duration = Duration::from_secs(600);

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(20);

/// Target, and the body of a request that it takes.
fn seeds() -> Vec<(&'static str, Value)> {
    let tools = json!([{"type": "function", "function": {"name": "f", "description": "d", "parameters":
        {"type": "object", "properties": {"a": {"type": "string"}}}}}]);
    let call = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function",
        "function": {"name": "f", "arguments": "{\"a\":1}"}}]});
    let picture = json!([{"type": "text", "text": "hi 2026-11-25T10:00:00Z"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]);
    let messages = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": picture}, call,
        {"role": "tool", "tool_call_id": "call_1", "content": "é\u{1F30D}"}, {"role": "user", "content": "hi"}]);
    let chat = json!({"model": "gpt-4o-2024-08-06", "messages": messages, "tools": tools, "n": 1, "seed": 1.5e300});
    let input = json!([{"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "o"}, {"type": "reasoning", "id": "rs_1", "summary": []}]);
    let blocks = json!([{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "e"}}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "r"}]}]);
    let anthropic =
        json!({"model": "c", "max_tokens": 9, "system": [{"type": "text", "text": "s"}], "messages": blocks});
    let gemini = json!({"systemInstruction": {"parts": [{"text": "s"}]}, "contents": [{"role": "user", "parts":
        [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}, {"role": "model", "parts":
        [{"functionCall": {"name": "f", "args": {"a": 1}}}]}, {"role": "user", "parts":
        [{"functionResponse": {"name": "f", "response": {"r": 1}}}]}], "generationConfig": {"temperature": 0.1}});
    let converse = json!({"system": [{"text": "s"}], "messages": [{"role": "user", "content": [{"text": "hi"}]},
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t", "name": "f", "input": {}}}]},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": [{"text": "r"}]}}]}]});
    let with = |of: &Value, more: Value| {
        let mut of = of.clone();
        more.as_object().into_iter().flatten().for_each(|(name, value)| of[name] = value.clone());
        of
    };
    let streamed = json!({"stream": true});
    vec![
        ("/v1/chat/completions", chat.clone()),
        ("/v1/chat/completions", with(&chat, streamed.clone())),
        ("/openai/deployments/d/chat/completions?api-version=1", with(&chat, streamed.clone())),
        ("/v1/responses", json!({"model": "m", "input": input.clone()})),
        ("/v1/responses", json!({"model": "m", "input": input, "stream": true})),
        ("/v1/embeddings", json!({"model": "m", "input": ["a", "b"], "dimensions": 3})),
        ("/v1/embeddings", json!({"model": "m", "input": "a", "encoding_format": "base64"})),
        ("/v1/messages", anthropic.clone()),
        ("/v1/messages", with(&anthropic, streamed.clone())),
        ("/v1/messages/count_tokens", anthropic.clone()),
        ("/v1beta/models/g:generateContent", gemini.clone()),
        ("/v1beta/models/g:streamGenerateContent?alt=sse", gemini.clone()),
        ("/v1beta/models/g:streamGenerateContent", gemini),
        ("/v1beta/models/g:batchEmbedContents", json!({"requests": [{"content": {"parts": [{"text": "a"}]}}]})),
        ("/model/x.y-v1%3A0/converse", converse.clone()),
        ("/model/x.y-v1%3A0/converse-stream", converse),
        ("/model/x/invoke", with(&anthropic, json!({"anthropic_version": "b"}))),
        ("/model/x/invoke-with-response-stream", with(&anthropic, json!({"anthropic_version": "b"}))),
        ("/api/chat", json!({"model": "m", "messages": [{"role": "user", "content": "hi", "images": ["AAAA"]}]})),
        ("/api/generate", json!({"model": "m", "prompt": "hi", "stream": false})),
        ("/api/embed", json!({"model": "m", "input": ["a"]})),
        ("/v2/chat", json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true})),
        ("/v1/chat", json!({"model": "m", "message": "hi", "chat_history": [{"role": "USER", "message": "a"}]})),
        ("/v2/embed", json!({"model": "m", "texts": ["a"], "embedding_types": ["float"]})),
        ("/v1/images/generations", json!({"prompt": "a"})),
        ("/__aimock/fixtures", json!({"fixtures": [{"match": {"userMessage": "x"}, "response": {"content": "y"}}]})),
        ("/__aimock/chaos", json!({"dropRate": 0.1})),
        ("/__aimock/error", json!({"status": 429, "body": {"message": "m"}})),
    ]
}

/// Numbers that look random and are the same in every run.
#[derive(Clone, Debug)]
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit.max(1)
    }

    fn one_of<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }
}

/// Values that no API expects where they come.
fn strange(noise: &mut Noise) -> Value {
    let numbers = ["-1", "1e999", "18446744073709551616", "0.1e-400", "-0"];
    match noise.below(10) {
        0 => Value::Null,
        1 => json!([]),
        2 => json!({}),
        3 => json!(true),
        4 => json!(""),
        5 => json!("\u{0}\u{FFFF}\u{1F30D}e\u{301}".repeat(1 + noise.below(50))),
        6 => json!("2026-11-25T10:00:00Z 3f2504e0-4f89-11d3-9a0c-0305e82c3301 sk-0123456789abcdef0123"),
        7 => serde_json::from_str(noise.one_of::<&str>(&numbers)).unwrap_or(Value::Null),
        8 => (0..noise.below(100))
            .fold(json!("deep"), |value, n| if n % 2 == 0 { json!([value]) } else { json!({"a": value}) }),
        _ => json!([null, 1, "a", {"b": []}]),
    }
}

/// Puts something strange at a place of a value, or takes something out.
fn spoil(value: &mut Value, noise: &mut Noise) {
    let here = noise.below(4) == 0;
    match value {
        Value::Array(items) if !items.is_empty() && !here => {
            let at = noise.below(items.len());
            match noise.below(8) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                _ => spoil(&mut items[at], noise),
            }
        }
        Value::Object(members) if !members.is_empty() && !here => {
            let names: Vec<String> = members.keys().cloned().collect();
            let name = noise.one_of(&names);
            match noise.below(8) {
                0 => drop(members.remove(name)),
                1 => drop(members.insert(format!("{name}x"), strange(noise))),
                _ => spoil(&mut members[name], noise),
            }
        }
        value => *value = strange(noise),
    }
}

/// Bytes with some of them others, gone, or there twice.
fn spoil_bytes(bytes: &mut Vec<u8>, noise: &mut Noise) {
    for _ in 0..1 + noise.below(3) {
        let (at, length) = (noise.below(bytes.len()), noise.below(20));
        let end = (at + length).min(bytes.len());
        match noise.below(5) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.extend_from_within(at..end),
            3 => bytes.insert(at, noise.below(256) as u8),
            _ => bytes[at..end].iter_mut().for_each(|byte| *byte ^= 1 << noise.below(8)),
        }
        if bytes.is_empty() {
            return;
        }
    }
}

/// A request as it may come, or nearly so.
fn request(seeds: &[(&str, Value)], noise: &mut Noise) -> Vec<u8> {
    let (target, body) = noise.one_of(seeds);
    let mut body = body.clone();
    for _ in 0..noise.below(4) {
        spoil(&mut body, noise);
    }
    let mut body = body.to_string().into_bytes();
    if noise.below(6) == 0 {
        spoil_bytes(&mut body, noise);
    }
    let method = if noise.below(10) == 0 {
        *noise.one_of::<&str>(&["GET", "HEAD", "DELETE", "BREW", "OPTIONS"])
    } else {
        "POST"
    };
    let prefix = *noise.one_of::<&str>(&["", "", "", "/__test/a%20b", "/openai", "//"]);
    let mut head = format!("{method} {prefix}{target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    let headers = [
        "x-test-id: t",
        "x-test-id: \u{e9}",
        "x-aimock-strict: true",
        "x-aimock-strict: maybe",
        "x-aimock-context: c/../d",
        "x-aimock-chaos-malformed: 0.5",
        "x-aimock-chaos-drop: NaN",
        "authorization: Bearer sk-0123456789abcdef0123",
        "x-api-key: k",
        "x-goog-api-key: k",
        "anthropic-version: 1",
        "content-type: multipart/form-data; boundary=b",
        "content-type: application/json; charset=x",
        "content-encoding: gzip",
        "expect: 100-continue",
        "te: trailers",
        "authorization: AWS4-HMAC-SHA256 Credential=a/b/c/bedrock/aws4_request, SignedHeaders=host, Signature=0",
    ];
    for _ in 0..noise.below(4) {
        head += noise.one_of::<&str>(&headers);
        head += "\r\n";
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    let mut bytes = [head.as_bytes(), &body].concat();
    if noise.below(12) == 0 {
        spoil_bytes(&mut bytes, noise);
    }
    bytes
}

/// Sends it, and reads what comes until the server closes, which it does in time.
fn ask(server: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server).expect("a server that listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => unanswered(request),
        _ => answer,
    }
}

#[allow(clippy::panic)] // a test that cannot go on
fn unanswered(request: &[u8]) -> Vec<u8> {
    panic!("no answer to {}", String::from_utf8_lossy(request))
}

/// Answers of every wire, as a server gives them.
fn answers(seeds: &[(&'static str, Value)]) -> Vec<(String, Vec<u8>)> {
    let mock = Mock::builder().start().expect("a server");
    let blocks = r#"{"fixtures":[{"match":{},"response":{"content":"Hé \"you\"\n🌍","reasoning":"why",
        "toolCalls":[{"name":"f","arguments":{"a":[1,"é"]}}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}},
        {"match":{},"response":{"embedding":[0.5,-1e-9]}}]}"#;
    for fixture in aimock::fixture::file::parse(blocks.as_bytes()).fixtures {
        mock.fixture(Fixture::new(Match::default(), fixture.answer));
    }
    let ask = |(target, body): &(&'static str, Value)| {
        let answer = plain::post(mock.address(), target, &[], body.to_string());
        (answer.header("content-type").unwrap_or("").to_owned(), answer.body)
    };
    seeds.iter().filter(|(target, _)| !target.starts_with("/__")).map(ask).collect()
}

/// An upstream's answer to nothing in particular: of any wire, often spoilt, in pieces of any size.
fn given(answers: &[(String, Vec<u8>)], noise: &mut Noise) -> Given {
    let (content_type, body) = noise.one_of(answers);
    let mut body = body.clone();
    if noise.below(3) > 0 {
        spoil_bytes(&mut body, noise);
    }
    let other = noise.below(12) == 0;
    let content_type = if other { &noise.one_of(answers).0 } else { content_type };
    let mut pieces = Vec::new();
    while !body.is_empty() && pieces.len() < 40 {
        pieces.push(body.drain(..(1 + noise.below(200)).min(body.len())).collect::<Vec<u8>>());
    }
    pieces.push(body);
    pieces.retain(|piece| !piece.is_empty());
    let mut given = Given::writes(content_type, pieces.iter().map(Vec::as_slice));
    given.status = *noise.one_of::<u16>(&[200, 200, 200, 200, 201, 204, 400, 429, 500, 299]);
    given.headers += *noise.one_of::<&str>(&[
        "",
        "",
        "",
        "retry-after: soon\r\n",
        "content-encoding: gzip\r\n",
        "set-cookie: a=b\r\n",
    ]);
    given.cut = noise.below(10) == 0;
    given
}

/// A server in one of the modes.
fn server(mode: usize, upstream: &str, folder: &Folder) -> Mock {
    let change = |config: &mut Config| {
        // Half a request is all that some are.
        let soon = Duration::from_millis(200);
        (config.limits.head, config.limits.body, config.limits.idle) = (soon, soon, soon);
        config.strict = mode == 0;
        config.fixtures_given = false; // a strict server does not start over a folder without fixtures
        config.record = mode == 1 || mode == 2;
        config.proxy_only = mode == 3;
        (config.record_wire, config.record_errors, config.record_timings) = (mode == 2, mode == 2, mode == 2);
        config.reuse_volatile = mode == 1;
        for provider in PROVIDERS {
            config.upstreams.set(provider, BaseUrl::parse(upstream).expect("a URL"));
        }
    };
    let mock = Mock::builder().fixtures(&folder.0).configure(change).start().expect("a server");
    mock.on_message("hi", aimock::Reply::text("here"));
    mock
}

#[test]
fn nothing_that_is_asked_or_answered_is_a_panic() {
    let panics = Arc::new(Mutex::new(Vec::new()));
    let (seen, usual) = (Arc::clone(&panics), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() == Some("aimock") {
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(panic.to_string());
        }
        usual(panic);
    }));
    let seeds = seeds();
    let answers = answers(&seeds);
    let start = Instant::now();
    let long = std::env::var_os("AIMOCK_LONG").is_some();
    let first = if long { u64::from(std::process::id()) } else { 1 };
    let upstream_noise = Mutex::new(Noise(first + 99));
    let spoilt = answers.clone();
    let upstream =
        Upstream::start(move |_| given(&spoilt, &mut upstream_noise.lock().unwrap_or_else(PoisonError::into_inner)));
    let url = upstream.url();
    std::thread::scope(|scope| {
        for mode in 0..4 {
            let (seeds, panics, url) = (&seeds, &panics, &url);
            scope.spawn(move || {
                let folder = Folder::new(&format!("surface-{mode}"));
                let mock = server(mode, url, &folder);
                let mut noise = Noise(first + mode as u64);
                let mut rounds = 0;
                while if long { start.elapsed() < LONG } else { rounds < REQUESTS / 4 } {
                    let asked = request(seeds, &mut noise);
                    ask(mock.address(), &asked);
                    rounds += 1;
                    let panics = panics.lock().unwrap_or_else(PoisonError::into_inner);
                    assert!(
                        panics.is_empty(),
                        "{panics:?} at round {rounds} of mode {mode}, on {}",
                        String::from_utf8_lossy(&asked)
                    );
                }
                let health = ask(mock.address(), b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
                assert!(health.starts_with(b"HTTP/1.1 200 "));
                assert!(mock.report().is_object() && mock.requests().len() <= 1000);
                if long {
                    println!("mode {mode}: {rounds} requests");
                }
            });
        }
    });
}
