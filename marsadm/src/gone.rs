//! Commands of the original that have no place any more (`docs/marsadm.md`), and what to use instead.

use crate::error::Error;
use crate::error_code::Code;

/// A command that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Its words.
    pub words: &'static [&'static str],
    /// Why it has no place; completes "this command is gone: ".
    pub why: &'static str,
    /// What to do instead.
    pub instead: &'static str,
}

/// All of them.
pub static GONE: &[Gone] = &[
    Gone {
        words: &["create-uuid"],
        why: "create-cluster gives the cluster its identity",
        instead: "marsadm create-cluster",
    },
    Gone {
        words: &["split-cluster"],
        why: "keys of a resource only go to its members, so a cluster needs no splitting",
        instead: "take single nodes out: marsadm leave-cluster",
    },
    Gone {
        words: &["set-disabled-digests"],
        why: "it never had an effect",
        instead: "marsadm set-global-disabled-log-digests FEATURES, if the key is wanted",
    },
    Gone {
        words: &["show-info", "mars-info"],
        why: "it printed a status file of the kernel module",
        instead: "marsadm status RES; journalctl -u mars-datapath",
    },
    Gone {
        words: &["dump-macros", "dump-all-macros"],
        why: "macros are not copied in order to be changed: a file NAME.tpl of your own replaces one of them",
        instead: "marsadm --snapshot FILE prettyprint-NAME prints the source of one; see docs/macros.md",
    },
    Gone {
        words: &["syncer"],
        why: "it did nothing in the original, either",
        instead: "marsadm set-global-sync-limit-value bounds the syncs of a host",
    },
    Gone {
        words: &["check-resize"],
        why: "it did nothing in the original, either",
        instead: "marsadm resize RES --dry-run",
    },
    Gone {
        words: &["get-gi", "show-gi"],
        why: "it did nothing in the original, either",
        instead: "marsadm list-links resource-RES/version- shows the history of a resource",
    },
    Gone {
        words: &["outdate"],
        why: "it did nothing in the original, either: a replica that is behind is outdated by itself",
        instead: "marsadm pause-fetch RES keeps a replica where it is",
    },
    Gone {
        words: &["adjust"],
        why: "it did nothing in the original, either: there are no configuration files to adjust to",
        instead: "marsadm up RES",
    },
    Gone {
        words: &["hidden-commands"],
        why: "it did nothing in the original, either",
        instead: "marsadm --help",
    },
    Gone {
        words: &["create-md", "dump-md", "dump"],
        why: "there are no meta data on the disks",
        instead: "marsadm create-resource RES DISK; marsadm list-links resource-RES/",
    },
    Gone {
        words: &["new-current-uuid"],
        why: "a resource has no identity besides its history",
        instead: "marsadm primary RES",
    },
    Gone {
        words: &["invalidate-remote"],
        why: "only a replica's own host throws it away",
        instead: "on the other host: marsadm invalidate RES",
    },
    Gone {
        words: &["verify"],
        why: "the original refused it, too",
        instead: "marsadm invalidate RES copies what differs; log verify checks logfiles",
    },
    Gone {
        words: &["cstate", "dstate"],
        why: "the original did not implement it, either",
        instead: "marsadm view RES, or marsadm status RES",
    },
];

/// The entry of a command word, with or without the prefix `force-`.
#[must_use]
pub fn find(word: &str) -> Option<&'static Gone> {
    let word = word.strip_prefix("force-").unwrap_or(word);
    GONE.iter().find(|gone| gone.words.contains(&word))
}

/// The failure that typing a command word is that is gone (exit code 2); nothing if it is another one.
#[must_use]
pub fn refusal(word: &str) -> Option<Error> {
    let gone = find(word)?;
    let why = format!("this command is gone: {}", gone.why);
    let hint = format!("use instead: {}", gone.instead);
    Some(Error::of(Code::UnknownCommand, why).hint(hint).about(word))
}
