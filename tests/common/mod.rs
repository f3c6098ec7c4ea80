//! What integration tests stand on: an upstream that does exactly what a script says, and a client that sends and reads
//! raw bytes. No clock decides anything: a script waits for the test through a [`Gate`]; [`LIMIT`] only ends a test that
//! would hang.
#![allow(dead_code, unreachable_pub)] // every test binary uses a part of it
#![allow(clippy::panic)] // a test that cannot go on

pub mod chat;
pub mod server;
pub mod tls;

use rustls::ServerConfig;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a test waits for what must come.
pub const LIMIT: Duration = Duration::from_secs(20);

/// A door between a test and a script: closed until someone opens it, open for ever after.
#[derive(Clone)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub fn new() -> Self {
        Gate(Arc::new(watch::Sender::new(false)))
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub fn is_open(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the gate is open.
    pub async fn opened(&self) {
        let mut door = self.0.subscribe();
        let open = timeout(LIMIT, door.wait_for(|open| *open)).await;
        open.expect("the gate opens in time").expect("the sender lives in self");
    }
}

/// One step of an upstream's answer.
#[derive(Clone)]
pub enum Step {
    /// Sends raw bytes.
    Write(Vec<u8>),
    /// Waits until the test opens the gate.
    WaitFor(Gate),
    /// Tells the test that the steps so far are done.
    Open(Gate),
    /// Waits until the peer has closed its side, tells the test, and closes.
    AwaitHangup(Gate),
    /// Closes in order: with `close_notify` where it is TLS, then FIN.
    Close,
    /// Closes with FIN alone: under TLS that is a cut.
    Cut,
    /// Closes with RST.
    Reset,
    /// Keeps the connection open and silent until the upstream is dropped.
    Hold,
}

impl Step {
    pub fn write(bytes: impl AsRef<[u8]>) -> Self {
        Step::Write(bytes.as_ref().to_vec())
    }
}

/// What happens once a request was read. A script without an end (`Close`, `Cut`, `Reset`, `Hold`, `AwaitHangup`) leaves the
/// connection open for the next request.
pub type Script = Vec<Step>;

/// A script that answers with a status, headers (each line with its `\r\n`) and a body, its length told.
pub fn answer(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Script {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status} Status\r\n{headers}content-length: {}\r\n\r\n", body.len());
    vec![Step::Write([head.as_bytes(), body].concat())]
}

/// One chunk of a chunked body.
pub fn chunk(data: impl AsRef<[u8]>) -> Vec<u8> {
    let data = data.as_ref();
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

/// A request as an upstream received it.
#[derive(Clone, Debug)]
pub struct Received {
    /// Number of the connection it came on, from 0.
    pub connection: usize,
    /// Request line and headers, with the empty line.
    pub head: String,
    pub body: Vec<u8>,
}

impl Received {
    /// The request line.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or("")
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// The first header of this name in a raw head.
pub fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines()
        .skip(1)
        .filter_map(|l| l.split_once(':'))
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, v)| v.trim())
}

/// An upstream on a free port of 127.0.0.1, on a thread of its own: the first request gets the first script, and so on;
/// every further one gets the last.
pub struct ScriptedUpstream {
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    scheme: &'static str,
}

#[derive(Default)]
struct Log {
    requests: Vec<Received>,
    connections: usize,
    closed: usize,
}

impl ScriptedUpstream {
    pub fn start(scripts: Vec<Script>) -> Self {
        Self::listen(scripts, None)
    }

    pub fn start_tls(scripts: Vec<Script>, config: ServerConfig) -> Self {
        Self::listen(scripts, Some(TlsAcceptor::from(Arc::new(config))))
    }

    fn listen(scripts: Vec<Script>, tls: Option<TlsAcceptor>) -> Self {
        assert!(!scripts.is_empty(), "an upstream needs a script");
        let listener = StdListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("a bound socket has an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let log = Arc::new(Mutex::new(Log::default()));
        let (stop, stopped) = oneshot::channel();
        let play = Play { scripts: Arc::new(scripts), log: Arc::clone(&log), tls };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listening socket");
                tokio::select! {
                    () = play.accept(&listener) => {}
                    _ = stopped => {}
                }
            });
        });
        ScriptedUpstream { address, log, stop: Some(stop), thread: Some(thread), scheme }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, or `https://…`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Every request read so far, in order.
    pub fn requests(&self) -> Vec<Received> {
        lock(&self.log).requests.clone()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        lock(&self.log).connections
    }

    /// Waits until so many connections were closed by the script.
    pub async fn closed(&self, count: usize) {
        let closed = async {
            while lock(&self.log).closed < count {
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, closed).await.expect("the script closes in time");
    }
}

impl Drop for ScriptedUpstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection, and the socket under it.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

#[derive(Clone)]
struct Play {
    scripts: Arc<Vec<Script>>,
    log: Arc<Mutex<Log>>,
    tls: Option<TlsAcceptor>,
}

impl Play {
    async fn accept(&self, listener: &TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let _ = stream.set_nodelay(true);
            let connection = {
                let mut log = lock(&self.log);
                log.connections += 1;
                log.connections - 1
            };
            let play = self.clone();
            tokio::spawn(async move {
                match &play.tls {
                    None => play.serve(stream, connection).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            play.serve(stream, connection).await;
                        }
                    }
                }
            });
        }
    }

    async fn serve(&self, mut wire: impl Wire, connection: usize) {
        let mut buffer = Vec::new();
        while let Some((head, body)) = read_message(&mut wire, &mut buffer).await {
            let script = {
                let mut log = lock(&self.log);
                log.requests.push(Received { connection, head, body });
                &self.scripts[(log.requests.len() - 1).min(self.scripts.len() - 1)]
            };
            for step in script {
                if !perform(step, &mut wire).await {
                    drop(wire);
                    lock(&self.log).closed += 1;
                    return;
                }
            }
        }
    }
}

/// Whether the connection goes on.
async fn perform(step: &Step, wire: &mut impl Wire) -> bool {
    match step {
        // A peer that has gone is the matter of the steps that wait for it.
        Step::Write(bytes) => {
            let _ = wire.write_all(bytes).await;
            let _ = wire.flush().await;
        }
        Step::WaitFor(gate) => gate.opened().await,
        Step::Open(gate) => gate.open(),
        Step::AwaitHangup(gate) => {
            let mut rest = [0; 1024];
            while wire.read(&mut rest).await.is_ok_and(|n| n > 0) {}
            gate.open();
            return false;
        }
        Step::Close => {
            let _ = wire.shutdown().await;
            return false;
        }
        Step::Cut => return false,
        Step::Reset => {
            let _ = wire.tcp().set_zero_linger();
            return false;
        }
        Step::Hold => std::future::pending().await,
    }
    true
}

/// A whole message, its body by `content-length` or chunked; `None` where the peer has gone.
pub async fn read_message(wire: &mut impl Wire, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let head = String::from_utf8_lossy(&read_until(wire, buffer, b"\r\n\r\n").await?).into_owned();
    let mut body = Vec::new();
    if header(&head, "transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        while let Some(data) = read_chunk(wire, buffer).await? {
            body.extend(data);
        }
    } else if let Some(length) = header(&head, "content-length").and_then(|v| v.parse().ok()) {
        body = read_exact(wire, buffer, length).await?;
    }
    Some((head, body))
}

async fn read_until(from: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, end: &[u8]) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = buffer.windows(end.len()).position(|w| w == end) {
            return Some(buffer.drain(..at + end.len()).collect());
        }
        fill(from, buffer).await?;
    }
}

async fn read_exact(from: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, length: usize) -> Option<Vec<u8>> {
    while buffer.len() < length {
        fill(from, buffer).await?;
    }
    Some(buffer.drain(..length).collect())
}

/// One chunk; `Some(None)` for the last.
async fn read_chunk(from: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<Option<Vec<u8>>> {
    let line = read_until(from, buffer, b"\r\n").await?;
    let line = String::from_utf8_lossy(&line).into_owned();
    let size = usize::from_str_radix(line.trim().split(';').next().unwrap_or(""), 16).ok()?;
    let mut data = read_exact(from, buffer, size + 2).await?;
    data.truncate(size);
    Some((size > 0).then_some(data))
}

async fn fill(from: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<()> {
    from.read_buf(buffer).await.ok().filter(|n| *n > 0).map(|_| ())
}

/// A client that knows of HTTP only how to find the end of a head and of a chunk.
pub struct RawClient {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl RawClient {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a server that listens");
        stream.set_nodelay(true).expect("a connected socket");
        RawClient { stream, buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("a server that reads");
    }

    /// Sends what the server takes; it may have closed meanwhile.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Sends a `POST` with a JSON body; `headers` are lines, each with its `\r\n`.
    pub async fn post(&mut self, target: &str, headers: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        self.send([head.as_bytes(), body].concat()).await;
    }

    /// Status line and headers, with the empty line.
    pub async fn read_head(&mut self) -> String {
        let head = within(read_until(&mut self.stream, &mut self.buffer, b"\r\n\r\n")).await;
        String::from_utf8(head.expect("a whole head")).expect("a head in ASCII")
    }

    /// The next chunk of a chunked body; `None` for the last.
    pub async fn read_chunk(&mut self) -> Option<Vec<u8>> {
        within(read_chunk(&mut self.stream, &mut self.buffer)).await.expect("a whole chunk")
    }

    /// As many bytes of a chunked body, of whichever chunks.
    pub async fn read_exact_of_chunks(&mut self, length: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while got.len() < length {
            got.extend(self.read_chunk().await.expect("more chunks"));
        }
        got
    }

    /// As many bytes.
    pub async fn read_exact(&mut self, length: usize) -> Vec<u8> {
        within(read_exact(&mut self.stream, &mut self.buffer, length)).await.expect("as many bytes")
    }

    /// Bytes up to and with `end`.
    pub async fn read_until(&mut self, end: impl AsRef<[u8]>) -> Vec<u8> {
        within(read_until(&mut self.stream, &mut self.buffer, end.as_ref())).await.expect("these bytes")
    }

    /// A whole answer, its body by `content-length` or chunked.
    pub async fn read_answer(&mut self) -> (String, Vec<u8>) {
        self.try_answer().await.expect("a whole answer")
    }

    /// A whole answer, or `None` where the server closes before its end.
    pub async fn try_answer(&mut self) -> Option<(String, Vec<u8>)> {
        within(read_message(&mut self.stream, &mut self.buffer)).await
    }

    /// All bytes until the server closes. An error is a reset.
    pub async fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        within(self.stream.read_to_end(&mut self.buffer)).await?;
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Closes with RST.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("a connected socket");
    }
}

async fn within<T>(wait: impl Future<Output = T>) -> T {
    timeout(LIMIT, wait).await.expect("an answer in time")
}
