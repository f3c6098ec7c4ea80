//! Converse and ConverseStream: one shape for every model.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>

mod answer;
mod collapse;
mod read;
mod request;

use crate::frame::{Frames, Framing};
use crate::json::Node;
use crate::provider::{
    AnswerHead, BadRequest, Call, Carries, ChatWire, Codec, Collapse, Encoding, FinishWords, Places, Results, Shape,
    UsageShape,
};
use crate::reply::Reply;
use crate::request::Request;
use base64::engine::general_purpose::STANDARD as BASE64;

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseResponse.html>, `stopReason`.
static FINISH: FinishWords = FinishWords {
    exact: &[
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("content_filtered", "content_filter"),
    ],
    near: &[
        ("stop_sequence", "stop"),
        ("guardrail_intervened", "content_filter"),
        ("malformed_model_output", "stop"),
        ("malformed_tool_use", "stop"),
        ("model_context_window_exceeded", "length"),
    ],
    otherwise: "end_turn",
};

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html>; the total counts cached
/// tokens, the input does not.
static USAGE: UsageShape = UsageShape {
    input: "/inputTokens",
    output: "/outputTokens",
    total: "/totalTokens",
    cached: "/cacheReadInputTokens",
    cache_write: "/cacheWriteInputTokens",
    reasoning: "",
    input_excludes_cached: true,
    output_excludes_reasoning: false,
};

/// The headers' end of the last event of a stream: the value of `:event-type`, with its type and length.
const METADATA: &[u8] = b":event-type\x07\x00\x08metadata";

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html>; `requestMetadata` is for the
/// logs alone.
static PLACES: Places = Places {
    ids: &["/messages/*/content/*/toolUse/toolUseId", "/messages/*/content/*/toolResult/toolUseId"],
    json: &[],
    plain: &[
        "/messages/*/content/*",
        "/messages/*/content/*/toolResult",
        "/messages/*/content/*/reasoningContent/reasoningText",
        "/messages/*/content/*/citationsContent",
        "/messages/*/content/*/citationsContent/citations/*",
    ],
    unseen: &["/requestMetadata"],
    results: Some(Results { list: "/messages/*/content", call: "/toolResult/toolUseId", beside: "" }),
};

/// The Converse wire.
#[derive(Debug)]
pub(super) struct Converse {
    /// The endpoint answers with a stream.
    pub(super) streamed: bool,
}

impl Codec for Converse {
    fn wire(&self) -> &'static str {
        "bedrock-converse"
    }

    fn shape(&self) -> Shape<'_> {
        Shape::Chat(self)
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        let framing = if self.streamed { Framing::EventStream } else { Framing::Whole };
        request::decode(call, framing)
    }

    fn identity(&self) -> &'static Places {
        &PLACES
    }

    /// Marks for the cache stand among what a model sees, and no model sees them.
    /// <https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html>
    fn one_form(&self, body: &mut Node<'_>) {
        let without_marks = |list: Option<&mut Node<'_>>| {
            if let Some(Node::List(items)) = list {
                items.retain(|item| item.get("cachePoint").is_none());
            }
        };
        without_marks(body.get_mut("system"));
        without_marks(body.get_mut("toolConfig").and_then(|config| config.get_mut("tools")));
        let messages = body.get_mut("messages").map_or(&mut [][..], Node::items_mut);
        messages.iter_mut().for_each(|message| without_marks(message.get_mut("content")));
    }
}

impl ChatWire for Converse {
    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        Box::new(collapse::Collapser::new(answer.framing))
    }

    fn read(&self, native: &Node<'_>) -> Reply {
        read::read(native)
    }

    fn write<'r>(&self, reply: &'r Reply, to: &Encoding<'r>) -> Node<'r> {
        answer::write(reply, to)
    }

    fn stream(&self, native: &Node<'_>, to: &Encoding<'_>) -> Frames {
        answer::stream(native, to)
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[METADATA]
    }

    fn carries(&self) -> Carries {
        Carries { part_signatures: false, refusal: false, id: false, model: false, ..Carries::ALL }
    }

    fn finish_words(&self) -> Option<&'static FinishWords> {
        Some(&FINISH)
    }

    fn usage_shape(&self) -> Option<&'static UsageShape> {
        Some(&USAGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::eventstream;
    use crate::provider::laws::{Outcome, carried, golden, hash, indifferent, native, round_trip, with_request};
    use crate::provider::{Fault, Head};
    use crate::reply::{Part, Reply, ToolCall};
    use crate::request::Role;

    const STREAM: Converse = Converse { streamed: true };
    const PATH: &str = "/model/us.amazon.nova-lite-v1%3A0/converse-stream";
    const ASK: &str = r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#;

    fn body(events: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        events.iter().for_each(|(name, json)| eventstream::encode(name, json.as_bytes(), &mut out));
        out
    }

    fn stream(events: &[(&str, &str)]) -> Outcome {
        golden(&STREAM, Framing::EventStream, &body(events))
    }

    fn whole(json: &str) -> Outcome {
        golden(&Converse { streamed: false }, Framing::Whole, json.as_bytes())
    }

    /// The content blocks that a stream of these events makes.
    fn content(events: &[(&str, &str)]) -> String {
        let end = [("messageStop", r#"{"stopReason":"end_turn"}"#), ("metadata", r#"{"usage":{}}"#)];
        let events = [&[("messageStart", r#"{"role":"assistant"}"#)], events, &end].concat();
        assert!(matches!(stream(&events), Outcome::Whole(_)));
        let answer = native(&STREAM, Framing::EventStream, &body(&events));
        answer.at("/output/message/content").map(Node::to_json).unwrap_or_default()
    }

    fn call(id: &str, name: &str, arguments: &str) -> Part {
        let (id, name, arguments) = (Some(id.to_owned()), name.to_owned(), arguments.to_owned());
        Part::ToolCall(ToolCall { id, name, arguments, signature: None, custom: false })
    }

    #[test]
    fn request_with_every_kind_of_block() {
        let body = r#"{"system":[{"text":"be \"brief\""},{"cachePoint":{"type":"default"}}],
            "messages":[
                {"role":"user","content":[{"text":"what is "},{"image":{"format":"png","source":{"bytes":"eA=="}}},{"guardContent":{"text":{"text":"this?"}}}]},
                {"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"hm","signature":"s"}}},{"text":"I look"},{"toolUse":{"toolUseId":"t1","name":"look","input":{}}}]},
                {"role":"user","content":[{"toolResult":{"toolUseId":"t1","content":[{"text":"a "},{"json":{"b": 1}}],"status":"success"}},
                    {"toolResult":{"toolUseId":"t2","content":[]}},{"text":"so?"}]}],
            "toolConfig":{"tools":[{"toolSpec":{"name":"look","inputSchema":{"json":{}}}},{"cachePoint":{"type":"default"}},{"systemTool":{"name":"nova_grounding"}}],"toolChoice":{"auto":{}}},
            "outputConfig":{"textFormat":{"type":"json_schema","structure":{}}},
            "inferenceConfig":{"maxTokens":9}}"#;
        with_request(PATH, body, |codec, r| {
            assert!(r.has_tool_result());
            assert_eq!(
                (codec.wire(), &*r.model, r.framing),
                ("bedrock-converse", "us.amazon.nova-lite-v1:0", Framing::EventStream)
            );
            assert_eq!(r.system_text(), "be \"brief\"");
            let seen: Vec<_> = r.messages.iter().map(|m| (m.role, &*m.text, m.tool_call_id.as_deref())).collect();
            assert_eq!(
                seen[1..],
                [
                    (Role::User, "what is this?", None),
                    (Role::Assistant, "I look", None),
                    (Role::Tool, "a {\"b\": 1}", Some("t1")),
                    (Role::Tool, "", Some("t2")),
                    (Role::User, "so?", Some("t2")),
                ]
            );
            assert_eq!(r.tools, ["look", "nova_grounding"]);
            assert_eq!(r.response_format.as_deref(), Some("json_schema"));
        });
    }

    #[test]
    fn request_that_ends_in_a_tool_result() {
        let body =
            r#"{"messages":[{"role":"user","content":[{"toolResult":{"toolUseId":"t1","content":[{"text":"ok"}]}}]}]}"#;
        with_request("/model/x/converse", body, |_, r| {
            assert_eq!(r.last_tool_result().and_then(|m| m.tool_call_id.as_deref()), Some("t1"));
            assert!(!r.streamed());
        });
    }

    #[test]
    fn only_a_stored_prompt_may_lack_messages() {
        let headers = hyper::HeaderMap::new();
        let decode = |id: &'static str| {
            let head = Head { method: "POST", path: "/", query: "", headers: &headers };
            STREAM.decode(&Call { head, params: vec![("id", id.into())], body: b"{}" }).map(|r| r.messages.len())
        };
        assert_eq!(decode("x").unwrap_err().param.as_deref(), Some("messages"));
        assert_eq!(decode("arn:aws:bedrock:us-east-1:1:prompt/P:1"), Ok(0));
    }

    const RICH: &[(&str, &str)] = &[
        ("messageStart", r#"{"p":"abc","role":"assistant"}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"h"}},"p":"ab"}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"m"}},"p":"ab"}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"sig"}},"p":"ab"}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":0,"p":"ab"}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"reasoningContent":{"redactedContent":"AAEC"}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":1}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"text":"Hé"}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"text":"llo"}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":2}"#),
        ("contentBlockStart", r#"{"contentBlockIndex":3,"start":{"toolUse":{"name":"f","toolUseId":"t1"}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"toolUse":{"input":"{\"a\":"}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"toolUse":{"input":"1}"}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":3}"#),
        ("messageStop", r#"{"p":"ab","stopReason":"tool_use"}"#),
        (
            "metadata",
            r#"{"metrics":{"latencyMs":5},"p":"ab","usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3}}"#,
        ),
    ];

    fn rich() -> Reply {
        Reply {
            parts: vec![
                Part::Reasoning { text: "hm".into(), signature: Some("sig".into()) },
                Part::RedactedReasoning("AAEC".into()),
                Part::text("Héllo"),
                call("t1", "f", r#"{"a":1}"#),
            ],
            finish: Some("tool_calls".into()),
            usage: serde_json::from_str(r#"{"inputTokens":1,"outputTokens":2,"totalTokens":3}"#).ok(),
            ..Reply::default()
        }
    }

    #[test]
    fn every_kind_of_block_streamed_without_starts() {
        assert_eq!(stream(RICH).turn(), rich());
    }

    #[test]
    fn every_kind_of_block_whole() {
        let json = r#" {"metrics":{"latencyMs":5},"output":{"message":{"content":[
            {"reasoningContent":{"reasoningText":{"signature":"sig","text":"hm"}}},
            {"reasoningContent":{"redactedContent":"AAEC"}},{"text":"Héllo"},
            {"toolUse":{"input":{"a":1},"name":"f","toolUseId":"t1","type":"tool_use"}}],"role":"assistant"}},
            "stopReason":"tool_use","usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3}}"#;
        assert_eq!(whole(json).turn(), rich());
    }

    #[test]
    fn a_turn_comes_back_from_both_encoders() {
        let mut reply = rich();
        reply.parts.extend([
            Part::Reasoning { text: String::new(), signature: Some("only".into()) },
            Part::RedactedReasoning("not base64".into()),
            call("t2", "g", "{}"),
            Part::text("after"),
        ]);
        with_request(PATH, ASK, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!(whole.turn(), carried(&reply, &codec.carries()));
            assert_eq!(streamed.turn(), carried(&reply, &codec.carries()));
        });
    }

    #[test]
    fn own_finish_words_stay_and_others_are_translated() {
        for (kept, back) in [("guardrail_intervened", "guardrail_intervened"), ("length", "length"), ("stop", "stop")] {
            let reply = Reply { finish: Some(kept.into()), ..Reply::text("x") };
            with_request(PATH, ASK, |codec, request| {
                let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
                assert_eq!(whole.turn().finish.as_deref(), Some(back));
                assert_eq!(streamed.turn().finish.as_deref(), Some(back));
            });
        }
    }

    #[test]
    fn arguments_that_are_no_json_lose_nothing() {
        for (arguments, streamed, whole) in [("", "{}", "{}"), ("{\"a\":", "{\"a\":", r#"{"_raw":"{\"a\":"}"#)] {
            for (path, expected) in [(PATH, streamed), ("/model/x/converse", whole)] {
                with_request(path, ASK, |codec, request| {
                    let (at_once, streamed) = round_trip(codec, &Reply::tool_call("f", arguments).into(), request);
                    let back = if request.streamed() { streamed.turn() } else { at_once.turn() };
                    assert_eq!(back.tool_calls().next().map(|call| &*call.arguments), Some(expected));
                    assert!(back.tool_calls().all(|c| c.id.as_deref().is_some_and(|id| id.starts_with("tooluse_"))));
                });
            }
        }
    }

    #[test]
    fn a_refusal_stands_for_text() {
        let reply = Reply { refusal: Some("no".into()), ..Reply::default() };
        with_request(PATH, ASK, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!((whole.turn().content(), streamed.turn().content()), ("no".into(), "no".into()));
        });
    }

    #[test]
    fn events_as_aws_sends_them() {
        with_request(PATH, ASK, |codec, request| {
            let to = Encoding { request, chunk_chars: 20, now: 0, seed: 7 };
            let frames = codec.encode_stream(&Reply::text("hi").into(), &to);
            let names: Vec<String> = frames
                .iter()
                .map(|frame| {
                    let headers: Result<Vec<_>, _> = eventstream::parse(frame).unwrap().headers.collect();
                    format!("{:?}", headers.unwrap()[0].1)
                })
                .collect();
            assert_eq!(
                names.join(" "),
                r#"Str("messageStart") Str("contentBlockDelta") Str("contentBlockStop") Str("messageStop") Str("metadata")"#
            );
            let last = frames.iter().last().unwrap();
            assert!(memchr::memmem::find(last, METADATA).is_some());
            let payload = String::from_utf8_lossy(eventstream::parse(frames.iter().nth(1).unwrap()).unwrap().payload)
                .into_owned();
            assert!(payload.starts_with(r#"{"contentBlockIndex":0,"delta":{"text":"hi"},"p":"ab"#), "{payload}");
        });
    }

    #[test]
    fn a_tool_of_the_provider_is_no_call_for_the_client() {
        let events = [
            ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":""}}"#),
            (
                "contentBlockStart",
                r#"{"contentBlockIndex":1,"start":{"toolUse":{"toolUseId":"t","name":"nova_grounding","type":"server_tool_use"}}}"#,
            ),
            ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":"{\"q\": 1}"}},"p":"abc"}"#),
            (
                "contentBlockStart",
                r#"{"contentBlockIndex":2,"start":{"toolResult":{"toolUseId":"t","status":"success","type":"x"}}}"#,
            ),
            ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"toolResult":[{"text":"x"}]}}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"toolResult":[{"json":{"a":1}}]}}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"text":"a"}}"#),
            ("someNewEvent", r#"{"x":1}"#),
        ];
        assert_eq!(
            content(&events),
            r#"[{"text":""},{"toolUse":{"toolUseId":"t","name":"nova_grounding","type":"server_tool_use","input":{"q":1}}},{"toolResult":{"toolUseId":"t","status":"success","type":"x","content":[{"text":"x"},{"json":{"a":1}}]}},{"text":"a"}]"#
        );
        let reply = stream(&[&events[..], &[("messageStop", r#"{"stopReason":"end_turn"}"#)]].concat()).turn();
        assert_eq!((reply.parts, reply.usage), (vec![Part::text("a")], None));
    }

    #[test]
    fn text_and_its_sources_are_one_block() {
        let cite = |n: u8| format!(r#"{{"contentBlockIndex":0,"delta":{{"citation":{{"title":"{n}"}}}}}}"#);
        let events = [
            ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"it"}}"#),
            ("contentBlockDelta", &*cite(1)),
            ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":" is"}}"#),
            ("contentBlockDelta", &*cite(2)),
            ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"citation":{"title":"alone"}}}"#),
        ];
        assert_eq!(
            content(&events),
            r#"[{"citationsContent":{"content":[{"text":"it is"}],"citations":[{"title":"1"},{"title":"2"}]}},{"citationsContent":{"citations":[{"title":"alone"}]}}]"#
        );
        let json = r#"{"output":{"message":{"role":"assistant","content":[{"text":"so "},
            {"citationsContent":{"citations":[{"title":"x"}],"content":[{"text":"it is"}]}}]}},"stopReason":"end_turn"}"#;
        assert_eq!(whole(json).turn().content(), "so it is");
    }

    #[test]
    fn images_and_blocks_of_next_year_grow() {
        let events = [
            ("contentBlockStart", r#"{"contentBlockIndex":0,"start":{"image":{"format":"png"}}}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"image":{"source":{"bytes":"AAEC"}}}}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"song":{"melody":"la","notes":[1]}}}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"song":{"melody":"la","notes":[2]}}}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"reasoningContent":{"text":"h","new":true}}}"#),
        ];
        assert_eq!(
            content(&events),
            r#"[{"image":{"format":"png","source":{"bytes":"AAEC"}}},{"song":{"melody":"lala","notes":[1,2]}},{"reasoningContent":{"reasoningText":{"text":"h","new":true}}}]"#
        );
    }

    #[test]
    fn what_stands_beside_the_message_is_kept() {
        let events = [
            ("messageStart", r#"{"role":"assistant","p":"abc"}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#),
            ("messageStop", r#"{"stopReason":"end_turn","additionalModelResponseFields":{"x":1},"p":"ab"}"#),
            (
                "metadata",
                r#"{"usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3},"metrics":{"latencyMs":5},"trace":{"guardrail":{"a":1}},"serviceTier":{"type":"flex"},"p":"abcd"}"#,
            ),
        ];
        stream(&events).turn();
        assert_eq!(
            native(&STREAM, Framing::EventStream, &body(&events)).to_json(),
            r#"{"stopReason":"end_turn","additionalModelResponseFields":{"x":1},"usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3},"metrics":{"latencyMs":5},"trace":{"guardrail":{"a":1}},"serviceTier":{"type":"flex"},"output":{"message":{"role":"assistant","content":[{"text":"a"}]}}}"#
        );
    }

    #[test]
    fn an_exception_is_a_fault_and_a_missing_end_a_cut() {
        let mut exception = body(&RICH[..8]);
        eventstream::encode_exception("modelStreamErrorException", br#"{"message":"oops"}"#, &mut exception);
        let outcome = golden(&STREAM, Framing::EventStream, &exception);
        assert!(
            matches!(outcome, Outcome::Fault(Fault::Upstream(m)) if m.contains("modelStreamErrorException") && m.contains("oops"))
        );
        assert_eq!(stream(&RICH[..RICH.len() - 2]), Outcome::Cut);
        assert!(matches!(stream(&RICH[..RICH.len() - 1]), Outcome::Whole(_)));
        let cut = body(RICH);
        assert_eq!(golden(&STREAM, Framing::EventStream, &cut[..cut.len() - 1]), Outcome::Unframed);
        assert!(matches!(whole(r#"{"message":"no"}"#), Outcome::Fault(Fault::Upstream(m)) if m == "no"));
        assert!(matches!(whole(r#"{"Output":{}}"#), Outcome::Fault(Fault::Unreadable(_))));
    }

    /// With data that looks like what the wire has places for.
    const ASKED: &str = r#"{"system":[{"text":"s"},{"cachePoint":{"type":"default"}}],"requestMetadata":{"run":"7"},
        "toolConfig":{"tools":[{"toolSpec":{"name":"f","description":"d","inputSchema":{"json":{"toolUseId":"x"}}}},{"cachePoint":{"type":"default"}}]},
        "inferenceConfig":{"maxTokens":9},"additionalModelRequestFields":{"k":1},"guardrailConfig":{"guardrailIdentifier":"g"},
        "messages":[{"role":"user","content":[{"image":{"format":"png","source":{"bytes":"AA"}}},{"cachePoint":{"type":"default"}}]},
            {"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"hm","signature":"s"}}},
                {"citationsContent":{"content":[{"text":"c"}],"citations":[{"title":"t","location":{"web":{"url":"u"}}}]}},
                {"toolUse":{"toolUseId":"t1","name":"f","type":"server_tool_use","input":{"toolUseId":"42","toolUse":{"toolUseId":"43"}}}}]},
            {"role":"user","content":[{"toolResult":{"toolUseId":"t1","status":"success","content":[{"json":{"toolUseId":"44"}},{"text":"r"}]}}]}]}"#;

    #[test]
    fn a_request_is_another_one_wherever_a_model_could_see_it() {
        let unseen = [
            "/system/1/cachePoint/type",
            "/requestMetadata/run",
            "/toolConfig/tools/1/cachePoint/type",
            "/messages/0/content/1/cachePoint/type",
        ];
        assert_eq!(indifferent("/model/m/converse", ASKED), unseen);
    }

    #[test]
    fn what_clients_send_back_of_an_answer_is_one() {
        let asked = |turn: &str, results: &str| {
            let body = format!(
                r#"{{"messages":[{{"role":"user","content":[{{"text":"hi"}}]}},{{"role":"assistant","content":[{turn}]}},{{"role":"user","content":[{results}]}}]}}"#
            );
            hash("/model/m/converse", &Node::parse(&body).expect("JSON"))
        };
        let result = |id: &str, text: &str| {
            format!(r#"{{"toolResult":{{"toolUseId":"{id}","content":[{{"text":"{text}"}}]}}}}"#)
        };
        let turn = r#"{"text":"a"},{"toolUse":{"toolUseId":"t1","name":"f","input":{"n":1}}},{"toolUse":{"toolUseId":"t2","name":"f","input":{}}}"#;
        let results = [result("t1", "one"), result("t2", "two")].join(",");
        let one = asked(turn, &results);
        let dumped = r#"{"text":"a","image":null},{"toolUse":{"name":"f","toolUseId":"t1","input":{"n":1.0}}},{"toolUse":{"toolUseId":"t2","name":"f","input":{}}},{"cachePoint":{"type":"default"}}"#;
        assert_eq!(asked(dumped, &results), one);
        let renamed = |text: &str| text.replace("t1", "tooluse_A").replace("t2", "tooluse_0");
        assert_eq!(asked(&renamed(turn), &renamed(&results)), one);
        assert_eq!(asked(turn, &[result("t2", "two"), result("t1", "one")].join(",")), one);
        assert_ne!(asked(turn, &[result("t2", "one"), result("t1", "two")].join(",")), one);
    }
}
