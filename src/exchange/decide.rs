//! What becomes of a request: the branching, without the doing.

use crate::fixture::table::How;

/// What is to become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A fixture answers.
    Replay,
    /// The upstream answers.
    Relay,
    /// Nobody answers: 404.
    NotFound,
    /// Nobody answers, and that must not be: 503.
    Refuse,
}

/// What decides between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// Misses are forwarded (`--record` or `--proxy-only`), and the provider has an upstream.
    pub upstream: bool,
    /// `--strict`.
    pub strict: bool,
    /// `X-AIMock-Strict`; `Some(true)` also forbids the upstream.
    pub header: Option<bool>,
    /// The upstream is asked even where a recording fits (`--refresh`, `--record-repeats`, a stale recording).
    pub ask_anew: bool,
}

/// Decides what becomes of a request, from the mode and from how a fixture was found, if one was.
pub fn decide(mode: Mode, hit: Option<How>) -> Decision {
    let may_relay = mode.upstream && mode.header != Some(true);
    let recorded = matches!(hit, Some(How::Exact | How::Volatile | How::Drift));
    match hit {
        Some(_) if !(mode.ask_anew && recorded && may_relay) => Decision::Replay,
        _ if may_relay => Decision::Relay,
        _ if mode.header.unwrap_or(mode.strict) => Decision::Refuse,
        _ => Decision::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_and_every_find() {
        let plain = Mode::default();
        let upstream = Mode { upstream: true, ..plain };
        let strict = Mode { strict: true, ..plain };
        let both = Mode { strict: true, ..upstream };
        let asked_strict = |mode: Mode| Mode { header: Some(true), ..mode };
        let asked_lax = |mode: Mode| Mode { header: Some(false), ..mode };
        let anew = Mode { ask_anew: true, ..upstream };
        for (mode, hit, want) in [
            (plain, Some(How::Rule), Decision::Replay),
            (plain, None, Decision::NotFound),
            (strict, Some(How::Exact), Decision::Replay),
            (strict, None, Decision::Refuse),
            (upstream, Some(How::Volatile), Decision::Replay),
            (upstream, None, Decision::Relay),
            (both, None, Decision::Relay),
            (asked_strict(upstream), None, Decision::Refuse),
            (asked_strict(both), Some(How::Rule), Decision::Replay),
            (asked_lax(strict), None, Decision::NotFound),
            (asked_lax(both), None, Decision::Relay),
            (anew, Some(How::Exact), Decision::Relay),
            (anew, Some(How::Rule), Decision::Replay),
            (asked_strict(anew), Some(How::Exact), Decision::Replay),
            (Mode { ask_anew: true, ..plain }, Some(How::Exact), Decision::Replay),
        ] {
            assert_eq!(decide(mode, hit), want, "{mode:?} {hit:?}");
        }
    }
}
