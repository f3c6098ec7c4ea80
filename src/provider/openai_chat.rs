//! OpenAI chat completions, the wire that most services speak.
//! <https://platform.openai.com/docs/api-reference/chat>

use super::{
    AnswerHead, BadRequest, Call, CallId, Carries, Codec, Collapse, Encoding, Fault, FinishWords, Progress, UsageShape,
    answer_usage, finish_in, finish_out, parse_body, parse_frame, pieces,
};
use crate::frame::{Frame, Frames, Framing, sse};
use crate::reply::{Answer, Part, Reply, ToolCall};
use crate::request::{Content, Kind, Message, Request, Role, Str};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The terminal event's data.
const DONE: &[u8] = b"[DONE]";

/// OpenAI's finish reasons are the words that fixtures use.
static FINISH: FinishWords = FinishWords {
    exact: &[
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("content_filter", "content_filter"),
        ("function_call", "function_call"),
    ],
    near: &[],
    otherwise: "stop",
};

/// <https://platform.openai.com/docs/api-reference/chat/object#chat/object-usage>
static USAGE: UsageShape = UsageShape {
    input: "/prompt_tokens",
    output: "/completion_tokens",
    total: "/total_tokens",
    cached: "/prompt_tokens_details/cached_tokens",
    cache_write: "/prompt_tokens_details/cache_write_tokens",
    reasoning: "/completion_tokens_details/reasoning_tokens",
    input_excludes_cached: false,
    output_excludes_reasoning: false,
};

/// The chat completions wire.
#[derive(Debug)]
pub struct Chat;

impl Codec for Chat {
    fn wire(&self) -> &'static str {
        "openai-chat"
    }

    fn kind(&self) -> Kind {
        Kind::Chat
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        let body: Body<'a> = parse_body(call.body)?;
        let mut request = Request::new(Kind::Chat);
        // Azure names the model in the path.
        request.model = match (body.model, call.param("deployment")) {
            (Some(model), _) => model.0,
            (None, Some(deployment)) => deployment.clone(),
            (None, None) => return Err(BadRequest::field("model", "you must provide a model parameter")),
        };
        let Some(messages) = body.messages else {
            return Err(BadRequest::field("messages", "missing required parameter: 'messages'"));
        };
        request.messages = messages.into_iter().map(Turn::into_message).collect();
        if body.stream.unwrap_or(false) {
            request.framing = Framing::Sse;
        }
        request.include_usage = body.stream_options.is_some_and(|o| o.include_usage.unwrap_or(false));
        let names = body.tools.into_iter().flatten().filter_map(|t| t.function.map(|f| f.name).or(t.name));
        request.tools = names.chain(body.functions.into_iter().flatten().map(|f| f.name)).map(|n| n.0).collect();
        request.response_format = body.response_format.and_then(|f| f.kind).map(|k| k.0);
        Ok(request)
    }

    fn encode_whole(&self, answer: &Answer, to: &Encoding<'_>) -> Vec<u8> {
        let Answer::Turn(reply) = answer else { return Vec::new() };
        let head = Head::new("chat.completion", reply, to);
        let message = WholeMessage::new(reply, to);
        let finish = finish_out(&FINISH, reply.finish_word());
        let usage = answer_usage(&USAGE, reply, to.request);
        let choices = [WholeChoice { index: 0, message, logprobs: (), finish_reason: &finish }];
        json(&Whole { head, choices, usage: &usage })
    }

    fn encode_stream(&self, answer: &Answer, to: &Encoding<'_>) -> Frames {
        let Answer::Turn(reply) = answer else { return Frames::default() };
        let mut stream = Stream::new(reply, to);
        let mut opening = Delta { role: Some(reply.role.as_deref().unwrap_or("assistant")), ..Delta::default() };
        if reply.tool_calls().next().is_none() && reply.refusal.is_none() {
            opening.content = Some("");
        }
        stream.delta(&opening, None, None);
        let legacy = reply.finish.as_deref() == Some("function_call");
        let mut index = 0;
        for part in &reply.parts {
            match part {
                Part::Text { text, .. } => {
                    for piece in pieces(text, to.chunk_chars) {
                        stream.delta(&Delta { content: Some(piece), ..Delta::default() }, None, None);
                    }
                }
                Part::Reasoning { text, .. } => {
                    for piece in pieces(text, to.chunk_chars) {
                        stream.delta(&Delta::reasoning(reply, piece), None, None);
                    }
                }
                Part::ToolCall(call) if legacy => stream.function_call(call, to),
                Part::ToolCall(call) => {
                    stream.tool_call(call, index, to);
                    index += 1;
                }
                Part::RedactedReasoning(_) => {}
            }
        }
        for piece in pieces(reply.refusal.as_deref().unwrap_or(""), to.chunk_chars) {
            stream.delta(&Delta { refusal: Some(piece), ..Delta::default() }, None, None);
        }
        let finish = finish_out(&FINISH, reply.finish_word());
        let usage = answer_usage(&USAGE, reply, to.request);
        let asked = to.request.include_usage;
        // A service that sends usage unasked puts it beside the finish reason: clients that did not ask for the extra
        // chunk fail on one without choices.
        let unasked = (!asked && reply.usage.is_some()).then_some(&usage);
        stream.delta(&Delta::default(), Some(&finish), unasked);
        if asked {
            stream.usage(&usage);
        }
        stream.done()
    }

    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        Box::new(Collapser { whole: answer.framing == Framing::Whole, ..Collapser::default() })
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[DONE]
    }

    fn call_ids(&self) -> &'static [CallId] {
        &[CallId { key: "tool_call_id", beside: "" }, CallId { key: "id", beside: "function" }]
    }

    fn carries(&self) -> Carries {
        Carries { signatures: false, redacted: false, order: false, ..Carries::ALL }
    }

    fn finish_words(&self) -> Option<&'static FinishWords> {
        Some(&FINISH)
    }

    fn usage_shape(&self) -> Option<&'static UsageShape> {
        Some(&USAGE)
    }
}

// ---------------------------------------------------------------------------------------------------- the request

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    #[serde(borrow, default)]
    messages: Option<Vec<Turn<'a>>>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(borrow, default)]
    tools: Option<Vec<Tool<'a>>>,
    #[serde(borrow, default)]
    functions: Option<Vec<Named<'a>>>,
    #[serde(borrow, default)]
    response_format: Option<ResponseFormat<'a>>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow, default)]
    function: Option<Named<'a>>,
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: Str<'a>,
}

#[derive(Deserialize)]
struct ResponseFormat<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow)]
    role: Str<'a>,
    #[serde(borrow, default)]
    content: Content<'a>,
    #[serde(borrow, default)]
    tool_call_id: Option<Str<'a>>,
}

impl<'a> Turn<'a> {
    fn into_message(self) -> Message<'a> {
        let role = match &*self.role {
            "system" | "developer" => Role::System,
            "assistant" => Role::Assistant,
            "tool" | "function" => Role::Tool,
            _ => Role::User,
        };
        Message { role, text: self.content.0, tool_call_id: self.tool_call_id.map(|id| id.0) }
    }
}

// ----------------------------------------------------------------------------------------------------- the answer

#[derive(Serialize)]
struct Head<'a> {
    id: Cow<'a, str>,
    object: &'static str,
    created: i64,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_fingerprint: Option<&'a str>,
}

impl<'a> Head<'a> {
    fn new(object: &'static str, reply: &'a Reply, to: &Encoding<'a>) -> Self {
        Head {
            id: reply.id.as_deref().map_or_else(|| Cow::Owned(to.id("chatcmpl-", 0)), Cow::Borrowed),
            object,
            created: reply.created.unwrap_or(to.now),
            model: reply.model.as_deref().unwrap_or(&to.request.model),
            system_fingerprint: reply.system_fingerprint.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    choices: [WholeChoice<'a>; 1],
    usage: &'a crate::reply::Usage,
}

#[derive(Serialize)]
struct WholeChoice<'a> {
    index: u32,
    message: WholeMessage<'a>,
    logprobs: (),
    finish_reason: &'a str,
}

#[derive(Serialize)]
struct WholeMessage<'a> {
    role: &'a str,
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionOut<'a>>,
}

impl<'a> WholeMessage<'a> {
    fn new(reply: &'a Reply, to: &Encoding<'_>) -> Self {
        let content = reply.content();
        let calls = reply.tool_calls().count() > 0;
        let reasoning = Some(reply.reasoning()).filter(|r| !r.is_empty());
        let (reasoning_content, reasoning) = if plain_reasoning(reply) { (None, reasoning) } else { (reasoning, None) };
        let legacy = reply.finish.as_deref() == Some("function_call");
        WholeMessage {
            role: reply.role.as_deref().unwrap_or("assistant"),
            content: if content.is_empty() && (calls || reply.refusal.is_some()) { None } else { Some(content) },
            reasoning_content,
            reasoning,
            refusal: reply.refusal.as_deref(),
            tool_calls: if legacy {
                Vec::new()
            } else {
                reply.tool_calls().enumerate().map(|(i, call)| CallOut::new(call, None, i, to)).collect()
            },
            function_call: reply.tool_calls().next().filter(|_| legacy).map(FunctionOut::whole),
        }
    }
}

/// The service names the member `reasoning`, not `reasoning_content`.
fn plain_reasoning(reply: &Reply) -> bool {
    reply.reasoning_field.as_deref() == Some("reasoning")
}

#[derive(Serialize)]
struct CallOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'a, str>>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: FunctionOut<'a>,
}

impl<'a> CallOut<'a> {
    fn new(call: &'a ToolCall, index: Option<usize>, n: usize, to: &Encoding<'_>) -> Self {
        let id = call.id.as_deref().map_or_else(|| Cow::Owned(to.id("call_", n + 1)), Cow::Borrowed);
        CallOut { index, id: Some(id), kind: Some("function"), function: FunctionOut::whole(call) }
    }
}

#[derive(Serialize)]
struct FunctionOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl<'a> FunctionOut<'a> {
    fn whole(call: &'a ToolCall) -> Self {
        FunctionOut { name: Some(&call.name), arguments: &call.arguments }
    }
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallOut<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionOut<'a>>,
}

impl<'a> Delta<'a> {
    fn reasoning(reply: &Reply, piece: &'a str) -> Self {
        if plain_reasoning(reply) {
            Delta { reasoning: Some(piece), ..Delta::default() }
        } else {
            Delta { reasoning_content: Some(piece), ..Delta::default() }
        }
    }
}

/// The chunks of a streamed answer; what all of them begin with is written once.
struct Stream {
    frames: Frames,
    opening: Vec<u8>,
}

impl Stream {
    fn new(reply: &Reply, to: &Encoding<'_>) -> Self {
        let mut opening = b"data: ".to_vec();
        opening.extend_from_slice(&json(&Head::new("chat.completion.chunk", reply, to)));
        opening.pop(); // the closing brace
        opening.extend_from_slice(b",\"choices\":[");
        Stream { frames: Frames::default(), opening }
    }

    fn delta(&mut self, delta: &Delta<'_>, finish: Option<&str>, usage: Option<&crate::reply::Usage>) {
        let opening = &self.opening;
        self.frames.push(|out| {
            out.extend_from_slice(opening);
            out.extend_from_slice(b"{\"index\":0,\"delta\":");
            out.extend_from_slice(&json(delta));
            out.extend_from_slice(b",\"finish_reason\":");
            out.extend_from_slice(&json(&finish));
            out.extend_from_slice(b"}]");
            if let Some(usage) = usage {
                out.extend_from_slice(b",\"usage\":");
                out.extend_from_slice(&json(usage));
            }
            out.extend_from_slice(b"}\n\n");
        });
    }

    fn tool_call(&mut self, call: &ToolCall, index: usize, to: &Encoding<'_>) {
        let mut first = CallOut::new(call, Some(index), index, to);
        first.function.arguments = "";
        self.delta(&Delta { tool_calls: Some([first]), ..Delta::default() }, None, None);
        for piece in pieces(&call.arguments, to.chunk_chars) {
            let function = FunctionOut { name: None, arguments: piece };
            let more = CallOut { index: Some(index), id: None, kind: None, function };
            self.delta(&Delta { tool_calls: Some([more]), ..Delta::default() }, None, None);
        }
    }

    fn function_call(&mut self, call: &ToolCall, to: &Encoding<'_>) {
        let first = FunctionOut { name: Some(&call.name), arguments: "" };
        self.delta(&Delta { function_call: Some(first), ..Delta::default() }, None, None);
        for piece in pieces(&call.arguments, to.chunk_chars) {
            let more = FunctionOut { name: None, arguments: piece };
            self.delta(&Delta { function_call: Some(more), ..Delta::default() }, None, None);
        }
    }

    fn usage(&mut self, usage: &crate::reply::Usage) {
        let opening = &self.opening;
        self.frames.push(|out| {
            out.extend_from_slice(opening);
            out.extend_from_slice(b"],\"usage\":");
            out.extend_from_slice(&json(usage));
            out.extend_from_slice(b"}\n\n");
        });
    }

    fn done(mut self) -> Frames {
        self.frames.push(|out| sse::encode("", DONE, out));
        self.frames
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("these structs have string keys only")
}

// ------------------------------------------------------------------------------------------------------- collapse

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    #[serde(default)]
    created: Option<f64>,
    #[serde(borrow, default)]
    system_fingerprint: Option<Str<'a>>,
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    x_groq: Option<Groq<'a>>,
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
    #[serde(borrow, default)]
    refusal: Option<Str<'a>>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<CallPiece<'a>>>,
    #[serde(borrow, default)]
    function_call: Option<FunctionPiece<'a>>,
}

#[derive(Deserialize)]
struct CallPiece<'a> {
    #[serde(default)]
    index: Option<i64>,
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(borrow, default)]
    function: Option<FunctionPiece<'a>>,
}

#[derive(Deserialize)]
struct FunctionPiece<'a> {
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
    /// A string; some services send an object.
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

/// One tool call as it grows.
#[derive(Default)]
struct Growing {
    index: Option<i64>,
    call: ToolCall,
}

/// Puts the chunks of choice 0 together.
#[derive(Default)]
struct Collapser {
    whole: bool,
    text: String,
    reasoning: String,
    calls: Vec<Growing>,
    reply: Reply,
    progress: Option<Progress>,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        if frame.data.trim_ascii() == DONE {
            self.progress = Some(Progress::Done);
        } else if !frame.data.trim_ascii().is_empty() {
            let chunk: Chunk<'_> = parse_frame(frame)?;
            if let Some(error) = chunk.error.as_ref().filter(|e| !e.is_null()) {
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
        self.text.len() + self.reasoning.len() + calls.sum::<usize>()
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
        Answer::Turn(reply)
    }
}

impl Collapser {
    fn take(&mut self, chunk: Chunk<'_>) -> Result<(), Fault> {
        let reply = &mut self.reply;
        let id = chunk.id.and_then(|id| serde_json::from_str::<String>(id.get()).ok());
        keep(&mut reply.id, id.as_deref());
        keep(&mut reply.model, chunk.model.as_deref());
        keep(&mut reply.system_fingerprint, chunk.system_fingerprint.as_deref());
        if reply.created.is_none() {
            reply.created = chunk.created.map(|c| c as i64).filter(|c| *c != 0);
        }
        for usage in [chunk.x_groq.and_then(|g| g.usage), chunk.usage].into_iter().flatten() {
            // null, or an object
            if let Ok(Value::Object(usage)) = serde_json::from_str(usage.get()) {
                reply.usage = Some(usage);
            }
        }
        for choice in chunk.choices.into_iter().flatten().filter(|c| c.index.unwrap_or(0) == 0) {
            if let Some(word) = choice.finish_reason.filter(|word| !word.is_empty()) {
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
            self.content(content)?;
        }
        match (piece.reasoning_content.filter(|t| !t.is_empty()), piece.reasoning) {
            (Some(text), _) => self.reasoning.push_str(&text),
            (None, Some(raw)) => {
                if let Ok(Str(text)) = serde_json::from_str(raw.get())
                    && !text.is_empty()
                {
                    self.reasoning.push_str(&text);
                    self.reply.reasoning_field = Some("reasoning".into());
                }
            }
            (None, None) => {}
        }
        if let Some(refusal) = piece.refusal.filter(|r| !r.is_empty()) {
            self.reply.refusal.get_or_insert_default().push_str(&refusal);
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

    /// A string, null, or a list of text and thinking parts
    /// (<https://docs.mistral.ai/capabilities/reasoning/>).
    fn content(&mut self, raw: &RawValue) -> Result<(), Fault> {
        if raw.get().starts_with('"') {
            let Str(text) = serde_json::from_str(raw.get()).map_err(|e| Fault::Unreadable(e.to_string()))?;
            self.text.push_str(&text);
            return Ok(());
        }
        let parts: Option<Vec<Value>> = serde_json::from_str(raw.get())
            .map_err(|e| Fault::Unreadable(format!("content is neither a string nor a list: {e}")))?;
        for part in parts.into_iter().flatten() {
            if let Some(text) = part.get("text").and_then(Value::as_str).or_else(|| part.as_str()) {
                self.text.push_str(text);
            }
            match part.get("thinking") {
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
        let index = piece.index.filter(|i| *i >= 0 && !self.whole);
        let same_id = |g: &Growing| match (&id, &g.call.id) {
            (Some(new), Some(old)) => **new == **old,
            _ => true,
        };
        let at = match index {
            Some(i) => self.calls.iter().rposition(|g| g.index == Some(i) && same_id(g)),
            None if self.whole => None,
            None if id.is_some() => self.calls.iter().rposition(|g| g.call.id.as_deref() == id.as_deref()),
            None => {
                let names_another = piece.function.as_ref().and_then(|f| f.name.as_deref()).is_some_and(|name| {
                    !name.is_empty() && self.calls.last().is_some_and(|g| g.call.name != name || g.call.id.is_none())
                });
                if names_another { None } else { self.calls.len().checked_sub(1) }
            }
        };
        let at = at.unwrap_or_else(|| {
            self.calls.push(Growing { index, ..Growing::default() });
            self.calls.len() - 1
        });
        self.calls[at].grow(id, piece.function);
    }
}

impl Growing {
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
    use super::super::laws::{Outcome, carried, golden, round_trip, with_request};
    use super::*;

    fn chat(body: &str) -> Outcome {
        golden(&Chat, Framing::Sse, body.as_bytes())
    }

    const PATH: &str = "/v1/chat/completions";
    const ASK: &str = r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},
        "messages":[{"role":"user","content":"hi"}]}"#;

    #[test]
    fn request_with_every_kind_of_message() {
        let body = r#"{"model":"gpt-4o","stream":true,"response_format":{"type":"json_object"},
            "tools":[{"type":"function","function":{"name":"get_weather","parameters":{}}}],
            "messages":[{"role":"developer","content":"be \"brief\""},
                {"role":"user","content":[{"type":"text","text":"what is "},{"type":"image_url","image_url":{"url":"x"}},{"type":"text","text":"this?"}]},
                {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"get_weather","arguments":"{}"}}]},
                {"role":"tool","tool_call_id":"c1","content":"sunny"}]}"#;
        with_request(PATH, body, |_, r| {
            assert_eq!(r.user_message(), Some("what is this?"));
            assert_eq!(r.system_text(), "be \"brief\"");
            assert_eq!((r.turn_index(), r.has_tool_result(), r.streamed()), (1, true, true));
            assert_eq!(r.last_tool_result().and_then(|m| m.tool_call_id.as_deref()), Some("c1"));
            assert_eq!((&*r.tools[0], r.response_format.as_deref()), ("get_weather", Some("json_object")));
        });
    }

    #[test]
    fn text_is_cut_on_characters_and_comes_back() {
        let reply = Reply { usage: None, ..Reply::text("héllo 🌍 日本語") };
        with_request(PATH, ASK, |codec, request| {
            let to = Encoding { request, chunk_chars: 2, now: 0, seed: 0 };
            let frames = codec.encode_stream(&reply.clone().into(), &to);
            assert_eq!(frames.ends.len(), 1 + 6 + 1 + 1 + 1, "role, six pieces, finish, usage, done");
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            for back in [whole.turn(), streamed.turn()] {
                assert_eq!(back.content(), "héllo 🌍 日本語");
                assert_eq!(back.finish.as_deref(), Some("stop"));
                assert!(back.usage.is_some());
            }
        });
    }

    #[test]
    fn tools_reasoning_and_refusal_come_back() {
        let call = |id: &str, arguments: &str| {
            Part::ToolCall(ToolCall {
                id: Some(id.into()),
                name: "f".into(),
                arguments: arguments.into(),
                signature: None,
            })
        };
        let reply = Reply {
            parts: vec![
                Part::Reasoning { text: "hmm".into(), signature: None },
                Part::text("a"),
                call("c1", r#"{"a":[1,{"b":"é"}]}"#),
                call("c2", ""),
            ],
            finish: Some("tool_calls".into()),
            refusal: Some("no".into()),
            id: Some("chatcmpl-1".into()),
            model: Some("gpt-4o-2024-08-06".into()),
            usage: serde_json::from_str(r#"{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}"#).ok(),
            created: Some(1),
            ..Reply::default()
        };
        with_request(PATH, ASK, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!(whole.turn(), carried(&reply, &codec.carries()));
            assert_eq!(streamed.turn(), carried(&reply, &codec.carries()));
        });
    }

    #[test]
    fn parallel_calls_under_one_index_are_told_apart_by_id() {
        let chunk = |id: &str, arguments: &str| {
            format!(
                "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":[{{\"index\":0,\"id\":\"{id}\",\"function\":{{\"name\":\"f\",\"arguments\":\"{arguments}\"}}}}]}}}}]}}\n\n"
            )
        };
        let end =
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n";
        let reply = chat(&[&*chunk("a", "1"), &*chunk("a", "2"), &*chunk("b", "3"), end].concat()).turn();
        let calls: Vec<_> = reply.tool_calls().map(|c| (c.id.as_deref(), &*c.arguments)).collect();
        assert_eq!(calls, [(Some("a"), "12"), (Some("b"), "3")]);
    }

    #[test]
    fn a_stream_that_ends_with_neither_done_nor_finish_reason_was_cut() {
        let text = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\r\n\r\n";
        assert_eq!(chat(text), Outcome::Cut);
        let finish = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        assert_eq!(chat(&[text, finish].concat()).turn().content(), "a");
    }

    #[test]
    fn an_error_in_the_stream_is_a_fault() {
        let body = "data: {\"error\":{\"message\":\"overloaded\"}}\n\ndata: [DONE]\n\n";
        assert!(matches!(chat(body), Outcome::Fault(Fault::Upstream(m)) if m.contains("overloaded")));
    }
}
