//! The text of `--help`, made from the table of flags and the table of providers.

use super::flags::{self, Flag, Group, Takes};
use crate::provider::PROVIDERS;

/// Columns that the text fits in.
const WIDTH: usize = 100;

/// A page of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The server, and what else there is.
    Server,
    /// `aimock check`.
    Check,
    /// `aimock convert`.
    Convert,
    /// `aimock health`.
    Health,
}

impl Topic {
    /// Those of commands that have a name.
    pub(super) const ALL: [Topic; 3] = [Topic::Check, Topic::Convert, Topic::Health];

    /// The command's name; empty for the server.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Topic::Server => "",
            Topic::Check => "check",
            Topic::Convert => "convert",
            Topic::Health => "health",
        }
    }

    /// How it is called.
    pub(super) fn command(self) -> String {
        format!("aimock {}", self.name()).trim_end().to_owned()
    }

    fn head(self) -> &'static str {
        match self {
            Topic::Server => HEAD,
            Topic::Check => {
                "\
Prints every problem of fixtures, each with its file, line and place.

Usage: aimock check [OPTIONS] [PATH…]

PATH is a file, or a folder that is read recursively (./fixtures).
"
            }
            Topic::Convert => {
                "\
Makes fixtures of other tools' recordings.

Usage: aimock convert FORMAT PATH… -o DIR

FORMAT is vcr (VCR.py cassettes), har (HTTP archives) or aimock (folders of other aimock versions).
PATH is a file, or a folder that is read recursively.
"
            }
            Topic::Health => {
                "\
Asks a server whether it is well, for container health checks.

Usage: aimock health [URL]

URL is that of the server (http://127.0.0.1:4010, or AIMOCK_HOST).
"
            }
        }
    }

    fn exit_codes(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Topic::Server => EXIT_CODES,
            Topic::Check => CHECK_CODES,
            Topic::Convert => CONVERT_CODES,
            Topic::Health => HEALTH_CODES,
        }
    }
}

const HEAD: &str = "\
Answers LLM API calls from JSON fixtures, and records what it does not know.

Usage: aimock [OPTIONS] [-- COMMAND [ARG…]]
       aimock check [OPTIONS] [PATH…]
       aimock convert vcr|har|aimock PATH… -o DIR
       aimock health [URL]
       aimock help [COMMAND]
";

const COMMANDS: &[(&str, &str)] = &[
    ("-- COMMAND [ARG…]", "Run this with the SDKs' base URLs set, and stop with it"),
    ("check", "Print every problem of fixtures, and which recordings nothing uses"),
    ("convert", "Make fixtures of VCR.py cassettes, HAR files or other aimock folders"),
    ("health", "Exit with code 0 where a server answers"),
    ("help [COMMAND]", "Print this text, or a command's own"),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    ("AIMOCK_HOST", "Address to listen on where --host is not given"),
    ("AIMOCK_API_KEYS", "More keys as --api-key takes them, with commas between them"),
    (
        "AIMOCK_PROVIDER_<NAME>_KEY",
        "Key sent to an upstream where the client has none, or one that begins with sk-aimock-",
    ),
    ("AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION", "Sign requests to AWS"),
    ("SSL_CERT_FILE", "More certificate authorities for upstreams, PEM"),
    ("HTTPS_PROXY, NO_PROXY", "The way to upstreams"),
];

const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "Stopped as asked"),
    ("1", "In -- COMMAND: that ended well, but a request was not answered or a recording not written"),
    ("2", "Usage or configuration; under --strict: fixtures that are broken or not there"),
    ("3", "The address cannot be listened on"),
];

const CHECK_CODES: &[(&str, &str)] = &[
    ("0", "No errors"),
    ("1", "Errors (under --strict: or warnings), a PATH that does not exist, or one without a fixture"),
    ("2", "Usage"),
];

const CONVERT_CODES: &[(&str, &str)] = &[
    ("0", "Converted"),
    ("1", "Something could not be read or written, or there was nothing to convert"),
    ("2", "Usage"),
];

const HEALTH_CODES: &[(&str, &str)] = &[("0", "It answers"), ("1", "It does not"), ("2", "Usage")];

/// A page of the help, with a line end.
pub fn help(topic: Topic) -> String {
    let mut text = String::from(topic.head());
    match topic {
        Topic::Server => {
            section(&mut text, "Commands", pairs(COMMANDS));
            options(&mut text, flags::FLAGS);
            section(&mut text, "Environment", pairs(ENVIRONMENT));
        }
        Topic::Check => options(&mut text, flags::CHECK),
        Topic::Convert => options(&mut text, flags::CONVERT),
        Topic::Health => options(&mut text, flags::HEALTH),
    }
    section(&mut text, "Exit codes", pairs(topic.exit_codes()));
    text
}

fn pairs(rows: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    rows.iter().map(|(left, right)| (format!("  {left}"), (*right).to_owned()))
}

/// Every flag under its heading.
fn options<D>(text: &mut String, flags: &[Flag<D>]) {
    for group in Group::ALL {
        let rows = flags.iter().filter(|flag| flag.group == group).map(|flag| (left(flag), flag.help.to_owned()));
        if group == Group::Upstreams && rows.clone().next().is_some() {
            section(text, group.title(), upstreams().chain(rows));
        } else {
            section(text, group.title(), rows);
        }
    }
}

fn upstreams() -> impl Iterator<Item = (String, String)> {
    PROVIDERS.iter().map(|provider| {
        (format!("      --provider-{} URL", provider.name), format!("Where {} is asked on a miss", provider.title))
    })
}

fn left<D>(flag: &Flag<D>) -> String {
    let short = flag.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
    let value = match &flag.takes {
        Takes::Text(value, _) | Takes::Secret(value, _) | Takes::Path(value, _) => format!(" {value}"),
        Takes::Nothing(_) | Takes::Instead(_) => String::new(),
    };
    format!("  {short}--{}{value}", flag.name)
}

/// Column where the right side begins, in every section.
const RIGHT: usize = 35;

/// One section: the left sides indented, the right sides aligned and wrapped. None where it has no rows.
fn section(text: &mut String, title: &str, rows: impl Iterator<Item = (String, String)>) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    text.push_str(&format!("\n{title}:\n"));
    for (left, right) in rows {
        let mut line = left;
        if line.chars().count() + 2 > RIGHT {
            text.push_str(&line);
            text.push('\n');
            line.clear();
        }
        pad(&mut line);
        for word in right.split(' ') {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                text.push_str(line.trim_end());
                text.push('\n');
                line.clear();
                pad(&mut line);
            }
            line.push_str(word);
            line.push(' ');
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn pad(line: &mut String) {
    let missing = RIGHT.saturating_sub(line.chars().count());
    line.extend(std::iter::repeat_n(' ', missing));
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: [Topic; 4] = [Topic::Server, Topic::Check, Topic::Convert, Topic::Health];

    fn every_flag_of<D>(flags: &[Flag<D>], page: Topic) {
        let help = help(page);
        for flag in flags {
            let section = help.split(&format!("\n{}:\n", flag.group.title())).nth(1).expect("a heading");
            let section = section.split("\n\n").next().unwrap_or_default();
            assert!(section.lines().any(|line| line.starts_with(&left(flag))), "{}", flag.name);
        }
    }

    #[test]
    fn every_flag_stands_under_its_heading() {
        every_flag_of(flags::FLAGS, Topic::Server);
        every_flag_of(flags::CHECK, Topic::Check);
        every_flag_of(flags::CONVERT, Topic::Convert);
        every_flag_of(flags::HEALTH, Topic::Health);
        for provider in PROVIDERS {
            let flag = format!("--provider-{} URL", provider.name);
            assert!(PAGES.iter().all(|page| help(*page).contains(&flag) == (*page == Topic::Server)));
        }
    }

    #[test]
    fn fits_and_is_aligned() {
        for page in PAGES {
            let text = help(page);
            let (head, sections) = text.split_at(page.head().len());
            assert!(head.lines().all(|line| line.chars().count() <= WIDTH), "{head}");
            for line in sections.lines().filter(|line| line.starts_with(' ')) {
                assert!(line.chars().count() <= WIDTH, "{line}");
                assert_eq!(line, line.trim_end());
                let chars: Vec<char> = line.chars().collect();
                let alone = chars.len() <= RIGHT || line.starts_with("  AWS_");
                assert!(alone || (chars[RIGHT - 1] == ' ' && chars[RIGHT] != ' '), "{line}");
            }
            assert!(text.ends_with('\n') && !text.ends_with("\n\n"));
        }
    }
}
