//! `list-links`: keys with values and stamps.

use crate::context::Ctx;
use crate::error::Result;
use crate::output::{KeyItem, value_text};
use crate::outside::{Reader, resources_outside};
use crate::shown::shown;
use mars_meta_model::{Entry, Scope, View as _, scope_of};
use std::collections::BTreeSet;

/// Print all keys that begin with PREFIX as `key -> value (stamp)`, in key order. Control characters
/// are shown as escapes; get-link has the bytes.
///
/// With a PREFIX that names a resource which this node is no member of (resource-RES/..), a member is asked.
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

/// The keys that begin with the prefix; those of a resource that this node is no member of as a member tells them.
async fn entries(ctx: &Ctx, prefix: &str, deleted: bool) -> Result<Vec<Entry>> {
    let named = prefix
        .strip_prefix("resource-")
        .and_then(|rest| rest.split_once('/'));
    if let Some((res, _)) = named {
        let mut reader = Reader::new(ctx);
        if let Some(table) = reader.foreign(res).await? {
            let all = table.scan(prefix);
            let wanted = all.filter(|entry| deleted || !entry.is_tombstone());
            return Ok(wanted.cloned().collect());
        }
    }
    let client = ctx.client().await?;
    let list = client.list(prefix, deleted);
    let mut entries = ctx
        .bounded("the metadata daemon did not answer", list)
        .await??;
    if named.is_none() && may_be_of_resources(prefix) {
        leave_out_the_past(ctx, &mut entries).await?;
    }
    Ok(entries)
}

fn may_be_of_resources(prefix: &str) -> bool {
    let all = "resource-";
    all.starts_with(prefix) || prefix.starts_with(all)
}

/// Drops what lies here of resources that this node is no member of, and says so.
async fn leave_out_the_past(ctx: &Ctx, entries: &mut Vec<Entry>) -> Result<()> {
    let table = ctx.table(&["directory/", "roster/"]).await?;
    let host = &ctx.node().await?.host;
    let outside = resources_outside(&table, host);
    let (mut count, mut names) = (0_u64, BTreeSet::new());
    entries.retain(|entry| match scope_of(&entry.key) {
        Scope::Resource(res) if outside.contains(&*res) => {
            count += 1;
            names.insert(res.to_string());
            false
        }
        _ => true,
    });
    if let Some(first) = names.first() {
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        ctx.ui.note(&format!(
            "{count} old keys of resources that {host} is no member of are left out ({}); marsadm list-links \
             resource-{first}/ asks a member",
            all.join(" ")
        ));
    }
    Ok(())
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
        let entries = entries(ctx, prefix, args.deleted).await?;
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
