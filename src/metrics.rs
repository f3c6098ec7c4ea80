//! Counters and histograms for Prometheus, in its text format.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>
//!
//! Every label's values come from the program (providers, kinds of endpoint, sources) or are an HTTP status, so that no
//! client can make the number of series grow. Nothing but the process's end resets a counter.

use crate::journal::{Entry, Source};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};
use std::time::Duration;

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the buckets, in seconds.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What is counted.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// By provider, endpoint, source and status.
    requests: BTreeMap<(&'static str, &'static str, Source, u16), u64>,
    /// By provider, endpoint and source.
    durations: BTreeMap<(&'static str, &'static str, Source), Histogram>,
    /// By provider.
    upstreams: BTreeMap<&'static str, Histogram>,
    /// By fault and source.
    chaos: BTreeMap<(&'static str, Source), u64>,
    /// Recordings written.
    pub recorded: u64,
    /// Recordings that could not be written.
    pub record_errors: u64,
}

/// What is as it is at the moment.
#[derive(Clone, Copy, Debug)]
pub struct Gauges {
    /// Fixtures in memory.
    pub fixtures: usize,
    /// Requests whose answers' heads are not ready yet.
    pub active: usize,
}

#[derive(Clone, Debug, Default)]
struct Histogram {
    /// Observations in each bucket alone; what is beyond the last is in `count` only.
    buckets: [u64; BUCKETS.len()],
    sum: f64,
    count: u64,
}

impl Histogram {
    fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            self.buckets[bucket] += 1;
        }
        self.sum += seconds;
        self.count += 1;
    }
}

impl Metrics {
    /// Counts a request.
    pub fn note(&mut self, entry: &Entry) {
        let answered = &entry.answered;
        let of = (entry.provider, entry.endpoint, answered.source);
        *self.requests.entry((of.0, of.1, of.2, answered.status)).or_default() += 1;
        self.durations.entry(of).or_default().observe(answered.duration);
        if let Some(fault) = answered.chaos {
            *self.chaos.entry((fault, answered.source)).or_default() += 1;
        }
    }

    /// Counts an upstream's response, at the time its head came.
    pub fn upstream(&mut self, provider: &'static str, waited: Duration) {
        self.upstreams.entry(provider).or_default().observe(waited);
    }

    /// All of it as text.
    pub fn text(&self, now: Gauges) -> String {
        let mut out = String::new();
        self.write(&mut out, now).expect("a String takes all text");
        out
    }

    fn write(&self, out: &mut String, now: Gauges) -> fmt::Result {
        family(out, "aimock_requests_total", "counter", "Requests answered.")?;
        for ((provider, endpoint, source, status), n) in &self.requests {
            let status = if *status == 0 { "destroyed".to_owned() } else { status.to_string() };
            let labels = [("provider", *provider), ("endpoint", endpoint), ("source", source.word())];
            sample(out, "aimock_requests_total", &[&labels[..], &[("status", &status)]].concat(), n)?;
        }
        let name = "aimock_request_duration_seconds";
        family(out, name, "histogram", "Time from a request to the head of its answer.")?;
        for ((provider, endpoint, source), histogram) in &self.durations {
            let labels = [("provider", *provider), ("endpoint", endpoint), ("source", source.word())];
            histogram.write(out, name, &labels)?;
        }
        let name = "aimock_upstream_duration_seconds";
        family(out, name, "histogram", "Time from a request to an upstream to the head of its answer.")?;
        for (provider, histogram) in &self.upstreams {
            histogram.write(out, name, &[("provider", *provider)])?;
        }
        family(out, "aimock_chaos_triggered_total", "counter", "Faults injected.")?;
        for ((action, source), n) in &self.chaos {
            sample(out, "aimock_chaos_triggered_total", &[("action", *action), ("source", source.word())], n)?;
        }
        for (name, kind, help, value) in [
            ("aimock_fixtures_recorded_total", "counter", "Recordings written.", self.recorded),
            ("aimock_record_errors_total", "counter", "Recordings that could not be written.", self.record_errors),
            ("aimock_fixtures_loaded", "gauge", "Fixtures in memory.", now.fixtures as u64),
            ("aimock_requests_active", "gauge", "Requests whose answers have not begun.", now.active as u64),
        ] {
            family(out, name, kind, help)?;
            sample(out, name, &[], value)?;
        }
        Ok(())
    }
}

impl Histogram {
    fn write(&self, out: &mut String, name: &str, labels: &[(&str, &str)]) -> fmt::Result {
        let mut below = 0;
        for (bound, n) in BUCKETS.iter().zip(self.buckets) {
            below += n;
            let bound = bound.to_string();
            sample(out, &format!("{name}_bucket"), &[labels, &[("le", &bound)]].concat(), below)?;
        }
        sample(out, &format!("{name}_bucket"), &[labels, &[("le", "+Inf")]].concat(), self.count)?;
        sample(out, &format!("{name}_sum"), labels, self.sum)?;
        sample(out, &format!("{name}_count"), labels, self.count)
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: impl Display) -> fmt::Result {
    out.push_str(name);
    for (i, (label, text)) in labels.iter().enumerate() {
        let before = if i == 0 { '{' } else { ',' };
        write!(out, "{before}{label}=\"{}\"", escaped(text))?;
    }
    writeln!(out, "{} {value}", if labels.is_empty() { "" } else { "}" })
}

/// A label's value between its quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let mut metrics = Metrics::default();
        for ms in [1, 5, 6, 700, 60_000] {
            metrics.upstream("openai", Duration::from_millis(ms));
        }
        let text = metrics.text(Gauges { fixtures: 3, active: 1 });
        let value = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {text}"));
            line.rsplit_once(' ').unwrap().1.to_owned()
        };
        let bucket =
            |le: &str| value(&format!("aimock_upstream_duration_seconds_bucket{{provider=\"openai\",le=\"{le}\"}}"));
        assert_eq!(["0.005", "0.01", "0.5", "1", "10", "+Inf"].map(bucket), ["2", "3", "3", "4", "4", "5"]);
        assert_eq!(value("aimock_upstream_duration_seconds_count{provider=\"openai\"}"), "5");
        assert!(value("aimock_upstream_duration_seconds_sum").starts_with("60.71"));
        assert_eq!((value("aimock_fixtures_loaded"), value("aimock_requests_active")), ("3".into(), "1".into()));
    }

    #[test]
    fn every_line_is_a_sample_of_a_described_family() {
        let mut metrics = Metrics::default();
        metrics.upstream("a\\b\"c\nd", Duration::ZERO);
        let text = metrics.text(Gauges { fixtures: 0, active: 0 });
        assert!(text.contains(r#"{provider="a\\b\"c\nd",le="#), "{text}");
        let mut family = "";
        for line in text.lines() {
            match line.strip_prefix("# HELP ").or(line.strip_prefix("# TYPE ")) {
                Some(described) => family = described.split(' ').next().unwrap(),
                None => assert!(line.starts_with(family) && line.rsplit_once(' ').is_some(), "{line}"),
            }
        }
        assert!(text.ends_with('\n'));
    }
}
