//! `completion`: scripts for shells.

use crate::context::Ctx;
use crate::error::Result;
use serde_json::json;

/// Print the script that makes a shell complete commands, options, resources and nodes.
///
/// Example: marsadm completion bash > /etc/bash_completion.d/marsadm
/// Example: source <(marsadm completion zsh)
/// Example: marsadm completion fish > ~/.config/fish/completions/marsadm.fish
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The shell
    pub shell: Shell,
}

/// A shell that can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// Runs the command.
///
/// # Errors
/// None but faults of this program.
pub fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let script = match args.shell {
        Shell::Bash => include_str!("../../completion/marsadm.bash"),
        Shell::Zsh => include_str!("../../completion/marsadm.zsh"),
        Shell::Fish => include_str!("../../completion/marsadm.fish"),
    };
    ctx.ui.document("Text", &json!({ "text": script }))?;
    ctx.ui.line(script.trim_end());
    Ok(())
}
