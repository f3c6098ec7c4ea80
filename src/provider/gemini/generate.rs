//! `generateContent` and `streamGenerateContent`: the same answer, at once or in chunks of the same shape.
//! <https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse>

use super::{FINISH, USAGE, WIRE, answer, collapse, plain_text, read, request};
use crate::frame::{Frames, Framing};
use crate::json::Node;
use crate::provider::{
    AnswerHead, BadRequest, Call, Carries, ChatWire, Codec, Collapse, Encoding, FinishWords, Places, Results, Shape,
    UsageShape,
};
use crate::reply::Reply;
use crate::request::{Kind, Request};
use std::borrow::Cow;

/// The wire of `:generateContent`.
pub(in crate::provider) static GENERATE: Generate = Generate { streamed: false };

/// The wire of `:streamGenerateContent`.
pub(in crate::provider) static STREAM: Generate = Generate { streamed: true };

/// Thought signatures are what is asked: Google refuses a history without them.
static PLACES: Places = Places {
    ids: &["/contents/*/parts/*/functionCall/id", "/contents/*/parts/*/functionResponse/id"],
    json: &[],
    plain: &["/contents/*", "/contents/*/parts/*", "/contents/*/parts/*/functionCall"],
    unseen: &[],
    results: Some(Results { list: "/contents/*/parts", call: "/functionResponse/id", beside: "functionResponse" }),
};

/// The wire of both verbs.
#[derive(Debug)]
pub(in crate::provider) struct Generate {
    streamed: bool,
}

impl Codec for Generate {
    fn wire(&self) -> &'static str {
        WIRE
    }

    fn shape(&self) -> Shape<'_> {
        Shape::Chat(self)
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        let mut request = request::decode(Kind::Chat, call)?;
        if self.streamed {
            request.framing = stream_framing(call);
        }
        Ok(request)
    }

    fn identity(&self) -> &'static Places {
        &PLACES
    }

    fn one_form(&self, body: &mut Node<'_>) {
        if let Some(contents) = body.get_mut("contents") {
            one_form(contents);
        }
    }
}

impl ChatWire for Generate {
    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        Box::new(collapse::Collapser::new(answer))
    }

    fn read(&self, native: &Node<'_>) -> Reply {
        read::read(native)
    }

    fn write<'r>(&self, reply: &'r Reply, to: &Encoding<'r>) -> Node<'r> {
        answer::write(reply, to)
    }

    fn stream(&self, native: &Node<'_>, to: &Encoding<'_>) -> Frames {
        answer::stream(native, to)
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[] // a stream ends with its body
    }

    fn carries(&self) -> Carries {
        Carries { redacted: false, refusal: false, ..Carries::ALL }
    }

    fn finish_words(&self) -> Option<&'static FinishWords> {
        Some(&FINISH)
    }

    fn usage_shape(&self) -> Option<&'static UsageShape> {
        Some(&USAGE)
    }
}

/// `alt=sse` asks for server-sent events; without it a stream is a JSON array. `$alt` is the same parameter.
/// <https://cloud.google.com/apis/docs/system-parameters>
fn stream_framing(call: &Call<'_>) -> Framing {
    let sse = ["alt", "$alt", "%24alt"].iter().any(|name| call.head.query_value(name) == Some("sse"));
    if sse { Framing::Sse } else { Framing::JsonArray }
}

// --------------------------------------------------------------------------------------------------------- identity

/// The members of a part, as clients of the older kind write them.
const SNAKE_CASE: [(&str, &str); 7] = [
    ("function_call", "functionCall"),
    ("function_response", "functionResponse"),
    ("thought_signature", "thoughtSignature"),
    ("inline_data", "inlineData"),
    ("file_data", "fileData"),
    ("executable_code", "executableCode"),
    ("code_execution_result", "codeExecutionResult"),
];

/// Brings a conversation into one form: Google takes one value where a list is due, and the SDKs' chats keep each chunk
/// of a streamed answer as a content of its own. The model's contents in a row are one turn, put together as its stream is.
fn one_form(contents: &mut Node<'_>) {
    listed(contents);
    let Node::List(contents) = contents else { return };
    let mut turns: Vec<Node<'_>> = Vec::with_capacity(contents.len());
    for mut content in contents.drain(..) {
        if let Some(parts) = content.get_mut("parts") {
            listed(parts);
            parts.items_mut().iter_mut().for_each(camel_case);
        }
        match (turns.last_mut().and_then(parts_of_model), parts_of_model(&mut content)) {
            (Some(turn), Some(more)) => turn.append(more),
            _ => turns.push(content),
        }
    }
    turns.iter_mut().filter_map(parts_of_model).for_each(put_together);
    *contents = turns;
}

/// Makes a list of an object that stands for one.
fn listed(node: &mut Node<'_>) {
    if matches!(node, Node::Object(_)) {
        *node = Node::List(vec![std::mem::take(node)]);
    }
}

fn camel_case(part: &mut Node<'_>) {
    let Node::Object(members) = part else { return };
    for (name, _) in members {
        if let Some((_, camel)) = SNAKE_CASE.iter().find(|(snake, _)| snake == name) {
            *name = Cow::Borrowed(camel);
        }
    }
}

fn parts_of_model<'n, 'a>(content: &'n mut Node<'a>) -> Option<&'n mut Vec<Node<'a>>> {
    if content.str("role") != Some("model") {
        return None;
    }
    let parts = content.entry("parts");
    if matches!(parts, Node::Null) {
        *parts = Node::List(Vec::new());
    }
    if let Node::List(parts) = parts { Some(parts) } else { None }
}

/// Texts that say nothing go. Arguments that cannot be put together leave all as it is.
fn put_together<'a>(parts: &mut Vec<Node<'a>>) {
    let mut joined = collapse::Parts::default();
    let says = |part: &&Node<'a>| plain_text(part).is_none_or(|(text, _)| !text.is_empty());
    for part in parts.iter().filter(says) {
        let mut part = part.clone();
        if plain_text(&part).is_some_and(|(_, thought)| !thought) {
            part.remove("thought");
        }
        if joined.add(part, |part| part).is_err() {
            return;
        }
    }
    *parts = joined.finish();
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::{Outcome, carried, hash, indifferent, round_trip, with_request};
    use super::*;
    use crate::reply::{Part, ToolCall};

    const ASK: &str = r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#;
    const PATHS: [&str; 3] = [
        "/v1beta/models/g:generateContent",
        "/v1beta/models/g:streamGenerateContent?alt=sse",
        "/v1beta/models/g:streamGenerateContent",
    ];

    /// Whole and in both framings.
    #[track_caller]
    fn trips(reply: &Reply) -> Vec<Reply> {
        let mut back = Vec::new();
        for path in PATHS {
            with_request(path, ASK, |codec, request| {
                let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
                back.push(whole.turn());
                if request.streamed() {
                    back.push(streamed.turn());
                }
            });
        }
        back
    }

    fn rich() -> Reply {
        let some = |s: &str| Some(s.to_owned());
        let text = |text: &str, signature| Part::Text { text: text.into(), signature };
        let thought = |text: &str, signature| Part::Reasoning { text: text.into(), signature };
        let call = |id: Option<&str>, arguments: &str, signature| {
            let id = id.map(str::to_owned);
            Part::ToolCall(ToolCall { id, name: "f".into(), arguments: arguments.into(), signature, custom: false })
        };
        Reply {
            parts: vec![
                thought("hmm, let me see 🤔", some("t1")),
                thought("again", None),
                thought("and signed", some("t2")),
                text("long text é🌍日 in pieces", some("s1")),
                text("", some("s2")),
                text("plain", None),
                text("signed right after plain", some("s3")),
                call(Some("c1"), r#"{"a":[1,{"b":"é"}],"c":1.50}"#, some("s4")),
                call(None, "{}", None),
                thought("", some("t3")),
                text("the end", None),
            ],
            finish: some("tool_calls"),
            usage: serde_json::from_str(
                r#"{"promptTokenCount":1,"candidatesTokenCount":2,"thoughtsTokenCount":4,"totalTokenCount":7,"trafficType":"ON_DEMAND"}"#,
            )
            .ok(),
            id: some("r-1"),
            model: some("gemini-2.5-flash-001"),
            ..Reply::default()
        }
    }

    #[test]
    fn everything_comes_back_in_order() {
        let reply = rich();
        for back in trips(&reply) {
            assert_eq!(back, carried(&reply, &ChatWire::carries(&GENERATE)));
        }
    }

    #[test]
    fn arguments_that_are_no_object_are_kept_inside_one() {
        for (arguments, sent) in [
            ("", "{}"),
            ("{\n  \"a\": 1\n}", "{\"a\":1}"),
            ("{\"a\":", r#"{"_raw":"{\"a\":"}"#),
            ("[1]", r#"{"_raw":"[1]"}"#),
        ] {
            for back in trips(&Reply::tool_call("f", arguments)) {
                assert_eq!(back.tool_calls().next().unwrap().arguments, sent);
                assert_eq!(back.finish.as_deref(), Some("tool_calls"));
            }
        }
    }

    #[test]
    fn finish_reasons_and_refused_prompts_come_back() {
        for word in ["stop", "length", "content_filter", "RECITATION", "PROHIBITED_CONTENT", "blockReason:OTHER"] {
            let reply = Reply { finish: Some(word.into()), ..Reply::default() };
            assert!(trips(&reply).iter().all(|back| back.finish.as_deref() == Some(word)), "{word}");
        }
        with_request(PATHS[0], ASK, |codec, request| {
            let to = Encoding { request, chunk_chars: 9, now: 0, seed: 0 };
            let reply = Reply { finish: Some("blockReason:SAFETY".into()), ..Reply::default() };
            let body: serde_json::Value = serde_json::from_slice(&codec.encode_whole(&reply.into(), &to)).unwrap();
            assert_eq!((&body["promptFeedback"]["blockReason"], body.get("candidates")), (&"SAFETY".into(), None));
        });
    }

    #[test]
    fn text_is_cut_on_characters_and_the_last_chunk_finishes() {
        with_request(PATHS[1], ASK, |codec, request| {
            let to = Encoding { request, chunk_chars: 2, now: 0, seed: 0 };
            let frames = codec.encode_stream(&Reply::text("héllo🌍").into(), &to);
            let frames: Vec<_> = frames.iter().map(|f| String::from_utf8_lossy(f).into_owned()).collect();
            assert_eq!(frames.len(), 3);
            assert!(frames[0].starts_with("data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hé\"}]"));
            let finishing = |f: &String| f.contains("\"finishReason\":\"STOP\"") && f.contains("usageMetadata");
            assert_eq!(frames.iter().map(finishing).collect::<Vec<_>>(), [false, false, true]);
        });
        let whole = trips(&Reply::default());
        assert!(whole.iter().all(|back| back.parts.is_empty() && back.finish.as_deref() == Some("stop")));
    }

    #[test]
    fn an_answer_of_another_wire_is_translated() {
        let reply = Reply {
            refusal: Some("I cannot help.".into()),
            finish: Some("function_call".into()),
            usage: serde_json::from_str(
                r#"{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8,"completion_tokens_details":{"reasoning_tokens":2}}"#,
            )
            .ok(),
            ..Reply::default()
        };
        for back in trips(&reply) {
            assert_eq!((back.content().as_str(), back.finish.as_deref()), ("I cannot help.", Some("stop")));
            let usage = serde_json::to_value(back.usage).unwrap();
            let sent = r#"{"promptTokenCount":3,"candidatesTokenCount":3,"totalTokenCount":8,"thoughtsTokenCount":2}"#;
            assert_eq!(usage, serde_json::from_str::<serde_json::Value>(sent).unwrap());
        }
    }

    #[test]
    fn what_files_of_earlier_versions_keep_of_this_wire_is_written() {
        let own = |json: serde_json::Value| Part::verbatim(WIRE, &json);
        let reply = Reply {
            parts: vec![
                own(serde_json::json!({"executableCode": {"code": "1"}})),
                Part::text("one"),
                own(serde_json::json!({"groundingMetadata": {"webSearchQueries": ["q"]}, "finishMessage": "m"})),
            ],
            ..Reply::default()
        };
        with_request(PATHS[0], ASK, |codec, request| {
            let to = Encoding { request, chunk_chars: 9, now: 0, seed: 0 };
            let body = String::from_utf8(codec.encode_whole(&reply.into(), &to)).unwrap();
            let written = r#"{"candidates":[{"content":{"parts":[{"executableCode":{"code":"1"}},{"text":"one"}],"role":"model"},"finishReason":"STOP","index":0,"groundingMetadata":{"webSearchQueries":["q"]},"finishMessage":"m"}],"#;
            assert!(body.starts_with(written), "{body}");
        });
    }

    #[test]
    fn a_body_cut_anywhere_is_no_answer() {
        for path in &PATHS[1..] {
            with_request(path, ASK, |codec, request| {
                let to = Encoding { request, chunk_chars: 9, now: 0, seed: 0 };
                let frames = codec.encode_stream(&rich().into(), &to);
                let before_last = frames.ends[frames.ends.len() - 2];
                for cut in 0..before_last {
                    let outcome = super::super::super::laws::collapse(codec, request.framing, [&frames.bytes[..cut]]);
                    assert!(!matches!(outcome, Outcome::Whole(_)), "{path} cut at {cut}");
                }
            });
        }
    }

    fn joined(contents: &str) -> String {
        let mut contents = Node::parse(contents).unwrap();
        one_form(&mut contents);
        contents.to_json()
    }

    #[test]
    fn a_streamed_turn_looks_as_a_whole_one() {
        let whole = r#"[{"role":"user","parts":[{"text":"a"},{"text":"b"}]},{"role":"model","parts":[{"text":"think","thought":true},{"text":"Hello"},{"functionCall":{"name":"f"},"thoughtSignature":"s"}]},{"role":"user","parts":[{"functionResponse":{"name":"f"}}]},{"role":"user","parts":[{"text":"c"}]}]"#;
        let streamed = r#"[{"role":"user","parts":[{"text":"a"},{"text":"b"}]},{"role":"model","parts":[{"text":"thi","thought":true}]},{"role":"model","parts":[{"text":"nk","thought":true}]},{"role":"model","parts":[{"text":"He","thought":false},{"text":"llo"}]},{"role":"model","parts":{"function_call":{"name":"f"},"thought_signature":"s"}},{"role":"model","parts":[{"text":""}]},{"role":"user","parts":[{"functionResponse":{"name":"f"}}]},{"role":"user","parts":{"text":"c"}}]"#;
        assert_eq!(joined(streamed), whole);
        assert_eq!(joined(whole), whole);
    }

    #[test]
    fn signed_text_and_what_is_no_list_stay_as_they_are() {
        for same in [
            r#"[{"role":"model","parts":[{"text":"a"},{"text":"","thoughtSignature":"s"},{"text":"b"}]}]"#,
            r#"[{"role":"model","parts":"a"},{"role":"model","parts":[]},"text",1]"#,
            r#"[{"role":"user","parts":[{"text":"a"},{"text":"b"},{"text":""}]}]"#,
            r#""text""#,
        ] {
            assert_eq!(joined(same), same);
        }
    }

    fn node(json: &str) -> Node<'_> {
        Node::parse(json).unwrap()
    }

    /// A request with this history.
    fn asked(turns: &str) -> String {
        format!(
            r#"{{"contents":[{{"role":"user","parts":[{{"text":"hi"}}]}},{turns},{{"role":"user","parts":[{{"text":"go on"}}]}}]}}"#
        )
    }

    #[test]
    fn whatever_a_model_sees_is_what_is_asked() {
        let body = r#"{"systemInstruction":{"parts":[{"text":"be brief"}]},"contents":[
            {"role":"user","parts":[{"text":"hi"},{"inlineData":{"mimeType":"image/png","data":"aa"}}]},
            {"role":"model","parts":[{"text":"hm","thought":true},{"text":"a","thoughtSignature":"s1"},{"text":"","thoughtSignature":"s2"},
                {"functionCall":{"id":"c1","name":"f","args":{"id":"42","name":"Bob","args":{"id":"1"}}},"thoughtSignature":"s3"},
                {"functionCall":{"id":"c2","name":"f"}},{"executableCode":{"id":"e1","code":"1"}}]},
            {"role":"user","parts":[{"functionResponse":{"id":"c1","name":"f","response":{"id":"42","name":"Bob","response":{"id":"1"}}}},
                {"functionResponse":{"id":"c2","name":"f","response":{"n":false}}}]}],
            "tools":[{"functionDeclarations":[{"name":"f","parameters":{"properties":{"id":{"type":"STRING"}}}}]}],
            "generationConfig":{"temperature":0.5,"seed":123456789012345678901}}"#;
        assert_eq!(indifferent(PATHS[0], body), Vec::<String>::new());
    }

    #[test]
    fn an_answer_is_one_however_it_is_echoed() {
        let call = r#"{"functionCall":{"id":"x","name":"f","args":{"a":1}},"thoughtSignature":"s"}"#;
        let whole =
            asked(&format!(r#"{{"role":"model","parts":[{{"text":"hm","thought":true}},{{"text":"ab"}},{call}]}}"#));
        let one = hash(PATHS[0], &node(&whole));
        for turns in [
            // A content for each chunk, as the SDKs' chats keep them.
            format!(r#"{{"role":"model","parts":[{{"text":"h","thought":true}}]}},{{"role":"model","parts":[{{"text":"m","thought":true}},{{"text":"a"}}]}},{{"parts":[{{"text":"b"}}],"role":"model"}},{{"role":"model","parts":[{call}]}},{{"role":"model","parts":[{{"text":""}}]}}"#),
            // Arguments in the pieces in which they came, and a chunk without parts.
            r#"{"role":"model","parts":[{"text":"hm","thought":true},{"text":"ab"}]},{"role":"model","parts":[{"functionCall":{"id":"x","name":"f","willContinue":true},"thoughtSignature":"s"}]},{"role":"model","parts":[{"functionCall":{"partialArgs":[{"jsonPath":"$.a","numberValue":1}],"willContinue":true}}]},{"role":"model","parts":[{"functionCall":{}}]},{"role":"model"}"#.to_owned(),
            r#"{"role":"model","parts":[{"text":"hm","thought":true},{"text":"ab","thought":null,"inlineData":null},{"function_call":{"name":"f","id":"y","args":{"a":1.0}},"thought_signature":"s"}]}"#.to_owned(),
        ] {
            assert_eq!(hash(PATHS[1], &node(&asked(&turns))), one, "{turns}");
        }
        let unsigned = whole.replace(r#","thoughtSignature":"s""#, "");
        assert_ne!(hash(PATHS[0], &node(&unsigned)), one);
    }

    #[test]
    fn results_are_in_the_order_of_their_calls() {
        let turns = |first: &str, second: &str| {
            let calls = r#"{"functionCall":{"id":"a","name":"f"}},{"functionCall":{"id":"b","name":"f"}}"#;
            let result =
                |id: &str| format!(r#"{{"functionResponse":{{"id":"{id}","name":"f","response":{{"of":"{id}"}}}}}}"#);
            asked(&format!(
                r#"{{"role":"model","parts":[{calls}]}},{{"role":"user","parts":[{},{}]}}"#,
                result(first),
                result(second)
            ))
        };
        assert_eq!(hash(PATHS[0], &node(&turns("a", "b"))), hash(PATHS[0], &node(&turns("b", "a"))));
    }
}
