//! A recording answers exactly the request it came from, on every wire.

#[path = "common/plain.rs"]
mod plain;

use aimock::fixture::table::{FixtureTable, How, Policy};
use aimock::fixture::{Asked, Fixture, Match, Metadata, Origin};
use aimock::provider::{self, Call, Encoding, Head};
use aimock::redact::Redactor;
use aimock::reply::{Answer, Embeddings, RawAnswer, RawBody, Reply};
use aimock::request::canonical::{Hash, Identity, Ignore, Subject};
use aimock::request::{Kind, Request};
use aimock::upstream::BaseUrl;
use aimock::{Mock, config};
use hyper::HeaderMap;
use plain::{Folder, Given, Upstream};
use serde_json::{Map, Value, json};
use std::rc::Rc;

const PAIRS: usize = 2000;
const STRICT: Policy =
    Policy { recording: false, reuse_volatile: false, on_drift: config::OnDrift::Fail, strict: true };

// ------------------------------------------------------------------------------------------------------- requests

/// splitmix64, <https://prng.di.unimi.it/splitmix64.c>
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn text(&mut self) -> String {
        const WORDS: [&str; 16] = [
            "hi",
            "nothing",
            "weather",
            "été",
            "🌍",
            "a\nb",
            "\"quoted\"",
            "{\"id\":1}",
            "tomorrow",
            "Paris",
            "x=1",
            "call",
            "7",
            "<b>",
            "sum",
            "日本",
        ];
        (0..=self.below(6)).map(|_| WORDS[self.below(WORDS.len())]).collect::<Vec<_>>().join(" ")
    }

    /// Text that differs between two runs, of one of four kinds.
    fn volatile(&mut self, kind: usize) -> String {
        let n = self.next();
        match kind {
            0 => format!("{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}", n >> 32, n & 0xffff, n & 0xfff, n & 0xfff, n >> 16),
            1 => format!("20{:02}-0{}-1{}T1{}:30:0{}Z", n % 60, 1 + n % 9, n % 10, n % 10, n % 7),
            2 => format!("{n:016x}{:04x}", n >> 48),
            _ => format!("{}", 1_600_000_000_000 + n % 200_000_000_000),
        }
    }
}

/// A conversation in no provider's terms.
#[derive(Clone, Debug, PartialEq)]
struct Talk {
    system: String,
    /// Role and text.
    turns: Vec<(&'static str, String)>,
    /// A tool's name, arguments' and result's text, and the call's id.
    called: Option<(String, String, String)>,
    call_id: String,
    /// The last message.
    question: String,
    /// Name and description.
    tools: Vec<(String, String)>,
    temperature: u64,
    max_tokens: u64,
    model: String,
    streamed: bool,
}

fn talk(random: &mut Random) -> Talk {
    let turns = (0..random.below(3)).flat_map(|_| [("user", random.text()), ("assistant", random.text())]);
    Talk {
        turns: turns.collect::<Vec<_>>(),
        system: random.text(),
        called: (random.below(2) == 0).then(|| ("get_weather".into(), random.text(), random.text())),
        call_id: format!("call_{}", random.below(1000)),
        question: random.text(),
        tools: (0..=random.below(3)).map(|n| (format!("tool_{n}"), random.text())).collect(),
        temperature: random.next() % 10,
        max_tokens: 1 + random.next() % 1000,
        model: "m-1".into(),
        streamed: false,
    }
}

/// The same talk but for one place.
fn differing(of: &Talk, random: &mut Random) -> (Talk, &'static str) {
    loop {
        let mut talk = of.clone();
        let n = talk.turns.len().max(1);
        let place = match random.below(13) {
            0 => (talk.question = random.text(), "the message").1,
            1 => (talk.question.push(' '), "a space").1,
            2 => (talk.system = random.text(), "the system prompt").1,
            3 if !talk.turns.is_empty() => (talk.turns[random.below(n)].1 = random.text(), "a message").1,
            4 if !talk.turns.is_empty() => {
                let turn = &mut talk.turns[random.below(n)];
                turn.0 = if turn.0 == "user" { "assistant" } else { "user" };
                "a role"
            }
            5 => (talk.turns.push(("user", random.text())), "more history").1,
            6 if !talk.turns.is_empty() => (drop(talk.turns.remove(random.below(n))), "less history").1,
            7 => (talk.tools[0].1 = random.text(), "a tool").1,
            8 => (drop(talk.tools.pop()), "fewer tools").1,
            9 => (talk.temperature += 1, "a parameter").1,
            10 => (talk.max_tokens += 1, "another parameter").1,
            11 => {
                let called = talk.called.get_or_insert_with(|| ("get_weather".into(), "x".into(), "y".into()));
                let (arguments, result) = (random.text(), random.text());
                if random.below(2) == 0 {
                    called.1 = arguments;
                } else {
                    called.2 = result;
                }
                "what a tool was given or gave"
            }
            12 => (talk.model = "m-2".into(), "the model").1,
            _ => continue,
        };
        if talk != *of {
            return (talk, place);
        }
    }
}

/// Two talks that differ in volatile text alone.
fn volatile_pair(random: &mut Random) -> (Talk, Talk) {
    let mut a = talk(random);
    let mut b = a.clone();
    for _ in 0..=random.below(3) {
        let kind = random.below(4);
        let (x, y) = (random.volatile(kind), random.volatile(kind));
        let place = random.below(5);
        for (talk, text) in [(&mut a, x), (&mut b, y)] {
            let to = match (place, &mut talk.called) {
                (0, _) => &mut talk.system,
                (1, _) if !talk.turns.is_empty() => &mut talk.turns[0].1,
                (2, _) => &mut talk.tools[0].1,
                (3, Some(called)) => &mut called.2,
                _ => &mut talk.question,
            };
            to.push_str(&format!(" at {text}."));
        }
    }
    (a, b)
}

/// A request on a wire.
#[derive(Clone, Debug)]
struct Asks {
    path: String,
    body: Value,
}

type Wire = fn(&Talk) -> Asks;

const WIRES: &[(&str, Wire)] = &[
    ("openai chat", chat),
    ("azure", azure),
    ("openai responses", responses),
    ("anthropic", anthropic),
    ("gemini", gemini),
    ("vertex", vertex),
    ("vertex anthropic", vertex_anthropic),
    ("bedrock converse", converse),
    ("bedrock invoke", invoke),
    ("cohere v1", cohere_v1),
    ("cohere v2", cohere_v2),
    ("ollama", ollama),
    ("raw", raw),
];

fn chat(talk: &Talk) -> Asks {
    let mut messages = vec![json!({"role": "system", "content": talk.system})];
    messages.extend(talk.turns.iter().map(|(role, text)| json!({"role": role, "content": text})));
    messages.push(json!({"role": "user", "content": talk.question}));
    if let Some((name, given, gave)) = &talk.called {
        let arguments = json!({"id": given}).to_string();
        messages.push(json!({"role": "assistant", "content": null, "tool_calls":
            [{"id": talk.call_id, "type": "function", "function": {"name": name, "arguments": arguments}}]}));
        messages.push(json!({"role": "tool", "tool_call_id": talk.call_id, "content": gave}));
    }
    let tools: Vec<Value> = talk
        .tools
        .iter()
        .map(|(name, text)| json!({"type": "function", "function": {"name": name, "description": text}}))
        .collect();
    let body = json!({"model": talk.model, "messages": messages, "tools": tools, "temperature": talk.temperature,
        "max_tokens": talk.max_tokens, "stream": talk.streamed});
    Asks { path: "/v1/chat/completions".into(), body }
}

fn azure(talk: &Talk) -> Asks {
    let mut asks = chat(talk);
    without(&mut asks.body, "model");
    let path = format!("/openai/deployments/{}/chat/completions?api-version=2024-10-21", talk.model);
    Asks { path, ..asks }
}

fn responses(talk: &Talk) -> Asks {
    let mut input: Vec<Value> = talk
        .turns
        .iter()
        .enumerate()
        .map(|(n, (role, text))| json!({"type": "message", "id": format!("msg_{}{n}", talk.call_id), "role": role, "content": text}))
        .collect();
    input.push(json!({"role": "user", "content": [{"type": "input_text", "text": talk.question}]}));
    if let Some((name, given, gave)) = &talk.called {
        let arguments = json!({"id": given}).to_string();
        input.push(json!({"type": "function_call", "id": format!("fc_{}", talk.call_id), "call_id": talk.call_id,
            "name": name, "arguments": arguments}));
        input.push(json!({"type": "function_call_output", "call_id": talk.call_id, "output": gave}));
    }
    let tools: Vec<Value> =
        talk.tools.iter().map(|(name, text)| json!({"type": "function", "name": name, "description": text})).collect();
    let body = json!({"model": talk.model, "instructions": talk.system, "input": input, "tools": tools,
        "temperature": talk.temperature, "max_output_tokens": talk.max_tokens, "stream": talk.streamed});
    Asks { path: "/v1/responses".into(), body }
}

fn anthropic_body(talk: &Talk) -> Value {
    let mut messages: Vec<Value> =
        talk.turns.iter().map(|(role, text)| json!({"role": role, "content": text})).collect();
    messages.push(json!({"role": "user", "content": talk.question}));
    if let Some((name, given, gave)) = &talk.called {
        messages.push(json!({"role": "assistant", "content":
            [{"type": "tool_use", "id": talk.call_id, "name": name, "input": {"id": given, "input": 1}}]}));
        messages.push(json!({"role": "user", "content":
            [{"type": "tool_result", "tool_use_id": talk.call_id, "content": gave}]}));
    }
    let tools: Vec<Value> = talk
        .tools
        .iter()
        .map(|(name, text)| json!({"name": name, "description": text, "input_schema": {"type": "object"}}))
        .collect();
    json!({"system": talk.system, "messages": messages, "tools": tools, "temperature": talk.temperature,
        "max_tokens": talk.max_tokens})
}

fn anthropic(talk: &Talk) -> Asks {
    let mut body = anthropic_body(talk);
    body["model"] = talk.model.clone().into();
    body["stream"] = talk.streamed.into();
    Asks { path: "/v1/messages".into(), body }
}

fn vertex_anthropic(talk: &Talk) -> Asks {
    let mut body = anthropic_body(talk);
    body["anthropic_version"] = "vertex-2023-10-16".into();
    if talk.streamed {
        body["stream"] = true.into();
    }
    let verb = if talk.streamed { "streamRawPredict" } else { "rawPredict" };
    let path = format!("/v1/projects/p/locations/l/publishers/anthropic/models/{}:{verb}", talk.model);
    Asks { path, body }
}

fn invoke(talk: &Talk) -> Asks {
    let mut body = anthropic_body(talk);
    body["anthropic_version"] = "bedrock-2023-05-31".into();
    let verb = if talk.streamed { "invoke-with-response-stream" } else { "invoke" };
    Asks { path: format!("/model/anthropic.{}/{verb}", talk.model), body }
}

fn gemini_body(talk: &Talk) -> Value {
    let role = |role: &str| if role == "assistant" { "model" } else { "user" };
    let mut contents: Vec<Value> =
        talk.turns.iter().map(|(r, text)| json!({"role": role(r), "parts": [{"text": text}]})).collect();
    contents.push(json!({"role": "user", "parts": [{"text": talk.question}]}));
    if let Some((name, given, gave)) = &talk.called {
        contents.push(json!({"role": "model", "parts":
            [{"functionCall": {"id": talk.call_id, "name": name, "args": {"id": given, "name": "x", "args": 1}}}]}));
        contents.push(json!({"role": "user", "parts":
            [{"functionResponse": {"id": talk.call_id, "name": name, "response": {"id": gave, "name": "x"}}}]}));
    }
    let tools: Vec<Value> = talk.tools.iter().map(|(name, text)| json!({"name": name, "description": text})).collect();
    json!({"systemInstruction": {"parts": [{"text": talk.system}]}, "contents": contents,
        "tools": [{"functionDeclarations": tools}],
        "generationConfig": {"temperature": talk.temperature, "maxOutputTokens": talk.max_tokens}})
}

fn gemini(talk: &Talk) -> Asks {
    let verb = if talk.streamed { "streamGenerateContent?alt=sse" } else { "generateContent" };
    Asks { path: format!("/v1beta/models/{}:{verb}", talk.model), body: gemini_body(talk) }
}

fn vertex(talk: &Talk) -> Asks {
    let verb = if talk.streamed { "streamGenerateContent" } else { "generateContent" };
    let path = format!("/v1/projects/p/locations/l/publishers/google/models/{}:{verb}", talk.model);
    Asks { path, body: gemini_body(talk) }
}

fn converse(talk: &Talk) -> Asks {
    let mut messages: Vec<Value> =
        talk.turns.iter().map(|(role, text)| json!({"role": role, "content": [{"text": text}]})).collect();
    messages.push(json!({"role": "user", "content": [{"text": talk.question}]}));
    if let Some((name, given, gave)) = &talk.called {
        messages.push(json!({"role": "assistant", "content":
            [{"toolUse": {"toolUseId": talk.call_id, "name": name, "input": {"toolUseId": given}}}]}));
        messages.push(json!({"role": "user", "content":
            [{"toolResult": {"toolUseId": talk.call_id, "content": [{"json": {"toolUseId": gave}}]}}]}));
    }
    let tools: Vec<Value> = talk
        .tools
        .iter()
        .map(|(name, text)| json!({"toolSpec": {"name": name, "description": text, "inputSchema": {"json": {}}}}))
        .collect();
    let body = json!({"system": [{"text": talk.system}], "messages": messages, "toolConfig": {"tools": tools},
        "inferenceConfig": {"temperature": talk.temperature, "maxTokens": talk.max_tokens}});
    let verb = if talk.streamed { "converse-stream" } else { "converse" };
    Asks { path: format!("/model/{}/{verb}", talk.model), body }
}

fn cohere_v1(talk: &Talk) -> Asks {
    let role = |role: &str| if role == "assistant" { "CHATBOT" } else { "USER" };
    let history: Vec<Value> = talk.turns.iter().map(|(r, text)| json!({"role": role(r), "message": text})).collect();
    let tools: Vec<Value> = talk.tools.iter().map(|(name, text)| json!({"name": name, "description": text})).collect();
    let mut body = json!({"model": talk.model, "preamble": talk.system, "chat_history": history,
        "message": talk.question, "tools": tools, "temperature": talk.temperature, "max_tokens": talk.max_tokens,
        "stream": talk.streamed});
    if let Some((name, given, gave)) = &talk.called {
        body["tool_results"] = json!([{"call": {"name": name, "parameters": {"id": given}, "id": talk.call_id}, "outputs": [{"x": gave}]}]);
    }
    Asks { path: "/v1/chat".into(), body }
}

fn cohere_v2(talk: &Talk) -> Asks {
    Asks { path: "/v2/chat".into(), ..chat(talk) }
}

fn ollama(talk: &Talk) -> Asks {
    let mut asks = chat(talk);
    without(&mut asks.body, "max_tokens");
    without(&mut asks.body, "temperature");
    asks.body["options"] = json!({"temperature": talk.temperature, "num_predict": talk.max_tokens});
    if let Some((_, given, _)) = &talk.called
        && let Some(arguments) =
            asks.body.pointer_mut(&format!("/messages/{}/tool_calls/0/function/arguments", talk.turns.len() + 2))
    {
        *arguments = json!({"id": given, "function": 1}); // an object on this wire
    }
    if talk.streamed {
        without(&mut asks.body, "stream"); // the default
    }
    Asks { path: "/api/chat".into(), ..asks }
}

fn raw(talk: &Talk) -> Asks {
    let mut asks = chat(talk);
    without(&mut asks.body, "stream");
    Asks { path: "/v1/moderations".into(), ..asks }
}

fn without(body: &mut Value, member: &str) {
    if let Value::Object(members) = body {
        members.remove(member);
    }
}

/// The same JSON with its keys in another order.
fn shuffled(value: &Value, random: &mut Random) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            for i in (1..members.len()).rev() {
                members.swap(i, random.below(i + 1));
            }
            let members = members.into_iter().map(|(name, value)| (name.clone(), shuffled(value, random)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(|item| shuffled(item, random)).collect(),
        other => other.clone(),
    }
}

// -------------------------------------------------------------------------------------------------------- matching

/// Looks at a request as the server does: decoded, and with its identity.
fn asked<T>(asks: &Asks, redactor: &Redactor, ignore: &Ignore, then: impl FnOnce(&Asked<'_>) -> T) -> T {
    let headers = HeaderMap::new();
    let (path, query) = asks.path.split_once('?').unwrap_or((&asks.path, ""));
    let head = Head { method: "POST", path, query, headers: &headers };
    let matched = provider::route(&head);
    let body = asks.body.to_string();
    let call = Call { head, params: matched.params.clone(), body: body.as_bytes() };
    let request = matched.codec.decode(&call).expect("a good request");
    let verbatim = matched.codec.kind() == Kind::Raw;
    let wire = if verbatim { format!("raw POST {path}") } else { matched.codec.wire().to_owned() };
    let subject = Subject {
        wire: &wire,
        model: &request.model,
        body: body.as_bytes(),
        content_type: "application/json",
        codec: matched.codec,
    };
    let identity = Identity::new(subject, redactor, ignore);
    then(&Asked::new(&request, &identity, "POST", path))
}

struct Table {
    table: FixtureTable,
    redactor: Redactor,
    ignore: Ignore,
}

impl Table {
    fn new() -> Self {
        Table { table: FixtureTable::default(), redactor: Redactor::default(), ignore: Ignore::default() }
    }

    fn record(&mut self, asks: &Asks, name: &str) {
        let fixture = asked(asks, &self.redactor, &self.ignore, |asked| {
            let identity = asked.identity.get();
            let metadata = Metadata {
                request_hash: Some(identity.request),
                volatile_hash: Some(identity.volatile),
                parts: identity.parts.clone(),
                ..Metadata::default()
            };
            let matcher = Match::from_request(asked, false).expect("keys can be derived");
            assert!(matcher.matches(asked, &metadata), "what was made from a request matches it: {matcher:?}");
            Fixture { metadata, ..Fixture::new(matcher, answer_of(asked.request.kind, name)) }
        });
        let index = self.table.rows().len();
        self.table.push(fixture, Origin { path: None, name: Rc::from(name), index });
    }

    /// The fixture that answers, and how it was found; else why none does.
    fn find(&self, asks: &Asks) -> Result<(String, How), String> {
        asked(asks, &self.redactor, &self.ignore, |asked| match self.table.find(asked, &STRICT) {
            Ok(hit) => Ok((self.table.rows()[hit.row].origin().name.to_string(), hit.how)),
            Err(miss) => Err(self.table.explain(&miss, asked)),
        })
    }
}

fn answer_of(kind: Kind, text: &str) -> Answer {
    match kind {
        Kind::Chat => Reply::text(text).into(),
        Kind::Embedding => Embeddings { vectors: vec![vec![0.5]], ..Embeddings::default() }.into(),
        Kind::Raw => Answer::Raw(RawAnswer {
            status: 200,
            content_type: "application/json".into(),
            retry_after: None,
            body: RawBody::Json(json!({ "text": text })),
        }),
    }
}

fn found(name: &str, how: How) -> Result<(String, How), String> {
    Ok((name.to_owned(), how))
}

#[test]
fn requests_that_differ_in_one_place_are_never_confused() {
    let mut random = Random(1);
    for n in 0..PAIRS {
        let (wire, render) = WIRES[n % WIRES.len()];
        let one = talk(&mut random);
        let (other, place) = differing(&one, &mut random);
        let (a, b) = (render(&one), render(&other));
        if a.body == b.body && a.path == b.path {
            continue; // a wire without this place
        }
        let mut table = Table::new();
        table.record(&a, "a");
        let context = format!("pair {n}, {wire}, {place}:\n{a:?}\n{b:?}");
        assert_eq!(table.find(&a), found("a", How::Exact), "{context}");
        let miss = table.find(&b);
        assert!(miss.is_err(), "{miss:?} {context}");
        table.record(&b, "b");
        assert_eq!(table.find(&a), found("a", How::Exact), "{context}");
        assert_eq!(table.find(&b), found("b", How::Exact), "{context}");
    }
}

#[test]
fn requests_that_differ_in_volatile_text_match_where_one_was_recorded() {
    let mut random = Random(2);
    for n in 0..PAIRS {
        let (wire, render) = WIRES[n % WIRES.len()];
        let (one, other) = volatile_pair(&mut random);
        let (a, b) = (render(&one), render(&other));
        let mut table = Table::new();
        table.record(&a, "a");
        let context = format!("pair {n}, {wire}:\n{a:?}\n{b:?}");
        let how = if a.body == b.body { How::Exact } else { How::Volatile };
        assert_eq!(table.find(&b), found("a", how), "{context}");
        if how == How::Exact {
            continue; // a wire without this place
        }
        table.record(&b, "b");
        assert_eq!(table.find(&a), found("a", How::Exact), "{context}");
        assert_eq!(table.find(&b), found("b", How::Exact), "{context}");
    }
}

#[test]
fn order_mode_and_ids_of_calls_are_no_part_of_a_request() {
    let mut random = Random(3);
    for n in 0..PAIRS {
        let (wire, render) = WIRES[n % WIRES.len()];
        let one = talk(&mut random);
        let other = Talk { streamed: !one.streamed, call_id: format!("tooluse_{}", random.below(1000)), ..one.clone() };
        let a = render(&one);
        let mut b = render(if wire == "raw" { &one } else { &other });
        b.body = shuffled(&b.body, &mut random);
        let mut table = Table::new();
        table.record(&a, "a");
        let context = format!("pair {n}, {wire}:\n{a:?}\n{b:?}");
        assert_eq!(table.find(&b), found("a", How::Exact), "{context}");
        let volatile = |asks: &Asks| asked(asks, &table.redactor, &table.ignore, |asked| asked.identity.get().volatile);
        assert_eq!(volatile(&a), volatile(&b), "{context}");
    }
}

#[test]
fn every_other_wire_shares_its_hashes_between_modes() {
    let hashes = |path: &str, body: Value| {
        let asks = Asks { path: path.into(), body };
        asked(&asks, &Redactor::default(), &Ignore::default(), |asked| {
            let identity = asked.identity.get();
            (identity.request, identity.volatile)
        })
    };
    let generate = json!({"model": "m", "prompt": "hi"});
    let mut unstreamed = generate.clone();
    unstreamed["stream"] = false.into();
    assert_eq!(hashes("/api/generate", generate), hashes("/api/generate", unstreamed));
    let contents = json!({"contents": [{"parts": [{"text": "hi"}]}]});
    assert_eq!(
        hashes("/v1beta/models/m:generateContent", contents.clone()),
        hashes("/v1beta/models/m:streamGenerateContent", contents)
    );
}

#[test]
fn several_recordings_that_differ_in_volatile_text_alone_are_no_answer_to_a_third() {
    let mut table = Table::new();
    let at = |time: &str| chat(&Talk { question: format!("now is {time}"), ..talk(&mut Random(4)) });
    table.record(&at("2025-01-01"), "a");
    table.record(&at("2025-01-02"), "b");
    let why = table.find(&at("2025-01-03")).unwrap_err();
    assert!(why.contains("2 recordings differ from this request in nothing but times and ids"), "{why}");
    // A rule that was written by hand decides all the same.
    let origin = Origin { path: None, name: Rc::from("rule"), index: 0 };
    table.table.push(Fixture::new(Match::message("now is"), Reply::text("x")), origin);
    assert_eq!(table.find(&at("2025-01-03")), found("rule", How::Rule));
}

#[test]
fn ignored_places_are_no_part_of_a_request() {
    let mut table = Table::new();
    let pointers = ["/messages/*/content".to_owned(), "/options/*/run".into(), "/trace".into()];
    table.ignore = Ignore::new(&pointers);
    let asks = |content: &str, run: u32, kept: u32| Asks {
        path: "/v1/chat/completions".into(),
        body: json!({"model": "m", "messages": [{"role": "user", "content": content}], "trace": run,
            "options": [{"run": run, "kept": kept}]}),
    };
    table.record(&asks("a", 1, 1), "a");
    assert_eq!(table.find(&asks("b", 2, 1)), found("a", How::Exact));
    assert!(table.find(&asks("a", 1, 2)).is_err());
}

#[test]
fn a_reference_to_an_item_is_what_is_asked() {
    let asks = |id: &str| Asks {
        path: "/v1/responses".into(),
        body: json!({"model": "m", "input": [{"type": "item_reference", "id": id}, {"role": "user", "content": "hi"}]}),
    };
    let mut table = Table::new();
    table.record(&asks("rs_one"), "a");
    assert!(table.find(&asks("rs_two")).is_err());
    assert_eq!(table.find(&asks("rs_one")), found("a", How::Exact));
}

/// Pairs of what a client sends back of an answer: with all that services write around it, and as a replay writes it.
fn sent_back() -> Vec<(&'static str, &'static str, Value, Value)> {
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    vec![
        (
            "/v1/chat/completions",
            "messages",
            json!({"role": "assistant", "content": "a", "refusal": null, "annotations": [], "audio": null,
                "function_call": null, "tool_calls": null, "parsed": {"a": 1}}),
            json!({"role": "assistant", "content": "a", "refusal": null}),
        ),
        (
            "/v1/chat/completions",
            "messages",
            json!({"role": "assistant", "content": "", "tool_calls": [{"index": 0, "id": "other", "type": "function",
                "function": {"name": "f", "arguments": " { } "}}]}),
            json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": [call]}),
        ),
        (
            "/v1/messages",
            "messages",
            json!({"role": "assistant", "content": [{"type": "text", "text": "a", "citations": null},
                {"type": "tool_use", "id": "x", "name": "f", "input": {}, "caller": null}]}),
            json!({"role": "assistant", "content": [{"type": "text", "text": "a"},
                {"type": "tool_use", "id": "y", "name": "f", "input": {}}]}),
        ),
        (
            "/v1/responses",
            "input",
            json!({"type": "function_call", "id": "fc_1", "call_id": "x", "name": "f", "arguments": "{}",
                "parsed_arguments": {}, "caller": null, "namespace": null}),
            json!({"type": "function_call", "id": "fc_2", "call_id": "y", "name": "f", "arguments": " { } "}),
        ),
        (
            "/v1/responses",
            "input",
            json!({"type": "message", "id": "msg_1", "role": "assistant", "phase": null,
                "content": [{"type": "output_text", "text": "a", "annotations": [], "logprobs": [], "parsed": {"b": 1}}]}),
            json!({"type": "message", "id": "msg_2", "role": "assistant", "content":
                [{"type": "output_text", "text": "a", "annotations": []}]}),
        ),
        (
            "/v2/chat",
            "messages",
            json!({"role": "assistant", "tool_calls": [call], "tool_plan": "go", "content": null, "citations": null}),
            json!({"role": "assistant", "tool_calls": [call], "tool_plan": "go"}),
        ),
        (
            "/api/chat",
            "messages",
            json!({"role": "assistant", "content": "", "tool_calls": [{"function": {"index": 1, "name": "f", "arguments": {}}}]}),
            json!({"role": "assistant", "content": "", "images": null, "tool_calls":
                [{"type": "function", "function": {"name": "f", "arguments": {}}}]}),
        ),
    ]
}

#[test]
fn an_answer_that_is_sent_back_is_one_however_its_service_wrote_it() {
    let hash = |path: &str, list: &str, turn: &Value| {
        let mut body = json!({"model": "m"});
        body[list] = json!([{"role": "user", "content": "hi"}, turn, {"role": "user", "content": "go on"}]);
        let asks = Asks { path: path.into(), body };
        asked(&asks, &Redactor::default(), &Ignore::default(), |asked| asked.identity.get().request)
    };
    for (path, list, service, replay) in sent_back() {
        assert_eq!(hash(path, list, &service), hash(path, list, &replay), "{path}\n{service}\n{replay}");
        let other =
            serde_json::from_str(&replay.to_string().replace("\"a\"", "\"b\"").replace("\"f\"", "\"g\"")).unwrap();
        assert_ne!(hash(path, list, &other), hash(path, list, &replay), "{path}\n{replay}");
    }
}

#[test]
fn embeddings_are_told_apart() {
    let asks = |input: Value, model: &str| Asks {
        path: "/v1/embeddings".into(),
        body: json!({"model": model, "input": input}),
    };
    let mut table = Table::new();
    let a = asks(json!(["a", "b"]), "m");
    table.record(&a, "a");
    assert_eq!(table.find(&a), found("a", How::Exact));
    for other in
        [asks(json!("a\nb"), "m"), asks(json!(["b", "a"]), "m"), asks(json!(["a", "b"]), "n"), asks(json!(["a"]), "m")]
    {
        assert!(table.find(&other).is_err(), "{other:?}");
    }
}

#[test]
fn a_miss_says_what_changed() {
    let mut random = Random(5);
    let one = Talk { tools: vec![("get_weather".into(), "x".into())], ..talk(&mut random) };
    for (wire, render) in WIRES.iter().filter(|(wire, _)| *wire != "raw") {
        let mut table = Table::new();
        table.record(&render(&one), "recorded/x.json");
        let told = |change: fn(&mut Talk)| {
            let mut other = one.clone();
            change(&mut other);
            table.find(&render(&other)).unwrap_err()
        };
        let why = told(|talk| talk.tools[0].1 = "y".into());
        assert!(why.contains("recorded/x.json#0") && why.contains("(get_weather) differs"), "{wire}: {why}");
        let why = told(|talk| talk.temperature = 77);
        assert!(why.contains("emperature is 77, was"), "{wire}: {why}");
        let why = told(|talk| talk.system = "other".into());
        assert!(why.contains("differs"), "{wire}: {why}");
        let why = told(|talk| talk.question = "what else?".into());
        let asked = ["userMessage wants", "the request has \"what else?\""];
        assert!(asked.iter().all(|part| why.contains(part)), "{wire}: {why}");
    }
}

#[test]
fn long_values_are_shown_where_they_differ() {
    let mut table = Table::new();
    let asks = |end: &str| chat(&Talk { question: format!("{}{end}", "long ".repeat(100)), ..talk(&mut Random(6)) });
    table.record(&asks("one"), "a");
    let why = table.find(&asks("two")).unwrap_err();
    assert!(why.contains("long one\"") && why.contains("long two\"") && why.len() < 400, "{why}");
}

#[test]
fn hashes_of_every_wire_are_pinned() {
    // A change here orphans every fixture that people have recorded on that wire.
    let pinned: Vec<(&str, Hash)> = WIRES
        .iter()
        .map(|(wire, render)| {
            let asks = render(&pinned_talk());
            let hash = asked(&asks, &Redactor::default(), &Ignore::default(), |asked| asked.identity.get().request);
            (*wire, hash)
        })
        .collect();
    let told = pinned.iter().map(|(wire, hash)| format!("{wire} {hash}")).collect::<Vec<_>>().join("\n");
    assert_eq!(told, PINNED.trim(), "\n{told}\n");
}

const PINNED: &str = "
openai chat c33463941adf866d
azure 7d5bb040003dbb08
openai responses 6e37a42ec3f3440f
anthropic 51cb9c6fae0d4d4b
gemini 406ebebfaef99f88
vertex 406ebebfaef99f88
vertex anthropic 10c3cf67b2ea744c
bedrock converse 398691750e42f234
bedrock invoke c10426338c8ff1b2
cohere v1 48574ccc893ce8be
cohere v2 e94f723a2f42ed68
ollama 7725db19b04314d4
raw 80a5ff713dfcda0d
";

fn pinned_talk() -> Talk {
    Talk {
        system: "Be brief.".into(),
        turns: vec![("user", "hi".into()), ("assistant", "hello".into())],
        called: Some(("get_weather".into(), "Paris".into(), "sunny".into())),
        call_id: "call_1".into(),
        question: "what now?".into(),
        tools: vec![("get_weather".into(), "The weather.".into())],
        temperature: 1,
        max_tokens: 100,
        model: "m-1".into(),
        streamed: false,
    }
}

// ---------------------------------------------------------------------------------------------------------- server

/// The whole answer that a provider would give to this request.
fn upstream_answer(asks: &Asks, text: &str) -> Vec<u8> {
    let headers = HeaderMap::new();
    let (path, query) = asks.path.split_once('?').unwrap_or((&asks.path, ""));
    let head = Head { method: "POST", path, query, headers: &headers };
    let matched = provider::route(&head);
    let body = asks.body.to_string();
    let call = Call { head, params: matched.params.clone(), body: body.as_bytes() };
    let request: Request<'_> = matched.codec.decode(&call).expect("a good request");
    if matched.codec.kind() == Kind::Raw {
        return json!({ "text": text }).to_string().into_bytes();
    }
    let to = Encoding { request: &request, chunk_chars: 20, now: 1_700_000_000, seed: 1 };
    matched.codec.write(&answer_of(Kind::Chat, text), &to).expect("a turn").to_bytes()
}

#[test]
fn the_server_tells_a_sample_apart() {
    let folder = Folder::new("identity");
    // The upstream says which request it saw.
    let upstream = Upstream::start(|received| {
        let path = received.line().split(' ').nth(1).unwrap_or("").to_owned();
        let body: Value = serde_json::from_slice(&received.body).expect("JSON");
        let text = format!("answer to {}", Hash::of(&received.body));
        Given::json(upstream_answer(&Asks { path, body }, &text))
    });
    let url = upstream.url();
    let mock = Mock::builder()
        .fixtures(&folder.0)
        .configure(move |config| {
            config.record = true;
            for provider in provider::PROVIDERS {
                config.upstreams.set(provider, BaseUrl::parse(&url).expect("a URL"));
            }
        })
        .start()
        .expect("a server");
    let strict = [("x-aimock-strict", "true")];
    let mut random = Random(7);
    for n in 0..50 {
        let (wire, render) = WIRES[n % WIRES.len()];
        let one = talk(&mut random);
        let (other, place) = differing(&one, &mut random);
        let (a, b) = (render(&one), render(&other));
        if a.body == b.body && a.path == b.path {
            continue;
        }
        let ask = |asks: &Asks, headers: &[(&str, &str)]| {
            plain::post(mock.address(), &asks.path, headers, asks.body.to_string())
        };
        let context = format!("pair {n}, {wire}, {place}");
        let live = ask(&a, &[]);
        assert_eq!((live.status, live.source()), (200, "proxy"), "{context}: {}", live.text());
        let missed = ask(&b, &strict);
        assert_eq!((missed.status, missed.source()), (503, "miss"), "{context}: {}", missed.text());
        let again = ask(&a, &strict);
        assert_eq!((again.status, again.how()), (200, "exact"), "{context}: {}", again.text());
        let said = format!("answer to {}", Hash::of(a.body.to_string().as_bytes()));
        assert!(again.text().contains(&said), "{context}: {}", again.text());
    }
}
