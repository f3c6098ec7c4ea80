//! Endpoints that no codec reads: what of their answers is recorded, and how it comes back.

mod common;

use common::chat::{Got, LAST_CHUNK, STREAM_HEAD, ask_at, read};
use common::server::{Folder, Server, record, serve};
use common::{Gate, RawClient, Script, ScriptedUpstream, Step, answer, chunk};

const COMPLETIONS: &str = "/v1/completions";

const ASKED: &str = r#"{"model":"gpt-3.5-turbo-instruct","prompt":"hi","stream":true}"#;

const DONE: &str = "data: [DONE]\n\n";

fn text(text: &str, finish: Option<&str>) -> String {
    let choice = serde_json::json!({"index": 0, "text": text, "finish_reason": finish});
    format!("data: {}\n\n", serde_json::json!({"id": "cmpl-1", "object": "text_completion", "choices": [choice]}))
}

fn head_of(content_type: &str) -> String {
    STREAM_HEAD.replace("text/event-stream", content_type)
}

/// A stream with each piece in a chunk of its own; `end` is what follows the last.
fn stream(content_type: &str, pieces: &[String], end: Step) -> Script {
    let chunks = pieces.iter().map(|piece| Step::Write(chunk(piece)));
    [Step::write(head_of(content_type))].into_iter().chain(chunks).chain([end]).collect()
}

fn clean() -> Step {
    Step::write(LAST_CHUNK)
}

// ------------------------------------------------------------------------------------------------ streams

/// What a stream is, its content type, its events, how it ends, and why it is not saved.
type Row = (&'static str, &'static str, Vec<String>, Step, Option<&'static str>);

#[tokio::test]
async fn a_stream_is_saved_where_it_is_a_whole_success() {
    let s = |text: &str| text.to_owned();
    let event = |json: &str| format!("data: {json}\n\n");
    let (hi, stop) = (text("hi", None), text("", Some("stop")));
    let failed = event(r#"{"error":{"message":"overloaded","type":"server_error"}}"#);
    let sse = "text/event-stream";
    let ndjson = "application/x-ndjson";
    let rows: Vec<Row> = vec![
        ("finish and [DONE]", sse, vec![hi.clone(), stop.clone(), s(DONE)], clean(), None),
        ("[DONE] alone", sse, vec![hi.clone(), s(DONE)], clean(), None),
        ("[DONE] and no end", sse, vec![hi.clone(), s(DONE)], Step::Hold, None),
        ("a finish and a clean end", sse, vec![hi.clone(), stop.clone()], clean(), None),
        ("words of its own", sse, vec![event(r#"{"progress":1}"#), s("event: end\ndata: bye\n\n")], clean(), None),
        (
            "lines of its own",
            ndjson,
            vec![s("{\"status\":\"pulling\"}\n"), s("{\"status\":\"success\"}\n")],
            clean(),
            None,
        ),
        (
            "a file of lines",
            "application/jsonl",
            vec![s("{\"id\":1,\"error\":{\"message\":\"expired\"}}\n")],
            clean(),
            None,
        ),
        ("an image", sse, vec![event(r#"{"type":"image_generation.completed","b64_json":"AA=="}"#)], clean(), None),
        ("no finish", sse, vec![hi.clone()], clean(), Some("without a terminal event or a finish reason")),
        (
            "half an image",
            sse,
            vec![event(r#"{"type":"image_generation.partial_image"}"#)],
            clean(),
            Some("it was cut"),
        ),
        ("lines without an end", ndjson, vec![s("{\"done\":false}\n")], clean(), Some("it was cut")),
        ("no event", sse, vec![], clean(), Some("it was cut")),
        ("comments alone", sse, vec![s(": ping\n\n")], clean(), Some("it was cut")),
        ("a finish and no clean end", sse, vec![hi.clone(), stop.clone()], Step::Cut, Some("the answer was cut")),
        ("words of its own and no clean end", sse, vec![event("{}")], Step::Cut, Some("the answer was cut")),
        (
            "an error",
            sse,
            vec![hi.clone(), failed.clone()],
            clean(),
            Some("reported an error in its answer: overloaded"),
        ),
        ("an error and [DONE]", sse, vec![hi.clone(), failed, s(DONE)], clean(), Some("overloaded")),
        ("an error event", sse, vec![s("event: error\ndata: out of memory\n\n")], clean(), Some("out of memory")),
        ("a line with an error", ndjson, vec![s("{\"error\":\"no such model\"}\n")], clean(), Some("no such model")),
    ];
    for (name, content_type, pieces, end, unsaved) in rows {
        let ends = !matches!(end, Step::Hold);
        let upstream = ScriptedUpstream::start(vec![stream(content_type, &pieces, end)]);
        let folder = Folder::new();
        let server = record(&folder, &upstream.url(), |_| {});
        let mut client = RawClient::connect(server.address()).await;
        client.post(COMPLETIONS, "", ASKED).await;
        client.read_head().await;
        for piece in &pieces {
            let got = client.read_exact_of_chunks(piece.len()).await;
            assert_eq!(String::from_utf8(got).unwrap(), *piece, "{name}: as it came, each event at once");
        }
        if let Some(why) = unsaved {
            assert!(server.logged("not recorded").await.contains(why), "{name}: {:#?}", server.log.to_vec());
            assert_eq!(folder.files(), [], "{name}");
            continue;
        }
        if !ends {
            drop(client);
        }
        server.logged("recorded ").await;
        for server in [server, serve(&folder, |config| config.strict = true)] {
            let got = ask_at(server.address(), COMPLETIONS, "", ASKED).await;
            assert_eq!(got.how(), (200, "fixture", "exact"), "{name}");
            assert_eq!((got.header("content-type"), &*got.body), (content_type, &*pieces.concat()), "{name}");
        }
    }
}

#[tokio::test]
async fn an_event_is_at_the_client_before_the_next_one_leaves_the_upstream() {
    let seen = Gate::new();
    let upstream = ScriptedUpstream::start(vec![vec![
        Step::write(STREAM_HEAD),
        Step::Write(chunk(text("one", None))),
        Step::WaitFor(seen.clone()),
        Step::Write(chunk(text("two", Some("stop")) + DONE)),
        clean(),
    ]]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    let mut client = RawClient::connect(server.address()).await;
    client.post(COMPLETIONS, "", ASKED).await;
    client.read_head().await;
    assert_eq!(client.read_chunk().await, Some(text("one", None).into_bytes()));
    seen.open();
    client.read_until("[DONE]").await;
    client.reset();
    assert_eq!(folder.recordings().len(), 1, "on disk when the client has the end");
}

// ------------------------------------------------------------------------------------------------ no body

#[tokio::test]
async fn an_answer_without_a_body_is_saved_and_comes_back_without_one() {
    let json = "content-type: application/json\r\n";
    let rows: Vec<(u16, &str, Script, bool)> = vec![
        (200, json, answer(200, json, ""), true),
        (201, "", answer(201, "", ""), true),
        (202, json, answer(202, json, ""), true),
        (202, "", stream_of_nothing(202, ""), true),
        (202, json, stream_of_nothing(202, json), true),
        (
            202,
            "content-type: text/event-stream\r\n",
            stream_of_nothing(202, "content-type: text/event-stream\r\n"),
            true,
        ),
        (204, "", vec![Step::write("HTTP/1.1 204 No Content\r\n\r\n")], true),
        (200, json, stream_of_nothing(200, json), false),
        (202, json, answer(202, json, "{\"id\":"), false),
    ];
    for (status, headers, script, saved) in rows {
        let upstream = ScriptedUpstream::start(vec![script]);
        let folder = Folder::new();
        let server = record(&folder, &upstream.url(), |_| {});
        let sent = ask(&server).await;
        assert_eq!((sent.status(), sent.header("x-aimock-source")), (status, "proxy"));
        assert_eq!(folder.recordings().len(), usize::from(saved), "{status} {headers:?}: {:#?}", server.log.to_vec());
        if !saved {
            continue;
        }
        for server in [server, serve(&folder, |config| config.strict = true)] {
            let got = ask(&server).await;
            assert_eq!((got.how(), &*got.body), ((status, "fixture", "exact"), ""));
            let content_type = headers.trim_end().strip_prefix("content-type: ");
            assert_eq!(common::header(&got.head, "content-type"), content_type, "{}", got.head);
            let length = common::header(&got.head, "content-length");
            assert_eq!(length, (status != 204).then_some("0"), "{}", got.head);
        }
    }
}

/// A body in chunks that has none.
fn stream_of_nothing(status: u16, headers: &str) -> Script {
    let head = format!("HTTP/1.1 {status} Status\r\n{headers}transfer-encoding: chunked\r\n\r\n");
    vec![Step::write(head), clean()]
}

async fn ask(server: &Server) -> Got {
    let mut client = RawClient::connect(server.address()).await;
    client.post("/v1/notifications", "", r#"{"event":"ready"}"#).await;
    read(&mut client).await
}
