//! What of a completion matching, people and other wires need: its first choice.

use super::super::finish_in;
use super::{FINISH, LEGACY_CALL, REASONING};
use crate::json::Node;
use crate::reply::{Part, Reply, ToolCall};
use std::borrow::Cow;

pub(super) fn read(native: &Node<'_>) -> Reply {
    let text = |node: &Node<'_>, name: &str| node.str(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let mut reply = Reply {
        id: text(native, "id"),
        model: text(native, "model"),
        created: native.get("created").and_then(Node::as_i64).filter(|created| *created != 0),
        system_fingerprint: text(native, "system_fingerprint"),
        usage: usage(native),
        ..Reply::default()
    };
    let choices = native.get("choices").map_or(&[][..], Node::items);
    let first = choices.iter().find(|c| c.get("index").and_then(Node::as_i64).unwrap_or(0) == 0);
    let Some(choice) = first.or(choices.first()) else { return reply };
    reply.finish = text(choice, "finish_reason").map(|word| finish_in(&FINISH, &word));
    let Some(message) = choice.get("message").or_else(|| choice.get("delta")) else { return reply };
    reply.role = text(message, "role").filter(|role| role != "assistant");
    reply.refusal = text(message, "refusal");
    let (reasoning, texts) = content(message);
    let reasoning = reasoned(message).unwrap_or(reasoning);
    if !reasoning.is_empty() {
        reply.parts.push(Part::Reasoning { text: reasoning, signature: None });
    }
    reply.parts.extend(texts.into_iter().filter(|text| !text.is_empty()).map(Part::text));
    let calls = message.get("tool_calls").map_or(&[][..], Node::items);
    reply.parts.extend(calls.iter().filter_map(call).map(Part::ToolCall));
    if calls.is_empty() {
        // Some services send one that says nothing.
        let legacy = message.get(LEGACY_CALL).map(|function| called(function, "arguments"));
        let legacy = legacy.filter(|call| !call.name.is_empty() || !call.arguments.is_empty());
        reply.parts.extend(legacy.map(Part::ToolCall));
    }
    reply
}

/// Groq puts a stream's usage into a member of its own. <https://console.groq.com/docs/api-reference>
fn usage(native: &Node<'_>) -> Option<crate::reply::Usage> {
    let groq = || native.get("x_groq")?.get("usage");
    native.get("usage").or_else(groq).map(Node::to_map).filter(|usage| !usage.is_empty())
}

/// The same text under one to three names: the first that has any.
fn reasoned(message: &Node<'_>) -> Option<String> {
    let plain = [REASONING, "reasoning"].into_iter().find_map(|name| message.str(name).filter(|text| !text.is_empty()));
    let details = || {
        // <https://openrouter.ai/docs/use-cases/reasoning-tokens#preserving-reasoning-blocks>
        let details = message.get("reasoning_details")?.items().iter();
        Some(details.filter_map(|d| d.str("text").or(d.str("summary"))).collect::<String>())
    };
    plain.map(str::to_owned).or_else(details).filter(|text| !text.is_empty())
}

/// The thoughts and the texts in a message's content: a string, or a list of parts.
fn content(message: &Node<'_>) -> (String, Vec<String>) {
    let (mut reasoning, mut texts) = (String::new(), Vec::new());
    let parts = match message.get("content") {
        Some(Node::List(parts)) => &parts[..],
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    for part in parts {
        texts.extend(part.as_str().or(part.str("text")).map(str::to_owned));
        match part.get("thinking").or_else(|| part.get("summary")) {
            Some(Node::Text(text)) => reasoning.push_str(text),
            Some(Node::List(parts)) => parts.iter().filter_map(|p| p.str("text")).for_each(|t| reasoning.push_str(t)),
            _ => {}
        }
    }
    (reasoning, texts)
}

fn call(node: &Node<'_>) -> Option<ToolCall> {
    let call = match (node.get("function"), node.get("custom")) {
        (Some(function), _) => called(function, "arguments"),
        (None, Some(custom)) => ToolCall { custom: true, ..called(custom, "input") },
        (None, None) => return None,
    };
    let google = node.get("extra_content").and_then(|extra| extra.get("google"));
    let signature = google.and_then(|google| google.str("thought_signature")).map(str::to_owned);
    Some(ToolCall { id: node.word("id").map(str::to_owned), signature, ..call })
}

fn called(node: &Node<'_>, arguments: &str) -> ToolCall {
    let arguments = match node.get(arguments) {
        Some(Node::Text(text)) => text.clone(),
        Some(object) => Cow::Owned(object.to_json()),
        None => Cow::Borrowed(""),
    };
    ToolCall {
        name: node.word("name").unwrap_or("").to_owned(),
        arguments: arguments.into_owned(),
        ..ToolCall::default()
    }
}
