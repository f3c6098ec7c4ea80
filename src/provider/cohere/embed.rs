//! Embeddings. v2 gives them by type of number; v1 does where the request names types, else as one list of floats.
//! <https://docs.cohere.com/reference/embed>, <https://docs.cohere.com/v1/reference/embed>

use super::super::{
    AnswerHead, BadRequest, Call, Codec, Collapse, Encoding, Fault, Progress, UsageShape, embeddings_usage, parse_body,
    parse_frame, raw,
};
use super::{meta, usage_of};
use crate::frame::{Frame, Frames};
use crate::reply::{Answer, Embeddings, Usage};
use crate::request::{Content, Kind, Request, Str};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
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

    fn kind(&self) -> Kind {
        Kind::Embedding
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

    fn encode_whole(&self, answer: &Answer, to: &Encoding<'_>) -> Vec<u8> {
        let Answer::Embeddings(answered) = answer else { return Vec::new() };
        let vectors = &answered.vectors[..];
        let (response_type, embeddings) = match to.request.vectors.by_type {
            true => ("embeddings_by_type", Vectors::ByType { float: vectors }),
            false => ("embeddings_floats", Vectors::Floats(vectors)),
        };
        let whole = Whole {
            id: answered.id.as_deref().map_or_else(|| Cow::Owned(to.id("", 0)), Cow::Borrowed),
            texts: to.request.inputs.iter().map(|text| &**text).filter(|text| !text.is_empty()).collect(),
            embeddings,
            meta: meta(self.version(), embeddings_usage(&USAGE, answer, to.request)),
            response_type,
        };
        serde_json::to_vec(&whole).expect("these structs have string keys only")
    }

    fn encode_stream(&self, _answer: &Answer, _to: &Encoding<'_>) -> Frames {
        Frames::default() // never streamed
    }

    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        Box::new(Collapser { answer: Embeddings::default(), verbatim: raw::collapser(answer), readable: false })
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[]
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

#[derive(Serialize)]
struct Whole<'a> {
    id: Cow<'a, str>,
    texts: Vec<&'a str>,
    embeddings: Vectors<'a>,
    meta: Usage,
    response_type: &'static str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vectors<'a> {
    ByType { float: &'a [Vec<f64>] },
    Floats(&'a [Vec<f64>]),
}

#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(borrow)]
    embeddings: &'a RawValue,
    #[serde(borrow, default)]
    images: Option<&'a RawValue>,
    #[serde(borrow, default)]
    meta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnlyFloats {
    float: Vec<Vec<f64>>,
}

/// Keeps floats as vectors; an answer with other types of numbers, or about images, as it is.
struct Collapser {
    answer: Embeddings,
    verbatim: Box<dyn Collapse>,
    readable: bool,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        let body: Answered<'_> = parse_frame(frame)?;
        let vectors = match body.embeddings.get() {
            list if list.starts_with('[') => serde_json::from_str(list).ok(),
            by_type => serde_json::from_str(by_type).ok().map(|OnlyFloats { float }| float),
        };
        let Some(vectors) = vectors.filter(|_| body.images.is_none()) else { return self.verbatim.push(frame) };
        self.readable = true;
        self.answer = Embeddings {
            vectors,
            usage: body.meta.and_then(|meta| usage_of(meta.get())),
            model: None,
            id: body.id.map(|id| id.0.into_owned()),
        };
        Ok(Progress::Done)
    }

    fn kept_bytes(&self) -> usize {
        self.answer.vectors.iter().map(|v| v.len() * size_of::<f64>()).sum::<usize>() + self.verbatim.kept_bytes()
    }

    fn finish(&mut self) -> crate::provider::Collapsed {
        let answer: Answer = {
            if self.readable {
                Answer::Embeddings(std::mem::take(&mut self.answer))
            } else {
                self.verbatim.finish().old()
            }
        };
        answer.into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::{Outcome, golden, round_trip, with_request};
    use super::*;
    use crate::frame::Framing;
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
            r#"{"id":"1","embeddings":{"float":[[0.5]]},"images":[{"width":2}]}"#,
        ] {
            let outcome = golden(&Embed::V2, Framing::Whole, body.as_bytes());
            assert!(matches!(outcome, Outcome::Whole(Answer::Raw(_))), "{body}");
        }
    }
}
