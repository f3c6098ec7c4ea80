//! Azure OpenAI: OpenAI's wires under paths of its own, the model's deployment in the path.
//! <https://learn.microsoft.com/azure/ai-foundry/openai/reference>
//!
//! Its newer paths are OpenAI's own under `/openai`; there the `api-key` header or the `api-version` parameter tells
//! them from those of other services.

use super::{
    Credential, Head, Provider, Route, openai, openai_chat, openai_embeddings, openai_models, openai_responses,
};

/// The row of the table.
pub static PROVIDER: Provider = Provider {
    name: "azure",
    title: "Azure OpenAI",
    routes: &[
        Route::post("/openai/deployments/{deployment}/chat/completions", &openai_chat::Chat),
        Route::post("/openai/deployments/{deployment}/embeddings", &openai_embeddings::Embed),
        azure_only("POST", "/openai/v1/chat/completions", &openai_chat::Chat),
        azure_only("POST", "/openai/v1/responses", &openai_responses::Responses),
        azure_only("POST", "/openai/v1/embeddings", &openai_embeddings::Embed),
        azure_only("GET", "/openai/v1/models", &openai_models::MODELS),
        azure_only("GET", "/openai/v1/models/{id}", &openai_models::MODELS),
        azure_only("POST", "/openai/responses", &openai_responses::Responses),
        azure_only("POST", "/models/chat/completions", &openai_chat::Chat),
        azure_only("POST", "/models/embeddings", &openai_embeddings::Embed),
    ],
    credential: Credential { header: "api-key", prefix: "" },
    secret_headers: &["authorization", "ocp-apim-subscription-key"],
    secret_query: &["api-key", "subscription-key"],
    claims,
    error: openai::error,
    sigv4_service: None,
    sdk_variables: &[
        ("AZURE_OPENAI_ENDPOINT", "{url}"),
        ("AZURE_OPENAI_API_KEY", "sk-aimock-placeholder"),
        ("OPENAI_API_VERSION", "2024-10-21"),
    ],
};

/// A path that other services have as well.
const fn azure_only(method: &'static str, path: &'static str, codec: &'static dyn super::Codec) -> Route {
    Route { method, path, when: marked, codec }
}

fn marked(head: &Head<'_>) -> bool {
    head.headers.contains_key("api-key") || head.query_value("api-version").is_some()
}

fn claims(head: &Head<'_>) -> u8 {
    if head.headers.contains_key("api-key") { 2 } else { u8::from(head.path.starts_with("/openai/deployments/")) }
}

#[cfg(test)]
mod tests {
    use super::super::laws::{golden, with_request};
    use super::super::{Call, route};
    use super::*;
    use crate::frame::Framing;
    use hyper::HeaderMap;
    use hyper::header::HeaderValue;

    fn provider_of(method: &str, url: &str, key: bool) -> (&'static str, &'static str) {
        let mut headers = HeaderMap::new();
        if key {
            headers.insert("api-key", HeaderValue::from_static("k"));
        }
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let found = route(&Head { method, path, query, headers: &headers });
        (found.provider.name, found.codec.wire())
    }

    #[test]
    fn told_from_others_by_path_or_header_or_version() {
        let chat = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21";
        assert_eq!(provider_of("POST", chat, false), ("azure", "openai-chat"));
        assert_eq!(provider_of("POST", "/openai/v1/responses", true), ("azure", "openai-responses"));
        assert_eq!(provider_of("POST", "/openai/v1/responses", false), ("openai", "openai-responses"));
        assert_eq!(provider_of("POST", "/openai/responses?api-version=x", false), ("azure", "openai-responses"));
        assert_eq!(provider_of("POST", "/openai/v1/embeddings", true), ("azure", "openai-embeddings"));
        assert_eq!(provider_of("POST", "/openai/deployments/d/completions", false), ("azure", "raw"));
        assert_eq!(provider_of("POST", "/openai/v1/images/generations", true), ("azure", "raw"));
        assert_eq!(provider_of("GET", "/openai/v1/models", true), ("azure", "openai-models"));
    }

    #[test]
    fn the_deployment_is_the_model_where_the_body_has_none() {
        let chat = "/openai/deployments/my%20gpt/chat/completions";
        with_request(chat, r#"{"messages":[]}"#, |_, r| assert_eq!(r.model, "my gpt"));
        with_request(chat, r#"{"model":"gpt-4o","messages":[]}"#, |_, r| assert_eq!(r.model, "gpt-4o"));
        let embed = "/openai/deployments/ada/embeddings";
        with_request(embed, r#"{"input":"a"}"#, |_, r| assert_eq!(r.model, "ada"));
    }

    #[test]
    fn filter_results_around_the_answer_are_skipped() {
        let body = "data: {\"choices\":[],\"created\":0,\"id\":\"\",\"model\":\"\",\"object\":\"\",\"prompt_filter_results\":[{\"prompt_index\":0,\"content_filter_results\":{}}]}\n\n\
            data: {\"choices\":[{\"content_filter_results\":{},\"delta\":{\"content\":\"hi\"},\"finish_reason\":null,\"index\":0}],\"created\":5,\"id\":\"c\",\"model\":\"gpt-4o\"}\n\n\
            data: {\"choices\":[{\"content_filter_offsets\":{\"check_offset\":1},\"content_filter_results\":{},\"finish_reason\":null,\"index\":0}]}\n\n\
            data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\",\"index\":0}]}\n\ndata: [DONE]\n\n";
        let reply = golden(&openai_chat::Chat, Framing::Sse, body.as_bytes()).turn();
        assert_eq!((reply.content(), reply.id.as_deref(), reply.created), ("hi".into(), Some("c"), Some(5)));
        assert_eq!(reply.model.as_deref(), Some("gpt-4o"));
    }

    #[test]
    fn a_whole_answer_with_filter_results() {
        let body = r#"{"choices":[{"content_filter_results":{"hate":{"filtered":false}},"finish_reason":"stop","index":0,
            "logprobs":null,"message":{"content":"hi","refusal":null,"role":"assistant"}}],"created":5,"id":"c",
            "model":"gpt-4o","object":"chat.completion","prompt_filter_results":[{"prompt_index":0}]}"#;
        let reply = golden(&openai_chat::Chat, Framing::Whole, body.as_bytes()).turn();
        assert_eq!((reply.content(), reply.finish.as_deref()), ("hi".into(), Some("stop")));
    }

    #[test]
    fn a_request_without_a_model_anywhere_is_refused() {
        let headers = HeaderMap::new();
        let head = Head { method: "POST", path: "/v1/embeddings", query: "", headers: &headers };
        let found = route(&head);
        let call = Call { head, params: found.params, body: br#"{"input":"a"}"# };
        assert_eq!(found.codec.decode(&call).unwrap_err().param.as_deref(), Some("model"));
    }
}
