//! From a request and its answer to a fixture on disk and in memory.

use crate::clock;
use crate::fixture::file;
use crate::fixture::{Asked, Fixture, Match, Metadata, Origin, RecordedTimings, Wire};
use crate::provider::Provider;
use crate::redact::Redactor;
use crate::reply::{Answer, Part, RawBody, Reply};
use crate::request::Kind;
use crate::request::canonical::{Hash, VERSION};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Names tried for one recording before giving up.
const MAX_NAME_TRIES: u32 = 10_000;

/// What is known of a recording before its answer comes: all that borrows from the request.
#[derive(Clone, Debug)]
pub struct Plan {
    provider: &'static Provider,
    matcher: Option<Match>,
    metadata: Metadata,
    place: Place,
    /// The wire format and mode, for wire recordings.
    pub endpoint: String,
}

/// Where a recording goes.
#[derive(Clone, Debug)]
enum Place {
    /// A file of its own in this folder.
    Own(PathBuf),
    /// A file shared by the recordings of one test.
    Shared(PathBuf),
    /// In place of this fixture.
    Instead(PathBuf, usize, Hash),
}

/// What came beside the answer.
#[derive(Debug, Default)]
pub struct Beside {
    /// The answer as it was on the wire; its `response_hash` is filled in here.
    pub wire: Option<Wire>,
    /// The pace at which it came.
    pub timings: Option<RecordedTimings>,
}

/// A recording that is on disk.
#[derive(Debug)]
pub struct Saved {
    /// The file.
    pub path: PathBuf,
    /// The fixtures that changed, with their index in the file. Empty where no match could be derived: it is on disk
    /// for people alone.
    pub fixtures: Vec<(usize, Fixture)>,
}

/// A recording that could not be written.
#[derive(Debug)]
pub struct RecordError {
    path: PathBuf,
    source: io::Error,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write the recording {}: {}", self.path.display(), self.source)
    }
}

impl std::error::Error for RecordError {}

/// Which recording is to be made of a request.
#[derive(Clone, Copy, Debug)]
pub struct Choices<'a> {
    /// The folder that recordings go to.
    pub folder: &'a Path,
    /// Keep the date in the model's name.
    pub keep_model_date: bool,
    /// This is the n-th answer to the same request.
    pub sequence_index: Option<u64>,
    /// The fixture that is recorded anew.
    pub instead: Option<&'a Origin>,
}

impl Plan {
    /// Plans the recording of a request.
    pub fn new(asked: &Asked<'_>, provider: &'static Provider, endpoint: String, choices: &Choices<'_>) -> Self {
        let identity = asked.identity.get();
        let mut matcher = Match::from_request(asked, choices.keep_model_date);
        if let Some(matcher) = &mut matcher {
            matcher.sequence_index = choices.sequence_index;
        }
        let metadata = Metadata {
            request_hash: Some(identity.request),
            volatile_hash: Some(identity.volatile),
            recorded_at: Some(clock::rfc3339(clock::unix_ms().div_euclid(1000))),
            parts: identity.parts.clone(),
            more: more_metadata(asked),
        };
        let place = match (choices.instead, asked.test_id, asked.context) {
            (Some(Origin { path: Some(path), index, .. }), ..) => {
                Place::Instead(path.to_path_buf(), *index, identity.request)
            }
            (_, Some(test), _) => {
                let folder = choices.folder.join(file::slug(test));
                Place::Shared(folder.join(format!("{}.json", provider.name)))
            }
            (_, None, Some(context)) => Place::Own(choices.folder.join(file::slug(context))),
            (_, None, None) => Place::Own(choices.folder.to_owned()),
        };
        Plan { provider, matcher, metadata, place, endpoint }
    }

    /// Writes the recording. Blocks on the disk, so it belongs on a thread that may.
    ///
    /// # Errors
    /// [`RecordError`]: nothing was written; what was there before still is.
    pub fn save(mut self, answer: Answer, beside: Beside, redactor: &Redactor) -> Result<Saved, RecordError> {
        let registered = self.matcher.is_some();
        let fixture = self.take_fixture(answer, beside, redactor);
        let saved = match self.place {
            Place::Own(folder) => own_file(&folder, self.provider, fixture, registered),
            Place::Shared(path) => shared_file(path, fixture),
            Place::Instead(path, index, request) => in_place(path, index, request, fixture),
        };
        saved.map(|mut saved| {
            saved.fixtures.retain(|_| registered);
            saved
        })
    }

    /// The recording, unwritten; `None` where no match could be derived.
    pub fn fixture(mut self, answer: Answer, beside: Beside, redactor: &Redactor) -> Option<Fixture> {
        self.matcher.is_some().then(|| self.take_fixture(answer, beside, redactor))
    }

    fn take_fixture(&mut self, mut answer: Answer, beside: Beside, redactor: &Redactor) -> Fixture {
        let secret = redact_answer(&mut answer, redactor);
        let mut fixture = Fixture::new(self.matcher.take().unwrap_or_default(), answer);
        fixture.metadata = std::mem::take(&mut self.metadata);
        fixture.playback.timings = beside.timings.map(Box::new);
        // A secret may lie across frames, where it cannot be replaced.
        fixture.wire = beside
            .wire
            .filter(|_| !secret)
            .map(|wire| Box::new(Wire { response_hash: file::response_hash(&fixture), ..wire }));
        fixture
    }
}

/// `hashVersion`, and the hashes by which the TypeScript aimock tells system prompts and tool sets apart.
fn more_metadata(asked: &Asked<'_>) -> Map<String, Value> {
    let mut more = Map::new();
    more.insert("hashVersion".into(), VERSION.into());
    if asked.request.kind == Kind::Chat {
        let system = asked.identity.redactor().redact(&asked.request.system_text()).into_owned();
        if !system.is_empty() {
            more.insert("systemHash".into(), Hash::of(system.as_bytes()).short().into());
        }
        if !asked.request.tools.is_empty() {
            more.insert("toolsHash".into(), Hash::of(asked.request.tools.join("\n").as_bytes()).short().into());
        }
    }
    more
}

fn own_file(folder: &Path, provider: &Provider, fixture: Fixture, registered: bool) -> Result<Saved, RecordError> {
    let mut text = file::write(&[&fixture]);
    if !registered {
        text = with_warning(&text);
    }
    let stamp = clock::file_stamp(clock::unix_ms());
    for n in 1..=MAX_NAME_TRIES {
        let path = folder.join(format!("{}-{stamp}-{n}.json", provider.name));
        match file::create_new_atomic(&path, text.as_bytes()) {
            Ok(()) => return Ok(Saved { path, fixtures: vec![(0, fixture)] }),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(RecordError { path, source }),
        }
    }
    let source = io::Error::new(io::ErrorKind::AlreadyExists, "every name is taken");
    Err(RecordError { path: folder.to_owned(), source })
}

/// A file that is kept for people: nothing in it says which request it answers.
fn with_warning(text: &str) -> String {
    let warning =
        "no match could be derived from the request, so this recording answers nothing: add match keys by hand";
    text.replacen('{', &format!("{{\n  \"_warning\": \"{warning}\","), 1)
}

fn shared_file(path: PathBuf, fixture: Fixture) -> Result<Saved, RecordError> {
    let key = |f: &Fixture| (f.metadata.request_hash, f.matcher.sequence_index);
    let mut at = 0;
    let new = fixture.clone();
    let updated = file::update_locked(&path, |mut fixtures| {
        at = fixtures.iter().position(|f| key(f) == key(&new)).unwrap_or(fixtures.len());
        if at == fixtures.len() {
            fixtures.push(new);
        } else {
            fixtures[at] = refreshed(&fixtures[at], new);
        }
        fixtures
    });
    match updated {
        Ok(()) => Ok(Saved { path, fixtures: vec![(at, fixture)] }),
        Err(source) => Err(RecordError { path, source }),
    }
}

fn in_place(path: PathBuf, index: usize, request: Hash, fixture: Fixture) -> Result<Saved, RecordError> {
    let mut at = index;
    let mut kept = fixture.clone();
    let updated = file::update_locked(&path, |mut fixtures| {
        let same = |f: &Fixture| f.metadata.request_hash == Some(request);
        // Another process may have changed the file meanwhile.
        at = if fixtures.get(index).is_some_and(same) {
            index
        } else {
            fixtures.iter().position(same).unwrap_or(fixtures.len())
        };
        if at == fixtures.len() {
            fixtures.push(fixture);
        } else {
            fixtures[at] = refreshed(&fixtures[at], fixture);
        }
        kept = fixtures[at].clone();
        fixtures
    });
    match updated {
        Ok(()) => Ok(Saved { path, fixtures: vec![(at, kept)] }),
        Err(source) => Err(RecordError { path, source }),
    }
}

/// The new recording in the old one's clothes: its match keys and how it is played stay, and where nothing that a
/// client sees has changed, so does the time it was recorded.
fn refreshed(old: &Fixture, new: Fixture) -> Fixture {
    let mut fixture = Fixture {
        matcher: old.matcher.clone(),
        unknown: old.unknown.clone(),
        playback: crate::fixture::Playback {
            timings: new.playback.timings.or_else(|| old.playback.timings.clone()),
            ..old.playback.clone()
        },
        ..new
    };
    if same_answer(&old.answer, &fixture.answer) {
        // Ids and times of creation differ in every answer.
        fixture.answer = old.answer.clone();
        fixture.metadata.recorded_at = old.metadata.recorded_at.clone();
        fixture.playback = old.playback.clone();
        if old.wire.is_some() {
            fixture.wire = old.wire.clone();
        }
    }
    fixture
}

fn same_answer(old: &Answer, new: &Answer) -> bool {
    match (old, new) {
        (Answer::Turn(old), Answer::Turn(new)) => {
            let bare = |reply: &Reply| {
                let mut reply = Reply { id: None, created: None, system_fingerprint: None, ..reply.clone() };
                for part in &mut reply.parts {
                    if let Part::ToolCall(call) = part {
                        call.id = None;
                    }
                }
                reply
            };
            bare(old) == bare(new)
        }
        (old, new) => old == new,
    }
}

/// Redacts every text that a fixture would hold; whether there was anything to redact.
fn redact_answer(answer: &mut Answer, redactor: &Redactor) -> bool {
    let mut found = false;
    let mut text = |text: &mut String| {
        if let Cow::Owned(redacted) = redactor.redact(text) {
            *text = redacted;
            found = true;
        }
    };
    match answer {
        Answer::Turn(reply) => {
            for part in &mut reply.parts {
                match part {
                    Part::Text { text: t, .. } | Part::Reasoning { text: t, .. } => text(t),
                    Part::ToolCall(call) => text(&mut call.arguments),
                    Part::RedactedReasoning(_) => {}
                }
            }
            reply.refusal.iter_mut().for_each(text);
        }
        Answer::Error(error) => text(&mut error.message),
        Answer::Raw(raw) => match &mut raw.body {
            RawBody::Json(json) => found = redactor.redact_json(json),
            RawBody::Bytes(bytes) => {
                if let Ok(whole) = std::str::from_utf8(bytes)
                    && let Cow::Owned(redacted) = redactor.redact(whole)
                {
                    *bytes = redacted.into_bytes();
                    found = true;
                }
            }
        },
        Answer::Embeddings(_) => {}
    }
    found
}

/// Where a saved fixture stands, its name relative to the folder of fixtures.
pub fn origin_of(path: &Path, root: &Path, index: usize) -> Origin {
    let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy();
    Origin { path: Some(Rc::from(path)), name: Rc::from(&*name), index }
}
