//! A server and a client of it.

use super::captures::Wanted;
use super::player::WHICH;
use crate::common::{RawClient, header};
use aimock::Mock;
use aimock::frame::Framing;
use aimock::provider::PROVIDERS;
use aimock::relay::framing_of;
use aimock::upstream::BaseUrl;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder that is gone with its owner, in memory where the system has such a place: each recording is flushed.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("aimock-corpus-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for recordings");
        Folder(path)
    }

    /// The recordings of a test, or of no test.
    pub(crate) fn recorded(&self, test: Option<&str>) -> Vec<Value> {
        let folder = self.0.join("recorded").join(test.unwrap_or(""));
        let files = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let json = files.filter(|p| p.extension().is_some_and(|e| e == "json"));
        let fixtures = json.map(|path| {
            let text = fs::read(path).expect("a recording");
            let file: Value = serde_json::from_slice(&text).expect("JSON of a recording");
            file["fixtures"].as_array().cloned().expect("a file of fixtures")
        });
        fixtures.flatten().collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An answer as a client has it; of an answer that was cut, nothing.
#[derive(Debug, Default)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    /// `x-aimock-source`.
    pub(crate) source: String,
    /// `x-aimock-match`.
    pub(crate) matched: String,
    pub(crate) body: Vec<u8>,
}

impl Got {
    /// How its body is framed, where the request asked for this framing.
    pub(crate) fn framing(&self, asked: Framing) -> Framing {
        framing_of(self.content_type.as_deref().unwrap_or(""), asked)
    }
}

pub(crate) struct Session {
    mock: Mock,
    client: RawClient,
}

impl Session {
    /// A server that records what it does not know.
    pub(crate) async fn recording(folder: &Folder, upstream: &str, wire: bool) -> Self {
        let base = BaseUrl::parse(upstream).expect("the player's URL");
        let mock = Mock::builder().fixtures(&folder.0).configure(|config| {
            config.record = true;
            config.record_wire = wire;
            for provider in PROVIDERS {
                config.upstreams.set(provider, base.clone());
            }
        });
        Self::of(mock).await
    }

    /// A server that has nothing but a folder.
    pub(crate) async fn strict(folder: &Folder) -> Self {
        Self::of(Mock::builder().fixtures(&folder.0).strict()).await
    }

    async fn of(builder: aimock::mock::Builder) -> Self {
        let mock = builder.start().expect("a server");
        let client = RawClient::connect(mock.address()).await;
        Session { mock, client }
    }

    pub(crate) async fn ask(&mut self, wanted: &Wanted, capture: usize, test: Option<&str>) -> Got {
        let test = test.map(|id| format!("x-test-id: {id}\r\n")).unwrap_or_default();
        let mut head =
            format!("{} {} HTTP/1.1\r\nhost: localhost\r\n{test}{WHICH}: {capture}\r\n", wanted.method, wanted.target);
        for (name, value) in &wanted.headers {
            head.push_str(&format!("{name}: {}\r\n", value.to_str().expect("a header that was text")));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", wanted.body.len()));
        self.client.send([head.as_bytes(), &wanted.body].concat()).await;
        let Some((head, body)) = self.client.try_answer().await else {
            self.client = RawClient::connect(self.mock.address()).await;
            return Got::default();
        };
        let value = |name: &str| header(&head, name).map(str::to_owned);
        Got {
            status: head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0),
            content_type: value("content-type"),
            source: value("x-aimock-source").unwrap_or_default(),
            matched: value("x-aimock-match").unwrap_or_default(),
            body,
        }
    }
}
