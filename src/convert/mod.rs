//! `aimock convert`: other tools' recordings made into fixtures, by the same codecs and collapsers as a recording.
//!
//! Each input file becomes one file of fixtures in the output folder, of the same name but for its ending. Nothing that
//! is there already is replaced.

mod har;
mod http;
mod inflate;
mod vcr;
mod yaml;

use crate::cli::{ConvertArgs, Source};
use crate::error::Error;
use crate::fixture::file::{self, FixtureFile, Parsed, Problem, Severity};
use crate::output::{STDERR, STDOUT};
use crate::redact::Redactor;
use http::Converter;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// Converts; the program's exit code, 1 where there was an error.
///
/// # Errors
/// None but those of a command line that makes no sense: what cannot be read or written is printed, and the rest is
/// converted.
pub fn run(args: &ConvertArgs) -> Result<u8, Error> {
    let done = convert(args);
    STDOUT.print(&done.lines);
    STDERR.print(&done.problems.iter().map(|p| format!("{p}\n")).collect::<String>());
    Ok(u8::from(done.problems.iter().any(Problem::is_error)))
}

/// What was done.
#[derive(Debug, Default)]
struct Done {
    /// A line a file that was written, and one on the whole.
    lines: String,
    problems: Vec<Problem>,
}

fn convert(args: &ConvertArgs) -> Done {
    let endings: &[&str] = match args.from {
        Source::Vcr => &["yaml", "yml", "json"],
        Source::Har => &["har"],
        Source::Aimock => &["json"],
    };
    let mut done = Done::default();
    let (mut fixtures, mut files) = (0, 0);
    for path in file::absent(&args.paths) {
        done.problems.push(Problem::of_file(Severity::Error, path, file::ABSENT));
    }
    for file in file::files_ending(&args.paths, endings, &mut done.problems) {
        if let Some(made) = convert_file(&file, args, &mut done) {
            fixtures += made;
            files += 1;
        }
    }
    if fixtures == 0 && !done.problems.iter().any(Problem::is_error) {
        let named: Vec<String> = args.paths.iter().map(|path| path.display().to_string()).collect();
        let message = format!("nothing to convert: expected files that end in .{}", endings.join(", ."));
        done.problems.push(Problem::of_file(Severity::Error, named.join(", "), message));
    }
    let _ = writeln!(done.lines, "{} in {}", count(fixtures, "fixture"), count(files, "file"));
    done
}

/// How many fixtures were written; `None` where there was nothing to write, or it could not be written.
fn convert_file(FixtureFile { path, name }: &FixtureFile, args: &ConvertArgs, done: &mut Done) -> Option<usize> {
    let mut say = |severity, message: String| done.problems.push(Problem::of_file(severity, path, message));
    let bytes = file::read_bytes(path).map_err(|e| say(Severity::Error, format!("cannot be read: {e}"))).ok()?;
    let Parsed { fixtures, skipped, more, problems } = made_of(args.from, path, &bytes);
    let nothing = fixtures.is_empty() && skipped.is_empty();
    if nothing && !problems.iter().any(Problem::is_error) {
        say(Severity::Warning, "nothing to convert".to_owned());
    }
    done.problems.extend(problems);
    if nothing {
        return None;
    }
    let out = args.out.join(name).with_extension("json");
    let text = file::write_document(&more, &fixtures.iter().collect::<Vec<_>>(), &skipped);
    let why = match file::create_new_atomic([out.clone()], |file| file.write_all(text.as_bytes())) {
        Ok(_) => {
            let _ = writeln!(done.lines, "{}: {}", out.display(), count(fixtures.len(), "fixture"));
            return Some(fixtures.len());
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            format!("not written: {} is there already; delete it, or choose another -o", out.display())
        }
        Err(e) => format!("cannot write {}: {e}", out.display()),
    };
    done.problems.push(Problem::of_file(Severity::Error, path, why));
    None
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// What one input file becomes.
fn made_of(from: Source, path: &Path, bytes: &[u8]) -> Parsed {
    let interactions = match from {
        Source::Aimock => {
            let mut parsed = file::parse(bytes);
            parsed.name_file(path);
            return parsed;
        }
        Source::Vcr => vcr::interactions(bytes),
        Source::Har => har::interactions(bytes),
    };
    let redactor = Redactor::new(true, Vec::new());
    let (fixtures, said) = match interactions {
        Ok(interactions) => Converter::new(&redactor).fixtures(interactions),
        Err(why) => (Vec::new(), vec![(Severity::Error, why)]),
    };
    let problems = said.into_iter().map(|(severity, message)| Problem::of_file(severity, path, message)).collect();
    Parsed { fixtures, problems, ..Parsed::default() }
}

#[cfg(test)]
mod tests;
