//! systemd units move with the role: real daemons and followers on both nodes, with a stand-in for systemd and the
//! application that it starts.

use crate::nbd::Client;
use crate::replicas::{RES, wait};
use crate::world::{World, marsadm};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// systemd of one node: `systemctl` waits until the application, a thread of this test, has opened or closed the device.
struct Systemd {
    dir: PathBuf,
    follower: Child,
    ends: Arc<AtomicBool>,
    application: Option<JoinHandle<()>>,
}

const TEMPLATE: &str = "# APP_START\n# APP_STOP\n[Service]\nExecStart=/bin/app @{res}\n";

fn executable(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

impl Systemd {
    fn start(w: &World, node: &str) -> Self {
        let dir = w.tmp.path().join(format!("systemd-{node}"));
        let templates = dir.join("etc/systemd-templates");
        std::fs::create_dir_all(&templates).unwrap();
        for path in [&templates, &dir.join("etc")] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let template = templates.join("app-@escvar{res}.service");
        std::fs::write(&template, TEMPLATE).unwrap();
        std::fs::set_permissions(&template, std::fs::Permissions::from_mode(0o644)).unwrap();
        let at = dir.display();
        executable(
            &dir.join("systemctl"),
            &format!(
                "#!/bin/sh\necho \"$*\" >> '{at}/log'\ncase $1 in\n\
                 start) : > '{at}/want'; until [ -e '{at}/up' ]; do sleep 0.05; done;;\n\
                 stop) rm -f '{at}/want'; while [ -e '{at}/up' ]; do sleep 0.05; done;;\nesac\n"
            ),
        );
        let ends = Arc::new(AtomicBool::new(false));
        let application = std::thread::spawn({
            let (dir, socket, ends) = (dir.clone(), w.nbd_socket(node), Arc::clone(&ends));
            move || application(&dir, &socket, &ends)
        });
        let follower = Self::command(w, node, &dir, &["systemd-trigger", "--follow"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            dir,
            follower,
            ends,
            application: Some(application),
        }
    }

    /// marsadm on a node, with its templates and its systemd.
    fn command(w: &World, node: &str, dir: &Path, words: &[&str]) -> Command {
        let mut command = marsadm();
        command
            .args(["sandbox", "exec", "--dir"])
            .arg(w.dir())
            .args([node, "--"])
            .args(words)
            .env("MARS_PATH", dir.join("etc"))
            .env("SYSTEMCTL", dir.join("systemctl"))
            .env("SYSTEMD_TARGET_DIR", dir.join("run"))
            .env("SYSTEMD_SYSTEM_DIRS", dir.join("none"))
            .stdin(Stdio::null());
        command
    }

    fn ok(&self, w: &World, node: &str, words: &[&str]) {
        let output = Self::command(w, node, &self.dir, words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{node}: {words:?}: {text}");
    }

    fn runs(&self) -> bool {
        self.dir.join("up").exists()
    }

    fn unit(&self) -> PathBuf {
        self.dir.join("run").join(format!("app-{RES}.service"))
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = self.follower.kill();
        let _ = self.follower.wait();
        self.ends.store(true, Ordering::Relaxed);
        if let Some(application) = self.application.take() {
            let _ = application.join();
        }
    }
}

/// Holds the device open while it is wanted.
fn application(dir: &Path, socket: &Path, ends: &AtomicBool) {
    let mut device: Option<Client> = None;
    while !ends.load(Ordering::Relaxed) {
        let wanted = dir.join("want").exists();
        if wanted && device.is_none() {
            device = Client::open(socket, RES).ok();
            if device.is_some() {
                std::fs::write(dir.join("up"), "").unwrap();
            }
        } else if !wanted && device.take().is_some() {
            std::fs::remove_file(dir.join("up")).unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_application_moves_with_the_role_and_stops_for_maintenance() {
    let w = World::replicated(2, "4M");
    let (a, b) = (Systemd::start(&w, "hosta"), Systemd::start(&w, "hostb"));
    a.ok(&w, "hosta", &["set-systemd-unit", RES, "APP"]);
    wait("it starts on hosta", || a.runs());
    wait("hostb has the unit, too", || b.unit().exists());
    assert!(!b.runs());

    // The role goes to hostb and back, each time with the application.
    b.ok(&w, "hostb", &["primary", RES, "--timeout", "60"]);
    assert!(b.runs() && !a.runs());
    w.reads("hosta", &format!("resource-{RES}/systemd-want"), "hostb");
    a.ok(&w, "hosta", &["primary", RES, "--timeout", "60"]);
    assert!(a.runs() && !b.runs());

    // Nowhere, and back.
    a.ok(
        &w,
        "hosta",
        &["set-systemd-want", RES, "(none)", "--timeout", "60"],
    );
    assert!(!a.runs());
    a.ok(
        &w,
        "hosta",
        &["set-systemd-want", RES, "hosta", "--timeout", "60"],
    );
    assert!(a.runs());

    // Without its metadata daemon everything stays as it is, and goes on behind it.
    w.must(&["kill", "hosta"]);
    w.must(&["start", "hosta"]);
    w.ok("hosta", "wait-resource mydata is-device --timeout 60");
    b.ok(&w, "hostb", &["systemd-trigger"]);

    // Unset on one host: gone from both.
    b.ok(&w, "hostb", &["set-systemd-unit", RES, ""]);
    wait("no unit is left", || {
        !a.unit().exists() && !b.unit().exists()
    });
    wait("nothing runs", || !a.runs() && !b.runs());
}
