//! A recording is on disk and in memory when the client has the end of its answer, answers its own request from then on,
//! and is made of whole successes alone.

mod common;

use common::chat::{
    CHAT, DONE, LAST_CHUNK, STREAM_HEAD, ask, ask_at, chat, completion, delta, finish, stream, stream_of, streamed,
    whole,
};
use common::server::{Folder, Program, Server, record, serve, until};
use common::{Gate, LIMIT, RawClient, Script, ScriptedUpstream, Step, answer, chunk};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const EXACT: (u16, &str, &str) = (200, "fixture", "exact");

/// Nothing recorded.
const NOTHING: [Value; 0] = [];

/// A server that has nothing but the folder, and guesses nothing.
fn offline(folder: &Folder) -> Server {
    serve(folder, |config| config.strict = true)
}

// ------------------------------------------------------------------------------------------------ before the end

/// Reads a stream up to its `[DONE]`, and goes at once; the recordings on disk at that moment.
async fn take_and_reset(server: SocketAddr, body: &str, folder: &Folder) -> usize {
    let mut client = RawClient::connect(server).await;
    client.post(CHAT, "", body).await;
    client.read_until("data: [DONE]").await;
    client.reset();
    folder.recordings().len()
}

#[tokio::test]
async fn a_client_that_resets_at_the_end_has_lost_nothing_200_times_of_200() {
    let upstream = ScriptedUpstream::start(vec![stream("the answer")]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    for run in 0..200 {
        let body = streamed(&format!("question {run} of the run"));
        assert_eq!(take_and_reset(server.address(), &body, &folder).await, run + 1);
        let again = ask(server.address(), &body).await;
        assert_eq!((again.how(), again.text().as_str()), (EXACT, "the answer"), "run {run}");
    }
    assert_eq!(upstream.requests().len(), 200);
    let server = offline(&folder);
    for run in 0..200 {
        assert_eq!(ask(server.address(), chat(&format!("question {run} of the run"))).await.how(), EXACT, "run {run}");
    }
}

/// Reads whatever comes, and checks on every byte that the end is not seen before the recording.
async fn end_comes_after_recording(script: Script, folder: &Folder) -> String {
    let upstream = ScriptedUpstream::start(vec![script]);
    let server = record(folder, &upstream.url(), |_| {});
    let mut client = RawClient::connect(server.address()).await;
    client.post(CHAT, "", streamed("hi")).await;
    client.read_head().await;
    let mut seen = Vec::new();
    while let Some(chunk) = client.read_chunk().await {
        seen.extend_from_slice(&chunk);
        let ended = seen.windows(DONE.trim_end().len()).any(|w| w == DONE.trim_end().as_bytes());
        assert!(!ended || folder.recordings().len() == 1, "{}", String::from_utf8_lossy(&seen));
    }
    assert_eq!(ask(server.address(), chat("hi")).await.how(), EXACT);
    String::from_utf8(seen).expect("text")
}

#[tokio::test]
async fn the_end_waits_for_the_recording_wherever_it_is_cut() {
    for end in ["data: [DONE]\n\n", "data: [DONE]\n", "data: [DONE]", "data:[DONE]\r\n\r\n", "data: [DONE]\r\r"] {
        for cut in 0..=end.len() {
            let frames = delta("the answer") + &finish();
            let pieces = [frames.as_str(), &end[..cut], &end[cut..]];
            let pieces: Vec<&str> = pieces.into_iter().filter(|p| !p.is_empty()).collect();
            let folder = Folder::new();
            assert_eq!(
                end_comes_after_recording(stream_of(&pieces), &folder).await,
                frames + end,
                "{end:?} cut at {cut}"
            );
        }
    }
}

#[tokio::test]
async fn the_end_waits_for_the_recording_where_all_comes_at_once() {
    let all = delta("the answer") + &finish() + DONE;
    let folder = Folder::new();
    assert_eq!(end_comes_after_recording(stream_of(&[&all]), &folder).await, all);
}

#[tokio::test]
async fn the_last_byte_of_a_whole_answer_waits_for_the_recording() {
    let body = completion("the answer");
    let (first, second) = body.split_at(40);
    let in_chunks = |pieces: &[&str]| {
        let head =
            Step::write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n");
        let pieces = pieces.iter().map(|p| Step::Write(chunk(p)));
        [head].into_iter().chain(pieces).chain([Step::write(LAST_CHUNK)]).collect::<Script>()
    };
    for script in [whole("the answer"), in_chunks(&[&body]), in_chunks(&[first, second]), in_chunks(&[&body, "\n"])] {
        let upstream = ScriptedUpstream::start(vec![script]);
        let folder = Folder::new();
        let server = record(&folder, &upstream.url(), |_| {});
        let mut client = RawClient::connect(server.address()).await;
        client.post(CHAT, "", chat("hi")).await;
        client.read_until("}]").await;
        client.read_until("}").await;
        client.read_until("}").await;
        client.reset();
        assert_eq!(folder.recordings().len(), 1);
        assert_eq!(ask(server.address(), chat("hi")).await.text(), "the answer");
    }
}

#[tokio::test]
async fn the_last_byte_of_a_sound_whose_length_was_told_waits_for_the_recording() {
    for run in 0..20 {
        let rest = Gate::new();
        let upstream = ScriptedUpstream::start(vec![vec![
            Step::write("HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 8\r\n\r\nID3\x03"),
            Step::WaitFor(rest.clone()),
            Step::write([0xff, 0xfb, 0x90, 0x64]),
        ]]);
        let folder = Folder::new();
        let server = record(&folder, &upstream.url(), |_| {});
        let mut client = RawClient::connect(server.address()).await;
        client.post("/v1/audio/speech", "", r#"{"model":"tts-1","input":"hi"}"#).await;
        client.read_head().await;
        client.read_exact(4).await;
        rest.open();
        client.read_exact(4).await;
        client.reset();
        assert_eq!(folder.recordings().len(), 1, "run {run}");
    }
}

#[tokio::test]
async fn an_empty_answer_and_one_cut_in_its_json_are_told_apart() {
    for (answered, recordings) in [
        (answer(204, "", ""), 1),
        (answer(200, "content-type: application/json\r\n", r#"{"results":[{"flagged":false}]}"#), 1),
        (answer(200, "content-type: application/json\r\n", r#"{"results":[{"flagged""#), 0),
    ] {
        let upstream = ScriptedUpstream::start(vec![answered]);
        let folder = Folder::new();
        let server = record(&folder, &upstream.url(), |_| {});
        let mut client = RawClient::connect(server.address()).await;
        client.post("/v1/moderations", "", r#"{"input":"hi"}"#).await;
        client.read_answer().await;
        assert_eq!(folder.recordings().len(), recordings);
    }
}

#[tokio::test]
async fn an_end_that_the_upstream_never_closes_is_recorded_all_the_same() {
    let script = [stream("the answer"), vec![Step::Hold]].concat();
    let script = script.into_iter().filter(|step| !matches!(step, Step::Write(b) if b == LAST_CHUNK.as_bytes()));
    let upstream = ScriptedUpstream::start(vec![script.collect()]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    assert_eq!(take_and_reset(server.address(), &streamed("hi"), &folder).await, 1);
    assert_eq!(ask(server.address(), chat("hi")).await.how(), EXACT);
}

// ------------------------------------------------------------------------------------------------ whole successes

#[tokio::test]
async fn a_service_without_done_is_whole_at_its_clean_end() {
    let upstream = ScriptedUpstream::start(vec![stream_of(&[delta("no [DONE] here"), finish()])]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    assert_eq!(ask(server.address(), streamed("hi")).await.text(), "no [DONE] here");
    assert_eq!(folder.recordings().len(), 1);
    assert_eq!(ask(server.address(), streamed("hi")).await.text(), "no [DONE] here");
}

#[tokio::test]
async fn a_stream_that_ends_cleanly_with_neither_was_cut() {
    let upstream = ScriptedUpstream::start(vec![stream_of(&[delta("half an")])]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    assert_eq!(ask(server.address(), streamed("hi")).await.text(), "half an");
    server.logged("without a terminal event or a finish reason").await;
    assert_eq!(folder.recordings(), NOTHING);
}

#[tokio::test]
async fn a_client_that_goes_before_the_finish_reason_leaves_no_recording() {
    let (sent, gone) = (Gate::new(), Gate::new());
    let upstream = ScriptedUpstream::start(vec![vec![
        Step::write(STREAM_HEAD),
        Step::Write(chunk(delta("one"))),
        Step::Open(sent.clone()),
        Step::AwaitHangup(gone.clone()),
    ]]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    let mut client = RawClient::connect(server.address()).await;
    client.post(CHAT, "", streamed("hi")).await;
    client.read_until("one").await;
    client.reset();
    gone.opened().await;
    server.logged("not recorded: the client went away").await;
    assert_eq!(folder.files(), []);
}

#[tokio::test]
async fn a_client_that_goes_after_the_finish_reason_leaves_a_recording() {
    let seen = Gate::new();
    let upstream = ScriptedUpstream::start(vec![vec![
        Step::write(STREAM_HEAD),
        Step::Write(chunk(delta("the answer") + &finish())),
        Step::WaitFor(seen.clone()),
        Step::write(LAST_CHUNK),
    ]]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    let mut client = RawClient::connect(server.address()).await;
    client.post(CHAT, "", streamed("hi")).await;
    client.read_until("\"stop\"").await;
    client.reset();
    all_read(&server, &upstream).await;
    seen.open();
    server.logged("recorded ").await;
    assert_eq!(ask(server.address(), chat("hi")).await.text(), "the answer");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn an_error_inside_a_stream_is_relayed_and_not_saved() {
    let error = "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\"}}\n\n".to_owned();
    let chunks = [delta("half"), error, DONE.to_owned()];
    let upstream = ScriptedUpstream::start(vec![stream_of(&chunks)]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    assert_eq!(ask(server.address(), streamed("hi")).await.body, chunks.concat());
    assert!(server.logged("not recorded").await.contains("overloaded"));
    assert_eq!(folder.files(), []);
}

#[tokio::test]
async fn what_is_no_answer_is_relayed_and_not_saved() {
    for body in ["<html>a gateway</html>", "{\"object\":\"list\",\"data\":[]}", "", "{\"choices\":[", "null"] {
        let upstream = ScriptedUpstream::start(vec![answer(200, "content-type: application/json\r\n", body)]);
        let folder = Folder::new();
        let server = record(&folder, &upstream.url(), |_| {});
        assert_eq!(ask(server.address(), chat("hi")).await.body, body);
        server.logged("not recorded").await;
        assert_eq!(folder.recordings(), NOTHING, "{body}");
    }
}

#[tokio::test]
async fn an_error_answer_is_not_saved_unless_asked_for() {
    let error = r#"{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
    let headers = "content-type: application/json\r\nretry-after: 7\r\n";
    let upstream = ScriptedUpstream::start(vec![answer(429, headers, error)]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    assert_eq!(ask(server.address(), chat("hi")).await.status(), 429);
    server.logged("status 429 from the upstream: relayed, not recorded").await;
    assert_eq!(folder.files(), []);

    let server = record(&folder, &upstream.url(), |config| config.record_errors = true);
    let first = ask(server.address(), chat("hi")).await;
    assert_eq!((first.status(), first.header("x-aimock-source")), (429, "proxy"));
    for server in [server, offline(&folder)] {
        for body in [chat("hi"), streamed("hi")] {
            let got = ask(server.address(), body).await;
            assert_eq!((got.status(), got.header("x-aimock-source")), (429, "fixture"));
            assert_eq!(got.json(), serde_json::from_str::<Value>(error).unwrap());
            assert_eq!(got.header("retry-after"), "7");
        }
    }
}

#[tokio::test]
async fn an_answer_over_the_limit_is_relayed_and_not_saved() {
    let text = "long ".repeat(2000);
    let upstream = ScriptedUpstream::start(vec![whole(&text), stream(&text), whole("short")]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |config| config.max_record_bytes = 5000);
    assert_eq!(ask(server.address(), chat("one")).await.text(), text);
    assert_eq!(ask(server.address(), streamed("two")).await.text(), text);
    server.logged("larger than --max-record-bytes 5000").await;
    assert_eq!(folder.recordings(), NOTHING);
    ask(server.address(), chat("three")).await;
    assert_eq!(folder.recordings().len(), 1);
}

// ------------------------------------------------------------------------------------------------ and again

#[tokio::test]
async fn a_recording_answers_now_and_after_a_restart() {
    let upstream = ScriptedUpstream::start(vec![stream("from a stream"), whole("from a whole")]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    ask(server.address(), streamed("one")).await;
    ask(server.address(), chat("two")).await;
    for server in [server, offline(&folder)] {
        for (text, answer) in [("one", "from a stream"), ("two", "from a whole")] {
            for body in [chat(text), streamed(text)] {
                let got = ask(server.address(), &body).await;
                assert_eq!((got.how(), got.text().as_str()), (EXACT, answer), "{body}");
                let file = got.header("x-aimock-fixture").strip_suffix("#0").unwrap();
                assert!(folder.path().join(file).is_file() && file.starts_with("recorded/openai-"), "{file}");
            }
        }
    }
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn the_fixture_is_small_and_readable() {
    let upstream = ScriptedUpstream::start(vec![stream("the answer")]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    ask(server.address(), streamed("hi")).await;
    let recorded = &folder.recordings()[0];
    let expected = json!({"userMessage": "hi", "model": "gpt-4o", "turnIndex": 0, "hasToolResult": false});
    assert_eq!(recorded["match"], expected);
    assert_eq!(
        (&recorded["response"]["content"], &recorded["response"]["finishReason"]),
        (&json!("the answer"), &json!("stop"))
    );
    assert_eq!(recorded["metadata"]["requestHash"].as_str().map(str::len), Some(16));
}

#[tokio::test]
async fn tool_calls_come_back_as_they_were() {
    let calls = json!([
        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Rome\"}"}},
        {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
    ]);
    let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
    let body = json!({"id": "c", "model": "gpt-4o", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
    let upstream = ScriptedUpstream::start(vec![answer(200, "content-type: application/json\r\n", body.to_string())]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    ask(server.address(), chat("hi")).await;
    let again = ask(server.address(), chat("hi")).await.json();
    assert_eq!(again["choices"][0]["message"]["tool_calls"], calls);
    assert_eq!(again["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn what_no_provider_room_reads_is_recorded_verbatim() {
    let bytes: Vec<u8> = (0..=255).collect();
    let upstream = ScriptedUpstream::start(vec![answer(200, "content-type: audio/mpeg\r\n", &bytes)]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    for source in ["proxy", "fixture"] {
        let mut client = RawClient::connect(server.address()).await;
        client.post("/v1/audio/speech", "", r#"{"model":"tts-1","input":"hi"}"#).await;
        let (head, body) = client.read_answer().await;
        assert_eq!((common::header(&head, "x-aimock-source"), &body), (Some(source), &bytes));
        assert_eq!(common::header(&head, "content-type"), Some("audio/mpeg"));
    }
}

// ------------------------------------------------------------------------------------------------ in flight

/// Waits until the first request is at the upstream, and the server has read what was sent after it.
async fn all_read(server: &Server, upstream: &ScriptedUpstream) {
    until(|| (!upstream.requests().is_empty()).then_some(())).await.expect("a request at the upstream");
    let mut later = RawClient::connect(server.address()).await;
    later.send("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    later.read_answer().await;
}

#[tokio::test]
async fn two_identical_requests_in_flight_reach_the_upstream_once() {
    let go = Gate::new();
    let upstream = ScriptedUpstream::start(vec![[vec![Step::WaitFor(go.clone())], stream("once")].concat()]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    let mut clients = Vec::new();
    for body in [streamed("hi"), chat("hi"), streamed("hi")] {
        let mut client = RawClient::connect(server.address()).await;
        client.post(CHAT, "", body).await;
        clients.push(client);
        all_read(&server, &upstream).await;
    }
    go.open();
    for (client, source) in clients.iter_mut().zip(["proxy", "fixture", "fixture"]) {
        let got = common::chat::read(client).await;
        assert_eq!((got.header("x-aimock-source"), got.text().as_str()), (source, "once"));
    }
    assert_eq!((upstream.requests().len(), folder.recordings().len()), (1, 1));
}

#[tokio::test]
async fn where_the_first_fails_the_next_one_goes() {
    let go = Gate::new();
    let wait = |script: Script| [vec![Step::WaitFor(go.clone())], script].concat();
    let cut = vec![Step::write(STREAM_HEAD), Step::Write(chunk(delta("half"))), Step::Cut];
    for (name, failing) in [("an error", answer(500, "", "{}")), ("a cut", cut), ("no answer", vec![Step::Reset])] {
        let upstream = ScriptedUpstream::start(vec![wait(failing), stream("second")]);
        let folder = Folder::new();
        let server = record(&folder, &upstream.url(), |_| {});
        let mut first = RawClient::connect(server.address()).await;
        first.post(CHAT, "", streamed("hi")).await;
        let mut second = RawClient::connect(server.address()).await;
        all_read(&server, &upstream).await;
        second.post(CHAT, "", streamed("hi")).await;
        all_read(&server, &upstream).await;
        go.open();
        let got = common::chat::read(&mut second).await;
        assert_eq!((got.header("x-aimock-source"), got.text().as_str()), ("proxy", "second"), "{name}");
        assert_eq!(folder.recordings().len(), 1, "{name}");
    }
}

/// So many clients that ask the same, the first of which has reached the upstream.
async fn ask_at_once(server: &Server, upstream: &ScriptedUpstream, clients: usize) -> Vec<RawClient> {
    let mut asking = Vec::new();
    for _ in 0..clients {
        let mut client = RawClient::connect(server.address()).await;
        client.post(CHAT, "", streamed("hi")).await;
        asking.push(client);
        all_read(server, upstream).await;
    }
    asking
}

async fn asked(upstream: &ScriptedUpstream, count: usize) {
    until(|| (upstream.requests().len() == count).then_some(())).await.expect("requests at the upstream");
}

#[tokio::test]
async fn once_the_first_fails_all_that_wait_go_at_once_and_one_is_recorded() {
    for status in [200, 500] {
        let (go, all) = (Gate::new(), Gate::new());
        let script = |gate: &Gate, script: Script| [vec![Step::WaitFor(gate.clone())], script].concat();
        let second = if status == 200 { stream("second") } else { answer(500, "", "{}") };
        let upstream = ScriptedUpstream::start(vec![script(&go, answer(500, "", "{}")), script(&all, second)]);
        let folder = Folder::new();
        let server = record(&folder, &upstream.url(), |_| {});
        let mut clients = ask_at_once(&server, &upstream, 8).await;
        go.open();
        asked(&upstream, 8).await; // none of which has been answered but the first
        all.open();
        for (n, client) in clients.iter_mut().enumerate() {
            let got = common::chat::read(client).await;
            let expected = if n == 0 { 500 } else { status };
            assert_eq!((got.status(), got.header("x-aimock-source")), (expected, "proxy"), "client {n}");
        }
        assert_eq!(folder.recordings().len(), usize::from(status == 200), "one recording of seven answers");
        if status == 200 {
            assert_eq!(ask(server.address(), streamed("hi")).await.how(), EXACT);
        }
        assert_eq!(upstream.requests().len(), 8);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_no_other_for_long() {
    let long = delta(&"long ".repeat(10_000));
    let chunks: Vec<&str> = std::iter::repeat_n(&*long, 600).collect();
    let slow = [&stream_of(&chunks)[..601], &stream_of(&[finish(), DONE.to_owned()])[1..]].concat();
    let upstream = ScriptedUpstream::start(vec![slow, stream("second")]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    let mut clients = ask_at_once(&server, &upstream, 3).await;
    let (mut third, mut second, mut first) = (clients.remove(2), clients.remove(1), clients.remove(0));
    for client in [&mut second, &mut third] {
        assert_eq!(common::chat::read(client).await.text(), "second");
    }
    assert_eq!(folder.recordings()[0]["response"]["content"], "second");
    let got = common::chat::read(&mut first).await;
    assert!(got.body.len() > 600 * long.len() && got.body.ends_with(DONE));
    assert_eq!(folder.recordings().len(), 1, "the first answer that was whole is the one");
    assert_eq!(ask(server.address(), streamed("hi")).await.text(), "second");
}

#[tokio::test]
async fn where_the_first_client_goes_the_next_one_goes_upstream() {
    let gone = Gate::new();
    let upstream = ScriptedUpstream::start(vec![vec![Step::AwaitHangup(gone.clone())], stream("second")]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    let mut first = RawClient::connect(server.address()).await;
    first.post(CHAT, "", streamed("hi")).await;
    all_read(&server, &upstream).await;
    let mut second = RawClient::connect(server.address()).await;
    second.post(CHAT, "", streamed("hi")).await;
    all_read(&server, &upstream).await;
    first.reset();
    gone.opened().await;
    assert_eq!(common::chat::read(&mut second).await.text(), "second");
}

// ------------------------------------------------------------------------------------------------ a process that is killed

#[tokio::test]
async fn a_kill_in_the_middle_of_recording_breaks_no_file_and_loses_nothing() {
    let upstream = ScriptedUpstream::start(vec![stream(&"long answer ".repeat(20_000))]);
    for round in 1..=5 {
        let folder = Folder::new();
        let args = ["--record", "--provider-openai", &upstream.url(), "-f", folder.path().to_str().unwrap()];
        let (program, server) = Program::serve(&args);
        let clients = (0..8).map(|n| {
            tokio::spawn(async move {
                let mut ended = Vec::new();
                for i in 0..100 {
                    let text = format!("{n} asks {i}");
                    if !asked_to_the_end(server, &text).await {
                        break;
                    }
                    ended.push(text);
                }
                ended
            })
        });
        let clients: Vec<_> = clients.collect();
        until(|| (folder.files().len() >= round * 4).then_some(())).await.expect("recordings");
        program.signal("KILL");
        let mut ended = Vec::new();
        for client in clients {
            ended.extend(client.await.unwrap());
        }
        folder.recordings(); // every file that is loaded is whole
        let server = offline(&folder);
        for text in ended {
            assert_eq!(ask(server.address(), chat(&text)).await.how(), EXACT, "{text}");
        }
    }
}

/// Whether the stream came to its `[DONE]`.
async fn asked_to_the_end(server: SocketAddr, text: &str) -> bool {
    let Ok(mut stream) = tokio::net::TcpStream::connect(server).await else { return false };
    let body = streamed(text);
    let request = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = Vec::new();
    let sent = stream.write_all(request.as_bytes()).await;
    let read = timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("an end in time");
    let ends = |answer: &[u8]| answer.windows(DONE.len()).rev().take(64).any(|w| w == DONE.as_bytes());
    sent.is_ok() && (read.is_ok() || ends(&answer)) && ends(&answer)
}

#[tokio::test]
async fn what_a_killed_process_left_is_not_loaded() {
    let folder = Folder::new();
    folder.write("recorded/.openai-2025-01-15T10-30-00-000Z-1.json.123-0.tmp", "{\"fixtures\": [{\"ma");
    folder.write("recorded/openai.json.tmp", "{\"fix");
    let server = offline(&folder);
    assert_eq!(ask(server.address(), chat("hi")).await.status(), 503);
}

// ------------------------------------------------------------------------------------------------ every request

/// Chats that are unusual in one way each.
fn unusual_chats() -> Vec<Value> {
    let key = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789";
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}});
    let user = |text: &str| json!([{"role": "user", "content": text}]);
    let messages = vec![
        user(""),
        user(" "),
        user("\n\tleading and trailing \r\n"),
        user("quotes \" and \\ and / and \u{1} and \u{7f} and \u{2028}"),
        user("é ñ 🌍 👩‍👩‍👧 \u{200b} \u{feff}"),
        user(&"long ".repeat(20_000)),
        user("on 2025-01-15T10:30:00Z, id 123e4567-e89b-12d3-a456-426614174000, at 1736937000000"),
        user("on 2026-01-15T10:30:00Z, id 123e4567-e89b-12d3-a456-426614174001, at 1736937000001"),
        user("<date> and <uuid>"),
        user(&format!("my key is {key}")),
        user("my key is [redacted], too"),
        json!([{"role": "system", "content": "no user at all"}]),
        json!([{"role": "user", "content": [image.clone()]}]),
        json!([{"role": "user", "content": [{"type": "text", "text": "two"}, image, {"type": "text", "text": "texts"}]}]),
        json!([{"role": "user", "content": "prefill"}, {"role": "assistant", "content": "I th"}]),
        json!([{"role": "user", "content": "a tool"}, {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]),
        json!([{"role": "tool", "tool_call_id": "call_1", "content": "no question"}]),
        json!([{"role": "user", "content": "one"}, {"role": "assistant", "content": "1"}, {"role": "user", "content": "two"},
            {"role": "assistant", "content": "2"}, {"role": "user", "content": "one"}]),
        json!([{"role": "wizard", "content": "an unknown role"}]),
        json!([{"role": "user", "content": [{"type": "unheard_of", "x": 1}]}]),
    ];
    let mut chats: Vec<Value> = messages.into_iter().map(|m| json!({"model": "gpt-4o", "messages": m})).collect();
    for model in ["", "gpt-4o-2024-08-06", "a/b:c", "Ünïcode", "gpt-4o-20240806"] {
        chats.push(json!({"model": model, "messages": user("models")}));
    }
    for (name, value) in [
        ("temperature", json!(0.1)),
        ("seed", json!(9_007_199_254_740_993_u64)),
        ("n", json!(2)),
        ("response_format", json!({"type": "json_object"})),
        ("logit_bias", json!({"50256": -100})),
        ("unknown", json!({"deep": [[[[null]]]]})),
        ("tools", json!([{"type": "function", "function": {"name": "f", "parameters": {}}}])),
        ("stop", json!(["\n", "\u{0}"])),
    ] {
        let mut chat = json!({"model": "gpt-4o", "messages": user("parameters")});
        chat[name] = value;
        chats.push(chat);
    }
    chats
}

#[tokio::test]
async fn however_unusual_a_request_is_its_recording_answers_it_and_no_other() {
    let chats = unusual_chats();
    let upstream = ScriptedUpstream::start((0..chats.len()).map(|n| whole(&format!("answer {n}"))).collect());
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    for chat in &chats {
        let got = ask(server.address(), chat.to_string()).await;
        assert_eq!((got.status(), got.header("x-aimock-source")), (200, "proxy"), "{chat}");
    }
    assert_eq!(folder.recordings().len(), chats.len());
    let restarted = offline(&folder);
    for server in [&server, &restarted] {
        for (n, chat) in chats.iter().enumerate() {
            let got = ask(server.address(), chat.to_string()).await;
            assert_eq!((got.how(), got.text()), (EXACT, format!("answer {n}")), "{chat}");
        }
    }
    assert_eq!(upstream.requests().len(), chats.len());
}

#[tokio::test]
async fn a_recording_that_nothing_names_answers_nothing_else() {
    let upstream = ScriptedUpstream::start(vec![whole("to nobody")]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    ask(server.address(), r#"{"model":"gpt-4o","messages":[]}"#).await;
    drop(server);
    let server = serve(&folder, |_| {});
    assert_eq!(ask(server.address(), chat("hi")).await.status(), 404);
    // A request that says as little is one that has drifted.
    let other = ask(server.address(), r#"{"model":"gpt-4o","messages":[],"seed":1}"#).await;
    assert_eq!((other.status(), other.header("x-aimock-match")), (200, "drift"));
}
// ------------------------------------------------------------------------------------------------ no credential

#[tokio::test]
async fn no_credential_is_written_anywhere() {
    let key = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789";
    let pasted = format!("my key is {key}, mind it");
    let body = |text: &str| chat(text);
    let upstream = ScriptedUpstream::start(vec![whole(&format!("you said {key}")), answer(401, "", key), stream(key)]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |config| config.record_wire = true);
    let headers = format!("authorization: Bearer {key}\r\nx-api-key: {key}\r\napi-key: {key}\r\ncookie: k={key}\r\n");
    let target = format!("{CHAT}?key={key}&api_key={key}");
    let got = ask_at(server.address(), &target, &headers, body(&pasted)).await;
    assert!(got.body.contains(key), "the client's own answer is not changed");
    ask_at(server.address(), &target, &headers, body("something else")).await;
    ask_at(server.address(), &target, &headers, streamed("a third")).await;
    assert_eq!(upstream.requests()[0].header("authorization"), Some(format!("Bearer {key}").as_str()));

    // Everything that can be asked wrongly, by a server that explains itself.
    let strict = offline(&folder);
    let mut said = Vec::new();
    for text in [pasted.clone() + "!", format!("{key}{key}"), key.into()] {
        let strict = &strict;
        let got = ask_at(strict.address(), &target, &headers, body(&text)).await;
        assert_eq!(got.status(), 503);
        said.push(got);
    }
    for bad in [
        format!("{{\"model\":\"gpt-4o\",\"messages\":\"{key}\"}}"),
        format!("{{\"model\":\"gpt-4o\",\"messages\":[\"{key}\"]}}"),
        format!("{{\"model\":\"gpt-4o\",\"stream\":\"{key}\",\"messages\":[]}}"),
        format!("{{\"{key}\":{key}}}"),
        key.into(),
    ] {
        let got = ask_at(strict.address(), &target, &headers, bad).await;
        assert_eq!(got.status(), 400, "{}", got.body);
        said.push(got);
    }
    said.push(ask_at(strict.address(), &format!("/v1/files/{key}?key={key}"), &headers, "{}").await);
    assert_eq!(ask(strict.address(), body(&pasted)).await.how(), EXACT, "it still answers its request");

    let files = folder.files();
    let places = files.iter().map(|(path, text)| (path.display().to_string(), text.clone()));
    let logs = [&server, &strict].map(|s| ("log".to_owned(), s.log.to_vec().join("\n")));
    let journals = [&server, &strict].map(|s| ("journal".to_owned(), format!("{:?}", s.mock.requests())));
    let reports = [&server, &strict].map(|s| ("report".to_owned(), s.mock.report().to_string()));
    let said = said.into_iter().map(|got| ("error".to_owned(), got.head + &got.body));
    for (place, text) in places.chain(logs).chain(journals).chain(reports).chain(said) {
        assert!(!text.contains(&key[..16]), "{place}: {text}");
    }
}
