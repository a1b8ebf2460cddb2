//! Every rule finds the fault that it is there for: a healthy world keeps it, the same history with a fault in the code
//! of a node breaks it.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests; what was found is shown"
)]

use mars_meta_model::testing::entry;
use mars_sim::bench::NETWORK;
use mars_sim::invariants::Rules;
use mars_sim::{Action, LinkFaults, Mutation, Scenario, World, change, in_virtual_time, run};
use std::time::Duration;

/// Seeds that are tried until the fault shows.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=8;

fn scenario(seed: u64, rule: &'static str, actions: &[(Action, u32)]) -> Scenario {
    let mut scenario = Scenario::with_nodes(seed, 4);
    scenario.only = Some(rule);
    scenario.steps = 120;
    scenario.pause = Duration::from_millis(800);
    scenario.faults = LinkFaults::default();
    scenario.skew = Duration::from_secs(1);
    scenario.keys = 8;
    scenario.weights = vec![
        (Action::Write, 100),
        (Action::Heal, 10),
        (Action::Start, 10),
    ];
    for (action, weight) in actions {
        scenario.set_weight(*action, *weight);
    }
    scenario
}

/// Plays histories with and without the fault, on one node or on all.
fn caught(rule: &'static str, mutation: Mutation, on: Option<usize>, actions: &[(Action, u32)]) {
    for seed in SEEDS {
        let mut scenario = scenario(seed, rule, actions);
        run(&scenario).unwrap_or_else(|broken| panic!("without a fault: {broken}"));
        scenario.mutation = Some((mutation, on));
        if let Err(broken) = run(&scenario) {
            println!("{broken}");
            assert!(broken.contains(&format!(": {rule}: ")), "{broken}");
            return;
        }
    }
    panic!("{rule} does not find {mutation:?}");
}

/// The rules are those of the folder, each is broken by a test of this file, and each fault is used by one.
#[test]
fn all_rules_have_a_test() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/invariants");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let mut names = Rules::new(None).names();
    names.sort_unstable();
    assert_eq!(
        names, files,
        "a rule that is not asked, or not named as its file"
    );
    let squeeze = |text: &str| -> String { text.split_whitespace().collect() };
    let tests = squeeze(include_str!("broken.rs"));
    for name in names {
        let played = tests.contains(&format!("caught(\"{name}\""));
        let built = tests.contains(&format!("Rules::new(Some(\"{name}\"))"));
        let staged = tests.contains(&format!("scenario(seed,\"{name}\""));
        assert!(played || built || staged, "no test breaks the rule {name}");
    }
    let (_, faults) = include_str!("../../src/mutation.rs")
        .split_once("pub enum Mutation {")
        .unwrap();
    let (faults, _) = faults.split_once("\n}").unwrap();
    let faults: Vec<&str> = faults
        .lines()
        .filter_map(|line| line.trim().strip_suffix(','))
        .filter(|word| word.chars().all(char::is_alphanumeric))
        .collect();
    assert!(faults.len() > files.len(), "{faults:?}");
    for fault in faults {
        let used = tests.contains(&format!("Mutation::{fault}"));
        assert!(used, "no test uses the fault {fault}");
    }
}

#[test]
fn a_task_that_panics_is_found() {
    caught("alive", Mutation::Panics, Some(1), &[]);
}

/// An observation is not stored: after a crash only the bound on disk tells how far the clock had come, if the system
/// clock was set back meanwhile.
fn stamps_over_a_restart(mutation: Mutation) -> Result<(), String> {
    in_virtual_time(async {
        let (mut world, mut rules) = (World::new(1, 3, NETWORK, 0), Rules::new(Some("stamps")));
        let net = world.net.clone();
        world.journal.switch_on();
        world.nodes[0].mutation = mutation;
        world.start_all();
        for _ in 0..2 {
            world.write(0, vec![change("actual-hosta/seen", Some("1"))]);
            rules.step(&world)?;
            world.pass(Duration::from_secs(5)).await;
            world.nodes[0].crash(&net);
            world.nodes[0].let_clock_jump(-30_000_000_000);
            world.start_all();
        }
        rules.step(&world)
    })
}

#[test]
fn a_clock_without_its_bound_is_found() {
    assert_eq!(stamps_over_a_restart(Mutation::None), Ok(()));
    let broken = stamps_over_a_restart(Mutation::ForgetsCeiling).unwrap_err();
    assert!(broken.contains("stamps: hosta issued"), "{broken}");
}

#[test]
fn tombstones_thrown_away_at_once_are_found() {
    let actions = [(Action::Isolate, 10), (Action::Crash, 5)];
    caught(
        "no_resurrection",
        Mutation::ForgetsTombstones,
        None,
        &actions,
    );
}

#[test]
fn answers_before_the_data_is_durable_are_found() {
    let actions = [(Action::Isolate, 10), (Action::Crash, 10)];
    caught("no_loss", Mutation::AnswersTooEarly, Some(1), &actions);
}

#[test]
fn stamps_from_the_far_future_are_found() {
    for seed in SEEDS {
        let mut scenario = scenario(seed, "drift_bound", &[(Action::Jump, 10)]);
        scenario.jump = Duration::from_secs(600);
        run(&scenario).unwrap();
        scenario.mutation = Some((Mutation::TakesAnyStamp, Some(1)));
        if let Err(broken) = run(&scenario) {
            assert!(broken.contains("drift_bound: hostb took"), "{broken}");
            return;
        }
    }
    panic!("not found");
}

#[test]
fn what_is_written_in_the_name_of_others_is_taken_by_nobody_and_would_be_found() {
    let mut scenario = scenario(1, "owners", &[]);
    scenario.mutation = Some((Mutation::WritesForeignKeys, Some(2)));
    run(&scenario).unwrap_or_else(|broken| panic!("healthy receivers: {broken}"));
    // Past the gossip that refuses it.
    in_virtual_time(async {
        let (mut world, mut rules) = (World::new(1, 3, NETWORK, 0), Rules::new(Some("owners")));
        world.journal.switch_on();
        world.start_all();
        let mut foreign = entry("defaults-hostb/k", Some("1"), 5, 3);
        foreign.forced = true;
        let store = world.nodes[0].store().unwrap().clone();
        store.merge_now(vec![foreign.clone()]).unwrap();
        rules.step(&world).unwrap();
        foreign.forced = false;
        foreign.stamp = foreign.stamp.plus_nanos(1);
        store.merge_now(vec![foreign]).unwrap();
        let broken = rules.step(&world).unwrap_err();
        assert!(broken.contains("owners: hosta took"), "{broken}");
    });
}

#[test]
fn a_door_that_takes_foreign_keys_is_found() {
    caught("owners", Mutation::TakesForeignKeys, None, &[]);
}

#[test]
fn removed_nodes_that_come_back_are_found() {
    let actions = [(Action::Expel, 10), (Action::MoveRemoved, 10)];
    caught(
        "removed_stays_out",
        Mutation::ForgetsRemovals,
        None,
        &actions,
    );
}

/// Eight keys are written four hundred times, faster than the link carries them.
fn changes_for_a_slow_link(mutation: Mutation) -> Result<(), String> {
    in_virtual_time(async {
        let rule = Rules::new(Some("bounded_queues"));
        let (mut world, mut rules) = (World::new(1, 2, NETWORK, 0), rule);
        let narrow = LinkFaults {
            bandwidth: Some(100_000),
            ..LinkFaults::default()
        };
        world.net.set_quality(NETWORK, narrow);
        world.nodes[0].mutation = mutation;
        world.start_all();
        world.pass(Duration::from_secs(20)).await;
        let value = "x".repeat(3000);
        for round in 0..400 {
            let key = format!("userspace/k{}", round % 8);
            world.write(0, vec![change(&key, Some(&value))]);
            world.pass(Duration::from_millis(2)).await;
            rules.step(&world)?;
        }
        Ok(())
    })
}

#[test]
fn queues_that_hold_a_key_more_than_once_are_found() {
    assert_eq!(changes_for_a_slow_link(Mutation::None), Ok(()));
    let broken = changes_for_a_slow_link(Mutation::NoCoalescing).unwrap_err();
    assert!(broken.contains("keys for a peer"), "{broken}");
}

#[test]
fn entries_of_foreign_resources_are_found() {
    caught(
        "scopes",
        Mutation::KeepsEverything,
        None,
        &[(Action::Crash, 5)],
    );
}

#[test]
fn a_queue_without_an_end_is_found() {
    let actions = [(Action::Burst, 10)];
    caught("bounded_queues", Mutation::UnboundedFeed, Some(1), &actions);
}

#[test]
fn merging_by_order_of_arrival_is_found() {
    caught("equal_maps", Mutation::ArrivalOrder, Some(1), &[]);
}

#[test]
fn fingerprints_that_miss_a_change_are_found() {
    caught("equal_maps", Mutation::LosesReports, Some(1), &[]);
}

#[test]
fn repairs_without_an_end_are_found() {
    caught("idle_traffic", Mutation::NeverApplies, Some(1), &[]);
}
