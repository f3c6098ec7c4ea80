use super::*;
use crate::fixture::file::read_file;
use crate::reply::{Answer, RawBody, Reply};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

const QUESTION: &str = r#"{"model":"gpt-4o-2024-08-06","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
const STREAM: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
    \"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\
    \"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// A folder with these files; removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, String)]) -> Self {
        let path = std::env::temp_dir().join(format!("aimock-convert-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        for (name, text) in files {
            file::save_atomic(&path.join("in").join(name), text.as_bytes()).unwrap();
        }
        Folder(path)
    }

    fn convert(&self, from: Source) -> Done {
        convert(&ConvertArgs { from, paths: vec![self.0.join("in")], out: self.0.join("out") })
    }

    fn answers(&self, name: &str) -> Vec<Answer> {
        read_file(&self.0.join("out").join(name)).fixtures.into_iter().map(|f| f.answer).collect()
    }

    fn problems(&self, done: &Done) -> Vec<String> {
        done.problems.iter().map(|p| p.to_string().replace(&*self.0.to_string_lossy(), "")).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn gzip(text: &str) -> String {
    let deflated = miniz_oxide::deflate::compress_to_vec(text.as_bytes(), 6);
    STANDARD.encode([&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], &deflated[..], &[0; 8]].concat())
}

fn hello() -> Reply {
    Reply {
        finish: Some("stop".into()),
        id: Some("c".into()),
        model: Some("m".into()),
        created: Some(1),
        ..Reply::text("Hello")
    }
}

#[test]
fn a_cassette_of_streams() {
    let interaction = |answer: &str| {
        format!(
            "- request:\n    body: '{QUESTION}'\n    headers:\n      Host:\n      - api.openai.com\n      authorization:\n      - \
             Bearer sk-1\n    method: POST\n    uri: https://api.openai.com/v1/chat/completions\n  response:\n    body:\n      \
             string: {answer}\n    headers:\n      content-encoding:\n      - gzip\n      Content-Type:\n      - \
             text/event-stream; charset=utf-8\n    status:\n      code: 200\n      message: OK\n"
        )
    };
    let packed = interaction(&format!("!!binary |\n        {}", gzip(STREAM)));
    let plain = interaction(&json!(STREAM.replace("Hello", "Bye")).to_string());
    let other = "- request: {body: null, method: GET, uri: https://example.com/x}\n  response: {status: {code: 200}, body: x}\n";
    let cut = interaction(&json!("data: {}\n\n").to_string()).replace("\"hi\"", "\"cut\"");
    let text = format!("interactions:\n{packed}{plain}{other}{cut}version: 1\n");
    let folder =
        Folder::new("vcr", &[("test_a/stream.yaml", text), ("broken.yml", "a: [1".into()), ("n.txt", "".into())]);
    let done = folder.convert(Source::Vcr);
    assert!(done.lines.ends_with("stream.json: 2 fixtures\n2 fixtures in 1 file\n"), "{}", done.lines);
    let problems = folder.problems(&done);
    assert!(problems[0].starts_with("/in/broken.yml: error: expected a cassette in YAML: "), "{problems:?}");
    let skipped = "/in/test_a/stream.yaml: info: interaction 2, GET example.com/x: skipped: no endpoint of a model";
    let unfinished = "/in/test_a/stream.yaml: error: interaction 3, POST api.openai.com/v1/chat/completions: the answer \
                      ended without a terminal event or a finish reason: it was cut";
    assert_eq!(problems[1..], [skipped, unfinished]);

    let fixtures = read_file(&folder.0.join("out/test_a/stream.json")).fixtures;
    let sequence: Vec<_> = fixtures.iter().map(|f| f.matcher.sequence_index).collect();
    assert_eq!(sequence, [Some(0), Some(1)]);
    assert_eq!(fixtures[0].answer, Answer::Turn(hello()));
    assert_eq!(fixtures[0].matcher.user_message.as_deref(), Some("hi"));
    assert_eq!(fixtures[0].matcher.model.as_deref(), Some("gpt-4o"));
    assert!(fixtures[0].recorded() && fixtures[0].metadata.recorded_at.is_none());

    // What is there is not replaced.
    let again = folder.problems(&folder.convert(Source::Vcr));
    assert!(again.last().is_some_and(|p| p.contains("is there already")), "{again:?}");
}

#[test]
fn cassettes_in_other_forms() {
    let whole = r#"{"id":"c","created":1,"model":"m","choices":[{"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}"#;
    let uri = "https://openrouter.ai/api/v1/chat/completions";
    let question: Value = serde_json::from_str(QUESTION).unwrap();
    let interaction = |request_body: Value, response: Value| json!({"request": {"method": "post", "uri": uri, "body": request_body}, "response": response});
    let headers = json!({"content-type": "application/json", "content-encoding": ["gzip"]});
    let cassette = json!({"version": 1, "interactions": [
        interaction(QUESTION.into(), json!({"status": {"code": 200}, "headers": headers, "body": {"base64_string": gzip(whole)}})),
        interaction(json!({"string": QUESTION}), json!({"status": 200, "headers": headers, "body": {"string": whole}})),
    ]});
    let parsed = json!({"http_interactions": [{"recorded_at": "Tue, 01 Nov 2011 04:58:44 GMT",
        "request": {"method": "POST", "url": uri, "parsed_body": question},
        "response": {"code": 429, "headers": headers, "parsed_body": {"error": {"message": "slow down"}}}}]});
    let files = [("a.json", cassette.to_string()), ("b.json", parsed.to_string()), ("c.json", "{}".to_owned())];
    let folder = Folder::new("forms", &files);
    let problems = folder.problems(&folder.convert(Source::Vcr));
    assert_eq!(problems, ["/in/c.json: error: expected a cassette with a list `interactions`"]);
    assert_eq!(folder.answers("a.json"), [Answer::Turn(hello()), Answer::Turn(hello())]);
    let answers = folder.answers("b.json");
    let [Answer::Raw(raw)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((raw.status, &raw.body), (429, &RawBody::Json(json!({"error": {"message": "slow down"}}))));
}

#[test]
fn an_archive() {
    let archive = json!({"log": {"entries": [
        {"startedDateTime": "2026-01-15T10:30:00.5Z",
         "request": {"method": "POST", "url": "https://api.anthropic.com/v1/messages?beta=true", "headers": [
            {"name": ":method", "value": "POST"}, {"name": "x-api-key", "value": "k"}],
            "postData": {"mimeType": "application/json", "text": r#"{"model":"claude-3","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}"#}},
         "response": {"status": 200, "headers": [{"name": "content-type", "value": "application/json"}], "content": {
            "encoding": "base64", "text": STANDARD.encode(r#"{"id":"m","type":"message","role":"assistant","model":"claude-3","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}"#)}}},
        {"request": {"method": "GET", "url": "https://example.com/style.css"}, "response": {"status": 200, "content": {"text": "a"}}},
        {"request": {"method": "POST", "url": "https://api.anthropic.com/v1/messages", "postData": {"text": "{}"}}, "response": {"status": 0}},
    ]}});
    let folder = Folder::new("har", &[("a.har", archive.to_string()), ("b.har", "[]".into())]);
    let done = folder.convert(Source::Har);
    let problems = folder.problems(&done);
    assert!(
        problems[1].ends_with("interaction 2, POST api.anthropic.com/v1/messages: no answer came (status 0)"),
        "{problems:?}"
    );
    assert!(problems[2].starts_with("/in/b.har: error: expected an HTTP archive"), "{problems:?}");
    let fixtures = read_file(&folder.0.join("out/a.json")).fixtures;
    assert_eq!(fixtures[0].metadata.recorded_at.as_deref(), Some("2026-01-15T10:30:00.5Z"));
    assert!(matches!(&fixtures[0].answer, Answer::Turn(reply) if reply.content() == "Hello"), "{fixtures:?}");
}

#[test]
fn an_older_folder() {
    let old = r#"{"$comment": "c", "fixtures": [{"response": {"content": {"a": 1}}, "match": {"userMessage": "hi"}},
        {"match": {}, "response": {"image": {"url": "u"}}}, {"match": {"turnIndex": "x"}, "response": {"content": "b"}}]}"#;
    let folder = Folder::new("older", &[("sub/a.json", old.into())]);
    let done = folder.convert(Source::Aimock);
    assert_eq!(done.problems.iter().filter(|p| p.is_error()).count(), 1, "{:?}", done.problems);
    let text = fs::read_to_string(folder.0.join("out/sub/a.json")).unwrap();
    let expected = json!({"$comment": "c", "fixtures": [{"match": {"userMessage": "hi"}, "response": {"content": "{\"a\":1}"}},
        {"match": {}, "response": {"image": {"url": "u"}}}, {"match": {"turnIndex": "x"}, "response": {"content": "b"}}]});
    assert_eq!(text, format!("{expected:#}\n"));
}
