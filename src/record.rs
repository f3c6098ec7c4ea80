//! From a request and its answer to a fixture on disk and in memory.

use crate::clock;
use crate::error::Error;
use crate::fixture::file::{self, Parsed};
use crate::fixture::{Asked, Fixture, Match, Metadata, Origin, RecordedTimings, Wire};
use crate::frame::Framing;
use crate::keep::AskedFor;
use crate::provider::{Codec, Collapsed, Provider};
use crate::recent::Recent;
use crate::redact::Redactor;
use crate::relay::framing_of;
use crate::reply::{Answer, Embeddings, Part, RawAnswer, RawBody, Reply};
use crate::request::Kind;
use crate::request::canonical::{Hash, VERSION};
use crate::twins::RequestKey;
use crate::wire::{self, Pieces};
use rustix::process::geteuid;
use serde_json::{Map, Value};
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Names tried for one recording before giving up.
const MAX_NAME_TRIES: u32 = 10_000;

/// What a file says that is kept for people: nothing in it tells which request it answers.
const UNREGISTERED: &str =
    "no match could be derived from the request, so this recording answers nothing: add match keys by hand";

/// What is known of a recording before its answer comes: all that borrows from the request.
#[derive(Clone, Debug)]
pub struct Plan {
    provider: &'static Provider,
    matcher: Option<Match>,
    metadata: Metadata,
    place: Place,
    /// How its answer is read and written.
    asked: AskedFor,
    /// The wire format and mode, for wire recordings.
    pub endpoint: String,
    /// It is one of several answers to the same request: what they are numbered by, and the first number.
    sequence: Option<(RequestKey, u64)>,
}

/// Where a recording goes.
#[derive(Clone, Debug)]
enum Place {
    /// A file of its own in this folder.
    Own(PathBuf),
    /// A file shared by the recordings of one test.
    Shared(PathBuf),
    /// In place of the fixture that stands here and was recorded from this request.
    Instead(PathBuf, usize, Option<Hash>),
}

/// What came beside the answer.
#[derive(Debug, Default)]
pub struct Beside {
    /// The answer as it was on the wire; its `response_hash` is filled in here.
    pub wire: Option<Wire>,
    /// It is wanted, not only spare.
    pub keep_wire: bool,
    /// The pace at which it came.
    pub timings: Option<RecordedTimings>,
    /// How it was framed.
    pub framing: Framing,
}

/// A recording that is on disk.
#[derive(Debug)]
pub struct Saved {
    /// The file.
    pub path: PathBuf,
    /// The fixtures that changed, with their index in the file. Empty where no match could be derived: it is on disk
    /// for people alone.
    pub fixtures: Vec<(usize, Fixture)>,
    /// What it does not keep.
    pub loss: Loss,
}

/// What a recording does not keep of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing.
    None,
    /// The answer holds a secret, so its wire form, which was wanted, was left out.
    WithoutWire,
    /// Its readable form would give a client something else than it got, so the answer is kept as it came as well.
    KeptWire,
    /// The same, and the answer as it came is too long, or holds a secret.
    Unfaithful,
}

impl Loss {
    /// What to tell of it.
    pub fn told(self) -> Option<&'static str> {
        match self {
            Loss::None => None,
            Loss::WithoutWire => {
                Some("the answer holds a secret, so it is kept in its readable form alone, not as it was on the wire")
            }
            Loss::KeptWire => {
                Some("its readable form does not say all of the answer, so it is kept as it was on the wire as well")
            }
            Loss::Unfaithful => Some(
                "its readable form does not say all of the answer, and that is too long or holds a secret: a replay \
                 gives a client something else than it got",
            ),
        }
    }
}

/// A recording that could not be written.
#[derive(Debug)]
pub struct RecordError {
    /// The file, or the folder that it should stand in.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
    /// The recording, where there is one and it answers anything.
    pub fixture: Option<Box<Fixture>>,
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
    /// Every answer to the same request is recorded: the `sequenceIndex` of the next one.
    pub next_index: Option<u64>,
    /// The fixture that is recorded anew.
    pub instead: Option<(&'a Origin, &'a Fixture)>,
}

impl Plan {
    /// Plans the recording of a request.
    pub fn new(
        asked: &Asked<'_>,
        provider: &'static Provider,
        codec: &'static dyn Codec,
        endpoint: String,
        choices: &Choices<'_>,
    ) -> Self {
        let identity = asked.identity.get();
        let matcher = Match::from_request(asked, choices.keep_model_date);
        let metadata = Metadata {
            request_hash: Some(identity.request),
            volatile_hash: Some(identity.volatile),
            recorded_at: Some(clock::rfc3339(clock::unix_ms().div_euclid(1000))),
            parts: identity.parts.clone(),
            more: more_metadata(asked),
        };
        let place = match (choices.instead, asked.test_id, asked.context) {
            (Some((Origin { path: Some(path), index, .. }, old)), ..) => {
                Place::Instead(path.to_path_buf(), *index, old.metadata.request_hash)
            }
            (_, Some(test), _) => {
                let folder = choices.folder.join(file::slug(test));
                Place::Shared(folder.join(format!("{}.json", provider.name)))
            }
            (_, None, Some(context)) => Place::Own(choices.folder.join(file::slug(context))),
            (_, None, None) => Place::Own(choices.folder.to_owned()),
        };
        let sequence = choices.next_index.map(|first| (asked.key(), first));
        let asked = AskedFor { codec, request: asked.request.shape() };
        Plan { provider, matcher, metadata, place, asked, endpoint, sequence }
    }

    /// Whether the request is a `HEAD`, whose answer has no body.
    pub fn of_head(&self) -> bool {
        self.matcher.as_ref().is_some_and(|matcher| matcher.method.as_deref() == Some("HEAD"))
    }

    /// Gives the recording its number, where it is one of several: only now, so that one that fails leaves no gap.
    pub fn number(&mut self, next: &mut Recent<RequestKey, u64>) {
        let Some((key, first)) = self.sequence.take() else { return };
        let next = next.entry(key, || first);
        if let Some(matcher) = &mut self.matcher {
            matcher.sequence_index = Some(*next);
        }
        *next += 1;
    }

    /// Writes the recording. Blocks on the disk, so it belongs on a thread that may.
    ///
    /// # Errors
    /// [`RecordError`]: nothing was written; what was there before still is.
    pub fn save(mut self, answer: Collapsed, beside: Beside, redactor: &Redactor) -> Result<Saved, RecordError> {
        let registered = self.matcher.is_some();
        let (fixture, loss) = match self.take_fixture(answer, beside, redactor) {
            Ok(fixture) => fixture,
            Err(why) => return Err(self.place.refuse(why)),
        };
        let written = match self.place {
            Place::Own(folder) => own_file(&folder, self.provider, fixture, registered),
            Place::Shared(path) => shared_file(path, fixture),
            Place::Instead(path, index, request) => in_place(path, index, request, fixture),
        };
        match written {
            Ok((path, index, fixture)) => {
                let fixtures = if registered { vec![(index, fixture)] } else { Vec::new() };
                Ok(Saved { path, fixtures, loss })
            }
            Err(e) => Err(RecordError { fixture: e.fixture.filter(|_| registered), ..e }),
        }
    }

    /// The recording, unwritten.
    ///
    /// # Errors
    /// It would answer nothing, or cannot be kept; why.
    pub fn fixture(mut self, answer: Collapsed, beside: Beside, redactor: &Redactor) -> Result<Fixture, &'static str> {
        if self.matcher.is_none() {
            return Err("no match can be derived from it");
        }
        self.take_fixture(answer, beside, redactor).map(|(fixture, _)| fixture)
    }

    fn take_fixture(
        &mut self,
        answer: Collapsed,
        beside: Beside,
        redactor: &Redactor,
    ) -> Result<(Fixture, Loss), &'static str> {
        let mut kept = self.asked.keep(answer, redactor).map_err(|_| "the answer cannot be read")?;
        let before = raw_pieces(&kept.answer).filter(|_| !redactor.is_off());
        let secret = kept.secret | redact_answer(&mut kept.answer, redactor);
        if let (Some(before), Some(after)) = (before, raw_pieces(&kept.answer))
            && !before.are_safe_as(&after, redactor)
        {
            return Err("a secret is spread over the pieces of the answer, where it cannot be replaced");
        }
        let mut fixture = Fixture::new(self.matcher.take().unwrap_or_default(), kept.answer);
        fixture.metadata = std::mem::take(&mut self.metadata);
        fixture.playback.timings = beside.timings.map(Box::new);
        fixture.native = kept.native.map(Box::new);
        let loads = |fixture: &Fixture| match &file::parse(file::write(&[fixture]).as_bytes()) {
            Parsed { problems, fixtures, .. } if problems.iter().all(|p| !p.is_error()) => fixtures.first().cloned(),
            _ => None,
        };
        let back = match (loads(&fixture), &kept.came) {
            (Some(back), _) => back,
            (None, Some(came)) => {
                let body = RawBody::Json(came.native.to_value());
                let raw = RawAnswer { status: 200, content_type: file::JSON.to_owned(), retry_after: None, body };
                fixture.answer = Answer::Raw(raw);
                fixture.native = None;
                loads(&fixture).ok_or("it would not load again")?
            }
            (None, None) => return Err("it would not load again"),
        };
        let faithful =
            kept.came.as_ref().is_none_or(|came| self.asked.gives(&back.answer, back.native.as_deref(), came));
        // A secret may lie across frames, where it cannot be replaced.
        let safe = |wire: &Wire| !secret && !wire::holds_secret(&wire::body(wire), beside.framing, redactor);
        let had_wire = beside.wire.is_some();
        fixture.wire = beside.wire.filter(|_| beside.keep_wire || !faithful).filter(safe).map(Box::new);
        let loss = match (beside.keep_wire, faithful, fixture.wire.is_some()) {
            (_, false, true) => Loss::KeptWire,
            (_, false, false) => Loss::Unfaithful,
            (true, true, false) if had_wire => Loss::WithoutWire,
            _ => Loss::None,
        };
        seal(&mut fixture);
        Ok((fixture, loss))
    }
}

impl Place {
    fn refuse(self, why: &'static str) -> RecordError {
        let (Place::Own(path) | Place::Shared(path) | Place::Instead(path, ..)) = self;
        RecordError { path, source: io::Error::other(why), fixture: None }
    }
}

/// Notes which readable answer the wire form belongs to.
fn seal(fixture: &mut Fixture) {
    let response_hash = fixture.wire.as_ref().map(|_| file::response_hash(fixture));
    if let (Some(wire), Some(response_hash)) = (&mut fixture.wire, response_hash) {
        wire.response_hash = response_hash;
    }
}

/// A recording's file, its index there, and the fixture as it stands there.
type Written = Result<(PathBuf, usize, Fixture), RecordError>;

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

fn own_file(folder: &Path, provider: &Provider, fixture: Fixture, registered: bool) -> Written {
    let mut more = Map::new();
    if !registered {
        more.insert("_warning".into(), UNREGISTERED.into());
    }
    let stamp = clock::file_stamp(clock::unix_ms());
    let name = |n: u32| folder.join(format!("{}-{stamp}-{n}.json", provider.name));
    match file::create_new_atomic((1..=MAX_NAME_TRIES).map(name), |out| file::write_to(out, &more, &[&fixture], &[])) {
        Ok(path) => Ok((path, 0, fixture)),
        Err(source) => Err(RecordError { path: name(1), source, fixture: Some(fixture.into()) }),
    }
}

fn shared_file(path: PathBuf, fixture: Fixture) -> Written {
    let key = |f: &Fixture| (f.metadata.request_hash, f.matcher.sequence_index, f.matcher.context.clone());
    let wanted = key(&fixture);
    write_at(path, fixture, |fixtures| fixtures.iter().position(|f| key(f) == wanted))
}

fn in_place(path: PathBuf, index: usize, request: Option<Hash>, fixture: Fixture) -> Written {
    let same = |f: &Fixture| f.metadata.request_hash == request;
    // Another process may have changed the file meanwhile.
    let find = |fixtures: &[Fixture]| {
        if fixtures.get(index).is_some_and(same) { Some(index) } else { fixtures.iter().position(same) }
    };
    write_at(path, fixture, find)
}

/// Puts a recording in the place of one that the file has, or at its end.
fn write_at(path: PathBuf, fixture: Fixture, find: impl FnOnce(&[Fixture]) -> Option<usize>) -> Written {
    let (mut at, mut recording) = (0, fixture);
    let updated = file::update_locked(&path, |mut fixtures| {
        at = find(&fixtures).unwrap_or(fixtures.len());
        if let Some(old) = fixtures.get(at) {
            recording = refreshed(old, recording.clone());
        }
        fixtures.splice(at..fixtures.len().min(at + 1), [recording.clone()]);
        fixtures
    });
    match updated {
        Ok(()) => Ok((path, at, recording)),
        Err(source) => Err(RecordError { path, source, fixture: Some(recording.into()) }),
    }
}

/// The new recording in the old one's clothes: its match keys, notes and how it is played stay, and where nothing that
/// a client sees has changed, so does the time it was recorded.
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
    let mut notes = old.metadata.more.clone();
    notes.extend(std::mem::take(&mut fixture.metadata.more));
    fixture.metadata.more = notes;
    if same_answer(&old.answer, &fixture.answer) {
        // Ids and times of creation differ in every answer.
        fixture.answer = old.answer.clone();
        fixture.native = old.native.clone();
        fixture.metadata.recorded_at = old.metadata.recorded_at.clone();
        fixture.playback = old.playback.clone();
        if old.wire.is_some() {
            fixture.wire = old.wire.clone();
            return fixture;
        }
    }
    seal(&mut fixture);
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

/// The texts of an answer that is kept as it came, put together from its frames.
fn raw_pieces(answer: &Answer) -> Option<Pieces> {
    let Answer::Raw(raw) = answer else { return None };
    Some(match &raw.body {
        RawBody::Json(json) => Pieces::of_json(json),
        RawBody::Bytes(bytes) => Pieces::of(bytes, framing_of(&raw.content_type, Framing::Whole)),
        RawBody::Absent(_) => Pieces::default(),
    })
}

/// Redacts every text that a fixture would hold; whether there was anything to redact. What only a provider can read
/// (signatures, encrypted reasoning) must come back as it was.
fn redact_answer(answer: &mut Answer, redactor: &Redactor) -> bool {
    let text = |text: &mut String| redactor.redact_string(text);
    let all = |texts: &mut [&mut Option<String>]| {
        texts
            .iter_mut()
            .filter_map(|text| text.as_mut())
            .fold(false, |found, text| redactor.redact_string(text) | found)
    };
    match answer {
        Answer::Turn(reply) => {
            let mut found = all(&mut [
                &mut reply.finish,
                &mut reply.refusal,
                &mut reply.id,
                &mut reply.model,
                &mut reply.role,
                &mut reply.system_fingerprint,
                &mut reply.reasoning_field,
            ]);
            for part in &mut reply.parts {
                found |= match part {
                    Part::Text { text: t, .. } | Part::Reasoning { text: t, .. } => text(t),
                    Part::ToolCall(call) => {
                        redact_arguments(&mut call.arguments, redactor)
                            | text(&mut call.name)
                            | all(&mut [&mut call.id])
                    }
                    Part::RedactedReasoning(_) => false,
                    Part::Verbatim(own) => redact_text(&mut own.json, redactor),
                };
            }
            found | reply.usage.as_mut().is_some_and(|usage| redactor.redact_members(usage))
        }
        Answer::Embeddings(Embeddings { usage, model, id, .. }) => {
            all(&mut [model, id]) | usage.as_mut().is_some_and(|usage| redactor.redact_members(usage))
        }
        Answer::Error(e) => text(&mut e.message) | all(&mut [&mut e.kind, &mut e.code, &mut e.param]),
        Answer::Raw(raw) => {
            let body = match &mut raw.body {
                RawBody::Json(json) => redactor.redact_json(json),
                RawBody::Bytes(bytes) => redactor.redact_bytes(bytes).map(|redacted| *bytes = redacted).is_some(),
                RawBody::Absent(_) => false,
            };
            text(&mut raw.content_type) | body
        }
    }
}

/// Redacts a call's arguments, which stay as they are written where names alone tell of no secret in them.
fn redact_arguments(arguments: &mut String, redactor: &Redactor) -> bool {
    redactor.redact_string(arguments) | redact_text(arguments, redactor)
}

/// Redacts the strings in JSON text.
fn redact_text(json: &mut String, redactor: &Redactor) -> bool {
    let Ok(mut value) = serde_json::from_str(json) else { return redactor.redact_string(json) };
    let found = redactor.redact_json(&mut value);
    if found {
        *json = value.to_string();
    }
    found
}

/// Makes the folder ready that recordings go to, and takes away what killed processes left in it and in the folders of
/// fixtures. How many files that were. Blocks on the disk.
///
/// # Errors
/// [`Error::Folder`]: nothing can be written there.
pub fn prepare(folder: &Path, fixtures: &[PathBuf]) -> Result<usize, Error> {
    file::probe(folder).map_err(|source| {
        let remedy = remedy(source.kind(), geteuid().as_raw(), owner(folder));
        Error::Folder { path: folder.to_owned(), source, remedy }
    })?;
    Ok(fixtures.iter().map(PathBuf::as_path).chain([folder]).map(file::remove_left_behind).sum())
}

/// Who owns the folder, or the nearest one above it that there is: user and group.
fn owner(folder: &Path) -> Option<(u32, u32)> {
    let absolute = std::path::absolute(folder).ok()?;
    absolute.ancestors().find_map(|path| path.metadata().ok()).map(|meta| (meta.uid(), meta.gid()))
}

/// What to do where nothing can be written.
fn remedy(kind: io::ErrorKind, user: u32, owner: Option<(u32, u32)>) -> String {
    let another = "or name another folder first with -f";
    let who = owner.filter(|(owner, _)| user != 0 && user != *owner);
    match (kind, who) {
        (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge, _) => {
            format!("make room there, {another}")
        }
        (io::ErrorKind::NotADirectory, _) => format!("remove that file, {another}"),
        (io::ErrorKind::ReadOnlyFilesystem, _) => format!("mount it so that it can be written, {another}"),
        (_, Some((owner, group))) => format!(
            "it belongs to user {owner}, and this process runs as user {user}: \
             in a container, run it with --user {owner}:{group}"
        ),
        _ if user != 0 => {
            format!("this process runs as user {user}: let it write there (in a container, --user), {another}")
        }
        _ => format!("let this process write there, {another}"),
    }
}

/// Where a saved fixture stands, its name relative to the folder of fixtures.
pub fn origin_of(path: &Path, root: &Path, index: usize) -> Origin {
    let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy();
    Origin { path: Some(Rc::from(path)), name: Rc::from(&*name), index }
}
