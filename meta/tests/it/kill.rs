//! SIGKILL at a random moment: what was acknowledged is there, and no batch is torn.
//!
//! The test starts its own binary again as the writer that is killed.

use crate::support::{Draw, seed, set};
use mars_meta::{Meta, MetaConfig};
use mars_meta_model::View as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

const CHILD_PATH: &str = "MARS_META_KILL_CHILD";
const WIDTH: u64 = 20;
const ROUNDS: u64 = 12;

/// The victim: numbered batches over the same keys, each acknowledged by a line. Does nothing by itself.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD_PATH) else {
        return;
    };
    let meta = Meta::open(&MetaConfig::new(Path::new(&path))).unwrap();
    let mut number = meta.with_table(|table| {
        let last = table.text("userspace/last").unwrap_or("0");
        last.parse::<u64>().unwrap()
    });
    loop {
        number += 1;
        let mut batch = vec![set("userspace/last", &number.to_string())];
        for column in 0..WIDTH {
            batch.push(set(
                &format!("userspace/column-{column}"),
                &number.to_string(),
            ));
        }
        batch.push(set(&format!("userspace/row-{number}"), "there"));
        meta.blocking_apply(batch, false).unwrap();
        println!("ack {number}");
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn acknowledged_batches_survive_sigkill_and_none_is_torn() {
    let mut draw = Draw(seed("kill"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let mut acked = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child", "--nocapture"])
            .env(CHILD_PATH, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed after a random number of acknowledgements, plus a random delay into the work that follows.
        let mut left = draw.below(60);
        let delay = std::time::Duration::from_micros(draw.below(3000));
        let before = acked;
        for line in lines {
            let line = line.unwrap();
            let Some(number) = line.split("ack ").nth(1) else {
                continue;
            };
            acked = number.parse().unwrap();
            if left == 0 {
                std::thread::sleep(delay);
                child.kill().unwrap();
            }
            left = left.wrapping_sub(1);
        }
        child.wait().unwrap();
        assert!(acked > before, "round {round}: the child made progress");

        let meta = Meta::open(&MetaConfig::new(&path)).unwrap();
        let last: u64 = meta.with_table(|table| {
            let last = table.text("userspace/last").unwrap().to_owned();
            for column in 0..WIDTH {
                let text = table.text(&format!("userspace/column-{column}"));
                assert_eq!(text, Some(last.as_str()), "round {round}: a torn batch");
            }
            last.parse().unwrap()
        });
        assert!(
            last >= acked,
            "round {round}: acknowledged {acked}, found {last}"
        );
        meta.with_table(|table| {
            for number in 1..=last {
                let row = table.text(&format!("userspace/row-{number}"));
                assert_eq!(row, Some("there"), "round {round}: row {number} is lost");
            }
            let rows = table.scan("userspace/row-").count();
            assert_eq!(rows, usize::try_from(last).unwrap(), "round {round}");
        });
        println!("round {round}: acknowledged {acked}, found {last}");
        meta.blocking_close();
    }
}
