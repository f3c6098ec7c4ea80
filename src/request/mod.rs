//! The provider-neutral view of a request: what matching needs, borrowed from its body.

pub mod canonical;
pub mod parts;
pub mod volatile;

use crate::frame::Framing;
use serde::de::{self, Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

/// What kind of answer an endpoint gives; the fixture key `endpoint`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A model's turn.
    Chat,
    /// Embedding vectors.
    Embedding,
    /// Anything else, kept verbatim.
    Raw,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 3] = [Kind::Chat, Kind::Embedding, Kind::Raw];

    /// The word in fixture files.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Chat => "chat",
            Kind::Embedding => "embedding",
            Kind::Raw => "raw",
        }
    }
}

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions: `system`, `developer`, `preamble`, `systemInstruction`.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool's result.
    Tool,
}

/// One message of the conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message<'a> {
    /// Who wrote it.
    pub role: Role,
    /// Its text parts joined; empty where it has none.
    pub text: Cow<'a, str>,
    /// For a tool's result, and for what a user says beside one in the same message: the id of the call it answers.
    pub tool_call_id: Option<Cow<'a, str>>,
}

impl<'a> Message<'a> {
    /// A message of text.
    pub fn new(role: Role, text: impl Into<Cow<'a, str>>) -> Self {
        Message { role, text: text.into(), tool_call_id: None }
    }
}

/// What a client asked, in the terms that matching and encoding need.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What kind of answer is wanted.
    pub kind: Kind,
    /// The model asked for, from the body or the path.
    pub model: Cow<'a, str>,
    /// The framing of a streamed answer, or [`Framing::Whole`] where none was asked for.
    pub framing: Framing,
    /// OpenAI's `stream_options.include_usage`.
    pub include_usage: bool,
    /// The conversation, instructions included, in order.
    pub messages: Vec<Message<'a>>,
    /// The names of the tools offered.
    pub tools: Vec<Cow<'a, str>>,
    /// Those of them that take text instead of JSON (OpenAI's `custom` tools).
    pub custom_tools: Vec<Cow<'a, str>>,
    /// OpenAI's `response_format.type`, or what says the same elsewhere (`json_object`, `json_schema`).
    pub response_format: Option<Cow<'a, str>>,
    /// Embedding inputs.
    pub inputs: Vec<Cow<'a, str>>,
    /// How embedding vectors are to be sent.
    pub vectors: VectorFormat,
    /// Members that its answer repeats, where the wire does so.
    pub echo: Vec<(&'static str, Cow<'a, RawValue>)>,
}

/// How embedding vectors are to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VectorFormat {
    /// OpenAI's `encoding_format: base64`: little-endian f32.
    pub base64: bool,
    /// Numbers of another type are asked for, which a text may hold (`base64_int8`): the answer is not read.
    pub opaque: bool,
    /// Length of vectors that are made up.
    pub dimensions: Option<usize>,
    /// One input came as a bare value, not as a list of one.
    pub single: bool,
    /// The request names the types of number it wants (Cohere's `embedding_types`): vectors come under their names.
    pub by_type: bool,
}

impl<'a> Request<'a> {
    /// An empty request of this kind; a codec's decoder fills in what it finds.
    pub fn new(kind: Kind) -> Self {
        Request {
            kind,
            model: Cow::Borrowed(""),
            framing: Framing::Whole,
            include_usage: false,
            messages: Vec::new(),
            tools: Vec::new(),
            custom_tools: Vec::new(),
            response_format: None,
            inputs: Vec::new(),
            vectors: VectorFormat::default(),
            echo: Vec::new(),
        }
    }

    /// What of it decides how an answer is written, borrowing nothing.
    pub fn shape(&self) -> Request<'static> {
        let own = |text: &Cow<'_, str>| Cow::Owned(text.clone().into_owned());
        Request {
            model: own(&self.model),
            framing: self.framing,
            include_usage: self.include_usage,
            custom_tools: self.custom_tools.iter().map(own).collect(),
            vectors: self.vectors.clone(),
            echo: self.echo.iter().map(|(name, raw)| (*name, Cow::Owned(raw.clone().into_owned()))).collect(),
            ..Request::new(self.kind)
        }
    }

    /// Whether the answer is to be streamed.
    pub fn streamed(&self) -> bool {
        self.framing != Framing::Whole
    }

    /// The text of the last user message that has text.
    pub fn user_message(&self) -> Option<&str> {
        self.messages.iter().rev().find(|m| m.role == Role::User && !m.text.is_empty()).map(|m| &*m.text)
    }

    /// The number of assistant messages so far.
    pub fn turn_index(&self) -> usize {
        self.messages.iter().filter(|m| m.role == Role::Assistant).count()
    }

    /// Whether a tool's result follows the last user message, or stands in it.
    pub fn has_tool_result(&self) -> bool {
        let last_user = self.messages.iter().rposition(|m| m.role == Role::User);
        let holds_one = last_user.is_some_and(|at| self.messages[at].tool_call_id.is_some());
        holds_one || self.messages[last_user.unwrap_or(0)..].iter().any(|m| m.role == Role::Tool)
    }

    /// The last message, where it is a tool's result.
    pub fn last_tool_result(&self) -> Option<&Message<'a>> {
        self.messages.last().filter(|m| m.role == Role::Tool)
    }

    /// The instructions, joined by newline.
    pub fn system_text(&self) -> Cow<'_, str> {
        join(self.messages.iter().filter(|m| m.role == Role::System).map(|m| &*m.text))
    }

    /// The embedding inputs, joined by newline.
    pub fn input_text(&self) -> Cow<'_, str> {
        join(self.inputs.iter().map(|i| &**i))
    }

    /// A rough count of prompt tokens: four characters a token.
    pub fn estimated_tokens(&self) -> u64 {
        let texts = self.messages.iter().map(|m| m.text.len()).chain(self.inputs.iter().map(|i| i.len()));
        estimate_tokens(texts.sum())
    }
}

/// Tokens in so many bytes of text, at four a token; at least one where there is any.
pub fn estimate_tokens(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

fn join<'t>(mut texts: impl Iterator<Item = &'t str>) -> Cow<'t, str> {
    let Some(first) = texts.next() else { return Cow::Borrowed("") };
    let Some(second) = texts.next() else { return Cow::Borrowed(first) };
    let mut all = format!("{first}\n{second}");
    for text in texts {
        all.push('\n');
        all.push_str(text);
    }
    Cow::Owned(all)
}

/// A JSON string, borrowed where it has no escapes. (Serde borrows a bare `Cow` field, but not one inside an `Option`
/// or a `Vec`; it borrows this anywhere.)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Str<'a>(pub Cow<'a, str>);

impl Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(StrVisitor)
    }
}

struct StrVisitor;

impl<'de> de::Visitor<'de> for StrVisitor {
    type Value = Str<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: de::Error>(self, s: &'de str) -> Result<Str<'de>, E> {
        Ok(Str(Cow::Borrowed(s)))
    }

    fn visit_str<E: de::Error>(self, s: &str) -> Result<Str<'de>, E> {
        Ok(Str(Cow::Owned(s.to_owned())))
    }

    fn visit_string<E: de::Error>(self, s: String) -> Result<Str<'de>, E> {
        Ok(Str(Cow::Owned(s)))
    }
}

/// Message content as most wires write it: a string, a list of parts (their `text` joined, others skipped), or null.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> de::Visitor<'de> for ContentVisitor {
    type Value = Content<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of content parts")
    }

    fn visit_borrowed_str<E: de::Error>(self, s: &'de str) -> Result<Content<'de>, E> {
        Ok(Content(Cow::Borrowed(s)))
    }

    fn visit_str<E: de::Error>(self, s: &str) -> Result<Content<'de>, E> {
        Ok(Content(Cow::Owned(s.to_owned())))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Content<'de>, E> {
        Ok(Content::default())
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Content<'de>, A::Error> {
        let part = ContentPart::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Content(part.text.map(|t| t.0).unwrap_or_default()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut parts: A) -> Result<Content<'de>, A::Error> {
        let mut all = Cow::Borrowed("");
        while let Some(Content(text)) = parts.next_element()? {
            if all.is_empty() {
                all = text;
            } else if !text.is_empty() {
                all.to_mut().push_str(&text);
            }
        }
        Ok(Content(all))
    }
}

#[derive(serde::Deserialize)]
struct ContentPart<'a> {
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
}
