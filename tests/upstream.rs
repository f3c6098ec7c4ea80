//! The upstream client against scripted upstreams: what it reuses, what it retries, and how every failure is told.

mod common;

use aimock::upstream::{
    Answer, AnswerBody, BaseUrl, Client, Environment, Outgoing, SetupError, Timeouts, UpstreamError, forward_headers,
    relay_headers,
};
use bytes::Bytes;
use common::tls::Authority;
use common::{Gate, LIMIT, ScriptedUpstream, Step, answer, chunk};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use rcgen::{CertificateParams, date_time_ymd};
use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

/// Long enough for what comes, so that only a hang meets it.
const PATIENT: Timeouts = Timeouts { head: LIMIT, chunk: LIMIT, connect: LIMIT };

/// For upstreams that say nothing.
const SHORT: Duration = Duration::from_millis(50);

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, test)
}

fn client(timeouts: Timeouts) -> Client {
    Client::new(timeouts, &Environment::default()).expect("an empty environment is valid")
}

fn post(target: &str, body: impl Into<Bytes>) -> Outgoing {
    Outgoing { method: Method::POST, target: target.into(), headers: HeaderMap::new(), body: body.into() }
}

fn get(target: &str) -> Outgoing {
    Outgoing { method: Method::GET, target: target.into(), headers: HeaderMap::new(), body: Bytes::new() }
}

async fn ask(client: &Client, url: &str) -> Result<Answer, UpstreamError> {
    client.send(&BaseUrl::parse(url).expect("a URL"), post("/v1/chat", "{}")).await
}

/// The whole body, and how it ended.
async fn drain(body: &mut AnswerBody) -> (Vec<u8>, Result<(), UpstreamError>) {
    let mut all = Vec::new();
    loop {
        match body.chunk().await {
            Ok(Some(bytes)) => all.extend_from_slice(&bytes),
            Ok(None) => return (all, Ok(())),
            Err(e) => return (all, Err(e)),
        }
    }
}

async fn text(client: &Client, url: &str) -> Result<String, UpstreamError> {
    let (body, end) = drain(&mut ask(client, url).await?.body).await;
    end.map(|()| String::from_utf8_lossy(&body).into_owned())
}

#[test]
fn a_connection_is_reused_once_its_body_was_read() {
    let chunked = vec![Step::write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ntwo!\r\n0\r\n\r\n")];
    let upstream =
        ScriptedUpstream::start(vec![answer(200, "", "one"), chunked, answer(204, "", ""), answer(200, "", "4")]);
    run(async {
        let client = client(PATIENT);
        for expected in ["one", "two!", "", "4"] {
            assert_eq!(text(&client, &upstream.url()).await.as_deref(), Ok(expected));
        }
    });
    assert_eq!((upstream.connections(), upstream.requests().len()), (1, 4));
}

#[test]
fn a_told_length_ends_the_body_with_its_last_chunk() {
    let upstream = ScriptedUpstream::start(vec![answer(200, "", "one")]);
    run(async {
        let client = client(PATIENT);
        for _ in 0..2 {
            let mut answer = ask(&client, &upstream.url()).await.unwrap();
            assert!(!answer.body.at_end());
            assert_eq!(answer.body.chunk().await, Ok(Some(Bytes::from("one"))));
            assert!(answer.body.at_end());
        }
    });
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn two_requests_at_once_have_a_connection_each() {
    let gate = Gate::new();
    let waits = [vec![Step::WaitFor(gate.clone())], answer(200, "", "one")].concat();
    let upstream = ScriptedUpstream::start(vec![waits, answer(200, "", "two")]);
    run(async {
        let client = client(PATIENT);
        let url = upstream.url();
        let second = async {
            while upstream.requests().is_empty() {
                tokio::task::yield_now().await;
            }
            let two = text(&client, &url).await;
            gate.open();
            two
        };
        let (one, two) = tokio::join!(text(&client, &url), second);
        assert_eq!((one.as_deref(), two.as_deref()), (Ok("one"), Ok("two")));
        assert_eq!(text(&client, &url).await.as_deref(), Ok("two"));
    });
    assert_eq!(upstream.connections(), 2);
}

/// What is sent after a first answer, on the connection that it came over.
async fn second(url: &str, call: Outgoing) -> Result<String, UpstreamError> {
    let client = client(PATIENT);
    assert_eq!(text(&client, url).await.as_deref(), Ok("one"));
    let (body, end) = drain(&mut client.send(&BaseUrl::parse(url).expect("a URL"), call).await?.body).await;
    end.map(|()| String::from_utf8_lossy(&body).into_owned())
}

#[test]
fn what_may_have_reached_the_upstream_is_sent_again_only_if_it_is_idempotent() {
    for end in [Step::Close, Step::Reset] {
        for (call, again) in [(get("/v1/models"), true), (post("/v1/chat", "{}"), false)] {
            let scripts = vec![answer(200, "", "one"), vec![end.clone()], answer(200, "", "two")];
            let upstream = ScriptedUpstream::start(scripts);
            let got = run(second(&upstream.url(), call));
            let seen: Vec<_> = upstream.requests().iter().map(|r| r.connection).collect();
            if again {
                assert_eq!((got.as_deref(), &seen[..]), (Ok("two"), &[0, 0, 1][..]));
            } else {
                let e = got.unwrap_err();
                assert!(matches!(e, UpstreamError::NoAnswer { .. }) && e.status() == 502, "{e}");
                assert!(e.to_string().contains("may have reached it, so it is not sent again"), "{e}");
                assert_eq!(seen, [0, 0]);
            }
        }
    }
}

#[test]
fn a_connection_that_was_closed_while_it_was_idle_costs_no_request() {
    for round in 0..50 {
        let upstream =
            ScriptedUpstream::start(vec![[answer(200, "", "one"), vec![Step::Close]].concat(), answer(200, "", "two")]);
        run(async {
            let client = client(PATIENT);
            assert_eq!(text(&client, &upstream.url()).await.as_deref(), Ok("one"));
            upstream.closed(1).await;
            assert_eq!(text(&client, &upstream.url()).await.as_deref(), Ok("two"), "round {round}");
        });
        assert_eq!(upstream.requests().len(), 2);
    }
}

#[test]
fn a_new_connection_that_is_closed_is_an_error() {
    let upstream = ScriptedUpstream::start(vec![answer(200, "", "one"), vec![Step::Close]]);
    let e = run(second(&upstream.url(), get("/v1/models"))).unwrap_err();
    assert!(matches!(e, UpstreamError::NoAnswer { .. }), "{e}");
    assert_eq!(e.status(), 502);
    assert_eq!((upstream.connections(), upstream.requests().len()), (2, 3));
}

#[test]
fn a_request_is_not_repeated_once_its_answer_has_begun() {
    let upstream = ScriptedUpstream::start(vec![answer(200, "", "one"), vec![Step::write("HTTP/1.1 2"), Step::Close]]);
    run(async {
        let client = client(PATIENT);
        assert_eq!(text(&client, &upstream.url()).await.as_deref(), Ok("one"));
        let e = text(&client, &upstream.url()).await.unwrap_err();
        assert!(matches!(e, UpstreamError::NoAnswer { .. }), "{e}");
    });
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn an_answer_dropped_early_closes_its_connection() {
    let gone = Gate::new();
    let upstream = ScriptedUpstream::start(vec![vec![
        Step::write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        Step::Write(chunk("first")),
        Step::AwaitHangup(gone.clone()),
    ]]);
    run(async {
        let client = client(PATIENT);
        let mut answer = ask(&client, &upstream.url()).await.unwrap();
        assert_eq!(answer.body.chunk().await, Ok(Some(Bytes::from("first"))));
        drop(answer);
        gone.opened().await;
    });
}

#[test]
fn a_connection_is_not_idle_for_ever() {
    let gone = Gate::new();
    let upstream =
        ScriptedUpstream::start(vec![[answer(200, "", "one"), vec![Step::AwaitHangup(gone.clone())]].concat()]);
    run(async {
        let client = client(PATIENT);
        assert_eq!(text(&client, &upstream.url()).await.as_deref(), Ok("one"));
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(31)).await;
        tokio::time::resume();
        gone.opened().await;
        drop(client);
    });
}

#[test]
fn a_cancelled_wait_loses_nothing() {
    let gate = Gate::new();
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome ";
    let scripts = vec![vec![Step::write(head), Step::WaitFor(gate.clone()), Step::write("more")]];
    let upstream = ScriptedUpstream::start(scripts);
    run(async {
        let mut answer = ask(&client(PATIENT), &upstream.url()).await.unwrap();
        let mut got = Vec::new();
        while got.len() < 9 {
            tokio::select! {
                biased;
                bytes = answer.body.chunk() => got.extend(bytes.unwrap().unwrap()),
                () = tokio::task::yield_now() => if got.len() == 5 { gate.open() },
            }
        }
        assert_eq!(got, b"some more");
    });
}

#[test]
fn a_chunk_is_there_before_the_next_is_sent() {
    let gate = Gate::new();
    let upstream = ScriptedUpstream::start(vec![vec![
        Step::write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        Step::Write(chunk("first")),
        Step::WaitFor(gate.clone()),
        Step::Write(chunk("second")),
        Step::write("0\r\n\r\n"),
    ]]);
    run(async {
        let mut answer = ask(&client(PATIENT), &upstream.url()).await.unwrap();
        assert_eq!(answer.body.chunk().await, Ok(Some(Bytes::from("first"))));
        gate.open();
        assert_eq!(answer.body.chunk().await, Ok(Some(Bytes::from("second"))));
        assert_eq!(answer.body.chunk().await, Ok(None));
        assert!(answer.body.at_end());
    });
}

#[test]
fn a_cut_body_never_ends_cleanly() {
    let length = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf!";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhalf!\r\n";
    let inside = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf!";
    let unended = "HTTP/1.1 200 OK\r\n\r\nhalf!";
    for (head, end) in [
        (length, Step::Close),
        (length, Step::Reset),
        (chunked, Step::Close),
        (chunked, Step::Reset),
        (inside, Step::Close),
        (unended, Step::Reset),
    ] {
        let read = Gate::new();
        let upstream = ScriptedUpstream::start(vec![vec![Step::write(head), Step::WaitFor(read.clone()), end]]);
        run(async {
            let mut answer = ask(&client(PATIENT), &upstream.url()).await.unwrap();
            assert_eq!(answer.body.chunk().await, Ok(Some(Bytes::from("half!"))));
            read.open();
            let e = answer.body.chunk().await.unwrap_err();
            assert!(matches!(e, UpstreamError::Cut { received: 5, .. }), "{head:?}: {e}");
            assert_eq!(answer.body.chunk().await, Err(e), "an error stays one");
            assert!(!answer.body.at_end());
        });
    }
}

#[test]
fn a_body_without_a_length_ends_with_the_connection() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let upstream = ScriptedUpstream::start(vec![vec![Step::write(head), Step::write("all of it"), Step::Close]]);
    run(async {
        let client = client(PATIENT);
        assert_eq!(text(&client, &upstream.url()).await.as_deref(), Ok("all of it"));
        assert_eq!(text(&client, &upstream.url()).await.as_deref(), Ok("all of it"));
    });
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn silence_is_a_timeout() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
    let upstream = ScriptedUpstream::start(vec![vec![Step::Hold], vec![Step::write(head), Step::Hold]]);
    run(async {
        let e = ask(&client(Timeouts { head: SHORT, ..PATIENT }), &upstream.url()).await.unwrap_err();
        assert!(matches!(e, UpstreamError::HeadTimeout { ms: 50, .. }), "{e}");
        assert_eq!(e.status(), 504);
        let mut answer = ask(&client(Timeouts { chunk: SHORT, ..PATIENT }), &upstream.url()).await.unwrap();
        let e = answer.body.chunk().await.unwrap_err();
        assert!(matches!(e, UpstreamError::ChunkTimeout { ms: 50, .. }), "{e}");
        assert_eq!(e.status(), 504);
    });
}

#[test]
fn interim_answers_are_skipped() {
    let interim = Step::write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n");
    let upstream = ScriptedUpstream::start(vec![[vec![interim], answer(200, "", "real")].concat()]);
    run(async {
        assert_eq!(text(&client(PATIENT), &upstream.url()).await.as_deref(), Ok("real"));
    });
}

#[test]
fn what_is_not_http_is_an_error_that_says_so() {
    let many: String = (0..300).map(|n| format!("x-{n}: y\r\n")).collect();
    let huge = format!("x-huge: {}\r\n", "y".repeat(70_000));
    let upstream = ScriptedUpstream::start(vec![
        vec![Step::write("SSH-2.0-OpenSSH_9.6\r\n"), Step::Hold],
        vec![Step::write("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"), Step::Hold],
        [answer(200, &huge, ""), vec![Step::Hold]].concat(),
        answer(200, &many, "many headers"),
    ]);
    run(async {
        let client = client(PATIENT);
        for word in ["SSH", "101", "huge"] {
            let e = text(&client, &upstream.url()).await.unwrap_err();
            assert!(matches!(e, UpstreamError::Protocol { .. }), "{word}: {e}");
        }
        assert_eq!(text(&client, &upstream.url()).await.as_deref(), Ok("many headers"));
    });
}

#[test]
fn a_request_arrives_as_it_was_given() {
    let upstream =
        ScriptedUpstream::start(vec![answer(429, "retry-after: 7\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n", "{}")]);
    run(async {
        let client = client(PATIENT);
        let base = BaseUrl::parse(&upstream.url()).unwrap();
        let mut call = post("/v1/chat?x=a%20b&y=", vec![b'z'; 1 << 20]);
        call.headers.insert("authorization", HeaderValue::from_static("Bearer k"));
        call.headers.insert("x-bytes", HeaderValue::from_bytes(b"caf\xc3\xa9").unwrap());
        let answer = client.send(&base, call).await.unwrap();
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.headers["retry-after"], "7");
        let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        let get = Outgoing { method: Method::GET, ..post("/v1/models", "") };
        drain(&mut client.send(&base, get).await.unwrap().body).await.1.unwrap();
        drain(&mut client.send(&base, post("/empty", "")).await.unwrap().body).await.1.unwrap();
    });
    let seen = upstream.requests();
    assert_eq!(seen[0].line(), "POST /v1/chat?x=a%20b&y= HTTP/1.1");
    assert_eq!(seen[0].header("host"), Some(upstream.address().to_string().as_str()));
    assert_eq!(seen[0].header("content-length"), Some("1048576"));
    assert_eq!(seen[0].header("authorization"), Some("Bearer k"));
    assert_eq!(seen[0].header("x-bytes"), Some("café"));
    assert!(seen[0].body.len() == 1 << 20 && seen[0].body.iter().all(|b| *b == b'z'));
    assert_eq!((seen[1].line(), seen[1].header("content-length")), ("GET /v1/models HTTP/1.1", None));
    assert_eq!(seen[2].header("content-length"), Some("0"));
}

#[test]
fn a_large_answer_arrives_whole() {
    let body: Vec<u8> = (0..1 << 20).map(|n: u32| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    let upstream = ScriptedUpstream::start(vec![answer(200, "", &body)]);
    run(async {
        let mut answer = ask(&client(PATIENT), &upstream.url()).await.unwrap();
        let (got, end) = drain(&mut answer.body).await;
        assert_eq!(end, Ok(()));
        assert!(got == body);
    });
}

/// A port that nothing listens on.
fn closed_port() -> u16 {
    StdListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

#[test]
fn who_cannot_be_reached_is_named() {
    let port = closed_port();
    run(async {
        let client = client(PATIENT);
        let e = ask(&client, &format!("http://127.0.0.1:{port}")).await.unwrap_err();
        assert!(matches!(e, UpstreamError::Connect { .. }), "{e}");
        assert_eq!(e.status(), 502);
        assert!(e.to_string().contains(&format!("127.0.0.1:{port}")), "{e}");
        let e = ask(&client, &format!("http://localhost:{port}")).await.unwrap_err().to_string();
        assert!(e.contains("127.0.0.1: ") && e.contains("::1: "), "{e}");
        let e = ask(&client, "http://no-such-host.invalid").await.unwrap_err();
        assert!(matches!(e, UpstreamError::Resolve { .. }), "{e}");
        assert!(e.to_string().contains("no-such-host.invalid:80"), "{e}");
    });
}

#[test]
fn localhost_needs_no_resolver() {
    let upstream = ScriptedUpstream::start(vec![answer(200, "", "here")]);
    run(async {
        for host in ["localhost", "LOCALHOST", "api.localhost"] {
            let url = format!("http://{host}:{}", upstream.address().port());
            assert_eq!(text(&client(PATIENT), &url).await.as_deref(), Ok("here"));
        }
    });
}

#[test]
fn only_end_to_end_headers_go_on() {
    let headers = |lines: &[(&'static str, &'static str)]| {
        let lines = lines.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)));
        lines.fold(HeaderMap::new(), |mut all, (name, value)| {
            all.append(name, value);
            all
        })
    };
    let hop = [
        ("connection", "keep-alive, X-Hop"),
        ("keep-alive", "timeout=5"),
        ("proxy-authorization", "Basic x"),
        ("proxy-authenticate", "Basic"),
        ("proxy-connection", "keep-alive"),
        ("te", "trailers"),
        ("trailer", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("x-hop", "1"),
    ];
    let ours = [
        ("host", "localhost"),
        ("content-length", "2"),
        ("cookie", "a=b"),
        ("accept-encoding", "gzip"),
        ("expect", "100-continue"),
        ("x-test-id", "t"),
        ("x-aimock-context", "c"),
        ("x-aimock-strict", "true"),
    ];
    let others = [("x-api-key", "k"), ("xi-api-key", "k"), ("x-goog-api-key", "k"), ("helicone-auth", "Bearer k")];
    let kept = [("authorization", "Bearer k"), ("x-multi", "1"), ("x-multi", "2"), ("openai-organization", "o")];
    let openai = aimock::provider::by_name("openai").expect("a provider");
    assert_eq!(forward_headers(&headers(&[&hop[..], &ours, &others, &kept].concat()), openai), headers(&kept));
    let answer = [("content-length", "2"), ("set-cookie", "a"), ("set-cookie", "b"), ("x-request-id", "r")];
    assert_eq!(relay_headers(&headers(&[&hop[..], &answer].concat())), headers(&answer));
}

/// A client that trusts this authority.
fn trusting(authority: &Authority) -> Client {
    let environment = Environment { ssl_cert_file: Some(authority.file.clone()), ..Environment::default() };
    Client::new(PATIENT, &environment).expect("a valid environment")
}

#[test]
fn tls_by_name_and_by_address() {
    let authority = Authority::new("tls_by_name_and_by_address");
    let config = authority.server(&["localhost", "127.0.0.1"], |_| {});
    let upstream = ScriptedUpstream::start_tls(vec![answer(200, "", "secret")], config);
    run(async {
        let client = trusting(&authority);
        assert_eq!(client.load_roots(), Ok(()));
        let port = upstream.address().port();
        for url in [format!("https://localhost:{port}"), format!("https://127.0.0.1:{port}")] {
            for _ in 0..2 {
                assert_eq!(text(&client, &url).await.as_deref(), Ok("secret"));
            }
        }
    });
    assert_eq!(upstream.connections(), 2, "a connection for each host, used twice");
}

#[test]
fn a_certificate_error_says_which() {
    let authority = Authority::new("a_certificate_error_says_which");
    let past = |p: &mut CertificateParams| p.not_after = date_time_ymd(2001, 1, 1);
    let future = |p: &mut CertificateParams| p.not_before = date_time_ymd(2999, 1, 1);
    for (config, words) in [
        (authority.server(&["127.0.0.1"], past), "expired"),
        (authority.server(&["127.0.0.1"], future), "not valid yet"),
        (authority.server(&["api.example.com"], |_| {}), "another name"),
        (authority.server(&["api.example.com"], |_| {}), "api.example.com"),
    ] {
        let upstream = ScriptedUpstream::start_tls(vec![answer(200, "", "")], config);
        let e = run(ask(&trusting(&authority), &upstream.url())).unwrap_err();
        assert!(matches!(e, UpstreamError::Certificate { .. }), "{words}: {e}");
        assert!(e.to_string().contains(words) && e.to_string().contains("127.0.0.1:"), "{words}: {e}");
        assert_eq!(e.status(), 502);
    }
    let stranger = ScriptedUpstream::start_tls(vec![answer(200, "", "")], authority.server(&["127.0.0.1"], |_| {}));
    let e = run(ask(&client(PATIENT), &stranger.url())).unwrap_err();
    assert!(e.to_string().contains("unknown issuer; SSL_CERT_FILE"), "{e}");
}

#[test]
fn tls_without_close_notify_is_a_cut_where_only_the_close_ends_the_body() {
    let authority = Authority::new("tls_without_close_notify");
    let open = Step::write("HTTP/1.1 200 OK\r\n\r\nall of it");
    let length = Step::write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nall of it");
    let scripts = vec![vec![open.clone(), Step::Close], vec![open, Step::Cut], vec![length, Step::Cut]];
    let upstream = ScriptedUpstream::start_tls(scripts, authority.server(&["127.0.0.1"], |_| {}));
    run(async {
        let client = trusting(&authority);
        assert_eq!(text(&client, &upstream.url()).await.as_deref(), Ok("all of it"));
        let e = text(&client, &upstream.url()).await.unwrap_err();
        assert!(matches!(e, UpstreamError::Cut { received: 9, .. }), "{e}");
        assert_eq!(text(&client, &upstream.url()).await.as_deref(), Ok("all of it"));
    });
}

#[test]
fn an_upstream_without_tls_is_told_apart() {
    let upstream = ScriptedUpstream::start(vec![answer(200, "", "")]);
    let plain = run(async {
        // A plain server answers what it takes for a broken request.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            stream
        };
        let client = client(PATIENT);
        tokio::join!(ask(&client, &url), server).0.unwrap_err()
    });
    assert!(matches!(plain, UpstreamError::Tls { .. }) && plain.to_string().contains("http://"), "{plain}");
    drop(upstream);
}

#[test]
fn a_broken_certificate_file_is_named() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let broken = "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n";
    for (file, content) in [("missing.pem", None), ("empty.pem", Some("")), ("broken.pem", Some(broken))] {
        let path = folder.join(file);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let environment = Environment { ssl_cert_file: Some(path.clone()), ..Environment::default() };
        let client = Client::new(PATIENT, &environment).unwrap();
        let e = client.load_roots().unwrap_err();
        assert!(matches!(&e, SetupError::Certificates { path: named, .. } if *named == path), "{e}");
        let upstream = ScriptedUpstream::start(vec![answer(200, "", "")]);
        let url = upstream.url().replace("http://", "https://");
        assert_eq!(run(ask(&client, &url)).unwrap_err(), UpstreamError::Setup(e));
    }
}

/// A proxy that connects wherever it is asked to; the heads it got.
async fn tunnelling_proxy() -> (SocketAddr, Rc<RefCell<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let heads = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&heads);
    tokio::task::spawn_local(async move {
        while let Ok((mut inner, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(inner.read_u8().await.expect("a whole head"));
            }
            let head = String::from_utf8(head).expect("a head in ASCII");
            let target = head.split(' ').nth(1).expect("a target").to_owned();
            seen.borrow_mut().push(head);
            let mut outer = TcpStream::connect(target).await.expect("an upstream");
            inner.write_all(b"HTTP/1.1 200 Connection established\r\nvia: 1.1 test\r\n\r\n").await.expect("a client");
            tokio::task::spawn_local(async move { copy_bidirectional(&mut inner, &mut outer).await });
        }
    });
    (address, heads)
}

#[test]
fn tls_goes_through_a_proxy_by_connect() {
    let authority = Authority::new("tls_goes_through_a_proxy_by_connect");
    let config = authority.server(&["127.0.0.1"], |_| {});
    let upstream = ScriptedUpstream::start_tls(vec![answer(200, "", "through")], config);
    run(async {
        let (proxy, heads) = tunnelling_proxy().await;
        let environment = Environment {
            ssl_cert_file: Some(authority.file.clone()),
            https_proxy: Some(format!("http://me:p%40ss@{proxy}")),
            ..Environment::default()
        };
        let client = Client::new(PATIENT, &environment).unwrap();
        for _ in 0..2 {
            assert_eq!(text(&client, &upstream.url()).await.as_deref(), Ok("through"));
        }
        let address = upstream.address();
        let expected =
            format!("CONNECT {address} HTTP/1.1\r\nhost: {address}\r\nproxy-authorization: Basic bWU6cEBzcw==\r\n\r\n");
        assert_eq!(*heads.borrow(), [expected], "one tunnel, used twice");

        let environment = Environment { no_proxy: Some("127.0.0.1".into()), ..environment };
        let direct = Client::new(PATIENT, &environment).unwrap();
        assert_eq!(text(&direct, &upstream.url()).await.as_deref(), Ok("through"));
        assert_eq!(heads.borrow().len(), 1);
    });
    assert!(upstream.requests().iter().all(|r| r.header("proxy-authorization").is_none()));
}

#[test]
fn a_proxy_that_refuses_is_named_without_its_password() {
    let proxy = ScriptedUpstream::start(vec![
        answer(407, "", "who are you"),
        vec![Step::Close],
        vec![Step::write("?\r\n\r\n")],
    ]);
    let environment =
        Environment { https_proxy: Some(format!("http://me:hunter2@{}", proxy.address())), ..Environment::default() };
    run(async {
        let client = Client::new(PATIENT, &environment).unwrap();
        let e = ask(&client, "https://api.example.com").await.unwrap_err();
        assert!(matches!(e, UpstreamError::ProxyRefused { status: 407, .. }), "{e}");
        let message = e.to_string();
        assert!(message.contains(&format!("proxy {}", proxy.address())), "{message}");
        assert!(message.contains("api.example.com:443") && !message.contains("hunter2"), "{message}");
        for _ in 0..2 {
            let e = ask(&client, "https://api.example.com").await.unwrap_err();
            assert!(matches!(e, UpstreamError::Proxy { .. }), "{e}");
        }
        let environment =
            Environment { https_proxy: Some(format!("127.0.0.1:{}", closed_port())), ..Environment::default() };
        let e = ask(&Client::new(PATIENT, &environment).unwrap(), "https://api.example.com").await.unwrap_err();
        assert!(matches!(e, UpstreamError::Connect { .. }) && e.to_string().contains("proxy 127.0.0.1:"), "{e}");
    });
    let shown = format!("{environment:?} {:?}", Client::new(PATIENT, &environment).unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn plain_http_goes_through_a_proxy_in_absolute_form() {
    let proxy = ScriptedUpstream::start(vec![answer(200, "", "from afar")]);
    let environment =
        Environment { http_proxy: Some(format!("http://me:pass@{}", proxy.address())), ..Environment::default() };
    run(async {
        let client = Client::new(PATIENT, &environment).unwrap();
        assert_eq!(text(&client, "http://api.example.com:8080").await.as_deref(), Ok("from afar"));
    });
    let seen = &proxy.requests()[0];
    assert_eq!(seen.line(), "POST http://api.example.com:8080/v1/chat HTTP/1.1");
    assert_eq!(seen.header("host"), Some("api.example.com:8080"));
    assert_eq!(seen.header("proxy-authorization"), Some("Basic bWU6cGFzcw=="));
}

#[test]
fn a_broken_proxy_variable_is_named_and_not_quoted() {
    let environment = Environment { https_proxy: Some("socks5://me:hunter2@x:1".into()), ..Environment::default() };
    let e = Client::new(PATIENT, &environment).unwrap_err().to_string();
    assert!(e.contains("HTTPS_PROXY") && !e.contains("hunter2"), "{e}");
}
