//! `get-link`: print values.

use crate::context::{Ctx, key};
use crate::error::{Error, Result};
use crate::error_code::Code;
use crate::output::KeyItem;
use crate::outside::Reader;

/// Print the value of each key, one per line, byte for byte (on a terminal, control
/// characters are shown as escapes). A missing key is an error (exit code 3).
///
/// Keys of a resource that this node is no member of are asked for at a member; if none answers, that is said, and nothing
/// old is printed.
///
/// Example: marsadm get-link /mars/userspace/note
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Keys, with or without /mars/
    #[arg(required = true, value_name = "KEY")]
    pub paths: Vec<String>,
}

/// Runs the command; prints what is there also if something is missing.
///
/// # Errors
/// The first key that is missing.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let mut missing = None;
    let mut found = Vec::new();
    let mut reader = Reader::new(ctx);
    for path in &args.paths {
        let about = |error: Error| error.about(&format!("get-link {path}"));
        let key = key(path).map_err(about)?;
        let entry = match reader.get(&key).await.map_err(about) {
            Ok(entry) => entry,
            // Others may well be known.
            Err(error) => {
                missing.get_or_insert(error);
                continue;
            }
        };
        let why = match entry {
            None => format!("there is no key {key}"),
            Some(entry) => match entry.value() {
                Some(value) => {
                    ctx.ui.value(value.as_bytes());
                    found.push(KeyItem::from(&entry));
                    continue;
                }
                None => format!("key {key} was deleted at {}", entry.stamp),
            },
        };
        let hint = match key.as_str().rsplit_once('/') {
            Some((dir, _)) => format!("see which keys there are: marsadm list-links {dir}/"),
            None => "see which keys there are: marsadm list-links ''".to_owned(),
        };
        missing.get_or_insert(about(Error::of(Code::KeyNotFound, why).hint(hint)));
    }
    ctx.ui.items("Key", &found)?;
    missing.map_or(Ok(()), Err)
}
