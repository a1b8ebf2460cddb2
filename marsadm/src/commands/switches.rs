//! The switches of a replica: fetch, replay, sync, attach.

use super::disk_told::attached;
use super::each::{data_plane_hint, each, own_table, prefixes};
use super::planes;
use super::since::since;
use crate::context::{Changes, Ctx, set};
use crate::error::{Error, Result};
use crate::keys::Res;
use mars_meta_model::{Key, Value};

/// Change a switch of this host's replica (of all members: the commands ending in -global). Does not wait: see wait-resource.
///
/// Example: marsadm pause-fetch mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
}

/// Take the disk into use and wait until that is done (not with --force).
///
/// Example: marsadm attach mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct WaitingArgs {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
}

/// One of the switches.
#[derive(Clone, Copy, Debug)]
pub struct Switch {
    key: &'static str,
    word: &'static str,
}

/// Fetching of logs.
pub const FETCH: Switch = Switch {
    key: "connect",
    word: "fetch",
};
/// Applying of logs.
pub const REPLAY: Switch = Switch {
    key: "allow-replay",
    word: "replay",
};
/// Copying of the primary's disk.
pub const SYNC: Switch = Switch {
    key: "sync",
    word: "sync",
};

/// A switch, its new position, and whose.
#[derive(Clone, Copy, Debug)]
pub struct Action {
    switch: Switch,
    on: bool,
    all_hosts: bool,
}

impl Switch {
    /// Switch it on, on this host.
    #[must_use]
    pub const fn resume(self) -> Action {
        Action {
            switch: self,
            on: true,
            all_hosts: false,
        }
    }

    /// Switch it off, on this host.
    #[must_use]
    pub const fn pause(self) -> Action {
        Action {
            switch: self,
            on: false,
            all_hosts: false,
        }
    }
}

impl Action {
    /// The same on all members.
    #[must_use]
    pub const fn global(mut self) -> Self {
        self.all_hosts = true;
        self
    }

    fn verb(self) -> String {
        let word = if self.on { "resume" } else { "pause" };
        let global = if self.all_hosts { "-global" } else { "" };
        format!("{word}-{}{global}", self.switch.word)
    }
}

/// Runs one of the switching commands.
///
/// # Errors
/// If the resource is not there or this host has no replica; resume-sync also without a usable primary.
pub async fn run(ctx: &Ctx, args: &Args, action: Action) -> Result<()> {
    let verb = action.verb();
    each(ctx, &verb, &args.resource, async |host, res| {
        let table = own_table(ctx, host, res).await?;
        let view = Res::new(&table, res);
        if action.on && action.switch.key == SYNC.key {
            sync_allowed(&view, host)?;
        }
        let hosts = if action.all_hosts {
            view.storage_members()
        } else {
            vec![host.to_owned()]
        };
        let mut changes = Changes::new();
        let mut started = Vec::new();
        for host in &hosts {
            // Of several hosts each has its line; that of the only one is as in the original.
            let on_host = if action.all_hosts {
                format!(" on {host}")
            } else {
                String::new()
            };
            if action.on && view.todo(host, action.switch.key) {
                ctx.ui.token(&format!(
                    "{verb} on resource {res} is already activated{on_host}"
                ));
            } else {
                changes.push(switch(res, host, action.switch.key, action.on)?);
                started.push(format!("{verb} on resource {res}{on_host}"));
            }
        }
        if !changes.is_empty() {
            ctx.apply(changes).await?;
        }
        for what in started {
            ctx.achieved(
                &format!("successfully started {what}"),
                &format!("start {what}"),
            );
        }
        Ok(())
    })
    .await
}

/// Runs `attach`.
///
/// # Errors
/// If the resource is not there, this host has no replica, or the disk does not come into use in time.
pub async fn attach(ctx: &Ctx, args: &WaitingArgs) -> Result<()> {
    each(ctx, "attach", &args.resource, async |host, res| {
        let table = own_table(ctx, host, res).await?;
        let view = Res::new(&table, res);
        if view.todo(host, "attach") {
            let again = try_again(&view, host)?;
            ctx.apply(again.into_iter().collect()).await?;
            ctx.ui
                .token(&format!("attach on resource {res} is already activated"));
        } else {
            ctx.apply(vec![switch(res, host, "attach", true)?]).await?;
            ctx.achieved(
                &format!("successfully started attach on resource {res}"),
                &format!("start attach on resource {res}"),
            );
        }
        wait_attached(ctx, host, res).await.map_err(|error| {
            error.leaving(
                &format!("the switch attach of {res} stays on, and the disk is attached as soon as that can be"),
                &format!("marsadm detach {res}"),
            )
        })
    })
    .await
}

/// The switch `attach` once more, where it is on and the disk not in use: the data plane tries at once then, and what it tells
/// afterwards is of that try.
pub(super) fn try_again(view: &Res<'_>, host: &str) -> Result<Option<(Key, Option<Value>)>> {
    let waits = view.todo(host, "attach") && !view.actual(host, "is-attached");
    waits
        .then(|| switch(view.name, host, "attach", true))
        .transpose()
}

/// A change of one switch.
pub(super) fn switch(res: &str, host: &str, name: &str, on: bool) -> Result<(Key, Option<Value>)> {
    set(
        &format!("resource-{res}/todo-{host}/{name}"),
        if on { "1" } else { "0" },
    )
}

/// Whether a sync has a source.
pub(super) fn sync_allowed(view: &Res<'_>, host: &str) -> Result<()> {
    let res = view.name;
    let Some(primary) = view.primary() else {
        return Err(Error::refused(format!(
            "resource {res} has no designated primary ({}), so there is nothing to sync from",
            since(view, "primary")
        ))
        .hint(format!(
            "on the host that shall be primary: marsadm primary {res}"
        )));
    };
    if primary != host && in_emergency(view, primary) {
        return Err(Error::refused(format!(
            "the primary {primary} of resource {res} is in emergency mode (its log storage is full), {}",
            since(view, &format!("actual-{primary}/has-emergency"))
        ))
        .hint(format!("free log space on {primary} first")));
    }
    Ok(())
}

/// Whether a host reports emergency mode.
pub(super) fn in_emergency(view: &Res<'_>, host: &str) -> bool {
    view.actual(host, "is-emergency") || view.actual(host, "has-emergency")
}

/// Waits until the disk is in use; not with `--force` or `--dry-run`, nor, as in the original, where no data plane runs.
pub(super) async fn wait_attached(ctx: &Ctx, host: &str, res: &str) -> Result<()> {
    if ctx.opts.force || ctx.opts.dry_run {
        return Ok(());
    }
    if planes::is_absent(
        ctx,
        host,
        &format!("the disk of {res} gets attached when it does"),
    )
    .await?
    {
        return Ok(());
    }
    let [directory, own] = prefixes(res);
    ctx.wait_told(&[host], &[&directory, &own], |table| {
        attached(&Res::new(table, res), host)
    })
    .await
    .inspect(|()| {
        let path = format!("/mars/resource-{res}/actual-{host}/is-attached");
        ctx.ui.token(&format!("OK at {host}: '{path}' is '1'"));
    })
    .map_err(|error| match error.kind {
        crate::error::Kind::Timeout => error.hint(data_plane_hint(host)),
        _ => error,
    })
}
