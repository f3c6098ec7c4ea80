//! `aimock check`: every problem of a folder of fixtures, and which recordings nothing uses.

use crate::cli::{CheckArgs, Format};
use crate::clock;
use crate::error::Error;
use crate::fixture::Fixture;
use crate::fixture::check::{Also, Source, check};
use crate::fixture::file::{self, FixtureFile, Problem, Severity};
use crate::json;
use crate::output::STDOUT;
use serde::Deserialize;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::path::Path;

const SECONDS_A_DAY: i64 = 86_400;

/// Prints every problem; the program's exit code, 1 where there is an error among them.
///
/// # Errors
/// The report of `--unused` cannot be read, or a file cannot be pruned.
pub fn run(args: &CheckArgs) -> Result<u8, Error> {
    let found = found(args, clock::unix_ms().div_euclid(1000))?;
    let text = match args.format {
        Format::Text => found.text(),
        Format::Json => found.json(),
    };
    STDOUT.print(&text); // a reader that has gone away is no failure; the exit code still says what was found
    Ok(u8::from(found.count(Severity::Error) > 0))
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    problems: Vec<Problem>,
    files: usize,
    fixtures: usize,
    /// Recordings that were deleted.
    pruned: usize,
}

/// Reads all files and looks for problems, `now` in Unix seconds.
fn found(args: &CheckArgs, now: i64) -> Result<Found, Error> {
    let oldest = args
        .max_age_days
        .map(|days| now.saturating_sub(i64::try_from(days).unwrap_or(i64::MAX).saturating_mul(SECONDS_A_DAY)));
    let unused = args.unused.as_deref().map_or(Ok(HashSet::new()), unused_of)?;
    let also = Also { oldest, unused };
    let mut found = Found::default();
    let mut sources = Vec::new();
    for file in file::files(&args.paths, &mut found.problems) {
        match source(file) {
            Ok(source) => sources.push(source),
            Err(problem) => found.problems.push(problem),
        }
    }
    found.files = sources.len();
    found.fixtures = sources.iter().map(|s| s.parsed.fixtures.len()).sum();
    found.problems.extend(check(&sources, &also));
    if args.prune {
        found.prune(&sources, &also)?;
    }
    Ok(found)
}

/// Reads a file; that it cannot be read is a problem.
fn source(file: FixtureFile) -> Result<Source, Problem> {
    let FixtureFile { path, name } = file;
    let unread = |e| Problem::of_file(Severity::Error, &path, format!("cannot be read: {e}"));
    let bytes = file::read_bytes(&path).map_err(unread)?;
    let mut parsed = file::parse(&bytes);
    parsed.name_file(&path);
    // What is not UTF-8 has no fixture whose place could be asked for.
    let text = String::from_utf8(bytes).unwrap_or_default();
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    Ok(Source { path, name, text, parsed })
}

/// The fixtures that a run did not use, from its `--report`.
fn unused_of(report: &Path) -> Result<HashSet<(String, usize)>, Error> {
    #[derive(Deserialize)]
    struct Report {
        unused: Vec<Unused>,
    }
    #[derive(Deserialize)]
    struct Unused {
        file: String,
        index: usize,
    }
    let bytes =
        file::read_bytes(report).map_err(|source| Error::Io { verb: "read", path: report.to_owned(), source })?;
    let report: Report = json::parse(&bytes).map_err(|e| Error::Value {
        name: "--unused".into(),
        value: Some(report.display().to_string()),
        problem: format!("expected a file that --report wrote: {e}"),
    })?;
    Ok(report.unused.into_iter().map(|Unused { file, index }| (file, index)).collect())
}

impl Found {
    /// Deletes the unused recordings from their files. Where two folders have a file of the same name, the report does
    /// not say which was meant, and both stay.
    fn prune(&mut self, sources: &[Source], also: &Also) -> Result<(), Error> {
        let mut names: HashMap<&str, usize> = HashMap::new();
        sources.iter().for_each(|source| *names.entry(&source.name).or_default() += 1);
        for source in sources {
            let numbered = source.parsed.fixtures.iter().zip(source.parsed.indices());
            let unused =
                |(f, index): &(&Fixture, usize)| f.recorded() && also.unused.contains(&(source.name.clone(), *index));
            let mut unused: Vec<&Fixture> = numbered.filter(unused).map(|(fixture, _)| fixture).collect();
            if unused.is_empty() {
                continue;
            }
            if names[&*source.name] > 1 {
                let message = "not pruned: another folder has a file of this name too; check one folder at a time";
                self.problems.push(Problem::of_file(Severity::Warning, &source.path, message));
                continue;
            }
            self.pruned += unused.len();
            let without_unused = |mut fixtures: Vec<Fixture>| {
                fixtures.retain(|fixture| match unused.iter().position(|u| *u == fixture) {
                    Some(at) => {
                        unused.swap_remove(at);
                        false
                    }
                    None => true,
                });
                fixtures
            };
            file::update_locked(&source.path, without_unused).map_err(|e| Error::Io {
                verb: "write",
                path: source.path.clone(),
                source: e,
            })?;
        }
        Ok(())
    }

    fn count(&self, severity: Severity) -> usize {
        self.problems.iter().filter(|p| p.severity == severity).count()
    }

    fn text(&self) -> String {
        let mut text: String = self.problems.iter().map(|problem| format!("{problem}\n")).collect();
        let of = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        text += &format!(
            "{} in {}: {}, {}\n",
            of(self.fixtures, "fixture"),
            of(self.files, "file"),
            of(self.count(Severity::Error), "error"),
            of(self.count(Severity::Warning), "warning"),
        );
        if self.pruned > 0 {
            text += &format!("{} deleted\n", of(self.pruned, "unused recording"));
        }
        text
    }

    fn json(&self) -> String {
        let problem = |problem: &Problem| {
            let place = |n: usize| Some(n).filter(|n| *n > 0);
            json!({
                "severity": problem.severity.word(),
                "file": problem.file.as_ref().map(|file| file.display().to_string()),
                "path": problem.json_path,
                "line": place(problem.line),
                "column": place(problem.column),
                "message": problem.message,
            })
        };
        let report = json!({
            "files": self.files,
            "fixtures": self.fixtures,
            "errors": self.count(Severity::Error),
            "warnings": self.count(Severity::Warning),
            "pruned": self.pruned,
            "problems": self.problems.iter().map(problem).collect::<Vec<_>>(),
        });
        format!("{report:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Fixture, Match};
    use crate::reply::Reply;
    use crate::request::canonical::Hash;
    use std::fs;
    use std::path::PathBuf;

    fn args(paths: Vec<PathBuf>) -> CheckArgs {
        CheckArgs { paths, format: Format::Text, unused: None, prune: false, max_age_days: None }
    }

    #[test]
    fn unused_recordings_are_deleted_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("aimock-check-{}", std::process::id()));
        let recorded = |n: u64| {
            let mut fixture = Fixture::new(Match::message(format!("{n}")), Reply::text("a"));
            fixture.metadata.request_hash = Some(Hash(n));
            fixture
        };
        let by_hand = Fixture::new(Match::message("hand"), Reply::text("a"));
        let text = file::write(&[&recorded(1), &by_hand, &recorded(2)]);
        file::save_atomic(&folder.join("f/a.json"), text.as_bytes()).unwrap();
        file::save_atomic(&folder.join("f/b.json"), file::write(&[&recorded(3)]).as_bytes()).unwrap();
        let report = folder.join("report.json");
        let unused = json!({"hits": 1, "unused": [{"file": "a.json", "index": 1}, {"file": "a.json", "index": 2},
            {"file": "b.json", "index": 0, "recorded": true}, {"file": "gone.json", "index": 0}]});
        fs::write(&report, unused.to_string()).unwrap();

        let mut args = CheckArgs { unused: Some(report), ..args(vec![folder.join("f")]) };
        let found_first = found(&args, 0).unwrap();
        assert_eq!((found_first.problems.len(), found_first.pruned), (2, 0), "{:?}", found_first.problems);
        args.prune = true;
        let pruned = found(&args, 0).unwrap();
        assert!(pruned.text().ends_with("4 fixtures in 2 files: 0 errors, 2 warnings\n2 unused recordings deleted\n"));
        assert!(!folder.join("f/b.json").exists());
        assert_eq!(file::read_file(&folder.join("f/a.json")).fixtures, [recorded(1), by_hand]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn for_machines() {
        let found = found(&args(vec!["/none".into()]), 0).unwrap();
        let json: serde_json::Value = serde_json::from_str(&found.json()).unwrap();
        let problem = json!({"severity": "warning", "file": "/none", "path": "", "line": null, "column": null,
            "message": "no such file or folder"});
        assert_eq!((json["errors"].as_u64(), &json["problems"]), (Some(0), &json!([problem])));
    }
}
