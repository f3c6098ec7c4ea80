//! The round trip law, over every chat route of the table: what a client puts together of an answer is the answer.

use super::{Outcome, carried, collapse, round_trip};
use crate::frame::{Decoder, Frames, Framing, Status};
use crate::provider::{AnswerHead, Call, Codec, Counts, Encoding, Head, PROVIDERS, Progress, finish_in, finish_out};
use crate::reply::{Answer, Part, Reply, ToolCall};
use crate::request::{Kind, Request};
use hyper::HeaderMap;
use memchr::memmem;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// A request that every wire can read; whole where the body says so.
fn ask(stream: bool) -> String {
    format!(
        r#"{{"model":"m","max_tokens":9,"stream":{stream},"messages":[{{"role":"user","content":[{{"type":"text","text":"hi"}}]}}],
        "input":"hi","contents":[{{"parts":[{{"text":"hi"}}]}}],"message":"hi","prompt":"hi"}}"#
    )
}

/// Calls this for every chat route, asked for a stream and not.
fn every_chat(mut then: impl FnMut(&str, &dyn Codec, &Request<'_>)) {
    let headers = HeaderMap::new();
    let routes = PROVIDERS.iter().flat_map(|p| p.routes).filter(|r| r.codec.kind() == Kind::Chat);
    for (route, stream) in routes.flat_map(|route| [(route, true), (route, false)]) {
        let names = route.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        let body = ask(stream);
        let call = Call {
            head: Head { method: route.method, path: route.path, query: "", headers: &headers },
            params: names.map(|name| (name, Cow::Borrowed("m"))).collect(),
            body: body.as_bytes(),
        };
        let request = route.codec.decode(&call).expect("a request that every wire can read");
        then(route.path, route.codec, &request);
    }
}

// ------------------------------------------------------------------------------------------------ any turn

fn text() -> impl Strategy<Value = String> {
    let any_character = prop_oneof![
        8 => any::<char>(),
        4 => proptest::char::range('a', 'e'),
        1 => proptest::sample::select(vec!['\n', '\r', '\u{0}', '"', '\\', '\u{2028}', '\u{feff}', '🌍', '\u{301}']),
    ];
    vec(any_character, 0..12).prop_map(String::from_iter)
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![vec(inner.clone(), 0..4).prop_map(Value::from), vec((text(), inner), 0..4).prop_map(object)]
    })
}

fn object(members: Vec<(String, Value)>) -> Value {
    Value::Object(members.into_iter().collect::<Map<_, _>>())
}

fn signature() -> impl Strategy<Value = Option<String>> {
    option::of("[a-zA-Z0-9+/]{4,12}")
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        3 => (text(), signature()).prop_map(|(text, signature)| Part::Text { text, signature }),
        2 => (text(), signature()).prop_map(|(text, signature)| Part::Reasoning { text, signature }),
        1 => "[a-z]{1,9}[.]".prop_map(Part::RedactedReasoning), // text that is no base64: one wire has base64 only
        3 => ("[a-z_]{1,8}", vec((text(), json()), 0..4), signature()).prop_map(|(name, arguments, signature)| {
            let arguments = object(arguments).to_string();
            Part::ToolCall(ToolCall { id: None, name, arguments, signature, custom: false })
        }),
    ]
}

fn turn() -> impl Strategy<Value = Reply> {
    let refusal = prop_oneof![5 => Just(None), 1 => text().prop_map(|t| Some(t).filter(|t| !t.is_empty()))];
    let counts = (0u64..100_000, 0u64..100_000);
    (vec(part(), 0..9), 0usize..3, refusal, "[a-z]{1,4}-[0-9a-z]{1,9}", "[a-z0-9.-]{1,12}", counts).prop_map(
        |(mut parts, why, refusal, id, model, counts)| {
            let mut calls = 0;
            for part in &mut parts {
                if let Part::ToolCall(call) = part {
                    calls += 1;
                    call.id = Some(format!("call_{calls}"));
                }
            }
            let finish = [if calls > 0 { "tool_calls" } else { "stop" }, "length", "content_filter"][why];
            let usage = [("input".to_owned(), counts.0.into()), ("output".to_owned(), counts.1.into())];
            let usage = Some(usage.into_iter().collect());
            Reply {
                parts,
                finish: Some(finish.into()),
                refusal,
                id: Some(id),
                model: Some(model),
                usage,
                ..Reply::default()
            }
        },
    )
}

// ------------------------------------------------------------------------------------------------ what comes back

/// The turn with its token counts in the wire's names, and no refusal that the wire would have to send as text.
fn for_wire(turn: &Reply, codec: &dyn Codec) -> Reply {
    let count = |name: &str| turn.usage.as_ref().and_then(|u| u[name].as_u64()).unwrap_or(0);
    // With the details that a wire may require.
    let (input, output) = (count("input"), count("output"));
    let counts = Counts { input, output, cached: Some(0), cache_write: None, reasoning: Some(0) };
    Reply {
        usage: codec.usage_shape().map(|shape| shape.write(&counts)),
        refusal: turn.refusal.clone().filter(|_| codec.carries().refusal),
        ..turn.clone()
    }
}

/// What of a turn can be compared: pieces of one text may come back as one, and times are the answer's own.
fn comparable(mut turn: Reply, codec: &dyn Codec) -> Reply {
    let mut parts: Vec<Part> = Vec::new();
    for part in turn.parts.drain(..) {
        match (parts.last_mut(), part) {
            (Some(Part::Text { text, signature: end @ None }), Part::Text { text: more, signature })
            | (Some(Part::Reasoning { text, signature: end @ None }), Part::Reasoning { text: more, signature }) => {
                text.push_str(&more);
                *end = signature;
            }
            (_, part) => parts.push(part),
        }
    }
    let said = |word: String| match codec.finish_words() {
        Some(words) => finish_in(words, &finish_out(words, &word)),
        None => word,
    };
    Reply { parts, finish: turn.finish.map(said), created: None, ..turn }
}

fn whole(outcome: Outcome, codec: &dyn Codec) -> Result<Reply, TestCaseError> {
    match outcome {
        Outcome::Whole(Answer::Turn(turn)) => Ok(comparable(turn, codec)),
        other => Err(TestCaseError::fail(format!("not a whole turn: {other:?}"))),
    }
}

fn comes_back(path: &str, codec: &dyn Codec, request: &Request<'_>, turn: &Reply) -> Result<(), TestCaseError> {
    let turn = for_wire(turn, codec);
    let carries = codec.carries();
    let mut expected = comparable(carried(&turn, &carries), codec);
    let (at_once, streamed) = round_trip(codec, &turn.clone().into(), request);
    let mut got = vec![("whole", whole(at_once, codec)?)];
    if request.streamed() {
        got.push(("streamed", whole(streamed, codec)?));
    }
    for (how, mut got) in got {
        if !carries.tool_calls && turn.tool_calls().next().is_some() {
            (got.finish, expected.finish) = (None, None); // it stopped for what it could not say
        }
        prop_assert_eq!(&got, &expected, "{} {}", path, how);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_turn_comes_back_from_every_wire(turn in turn()) {
        let mut outcome = Ok(());
        every_chat(|path, codec, request| {
            if outcome.is_ok() {
                outcome = comes_back(path, codec, request, &turn);
            }
        });
        outcome?;
    }

    #[test]
    fn a_terminal_frame_has_its_mark_and_without_it_the_stream_was_cut(turn in turn()) {
        every_chat(|path, codec, request| {
            if !request.streamed() {
                return;
            }
            let to = Encoding { request, chunk_chars: 4, now: 0, seed: 1 };
            let frames = codec.encode_stream(&turn.clone().into(), &to);
            let progress = progress(codec, request.framing, &frames);
            let first = |wanted| progress.iter().position(|p| *p == wanted);
            if let Some(done) = first(Progress::Done) {
                let frame = frames.iter().nth(done).expect("it is one of them");
                assert!(codec.end_markers().iter().any(|m| memmem::find(frame, m).is_some()), "{path}: frame {done}");
            }
            let end = first(Progress::Finished).or(first(Progress::Done)).expect("it ends");
            if end > 0 {
                let outcome = collapse(codec, request.framing, [&frames.bytes[..frames.ends[end - 1]]]);
                assert!(matches!(outcome, Outcome::Cut | Outcome::Unframed), "{path}: {outcome:?} after {end} frames");
            }
        });
    }
}

/// How far each frame brings the answer.
fn progress(codec: &dyn Codec, framing: Framing, frames: &Frames) -> Vec<Progress> {
    let mut decoder = Decoder::new(framing);
    let mut collapser = codec.collapser(&AnswerHead { framing, status: 200, content_type: framing.content_type() });
    let mut progress = Progress::More;
    let mut after = |mut rest: &[u8]| {
        while let Ok(Status::Frame { frame, used }) = decoder.next(rest) {
            progress = collapser.push(&frame).expect("a frame of its own");
            rest = &rest[used..];
        }
        progress
    };
    frames.iter().map(&mut after).collect()
}

#[test]
fn every_wire_is_asked() {
    let (mut streamed, mut whole) = (Vec::new(), Vec::new());
    every_chat(
        |_, codec, request| if request.streamed() { streamed.push(codec.wire()) } else { whole.push(codec.wire()) },
    );
    for wires in [&mut streamed, &mut whole] {
        wires.sort_unstable();
        wires.dedup();
    }
    assert_eq!(streamed, whole);
    assert!(streamed.len() >= 9, "{streamed:?}");
}

/// The turns that tests by chance may miss.
#[test]
fn turns_of_every_shape_come_back_from_every_wire() {
    let call = |n: usize| {
        Part::ToolCall(ToolCall {
            id: Some(format!("call_{n}")),
            name: format!("tool_{n}"),
            arguments: r#"{"a":{"b":[1,{"c":"é"}]}}"#.into(),
            ..ToolCall::default()
        })
    };
    let thought = |text: &str| Part::Reasoning { text: text.into(), signature: Some("c2ln".into()) };
    for parts in [
        vec![],
        vec![Part::text("hi")],
        vec![call(1)],
        (1..=5).map(call).collect(),
        vec![Part::text("so:"), call(1)],
        vec![call(1), Part::text("after")],
        vec![thought("hm"), Part::text("hi")],
        vec![thought("hm"), call(1), thought("so"), call(2)],
        vec![thought("only a thought")],
        vec![thought("")],
        vec![Part::RedactedReasoning("opaque.".into()), Part::text("hi")],
        vec![Part::text("a\u{0}\r\n\u{2028}data: [DONE]\n\nb")],
    ] {
        let finish = if parts.iter().any(|p| matches!(p, Part::ToolCall(_))) { "tool_calls" } else { "stop" };
        let turn = Reply {
            parts,
            finish: Some(finish.into()),
            id: Some("id-1".into()),
            model: Some("m-1".into()),
            ..Reply::default()
        };
        every_chat(|path, codec, request| comes_back(path, codec, request, &turn).expect("it comes back"));
    }
}
