//! A client and an upstream in plain blocking code, for tests that ask many things and look at every byte.
#![allow(dead_code, unreachable_pub)] // every test binary uses a part of it

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a test waits for what must come.
const LIMIT: Duration = Duration::from_secs(30);

/// An answer as a client sees it.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The body, its chunks joined.
    pub body: Vec<u8>,
    /// The body ended as it should.
    pub whole: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// Who answered.
    pub fn source(&self) -> &str {
        self.header("x-aimock-source").unwrap_or("")
    }

    /// How the fixture was found.
    pub fn how(&self) -> &str {
        self.header("x-aimock-match").unwrap_or("")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The first header of this name in a raw head.
pub fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim()).next()
}

/// Asks on a connection of its own.
pub fn send(to: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    read_answer(begin(to, method, target, headers, body))
}

pub fn post(to: SocketAddr, target: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
    send(to, "POST", target, headers, body.as_ref())
}

pub fn get(to: SocketAddr, target: &str) -> Answer {
    send(to, "GET", target, &[], b"")
}

/// Sends a request and leaves its answer to be read.
pub fn begin(to: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).expect("a server that listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        head.push_str("content-type: application/json\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    stream.write_all(&[head.as_bytes(), body].concat()).expect("a server that reads");
    stream
}

/// Reads an answer to the end of its connection.
pub fn read_answer(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let end = find(&bytes, b"\r\n\r\n").expect("a whole head") + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    let rest = &bytes[end..];
    let (body, whole) = if header(&head, "transfer-encoding").is_some() {
        unchunked(rest)
    } else {
        let length: usize = header(&head, "content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        (rest.to_vec(), rest.len() == length)
    };
    Answer { status, head, body, whole: whole && read.is_ok() }
}

/// A chunked body joined, and whether its last chunk came.
fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(line) = find(rest, b"\r\n") {
        let size = usize::from_str_radix(&String::from_utf8_lossy(&rest[..line]), 16).expect("a chunk's size");
        if size == 0 {
            return (body, true);
        }
        let Some(data) = rest.get(line + 2..line + 2 + size) else { break };
        body.extend_from_slice(data);
        rest = rest.get(line + 4 + size..).unwrap_or(&[]);
    }
    (body, false)
}

pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|w| w == wanted)
}

/// A request as an upstream received it.
#[derive(Clone, Debug)]
pub struct Received {
    pub head: String,
    pub body: Vec<u8>,
}

impl Received {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or("")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What an upstream answers.
#[derive(Clone, Debug)]
pub struct Given {
    pub status: u16,
    /// Lines, each with its `\r\n`.
    pub headers: String,
    /// One write each; more than one, or a pause, makes the body chunked.
    pub writes: Vec<Vec<u8>>,
    /// Milliseconds before each write but the first.
    pub pause_ms: u64,
    /// The connection breaks before the body's end.
    pub cut: bool,
}

impl Given {
    pub fn new(content_type: &str, body: impl AsRef<[u8]>) -> Self {
        Given::writes(content_type, [body.as_ref()])
    }

    pub fn json(body: impl AsRef<[u8]>) -> Self {
        Given::new("application/json", body)
    }

    pub fn writes<'w>(content_type: &str, writes: impl IntoIterator<Item = &'w [u8]>) -> Self {
        let headers = format!("content-type: {content_type}\r\n");
        let writes = writes.into_iter().map(<[u8]>::to_vec).collect();
        Given { status: 200, headers, writes, pause_ms: 0, cut: false }
    }

    pub fn status(status: u16, body: &str) -> Self {
        Given { status, ..Given::json(body) }
    }
}

type Handler = dyn Fn(&Received) -> Given + Send + Sync;

/// An upstream on a free port, each connection on a thread of its own.
pub struct Upstream {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    calls: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Upstream {
    pub fn start(handler: impl Fn(&Received) -> Given + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (received, calls) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let over = Arc::new(AtomicBool::new(false));
        let upstream = Upstream { address, received: received.clone(), calls: calls.clone(), over: over.clone() };
        let handler: Arc<Handler> = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (handler, received, calls) = (handler.clone(), received.clone(), calls.clone());
                std::thread::spawn(move || serve(stream, &*handler, &received, &calls));
            }
        });
        upstream
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests came.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address); // wakes the thread that accepts
    }
}

fn serve(mut stream: TcpStream, handler: &Handler, received: &Mutex<Vec<Received>>, calls: &AtomicUsize) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer) {
        received.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        calls.fetch_add(1, Ordering::SeqCst);
        if !answer(&mut stream, &handler(&request)) {
            return;
        }
    }
}

/// Whether the connection goes on.
fn answer(stream: &mut TcpStream, given: &Given) -> bool {
    let chunked = given.writes.len() > 1 || given.cut;
    let length: usize = given.writes.iter().map(Vec::len).sum();
    let framing = if chunked { "transfer-encoding: chunked".to_owned() } else { format!("content-length: {length}") };
    let head = format!("HTTP/1.1 {} Status\r\n{}{framing}\r\n\r\n", given.status, given.headers);
    let mut sent = stream.write_all(head.as_bytes()).is_ok();
    for (i, data) in given.writes.iter().enumerate() {
        if i > 0 && given.pause_ms > 0 {
            std::thread::sleep(Duration::from_millis(given.pause_ms));
        }
        let bytes =
            if chunked { [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat() } else { data.clone() };
        sent = sent && stream.write_all(&bytes).is_ok();
    }
    if given.cut {
        return false;
    }
    if chunked {
        sent = sent && stream.write_all(b"0\r\n\r\n").is_ok();
    }
    sent
}

fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    let end = loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            break at + 4;
        }
        fill(stream, buffer)?;
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let length: usize = header(&head, "content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
    while buffer.len() < end + length {
        fill(stream, buffer)?;
    }
    let body = buffer[end..end + length].to_vec();
    buffer.drain(..end + length);
    Some(Received { head, body })
}

fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut piece = [0; 16 * 1024];
    let n = stream.read(&mut piece).ok().filter(|n| *n > 0)?;
    buffer.extend_from_slice(&piece[..n]);
    Some(())
}

/// A folder that is gone when the test is over.
pub struct Folder(pub std::path::PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let n = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("aimock-{name}-{}-{n}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Folder(path)
    }

    /// Every file below it with its text, without lock files.
    pub fn files(&self) -> Vec<(std::path::PathBuf, String)> {
        let mut files = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b".")) {
                    let text = std::fs::read(&path).expect("a file");
                    files.push((path, String::from_utf8_lossy(&text).into_owned()));
                }
            }
        }
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
