//! `set-link`: write keys.

use super::raw::userspace_key;
use super::since::since_key;
use crate::context::{Changes, Ctx};
use crate::error::{Error, Result};
use crate::error_code::Code;
use crate::output::value_text;
use crate::value_rules;
use mars_meta_model::{Owner, Value, View as _, classify, is_removed, node_record};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

/// Write values to keys, all in one batch; the value comes first. Keys outside of userspace/
/// need --force, and what their readers do not understand is refused unless --force is given twice.
///
/// Example: marsadm set-link hello /mars/userspace/note
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Pairs: a value, then its key (with or without /mars/)
    #[arg(required = true, num_args = 2.., value_names = ["VALUE", "PATH"], allow_negative_numbers = true)]
    pub pairs: Vec<OsString>,
}

/// Says what is overridden that belongs to another host, or says who belongs to the cluster.
async fn tell_overridden(ctx: &Ctx, changes: &Changes) -> Result<()> {
    let me = ctx.node().await?.host.clone();
    for (key, _) in changes {
        let (family, owner, _) = classify(key);
        let line = key.as_str().strip_prefix("roster/");
        let other = owner.filter(|owner| family.owner == Owner::Host && *owner != me);
        if other.is_none() && line.is_none() {
            continue;
        }
        let table = ctx.table(&["roster/", key.as_str()]).await?;
        let held = table.entry(key);
        let before = match held {
            Some(entry) => {
                let value = entry.value().map(|value| value_text(value.as_bytes()));
                let value = value.unwrap_or_else(|| "deleted".to_owned());
                format!("now: {value}, {}", since_key(&table, key.as_str()))
            }
            None => "not there now".to_owned(),
        };
        let whose = match other {
            Some(host) => format!("what only {host} writes"),
            None => "who belongs to the cluster".to_owned(),
        };
        ctx.ui
            .note(&format!("ATTENTION: {key} overrides {whose} ({before})"));
        let gone = line.and_then(|host| node_record(&table, host));
        if gone.is_some_and(|record| is_removed(&table, &record.key_hash)) {
            ctx.ui.note(&format!(
                "the node with the key of this line was removed for ever: a line with that key stays out of force on all \
                 nodes, whatever it says; a machine comes back by marsadm join-cluster only ({key})"
            ));
        }
    }
    Ok(())
}

/// Runs the command.
///
/// # Errors
/// A wrong key or value: nothing was written.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let what = match args.pairs.get(1) {
        Some(path) => format!("set-link {}", path.to_string_lossy()),
        None => "set-link".to_owned(),
    };
    let work = async {
        let mut changes = Changes::new();
        for pair in args.pairs.chunks(2) {
            let [value, path] = pair else {
                return Err(Error::of(Code::CommandLine, "a value without a key")
                    .hint("set-link VALUE PATH [VALUE PATH..]"));
            };
            let path = path
                .to_str()
                .ok_or_else(|| Error::usage("a key that is not UTF-8 cannot be written"))?;
            let key = userspace_key(path, ctx.opts.force).map_err(|error| {
                // The other order is in some of the original's help texts.
                match value.to_str() {
                    Some(v) if v.contains("userspace/") => {
                        error.hint("the value comes first: set-link VALUE PATH")
                    }
                    _ => error,
                }
            })?;
            let value = Value::new(value.clone().into_vec())
                .map_err(|error| Error::usage(error.to_string()))?;
            if !ctx.opts.force_values {
                value_rules::check(&key, &value)?;
            }
            changes.push((key, Some(value)));
        }
        tell_overridden(ctx, &changes).await?;
        ctx.apply(changes).await?;
        Ok(())
    };
    work.await.map_err(|error| error.about(&what))
}
