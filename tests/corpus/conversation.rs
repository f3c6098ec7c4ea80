//! A second turn: what a client holds of an answer, sent back as history, with results for the tools that it calls.

use super::captures::Wanted;
use super::judge;
use super::session::Got;
use aimock::json::Node;
use aimock::provider::Collapsed;
use serde_json::{Map, Value, json};

/// What a client holds of an answer.
pub(crate) fn held(asked: &Wanted, got: &Got) -> Option<Node<'static>> {
    let codec = asked.found().codec;
    let framing = got.framing(asked.framing());
    let collapsed = judge::collapsed(codec, framing, got.content_type.as_deref().unwrap_or(""), &got.body);
    match collapsed {
        Ok((Collapsed::Native { native, .. }, _)) => Some(native),
        _ => None,
    }
}

/// The next request of the conversation; `None` where the wire has no history of this kind.
pub(crate) fn second_turn(asked: &Wanted, held: &Node<'_>) -> Option<Wanted> {
    let mut body: Map<String, Value> = serde_json::from_slice(&asked.body).ok()?;
    let held = held.to_value();
    match asked.found().codec.wire() {
        "openai-chat" => chat(&mut body, &held)?,
        "openai-responses" => responses(&mut body, &held)?,
        "anthropic-messages" | "bedrock-messages" => anthropic(&mut body, &held)?,
        "gemini" => gemini(&mut body, &held)?,
        "bedrock-converse" => converse(&mut body, &held)?,
        "cohere-v2-chat" | "ollama-chat" => messages(&mut body, &held["message"])?,
        "cohere-v1-chat" => cohere_v1(&mut body, &held)?,
        _ => return None,
    }
    let mut next = asked.clone();
    next.body = Value::Object(body).to_string().into_bytes();
    Some(next)
}

fn list<'b>(body: &'b mut Map<String, Value>, name: &str) -> Option<&'b mut Vec<Value>> {
    body.entry(name).or_insert_with(|| json!([])).as_array_mut()
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn chat(body: &mut Map<String, Value>, held: &Value) -> Option<()> {
    messages(body, &held["choices"][0]["message"])
}

/// The message as it came; then a result a call, or a question.
fn messages(body: &mut Map<String, Value>, message: &Value) -> Option<()> {
    let history = list(body, "messages")?;
    let mut message = Value::Object(message.as_object()?.clone());
    if message.get("role").is_none() {
        message["role"] = json!("assistant"); // not all services say so, and their clients do
    }
    history.push(message.clone());
    let results = each(&message["tool_calls"]).map(|call| {
        let mut result = json!({"role": "tool", "content": "done"});
        if let Some(id) = call.get("id") {
            result["tool_call_id"] = id.clone();
        }
        result
    });
    let results: Vec<Value> = results.collect();
    let question = results.is_empty().then(|| json!({"role": "user", "content": "go on"}));
    history.extend(results.into_iter().chain(question));
    Some(())
}

fn responses(body: &mut Map<String, Value>, held: &Value) -> Option<()> {
    if let Some(Value::String(text)) = body.get("input") {
        let message = json!([{"role": "user", "content": text}]);
        body.insert("input".into(), message);
    }
    let input = list(body, "input")?;
    let mut asked = false;
    input.extend(each(&held["output"]).cloned());
    for item in each(&held["output"]) {
        let kind = item["type"].as_str().unwrap_or("");
        if matches!(kind, "function_call" | "custom_tool_call") {
            input.push(json!({"type": format!("{kind}_output"), "call_id": item["call_id"], "output": "done"}));
            asked = true;
        }
    }
    if !asked {
        input.push(json!({"role": "user", "content": "go on"}));
    }
    Some(())
}

fn anthropic(body: &mut Map<String, Value>, held: &Value) -> Option<()> {
    let results: Vec<Value> = each(&held["content"])
        .filter(|block| block["type"] == "tool_use")
        .map(|block| json!({"type": "tool_result", "tool_use_id": block["id"], "content": "done"}))
        .collect();
    let next = if results.is_empty() { json!("go on") } else { json!(results) };
    list(body, "messages")?.extend([
        json!({"role": "assistant", "content": held.get("content")?}),
        json!({"role": "user", "content": next}),
    ]);
    Some(())
}

fn gemini(body: &mut Map<String, Value>, held: &Value) -> Option<()> {
    if body.get("contents").is_some_and(Value::is_object) {
        let only = body["contents"].take();
        body.insert("contents".into(), json!([only]));
    }
    let content = held["candidates"][0].get("content")?;
    let results: Vec<Value> = each(&content["parts"])
        .filter_map(|part| part.get("functionCall"))
        .map(|call| {
            let mut result = json!({"name": call["name"], "response": {"output": "done"}});
            if let Some(id) = call.get("id") {
                result["id"] = id.clone();
            }
            json!({"functionResponse": result})
        })
        .collect();
    let next = if results.is_empty() { json!([{"text": "go on"}]) } else { json!(results) };
    list(body, "contents")?.extend([content.clone(), json!({"role": "user", "parts": next})]);
    Some(())
}

fn converse(body: &mut Map<String, Value>, held: &Value) -> Option<()> {
    let message = held["output"].get("message")?;
    let results: Vec<Value> = each(&message["content"])
        .filter_map(|block| block.get("toolUse"))
        .map(|call| json!({"toolResult": {"toolUseId": call["toolUseId"], "content": [{"text": "done"}]}}))
        .collect();
    let next = if results.is_empty() { json!([{"text": "go on"}]) } else { json!(results) };
    let mut message = message.clone();
    message["role"] = json!("assistant");
    list(body, "messages")?.extend([message, json!({"role": "user", "content": next})]);
    Some(())
}

fn cohere_v1(body: &mut Map<String, Value>, held: &Value) -> Option<()> {
    let asked = body.get("message").cloned()?;
    let calls = held["tool_calls"].clone();
    let history = list(body, "chat_history")?;
    history.push(json!({"role": "USER", "message": asked}));
    history.push(json!({"role": "CHATBOT", "message": held["text"], "tool_calls": calls}));
    body.insert("message".into(), json!("go on"));
    Some(())
}

/// The end of a request's history, to be told.
pub(crate) fn history(asked: &Wanted) -> String {
    let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let lists = ["messages", "input", "contents", "chat_history"].into_iter().filter_map(|name| body[name].as_array());
    let last = lists.flatten().rev().take(3).map(ToString::to_string).collect::<Vec<_>>().join(" < ");
    last.chars().take(1500).collect()
}

// ------------------------------------------------------------------------------------------------------- other words

/// The same request with another value at one place: a leaf at a time, `most` of them, spread over the body.
pub(crate) fn with_one_leaf_changed(asked: &Wanted, most: usize) -> Vec<(String, Wanted)> {
    let Ok(body) = serde_json::from_slice::<Value>(&asked.body) else { return Vec::new() };
    let mut places = Vec::new();
    leaves(&body, &mut String::new(), &mut places);
    let step = places.len().div_ceil(most).max(1);
    let changed = places.into_iter().step_by(step).filter_map(|place| {
        let mut body = body.clone();
        let leaf = body.pointer_mut(&place)?;
        *leaf = match leaf {
            Value::String(text) => json!(format!("{text} otherwise")),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => json!(whole.wrapping_add(1)),
                None => json!(number.as_f64()? + 0.5),
            },
            Value::Bool(flag) => json!(!*flag),
            _ => return None,
        };
        Some((place, Wanted { body: body.to_string().into_bytes(), ..asked.clone() }))
    });
    changed.collect()
}

fn leaves(value: &Value, place: &mut String, found: &mut Vec<String>) {
    let len = place.len();
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                place.push('/');
                place.push_str(&name.replace('~', "~0").replace('/', "~1"));
                leaves(value, place, found);
                place.truncate(len);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                place.push_str(&format!("/{i}"));
                leaves(item, place, found);
                place.truncate(len);
            }
        }
        _ => found.push(place.clone()),
    }
}
