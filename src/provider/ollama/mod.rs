//! Ollama's own API. (Its OpenAI-compatible one, under `/v1`, is the `openai` row's.)
//! <https://docs.ollama.com/api>

mod answer;
mod chat;
mod collapse;
mod embed;
mod info;

use super::{Credential, ErrorBody, Provider, Route};
use crate::reply::ErrorAnswer;
use serde_json::json;

/// The row of the table.
pub static PROVIDER: Provider = Provider {
    name: "ollama",
    title: "Ollama",
    routes: &[
        Route::post("/api/chat", &chat::Endpoint::Chat),
        Route::post("/api/generate", &chat::Endpoint::Generate),
        Route::post("/api/embed", &embed::Embed::Inputs),
        Route::post("/api/embeddings", &embed::Embed::Prompt),
        Route { method: "GET", path: "/api/tags", when: |_| true, codec: &info::TAGS },
        Route { method: "GET", path: "/api/version", when: |_| true, codec: &info::VERSION },
    ],
    credential: Credential { header: "authorization", prefix: "Bearer " },
    secret_headers: &[],
    secret_query: &[],
    claims: |head| u8::from(head.path.starts_with("/api/")),
    error,
    sigv4_service: None,
    sdk_variables: &[("OLLAMA_HOST", "{url}")],
};

/// <https://docs.ollama.com/api/errors>
fn error(e: &ErrorAnswer) -> ErrorBody {
    json!({"error": e.message}).into()
}
