//! Fixtures that change while a server runs.

#[path = "common/http.rs"]
mod http;

use aimock::Mock;
use aimock::config::Config;
use aimock::log::{Level, Lines, Logger};
use aimock::provider;
use aimock::upstream::BaseUrl;
use http::{LIMIT, chat, get};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A folder for one test, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("watch-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    /// One fixture that answers all messages that contain `ask`.
    fn answer(&self, name: &str, ask: &str, answer: &str) {
        self.write(name, &file(ask, answer));
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn file(ask: &str, answer: &str) -> String {
    json!({"fixtures": [{"match": {"userMessage": ask}, "response": {"content": answer}}]}).to_string()
}

fn watching(folder: &Path, change: impl FnOnce(&mut Config)) -> (Mock, Lines) {
    let (logger, lines) = Logger::collecting(Level::Debug);
    let builder = Mock::builder().fixtures(folder).configure(|config| config.watch = true).configure(change);
    (builder.log(logger).start().expect("a server that starts"), lines)
}

/// What is answered; empty for a miss.
fn said(mock: &Mock, ask: &str) -> String {
    let answer = chat(mock.address(), ask);
    if answer.status != 200 {
        return String::new();
    }
    answer.json()["choices"][0]["message"]["content"].as_str().expect("a text").to_owned()
}

/// Waits until something holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "never: {what}");
        sleep(Duration::from_millis(10));
    }
}

fn count(mock: &Mock) -> Value {
    get(mock.address(), "/__aimock/fixtures").json()["count"].clone()
}

#[test]
fn new_changed_and_removed_files() {
    let folder = Folder::new();
    folder.answer("b.json", "question", "old");
    let (mock, _) = watching(&folder.0, |_| {});
    assert_eq!(said(&mock, "question"), "old");
    folder.answer("b.json", "question", "new");
    until("the change is seen", || said(&mock, "question") == "new");
    folder.answer("c/d.json", "another", "deep");
    until("the new file is seen", || said(&mock, "another") == "deep");
    fs::remove_file(folder.0.join("b.json")).unwrap();
    until("the removal is seen", || said(&mock, "question").is_empty());
    assert_eq!(said(&mock, "another"), "deep");
    assert_eq!(count(&mock), 1);
}

#[test]
fn the_order_is_that_of_a_fresh_start() {
    let folder = Folder::new();
    folder.answer("b.json", "question", "b");
    folder.answer("d.json", "question", "d");
    let (mock, _) = watching(&folder.0, |_| {});
    mock.on_message("question", aimock::Reply::text("added at run time"));
    assert_eq!(said(&mock, "question"), "b");
    folder.answer("a.json", "question", "a");
    until("a file that sorts first comes first", || said(&mock, "question") == "a");
    folder.answer("c.json", "question", "c");
    until("all are there", || count(&mock) == 5);
    for (gone, next) in [("a.json", "b"), ("b.json", "c"), ("c.json", "d"), ("d.json", "added at run time")] {
        fs::remove_file(folder.0.join(gone)).unwrap();
        until(gone, || said(&mock, "question") == next);
    }
}

#[test]
fn a_broken_file_keeps_its_last_good_version_and_says_so_once() {
    let folder = Folder::new();
    folder.answer("a.json", "question", "good");
    let (mock, lines) = watching(&folder.0, |_| {});
    let text = file("question", "better");
    folder.write("a.json", &text[..text.len() / 2]);
    let complaints =
        || lines.to_vec().into_iter().filter(|line| line.contains("last good version")).collect::<Vec<_>>();
    until("it says so", || !complaints().is_empty());
    assert_eq!(said(&mock, "question"), "good");
    assert!(complaints()[0].contains("a.json:1:"), "{:?}", complaints());
    // An entry that is broken is no reason to lose the others.
    folder.write("a.json", r#"{"fixtures":[{"match":{"userMessage":5},"response":{"content":"x"}}]}"#);
    until("it says so again", || complaints().len() == 2);
    assert_eq!(said(&mock, "question"), "good");
    folder.write("a.json", &text);
    until("it is whole again", || said(&mock, "question") == "better");
    assert_eq!(complaints().len(), 2, "{:?}", complaints());
}

#[test]
fn hits_are_kept_where_a_fixture_changes() {
    let folder = Folder::new();
    folder.answer("a.json", "question", "old");
    let (mock, _) = watching(&folder.0, |_| {});
    said(&mock, "question");
    folder.answer("a.json", "question", "new");
    until("the change is seen", || said(&mock, "question") == "new");
    assert!(mock.report()["fixtures"][0]["hits"].as_u64().is_some_and(|hits| hits >= 2), "{}", mock.report());
}

/// A provider that answers every chat with a count.
fn upstream() -> Mock {
    let upstream = Mock::builder().start().expect("a server that starts");
    upstream.on_message("", aimock::Reply::text("from upstream"));
    upstream
}

#[test]
fn own_recordings_are_not_loaded_twice() {
    let (folder, upstream) = (Folder::new(), upstream());
    folder.answer("z.json", "by hand", "hand");
    let openai = provider::by_name("openai").unwrap();
    let url = BaseUrl::parse(&upstream.url()).unwrap();
    let (mock, _) = watching(&folder.0, |config| {
        config.record = true;
        config.upstreams.set(openai, url);
    });
    for n in 0..20 {
        assert_eq!(said(&mock, &format!("question {n}")), "from upstream");
    }
    assert_eq!(upstream.requests().len(), 20);
    // A file written after them is seen after them.
    folder.answer("z.json", "by hand", "changed");
    until("the change is seen", || said(&mock, "by hand") == "changed");
    assert_eq!(count(&mock), 21);
    for n in 0..20 {
        assert_eq!(said(&mock, &format!("question {n}")), "from upstream");
    }
    assert_eq!(upstream.requests().len(), 20, "each answers from memory");
    let (fresh, _) = watching(&folder.0, |_| {});
    let shown = |mock: &Mock| {
        let fixtures = get(mock.address(), "/__aimock/fixtures?include=fixtures").json()["fixtures"].clone();
        fixtures.as_array().unwrap().iter().map(|f| f["file"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(shown(&mock), shown(&fresh), "the order is that of a fresh start");
}

#[test]
fn without_watch_nothing_is_seen() {
    let folder = Folder::new();
    folder.answer("a.json", "question", "old");
    let (mock, _) = watching(&folder.0, |config| config.watch = false);
    folder.answer("a.json", "question", "new");
    let (seeing, _) = watching(&folder.0, |_| {});
    folder.answer("a.json", "question", "newer");
    until("another server sees it", || said(&seeing, "question") == "newer");
    assert_eq!(said(&mock, "question"), "old");
}
