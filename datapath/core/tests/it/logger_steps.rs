//! The logger step by step: what follows from which input.

use bytes::Bytes;
use mars_datapath_core::LogPos;
use mars_datapath_core::logger::{
    Discarding, Effect, Logger, OpenSegment, RequestId, SubmitError, WriteBackToken,
};
use mars_datapath_core::overlay::Content;
use mars_lamport::Timestamp;

const NOW: Timestamp = Timestamp::ZERO;

fn logger() -> Logger {
    Logger::new(
        1 << 40,
        OpenSegment {
            number: 1,
            generation: 1,
            alignment: 64,
        },
        0,
    )
}

fn drain(logger: &mut Logger) -> Vec<Effect> {
    std::iter::from_fn(|| logger.poll(NOW)).collect()
}

#[test]
fn one_write_walks_through() {
    let mut logger = logger();
    let id = RequestId(1);
    logger
        .handle_write(id, 4096, Bytes::from_static(b"x"), false)
        .unwrap();
    let effects = drain(&mut logger);
    let [Effect::Append { end, .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(*end, LogPos::new(1, 128));
    logger.handle_appended(*end);
    assert_eq!(drain(&mut logger), [Effect::Complete { id }]);
    assert!(logger.needs_sync());
    logger.request_sync();
    assert_eq!(drain(&mut logger), [Effect::Sync { upto: *end }]);
    logger.handle_durable(*end);
    let content = Content::Data(Bytes::from_static(b"x"));
    let token = WriteBackToken(0);
    assert_eq!(
        drain(&mut logger),
        [Effect::WriteBack {
            token,
            offset: 4096,
            content
        }]
    );
    logger.handle_written_back(token);
    assert_eq!((drain(&mut logger), logger.written_back()), (vec![], *end));
    logger.request_checkpoint();
    assert_eq!(drain(&mut logger), [Effect::FlushDisk]);
    logger.handle_disk_flushed();
    assert_eq!(drain(&mut logger), [Effect::Publish { written_back: *end }]);
    assert!(logger.is_drained());
}

#[test]
fn ready_writes_share_one_batch_and_long_ones_stay_whole() {
    let mut logger = logger();
    let data = Bytes::from(vec![7; 32 << 20]);
    logger
        .handle_write(RequestId(1), 0, Bytes::from_static(b"a"), false)
        .unwrap();
    logger
        .handle_write(RequestId(2), 9, Bytes::from_static(b"b"), false)
        .unwrap();
    logger
        .handle_write(RequestId(3), 0, data.clone(), false)
        .unwrap();
    let counts: Vec<_> = drain(&mut logger)
        .into_iter()
        .map(|effect| match effect {
            Effect::Append { batch, .. } => {
                u32::from_le_bytes(batch.parts[0][12..16].try_into().unwrap())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(counts, [2, 32]);
    let longer = Bytes::from(vec![7; (32 << 20) + 1]);
    let refused = logger.handle_write(RequestId(4), 0, longer, false);
    assert_eq!(refused, Err(SubmitError::TooLong((32 << 20) + 1)));
}

#[test]
fn bounds_are_kept() {
    let mut logger = logger();
    let range = logger.handle_write(
        RequestId(1),
        (1 << 40) - 1,
        Bytes::from_static(b"ab"),
        false,
    );
    assert!(matches!(range, Err(SubmitError::Range { .. })));
    let overflow = logger.handle_discard(RequestId(1), u64::MAX, 2, Discarding::Zeroes, false);
    assert!(matches!(overflow, Err(SubmitError::Range { .. })));
    let data = Bytes::from(vec![0; 1 << 20]);
    for id in 0..256 {
        logger
            .handle_write(RequestId(id), 0, data.clone(), false)
            .unwrap();
    }
    let busy = logger.handle_write(RequestId(256), 0, data, false);
    assert_eq!(busy, Err(SubmitError::Busy));
}

#[test]
fn a_flush_that_waits_while_the_log_runs_full_still_means_the_log() {
    let mut logger = logger();
    let [write, flush, again] = [1, 2, 3].map(RequestId);
    logger
        .handle_write(write, 0, Bytes::from_static(b"x"), false)
        .unwrap();
    let effects = drain(&mut logger);
    let [Effect::Append { end, .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    logger.handle_appended(*end);
    assert_eq!(drain(&mut logger), [Effect::Complete { id: write }]);
    logger.handle_flush(flush).unwrap();
    assert!(matches!(drain(&mut logger)[..], [Effect::Append { .. }]));
    // No write since the mark: it waits for the place of the mark, which never reaches the log.
    logger.handle_flush(again).unwrap();
    assert_eq!(drain(&mut logger), []);
    logger.handle_log_full();
    assert_eq!(drain(&mut logger), [Effect::Sync { upto: *end }]);
    logger.handle_durable(*end);
    let effects = drain(&mut logger);
    assert_eq!(effects[0], Effect::Complete { id: again });
    assert!(
        matches!(effects[1..], [Effect::WriteBack { .. }]),
        "{effects:?}"
    );
    logger.handle_written_back(WriteBackToken(0));
    assert_eq!(drain(&mut logger), [Effect::FlushDisk]);
    logger.handle_disk_flushed();
    let publish = Effect::Publish { written_back: *end };
    assert_eq!(
        drain(&mut logger),
        [publish, Effect::EnterEmergency { end: *end }]
    );
    logger.handle_emergency_recorded();
    assert_eq!(drain(&mut logger), [Effect::FlushDisk]);
    logger.handle_disk_flushed();
    assert_eq!(drain(&mut logger), [Effect::Complete { id: flush }]);
    assert!(logger.is_drained() && logger.is_emergency());
}

#[test]
fn a_logger_without_room_for_a_segment_passes_everything_to_the_disk() {
    let mut logger = Logger::past_the_log(1 << 40, LogPos::new(3, 640), 17);
    assert!(logger.is_emergency() && logger.is_drained());
    logger
        .handle_write(RequestId(1), 0, Bytes::from_static(b"x"), false)
        .unwrap();
    assert!(matches!(
        drain(&mut logger)[..],
        [Effect::PassThrough {
            id: RequestId(1),
            ..
        }]
    ));
    logger.handle_passed_through(RequestId(1));
    assert_eq!(drain(&mut logger), [Effect::Complete { id: RequestId(1) }]);
    logger.handle_flush(RequestId(2)).unwrap();
    assert_eq!(
        drain(&mut logger),
        [Effect::FlushDisk],
        "a flush means the disk now"
    );
    logger.handle_disk_flushed();
    assert_eq!(drain(&mut logger), [Effect::Complete { id: RequestId(2) }]);
    assert!(logger.is_drained());
    assert_eq!(logger.appended(), LogPos::new(3, 640));
}
