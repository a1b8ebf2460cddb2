//! Random sets of links: what is on disk is what is planned.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
struct Link {
    value: Vec<u8>,
    mtime_ns: i128,
}

fn part() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_+~ -]{0,8}".prop_filter("private", |name: &String| !name.starts_with("ignore"))
}

/// A path in a replicated place, with nothing of the old methods in it.
fn path() -> impl Strategy<Value = String> {
    let below = proptest::collection::vec(part(), 1..=3)
        .prop_map(|parts| parts.join("/"))
        .boxed();
    prop_oneof![
        part().prop_map(|name| format!("x-{name}")),
        below.clone().prop_map(|rest| format!("userspace/{rest}")),
        below.clone().prop_map(|rest| format!("defaults-h/{rest}")),
        below.prop_map(|rest| format!("resource-r/x-{rest}")),
    ]
}

fn link() -> impl Strategy<Value = Link> {
    let value = prop_oneof![
        1 => Just(b".deleted".to_vec()),
        4 => proptest::collection::vec(1u8..=255, 1..40),
    ];
    let mtime_ns = prop_oneof![
        4 => 0i128..i128::from(NOW),
        1 => -1_000_000_000_000i128..i128::from(NOW) * 2,
    ];
    (value, mtime_ns).prop_map(|(value, mtime_ns)| Link { value, mtime_ns })
}

/// Drops paths that need a link to be a folder.
fn possible(links: BTreeMap<String, Link>) -> BTreeMap<String, Link> {
    let mut kept: BTreeMap<String, Link> = BTreeMap::new();
    for (path, link) in links {
        let above = (path.match_indices('/')).any(|(at, _)| kept.contains_key(&path[..at]));
        if !above {
            kept.insert(path, link);
        }
    }
    kept
}

/// The same cases each time, or those of the seed in `PROPTEST_RNG_SEED`.
pub(crate) fn config() -> ProptestConfig {
    let mut config = ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if matches!(config.rng_seed, RngSeed::Random) {
        config.rng_seed = RngSeed::Fixed(0x6d61_7273);
    }
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_link_becomes_its_entry(links in proptest::collection::btree_map(path(), link(), 1..30)) {
        let links = possible(links);
        let tree = Tree::new();
        for (path, link) in &links {
            tree.link(path, &link.value, link.mtime_ns);
        }
        let plan = tree.plan();
        let found: BTreeMap<String, (Option<Vec<u8>>, u64)> = (plan.entries.iter())
            .map(|e| {
                let value = e.value().map(|value| value.as_bytes().to_vec());
                (e.key.as_str().to_owned(), (value, e.stamp.as_nanos()))
            })
            .collect();
        let expected = links
            .into_iter()
            .map(|(path, link)| {
                let stamp = match link.mtime_ns {
                    ns if ns < 0 => 0,
                    ns if ns > i128::from(NOW) + 60_000_000_000 => NOW,
                    ns => u64::try_from(ns).unwrap(),
                };
                (path, (Some(link.value).filter(|value| value != b".deleted"), stamp))
            })
            .collect();
        prop_assert_eq!(found, expected);
        prop_assert!(plan.report.skipped.is_empty());
        prop_assert_eq!(plan.entries.len(), plan.report.counts.taken);
    }

    #[test]
    fn any_names_are_taken_or_skipped_with_a_reason(
        names in proptest::collection::btree_set(
            proptest::collection::vec(
                prop_oneof![
                    Just(b"todo-global".to_vec()), Just(b"resource-r".to_vec()), Just(b"userspace".to_vec()),
                    Just(b".deleted-a".to_vec()), Just(b"delete-1-h".to_vec()), Just(b"alive-h".to_vec()),
                    Just(b"data-h".to_vec()), Just(b"replay-h".to_vec()), Just(b"version-1-h".to_vec()),
                    proptest::collection::vec((1u8..=255).prop_filter("slash", |b| *b != b'/'), 1..6)
                        .prop_filter("dots", |n| n != b"." && n != b".."),
                ],
                1..6,
            ),
            1..20,
        ),
        value in proptest::collection::vec(1u8..=255, 1..20),
    ) {
        let tree = Tree::new();
        tree.link("uuid", "x", 1);
        for parts in &names {
            let path = tree.path(&parts.join(&b'/'));
            let made = std::fs::create_dir_all(path.parent().unwrap())
                .and_then(|()| std::os::unix::fs::symlink(OsStr::from_bytes(&value), &path));
            // A name may be taken by a link or folder of an earlier one.
            drop(made);
        }
        let mut plan = tree.plan();
        let json = plan.report.to_json().unwrap();
        prop_assert!(json.chars().all(|c| c == '\n' || !c.is_control()));
        let mut table = Table::new();
        apply(&mut plan, &mut table);
        let mut again = tree.plan();
        apply(&mut again, &mut table);
        prop_assert_eq!(again.report.counts.known, again.entries.len());
    }
}
