//! `clock`: both clocks of this node.

use crate::context::{Ctx, unexpected};
use crate::error::Result;
use mars_lamport::Timestamp;
use mars_meta_api::{Request, Response};
use serde_json::json;

/// Print the system clock and the Lamport clock of this node, in seconds since the epoch with nine decimals.
///
/// Example: marsadm clock
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// If the daemon does not answer.
pub async fn run(ctx: &Ctx, _args: &Args) -> Result<()> {
    let about = |error: crate::error::Error| error.about("clock");
    match ctx.call(Request::Clock).await.map_err(about)? {
        Response::Clock { wall, lamport } => {
            let (wall, lamport) = (Timestamp::from_nanos(wall), Timestamp::from_nanos(lamport));
            ctx.ui.document(
                "Clock",
                &json!({ "wall": wall.to_string(), "lamport": lamport.to_string() }),
            )?;
            ctx.ui.line(&format!("CURRENT_TIME={wall}"));
            ctx.ui.line(&format!("lamport_now={lamport}"));
            Ok(())
        }
        other => Err(about(unexpected(&other))),
    }
}
