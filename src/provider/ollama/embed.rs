//! Embeddings: `/api/embed`, and the older `/api/embeddings` for one input.
//! <https://docs.ollama.com/api/embed>

use super::super::embeddings::{numbers, vectors};
use super::super::{
    BadRequest, Call, Codec, EmbeddingWire, Encoding, Fault, Shape, UsageShape, embeddings_usage, parse_body,
};
use crate::json::{Node, object};
use crate::reply::{Embeddings, Usage};
use crate::request::{Kind, Request, Str};
use serde::Deserialize;
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

    fn shape(&self) -> Shape<'_> {
        Shape::Embedding(match self {
            Embed::Inputs => &Embed::Inputs,
            Embed::Prompt => &Embed::Prompt,
        })
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
}

/// Clients in typed languages want the durations.
const DURATIONS: [&str; 2] = ["total_duration", "load_duration"];

impl EmbeddingWire for Embed {
    fn read(&self, native: &Node<'_>) -> Result<Option<Embeddings>, Fault> {
        if let Some(error) = native.get("error") {
            return Err(Fault::Upstream(error.as_str().map_or_else(|| error.to_json(), str::to_owned)));
        }
        let vectors = match (native.get("embeddings"), native.get("embedding")) {
            (Some(many), _) => vectors(many.items().iter().map(Some)),
            (None, Some(one)) => vectors([Some(one)]),
            (None, None) => return Err(Fault::Unreadable("an answer without embeddings".into())),
        };
        let Some(vectors) = vectors else { return Ok(None) };
        let count = |name: &&str| Some(((*name).to_owned(), native.get(name)?.to_value()));
        let usage: Usage = DURATIONS.iter().chain(&["prompt_eval_count"]).filter_map(count).collect();
        let usage = Some(usage).filter(|usage| !usage.is_empty());
        Ok(Some(Embeddings { vectors, usage, model: native.word("model").map(str::to_owned), id: None }))
    }

    fn write<'r>(&self, answered: &'r Embeddings, to: &Encoding<'r>) -> Node<'r> {
        if let Embed::Prompt = self {
            return object! { "embedding": numbers(answered.vectors.first().map_or(&[], Vec::as_slice)) };
        }
        let mut answer = object! {
            "model": answered.model.as_deref().unwrap_or(&to.request.model),
            "embeddings": answered.vectors.iter().map(|vector| numbers(vector)).collect::<Vec<_>>(),
        };
        for name in DURATIONS {
            answer.set(name, 0i64);
        }
        if let Node::Object(usage) = embeddings_usage(&USAGE, answered, to.request) {
            usage.into_iter().for_each(|(name, value)| answer.set(name, value));
        }
        answer
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
            usage: serde_json::from_str(r#"{"total_duration":22283583,"load_duration":1,"prompt_eval_count":2}"#).ok(),
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
