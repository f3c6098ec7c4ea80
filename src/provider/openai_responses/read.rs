//! What of a response matching, people and other wires need.

use super::super::finish_in;
use super::{FINISH, texts};
use crate::json::Node;
use crate::reply::{Part, Reply, ToolCall};
use std::borrow::Cow;

pub(super) fn read(native: &Node<'_>) -> Reply {
    let word = |name: &str| native.word(name).map(str::to_owned);
    let reason = native.get("incomplete_details").and_then(|details| details.str("reason"));
    let mut reply = Reply {
        id: word("id"),
        model: word("model"),
        created: native.get("created_at").and_then(Node::as_i64).filter(|created| *created != 0),
        finish: reason.or(native.str("status")).map(|word| finish_in(&FINISH, word)),
        usage: native.get("usage").map(Node::to_map).filter(|usage| !usage.is_empty()),
        ..Reply::default()
    };
    let items = native.get("output").map_or(&[][..], Node::items);
    items.iter().for_each(|item| add(&mut reply, item));
    if reply.finish.as_deref() == Some("stop") && reply.tool_calls().next().is_some() {
        reply.finish = Some("tool_calls".into());
    }
    reply
}

fn add(reply: &mut Reply, item: &Node<'_>) {
    match item.str("type") {
        Some("message") => {
            let texts = texts(item.get("content")).filter(|text| !text.is_empty());
            reply.parts.extend(texts.map(Part::text));
            let parts = item.get("content").map_or(&[][..], Node::items);
            for refusal in parts.iter().filter_map(|part| part.str("refusal")).filter(|text| !text.is_empty()) {
                reply.refusal.get_or_insert_default().push_str(refusal);
            }
        }
        Some("reasoning") => reasoning(reply, item),
        Some(kind @ ("function_call" | "custom_tool_call")) => {
            let custom = kind == "custom_tool_call";
            let arguments = match item.get("arguments").or_else(|| item.get("input")) {
                Some(Node::Text(text)) => text.clone(),
                Some(object) => Cow::Owned(object.to_json()),
                None => Cow::Borrowed(""),
            };
            reply.parts.push(Part::ToolCall(ToolCall {
                id: item.word("call_id").map(str::to_owned),
                name: item.word("name").unwrap_or("").to_owned(),
                arguments: arguments.into_owned(),
                signature: None,
                custom,
            }));
        }
        _ => {} // not for other eyes
    }
}

/// Its summaries, or its text where it has none; its signature proves all of it.
fn reasoning(reply: &mut Reply, item: &Node<'_>) {
    let told = |list: &str| texts(item.get(list)).filter(|text| !text.is_empty()).map(str::to_owned).collect();
    let mut thoughts: Vec<String> = told("summary");
    if thoughts.is_empty() {
        thoughts = told("content");
    }
    let signature = item.str("encrypted_content").filter(|text| !text.is_empty()).map(str::to_owned);
    if thoughts.is_empty() && signature.is_some() {
        thoughts.push(String::new());
    }
    reply.parts.extend(thoughts.into_iter().map(|text| Part::Reasoning { text, signature: None }));
    if let (Some(_), Some(Part::Reasoning { signature: last, .. })) = (&signature, reply.parts.last_mut()) {
        *last = signature;
    }
}
