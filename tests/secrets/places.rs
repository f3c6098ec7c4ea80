//! A secret in each place of a request and of an answer, one at a time, and every way out looked at.

use super::plain::{self, Folder, Given, Upstream};
use super::{Secret, Server, encoded, none_found, opened, own, server, written};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

/// A key that has a shape.
fn shaped() -> Secret {
    let needle = "Pl4ntedInOnePlace0123456789Aa1Bb2";
    Secret { planted: format!("sk-proj-{needle}"), needle }
}

/// One that only its name tells.
const NAMED: &str = "q7Zt04mBx9Lw2Hc8Vn5r1Yd6";

/// One that only a server of tools knows.
const WORD: &str = "swordfish-and-chips";

/// A request in the making.
struct Ask {
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Ask {
    fn chat(body: Value) -> Self {
        let mut whole = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        for (name, value) in body.as_object().expect("an object") {
            whole[name] = value.clone();
        }
        Ask { method: "POST", target: CHAT.into(), headers: Vec::new(), body: whole.to_string().into() }
    }

    fn messages(messages: Value) -> Self {
        Ask::chat(json!({ "messages": messages }))
    }

    fn at(target: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Ask { method: "POST", target: target.into(), headers: Vec::new(), body: body.into() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn send(&self, server: &Server) -> plain::Answer {
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        plain::send(server.mock.address(), self.method, &self.target, &headers, &self.body)
    }
}

/// Every place of a request that a key may stand in, the key in it.
fn asks() -> Vec<(String, Ask)> {
    let key = shaped().planted;
    let hi = || Ask::chat(json!({}));
    let mut all: Vec<(String, Ask)> = Vec::new();
    // Headers that name a credential, whatever it looks like.
    for name in [
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "proxy-authorization",
        "cookie",
        "api-token",
        "x-portkey-api-key",
        "helicone-auth",
        "cf-aig-authorization",
        "x-litellm-api-key",
        "x-auth-token",
        "ocp-apim-subscription-key",
        "x-amz-security-token",
        "x-my-secret",
        "private-token",
        "x-functions-key",
    ] {
        all.push((format!("header {name}"), hi().with(name, NAMED)));
        all.push((format!("header {name}, a scheme"), hi().with(name, format!("Bearer {NAMED}"))));
    }
    // Headers that do not, and those that are shown.
    all.push(("an unknown header".into(), hi().with("x-whatever", NAMED)));
    for name in ["user-agent", "x-note", "referer", "x-request-id", "x-stainless-os", "baggage", "x-title"] {
        all.push((format!("header {name}"), hi().with(name, key.clone())));
        all.push((
            format!("a URL in header {name}"),
            hi().with(name, format!("https://{NAMED}:x-oauth-basic@example.com/?token={NAMED}")),
        ));
    }
    for name in ["x-test-id", "x-aimock-context"] {
        all.push((format!("header {name}"), hi().with(name, format!("a {key} b"))));
    }
    // The target.
    for name in [
        "key",
        "token",
        "sig",
        "api_key",
        "access_token",
        "subscription-key",
        "X-Amz-Signature",
        "X-Amz-Security-Token",
    ] {
        all.push((format!("parameter {name}"), Ask::at(format!("{CHAT}?a=1&{name}={NAMED}"), hi().body)));
        all.push((
            format!("parameter {name} of a raw request"),
            Ask::at(format!("/v1/files?{name}={NAMED}&a=1"), "{}"),
        ));
    }
    all.push(("parameter code".into(), Ask::at(format!("/v1/files?code={NAMED}"), "{}")));
    for (place, key) in [("any parameter", key.clone()), ("any parameter, encoded", encoded(&key))] {
        all.push((place.into(), Ask::at(format!("/v1/files?x={key}"), "{}")));
        all.push((format!("the path, {place}"), Ask::at(format!("/v1/files/{key}/content"), "{}")));
        all.push((format!("the test's id in the path, {place}"), Ask::at(format!("/__test/{key}{CHAT}"), hi().body)));
    }
    all.push((
        "the user part of the target".into(),
        Ask::at(format!("http://user:{NAMED}@localhost{CHAT}"), hi().body),
    ));
    // Texts of a conversation, each with a key of its own shape, a setting, a URL, JSON in it.
    let texts = [
        format!("why is {key} refused?"),
        format!("my .env is\nOPENAI_API_KEY={NAMED}\nB=1"),
        format!("clone https://{NAMED}:x-oauth-basic@example.com/a.git"),
        format!("see https://example.com/a.png?sig={NAMED}&page=2 or https://example.com?subscription-key={NAMED}"),
        json!({"api_key": NAMED, "a": 1}).to_string(),
        format!("curl -H 'X-Api-Key: {NAMED}' -u me https://me:{NAMED}@example.com"),
    ];
    let args = |text: &str| json!({ "text": text }).to_string();
    for (n, text) in texts.iter().enumerate() {
        let tool = |id: &str, arguments: String| {
            json!({"role": "assistant", "content": null, "tool_calls":
                [{"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}}]})
        };
        let user = json!({"role": "user", "content": "hi"});
        for (place, ask) in [
            ("system", Ask::messages(json!([{"role": "system", "content": text}, user]))),
            ("user", Ask::messages(json!([{"role": "user", "content": text}]))),
            ("a part of user", Ask::messages(json!([{"role": "user", "content": [{"type": "text", "text": text}]}]))),
            ("assistant", Ask::messages(json!([user, {"role": "assistant", "content": text}, user]))),
            (
                "arguments",
                Ask::messages(
                    json!([user, tool("c1", args(text)), {"role": "tool", "tool_call_id": "c1", "content": "ok"}]),
                ),
            ),
            (
                "a tool's result",
                Ask::messages(
                    json!([user, tool("c1", "{}".into()), {"role": "tool", "tool_call_id": "c1", "content": text}]),
                ),
            ),
            (
                "a tool",
                Ask::chat(json!({"tools": [{"type": "function", "function":
                {"name": "f", "description": text, "parameters": {"type": "object", "properties": {"a": {"default": text}}}}}]})),
            ),
            ("metadata", Ask::chat(json!({"metadata": {"note": text}, "user": text}))),
            ("a member nobody knows", Ask::chat(json!({"x_unknown": {"deep": [[{"er": text}]]}}))),
            (
                "anthropic",
                Ask::at(
                    "/v1/messages",
                    json!({"model": "m", "max_tokens": 9, "system": [{"type": "text", "text": text}],
                "messages": [{"role": "user", "content": text}]})
                    .to_string(),
                ),
            ),
            (
                "gemini",
                Ask::at(
                    "/v1beta/models/m:generateContent",
                    json!({"systemInstruction": {"parts": [{"text": text}]},
                "contents": [{"role": "user", "parts": [{"text": text}]}]})
                    .to_string(),
                ),
            ),
            (
                "responses",
                Ask::at("/v1/responses", json!({"model": "m", "instructions": text, "input": text}).to_string()),
            ),
            ("embeddings", Ask::at("/v1/embeddings", json!({"model": "m", "input": ["a", text]}).to_string())),
            ("a raw request", Ask::at("/v1/moderations", json!({ "input": text }).to_string())),
            ("a body that is no JSON", Ask::at("/v1/things", text.clone())),
            ("a body that its API would refuse", Ask::at(CHAT, json!({ "messages": text }).to_string())),
            (
                "a part of several",
                Ask::at(
                    "/v1/audio",
                    format!("--b\r\ncontent-disposition: form-data; name=\"p\"\r\n\r\n{text}\r\n--b--\r\n"),
                )
                .with("content-type", "multipart/form-data; boundary=b"),
            ),
        ] {
            all.push((format!("{place}, text {n}"), ask));
        }
    }
    // Members that say what they are.
    for (place, body) in [
        ("an api_key", json!({ "extra_body": {"api_key": NAMED, "n": 1} })),
        ("a password", json!({ "connection": {"password": NAMED} })),
        ("headers", json!({ "extra_headers": {"Authorization": format!("Bearer {NAMED}"), "X-Api-Key": NAMED} })),
        ("a pair", json!({ "env": [{"name": "DB_PASSWORD", "value": NAMED}] })),
        ("a key of an object", json!({ "logit_bias": {key.clone(): 1} })),
        ("the model", json!({ "model": key })),
    ] {
        all.push((place.into(), Ask::chat(body)));
    }
    let tools = json!([{"type": "mcp", "server_label": "a", "server_url": format!("https://a.b/mcp?token={NAMED}"), "authorization": WORD,
        "headers": {"X-Team-Id": NAMED, "Authorization": format!("Bearer {WORD}")}}]);
    all.push((
        "a server of tools".into(),
        Ask::at("/v1/responses", json!({"model": "m", "input": "hi", "tools": tools}).to_string()),
    ));
    all
}

fn needles() -> Vec<Secret> {
    let named = |needle: &'static str| Secret { planted: needle.into(), needle };
    vec![shaped(), named(NAMED), named(WORD)]
}

#[test]
fn a_key_in_any_place_of_a_request_is_found_nowhere() {
    let upstream = Upstream::start(|received| {
        let target = received.line().split(' ').nth(1).unwrap_or("").to_owned();
        let at = target.find("/v1").unwrap_or(0);
        if received.text().starts_with("{\"messages\":\"") {
            return Given::json("{\"ok\":true}");
        }
        match &target[at..] {
            path if path.starts_with("/v1/files") || path.starts_with("/v1/things") => Given::json("{\"ok\":true}"),
            path if path.starts_with("/v1/moderations") || path.starts_with("/v1/audio") => {
                Given::json("{\"ok\":true}")
            }
            path if path.starts_with("/v1/embeddings") => Given::json(
                r#"{"data":[{"index":0,"embedding":[0.5]},{"index":1,"embedding":[0.5]}],"model":"m","usage":{"prompt_tokens":1,"total_tokens":1}}"#,
            ),
            path => super::given(path, &received.body, &aimock::Reply::text("fine").into()),
        }
    });
    let asks = asks();
    let folder = Folder::new("secret-places");
    let recorder = server(&folder, Some(&upstream), |config| config.record_wire = true);
    let mut live = Vec::new();
    for (place, ask) in &asks {
        let answer = ask.send(&recorder);
        // A question that differs in its headers alone is answered by the first one's recording.
        assert!(answer.status == 200 && answer.source() != "miss", "{place}: {}", answer.text());
        live.push((format!("the head of the answer to {place}"), answer.head));
    }
    none_found(&live, &needles());
    let told = recorder.told();
    none_found(&told, &needles());
    assert!(told[0].1.matches("[redacted]").count() > asks.len(), "the journal tells of each that it was there");
    none_found(&written(&folder), &needles());
    drop(recorder);

    let strict = server(&folder, None, |_| {});
    let mut said = Vec::new();
    for (place, ask) in &asks {
        let replayed = ask.send(&strict);
        assert_eq!((replayed.status, replayed.how()), (200, "exact"), "{place}: {}", replayed.text());
        said.push((place.clone(), own(&replayed, true).1));
        // The same with another answer wanted: a miss that tells why.
        let body = String::from_utf8_lossy(&ask.body)
            .replace("\"m\"", "\"m-another\"")
            .replace("hi", "hello")
            .replace("{}", "[1]");
        let another =
            Ask { method: "PUT", target: ask.target.clone(), headers: ask.headers.clone(), body: body.into() };
        let missed = another.send(&strict);
        assert!(missed.status >= 400, "{place}: {}", missed.text());
        said.push((format!("the miss of {place}"), own(&missed, true).1));
    }
    none_found(&said, &needles());
    none_found(&strict.told(), &needles());
}

/// Every place of an answer that a key may stand in.
fn answers() -> Vec<(&'static str, Given)> {
    let key = shaped().planted;
    let url = format!("https://{NAMED}:x-oauth-basic@example.com/?token={NAMED}");
    let chat = |message: Value, more: Value| {
        let mut whole = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}]});
        for (name, value) in more.as_object().expect("an object") {
            whole[name] = value.clone();
        }
        Given::json(whole.to_string())
    };
    let said = |text: &str| json!({"role": "assistant", "content": text});
    let header = |name: &str, value: &str| {
        let mut given = chat(said("fine"), json!({}));
        given.headers.push_str(&format!("{name}: {value}\r\n"));
        given
    };
    let call = |id: &str, name: &str, arguments: &str| {
        json!({"role": "assistant", "content": null, "tool_calls":
            [{"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}]})
    };
    let event = |delta: Value| {
        format!("data: {}\n\n", json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta}]}))
    };
    let ends = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let cut = |text: &str| {
        let pieces: Vec<String> =
            text.as_bytes().chunks(5).map(|piece| event(json!({"content": String::from_utf8_lossy(piece)}))).collect();
        Given::writes("text/event-stream", pieces.iter().map(String::as_bytes).chain([ends.as_bytes()]))
    };
    let setting = format!("run\nexport OPENAI_API_KEY={NAMED}\nnow");
    vec![
        ("text", chat(said(&format!("it is {key}.")), json!({}))),
        ("text with a setting", chat(said(&setting), json!({}))),
        ("text with a URL", chat(said(&url), json!({}))),
        ("text with JSON", chat(said(&json!({"apiKey": NAMED}).to_string()), json!({}))),
        ("reasoning", chat(json!({"role": "assistant", "content": "a", "reasoning_content": format!("{key} {url}")}), json!({}))),
        ("refusal", chat(json!({"role": "assistant", "content": null, "refusal": format!("no {key}")}), json!({}))),
        ("arguments", chat(call("c1", "f", &json!({"api_key": NAMED, "url": url, "k": key}).to_string()), json!({}))),
        ("a call's id", chat(call(&key, "f", "{}"), json!({}))),
        ("a call's name", chat(call("c1", &key, "{}"), json!({}))),
        ("the id", chat(said("a"), json!({ "id": key }))),
        ("the model", chat(said("a"), json!({ "model": key }))),
        ("the fingerprint", chat(said("a"), json!({ "system_fingerprint": key }))),
        ("usage", chat(said("a"), json!({"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "note": key}}))),
        ("a member nobody knows", chat(said("a"), json!({"x_unknown": {"api_key": NAMED, "deep": [url]}}))),
        ("a member of the message", chat(json!({"role": "assistant", "content": "a", "x": [key]}), json!({}))),
        ("a stream", cut(&format!("it is {key} and {url} ok"))),
        ("a stream with a setting", cut(&setting)),
        ("a stream with one frame of it", cut("a")),
        ("header x-auth-token", header("x-auth-token", NAMED)),
        ("header set-cookie", header("set-cookie", &format!("session={NAMED}"))),
        ("header x-unknown", header("x-unknown", NAMED)),
        ("header x-request-id", header("x-request-id", &key)),
        ("header location", header("location", &url)),
        ("header x-subscription-key", header("x-subscription-key", NAMED)),
        ("an error", Given::status(401, &json!({"error": {"message": format!("wrong key {key}, see {url}"), "type": key, "code": key, "param": key}}).to_string())),
        ("an error that is no JSON", Given { status: 502, ..Given::new("text/plain", format!("{setting} {key}")) }),
        ("raw JSON", Given::json(json!({"data": [{"secret": NAMED, "url": url, key.clone(): key}]}).to_string())),
        ("raw text", Given::new("text/plain", format!("{setting} {key} {url}"))),
        ("raw bytes", Given::new("application/octet-stream", [b"\xff\x00", setting.as_bytes(), b"\xfe ", key.as_bytes(), b"\xff"].concat())),
        ("raw parts", Given::new("multipart/mixed; boundary=b", format!("--b\r\n\r\n{setting} {key}\r\n--b--\r\n"))),
        ("a raw content type", Given::new(&format!("text/x-{key}"), "a")),
    ]
}

#[test]
fn a_key_in_any_place_of_an_answer_is_written_nowhere() {
    let answers = answers();
    let raw = |place: &str| place.starts_with("raw") || place.starts_with("a raw");
    let given = answers.iter().map(|(_, given)| given.clone()).collect::<Vec<_>>();
    let upstream = Upstream::start(move |received| {
        let text = format!("{} {}", received.line(), received.text());
        let n: usize =
            text.split("case-").nth(1).and_then(|n| n.split(['"', ' ']).next()?.parse().ok()).expect("a case");
        given[n].clone()
    });
    let ask = |server: &Server, n: usize, place: &str| {
        if raw(place) {
            return server.post(&format!("/v1/files/case-{n}"), &[], "{}");
        }
        let streamed = place.starts_with("a stream");
        let body =
            json!({"model": "m", "stream": streamed, "messages": [{"role": "user", "content": format!("case-{n}")}]});
        server.post(CHAT, &[], body.to_string())
    };
    for record_wire in [false, true] {
        let folder = Folder::new("secret-answers");
        let recorder = server(&folder, Some(&upstream), |config| {
            config.record_wire = record_wire;
            config.record_errors = true;
        });
        for (n, (place, given)) in answers.iter().enumerate() {
            let live = ask(&recorder, n, place);
            assert_eq!((live.status, live.source()), (given.status, "proxy"), "{place}");
            assert_eq!(live.body, given.writes.concat(), "{place}: the client gets what the upstream sent");
            for line in given.headers.lines() {
                assert!(live.head.contains(line), "{place}: {line} of {}", live.head);
            }
        }
        none_found(&recorder.told(), &needles());
        none_found(&written(&folder), &needles());
        let log = recorder.log.to_vec().join("\n");
        assert_eq!(folder.files().len(), answers.len(), "{log}");
        drop(recorder);
        let strict = server(&folder, None, |_| {});
        for (n, (place, given)) in answers.iter().enumerate() {
            let replayed = ask(&strict, n, place);
            assert_eq!((replayed.status, replayed.how()), (given.status, "exact"), "{place}: {}", replayed.text());
            none_found(&[((*place).into(), own(&replayed, true).1)], &needles());
        }
        none_found(&strict.told(), &needles());
    }
}

#[test]
fn what_is_no_secret_comes_back_as_it_was() {
    let texts = [
        "class=\"sk-fading-circle-container-small\"",
        "sk-learn-contrib-lightning and sk-your-api-key-goes-here",
        "https://example.com/sk-hynix-earnings-2024-q1?key=shoes&code=200",
        "pypi-attestations, bearer authentication, Bearer token",
        "api_key=os.environ[\"OPENAI_API_KEY\"], password = input(), max_tokens=100",
        "{\"api_key\": \"YOUR_API_KEY\", \"token\": \"the\", \"key\": \"value\"}",
        "3f786850e387550fdab836ed7e6dc881de23001b 123e4567-e89b-12d3-a456-426614174000 call_q7Zt04mBx9Lw2Hc8Vn5r1Yd6",
    ];
    let upstream = Upstream::start(|received| {
        let json: Value = serde_json::from_slice(&received.body).expect("JSON");
        let text = json["messages"][0]["content"].as_str().expect("a text");
        let call = aimock::ToolCall {
            id: Some("call_q7Zt04mBx9Lw2Hc8Vn5r1Yd6".into()),
            name: "f".into(),
            arguments: json!({ "text": text }).to_string(),
            ..aimock::ToolCall::default()
        };
        let parts = vec![aimock::reply::Part::text(text), aimock::reply::Part::ToolCall(call)];
        super::given(CHAT, &received.body, &aimock::Reply { parts, ..aimock::Reply::default() }.into())
    });
    let folder = Folder::new("innocent");
    let body = |text: &str| json!({"model": "m", "messages": [{"role": "user", "content": text}]}).to_string();
    let recorder = server(&folder, Some(&upstream), |_| {});
    for text in texts {
        recorder.post(CHAT, &[], body(text));
    }
    assert_eq!(folder.files().len(), texts.len(), "no two are one question");
    let told = recorder.told();
    drop(recorder);
    let strict = server(&folder, None, |_| {});
    for text in texts {
        let replayed = strict.post(CHAT, &[], body(text));
        assert_eq!(replayed.how(), "exact", "{text}");
        let answer: Value = serde_json::from_slice(&replayed.body).expect("JSON");
        let message = &answer["choices"][0]["message"];
        assert_eq!(message["content"], text);
        assert_eq!(message["tool_calls"][0]["function"]["arguments"], json!({ "text": text }).to_string());
        let (_, journal) = &told[0];
        assert!(opened(journal).contains(text), "{text} in the journal");
        let other = text
            .replace("sk-", "sk-x")
            .replace("shoes", "boots")
            .replace("token", "tokens")
            .replace("max", "min")
            .replace("call_", "call");
        assert_ne!(other, text);
        assert_eq!(strict.post(CHAT, &[], body(&other)).status, 503, "another word is another question: {other}");
    }
}
