//! Embeddings: `embedContent`, `batchEmbedContents`, and Vertex AI's `predict` of embedding models.
//! <https://ai.google.dev/api/embeddings>,
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api>

use super::request::{Content, Many, model};
use crate::json::{Node, object};
use crate::provider::embeddings::{numbers, vector};
use crate::provider::{
    BadRequest, Call, Codec, EmbeddingWire, Encoding, Fault, Shape, UsageShape, embeddings_usage, parse_body,
};
use crate::reply::Embeddings;
use crate::request::{Kind, Request, Str, estimate_tokens};
use serde::Deserialize;
use std::borrow::Cow;

/// <https://ai.google.dev/api/embeddings#EmbeddingUsageMetadata>
static USAGE: UsageShape = UsageShape {
    input: "/promptTokenCount",
    output: "",
    total: "",
    cached: "",
    cache_write: "",
    reasoning: "",
    input_excludes_cached: false,
    output_excludes_reasoning: false,
};

/// The wire of `:embedContent`.
pub(in crate::provider) static EMBED: Embed = Embed { form: Form::One };

/// The wire of `:batchEmbedContents`.
pub(super) static BATCH: Embed = Embed { form: Form::Batch };

/// The wire of `:predict`, for embedding models.
pub(in crate::provider) static PREDICT: Embed = Embed { form: Form::Predict };

/// The three wires.
#[derive(Debug)]
pub(in crate::provider) struct Embed {
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    One,
    Batch,
    Predict,
}

impl Codec for Embed {
    fn wire(&self) -> &'static str {
        match self.form {
            Form::One => "gemini-embed",
            Form::Batch => "gemini-batch-embed",
            Form::Predict => "vertex-predict",
        }
    }

    fn shape(&self) -> Shape<'_> {
        Shape::Embedding(match self.form {
            Form::One => &EMBED,
            Form::Batch => &BATCH,
            Form::Predict => &PREDICT,
        })
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        let mut request = Request::new(Kind::Embedding);
        request.model = model(call);
        request.vectors.single = self.form == Form::One;
        match self.form {
            Form::One => {
                let one: One<'a> = parse_body(call.body)?;
                request.vectors.dimensions = one.dimensions();
                request.inputs.push(one.text("content")?);
            }
            Form::Batch => {
                let body: Batch<'a> = parse_body(call.body)?;
                let Some(Many(requests)) = body.requests else {
                    return Err(BadRequest::field("requests", "requests is not specified"));
                };
                request.vectors.dimensions = requests.first().and_then(One::dimensions);
                let texts = requests.into_iter().map(|one| one.text("requests[].content"));
                request.inputs = texts.collect::<Result<_, _>>()?;
            }
            Form::Predict => {
                let body: Predict<'a> = parse_body(call.body)?;
                let Some(Many(instances)) = body.instances else {
                    return Err(BadRequest::field("instances", "instances is not specified"));
                };
                request.vectors.dimensions = body.parameters.and_then(|p| p.output_dimensionality);
                let missing = || BadRequest::field("instances[].content", "an instance has no content");
                let texts = instances.into_iter().map(|i| i.content.map(|c| c.0).ok_or_else(missing));
                request.inputs = texts.collect::<Result<_, _>>()?;
            }
        }
        Ok(request)
    }
}

impl EmbeddingWire for Embed {
    fn read(&self, native: &Node<'_>) -> Result<Option<Embeddings>, Fault> {
        if let Some(error) = native.get("error") {
            return Err(Fault::Upstream(error.to_json()));
        }
        let values = |of: &'_ Node<'_>| vector(of.get("values")?);
        let vectors: Option<Vec<_>> =
            match (native.get("embedding"), native.get("embeddings"), native.get("predictions")) {
                (Some(one), ..) => values(one).map(|one| vec![one]),
                (None, Some(many), _) => many.items().iter().map(values).collect(),
                (None, None, Some(many)) => many.items().iter().map(|p| values(p.get("embeddings")?)).collect(),
                (None, None, None) => return Err(Fault::Unreadable("an answer without embeddings".into())),
            };
        let filled = |vectors: &Vec<Vec<f64>>| !vectors.is_empty() && vectors.iter().all(|v| !v.is_empty());
        let Some(vectors) = vectors.filter(filled) else { return Ok(None) };
        let usage = native.get("usageMetadata").map(Node::to_map).filter(|usage| !usage.is_empty());
        Ok(Some(Embeddings { vectors, usage, ..Embeddings::default() }))
    }

    fn write<'r>(&self, embeddings: &'r Embeddings, to: &Encoding<'r>) -> Node<'r> {
        let mut values = embeddings.vectors.iter().map(|vector| object! { "values": numbers(vector) });
        let mut answer = match self.form {
            Form::One => object! { "embedding": values.next() },
            Form::Batch => object! { "embeddings": values.collect::<Vec<_>>() },
            Form::Predict => predictions(values, &to.request.inputs),
        };
        if embeddings.usage.is_some() {
            answer.set("usageMetadata", embeddings_usage(&USAGE, embeddings, to.request));
        }
        answer
    }

    fn usage_shape(&self) -> Option<&'static UsageShape> {
        Some(&USAGE)
    }
}

/// With the counts that clients read unasked.
fn predictions<'r>(values: impl Iterator<Item = Node<'r>>, inputs: &[Cow<'_, str>]) -> Node<'r> {
    let tokens = inputs.iter().map(|input| estimate_tokens(input.len())).chain(std::iter::repeat(0));
    let predictions = values.zip(tokens).map(|(mut values, tokens)| {
        values.set("statistics", object! { "truncated": false, "token_count": tokens });
        object! { "embeddings": values }
    });
    let billable = inputs.iter().flat_map(|input| input.chars()).filter(|c| !c.is_whitespace()).count();
    object! {
        "predictions": predictions.collect::<Vec<_>>(),
        "metadata": object! { "billableCharacterCount": billable },
    }
}

// ---------------------------------------------------------------------------------------------------- the request

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct One<'a> {
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
    #[serde(default, alias = "output_dimensionality")]
    output_dimensionality: Option<usize>,
    /// Where Vertex AI has what the Gemini API has beside the content.
    #[serde(default, alias = "embed_content_config")]
    embed_content_config: Option<Parameters>,
}

impl<'a> One<'a> {
    fn dimensions(&self) -> Option<usize> {
        let config = self.embed_content_config.as_ref();
        self.output_dimensionality.or_else(|| config.and_then(|c| c.output_dimensionality))
    }

    fn text(self, field: &str) -> Result<Cow<'a, str>, BadRequest> {
        self.content.map(Content::text).ok_or_else(|| BadRequest::field(field, format!("{field} is not specified")))
    }
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow, default)]
    requests: Option<Many<One<'a>>>,
}

#[derive(Deserialize)]
struct Predict<'a> {
    #[serde(borrow, default)]
    instances: Option<Many<Instance<'a>>>,
    #[serde(default)]
    parameters: Option<Parameters>,
}

#[derive(Deserialize)]
struct Instance<'a> {
    #[serde(borrow, default)]
    content: Option<Str<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    #[serde(default, alias = "output_dimensionality")]
    output_dimensionality: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::{Outcome, golden, round_trip, with_request};
    use super::*;
    use crate::frame::Framing;
    use crate::reply::{Answer, Usage};

    #[track_caller]
    fn trip(path: &str, body: &str, inputs: &[&str], dimensions: Option<usize>) {
        with_request(path, body, |codec, request| {
            assert_eq!(request.inputs, inputs);
            assert_eq!(request.vectors.dimensions, dimensions);
            let vectors: Vec<_> = (0..inputs.len()).map(|i| vec![0.015372546, -1.5e-9, i as f64]).collect();
            let embeddings = Embeddings { vectors, ..Embeddings::default() };
            let (whole, _) = round_trip(codec, &embeddings.clone().into(), request);
            assert_eq!(whole, Outcome::Whole(embeddings.into()));
        });
    }

    #[test]
    fn one_batch_and_predictions() {
        trip(
            "/v1beta/models/e:embedContent",
            r#"{"content":{"parts":[{"text":"a"},{"text":"b"}]},"outputDimensionality":3}"#,
            &["ab"],
            Some(3),
        );
        trip(
            "/v1beta/models/e:batchEmbedContents",
            r#"{"requests":[{"model":"models/e","content":{"parts":{"text":"a"}},"output_dimensionality":3},{"content":{"parts":[{"text":"b"}]}}]}"#,
            &["a", "b"],
            Some(3),
        );
        trip(
            "/v1/projects/p/locations/l/publishers/google/models/text-embedding-005:predict",
            r#"{"instances":[{"content":"a","task_type":"X"},{"content":"b"}],"parameters":{"outputDimensionality":3}}"#,
            &["a", "b"],
            Some(3),
        );
    }

    #[test]
    fn usage_is_sent_where_it_was_recorded() {
        let body = r#"{"requests":[{"content":{"parts":[{"text":"a"}]}}]}"#;
        with_request("/v1beta/models/e:batchEmbedContents", body, |codec, request| {
            let usage: Option<Usage> = serde_json::from_str(r#"{"promptTokenCount":4,"promptTokenDetails":[]}"#).ok();
            let embeddings = Embeddings { vectors: vec![vec![1.0]], usage, ..Embeddings::default() };
            let (whole, _) = round_trip(codec, &embeddings.clone().into(), request);
            assert_eq!(whole, Outcome::Whole(embeddings.into()));
        });
    }

    #[test]
    fn errors_are_faults_and_answers_of_another_kind_are_kept_as_they_came() {
        let collapse = |body: &str| golden(&PREDICT, Framing::Whole, body.as_bytes());
        assert!(matches!(collapse(r#"{"error":{"code":500}}"#), Outcome::Fault(Fault::Upstream(_))));
        assert!(matches!(collapse(r#"{"metadata":{}}"#), Outcome::Fault(Fault::Unreadable(_))));
        for body in [r#"{"predictions":[]}"#, r#"{"predictions":[{"bytesBase64Encoded":"aa"}]}"#] {
            assert!(matches!(collapse(body), Outcome::Whole(Answer::Raw(_))), "{body}");
        }
    }
}
