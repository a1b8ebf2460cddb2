//! Superblock: golden bytes, torn slots, refusals.

use mars_datapath_core::LogPos;
use mars_datapath_core::superblock::{
    FILE_LENGTH, Flags, Superblock, SuperblockError, SyncState, decode_slot, encode_slot, newest,
    slot_offset,
};
use mars_lamport::Timestamp;

use crate::support::golden;

fn sample() -> Superblock {
    Superblock {
        resource: "mydata".parse().unwrap(),
        incarnation: *b"0123456789abcdef",
        applied: "log-000000002-hosta,279483136".parse().unwrap(),
        version: "8728a48cf769fd147be6683e3b8d6d59,log-000000002-hosta,279483136:\
                  7208f7b776ce4801c1a0da69e8bc635d,log-000000001-hosta,69872880"
            .into(),
        previous_version: "7208f7b776ce4801c1a0da69e8bc635d,log-000000001-hosta,69872880:".into(),
        sync: SyncState {
            synced: 1 << 30,
            total: 1 << 30,
            started_at: LogPos::new(1, 64),
            target: Some("log-000000002-hosta,1024,0".parse().unwrap()),
        },
        flags: Flags {
            clean: true,
            ..Flags::default()
        },
        disk_size: 1 << 30,
        written: Timestamp::from_parts(1_742_550_002, 9),
    }
}

fn file(slots: &[(u64, &Superblock)]) -> Vec<u8> {
    let mut file = vec![0; FILE_LENGTH];
    for (generation, superblock) in slots {
        let at = usize::try_from(slot_offset(*generation)).unwrap();
        file[at..at + 4096].copy_from_slice(&encode_slot(superblock, *generation).unwrap());
    }
    file
}

#[test]
fn golden_slot() {
    let bytes = encode_slot(&sample(), 7).unwrap();
    golden("superblock-slot.bin", &bytes);
    assert_eq!(decode_slot(&bytes), Ok((7, sample())));
    for bits in 0..16_u8 {
        let bit = |n: u8| bits >> n & 1 == 1;
        let flags = Flags {
            primary: bit(0),
            emergency: bit(1),
            clean: bit(2),
            syncing: bit(3),
        };
        let sync = SyncState {
            target: None,
            ..sample().sync
        };
        let other = Superblock {
            flags,
            sync,
            ..sample()
        };
        assert_eq!(
            decode_slot(&encode_slot(&other, 1).unwrap()),
            Ok((1, other))
        );
    }
}

#[test]
fn the_newer_slot_wins_and_a_torn_one_costs_nothing_older() {
    let old = Superblock {
        disk_size: 1,
        ..sample()
    };
    let new = Superblock {
        disk_size: 2,
        ..sample()
    };
    assert_eq!(
        newest(&file(&[(6, &old), (7, &new)])).unwrap().superblock,
        new
    );
    assert_eq!(
        newest(&file(&[(8, &new), (7, &old)])).unwrap().superblock,
        new
    );
    let before = file(&[(6, &old)]);
    let after = file(&[(6, &old), (7, &new)]);
    for cut in 4096..=FILE_LENGTH {
        let torn = [&after[..cut], &before[cut..]].concat();
        let found = newest(&torn).unwrap();
        assert_eq!(
            found.generation,
            if torn == after { 7 } else { 6 },
            "cut at {cut}"
        );
    }
    assert_eq!(newest(&[]), Err(SuperblockError::Short(0)));
    assert_eq!(newest(&vec![0; FILE_LENGTH]), Err(SuperblockError::Magic));
}

#[test]
fn no_flipped_bit_is_accepted() {
    let good = encode_slot(&sample(), 7).unwrap();
    for bit in 0..8 * good.len() {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_slot(&bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn an_intact_slot_of_a_newer_program_is_not_passed_over() {
    let mut bytes = file(&[(6, &sample()), (7, &sample())]);
    bytes[4096 + 8] = 2;
    let crc = crc32c::crc32c(&bytes[4096..8188]);
    bytes[8188..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(newest(&bytes), Err(SuperblockError::Version(2)));
}

#[test]
fn version_values_have_a_bound() {
    let at = Superblock {
        version: "x".repeat(400),
        ..sample()
    };
    assert_eq!(decode_slot(&encode_slot(&at, 1).unwrap()), Ok((1, at)));
    let above = Superblock {
        version: "x".repeat(401),
        ..sample()
    };
    assert_eq!(
        encode_slot(&above, 1),
        Err(SuperblockError::Field("version"))
    );
}
