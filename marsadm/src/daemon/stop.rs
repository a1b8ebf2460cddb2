//! The reasons for which a daemon ends: a signal, or the end of stdin.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// How long a daemon may take to end after its stdin was closed.
const GRACE: Duration = Duration::from_secs(5);

/// Resolves at the first reason to end. Must be called within a runtime.
pub(crate) fn reasons(
    with_stdin: bool,
) -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let closed = Arc::new(Notify::new());
    if with_stdin {
        let closed = Arc::clone(&closed);
        std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || {
                wait_for_eof();
                closed.notify_one();
                std::thread::sleep(GRACE);
                tracing::warn!("stdin was closed and the daemon did not end in time");
                std::process::exit(10);
            })?;
    }
    Ok(async move {
        let reason = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            () = closed.notified() => "stdin was closed",
        };
        tracing::info!(reason, "ending");
    })
}

fn wait_for_eof() {
    let mut buffer = [0; 256];
    let mut stdin = std::io::stdin().lock();
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => return,
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return,
            _ => {}
        }
    }
}
