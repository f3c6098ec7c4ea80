//! Output that nobody reads: it stops nothing, and what is lost of it is counted.

mod common;

use common::chat::{ask, chat, completion, streamed, whole};
use common::server::{Folder, Running, ended, full_pipe, program, until};
use common::{RawClient, ScriptedUpstream};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

const RULES: &str = r#"{"fixtures":[{"match":{"userMessage":"hi"},"response":{"content":"here"}}]}"#;

/// More than a pipe takes, in bytes.
const MORE_THAN_A_PIPE: usize = 1 << 20;

fn greetings() -> Folder {
    let folder = Folder::new();
    folder.write("rules.json", RULES);
    folder
}

fn path(folder: &Folder) -> &str {
    folder.path().to_str().expect("a path in UTF-8")
}

/// The lines that were dropped, by what a line says of them.
fn dropped(line: &str) -> Option<u64> {
    let count = line.strip_prefix("aimock: warn: ")?.strip_suffix(" dropped: nobody read this pipe")?;
    count.strip_suffix(" lines").or(count.strip_suffix(" line"))?.parse().ok()
}

#[tokio::test]
async fn every_line_of_a_pipe_that_nobody_reads_is_there_in_the_end_or_counted() {
    let folder = greetings();
    let (reader, writer) = std::io::pipe().unwrap();
    let server = Running::start(&["-f", path(&folder), "--log-level", "warn"], |command| {
        command.stdout(Stdio::null()).stderr(writer);
    });
    let long = "x".repeat(2000);
    let requests = (MORE_THAN_A_PIPE / long.len()) as u64;
    let mut client = RawClient::connect(server.address).await;
    for n in 0..requests {
        client.send(format!("GET /{n}/{long} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert!(client.read_answer().await.0.starts_with("HTTP/1.1 404 "), "{n}");
    }
    let mut lines = BufReader::new(reader).lines().map(|line| line.unwrap());
    let (mut told, mut missing) = (0, 0);
    while told + missing < requests {
        let line = lines.next().expect("it runs on");
        match dropped(&line) {
            Some(count) => missing += count,
            None => {
                assert!(line.starts_with(&format!("aimock: warn: GET /{}/x", told + missing)), "in order: {line:.60}");
                told += 1;
            }
        }
    }
    assert!(missing > 0 && told > 30 && told + missing == requests, "{told} told, {missing} missing");
    client.send("GET /and-on HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(lines.next().is_some_and(|line| line.contains("/and-on")), "it tells again");
    assert_eq!(server.stop("TERM").code(), Some(0));
}

#[tokio::test]
async fn a_server_answers_records_and_stops_on_full_pipes() {
    let upstream = ScriptedUpstream::start(vec![whole("from afar")]);
    for signal in ["TERM", "INT", "HUP"] {
        let folder = greetings();
        let ((_out, stdout), (_err, stderr)) = (full_pipe(), full_pipe());
        let args = ["-f", path(&folder), "--record", "--provider-openai", &upstream.url(), "--log-level", "debug"];
        let server = Running::start(&args, |command| {
            command.stdout(stdout).stderr(stderr);
        });
        for n in 0..10 {
            assert_eq!(ask(server.address, chat("hi")).await.text(), "here");
            assert_eq!(ask(server.address, chat(&format!("{n}?"))).await.text(), "from afar");
        }
        assert_eq!(folder.recordings().len(), 11);
        assert_eq!(server.stop(signal).code(), Some(0), "{signal}");
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_stops_nothing() {
    let folder = greetings();
    let ((out, stdout), (err, stderr)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    let server = Running::start(&["-f", path(&folder), "--log-level", "debug"], |command| {
        command.stdout(stdout).stderr(stderr);
    });
    drop((out, err));
    for _ in 0..30 {
        assert_eq!(ask(server.address, streamed("hi")).await.text(), "here");
        assert_eq!(ask(server.address, chat("zzz")).await.status(), 404);
    }
    assert_eq!(server.stop("TERM").code(), Some(0));
}

#[test]
fn a_commands_exit_code_is_returned_on_full_pipes() {
    let folder = greetings();
    let aimock = env!("CARGO_BIN_EXE_aimock");
    // The command itself asks, and leaves its output alone.
    let asks = "\"$0\" health \"$AIMOCK_URL\" && exit 7";
    let ((_out, stdout), (_err, stderr)) = (full_pipe(), full_pipe());
    let mut command = program(&["-f", path(&folder), "--log-level", "debug", "--", "sh", "-c", asks, aimock]);
    let mut child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().unwrap();
    assert_eq!(ended(&mut child).code(), Some(7));
}

#[test]
fn an_error_is_an_exit_code_on_a_full_pipe() {
    let (_err, stderr) = full_pipe();
    let mut child = program(&["--recrod"]).stderr(stderr).spawn().unwrap();
    assert_eq!(ended(&mut child).code(), Some(2));
}

/// A folder with more problems than a pipe takes.
fn problems() -> Folder {
    let folder = Folder::new();
    for n in 0..MORE_THAN_A_PIPE / 4 / 1000 {
        folder.write(&format!("{n}-{}.json", "x".repeat(200)), "{".repeat(10));
    }
    folder
}

#[tokio::test]
async fn a_command_whose_product_is_its_output_waits_for_a_slow_reader() {
    let folder = problems();
    let run = |stdout: Stdio| program(&["check", path(&folder)]).stdout(stdout).stderr(Stdio::null()).spawn().unwrap();
    let whole = run(Stdio::piped()).wait_with_output().unwrap().stdout;
    assert!(whole.len() > 1 << 16, "{}", whole.len());

    let (mut reader, stdout) = std::io::pipe().unwrap();
    let mut child = run(stdout.into());
    // Pieces that end with a line fill no page of it.
    let full = || rustix::io::ioctl_fionread(&reader).ok().filter(|bytes| *bytes > 3 << 14);
    assert!(until(full).await.is_some(), "the pipe is full");
    assert!(child.try_wait().unwrap().is_none(), "it waits");
    let mut slowly = Vec::new();
    reader.read_to_end(&mut slowly).unwrap();
    assert!(slowly == whole, "{} of {} bytes", slowly.len(), whole.len());
    assert_eq!(ended(&mut child).code(), Some(1));

    let (reader, stdout) = std::io::pipe().unwrap();
    let mut child = run(stdout.into());
    drop(reader);
    assert_eq!(ended(&mut child).code(), Some(1), "nobody wants it");
}

/// A library's server in a process whose stderr nobody reads.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn library() {
    use aimock::log::{Level, Logger};
    let mock = aimock::Mock::builder().log(Logger::stderr(Level::Debug)).start().expect("a server that starts");
    let body = completion(&"x".repeat(100));
    for _ in 0..100 {
        let mut stream = TcpStream::connect(mock.address()).unwrap();
        let head = format!("POST /{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n", "y".repeat(20_000));
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer:.100}");
    }
}

#[test]
fn a_library_answers_and_ends_on_a_full_pipe() {
    let (_err, stderr) = full_pipe();
    let this = std::env::current_exe().expect("this binary's path");
    let args = ["--ignored", "--exact", "library", "--quiet"];
    let mut child = Command::new(this).args(args).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
    assert_eq!(ended(&mut child).code(), Some(0));
}
