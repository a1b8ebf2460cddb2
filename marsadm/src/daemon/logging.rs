//! Where events go: the journal where it runs, else stderr. Levels by configuration or `MARS_LOG`.

use crate::error::Error;
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

fn filter(level: &str) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(level).map_err(|error| {
        Error::usage(format!("log level '{level}' is not understood: {error}"))
            .hint("for example info, or info,mars_gossip=debug")
    })
}

/// Whether the text is a set of levels.
pub(super) fn check(level: &str) -> Result<(), Error> {
    filter(level).map(drop)
}

/// Starts logging for the whole process.
pub(super) fn start(level: &str) -> Result<(), Error> {
    let level = std::env::var("MARS_LOG").unwrap_or_else(|_| level.to_owned());
    let filter = filter(&level)?;
    let registry = tracing_subscriber::registry().with(filter);
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    let started = match journal {
        Some(journal) => registry.with(journal).try_init(),
        None => {
            let stderr = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(
                    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
                );
            registry.with(stderr).try_init()
        }
    };
    started.map_err(|error| Error::internal(format!("logging did not start: {error}")))
}
