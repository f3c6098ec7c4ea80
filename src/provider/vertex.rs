//! Vertex AI: the wires of Gemini and Anthropic under longer paths.
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference>,
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude>
//!
//! `/v1/projects/{project}/locations/{location}/publishers/google/models/{model}:verb`, in express mode without project
//! and location, and `v1beta1` for `v1`. What stands before the publisher changes nothing here.

use super::{Credential, Head, Provider, Route, anthropic, gemini};

/// The row of the table.
pub static PROVIDER: Provider = Provider {
    name: "vertexai",
    title: "Vertex AI",
    routes: &[
        Route::post("/**/publishers/google/models/{model}:generateContent", &gemini::GENERATE),
        Route::post("/**/publishers/google/models/{model}:streamGenerateContent", &gemini::STREAM),
        Route::post("/**/publishers/google/models/{model}:embedContent", &gemini::EMBED),
        Route::post("/**/publishers/google/models/{model}:countTokens", &gemini::COUNT_TOKENS),
        Route {
            method: "POST",
            path: "/**/publishers/google/models/{model}:predict",
            when: embeds_text,
            codec: &gemini::PREDICT,
        },
        // The model is in the body here; the SDK counts tokens so.
        Route::post("/**/publishers/anthropic/models/count-tokens:rawPredict", &anthropic::COUNT_TOKENS),
        Route::post("/**/publishers/anthropic/models/{model}:rawPredict", &anthropic::VERTEX_RAW_PREDICT),
        Route::post("/**/publishers/anthropic/models/{model}:streamRawPredict", &anthropic::VERTEX_STREAM_RAW_PREDICT),
        // A tuned model is served by an endpoint of the project's own.
        Route::post("/**/locations/{location}/endpoints/{model}:generateContent", &gemini::GENERATE),
        Route::post("/**/locations/{location}/endpoints/{model}:streamGenerateContent", &gemini::STREAM),
    ],
    credential: Credential { header: "authorization", prefix: "Bearer " },
    secret_headers: &["x-goog-api-key"],
    secret_query: &["key", "access_token"],
    claims: |head| {
        let own = head.path.contains("/publishers/")
            || (head.path.contains("/projects/") && head.path.contains("/locations/"));
        if own { 2 } else { 0 }
    },
    error: gemini::error,
    sigv4_service: None,
    sdk_variables: &[("GOOGLE_VERTEX_BASE_URL", "{url}"), ("ANTHROPIC_VERTEX_BASE_URL", "{url}/v1")],
};

/// `:predict` serves models of every kind; those that embed text say so in their name, and only the multimodal one has
/// another shape.
fn embeds_text(head: &Head<'_>) -> bool {
    let model = head.path.rsplit('/').next().unwrap_or_default();
    model.contains("embedding") && !model.starts_with("multimodal")
}

#[cfg(test)]
mod tests {
    use super::super::laws::with_request;
    use super::super::{Head, route};
    use crate::frame::Framing;
    use hyper::HeaderMap;

    fn found(path: &str) -> (&'static str, &'static str, bool, Option<String>) {
        let headers = HeaderMap::new();
        let found = route(&Head { method: "POST", path, query: "", headers: &headers });
        let model = found.params.iter().find(|(name, _)| *name == "model").map(|(_, value)| value.to_string());
        (found.provider.name, found.codec.wire(), found.known, model)
    }

    #[test]
    fn every_form_of_path() {
        let known = |wire, model: &str| ("vertexai", wire, true, Some(model.to_owned()));
        let google = "publishers/google/models";
        for start in ["/v1/projects/p/locations/us-central1", "/v1beta1/projects/p/locations/global", "/v1", "/v1beta1"]
        {
            assert_eq!(found(&format!("{start}/{google}/g-2:generateContent")), known("gemini", "g-2"));
            assert_eq!(found(&format!("{start}/{google}/g-2:countTokens")), known("gemini-count-tokens", "g-2"));
        }
        let place = "/v1/projects/p/locations/l";
        assert_eq!(
            found(&format!("{place}/{google}/text-embedding-005:predict")),
            known("vertex-predict", "text-embedding-005")
        );
        assert_eq!(found(&format!("{place}/endpoints/7:generateContent")), known("gemini", "7"));
        let claude = format!("{place}/publishers/anthropic/models");
        let model = "claude-sonnet-4@20250514";
        for verb in ["rawPredict", "streamRawPredict"] {
            assert_eq!(found(&format!("{claude}/{model}:{verb}")), known("anthropic-messages", model));
        }
        let counted = found(&format!("{claude}/count-tokens:rawPredict"));
        assert_eq!(counted, ("vertexai", "anthropic-count-tokens", true, None));
        for raw in [
            format!("{place}/{google}/imagen-4.0:predict"),
            format!("{place}/{google}/multimodalembedding@001:predict"),
            format!("{place}/publishers/mistralai/models/m:rawPredict"),
            format!("{place}/cachedContents"),
        ] {
            assert_eq!(found(&raw), ("vertexai", "raw", false, None), "{raw}");
        }
        assert_eq!(found("/v1beta/models/g:generateContent").0, "gemini");
    }

    #[test]
    fn streams_as_anthropic_does() {
        let path = "/v1/projects/p/locations/l/publishers/anthropic/models/claude:streamRawPredict";
        let body =
            r#"{"anthropic_version":"vertex-2023-10-16","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
        with_request(path, body, |_, r| assert_eq!((r.framing, &*r.model), (Framing::Sse, "claude")));
    }

    #[test]
    fn streams_as_gemini_does() {
        let path = "/v1/publishers/google/models/g:streamGenerateContent?alt=sse";
        with_request(path, r#"{"contents":{"parts":{"text":"hi"}}}"#, |_, r| {
            assert_eq!((r.framing, r.user_message()), (Framing::Sse, Some("hi")));
        });
    }
}
