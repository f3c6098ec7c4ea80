//! The server under test: in this process, or the program in one of its own.

use super::LIMIT;
use aimock::config::Config;
use aimock::log::{Level, Lines, Logger};
use aimock::provider;
use aimock::upstream::BaseUrl;
use aimock::{Error, Mock};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A folder for one test, empty at first, gone at its end.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("folder-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a folder for tests that can be written");
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file; its path.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().expect("it has a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// Every regular file at any depth with its content, dot files included.
    pub fn files(&self) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path); // and not what a link leads to
                } else if path.is_file() {
                    // A temporary file may be gone by now.
                    let Ok(bytes) = std::fs::read(&path) else { continue };
                    found.push((path, String::from_utf8_lossy(&bytes).into_owned()));
                }
            }
        }
        found.sort();
        found
    }

    /// The recordings, one a file.
    pub fn recordings(&self) -> Vec<serde_json::Value> {
        let visible = |path: &Path| !path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        let files = self.files().into_iter().filter(|(path, _)| visible(path));
        let json = |text: String| serde_json::from_str::<serde_json::Value>(&text).expect("a whole fixture file");
        files.map(|(_, text)| json(text)["fixtures"][0].clone()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is below the build's own folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server in this process, with its log.
#[derive(Debug)]
pub struct Server {
    pub mock: Mock,
    pub log: Lines,
}

/// A server that answers from a folder.
pub fn serve(folder: &Folder, change: impl FnOnce(&mut Config)) -> Server {
    try_serve(folder, change).expect("a server that starts")
}

pub fn try_serve(folder: &Folder, change: impl FnOnce(&mut Config)) -> Result<Server, Error> {
    let (logger, log) = Logger::collecting(Level::Debug);
    // Not named, so that a strict server may begin with none.
    let builder = Mock::builder().configure(|config| config.fixtures.push(folder.path().into()));
    let builder = builder.configure(change).log(logger);
    Ok(Server { mock: builder.start()?, log })
}

/// A server that asks this upstream for OpenAI's endpoints, and records into the folder.
pub fn record(folder: &Folder, upstream: &str, change: impl FnOnce(&mut Config)) -> Server {
    serve(folder, |config| {
        config.record = true;
        with_upstream(config, upstream);
        change(config);
    })
}

/// Sets the upstream for OpenAI's endpoints.
pub fn with_upstream(config: &mut Config, url: &str) {
    let openai = provider::by_name("openai").expect("a provider");
    config.upstreams.set(openai, BaseUrl::parse(url).expect("a URL"));
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        self.mock.address()
    }

    /// Waits until a line of the log contains this.
    pub async fn logged(&self, text: &str) -> String {
        let lines = || self.log.to_vec();
        let find = || lines().into_iter().find(|line| line.contains(text));
        until(find).await.unwrap_or_else(|| panic!("no line with {text:?} in {:#?}", lines()))
    }

    /// A number of the report.
    pub fn count(&self, name: &str) -> u64 {
        self.mock.report()[name].as_u64().expect("a count")
    }
}

/// Asks again and again until there is an answer, or [`LIMIT`] has passed.
pub async fn until<T>(mut find: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let found = find();
        if found.is_some() || start.elapsed() > LIMIT {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The program in a process of its own, killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    stdout: Option<BufReader<std::process::ChildStdout>>,
    stderr: Option<JoinHandle<String>>,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// `None` where a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The program, with these arguments and nothing of this process's environment that could change what it does.
pub fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aimock"));
    command.args(args);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().to_ascii_uppercase();
        if text.starts_with("AIMOCK_") || text.ends_with("_PROXY") || text == "SSL_CERT_FILE" {
            command.env_remove(name);
        }
    }
    command
}

impl Program {
    /// Starts it, its output caught, its stdin open.
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a program that starts");
        let mut stderr = child.stderr.take().expect("a pipe");
        let lines = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let stdout = child.stdout.take().map(BufReader::new);
        Program { child, stdout, stderr: Some(lines) }
    }

    /// Starts the server and waits for its line on stdout.
    pub fn serve<S: AsRef<OsStr>>(args: &[S]) -> (Self, SocketAddr) {
        let mut command = program(&["--port", "0"]);
        command.args(args);
        Self::listening(&mut command)
    }

    /// Waits for the line that says where it listens.
    pub fn listening(command: &mut Command) -> (Self, SocketAddr) {
        let mut program = Self::start(command);
        let mut line = String::new();
        program.stdout.as_mut().expect("not taken yet").read_line(&mut line).expect("a line in UTF-8");
        let address = line.strip_prefix("aimock listening on http://").and_then(|l| l.trim_end().parse().ok());
        match address {
            Some(address) => (program, address),
            None => panic!("{line:?}: {:?}", program.wait()),
        }
    }

    /// Sends it a signal: `TERM`, `INT`, `KILL`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill is installed");
        assert!(sent.success());
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn close_stdin(&mut self) {
        self.child.stdin = None;
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Waits until it has ended.
    pub fn wait(mut self) -> Ended {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(start.elapsed() < LIMIT, "the program does not end");
            std::thread::sleep(Duration::from_millis(2));
        };
        let mut stdout = String::new();
        self.stdout.take().expect("not taken yet").read_to_string(&mut stdout).expect("text");
        let stderr = self.stderr.take().expect("not taken yet").join().expect("a reader that ends");
        Ended { code: status.code(), stdout, stderr }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe that takes nothing more.
pub fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    rustix::io::ioctl_fionbio(&writer, true).expect("a pipe can be made not to block");
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).expect("and to block");
    (reader, writer)
}

/// A server whose output goes where the test says; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    pub address: SocketAddr,
}

impl Running {
    /// Starts a server on a port that is free, and waits until it accepts connections.
    pub fn start(args: &[&str], set: impl FnOnce(&mut Command)) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
        let mut command = program(&["--port", &free.port().to_string()]);
        command.args(args).stdin(Stdio::null());
        set(&mut command);
        let running = Running { child: command.spawn().expect("a program that starts"), address: free };
        let start = Instant::now();
        while TcpStream::connect(free).is_err() {
            assert!(start.elapsed() < LIMIT, "nobody listens");
            std::thread::sleep(Duration::from_millis(2));
        }
        running
    }

    pub fn stop(mut self, signal: &str) -> ExitStatus {
        let kill = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status();
        assert!(kill.expect("kill is installed").success());
        ended(&mut self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a process has ended.
pub fn ended(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        assert!(start.elapsed() < LIMIT, "the program does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
}
