//! Stdout and stderr, written without waiting for their readers.
//!
//! Whoever starts a program may never read what it prints, and a full pipe stops whoever writes to it. So a thread writes
//! that lives while there is text; whoever has text leaves it there and goes on. Lines that find no room are counted, and
//! the count is told where they are missing, once the reader reads again. The thread keeps nobody from ending.

use crate::limits::beginning;
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Most text that waits to be written, in bytes; as much again is in the writer's hands.
const MAX_QUEUED_BYTES: usize = 256 * 1024;

/// Longest line, in bytes; the rest of it is cut off.
const MAX_LINE_BYTES: usize = MAX_QUEUED_BYTES / 2;

/// What a pipe takes whole, in bytes, so that lines of several processes do not mix.
/// <https://man7.org/linux/man-pages/man7/pipe.7.html>
const PIPE_BYTES: usize = 4096;

/// How long the writer stays when it has nothing to write.
const LINGER: Duration = Duration::from_secs(1);

/// Rest of the writer where the other side has made the pipe one that does not block.
const RETRY: Duration = Duration::from_millis(10);

/// How long a program that ends waits for its readers.
const FAREWELL: Duration = Duration::from_millis(500);

/// How long a command whose product is its output waits for a reader that takes nothing: someone may page through it.
const PATIENCE: Duration = Duration::from_secs(600);

/// Stack of the writer, in bytes.
const STACK_BYTES: usize = 64 * 1024;

/// The process's stdout.
pub static STDOUT: Output = Output::new(Stream::Stdout);

/// The process's stderr.
pub static STDERR: Output = Output::new(Stream::Stderr);

/// Text on its way to one of the process's streams.
#[derive(Debug)]
pub struct Output {
    stream: Stream,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug)]
enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug)]
struct State {
    /// What the writer has not taken yet.
    queued: Vec<u8>,
    /// Lines that found no room after what is queued.
    dropped: u64,
    /// There is a writer.
    writer: bool,
    /// It has text in its hands.
    writing: bool,
    /// Bytes that were taken from it.
    taken: u64,
}

impl Output {
    const fn new(stream: Stream) -> Self {
        Output { stream, state: Mutex::new(State::NEW), changed: Condvar::new() }
    }

    /// Writes a line, without its end, as soon as there is room for it. Never waits; where the stream is closed, or full of
    /// what nobody reads, the line is lost.
    pub fn line(&'static self, line: &str) {
        let mut state = self.lock();
        state.take(line);
        self.wake(&mut state);
    }

    /// Writes the output of a command, and waits until it is read: for as long as the reader takes some of it now and then.
    pub fn print(&'static self, text: &str) {
        let mut state = self.lock();
        state.queued.extend_from_slice(text.as_bytes());
        self.wake(&mut state);
        let mut before = state.taken;
        drop(state);
        while let Some(taken) = self.unread_after(PATIENCE).filter(|taken| *taken > before) {
            before = taken;
        }
    }

    /// Waits until all is written, for as long as a program may that is about to end.
    pub fn farewell(&self) {
        self.unread_after(FAREWELL);
    }

    /// Waits until all is written. Where it is not after `limit`, how much was taken at all.
    fn unread_after(&self, limit: Duration) -> Option<u64> {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        while state.writing || !state.queued.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(state.taken);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&'static self, state: &mut State) {
        if !state.writer {
            let thread = thread::Builder::new().name("output".into()).stack_size(STACK_BYTES);
            state.writer = thread.spawn(|| self.write_on()).is_ok();
        }
        self.changed.notify_all();
    }

    /// The writer: takes what is there, writes it, and says what is missing after it.
    fn write_on(&self) {
        loop {
            let nothing = |state: &mut State| state.queued.is_empty();
            let waited = self.changed.wait_timeout_while(self.lock(), LINGER, nothing);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.queued.is_empty() {
                state.writer = false;
                return;
            }
            let (text, dropped) = (std::mem::take(&mut state.queued), std::mem::take(&mut state.dropped));
            state.writing = true;
            drop(state);
            pieces(&text).for_each(|piece| self.write(piece));
            if dropped > 0 {
                self.write(missing(dropped).as_bytes());
            }
            self.lock().writing = false;
            self.changed.notify_all();
        }
    }

    /// Writes a piece, however long that takes. There is nobody to tell of a stream that is closed.
    fn write(&self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let written = match self.stream {
                Stream::Stdout => rustix::io::write(io::stdout().as_fd(), piece),
                Stream::Stderr => rustix::io::write(io::stderr().as_fd(), piece),
            };
            match written {
                Ok(bytes) => {
                    piece = &piece[bytes.min(piece.len())..];
                    self.lock().taken += bytes as u64;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => thread::sleep(RETRY),
                Err(_) => return,
            }
        }
    }
}

impl State {
    const NEW: State = State { queued: Vec::new(), dropped: 0, writer: false, writing: false, taken: 0 };

    /// Queues a line, or counts it as dropped.
    fn take(&mut self, line: &str) {
        let line = beginning(line, MAX_LINE_BYTES);
        // What comes after a line that was dropped does not come before the word of it.
        if self.dropped > 0 || self.queued.len() + line.len() >= MAX_QUEUED_BYTES {
            self.dropped += 1;
        } else {
            self.queued.extend_from_slice(line.as_bytes());
            self.queued.push(b'\n');
        }
    }
}

/// Whole lines as far as a pipe takes them at once, and longer lines in parts.
fn pieces(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let most = &text[..text.len().min(PIPE_BYTES)];
        let end = if most.len() == text.len() { None } else { memchr::memrchr(b'\n', most) };
        let (piece, rest) = text.split_at(end.map_or(most.len(), |end| end + 1));
        text = rest;
        Some(piece).filter(|piece| !piece.is_empty())
    })
}

/// Stands where lines were dropped.
fn missing(lines: u64) -> String {
    let s = if lines == 1 { "" } else { "s" };
    format!("aimock: warn: {lines} line{s} dropped: nobody read this pipe\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_whole_as_far_as_a_pipe_takes_them() {
        let long = [b"x".repeat(2 * PIPE_BYTES + 1), b"\n".to_vec()].concat();
        let line = [b"y".repeat(PIPE_BYTES / 2), b"\n".to_vec()].concat();
        let text = [&*line, &line, b"a\nb\n", &long, b"z\n"].concat();
        let pieces: Vec<&[u8]> = pieces(&text).collect();
        assert_eq!(pieces.concat(), text);
        assert_eq!((pieces[0], pieces[1]), (&*line, &*[&*line, b"a\nb\n"].concat()));
        assert!(pieces.iter().all(|piece| piece.len() <= PIPE_BYTES));
    }

    #[test]
    fn what_is_dropped_is_dropped_for_want_of_room_alone() {
        let mut state = State::NEW;
        let long = "x".repeat(MAX_QUEUED_BYTES);
        state.take(&long);
        assert_eq!((state.queued.len(), state.dropped), (MAX_LINE_BYTES + 1, 0), "there was room for a part");
        state.take(&long);
        state.take("short");
        assert_eq!((state.queued.len(), state.dropped), (MAX_LINE_BYTES + 1, 2), "nothing comes after what is missing");
    }

    #[test]
    fn what_is_missing_is_told() {
        assert_eq!(missing(1), "aimock: warn: 1 line dropped: nobody read this pipe\n");
        assert_eq!(missing(20), "aimock: warn: 20 lines dropped: nobody read this pipe\n");
    }
}
