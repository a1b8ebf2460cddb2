//! Options of the original that are hidden from the help: nearly all have no effect here, and are accepted so that scripts
//! need no change.

use crate::ui::Ui;

/// The options; hidden from the help.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct LegacyOptions {
    /// Program for syslog: the daemons log to the journal
    #[arg(long, global = true, hide = true, value_name = "PATH")]
    logger: Option<String>,
    /// Most deletions under way
    #[arg(
        long,
        global = true,
        hide = true,
        value_name = "N",
        allow_negative_numbers = true
    )]
    max_deletions: Option<i64>,
    /// Method of deletion
    #[arg(
        long,
        global = true,
        hide = true,
        value_name = "N",
        allow_negative_numbers = true
    )]
    delete_method: Option<i64>,
    /// Age in seconds of what counts as stuck
    #[arg(long, global = true, hide = true, value_name = "SECS")]
    stuck_seconds: Option<u64>,
    /// Age in hours of backups that are removed
    #[arg(
        long,
        alias = "keep-backups",
        global = true,
        hide = true,
        value_name = "HOURS"
    )]
    keep_backup_hours: Option<u64>,
    /// Folder of backups
    #[arg(long, global = true, hide = true, value_name = "DIR")]
    backup_dir: Option<String>,
    /// Whether deleted nodes count
    #[arg(long, global = true, hide = true, value_name = "N")]
    ignore_deleted_peers: Option<u8>,
    /// Whether systemd units are generated, started and stopped
    #[arg(long, global = true, hide = true, value_name = "0|1",
          value_parser = clap::value_parser!(u8).range(..=1))]
    systemd_enable: Option<u8>,
    /// Port of ssh
    #[arg(
        long,
        alias = "ssh_port",
        global = true,
        hide = true,
        value_name = "PORT"
    )]
    ssh_port: Option<u16>,
    /// Options of ssh
    #[arg(
        long,
        global = true,
        hide = true,
        value_name = "OPTS",
        allow_hyphen_values = true
    )]
    ssh_opts: Option<String>,
    /// Do not use ssh
    #[arg(long, global = true, hide = true)]
    no_ssh: bool,
    /// Address of this host: marsd's configuration has it
    #[arg(long, global = true, hide = true, value_name = "ADDR")]
    ip: Option<String>,
    /// Ask before each phase
    #[arg(long, global = true, hide = true)]
    singlestep: bool,
    /// End when a phase is entered
    #[arg(long, global = true, hide = true, value_name = "N")]
    error_injection_phase: Option<u32>,
}

impl LegacyOptions {
    /// Whether systemd is dealt with: `--systemd-enable`, by default yes.
    #[must_use]
    pub fn systemd_enabled(&self) -> bool {
        self.systemd_enable != Some(0)
    }

    /// Says which of the options a caller gave in vain. Those that never did more than steer the original's own
    /// machinery are passed over.
    pub fn report(&self, ui: &Ui) {
        let in_vain = [
            (self.singlestep, "--singlestep"),
            (
                self.error_injection_phase.is_some_and(|phase| phase > 0),
                "--error-injection-phase",
            ),
            (self.ip.is_some(), "--ip"),
            (self.backup_dir.is_some(), "--backup-dir"),
        ];
        for (_, name) in in_vain.into_iter().filter(|(given, _)| *given) {
            ui.note(&format!("warning: option {name} has no effect"));
        }
        let ignored = [
            self.logger.is_some(),
            self.max_deletions.is_some(),
            self.delete_method.is_some(),
            self.stuck_seconds.is_some(),
            self.keep_backup_hours.is_some(),
            self.ignore_deleted_peers.is_some(),
            self.ssh_port.is_some(),
            self.ssh_opts.is_some(),
            self.no_ssh,
        ];
        if ignored.into_iter().any(|given| given) {
            ui.detail("options of the original that have no effect were ignored");
        }
    }
}
