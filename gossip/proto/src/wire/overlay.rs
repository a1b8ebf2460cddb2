//! Bytes of what the overlay says: observations of links, and the short digest.

use super::{Body, Brief, DecodeError, get_list, put_list};
use crate::limits::LINK_NOTES_MAX;
use crate::links::{LinkKind, LinkNote};
use crate::reader::Reader;
use mars_lamport::Timestamp;
use mars_meta_model::NodeId;

pub(crate) const LINKS: u8 = 9;
pub(crate) const BRIEF: u8 = 10;

const BRIEF_UNSETTLED: u8 = 1;
const BRIEF_KEEP: u8 = 2;
/// Bytes of a fingerprint in a short digest.
const PRINT_LEN: usize = 12;

const KINDS: [LinkKind; 5] = [
    LinkKind::Lost,
    LinkKind::Farewell,
    LinkKind::Found,
    LinkKind::Withdrawn,
    LinkKind::Alive,
];

pub(super) fn put_links(out: &mut Vec<u8>, notes: &[LinkNote]) {
    put_list(out, notes, |out, note| {
        let kind = (0u8..).zip(KINDS).find(|(_, kind)| *kind == note.kind);
        out.push(kind.map_or(0, |(number, _)| number));
        out.extend_from_slice(&note.observer.0.to_le_bytes());
        out.extend_from_slice(&note.node.0.to_le_bytes());
        out.extend_from_slice(&note.boot.to_le_bytes());
        out.extend_from_slice(&note.at.as_nanos().to_le_bytes());
        out.extend_from_slice(&note.since.to_le_bytes());
    });
}

/// A note of a kind that this program does not know is left out.
pub(super) fn get_links(reader: &mut Reader<'_>) -> Result<Body, DecodeError> {
    let notes = get_list(reader, LINK_NOTES_MAX, "observations", |r| {
        let kind = KINDS.get(usize::from(r.u8()?)).copied();
        let (observer, node) = (NodeId(r.u128()?), NodeId(r.u128()?));
        let (boot, at, since) = (r.u64()?, Timestamp::from_nanos(r.u64()?), r.u64()?);
        Ok(kind.map(|kind| LinkNote {
            observer,
            node,
            kind,
            boot,
            at,
            since,
        }))
    })?;
    Ok(Body::Links(notes.into_iter().flatten().collect()))
}

pub(super) fn put_brief(out: &mut Vec<u8>, brief: &Brief) {
    let unsettled = if brief.unsettled { BRIEF_UNSETTLED } else { 0 };
    let keep = if brief.keep { BRIEF_KEEP } else { 0 };
    out.push(unsettled | keep);
    put_print(out, brief.print);
}

pub(super) fn get_brief(reader: &mut Reader<'_>) -> Result<Body, DecodeError> {
    let flags = reader.u8()?;
    Ok(Body::Brief(Brief {
        unsettled: flags & BRIEF_UNSETTLED != 0,
        keep: flags & BRIEF_KEEP != 0,
        print: get_print(reader)?,
    }))
}

/// The low 12 bytes of a fingerprint.
pub(super) fn put_print(out: &mut Vec<u8>, print: u128) {
    out.extend_from_slice(&print.to_le_bytes()[..PRINT_LEN]);
}

pub(super) fn get_print(reader: &mut Reader<'_>) -> Result<u128, DecodeError> {
    let mut bytes = [0; 16];
    bytes[..PRINT_LEN].copy_from_slice(reader.take(PRINT_LEN)?);
    Ok(u128::from_le_bytes(bytes))
}
