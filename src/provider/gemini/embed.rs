//! Embeddings: `embedContent`, `batchEmbedContents`, and Vertex AI's `predict` of embedding models.
//! <https://ai.google.dev/api/embeddings>,
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api>

use super::USAGE;
use super::generate::json;
use super::request::{Content, Many, model};
use crate::frame::{Frame, Frames};
use crate::provider::{
    AnswerHead, BadRequest, Call, Codec, Collapse, Encoding, Fault, Progress, UsageShape, embeddings_usage, parse_body,
    parse_frame,
};
use crate::reply::{Answer, Embeddings, Usage};
use crate::request::{Kind, Request, Str, estimate_tokens};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

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

    fn kind(&self) -> Kind {
        Kind::Embedding
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

    fn encode_whole(&self, answer: &Answer, to: &Encoding<'_>) -> Vec<u8> {
        let Answer::Embeddings(embeddings) = answer else { return Vec::new() };
        let usage = embeddings.usage.is_some().then(|| embeddings_usage(&USAGE, answer, to.request));
        let values = || embeddings.vectors.iter().map(|v| Values { values: v });
        match self.form {
            Form::One => json(&OneOut { embedding: values().next(), usage_metadata: usage }),
            Form::Batch => json(&BatchOut { embeddings: values().collect(), usage_metadata: usage }),
            Form::Predict => json(&PredictOut::new(&embeddings.vectors, &to.request.inputs)),
        }
    }

    fn encode_stream(&self, answer: &Answer, to: &Encoding<'_>) -> Frames {
        let mut frames = Frames::default();
        frames.push(|out| out.extend_from_slice(&self.encode_whole(answer, to)));
        frames
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

// ----------------------------------------------------------------------------------------------------- the answer

#[derive(Serialize)]
struct Values<'a> {
    values: &'a [f64],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OneOut<'a> {
    embedding: Option<Values<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_metadata: Option<Usage>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchOut<'a> {
    embeddings: Vec<Values<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_metadata: Option<Usage>,
}

#[derive(Serialize)]
struct PredictOut<'a> {
    predictions: Vec<Prediction<'a>>,
    metadata: Metadata,
}

#[derive(Serialize)]
struct Prediction<'a> {
    embeddings: CountedValues<'a>,
}

#[derive(Serialize)]
struct CountedValues<'a> {
    values: &'a [f64],
    statistics: Statistics,
}

#[derive(Serialize)]
struct Statistics {
    truncated: bool,
    token_count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    billable_character_count: usize,
}

impl<'a> PredictOut<'a> {
    fn new(vectors: &'a [Vec<f64>], inputs: &[Cow<'_, str>]) -> Self {
        let predictions = vectors.iter().zip(inputs).map(|(values, input)| Prediction {
            embeddings: CountedValues {
                values,
                statistics: Statistics { truncated: false, token_count: estimate_tokens(input.len()) },
            },
        });
        let billable = inputs.iter().flat_map(|input| input.chars()).filter(|c| !c.is_whitespace());
        PredictOut {
            predictions: predictions.collect(),
            metadata: Metadata { billable_character_count: billable.count() },
        }
    }
}

// ------------------------------------------------------------------------------------------------------- collapse

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(default)]
    embedding: Option<ValuesIn>,
    #[serde(default)]
    embeddings: Option<Vec<ValuesIn>>,
    #[serde(default)]
    predictions: Option<Vec<PredictionIn>>,
    #[serde(default)]
    usage_metadata: Option<Usage>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ValuesIn {
    values: Vec<f64>,
}

#[derive(Deserialize)]
struct PredictionIn {
    embeddings: ValuesIn,
}

/// Takes the one frame of a whole answer.
#[derive(Default)]
struct Collapser {
    embeddings: Embeddings,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        let body: Body<'_> = parse_frame(frame)?;
        if let Some(error) = body.error.filter(|e| e.get() != "null") {
            return Err(Fault::Upstream(error.get().to_owned()));
        }
        let all = body.embedding.into_iter().chain(body.embeddings.into_iter().flatten());
        let all = all.chain(body.predictions.into_iter().flatten().map(|p| p.embeddings));
        self.embeddings.vectors = all.map(|e| e.values).collect();
        self.embeddings.usage = body.usage_metadata;
        if self.embeddings.vectors.is_empty() {
            return Err(Fault::Unreadable("an answer without embeddings".into()));
        }
        Ok(Progress::Done)
    }

    fn kept_bytes(&self) -> usize {
        self.embeddings.vectors.iter().map(|v| std::mem::size_of_val(v.as_slice())).sum()
    }

    fn finish(&mut self) -> crate::provider::Collapsed {
        let answer: Answer = { Answer::Embeddings(std::mem::take(&mut self.embeddings)) };
        answer.into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::{Outcome, round_trip, with_request};
    use super::*;

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
    fn errors_and_answers_without_vectors_are_faults() {
        let collapse = |body: &str| Collapser::default().push(&Frame::data(body.as_bytes()));
        assert!(matches!(collapse(r#"{"error":{"code":500}}"#), Err(Fault::Upstream(_))));
        assert!(matches!(collapse(r#"{"predictions":[]}"#), Err(Fault::Unreadable(_))));
        assert!(matches!(collapse(r#"{"predictions":[{"bytesBase64Encoded":"aa"}]}"#), Err(Fault::Unreadable(_))));
    }
}
