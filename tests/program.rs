//! The program: what it prints where, what stops it, and its exit codes.

mod common;

use common::chat::{CHAT, DONE, LAST_CHUNK, STREAM_HEAD, ask, chat, delta, finish, read, stream, streamed};
use common::server::{Ended, Folder, Program, program};
use common::{Gate, RawClient, ScriptedUpstream, Step, chunk};
use serde_json::Value;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const RULES: &str = r#"{"fixtures":[{"match":{"userMessage":"hi"},"response":{"content":"here"}}]}"#;

/// Runs it to its end.
fn run(args: &[&str]) -> Ended {
    Program::start(&mut program(args)).wait()
}

/// A folder with one rule.
fn greetings() -> Folder {
    let folder = Folder::new();
    folder.write("rules.json", RULES);
    folder
}

fn path(folder: &Folder) -> &str {
    folder.path().to_str().expect("a path in UTF-8")
}

/// A server that is asked to stop by this signal; how it ended.
fn stopped(program: Program, signal: &str) -> Ended {
    program.signal(signal);
    program.wait()
}

// ------------------------------------------------------------------------------------------------ starting

#[tokio::test]
async fn one_line_on_stdout_says_where_it_listens() {
    let folder = greetings();
    let (program, address) = Program::serve(&["-f", path(&folder)]);
    assert_ne!(address.port(), 0, "port 0 takes a free one");
    assert_eq!(ask(address, chat("hi")).await.text(), "here");
    assert_eq!(ask(address, chat("zzz")).await.status(), 404);
    let ended = stopped(program, "TERM");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "nothing after that line");
}

#[tokio::test]
async fn the_address_is_a_flag_or_a_variable() {
    let (_program, address) = Program::listening(program(&["--port", "0"]).env("AIMOCK_HOST", "0.0.0.0"));
    assert!(address.ip().is_unspecified(), "{address}");
    let (_program, address) = Program::serve(&["--host", "localhost"]);
    assert_eq!(address.ip().to_string(), "127.0.0.1");
    let (_program, address) = Program::listening(program(&["-p0", "--host=127.0.0.1"]).env("AIMOCK_HOST", "0.0.0.0"));
    assert_eq!(address.ip().to_string(), "127.0.0.1");
}

#[test]
fn a_port_that_is_taken_is_exit_code_3() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = run(&["--port", &port]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""));
    assert!(
        ended.stderr.starts_with(&format!("aimock: error: cannot listen on 127.0.0.1:{port}: ")),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("--port"), "{}", ended.stderr);
    assert_eq!(run(&["--host", "192.0.2.1", "--port", "0"]).code, Some(3));
}

#[test]
fn usage_errors_are_exit_code_2_and_name_the_flag() {
    for (args, named) in [
        (&["--recrod"][..], "--record"),
        (&["--port", "many"], "--port"),
        (&["--port"], "--port"),
        (&["--provider-openai", "ftp://x", "--record"], "--provider-openai"),
        (&["--redact", "("], "--redact"),
        (&["surplus"], "surplus"),
        (&["-p1", "--port", "2"], "--port is given twice"),
        (&["--record", "--provider-mistral", "http://x"], "--provider-openai URL"),
        (&["check", "--frobnicate"], "aimock check --help"),
    ] {
        let ended = run(args);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{args:?}");
        let lines = ended.stderr.lines().collect::<Vec<_>>();
        assert!(lines.len() == 1 && lines[0].starts_with("aimock: error: ") && lines[0].contains(named), "{lines:?}");
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    let help = run(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    assert!(help.stdout.contains("--provider-openai") && help.stdout.lines().all(|l| l.chars().count() <= 100));
    for (args, page) in [
        (&["-h"][..], "Usage: aimock [OPTIONS]"),
        (&["help"], "Usage: aimock [OPTIONS]"),
        (&["help", "check"], "Usage: aimock check "),
        (&["check", "--help"], "Usage: aimock check "),
        (&["convert", "-h"], "Usage: aimock convert "),
        (&["health", "--help"], "Usage: aimock health "),
    ] {
        let help = run(args);
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(help.stdout.contains(page), "{}", help.stdout);
    }
    let version = run(&["--version"]);
    assert_eq!((version.code, version.stdout.trim_end()), (Some(0), concat!("aimock ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_broken_environment_is_exit_code_2_and_quotes_no_secret() {
    let upstream = ["--port", "0", "--record", "--provider-openai", "https://127.0.0.1:1"];
    for (name, value) in [
        ("SSL_CERT_FILE", "/no/such/file.pem"),
        ("HTTPS_PROXY", "socks5://me:hunter2@x:1"),
        ("AIMOCK_PROVIDER_OPENAI_KEY", "hunter2\u{1}"),
    ] {
        let ended = Program::start(program(&upstream).env(name, value)).wait();
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(name) && !ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn broken_fixtures_are_named_with_line_and_column() {
    let folder = greetings();
    let broken =
        folder.write("deep/broken.json", "{\n  \"fixtures\": [\n    {\"match\": {}, \"response\": }\n  ]\n}\n");
    let wrong = folder.write(
        "wrong.json",
        "{\"fixtures\": [\n  {\"match\": {}, \"response\": {\"content\": \"x\"}, \"latency\": \"long\"}]}\n",
    );
    let places = [format!("{}:3:", broken.display()), format!("{}:2:", wrong.display())];
    for flag in ["--validate-on-load", "--strict"] {
        let ended = run(&["--port", "0", "-f", path(&folder), flag]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "it never listened");
        for place in &places {
            assert!(ended.stderr.contains(place), "{place}: {}", ended.stderr);
        }
    }
    let (program, address) = Program::serve(&["-f", path(&folder)]);
    assert_eq!(ask(address, chat("hi")).await.text(), "here", "the rest is loaded");
    let stderr = stopped(program, "TERM").stderr;
    for place in &places {
        assert!(stderr.lines().any(|l| l.starts_with("aimock: warn: ") && l.contains(place)), "{place}: {stderr}");
    }
}

#[test]
fn strict_does_not_start_where_there_are_no_fixtures() {
    let folder = Folder::new();
    let typo = folder.path().join("fixturs");
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let named = |path: &std::path::Path| path.to_str().expect("a path in UTF-8").to_owned();
    for (path, says) in [(named(&typo), "no such file or folder"), (named(&empty), "no fixture in it")] {
        let ended = run(&["--port", "0", "--strict", "-f", &path]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "it never listened");
        let says = format!("aimock: error: -f {path}: {says}, so --strict has nothing to answer from; ");
        assert!(ended.stderr.starts_with(&says), "{}", ended.stderr);
        let (program, _) = Program::serve(&["-f", &path]);
        let says = format!("aimock: warn: -f {path}: ");
        assert!(stopped(program, "TERM").stderr.contains(&says));
        let (program, _) =
            Program::serve(&["--strict", "--record", "--provider-openai", "http://127.0.0.1:1", "-f", &path]);
        assert!(!stopped(program, "TERM").stderr.contains("warn"), "it is going to be filled");
    }
    // One that has fixtures is enough, but each must be there.
    let full = greetings();
    let (full_and_empty, _) = Program::serve(&["--strict", "-f", path(&full), "-f", &named(&empty)]);
    assert_eq!(stopped(full_and_empty, "TERM").code, Some(0));
    let other_typo = folder.path().join("fixtrues"); // --record has made the first one
    let ended = run(&["--strict", "--port", "0", "-f", path(&full), "-f", &named(&other_typo)]);
    assert_eq!(ended.code, Some(2));
    // The folder that nobody named may be filled later.
    let (unnamed, _) = Program::listening(program(&["--strict", "--port", "0"]).current_dir(&empty));
    let stderr = stopped(unnamed, "TERM").stderr;
    assert!(stderr.contains("aimock: warn: ./fixtures: no such file or folder; -f PATH names another"), "{stderr}");
}

#[tokio::test]
async fn how_often_a_miss_came_is_told_at_the_end() {
    let folder = greetings();
    let (program, address) = Program::serve(&["-f", path(&folder), "--strict", "--log-level", "warn"]);
    for _ in 0..3 {
        ask(address, chat("zzz")).await;
    }
    let stderr = stopped(program, "TERM").stderr;
    let starts: Vec<&str> = stderr.lines().map(|line| line.split(": ").nth(2).unwrap_or(line)).collect();
    assert_eq!(starts, ["POST /v1/chat/completions → 503", "POST /v1/chat/completions → 503 ×3"], "{stderr}");
}

#[tokio::test]
async fn debug_names_the_fixture_the_match_the_test_and_the_time() {
    let folder = greetings();
    let (program, address) = Program::serve(&["-f", path(&folder), "--log-level", "debug"]);
    common::chat::ask_with(address, "x-test-id: t1\r\n", chat("hi")).await;
    let stderr = stopped(program, "TERM").stderr;
    let line = "aimock: debug: POST /v1/chat/completions → 200 by rules.json#0 (rule), test t1, in ";
    assert!(stderr.lines().any(|l| l.starts_with(line) && l.ends_with(" ms")), "{stderr}");
}

#[test]
fn sound_fixtures_pass_validation() {
    let folder = greetings();
    let (program, _) = Program::serve(&["-f", path(&folder), "--validate-on-load", "--strict"]);
    assert_eq!(stopped(program, "TERM").code, Some(0));
}

// ------------------------------------------------------------------------------------------------ stopping

/// A stream under way: its client, and the gate that lets it go on.
async fn under_way(server: SocketAddr, go: &Gate) -> RawClient {
    let mut client = RawClient::connect(server).await;
    client.post(CHAT, "", streamed("in flight")).await;
    client.read_until("one").await;
    assert!(!go.is_open());
    client
}

/// An upstream that waits in the middle of its answer.
fn pausing(go: &Gate) -> ScriptedUpstream {
    ScriptedUpstream::start(vec![vec![
        Step::write(STREAM_HEAD),
        Step::Write(chunk(delta("one"))),
        Step::WaitFor(go.clone()),
        Step::Write(chunk(delta(" two"))),
        Step::Write(chunk(finish())),
        Step::Write(chunk(DONE)),
        Step::write(LAST_CHUNK),
    ]])
}

#[tokio::test]
async fn a_second_signal_cuts_what_is_in_flight() {
    let folder = greetings();
    let go = Gate::new();
    let upstream = pausing(&go);
    let (program, address) =
        Program::serve(&["-f", path(&folder), "--record", "--provider-openai", upstream.url().as_str()]);
    let mut client = under_way(address, &go).await;
    program.signal("TERM");
    refused(address).await;
    program.signal("TERM");
    let ended = program.wait();
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.contains("told to stop once more"), "{}", ended.stderr);
    let rest = client.read_to_end().await.unwrap_or_default();
    assert!(!rest.ends_with(LAST_CHUNK.as_bytes()), "a cut answer has no end");
}

/// Waits until nobody listens there any more.
async fn refused(address: SocketAddr) {
    while TcpStream::connect(address).is_ok() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_signal_stops_accepting_and_finishes_what_is_in_flight() {
    for signal in ["TERM", "INT", "HUP"] {
        let go = Gate::new();
        let upstream = pausing(&go);
        let folder = Folder::new();
        let (mut program, address) =
            Program::serve(&["--record", "--provider-openai", &upstream.url(), "-f", path(&folder)]);
        let mut client = under_way(address, &go).await;
        program.signal(signal);
        refused(address).await;
        assert!(program.is_running());
        go.open();
        client.read_until(DONE).await;
        let ended = program.wait();
        assert_eq!(ended.code, Some(0), "{signal}: {}", ended.stderr);
        assert_eq!(folder.recordings().len(), 1);
    }
}

#[tokio::test]
async fn a_recording_whose_client_has_gone_is_in_flight_too() {
    let go = Gate::new();
    let upstream = ScriptedUpstream::start(vec![vec![
        Step::write(STREAM_HEAD),
        Step::Write(chunk(delta("one") + &finish())),
        Step::WaitFor(go.clone()),
        Step::write(LAST_CHUNK),
    ]]);
    let folder = Folder::new();
    let (program, address) = Program::serve(&["--record", "--provider-openai", &upstream.url(), "-f", path(&folder)]);
    let mut client = RawClient::connect(address).await;
    client.post(CHAT, "", streamed("in flight")).await;
    client.read_until("\"stop\"").await;
    client.reset();
    program.signal("TERM");
    refused(address).await;
    go.open();
    assert_eq!(program.wait().code, Some(0));
    assert_eq!(folder.recordings().len(), 1);
}

#[tokio::test]
async fn connections_that_ask_nothing_do_not_hold_it_up() {
    let folder = greetings();
    let (program, address) = Program::serve(&["-f", path(&folder)]);
    let silent = RawClient::connect(address).await;
    let mut idle = RawClient::connect(address).await;
    idle.post(CHAT, "", chat("hi")).await;
    read(&mut idle).await;
    let start = Instant::now();
    assert_eq!(stopped(program, "TERM").code, Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop((silent, idle));
}

#[tokio::test]
async fn a_signal_after_a_command_cuts_what_it_left_behind() {
    let go = Gate::new();
    let upstream = pausing(&go);
    let folder = Folder::new();
    let args = ["-f", path(&folder), "--record", "--provider-openai", &upstream.url(), "--port", "0"];
    let script = "echo \"aimock listening on $AIMOCK_URL\"; read line; exit 3";
    let (mut program, address) = Program::listening(&mut program(&[&args[..], &["--", "sh", "-c", script]].concat()));
    let mut client = under_way(address, &go).await;
    program.close_stdin(); // the command ends
    refused(address).await;
    assert!(program.is_running(), "it drains");
    let ended = stopped(program, "TERM");
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let rest = client.read_to_end().await.unwrap_or_default();
    assert!(!rest.ends_with(LAST_CHUNK.as_bytes()), "a cut answer has no end");
}

#[tokio::test]
async fn a_server_that_is_to_outlive_its_terminal_does() {
    let folder = greetings();
    let mut command = std::process::Command::new("nohup");
    let aimock = env!("CARGO_BIN_EXE_aimock");
    let (mut program, address) = Program::listening(command.args([aimock, "--port", "0", "-f", path(&folder)]));
    program.signal("HUP");
    assert_eq!(ask(address, chat("hi")).await.text(), "here");
    assert!(program.is_running());
    assert_eq!(stopped(program, "TERM").code, Some(0));
}

#[tokio::test]
async fn what_is_half_asked_does_not_hold_it_up() {
    let folder = greetings();
    let (program, address) = Program::serve(&["-f", path(&folder)]);
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n");
    let mut halves = Vec::new();
    for half in [&head[..20], &head, &(head.clone() + "{")] {
        let mut client = RawClient::connect(address).await;
        // The second request on a connection as well as the first.
        client.post(CHAT, "", chat("hi")).await;
        read(&mut client).await;
        client.send(half).await;
        halves.push(client);
        let mut client = RawClient::connect(address).await;
        client.send(half).await;
        halves.push(client);
    }
    let start = Instant::now();
    assert_eq!(stopped(program, "TERM").code, Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop(halves);
}

#[tokio::test]
async fn what_is_still_in_flight_after_the_drain_is_cut() {
    let go = Gate::new();
    let upstream = pausing(&go);
    let folder = Folder::new();
    let (program, address) = Program::serve(&["--record", "--provider-openai", &upstream.url(), "-f", path(&folder)]);
    let mut client = under_way(address, &go).await;
    let ended = tokio::task::spawn_blocking(move || stopped(program, "TERM")).await.unwrap();
    assert_eq!(ended.code, Some(0));
    assert!(
        ended.stderr.contains("aimock: warn: still busy after 8s, and cut: 1 connections, 1 recordings"),
        "{}",
        ended.stderr
    );
    let rest = client.read_to_end().await.unwrap_or_default();
    assert!(!rest.ends_with(LAST_CHUNK.as_bytes()), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(folder.files(), []);
}

#[tokio::test]
async fn it_stops_with_its_stdin_where_told_to() {
    let (mut program, _) = Program::serve(&["--exit-on-stdin-close"]);
    program.close_stdin();
    assert_eq!(program.wait().code, Some(0));

    let folder = greetings();
    let (mut program, address) = Program::serve(&["-f", path(&folder)]);
    program.close_stdin();
    assert_eq!(ask(address, chat("hi")).await.text(), "here");
    assert!(program.is_running(), "without the flag stdin means nothing");
}

// ------------------------------------------------------------------------------------------------ output

#[tokio::test]
async fn the_log_is_on_stderr_and_has_levels() {
    let folder = greetings();
    folder.write("broken.json", "{");
    for (level, words) in
        [("silent", &[][..]), ("warn", &["warn"]), ("info", &["info", "warn"]), ("debug", &["debug", "info", "warn"])]
    {
        let (program, address) = Program::serve(&["-f", path(&folder), "--log-level", level]);
        ask(address, chat("hi")).await;
        ask(address, chat("zzz")).await;
        let stderr = stopped(program, "TERM").stderr;
        let mut found: Vec<&str> = stderr.lines().map(|l| l.split(": ").nth(1).unwrap_or(l)).collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, words, "{stderr}");
        assert!(stderr.lines().all(|l| l.starts_with("aimock: ")), "{stderr}");
    }
}

#[tokio::test]
async fn output_that_nobody_reads_stops_nothing() {
    let folder = greetings();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = std::process::Command::new("sh");
    // Both are closed, not just ignored.
    command.args(["-c", "exec \"$0\" \"$@\" >&- 2>&-", env!("CARGO_BIN_EXE_aimock"), "-f", path(&folder), "--port"]);
    command.arg(port.to_string()).args(["--log-level", "debug"]);
    let program = Program::start(&mut command);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    while TcpStream::connect(address).is_err() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for _ in 0..3 {
        assert_eq!(ask(address, chat("hi")).await.text(), "here");
    }
    assert_eq!(stopped(program, "TERM").code, Some(0));
}

#[tokio::test]
async fn the_report_says_what_happened() {
    let upstream = ScriptedUpstream::start(vec![stream("from afar")]);
    let folder = greetings();
    let report = folder.path().join("out/report.txt");
    let args =
        ["--record", "--provider-openai", &upstream.url(), "-f", path(&folder), "--report", report.to_str().unwrap()];
    let (program, address) = Program::serve(&args);
    ask(address, chat("hi")).await;
    ask(address, streamed("afar")).await;
    ask(address, chat("afar")).await;
    let mut client = RawClient::connect(address).await;
    client.post("/v1/messages", "", r#"{"model":"m","max_tokens":1,"messages":[]}"#).await;
    assert_eq!(read(&mut client).await.status(), 404);
    assert_eq!(stopped(program, "TERM").code, Some(0));
    let report: Value = serde_json::from_slice(&std::fs::read(&report).expect("a report")).expect("JSON");
    let counts = ["hits", "relayed", "recorded", "misses", "drifted", "recordErrors"].map(|name| report[name].as_u64());
    assert_eq!(counts, [Some(2), Some(1), Some(1), Some(1), Some(0), Some(0)], "{report}");
}

// ------------------------------------------------------------------------------------------------ the whole job

#[tokio::test]
async fn recorded_stopped_and_replayed_with_the_network_gone() {
    let folder = Folder::new();
    let url = {
        let upstream = ScriptedUpstream::start(vec![stream("from afar")]);
        let (program, address) =
            Program::serve(&["--record", "--provider-openai", &upstream.url(), "-f", path(&folder)]);
        assert_eq!(ask(address, streamed("hello")).await.text(), "from afar");
        let ended = stopped(program, "TERM");
        assert!(ended.stderr.contains("aimock: info: recorded "), "{}", ended.stderr);
        upstream.url()
    };
    let (_program, address) = Program::serve(&["--strict", "-f", path(&folder)]);
    for body in [streamed("hello"), chat("hello")] {
        let got = ask(address, body).await;
        assert_eq!((got.how(), got.text().as_str()), ((200, "fixture", "exact"), "from afar"));
    }
    assert_eq!(ask(address, chat("hello?")).await.status(), 503);
    let (_program, address) = Program::serve(&["--record", "--provider-openai", &url, "-f", path(&folder)]);
    assert_eq!(ask(address, chat("hello")).await.how(), (200, "fixture", "exact"));
    assert_eq!(ask(address, chat("hello?")).await.status(), 502);
}

#[test]
fn health_asks_a_server() {
    let (program, address) = Program::serve(&["-f", "/no/such/folder"]);
    let url = format!("http://{address}");
    assert_eq!(run(&["health", &url]).code, Some(0));
    stopped(program, "TERM");
    let ended = run(&["health", &url]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(&address.to_string()), "{}", ended.stderr);
}
