//! Requests: what is refused, and with which number.

use super::*;

const SIZE: u64 = 1 << 20;

fn info() -> DeviceInfo {
    DeviceInfo::new("disk", SIZE)
}

fn terms() -> Terms {
    Terms {
        structured: true,
        allocation: true,
        max_payload: 1 << 16,
    }
}

fn head(command: u16, flags: u16, offset: u64, len: u32) -> RequestHead {
    RequestHead {
        flags,
        command,
        cookie: 1,
        offset,
        len,
    }
}

fn errno(info: &DeviceInfo, terms: &Terms, head: &RequestHead) -> Option<Errno> {
    check(head, info, terms).err().map(|failure| failure.errno)
}

#[test]
fn fua_is_accepted_on_every_command() {
    for command in [0, 1, 4, 6, 7] {
        let head = head(command, flag::FUA, 0, 512);
        assert_eq!(errno(&info(), &terms(), &head), None, "command {command}");
    }
    let flush = head(cmd::FLUSH, flag::FUA, 0, 0);
    assert_eq!(check(&flush, &info(), &terms()), Ok(Op::Flush));
}

#[test]
fn fua_reaches_what_changes() {
    let op = check(&head(cmd::TRIM, flag::FUA, 512, 512), &info(), &terms());
    let expected = Op::Trim {
        offset: 512,
        len: 512,
        fua: true,
    };
    assert_eq!(op, Ok(expected));
    let flags = flag::FUA | flag::NO_HOLE | flag::FAST_ZERO;
    let op = check(&head(cmd::WRITE_ZEROES, flags, 0, 512), &info(), &terms());
    let expected = Op::WriteZeroes {
        offset: 0,
        len: 512,
        fua: true,
        no_hole: true,
    };
    assert_eq!(op, Ok(expected));
}

#[test]
fn unknown_commands_and_flags_are_invalid() {
    let cases = [
        head(5, 0, 0, 512),
        head(8, 0, 0, 512),
        head(0xffff, 0, 0, 0),
        head(cmd::READ, flag::NO_HOLE, 0, 512),
        head(cmd::WRITE, flag::DF, 0, 512),
        head(cmd::WRITE, 1 << 5, 0, 512),
        head(cmd::TRIM, flag::NO_HOLE, 0, 512),
        head(cmd::READ, 1 << 15, 0, 512),
        head(cmd::FLUSH, 0, 512, 0),
        head(cmd::FLUSH, 0, 0, 512),
    ];
    for case in cases {
        assert_eq!(
            errno(&info(), &terms(), &case),
            Some(Errno::Inval),
            "{case:?}"
        );
    }
}

#[test]
fn flags_need_what_was_offered() {
    let mut simple = terms();
    simple.structured = false;
    let df = head(cmd::READ, flag::DF, 0, 512);
    assert_eq!(errno(&info(), &terms(), &df), None);
    assert_eq!(errno(&info(), &simple, &df), Some(Errno::Inval));

    let mut slow = info();
    slow.fast_zero = false;
    let fast = head(cmd::WRITE_ZEROES, flag::FAST_ZERO, 0, 512);
    assert_eq!(errno(&info(), &terms(), &fast), None);
    assert_eq!(errno(&slow, &terms(), &fast), Some(Errno::Inval));

    let mut blind = terms();
    blind.allocation = false;
    let status = head(cmd::BLOCK_STATUS, 0, 0, 512);
    assert_eq!(errno(&info(), &blind, &status), Some(Errno::Inval));
}

#[test]
fn ranges_beyond_the_end() {
    let ranges = [
        (SIZE, 1),
        (SIZE - 1, 2),
        (SIZE + 1, 0),
        (u64::MAX, 1),
        (u64::MAX - 511, 512),
        (u64::MAX, 65536),
    ];
    for (offset, len) in ranges {
        for (command, expected) in [
            (cmd::READ, Errno::Inval),
            (cmd::WRITE, Errno::NoSpc),
            (cmd::TRIM, Errno::Inval),
            (cmd::WRITE_ZEROES, Errno::NoSpc),
            (cmd::BLOCK_STATUS, Errno::Inval),
        ] {
            let case = head(command, 0, offset, len);
            assert_eq!(errno(&info(), &terms(), &case), Some(expected), "{case:?}");
        }
    }
}

#[test]
fn only_payloads_are_limited() {
    let mut large = info();
    large.size = 1 << 40;
    let over = (1 << 16) + 1;
    for command in [cmd::READ, cmd::WRITE] {
        assert_eq!(errno(&large, &terms(), &head(command, 0, 0, 1 << 16)), None);
        let case = head(command, 0, 0, over);
        assert_eq!(errno(&large, &terms(), &case), Some(Errno::Inval));
    }
    for command in [cmd::TRIM, cmd::WRITE_ZEROES, cmd::BLOCK_STATUS] {
        assert_eq!(
            errno(&large, &terms(), &head(command, 0, 0, u32::MAX)),
            None
        );
    }
}

#[test]
fn read_only_devices_refuse_changes_first() {
    let mut frozen = info();
    frozen.read_only = true;
    for command in [cmd::WRITE, cmd::TRIM, cmd::WRITE_ZEROES] {
        let case = head(command, 0, SIZE, 512);
        assert_eq!(errno(&frozen, &terms(), &case), Some(Errno::Perm));
    }
    assert_eq!(errno(&frozen, &terms(), &head(cmd::READ, 0, 0, 512)), None);
    assert_eq!(errno(&frozen, &terms(), &head(cmd::FLUSH, 0, 0, 0)), None);
}

#[test]
fn alignment_is_checked() {
    let mut sectors = info();
    sectors.min_block = 512;
    for (offset, len) in [(1, 512), (512, 511), (256, 256)] {
        let case = head(cmd::READ, 0, offset, len);
        assert_eq!(errno(&sectors, &terms(), &case), Some(Errno::Inval));
        assert_eq!(errno(&info(), &terms(), &case), None);
    }
}

#[test]
fn empty_ranges_do_nothing() {
    for command in [cmd::READ, cmd::WRITE, cmd::TRIM, cmd::WRITE_ZEROES] {
        let op = check(&head(command, 0, SIZE, 0), &info(), &terms());
        assert_eq!(op, Ok(Op::Nothing));
    }
    let status = head(cmd::BLOCK_STATUS, 0, 0, 0);
    assert_eq!(errno(&info(), &terms(), &status), Some(Errno::Inval));
}

#[test]
fn device_errors_have_numbers() {
    let number = |command, error| Failure::from_block(command, &error).errno;
    assert_eq!(number(cmd::READ, BlockError::OutOfRange), Errno::Inval);
    assert_eq!(number(cmd::WRITE, BlockError::OutOfRange), Errno::NoSpc);
    assert_eq!(number(cmd::WRITE, BlockError::NoSpace), Errno::NoSpc);
    assert_eq!(number(cmd::TRIM, BlockError::ReadOnly), Errno::Perm);
    assert_eq!(number(cmd::FLUSH, BlockError::Io("disk".into())), Errno::Io);
    assert_eq!(
        number(cmd::FLUSH, BlockError::ShuttingDown),
        Errno::Shutdown
    );
}

#[test]
fn extents_are_clipped_and_joined() {
    let zero = |len| Extent {
        len,
        hole: false,
        zero: true,
    };
    let extents = [
        Extent::data(10),
        Extent::data(0),
        Extent::data(5),
        zero(20),
        Extent::data(9),
    ];
    let expected = [(15, 0), (20, STATE_ZERO), (9, 0)];
    assert_eq!(clip_extents(&extents, 100, false), expected);
    assert_eq!(
        clip_extents(&extents, 25, false),
        [(15, 0), (10, STATE_ZERO)]
    );
    assert_eq!(clip_extents(&extents, 100, true), [(15, 0)]);
    assert_eq!(
        clip_extents(&[Extent::data(1 << 40)], u32::MAX, false),
        [(u32::MAX, 0)]
    );
    assert_eq!(clip_extents(&[], 7, false), [(7, 0)]);
}

#[test]
fn extents_are_limited() {
    let mix = |at: usize| Extent {
        len: 1,
        hole: false,
        zero: at.is_multiple_of(2),
    };
    let extents = (0..MAX_EXTENTS + 9).map(mix).collect::<Vec<_>>();
    assert_eq!(clip_extents(&extents, u32::MAX, false).len(), MAX_EXTENTS);
}
