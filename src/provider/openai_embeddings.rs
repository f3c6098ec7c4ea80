//! OpenAI embeddings. <https://platform.openai.com/docs/api-reference/embeddings>

use super::{
    AnswerHead, BadRequest, Call, Codec, Collapse, Encoding, Fault, Progress, UsageShape, embeddings_usage, parse_body,
    parse_frame, raw,
};
use crate::frame::{Frame, Frames};
use crate::reply::{Answer, Embeddings, Usage};
use crate::request::{Kind, Request, Str};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// <https://platform.openai.com/docs/api-reference/embeddings/create>
static USAGE: UsageShape = UsageShape {
    input: "/prompt_tokens",
    output: "",
    total: "/total_tokens",
    cached: "",
    cache_write: "",
    reasoning: "",
    input_excludes_cached: false,
    output_excludes_reasoning: false,
};

/// The embeddings wire.
#[derive(Debug)]
pub struct Embed;

impl Codec for Embed {
    fn wire(&self) -> &'static str {
        "openai-embeddings"
    }

    fn kind(&self) -> Kind {
        Kind::Embedding
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        let body: Body<'a> = parse_body(call.body)?;
        let mut request = Request::new(Kind::Embedding);
        request.model = match (body.model, call.param("deployment")) {
            (Some(model), _) => model.0,
            (None, Some(deployment)) => deployment.clone(),
            (None, None) => return Err(BadRequest::field("model", "you must provide a model parameter")),
        };
        let Some(input) = body.input else {
            return Err(BadRequest::field("input", "missing required parameter: 'input'"));
        };
        (request.inputs, request.vectors.single) = inputs(input)?;
        request.vectors.base64 = body.encoding_format.as_deref() == Some("base64");
        request.vectors.dimensions = body.dimensions;
        Ok(request)
    }

    fn encode_whole(&self, answer: &Answer, to: &Encoding<'_>) -> Vec<u8> {
        let Answer::Embeddings(embeddings) = answer else { return Vec::new() };
        let base64 = to.request.vectors.base64;
        let vectors = embeddings.vectors.iter().enumerate();
        let list = List {
            object: "list",
            data: vectors
                .map(|(index, v)| Entry { object: "embedding", index, embedding: Sent::new(v, base64) })
                .collect(),
            model: embeddings.model.as_deref().unwrap_or(&to.request.model),
            usage: embeddings_usage(&USAGE, answer, to.request),
        };
        serde_json::to_vec(&list).expect("these structs have string keys only")
    }

    fn encode_stream(&self, _answer: &Answer, _to: &Encoding<'_>) -> Frames {
        Frames::default() // never asked for
    }

    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        Box::new(Collapser { embeddings: Embeddings::default(), verbatim: raw::collapser(answer), readable: false })
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
struct Body<'a> {
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    encoding_format: Option<Str<'a>>,
    #[serde(default)]
    dimensions: Option<usize>,
}

/// The inputs, and whether there is one that is no list: a text or a list of tokens alone, or a list of either.
fn inputs(raw: &RawValue) -> Result<(Vec<Cow<'_, str>>, bool), BadRequest> {
    let wrong = |e: serde_json::Error| BadRequest::field("input", format!("'input' is not valid: {e}"));
    if !raw.get().starts_with('[') {
        return Ok((vec![input(raw).map_err(wrong)?], true));
    }
    let items: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(wrong)?;
    if items.first().is_some_and(|item| item.get().starts_with(|c: char| c.is_ascii_digit())) {
        return Ok((vec![tokens(&items)], true));
    }
    let inputs = items.into_iter().map(input).collect::<Result<_, _>>().map_err(wrong)?;
    Ok((inputs, false))
}

/// One input: a string as it is, tokens with a space between, a part by its text, anything else as it is written.
fn input(raw: &RawValue) -> Result<Cow<'_, str>, serde_json::Error> {
    match raw.get().as_bytes().first() {
        Some(b'"') => serde_json::from_str(raw.get()).map(|Str(text)| text),
        Some(b'[') => serde_json::from_str::<Vec<&RawValue>>(raw.get()).map(|items| tokens(&items)),
        Some(b'{') => {
            let part: TextPart<'_> = serde_json::from_str(raw.get())?;
            Ok(part.text.map_or(Cow::Borrowed(raw.get()), |Str(text)| text))
        }
        _ => Ok(Cow::Borrowed(raw.get())),
    }
}

fn tokens<'a>(items: &[&RawValue]) -> Cow<'a, str> {
    Cow::Owned(items.iter().map(|i| i.get()).collect::<Vec<_>>().join(" "))
}

#[derive(Deserialize)]
struct TextPart<'a> {
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
}

// ----------------------------------------------------------------------------------------------------- the answer

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Entry<'a>>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Entry<'a> {
    object: &'static str,
    index: usize,
    embedding: Sent<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Sent<'a> {
    Floats(&'a [f64]),
    Base64(String),
}

impl<'a> Sent<'a> {
    fn new(vector: &'a [f64], base64: bool) -> Self {
        if !base64 {
            return Sent::Floats(vector);
        }
        let bytes: Vec<u8> = vector.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect();
        Sent::Base64(STANDARD.encode(bytes))
    }
}

// ------------------------------------------------------------------------------------------------------- collapse

#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(borrow, default)]
    data: Option<Vec<Came<'a>>>,
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Came<'a> {
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

/// Keeps vectors; an answer with vectors of another kind (several for one input, sparse ones, other encodings) as it is.
struct Collapser {
    embeddings: Embeddings,
    verbatim: Box<dyn Collapse>,
    readable: bool,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        if frame.data.trim_ascii_start().starts_with(b"[") {
            return self.verbatim.push(frame); // llama.cpp's own form
        }
        let answered: Answered<'_> = parse_frame(frame)?;
        if let Some(error) = answered.error.filter(|e| !e.is_null()) {
            return Err(Fault::Upstream(error.to_string()));
        }
        let mut came = answered.data.ok_or_else(|| Fault::Unreadable("an answer without data".into()))?;
        came.sort_by_key(|c| c.index);
        let vectors: Result<Vec<_>, Fault> = came.iter().map(|c| vector(c.embedding)).collect();
        let Ok(vectors) = vectors else { return self.verbatim.push(frame) };
        self.readable = true;
        self.embeddings = Embeddings {
            vectors,
            usage: answered.usage,
            model: answered.model.filter(|m| !m.is_empty()).map(|m| m.0.into_owned()),
            id: answered.id.filter(|id| !id.is_empty()).map(|id| id.0.into_owned()),
        };
        Ok(Progress::Done)
    }

    fn kept_bytes(&self) -> usize {
        let vectors = self.embeddings.vectors.iter().map(|v| v.len() * size_of::<f64>());
        vectors.sum::<usize>() + self.verbatim.kept_bytes()
    }

    fn finish(&mut self) -> crate::provider::Collapsed {
        let answer: Answer = {
            if self.readable {
                Answer::Embeddings(std::mem::take(&mut self.embeddings))
            } else {
                self.verbatim.finish().old()
            }
        };
        answer.into()
    }
}

/// A list of numbers, or base64 of little-endian f32.
fn vector(raw: &RawValue) -> Result<Vec<f64>, Fault> {
    let wrong = |found: String| Fault::Unreadable(format!("an embedding that is neither numbers nor base64: {found}"));
    if !raw.get().starts_with('"') {
        return serde_json::from_str(raw.get()).map_err(|e| wrong(e.to_string()));
    }
    let Str(text) = serde_json::from_str(raw.get()).map_err(|e| wrong(e.to_string()))?;
    let bytes = STANDARD.decode(text.as_bytes()).map_err(|e| wrong(e.to_string()))?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(wrong(format!("{} bytes", bytes.len())));
    }
    Ok(numbers.iter().map(|b| short(f32::from_le_bytes(*b))).collect())
}

/// The shortest decimal that is this f32, so that fixtures do not show digits that were never sent.
fn short(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

#[cfg(test)]
mod tests {
    use super::super::laws::{Outcome, golden, round_trip, with_request};
    use super::*;
    use crate::frame::Framing;

    const PATH: &str = "/v1/embeddings";

    fn collapse(body: &str) -> Outcome {
        golden(&Embed, Framing::Whole, body.as_bytes())
    }

    #[track_caller]
    fn embeddings(outcome: Outcome) -> Embeddings {
        match outcome {
            Outcome::Whole(Answer::Embeddings(e)) => e,
            other => panic!("no embeddings: {other:?}"),
        }
    }

    fn asked(input: &str) -> (Vec<String>, bool) {
        let body = format!(r#"{{"model":"m","input":{input}}}"#);
        with_request(PATH, &body, |_, r| (r.inputs.iter().map(|i| i.clone().into_owned()).collect(), r.vectors.single))
    }

    #[test]
    fn inputs_of_every_kind() {
        assert_eq!(asked(r#""a\nb""#), (vec!["a\nb".into()], true));
        assert_eq!(asked(r#"["a","b"]"#), (vec!["a".into(), "b".into()], false));
        assert_eq!(asked("[1, 22]"), (vec!["1 22".into()], true));
        assert_eq!(asked("[[1,2],[3]]"), (vec!["1 2".into(), "3".into()], false));
        assert_eq!(asked(r#"[{"text":"a"},{"image":"x"}]"#), (vec!["a".into(), r#"{"image":"x"}"#.into()], false));
        assert_eq!(asked("[]"), (vec![], false));
    }

    #[test]
    fn base64_is_little_endian_f32_and_comes_back_short() {
        let body = r#"{"model":"m","input":["a","b"],"encoding_format":"base64","dimensions":2}"#;
        let answer = Embeddings { vectors: vec![vec![0.1, -1.5], vec![0.0, 3e-9]], ..Embeddings::default() };
        with_request(PATH, body, |codec, r| {
            assert_eq!((r.vectors.base64, r.vectors.dimensions), (true, Some(2)));
            let to = Encoding { request: r, chunk_chars: 20, now: 0, seed: 0 };
            let sent: Value = serde_json::from_slice(&codec.encode_whole(&answer.clone().into(), &to)).unwrap();
            assert_eq!(sent["data"][0]["embedding"], "zczMPQAAwL8=");
            let (whole, _) = round_trip(codec, &answer.clone().into(), r);
            assert_eq!(embeddings(whole).vectors, answer.vectors);
        });
    }

    #[test]
    fn floats_keep_all_their_digits() {
        let answer = Embeddings {
            vectors: vec![vec![0.123_456_789_012_345_67]],
            usage: serde_json::from_str(r#"{"prompt_tokens":1,"total_tokens":1}"#).ok(),
            ..Embeddings::default()
        };
        with_request(PATH, r#"{"model":"m","input":"a"}"#, |codec, r| {
            let (whole, _) = round_trip(codec, &answer.clone().into(), r);
            let back = embeddings(whole);
            assert_eq!((back.vectors, back.usage), (answer.vectors.clone(), answer.usage.clone()));
            assert_eq!(back.model.as_deref(), Some("m"));
        });
    }

    #[test]
    fn vectors_are_put_in_the_order_of_their_index() {
        let body = r#"{"data":[{"index":1,"embedding":[2]},{"index":0,"embedding":[1]}]}"#;
        assert_eq!(embeddings(collapse(body)).vectors, [[1.0], [2.0]]);
    }

    #[test]
    fn vectors_of_another_kind_are_kept_as_they_are() {
        let of = |embedding: &str| format!(r#"{{"data":[{{"embedding":{embedding}}}]}}"#);
        let bodies = ["\"AAA=\"", "\"?\"", "{\"indices\":[1]}", "[[0.5],[1]]"].map(of);
        for body in bodies.iter().map(String::as_str).chain([r#"[{"index":0,"embedding":[[0.5]]}]"#]) {
            assert!(matches!(collapse(body), Outcome::Whole(Answer::Raw(_))), "{body}");
        }
    }

    #[test]
    fn what_is_no_answer_is_not_recorded() {
        assert!(matches!(collapse("{}"), Outcome::Fault(Fault::Unreadable(_))));
        assert!(matches!(collapse(r#"{"error":{"message":"no"}}"#), Outcome::Fault(Fault::Upstream(_))));
    }
}
