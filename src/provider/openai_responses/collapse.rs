//! Puts a response together: from the object that its terminal event holds, or from the events before it.

use super::super::{AnswerHead, Collapse, Fault, Progress, finish_in, parse_frame, parse_member, raw};
use super::{COMPLETED, FINISH, REASONING_TEXT, WIRE};
use crate::frame::{Frame, Framing};
use crate::reply::{Answer, Part, Reply, ToolCall, Usage};
use crate::request::Str;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::borrow::Cow;

const DONE: &[u8] = b"[DONE]";

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Str<'a>>,
    #[serde(borrow, default)]
    response: Option<Response<'a>>,
    #[serde(borrow, default)]
    item: Option<&'a RawValue>,
    #[serde(default)]
    output_index: Option<u64>,
    #[serde(borrow, default)]
    item_id: Option<Str<'a>>,
    #[serde(default)]
    content_index: Option<u64>,
    #[serde(default)]
    summary_index: Option<u64>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    annotation: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<Value>,
}

/// The response object.
#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(default)]
    created_at: Option<f64>,
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    #[serde(borrow, default)]
    status: Option<Str<'a>>,
    #[serde(borrow, default)]
    incomplete_details: Option<Details<'a>>,
    #[serde(borrow, default)]
    output: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Details<'a> {
    #[serde(borrow, default)]
    reason: Option<Str<'a>>,
}

/// One collapser for streams and whole answers.
pub(super) struct Collapser {
    whole: bool,
    /// What the terminal event or the whole answer says around its items.
    reply: Reply,
    /// The items as the events tell them.
    told: Vec<Slot>,
    /// The items as the terminal event or the whole answer lists them.
    listed: Vec<Grown>,
    progress: Progress,
    /// A whole answer that is not over (a background task), as it came.
    verbatim: Box<dyn Collapse>,
    is_verbatim: bool,
}

/// An item and where events say that it is.
struct Slot {
    output_index: Option<u64>,
    id: Option<String>,
    item: Grown,
}

impl Collapser {
    pub(super) fn new(answer: &AnswerHead<'_>) -> Self {
        Collapser {
            whole: answer.framing == Framing::Whole,
            reply: Reply::default(),
            told: Vec::new(),
            listed: Vec::new(),
            progress: Progress::More,
            verbatim: raw::collapser(answer),
            is_verbatim: false,
        }
    }
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        if self.whole {
            self.take_whole(frame)?;
        } else if frame.data.trim_ascii() != DONE {
            self.take_event(frame)?;
        }
        Ok(self.progress)
    }

    fn kept_bytes(&self) -> usize {
        let told = self.told.iter().map(|slot| &slot.item);
        told.chain(&self.listed).map(Grown::kept_bytes).sum::<usize>() + self.verbatim.kept_bytes()
    }

    fn finish(&mut self) -> crate::provider::Collapsed {
        let answer: Answer = (|| {
            if self.is_verbatim {
                return self.verbatim.finish().old();
            }
            let mut reply = std::mem::take(&mut self.reply);
            let told = self.told.drain(..).map(|slot| slot.item);
            let listed = std::mem::take(&mut self.listed);
            // Several services end with a list that is absent or empty.
            if listed.iter().any(|item| item.kept_bytes() > 0) {
                listed.into_iter().for_each(|item| item.add_to(&mut reply));
            } else {
                told.for_each(|item| item.add_to(&mut reply));
            }
            if reply.finish.as_deref() == Some("stop") && reply.tool_calls().next().is_some() {
                reply.finish = Some("tool_calls".into());
            }
            Answer::Turn(reply)
        })();
        answer.into()
    }
}

impl Collapser {
    fn take_whole(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let response: Response<'_> = parse_frame(frame)?;
        match response.status.as_deref() {
            Some("queued" | "in_progress" | "cancelled") => {
                self.verbatim.push(frame)?;
                self.is_verbatim = true;
            }
            _ if response.error.as_ref().is_none_or(Value::is_null) && response.output.is_none() => {
                return Err(Fault::Unreadable("a response without output".into()));
            }
            _ => self.end(response)?,
        }
        self.progress = Progress::Done;
        Ok(())
    }

    fn take_event(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        if frame.data.trim_ascii().is_empty() {
            return Ok(());
        }
        let event: Event<'_> = parse_frame(frame)?;
        let kind = event.kind.as_deref().unwrap_or(frame.event);
        let failed = matches!(kind, "error" | "response.error" | "response.failed" | "response.cancelled");
        if failed || event.error.as_ref().is_some_and(|e| !e.is_null()) {
            return Err(Fault::Upstream(String::from_utf8_lossy(frame.data).into_owned()));
        }
        match kind {
            "response.completed" | "response.incomplete" => {
                if let Some(response) = event.response {
                    self.end(response)?;
                }
                if self.reply.finish.is_none() {
                    let word = if kind == "response.completed" { COMPLETED } else { "incomplete" };
                    self.reply.finish = Some(finish_in(&FINISH, word));
                }
                self.progress = Progress::Done;
            }
            "response.created" | "response.in_progress" | "response.queued" => {
                if let Some(response) = event.response {
                    self.head(&response);
                }
            }
            _ => self.grow(kind, &event),
        }
        Ok(())
    }

    fn head(&mut self, response: &Response<'_>) {
        let keep = |kept: &mut Option<String>, new: &Option<Str<'_>>| {
            if let Some(new) = new.as_deref().filter(|new| !new.is_empty()) {
                *kept = Some(new.to_owned());
            }
        };
        keep(&mut self.reply.id, &response.id);
        keep(&mut self.reply.model, &response.model);
        if let Some(created) = response.created_at.map(|c| c as i64).filter(|c| *c != 0) {
            self.reply.created = Some(created);
        }
    }

    fn end(&mut self, response: Response<'_>) -> Result<(), Fault> {
        if let Some(error) = response.error.as_ref().filter(|e| !e.is_null()) {
            return Err(Fault::Upstream(error.to_string()));
        }
        self.head(&response);
        let status = response.status.as_deref();
        if status == Some("failed") {
            return Err(Fault::Upstream("the response's status is failed".into()));
        }
        let reason = response.incomplete_details.and_then(|d| d.reason);
        if let Some(word) = reason.as_deref().or(status) {
            self.reply.finish = Some(finish_in(&FINISH, word));
        } else if self.whole {
            self.reply.finish = Some(finish_in(&FINISH, COMPLETED));
        }
        self.reply.usage = response.usage;
        self.listed = response.output.into_iter().flatten().filter_map(Grown::read).collect();
        Ok(())
    }

    fn grow(&mut self, kind: &str, event: &Event<'_>) {
        let content = event.content_index.unwrap_or(0);
        let summary = event.summary_index.unwrap_or(0);
        match kind {
            "response.output_item.added" | "response.output_item.done" => {
                if let Some(new) = event.item.and_then(Grown::read) {
                    self.item(event).replace(new);
                }
            }
            "response.output_text.delta" | "response.output_text.done" => {
                put(self.item(event).texts.at(content), event.delta, event.text);
            }
            "response.refusal.delta" | "response.refusal.done" => {
                put(&mut self.item(event).refusal, event.delta, event.refusal);
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_summary_text.done" => {
                put(self.item(event).summary.at(summary), event.delta, event.text);
            }
            "response.reasoning_text.delta" | "response.reasoning_text.done" => {
                put(self.item(event).content.at(content), event.delta, event.text);
            }
            "response.function_call_arguments.delta" | "response.function_call_arguments.done" => {
                put(&mut self.item(event).call.get_or_insert_default().arguments, event.delta, event.arguments);
            }
            "response.output_text.annotation.added" => {
                self.item(event).annotations.extend(event.annotation.and_then(|raw| parse_member(raw).ok()));
            }
            "response.custom_tool_call_input.delta" | "response.custom_tool_call_input.done" => {
                put(&mut self.item(event).call.get_or_insert_default().arguments, event.delta, event.input);
            }
            _ => {}
        }
    }

    /// The item that an event is about: by its place in the output, else by its id, else the last one.
    fn item(&mut self, event: &Event<'_>) -> &mut Grown {
        let id = event.item_id.as_deref();
        let at = match (event.output_index, id) {
            (Some(index), _) => self.told.iter().rposition(|slot| slot.output_index == Some(index)),
            (None, Some(id)) => self.told.iter().rposition(|slot| slot.id.as_deref() == Some(id)),
            (None, None) if event.item.is_none() => self.told.len().checked_sub(1),
            (None, None) => {
                let id = event.item.and_then(item_id);
                self.told.iter().rposition(|slot| slot.id.is_some() && slot.id == id)
            }
        };
        let at = at.unwrap_or_else(|| {
            let id = id.map(str::to_owned).or_else(|| event.item.and_then(item_id));
            self.told.push(Slot { output_index: event.output_index, id, item: Grown::default() });
            self.told.len() - 1
        });
        &mut self.told[at].item
    }
}

/// Appends what is new; where only all of it is sent, that.
fn put(kept: &mut String, delta: Option<&RawValue>, all: Option<&RawValue>) {
    if let Some(delta) = delta {
        kept.push_str(&string(delta));
    } else if let Some(all) = all.filter(|_| kept.is_empty()) {
        kept.push_str(&string(all));
    }
}

/// A JSON string's text; the JSON of what is none, and nothing of null.
fn string(raw: &RawValue) -> Cow<'_, str> {
    match serde_json::from_str(raw.get()) {
        Ok(Str(text)) => text,
        Err(_) if raw.get() == "null" => Cow::Borrowed(""),
        Err(_) => Cow::Borrowed(raw.get()),
    }
}

fn item_id(item: &RawValue) -> Option<String> {
    parse_member::<Item<'_>>(item).ok()?.id.map(|id| id.0.into_owned())
}

// ------------------------------------------------------------------------------------------------------ the items

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Str<'a>>,
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    summary: Option<&'a RawValue>,
    #[serde(borrow, default)]
    phase: Option<Str<'a>>,
    #[serde(borrow, default)]
    encrypted_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    call_id: Option<Str<'a>>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct ItemPart<'a> {
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    refusal: Option<Str<'a>>,
    #[serde(default)]
    annotations: Option<Vec<Value>>,
}

/// What a turn keeps of an output item, whatever its type.
#[derive(Default)]
struct Grown {
    texts: Texts,
    refusal: String,
    summary: Texts,
    content: Texts,
    signature: Option<String>,
    call: Option<ToolCall>,
    /// What a text is taken from.
    annotations: Vec<Value>,
    /// Whether the text is a commentary or the answer.
    phase: Option<String>,
    /// All of an item of another kind.
    verbatim: Option<Part>,
}

impl Grown {
    /// Reads an item; `None` where it has no type.
    fn read(raw: &RawValue) -> Option<Grown> {
        let item: Item<'_> = parse_member(raw).ok()?;
        let mut grown = Grown::default();
        match item.kind.as_deref()? {
            "message" => {
                grown.phase = item.phase.filter(|phase| !phase.is_empty()).map(|phase| phase.0.into_owned());
                for (n, part) in (0..).zip(parts(item.content)) {
                    grown.texts.at(n).push_str(part.text.as_deref().unwrap_or(""));
                    grown.refusal.push_str(part.refusal.as_deref().unwrap_or(""));
                    grown.annotations.extend(part.annotations.into_iter().flatten());
                }
            }
            "reasoning" => {
                for (texts, raw) in [(&mut grown.summary, item.summary), (&mut grown.content, item.content)] {
                    for (n, part) in (0..).zip(parts(raw)) {
                        texts.at(n).push_str(part.text.as_deref().unwrap_or(""));
                    }
                }
                let signature = item.encrypted_content.map(|raw| string(raw).into_owned());
                grown.signature = signature.filter(|s| !s.is_empty());
            }
            "function_call" | "custom_tool_call" => {
                let text = |raw: Option<&RawValue>| raw.map(|raw| string(raw).into_owned()).unwrap_or_default();
                grown.call = Some(ToolCall {
                    id: item.call_id.or(item.id).map(|id| id.0.into_owned()),
                    name: text(item.name),
                    arguments: text(item.arguments.or(item.input)),
                    signature: None,
                    custom: false,
                });
            }
            _ => grown.verbatim = parse_member(raw).ok().map(|item| Part::verbatim(WIRE, &item)),
        }
        Some(grown)
    }

    /// Takes a later telling of the same item, but for what only the deltas told.
    fn replace(&mut self, mut new: Grown) {
        if new.texts.is_empty() {
            new.texts = std::mem::take(&mut self.texts);
        }
        if new.refusal.is_empty() {
            new.refusal = std::mem::take(&mut self.refusal);
        }
        if new.summary.is_empty() {
            new.summary = std::mem::take(&mut self.summary);
        }
        if new.content.is_empty() {
            new.content = std::mem::take(&mut self.content);
        }
        if new.annotations.is_empty() {
            new.annotations = std::mem::take(&mut self.annotations);
        }
        new.phase = new.phase.or(self.phase.take());
        new.signature = new.signature.or(self.signature.take());
        if let (Some(new), Some(old)) = (&mut new.call, self.call.take())
            && new.arguments.is_empty()
        {
            new.arguments = old.arguments;
        }
        *self = new;
    }

    fn add_to(self, reply: &mut Reply) {
        let in_content = self.summary.is_empty() && !self.content.is_empty();
        if in_content {
            reply.reasoning_field = Some(REASONING_TEXT.to_owned());
        }
        let mut reasons = if in_content { self.content } else { self.summary }.filled();
        if reasons.is_empty() && self.signature.is_some() {
            reasons.push(String::new());
        }
        let last = reasons.len().saturating_sub(1);
        let mut signature = self.signature;
        for (n, text) in reasons.into_iter().enumerate() {
            // The signature proves all of the item.
            let signature = if n == last { signature.take() } else { None };
            reply.parts.push(Part::Reasoning { text, signature });
        }
        let text = self.texts.filled().concat();
        if !text.is_empty() {
            reply.parts.push(Part::text(text));
            let mut beside = Map::new();
            if !self.annotations.is_empty() {
                beside.insert("annotations".to_owned(), self.annotations.into());
            }
            beside.extend(self.phase.map(|phase| ("phase".to_owned(), phase.into())));
            if !beside.is_empty() {
                reply.parts.push(Part::verbatim(WIRE, &beside.into()));
            }
        }
        reply.parts.extend(self.verbatim);
        if !self.refusal.is_empty() {
            reply.refusal.get_or_insert_default().push_str(&self.refusal);
        }
        reply.parts.extend(self.call.map(Part::ToolCall));
    }

    fn kept_bytes(&self) -> usize {
        let call = self.call.as_ref().map_or(0, |c| c.name.len() + c.arguments.len());
        let texts = [&self.texts, &self.summary, &self.content].map(Texts::len).iter().sum::<usize>();
        let verbatim = match &self.verbatim {
            Some(Part::Verbatim(own)) => own.json.len(),
            _ => 0,
        };
        texts + verbatim + self.refusal.len() + self.signature.as_ref().map_or(0, String::len) + call
    }
}

/// The parts of an item's content or summary; a bare text is one.
fn parts(raw: Option<&RawValue>) -> Vec<ItemPart<'_>> {
    let Some(raw) = raw else { return Vec::new() };
    match serde_json::from_str(raw.get()) {
        Ok(Str(text)) => vec![ItemPart { text: Some(Str(text)), ..ItemPart::default() }],
        Err(_) => parse_member(raw).unwrap_or_default(),
    }
}

/// Texts by their index, which may leave gaps.
#[derive(Default)]
struct Texts(Vec<(u64, String)>);

impl Texts {
    fn at(&mut self, index: u64) -> &mut String {
        let found = self.0.iter().rposition(|(i, _)| *i == index);
        let at = found.unwrap_or_else(|| {
            self.0.push((index, String::new()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }

    fn len(&self) -> usize {
        self.0.iter().map(|(_, text)| text.len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those that have any text, in order.
    fn filled(mut self) -> Vec<String> {
        self.0.sort_by_key(|(index, _)| *index);
        self.0.into_iter().map(|(_, text)| text).filter(|text| !text.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::{Outcome, golden, round_trip, with_request};
    use super::super::Responses;
    use super::*;
    use crate::reply::{RawAnswer, RawBody};
    use serde_json::json;

    fn streamed(events: &[&str]) -> Outcome {
        let body: String = events.iter().map(|e| format!("data: {e}\n\n")).collect();
        golden(&Responses, Framing::Sse, body.as_bytes())
    }

    fn whole(body: &str) -> Outcome {
        golden(&Responses, Framing::Whole, body.as_bytes())
    }

    const TEXT: &str = r#"{"type":"response.output_text.delta","item_id":"m","output_index":0,"delta":"hi"}"#;
    const ENDED: &str = r#"{"type":"response.completed","response":{"id":"r","status":"completed"}}"#;

    #[test]
    fn completed_without_output_leaves_what_the_events_told() {
        let added = r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","id":"fc","call_id":"c","name":"f","arguments":""}}"#;
        let delta =
            r#"{"type":"response.function_call_arguments.delta","item_id":"other","output_index":0,"delta":"{\"a\":"}"#;
        let more = r#"{"type":"response.function_call_arguments.delta","output_index":0,"delta":"1}"}"#;
        let done = r#"{"type":"response.function_call_arguments.done","output_index":0,"arguments":"{\"a\":1}"}"#;
        let reply = streamed(&[added, delta, more, done, ENDED, "[DONE]"]).turn();
        let call = reply.tool_calls().next().unwrap();
        assert_eq!((call.id.as_deref(), &*call.name, &*call.arguments), (Some("c"), "f", r#"{"a":1}"#));
        assert_eq!((reply.finish.as_deref(), reply.id.as_deref()), (Some("tool_calls"), Some("r")));
    }

    #[test]
    fn completed_with_output_is_what_counts() {
        let ended = r#"{"type":"response.completed","response":{"status":"completed","output":[
            {"type":"reasoning","summary":[{"type":"summary_text","text":"a"},{"type":"summary_text","text":"b"}],"encrypted_content":"e"},
            {"type":"web_search_call","id":"ws","action":{"type":"search"}},
            {"type":"message","phase":"final_answer","content":[{"type":"output_text","text":"x","annotations":[{"type":"url_citation","url":"u"}]},{"type":"output_text","text":"y"}]}]}}"#;
        let reply = streamed(&[TEXT, &ended.replace('\n', "")]).turn();
        assert_eq!((reply.content(), reply.reasoning()), ("xy".into(), "ab".into()));
        let signature = |p: &Part| if let Part::Reasoning { signature, .. } = p { signature.clone() } else { None };
        assert_eq!(reply.parts.iter().map(signature).collect::<Vec<_>>(), [None, Some("e".into()), None, None, None]);
        let own = |item: Value| Part::verbatim(WIRE, &item);
        assert_eq!(reply.parts[2], own(json!({"type": "web_search_call", "id": "ws", "action": {"type": "search"}})));
        assert_eq!(
            reply.parts[4],
            own(json!({"annotations": [{"type": "url_citation", "url": "u"}], "phase": "final_answer"}))
        );
        let ask = r#"{"model":"m","stream":true,"input":"hi"}"#;
        with_request("/v1/responses", ask, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!((whole.turn().parts, streamed.turn().parts), (reply.parts.clone(), reply.parts.clone()));
        });
    }

    #[test]
    fn only_the_events_that_tell_all_of_a_text() {
        let done = r#"{"type":"response.output_text.done","output_index":0,"content_index":0,"text":"all"}"#;
        assert_eq!(streamed(&[done, ENDED]).turn().content(), "all");
        let item = r#"{"type":"response.output_item.done","item":{"type":"message","id":"m","content":[{"type":"output_text","text":"item"}]}}"#;
        assert_eq!(streamed(&[item, ENDED]).turn().content(), "item");
    }

    #[test]
    fn an_event_named_outside_its_data() {
        let body =
            "event: response.output_text.delta\ndata: {\"delta\":\"hi\"}\n\nevent: response.completed\ndata: {}\n\n";
        let reply = golden(&Responses, Framing::Sse, body.as_bytes()).turn();
        assert_eq!((reply.content(), reply.finish.as_deref()), ("hi".into(), Some("stop")));
    }

    #[test]
    fn why_it_is_incomplete() {
        let event =
            |rest: &str| format!(r#"{{"type":"response.incomplete","response":{{"status":"incomplete"{rest}}}}}"#);
        let finish = |rest| streamed(&[TEXT, &event(rest)]).turn().finish;
        assert_eq!(finish(r#","incomplete_details":{"reason":"max_output_tokens"}"#).as_deref(), Some("length"));
        assert_eq!(finish(r#","incomplete_details":{"reason":"content_filter"}"#).as_deref(), Some("content_filter"));
        assert_eq!(finish("").as_deref(), Some("incomplete"));
    }

    #[test]
    fn reasoning_and_refusal_from_events_alone() {
        let reasoning = r#"{"type":"response.reasoning_text.delta","output_index":0,"content_index":0,"delta":"hm"}"#;
        let refusal = r#"{"type":"response.refusal.delta","output_index":1,"content_index":0,"delta":"no"}"#;
        let reply = streamed(&[reasoning, refusal, refusal, ENDED]).turn();
        assert_eq!((reply.reasoning(), reply.refusal.as_deref()), ("hm".into(), Some("nono")));
        assert_eq!(reply.reasoning_field.as_deref(), Some("reasoning_text"));
    }

    #[test]
    fn failures_are_faults() {
        for failed in [
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"slow"}}}"#,
            r#"{"type":"error","code":"x","message":"slow"}"#,
            r#"{"error":{"message":"slow"}}"#,
        ] {
            assert!(matches!(streamed(&[TEXT, failed]), Outcome::Fault(Fault::Upstream(m)) if m.contains("slow")));
        }
        assert!(matches!(whole(r#"{"status":"failed","output":[]}"#), Outcome::Fault(Fault::Upstream(_))));
        assert!(matches!(whole(r#"{"error":{"message":"no"}}"#), Outcome::Fault(Fault::Upstream(_))));
        assert!(matches!(whole("{}"), Outcome::Fault(Fault::Unreadable(_))));
    }

    #[test]
    fn done_alone_or_nothing_is_a_cut() {
        assert_eq!(streamed(&[TEXT]), Outcome::Cut);
        assert_eq!(streamed(&[TEXT, "[DONE]"]), Outcome::Cut);
    }

    #[test]
    fn a_task_in_the_background_is_kept_as_it_came() {
        let Outcome::Whole(Answer::Raw(RawAnswer { body: RawBody::Json(body), .. })) =
            whole(r#"{"id":"r","status":"queued","output":[]}"#)
        else {
            panic!("not verbatim")
        };
        assert_eq!(body["status"], "queued");
    }
}
