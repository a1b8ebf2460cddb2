//! What other data planes and NBD clients send.

use std::sync::Arc;

use bytes::Bytes;
use mars_datapath::block::DeviceInfo;
use mars_datapath::nbd::negotiate::{Negotiation, Next, Session};
use mars_datapath::nbd::request::{Op, check};
use mars_datapath::nbd::testing::{MemTarget, StaticExports};
use mars_datapath::nbd::wire::{OPTION_LEN, OptionHead, REQUEST_LEN, RequestHead};
use mars_datapath::reread_data_frame;

/// Size of the export.
const SIZE: u64 = 64 << 10;
/// Bytes of replies for each option at most, beside what is echoed of it: four texts of a reply's greatest length.
const REPLIES_MAX: usize = 8 << 10;
/// Longest option data that the server keeps.
const OPTION_DATA_MAX: usize = 32 << 10;

/// A frame of the data stream: its kind, then its body.
pub fn data_frame(data: &[u8]) -> bool {
    let Some((kind, body)) = data.split_first() else {
        return false;
    };
    let Some(again) = reread_data_frame(*kind, &Bytes::copy_from_slice(body)) else {
        return false;
    };
    // Unknown fields of a map are ignored, so the first reading may lose some; the second loses nothing.
    assert_eq!(reread_data_frame(*kind, &again), Some(again));
    true
}

fn exports() -> StaticExports {
    let mut info = DeviceInfo::new("disk", SIZE);
    info.description = "a disk".to_owned();
    StaticExports::new().with(Arc::new(MemTarget::new(info)))
}

/// The handshake of a client up to the session, and what follows it.
fn session(data: &[u8]) -> Option<(Session, &[u8])> {
    let (flags, mut rest) = data.split_first_chunk::<4>()?;
    let mut negotiation = Negotiation::new();
    negotiation
        .handle_client_flags(u32::from_be_bytes(*flags))
        .ok()?;
    let exports = exports();
    loop {
        let (head, behind) = rest.split_first_chunk::<OPTION_LEN>()?;
        let head = OptionHead::decode(head)?;
        let len = usize::try_from(head.len).ok()?;
        let mut out = Vec::new();
        let next = if len > OPTION_DATA_MAX {
            rest = behind.get(len..)?;
            negotiation.handle_oversized(head.option, &mut out)
        } else {
            let (body, behind) = behind.split_at_checked(len)?;
            rest = behind;
            negotiation.handle_option(head.option, body, &exports, &mut out)
        };
        assert!(
            out.len() <= REPLIES_MAX + 2 * len,
            "{} bytes of replies",
            out.len()
        );
        match next {
            Next::Option => {}
            Next::Close(reason) => {
                assert!(!reason.is_empty());
                return None;
            }
            Next::Transmission(session) => return Some((*session, rest)),
        }
    }
}

/// What an NBD client sends: flags, options, requests. Accepted if a request would be carried out.
pub fn nbd_client(data: &[u8]) -> bool {
    let Some((session, mut rest)) = session(data) else {
        return false;
    };
    let mut accepted = false;
    while let Some((head, behind)) = rest.split_first_chunk::<REQUEST_LEN>() {
        let Some(head) = RequestHead::decode(head) else {
            return accepted;
        };
        rest = behind;
        let Ok(op) = check(&head, &session.info, &session.terms) else {
            continue;
        };
        let (offset, len) = match op {
            Op::Nothing | Op::Flush => (0, 0),
            Op::Read { offset, len } => (offset, len),
            Op::Write { offset, len, .. } => {
                rest = usize::try_from(len)
                    .ok()
                    .and_then(|len| rest.get(len..))
                    .unwrap_or_default();
                (offset, len)
            }
            Op::WriteZeroes { offset, len, .. }
            | Op::Trim { offset, len, .. }
            | Op::BlockStatus { offset, len, .. } => (offset, len),
        };
        let end = offset.checked_add(u64::from(len));
        assert!(
            end.is_some_and(|end| end <= SIZE),
            "{op:?} is beyond the export"
        );
        assert_eq!(
            (head.len, head.offset),
            if op == Op::Nothing {
                (0, head.offset)
            } else {
                (len, offset)
            }
        );
        accepted = true;
    }
    accepted
}
