//! A cluster of several nodes on this machine.

use crate::context::Ctx;
use crate::error::{Error, Result};

/// placeholder
#[derive(Debug, clap::Args)]
pub struct Args {}

/// placeholder
pub async fn run(_ctx: &Ctx, _args: Args) -> Result<()> {
    std::future::ready(Err(Error::refused("x"))).await
}
