//! What stands in folders, or does not.

use crate::common::chat::{ask, ask_with, chat};
use crate::common::server::Folder;
use crate::table::{Fault, Scene, told};
use rustix::fs::{CWD, Mode, mkfifoat};
use std::os::unix::fs::symlink;
use std::path::Path;

pub(crate) const FAULTS: &[Fault] = &[
    Fault::new("a FIFO among the fixtures", |scene| Box::pin(logged(scene, "x.json")))
        .folder(|folder| fifo(folder, "x.json")),
    Fault::new("a FIFO that comes under --watch", |scene| {
        Box::pin(async move {
            fifo(&scene.folder, "x.json");
            logged(scene, "x.json").await
        })
    })
    .with(|config| config.watch = true),
    Fault::new("a link to /dev/zero", |scene| Box::pin(logged(scene, "x.json")))
        .folder(|folder| link(folder, "/dev/zero", "x.json")),
    Fault::new("a folder with the name of a file", |scene| Box::pin(quiet(scene)))
        .folder(|folder| std::fs::create_dir(folder.path().join("x.json")).expect("a folder")),
    Fault::new("links that lead round and round", |scene| Box::pin(quiet(scene))).folder(|folder| {
        for n in 0..8 {
            link(folder, ".", &format!("round-{n}"));
        }
    }),
    Fault::new("a link to nothing", |scene| Box::pin(quiet(scene))).folder(|folder| link(folder, "nothing", "x.json")),
    Fault::new("a file that is cut", |scene| Box::pin(logged(scene, "x.json"))).folder(|folder| {
        folder.write("x.json", r#"{"fixtures":[{"match":{"userMessage":"hi"},"#);
    }),
    Fault::new("a file that is longer than any may be", |scene| Box::pin(logged(scene, "x.json"))).folder(|folder| {
        let path = folder.write("x.json", "");
        let file = std::fs::File::options().write(true).open(path).expect("a file");
        file.set_len(aimock::fixture::file::MAX_FILE_BYTES + 1).expect("a file with a hole");
    }),
    Fault::new("a file that is broken while it answers, under --watch", |scene| {
        Box::pin(async move {
            scene.folder.write("rules.json", "{");
            logged(scene, "the last good version").await
        })
    })
    .with(|config| config.watch = true),
    Fault::new("files that go away while they answer", |scene| {
        Box::pin(async move {
            let first = told(&ask(scene.address, chat("a")).await);
            std::fs::remove_dir_all(scene.folder.path().join("recorded")).expect("a folder");
            std::fs::remove_file(scene.folder.path().join("rules.json")).expect("a file");
            let again = ask(scene.address, chat("a")).await;
            format!("{first}, then {} from memory", told(&again))
        })
    }),
    Fault::new("a folder of recordings that goes away before the next one", |scene| {
        Box::pin(async move {
            let first = told(&ask(scene.address, chat("a")).await);
            std::fs::remove_dir_all(scene.folder.path().join("recorded")).expect("a folder");
            format!("{first}, then {}", told(&ask(scene.address, chat("b")).await))
        })
    }),
    Fault::new("a FIFO in the place of a test's recordings", |scene| Box::pin(of_a_test(scene)))
        .folder(|folder| fifo(folder, "recorded/t/openai.json")),
    Fault::new("a FIFO in the place of the lock", |scene| Box::pin(of_a_test(scene)))
        .folder(|folder| fifo(folder, "recorded/t/.aimock.lock")),
];

fn fifo(folder: &Folder, name: &str) {
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().expect("it has a folder")).expect("a folder");
    mkfifoat(CWD, &path, Mode::RWXU).expect("a FIFO");
}

fn link(folder: &Folder, to: impl AsRef<Path>, name: &str) {
    symlink(to, folder.path().join(name)).expect("a link");
}

/// What the log says of it, and an answer.
async fn logged(scene: &mut Scene, of: &str) -> String {
    let server = scene.server.as_ref().expect("one in this process");
    let line = server.logged(of).await.replace(&format!("{}/", scene.path()), "");
    let got = ask(scene.address, chat("hi")).await;
    format!("{}; the log: `{}`", told(&got), line.trim_start_matches("aimock: warn: "))
}

/// Nothing is wrong.
async fn quiet(scene: &mut Scene) -> String {
    let got = told(&ask(scene.address, chat("hi")).await);
    let log = scene.server.as_ref().expect("one in this process").log.to_vec();
    assert!(!log.iter().any(|line| line.contains("warn")), "{log:?}");
    got
}

/// An answer that is recorded for a test.
async fn of_a_test(scene: &mut Scene) -> String {
    let got = ask_with(scene.address, "x-test-id: t\r\n", chat("a")).await;
    let error = got.header("x-aimock-record-error").replace(&scene.path(), "");
    format!("{}, `x-aimock-record-error: {error}`", told(&got))
}
