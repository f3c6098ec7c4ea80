//! What one server knows: its configuration, its fixtures, what was asked. One thread owns it.

use crate::config::{Chaos, Config, Upstreams};
use crate::error::Error;
use crate::exchange::Bodies;
use crate::fixture::file::{self, Problem};
use crate::fixture::table::{FileFixtures, FixtureTable};
use crate::fixture::watch::{Changes, Snapshot};
use crate::fixture::{ChaosRates, Fixture, Origin};
use crate::guard::Guard;
use crate::journal::{Entry, Journal, Unanswered};
use crate::log::{Level, Logger};
use crate::metrics::{Gauges, Metrics};
use crate::provider::Provider;
use crate::pulse::Pulse;
use crate::recent::Recent;
use crate::record::{self, Saved, origin_of};
use crate::redact::Redactor;
use crate::reply::ErrorAnswer;
use crate::report::Counts;
use crate::request::canonical::{Hash, Ignore};
use crate::twins::{AllTwins, RequestKey};
use crate::upstream::{AwsKeys, BaseUrl, Client, Environment, Keys, Timeouts};
use regex_lite::Regex;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// One server's state.
#[derive(Debug)]
pub struct App {
    /// As the command line or the library's builder gave it.
    pub config: Config,
    /// Where messages go.
    pub log: Logger,
    /// Who may ask.
    pub guard: Guard,
    /// What replaces secrets.
    pub redactor: Redactor,
    /// What is no part of a request's identity.
    pub ignore: Ignore,
    /// The way to upstreams.
    pub client: Client,
    /// Keys for upstreams, from the environment.
    pub keys: Keys,
    /// Headers that were not forwarded and of which the log has told.
    pub withheld: RefCell<HashSet<String>>,
    /// Keys that sign requests to AWS, from the environment.
    pub aws: Option<AwsKeys>,
    /// Where misses go; recording can begin and end while the server runs.
    pub recording: RefCell<Recording>,
    /// The fixtures.
    pub table: RefCell<FixtureTable>,
    /// What was asked.
    pub journal: RefCell<Journal>,
    /// How often what happened, since the last reset.
    pub counts: RefCell<Counts>,
    /// How often what happened, since the start.
    pub metrics: RefCell<Metrics>,
    /// Requests on their way to an upstream that are to be recorded once.
    pub twins: Rc<AllTwins>,
    /// Recordings under way; some have no client any more.
    pub recordings: Rc<Underway>,
    /// The `sequenceIndex` of the next answer to a request, under `--record-repeats`.
    pub repeats: RefCell<Recent<RequestKey, u64>>,
    /// Errors that the next requests get, one each.
    pub errors: RefCell<VecDeque<ErrorAnswer>>,
    /// Faults that were ordered while the server runs, in place of the configuration's, by test id.
    pub chaos: RefCell<Recent<String, ChaosRates>>,
    /// How far the server is.
    pub stage: Cell<Stage>,
    /// Tells that the fixtures are loaded.
    pub loaded: Notify,
    /// Files that were recorded to since the last look at the folders, under `--watch`.
    pub registered: RefCell<HashSet<PathBuf>>,
    /// Requests whose answers' heads are not ready yet.
    pub active: Rc<Underway>,
    /// What tells connections of time, room and the end.
    pub pulse: Rc<Pulse>,
    /// What the bodies of all requests in flight take.
    pub bodies: Bodies,
    /// What was told and is not told again.
    told: RefCell<Vec<&'static str>>,
    chaos_seed: u64,
    /// How often faults were drawn for a request, by its hash and test id.
    chaos_draws: RefCell<Recent<(Hash, String), u64>>,
}

/// What is under way, so that others can wait for its end.
#[derive(Debug, Default)]
pub struct Underway {
    count: Cell<usize>,
    ended: Notify,
}

/// Something under way, until it is dropped.
#[derive(Debug)]
pub struct Going(Rc<Underway>);

impl Underway {
    /// One more is under way.
    pub fn begin(self: &Rc<Self>) -> Going {
        self.count.set(self.count.get() + 1);
        Going(self.clone())
    }

    /// How many are under way.
    pub fn count(&self) -> usize {
        self.count.get()
    }

    /// Waits until no more than so many are under way. One at a time may wait.
    pub async fn at_most(&self, count: usize) {
        while self.count.get() > count {
            self.ended.notified().await;
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        self.0.ended.notify_one();
    }
}

/// How far the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Fixtures are being loaded.
    Loading,
    /// It answers.
    Ready,
    /// It finishes what is in flight.
    Draining,
}

/// Where misses go.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Misses are forwarded and recorded.
    pub record: bool,
    /// Misses are forwarded and not recorded.
    pub proxy_only: bool,
    /// The providers' upstreams.
    pub upstreams: Upstreams,
    /// Those of them that this process itself named, by a flag or the library: they alone get its environment's keys.
    pub trusted: Upstreams,
    /// The folder that recordings go to.
    pub folder: PathBuf,
    /// The folder that fixture names are relative to.
    pub root: PathBuf,
}

impl Recording {
    fn of(config: &Config) -> Self {
        let root = match config.fixtures.first() {
            None => Path::new("./fixtures"),
            // Files have their recordings beside the first of them.
            Some(first) => folders(config).next().or(first.parent()).unwrap_or(Path::new(".")),
        };
        Recording {
            record: config.record,
            proxy_only: config.proxy_only,
            upstreams: config.upstreams.clone(),
            trusted: config.upstreams.clone(),
            folder: root.join("recorded"),
            root: root.to_owned(),
        }
    }

    /// Whether a request may reach an upstream.
    pub fn forwards(&self) -> bool {
        self.record || self.proxy_only
    }

    /// Whether an upstream may get the environment's keys for this provider.
    pub fn trusts(&self, provider: &Provider, url: &BaseUrl) -> bool {
        self.trusted.get(provider) == Some(url)
    }
}

fn no_thread(e: tokio::task::JoinError) -> Error {
    Error::System { what: "thread", source: std::io::Error::other(e) }
}

/// The paths of fixtures that are folders: a file ends in `.json`.
fn folders(config: &Config) -> impl Iterator<Item = &Path> {
    config.fixtures.iter().map(PathBuf::as_path).filter(|path| path.extension().is_none_or(|e| e != "json"))
}

impl App {
    /// A server's state before any fixture is loaded.
    ///
    /// # Errors
    /// A setting in the environment, or a pattern of `--redact`, that cannot be used.
    pub fn new(config: Config, log: Logger, environment: &Environment, keys: Keys) -> Result<Self, Error> {
        let timeouts = Timeouts {
            head: Duration::from_millis(config.upstream_timeout_ms),
            chunk: Duration::from_millis(config.body_timeout_ms),
            connect: Duration::from_millis(config.upstream_timeout_ms),
        };
        let client = Client::new(timeouts, environment).map_err(|e| Error::Usage(e.to_string()))?;
        let pattern = |text: &String| {
            Regex::new(text).map_err(|e| Error::Value {
                name: "--redact".into(),
                value: Some(text.clone()),
                problem: e.to_string(),
            })
        };
        let patterns = config.redact.iter().map(pattern).collect::<Result<Vec<_>, _>>()?;
        let started = u64::try_from(crate::clock::unix_ms()).unwrap_or(0);
        let redactor = Redactor::new(!config.no_redact, patterns);
        Ok(App {
            log: log.redacting(redactor.clone()),
            guard: Guard::new(&config),
            redactor,
            ignore: Ignore::new(&config.ignore),
            client,
            keys,
            withheld: RefCell::default(),
            aws: AwsKeys::from_env(),
            recording: RefCell::new(Recording::of(&config)),
            table: RefCell::default(),
            journal: RefCell::new(Journal::new(config.journal_max)),
            counts: RefCell::default(),
            metrics: RefCell::default(),
            twins: Rc::default(),
            recordings: Rc::default(),
            repeats: RefCell::default(),
            errors: RefCell::default(),
            chaos: RefCell::default(),
            stage: Cell::new(Stage::Loading),
            loaded: Notify::new(),
            registered: RefCell::default(),
            active: Rc::default(),
            pulse: Rc::new(Pulse::new(config.limits.beat())),
            bodies: Bodies::new(config.limits.bodies_bytes.max(config.max_body_bytes)),
            told: RefCell::default(),
            chaos_seed: config.chaos.seed.unwrap_or(started),
            chaos_draws: RefCell::default(),
            config,
        })
    }

    /// Loads the fixtures that the configuration names, from when on requests are answered. Broken files are logged; the
    /// rest is loaded. Returns how the files stood.
    ///
    /// # Errors
    /// [`Error::Fixtures`]: there are broken files, under `--validate-on-load` or `--strict`. [`Error::NoFixtures`]: a
    /// path that was named does not exist, or none of them holds a fixture, under `--strict` without `--record`.
    /// [`Error::Folder`]: the folder that recordings go to cannot be written, under `--record`.
    pub async fn load(&self) -> Result<Snapshot, Error> {
        if self.config.record {
            self.prepare_recording().await?;
        }
        let mut snapshot = Snapshot::default();
        let paths = self.fixture_paths();
        let changes;
        if paths.is_empty() {
            changes = Changes::default();
        } else {
            let look = move || {
                let changes = snapshot.look(&paths);
                (snapshot, changes)
            };
            (snapshot, changes) = tokio::task::spawn_blocking(look).await.map_err(no_thread)?;
        }
        let problems = || changes.problems.iter().chain(changes.read.iter().flat_map(|(_, parsed)| &parsed.problems));
        let errors: Vec<String> = problems().filter(|p| p.is_error()).map(ToString::to_string).collect();
        if !errors.is_empty() && (self.config.validate_on_load || self.config.strict) {
            return Err(Error::Fixtures(errors));
        }
        problems().for_each(|problem| self.log_problem(problem));
        let loaded: usize = changes.read.iter().map(|(_, parsed)| parsed.entries.len()).sum();
        self.look_for_nothing(&changes.absent, loaded)?;
        let files: Vec<FileFixtures> =
            changes.read.into_iter().map(|(file, parsed)| FileFixtures::new(file, parsed)).collect();
        let mut table = self.table.borrow_mut();
        table.reload(files, &[], &changes.files);
        self.log.info(format_args!("{} fixtures loaded", table.rows().len()));
        self.stage.set(Stage::Ready);
        self.loaded.notify_waiters();
        Ok(snapshot)
    }

    async fn prepare_recording(&self) -> Result<(), Error> {
        let folder = self.recording.borrow().folder.clone();
        let fixtures = self.config.fixtures.clone();
        let prepare = tokio::task::spawn_blocking(move || record::prepare(&folder, &fixtures));
        match prepare.await.map_err(no_thread)?? {
            0 => {}
            left => self.log.info(format_args!("{left} temporary files of killed processes removed")),
        }
        Ok(())
    }

    /// Notes where the server listens, and says what that opens.
    pub fn listens_on(&self, address: SocketAddr) {
        if let Some(what) = self.guard.listens_on(address.ip()) {
            self.log.warn(format_args!("listening on {address}, beyond loopback: {what}"));
        }
    }

    /// The folders that recordings may be sent to by a request: those of the configuration, and where they go without it.
    pub fn recording_folders(&self) -> Vec<PathBuf> {
        let by_default = Recording::of(&self.config).root;
        let mut all: Vec<PathBuf> = folders(&self.config).map(Path::to_owned).collect();
        if !all.contains(&by_default) {
            all.push(by_default);
        }
        all
    }

    /// Tells of paths without fixtures: an error where that was not meant, a warning where it may be.
    fn look_for_nothing(&self, absent: &[PathBuf], loaded: usize) -> Result<(), Error> {
        const NOTHING: &str = "no fixture in it";
        let Config { fixtures, fixtures_given: given, strict, record, .. } = &self.config;
        let (paths, problem) = match (absent, loaded) {
            ([], 0) if !fixtures.is_empty() => (fixtures.as_slice(), NOTHING),
            ([], _) => return Ok(()),
            (absent, _) => (absent, file::ABSENT),
        };
        if *strict && *given && !record {
            return Err(Error::NoFixtures { paths: paths.to_vec(), problem });
        }
        for path in paths {
            let path = path.display();
            match (record, given) {
                (true, _) => self.log.info(format_args!("{path}: {problem} yet")),
                (false, true) => self.log.warn(format_args!("-f {path}: {problem}")),
                (false, false) => self.log.warn(format_args!("{path}: {problem}; -f PATH names another")),
            }
        }
        Ok(())
    }

    /// Where fixtures are read: what the configuration names, and where that is files alone, what was recorded beside
    /// them.
    pub fn fixture_paths(&self) -> Vec<PathBuf> {
        let mut paths = self.config.fixtures.clone();
        let beside = Recording::of(&self.config).folder;
        if !paths.is_empty() && folders(&self.config).next().is_none() && beside.is_dir() {
            paths.push(beside);
        }
        paths
    }

    /// Waits until the fixtures are loaded.
    pub async fn until_loaded(&self) {
        while self.stage.get() == Stage::Loading {
            self.loaded.notified().await;
        }
    }

    /// Warns, but for the first time only.
    pub fn warn_once(&self, message: &'static str) {
        let mut told = self.told.borrow_mut();
        if !told.contains(&message) {
            told.push(message);
            self.log.warn(message);
        }
    }

    /// Tells of a problem in a file of fixtures.
    pub fn log_problem(&self, problem: &Problem) {
        if problem.is_error() { self.log.warn(problem) } else { self.log.info(problem) }
    }

    /// Puts a recording that is on disk into the table. Whether it answers anything.
    pub fn register(&self, saved: Saved) -> bool {
        self.tell_again();
        let root = self.recording.borrow().root.clone();
        self.log.info(format_args!("recorded {}", saved.path.display()));
        if let Some(loss) = saved.loss.told() {
            self.log.warn(format_args!("{}: {loss}", saved.path.display()));
        }
        self.counts.borrow_mut().recorded += 1;
        self.metrics.borrow_mut().recorded += 1;
        if self.config.watch {
            self.registered.borrow_mut().insert(saved.path.clone());
        }
        let answers = !saved.fixtures.is_empty();
        for (index, fixture) in saved.fixtures {
            let origin: Origin = origin_of(&saved.path, &root, index);
            self.table.borrow_mut().upsert(fixture, origin);
        }
        answers
    }

    /// Notes a recording that could not be written, and puts it into the table all the same, with the file that it should
    /// stand in. Whether it answers anything.
    pub fn register_unwritten(&self, why: &str, unwritten: Option<(PathBuf, Fixture)>) -> bool {
        self.counts.borrow_mut().record_errors += 1;
        self.metrics.borrow_mut().record_errors += 1;
        let Some((path, fixture)) = unwritten else {
            self.log.error(why);
            return false;
        };
        self.log.error(format_args!("{why}; it answers from memory, until the server ends"));
        let root = self.recording.borrow().root.clone();
        let name = format!("{} (not written)", origin_of(&path, &root, 0).name);
        self.table.borrow_mut().upsert(fixture, Origin { path: None, name: name.into(), index: 0 });
        true
    }

    /// Adds fixtures that are in no file.
    pub fn add(&self, fixtures: Vec<Fixture>) {
        let mut table = self.table.borrow_mut();
        let here = table.rows().iter().filter(|row| row.path().is_none()).count();
        for (index, fixture) in (here..).zip(fixtures) {
            table.push(fixture, Origin { path: None, name: Rc::from("runtime"), index });
        }
    }

    /// Takes out all fixtures.
    pub fn clear_fixtures(&self) {
        self.table.borrow_mut().clear();
        self.repeats.borrow_mut().clear();
    }

    /// Takes out all fixtures, and forgets the journal, the counts, and the errors and faults that were ordered.
    pub fn reset(&self) {
        self.clear_fixtures();
        self.journal.borrow_mut().clear();
        *self.counts.borrow_mut() = Counts::default();
        self.errors.borrow_mut().clear();
        self.chaos.borrow_mut().clear();
        self.chaos_draws.borrow_mut().clear();
    }

    /// What happened, as `--report` writes it.
    pub fn report(&self) -> Value {
        self.counts.borrow().report(&self.table.borrow())
    }

    /// Writes the report where the configuration wants it.
    ///
    /// # Errors
    /// [`Error::Io`]: the file cannot be written.
    pub fn write_report(&self) -> Result<(), Error> {
        let Some(path) = &self.config.report else { return Ok(()) };
        let text = format!("{:#}\n", self.report());
        let failed = |source| Error::Io { verb: "write", path: path.clone(), source };
        file::save_atomic(path, text.as_bytes()).map_err(failed)
    }

    /// What happened, as `GET /metrics` gives it.
    pub fn metrics_text(&self) -> String {
        let now = Gauges { fixtures: self.table.borrow().rows().len(), active: self.active.count() };
        self.metrics.borrow().text(now)
    }

    /// Ends recording; upstreams are kept for the next time.
    pub fn stop_recording(&self) {
        let mut recording = self.recording.borrow_mut();
        recording.record = false;
        recording.proxy_only = false;
    }

    /// The journal as `GET /__aimock/journal` gives it, oldest first.
    pub fn journal_json(&self) -> Vec<Value> {
        self.journal.borrow().entries().map(|entry| entry.to_json(&self.redactor)).collect()
    }

    /// Chances of faults for a test's requests: those that were ordered for it, else the configuration's.
    pub fn chaos_rates(&self, test_id: &str) -> ChaosRates {
        let Chaos { drop, malformed, disconnect, .. } = self.config.chaos;
        let configured = || {
            let given = |rate: f64| Some(rate).filter(|rate| *rate > 0.0);
            ChaosRates { drop: given(drop), malformed: given(malformed), disconnect: given(disconnect) }
        };
        self.chaos.borrow_mut().get(test_id).copied().unwrap_or_else(configured)
    }

    /// Numbers from 0 to 1 for the faults of one request. They depend on `--chaos-seed`, on the request but for its
    /// volatile text, on its test and on how often it came: not on what else is asked meanwhile.
    pub fn chaos_draws(&self, request: Hash, test_id: &str) -> impl FnMut() -> f64 {
        let mut draws = self.chaos_draws.borrow_mut();
        let times = draws.entry((request, test_id.to_owned()), || 0);
        *times += 1;
        let which = Hash::of(format!("{} {request} {times} {test_id}", self.chaos_seed).as_bytes());
        let mut state = which.0 | 1;
        move || crate::replay::random(&mut state)
    }

    /// Notes a request and its answer.
    pub fn observe(&self, mut entry: Entry) {
        if let Some(why) = &mut entry.answered.explanation {
            self.redactor.redact_string(why);
        }
        let new = self.counts.borrow_mut().note(&entry);
        self.metrics.borrow_mut().note(&entry);
        let asked_again = new.is_none() && matches!(entry.answered.unanswered, Unanswered::MissOf(_));
        if let Some(miss) = new {
            self.tell_again();
            if entry.answered.explanation.is_some() {
                self.log.warn(miss);
            }
        }
        if self.log.writes(Level::Debug) {
            if !asked_again {
                self.tell_again();
            }
            self.log.debug(&entry);
        }
        self.journal.borrow_mut().push(entry);
    }

    /// Tells how often misses came that were told once, before another line is written.
    pub fn tell_again(&self) {
        self.counts.borrow_mut().take_again().for_each(|miss| self.log.warn(miss));
    }
}
