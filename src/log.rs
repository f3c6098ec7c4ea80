//! Levelled lines on stderr: `aimock: warn: …`.
//!
//! A [`Logger`] is a value that is passed around, so several servers in one process each have their own level and place.
//! None waits for whoever reads its lines; see [`crate::output`].

use crate::limits::beginning;
use crate::output::STDERR;
use crate::redact::Redactor;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lines that a collecting logger keeps; the oldest go first.
pub const MAX_COLLECTED_LINES: usize = 10_000;

/// Longest line, in bytes; what comes after is cut off, as it may quote what a client or an upstream said.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// How much is written: each level includes the ones before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    Silent,
    /// What went wrong (`error`), and what may be wrong (`warn`).
    Warn,
    /// What happened that a user wants to know: started, recorded, missed.
    #[default]
    Info,
    /// One line or more a request.
    Debug,
}

impl Level {
    /// Every level, in order.
    pub const ALL: [Level; 4] = [Level::Silent, Level::Warn, Level::Info, Level::Debug];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Level::Silent => "silent",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }

    /// The level of this name.
    pub fn by_name(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// Writes lines. Cheap to clone; clones share their place.
///
/// A message is anything that can be displayed (`&str`, `format_args!(…)`) and is formatted only if it is written.
/// Line breaks and other control characters in it are escaped, so that what came from the network can neither forge a
/// line nor move a terminal's cursor.
#[derive(Clone, Debug)]
pub struct Logger {
    level: Level,
    place: Place,
    redactor: Option<Arc<Redactor>>,
}

#[derive(Clone, Debug)]
enum Place {
    Stderr,
    Memory(Lines),
}

/// The lines of a [`Logger::collecting`], without line ends.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Mutex<VecDeque<String>>>);

impl Logger {
    /// Writes to the process's stderr. Where that is closed, or a pipe that nobody reads, lines are lost and nothing else
    /// happens.
    pub fn stderr(level: Level) -> Self {
        Logger { level, place: Place::Stderr, redactor: None }
    }

    /// Writes nothing.
    pub fn silent() -> Self {
        Logger::stderr(Level::Silent)
    }

    /// Keeps the newest [`MAX_COLLECTED_LINES`] lines for the reader that comes with it.
    pub fn collecting(level: Level) -> (Self, Lines) {
        let lines = Lines::default();
        (Logger { level, place: Place::Memory(lines.clone()), redactor: None }, lines)
    }

    /// The same, with the secrets in every line replaced.
    #[must_use]
    pub fn redacting(self, redactor: Redactor) -> Self {
        Logger { redactor: Some(Arc::new(redactor)), ..self }
    }

    /// Whether lines of this level are written, for messages that cost something to gather.
    pub fn writes(&self, level: Level) -> bool {
        level != Level::Silent && level <= self.level
    }

    /// Something failed that should not have. Written at [`Level::Warn`].
    pub fn error(&self, message: impl fmt::Display) {
        self.line(Level::Warn, "error", &message);
    }

    /// Something may be wrong.
    pub fn warn(&self, message: impl fmt::Display) {
        self.line(Level::Warn, "warn", &message);
    }

    /// Something happened.
    pub fn info(&self, message: impl fmt::Display) {
        self.line(Level::Info, "info", &message);
    }

    /// A detail.
    pub fn debug(&self, message: impl fmt::Display) {
        self.line(Level::Debug, "debug", &message);
    }

    /// Waits a moment for lines that are not written yet, before the process ends.
    pub fn farewell(&self) {
        if let (Place::Stderr, true) = (&self.place, self.level > Level::Silent) {
            STDERR.farewell();
        }
    }

    fn line(&self, level: Level, word: &str, message: &dyn fmt::Display) {
        if !self.writes(level) {
            return;
        }
        let mut line = format!("aimock: {word}: ");
        if write!(Escaping(&mut line), "{message}").is_err() {
            line.push_str("(a message that cannot be displayed)");
        }
        let redacted = self.redactor.as_ref().map(|redactor| redactor.redact(&line));
        if let Some(Cow::Owned(redacted)) = redacted {
            line = redacted;
        }
        line.truncate(beginning(&line, MAX_LINE_BYTES).len());
        match &self.place {
            Place::Stderr => STDERR.line(&line),
            Place::Memory(lines) => lines.push(line),
        }
    }
}

impl Lines {
    /// Takes the lines collected so far, oldest first.
    pub fn take(&self) -> Vec<String> {
        self.lock().drain(..).collect()
    }

    /// The lines collected so far, oldest first.
    pub fn to_vec(&self) -> Vec<String> {
        self.lock().iter().cloned().collect()
    }

    fn push(&self, line: String) {
        let mut lines = self.lock();
        if lines.len() == MAX_COLLECTED_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Escapes control characters on the way through.
struct Escaping<'a>(&'a mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if c.is_control() {
                self.0.extend(c.escape_default());
            } else {
                self.0.push(c);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_includes_the_ones_before_it() {
        for (level, words) in [
            (Level::Silent, &[][..]),
            (Level::Warn, &["error", "warn"]),
            (Level::Info, &["error", "warn", "info"]),
            (Level::Debug, &["error", "warn", "info", "debug"]),
        ] {
            let (logger, lines) = Logger::collecting(level);
            logger.error("x");
            logger.warn("x");
            logger.info("x");
            logger.debug("x");
            let expected: Vec<String> = words.iter().map(|word| format!("aimock: {word}: x")).collect();
            assert_eq!(lines.take(), expected);
            assert!(lines.take().is_empty());
            assert_eq!(Level::by_name(level.name()), Some(level));
        }
        assert_eq!(Level::by_name("verbose"), None);
    }

    #[test]
    fn a_message_stays_on_its_line() {
        let (logger, lines) = Logger::collecting(Level::Info);
        logger.clone().info(format_args!("a\r\n{}\u{1b}[2Jñ", "aimock: error: b"));
        assert_eq!(lines.to_vec(), ["aimock: info: a\\r\\naimock: error: b\\u{1b}[2Jñ"]);
    }

    #[test]
    fn secrets_stay_out_of_it() {
        let (logger, lines) = Logger::collecting(Level::Info);
        logger.redacting(Redactor::default()).info("a\nsk-0123456789abcdef");
        assert_eq!(lines.to_vec(), ["aimock: info: a\\n[redacted]"]);
    }

    #[test]
    fn an_unwritten_message_is_not_formatted() {
        struct Costly;
        impl fmt::Display for Costly {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("formatted")
            }
        }
        Logger::silent().error(Costly);
        Logger::stderr(Level::Warn).info(Costly);
    }

    #[test]
    fn collected_lines_are_bounded() {
        let (logger, lines) = Logger::collecting(Level::Info);
        for i in 0..=MAX_COLLECTED_LINES {
            logger.info(i);
        }
        let lines = lines.take();
        assert_eq!((lines.len(), lines[0].as_str()), (MAX_COLLECTED_LINES, "aimock: info: 1"));
    }
}
