//! `aimock [OPTIONS] -- COMMAND`.

#[path = "common/http.rs"]
mod http;

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder for one test, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("command-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("a folder");
        let fixtures = json!({"fixtures": [
            {"match": {"userMessage": "hello"}, "response": {"content": "Hi there!"}},
            {"match": {"userMessage": "goodbye"}, "response": {"content": "x"}},
        ]});
        fs::write(path.join("rules.json"), fixtures.to_string()).expect("a file");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program with fixtures and a command; nothing that this process's environment says of SDKs is passed on.
fn aimock(folder: &Path, options: &[&str], command: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_aimock"));
    program.arg("-f").arg(folder).args(options).arg("--").args(command).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().to_ascii_uppercase();
        let ends = ["_API_KEY", "_BASE_URL", "_PROXY"];
        if text.starts_with("AIMOCK_") || text.starts_with("AWS_") || ends.iter().any(|end| text.ends_with(end)) {
            program.env_remove(name);
        }
    }
    program
}

fn run(program: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = program.output().expect("a program that starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("no signal ended it"), text(stdout), text(stderr))
}

/// This test binary, run as a command: asks what `ASK` says, at the base URL that OpenAI's SDK reads. `a` is a question,
/// `a@t` one of the test `t`, `GET /x` a request.
#[test]
#[ignore = "run by other tests as their command"]
fn client() {
    let Ok(questions) = std::env::var("ASK") else { return };
    let url = std::env::var("OPENAI_BASE_URL").expect("a base URL");
    let address: SocketAddr = url.trim_start_matches("http://").trim_end_matches("/v1").parse().expect("an address");
    for question in questions.split(',') {
        match (question.split_once(' '), question.split_once('@')) {
            (Some((method @ ("GET" | "HEAD" | "OPTIONS"), target)), _) => http::ask(address, method, target, "", ""),
            (_, Some((text, test))) => {
                let headers = format!("x-test-id: {test}\r\n");
                http::ask(address, "POST", "/v1/chat/completions", &headers, &http::chat_body(text, false))
            }
            _ => http::chat(address, question),
        };
    }
}

/// The command line that runs [`client`].
fn client_command() -> Vec<String> {
    let program = std::env::current_exe().expect("this binary's path").to_string_lossy().into_owned();
    [&program, "--ignored", "--exact", "client", "--quiet"].map(str::to_owned).to_vec()
}

fn run_client(folder: &Path, options: &[&str], ask: &str) -> (i32, String) {
    let command = client_command();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let (code, _, stderr) = run(aimock(folder, options, &command).env("ASK", ask));
    (code, stderr)
}

#[test]
fn the_commands_exit_code_is_returned() {
    let folder = Folder::new();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        assert_eq!(run(&mut aimock(&folder.0, &[], &["sh", "-c", script])).0, code, "{script}");
    }
}

#[test]
fn a_command_that_cannot_be_started() {
    let folder = Folder::new();
    let (code, _, stderr) = run(&mut aimock(&folder.0, &[], &["/no/such/program"]));
    assert_eq!(code, 2);
    assert!(stderr.contains("aimock: error: cannot run '/no/such/program'"), "{stderr}");
}

#[test]
fn the_output_is_the_commands_own_and_stdin_is_passed_on() {
    let folder = Folder::new();
    let mut program = aimock(&folder.0, &[], &["sh", "-c", "cat; echo problem >&2"]);
    let input = fs::File::open(folder.0.join("rules.json")).unwrap();
    let (code, stdout, stderr) = run(program.stdin(input));
    assert_eq!(code, 0);
    assert_eq!(stdout, fs::read_to_string(folder.0.join("rules.json")).unwrap());
    assert!(stderr.contains("\nproblem\n"), "{stderr}");
}

#[test]
fn sdks_are_pointed_here() {
    let folder = Folder::new();
    let script = "echo $AIMOCK_URL; echo $OPENAI_BASE_URL; echo $OPENAI_API_KEY; echo $ANTHROPIC_BASE_URL; \
                  echo $ANTHROPIC_API_KEY; echo $OLLAMA_HOST; echo $AWS_REGION";
    let mut program = aimock(&folder.0, &["--host", "0.0.0.0"], &["sh", "-c", script]);
    program.env("OPENAI_API_KEY", "sk-mine").env("OPENAI_BASE_URL", "https://api.openai.com/v1");
    let (code, stdout, _) = run(&mut program);
    assert_eq!(code, 0);
    let lines: Vec<&str> = stdout.lines().collect();
    let url = lines[0];
    assert!(url.starts_with("http://127.0.0.1:") && !url.ends_with(":4010"), "a free port of this machine: {url}");
    let base = format!("{url}/v1");
    assert_eq!(lines[1..], [&base, "sk-mine", url, "sk-aimock-placeholder", url, "us-east-1"]);
}

#[test]
fn a_port_that_is_given_is_the_one() {
    let folder = Folder::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port().to_string();
    let (code, stdout, stderr) = run(&mut aimock(&folder.0, &["--port", &taken], &["sh", "-c", "echo ran"]));
    assert_eq!((code, stdout.as_str()), (3, ""), "{stderr}");
    assert!(stderr.contains(&taken), "{stderr}");
}

#[test]
fn all_requests_matched() {
    let folder = Folder::new();
    let (code, stderr) = run_client(&folder.0, &[], "hello,hello");
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stderr.contains("2 requests answered by fixtures (0 drifted), 0 relayed, 0 recorded, 0 unmatched"),
        "{stderr}"
    );
    assert!(stderr.ends_with("aimock: info: unused: rules.json#1 \"goodbye\"\n"), "{stderr}");
}

#[test]
fn what_a_run_did_not_use_is_told_a_line_each_and_only_of_a_whole_run() {
    let folder = Folder::new();
    let entry = |n: usize| json!({"match": {"userMessage": format!("q{n}\nand more")}, "response": {"content": "x"}});
    let many: Vec<Value> = (0..25).map(entry).collect();
    fs::write(folder.0.join("rules.json"), json!({"fixtures": many}).to_string()).unwrap();
    let unused =
        |stderr: &str| stderr.lines().filter(|l| l.contains(" unused: ")).map(str::to_owned).collect::<Vec<_>>();
    let (code, stderr) = run_client(&folder.0, &[], "q3\nand more");
    let lines = unused(&stderr);
    assert_eq!((code, lines.len()), (0, 21), "{stderr}");
    assert_eq!(lines[3], "aimock: info: unused: rules.json#4 \"q4 and more\"");
    assert_eq!(lines[20], "aimock: info: unused: 4 more; --report FILE lists them");
    let (code, _, stderr) = run(&mut aimock(&folder.0, &[], &["sh", "-c", "exit 1"]));
    assert_eq!((code, unused(&stderr).len()), (1, 0), "{stderr}");
}

#[test]
fn an_unmatched_request_fails_a_command_that_went_well() {
    let folder = Folder::new();
    let report = folder.0.join("out/report.json");
    let (code, stderr) = run_client(&folder.0, &["--report", report.to_str().unwrap()], "hello,hullo");
    assert_eq!(code, 1, "{stderr}");
    let miss = "unmatched: POST /v1/chat/completions → 404: the nearest fixture is rules.json#0: userMessage wants \
                \"hello\", the request has \"hullo\"";
    assert!(stderr.contains(miss), "{stderr}");
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert_eq!((&report["hits"], &report["misses"]), (&json!(1), &json!(1)));
    assert_eq!(report["fixtures"], json!([{"file": "rules.json", "index": 0, "hits": 1}]));
    assert_eq!(report["unused"], json!([{"file": "rules.json", "index": 1, "recorded": false}]));
    assert_eq!(report["unmatched"][0]["status"], 404);
    assert_eq!((&report["commandExit"], &report["tests"]), (&json!(0), &json!([])));
    assert!(stderr.contains("exit code 1: the command ended with 0, but not all that it asked for"), "{stderr}");
}

#[test]
fn a_miss_that_is_asked_again_is_one() {
    let folder = Folder::new();
    let report = folder.0.join("report.json");
    let options = ["--strict", "--report", report.to_str().unwrap()];
    let (code, stderr) = run_client(&folder.0, &options, "new@a,new@a,new@b,hello,new@a,other");
    assert_eq!(code, 1, "{stderr}");
    let told: Vec<&str> = stderr.lines().filter(|line| line.contains(" → 503")).collect();
    let starts = [
        "warn: POST /v1/chat/completions → 503 (test a): ",
        // It came twice when the next line came, and three times in all.
        "warn: POST /v1/chat/completions → 503 ×2 (test a): ",
        "warn: POST /v1/chat/completions → 503 (test b): ",
        "warn: POST /v1/chat/completions → 503 ×3 (test a): ",
        "warn: POST /v1/chat/completions → 503: ",
        "warn: unmatched: POST /v1/chat/completions → 503 ×3 (test a): ",
        "warn: unmatched: POST /v1/chat/completions → 503 (test b): ",
        "warn: unmatched: POST /v1/chat/completions → 503: ",
    ];
    assert_eq!(told.len(), starts.len(), "{stderr}");
    for (line, start) in told.iter().zip(starts) {
        assert!(line.starts_with(&format!("aimock: {start}")), "{start}: {stderr}");
    }
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert_eq!((&report["misses"], &report["tests"]), (&json!(3), &json!(["a", "b"])));
    let times: Vec<&Value> = report["unmatched"].as_array().unwrap().iter().map(|u| &u["times"]).collect();
    assert_eq!(times, [3, 1, 1]);
}

#[test]
fn what_is_no_api_call_is_no_miss() {
    let folder = Folder::new();
    let probes = "HEAD /,GET /,GET /favicon.ico,GET /robots.txt,OPTIONS /v1/chat/completions,GET /.well-known/x,hello";
    for options in [&["--strict"][..], &[]] {
        let (code, stderr) = run_client(&folder.0, options, probes);
        assert_eq!(code, 0, "{stderr}");
        assert!(stderr.contains(" 0 unmatched") && !stderr.contains("warn"), "{stderr}");
        let (code, stderr) = run_client(&folder.0, options, "GET /v1/files,hello");
        assert!(code == 1 && stderr.contains(" 1 unmatched"), "{stderr}");
    }
}

/// A folder with a recording of each of these questions.
fn recorded(questions: &str) -> (Folder, aimock::Mock) {
    let folder = Folder::new();
    let upstream = aimock::Mock::builder().start().expect("a server");
    upstream.on(aimock::Match::default(), aimock::Reply::text("from upstream"));
    let (code, stderr) = run_client(&folder.0, &["--record", "--provider-openai", &upstream.url()], questions);
    assert_eq!(code, 0, "{stderr}");
    (folder, upstream)
}

/// What the recordings in a folder were recorded from, with the test that they belong to.
fn questions(folder: &Folder) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.0.join("recorded")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "json") {
                let file = fs::read(path).expect("a file");
                let file: Value = serde_json::from_slice(&file).expect("JSON");
                let question = |f: &Value| {
                    let key = |name: &str| f["match"][name].as_str().unwrap_or("").to_owned();
                    format!("{}@{}", key("userMessage"), key("testId"))
                };
                found.extend(file["fixtures"].as_array().expect("a list").iter().map(question));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn recordings_that_a_test_no_longer_uses_go_when_it_is_recorded_again() {
    let (folder, upstream) = recorded("one@t,two@t,three@t,four@u,five");
    let record = ["--record", "--provider-openai", &upstream.url()];
    let everything = questions(&folder);
    assert_eq!(everything.len(), 5);
    let mut command = client_command();
    command.splice(0..0, ["sh", "-c", "\"$@\"; exit 3", "sh"].map(str::to_owned));
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let (code, _, stderr) = run(aimock(&folder.0, &record, &command).env("ASK", "one@t"));
    assert_eq!((code, questions(&folder)), (3, everything.clone()), "a run that failed says nothing: {stderr}");
    run_client(&folder.0, &[], "one@t");
    assert_eq!(questions(&folder), everything, "nor does one that records nothing");

    let report = folder.0.join("report.txt");
    let options = [&record[..], &["--report", report.to_str().unwrap()]].concat();
    let (code, stderr) = run_client(&folder.0, &options, "one@t,six@t");
    assert_eq!(code, 0, "{stderr}");
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert_eq!(report["fixtures"], json!([{"file": "recorded/t/openai.json", "index": 0, "hits": 1}]));
    let unused: Vec<&Value> = report["unused"].as_array().unwrap().iter().map(|u| &u["file"]).collect();
    assert!(unused.len() == 4 && !unused.contains(&&json!("recorded/t/openai.json")), "{unused:?}");
    assert_eq!(questions(&folder), ["five@", "four@u", "one@t", "six@t"]);
    for question in ["two", "three"] {
        let line = format!("\"{question}\": test t ran without it");
        assert!(
            stderr.lines().any(|l| l.starts_with("aimock: info: removed recorded/") && l.ends_with(&line)),
            "{stderr}"
        );
    }
    let (code, stderr) = run_client(&folder.0, &["--strict"], "one@t,six@t,four@u,five");
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn pruning_deletes_what_tests_that_ran_did_not_use() {
    let (folder, _) = recorded("one@t,two@t,three@u,four");
    let report = folder.0.join("report.txt");
    let report = report.to_str().unwrap();
    let (code, stderr) = run_client(&folder.0, &["--strict", "--report", report], "one@t");
    assert_eq!(code, 0, "{stderr}");
    let prune = |more: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_aimock"));
        run(program.arg("check").arg(&folder.0).args(["--unused", report, "--prune"]).args(more))
    };
    let (code, stdout, stderr) = prune(&[]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.contains("1 unused recording deleted\n"), "{stdout}");
    assert_eq!(questions(&folder), ["four@", "one@t", "three@u"]);
    assert_eq!((prune(&["--untagged"]).0, questions(&folder)), (0, vec!["one@t".to_owned(), "three@u".to_owned()]));

    let (code, _, _) = run(&mut aimock(&folder.0, &["--report", report], &["sh", "-c", "exit 1"]));
    let (refused, _, stderr) = prune(&["--untagged"]);
    assert_eq!((code, refused, questions(&folder).len()), (1, 2, 2));
    assert!(stderr.contains("--prune: the command of the run behind this report ended with 1"), "{stderr}");
}

#[test]
fn a_command_that_failed_keeps_its_code() {
    let folder = Folder::new();
    let script = "\"$@\"; exit 9";
    let mut command = vec!["sh", "-c", script, "sh"];
    let client = client_command();
    command.extend(client.iter().map(String::as_str));
    let (code, _, stderr) = run(aimock(&folder.0, &[], &command).env("ASK", "unknown"));
    assert_eq!(code, 9, "{stderr}");
    assert!(stderr.contains("1 unmatched"), "{stderr}");
}

#[test]
fn what_is_recorded_is_used() {
    let (folder, upstream) = (Folder::new(), upstream());
    let report = folder.0.join("report.json");
    let options = ["--record", "--provider-openai", &upstream.url(), "--report", report.to_str().unwrap()];
    let (code, stderr) = run_client(&folder.0, &options, "new question");
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("1 relayed, 1 recorded, 0 unmatched"), "{stderr}");
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let unused: Vec<&Value> = report["unused"].as_array().unwrap().iter().map(|u| &u["file"]).collect();
    assert_eq!(unused, ["rules.json", "rules.json"], "the recording is not among them");
}

#[test]
fn a_recording_that_was_not_written_fails_a_command_that_went_well() {
    let (folder, upstream) = (Folder::new(), upstream());
    let options = ["--record", "--provider-openai", &upstream.url()];
    let recorded = folder.0.join("recorded");
    let mut command = vec!["sh", "-c", "rm -r \"$0\" && : > \"$0\" && exec \"$@\"", recorded.to_str().unwrap()];
    let client = client_command();
    command.extend(client.iter().map(String::as_str));
    let (code, _, stderr) = run(aimock(&folder.0, &options, &command).env("ASK", "new question,new question"));
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("1 requests answered by fixtures (0 drifted), 1 relayed, 0 recorded"), "{stderr}");
    assert!(stderr.contains("1 recordings could not be written"), "{stderr}");
}

/// An upstream that answers "new" and refuses "refused".
fn upstream() -> aimock::Mock {
    let upstream = aimock::Mock::builder().start().expect("an upstream");
    upstream.on_message("new", aimock::Reply::text("from upstream"));
    let refusal = aimock::ErrorAnswer { status: 401, message: "no such key".into(), ..Default::default() };
    upstream.on_message("refused", refusal);
    upstream
}

#[test]
fn nothing_but_refusals_fails_a_command_that_went_well() {
    let upstream = upstream();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (here, nowhere) = (upstream.url(), format!("http://{nobody}"));
    let key = "nothing could be recorded from openai: all requests (2) were refused, the last with status 401; set \
               AIMOCK_PROVIDER_OPENAI_KEY, or OPENAI_API_KEY where the client reads it, to a key that it accepts";
    let address = "nothing could be recorded from openai: no request of 1 was answered, the last for this reason: cannot \
                   connect to";
    for (options, url, ask, code, told) in [
        (&["--record"][..], &here, "refused,refused again", 1, Some(key)),
        (&["--record"], &nowhere, "new", 1, Some(address)),
        (&["--record"], &here, "refused,new", 0, None),
        (&["--record"], &here, "hello", 0, None),
        (&["--record", "--record-errors"], &here, "refused", 0, None),
        (&["--proxy-only"], &here, "refused", 0, None),
    ] {
        let folder = Folder::new();
        let report = folder.0.join("report.json");
        let always = ["--provider-openai", url, "--report", report.to_str().unwrap()];
        let (got, stderr) = run_client(&folder.0, &[&always, options].concat(), ask);
        assert_eq!(got, code, "{options:?} {ask}: {stderr}");
        let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
        match told {
            Some(told) => {
                assert!(stderr.contains(&format!("aimock: error: {told}")), "{stderr}");
                let refused = &report["refused"][0];
                assert_eq!(refused["provider"], "openai");
                assert!(refused["explanation"].as_str().unwrap().starts_with(told), "{refused}");
            }
            None => assert!(!stderr.contains("nothing could be recorded"), "{stderr}"),
        }
    }
}

/// Starts a command that says `ready` and waits for signals, sends one, and waits for the end.
fn signalled(options: &[&str], script: &str, signal: &str) -> (i32, String, Folder) {
    let folder = Folder::new();
    let mut program = aimock(&folder.0, options, &["sh", "-c", script]);
    let mut child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a program that starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    let kill = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().expect("kill");
    assert!(kill.success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("UTF-8");
    let code = child.wait().expect("it ends").code().expect("no signal ended it");
    (code, rest, folder)
}

#[test]
fn signals_are_passed_on() {
    for signal in ["TERM", "INT", "HUP"] {
        let script = format!("trap 'echo caught; exit 5' {signal}; echo ready; while :; do sleep 0.02; done");
        let (code, stdout, _) = signalled(&[], &script, signal);
        assert_eq!((code, stdout.as_str()), (5, "caught\n"), "{signal}");
    }
}

#[test]
fn a_signal_that_the_command_does_not_catch_ends_it_and_the_report_is_written() {
    let report = Folder::new();
    let path = report.0.join("report.json");
    let script = "echo ready; while :; do sleep 0.02; done";
    let (code, _, _) = signalled(&["--report", path.to_str().unwrap()], script, "TERM");
    assert_eq!(code, 143);
    let report: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(report["hits"], 0);
}
