//! Token counts and the list of models: kept verbatim where recorded, made up where not.

use super::request;
use crate::frame::Frames;
use crate::provider::{AnswerHead, BadRequest, Call, Codec, Collapse, Encoding, raw};
use crate::reply::Answer;
use crate::request::{Kind, Request};
use serde_json::{Value, json};

/// The wire of `:countTokens`. <https://ai.google.dev/api/tokens>
pub(in crate::provider) static COUNT_TOKENS: Plain = Plain { wire: "gemini-count-tokens", counts: true };

/// The wire of `GET /v1beta/models`. <https://ai.google.dev/api/models#method:-models.list>
pub(super) static LIST: Plain = Plain { wire: "gemini-models", counts: false };

/// A wire whose answers are kept verbatim.
#[derive(Debug)]
pub(in crate::provider) struct Plain {
    wire: &'static str,
    /// It counts tokens; otherwise it lists models.
    counts: bool,
}

impl Codec for Plain {
    fn wire(&self) -> &'static str {
        self.wire
    }

    fn kind(&self) -> Kind {
        Kind::Raw
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        if self.counts { request::decode(Kind::Raw, call) } else { Ok(Request::new(Kind::Raw)) }
    }

    fn encode_whole(&self, _answer: &Answer, _to: &Encoding<'_>) -> Vec<u8> {
        Vec::new() // raw answers are sent as they are
    }

    fn encode_stream(&self, _answer: &Answer, _to: &Encoding<'_>) -> Frames {
        Frames::default()
    }

    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        raw::collapser(answer)
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[]
    }

    fn without_fixture(&self, _call: &Call<'_>, request: &Request<'_>, models: &[&str]) -> Option<Value> {
        if self.counts {
            return Some(json!({"totalTokens": request.estimated_tokens()}));
        }
        let models = models.iter().map(|model| {
            json!({
                "name": format!("models/{model}"),
                "displayName": model,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
            })
        });
        Some(json!({"models": models.collect::<Vec<_>>()}))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::with_request;
    use super::*;
    use crate::provider::{Head, route};
    use hyper::HeaderMap;

    #[test]
    fn tokens_are_estimated() {
        let ask = r#"{"contents":[{"parts":[{"text":"12345678"}]}]}"#;
        let nested = format!(r#"{{"generateContentRequest":{ask}}}"#);
        for body in [ask, &nested] {
            with_request("/v1beta/models/g:countTokens", body, |codec, request| {
                let headers = HeaderMap::new();
                let head = Head { method: "POST", path: "", query: "", headers: &headers };
                let call = Call { head, params: Vec::new(), body: b"" };
                assert_eq!(codec.without_fixture(&call, request, &[]), Some(json!({"totalTokens": 2})));
                assert_eq!((request.kind, &*request.model), (Kind::Raw, "g"));
            });
        }
    }

    #[test]
    fn models_are_listed() {
        let headers = HeaderMap::new();
        let head = Head { method: "GET", path: "/v1beta/models", query: "", headers: &headers };
        let found = route(&head);
        assert_eq!((found.provider.name, found.known), ("gemini", true));
        let call = Call { head, params: found.params, body: b"" };
        let request = found.codec.decode(&call).unwrap();
        let list = found.codec.without_fixture(&call, &request, &["gemini-2.5-flash"]).unwrap();
        assert_eq!(list["models"][0]["name"], "models/gemini-2.5-flash");
    }
}
