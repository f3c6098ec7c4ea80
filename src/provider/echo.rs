//! What a client sends back of an answer, as the history of its next request, in one form.
//!
//! SDKs send back all members that a service gave them, and a replay gives those that a turn keeps: what says nothing, or
//! only describes the answer, is no part of what is asked. Without this a conversation could be recorded and not replayed.

use serde_json::{Map, Value};

/// An object's members.
pub(super) type Members = Map<String, Value>;

/// The objects in a list that a member of the body, or of one of its messages, holds.
pub(super) fn objects(of: Option<&mut Value>) -> impl Iterator<Item = &mut Members> {
    of.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// The model's messages.
pub(super) fn of_model(body: &mut Value) -> impl Iterator<Item = &mut Members> {
    let messages = objects(body.get_mut("messages"));
    messages.filter(|message| message.get("role").and_then(Value::as_str) == Some("assistant"))
}

/// Null, or empty text, list or object.
pub(super) fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Removes those of these members that say nothing.
pub(super) fn drop_empty(members: &mut Members, names: &[&str]) {
    members.retain(|name, value| !(names.contains(&name.as_str()) && says_nothing(value)));
}
