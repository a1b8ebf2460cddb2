//! `status`: what needs attention.

use crate::context::Ctx;
use crate::error::{Error, Kind, Result};
use crate::keys::{is_pattern, list_parts, matches, natural, unmatched};
use crate::macros::facts::Sets;
use crate::snapshot::{Origin, Snapshot, read, read_following};
use crate::status::{Node, Severity, Status, Style, Wanted, judge, lines, outside_names};
use mars_meta_api::HELD_UP;

/// Show what needs attention, worst first: seconds of data at risk against the target, why, since when, what to do.
/// Healthy resources are a count. Of resources elsewhere, which this node is no member of, their members' summaries are
/// shown; one that is named is asked for at a member. `>=` stands before what may be more, because it was told too long ago; `?` where
/// no bound is known.
///
/// Exit code: 0 if all is well, 1 if not: then the document of --output json is an Error, and the state stands in its
/// field .partial. Works with --snapshot and --tree too.
///
/// Example: marsadm status --problems
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Resource, a list with commas, also of other hosts; left out or all: all of this host
    #[arg(value_name = "RES", default_value = "all")]
    pub resource: String,
    /// Print nothing at all if all is well
    #[arg(long, short = 'x')]
    pub problems: bool,
    /// List all nodes, healthy resources and all replicas too
    #[arg(long, short)]
    pub all: bool,
    /// Seconds that may be at risk; else the resource's key defaults/rpo-target, else 10
    #[arg(long, value_name = "SECS")]
    pub target: Option<u64>,
}

/// Runs the command.
///
/// # Errors
/// If the state cannot be read, a resource does not exist, or something needs attention.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let work = async {
        let snapshot = snapshot_following(ctx, &args.resource).await?;
        let wanted = Wanted {
            resources: named_resources(&snapshot, &args.resource)?,
            target: args.target,
            window: Some(ctx.opts.window.as_secs()),
        };
        let status = judge(&snapshot, &wanted);
        ctx.ui.document("Status", &status)?;
        if !ctx.ui.is_structured() && (!args.problems || !is_well(&status)) {
            let named = args.resource != "all";
            let style = Style {
                colour: ctx.ui.has_colors(),
                all: args.all || named,
            };
            for line in lines(&status, style) {
                ctx.ui.painted(&line);
            }
            if matches!(ctx.opts.origin, Origin::Live) {
                let told = &ctx.node().await?.collection;
                for line in told.iter().filter(|line| line.starts_with(HELD_UP)) {
                    ctx.ui.line(&format!("deletions {line}"));
                }
            }
        }
        only_summaries(&status, args.resource != "all")?;
        verdict(&status)
    };
    work.await.map_err(|error| error.about("status"))
}

/// What this node knows, or the file or tree that was named.
///
/// # Errors
/// That of reading it; `--host` with the running node, which knows what it knows.
pub async fn snapshot_of(ctx: &Ctx) -> Result<Snapshot> {
    if let (Some(host), Origin::Live) = (&ctx.opts.acting, &ctx.opts.origin) {
        return Err(
            Error::usage("--host: this command tells what this node knows").hint(format!(
                "run it on {host}, or marsadm explain RES --of {host}"
            )),
        );
    }
    read(ctx).await
}

/// [`snapshot_of`], with the named resources that this node is no member of, as their members tell.
///
/// # Errors
/// As [`snapshot_of`].
pub async fn snapshot_following(ctx: &Ctx, argument: &str) -> Result<Snapshot> {
    if argument == "all" || !matches!(ctx.opts.origin, Origin::Live) {
        return snapshot_of(ctx).await;
    }
    if ctx.opts.acting.is_some() {
        // Refused there.
        return snapshot_of(ctx).await;
    }
    let names = list_parts(argument).filter(|name| !is_pattern(name));
    let names: Vec<String> = names.map(str::to_owned).collect();
    read_following(ctx, &names).await
}

/// [`wanted_resources`], also those that this node knows from summaries only.
///
/// # Errors
/// As [`wanted_resources`].
pub fn named_resources(snapshot: &Snapshot, argument: &str) -> Result<Vec<String>> {
    let outside = outside_names(snapshot);
    let names = list_parts(argument);
    let (other, known): (Vec<&str>, Vec<&str>) =
        names.partition(|name| outside.iter().any(|other| other == name));
    if other.is_empty() {
        return wanted_resources(snapshot, argument);
    }
    let mut list = if known.is_empty() {
        Vec::new()
    } else {
        wanted_resources(snapshot, &known.join(","))?
    };
    list.extend(other.into_iter().map(str::to_owned));
    list.dedup();
    Ok(list)
}

/// Nobody can say that all is well who has summaries only.
fn only_summaries(status: &Status, named: bool) -> Result<()> {
    let Some(first) = status.elsewhere.first().filter(|_| named) else {
        return Ok(());
    };
    let text = format!("{}: no member tells more than its summary now", first.name);
    let error = Error::new(Kind::Negative, text);
    Err(match first.replicas.first() {
        Some(replica) => error.hint(format!("marsadm status {} on {}", first.name, replica.host)),
        None => error,
    })
}

fn is_well(status: &Status) -> bool {
    status.severity == Severity::Ok
}

fn verdict(status: &Status) -> Result<()> {
    if is_well(status) {
        return Ok(());
    }
    let bad = status.summary.resources - status.summary.ok;
    let out = |node: &&Node| node.alarm_severity() == Some(Severity::Critical);
    if let Some(node) = status.nodes.iter().find(out) {
        // Whatever else is wrong follows from it, or cannot be mended here.
        let text = node.alarm.clone().unwrap_or_default();
        return Err(Error::new(Kind::Negative, text).hint(node.acknowledgement()));
    }
    let alarmed = status.nodes.iter().find(|node| node.alarm.is_some());
    if let (0, Some(node)) = (bad, alarmed) {
        let text = format!("node {} reports an alarm", node.host);
        let next = format!("when it was looked at: {}", node.acknowledgement());
        return Err(Error::new(Kind::Negative, text).hint(next));
    }
    let clock = status.nodes.iter().find_map(|node| node.clock.as_ref());
    if let (0, Some(clock)) = (bad, clock) {
        let text = format!("{}: {}", clock.code.as_str(), clock.reason);
        return Err(Error::new(Kind::Negative, text).hint(clock.next.clone()));
    }
    let first = status.resources.first().map(|res| res.name.as_str());
    let (all, one) = (status.summary.resources, bad == 1);
    let text = format!(
        "{bad} of {all} resource{} need{} attention",
        if all == 1 { "" } else { "s" },
        if one { "s" } else { "" }
    );
    let error = Error::new(Kind::Negative, text);
    Err(match first {
        Some(first) => error.hint(format!("marsadm explain {first}")),
        None => error,
    })
}

/// The resources that an argument names, all of which exist; none stands for all.
///
/// # Errors
/// If one does not exist.
pub fn wanted_resources(snapshot: &Snapshot, argument: &str) -> Result<Vec<String>> {
    if argument == "all" {
        return Ok(Vec::new());
    }
    let known = Sets::new(snapshot).resources();
    let mut list: Vec<String> = Vec::new();
    for name in list_parts(argument) {
        if is_pattern(name) {
            let matching = known.iter().filter(|one| matches(name, one));
            let before = list.len();
            list.extend(matching.map(|one| (*one).to_owned()));
            if list.len() == before {
                return Err(unmatched(&snapshot.header.host, name));
            }
            continue;
        }
        if !known.iter().any(|known| known == name) {
            let mut all = known.clone();
            all.extend(outside_names(snapshot));
            all.sort_by_cached_key(|name| natural(name));
            all.dedup();
            return Err(
                Error::not_found(format!("resource {name} is not known to this host"))
                    .hint(crate::suggest::hint("resources that are", name, &all)),
            );
        }
        list.push(name.to_owned());
    }
    list.sort_by_cached_key(|name| natural(name));
    list.dedup();
    Ok(list)
}
