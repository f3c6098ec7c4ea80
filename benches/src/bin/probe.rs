//! Measures what a load generator does not: start-up, first bytes, one long stream, many connections at once.
//!
//! All print one JSON object. `--body FILE` is the request's body, in which `UNIQUE` is replaced by a number.
//!
//! - `probe start --port N --body FILE -- PROGRAM ARG…`: milliseconds until a new process answers, and its memory then
//! - `probe ask --port N --body FILE --count N`: requests one after another on one connection
//! - `probe latency --port N --body FILE --count N`: microseconds to the first byte, and of each chunk's way
//! - `probe bulk --port N --body FILE`: megabytes a second of one stream
//! - `probe idle --port N --body FILE --count N`: connections that were used once and stay until stdin ends
//! - `probe streams --port N --body FILE --count N`: streams that are all open at once
#![forbid(unsafe_code)]

use aimock_benches::{Failure, Flags, nanoseconds, run};
use memchr::memmem;
use serde_json::json;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long a new process may take to answer.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Between two attempts to reach a new process.
const START_PAUSE: Duration = Duration::from_micros(50);

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

const READ_BYTES: usize = 256 * 1024;

/// What stands before and after the time in a chunk of `upstream`.
const SENT_AT: &[u8] = b"_fingerprint\":\"t";

fn main() -> Result<(), Failure> {
    let flags = Flags::read()?;
    let probe = Probe::new(&flags)?;
    let count: u64 = flags.get("count", 100)?;
    match &*flags.command {
        "start" => probe.start(&flags.program),
        "ask" => probe.ask(count),
        "latency" => probe.latency(count),
        "bulk" => probe.bulk(),
        "idle" => probe.idle(count),
        "streams" => run(probe.streams(count)),
        other => Err(format!("{other}: no such command").into()),
    }
}

struct Probe {
    address: SocketAddr,
    body: String,
}

impl Probe {
    fn new(flags: &Flags) -> Result<Self, Failure> {
        let body: String = flags.get("body", String::new())?;
        Ok(Probe { address: flags.address()?, body: fs::read_to_string(&body).map_err(|e| format!("{body}: {e}"))? })
    }

    fn request(&self, n: u64) -> Vec<u8> {
        let body = self.body.replace("UNIQUE", &format!("{n:08}"));
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             authorization: Bearer sk-test\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .into_bytes()
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(stream)
    }

    // ------------------------------------------------------------------------------------------------- start-up

    fn start(&self, program: &[String]) -> Result<(), Failure> {
        let [name, arguments @ ..] = program else { return Err("-- PROGRAM is needed".into()) };
        let request = self.request(0);
        let begun = Instant::now();
        let mut child = Command::new(name).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let answered = loop {
            if begun.elapsed() > START_LIMIT {
                break None;
            }
            if self.connect().and_then(|mut stream| first_status(&mut stream, &request)).is_ok_and(|ok| ok) {
                break Some(begun.elapsed());
            }
            sleep(START_PAUSE);
        };
        sleep(Duration::from_millis(200));
        let (now, peak) = (status_kb(child.id(), "VmRSS:"), status_kb(child.id(), "VmHWM:"));
        child.kill()?;
        child.wait()?;
        let answered = answered.ok_or("no 200 in time")?;
        println!("{}", json!({"ms": answered.as_secs_f64() * 1e3, "rss_kb": now, "peak_kb": peak}));
        Ok(())
    }

    // ----------------------------------------------------------------------------------------- one at a time

    fn ask(&self, count: u64) -> Result<(), Failure> {
        let mut stream = self.connect()?;
        let mut buffer = vec![0; READ_BYTES];
        for n in 0..count {
            stream.write_all(&self.request(n))?;
            read_answer(&mut stream, &mut buffer, |_, _| {})?;
        }
        println!("{}", json!({"answers": count}));
        Ok(())
    }

    fn latency(&self, count: u64) -> Result<(), Failure> {
        let mut stream = self.connect()?;
        let mut buffer = vec![0; READ_BYTES];
        let (mut firsts, mut ways) = (Vec::new(), Vec::new());
        for n in 0..count {
            let request = self.request(n);
            let begun = Instant::now();
            stream.write_all(&request)?;
            let mut first = None;
            let mut scanned = 0;
            read_answer(&mut stream, &mut buffer, |answer, _| {
                first.get_or_insert_with(|| begun.elapsed());
                let now = nanoseconds();
                while let Some(at) = memmem::find(&answer[scanned..], SENT_AT) {
                    let from = scanned + at + SENT_AT.len();
                    let Some(len) = memchr::memchr(b't', &answer[from..]) else { break };
                    let sent = std::str::from_utf8(&answer[from..from + len]).ok().and_then(|t| t.parse::<u128>().ok());
                    ways.extend(sent.map(|sent| now.saturating_sub(sent) as f64 / 1e3));
                    scanned = from + len;
                }
            })?;
            firsts.extend(first.map(|first| first.as_secs_f64() * 1e6));
        }
        let median = |v: &mut Vec<f64>| {
            v.sort_by(f64::total_cmp);
            v.get(v.len() / 2).copied()
        };
        println!("{}", json!({"first_byte_us": median(&mut firsts), "chunk_us": median(&mut ways)}));
        Ok(())
    }

    fn bulk(&self) -> Result<(), Failure> {
        let mut stream = self.connect()?;
        let mut buffer = vec![0; READ_BYTES];
        let begun = Instant::now();
        stream.write_all(&self.request(0))?;
        let mut bytes = 0u64;
        // Only the tail is kept: a stream is longer than memory should be.
        let mut tail = Vec::new();
        loop {
            let n = stream.read(&mut buffer)?;
            bytes += n as u64;
            tail.extend_from_slice(&buffer[..n]);
            let cut = tail.len().saturating_sub(16);
            tail.drain(..cut);
            if n == 0 || tail.ends_with(b"\r\n0\r\n\r\n") {
                break;
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        println!("{}", json!({"bytes": bytes, "mb_s": bytes as f64 / 1e6 / seconds, "s": seconds}));
        Ok(())
    }

    // --------------------------------------------------------------------------------------------- many at once

    fn idle(&self, count: u64) -> Result<(), Failure> {
        let mut buffer = vec![0; READ_BYTES];
        let mut open = Vec::new();
        for n in 0..count {
            let mut stream = self.connect()?;
            stream.write_all(&self.request(n))?;
            read_answer(&mut stream, &mut buffer, |_, _| {})?;
            open.push(stream);
        }
        println!("{}", json!({"open": open.len()}));
        io::stdout().flush()?;
        io::stdin().read_to_end(&mut buffer)?;
        Ok(())
    }

    async fn streams(&self, count: u64) -> Result<(), Failure> {
        let begun = Instant::now();
        let tasks: Vec<_> =
            (0..count).map(|n| tokio::task::spawn_local(stream_to_end(self.address, self.request(n)))).collect();
        let (mut whole, mut bytes) = (0, 0);
        for task in tasks {
            if let Ok(Ok(read)) = task.await {
                whole += 1;
                bytes += read;
            }
        }
        println!("{}", json!({"whole": whole, "bytes": bytes, "s": begun.elapsed().as_secs_f64()}));
        Ok(())
    }
}

async fn stream_to_end(address: SocketAddr, request: Vec<u8>) -> io::Result<usize> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(&request).await?;
    let mut buffer = vec![0; 16 * 1024];
    let mut answer = Vec::new();
    while !is_whole(&answer) {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&buffer[..n]);
    }
    Ok(answer.len())
}

/// Reads one answer, calling `seen` with all of it so far after each read.
fn read_answer(stream: &mut TcpStream, buffer: &mut [u8], mut seen: impl FnMut(&[u8], usize)) -> Result<(), Failure> {
    let mut answer = Vec::new();
    while !is_whole(&answer) {
        let n = stream.read(buffer)?;
        if n == 0 {
            return Err(format!("closed after: {}", String::from_utf8_lossy(&answer)).into());
        }
        answer.extend_from_slice(&buffer[..n]);
        seen(&answer, n);
    }
    if !answer.starts_with(b"HTTP/1.1 200") {
        return Err(String::from_utf8_lossy(&answer).into());
    }
    Ok(())
}

/// Whether an answer has come to its end, by its length or by its last chunk.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = memmem::find(answer, b"\r\n\r\n") else { return false };
    let lower = answer[..head].to_ascii_lowercase();
    match memmem::find(&lower, b"content-length:") {
        Some(at) => {
            let digits = lower[at + 15..].trim_ascii_start();
            let end = digits.iter().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
            let len = std::str::from_utf8(&digits[..end]).ok().and_then(|d| d.parse::<usize>().ok());
            len.is_none_or(|len| answer.len() >= head + 4 + len)
        }
        None => answer.ends_with(b"\r\n0\r\n\r\n"),
    }
}

fn first_status(stream: &mut TcpStream, request: &[u8]) -> io::Result<bool> {
    stream.write_all(request)?;
    let mut start = [0; 12];
    stream.read_exact(&mut start)?;
    Ok(start.ends_with(b"200"))
}

fn status_kb(pid: u32, key: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
}
