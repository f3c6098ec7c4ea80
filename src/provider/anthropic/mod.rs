//! Anthropic's Messages API, and the same wire where others host it: Azure, Vertex AI (the model in the path) and,
//! inside another framing, Bedrock. <https://docs.anthropic.com/en/api/messages>

mod answer;
mod collapse;
mod request;

pub(super) use answer::{encode_events, encode_whole};
pub(super) use collapse::Collapser;
pub(super) use request::decode_body;

use super::{
    AnswerHead, BadRequest, Call, CallId, Carries, Codec, Collapse, Credential, Encoding, ErrorBody, FinishWords, Head,
    Provider, Route, UsageShape, echo,
};
use crate::frame::{Frames, Framing, sse};
use crate::reply::{Answer, ErrorAnswer};
use crate::request::{Kind, Request};
use serde_json::{Value, json};

/// The row of the table.
pub static PROVIDER: Provider = Provider {
    name: "anthropic",
    title: "Anthropic",
    routes: &[
        Route::post("/**/v1/messages", &MESSAGES),
        Route::post("/**/v1/messages/count_tokens", &CountTokens),
        Route { method: "GET", path: "/v1/models", when: is_ours, codec: &Models },
    ],
    credential: Credential { header: "x-api-key", prefix: "" },
    secret_headers: &["authorization", "api-key"], // the latter where Azure hosts it
    secret_query: &[],
    claims: |head| if is_ours(head) { 2 } else { 0 },
    error,
    sigv4_service: None,
    sdk_variables: &[("ANTHROPIC_BASE_URL", "{url}"), ("ANTHROPIC_API_KEY", "sk-aimock-placeholder")],
};

/// The official SDKs send both headers on every request.
fn is_ours(head: &Head<'_>) -> bool {
    head.headers.contains_key("anthropic-version") || head.headers.contains_key("x-api-key")
}

/// The type is derived from the status where the answer has none. <https://docs.anthropic.com/en/api/errors>
pub(super) fn error(e: &ErrorAnswer) -> ErrorBody {
    let kind = e.kind.as_deref().unwrap_or(match e.status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    });
    let json = json!({"type": "error", "error": {"type": kind, "message": e.message}});
    // <https://docs.anthropic.com/en/api/rate-limits#response-headers>
    let remaining = ("anthropic-ratelimit-requests-remaining", "0".to_owned());
    ErrorBody { json, headers: if e.status == 429 { vec![remaining] } else { Vec::new() } }
}

/// <https://docs.anthropic.com/en/api/handling-stop-reasons>
pub(super) static FINISH: FinishWords = FinishWords {
    exact: &[("end_turn", "stop"), ("max_tokens", "length"), ("tool_use", "tool_calls"), ("refusal", "content_filter")],
    near: &[
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("compaction", "stop"),
        ("model_context_window_exceeded", "length"),
    ],
    otherwise: "end_turn",
};

/// <https://docs.anthropic.com/en/api/messages#response-usage>
pub(super) static USAGE: UsageShape = UsageShape {
    input: "/input_tokens",
    output: "/output_tokens",
    total: "",
    cached: "/cache_read_input_tokens",
    cache_write: "/cache_creation_input_tokens",
    reasoning: "/output_tokens_details/thinking_tokens",
    input_excludes_cached: true,
    output_excludes_reasoning: false,
};

/// Where the tool-call ids stand in a request.
pub(super) static CALL_IDS: &[CallId] = &[
    CallId { key: "id", beside: "input" },
    CallId { key: "tool_use_id", beside: "content" },
    CallId { key: "tool_use_id", beside: "" }, // a result without content
    CallId { key: "tool_id", beside: "type" }, // who called: `caller`
];

/// Brings the model's messages of a request's body into one form: without members that say nothing, and without the
/// caller of a tool where that is the model itself.
pub(super) fn one_form(body: &mut Value) {
    for message in echo::of_model(body) {
        for block in echo::objects(message.get_mut("content")) {
            echo::drop_empty(block, &["citations", "caller", "toolset_name", "parsed_output"]);
            if block.get("caller").and_then(|caller| caller.get("type")).is_some_and(|kind| kind == "direct") {
                block.shift_remove("caller");
            }
        }
    }
}

/// Blocks that no other wire knows, and the `citations` of the text before them, under this name.
const WIRE: &str = "anthropic-messages";

/// What a turn keeps on this wire.
pub(super) const CARRIES: Carries = Carries { part_signatures: false, refusal: false, ..Carries::ALL };

/// The bytes that only the terminal event is sure to hold.
const END: &[u8] = b"message_stop";

/// `/v1/messages`: the body says whether to stream.
pub(super) static MESSAGES: Messages = Messages { framing: None };

/// Vertex AI's `publishers/anthropic/models/{model}:rawPredict`: the same, with the model from the path.
/// <https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude>
pub(super) static VERTEX_RAW_PREDICT: Messages = Messages { framing: None };

/// Vertex AI's `publishers/anthropic/models/{model}:streamRawPredict`: always streamed.
pub(super) static VERTEX_STREAM_RAW_PREDICT: Messages = Messages { framing: Some(Framing::Sse) };

/// The Messages wire.
#[derive(Debug)]
pub(super) struct Messages {
    /// What the path says about streaming; where it says nothing, the body's `stream` decides.
    framing: Option<Framing>,
}

impl Codec for Messages {
    fn wire(&self) -> &'static str {
        WIRE
    }

    fn kind(&self) -> Kind {
        Kind::Chat
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        decode_body(call, call.param("model").cloned(), self.framing)
    }

    fn encode_whole(&self, answer: &Answer, to: &Encoding<'_>) -> Vec<u8> {
        let Answer::Turn(reply) = answer else { return Vec::new() };
        encode_whole(reply, to)
    }

    fn encode_stream(&self, answer: &Answer, to: &Encoding<'_>) -> Frames {
        let Answer::Turn(reply) = answer else { return Frames::default() };
        let mut frames = Frames::default();
        encode_events(reply, to, |event, data| frames.push(|out| sse::encode(event, data, out)));
        frames
    }

    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        Box::new(Collapser::new(answer.framing))
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[END]
    }

    fn call_ids(&self) -> &'static [CallId] {
        CALL_IDS
    }

    fn old_form(&self, body: &mut Value) {
        one_form(body);
    }

    fn carries(&self) -> Carries {
        CARRIES
    }

    fn finish_words(&self) -> Option<&'static FinishWords> {
        Some(&FINISH)
    }

    fn usage_shape(&self) -> Option<&'static UsageShape> {
        Some(&USAGE)
    }

    fn error(&self, e: &ErrorAnswer) -> Option<ErrorBody> {
        Some(error(e))
    }
}

/// `/v1/messages/count_tokens`: kept verbatim, estimated where there is no fixture.
/// <https://docs.anthropic.com/en/api/messages-count-tokens>
#[derive(Debug)]
pub(super) struct CountTokens;

impl Codec for CountTokens {
    fn wire(&self) -> &'static str {
        "anthropic-count-tokens"
    }

    fn kind(&self) -> Kind {
        Kind::Raw
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        decode_body(call, call.param("model").cloned(), Some(Framing::Whole))?;
        Ok(Request::new(Kind::Raw))
    }

    fn encode_whole(&self, _answer: &Answer, _to: &Encoding<'_>) -> Vec<u8> {
        Vec::new() // raw answers are sent as they are
    }

    fn encode_stream(&self, _answer: &Answer, _to: &Encoding<'_>) -> Frames {
        Frames::default()
    }

    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        super::raw::collapser(answer)
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[]
    }

    fn without_fixture(&self, call: &Call<'_>, _request: &Request<'_>, _models: &[&str]) -> Option<Value> {
        let request = decode_body(call, call.param("model").cloned(), Some(Framing::Whole)).ok()?;
        Some(json!({"input_tokens": request.estimated_tokens()}))
    }

    fn error(&self, e: &ErrorAnswer) -> Option<ErrorBody> {
        Some(error(e))
    }
}

/// `/v1/models`, told from other providers' by its headers: kept verbatim, made up where there is no fixture.
/// <https://docs.anthropic.com/en/api/models-list>
#[derive(Debug)]
struct Models;

impl Codec for Models {
    fn wire(&self) -> &'static str {
        "anthropic-models"
    }

    fn kind(&self) -> Kind {
        Kind::Raw
    }

    fn decode<'a>(&self, _call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        Ok(Request::new(Kind::Raw))
    }

    fn encode_whole(&self, _answer: &Answer, _to: &Encoding<'_>) -> Vec<u8> {
        Vec::new() // raw answers are sent as they are
    }

    fn encode_stream(&self, _answer: &Answer, _to: &Encoding<'_>) -> Frames {
        Frames::default()
    }

    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        super::raw::collapser(answer)
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[]
    }

    fn without_fixture(&self, _call: &Call<'_>, _request: &Request<'_>, models: &[&str]) -> Option<Value> {
        let model =
            |id: &&str| json!({"type": "model", "id": id, "display_name": id, "created_at": "1970-01-01T00:00:00Z"});
        let data: Vec<Value> = models.iter().map(model).collect();
        Some(json!({"data": data, "has_more": false, "first_id": models.first(), "last_id": models.last()}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::laws::with_request;
    use crate::provider::route;
    use hyper::HeaderMap;

    #[test]
    fn errors_are_typed_by_their_status() {
        let kind = |status| {
            let e = ErrorAnswer { status, message: "m".into(), ..ErrorAnswer::default() };
            error(&e).json
        };
        assert_eq!(kind(429), json!({"type": "error", "error": {"type": "rate_limit_error", "message": "m"}}));
        let kinds = [400, 401, 403, 404, 413, 422, 500, 503, 529].map(|s| kind(s)["error"]["type"].clone());
        assert_eq!(
            json!(kinds),
            json!([
                "invalid_request_error",
                "authentication_error",
                "permission_error",
                "not_found_error",
                "request_too_large",
                "invalid_request_error",
                "api_error",
                "api_error",
                "overloaded_error"
            ])
        );
    }

    #[test]
    fn headers_claim_what_no_route_knows() {
        let none = HeaderMap::new();
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", "k".parse().unwrap());
        let found = |method, path, headers| {
            let head = Head { method, path, query: "", headers };
            let found = route(&head);
            (found.provider.name, found.codec.wire())
        };
        assert_eq!(found("POST", "/v1/messages/batches", &headers), ("anthropic", "raw"));
        assert_eq!(found("GET", "/v1/models", &headers), ("anthropic", "anthropic-models"));
        assert_eq!(found("POST", "/anthropic/v1/messages", &none), ("anthropic", "anthropic-messages"));
        assert_ne!(found("POST", "/v1/threads/t/messages", &none).0, "anthropic");
    }

    #[test]
    fn a_path_may_name_the_model_and_say_that_it_streams() {
        let headers = HeaderMap::new();
        let head = Head { method: "POST", path: "/", query: "", headers: &headers };
        let body = br#"{"anthropic_version":"vertex-2023-10-16","messages":[]}"#;
        let call = Call { head, params: vec![("model", "claude-x@1".into())], body };
        let request = VERTEX_RAW_PREDICT.decode(&call).unwrap();
        assert_eq!((&*request.model, request.framing), ("claude-x@1", Framing::Whole));
        assert_eq!(VERTEX_STREAM_RAW_PREDICT.decode(&call).unwrap().framing, Framing::Sse);
    }

    #[test]
    fn tokens_are_estimated_where_no_fixture_counts_them() {
        let body = r#"{"model":"m","system":"12345678","messages":[{"role":"user","content":"1234"}]}"#;
        with_request("/v1/messages/count_tokens", body, |codec, request| {
            let headers = HeaderMap::new();
            let head = Head { method: "POST", path: "/v1/messages/count_tokens", query: "", headers: &headers };
            let call = Call { head, params: Vec::new(), body: body.as_bytes() };
            assert_eq!(request.kind, Kind::Raw);
            assert_eq!(codec.without_fixture(&call, request, &[]), Some(json!({"input_tokens": 3})));
        });
    }
}
