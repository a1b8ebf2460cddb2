//! `wait-resource`: wait for a condition.

use super::each::{each, own_table, prefixes, resource_table};
use super::uptodate;
use crate::context::Ctx;
use crate::error::{Error, Kind, Result};
use crate::error_code::Code;
use crate::keys::Res;
use crate::wait::Step;

/// Wait until a condition holds for this host's replica, at most --timeout seconds.
///
/// COND is is-NAME or todo-NAME, optionally with -on or -off (default: on). Names with is-: attached, replaying,
/// fetching, syncing, primary, secondary, device, consistent (synced, and usable as a primary). Names with todo-:
/// attach, fetch, replay, sync, primary, secondary.
///
/// is-uptodate: every replica of the cluster is synced and has applied all that the primary had in its log when the
/// command began.
///
/// Example: marsadm wait-resource mydata is-attached
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
    /// The condition
    #[arg(value_name = "COND")]
    pub condition: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Observed(&'static str),
    Wish(&'static str),
    ActualPrimary,
    Designated,
    Consistent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Condition {
    what: What,
    on: bool,
}

/// Runs the command.
///
/// # Errors
/// An unknown condition, or one that does not come about in time.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let cond = args.condition.as_str();
    let parsed = match cond {
        "is-uptodate" | "is-uptodate-on" => None,
        _ => Some(parse(cond).map_err(|error| error.about("wait-resource"))?),
    };
    each(ctx, "wait-resource", &args.resource, async |host, res| {
        let Some(condition) = parsed else {
            resource_table(ctx, res).await?;
            return uptodate::wait(ctx, res).await;
        };
        own_table(ctx, host, res).await?;
        let [directory, own] = prefixes(res);
        // What the data plane told counts as long as it runs; wishes and what is on the disk count in any case.
        let told = matches!(condition.what, What::Observed(_) | What::ActualPrimary);
        let tellers = if told { vec![host] } else { Vec::new() };
        ctx.wait_told(&tellers, &[&directory, &own], |table| {
            if holds(condition, &Res::new(table, res), host) {
                Step::Ready(())
            } else {
                Step::Waiting(format!("for {cond} of {res} on {host}"))
            }
        })
        .await
        .map_err(|error| match error.kind {
            Kind::Timeout => error.hint(format!("marsadm explain {res}")),
            _ => error,
        })
    })
    .await
}

fn holds(condition: Condition, view: &Res<'_>, host: &str) -> bool {
    let now = match condition.what {
        What::Observed(flag) => view.actual(host, flag),
        What::Wish(name) => view.todo(host, name),
        What::ActualPrimary => view.actual(host, "is-primary"),
        What::Designated => view.primary() == Some(host),
        What::Consistent => view.unsynced(host).is_none(),
    };
    now == condition.on
}

fn parse(text: &str) -> Result<Condition> {
    let (rest, on) = match text.rsplit_once('-') {
        Some((rest, "on" | "1")) => (rest, true),
        Some((rest, "off" | "0")) => (rest, false),
        _ => (text, true),
    };
    let observed = rest.strip_prefix("is-").or(rest.strip_prefix("has-"));
    let (what, negated) = match observed {
        Some(name) => match name {
            "attach" | "attached" => (What::Observed("is-attached"), false),
            "replay" | "replaying" => (What::Observed("is-replaying"), false),
            "fetch" | "fetching" | "copy" | "copying" => (What::Observed("is-copying"), false),
            "sync" | "syncing" => (What::Observed("is-syncing"), false),
            "device" => (What::Observed("if-on"), false),
            "primary" => (What::ActualPrimary, false),
            "secondary" => (What::ActualPrimary, true),
            "consistent" => (What::Consistent, false),
            _ => return Err(unknown(text)),
        },
        None => match rest.strip_prefix("todo-").unwrap_or(rest) {
            "attach" | "attached" => (What::Wish("attach"), false),
            "fetch" | "connect" => (What::Wish("connect"), false),
            "replay" => (What::Wish("allow-replay"), false),
            "sync" => (What::Wish("sync"), false),
            "primary" => (What::Designated, false),
            "secondary" => (What::Designated, true),
            _ => return Err(unknown(text)),
        },
    };
    Ok(Condition {
        what,
        on: on != negated,
    })
}

fn unknown(text: &str) -> Error {
    Error::of(
        Code::UnknownCondition,
        format!("condition '{text}' is not known"),
    )
    .hint(
        "is-attached, is-replaying, is-fetching, is-syncing, is-primary, is-secondary, is-device, is-consistent, is-uptodate, \
         or todo-attach, todo-fetch, todo-replay, todo-sync, todo-primary; with -off for the opposite",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_of_the_original_are_understood() {
        let ok = |text: &str, what, on| {
            assert_eq!(parse(text).unwrap(), Condition { what, on }, "{text}");
        };
        ok("is-attached", What::Observed("is-attached"), true);
        ok("is-fetch-off", What::Observed("is-copying"), false);
        ok("has-device-1", What::Observed("if-on"), true);
        ok("is-secondary", What::ActualPrimary, false);
        ok("is-secondary-off", What::ActualPrimary, true);
        ok("attach-0", What::Wish("attach"), false);
        ok("todo-primary", What::Designated, true);
        ok("is-consistent", What::Consistent, true);
        for bad in ["", "is-", "is-nice", "on", "-off"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
