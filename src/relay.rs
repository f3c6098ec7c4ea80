//! From an upstream to a client: bytes go on as they arrive, their frames are teed to a collapser, and the end is let
//! through only when the recording is safe.

use crate::app::{App, Going};
use crate::body::{Body, Broken};
use crate::fixture::RecordedTimings;
use crate::frame::{Decoder, Framing, Status};
use crate::provider::{AnswerHead, Codec, Collapse, Collapsed, Fault, Progress};
use crate::record::{Beside, Plan};
use crate::reply::RawBody;
use crate::request::Kind;
use crate::twins::Turn;
use crate::upstream::{AnswerBody, UpstreamError};
use crate::wire::WireTee;
use bytes::Bytes;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::task::coop::poll_proceed;

/// Longest reason given for an answer that is not recorded, in characters: it may quote the upstream.
const MAX_REASON_CHARS: usize = 400;

/// Longest answer that is kept as it came until it is known whether what was read of it is all of it, in bytes.
const MAX_SPARE_WIRE_BYTES: usize = 2 * 1024 * 1024;

/// How an upstream's answer is framed: what its content type says, else what the request asked for.
pub fn framing_of(content_type: &str, asked: Framing) -> Framing {
    let media = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match media.as_str() {
        "text/event-stream" => Framing::Sse,
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/x-jsonlines"
        | "application/stream+json" => Framing::Ndjson,
        crate::frame::eventstream::CONTENT_TYPE => Framing::EventStream,
        "application/json" if matches!(asked, Framing::JsonArray | Framing::Ndjson) => asked,
        "application/json" => Framing::Whole,
        _ => asked,
    }
}

/// A recording under way.
pub struct Recording {
    app: Rc<App>,
    plan: Option<Plan>,
    tee: Tee,
    /// Dropped when the recording has ended, well or not.
    turn: Option<Turn>,
    started: Instant,
    /// What an error answer said of when to ask again, in seconds.
    retry_after: Option<u64>,
    /// The length that an answer to `HEAD` told; it is whole without a body.
    told_length: Option<u64>,
    wire: Option<WireTee>,
    /// The wire is wanted, not only spare.
    keep_wire: bool,
    timings: Option<Vec<Instant>>,
    /// The server does not stop before it has ended.
    _going: Going,
}

/// Why an answer is relayed and not recorded.
#[derive(Debug)]
enum Unrecorded {
    Fault(Fault),
    Unframed(crate::frame::FrameError),
    TooLarge(usize),
    Cut,
    Upstream(UpstreamError),
    ClientGone,
}

impl fmt::Display for Unrecorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unrecorded::Fault(Fault::Upstream(said)) => {
                write!(f, "the upstream reported an error in its answer: {said}")
            }
            Unrecorded::Fault(Fault::Unreadable(found)) => write!(f, "the answer cannot be read: {found}"),
            Unrecorded::Unframed(e) => write!(f, "the answer cannot be framed: {e}"),
            Unrecorded::TooLarge(limit) => write!(f, "the answer is larger than --max-record-bytes {limit}"),
            Unrecorded::Cut => f.write_str("the answer ended without a terminal event or a finish reason: it was cut"),
            Unrecorded::Upstream(e) => write!(f, "the answer was cut: {e}"),
            Unrecorded::ClientGone => f.write_str("the client went away before the answer's end"),
        }
    }
}

// ------------------------------------------------------------------------------------------------------------ tee

/// Watches a body go by.
struct Tee {
    decoder: Decoder,
    collapser: Box<dyn Collapse>,
    markers: &'static [&'static [u8]],
    longest_marker: usize,
    framing: Framing,
    max_bytes: usize,
    progress: Progress,
    /// A frame that has begun holds an end marker: none of it goes on until it is complete.
    holding: bool,
    /// Nothing has come yet.
    empty: bool,
    /// A body that is empty is whole: it was told that there is none.
    may_be_empty: bool,
}

impl Tee {
    fn new(codec: &'static dyn Codec, head: &AnswerHead<'_>, max_bytes: usize) -> Self {
        let markers = codec.end_markers();
        let bodiless = matches!(head.status, 202 | 204 | 205); // the first may have one
        Tee {
            decoder: Decoder::new(head.framing),
            collapser: codec.collapser(head),
            markers,
            longest_marker: markers.iter().map(|m| m.len()).max().unwrap_or(0),
            framing: head.framing,
            max_bytes,
            progress: Progress::More,
            holding: false,
            empty: true,
            may_be_empty: bodiless && codec.kind() == Kind::Raw,
        }
    }

    /// Takes a chunk; how many of its bytes may go on before the recording is safe.
    fn feed(&mut self, chunk: &[u8]) -> Result<usize, Unrecorded> {
        self.empty &= chunk.is_empty();
        self.collapser.keep(chunk);
        let mut at = 0;
        while let Status::Frame { frame, used } = self.decoder.next(&chunk[at..]).map_err(Unrecorded::Unframed)? {
            self.progress = self.collapser.push(&frame).map_err(Unrecorded::Fault)?;
            self.holding = false;
            if self.progress == Progress::Done {
                return Ok(at);
            }
            at += used;
        }
        let pending = self.decoder.pending();
        if self.collapser.kept_bytes() + pending.len() > self.max_bytes {
            return Err(Unrecorded::TooLarge(self.max_bytes));
        }
        let new = chunk.len() - at;
        let window = &pending[pending.len().saturating_sub(new + self.longest_marker)..];
        self.holding |= self.markers.iter().any(|marker| memchr::memmem::find(window, marker).is_some());
        if self.holding {
            return Ok(at);
        }
        Ok(if self.framing == Framing::Whole { before_last_bracket(chunk) } else { chunk.len() })
    }

    /// The body ended cleanly.
    fn end(&mut self) -> Result<(), Unrecorded> {
        if self.empty && self.may_be_empty {
            self.progress = Progress::Finished;
            return Ok(());
        }
        if self.progress == Progress::Done {
            return Ok(());
        }
        match self.decoder.end() {
            Ok(Some(frame)) => self.progress = self.collapser.push(&frame).map_err(Unrecorded::Fault)?,
            Ok(None) => {}
            Err(e) => return Err(Unrecorded::Unframed(e)),
        }
        if self.progress == Progress::More { Err(Unrecorded::Cut) } else { Ok(()) }
    }
}

/// The answer in a body that is all there.
///
/// # Errors
/// It would not be recorded; why.
pub fn collapse(codec: &'static dyn Codec, head: &AnswerHead<'_>, body: &[u8]) -> Result<Collapsed, String> {
    let mut tee = Tee::new(codec, head, usize::MAX);
    tee.may_be_empty |= codec.kind() == Kind::Raw;
    tee.feed(body).and_then(|_| tee.end()).map_err(|why| why.to_string())?;
    Ok(tee.collapser.finish())
}

/// A whole JSON answer is over, for a client that parses as it reads, with its last bracket: that one stays back, and
/// so does white space, which may come after it.
fn before_last_bracket(chunk: &[u8]) -> usize {
    let text = chunk.trim_ascii_end();
    match text.last() {
        None => 0,
        Some(b'}' | b']') => text.len() - 1,
        Some(_) => chunk.len(),
    }
}

// ------------------------------------------------------------------------------------------------------ recording

impl Recording {
    /// Begins to record an answer; `None` where it must not be recorded, with a word in the log why.
    pub fn begin(
        app: &Rc<App>,
        plan: Plan,
        turn: Option<Turn>,
        codec: &'static dyn Codec,
        asked: Framing,
        status: u16,
        headers: &HeaderMap,
    ) -> Option<Recording> {
        let success = (200..300).contains(&status);
        if !success && !app.config.record_errors {
            app.log.info(format_args!("status {status} from the upstream: relayed, not recorded"));
            return None;
        }
        let encoded = headers.get(CONTENT_ENCODING).filter(|e| *e != "identity");
        if let Some(encoding) = encoded {
            let encoding = encoding.to_str().unwrap_or("?");
            app.log.warn(format_args!(
                "the upstream compressed its answer ({encoding}) without being asked to: relayed, not recorded"
            ));
            return None;
        }
        let content_type = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let framing = if success { codec.framing(framing_of(content_type, asked)) } else { Framing::Whole };
        let head = AnswerHead { framing, status, content_type };
        let codec = if success { codec } else { crate::provider::verbatim() };
        let mut tee = Tee::new(codec, &head, app.config.max_record_bytes);
        let told_empty = headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0");
        tee.may_be_empty |= told_empty && codec.kind() == Kind::Raw;
        // A date would be long past when it is replayed.
        let number = |name| headers.get(name).and_then(|v| v.to_str().ok()?.parse().ok());
        let retry_after = number(RETRY_AFTER);
        let told_length = number(CONTENT_LENGTH).filter(|_| plan.of_head());
        let keep_wire = app.config.record_wire;
        // Kept for a while in any case: what is read of it may not be all of it.
        let limit = if keep_wire { app.config.max_record_bytes } else { MAX_SPARE_WIRE_BYTES };
        let wire = success.then(|| WireTee::new(status, headers, &app.redactor, limit));
        // What is replayed as it came can come at the pace it came.
        let timings = (app.config.record_timings || keep_wire).then(Vec::new);
        Some(Recording {
            app: app.clone(),
            plan: Some(plan),
            tee,
            turn,
            started: Instant::now(),
            retry_after,
            told_length,
            wire,
            keep_wire,
            timings,
            _going: app.recordings.begin(),
        })
    }

    /// Takes a chunk; how many of its bytes may go on now. After an error all may, and nothing is recorded.
    fn feed(&mut self, chunk: &Bytes) -> usize {
        if self.plan.is_none() {
            return chunk.len();
        }
        if let Some(timings) = &mut self.timings {
            timings.push(Instant::now());
        }
        if self.wire.as_mut().is_some_and(|wire| !wire.push(chunk)) {
            self.wire = None;
            if self.keep_wire {
                self.give_up(&Unrecorded::TooLarge(self.app.config.max_record_bytes));
                return chunk.len();
            }
        }
        if self.done() {
            return 0; // what follows the terminal event is kept for the wire alone
        }
        self.tee.feed(chunk).unwrap_or_else(|why| {
            self.give_up(&why);
            chunk.len()
        })
    }

    fn done(&self) -> bool {
        self.plan.is_some() && self.tee.progress == Progress::Done
    }

    /// All that a whole answer needs has come, but for a clean end.
    fn finished(&self) -> bool {
        self.plan.is_some() && self.tee.progress != Progress::More
    }

    fn give_up(&mut self, why: &Unrecorded) {
        if self.plan.take().is_some() {
            self.turn = None;
            let why = self.app.redactor.redact(&why.to_string()).into_owned();
            let end = why.char_indices().nth(MAX_REASON_CHARS).map_or(why.len(), |(end, _)| end);
            self.app.log.warn(format_args!("not recorded: {}", &why[..end]));
        }
    }

    /// The body ended cleanly: records what is whole. The message of a recording that could not be written.
    async fn end(&mut self) -> Option<String> {
        if self.plan.is_some()
            && self.told_length.is_none()
            && let Err(why) = self.tee.end()
        {
            self.give_up(&why);
        }
        self.save().await
    }

    /// Writes the recording to disk and puts it into the table.
    async fn save(&mut self) -> Option<String> {
        let mut plan = self.plan.take()?;
        if let Some(turn) = &mut self.turn
            && !turn.may_save().await
        {
            return None; // the answer to a request like it came first
        }
        plan.number(&mut self.app.repeats.borrow_mut());
        let mut answer = self.tee.collapser.finish();
        if let Collapsed::Body(raw) = &mut answer {
            raw.retry_after = self.retry_after;
            if let Some(length) = self.told_length {
                raw.body = RawBody::Absent(length);
            }
        }
        let wire = self.wire.take().map(|wire| wire.into_wire(&plan.endpoint));
        let timings = self.timings.take().map(|at| timings(self.started, &at));
        let turn = self.turn.take();
        let beside = Beside { wire, keep_wire: self.keep_wire, timings, framing: self.tee.framing };
        let (answers, failure) = store(&self.app, plan, answer, beside).await;
        if let Some(turn) = turn.filter(|_| answers) {
            turn.saved();
        }
        failure
    }
}

/// Writes a recording on a thread that may block, then puts it into the table, written or not. Whether it answers from
/// now on, and why it could not be written.
async fn store(app: &Rc<App>, plan: Plan, answer: Collapsed, beside: Beside) -> (bool, Option<String>) {
    let redactor = app.redactor.clone();
    let saved = tokio::task::spawn_blocking(move || plan.save(answer, beside, &redactor)).await;
    match saved {
        Ok(Ok(saved)) => (app.register(saved), None),
        Ok(Err(mut e)) => {
            let unwritten = e.fixture.take();
            let failure = e.to_string();
            (app.register_unwritten(&failure, unwritten.map(|fixture| (e.path, *fixture))), Some(failure))
        }
        Err(e) => {
            let failure = format!("cannot write the recording: {e}");
            (app.register_unwritten(&failure, None), Some(failure))
        }
    }
}

fn timings(started: Instant, at: &[Instant]) -> RecordedTimings {
    let ms = |from: Instant, to: Instant| (to.duration_since(from).as_secs_f64() * 1e6).round() / 1000.0;
    RecordedTimings {
        ttft_ms: at.first().map_or(0.0, |first| ms(started, *first)),
        inter_chunk_delays_ms: at.windows(2).map(|pair| ms(pair[0], pair[1])).collect(),
        total_duration_ms: at.last().map_or(0.0, |last| ms(started, *last)),
    }
}

// ----------------------------------------------------------------------------------------------------------- body

/// A body that relays an upstream's, and, where a recording that is whole with the first chunk failed, why.
pub async fn body(upstream: AnswerBody, recording: Option<Recording>, headers: &HeaderMap) -> (Body, Option<String>) {
    let len = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let mut flow = Flow { upstream, recording, saving: None, chunks: VecDeque::new(), free: 0, end: None };
    let whole = flow.recording.as_ref().is_some_and(|r| r.tee.framing == Framing::Whole);
    if whole {
        // The headers can still tell of a recording that failed.
        let first = flow.upstream.chunk().await;
        if let (Ok(all), true, Some(recording)) = (&first, flow.upstream.at_end(), &mut flow.recording) {
            let all = all.clone().unwrap_or_default();
            recording.feed(&all);
            let failed = recording.end().await;
            let promised = len.filter(|len| *len != all.len() as u64); // to `HEAD`, a length alone
            let body = promised.map(|len| Body::Relayed(Relayed { flow: None, len: Some(len) }));
            return (body.unwrap_or_else(|| Body::whole(all)), failed);
        }
        flow.take(first);
    }
    (Body::Relayed(Relayed { flow: Some(Box::new(flow)), len }), None)
}

/// An upstream's chunks on their way to the client. Dropped when all that a whole answer needs has come, it is read to
/// its end and recorded all the same.
pub struct Relayed {
    flow: Option<Box<Flow>>,
    /// Bytes that they come to, where that is known.
    pub len: Option<u64>,
}

impl Relayed {
    /// The next chunk.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        self.flow.as_mut().map_or(Poll::Ready(None), |flow| flow.poll(cx))
    }
}

impl fmt::Debug for Relayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relayed").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        let Some(mut flow) = self.flow.take() else { return };
        match &mut flow.recording {
            // An answer that is whole but for its clean end is worth waiting for.
            Some(recording) if recording.finished() => {}
            Some(recording) => return recording.give_up(&Unrecorded::ClientGone),
            None if flow.saving.is_some() => {}
            None => return,
        }
        tokio::task::spawn_local(async move {
            while flow.recording.is_some() || flow.saving.is_some() {
                if poll_fn(|cx| flow.poll(cx)).await.is_none() {
                    return;
                }
            }
        });
    }
}

/// One answer's chunks, and what is made of them.
struct Flow {
    upstream: AnswerBody,
    /// Gone when it has ended, well or not.
    recording: Option<Recording>,
    /// The recording's end, which the rest waits for.
    saving: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// What came and has not gone on.
    chunks: VecDeque<Bytes>,
    /// How many of the chunks may go on before the recording is safe.
    free: usize,
    /// How the body ends, once the upstream's has.
    end: Option<Result<(), Broken>>,
}

impl Flow {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        self.unread(None);
        let next = self.poll_next(cx);
        if let Poll::Ready(Some(Ok(_))) = next {
            self.unread(Some(tokio::time::Instant::now()));
        }
        next
    }

    /// Tells requests that wait for this one whether its client reads.
    fn unread(&self, since: Option<tokio::time::Instant>) {
        if let Some(turn) = self.recording.as_ref().and_then(|recording| recording.turn.as_ref()) {
            turn.unread(since);
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        // A fast upstream gives way to other connections now and then.
        let turn = ready!(poll_proceed(cx));
        loop {
            if let Some(saving) = &mut self.saving {
                ready!(saving.as_mut().poll(cx));
                self.saving = None;
            }
            if self.free > 0 || self.recording.is_none() {
                if let Some(chunk) = self.chunks.pop_front() {
                    self.free = self.free.saturating_sub(1);
                    turn.made_progress();
                    return Poll::Ready(Some(Ok(chunk)));
                }
                if let Some(end) = &mut self.end {
                    return Poll::Ready(std::mem::replace(end, Ok(())).err().map(Err));
                }
            }
            let chunk = ready!(self.upstream.poll_chunk(cx));
            self.take(chunk);
        }
    }

    fn take(&mut self, chunk: Result<Option<Bytes>, UpstreamError>) {
        match chunk {
            Ok(Some(chunk)) => self.pass(chunk),
            Ok(None) => {
                self.end = Some(Ok(()));
                self.save();
            }
            Err(error) => {
                self.end = Some(Err(Broken));
                match &mut self.recording {
                    Some(recording) if !recording.done() => {
                        recording.give_up(&Unrecorded::Upstream(error));
                        self.recording = None;
                    }
                    _ => self.save(),
                }
            }
        }
    }

    fn pass(&mut self, chunk: Bytes) {
        let Some(recording) = &mut self.recording else { return self.chunks.push_back(chunk) };
        let last = self.upstream.at_end();
        let free = recording.feed(&chunk);
        // A client that was told the length has the end with the last byte, whatever that is.
        let free = if last && recording.plan.is_some() { 0 } else { free };
        // What follows the terminal event is part of the answer as it was on the wire.
        let whole = recording.done() && !recording.keep_wire;
        let mut held = chunk;
        if free > 0 {
            self.chunks.push_back(held.split_to(free));
            self.free = self.chunks.len();
        }
        if !held.is_empty() {
            self.chunks.push_back(held);
        }
        if whole || last {
            self.save();
        }
    }

    /// Ends the recording. Headers are long gone: the log and the report tell of a failure.
    fn save(&mut self) {
        if let Some(mut recording) = self.recording.take() {
            self.saving = Some(Box::pin(async move { drop(recording.end().await) }));
        }
    }
}
