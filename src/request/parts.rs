//! What a request consists of, as short hashes: enough to say which part of it changed, and nothing of what it said.
//!
//! A number or a flag is kept as it is, a text as `#` and 8 hex digits, an object as its members (`options.seed`), a
//! list of messages or tools as one text an entry: its role or name, `#` and the hash. Hashes are over canonical JSON
//! without volatile text.

use super::canonical::{Hash, write};
use serde_json::{Map, Value};

/// The parts of a request, by name.
pub type Parts = Map<String, Value>;

/// How deep objects are taken apart.
const MAX_DEPTH: usize = 2;

/// Longest label of an entry, in characters.
const LABEL_CHARS: usize = 40;

/// Most changes told in one explanation.
const MAX_TOLD: usize = 6;

/// The parts of a canonical body, and beside them the wire and the model.
pub fn parts(wire: &str, model: &str, body: &Value) -> Parts {
    let mut parts = Parts::new();
    parts.insert("wire".into(), wire.into());
    parts.insert("model".into(), model.into());
    if let Value::Object(members) = body {
        take_apart("", members, MAX_DEPTH, &mut parts);
    }
    parts
}

fn take_apart(prefix: &str, members: &Map<String, Value>, depth: usize, parts: &mut Parts) {
    let mut members: Vec<_> = members.iter().collect();
    members.sort_unstable_by_key(|(name, _)| *name);
    for (name, value) in members {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Object(inner) if depth > 1 && !inner.is_empty() => take_apart(&name, inner, depth - 1, parts),
            Value::Number(_) | Value::Bool(_) | Value::Null => drop(parts.insert(name, value.clone())),
            Value::Array(items) if items.iter().any(Value::is_object) => {
                let entries = entries(items).into_iter().map(|item| format!("{}{}", label(item), short(item)));
                parts.insert(name, entries.map(Value::from).collect());
            }
            _ if parts.contains_key(&name) => {} // the model, which is told by its name
            other => drop(parts.insert(name, short(other).into())),
        }
    }
}

fn short(value: &Value) -> String {
    let mut text = Vec::new();
    write(&value.into(), true, &mut text);
    format!("#{}", Hash::of(&text).short())
}

/// The entries of a list; those of its only member where an entry is a list itself (Gemini's `functionDeclarations`).
fn entries(items: &[Value]) -> Vec<&Value> {
    let mut entries = Vec::with_capacity(items.len());
    for item in items {
        let only = item.as_object().filter(|members| members.len() == 1).and_then(|members| members.values().next());
        match only.and_then(Value::as_array) {
            Some(inner) => entries.extend(inner),
            None => entries.push(item),
        }
    }
    entries
}

/// What an entry is called: a message's role, a tool's name, the kind of anything else.
fn label(item: &Value) -> String {
    let places = ["/role", "/name", "/function/name", "/toolSpec/name", "/type"];
    let name = places.iter().find_map(|place| item.pointer(place)?.as_str()).unwrap_or("");
    name.chars().filter(|c| *c != '#').take(LABEL_CHARS).collect()
}

/// What differs between two requests, in words that lead to the place: `tools[0] (get_weather) differs`.
pub fn changed(recorded: &Parts, asked: &Parts) -> Vec<String> {
    if let (Some(Value::String(old)), Some(Value::String(new))) = (recorded.get("wire"), asked.get("wire"))
        && old != new
    {
        return vec![format!("it is a request to {new}, was one to {old}")];
    }
    let mut told = Vec::new();
    let only_asked = asked.keys().filter(|name| !recorded.contains_key(*name));
    for name in recorded.keys().chain(only_asked) {
        match (recorded.get(name), asked.get(name)) {
            (Some(Value::Array(old)), Some(Value::Array(new))) => changed_entries(name, old, new, &mut told),
            (Some(old), Some(new)) if old != new => told.push(match (shown(old), shown(new)) {
                (Some(old), Some(new)) => format!("{name} is {new}, was {old}"),
                _ => format!("{name} differs"),
            }),
            (Some(_), None) => told.push(format!("{name} is missing")),
            (None, Some(new)) => told.push(match shown(new) {
                Some(new) => format!("{name} ({new}) is new"),
                None => format!("{name} is new"),
            }),
            _ => {}
        }
    }
    if told.len() > MAX_TOLD {
        let more = told.len() - MAX_TOLD;
        told.truncate(MAX_TOLD);
        told.push(format!("and {more} more"));
    }
    told
}

/// A value that is kept as it is.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text.starts_with('#') => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(_) | Value::Object(_) => None,
        literal => Some(literal.to_string()),
    }
}

/// What differs between two lists, beyond what they begin and end with alike.
fn changed_entries(name: &str, old: &[Value], new: &[Value], told: &mut Vec<String>) {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let same_end = old[start..].iter().rev().zip(new[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[start..old.len() - same_end], &new[start..new.len() - same_end]);
    let title = |i: usize, entry: &Value| {
        let label = label_of(entry);
        if label.is_empty() { format!("{name}[{}]", start + i) } else { format!("{name}[{}] ({label})", start + i) }
    };
    if old.len() == new.len() {
        for (i, (old, new)) in old.iter().zip(new).enumerate().filter(|(_, (old, new))| old != new) {
            told.push(if label_of(old) == label_of(new) {
                format!("{} differs", title(i, new))
            } else {
                format!("{name}[{}] is {}, was {}", start + i, label_of(new), label_of(old))
            });
        }
        return;
    }
    let named = |label: &str, entries: &[Value]| entries.iter().any(|entry| label_of(entry) == label);
    for (i, entry) in new.iter().enumerate().filter(|(_, entry)| !old.contains(entry)) {
        let how =
            if named(label_of(entry), old) && !label_of(entry).is_empty() { "differs or is new" } else { "is new" };
        told.push(format!("{} {how}", title(i, entry)));
    }
    for (i, entry) in old.iter().enumerate().filter(|(_, entry)| !new.contains(entry)) {
        if label_of(entry).is_empty() || !named(label_of(entry), new) {
            told.push(format!("{} is missing", title(i, entry)));
        }
    }
    let (had, has) = (old.len() + start + same_end, new.len() + start + same_end);
    told.push(format!("{name} has {has} entries, the recording {had}"));
}

fn label_of(entry: &Value) -> &str {
    entry.as_str().and_then(|text| text.split('#').next()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(old: Value, new: Value) -> Vec<String> {
        changed(&parts("w", "m", &old), &parts("w", "m", &new))
    }

    #[test]
    fn parameters_tell_their_values() {
        let old = json!({"temperature": 1, "top_p": 1, "stop": "a", "options": {"seed": 1, "deep": {"x": {"y": 1}}}});
        let new = json!({"temperature": 0.5, "seed": 7, "stop": "b", "options": {"seed": 2, "deep": {"x": {"y": 2}}}});
        assert_eq!(
            told(old, new),
            [
                "options.deep differs",
                "options.seed is 2, was 1",
                "stop differs",
                "temperature is 0.5, was 1",
                "top_p is missing",
                "seed (7) is new"
            ]
        );
    }

    #[test]
    fn messages_tell_their_place_and_role() {
        let message = |role: &str, text: &str| json!({"role": role, "content": text});
        let old = json!({"messages": [message("system", "a"), message("user", "b"), message("user", "c")]});
        let with = |messages: &[Value]| json!({ "messages": messages });
        let [a, b, c] = [message("system", "a"), message("user", "b"), message("user", "c")];
        let other = message("system", "A");
        assert_eq!(told(old.clone(), with(&[other, b.clone(), c.clone()])), ["messages[0] (system) differs"]);
        let reply = message("assistant", "b");
        assert_eq!(
            told(old.clone(), with(&[a.clone(), reply.clone(), c.clone()])),
            ["messages[1] is assistant, was user"]
        );
        assert_eq!(
            told(old.clone(), with(&[a.clone(), b.clone(), reply, c.clone()])),
            ["messages[2] (assistant) is new", "messages has 4 entries, the recording 3"]
        );
        assert_eq!(
            told(old, with(&[a, c])),
            ["messages[1] (user) is missing", "messages has 2 entries, the recording 3"]
        );
    }

    #[test]
    fn tools_tell_their_names_however_a_wire_nests_them() {
        let gemini = |text: &str| json!({"tools": [{"functionDeclarations": [{"name": "a"}, {"name": "get_time", "description": text}]}]});
        assert_eq!(told(gemini("x"), gemini("y")), ["tools[1] (get_time) differs"]);
        let bedrock = |text: &str| json!({"toolConfig": {"tools": [{"toolSpec": {"name": "a", "description": text}}]}});
        assert_eq!(told(bedrock("x"), bedrock("y")), ["toolConfig.tools[0] (a) differs"]);
        let chat = |name: &str| json!({"tools": [{"type": "function", "function": {"name": name}}]});
        assert_eq!(told(chat("x"), chat("y")), ["tools[0] is y, was x"]);
    }

    #[test]
    fn wires_and_models_are_told_by_name() {
        let body = json!({"model": "b", "x": 1});
        assert_eq!(changed(&parts("w", "a", &body), &parts("w", "b", &body)), ["model is b, was a"]);
        assert_eq!(changed(&parts("v", "a", &body), &parts("w", "b", &body)), ["it is a request to w, was one to v"]);
    }

    #[test]
    fn what_was_said_is_not_kept() {
        let body = json!({"system": "be kind", "messages": [{"role": "user", "content": "hello"}]});
        let text = serde_json::to_string(&parts("w", "m", &body)).unwrap();
        assert!(!text.contains("kind") && !text.contains("hello"), "{text}");
    }
}
