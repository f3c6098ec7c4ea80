//! What upstreams do wrong. A row is one fault: what the upstream did, what the client saw, what was saved, what was said;
//! and after each of them the next request is served.

mod common;
#[path = "common/http.rs"]
mod http;

use aimock::config::Config;
use aimock::frame::eventstream;
use aimock::provider::PROVIDERS;
use aimock::upstream::BaseUrl;
use common::chat::{CHAT, DONE, LAST_CHUNK, STREAM_HEAD, completion, delta, finish, streamed, whole};
use common::server::{Folder, Server, serve};
use common::tls::Authority;
use common::{Script, ScriptedUpstream, Step, answer, chunk};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

/// Who is asked.
enum Upstream {
    /// Plays a script a request; the last one is that of the next request.
    Scripted(Vec<Script>),
    /// Is behind TLS, with a certificate that nobody trusts.
    Untrusted,
    /// Speaks plain HTTP where TLS is expected.
    NotTls,
    /// Nobody listens.
    Absent,
    /// Resets each connection once it has the first byte of a request.
    Slams,
}

/// What is asked: path, headers and body.
type Asked = (&'static str, &'static str, String);

struct Fault {
    name: &'static str,
    upstream: Upstream,
    asked: Asked,
    change: fn(&mut Config),
    /// What the client saw: a status, and after `:` the code of an error of ours, or how the body ended where not cleanly.
    seen: &'static str,
    /// The body that came, all of it where it is whole; `None` where that is ours.
    body: Option<Vec<u8>>,
    /// How many recordings there are.
    saved: usize,
    /// What the log says.
    said: &'static str,
    /// How many requests the upstream had, and on how many connections.
    reached: (usize, usize),
}

impl Fault {
    /// A chat that is asked for as a stream.
    fn new(name: &'static str, script: Script, seen: &'static str, said: &'static str) -> Self {
        Fault {
            name,
            upstream: Upstream::Scripted(vec![script]),
            asked: (CHAT, "", streamed("hi")),
            change: |_| {},
            seen,
            body: None,
            saved: 0,
            said,
            reached: (1, 1),
        }
    }

    fn got(self, body: impl AsRef<[u8]>) -> Self {
        Fault { body: Some(body.as_ref().to_vec()), ..self }
    }

    fn saved(self) -> Self {
        Fault { saved: 1, ..self }
    }

    fn at(self, upstream: Upstream) -> Self {
        Fault { upstream, ..self }
    }

    fn asks(self, path: &'static str, headers: &'static str, body: impl Into<String>) -> Self {
        Fault { asked: (path, headers, body.into()), ..self }
    }

    fn with(self, change: fn(&mut Config)) -> Self {
        Fault { change, ..self }
    }

    fn reached(self, requests: usize, connections: usize) -> Self {
        Fault { reached: (requests, connections), ..self }
    }
}

/// An upstream that is there, of whichever kind.
struct Running {
    url: String,
    scripted: Option<ScriptedUpstream>,
}

impl Running {
    fn start(upstream: &Upstream) -> Self {
        let scripted = match upstream {
            Upstream::Scripted(scripts) => {
                ScriptedUpstream::start(scripts.iter().cloned().chain([whole("next")]).collect())
            }
            Upstream::Untrusted => {
                let config = Authority::new("upstream_faults").server(&["127.0.0.1"], |_| {});
                ScriptedUpstream::start_tls(vec![whole("next")], config)
            }
            Upstream::NotTls => {
                return Running { url: format!("https://{}", says(b"HTTP/1.1 400 Bad\r\n\r\n")), scripted: None };
            }
            Upstream::Absent => return Running { url: format!("http://{}", free_address()), scripted: None },
            Upstream::Slams => return Running { url: format!("http://{}", says(b"")), scripted: None },
        };
        Running { url: scripted.url(), scripted: Some(scripted) }
    }

    fn reached(&self) -> (usize, usize) {
        self.scripted.as_ref().map_or((0, 0), |upstream| (upstream.requests().len(), upstream.connections()))
    }

    /// Whether the next request can be answered there.
    fn answers(&self) -> bool {
        self.scripted.is_some() && self.url.starts_with("http:")
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// Says something to whoever sends a byte, and closes. What is left unread makes a reset of that.
fn says(what: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            // A client that goes first has what it wanted.
            let _ = stream.read_exact(&mut [0]).and_then(|()| stream.write_all(what));
        }
    });
    address
}

fn server(folder: &Folder, url: &str, change: fn(&mut Config)) -> Server {
    folder.write("hand.json", r#"{"fixtures":[{"match":{"userMessage":"by hand"},"response":{"content":"here"}}]}"#);
    serve(folder, |config| {
        config.record = true;
        for provider in PROVIDERS {
            config.upstreams.set(provider, BaseUrl::parse(url).expect("a URL"));
        }
        change(config);
    })
}

/// What a client saw: its status, and how it ended where that was no clean end.
fn seen(got: &http::Answer) -> String {
    let ours =
        || serde_json::from_slice::<serde_json::Value>(&got.body).ok()?["error"]["code"].as_str().map(str::to_owned);
    match (got.status, got.whole) {
        (0, _) => "no answer".into(),
        (304, _) => "304".into(), // its length is that of another answer's body
        (status @ (502 | 504), true) => ours().map_or(status.to_string(), |code| format!("{status}: {code}")),
        (status, true) => status.to_string(),
        (status, false) => format!("{status}: cut"),
    }
}

fn tried(fault: &Fault) {
    let name = fault.name;
    let upstream = Running::start(&fault.upstream);
    let folder = Folder::new();
    let server = server(&folder, &upstream.url, fault.change);
    let (path, headers, body) = &fault.asked;
    let got = http::ask(server.address(), "POST", path, headers, body);
    let log = || server.log.to_vec();
    assert_eq!(seen(&got), fault.seen, "{name}: {got:?} {:#?}", log());
    if let Some(body) = &fault.body {
        assert_eq!(String::from_utf8_lossy(&got.body), String::from_utf8_lossy(body), "{name}");
    }
    assert_eq!(got.header("x-aimock-source"), Some("proxy"), "{name}");
    // By its end a stream is recorded or given up.
    assert!(log().iter().any(|line| line.contains(fault.said)), "{name}: no {:?} in {:#?}", fault.said, log());
    assert_eq!(upstream.reached(), fault.reached, "{name}");
    assert_eq!(recordings(&folder), fault.saved, "{name}");

    let here = http::chat(server.address(), "by hand");
    assert_eq!(here.json()["choices"][0]["message"]["content"], "here", "{name}");
    if upstream.answers() {
        let next = http::chat(server.address(), "the next one");
        assert_eq!(next.json()["choices"][0]["message"]["content"], "next", "{name}");
        assert_eq!(recordings(&folder), fault.saved + 1, "{name}");
    }
}

/// Recordings on disk, each of which is whole; and nothing else.
fn recordings(folder: &Folder) -> usize {
    let files = folder.files();
    let others = files.iter().filter(|(path, _)| !path.starts_with(folder.path().join("recorded"))).count();
    assert_eq!(others, 1, "the file that was written by hand: {files:#?}");
    assert!(files.iter().all(|(path, _)| path.extension().is_some_and(|ending| ending == "json")), "{files:#?}");
    folder.recordings().len() - 1
}

fn all(faults: Vec<Fault>) {
    faults.iter().for_each(tried);
}

// ------------------------------------------------------------------------------------------------ no answer

const UNREACHABLE: &str = "502: upstream_unreachable";
const TIMEOUT: &str = "504: upstream_timeout";

fn head(lines: &str) -> Step {
    Step::write(format!("HTTP/1.1 200 OK\r\n{lines}\r\n"))
}

#[test]
fn before_the_head() {
    let fault = Fault::new;
    let big = |lines: usize| head(&format!("x-long: {}\r\n", "y".repeat(1000)).repeat(lines));
    all(vec![
        fault("nobody listens", vec![], UNREACHABLE, "cannot connect to").at(Upstream::Absent).reached(0, 0),
        fault("reset while the request is sent", vec![], UNREACHABLE, "gave no answer")
            .at(Upstream::Slams)
            .asks(CHAT, "", streamed(&"long ".repeat(1 << 20)))
            .reached(0, 0),
        fault("TLS with a certificate that is not trusted", vec![], UNREACHABLE, "cannot be trusted")
            .at(Upstream::Untrusted)
            .reached(0, 1),
        fault("plain HTTP where TLS is expected", vec![], UNREACHABLE, "no TLS connection to")
            .at(Upstream::NotTls)
            .reached(0, 0),
        fault("closed", vec![Step::Close], UNREACHABLE, "gave no answer"),
        fault("reset", vec![Step::Reset], UNREACHABLE, "gave no answer"),
        fault(
            "closed inside the head",
            vec![Step::write("HTTP/1.1 200 OK\r\ncontent-"), Step::Close],
            UNREACHABLE,
            "gave no answer",
        ),
        fault("silent", vec![Step::Hold], TIMEOUT, "did not answer within 200 ms")
            .with(|c| c.upstream_timeout_ms = 200),
        fault(
            "silent inside the head",
            vec![Step::write("HTTP/1.1 200"), Step::Hold],
            TIMEOUT,
            "did not answer within 200 ms",
        )
        .with(|config| config.upstream_timeout_ms = 200),
        fault(
            "another protocol",
            vec![Step::write("SSH-2.0-OpenSSH_9.6\r\n"), Step::Close],
            UNREACHABLE,
            "not HTTP/1.1",
        ),
        fault("HTTP/2 unasked", vec![Step::write(b"\0\0\x12\x04\0\0\0\0\0"), Step::Close], UNREACHABLE, "not HTTP/1.1"),
        fault("a head too long", vec![big(100), Step::Close], UNREACHABLE, "more than 65536 bytes"),
        fault(
            "a header of control characters",
            vec![head("x-bad: a\0b\r\n"), Step::Close],
            UNREACHABLE,
            "not HTTP/1.1",
        ),
        fault(
            "a length that is no number",
            vec![head("content-length: ten\r\n"), Step::Close],
            UNREACHABLE,
            "not HTTP/1.1",
        ),
        fault(
            "two lengths",
            vec![head("content-length: 2\r\ncontent-length: 3\r\n"), Step::Close],
            UNREACHABLE,
            "not HTTP/1.1",
        ),
        fault(
            "another protocol switched to",
            vec![Step::write("HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"), Step::Hold],
            UNREACHABLE,
            "switched protocols",
        ),
    ]);
}

// ------------------------------------------------------------------------------------------------ half an answer

/// A stream that has begun, and how it goes on.
fn begun(steps: impl IntoIterator<Item = Step>) -> Script {
    [Step::write(STREAM_HEAD), Step::Write(chunk(delta("one")))].into_iter().chain(steps).collect()
}

#[test]
fn inside_the_body() {
    let fault = |name, script, said| Fault::new(name, script, "200: cut", said);
    let one = delta("one");
    let told = |length: usize, body: &str, end: Step| {
        vec![head(&format!("content-type: application/json\r\ncontent-length: {length}\r\n")), Step::write(body), end]
    };
    let body = completion("hi");
    all(vec![
        fault("reset after the head", vec![Step::write(STREAM_HEAD), Step::Reset], "the answer was cut").got(""),
        fault("closed after the head", vec![Step::write(STREAM_HEAD), Step::Close], "the answer was cut").got(""),
        fault("closed between two frames", begun([Step::Close]), "the answer was cut").got(&one),
        fault("closed inside a chunk", begun([Step::write("ff\r\ndata: {"), Step::Close]), "the answer was cut")
            .got(one.clone() + "data: {"),
        fault("closed inside a frame", begun([Step::Write(chunk("data: {\"ch")), Step::Close]), "the answer was cut")
            .got(one.clone() + "data: {\"ch"),
        fault(
            "closed after the finish reason",
            begun([Step::Write(chunk(finish())), Step::Close]),
            "the answer was cut",
        )
        .got(one.clone() + &finish()),
        fault("a chunk's size that is no number", begun([Step::write("zz\r\nx"), Step::Close]), "the answer was cut")
            .got(&one),
        fault(
            "a chunk longer than any",
            begun([Step::write("fffffffffffffffff\r\nx"), Step::Close]),
            "the answer was cut",
        )
        .got(&one),
        fault("a chunk without its end", begun([Step::write("1\r\nxyz\r\n"), Step::Close]), "the answer was cut"),
        fault("silent", begun([Step::Hold]), "sent nothing more of its answer for 200 ms")
            .with(|config| config.body_timeout_ms = 200)
            .got(&one),
        fault(
            "silent after the head",
            vec![Step::write(STREAM_HEAD), Step::Hold],
            "sent nothing more of its answer for 200 ms",
        )
        .with(|config| config.body_timeout_ms = 200)
        .got(""),
        fault("fewer bytes than told", told(body.len() + 1, &body, Step::Close), "the answer was cut").got(&body),
        fault("fewer bytes than told, silent", told(body.len() + 1, &body, Step::Hold), "sent nothing more")
            .with(|config| config.body_timeout_ms = 200)
            .got(&body),
    ]);
}

#[test]
fn clean_ends_of_what_is_no_whole_success() {
    let json = "content-type: application/json\r\n";
    let said = "not recorded";
    let relayed = |name, status: u16, headers: &str, seen, said| {
        let body = r#"{"error":{"message":"as it is"}}"#;
        let sent = answer(status, &format!("{json}{headers}"), body);
        Fault::new(name, sent, seen, said).got(body)
    };
    let half = r#"{"choices":[{"message":{"content":"ha"#;
    let gzip: Vec<u8> = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let with = |name, script, seen| Fault::new(name, script, seen, said);
    all(vec![
        with("an early end", begun([Step::write(LAST_CHUNK)]), "200").got(delta("one")),
        with("half a JSON text", answer(200, json, half), "200").got(half),
        with("no JSON", answer(200, json, "<html>a gateway</html>"), "200").got("<html>a gateway</html>"),
        with("an empty body", answer(200, json, ""), "200").got(""),
        with("an empty stream", vec![Step::write(STREAM_HEAD), Step::write(LAST_CHUNK)], "200").got(""),
        Fault::new("compressed unasked", answer(200, "content-encoding: gzip\r\n", gzip.as_slice()), "200", "(gzip)")
            .got(&gzip),
        Fault::new(
            "304 with a length",
            vec![Step::write("HTTP/1.1 304 Not\r\ncontent-length: 9\r\n\r\n")],
            "304",
            "status 304",
        ),
        relayed("400", 400, "", "400", "status 400"),
        relayed("401", 401, "www-authenticate: Bearer\r\n", "401", "status 401"),
        relayed("429", 429, "retry-after: 20\r\n", "429", "status 429"),
        relayed("500", 500, "", "500", "status 500"),
        relayed("502 of its own", 502, "", "502", "status 502"),
        relayed("529", 529, "retry-after: 1\r\n", "529", "status 529"),
        relayed("a redirect", 307, "location: http://127.0.0.1:1/elsewhere\r\n", "307", "status 307"),
    ]);
}

#[test]
fn errors_inside_a_stream_in_each_providers_words() {
    let sse = |frames: &[&str]| {
        let frames: Vec<String> = frames.iter().map(|frame| format!("{frame}\n\n")).collect();
        stream_of("text/event-stream", frames.iter().map(|frame| frame.clone().into_bytes()).collect())
    };
    let fault = |name, (script, sent): (Script, Vec<u8>), path, headers, body: &str| {
        Fault::new(name, script, "200", "reported an error in its answer").got(&sent).asks(path, headers, body)
    };
    let exception = |name: &str| {
        let mut message = Vec::new();
        eventstream::encode_exception(name, br#"{"message":"overloaded"}"#, &mut message);
        stream_of("application/vnd.amazon.eventstream", vec![message])
    };
    let openai = r#"data: {"error":{"message":"overloaded","type":"server_error","code":null}}"#;
    let messages = r#""messages":[{"role":"user","content":"hi"}]"#;
    let chat = format!("{{\"model\":\"m\",\"stream\":true,{messages}}}");
    let claude = format!("{{\"model\":\"m\",\"max_tokens\":9,\"stream\":true,{messages}}}");
    let invoke = format!("{{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":9,{messages}}}");
    let contents = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#;
    let converse = r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#;
    let anthropic =
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"overloaded\"}}";
    let google = r#"data: {"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#;
    let array =
        r#"[{"candidates":[{"content":{"parts":[{"text":"a"}]}}]},{"error":{"code":503,"message":"overloaded"}}]"#;
    let cohere = r#"{"type":"message-end","delta":{"finish_reason":"ERROR","error":"overloaded"}}"#;
    let failed =
        r#"data: {"type":"response.failed","response":{"error":{"code":"server_error","message":"overloaded"}}}"#;
    let error_event = r#"data: {"type":"error","code":"server_error","message":"overloaded"}"#;
    let responses = r#"{"model":"m","stream":true,"input":"hi"}"#;
    let completions = r#"{"model":"m","stream":true,"prompt":"hi"}"#;
    all(vec![
        fault("OpenAI's chat", sse(&[delta("a").trim(), openai, "data: [DONE]"]), CHAT, "", &chat),
        fault("OpenAI's chat, finished before", sse(&[delta("a").trim(), finish().trim(), openai]), CHAT, "", &chat),
        fault("OpenAI's responses, failed", sse(&[failed]), "/v1/responses", "", responses),
        fault("OpenAI's responses, an error", sse(&[error_event]), "/v1/responses", "", responses),
        fault("OpenAI's completions", sse(&[openai, "data: [DONE]"]), "/v1/completions", "", completions),
        fault("Azure", sse(&[openai]), "/openai/deployments/d/chat/completions?api-version=1", "", &chat),
        fault("Anthropic", sse(&[anthropic]), "/v1/messages", "anthropic-version: 2023-06-01\r\n", &claude),
        fault("Gemini", sse(&[google]), "/v1beta/models/m:streamGenerateContent?alt=sse", "", contents),
        fault(
            "Gemini, an array",
            stream_of("application/json", vec![array.into()]),
            "/v1beta/models/m:streamGenerateContent",
            "",
            contents,
        ),
        fault(
            "Vertex AI",
            sse(&[google]),
            "/v1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent?alt=sse",
            "",
            contents,
        ),
        fault("Bedrock's converse", exception("throttlingException"), "/model/m/converse-stream", "", converse),
        fault(
            "Bedrock's invoke",
            exception("modelStreamErrorException"),
            "/model/anthropic.claude/invoke-with-response-stream",
            "",
            &invoke,
        ),
        fault(
            "Ollama",
            stream_of("application/x-ndjson", vec![b"{\"error\":\"overloaded\"}\n".to_vec()]),
            "/api/chat",
            "",
            &chat,
        ),
        fault("Cohere", sse(&[&format!("event: message-end\ndata: {cohere}")]), "/v2/chat", "", &chat),
    ]);
}

/// A stream of these chunks, and its body.
fn stream_of(content_type: &str, chunks: Vec<Vec<u8>>) -> (Script, Vec<u8>) {
    let head = STREAM_HEAD.replace("text/event-stream", content_type);
    let sent = chunks.iter().map(|bytes| Step::Write(chunk(bytes)));
    let script = [Step::write(head)].into_iter().chain(sent).chain([Step::write(LAST_CHUNK)]).collect();
    (script, chunks.concat())
}

// ------------------------------------------------------------------------------------------------ odd, and whole

#[test]
fn whole_answers_in_odd_ways() {
    let fault = |name, script| Fault::new(name, script, "200", "recorded ").got(completion("hi")).saved();
    let json = "content-type: application/json\r\n";
    let body = completion("hi");
    let after = |steps: &str, script: Script| [vec![Step::write(steps)], script].concat();
    let old = |headers: &str| Step::write(format!("HTTP/1.0 200 OK\r\n{json}{headers}\r\n{}", completion("hi")));
    let length = format!("content-length: {}\r\n", body.len());
    let all_of_it = delta("slow") + &finish() + DONE;
    let drip = |bytes: &[u8]| bytes.iter().map(|byte| Step::Write(vec![*byte])).collect::<Vec<_>>();
    let chunks: Vec<u8> = all_of_it.bytes().flat_map(|byte| chunk([byte])).collect();
    let raw = |fault: Fault| fault.asks("/v1/moderations", "", r#"{"input":"hi"}"#);
    all(vec![
        fault("100 before it", after("HTTP/1.1 100 Continue\r\n\r\n", whole("hi"))),
        fault("early hints before it", after("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n", whole("hi"))),
        fault("HTTP/1.0 with a length", vec![old(&length), Step::Close]),
        fault("HTTP/1.0 that ends with the connection", vec![old(""), Step::Close]),
        fault("HTTP/1.1 that ends with the connection", vec![head(json), Step::write(&body), Step::Close]),
        fault(
            "connection: close",
            [answer(200, &format!("{json}connection: close\r\n"), &body), vec![Step::Close]].concat(),
        ),
        fault("more bytes than told", after("", [whole("hi"), vec![Step::write("and more")]].concat())),
        fault("two answers", [whole("hi"), whole("of nobody")].concat()),
        fault("closed while it is idle", [whole("hi"), vec![Step::Close]].concat()),
        fault("reset while it is idle", [whole("hi"), vec![Step::Reset]].concat()),
        fault("byte by byte", [drip(STREAM_HEAD.as_bytes()), drip(&chunks), drip(LAST_CHUNK.as_bytes())].concat())
            .got(&all_of_it),
        fault(
            "extensions and trailers of chunks",
            vec![
                Step::write(STREAM_HEAD),
                Step::write(format!("{:x};name=value\r\n{all_of_it}\r\n0\r\nx-checksum: 1\r\n\r\n", all_of_it.len())),
            ],
        )
        .got(&all_of_it),
        fault(
            "frames after the terminal one",
            vec![
                Step::write(STREAM_HEAD),
                Step::Write(chunk(all_of_it.clone() + "data: more\n\n")),
                Step::write(LAST_CHUNK),
            ],
        )
        .got(all_of_it.clone() + "data: more\n\n"),
        fault(
            "a length beside chunks",
            vec![
                Step::write(STREAM_HEAD.replace("\r\n\r\n", "\r\ncontent-length: 7\r\n\r\n")),
                Step::Write(chunk(&all_of_it)),
                Step::write(LAST_CHUNK),
            ],
        )
        .got(&all_of_it),
        raw(Fault::new("204 with a body", answer(204, "", "hello"), "204", "recorded ").got("").saved()).reached(1, 1),
        raw(Fault::new("202 without a body", answer(202, "", ""), "202", "recorded ").got("").saved()),
    ]);
}

#[test]
fn a_redirect_and_a_limit_reach_the_client_with_their_headers() {
    for (status, name, value) in [(307, "location", "https://elsewhere.example/"), (429, "retry-after", "20")] {
        let upstream = ScriptedUpstream::start(vec![answer(status, &format!("{name}: {value}\r\n"), "{}")]);
        let folder = Folder::new();
        let server = server(&folder, &upstream.url(), |_| {});
        let got = http::chat(server.address(), "hi");
        assert_eq!((got.status, got.header(name)), (status, Some(value)));
        assert_eq!(upstream.requests().len(), 1, "not followed, and not asked again");
    }
}

#[test]
fn an_answer_to_head_has_a_length_and_no_body() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 512\r\n\r\n";
    let upstream = ScriptedUpstream::start(vec![vec![Step::write(head)], whole("next")]);
    let folder = Folder::new();
    let server = server(&folder, &upstream.url(), |_| {});
    let got = http::ask(server.address(), "HEAD", "/v1/files/f", "", "");
    assert_eq!((got.status, got.header("content-length"), got.body.len()), (200, Some("512"), 0));
    assert_eq!(http::chat(server.address(), "hi").json()["choices"][0]["message"]["content"], "next");
}

#[test]
fn a_connection_that_dies_with_a_request_on_it_costs_that_request_alone() {
    for end in [Step::Close, Step::Reset] {
        let upstream = ScriptedUpstream::start(vec![whole("first"), vec![end], whole("next")]);
        let folder = Folder::new();
        let server = server(&folder, &upstream.url(), |_| {});
        assert_eq!(http::chat(server.address(), "1").status, 200);
        let got = http::chat(server.address(), "2");
        assert_eq!(seen(&got), UNREACHABLE);
        assert!(got.text().contains("the request may have reached it, so it is not sent again"), "{}", got.text());
        assert_eq!(upstream.requests().len(), 2);
        assert_eq!(http::chat(server.address(), "3").json()["choices"][0]["message"]["content"], "next");
        assert_eq!(recordings(&folder), 2);
    }
}
