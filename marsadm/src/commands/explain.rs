//! `explain`: the chain of causes.

use super::status::{snapshot_following, wanted_resources};
use crate::context::Ctx;
use crate::error::{Error, Kind, Result};
use crate::explain::{Explanation, explain, lines};
use crate::keys::list_parts;
use crate::snapshot::Snapshot;
use crate::status::{Wanted, in_one_line, judge, outside_names, with_facts};

/// Walk the causes of the state of a resource, one after the other: each with the key that tells it, its value and age. What
/// is wrong stands with the next command. The replica here comes first, then what is wrong with those of other hosts;
/// --of HOST asks about one only, in full.
///
/// Exit code: 0 if nothing is wrong, 1 if something is. Works with --snapshot and --tree too.
///
/// Example: marsadm explain mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
    /// The host whose replica is asked about; by default all are
    #[arg(long, value_name = "HOST")]
    pub of: Option<String>,
}

/// The first named resource of which there are summaries only.
fn summarized_only(snapshot: &Snapshot, argument: &str) -> Option<String> {
    let outside = outside_names(snapshot);
    let mut names = list_parts(argument).map(str::to_owned);
    names.find(|name| outside.contains(name))
}

/// Runs the command.
///
/// # Errors
/// If the state cannot be read, the resource or host does not exist, or something is wrong.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let work = async {
        let snapshot = snapshot_following(ctx, &args.resource).await?;
        if let Some(name) = summarized_only(&snapshot, &args.resource) {
            let told = with_facts(&snapshot, &Wanted::default(), |facts| {
                in_one_line(facts, &name)
            });
            let text = format!("{name}: no member tells more than its summary now: {told}");
            return Err(Error::new(Kind::Negative, text)
                .hint(format!("run marsadm explain {name} on one of its members")));
        }
        let mut names = wanted_resources(&snapshot, &args.resource)?;
        if names.is_empty() {
            // All that this host has part in, as everywhere.
            let all = judge(&snapshot, &Wanted::default()).resources.into_iter();
            names = all.map(|res| res.name).collect();
        }
        let wanted = Wanted {
            window: Some(ctx.opts.window.as_secs()),
            ..Wanted::default()
        };
        let of = args.of.as_deref();
        let told = names
            .iter()
            .map(|name| explain(&snapshot, &wanted, name, of));
        let told: Vec<Explanation> = told.collect::<Result<_>>()?;
        // A single name has a document of its own, a list has one of all.
        match &told[..] {
            [one] if args.resource == names[0] => ctx.ui.document("Explanation", one)?,
            all => ctx.ui.items("Explanation", all)?,
        }
        if !ctx.ui.is_structured() {
            for (at, one) in told.iter().enumerate() {
                if at > 0 {
                    ctx.ui.line("");
                }
                lines(one).iter().for_each(|line| ctx.ui.line(line));
            }
        }
        let Some((host, step)) = told.iter().find_map(Explanation::wrong) else {
            return Ok(());
        };
        let here = told.iter().all(|one| one.host == host);
        let text = match here {
            true => step.finding.clone(),
            false => format!("{host}: {}", step.finding),
        };
        let error = Error::new(Kind::Negative, text);
        let next = step.next.clone();
        Err(next.map_or(error.clone(), |next| error.hint(next)))
    };
    work.await
        .map_err(|error| error.about(&format!("explain {}", args.resource)))
}
