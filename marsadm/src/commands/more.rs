//! Commands for housekeeping, repair and parameters, as one list: what they are called and where they run.

use super::features::Family;
use crate::commands as c;
use crate::context::Ctx;
use crate::error::Result;
use clap::Subcommand;

/// Commands for housekeeping, repair and parameters.
#[derive(Debug, Subcommand)]
// A doc comment on a variant would replace the long help that stands with the command's arguments.
#[expect(missing_docs, reason = "the about text of each command documents it")]
pub enum More {
    #[command(about = "Remove what is left of a resource after its last member has left")]
    DeleteResource(c::delete_resource::Args),
    #[command(about = "Enlarge a resource while it is in use")]
    Resize(c::resize::Args),
    #[command(about = "See a resource's keys on this host without a replica")]
    ActivateGuest(c::guest::Args),
    #[command(about = "End being a guest of a resource")]
    DeactivateGuest(c::guest::Args),
    #[command(about = "Take the disk for synced as it is (dangerous)")]
    FakeSync(c::repair::FakeSyncArgs),
    #[command(about = "Let replay go on at another log (dangerous)")]
    SetReplay(c::repair::SetReplayArgs),
    #[command(about = "Begin the next log")]
    LogRotate(c::logs::RotateArgs),
    #[command(about = "Delete logs that nobody needs")]
    #[command(visible_alias = "log-delete-all", alias = "log-delete-all-replayed")]
    LogDelete(c::logs::DeleteArgs),
    #[command(about = "Delete the oldest log if nobody needs it")]
    LogDeleteOne(c::logs::DeleteArgs),
    #[command(about = "Do all housekeeping")]
    Cron(c::logs::CronArgs),
    #[command(about = "Delete versions and logs that no history leads to")]
    LogPurgeAll(c::purge::Args),
    #[command(about = "Delete error messages")]
    ErrPurgeAll(c::purge::Args),
    #[command(about = "Count deleted keys")]
    LinkPurgeAll(c::purge::Args),
    #[command(about = "Set the free space below which a resource writes past its log")]
    #[command(alias = "emergency-limit")]
    SetEmergencyLimit(c::parameters::LimitArgs),
    #[command(about = "Print the free space below which a resource writes past its log")]
    GetEmergencyLimit(c::parameters::GetArgs),
    #[command(about = "Set how many syncs may run on this host")]
    #[command(alias = "set-sync-limit-value")]
    SetGlobalSyncLimitValue(c::parameters::SyncLimitArgs),
    #[command(about = "Print how many syncs may run on this host")]
    #[command(alias = "get-sync-limit-value")]
    GetGlobalSyncLimitValue(c::parameters::GetSyncLimitArgs),
    #[command(about = "Set preferred sources of logs (without effect)")]
    SetConnectPrefList(c::parameters::PrefArgs),
    #[command(about = "Print preferred sources of logs")]
    GetConnectPrefList(c::parameters::GetArgs),
    #[command(about = "Set the cluster's compressions of logs (without effect)")]
    SetGlobalEnabledLogCompressions(c::parameters::FeaturesArgs),
    #[command(about = "Set the cluster's compressions of the net (without effect)")]
    SetGlobalEnabledNetCompressions(c::parameters::FeaturesArgs),
    #[command(about = "Forbid checksums of logs (without effect)")]
    SetGlobalDisabledLogDigests(c::parameters::FeaturesArgs),
    #[command(about = "Forbid checksums of the net (without effect)")]
    SetGlobalDisabledNetDigests(c::parameters::FeaturesArgs),
    #[command(about = "Set the systemd units that use a resource's device")]
    SetSystemdUnit(c::systemd::SetUnitArgs),
    #[command(about = "Print the systemd units that use a resource's device")]
    GetSystemdUnit(c::systemd::GetArgs),
    #[command(about = "Set where the systemd units of a resource shall run")]
    SetSystemdWant(c::systemd::SetWantArgs),
    #[command(about = "Print where the systemd units of a resource shall run")]
    GetSystemdWant(c::systemd::GetArgs),
    #[command(about = "Generate systemd units anew, and let all hosts look again")]
    SystemdTrigger(c::systemd_trigger::TriggerArgs),
    #[command(about = "Generate systemd units, start and stop them here")]
    SystemdTriggerExtern(c::systemd_trigger::ExternArgs),
    #[command(about = "Wait until the device is closed")]
    WaitUmount(c::waits::UmountArgs),
    #[command(about = "Wait until all members of a resource were heard of")]
    WaitConnect(c::waits::ConnectArgs),
    #[command(about = "Wait until all nodes were heard of (as wait-cluster)")]
    UpdateCluster(c::wait_cluster::Args),
    #[command(about = "Print files with times and error codes in words")]
    Cat(c::cat::Args),
}

/// Runs one of them.
///
/// # Errors
/// Those of the command.
pub async fn run(ctx: &Ctx, command: More) -> Result<()> {
    use c::parameters::set_features;
    match command {
        More::DeleteResource(args) => c::delete_resource::run(ctx, &args).await,
        More::Resize(args) => c::resize::run(ctx, &args).await,
        More::ActivateGuest(args) => c::guest::activate(ctx, &args).await,
        More::DeactivateGuest(args) => c::guest::deactivate(ctx, &args).await,
        More::FakeSync(args) => c::repair::fake_sync(ctx, &args).await,
        More::SetReplay(args) => c::repair::set_replay(ctx, &args).await,
        More::LogRotate(args) => c::logs::rotate(ctx, &args).await,
        More::LogDelete(args) => c::logs::delete(ctx, &args, c::logs::HowMany::All).await,
        More::LogDeleteOne(args) => c::logs::delete(ctx, &args, c::logs::HowMany::One).await,
        More::Cron(args) => c::logs::cron(ctx, &args).await,
        More::LogPurgeAll(args) => c::purge::logs(ctx, &args).await,
        More::ErrPurgeAll(args) => c::purge::errors(ctx, &args).await,
        More::LinkPurgeAll(args) => c::purge::links(ctx, &args).await,
        More::SetEmergencyLimit(args) => c::parameters::set_emergency_limit(ctx, &args).await,
        More::GetEmergencyLimit(args) => c::parameters::get_emergency_limit(ctx, &args).await,
        More::SetGlobalSyncLimitValue(args) => c::parameters::set_sync_limit(ctx, &args).await,
        More::GetGlobalSyncLimitValue(_) => c::parameters::get_sync_limit(ctx).await,
        More::SetConnectPrefList(args) => c::parameters::set_pref_list(ctx, &args).await,
        More::GetConnectPrefList(args) => c::parameters::get_pref_list(ctx, &args).await,
        More::SetGlobalEnabledLogCompressions(args) => {
            set_features(ctx, &args, "enabled-log-compressions", Family::Compressions).await
        }
        More::SetGlobalEnabledNetCompressions(args) => {
            set_features(ctx, &args, "enabled-net-compressions", Family::Compressions).await
        }
        More::SetGlobalDisabledLogDigests(args) => {
            set_features(ctx, &args, "disabled-log-digests", Family::Digests).await
        }
        More::SetGlobalDisabledNetDigests(args) => {
            set_features(ctx, &args, "disabled-net-digests", Family::Digests).await
        }
        More::SetSystemdUnit(args) => c::systemd::set_unit(ctx, &args).await,
        More::GetSystemdUnit(args) => c::systemd::get_unit(ctx, &args).await,
        More::SetSystemdWant(args) => c::systemd::set_want(ctx, &args).await,
        More::GetSystemdWant(args) => c::systemd::get_want(ctx, &args).await,
        More::SystemdTrigger(args) => c::systemd_trigger::trigger(ctx, &args).await,
        More::SystemdTriggerExtern(args) => c::systemd_trigger::trigger_extern(ctx, &args).await,
        More::WaitUmount(args) => c::waits::umount(ctx, &args).await,
        More::WaitConnect(args) => c::waits::connect(ctx, &args).await,
        More::UpdateCluster(args) => c::waits::update_cluster(ctx, &args).await,
        More::Cat(args) => c::cat::run(ctx, &args),
    }
}
