//! A turn as a response: whole, or told event by event.
//! <https://platform.openai.com/docs/api-reference/responses-streaming>

use super::super::{Encoding, answer_usage, finish_out, pieces};
use super::{COMPLETED, FINISH, USAGE, WIRE, in_content};
use crate::frame::{Frames, sse};
use crate::reply::{Part, Reply, ToolCall, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(super) fn whole(reply: &Reply, to: &Encoding<'_>) -> Vec<u8> {
    let items = items(reply, to);
    bytes(&Response::new(reply, to).ended(&items))
}

pub(super) fn stream(reply: &Reply, to: &Encoding<'_>) -> Frames {
    let items = items(reply, to);
    let response = Response::new(reply, to);
    let mut stream = Stream::default();
    let begun = response.begun();
    for kind in ["response.created", "response.in_progress"] {
        stream.send(Event { response: Some(&begun), ..Event::new(kind) });
    }
    for (index, item) in items.iter().enumerate() {
        stream.item(index, item, to.chunk_chars);
    }
    let kind = if response.reason.is_none() { "response.completed" } else { "response.incomplete" };
    stream.send(Event { response: Some(&response.ended(&items)), ..Event::new(kind) });
    stream.frames
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("these structs have string keys only")
}

// ------------------------------------------------------------------------------------------------------ the items

struct Item<'a> {
    id: String,
    body: Body<'a>,
}

/// What a message has beside its text.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Beside {
    #[serde(default)]
    annotations: Vec<Value>,
    #[serde(default)]
    phase: Option<String>,
}

enum Body<'a> {
    /// Its text, and its part's and its own members beside that.
    Message(&'a str, Beside),
    Refusal(&'a str),
    /// Its texts, and what proves them; as summaries, or as content.
    Reasoning {
        texts: Vec<&'a str>,
        signature: Option<&'a str>,
        in_content: bool,
    },
    Call {
        call: &'a ToolCall,
        call_id: String,
        custom: bool,
    },
    /// An item of another kind.
    Verbatim(Value),
}

/// The output items of a turn; a turn that ended well has one at least.
fn items<'a>(reply: &'a Reply, to: &Encoding<'_>) -> Vec<Item<'a>> {
    let mut bodies: Vec<Body<'a>> = Vec::new();
    for part in &reply.parts {
        match part {
            Part::Text { text, .. } if text.is_empty() => {}
            Part::Text { text, .. } => bodies.push(Body::Message(text, Beside::default())),
            Part::Reasoning { text, signature } => reason(&mut bodies, text, signature.as_deref(), in_content(reply)),
            Part::RedactedReasoning(_) => {} // for another provider's eyes
            Part::Verbatim(_) => {
                let Some(own) = part.verbatim_of(WIRE) else { continue };
                match (bodies.last_mut(), serde_json::from_str(own.get())) {
                    (Some(Body::Message(_, beside)), Ok(said)) => *beside = said,
                    _ => bodies.extend(serde_json::from_str(own.get()).ok().map(Body::Verbatim)),
                }
            }
            Part::ToolCall(call) => {
                let call_id = call.id.clone().unwrap_or_else(|| to.id("call_", bodies.len() + 1));
                bodies.push(Body::Call {
                    call,
                    call_id,
                    custom: to.request.custom_tools.iter().any(|t| *t == call.name),
                });
            }
        }
    }
    bodies.extend(reply.refusal.as_deref().map(Body::Refusal));
    if bodies.is_empty() && finish_out(&FINISH, reply.finish_word()) == COMPLETED {
        bodies.push(Body::Message("", Beside::default()));
    }
    let id = |n, body: &Body<'_>| {
        match body {
            Body::Verbatim(item) => item.get("id").and_then(Value::as_str).map(str::to_owned),
            _ => None,
        }
        .unwrap_or_else(|| to.id(body.prefix(), n + 1))
    };
    bodies.into_iter().enumerate().map(|(n, body)| Item { id: id(n, &body), body }).collect()
}

/// Adds to the reasoning item that is being written, which a signature ends, or begins one.
fn reason<'a>(bodies: &mut Vec<Body<'a>>, text: &'a str, new: Option<&'a str>, in_content: bool) {
    let text = Some(text).filter(|t| !t.is_empty());
    match bodies.last_mut() {
        Some(Body::Reasoning { texts, signature: signature @ None, .. }) => {
            texts.extend(text);
            *signature = new;
        }
        _ if text.is_none() && new.is_none() => {}
        _ => bodies.push(Body::Reasoning { texts: text.into_iter().collect(), signature: new, in_content }),
    }
}

impl Body<'_> {
    fn prefix(&self) -> &'static str {
        match self {
            Body::Message(..) | Body::Refusal(_) => "msg_",
            Body::Reasoning { .. } => "rs_",
            Body::Call { custom: false, .. } => "fc_",
            Body::Call { custom: true, .. } => "ctc_",
            Body::Verbatim(_) => "item_",
        }
    }
}

impl Item<'_> {
    /// The item as it is announced: nothing in it yet.
    fn begun(&self) -> Value {
        let id = &self.id;
        match &self.body {
            Body::Message(_, beside) => with_phase(message(id, "in_progress", json!([])), beside),
            Body::Refusal(_) => message(id, "in_progress", json!([])),
            Body::Reasoning { .. } => json!({"id": id, "type": "reasoning", "summary": []}),
            Body::Call { call, call_id, custom } => call_item(id, "in_progress", call, call_id, *custom, ""),
            Body::Verbatim(item) => item.clone(),
        }
    }

    fn ended(&self, status: &str) -> Value {
        let id = &self.id;
        match &self.body {
            Body::Message(text, beside) => {
                with_phase(message(id, status, json!([text_part(text, &beside.annotations)])), beside)
            }
            Body::Refusal(text) => message(id, status, json!([refusal_part(text)])),
            Body::Reasoning { texts, signature, in_content } => {
                let parts = |kind| texts.iter().map(|text| json!({"type": kind, "text": text})).collect::<Vec<_>>();
                let mut item = if *in_content {
                    json!({"id": id, "type": "reasoning", "summary": [], "content": parts("reasoning_text")})
                } else {
                    json!({"id": id, "type": "reasoning", "summary": parts("summary_text")})
                };
                if let Some(signature) = signature {
                    item["encrypted_content"] = json!(signature);
                }
                item
            }
            Body::Call { call, call_id, custom } => call_item(id, status, call, call_id, *custom, &call.arguments),
            Body::Verbatim(item) => item.clone(),
        }
    }
}

fn message(id: &str, status: &str, content: Value) -> Value {
    json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
}

fn with_phase(mut message: Value, beside: &Beside) -> Value {
    if let Some(phase) = &beside.phase {
        message["phase"] = json!(phase);
    }
    message
}

fn call_item(id: &str, status: &str, call: &ToolCall, call_id: &str, custom: bool, arguments: &str) -> Value {
    let name = &call.name;
    if custom {
        return json!({"id": id, "type": "custom_tool_call", "status": status, "call_id": call_id, "name": name,
            "input": arguments});
    }
    json!({"id": id, "type": "function_call", "status": status, "arguments": arguments, "call_id": call_id,
        "name": name})
}

fn text_part(text: &str, annotations: &[Value]) -> Value {
    json!({"type": "output_text", "annotations": annotations, "logprobs": [], "text": text})
}

fn refusal_part(text: &str) -> Value {
    json!({"type": "refusal", "refusal": text})
}

// --------------------------------------------------------------------------------------------------- the response

/// What every form of the response object needs.
struct Response<'a> {
    id: String,
    created_at: i64,
    model: &'a str,
    /// Why it is incomplete, where it is.
    reason: Option<String>,
    usage: Usage,
}

impl<'a> Response<'a> {
    fn new(reply: &'a Reply, to: &Encoding<'a>) -> Self {
        let mut usage = answer_usage(&USAGE, reply, to.request);
        if reply.usage.as_ref() != Some(&usage) {
            // Clients read the details unasked. What this wire recorded stays as it was.
            fill_details(&mut usage);
        }
        Response {
            id: reply.id.clone().unwrap_or_else(|| to.id("resp_", 0)),
            created_at: reply.created.unwrap_or(to.now),
            model: reply.model.as_deref().unwrap_or(&to.request.model),
            reason: Some(finish_out(&FINISH, reply.finish_word())).filter(|word| word != COMPLETED),
            usage,
        }
    }

    fn begun(&self) -> Value {
        self.object("in_progress", Value::Null, Vec::new(), Value::Null)
    }

    fn ended(&self, items: &[Item<'_>]) -> Value {
        let last = items.len().saturating_sub(1);
        let cut = |n| self.reason.is_some() && n == last;
        let output = items.iter().enumerate();
        let output = output.map(|(n, i)| i.ended(if cut(n) { "incomplete" } else { COMPLETED })).collect();
        let (status, details) = match self.reason.as_deref() {
            None => (COMPLETED, Value::Null),
            Some("incomplete") => ("incomplete", Value::Null), // it never said why
            Some(reason) => ("incomplete", json!({"reason": reason})),
        };
        self.object(status, details, output, json!(self.usage))
    }

    /// <https://platform.openai.com/docs/api-reference/responses/object>
    fn object(&self, status: &str, incomplete_details: Value, output: Vec<Value>, usage: Value) -> Value {
        json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "background": false,
            "error": null,
            "incomplete_details": incomplete_details,
            "instructions": null,
            "max_output_tokens": null,
            "model": self.model,
            "output": output,
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "reasoning": {"effort": null, "summary": null},
            "service_tier": "default",
            "store": true,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": usage,
            "user": null,
            "metadata": {},
        })
    }
}

fn fill_details(usage: &mut Usage) {
    for (details, count) in [
        ("input_tokens_details", "cached_tokens"),
        ("input_tokens_details", "cache_write_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
    ] {
        if let Value::Object(details) = usage.entry(details).or_insert_with(|| json!({})) {
            details.entry(count).or_insert_with(|| json!(0));
        }
    }
}

// ----------------------------------------------------------------------------------------------------- the events

#[derive(Default, Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    sequence_number: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<[(); 0]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotation: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotation_index: Option<usize>,
}

impl Event<'_> {
    fn new(kind: &'static str) -> Self {
        Event { kind, ..Event::default() }
    }
}

#[derive(Default)]
struct Stream {
    frames: Frames,
    sent: usize,
}

impl Stream {
    fn send(&mut self, event: Event<'_>) {
        let data = bytes(&Event { sequence_number: self.sent, ..event });
        self.frames.push(|out| sse::encode(event.kind, &data, out));
        self.sent += 1;
    }

    fn item(&mut self, index: usize, item: &Item<'_>, chunk_chars: usize) {
        let output_index = Some(index);
        let kind = "response.output_item.added";
        self.send(Event { output_index, item: Some(item.begun()), ..Event::new(kind) });
        let at = |kind| Event { item_id: Some(&item.id), output_index, ..Event::new(kind) };
        let within = |kind| Event { content_index: Some(0), ..at(kind) };
        match &item.body {
            Body::Message(text, Beside { annotations, .. }) => {
                self.send(Event { part: Some(text_part("", &[])), ..within("response.content_part.added") });
                for piece in pieces(text, chunk_chars) {
                    let delta = Some(piece);
                    self.send(Event { delta, logprobs: Some([]), ..within("response.output_text.delta") });
                }
                for (n, annotation) in annotations.iter().enumerate() {
                    let (annotation, annotation_index) = (Some(annotation), Some(n));
                    let kind = "response.output_text.annotation.added";
                    self.send(Event { annotation, annotation_index, ..within(kind) });
                }
                let text = Some(*text);
                self.send(Event { text, logprobs: Some([]), ..within("response.output_text.done") });
                self.send(Event {
                    part: text.map(|text| text_part(text, annotations)),
                    ..within("response.content_part.done")
                });
            }
            Body::Refusal(text) => {
                self.send(Event { part: Some(refusal_part("")), ..within("response.content_part.added") });
                for piece in pieces(text, chunk_chars) {
                    self.send(Event { delta: Some(piece), ..within("response.refusal.delta") });
                }
                self.send(Event { refusal: Some(text), ..within("response.refusal.done") });
                self.send(Event { part: Some(refusal_part(text)), ..within("response.content_part.done") });
            }
            Body::Reasoning { texts, in_content, .. } => {
                for (n, text) in texts.iter().enumerate() {
                    self.reasoning(&at, n, text, *in_content, chunk_chars);
                }
            }
            Body::Call { call, custom, .. } => self.call(&at, call, *custom, chunk_chars),
            Body::Verbatim(_) => {}
        }
        let kind = "response.output_item.done";
        self.send(Event { output_index, item: Some(item.ended(COMPLETED)), ..Event::new(kind) });
    }

    fn reasoning<'e>(
        &mut self,
        at: &impl Fn(&'static str) -> Event<'e>,
        n: usize,
        text: &'e str,
        in_content: bool,
        chunk_chars: usize,
    ) {
        let [added, delta, done, ended, part] = if in_content {
            [
                "response.content_part.added",
                "response.reasoning_text.delta",
                "response.reasoning_text.done",
                "response.content_part.done",
                "reasoning_text",
            ]
        } else {
            [
                "response.reasoning_summary_part.added",
                "response.reasoning_summary_text.delta",
                "response.reasoning_summary_text.done",
                "response.reasoning_summary_part.done",
                "summary_text",
            ]
        };
        let part = |text: &str| Some(json!({"type": part, "text": text}));
        let (content_index, summary_index) = if in_content { (Some(n), None) } else { (None, Some(n)) };
        let at = |kind| Event { content_index, summary_index, ..at(kind) };
        self.send(Event { part: part(""), ..at(added) });
        for piece in pieces(text, chunk_chars) {
            self.send(Event { delta: Some(piece), ..at(delta) });
        }
        self.send(Event { text: Some(text), ..at(done) });
        self.send(Event { part: part(text), ..at(ended) });
    }

    fn call<'e>(
        &mut self,
        at: &impl Fn(&'static str) -> Event<'e>,
        call: &'e ToolCall,
        custom: bool,
        chunk_chars: usize,
    ) {
        let kind =
            if custom { "response.custom_tool_call_input.delta" } else { "response.function_call_arguments.delta" };
        for piece in pieces(&call.arguments, chunk_chars) {
            self.send(Event { delta: Some(piece), ..at(kind) });
        }
        let all = Some(&*call.arguments);
        self.send(if custom {
            Event { input: all, ..at("response.custom_tool_call_input.done") }
        } else {
            Event { name: Some(&call.name), arguments: all, ..at("response.function_call_arguments.done") }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::with_request;
    use super::*;

    /// The events' types, deltas once in a row.
    fn kinds(reply: &Reply) -> Vec<String> {
        with_request("/v1/responses", r#"{"model":"m","stream":true,"input":"hi"}"#, |_, request| {
            let to = Encoding { request, chunk_chars: 2, now: 0, seed: 0 };
            let mut kinds = Vec::new();
            for (n, frame) in stream(reply, &to).iter().enumerate() {
                let text = std::str::from_utf8(frame).unwrap();
                let (event, data) = text.split_once("\ndata: ").unwrap();
                let data: Value = serde_json::from_str(data).unwrap();
                assert_eq!(
                    (event.strip_prefix("event: "), &data["sequence_number"]),
                    (data["type"].as_str(), &json!(n))
                );
                kinds.push(event["event: response.".len()..].to_owned());
            }
            kinds.dedup();
            kinds
        })
    }

    #[test]
    fn the_events_of_a_text() {
        assert_eq!(
            kinds(&Reply::text("hello")),
            [
                "created",
                "in_progress",
                "output_item.added",
                "content_part.added",
                "output_text.delta",
                "output_text.done",
                "content_part.done",
                "output_item.done",
                "completed"
            ]
        );
    }

    #[test]
    fn the_events_of_reasoning_and_a_call() {
        let mut reply = Reply::tool_call("f", "{\"a\":1}");
        reply.parts.insert(0, Part::Reasoning { text: "hmm".into(), signature: Some("enc".into()) });
        reply.finish = Some("length".into());
        assert_eq!(
            kinds(&reply),
            [
                "created",
                "in_progress",
                "output_item.added",
                "reasoning_summary_part.added",
                "reasoning_summary_text.delta",
                "reasoning_summary_text.done",
                "reasoning_summary_part.done",
                "output_item.done",
                "output_item.added",
                "function_call_arguments.delta",
                "function_call_arguments.done",
                "output_item.done",
                "incomplete"
            ]
        );
    }

    #[test]
    fn usage_always_has_its_details() {
        with_request("/v1/responses", r#"{"model":"m","input":"hi"}"#, |_, request| {
            let to = Encoding { request, chunk_chars: 2, now: 0, seed: 0 };
            let sent: Value = serde_json::from_slice(&whole(&Reply::text("hello"), &to)).unwrap();
            assert_eq!(sent["usage"]["input_tokens_details"]["cached_tokens"], 0);
            assert_eq!(sent["usage"]["output_tokens_details"]["reasoning_tokens"], 0);
            assert_eq!(
                (&sent["status"], &sent["output"][0]["content"][0]["text"]),
                (&json!("completed"), &json!("hello"))
            );
        });
    }
}
