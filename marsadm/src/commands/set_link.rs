//! `set-link`: write keys.

use super::raw::userspace_key;
use crate::context::{Changes, Ctx};
use crate::error::{Error, Result};
use crate::error_code::Code;
use crate::value_rules;
use mars_meta_model::Value;
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
        ctx.apply(changes).await?;
        Ok(())
    };
    work.await.map_err(|error| error.about(&what))
}
