//! What happens to the process itself. The next request is asked of one that is started in its place.

use crate::common::chat::{CHAT, DONE, LAST_CHUNK, STREAM_HEAD, ask, ask_with, chat, delta, finish, stream, streamed};
use crate::common::server::{Running, full_pipe};
use crate::common::{Gate, Script, Step, chunk};
use crate::table::{Fault, Scene, request, told};
use std::io::PipeWriter;
use std::net::TcpStream;
use std::time::{Duration, Instant};

pub(crate) const FAULTS: &[Fault] = &[
    Fault::new("nobody reads its stdout and stderr", |scene| Box::pin(unread(scene))),
    Fault::new("whoever read its stdout and stderr has gone", |scene| Box::pin(closed(scene))),
    Fault::new("SIGTERM in the middle of an answer", |scene| Box::pin(stopped(scene, "TERM")))
        .program(&[])
        .upstream(pausing),
    Fault::new("SIGINT in the middle of an answer", |scene| Box::pin(stopped(scene, "INT")))
        .program(&[])
        .upstream(pausing),
    Fault::new("SIGHUP in the middle of an answer", |scene| Box::pin(stopped(scene, "HUP")))
        .program(&[])
        .upstream(pausing),
    Fault::new("SIGTERM twice in the middle of an answer", |scene| Box::pin(twice(scene)))
        .program(&[])
        .upstream(pausing),
    Fault::new("SIGKILL in the middle of an answer", |scene| Box::pin(killed(scene, "one")))
        .program(&[])
        .upstream(pausing),
    Fault::new("SIGKILL at the end of an answer", |scene| Box::pin(killed(scene, "data: [DONE]")))
        .program(&[])
        .upstream(|_| vec![stream("one")]),
    Fault::new("SIGTERM with half a head there", |scene| Box::pin(half(scene, 20))).program(&[]),
    Fault::new("SIGTERM with half a body there", |scene| {
        Box::pin(async move {
            let most = request("", &chat("a")).len() - 1;
            half(scene, most).await
        })
    })
    .program(&[]),
];

/// An upstream that waits in the middle of its answer.
fn pausing(go: &Gate) -> Vec<Script> {
    vec![vec![
        Step::write(STREAM_HEAD),
        Step::Write(chunk(delta("one"))),
        Step::WaitFor(go.clone()),
        Step::Write(chunk(delta(" two"))),
        Step::Write(chunk(finish())),
        Step::Write(chunk(DONE)),
        Step::write(LAST_CHUNK),
    ]]
}

async fn unread(scene: &mut Scene) -> String {
    let ((_out, stdout), (_err, stderr)) = (full_pipe(), full_pipe());
    on_streams(scene, stdout, stderr).await
}

async fn closed(scene: &mut Scene) -> String {
    let ((_, stdout), (_, stderr)) = (full_pipe(), full_pipe());
    on_streams(scene, stdout, stderr).await
}

/// What a server whose output goes there answers, misses told and recordings made; how it ends.
async fn on_streams(scene: &mut Scene, stdout: PipeWriter, stderr: PipeWriter) -> String {
    let (url, folder) = (scene.upstream.url(), scene.path());
    let args = ["-f", &folder, "--record", "--provider-openai", &url, "--log-level", "debug"];
    let server = Running::start(&args, |command| {
        command.stdout(stdout).stderr(stderr);
    });
    let recorded = told(&ask(server.address, chat("a")).await);
    let missed = told(&ask_with(server.address, "x-aimock-strict: true\r\n", chat("b")).await);
    let ended = server.stop("TERM").code().map_or_else(|| "killed".into(), |code| format!("exit code {code}"));
    format!("{recorded}, {missed}; {ended}")
}

/// Waits until nobody listens any more.
async fn refused(scene: &Scene) {
    while TcpStream::connect(scene.address).is_ok() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn signal(scene: &Scene, name: &str) {
    scene.program.as_ref().expect("a program").signal(name);
}

/// Waits for the program's end and starts it anew; its exit code.
fn restart(scene: &mut Scene) -> String {
    let code = scene.program.take().expect("a program").wait().code;
    scene.start_program(&[]);
    code.map_or_else(|| "killed".into(), |code| format!("exit code {code}"))
}

async fn stopped(scene: &mut Scene, name: &str) -> String {
    let mut client = scene.connect().await;
    client.post(CHAT, "", streamed("a")).await;
    client.read_until("one").await;
    signal(scene, name);
    refused(scene).await;
    scene.gate.open();
    client.read_until(LAST_CHUNK).await;
    format!("all of it; {}", restart(scene))
}

async fn twice(scene: &mut Scene) -> String {
    let mut client = scene.connect().await;
    client.post(CHAT, "", streamed("a")).await;
    client.read_until("one").await;
    signal(scene, "TERM");
    refused(scene).await;
    signal(scene, "TERM");
    let cut = cut(&client.read_to_end().await.unwrap_or_default());
    format!("{cut}; {}", restart(scene))
}

async fn killed(scene: &mut Scene, at: &str) -> String {
    let mut client = scene.connect().await;
    client.post(CHAT, "", streamed("a")).await;
    let before = client.read_until(at).await;
    signal(scene, "KILL");
    let rest = [before, client.read_to_end().await.unwrap_or_default()].concat();
    format!("{}; {}", cut(&rest), restart(scene))
}

fn cut(rest: &[u8]) -> &'static str {
    let done = rest.windows(6).any(|window| window == b"[DONE]");
    if done { "up to `[DONE]`" } else { "cut" }
}

/// A request of which so many bytes have come holds nothing up.
async fn half(scene: &mut Scene, bytes: usize) -> String {
    let mut whole = scene.connect().await;
    let mut client = scene.connect().await;
    client.send(&request("", &chat("a"))[..bytes]).await;
    // What was sent before is there once this is answered.
    whole.post(CHAT, "", chat("hi")).await;
    whole.read_answer().await;
    let start = Instant::now();
    signal(scene, "TERM");
    let end = client.read_to_end().await.map_or("reset", |rest| if rest.is_empty() { "closed" } else { "answered" });
    let code = restart(scene);
    assert!(start.elapsed() < aimock::limits::DRAIN_TIME_AFTER_TERM, "{:?}", start.elapsed());
    format!("{} at once; {code}", if end == "answered" { end } else { "cut" })
}
