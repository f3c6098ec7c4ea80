//! A request and its answer, as another tool kept them, to a fixture.

use super::inflate::inflate;
use crate::clock;
use crate::fixture::file::Severity;
use crate::fixture::{Asked, Fixture};
use crate::frame::Framing;
use crate::provider::{self, AnswerHead, Call, Codec, Collapsed, Head, Matched, route};
use crate::record::{Beside, Choices, Plan};
use crate::redact::Redactor;
use crate::relay::{collapse, framing_of};
use crate::request::Request;
use crate::request::canonical::{Hash, Identity, Ignore, Subject};
use hyper::HeaderMap;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// A request and its answer.
#[derive(Debug, Default)]
pub(super) struct Interaction {
    /// HTTP method, in capitals.
    pub(super) method: String,
    /// The whole URL.
    pub(super) url: String,
    pub(super) request_headers: HeaderMap,
    pub(super) request_body: Vec<u8>,
    pub(super) status: u16,
    pub(super) response_headers: HeaderMap,
    pub(super) response_body: Vec<u8>,
    /// When it was recorded, RFC 3339.
    pub(super) at: Option<String>,
}

/// Adds a header, unless HTTP forbids it.
pub(super) fn add_header(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        headers.append(name, value);
    }
}

impl Interaction {
    /// Host, path and query of the URL.
    fn target(&self) -> (&str, &str, &str) {
        let rest = self.url.split_once("://").map_or(&*self.url, |(_, rest)| rest);
        let rest = rest.split('#').next().unwrap_or(rest);
        let (host, target) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        (host, if path.is_empty() { "/" } else { path }, query)
    }

    fn head(&self) -> Head<'_> {
        let (_, path, query) = self.target();
        Head { method: &self.method, path, query, headers: &self.request_headers }
    }
}

/// What is said of an interaction.
pub(super) type Said = (Severity, String);

/// Makes fixtures of interactions.
pub(super) struct Converter<'r> {
    redactor: &'r Redactor,
    ignore: Ignore,
}

impl<'r> Converter<'r> {
    pub(super) fn new(redactor: &'r Redactor) -> Self {
        Converter { redactor, ignore: Ignore::default() }
    }

    /// The fixtures of one file's interactions, in order. Answers to the same request become a sequence.
    pub(super) fn fixtures(&self, interactions: Vec<Interaction>) -> (Vec<Fixture>, Vec<Said>) {
        // A file of all that a browser did holds more than calls of models: endpoints that no codec knows are kept
        // where their host has others that one does.
        let known = |i: &&Interaction| route(&i.head()).known;
        let hosts: HashSet<String> =
            interactions.iter().filter(known).map(|i| i.target().0.to_ascii_lowercase()).collect();
        let (mut fixtures, mut said) = (Vec::new(), Vec::new());
        for (n, interaction) in interactions.into_iter().enumerate() {
            let (host, path, _) = interaction.target();
            let name = format!("interaction {n}, {} {host}{path}", interaction.method);
            if !hosts.contains(&host.to_ascii_lowercase()) {
                said.push((Severity::Info, format!("{name}: skipped: no endpoint of a model")));
                continue;
            }
            match self.fixture(interaction) {
                Ok(fixture) => fixtures.push(fixture),
                Err(why) => said.push((Severity::Error, format!("{name}: {why}"))),
            }
        }
        number_repeats(&mut fixtures);
        (fixtures, said)
    }

    fn fixture(&self, mut interaction: Interaction) -> Result<Fixture, String> {
        if !(200..=599).contains(&interaction.status) {
            return Err(format!("no answer came (status {})", interaction.status));
        }
        decode_body(&mut interaction.request_headers, &mut interaction.request_body)
            .map_err(|why| format!("the request's body {why}"))?;
        decode_body(&mut interaction.response_headers, &mut interaction.response_body)
            .map_err(|why| format!("the answer's body {why}"))?;
        let head = interaction.head();
        let matched = route(&head);
        let call = Call { head, params: matched.params.clone(), body: &interaction.request_body };
        let request = matched.codec.decode(&call).map_err(|bad| format!("the request: {}", bad.message))?;
        let answer = answer(matched.codec, request.framing, &interaction)?;
        let mut fixture = self.recorded(&call, &matched, &request, answer)?;
        fixture.metadata.recorded_at = interaction.at.filter(|at| clock::parse_rfc3339(at).is_some());
        Ok(fixture)
    }

    /// What a recording of this request and answer is.
    fn recorded(
        &self,
        call: &Call<'_>,
        matched: &Matched<'_>,
        request: &Request<'_>,
        answer: Collapsed,
    ) -> Result<Fixture, String> {
        let path = provider::match_path(&call.head, request.kind, self.redactor);
        let wire = provider::identity_wire(matched.codec, call.head.method, &path);
        let subject = Subject {
            wire: &wire,
            model: &request.model,
            body: call.body,
            content_type: call.head.header("content-type").unwrap_or(""),
            codec: matched.codec,
        };
        let identity = Identity::new(subject, self.redactor, &self.ignore);
        let asked = Asked::new(request, &identity, call.head.method, &path);
        let choices = Choices { folder: Path::new(""), keep_model_date: false, next_index: None, instead: None };
        let plan = Plan::new(&asked, matched.provider, matched.codec, String::new(), &choices);
        plan.fixture(answer, Beside::default(), self.redactor).map_err(str::to_owned)
    }
}

/// The answer in its body, by the codec where it is a success.
fn answer(codec: &'static dyn Codec, asked: Framing, interaction: &Interaction) -> Result<Collapsed, String> {
    let content_type = interaction.response_headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let status = interaction.status;
    let (codec, framing) = if (200..300).contains(&status) {
        (codec, codec.framing(framing_of(content_type, asked)))
    } else {
        (provider::verbatim(), Framing::Whole)
    };
    collapse(codec, &AnswerHead { framing, status, content_type }, &interaction.response_body)
}

/// Undoes the compression of a body. Some tools keep the header of one that they have decompressed.
fn decode_body(headers: &mut HeaderMap, body: &mut Vec<u8>) -> Result<(), String> {
    let Some(encoding) = headers.remove(CONTENT_ENCODING) else { return Ok(()) };
    let encoding = encoding.to_str().unwrap_or("").trim().to_ascii_lowercase();
    if !body.is_empty() && !encoding.is_empty() && encoding != "identity" {
        *body = inflate(&encoding, body)?;
    }
    Ok(())
}

/// Tells answers to the same request apart: they come in order.
fn number_repeats(fixtures: &mut [Fixture]) {
    let mut counts: HashMap<Hash, u64> = HashMap::new();
    for hash in fixtures.iter().filter_map(|f| f.metadata.request_hash) {
        *counts.entry(hash).or_default() += 1;
    }
    counts.retain(|_, count| *count > 1);
    let mut next: HashMap<Hash, u64> = HashMap::new();
    for fixture in fixtures {
        if let Some(hash) = fixture.metadata.request_hash.filter(|hash| counts.contains_key(hash)) {
            let n = next.entry(hash).or_default();
            fixture.matcher.sequence_index = Some(*n);
            *n += 1;
        }
    }
}
