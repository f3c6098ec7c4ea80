//! Puts a completion together: from its chunks, or from the whole of it.

use super::super::echo::says_nothing;
use super::super::{AnswerHead, Collapse, Fault, Progress, finish_in, parse_frame, parse_member};
use super::plain;
use super::{DONE, FINISH, REASONING, REASONING_DETAILS, WIRE};
use crate::frame::{Frame, Framing};
use crate::reply::{Answer, Part, Reply, ToolCall};
use crate::request::Str;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::borrow::Cow;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    #[serde(borrow, default)]
    created: Option<&'a RawValue>,
    #[serde(borrow, default)]
    system_fingerprint: Option<Str<'a>>,
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    x_groq: Option<Groq<'a>>,
    /// Perplexity's and xAI's sources. <https://docs.perplexity.ai/api-reference/chat-completions-post>
    #[serde(borrow, default)]
    citations: Option<&'a RawValue>,
    #[serde(borrow, default)]
    search_results: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(borrow, default)]
    object: Option<Str<'a>>,
}

/// Groq puts a stream's usage into a member of its own. <https://console.groq.com/docs/api-reference>
#[derive(Deserialize)]
struct Groq<'a> {
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: Option<i64>,
    #[serde(borrow, default)]
    delta: Option<Piece<'a>>,
    #[serde(borrow, default)]
    message: Option<Piece<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Str<'a>>,
    /// OpenRouter's. <https://openrouter.ai/docs/api/reference/overview#completionsresponse-format>
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(borrow, default)]
    role: Option<Str<'a>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<Str<'a>>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    /// <https://openrouter.ai/docs/use-cases/reasoning-tokens#preserving-reasoning-blocks>
    #[serde(borrow, default)]
    reasoning_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<Str<'a>>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<CallPiece<'a>>>,
    #[serde(borrow, default)]
    function_call: Option<FunctionPiece<'a>>,
    #[serde(borrow, default)]
    annotations: Option<&'a RawValue>,
    #[serde(borrow, default)]
    audio: Option<&'a RawValue>,
    #[serde(borrow, default)]
    images: Option<&'a RawValue>,
}

/// One of `reasoning_details`: those that are encrypted have neither.
#[derive(Deserialize)]
struct Detail<'a> {
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    summary: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct CallPiece<'a> {
    #[serde(default)]
    index: Option<i64>,
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(borrow, default)]
    function: Option<FunctionPiece<'a>>,
    /// A tool that takes text.
    #[serde(borrow, default)]
    custom: Option<FunctionPiece<'a>>,
    #[serde(borrow, default)]
    extra_content: Option<Extra<'a>>,
}

/// What Google adds to a call. <https://ai.google.dev/gemini-api/docs/thought-signatures#openai>
#[derive(Deserialize)]
struct Extra<'a> {
    #[serde(borrow, default)]
    google: Option<GoogleExtra<'a>>,
}

#[derive(Deserialize)]
struct GoogleExtra<'a> {
    #[serde(borrow, default)]
    thought_signature: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct FunctionPiece<'a> {
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
    /// A string; some services send an object.
    #[serde(borrow, default, alias = "input")]
    arguments: Option<&'a RawValue>,
}

/// Reasons of services whose answer broke off: <https://docs.mistral.ai/api/>, <https://openrouter.ai/docs/api/reference>,
/// vLLM's aborted requests, <https://api-docs.deepseek.com/api/create-chat-completion>.
const BROKEN_OFF: [&str; 3] = ["error", "abort", "insufficient_system_resource"];

/// Whether an `error` member reports one: services also send it empty.
fn says_something(error: &Value) -> bool {
    !says_nothing(error) && *error != Value::Bool(false)
}

/// One tool call as it grows.
#[derive(Default)]
struct Growing {
    index: Option<i64>,
    call: ToolCall,
}

/// Puts the chunks of choice 0 together.
#[derive(Default)]
pub(super) struct Collapser {
    whole: bool,
    text: String,
    reasoning: String,
    calls: Vec<Growing>,
    reply: Reply,
    /// Members of the message that no other wire knows.
    own: Map<String, Value>,
    own_bytes: usize,
    /// There was a choice.
    chosen: bool,
    progress: Option<Progress>,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        if frame.data.trim_ascii() == DONE {
            if !self.chosen {
                return Err(Fault::Unreadable("a stream without choices".into()));
            }
            self.progress = Some(Progress::Done);
        } else if let Some(literal) = self.plain(frame) {
            self.chosen = true;
            self.content(literal)?;
        } else if !frame.data.trim_ascii().is_empty() {
            let chunk: Chunk<'_> = parse_frame(frame)?;
            if let Some(error) = chunk.error.as_ref().filter(|e| says_something(e)) {
                return Err(Fault::Upstream(error.to_string()));
            }
            if frame.event == "error" || chunk.object.as_deref() == Some("error") {
                return Err(Fault::Upstream(String::from_utf8_lossy(frame.data).into_owned()));
            }
            if self.whole && chunk.choices.as_ref().is_none_or(Vec::is_empty) {
                return Err(Fault::Unreadable("an answer without choices".into()));
            }
            self.take(chunk)?;
        }
        Ok(self.progress.unwrap_or(Progress::More))
    }

    fn kept_bytes(&self) -> usize {
        let calls = self.calls.iter().map(|g| g.call.arguments.len() + g.call.name.len());
        self.text.len() + self.reasoning.len() + self.own_bytes + calls.sum::<usize>()
    }

    fn finish(&mut self) -> Answer {
        let mut reply = std::mem::take(&mut self.reply);
        if !self.reasoning.is_empty() {
            reply.parts.push(Part::Reasoning { text: std::mem::take(&mut self.reasoning), signature: None });
        }
        if !self.text.is_empty() {
            reply.parts.push(Part::text(std::mem::take(&mut self.text)));
        }
        reply.parts.extend(self.calls.drain(..).map(|g| Part::ToolCall(g.call)));
        if !self.own.is_empty() {
            reply.parts.push(Part::verbatim(WIRE, &std::mem::take(&mut self.own).into()));
        }
        Answer::Turn(reply)
    }
}

impl Collapser {
    pub(super) fn new(answer: &AnswerHead<'_>) -> Self {
        Collapser { whole: answer.framing == Framing::Whole, ..Collapser::default() }
    }

    /// What a chunk of text alone adds.
    fn plain<'a>(&self, frame: &Frame<'a>) -> Option<&'a str> {
        if self.whole || !frame.event.is_empty() {
            return None;
        }
        plain::text(std::str::from_utf8(frame.data).ok()?, &self.reply)
    }

    fn take(&mut self, chunk: Chunk<'_>) -> Result<(), Fault> {
        let reply = &mut self.reply;
        let id = chunk.id.and_then(|id| serde_json::from_str::<String>(id.get()).ok());
        keep(&mut reply.id, id.as_deref());
        keep(&mut reply.model, chunk.model.as_deref());
        keep(&mut reply.system_fingerprint, chunk.system_fingerprint.as_deref());
        if reply.created.is_none() {
            let created = chunk.created.and_then(|raw| parse_member::<f64>(raw).ok());
            reply.created = created.map(|c| c as i64).filter(|c| *c != 0);
        }
        for usage in [chunk.x_groq.and_then(|g| g.usage), chunk.usage].into_iter().flatten() {
            // null, or an object, which is empty where it says nothing
            if let Ok(Value::Object(usage)) = serde_json::from_str(usage.get())
                && !usage.is_empty()
            {
                reply.usage = Some(usage);
            }
        }
        for (name, raw) in [("citations", chunk.citations), ("search_results", chunk.search_results)] {
            // They come again with every chunk.
            if let Some(all) = raw.and_then(|raw| parse_member(raw).ok()).filter(|all| !says_nothing(all))
                && self.own.insert(name.to_owned(), all).is_none()
            {
                self.own_bytes += raw.map_or(0, |raw| raw.get().len());
            }
        }
        for choice in chunk.choices.into_iter().flatten().filter(|c| c.index.unwrap_or(0) == 0) {
            self.chosen = true;
            if let Some(error) = choice.error.filter(says_something) {
                return Err(Fault::Upstream(error.to_string()));
            }
            if let Some(word) = choice.finish_reason.filter(|word| !word.is_empty() && &**word != "null") {
                if BROKEN_OFF.contains(&&*word) {
                    return Err(Fault::Upstream(format!("the model stopped with finish_reason {}", &*word)));
                }
                self.reply.finish = Some(finish_in(&FINISH, &word));
                self.progress.get_or_insert(Progress::Finished);
            }
            // Perplexity sends both in every chunk: what is new, and all there is so far.
            let (first, second) =
                if self.whole { (choice.message, choice.delta) } else { (choice.delta, choice.message) };
            if let Some(piece) = first.or(second) {
                self.piece(piece)?;
            }
        }
        if self.whole {
            self.progress = Some(Progress::Done);
        }
        Ok(())
    }

    fn piece(&mut self, piece: Piece<'_>) -> Result<(), Fault> {
        if let Some(role) = piece.role.filter(|r| !r.is_empty() && &**r != "assistant") {
            self.reply.role = Some(role.0.into_owned());
        }
        if let Some(content) = piece.content {
            self.content(content.get())?;
        }
        self.reasoning(piece.reasoning_content, piece.reasoning, piece.reasoning_details);
        if let Some(refusal) = piece.refusal.filter(|r| !r.is_empty()) {
            self.reply.refusal.get_or_insert_default().push_str(&refusal);
        }
        for (name, raw) in [("annotations", piece.annotations), ("audio", piece.audio), ("images", piece.images)] {
            self.own(name, raw);
        }
        for call in piece.tool_calls.into_iter().flatten() {
            self.call(call);
        }
        if let Some(function) = piece.function_call {
            if self.calls.is_empty() {
                self.calls.push(Growing::default());
            }
            if let Some(growing) = self.calls.last_mut() {
                growing.grow(None, Some(function));
            }
        }
        Ok(())
    }

    /// A member that no other wire knows: lists and texts grow from delta to delta.
    fn own(&mut self, name: &str, raw: Option<&RawValue>) {
        let Some(new) = raw.and_then(|raw| parse_member(raw).ok()).filter(|new| !says_nothing(new)) else { return };
        self.own_bytes += raw.map_or(0, |raw| raw.get().len());
        grow(self.own.entry(name).or_insert(Value::Null), new);
    }

    /// The same text under one to three names: the first that has any counts, and is remembered.
    fn reasoning(&mut self, content: Option<Str<'_>>, plain: Option<&RawValue>, details: Option<&RawValue>) {
        if let Some(text) = content.filter(|t| !t.is_empty()) {
            return self.reasoning.push_str(&text);
        }
        let plain = plain.and_then(|raw| serde_json::from_str(raw.get()).ok()).map(|Str(text)| text);
        let (name, text) = match plain.filter(|text| !text.is_empty()) {
            Some(text) => (REASONING, text),
            None => {
                let details: Vec<Detail<'_>> = details.and_then(|raw| parse_member(raw).ok()).unwrap_or_default();
                let texts = details.into_iter().filter_map(|d| d.text.or(d.summary)).map(|t| t.0.into_owned());
                (REASONING_DETAILS, Cow::Owned(texts.collect()))
            }
        };
        if !text.is_empty() {
            self.reasoning.push_str(&text);
            self.reply.reasoning_field = Some(name.into());
        }
    }

    /// A string, null, or a list of text and thinking parts
    /// (<https://docs.mistral.ai/capabilities/reasoning/>, <https://docs.databricks.com/aws/en/machine-learning/model-serving/query-reason-models>).
    fn content(&mut self, json: &str) -> Result<(), Fault> {
        if json.starts_with('"') {
            let Str(text) = serde_json::from_str(json).map_err(|e| Fault::Unreadable(e.to_string()))?;
            self.text.push_str(&text);
            return Ok(());
        }
        let parts = match serde_json::from_str(json).map_err(|e| Fault::Unreadable(e.to_string()))? {
            Value::Array(parts) => parts,
            Value::Null => Vec::new(),
            part @ Value::Object(_) => vec![part],
            other => return Err(Fault::Unreadable(format!("content is neither a string nor a list: {other}"))),
        };
        for part in parts {
            if let Some(text) = part.get("text").and_then(Value::as_str).or_else(|| part.as_str()) {
                self.text.push_str(text);
            }
            match part.get("thinking").or_else(|| part.get("summary")) {
                Some(Value::String(text)) => self.reasoning.push_str(text),
                Some(Value::Array(parts)) => {
                    let texts = parts.iter().filter_map(|p| p.get("text").and_then(Value::as_str));
                    texts.for_each(|t| self.reasoning.push_str(t));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Finds the call that a delta belongs to: by index, where it has one and the id does not say otherwise; by id;
    /// else the last one.
    fn call(&mut self, piece: CallPiece<'_>) {
        let id = piece.id.filter(|id| !id.is_empty());
        let function = piece.function.or(piece.custom);
        let index = piece.index.filter(|i| *i >= 0 && !self.whole);
        let named = function.as_ref().and_then(|f| f.name.as_deref()).is_some_and(|name| !name.is_empty());
        // Some number all calls 0, others make up an id for every delta: only a call that is complete ends so.
        let same_id = |g: &Growing| match (&id, &g.call.id) {
            (Some(new), Some(old)) => **new == **old || !named || g.is_open(),
            _ => true,
        };
        let at = match index {
            Some(i) => self.calls.iter().rposition(|g| g.index == Some(i) && same_id(g)),
            None if self.whole => None,
            None if id.is_some() => self.calls.iter().rposition(|g| g.call.id.as_deref() == id.as_deref()),
            None => {
                let names_another = function.as_ref().and_then(|f| f.name.as_deref()).is_some_and(|name| {
                    !name.is_empty() && self.calls.last().is_some_and(|g| g.call.name != name || g.call.id.is_none())
                });
                if names_another { None } else { self.calls.len().checked_sub(1) }
            }
        };
        let at = at.unwrap_or_else(|| {
            self.calls.push(Growing { index, ..Growing::default() });
            self.calls.len() - 1
        });
        let signature = piece.extra_content.and_then(|extra| extra.google).and_then(|google| google.thought_signature);
        keep(&mut self.calls[at].call.signature, signature.as_deref());
        self.calls[at].grow(id, function);
    }
}

fn grow(kept: &mut Value, new: Value) {
    match (kept, new) {
        (Value::Array(kept), Value::Array(new)) => kept.extend(new),
        (Value::String(kept), Value::String(new)) => kept.push_str(&new),
        (Value::Object(kept), Value::Object(new)) => {
            for (name, new) in new {
                let kept = kept.entry(&name).or_insert(Value::Null);
                if name == "id" { *kept = new } else { grow(kept, new) }
            }
        }
        (kept, new) => *kept = new,
    }
}

impl Growing {
    /// Its arguments have begun and not ended.
    fn is_open(&self) -> bool {
        !self.call.arguments.is_empty() && serde_json::from_str::<&RawValue>(&self.call.arguments).is_err()
    }

    fn grow(&mut self, id: Option<Str<'_>>, function: Option<FunctionPiece<'_>>) {
        if self.call.id.is_none() {
            self.call.id = id.map(|id| id.0.into_owned());
        }
        let Some(function) = function else { return };
        if let Some(name) = function.name.filter(|_| self.call.name.is_empty()) {
            self.call.name.push_str(&name);
        }
        let Some(raw) = function.arguments.map(RawValue::get) else { return };
        match serde_json::from_str(raw) {
            Ok(Str(text)) => self.call.arguments.push_str(&text),
            Err(_) if raw == "null" => {}
            Err(_) => self.call.arguments.push_str(raw),
        }
    }
}

fn keep(kept: &mut Option<String>, new: Option<&str>) {
    if let Some(new) = new.filter(|new| kept.is_none() && !new.is_empty()) {
        *kept = Some(new.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::{Outcome, golden, round_trip, with_request};
    use super::super::Chat;
    use super::*;

    const ASK: &str = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

    fn streamed(chunks: &[&str]) -> Outcome {
        let body: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
        golden(&Chat, Framing::Sse, body.as_bytes())
    }

    /// A chunk of one choice with this delta.
    fn delta(delta: &str) -> String {
        format!(r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#)
    }

    fn whole(message: &str) -> Outcome {
        let body = format!(r#"{{"choices":[{{"index":0,"message":{message},"finish_reason":"stop"}}]}}"#);
        golden(&Chat, Framing::Whole, body.as_bytes())
    }

    fn calls(reply: &Reply) -> Vec<(Option<&str>, &str, &str)> {
        reply.tool_calls().map(|c| (c.id.as_deref(), &*c.name, &*c.arguments)).collect()
    }

    #[test]
    fn a_member_twice_in_one_object() {
        let twice = r#"{"role":"assistant","reasoning_content":"hm","content":"a","reasoning_content":"hm"}"#;
        for reply in [streamed(&[&delta(twice), STOP]).turn(), whole(twice).turn()] {
            assert_eq!((reply.reasoning(), reply.content()), ("hm".into(), "a".into()));
        }
    }

    #[test]
    fn members_of_another_kind_than_openai_s() {
        let chunk = r#"{"id":7,"created":"1700000000","system_fingerprint":{},"choices":[{"index":"0","delta":
            {"role":0,"content":"a","tool_calls":{"index":"0","id":5,"function":{"name":"f","arguments":{"x":1}}}},"finish_reason":""}]}"#;
        let reply = streamed(&[&chunk.replace('\n', ""), STOP]).turn();
        assert_eq!((reply.content(), reply.created), ("a".into(), Some(1_700_000_000)));
        assert_eq!(calls(&reply), [(Some("5"), "f", r#"{"x":1}"#)]);
    }

    #[test]
    fn an_answer_that_broke_off_is_a_fault() {
        for reason in BROKEN_OFF {
            let end = STOP.replace("stop", reason);
            assert!(matches!(streamed(&[&delta(r#"{"content":"a"}"#), &end]), Outcome::Fault(Fault::Upstream(_))));
        }
        let in_choice = r#"{"choices":[{"index":0,"message":{"content":""},"error":{"code":502,"message":"gone"}}]}"#;
        let outcome = golden(&Chat, Framing::Whole, in_choice.as_bytes());
        assert!(matches!(outcome, Outcome::Fault(Fault::Upstream(m)) if m.contains("gone")));
    }

    #[test]
    fn an_error_that_says_nothing_is_none() {
        for nothing in ["null", "\"\"", "{}", "false"] {
            let chunk = STOP.replacen('{', &format!("{{\"error\":{nothing},"), 1);
            assert_eq!(streamed(&[&delta(r#"{"content":"a"}"#), &chunk]).turn().content(), "a", "{nothing}");
        }
    }

    #[test]
    fn done_alone_is_no_answer() {
        assert!(matches!(streamed(&["[DONE]"]), Outcome::Fault(Fault::Unreadable(_))));
        assert!(matches!(streamed(&[r#"{"choices":[]}"#, "[DONE]"]), Outcome::Fault(Fault::Unreadable(_))));
    }

    #[test]
    fn empty_usage_takes_nothing_back() {
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":1}}"#;
        let reply = streamed(&[STOP, usage, r#"{"choices":[],"usage":{}}"#, "[DONE]"]).turn();
        assert_eq!(reply.usage.map(|usage| usage.len()), Some(1));
        assert_eq!(streamed(&[STOP, r#"{"usage":null}"#, "[DONE]"]).turn().usage, None);
    }

    #[test]
    fn a_new_id_in_every_delta_of_one_call() {
        let piece = |id: &str, name: &str, arguments: &str| {
            delta(&format!(
                r#"{{"tool_calls":[{{"index":0,"id":"{id}","function":{{"name":{name},"arguments":"{arguments}"}}}}]}}"#
            ))
        };
        for name in ["\"f\"", "null"] {
            let reply = streamed(&[&piece("a", "\"f\"", "{"), &piece("b", name, "}"), STOP]).turn();
            assert_eq!(calls(&reply), [(Some("a"), "f", "{}")], "{name}");
        }
    }

    #[test]
    fn a_name_that_follows_its_arguments() {
        let first = delta(r#"{"tool_calls":[{"index":0,"id":"a","function":{"arguments":"{"}}]}"#);
        let second = delta(r#"{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"}"}}]}"#);
        assert_eq!(calls(&streamed(&[&first, &second, STOP]).turn()), [(Some("a"), "f", "{}")]);
    }

    #[test]
    fn reasoning_in_details_comes_back_there() {
        let details =
            r#"{"content":"","reasoning":null,"reasoning_details":[{"type":"reasoning.text","text":"hm","index":0},
            {"type":"reasoning.summary","summary":"m"},{"type":"reasoning.encrypted","data":"x"}]}"#
                .replace('\n', "");
        let reply = streamed(&[&delta(&details), STOP]).turn();
        assert_eq!((reply.reasoning(), reply.reasoning_field.as_deref()), ("hmm".into(), Some(REASONING_DETAILS)));
        with_request("/v1/chat/completions", ASK, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!((whole.turn().parts, streamed.turn().parts), (reply.parts.clone(), reply.parts.clone()));
        });
    }

    #[test]
    fn reasoning_in_content_parts() {
        let message = r#"{"content":[{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]},{"type":"text","text":"a"}]}"#;
        let reply = whole(message).turn();
        assert_eq!((reply.reasoning(), reply.content()), ("hm".into(), "a".into()));
        assert_eq!(whole(r#"{"content":{"type":"text","text":"b"}}"#).turn().content(), "b");
    }

    #[test]
    fn sources_of_the_answer_come_back_beside_its_choices() {
        let sources = r#"{"citations":["u"],"search_results":[{"url":"u"}],"#;
        let text = delta(r#"{"content":"a"}"#).replacen('{', sources, 1);
        let reply = streamed(&[&text, &text, STOP]).turn();
        let own = serde_json::json!({"citations": ["u"], "search_results": [{"url": "u"}]});
        assert_eq!(reply.parts, [Part::text("aa"), Part::verbatim(WIRE, &own)]);
        with_request("/v1/chat/completions", ASK, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!((whole.turn().parts, streamed.turn().parts), (reply.parts.clone(), reply.parts.clone()));
        });
    }

    #[test]
    fn sources_sound_and_images_come_back() {
        let sound = |data: &str| delta(&format!(r#"{{"audio":{{"id":"audio_1","data":"{data}","transcript":"a"}}}}"#));
        let more = delta(r#"{"content":"a","annotations":[{"type":"url_citation"}],"images":[{"type":"image_url"}]}"#);
        let reply = streamed(&[&sound("AAAA"), &sound("AAAA"), &more, &delta(r#"{"annotations":[]}"#), STOP]).turn();
        let own = serde_json::json!({"audio": {"id": "audio_1", "data": "AAAAAAAA", "transcript": "aa"},
            "annotations": [{"type": "url_citation"}], "images": [{"type": "image_url"}]});
        assert_eq!(reply.parts, [Part::text("a"), Part::verbatim(WIRE, &own)]);
        with_request("/v1/chat/completions", ASK, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            for back in [whole.turn(), streamed.turn()] {
                let back =
                    back.parts[1].verbatim_of(WIRE).and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
                assert_eq!(back.as_ref(), Some(&own));
            }
        });
    }

    #[test]
    fn a_thought_signature_of_google_comes_back() {
        let call = r#"{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{}"},
            "extra_content":{"google":{"thought_signature":"sig"}}}]}"#
            .replace('\n', "");
        let reply = streamed(&[&delta(&call), STOP]).turn();
        assert_eq!(reply.tool_calls().next().and_then(|c| c.signature.as_deref()), Some("sig"));
        with_request("/v1beta/openai/chat/completions", ASK, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!((whole.turn().parts, streamed.turn().parts), (reply.parts.clone(), reply.parts.clone()));
        });
    }
}
