//! A turn as a response. <https://platform.openai.com/docs/api-reference/responses/object>

use super::super::{Encoding, finish_out, usage_node};
use super::{COMPLETED, FINISH, INCOMPLETE, USAGE, WIRE};
use crate::json::{Node, object};
use crate::reply::{Part, Reply, ToolCall};
use crate::request::Request;
use std::borrow::Cow;

pub(super) fn write<'r>(reply: &'r Reply, to: &Encoding<'r>) -> Node<'r> {
    let word = finish_out(&FINISH, reply.finish_word());
    let output = items(reply, to, word == COMPLETED);
    let (status, details) = match &*word {
        COMPLETED => (COMPLETED, Node::Null),
        INCOMPLETE => (INCOMPLETE, Node::Null), // it never said why
        _ => (INCOMPLETE, object! { "reason": word }),
    };
    let number = |text: &'static str| Node::Number(Cow::Borrowed(text));
    let mut answer = object! {
        "id": reply.id.as_deref().map_or_else(|| Cow::Owned(to.id("resp_", 0)), Cow::Borrowed),
        "object": "response",
        "created_at": reply.created.unwrap_or(to.now),
        "status": status,
        "background": false,
        "error": Node::Null,
        "frequency_penalty": number("0.0"),
        "incomplete_details": details,
        "instructions": Node::Null,
        "max_output_tokens": Node::Null,
        "max_tool_calls": Node::Null,
        "model": reply.model.as_deref().unwrap_or(&to.request.model),
        "output": output,
        "parallel_tool_calls": true,
        "presence_penalty": number("0.0"),
        "previous_response_id": Node::Null,
        "reasoning": object! { "effort": Node::Null, "summary": Node::Null },
        "service_tier": "default",
        "store": true,
        "temperature": number("1.0"),
        "text": object! { "format": object! { "type": "text" }, "verbosity": "medium" },
        "tool_choice": "auto",
        "tools": Vec::new(),
        "top_logprobs": 0i64,
        "top_p": number("1.0"),
        "truncation": "disabled",
        "usage": usage(reply, to.request),
        "user": Node::Null,
        "metadata": Node::Object(Vec::new()),
    };
    echo(&mut answer, to.request);
    answer
}

/// Repeats what was asked, as the service does; of what is an object, the members.
fn echo<'r>(answer: &mut Node<'r>, request: &'r Request<'r>) {
    for (name, raw) in &request.echo {
        match (Node::of(raw), answer.get_mut(name)) {
            (Ok(Node::Null) | Err(_), _) => {}
            (Ok(Node::Text(tier)), _) if *name == "service_tier" && tier == "auto" => {}
            (Ok(Node::Object(members)), Some(default @ Node::Object(_))) => {
                members.into_iter().for_each(|(name, value)| default.set(name, value));
            }
            (Ok(value), _) => answer.set(*name, value),
        }
    }
}

/// With the details that clients read unasked.
fn usage<'r>(reply: &'r Reply, request: &Request<'_>) -> Node<'r> {
    let mut usage = usage_node(&USAGE, reply, request);
    let made_up = reply.usage.is_none();
    for (details, count, required) in [
        ("input_tokens_details", "cached_tokens", true),
        ("input_tokens_details", "cache_write_tokens", made_up),
        ("output_tokens_details", "reasoning_tokens", true),
    ] {
        let details = usage.entry(details);
        if required && details.get(count).is_none() {
            details.set(count, 0i64);
        }
    }
    usage
}

// ------------------------------------------------------------------------------------------------------ the items

/// The output items of a turn; a turn that ended well has one at least.
fn items<'r>(reply: &'r Reply, to: &Encoding<'_>, whole: bool) -> Vec<Node<'r>> {
    let mut items = Vec::new();
    for part in &reply.parts {
        let n = items.len() + 1;
        match part {
            Part::Text { text, .. } if text.is_empty() => {}
            Part::Text { text, .. } => items.push(message(to, n, text_part(text))),
            Part::Reasoning { text, signature } => reason(&mut items, text, signature.as_deref(), to),
            Part::RedactedReasoning(_) => {} // for another provider's eyes
            Part::Verbatim(_) => own(&mut items, part),
            Part::ToolCall(call) => items.push(call_item(call, n, to)),
        }
    }
    let n = items.len() + 1;
    if let Some(refusal) = reply.refusal.as_deref() {
        items.push(message(to, n, object! { "type": "refusal", "refusal": refusal }));
    } else if items.is_empty() && whole {
        items.push(message(to, n, text_part("")));
    }
    if let (false, Some(status)) = (whole, items.last_mut().and_then(|last| last.get_mut("status"))) {
        *status = INCOMPLETE.into();
    }
    items
}

fn message<'r>(to: &Encoding<'_>, n: usize, part: Node<'r>) -> Node<'r> {
    object! { "id": to.id("msg_", n), "type": "message", "status": COMPLETED, "role": "assistant", "content": vec![part] }
}

fn text_part(text: &str) -> Node<'_> {
    object! { "type": "output_text", "annotations": Vec::new(), "logprobs": Vec::new(), "text": text }
}

fn call_item<'r>(call: &'r ToolCall, n: usize, to: &Encoding<'_>) -> Node<'r> {
    let custom = call.custom || to.request.custom_tools.iter().any(|name| *name == call.name);
    let (kind, prefix, arguments) =
        if custom { ("custom_tool_call", "ctc_", "input") } else { ("function_call", "fc_", "arguments") };
    let call_id = call.id.as_deref().map_or_else(|| Cow::Owned(to.id("call_", n)), Cow::Borrowed);
    let mut item = object! { "id": to.id(prefix, n), "type": kind, "status": COMPLETED };
    item.set(arguments, &*call.arguments);
    item.set("call_id", call_id);
    item.set("name", &*call.name);
    item
}

/// Adds to the reasoning item that is being written, which a signature ends, or begins one.
fn reason<'r>(items: &mut Vec<Node<'r>>, text: &'r str, signature: Option<&'r str>, to: &Encoding<'_>) {
    let open = |item: &Node<'_>| item.str("type") == Some("reasoning") && item.get("encrypted_content").is_none();
    if !items.last().is_some_and(open) {
        if text.is_empty() && signature.is_none() {
            return;
        }
        items.push(object! { "id": to.id("rs_", items.len() + 1), "type": "reasoning", "summary": Vec::new() });
    }
    let Some(item) = items.last_mut() else { return };
    if let (false, Some(Node::List(parts))) = (text.is_empty(), item.get_mut("summary")) {
        parts.push(object! { "type": "summary_text", "text": text });
    }
    if let Some(signature) = signature {
        item.set("encrypted_content", signature);
    }
}

/// What files of earlier versions keep of this wire alone: an item, or what the message before it has beside its text.
fn own<'r>(items: &mut Vec<Node<'r>>, part: &'r Part) {
    let Some(Ok(mut own)) = part.verbatim_of(WIRE).map(Node::of) else { return };
    let Some(message) = items.last_mut().filter(|_| own.get("type").is_none()) else { return items.push(own) };
    let annotations = own.remove("annotations");
    let part = message.get_mut("content").and_then(|content| content.items_mut().first_mut());
    if let (Some(annotations), Some(part)) = (annotations, part) {
        part.set("annotations", annotations);
    }
    if let Some(phase) = own.remove("phase") {
        message.set("phase", phase);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::with_request;
    use super::*;
    use serde_json::{Value, json};

    fn written(ask: &Value, reply: &Reply) -> Value {
        with_request("/v1/responses", &ask.to_string(), |_, request| {
            write(reply, &Encoding { request, chunk_chars: 2, now: 0, seed: 0 }).to_value()
        })
    }

    #[test]
    fn usage_always_has_its_details() {
        let ask = json!({"model": "m", "input": "hi"});
        let sent = written(&ask, &Reply::text("hello"));
        assert_eq!(sent["usage"]["input_tokens_details"]["cached_tokens"], 0);
        assert_eq!(sent["usage"]["output_tokens_details"]["reasoning_tokens"], 0);
        assert_eq!((&sent["status"], &sent["output"][0]["content"][0]["text"]), (&json!("completed"), &json!("hello")));
        let usage = serde_json::from_value(json!({"input_tokens": 5, "cost": 0.5})).ok();
        let sent = written(&ask, &Reply { usage, ..Reply::text("hello") });
        let details = json!({"cached_tokens": 0});
        let whole = json!({"input_tokens": 5, "output_tokens": 0, "total_tokens": 5, "cost": 0.5,
            "input_tokens_details": details, "output_tokens_details": {"reasoning_tokens": 0}});
        assert_eq!(sent["usage"], whole);
    }

    #[test]
    fn what_was_asked_is_repeated() {
        let ask = json!({"model": "m", "input": "hi", "instructions": "be brief", "temperature": 0.5, "user": "u",
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}], "service_tier": "auto",
            "text": {"verbosity": "low"}, "reasoning": {"effort": "low"}, "metadata": {"a": "b"}, "top_p": null});
        let sent = written(&ask, &Reply::text("hello"));
        for name in ["instructions", "temperature", "tools", "metadata"] {
            assert_eq!(sent[name], ask[name], "{name}");
        }
        assert_eq!(sent["text"], json!({"format": {"type": "text"}, "verbosity": "low"}));
        assert_eq!(sent["reasoning"], json!({"effort": "low", "summary": null}));
        assert_eq!((&sent["service_tier"], &sent["top_p"]), (&json!("default"), &json!(1.0)));
    }

    #[test]
    fn items_and_annotations_of_earlier_files_are_written() {
        let item = json!({"type": "web_search_call", "id": "ws", "action": {"type": "search"}});
        let beside = json!({"annotations": [{"type": "url_citation", "url": "u"}], "phase": "final_answer"});
        let parts = vec![Part::verbatim(WIRE, &item), Part::text("x"), Part::verbatim(WIRE, &beside)];
        let sent = written(&json!({"model": "m", "input": "hi"}), &Reply { parts, ..Reply::default() });
        assert_eq!(sent["output"][0], item);
        assert_eq!(sent["output"][1]["content"][0]["annotations"], beside["annotations"]);
        assert_eq!(sent["output"][1]["phase"], "final_answer");
    }
}
