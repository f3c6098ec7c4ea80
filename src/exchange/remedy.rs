//! What a person would do next about a miss: the flag or the key that would have it answered.

use crate::fixture::table::{Miss, Reason};

/// What a miss can be helped by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Means<'a> {
    /// The provider that was asked.
    pub provider: &'static str,
    /// Misses are forwarded.
    pub forwards: bool,
    /// The provider has an upstream.
    pub upstream: bool,
    /// `X-AIMock-Strict: true` came with it.
    pub forbidden: bool,
    /// It came with a credential of this name, which is no provider's.
    pub foreign: Option<&'a str>,
}

impl Means<'_> {
    /// The flags that have it recorded, beside `more`.
    fn record(&self, more: &str) -> String {
        let record = if self.forwards { "" } else { "--record " };
        let upstream = if self.upstream { String::new() } else { format!("--provider-{} URL", self.provider) };
        format!("{record}{more}{upstream}").trim_end().to_owned()
    }
}

/// The remedies of a miss, in words; the first is the likeliest.
pub(super) fn remedy(miss: &Miss, means: &Means<'_>) -> String {
    if let Some(name) = means.foreign.filter(|_| means.forwards) {
        return format!(
            "not forwarded: no provider that is known has a credential '{name}', so where it belongs would be a guess; \
             --upstream NAME=URL says where"
        );
    }
    if means.forbidden && means.forwards && means.upstream {
        return "ask without X-AIMock-Strict: true, which keeps it from the upstream".into();
    }
    let record = format!("record it ({})", means.record(""));
    let place = miss.nearest.as_ref().map_or_else(String::new, |nearest| nearest.origin.to_string());
    match (&miss.reason, &miss.nearest) {
        (Some(Reason::Drift(_)), _) => format!("{record}, or take the recorded answer all the same (--on-drift warn)"),
        (Some(Reason::Ambiguous(_)), _) => format!("{record}, or delete all of these recordings but one"),
        (Some(Reason::Exhausted(_)), _) => format!("record one more ({})", means.record("--record-repeats ")),
        (Some(Reason::Stale), _) => {
            format!("record it again ({}), or take it all the same (--on-stale warn)", means.record("--refresh "))
        }
        (None, Some(nearest)) if !nearest.recorded => {
            let keys: Vec<&str> = nearest.failures.iter().map(|failure| failure.key).collect();
            format!("change {} in {place}, or {record}", keys.join(", "))
        }
        (None, Some(_)) => record,
        (None, None) => format!("{record}, or write a fixture for it (-f PATH)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::table::Nearest;
    use crate::fixture::{KeyFailure, Origin};

    const OFFLINE: Means<'_> =
        Means { provider: "openai", forwards: false, upstream: false, forbidden: false, foreign: None };

    fn miss(recorded: bool, reason: Option<Reason>) -> Miss {
        let failures = ["model", "userMessage"].map(|key| KeyFailure { key, want: "a".into(), have: None });
        let origin = Origin { path: None, name: "a.json".into(), index: 3 };
        Miss { nearest: Some(Nearest { origin, failures: failures.into(), recorded }), reason }
    }

    #[test]
    fn each_names_the_flag_or_the_key() {
        for (miss, says) in [
            (Miss::default(), "record it (--record --provider-openai URL), or write a fixture for it (-f PATH)"),
            (miss(false, None), "change model, userMessage in a.json#3, or record it (--record --provider-openai URL)"),
            (miss(true, None), "record it (--record --provider-openai URL)"),
            (
                miss(true, Some(Reason::Drift(Vec::new()))),
                "record it (--record --provider-openai URL), or take the recorded answer all the same (--on-drift warn)",
            ),
            (
                miss(true, Some(Reason::Ambiguous(2))),
                "record it (--record --provider-openai URL), or delete all of these recordings but one",
            ),
            (
                miss(true, Some(Reason::Exhausted(1))),
                "record one more (--record --record-repeats --provider-openai URL)",
            ),
            (
                miss(true, Some(Reason::Stale)),
                "record it again (--record --refresh --provider-openai URL), or take it all the same (--on-stale warn)",
            ),
        ] {
            assert_eq!(remedy(&miss, &OFFLINE), says);
        }
    }

    #[test]
    fn what_is_there_already_is_not_asked_for() {
        let recording = Means { forwards: true, ..OFFLINE };
        assert_eq!(remedy(&miss(true, None), &recording), "record it (--provider-openai URL)");
        let configured = Means { upstream: true, ..OFFLINE };
        assert_eq!(remedy(&miss(true, None), &configured), "record it (--record)");
        let forbidden = Means { upstream: true, forbidden: true, ..recording };
        assert!(remedy(&miss(true, None), &forbidden).starts_with("ask without X-AIMock-Strict"));
        let foreign = Means { foreign: Some("xi-api-key"), ..recording };
        assert!(remedy(&miss(true, None), &foreign).contains("'xi-api-key'"));
    }
}
