//! Chunks of candidate 0 put together, whole answers included: those are a stream of one chunk.

use super::partial::Arguments;
use super::{BLOCKED, FINISH, WIRE, one_line, signature};
use crate::frame::Frame;
use crate::provider::echo::says_nothing;
use crate::provider::{Collapse, Fault, Progress, finish_in, parse_frame, parse_member};
use crate::reply::{Answer, Part, Reply, ToolCall};
use crate::request::Str;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    #[serde(borrow, default)]
    candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow, default)]
    prompt_feedback: Option<PromptFeedback<'a>>,
    #[serde(borrow, default)]
    usage_metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model_version: Option<Str<'a>>,
    #[serde(borrow, default)]
    response_id: Option<Str<'a>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback<'a> {
    #[serde(borrow, default)]
    block_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(default)]
    index: Option<u32>,
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    citation_metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    grounding_metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    url_context_metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_message: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    parts: Option<Vec<PartIn<'a>>>,
}

/// One part; images, files, code and its results, and tools that Google runs are kept as they came.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartIn<'a> {
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(default)]
    thought: Option<bool>,
    #[serde(borrow, default)]
    thought_signature: Option<Str<'a>>,
    #[serde(borrow, default)]
    function_call: Option<CallIn<'a>>,
    #[serde(borrow, default)]
    inline_data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    file_data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    executable_code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    code_execution_result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_call: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_response: Option<&'a RawValue>,
}

impl PartIn<'_> {
    /// A part of a kind that no other wire knows.
    fn verbatim(&self) -> Option<Value> {
        let kinds = [
            ("inlineData", self.inline_data),
            ("fileData", self.file_data),
            ("executableCode", self.executable_code),
            ("codeExecutionResult", self.code_execution_result),
            ("toolCall", self.tool_call),
            ("toolResponse", self.tool_response),
        ];
        let mut part: Map<String, Value> = Map::new();
        for (name, raw) in kinds {
            if let Some(value) = raw.and_then(|raw| parse_member(raw).ok()) {
                part.insert(name.to_owned(), value);
            }
        }
        if part.is_empty() {
            return None;
        }
        part.extend(self.thought.map(|thought| ("thought".to_owned(), thought.into())));
        part.extend(self.thought_signature.as_deref().map(|s| ("thoughtSignature".to_owned(), s.into())));
        Some(part.into())
    }
}

/// A call, or what follows of one whose arguments are streamed.
/// <https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling#streaming-fc>
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallIn<'a> {
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
    #[serde(borrow, default)]
    args: Option<&'a RawValue>,
    #[serde(borrow, default)]
    partial_args: Option<Vec<super::partial::PartialArg<'a>>>,
    #[serde(default)]
    will_continue: Option<bool>,
}

/// Puts the chunks of candidate 0 together.
pub(super) struct Collapser {
    whole: bool,
    reply: Reply,
    /// The call whose arguments are being streamed: its place among the parts, and what they are so far.
    open: Option<(usize, Arguments)>,
    finished: bool,
    /// What the candidate's text is taken from, as its chunks told last.
    sources: Map<String, Value>,
    source_bytes: usize,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        let data = frame.data.trim_ascii();
        if self.whole && data.first() == Some(&b'[') {
            let chunks: Vec<Chunk<'_>> = parse_frame(frame)?;
            chunks.into_iter().try_for_each(|chunk| self.take(chunk))?;
        } else if !data.is_empty() {
            self.take(parse_frame(frame)?)?;
        }
        Ok(if self.finished { Progress::Finished } else { Progress::More })
    }

    fn kept_bytes(&self) -> usize {
        self.reply.kept_bytes()
            + self.source_bytes
            + self.open.as_ref().map_or(0, |(_, arguments)| arguments.kept_bytes())
    }

    fn finish(&mut self) -> crate::provider::Collapsed {
        let answer: Answer = {
            self.close_call();
            let mut reply = std::mem::take(&mut self.reply);
            if !self.sources.is_empty() {
                reply.parts.push(Part::verbatim(WIRE, &std::mem::take(&mut self.sources).into()));
            }
            if reply.finish.as_deref() == Some("stop") && reply.tool_calls().next().is_some() {
                reply.finish = Some("tool_calls".into());
            }
            Answer::Turn(reply)
        };
        answer.into()
    }
}

impl Collapser {
    pub(super) fn new(whole: bool) -> Self {
        Collapser { whole, reply: Reply::default(), open: None, finished: false, sources: Map::new(), source_bytes: 0 }
    }

    fn take(&mut self, chunk: Chunk<'_>) -> Result<(), Fault> {
        if let Some(error) = chunk.error.filter(|e| e.get() != "null") {
            return Err(Fault::Upstream(error.get().to_owned()));
        }
        keep(&mut self.reply.id, chunk.response_id);
        keep(&mut self.reply.model, chunk.model_version);
        // null, or an object; each chunk counts from the start, so the last one is right
        if let Some(Ok(Value::Object(usage))) = chunk.usage_metadata.map(|u| serde_json::from_str(u.get())) {
            self.reply.usage = Some(usage);
        }
        let blocked = chunk.prompt_feedback.and_then(|f| f.block_reason).and_then(|r| word(r, &BLOCK_REASONS));
        let candidates = chunk.candidates.unwrap_or_default();
        if let (Some(reason), true) = (&blocked, candidates.is_empty()) {
            self.reply.finish = Some(format!("{BLOCKED}{reason}"));
            self.finished = true;
        }
        if self.whole {
            if candidates.is_empty() && blocked.is_none() {
                return Err(Fault::Unreadable("an answer with neither candidates nor a block reason".into()));
            }
            self.finished = true;
        }
        for candidate in candidates.into_iter().filter(|c| c.index.unwrap_or(0) == 0) {
            self.source("citationMetadata", candidate.citation_metadata);
            self.source("groundingMetadata", candidate.grounding_metadata);
            self.source("urlContextMetadata", candidate.url_context_metadata);
            self.source("finishMessage", candidate.finish_message);
            for part in candidate.content.and_then(|c| c.parts).unwrap_or_default() {
                self.part(part)?;
            }
            if let Some(own) = candidate.finish_reason.and_then(|r| word(r, &FINISH_REASONS)) {
                self.reply.finish = Some(finish_in(&FINISH, &own));
                self.finished = true;
            }
        }
        Ok(())
    }

    fn source(&mut self, name: &str, raw: Option<&RawValue>) {
        let source = raw.and_then(|raw| parse_member(raw).ok());
        if let Some(source) = source.filter(|source| !says_nothing(source))
            && self.sources.insert(name.to_owned(), source).is_none()
        {
            self.source_bytes += raw.map_or(0, |raw| raw.get().len());
        }
    }

    fn part(&mut self, part: PartIn<'_>) -> Result<(), Fault> {
        if let Some(own) = part.verbatim() {
            self.reply.parts.push(Part::verbatim(WIRE, &own));
            return Ok(());
        }
        let signature = part.thought_signature.filter(|s| !s.is_empty()).map(|s| signature::back(&s));
        if let Some(call) = part.function_call {
            return self.call(call, signature);
        }
        let text = part.text.unwrap_or_default();
        match (part.thought.unwrap_or(false), signature) {
            (false, None) => self.reply.push_text(&text),
            (true, None) => self.reply.push_reasoning(&text),
            (thought, Some(signature)) => self.signed(&text, thought, signature),
        }
        Ok(())
    }

    /// A signature without text belongs to the text of its kind just before it.
    fn signed(&mut self, text: &str, thought: bool, new: String) {
        match (self.reply.parts.last_mut(), thought) {
            (Some(Part::Text { signature: signature @ None, .. }), false)
            | (Some(Part::Reasoning { signature: signature @ None, .. }), true)
                if text.is_empty() =>
            {
                *signature = Some(new);
            }
            (_, false) => self.reply.parts.push(Part::Text { text: text.to_owned(), signature: Some(new) }),
            (_, true) => self.reply.parts.push(Part::Reasoning { text: text.to_owned(), signature: Some(new) }),
        }
    }

    fn call(&mut self, call: CallIn<'_>, signature: Option<String>) -> Result<(), Fault> {
        if let Some(name) = call.name.filter(|name| !name.is_empty()) {
            self.close_call();
            self.open = Some((self.reply.parts.len(), Arguments::default()));
            self.reply.parts.push(Part::ToolCall(ToolCall {
                id: call.id.filter(|id| !id.is_empty()).map(|id| id.0.into_owned()),
                name: name.0.into_owned(),
                arguments: call.args.filter(|a| a.get() != "null").map_or("{}".into(), |a| one_line(a.get()).into()),
                signature,
                custom: false,
            }));
        }
        if let Some((_, arguments)) = &mut self.open {
            for piece in call.partial_args.into_iter().flatten() {
                arguments.take(piece)?;
            }
        }
        if !call.will_continue.unwrap_or(false) {
            self.close_call();
        }
        Ok(())
    }

    fn close_call(&mut self) {
        if let Some((at, arguments)) = self.open.take()
            && let Some(text) = arguments.into_text()
            && let Some(Part::ToolCall(call)) = self.reply.parts.get_mut(at)
        {
            call.arguments = text;
        }
    }
}

fn keep(kept: &mut Option<String>, new: Option<Str<'_>>) {
    if let Some(new) = new.filter(|new| kept.is_none() && !new.is_empty()) {
        *kept = Some(new.0.into_owned());
    }
}

/// The numbers that stand for finish reasons where a client asks for `enum-encoding=int`; those after 5 are not the same
/// in the Gemini API and Vertex AI. <https://ai.google.dev/api/generate-content#FinishReason>
const FINISH_REASONS: [&str; 6] = ["", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER"];

/// The same for block reasons. <https://ai.google.dev/api/generate-content#BlockReason>
const BLOCK_REASONS: [&str; 5] = ["", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT"];

/// An enum's word, whichever way it is written; `None` where it says nothing.
fn word(raw: &RawValue, words: &[&str]) -> Option<String> {
    let word = match serde_json::from_str::<Value>(raw.get()).ok()? {
        Value::String(word) => word,
        Value::Number(number) => {
            let known = number.as_u64().and_then(|n| words.get(usize::try_from(n).ok()?));
            known.map_or_else(|| number.to_string(), |word| (*word).to_owned())
        }
        _ => return None,
    };
    Some(word).filter(|word| !word.is_empty() && word != "FINISH_REASON_UNSPECIFIED")
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::{Outcome, golden, round_trip, with_request};
    use super::super::generate::{GENERATE, STREAM};
    use super::*;
    use crate::frame::Framing;
    use serde_json::json;

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
            r#"{"candidates":[{"content":{"parts":[{"text":"m","thought":true},{"text":"é🌍"}]},"index":0},{"content":{"parts":[{"text":"other"}]},"index":1}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"!"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":4,"totalTokenCount":9}}"#,
        ])
        .turn();
        assert_eq!((reply.reasoning().as_str(), reply.content().as_str()), ("hmm", "é🌍!"));
        assert_eq!((reply.id.as_deref(), reply.model.as_deref()), (Some("r"), Some("m")));
        assert_eq!(reply.finish.as_deref(), Some("stop"));
        assert_eq!(serde_json::to_string(&reply.usage).unwrap(), r#"{"promptTokenCount":4,"totalTokenCount":9}"#);
    }

    #[test]
    fn a_signature_on_empty_text_belongs_to_the_text_before_it() {
        let reply = stream(&[
            r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"","thoughtSignature":"s1"}]}}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"thoughtSignature":"s2"},{"text":"b","thoughtSignature":"s3"}]},"finishReason":"STOP"}]}"#,
        ])
        .turn();
        let signed = |text: &str, s: &str| Part::Text { text: text.into(), signature: Some(s.into()) };
        assert_eq!(reply.parts, [signed("a", "s1"), signed("", "s2"), signed("b", "s3")]);
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
    fn parts_of_other_kinds_and_sources_come_back() {
        let reply = whole(
            r#"{"candidates":[{"content":{"parts":[{"executableCode":{"code":"1"},"thoughtSignature":"s"},{"codeExecutionResult":{"output":"1"}},{"text":"one"},{"inlineData":{"data":"aa"}},{}]},"groundingMetadata":{"webSearchQueries":["q"]},"finishMessage":"m","citationMetadata":{},"finishReason":"STOP"}]}"#,
        )
        .turn();
        let own = |part: Value| Part::verbatim(WIRE, &part);
        let expected = [
            own(json!({"executableCode": {"code": "1"}, "thoughtSignature": "s"})),
            own(json!({"codeExecutionResult": {"output": "1"}})),
            Part::text("one"),
            own(json!({"inlineData": {"data": "aa"}})),
            own(json!({"groundingMetadata": {"webSearchQueries": ["q"]}, "finishMessage": "m"})),
        ];
        assert_eq!(reply.parts, expected);
        let path = "/v1beta/models/g:streamGenerateContent?alt=sse";
        with_request(path, r#"{"contents":{"parts":{"text":"hi"}}}"#, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!((whole.turn().parts, streamed.turn().parts), (reply.parts.clone(), reply.parts.clone()));
        });
    }

    #[test]
    fn a_refused_prompt_is_a_whole_answer() {
        let refused =
            r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":2}}"#;
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
