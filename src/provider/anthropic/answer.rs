//! A turn as a message, and a message as typed events.
//! <https://docs.anthropic.com/en/docs/build-with-claude/streaming>

use super::{DELTAS, FINISH, USAGE, WIRE};
use crate::json::{self, Members, Node, object};
use crate::provider::{Encoding, finish_out, growth, pieces, usage_node};
use crate::reply::{Part, Reply};
use std::borrow::Cow;

/// Members of a message that its last but one event brings, in a member of that name or beside it; its first event has
/// them as null.
const OF_DELTA: [&str; 4] = ["stop_reason", "stop_sequence", "stop_details", "container"];
const BESIDE_DELTA: &str = "context_management";

/// Members of the usage that come again, final, with the last but one event; the others come with the first alone.
const CLOSING_USAGE: [&str; 6] = [
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
    "server_tool_use",
];

pub(in crate::provider) fn write<'r>(reply: &'r Reply, to: &Encoding<'r>) -> Node<'r> {
    let stop = match reply.finish_word() {
        // The wire has no other place to say that a refusal is one.
        "stop" if reply.refusal.is_some() => "refusal".to_owned(),
        word => finish_out(&FINISH, word),
    };
    let mut message = object! {
        "id": reply.id.as_deref().map_or_else(|| Cow::Owned(to.id("msg_", 0)), Cow::Borrowed),
        "type": "message",
        "role": reply.role.as_deref().unwrap_or("assistant"),
        "model": reply.model.as_deref().unwrap_or(&to.request.model),
        "content": Node::Null,
        "stop_reason": stop,
        "stop_sequence": Node::Null,
    };
    let mut blocks = Vec::with_capacity(reply.parts.len());
    for (n, part) in reply.parts.iter().enumerate() {
        match part {
            Part::Verbatim(_) => own(part, &mut blocks, &mut message),
            part => blocks.extend(block(part, n, to)),
        }
    }
    // A refusal that stands alone is text here.
    let refusal = reply.refusal.as_deref().filter(|_| reply.content().is_empty());
    blocks.extend(refusal.map(|text| object! { "type": "text", "text": text }));
    message.set("content", blocks);
    message.set("usage", usage_node(&USAGE, reply, to.request));
    message
}

fn block<'r>(part: &'r Part, n: usize, to: &Encoding<'_>) -> Option<Node<'r>> {
    Some(match part {
        Part::Text { text, .. } => object! { "type": "text", "text": &**text },
        Part::Reasoning { text, signature } => {
            // SDKs expect one; where a service sent none, its recording says so.
            object! { "type": "thinking", "thinking": &**text, "signature": signature.as_deref().unwrap_or("") }
        }
        Part::RedactedReasoning(data) => object! { "type": "redacted_thinking", "data": &**data },
        Part::ToolCall(call) => object! {
            "type": "tool_use",
            "id": call.id.as_deref().map_or_else(|| Cow::Owned(to.id("toolu_", n + 1)), Cow::Borrowed),
            "name": &*call.name,
            "input": growth::of_arguments(&call.arguments, to.request.streamed()),
        },
        Part::Verbatim(_) => return None,
    })
}

/// What files of earlier versions keep of this wire alone: a block, the citations of the text before it, or members of
/// the message that say more of how it ended.
fn own<'r>(part: &'r Part, blocks: &mut Vec<Node<'r>>, message: &mut Node<'r>) {
    let Some(Ok(own)) = part.verbatim_of(WIRE).map(Node::of) else { return };
    let ends = |name: &str| OF_DELTA.contains(&name) || name == BESIDE_DELTA;
    match (own, blocks.last_mut()) {
        (Node::Object(members), Some(text)) if matches!(&members[..], [(name, _)] if name == "citations") => {
            members.into_iter().for_each(|(name, citations)| text.set(name, citations));
        }
        (Node::Object(members), _) if !members.is_empty() && members.iter().all(|(name, _)| ends(name)) => {
            members.into_iter().for_each(|(name, value)| message.set(name, value));
        }
        (block, _) => blocks.push(block),
    }
}

// ---------------------------------------------------------------------------------------------------------- streams

/// A message as events in order: each one's name and its JSON, which holds the name as `type` too. `last` is a member
/// that comes with the last event.
pub(in crate::provider) fn events(
    native: &Node<'_>,
    chunk_chars: usize,
    last: &str,
    emit: impl FnMut(&'static str, &[u8]),
) {
    let mut events = Events { emit, chunk_chars, json: Vec::new() };
    events.send("message_start", object! { "message": opening(native, last) });
    for (index, block) in native.get("content").map_or(&[][..], Node::items).iter().enumerate() {
        events.block(index, block);
    }
    let mut delta = object! { "stop_reason": Node::Null, "stop_sequence": Node::Null };
    for name in OF_DELTA {
        if let Some(value) = native.get(name) {
            delta.set(name, value.clone());
        }
    }
    let mut closing = object! { "delta": delta };
    if let Some(usage) = native.get("usage") {
        let members = CLOSING_USAGE.iter().filter_map(|name| Some(((*name).into(), usage.get(name)?.clone())));
        closing.set("usage", Node::Object(members.collect()));
    }
    if let Some(value) = native.get(BESIDE_DELTA) {
        closing.set(BESIDE_DELTA, value.clone());
    }
    events.send("message_delta", closing);
    let told = native.get(last).map(|value| Node::Object(vec![(last.to_owned().into(), value.clone())]));
    events.send("message_stop", told.unwrap_or(Node::Object(Vec::new())));
}

/// A message as it stands before its first block. Its usage holds all but the answer's length, which nobody knows yet.
fn opening<'n>(native: &Node<'n>, last: &str) -> Node<'n> {
    let members = native.members().iter().filter(|(name, value)| *name != last && !matches!(value, Node::Null));
    let members = members.map(|(name, value)| {
        let value = match (&**name, value) {
            ("content", Node::List(_)) => Node::List(Vec::new()),
            (name, _) if OF_DELTA.contains(&name) || name == BESIDE_DELTA => Node::Null,
            ("usage", usage) => {
                let mut usage = usage.clone();
                if let Some(output) = usage.get_mut("output_tokens").filter(|n| n.as_i64().is_some_and(|n| n > 1)) {
                    *output = 1i64.into();
                }
                usage
            }
            (_, value) => value.clone(),
        };
        (name.clone(), value)
    });
    let mut opening = Node::Object(members.collect());
    for name in ["stop_reason", "stop_sequence"] {
        opening.entry(name);
    }
    opening
}

/// The events of a message.
struct Events<E> {
    emit: E,
    chunk_chars: usize,
    /// The event that is being written.
    json: Vec<u8>,
}

impl<E: FnMut(&'static str, &[u8])> Events<E> {
    /// An event of these members.
    fn send(&mut self, name: &'static str, members: Node<'_>) {
        let mut event = object! { "type": name };
        if let Node::Object(members) = members {
            members.into_iter().for_each(|(name, value)| event.set(name, value));
        }
        self.json.clear();
        event.write(&mut self.json);
        (self.emit)(name, &self.json);
    }

    /// A block: what it opens with, the deltas that bring the rest, its end.
    fn block(&mut self, index: usize, block: &Node<'_>) {
        let said = |member: &str| block.str(member).filter(|text| !text.is_empty());
        let kind = block.str("type").unwrap_or("");
        let deltas = || DELTAS.iter().filter(|delta| delta.of == kind);
        let mut opening = block.clone();
        for delta in deltas() {
            for member in delta.members.iter().filter(|member| said(member).is_some()) {
                opening.set(*member, delta.opens.clone());
            }
        }
        let citations = block.get("citations").filter(|list| kind == "text" && matches!(list, Node::List(_)));
        if citations.is_some() {
            opening.set("citations", Node::List(Vec::new()));
        }
        // SDKs put together the input of these blocks alone.
        let input = block.get("input").filter(|_| kind.ends_with("tool_use")).and_then(growth::to_pieces);
        if input.is_some() {
            opening.set("input", Node::Object(Vec::new()));
        }
        self.send("content_block_start", object! { "index": index, "content_block": opening });
        for delta in deltas() {
            match delta.members {
                [member] if delta.in_pieces => self.texts(index, (delta.name, member), said(member).unwrap_or("")),
                members => {
                    let members = members.iter().filter_map(|name| Some(((*name).into(), said(name)?.into())));
                    self.delta(index, delta.name, members.collect());
                }
            }
        }
        self.texts(index, ("input_json_delta", "partial_json"), &input.unwrap_or_default());
        for citation in citations.map_or(&[][..], Node::items) {
            self.delta(index, "citations_delta", vec![("citation".into(), citation.clone())]);
        }
        self.send("content_block_stop", object! { "index": index });
    }

    fn delta(&mut self, index: usize, kind: &'static str, members: Members<'_>) {
        if !members.is_empty() {
            let mut delta = object! { "type": kind };
            members.into_iter().for_each(|(name, value)| delta.set(name, value));
            self.send("content_block_delta", object! { "index": index, "delta": delta });
        }
    }

    /// The deltas of a text, written once but for its pieces.
    fn texts(&mut self, index: usize, (delta, member): (&str, &str), text: &str) {
        let opens = format!(r#"{{"type":"content_block_delta","index":{index},"delta":{{"type":"{delta}","{member}":"#);
        for piece in pieces(text, self.chunk_chars) {
            self.json.clear();
            self.json.extend_from_slice(opens.as_bytes());
            json::string(piece, &mut self.json);
            self.json.extend_from_slice(b"}}");
            (self.emit)("content_block_delta", &self.json);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::frame::Framing;
    use crate::provider::laws::{carried, golden, round_trip, with_request};
    use crate::provider::{Codec, Encoding};
    use crate::reply::{Part, Reply, ToolCall, Usage};
    use crate::request::Request;
    use serde_json::{Value, json};

    const PATH: &str = "/v1/messages";
    const ASK: &str =
        r#"{"model":"claude-x","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi there"}]}"#;

    fn call(id: Option<&str>, arguments: &str) -> Part {
        let id = id.map(str::to_owned);
        Part::ToolCall(ToolCall { id, name: "f".into(), arguments: arguments.into(), signature: None, custom: false })
    }

    fn thinking(text: &str, signature: Option<&str>) -> Part {
        Part::Reasoning { text: text.into(), signature: signature.map(str::to_owned) }
    }

    fn usage(json: Value) -> Option<Usage> {
        serde_json::from_value(json).ok()
    }

    fn asked<T>(then: impl FnOnce(&dyn Codec, &Encoding<'_>, &Request<'_>) -> T) -> T {
        with_request(PATH, ASK, |codec, request| {
            then(codec, &Encoding { request, chunk_chars: 3, now: 0, seed: 7 }, request)
        })
    }

    fn whole(reply: Reply) -> Value {
        with_request(PATH, &ASK.replace("true", "false"), |codec, request| {
            let to = Encoding { request, chunk_chars: 3, now: 0, seed: 7 };
            serde_json::from_slice(&codec.encode_whole(&reply.into(), &to)).unwrap()
        })
    }

    #[test]
    fn every_part_comes_back_in_order() {
        let reply = Reply {
            parts: vec![
                thinking("hmm, 日本語", Some("sig1")),
                Part::RedactedReasoning("opaque".into()),
                thinking("", Some("only a signature")),
                Part::text("first"),
                call(Some("toolu_1"), r#"{"a":[1.50,{"b":"é\n"}]}"#),
                Part::text("sécond 🌍"),
                Part::text("third"),
                thinking("unsigned", None),
                call(Some("toolu_2"), "{}"),
            ],
            finish: Some("tool_calls".into()),
            id: Some("msg_1".into()),
            model: Some("claude-x-20250101".into()),
            usage: usage(json!({"input_tokens": 3, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 8,
                "cache_creation": {"ephemeral_5m_input_tokens": 0}, "output_tokens": 40, "service_tier": "standard",
                "output_tokens_details": {"thinking_tokens": 2}, "server_tool_use": {"web_search_requests": 1}})),
            ..Reply::default()
        };
        asked(|codec, _, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!(whole.turn(), carried(&reply, &codec.carries()));
            assert_eq!(streamed.turn(), carried(&reply, &codec.carries()));
        });
    }

    #[test]
    fn events_are_those_of_the_api_in_its_order() {
        let reply = Reply {
            parts: vec![thinking("hm", Some("s")), Part::text("abcd"), call(None, r#"{"x":1}"#)],
            usage: usage(json!({"input_tokens": 5, "output_tokens": 6, "service_tier": "standard"})),
            ..Reply::default()
        };
        let body = asked(|codec, to, _| String::from_utf8(codec.encode_stream(&reply.into(), to).bytes).unwrap());
        let names: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        let block = |deltas: usize| {
            let deltas = std::iter::repeat_n("content_block_delta", deltas);
            std::iter::once("content_block_start").chain(deltas).chain(["content_block_stop"])
        };
        let (opening, closing) = (["message_start"].into_iter(), ["message_delta", "message_stop"]);
        let expected: Vec<_> = opening.chain(block(2)).chain(block(2)).chain(block(3)).chain(closing).collect();
        assert_eq!(names, expected);
        let event = |n: usize| -> Value {
            serde_json::from_str(body.lines().filter_map(|line| line.strip_prefix("data: ")).nth(n).unwrap()).unwrap()
        };
        let opening = event(0);
        assert_eq!(
            opening["message"]["usage"],
            json!({"input_tokens": 5, "output_tokens": 1, "service_tier": "standard"})
        );
        assert_eq!(opening["message"]["content"], json!([]));
        assert_eq!(
            event(1),
            json!({"type": "content_block_start", "index": 0,
                "content_block": {"type": "thinking", "thinking": "", "signature": ""}})
        );
        assert_eq!(event(3)["delta"], json!({"type": "signature_delta", "signature": "s"}));
        assert_eq!(event(9)["content_block"]["input"], json!({}));
        assert_eq!(event(10)["delta"], json!({"type": "input_json_delta", "partial_json": "{\"x"}));
        assert_eq!(
            event(14),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
                "usage": {"input_tokens": 5, "output_tokens": 6}})
        );
        assert_eq!(event(15), json!({"type": "message_stop"}));
    }

    #[test]
    fn what_a_reply_lacks_is_made_up() {
        let body = whole(Reply { parts: vec![Part::text("hello"), call(None, "")], ..Reply::default() });
        assert!(body["id"].as_str().unwrap().starts_with("msg_"));
        assert!(body["content"][1]["id"].as_str().unwrap().starts_with("toolu_"));
        assert_eq!(body["content"][1]["input"], json!({}));
        assert_eq!(body["usage"], json!({"input_tokens": 2, "output_tokens": 2}));
        let members = ["type", "role", "model", "stop_reason", "stop_sequence"].map(|m| body[m].clone());
        assert_eq!(json!(members), json!(["message", "assistant", "claude-x", "tool_use", null]));
    }

    #[test]
    fn arguments_that_are_no_object_are_kept_as_text() {
        let input = |arguments: &str| {
            let reply = Reply { parts: vec![call(None, arguments)], ..Reply::default() };
            whole(reply)["content"][0]["input"].clone()
        };
        assert_eq!(input("{\"city\":\"Par"), json!({"_raw": "{\"city\":\"Par"}));
        assert_eq!(input("[1]"), json!({"_raw": "[1]"}));
        assert_eq!(input(" {\"a\": 1}\n"), json!({"a": 1}));
    }

    #[test]
    fn stop_reasons_are_said_in_the_words_of_the_api() {
        let said = |finish: &str| {
            whole(Reply { finish: Some(finish.into()), ..Reply::text("a") })["stop_reason"].as_str().map(str::to_owned)
        };
        for (finish, expected) in [
            ("stop", "end_turn"),
            ("length", "max_tokens"),
            ("tool_calls", "tool_use"),
            ("function_call", "tool_use"),
            ("content_filter", "refusal"),
            ("pause_turn", "pause_turn"),
            ("stop_sequence", "stop_sequence"),
            ("model_context_window_exceeded", "model_context_window_exceeded"),
        ] {
            assert_eq!(said(finish).as_deref(), Some(expected), "{finish}");
        }
    }

    #[test]
    fn partial_usage_is_completed() {
        let body = whole(Reply { usage: usage(json!({"cost": 0.1})), ..Reply::text("a") });
        assert_eq!(body["usage"], json!({"input_tokens": 0, "output_tokens": 0, "cost": 0.1}));
        // What was recorded so comes back so.
        let message = br#"{"type":"message","content":[],"usage":{"cost":0.1}}"#;
        golden(&super::super::MESSAGES, Framing::Whole, message).turn();
    }

    #[test]
    fn a_refusal_of_another_wire_is_text() {
        let reply = Reply { refusal: Some("I can't.".into()), finish: Some("stop".into()), ..Reply::default() };
        let body = whole(reply);
        assert_eq!(body["content"], json!([{"type": "text", "text": "I can't."}]));
        assert_eq!(body["stop_reason"], "refusal");
    }

    #[test]
    fn an_empty_turn_is_whole() {
        let reply = Reply { finish: Some("stop".into()), ..Reply::default() };
        asked(|codec, _, request| {
            assert_eq!(request.framing, Framing::Sse);
            let (whole, streamed) = round_trip(codec, &reply.into(), request);
            assert_eq!((whole.turn().parts, streamed.turn().parts), (vec![], vec![]));
        });
    }
}
