//! A cluster of the original as it leaves its disks, logs and trees behind, made up for tests.

use mars_datapath_core::version::{LogEnd, LogName, chain_value};
use mars_lamport::Timestamp;
use mars_migrations::legacy_log::{Code, NewRecord, Writer};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of the device.
pub(crate) const SIZE: usize = 4 << 20;
/// Second at which the tree's stamps begin.
const EPOCH: u64 = 1_742_600_000;
const SECTOR: usize = 512;

/// A log of the original.
pub(crate) struct Log {
    pub(crate) number: u64,
    pub(crate) bytes: Vec<u8>,
    /// End of each record.
    pub(crate) ends: Vec<usize>,
    /// Offset and payload of each record.
    writes: Vec<(usize, Vec<u8>)>,
}

/// The history of one resource, all of it written by hosta.
pub(crate) struct History {
    base: Vec<u8>,
    pub(crate) logs: Vec<Log>,
}

/// Where a host stands: log number, and how many of its records are on the disk.
pub(crate) struct Stand {
    pub(crate) host: &'static str,
    pub(crate) log: u64,
    pub(crate) applied: usize,
    /// How many records of the newest log it has fetched.
    pub(crate) fetched: usize,
}

struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }
}

impl History {
    /// Logs with so many records each.
    pub(crate) fn new(seed: u64, records: &[usize]) -> Self {
        println!("seed {seed}");
        let mut random = Random(seed | 1);
        let base = (0..SIZE)
            .map(|_| u8::try_from(random.next(256)).unwrap())
            .collect();
        let mut logs = Vec::new();
        for (i, records) in records.iter().enumerate() {
            let number = i as u64 + 1;
            let mut writer = Writer::new();
            let mut log = Log {
                number,
                bytes: Vec::new(),
                ends: Vec::new(),
                writes: Vec::new(),
            };
            for n in 0..*records {
                let len = SECTOR * (1 + random.next(8));
                let offset = SECTOR * random.next((SIZE - len) / SECTOR);
                let payload: Vec<u8> = (0..len)
                    .map(|_| u8::try_from(random.next(256)).unwrap())
                    .collect();
                let record = writer.record(&NewRecord {
                    stamp: Timestamp::from_parts(EPOCH + number, u32::try_from(n).unwrap()),
                    code: Code::New,
                    offset: offset as u64,
                    payload: &payload,
                });
                log.bytes.extend_from_slice(&record.unwrap());
                log.ends.push(log.bytes.len());
                log.writes.push((offset, payload));
            }
            logs.push(log);
        }
        Self { base, logs }
    }

    /// The device after all of the logs before `log` and `applied` records of that.
    pub(crate) fn image(&self, log: u64, applied: usize) -> Vec<u8> {
        let mut image = self.base.clone();
        for one in self.logs.iter().filter(|one| one.number <= log) {
            let take = if one.number == log {
                applied
            } else {
                usize::MAX
            };
            for (offset, payload) in one.writes.iter().take(take) {
                image[*offset..*offset + payload.len()].copy_from_slice(payload);
            }
        }
        image
    }

    /// The device at the end of the history.
    pub(crate) fn last_image(&self) -> Vec<u8> {
        self.image(u64::MAX, 0)
    }

    /// Complete `version-*` value for so many bytes of a log.
    pub(crate) fn version(&self, log: u64, bytes: usize) -> String {
        let mut previous = String::new();
        for one in self.logs.iter().filter(|one| one.number <= log) {
            let position = if one.number == log {
                bytes
            } else {
                one.bytes.len()
            };
            let at = LogEnd {
                log: name(one.number),
                position: position as u64,
            };
            previous = chain_value(&at, &previous);
        }
        previous
    }

    /// Makes the tree of a host in `dir`, as it is after `secondary` everywhere, and its disk at `disk`.
    pub(crate) fn leave(&self, stand: &Stand, dir: &Path, disks: &[(&str, PathBuf)]) {
        let host = stand.host;
        let res = "resource-mydata";
        let mut tsv = String::new();
        let mut nanos = 0_u64;
        let mut link = |path: &str, value: &str| {
            nanos += 1;
            writeln!(tsv, "l\t{path}\t{value}\t{}.{nanos:09}", EPOCH + nanos).unwrap();
        };
        link("uuid", "hosta_1742540000.123456789");
        link(&format!("{res}/size"), &SIZE.to_string());
        link(&format!("{res}/primary"), "(none)");
        link(&format!("{res}/maxnr"), "2");
        for (member, disk) in disks {
            link(&format!("ips/ip-{member}"), "192.0.2.1");
            link(&format!("{res}/data-{member}"), disk.to_str().unwrap());
            link(&format!("{res}/device-{member}"), "mydata");
            link(&format!("{res}/syncstatus-{member}"), &SIZE.to_string());
            link(&format!("{res}/actsize-{member}"), &SIZE.to_string());
            link(&format!("{res}/actual-{member}/is-primary"), "0");
            for switch in ["attach", "connect", "allow-replay", "sync"] {
                // The original's `down`.
                link(&format!("{res}/todo-{member}/{switch}"), "0");
            }
        }
        // What the host says of itself; of the others it knows nothing in this tree.
        let newest = self.logs.last().unwrap();
        let visible = |log: &Log| match (log.number == newest.number, stand.fetched) {
            (true, 0) => 0,
            (true, n) => log.ends[n - 1],
            (false, _) => log.bytes.len(),
        };
        let current = self
            .logs
            .iter()
            .find(|log| log.number == stand.log)
            .unwrap();
        let applied = match stand.applied {
            0 => 0,
            n => current.ends[n - 1],
        };
        let dirty = visible(current) - applied;
        link(
            &format!("{res}/replay-{host}"),
            &format!("{},{applied},{dirty}", name(stand.log)),
        );
        for log in self.logs.iter().filter(|log| log.number <= stand.log) {
            let version = self.version(log.number, visible(log));
            link(&format!("{res}/version-{:09}-{host}", log.number), &version);
        }
        mars_migrations::testing::materialize(&tsv, dir).unwrap();
        for log in &self.logs {
            let path = dir.join(res).join(name(log.number).to_string());
            fs::write(path, &log.bytes[..visible(log)]).unwrap();
        }
        let (_, disk) = disks.iter().find(|(member, _)| *member == host).unwrap();
        fs::create_dir_all(disk.parent().unwrap()).unwrap();
        fs::write(disk, self.image(stand.log, stand.applied)).unwrap();
    }
}

/// Name of a log of hosta.
pub(crate) fn name(number: u64) -> LogName {
    LogName {
        number,
        origin: "hosta".parse().unwrap(),
    }
}
