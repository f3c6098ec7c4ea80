//! Two processes record into one folder and lose nothing.

#[path = "common/plain.rs"]
mod plain;

use plain::{Folder, Given, Upstream};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const THREADS: usize = 64;

/// How long they record: `AIMOCK_SECONDS`, else 30 s with `AIMOCK_LONG=1`, else 5 s.
fn duration() -> Duration {
    let seconds = std::env::var("AIMOCK_SECONDS").ok().and_then(|s| s.parse().ok());
    let long = std::env::var("AIMOCK_LONG").is_ok_and(|v| v == "1");
    Duration::from_secs(seconds.unwrap_or(if long { 30 } else { 5 }))
}

/// A process of its own, which ends in order when its stdin is closed.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(folder: &Folder, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_aimock"))
            .args(["-p", "0", "--exit-on-stdin-close", "--log-level", "warn", "-f"])
            .arg(&folder.0)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a first line");
        let address = line.trim().rsplit_once("http://").and_then(|(_, a)| a.parse().ok()).expect("an address");
        Process { child, address }
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("an end").success());
    }
}

/// A request: its text and its test.
#[derive(Clone, Debug)]
struct Asked {
    text: String,
    test: Option<String>,
}

impl Asked {
    /// The n-th request of a thread: its own, one that all ask, one that the thread's test asks.
    fn new(thread: usize, n: usize) -> Self {
        match n % 4 {
            0 => Asked { text: format!("everyone asks {}", n / 4), test: None },
            1 => Asked { text: format!("thread {thread} asks {n}"), test: Some(format!("suite {}", thread % 4)) },
            _ => Asked { text: format!("thread {thread} asks {n}"), test: None },
        }
    }

    fn send(&self, to: SocketAddr) -> plain::Answer {
        let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": self.text}]}).to_string();
        let test = self.test.as_deref().map(|test| ("x-test-id", test));
        plain::post(to, "/v1/chat/completions", test.as_slice(), body)
    }

    fn is_answered_by(&self, answer: &plain::Answer) -> bool {
        answer.status == 200 && answer.whole && answer.text().contains(&format!("to: {}.", self.text))
    }
}

/// An upstream that says what it was asked.
fn echo() -> Upstream {
    Upstream::start(|received| {
        let asked: Value = serde_json::from_slice(&received.body).expect("JSON");
        let text = format!("to: {}.", asked["messages"][0]["content"].as_str().unwrap_or_default());
        let answer = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices":
            [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]});
        Given::json(answer.to_string())
    })
}

#[test]
fn two_processes_record_into_one_folder() {
    let (folder, upstream) = (Folder::new("concurrency"), echo());
    let url = upstream.url();
    let record = ["--record", "--provider-openai", &*url];
    let processes = [Process::start(&folder, &record), Process::start(&folder, &record)];
    let answered: Mutex<Vec<Asked>> = Mutex::default();
    let end = Instant::now() + duration();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (processes, answered) = (&processes, &answered);
            scope.spawn(move || {
                let mut own = Vec::new();
                for n in 0.. {
                    if Instant::now() >= end {
                        break;
                    }
                    let asked = Asked::new(thread, n);
                    let answer = asked.send(processes[(thread + n) % 2].address);
                    assert!(asked.is_answered_by(&answer), "{asked:?}: {}{}", answer.head, answer.text());
                    assert!(answer.header("x-aimock-record-error").is_none(), "{}", answer.head);
                    own.push(asked);
                }
                answered.lock().expect("no thread panicked").extend(own);
            });
        }
    });
    processes.into_iter().for_each(Process::end);
    let answered = answered.into_inner().expect("no thread panicked");
    assert!(answered.len() > THREADS, "{} requests were answered", answered.len());

    for (path, text) in folder.files() {
        let file: Value = serde_json::from_str(&text).unwrap_or_else(|e| unreadable(&path, &e));
        assert!(file["fixtures"].as_array().is_some_and(|f| !f.is_empty()), "{}: {text}", path.display());
        assert_eq!(path.extension().and_then(|e| e.to_str()), Some("json"), "{}", path.display());
    }
    let check = Command::new(env!("CARGO_BIN_EXE_aimock")).arg("check").arg(&folder.0).output().expect("the program");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    replay(&folder, &answered);
}

fn unreadable(path: &std::path::Path, e: &serde_json::Error) -> Value {
    Value::String(format!("{}: {e}", path.display()))
}

/// Every request that was answered is answered again, by nothing but the folder.
fn replay(folder: &Folder, answered: &[Asked]) {
    let strict = Process::start(folder, &["--strict"]);
    std::thread::scope(|scope| {
        for part in answered.chunks(answered.len().div_ceil(8)) {
            let address = strict.address;
            scope.spawn(move || {
                for asked in part {
                    let answer = asked.send(address);
                    let found = (answer.source(), answer.how(), asked.is_answered_by(&answer));
                    assert_eq!(found, ("fixture", "exact", true), "{asked:?}: {}{}", answer.head, answer.text());
                }
            });
        }
    });
    strict.end();
}
