//! Cohere. Rerank, classify and the like are kept verbatim.
//! <https://docs.cohere.com/reference/about>

mod embed;
mod v1;
mod v2;

use super::{Credential, Encoding, ErrorBody, Head, Provider, Route, UsageShape, answer_usage};
use crate::json::Node;
use crate::reply::{ErrorAnswer, Reply, Usage};
use serde_json::json;

/// The row of the table.
pub static PROVIDER: Provider = Provider {
    name: "cohere",
    title: "Cohere",
    routes: &[
        Route::post("/v2/chat", &v2::Chat),
        Route { method: "POST", path: "/v1/chat", when: not_by_stainless, codec: &v1::Chat },
        Route::post("/v2/embed", &embed::Embed::V2),
        Route::post("/v1/embed", &embed::Embed::V1),
    ],
    credential: Credential { header: "authorization", prefix: "Bearer " },
    secret_headers: &[],
    secret_query: &[],
    claims: |head| u8::from(OWN_PATHS.iter().any(|own| head.path.starts_with(own))),
    error,
    sigv4_service: None,
    // The Python SDK reads the URL, the Node SDK takes its base URL in code only; both read the key.
    sdk_variables: &[("CO_API_URL", "{url}"), ("CO_API_KEY", "sk-aimock-placeholder")],
};

/// Writer serves OpenAI's API at `/v1/chat`. Its SDKs are made by Stainless; Cohere's are not.
fn not_by_stainless(head: &Head<'_>) -> bool {
    !head.headers.contains_key("x-stainless-lang")
}

/// Beginnings of paths that no other provider has.
const OWN_PATHS: &[&str] = &[
    "/v2/",
    "/v1/check-api-key",
    "/v1/classify",
    "/v1/connectors",
    "/v1/datasets",
    "/v1/detokenize",
    "/v1/embed-jobs",
    "/v1/finetuning",
    "/v1/generate",
    "/v1/rerank",
    "/v1/summarize",
    "/v1/tokenize",
];

/// Finish reasons that both versions have beside those with an equal.
/// <https://docs.cohere.com/reference/chat#response.body.finish_reason>
const NEAR: &[(&str, &str)] = &[
    ("STOP_SEQUENCE", "stop"),
    ("USER_CANCEL", "stop"),
    ("ERROR", "stop"),
    ("ERROR_TOXIC", "content_filter"),
    ("ERROR_LIMIT", "length"),
    ("TIMEOUT", "length"),
];

/// Token counts of both versions: v2's `usage`, v1's `meta` without its `api_version`. `billed_units` stands beside
/// `tokens`. <https://docs.cohere.com/reference/chat>
static USAGE: UsageShape = UsageShape {
    input: "/tokens/input_tokens",
    output: "/tokens/output_tokens",
    total: "",
    cached: "/cached_tokens",
    cache_write: "",
    reasoning: "/tokens/reasoning_tokens",
    input_excludes_cached: false,
    output_excludes_reasoning: false,
};

/// The counts of answers that have no `tokens`, or not all.
static BILLED: UsageShape = UsageShape {
    input: "/billed_units/input_tokens",
    output: "/billed_units/output_tokens",
    total: "",
    cached: "",
    cache_write: "",
    reasoning: "",
    input_excludes_cached: false,
    output_excludes_reasoning: false,
};

/// The usage to send with a turn: what Cohere sent, whichever counts it has; else both, as clients read one or the other.
fn usage<'r>(reply: &'r Reply, to: &Encoding<'_>) -> Node<'r> {
    let own = |usage: &&Usage| usage.contains_key("tokens") || usage.contains_key("billed_units");
    if let Some(usage) = reply.usage.as_ref().filter(own) {
        return usage.into();
    }
    let mut usage = answer_usage(&USAGE, reply, to.request);
    if let Some(counts) = USAGE.read(&usage) {
        usage.extend(BILLED.write(&counts));
    }
    Node::from(&usage).into_owned()
}

/// <https://docs.cohere.com/reference/errors>
fn error(e: &ErrorAnswer) -> ErrorBody {
    json!({"message": e.message}).into()
}

#[cfg(test)]
mod tests {
    use super::super::{Head, route};
    use hyper::HeaderMap;

    #[test]
    fn paths_without_a_route_and_near_misses() {
        let headers = HeaderMap::new();
        let owner = |path| route(&Head { method: "POST", path, query: "", headers: &headers }).provider.name;
        for (path, name) in [
            ("/v2/rerank", "cohere"),
            ("/v1/rerank", "cohere"),
            ("/v1/generate", "cohere"),
            ("/v1/chat/completions/x/messages", "openai"),
            ("/api/v1/chat/completions", "openai"),
            ("/api/show", "ollama"),
        ] {
            assert_eq!(owner(path), name, "{path}");
        }
    }
}
