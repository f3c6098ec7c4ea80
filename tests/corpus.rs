//! Real providers' answers through the real server: relayed as they came, recorded when they are whole and only then,
//! and replayed as their client saw them, streamed and whole, before and after a restart.
//!
//! `AIMOCK_CORPUS` names the folder of captures (`index.jsonl`, `expected.jsonl`, and a folder each with
//! `request.json` and `response.raw`); without it nothing is tested, which fails where `CI=true`. `AIMOCK_FORMAT` keeps
//! the formats whose name contains it.

mod common;
mod corpus {
    pub(crate) mod captures;
    pub(crate) mod judge;
    pub(crate) mod known;
    pub(crate) mod player;
    pub(crate) mod session;
}

use aimock::reply::Answer;
use aimock::request::Kind;
use corpus::captures::{self, Capture, Wanted};
use corpus::judge::{self, Outcome};
use corpus::known;
use corpus::player::Player;
use corpus::session::{Folder, Got, Session};
use std::collections::HashSet;
use std::sync::Arc;

/// Threads that drive a server each.
const SHARDS: usize = 2;

#[test]
fn every_answer_is_relayed_recorded_and_replayed() {
    let Some(captures) = captures::read() else { return };
    let captures = &Arc::new(captures);
    let player = Player::start(Arc::clone(captures));
    let url = &player.url();
    report(captures, &in_shards(captures, |mine| async move { readable(captures, &mine, url).await }));
}

#[test]
fn every_answer_is_replayed_as_it_was_on_the_wire() {
    let Some(captures) = captures::read() else { return };
    let captures = &Arc::new(captures);
    let player = Player::start(Arc::clone(captures));
    let url = &player.url();
    report(captures, &in_shards(captures, |mine| async move { on_the_wire(captures, mine, url).await }));
}

#[test]
fn what_is_listed_by_name_is_still_so() {
    let Some(captures) = captures::read() else { return };
    let mut faults = Vec::new();
    let raw = |c: &Capture| c.request.found().codec.kind() == Kind::Raw;
    let outcomes: Vec<Outcome> = captures.iter().map(judge::meaning).collect();
    for (index, (capture, outcome)) in captures.iter().zip(&outcomes).enumerate() {
        let verbatim = matches!(outcome, Outcome::Whole(answer) if matches!(**answer, Answer::Raw(_)));
        if raw(capture) && !known::RAW_FORMATS.lists(capture) {
            faults.push((index, format!("{} has no codec and is not listed", capture.row.format)));
        }
        if !raw(capture) && verbatim && !known::RAW_ANSWERS.lists(capture) {
            faults.push((index, "kept as it is and not listed".into()));
        }
        if raw(capture) != known::RAW_FORMATS.lists(capture) {
            faults.push((index, "listed as a format without a codec, which it is not".into()));
        }
    }
    report(&captures, &faults);
}

type Faults = Vec<(usize, String)>;

fn report(captures: &[Capture], faults: &Faults) {
    for (index, what) in faults {
        println!("{}: {what}", captures[*index].row.dir);
    }
    let failed: HashSet<usize> = faults.iter().map(|(index, _)| *index).collect();
    assert!(failed.is_empty(), "{} of {} captures fail", failed.len(), captures.len());
}

/// Has every capture judged, each by one of several threads.
fn in_shards<F: Future<Output = Faults>>(captures: &[Capture], judge: impl Fn(Vec<usize>) -> F + Sync) -> Faults {
    let shard = |n: usize| {
        let mine = (0..captures.len()).filter(|i| i % SHARDS == n).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(judge(mine))
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..SHARDS).map(|n| scope.spawn(move || shard(n))).collect();
        threads.into_iter().flat_map(|t| t.join().expect("a shard that ends")).collect()
    })
}

// -------------------------------------------------------------------------------------------------- the readable part

/// Relays, records and replays each capture under a test id of its own, and replays once more after a restart.
async fn readable(captures: &[Capture], mine: &[usize], upstream: &str) -> Faults {
    let folder = Folder::new();
    let mut faults = Vec::new();
    let mut kept = Vec::new();
    let mut session = Session::recording(&folder, upstream, false).await;
    for &index in mine {
        let capture = &captures[index];
        let test = format!("t{index}");
        let mut fault = |what: String| faults.push((index, what));
        let got = session.ask(&capture.request, index, Some(&test)).await;
        different_bytes(capture, &got, "proxy").into_iter().for_each(|what| fault(format!("relayed: {what}")));
        let truth = truth(capture).unwrap_or_else(|why| {
            fault(why);
            None
        });
        let recorded = folder.recorded(Some(&test)).len();
        if recorded != usize::from(truth.is_some()) {
            fault(format!("{recorded} recordings"));
        } else if let Some(answer) = truth {
            let replayed = replay(&mut session, capture, index, &answer).await;
            replayed.into_iter().for_each(|what| fault(format!("replayed {what}")));
            kept.push((index, Some(answer)));
        } else {
            kept.push((index, None));
        }
    }
    drop(session);
    let mut session = Session::strict(&folder).await;
    for (index, truth) in kept {
        let capture = &captures[index];
        if let Some(answer) = truth {
            let replayed = replay(&mut session, capture, index, &answer).await;
            faults.extend(replayed.into_iter().map(|what| (index, format!("after a restart, replayed {what}"))));
        } else {
            let got = session.ask(&capture.request, index, Some(&format!("t{index}"))).await;
            if got.source != "miss" || !matches!(got.status, 503 | 400) {
                faults.push((index, format!("{} with {} where nothing was recorded", got.source, got.status)));
            }
        }
    }
    faults
}

/// What is to be recorded of a capture: of a success that is whole, its meaning.
fn truth(capture: &Capture) -> Result<Option<Answer>, String> {
    if !(200..300).contains(&capture.row.status) {
        return Ok(None);
    }
    if let Err(why) = capture.request.decoded() {
        return Err(format!("its request is refused: {why}"));
    }
    // Of what has no codec, nobody knows a finish reason.
    let raw = capture.request.found().codec.kind() == Kind::Raw;
    let unfinished = !raw && capture.expected.as_ref().is_some_and(|e| e.finish_reason.is_null());
    match (judge::meaning(capture), capture.row.claims_success()) {
        (Outcome::Whole(_), false) => Err("an error that comes out whole".into()),
        (_, false) => Ok(None),
        (Outcome::Whole(_), true) if unfinished && !known::WHOLE_WITHOUT_REASON.lists(capture) => {
            Err("whole, and without a finish reason".into())
        }
        (Outcome::Whole(answer), true) => Ok(Some(*answer)),
        (Outcome::Cut, true) if unfinished => Ok(None),
        (Outcome::Cut, true) => Err("a whole answer that comes out cut".into()),
        (Outcome::Fault(_), true) if known::ERRORS.lists(capture) => Ok(None),
        (Outcome::Fault(fault), true) => Err(format!("{fault:?}")),
        (Outcome::Broken(what), true) => Err(what),
    }
}

/// Where an answer is not the capture's, byte for byte.
fn different_bytes(capture: &Capture, got: &Got, source: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if got.status != capture.row.status {
        faults.push(format!("status {} → {}", capture.row.status, got.status));
    }
    if got.content_type != capture.row.content_type {
        faults.push(format!("content type {:?} → {:?}", capture.row.content_type, got.content_type));
    }
    if got.body != capture.answer {
        let same = capture.answer.iter().zip(&got.body).take_while(|(a, b)| a == b).count();
        let (had, has) = (capture.answer.len(), got.body.len());
        faults.push(format!("another body from byte {same} of {had}, {has} came"));
    }
    if got.source != source {
        faults.push(format!("from {}", got.source));
    }
    faults
}

/// Asks for a recorded answer as it was asked for and, where the endpoint has one, the other way.
async fn replay(session: &mut Session, capture: &Capture, index: usize, answer: &Answer) -> Vec<String> {
    let test = format!("t{index}");
    let got = session.ask(&capture.request, index, Some(&test)).await;
    let mut faults = different_meaning(&capture.request, answer, &got);
    let mut differences: Vec<String> = faults.drain(..).map(|what| format!("as asked: {what}")).collect();
    if let (Answer::Turn(_), Some(expected)) = (answer, &capture.expected) {
        differences.extend(second_opinion(capture, &got, expected));
    }
    if let (Answer::Turn(_), Some(other)) = (answer, capture.request.other_way()) {
        let got = session.ask(&other, index, Some(&test)).await;
        differences.extend(different_meaning(&other, answer, &got).into_iter().map(|w| format!("the other way: {w}")));
    }
    differences
}

fn different_meaning(asked: &Wanted, answer: &Answer, got: &Got) -> Vec<String> {
    let status = if let Answer::Raw(raw) = answer { raw.status } else { 200 };
    if (got.status, &*got.source, &*got.matched) != (status, "fixture", "exact") {
        let body = String::from_utf8_lossy(&got.body);
        let body: String = body.chars().take(400).collect();
        return vec![format!("{} {:?} from {}: {body}", got.status, got.matched, got.source)];
    }
    let content_type = got.content_type.as_deref().unwrap_or("");
    judge::compare(asked.found().codec, answer, got.framing(asked.framing()), content_type, &got.body)
}

fn second_opinion(capture: &Capture, got: &Got, expected: &captures::Expected) -> Vec<String> {
    let codec = capture.request.found().codec;
    let content_type = got.content_type.as_deref().unwrap_or("");
    let framing = got.framing(capture.request.framing());
    let Outcome::Whole(answer) = judge::collapse(codec, framing, content_type, &got.body) else { return Vec::new() };
    let Answer::Turn(reply) = *answer else { return Vec::new() };
    let otherwise = judge::second_opinion(codec, &reply, expected).into_iter();
    let otherwise = otherwise.filter(|(field, _)| !known::disagreed(capture, field));
    otherwise.map(|(field, how)| format!("otherwise than expected.jsonl has it: {field} {how}")).collect()
}

// ---------------------------------------------------------------------------------------------------------- the wire

/// Records and replays all that is whole with its wire, in files of their own, and replays once more after a restart.
async fn on_the_wire(captures: &[Capture], mine: Vec<usize>, upstream: &str) -> Faults {
    let mut faults = Vec::new();
    let mut left: Vec<usize> = mine.into_iter().filter(|i| matches!(truth(&captures[*i]), Ok(Some(_)))).collect();
    while !left.is_empty() {
        // A request is answered by its first recording: those that share one take turns.
        let mut asked = HashSet::new();
        let (round, rest) = left.into_iter().partition(|i| asked.insert(captures[*i].request.key()));
        faults.extend(one_round(captures, round, upstream).await);
        left = rest;
    }
    faults
}

async fn one_round(captures: &[Capture], round: Vec<usize>, upstream: &str) -> Faults {
    let folder = Folder::new();
    let mut faults = Vec::new();
    let mut session = Session::recording(&folder, upstream, true).await;
    for &index in &round {
        let request = &captures[index].request;
        let relayed = session.ask(request, index, None).await;
        let relayed = different_bytes(&captures[index], &relayed, "proxy").into_iter();
        faults.extend(relayed.map(|what| (index, format!("relayed: {what}"))));
        let replayed = session.ask(request, index, None).await;
        let replayed = different_bytes(&captures[index], &replayed, "fixture").into_iter();
        faults.extend(replayed.map(|what| (index, format!("replayed: {what}"))));
    }
    let recorded = folder.recorded(None).len();
    if recorded != round.len() {
        faults.push((round[0], format!("{recorded} recordings of the {} of its round", round.len())));
    }
    drop(session);
    let mut session = Session::strict(&folder).await;
    for index in round {
        let got = session.ask(&captures[index].request, index, None).await;
        let different = different_bytes(&captures[index], &got, "fixture").into_iter();
        faults.extend(different.map(|what| (index, format!("replayed after a restart: {what}"))));
    }
    faults
}
