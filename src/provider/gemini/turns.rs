//! One form for a conversation that clients write in several.
//!
//! The SDKs' chats keep each chunk of a streamed answer as a content of its own, so how a history looks depends on how
//! the answer was cut: the model's contents in a row are one turn, and its text parts in a row one part.

use serde_json::Value;

/// Joins what belongs together in a request's body.
pub(super) fn join(body: &mut Value) {
    let Some(Value::Array(contents)) = body.get_mut("contents") else { return };
    let mut joined: Vec<Value> = Vec::with_capacity(contents.len());
    for mut content in contents.drain(..) {
        match (joined.last_mut().and_then(parts_of_model), parts_of_model(&mut content)) {
            (Some(turn), Some(more)) => turn.append(more),
            _ => joined.push(content),
        }
    }
    *contents = joined;
    contents.iter_mut().filter_map(parts_of_model).for_each(join_texts);
}

fn parts_of_model(content: &mut Value) -> Option<&mut Vec<Value>> {
    let of_model = content.get("role").and_then(Value::as_str) == Some("model");
    content.get_mut("parts").filter(|_| of_model)?.as_array_mut()
}

fn join_texts(parts: &mut Vec<Value>) {
    let mut joined: Vec<Value> = Vec::with_capacity(parts.len());
    for mut part in parts.drain(..) {
        match (joined.last_mut().and_then(text_alone), text_alone(&mut part)) {
            (_, Some((text, _))) if text.is_empty() => {}
            (Some((before, thought)), Some((text, also))) if thought == also => before.push_str(text),
            _ => joined.push(part),
        }
    }
    *parts = joined;
}

/// The text of a part that has no more than that, and whether it is a thought.
fn text_alone(part: &mut Value) -> Option<(&mut String, bool)> {
    let members = part.as_object_mut()?;
    let thought = members.get("thought").and_then(Value::as_bool).unwrap_or(false);
    let alone = members.keys().all(|key| key == "text" || key == "thought");
    match members.get_mut("text") {
        Some(Value::String(text)) if alone => Some((text, thought)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::join;
    use serde_json::{Value, json};

    fn joined(contents: &Value) -> Value {
        let mut body = json!({"contents": contents, "tools": []});
        join(&mut body);
        body["contents"].take()
    }

    #[test]
    fn a_streamed_turn_looks_as_a_whole_one() {
        let whole = json!([
            {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
            {"role": "model", "parts": [{"text": "think", "thought": true}, {"text": "Hello"},
                                        {"functionCall": {"name": "f"}, "thoughtSignature": "s"}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f"}}]},
            {"role": "user", "parts": [{"text": "c"}]},
        ]);
        let streamed = json!([
            {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
            {"role": "model", "parts": [{"text": "thi", "thought": true}]},
            {"role": "model", "parts": [{"text": "nk", "thought": true}]},
            {"role": "model", "parts": [{"text": "He"}, {"text": "llo"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f"}, "thoughtSignature": "s"}]},
            {"role": "model", "parts": [{"text": ""}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f"}}]},
            {"role": "user", "parts": [{"text": "c"}]},
        ]);
        assert_eq!(joined(&streamed), whole);
        assert_eq!(joined(&whole), whole);
    }

    #[test]
    fn signed_text_and_what_is_no_list_stay_as_they_are() {
        for same in [
            json!([{"role": "model", "parts": [{"text": "a"}, {"text": "", "thoughtSignature": "s"}, {"text": "b"}]}]),
            json!([{"role": "model", "parts": {"text": "a"}}, {"role": "model"}, "text", 1]),
            json!({"role": "model", "parts": [{"text": "a"}, {"text": "b"}]}),
        ] {
            assert_eq!(joined(&same), same);
        }
    }
}
