//! Tests of the places: a line of a template up to a value, and the value.

use super::super::guard::Text;
use super::*;

const TEMPLATE: &str =
    "@eval{%let{dir}{/srv/%{res}}}@eval{%let{v}{%readlink{/mars/resource-%{res}/userspace/v}}}";

fn with(before: &str, value: &str) -> Result<(), String> {
    let mut text = Text::of(Own::of(Some("my-data"), Some("hosta"), TEMPLATE));
    text.literal(before)?;
    text.insert(value)?;
    text.literal("\n")?;
    text.finish().map(|_| ())
}

#[test]
fn what_templates_need_may_stand() {
    for (before, value) in [
        ("ExecStart=/usr/sbin/nbd-client -N ", "my-data"),
        ("ExecStart=/usr/sbin/nbd-client -d /dev/nbd", "0"),
        ("ExecStart=/bin/x --level=", "7"),
        ("ExecStart=/bin/x --size=", "10%"),
        ("ExecStart=/bin/x ", "10.0.0.1:80"),
        ("ExecStart=/bin/x ", "::1"),
        ("ExecStart=/bin/x ", "a+b@c,d=e"),
        ("ExecStart=/bin/x --file=/srv/mars/", "v"),
        ("ExecStart=/bin/mkfs ", "/dev/mars/my-data"),
        ("ExecStart=/bin/x --in=", "my-data"),
        // What the template itself writes out.
        ("ExecStart=/bin/x ", "/srv/my-data"),
        (
            "ExecStart=/usr/bin/marsadm get-link ",
            "/mars/resource-my-data",
        ),
        ("ExecStart=/bin/sh -c 'exec /bin/x ", "hosta"),
        ("ExecStart=/bin/sh /usr/local/bin/mine ", "my-data"),
        ("ExecStart=/bin/sh -c 'a b' ; /bin/x ", "v"),
        ("What=/dev/nbd", "0"),
        ("What=/dev/vg0/lv-", "v"),
        ("What=", "/dev/mars/my-data"),
        ("Where=/mnt/mars/", "my-data"),
        ("Where=/", "my-data"),
        ("Where=", "/srv/my-data"),
        ("WorkingDirectory=-/mnt/mars/", "v"),
        ("PathExists=/dev/mars/", "my-data"),
        ("TimeoutStopSec=", "90"),
        ("MemoryMax=", "2G"),
        ("CPUQuota=", "50%"),
        ("Environment=RES=", "my-data"),
        ("EnvironmentFile=-/etc/mars/apps/", "my-data"),
        ("SyslogIdentifier=app-", "my-data"),
        ("Requires=mnt-", "my\\x2ddata"),
        ("Description=any ", "a|b & c > d (e)"),
        ("Documentation=https://example.com/", "v"),
    ] {
        assert_eq!(with(before, value), Ok(()), "{before}{value}");
    }
}

#[test]
fn values_are_no_commands() {
    let shell = "ExecStart=/bin/sh -c 'echo ";
    for (before, value, why) in [
        (shell, "a|id>/tmp/x", "letters, digits"),
        (shell, "a&reboot", "letters, digits"),
        (shell, ">/etc/passwd", "letters, digits"),
        (shell, "`id`", "more than text"),
        (shell, "$(id)", "more than text"),
        (shell, "a;id", "more than text"),
        (shell, "a\nid", "more than text"),
        (shell, "a'", "more than text"),
        (shell, "(id)", "letters, digits"),
        (shell, "{a,b}", "letters, digits"),
        (shell, "a*", "letters, digits"),
        (shell, "a?", "letters, digits"),
        (shell, "[a]", "letters, digits"),
        (shell, "~root", "letters, digits"),
        (shell, "a<b", "letters, digits"),
        (shell, "a!b", "letters, digits"),
        (shell, "a#b", "letters, digits"),
        (shell, "ä", "letters, digits"),
        (shell, "reboot", "within quotes"),
        ("ExecStart=/bin/x \"", "v", "within quotes"),
        ("ExecStart=/bin/sh -c ", "reboot", "would go to sh"),
        ("ExecStart=/bin/sh ", "v", "would go to sh"),
        ("ExecStart=-/usr/bin/env A=", "v", "would go to env"),
        ("ExecStart=@/bin/bash x ", "v", "would go to bash"),
        ("ExecStart=/usr/bin/python3.11 ", "v", "would go to python"),
        ("ExecStart=\"/bin/sh\" ", "v", "would go to sh"),
        ("ExecStart=-|/bin/x ", "v", "would go to sh"),
        ("ExecStart=| ", "v", "would go to sh"),
        (
            "ExecStop=/bin/systemctl stop ",
            "sshd",
            "would go to systemctl",
        ),
        (
            "ExecStart=/usr/sbin/service ",
            "sshd",
            "would go to service",
        ),
        // Two of them are one that is escaped: the line ends.
        (
            "Description=x \\\\\nExecStart=/bin/sh -c ",
            "v",
            "would go to sh",
        ),
        ("ExecStart=", "/bin/sh", "choose the program"),
        ("ExecStart=", "my-data", "choose the program"),
        ("ExecStart=+", "v", "choose the program"),
        ("ExecStart=/usr/local/bin/", "v", "choose the program"),
        ("ExecStart=/bin/x a ; ", "v", "choose the program"),
        ("ExecStart=/bin/x a ; /bin/", "v", "choose the program"),
        ("ExecStart=/bin/x ; /bin/sh ", "v", "would go to sh"),
        ("ExecStart=/bin/x ", "-v", "an option"),
        ("ExecStart=/bin/x -", "v", "an option"),
        ("ExecStart=/bin/x ", "@v", "an option"),
        ("ExecStart=/bin/x ", "", "is empty"),
        ("ExecStart=/bin/x ", "/etc/shadow", "would name a path"),
        ("ExecStart=/bin/x ", "etc/shadow", "would name a path"),
        (
            "ExecStart=/bin/x --file=",
            "/etc/shadow",
            "would name a path",
        ),
        (
            "ExecStart=/bin/x --file=",
            "/srv/my-data",
            "would name a path",
        ),
        ("ExecStart=/bin/x /srv/", "a/b", "would name a path"),
        ("ExecStart=/bin/x /", "etc", "in the root folder"),
        ("ExecStart=/bin/x --file=/", "etc", "in the root folder"),
        ("ExecStart=/bin/x /srv/.", ".", "is no name"),
        ("ExecStart=/bin/x /srv/", "..", "leads out"),
    ] {
        let error = with(before, value).unwrap_err();
        assert!(error.contains(why), "{before}{value}: {error}");
    }
}

#[test]
fn values_name_no_file_no_user_and_no_setting() {
    for directive in [
        "EnvironmentFile",
        "Environment",
        "User",
        "Group",
        "SupplementaryGroups",
        "DynamicUser",
        "RootDirectory",
        "RootImage",
        "LoadCredential",
        "LoadCredentialEncrypted",
        "SetCredential",
        "ImportCredential",
        "ExecSearchPath",
        "ExecPaths",
        "NoExecPaths",
        "BindPaths",
        "BindReadOnlyPaths",
        "PIDFile",
        "ReadWritePaths",
        "ReadOnlyPaths",
        "InaccessiblePaths",
        "MountImages",
        "ExtensionImages",
        "StandardInput",
        "StandardOutput",
        "StandardError",
        "TTYPath",
        "PAMName",
        "PassEnvironment",
        "CapabilityBoundingSet",
        "AmbientCapabilities",
        "SecureBits",
        "NoNewPrivileges",
        "Slice",
        "Delegate",
        "Options",
        "Type",
        "ListenStream",
        "ListenFIFO",
        "ListenUSBFunction",
        "Alias",
        "FailureAction",
        "SuccessAction",
        "JobTimeoutAction",
        "RebootArgument",
        "ConditionPathExists",
        "BusName",
        "OpenFile",
        "Symlinks",
        "SocketUser",
        "KillSignal",
        "RuntimeDirectory",
        "Unknown",
        "execstart",
    ] {
        for value in ["v", "root", "+root", "/etc/shadow", "0", "true", "reboot"] {
            let error = with(&format!("{directive}="), value).unwrap_err();
            assert!(
                error.contains(&format!("{directive}= take")),
                "{directive}={value}: {error}"
            );
        }
    }
    for (before, value, why) in [
        ("Environment=LD_PRELOAD=", "/tmp/x.so", "no other value"),
        ("Environment=LD_PRELOAD=/lib/", "x.so", "no other value"),
        ("EnvironmentFile=/etc/mars/", "v", "no other value"),
        ("EnvironmentFile=/", "my-data", "in the root folder"),
        ("User=", "my-data", "takes no value"),
        ("User=", "hosta", "takes no value"),
        ("User = \\\n ", "root", "takes no value"),
        ("What=", "/dev/sda", "would name a path"),
        ("What=", "LABEL=x", "would begin the path"),
        ("Where=", "v", "would begin the path"),
        ("Where=/", "etc", "in the root folder"),
        ("Where=/./", "etc", "in the root folder"),
        ("Where=/e", "tc", "in the root folder"),
        ("Where=/mnt/", "a/b", "would name a path"),
        ("Where=/mnt/", "", "is empty"),
        ("WorkingDirectory=", "~", "would begin the path"),
        ("TimeoutSec=", "infinity", "no number"),
        ("MemoryMax=", "1 G", "several words"),
        ("# ", "KEEP_RUNNING", "the marker"),
        ("# KEEP_", "RUNNING", "the marker"),
    ] {
        let error = with(before, value).unwrap_err();
        assert!(error.contains(why), "{before}{value}: {error}");
    }
}

#[test]
fn names_that_break_the_grammar_are_nobodys_own() {
    for bad in ["", "-x", "a b", "/etc", "a/b", "x'"] {
        let own = Own::of(Some(bad), Some(bad), "");
        assert!(!own.is_name(bad), "{bad}");
        assert_eq!(own.paths, ["/mars"], "{bad}");
    }
}
