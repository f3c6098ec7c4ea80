//! Every form of response, through the server, on every wire: what a client puts together of it, and its own words in it.

mod common;

use aimock::Reply;
use aimock::frame::{Decoder, Framing, Status};
use aimock::provider::{self, AnswerHead, Codec, Head, Progress};
use aimock::reply::{Answer, Part};
use common::chat::{Got, ask_at};
use common::server::{Folder, Server, serve};
use common::{RawClient, header};
use hyper::HeaderMap;
use serde_json::{Value, json};

/// A chat endpoint: where it is asked for a whole answer and for a stream, and what.
#[derive(Clone, Copy, Debug)]
struct Wire {
    name: &'static str,
    whole: &'static str,
    streamed: &'static str,
    body: fn(&str) -> Value,
}

fn chat(text: &str) -> Value {
    json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": text}]})
}

fn gemini(text: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})
}

fn bedrock(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": [{"text": text}]}]})
}

fn anthropic(text: &str) -> Value {
    let messages = json!([{"role": "user", "content": text}]);
    json!({"anthropic_version": "2023", "max_tokens": 9, "messages": messages})
}

const fn wire(name: &'static str, path: &'static str, body: fn(&str) -> Value) -> Wire {
    Wire { name, whole: path, streamed: path, body }
}

const WIRES: [Wire; 13] = [
    wire("chat", "/v1/chat/completions", chat),
    wire("azure", "/openai/deployments/d/chat/completions?api-version=1", chat),
    wire("responses", "/v1/responses", |text| json!({"model": "m", "input": text})),
    wire("anthropic", "/v1/messages", chat),
    Wire {
        name: "gemini",
        whole: "/v1beta/models/m:generateContent",
        streamed: "/v1beta/models/m:streamGenerateContent?alt=sse",
        body: gemini,
    },
    Wire {
        name: "gemini array",
        whole: "/v1beta/models/m:generateContent",
        streamed: "/v1beta/models/m:streamGenerateContent",
        body: gemini,
    },
    Wire {
        name: "vertex anthropic",
        whole: "/v1/projects/p/locations/l/publishers/anthropic/models/m:rawPredict",
        streamed: "/v1/projects/p/locations/l/publishers/anthropic/models/m:streamRawPredict",
        body: anthropic,
    },
    Wire { name: "converse", whole: "/model/m/converse", streamed: "/model/m/converse-stream", body: bedrock },
    Wire {
        name: "invoke",
        whole: "/model/anthropic.m/invoke",
        streamed: "/model/anthropic.m/invoke-with-response-stream",
        body: anthropic,
    },
    wire("ollama chat", "/api/chat", chat),
    wire("ollama generate", "/api/generate", |text| json!({"model": "m", "prompt": text})),
    wire("cohere v2", "/v2/chat", chat),
    wire("cohere v1", "/v1/chat", |text| json!({"model": "m", "message": text})),
];

impl Wire {
    fn of(name: &str) -> Wire {
        WIRES.into_iter().find(|w| w.name == name).expect("a wire of this name")
    }

    fn codec(&self) -> &'static dyn Codec {
        let (headers, path) = (HeaderMap::new(), self.whole.split('?').next().unwrap_or_default());
        provider::route(&Head { method: "POST", path, query: "", headers: &headers }).codec
    }

    fn body(&self, text: &str, stream: bool) -> String {
        let mut body = (self.body)(text);
        if self.whole == self.streamed {
            body["stream"] = stream.into();
        }
        body.to_string()
    }

    async fn ask(&self, server: &Server, text: &str) -> Got {
        ask_at(server.address(), self.whole, "", self.body(text, false)).await
    }

    /// The turn that a client puts together of the answer.
    async fn turn(&self, server: &Server, text: &str, stream: bool) -> Reply {
        let mut client = RawClient::connect(server.address()).await;
        client.post(if stream { self.streamed } else { self.whole }, "", self.body(text, stream)).await;
        let (head, body) = client.read_answer().await;
        assert!(head.starts_with("HTTP/1.1 200"), "{} {text}: {head}", self.name);
        let content_type = header(&head, "content-type").unwrap_or_default();
        let framing = match (stream, content_type) {
            (false, _) => Framing::Whole,
            (true, "text/event-stream") => Framing::Sse,
            (true, "application/x-ndjson") => Framing::Ndjson,
            (true, "application/vnd.amazon.eventstream") => Framing::EventStream,
            (true, _) => Framing::JsonArray,
        };
        put_together(self.codec(), framing, &body)
    }
}

fn put_together(codec: &dyn Codec, framing: Framing, body: &[u8]) -> Reply {
    let mut decoder = Decoder::new(framing);
    let mut collapser = codec.collapser(&AnswerHead { framing, status: 200, content_type: framing.content_type() });
    let mut progress = Progress::More;
    let mut rest = body;
    while let Status::Frame { frame, used } = decoder.next(rest).expect("frames") {
        progress = collapser.push(&frame).expect("a good frame");
        rest = &rest[used..];
    }
    if let Some(frame) = decoder.end().expect("a whole body") {
        progress = collapser.push(&frame).expect("a good frame");
    }
    assert_ne!(progress, Progress::More, "{}", String::from_utf8_lossy(body));
    let Ok(Answer::Turn(reply)) = collapser.finish().answer(codec) else { unreachable!("a chat answers with a turn") };
    reply
}

/// A server with one rule for each name: the message that names it gets the response.
fn server(responses: &[(&str, Value)]) -> (Folder, Server) {
    let folder = Folder::new();
    let rule = |(name, response): &(&str, Value)| json!({"match": {"userMessage": name}, "response": response});
    let fixtures: Vec<Value> = responses.iter().map(rule).collect();
    folder.write("rules.json", json!({"fixtures": fixtures}).to_string());
    let server = serve(&folder, |config| config.chunk_chars = 4);
    (folder, server)
}

/// Text, reasoning, and the calls' names and arguments.
fn seen(turn: &Reply) -> (String, String, Vec<(String, String)>) {
    let calls = turn.tool_calls().map(|c| (c.name.clone(), c.arguments.clone()));
    (turn.content(), turn.reasoning(), calls.collect())
}

// ------------------------------------------------------------------------------------------------ turns

#[tokio::test]
async fn every_form_of_a_turn_on_every_wire() {
    let nested = json!({"city": "Zürich", "days": [1, 2, {"unit": "°C"}]});
    let weather = json!({"name": "weather", "arguments": nested});
    let time = json!({"name": "time", "arguments": "{\"zone\":\"CET\"}", "id": "call_own"});
    let call = |name: &str, arguments: &str| (name.to_owned(), arguments.to_owned());
    let (weather_call, time_call) = (call("weather", &nested.to_string()), call("time", r#"{"zone":"CET"}"#));
    let block = |mut call: Value| {
        call["type"] = "toolCall".into();
        call
    };
    let said = |text: &str| json!({"type": "text", "text": text});
    let forms = [
        ("a text", json!({"content": "héllo 🌍\nworld"}), "héllo 🌍\nworld", "", vec![]),
        ("an object", json!({"content": {"b": 1, "a": [true, null]}}), r#"{"b":1,"a":[true,null]}"#, "", vec![]),
        ("a list", json!({"content": [1, "two"]}), r#"[1,"two"]"#, "", vec![]),
        ("one call", json!({"toolCalls": [weather]}), "", "", vec![weather_call.clone()]),
        ("two calls", json!({"toolCalls": [weather, time]}), "", "", vec![weather_call.clone(), time_call.clone()]),
        ("a call of nothing", json!({"toolCalls": [{"name": "now"}]}), "", "", vec![call("now", "{}")]),
        ("text and call", json!({"content": "so:", "toolCalls": [time]}), "so:", "", vec![time_call.clone()]),
        ("blocks", json!({"blocks": [block(time.clone()), said("after")]}), "after", "", vec![time_call.clone()]),
        (
            "blocks beside content",
            json!({"content": "ab", "toolCalls": [time], "blocks": [said("a"), block(time.clone()), said("b")]}),
            "ab",
            "",
            vec![time_call],
        ),
        ("thoughts", json!({"content": "hi", "reasoning": "hm, let me see"}), "hi", "hm, let me see", vec![]),
        (
            "signed thoughts",
            json!({"content": "hi", "reasoning": "hm", "reasoningSignature": "c2ln", "redactedThinking": ["b3Bh"]}),
            "hi",
            "hm",
            vec![],
        ),
        (
            "thoughts in blocks",
            json!({"blocks": [{"type": "reasoning", "text": "hm"}, {"type": "redactedReasoning", "data": "b3Bh"}, said("hi")]}),
            "hi",
            "hm",
            vec![],
        ),
    ];
    let responses: Vec<(&str, Value)> = forms.iter().map(|(name, response, ..)| (*name, response.clone())).collect();
    // The last that contains the name comes first.
    let (_folder, server) = server(&responses.into_iter().rev().collect::<Vec<_>>());
    for (name, _, text, reasoning, calls) in &forms {
        for wire in WIRES {
            let carries = wire.codec().carries();
            let reasoning = if carries.reasoning { *reasoning } else { "" };
            let calls = if carries.tool_calls { calls.clone() } else { Vec::new() };
            for stream in [false, true] {
                let turn = wire.turn(&server, name, stream).await;
                let want = ((*text).to_owned(), reasoning.to_owned(), calls.clone());
                assert_eq!(seen(&turn), want, "{name} on {} (stream: {stream})", wire.name);
            }
        }
    }
}

#[tokio::test]
async fn blocks_keep_their_order_where_the_wire_has_one() {
    let call = json!({"type": "toolCall", "name": "f", "arguments": {}});
    let text = |text: &str| json!({"type": "text", "text": text});
    let (_folder, server) = server(&[("blocks", json!({"blocks": [text("a"), call, text("b")]}))]);
    for wire in WIRES.into_iter().filter(|w| w.codec().carries().order) {
        for stream in [false, true] {
            let turn = wire.turn(&server, "blocks", stream).await;
            let order: Vec<&str> =
                turn.parts.iter().map(|p| if let Part::Text { text, .. } = p { text } else { "()" }).collect();
            assert_eq!(order, ["a", "()", "b"], "{} (stream: {stream})", wire.name);
        }
    }
}

#[tokio::test]
async fn signatures_and_redacted_thoughts_where_the_wire_has_them() {
    let response =
        json!({"content": "hi", "reasoning": "hm", "reasoningSignature": "c2ln", "redactedThinking": ["opaque!"]});
    let (_folder, server) = server(&[("thoughts", response)]);
    for wire in WIRES {
        let carries = wire.codec().carries();
        for stream in [false, true] {
            let turn = wire.turn(&server, "thoughts", stream).await;
            let signature = turn.parts.iter().find_map(|p| match p {
                Part::Reasoning { signature, .. } => signature.as_deref(),
                _ => None,
            });
            assert_eq!(signature, carries.signatures.then_some("c2ln"), "{} (stream: {stream})", wire.name);
            let redacted = turn.parts.contains(&Part::RedactedReasoning("opaque!".into()));
            assert_eq!(redacted, carries.redacted, "{} (stream: {stream})", wire.name);
        }
    }
}

#[tokio::test]
async fn overrides() {
    let response = json!({"content": "hi", "id": "id-7", "model": "model-7", "created": 1_700_000_007, "role": "critic",
        "systemFingerprint": "fp_7", "refusal": "no"});
    let (_folder, server) = server(&[("all", response)]);
    for (name, pointer, want) in [
        ("chat", "/id", json!("id-7")),
        ("chat", "/model", json!("model-7")),
        ("chat", "/created", json!(1_700_000_007)),
        ("chat", "/system_fingerprint", json!("fp_7")),
        ("chat", "/choices/0/message/role", json!("critic")),
        ("chat", "/choices/0/message/refusal", json!("no")),
        ("responses", "/id", json!("id-7")),
        ("responses", "/model", json!("model-7")),
        ("responses", "/created_at", json!(1_700_000_007)),
        ("anthropic", "/id", json!("id-7")),
        ("anthropic", "/model", json!("model-7")),
        ("gemini", "/responseId", json!("id-7")),
        ("gemini", "/modelVersion", json!("model-7")),
        ("ollama chat", "/model", json!("model-7")),
        ("ollama chat", "/created_at", json!("2023-11-14T22:13:27Z")),
        ("cohere v2", "/id", json!("id-7")),
    ] {
        let got = Wire::of(name).ask(&server, "all").await.json();
        assert_eq!(got.pointer(pointer), Some(&want), "{name} {pointer}: {got}");
    }
}

// ------------------------------------------------------------------------------------------------ words and counts

/// Where each wire says why the model stopped.
fn finish(wire: &str) -> &'static str {
    match wire {
        "chat" | "azure" => "/choices/0/finish_reason",
        "responses" => "/status",
        "gemini" => "/candidates/0/finishReason",
        "converse" => "/stopReason",
        "ollama chat" | "ollama generate" => "/done_reason",
        "cohere v2" | "cohere v1" => "/finish_reason",
        _ => "/stop_reason",
    }
}

#[tokio::test]
async fn finish_reasons_in_each_provider_s_words() {
    let words = [
        "stop",
        "length",
        "tool_calls",
        "content_filter",
        "function_call",
        "SAFETY",
        "RECITATION",
        "pause_turn",
        "max_tokens",
        "guardrail_intervened",
        "ERROR_LIMIT",
    ];
    let responses = words.map(|word| {
        let call = if word.contains("call") { json!([{"name": "f"}]) } else { json!([]) };
        (word, json!({"content": "hi", "toolCalls": call, "finishReason": word}))
    });
    let (_folder, server) = server(&responses);
    for (wire, said) in [
        (
            "chat",
            "stop length tool_calls content_filter function_call content_filter content_filter stop length content_filter length",
        ),
        (
            "responses",
            "completed incomplete completed incomplete completed incomplete incomplete completed incomplete incomplete incomplete",
        ),
        (
            "anthropic",
            "end_turn max_tokens tool_use refusal tool_use refusal refusal pause_turn max_tokens refusal max_tokens",
        ),
        (
            "vertex anthropic",
            "end_turn max_tokens tool_use refusal tool_use refusal refusal pause_turn max_tokens refusal max_tokens",
        ),
        (
            "invoke",
            "end_turn max_tokens tool_use refusal tool_use refusal refusal pause_turn max_tokens refusal max_tokens",
        ),
        ("gemini", "STOP MAX_TOKENS STOP SAFETY STOP SAFETY RECITATION STOP MAX_TOKENS SAFETY MAX_TOKENS"),
        (
            "converse",
            "end_turn max_tokens tool_use content_filtered tool_use content_filtered content_filtered end_turn max_tokens guardrail_intervened max_tokens",
        ),
        ("ollama chat", "stop length stop stop stop stop stop stop length stop length"),
        (
            "cohere v2",
            "COMPLETE MAX_TOKENS TOOL_CALL COMPLETE TOOL_CALL COMPLETE COMPLETE COMPLETE MAX_TOKENS COMPLETE ERROR_LIMIT",
        ),
        (
            "cohere v1",
            "COMPLETE MAX_TOKENS COMPLETE COMPLETE COMPLETE COMPLETE COMPLETE COMPLETE MAX_TOKENS COMPLETE ERROR_LIMIT",
        ),
    ] {
        let mut got = Vec::new();
        for word in words {
            let answer = Wire::of(wire).ask(&server, word).await.json();
            got.push(answer.pointer(finish(wire)).and_then(Value::as_str).unwrap_or("none").to_owned());
        }
        assert_eq!(got.join(" "), said, "{wire}");
    }
    let incomplete = Wire::of("responses").ask(&server, "length").await.json();
    assert_eq!(incomplete["incomplete_details"], json!({"reason": "max_output_tokens"}));
}

/// Where each wire counts tokens.
fn usage(wire: &str, answer: &Value) -> Value {
    let pointer = match wire {
        "gemini" => "/usageMetadata",
        "cohere v1" => "/meta",
        "ollama chat" => "",
        _ => "/usage",
    };
    answer.pointer(pointer).cloned().unwrap_or_default()
}

#[tokio::test]
async fn token_counts_in_each_provider_s_names() {
    let of_openai = json!({"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21,
        "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 3}});
    let of_anthropic = json!({"input_tokens": 8, "cache_read_input_tokens": 4, "output_tokens": 9});
    let of_gemini = json!({"promptTokenCount": 12, "cachedContentTokenCount": 4, "candidatesTokenCount": 6,
        "thoughtsTokenCount": 3, "totalTokenCount": 21});
    let of_bedrock = json!({"inputTokens": 8, "cacheReadInputTokens": 4, "outputTokens": 9, "totalTokens": 21});
    let of_ollama = json!({"prompt_eval_count": 12, "eval_count": 9});
    let of_cohere = json!({"tokens": {"input_tokens": 12, "output_tokens": 9}});
    let (all, no_reasoning, plain) = ("all", "no reasoning", "plain");
    let origins = [
        ("openai", of_openai.clone(), all),
        ("anthropic", of_anthropic, no_reasoning),
        ("gemini", of_gemini.clone(), all),
        ("bedrock", of_bedrock, no_reasoning),
        ("ollama", of_ollama, plain),
        ("cohere", of_cohere, plain),
    ];
    let responses: Vec<(&str, Value)> =
        origins.iter().map(|(name, usage, _)| (*name, json!({"content": "hi", "usage": usage}))).collect();
    let (_folder, server) = server(&responses);
    // What each wire says depends on whether the origin knows of cached tokens and of those spent on reasoning.
    for (origin, _, knows) in &origins {
        let cached = *knows != plain;
        let fresh = if cached { 8 } else { 12 };
        let spoken = if *knows == all { 6 } else { 9 };
        for (wire, counts) in [
            ("chat", vec!["/prompt_tokens 12".into(), "/completion_tokens 9".into(), "/total_tokens 21".into()]),
            ("responses", vec!["/input_tokens 12".into(), "/output_tokens 9".into(), "/total_tokens 21".into()]),
            ("anthropic", vec![format!("/input_tokens {fresh}"), "/output_tokens 9".into()]),
            (
                "gemini",
                vec![
                    "/promptTokenCount 12".into(),
                    format!("/candidatesTokenCount {spoken}"),
                    "/totalTokenCount 21".into(),
                ],
            ),
            ("converse", vec![format!("/inputTokens {fresh}"), "/outputTokens 9".into(), "/totalTokens 21".into()]),
            ("ollama chat", vec!["/prompt_eval_count 12".into(), "/eval_count 9".into()]),
            ("cohere v2", vec!["/tokens/input_tokens 12".into(), "/tokens/output_tokens 9".into()]),
        ] {
            let got = usage(wire, &Wire::of(wire).ask(&server, origin).await.json());
            for count in counts {
                let (pointer, number) = count.split_once(' ').expect("a pointer and a number");
                let have = got.pointer(pointer).map(Value::to_string);
                assert_eq!(have.as_deref(), Some(number), "{origin}'s on {wire}, {pointer}: {got}");
            }
        }
    }
    let own = usage("chat", &Wire::of("chat").ask(&server, "openai").await.json());
    assert_eq!(own, of_openai, "in its own names as it is");
    assert_eq!(usage("gemini", &Wire::of("gemini").ask(&server, "gemini").await.json()), of_gemini);
}

#[tokio::test]
async fn token_counts_are_estimated_where_there_are_none() {
    let (_folder, server) = server(&[("12345678", json!({"content": "123456789"}))]);
    let got = usage("chat", &Wire::of("chat").ask(&server, "12345678").await.json());
    assert_eq!(
        (&got["prompt_tokens"], &got["completion_tokens"], &got["total_tokens"]),
        (&json!(2), &json!(3), &json!(5))
    );
}

// ------------------------------------------------------------------------------------------------ errors

#[tokio::test]
async fn errors_in_each_provider_s_shape() {
    let limited = json!({"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limited"}, "status": 429, "retryAfter": 7});
    let broken = json!({"error": {"message": "oops"}});
    let odd = json!({"error": {"message": "bad", "type": "invalid_request_error", "code": "bad_param", "param": "temperature"}, "status": 400});
    let (_folder, server) = server(&[("limited", limited), ("broken", broken), ("odd", odd)]);
    let google = |code: u16, message: &str, status: &str| json!({"code": code, "message": message, "status": status});
    for (wire, pointer, limited, broken) in [
        (
            "chat",
            "/error",
            json!({"message": "slow down", "type": "rate_limit_error", "param": null, "code": "rate_limited"}),
            json!({"message": "oops", "type": "server_error", "param": null, "code": null}),
        ),
        (
            "anthropic",
            "",
            json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}),
            json!({"type": "error", "error": {"type": "api_error", "message": "oops"}}),
        ),
        (
            "gemini",
            "/error",
            json!({"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED", "details": [
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "rate_limited"},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}]}),
            google(500, "oops", "INTERNAL"),
        ),
        ("converse", "", json!({"message": "slow down"}), json!({"message": "oops"})),
        ("invoke", "", json!({"message": "slow down"}), json!({"message": "oops"})),
        ("ollama chat", "", json!({"error": "slow down"}), json!({"error": "oops"})),
        ("cohere v2", "", json!({"message": "slow down"}), json!({"message": "oops"})),
    ] {
        let wire = Wire::of(wire);
        for (message, status, want) in [("limited", 429, limited), ("broken", 500, broken)] {
            let got = wire.ask(&server, message).await;
            assert_eq!((got.status(), got.json().pointer(pointer)), (status, Some(&want)), "{} {message}", wire.name);
            assert_eq!(got.header("retry-after"), if status == 429 { "7" } else { "" }, "{} {message}", wire.name);
        }
        let streamed = ask_at(server.address(), wire.streamed, "", wire.body("limited", true)).await;
        assert_eq!((streamed.status(), streamed.header("content-type")), (429, "application/json"), "{}", wire.name);
    }
    for (message, exception) in
        [("limited", "ThrottlingException"), ("broken", "InternalServerException"), ("odd", "ValidationException")]
    {
        assert_eq!(Wire::of("converse").ask(&server, message).await.header("x-amzn-errortype"), exception);
    }
    let odd = Wire::of("chat").ask(&server, "odd").await.json();
    assert_eq!(
        odd["error"],
        json!({"message": "bad", "type": "invalid_request_error", "param": "temperature", "code": "bad_param"})
    );
}

#[tokio::test]
async fn a_rate_limit_says_what_is_left() {
    let limited = json!({"error": {"message": "slow down"}, "status": 429, "retryAfter": 7});
    let (_folder, server) = server(&[("limited", limited), ("broken", json!({"error": {"message": "oops"}}))]);
    for (wire, name, value) in [
        ("chat", "x-ratelimit-remaining-requests", "0"),
        ("chat", "x-ratelimit-reset-requests", "7s"),
        ("azure", "x-ratelimit-remaining-requests", "0"),
        ("anthropic", "anthropic-ratelimit-requests-remaining", "0"),
    ] {
        assert_eq!(Wire::of(wire).ask(&server, "limited").await.header(name), value, "{wire} {name}");
        assert_eq!(Wire::of(wire).ask(&server, "broken").await.header(name), "", "{wire} {name}");
    }
}

// ------------------------------------------------------------------------------------------------ other answers

/// Asks for embeddings of these texts; the vectors.
async fn embed(server: &Server, path: &str, body: Value) -> Vec<Vec<f64>> {
    let got = ask_at(server.address(), path, "", body.to_string()).await;
    assert_eq!(got.status(), 200, "{path}: {}", got.body);
    let json = got.json();
    let vector = |v: &Value| v.as_array().expect("a vector").iter().filter_map(Value::as_f64).collect::<Vec<f64>>();
    let each = |list: &Value, pointer: &str| {
        list.as_array().expect("a list").iter().map(|item| vector(item.pointer(pointer).expect("a vector"))).collect()
    };
    match path.rsplit(['/', ':']).next().unwrap_or_default() {
        "embeddings" if path.starts_with("/api/") => vec![vector(&json["embedding"])],
        "embeddings" => each(&json["data"], "/embedding"),
        "embedContent" => vec![vector(&json["embedding"]["values"])],
        "batchEmbedContents" => each(&json["embeddings"], "/values"),
        _ if path == "/v2/embed" => each(&json["embeddings"]["float"], ""),
        _ => each(&json["embeddings"], ""),
    }
}

fn embeddings_of(texts: &[&str]) -> Vec<(&'static str, Value)> {
    let part = |text: &&str| json!({"content": {"parts": [{"text": text}]}});
    let batch: Vec<Value> = texts.iter().map(part).collect();
    let mut asks = vec![
        ("/v1/embeddings", json!({"model": "m", "input": texts, "dimensions": 8})),
        ("/openai/deployments/d/embeddings", json!({"input": texts, "dimensions": 8})),
        ("/api/embed", json!({"model": "m", "input": texts, "dimensions": 8})),
        (
            "/v2/embed",
            json!({"model": "m", "input_type": "x", "texts": texts, "embedding_types": ["float"], "output_dimension": 8}),
        ),
        ("/v1/embed", json!({"model": "m", "texts": texts})),
        ("/v1beta/models/m:batchEmbedContents", json!({"requests": batch})),
    ];
    if let [one] = texts {
        asks.push(("/v1beta/models/m:embedContent", part(one)));
        asks.push(("/api/embeddings", json!({"model": "m", "prompt": one})));
    }
    asks
}

#[tokio::test]
async fn embeddings_on_every_wire() {
    let folder = Folder::new();
    folder.write(
        "e.json",
        r#"{"fixtures":[{"match":{"inputText":"one"},"response":{"embedding":[0.5,-1,0.25]}},
        {"match":{"inputText":"first\nsecond"},"response":{"embeddings":[[1,2],[3,4]]}},
        {"match":{"inputText":"derived"},"response":{"embeddings":[]}}]}"#,
    );
    let server = serve(&folder, |_| {});
    for (path, body) in embeddings_of(&["one"]) {
        assert_eq!(embed(&server, path, body).await, [[0.5, -1.0, 0.25]], "{path}");
    }
    for (path, body) in embeddings_of(&["first", "second"]) {
        assert_eq!(embed(&server, path, body).await, [[1.0, 2.0], [3.0, 4.0]], "{path}");
    }
    for (path, body) in embeddings_of(&["derived"]) {
        let (once, again) = (embed(&server, path, body.clone()).await, embed(&server, path, body).await);
        assert_eq!((once.len(), &once), (1, &again), "{path}: the same text, the same vector");
        let length = once[0].iter().map(|c| c * c).sum::<f64>();
        assert!((length - 1.0).abs() < 1e-3, "{path}: {length}");
    }
    let two = |a: &str, b: &str| json!({"model": "m", "input": [format!("derived {a}"), format!("derived {b}")], "dimensions": 8});
    let vectors = embed(&server, "/v1/embeddings", two("a", "b")).await;
    assert_eq!(vectors.iter().map(Vec::len).collect::<Vec<_>>(), [8, 8]);
    assert_ne!(vectors[0], vectors[1]);
    let swapped = embed(&server, "/v1/embeddings", two("b", "a")).await;
    assert_eq!((&vectors[0], &vectors[1]), (&swapped[1], &swapped[0]), "a vector depends on its text alone");
}

#[tokio::test]
async fn bodies_of_their_own() {
    let folder = Folder::new();
    folder.write(
        "raw.json",
        r#"{"fixtures":[
        {"match":{"endpoint":"raw","path":"/v1/moderations"},"response":{"json":{"results":[{"flagged":false}]}}},
        {"match":{"endpoint":"raw","path":"/v1/audio/speech"},"response":{"bodyBase64":"AAEC/w==","contentType":"audio/mpeg"}},
        {"match":{"endpoint":"raw","path":"/v1/files"},"response":{"json":{"message":"later"},"status":202,"retryAfter":3}},
        {"match":{"userMessage":"own"},"response":{"json":{"choices":[],"made":"by hand"},"status":201}}]}"#,
    );
    let server = serve(&folder, |_| {});
    let post = |path: &'static str| ask_at(server.address(), path, "", "{}");
    let got = post("/v1/moderations").await;
    assert_eq!((got.status(), got.header("content-type")), (200, "application/json"));
    assert_eq!(got.json(), json!({"results": [{"flagged": false}]}));

    let mut client = RawClient::connect(server.address()).await;
    client.post("/v1/audio/speech", "", "{}").await;
    let (head, body) = client.read_answer().await;
    assert_eq!((header(&head, "content-type"), &body[..]), (Some("audio/mpeg"), &[0, 1, 2, 255][..]));

    let got = post("/v1/files").await;
    assert_eq!((got.status(), got.header("retry-after")), (202, "3"));
    let got = Wire::of("chat").ask(&server, "own").await;
    assert_eq!((got.status(), got.json()), (201, json!({"choices": [], "made": "by hand"})));
}
