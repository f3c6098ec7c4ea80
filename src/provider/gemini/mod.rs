//! Gemini: `generateContent` and its siblings, whole and streamed.
//! <https://ai.google.dev/api/generate-content>
//!
//! The version (`v1beta`, `v1`, `v1alpha`) stands before `models` in the path and changes nothing here. Vertex AI serves
//! the same wire under longer paths; its room borrows the codecs of this one.

mod answer;
mod collapse;
mod embed;
mod generate;
mod models;
mod partial;
mod read;
mod request;
mod signature;

pub(super) use embed::{EMBED, PREDICT};
pub(super) use generate::{GENERATE, STREAM};
pub(super) use models::COUNT_TOKENS;

use super::{Credential, ErrorBody, FinishWords, Head, Provider, Route, UsageShape};
use crate::json::Node;
use crate::reply::ErrorAnswer;
use serde_json::json;
use std::borrow::Cow;

/// The row of the table.
pub static PROVIDER: Provider = Provider {
    name: "gemini",
    title: "Gemini",
    routes: &[
        Route::post("/**/models/{model}:generateContent", &GENERATE),
        Route::post("/**/models/{model}:streamGenerateContent", &STREAM),
        Route::post("/**/models/{model}:embedContent", &EMBED),
        Route::post("/**/models/{model}:batchEmbedContents", &embed::BATCH),
        Route::post("/**/models/{model}:countTokens", &COUNT_TOKENS),
        Route::post("/**/tunedModels/{model}:generateContent", &GENERATE),
        Route::post("/**/tunedModels/{model}:streamGenerateContent", &STREAM),
        Route { method: "GET", path: "/v1beta/models", when: |_| true, codec: &models::LIST },
        Route { method: "GET", path: "/v1alpha/models", when: |_| true, codec: &models::LIST },
        Route { method: "GET", path: "/v1/models", when: has_key, codec: &models::LIST },
    ],
    credential: Credential { header: "x-goog-api-key", prefix: "" },
    secret_headers: &["authorization"],
    secret_query: &["key", "access_token"],
    claims: |head| match head.path {
        _ if has_key(head) => 2,
        path if ["/v1beta/", "/v1alpha/", "/upload/v1beta/"].iter().any(|p| path.starts_with(p)) => 1,
        _ => 0,
    },
    error,
    sigv4_service: None,
    sdk_variables: &[("GOOGLE_GEMINI_BASE_URL", "{url}"), ("GEMINI_API_KEY", "sk-aimock-placeholder")],
};

/// The request brings a Gemini API key, in either of the two places. <https://ai.google.dev/gemini-api/docs/api-key>
fn has_key(head: &Head<'_>) -> bool {
    head.header("x-goog-api-key").is_some() || head.query_value("key").is_some()
}

/// Its name.
const WIRE: &str = "gemini";

/// <https://ai.google.dev/api/generate-content#FinishReason> and Vertex AI's
/// <https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse#FinishReason>.
/// Gemini stops with `STOP` after function calls too. The words that begin with [`BLOCKED`] are those of a prompt that
/// was refused: <https://ai.google.dev/api/generate-content#BlockReason>.
static FINISH: FinishWords = FinishWords {
    exact: &[("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter")],
    near: &[
        ("RECITATION", "content_filter"),
        ("LANGUAGE", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("IMAGE_PROHIBITED_CONTENT", "content_filter"),
        ("IMAGE_RECITATION", "content_filter"),
        ("OTHER", "stop"),
        ("IMAGE_OTHER", "stop"),
        ("NO_IMAGE", "stop"),
        ("MALFORMED_FUNCTION_CALL", "stop"),
        ("MALFORMED_RESPONSE", "stop"),
        ("UNEXPECTED_TOOL_CALL", "stop"),
        ("TOO_MANY_TOOL_CALLS", "stop"),
        ("MISSING_THOUGHT_SIGNATURE", "stop"),
        ("ESCALATION", "stop"),
        ("PUP_LIMITED_DISABLED", "stop"),
        ("CONTINUATION", "stop"),
        ("blockReason:BLOCK_REASON_UNSPECIFIED", "content_filter"),
        ("blockReason:BLOCKED_REASON_UNSPECIFIED", "content_filter"),
        ("blockReason:SAFETY", "content_filter"),
        ("blockReason:OTHER", "content_filter"),
        ("blockReason:BLOCKLIST", "content_filter"),
        ("blockReason:PROHIBITED_CONTENT", "content_filter"),
        ("blockReason:IMAGE_SAFETY", "content_filter"),
        ("blockReason:MODEL_ARMOR", "content_filter"),
        ("blockReason:JAILBREAK", "content_filter"),
    ],
    otherwise: "STOP",
};

/// What stands before the reason for which a prompt was refused, in a fixture's finish word. Without it nobody could
/// tell `promptFeedback.blockReason` from a candidate that stopped for the same reason.
const BLOCKED: &str = "blockReason:";

/// <https://ai.google.dev/api/generate-content#UsageMetadata>
static USAGE: UsageShape = UsageShape {
    input: "/promptTokenCount",
    output: "/candidatesTokenCount",
    total: "/totalTokenCount",
    cached: "/cachedContentTokenCount",
    cache_write: "",
    reasoning: "/thoughtsTokenCount",
    input_excludes_cached: false,
    output_excludes_reasoning: true,
};

/// Google's error model, <https://cloud.google.com/apis/design/errors#error_model>. A code of ours and the time to wait
/// go where Google puts them: into `details`.
pub(super) fn error(e: &ErrorAnswer) -> ErrorBody {
    let status = match &e.kind {
        Some(kind) if kind.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') => kind.as_str(),
        _ => status_word(e.status),
    };
    let mut body = json!({"error": {"code": e.status, "message": e.message, "status": status}});
    let mut details = Vec::new();
    if let Some(code) = &e.code {
        details.push(json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code}));
    }
    if let Some(seconds) = e.retry_after {
        details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")}));
    }
    if !details.is_empty() {
        body["error"]["details"] = details.into();
    }
    body.into()
}

/// <https://cloud.google.com/apis/design/errors#handling_errors>
fn status_word(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        502 | 503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}

/// JSON text without white space outside its strings.
fn compact(json: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let (mut in_string, mut escaped, mut kept) = (false, false, 0);
    for (at, byte) in json.bytes().enumerate() {
        match byte {
            _ if std::mem::take(&mut escaped) => {}
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b' ' | b'\t' | b'\n' | b'\r' if !in_string => {
                out.push_str(&json[kept..at]);
                kept = at + 1;
            }
            _ => {}
        }
    }
    if kept == 0 {
        return Cow::Borrowed(json);
    }
    out.push_str(&json[kept..]);
    Cow::Owned(out)
}

/// The text of a part that is nothing else, and whether it is a thought. What is signed is something else.
fn plain_text<'n>(part: &'n Node<'_>) -> Option<(&'n str, bool)> {
    let said = |(name, value): &(Cow<'_, str>, Node<'_>)| {
        name == "text" || matches!(value, Node::Null) || (name == "thought" && matches!(value, Node::Bool(_)))
    };
    let text = part.get("text")?.as_str()?;
    let thought = matches!(part.get("thought"), Some(Node::Bool(true)));
    part.members().iter().all(said).then_some((text, thought))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_from_around_strings_only() {
        assert_eq!(compact("{\n  \"a b\" : [ 1.0, \"\\\" \\\\\" ]\r\n}"), "{\"a b\":[1.0,\"\\\" \\\\\"]}");
        assert!(matches!(compact("{\"a\":1}"), Cow::Borrowed(_)));
    }

    #[test]
    fn errors_in_google_s_shape() {
        let answer = ErrorAnswer { status: 429, message: "slow down".into(), ..ErrorAnswer::default() };
        let body = error(&answer).json;
        assert_eq!(body, json!({"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}));
        let answer = ErrorAnswer { kind: Some("UNAVAILABLE".into()), ..answer };
        assert_eq!(error(&answer).json["error"]["status"], "UNAVAILABLE");
        let answer = ErrorAnswer { kind: Some("rate_limit_error".into()), retry_after: Some(7), ..answer };
        let body = error(&answer).json;
        assert_eq!(body["error"]["status"], "RESOURCE_EXHAUSTED");
        assert_eq!(body["error"]["details"][0]["retryDelay"], "7s");
    }
}
