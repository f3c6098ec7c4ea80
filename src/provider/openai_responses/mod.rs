//! OpenAI Responses: typed items in, typed items out, typed events between.
//! <https://platform.openai.com/docs/api-reference/responses>
//!
//! The native answer is the response object, as a stream's terminal event has it. A turn's parts are its output items: a
//! text part is a message, neighbouring reasoning parts are the summaries of one reasoning item (a signature, its
//! `encrypted_content`, ends it), a tool call is a `function_call` or a `custom_tool_call`. All else, items of other kinds
//! among it (web search, computer use, shell, MCP…), is the native answer's alone.

mod answer;
mod collapse;
mod plain;
mod read;
mod request;
mod stream;

use super::{
    AnswerHead, BadRequest, Call, Carries, ChatWire, Codec, Collapse, Encoding, FinishWords, Places, Results, Shape,
    UsageShape, parse_body,
};
use crate::frame::Frames;
use crate::json::Node;
use crate::reply::Reply;
use crate::request::Request;

/// The status of a response that has all of its output, and of one that has not.
const COMPLETED: &str = "completed";
const INCOMPLETE: &str = "incomplete";

/// The events that end a stream with a response.
const END_MARKERS: [&[u8]; 2] = [b"response.completed", b"response.incomplete"];

/// `status`, and `incomplete_details.reason` where that is `incomplete`.
/// <https://platform.openai.com/docs/api-reference/responses/object#responses/object-incomplete_details>
static FINISH: FinishWords = FinishWords {
    exact: &[(COMPLETED, "stop"), ("max_output_tokens", "length"), ("content_filter", "content_filter")],
    near: &[("max_tool_calls", "length"), ("max_messages", "length"), ("steered", "stop"), (INCOMPLETE, "length")],
    otherwise: COMPLETED,
};

/// <https://platform.openai.com/docs/api-reference/responses/object#responses/object-usage>
static USAGE: UsageShape = UsageShape {
    input: "/input_tokens",
    output: "/output_tokens",
    total: "/total_tokens",
    cached: "/input_tokens_details/cached_tokens",
    cache_write: "/input_tokens_details/cache_write_tokens",
    reasoning: "/output_tokens_details/reasoning_tokens",
    input_excludes_cached: false,
    output_excludes_reasoning: false,
};

/// Its name.
const WIRE: &str = "openai-responses";

/// Calls have a `call_id`; every item that an answer had has an id of its own too.
/// <https://platform.openai.com/docs/api-reference/responses/create#responses-create-input>
static PLACES: Places = Places {
    ids: &["/input/*/id", "/input/*/call_id", "/input/*/approval_request_id"],
    json: &["/input/*/arguments"],
    plain: &["/input/*", "/input/*/content/*", "/input/*/summary/*"],
    // What the SDKs' `parse` makes of a text or of arguments that they have.
    unseen: &["/input/*/parsed_arguments", "/input/*/content/*/parsed"],
    results: Some(Results { list: "/input", call: "/call_id", beside: "output" }),
};

/// Members of a request that its response repeats.
const ECHOED: [&str; 22] = [
    "background",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// A text that comes piece by piece, under `{event}.delta`, and then whole, under `{event}.done`.
/// <https://platform.openai.com/docs/api-reference/responses-streaming>
#[derive(Debug)]
struct Grows {
    event: &'static str,
    /// The type of its item.
    item: &'static str,
    /// The member of the item that lists parts, and the part's type; empty where the item itself has the text.
    list: &'static str,
    part: &'static str,
    /// The member that is the text, in the part or item and in the event that ends it.
    member: &'static str,
}

static GROWS: [Grows; 8] = [
    grows("response.output_text", "message", "content", "output_text", "text"),
    grows("response.refusal", "message", "content", "refusal", "refusal"),
    grows("response.reasoning_summary_text", "reasoning", "summary", "summary_text", "text"),
    grows("response.reasoning_text", "reasoning", "content", "reasoning_text", "text"),
    grows("response.function_call_arguments", "function_call", "", "", "arguments"),
    grows("response.custom_tool_call_input", "custom_tool_call", "", "", "input"),
    grows("response.mcp_call_arguments", "mcp_call", "", "", "arguments"),
    grows("response.code_interpreter_call_code", "code_interpreter_call", "", "", "code"),
];

const fn grows(
    event: &'static str,
    item: &'static str,
    list: &'static str,
    part: &'static str,
    member: &'static str,
) -> Grows {
    Grows { event, item, list, part, member }
}

/// The responses wire.
#[derive(Debug)]
pub struct Responses;

impl Codec for Responses {
    fn wire(&self) -> &'static str {
        WIRE
    }

    fn shape(&self) -> Shape<'_> {
        Shape::Chat(self)
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        parse_body::<request::Body<'a>>(call.body)?.into_request(call)
    }

    fn identity(&self) -> &'static Places {
        &PLACES
    }

    /// The id of an `item_reference` is all that is said: it is no name for what stands beside it.
    fn one_form(&self, body: &mut Node<'_>) {
        let items = body.get_mut("input").map_or(&mut [][..], Node::items_mut);
        for item in items.iter_mut().filter(|item| item.str("type") == Some("item_reference")) {
            if let Some(id) = item.remove("id") {
                item.set("of", id);
            }
        }
    }
}

impl ChatWire for Responses {
    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        Box::new(collapse::Collapser::new(answer))
    }

    fn read(&self, native: &Node<'_>) -> Reply {
        read::read(native)
    }

    fn write<'r>(&self, reply: &'r Reply, to: &Encoding<'r>) -> Node<'r> {
        answer::write(reply, to)
    }

    fn stream(&self, native: &Node<'_>, to: &Encoding<'_>) -> Frames {
        stream::stream(native, to.chunk_chars)
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &END_MARKERS
    }

    fn carries(&self) -> Carries {
        Carries { part_signatures: false, redacted: false, ..Carries::ALL }
    }

    fn finish_words(&self) -> Option<&'static FinishWords> {
        Some(&FINISH)
    }

    fn usage_shape(&self) -> Option<&'static UsageShape> {
        Some(&USAGE)
    }
}

/// The texts in a list of parts; a bare text is one.
fn texts<'n>(parts: Option<&'n Node<'_>>) -> impl Iterator<Item = &'n str> {
    let bare = parts.and_then(Node::as_str);
    bare.into_iter().chain(parts.map_or(&[][..], Node::items).iter().filter_map(|part| part.str("text")))
}

#[cfg(test)]
mod tests {
    use super::super::laws::{Outcome, carried, collapse, golden, hash, indifferent, native, round_trip, with_request};
    use super::super::{Collapsed, Progress};
    use super::*;
    use crate::fixture::{Fixture, Match};
    use crate::frame::{Frame, Framing};
    use crate::keep::AskedFor;
    use crate::redact::Redactor;
    use crate::reply::{Part, ToolCall};
    use crate::request::Kind;

    const PATH: &str = "/v1/responses";
    const ASK: &str = r#"{"model":"gpt-5","stream":true,"input":"hi"}"#;

    fn reasoning(text: &str, signature: Option<&str>) -> Part {
        Part::Reasoning { text: text.into(), signature: signature.map(Into::into) }
    }

    fn call(id: &str, name: &str, arguments: &str) -> Part {
        Part::ToolCall(ToolCall {
            id: Some(id.into()),
            name: name.into(),
            arguments: arguments.into(),
            ..ToolCall::default()
        })
    }

    #[track_caller]
    fn comes_back(ask: &str, reply: &Reply) {
        with_request(PATH, ask, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!(whole.turn(), carried(reply, &codec.carries()));
            assert_eq!(streamed.turn(), carried(reply, &codec.carries()));
        });
    }

    fn rich() -> Reply {
        Reply {
            parts: vec![
                reasoning("**One**\n\nfirst", None),
                reasoning("second", Some("enc-1")),
                reasoning("", Some("enc-2")),
                Part::text("héllo 🌍"),
                call("call_1", "f", r#"{"a":[1,{"b":"é"}]}"#),
                call("call_2", "g", "{\"cut"),
                Part::text("after"),
            ],
            finish: Some("tool_calls".into()),
            refusal: Some("no".into()),
            id: Some("resp_1".into()),
            model: Some("gpt-5-2025-08-07".into()),
            created: Some(5),
            usage: serde_json::from_str(
                r#"{"input_tokens":1,"input_tokens_details":{"cached_tokens":0},"output_tokens":2,
                    "output_tokens_details":{"reasoning_tokens":0},"total_tokens":3}"#,
            )
            .ok(),
            ..Reply::default()
        }
    }

    #[test]
    fn a_rich_turn_comes_back() {
        comes_back(ASK, &rich());
    }

    #[test]
    fn an_incomplete_turn_comes_back() {
        for word in ["length", "content_filter", "max_tool_calls", "incomplete"] {
            let reply = Reply { finish: Some(word.into()), parts: vec![Part::text("cut")], ..rich() };
            comes_back(ASK, &reply);
        }
    }

    #[test]
    fn a_custom_tool_is_called_with_text() {
        let declared = r#"{"model":"gpt-5","stream":true,"input":"hi","tools":[{"type":"custom","name":"shell"}]}"#;
        let call = |custom| {
            let call = ToolCall {
                id: Some("c".into()),
                name: "shell".into(),
                arguments: "ls -l".into(),
                ..ToolCall::default()
            };
            Reply { parts: vec![Part::ToolCall(ToolCall { custom, ..call })], refusal: None, ..rich() }
        };
        // Recorded as one, it is one whatever the request declares.
        comes_back(ASK, &call(true));
        with_request(PATH, declared, |codec, request| {
            let to = Encoding { request, chunk_chars: 2, now: 0, seed: 0 };
            let whole: serde_json::Value =
                serde_json::from_slice(&codec.encode_whole(&call(false).into(), &to)).unwrap();
            assert_eq!(whole["output"][0]["type"], "custom_tool_call");
            assert_eq!(whole["output"][0]["input"], "ls -l");
        });
    }

    #[test]
    fn an_empty_turn_is_an_empty_message_or_nothing_where_it_was_cut() {
        with_request(PATH, ASK, |codec, request| {
            for (finish, messages) in [("stop", 1), ("length", 0)] {
                let reply = Reply { finish: Some(finish.into()), ..Reply::default() };
                let to = Encoding { request, chunk_chars: 2, now: 0, seed: 0 };
                let whole: serde_json::Value =
                    serde_json::from_slice(&codec.encode_whole(&reply.clone().into(), &to)).unwrap();
                assert_eq!(whole["output"].as_array().map(Vec::len), Some(messages));
                let (whole, streamed) = round_trip(codec, &reply.into(), request);
                assert_eq!((whole.turn().parts, streamed.turn().parts), (vec![], vec![]));
            }
        });
    }

    #[test]
    fn terminal_frames_and_no_others_hold_an_end_marker() {
        with_request(PATH, ASK, |codec, request| {
            for finish in ["stop", "length"] {
                let reply = Reply { finish: Some(finish.into()), ..rich() };
                let to = Encoding { request, chunk_chars: 2, now: 0, seed: 0 };
                let frames = codec.encode_stream(&reply.into(), &to);
                let marked = |f: &[u8]| codec.end_markers().iter().any(|m| memchr::memmem::find(f, m).is_some());
                let marks: Vec<bool> = frames.iter().map(marked).collect();
                assert_eq!(marks.iter().filter(|m| **m).count(), 1);
                assert_eq!(marks.last(), Some(&true));
            }
        });
    }

    #[test]
    fn a_stream_that_is_cut_anywhere_before_its_end_is_not_whole() {
        with_request(PATH, ASK, |codec, request| {
            let to = Encoding { request, chunk_chars: 40, now: 0, seed: 0 };
            let frames = codec.encode_stream(&rich().into(), &to);
            for end in &frames.ends[..frames.ends.len() - 1] {
                assert_eq!(collapse(codec, Framing::Sse, [&frames.bytes[..*end]]), Outcome::Cut);
            }
        });
    }

    // ------------------------------------------------------------------------------------- what is kept of an answer

    /// A response with these items, which comes back as it was, whole and streamed.
    #[track_caller]
    fn kept(items: &str) -> Node<'static> {
        let response = format!(r#"{{"id":"resp_1","status":"completed","output":[{items}]}}"#);
        let event = format!("data: {{\"type\":\"response.completed\",\"response\":{response}}}\n\n");
        for (framing, body) in [(Framing::Whole, &response), (Framing::Sse, &event)] {
            golden(&Responses, framing, body.as_bytes());
            assert_eq!(native(&Responses, framing, body.as_bytes()), Node::parse(&response).unwrap());
        }
        Node::parse(&response).unwrap().into_owned()
    }

    const MESSAGE: &str =
        r#"{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"output_text","text":"hi"}]}"#;

    #[test]
    fn a_thought_without_a_word_is_kept() {
        let native = kept(&format!(r#"{{"type":"reasoning","id":"rs_1","summary":[]}},{MESSAGE}"#));
        assert_eq!(Responses.read(&native).parts, [Part::text("hi")]);
    }

    #[test]
    fn thoughts_keep_their_place_their_blob_and_their_status() {
        kept(r#"{"type":"reasoning","id":"rs_1","summary":[],"content":[{"type":"reasoning_text","text":"hm"}],"status":"completed"},
            {"type":"reasoning","id":"rs_2","summary":[{"type":"summary_text","text":"a"}],"encrypted_content":null},
            {"type":"reasoning","id":"rs_3","summary":[{"type":"summary_text","text":"b"}],"encrypted_content":"x","format":"f"}"#
            .replace('\n', "").as_str());
    }

    #[test]
    fn a_call_keeps_who_made_it_and_where_it_goes() {
        let call = r#"{"id":"fc_1","type":"function_call","call_id":"c","name":"f","arguments":"{}","namespace":"n",
            "caller":{"type":"program","id":"p"},"async":true,"status":"completed"}"#;
        kept(&call.replace('\n', ""));
        kept(r#"{"type":"function_call","id":"fc_1","name":"f","arguments":{"a":1}}"#);
    }

    #[test]
    fn a_call_with_text_needs_no_declaration() {
        let call = r#"{"id":"ctc_1","type":"custom_tool_call","call_id":"c","name":"apply_patch","input":"*** Begin","namespace":"n"}"#;
        let call = Responses.read(&kept(call)).parts.remove(0);
        assert!(matches!(call, Part::ToolCall(ToolCall { custom: true, arguments, .. }) if arguments == "*** Begin"));
    }

    #[test]
    fn two_texts_of_one_message_stay_two() {
        let native = kept(
            r#"{"id":"m","type":"message","phase":"commentary","content":[{"type":"output_text","text":"a"},
            {"type":"output_text","text":"","annotations":[{"type":"file_citation"}]},{"type":"refusal","refusal":"no"},
            {"type":"output_text","text":"b"},{"type":"hologram","of":[1]}]}"#
                .replace('\n', "")
                .as_str(),
        );
        let reply = Responses.read(&native);
        assert_eq!((reply.parts.len(), reply.refusal.as_deref()), (2, Some("no")));
    }

    #[test]
    fn items_of_other_kinds_stand_where_they_stood() {
        let search =
            r#"{"id":"ws_1","type":"web_search_call","status":"failed","action":{"type":"search","query":"q"}}"#;
        kept(&format!(
            r#"{search},{MESSAGE},{{"id":"x","type":"new_thing","content":[{{"text":"t"}}]}},{search},{{"no":"type"}}"#
        ));
    }

    #[test]
    fn nothing_is_made_up_around_the_items() {
        let body =
            r#"{"id":"r","object":"response","created_at":1.5,"output":[],"usage":{"input_tokens":1},"tools":null}"#;
        golden(&Responses, Framing::Whole, body.as_bytes());
        assert_eq!(native(&Responses, Framing::Whole, body.as_bytes()), Node::parse(body).unwrap());
    }

    #[test]
    fn an_item_that_was_cut_is_so_in_its_event() {
        let call =
            r#"{"id":"fc","type":"function_call","call_id":"c","name":"f","arguments":"{","status":"incomplete"}"#;
        let response = format!(r#"{{"status":"incomplete","output":[{call}]}}"#);
        let frames = Responses.stream(
            &Node::parse(&response).unwrap(),
            &Encoding { request: &Request::new(Kind::Chat), chunk_chars: 1, now: 0, seed: 0 },
        );
        let text = String::from_utf8(frames.bytes).unwrap();
        let done = text.split("\n\n").find(|event| event.contains("output_item.done")).unwrap();
        assert!(done.contains("\"status\":\"incomplete\""), "{done}");
    }

    #[test]
    fn a_blob_that_differs_between_two_events_is_noticed() {
        let item =
            |blob: &str| format!(r#"{{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"{blob}"}}"#);
        let request = Request { framing: Framing::Sse, ..Request::new(Kind::Chat) };
        let asked = AskedFor { codec: &Responses, request };
        let gives = |done: &str, listed: &str| {
            let head = AnswerHead { framing: Framing::Sse, status: 200, content_type: "" };
            let mut collapser = ChatWire::collapser(&Responses, &head);
            let events = [
                format!(r#"{{"type":"response.output_item.done","output_index":0,"item":{done}}}"#),
                format!(r#"{{"type":"response.completed","response":{{"status":"completed","output":[{listed}]}}}}"#),
            ];
            let progress = events.map(|event| collapser.push(&Frame::data(event.as_bytes())).unwrap());
            assert_eq!(progress[1], Progress::Done);
            let collapsed: Collapsed = collapser.finish();
            let kept = asked.keep(collapsed, &Redactor::default()).unwrap();
            let mut fixture = Fixture::new(Match::default(), kept.answer);
            fixture.native = kept.native.map(Box::new);
            asked.gives(&fixture.answer, fixture.native.as_deref(), &kept.came.unwrap())
        };
        assert!(gives(&item("a"), &item("a")));
        assert!(!gives(&item("a"), &item("b")));
    }

    // ------------------------------------------------------------------------------------------------------ identity

    #[test]
    fn what_a_model_sees_makes_another_request() {
        let ask = r#"{"model":"m","instructions":"be brief","temperature":0.5,"store":false,"user":"u",
            "tools":[{"type":"function","name":"f","parameters":{"id":"x"}}],"previous_response_id":"resp_1",
            "input":[{"role":"user","content":[{"type":"input_text","text":"hi"},{"type":"input_image","image_url":"data:a"}]},
            {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"e"},
            {"type":"function_call","id":"fc_1","call_id":"c1","name":"f","arguments":"{\"id\":\"42\",\"n\":1}","namespace":"n"},
            {"type":"function_call_output","call_id":"c1","output":"{\"id\":\"42\"}"},
            {"type":"message","id":"msg_1","role":"assistant","status":"completed","phase":"final_answer",
             "content":[{"type":"output_text","text":"a","parsed":{"b":1},"annotations":[{"type":"url_citation","url":"u"}]}]},
            {"type":"item_reference","id":"rs_2"},{"type":"mcp_approval_response","approval_request_id":"mcpr_1","approve":true}]}"#;
        let ids = ["/input/1/id", "/input/2/id", "/input/4/id", "/input/6/approval_request_id"];
        let unseen = ["/store", "/user", "/input/4/content/0/parsed/b"];
        let mut known: Vec<&str> = ids.into_iter().chain(unseen).collect();
        let mut found = indifferent(PATH, ask);
        known.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, known);
    }

    #[test]
    fn results_of_parallel_calls_come_in_any_order_and_arguments_in_any_form() {
        let ask = |items: &[&str]| {
            let call = |n: u8, arguments: &str| {
                format!(
                    r#"{{"type":"function_call","id":"f{n}","call_id":"c{n}","name":"f","arguments":"{arguments}"}}"#
                )
            };
            let body = format!(
                r#"{{"model":"m","input":[{},{},{}]}}"#,
                call(1, r#"{\"city\": \"Paris\", \"n\": 1.0}"#),
                call(2, ""),
                items.join(",")
            );
            hash(PATH, &Node::parse(&body).unwrap())
        };
        let (a, b) = (
            r#"{"type":"function_call_output","call_id":"c1","output":""}"#,
            r#"{"type":"function_call_output","call_id":"c2","output":"2"}"#,
        );
        assert_eq!(ask(&[a, b]), ask(&[b, a]));
        assert_ne!(ask(&[a, b]), ask(&[a, &b.replace("c2", "c1")]));
    }
}
