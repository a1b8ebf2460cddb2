//! Random histories: `SIM_SEED=n` runs a single one, `SIM_SEEDS=n` more of them.

use mars_sim::{Scenario, run};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn random_histories_converge() {
    let one = number("SIM_SEED");
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => 1..number("SIM_SEEDS").unwrap_or(20) + 1,
    };
    let mut settled = Vec::new();
    for seed in seeds {
        let outcome = run(Scenario::new(seed)).unwrap_or_else(|broken| panic!("{broken}"));
        println!("seed {seed}: {outcome:?}");
        settled.push(outcome.settled_after);
    }
    settled.sort();
    println!("settled after: {settled:?}");
}

#[test]
fn the_same_seed_gives_the_same_history_packet_by_packet() {
    for seed in [3, 11] {
        let first = run(Scenario::new(seed)).unwrap();
        assert_eq!(run(Scenario::new(seed)), Ok(first.clone()), "seed {seed}");
        let other = run(Scenario::new(seed + 1)).unwrap();
        assert_ne!(first.trace, other.trace, "the trace tells histories apart");
    }
}

#[test]
fn a_node_that_merges_by_order_of_arrival_is_caught() {
    for seed in 1..=3 {
        let mut scenario = Scenario::new(seed);
        run(scenario).unwrap();
        scenario.broken_node = Some(1);
        let broken = run(scenario).unwrap_err();
        println!("{broken}");
        assert!(broken.contains("should be"), "{broken}");
    }
}
