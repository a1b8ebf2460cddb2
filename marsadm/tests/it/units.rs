//! systemd units of resources: the real program with a stand-in for `systemctl`.

use crate::World;
use mars_meta_model::{Table, View as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Folders of templates and units, and a `systemctl` that keeps a log.
pub(crate) struct Units {
    pub(crate) dir: PathBuf,
    socket: PathBuf,
}

impl Units {
    pub(crate) fn new(w: &World) -> Self {
        let units = Self {
            dir: w.dir.path().join("units"),
            socket: w.double.socket.clone(),
        };
        for name in ["etc/systemd-templates", "run", "system"] {
            let dir = units.dir.join(name);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        units.systemctl("exit 0");
        units
    }

    pub(crate) fn template(&self, name: &str, text: &str) {
        let path = self.dir.join("etc/systemd-templates").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }

    /// What `systemctl` does after it has logged its arguments; `$1` is the verb, `$4` the unit where there are options.
    fn systemctl(&self, script: &str) {
        let log = self.dir.join("log");
        let text = format!("#!/bin/sh\necho \"$*\" >> '{}'\n{script}\n", log.display());
        let (new, path) = (self.dir.join("systemctl.new"), self.dir.join("systemctl"));
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    /// The calls of `systemctl` since this was asked last.
    pub(crate) fn calls(&self) -> Vec<String> {
        let log = self.dir.join("log");
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let _ = std::fs::remove_file(log);
        text.lines().map(str::to_owned).collect()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marsadm"));
        command
            .args(words)
            .env("MARS_SOCKET", &self.socket)
            .env("MARS_PATH", self.dir.join("etc"))
            .env("SYSTEMCTL", self.dir.join("systemctl"))
            .env("SYSTEMD_TARGET_DIR", self.dir.join("run"))
            .env("SYSTEMD_SYSTEM_DIRS", self.dir.join("system"))
            .env("MARS_SYSTEMD_PAUSE_MS", "1")
            .env_remove("MARS_OUTPUT")
            .stdin(Stdio::null());
        command
    }

    /// Runs the program without blocking the stand-in for the daemon.
    fn run(&self, words: &[&str]) -> Output {
        let mut command = self.command(words);
        tokio::task::block_in_place(|| command.output().unwrap())
    }

    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {text}");
        text
    }

    pub(crate) fn fails(&self, words: &[&str], code: i32, why: &str) {
        let output = self.run(words);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
        assert!(text.contains(why), "{words:?}: {text}");
    }

    /// All units in the target folder, without hidden files.
    pub(crate) fn made(&self) -> Vec<(String, String)> {
        let mut made = Vec::new();
        for entry in std::fs::read_dir(self.dir.join("run")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if !name.starts_with('.') {
                made.push((name, std::fs::read_to_string(path).unwrap()));
            }
        }
        made.sort();
        made
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.made().into_iter().map(|(name, _)| name).collect()
    }

    fn follower(&self) -> Follower {
        let child = self
            .command(&["systemd-trigger", "--follow"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Follower(child)
    }
}

struct Follower(Child);

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until something holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const APP: &str = "# APP_START\n# APP_STOP\n[Unit]\nDescription=@{res} on @{host}\n[Service]\nExecStart=/bin/app @{res}\n";

pub(crate) fn world() -> (World, Units) {
    let w = World::new(&["hosta", "hostb"]);
    let units = Units::new(&w);
    units.template("app-@escvar{res}.service", APP);
    w.double.put(&[
        ("directory/r/member-hosta", "storage"),
        ("directory/r/member-hostb", "storage"),
        ("resource-r/primary", "hosta"),
        ("resource-r/todo-hosta/attach", "1"),
        ("resource-r/actual-hosta/if-on", "1"),
        ("resource-r/actual-hosta/is-primary", "1"),
    ]);
    (w, units)
}

fn start_stop(verb: &str) -> String {
    format!("{verb} --job-mode=fail -- app-r.service")
}

#[tokio::test(flavor = "multi_thread")]
async fn units_are_set_generated_started_and_removed() {
    let (w, units) = world();
    units.ok(&["set-systemd-unit", "r", "APP"]);
    for leaf in ["start-unit", "stop-unit"] {
        let key = format!("resource-r/systemd-{leaf}");
        assert_eq!(w.double.get(&key).as_deref(), Some("app-r.service"));
    }
    assert_eq!(
        w.double.get("resource-r/systemd-want").as_deref(),
        Some("hosta")
    );
    let made = units.made();
    assert_eq!(made.len(), 1);
    let run = units.dir.join("run/app-r.service");
    assert_eq!(
        made[0].1,
        format!(
            "### GENERATED FROM: app-@escvar{{res}}.service\n### GENERATED NAME: app-r.service\n\
             ### GENERATED   TO: {}\n### MARS RESOURCE: r\n# APP_START\n# APP_STOP\n[Unit]\n\
             Description=r on hosta\n[Service]\nExecStart=/bin/app r\n",
            run.display()
        )
    );
    let mode = std::fs::metadata(&run).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o444);
    assert_eq!(units.calls(), ["daemon-reload"]);
    // Nothing changed: nothing is done.
    units.ok(&["systemd-trigger-extern"]);
    assert_eq!(units.calls(), [""; 0]);
    units.ok(&["systemd-trigger-extern", "r"]);
    assert_eq!(units.calls(), [start_stop("start")]);
    let status = |verb: &str| {
        w.double
            .get(&format!("resource-r/userspace/systemd-status-{verb}-hosta"))
    };
    assert_eq!(status("start").as_deref(), Some("0"));
    w.double.put(&[("resource-r/systemd-want", "hostb")]);
    units.ok(&["systemd-trigger-extern", "r"]);
    assert_eq!(units.calls(), [start_stop("stop")]);
    assert_eq!(status("stop").as_deref(), Some("0"));
    // Unset: stopped and removed; the file of somebody else stays.
    std::fs::write(units.dir.join("run/other.service"), "[Unit]\n").unwrap();
    units.ok(&["set-systemd-unit", "r", ""]);
    assert_eq!(
        units.calls(),
        [start_stop("stop"), "daemon-reload".to_owned()]
    );
    assert_eq!(units.names(), ["other.service"]);
    for leaf in ["start-unit", "stop-unit", "want"] {
        assert_eq!(w.double.get(&format!("resource-r/systemd-{leaf}")), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_commands_and_macros_answer_on_a_live_store() {
    let (_w, units) = world();
    let out = |words: &[&str]| String::from_utf8(units.run(words).stdout).unwrap();
    assert_eq!(out(&["get-systemd-unit", "r"]), "");
    assert_eq!(out(&["get-systemd-want", "r"]), "\n");
    units.template("x-@escvar{res}.mount", "[Mount]\nWhat=/dev/x\nWhere=/x\n");
    units.ok(&["set-systemd-unit", "r", "app-r.service", "x-r.mount"]);
    assert_eq!(out(&["get-systemd-unit", "r"]), "app-r.service x-r.mount\n");
    assert_eq!(out(&["get-systemd-want", "r"]), "hosta\n");
    assert_eq!(
        out(&["view-systemd-unit", "r"]),
        "app-r.service x-r.mount\n"
    );
    assert_eq!(out(&["view-systemd-want", "r"]), "hosta\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_original_s_switch_leaves_systemd_alone() {
    let (w, units) = world();
    units.ok(&[
        "--systemd-enable=0",
        "set-systemd-unit",
        "r",
        "app-r.service",
    ]);
    units.ok(&["--systemd-enable=0", "systemd-trigger-extern", "r"]);
    units.ok(&["--systemd-enable=0", "systemd-trigger"]);
    assert_eq!((units.calls(), units.names()), (vec![], vec![]));
    assert_eq!(w.double.get("todo-global/systemd-global-trigger"), None);
    units.fails(
        &["--systemd-enable=2", "systemd-trigger"],
        25,
        "systemd-enable",
    );
    units.ok(&["systemd-trigger"]);
    assert_eq!(units.names(), ["app-r.service"]);
    let trigger = w.double.get("todo-global/systemd-global-trigger");
    assert_eq!(trigger.as_deref(), Some("hosta"));
    units.ok(&["--systemd-enable=1", "systemd-trigger", "r", "--dry-run"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_others_command_nothing() {
    let (w, units) = world();
    std::fs::write(units.dir.join("system/sshd.service"), "[Unit]\n").unwrap();
    units.template("^{any}.service", "[Service]\nExecStart=/bin/x @{any}\n# @eval{%readlink{/mars/resource-%{res}/userspace/evil}}\n");
    w.double.put(&[("resource-r/systemd-want", "hosta")]);
    for (start, evil, why) in [
        ("../../etc/cron.d/x.service", "x", "no name of a unit"),
        ("poweroff.target", "x", "belongs to systemd itself"),
        ("halt2.target", "x", "no template is installed"),
        ("sshd.service", "x", "is not to be replaced"),
        ("--now.service", "x", "no name of a unit"),
        (
            "good.service",
            "x\n[Service]\nExecStart=/bin/sh",
            "contains '\\n'",
        ),
        ("x\nExecStart=.service", "x", "no name of a unit"),
    ] {
        w.double.put(&[
            ("resource-r/systemd-start-unit", start),
            ("resource-r/userspace/evil", evil),
        ]);
        units.fails(&["systemd-trigger-extern", "r"], 2, why);
        assert_eq!(units.names(), [""; 0], "{start}");
        assert_eq!(units.calls(), [""; 0], "{start}");
    }
    // A file that was there before is not ours to replace.
    std::fs::write(units.dir.join("run/app-r.service"), "mine").unwrap();
    w.double
        .put(&[("resource-r/systemd-start-unit", "app-r.service")]);
    units.fails(
        &["systemd-trigger-extern", "r"],
        2,
        "was not generated here",
    );
    assert_eq!(units.made()[0].1, "mine");
    assert_eq!(units.calls(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_store_stops_and_removes_nothing() {
    let (w, units) = world();
    units.ok(&["set-systemd-unit", "r", "APP"]);
    units.calls();
    // A daemon that knows nothing (yet).
    w.double.state.lock().unwrap().table = Table::new();
    units.ok(&["systemd-trigger-extern"]);
    assert_eq!(
        (units.names(), units.calls()),
        (vec!["app-r.service".to_owned()], vec![])
    );
    units.ok(&["systemd-trigger-extern", "--force"]);
    assert_eq!(units.names(), [""; 0]);
    assert_eq!(
        units.calls(),
        [start_stop("stop"), "daemon-reload".to_owned()]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_and_hanging_are_told_and_bounded() {
    let (w, units) = world();
    units.ok(&["set-systemd-unit", "r", "APP"]);
    units.calls();
    let status = |verb: &str| {
        w.double
            .get(&format!("resource-r/userspace/systemd-status-{verb}-hosta"))
    };
    // As in the original: five times gently, then with all means.
    units.systemctl("[ \"$1\" = start ] && { echo broken >&2; exit 5; }; exit 0");
    units.fails(&["systemd-trigger-extern", "r"], 2, "status 5 (broken)");
    let calls = units.calls();
    assert_eq!(calls.len(), 6);
    assert!(calls[..5].iter().all(|call| *call == start_stop("start")));
    assert_eq!(calls[5], "start -- app-r.service");
    assert_eq!(status("start").as_deref(), Some("5"));
    units.systemctl("exec sleep 1000");
    let begin = Instant::now();
    let output = tokio::task::block_in_place(|| {
        let mut command = units.command(&["systemd-trigger-extern", "r"]);
        command
            .env("MARS_SYSTEMD_TIMEOUT_MS", "300")
            .output()
            .unwrap()
    });
    assert_eq!(output.status.code(), Some(2));
    assert!(begin.elapsed() < PATIENCE);
    assert_eq!(status("start").as_deref(), Some("124"));
    assert_eq!(units.calls(), [start_stop("start")]);
    // A unit that does not stop keeps its file.
    units.systemctl("exit 1");
    units.ok(&["set-systemd-unit", "r", ""]);
    assert_eq!(units.names(), ["app-r.service"]);
    units.systemctl("exit 0");
    units.ok(&["systemd-trigger"]);
    assert_eq!(units.names(), [""; 0]);
    // No systemctl at all.
    std::fs::remove_file(units.dir.join("systemctl")).unwrap();
    units.ok(&["set-systemd-unit", "r", "APP"]);
    units.fails(&["systemd-trigger-extern", "r"], 2, "status 127");
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_and_installed_sections_are_obeyed() {
    let (_w, units) = world();
    units.template("always.target", "# ALWAYS_START\n# KEEP_RUNNING\n[Unit]\n");
    units.template("wanted.service", "[Install]\nWantedBy=multi-user.target\n");
    units.template(
        "never.service",
        "# ALWAYS_DISABLED\n[Install]\nWantedBy=multi-user.target\n",
    );
    units.ok(&["systemd-trigger"]);
    assert_eq!(
        units.names(),
        ["always.target", "never.service", "wanted.service"]
    );
    assert_eq!(
        units.calls(),
        [
            "daemon-reload",
            "start --no-block -- always.target",
            "enable --runtime -- wanted.service"
        ]
    );
    for name in ["always.target", "wanted.service"] {
        std::fs::remove_file(units.dir.join("etc/systemd-templates").join(name)).unwrap();
    }
    units.ok(&["systemd-trigger"]);
    assert_eq!(
        units.calls(),
        [
            "stop --job-mode=fail -- wanted.service",
            "disable --runtime -- wanted.service",
            "daemon-reload"
        ]
    );
    assert_eq!(units.names(), ["never.service"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_follower_acts_when_keys_change() {
    let (w, units) = world();
    let _follower = units.follower();
    // Another host sets the units.
    w.double.put(&[
        ("resource-r/systemd-start-unit", "app-r.service"),
        ("resource-r/systemd-stop-unit", "app-r.service"),
        ("resource-r/systemd-want", "hosta"),
    ]);
    let status = |verb: &str| {
        w.double
            .get(&format!("resource-r/userspace/systemd-status-{verb}-hosta"))
    };
    until("started", || status("start").as_deref() == Some("0")).await;
    assert_eq!(units.names(), ["app-r.service"]);
    let calls = units.calls();
    assert!(calls.contains(&start_stop("start")), "{calls:?}");
    // Rates and the like are none of its business: the next thing that it does is to stop.
    w.double.put(&[("resource-r/actual-hosta/rate", "1")]);
    w.double.put(&[("resource-r/systemd-want", "hostb")]);
    until("stopped", || status("stop").as_deref() == Some("0")).await;
    assert_eq!(units.calls(), [start_stop("stop")]);
    // The same wish again is a wish.
    w.double.put(&[("resource-r/systemd-want", "hostb")]);
    let again = || Path::exists(&units.dir.join("log"));
    until("stopped again", again).await;
    // The membership ends.
    w.double.put(&[("directory/r/member-hosta", "")]);
    until("removed", || units.names().is_empty()).await;
}

/// Both data planes and the systemd of hostb, which closes the device when its unit is not wanted there.
fn other_side(table: &Table) -> Vec<(String, String)> {
    let text = |key: &str| {
        table
            .text(&format!("resource-r/{key}"))
            .unwrap_or_default()
            .to_owned()
    };
    let on = |yes: bool| if yes { "1" } else { "0" }.to_owned();
    let open = text("systemd-want") == "hostb";
    let primary_b = text("primary") == "hostb" || open;
    let news = vec![
        ("actual-hostb/open-count".to_owned(), on(open)),
        ("actual-hostb/is-primary".to_owned(), on(primary_b)),
        (
            "actual-hosta/is-primary".to_owned(),
            on(text("primary") == "hosta"),
        ),
        (
            "actual-hosta/if-on".to_owned(),
            on(text("primary") == "hosta"),
        ),
    ];
    news.into_iter()
        .map(|(leaf, value)| (format!("resource-r/{leaf}"), value))
        .collect()
}

fn replicas(w: &World) {
    w.double.put(&[
        ("resource-r/size", "4096"),
        ("resource-r/primary", "hostb"),
        ("resource-r/userspace/last-primary", "hostb"),
        (
            "resource-r/version-000000001-hostb",
            "x,log-000000001-hostb,8:",
        ),
        ("resource-r/replay-hosta", "log-000000001-hostb,8,0"),
        ("resource-r/syncstatus-hosta", "4096"),
        ("resource-r/syncstatus-hostb", "4096"),
        ("resource-r/systemd-start-unit", "app-r.service"),
        ("resource-r/systemd-stop-unit", "app-r.service"),
        ("resource-r/systemd-want", "hostb"),
        ("resource-r/actual-hosta/is-primary", "0"),
        ("resource-r/actual-hosta/if-on", "0"),
        ("resource-r/actual-hosta/is-attached", "1"),
        ("resource-r/actual-hostb/is-primary", "1"),
        ("resource-r/actual-hostb/open-count", "1"),
        // Of an earlier attempt.
        ("resource-r/userspace/systemd-status-stop-hostb", "7"),
    ]);
    for name in ["attach", "connect", "sync", "allow-replay"] {
        w.double
            .put(&[(&format!("resource-r/todo-hosta/{name}"), "1")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_stops_the_units_there_and_starts_them_here() {
    let (w, units) = world();
    replicas(&w);
    w.double.play(|table| {
        let mut news = other_side(table);
        // Started here when the follower says so, after the role came.
        let started = table.text("resource-r/userspace/systemd-status-start-hosta");
        let wanted = table.text("resource-r/systemd-want") == Some("hosta");
        if started == Some("0")
            && wanted
            && table.text("resource-r/actual-hosta/if-on") == Some("1")
        {
            news.push((
                "resource-r/actual-hosta/open-count".to_owned(),
                "1".to_owned(),
            ));
        }
        news
    });
    let follower = units.follower();
    let seen = units.ok(&["primary", "r", "--verbose"]);
    let at = |what: &str| {
        seen.find(what)
            .unwrap_or_else(|| panic!("no {what}: {seen}"))
    };
    assert!(
        at("systemd-want -> hosta") < at("resource-r/primary -> hosta"),
        "{seen}"
    );
    assert!(!seen.contains("resource-r/primary -> (none)"), "{seen}");
    assert_eq!(
        w.double.get("resource-r/systemd-want").as_deref(),
        Some("hosta")
    );
    until("started", || units.calls().contains(&start_stop("start"))).await;
    drop(follower);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_whose_units_do_not_stop_is_taken_back() {
    let (w, units) = world();
    replicas(&w);
    let take_back = |w: &World| {
        assert_eq!(w.double.get("resource-r/primary").as_deref(), Some("hostb"));
        assert_eq!(
            w.double.get("resource-r/systemd-want").as_deref(),
            Some("hostb")
        );
    };
    // Nobody stops anything.
    units.fails(&["primary", "r", "--timeout=1"], 6, "to stop on hostb");
    take_back(&w);
    // Its systemd says that the unit failed.
    w.double.play(|table| {
        let asked = table.text("resource-r/systemd-want") == Some("hosta");
        let status = if asked { "3" } else { "0" };
        vec![(
            "resource-r/userspace/systemd-status-stop-hostb".to_owned(),
            status.to_owned(),
        )]
    });
    units.fails(&["primary", "r"], 2, "did not stop on hostb (status 3)");
    take_back(&w);
    // Without systemd the device in use is a reason, as ever.
    units.fails(
        &["--systemd-enable=0", "primary", "r"],
        2,
        "in use on hostb",
    );
    take_back(&w);
}

#[tokio::test(flavor = "multi_thread")]
async fn down_and_secondary_stop_the_units() {
    let (w, units) = world();
    units.ok(&["set-systemd-unit", "r", "APP"]);
    w.double.put(&[
        ("resource-r/actual-hosta/open-count", "1"),
        ("resource-r/actual-hosta/is-attached", "1"),
    ]);
    units.fails(
        &["--systemd-enable=0", "down", "r", "--timeout=1"],
        2,
        "in use on hosta",
    );
    // The data plane of hosta, whose device is closed when its unit was stopped.
    w.double.play(|table| {
        let text = |leaf: &str| {
            table
                .text(&format!("resource-r/{leaf}"))
                .unwrap_or_default()
                .to_owned()
        };
        let closed = text("stopped") == "1";
        let off = closed && (text("todo-hosta/attach") == "0" || text("primary") == "(none)");
        let on = |yes: bool| if yes { "1" } else { "0" }.to_owned();
        let mut news = vec![("resource-r/actual-hosta/open-count".to_owned(), on(!closed))];
        for flag in ["is-attached", "is-primary", "if-on"] {
            news.push((format!("resource-r/actual-hosta/{flag}"), on(!off)));
        }
        news
    });
    let stopped = |w: &World| {
        w.double.put(&[
            ("resource-r/stopped", "1"),
            ("resource-r/actual-hosta/open-count", "0"),
        ]);
    };
    let flags_off = |w: &World| {
        for flag in ["is-attached", "is-primary", "if-on"] {
            w.double
                .put(&[(&format!("resource-r/actual-hosta/{flag}"), "0")]);
        }
    };
    units.calls();
    let _follower = units.follower();
    let ended = {
        let mut command = units.command(&["down", "r"]);
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    until("stop", || units.calls().contains(&start_stop("stop"))).await;
    stopped(&w);
    flags_off(&w);
    let output = ended.await.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        w.double.get("resource-r/todo-hosta/attach").as_deref(),
        Some("0")
    );
    assert_eq!(
        w.double.get("resource-r/systemd-want").as_deref(),
        Some("hosta")
    );
    units.ok(&["secondary", "r"]);
    assert_eq!(
        w.double.get("resource-r/systemd-want").as_deref(),
        Some("(none)")
    );
    assert_eq!(
        w.double.get("resource-r/primary").as_deref(),
        Some("(none)")
    );
}
