//! A secret that goes through is written nowhere: not to a file, a line of the log, the journal, the report, a metric or
//! an error, and what was recorded still answers.

mod places;
#[path = "../common/plain.rs"]
mod plain;

use aimock::Mock;
use aimock::log::{Level, Lines, Logger};
use aimock::provider::{self, Call, Encoding, Head, Shape};
use aimock::reply::{Answer, Part, Reply, ToolCall};
use aimock::upstream::BaseUrl;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use plain::{Folder, Given, Upstream};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What is planted, and the part of it that must not be found anywhere.
struct Secret {
    planted: String,
    needle: &'static str,
}

/// Shapes are put together here, so that nothing that looks like a key stands in this file.
fn secrets() -> Vec<Secret> {
    let shapes: &[(&str, &str, &str)] = &[
        ("sk-proj-", "Aa1openaiBb2Cc3Dd4Ee5Ff6Gg7", ""),
        ("sk-", "legacyOpenAi0123456789abcdef", ""),
        ("sk-ant-api03-", "Anthropic0Aa1Bb2Cc3Dd4Ee5", ""),
        ("sk-or-v1-", "openrouter0123456789abcdef", ""),
        ("AIza", "SyGoogle0123456789abcdefghijklmnopq", ""),
        ("ya29.", "GoogleOauth0123456789abcdefgh", ""),
        ("AKIA", "IOSFODNN7PLANTED", ""),
        ("aws_secret_access_key = ", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYPLANTEDKE", ""),
        ("ABSK", "QmVkcm9jaw0123456789PlantedBedrockKey0123456789==", ""),
        ("ghp_", "GithubClassic0123456789abcdefghijklm", ""),
        ("github_pat_", "11FINEGRAINED0123456789abcdef", ""),
        ("ghs_", "GithubServer0123456789abcdefghijklmn", ""),
        ("xoxb-", "123456789012-slackplanted0abc", ""),
        ("xapp-", "1-A0123-slackappplanted0abc", ""),
        ("https://hooks.slack.com/services/", "T00000000/B00000000/plantedWebhook0", ""),
        ("hf_", "HuggingFace0123456789abcdefghijklm", ""),
        ("gsk_", "Groq0123456789abcdefghijklmnopqrstuvwx", ""),
        ("Authorization: Bearer ", "opaque.Planted0123456789~token", ""),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.", "PlantedSignature0123456789", ""),
        ("-----BEGIN PRIVATE KEY-----\n", "MIIEPlantedKeyMaterial0123456789", "\n-----END PRIVATE KEY-----"),
        ("postgres://admin:", "pl4ntedP4ssw0rd", "@db.example.com:5432/x"),
        ("https://", "pl4ntedUserPart0123", ":x-oauth-basic@example.com/a.git"),
        ("https://example.com/a?b=1&sig=", "pl4ntedSignature0123456789", "&c=2"),
        ("https://example.com/a?subscription-key=", "pl4ntedSubscription0123", ""),
        ("AZURE_OPENAI_API_KEY=", "0123456789abcdef0123456789abcdef", ""),
        ("{\"api_key\": \"", "pl4ntedInJson0123456789", "\"}"),
        ("password=", "pl4ntedP4ssword!", ""),
        ("sk_live_", "51StripePlanted0123456789abcd", ""),
        ("SG.", "SendGridPlanted0123456.Pl4nted0123456789abcdefghijklmnopqrstuvwxyz", ""),
        ("bot123456789:", "AAPlantedTelegram0123456789abcdefgh", ""),
        ("lsv2_pt_", "0123456789abcdef0123456789abcdee_0123456789", ""),
        ("dapi", "0123456789abcdef0123456789abcdee", ""),
        ("tvly-", "dev-PlantedTavily0123456789abcdef", ""),
        ("csk-", "plantedcerebras0123456789abcdefghijklmnopqrstuv", ""),
    ];
    shapes
        .iter()
        .map(|(before, needle, after)| Secret { planted: format!("{before}{needle}{after}"), needle })
        .collect()
}

/// A request with a secret in every place it has.
struct Asks {
    target: String,
    body: Value,
}

fn asks(n: usize, secret: &str) -> Asks {
    let streamed = n.is_multiple_of(2);
    let arguments = json!({"key": secret, "n": 1}).to_string();
    let question = format!("question {n}: why is\n{secret} refused?");
    let result = format!("the tool says {secret}");
    let key = encoded(secret);
    match n / 2 % 4 {
        0 => Asks {
            target: format!("/v1/chat/completions?trace={key}"),
            body: json!({"model": "m", "stream": streamed, "messages": [
                {"role": "system", "content": format!("use {secret}")},
                {"role": "user", "content": question},
                {"role": "assistant", "content": null, "tool_calls":
                    [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}]},
                {"role": "tool", "tool_call_id": "c1", "content": result}],
                "tools": [{"type": "function", "function": {"name": "f", "description": format!("with {secret}")}}]}),
        },
        1 => Asks {
            target: format!("/v1/messages?trace={key}"),
            body: json!({"model": "m", "max_tokens": 9, "stream": streamed, "system": format!("use {secret}"), "messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {"key": secret}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": result}]}]}),
        },
        2 => Asks {
            target: format!(
                "/v1beta/models/m:{}key={key}",
                if streamed { "streamGenerateContent?alt=sse&" } else { "generateContent?" }
            ),
            body: json!({"systemInstruction": {"parts": [{"text": secret}]}, "contents": [
                {"role": "user", "parts": [{"text": question}]},
                {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"key": secret}}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"said": result}}}]}]}),
        },
        _ => Asks {
            target: format!("/v1/responses?trace={key}"),
            body: json!({"model": "m", "stream": streamed, "instructions": secret, "input": [
                {"role": "user", "content": question},
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": arguments},
                {"type": "function_call_output", "call_id": "c1", "output": result}]}),
        },
    }
}

/// Percent-encoded, every other character: nothing of it is left to be recognised by.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, b| {
        let plain = b.is_ascii_alphanumeric() && b % 2 == 0;
        let _ = if plain { write!(out, "{}", char::from(b)) } else { write!(out, "%{b:02X}") };
        out
    })
}

/// What a provider would answer, streamed three characters a frame where that was asked for.
fn given(target: &str, body: &[u8], answer: &Answer) -> Given {
    let headers = HeaderMap::new();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let head = Head { method: "POST", path, query, headers: &headers };
    let matched = provider::route(&head);
    let call = Call { head, params: matched.params.clone(), body };
    let request = matched.codec.decode(&call).expect("a good request");
    let to = Encoding { request: &request, chunk_chars: 3, now: 1_700_000_000, seed: 1 };
    if !request.streamed() {
        return Given::json(matched.codec.write(answer, &to).expect("an answer of its kind").to_bytes());
    }
    let Shape::Chat(wire) = matched.codec.shape() else { unreachable!("a stream of a turn") };
    let frames = wire.stream(&matched.codec.write(answer, &to).expect("a turn"), &to);
    let mut start = 0;
    let pieces = frames.ends.iter().map(|end| &frames.bytes[std::mem::replace(&mut start, *end)..*end]);
    Given::writes(request.framing.content_type(), pieces)
}

fn answer_with(secret: &str) -> Answer {
    let arguments = json!({"say": format!("it is\n{secret}")}).to_string();
    let call = ToolCall { id: Some("call_9".into()), name: "f".into(), arguments, signature: None, custom: false };
    let parts = vec![Part::text(format!("You said {secret}, didn't you?")), Part::ToolCall(call)];
    Reply { parts, ..Reply::default() }.into()
}

struct Server {
    mock: Mock,
    log: Lines,
}

fn server(folder: &Folder, upstream: Option<&Upstream>, change: impl Fn(&mut aimock::Config)) -> Server {
    let (logger, log) = Logger::collecting(Level::Debug);
    let url = upstream.map(Upstream::url);
    let builder = Mock::builder().fixtures(&folder.0).log(logger).configure(|config| {
        config.record = url.is_some();
        config.strict = url.is_none();
        config.metrics = true;
        for provider in provider::PROVIDERS.iter().filter(|_| url.is_some()) {
            config.upstreams.set(provider, BaseUrl::parse(url.as_deref().unwrap_or("")).expect("a URL"));
        }
        change(config);
    });
    Server { mock: builder.start().expect("a server"), log }
}

impl Server {
    fn post(&self, target: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> plain::Answer {
        plain::post(self.mock.address(), target, headers, body)
    }

    /// All that the server tells of itself.
    fn told(&self) -> Vec<(String, String)> {
        let get = |path: &str| plain::get(self.mock.address(), path).text();
        vec![
            ("the journal".into(), get("/__aimock/journal")),
            ("the report".into(), get("/__aimock/report")),
            ("the metrics".into(), get("/metrics")),
            ("the fixtures".into(), get("/__aimock/fixtures")),
            ("the requests".into(), json!(self.mock.requests()).to_string()),
            ("the log".into(), self.log.to_vec().join("\n")),
        ]
    }
}

/// A text with all its JSON strings, and what they hold in base64.
fn opened(text: &str) -> String {
    fn open(value: &Value, out: &mut String) {
        match value {
            Value::String(text) => {
                out.push_str(text);
                out.push('\n');
                if let Ok(bytes) = STANDARD.decode(text) {
                    out.push_str(&String::from_utf8_lossy(&bytes));
                }
            }
            Value::Array(items) => items.iter().for_each(|item| open(item, out)),
            Value::Object(members) => members.iter().for_each(|(name, member)| {
                out.push_str(name);
                open(member, out);
            }),
            _ => {}
        }
    }
    let mut out = text.to_owned();
    if let Ok(json) = serde_json::from_str(text) {
        open(&json, &mut out);
    }
    out
}

#[track_caller]
fn none_found(places: &[(String, String)], secrets: &[Secret]) {
    for (place, text) in places {
        let text = opened(text);
        for Secret { needle, .. } in secrets {
            let around = text.split(needle).next().unwrap_or("").chars().rev().take(200).collect::<String>();
            let around: String = around.chars().rev().collect();
            assert!(!text.contains(needle), "{needle} in {place} after …{around}");
            // Not cut into something that is no longer known, either.
            assert!(!text.contains(&needle[..12]), "the beginning of {needle} in {place}");
        }
    }
}

fn written(folder: &Folder) -> Vec<(String, String)> {
    let files = folder.files().into_iter();
    files.map(|(path, text)| (path.display().to_string(), format!("{}\n{text}", path.display()))).collect()
}

/// What the server itself put into an answer.
fn own(answer: &plain::Answer, with_body: bool) -> (String, String) {
    ("an answer".into(), if with_body { format!("{}{}", answer.head, answer.text()) } else { answer.head.clone() })
}

#[test]
fn a_planted_secret_is_found_nowhere_and_all_requests_replay() {
    let secrets = secrets();
    assert!(secrets.len() >= 20);
    for record_wire in [false, true] {
        sweep(&secrets, record_wire);
    }
}

fn sweep(secrets: &[Secret], record_wire: bool) {
    let folder = Folder::new("secrets");
    let planted: Vec<String> = secrets.iter().map(|s| s.planted.clone()).collect();
    let upstream = Upstream::start(move |received| {
        let target = received.line().split(' ').nth(1).unwrap_or("").to_owned();
        let n = planted.iter().position(|p| received.text().contains(json!(p).to_string().trim_matches('"')));
        given(&target, &received.body, &answer_with(&planted[n.expect("a secret in the request")]))
    });
    let recorder = server(&folder, Some(&upstream), |config| {
        config.record_wire = record_wire;
        config.record_timings = true;
    });
    let mut places = Vec::new();
    let all: Vec<(Asks, &Secret)> = secrets
        .iter()
        .enumerate()
        .flat_map(|(n, s)| [(asks(2 * n, &s.planted), s), (asks(2 * n + 1, &s.planted), s)])
        .collect();
    for (asks, secret) in &all {
        let note = secret.planted.replace('\n', " ");
        let bearer = format!("Bearer {note}");
        let headers = [("x-note", note.as_str()), ("authorization", bearer.as_str())];
        let live = recorder.post(&asks.target, &headers, asks.body.to_string());
        assert_eq!((live.status, live.source()), (200, "proxy"), "{}", live.text());
        // The client gets what the upstream sent, byte for byte.
        let sent = given(&asks.target, asks.body.to_string().as_bytes(), &answer_with(&secret.planted));
        assert_eq!(live.body, sent.writes.concat(), "{}", asks.target);
        places.push(own(&live, false));
    }
    places.extend(recorder.told());
    places.extend(written(&folder));
    assert_eq!(folder.files().len(), all.len(), "{:#?}", recorder.log.to_vec());
    none_found(&places, secrets);
    let log = recorder.log.to_vec().join("\n");
    assert_eq!(log.contains("not as it was on the wire"), record_wire, "{log}");
    drop(recorder);

    let strict = server(&folder, None, |_| {});
    let mut places = Vec::new();
    for (asks, _) in &all {
        let replayed = strict.post(&asks.target, &[], asks.body.to_string());
        assert_eq!((replayed.status, replayed.how()), (200, "exact"), "{}: {}", asks.target, replayed.text());
        places.push(own(&replayed, true));
    }
    // The same question with another key in it is the same question.
    let other = all[0].0.body.to_string().replace(&all[0].1.planted, "sk-another0123456789another");
    assert_eq!(strict.post(&all[0].0.target, &[], other).how(), "exact");
    places.extend(strict.told());
    none_found(&places, secrets);
}

#[test]
fn errors_and_misses_tell_no_secret() {
    let secrets = secrets();
    let folder = Folder::new("secret-errors");
    std::fs::write(
        folder.0.join("rule.json"),
        r#"{"fixtures":[{"match":{"userMessage":"something else"},"response":{"content":"x"}}]}"#,
    )
    .expect("a fixture file");
    let server = server(&folder, None, |_| {});
    let mut places = Vec::new();
    for Secret { planted, .. } in &secrets {
        let quoted = json!(planted).to_string();
        let long = json!(format!("{} {planted}", "x".repeat(70))).to_string(); // begins where a line is cut
        let key = encoded(planted);
        for (target, body) in [
            ("/v1/chat/completions".to_owned(), format!(r#"{{"messages":{quoted}}}"#)),
            ("/v1/chat/completions".to_owned(), format!(r#"{{"messages":[{{"role":{quoted}}}]"#)),
            (
                "/v1/chat/completions".to_owned(),
                format!(r#"{{"model":{quoted},"messages":[{{"role":"user","content":{long}}}]}}"#),
            ),
            (
                "/v1/chat/completions".to_owned(),
                format!(r#"{{"model":"m","messages":[{{"role":"user","content":{quoted}}}]}}"#),
            ),
            ("/v1/messages".to_owned(), format!(r#"{{"model":"m","max_tokens":{quoted},"messages":[]}}"#)),
            ("/v1/embeddings".to_owned(), format!(r#"{{"model":"m","input":{quoted}}}"#)),
            ("/v1/responses".to_owned(), format!(r#"{{"input":{{"a":{quoted}}}}}"#)),
            (format!("/v1beta/models/m:generateContent?key={key}"), format!(r#"{{"contents":{quoted}}}"#)),
            (format!("/v1/unknown/{key}?x={key}"), quoted.clone()),
            (format!("/__test/{key}/v1/unknown"), planted.clone()),
        ] {
            let header = planted.replace('\n', " ");
            let headers = [("x-test-id", header.as_str()), ("x-aimock-context", header.as_str())];
            for headers in [&headers[..], &[]] {
                let answer = server.post(&target, headers, &body);
                assert!(answer.status >= 400, "{target} {body}: {}", answer.text());
                places.push(own(&answer, true));
            }
        }
    }
    places.extend(server.told());
    none_found(&places, &secrets);
}

#[test]
fn what_an_upstream_says_of_its_failure_tells_no_secret() {
    let secrets = secrets();
    let folder = Folder::new("secret-upstream");
    let planted: Vec<String> = secrets.iter().map(|s| s.planted.clone()).collect();
    let upstream = Upstream::start(move |received| {
        let text = received.text();
        let number = |marker: &str| text.split(marker).nth(1)?.split(' ').next()?.parse::<usize>().ok();
        let secret = |n: usize| json!(planted[n]).to_string();
        if let Some(n) = number("status ") {
            let mut given = Given::status(401, &format!(r#"{{"error":{{"message":{}}}}}"#, secret(n)));
            given.headers.push_str("x-echo: none\r\n");
            given
        } else if let Some(n) = number("event ") {
            let error = format!("data: {{\"error\":{{\"message\":{}}}}}\n\n", secret(n));
            Given::writes("text/event-stream", [b"data: {\"choices\":[]}\n\n", error.as_bytes()])
        } else {
            let n = number("garbage ").expect("a case");
            Given::new("text/event-stream", format!("data: {{\"choices\": {}\n\n", secret(n)))
        }
    });
    let server = server(&folder, Some(&upstream), |config| config.record_errors = true);
    for (n, secret) in secrets.iter().enumerate() {
        for case in ["status", "event", "garbage"] {
            let content = format!("{case} {n} please");
            let body = json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": content}]});
            let answer = server.post("/v1/chat/completions", &[], body.to_string());
            assert_eq!(answer.source(), "proxy");
            assert!(answer.text().contains(secret.needle), "the client gets the upstream's words: {}", answer.text());
        }
    }
    let mut places = server.told();
    places.extend(written(&folder));
    assert_eq!(folder.files().len(), secrets.len(), "errors alone are recorded");
    none_found(&places, &secrets);
}

#[test]
fn raw_answers_are_kept_without_secrets_or_not_at_all() {
    let secrets = secrets();
    let folder = Folder::new("secret-raw");
    let planted: Vec<String> = secrets.iter().map(|s| s.planted.clone()).collect();
    let upstream = Upstream::start(move |received| {
        let line = received.line().to_owned();
        let n: usize = line
            .split(['/', ' ', '?'])
            .rfind(|part| part.parse::<usize>().is_ok())
            .and_then(|n| n.parse().ok())
            .expect("a number");
        let secret = &planted[n];
        if line.contains("/json/") {
            Given::json(json!({"nested": [{"text": secret}], "id": 1}).to_string())
        } else if line.contains("/bytes/") {
            Given::new("application/octet-stream", [b"\xff\x00\x01".as_slice(), secret.as_bytes(), b"\xfe"].concat())
        } else {
            let half = secret.len() / 2;
            let event = |text: &str| format!("data: {}\n\n", json!({"choices": [{"index": 0, "text": text}]}));
            let (first, second) = (event(&secret[..half]), event(&secret[half..]));
            Given::writes("text/event-stream", [first.as_bytes(), second.as_bytes(), b"data: [DONE]\n\n"])
        }
    });
    let recorder = server(&folder, Some(&upstream), |config| config.record_wire = true);
    let ask = |server: &Server, kind: &str, n: usize| {
        let boundary = "b0undary";
        let body = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"k\"\r\n\r\n{}\r\n--{boundary}--\r\n",
            secrets[n].planted
        );
        let content_type = format!("multipart/form-data; boundary={boundary}");
        server.post(
            &format!("/v1/files/{kind}/{n}?api_key={n}"),
            &[("content-type", &content_type), ("authorization", "Bearer k")],
            body,
        )
    };
    for n in 0..secrets.len() {
        for kind in ["json", "bytes", "stream"] {
            let live = ask(&recorder, kind, n);
            assert_eq!((live.status, live.source()), (200, "proxy"));
        }
    }
    let mut places = recorder.told();
    places.extend(written(&folder));
    none_found(&places, &secrets);
    drop(recorder);
    let strict = server(&folder, None, |_| {});
    for n in 0..secrets.len() {
        for kind in ["json", "bytes", "stream"] {
            let replayed = ask(&strict, kind, n);
            // A secret across frames cannot be replaced, unless it has a beginning and an end.
            let kept = kind != "stream" || secrets[n].planted.starts_with("-----BEGIN");
            let context = format!("{kind} {n} {}: {}", secrets[n].planted, replayed.text());
            assert_eq!(replayed.status, if kept { 200 } else { 503 }, "{context}");
            none_found(&[own(&replayed, true)], &secrets);
        }
    }
}

#[test]
fn patterns_of_the_user_are_replaced_too() {
    let folder = Folder::new("secret-pattern");
    let upstream = Upstream::start(|received| {
        let answer = Reply::text("the word is swordfish-77").into();
        given(received.line().split(' ').nth(1).unwrap_or(""), &received.body, &answer)
    });
    let body = |word: &str| {
        json!({"model": "m", "messages": [{"role": "user", "content": format!("say {word}")}]}).to_string()
    };
    let pattern = |config: &mut aimock::Config| config.redact = vec!["swordfish-[0-9]+".into()];
    let recorder = server(&folder, Some(&upstream), pattern);
    let live = recorder.post("/v1/chat/completions", &[], body("swordfish-1"));
    assert!(live.text().contains("swordfish-77"));
    let mut places = recorder.told();
    places.extend(written(&folder));
    assert!(places.iter().all(|(_, text)| !text.contains("swordfish")), "{places:#?}");
    drop(recorder);
    let strict = server(&folder, None, pattern);
    assert_eq!(strict.post("/v1/chat/completions", &[], body("swordfish-2")).how(), "exact");
}

#[test]
fn nothing_is_replaced_where_that_is_asked_for() {
    let folder = Folder::new("secret-off");
    let upstream = Upstream::start(|received| {
        given(received.line().split(' ').nth(1).unwrap_or(""), &received.body, &Reply::text("ok").into())
    });
    let secret = &secrets()[0].planted;
    let body = json!({"model": "m", "messages": [{"role": "user", "content": secret}]}).to_string();
    let recorder = server(&folder, Some(&upstream), |config| config.no_redact = true);
    recorder.post("/v1/chat/completions", &[], &body);
    assert!(written(&folder).iter().any(|(_, text)| text.contains(secret.as_str())));
    drop(recorder);
    let strict = server(&folder, None, |config| config.no_redact = true);
    assert_eq!(strict.post("/v1/chat/completions", &[], body).how(), "exact");
}
