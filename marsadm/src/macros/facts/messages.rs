//! Messages of the data plane.

use super::Facts;
use crate::macros::time::local_times;

/// Which messages are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Also those that say that all is well, and fresh ones.
    pub(crate) all: bool,
    /// With times in words.
    pub(crate) pretty: bool,
    /// Of the host instead of a resource.
    pub(crate) global: bool,
    /// `err`, `wrn` or `inf`; all if empty.
    pub(crate) class: String,
}

/// Seconds for which a fresh error is not shown if `--timeout` is 0.
const FRESH_SECS: i64 = 30;

impl Facts<'_> {
    /// The messages of `host`, each as `class-name: text`.
    pub(crate) fn messages(&self, res: &str, host: &str, filter: &Filter) -> Vec<String> {
        let dir = if filter.global || res.is_empty() {
            format!("actual-{host}/msg-")
        } else {
            format!("resource-{res}/actual-{host}/msg-")
        };
        let prefix = if filter.class.is_empty() {
            dir.clone()
        } else {
            format!("{dir}{}-", filter.class)
        };
        let mut out = Vec::new();
        let mut paths: Vec<&str> = self.paths(&prefix).collect();
        paths.sort_by_cached_key(|path| super::natural(path));
        for path in paths {
            let name = &path[dir.len()..];
            let Some(value) = self.get(path).filter(|_| !name.contains('/')) else {
                continue;
            };
            if !filter.all && (value == "OK" || self.is_fresh(name, &value)) {
                continue;
            }
            let text = if filter.pretty {
                local_times(&value, filter.all)
            } else {
                value
            };
            out.push(format!("{name}: {text}"));
        }
        out
    }

    fn is_fresh(&self, name: &str, value: &str) -> bool {
        if !name.starts_with("err-") {
            return false;
        }
        let stamp = super::Num::read(value.split(' ').next().unwrap_or_default()).float();
        let limit = match self.opts.timeout {
            0 => FRESH_SECS,
            seconds => seconds,
        };
        stamp + super::Num::from(limit).float() > super::Num::from(self.real_time()).float()
    }
}
