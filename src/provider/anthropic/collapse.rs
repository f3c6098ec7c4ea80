//! One turn of many events, or of one whole message.

use super::FINISH;
use crate::frame::{Frame, Framing};
use crate::provider::{Collapse, Fault, Progress, finish_in, parse_frame};
use crate::reply::{Answer, Part, Reply, ToolCall, Usage};
use crate::request::Str;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Puts the events of one answer together, or reads a whole one; blocks that a turn has no part for (server tools and
/// their results, compaction) are left out.
pub(in crate::provider) struct Collapser {
    whole: bool,
    reply: Reply,
    blocks: Vec<Growing>,
    progress: Progress,
}

/// A content block as it grows.
struct Growing {
    index: u64,
    /// Its place in the reply's parts; `None` for a block that is left out.
    part: Option<usize>,
    /// A call's input as the block's first event had it; what counts where no delta follows.
    input: Option<String>,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        let data = frame.data.trim_ascii();
        if !data.is_empty() && data != b"[DONE]" {
            let event: Event<'_> = parse_frame(frame)?;
            self.take(event, frame)?;
        }
        Ok(self.progress)
    }

    fn kept_bytes(&self) -> usize {
        self.reply.kept_bytes()
    }

    fn finish(&mut self) -> Answer {
        for block in self.blocks.drain(..) {
            let part = block.part.and_then(|at| self.reply.parts.get_mut(at));
            if let Some(Part::ToolCall(call)) = part
                && call.arguments.is_empty()
            {
                call.arguments = block.input.unwrap_or_else(|| "{}".to_owned());
            }
        }
        let mut reply = std::mem::take(&mut self.reply);
        reply.parts.retain(|part| match part {
            Part::Text { text, .. } => !text.is_empty(),
            Part::Reasoning { text, signature } => !text.is_empty() || signature.is_some(),
            Part::RedactedReasoning(_) | Part::ToolCall(_) => true,
        });
        Answer::Turn(reply)
    }
}

impl Collapser {
    /// A collapser for a body in this framing.
    pub(in crate::provider) fn new(framing: Framing) -> Self {
        Collapser {
            whole: framing == Framing::Whole,
            reply: Reply::default(),
            blocks: Vec::new(),
            progress: Progress::More,
        }
    }

    /// Takes one event's JSON, for services that send the events in a framing of their own.
    ///
    /// # Errors
    /// As [`Collapse::push`].
    pub(in crate::provider) fn event(&mut self, json: &[u8]) -> Result<Progress, Fault> {
        self.push(&Frame::data(json))
    }

    fn take(&mut self, event: Event<'_>, frame: &Frame<'_>) -> Result<(), Fault> {
        let kind = event.kind.as_deref().unwrap_or(frame.event);
        if kind == "error" || frame.event == "error" || event.error.is_some_and(|e| e.get() != "null") {
            return Err(Fault::Upstream(
                event
                    .error
                    .map_or_else(|| String::from_utf8_lossy(frame.data).into_owned(), |error| error.get().to_owned()),
            ));
        }
        match kind {
            "message_start" => self.message(event.message.unwrap_or_default()),
            "content_block_start" => self.start(event.index, event.content_block.unwrap_or_default()),
            "content_block_delta" => self.delta(event.index, event.delta.unwrap_or_default()),
            "message_delta" => {
                self.stop(event.delta.and_then(|d| d.stop_reason));
                self.usage(event.usage);
            }
            "message_stop" => self.progress = Progress::Done,
            _ if self.whole || kind == "message" => {
                let message: Message<'_> = parse_frame(frame)?;
                if message.content.is_none() {
                    return Err(Fault::Unreadable("an answer without content".to_owned()));
                }
                self.message(message);
                self.progress = Progress::Done;
            }
            _ => {} // a ping, or an event of a later version
        }
        Ok(())
    }

    /// A whole message; or a stream's first event, which mostly has no content yet, but all of it where the answer is
    /// a tool call made by code that runs on the server.
    fn message(&mut self, message: Message<'_>) {
        let owned = |s: Option<Str<'_>>| s.filter(|s| !s.is_empty()).map(|s| s.0.into_owned());
        self.reply.id = owned(message.id);
        self.reply.model = owned(message.model);
        self.reply.role = owned(message.role).filter(|role| role != "assistant");
        for block in message.content.into_iter().flatten() {
            self.start(None, block);
        }
        self.stop(message.stop_reason);
        self.usage(message.usage);
    }

    fn start(&mut self, index: Option<u64>, block: Block<'_>) {
        let text = |s: Option<Str<'_>>| s.map(|s| s.0.into_owned()).unwrap_or_default();
        let signature = block.signature.filter(|s| !s.is_empty()).map(|s| s.0.into_owned());
        let part = match block.kind.as_deref() {
            Some("text") => Some(Part::text(text(block.text))),
            Some("thinking") => Some(Part::Reasoning { text: text(block.thinking), signature }),
            Some("redacted_thinking") => Some(Part::RedactedReasoning(text(block.data))),
            Some("tool_use") => Some(Part::ToolCall(ToolCall {
                id: block.id.map(|id| id.0.into_owned()),
                name: text(block.name),
                ..ToolCall::default()
            })),
            _ => None,
        };
        let input = block.input.filter(|_| matches!(part, Some(Part::ToolCall(_)))).map(|raw| raw.get().to_owned());
        let at = part.map(|part| {
            self.reply.parts.push(part);
            self.reply.parts.len() - 1
        });
        let index = index.unwrap_or(self.blocks.len() as u64);
        self.blocks.push(Growing { index, part: at, input });
    }

    fn delta(&mut self, index: Option<u64>, delta: Delta<'_>) {
        let known = match index {
            Some(index) => self.blocks.iter().rposition(|b| b.index == index),
            None => self.blocks.len().checked_sub(1),
        };
        let at = known.unwrap_or_else(|| {
            // Not every service that speaks this wire announces its blocks.
            let kind = match delta.kind.as_deref() {
                Some("text_delta") => "text",
                Some("thinking_delta" | "signature_delta") => "thinking",
                _ => "",
            };
            self.start(index, Block { kind: Some(Str(kind.into())), ..Block::default() });
            self.blocks.len() - 1
        });
        let block = self.blocks.get(at);
        let Some(part) = block.and_then(|b| b.part).and_then(|at| self.reply.parts.get_mut(at)) else { return };
        let more = |into: &mut String, new: Option<Str<'_>>| new.into_iter().for_each(|s| into.push_str(&s));
        match (delta.kind.as_deref().unwrap_or(""), part) {
            ("text_delta", Part::Text { text, .. }) => more(text, delta.text),
            ("thinking_delta", Part::Reasoning { text, .. }) => more(text, delta.thinking),
            ("signature_delta", Part::Reasoning { signature, .. }) => {
                *signature = delta.signature.filter(|s| !s.is_empty()).map(|s| s.0.into_owned());
            }
            ("input_json_delta", Part::ToolCall(call)) => more(&mut call.arguments, delta.partial_json),
            _ => {} // citations and what later versions bring
        }
    }

    fn stop(&mut self, reason: Option<Str<'_>>) {
        if let Some(own) = reason.filter(|own| !own.is_empty()) {
            self.reply.finish = Some(finish_in(&FINISH, &own));
            if self.progress == Progress::More {
                self.progress = Progress::Finished;
            }
        }
    }

    /// Counts come with the first event and again, final, with the last: the later ones hold.
    fn usage(&mut self, raw: Option<&RawValue>) {
        let Some(usage) = raw.and_then(|raw| serde_json::from_str::<Option<Usage>>(raw.get()).ok()).flatten() else {
            return;
        };
        let kept = self.reply.usage.get_or_insert_default();
        for (name, count) in usage {
            if !(count.is_null() && kept.contains_key(&name)) {
                kept.insert(name, count);
            }
        }
    }
}

/// Any event.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Str<'a>>,
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    message: Option<Message<'a>>,
    #[serde(borrow, default)]
    content_block: Option<Block<'a>>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    #[serde(borrow, default)]
    role: Option<Str<'a>>,
    #[serde(borrow, default)]
    content: Option<Vec<Block<'a>>>,
    #[serde(borrow, default)]
    stop_reason: Option<Str<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Block<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Str<'a>>,
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Str<'a>>,
    #[serde(borrow, default)]
    signature: Option<Str<'a>>,
    #[serde(borrow, default)]
    data: Option<Str<'a>>,
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Str<'a>>,
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Str<'a>>,
    #[serde(borrow, default)]
    signature: Option<Str<'a>>,
    #[serde(borrow, default)]
    partial_json: Option<Str<'a>>,
    #[serde(borrow, default)]
    stop_reason: Option<Str<'a>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::anthropic::MESSAGES;
    use crate::provider::laws::{Outcome, golden};
    use serde_json::json;

    const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"cache_read_input_tokens":4,"output_tokens":1}}}"#;
    const STOP: &str = r#"{"type":"content_block_stop","index":0}"#;
    const END: &str = r#"{"type":"message_stop"}"#;

    fn open(index: u32, block: &str) -> String {
        format!(r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#)
    }

    fn delta(index: u32, delta: &str) -> String {
        format!(r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#)
    }

    fn finish(reason: &str) -> String {
        format!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}","stop_sequence":null}},"usage":{{"output_tokens":7}}}}"#
        )
    }

    /// A stream of these events between the usual first and last ones.
    fn stream(reason: &str, events: &[&str]) -> Outcome {
        let last = finish(reason);
        let events = [&[START], events, &[&*last, END]].concat();
        sse(&events)
    }

    fn sse(events: &[&str]) -> Outcome {
        let frame = |event: &&str| {
            let name = event.split('"').nth(3).unwrap();
            format!("event: {name}\ndata: {event}   \n\n")
        };
        golden(&MESSAGES, Framing::Sse, events.iter().map(frame).collect::<String>().as_bytes())
    }

    fn whole(body: &str) -> Outcome {
        golden(&MESSAGES, Framing::Whole, body.as_bytes())
    }

    #[test]
    fn text_with_pings_and_citations() {
        let reply = stream(
            "end_turn",
            &[
                &open(0, r#"{"type":"text","text":"","citations":[]}"#),
                r#"{"type": "ping"}"#,
                &delta(0, r#"{"type":"text_delta","text":"Hé"}"#),
                &delta(0, r#"{"type":"citations_delta","citation":{"type":"char_location","cited_text":"x"}}"#),
                &delta(0, r#"{"type":"text_delta","text":"llo\n\"you\""}"#),
                STOP,
            ],
        )
        .turn();
        assert_eq!(reply.parts, [Part::text("Héllo\n\"you\"")]);
        assert_eq!((reply.id.as_deref(), reply.model.as_deref()), (Some("msg_1"), Some("claude-x")));
        assert_eq!((reply.finish.as_deref(), reply.role.as_deref()), (Some("stop"), None));
    }

    #[test]
    fn blocks_that_were_not_announced() {
        let reply = stream(
            "end_turn",
            &[
                &delta(0, r#"{"type":"thinking_delta","thinking":"hm"}"#),
                &delta(1, r#"{"type":"text_delta","text":"a"}"#),
                &delta(1, r#"{"type":"text_delta","text":"b"}"#),
            ],
        )
        .turn();
        assert_eq!((reply.reasoning(), reply.content(), reply.parts.len()), ("hm".into(), "ab".into(), 2));
    }

    #[test]
    fn thinking_with_only_a_signature_and_redacted_thinking() {
        let reply = stream(
            "end_turn",
            &[
                &open(0, r#"{"type":"thinking","thinking":"","signature":""}"#),
                &delta(0, r#"{"type":"thinking_delta","thinking":"","estimated_tokens":50}"#),
                &delta(0, r#"{"type":"signature_delta","signature":"c2ln"}"#),
                STOP,
                &open(1, r#"{"type":"redacted_thinking","data":"b3BhcXVl"}"#),
                &open(2, r#"{"type":"thinking","thinking":"","signature":""}"#),
                &delta(2, r#"{"type":"thinking_delta","thinking":"so"}"#),
            ],
        )
        .turn();
        let thinking = |text: &str, signature: Option<&str>| Part::Reasoning {
            text: text.into(),
            signature: signature.map(str::to_owned),
        };
        assert_eq!(
            reply.parts,
            [thinking("", Some("c2ln")), Part::RedactedReasoning("b3BhcXVl".into()), thinking("so", None)]
        );
    }

    #[test]
    fn tools_without_input_with_deltas_and_with_input_in_the_first_event() {
        let tool = |n: u32, input: &str| format!(r#"{{"type":"tool_use","id":"t{n}","name":"f","input":{input}}}"#);
        let reply = stream(
            "tool_use",
            &[
                &open(0, &tool(0, "{}")),
                &delta(0, r#"{"type":"input_json_delta","partial_json":""}"#),
                &open(1, &tool(1, "{}")),
                &delta(1, r#"{"type":"input_json_delta","partial_json":"{\"a\""}"#),
                &delta(1, r#"{"type":"input_json_delta","partial_json":": 1}"}"#),
                &open(2, &tool(2, r#"{"player":"one"}"#)),
            ],
        )
        .turn();
        let calls: Vec<_> = reply.tool_calls().map(|c| (c.id.as_deref(), &*c.arguments)).collect();
        assert_eq!(calls, [(Some("t0"), "{}"), (Some("t1"), "{\"a\": 1}"), (Some("t2"), r#"{"player":"one"}"#)]);
        assert_eq!(reply.finish.as_deref(), Some("tool_calls"));
    }

    #[test]
    fn server_tools_are_left_out_and_text_around_them_stays_in_order() {
        let reply = stream(
            "pause_turn",
            &[
                &open(0, r#"{"type":"text","text":"before"}"#),
                &open(1, r#"{"type":"server_tool_use","id":"s1","name":"web_search","input":{}}"#),
                &delta(1, r#"{"type":"input_json_delta","partial_json":"{\"query\":\"x\"}"}"#),
                &open(2, r#"{"type":"web_search_tool_result","tool_use_id":"s1","content":[{"title":"t","url":"u"}]}"#),
                &open(3, r#"{"type":"compaction","content":null}"#),
                &delta(3, r#"{"type":"compaction_delta","content":"short"}"#),
                &open(4, r#"{"type":"text","text":""}"#),
                &delta(4, r#"{"type":"text_delta","text":"after"}"#),
                r#"{"type":"an_event_of_next_year","index":{"a":1}}"#.replace("{\"a\":1}", "5").as_str(),
            ],
        )
        .turn();
        assert_eq!(reply.parts, [Part::text("before"), Part::text("after")]);
        assert_eq!(reply.finish.as_deref(), Some("pause_turn"));
    }

    #[test]
    fn the_last_usage_overrides_the_first() {
        let last = r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"input_tokens":20,"cache_read_input_tokens":null,"output_tokens":7,"server_tool_use":{"web_search_requests":1}}}"#;
        let reply = sse(&[START, last, END]).turn();
        let expected = json!({"input_tokens": 20, "cache_read_input_tokens": 4, "output_tokens": 7,
            "server_tool_use": {"web_search_requests": 1}});
        assert_eq!(reply.usage.map(serde_json::Value::Object), Some(expected));
        assert_eq!(reply.finish.as_deref(), Some("length"));
    }

    #[test]
    fn a_whole_answer_in_the_first_event() {
        let start = r#"{"type":"message_start","message":{"id":"m","role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"n":2}}],"stop_reason":"tool_use","usage":{"output_tokens":0}}}"#;
        let reply = sse(&[start, END]).turn();
        assert_eq!(reply.tool_calls().map(|c| &*c.arguments).collect::<Vec<_>>(), [r#"{"n":2}"#]);
        assert_eq!(reply.finish.as_deref(), Some("tool_calls"));
    }

    #[test]
    fn a_whole_message() {
        let body = r#" {"id":"m","type":"message","role":"assistant","model":"claude-x","container":null,"content":[
            {"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"a"},
            {"type":"server_tool_use","id":"s","name":"web_search","input":{}},{"type":"text","text":"b"},
            {"type":"tool_use","id":"t","name":"f","input":{"big": 12345678901234567890.5}}],
            "stop_reason":"refusal","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":2}} "#;
        let reply = whole(body).turn();
        assert_eq!((reply.content(), reply.reasoning()), ("ab".to_owned(), "hm".to_owned()));
        assert_eq!(
            reply.tool_calls().map(|c| &*c.arguments).collect::<Vec<_>>(),
            [r#"{"big": 12345678901234567890.5}"#]
        );
        assert_eq!((reply.parts.len(), reply.finish.as_deref()), (4, Some("content_filter")));
    }

    #[test]
    fn an_error_is_a_fault_wherever_it_comes() {
        let error = r#"{"type":"error","error":{"details":null,"type":"overloaded_error","message":"Overloaded"}}"#;
        for outcome in [sse(&[error]), sse(&[START, error, END]), whole(error)] {
            assert!(matches!(&outcome, Outcome::Fault(Fault::Upstream(m)) if m.contains("Overloaded")), "{outcome:?}");
        }
        assert!(matches!(whole(r#"{"detail":"no"}"#), Outcome::Fault(Fault::Unreadable(_))));
    }

    #[test]
    fn whole_or_cut() {
        let text = open(0, r#"{"type":"text","text":"a"}"#);
        assert_eq!(sse(&[START, &text, STOP]), Outcome::Cut);
        assert_eq!(sse(&[START, &text, STOP, &finish("end_turn")]).turn().content(), "a");
        let done = format!("event: message_stop\ndata: {END}\n\ndata: [DONE]\n\n");
        assert_eq!(golden(&MESSAGES, Framing::Sse, done.as_bytes()).turn(), Reply::default());
    }

    #[test]
    fn events_come_in_other_framings_too() {
        let mut collapser = Collapser::new(Framing::EventStream);
        for event in [START, &open(0, r#"{"type":"text","text":"a"}"#)] {
            assert_eq!(collapser.event(event.as_bytes()), Ok(Progress::More));
        }
        assert_eq!(collapser.event(finish("end_turn").as_bytes()), Ok(Progress::Finished));
        assert_eq!(collapser.event(END.as_bytes()), Ok(Progress::Done));
    }
}
