//! The command line: arguments to [`Command`]. Values are checked here; nothing is opened, read or printed.

mod flags;
mod help;
mod suggest;
mod values;

pub use help::help;

use crate::config::Config;
use crate::credential::ApiKeys;
use crate::error::Error;
use crate::upstream::BaseUrl;
use flags::{Found, Takes};
use lexopt::{Arg, Parser};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// What the program is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Serve fixtures.
    Serve(Box<ServeArgs>),
    /// `aimock check`.
    Check(CheckArgs),
    /// `aimock convert`.
    Convert(ConvertArgs),
    /// `aimock health`.
    Health {
        /// Base URL of the server that is asked.
        url: BaseUrl,
    },
    /// `--help`: print [`help`].
    Help,
    /// `--version`.
    Version,
}

/// How to serve.
#[derive(Clone, Debug, PartialEq)]
pub struct ServeArgs {
    /// The server's configuration.
    pub config: Config,
    /// Stop when stdin is closed.
    pub exit_on_stdin_close: bool,
    /// What to run beside the server, and its arguments; empty where only the server runs.
    pub command: Vec<OsString>,
    /// What is allowed and probably not meant; for the log, one a line.
    pub warnings: Vec<String>,
}

/// `aimock check [PATH…] [--format text|json] [--unused REPORT [--prune]] [--max-age DAYS]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckArgs {
    /// Files and folders; `./fixtures` where none is given.
    pub paths: Vec<PathBuf>,
    /// How problems are printed.
    pub format: Format,
    /// Report of a run: list the recordings that it did not use.
    pub unused: Option<PathBuf>,
    /// Delete the unused recordings.
    pub prune: bool,
    /// Days after which a recording is stale.
    pub max_age_days: Option<u64>,
}

/// How `aimock check` prints problems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A line each, for people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// `aimock convert vcr|har|aimock PATH… -o DIR`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvertArgs {
    /// What the files are.
    pub from: Source,
    /// Files and folders, at least one.
    pub paths: Vec<PathBuf>,
    /// Folder that fixtures are written to.
    pub out: PathBuf,
}

/// What `aimock convert` reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// VCR.py cassettes, YAML or JSON.
    Vcr,
    /// HTTP archives.
    Har,
    /// Folders of other aimock versions.
    Aimock,
}

/// Reads the arguments that follow the program's name. `default_host` is the value of `AIMOCK_HOST`.
///
/// # Errors
/// [`Error::Value`], [`Error::Unknown`] and [`Error::Usage`], each naming the flag.
pub fn parse<I>(args: I, default_host: Option<&OsStr>) -> Result<Command, Error>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let mut parser = Parser::from_args(args);
    let command = parser.try_raw_args().and_then(|args| args.peek().and_then(OsStr::to_str).map(str::to_owned));
    match command.as_deref() {
        Some("check") => {
            parser.next().map_err(syntax)?;
            check(parser)
        }
        Some("convert") => {
            parser.next().map_err(syntax)?;
            convert(parser)
        }
        Some("health") => {
            parser.next().map_err(syntax)?;
            health(parser, default_host)
        }
        _ => serve(parser, default_host),
    }
}

/// What flags have set so far.
#[derive(Debug)]
struct Draft {
    config: Config,
    exit_on_stdin_close: bool,
    port_given: bool,
    on_stale_given: bool,
}

fn serve(mut parser: Parser, default_host: Option<&OsStr>) -> Result<Command, Error> {
    let mut config = Config { fixtures: Vec::new(), ..Config::default() };
    if let Some(host) = environment_host(default_host)? {
        config.host = host;
    }
    let mut draft = Draft { config, exit_on_stdin_close: false, port_given: false, on_stale_given: false };
    let mut command = None;
    loop {
        if let Some(rest) = after_dashes(&mut parser) {
            command = Some(rest);
            break;
        }
        let (name, found) = match parser.next().map_err(syntax)? {
            None => break,
            Some(Arg::Long(name)) => (format!("--{name}"), flags::by_long(name)),
            Some(Arg::Short(short)) => (format!("-{short}"), flags::by_short(short)),
            Some(Arg::Value(value)) => return Err(misplaced(&value)),
        };
        let found = found.ok_or_else(|| unknown(&name, flags::long_names()))?;
        if let Some(instead) = set(&mut draft, &mut parser, name, found)? {
            return Ok(instead);
        }
    }
    finish(draft, command)
}

/// Sets what one flag says, or gives the command that is to be run instead.
fn set(draft: &mut Draft, parser: &mut Parser, name: String, found: Found) -> Result<Option<Command>, Error> {
    let takes = match found {
        Found::Row(flag) => flag.takes,
        Found::Upstream(provider) => {
            let text = text(&name, value(parser, &name)?)?;
            let url = BaseUrl::parse(&text).map_err(|problem| Error::Value { name, value: None, problem })?;
            draft.config.upstreams.set(provider, url);
            return Ok(None);
        }
    };
    let (given, set) = match takes {
        Takes::Nothing(set) => {
            set(draft);
            return Ok(None);
        }
        Takes::Instead(command) => return Ok(Some(command())),
        Takes::Path(_, set) => {
            let path = PathBuf::from(value(parser, &name)?);
            (Some(path.to_string_lossy().into_owned()), set(draft, path))
        }
        Takes::Text(_, set) => {
            let text = text(&name, value(parser, &name)?)?;
            let set = set(draft, &text);
            (Some(text), set)
        }
        Takes::Secret(_, set) => (None, set(draft, &text(&name, value(parser, &name)?)?)),
    };
    set.map(|()| None).map_err(|problem| Error::Value { name, value: given, problem })
}

/// Looks at the flags together.
fn finish(draft: Draft, command: Option<Vec<OsString>>) -> Result<Command, Error> {
    refuse(&draft, command.as_deref())?;
    let warnings = warnings(&draft);
    let Draft { mut config, exit_on_stdin_close, port_given, .. } = draft;
    if config.fixtures.is_empty() {
        config.fixtures = Config::default().fixtures;
    }
    if config.proxy_only {
        config.record = false;
    }
    let command = command.unwrap_or_default();
    if !command.is_empty() && !port_given {
        config.port = 0;
    }
    Ok(Command::Serve(Box::new(ServeArgs { config, exit_on_stdin_close, command, warnings })))
}

/// Refuses what contradicts itself.
fn refuse(draft: &Draft, command: Option<&[OsString]>) -> Result<(), Error> {
    let Draft { config, exit_on_stdin_close, .. } = draft;
    if (config.record || config.proxy_only) && config.upstreams.is_empty() {
        let mode = if config.proxy_only { "--proxy-only" } else { "--record" };
        let upstreams: Vec<String> = flags::long_names().filter(|name| name.starts_with("--provider-")).collect();
        return usage(format!("{mode} needs to know whom to ask: give one or more of {}", upstreams.join(", ")));
    }
    if config.no_redact && !config.redact.is_empty() {
        return usage("--redact and --no-redact exclude each other: drop one of them".into());
    }
    match command {
        Some([]) => usage("-- is followed by a command: aimock [OPTIONS] -- COMMAND [ARG…]".into()),
        Some(_) if *exit_on_stdin_close => {
            usage("--exit-on-stdin-close and -- COMMAND exclude each other: stdin belongs to the command".into())
        }
        _ => Ok(()),
    }
}

/// What is allowed and probably not meant.
fn warnings(draft: &Draft) -> Vec<String> {
    let Config { record, proxy_only, ref upstreams, .. } = draft.config;
    let mut warnings = Vec::new();
    if draft.config.no_redact {
        warnings.push("--no-redact: credentials in prompts and answers are written to fixtures as they are".into());
    }
    if record && proxy_only {
        warnings.push("--proxy-only saves nothing, so --record has no effect".into());
    } else if !record && !proxy_only && !upstreams.is_empty() {
        let names: Vec<String> = upstreams.iter().map(|(p, _)| format!("--provider-{}", p.name)).collect();
        warnings.push(format!("{} has no effect without --record or --proxy-only", names.join(", ")));
    }
    if !record || proxy_only {
        let idle = idle_without_recording(&draft.config);
        if !idle.is_empty() {
            warnings.push(format!("{} has no effect while nothing is recorded: give --record", idle.join(", ")));
        }
    }
    if draft.on_stale_given && draft.config.max_age_days.is_none() {
        warnings.push("--on-stale has no effect without --max-age".into());
    }
    warnings
}

fn idle_without_recording(config: &Config) -> Vec<&'static str> {
    [
        ("--refresh", config.refresh),
        ("--record-repeats", config.record_repeats),
        ("--record-errors", config.record_errors),
        ("--record-wire", config.record_wire),
        ("--record-timings", config.record_timings),
        ("--record-full-model-version", config.record_full_model_version),
        ("--reuse-volatile", config.reuse_volatile),
    ]
    .into_iter()
    .filter_map(|(name, on)| on.then_some(name))
    .collect()
}

fn check(mut parser: Parser) -> Result<Command, Error> {
    let mut args =
        CheckArgs { paths: Vec::new(), format: Format::default(), unused: None, prune: false, max_age_days: None };
    while let Some(arg) = parser.next().map_err(syntax)? {
        match arg {
            Arg::Value(path) => args.paths.push(path.into()),
            Arg::Long("format") => args.format = choose(&mut parser, "--format", &FORMATS)?,
            Arg::Long("unused") => args.unused = Some(value(&mut parser, "--unused")?.into()),
            Arg::Long("prune") => args.prune = true,
            Arg::Long("max-age") => args.max_age_days = Some(days(&mut parser, "--max-age")?),
            Arg::Long("help") => return Ok(Command::Help),
            other => {
                return Err(unknown_to(&other, &["--format", "--unused", "--prune", "--max-age", "--help"]));
            }
        }
    }
    if args.prune && args.unused.is_none() {
        return usage("--prune needs --unused REPORT, which says what a run did not use".into());
    }
    if args.paths.is_empty() {
        args.paths = Config::default().fixtures;
    }
    Ok(Command::Check(args))
}

const FORMATS: [(&str, Format); 2] = [("text", Format::Text), ("json", Format::Json)];

fn convert(mut parser: Parser) -> Result<Command, Error> {
    const FROM: [(&str, Source); 3] = [("vcr", Source::Vcr), ("har", Source::Har), ("aimock", Source::Aimock)];
    let (mut from, mut paths, mut out) = (None, Vec::new(), None);
    while let Some(arg) = parser.next().map_err(syntax)? {
        match arg {
            Arg::Value(word) if from.is_none() => {
                let word = text("convert", word)?;
                let bad = |problem| Error::Value { name: "convert".into(), value: Some(word.clone()), problem };
                from = Some(values::choose(&word, &FROM).map_err(bad)?);
            }
            Arg::Value(path) => paths.push(path.into()),
            Arg::Short('o') => out = Some(value(&mut parser, "-o")?),
            Arg::Long("out") => out = Some(value(&mut parser, "--out")?),
            Arg::Long("help") => return Ok(Command::Help),
            other => return Err(unknown_to(&other, &["--out", "--help"])),
        }
    }
    match (from, paths.is_empty(), out) {
        (Some(from), false, Some(out)) => Ok(Command::Convert(ConvertArgs { from, paths, out: out.into() })),
        _ => usage("convert needs a format, files or folders, and where to: aimock convert vcr PATH… -o DIR".into()),
    }
}

fn health(mut parser: Parser, default_host: Option<&OsStr>) -> Result<Command, Error> {
    let mut url = None;
    while let Some(arg) = parser.next().map_err(syntax)? {
        match arg {
            Arg::Value(given) if url.is_none() => {
                let parsed = BaseUrl::parse(&text("health", given)?).and_then(|url| {
                    if url.tls {
                        Err("the server speaks plain HTTP: expected http://HOST:PORT".into())
                    } else {
                        Ok(url)
                    }
                });
                let bad = |problem| Error::Value { name: "health".into(), value: None, problem };
                url = Some(parsed.map_err(bad)?);
            }
            Arg::Long("help") => return Ok(Command::Help),
            other => return Err(unknown_to(&other, &["--help"])),
        }
    }
    let Config { host, port, .. } = Config::default();
    let here = environment_host(default_host)?.map(own_address).unwrap_or(host);
    Ok(Command::Health { url: url.unwrap_or(BaseUrl { tls: false, host: here, port, path: String::new() }) })
}

/// The address under which a server that listens on `host` is reached from the same machine.
fn own_address(host: String) -> String {
    match host.as_str() {
        "0.0.0.0" => "127.0.0.1".into(),
        "::" => "::1".into(),
        _ => host,
    }
}

/// `AIMOCK_HOST`, where it is set to something.
fn environment_host(value: Option<&OsStr>) -> Result<Option<String>, Error> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = text("AIMOCK_HOST", value.to_owned())?;
    let bad = |problem| Error::Value { name: "AIMOCK_HOST".into(), value: Some(text.clone()), problem };
    values::host(&text).map(Some).map_err(bad)
}

/// The variable with keys of which a request must have one, between commas.
pub const API_KEYS: &str = "AIMOCK_API_KEYS";

/// Adds the keys that the variable [`API_KEYS`] holds to those of `--api-key`.
///
/// # Errors
/// [`Error::Value`]: it is set to what holds no key, or one that cannot be sent.
pub fn environment_keys(value: Option<OsString>, keys: &mut ApiKeys) -> Result<(), Error> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(()) };
    let bad = |problem| Error::Value { name: API_KEYS.into(), value: None, problem };
    let text = text(API_KEYS, value)?;
    let given: Vec<&str> = text.split(',').map(str::trim).filter(|key| !key.is_empty()).collect();
    if given.is_empty() {
        return Err(bad("expected one or more keys, with commas between them; unset it to ask for none".into()));
    }
    given.into_iter().try_for_each(|key| values::api_key(key).map(|key| keys.add(key))).map_err(bad)
}

/// What follows `--`, where that is next.
fn after_dashes(parser: &mut Parser) -> Option<Vec<OsString>> {
    let mut rest = parser.try_raw_args()?;
    rest.next_if(|arg| arg == "--")?;
    Some(rest.collect())
}

/// The value of a flag; a flag or `--` that follows is not taken for one.
fn value(parser: &mut Parser, name: &str) -> Result<OsString, Error> {
    if let Some(attached) = parser.optional_value() {
        return Ok(attached);
    }
    let next = parser.try_raw_args().and_then(|args| args.peek().map(OsStr::to_owned));
    match next {
        None => usage(format!("{name} needs a value")),
        Some(next) if is_flag(&next) => {
            let next = next.to_string_lossy();
            usage(format!("{name} needs a value, but '{next}' follows; write {name}={next} if that is the value"))
        }
        Some(_) => parser.value().map_err(syntax),
    }
}

fn is_flag(arg: &OsStr) -> bool {
    let Some(arg) = arg.to_str() else { return false };
    match arg.strip_prefix("--") {
        Some(long) => {
            let name = long.split_once('=').map_or(long, |(name, _)| name);
            name.is_empty() || flags::by_long(name).is_some()
        }
        None => arg.strip_prefix('-').and_then(|short| short.chars().next()).and_then(flags::by_short).is_some(),
    }
}

fn days(parser: &mut Parser, name: &str) -> Result<u64, Error> {
    let text = text(name, value(parser, name)?)?;
    values::whole(&text, 1..=values::MAX_DAYS).map_err(|problem| Error::Value {
        name: name.into(),
        value: Some(text.clone()),
        problem,
    })
}

fn choose<T: Copy>(parser: &mut Parser, name: &str, words: &[(&str, T)]) -> Result<T, Error> {
    let text = text(name, value(parser, name)?)?;
    values::choose(&text, words).map_err(|problem| Error::Value {
        name: name.into(),
        value: Some(text.clone()),
        problem,
    })
}

fn text(name: &str, value: OsString) -> Result<String, Error> {
    let bad = |_| Error::Value { name: name.into(), value: None, problem: "the value is not valid UTF-8".into() };
    value.into_string().map_err(bad)
}

fn usage<T>(problem: String) -> Result<T, Error> {
    Err(Error::Usage(problem))
}

fn misplaced(value: &OsStr) -> Error {
    const COMMANDS: [&str; 3] = ["check", "convert", "health"];
    let given = value.to_string_lossy().into_owned();
    if COMMANDS.contains(&given.as_str()) {
        return Error::Usage(format!("'{given}' comes first: aimock {given} …"));
    }
    unknown(&given, COMMANDS.map(str::to_owned))
}

fn unknown(given: &str, known: impl IntoIterator<Item = String>) -> Error {
    Error::Unknown { given: given.to_owned(), nearest: suggest::nearest(given, known) }
}

fn unknown_to(arg: &Arg<'_>, known: &[&str]) -> Error {
    let given = match arg {
        Arg::Long(name) => format!("--{name}"),
        Arg::Short(short) => format!("-{short}"),
        Arg::Value(value) => value.to_string_lossy().into_owned(),
    };
    unknown(&given, known.iter().map(|name| (*name).to_owned()))
}

/// What lexopt finds wrong before a flag is looked up.
fn syntax(error: lexopt::Error) -> Error {
    match error {
        lexopt::Error::UnexpectedValue { option, .. } => Error::Usage(format!("{option} takes no value")),
        other => Error::Usage(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
