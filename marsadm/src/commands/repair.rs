//! `fake-sync` and `set-replay`: an administrator gives up what a replica would still need.

use super::down::wait_idle;
use super::each::{data_plane_hint, each, own_table, prefixes};
use super::planes;
use super::roles::check_not_primary;
use super::since::since;
use super::switches::switch;
use crate::context::{Changes, Ctx, set};
use crate::error::{Error, Kind, Result};
use crate::keys::{LogPos, Res, parse_version_end};
use crate::wait::Step;
use mars_meta_model::View as _;

/// Take this host's disk for synced as it is, without copying the rest. DANGER: if it differs from the primary's, the
/// replica is inconsistent from then on, and nothing will notice.
///
/// For disks that are known to be equal, for example both new and empty. Switches the sync off and leaves it off, also
/// where the disk is synced already; marsadm resume-sync switches it on.
/// --force does not wait for a running sync to end.
///
/// Example: marsadm fake-sync mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct FakeSyncArgs {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
}

/// Let replay go on at the beginning of log NR, leaving out what lies between. DANGER: what is left out is missing on
/// the disk. marsadm invalidate is the way to repair a replica.
///
/// Needs pause-replay first. A number above the present one needs --force.
///
/// Example: marsadm pause-replay mydata && marsadm set-replay mydata 17 --force
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct SetReplayArgs {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
    /// Number of the log
    pub nr: u64,
}

/// Runs `fake-sync`.
///
/// # Errors
/// If this host is primary, or the sync does not end in time (it stays switched off).
pub async fn fake_sync(ctx: &Ctx, args: &FakeSyncArgs) -> Result<()> {
    each(ctx, "fake-sync", &args.resource, async |host, res| {
        let table = own_table(ctx, host, res).await?;
        check_not_primary(ctx, &Res::new(&table, res), host)?;
        if !ctx.opts.force {
            planes::need(ctx, host, &format!("how far {res} is synced there is not known")).await?;
        }
        ctx.apply(vec![switch(res, host, "sync", false)?]).await?;
        if !ctx.opts.force && !ctx.opts.dry_run {
            wait_idle(ctx, host, res, &["is-syncing"]).await?;
        }
        let table = own_table(ctx, host, res).await?;
        let view = Res::new(&table, res);
        let (Some(size), Some(replay)) = (view.number("size"), view.replay(host)) else {
            return Err(Error::refused(format!(
                "size and position of resource {res} on {host} are not known yet"
            ))
            .hint(format!("marsadm up {res}, then repeat the command")));
        };
        let synced = view.number(&format!("syncstatus-{host}")).unwrap_or(0);
        if synced >= size {
            let off = if ctx.opts.dry_run {
                "would be off afterwards"
            } else {
                "is off now"
            };
            ctx.ui.note(&format!(
                "the disk of {res} on {host} is synced already: nothing is given up, but the switch sync {off}; \
                 marsadm resume-sync {res} switches it on"
            ));
            return Ok(());
        }
        let state = format!("{synced},{}", replay.at);
        ctx.apply(vec![
            set(
                &format!("resource-{res}/todo-{host}/accept-unsynced"),
                &state,
            )?,
            set(
                &format!("resource-{res}/syncstatus-{host}"),
                &size.to_string(),
            )?,
        ])
        .await?;
        if ctx.opts.dry_run {
            return Ok(());
        }
        ctx.ui.note(&format!(
            "WARNING: {} of {size} bytes of {res} on {host} were not copied: the replica may be inconsistent; \
             marsadm invalidate {res} makes a real one",
            size - synced
        ));
        Ok(())
    })
    .await
}

/// Runs `set-replay`.
///
/// # Errors
/// If this host is primary, replay is on, or no host tells of that log; or if the data plane does not do it in time.
pub async fn set_replay(ctx: &Ctx, args: &SetReplayArgs) -> Result<()> {
    each(ctx, "set-replay", &args.resource, async |host, res| {
        let table = own_table(ctx, host, res).await?;
        let view = Res::new(&table, res);
        check_not_primary(ctx, &view, host)?;
        let off = format!("todo-{host}/allow-replay");
        if view.todo(host, "allow-replay") {
            return Err(Error::refused(format!(
                "replay of {res} is on at {host}, {}",
                since(&view, &off)
            ))
            .hint(format!("marsadm pause-replay {res}")));
        }
        planes::need(ctx, host, &format!("the replay of {res} cannot be set")).await?;
        if !ctx.opts.dry_run {
            // It may have been switched off just now.
            wait_idle(ctx, host, res, &["is-replaying"]).await?;
        }
        let table = own_table(ctx, host, res).await?;
        let view = Res::new(&table, res);
        let Some(replay) = view.replay(host) else {
            return Err(Error::refused(format!(
                "the replay position of {res} on {host} is not known"
            ))
            .hint(format!("marsadm attach {res}")));
        };
        let nr = args.nr;
        if nr > replay.at.nr && !ctx.opts.force {
            return Err(Error::refused(format!(
                "{host} is at log {} of {res}, {}: logs up to {nr} would be left out",
                replay.at.nr,
                since(&view, &format!("replay-{host}"))
            ))
            .hint(format!(
                "marsadm resume-replay {res} applies them, marsadm invalidate {res} repairs the replica; --force leaves them out"
            )));
        }
        let target = log_start(&view, nr)?;
        let changes: Changes = vec![
            set(
                &format!("resource-{res}/skip-check-{host}"),
                &format!("{nr} set-replay: the disk may be inconsistent"),
            )?,
            set(
                &format!("resource-{res}/todo-{host}/set-replay"),
                &format!("{}:{target}", replay.at),
            )?,
        ];
        ctx.apply(changes).await?;
        if ctx.opts.dry_run {
            return Ok(());
        }
        let [directory, own] = prefixes(res);
        ctx.wait_told(&[host], &[&directory, &own], |table| {
            match Res::new(table, res).replay(host) {
                Some(now) if now.at == target => Step::Ready(()),
                _ => Step::Waiting(format!("for replay of {res} on {host} to stand at {target}")),
            }
        })
        .await
        .map_err(|error| match error.kind {
            Kind::Timeout => error.hint(data_plane_hint(host)).leaving(
                &format!("the wish for log {nr} of {res} stays"),
                &format!("marsadm delete-file resource-{res}/todo-{host}/set-replay --force"),
            ),
            _ => error,
        })
    })
    .await
}

/// The beginning of log `nr`, with the host that wrote it as the primary, or else anybody, tells.
fn log_start(view: &Res<'_>, nr: u64) -> Result<LogPos> {
    let res = view.name;
    let prefix = format!("resource-{res}/version-{nr:09}-");
    let primary = view.primary().map(|host| format!("{prefix}{host}"));
    let mut told: Vec<_> = view
        .table
        .scan(&prefix)
        .filter(|entry| !entry.is_tombstone())
        .collect();
    told.sort_by_key(|entry| Some(entry.key.as_str()) != primary.as_deref());
    let end = told
        .iter()
        .find_map(|entry| parse_version_end(entry.text()?).filter(|end| end.nr == nr));
    let Some(end) = end else {
        return Err(
            Error::not_found(format!("no host tells of log {nr} of resource {res}")).hint(format!(
                "see which logs there are: marsadm list-links resource-{res}/version-"
            )),
        );
    };
    Ok(LogPos { pos: 0, ..end })
}
