//! The histories that are played: a few thousand in every test run, any number by `cargo xtask gcmodel`.

use crate::gcmodel::{
    Dangers, Found, Rules, late_deletion, play, restored_from_before_an_epoch, two_timelines,
};
use std::io::Write as _;

const fn dangers(restore: bool, park: bool, members: bool, epochs: bool) -> Dangers {
    Dangers {
        restore,
        park,
        members,
        epochs,
    }
}

const ALL: [Dangers; 9] = [
    dangers(false, false, false, false),
    dangers(true, false, false, false),
    dangers(false, true, false, false),
    dangers(false, false, true, false),
    dangers(true, true, true, false),
    dangers(false, false, false, true),
    dangers(true, false, false, true),
    dangers(false, false, true, true),
    dangers(true, true, true, true),
];

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Sums over histories, and the first bad seed.
fn campaign(from: u64, count: u64, rules: Rules, dangers: Dangers) -> (Found, Option<u64>) {
    let (mut sum, mut bad) = (Found::default(), None);
    for seed in from..from + count {
        let found = play(seed, rules, dangers, false);
        // Restoring all who knew of a deletion makes a timeline without it; two such timelines contradict each other.
        // So an administrator has to decide; and who was restored may not be let in by those that it is to be equal with.
        // Without backups a contradiction is one for a while only: some node still has the late deletion.
        let decided = !dangers.restore || found.undecided == 0;
        let wrong = decided && (found.resurrected > 0 || found.diverged > 0)
            || !dangers.restore && found.apart > 0;
        // Nothing may be lost where nobody was restored, parked or late.
        let calm = !(dangers.restore || dangers.park || dangers.members);
        // No node writes below its floor, nor below what it has promised in its name.
        let rash = found.below_own > 0 || (!dangers.restore && found.broken > 0);
        if bad.is_none() && (wrong || rash || (calm && found.lost > 0)) {
            bad = Some(seed);
        }
        sum.resurrected += found.resurrected.min(1);
        sum.lost += found.lost.min(1);
        sum.diverged += found.diverged.min(1);
        sum.apart += found.apart.min(1);
        sum.contradictions += found.contradictions.min(1);
        sum.undecided += found.undecided.min(1);
        sum.purged += found.purged;
        sum.dropped += found.dropped;
        sum.refused += found.refused;
        sum.cuts += found.cuts;
        sum.parked += found.parked;
        sum.joined += found.joined;
        sum.half_way += found.half_way;
        sum.epochs += found.epochs;
        sum.poisoned += found.poisoned;
        sum.purged_over += found.purged_over;
        sum.ahead += found.ahead;
        sum.early += found.early;
        sum.skipped += found.skipped;
        sum.below_own += found.below_own.min(1);
        sum.broken += found.broken;
        sum.gave_way += found.gave_way;
        sum.forgot += found.forgot;
        sum.late += found.late;
    }
    say(&format!(
        "{rules:?} {dangers:?}\n   seeds {from}..{}: {sum:?}, first bad: {bad:?}",
        from + count
    ));
    (sum, bad)
}

fn slice(dangers: Dangers) {
    let (sum, bad) = campaign(0, 300, Rules::Right, dangers);
    assert_eq!(
        bad, None,
        "GC_TRACE=SEED,NUMBER tells it: {dangers:?}: {sum:?}"
    );
    let least = if dangers.epochs { 200 } else { 300 };
    assert!(
        sum.purged > least && sum.cuts > least,
        "nothing was tried: {sum:?}"
    );
    let later = sum.epochs > 500 && sum.poisoned > 500 && sum.purged_over > 50 && sum.ahead > 5;
    assert_eq!(later, dangers.epochs, "epochs: {sum:?}");
    let wrong = sum.early > 100 && sum.skipped > 20;
    assert_eq!(wrong, dangers.epochs, "begun at a wrong time: {sum:?}");
    // Nor is any of it there in name only.
    assert!(sum.half_way > 1000, "no session was cut half-way: {sum:?}");
    assert_eq!(sum.parked > 20, dangers.park, "parked: {sum:?}");
    assert_eq!(sum.joined > 100, dangers.members, "joined: {sum:?}");
}

#[test]
fn nothing_deleted_comes_back() {
    slice(ALL[0]);
    slice(ALL[1]);
    slice(ALL[2]);
}

#[test]
fn nothing_deleted_comes_back_while_members_come_and_go() {
    slice(ALL[3]);
    slice(ALL[4]);
}

#[test]
fn nothing_deleted_or_poisoned_comes_back_in_later_epochs() {
    slice(ALL[5]);
    slice(ALL[6]);
}

#[test]
fn nothing_deleted_or_poisoned_comes_back_while_members_come_and_go() {
    slice(ALL[7]);
    slice(ALL[8]);
}

#[test]
fn wrong_rules_are_found_out() {
    for rules in [Rules::NoFloorRule, Rules::Ttl, Rules::Acked] {
        let (from, count, dangers) = match rules {
            Rules::NoFloorRule => (0, 300, ALL[1]),
            _ => (0, 100, ALL[4]),
        };
        let (sum, _) = campaign(from, count, rules, dangers);
        assert!(sum.resurrected > 0, "{rules:?} went undetected: {sum:?}");
        assert!(sum.purged > 0, "{rules:?} collected nothing");
    }
}

/// Each guard of the right rules is missed when it is taken away, and by these histories with the guard nothing is wrong.
#[test]
fn each_guard_is_needed() {
    for (rules, from, count, dangers) in [
        (Rules::ParksFromStaleRoster, 0, 100, ALL[2]),
        (Rules::LearnsHalf, 0, 100, ALL[3]),
        (Rules::CutsWithoutJoiner, 0, 300, ALL[3]),
        (Rules::StampsOnly, 0, 60, ALL[5]),
    ] {
        let (sum, bad) = campaign(from, count, rules, dangers);
        assert!(bad.is_some(), "{rules:?} went undetected: {sum:?}");
        assert!(sum.cuts > 0, "{rules:?} cut nothing");
        let (_, bad) = campaign(from, count, Rules::Right, dangers);
        assert_eq!(bad, None, "{dangers:?}");
    }
}

/// Histories at random hardly ever come to it: a store from before an epoch meets the floor of that epoch in a scope where all
/// is equal, before it hears of the epoch in the global one.
#[test]
fn nothing_is_learnt_of_an_epoch_that_was_not_entered() {
    for seed in 0..20 {
        let right = restored_from_before_an_epoch(seed, Rules::Right);
        assert!(
            right.cuts > 0 && right.purged > 0 && right.ahead > 0,
            "{seed}: {right:?}"
        );
        assert_eq!(
            (right.below_own, right.resurrected, right.diverged),
            (0, 0, 0),
            "{seed}: {right:?}"
        );
        let wrong = restored_from_before_an_epoch(seed, Rules::LearnsAhead);
        assert!(wrong.below_own > 0, "{seed}: {wrong:?}");
    }
}

/// Seed 3000486 with restores, parking and members, in short: who has left comes back with a deletion that the others, restored
/// from backups, never heard of. By this history with the guard all is equal.
#[test]
fn of_two_timelines_the_one_that_left_gives_way() {
    for seed in 0..20 {
        let right = two_timelines(seed, Rules::Right);
        assert!(right.gave_way > 0, "{seed}: {right:?}");
        assert_eq!(
            (right.diverged, right.resurrected, right.below_own),
            (0, 0, 0),
            "{seed}: {right:?}"
        );
        let wrong = two_timelines(seed, Rules::NeverGivesWay);
        assert!(wrong.diverged > 0, "{seed}: {wrong:?}");
    }
}

/// Without any backup: a deletion that comes when the floor is above it is heard of by all. Without the guard, one node holds
/// for ever what the others refuse, and in the global scope nobody gives way.
#[test]
fn a_deletion_that_comes_late_reaches_all() {
    let mut played = 0;
    for seed in 0..20 {
        let Some(right) = late_deletion(seed, Rules::Right) else {
            continue;
        };
        played += 1;
        assert!(right.late > 0 && right.cuts > 0, "{seed}: {right:?}");
        let wrong = right.resurrected + right.diverged + right.apart + right.contradictions;
        assert_eq!(wrong, 0, "{seed}: {right:?}");
        let wrong = late_deletion(seed, Rules::BuriesLate).unwrap();
        assert!(
            wrong.contradictions > 0 && wrong.diverged > 0 && wrong.gave_way == 0,
            "{seed}: {wrong:?}"
        );
    }
    assert!(played > 5);
}

/// Why who leaves a resource keeps its copy: what it knows is known to members only, who may be removed before they pass it on.
#[test]
fn who_leaves_does_not_forget() {
    for (rules, from, count) in [
        (Rules::ForgetsUnseen, 0, 300),
        (Rules::ForgetsForOne, 0, 300),
    ] {
        let (sum, _) = campaign(from, count, rules, ALL[3]);
        assert!(
            sum.forgot > 100 && sum.resurrected > 0,
            "{rules:?} went undetected: {sum:?}"
        );
    }
}

/// `cargo xtask gcmodel --seeds FROM COUNT`; with `GC_TRACE=SEED,DANGERS` one history is told, with
/// `GC_DANGERS` only these dangers are played.
#[test]
#[ignore = "long; run by cargo xtask gcmodel"]
fn long_campaign() {
    let variable = |name: &str| std::env::var(name).ok();
    if let Some(asked) = variable("GC_TRACE") {
        let (seed, dangers) = asked.split_once(',').expect("SEED,DANGERS");
        let dangers = ALL[dangers.parse::<usize>().expect("0 to 8")];
        let found = play(seed.parse().expect("a seed"), Rules::Right, dangers, true);
        say(&format!("{found:?}"));
        return;
    }
    let seeds = variable("GC_SEEDS").unwrap_or_else(|| "0,10000".to_owned());
    let (from, count) = seeds.split_once(',').expect("FROM,COUNT");
    let (from, count) = (from.parse().expect("FROM"), count.parse().expect("COUNT"));
    // With a guard taken away: until it is missed.
    let all = [
        Rules::Right,
        Rules::ParksFromStaleRoster,
        Rules::LearnsHalf,
        Rules::CutsWithoutJoiner,
        Rules::StampsOnly,
        Rules::LearnsAhead,
        Rules::NeverGivesWay,
        Rules::BuriesLate,
        Rules::ForgetsUnseen,
        Rules::ForgetsForOne,
        Rules::ForgetsForAll,
    ];
    let asked = variable("GC_RULES");
    let named = |rules: &&Rules| asked.as_deref() == Some(&*format!("{rules:?}"));
    let rules = all.iter().find(named).copied().unwrap_or(Rules::Right);
    let only: Option<usize> = variable("GC_DANGERS").map(|text| text.parse().expect("0 to 8"));
    for (number, dangers) in ALL.into_iter().enumerate() {
        if only.is_some_and(|only| only != number) {
            continue;
        }
        let (_, bad) = campaign(from, count, rules, dangers);
        assert!(
            std::env::var("GC_GO").is_ok() || bad.is_none(),
            "{dangers:?}"
        );
    }
}
