//! A request's way to its upstream.

use super::{Exchange, Outcome};
use crate::body::Body;
use crate::clock;
use crate::frame::Framing;
use crate::record::Plan;
use crate::relay;
use crate::replay;
use crate::reply::ErrorAnswer;
use crate::twins::Turn;
use crate::upstream::{
    BaseUrl, Outgoing, Signing, UpstreamError, drop_own_keys, foreign_credentials, forward_headers, relay_headers, sign,
};
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, Response, StatusCode};
use std::time::Instant;

const RECORD_ERROR: HeaderName = HeaderName::from_static("x-aimock-record-error");

/// Names of credentials that the log tells of when they are not forwarded.
const MAX_TOLD_NAMES: usize = 100;

/// The longest of them, in bytes.
const MAX_TOLD_NAME_BYTES: usize = 100;

impl Exchange<'_> {
    /// Sends the request upstream; the response relays the answer.
    pub(super) async fn relay(
        self,
        base: &BaseUrl,
        framing: Framing,
        plan: Option<Plan>,
        turn: Option<Turn>,
    ) -> Response<Body> {
        let app = self.app;
        let provider = self.matched.provider;
        let trusted = app.recording.borrow().trusts(provider, base);
        let mut headers = forward_headers(self.head.headers, provider);
        self.tell_of_withheld();
        let signs = trusted && app.aws.is_some() && provider.sigv4_service.is_some();
        drop_own_keys(&app.guard.keys, signs, &mut headers);
        let query = app.keys.apply(provider, trusted, &app.guard.keys, &mut headers, self.head.query);
        let target = base.target(self.head.path, &query);
        let method = Method::from_bytes(self.head.method.as_bytes()).unwrap_or(Method::POST);
        let mut outgoing = Outgoing { method, target, headers, body: self.body.clone() };
        self.sign(base, trusted, &mut outgoing);
        drop_own_keys(&app.guard.keys, false, &mut outgoing.headers); // of a signature that could not be made anew
        let sent = Instant::now();
        let answer = match app.client.send(base, outgoing).await {
            Ok(answer) => {
                app.metrics.borrow_mut().upstream(self.matched.provider.name, sent.elapsed());
                answer
            }
            Err(e) => {
                drop(turn);
                return self.unreachable(&e);
            }
        };
        let (status, mut headers) = (answer.status, relay_headers(&answer.headers));
        // It says nothing of the body there. <https://www.rfc-editor.org/rfc/rfc9112#section-6.3>
        let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if bodiless || answer.headers.contains_key(TRANSFER_ENCODING) {
            headers.remove(CONTENT_LENGTH);
        }
        let recording = plan.and_then(|plan| {
            relay::Recording::begin(app, plan, turn, self.codec, framing, status.as_u16(), &answer.headers)
        });
        let (body, record_error) = relay::body(answer.body, recording, &headers).await;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if let Some(error) = record_error {
            let printable: String = error.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
            if let Ok(value) = HeaderValue::from_str(&printable) {
                response.headers_mut().insert(RECORD_ERROR, value);
            }
        }
        self.finish(response, Outcome::proxy())
    }

    /// A signature made for this host cannot hold at the upstream's.
    fn sign(&self, base: &BaseUrl, trusted: bool, outgoing: &mut Outgoing) {
        let Some(service) = self.matched.provider.sigv4_service else { return };
        let now = clock::unix_ms().div_euclid(1000);
        let keys = match &self.app.aws {
            Some(_) if !trusted => Err("an upstream that was set at run time gets no key from the environment"),
            keys => keys.as_ref().ok_or("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set"),
        };
        if let Signing::Stale(why) = sign(keys, service, base, outgoing, now) {
            self.warn(format_args!(
                "the request is forwarded with a signature for another host, which {base} will refuse: {why}"
            ));
        }
    }

    /// Credentials of others do not go on; the log tells of each name once.
    fn tell_of_withheld(&self) {
        let provider = self.matched.provider;
        let mut told = self.app.withheld.borrow_mut();
        for name in foreign_credentials(&self.head, provider).filter(|name| name.len() <= MAX_TOLD_NAME_BYTES) {
            if told.len() < MAX_TOLD_NAMES && told.insert(name.to_owned()) {
                self.app.log.warn(format_args!(
                    "'{name}' was not forwarded: it reads as a credential, and {} takes none of that name; --upstream \
                     NAME=URL names a server that does",
                    provider.title
                ));
            }
        }
    }

    fn unreachable(self, e: &UpstreamError) -> Response<Body> {
        let status = e.status();
        let code = if status == 504 { "upstream_timeout" } else { "upstream_unreachable" };
        let error = ErrorAnswer { status, message: e.to_string(), code: Some(code.into()), ..ErrorAnswer::default() };
        self.warn(e);
        let response = replay::provider_error(self.matched.provider, Some(self.matched.codec), &error);
        self.finish(response, Outcome { explanation: Some(e.to_string()), ..Outcome::proxy() })
    }
}
