//! Endpoints whose answers are kept as they came, and made up where nothing was recorded: a list of models, a count of
//! tokens.

use super::{BadRequest, Call, Codec, ErrorBody, Shape, VerbatimWire};
use crate::reply::ErrorAnswer;
use crate::request::{Kind, Request};
use serde_json::Value;

/// Such a wire.
#[derive(Debug)]
pub(super) struct Plain {
    /// See [`Codec::wire`].
    pub(super) wire: &'static str,
    /// See [`Codec::decode`].
    pub(super) decode: for<'a> fn(&Call<'a>) -> Result<Request<'a>, BadRequest>,
    /// See [`Codec::without_fixture`].
    pub(super) answer: fn(&Call<'_>, &Request<'_>, &[&str]) -> Option<Value>,
    /// See [`Codec::error`].
    pub(super) error: Option<fn(&ErrorAnswer) -> ErrorBody>,
}

impl Plain {
    /// Of requests that say nothing.
    pub(super) const fn new(wire: &'static str, answer: fn(&Call<'_>, &Request<'_>, &[&str]) -> Option<Value>) -> Self {
        Plain { wire, decode: |_| Ok(Request::new(Kind::Raw)), answer, error: None }
    }
}

impl Codec for Plain {
    fn wire(&self) -> &'static str {
        self.wire
    }

    fn shape(&self) -> Shape<'_> {
        Shape::Verbatim(self)
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        (self.decode)(call)
    }

    fn without_fixture(&self, call: &Call<'_>, request: &Request<'_>, models: &[&str]) -> Option<Value> {
        (self.answer)(call, request, models)
    }

    fn error(&self, error: &ErrorAnswer) -> Option<ErrorBody> {
        self.error.map(|shaped| shaped(error))
    }
}

impl VerbatimWire for Plain {}
