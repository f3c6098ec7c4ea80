//! Embeddings: `/api/embed`, and the older `/api/embeddings` for one input.
//! <https://docs.ollama.com/api/embed>

use super::super::{
    AnswerHead, BadRequest, Call, Codec, Collapse, Encoding, Fault, Progress, UsageShape, embeddings_usage, parse_body,
    parse_frame,
};
use super::answer::{add_durations, counts, error_text};
use crate::frame::{Frame, Frames};
use crate::reply::{Answer, Embeddings, Usage};
use crate::request::{Kind, Request, Str};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

static USAGE: UsageShape = UsageShape {
    input: "/prompt_eval_count",
    output: "",
    total: "",
    cached: "",
    cache_write: "",
    reasoning: "",
    input_excludes_cached: false,
    output_excludes_reasoning: false,
};

/// `/api/embed`: one input or several; `/api/embeddings`: one `prompt`, one vector.
#[derive(Debug)]
pub(super) enum Embed {
    /// `/api/embed`.
    Inputs,
    /// `/api/embeddings`.
    Prompt,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    /// A string or a list of strings.
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompt: Option<Str<'a>>,
    #[serde(default)]
    dimensions: Option<usize>,
}

impl Codec for Embed {
    fn wire(&self) -> &'static str {
        match self {
            Embed::Inputs => "ollama-embed",
            Embed::Prompt => "ollama-embeddings",
        }
    }

    fn kind(&self) -> Kind {
        Kind::Embedding
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        let body: Body<'a> = parse_body(call.body)?;
        let mut request = Request::new(Kind::Embedding);
        request.model = body.model.ok_or_else(|| BadRequest::field("model", "model is required"))?.0;
        request.vectors.dimensions = body.dimensions;
        let inputs = match self {
            Embed::Inputs => {
                let input = body.input.ok_or_else(|| BadRequest::field("input", "input is required"))?.get();
                request.vectors.single = input.starts_with('"');
                inputs(input)?
            }
            Embed::Prompt => {
                request.vectors.single = true;
                vec![body.prompt.ok_or_else(|| BadRequest::field("prompt", "prompt is required"))?]
            }
        };
        request.inputs = inputs.into_iter().map(|input| input.0).collect();
        Ok(request)
    }

    fn encode_whole(&self, answer: &Answer, to: &Encoding<'_>) -> Vec<u8> {
        let Answer::Embeddings(answered) = answer else { return Vec::new() };
        match self {
            Embed::Prompt => json(&One { embedding: answered.vectors.first().map_or(&[][..], Vec::as_slice) }),
            Embed::Inputs => {
                let mut usage = embeddings_usage(&USAGE, answer, to.request);
                add_durations(&mut usage, answered.usage.as_ref(), &["total_duration", "load_duration"]);
                let model = answered.model.as_deref().unwrap_or(&to.request.model);
                json(&Many { model, embeddings: &answered.vectors, usage: &usage })
            }
        }
    }

    fn encode_stream(&self, _answer: &Answer, _to: &Encoding<'_>) -> Frames {
        Frames::default() // never streamed
    }

    fn collapser(&self, _answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        Box::new(Collapser::default())
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[]
    }

    fn usage_shape(&self) -> Option<&'static UsageShape> {
        Some(&USAGE)
    }
}

/// A string, or a list of strings.
fn inputs(json: &str) -> Result<Vec<Str<'_>>, BadRequest> {
    let read = if json.starts_with('"') {
        serde_json::from_str(json).map(|one| vec![one])
    } else {
        serde_json::from_str(json)
    };
    read.map_err(|_| BadRequest::field("input", "input must be a string or a list of strings"))
}

#[derive(Serialize)]
struct Many<'a> {
    model: &'a str,
    embeddings: &'a [Vec<f64>],
    #[serde(flatten)]
    usage: &'a Usage,
}

#[derive(Serialize)]
struct One<'a> {
    embedding: &'a [f64],
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("these structs have string keys only")
}

#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    #[serde(default)]
    embeddings: Option<Vec<Vec<f64>>>,
    #[serde(default)]
    embedding: Option<Vec<f64>>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    total_duration: Option<Value>,
    #[serde(default)]
    load_duration: Option<Value>,
    #[serde(default)]
    prompt_eval_count: Option<Value>,
}

/// Reads either endpoint's answer.
#[derive(Default)]
struct Collapser {
    answer: Embeddings,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        let body: Answered<'_> = parse_frame(frame)?;
        if let Some(error) = body.error.filter(|e| !e.is_null()) {
            return Err(Fault::Upstream(error_text(&error)));
        }
        let Some(vectors) = body.embeddings.or(body.embedding.map(|one| vec![one])) else {
            return Err(Fault::Unreadable("an answer without embeddings".into()));
        };
        self.answer.vectors = vectors;
        self.answer.model = body.model.map(|m| m.0.into_owned());
        self.answer.usage = counts([
            ("total_duration", body.total_duration),
            ("load_duration", body.load_duration),
            ("prompt_eval_count", body.prompt_eval_count),
        ]);
        Ok(Progress::Done)
    }

    fn kept_bytes(&self) -> usize {
        self.answer.vectors.iter().map(|v| v.len() * size_of::<f64>()).sum()
    }

    fn finish(&mut self) -> crate::provider::Collapsed {
        let answer: Answer = { Answer::Embeddings(std::mem::take(&mut self.answer)) };
        answer.into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::{Outcome, golden, round_trip, with_request};
    use super::*;
    use crate::frame::Framing;

    #[test]
    fn one_input_or_several() {
        with_request("/api/embed", r#"{"model":"m","input":["a\n","b"],"dimensions":4}"#, |_, r| {
            assert_eq!((r.input_text(), r.vectors.dimensions, r.vectors.single), ("a\n\nb".into(), Some(4), false));
        });
        with_request("/api/embed", r#"{"model":"m","input":"a"}"#, |_, r| {
            assert_eq!((r.input_text(), r.vectors.single), ("a".into(), true));
        });
        with_request("/api/embeddings", r#"{"model":"m","prompt":"a"}"#, |_, r| assert_eq!(r.input_text(), "a"));
    }

    #[test]
    fn vectors_come_back() {
        let vectors = Embeddings {
            vectors: vec![vec![-0.006746773, 1.0], vec![5.5e-5, 0.0]],
            usage: serde_json::from_str(r#"{"total_duration":22283583,"prompt_eval_count":2}"#).ok(),
            model: Some("nomic-embed-text".into()),
            id: None,
        };
        with_request("/api/embed", r#"{"model":"m","input":["a","b"]}"#, |codec, request| {
            let (whole, _) = round_trip(codec, &vectors.clone().into(), request);
            assert_eq!(whole, Outcome::Whole(vectors.clone().into()));
        });
        let one = Embeddings { vectors: vec![vec![0.5]], ..Embeddings::default() };
        with_request("/api/embeddings", r#"{"model":"m","prompt":"a"}"#, |codec, request| {
            let (whole, _) = round_trip(codec, &one.clone().into(), request);
            assert_eq!(whole, Outcome::Whole(one.clone().into()));
        });
    }

    #[test]
    fn an_answer_without_vectors_is_a_fault() {
        let outcome = golden(&Embed::Inputs, Framing::Whole, br#"{"error":"model not found"}"#);
        assert_eq!(outcome, Outcome::Fault(Fault::Upstream("model not found".into())));
        assert!(matches!(golden(&Embed::Inputs, Framing::Whole, b"{}"), Outcome::Fault(Fault::Unreadable(_))));
    }
}
