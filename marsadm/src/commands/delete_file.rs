//! `delete-file`: delete keys.

use super::raw::userspace_key;
use crate::context::{Changes, Ctx};
use crate::error::Result;
use mars_meta_model::{Entry, classify, is_membership};

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

/// Says of whom it is that belongs to a resource: its data plane lets go of it, and others forget its logs.
async fn tell_memberships(ctx: &Ctx, changes: &Changes) -> Result<()> {
    for (key, _) in changes {
        let (_, host, res) = classify(key);
        let (Some(host), Some(res)) = (host.filter(|_| is_membership(key.as_str())), res) else {
            continue;
        };
        if let Some(held) = ctx.get(key).await?.as_ref().and_then(Entry::text) {
            ctx.ui.note(&format!(
                "ATTENTION: {key} says that {host} belongs to resource {res} ({held}): without it the replica is given up, and \
                 the others no longer keep logs for it; marsadm leave-resource {res} on {host} does it in order"
            ));
        }
    }
    Ok(())
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
            tell_memberships(ctx, &changes).await?;
            ctx.apply(changes).await?;
        }
        Ok(())
    };
    work.await.map_err(|error: crate::error::Error| {
        error.about(&format!("delete-file {}", args.paths.join(" ")))
    })
}
