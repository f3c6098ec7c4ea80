//! One turn of many events, or of one whole message.

use super::{FINISH, WIRE};
use crate::frame::{Frame, Framing};
use crate::provider::echo::says_nothing;
use crate::provider::{Collapse, Fault, Progress, finish_in, parse_frame, parse_member};
use crate::reply::{Answer, Part, Reply, ToolCall, Usage, Verbatim};
use crate::request::Str;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// Puts the events of one answer together, or reads a whole one; blocks that a turn has no part for (server tools and
/// their results, compaction) are kept as they came.
pub(in crate::provider) struct Collapser {
    whole: bool,
    reply: Reply,
    blocks: Vec<Growing>,
    /// Bytes of citations.
    cited: usize,
    /// Members that say more of how the message ended.
    ending: Map<String, Value>,
    progress: Progress,
}

/// A content block as it grows.
struct Growing {
    index: u64,
    /// Its place in the reply's parts.
    part: usize,
    /// A call's input as the block's first event had it; what counts where no delta follows.
    input: Option<String>,
    /// What deltas told of a block that is kept as it came: its input.
    told: String,
    /// The sources of a text, and their place in the reply's parts.
    citations: Option<(usize, Vec<Value>)>,
}

impl Growing {
    fn cite(&mut self, citation: Value, reply: &mut Reply) {
        let (_, citations) = self.citations.get_or_insert_with(|| {
            reply.parts.push(Part::verbatim(WIRE, &Value::Null));
            (reply.parts.len() - 1, Vec::new())
        });
        citations.push(citation);
    }
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
        self.reply.kept_bytes() + self.cited + self.blocks.iter().map(|block| block.told.len()).sum::<usize>()
    }

    fn finish(&mut self) -> crate::provider::Collapsed {
        let answer: Answer = {
            for block in self.blocks.drain(..) {
                match self.reply.parts.get_mut(block.part) {
                    Some(Part::ToolCall(call)) if call.arguments.is_empty() => {
                        call.arguments = block.input.unwrap_or_else(|| "{}".to_owned());
                    }
                    Some(Part::Verbatim(own)) => tell(own, &block.told),
                    _ => {}
                }
                if let Some((at, citations)) = block.citations {
                    self.reply.parts[at] = Part::verbatim(WIRE, &json!({ "citations": citations }));
                }
            }
            let mut reply = std::mem::take(&mut self.reply);
            if !self.ending.is_empty() {
                reply.parts.push(Part::verbatim(WIRE, &std::mem::take(&mut self.ending).into()));
            }
            reply.parts.retain(|part| match part {
                Part::Text { text, .. } => !text.is_empty(),
                Part::Reasoning { text, signature } => !text.is_empty() || signature.is_some(),
                Part::RedactedReasoning(_) | Part::ToolCall(_) => true,
                Part::Verbatim(own) => own.json != "null",
            });
            Answer::Turn(reply)
        };
        answer.into()
    }
}

impl Collapser {
    /// A collapser for a body in this framing.
    pub(in crate::provider) fn new(framing: Framing) -> Self {
        Collapser {
            whole: framing == Framing::Whole,
            reply: Reply::default(),
            blocks: Vec::new(),
            cited: 0,
            ending: Map::new(),
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
            "content_block_start" => self.start(event.index, event.content_block),
            "content_block_delta" => self.delta(event.index, event.delta.unwrap_or_default()),
            "message_delta" => {
                let delta = event.delta.unwrap_or_default();
                self.end(delta.stop_sequence, delta.stop_details, delta.container, event.context_management);
                self.stop(delta.stop_reason);
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
            self.start(None, Some(block));
        }
        self.end(message.stop_sequence, message.stop_details, message.container, message.context_management);
        self.stop(message.stop_reason);
        self.usage(message.usage);
    }

    fn end(
        &mut self,
        stop_sequence: Option<&RawValue>,
        stop_details: Option<&RawValue>,
        container: Option<&RawValue>,
        context_management: Option<&RawValue>,
    ) {
        for (name, raw) in [
            ("stop_sequence", stop_sequence),
            ("stop_details", stop_details),
            ("container", container),
            ("context_management", context_management),
        ] {
            if let Some(value) = raw.and_then(|raw| parse_member(raw).ok()).filter(|value| !says_nothing(value)) {
                self.ending.insert(name.to_owned(), value);
            }
        }
    }

    fn start(&mut self, index: Option<u64>, raw: Option<&RawValue>) {
        let text = |s: Option<Str<'_>>| s.map(|s| s.0.into_owned()).unwrap_or_default();
        let block: Block<'_> = raw.and_then(|raw| parse_member(raw).ok()).unwrap_or_default();
        let signature = block.signature.filter(|s| !s.is_empty()).map(|s| s.0.into_owned());
        let part = match block.kind.as_deref() {
            Some("text") => Part::text(text(block.text)),
            Some("thinking") => Part::Reasoning { text: text(block.thinking), signature },
            Some("redacted_thinking") => Part::RedactedReasoning(text(block.data)),
            Some("tool_use") => Part::ToolCall(ToolCall {
                id: block.id.map(|id| id.0.into_owned()),
                name: text(block.name),
                ..ToolCall::default()
            }),
            None if raw.is_some_and(|raw| raw.get().starts_with('"')) => {
                Part::text(raw.and_then(|raw| parse_member::<String>(raw).ok()).unwrap_or_default())
            }
            _ => Part::verbatim(WIRE, &raw.and_then(|raw| parse_member(raw).ok()).unwrap_or_default()),
        };
        let input = block.input.filter(|_| matches!(part, Part::ToolCall(_))).map(|raw| raw.get().to_owned());
        let index = index.unwrap_or(self.blocks.len() as u64);
        self.reply.parts.push(part);
        let part = self.reply.parts.len() - 1;
        let mut growing = Growing { index, part, input, told: String::new(), citations: None };
        for citation in block.citations.into_iter().flatten() {
            self.cited += citation.get().len();
            growing.cite(parse_member(citation).unwrap_or_default(), &mut self.reply);
        }
        self.blocks.push(growing);
    }

    fn delta(&mut self, index: Option<u64>, delta: Delta<'_>) {
        let known = match index {
            Some(index) => self.blocks.iter().rposition(|b| b.index == index),
            None => self.blocks.len().checked_sub(1),
        };
        let at = known.unwrap_or_else(|| self.begin(index, &delta));
        let Some(block) = self.blocks.get_mut(at) else { return };
        let more = |into: &mut String, new: Option<Str<'_>>| new.into_iter().for_each(|s| into.push_str(&s));
        match (delta.kind.as_deref().unwrap_or(""), self.reply.parts.get_mut(block.part)) {
            ("text_delta", Some(Part::Text { text, .. })) => more(text, delta.text),
            ("thinking_delta", Some(Part::Reasoning { text, .. })) => more(text, delta.thinking),
            ("signature_delta", Some(Part::Reasoning { signature, .. })) => {
                *signature = delta.signature.filter(|s| !s.is_empty()).map(|s| s.0.into_owned());
            }
            ("input_json_delta", Some(Part::ToolCall(call))) => more(&mut call.arguments, delta.partial_json),
            ("input_json_delta", Some(Part::Verbatim(_))) => more(&mut block.told, delta.partial_json),
            ("compaction_delta", Some(Part::Verbatim(own))) => {
                amend(own, "content", delta.content);
                amend(own, "encrypted_content", delta.encrypted_content);
            }
            ("citations_delta", _) => {
                if let Some(citation) = delta.citation {
                    self.cited += citation.get().len();
                    block.cite(parse_member(citation).unwrap_or_default(), &mut self.reply);
                }
            }
            _ => {} // what later versions bring
        }
    }

    /// Not every service that speaks this wire announces its blocks.
    fn begin(&mut self, index: Option<u64>, delta: &Delta<'_>) -> usize {
        let part = match delta.kind.as_deref() {
            Some("text_delta") => Part::text(""),
            Some("thinking_delta" | "signature_delta") => Part::Reasoning { text: String::new(), signature: None },
            _ => return self.blocks.len(),
        };
        self.reply.parts.push(part);
        let (index, part) = (index.unwrap_or(0), self.reply.parts.len() - 1);
        self.blocks.push(Growing { index, part, input: None, told: String::new(), citations: None });
        self.blocks.len() - 1
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

/// Gives a block that is kept as it came the input that its deltas told.
fn tell(own: &mut Verbatim, told: &str) {
    if let (Ok(Value::Object(mut block)), Ok(input)) = (serde_json::from_str(&own.json), serde_json::from_str(told)) {
        block.insert("input".to_owned(), input);
        own.json = Value::Object(block).to_string();
    }
}

/// Adds to a text in a block that is kept as it came.
fn amend(own: &mut Verbatim, name: &str, more: Option<Str<'_>>) {
    if let (Ok(Value::Object(mut block)), Some(more)) = (serde_json::from_str(&own.json), more) {
        match block.get_mut(name) {
            Some(Value::String(text)) => text.push_str(&more),
            _ => drop(block.insert(name.to_owned(), (*more).into())),
        }
        own.json = Value::Object(block).to_string();
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
    content_block: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    context_management: Option<&'a RawValue>,
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
    content: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    stop_reason: Option<Str<'a>>,
    #[serde(borrow, default)]
    stop_sequence: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stop_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    container: Option<&'a RawValue>,
    #[serde(borrow, default)]
    context_management: Option<&'a RawValue>,
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
    #[serde(borrow, default)]
    citations: Option<Vec<&'a RawValue>>,
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
    #[serde(borrow, default)]
    stop_sequence: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stop_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    container: Option<&'a RawValue>,
    #[serde(borrow, default)]
    citation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<Str<'a>>,
    #[serde(borrow, default)]
    encrypted_content: Option<Str<'a>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::anthropic::MESSAGES;
    use crate::provider::laws::{Outcome, golden, round_trip, with_request};

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
        let sources = json!({"citations": [{"type": "char_location", "cited_text": "x"}]});
        let text = Part::text("Héllo\n\"you\"");
        assert_eq!(reply.parts, [text, Part::verbatim(WIRE, &sources)]);
        comes_back(&reply);
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
    fn server_tools_come_back_in_order_with_the_text_around_them() {
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
        let own = |block: Value| Part::verbatim(WIRE, &block);
        let expected = [
            Part::text("before"),
            own(json!({"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}})),
            own(
                json!({"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"title": "t", "url": "u"}]}),
            ),
            own(json!({"type": "compaction", "content": "short"})),
            Part::text("after"),
        ];
        assert_eq!(reply.parts, expected);
        assert_eq!(reply.finish.as_deref(), Some("pause_turn"));
        comes_back(&reply);
    }

    /// Whole and streamed, and as text alone on another wire.
    #[track_caller]
    fn comes_back(reply: &Reply) {
        let ask = r#"{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
        with_request("/v1/messages", ask, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!((whole.turn().parts, streamed.turn().parts), (reply.parts.clone(), reply.parts.clone()));
        });
        with_request("/v1/chat/completions", ask, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            let text = vec![Part::text(reply.content())];
            assert_eq!((whole.turn().parts, streamed.turn().parts), (text.clone(), text));
        });
    }

    #[test]
    fn how_it_ended_comes_back() {
        let last = r#"{"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"END","stop_details":null,
            "container":{"id":"c"}},"context_management":{"applied_edits":[{"type":"x"}]},"usage":{"output_tokens":7}}"#
            .replace('\n', "");
        let text = open(0, r#"{"type":"text","text":"a"}"#);
        let reply = sse(&[START, &text, STOP, &last, END]).turn();
        let ending = json!({"stop_sequence": "END", "container": {"id": "c"},
            "context_management": {"applied_edits": [{"type": "x"}]}});
        assert_eq!(reply.parts, [Part::text("a"), Part::verbatim(WIRE, &ending)]);
        assert_eq!(reply.finish.as_deref(), Some("stop_sequence"));
        comes_back(&reply);
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
        assert_eq!((reply.parts.len(), reply.finish.as_deref()), (5, Some("content_filter")));
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
