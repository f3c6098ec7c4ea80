//! Embeddings. v2 gives them by type of number; v1 does where the request names types, else as one list of floats.
//! <https://docs.cohere.com/reference/embed>, <https://docs.cohere.com/v1/reference/embed>

use super::super::embeddings::{numbers, vectors};
use super::super::{
    BadRequest, Call, Codec, EmbeddingWire, Encoding, Fault, Shape, UsageShape, embeddings_usage, parse_body,
};
use crate::json::{Node, object};
use crate::reply::Embeddings;
use crate::request::{Content, Kind, Request, Str};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;

static USAGE: UsageShape = UsageShape {
    input: "/billed_units/input_tokens",
    output: "",
    total: "",
    cached: "",
    cache_write: "",
    reasoning: "",
    input_excludes_cached: false,
    output_excludes_reasoning: false,
};

/// The endpoint in its two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Embed {
    /// `/v1/embed`.
    V1,
    /// `/v2/embed`.
    V2,
}

impl Embed {
    fn version(self) -> &'static str {
        match self {
            Embed::V1 => "1",
            Embed::V2 => "2",
        }
    }
}

impl Codec for Embed {
    fn wire(&self) -> &'static str {
        match self {
            Embed::V1 => "cohere-v1-embed",
            Embed::V2 => "cohere-v2-embed",
        }
    }

    fn shape(&self) -> Shape<'_> {
        Shape::Embedding(match self {
            Embed::V1 => &Embed::V1,
            Embed::V2 => &Embed::V2,
        })
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        let body: Body<'a> = parse_body(call.body)?;
        let mut request = Request::new(Kind::Embedding);
        request.model = match (body.model, self) {
            (Some(model), _) => model.0,
            (None, Embed::V1) => Cow::Borrowed(""), // v1 has a default
            (None, Embed::V2) => return Err(BadRequest::field("model", "model is required")),
        };
        if body.texts.is_none() && body.images.is_none() && body.inputs.is_none() {
            return Err(BadRequest::field("texts", "texts, images or inputs are required"));
        }
        let texts = body.texts.into_iter().flatten().map(|text| text.0);
        let inputs = body.inputs.into_iter().flatten().map(|input| input.content.0);
        // An image has a vector, and no text to match.
        let images = body.images.into_iter().flatten().map(|_| Cow::Borrowed(""));
        request.inputs = texts.chain(inputs).chain(images).collect();
        request.vectors.dimensions = body.output_dimension;
        request.vectors.by_type = *self == Embed::V2 || body.embedding_types.is_some_and(|types| !types.is_empty());
        Ok(request)
    }
}

impl EmbeddingWire for Embed {
    fn read(&self, native: &Node<'_>) -> Result<Option<Embeddings>, Fault> {
        let list = match native.get("embeddings") {
            Some(list @ Node::List(_)) => Some(list),
            Some(Node::Object(by_type)) => match &by_type[..] {
                [(kind, list)] if kind == "float" => Some(list),
                _ => None,
            },
            _ => return Err(Fault::Unreadable("an answer without embeddings".into())),
        };
        let Some(vectors) = list.and_then(|list| vectors(list.items().iter().map(Some))) else { return Ok(None) };
        let mut usage = native.get("meta").map(Node::to_map).unwrap_or_default();
        usage.shift_remove("api_version");
        let usage = Some(usage).filter(|usage| !usage.is_empty());
        Ok(Some(Embeddings { vectors, usage, model: None, id: native.word("id").map(str::to_owned) }))
    }

    fn write<'r>(&self, answered: &'r Embeddings, to: &Encoding<'r>) -> Node<'r> {
        let list = Node::List(answered.vectors.iter().map(|vector| numbers(vector)).collect());
        let (response_type, embeddings) = match to.request.vectors.by_type {
            true => ("embeddings_by_type", object! { "float": list }),
            false => ("embeddings_floats", list),
        };
        let texts = to.request.inputs.iter().filter(|text| !text.is_empty()).map(|text| Node::from(&**text));
        let mut meta = object! { "api_version": object! { "version": self.version() } };
        if let Node::Object(usage) = embeddings_usage(&USAGE, answered, to.request) {
            usage.into_iter().for_each(|(name, value)| meta.set(name, value));
        }
        object! {
            "id": answered.id.as_deref().map_or_else(|| Cow::Owned(to.id("", 0)), Cow::Borrowed),
            "texts": texts.collect::<Vec<_>>(),
            "embeddings": embeddings,
            "meta": meta,
            "response_type": response_type,
        }
    }

    fn usage_shape(&self) -> Option<&'static UsageShape> {
        Some(&USAGE)
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    #[serde(borrow, default)]
    texts: Option<Vec<Str<'a>>>,
    /// v2: each of text and image parts.
    #[serde(borrow, default)]
    inputs: Option<Vec<Input<'a>>>,
    #[serde(default)]
    images: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    embedding_types: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    output_dimension: Option<usize>,
}

#[derive(Deserialize)]
struct Input<'a> {
    #[serde(borrow, default)]
    content: Content<'a>,
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::{Outcome, golden, round_trip, with_request};
    use super::*;
    use crate::frame::Framing;
    use crate::reply::Answer;
    use serde_json::Value;

    const V1: &str = r#"{"model":"embed-english-v3.0","texts":["a","b"],"input_type":"search_query"}"#;
    const V2: &str = r#"{"model":"embed-v4.0","input_type":"search_document","embedding_types":["float"],
        "inputs":[{"content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"x"}}]},
                  {"content":[{"type":"text","text":"b"}]}],"output_dimension":256}"#;

    fn vectors() -> Embeddings {
        Embeddings {
            vectors: vec![vec![0.0250, -1.0], vec![0.5, 5.5e-5]],
            usage: serde_json::from_str(r#"{"billed_units":{"input_tokens":9}}"#).ok(),
            model: None,
            id: Some("6e52".into()),
        }
    }

    #[test]
    fn texts_and_inputs() {
        with_request("/v1/embed", V1, |_, r| assert_eq!((r.input_text(), r.vectors.by_type), ("a\nb".into(), false)));
        with_request("/v2/embed", V2, |_, r| {
            assert_eq!((r.input_text(), r.vectors.by_type, r.vectors.dimensions), ("a\nb".into(), true, Some(256)));
        });
    }

    #[test]
    fn vectors_come_back_in_the_shape_that_was_asked_for() {
        for (path, body, kind) in [
            ("/v1/embed", V1, "embeddings_floats"),
            ("/v1/embed", V2, "embeddings_by_type"),
            ("/v2/embed", V2, "embeddings_by_type"),
        ] {
            with_request(path, body, |codec, request| {
                let to = Encoding { request, chunk_chars: 1, now: 0, seed: 0 };
                let whole: Value = serde_json::from_slice(&codec.encode_whole(&vectors().into(), &to)).unwrap();
                assert_eq!((&whole["response_type"], &whole["texts"][1]), (&kind.into(), &"b".into()));
                let (back, _) = round_trip(codec, &vectors().into(), request);
                assert_eq!(back, Outcome::Whole(vectors().into()));
            });
        }
    }

    #[test]
    fn other_types_of_numbers_are_kept_as_they_are() {
        for body in [
            r#"{"id":"1","embeddings":{"int8":[[-21,18]]},"meta":{}}"#,
            r#"{"id":"1","embeddings":{"float":[[0.5]],"int8":[[1]]}}"#,
        ] {
            let outcome = golden(&Embed::V2, Framing::Whole, body.as_bytes());
            assert!(matches!(outcome, Outcome::Whole(Answer::Raw(_))), "{body}");
        }
    }
}
