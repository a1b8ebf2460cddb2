//! Every target over the committed corpus and some thousand mutations of it; and whether the harness notices anything.

mod decoders;

use std::sync::{Mutex, MutexGuard, PoisonError};

use mars_fuzz::{Campaign, TARGETS, Target, committed, observe, peak_of, seeds};

/// Memory is counted for the whole process, so only one test runs at a time.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Mutated inputs for each target.
const EXECS: u64 = 3000;
/// Another one in `MARS_FUZZ_SEED` tries something else.
const SEED: u64 = 1;

fn seed() -> u64 {
    let set = std::env::var("MARS_FUZZ_SEED").ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(SEED)
}

#[test]
fn every_seed_is_committed_and_accepted() {
    let _alone = alone();
    for target in TARGETS {
        let files = committed(target.name).unwrap();
        let made = seeds(target.name);
        assert!(!made.is_empty(), "{} has no seeds", target.name);
        for (name, bytes) in made {
            let held = files.iter().find(|(file, _)| *file == name);
            assert_eq!(
                held.map(|(_, held)| held),
                Some(&bytes),
                "{}/{name} changed: its format did; if that is wanted: cargo run -p mars-fuzz -- --write-corpus",
                target.name
            );
            let (accepted, _) = observe(target, &bytes).unwrap();
            assert!(accepted, "{}/{name} is refused", target.name);
        }
    }
}

#[test]
fn mutations_break_no_promise() {
    let _alone = alone();
    let seed = seed();
    for target in TARGETS {
        let corpus: Vec<Vec<u8>> = committed(target.name)
            .unwrap()
            .into_iter()
            .map(|(_, bytes)| bytes)
            .collect();
        let tally = Campaign::Execs(EXECS).run(target, &corpus, seed);
        if let Some(crash) = tally.crash {
            let hex: String = crash
                .input
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            panic!(
                "{} with seed {seed}, exec {}: {}\n{hex}",
                target.name, tally.execs, crash.reason
            );
        }
        // Not all stop at the first byte.
        assert!(
            tally.accepted > EXECS / 100,
            "{}: {} accepted",
            target.name,
            tally.accepted
        );
    }
}

/// Takes three bytes as a whole, and believes what the second one says.
fn faulty(data: &[u8]) -> bool {
    match data {
        [1, len, ..] => {
            let held = vec![1_u8; usize::from(*len) << 16];
            !held.is_empty()
        }
        [2, ..] => {
            assert!(data.len() != 3, "three bytes");
            true
        }
        _ => false,
    }
}

#[test]
fn a_faulty_decoder_is_caught() {
    let _alone = alone();
    let target = Target {
        name: "faulty",
        run: faulty,
        room: 64 << 10,
        per_byte: 64,
    };
    let greedy = Campaign::Execs(5000)
        .run(&target, &[vec![1, 0, 0, 0]], 1)
        .crash
        .unwrap();
    assert!(
        greedy.reason.contains("bytes of memory"),
        "{}",
        greedy.reason
    );
    let panics = Campaign::Execs(5000)
        .run(&target, &[vec![2, 0, 0, 0, 0]], 1)
        .crash
        .unwrap();
    assert!(
        panics.reason.contains("three bytes") || panics.reason.contains("memory"),
        "{}",
        panics.reason
    );
    let again = Campaign::Execs(5000)
        .run(&target, &[vec![2, 0, 0, 0, 0]], 1)
        .crash;
    assert_eq!(again, Some(panics), "the same seed finds the same");
}

#[test]
fn memory_is_measured() {
    let _alone = alone();
    let (len, peak) = peak_of(|| vec![1_u8; 1 << 20].len());
    assert_eq!(len, 1 << 20);
    assert!((1 << 20..1 << 21).contains(&peak), "{peak}");
}
