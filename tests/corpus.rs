//! Real providers' answers through the real server: relayed as they came, recorded when they are whole and only then,
//! and replayed as their client saw them, streamed and whole, before and after a restart.
//!
//! `AIMOCK_CORPUS` names the folder of captures (`index.jsonl`, `expected.jsonl`, and a folder each with
//! `request.json` and `response.raw`); without it nothing is tested, which fails where `CI=true`. `AIMOCK_FORMAT` keeps
//! the formats whose name contains it.
#![allow(clippy::print_stdout)] // the report

mod common;
mod corpus {
    pub(crate) mod captures;
    pub(crate) mod conversation;
    pub(crate) mod judge;
    pub(crate) mod known;
    pub(crate) mod mutate;
    pub(crate) mod player;
    pub(crate) mod session;
}

use aimock::frame::Framing;
use aimock::reply::Answer;
use aimock::request::Kind;
use corpus::captures::{self, Capture, Expected, Wanted};
use corpus::conversation;
use corpus::judge::{self, Outcome};
use corpus::known;
use corpus::mutate::{self, Mutation, Noise};
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

/// A client that sends the replayed answer back asks what it asked when it was recorded: streamed and whole, in the
/// session that recorded it and, under `--strict`, after a restart.
#[test]
fn every_conversation_finds_its_way_back() {
    let Some(captures) = captures::read() else { return };
    let captures = &Arc::new(captures);
    let player = Player::start(Arc::clone(captures));
    let url = &player.url();
    report(captures, &in_shards(captures, |mine| async move { conversations(captures, &mine, url).await }));
}

/// Places of each request that are tried.
const LEAVES: usize = 40;

/// A request that differs in one value that a model can see is another one.
#[test]
fn no_other_request_has_the_same_hash() {
    let Some(captures) = captures::read() else { return };
    let mut faults = Vec::new();
    let mut tried = 0;
    for (index, capture) in captures.iter().enumerate() {
        let key = capture.request.key();
        for (place, other) in conversation::with_one_leaf_changed(&capture.request, LEAVES) {
            tried += 1;
            let same = other.decoded().is_ok() && other.key() == key;
            if same && !known::unseen(&place, capture.request.found().codec) {
                faults.push((index, format!("{place} changes nothing")));
            }
        }
    }
    println!("{tried} requests tried");
    report(&captures, &faults);
}

/// What a client holds after a replay is what it held when it was recorded, member by member.
#[test]
fn every_answer_is_kept_whole() {
    let Some(captures) = captures::read() else { return };
    let faults: Faults = captures
        .iter()
        .enumerate()
        .filter(|(_, capture)| capture.row.succeeded())
        .filter(|(_, capture)| !known::SAYS_TWO_THINGS.lists(capture))
        .filter_map(|(index, capture)| judge::lost(capture).map(|what| (index, what)))
        .collect();
    report(&captures, &faults);
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
    let raw = |c: &Capture| c.request.found().codec.kind() == Kind::Raw;
    let verbatim = |c: &Capture| {
        let raw = |answer: &Answer| matches!(answer, Answer::Raw(_));
        matches!(judge::meaning(c), Outcome::Whole(answer) if raw(&answer))
    };
    let mut faults = Vec::new();
    for (index, capture) in captures.iter().enumerate() {
        let (raw, verbatim) = (raw(capture), verbatim(capture));
        if raw != known::RAW_ENDPOINTS.lists(capture) {
            faults.push((index, format!("has no codec: {raw}, but listed: {}", !raw)));
        }
        if !raw && capture.row.claims_success() && verbatim != known::RAW_ANSWERS.lists(capture) {
            faults.push((index, format!("kept as it is: {verbatim}, but listed: {}", !verbatim)));
        }
    }
    report(&captures, &faults);
    if captures::are_all() {
        let unfinished = |c: &Capture| matches!(judge::meaning(c), Outcome::Whole(_)) && c.unfinished();
        let mut idle = known::RAW_ENDPOINTS.idle(&captures, raw);
        idle.extend(known::RAW_ANSWERS.idle(&captures, verbatim));
        idle.extend(known::WHOLE_WITHOUT_REASON.idle(&captures, unfinished));
        idle.extend(known::SAYS_TWO_THINGS.idle(&captures, |c| judge::lost(c).is_some()));
        for (field, of, _) in known::DISAGREEMENTS {
            let differs = |c: &Capture| known::names(of, c) && otherwise(c).iter().any(|(what, _)| what == field);
            idle.extend((!captures.iter().any(differs)).then_some(*of));
        }
        assert!(idle.is_empty(), "no longer so: {idle:?}");
    }
}

/// Where a capture's meaning is not what the other collapser sees.
fn otherwise(capture: &Capture) -> Vec<(&'static str, String)> {
    match (judge::meaning(capture), &capture.expected) {
        (Outcome::Whole(answer), Some(expected)) => match *answer {
            Answer::Turn(reply) => judge::second_opinion(capture.request.found().codec, &reply, expected),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Each capture, once in `AIMOCK_MUTANTS` (1) for every mutation.
#[test]
fn what_was_tampered_with_breaks_no_promise() {
    let Some(captures) = captures::read() else { return };
    let rounds = std::env::var("AIMOCK_MUTANTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut noise = Noise(rounds as u64);
    let mut mutants = Vec::new();
    for round in 0..rounds {
        for (index, capture) in captures.iter().enumerate() {
            let mutation = mutate::ALL[(index + round) % mutate::ALL.len()];
            mutants.extend(mutate::mutated(capture, mutation, &mut noise).map(|mutant| (mutation, index, mutant)));
        }
    }
    let played = &Arc::new(mutants.iter().map(|(.., mutant)| mutant.clone()).collect::<Vec<_>>());
    let player = Player::start(Arc::clone(played));
    let (url, mutants, captures) = (&player.url(), &mutants, &captures);
    let faults = in_shards(played, |mine| async move {
        let folder = Folder::new();
        let mut session = Session::recording(&folder, url, false).await;
        let mut faults = Vec::new();
        for index in mine {
            let (mutation, original, mutant) = &mutants[index];
            let found = tampered(&mut session, &folder, &captures[*original], *mutation, (index, mutant)).await;
            faults.extend(found.into_iter().map(|what| (index, format!("{mutation:?}: {what}"))));
        }
        faults
    });
    report(played, &faults);
}

/// Relays, records and replays a capture that was tampered with.
async fn tampered(
    session: &mut Session,
    folder: &Folder,
    original: &Capture,
    mutation: Mutation,
    (index, mutant): (usize, &Capture),
) -> Vec<String> {
    let test = format!("t{index}");
    let got = session.ask(&mutant.request, index, Some(&test)).await;
    let mut faults = different_bytes(mutant, &got, "proxy");
    let recorded = folder.recorded(Some(&test)).len();
    let meaning = match judge::meaning(mutant) {
        Outcome::Whole(answer) | Outcome::Unmarked(answer) if mutant.row.succeeded() => Some(*answer),
        _ => None,
    };
    if recorded != usize::from(meaning.is_some()) {
        faults.push(format!("{recorded} recordings"));
    }
    if mutation.means_nothing()
        && let (Ok(Some(truth)), known) = (truth(original), &meaning)
        && known.as_ref().is_none_or(|answer| !judge::same(original.request.found().codec, &truth, answer))
    {
        faults.push("it means something else".into());
    }
    if mutation == Mutation::Cut && meaning.is_some() && !judge::may_be_whole(mutant) {
        faults.push("recorded without an end".into());
    }
    if let Some(answer) = meaning.filter(|_| recorded == 1) {
        // Nobody else has an opinion on it, and half a usage may be read as another wire's.
        let mutant = Capture { expected: None, ..mutant.clone() };
        let replayed = replay(session, &mutant, index, &answer).await.into_iter();
        let replayed = replayed.filter(|what| mutation.means_nothing() || !what.contains(": usage "));
        let unmarked = known::UNMARKED.lists(original);
        let replayed = replayed.filter(|what| !(unmarked && what.contains("a terminal frame without mark")));
        faults.extend(replayed.map(|what| format!("replayed {what}")));
    }
    faults
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
        if known::HOLDS_A_SECRET.lists(capture) {
            continue;
        }
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
    if !capture.row.succeeded() {
        return Ok(None);
    }
    if let Err(why) = capture.request.decoded() {
        return Err(format!("its request is refused: {why}"));
    }
    let unfinished = capture.unfinished();
    match (judge::meaning(capture), capture.row.claims_success()) {
        (Outcome::Whole(_), false) => Err("an error that comes out whole".into()),
        (_, false) => Ok(None),
        (Outcome::Whole(_), true) if unfinished && !known::WHOLE_WITHOUT_REASON.lists(capture) => {
            Err("whole, and without a finish reason".into())
        }
        (Outcome::Whole(answer), true) => Ok(Some(*answer)),
        (Outcome::Unmarked(_), true) => Err("a terminal frame without mark".into()),
        (Outcome::Cut, true) if unfinished => Ok(None),
        (Outcome::Cut, true) => Err("a whole answer that comes out cut".into()),
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
        differences.extend(second_opinion(capture, answer, &got, expected));
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

fn second_opinion(capture: &Capture, first: &Answer, got: &Got, expected: &Expected) -> Vec<String> {
    let codec = capture.request.found().codec;
    let content_type = got.content_type.as_deref().unwrap_or("");
    let framing = got.framing(capture.request.framing());
    let Outcome::Whole(answer) = judge::collapse(codec, framing, content_type, &got.body) else { return Vec::new() };
    let Answer::Turn(reply) = *answer else { return Vec::new() };
    // Usage that was not sent is estimated.
    let estimated = matches!(first, Answer::Turn(first) if first.usage.is_none());
    let known = |field: &str| known::disagreed(capture, field) || (estimated && field == "usage");
    let otherwise = judge::second_opinion(codec, &reply, expected).into_iter().filter(|(field, _)| !known(field));
    otherwise.map(|(field, how)| format!("otherwise than expected.jsonl has it: {field} {how}")).collect()
}

// ------------------------------------------------------------------------------------------------ the conversation

/// Records two turns of each capture that has a whole turn, and asks for the second one with what a replay of the first
/// one gave.
async fn conversations(captures: &[Capture], mine: &[usize], upstream: &str) -> Faults {
    let folder = Folder::new();
    let mut faults = Vec::new();
    let mut recorded = Vec::new();
    let mut session = Session::recording(&folder, upstream, false).await;
    for &index in mine {
        let capture = &captures[index];
        if !matches!(truth(capture), Ok(Some(Answer::Turn(_)))) {
            continue;
        }
        let test = format!("t{index}");
        let first = session.ask(&capture.request, index, Some(&test)).await;
        let held = conversation::held(&capture.request, &first);
        let Some(second) = held.and_then(|held| conversation::second_turn(&capture.request, &held)) else { continue };
        let got = session.ask(&second, index, Some(&test)).await;
        if got.source != "proxy" {
            faults.push((index, format!("the second turn came from {} with {}", got.source, got.status)));
            continue;
        }
        recorded.push(index);
        let again = go_on(&mut session, capture, index).await;
        faults.extend(again.into_iter().map(|what| (index, what)));
    }
    drop(session);
    let mut session = Session::strict(&folder).await;
    println!("{} conversations", recorded.len());
    for index in recorded {
        let again = go_on(&mut session, &captures[index], index).await;
        faults.extend(again.into_iter().map(|what| (index, format!("after a restart, {what}"))));
    }
    faults
}

/// Asks for both turns, as they were asked for and, where the endpoint has one, the other way.
async fn go_on(session: &mut Session, capture: &Capture, index: usize) -> Vec<String> {
    let test = format!("t{index}");
    let mut faults = Vec::new();
    for asked in [Some(capture.request.clone()), capture.request.other_way()].into_iter().flatten() {
        let way = if asked.framing() == Framing::Whole { "whole" } else { "streamed" };
        let first = session.ask(&asked, index, Some(&test)).await;
        let held = conversation::held(&asked, &first);
        let Some(second) = held.and_then(|held| conversation::second_turn(&asked, &held)) else {
            faults.push(format!("{way}: the first turn says nothing: {} from {}", first.status, first.source));
            continue;
        };
        let got = session.ask(&second, index, Some(&test)).await;
        if (&*got.source, &*got.matched) != ("fixture", "exact") {
            let sent = conversation::history(&second);
            faults.push(format!(
                "{way}: the second turn is {} {:?}: {}\nafter {sent}",
                got.source,
                got.matched,
                why(&got)
            ));
        }
    }
    faults
}

fn why(got: &Got) -> String {
    String::from_utf8_lossy(&got.body).chars().take(600).collect()
}

// ---------------------------------------------------------------------------------------------------------- the wire

/// Records and replays all that is whole with its wire, in files of their own, and replays once more after a restart.
async fn on_the_wire(captures: &[Capture], mine: Vec<usize>, upstream: &str) -> Faults {
    let mut faults = Vec::new();
    let kept = |i: &usize| !known::WITHOUT_WIRE.lists(&captures[*i]) && matches!(truth(&captures[*i]), Ok(Some(_)));
    let mut left: Vec<usize> = mine.into_iter().filter(kept).collect();
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
