//! `aimock check`: every problem of a folder with its place, for people and for machines.

mod common;

use common::server::{Folder, Program, program};
use serde_json::{Value, json};
use std::path::Path;

/// A file, and the problem that it is an instance of: line, severity, JSON path, and a part of what is said.
type Case = (&'static str, &'static str, usize, &'static str, &'static str, &'static str);

/// A file of these entries, one a line from line 2 on.
macro_rules! entries {
    ($($entry:literal),+) => { concat!("{\"fixtures\": [\n", entries!(@ $($entry),+), "\n]}\n") };
    (@ $first:literal $(, $more:literal)*) => { concat!($first $(, ",\n", $more)*) };
}

const CASES: &[Case] = &[
    ("a-broken.json", "{\"fixtures\": [\n  {\"match\": }\n]}", 2, "error", "", "expected value"),
    ("b-no-list.json", r#"{"fixture": []}"#, 1, "warning", "", "no `fixtures` list"),
    ("c-not-utf8.json", "", 1, "error", "", "expected UTF-8, found the byte 0xff"),
    (
        "d-unknown-match-key.json",
        entries!(r#"{"match": {"userMesage": "d1", "userMessage": "d"}, "response": {"content": "a"}}"#),
        2,
        "error",
        "fixtures[0].match.userMesage",
        "unknown key; did you mean `userMessage`?",
    ),
    (
        "d-match-key-of-functions.json",
        entries!(r#"{"match": {"predicate": "x", "userMessage": "d2"}, "response": {"content": "a"}}"#),
        2,
        "warning",
        "fixtures[0].match.predicate",
        "skipped: a `predicate` is a function",
    ),
    (
        "d-match-key-outside.json",
        entries!(r#"{"match": {"_note": "x", "userMessage": "d3"}, "model": "m", "response": {"content": "a"}}"#),
        2,
        "warning",
        "fixtures[0].model",
        "it belongs into that",
    ),
    (
        "d-unknown-response-key.json",
        entries!(r#"{"match": {"userMessage": "e"}, "response": {"content": "a", "finishreason": "stop"}}"#),
        2,
        "warning",
        "fixtures[0].response.finishreason",
        "did you mean `finishReason`?",
    ),
    (
        "d-unknown-entry-key.json",
        entries!(r#"{"match": {"userMessage": "f"}, "response": {"content": "a"}, "zzzzzzzz": 1}"#),
        2,
        "warning",
        "fixtures[0].zzzzzzzz",
        "unknown key",
    ),
    (
        "e-type.json",
        entries!(r#"{"match": {"userMessage": "g", "turnIndex": "0"}, "response": {"content": "a"}}"#),
        2,
        "error",
        "fixtures[0].match.turnIndex",
        "expected a whole number of at least 0, found \"0\"",
    ),
    (
        "e-no-match.json",
        entries!(r#"{"response": {"content": "a"}}"#),
        2,
        "error",
        "fixtures[0]",
        "expected a member `match`",
    ),
    (
        "e-no-response.json",
        entries!(r#"{"match": {"userMessage": "h"}}"#),
        2,
        "error",
        "fixtures[0]",
        "expected a member `response`",
    ),
    (
        "e-no-form.json",
        entries!(r#"{"match": {"userMessage": "i"}, "response": {"text": "a"}}"#),
        2,
        "error",
        "fixtures[0].response",
        "expected one of content, toolCalls",
    ),
    (
        "f-shadowed.json",
        entries!(
            r#"{"match": {"userMessage": "jj"}, "response": {"content": "a"}}"#,
            r#"{"match": {"userMessage": "jjj"}, "response": {"content": "b"}}"#
        ),
        3,
        "warning",
        "fixtures[1].match",
        "never answers: whatever matches this matches f-shadowed.json#0 too",
    ),
    (
        "f-duplicate.json",
        entries!(
            r#"{"match": {"userMessage": "kk"}, "response": {"content": "a"}}"#,
            r#"{"match": {"userMessage": "kk"}, "response": {"content": "b"}}"#
        ),
        3,
        "warning",
        "fixtures[1].match",
        "never answers: f-duplicate.json#0 has the same match",
    ),
    (
        "f-recorded-twice.json",
        entries!(
            r#"{"match": {"userMessage": "l"}, "response": {"content": "a"}, "metadata": {"requestHash": "00000000000000aa"}}"#,
            r#"{"match": {"userMessage": "l"}, "response": {"content": "b"}, "metadata": {"requestHash": "00000000000000aa"}}"#
        ),
        3,
        "warning",
        "fixtures[1].metadata.requestHash",
        "never answers: f-recorded-twice.json#0 was recorded from the same request",
    ),
    (
        "f-unreachable.json",
        entries!(r#"{"match": {"inputText": "m"}, "response": {"content": "a"}}"#),
        2,
        "warning",
        "fixtures[0].match",
        "for different kinds of requests",
    ),
    (
        "f-endpoint.json",
        entries!(r#"{"match": {"userMessage": "n", "endpoint": "chats"}, "response": {"error": {"message": "m"}}}"#),
        2,
        "warning",
        "fixtures[0].match.endpoint",
        "matches nothing",
    ),
    (
        "g-arguments.json",
        entries!(
            r#"{"match": {"userMessage": "o"}, "response": {"toolCalls": [{"name": "f", "arguments": "{'a': 1}"}]}}"#
        ),
        2,
        "error",
        "fixtures[0].response.toolCalls[0].arguments",
        "the arguments are no JSON",
    ),
    (
        "g-status.json",
        entries!(r#"{"match": {"userMessage": "p"}, "response": {"error": {"message": "m"}, "status": 200}}"#),
        2,
        "error",
        "fixtures[0].response.status",
        "expected an error's status from 400 to 599, found 200",
    ),
    (
        "g-base64.json",
        entries!(r#"{"match": {"endpoint": "raw", "path": "/q"}, "response": {"bodyBase64": "%%"}}"#),
        2,
        "error",
        "fixtures[0].response.bodyBase64",
        "expected base64",
    ),
    (
        "g-nothing.json",
        entries!(r#"{"match": {"userMessage": "r"}, "response": {"content": ""}}"#),
        2,
        "warning",
        "fixtures[0].response",
        "answers with nothing",
    ),
    (
        "g-hash.json",
        entries!(
            r#"{"match": {"userMessage": "s"}, "response": {"content": "a"}, "metadata": {"requestHash": "xyz"}}"#
        ),
        2,
        "warning",
        "fixtures[0].metadata.requestHash",
        "expected 16 hex digits",
    ),
    (
        "g-elsewhere.json",
        entries!(r#"{"match": {"userMessage": "t", "endpoint": "image"}, "response": {"image": {"url": "x"}}}"#),
        2,
        "info",
        "fixtures[0].match.endpoint",
        "this server has no endpoint `image`",
    ),
    (
        "z-catch-all.json",
        entries!(
            r#"{"match": {}, "response": {"content": "a"}}"#,
            r#"{"match": {"userMessage": "u"}, "response": {"content": "b"}}"#
        ),
        2,
        "warning",
        "fixtures[0].match",
        "matches everything, and a fixture that comes later never answers",
    ),
];

fn folder() -> Folder {
    let folder = Folder::new();
    for (name, text, ..) in CASES {
        folder.write(name, if text.is_empty() { b"\xff" } else { text.as_bytes() });
    }
    folder
}

/// Exit code and standard output.
fn check(paths: &[&Path], more: &[&str]) -> (Option<i32>, String) {
    let ended = Program::start(program(&["check"]).args(paths).args(more)).wait();
    assert_eq!(ended.stderr, "");
    (ended.code, ended.stdout)
}

#[test]
fn each_problem_with_its_line_for_people() {
    let folder = folder();
    let (code, text) = check(&[folder.path()], &[]);
    assert_eq!(code, Some(1), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    for (name, _, line, severity, json_path, says) in CASES {
        let start = format!("{}:{line}:", folder.path().join(name).display());
        let kind = if json_path.is_empty() { format!(" {severity}: ") } else { format!(" {severity}: {json_path}: ") };
        let is_it = |l: &&&str| l.starts_with(&start) && l.contains(&kind) && l.contains(says);
        assert_eq!(lines.iter().filter(is_it).count(), 1, "{start} {kind} {says}\n{text}");
    }
    let count = |severity: &str| CASES.iter().filter(|case| case.3 == severity).count();
    let (last, problems) = lines.split_last().expect("a last line");
    assert_eq!(problems.len(), CASES.len(), "{text}");
    assert!(last.ends_with(&format!("{} errors, {} warnings", count("error"), count("warning"))), "{last}");
}

#[test]
fn each_problem_with_its_line_for_machines() {
    let folder = folder();
    let (code, text) = check(&[folder.path()], &["--format", "json"]);
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(code, Some(1), "{text}");
    for (name, _, line, severity, json_path, says) in CASES {
        let path = folder.path().join(name).display().to_string();
        let is_it = |p: &&Value| {
            p["file"] == *path && p["line"] == *line && p["severity"] == *severity && p["path"] == *json_path
        };
        let found: Vec<&Value> = report["problems"].as_array().expect("a list").iter().filter(is_it).collect();
        let [problem] = found[..] else { unreachable!("{name}: one problem, not {found:?}: {text}") };
        assert!(problem["message"].as_str().is_some_and(|m| m.contains(says)), "{problem}");
        assert!(problem["column"].as_u64().is_some_and(|c| c > 0), "{problem}");
    }
    let count = |severity: &str| CASES.iter().filter(|case| case.3 == severity).count();
    assert_eq!((&report["errors"], &report["warnings"]), (&json!(count("error")), &json!(count("warning"))));
}

#[test]
fn exit_codes() {
    let folder = Folder::new();
    let good = folder.write("good.json", entries!(r#"{"match": {"userMessage": "a"}, "response": {"content": "b"}}"#));
    let (code, text) = check(&[&good], &[]);
    assert_eq!((code, text.as_str()), (Some(0), "1 fixture in 1 file: 0 errors, 0 warnings\n"));
    let odd = folder.write("odd.json", entries!(r#"{"match": {"userMessage": "c"}, "response": {"content": ""}}"#));
    assert_eq!(check(&[&odd], &[]).0, Some(0), "a warning is no error");
    assert_eq!(check(&[folder.path()], &[]).0, Some(0));
    let bad = folder.write("bad.json", "{");
    assert_eq!(check(&[&bad], &[]).0, Some(1));
    assert_eq!(check(&[&good, &bad], &["--format", "json"]).0, Some(1));
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let (code, text) = check(&[&shipped], &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.ends_with(": 0 errors, 0 warnings\n"), "{text}");
    assert_eq!(check(&[&good], &["--strict"]).0, Some(0));
    let (code, text) = check(&[&odd], &["--strict"]);
    assert_eq!((code, text.contains("0 errors, 1 warning")), (Some(1), true), "{text}");
    let wrong = Program::start(&mut program(&["check", "--format", "xml"])).wait();
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
}

#[test]
fn where_there_is_nothing_to_check_or_convert_is_an_error() {
    let folder = Folder::new();
    let good = folder.write("good.json", entries!(r#"{"match": {"userMessage": "a"}, "response": {"content": "b"}}"#));
    let skipped = entries!(r#"{"match": {"endpoint": "image"}, "response": {"image": {"url": "x"}}}"#);
    assert_eq!(check(&[&folder.write("other.json", skipped)], &[]).0, Some(0), "what is for others is a fixture too");
    let absent = folder.path().join("typo");
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let no_entry = folder.write("none.json", r#"{"fixtures": []}"#);
    for (path, says) in [
        (&absent, "error: no such file or folder"),
        (&empty, "error: there is no fixture in it"),
        (&no_entry, "error: there is no fixture in it"),
    ] {
        let (code, text) = check(&[&good, path], &[]);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.starts_with(&format!("{}: {says}\n", path.display())), "{text}");
    }
    let elsewhere = Program::start(program(&["check"]).current_dir(&empty)).wait();
    assert_eq!(
        (elsewhere.code, elsewhere.stdout.lines().next()),
        (Some(1), Some("./fixtures: error: no such file or folder"))
    );
    if cfg!(feature = "convert") {
        let out = folder.path().join("out");
        for (path, says) in [(&absent, "error: no such file or folder"), (&empty, "error: nothing to convert: ")] {
            let ended = Program::start(program(&["convert", "vcr"]).arg(path).arg("-o").arg(&out)).wait();
            assert_eq!(ended.code, Some(1), "{ended:?}");
            assert!(ended.stderr.contains(says) && ended.stderr.contains(path.to_str().unwrap()), "{}", ended.stderr);
        }
    }
}
