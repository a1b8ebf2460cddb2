//! No command hangs: each ends by itself with `--timeout`, also if the daemon accepts and never answers.

use crate::World;
use crate::documents::{all_commands, execute, is_sandbox, some_arguments};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::task::LocalSet;

/// `--timeout=1`, the time for cleaning up, and plenty for a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// Replaces the daemon by one that never answers; with `greets` it at least greets.
fn silence(w: &World, greets: bool) {
    std::fs::remove_file(&w.double.socket).unwrap();
    let listener = UnixListener::bind(&w.double.socket).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                if greets {
                    let mut greeting = [0; 8];
                    stream.read_exact(&mut greeting).await.unwrap();
                    stream.write_all(&greeting).await.unwrap();
                }
                let mut sink = [0; 4096];
                while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
}

async fn every_command_ends(greets: bool) {
    let w = World::new(&["hosta"]);
    silence(&w, greets);
    let token = w.dir.path().join("token");
    std::fs::write(&token, "mm1.secret\n").unwrap();
    let w = Rc::new(w);
    let local = LocalSet::new();
    let mut running = Vec::new();
    for (path, command) in all_commands() {
        if is_sandbox(&path) {
            continue;
        }
        let mut words = path.clone();
        words.extend(["-o", "json", "--timeout=1"].map(str::to_owned));
        words.extend(some_arguments(&command));
        if path[0] == "join-cluster" {
            words.push(format!("--token={}", token.display()));
        }
        running.push(local.spawn_local(ends(Rc::clone(&w), words)));
    }
    local.await;
    let mut asked = 0;
    for one in running {
        asked += usize::from(one.await.unwrap());
    }
    assert!(asked >= 25, "only {asked} commands asked the daemon");
}

/// Whether the command ended because its time was over.
async fn ends(w: Rc<World>, words: Vec<String>) -> bool {
    let line: Vec<&str> = words.iter().map(String::as_str).collect();
    let began = Instant::now();
    let Ok((code, _)) = tokio::time::timeout(LIMIT, execute(&w, &line)).await else {
        panic!("{line:?} does not end");
    };
    if code == 6 {
        assert!(began.elapsed() >= Duration::from_millis(900), "{line:?}");
    }
    code == 6
}

#[tokio::test]
async fn a_daemon_that_accepts_only() {
    every_command_ends(false).await;
}

#[tokio::test]
async fn the_greeting_has_a_limit_of_its_own() {
    let w = World::new(&["hosta"]);
    silence(&w, false);
    let (ui, _) = marsadm::ui::Ui::captured();
    let ctx = w.ctx(ui, marsadm::snapshot::Origin::Live);
    let ctx = ctx.with_greeting(Duration::from_millis(50));
    let began = Instant::now();
    let error = ctx.client().await.map(|_| ()).expect_err("it never greets");
    assert!(began.elapsed() < ctx.opts.timeout / 2, "not --timeout");
    assert!(error.why.contains("did not greet within"), "{error}");
    assert!(error.hint.unwrap().contains("kill -CONT"));
    let (code, said) = execute(&w, &["check"]).await;
    assert_eq!(code, 3);
    assert!(
        began.elapsed() < LIMIT,
        "it gives up before monitoring does"
    );
    let line = said.stdout();
    assert!(line.starts_with("MARS UNKNOWN - "), "{line}");
    assert!(line.contains("did not greet within 8 s"), "{line}");
}

#[tokio::test]
async fn a_daemon_that_greets_only() {
    every_command_ends(true).await;
}
