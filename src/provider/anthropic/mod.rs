//! Anthropic's Messages API, and the same wire where others host it: Azure, Vertex AI (the model in the path) and,
//! inside another framing, Bedrock. <https://docs.anthropic.com/en/api/messages>

mod answer;
mod collapse;
mod read;
mod request;

pub(super) use answer::{events, write};
pub(super) use collapse::Collapser;
pub(super) use read::read;
pub(super) use request::decode_body;

use super::plain::Plain;
use super::{
    AnswerHead, BadRequest, Call, Carries, ChatWire, Codec, Collapse, Credential, Encoding, ErrorBody, FinishWords,
    Head, Places, Provider, Results, Route, Shape, UsageShape,
};
use crate::frame::{Frames, Framing, sse};
use crate::json::Node;
use crate::reply::{ErrorAnswer, Reply};
use crate::request::{Kind, Request};
use serde_json::{Value, json};

/// The row of the table.
pub static PROVIDER: Provider = Provider {
    name: "anthropic",
    title: "Anthropic",
    routes: &[
        Route::post("/**/v1/messages", &MESSAGES),
        Route::post("/**/v1/messages/count_tokens", &COUNT_TOKENS),
        Route { method: "GET", path: "/v1/models", when: is_ours, codec: &MODELS },
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

/// What a request says of caches is no part of it: no model sees it, and clients move it about (with every turn, with
/// each version, by switches that their maker throws).
pub(super) static PLACES: Places = Places {
    ids: &["/messages/*/content/*/id", "/messages/*/content/*/tool_use_id", "/messages/*/content/*/caller/tool_id"],
    json: &[],
    plain: &[
        "/messages/*/content/*",
        "/messages/*/content/*/citations/*",
        "/messages/*/content/*/content",
        "/messages/*/content/*/content/*",
    ],
    unseen: &[
        "/cache_control",
        "/system/*/cache_control",
        "/tools/*/cache_control",
        "/messages/*/content/*/cache_control",
        "/messages/*/content/*/content/*/cache_control",
    ],
    results: Some(Results { list: "/messages/*/content", call: "/tool_use_id", beside: "" }),
};

/// How what a block says comes in a stream.
struct Delta {
    /// The delta's type.
    name: &'static str,
    /// The type of its block.
    of: &'static str,
    /// The members it brings.
    members: &'static [&'static str],
    /// What they are before.
    opens: Node<'static>,
    /// They come piece by piece, else at once.
    in_pieces: bool,
}

const EMPTY: Node<'static> = Node::Text(std::borrow::Cow::Borrowed(""));

/// Those beside the two that any block may have, `input_json_delta` and `citations_delta`.
static DELTAS: [Delta; 4] = [
    Delta { name: "text_delta", of: "text", members: &["text"], opens: EMPTY, in_pieces: true },
    Delta { name: "thinking_delta", of: "thinking", members: &["thinking"], opens: EMPTY, in_pieces: true },
    Delta { name: "signature_delta", of: "thinking", members: &["signature"], opens: EMPTY, in_pieces: false },
    Delta {
        name: "compaction_delta",
        of: "compaction",
        members: &["content", "encrypted_content"],
        opens: Node::Null,
        in_pieces: false,
    },
];

/// Its name.
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

    fn shape(&self) -> Shape<'_> {
        Shape::Chat(self)
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        decode_body(call, call.param("model").cloned(), self.framing)
    }

    fn identity(&self) -> &'static Places {
        &PLACES
    }

    fn error(&self, e: &ErrorAnswer) -> Option<ErrorBody> {
        Some(error(e))
    }
}

impl ChatWire for Messages {
    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        Box::new(Collapser::new(answer.framing))
    }

    fn read(&self, native: &Node<'_>) -> Reply {
        read(native)
    }

    fn write<'r>(&self, reply: &'r Reply, to: &Encoding<'r>) -> Node<'r> {
        write(reply, to)
    }

    fn stream(&self, native: &Node<'_>, to: &Encoding<'_>) -> Frames {
        let mut frames = Frames::default();
        events(native, to.chunk_chars, "", |event, data| frames.push(|out| sse::encode(event, data, out)));
        frames
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[END]
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
}

/// `/v1/messages/count_tokens`: kept verbatim, estimated where there is no fixture.
/// <https://docs.anthropic.com/en/api/messages-count-tokens>
pub(super) static COUNT_TOKENS: Plain = Plain {
    decode: |call| counted(call).map(|_| Request::new(Kind::Raw)),
    error: Some(error),
    ..Plain::new("anthropic-count-tokens", |call, _, _| {
        counted(call).ok().map(|request| json!({"input_tokens": request.estimated_tokens()}))
    })
};

fn counted<'a>(call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
    decode_body(call, call.param("model").cloned(), Some(Framing::Whole))
}

/// `/v1/models`, told from other providers' by its headers: kept verbatim, made up where there is no fixture.
/// <https://docs.anthropic.com/en/api/models-list>
static MODELS: Plain = Plain::new("anthropic-models", |_, _, models| {
    let model =
        |id: &&str| json!({"type": "model", "id": id, "display_name": id, "created_at": "1970-01-01T00:00:00Z"});
    let data: Vec<Value> = models.iter().map(model).collect();
    Some(json!({"data": data, "has_more": false, "first_id": models.first(), "last_id": models.last()}))
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::laws::{hash, indifferent, with_request};
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

    /// With all that clients send, and data that looks like what the wire has places for.
    const RICH: &str = r#"{"model":"m","max_tokens":9,"temperature":1,"cache_control":{"type":"ephemeral"},
        "metadata":{"user_id":"u"},"container":"c","thinking":{"type":"enabled","budget_tokens":1},
        "system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral","ttl":"1h"}}],
        "tools":[{"name":"f","description":"d","cache_control":{"type":"ephemeral"},"input_examples":[{"id":"e","input":{"id":"e"}}],
            "input_schema":{"type":"object","properties":{"id":{"const":"x"},"cache_control":{"const":"y"}}}}],
        "messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"m","data":"AA"}},
                {"type":"document","title":"t","source":{"type":"text","data":"d"},"citations":{"enabled":true}}]},
            {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},
                {"type":"redacted_thinking","data":"AA"},
                {"type":"text","text":"a","citations":[{"type":"char_location","cited_text":"c","document_index":0}]},
                {"type":"server_tool_use","id":"srv1","name":"g","input":{"id":"42","cache_control":"z"}},
                {"type":"web_search_tool_result","tool_use_id":"srv1","content":[{"type":"web_search_result","url":"u","page_age":"1"}]},
                {"type":"tool_use","id":"t1","name":"f","input":{"id":"42","tool_use_id":"t1","content":[{"id":"43"}]},
                    "caller":{"type":"code","tool_id":"srv1"}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","is_error":true,"cache_control":{"type":"ephemeral"},
                "content":[{"type":"text","text":"r","id":"44","cache_control":{"type":"ephemeral"}}]}]}]}"#;

    #[test]
    fn a_request_is_another_one_wherever_a_model_could_see_it() {
        let unseen = [
            "/cache_control/type",
            "/metadata/user_id",
            "/system/0/cache_control/type",
            "/system/0/cache_control/ttl",
            "/tools/0/cache_control/type",
            "/messages/2/content/0/cache_control/type",
            "/messages/2/content/0/content/0/cache_control/type",
        ];
        for path in ["/v1/messages", "/model/anthropic.m/invoke"] {
            let unseen: Vec<&str> = unseen.to_vec();
            assert_eq!(indifferent(path, RICH), unseen, "{path}");
        }
    }

    #[test]
    fn what_clients_send_back_of_an_answer_is_one() {
        let asked = |turn: &str, results: &str| {
            let body = format!(
                r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"hi"}},{{"role":"assistant","content":[{turn}]}},{{"role":"user","content":[{results}]}}]}}"#
            );
            hash("/v1/messages", &Node::parse(&body).expect("JSON"))
        };
        let result =
            |id: &str, text: &str| format!(r#"{{"type":"tool_result","tool_use_id":"{id}","content":"{text}"}}"#);
        let turn = r#"{"type":"text","text":"a","citations":[{"cited_text":"c"}]},{"type":"tool_use","id":"t1","name":"f","input":{"n":1}},{"type":"tool_use","id":"t2","name":"f","input":{}}"#;
        let results = [result("t1", "one"), result("t2", "two")].join(",");
        let one = asked(turn, &results);
        // Dumped with all members of its class, and with numbers of another kind.
        let dumped = r#"{"citations":[{"cited_text":"c","file_id":null}],"type":"text","text":"a","parsed_output":null},{"type":"tool_use","id":"t1","name":"f","caller":null,"input":{"n":1.0}},{"type":"tool_use","id":"t2","name":"f","input":{},"toolset_name":""}"#;
        assert_eq!(asked(dumped, &results), one);
        let renamed = |text: &str| text.replace("t1", "toolu_A").replace("t2", "toolu_0");
        assert_eq!(asked(&renamed(turn), &renamed(&results)), one);
        assert_eq!(asked(turn, &[result("t2", "two"), result("t1", "one")].join(",")), one);
        assert_ne!(asked(turn, &[result("t2", "one"), result("t1", "two")].join(",")), one);
        assert_ne!(asked(&turn.replace("\"n\":1", "\"n\":null"), &results), one);
    }
}
