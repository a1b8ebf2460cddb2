//! Values that administrators set: limits, preferred sources, features.

use super::each::{each, own_table};
use super::features::{Family, parse};
use super::since::since;
use crate::context::{Ctx, key, set};
use crate::error::{Error, Result};
use crate::error_code::Code;
use crate::keys::{Res, list_parts};
use mars_meta_model::{NodeState, check_host_name, roster};

/// Set the percentage of free space on this host's log filesystem below which a resource writes past its log, so that
/// others may go on logging. 0: only when the filesystem is full.
///
/// Example: marsadm set-emergency-limit mydata 20
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct LimitArgs {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
    /// Percent
    #[arg(value_parser = clap::value_parser!(u8).range(..=100))]
    pub percent: u8,
}

/// Print a value of this host's replica.
///
/// Example: marsadm get-emergency-limit mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct GetArgs {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
}

/// Set how many syncs may run on this host at the same time. 0: any number. Others wait their turn.
///
/// Example: marsadm set-global-sync-limit-value 2
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct SyncLimitArgs {
    /// Number of syncs
    #[arg(value_name = "N")]
    pub limit: u32,
}

/// Print how many syncs may run on this host at the same time; 0 is any number.
///
/// Example: marsadm get-global-sync-limit-value
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct GetSyncLimitArgs {
    /// The original wants a resource here for get-sync-limit-value; it does not matter
    #[arg(hide = true)]
    pub resource: Option<String>,
}

/// Set from which hosts this host would rather fetch logs. Kept and shown, but without effect: logs are fetched from
/// the primary. An empty list deletes it.
///
/// Example: marsadm set-connect-pref-list mydata hosta,hostb
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct PrefArgs {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
    /// Hosts, joined by commas
    pub hosts: String,
}

/// Set which compressions or checksums the cluster allows or forbids. Kept and shown, but without effect: this release
/// checksums with CRC32C and does not compress.
///
/// FEATURES: names joined by | (CHKSUM_MD5_OLD CHKSUM_MD5 CHKSUM_CRC32C CHKSUM_CRC32 CHKSUM_SHA1 COMPRESS_LZO
/// COMPRESS_LZ4 COMPRESS_ZLIB), or for compressions also a number such as 0x02000000. An empty text deletes the key.
///
/// Example: marsadm set-global-enabled-log-compressions COMPRESS_LZ4
/// Example: marsadm set-global-enabled-net-compressions COMPRESS_LZ4
/// Example: marsadm set-global-disabled-log-digests CHKSUM_MD5
/// Example: marsadm set-global-disabled-net-digests CHKSUM_MD5
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct FeaturesArgs {
    /// What is enabled or disabled
    pub features: String,
}

/// Runs `set-emergency-limit`.
///
/// # Errors
/// If this host has no replica.
pub async fn set_emergency_limit(ctx: &Ctx, args: &LimitArgs) -> Result<()> {
    let verb = "set-emergency-limit";
    each(ctx, verb, &args.resource, async |host, res| {
        own_table(ctx, host, res).await?;
        let key = format!("resource-{res}/todo-{host}/emergency-limit");
        ctx.apply(vec![set(&key, &args.percent.to_string())?])
            .await?;
        let what = format!(
            "the emergency limit of resource {res} on {host} to {} %",
            args.percent
        );
        ctx.done(&format!("set {what}"), &format!("set {what}"));
        Ok(())
    })
    .await
}

/// Runs `get-emergency-limit`.
///
/// # Errors
/// If it was never set.
pub async fn get_emergency_limit(ctx: &Ctx, args: &GetArgs) -> Result<()> {
    let verb = "get-emergency-limit";
    each(ctx, verb, &args.resource, async |host, res| {
        let hint = format!("marsadm set-emergency-limit {res} PERCENT");
        print(
            ctx,
            host,
            res,
            &format!("todo-{host}/emergency-limit"),
            &hint,
        )
        .await
    })
    .await
}

/// Runs `get-connect-pref-list`.
///
/// # Errors
/// If it was never set.
pub async fn get_pref_list(ctx: &Ctx, args: &GetArgs) -> Result<()> {
    let verb = "get-connect-pref-list";
    each(ctx, verb, &args.resource, async |host, res| {
        let hint = format!("marsadm set-connect-pref-list {res} HOSTS");
        print(ctx, host, res, &format!("connect-{host}"), &hint).await
    })
    .await
}

async fn print(ctx: &Ctx, host: &str, res: &str, leaf: &str, hint: &str) -> Result<()> {
    let table = own_table(ctx, host, res).await?;
    let view = Res::new(&table, res);
    let Some(text) = view.text(leaf) else {
        return Err(Error::of(
            Code::KeyNotFound,
            format!(
                "key resource-{res}/{leaf} is not set ({})",
                since(&view, leaf)
            ),
        )
        .hint(hint));
    };
    ctx.ui.line(text);
    Ok(())
}

/// Runs `set-connect-pref-list`.
///
/// # Errors
/// If this host has no replica, or a host of the list is not in the cluster.
pub async fn set_pref_list(ctx: &Ctx, args: &PrefArgs) -> Result<()> {
    let verb = "set-connect-pref-list";
    each(ctx, verb, &args.resource, async |host, res| {
        own_table(ctx, host, res).await?;
        let name = format!("resource-{res}/connect-{host}");
        if args.hosts.is_empty() {
            ctx.apply(vec![(key(&name)?, None)]).await?;
            return Ok(());
        }
        let nodes = roster(&ctx.table(&["roster/"]).await?);
        for peer in list_parts(&args.hosts) {
            check_host_name(peer).map_err(|error| Error::usage(error.to_string()))?;
            if nodes.get(peer).is_none_or(|n| n.state != NodeState::Active) {
                let all: Vec<&str> = nodes.keys().map(String::as_str).collect();
                return Err(Error::not_found(format!(
                    "node {peer} does not belong to the cluster"
                ))
                .hint(format!("nodes of the cluster: {}", all.join(" "))));
            }
        }
        ctx.apply(vec![set(&name, args.hosts.trim_end_matches(','))?])
            .await?;
        if ctx.opts.dry_run {
            return Ok(());
        }
        ctx.ui
            .note("the list is kept, but has no effect: logs are fetched from the primary");
        Ok(())
    })
    .await
}

/// Runs `set-global-sync-limit-value`.
///
/// # Errors
/// If the daemon does not answer.
pub async fn set_sync_limit(ctx: &Ctx, args: &SyncLimitArgs) -> Result<()> {
    let work = async {
        let host = ctx.host().await?;
        let change = set(
            &format!("defaults-{host}/sync-limit"),
            &args.limit.to_string(),
        )?;
        ctx.apply(vec![change]).await?;
        Ok(())
    };
    work.await
        .map_err(|error: Error| error.about("set-global-sync-limit-value"))
}

/// Runs `get-global-sync-limit-value`.
///
/// # Errors
/// If the daemon does not answer.
pub async fn get_sync_limit(ctx: &Ctx) -> Result<()> {
    let work = async {
        let host = ctx.host().await?;
        let entry = ctx
            .get(&key(&format!("defaults-{host}/sync-limit"))?)
            .await?;
        let text = entry.as_ref().and_then(|entry| entry.text());
        ctx.ui.line(text.unwrap_or("0"));
        Ok(())
    };
    work.await
        .map_err(|error: Error| error.about("get-global-sync-limit-value"))
}

/// Runs the commands that set features of the cluster; `leaf` is their key below `defaults/`.
///
/// # Errors
/// If the features are not understood: nothing was written.
pub async fn set_features(
    ctx: &Ctx,
    args: &FeaturesArgs,
    leaf: &str,
    family: Family,
) -> Result<()> {
    let work = async {
        let path = format!("defaults/{leaf}");
        if args.features.trim().is_empty() {
            ctx.apply(vec![(key(&path)?, None)]).await?;
            if !ctx.opts.dry_run {
                ctx.ui.line(&format!("Delete '/mars/{path}'"));
            }
            return Ok(());
        }
        let mask = format!("0x{:08x}", parse(&args.features, family)?);
        ctx.apply(vec![set(&path, &mask)?]).await?;
        if ctx.opts.dry_run {
            return Ok(());
        }
        ctx.ui.line(&format!("Set '/mars/{path}' to '{mask}'"));
        ctx.ui
            .note("the key is kept, but has no effect: this release checksums with CRC32C and does not compress");
        Ok(())
    };
    work.await
        .map_err(|error: Error| error.about(&format!("set-global-{leaf}")))
}
