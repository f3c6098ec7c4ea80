//! The model's messages of a conversation in one form: with what a replay gives, however the service wrote it.

use super::super::echo::{Members, objects, of_model, says_nothing};
use serde_json::Value;

/// What of a message of the model is asked. The rest (annotations, reasoning and what proves it, filter results…) follows
/// from it, or is not the same in a replay.
const MESSAGE: [&str; 9] =
    ["role", "content", "name", "refusal", "tool_calls", "function_call", "audio", "prefix", "partial"];

/// What of a call is asked.
const CALL: [&str; 4] = ["id", "type", "function", "custom"];

/// Brings the model's messages of a request's body into one form.
pub(super) fn one_form(body: &mut Value) {
    for message in of_model(body) {
        message.retain(|name, value| MESSAGE.contains(&name.as_str()) && !says_nothing(value));
        let content = message.entry("content").or_insert(Value::Null);
        if let Some(text) = joined(content) {
            *content = text;
        }
        for call in objects(message.get_mut("tool_calls")) {
            one_call(call);
        }
    }
}

/// The text of content in parts, which only some services give.
fn joined(content: &Value) -> Option<Value> {
    let texts = content.as_array()?.iter().filter_map(|part| part.get("text").and_then(Value::as_str));
    Some(Value::String(texts.collect()))
}

fn one_call(call: &mut Members) {
    call.retain(|name, value| CALL.contains(&name.as_str()) && !value.is_null());
    if call.contains_key("function") {
        call.entry("type").or_insert_with(|| "function".into());
    }
    if let Some(arguments) = call.get_mut("function").and_then(|f| f.get_mut("arguments"))
        && arguments.is_object()
    {
        *arguments = arguments.to_string().into();
    }
}
