//! What a client gets, whole and as typed events. <https://docs.anthropic.com/en/docs/build-with-claude/streaming>

use super::{FINISH, USAGE, WIRE};
use crate::provider::{Encoding, answer_usage, finish_out, pieces};
use crate::reply::{Part, Reply, Usage};
use serde::Deserialize;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The turn as one JSON object.
pub(in crate::provider) fn encode_whole(reply: &Reply, to: &Encoding<'_>) -> Vec<u8> {
    let usage = answer_usage(&USAGE, reply, to.request);
    let stop = stop_reason(reply);
    let content = blocks(reply, to);
    let Ending { stop_sequence, stop_details, container, context_management } = ending(reply);
    json(&Message {
        content: &content,
        stop_reason: Some(&stop),
        stop_sequence,
        stop_details,
        container,
        context_management,
        ..Message::opening(reply, to, &usage)
    })
}

/// The turn as events in order: each one's name and its JSON, which holds the name as `type` too.
pub(in crate::provider) fn encode_events(reply: &Reply, to: &Encoding<'_>, mut emit: impl FnMut(&'static str, &[u8])) {
    let mut send = |event: &Event<'_>| emit(event.name(), &json(event));
    let usage = answer_usage(&USAGE, reply, to.request);
    let (first, last) = (opening_usage(&usage), closing_usage(&usage));
    send(&Event::MessageStart { message: &Message::opening(reply, to, &first) });
    for (index, block) in blocks(reply, to).iter().enumerate() {
        send(&Event::ContentBlockStart { index, content_block: block.opening() });
        block.deltas(to.chunk_chars, |delta| send(&Event::ContentBlockDelta { index, delta }));
        send(&Event::ContentBlockStop { index });
    }
    let stop = stop_reason(reply);
    let Ending { stop_sequence, stop_details, container, context_management } = ending(reply);
    let delta = Stop { stop_reason: &stop, stop_sequence, stop_details, container };
    send(&Event::MessageDelta { delta, usage: &last, context_management });
    send(&Event::MessageStop {});
}

fn stop_reason(reply: &Reply) -> String {
    match reply.finish_word() {
        // The wire has no other place to say that a refusal is one.
        "stop" if reply.refusal.is_some() => "refusal".to_owned(),
        word => finish_out(&FINISH, word),
    }
}

/// The content blocks; a refusal that stands alone is text here.
fn blocks<'a>(reply: &'a Reply, to: &Encoding<'_>) -> Vec<Block<'a>> {
    let mut blocks: Vec<Block<'a>> = Vec::with_capacity(reply.parts.len());
    for (n, part) in reply.parts.iter().enumerate() {
        match (blocks.last_mut(), sources(part)) {
            (Some(Block::Text { citations, .. }), Some(sources)) => *citations = Some(sources),
            _ => blocks.extend(Block::new(part, n, to)),
        }
    }
    if let Some(text) = reply.refusal.as_deref().filter(|_| reply.content().is_empty()) {
        blocks.push(Block::Text { text, citations: None });
    }
    blocks
}

/// The citations of the text before this part.
fn sources(part: &Part) -> Option<Vec<&RawValue>> {
    let Sources { citations } = serde_json::from_str(part.verbatim_of(WIRE)?.get()).ok()?;
    Some(citations)
}

/// Members of the message that say more of how it ended.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ending<'a> {
    #[serde(borrow, default)]
    stop_sequence: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stop_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    container: Option<&'a RawValue>,
    #[serde(borrow, default)]
    context_management: Option<&'a RawValue>,
}

impl<'a> Ending<'a> {
    fn of(part: &'a Part) -> Option<Self> {
        serde_json::from_str(part.verbatim_of(WIRE)?.get()).ok()
    }
}

fn ending(reply: &Reply) -> Ending<'_> {
    reply.parts.iter().rev().find_map(Ending::of).unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sources<'a> {
    #[serde(borrow)]
    citations: Vec<&'a RawValue>,
}

/// A stream's first usage holds all but the answer's length, which nobody knows yet.
fn opening_usage(usage: &Usage) -> Usage {
    let mut usage = usage.clone();
    if let Some(output) = usage.get_mut("output_tokens") {
        *output = output.as_u64().unwrap_or(1).min(1).into();
    }
    usage
}

/// A stream's last usage holds the members that its event is documented to have.
fn closing_usage(usage: &Usage) -> Usage {
    const MEMBERS: [&str; 6] = [
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "output_tokens",
        "output_tokens_details",
        "server_tool_use",
    ];
    let member = |name: &str| usage.get(name).map(|count| (name.to_owned(), count.clone()));
    MEMBERS.into_iter().filter_map(member).collect()
}

#[derive(serde::Serialize)]
struct Message<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'a str,
    model: &'a str,
    content: &'a [Block<'a>],
    stop_reason: Option<&'a str>,
    stop_sequence: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_details: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_management: Option<&'a RawValue>,
    usage: &'a Usage,
}

impl<'a> Message<'a> {
    /// As it stands before its first block.
    fn opening(reply: &'a Reply, to: &Encoding<'a>, usage: &'a Usage) -> Self {
        Message {
            id: reply.id.as_deref().map_or_else(|| Cow::Owned(to.id("msg_", 0)), Cow::Borrowed),
            kind: "message",
            role: reply.role.as_deref().unwrap_or("assistant"),
            model: reply.model.as_deref().unwrap_or(&to.request.model),
            content: &[],
            stop_reason: None,
            stop_sequence: None,
            stop_details: None,
            container: None,
            context_management: None,
            usage,
        }
    }
}

#[derive(serde::Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        citations: Option<Vec<&'a RawValue>>,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: &'a str,
        input: Input<'a>,
    },
    #[serde(untagged)]
    Verbatim(Cow<'a, RawValue>),
}

impl<'a> Block<'a> {
    fn new(part: &'a Part, n: usize, to: &Encoding<'_>) -> Option<Self> {
        Some(match part {
            Part::Text { text, .. } => Block::Text { text, citations: None },
            Part::Reasoning { text, signature } => {
                Block::Thinking { thinking: text, signature: signature.as_deref().unwrap_or("") }
            }
            Part::RedactedReasoning(data) => Block::RedactedThinking { data },
            Part::ToolCall(call) => Block::ToolUse {
                id: call.id.as_deref().map_or_else(|| Cow::Owned(to.id("toolu_", n + 1)), Cow::Borrowed),
                name: &call.name,
                input: Input(&call.arguments),
            },
            Part::Verbatim(_) if Ending::of(part).is_some() => return None,
            Part::Verbatim(_) => Block::Verbatim(Cow::Borrowed(part.verbatim_of(WIRE)?)),
        })
    }

    /// The block without what its deltas will bring.
    fn opening(&self) -> Block<'_> {
        match self {
            Block::Text { citations, .. } => {
                Block::Text { text: "", citations: citations.as_ref().map(|_| Vec::new()) }
            }
            Block::Thinking { .. } => Block::Thinking { thinking: "", signature: "" },
            Block::RedactedThinking { data } => Block::RedactedThinking { data },
            Block::ToolUse { id, name, .. } => Block::ToolUse { id: Cow::Borrowed(id), name, input: Input("") },
            Block::Verbatim(json) => Block::Verbatim(without_input(json).map_or(Cow::Borrowed(json), Cow::Owned)),
        }
    }

    fn deltas(&self, chars: usize, mut delta: impl FnMut(Delta<'_>)) {
        match self {
            Block::Text { text, citations } => {
                pieces(text, chars).for_each(|text| delta(Delta::Text { text }));
                let citations = citations.iter().flatten();
                citations.for_each(|citation| delta(Delta::Citations { citation }));
            }
            Block::Thinking { thinking, signature } => {
                pieces(thinking, chars).for_each(|thinking| delta(Delta::Thinking { thinking }));
                if !signature.is_empty() {
                    delta(Delta::Signature { signature });
                }
            }
            Block::RedactedThinking { .. } => {}
            Block::ToolUse { input, .. } => {
                pieces(input.0, chars).for_each(|partial_json| delta(Delta::InputJson { partial_json }));
            }
            Block::Verbatim(json) => {
                let input = input_of(json).map_or("", RawValue::get);
                pieces(input, chars).for_each(|partial_json| delta(Delta::InputJson { partial_json }));
            }
        }
    }
}

/// What a tool that the provider runs is given.
fn input_of(block: &RawValue) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Given<'a> {
        #[serde(borrow)]
        input: &'a RawValue,
    }
    serde_json::from_str::<Given<'_>>(block.get()).ok().map(|given| given.input)
}

fn without_input(block: &RawValue) -> Option<Box<RawValue>> {
    input_of(block)?;
    let mut block: Value = serde_json::from_str(block.get()).ok()?;
    block["input"] = Value::Object(Map::new());
    serde_json::value::to_raw_value(&block).ok()
}

/// A call's arguments as the object that the wire wants: text that is no JSON object is kept in a member `_raw`.
struct Input<'a>(&'a str);

impl Serialize for Input<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0.trim();
        if text.starts_with('{')
            && let Ok(object) = serde_json::from_str::<&RawValue>(text)
        {
            return object.serialize(serializer);
        }
        let mut object = serializer.serialize_map(None)?;
        if !text.is_empty() {
            object.serialize_entry("_raw", text)?;
        }
        object.end()
    }
}

#[derive(serde::Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event<'a> {
    MessageStart {
        message: &'a Message<'a>,
    },
    ContentBlockStart {
        index: usize,
        content_block: Block<'a>,
    },
    ContentBlockDelta {
        index: usize,
        delta: Delta<'a>,
    },
    ContentBlockStop {
        index: usize,
    },
    MessageDelta {
        delta: Stop<'a>,
        usage: &'a Usage,
        #[serde(skip_serializing_if = "Option::is_none")]
        context_management: Option<&'a RawValue>,
    },
    MessageStop {},
}

impl Event<'_> {
    fn name(&self) -> &'static str {
        match self {
            Event::MessageStart { .. } => "message_start",
            Event::ContentBlockStart { .. } => "content_block_start",
            Event::ContentBlockDelta { .. } => "content_block_delta",
            Event::ContentBlockStop { .. } => "content_block_stop",
            Event::MessageDelta { .. } => "message_delta",
            Event::MessageStop {} => "message_stop",
        }
    }
}

#[derive(serde::Serialize)]
#[serde(tag = "type")]
enum Delta<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'a str },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: &'a str },
    #[serde(rename = "citations_delta")]
    Citations { citation: &'a RawValue },
}

#[derive(serde::Serialize)]
struct Stop<'a> {
    stop_reason: &'a str,
    stop_sequence: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_details: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a RawValue>,
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("these structs have string keys only")
}

#[cfg(test)]
mod tests {
    use crate::frame::Framing;
    use crate::provider::laws::{carried, round_trip, with_request};
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
        asked(|codec, to, _| serde_json::from_slice(&codec.encode_whole(&reply.into(), to)).unwrap())
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
