//! Where templates and units are, and how systemd is reached.

use super::systemctl::Systemctl;
use crate::limits::{SYSTEMCTL_PAUSE, SYSTEMCTL_UNIT_TIMEOUT};
use crate::macros::template_dirs;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Where templates and units are, and how systemd is reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether systemd is dealt with at all.
    pub enabled: bool,
    /// Folders of templates, the first one first.
    pub template_dirs: Vec<PathBuf>,
    /// Folders of macros.
    pub macro_dirs: Vec<PathBuf>,
    /// Where units are written.
    pub target: PathBuf,
    /// Where units of others are, which are never hidden by ours.
    pub system_dirs: Vec<PathBuf>,
    /// The program `systemctl`.
    pub systemctl: OsString,
    /// How long starting or stopping a unit may take.
    pub unit_timeout: Duration,
    /// Between two tries.
    pub pause: Duration,
}

/// Folders of units that are not ours.
const SYSTEM_DIRS: &str = "/etc/systemd/system:/run/systemd/generator:/run/systemd/generator.late:\
                           /usr/local/lib/systemd/system:/usr/lib/systemd/system:/lib/systemd/system";

impl Settings {
    /// The settings of this process, from the variables that the original has, too.
    #[must_use]
    pub fn from_env() -> Self {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let macro_dirs = template_dirs(
            var("MARS_PATH").as_deref(),
            var("HOME").as_deref(),
            rustix::process::geteuid().is_root(),
        );
        let folder = var("SYSTEMD_SUBDIR").unwrap_or_else(|| "systemd-templates".into());
        let system = var("SYSTEMD_SYSTEM_DIRS").unwrap_or_else(|| SYSTEM_DIRS.into());
        let millis = |name: &str, default: Duration| {
            let text = var(name)?.into_string().ok()?.parse().ok()?;
            Some(Duration::from_millis(text).min(default))
        };
        Self {
            enabled: true,
            template_dirs: macro_dirs
                .iter()
                .filter(|dir| dir.is_absolute())
                .flat_map(|dir| [dir.join(&folder), dir.clone()])
                .collect(),
            macro_dirs,
            target: var("SYSTEMD_TARGET_DIR").map_or("/run/systemd/system".into(), PathBuf::from),
            system_dirs: std::env::split_paths(&system).collect(),
            systemctl: var("SYSTEMCTL").unwrap_or_else(|| "systemctl".into()),
            unit_timeout: millis("MARS_SYSTEMD_TIMEOUT_MS", SYSTEMCTL_UNIT_TIMEOUT)
                .unwrap_or(SYSTEMCTL_UNIT_TIMEOUT),
            pause: millis("MARS_SYSTEMD_PAUSE_MS", SYSTEMCTL_PAUSE).unwrap_or(SYSTEMCTL_PAUSE),
        }
    }

    pub(super) fn systemctl(&self) -> Systemctl {
        Systemctl {
            program: self.systemctl.clone(),
            pause: self.pause,
        }
    }
}
