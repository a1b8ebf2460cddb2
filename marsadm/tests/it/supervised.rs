//! The real daemons under a stand-in for systemd, and the unit files that they are shipped with.

use crate::World;
use mars_meta_api::{Client, Request, Response};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon that is killed at the end of the test.
struct Daemon {
    child: Child,
    notify: UnixDatagram,
    dir: tempfile::TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    fn start(program: &str, watchdog: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let config = format!(
            "host = \"hosta\"\nstate_dir = {:?}\nsocket = {:?}\n[meta]\nlisten = \"127.0.0.1:0\"\n\
             advertise = \"127.0.0.1:1\"\n[data]\nlisten = \"127.0.0.1:0\"\nadvertise = \"127.0.0.1:1\"\n\
             nbd_socket = {:?}\n",
            at("state"),
            at("marsd.sock"),
            at("nbd.sock")
        );
        std::fs::write(at("mars.toml"), config).unwrap();
        let notify = UnixDatagram::bind(at("notify")).unwrap();
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        let child = Command::new(program)
            .arg("--config")
            .arg(at("mars.toml"))
            .env("NOTIFY_SOCKET", at("notify"))
            .env("WATCHDOG_USEC", watchdog.as_micros().to_string())
            .env_remove("WATCHDOG_PID")
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, notify, dir }
    }

    /// The next thing that systemd is told.
    fn told(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self
            .notify
            .recv(&mut buffer)
            .expect("systemd was told nothing");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Reads until `what` is told; the rest in between is given back.
    fn until(&self, what: &str) -> Vec<String> {
        let (mut before, begin) = (Vec::new(), Instant::now());
        loop {
            let told = self.told();
            if told.lines().any(|line| line == what) {
                return before;
            }
            before.push(told);
            assert!(begin.elapsed() < PATIENCE, "no {what}: {before:?}");
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Forgets what was told so far.
    fn drain(&self) {
        self.notify.set_nonblocking(true).unwrap();
        while self.notify.recv(&mut [0; 4096]).is_ok() {}
        self.notify.set_nonblocking(false).unwrap();
    }

    async fn answers(&self) -> bool {
        let socket = self.dir.path().join("marsd.sock");
        let Ok(client) = Client::connect(&socket).await else {
            return false;
        };
        matches!(client.call(Request::Node).await, Ok(Response::Node(_)))
    }
}

#[tokio::test]
async fn marsd_is_ready_when_it_answers_and_gives_signs_while_it_works() {
    let watchdog = Duration::from_millis(1500);
    let daemon = Daemon::start(env!("CARGO_BIN_EXE_marsd"), watchdog);
    let before = daemon.until("READY=1");
    // The local API serves without a second try.
    assert!(
        daemon.answers().await,
        "ready, but the local API does not answer"
    );
    assert_eq!(before, [""; 0], "signs before it was ready");
    for _ in 0..3 {
        daemon.until("WATCHDOG=1");
    }
    // A process that hangs gives none: there is nothing else that would.
    daemon.signal("-STOP");
    daemon.drain();
    daemon.notify.set_read_timeout(Some(2 * watchdog)).unwrap();
    let silent = daemon.notify.recv(&mut [0; 4096]);
    assert!(silent.is_err(), "a stopped process gave a sign");
    daemon.signal("-CONT");
    daemon.notify.set_read_timeout(Some(PATIENCE)).unwrap();
    daemon.until("WATCHDOG=1");
    daemon.signal("-TERM");
    daemon.until("STOPPING=1");
}

#[test]
fn the_data_plane_is_ready_without_marsd_and_says_so() {
    let daemon = Daemon::start(
        env!("CARGO_BIN_EXE_mars-datapath"),
        Duration::from_millis(1500),
    );
    daemon.until("READY=1");
    assert!(std::os::unix::net::UnixStream::connect(daemon.dir.path().join("nbd.sock")).is_ok());
    let mut told = String::new();
    for _ in 0..3 {
        told += &daemon.until("WATCHDOG=1").concat();
    }
    assert!(
        told.contains("STATUS=0 resources run; waiting for marsd"),
        "{told}"
    );
    daemon.signal("-TERM");
    daemon.until("STOPPING=1");
}

fn dist() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/systemd")
}

/// What `systemd-analyze verify` says of unit files, with programs of this machine in the place of ours; `None` if the
/// tool is not here.
fn verify(files: &[(String, String)]) -> Option<(bool, String)> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let text = text
            .lines()
            .map(|line| match line.split_once('=') {
                Some((key, command)) if key.starts_with("Exec") => {
                    let rest = command.split_once(' ').map_or("", |(_, rest)| rest);
                    format!("{key}=/bin/true {rest}\n")
                }
                _ => format!("{line}\n"),
            })
            .collect::<String>();
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let paths = files.iter().map(|(name, _)| dir.path().join(name));
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--generators=no"])
        .args(paths)
        .output();
    match output {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            Some((output.status.success(), text))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("systemd-analyze: {error}"),
    }
}

#[test]
fn the_unit_files_are_good() {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dist()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|suffix| suffix == "service") {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    assert_eq!(files.len(), 3);
    let datapath = files
        .iter()
        .find(|(name, _)| name == "mars-datapath.service")
        .unwrap();
    for line in datapath.1.lines() {
        let tied = ["Requires=", "BindsTo=", "PartOf=", "Requisite="];
        assert!(!tied.iter().any(|word| line.starts_with(word)), "{line}");
    }
    match verify(&files) {
        None => println!("SKIPPED: systemd-analyze is not installed"),
        Some((good, text)) => {
            assert!(good, "{text}");
            assert!(
                !text.contains("Unknown") && !text.contains("ignoring"),
                "{text}"
            );
        }
    }
    let bad = vec![(
        "bad.service".to_owned(),
        "[Service]\nType=nonsense\n".to_owned(),
    )];
    if let Some((good, _)) = verify(&bad) {
        assert!(!good, "the check cannot fail");
    }
}

/// Tenths that `systemd-analyze security` may find exposed: 10.0 is all.
const EXPOSED_MAX: &str = "30";

#[test]
fn the_services_are_hardened() {
    let analyze = |path: &Path| {
        Command::new("systemd-analyze")
            .args(["security", "--offline=yes", "--no-pager"])
            .args(["--threshold", EXPOSED_MAX])
            .arg(path)
            .output()
    };
    let dir = tempfile::tempdir().unwrap();
    let open = dir.path().join("open.service");
    std::fs::write(&open, "[Service]\nExecStart=/bin/true\n").unwrap();
    match analyze(&open) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("SKIPPED: systemd-analyze is not installed");
            return;
        }
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("offline") => {
            println!("SKIPPED: systemd-analyze is older than 250: it does not judge files");
            return;
        }
        output => assert!(!output.unwrap().status.success(), "the check cannot fail"),
    }
    for name in ["marsd", "mars-datapath", "mars-systemd"] {
        let output = analyze(&dist().join(format!("{name}.service"))).unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_templates_give_good_units() {
    let w = World::new(&["hosta"]);
    let units = crate::units::Units::new(&w);
    for entry in std::fs::read_dir(dist().join("templates")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        units.template(&name, &std::fs::read_to_string(&path).unwrap());
    }
    w.double.put(&[
        ("directory/my-data/member-hosta", "storage"),
        ("resource-my-data/primary", "hosta"),
        ("resource-my-data/userspace/nbd-hosta", "3"),
    ]);
    units.ok(&["set-systemd-unit", "my-data", "APP"]);
    assert_eq!(
        w.double
            .get("resource-my-data/systemd-start-unit")
            .as_deref(),
        Some("mars-app-my\\x2ddata.service")
    );
    assert_eq!(
        w.double
            .get("resource-my-data/systemd-stop-unit")
            .as_deref(),
        Some("mars-nbd-my\\x2ddata.service")
    );
    let made = units.made();
    let names: Vec<&str> = made.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "mars-app-my\\x2ddata.service",
            "mars-nbd-my\\x2ddata.service",
            "mnt-mars-my\\x2ddata.mount"
        ]
    );
    assert!(
        made[1].1.contains("nbd.sock -N my-data /dev/nbd3\n"),
        "{}",
        made[1].1
    );
    assert!(made[2].1.contains("\nWhat=/dev/nbd3\n"), "{}", made[2].1);
    match verify(&made) {
        None => println!("SKIPPED: systemd-analyze is not installed"),
        Some((good, text)) => assert!(good, "{text}"),
    }
}
