//! HTTP/1 as clients speak it, well and badly: the server answers what can be answered and stays up.

mod common;

use common::chat::{CHAT, DONE, Got, LAST_CHUNK, ask, ask_at, ask_with, chat, read, streamed, whole};
use common::server::{Folder, Server, record, serve};
use common::{RawClient, ScriptedUpstream, chunk, header};
use serde_json::{Value, json};

const RULES: &str = r#"{"fixtures":[{"match":{"userMessage":"hi"},"response":{"content":"here, ñ 🌍"}}]}"#;

/// A server that answers `hi`.
fn greeter(folder: &Folder) -> Server {
    folder.write("rules.json", RULES);
    serve(folder, |_| {})
}

/// Sends these bytes and reads an answer.
async fn exchange(server: &Server, bytes: impl AsRef<[u8]>) -> Got {
    let mut client = RawClient::connect(server.address()).await;
    client.send(bytes).await;
    read(&mut client).await
}

/// A request as raw bytes.
fn post(target: &str, headers: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

// ------------------------------------------------------------------------------------------------ answers

#[tokio::test]
async fn a_stream_ends_with_done_and_a_whole_answer_has_a_length() {
    let folder = Folder::new();
    let server = greeter(&folder);
    let got = ask(server.address(), streamed("hi")).await;
    assert_eq!((got.header("content-type"), got.header("content-length")), ("text/event-stream", ""));
    assert!(got.body.ends_with(DONE), "{}", got.body);
    assert_eq!(got.text(), "here, ñ 🌍");
    let got = ask(server.address(), chat("hi")).await;
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(
        (got.header("content-length"), got.text().as_str()),
        (got.body.len().to_string().as_str(), "here, ñ 🌍")
    );
}

#[tokio::test]
async fn one_connection_serves_many_requests_whatever_their_answers() {
    let folder = Folder::new();
    let server = greeter(&folder);
    let mut client = RawClient::connect(server.address()).await;
    for (body, status) in [(chat("hi"), 200), (chat("zzz"), 404), ("{".into(), 400), (streamed("hi"), 200)] {
        client.post(CHAT, "", body).await;
        assert_eq!(read(&mut client).await.status(), status);
    }
    client.send("GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(read(&mut client).await.status(), 404);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let folder = Folder::new();
    let server = greeter(&folder);
    let mut client = RawClient::connect(server.address()).await;
    let requests = [chat("hi"), chat("zzz"), streamed("hi"), chat("hi")].map(|body| post(CHAT, "", &body));
    client.send(requests.concat()).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(read(&mut client).await.status());
    }
    assert_eq!(statuses, [200, 404, 200, 200]);
}

#[tokio::test]
async fn a_request_may_come_byte_by_byte() {
    let folder = Folder::new();
    let server = greeter(&folder);
    let mut client = RawClient::connect(server.address()).await;
    for byte in post(CHAT, "", &chat("hi")).bytes() {
        client.send([byte]).await;
    }
    assert_eq!(read(&mut client).await.text(), "here, ñ 🌍");
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_its_answer_and_the_close() {
    let folder = Folder::new();
    let server = greeter(&folder);
    for (body, end) in [(chat("hi"), "}"), (streamed("hi"), DONE)] {
        let mut client = RawClient::connect(server.address()).await;
        client.send(format!("POST {CHAT} HTTP/1.0\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
        let head = client.read_head().await;
        assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
        assert_eq!(header(&head, "transfer-encoding"), None, "{head}");
        let rest = String::from_utf8(client.read_to_end().await.expect("a clean end")).unwrap();
        assert!(rest.contains("here, ñ 🌍") && rest.ends_with(end), "{rest}");
    }
}

#[tokio::test]
async fn a_connection_is_closed_where_the_client_says_so() {
    let folder = Folder::new();
    let server = greeter(&folder);
    let mut client = RawClient::connect(server.address()).await;
    client.send(post(CHAT, "connection: close\r\n", &chat("hi"))).await;
    read(&mut client).await;
    assert_eq!(client.read_to_end().await.expect("a clean end"), b"");
}

#[tokio::test]
async fn other_forms_of_the_same_target_are_served() {
    let folder = Folder::new();
    let server = greeter(&folder);
    let absolute = format!("http://{}{CHAT}", server.address());
    for target in [
        CHAT,
        "/v1/chat/completions/",
        "/openai/v1/chat/completions",
        "/api/v1/chat/completions?x=1",
        "/v4/chat/completions",
        &absolute,
    ] {
        assert_eq!(exchange(&server, post(target, "", &chat("hi"))).await.status(), 200, "{target}");
    }
}

// ------------------------------------------------------------------------------------------------ methods

#[tokio::test]
async fn preflights_are_answered_and_every_answer_may_be_read() {
    let folder = Folder::new();
    let server = greeter(&folder);
    let preflight =
        "access-control-request-method: POST\r\naccess-control-request-headers: authorization, x-stainless-os\r\n";
    let request =
        format!("OPTIONS {CHAT} HTTP/1.1\r\nhost: localhost\r\norigin: http://app.example\r\n{preflight}\r\n");
    let mut client = RawClient::connect(server.address()).await;
    client.send(request).await;
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    assert_eq!(header(&head, "access-control-allow-origin"), Some("*"));
    assert_eq!(header(&head, "access-control-allow-headers"), Some("authorization, x-stainless-os"));
    assert!(header(&head, "access-control-allow-methods").is_some_and(|m| m.contains("POST")), "{head}");
    assert_eq!(server.mock.requests(), [] as [Value; 0], "a preflight asks nothing");

    for body in [chat("hi"), streamed("hi"), chat("zzz"), "{".into()] {
        assert_eq!(ask(server.address(), body).await.header("access-control-allow-origin"), "*");
    }
    assert_eq!(
        exchange(&server, "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .header("access-control-allow-origin"),
        "*"
    );
}

#[tokio::test]
async fn an_upstreams_own_word_on_origins_stands() {
    let headers = "access-control-allow-origin: http://app.example\r\n";
    let upstream = ScriptedUpstream::start(vec![common::answer(200, headers, "{}"), whole("hi")]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    let got = ask(server.address(), chat("hi")).await;
    assert_eq!(got.head.matches("access-control-allow-origin").count(), 1, "{}", got.head);
    assert_eq!(got.header("access-control-allow-origin"), "http://app.example");
    let page = ask_with(server.address(), "origin: http://localhost:3000\r\n", chat("hi")).await;
    assert_eq!(page.header("access-control-allow-origin"), "http://localhost:3000");
    assert!(!ask(server.address(), chat("hi")).await.head.contains("access-control"), "no page asked");
}

#[tokio::test]
async fn a_method_that_the_path_does_not_have_is_an_error_and_no_hang() {
    let folder = Folder::new();
    let server = greeter(&folder);
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
        let got = exchange(&server, format!("{method} {CHAT} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
        assert_eq!((got.status(), &got.json()["error"]["code"]), (404, &json!("unknown_endpoint")), "{method}");
    }
    let mut client = RawClient::connect(server.address()).await;
    for (path, status) in [(CHAT, "404"), ("/health", "200"), ("/ready", "200")] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
        let head = client.read_head().await;
        assert_eq!(head.split(' ').nth(1), Some(status), "{path}");
    }
}

#[tokio::test]
async fn health_and_readiness_are_told() {
    let folder = Folder::new();
    let server = greeter(&folder);
    for path in ["/health", "/ready", "/health?verbose=1"] {
        let got = exchange(&server, format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
        assert_eq!(got.status(), 200, "{path}");
        assert!(got.json().is_object());
    }
    assert_eq!(server.mock.requests(), [] as [Value; 0], "they are no part of what was asked");
}

#[tokio::test]
async fn a_list_of_models_is_made_up_from_the_fixtures() {
    let folder = Folder::new();
    folder.write("a.json", r#"{"fixtures":[{"match":{"model":"gpt-4o"},"response":{"content":"x"}}]}"#);
    let server = serve(&folder, |_| {});
    let got = exchange(&server, "GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!((got.status(), &got.json()["data"][0]["id"]), (200, &json!("gpt-4o")));
}

// ------------------------------------------------------------------------------------------------ sizes

#[tokio::test]
async fn a_body_over_the_limit_is_413_in_the_providers_shape() {
    let folder = Folder::new();
    folder.write("rules.json", RULES);
    let server = serve(&folder, |config| config.max_body_bytes = 1000);
    let fits = chat("hi");
    assert_eq!(ask(server.address(), format!("{fits:<1000}")).await.status(), 200);
    let over = format!("{fits:<1001}");
    let in_chunks = [
        format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes(),
        chunk(&over),
        LAST_CHUNK.into(),
    ];
    for got in [ask(server.address(), &over).await, exchange(&server, in_chunks.concat()).await] {
        assert_eq!((got.status(), &got.json()["error"]["code"]), (413, &json!("body_too_large")));
        assert!(got.body.contains("--max-body-bytes") && got.body.contains("1000"), "{}", got.body);
        assert_eq!((got.header("connection"), got.header("x-aimock-source")), ("close", "miss"));
    }
    let anthropic = ask_at(server.address(), "/v1/messages", "", &over).await;
    assert_eq!((anthropic.status(), &anthropic.json()["type"]), (413, &json!("error")));
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_has_its_413() {
    let folder = Folder::new();
    let server = serve(&folder, |config| config.max_body_bytes = 1000);
    let body = "x".repeat(20 << 20);
    for told in [true, false] {
        let answer = tokio::task::spawn_blocking({
            let (address, body) = (server.address(), body.clone());
            move || send_all_then_read(address, &body, told)
        });
        let answer = answer.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer:?}");
        assert!(answer.contains("body_too_large"), "{answer:?}");
    }
}

/// As blocking clients do: the whole request, whatever comes back meanwhile, and then the answer.
fn send_all_then_read(server: std::net::SocketAddr, body: &str, told: bool) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(server).expect("a server");
    let framing =
        if told { format!("content-length: {}", body.len()) } else { "transfer-encoding: chunked".to_owned() };
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\n{framing}\r\n\r\n");
    let body = if told { body.as_bytes().to_vec() } else { [chunk(body), LAST_CHUNK.into()].concat() };
    // The server may stop to read; its answer is there all the same.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_body_of_60_mebibytes_is_answered() {
    let folder = Folder::new();
    let server = greeter(&folder);
    let text = format!("hi {}", "x".repeat(60 << 20));
    assert_eq!(ask(server.address(), chat(&text)).await.text(), "here, ñ 🌍");
    assert!(server.mock.requests()[0].to_string().len() < 1 << 20, "the journal keeps the start alone");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431() {
    let folder = Folder::new();
    let server = greeter(&folder);
    let long = format!("x-long: {}\r\n", "x".repeat(2 << 20));
    let many = "x-many: 1\r\n".repeat(2000);
    for headers in [long, many] {
        let mut client = RawClient::connect(server.address()).await;
        client.try_send(format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")).await;
        let head = client.read_head().await;
        assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
    }
    assert_eq!(ask(server.address(), chat("hi")).await.status(), 200);
}

#[tokio::test]
async fn a_hundred_headers_are_nothing_special() {
    let folder = Folder::new();
    let server = greeter(&folder);
    let headers: String = (0..95).map(|n| format!("x-header-{n}: {}\r\n", "v".repeat(100))).collect();
    assert_eq!(ask_with(server.address(), &headers, chat("hi")).await.status(), 200);
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it() {
    let folder = Folder::new();
    let server = greeter(&folder);
    let body = chat("hi");
    let mut client = RawClient::connect(server.address()).await;
    client
        .send(format!(
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        ))
        .await;
    assert!(client.read_head().await.starts_with("HTTP/1.1 100 "));
    client.send(body).await;
    assert_eq!(read(&mut client).await.status(), 200);
}

// ------------------------------------------------------------------------------------------------ what is no HTTP

#[tokio::test]
async fn what_is_no_http_is_400_and_harms_no_one() {
    let folder = Folder::new();
    let server = greeter(&folder);
    for bytes in [
        "nonsense\r\n\r\n",
        "POST /v1/chat/completions HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nbad header\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: two\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}\r\n\r\n",
    ] {
        let mut client = RawClient::connect(server.address()).await;
        client.send(bytes).await;
        let answer = client.read_to_end().await.unwrap_or_default();
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{bytes:?}: {}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert_eq!(ask(server.address(), chat("hi")).await.status(), 200);
    assert_eq!(server.mock.requests().len(), 1, "nothing else was a request");
}

#[tokio::test]
async fn a_request_that_is_cut_off_is_asked_of_nobody() {
    let upstream = ScriptedUpstream::start(vec![whole("hi")]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    let request = post(CHAT, "", &chat("half a request"));
    for end in [30, request.len() - 1] {
        for reset in [true, false] {
            let mut client = RawClient::connect(server.address()).await;
            client.send(&request[..end]).await;
            if reset {
                client.reset();
            }
        }
    }
    let mut client = RawClient::connect(server.address()).await;
    client.send(format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")).await;
    let _ = client.read_to_end().await;
    assert_eq!(ask(server.address(), chat("a whole one")).await.text(), "hi");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_hundred_connections_at_once_are_served() {
    let folder = Folder::new();
    let server = greeter(&folder);
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(RawClient::connect(server.address()).await);
    }
    for client in &mut clients {
        client.post(CHAT, "", chat("hi")).await;
    }
    for client in &mut clients {
        assert_eq!(read(client).await.status(), 200);
    }
}

#[tokio::test]
async fn idle_connections_among_many_go_on_where_they_were() {
    let folder = Folder::new();
    let server = greeter(&folder);
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = RawClient::connect(server.address()).await;
        client.post(CHAT, "", chat("hi")).await;
        assert_eq!(read(&mut client).await.status(), 200);
        clients.push(client);
    }
    // A request of which a part comes with the one before it, wherever it is cut.
    let request = post(CHAT, "", &streamed("hi"));
    for (cut, client) in (0..request.len()).step_by(request.len() / clients.len() + 1).zip(&mut clients) {
        client.send([request.as_bytes(), &request.as_bytes()[..cut]].concat()).await;
        assert_eq!(read(client).await.text(), "here, ñ 🌍", "{cut}");
        client.send(&request[cut..]).await;
        assert_eq!(read(client).await.text(), "here, ñ 🌍", "{cut}");
    }
    drop(server);
    for client in &mut clients {
        assert_eq!(client.read_to_end().await.expect("a clean end"), b"");
    }
}
