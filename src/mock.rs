//! The library's handle: a server on a thread of its own, for tests in Rust.

use crate::app::App;
use crate::config::Config;
use crate::error::Error;
use crate::fixture::{Fixture, Match, watch};
use crate::log::Logger;
use crate::provider::{self, PROVIDERS, Provider};
use crate::reply::{Answer, ErrorAnswer};
use crate::server;
use crate::upstream::{BaseUrl, Environment, Keys};
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Stack of a server's thread, in bytes; untouched pages cost nothing.
const STACK_BYTES: usize = 1024 * 1024;

/// What the handle has its server do.
type Task = Box<dyn FnOnce(&Rc<App>) + Send>;

/// A running server. It stops, and its port is free again, when it is dropped.
///
/// ```
/// use std::io::{Read, Write};
///
/// let mock = aimock::Mock::builder().start()?;
/// mock.on_message("hello", aimock::Reply::text("Hi there!"));
///
/// let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hello, you"}]}"#;
/// let mut client = std::net::TcpStream::connect(mock.address())?;
/// write!(
///     client,
///     "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
///     body.len()
/// )?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert!(answer.contains("Hi there!"));
/// assert_eq!(mock.requests().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Mock {
    address: SocketAddr,
    /// Dropped first, which ends the server.
    tasks: Option<UnboundedSender<Task>>,
    thread: Option<JoinHandle<()>>,
}

/// A server to be started.
#[derive(Clone, Debug)]
pub struct Builder {
    config: Config,
    providers: Vec<(String, String)>,
    log: Logger,
}

/// Recording that begins while a server runs.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    providers: Vec<(String, String)>,
    fixture_path: Option<PathBuf>,
    proxy_only: bool,
}

impl Recording {
    /// No provider yet.
    pub fn new() -> Self {
        Recording::default()
    }

    /// Forwards this provider's misses to an upstream (`openai`, `https://api.openai.com`).
    #[must_use]
    pub fn provider(mut self, name: impl Into<String>, url: impl Into<String>) -> Self {
        self.providers.push((name.into(), url.into()));
        self
    }

    /// The folder that recordings go to; else the one that the server was started with.
    #[must_use]
    pub fn fixture_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.fixture_path = Some(path.into());
        self
    }

    /// Forwards misses without recording them.
    #[must_use]
    pub fn proxy_only(mut self) -> Self {
        self.proxy_only = true;
        self
    }

    /// Begins it, as whoever holds the library's handle asks: its upstreams get the environment's keys.
    ///
    /// # Errors
    /// [`Error::Value`]: an unknown provider or a URL that is none. [`Error::Usage`]: no provider at all.
    fn begin_trusted(self, app: &App) -> Result<(), Error> {
        let upstreams = self.providers.iter().map(upstream).collect::<Result<Vec<_>, _>>()?;
        self.begin(app)?;
        let mut recording = app.recording.borrow_mut();
        upstreams.into_iter().for_each(|(provider, url)| recording.trusted.set(provider, url));
        Ok(())
    }

    /// Begins it.
    ///
    /// # Errors
    /// [`Error::Value`]: an unknown provider or a URL that is none. [`Error::Usage`]: no provider at all.
    pub(crate) fn begin(self, app: &App) -> Result<(), Error> {
        let upstreams = self.providers.iter().map(upstream).collect::<Result<Vec<_>, _>>()?;
        let mut recording = app.recording.borrow_mut();
        if upstreams.is_empty() && recording.upstreams.is_empty() {
            return Err(Error::Usage("recording needs to know whom to ask: give a provider and its URL".into()));
        }
        recording.record = !self.proxy_only;
        recording.proxy_only = self.proxy_only;
        for (provider, url) in upstreams {
            recording.upstreams.set(provider, url);
        }
        if let Some(path) = self.fixture_path {
            recording.root.clone_from(&path);
            recording.folder = path;
        }
        Ok(())
    }
}

/// A provider and the URL at which it is asked, by their names.
fn upstream((name, url): &(String, String)) -> Result<(&'static Provider, BaseUrl), Error> {
    let value = |problem: String| Error::Value { name: format!("provider {name}"), value: None, problem };
    let names = || PROVIDERS.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
    let provider = provider::by_name(name).ok_or_else(|| value(format!("known providers are {}", names())))?;
    Ok((provider, BaseUrl::parse(url).map_err(value)?))
}

impl Builder {
    /// Adds a file or folder of fixtures.
    #[must_use]
    pub fn fixtures(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.fixtures.push(path.into());
        self.config.fixtures_given = true;
        self
    }

    /// Requests that no fixture matches get 503. Without [`Builder::record`], the paths of fixtures must exist and hold
    /// some.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.config.strict = true;
        self
    }

    /// Listens on this port of 127.0.0.1; without it on a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.config.port = port;
        self
    }

    /// Where a provider is asked on a miss, under [`Builder::record`] or [`Config::proxy_only`] (`openai`,
    /// `https://api.openai.com`).
    #[must_use]
    pub fn provider(mut self, name: impl Into<String>, url: impl Into<String>) -> Self {
        self.providers.push((name.into(), url.into()));
        self
    }

    /// Asks the upstream on a miss and saves its answer below the first folder of fixtures.
    #[must_use]
    pub fn record(mut self) -> Self {
        self.config.record = true;
        self
    }

    /// Sets anything that the command line can set.
    ///
    /// ```
    /// let mock = aimock::Mock::builder().configure(|config| config.latency_ms = 5).start()?;
    /// # Ok::<(), aimock::Error>(())
    /// ```
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Where messages go; by default nowhere.
    #[must_use]
    pub fn log(mut self, log: Logger) -> Self {
        self.log = log;
        self
    }

    /// Starts the server on a thread of its own and returns once it accepts connections.
    ///
    /// # Errors
    /// What keeps it from starting: an address that is taken, fixtures that are broken or not there under `strict`, a bad
    /// environment, an unknown provider.
    pub fn start(mut self) -> Result<Mock, Error> {
        for given in &self.providers {
            let (provider, url) = upstream(given)?;
            self.config.upstreams.set(provider, url);
        }
        let (tasks, todo) = unbounded_channel();
        let (started, start) = sync_channel(1);
        let run = move || {
            let report = started.clone();
            if let Err(e) = serve(self, todo, |address| drop(started.send(Ok(address)))) {
                // Nobody waits once the start was reported.
                let _ = report.send(Err(e));
            }
        };
        let system = |source| Error::System { what: "thread", source };
        let builder = std::thread::Builder::new().name("aimock".into()).stack_size(STACK_BYTES);
        let thread = builder.spawn(run).map_err(system)?;
        let address = start.recv().map_err(|e| system(io::Error::other(e)))??;
        Ok(Mock { address, tasks: Some(tasks), thread: Some(thread) })
    }
}

/// The server's thread.
fn serve(builder: Builder, mut todo: UnboundedReceiver<Task>, started: impl FnOnce(SocketAddr)) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::System { what: "event loop", source })?;
    let served = tokio::task::LocalSet::new().block_on(&runtime, async move {
        let keys = Keys::from_env().map_err(|e| Error::Usage(e.to_string()))?;
        let app = Rc::new(App::new(builder.config, builder.log, &Environment::from_env(), keys)?);
        let (listener, address) = server::bind(&app.config).await?;
        app.listens_on(address);
        let snapshot = app.load().await?;
        if app.config.watch {
            tokio::task::spawn_local(watch::run(app.clone(), snapshot));
        }
        started(address);
        let tasks = async {
            while let Some(task) = todo.recv().await {
                task(&app);
            }
            ((), Duration::ZERO)
        };
        server::serve(&app, listener, tasks).await;
        if let Err(e) = app.write_report() {
            app.log.error(e); // nobody waits for an answer any more
        }
        app.log.farewell();
        Ok(())
    });
    runtime.shutdown_background();
    served
}

impl Mock {
    /// A server on a free port of 127.0.0.1, without fixtures, that logs nothing.
    pub fn builder() -> Builder {
        let config = Config { fixtures: Vec::new(), port: 0, ..Config::default() };
        Builder { config, providers: Vec::new(), log: Logger::silent() }
    }

    /// Its URL without a trailing slash: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests whose last user message contains the text.
    pub fn on_message(&self, text: impl Into<String>, answer: impl Into<Answer>) {
        self.on(Match::message(text), answer);
    }

    /// Answers requests whose last message is the result of this tool call.
    pub fn on_tool_result(&self, call_id: impl Into<String>, answer: impl Into<Answer>) {
        self.on(Match { tool_call_id: Some(call_id.into()), ..Match::default() }, answer);
    }

    /// Answers requests that match.
    pub fn on(&self, matcher: Match, answer: impl Into<Answer>) {
        let fixture = Fixture::new(matcher, answer);
        self.fixture(fixture);
    }

    /// Adds a fixture after all others.
    pub fn fixture(&self, fixture: Fixture) {
        self.ask(move |app| app.add(vec![fixture]));
    }

    /// The next request gets this error, whatever it asks.
    pub fn next_error(&self, error: ErrorAnswer) {
        self.ask(move |app| app.errors.borrow_mut().push_back(error));
    }

    /// The journal: what was asked and what answered, oldest first, as `GET /__aimock/journal` gives it.
    pub fn requests(&self) -> Vec<Value> {
        self.ask(|app| app.journal_json())
    }

    /// The last request, if there was one.
    pub fn last_request(&self) -> Option<Value> {
        self.requests().pop()
    }

    /// What happened so far, as `--report` writes it.
    pub fn report(&self) -> Value {
        self.ask(|app| app.report())
    }

    /// Takes out all fixtures, and forgets the journal, the counts, and the errors and faults that were ordered.
    pub fn reset(&self) {
        self.ask(|app| app.reset());
    }

    /// Begins to record misses.
    ///
    /// # Errors
    /// [`Error::Value`]: an unknown provider or a URL that is none. [`Error::Usage`]: no provider at all.
    pub fn enable_recording(&self, recording: Recording) -> Result<(), Error> {
        self.ask(move |app| recording.begin_trusted(app))
    }

    /// Ends recording; what was recorded answers on.
    pub fn disable_recording(&self) {
        self.ask(|app| app.stop_recording());
    }

    /// Stops the server and waits until its port is free. Dropping does the same.
    pub fn stop(self) {
        drop(self);
    }

    /// Has the server's thread do something, and waits for it.
    fn ask<T: Send + 'static>(&self, task: impl FnOnce(&Rc<App>) -> T + Send + 'static) -> T {
        let (reply, answer) = sync_channel(1);
        let tasks = self.tasks.as_ref().expect("only drop takes it");
        let sent = tasks.send(Box::new(move |app| drop(reply.send(task(app)))));
        sent.ok().and_then(|()| answer.recv().ok()).expect("the server's thread lives as long as its handle")
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_that_the_library_names_are_trusted_and_those_of_requests_are_not() {
        let config = Config { fixtures: Vec::new(), ..Config::default() };
        let app = App::new(config, Logger::silent(), &Environment::default(), Keys::default()).unwrap();
        let openai = provider::by_name("openai").unwrap();
        let trusted = |url: &str| app.recording.borrow().trusts(openai, &BaseUrl::parse(url).unwrap());
        Recording::new().provider("openai", "http://a").begin(&app).unwrap();
        assert!(!trusted("http://a"));
        Recording::new().provider("openai", "http://b").begin_trusted(&app).unwrap();
        assert!(trusted("http://b") && !trusted("http://a"));
    }
}
