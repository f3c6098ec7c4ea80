//! Conversations over the Responses API: items that the service holds, and answers that say a thing in two ways.

mod common;

use common::chat::{Got, ask_at, stream_of};
use common::server::{Folder, Server, record, serve};
use common::{Script, ScriptedUpstream};
use serde_json::{Value, json};

const RESPONSES: &str = "/v1/responses";

fn event(event: &Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
}

/// A stream that ends with these items, and had these before.
fn streamed(done: &[Value], listed: &[Value]) -> Script {
    let ids = json!({"id": "resp_1", "object": "response", "model": "gpt-5", "status": "in_progress", "output": []});
    let mut events = vec![event(&json!({"type": "response.created", "response": ids}))];
    for (n, item) in done.iter().enumerate() {
        events.push(event(&json!({"type": "response.output_item.done", "output_index": n, "item": item})));
    }
    let mut response = ids.clone();
    response["status"] = "completed".into();
    response["output"] = listed.into();
    events.push(event(&json!({"type": "response.completed", "response": response})));
    stream_of(&events)
}

fn reasoning(blob: Option<&str>) -> Value {
    json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": blob})
}

fn call() -> Value {
    json!({"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}", "status": "completed"})
}

async fn ask(server: &Server, input: &Value) -> Got {
    let body = json!({"model": "gpt-5", "stream": true, "input": input}).to_string();
    ask_at(server.address(), RESPONSES, "", body).await
}

/// The items of a stream's last event.
fn items(got: &Got) -> Value {
    let last = got.body.split("\n\n").filter_map(|event| event.split_once("data: ")).last().expect("an event").1;
    serde_json::from_str::<Value>(last).expect("JSON")["response"]["output"].clone()
}

/// What the Vercel AI SDK asks next by default: what the service holds is named by its id.
fn referring(got: &Got) -> Value {
    let items = items(got);
    let mut input = vec![json!({"role": "user", "content": "hi"})];
    for item in items.as_array().expect("items") {
        input.push(json!({"type": "item_reference", "id": item["id"]}));
    }
    input.push(json!({"type": "function_call_output", "call_id": "call_1", "output": "sunny"}));
    input.into()
}

#[tokio::test]
async fn a_conversation_of_references_finds_its_way_back() {
    let folder = Folder::new();
    let first = [reasoning(None), call()];
    let message = json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "sunny", "annotations": []}]});
    let upstream = ScriptedUpstream::start(vec![
        streamed(&first, &first),
        streamed(std::slice::from_ref(&message), std::slice::from_ref(&message)),
    ]);
    let hi = json!("hi");
    let server = record(&folder, &upstream.url(), |_| {});
    let turn = ask(&server, &hi).await;
    let asked = referring(&turn);
    assert_eq!(ask(&server, &asked).await.header("x-aimock-source"), "proxy");
    drop(server);
    let server = serve(&folder, |config| config.strict = true);
    let replayed = ask(&server, &hi).await;
    assert_eq!(items(&replayed), items(&turn));
    assert_eq!(referring(&replayed), asked);
    assert_eq!(ask(&server, &referring(&replayed)).await.how(), (200, "fixture", "exact"));
}

#[tokio::test]
async fn a_blob_that_differs_between_two_events_is_kept_as_it_came() {
    let folder = Folder::new();
    let upstream = ScriptedUpstream::start(vec![
        streamed(&[reasoning(Some("one")), call()], &[reasoning(Some("two")), call()]),
        streamed(&[reasoning(Some("one")), call()], &[reasoning(Some("one")), call()]),
    ]);
    let server = record(&folder, &upstream.url(), |_| {});
    let (differs, alike) = (ask(&server, &json!("differs")).await, ask(&server, &json!("alike")).await);
    server.logged("kept as it was on the wire").await;
    let kept: Vec<bool> = folder.recordings().iter().map(|recording| recording.get("wire").is_some()).collect();
    assert_eq!(kept, [true, false]);
    drop(server);
    let server = serve(&folder, |config| config.strict = true);
    assert_eq!(ask(&server, &json!("differs")).await.body, differs.body);
    assert_eq!(items(&ask(&server, &json!("alike")).await), items(&alike));
}

#[tokio::test]
async fn requests_that_say_nothing_themselves_are_answered() {
    let folder = Folder::new();
    let asks = [
        json!({"prompt": {"id": "pmpt_1"}, "stream": true}),
        json!({"prompt": {"id": "pmpt_2"}, "stream": true}),
        json!({"model": "gpt-5", "stream": true, "previous_response_id": "resp_1",
            "input": [{"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": true}]}),
    ];
    let upstream = ScriptedUpstream::start(asks.iter().map(|_| streamed(&[call()], &[call()])).collect());
    let server = record(&folder, &upstream.url(), |_| {});
    for ask in &asks {
        let got = ask_at(server.address(), RESPONSES, "", ask.to_string()).await;
        assert_eq!(got.header("x-aimock-source"), "proxy", "{ask}");
    }
    drop(server);
    let server = serve(&folder, |config| config.strict = true);
    for ask in &asks {
        let got = ask_at(server.address(), RESPONSES, "", ask.to_string()).await;
        assert_eq!(got.how(), (200, "fixture", "exact"), "{ask}");
    }
}
