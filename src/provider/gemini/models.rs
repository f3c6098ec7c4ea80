//! Token counts and the list of models: kept verbatim where recorded, made up where not.

use super::request;
use crate::provider::plain::Plain;
use crate::request::Kind;
use serde_json::json;

/// The wire of `:countTokens`. <https://ai.google.dev/api/tokens>
pub(in crate::provider) static COUNT_TOKENS: Plain = Plain {
    decode: |call| request::decode(Kind::Raw, call),
    ..Plain::new("gemini-count-tokens", |_, request, _| Some(json!({"totalTokens": request.estimated_tokens()})))
};

/// The wire of `GET /v1beta/models`. <https://ai.google.dev/api/models#method:-models.list>
pub(super) static LIST: Plain = Plain::new("gemini-models", |_, _, models| {
    let models = models.iter().map(|model| {
        json!({
            "name": format!("models/{model}"),
            "displayName": model,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
        })
    });
    Some(json!({"models": models.collect::<Vec<_>>()}))
});

#[cfg(test)]
mod tests {
    use super::super::super::laws::with_request;
    use super::*;
    use crate::provider::{Call, Head, route};
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
