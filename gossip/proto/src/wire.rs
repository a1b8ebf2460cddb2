//! The messages and their bytes: `docs/spec/gossip.md`.

mod compact;
mod marks;
mod overlay;
mod watching;

use crate::Hello;
use crate::limits::{
    BATCH_ENTRIES_MAX, BYE_TEXT_MAX, FRAME_LEN_MAX, ITEM_SETS_MAX, ITEMS_MAX, RANGES_MAX,
    SCOPE_NAME_MAX,
};
use crate::links::LinkNote;
use crate::reader::Reader;
pub(crate) use compact::{LISTS, PRINTS, width};
pub(crate) use marks::{BELOW_EPOCHS, MARKS_EPOCHS};
use mars_lamport::Timestamp;
use mars_meta_model::collect::{Mark, Position};
use mars_meta_model::{Entry, Scope, decode_entry, encode_entry};
pub(crate) use overlay::{BRIEF, LINKS};
pub(crate) use watching::{NEWS, UNSERVED, WATCH};
pub use watching::{News, Unserved, WatchRequest};

/// Version byte in front of every body.
const BODY_VERSION: u8 = 1;
/// Type of the message that carries the system clock.
pub(crate) const KIND_CLOCK: u8 = 24;
/// Types of messages that a later version extends in its own way.
pub(crate) const HELLO: u8 = 1;
pub(crate) const PUSH: u8 = 2;
pub(crate) const ENTRIES: u8 = 7;
/// Bytes of a [`Standing`].
const STANDING_LEN: usize = 7;
/// Flag of the system clock: the sender asks for the receiver's.
const CLOCK_ASK: u8 = 1;
const DIGEST_REPLY: u8 = 1;
const DIGEST_BUSY: u8 = 2;
const DIGEST_UNSETTLED: u8 = 4;

/// A message. Every one carries a reading of the sender's Lamport clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Reading of the sender's clock.
    pub stamp: Timestamp,
    /// The content.
    pub body: Body,
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Who speaks; the first message in each direction.
    Hello(Hello),
    /// Fresh changes. The number counts received entries that could not be read and were left out.
    Push(Vec<Entry>, u32),
    /// Fingerprints of all that is shared.
    Digest(Digest),
    /// Fingerprints of ranges, to be compared.
    Ranges(Vec<RangeSum>),
    /// All that the sender has in a range.
    Items(Vec<ItemSet>),
    /// Please send these keys.
    Want(Vec<Want>),
    /// Entries that a comparison has shown to be missing. The number as in `Push`.
    Entries(Vec<Entry>, u32),
    /// The sender will close; why.
    Bye(String),
    /// Floors of shared scopes, and checks over all that is known there.
    Marks(Vec<MarkLine>),
    /// All that the sender knows of the collection of one scope, with the fingerprint of the same moment.
    Context(Context),
    /// Keys that are absent at the sender, at or below its floor.
    Below(Vec<BelowLine>),
    /// The sender's system clock in ns since the epoch, read when the message was handed out, and what else concerns it.
    Clock(u64, Option<Standing>),
    /// Observations of links, passed on to everybody.
    Links(Vec<LinkNote>),
    /// The short digest, sent as a datagram.
    Brief(Brief),
    /// Fingerprints of ranges, compact.
    Prints(Vec<PrintGroup>),
    /// All that the sender has in ranges, compact: of the tags the low 48 bits.
    Lists(Vec<ItemSet>),
    /// All that the sender, who is no member, wants to be told of.
    Watch(WatchRequest),
    /// Entries of a resource for a node that is no member of it. They are not merged.
    News(News),
    /// What a watch does not get here, and why.
    Unserved(Vec<(Scope, Unserved)>),
}

/// What a node tells with its system clock; earlier versions do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The epoch of the cluster's clock in which it writes.
    pub epoch: u16,
    /// Whether it wants to be told the receiver's clock at once.
    pub ask: bool,
    /// How long its process has lived, in seconds.
    pub age_secs: u32,
}

/// How far one scope was collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkLine {
    /// The scope.
    pub scope: Scope,
    /// The sender's floor.
    pub floor: Position,
    /// Check over the sender's mark.
    pub check: u64,
}

/// The sender's mark of one scope, and its store's fingerprint at the same moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The scope.
    pub scope: Scope,
    /// Sum of the fingerprints.
    pub print: u128,
    /// Number of keys.
    pub count: u32,
    /// The mark.
    pub mark: Mark,
}

/// Keys that are absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BelowLine {
    /// The scope.
    pub scope: Scope,
    /// The sender's floor.
    pub floor: Position,
    /// Hashes of the keys.
    pub hashes: Vec<u64>,
}

/// Whether all that two nodes share is equal, in a few bytes that may get lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brief {
    /// The low 96 bits of a hash over the sender's [`Digest`].
    pub print: u128,
    /// Whether the sender does not know that both agree.
    pub unsettled: bool,
    /// Whether the sender wants to keep this connection.
    pub keep: bool,
}

/// Fingerprints (their low 96 bits) of a range, or of its sixteen parts. 0 stands for no key at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrintGroup {
    /// The scope.
    pub scope: Scope,
    /// How many leading bits the key hashes of the range have in common: a multiple of four.
    pub bits: u8,
    /// The first key hash.
    pub lo: u64,
    /// One for the range, or sixteen for its parts.
    pub prints: Vec<u128>,
}

/// Fingerprints of all that two nodes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Fingerprint of the global scope.
    pub global: u128,
    /// Sum over the shared resources of the hash of name and fingerprint.
    pub shared: u128,
    /// Number of shared resources.
    pub resources: u32,
    /// Whether this answers a digest (and is not to be answered by another).
    pub reply: bool,
    /// Whether the sender wants no repair to begin now.
    pub busy: bool,
    /// Whether the sender does not know that both agree: if they do, it is to be told.
    pub unsettled: bool,
    /// Sum of the checks over the marks of all that is shared; `None` if the sender does not collect.
    pub marks: Option<u64>,
}

/// Fingerprint of a range of key hashes, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeSum {
    /// The scope.
    pub scope: Scope,
    /// First key hash.
    pub lo: u64,
    /// Last key hash.
    pub hi: u64,
    /// Number of keys.
    pub count: u32,
    /// Sum of their fingerprints.
    pub print: u128,
}

/// All that the sender has in a range: key hash, epoch, stamp, low half of the fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemSet {
    /// The scope.
    pub scope: Scope,
    /// First key hash.
    pub lo: u64,
    /// Last key hash.
    pub hi: u64,
    /// The items in the order of their key hashes.
    pub items: Vec<(u64, u16, Timestamp, u64)>,
}

/// Key hashes whose entries are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The scope.
    pub scope: Scope,
    /// The key hashes. None at all asks for what no comparison finds: the receiver's own volatile entries of the
    /// scope, and its own others if it takes no part in the scope itself.
    pub hashes: Vec<u64>,
}

/// A frame is no message. The connection should be ended: the peer is broken or hostile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The body ends too early.
    #[error("a message ends too early")]
    Truncated,
    /// The body is longer than any message.
    #[error("a message of {0} bytes is too long (at most {FRAME_LEN_MAX})")]
    TooLong(usize),
    /// A body of another version, which was not agreed on.
    #[error("a message of version {0}, which was not agreed on")]
    Version(u8),
    /// More elements than the limit.
    #[error("a message with too many {0}")]
    TooMany(&'static str),
    /// A field that cannot be.
    #[error("a message with an impossible {0}")]
    Field(&'static str),
}

/// Encodes a message: type of the frame, and its body.
#[must_use]
pub fn encode(message: &Message) -> (u8, Vec<u8>) {
    let mut out = Vec::with_capacity(64);
    out.push(BODY_VERSION);
    out.extend_from_slice(&message.stamp.as_nanos().to_le_bytes());
    let kind = match &message.body {
        Body::Hello(hello) => {
            // Strings and numbers only: encoding into memory has no way to fail. A receiver refuses an empty map.
            out.extend_from_slice(&rmp_serde::to_vec_named(hello).unwrap_or_default());
            1
        }
        Body::Push(entries, _) => {
            put_entries(&mut out, entries);
            2
        }
        Body::Digest(digest) => {
            put_digest(&mut out, digest);
            3
        }
        Body::Ranges(ranges) => {
            put_list(&mut out, ranges, put_range);
            4
        }
        Body::Items(sets) => {
            put_list(&mut out, sets, put_item_set);
            5
        }
        Body::Want(wants) => {
            put_list(&mut out, wants, put_want);
            6
        }
        Body::Entries(entries, _) => {
            put_entries(&mut out, entries);
            7
        }
        Body::Bye(reason) => {
            let text = cut(reason, BYE_TEXT_MAX);
            out.extend_from_slice(&len16(text.len()));
            out.extend_from_slice(text);
            8
        }
        Body::Marks(lines) => marks::put_marks(&mut out, lines),
        Body::Context(context) => {
            marks::put_context(&mut out, context);
            marks::CONTEXT
        }
        Body::Below(lines) => marks::put_below(&mut out, lines),
        Body::Clock(wall, standing) => {
            out.extend_from_slice(&wall.to_le_bytes());
            if let Some(standing) = standing {
                out.extend_from_slice(&standing.epoch.to_le_bytes());
                out.push(u8::from(standing.ask) * CLOCK_ASK);
                out.extend_from_slice(&standing.age_secs.to_le_bytes());
            }
            KIND_CLOCK
        }
        Body::Links(notes) => {
            overlay::put_links(&mut out, notes);
            LINKS
        }
        Body::Brief(brief) => {
            overlay::put_brief(&mut out, brief);
            BRIEF
        }
        Body::Prints(groups) => {
            compact::put_prints(&mut out, groups);
            PRINTS
        }
        Body::Lists(sets) => {
            compact::put_lists(&mut out, sets);
            LISTS
        }
        Body::Watch(watch) => watching::put_watch(&mut out, watch),
        Body::News(news) => watching::put_news(&mut out, news),
        Body::Unserved(lines) => watching::put_unserved(&mut out, lines),
    };
    (kind, out)
}

fn put_range(out: &mut Vec<u8>, range: &RangeSum) {
    put_scope(out, &range.scope);
    out.extend_from_slice(&range.lo.to_le_bytes());
    out.extend_from_slice(&range.hi.to_le_bytes());
    out.extend_from_slice(&range.count.to_le_bytes());
    out.extend_from_slice(&range.print.to_le_bytes());
}

fn put_want(out: &mut Vec<u8>, want: &Want) {
    put_scope(out, &want.scope);
    put_list(out, &want.hashes, |out, hash| {
        out.extend_from_slice(&hash.to_le_bytes());
    });
}

/// Decodes the body of a frame; `None` for a type that this program does not know, which is to be skipped.
///
/// # Errors
/// [`DecodeError`]; never panics, whatever the bytes are.
pub fn decode(kind: u8, body: &[u8]) -> Result<Option<Message>, DecodeError> {
    if !matches!(kind, 1..=10 | PRINTS | LISTS | marks::MARKS..=BELOW_EPOCHS | KIND_CLOCK..=UNSERVED)
    {
        return Ok(None);
    }
    if body.len() > FRAME_LEN_MAX {
        return Err(DecodeError::TooLong(body.len()));
    }
    let mut reader = Reader::new(body);
    let version = reader.u8()?;
    if version != BODY_VERSION {
        return Err(DecodeError::Version(version));
    }
    let stamp = Timestamp::from_nanos(reader.u64()?);
    let r = &mut reader;
    let body = match kind {
        1 => Body::Hello(
            rmp_serde::from_slice(r.rest()).map_err(|_| DecodeError::Field("greeting"))?,
        ),
        2 => get_entries(r).map(|(entries, skipped)| Body::Push(entries, skipped))?,
        3 => Body::Digest(get_digest(r)?),
        4 => Body::Ranges(get_list(r, RANGES_MAX, "ranges", get_range)?),
        5 => Body::Items(get_list(r, ITEM_SETS_MAX, "item sets", get_item_set)?),
        6 => Body::Want(get_list(r, ITEM_SETS_MAX, "wishes", |r| {
            let scope = get_scope(r)?;
            let hashes = get_list(r, ITEMS_MAX, "key hashes", Reader::u64)?;
            Ok(Want { scope, hashes })
        })?),
        marks::MARKS | MARKS_EPOCHS => marks::get_marks(r, kind)?,
        marks::CONTEXT => marks::get_context(r)?,
        marks::BELOW | BELOW_EPOCHS => marks::get_below(r, kind)?,
        7 => get_entries(r).map(|(entries, skipped)| Body::Entries(entries, skipped))?,
        KIND_CLOCK => Body::Clock(r.u64()?, get_standing(r)?),
        LINKS => overlay::get_links(r)?,
        BRIEF => overlay::get_brief(r)?,
        PRINTS => compact::get_prints(r)?,
        LISTS => compact::get_lists(r)?,
        WATCH => watching::get_watch(r)?,
        NEWS => watching::get_news(r)?,
        UNSERVED => watching::get_unserved(r)?,
        _ => {
            let len = r.count(BYE_TEXT_MAX, "bytes of text")?;
            let text = std::str::from_utf8(r.take(len)?);
            Body::Bye(text.map_err(|_| DecodeError::Field("text"))?.to_owned())
        }
    };
    Ok(Some(Message { stamp, body }))
}

/// All lists are cut to their limits, far below 2^16, where they are made.
fn len16(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes()
}

fn put_list<T>(out: &mut Vec<u8>, list: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    out.extend_from_slice(&len16(list.len()));
    for item in list {
        put(out, item);
    }
}

fn get_list<'a, T>(
    reader: &mut Reader<'a>,
    max: usize,
    what: &'static str,
    get: impl Fn(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = reader.count(max, what)?;
    // No memory is set aside on the word of a count.
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(get(reader)?);
    }
    Ok(list)
}

fn put_entries(out: &mut Vec<u8>, entries: &[Entry]) {
    put_list(out, entries, |out, entry| {
        let at = out.len();
        out.extend_from_slice(&[0, 0]);
        encode_entry(entry, out);
        let len = len16(out.len() - at - 2);
        out[at..at + 2].copy_from_slice(&len);
    });
}

fn get_entries(reader: &mut Reader<'_>) -> Result<(Vec<Entry>, u32), DecodeError> {
    let mut entries = Vec::new();
    let mut skipped = 0;
    for _ in 0..reader.count(BATCH_ENTRIES_MAX, "entries")? {
        let len = usize::from(reader.u16()?);
        let bytes = reader.take(len)?;
        match decode_entry(bytes) {
            Ok((entry, read)) if read == len => entries.push(entry),
            _ => skipped += 1,
        }
    }
    Ok((entries, skipped))
}

fn put_digest(out: &mut Vec<u8>, digest: &Digest) {
    let reply = if digest.reply { DIGEST_REPLY } else { 0 };
    let busy = if digest.busy { DIGEST_BUSY } else { 0 };
    let unsettled = if digest.unsettled {
        DIGEST_UNSETTLED
    } else {
        0
    };
    out.push(reply | busy | unsettled);
    out.extend_from_slice(&digest.global.to_le_bytes());
    out.extend_from_slice(&digest.shared.to_le_bytes());
    out.extend_from_slice(&digest.resources.to_le_bytes());
    if let Some(marks) = digest.marks {
        out.extend_from_slice(&marks.to_le_bytes());
    }
}

fn get_digest(reader: &mut Reader<'_>) -> Result<Digest, DecodeError> {
    let flags = reader.u8()?;
    Ok(Digest {
        reply: flags & DIGEST_REPLY != 0,
        busy: flags & DIGEST_BUSY != 0,
        unsettled: flags & DIGEST_UNSETTLED != 0,
        global: reader.u128()?,
        shared: reader.u128()?,
        resources: reader.u32()?,
        marks: (reader.rest().len() >= 8)
            .then(|| reader.u64())
            .transpose()?,
    })
}

fn get_standing(reader: &mut Reader<'_>) -> Result<Option<Standing>, DecodeError> {
    if reader.rest().len() < STANDING_LEN {
        return Ok(None);
    }
    Ok(Some(Standing {
        epoch: reader.u16()?,
        ask: reader.u8()? & CLOCK_ASK != 0,
        age_secs: reader.u32()?,
    }))
}

fn put_scope(out: &mut Vec<u8>, scope: &Scope) {
    let name: &str = match scope {
        Scope::Global => "",
        Scope::Resource(name) => name,
    };
    // A resource's name is part of a key's part, which is at most 255 bytes.
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(cut(name, SCOPE_NAME_MAX));
}

/// The beginning of a text that has at most `max` bytes, cut between two characters.
fn cut(text: &str, max: usize) -> &[u8] {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text.as_bytes()[..end]
}

fn get_scope(reader: &mut Reader<'_>) -> Result<Scope, DecodeError> {
    let len = usize::from(reader.u8()?);
    let name =
        std::str::from_utf8(reader.take(len)?).map_err(|_| DecodeError::Field("scope name"))?;
    Ok(match name {
        "" => Scope::Global,
        name => Scope::Resource(name.into()),
    })
}

fn get_bounds(reader: &mut Reader<'_>) -> Result<(u64, u64), DecodeError> {
    let (lo, hi) = (reader.u64()?, reader.u64()?);
    if lo > hi {
        return Err(DecodeError::Field("range"));
    }
    Ok((lo, hi))
}

fn get_range(reader: &mut Reader<'_>) -> Result<RangeSum, DecodeError> {
    let scope = get_scope(reader)?;
    let (lo, hi) = get_bounds(reader)?;
    let count = reader.u32()?;
    let print = reader.u128()?;
    Ok(RangeSum {
        scope,
        lo,
        hi,
        count,
        print,
    })
}

fn put_item_set(out: &mut Vec<u8>, set: &ItemSet) {
    put_scope(out, &set.scope);
    out.extend_from_slice(&set.lo.to_le_bytes());
    out.extend_from_slice(&set.hi.to_le_bytes());
    put_list(out, &set.items, |out, (hash, epoch, stamp, tag)| {
        out.extend_from_slice(&hash.to_le_bytes());
        out.extend_from_slice(&epoch.to_le_bytes());
        out.extend_from_slice(&stamp.as_nanos().to_le_bytes());
        out.extend_from_slice(&tag.to_le_bytes());
    });
}

fn get_item_set(reader: &mut Reader<'_>) -> Result<ItemSet, DecodeError> {
    let scope = get_scope(reader)?;
    let (lo, hi) = get_bounds(reader)?;
    let items = get_list(reader, ITEMS_MAX, "items", |r| {
        Ok((
            r.u64()?,
            r.u16()?,
            Timestamp::from_nanos(r.u64()?),
            r.u64()?,
        ))
    })?;
    Ok(ItemSet {
        scope,
        lo,
        hi,
        items,
    })
}

#[cfg(test)]
mod tests;
