//! The providers: one room (file) each, and the table that everything else is derived from.
//!
//! A room takes bytes and returns values; it knows no socket, file or clock. Two traits carry all of it: [`Codec`] (one
//! a wire format) and [`Collapse`] (one a streamed or whole answer). No module outside this folder names a provider:
//! flags, key variables, credential headers, error shapes and SDK variables come from [`PROVIDERS`].

pub mod anthropic;
pub mod azure;
pub mod bedrock;
pub mod cohere;
mod embeddings;
pub mod gemini;
mod growth;
#[cfg(test)]
pub(crate) mod laws;
pub mod ollama;
pub mod openai;
pub mod openai_chat;
pub mod openai_embeddings;
pub mod openai_models;
pub mod openai_responses;
mod plain;
mod raw;
mod route;
mod surrogates;
pub mod vertex;
mod words;

pub use route::{Call, Head, Matched, Route, identity_wire, match_path, percent_decode, route};
pub use words::{
    Counts, FinishWords, UsageShape, answer_usage, embeddings_usage, finish_in, finish_out, usage_node, usage_out,
};

use crate::frame::{Frame, Frames, Framing};
use crate::json::Node;
use crate::reply::{Answer, Embeddings, ErrorAnswer, RawAnswer, Reply};
use crate::request::{Kind, Request};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt;

/// Every provider, in the order routes are tried. A new one adds its room, its `mod` line and its row here.
pub static PROVIDERS: &[&Provider] = &[
    &anthropic::PROVIDER,
    &vertex::PROVIDER, // before Gemini: its paths end as Gemini's do
    &gemini::PROVIDER,
    &azure::PROVIDER,
    &bedrock::PROVIDER,
    &ollama::PROVIDER,
    &cohere::PROVIDER,
    &openai::PROVIDER, // last: its routes take any path prefix
];

/// One provider: what its room tells the rest of the program.
#[derive(Debug)]
pub struct Provider {
    /// Lower-case name: `--provider-NAME`, `AIMOCK_PROVIDER_NAME_KEY`, the file name of recordings.
    pub name: &'static str,
    /// The name for people.
    pub title: &'static str,
    /// Endpoints, the more specific first.
    pub routes: &'static [Route],
    /// Where its API key goes.
    pub credential: Credential,
    /// Header names (lower case) whose values are secret, beside the credential's.
    pub secret_headers: &'static [&'static str],
    /// Query parameters whose values are secret.
    pub secret_query: &'static [&'static str],
    /// How sure this provider is that a request to a path no route knows is its own: 0 not at all, 1 by path, 2 by
    /// auth header. The highest claim wins, the earlier row among equals.
    pub claims: fn(&Head<'_>) -> u8,
    /// An error in this provider's shape.
    pub error: fn(&ErrorAnswer) -> ErrorBody,
    /// Requests to its upstream carry an AWS signature for this service name.
    pub sigv4_service: Option<&'static str>,
    /// Environment variables that point its official SDKs at a base URL, and placeholder keys:
    /// `{url}` stands for the server's URL without a trailing slash.
    pub sdk_variables: &'static [(&'static str, &'static str)],
}

/// Where a provider's API key goes in a request.
#[derive(Clone, Copy, Debug)]
pub struct Credential {
    /// Header name, lower case.
    pub header: &'static str,
    /// What stands before the key (`Bearer `).
    pub prefix: &'static str,
}

/// An error's body and the headers that belong to its shape.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorBody {
    /// JSON.
    pub json: Value,
    /// Headers beside `content-type`.
    pub headers: Vec<(&'static str, String)>,
}

impl From<Value> for ErrorBody {
    fn from(json: Value) -> Self {
        ErrorBody { json, headers: Vec::new() }
    }
}

/// A request that its API would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRequest {
    /// `invalid_json` or `invalid_request`.
    pub code: &'static str,
    /// What is wrong, naming the field or the place.
    pub message: String,
    /// The field at fault.
    pub param: Option<String>,
}

impl BadRequest {
    fn not_json(why: &dyn fmt::Display) -> Self {
        BadRequest { code: "invalid_json", message: format!("the request body is not JSON: {why}"), param: None }
    }

    /// A field that the API requires is absent or of the wrong kind.
    pub fn field(param: &str, message: impl Into<String>) -> Self {
        BadRequest { code: "invalid_request", message: message.into(), param: Some(param.to_owned()) }
    }
}

/// What an encoder is given beside the answer.
#[derive(Clone, Copy, Debug)]
pub struct Encoding<'a> {
    /// The request that is answered.
    pub request: &'a Request<'a>,
    /// Characters of text in one streamed frame, at least 1.
    pub chunk_chars: usize,
    /// Unix seconds, for answers that carry a time.
    pub now: i64,
    /// Follows from the request; ids are made from it.
    pub seed: u64,
}

impl Encoding<'_> {
    /// An id that answers to other requests do not have: the prefix and 24 hex digits; `n` tells apart several in one
    /// answer.
    pub fn id(&self, prefix: &str, n: usize) -> String {
        // splitmix64, <https://prng.di.unimi.it/splitmix64.c>
        let mix = |x: u64| {
            let z = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        let low = mix(self.seed.wrapping_add((n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        let digit = |bits: u64| char::from(b"0123456789abcdef"[(bits & 15) as usize]);
        let mut id = String::with_capacity(prefix.len() + 24);
        id.push_str(prefix);
        id.extend((0..16).rev().map(|i| digit(low >> (4 * i))));
        id.extend((8..16).rev().map(|i| digit(mix(low) >> (4 * i))));
        id
    }
}

/// One wire format: a request's shape, and by [`Codec::shape`] its answer's.
pub trait Codec: Sync + std::fmt::Debug {
    /// Name of the wire format; part of the request's hash, so two providers that share a wire share recordings.
    fn wire(&self) -> &'static str;

    /// What kind of answer its endpoint gives, and how that is read and written.
    fn shape(&self) -> Shape<'_>;

    /// Reads a request, borrowing from its body and path.
    ///
    /// # Errors
    /// [`BadRequest`]: not JSON, or without a field that the API requires.
    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest>;

    /// What of a request's body is no part of its identity, or is written in several forms; seen by hashing alone.
    fn identity(&self) -> &'static Places {
        static NONE: Places = Places::NONE;
        &NONE
    }

    /// Brings what [`Codec::identity`] cannot say into one form; seen by hashing alone.
    fn one_form(&self, _body: &mut Node<'_>) {}

    /// What is answered where no fixture fits, nothing is recorded and the server is not strict: a list of the models
    /// that fixtures name, an estimated token count. `None`: a miss.
    fn without_fixture(&self, _call: &Call<'_>, _request: &Request<'_>, _models: &[&str]) -> Option<Value> {
        None
    }

    /// An error in this wire's shape, where that is not its provider's.
    fn error(&self, _error: &ErrorAnswer) -> Option<ErrorBody> {
        None
    }
}

impl dyn Codec + '_ {
    /// What kind of answer its endpoint gives.
    pub fn kind(&self) -> Kind {
        match self.shape() {
            Shape::Chat(_) => Kind::Chat,
            Shape::Embedding(_) => Kind::Embedding,
            Shape::Verbatim(_) => Kind::Raw,
        }
    }

    /// A collapser for one upstream answer, framed as `framing` says. With [`Framing::Whole`] it gets one
    /// frame: the whole body.
    pub fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        match self.shape() {
            Shape::Chat(wire) if answer.framing == Framing::Whole => wire.collapser(answer),
            Shape::Chat(wire) => Box::new(surrogates::Joined::new(wire.collapser(answer))),
            Shape::Embedding(wire) => Box::new(embeddings::Keep::new(wire, answer)),
            Shape::Verbatim(wire) => wire.collapser(answer),
        }
    }

    /// How an answer is framed for its collapser, where its head says this. A wire that keeps answers as they are takes
    /// them whole.
    pub fn framing(&self, told: Framing) -> Framing {
        match self.shape() {
            Shape::Chat(_) => told,
            Shape::Verbatim(wire) => wire.framing(told),
            Shape::Embedding(_) => Framing::Whole,
        }
    }

    /// See [`ChatWire::end_markers`].
    pub fn end_markers(&self) -> &'static [&'static [u8]] {
        match self.shape() {
            Shape::Chat(wire) => wire.end_markers(),
            Shape::Verbatim(wire) => wire.end_markers(),
            Shape::Embedding(_) => &[],
        }
    }

    /// See [`ChatWire::carries`].
    pub fn carries(&self) -> Carries {
        if let Shape::Chat(wire) = self.shape() { wire.carries() } else { Carries::ALL }
    }

    /// Its finish reasons, where it has them.
    pub fn finish_words(&self) -> Option<&'static FinishWords> {
        if let Shape::Chat(wire) = self.shape() { wire.finish_words() } else { None }
    }

    /// Its names for token counts, where it has them.
    pub fn usage_shape(&self) -> Option<&'static UsageShape> {
        match self.shape() {
            Shape::Chat(wire) => wire.usage_shape(),
            Shape::Embedding(wire) => wire.usage_shape(),
            Shape::Verbatim(_) => None,
        }
    }

    /// The native answer that says this; `None` where its endpoint gives no answers of this kind.
    pub fn write<'r>(&self, answer: &'r Answer, to: &Encoding<'r>) -> Option<Node<'r>> {
        match (self.shape(), answer) {
            (Shape::Chat(wire), Answer::Turn(reply)) => Some(wire.write(reply, to)),
            (Shape::Embedding(wire), Answer::Embeddings(embeddings)) => Some(wire.write(embeddings, to)),
            _ => None,
        }
    }
}

/// The kinds of answers, and what is known of each.
#[derive(Clone, Copy, Debug)]
pub enum Shape<'c> {
    /// A model's turn.
    Chat(&'c dyn ChatWire),
    /// Embedding vectors.
    Embedding(&'static dyn EmbeddingWire),
    /// Anything, kept as it came.
    Verbatim(&'c dyn VerbatimWire),
}

/// A wire whose answers are a model's turns.
///
/// Its *native* answer is the provider's own whole answer object; for a stream, what the provider's official SDK holds
/// when it has read it. With the laws `collapse(stream(n)) = n`, and `read(write(r)) = r` for what [`ChatWire::carries`].
pub trait ChatWire: Sync + std::fmt::Debug {
    /// Puts frames together to a native answer. With [`Framing::Whole`] there is one frame: the whole body. Members,
    /// items and blocks that it does not know stay at their place.
    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse>;

    /// What of a native answer matching, people and other wires need.
    fn read(&self, native: &Node<'_>) -> Reply;

    /// The native answer that says this.
    fn write<'r>(&self, reply: &'r Reply, to: &Encoding<'r>) -> Node<'r>;

    /// A native answer's frames, in the framing that the request asks for.
    fn stream(&self, native: &Node<'_>, to: &Encoding<'_>) -> Frames;

    /// Bytes one of which every terminal frame holds, and few other frames do; a frame that has begun and holds one is
    /// kept back until its recording is safe.
    fn end_markers(&self) -> &'static [&'static [u8]];

    /// What a turn can keep on this wire; what it cannot is lost on the way through.
    fn carries(&self) -> Carries {
        Carries::ALL
    }

    /// Its finish reasons, where it has them.
    fn finish_words(&self) -> Option<&'static FinishWords> {
        None
    }

    /// Its names for token counts, where it has them.
    fn usage_shape(&self) -> Option<&'static UsageShape> {
        None
    }
}

/// A wire whose answers are embedding vectors, always whole.
pub trait EmbeddingWire: Sync + std::fmt::Debug {
    /// The vectors of a native answer; `None` where they are of another kind (several for one input, sparse ones, other
    /// encodings): such an answer is kept as it came.
    ///
    /// # Errors
    /// [`Fault`]: it is no answer.
    fn read(&self, native: &Node<'_>) -> Result<Option<Embeddings>, Fault>;

    /// The native answer that says this; one vector an input, none of them empty.
    fn write<'r>(&self, embeddings: &'r Embeddings, to: &Encoding<'r>) -> Node<'r>;

    /// Its names for token counts.
    fn usage_shape(&self) -> Option<&'static UsageShape>;
}

/// A wire whose answers are kept as they came.
pub trait VerbatimWire: Sync + std::fmt::Debug {
    /// How an answer is framed for its collapser, where its head says this.
    fn framing(&self, _told: Framing) -> Framing {
        Framing::Whole
    }

    /// Keeps the body; the collapser finds out what must not be recorded.
    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        raw::collapser(answer)
    }

    /// See [`ChatWire::end_markers`].
    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[]
    }
}

/// What collapsing an upstream's answer gives.
#[derive(Clone, Debug)]
pub enum Collapsed {
    /// The native answer of a chat wire.
    Native {
        /// The answer.
        native: Node<'static>,
        /// What single events of its stream said that they should not say twice (the items of `output_item.done`), so
        /// that a difference is noticed.
        told: Node<'static>,
    },
    /// The body as it came.
    Body(RawAnswer),
}

impl From<Node<'static>> for Collapsed {
    fn from(native: Node<'static>) -> Self {
        Collapsed::Native { native, told: Node::Null }
    }
}

impl Collapsed {
    /// The readable answer.
    ///
    /// # Errors
    /// [`Fault`]: it is no answer of this wire.
    pub fn answer(self, codec: &dyn Codec) -> Result<Answer, Fault> {
        Ok(match (self, codec.shape()) {
            (Collapsed::Native { native, .. }, Shape::Chat(wire)) => Answer::Turn(wire.read(&native)),
            (Collapsed::Body(raw), Shape::Embedding(wire)) if raw.status < 300 => {
                let body = raw.bytes();
                match wire.read(&native_of(&body)?)? {
                    Some(embeddings) => Answer::Embeddings(embeddings),
                    None => Answer::Raw(raw),
                }
            }
            (Collapsed::Body(raw), _) => Answer::Raw(raw),
            (Collapsed::Native { native, .. }, _) => {
                return Err(Fault::Unreadable(format!("an answer of another wire: {}", native.to_json())));
            }
        })
    }
}

/// A whole answer's JSON.
///
/// # Errors
/// [`Fault::Unreadable`] with what was found.
pub fn native_of(body: &[u8]) -> Result<Node<'_>, Fault> {
    Node::parse_bytes(body).map_err(|e| unreadable(&e, body))
}

/// Places in a request's body: JSON pointers, in which `*` stands for any item or member and nothing else is special.
#[derive(Debug)]
pub struct Places {
    /// Ids of calls and items: one that occurs again is the same one, whatever it is.
    pub ids: &'static [&'static str],
    /// JSON text, compared as JSON: the arguments of calls.
    pub json: &'static [&'static str],
    /// Objects in which a member that is null, or empty text or list, is as good as none: messages, blocks, items.
    pub plain: &'static [&'static str],
    /// What no model sees: clients send it back with an answer, or not.
    pub unseen: &'static [&'static str],
    /// A list in which the results of parallel calls follow each other in any order.
    pub results: Option<Results>,
}

/// See [`Places::results`].
#[derive(Clone, Copy, Debug)]
pub struct Results {
    /// The list, a pointer with `*`.
    pub list: &'static str,
    /// Where an item names its call, a pointer from the item on: also a place of [`Places::ids`].
    pub call: &'static str,
    /// A member that results have and calls have not, or empty.
    pub beside: &'static str,
}

impl Places {
    /// None of them.
    pub const NONE: Places = Places { ids: &[], json: &[], plain: &[], unseen: &[], results: None };
}

/// The head of an upstream's answer, as far as collapsing needs it.
#[derive(Clone, Copy, Debug)]
pub struct AnswerHead<'a> {
    /// How its body is framed.
    pub framing: Framing,
    /// HTTP status, a 2xx.
    pub status: u16,
    /// `content-type`, or empty.
    pub content_type: &'a str,
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More is to come; a body that ends here was cut.
    More,
    /// A finish reason came: a clean end of the body makes the answer whole.
    Finished,
    /// The terminal event came: the answer is whole.
    Done,
}

/// An answer that must not become a fixture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The provider reported an error inside its answer; what it said.
    Upstream(String),
    /// The answer is not what this wire format allows; what was found.
    Unreadable(String),
}

/// Makes one small answer of many frames.
pub trait Collapse {
    /// Takes the body as it comes, before the frames that are in it: for an answer that is kept as it is.
    fn keep(&mut self, _bytes: &[u8]) {}

    /// Takes one frame.
    ///
    /// # Errors
    /// [`Fault`]: the answer is relayed on, and not recorded.
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault>;

    /// Bytes kept so far.
    fn kept_bytes(&self) -> usize;

    /// The answer. Called once, after a terminal event or a clean end that followed a finish reason.
    fn finish(&mut self) -> Collapsed;
}

/// What of a [`crate::Reply`] survives a wire format, so that the round trip law knows what to compare.
#[derive(Clone, Copy, Debug)]
pub struct Carries {
    /// Reasoning text.
    pub reasoning: bool,
    /// Signatures of reasoning.
    pub signatures: bool,
    /// Signatures of text and of tool calls.
    pub part_signatures: bool,
    /// Redacted reasoning.
    pub redacted: bool,
    /// The order of text, reasoning and tool calls; without it they come back as reasoning, text, tools.
    pub order: bool,
    /// Tool-call ids.
    pub call_ids: bool,
    /// Several tool calls in one turn, and tool calls at all.
    pub tool_calls: bool,
    /// A refusal of its own.
    pub refusal: bool,
    /// The answer's id.
    pub id: bool,
    /// The model's name.
    pub model: bool,
}

impl Carries {
    /// All of it.
    pub const ALL: Carries = Carries {
        reasoning: true,
        signatures: true,
        part_signatures: true,
        redacted: true,
        order: true,
        call_ids: true,
        tool_calls: true,
        refusal: true,
        id: true,
        model: true,
    };
}

/// Parses a request's body.
///
/// # Errors
/// `invalid_json` with line and column for broken JSON; `invalid_request` naming the field for JSON of another shape.
pub fn parse_body<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, BadRequest> {
    let text = std::str::from_utf8(body).map_err(|e| {
        let good = &body[..e.valid_up_to()];
        let line_start = good.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let (line, column) = (memchr::memchr_iter(b'\n', good).count() + 1, good.len() - line_start + 1);
        BadRequest::not_json(&format!("a byte that is no UTF-8 at line {line} column {column}"))
    })?;
    serde_json::from_str(text).map_err(|e| {
        let message = e.to_string();
        if e.is_data() {
            let param = message.split('`').nth(1).filter(|_| message.starts_with("missing field")).map(str::to_owned);
            BadRequest { code: "invalid_request", message: format!("the request body is not valid: {message}"), param }
        } else {
            BadRequest::not_json(&message)
        }
    })
}

/// The JSON values of a frame that may hold several, one a line: lines that came under a whole body's content type.
pub fn parse_values<'a>(frame: &Frame<'a>) -> impl Iterator<Item = Result<&'a RawValue, Fault>> {
    let data = frame.data;
    let (text, bad) = match std::str::from_utf8(data) {
        Ok(text) => (text, None),
        Err(e) => ("", Some(Err(unreadable(&e, data)))),
    };
    let values = serde_json::Deserializer::from_str(text).into_iter();
    bad.into_iter().chain(values.map(move |value| value.map_err(|e| unreadable(&e, data))))
}

/// Longest quotation of a frame that cannot be read, in characters. It is cut to a line where it is shown: what was
/// redacted before is not cut into something unknown.
const MAX_QUOTED_CHARS: usize = 4096;

fn unreadable(e: &impl fmt::Display, data: &[u8]) -> Fault {
    let seen: String = String::from_utf8_lossy(data).chars().take(MAX_QUOTED_CHARS).collect();
    Fault::Unreadable(format!("{e} in `{seen}`"))
}

/// Cuts text into pieces of `chars` characters, never inside one. Empty text has no pieces.
pub fn pieces(text: &str, chars: usize) -> impl Iterator<Item = &str> {
    let (mut rest, chars, ascii) = (text, chars.max(1), text.is_ascii());
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = match ascii {
            true => chars.min(rest.len()),
            false => rest.char_indices().nth(chars).map_or(rest.len(), |(at, _)| at),
        };
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

/// The wire that keeps an answer as it is.
pub fn verbatim() -> &'static dyn Codec {
    &raw::Raw
}

/// The wire format of this name.
pub fn wire_named(name: &str) -> Option<&'static dyn Codec> {
    PROVIDERS.iter().flat_map(|provider| provider.routes).map(|route| route.codec).find(|codec| codec.wire() == name)
}

/// The provider of this name.
pub fn by_name(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().copied().find(|p| p.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_never_split_a_character() {
        assert_eq!(pieces("añ🌍日x", 2).collect::<Vec<_>>(), ["añ", "🌍日", "x"]);
        assert_eq!(pieces("", 2).count(), 0);
        assert_eq!(pieces("ab", 0).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn several_values_in_a_frame() {
        let values = |data: &'static str| {
            let frame = Frame::data(data.as_bytes());
            parse_values(&frame).map(|value| value.map(RawValue::get)).collect::<Result<Vec<_>, _>>()
        };
        assert_eq!(values("1\n2 \n"), Ok(vec!["1", "2"]));
        assert!(values("1\nx").is_err());
    }

    #[test]
    fn broken_bodies_name_the_place_or_the_field() {
        #[derive(Deserialize, Debug)]
        struct Body {
            #[allow(dead_code)]
            model: String,
        }
        let e = parse_body::<Body>(b"{\"model\":\n oops}").unwrap_err();
        assert_eq!(e.code, "invalid_json");
        assert!(e.message.contains("line 2"), "{}", e.message);
        let e = parse_body::<Body>(b"{}").unwrap_err();
        assert_eq!((e.code, e.param.as_deref()), ("invalid_request", Some("model")));
    }

    #[test]
    fn provider_names_are_unique() {
        for (i, a) in PROVIDERS.iter().enumerate() {
            assert!(PROVIDERS[i + 1..].iter().all(|b| b.name != a.name), "{}", a.name);
        }
    }
}
