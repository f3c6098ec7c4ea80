//! What clients may take of memory and places, what is read of a disk, and what is answered to what is no request. How
//! each limit looks from outside is in `tests/faults`.

mod common;

use common::chat::{CHAT, ask, chat, read, whole};
use common::server::{Folder, Program, program, record, serve, until};
use common::{Gate, RawClient, ScriptedUpstream, Step, answer, chunk, header};
use rustix::fs::{CWD, Mode, mkfifoat};
use std::os::unix::fs::symlink;

const RULES: &str = r#"{"fixtures":[{"match":{"userMessage":"hi"},"response":{"content":"here"}}]}"#;

fn greetings() -> Folder {
    let folder = Folder::new();
    folder.write("rules.json", RULES);
    folder
}

fn path(folder: &Folder) -> &str {
    folder.path().to_str().expect("a path in UTF-8")
}

// ------------------------------------------------------------------------------------------------ memory

/// The most memory that a process has had, in KiB. <https://man7.org/linux/man-pages/man5/proc_pid_status.5.html>
fn peak_kib(program: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn chunks_of_a_byte_take_no_more_than_their_bytes() {
    const BODY_BYTES: usize = 512 << 10;
    let folder = greetings();
    let (program, address) = Program::serve(&["-f", path(&folder)]);
    let body = chat("hi") + &" ".repeat(BODY_BYTES);
    let chunks: Vec<u8> = body.bytes().flat_map(|byte| chunk([byte])).collect();
    let mut client = RawClient::connect(address).await;
    client.post(CHAT, "", &body).await;
    assert_eq!(read(&mut client).await.text(), "here");
    let before = peak_kib(&program);
    client.send(format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")).await;
    client.send([&*chunks, b"0\r\n\r\n"].concat()).await;
    assert_eq!(read(&mut client).await.text(), "here");
    // Twice as much while it grows, and what the connection reads at once; each chunk on its own took 35 times as much.
    let grown = (peak_kib(&program) - before) as usize * 1024;
    assert!(grown < 8 * BODY_BYTES, "{grown} bytes more than the same body at once");
}

#[tokio::test]
async fn bodies_take_their_room_until_they_are_answered() {
    let go = Gate::new();
    let (waits, says) = (Step::WaitFor(go.clone()), whole("from afar"));
    let upstream = ScriptedUpstream::start(vec![[vec![waits], says].concat()]);
    let folder = greetings();
    let server = record(&folder, &upstream.url(), |config| {
        config.max_body_bytes = 1000;
        config.limits.bodies_bytes = 1500;
    });
    let mut first = RawClient::connect(server.address()).await;
    first.post(CHAT, "", format!("{:<1000}", chat("a"))).await;
    assert!(until(|| (upstream.requests().len() == 1).then_some(())).await.is_some());
    let mut second = RawClient::connect(server.address()).await;
    second.post(CHAT, "", format!("{:<600}", chat("hi"))).await;
    let got = read(&mut second).await;
    assert_eq!((got.status(), got.header("retry-after")), (503, "1"), "the upstream has the first one's body still");
    let mut third = RawClient::connect(server.address()).await;
    third.post(CHAT, "", format!("{:<500}", chat("hi"))).await;
    assert_eq!(read(&mut third).await.status(), 200);
    go.open();
    assert_eq!(read(&mut first).await.text(), "from afar");
    third.post(CHAT, "", format!("{:<1000}", chat("hi"))).await;
    assert_eq!(read(&mut third).await.status(), 200);
}

// ------------------------------------------------------------------------------------------------ places

#[tokio::test]
async fn there_are_as_many_connections_as_the_flag_says() {
    let folder = greetings();
    let (_program, address) = Program::serve(&["-f", path(&folder), "--max-connections", "1"]);
    let half = format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n");
    let mut busy = RawClient::connect(address).await;
    busy.send(&half).await;
    for (target, name) in [(CHAT, "/error/code"), ("/v1/messages", "/error/type"), ("/health", "/error/code")] {
        let mut client = RawClient::connect(address).await;
        client.post(target, "", "{}").await;
        let got = read(&mut client).await;
        assert_eq!(
            (got.status(), got.header("connection"), got.header("retry-after")),
            (503, "close", "1"),
            "{target}"
        );
        assert!(got.body.contains("--max-connections") && got.json().pointer(name).is_some(), "{}", got.body);
    }
    drop(busy);
    let served = async || {
        let mut client = RawClient::connect(address).await;
        client.post(CHAT, "", chat("hi")).await;
        read(&mut client).await.status() == 200
    };
    while !served().await {}
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_or_told() {
    for (hard, told) in [("4096", false), ("300", true)] {
        let mut command = std::process::Command::new("sh");
        let script = format!("ulimit -Sn 200; ulimit -Hn {hard}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_aimock"), "--port", "0", "--max-connections", "1000"]);
        let (program, address) = Program::listening(&mut command);
        let mut clients = Vec::new();
        for _ in 0..if told { 100 } else { 1000 } {
            clients.push(RawClient::connect(address).await);
        }
        let last = clients.last_mut().expect("many");
        last.send("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert_eq!(read(last).await.status(), 200);
        program.signal("TERM");
        let stderr = program.wait().stderr;
        assert_eq!(stderr.contains("(ulimit -n) is enough for 118 connections"), told, "{stderr}");
    }
}

// ------------------------------------------------------------------------------------------------ what is no request

#[tokio::test]
async fn another_protocol_is_told_once() {
    let folder = greetings();
    let server = serve(&folder, |_| {});
    for _ in 0..3 {
        for first in
            [&b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"]
        {
            let mut client = RawClient::connect(server.address()).await;
            client.send([first, b"\r\n\r\n"].concat()).await;
            let _ = client.read_to_end().await;
        }
    }
    for (protocol, remedy) in [("TLS", "http:// URL"), ("HTTP/2", "HTTP/1.1")] {
        let line = server.logged(&format!("a client speaks {protocol}")).await;
        assert!(line.starts_with("aimock: warn: ") && line.contains(remedy), "{line}");
    }
    let lines = server.log.to_vec();
    assert_eq!(lines.iter().filter(|line| line.contains("a client speaks")).count(), 2, "{lines:?}");
}

#[tokio::test]
async fn two_hosts_are_an_error_in_the_providers_shape() {
    let folder = greetings();
    let server = serve(&folder, |_| {});
    for (target, code) in [(CHAT, "/error/code"), ("/__test/t/v1/messages", "/error/type"), ("/health", "/error/code")]
    {
        let mut client = RawClient::connect(server.address()).await;
        client
            .send(format!(
                "POST {target} HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{{}}"
            ))
            .await;
        let got = read(&mut client).await;
        assert_eq!((got.status(), got.header("connection")), (400, "close"), "{target}");
        assert!(got.json().pointer(code).is_some() && got.body.contains("two host headers"), "{}", got.body);
    }
    assert!(server.mock.requests().is_empty(), "nobody knows whom it was for");
}

// ------------------------------------------------------------------------------------------------ raw answers

#[tokio::test]
async fn a_replayed_head_tells_its_length_and_nothing_tells_an_empty_type() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1234\r\n\r\n";
    let (typed, untyped) = (vec![Step::write(head)], answer(200, "", "bytes"));
    let upstream = ScriptedUpstream::start(vec![typed.clone(), untyped.clone(), typed, untyped]);
    for options in [|_: &mut aimock::Config| {}, |config: &mut aimock::Config| config.record_wire = true] {
        let folder = Folder::new();
        let recording = record(&folder, &upstream.url(), options);
        for source in ["proxy", "fixture"] {
            let offline = serve(&folder, |_| {});
            let server = if source == "proxy" { &recording } else { &offline };
            let mut client = RawClient::connect(server.address()).await;
            client
                .send("HEAD /v1/files/f HTTP/1.1\r\nhost: localhost\r\n\r\nGET /v1/files/g HTTP/1.1\r\nhost: localhost\r\n\r\n")
                .await;
            let head = client.read_head().await;
            let told = ["x-aimock-source", "content-length", "content-type"].map(|name| header(&head, name));
            assert_eq!(told, [Some(source), Some("1234"), Some("application/json")], "{head}");
            let got = read(&mut client).await;
            assert_eq!((got.status(), got.body.as_str(), header(&got.head, "content-type")), (200, "bytes", None));
        }
    }
}

// ------------------------------------------------------------------------------------------------ regular files

fn fifo(folder: &Folder, name: &str) -> String {
    let path = folder.path().join(name);
    mkfifoat(CWD, &path, Mode::RWXU).expect("a FIFO");
    path.to_str().expect("a path in UTF-8").to_owned()
}

#[tokio::test]
async fn what_is_no_regular_file_is_told_and_holds_nothing_up() {
    let folder = greetings();
    let elsewhere = Folder::new();
    let given = fifo(&elsewhere, "given.json");
    let inside = fifo(&folder, "inside.json");
    symlink("/dev/zero", folder.path().join("zero.json")).expect("a link");
    let found = ["given.json: error", "inside.json: error", "zero.json: error"];
    let args = ["-f", path(&folder), "-f", &given];

    let (server, address) = Program::serve(&[&args[..], &["--watch"]].concat());
    assert_eq!(ask(address, chat("hi")).await.text(), "here");
    server.signal("TERM");
    let ended = server.wait();
    assert!(ended.code == Some(0) && found.iter().all(|what| ended.stderr.contains(what)), "{}", ended.stderr);

    let ended = Program::start(&mut program(&[&args[..], &["--port", "0", "--strict"]].concat())).wait();
    assert!(ended.code == Some(2) && found.iter().all(|what| ended.stderr.contains(what)), "{}", ended.stderr);

    let ended = Program::start(&mut program(&["check", path(&folder), &given])).wait();
    assert!(ended.code == Some(1) && found.iter().all(|what| ended.stdout.contains(what)), "{}", ended.stdout);

    let out = Folder::new();
    for from in ["aimock", "vcr", "har"] {
        let har = fifo(&folder, &format!("{from}.har"));
        let ended = Program::start(&mut program(&["convert", from, &har, &inside, "-o", path(&out)])).wait();
        assert!(ended.code == Some(1) && ended.stderr.contains("it is a FIFO"), "{}", ended.stderr);
    }

    let ended = Program::start(&mut program(&["check", path(&out), "--unused", &inside])).wait();
    assert!(ended.code == Some(2) && ended.stderr.contains("it is a FIFO"), "{}", ended.stderr);
}
