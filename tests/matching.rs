//! Matching as a table: a row is a list of fixtures, a request, and the index of the fixture that answers it.
//!
//! An entry of a list with a `match` is a fixture as files have it. Any other object is a `match` alone, answered with
//! text; one with the member `recorded` is the recording of that body, asked where the row asks.

use aimock::config::OnDrift;
use aimock::fixture::table::{FixtureTable, How, Policy};
use aimock::fixture::{Asked, Fixture, Match, Origin, file};
use aimock::provider::{self, Call, Head};
use aimock::redact::Redactor;
use aimock::reply::Reply;
use aimock::request::canonical::{Identity, Ignore, Subject};
use hyper::HeaderMap;
use serde_json::{Value, json};

// ------------------------------------------------------------------------------------------------ asking

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";
const GEMINI: &str = "/v1beta/models/gemini-2.0-flash:generateContent";
const VERTEX: &str = "/v1/projects/p/locations/l/publishers/google/models/gemini-2.0-flash:generateContent";
const CONVERSE: &str = "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse";
const INVOKE: &str = "/model/anthropic.claude-3-haiku-20240307-v1%3A0/invoke";
const AZURE: &str = "/openai/deployments/gpt-4o/chat/completions";
const OLLAMA: &str = "/api/chat";
const GENERATE: &str = "/api/generate";
const COHERE: &str = "/v2/chat";
const COHERE_1: &str = "/v1/chat";
const EMBED: &str = "/v1/embeddings";
const COHERE_EMBED: &str = "/v2/embed";
const OLLAMA_EMBED: &str = "/api/embed";
const GEMINI_EMBED: &str = "/v1beta/models/e:embedContent";
const GEMINI_BATCH: &str = "/v1beta/models/e:batchEmbedContents";
const IMAGES: &str = "/v1/images/generations";

/// A request.
#[derive(Clone, Debug)]
struct Ask {
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Value,
}

/// A `POST` to this path.
fn at(path: &'static str, body: Value) -> Ask {
    Ask { path, headers: Vec::new(), body }
}

/// A chat of these messages.
fn chat(messages: Value) -> Ask {
    at(CHAT, json!({"model": "gpt-4o", "messages": messages}))
}

/// A chat of one user message.
fn says(text: &str) -> Ask {
    chat(json!([{"role": "user", "content": text}]))
}

/// A chat with so many assistant messages, the user's all "a".
fn turn(n: usize) -> Ask {
    let turns =
        (0..n).flat_map(|_| [json!({"role": "user", "content": "a"}), json!({"role": "assistant", "content": "b"})]);
    chat(turns.chain([json!({"role": "user", "content": "a"})]).collect())
}

fn embed(input: Value) -> Ask {
    at(EMBED, json!({"model": "text-embedding-3-small", "input": input}))
}

impl Ask {
    fn with(mut self, member: &str, value: Value) -> Self {
        self.body[member] = value;
        self
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Reads the request as the server does.
    fn read<T>(&self, then: impl FnOnce(&Asked<'_>) -> T) -> T {
        let headers: HeaderMap =
            self.headers.iter().map(|(n, v)| (n.parse().expect("a name"), v.parse().expect("a value"))).collect();
        let (path, query) = self.path.split_once('?').unwrap_or((self.path, ""));
        let head = Head { method: "POST", path, query, headers: &headers };
        let found = provider::route(&head);
        let body = self.body.to_string();
        let call = Call { head, params: found.params, body: body.as_bytes() };
        let request = found.codec.decode(&call).expect("a request that is decoded");
        let (redactor, ignore) = (Redactor::default(), Ignore::default());
        let path = provider::match_path(&head, request.kind, &redactor);
        let wire = provider::identity_wire(found.codec, head.method, &path);
        let subject = Subject {
            wire: &wire,
            model: &request.model,
            body: call.body,
            content_type: "application/json",
            codec: found.codec,
        };
        let identity = Identity::new(subject, &redactor, &ignore);
        let mut asked = Asked::new(&request, &identity, head.method, &path);
        asked.context = head.header("x-aimock-context");
        asked.test_id = head.header("x-test-id");
        then(&asked)
    }
}

// ------------------------------------------------------------------------------------------------ answering

/// The table of a list of fixtures; what was recorded, was recorded where `ask` asks.
fn table(fixtures: &str, ask: &Ask) -> FixtureTable {
    let mut table = FixtureTable::default();
    let entries: Vec<Value> = serde_json::from_str(fixtures).expect("a list of fixtures in JSON");
    for (index, mut entry) in entries.into_iter().enumerate() {
        let recorded = entry.as_object_mut().and_then(|e| e.shift_remove("recorded"));
        let fixture = match recorded {
            Some(body) => recording(&Ask { body, ..ask.clone() }, &entry),
            None => {
                let whole = if entry.get("match").is_some() {
                    entry
                } else {
                    json!({"match": entry, "response": {"content": "a"}})
                };
                let mut parsed = file::parse(json!({"fixtures": [whole]}).to_string().as_bytes());
                assert_eq!(parsed.problems, [], "{fixtures}");
                parsed.fixtures.remove(0)
            }
        };
        table.push(fixture, Origin { path: None, name: "t.json".into(), index });
    }
    table
}

/// What recording this request makes, with these match keys beside its own.
fn recording(ask: &Ask, more: &Value) -> Fixture {
    let sequence_index = more["sequenceIndex"].as_u64();
    ask.read(|asked| {
        let matcher = Match { sequence_index, ..Match::from_request(asked, false).expect("keys") };
        let mut fixture = Fixture::new(matcher, Reply::text("recorded"));
        fixture.metadata.request_hash = Some(asked.identity.get().request);
        fixture.metadata.volatile_hash = Some(asked.identity.get().volatile);
        fixture
    })
}

const REPLAY: Policy = Policy { recording: false, reuse_volatile: false, on_drift: OnDrift::Warn, strict: false };
const STRICT: Policy = Policy { on_drift: OnDrift::Fail, strict: true, ..REPLAY };
const RECORD: Policy = Policy { recording: true, ..REPLAY };
const REUSE: Policy = Policy { reuse_volatile: true, ..RECORD };

fn answers(table: &FixtureTable, ask: &Ask, policy: &Policy) -> Option<(usize, How)> {
    ask.read(|asked| {
        let hit = table.find(asked, policy).ok()?;
        table.count_hit(&hit, asked);
        Some((hit.row, hit.how))
    })
}

type Row = (&'static str, &'static str, Ask, Option<usize>);

/// Holds all rows and names every one that does not.
#[track_caller]
fn hold(rows: Vec<Row>) {
    let mut wrong = Vec::new();
    for (name, fixtures, ask, want) in rows {
        let got = answers(&table(fixtures, &ask), &ask, &REPLAY).map(|(row, _)| row);
        if got != want {
            wrong.push(format!("{name}: {got:?} instead of {want:?}: {fixtures} asked {ask:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// ------------------------------------------------------------------------------------------------ the rules

const HI: &str = r#"[{"userMessage": "hi"}]"#;

#[test]
fn user_message() {
    let parts = json!([{"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]}]);
    let image = json!([{"type": "image_url", "image_url": {"url": "x"}}]);
    hold(vec![
        ("the whole text", HI, says("hi"), Some(0)),
        ("a part of it", HI, says("oh, hi there"), Some(0)),
        ("inside a word", HI, says("nothing is white"), Some(0)),
        ("another text", HI, says("hello"), None),
        ("another case", HI, says("Hi"), None),
        ("the empty text is in every text", r#"[{"userMessage": ""}]"#, says("x"), Some(0)),
        (
            "the first that fits",
            r#"[{"userMessage": "x"}, {"userMessage": "hi"}, {"userMessage": "i"}]"#,
            says("hi"),
            Some(1),
        ),
        ("parts are joined", HI, chat(parts), Some(0)),
        (
            "only the last user message",
            HI,
            chat(
                json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "bye"}]),
            ),
            None,
        ),
        (
            "the last that has text",
            HI,
            chat(json!([{"role": "user", "content": "hi"}, {"role": "user", "content": image}])),
            Some(0),
        ),
        (
            "an empty text is no text",
            HI,
            chat(json!([{"role": "user", "content": "hi"}, {"role": "user", "content": ""}])),
            Some(0),
        ),
        (
            "tool results are not the user's",
            HI,
            chat(json!([{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "c", "content": "hi"}])),
            None,
        ),
        ("no user message at all", HI, chat(json!([{"role": "system", "content": "hi"}])), None),
    ]);
}

#[test]
fn user_message_on_every_wire() {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let blocks = json!([{"role": "user", "content": [{"text": "h"}, {"image": {}}, {"text": "i"}]}]);
    let contents = json!([{"role": "user", "parts": [{"text": "h"}, {"inlineData": {}}, {"text": "i"}]}]);
    hold(vec![
        ("responses, a string", HI, at(RESPONSES, json!({"model": "m", "input": "hi"})), Some(0)),
        (
            "responses, items",
            HI,
            at(
                RESPONSES,
                json!({"model": "m", "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]}),
            ),
            Some(0),
        ),
        ("anthropic", HI, at(MESSAGES, json!({"model": "m", "max_tokens": 1, "messages": messages})), Some(0)),
        (
            "anthropic, text beside a tool's result",
            HI,
            at(
                MESSAGES,
                json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": "no"}, {"type": "text", "text": "hi"}]}]}),
            ),
            Some(0),
        ),
        (
            "anthropic, a tool's result alone is passed over",
            HI,
            at(
                MESSAGES,
                json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"},
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "no"}]}]}),
            ),
            Some(0),
        ),
        ("gemini", HI, at(GEMINI, json!({"contents": contents})), Some(0)),
        ("gemini without a role", HI, at(GEMINI, json!({"contents": [{"parts": [{"text": "hi"}]}]})), Some(0)),
        ("vertex", HI, at(VERTEX, json!({"contents": contents})), Some(0)),
        ("bedrock converse", HI, at(CONVERSE, json!({"messages": blocks})), Some(0)),
        (
            "bedrock invoke",
            HI,
            at(INVOKE, json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 1, "messages": messages})),
            Some(0),
        ),
        ("azure", HI, at(AZURE, json!({"messages": messages})), Some(0)),
        ("ollama chat", HI, at(OLLAMA, json!({"model": "m", "messages": messages})), Some(0)),
        ("ollama generate", HI, at(GENERATE, json!({"model": "m", "prompt": "hi"})), Some(0)),
        ("cohere v2", HI, at(COHERE, json!({"model": "m", "messages": messages})), Some(0)),
        ("cohere v1", HI, at(COHERE_1, json!({"model": "m", "message": "hi"})), Some(0)),
    ]);
}

#[test]
fn system_message() {
    let one = r#"[{"systemMessage": "brief"}]"#;
    let both = r#"[{"systemMessage": ["brief", "kind"]}]"#;
    let across = r#"[{"systemMessage": "be brief\nbe kind"}]"#;
    let system = |texts: &[&str]| {
        let texts = texts.iter().map(|t| json!({"role": "system", "content": t}));
        chat(texts.chain([json!({"role": "user", "content": "brief"})]).collect())
    };
    let gemini =
        json!({"systemInstruction": {"parts": [{"text": "be brief"}]}, "contents": [{"parts": [{"text": "a"}]}]});
    let anthropic =
        json!({"model": "m", "max_tokens": 1, "system": [{"type": "text", "text": "be brief"}], "messages": []});
    hold(vec![
        ("a part of it", one, system(&["be brief"]), Some(0)),
        ("none at all", one, system(&[]), None),
        ("another", one, system(&["be verbose"]), None),
        ("any of several", one, system(&["be kind", "be brief"]), Some(0)),
        ("all of a list, in one text", both, system(&["be kind and brief"]), Some(0)),
        ("all of a list, in several texts", both, system(&["be brief", "be kind"]), Some(0)),
        ("not all of a list", both, system(&["be brief"]), None),
        ("texts are joined by newline", across, system(&["be brief", "be kind"]), Some(0)),
        (
            "a developer's message is one",
            one,
            chat(json!([{"role": "developer", "content": "be brief"}, {"role": "user", "content": "a"}])),
            Some(0),
        ),
        ("instructions", one, at(RESPONSES, json!({"model": "m", "instructions": "be brief", "input": "a"})), Some(0)),
        ("anthropic", one, at(MESSAGES, anthropic), Some(0)),
        ("gemini", one, at(GEMINI, gemini), Some(0)),
        ("converse", one, at(CONVERSE, json!({"system": [{"text": "be brief"}], "messages": []})), Some(0)),
        ("cohere v1", one, at(COHERE_1, json!({"model": "m", "message": "a", "preamble": "be brief"})), Some(0)),
        ("ollama generate", one, at(GENERATE, json!({"model": "m", "prompt": "a", "system": "be brief"})), Some(0)),
    ]);
}

#[test]
fn input_text() {
    let cat = r#"[{"match": {"inputText": "cat"}, "response": {"embedding": [1]}}]"#;
    let across = r#"[{"match": {"inputText": "cat\ndog"}, "response": {"embeddings": [[1], [2]]}}]"#;
    let gemini = |text: &str| json!({"content": {"parts": [{"text": text}]}});
    hold(vec![
        ("a part of it", cat, embed(json!("a cat")), Some(0)),
        ("another", cat, embed(json!("a dog")), None),
        ("one of several", cat, embed(json!(["dog", "cat"])), Some(0)),
        ("several are joined by newline", across, embed(json!(["a cat", "dogs"])), Some(0)),
        (
            "not by anything else",
            r#"[{"match": {"inputText": "catdog"}, "response": {"embedding": [1]}}]"#,
            embed(json!(["cat", "dog"])),
            None,
        ),
        ("cohere", cat, at(COHERE_EMBED, json!({"model": "m", "input_type": "x", "texts": ["a cat"]})), Some(0)),
        ("ollama", cat, at(OLLAMA_EMBED, json!({"model": "m", "input": ["a cat"]})), Some(0)),
        ("gemini", cat, at(GEMINI_EMBED, gemini("a cat")), Some(0)),
        ("gemini, a batch", across, at(GEMINI_BATCH, json!({"requests": [gemini("cat"), gemini("dog")]})), Some(0)),
        ("of a chat there is none", r#"[{"inputText": ""}]"#, says("cat"), None),
    ]);
}

/// A chat that ends with the result of a tool.
fn result(id: &str, text: &str) -> Value {
    json!([
        {"role": "user", "content": "a"},
        {"role": "assistant", "tool_calls": [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": id, "content": text},
    ])
}

fn and(mut messages: Value, more: Value) -> Value {
    messages.as_array_mut().expect("a list").push(more);
    messages
}

#[test]
fn tool_results() {
    let id = r#"[{"toolCallId": "c1"}]"#;
    let text = r#"[{"toolResultContains": "18"}]"#;
    let user = json!({"role": "user", "content": "b"});
    let second = json!({"role": "tool", "tool_call_id": "c2", "content": "20 °C"});
    let anthropic =
        |content: Value| json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": content}]});
    let block = json!({"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "18 °C"}]});
    let converse = json!({"toolResult": {"toolUseId": "c1", "content": [{"text": "18 °C"}]}});
    let output = json!({"type": "function_call_output", "call_id": "c1", "output": "18 °C"});
    hold(vec![
        ("the last message has the id", id, chat(result("c1", "18 °C")), Some(0)),
        ("an id is equal or not", id, chat(result("c11", "18 °C")), None),
        ("the user spoke after it", id, chat(and(result("c1", "18 °C"), user.clone())), None),
        ("another result came after it", id, chat(and(result("c1", "18 °C"), second.clone())), None),
        (
            "it is the other result's",
            r#"[{"toolCallId": "c2"}]"#,
            chat(and(result("c1", "18 °C"), second.clone())),
            Some(0),
        ),
        ("no tool at all", id, says("c1"), None),
        ("the text of the last", text, chat(result("c1", "18 °C")), Some(0)),
        ("another text", text, chat(result("c1", "20 °C")), None),
        ("only of the last", text, chat(and(result("c1", "18 °C"), second)), None),
        ("the user's text is no result", text, says("18"), None),
        ("the user spoke since", text, chat(and(result("c1", "18 °C"), user)), None),
        (
            "id and text",
            r#"[{"toolCallId": "c1", "toolResultContains": "20"}, {"toolCallId": "c1"}]"#,
            chat(result("c1", "18")),
            Some(1),
        ),
        ("anthropic, id", id, at(MESSAGES, anthropic(json!([block]))), Some(0)),
        ("anthropic, text", text, at(MESSAGES, anthropic(json!([block]))), Some(0)),
        ("anthropic, beside text", id, at(MESSAGES, anthropic(json!([block, {"type": "text", "text": "so?"}]))), None),
        ("converse, id", id, at(CONVERSE, json!({"messages": [{"role": "user", "content": [converse]}]})), Some(0)),
        ("converse, text", text, at(CONVERSE, json!({"messages": [{"role": "user", "content": [converse]}]})), Some(0)),
        ("responses, id", id, at(RESPONSES, json!({"model": "m", "input": [output]})), Some(0)),
        ("responses, text", text, at(RESPONSES, json!({"model": "m", "input": [output]})), Some(0)),
        (
            "gemini, text",
            text,
            at(
                GEMINI,
                json!({"contents": [{"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"t": "18"}}}]}]}),
            ),
            Some(0),
        ),
        (
            "ollama, text",
            text,
            at(OLLAMA, json!({"model": "m", "messages": [{"role": "tool", "tool_name": "f", "content": "18 °C"}]})),
            Some(0),
        ),
        (
            "cohere, id",
            id,
            at(COHERE, json!({"model": "m", "messages": [{"role": "tool", "tool_call_id": "c1", "content": "18"}]})),
            Some(0),
        ),
    ]);
}

#[test]
fn has_tool_result() {
    let yes = r#"[{"hasToolResult": true}]"#;
    let no = r#"[{"hasToolResult": false}]"#;
    let legs = r#"[{"userMessage": "a", "hasToolResult": false}, {"userMessage": "a", "hasToolResult": true}]"#;
    let user = json!({"role": "user", "content": "a"});
    let done = and(result("c1", "18"), json!({"role": "assistant", "content": "18 °C"}));
    let next = and(done.clone(), user);
    let mut again = next.clone();
    again.as_array_mut().expect("a list").extend(result("c2", "20").as_array().expect("a list")[1..].to_vec());
    let blocks = json!([{"type": "tool_result", "tool_use_id": "t", "content": "18"}]);
    let anthropic =
        |content: &Value| json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": content}]});
    hold(vec![
        ("none yet", legs, says("a"), Some(0)),
        ("it came", legs, chat(result("c1", "18")), Some(1)),
        ("it came and was answered", yes, chat(done), Some(0)),
        ("it came in an earlier turn", legs, chat(next.clone()), Some(0)),
        ("and again in this one", legs, chat(again), Some(1)),
        ("true needs one", yes, says("a"), None),
        ("false needs none", no, chat(result("c1", "18")), None),
        (
            "without any user message",
            yes,
            chat(json!([{"role": "tool", "tool_call_id": "c", "content": "18"}])),
            Some(0),
        ),
        ("anthropic", yes, at(MESSAGES, anthropic(&blocks)), Some(0)),
        (
            "anthropic, with text after it", // Claude Code's form
            yes,
            at(MESSAGES, anthropic(&and(blocks, json!({"type": "text", "text": "b"})))),
            Some(0),
        ),
        (
            "converse, with text after it",
            yes,
            at(
                CONVERSE,
                json!({"messages": [{"role": "user", "content":
                [{"toolResult": {"toolUseId": "t", "content": [{"text": "18"}]}}, {"text": "b"}]}]}),
            ),
            Some(0),
        ),
    ]);
}

#[test]
fn tool_name_model_and_response_format() {
    let tool = r#"[{"toolName": "get_weather"}]"#;
    let function = |name: &str| json!([{"type": "function", "function": {"name": "x"}}, {"type": "function", "function": {"name": name}}]);
    let model = r#"[{"model": "gpt-4o"}]"#;
    let of = |model: &str| says("a").with("model", json!(model));
    let format = r#"[{"responseFormat": "json_object"}]"#;
    let anthropic =
        json!({"model": "m", "max_tokens": 1, "messages": [], "tools": [{"name": "get_weather", "input_schema": {}}]});
    let gemini = json!({"contents": [], "tools": [{"functionDeclarations": [{"name": "get_weather"}]}]});
    let spec =
        json!({"messages": [], "toolConfig": {"tools": [{"toolSpec": {"name": "get_weather", "inputSchema": {}}}]}});
    hold(vec![
        ("a tool is offered", tool, says("a").with("tools", function("get_weather")), Some(0)),
        ("a tool of a longer name", tool, says("a").with("tools", function("get_weather_2")), None),
        ("no tools", tool, says("get_weather"), None),
        ("anthropic's tools", tool, at(MESSAGES, anthropic), Some(0)),
        ("gemini's tools", tool, at(GEMINI, gemini), Some(0)),
        ("converse's tools", tool, at(CONVERSE, spec), Some(0)),
        (
            "responses' tools",
            tool,
            at(RESPONSES, json!({"model": "m", "input": "a", "tools": [{"type": "function", "name": "get_weather"}]})),
            Some(0),
        ),
        ("the model", model, of("gpt-4o"), Some(0)),
        ("with a date", model, of("gpt-4o-2024-08-06"), Some(0)),
        ("with another ending", model, of("gpt-4o-mini"), None),
        ("with a date after another ending", model, of("gpt-4o-mini-2024-07-18"), None),
        ("without a dash", model, of("gpt-4o2"), None),
        ("shorter", model, of("gpt-4"), None),
        ("a date that the request has not", r#"[{"model": "gpt-4o-2024-08-06"}]"#, of("gpt-4o"), None),
        ("a model in the path", r#"[{"model": "gemini-2.0-flash"}]"#, at(GEMINI, json!({"contents": []})), Some(0)),
        (
            "a model in the path, decoded",
            r#"[{"model": "anthropic.claude-3-haiku-20240307-v1:0"}]"#,
            at(CONVERSE, json!({"messages": []})),
            Some(0),
        ),
        ("a deployment is the model", model, at(AZURE, json!({"messages": []})), Some(0)),
        ("a format", format, says("a").with("response_format", json!({"type": "json_object"})), Some(0)),
        ("another format", format, says("a").with("response_format", json!({"type": "json_schema"})), None),
        ("no format", format, says("a"), None),
    ]);
}

#[test]
fn endpoint_context_and_test_id() {
    let context = r#"[{"context": "checkout"}]"#;
    let test = r#"[{"testId": "t1"}]"#;
    hold(vec![
        ("chat", r#"[{"endpoint": "embedding"}, {"endpoint": "chat"}]"#, says("a"), Some(1)),
        (
            "embedding",
            r#"[{"match": {"endpoint": "chat"}, "response": {"error": {"message": "m"}, "status": 500}},
                {"match": {"endpoint": "embedding"}, "response": {"embedding": [1]}}]"#,
            embed(json!("a")),
            Some(1),
        ),
        (
            "raw",
            r#"[{"match": {"endpoint": "raw", "path": "/v1/images/edits"}, "response": {"json": {}}},
                {"match": {"endpoint": "raw", "method": "GET"}, "response": {"json": {}}},
                {"match": {"endpoint": "raw", "method": "POST", "path": "/v1/images/generations"}, "response": {"json": {}}}]"#,
            at(IMAGES, json!({"prompt": "a"})),
            Some(2),
        ),
        ("the context", context, says("a").header("x-aimock-context", "checkout"), Some(0)),
        ("another context", context, says("a").header("x-aimock-context", "Checkout"), None),
        ("no context", context, says("a"), None),
        ("a fixture of no context", HI, says("hi").header("x-aimock-context", "checkout"), Some(0)),
        ("the test", test, says("a").header("x-test-id", "t1"), Some(0)),
        ("another test", test, says("a").header("x-test-id", "t2"), None),
        ("a request of no test", test, says("a"), Some(0)),
        ("a fixture of no test", HI, says("hi").header("x-test-id", "t2"), Some(0)),
    ]);
}

#[test]
fn what_answers_what() {
    let error = r#"[{"match": {"userMessage": "hi"}, "response": {"error": {"message": "m"}, "status": 429}}]"#;
    let errors = r#"[{"match": {}, "response": {"error": {"message": "m"}, "status": 429}}]"#;
    let text_and_vector =
        r#"[{"match": {}, "response": {"content": "a"}}, {"match": {}, "response": {"embedding": [1]}}]"#;
    let raw = r#"[{"match": {}, "response": {"content": "a"}}, {"match": {}, "response": {"json": {"a": 1}}}]"#;
    hold(vec![
        ("no key at all matches every chat", "[{}]", says("a"), Some(0)),
        ("also an empty one", "[{}]", chat(json!([])), Some(0)),
        ("no fixture at all", "[]", says("a"), None),
        ("all keys must hold", r#"[{"userMessage": "hi", "model": "x"}]"#, says("hi"), None),
        ("the first of equals", r#"[{"userMessage": "hi"}, {"userMessage": "hi"}]"#, says("hi"), Some(0)),
        ("a catch-all that comes first", r#"[{}, {"userMessage": "hi"}]"#, says("hi"), Some(0)),
        ("a catch-all that comes last", r#"[{"userMessage": "hi"}, {}]"#, says("ho"), Some(1)),
        ("text is for chats", text_and_vector, says("a"), Some(0)),
        ("vectors are for embeddings", text_and_vector, embed(json!("a")), Some(1)),
        ("neither is for other endpoints", text_and_vector, at(IMAGES, json!({})), None),
        ("a body of its own is for those too", raw, at(IMAGES, json!({})), Some(1)),
        ("an error, to a chat", error, says("hi"), Some(0)),
        ("an error, on another wire", error, at(GEMINI, json!({"contents": [{"parts": [{"text": "hi"}]}]})), Some(0)),
        ("an error, whose keys do not hold", error, says("a"), None),
        ("an error, to embeddings", errors, embed(json!("a")), Some(0)),
        ("an error, to any endpoint", errors, at(IMAGES, json!({})), Some(0)),
        ("a key of chats is not for embeddings", error, embed(json!("hi")), None),
    ]);
}

// ------------------------------------------------------------------------------------------------ ties

#[test]
fn turn_index_chooses() {
    let script = r#"[{"turnIndex": 0}, {"turnIndex": 1}, {"turnIndex": 3}]"#;
    let plain_first = r#"[{"userMessage": "a"}, {"turnIndex": 1}]"#;
    let plain_last = r#"[{"turnIndex": 1}, {"userMessage": "a"}]"#;
    hold(vec![
        ("the first turn", script, turn(0), Some(0)),
        ("the second", script, turn(1), Some(1)),
        ("none for the third: the closest below", script, turn(2), Some(1)),
        ("the fourth", script, turn(3), Some(2)),
        ("beyond the last: the last", script, turn(9), Some(2)),
        ("never rejects: all are ahead, the lowest", r#"[{"turnIndex": 5}, {"turnIndex": 2}]"#, turn(0), Some(1)),
        ("never rejects: one alone", r#"[{"turnIndex": 5}]"#, turn(0), Some(0)),
        ("equal and exact: the first", r#"[{"turnIndex": 0}, {"turnIndex": 1}, {"turnIndex": 1}]"#, turn(1), Some(1)),
        ("equal and below: the first", r#"[{"turnIndex": 1}, {"turnIndex": 1}]"#, turn(2), Some(0)),
        ("equal and ahead: the first", r#"[{"turnIndex": 2}, {"turnIndex": 2}]"#, turn(0), Some(0)),
        (
            "the order of the file does not matter",
            r#"[{"turnIndex": 2}, {"turnIndex": 0}, {"turnIndex": 1}]"#,
            turn(1),
            Some(2),
        ),
        ("without an index and first: wins at the exact turn", plain_first, turn(1), Some(0)),
        ("without an index and last: loses at the exact turn", plain_last, turn(1), Some(0)),
        ("without an index: loses to a turn that is past", plain_first, turn(2), Some(1)),
        ("without an index: wins over a turn to come", plain_last, turn(0), Some(1)),
        (
            "other keys must hold all the same",
            r#"[{"userMessage": "x", "turnIndex": 1}, {"turnIndex": 0}]"#,
            turn(1),
            Some(1),
        ),
        ("tool calls are assistant messages", script, chat(result("c", "18")), Some(1)),
        (
            "the model's turns on another wire",
            script,
            at(
                GEMINI,
                json!({"contents": [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "b"}]}]}),
            ),
            Some(1),
        ),
        (
            "system messages are no turns",
            script,
            chat(json!([{"role": "system", "content": "s"}, {"role": "user", "content": "a"}])),
            Some(0),
        ),
    ]);
}

/// Asks one after the other.
#[track_caller]
fn hold_in_sequence(name: &str, fixtures: &str, policy: &Policy, asks: &[(Ask, Option<usize>)]) {
    let table = table(fixtures, &asks[0].0);
    let got: Vec<_> = asks.iter().map(|(ask, _)| answers(&table, ask, policy).map(|(row, _)| row)).collect();
    let want: Vec<_> = asks.iter().map(|(_, want)| *want).collect();
    assert_eq!(got, want, "{name}: {fixtures}");
}

#[test]
fn sequence_index_counts() {
    let two = r#"[{"userMessage": "a", "sequenceIndex": 0}, {"userMessage": "a", "sequenceIndex": 1}]"#;
    let (a, b) = (says("a"), says("b"));
    let in_test = |id: &'static str| says("a").header("x-test-id", id);
    let hold = |name: &str, fixtures: &str, asks: &[(&Ask, Option<usize>)]| {
        let asks: Vec<_> = asks.iter().map(|(ask, want)| ((*ask).clone(), *want)).collect();
        hold_in_sequence(name, fixtures, &REPLAY, &asks);
    };
    hold("in order, then none", two, &[(&a, Some(0)), (&a, Some(1)), (&a, None)]);
    hold(
        "then what has no index",
        &two.replace("}]", "}, {}]"),
        &[(&a, Some(0)), (&a, Some(1)), (&a, Some(2)), (&a, Some(2))],
    );
    hold("only times that the other keys hold", two, &[(&b, None), (&a, Some(0)), (&b, None), (&a, Some(1))]);
    hold("not in the file's order", r#"[{"sequenceIndex": 1}, {"sequenceIndex": 0}]"#, &[(&a, Some(1)), (&a, Some(0))]);
    hold(
        "from the second on",
        r#"[{"sequenceIndex": 1}, {"userMessage": "a"}]"#,
        &[(&a, Some(1)), (&a, Some(0)), (&a, Some(1))],
    );
    hold("of equals the first", r#"[{"sequenceIndex": 0}, {"sequenceIndex": 0}]"#, &[(&a, Some(0)), (&a, None)]);
    let (one, other) = (in_test("t1"), in_test("t2"));
    hold(
        "each test for itself",
        two,
        &[(&one, Some(0)), (&other, Some(0)), (&one, Some(1)), (&a, Some(0)), (&other, Some(1))],
    );
    hold(
        "beside a turn",
        r#"[{"sequenceIndex": 0, "turnIndex": 1}, {"turnIndex": 0}]"#,
        &[(&turn(1), Some(0)), (&turn(1), Some(1))],
    );
}

// ------------------------------------------------------------------------------------------------ recordings

const AT_TEN: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"at 2025-01-15T10:30:00Z"}]}"#;
const AT_NOON: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"at 2025-01-15T12:00:00Z"}]}"#;
const BRIEF: &str =
    r#"{"model":"gpt-4o","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"}]}"#;
const RECORDED_HI: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;

#[test]
fn the_ladder() {
    use How::{Drift, Exact, Rule, Volatile};
    let recorded = |bodies: &[&str]| {
        let entries: Vec<String> = bodies.iter().map(|b| format!(r#"{{"recorded": {b}}}"#)).collect();
        format!("[{}]", entries.join(", "))
    };
    let and_rule = |list: String| list.replace("}]}}]", "}]}}, {}]");
    let hi = says("hi");
    let at_nine = says("at 2025-01-15T09:00:00Z");
    let mut ignore = REPLAY;
    ignore.on_drift = OnDrift::Ignore;
    let long_ago = says("hi").with("model", json!("gpt-4o-2024-08-06"));
    for (name, fixtures, ask, policy, want) in [
        ("the same request", recorded(&[RECORDED_HI]), &hi, STRICT, Some((0, Exact))),
        (
            "before a rule that comes first",
            format!(r#"[{{}}, {{"recorded": {RECORDED_HI}}}]"#),
            &hi,
            STRICT,
            Some((1, Exact)),
        ),
        ("before a drift that comes first", recorded(&[BRIEF, RECORDED_HI]), &hi, REPLAY, Some((1, Exact))),
        (
            "streamed or not",
            recorded(&[RECORDED_HI]),
            &hi.clone().with("stream", json!(true)),
            STRICT,
            Some((0, Exact)),
        ),
        ("the text is equal, not contained", recorded(&[RECORDED_HI]), &says("hi there"), REPLAY, None),
        ("another time of day", recorded(&[AT_TEN]), &at_nine, STRICT, Some((0, Volatile))),
        ("before a rule", and_rule(recorded(&[AT_TEN])), &at_nine, STRICT, Some((0, Volatile))),
        ("two of them: none is taken", recorded(&[AT_TEN, AT_NOON]), &at_nine, REPLAY, None),
        ("two of them: a rule answers", and_rule(recorded(&[AT_TEN, AT_NOON])), &at_nine, STRICT, Some((2, Rule))),
        (
            "two of them, and the same request",
            recorded(&[AT_TEN, AT_NOON]),
            &says("at 2025-01-15T12:00:00Z"),
            STRICT,
            Some((1, Exact)),
        ),
        ("while recording it is a miss", recorded(&[AT_TEN]), &at_nine, RECORD, None),
        ("unless told otherwise", recorded(&[AT_TEN]), &at_nine, REUSE, Some((0, Volatile))),
        ("another system prompt", recorded(&[BRIEF]), &hi, REPLAY, Some((0, Drift))),
        ("silently", recorded(&[BRIEF]), &hi, ignore, Some((0, Drift))),
        ("strict: a miss", recorded(&[BRIEF]), &hi, STRICT, None),
        ("recording: a miss", recorded(&[BRIEF]), &hi, RECORD, None),
        ("a rule comes before it", and_rule(recorded(&[BRIEF])), &hi, STRICT, Some((1, Rule))),
        ("a rule comes before it while recording", and_rule(recorded(&[BRIEF])), &hi, RECORD, Some((1, Rule))),
        ("a dated model is another request", recorded(&[RECORDED_HI]), &long_ago, REPLAY, Some((0, Drift))),
        ("and strict a miss", recorded(&[RECORDED_HI]), &long_ago, STRICT, None),
        (
            "another model is no drift",
            recorded(&[RECORDED_HI]),
            &hi.clone().with("model", json!("gpt-4o-mini")),
            REPLAY,
            None,
        ),
    ] {
        let got = answers(&table(&fixtures, &at(CHAT, json!({}))), ask, &policy);
        assert_eq!(got, want, "{name}: {fixtures}");
    }
}

#[test]
fn recorded_repeats_are_played_in_order() {
    let repeats = format!(
        r#"[{{"recorded": {RECORDED_HI}, "sequenceIndex": 0}}, {{"recorded": {RECORDED_HI}, "sequenceIndex": 1}}]"#
    );
    let asks =
        |last| [says("hi"), says("hi"), says("hi")].into_iter().zip([Some(0), Some(1), last]).collect::<Vec<_>>();
    hold_in_sequence("the last is repeated", &repeats, &REPLAY, &asks(Some(1)));
    hold_in_sequence("strict: all were given", &repeats, &STRICT, &asks(None));
}
