//! Puts the lines of either endpoint together; a whole answer is one line. A call comes whole in one line.

use super::super::{AnswerHead, Collapse, Collapsed, Fault, Progress, parse_values, raw};
use crate::frame::{Frame, Framing};
use crate::json::Node;

/// Puts the lines together.
pub(super) struct Collapser {
    answer: Node<'static>,
    kept_bytes: usize,
    progress: Progress,
    /// A whole answer of another API that the server gave here: kept as it is.
    foreign: Option<Box<dyn Collapse>>,
    whole: Option<(u16, String)>,
}

impl Collapser {
    pub(super) fn new(answer: &AnswerHead<'_>) -> Self {
        Collapser {
            answer: Node::Object(Vec::new()),
            kept_bytes: 0,
            progress: Progress::More,
            foreign: None,
            whole: (answer.framing == Framing::Whole).then(|| (answer.status, answer.content_type.to_owned())),
        }
    }

    fn take(&mut self, line: Node<'_>) {
        let Node::Object(members) = line else { return };
        for (name, value) in members {
            match (&*name, value) {
                ("message", Node::Object(members)) => {
                    let message = self.answer.entry("message");
                    if matches!(message, Node::Null) {
                        *message = Node::Object(Vec::new());
                    }
                    self.kept_bytes +=
                        members.into_iter().map(|(name, value)| grow(message, &name, value)).sum::<usize>();
                }
                (name, value) => self.kept_bytes += grow(&mut self.answer, name, value),
            }
        }
        if matches!(self.answer.get("done"), Some(Node::Bool(true))) {
            self.progress = Progress::Done;
        }
    }
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        for line in parse_values(frame) {
            let line = Node::of(line?).map_err(|e| Fault::Unreadable(e.to_string()))?;
            if let Some(error) = line.get("error") {
                return Err(Fault::Upstream(error.as_str().map_or_else(|| error.to_json(), str::to_owned)));
            }
            if let Some((status, content_type)) = self.whole.as_ref().filter(|_| is_foreign(&line)) {
                let head = AnswerHead { framing: Framing::Whole, status: *status, content_type };
                self.progress = self.foreign.insert(raw::collapser(&head)).push(frame)?;
                break;
            }
            self.take(line);
        }
        Ok(self.progress)
    }

    fn kept_bytes(&self) -> usize {
        self.kept_bytes + self.foreign.as_ref().map_or(0, |foreign| foreign.kept_bytes())
    }

    fn finish(&mut self) -> Collapsed {
        match &mut self.foreign {
            Some(foreign) => foreign.finish(),
            None => std::mem::take(&mut self.answer).into(),
        }
    }
}

/// Whether it has nothing that an answer of this API has.
fn is_foreign(line: &Node<'_>) -> bool {
    ["message", "response", "done"].into_iter().all(|name| line.get(name).is_none())
}

/// Adds what a line has for a member: text and lists grow, of all else the last one that says something counts. The bytes
/// it takes more.
fn grow(object: &mut Node<'static>, name: &str, new: Node<'_>) -> usize {
    const TEXTS: [&str; 3] = ["content", "thinking", "response"];
    let bytes = new.kept_bytes();
    match (object.get_mut(name), new) {
        (_, Node::Null) => return 0,
        (None, new) => object.set(name.to_owned(), new.into_owned()),
        (Some(Node::Text(kept)), Node::Text(new)) if TEXTS.contains(&name) => kept.to_mut().push_str(&new),
        (Some(Node::List(kept)), Node::List(new)) => kept.extend(new.into_iter().map(Node::into_owned)),
        (Some(kept), new) => {
            if !new.says_nothing() {
                *kept = new.into_owned();
            }
            return 0; // as long as the one before
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::super::Encoding;
    use super::super::super::laws::{Outcome, carried, golden, native, round_trip, with_request};
    use super::super::chat::Endpoint;
    use super::*;
    use crate::reply::{Answer, Part, Reply, ToolCall};
    use serde_json::{Value, json};

    fn chat(body: &str) -> Outcome {
        golden(&Endpoint::Chat, Framing::Ndjson, body.as_bytes())
    }

    fn call(id: Option<&str>, arguments: &str) -> Part {
        let call = ToolCall {
            id: id.map(str::to_owned),
            name: "f".into(),
            arguments: arguments.into(),
            signature: None,
            custom: false,
        };
        Part::ToolCall(call)
    }

    #[test]
    fn what_a_generated_text_goes_on_from_comes_back() {
        let body = r#"{"model":"m","response":"a","thinking":"hm","done":true,"done_reason":"stop","context":[1,2],"new":{"a":[]}}"#;
        assert_eq!(golden(&Endpoint::Generate, Framing::Ndjson, body.as_bytes()).turn().content(), "a");
        assert_eq!(native(&Endpoint::Generate, Framing::Ndjson, body.as_bytes()).to_json(), body);
        // As files of earlier versions keep it.
        let own = Part::verbatim(Endpoint::GENERATE, &json!({"context": [1, 2]}));
        let reply = Reply { parts: vec![Part::text("a"), own], ..Reply::default() };
        with_request("/api/generate", r#"{"model":"m","prompt":"hi"}"#, |codec, request| {
            let to = Encoding { request, chunk_chars: 9, now: 0, seed: 0 };
            let written: Value = serde_json::from_slice(&codec.encode_whole(&reply.into(), &to)).unwrap();
            assert_eq!((&written["context"], &written["response"]), (&json!([1, 2]), &"a".into()));
        });
    }

    #[test]
    fn what_stands_beside_text_and_calls_is_kept() {
        let body = concat!(
            r#"{"model":"m","created_at":"a","message":{"role":"assistant","content":"a","images":["aGk="]},"logprobs":[{"token":"a"}],"done":false}"#,
            "\n",
            r#"{"model":"m","created_at":"b","message":{"role":"assistant","content":"","tool_calls":[{"function":{"index":3,"name":"f","arguments":{"b":1.50,"a":"x"}}}]},"done":false}"#,
            "\n",
            r#"{"model":"m","created_at":"c","message":{"role":"assistant","content":"b","tool_calls":[{"function":{"name":"f"}}]},"logprobs":[{"token":"b"}],"done":true}"#,
        );
        chat(body).turn();
        assert_eq!(
            native(&Endpoint::Chat, Framing::Ndjson, body.as_bytes()).to_json(),
            r#"{"model":"m","created_at":"c","message":{"role":"assistant","content":"ab","images":["aGk="],"tool_calls":[{"function":{"index":3,"name":"f","arguments":{"b":1.50,"a":"x"}}},{"function":{"name":"f"}}]},"logprobs":[{"token":"a"},{"token":"b"}],"done":true}"#
        );
    }

    const CHAT: &str = r#"{"model":"qwen3:4b","messages":[{"role":"user","content":"hi"}]}"#;

    #[test]
    fn thinking_text_and_calls_of_a_stream() {
        let body = concat!(
            r#"{"model":"m","created_at":"2026-08-04T19:59:11.820116Z","message":{"role":"assistant","content":"","thinking":"h\u00e9"},"done":false}"#,
            "\n",
            r#"{"model":"m","created_at":"2026-08-04T19:59:12Z","message":{"role":"assistant","content":"a"},"done":false}"#,
            "\n",
            r#"{"model":"m","message":{"role":"assistant","content":"","tool_calls":[{"id":"c1","function":{"index":0,"name":"f","arguments":{"x": 2}}}]},"done":false}"#,
            "\n",
            r#"{"model":"m","message":{"role":"assistant","content":"b"},"done_reason":"stop","done":true,"total_duration":9,"eval_count":5}"#,
        );
        let reply = chat(body).turn();
        assert_eq!((reply.reasoning(), reply.content()), ("h\u{e9}".into(), "ab".into()));
        assert_eq!(reply.parts[2], call(Some("c1"), r#"{"x":2}"#));
        assert_eq!((reply.created, reply.finish.as_deref()), (Some(1_785_873_552), Some("tool_calls")));
        assert_eq!(serde_json::to_string(&reply.usage).unwrap(), r#"{"total_duration":9,"eval_count":5}"#);
    }

    #[test]
    fn a_stream_without_its_last_line_was_cut() {
        assert_eq!(chat("{\"message\":{\"content\":\"a\"},\"done\":false}\n"), Outcome::Cut);
    }

    #[test]
    fn an_error_line_is_a_fault() {
        let body = "{\"message\":{\"content\":\"a\"},\"done\":false}\n{\"error\":\"out of memory\"}\n";
        assert_eq!(chat(body), Outcome::Fault(Fault::Upstream("out of memory".into())));
    }

    #[test]
    fn lines_under_the_content_type_of_a_whole_answer() {
        let body = b"{\"response\":\"a\",\"done\":false}\n{\"response\":\"b\",\"done\":true}\n";
        let reply = golden(&Endpoint::Generate, Framing::Whole, body).turn();
        assert_eq!((reply.content(), reply.finish), ("ab".into(), None));
    }

    #[test]
    fn an_answer_of_another_api_is_kept_as_it_is() {
        let body = br#"{"object":"chat.completion","choices":[]}"#;
        assert!(matches!(golden(&Endpoint::Chat, Framing::Whole, body), Outcome::Whole(Answer::Raw(_))));
    }

    #[test]
    fn a_rich_turn_comes_back() {
        let reply = Reply {
            parts: vec![
                Part::Reasoning { text: "h\u{e9}llo".into(), signature: None },
                Part::text("\u{1f30d} \u{65e5}"),
                call(Some("c1"), r#"{"a":[1,{"b":"\n"}]}"#),
                call(None, "{}"),
            ],
            finish: Some("tool_calls".into()),
            usage: serde_json::from_str(r#"{"load_duration":1,"prompt_eval_count":3,"eval_count":2}"#).ok(),
            model: Some("qwen3:4b-q8".into()),
            created: Some(1_785_873_551),
            ..Reply::default()
        };
        with_request("/api/chat", CHAT, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!(whole.turn(), carried(&reply, &codec.carries()));
            assert_eq!(streamed.turn(), carried(&reply, &codec.carries()));
        });
        let text = Reply { parts: reply.parts[..2].to_vec(), finish: Some("length".into()), ..reply };
        with_request("/api/generate", r#"{"model":"m","prompt":"hi"}"#, |codec, request| {
            let (whole, streamed) = round_trip(codec, &text.clone().into(), request);
            assert_eq!(whole.turn(), text);
            assert_eq!(streamed.turn(), text);
        });
    }

    #[test]
    fn a_turn_of_another_provider() {
        let reply = Reply { usage: None, ..Reply::tool_call("f", "{\n\"a\": 1\n}") };
        with_request("/api/chat", CHAT, |codec, request| {
            let to = Encoding { request, chunk_chars: 2, now: 0, seed: 0 };
            let frames = codec.encode_stream(&reply.clone().into(), &to);
            let lines: Vec<_> = frames.iter().map(|f| String::from_utf8_lossy(f).into_owned()).collect();
            assert_eq!(
                lines[0],
                concat!(
                    r#"{"model":"qwen3:4b","created_at":"1970-01-01T00:00:00Z","message":{"role":"assistant","content":"","#,
                    r#""tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},"done":false}"#,
                    "\n"
                )
            );
            let last: Value = serde_json::from_str(&lines[1]).unwrap();
            assert_eq!(
                (&last["done"], &last["done_reason"], &last["total_duration"]),
                (&true.into(), &"stop".into(), &0.into())
            );
        });
    }
}
