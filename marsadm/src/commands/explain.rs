//! `explain`: the chain of causes.

use super::status::{snapshot_of, wanted_resources};
use crate::context::Ctx;
use crate::error::{Error, Kind, Result};
use crate::explain::{explain, lines};
use crate::status::Wanted;

/// Walk the causes of the state of a replica, one after the other: each with the key that tells it, its value and age. The
/// first one that is wrong stands with the next command. --of HOST asks about the replica of another host.
///
/// Exit code: 0 if nothing is wrong, 1 if something is. Works with --snapshot and --tree too.
///
/// Example: marsadm explain mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Resource
    #[arg(value_name = "RES")]
    pub resource: String,
    /// The host whose replica is asked about; by default this one
    #[arg(long, value_name = "HOST")]
    pub of: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// If the state cannot be read, the resource or host does not exist, or something is wrong.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let work = async {
        crate::keys::one_resource(&args.resource)?;
        let snapshot = snapshot_of(ctx).await?;
        wanted_resources(&snapshot, &args.resource)?;
        let wanted = Wanted {
            window: Some(ctx.opts.window.as_secs()),
            ..Wanted::default()
        };
        let told = explain(&snapshot, &wanted, &args.resource, args.of.as_deref())?;
        ctx.ui.document("Explanation", &told)?;
        if !ctx.ui.is_structured() {
            for line in lines(&told) {
                ctx.ui.line(&line);
            }
        }
        match told.steps.iter().find(|step| !step.ok) {
            None => Ok(()),
            Some(step) => {
                let error = Error::new(Kind::Negative, step.finding.clone());
                let next = step.next.clone();
                Err(next.map_or(error.clone(), |next| error.hint(next)))
            }
        }
    };
    work.await
        .map_err(|error| error.about(&format!("explain {}", args.resource)))
}
