//! The text of `--help`, made from the table of flags and the table of providers.

use super::flags::{FLAGS, Flag, Group, Takes};
use crate::provider::PROVIDERS;

/// Columns that the text fits in.
const WIDTH: usize = 100;

const HEAD: &str = "\
Answers LLM API calls from JSON fixtures, and records what it does not know.

Usage: aimock [OPTIONS] [-- COMMAND [ARG…]]
       aimock check [PATH…] [--format text|json] [--unused REPORT [--prune]] [--max-age DAYS]
       aimock convert vcr|har|aimock PATH… -o DIR
       aimock health [URL]
";

const COMMANDS: &[(&str, &str)] = &[
    ("-- COMMAND [ARG…]", "Run this with the SDKs' base URLs set, and stop with it"),
    ("check [PATH…]", "Print every problem of the fixtures in PATH (./fixtures)"),
    ("    --format FORMAT", "text or json (text)"),
    ("    --unused REPORT", "List the recordings that the run behind this report did not use"),
    ("    --prune", "Delete them"),
    ("convert FORMAT PATH…", "Make fixtures of VCR.py cassettes (vcr), HAR files (har) or aimock folders (aimock)"),
    ("-o, --out DIR", "Folder to write them to"),
    ("health [URL]", "Exit with code 0 where a server answers (http://127.0.0.1:4010)"),
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
    ("1", "A request did not match in -- COMMAND, check found problems, or health found no server"),
    ("2", "Usage or configuration"),
    ("3", "The address cannot be listened on"),
];

/// The help, with a line end.
pub fn help() -> String {
    let mut text = String::from(HEAD);
    section(&mut text, "Commands", COMMANDS.iter().map(|(left, right)| (format!("  {left}"), (*right).to_owned())));
    for group in Group::ALL {
        let rows = FLAGS.iter().filter(|flag| flag.group == group).map(|flag| (left(flag), flag.help.to_owned()));
        if group == Group::Upstreams {
            section(&mut text, group.title(), upstreams().chain(rows));
        } else {
            section(&mut text, group.title(), rows);
        }
    }
    for (title, rows) in [("Environment", ENVIRONMENT), ("Exit codes", EXIT_CODES)] {
        section(&mut text, title, rows.iter().map(|(left, right)| (format!("  {left}"), (*right).to_owned())));
    }
    text
}

fn upstreams() -> impl Iterator<Item = (String, String)> {
    PROVIDERS.iter().map(|provider| {
        (format!("      --provider-{} URL", provider.name), format!("Where {} is asked on a miss", provider.title))
    })
}

fn left(flag: &Flag) -> String {
    let short = flag.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
    let value = match flag.takes {
        Takes::Text(value, _) | Takes::Secret(value, _) | Takes::Path(value, _) => format!(" {value}"),
        Takes::Nothing(_) | Takes::Instead(_) => String::new(),
    };
    format!("  {short}--{}{value}", flag.name)
}

/// Column where the right side begins, in every section.
const RIGHT: usize = 35;

/// One section: the left sides indented, the right sides aligned and wrapped.
fn section(text: &mut String, title: &str, rows: impl Iterator<Item = (String, String)>) {
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

    #[test]
    fn every_flag_stands_under_its_heading() {
        let help = help();
        for flag in FLAGS {
            let section = help.split(&format!("\n{}:\n", flag.group.title())).nth(1).expect("a heading");
            let section = section.split("\n\n").next().unwrap_or_default();
            assert!(section.lines().any(|line| line.starts_with(&left(flag))), "{}", flag.name);
        }
        for provider in PROVIDERS {
            assert!(help.contains(&format!("--provider-{} URL", provider.name)));
        }
    }

    #[test]
    fn fits_and_is_aligned() {
        for line in help().lines().skip_while(|line| *line != "Commands:").filter(|line| line.starts_with(' ')) {
            assert!(line.chars().count() <= WIDTH, "{line}");
            assert_eq!(line, line.trim_end());
            let chars: Vec<char> = line.chars().collect();
            let alone = chars.len() <= RIGHT || line.starts_with("  AWS_");
            assert!(alone || (chars[RIGHT - 1] == ' ' && chars[RIGHT] != ' '), "{line}");
        }
        assert!(HEAD.lines().all(|line| line.chars().count() <= WIDTH));
    }

    #[test]
    fn ends_with_one_line_end() {
        assert!(help().ends_with("listened on\n"));
    }
}
