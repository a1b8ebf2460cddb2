//! Replay planner: order, limit, positions, failure.

use std::collections::BTreeMap;

use bytes::Bytes;
use mars_datapath_core::LogPos;
use mars_datapath_core::format::{Batch, Record, RecordBody};
use mars_datapath_core::overlay::Content;
use mars_datapath_core::replay::{ApplyToken, Replay, ReplayEffect, ReplayError, Strictness};
use mars_lamport::Timestamp;

use crate::support::Rng;

const SIZE: usize = 32;

fn batch(position: u64, records: Vec<Record>) -> Batch {
    let stamp = Timestamp::ZERO;
    Batch {
        position,
        end: position + 64,
        base_sequence: position,
        stamp,
        records,
    }
}

fn write(offset: u64, value: u8, len: usize) -> Record {
    Record::write(offset, Bytes::from(vec![value; len]))
}

fn drain(replay: &mut Replay) -> Vec<ReplayEffect> {
    std::iter::from_fn(|| replay.poll()).collect()
}

fn at(position: u64) -> LogPos {
    LogPos::new(1, position)
}

#[test]
fn a_batch_is_applied_flushed_and_published_in_this_order() {
    let mut replay = Replay::new(at(0), at(1000), Strictness::Epochs);
    replay
        .handle_batch(1, batch(0, vec![write(0, 1, 2), write(1, 2, 2)]))
        .unwrap();
    let token = ApplyToken(0);
    let content = |value| Content::Data(Bytes::from(vec![value; 2]));
    // The second write overlaps the first one and has to wait for it.
    assert_eq!(
        drain(&mut replay),
        [ReplayEffect::Apply {
            token,
            offset: 0,
            content: content(1)
        }]
    );
    replay.handle_applied(token);
    assert_eq!(replay.applied(), at(0));
    let token = ApplyToken(1);
    assert_eq!(
        drain(&mut replay),
        [ReplayEffect::Apply {
            token,
            offset: 1,
            content: content(2)
        }]
    );
    replay.handle_applied(token);
    assert_eq!((replay.applied(), replay.published()), (at(64), at(0)));
    assert_eq!(drain(&mut replay), [ReplayEffect::FlushDisk]);
    replay.handle_disk_flushed();
    assert_eq!(
        drain(&mut replay),
        [ReplayEffect::Publish { replayed: at(64) }]
    );
    assert!(replay.is_idle());
}

#[test]
fn the_limit_is_never_passed_and_gaps_are_refused() {
    let mut replay = Replay::new(at(0), at(127), Strictness::Epochs);
    replay
        .handle_batch(1, batch(0, vec![write(0, 1, 1)]))
        .unwrap();
    replay
        .handle_batch(1, batch(64, vec![write(9, 1, 1)]))
        .unwrap();
    let gap = replay.handle_batch(1, batch(192, vec![write(0, 1, 1)]));
    assert_eq!(
        gap,
        Err(ReplayError::Gap {
            found: at(192),
            expected: at(128)
        })
    );
    assert_eq!(drain(&mut replay).len(), 1);
    replay.set_limit(at(128));
    assert_eq!(drain(&mut replay).len(), 1);
    assert!(replay.handle_next_segment(1).is_err());
    replay.handle_next_segment(4).unwrap();
    assert_eq!(replay.taken(), LogPos::new(4, 0));
}

#[test]
fn a_flush_mark_waits_for_all_before_it() {
    let mark = Record::mark(RecordBody::FlushMark);
    let mut replay = Replay::new(at(0), at(64), Strictness::Epochs);
    replay
        .handle_batch(
            1,
            batch(
                0,
                vec![write(0, 1, 1), write(5, 1, 1), mark, write(9, 1, 1)],
            ),
        )
        .unwrap();
    assert_eq!(drain(&mut replay).len(), 2);
    replay.handle_applied(ApplyToken(1));
    assert_eq!(drain(&mut replay), []);
    replay.handle_applied(ApplyToken(0));
    assert_eq!(drain(&mut replay).len(), 1);
}

#[test]
fn after_a_failure_nothing_is_applied_or_published() {
    let mut replay = Replay::new(at(0), at(1000), Strictness::Epochs);
    replay
        .handle_batch(1, batch(0, vec![write(0, 1, 1)]))
        .unwrap();
    drain(&mut replay);
    replay.handle_applied(ApplyToken(0));
    assert_eq!(drain(&mut replay), [ReplayEffect::FlushDisk]);
    replay.handle_failed("EIO");
    replay.handle_disk_flushed();
    assert_eq!((drain(&mut replay), replay.published()), (vec![], at(0)));
    let refused = replay.handle_batch(1, batch(64, vec![write(0, 1, 1)]));
    assert_eq!(refused, Err(ReplayError::Failed("EIO".into())));
}

/// Random batches, completions in any order; published positions must be on the flushed disk, and in
/// strict mode the disk must be an exact prefix all the time.
fn life(seed: u64, strictness: Strictness) {
    let mut rng = Rng(seed);
    let mut replay = Replay::new(at(0), at(u64::MAX), strictness);
    let mut states = vec![vec![0_u8; SIZE]];
    // How many writes the log holds up to the end of each batch.
    let mut ends = BTreeMap::from([(at(0), 0)]);
    let mut disk = vec![0_u8; SIZE];
    let mut flushed = disk.clone();
    let mut pending: Vec<(ApplyToken, u64, Content)> = Vec::new();
    let (mut flushing, mut value, mut position) = (None, 0_u8, 0);
    for _ in 0..300 {
        if rng.chance(20) && replay.wants_batch() && value < 240 {
            let mut all = Vec::new();
            for _ in 0..=rng.below(4) {
                if rng.chance(20) {
                    all.push(Record::mark(RecordBody::FlushMark));
                    continue;
                }
                value += 1;
                let offset = rng.below(SIZE - 4);
                let mut state = states.last().unwrap().clone();
                state[offset..offset + 4].fill(value);
                states.push(state);
                all.push(write(offset as u64, value, 4));
            }
            ends.insert(at(position + 64), states.len() - 1);
            replay.handle_batch(1, batch(position, all)).unwrap();
            position += 64;
        }
        if rng.chance(5) {
            replay.request_publish();
        }
        while let Some(effect) = replay.poll() {
            match effect {
                ReplayEffect::Apply {
                    token,
                    offset,
                    content,
                } => {
                    pending.push((token, offset, content));
                }
                ReplayEffect::FlushDisk => assert_eq!(flushing.replace(disk.clone()), None),
                ReplayEffect::Publish { replayed } => {
                    assert_eq!(replayed, replay.published());
                    let least = ends[&replayed];
                    for (byte, value) in flushed.iter().enumerate() {
                        let newer = states[least..].iter().any(|state| state[byte] == *value);
                        assert!(
                            newer,
                            "seed {seed}: published {replayed} is not on the disk"
                        );
                    }
                }
            }
        }
        if !pending.is_empty() && rng.chance(60) {
            let index = rng.below(pending.len());
            let (token, offset, Content::Data(data)) = pending.swap_remove(index) else {
                panic!("only writes were given")
            };
            let from = usize::try_from(offset).unwrap();
            disk[from..from + data.len()].copy_from_slice(&data);
            replay.handle_applied(token);
        }
        if rng.chance(30)
            && let Some(image) = flushing.take()
        {
            flushed = image;
            replay.handle_disk_flushed();
        }
        if strictness == Strictness::Strict || pending.is_empty() {
            assert!(states.contains(&disk), "seed {seed}: the disk is no prefix");
        }
    }
}

#[test]
fn the_disk_is_a_prefix_at_rest_and_always_in_strict_mode() {
    for seed in 0..400 {
        println!("seed {seed}");
        life(seed, Strictness::Epochs);
        life(seed, Strictness::Strict);
    }
}
