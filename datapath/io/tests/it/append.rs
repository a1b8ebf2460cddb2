//! Both backends keep the same promises.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mars_datapath_io::limits::MAX_IN_FLIGHT;
use mars_datapath_io::{AppendError, AppendFile, Backend, Completion, available, open_append_on};

/// The backends of this machine; says so if one is missing.
fn backends() -> Vec<Backend> {
    match available() {
        Ok(()) => vec![Backend::Ring, Backend::Worker],
        Err(reason) => {
            println!("only the worker is tested: {reason}");
            vec![Backend::Worker]
        }
    }
}

fn create(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .unwrap()
}

/// Waits until nothing is under way; completions in order of arrival.
fn settle(file: &mut dyn AppendFile) -> Vec<Completion> {
    let mut all = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while file.in_flight() > 0 {
        assert!(Instant::now() < deadline, "no completion within a minute");
        file.poll_completions(Duration::from_secs(1), &mut all)
            .unwrap();
    }
    all
}

fn only(file: &mut dyn AppendFile) -> Result<(), AppendError> {
    let mut all = settle(file);
    assert_eq!(all.len(), 1);
    all.remove(0).result
}

#[test]
fn writes_and_syncs_complete_by_token() {
    for backend in backends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut file = open_append_on(create(&path), backend).unwrap();
        assert_eq!(file.backend(), backend);
        let mut expected = Vec::new();
        for token in 0..20_u8 {
            let parts = vec![
                Bytes::from(vec![token; 64]),
                Bytes::new(),
                Bytes::from(vec![token + 100; 1000]),
            ];
            file.submit_write(u64::from(token), expected.len() as u64, parts.clone())
                .unwrap();
            expected.extend(parts.concat());
        }
        let mut tokens: Vec<_> = settle(&mut *file)
            .into_iter()
            .map(|done| done.result.map(|()| done.token).unwrap())
            .collect();
        tokens.sort_unstable();
        assert_eq!(tokens, (0..20).collect::<Vec<_>>(), "{backend:?}");
        file.submit_sync(99).unwrap();
        assert!(only(&mut *file).is_ok());
        assert_eq!(std::fs::read(&path).unwrap(), expected);
    }
}

#[test]
fn more_buffers_than_one_call_takes_are_all_written() {
    for backend in backends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut file = open_append_on(create(&path), backend).unwrap();
        let parts: Vec<_> = (0..5000_u32)
            .map(|n| Bytes::from(n.to_le_bytes().to_vec()))
            .collect();
        file.submit_write(1, 10, parts.clone()).unwrap();
        assert!(only(&mut *file).is_ok());
        assert_eq!(
            std::fs::read(&path).unwrap()[10..],
            parts.concat(),
            "{backend:?}"
        );
    }
}

#[test]
fn an_empty_write_completes_and_an_idle_wait_returns() {
    for backend in backends() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = open_append_on(create(&dir.path().join("log")), backend).unwrap();
        let mut none = Vec::new();
        file.poll_completions(Duration::from_secs(600), &mut none)
            .unwrap();
        assert!(none.is_empty());
        file.submit_write(1, 0, vec![]).unwrap();
        assert!(only(&mut *file).is_ok());
    }
}

#[test]
fn the_queue_is_bounded() {
    for backend in backends() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = open_append_on(create(&dir.path().join("log")), backend).unwrap();
        for token in 0..MAX_IN_FLIGHT as u64 {
            file.submit_write(token, token, vec![Bytes::from_static(b"x")])
                .unwrap();
        }
        let refused = file.submit_write(0, 0, vec![Bytes::from_static(b"x")]);
        assert!(
            matches!(refused, Err(AppendError::Busy)),
            "{backend:?} {refused:?}"
        );
        assert_eq!(settle(&mut *file).len(), MAX_IN_FLIGHT);
        file.submit_sync(0).unwrap();
        assert!(only(&mut *file).is_ok());
    }
}

#[test]
fn dropping_waits_for_what_is_under_way() {
    for backend in backends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut file = open_append_on(create(&path), backend).unwrap();
        for token in 0..16_u64 {
            file.submit_write(token, token << 20, vec![Bytes::from(vec![7; 1 << 20])])
                .unwrap();
        }
        drop(file);
        assert_eq!(
            std::fs::read(&path).unwrap(),
            vec![7; 16 << 20],
            "{backend:?}"
        );
    }
}

#[test]
fn the_descriptor_becomes_readable() {
    for backend in backends() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = open_append_on(create(&dir.path().join("log")), backend).unwrap();
        file.submit_write(5, 0, vec![Bytes::from_static(b"x")])
            .unwrap();
        let fd = file.ready_fd();
        let mut fds = [rustix::event::PollFd::new(
            &fd,
            rustix::event::PollFlags::IN,
        )];
        let minute = rustix::event::Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        assert_eq!(
            rustix::event::poll(&mut fds, Some(&minute)).unwrap(),
            1,
            "{backend:?}"
        );
        let mut done = Vec::new();
        file.poll_completions(Duration::ZERO, &mut done).unwrap();
        assert_eq!(done.len(), 1, "{backend:?}");
    }
}

#[test]
fn a_failed_sync_is_reported_once_and_poisons() {
    for backend in backends() {
        // A device that takes writes and has no fsync.
        let null = OpenOptions::new().write(true).open("/dev/null").unwrap();
        let mut file = open_append_on(null, backend).unwrap();
        file.submit_write(1, 0, vec![Bytes::from_static(b"x")])
            .unwrap();
        assert!(only(&mut *file).is_ok());
        file.submit_sync(2).unwrap();
        let failed = only(&mut *file);
        assert!(
            matches!(failed, Err(AppendError::Failed(_))),
            "{backend:?} {failed:?}"
        );
        assert!(
            matches!(file.submit_sync(3), Err(AppendError::Poisoned)),
            "{backend:?}"
        );
        let write = file.submit_write(4, 0, vec![Bytes::from_static(b"x")]);
        assert!(matches!(write, Err(AppendError::Poisoned)), "{backend:?}");
        assert_eq!(file.in_flight(), 0);
    }
}

#[test]
fn a_failed_write_poisons() {
    for backend in backends() {
        let read_only = File::open("/dev/zero").unwrap();
        let mut file = open_append_on(read_only, backend).unwrap();
        file.submit_write(1, 0, vec![Bytes::from_static(b"x")])
            .unwrap();
        assert!(
            matches!(only(&mut *file), Err(AppendError::Failed(_))),
            "{backend:?}"
        );
        assert!(
            matches!(file.submit_sync(2), Err(AppendError::Poisoned)),
            "{backend:?}"
        );
    }
}

#[test]
fn a_full_device_is_told_from_a_broken_one() {
    for backend in backends() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut file = open_append_on(full, backend).unwrap();
        for token in 0..2 {
            file.submit_write(token, 0, vec![Bytes::from_static(b"x")])
                .unwrap();
            assert!(
                matches!(only(&mut *file), Err(AppendError::NoSpace(_))),
                "{backend:?}"
            );
        }
    }
}

/// A small filesystem that is unmounted with the test.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(dir.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(dir)),
            other => {
                println!("skipped: a tmpfs cannot be mounted here: {other:?}");
                None
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0.path()).output());
    }
}

#[test]
fn a_short_write_at_the_end_of_the_space_is_an_error_and_the_file_goes_on() {
    for backend in backends() {
        let Some(fs) = Tmpfs::new() else { return };
        let path = fs.0.path().join("log");
        let space = mars_datapath_io::free_space(fs.0.path()).unwrap();
        assert_eq!(space.total, 1 << 20);
        let mut file = open_append_on(create(&path), backend).unwrap();
        file.submit_write(1, 0, vec![Bytes::from(vec![7; 3 << 20])])
            .unwrap();
        let result = only(&mut *file);
        assert!(
            matches!(result, Err(AppendError::NoSpace(_))),
            "{backend:?} {result:?}"
        );
        // A part of it is there: the write was cut short first.
        assert!(std::fs::metadata(&path).unwrap().len() > 0);
        file.submit_write(2, 0, vec![Bytes::from(vec![8; 4096])])
            .unwrap();
        assert!(only(&mut *file).is_ok());
        file.submit_sync(3).unwrap();
        assert!(only(&mut *file).is_ok(), "{backend:?}");
    }
}
