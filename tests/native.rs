//! An answer is kept whole: what its readable form does not say stands beside it, a replay follows what a person edits,
//! and what does not fit any more is told.

#[path = "common/plain.rs"]
mod plain;

use aimock::log::{Level, Lines, Logger};
use aimock::upstream::BaseUrl;
use aimock::{Mock, provider};
use plain::{Folder, Given, Upstream};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

const CHAT: &str = "/v1/chat/completions";

struct Server {
    mock: Mock,
    log: Lines,
}

fn server(folder: &Folder, upstream: Option<&Upstream>) -> Server {
    let (logger, log) = Logger::collecting(Level::Debug);
    let builder = Mock::builder().fixtures(&folder.0).log(logger).configure(|config| {
        config.record = upstream.is_some();
        config.strict = upstream.is_none();
        for (provider, upstream) in provider::PROVIDERS.iter().filter_map(|p| Some((p, upstream?))) {
            config.upstreams.set(provider, BaseUrl::parse(&upstream.url()).expect("a URL"));
        }
    });
    Server { mock: builder.start().expect("a server"), log }
}

impl Server {
    /// The answer's JSON, and how it was found.
    #[track_caller]
    fn ask(&self, target: &str, body: &Value) -> (Value, String) {
        let answer = plain::post(self.mock.address(), target, &[], body.to_string());
        let found = answer.how().to_owned();
        (said(serde_json::from_slice(&answer.body).unwrap_or_default()), found)
    }
}

/// The one recording in a folder.
#[track_caller]
fn recording(folder: &Folder) -> (PathBuf, Value) {
    let mut files = folder.files();
    assert_eq!(files.len(), 1, "{files:?}");
    let (path, text) = files.remove(0);
    (path, serde_json::from_str(&text).expect("JSON"))
}

fn check(folder: &Folder) -> (i32, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_aimock")).arg("check").arg(&folder.0).output().expect("aimock check");
    let text = [out.stdout, out.stderr].concat();
    (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

fn question() -> Value {
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "weather in Paris?"}],
        "tools": [{"type": "function", "function": {"name": "get_weather"}}]})
}

/// An answer with what no readable form has a word for.
fn rich() -> Value {
    json!({"id": "chatcmpl-9", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "I look.",
                "reasoning": "they ask for weather",
                "reasoning_details": [{"type": "reasoning.text", "text": "they ask for weather", "index": 0}],
                "annotations": [{"type": "url_citation", "url_citation": {"url": "https://example.org"}}],
                "tool_calls": [{"id": "call_a", "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\": \"Paris\"}"}, "extra": 7},
                    {"type": "function", "function": {"name": "get_time", "arguments": "{}"}}]},
            "logprobs": {"content": [{"token": "I", "logprob": -0.25}]}, "finish_reason": "tool_calls",
            "content_filter_results": {"hate": {"filtered": false}}},
            {"index": 1, "message": {"role": "assistant", "content": "Another."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12, "cost": 0.1},
        "service_tier": "default", "prompt_filter_results": [{"prompt_index": 0}]})
}

/// An answer without members that are null: to a client they are not there.
fn said(mut answer: Value) -> Value {
    match &mut answer {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(|value| *value = said(value.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = said(item.take())),
        _ => {}
    }
    answer
}

/// The next request of a client that holds this answer.
fn goes_on(held: &Value) -> Value {
    let message = &held["choices"][0]["message"];
    let mut asked = question();
    let history = asked["messages"].as_array_mut().expect("a list");
    history.push(message.clone());
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        history.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "20 degrees"}));
    }
    asked
}

#[test]
fn every_member_comes_back() {
    let folder = Folder::new("native-members");
    let upstream = Upstream::start(|_| Given::json(rich().to_string()));
    let recorder = server(&folder, Some(&upstream));
    let (first, _) = recorder.ask(CHAT, &question());
    assert_eq!(first, rich());
    assert_eq!(recorder.ask(CHAT, &question()), (rich(), "exact".into()));
    recorder.ask(CHAT, &goes_on(&first));
    drop(recorder);
    let offline = server(&folder, None);
    let (again, found) = offline.ask(CHAT, &question());
    assert_eq!((&again, &*found), (&rich(), "exact"));
    assert_eq!(offline.ask(CHAT, &goes_on(&again)).1, "exact");
    assert_eq!(check(&folder).0, 0);
}

#[test]
fn no_text_stands_twice_and_a_plain_answer_has_nothing_beside_it() {
    let folder = Folder::new("native-once");
    let upstream = Upstream::start(|_| Given::json(rich().to_string()));
    server(&folder, Some(&upstream)).ask(CHAT, &question());
    let (_, file) = recording(&folder);
    assert_eq!(file.to_string().matches("they ask for weather").count(), 1, "{file:#}");
    assert_eq!(file["fixtures"][0]["native"]["wire"], "openai-chat");

    let folder = Folder::new("native-plain");
    let plain = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi", "refusal": null}, "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}});
    let upstream = Upstream::start(move |_| Given::json(plain.to_string()));
    server(&folder, Some(&upstream)).ask(CHAT, &question());
    assert_eq!(recording(&folder).1["fixtures"][0].get("native"), None);
}

/// Edits the one recording's response and asks for both turns.
fn edited(name: &str, edit: impl FnOnce(&mut Value)) -> (Value, Folder) {
    let folder = Folder::new(name);
    let upstream = Upstream::start(|_| Given::json(rich().to_string()));
    server(&folder, Some(&upstream)).ask(CHAT, &question());
    let (path, mut file) = recording(&folder);
    edit(&mut file["fixtures"][0]["response"]);
    std::fs::write(folder.0.join(path), file.to_string()).expect("written");
    let (got, found) = server(&folder, None).ask(CHAT, &question());
    assert_eq!(found, "exact");
    (got, folder)
}

#[test]
fn an_edited_text_is_followed_wherever_it_stands() {
    let (got, folder) = edited("native-text", |response| {
        response["content"] = json!("I see.");
        response["reasoning"] = json!("weather, then");
        response["finishReason"] = json!("stop");
        response["usage"]["total_tokens"] = json!(99);
    });
    let mut want = rich();
    let message = &mut want["choices"][0]["message"];
    message["content"] = json!("I see.");
    message["reasoning"] = json!("weather, then");
    message["reasoning_details"][0]["text"] = json!("weather, then");
    want["choices"][0]["finish_reason"] = json!("stop");
    want["usage"]["total_tokens"] = json!(99);
    assert_eq!(got, want);
    assert_eq!(check(&folder).0, 0, "{}", check(&folder).1);
}

#[test]
fn arguments_may_become_an_object() {
    let (got, folder) = edited("native-arguments", |response| {
        response["toolCalls"][0]["arguments"] = json!({"city": "Paris"});
    });
    assert_eq!(got["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], "{\"city\":\"Paris\"}");
    // A client that holds either form asks the same.
    let folder_of_both = Folder::new("native-both");
    let upstream = Upstream::start(|_| Given::json(rich().to_string()));
    let recorder = server(&folder_of_both, Some(&upstream));
    recorder.ask(CHAT, &goes_on(&rich()));
    drop(recorder);
    assert_eq!(server(&folder_of_both, None).ask(CHAT, &goes_on(&got)).1, "exact");
    drop(folder);
}

#[test]
fn what_belongs_to_a_removed_call_goes_with_it_and_is_told() {
    let (got, folder) = edited("native-removed", |response| {
        response["toolCalls"].as_array_mut().expect("calls").remove(0);
    });
    let calls = &got["choices"][0]["message"]["tool_calls"];
    assert_eq!(calls, &json!([{"type": "function", "function": {"name": "get_time", "arguments": "{}"}}]));
    let (code, told) = check(&folder);
    assert!(told.contains("/choices/0/message/tool_calls/0/extra: it has no place"), "{code} {told}");
}

#[test]
fn what_belongs_to_a_call_stays_with_it_when_another_comes() {
    let (got, folder) = edited("native-added", |response| {
        let calls = response["toolCalls"].as_array_mut().expect("calls");
        calls.insert(0, json!({"name": "search", "arguments": "{}", "id": "call_new"}));
    });
    let calls = &got["choices"][0]["message"]["tool_calls"];
    assert_eq!((&calls[0]["id"], &calls[1]["extra"], calls[2].get("id")), (&json!("call_new"), &json!(7), None));
    assert_eq!(check(&folder).0, 0, "{}", check(&folder).1);
}

#[test]
fn hand_written_fixtures_give_the_same_ids_for_the_same_request() {
    let folder = Folder::new("native-ids");
    let fixtures = json!({"fixtures": [{"match": {}, "response": {"toolCalls": [{"name": "f", "arguments": "{}"}]}}]});
    std::fs::write(folder.0.join("f.json"), fixtures.to_string()).expect("written");
    let server = server(&folder, None);
    let ids = |body: &Value| {
        let (got, _) = server.ask(CHAT, body);
        (got["id"].clone(), got["choices"][0]["message"]["tool_calls"][0]["id"].clone())
    };
    let mut other = question();
    other["messages"][0]["content"] = json!("another");
    assert_eq!(ids(&question()), ids(&question()));
    assert_ne!(ids(&question()), ids(&other));
}

/// Both events of a stream say the same item with another blob: a client may have either.
#[test]
fn what_two_events_say_differently_is_kept_as_it_came() {
    let folder = Folder::new("native-wire");
    let item = |blob: &str| json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": blob});
    let message = json!({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "text": "hi", "annotations": []}]});
    let response = |output: Value, status: &str| json!({"id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": "gpt-5", "output": output});
    let events = [
        ("response.created", json!({"response": response(json!([]), "in_progress")})),
        ("response.output_item.added", json!({"output_index": 0, "item": item("a")})),
        ("response.output_item.done", json!({"output_index": 0, "item": item("a")})),
        ("response.output_item.added", json!({"output_index": 1, "item": message})),
        ("response.output_item.done", json!({"output_index": 1, "item": message})),
        ("response.completed", json!({"response": response(json!([item("b"), message]), "completed")})),
    ];
    let frames = events.iter().enumerate().map(|(n, (kind, event))| {
        let mut event = event.clone();
        event["type"] = json!(kind);
        event["sequence_number"] = json!(n);
        format!("event: {kind}\ndata: {event}\n\n")
    });
    let body: String = frames.collect();
    let came = body.clone();
    let upstream = Upstream::start(move |_| Given::new("text/event-stream", &came));
    let recorder = server(&folder, Some(&upstream));
    let asked = json!({"model": "gpt-5", "stream": true, "input": "hi"});
    let post = |server: &Server| plain::post(server.mock.address(), "/v1/responses", &[], asked.to_string()).body;
    assert_eq!(String::from_utf8_lossy(&post(&recorder)), body);
    let told = recorder.log.to_vec();
    assert!(told.iter().any(|line| line.contains("kept as it was on the wire as well")), "{told:?}");
    drop(recorder);
    assert_eq!(String::from_utf8_lossy(&post(&server(&folder, None))), body);
}
