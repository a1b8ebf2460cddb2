//! Disks on files and, where loop devices can be made, on block devices.

use std::path::{Path, PathBuf};
use std::process::Command;

use mars_datapath_io::{Disk, DiskError, InUse, Kind};

fn file_disk(dir: &Path, size: u64) -> PathBuf {
    let path = dir.join("disk");
    std::fs::File::create(&path).unwrap().set_len(size).unwrap();
    path
}

#[test]
fn a_file_serves_as_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::open(&file_disk(dir.path(), 1 << 20)).unwrap();
    assert_eq!((disk.kind(), disk.size()), (Kind::File, 1 << 20));
    disk.write_at(&[7; 10_000], 5000).unwrap();
    disk.zero(6000, 1000).unwrap();
    disk.discard(8192, 4096).unwrap();
    disk.discard(0, 0).unwrap();
    disk.flush().unwrap();
    let mut all = vec![1; 20_000];
    disk.read_at(&mut all, 0).unwrap();
    for (at, byte) in all.iter().enumerate() {
        let zeroed = (6000..7000).contains(&at) || (8192..12_288).contains(&at);
        let written = (5000..15_000).contains(&at) && !zeroed;
        assert_eq!(*byte, if written { 7 } else { 0 }, "{at}");
    }
    assert!(disk.write_at(&[0; 2], (1 << 20) - 1).is_err());
    assert!(disk.read_at(&mut [0; 2], u64::MAX).is_err());
    assert!(disk.zero(u64::MAX, 2).is_err());
    assert!(disk.discard(1 << 20, 1).is_err());
}

#[test]
fn one_disk_has_one_user() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_disk(dir.path(), 4096);
    let first = Disk::open(&path).unwrap();
    let second = Disk::open(&path).unwrap_err();
    assert!(
        matches!(
            second,
            DiskError::InUse {
                reason: InUse::Locked,
                ..
            }
        ),
        "{second}"
    );
    drop(first);
    assert!(Disk::open(&path).is_ok());
}

/// A child between fork and exec has all descriptors, the one of a disk that is closed at that moment too.
#[test]
fn a_child_that_starts_does_not_keep_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_disk(dir.path(), 4096);
    let children = std::thread::spawn(|| {
        for _ in 0..200 {
            Command::new("true").status().unwrap();
        }
    });
    while !children.is_finished() {
        drop(Disk::open(&path).unwrap());
    }
    children.join().unwrap();
}

#[test]
fn what_is_no_disk_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Disk::open(dir.path()), Err(DiskError::Kind(_))));
    assert!(matches!(
        Disk::open(Path::new("/dev/null")),
        Err(DiskError::Kind(_))
    ));
    assert!(matches!(
        Disk::open(&dir.path().join("none")),
        Err(DiskError::Open { .. })
    ));
}

/// A loop device on a file; detached with the test.
struct Loop(PathBuf);

impl Loop {
    fn new(file: &Path) -> Option<Self> {
        match Command::new("losetup")
            .args(["--find", "--show"])
            .arg(file)
            .output()
        {
            Ok(output) if output.status.success() => Some(Self(
                String::from_utf8(output.stdout).unwrap().trim().into(),
            )),
            other => {
                println!("skipped: no loop device can be made here: {other:?}");
                None
            }
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        drop(
            Command::new("losetup")
                .arg("--detach")
                .arg(&self.0)
                .output(),
        );
    }
}

#[test]
fn a_block_device_is_claimed_and_its_file_is_guarded() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_disk(dir.path(), 4 << 20);
    let Some(device) = Loop::new(&path) else {
        return;
    };
    let refused = Disk::open(&path).unwrap_err();
    let expected = InUse::Loop(device.0.clone());
    assert!(
        matches!(&refused, DiskError::InUse { reason, .. } if *reason == expected),
        "{refused}"
    );

    let disk = Disk::open(&device.0).unwrap();
    assert_eq!((disk.kind(), disk.size()), (Kind::Block, 4 << 20));
    let second = Disk::open(&device.0).unwrap_err();
    assert!(
        matches!(
            second,
            DiskError::InUse {
                reason: InUse::Claimed,
                ..
            }
        ),
        "{second}"
    );
    disk.write_at(&[7; 65_536], 0).unwrap();
    disk.zero(4096, 4096).unwrap();
    disk.discard(8192, 100).unwrap();
    disk.flush().unwrap();
    let mut all = vec![1; 65_536];
    disk.read_at(&mut all, 0).unwrap();
    for (at, byte) in all.iter().enumerate() {
        let zeroed = (4096..8292).contains(&at);
        assert_eq!(*byte, if zeroed { 0 } else { 7 }, "{at}");
    }
}

#[test]
fn a_mounted_device_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_disk(dir.path(), 8 << 20);
    let place = dir.path().join("mnt");
    std::fs::create_dir(&place).unwrap();
    let Some(device) = Loop::new(&path) else {
        return;
    };
    let run = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    if !run(Command::new("mkfs.ext4").arg("-q").arg(&device.0))
        || !run(Command::new("mount").arg(&device.0).arg(&place))
    {
        println!("skipped: no ext4 can be made and mounted here");
        return;
    }
    let refused = Disk::open(&device.0).unwrap_err();
    assert!(run(Command::new("umount").arg(&place)));
    let expected = InUse::Mounted(place.to_str().unwrap().into());
    assert!(
        matches!(&refused, DiskError::InUse { reason, .. } if *reason == expected),
        "{refused}"
    );
}
