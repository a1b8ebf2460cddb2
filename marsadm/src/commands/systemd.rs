//! Which systemd units use a resource's device, and where they shall run.

use super::each::{each, left_since, prefixes, resource_table};
use super::since::{since, since_key};
use crate::context::{Changes, Ctx, key, set};
use crate::error::{Error, Kind, Result};
use crate::error_code::Code;
use crate::keys::Res;
use crate::systemd::{check_templates, regenerate, resolve, status_key};
use crate::wait::Step;
use mars_meta_api::PeerState;
use mars_meta_model::{NodeState, members, roster};

/// Set the systemd units that use the device of a resource: START is started where they shall run, STOP (by default
/// START) is stopped elsewhere. Both are made from templates that are installed on each host (docs/systemd.md).
///
/// START may be a keyword in capital letters: then the units are those of the templates that have the lines
/// # START_START and # START_STOP. An empty START unsets both.
///
/// Refused, with nothing written, if the units cannot be made on this host: there is no template for one, it would replace
/// a unit of others, or a value that a template needs is missing or may not stand where the template has it. --force writes
/// the names all the same. A host that is no member of the resource checks none of this.
///
/// Example: marsadm set-systemd-unit mydata app-mydata.service mnt-mydata.mount
/// Example: marsadm set-systemd-unit mydata MOUNT
/// Example: marsadm set-systemd-unit mydata ""
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct SetUnitArgs {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
    /// Unit to start, or a keyword
    #[arg(value_name = "START")]
    pub start: String,
    /// Unit to stop, or a keyword
    #[arg(value_name = "STOP")]
    pub stop: Option<String>,
}

/// Set where the systemd units of a resource shall run: on a host, or nowhere. Waits until the device is in use there,
/// or nowhere. --force skips checks and wait.
///
/// Example: marsadm set-systemd-want mydata hosta
/// Example: marsadm set-systemd-want mydata "(none)"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct SetWantArgs {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
    /// Host, or (none)
    #[arg(value_name = "HOST")]
    pub wanted: String,
}

/// Print the systemd units of a resource, or where they shall run.
///
/// Example: marsadm get-systemd-unit mydata
/// Example: marsadm get-systemd-want mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct GetArgs {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
}

/// Whether systemd units use the device: then roles wait for them instead of refusing.
pub(super) fn is_managed(ctx: &Ctx, view: &Res<'_>) -> bool {
    ctx.systemd.enabled && view.text("systemd-want").is_some()
}

fn want_key(res: &str) -> String {
    format!("resource-{res}/systemd-want")
}

fn opened(view: &Res<'_>, host: &str) -> bool {
    view.number(&format!("actual-{host}/open-count"))
        .unwrap_or(0)
        > 0
}

/// Runs `set-systemd-unit`.
///
/// # Errors
/// A name that is none, a keyword that no template has, units that cannot be made here; nothing was written then.
pub async fn set_unit(ctx: &Ctx, args: &SetUnitArgs) -> Result<()> {
    let verb = "set-systemd-unit";
    each(ctx, verb, &args.resource, async |host, res| {
        let table = resource_table(ctx, res).await?;
        let view = Res::new(&table, res);
        let start_key = format!("resource-{res}/systemd-start-unit");
        let stop_key = format!("resource-{res}/systemd-stop-unit");
        if args.start.is_empty() {
            ctx.apply(vec![
                (key(&want_key(res))?, None),
                (key(&start_key)?, None),
                (key(&stop_key)?, None),
            ])
            .await?;
        } else {
            let stop = args.stop.as_deref().filter(|stop| !stop.is_empty());
            let stop = stop.unwrap_or(&args.start);
            let (start, stop) = resolve(ctx, res, &args.start, stop).await?;
            let mut changes = Changes::new();
            changes.push(set(&start_key, start.as_str())?);
            changes.push(set(&stop_key, stop.as_str())?);
            if let Some(primary) = view.primary() {
                changes.push(set(&want_key(res), primary)?);
            }
            if members(&table, res).contains_key(host) {
                check_templates(ctx, res, &(start, stop), &changes).await?;
            }
            ctx.apply(changes).await?;
        }
        regenerate(ctx).await;
        Ok(())
    })
    .await
}

/// Runs `get-systemd-unit`.
///
/// # Errors
/// If the resource does not exist.
pub async fn get_unit(ctx: &Ctx, args: &GetArgs) -> Result<()> {
    each(ctx, "get-systemd-unit", &args.resource, async |_, res| {
        let table = resource_table(ctx, res).await?;
        let view = Res::new(&table, res);
        let units = ["systemd-start-unit", "systemd-stop-unit"].map(|leaf| view.text(leaf));
        let units: Vec<&str> = units.into_iter().flatten().collect();
        if !units.is_empty() {
            ctx.ui.line(&units.join(" "));
        }
        Ok(())
    })
    .await
}

/// Runs `get-systemd-want`.
///
/// # Errors
/// If the resource does not exist.
pub async fn get_want(ctx: &Ctx, args: &GetArgs) -> Result<()> {
    each(ctx, "get-systemd-want", &args.resource, async |_, res| {
        let table = resource_table(ctx, res).await?;
        let view = Res::new(&table, res);
        ctx.ui.line(view.text("systemd-want").unwrap_or_default());
        Ok(())
    })
    .await
}

/// Runs `set-systemd-want`.
///
/// # Errors
/// A host that is not in the cluster or has no part in the resource, no units (nothing was written then); a device that
/// is not opened or closed in time (the wish stays).
pub async fn set_want(ctx: &Ctx, args: &SetWantArgs) -> Result<()> {
    let (verb, wanted) = ("set-systemd-want", args.wanted.as_str());
    each(ctx, verb, &args.resource, async |_, res| {
        let table = resource_table(ctx, res).await?;
        let view = Res::new(&table, res);
        if !ctx.opts.force {
            check_want(ctx, &view, wanted).await?;
        }
        let mut changes = vec![set(&want_key(res), wanted)?];
        if view.text(&status_key(res, "start", wanted)).is_some() {
            changes.insert(0, set(&status_key(res, "start", wanted), "0")?);
        }
        ctx.apply(changes).await?;
        if ctx.opts.force || ctx.opts.dry_run || !ctx.systemd.enabled {
            return Ok(());
        }
        let left = match wanted {
            "(none)" => format!("systemd-want of {res} is (none) now: its units are still to stop"),
            host => format!("systemd-want of {res} is {host} now: its units are still to start there"),
        };
        let back = match view.text("systemd-want") {
            Some(before) if before != wanted => {
                format!("marsadm set-systemd-want {res} {before}")
            }
            _ => format!("marsadm set-systemd-want {res} HOST"),
        };
        if wanted == "(none)" {
            let result = wait_nowhere(ctx, res).await;
            return result.map_err(|error| error.leaving(&left, &back));
        }
        if !view.actual(wanted, "if-on") {
            ctx.ui.note(&format!(
                "warning: there is no device of {res} on {wanted} now; the units start when it is there"
            ));
            return Ok(());
        }
        let result = wait_opened(ctx, res, wanted).await;
        result.map_err(|error| error.leaving(&left, &back))
    })
    .await
}

async fn check_want(ctx: &Ctx, view: &Res<'_>, wanted: &str) -> Result<()> {
    let res = view.name;
    if view.text("systemd-start-unit").is_none() {
        let told = since(view, "systemd-start-unit");
        let told = if told.starts_with("since") {
            format!(", {told}")
        } else {
            ": none were ever set".to_owned()
        };
        return Err(
            Error::refused(format!("resource {res} has no systemd units{told}"))
                .hint(format!("marsadm set-systemd-unit {res} UNIT")),
        );
    }
    if wanted == "(none)" {
        return Ok(());
    }
    let table = ctx.table(&["roster/"]).await?;
    let nodes = roster(&table);
    let active = |host: &str| {
        nodes
            .get(host)
            .is_some_and(|n| n.state == NodeState::Active)
    };
    if !active(wanted) {
        let all: Vec<String> = nodes.keys().filter(|host| active(host)).cloned().collect();
        let told = since_key(&table, &format!("roster/{wanted}"));
        let told = if nodes.contains_key(wanted) {
            format!(", {told}")
        } else {
            String::new()
        };
        let why = format!("node {wanted} does not belong to the cluster{told}");
        return Err(
            Error::of(Code::HostNotFound, why).hint(crate::suggest::hint(
                "nodes of the cluster",
                wanted,
                &all,
            )),
        );
    }
    if !members(view.table, res).contains_key(wanted) {
        let told = left_since(view.table, wanted, res);
        let why = format!("{wanted} is no member of resource {res}{told}");
        return Err(Error::of(Code::NotMember, why).hint(format!(
            "choose one of {}",
            view.storage_members().join(" ")
        )));
    }
    Ok(())
}

/// Waits until no host that can be reached has the device open.
async fn wait_nowhere(ctx: &Ctx, res: &str) -> Result<()> {
    let peers = ctx.peers().await?;
    let up = |host: &str| {
        let peer = peers.iter().find(|peer| peer.host == host);
        peer.is_none_or(|p| p.connected || p.state == Some(PeerState::Up))
    };
    let [directory, own] = prefixes(res);
    let prefixes = [directory.as_str(), own.as_str()];
    let result = ctx.wait_for(&prefixes, |table| {
        let view = Res::new(table, res);
        let hosts = members(table, res).into_keys();
        let using: Vec<String> = hosts
            .filter(|host| up(host) && opened(&view, host))
            .collect();
        if using.is_empty() {
            return Step::Ready(());
        }
        match failed_status(&view, "stop", &using) {
            Some(error) => Step::Failed(error),
            None => Step::Waiting(format!(
                "for the units of {res} to stop on {}",
                using.join(" ")
            )),
        }
    });
    result.await.map_err(|error| with_hint(error, "there"))
}

/// A unit that did not start or stop, as its host tells.
fn failed_status(view: &Res<'_>, verb: &str, hosts: &[String]) -> Option<Error> {
    let res = view.name;
    let prefix = format!("resource-{res}/");
    hosts.iter().find_map(|host| {
        let full = status_key(res, verb, host);
        let status = view.text(full.strip_prefix(&prefix)?)?;
        if status == "0" {
            return None;
        }
        let unit = view
            .text(&format!("systemd-{verb}-unit"))
            .unwrap_or_default();
        let told = since_key(view.table, &full);
        let why =
            format!("unit {unit} of {res} did not {verb} on {host} (status {status}), {told}");
        Some(Error::refused(why).hint(format!("systemctl status {unit} on {host}")))
    })
}

fn with_hint(error: Error, host: &str) -> Error {
    match error.kind {
        Kind::Timeout => error.hint(format!(
            "look at the units with systemctl on the host, and check that mars-systemd.service runs {host}"
        )),
        _ => error,
    }
}

/// Waits until the device is in use on `host`.
pub(super) async fn wait_opened(ctx: &Ctx, res: &str, host: &str) -> Result<()> {
    let [directory, own] = prefixes(res);
    let prefixes = [directory.as_str(), own.as_str()];
    let result = ctx.wait_for(&prefixes, |table| {
        let view = Res::new(table, res);
        if opened(&view, host) {
            return Step::Ready(());
        }
        match failed_status(&view, "start", &[host.to_owned()]) {
            Some(error) => Step::Failed(error),
            None => Step::Waiting(format!("for the units of {res} to start on {host}")),
        }
    });
    result
        .await
        .map_err(|error| with_hint(error, &format!("on {host}")))
}

/// Waits until the units on `host` have closed the device.
pub(super) async fn wait_closed(ctx: &Ctx, res: &str, host: &str) -> Result<()> {
    let [directory, own] = prefixes(res);
    let prefixes = [directory.as_str(), own.as_str()];
    let result = ctx.wait_for(&prefixes, |table| {
        let view = Res::new(table, res);
        if !opened(&view, host) {
            return Step::Ready(());
        }
        match failed_status(&view, "stop", &[host.to_owned()]) {
            Some(error) => Step::Failed(error),
            None => Step::Waiting(format!("for the units of {res} to stop on {host}")),
        }
    });
    result
        .await
        .map_err(|error| with_hint(error, &format!("on {host}")))
}

/// The wish that the units shall run on `wanted`, with the results of earlier attempts forgotten: what counts from now
/// on is what comes of this one.
pub(super) fn wanting(res: &str, wanted: &str, old: Option<&str>) -> Result<Changes> {
    let mut changes = Changes::new();
    if let Some(old) = old.filter(|old| *old != wanted) {
        changes.push(set(&status_key(res, "stop", old), "0")?);
    }
    if wanted != "(none)" {
        changes.push(set(&status_key(res, "start", wanted), "0")?);
    }
    changes.push(set(&want_key(res), wanted)?);
    Ok(changes)
}

/// Takes back the wish for `host` if that did not become primary; the error says so.
pub(super) async fn want_back(
    ctx: &Ctx,
    res: &str,
    host: &str,
    before: &str,
    error: Error,
) -> Error {
    let back = async {
        let client = ctx.client().await?;
        let primary = client
            .get(&key(&format!("resource-{res}/primary"))?)
            .await?;
        if primary.as_ref().and_then(|entry| entry.text()) == Some(host) {
            return Ok(false);
        }
        client.apply(wanting(res, before, None)?, false).await?;
        Ok::<bool, Error>(true)
    };
    let text = match back.await {
        Ok(true) => format!("the units shall run on {before} again"),
        Ok(false) => format!("the units start on {host} when the device is there"),
        Err(second) => format!(
            "and systemd-want could not be set back ({second}): marsadm set-systemd-want {res} {before}"
        ),
    };
    let hint = match &error.hint {
        Some(hint) => format!("{hint}; {text}"),
        None => text,
    };
    error.hint(hint)
}
