//! `view`: the state in the original's layouts. The process answers it before the command line is parsed, because its
//! options are those of the original; this is its help, and the way in for whoever calls [`crate::run::run`].

use crate::context::Ctx;
use crate::error::Result;
use crate::macros::{answer_from, print};

/// Show resources in the layouts of the original. view-MACRO evaluates another macro; docs/macros.md tells which there
/// are and how to write own ones. Options of the original: --host=HOST, --macro=TEXT, --window=SECS, --verbose.
///
/// Exit code: twice the number of resources for which it failed, 25 for a wrong name or option or a --host that is not in
/// the cluster, 7 if the metadata daemon does not answer.
///
/// Example: marsadm view all
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Resource, a list with commas, a pattern with * or ?, or all; then arguments of the macro
    #[arg(value_name = "RES")]
    pub words: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// If the state cannot be read, or the macro failed for a resource.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let mut argv = vec!["view".to_owned()];
    argv.extend(args.words.iter().cloned());
    argv.extend(ctx.opts.acting.iter().map(|host| format!("--host={host}")));
    let answer = answer_from(ctx, &argv)
        .await
        .map_err(|error| error.about("view"))?;
    print(&ctx.ui, &answer);
    answer
        .failure()
        .map_or(Ok(()), |error| Err(error.about("view")))
}
