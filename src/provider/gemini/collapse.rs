//! Puts an answer together of its chunks: candidates by index, their parts in order. A whole answer is one chunk.

use super::partial::Arguments;
use super::{plain_text, read};
use crate::frame::{Frame, Framing};
use crate::json::Node;
use crate::provider::{AnswerHead, Collapse, Collapsed, Fault, Progress, native_of};

/// Puts the chunks together.
pub(super) struct Collapser {
    whole: bool,
    /// All but the candidates, which have their place in it.
    answer: Node<'static>,
    candidates: Vec<Candidate>,
    /// Members that a later chunk said otherwise: clients that read chunk by chunk have seen both.
    told: Node<'static>,
    kept_bytes: usize,
}

/// One candidate as it grows.
struct Candidate {
    index: i64,
    /// All but its parts, which have their place in it.
    node: Node<'static>,
    parts: Parts<'static>,
    finished: bool,
}

/// The parts of a content, put together of those of its chunks.
#[derive(Default)]
pub(super) struct Parts<'a> {
    parts: Vec<Node<'a>>,
    /// The call whose arguments are being streamed: its place among the parts, and what they are so far.
    /// <https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling#streaming-fc>
    open: Option<(usize, Arguments)>,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        match frame.data.trim_ascii() {
            b"" if self.whole => return Ok(Progress::More),
            b"" => {}
            _ => match native_of(frame.data)? {
                Node::List(chunks) if self.whole => chunks.into_iter().try_for_each(|chunk| self.take(chunk))?,
                chunk if self.whole => {
                    sound(&chunk)?;
                    self.kept_bytes = frame.data.len();
                    self.answer = chunk.into_owned();
                }
                chunk => self.take(chunk)?,
            },
        }
        Ok(if self.is_finished()? { Progress::Finished } else { Progress::More })
    }

    fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    fn finish(&mut self) -> Collapsed {
        let mut native = std::mem::take(&mut self.answer);
        self.candidates.sort_by_key(|candidate| candidate.index);
        if !self.candidates.is_empty() {
            let candidates = self.candidates.drain(..).map(Candidate::finish).collect::<Vec<_>>();
            native.set("candidates", candidates);
        }
        Collapsed::Native { native, told: std::mem::take(&mut self.told) }
    }
}

/// Whether a chunk reports an error.
fn sound(chunk: &Node<'_>) -> Result<(), Fault> {
    match chunk.get("error") {
        Some(error) => Err(Fault::Upstream(error.to_json())),
        None => Ok(()),
    }
}

impl Collapser {
    pub(super) fn new(answer: &AnswerHead<'_>) -> Self {
        Collapser {
            whole: answer.framing == Framing::Whole,
            answer: Node::Object(Vec::new()),
            candidates: Vec::new(),
            told: Node::Null,
            kept_bytes: 0,
        }
    }

    /// Every candidate that has begun has ended, or the prompt was refused.
    fn is_finished(&self) -> Result<bool, Fault> {
        let refused = || read::block_reason(&self.answer).is_some();
        if !self.candidates.is_empty() {
            return Ok(self.whole || self.candidates.iter().all(|candidate| candidate.finished));
        }
        if self.whole && read::first(&self.answer).is_none() && !refused() {
            return Err(Fault::Unreadable("an answer with neither candidates nor a block reason".into()));
        }
        Ok(self.whole || refused())
    }

    fn take(&mut self, chunk: Node<'_>) -> Result<(), Fault> {
        sound(&chunk)?;
        let Node::Object(members) = chunk else { return Ok(()) };
        for (name, value) in members {
            match (&*name, value) {
                ("candidates", Node::List(candidates)) => {
                    self.answer.entry("candidates");
                    candidates.into_iter().try_for_each(|candidate| self.candidate(candidate))?;
                }
                // Each chunk counts from the start.
                ("usageMetadata", usage) => self.kept_bytes += latest(&mut self.answer, &name, usage, &mut Node::Null),
                (name, value) => self.kept_bytes += latest(&mut self.answer, name, value, &mut self.told),
            }
        }
        Ok(())
    }

    fn candidate(&mut self, candidate: Node<'_>) -> Result<(), Fault> {
        let index = candidate.get("index").and_then(Node::as_i64).unwrap_or(0);
        let at = self.candidates.iter().position(|c| c.index == index).unwrap_or_else(|| {
            let node = Node::Object(Vec::new());
            self.candidates.push(Candidate { index, node, parts: Parts::default(), finished: false });
            self.candidates.len() - 1
        });
        let Node::Object(members) = candidate else { return Ok(()) };
        let candidate = &mut self.candidates[at];
        for (name, value) in members {
            match (&*name, value) {
                ("content", Node::Object(members)) => {
                    if candidate.node.get("content").is_none() {
                        *candidate.node.entry("content") = Node::Object(Vec::new());
                    }
                    for (name, value) in members {
                        self.kept_bytes += candidate.content(&name, value, &mut self.told)?;
                    }
                }
                ("finishReason", reason) => {
                    if read::finish_reason(&reason).is_some() {
                        candidate.node.set("finishReason", reason.into_owned());
                        candidate.finished = true;
                    }
                }
                (name, value) => self.kept_bytes += latest(&mut candidate.node, name, value, &mut self.told),
            }
        }
        Ok(())
    }
}

/// Sets a member to the last value that says something; the bytes it takes more. One that said something else before is
/// told of.
fn latest(object: &mut Node<'static>, name: &str, value: Node<'_>, told: &mut Node<'static>) -> usize {
    match object.get_mut(name) {
        Some(old) => {
            if value.says_nothing() || old.same(&value) {
                return 0;
            }
            if !old.says_nothing() {
                told.set(name.to_owned(), true);
            }
            *old = value.into_owned();
            0 // as long as the one before
        }
        None if matches!(value, Node::Null) => 0,
        None => {
            let bytes = name.len() + value.kept_bytes();
            object.set(name.to_owned(), value.into_owned());
            bytes
        }
    }
}

impl Candidate {
    fn finish(mut self) -> Node<'static> {
        if let Some(parts) = self.node.get_mut("content").and_then(|content| content.get_mut("parts"))
            && matches!(parts, Node::Null)
        {
            *parts = Node::List(self.parts.finish());
        }
        self.node
    }

    /// A member of the content; the bytes it takes more.
    fn content(&mut self, name: &str, value: Node<'_>, told: &mut Node<'static>) -> Result<usize, Fault> {
        let content = self.node.entry("content");
        match (name, value) {
            ("parts", Node::List(parts)) => {
                content.entry(name);
                parts.into_iter().map(|part| self.parts.add(part, Node::into_owned)).sum()
            }
            (name, value) => Ok(latest(content, name, value, told)),
        }
    }
}

impl<'a> Parts<'a> {
    /// Adds a part, which `own` makes one that lives as long. Text goes on where the part before is text of its kind, and
    /// neither is signed; a call is one however its arguments come. The bytes it takes more.
    pub(super) fn add<'p>(&mut self, part: Node<'p>, own: fn(Node<'p>) -> Node<'a>) -> Result<usize, Fault> {
        if part.get("functionCall").is_some() {
            return self.call(part, own);
        }
        if let (Some((text, thought)), Some(last)) = (plain_text(&part), self.parts.last_mut())
            && plain_text(last).is_some_and(|(_, also)| also == thought)
            && let Some(Node::Text(kept)) = last.get_mut("text")
        {
            kept.to_mut().push_str(text);
            return Ok(text.len());
        }
        Ok(self.push(own(part)))
    }

    /// The parts.
    pub(super) fn finish(mut self) -> Vec<Node<'a>> {
        self.close_call();
        self.parts
    }

    fn push(&mut self, part: Node<'a>) -> usize {
        let bytes = part.kept_bytes();
        self.parts.push(part);
        bytes
    }

    /// A call, or what follows of one whose arguments are streamed.
    fn call<'p>(&mut self, mut part: Node<'p>, own: fn(Node<'p>) -> Node<'a>) -> Result<usize, Fault> {
        let called = part.entry("functionCall");
        let pieces = called.remove("partialArgs");
        let continues = matches!(called.remove("willContinue"), Some(Node::Bool(true)));
        let mut bytes = 0;
        if called.word("name").is_some() || self.open.is_none() {
            self.close_call();
            self.open = Some((self.parts.len(), Arguments::default()));
            bytes += self.push(own(part));
        }
        if let Some((_, arguments)) = &mut self.open {
            for piece in pieces.as_ref().map_or(&[][..], Node::items) {
                bytes += arguments.take(piece)?;
            }
        }
        if !continues {
            self.close_call();
        }
        Ok(bytes)
    }

    fn close_call(&mut self) {
        if let Some((at, arguments)) = self.open.take()
            && let Some(object) = arguments.into_object()
            && let Some(called) = self.parts.get_mut(at).and_then(|part| part.get_mut("functionCall"))
        {
            called.set("args", object);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::{Outcome, golden, native};
    use super::super::generate::{GENERATE, STREAM};
    use super::*;
    use crate::reply::{Part, Reply};

    #[track_caller]
    fn stream(chunks: &[&str]) -> Outcome {
        let events: String = chunks.iter().map(|c| format!("data: {c}\r\n\r\n")).collect();
        let sse = golden(&STREAM, Framing::Sse, events.as_bytes());
        let array = golden(&STREAM, Framing::JsonArray, format!("[{}]", chunks.join("\n,\r\n")).as_bytes());
        assert_eq!(sse, array);
        sse
    }

    fn whole(body: &str) -> Outcome {
        golden(&GENERATE, Framing::Whole, body.as_bytes())
    }

    fn calls(reply: &Reply) -> Vec<(&str, &str, Option<&str>)> {
        reply.tool_calls().map(|c| (&*c.name, &*c.arguments, c.signature.as_deref())).collect()
    }

    const STOP: &str = r#"{"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"STOP"}]}"#;

    #[test]
    fn text_thoughts_usage_and_names() {
        let reply = stream(&[
            r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"hm","thought":true}]}}],"usageMetadata":{"promptTokenCount":4},"responseId":"r","modelVersion":"m"}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"m","thought":true},{"text":"é🌍"}]},"index":0},{"content":{"parts":[{"text":"other"}]},"finishReason":"STOP","index":1}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"!"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":4,"totalTokenCount":9}}"#,
        ])
        .turn();
        assert_eq!((reply.reasoning().as_str(), reply.content().as_str()), ("hmm", "é🌍!"));
        assert_eq!((reply.id.as_deref(), reply.model.as_deref()), (Some("r"), Some("m")));
        assert_eq!(reply.finish.as_deref(), Some("stop"));
        assert_eq!(serde_json::to_string(&reply.usage).unwrap(), r#"{"promptTokenCount":4,"totalTokenCount":9}"#);
    }

    /// What a client puts together of these chunks.
    #[track_caller]
    fn held(chunks: &[&str]) -> String {
        stream(chunks);
        native(&STREAM, Framing::JsonArray, format!("[{}]", chunks.join(",")).as_bytes()).to_json()
    }

    #[test]
    fn what_is_signed_is_a_part_of_its_own() {
        let chunks = [
            r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"a"},{"text":"","thoughtSignature":"s1"}]}}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"thoughtSignature":"s2"},{"text":"b","thoughtSignature":"s3"},{"text":"c"}]},"finishReason":"STOP"}]}"#,
        ];
        let signed = |text: &str, s: &str| Part::Text { text: text.into(), signature: Some(s.into()) };
        let expected = [Part::text("aa"), signed("", "s1"), signed("b", "s3"), Part::text("c")];
        assert_eq!(stream(&chunks).turn().parts, expected);
        let parts = r#"{"text":"aa"},{"text":"","thoughtSignature":"s1"},{"thoughtSignature":"s2"},{"text":"b","thoughtSignature":"s3"},{"text":"c"}"#;
        let whole = format!(r#"{{"candidates":[{{"content":{{"parts":[{parts}]}},"finishReason":"STOP"}}]}}"#);
        assert_eq!(held(&chunks), whole);
    }

    #[test]
    fn calls_with_and_without_id_and_arguments() {
        let reply = whole(
            "{\n \"candidates\": [{\"content\": {\"parts\": [\n{\"functionCall\": {\"name\": \"f\", \"args\": {\n \"a\": \"x y\"\n}}, \"thoughtSignature\": \"s\"},\n{\"functionCall\": {\"name\": \"g\", \"id\": \"c2\"}},{\"functionCall\":{\"name\":\"h\",\"args\":null}}]}, \"finishReason\": \"STOP\"}]}",
        )
        .turn();
        assert_eq!(calls(&reply), [("f", "{\"a\":\"x y\"}", Some("s")), ("g", "{}", None), ("h", "{}", None)]);
        assert_eq!(reply.tool_calls().nth(1).unwrap().id.as_deref(), Some("c2"));
        assert_eq!(reply.finish.as_deref(), Some("tool_calls"));
    }

    #[test]
    fn streamed_arguments() {
        let part = |call: &str| format!(r#"{{"candidates":[{{"content":{{"parts":[{{"functionCall":{call}}}]}}}}]}}"#);
        let chunks = [
            part(r#"{"name":"f","willContinue":true}"#),
            part(
                r#"{"partialArgs":[{"jsonPath":"$.city","stringValue":"New ","willContinue":true}],"willContinue":true}"#,
            ),
            part(r#"{"partialArgs":[{"jsonPath":"$.city","stringValue":"York"}],"willContinue":true}"#),
            part(
                r#"{"partialArgs":[{"jsonPath":"$.days[0].n","numberValue":3},{"jsonPath":"$.days[1]['at noon']","boolValue":true}],"willContinue":true}"#,
            ),
            part("{}"),
            part(r#"{"name":"g"}"#),
            part(r#"{"name":"f","partialArgs":[{"jsonPath":"$.city","nullValue":"NULL_VALUE"}]}"#),
            STOP.to_owned(),
        ];
        let reply = stream(&chunks.iter().map(|c| &**c).collect::<Vec<_>>()).turn();
        let args = r#"{"city":"New York","days":[{"n":3},{"at noon":true}]}"#;
        assert_eq!(calls(&reply), [("f", args, None), ("g", "{}", None), ("f", r#"{"city":null}"#, None)]);
    }

    #[test]
    fn what_this_wire_alone_knows_stays_in_its_place() {
        let body = r#"{"candidates":[{"content":{"parts":[{"executableCode":{"code":"1"},"thoughtSignature":"s"},{"codeExecutionResult":{"output":"1"}},{"text":"one"},{"inlineData":{"data":"aa"}},{"thoughtSignature":"t","toolCall":{"id":"x"}},{"functionResponse":{"name":"f"}},{"new":1},{}],"role":"model"},"groundingMetadata":{"webSearchQueries":["q"]},"safetyRatings":[{"category":"C"}],"avgLogprobs":-0.10,"logprobsResult":{"chosenCandidates":[{"token":"one"}]},"urlContextMetadata":{},"finishReason":"STOP","finishMessage":"m","index":0},{"content":{"parts":[{"text":"two"},{"text":"!","thought":true}]},"finishReason":"MAX_TOKENS","index":1}],"usageMetadata":{"promptTokenCount":1,"trafficType":"ON_DEMAND"},"createTime":"t","turnToken":"v1_a","modelStatus":{"modelStage":"STABLE"}}"#;
        assert_eq!(whole(body).turn().parts, [Part::text("one")]);
        assert_eq!(held(&[body]), body);
        assert_eq!(native(&GENERATE, Framing::Whole, body.as_bytes()).to_json(), body);
    }

    #[test]
    fn a_call_that_says_nothing_is_none() {
        let reply = stream(&[r#"{"candidates":[{"content":{"parts":[{"functionCall":{}}]},"finishReason":"STOP"}]}"#]);
        assert_eq!(reply.turn().parts, []);
    }

    #[test]
    fn candidates_grow_each_by_its_index() {
        let chunk = |index: u8, text: &str, more: &str| {
            format!(r#"{{"candidates":[{{"index":{index},"content":{{"parts":[{{"text":"{text}"}}]}}{more}}}]}}"#)
        };
        let end = |index: u8| chunk(index, "!", r#","finishReason":"STOP""#);
        let chunks = [chunk(1, "b", ""), chunk(0, "a", ""), end(0), chunk(1, "b", ""), end(1)];
        let chunks: Vec<&str> = chunks.iter().map(|chunk| &**chunk).collect();
        assert_eq!(stream(&chunks).turn().content(), "a!");
        assert_eq!(stream(&chunks[..4]), Outcome::Cut, "one goes on");
        let texts = native(&STREAM, Framing::JsonArray, format!("[{}]", chunks.join(",")).as_bytes());
        let text = |i: usize| texts.at(&format!("/candidates/{i}/content/parts/0/text")).map(Node::to_json);
        assert_eq!((text(0), text(1)), (Some(r#""a!""#.into()), Some(r#""bb!""#.into())));
    }

    #[test]
    fn what_a_later_chunk_says_otherwise_is_told() {
        let chunk = |uri: &str| {
            format!(
                r#"{{"candidates":[{{"citationMetadata":{{"citationSources":[{{"uri":"{uri}"}}]}},"finishReason":"STOP"}}]}}"#
            )
        };
        let told = |chunks: &[String]| {
            let mut collapser = Collapser::new(&AnswerHead { framing: Framing::Sse, status: 200, content_type: "" });
            chunks.iter().for_each(|chunk| drop(collapser.push(&Frame::data(chunk.as_bytes()))));
            match collapser.finish() {
                Collapsed::Native { told, .. } => told.to_json(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(told(&[chunk("a"), chunk("a")]), "null");
        assert_eq!(told(&[chunk("a"), chunk("b")]), r#"{"citationMetadata":true}"#);
    }

    #[test]
    fn a_refused_prompt_is_a_whole_answer() {
        let refused = r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT","blockReasonMessage":"m"},"usageMetadata":{"promptTokenCount":2}}"#;
        for outcome in [stream(&[refused]), whole(refused)] {
            let reply = outcome.turn();
            assert_eq!((reply.parts.len(), reply.finish.as_deref()), (0, Some("blockReason:PROHIBITED_CONTENT")));
        }
    }

    #[test]
    fn enums_as_numbers_and_reasons_that_say_nothing() {
        let reason = |r: &str| format!(r#"{{"candidates":[{{"content":{{"parts":[]}},"finishReason":{r}}}]}}"#);
        assert_eq!(stream(&[&reason("0"), &reason("2")]).turn().finish.as_deref(), Some("length"));
        assert_eq!(stream(&[&reason("42")]).turn().finish.as_deref(), Some("42"));
        assert_eq!(stream(&[&reason("0"), &reason("\"FINISH_REASON_UNSPECIFIED\""), &reason("null")]), Outcome::Cut);
    }

    #[test]
    fn the_last_finish_reason_counts_and_text_may_follow_the_first() {
        let reply = stream(&[
            r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"b"}]}}]}"#,
            r#"{"candidates":[{"finishReason":"RECITATION"}]}"#,
        ])
        .turn();
        assert_eq!((reply.content().as_str(), reply.finish.as_deref()), ("ab", Some("RECITATION")));
    }

    #[test]
    fn a_stream_without_finish_reason_was_cut() {
        assert_eq!(stream(&[r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#]), Outcome::Cut);
        assert_eq!(golden(&STREAM, Framing::JsonArray, format!("[{STOP}\n,").as_bytes()), Outcome::Unframed);
    }

    #[test]
    fn an_error_inside_an_answer_is_a_fault() {
        let error = r#"{"error":{"code":499,"message":"cancelled","status":"CANCELLED"}}"#;
        for outcome in [
            stream(&[STOP, error]),
            golden(&STREAM, Framing::Sse, format!("data: {STOP}\n\n{error}\n\n").as_bytes()),
            golden(&STREAM, Framing::JsonArray, error.as_bytes()),
            whole(error),
        ] {
            assert!(matches!(&outcome, Outcome::Fault(Fault::Upstream(m)) if m.contains("CANCELLED")), "{outcome:?}");
        }
        assert!(matches!(whole("{}"), Outcome::Fault(Fault::Unreadable(_))));
    }

    #[test]
    fn an_array_where_one_answer_was_asked_for() {
        assert_eq!(whole(&format!("[{STOP}]")).turn().finish.as_deref(), Some("stop"));
    }
}
