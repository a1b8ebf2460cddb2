//! What is refused about the systemd units of a resource.

use crate::units::world;

#[tokio::test(flavor = "multi_thread")]
async fn wrong_names_and_hosts_are_refused_before_anything_is_written() {
    let (w, units) = world();
    for (words, code, why) in [
        (
            &["set-systemd-unit", "r", "../x.service"][..],
            25,
            "no name of a unit",
        ),
        (
            &["set-systemd-unit", "r", "/etc/x.service"],
            25,
            "no name of a unit",
        ),
        (&["set-systemd-unit", "r", "x"], 25, "no suffix"),
        (
            &["set-systemd-unit", "r", "x.script"],
            25,
            "scripts are not run",
        ),
        (
            &["set-systemd-unit", "r", "a.service", "b c.service"],
            25,
            "contains ' '",
        ),
        (&["set-systemd-unit", "r", "NOBODY"], 2, "# NOBODY_START"),
        (&["set-systemd-unit", "s", "a.service"], 2, "does not exist"),
        (
            &["set-systemd-want", "r", "hosta"],
            2,
            "has no systemd units: none were ever set",
        ),
    ] {
        units.fails(words, code, why);
    }
    assert_eq!(w.double.get("resource-r/systemd-want"), None);
    units.ok(&["set-systemd-unit", "r", "APP"]);
    units.fails(
        &["set-systemd-want", "r", "hostx"],
        2,
        "does not belong to the cluster",
    );
    // The wish stays; the message says so, and how to take it back. Off a terminal it says what it waits for.
    let wait = ["set-systemd-want", "r", "hosta", "--timeout=2"];
    units.fails(&wait, 6, "waiting for the units of r to start on hosta,");
    units.fails(&wait, 6, "r is hosta now: its units are still to start");
    units.fails(&wait, 6, "take that back: marsadm set-systemd-want r ");
    let want = w.double.get("resource-r/systemd-want");
    assert_eq!(want.as_deref(), Some("hosta"));
    units.ok(&["set-systemd-want", "r", "hostb"]);
    w.double.put(&[("resource-r/actual-hosta/open-count", "1")]);
    units.ok(&["set-systemd-want", "r", "hosta"]);
    units.fails(
        &["set-systemd-want", "r", "(none)", "--timeout=1"],
        6,
        "to stop on hosta",
    );
    units.ok(&["set-systemd-want", "r", "(none)", "--force"]);
    assert_eq!(
        w.double.get("resource-r/systemd-want").as_deref(),
        Some("(none)")
    );
    units.ok(&["set-systemd-unit", "all", "APP"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn units_that_cannot_be_made_are_refused_before_anything_is_written() {
    let (w, units) = world();
    std::fs::write(units.dir.join("system/sshd.service"), "[Unit]\n").unwrap();
    let value = "@eval{%readlink{/mars/resource-%{res}/userspace/evil}}";
    let text = format!("[Service]\nExecStart=/bin/x @{{any}}\n# {value}\n");
    units.template("^{any}.service", &text);
    units.template(
        "want-@escvar{res}.service",
        "[Service]\nExecStart=/bin/x @eval{%readlink{/mars/resource-%{res}/systemd-want}}\n",
    );
    for (unit, evil, why) in [
        ("poweroff.target", "x", "belongs to systemd itself"),
        ("halt2.target", "x", "no template is installed"),
        ("sshd.service", "x", "is not to be replaced"),
        (
            "good.service",
            "x\n[Service]\nExecStart=/bin/sh",
            "contains '\\n'",
        ),
    ] {
        w.double.put(&[("resource-r/userspace/evil", evil)]);
        let line = ["set-systemd-unit", "r", unit];
        units.fails(&line, 2, why);
        units.fails(&line, 2, "  next: ");
        units.fails(&line, 2, "--force writes the names all the same");
        for leaf in ["start-unit", "stop-unit", "want"] {
            assert_eq!(
                w.double.get(&format!("resource-r/systemd-{leaf}")),
                None,
                "{unit}"
            );
        }
        assert_eq!((units.names(), units.calls()), (vec![], vec![]), "{unit}");
    }
    // By force, and what only this command brings is known beforehand.
    units.ok(&["set-systemd-unit", "r", "halt2.target", "--force"]);
    units.ok(&["set-systemd-unit", "r", "want-r.service"]);
    assert_eq!(units.names(), ["want-r.service"]);
    // Since when there are none.
    units.ok(&["set-systemd-unit", "r", ""]);
    units.fails(
        &["set-systemd-want", "r", "hosta"],
        2,
        "has no systemd units, since ",
    );
}
