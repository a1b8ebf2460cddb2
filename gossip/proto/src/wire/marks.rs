//! The messages of the collection of tombstones.

use super::{
    BelowLine, Body, Context, DecodeError, MarkLine, get_list, get_scope, put_list, put_scope,
};
use crate::limits::{ITEM_SETS_MAX, ITEMS_MAX, MARKS_MAX};
use crate::reader::Reader;
use mars_lamport::Timestamp;
use mars_meta_model::collect::{DecodeMarkError, Mark, Position};

pub(super) const MARKS: u8 = 16;
pub(super) const CONTEXT: u8 = 17;
pub(super) const BELOW: u8 = 18;
/// The same as [`MARKS`] and [`BELOW`], with the epochs of the floors: as soon as one of them is not the first.
pub(crate) const MARKS_EPOCHS: u8 = 19;
pub(crate) const BELOW_EPOCHS: u8 = 20;

fn put_floor(out: &mut Vec<u8>, floor: Position, epochs: bool) {
    out.extend_from_slice(&floor.stamp.as_nanos().to_le_bytes());
    if epochs {
        out.extend_from_slice(&floor.epoch.to_le_bytes());
    }
}

fn get_floor(reader: &mut Reader<'_>, epochs: bool) -> Result<Position, DecodeError> {
    let stamp = Timestamp::from_nanos(reader.u64()?);
    let epoch = if epochs { reader.u16()? } else { 0 };
    Ok(Position::new(epoch, stamp))
}

/// Appends the body; returns the type.
pub(super) fn put_marks(out: &mut Vec<u8>, lines: &[MarkLine]) -> u8 {
    let epochs = lines.iter().any(|line| line.floor.epoch > 0);
    put_list(out, lines, |out, line| {
        put_scope(out, &line.scope);
        put_floor(out, line.floor, epochs);
        out.extend_from_slice(&line.check.to_le_bytes());
    });
    if epochs { MARKS_EPOCHS } else { MARKS }
}

pub(super) fn get_marks(reader: &mut Reader<'_>, kind: u8) -> Result<Body, DecodeError> {
    let lines = get_list(reader, MARKS_MAX, "marks", |r| {
        let scope = get_scope(r)?;
        let floor = get_floor(r, kind == MARKS_EPOCHS)?;
        let check = r.u64()?;
        Ok(MarkLine {
            scope,
            floor,
            check,
        })
    })?;
    check_epochs(kind == MARKS_EPOCHS, lines.iter().map(|line| line.floor))?;
    Ok(Body::Marks(lines))
}

/// A message has one form: that with epochs is for what the other cannot say.
fn check_epochs(
    epochs: bool,
    mut floors: impl Iterator<Item = Position>,
) -> Result<(), DecodeError> {
    if epochs && floors.all(|floor| floor.epoch == 0) {
        return Err(DecodeError::Field("epoch"));
    }
    Ok(())
}

pub(super) fn put_context(out: &mut Vec<u8>, context: &Context) {
    put_scope(out, &context.scope);
    out.extend_from_slice(&context.print.to_le_bytes());
    out.extend_from_slice(&context.count.to_le_bytes());
    context.mark.encode(out);
}

pub(super) fn get_context(reader: &mut Reader<'_>) -> Result<Body, DecodeError> {
    let scope = get_scope(reader)?;
    let print = reader.u128()?;
    let count = reader.u32()?;
    let mark = match Mark::decode_front(reader.rest()) {
        Ok((mark, _)) => mark,
        Err(DecodeMarkError::Length) => return Err(DecodeError::Truncated),
        Err(_) => return Err(DecodeError::Field("mark")),
    };
    Ok(Body::Context(Context {
        scope,
        print,
        count,
        mark,
    }))
}

/// Appends the body; returns the type.
pub(super) fn put_below(out: &mut Vec<u8>, lines: &[BelowLine]) -> u8 {
    let epochs = lines.iter().any(|line| line.floor.epoch > 0);
    put_list(out, lines, |out, line| {
        put_scope(out, &line.scope);
        put_floor(out, line.floor, epochs);
        put_list(out, &line.hashes, |out, hash| {
            out.extend_from_slice(&hash.to_le_bytes());
        });
    });
    if epochs { BELOW_EPOCHS } else { BELOW }
}

pub(super) fn get_below(reader: &mut Reader<'_>, kind: u8) -> Result<Body, DecodeError> {
    let lines = get_list(reader, ITEM_SETS_MAX, "absences", |r| {
        let scope = get_scope(r)?;
        let floor = get_floor(r, kind == BELOW_EPOCHS)?;
        let hashes = get_list(r, ITEMS_MAX, "key hashes", Reader::u64)?;
        Ok(BelowLine {
            scope,
            floor,
            hashes,
        })
    })?;
    check_epochs(kind == BELOW_EPOCHS, lines.iter().map(|line| line.floor))?;
    Ok(Body::Below(lines))
}
