//! From the arguments of the process to its exit code.

use crate::cli::{Cli, Command, legacy_args};
use crate::commands as c;
use crate::context::{Ctx, Options};
use crate::error::{Error, Result};
use crate::ui::Ui;
use clap::{CommandFactory as _, Parser as _};
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

/// Runs the command line of the process to its end.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(code) = crate::macros::main(&args) {
        return code;
    }
    if let Some(code) = crate::gone::main(&args) {
        return code;
    }
    let cli = match Cli::try_parse_from(legacy_args(args)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout with 0, errors to stderr with 2; a lost reader is no failure.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let ui = Ui::process(cli.global.verbose > 0);
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = Error::internal(format!("the runtime did not start: {error}"));
            ui.error("marsadm", &error);
            return ExitCode::from(error.kind.exit_code());
        }
    };
    match runtime.block_on(run(&ui, cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui.error("marsadm", &error);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

/// Runs one parsed command.
///
/// # Errors
/// What the process reports; the error says what was tried.
pub async fn run(ui: &Ui, cli: Cli) -> Result<()> {
    let ctx = Ctx::new(
        ui.clone(),
        Options {
            socket: cli.global.socket,
            timeout: Duration::from_secs(cli.global.timeout),
            window: Duration::from_secs(cli.global.window),
            force: cli.global.force,
            dry_run: cli.global.dry_run,
        },
    );
    dispatch(&ctx, cli.command).await
}

async fn dispatch(ctx: &Ctx, command: Command) -> Result<()> {
    use crate::commands::switches::{FETCH, REPLAY, SYNC};
    match command {
        Command::CreateCluster(args) => c::create_cluster::run(ctx, &args).await,
        Command::JoinToken(args) => c::join_token::run(ctx, &args).await,
        Command::JoinCluster(args) => c::join_cluster::run(ctx, args).await,
        Command::WaitCluster(args) => c::wait_cluster::run(ctx, &args).await,
        Command::CreateResource(args) => c::create_resource::run(ctx, &args).await,
        Command::JoinResource(args) => c::join_resource::run(ctx, &args).await,
        Command::LeaveResource(args) => c::leave_resource::run(ctx, &args).await,
        Command::Up(args) => c::up::run(ctx, &args).await,
        Command::Down(args) => c::down::run(ctx, &args, c::down::Verb::Down).await,
        Command::Attach(args) => c::switches::attach(ctx, &args).await,
        Command::Detach(args) => c::down::run(ctx, &args, c::down::Verb::Detach).await,
        Command::ResumeFetch(args) => c::switches::run(ctx, &args, FETCH.resume()).await,
        Command::PauseFetch(args) => c::switches::run(ctx, &args, FETCH.pause()).await,
        Command::ResumeReplay(args) => c::switches::run(ctx, &args, REPLAY.resume()).await,
        Command::PauseReplay(args) => c::switches::run(ctx, &args, REPLAY.pause()).await,
        Command::ResumeSync(args) => c::switches::run(ctx, &args, SYNC.resume()).await,
        Command::PauseSync(args) => c::switches::run(ctx, &args, SYNC.pause()).await,
        Command::ResumeFetchGlobal(args) => {
            c::switches::run(ctx, &args, FETCH.resume().global()).await
        }
        Command::PauseFetchGlobal(args) => {
            c::switches::run(ctx, &args, FETCH.pause().global()).await
        }
        Command::ResumeReplayGlobal(args) => {
            c::switches::run(ctx, &args, REPLAY.resume().global()).await
        }
        Command::PauseReplayGlobal(args) => {
            c::switches::run(ctx, &args, REPLAY.pause().global()).await
        }
        Command::ResumeSyncGlobal(args) => {
            c::switches::run(ctx, &args, SYNC.resume().global()).await
        }
        Command::PauseSyncGlobal(args) => c::switches::run(ctx, &args, SYNC.pause().global()).await,
        Command::Primary(args) => c::primary::run(ctx, &args).await,
        Command::Secondary(args) => c::secondary::run(ctx, &args).await,
        Command::Invalidate(args) => c::invalidate::run(ctx, &args).await,
        Command::WaitResource(args) => c::wait_resource::run(ctx, &args).await,
        Command::View(args) => c::view::run(ctx, &args).await,
        Command::GetLink(args) => c::get_link::run(ctx, &args).await,
        Command::SetLink(args) => c::set_link::run(ctx, &args).await,
        Command::DeleteFile(args) => c::delete_file::run(ctx, &args).await,
        Command::ListLinks(args) => c::list_links::run(ctx, &args).await,
        Command::Clock(args) => c::clock::run(ctx, &args).await,
        Command::LowlevelLsHostIps(args) => c::lowlevel_ls_host_ips::run(ctx, &args).await,
        Command::ImportTree(args) => c::import_tree::run(ctx, &args).await,
        Command::TakeOver(args) => c::take_over::run(ctx, &args).await,
        Command::ExportTree(args) => c::export_tree::run(ctx, &args).await,
        Command::Log(command) => c::log_file::run(ctx, &command),
        Command::Sandbox(args) => crate::sandbox::run(ctx, args).await,
        Command::More(more) => c::more::run(ctx, more).await,
        Command::Version => {
            ctx.ui
                .line(&format!("marsadm Version: {}", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
        Command::Help => {
            let help = Cli::command().render_long_help().to_string();
            ctx.ui.line(help.trim_end());
            Ok(())
        }
    }
}
