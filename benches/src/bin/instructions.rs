//! The paths whose instructions are counted: `instructions PATH TIMES`, PATH being one of `decode` (route and parse a
//! request of 16 KB), `match` (scan 1,000 rules, the last one holds), `identity` (canonical form and hashes of that
//! request), `encode` (a whole answer), `stream` (50 chunks) and `collapse` (50 chunks).
//!
//! Run under `valgrind --tool=callgrind` with two numbers of times; the difference is what the path costs, whatever
//! the machine is doing meanwhile.
#![forbid(unsafe_code)]

use aimock::config::OnDrift;
use aimock::fixture::table::{FixtureTable, Policy};
use aimock::fixture::{Asked, Fixture, Match, Origin};
use aimock::frame::Framing;
use aimock::provider::{AnswerHead, Call, Encoding, Head, Matched, Shape, route};
use aimock::redact::Redactor;
use aimock::relay;
use aimock::request::canonical::{Identity, Ignore, Subject};
use aimock::{Answer, Reply};
use aimock_benches::{Failure, SHORT_TEXT, TEXT_PIECES, piece};
use hyper::HeaderMap;
use std::hint::black_box;
use std::rc::Rc;

/// Fixtures that a match scans; the last one holds.
const FIXTURES: usize = 1_000;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("PATH is needed")?;
    let times: usize = arguments.next().ok_or("TIMES is needed")?.parse()?;
    let headers = HeaderMap::new();
    let head = Head { method: "POST", path: "/v1/chat/completions", query: "", headers: &headers };
    match &*path {
        "decode" => decode(head, times),
        "match" => find(head, times),
        "identity" => identity(head, times),
        "encode" => encode(head, &Reply::text(SHORT_TEXT).into(), times),
        "stream" => stream(head, &Reply::text((0..TEXT_PIECES).map(piece).collect::<String>()).into(), times),
        "collapse" => collapse(head, times),
        other => Err(format!("{other}: no such path").into()),
    }
}

fn body(history_bytes: usize) -> String {
    let history = "some earlier text, which is long. ".repeat(history_bytes / 34);
    format!(
        r#"{{"model":"gpt-4o-mini","messages":[{{"role":"system","content":"{history}"}},
           {{"role":"user","content":"case 00999: explain a mutex"}}]}}"#
    )
}

fn decode(head: Head<'_>, times: usize) -> Result<(), Failure> {
    let body = body(16 * 1024);
    for _ in 0..times {
        let matched = route(black_box(&head));
        let call = Call { head, params: matched.params, body: body.as_bytes() };
        black_box(matched.codec.decode(&call).map_err(|bad| bad.message)?);
    }
    Ok(())
}

fn find(head: Head<'_>, times: usize) -> Result<(), Failure> {
    let mut table = FixtureTable::default();
    for index in 0..FIXTURES {
        let fixture = Fixture::new(Match::message(format!("case {index:05}: explain")), Reply::text("A lock."));
        table.push(fixture, Origin { path: None, name: Rc::from("rules.json"), index });
    }
    let policy = Policy { recording: false, reuse_volatile: false, on_drift: OnDrift::Warn, strict: false };
    asked(head, &body(0), |asked| {
        for _ in 0..times {
            let hit = table.find(black_box(asked), &policy).map_err(|_| "no fixture answers")?;
            black_box(hit);
        }
        Ok(())
    })
}

fn identity(head: Head<'_>, times: usize) -> Result<(), Failure> {
    let body = body(16 * 1024);
    for _ in 0..times {
        asked(head, &body, |asked| {
            black_box(asked.identity.get());
            Ok(())
        })?;
    }
    Ok(())
}

fn asked(head: Head<'_>, body: &str, then: impl FnOnce(&Asked<'_>) -> Result<(), Failure>) -> Result<(), Failure> {
    let (redactor, ignore) = (Redactor::default(), Ignore::default());
    let matched = route(&head);
    let call = Call { head, params: matched.params, body: body.as_bytes() };
    let request = matched.codec.decode(&call).map_err(|bad| bad.message)?;
    let subject = Subject {
        wire: matched.codec.wire(),
        model: &request.model,
        body: call.body,
        content_type: "application/json",
        codec: matched.codec,
    };
    let identity = Identity::new(subject, &redactor, &ignore);
    then(&Asked::new(&request, &identity, head.method, head.path))
}

fn encode(head: Head<'_>, answer: &Answer, times: usize) -> Result<(), Failure> {
    each(head, times, |matched, to| drop(black_box(matched.codec.write(black_box(answer), to).map(|native| native.to_bytes()))))
}

fn stream(head: Head<'_>, answer: &Answer, times: usize) -> Result<(), Failure> {
    each(head, times, |matched, to| {
        let Shape::Chat(wire) = matched.codec.shape() else { return };
        drop(black_box(matched.codec.write(black_box(answer), to).map(|native| wire.stream(&native, to))));
    })
}

fn each(head: Head<'_>, times: usize, run: impl Fn(&Matched<'_>, &Encoding<'_>)) -> Result<(), Failure> {
    let body = body(0);
    let matched = route(&head);
    let call = Call { head, params: matched.params.clone(), body: body.as_bytes() };
    let request = matched.codec.decode(&call).map_err(|bad| bad.message)?;
    for seed in 0..times {
        let to = Encoding { request: &request, chunk_chars: 20, now: 1_700_000_000, seed: seed as u64 };
        run(&matched, &to);
    }
    Ok(())
}

fn collapse(head: Head<'_>, times: usize) -> Result<(), Failure> {
    let matched = route(&head);
    let mut body = String::new();
    for n in 0..TEXT_PIECES {
        body.push_str(&format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m\",\
             \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}},\"finish_reason\":null}}]}}\n\n",
            piece(n)
        ));
    }
    body.push_str("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n");
    let answer = AnswerHead { framing: Framing::Sse, status: 200, content_type: "text/event-stream" };
    for _ in 0..times {
        black_box(relay::collapse(matched.codec, &answer, black_box(body.as_bytes()))?);
    }
    Ok(())
}
