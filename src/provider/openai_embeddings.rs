//! OpenAI embeddings. <https://platform.openai.com/docs/api-reference/embeddings>

use super::embeddings::{self, numbers};
use super::{BadRequest, Call, Codec, EmbeddingWire, Encoding, Fault, Shape, UsageShape, embeddings_usage, parse_body};
use crate::json::{Node, object};
use crate::reply::Embeddings;
use crate::request::{Kind, Request, Str};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
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

    fn shape(&self) -> Shape<'_> {
        Shape::Embedding(&Embed)
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
        let other = |kind: &Option<Str<'_>>, known: &[&str]| kind.as_deref().is_some_and(|kind| !known.contains(&kind));
        request.vectors.opaque =
            other(&body.encoding_format, &["float", "base64"]) || other(&body.output_dtype, &["float"]);
        request.vectors.dimensions = body.dimensions;
        Ok(request)
    }
}

impl EmbeddingWire for Embed {
    fn read(&self, native: &Node<'_>) -> Result<Option<Embeddings>, Fault> {
        if let Some(error) = native.get("error") {
            return Err(Fault::Upstream(error.to_json()));
        }
        let data = match (native, native.get("data")) {
            (Node::List(_), _) => return Ok(None), // llama.cpp's own form
            (_, Some(Node::List(data))) => data,
            _ => return Err(Fault::Unreadable("an answer without data".into())),
        };
        let mut came: Vec<&Node<'_>> = data.iter().collect();
        came.sort_by_key(|item| item.get("index").and_then(Node::as_i64));
        let Some(vectors) = vectors(&came) else { return Ok(None) };
        let word = |name| native.word(name).map(str::to_owned);
        let usage = native.get("usage").map(Node::to_map).filter(|usage| !usage.is_empty());
        Ok(Some(Embeddings { vectors, usage, model: word("model"), id: word("id") }))
    }

    fn write<'r>(&self, embeddings: &'r Embeddings, to: &Encoding<'r>) -> Node<'r> {
        let sent = if to.request.vectors.base64 { base64 } else { numbers };
        let item = |(index, vector): (usize, &Vec<f64>)| {
            object! { "object": "embedding", "index": index, "embedding": sent(vector) }
        };
        let mut answer = object! {
            "object": "list",
            "data": embeddings.vectors.iter().enumerate().map(item).collect::<Vec<_>>(),
            "model": embeddings.model.as_deref().unwrap_or(&to.request.model),
            "usage": embeddings_usage(&USAGE, embeddings, to.request),
        };
        if let Some(id) = &embeddings.id {
            answer.set("id", &**id);
        }
        answer
    }

    fn usage_shape(&self) -> Option<&'static UsageShape> {
        Some(&USAGE)
    }
}

/// The vectors of these items; `None` where they are of another kind (several for one input, sparse ones, other
/// encodings).
fn vectors(items: &[&Node<'_>]) -> Option<Vec<Vec<f64>>> {
    let embedding = |item: &&Node<'_>| match item.get("embedding")? {
        Node::Text(text) => floats(text),
        list => embeddings::vector(list),
    };
    let vectors: Vec<Vec<f64>> = items.iter().map(embedding).collect::<Option<_>>()?;
    (!vectors.is_empty() && vectors.iter().all(|vector| !vector.is_empty())).then_some(vectors)
}

/// Base64 of little-endian f32.
fn floats(text: &str) -> Option<Vec<f64>> {
    let bytes = STANDARD.decode(text).ok()?;
    let (floats, rest) = bytes.as_chunks::<4>();
    let floats = floats.iter().map(|bytes| f32::from_le_bytes(*bytes));
    rest.is_empty().then(|| floats.map(|x| x.is_finite().then(|| short(x))).collect())?
}

fn base64(vector: &[f64]) -> Node<'static> {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect();
    STANDARD.encode(bytes).into()
}

/// The shortest decimal that is this f32, so that fixtures do not show digits that were never sent.
fn short(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
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
    /// What the numbers are, at several services. <https://docs.mistral.ai/api/#tag/embeddings>
    #[serde(borrow, default)]
    output_dtype: Option<Str<'a>>,
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

#[cfg(test)]
mod tests {
    use super::super::laws::{Outcome, golden, round_trip, with_request};
    use super::*;
    use crate::fixture::{Fixture, Match, file};
    use crate::frame::{Frame, Framing};
    use crate::keep::AskedFor;
    use crate::provider::AnswerHead;
    use crate::redact::Redactor;
    use crate::reply::Answer;
    use serde_json::Value;

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
        let bodies = ["\"AAA=\"", "\"?\"", "\"AADAfw==\"", "[1e999]", "[]", "{\"indices\":[1]}", "[[0.5],[1]]"].map(of);
        for body in bodies.iter().map(String::as_str).chain([r#"[{"index":0,"embedding":[[0.5]]}]"#]) {
            assert!(matches!(collapse(body), Outcome::Whole(Answer::Raw(_))), "{body}");
        }
    }

    #[test]
    fn what_is_no_answer_is_not_recorded() {
        assert!(matches!(collapse("{}"), Outcome::Fault(Fault::Unreadable(_))));
        assert!(matches!(collapse(r#"{"error":{"message":"no"}}"#), Outcome::Fault(Fault::Upstream(_))));
    }

    /// What a fixture keeps of an answer to this request, and whether it gives that again.
    fn kept(ask: &str, body: &str) -> (Answer, bool) {
        with_request(PATH, ask, |codec, request| {
            let asked = AskedFor { codec: &Embed, request: request.shape() };
            let head = AnswerHead { framing: Framing::Whole, status: 200, content_type: "application/json" };
            let mut collapser = codec.collapser(&head);
            collapser.push(&Frame::data(body.as_bytes())).unwrap();
            let kept = asked.keep(collapser.finish(), &Redactor::default()).unwrap();
            let mut fixture = Fixture::new(Match::default(), kept.answer);
            fixture.native = kept.native.map(Box::new);
            let text = file::write(&[&fixture]);
            let read = file::parse(text.as_bytes());
            assert!(read.problems.is_empty(), "{:?}", read.problems);
            let gives = kept
                .came
                .is_none_or(|came| asked.gives(&read.fixtures[0].answer, read.fixtures[0].native.as_deref(), &came));
            (fixture.answer, gives)
        })
    }

    #[test]
    fn members_of_all_kinds_are_kept() {
        let body = r#"{"data":[{"index":0,"embedding":[0.5,1,1e-7],"object":"embedding","truncated":false}],
            "usage":{"prompt_tokens":1,"cost":0.1},"provider":"p","model":"m2"}"#;
        let (answer, gives) = kept(r#"{"model":"m","input":"a"}"#, body);
        assert!(gives && matches!(answer, Answer::Embeddings(_)));
        let base64 =
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":"zczMPQAAwL8="}],"model":"m"}"#;
        let (answer, gives) = kept(r#"{"model":"m","input":"a","encoding_format":"base64"}"#, base64);
        assert!(gives && matches!(answer, Answer::Embeddings(_)));
    }

    #[test]
    fn numbers_of_another_type_are_not_taken_for_floats() {
        let body = r#"{"data":[{"index":0,"embedding":"zczMPQAAwL8="}]}"#;
        for more in [r#""encoding_format":"base64_int8""#, r#""encoding_format":"base64","output_dtype":"int8""#] {
            let (answer, _) = kept(&format!(r#"{{"model":"m","input":"a",{more}}}"#), body);
            assert!(matches!(answer, Answer::Raw(_)), "{more}");
        }
    }
}
