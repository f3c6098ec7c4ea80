//! OpenAI, and every service that speaks its API under a path prefix of its own.
//! <https://platform.openai.com/docs/api-reference>

use super::{Credential, ErrorBody, Provider, Route, openai_chat, openai_embeddings, openai_models, openai_responses};
use crate::reply::ErrorAnswer;
use serde_json::json;

/// The row of the table.
pub static PROVIDER: Provider = Provider {
    name: "openai",
    title: "OpenAI",
    routes: &[
        Route::post("/**/chat/completions", &openai_chat::Chat),
        Route::post("/**/responses", &openai_responses::Responses),
        Route::post("/**/embeddings", &openai_embeddings::Embed),
        openai_models::route("/**/v1/models"),
        openai_models::route("/**/v1/models/{id}"),
    ],
    credential: Credential { header: "authorization", prefix: "Bearer " },
    secret_headers: &[],
    secret_query: &[],
    claims: |_| 0, // the row of last resort
    error,
    sigv4_service: None,
    sdk_variables: &[("OPENAI_BASE_URL", "{url}/v1"), ("OPENAI_API_KEY", "sk-aimock-placeholder")],
};

/// <https://platform.openai.com/docs/guides/error-codes>
pub(super) fn error(e: &ErrorAnswer) -> ErrorBody {
    let kind = e.kind.as_deref().unwrap_or(match e.status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    });
    let json = json!({"error": {"message": e.message, "type": kind, "param": e.param, "code": e.code}});
    ErrorBody { json, headers: rate_limit(e) }
}

/// What a client may read of a limit that it has reached.
/// <https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers>
fn rate_limit(e: &ErrorAnswer) -> Vec<(&'static str, String)> {
    if e.status != 429 {
        return Vec::new();
    }
    let remaining = ("x-ratelimit-remaining-requests", "0".to_owned());
    let reset = e.retry_after.map(|seconds| ("x-ratelimit-reset-requests", format!("{seconds}s")));
    std::iter::once(remaining).chain(reset).collect()
}
