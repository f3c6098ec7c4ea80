//! What stops the program: each error says where it arose, what was found and what to do, and has an exit code.
//! What a client gets is not here; see [`crate::provider::ErrorBody`].

use std::fmt;
use std::io;
use std::path::PathBuf;

/// An error that ends the program, or the start of a library's server.
#[derive(Debug)]
pub enum Error {
    /// A flag's value is not allowed.
    Value {
        /// The flag or variable as the user wrote it: `--port`, `AIMOCK_HOST`.
        name: String,
        /// What was given; `None` where it may hold a secret.
        value: Option<String>,
        /// What is allowed, or what is wrong.
        problem: String,
    },
    /// No such flag or command.
    Unknown {
        /// What was given: `--recrod`.
        given: String,
        /// The one that was probably meant, or where to look.
        hint: String,
    },
    /// The command line as a whole makes no sense; what to change.
    Usage(String),
    /// The address cannot be listened on.
    Bind {
        /// `HOST:PORT` as it was asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Fixture files are broken, under `--validate-on-load` or `--strict`; each with its file and place.
    Fixtures(Vec<String>),
    /// There is nothing to answer from, under `--strict`.
    NoFixtures {
        /// What was named for it.
        paths: Vec<PathBuf>,
        /// What is wrong with that.
        problem: &'static str,
    },
    /// A file or folder cannot be used.
    Io {
        /// What was to be done with it: `read`, `write`, `create`.
        verb: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing can be recorded into the folder that recordings go to.
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// What to do.
        remedy: String,
    },
    /// The command after `--` cannot be started.
    Command {
        /// The program's name.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// `aimock health` found no healthy server.
    Unhealthy {
        /// The URL that was asked.
        url: String,
        /// What came instead of a 200.
        problem: String,
    },
    /// The system refuses a resource that no flag or file is behind (a thread, a signal handler).
    System {
        /// What was to be had.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// The program's exit code: 1 for problems found, 2 for usage and configuration, 3 for an address that cannot be
    /// bound.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Unhealthy { .. } => 1,
            Error::Bind { .. } => 3,
            Error::Value { .. }
            | Error::Unknown { .. }
            | Error::Usage(_)
            | Error::Fixtures(_)
            | Error::NoFixtures { .. }
            | Error::Io { .. }
            | Error::Folder { .. }
            | Error::Command { .. }
            | Error::System { .. } => 2,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Value { name, value: Some(value), problem } => {
                write!(f, "{name} does not take '{}': {problem}", value.escape_debug())
            }
            Error::Value { name, value: None, problem } => write!(f, "{name}: {problem}"),
            Error::Unknown { given, hint } => write!(f, "unknown argument '{}'; {hint}", given.escape_debug()),
            Error::Usage(problem) => f.write_str(problem),
            Error::Bind { address, source } => {
                write!(f, "cannot listen on {address}: {source}; {}", bind_remedy(source.kind()))
            }
            Error::Fixtures(problems) => {
                let (n, s) = (problems.len(), if problems.len() == 1 { "" } else { "s" });
                write!(f, "{n} broken fixture{s} under --validate-on-load or --strict: mend what is listed")?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
            Error::NoFixtures { paths, problem } => {
                let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
                let paths = paths.join(", ");
                write!(f, "-f {paths}: {problem}, so --strict has nothing to answer from; correct it, or give --record")
            }
            Error::Io { verb, path, source } => write!(f, "cannot {verb} {}: {source}", path.display()),
            Error::Folder { path, source, remedy } => {
                write!(f, "cannot record into {}: {source}; {remedy}", path.display())
            }
            Error::Command { program, source } => write!(f, "cannot run '{}': {source}", program.escape_debug()),
            Error::Unhealthy { url, problem } => write!(f, "no healthy server at {url}: {problem}"),
            Error::System { what, source } => write!(f, "the system gives no {what}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Bind { source, .. }
            | Error::Io { source, .. }
            | Error::Folder { source, .. }
            | Error::Command { source, .. }
            | Error::System { source, .. } => Some(source),
            Error::Value { .. }
            | Error::Unknown { .. }
            | Error::Usage(_)
            | Error::Fixtures(_)
            | Error::NoFixtures { .. }
            | Error::Unhealthy { .. } => None,
        }
    }
}

fn bind_remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => "stop what listens there, or give another --port (0 takes a free one)",
        io::ErrorKind::PermissionDenied => "give a --port of 1024 or more",
        _ => "give an address of this machine as --host",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io(kind: io::ErrorKind) -> io::Error {
        io::Error::new(kind, "what the system said")
    }

    #[test]
    fn each_says_where_and_what_to_do() {
        for (error, code, text) in [
            (
                Error::Value { name: "--port".into(), value: Some("x\n".into()), problem: "expected a number".into() },
                2,
                "--port does not take 'x\\n': expected a number",
            ),
            (
                Error::Value { name: "--provider-openai".into(), value: None, problem: "no host".into() },
                2,
                "--provider-openai: no host",
            ),
            (
                Error::Unknown { given: "--recrod".into(), hint: "did you mean '--record'?".into() },
                2,
                "unknown argument '--recrod'; did you mean '--record'?",
            ),
            (Error::Usage("a and b exclude each other".into()), 2, "a and b exclude each other"),
            (
                Error::Bind { address: "127.0.0.1:80".into(), source: io(io::ErrorKind::PermissionDenied) },
                3,
                "cannot listen on 127.0.0.1:80: what the system said; give a --port of 1024 or more",
            ),
            (
                Error::Fixtures(vec!["a.json:1:2: x".into(), "b.json:3:4: y".into()]),
                2,
                "2 broken fixtures under --validate-on-load or --strict: mend what is listed\n  a.json:1:2: x\n  b.json:3:4: y",
            ),
            (
                Error::NoFixtures { paths: vec!["a".into(), "b".into()], problem: "no fixture" },
                2,
                "-f a, b: no fixture, so --strict has nothing to answer from; correct it, or give --record",
            ),
            (
                Error::Io { verb: "read", path: "a/b".into(), source: io(io::ErrorKind::NotFound) },
                2,
                "cannot read a/b: what the system said",
            ),
            (
                Error::Folder {
                    path: "a/recorded".into(),
                    source: io(io::ErrorKind::StorageFull),
                    remedy: "make room".into(),
                },
                2,
                "cannot record into a/recorded: what the system said; make room",
            ),
            (
                Error::Command { program: "pytest".into(), source: io(io::ErrorKind::NotFound) },
                2,
                "cannot run 'pytest': what the system said",
            ),
            (
                Error::Unhealthy { url: "http://127.0.0.1:4010".into(), problem: "status 503".into() },
                1,
                "no healthy server at http://127.0.0.1:4010: status 503",
            ),
            (
                Error::System { what: "thread", source: io(io::ErrorKind::OutOfMemory) },
                2,
                "the system gives no thread: what the system said",
            ),
        ] {
            assert_eq!((error.exit_code(), error.to_string().as_str()), (code, text));
        }
    }

    #[test]
    fn a_used_address_names_the_flag() {
        let error = Error::Bind { address: "127.0.0.1:4010".into(), source: io(io::ErrorKind::AddrInUse) };
        assert!(error.to_string().contains("--port (0 takes a free one)"), "{error}");
    }
}
