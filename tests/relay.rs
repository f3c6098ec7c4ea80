//! The client sees the upstream's answer, not ours: what goes through, in either direction, and how it ends.

mod common;

use common::chat::{
    CHAT, DONE, LAST_CHUNK, STREAM_HEAD, ask, ask_at, ask_with, chat, completion, delta, finish, read, stream,
    streamed, whole,
};
use common::server::{Folder, Program, program, record, serve, with_upstream};
use common::tls::Authority;
use common::{Gate, RawClient, Script, ScriptedUpstream, Step, answer, chunk, header};
use std::net::TcpListener;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

// ------------------------------------------------------------------------------------------------ as it arrives

#[tokio::test]
async fn the_first_chunk_is_at_the_client_before_the_second_leaves_the_upstream() {
    for recording in [true, false] {
        let seen = Gate::new();
        let upstream = ScriptedUpstream::start(vec![vec![
            Step::write(STREAM_HEAD),
            Step::Write(chunk(delta("one"))),
            Step::WaitFor(seen.clone()),
            Step::Write(chunk(delta(" two"))),
            Step::Write(chunk(finish())),
            Step::Write(chunk(DONE)),
            Step::write(LAST_CHUNK),
        ]]);
        let folder = Folder::new();
        let server = record(&folder, &upstream.url(), |config| {
            config.record = recording;
            config.proxy_only = !recording;
        });
        let mut client = RawClient::connect(server.address()).await;
        client.post(CHAT, "", streamed("hi")).await;
        client.read_head().await;
        assert_eq!(client.read_chunk().await, Some(delta("one").into_bytes()));
        seen.open();
        client.read_until("data: [DONE]\n\n").await;
    }
}

#[tokio::test]
async fn the_head_of_a_stream_is_at_the_client_before_its_first_chunk() {
    let seen = Gate::new();
    let script = [vec![Step::write(STREAM_HEAD), Step::WaitFor(seen.clone())], stream("hi")[1..].to_vec()].concat();
    let upstream = ScriptedUpstream::start(vec![script]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    let mut client = RawClient::connect(server.address()).await;
    client.post(CHAT, "", streamed("hi")).await;
    assert!(client.read_head().await.starts_with("HTTP/1.1 200 OK"));
    seen.open();
    client.read_until(DONE).await;
}

#[tokio::test]
async fn half_a_frame_is_not_held_back() {
    let seen = Gate::new();
    let frame = delta("some text");
    let (first, second) = frame.split_at(25);
    let upstream = ScriptedUpstream::start(vec![vec![
        Step::write(STREAM_HEAD),
        Step::Write(chunk(first)),
        Step::WaitFor(seen.clone()),
        Step::Write(chunk(second)),
        Step::Write(chunk(finish())),
        Step::Write(chunk(DONE)),
        Step::write(LAST_CHUNK),
    ]]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    let mut client = RawClient::connect(server.address()).await;
    client.post(CHAT, "", streamed("hi")).await;
    client.read_head().await;
    assert_eq!(client.read_chunk().await.as_deref(), Some(first.as_bytes()));
    seen.open();
    client.read_until(DONE).await;
}

#[tokio::test]
async fn a_slow_stream_delays_no_other_answer() {
    let fixtures = r#"{"fixtures":[
        {"match":{"userMessage":"slow"},"response":{"content":"0123456789"},"latency":10000,"chunkSize":1},
        {"match":{"userMessage":"quick"},"response":{"content":"here"}}]}"#;
    let folder = Folder::new();
    folder.write("both.json", fixtures);
    let server = serve(&folder, |_| {});
    let mut slow = RawClient::connect(server.address()).await;
    slow.post(CHAT, "", streamed("slow")).await;
    slow.read_head().await;
    let start = Instant::now();
    assert_eq!(ask(server.address(), chat("quick")).await.text(), "here");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

// ------------------------------------------------------------------------------------------------ status and headers

#[tokio::test]
async fn any_status_goes_through_with_its_body() {
    let statuses = [200, 201, 202, 299, 301, 307, 400, 401, 403, 404, 409, 418, 422, 429, 500, 503, 520, 529, 599, 999];
    let body = r#"{"error":{"message":"as it is","type":"t","code":null}}"#;
    let headers = "content-type: application/json\r\nlocation: https://elsewhere.example/\r\n";
    let upstream = ScriptedUpstream::start(statuses.iter().map(|status| answer(*status, headers, body)).collect());
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    for status in statuses {
        let got = ask(server.address(), chat("hi")).await;
        assert_eq!((got.status(), &*got.body), (status, body));
        assert_eq!(got.header("location"), "https://elsewhere.example/");
        assert_eq!(got.header("x-aimock-source"), "proxy");
    }
    assert_eq!(folder.recordings(), [] as [serde_json::Value; 0], "an error object is no answer, whatever the status");
}

#[tokio::test]
async fn end_to_end_headers_go_through_unchanged_and_in_order() {
    let lines = "content-type: application/json; charset=utf-8\r\nretry-after: 20\r\nx-request-id: req_1\r\n\
        x-ratelimit-limit-requests: 500\r\nx-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 12ms\r\n\
        openai-organization: org\r\nset-cookie: a=1; Path=/\r\nset-cookie: b=2; HttpOnly\r\n\
        date: Tue, 01 Jan 2030 00:00:00 GMT\r\nserver: theirs\r\nvary: Origin\r\nx-utf8: caf\u{e9}\r\n";
    let upstream = ScriptedUpstream::start(vec![answer(429, lines, "{}")]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    let mut client = RawClient::connect(server.address()).await;
    client.post(CHAT, "", chat("hi")).await;
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    let theirs: Vec<&str> = head.lines().filter(|l| lines.lines().any(|line| line == *l)).collect();
    assert_eq!(theirs, lines.lines().collect::<Vec<_>>());
}

#[tokio::test]
async fn headers_of_one_connection_stay_on_it() {
    let lines = "connection: keep-alive, x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nproxy-authenticate: Basic\r\n\
        trailer: x-checksum\r\nupgrade: h2c\r\nx-kept: 1\r\n";
    let upstream = ScriptedUpstream::start(vec![answer(200, lines, completion("hi"))]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    let got = ask(server.address(), chat("hi")).await;
    for name in ["x-hop", "keep-alive", "proxy-authenticate", "trailer", "upgrade"] {
        assert_eq!(header(&got.head, name), None, "{name}");
    }
    assert_eq!(got.header("x-kept"), "1");
}

#[tokio::test]
async fn a_request_reaches_the_upstream_as_it_came_but_for_what_is_ours() {
    let upstream = ScriptedUpstream::start(vec![whole("hi")]);
    let folder = Folder::new();
    let server = record(&folder, &format!("{}/proxied/v1", upstream.url()), |_| {});
    let body =
        "{ \"model\" : \"gpt-4o\",\n \"messages\": [{\"content\":\"h\\u00e9\",\"role\":\"user\"}],\"x\":1.50 }\n";
    let headers = "authorization: Bearer sk-own\r\nopenai-organization: org\r\nuser-agent: sdk/1\r\nx-stainless-os: L\r\n\
        x-multi: 1\r\nx-multi: 2\r\ncookie: secret=1\r\naccept-encoding: gzip, br\r\nx-test-id: t\r\nx-aimock-context: c\r\n\
        x-aimock-strict: false\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\nte: trailers\r\n";
    ask_at(server.address(), "/v1/chat/completions?api-version=1&q=a%20b&empty=", headers, body).await;
    let seen = &upstream.requests()[0];
    assert_eq!(seen.line(), "POST /proxied/v1/chat/completions?api-version=1&q=a%20b&empty= HTTP/1.1");
    assert_eq!(seen.body, body.as_bytes());
    assert_eq!(seen.header("host"), Some(upstream.address().to_string().as_str()));
    assert_eq!(seen.header("content-length"), Some(body.len().to_string().as_str()));
    for (name, value) in [
        ("authorization", "Bearer sk-own"),
        ("openai-organization", "org"),
        ("user-agent", "sdk/1"),
        ("x-stainless-os", "L"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(seen.header(name), Some(value));
    }
    assert_eq!(seen.head.matches("x-multi:").count(), 2, "{}", seen.head);
    for name in ["cookie", "accept-encoding", "x-test-id", "x-aimock-context", "x-aimock-strict", "x-hop", "te"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_request_in_chunks_is_relayed_whole() {
    let upstream = ScriptedUpstream::start(vec![whole("hi")]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    let body = chat("in pieces");
    let mut client = RawClient::connect(server.address()).await;
    client.send(format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")).await;
    for piece in body.as_bytes().chunks(7) {
        client.send(chunk(piece)).await;
    }
    client.send(LAST_CHUNK).await;
    assert_eq!(read(&mut client).await.text(), "hi");
    assert_eq!(upstream.requests()[0].body, body.as_bytes());
}

#[tokio::test]
async fn an_answer_whose_length_was_told_keeps_it() {
    let upstream = ScriptedUpstream::start(vec![whole("hi"), stream("hi")]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    let got = ask(server.address(), chat("one")).await;
    assert_eq!(got.header("content-length"), completion("hi").len().to_string());
    assert_eq!(got.body, completion("hi"));
    let got = ask(server.address(), streamed("two")).await;
    assert_eq!((got.header("transfer-encoding"), got.header("content-length")), ("chunked", ""));
    assert_eq!(got.body, delta("hi") + &finish() + DONE);
}

#[tokio::test]
async fn an_answer_to_head_has_no_body() {
    let upstream = ScriptedUpstream::start(vec![vec![Step::write(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 512\r\nx-request-id: r\r\n\r\n",
    )]]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |config| (config.record, config.proxy_only) = (false, true));
    let mut client = RawClient::connect(server.address()).await;
    for _ in 0..2 {
        client.send("HEAD /v1/files/file-1 HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let head = client.read_head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!((header(&head, "x-request-id"), header(&head, "content-length")), (Some("r"), Some("512")));
    }
}

#[tokio::test]
async fn sixty_mebibytes_go_through_in_both_directions() {
    let text = "x".repeat(60 << 20);
    let reply = format!("{{\"object\":\"list\",\"data\":\"{text}\"}}");
    let upstream = ScriptedUpstream::start(vec![answer(200, "content-type: application/json\r\n", &reply)]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |config| (config.record, config.proxy_only) = (false, true));
    let body = format!("{{\"purpose\":\"{text}\"}}");
    let got = ask_at(server.address(), "/v1/files", "", &body).await;
    assert!(got.body == reply, "{} of {} bytes", got.body.len(), reply.len());
    assert!(upstream.requests()[0].body == body.as_bytes());
}

#[tokio::test]
async fn nothing_is_read_ahead_of_a_client_that_does_not_read() {
    let all_read = Gate::new();
    let body = vec![b'x'; 100 << 20];
    let script = [answer(200, "content-type: audio/mpeg\r\n", &body), vec![Step::Open(all_read.clone())]].concat();
    let upstream = ScriptedUpstream::start(vec![script]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |config| (config.record, config.proxy_only) = (false, true));
    let mut slow = RawClient::connect(server.address()).await;
    slow.post("/v1/audio/speech", "", "{}").await;
    slow.read_head().await;
    let mut other = RawClient::connect(server.address()).await;
    for _ in 0..200 {
        other.send("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        other.read_answer().await;
    }
    assert!(!all_read.is_open());
    slow.read_exact(body.len()).await;
    all_read.opened().await;
}

#[tokio::test]
async fn an_upstream_that_answers_before_it_has_read_the_request_is_heard() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let folder = Folder::new();
    let server = record(&folder, &url, |config| (config.record, config.proxy_only) = (false, true));
    let upstream = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nx-theirs: 1\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        stream
    };
    let (got, _stream) = tokio::join!(ask(server.address(), chat(&"x".repeat(20 << 20))), upstream);
    assert_eq!((got.status(), got.header("x-theirs"), got.body.as_str()), (413, "1", "{}"));
}

// ------------------------------------------------------------------------------------------------ how it ends

/// Scripts that end an answer before its end.
fn cuts() -> Vec<(&'static str, Script)> {
    let told = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"id\":";
    let stream = || vec![Step::write(STREAM_HEAD), Step::Write(chunk(delta("one")))];
    let with = |steps: Vec<Step>, end: Step| [steps, vec![end]].concat();
    vec![
        ("fewer bytes than told", with(vec![Step::write(told)], Step::Close)),
        ("fewer bytes than told, reset", with(vec![Step::write(told)], Step::Reset)),
        ("no last chunk", with(stream(), Step::Close)),
        (
            "no last chunk after the finish reason",
            with([stream(), vec![Step::Write(chunk(finish()))]].concat(), Step::Cut),
        ),
        ("inside a chunk", with([stream(), vec![Step::write("ff\r\ndata: ")]].concat(), Step::Close)),
        ("a chunk that is none", with([stream(), vec![Step::write("zz\r\n")]].concat(), Step::Close)),
    ]
}

#[tokio::test]
async fn a_cut_answer_never_ends_cleanly() {
    for (name, script) in cuts() {
        for recording in [true, false] {
            let upstream = ScriptedUpstream::start(vec![script.clone()]);
            let folder = Folder::new();
            let server = record(&folder, &upstream.url(), |config| {
                config.record = recording;
                config.proxy_only = !recording;
            });
            let mut client = RawClient::connect(server.address()).await;
            client.post(CHAT, "", streamed("hi")).await;
            let head = client.read_head().await;
            let rest = client.read_to_end().await.unwrap_or_default();
            let whole = match header(&head, "content-length") {
                Some(length) => rest.len() >= length.parse().unwrap(),
                None => rest.ends_with(LAST_CHUNK.as_bytes()),
            };
            assert!(!whole, "{name}: {}", String::from_utf8_lossy(&rest));
            assert_eq!(folder.files(), [], "{name}");
            if recording {
                server.logged("not recorded: the answer was cut").await;
            }
        }
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_sees_a_cut_as_a_reset() {
    let upstream = ScriptedUpstream::start(vec![
        vec![Step::write(STREAM_HEAD), Step::Write(chunk(delta("one"))), Step::Close],
        stream("whole"),
    ]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    let body = streamed("hi");
    let request = format!("POST {CHAT} HTTP/1.0\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut client = RawClient::connect(server.address()).await;
    client.send(&request).await;
    let head = client.read_head().await;
    assert_eq!(header(&head, "transfer-encoding"), None, "{head}");
    assert!(client.read_to_end().await.is_err(), "only a reset tells it that there is more");

    let mut client = RawClient::connect(server.address()).await;
    client.send(&request).await;
    client.read_head().await;
    let rest = String::from_utf8(client.read_to_end().await.expect("a clean end")).unwrap();
    assert_eq!(rest, delta("whole") + &finish() + DONE);
}

#[tokio::test]
async fn a_body_that_only_the_close_ends_is_relayed_and_recorded() {
    let body = completion("until the close");
    let script =
        vec![Step::write(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{body}")), Step::Close];
    let upstream = ScriptedUpstream::start(vec![script]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    assert_eq!(ask(server.address(), chat("hi")).await.body, body);
    assert_eq!(ask(server.address(), chat("hi")).await.how(), (200, "fixture", "exact"));
}

#[tokio::test]
async fn a_client_that_goes_takes_the_upstream_call_with_it() {
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
    client.read_head().await;
    sent.opened().await;
    drop(client);
    gone.opened().await;
    server.logged("the client went away before the answer's end").await;
    assert_eq!(folder.files(), []);
}

#[tokio::test]
async fn a_client_that_goes_before_the_head_takes_the_upstream_call_with_it() {
    let gone = Gate::new();
    let upstream = ScriptedUpstream::start(vec![vec![Step::AwaitHangup(gone.clone())]]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    let mut client = RawClient::connect(server.address()).await;
    client.post(CHAT, "", streamed("hi")).await;
    while upstream.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    drop(client);
    gone.opened().await;
}

// ------------------------------------------------------------------------------------------------ what goes wrong

#[tokio::test]
async fn an_upstream_that_does_not_answer_in_time_is_504() {
    let upstream = ScriptedUpstream::start(vec![vec![Step::Hold]]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |config| config.upstream_timeout_ms = 100);
    let got = ask(server.address(), chat("hi")).await;
    assert_eq!((got.status(), got.json()["error"]["code"].as_str()), (504, Some("upstream_timeout")));
    assert!(got.body.contains("within 100 ms"), "{}", got.body);
    server.logged("did not answer within 100 ms").await;
}

#[tokio::test]
async fn an_upstream_that_falls_silent_breaks_the_connection() {
    let upstream =
        ScriptedUpstream::start(vec![vec![Step::write(STREAM_HEAD), Step::Write(chunk(delta("one"))), Step::Hold]]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |config| config.body_timeout_ms = 100);
    let mut client = RawClient::connect(server.address()).await;
    client.post(CHAT, "", streamed("hi")).await;
    client.read_head().await;
    assert_eq!(client.read_chunk().await, Some(delta("one").into_bytes()));
    assert_eq!(client.read_to_end().await.expect("no reset"), b"", "no last chunk");
    server.logged("sent nothing more of its answer for 100 ms").await;
    assert_eq!(folder.files(), []);
}

#[tokio::test]
async fn an_upstream_that_refuses_is_502_in_the_providers_shape() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = Folder::new();
    let server = record(&folder, &format!("http://127.0.0.1:{port}"), |_| {});
    let got = ask(server.address(), chat("hi")).await;
    let error = &got.json()["error"];
    assert_eq!((got.status(), error["code"].as_str()), (502, Some("upstream_unreachable")));
    assert!(error["message"].as_str().unwrap().contains(&format!("127.0.0.1:{port}")), "{error}");
}

#[tokio::test]
async fn what_is_no_http_is_502() {
    let upstream = ScriptedUpstream::start(vec![vec![Step::write("SSH-2.0-OpenSSH\r\n\r\n"), Step::Close]]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    assert_eq!(ask(server.address(), chat("hi")).await.status(), 502);
}

#[tokio::test]
async fn connections_to_the_upstream_are_reused() {
    let upstream = ScriptedUpstream::start(vec![whole("one"), stream("two"), whole("three")]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    assert_eq!(ask(server.address(), chat("1")).await.text(), "one");
    assert_eq!(ask(server.address(), streamed("2")).await.text(), "two");
    assert_eq!(ask(server.address(), chat("3")).await.text(), "three");
    assert_eq!((upstream.requests().len(), upstream.connections()), (3, 1));
}

#[tokio::test]
async fn an_answer_that_is_compressed_all_the_same_goes_through_unread() {
    let bytes: Vec<u8> = (0..=255).collect();
    let upstream = ScriptedUpstream::start(vec![answer(200, "content-encoding: gzip\r\n", &bytes)]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    let mut client = RawClient::connect(server.address()).await;
    client.post(CHAT, "", chat("hi")).await;
    let (head, body) = client.read_answer().await;
    assert_eq!((header(&head, "content-encoding"), body), (Some("gzip"), bytes));
    server.logged("compressed its answer (gzip)").await;
    assert_eq!(folder.files(), []);
}

// ------------------------------------------------------------------------------------------------ the program's environment

#[tokio::test]
async fn tls_upstreams_are_trusted_through_ssl_cert_file() {
    let authority = Authority::new("relay_tls");
    let cut = vec![Step::write(STREAM_HEAD), Step::Write(chunk(delta("one"))), Step::Cut];
    let upstream = ScriptedUpstream::start_tls(vec![stream("hi"), cut], authority.server(&["127.0.0.1"], |_| {}));
    let folder = Folder::new();
    let fixtures = folder.path().to_str().unwrap();
    let args = ["--port", "0", "--record", "--provider-openai", &upstream.url(), "-f", fixtures];
    let (_program, address) = Program::listening(program(&args).env("SSL_CERT_FILE", &authority.file));
    assert_eq!(ask(address, streamed("one")).await.text(), "hi");
    assert_eq!(folder.recordings().len(), 1);

    let mut client = RawClient::connect(address).await;
    client.post(CHAT, "", streamed("two")).await;
    client.read_head().await;
    assert_eq!(client.read_chunk().await, Some(delta("one").into_bytes()));
    assert_eq!(client.read_to_end().await.expect("no reset"), b"", "no last chunk");
    assert_eq!(folder.recordings().len(), 1);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_trusted_says_why() {
    let authority = Authority::new("relay_untrusted");
    for (name, trusted, why) in [("127.0.0.1", false, "unknown issuer"), ("api.example.com", true, "another name")] {
        let upstream = ScriptedUpstream::start_tls(vec![whole("hi")], authority.server(&[name], |_| {}));
        let mut command = program(&["--port", "0", "--record", "--provider-openai", &upstream.url()]);
        if trusted {
            command.env("SSL_CERT_FILE", &authority.file);
        }
        let (program, address) = Program::listening(&mut command);
        let got = ask(address, chat("hi")).await;
        assert_eq!(got.status(), 502);
        assert!(got.body.contains(why) && got.body.contains(&upstream.address().to_string()), "{}", got.body);
        program.signal("TERM");
        let stderr = program.wait().stderr;
        assert!(stderr.contains(why), "{stderr}");
    }
}

#[tokio::test]
async fn a_key_from_the_environment_replaces_a_placeholder_and_no_other() {
    let upstream = ScriptedUpstream::start(vec![whole("hi")]);
    let args = ["--port", "0", "--proxy-only", "--provider-openai", &upstream.url(), "--log-level", "debug"];
    let (program, address) =
        Program::listening(program(&args).env("AIMOCK_PROVIDER_OPENAI_KEY", "real-key-0123456789"));
    for headers in ["", "authorization: Bearer sk-aimock-x\r\n", "authorization: Bearer sk-own\r\n"] {
        ask_with(address, headers, chat("hi")).await;
    }
    let sent: Vec<_> = upstream.requests().iter().map(|r| r.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(sent, ["Bearer real-key-0123456789", "Bearer real-key-0123456789", "Bearer sk-own"]);
    program.signal("TERM");
    let ended = program.wait();
    assert!(!ended.stderr.contains("real-key") && !ended.stderr.contains("sk-own"), "{}", ended.stderr);
}

#[tokio::test]
async fn proxy_only_relays_misses_and_writes_nothing() {
    let upstream = ScriptedUpstream::start(vec![whole("from afar")]);
    let folder = Folder::new();
    folder.write("a.json", r#"{"fixtures":[{"match":{"userMessage":"near"},"response":{"content":"from here"}}]}"#);
    let server = serve(&folder, |config| {
        config.proxy_only = true;
        with_upstream(config, &upstream.url());
    });
    assert_eq!(ask(server.address(), chat("near")).await.text(), "from here");
    for _ in 0..2 {
        assert_eq!(ask(server.address(), chat("elsewhere")).await.text(), "from afar");
    }
    assert_eq!((upstream.requests().len(), folder.files().len()), (2, 1));
}
