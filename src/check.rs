//! `aimock check`: every problem of a folder of fixtures, and which recordings nothing uses.

use crate::cli::{CheckArgs, Format};
use crate::clock;
use crate::error::Error;
use crate::fixture::Fixture;
use crate::fixture::check::{Also, Source, check};
use crate::fixture::file::{self, FixtureFile, Problem, Severity};
use crate::json;
use crate::output::STDOUT;
use crate::request::canonical::Hash;
use serde::Deserialize;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::path::Path;

const SECONDS_A_DAY: i64 = 86_400;

/// Prints every problem; the program's exit code, 1 where there is an error among them or, where that is asked for, a
/// warning.
///
/// # Errors
/// The report of `--unused` cannot be read, or says too little for `--prune`; or a file cannot be pruned.
pub fn run(args: &CheckArgs) -> Result<u8, Error> {
    let found = found(args, clock::unix_ms().div_euclid(1000))?;
    let text = match args.format {
        Format::Text => found.text(),
        Format::Json => found.json(),
    };
    STDOUT.print(&text); // a reader that has gone away is no failure; the exit code still says what was found
    let warnings = if args.strict { found.count(Severity::Warning) } else { 0 };
    Ok(u8::from(found.count(Severity::Error) + warnings > 0))
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    problems: Vec<Problem>,
    files: usize,
    fixtures: usize,
    /// Recordings that were deleted.
    pruned: usize,
    /// Unused recordings that were not: those of tests that the run did not see, and those of no test.
    kept: [usize; 2],
}

/// Reads all files and looks for problems, `now` in Unix seconds.
fn found(args: &CheckArgs, now: i64) -> Result<Found, Error> {
    let oldest = args
        .max_age_days
        .map(|days| now.saturating_sub(i64::try_from(days).unwrap_or(i64::MAX).saturating_mul(SECONDS_A_DAY)));
    let run = args.unused.as_deref().map(Run::read).transpose()?;
    if let Some(why) = run.as_ref().filter(|_| args.prune).and_then(Run::is_no_whole_run) {
        return Err(Error::Value { name: "--prune".into(), value: None, problem: why });
    }
    let also = Also { oldest, unused: run.as_ref().map(Run::unused).unwrap_or_default() };
    let mut found = Found::default();
    let mut sources = Vec::new();
    for path in file::absent(&args.paths) {
        found.problems.push(Problem::of_file(Severity::Error, path, file::ABSENT));
    }
    for path in &args.paths {
        let known = (sources.len(), found.problems.len());
        for file in file::files(std::slice::from_ref(path), &mut found.problems) {
            match source(file) {
                Ok(source) => sources.push(source),
                Err(problem) => found.problems.push(problem),
            }
        }
        let nothing = |source: &Source| source.parsed.is_whole() && source.parsed.is_empty();
        if path.exists() && found.problems.len() == known.1 && sources[known.0..].iter().all(nothing) {
            found.problems.push(Problem::of_file(Severity::Error, path, "there is no fixture in it"));
        }
    }
    found.files = sources.len();
    found.fixtures = sources.iter().map(|s| s.parsed.fixtures.len()).sum();
    found.problems.extend(check(&sources, &also));
    if let Some(run) = run.filter(|_| args.prune) {
        found.prune(&sources, &also, &|test| match test {
            Some(test) => run.tests.contains(test),
            None => args.untagged,
        })?;
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

/// What a run's `--report` says of fixtures and tests.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    unused: Vec<Unused>,
    #[serde(default)]
    tests: HashSet<String>,
    command_exit: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Unused {
    file: String,
    index: usize,
    request_hash: Option<String>,
}

impl Run {
    fn read(report: &Path) -> Result<Self, Error> {
        let bytes =
            file::read_bytes(report).map_err(|source| Error::Io { verb: "read", path: report.to_owned(), source })?;
        json::parse(&bytes).map_err(|e| Error::Value {
            name: "--unused".into(),
            value: Some(report.display().to_string()),
            problem: format!("expected a file that --report wrote: {e}"),
        })
    }

    /// The fixtures that it did not use.
    fn unused(&self) -> HashMap<(String, usize), Option<Hash>> {
        let place = |u: &Unused| ((u.file.clone(), u.index), u.request_hash.as_deref().and_then(Hash::parse));
        self.unused.iter().map(place).collect()
    }

    /// Why nothing can be deleted by it.
    fn is_no_whole_run(&self) -> Option<String> {
        let how = match self.command_exit {
            Some(0) => return None,
            Some(code) => format!("the command of the run behind this report ended with {code}"),
            None => "the run behind this report was none of a command".into(),
        };
        Some(format!("{how}, so it may not have come to all that is used: aimock --report FILE -- COMMAND"))
    }
}

impl Found {
    /// Deletes from their files the unused recordings of those tests that `may_go`. Where two folders have a file of the
    /// same name, the report does not say which was meant, and both stay.
    fn prune(&mut self, sources: &[Source], also: &Also, may_go: &dyn Fn(Option<&str>) -> bool) -> Result<(), Error> {
        let mut names: HashMap<&str, usize> = HashMap::new();
        sources.iter().for_each(|source| *names.entry(&source.name).or_default() += 1);
        for source in sources {
            let numbered = source.parsed.fixtures.iter().zip(source.parsed.indices());
            let unused = numbered.filter(|(fixture, index)| also.is_unused(&source.name, *index, fixture));
            let test = |fixture: &Fixture| fixture.matcher.test_id.clone();
            let (gone, kept): (Vec<&Fixture>, Vec<&Fixture>) =
                unused.map(|(fixture, _)| fixture).partition(|fixture| may_go(test(fixture).as_deref()));
            kept.iter().for_each(|fixture| self.kept[usize::from(fixture.matcher.test_id.is_none())] += 1);
            if gone.is_empty() {
                continue;
            }
            if names[&*source.name] > 1 {
                let message = "not pruned: another folder has a file of this name too; check one folder at a time";
                self.problems.push(Problem::of_file(Severity::Warning, &source.path, message));
                continue;
            }
            self.pruned += file::remove(&source.path, gone).map_err(|e| Error::Io {
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
        for (kept, why) in self.kept.iter().zip(["of tests that the run did not see", "of no test (--untagged)"]) {
            if *kept > 0 {
                text += &format!("{} kept: {why}\n", of(*kept, "unused recording"));
            }
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
            "kept": self.kept.iter().sum::<usize>(),
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
        CheckArgs { paths, ..CheckArgs::default() }
    }

    #[test]
    fn unused_recordings_of_tests_that_ran_are_deleted_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("aimock-check-{}", std::process::id()));
        let of_test = |n: u64, test: Option<&str>| {
            let mut fixture = Fixture::new(Match::message(format!("{n}")), Reply::text("a"));
            fixture.metadata.request_hash = Some(Hash(n));
            fixture.matcher.test_id = test.map(str::to_owned);
            fixture
        };
        let by_hand = Fixture::new(Match::message("hand"), Reply::text("a"));
        let [ran, other, none, changed] =
            [of_test(1, Some("ran")), of_test(2, Some("other")), of_test(3, None), of_test(4, Some("ran"))];
        let text = file::write(&[&ran, &by_hand, &other, &none, &changed]);
        file::save_atomic(&folder.join("f/a.json"), text.as_bytes()).unwrap();
        file::save_atomic(&folder.join("f/b.json"), file::write(&[&of_test(5, Some("ran"))]).as_bytes()).unwrap();
        let report = folder.join("report.json");
        let place = |file: &str, index: usize, hash: u64| json!({"file": file, "index": index, "requestHash": Hash(hash).to_string()});
        let unused = [
            place("a.json", 0, 1),
            json!({"file": "a.json", "index": 1}),
            place("a.json", 2, 2),
            place("a.json", 3, 3),
            place("a.json", 4, 99), // another recording stands there by now
            place("b.json", 0, 5),
            place("gone.json", 0, 6),
        ];
        let write = |exit: serde_json::Value| {
            let text = json!({"hits": 1, "unused": unused, "tests": ["ran"], "commandExit": exit}).to_string();
            fs::write(&report, text).unwrap();
        };

        write(json!(1));
        let mut args = CheckArgs { unused: Some(report.clone()), ..args(vec![folder.join("f")]) };
        let listed = found(&args, 0).unwrap();
        assert_eq!((listed.problems.len(), listed.pruned), (4, 0), "{:?}", listed.problems);
        args.prune = true;
        for (exit, says) in [(json!(1), "ended with 1"), (json!(null), "was none of a command")] {
            write(exit);
            let refused = found(&args, 0).unwrap_err();
            assert!(refused.exit_code() == 2 && refused.to_string().contains(says), "{refused}");
        }
        write(json!(0));
        let pruned = found(&args, 0).unwrap().text();
        let said = "2 unused recordings deleted\n1 unused recording kept: of tests that the run did not see\n\
                    1 unused recording kept: of no test (--untagged)\n";
        assert!(pruned.ends_with(said), "{pruned}");
        assert!(!folder.join("f/b.json").exists());
        let left = || file::read_file(&folder.join("f/a.json")).fixtures;
        assert_eq!(left(), [by_hand.clone(), other.clone(), none, changed.clone()]);

        args.untagged = true;
        fs::write(&report, json!({"unused": [place("a.json", 2, 3)], "commandExit": 0}).to_string()).unwrap();
        found(&args, 0).unwrap();
        assert_eq!(left(), [by_hand, other, changed]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn for_machines() {
        let found = found(&args(vec!["/none".into()]), 0).unwrap();
        let json: serde_json::Value = serde_json::from_str(&found.json()).unwrap();
        let problem = json!({"severity": "error", "file": "/none", "path": "", "line": null, "column": null,
            "message": "no such file or folder"});
        assert_eq!((json["errors"].as_u64(), &json["problems"]), (Some(1), &json!([problem])));
    }
}
