//! What the two daemons' programs share: options, configuration, logging, and the reasons to end.

pub mod datapath;
mod logging;
pub mod marsd;
mod notify;
pub(crate) mod stop;

use crate::config::Config;
use crate::error::Error;
use crate::ui::Ui;
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use std::ffi::OsString;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;

/// Options of a daemon.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Configuration file [default: /etc/mars/mars.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration and end
    #[arg(long)]
    check_config: bool,
    /// End when stdin is closed, so that a supervisor's death ends this process too
    #[arg(long)]
    exit_with_stdin: bool,
}

/// Resolves when the daemon shall end.
pub type Shutdown = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs a daemon to its end. `serve` is the daemon as a library.
#[must_use]
pub fn main<F, E>(
    name: &'static str,
    args: impl IntoIterator<Item = OsString>,
    serve: impl FnOnce(Config, Shutdown) -> F,
) -> ExitCode
where
    F: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let parsed = Args::command().name(name).try_get_matches_from(args);
    let args = match parsed.and_then(|found| Args::from_arg_matches(&found)) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let ui = Ui::process(false);
    match start(name, &ui, &args, serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui.error(name, &error);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

fn start<F, E>(
    name: &'static str,
    ui: &Ui,
    args: &Args,
    serve: impl FnOnce(Config, Shutdown) -> F,
) -> Result<(), Error>
where
    F: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let config = Config::load(args.config.as_deref()).map_err(|error| {
        Error::usage(error.to_string()).hint("--check-config checks a file without starting")
    })?;
    logging::check(&config.log.level)?;
    if args.check_config {
        ui.line("the configuration is good");
        return Ok(());
    }
    logging::start(&config.log.level)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name(name)
        .build()
        .map_err(|error| Error::internal(format!("the runtime did not start: {error}")))?;
    let result = runtime.block_on(async {
        let stop = stop::reasons(args.exit_with_stdin)
            .map_err(|error| Error::internal(format!("signals cannot be received: {error}")))?;
        tracing::info!(
            host = config.host,
            version = env!("CARGO_PKG_VERSION"),
            "{name} starts"
        );
        serve(config, Box::pin(stop))
            .await
            .map_err(|error| Error::internal(error.to_string()))
    });
    // Blocking calls that hang must not keep a stopped daemon alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match &result {
        Ok(()) => tracing::info!("{name} ended"),
        Err(error) => tracing::error!("{name} ended: {error}"),
    }
    result
}
