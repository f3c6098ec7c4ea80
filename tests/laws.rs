//! What is made of a request matches it: any request, at once and after its fixture was written and read again.

use aimock::config::OnDrift;
use aimock::fixture::table::{FixtureTable, How, Policy};
use aimock::fixture::{Asked, Fixture, Match, Origin, file};
use aimock::provider;
use aimock::redact::Redactor;
use aimock::reply::{Answer, Embeddings, RawAnswer, RawBody, Reply};
use aimock::request::canonical::{Identity, Ignore, Subject};
use aimock::request::{Kind, Message, Request, Role};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::json;

const STRICT: Policy = Policy { recording: false, reuse_volatile: false, on_drift: OnDrift::Fail, strict: true };

/// Text, some of it volatile or secret, or another's sign for that.
fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        3 => "[a-zé🌍 ]{0,5}",
        1 => Just("2025-01-15T10:30:00Z ".to_owned()),
        1 => Just("f81d4fae-7dec-11d0-a765-00a0c91e6bf6".to_owned()),
        1 => Just("sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEF".to_owned()),
        1 => Just("[REDACTED]".to_owned()),
        1 => any::<char>().prop_map(String::from),
    ];
    vec(word, 0..4).prop_map(|words| words.concat())
}

fn message() -> impl Strategy<Value = Message<'static>> {
    let role = proptest::sample::select(vec![Role::System, Role::User, Role::User, Role::Assistant, Role::Tool]);
    (role, text(), option::of("call_[a-z0-9]{1,4}")).prop_map(|(role, text, id)| {
        let tool_call_id = id.filter(|_| role == Role::Tool).map(Into::into);
        Message { tool_call_id, ..Message::new(role, text) }
    })
}

fn request() -> impl Strategy<Value = Request<'static>> {
    let kind = proptest::sample::select(vec![Kind::Chat, Kind::Chat, Kind::Embedding, Kind::Raw]);
    let model =
        prop_oneof!["[a-z0-9.:-]{0,8}", Just("gpt-4o-2024-08-06".to_owned()), Just("claude-20241022".to_owned())];
    (kind, model, vec(message(), 0..6), vec(text(), 0..3), vec("[a-z]{1,5}", 0..3)).prop_map(
        |(kind, model, messages, inputs, tools)| Request {
            model: model.into(),
            messages: if kind == Kind::Chat { messages } else { Vec::new() },
            inputs: if kind == Kind::Embedding { inputs.into_iter().map(Into::into).collect() } else { Vec::new() },
            tools: tools.into_iter().map(Into::into).collect(),
            ..Request::new(kind)
        },
    )
}

fn answer(kind: Kind) -> Answer {
    match kind {
        Kind::Chat => Reply::text("a").into(),
        Kind::Embedding => Embeddings { vectors: vec![vec![0.5]], ..Embeddings::default() }.into(),
        Kind::Raw => Answer::Raw(RawAnswer {
            status: 200,
            content_type: "application/json".into(),
            retry_after: None,
            body: RawBody::Json(json!({"a": 1})),
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_recording_answers_its_own_request(
        request in request(),
        context in option::of("[a-z]{1,5}"),
        test_id in option::of("[a-z]{1,5}"),
        keep_model_date: bool,
    ) {
        let (redactor, ignore) = (Redactor::default(), Ignore::default());
        let body = format!("{:?}", request.messages);
        let subject = Subject {
            wire: "w",
            model: &request.model,
            body: body.as_bytes(),
            content_type: "",
            codec: provider::verbatim(),
        };
        let identity = Identity::new(subject, &redactor, &ignore);
        let mut asked = Asked::new(&request, &identity, "POST", "/v1/x");
        (asked.context, asked.test_id) = (context.as_deref(), test_id.as_deref());
        let Some(matcher) = Match::from_request(&asked, keep_model_date) else { return Ok(()) };
        let mut fixture = Fixture::new(matcher, answer(request.kind));
        fixture.metadata.request_hash = Some(identity.get().request);
        fixture.metadata.volatile_hash = Some(identity.get().volatile);
        prop_assert_eq!(fixture.matcher.failures(&asked, &fixture.metadata), []);
        prop_assert!(fixture.matcher.matches(&asked, &fixture.metadata));

        let mut parsed = file::parse(file::write(&[&fixture]).as_bytes());
        prop_assert_eq!(&parsed.problems, &[]);
        prop_assert_eq!(&parsed.fixtures[..], &[fixture][..]);
        let mut table = FixtureTable::default();
        table.push(parsed.fixtures.remove(0), Origin { path: None, name: "t.json".into(), index: 0 });
        prop_assert_eq!(table.find(&asked, &STRICT).map(|hit| hit.how), Ok(How::Exact));
    }
}
