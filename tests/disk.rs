//! A disk that takes no recording: told at the start where it can be, and else the answer is served all the same, and the
//! run is not green.

mod common;

use common::chat::{CHAT, DONE, Got, ask, ask_with, chat, completion, delta, finish, stream, streamed, whole};
use common::server::{Ended, Folder, Program, record, serve, until};
use common::{RawClient, ScriptedUpstream};
use rustix::process::geteuid;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A user without rights, and none that owns anything.
const NOBODY: u32 = 65_534;

/// An upstream that is never asked.
const NOWHERE: &str = "http://127.0.0.1:1";

/// Puts a file where recordings go: no folder can be made there any more.
fn block(folder: &Folder) {
    let recorded = folder.path().join("recorded");
    fs::remove_dir_all(&recorded).expect("a folder");
    fs::write(recorded, "in the way").expect("a file");
}

// ------------------------------------------------------------------------------------------------ at the start

/// The program, told to record into a folder, in a shell that says something before.
fn recording(shell: &str, folder: &Path, upstream: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{shell}; exec \"$0\" \"$@\"")]).arg(env!("CARGO_BIN_EXE_aimock"));
    command.args(["--port", "0", "--record", "--provider-openai", upstream, "-f"]).arg(folder);
    command
}

fn refused(command: &mut Command) -> String {
    let Ended { code, stdout, stderr } = Program::start(command).wait();
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    stderr
}

#[test]
fn a_file_in_the_folders_place_ends_the_start() {
    let folder = Folder::new();
    folder.write("recorded", "in the way");
    let stderr = refused(&mut recording(":", folder.path(), NOWHERE));
    let told = format!("cannot record into {}: a file stands where", folder.path().join("recorded").display());
    assert!(stderr.contains(&told) && stderr.contains("remove that file"), "{stderr}");
    let file = folder.write("a.txt", "no folder at all");
    assert!(refused(&mut recording(":", &file, NOWHERE)).contains("remove that file"));
}

#[test]
fn a_disk_without_room_ends_the_start() {
    let folder = Folder::new();
    // An empty file can still be made.
    let stderr = refused(&mut recording("trap '' XFSZ; ulimit -f 0", folder.path(), NOWHERE));
    assert!(stderr.contains("cannot record into ") && stderr.contains("make room there"), "{stderr}");
    assert_eq!(folder.files(), [], "nothing is left of the try");
}

#[test]
fn a_folder_of_another_user_ends_the_start_and_says_which_user_to_be() {
    // Where this is root, a user without rights is there to run it, from a place that everyone can read.
    let place = std::env::temp_dir().join(format!("aimock-disk-{}", std::process::id()));
    let fixtures = place.join("fixtures");
    fs::create_dir_all(&fixtures).unwrap();
    fs::set_permissions(&place, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&fixtures, Permissions::from_mode(0o555)).unwrap();
    let binary = place.join("aimock");
    fs::copy(env!("CARGO_BIN_EXE_aimock"), &binary).unwrap();
    let mut command = Command::new(&binary);
    command.args(["--port", "0", "--record", "--provider-openai", NOWHERE, "-f"]).arg(&fixtures);
    let root = geteuid().is_root();
    if root {
        command.uid(NOBODY).gid(NOBODY);
    }
    let stderr = refused(&mut command);
    fs::remove_dir_all(&place).unwrap();
    assert!(stderr.contains(&format!("cannot record into {}: Permission denied", fixtures.join("recorded").display())));
    assert!(stderr.contains("--user"), "{stderr}");
    let whose = "belongs to user 0, and this process runs as user 65534: in a container, run it with --user 0:0";
    assert!(!root || stderr.contains(whose), "{stderr}");
}

#[test]
fn the_library_refuses_it_too() {
    let folder = Folder::new();
    folder.write("recorded", "in the way");
    let upstream = |builder: aimock::mock::Builder| builder.provider("openai", NOWHERE).record().start();
    let error = upstream(aimock::Mock::builder().fixtures(folder.path())).unwrap_err();
    assert!(matches!(error, aimock::Error::Folder { .. }), "{error}");
}

#[test]
fn only_whoever_records_writes_to_the_folder() {
    let folder = Folder::new();
    let (program, _) = Program::serve(&["-f", folder.path().to_str().unwrap()]);
    program.signal("TERM");
    assert_eq!(program.wait().code, Some(0));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_killed_processes_left_is_removed_at_the_start_and_what_others_write_is_not() {
    let upstream = ScriptedUpstream::start(vec![stream(&"long answer ".repeat(20_000))]);
    let folder = Folder::new();
    let dead = Command::new("true").spawn().map(|mut child| child.wait().map(|_| child.id())).unwrap().unwrap();
    let left = ["recorded/.openai-1.json", "recorded/test/.openai.json", "a/.by-hand.json"];
    let left = left.map(|name| folder.write(&format!("{name}.{dead}-0.tmp"), "{\"fixtures\": [{\"ma"));
    let held = folder.write(&format!("recorded/.held.json.{dead}-1.tmp"), "half");
    let hold = fs::File::open(&held).unwrap();
    hold.lock().unwrap();
    let living = folder.write(&format!("recorded/.living.json.{}-0.tmp", std::process::id()), "half");
    let foreign = folder.write("recorded/.vim.json.swp", "not ours");

    let args = ["--record", "--provider-openai", &upstream.url(), "-f", folder.path().to_str().unwrap()];
    let (program, address) = Program::serve(&args);
    assert!(left.iter().all(|path| !path.exists()));
    assert!([&held, &living, &foreign].iter().all(|path| path.exists()));
    // And what is left now, in the middle of a recording.
    let clients = (0..8).map(|n| tokio::spawn(ask_until_it_is_gone(address, n)));
    let clients: Vec<_> = clients.collect();
    until(|| (folder.files().len() > 12).then_some(())).await.expect("recordings");
    program.signal("KILL");
    program.wait();
    for client in clients {
        client.await.expect("a client that ends");
    }
    let (program, _) = Program::serve(&args);
    let temporary = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "tmp");
    let mut still: Vec<PathBuf> = folder.files().into_iter().map(|(path, _)| path).filter(temporary).collect();
    still.sort();
    assert_eq!(still, [held, living]);
    program.signal("TERM");
    program.wait();
}

async fn ask_until_it_is_gone(server: SocketAddr, client: usize) {
    for n in 0.. {
        let Ok(mut stream) = TcpStream::connect(server).await else { return };
        let body = streamed(&format!("{client} asks {n}"));
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut answer = Vec::new();
        if stream.write_all((head + &body).as_bytes()).await.is_err() || stream.read_to_end(&mut answer).await.is_err()
        {
            return;
        }
    }
}

#[tokio::test]
async fn modes_are_the_umasks() {
    for (umask, file, subfolder) in [("022", 0o644, 0o755), ("027", 0o640, 0o750), ("000", 0o666, 0o777)] {
        let upstream = ScriptedUpstream::start(vec![whole("the answer")]);
        let folder = Folder::new();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_aimock")]);
        command.args(["--port", "0", "--record", "--provider-openai", &upstream.url(), "-f"]).arg(folder.path());
        let (_program, address) = Program::listening(&mut command);
        ask(address, chat("hi")).await;
        ask_with(address, "x-test-id: t\r\n", chat("of a test")).await;
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        let visible = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "json");
        let files: Vec<PathBuf> = folder.files().into_iter().map(|(path, _)| path).filter(visible).collect();
        assert_eq!(files.len(), 2);
        assert!(files.iter().all(|path| mode(path) == file && mode(path.parent().unwrap()) == subfolder), "{umask}");
    }
}

// ------------------------------------------------------------------------------------------------ while it runs

#[tokio::test]
async fn a_recording_that_cannot_be_written_answers_all_the_same() {
    let upstream = ScriptedUpstream::start(vec![whole("the answer"), stream("the answer"), whole("of a test")]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    block(&folder);
    let got = ask(server.address(), chat("one")).await;
    assert_eq!(got.body, completion("the answer"));
    let told = "a file stands where its folder should be";
    assert!(got.header("x-aimock-record-error").contains(told), "{}", got.head);
    let got = ask(server.address(), streamed("two")).await;
    assert_eq!(got.body, delta("the answer") + &finish() + DONE);
    let of_test = "x-test-id: t\r\n";
    ask_with(server.address(), of_test, chat("three")).await;

    let log = server.log.to_vec();
    let errors: Vec<_> = log.iter().filter(|l| l.starts_with("aimock: error: cannot write the recording")).collect();
    assert_eq!(errors.len(), 3, "{log:#?}");
    assert!(errors.iter().all(|l| l.contains("it answers from memory")), "{errors:#?}");
    assert_eq!((server.count("recordErrors"), server.count("recorded")), (3, 0));
    for (headers, body, text) in [
        ("", chat("one"), "the answer"),
        ("", streamed("one"), "the answer"),
        ("", chat("two"), "the answer"),
        (of_test, chat("three"), "of a test"),
    ] {
        let got = ask_with(server.address(), headers, body).await;
        assert_eq!((got.how(), got.text().as_str()), ((200, "fixture", "exact"), text));
        let origin = got.header("x-aimock-fixture");
        assert!(origin.starts_with("recorded/") && origin.ends_with(" (not written)#0"), "{origin}");
    }
    assert_eq!(upstream.requests().len(), 3);
}

#[tokio::test]
async fn a_recording_that_cannot_be_renewed_answers_in_the_place_of_the_old_one() {
    let upstream = ScriptedUpstream::start(vec![whole("old"), whole("new"), whole("newer")]);
    let folder = Folder::new();
    drop(record_once(&folder, &upstream).await);
    let file = folder.files().remove(0).0;
    let server = record(&folder, &upstream.url(), |config| config.refresh = true);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let unwritten = |got: &Got| got.header("x-aimock-fixture").ends_with(" (not written)#0");
    for (text, fails) in [("new", true), ("newer", false)] {
        let got = ask(server.address(), chat("hi")).await;
        assert_eq!((got.header("x-aimock-source"), got.text().as_str()), ("proxy", text));
        assert_eq!(got.header("x-aimock-record-error").contains("cannot write"), fails, "{}", got.head);
        server.mock.disable_recording();
        let got = ask(server.address(), chat("hi")).await;
        assert_eq!((got.how(), got.text().as_str(), unwritten(&got)), ((200, "fixture", "exact"), text, fails));
        server.mock.enable_recording(aimock::Recording::new()).unwrap();
    }
}

async fn record_once(folder: &Folder, upstream: &ScriptedUpstream) -> common::server::Server {
    let server = record(folder, &upstream.url(), |_| {});
    ask(server.address(), chat("hi")).await;
    server
}

#[tokio::test]
async fn those_that_wait_for_a_recording_that_cannot_be_written_get_it_from_memory() {
    let go = common::Gate::new();
    let waits = [vec![common::Step::WaitFor(go.clone())], stream("once")].concat();
    let upstream = ScriptedUpstream::start(vec![waits]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    block(&folder);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = RawClient::connect(server.address()).await;
        client.post(CHAT, "", streamed("hi")).await;
        clients.push(client);
    }
    until(|| (!upstream.requests().is_empty()).then_some(())).await.expect("a request");
    go.open();
    for client in &mut clients {
        assert_eq!(common::chat::read(client).await.text(), "once");
    }
    assert_eq!((upstream.requests().len(), server.count("recordErrors")), (1, 1));
}

#[tokio::test]
async fn a_disk_that_is_full_leaves_no_broken_file_and_is_not_green() {
    let text = "long ".repeat(10_000);
    let upstream = ScriptedUpstream::start(vec![stream(&text), stream("short")]);
    let folder = Folder::new();
    let report = folder.path().join("report");
    // No file may grow beyond 16 KiB: the write ends in the middle, as on a full disk.
    let mut command = recording("trap '' XFSZ; ulimit -f 32", folder.path(), &upstream.url());
    command.arg("--report").arg(&report);
    let (program, address) = Program::listening(&mut command);
    for source in ["proxy", "fixture"] {
        let got = ask(address, streamed("long")).await;
        assert_eq!((got.header("x-aimock-source"), got.text().as_str()), (source, text.as_str()));
    }
    assert_eq!(folder.files(), [], "not even the file that was begun");
    assert_eq!(ask(address, streamed("short")).await.text(), "short");
    assert_eq!(folder.recordings().len(), 1, "what fits is written");
    program.signal("TERM");
    let ended = program.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("aimock: error: cannot write the recording"), "{}", ended.stderr);
    assert!(ended.stderr.contains("1 recordings could not be written"), "{}", ended.stderr);
    let report: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    assert_eq!((&report["recordErrors"], &report["recorded"]), (&1.into(), &1.into()));
}

#[tokio::test]
async fn a_restart_knows_nothing_of_what_was_not_written() {
    let upstream = ScriptedUpstream::start(vec![whole("the answer")]);
    let folder = Folder::new();
    let server = record(&folder, &upstream.url(), |_| {});
    block(&folder);
    ask(server.address(), chat("hi")).await;
    drop(server);
    let server = serve(&folder, |config| config.strict = true);
    assert_eq!(ask(server.address(), chat("hi")).await.status(), 503);
}
