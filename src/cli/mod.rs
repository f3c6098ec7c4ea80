//! The command line: arguments to [`Command`]. Values are checked here; nothing is opened, read or printed.

mod flags;
mod help;
mod values;

pub use help::{Topic, help};

use crate::config::Config;
use crate::credential::ApiKeys;
use crate::error::Error;
use crate::provider::{PROVIDERS, Provider};
use crate::suggest;
use crate::upstream::BaseUrl;
use flags::{Arguments, Flag, Found, Takes};
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
    /// `--help`, `help`: print [`help`].
    Help(Topic),
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

/// `aimock check [PATH…]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckArgs {
    /// Files and folders; `./fixtures` where none is given.
    pub paths: Vec<PathBuf>,
    /// How problems are printed.
    pub format: Format,
    /// Warnings are errors.
    pub strict: bool,
    /// Report of a run: list the recordings that it did not use.
    pub unused: Option<PathBuf>,
    /// Delete the unused recordings that belong to tests which the run saw.
    pub prune: bool,
    /// Delete those that belong to no test, too.
    pub untagged: bool,
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
    match COMMANDS.iter().find(|(name, _)| command.as_deref() == Some(name)) {
        Some((_, run)) => {
            parser.next().map_err(syntax)?;
            run(parser, default_host)
        }
        None => serve(parser, default_host),
    }
}

type Parse = fn(Parser, Option<&OsStr>) -> Result<Command, Error>;

/// The commands beside the server.
const COMMANDS: [(&str, Parse); 4] = [
    (Topic::Check.name(), |parser, _| check(parser)),
    (Topic::Convert.name(), |parser, _| convert(parser)),
    (Topic::Health.name(), health),
    ("help", |parser, _| help_command(parser)),
];

/// Reads all arguments of a command: its flags, and what is none; or gives the command that is to be run instead.
fn read<D: Arguments>(parser: &mut Parser, draft: &mut D) -> Result<Option<Command>, Error> {
    let mut given: Vec<&'static str> = Vec::new();
    while !at_dashes::<D>(parser) {
        let (name, found) = match parser.next().map_err(syntax)? {
            None => break,
            Some(Arg::Long(name)) => (format!("--{name}"), flags::by_long(name)),
            Some(Arg::Short(short)) => (format!("-{short}"), flags::by_short(short)),
            Some(Arg::Value(value)) => {
                draft.operand(value)?;
                continue;
            }
        };
        let Some(found) = found else { return Err(unknown_flag::<D>(&name)) };
        if !found.repeatable() {
            if given.contains(&found.name()) {
                return usage(format!("{name} is given twice: give it once"));
            }
            given.push(found.name());
        }
        if let Some(instead) = set(draft, parser, name, found)? {
            return Ok(Some(instead));
        }
    }
    Ok(None)
}

/// Sets what one flag says, or gives the command that is to be run instead.
fn set<D: Arguments>(
    draft: &mut D,
    parser: &mut Parser,
    name: String,
    found: Found<D>,
) -> Result<Option<Command>, Error> {
    let flag = match found {
        Found::Row(flag) => flag,
        Found::Upstream(provider) => {
            let text = text(&name, value::<D>(parser, &name)?)?;
            let url = BaseUrl::parse(&text).map_err(|problem| Error::Value { name, value: None, problem })?;
            draft.upstream(provider, url);
            return Ok(None);
        }
    };
    let (given, set) = match &flag.takes {
        Takes::Nothing(set) => {
            set(draft);
            return Ok(None);
        }
        Takes::Instead(_) if parser.optional_value().is_some() => {
            return usage(format!("{name} takes no value: it is --{}", flag.name));
        }
        Takes::Instead(command) => return Ok(Some(command())),
        Takes::Path(_, set) => {
            let path = PathBuf::from(value::<D>(parser, &name)?);
            (Some(path.to_string_lossy().into_owned()), set(draft, path))
        }
        Takes::Text(_, set) => {
            let text = text(&name, value::<D>(parser, &name)?)?;
            let set = set(draft, &text);
            (Some(text), set)
        }
        Takes::Secret(_, set) => (None, set(draft, &text(&name, value::<D>(parser, &name)?)?)),
    };
    set.map(|()| None).map_err(|problem| Error::Value { name, value: given, problem })
}

// --------------------------------------------------------------------------------------------------------- server

/// What flags have set so far.
#[derive(Debug)]
struct Draft {
    config: Config,
    exit_on_stdin_close: bool,
    port_given: bool,
    on_stale_given: bool,
}

impl Arguments for Draft {
    const FLAGS: &'static [Flag<Self>] = flags::FLAGS;
    const TOPIC: Topic = Topic::Server;
    const UPSTREAMS: bool = true;

    fn operand(&mut self, value: OsString) -> Result<(), Error> {
        Err(misplaced(&value))
    }

    fn upstream(&mut self, provider: &'static Provider, url: BaseUrl) {
        self.config.upstreams.set(provider, url);
    }
}

fn serve(mut parser: Parser, default_host: Option<&OsStr>) -> Result<Command, Error> {
    let mut config = Config { fixtures: Vec::new(), ..Config::default() };
    if let Some(host) = environment_host(default_host)? {
        config.host = host;
    }
    let mut draft = Draft { config, exit_on_stdin_close: false, port_given: false, on_stale_given: false };
    if let Some(instead) = read(&mut parser, &mut draft)? {
        return Ok(instead);
    }
    finish(draft, after_dashes(&mut parser))
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
        let upstreams: Vec<String> =
            flags::long_names::<Draft>().filter(|name| name.starts_with("--provider-")).collect();
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

// --------------------------------------------------------------------------------------------------- other commands

impl Arguments for CheckArgs {
    const FLAGS: &'static [Flag<Self>] = flags::CHECK;
    const TOPIC: Topic = Topic::Check;

    fn operand(&mut self, path: OsString) -> Result<(), Error> {
        self.paths.push(path.into());
        Ok(())
    }
}

fn check(mut parser: Parser) -> Result<Command, Error> {
    let mut args = CheckArgs::default();
    if let Some(instead) = read(&mut parser, &mut args)? {
        return Ok(instead);
    }
    if args.prune && args.unused.is_none() {
        return usage("--prune needs --unused REPORT, which says what a run did not use".into());
    }
    if args.untagged && !args.prune {
        return usage("--untagged says what --prune deletes: give both, or neither".into());
    }
    if args.paths.is_empty() {
        args.paths = Config::default().fixtures;
    }
    Ok(Command::Check(args))
}

const FORMATS: [(&str, Format); 2] = [("text", Format::Text), ("json", Format::Json)];

/// What `aimock convert` was given so far.
#[derive(Debug, Default)]
struct ConvertDraft {
    from: Option<Source>,
    paths: Vec<PathBuf>,
    out: Option<PathBuf>,
}

impl Arguments for ConvertDraft {
    const FLAGS: &'static [Flag<Self>] = flags::CONVERT;
    const TOPIC: Topic = Topic::Convert;

    fn operand(&mut self, value: OsString) -> Result<(), Error> {
        const FROM: [(&str, Source); 3] = [("vcr", Source::Vcr), ("har", Source::Har), ("aimock", Source::Aimock)];
        if self.from.is_some() {
            self.paths.push(value.into());
            return Ok(());
        }
        let word = text("convert", value)?;
        let bad = |problem| Error::Value { name: "convert".into(), value: Some(word.clone()), problem };
        self.from = Some(values::choose(&word, &FROM).map_err(bad)?);
        Ok(())
    }
}

fn convert(mut parser: Parser) -> Result<Command, Error> {
    let mut draft = ConvertDraft::default();
    if let Some(instead) = read(&mut parser, &mut draft)? {
        return Ok(instead);
    }
    match draft {
        ConvertDraft { from: Some(from), paths, out: Some(out) } if !paths.is_empty() => {
            Ok(Command::Convert(ConvertArgs { from, paths, out }))
        }
        _ => usage("convert needs a format, files or folders, and where to: aimock convert vcr PATH… -o DIR".into()),
    }
}

/// What `aimock health` was given so far.
#[derive(Debug, Default)]
struct HealthDraft {
    url: Option<BaseUrl>,
}

impl Arguments for HealthDraft {
    const FLAGS: &'static [Flag<Self>] = flags::HEALTH;
    const TOPIC: Topic = Topic::Health;

    fn operand(&mut self, value: OsString) -> Result<(), Error> {
        if self.url.is_some() {
            return Err(unknown::<Self>(&value.to_string_lossy(), [""; 0]));
        }
        let bad = |problem| Error::Value { name: "health".into(), value: None, problem };
        let url = BaseUrl::parse(&text("health", value)?).map_err(bad)?;
        if url.tls {
            return Err(bad("the server speaks plain HTTP: expected http://HOST:PORT".into()));
        }
        self.url = Some(url);
        Ok(())
    }
}

fn health(mut parser: Parser, default_host: Option<&OsStr>) -> Result<Command, Error> {
    let mut draft = HealthDraft::default();
    if let Some(instead) = read(&mut parser, &mut draft)? {
        return Ok(instead);
    }
    let Config { host, port, .. } = Config::default();
    let here = environment_host(default_host)?.map(own_address).unwrap_or(host);
    Ok(Command::Health { url: draft.url.unwrap_or(BaseUrl { tls: false, host: here, port, path: String::new() }) })
}

/// What `aimock help` was given so far.
#[derive(Debug, Default)]
struct HelpDraft {
    topic: Option<Topic>,
}

impl Arguments for HelpDraft {
    const FLAGS: &'static [Flag<Self>] = flags::HELP;
    const TOPIC: Topic = Topic::Server;

    fn operand(&mut self, value: OsString) -> Result<(), Error> {
        let value = value.to_string_lossy();
        if self.topic.is_some() {
            return Err(unknown::<Self>(&value, [""; 0]));
        }
        let topic = Topic::ALL.into_iter().find(|topic| topic.name() == value);
        self.topic = Some(topic.ok_or_else(|| unknown::<Self>(&value, Topic::ALL.map(Topic::name)))?);
        Ok(())
    }
}

fn help_command(mut parser: Parser) -> Result<Command, Error> {
    let mut draft = HelpDraft::default();
    let instead = read(&mut parser, &mut draft)?;
    Ok(instead.unwrap_or(Command::Help(draft.topic.unwrap_or(Topic::Server))))
}

// --------------------------------------------------------------------------------------------------- single values

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

/// Whether `--` is next, where a command that is to be run follows it.
fn at_dashes<D: Arguments>(parser: &mut Parser) -> bool {
    D::UPSTREAMS && parser.try_raw_args().is_some_and(|args| args.peek().is_some_and(|arg| arg == "--"))
}

/// What follows `--`, where that is next.
fn after_dashes(parser: &mut Parser) -> Option<Vec<OsString>> {
    let mut rest = parser.try_raw_args()?;
    rest.next_if(|arg| arg == "--")?;
    Some(rest.collect())
}

/// The value of a flag; a flag or `--` that follows is not taken for one.
fn value<D: Arguments>(parser: &mut Parser, name: &str) -> Result<OsString, Error> {
    if let Some(attached) = parser.optional_value() {
        return Ok(attached);
    }
    let next = parser.try_raw_args().and_then(|args| args.peek().map(OsStr::to_owned));
    match next {
        None => usage(format!("{name} needs a value")),
        Some(next) if is_flag::<D>(&next) => {
            let next = next.to_string_lossy();
            usage(format!("{name} needs a value, but '{next}' follows; write {name}={next} if that is the value"))
        }
        Some(_) => parser.value().map_err(syntax),
    }
}

fn is_flag<D: Arguments>(arg: &OsStr) -> bool {
    let Some(arg) = arg.to_str() else { return false };
    match arg.strip_prefix("--") {
        Some(long) => {
            let name = long.split_once('=').map_or(long, |(name, _)| name);
            name.is_empty() || flags::by_long::<D>(name).is_some()
        }
        None => arg.strip_prefix('-').and_then(|short| short.chars().next()).and_then(flags::by_short::<D>).is_some(),
    }
}

fn text(name: &str, value: OsString) -> Result<String, Error> {
    let bad = |_| Error::Value { name: name.into(), value: None, problem: "the value is not valid UTF-8".into() };
    value.into_string().map_err(bad)
}

// ---------------------------------------------------------------------------------------------------------- errors

fn usage<T>(problem: String) -> Result<T, Error> {
    Err(Error::Usage(problem))
}

fn misplaced(value: &OsStr) -> Error {
    let given = value.to_string_lossy();
    let commands = COMMANDS.map(|(name, _)| name);
    if commands.contains(&&*given) {
        return Error::Usage(format!("'{given}' comes first: aimock {given} …"));
    }
    unknown::<Draft>(&given, commands)
}

fn unknown_flag<D: Arguments>(given: &str) -> Error {
    let provider = given.strip_prefix("--").and_then(|name| name.strip_prefix(flags::PROVIDER));
    match provider.filter(|_| D::UPSTREAMS) {
        Some(name) => unknown_provider(given, name),
        None => unknown::<D>(given, flags::long_names::<D>()),
    }
}

/// Of a provider's flag only the name is compared: what all of them begin with makes none of them near.
fn unknown_provider(given: &str, name: &str) -> Error {
    let names = PROVIDERS.iter().map(|provider| provider.name);
    let hint = match suggest::nearest(name, names.clone()) {
        Some(name) => format!("did you mean '--{}{name}'?", flags::PROVIDER),
        None => format!(
            "the providers are {}; {} URL is for every service that speaks its API",
            names.collect::<Vec<_>>().join(", "),
            format_args!("--{}{}", flags::PROVIDER, COMPATIBLE.name),
        ),
    };
    Error::Unknown { given: given.to_owned(), hint }
}

/// The provider whose API other services speak: the row of last resort.
const COMPATIBLE: &Provider = PROVIDERS[PROVIDERS.len() - 1];

fn unknown<D: Arguments>(given: &str, known: impl IntoIterator<Item: AsRef<str>>) -> Error {
    let hint = match suggest::nearest(given, known) {
        Some(name) => format!("did you mean '{}'?", name.as_ref()),
        None => format!("see {} --help", D::TOPIC.command()),
    };
    Error::Unknown { given: given.to_owned(), hint }
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
