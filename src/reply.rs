//! The provider-neutral answer: what a collapser makes of a stream and what an encoder sends.

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Anything that a fixture can answer with.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A model's turn: text, tool calls, reasoning.
    Turn(Reply),
    /// Embedding vectors.
    Embeddings(Embeddings),
    /// A provider's error.
    Error(ErrorAnswer),
    /// A body kept as it is.
    Raw(RawAnswer),
}

/// A model's turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// Text, reasoning and tool calls in the order they were sent.
    pub parts: Vec<Part>,
    /// Why the model stopped: OpenAI's word, or a provider's own word where OpenAI has no equal.
    pub finish: Option<String>,
    /// Token counts in the recording provider's own names.
    pub usage: Option<Usage>,
    /// The model's refusal, where the wire has a field of its own for it.
    pub refusal: Option<String>,
    /// The answer's id.
    pub id: Option<String>,
    /// The model's name as the provider gave it.
    pub model: Option<String>,
    /// Unix seconds.
    pub created: Option<i64>,
    /// The author's role, where it is not `assistant`.
    pub role: Option<String>,
    /// OpenAI's `system_fingerprint`.
    pub system_fingerprint: Option<String>,
    /// The member that OpenAI-compatible services put reasoning in, where it is not `reasoning_content`.
    pub reasoning_field: Option<String>,
}

/// One piece of a turn.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Visible text.
    Text {
        /// The text.
        text: String,
        /// Gemini's `thoughtSignature` on a text part.
        signature: Option<String>,
    },
    /// The model's reasoning, or its summary.
    Reasoning {
        /// The text; may be empty where only a signature was sent.
        text: String,
        /// What proves it to the provider (Anthropic `signature`, Responses `encrypted_content`).
        signature: Option<String>,
    },
    /// Reasoning that only the provider can read (Anthropic `redacted_thinking.data`).
    RedactedReasoning(String),
    /// A call of a tool.
    ToolCall(ToolCall),
    /// What one wire alone knows, at its place: given back on that wire, left out on others.
    Verbatim(Verbatim),
}

/// A piece of an answer that has no equal on other wires: a tool that the provider ran and its result, an image, the
/// sources of the text before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verbatim {
    /// The name of its wire format.
    pub wire: String,
    /// The piece, or an object of members that belong to what stands before it: compact JSON text.
    pub json: String,
}

impl Part {
    /// A part that this wire alone knows.
    pub fn verbatim(wire: &str, json: &Value) -> Self {
        Part::Verbatim(Verbatim { wire: wire.to_owned(), json: json.to_string() })
    }

    /// The JSON of a part that this wire alone knows.
    pub fn verbatim_of(&self, wire: &str) -> Option<&RawValue> {
        match self {
            Part::Verbatim(own) if own.wire == wire => serde_json::from_str(&own.json).ok(),
            _ => None,
        }
    }

    /// A text part without a signature.
    pub fn text(text: impl Into<String>) -> Self {
        Part::Text { text: text.into(), signature: None }
    }
}

/// A call of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// The call's id; made up on replay where absent.
    pub id: Option<String>,
    /// The tool's name.
    pub name: String,
    /// The arguments' JSON text, as the model wrote it (it may not be valid JSON).
    pub arguments: String,
    /// Gemini's `thoughtSignature` on a functionCall part.
    pub signature: Option<String>,
    /// The tool takes text instead of JSON (OpenAI's `custom` tools): `arguments` is that text.
    pub custom: bool,
}

/// Token counts, a JSON object in the names of the provider that sent it.
pub type Usage = Map<String, Value>;

/// Embedding vectors, one an input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embeddings {
    /// The vectors; empty means: derive them from the text of the request.
    pub vectors: Vec<Vec<f64>>,
    /// Token counts in the recording provider's own names.
    pub usage: Option<Usage>,
    /// The model's name as the provider gave it.
    pub model: Option<String>,
    /// The answer's id.
    pub id: Option<String>,
}

/// An error, sent in the shape of the provider that was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorAnswer {
    /// HTTP status, 400 to 599.
    pub status: u16,
    /// For people.
    pub message: String,
    /// The provider's error type (`rate_limit_error`); derived from the status where absent.
    pub kind: Option<String>,
    /// A machine-readable code.
    pub code: Option<String>,
    /// The request's field at fault.
    pub param: Option<String>,
    /// `retry-after`, in seconds.
    pub retry_after: Option<u64>,
}

/// A body that is sent as it is, whatever the provider.
#[derive(Clone, Debug, PartialEq)]
pub struct RawAnswer {
    /// HTTP status.
    pub status: u16,
    /// `content-type`.
    pub content_type: String,
    /// `retry-after`, in seconds.
    pub retry_after: Option<u64>,
    /// The body.
    pub body: RawBody,
}

/// The two ways a verbatim body is kept.
#[derive(Clone, Debug, PartialEq)]
pub enum RawBody {
    /// JSON, kept readable; its white space is not kept.
    Json(Value),
    /// Any bytes.
    Bytes(Vec<u8>),
    /// None, as in any answer to `HEAD`: the length that it told.
    Absent(u64),
}

impl Reply {
    /// A turn of text alone.
    ///
    /// ```
    /// assert_eq!(aimock::Reply::text("Hi there!").content(), "Hi there!");
    /// ```
    pub fn text(text: impl Into<String>) -> Self {
        Reply { parts: vec![Part::text(text)], ..Reply::default() }
    }

    /// A turn that calls one tool; `arguments` is the JSON text.
    pub fn tool_call(name: impl Into<String>, arguments: impl Into<String>) -> Self {
        let call = ToolCall { name: name.into(), arguments: arguments.into(), ..ToolCall::default() };
        Reply { parts: vec![Part::ToolCall(call)], ..Reply::default() }
    }

    /// All text, joined.
    pub fn content(&self) -> String {
        self.parts
            .iter()
            .filter_map(|p| if let Part::Text { text, .. } = p { Some(text.as_str()) } else { None })
            .collect()
    }

    /// All readable reasoning, joined.
    pub fn reasoning(&self) -> String {
        let texts = self.parts.iter().filter_map(|p| match p {
            Part::Reasoning { text, .. } => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    /// The tool calls, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|p| if let Part::ToolCall(call) = p { Some(call) } else { None })
    }

    /// The finish reason in OpenAI's word or a provider's own: what was recorded, else what the parts imply.
    pub fn finish_word(&self) -> &str {
        match &self.finish {
            Some(word) => word,
            None if self.tool_calls().next().is_some() => "tool_calls",
            None => "stop",
        }
    }

    /// Appends text to the last part where that is unsigned text, else begins a text part.
    pub fn push_text(&mut self, more: &str) {
        match self.parts.last_mut() {
            Some(Part::Text { text, signature: None }) => text.push_str(more),
            _ if more.is_empty() => {}
            _ => self.parts.push(Part::text(more)),
        }
    }

    /// Appends reasoning to the last part where that is unsigned reasoning, else begins a reasoning part.
    pub fn push_reasoning(&mut self, more: &str) {
        match self.parts.last_mut() {
            Some(Part::Reasoning { text, signature: None }) => text.push_str(more),
            _ if more.is_empty() => {}
            _ => self.parts.push(Part::Reasoning { text: more.to_owned(), signature: None }),
        }
    }

    /// Bytes of text, reasoning and arguments held.
    pub fn kept_bytes(&self) -> usize {
        self.parts.iter().map(Part::kept_bytes).sum()
    }
}

impl Part {
    fn kept_bytes(&self) -> usize {
        let len = |s: &Option<String>| s.as_ref().map_or(0, String::len);
        match self {
            Part::Text { text, signature } | Part::Reasoning { text, signature } => text.len() + len(signature),
            Part::RedactedReasoning(data) => data.len(),
            Part::Verbatim(own) => own.json.len(),
            Part::ToolCall(c) => c.name.len() + c.arguments.len() + len(&c.id) + len(&c.signature),
        }
    }
}

impl RawAnswer {
    /// The body's bytes.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match &self.body {
            RawBody::Json(json) => Cow::Owned(json.to_string().into_bytes()),
            RawBody::Bytes(bytes) => Cow::Borrowed(bytes),
            RawBody::Absent(_) => Cow::Borrowed(&[]),
        }
    }
}

impl ErrorAnswer {
    /// The status of a fixture that gives none.
    pub const DEFAULT_STATUS: u16 = 500;
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Answer::Turn(reply)
    }
}

impl From<Embeddings> for Answer {
    fn from(embeddings: Embeddings) -> Self {
        Answer::Embeddings(embeddings)
    }
}

impl From<ErrorAnswer> for Answer {
    fn from(error: ErrorAnswer) -> Self {
        Answer::Error(error)
    }
}
