//! From the arguments of the process to its exit code.

use crate::cli::{Cli, Command, definition, legacy_args, verb_of};
use crate::commands as c;
use crate::context::{Ctx, Options};
use crate::contract::{exit_code, is_original};
use crate::error::{Error, Kind, Result};
use crate::gone;
use crate::hooks::{unheeded, warning};
use crate::limits::{CHECK_GREETING, CLEANUP_GRACE, PARALLEL_MAX, TIMEOUT_SECS_MAX};
use crate::macros::template_dirs;
use crate::output::Format;
use crate::parse_error;
use crate::ui::Ui;
use clap::FromArgMatches as _;
use serde_json::json;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

/// Exit code of `check` when it could not find out.
const CHECK_UNKNOWN: u8 = 3;

/// Runs the command line of the process to its end.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(code) = crate::macros::main(&args) {
        return code;
    }
    let ui = Ui::process(false).with_format(Format::wanted(&args));
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = Error::internal(format!("the runtime did not start: {error}"));
            let code = error.kind.exit_code();
            return ExitCode::from(ui.finish(&Err(error), false, code));
        }
    };
    let code = runtime.block_on(execute(ui, args, true));
    // A blocking call that hangs must not keep the process alive.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// Parses and runs a command line, and prints its result or failure; returns the exit code. With `watchdog` the process
/// ends when even the clean-up exceeds the deadline.
pub async fn execute(ui: Ui, args: Vec<OsString>, watchdog: bool) -> u8 {
    let verb = verb_of(&args).unwrap_or_default();
    if asks_for_help(&args)
        && let Some(help) = c::reading_help::reading(&verb)
    {
        return told(&ui, &help);
    }
    let args = legacy_args(args);
    let mut definition = definition();
    let parsed = definition.try_get_matches_from_mut(&args);
    let parsed = parsed.and_then(|found| {
        Cli::from_arg_matches(&found).map_err(|error| error.format(&mut definition))
    });
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => {
            // Help or version.
            let mut text = error.render().to_string();
            if error.kind() == clap::error::ErrorKind::DisplayVersion {
                text.push_str(&version_line());
            }
            return told(&ui, &text);
        }
        Err(error) => {
            // Whoever asks for help shall have it, whatever else is wrong with the line.
            if asks_for_help(&args)
                && let Some(help) = parse_error::help_of(&args, &verb)
            {
                return told(&ui, &help);
            }
            let whole = parse_error::whole_verb(&args, &verb);
            let known = Some(whole.as_str()).filter(|verb| !verb.is_empty());
            let error =
                gone::refusal(&verb).unwrap_or_else(|| parse_error::from_clap(&error, known));
            let error = if verb == "check" {
                c::check::unknown(&ui, error)
            } else {
                error
            };
            let code = exit_code(&verb, ui.format(), &error);
            return ui.finish(&Err(error), false, code);
        }
    };
    let ui = ui
        .with_verbose(cli.global.verbose > 0)
        .with_format(cli.global.output);
    cli.global.legacy.report(&ui);
    let dry_run = cli.global.dry_run;
    if !dry_run && is_original(&verb) {
        warn_of_hooks(&ui, &verb);
    }
    if watchdog && cli.command.is_bounded(cli.global.timeout) {
        watch_over(&ui, &verb, cli.global.timeout, dry_run);
    }
    let result = run(&ui, cli)
        .await
        .map_err(|error| error.with_next_step(&verb));
    let code = result
        .as_ref()
        .err()
        .map_or(0, |error| exit_code(&verb, ui.format(), error));
    let code = ui.finish(&result, dry_run, code);
    if verb == "check" {
        // Monitoring knows no code above that of what could not be found out.
        return code.min(CHECK_UNKNOWN);
    }
    code
}

/// Says which hooks of the original lie there and are not run.
fn warn_of_hooks(ui: &Ui, verb: &str) {
    let dirs = template_dirs(
        std::env::var_os("MARS_PATH").as_deref(),
        std::env::var_os("HOME").as_deref(),
        rustix::process::geteuid().is_root(),
    );
    let found = unheeded(verb, &dirs, std::path::Path::exists);
    if let Some(text) = warning(verb, &found) {
        ui.note(&text);
    }
}

/// Prints a text for people.
fn told(ui: &Ui, text: &str) -> u8 {
    let shown = ui.document("Text", &json!({ "text": text.trim_end() }));
    ui.line(text.trim_end());
    ui.finish(&shown, false, 0)
}

/// Whether help is wanted, whatever else stands on the line.
fn asks_for_help(args: &[OsString]) -> bool {
    let mut options = args.iter().take_while(|arg| *arg != "--");
    options.any(|arg| arg == "--help" || arg == "-h")
}

/// The version as scripts of the original look for it.
fn version_line() -> String {
    format!("marsadm Version: {}", env!("CARGO_PKG_VERSION"))
}

/// Ends the process if a call that cannot be interrupted (a read from a hanging disk or from stdin) exceeds the deadline.
pub(crate) fn watch_over(ui: &Ui, verb: &str, timeout: u64, dry_run: bool) {
    let limit = Duration::from_secs(timeout) + 2 * CLEANUP_GRACE;
    let (ui, verb) = (ui.clone(), verb.to_owned());
    let thread = std::thread::Builder::new().name("watchdog".to_owned());
    let started = thread.spawn(move || {
        std::thread::sleep(limit);
        let error = ended(&verb, timeout);
        let code = error.kind.exit_code();
        let code = ui.finish(&Err(error), dry_run, code);
        std::process::exit(i32::from(code));
    });
    drop(started);
}

fn ended(verb: &str, timeout: u64) -> Error {
    Error::new(
        Kind::Timeout,
        format!("the command did not end within {timeout} s and was cut off"),
    )
    .hint("see marsadm status for what was done; run the command again, with a longer --timeout if need be")
    .about(verb)
}

/// Runs one parsed command.
///
/// # Errors
/// What the process reports; the error says what was tried.
pub async fn run(ui: &Ui, cli: Cli) -> Result<()> {
    let origin = cli.global.origin();
    let timeout = cli.global.timeout;
    let ctx = Ctx::new(
        ui.clone(),
        Options {
            socket: cli.global.socket,
            timeout: Duration::from_secs(timeout),
            window: Duration::from_secs(cli.global.window),
            force: cli.global.force > 0,
            force_values: cli.global.force > 1,
            dry_run: cli.global.dry_run,
            acting: cli.global.host,
            parallel: match cli.global.parallel {
                None => 1,
                Some(0) => PARALLEL_MAX,
                Some(number) => number.min(PARALLEL_MAX),
            },
            origin,
        },
    )
    .with_systemd(cli.global.legacy.systemd_enabled());
    let ctx = match cli.command {
        Command::Check(_) => ctx.with_greeting(CHECK_GREETING),
        _ => ctx,
    };
    if !cli.command.is_bounded(timeout) || timeout >= TIMEOUT_SECS_MAX {
        return dispatch(&ctx, cli.command).await;
    }
    let limit = ctx.deadline + CLEANUP_GRACE;
    match tokio::time::timeout_at(limit, dispatch(&ctx, cli.command)).await {
        Ok(result) => result,
        Err(_) => Err(ended("", timeout)),
    }
}

async fn dispatch(ctx: &Ctx, command: Command) -> Result<()> {
    use crate::commands::switches::{FETCH, REPLAY, SYNC};
    match command {
        Command::CreateCluster(args) => c::create_cluster::run(ctx, &args).await,
        Command::JoinToken(args) => c::join_token::run(ctx, &args).await,
        Command::JoinCluster(args) => c::join_cluster::run(ctx, args).await,
        Command::LeaveCluster(args) => c::leave_cluster::run(ctx, &args).await,
        Command::MergeCluster(args) => c::merge_cluster::run(ctx, &args).await,
        Command::MergeClusterCheck(args) => c::merge_cluster::check(ctx, &args).await,
        Command::MergeClusterList(args) => c::merge_cluster::list(ctx, &args).await,
        Command::MergeClusterCheckList(args) => c::merge_cluster::check_list(ctx, &args).await,
        Command::Ca(command) => c::ca::run(ctx, &command).await,
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
        Command::Status(args) => c::status::run(ctx, &args).await,
        Command::Explain(args) => c::explain::run(ctx, &args).await,
        Command::Check(args) => c::check::run(ctx, &args).await,
        Command::Top(args) => c::top::run(ctx, &args).await,
        Command::Snapshot(command) => c::snapshot::run(ctx, &command).await,
        Command::Meta(command) => c::meta::run(ctx, &command).await,
        Command::GetLink(args) => c::get_link::run(ctx, &args).await,
        Command::SetLink(args) => c::set_link::run(ctx, &args).await,
        Command::DeleteFile(args) => c::delete_file::run(ctx, &args).await,
        Command::ListLinks(args) => c::list_links::run(ctx, &args).await,
        Command::Clock(args) => c::clock::run(ctx, &args).await,
        Command::LowlevelLsHostIps(args) => c::lowlevel_ls_host_ips::run(ctx, &args).await,
        Command::LowlevelDeleteHost(args) => c::lowlevel_delete_host::run(ctx, &args).await,
        Command::LowlevelSetHostIp(args) => c::lowlevel_set_host_ip::run(ctx, &args).await,
        Command::ImportTree(args) => c::import_tree::run(ctx, &args).await,
        Command::TakeOver(args) => c::take_over::run(ctx, &args).await,
        Command::MirrorTree(args) => c::mirror_tree::run(ctx, &args).await,
        Command::ExportTree(args) => c::export_tree::run(ctx, &args).await,
        Command::Log(command) => c::log_file::run(ctx, &command),
        Command::Sandbox(args) => crate::sandbox::run(ctx, args).await,
        Command::Events(args) => c::events::run(ctx, &args).await,
        Command::Completion(args) => c::completion::run(ctx, &args),
        Command::CompleteWords(args) => c::complete_words::run(ctx, &args).await,
        Command::Man(args) => c::man::run(ctx, &args),
        Command::More(more) => c::more::run(ctx, more).await,
        Command::Version => {
            let version = env!("CARGO_PKG_VERSION");
            ctx.ui.document("Version", &json!({ "version": version }))?;
            ctx.ui.line(&version_line());
            Ok(())
        }
        Command::Help { words } => {
            let help = c::reading_help::of(&words)?;
            ctx.ui
                .document("Text", &json!({ "text": help.trim_end() }))?;
            ctx.ui.line(help.trim_end());
            Ok(())
        }
    }
}
