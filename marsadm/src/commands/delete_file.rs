//! `delete-file`: delete keys.

use super::raw::userspace_key;
use crate::context::{Changes, Ctx};
use crate::error::Result;

/// Delete keys everywhere in the cluster, all in one batch. Keys outside of userspace/ need --force.
///
/// Example: marsadm delete-file /mars/userspace/note
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Keys, with or without /mars/; none is no error
    #[arg(value_name = "KEY")]
    pub paths: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// A wrong key: nothing was deleted.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let work = async {
        let mut changes = Changes::new();
        for path in &args.paths {
            changes.push((userspace_key(path, ctx.opts.force)?, None));
        }
        if changes.is_empty() {
            ctx.ui
                .note("no key was named: nothing to do (as in the original no failure)");
        } else {
            ctx.apply(changes).await?;
        }
        Ok(())
    };
    work.await.map_err(|error: crate::error::Error| {
        error.about(&format!("delete-file {}", args.paths.join(" ")))
    })
}
