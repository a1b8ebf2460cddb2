//! The signals by which a user ends a command that takes back what it began.

use crate::error::Error;
use crate::error_code::Code;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Number of SIGHUP.
const HANGUP: u32 = 1;

/// Ends with the error of an interrupted command at the first SIGINT (Ctrl-C), SIGTERM, or SIGHUP (the terminal or the
/// connection it runs in is gone). A SIGHUP that the caller has switched off, as `nohup` does, stays so.
/// They are caught from the call on, not only from the first poll.
pub fn interrupted() -> impl Future<Output = Error> {
    let interrupt = signal(SignalKind::interrupt()).ok();
    let terminate = signal(SignalKind::terminate()).ok();
    let hangup = if ignores(HANGUP) {
        None
    } else {
        signal(SignalKind::hangup()).ok()
    };
    async move {
        let name = tokio::select! {
            () = first(interrupt) => "SIGINT",
            () = first(terminate) => "SIGTERM",
            () = first(hangup) => "SIGHUP",
        };
        Error::of(Code::Interrupted, format!("interrupted by {name}"))
    }
}

/// Never ends where the signal cannot be waited for.
async fn first(signal: Option<Signal>) {
    if let Some(mut signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Whether this process was started with a signal ignored.
fn ignores(number: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored(&status, number)
}

fn ignored(status: &str, number: u32) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let status = |mask: &str| format!("Name:\tx\nSigIgn:\t{mask}\nSigCgt:\tffffffffffffffff\n");
        assert!(ignored(&status("0000000000000001"), HANGUP));
        assert!(!ignored(&status("0000000000001000"), HANGUP));
        assert!(!ignored("", HANGUP));
    }
}
