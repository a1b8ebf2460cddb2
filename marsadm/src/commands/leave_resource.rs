//! `leave-resource`: give up a replica.

use super::each::{each, left_since, resource_table};
use super::planes;
use super::roles::check_not_primary;
use super::since::since;
use crate::context::{Changes, Ctx};
use crate::error::{Error, Result};
use crate::error_code::Code;
use crate::keys::Res;
use mars_meta_model::{Table, member_key, members, replica_keys};

/// Give up this host's replica. The disk keeps its data.
///
/// Refused while this host is primary, any switch is still on (marsadm down comes first), or a running data plane uses the
/// replica. --force skips these checks, except that an actual primary stays refused.
///
/// Example: marsadm down mydata && marsadm leave-resource mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
}

/// Runs the command.
///
/// # Errors
/// If the host is no member, is primary, or still uses the replica.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    each(ctx, "leave-resource", &args.resource, async |host, res| {
        let table = resource_table(ctx, res).await?;
        if !members(&table, res).contains_key(host) {
            let why = format!(
                "{host} is no member of resource {res}{}",
                left_since(&table, host, res)
            );
            let hint =
                format!("nothing is left to do here; marsadm status {res} tells its members");
            return Err(Error::of(Code::NotMember, why).hint(hint));
        }
        let view = Res::new(&table, res);
        check_not_primary(ctx, &view, host)?;
        if !ctx.opts.force {
            check_idle(ctx, &view, host).await?;
        }
        let mut changes = own_keys(&table, res, host);
        let key = member_key(res, host)
            .ok_or_else(|| Error::internal(format!("no membership key for {res} and {host}")))?;
        changes.push((key, None));
        ctx.apply(changes).await?;
        ctx.achieved(
            &format!("successfully left resource {res}"),
            &format!("leave resource {res}"),
        );
        crate::systemd::regenerate(ctx).await;
        Ok(())
    })
    .await
}

/// Refuses a replica that is switched on, or that is used. What a data plane told that has ended counts for nothing: with
/// its process everything went that could use the disk.
async fn check_idle(ctx: &Ctx, view: &Res<'_>, host: &str) -> Result<()> {
    let res = view.name;
    let mut on: Vec<String> = ["attach", "connect", "sync", "allow-replay"]
        .into_iter()
        .filter(|name| view.todo(host, name))
        .map(|name| format!("todo {name}"))
        .collect();
    let told: Vec<&str> = ["is-attached", "is-replaying", "is-syncing", "is-copying"]
        .into_iter()
        .filter(|name| view.actual(host, name))
        .collect();
    let so = format!("{} of {res} is the past", told.join(", "));
    let is_past = on.is_empty() && !told.is_empty() && planes::is_absent(ctx, host, &so).await?;
    if !is_past {
        on.extend(told.into_iter().map(str::to_owned));
    }
    if on.is_empty() {
        return Ok(());
    }
    Err(Error::refused(format!(
        "the replica of {res} on {host} is still in use, {}: {}",
        since(view, &format!("todo-{host}/attach")),
        on.join(", ")
    ))
    .hint(format!("marsadm down {res}")))
}

/// Deletions of what makes the host a member; histories and logs stay until nobody needs them.
fn own_keys(table: &Table, res: &str, host: &str) -> Changes {
    let keys = replica_keys(table, res, host).into_iter();
    keys.map(|key| (key, None)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    #[test]
    fn only_own_membership_keys_are_deleted() {
        let mut table = Table::new();
        for key in [
            "resource-r/data-a",
            "resource-r/data-b-a",
            "resource-r/todo-a/attach",
            "resource-r/todo-ba/attach",
            "resource-r/version-000000001-a",
            "resource-r/size",
            "resource-r/actual-a/is-primary",
        ] {
            table.merge(entry(key, Some("1"), 1, 1));
        }
        let keys: Vec<String> = own_keys(&table, "r", "a")
            .into_iter()
            .map(|(key, _)| key.to_string())
            .collect();
        assert_eq!(
            keys,
            [
                "resource-r/actual-a/is-primary",
                "resource-r/data-a",
                "resource-r/todo-a/attach"
            ]
        );
    }
}
