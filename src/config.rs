//! What a server is to do: the command line and the library both build a [`Config`]. Plain data, no side effects.

use crate::credential::ApiKeys;
use crate::limits::Limits;
use crate::log::Level;
use crate::provider::Provider;
use crate::upstream::BaseUrl;
use std::path::PathBuf;

/// Everything a server needs to know. [`Config::default`] is the command line without flags.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Files and folders of fixtures, in the order they are layered. Recordings go below the first.
    /// Default `./fixtures`.
    pub fixtures: Vec<PathBuf>,
    /// Someone named them: under [`Config::strict`], without [`Config::record`], one that does not exist, or that none of
    /// them holds a fixture, ends the start. Default off.
    pub fixtures_given: bool,
    /// Address or host name to listen on. Default `127.0.0.1`.
    pub host: String,
    /// Port to listen on; 0 takes a free one. Default 4010.
    pub port: u16,
    /// Keys of which every request must have one, but for health and readiness. Default none: nobody needs one.
    pub api_keys: ApiKeys,
    /// Origins (`https://app.example.com`) whose pages may use the control API, and any endpoint while requests can
    /// reach an upstream, beside those of loopback. Default none.
    pub allow_origins: Vec<String>,
    /// Names under which those may be asked, beside loopback and `host`. Default none.
    pub allow_hosts: Vec<String>,
    /// Ask the upstream on a miss and save its answer. Default off.
    pub record: bool,
    /// Ask the upstream on a miss and save nothing. Default off.
    pub proxy_only: bool,
    /// Answer 503 where no fixture fits and no upstream is known; refuse to start with broken fixtures. Default off.
    pub strict: bool,
    /// Where each provider is asked. Default none.
    pub upstreams: Upstreams,
    /// Milliseconds between the frames of a replayed stream, and before a whole answer. Default 0.
    pub latency_ms: u64,
    /// Characters of text in one frame of a replayed stream, at least 1. Default 20.
    pub chunk_chars: usize,
    /// How fast recorded timings are replayed: 1 as they were, 2 twice as fast; above 0. Default `None`: without
    /// waiting.
    pub replay_speed: Option<f64>,
    /// Load fixtures again when their files change. Default off.
    pub watch: bool,
    /// Refuse to start with broken fixtures. Default off.
    pub validate_on_load: bool,
    /// How much is logged. Default info.
    pub log_level: Level,
    /// Serve `GET /metrics`. Default off.
    pub metrics: bool,
    /// Requests kept in the journal, the oldest go first; 0 keeps none. Default 1000.
    pub journal_max: usize,
    /// What a recording of the same question in other circumstances does; [`Config::drift`] resolves the default,
    /// `None`.
    pub on_drift: Option<OnDrift>,
    /// In record mode, answer from a recording that differs in volatile text alone. Default off.
    pub reuse_volatile: bool,
    /// JSON pointers into a request's body that its hashes leave out; `*` stands for any index or key. Default none.
    pub ignore: Vec<String>,
    /// Save error answers of an upstream too. Default off.
    pub record_errors: bool,
    /// Keep each recorded answer as it was on the wire, too, with the time of each read. Default off.
    pub record_wire: bool,
    /// Keep the time of each frame of a recorded stream. Default off.
    pub record_timings: bool,
    /// Keep the date at the end of a recorded model's name. Default off.
    pub record_full_model_version: bool,
    /// Record each answer to an identical request, as a sequence. Default off.
    pub record_repeats: bool,
    /// Ask the upstream even where a recording fits, and rewrite it in place. Default off.
    pub refresh: bool,
    /// Age in days from which a recording is stale. Default `None`: none is.
    pub max_age_days: Option<u64>,
    /// What a stale recording does. Default warn.
    pub on_stale: OnStale,
    /// Regular expressions (`regex-lite` syntax) of secrets, beside the known shapes. Default none.
    pub redact: Vec<String>,
    /// Write secrets as they are. Default off.
    pub no_redact: bool,
    /// Milliseconds until an upstream's response begins, at least 1. Default 30 000.
    pub upstream_timeout_ms: u64,
    /// Milliseconds between two chunks of an upstream's response, at least 1. Default 30 000.
    pub body_timeout_ms: u64,
    /// Bytes of a request's body, at least 1; more is answered with 413. Default 64 MiB.
    pub max_body_bytes: usize,
    /// Bytes kept of an answer that is being recorded, at least 1; more is relayed and not recorded. Default 64 MiB.
    pub max_record_bytes: usize,
    /// File that the report is written to at the end, as JSON. Default none.
    pub report: Option<PathBuf>,
    /// Failures on purpose. Default none.
    pub chaos: Chaos,
    /// What clients may take of time, memory and places. Of these the command line sets how many connections there are.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            fixtures: vec![PathBuf::from("./fixtures")],
            fixtures_given: false,
            host: "127.0.0.1".into(),
            port: 4010,
            api_keys: ApiKeys::default(),
            allow_origins: Vec::new(),
            allow_hosts: Vec::new(),
            record: false,
            proxy_only: false,
            strict: false,
            upstreams: Upstreams::default(),
            latency_ms: 0,
            chunk_chars: 20,
            replay_speed: None,
            watch: false,
            validate_on_load: false,
            log_level: Level::default(),
            metrics: false,
            journal_max: 1000,
            on_drift: None,
            reuse_volatile: false,
            ignore: Vec::new(),
            record_errors: false,
            record_wire: false,
            record_timings: false,
            record_full_model_version: false,
            record_repeats: false,
            refresh: false,
            max_age_days: None,
            on_stale: OnStale::default(),
            redact: Vec::new(),
            no_redact: false,
            upstream_timeout_ms: 30_000,
            body_timeout_ms: 30_000,
            max_body_bytes: 64 * 1024 * 1024,
            max_record_bytes: 64 * 1024 * 1024,
            report: None,
            chaos: Chaos::default(),
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// What drift does to a request that is strict or not: what was asked for, else fail where strict, else warn.
    pub fn drift(&self, strict: bool) -> OnDrift {
        self.on_drift.unwrap_or(if strict { OnDrift::Fail } else { OnDrift::Warn })
    }
}

/// What a recording of the same question in another system prompt, tool set, history or parameters does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDrift {
    /// It answers, with a line in the log.
    Warn,
    /// It does not answer.
    Fail,
    /// It answers.
    Ignore,
}

/// What a recording older than [`Config::max_age_days`] does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStale {
    /// It answers, with a line in the log.
    #[default]
    Warn,
    /// It does not answer.
    Fail,
}

/// Failures on purpose: each rate is a probability from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Chaos {
    /// Answer with status 500 instead.
    pub drop: f64,
    /// Answer with a body that is not JSON.
    pub malformed: f64,
    /// Close the connection in the middle of the answer.
    pub disconnect: f64,
    /// Makes the same failures fall on the same requests in every run.
    pub seed: Option<u64>,
}

/// The base URL of each provider that may be asked.
#[derive(Clone, Debug, Default)]
pub struct Upstreams(Vec<(&'static Provider, BaseUrl)>);

impl Upstreams {
    /// Where this provider is asked.
    pub fn get(&self, provider: &Provider) -> Option<&BaseUrl> {
        self.0.iter().find(|(p, _)| p.name == provider.name).map(|(_, url)| url)
    }

    /// Sets where this provider is asked, in place of what was set before.
    pub fn set(&mut self, provider: &'static Provider, url: BaseUrl) {
        match self.0.iter_mut().find(|(p, _)| p.name == provider.name) {
            Some((_, old)) => *old = url,
            None => self.0.push((provider, url)),
        }
    }

    /// Whether no provider may be asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Provider, &BaseUrl)> {
        self.0.iter().map(|(provider, url)| (*provider, url))
    }
}

impl PartialEq for Upstreams {
    fn eq(&self, other: &Self) -> bool {
        let named = |(provider, url): &(&'static Provider, BaseUrl)| (provider.name, url.clone());
        self.0.iter().map(named).eq(other.0.iter().map(named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::PROVIDERS;

    #[test]
    fn the_last_upstream_of_a_provider_holds() {
        let provider = PROVIDERS[0];
        let url = |text| BaseUrl::parse(text).unwrap();
        let mut upstreams = Upstreams::default();
        assert!(upstreams.is_empty() && upstreams.get(provider).is_none());
        upstreams.set(provider, url("http://a"));
        upstreams.set(provider, url("http://b"));
        assert_eq!(upstreams.get(provider), Some(&url("http://b")));
        assert_eq!(upstreams.iter().count(), 1);
        let mut other = Upstreams::default();
        other.set(provider, url("http://b"));
        assert_eq!(upstreams, other);
    }

    #[test]
    fn drift_fails_where_strict_unless_told_otherwise() {
        let mut config = Config::default();
        assert_eq!((config.drift(false), config.drift(true)), (OnDrift::Warn, OnDrift::Fail));
        config.on_drift = Some(OnDrift::Ignore);
        assert_eq!((config.drift(false), config.drift(true)), (OnDrift::Ignore, OnDrift::Ignore));
    }
}
