//! Who may ask, and whose credentials go where: attacks as raw bytes, what came back, what the upstream saw, what was
//! written. Every rule has what it keeps out and what it lets in.

mod common;

use aimock::provider::PROVIDERS;
use aimock::upstream::BaseUrl;
use aimock::{Config, Recording};
use common::chat::{CHAT, Got, ask, ask_at, ask_with, chat, completion, read, whole};
use common::server::{Folder, Program, Server, program, record, serve, with_upstream};
use common::{RawClient, Received, ScriptedUpstream, answer, header};
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;

/// Sends a request as it is, and reads its answer.
async fn say(server: SocketAddr, request: impl AsRef<[u8]>) -> Got {
    let mut client = RawClient::connect(server).await;
    client.send(request).await;
    read(&mut client).await
}

/// A request: its first line without the version, its headers, each with its `\r\n`, and its body.
fn raw(line: &str, headers: &str, body: &str) -> String {
    format!("{line} HTTP/1.1\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

fn upstream() -> ScriptedUpstream {
    ScriptedUpstream::start(vec![whole("from the upstream")])
}

/// A server with one rule.
fn greeter(change: impl FnOnce(&mut Config)) -> (Folder, Server) {
    let folder = Folder::new();
    folder.write("rules.json", r#"{"fixtures":[{"match":{"userMessage":"hi"},"response":{"content":"here"}}]}"#);
    let server = serve(&folder, change);
    (folder, server)
}

/// A change of state, as a client of the control API orders it.
async fn order(server: SocketAddr, line: &str, body: &str) -> Got {
    say(server, raw(line, "host: localhost\r\ncontent-type: application/json\r\n", body)).await
}

async fn start_recording(server: SocketAddr, order_body: serde_json::Value) -> Got {
    order(server, "POST /__aimock/recording", &order_body.to_string()).await
}

fn open_to(got: &Got) -> Option<&str> {
    header(&got.head, "access-control-allow-origin")
}

// ------------------------------------------------------------------------------------------------ pages and names

#[tokio::test]
async fn a_page_cannot_point_recording_at_itself() {
    let (evil, folder) = (upstream(), Folder::new());
    let (_fixtures, server) = greeter(|_| {});
    let order = json!({"providers": {"openai": evil.url()}, "fixturePath": folder.path()}).to_string();
    for (headers, status) in [
        ("host: evil.example\r\norigin: https://evil.example\r\ncontent-type: text/plain\r\n", 403),
        ("host: localhost\r\norigin: https://evil.example\r\ncontent-type: text/plain\r\n", 403),
        ("host: localhost\r\norigin: https://evil.example\r\ncontent-type: application/json\r\n", 403),
        ("host: evil.example\r\ncontent-type: application/json\r\n", 403),
        ("host: localhost\r\ncontent-type: text/plain\r\n", 415),
        ("host: localhost\r\norigin: http://localhost:3000\r\ncontent-type: application/json\r\n", 400),
    ] {
        let got = say(server.address(), raw("POST /__aimock/recording", headers, &order)).await;
        assert_eq!(got.status(), status, "{headers}: {}", got.body);
    }
    assert_eq!(ask(server.address(), chat("a question")).await.status(), 404, "nothing is recorded");
    assert_eq!((evil.connections(), folder.files().len()), (0, 0));
}

/// What a foreign page, a rebound name or a strange client may send while recording: its first line, its headers.
const ATTACKS: &[(&str, &str)] = &[
    // Without a preflight: forms and `no-cors`.
    ("POST /v1/chat/completions", "host: localhost\r\norigin: https://evil.example\r\ncontent-type: text/plain\r\n"),
    ("POST /v1/chat/completions", "host: localhost\r\norigin: null\r\ncontent-type: text/plain\r\n"),
    ("POST /v1/files", "host: 127.0.0.1\r\norigin: http://evil.example\r\nsec-fetch-site: cross-site\r\n"),
    // Images, scripts, links.
    ("GET /v1/models", "host: localhost\r\nsec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors\r\n"),
    ("GET /__aimock/journal", "host: localhost\r\nsec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\n"),
    // Reading.
    ("GET /__aimock/journal", "host: localhost\r\norigin: https://evil.example\r\n"),
    ("GET /v1/_requests", "host: localhost\r\norigin: https://evil.example\r\n"),
    ("GET /metrics", "host: localhost\r\norigin: https://evil.example\r\n"),
    ("GET /__aimock/report", "host: localhost\r\norigin: http://localhost.evil.example\r\n"),
    ("GET /__aimock/fixtures", "host: localhost\r\norigin: http://evil.example:127\r\n"),
    ("GET /__aimock/health", "host: localhost\r\norigin: chrome-extension://abcdefgh\r\n"),
    ("GET /__aimock/journal", "host: localhost\r\norigin: http://localhost\r\norigin: https://evil.example\r\n"),
    // Changing.
    ("DELETE /__aimock/fixtures", "host: localhost\r\norigin: https://evil.example\r\n"),
    ("DELETE /__aimock/recording", "host: evil.example\r\n"),
    ("POST /__aimock/reset", "host: localhost\r\norigin: null\r\ncontent-type: application/json\r\n"),
    // Preflights.
    (
        "OPTIONS /v1/chat/completions",
        "host: localhost\r\norigin: https://evil.example\r\naccess-control-request-method: POST\r\n",
    ),
    (
        "OPTIONS /__aimock/fixtures",
        "host: localhost\r\norigin: https://evil.example\r\naccess-control-request-method: DELETE\r\n",
    ),
    // Names that were rebound to this address.
    ("POST /v1/chat/completions", "host: evil.example:4010\r\ncontent-type: application/json\r\n"),
    ("GET /__aimock/journal", "host: evil.example\r\nsec-fetch-site: same-origin\r\n"),
    ("GET /__aimock/journal", "host: localhost.evil.example\r\n"),
    ("GET /__aimock/journal", "host: 127.0.0.1.evil.example\r\n"),
    ("GET /__aimock/journal", "host: localhost:4010@evil.example\r\n"),
    ("GET /__aimock/journal", "host: localhost, evil.example\r\n"),
    ("GET /__aimock/journal", "host: rebound\r\n"),
    ("GET /__aimock/journal", "host: 192.168.1.5:4010\r\n"),
    ("GET /__aimock/journal", "host: \r\n"),
    ("GET /__aimock/journal", ""),
    ("GET /__aimock/journal", "host: localhost\r\nhost: evil.example\r\n"),
    ("GET http://evil.example/v1/models", "host: localhost\r\n"),
    ("GET http://localhost/v1/models", "host: evil.example\r\n"),
];

#[tokio::test]
async fn no_attack_of_a_page_is_answered_while_recording() {
    let (upstream, folder) = (upstream(), Folder::new());
    let server = record(&folder, &upstream.url(), |config| config.metrics = true);
    for (line, headers) in ATTACKS {
        let got = say(server.address(), raw(line, headers, &chat("attack"))).await;
        assert_eq!(got.status(), 403, "{line} {headers}: {}", got.body);
        assert_eq!(open_to(&got), None, "{line} {headers}");
        assert!(got.body.contains("--allow-host") || got.body.contains("--allow-origin"), "{}", got.body);
    }
    let bare = say(server.address(), "GET /v1/models HTTP/1.0\r\n\r\n").await;
    assert_eq!(bare.status(), 403, "{}", bare.body);
    assert_eq!((upstream.connections(), folder.files().len(), server.mock.requests().len()), (0, 0, 0));
    assert_eq!((server.count("misses"), server.count("recordErrors")), (0, 0), "no test failed");
    let log = server.log.to_vec();
    let warned = log.iter().filter(|line| line.starts_with("aimock: warn: refused ")).count();
    assert_eq!(warned, 3, "each kind once: {log:#?}");
    assert_eq!(ask(server.address(), chat("a question")).await.header("x-aimock-source"), "proxy", "it records on");
}

#[tokio::test]
async fn an_error_of_the_guard_has_the_shape_of_whoever_was_asked() {
    let upstream = upstream();
    let server = record(&Folder::new(), &upstream.url(), |_| {});
    let ask = |line| say(server.address(), raw(line, "host: evil.example\r\n", "{}"));
    let openai = ask("POST /v1/chat/completions").await;
    assert_eq!(
        (&openai.json()["error"]["code"], openai.header("x-aimock-source")),
        (&json!("host_not_allowed"), "miss")
    );
    assert!(openai.body.contains("'evil.example'") && openai.body.contains("--allow-host"), "{}", openai.body);
    assert_eq!(ask("POST /v1/messages").await.json()["type"], "error");
    assert!(ask("GET /__aimock/journal").await.json()["error"].is_string());
}

#[tokio::test]
async fn local_pages_and_programs_are_answered_while_recording() {
    let (upstream, folder) = (upstream(), Folder::new());
    let server = record(&folder, &upstream.url(), |config| {
        config.allow_origins.push("https://app.example".into());
        config.allow_hosts.push("mock.example".into());
    });
    for host in
        ["localhost", "LOCALHOST:4010", "localhost.", "127.0.0.1:1", "127.9.9.9", "[::1]:4010", "Mock.Example:80"]
    {
        let headers = format!("host: {host}\r\ncontent-type: application/json\r\n");
        let got = say(server.address(), raw("POST /v1/chat/completions", &headers, &chat("hi"))).await;
        assert_eq!((got.status(), open_to(&got)), (200, None), "{host}: {}", got.body);
        assert_eq!(say(server.address(), raw("GET /__aimock/journal", &headers, "")).await.status(), 200, "{host}");
    }
    for origin in
        ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:8080", "tauri://localhost", "https://app.example"]
    {
        let page = format!("origin: {origin}\r\nsec-fetch-site: cross-site\r\n");
        let got = ask_with(server.address(), &page, chat("hi")).await;
        assert_eq!((got.status(), open_to(&got), got.header("vary")), (200, Some(origin), "origin"), "{}", got.body);
        let preflight = format!("host: localhost\r\n{page}access-control-request-method: POST\r\n");
        for target in [CHAT, "/__aimock/reset"] {
            let got = say(server.address(), raw(&format!("OPTIONS {target}"), &preflight, "")).await;
            assert_eq!((got.status(), open_to(&got), got.header("vary")), (204, Some(origin), "origin"), "{target}");
        }
    }
    for site in ["none", "same-origin", "same-site"] {
        let headers = format!("host: localhost\r\nsec-fetch-site: {site}\r\n");
        assert_eq!(say(server.address(), raw("GET /__aimock/report", &headers, "")).await.status(), 200, "{site}");
    }
    let absolute = raw("GET http://localhost/__aimock/report", "host: 127.0.0.1\r\n", "");
    assert_eq!(say(server.address(), absolute).await.status(), 200);
}

#[tokio::test]
async fn a_replay_may_be_read_by_every_page() {
    let (_folder, server) = greeter(|_| {});
    let page = "host: evil.example\r\norigin: null\r\nsec-fetch-site: cross-site\r\n";
    for target in [CHAT, "/__test/t1/v1/chat/completions"] {
        let got = say(server.address(), raw(&format!("POST {target}"), page, &chat("hi"))).await;
        assert_eq!((got.status(), open_to(&got)), (200, Some("*")), "{}", got.body);
    }
    for target in ["/health", "/ready"] {
        assert_eq!(say(server.address(), raw(&format!("GET {target}"), page, "")).await.status(), 200);
    }
    let without_a_host = format!("POST {CHAT} HTTP/1.0\r\ncontent-length: {}\r\n\r\n{}", chat("hi").len(), chat("hi"));
    assert_eq!(say(server.address(), without_a_host).await.status(), 200);
    let journal = say(server.address(), raw("GET /__aimock/journal", page, "")).await;
    assert_eq!((journal.status(), open_to(&journal)), (403, None));
}

#[tokio::test]
async fn what_begins_at_run_time_is_guarded_until_it_ends() {
    let (upstream, (folder, server)) = (upstream(), greeter(|_| {}));
    let page = "host: localhost\r\norigin: https://evil.example\r\n";
    let status = async |server| say(server, raw(&format!("POST {CHAT}"), page, &chat("hi"))).await.status();
    assert_eq!(status(server.address()).await, 200);
    for proxy_only in [false, true] {
        let order_body = json!({"providers": {"openai": upstream.url()}, "proxyOnly": proxy_only});
        assert_eq!(start_recording(server.address(), order_body).await.status(), 200);
        assert_eq!(status(server.address()).await, 403, "{proxy_only}");
        assert_eq!(order(server.address(), "DELETE /__aimock/recording", "").await.status(), 200);
        assert_eq!(status(server.address()).await, 200);
    }
    assert_eq!((upstream.connections(), folder.files().len()), (0, 1));
}

#[tokio::test]
async fn a_request_that_began_before_recording_did_goes_nowhere() {
    let (upstream, (_folder, server)) = (upstream(), greeter(|_| {}));
    let (mut page, body) = (RawClient::connect(server.address()).await, chat("new"));
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: evil.example\r\ncontent-length: {}\r\n\r\n", body.len());
    page.send(head).await;
    let started = start_recording(server.address(), json!({"providers": {"openai": upstream.url()}})).await;
    assert_eq!(started.status(), 200);
    page.send(body).await;
    let got = read(&mut page).await;
    assert!([403, 404].contains(&got.status()), "{}", got.body); // as the server met the two
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_refused_client_reads_why_however_much_it_sends() {
    let upstream = upstream();
    let server = record(&Folder::new(), &upstream.url(), |_| {});
    let long = chat(&"x".repeat(600_000));
    let mut client = RawClient::connect(server.address()).await;
    for _ in 0..2 {
        client.send(raw(&format!("POST {CHAT}"), "host: evil.example\r\n", &long)).await;
        assert_eq!(read(&mut client).await.status(), 403);
    }
    let head =
        format!("POST {CHAT} HTTP/1.1\r\nhost: evil.example\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n");
    let got = say(server.address(), head).await;
    assert_eq!((got.status(), got.header("connection")), (403, "close"), "it is not asked to send its body");
}

#[tokio::test]
async fn beyond_loopback_names_of_containers_will_do_and_the_log_says_what_is_open() {
    let (upstream, folder) = (upstream(), Folder::new());
    let at = folder.path().to_str().expect("a path in UTF-8");
    let url = upstream.url();
    let (program, address) = Program::serve(&[
        "--host",
        "0.0.0.0",
        "-f",
        at,
        "--record",
        "--provider-openai",
        &url,
        "--allow-host",
        "m.example",
    ]);
    let local = SocketAddr::from(([127, 0, 0, 1], address.port()));
    for (host, status) in [
        ("aimock:4010", 200),
        ("my_box-1", 200),
        ("10.1.2.3:4010", 200),
        ("[2001:db8::1]", 200),
        ("0.0.0.0", 200),
        ("m.example", 200),
        ("aimock.default.svc", 403),
        ("evil.example", 403),
    ] {
        let got = say(local, raw("GET /__aimock/journal", &format!("host: {host}\r\n"), "")).await;
        assert_eq!(got.status(), status, "{host}: {}", got.body);
    }
    let foreign = "host: aimock\r\norigin: http://aimock:3000\r\n";
    assert_eq!(say(local, raw("GET /__aimock/journal", foreign, "")).await.status(), 403, "pages are another matter");
    program.signal("TERM");
    let log = program.wait().stderr;
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("beyond loopback")).collect();
    assert!(
        matches!(lines[..], [line] if line.starts_with("aimock: warn: listening on 0.0.0.0:")
        && line.contains("/__aimock/") && line.contains("--api-key")),
        "{log}"
    );

    let (program, _) = Program::serve(&["-f", at]);
    program.signal("TERM");
    let log = program.wait().stderr;
    assert!(!log.contains("beyond loopback"), "{log}");
}

#[tokio::test]
async fn a_recorded_page_does_not_run_as_one_of_this_servers_own() {
    let html = |kind: &str| answer(200, kind, "<script>fetch('/__aimock/journal')</script>");
    for (kind, sandboxed) in [
        ("content-type: text/html; charset=utf-8\r\n", true),
        ("content-type: image/svg+xml\r\n", true),
        ("", true),
        ("content-type: text/plain\r\n", false),
        ("content-type: application/octet-stream\r\n", false),
    ] {
        let (upstream, folder) = (ScriptedUpstream::start(vec![html(kind)]), Folder::new());
        let server = record(&folder, &upstream.url(), |_| {});
        for source in ["proxy", "fixture"] {
            let got = say(server.address(), raw("GET /v1/files/f/content", "host: localhost\r\n", "")).await;
            assert_eq!(got.header("x-aimock-source"), source, "{kind}: {}", got.head);
            let policy = header(&got.head, "content-security-policy");
            assert_eq!(policy.is_some(), sandboxed, "{kind} {source}: {}", got.head);
        }
    }
}

// ------------------------------------------------------------------------------------------------ the control API

#[tokio::test]
async fn state_is_changed_by_json_alone() {
    let (_folder, server) = greeter(|_| {});
    ask(server.address(), chat("hi")).await;
    let error = r#"{"status":500}"#;
    for (line, body) in [
        ("POST /__aimock/reset", ""),
        ("POST /__aimock/reset", "{}"),
        ("POST /__aimock/reset/journal", ""),
        ("POST /__aimock/reset/fixtures", ""),
        ("POST /__aimock/error", error),
        ("POST /__aimock/fixtures", r#"{"fixtures":[]}"#),
        ("POST /__aimock/chaos", r#"{"dropRate":1}"#),
        ("POST /__aimock/recording", r#"{"providers":{"openai":"http://127.0.0.1:1"}}"#),
        ("DELETE /__aimock/fixtures", "x"),
        ("DELETE /v1/_requests", "x"),
    ] {
        for kind in [
            "",
            "content-type: text/plain\r\n",
            "content-type: application/x-www-form-urlencoded\r\n",
            "content-type: text/plain; application/json\r\n",
            "content-type: multipart/form-data; boundary=application/json\r\n",
            "content-type: application/json, text/plain\r\n",
            "content-type: application/json\r\ncontent-type: text/plain\r\n",
        ] {
            let got = say(server.address(), raw(line, &format!("host: localhost\r\n{kind}"), body)).await;
            assert_eq!(got.status(), 415, "{line} {kind}: {}", got.body);
            assert!(got.json()["error"].as_str().is_some_and(|e| e.contains("content-type: application/json")));
        }
    }
    assert_eq!(server.mock.requests().len(), 1, "nothing was reset");
    assert_eq!(ask(server.address(), chat("hi")).await.text(), "here");
    for kind in ["application/json", "Application/JSON ; charset=utf-8"] {
        let headers = format!("host: localhost\r\ncontent-type: {kind}\r\n");
        assert_eq!(say(server.address(), raw("POST /__aimock/reset/journal", &headers, "")).await.status(), 200);
        assert_eq!(say(server.address(), raw("DELETE /__aimock/chaos", &headers, "{}")).await.status(), 200);
    }
    // A page has to ask before it sends a DELETE.
    assert_eq!(say(server.address(), raw("DELETE /__aimock/fixtures", "host: localhost\r\n", "")).await.status(), 200);
    assert_eq!(ask(server.address(), chat("hi")).await.status(), 404);
}

#[tokio::test]
async fn an_upstream_of_run_time_gets_no_key_from_the_environment() {
    let (own, other, folder) = (upstream(), upstream(), Folder::new());
    let at = folder.path().to_str().expect("a path in UTF-8");
    let mut command = program(&["--port", "0", "-f", at]);
    for provider in PROVIDERS {
        command.arg(format!("--provider-{}", provider.name)).arg(own.url());
        command.env(format!("AIMOCK_PROVIDER_{}_KEY", provider.name.to_uppercase()), "key-of-the-environment");
    }
    for (name, value) in
        [("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "hidden"), ("AWS_REGION", "eu-west-3")]
    {
        command.env(name, value);
    }
    let (_program, server) = Program::listening(&mut command);
    let signed =
        "authorization: AWS4-HMAC-SHA256 Credential=CLIENT/20260101/us-east-1/bedrock/aws4_request, Signature=0\r\n";
    for (url, trusted) in [(other.url(), false), (format!("{}/x", own.url()), false), (own.url(), true)] {
        let providers: serde_json::Map<_, _> = PROVIDERS.iter().map(|p| (p.name.into(), json!(url))).collect();
        let started = start_recording(server, json!({"providers": providers, "proxyOnly": true})).await;
        assert_eq!(started.status(), 200, "{}", started.body);
        for (target, headers) in [
            (CHAT, ""),
            (CHAT, "authorization: Bearer sk-aimock-placeholder\r\n"),
            ("/v1/messages", ""),
            ("/v1beta/models/g:generateContent", ""),
            ("/openai/deployments/d/chat/completions", ""),
            ("/v2/chat", ""),
            ("/model/m/converse", ""),
            ("/model/m/converse", signed),
        ] {
            ask_at(server, target, headers, chat("hi")).await;
        }
        for seen in
            own.requests().iter().chain(&other.requests()).filter(|seen| seen.line().contains("/x/") || !trusted)
        {
            assert!(!seen.head.contains("key-of-the-environment") && !seen.head.contains("AKID"), "{}", seen.head);
        }
    }
    let (seen, unseen) = (own.requests(), other.requests());
    assert_eq!((seen.len(), unseen.len()), (16, 8));
    let keyed = seen[8..].iter().filter(|seen| seen.head.contains("key-of-the-environment"));
    assert_eq!(keyed.count(), 7);
    assert!(seen[15].head.contains("Credential=AKID/") && unseen[7].head.contains("Credential=CLIENT/"));
}

#[tokio::test]
async fn recordings_go_nowhere_but_into_folders_of_fixtures() {
    let (outside, upstream) = (Folder::new(), upstream());
    let (folder, server) = greeter(|_| {});
    let root = folder.path();
    std::fs::create_dir(root.join("deep")).expect("a folder");
    std::os::unix::fs::symlink(outside.path(), root.join("out")).expect("a link");
    std::os::unix::fs::symlink(root.join("deep"), root.join("in")).expect("a link");
    std::os::unix::fs::symlink(root.join("nowhere"), root.join("dangling")).expect("a link");
    let begin = async |path: &Path| {
        let order_body = json!({"providers": {"openai": upstream.url()}, "fixturePath": path});
        start_recording(server.address(), order_body).await
    };
    let sibling = format!("{}-2", root.display());
    for path in [
        outside.path().to_owned(),
        "/".into(),
        "/etc".into(),
        "fixtures".into(),
        root.join(".."),
        root.join("deep/../../x"),
        root.join("deep/.."),
        root.join("out"),
        root.join("out/new/x"),
        root.join("dangling"),
        root.join("dangling/x"),
        root.join("rules.json/x"),
        root.join("\0"),
        sibling.into(),
    ] {
        let got = begin(&path).await;
        assert_eq!(got.status(), 400, "{}: {}", path.display(), got.body);
        let error = got.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains("fixturePath") && error.contains(&root.display().to_string()), "{error}");
    }
    assert_eq!(ask(server.address(), chat("new")).await.status(), 404, "nothing is recorded");
    let absolute = root.to_owned();
    for (n, path) in
        [absolute.clone(), root.join("new/deeper"), root.join("in"), root.join("./deep")].iter().enumerate()
    {
        assert_eq!(begin(path).await.status(), 200, "{}", path.display());
        assert_eq!(ask(server.address(), chat(&format!("new {n}"))).await.header("x-aimock-source"), "proxy");
    }
    assert_eq!(outside.files().len(), 0);
    // The rule and four recordings, those in `deep` seen once.
    let json = |(path, _): &(std::path::PathBuf, String)| path.extension().is_some_and(|e| e == "json");
    assert_eq!(folder.files().iter().filter(|file| json(file)).count(), 1 + 4);
    // The library's handle is the process's own.
    let recording = Recording::new().provider("openai", upstream.url()).fixture_path(outside.path());
    server.mock.enable_recording(recording).expect("a provider");
    ask(server.address(), chat("newest")).await;
    assert_eq!(outside.recordings().len(), 1);
}

// ------------------------------------------------------------------------------------------------ keys of its own

const KEY: &str = "k3y-of-this-server";

#[tokio::test]
async fn every_route_but_probes_wants_a_key() {
    let (_folder, server) = greeter(|config| {
        config.metrics = true;
        config.api_keys.add("another");
        config.api_keys.add(KEY);
    });
    let routes = [
        ("POST", CHAT),
        ("POST", "/v1/messages"),
        ("GET", "/v1/models"),
        ("GET", "/nowhere"),
        ("GET", "/metrics"),
        ("GET", "/__aimock/health"),
        ("GET", "/__aimock/journal"),
        ("GET", "/v1/_requests"),
        ("DELETE", "/__aimock/fixtures"),
    ];
    for (method, target) in routes {
        for key in ["", "authorization: Bearer k3y\r\n", "authorization: Bearer another, k3y-of-this-server\r\n"] {
            let headers = format!("host: localhost\r\n{key}");
            let got = say(server.address(), raw(&format!("{method} {target}"), &headers, &chat("hi"))).await;
            assert_eq!((got.status(), got.header("www-authenticate")), (401, "Bearer"), "{target}: {}", got.body);
            assert!(!got.body.contains("choices") && !got.body.contains(KEY), "{}", got.body);
        }
        let with = format!("{method} {target}?key={KEY}");
        let got = say(server.address(), raw(&with, "host: localhost\r\n", "")).await;
        assert_ne!(got.status(), 401, "{target}: {}", got.body);
    }
    for probe in ["/health", "/ready"] {
        assert_eq!(say(server.address(), raw(&format!("GET {probe}"), "", "")).await.status(), 200);
    }
    let page = "host: localhost\r\norigin: http://x.example\r\naccess-control-request-method: POST\r\n";
    assert_eq!(say(server.address(), raw(&format!("OPTIONS {CHAT}"), page, "")).await.status(), 204);
    let told = format!("{:?} {:?}", server.log.to_vec(), server.mock.requests());
    assert!(!told.contains(KEY), "{told}");
    let keyless = ask_with(server.address(), "origin: http://x.example\r\n", chat("hi")).await;
    assert_eq!((keyless.status(), open_to(&keyless)), (401, Some("*")), "a page can read why");
}

#[tokio::test]
async fn a_key_is_taken_wherever_an_sdk_puts_it_and_refused_in_its_providers_words() {
    let (_folder, server) = greeter(|config| config.api_keys.add(KEY));
    for (target, shape) in [
        (CHAT, "/error/code"),
        ("/v1/messages", "/error/type"),
        ("/v1beta/models/g:generateContent", "/error/status"),
        ("/model/m/converse", "/message"),
        ("/v2/chat", "/message"),
        ("/api/chat", "/error"),
    ] {
        let got = ask_at(server.address(), target, "", chat("hi")).await;
        assert_eq!(got.status(), 401, "{target}");
        assert!(got.json().pointer(shape).is_some_and(serde_json::Value::is_string), "{target}: {}", got.body);
    }
    for provider in PROVIDERS {
        let prefix = provider.credential.prefix;
        for name in provider.secret_headers.iter().chain([&provider.credential.header]) {
            let got = ask_with(server.address(), &format!("{name}: {prefix}{KEY}\r\n"), chat("hi")).await;
            assert_eq!(got.text(), "here", "{name}");
        }
        for name in provider.secret_query {
            let got = ask_at(server.address(), &format!("{CHAT}?{name}={KEY}"), "", chat("hi")).await;
            assert_eq!(got.text(), "here", "{name}");
        }
    }
    let signed =
        format!("authorization: AWS4-HMAC-SHA256 Credential={KEY}/20260101/r/bedrock/aws4_request, Signature=0\r\n");
    assert_eq!(ask_with(server.address(), &signed, chat("hi")).await.text(), "here");
}

#[tokio::test]
async fn a_key_of_this_server_goes_to_no_upstream_and_nowhere_else() {
    for signs in [false, true] {
        key_goes_nowhere(signs).await;
    }
}

/// With keys of AWS in the environment, or without.
async fn key_goes_nowhere(signs: bool) {
    let (upstream, folder) = (upstream(), Folder::new());
    let at = folder.path().to_str().expect("a path in UTF-8");
    let mut command = program(&["--port", "0", "-f", at, "--record", "--log-level", "debug"]);
    for provider in PROVIDERS {
        command.arg(format!("--provider-{}", provider.name)).arg(upstream.url());
        command.env(format!("AIMOCK_PROVIDER_{}_KEY", provider.name.to_uppercase()), "real-key");
    }
    command.env_remove("AWS_ACCESS_KEY_ID");
    if signs {
        command.env("AWS_ACCESS_KEY_ID", "AKID").env("AWS_SECRET_ACCESS_KEY", "hidden");
    }
    let (program, server) = Program::listening(command.env("AIMOCK_API_KEYS", format!("other , {KEY}")));
    assert_eq!(ask(server, chat("0")).await.status(), 401);
    let signed =
        format!("authorization: AWS4-HMAC-SHA256 Credential={KEY}/20260101/r/bedrock/aws4_request, Signature=0\r\n");
    let bearer = format!("authorization: Bearer {KEY}\r\n");
    for (n, (target, headers)) in [
        (CHAT.to_owned(), bearer.clone()),
        (format!("{CHAT}?key={KEY}"), String::new()),
        ("/v1/messages".into(), format!("x-api-key: {KEY}\r\n")),
        ("/v1/messages".into(), bearer.clone()),
        (format!("/v1beta/models/g:generateContent?key={KEY}&alt=json"), String::new()),
        ("/openai/deployments/d/chat/completions".into(), format!("api-key: {KEY}\r\n")),
        ("/model/m/converse".into(), format!("{signed}x-amz-date: 20260101T000000Z\r\n")),
        ("/v1/images/generations".into(), bearer.clone()),
        // Beside a key of the client's own.
        (CHAT.to_owned(), format!("authorization: Bearer the-clients-key\r\nx-api-key: {KEY}\r\n")),
    ]
    .into_iter()
    .enumerate()
    {
        let got = ask_at(server, &target, &headers, chat(&n.to_string())).await;
        assert_ne!(got.status(), 401, "{target} {headers}");
        assert_eq!(upstream.requests().len(), n + 1, "{target}: {}", got.body);
        let seen = last(&upstream);
        assert!(!seen.head.contains(KEY), "{}", seen.head);
        let own = match () {
            () if headers.contains("the-clients-key") => "the-clients-key",
            () if signs && headers.contains("AWS4") => "Credential=AKID/",
            () => "real-key",
        };
        assert!(seen.head.contains(own), "{target}: {}", seen.head);
    }
    let journal = say(server, raw("GET /__aimock/journal", &format!("host: localhost\r\n{bearer}"), "")).await;
    program.signal("TERM");
    let told = program.wait().stderr + &journal.body + &format!("{:?}", folder.files());
    assert!(journal.status() == 200 && !told.contains(KEY), "{told}");
}

#[test]
fn keys_of_the_environment_are_checked_and_the_command_gets_one() {
    for (value, code) in [(",", 2), (" ", 2), ("a b", 2), ("", 0), ("k1,k2", 0)] {
        let folder = Folder::new();
        let at = folder.path().to_str().expect("a path in UTF-8");
        let script = "echo $OPENAI_API_KEY $ANTHROPIC_API_KEY";
        let ended = Program::start(
            program(&["-f", at, "--", "sh", "-c", script])
                .env("AIMOCK_API_KEYS", value)
                .env("OPENAI_API_KEY", "sk-own")
                .env_remove("ANTHROPIC_API_KEY"),
        )
        .wait();
        assert_eq!(ended.code, Some(code), "{value:?}: {}", ended.stderr);
        let expected = match (code, value) {
            (0, "") => "sk-own sk-aimock-placeholder\n",
            (0, _) => "k1 k1\n",
            _ => "",
        };
        assert_eq!(ended.stdout, expected, "{value:?}");
        assert!(code == 0 || ended.stderr.contains("AIMOCK_API_KEYS"), "{}", ended.stderr);
    }
}

// ------------------------------------------------------------------------------------------------ others' credentials

/// A server that asks this upstream for everybody's endpoints.
fn forwards_all(folder: &Folder, upstream: &ScriptedUpstream) -> Server {
    serve(folder, |config| {
        config.proxy_only = true;
        for provider in PROVIDERS {
            config.upstreams.set(provider, BaseUrl::parse(&upstream.url()).expect("a URL"));
        }
    })
}

fn last(upstream: &ScriptedUpstream) -> Received {
    upstream.requests().pop().expect("it was forwarded")
}

/// Names that an upstream's request has a secret under.
fn keys_seen(seen: &Received) -> Vec<String> {
    let names = seen.head.lines().filter(|line| line.contains("s3cret")).filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.to_ascii_lowercase()).collect()
}

#[tokio::test]
async fn no_vendor_sees_anothers_credential() {
    let upstream = upstream();
    let server = forwards_all(&Folder::new(), &upstream);
    let foreign =
        ["xi-api-key", "helicone-auth", "x-portkey-api-key", "cf-aig-authorization", "api-token", "x-auth-token"];
    let of_the_table = PROVIDERS.iter().flat_map(|p| p.secret_headers.iter().chain([&p.credential.header]));
    let mut names: Vec<&str> = of_the_table.copied().chain(foreign).collect();
    names.sort_unstable();
    names.dedup();
    let all: String = names.iter().map(|name| format!("{name}: Bearer s3cret-{name}\r\n")).collect();
    let kept = "idempotency-key: i\r\nopenai-organization: o\r\nopenai-project: p\r\nx-request-id: r\r\n";
    for (target, own) in [
        (CHAT, &["authorization"][..]),
        ("/v1/messages", &["x-api-key"]),
        ("/v1beta/models/g:generateContent", &["x-goog-api-key"]),
        ("/v1/publishers/google/models/g:generateContent", &["authorization"]),
        ("/openai/deployments/d/chat/completions", &["api-key", "ocp-apim-subscription-key"]),
        ("/model/m/converse", &["authorization", "x-amz-security-token"]),
        ("/api/chat", &["authorization"]),
        ("/v2/chat", &["authorization"]),
    ] {
        ask_at(server.address(), target, &format!("{all}{kept}"), chat("hi")).await;
        let seen = last(&upstream);
        let mut found = keys_seen(&seen);
        found.sort_unstable();
        assert_eq!(found, own, "{target}");
        for line in kept.split_terminator("\r\n") {
            assert!(seen.head.to_ascii_lowercase().contains(line), "{target}: {line} in {}", seen.head);
        }
    }
    let warned = server.log.to_vec().into_iter().filter(|line| line.contains("'xi-api-key' was not forwarded")).count();
    assert_eq!(warned, 1, "once a name");
}

#[tokio::test]
async fn of_several_the_real_one_goes_on_and_of_those_the_sdks() {
    let upstream = upstream();
    let server = forwards_all(&Folder::new(), &upstream);
    for (target, headers, own, query) in [
        ("/v1/messages", "x-api-key: s3cret\r\nauthorization: Bearer s3cret\r\n", "x-api-key", ""),
        ("/v1/messages", "x-api-key: sk-aimock-x\r\nauthorization: Bearer s3cret\r\n", "authorization", ""),
        ("/v1/messages", "authorization: Bearer s3cret\r\n", "authorization", ""),
        ("/v1/messages", "api-key: s3cret\r\nanthropic-version: x\r\n", "api-key", ""),
        ("/v1beta/models/g:generateContent", "authorization: Bearer s3cret\r\n", "authorization", ""),
        (
            "/v1beta/models/g:generateContent?alt=json&key=s3cret",
            "x-goog-api-key: s3cret\r\n",
            "x-goog-api-key",
            "alt=json",
        ),
        ("/v1beta/models/g:generateContent?key=s3cret", "", "", "key=s3cret"),
        ("/v1beta/models/g:generateContent?key=s3cret", "x-goog-api-key: sk-aimock-x\r\n", "", "key=s3cret"),
        ("/v1beta/models/g:generateContent?key=a&access_token=b", "", "", "key=a"),
        ("/v1/chat/completions?key=s3cret&x=1", "authorization: Bearer s3cret\r\n", "authorization", "x=1"),
        ("/v1/chat/completions?api_key=s3cret&token=t&sig=s", "authorization: Bearer s3cret\r\n", "authorization", ""),
        ("/v1/files?page_token=p&after=f", "authorization: Bearer s3cret\r\n", "authorization", "page_token=p&after=f"),
    ] {
        ask_at(server.address(), target, headers, chat("hi")).await;
        let seen = last(&upstream);
        let found: Vec<String> = keys_seen(&seen).into_iter().filter(|name| !name.starts_with("post ")).collect();
        assert_eq!(found.concat(), own, "{target} {headers}: {}", seen.head);
        let line = seen.line().to_owned();
        assert_eq!(line.split([' ', '?']).nth(2).filter(|q| *q != "HTTP/1.1").unwrap_or(""), query, "{line}");
        assert!(!seen.head.contains("sk-aimock-"), "{}", seen.head);
    }
}

#[tokio::test]
async fn a_credential_that_nobody_knows_is_not_sent_anywhere_by_guess() {
    let upstream = upstream();
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    let speech = "/v1/text-to-speech/voice";
    for (target, headers) in [
        (speech, "xi-api-key: s3cret\r\n"),
        (speech, "XI-API-KEY: s3cret\r\ncookie: a=b\r\n"),
        ("/v1/search", "x-subscription-token: s3cret\r\n"),
        ("/search.json?q=x&api_key=s3cret", ""),
    ] {
        let got = ask_at(server.address(), target, headers, "{}").await;
        assert_eq!((got.status(), &got.json()["error"]["code"]), (404, &json!("unknown_endpoint")), "{}", got.body);
        assert!(got.body.contains("--upstream NAME=URL") && !got.body.contains("s3cret"), "{}", got.body);
    }
    assert_eq!((upstream.connections(), folder.files().len()), (0, 0));
    for headers in ["", "authorization: Bearer s3cret\r\n", "xi-api-key: s3cret\r\nauthorization: Bearer s3cret\r\n"] {
        let body = json!({"n": headers.len()}).to_string();
        assert_eq!(
            ask_at(server.address(), speech, headers, body).await.header("x-aimock-source"),
            "proxy",
            "{headers}"
        );
        assert!(header(&last(&upstream).head, "xi-api-key").is_none());
    }
    // A path that a route knows has no need of a guess.
    assert_eq!(
        ask_with(server.address(), "xi-api-key: s3cret\r\n", chat("hi")).await.body,
        completion("from the upstream")
    );
    assert!(keys_seen(&last(&upstream)).is_empty());
    // What is on record answers whatever the credential.
    drop(server);
    let server = serve(&folder, |config| with_upstream(config, &upstream.url()));
    let again = ask_at(server.address(), speech, "xi-api-key: s3cret\r\n", json!({"n": 0}).to_string()).await;
    assert_eq!(again.how(), (200, "fixture", "exact"));
}
