//! `aimock [OPTIONS] -- COMMAND`: runs a command whose SDKs ask this server, and ends with it.

use crate::error::Error;
use crate::provider::PROVIDERS;
use crate::signals::Signals;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Instant;
use tokio::process::{Child, Command};

/// The server's URL, for whatever reads no provider's variable.
const URL_VARIABLE: &str = "AIMOCK_URL";

/// What shells add to a signal's number to make an exit code of it.
const SIGNAL_BASE: i32 = 128;

/// How the command ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ended {
    /// Its exit code.
    pub code: u8,
    /// When SIGTERM came, if it did.
    pub terminated: Option<Instant>,
}

/// Runs the command until it ends, passing signals on to it. Where the server asks for a key, this is one.
///
/// # Errors
/// [`Error::Command`]: it cannot be started.
pub async fn run(command: &[OsString], address: SocketAddr, key: Option<&str>) -> Result<Ended, Error> {
    let mut ended = Ended::default();
    let Some((program, arguments)) = command.split_first() else { return Ok(ended) };
    let mut signals = Signals::new()?;
    let url = format!("http://{}", reachable(address));
    let failed = |source| Error::Command { program: program.to_string_lossy().into_owned(), source };
    let mut command = Command::new(program);
    command.args(arguments).envs(variables(&url, key, |name| std::env::var_os(name)));
    let mut child = command.spawn().map_err(failed)?;
    loop {
        tokio::select! {
            status = child.wait() => {
                ended.code = exit_code(status.map_err(failed)?);
                return Ok(ended);
            }
            signal = signals.next() => {
                if signal == Signal::TERM {
                    ended.terminated.get_or_insert_with(Instant::now);
                }
                pass_on(signal, &child);
            }
        }
    }
}

/// The address by which a program on the same machine reaches the server.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// What stands for a key in the table of providers.
const PLACEHOLDER_KEY: &str = "sk-aimock-placeholder";

/// The variables that the command gets beside its parent's: base URLs always, placeholders for keys and the like only
/// where nothing is set, so that a key that is there can still be recorded with. The server's own key is set always, as
/// nothing is answered without it.
fn variables(url: &str, key: Option<&str>, set: impl Fn(&str) -> Option<OsString>) -> Vec<(&'static str, OsString)> {
    let is_set = |name: &str| set(name).is_some_and(|value| !value.is_empty());
    let mut variables = vec![(URL_VARIABLE, OsString::from(url))];
    for (name, value) in PROVIDERS.iter().flat_map(|provider| provider.sdk_variables) {
        match key {
            Some(key) if *value == PLACEHOLDER_KEY => variables.push((name, key.into())),
            _ if value.contains("{url}") || !is_set(name) => {
                variables.push((name, value.replace("{url}", url).into()));
            }
            _ => {}
        }
    }
    // A proxy for the internet does not know this server.
    if PROXY_VARIABLES.into_iter().any(is_set) {
        let host = url.trim_start_matches("http://").rsplit_once(':').map_or(url, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        variables.extend(NO_PROXY_VARIABLES.map(|name| (name, with_host(set(name), host))));
    }
    variables
}

const PROXY_VARIABLES: [&str; 6] = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const NO_PROXY_VARIABLES: [&str; 2] = ["NO_PROXY", "no_proxy"];

fn with_host(list: Option<OsString>, host: &str) -> OsString {
    match list.filter(|list| !list.is_empty()) {
        Some(mut list) => {
            list.push(OsStr::new(","));
            list.push(OsStr::new(host));
            list
        }
        None => host.into(),
    }
}

fn pass_on(signal: Signal, child: &Child) {
    // Ctrl-C in a terminal reaches the command by itself; twice would be more than the user asked for.
    if signal == Signal::INT && std::io::stdin().is_terminal() {
        return;
    }
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(id) = id {
        // A command that has just ended needs no signal.
        let _ = kill_process(id, signal);
    }
}

/// The command's exit code, or 128 and the number of the signal that ended it.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| SIGNAL_BASE + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(set: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        |name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(*value))
    }

    fn value<'v>(variables: &'v [(&str, OsString)], name: &str) -> Option<&'v str> {
        variables.iter().find(|(n, _)| *n == name).and_then(|(_, value)| value.to_str())
    }

    #[test]
    fn base_urls_always_and_keys_where_there_are_none() {
        let url = "http://127.0.0.1:4010";
        let all = variables(url, None, with(&[("ANTHROPIC_API_KEY", "")]));
        assert_eq!(value(&all, "AIMOCK_URL"), Some(url));
        assert_eq!(value(&all, "OPENAI_BASE_URL"), Some("http://127.0.0.1:4010/v1"));
        assert_eq!(value(&all, "OPENAI_API_KEY"), Some("sk-aimock-placeholder"));
        assert_eq!(value(&all, "ANTHROPIC_API_KEY"), Some("sk-aimock-placeholder"), "an empty one is none");
        assert_eq!(value(&all, "NO_PROXY"), None);
        let own =
            variables(url, None, with(&[("OPENAI_API_KEY", "sk-mine"), ("OPENAI_BASE_URL", "https://elsewhere")]));
        assert_eq!(value(&own, "OPENAI_API_KEY"), None);
        assert_eq!(value(&own, "OPENAI_BASE_URL"), Some("http://127.0.0.1:4010/v1"));
        let keyed = variables(url, Some("k1"), with(&[("OPENAI_API_KEY", "sk-mine"), ("AWS_REGION", "eu-west-3")]));
        assert_eq!(value(&keyed, "OPENAI_API_KEY"), Some("k1"), "the server answers nothing else");
        assert_eq!((value(&keyed, "AWS_ACCESS_KEY_ID"), value(&keyed, "AWS_REGION")), (Some("k1"), None));
    }

    #[test]
    fn no_variable_is_set_twice() {
        let all = variables("http://127.0.0.1:1", None, with(&[("HTTP_PROXY", "http://proxy")]));
        let mut names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn the_server_is_reached_past_a_proxy() {
        let all =
            variables("http://127.0.0.1:1", None, with(&[("https_proxy", "http://proxy"), ("no_proxy", "internal")]));
        assert_eq!(value(&all, "no_proxy"), Some("internal,127.0.0.1"));
        assert_eq!(value(&all, "NO_PROXY"), Some("127.0.0.1"));
        let all = variables("http://[::1]:1", None, with(&[("HTTP_PROXY", "http://proxy")]));
        assert_eq!(value(&all, "NO_PROXY"), Some("::1"));
    }

    #[test]
    fn a_server_on_all_addresses_is_reached_on_one() {
        for (listens, reached) in
            [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("10.0.0.1:80", "10.0.0.1:80")]
        {
            assert_eq!(reachable(listens.parse().unwrap()).to_string(), reached);
        }
    }

    #[test]
    fn signals_are_exit_codes() {
        assert_eq!(exit_code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(exit_code(ExitStatus::from_raw(15)), 143);
    }
}
