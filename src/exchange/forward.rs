//! A request's way to its upstream.

use super::{Exchange, Outcome};
use crate::body::Body;
use crate::clock;
use crate::frame::Framing;
use crate::record::Plan;
use crate::relay::{self, InFlight};
use crate::replay;
use crate::reply::ErrorAnswer;
use crate::upstream::{BaseUrl, Outgoing, Signing, UpstreamError, forward_headers, relay_headers, sign};
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use std::time::Instant;

const RECORD_ERROR: HeaderName = HeaderName::from_static("x-aimock-record-error");

impl Exchange<'_> {
    /// Sends the request upstream; the response relays the answer.
    pub(super) async fn relay(
        self,
        base: &BaseUrl,
        framing: Framing,
        plan: Option<Plan>,
        turn: Option<InFlight>,
    ) -> Response<Body> {
        let app = self.app;
        let mut headers = forward_headers(self.head.headers);
        let query = app.keys.apply(self.matched.provider, &mut headers, self.head.query);
        let target = base.target(self.head.path, &query);
        let method = Method::from_bytes(self.head.method.as_bytes()).unwrap_or(Method::POST);
        let mut outgoing = Outgoing { method, target, headers, body: self.body.clone() };
        self.sign(base, &mut outgoing);
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
        let status = answer.status;
        let headers = relay_headers(&answer.headers);
        let recording = plan.and_then(|plan| {
            relay::Recording::begin(app, plan, turn, self.codec, framing, status.as_u16(), &answer.headers)
        });
        let (body, record_error) = relay::body(answer.body, recording, &answer.headers).await;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            response.headers_mut().remove(CONTENT_LENGTH); // there is no body, whatever it says
        }
        if let Some(error) = record_error {
            let printable: String = error.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
            if let Ok(value) = HeaderValue::from_str(&printable) {
                response.headers_mut().insert(RECORD_ERROR, value);
            }
        }
        self.finish(response, Outcome::proxy())
    }

    /// A signature made for this host cannot hold at the upstream's.
    fn sign(&self, base: &BaseUrl, outgoing: &mut Outgoing) {
        let Some(service) = self.matched.provider.sigv4_service else { return };
        let now = clock::unix_ms().div_euclid(1000);
        if let Signing::Stale(why) = sign(self.app.aws.as_ref(), service, base, outgoing, now) {
            self.app.log.warn(format_args!(
                "the request is forwarded with a signature for another host, which {base} will refuse: {why}"
            ));
        }
    }

    fn unreachable(self, e: &UpstreamError) -> Response<Body> {
        let status = e.status();
        let code = if status == 504 { "upstream_timeout" } else { "upstream_unreachable" };
        let error = ErrorAnswer { status, message: e.to_string(), code: Some(code.into()), ..ErrorAnswer::default() };
        self.app.log.warn(e);
        let response = replay::provider_error(self.matched.provider, Some(self.matched.codec), &error);
        self.finish(response, Outcome { explanation: Some(e.to_string()), ..Outcome::proxy() })
    }
}
