//! The flags: one row each, with its name, help and what it sets, a table a command. Parsing and `--help` are made from
//! these rows and from the table of providers.

use super::help::Topic;
use super::{CheckArgs, Command, ConvertDraft, Draft, HealthDraft, HelpDraft, values};
use crate::error::Error;
use crate::provider::{PROVIDERS, Provider};
use crate::upstream::BaseUrl;
use std::ffi::OsString;
use std::path::PathBuf;

/// What a command's arguments are read into.
pub(super) trait Arguments: Sized + 'static {
    /// Its flags.
    const FLAGS: &'static [Flag<Self>];

    /// Its page of the help.
    const TOPIC: Topic;

    /// It takes the providers' flags too.
    const UPSTREAMS: bool = false;

    /// Takes what is no flag.
    fn operand(&mut self, value: OsString) -> Result<(), Error>;

    /// Takes a provider's flag.
    fn upstream(&mut self, _provider: &'static Provider, _url: BaseUrl) {}
}

/// One flag.
#[derive(Debug)]
pub(super) struct Flag<D> {
    /// Long name, without its dashes.
    pub(super) name: &'static str,
    /// Short name.
    pub(super) short: Option<char>,
    /// Another long name that means the same, for people who come from another tool.
    pub(super) alias: Option<&'static str>,
    /// Where it stands in the help.
    pub(super) group: Group,
    /// What it does, and its default.
    pub(super) help: &'static str,
    /// What it takes and what it sets.
    pub(super) takes: Takes<D>,
    /// It may be given more than once.
    pub(super) repeatable: bool,
}

/// What a flag takes, with the name of its value, and what it sets.
#[derive(Debug)]
pub(super) enum Takes<D> {
    /// No value.
    Nothing(fn(&mut D)),
    /// A text.
    Text(&'static str, SetText<D>),
    /// A text that may hold a secret: no message quotes it.
    Secret(&'static str, SetText<D>),
    /// A file or folder.
    Path(&'static str, SetPath<D>),
    /// No value; another command is run in place of the server.
    Instead(fn() -> Command),
}

type SetText<D> = fn(&mut D, &str) -> Result<(), String>;
type SetPath<D> = fn(&mut D, PathBuf) -> Result<(), String>;

/// A heading of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Server,
    Fixtures,
    Recording,
    Upstreams,
    Trust,
    Pacing,
    Output,
    /// The flags of a command that has few.
    Options,
}

impl Group {
    /// In the order of the help.
    pub(super) const ALL: [Group; 8] = [
        Group::Server,
        Group::Fixtures,
        Group::Recording,
        Group::Upstreams,
        Group::Trust,
        Group::Pacing,
        Group::Output,
        Group::Options,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Group::Server => "Server",
            Group::Fixtures => "Fixtures",
            Group::Recording => "Recording",
            Group::Upstreams => "Upstreams",
            Group::Trust => "Matching and redaction",
            Group::Pacing => "Pacing and failures",
            Group::Output => "Output",
            Group::Options => "Options",
        }
    }
}

/// A flag that a name stands for.
#[derive(Debug)]
pub(super) enum Found<D: 'static> {
    Row(&'static Flag<D>),
    Upstream(&'static Provider),
}

impl<D> Found<D> {
    /// The name that it is known by, whichever it was given.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Found::Row(flag) => flag.name,
            Found::Upstream(provider) => provider.name,
        }
    }

    pub(super) fn repeatable(&self) -> bool {
        matches!(self, Found::Row(flag) if flag.repeatable)
    }
}

/// The flag of this long name.
pub(super) fn by_long<D: Arguments>(name: &str) -> Option<Found<D>> {
    let row = D::FLAGS.iter().find(|flag| flag.name == name || flag.alias == Some(name)).map(Found::Row);
    let provider = || crate::provider::by_name(name.strip_prefix(PROVIDER)?).filter(|_| D::UPSTREAMS);
    row.or_else(|| provider().map(Found::Upstream))
}

/// The flag of this short name.
pub(super) fn by_short<D: Arguments>(short: char) -> Option<Found<D>> {
    D::FLAGS.iter().find(|flag| flag.short == Some(short)).map(Found::Row)
}

/// What the flags that are made from a provider's row begin with.
pub(super) const PROVIDER: &str = "provider-";

/// Every long name, with its dashes.
pub(super) fn long_names<D: Arguments>() -> impl Iterator<Item = String> {
    let providers = PROVIDERS.iter().filter(|_| D::UPSTREAMS);
    D::FLAGS
        .iter()
        .map(|flag| format!("--{}", flag.name))
        .chain(providers.map(|provider| format!("--{PROVIDER}{}", provider.name)))
}

/// Every flag of the server but the upstreams', in the order of the help.
pub(super) const FLAGS: &[Flag<Draft>] = &[
    text(Group::Server, "port", "N", "Port to listen on; 0 takes a free one (4010)", |draft, text| {
        draft.config.port = values::whole(text, 0..=u16::MAX)?;
        draft.port_given = true;
        Ok(())
    })
    .short('p'),
    text(Group::Server, "host", "ADDR", "Address to listen on (AIMOCK_HOST, or 127.0.0.1)", |draft, text| {
        values::host(text).map(|it| draft.config.host = it)
    }),
    secret(
        Group::Server,
        "api-key",
        "KEY",
        "Answer only who has this key, wherever an SDK puts one; /health and /ready answer all; repeatable",
        |draft, text| values::api_key(text).map(|it| draft.config.api_keys.add(it)),
    )
    .repeatable(),
    text(
        Group::Server,
        "allow-origin",
        "ORIGIN",
        "Let pages of this origin use the control API, and record; those of loopback may; repeatable",
        |draft, text| values::origin(text).map(|it| draft.config.allow_origins.push(it)),
    )
    .repeatable(),
    text(
        Group::Server,
        "allow-host",
        "NAME",
        "Let that be asked under this name, beside loopback and --host; repeatable",
        |draft, text| values::host(text).map(|it| draft.config.allow_hosts.push(it)),
    )
    .repeatable(),
    switch(
        Group::Server,
        "strict",
        "Never guess: a miss without an upstream is 503, drift is a miss, and fixtures that are broken or not there \
         end the start",
        |draft| draft.config.strict = true,
    ),
    text(
        Group::Server,
        "max-body-bytes",
        "SIZE",
        "Largest request body; suffixes as in 64MiB (64MiB)",
        |draft, text| values::bytes(text).map(|it| draft.config.max_body_bytes = it),
    ),
    text(
        Group::Server,
        "max-connections",
        "N",
        "Connections at once; idle ones make room for new ones, and where none is idle, a new one gets 503 (4096)",
        |draft, text| values::whole(text, 1..=values::MAX_CONNECTIONS).map(|it| draft.config.limits.connections = it),
    ),
    switch(
        Group::Server,
        "exit-on-stdin-close",
        "Stop when stdin is closed, so that no server outlives its parent",
        |draft| draft.exit_on_stdin_close = true,
    ),
    path(
        Group::Fixtures,
        "fixtures",
        "PATH",
        "File, or folder that is read recursively; repeatable. Recordings go to PATH/recorded of the first \
         (./fixtures)",
        |draft, path| {
            draft.config.fixtures.push(fixtures_path(path)?);
            draft.config.fixtures_given = true;
            Ok(())
        },
    )
    .short('f')
    .repeatable(),
    switch(Group::Fixtures, "watch", "Load fixtures again when they change", |draft| draft.config.watch = true)
        .short('w'),
    switch(Group::Fixtures, "validate-on-load", "Exit with code 2 where a fixture is broken", |draft| {
        draft.config.validate_on_load = true;
    }),
    switch(Group::Recording, "record", "Ask the upstream on a miss, and save its answer as a fixture", |draft| {
        draft.config.record = true;
    }),
    switch(Group::Recording, "proxy-only", "Ask the upstream on a miss, and save nothing", |draft| {
        draft.config.proxy_only = true;
    }),
    switch(
        Group::Recording,
        "refresh",
        "Ask the upstream even where a recording fits, and rewrite that recording in place",
        |draft| draft.config.refresh = true,
    ),
    switch(
        Group::Recording,
        "record-repeats",
        "Record each answer to an identical request, to replay in order",
        |draft| draft.config.record_repeats = true,
    ),
    switch(Group::Recording, "record-errors", "Save error answers, too", |draft| draft.config.record_errors = true),
    switch(
        Group::Recording,
        "record-wire",
        "Keep the answer's bytes and their pace, too, and replay it byte for byte",
        |draft| draft.config.record_wire = true,
    ),
    switch(Group::Recording, "record-timings", "Keep the pace of streamed answers, for --replay-speed", |draft| {
        draft.config.record_timings = true;
    }),
    switch(Group::Recording, "record-full-model-version", "Keep the date at the end of a model's name", |draft| {
        draft.config.record_full_model_version = true;
    }),
    text(
        Group::Recording,
        "max-record-bytes",
        "SIZE",
        "Largest answer that is recorded; a larger one is relayed and not saved (64MiB)",
        |draft, text| values::bytes(text).map(|it| draft.config.max_record_bytes = it),
    )
    .alias("max-proxy-buffer-bytes"),
    text(
        Group::Upstreams,
        "upstream-timeout-ms",
        "MS",
        "Longest wait for an upstream's response to begin (30000)",
        |draft, text| values::whole(text, 1..=values::MAX_MS).map(|it| draft.config.upstream_timeout_ms = it),
    ),
    text(
        Group::Upstreams,
        "body-timeout-ms",
        "MS",
        "Longest wait between two chunks of its body (30000)",
        |draft, text| values::whole(text, 1..=values::MAX_MS).map(|it| draft.config.body_timeout_ms = it),
    ),
    text(
        Group::Trust,
        "on-drift",
        "MODE",
        "When only a recording of the same question in another context is there: warn and answer, fail, or \
         ignore and answer (warn; fail under --strict)",
        |draft, text| values::on_drift(text).map(|it| draft.config.on_drift = Some(it)),
    ),
    switch(
        Group::Trust,
        "reuse-volatile",
        "While recording, answer from a recording that differs in times and random ids alone",
        |draft| draft.config.reuse_volatile = true,
    ),
    text(
        Group::Trust,
        "ignore",
        "POINTER",
        "Leave this JSON pointer of the body out when requests are compared; * is any index or key; repeatable",
        |draft, text| values::pointer(text).map(|it| draft.config.ignore.push(it)),
    )
    .repeatable(),
    text(Group::Trust, "max-age", "DAYS", "Recordings of this age are stale (never)", |draft, text| {
        values::whole(text, 1..=values::MAX_DAYS).map(|it| draft.config.max_age_days = Some(it))
    }),
    text(Group::Trust, "on-stale", "MODE", "A stale recording: warn and answer, or fail (warn)", |draft, text| {
        draft.config.on_stale = values::on_stale(text)?;
        draft.on_stale_given = true;
        Ok(())
    }),
    secret(
        Group::Trust,
        "redact",
        "REGEX",
        "Replace what fits before anything is written, beside the known shapes of credentials; repeatable",
        |draft, text| values::regex(text).map(|it| draft.config.redact.push(it)),
    )
    .repeatable(),
    switch(Group::Trust, "no-redact", "Write credentials in prompts and answers as they are", |draft| {
        draft.config.no_redact = true;
    }),
    text(
        Group::Pacing,
        "latency",
        "MS",
        "Wait between the chunks of a replayed stream, and before a whole answer (0)",
        |draft, text| values::whole(text, 0..=values::MAX_MS).map(|it| draft.config.latency_ms = it),
    )
    .short('l'),
    text(Group::Pacing, "chunk-size", "CHARS", "Characters of text in a chunk (20)", |draft, text| {
        values::whole(text, 1..=u32::MAX as usize).map(|it| draft.config.chunk_chars = it)
    })
    .short('c'),
    text(
        Group::Pacing,
        "replay-speed",
        "X",
        "Replay recorded timings: 1 as they were, 2 twice as fast (without waiting)",
        |draft, text| values::speed(text).map(|it| draft.config.replay_speed = Some(it)),
    ),
    text(
        Group::Pacing,
        "chaos-drop",
        "RATE",
        "Share of requests, 0 to 1, answered with status 500 (0)",
        |draft, text| values::rate(text).map(|it| draft.config.chaos.drop = it),
    ),
    text(Group::Pacing, "chaos-malformed", "RATE", "Share of requests answered with broken JSON (0)", |draft, text| {
        values::rate(text).map(|it| draft.config.chaos.malformed = it)
    }),
    text(Group::Pacing, "chaos-disconnect", "RATE", "Share of requests whose connection is cut (0)", |draft, text| {
        values::rate(text).map(|it| draft.config.chaos.disconnect = it)
    }),
    text(Group::Pacing, "chaos-seed", "N", "Fail the same requests in every run", |draft, text| {
        values::whole(text, 0..=u64::MAX).map(|it| draft.config.chaos.seed = Some(it))
    }),
    text(Group::Output, "log-level", "LEVEL", "silent, warn, info or debug, on stderr (info)", |draft, text| {
        values::level(text).map(|it| draft.config.log_level = it)
    }),
    switch(Group::Output, "metrics", "Serve GET /metrics for Prometheus", |draft| draft.config.metrics = true),
    text(
        Group::Output,
        "journal-max",
        "N",
        "Requests kept for GET /__aimock/journal; 0 keeps all (1000)",
        |draft, text| {
            draft.config.journal_max = match values::whole(text, 0..=u32::MAX as usize)? {
                0 => usize::MAX,
                max => max,
            };
            Ok(())
        },
    ),
    path(
        Group::Output,
        "report",
        "FILE",
        "Write hits, misses and unused fixtures to this file at the end",
        |draft, path| {
            draft.config.report = Some(path);
            Ok(())
        },
    ),
    help(Group::Output, || Command::Help(Topic::Server)),
    instead(Group::Output, "version", "Print the version", || Command::Version).short('V'),
];

/// Those of `aimock check`.
pub(super) const CHECK: &[Flag<CheckArgs>] = &[
    row(
        Group::Options,
        "format",
        "How problems are printed: text, or json for machines (text)",
        Takes::Text("FORMAT", |args, text| values::choose(text, &super::FORMATS).map(|it| args.format = it)),
    ),
    row(Group::Options, "strict", "Take warnings for errors", Takes::Nothing(|args| args.strict = true)),
    row(
        Group::Options,
        "unused",
        "List the recordings that the run behind this --report did not use",
        Takes::Path("REPORT", |args, path| {
            args.unused = Some(path);
            Ok(())
        }),
    ),
    row(
        Group::Options,
        "prune",
        "Delete those of them that belong to tests (X-Test-Id) which the run saw, where its -- COMMAND ended with 0",
        Takes::Nothing(|args| args.prune = true),
    ),
    row(
        Group::Options,
        "untagged",
        "With --prune: delete those that belong to no test, too. Only where the run was one of everything",
        Takes::Nothing(|args| args.untagged = true),
    ),
    row(
        Group::Options,
        "max-age",
        "Tell recordings that are older",
        Takes::Text("DAYS", |args, text| {
            values::whole(text, 1..=values::MAX_DAYS).map(|it| args.max_age_days = Some(it))
        }),
    ),
    help(Group::Options, || Command::Help(Topic::Check)),
];

/// Those of `aimock convert`.
pub(super) const CONVERT: &[Flag<ConvertDraft>] = &[
    row(
        Group::Options,
        "out",
        "Folder that the fixtures are written to; nothing in it is replaced",
        Takes::Path("DIR", |draft: &mut ConvertDraft, path| {
            draft.out = Some(path);
            Ok(())
        }),
    )
    .short('o'),
    help(Group::Options, || Command::Help(Topic::Convert)),
];

/// Those of `aimock health`.
pub(super) const HEALTH: &[Flag<HealthDraft>] = &[help(Group::Options, || Command::Help(Topic::Health))];

/// Those of `aimock help`.
pub(super) const HELP: &[Flag<HelpDraft>] = &[help(Group::Options, || Command::Help(Topic::Server))];

const fn row<D>(group: Group, name: &'static str, help: &'static str, takes: Takes<D>) -> Flag<D> {
    Flag { name, short: None, alias: None, group, help, takes, repeatable: false }
}

const fn help<D>(group: Group, page: fn() -> Command) -> Flag<D> {
    row(group, "help", "Print this text", Takes::Instead(page)).short('h')
}

const fn switch(group: Group, name: &'static str, help: &'static str, set: fn(&mut Draft)) -> Flag<Draft> {
    row(group, name, help, Takes::Nothing(set))
}

const fn text(
    group: Group,
    name: &'static str,
    value: &'static str,
    help: &'static str,
    set: SetText<Draft>,
) -> Flag<Draft> {
    row(group, name, help, Takes::Text(value, set))
}

const fn secret(
    group: Group,
    name: &'static str,
    value: &'static str,
    help: &'static str,
    set: SetText<Draft>,
) -> Flag<Draft> {
    row(group, name, help, Takes::Secret(value, set))
}

const fn path(
    group: Group,
    name: &'static str,
    value: &'static str,
    help: &'static str,
    set: SetPath<Draft>,
) -> Flag<Draft> {
    row(group, name, help, Takes::Path(value, set))
}

const fn instead(group: Group, name: &'static str, help: &'static str, command: fn() -> Command) -> Flag<Draft> {
    row(group, name, help, Takes::Instead(command))
}

impl<D> Flag<D> {
    const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    const fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }
}

fn fixtures_path(path: PathBuf) -> Result<PathBuf, String> {
    let lossy = path.to_string_lossy();
    if lossy.starts_with("http://") || lossy.starts_with("https://") {
        return Err("expected a file or folder; fetch what is behind the URL first".into());
    }
    if lossy.is_empty() { Err("expected a file or folder".into()) } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// What the manual promises.
    const PROMISED: &str = "fixtures port host record proxy-only strict latency chunk-size replay-speed watch \
        validate-on-load log-level metrics journal-max on-drift reuse-volatile ignore record-errors record-wire \
        record-timings record-full-model-version upstream-timeout-ms body-timeout-ms max-body-bytes max-record-bytes max-connections \
        report exit-on-stdin-close chaos-drop chaos-malformed chaos-disconnect help version \
        record-repeats refresh max-age on-stale redact no-redact chaos-seed api-key allow-origin allow-host";

    #[test]
    fn every_promised_flag_is_there_and_no_other() {
        let promised: HashSet<&str> = PROMISED.split_whitespace().collect();
        let there: HashSet<&str> = FLAGS.iter().map(|flag| flag.name).collect();
        assert_eq!(promised, there);
    }

    fn names_are_unique_in<D: Arguments>() {
        let mut longs = HashSet::new();
        let mut shorts = HashSet::new();
        for flag in D::FLAGS {
            assert!(longs.insert(flag.name), "{}", flag.name);
            assert!(flag.alias.is_none_or(|alias| longs.insert(alias)), "{:?}", flag.alias);
            assert!(flag.short.is_none_or(|short| shorts.insert(short)), "{:?}", flag.short);
            assert!(!flag.name.starts_with(PROVIDER), "{} is made from a provider's row", flag.name);
        }
        assert!(longs.contains("help") && shorts.contains(&'h'));
    }

    #[test]
    fn names_are_unique() {
        names_are_unique_in::<Draft>();
        names_are_unique_in::<CheckArgs>();
        names_are_unique_in::<ConvertDraft>();
        names_are_unique_in::<HealthDraft>();
        names_are_unique_in::<HelpDraft>();
        for provider in PROVIDERS {
            let found = by_long::<Draft>(&format!("{PROVIDER}{}", provider.name));
            assert!(matches!(found, Some(Found::Upstream(_))));
        }
    }

    fn one_style<D>(flags: &[Flag<D>]) {
        for flag in flags {
            assert!(flag.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", flag.name);
            assert!(flag.help.starts_with(|c: char| c.is_uppercase() || flag.name == "log-level"), "{}", flag.help);
            assert!(!flag.help.ends_with('.') && !flag.help.contains("  "), "{}", flag.help);
            assert_eq!(flag.help.contains("repeatable"), flag.repeatable, "{}", flag.name);
        }
    }

    #[test]
    fn names_and_help_have_one_style() {
        one_style(FLAGS);
        one_style(CHECK);
        one_style(CONVERT);
    }
}
