//! `list-links`: keys with values and stamps.

use crate::context::Ctx;
use crate::error::Result;
use crate::output::{KeyItem, value_text};
use crate::shown::shown;

/// Print all keys that begin with PREFIX as `key -> value (stamp)`, in key order. Control characters
/// are shown as escapes; get-link has the bytes.
///
/// Example: marsadm list-links resource-mydata/
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Beginning of the keys, with or without /mars/; left out or '': all
    #[arg(default_value = "")]
    pub prefix: String,
    /// Show deleted keys too, as `key deleted (stamp)`
    #[arg(long)]
    pub deleted: bool,
}

/// Runs the command.
///
/// # Errors
/// If the daemon does not answer.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let work = async {
        let prefix = match args.prefix.strip_prefix("/mars") {
            Some(rest) => rest.strip_prefix('/').unwrap_or(rest),
            None => &args.prefix,
        };
        let client = ctx.client().await?;
        let list = client.list(prefix, args.deleted);
        let entries = ctx
            .bounded("the metadata daemon did not answer", list)
            .await??;
        if ctx.ui.is_structured() {
            let items: Vec<KeyItem> = entries.iter().map(KeyItem::from).collect();
            return ctx.ui.items("Key", &items);
        }
        for entry in entries {
            match entry.value() {
                Some(value) => {
                    let value = value_text(value.as_bytes());
                    let line = format!("{} -> {value} ({})", entry.key, entry.stamp);
                    ctx.ui.line(&shown(&line));
                }
                None => {
                    let line = format!("{} deleted ({})", entry.key, entry.stamp);
                    ctx.ui.line(&shown(&line));
                }
            }
        }
        Ok(())
    };
    work.await
        .map_err(|error: crate::error::Error| error.about("list-links"))
}
