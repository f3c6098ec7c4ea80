//! Faults in place of answers.

use super::{Decision, Exchange, Outcome};
use crate::body::{Body, Broken};
use crate::fixture::Asked;
use crate::fixture::table::Hit;
use crate::journal::{Source, Unanswered};
use crate::replay;
use crate::reply::ErrorAnswer;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};

/// An injected fault.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Drop,
    Malformed,
    Disconnect,
}

impl Fault {
    fn word(self) -> &'static str {
        match self {
            Fault::Drop => "drop",
            Fault::Malformed => "malformed",
            Fault::Disconnect => "disconnect",
        }
    }
}

impl Exchange<'_> {
    /// The fault that is due, if one is: what the request's headers say goes before the fixture, that before what was
    /// ordered for the test, and that before the configuration. One draw a kind, in this order, and the first that hits
    /// wins.
    pub(super) fn chaos(&self, asked: &Asked<'_>, hit: Option<&Hit>) -> Option<Fault> {
        let test = asked.test_id.unwrap_or("");
        let server = self.app.chaos_rates(test);
        let own = hit.and_then(|hit| self.app.table.borrow().fixture(hit.row).playback.chaos);
        let own = own.unwrap_or_default();
        let header = |name: &str| self.own_header(name)?.parse::<f64>().ok().filter(|rate| (0.0..=1.0).contains(rate));
        let rates = [
            (Fault::Drop, header("x-aimock-chaos-drop").or(own.drop).or(server.drop)),
            (Fault::Malformed, header("x-aimock-chaos-malformed").or(own.malformed).or(server.malformed)),
            (Fault::Disconnect, header("x-aimock-chaos-disconnect").or(own.disconnect).or(server.disconnect)),
        ];
        let rates = rates.map(|(fault, rate)| (fault, rate.unwrap_or(0.0)));
        if rates.iter().all(|(_, rate)| *rate == 0.0) {
            return None;
        }
        let mut draw = self.app.chaos_draws(asked.identity.get().volatile, test);
        rates.into_iter().find(|(_, rate)| draw() < *rate).map(|(fault, _)| fault)
    }

    /// Answers with a fault in place of what was decided.
    pub(super) fn fault(
        self,
        fault: Fault,
        asked: &Asked<'_>,
        instead_of: Decision,
        hit: Option<&Hit>,
    ) -> Result<Response<Body>, Broken> {
        let table = self.app.table.borrow();
        let (source, fixture) = match (instead_of, hit) {
            (Decision::Relay, _) => (Source::Proxy, None),
            (_, Some(hit)) => (Source::Fixture, Some((table.rows()[hit.row].origin(), hit.how))),
            (_, None) => (Source::Miss, None),
        };
        drop(table);
        let unanswered = Unanswered::MissOf(asked.identity.get().volatile);
        let outcome = Outcome { fixture, chaos: Some(fault.word()), unanswered, ..Outcome::of(source) };
        let response = match fault {
            Fault::Drop => {
                let error = ErrorAnswer {
                    status: 500,
                    message: "chaos: the request was dropped".into(),
                    code: Some("chaos_drop".into()),
                    ..ErrorAnswer::default()
                };
                replay::provider_error(self.matched.provider, Some(self.matched.codec), &error)
            }
            Fault::Malformed => {
                let mut response = Response::new(Body::whole("{\"chaos\": <<<malformed"));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Fault::Disconnect => {
                self.note(0, outcome);
                return Err(Broken);
            }
        };
        Ok(self.finish(response, outcome))
    }
}
