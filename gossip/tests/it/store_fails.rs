//! A daemon whose store takes no writes any more.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use crate::node::Node;
use mars_gossip::{DriverError, RunError};
use mars_meta_model::{Key, Value};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A file system of its own that goes away with this.
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: PathBuf) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let said = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
            .arg(&at)
            .output();
        said.is_ok_and(|said| said.status.success())
            .then(|| Self(at))
    }

    fn fill(at: &Path) {
        let mut file = File::create(at.join("ballast")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Nothing but the failed write of a local program touches the store: there is no gossip that would notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_can_write_no_more_tells_the_writer_and_ends_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::new(dir.path().join("state")) else {
        println!("SKIPPED: nothing can be mounted here");
        return;
    };
    let node = Node::start_in("hosta", dir).await;
    Mounted::fill(&disk.0);
    let text = "x".repeat(3000);
    let mut at = 0;
    let refused = loop {
        assert!(at < 20_000, "the disk was never full");
        let key = Key::parse(&format!("userspace/k{at}")).unwrap();
        let change = (key, Some(Value::text(&text).unwrap()));
        if let Err(error) = node.client.apply([change], false).await {
            break error.to_string();
        }
        at += 1;
    };
    let since = Instant::now();
    assert!(refused.contains("metadata store failed"), "{refused}");
    let limit = Duration::from_secs(10);
    let (ended, _dir) = timeout(limit, node.ended()).await.unwrap();
    let ended = ended.unwrap_err();
    assert!(
        matches!(ended, RunError::Driver(DriverError::Store(_))),
        "{ended}"
    );
    println!("ended {:?} after the failure", since.elapsed());
    drop(disk);
}
