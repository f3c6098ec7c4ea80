//! One message of many events, as the official SDKs put it together, or of one whole answer.

use super::DELTAS;
use crate::frame::{Frame, Framing};
use crate::json::{Node, Walk, object};
use crate::provider::{Collapse, Collapsed, Fault, Progress, growth, native_of};

/// Puts the events of one answer together, or takes a whole one.
pub(in crate::provider) struct Collapser {
    whole: bool,
    message: Node<'static>,
    blocks: Vec<Growing>,
    kept_bytes: usize,
    progress: Progress,
}

/// A content block as it grows.
struct Growing {
    /// Its number, as events write it.
    index: String,
    block: Node<'static>,
    /// The pieces of its input.
    input: String,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        let data = frame.data.trim_ascii();
        if !data.is_empty() && data != b"[DONE]" && !self.take_piece(data) {
            self.take(native_of(data)?, frame)?;
        }
        Ok(self.progress)
    }

    fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    fn finish(&mut self) -> Collapsed {
        let mut message = std::mem::take(&mut self.message);
        if !self.blocks.is_empty() || message.get("content").is_none() {
            let blocks = self.blocks.drain(..).map(|growing| {
                let Growing { mut block, input, .. } = growing;
                if !input.is_empty() {
                    block.set("input", growth::of_pieces(&input).into_owned());
                }
                block
            });
            message.set("content", blocks.collect::<Vec<_>>());
        }
        message.into()
    }
}

impl Collapser {
    /// A collapser for a body in this framing.
    pub(in crate::provider) fn new(framing: Framing) -> Self {
        Collapser {
            whole: framing == Framing::Whole,
            message: Node::Object(Vec::new()),
            blocks: Vec::new(),
            kept_bytes: 0,
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

    /// Takes an event that is nothing but a piece for the last block, which most of a stream consists of, without taking
    /// it apart; whether it is one.
    fn take_piece(&mut self, event: &[u8]) -> bool {
        let Some(growing) = self.blocks.last_mut() else { return false };
        let piece = std::str::from_utf8(event).ok().and_then(|event| piece(event, &growing.index));
        let Some((member, literal)) = piece else { return false };
        let kept = match (member, growing.block.get_mut(member)) {
            ("partial_json", _) => &mut growing.input,
            (_, Some(Node::Text(text))) => text.to_mut(),
            _ => return false,
        };
        self.kept_bytes += growth::append(kept, literal);
        true
    }

    fn take(&mut self, event: Node<'_>, frame: &Frame<'_>) -> Result<(), Fault> {
        let kind = event.str("type").unwrap_or(frame.event).to_owned();
        if kind == "error" || frame.event == "error" || event.get("error").is_some() {
            let all = || String::from_utf8_lossy(frame.data).into_owned();
            return Err(Fault::Upstream(event.get("error").map_or_else(all, Node::to_json)));
        }
        let Node::Object(mut members) = event else {
            return Err(Fault::Unreadable(format!("an event that is no object: {}", event.to_json())));
        };
        let mut take = |name: &str| {
            let at = members.iter().position(|(n, _)| n == name)?;
            Some(members.swap_remove(at).1).filter(|value| !matches!(value, Node::Null))
        };
        match &*kind {
            "message_start" => self.start(take("message").unwrap_or_default()),
            "content_block_start" => {
                let index = take("index");
                self.open(index.as_ref(), take("content_block").unwrap_or_default());
            }
            "content_block_delta" => {
                let index = take("index");
                self.delta(index.as_ref(), take("delta").unwrap_or_default());
            }
            "message_delta" | "message_stop" => {
                let (delta, usage) = (take("delta"), take("usage"));
                take("type");
                let beside = Node::Object(members);
                for node in [delta, Some(beside)].into_iter().flatten() {
                    self.set(node);
                }
                self.usage(usage.unwrap_or_default());
                if kind == "message_stop" {
                    self.progress = Progress::Done;
                }
            }
            _ if self.whole || kind == "message" => {
                self.message = Node::Object(members).into_owned();
                if self.message.get("content").is_none() {
                    return Err(Fault::Unreadable("an answer without content".to_owned()));
                }
                self.kept_bytes = frame.data.len();
                self.progress = Progress::Done;
            }
            _ => {} // a ping, or an event of a later version
        }
        Ok(())
    }

    /// A stream's first event, which mostly has no content yet, but all of it where the answer is a tool call made by
    /// code that runs on the server.
    fn start(&mut self, mut message: Node<'_>) {
        if let Some(Node::List(blocks)) = message.get_mut("content") {
            for block in std::mem::take(blocks) {
                self.open(None, block);
            }
        }
        let usage = message.remove("usage").unwrap_or_default();
        self.set(message);
        self.usage(usage);
    }

    /// Sets members of the message to what says more than null.
    fn set(&mut self, members: Node<'_>) {
        let Node::Object(members) = members else { return };
        for (name, value) in members {
            if name == "stop_reason" && !value.says_nothing() && self.progress == Progress::More {
                self.progress = Progress::Finished;
            }
            if !matches!(value, Node::Null) || self.message.member(&name).is_none() {
                self.kept_bytes += value.kept_bytes();
                self.message.set(name.into_owned(), value.into_owned());
            }
        }
    }

    /// Counts come with the first event and again, final, with the last: the later ones hold.
    fn usage(&mut self, usage: Node<'_>) {
        let Node::Object(counts) = usage else { return };
        let kept = self.message.entry("usage");
        if !matches!(kept, Node::Object(_)) {
            *kept = Node::Object(Vec::new());
        }
        for (name, count) in counts {
            if !matches!(count, Node::Null) || kept.member(&name).is_none() {
                kept.set(name.into_owned(), count.into_owned());
            }
        }
    }

    fn open(&mut self, index: Option<&Node<'_>>, block: Node<'_>) {
        let index = index.map_or_else(|| self.blocks.len().to_string(), Node::to_json);
        self.kept_bytes += block.kept_bytes();
        self.blocks.push(Growing { index, block: block.into_owned(), input: String::new() });
    }

    fn delta(&mut self, index: Option<&Node<'_>>, delta: Node<'_>) {
        let kind = delta.str("type").unwrap_or("").to_owned();
        let known = DELTAS.iter().find(|known| known.name == kind);
        let written = index.map(Node::to_json);
        let at = match &written {
            Some(index) => self.blocks.iter().rposition(|growing| growing.index == *index),
            None => self.blocks.len().checked_sub(1),
        };
        let at = match (at, known) {
            (Some(at), _) => at,
            // Not every service that speaks this wire announces its blocks.
            (None, Some(known)) => {
                self.open(index, object! { "type": known.of });
                self.blocks.len() - 1
            }
            (None, None) => return,
        };
        self.kept_bytes += delta.kept_bytes();
        self.blocks[at].grow(&kind, delta);
    }
}

impl Growing {
    /// Takes a delta. What does not belong to a block of this type is passed over, as the SDKs do.
    fn grow(&mut self, kind: &str, delta: Node<'_>) {
        let block = &mut self.block;
        let fits = |of: &str| block.str("type") == Some(of);
        match (kind, DELTAS.iter().find(|known| known.name == kind)) {
            (_, Some(known)) if !fits(known.of) => {}
            ("citations_delta", _) if !fits("text") => {}
            ("input_json_delta", _) => self.input.push_str(delta.str("partial_json").unwrap_or("")),
            ("citations_delta", _) => {
                let citation = delta.get("citation").cloned().unwrap_or_default().into_owned();
                growth::grow(block.entry("citations"), Node::List(vec![citation]));
            }
            (_, known) => {
                let Node::Object(members) = delta else { return };
                for (name, value) in members.into_iter().filter(|(name, _)| name != "type") {
                    match known {
                        // Beside them stands what tells of the delta alone (`estimated_tokens`).
                        Some(known) if !known.members.contains(&&*name) => {}
                        Some(known) if !known.in_pieces && !matches!(value, Node::Null) => {
                            block.set(name.into_owned(), value.into_owned());
                        }
                        _ => growth::grow(block.entry(&name), value),
                    }
                }
            }
        }
    }
}

/// The member that an event adds to in the block of this number, and what it adds, as a JSON string, where it says
/// nothing else.
fn piece<'a>(event: &'a str, index: &str) -> Option<(&'static str, &'a str)> {
    let (mut kind, mut said) = (None, None);
    let mut walk = Walk::new(event);
    walk.object(|walk, name| match name {
        "type" => walk.eat("\"content_block_delta\""),
        "index" => walk.eat(index),
        "delta" => walk.object(|walk, name| match name {
            "type" => walk.string().map(|word| kind = Some(word)),
            _ => walk.literal().map(|literal| said = Some((name, literal))),
        }),
        _ => None,
    })?;
    walk.end()?;
    match (kind?, said?) {
        ("text_delta", ("text", literal)) => Some(("text", literal)),
        ("input_json_delta", ("partial_json", literal)) => Some(("partial_json", literal)),
        ("thinking_delta", ("thinking", literal)) => Some(("thinking", literal)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::anthropic::MESSAGES;
    use crate::provider::laws::{Outcome, golden, native, round_trip, with_request};
    use crate::reply::{Part, Reply};
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

    /// The content of such a stream.
    fn content(events: &[&str]) -> String {
        assert!(matches!(stream("end_turn", events), Outcome::Whole(_)));
        let last = finish("end_turn");
        let message = native(&MESSAGES, Framing::Sse, body(&[&[START], events, &[&*last, END]].concat()).as_bytes());
        message.get("content").map(Node::to_json).unwrap_or_default()
    }

    fn body(events: &[&str]) -> String {
        let frame = |event: &&str| {
            let name = event.split('"').nth(3).unwrap();
            format!("event: {name}\ndata: {event}   \n\n")
        };
        events.iter().map(frame).collect()
    }

    fn sse(events: &[&str]) -> Outcome {
        golden(&MESSAGES, Framing::Sse, body(events).as_bytes())
    }

    fn whole(body: &str) -> Outcome {
        golden(&MESSAGES, Framing::Whole, body.as_bytes())
    }

    #[test]
    fn text_with_pings_and_citations() {
        let events = [
            &*open(0, r#"{"type":"text","text":"","citations":[]}"#),
            r#"{"type": "ping"}"#,
            &delta(0, r#"{"type":"text_delta","text":"Hé"}"#),
            &delta(0, r#"{"type":"citations_delta","citation":{"type":"char_location","cited_text":"x"}}"#),
            &delta(0, r#"{"type":"text_delta","text":"llo\n\"you\""}"#),
            STOP,
        ];
        let reply = stream("end_turn", &events).turn();
        assert_eq!(reply.parts, [Part::text("Héllo\n\"you\"")]);
        assert_eq!((reply.id.as_deref(), reply.model.as_deref()), (Some("msg_1"), Some("claude-x")));
        assert_eq!((reply.finish.as_deref(), reply.role.as_deref()), (Some("stop"), None));
        assert_eq!(
            content(&events),
            r#"[{"type":"text","text":"Héllo\n\"you\"","citations":[{"type":"char_location","cited_text":"x"}]}]"#
        );
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
        assert_eq!(calls, [(Some("t0"), "{}"), (Some("t1"), r#"{"a":1}"#), (Some("t2"), r#"{"player":"one"}"#)]);
        assert_eq!(reply.finish.as_deref(), Some("tool_calls"));
    }

    #[test]
    fn server_tools_come_back_in_order_with_the_text_around_them() {
        let events = [
            &*open(0, r#"{"type":"text","text":"before"}"#),
            &open(1, r#"{"type":"server_tool_use","id":"s1","name":"web_search","input":{}}"#),
            &delta(1, r#"{"type":"input_json_delta","partial_json":"{\"query\":\"x\"}"}"#),
            &open(2, r#"{"type":"web_search_tool_result","tool_use_id":"s1","content":[{"title":"t","url":"u"}]}"#),
            &open(3, r#"{"type":"compaction","content":null,"encrypted_content":null}"#),
            &delta(3, r#"{"type":"compaction_delta","content":"short","encrypted_content":"b3BhcXVl"}"#),
            &open(4, r#"{"type":"text","text":""}"#),
            &delta(4, r#"{"type":"text_delta","text":"after"}"#),
            r#"{"type":"an_event_of_next_year","index":5}"#,
        ];
        assert_eq!(
            content(&events),
            r#"[{"type":"text","text":"before"},{"type":"server_tool_use","id":"s1","name":"web_search","input":{"query":"x"}},{"type":"web_search_tool_result","tool_use_id":"s1","content":[{"title":"t","url":"u"}]},{"type":"compaction","content":"short","encrypted_content":"b3BhcXVl"},{"type":"text","text":"after"}]"#
        );
        let reply = stream("pause_turn", &events).turn();
        assert_eq!(reply.parts, [Part::text("before"), Part::text("after")]);
        assert_eq!(reply.finish.as_deref(), Some("pause_turn"));
    }

    #[test]
    fn blocks_and_deltas_of_next_year_grow() {
        let events = [
            &*open(0, r#"{"type":"song","melody":"la","notes":[1],"input":{"not":"for a tool"},"about":{"key":"c"}}"#),
            &delta(
                0,
                r#"{"type":"song_delta","melody":"la","notes":[2],"about":{"key":" minor","bpm":90},"loud":true}"#,
            ),
            &delta(0, r#"{"type":"song_delta","loud":false,"melody":null}"#),
        ];
        assert_eq!(
            content(&events),
            r#"[{"type":"song","melody":"lala","notes":[1,2],"input":{"not":"for a tool"},"about":{"key":"c minor","bpm":90},"loud":false}]"#
        );
    }

    #[test]
    fn an_empty_text_before_a_tool_is_kept() {
        let events = [
            &*open(0, r#"{"type":"text","text":""}"#),
            STOP,
            &open(1, r#"{"type":"tool_use","id":"t","name":"f","input":{}}"#),
        ];
        assert_eq!(
            content(&events),
            r#"[{"type":"text","text":""},{"type":"tool_use","id":"t","name":"f","input":{}}]"#
        );
    }

    #[test]
    fn a_thought_that_was_not_signed_is_not_signed() {
        let thought = open(0, r#"{"type":"thinking","thinking":""}"#);
        let events = [&*thought, &delta(0, r#"{"type":"thinking_delta","thinking":"hm"}"#)];
        assert_eq!(content(&events), r#"[{"type":"thinking","thinking":"hm"}]"#);
        whole(r#"{"content":[{"type":"thinking","thinking":"hm"}],"usage":{}}"#).turn();
    }

    #[test]
    fn who_called_a_tool_is_kept() {
        let tool = r#"{"type":"tool_use","id":"t","name":"f","input":{},"caller":{"type":"code_execution_20250825","tool_id":"s"}}"#;
        assert_eq!(content(&[&open(0, tool)]), format!("[{tool}]"));
    }

    #[test]
    fn input_that_was_cut_and_input_in_any_order_is_kept() {
        let tool = |n: u32, piece: &str| {
            let opens = open(n, &format!(r#"{{"type":"tool_use","id":"t{n}","name":"f","input":{{}}}}"#));
            [opens, delta(n, &format!(r#"{{"type":"input_json_delta","partial_json":{}}}"#, json!(piece)))]
        };
        let events = [tool(0, r#"{"b": 1.50, "a": 12345678901234567890}"#), tool(1, r#"{"city":"Par"#)].concat();
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        assert_eq!(
            content(&events),
            r#"[{"type":"tool_use","id":"t0","name":"f","input":{"b":1.50,"a":12345678901234567890}},{"type":"tool_use","id":"t1","name":"f","input":"{\"city\":\"Par"}]"#
        );
        let reply = stream("max_tokens", &events).turn();
        assert_eq!(reply.tool_calls().last().map(|call| &*call.arguments), Some(r#"{"city":"Par"#));
    }

    #[test]
    fn how_it_ended_comes_back() {
        let last = r#"{"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"END","stop_details":null,
            "container":{"id":"c"},"new":1},"context_management":{"applied_edits":[{"type":"x"}]},"usage":{"output_tokens":7}}"#
            .replace('\n', "");
        let text = open(0, r#"{"type":"text","text":"a"}"#);
        let events = [START, &text, STOP, &last, END];
        assert_eq!(sse(&events).turn().finish.as_deref(), Some("stop_sequence"));
        let message = native(&MESSAGES, Framing::Sse, body(&events).as_bytes());
        let ended = ["stop_sequence", "container", "new", "context_management"].map(|name| message.get(name).cloned());
        assert_eq!(
            Node::List(ended.map(Option::unwrap_or_default).to_vec()).to_json(),
            r#"["END",{"id":"c"},1,{"applied_edits":[{"type":"x"}]}]"#
        );
    }

    /// As they stand among the thoughts of a file: on their own wire at their place, on others text alone.
    #[test]
    fn what_files_of_earlier_versions_keep_of_this_wire_is_still_written() {
        let own = |json: serde_json::Value| Part::verbatim(super::super::WIRE, &json);
        let search = json!({"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}});
        let parts = vec![
            own(search.clone()),
            Part::text("cited"),
            own(json!({"citations": [{"type": "char_location"}]})),
            own(json!({"stop_sequence": "END", "container": {"id": "c"}})),
        ];
        let reply = Reply { parts, ..Reply::default() };
        let ask = r#"{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
        with_request("/v1/messages", ask, |codec, request| {
            let to = crate::provider::Encoding { request, chunk_chars: 2, now: 0, seed: 7 };
            let streamed = codec.encode_stream(&reply.clone().into(), &to).bytes;
            for (framing, bytes) in
                [(Framing::Whole, codec.encode_whole(&reply.clone().into(), &to)), (Framing::Sse, streamed)]
            {
                let message = native(codec, framing, &bytes).to_value();
                let text = json!({"type": "text", "text": "cited", "citations": [{"type": "char_location"}]});
                assert_eq!(message["content"], json!([search, text]));
                assert_eq!((&message["stop_sequence"], &message["container"]["id"]), (&json!("END"), &json!("c")));
            }
        });
        with_request("/v1/chat/completions", ask, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            let text = vec![Part::text("cited")];
            assert_eq!((whole.turn().parts, streamed.turn().parts), (text.clone(), text));
        });
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
            [r#"{"big":12345678901234567890.5}"#]
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
