//! One row a fault, and the page that the rows make.

use crate::common::chat::{CHAT, Got, ask, chat, whole};
use crate::common::server::{Folder, Program, Server, serve, with_upstream};
use crate::common::{Gate, RawClient, Script, ScriptedUpstream, header};
use aimock::config::Config;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What every server of a row knows: its next request asks for it.
const RULES: &str = r#"{"fixtures":[{"match":{"userMessage":"hi"},"response":{"content":"here"}}]}"#;

/// Rows that are run at once: they wait more than they work.
const AT_ONCE: usize = 8;

/// One fault.
pub(crate) struct Fault {
    /// What goes wrong.
    pub(crate) name: &'static str,
    server: Kind,
    folder: fn(&Folder),
    upstream: fn(&Gate) -> Vec<Script>,
    act: for<'s> fn(&'s mut Scene) -> Acting<'s>,
}

/// Makes the fault happen; what the client saw.
pub(crate) type Acting<'s> = Pin<Box<dyn Future<Output = String> + 's>>;

enum Kind {
    /// In this process, with this configuration.
    Library(fn(&mut Config)),
    /// The program, with these arguments beside its folder and its upstream.
    Program(&'static [&'static str]),
}

impl Fault {
    /// A fault of a server that records, in this process.
    pub(crate) const fn new(name: &'static str, act: for<'s> fn(&'s mut Scene) -> Acting<'s>) -> Self {
        Fault { name, server: Kind::Library(|_| {}), folder: |_| {}, upstream: |_| vec![whole("from afar")], act }
    }

    /// With another configuration.
    pub(crate) const fn with(mut self, change: fn(&mut Config)) -> Self {
        self.server = Kind::Library(change);
        self
    }

    /// Of the program in a process of its own.
    pub(crate) const fn program(mut self, args: &'static [&'static str]) -> Self {
        self.server = Kind::Program(args);
        self
    }

    /// With more in its folder.
    pub(crate) const fn folder(mut self, prepare: fn(&Folder)) -> Self {
        self.folder = prepare;
        self
    }

    /// With another upstream, which may wait for the scene's gate, or open it.
    pub(crate) const fn upstream(mut self, scripts: fn(&Gate) -> Vec<Script>) -> Self {
        self.upstream = scripts;
        self
    }
}

/// What a fault happens to: a server that records from an upstream into a folder, and knows one rule.
pub(crate) struct Scene {
    pub(crate) folder: Folder,
    pub(crate) upstream: ScriptedUpstream,
    pub(crate) gate: Gate,
    pub(crate) address: SocketAddr,
    /// The server, where it is the program.
    pub(crate) program: Option<Program>,
    /// The server, where it is the library's.
    pub(crate) server: Option<Server>,
}

impl Scene {
    fn start(fault: &Fault) -> Self {
        let folder = Folder::new();
        folder.write("rules.json", RULES);
        (fault.folder)(&folder);
        let gate = Gate::new();
        let upstream = ScriptedUpstream::start((fault.upstream)(&gate));
        let address = upstream.address(); // until there is a server
        let mut scene = Scene { folder, upstream, gate, address, program: None, server: None };
        match fault.server {
            Kind::Program(args) => scene.start_program(args),
            Kind::Library(change) => {
                let server = serve(&scene.folder, |config| {
                    config.record = true;
                    with_upstream(config, &scene.upstream.url());
                    change(config);
                });
                scene.address = server.address();
                scene.server = Some(server);
            }
        }
        scene
    }

    /// Starts the program on the scene's folder, in the place of one that has ended.
    pub(crate) fn start_program(&mut self, args: &[&str]) {
        let (url, folder) = (self.upstream.url(), self.path());
        let own = ["-f", &folder, "--record", "--provider-openai", &url];
        let (program, address) = Program::serve(&[&own, args].concat());
        (self.program, self.address) = (Some(program), address);
    }

    pub(crate) fn path(&self) -> String {
        self.folder.path().to_string_lossy().into_owned()
    }

    pub(crate) async fn connect(&self) -> RawClient {
        RawClient::connect(self.address).await
    }

    /// The recordings on disk, and whether each is whole.
    fn saved(&self) -> String {
        let mut recordings = 0;
        for (path, text) in self.folder.files() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with(".tmp") {
                return format!("{name} is left");
            }
            if path.components().any(|part| part.as_os_str() == "recorded") && name.ends_with(".json") {
                let whole =
                    serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|file| file["fixtures"].is_array());
                if !whole {
                    return format!("{name} is broken");
                }
                recordings += 1;
            }
        }
        match recordings {
            0 => "nothing".into(),
            1 => "1 recording".into(),
            n => format!("{n} recordings"),
        }
    }
}

/// What was found of a fault.
struct Seen {
    client: String,
    saved: String,
    next: String,
}

fn run(fault: &Fault) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut scene = Scene::start(fault);
        let client = (fault.act)(&mut scene).await;
        let next = ask(scene.address, chat("hi")).await;
        let next = if next.text() == "here" { "answered".into() } else { format!("{}{}", next.head, next.body) };
        Seen { client, saved: scene.saved(), next }
    })
}

/// Status, the error's code, who answered if it was the upstream, and whether the connection is closed.
pub(crate) fn told(got: &Got) -> String {
    let code = serde_json::from_str::<serde_json::Value>(&got.body).unwrap_or_default();
    let code = code["error"]["code"].as_str().map(|code| format!(" `{code}`")).unwrap_or_default();
    let retry = header(&got.head, "retry-after").map(|after| format!(", retry-after {after}")).unwrap_or_default();
    let afar = if got.header("x-aimock-source") == "proxy" { " from the upstream" } else { "" };
    let close = if got.header("connection") == "close" { ", closed" } else { "" };
    format!("{}{code}{afar}{retry}{close}", got.status())
}

/// What comes until the server closes.
pub(crate) async fn rest(client: &mut RawClient) -> String {
    let Ok(rest) = client.read_to_end().await else { return "reset".into() };
    if rest.is_empty() {
        return "closed without an answer".into();
    }
    let text = String::from_utf8_lossy(&rest).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = told(&Got { head: format!("{head}\r\n"), body: body.to_owned() });
    if status.ends_with("closed") { status } else { format!("{status}, closed") }
}

/// A request to OpenAI's chat, as bytes.
pub(crate) fn request(headers: &str, body: &str) -> String {
    format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// Runs every row, and compares what is found with the page.
pub(crate) fn compare(kinds: &[(&str, &[Fault])]) {
    let faults: Vec<&Fault> = kinds.iter().flat_map(|(_, faults)| *faults).collect();
    let (next, seen) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = run(fault);
                    seen.lock().expect("no row panicked with it").push((fault.name, found));
                }
            });
        }
    });
    let seen = seen.into_inner().expect("no row panicked with it");
    let page = page(kinds, &seen);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/FAULTS.md");
    if std::env::var_os("AIMOCK_BLESS").is_some() {
        std::fs::write(&path, page).expect("a page that can be written");
        return;
    }
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = |line: &&str| !before.lines().any(|other| other == *line);
    let new: Vec<&str> = page.lines().filter(differs).collect();
    assert!(page == before, "not what tests/FAULTS.md says; AIMOCK_BLESS=1 writes it anew:\n{}", new.join("\n"));
}

fn page(kinds: &[(&str, &[Fault])], seen: &[(&str, Seen)]) -> String {
    let mut page = String::from(
        "# Faults\n\nWhat happens when something goes wrong. Every row is done to a real server by `cargo test --test \
         faults`, which\nfails where a row is no longer true and writes this page with `AIMOCK_BLESS=1`. The server \
         records from an upstream;\nthe next request is one that a rule of its folder answers.\n",
    );
    for (kind, faults) in kinds {
        let _ = write!(page, "\n## {kind}\n\n| fault | the client sees | saved | next request |\n|---|---|---|---|\n");
        for fault in *faults {
            let found = seen.iter().find(|(name, _)| *name == fault.name);
            let (name, Seen { client, saved, next }) = found.expect("every row was run");
            let _ = writeln!(page, "| {name} | {client} | {saved} | {next} |");
        }
    }
    page
}
