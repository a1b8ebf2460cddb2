//! Bytes of what passes between a node that watches a resource from outside and the member that tells it.

use super::{
    Body, DecodeError, get_entries, get_list, get_scope, put_entries, put_list, put_scope,
};
use crate::limits::WATCH_SCOPES_MAX;
use crate::reader::Reader;
use mars_meta_model::{Entry, Scope};

pub(crate) const WATCH: u8 = 25;
pub(crate) const NEWS: u8 = 26;
pub(crate) const UNSERVED: u8 = 27;

const NEWS_FIRST: u8 = 1;
const NEWS_COMPLETE: u8 = 2;

/// All that the sender watches at the receiver, in place of what it watched before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRequest {
    /// For how many seconds, unless asked again.
    pub lease_s: u16,
    /// The resources, each with the number of the watch; none: nothing any more. Another number than before asks for a new
    /// copy.
    pub scopes: Vec<(Scope, u32)>,
}

/// Entries of a watched resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The resource.
    pub scope: Scope,
    /// The number of the watch.
    pub number: u32,
    /// Whether a copy of all entries begins here.
    pub first: bool,
    /// Whether the copy ends here.
    pub complete: bool,
    /// The entries. None at all is a sign of life.
    pub entries: Vec<Entry>,
    /// Received entries that could not be read and were left out.
    pub skipped: u32,
}

/// Why a watch is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unserved {
    /// The asked node is no member of the resource.
    NoMember,
    /// It serves as many nodes as it can.
    Busy,
    /// The resource has more keys than one watcher is told.
    TooLarge,
    /// A reason of a later version.
    Other,
}

const REASONS: [Unserved; 3] = [Unserved::NoMember, Unserved::Busy, Unserved::TooLarge];

/// Appends the body of a message; returns its type, as all of this file.
pub(super) fn put_watch(out: &mut Vec<u8>, watch: &WatchRequest) -> u8 {
    out.extend_from_slice(&watch.lease_s.to_le_bytes());
    put_list(out, &watch.scopes, |out, (scope, number)| {
        put_scope(out, scope);
        out.extend_from_slice(&number.to_le_bytes());
    });
    WATCH
}

pub(super) fn get_watch(reader: &mut Reader<'_>) -> Result<Body, DecodeError> {
    Ok(Body::Watch(WatchRequest {
        lease_s: reader.u16()?,
        scopes: get_list(reader, WATCH_SCOPES_MAX, "watched resources", |r| {
            Ok((get_scope(r)?, r.u32()?))
        })?,
    }))
}

pub(super) fn put_news(out: &mut Vec<u8>, news: &News) -> u8 {
    put_scope(out, &news.scope);
    out.extend_from_slice(&news.number.to_le_bytes());
    let first = if news.first { NEWS_FIRST } else { 0 };
    let complete = if news.complete { NEWS_COMPLETE } else { 0 };
    out.push(first | complete);
    put_entries(out, &news.entries);
    NEWS
}

pub(super) fn get_news(reader: &mut Reader<'_>) -> Result<Body, DecodeError> {
    let scope = get_scope(reader)?;
    let number = reader.u32()?;
    let flags = reader.u8()?;
    let (entries, skipped) = get_entries(reader)?;
    Ok(Body::News(News {
        scope,
        number,
        first: flags & NEWS_FIRST != 0,
        complete: flags & NEWS_COMPLETE != 0,
        entries,
        skipped,
    }))
}

pub(super) fn put_unserved(out: &mut Vec<u8>, lines: &[(Scope, Unserved)]) -> u8 {
    put_list(out, lines, |out, (scope, reason)| {
        put_scope(out, scope);
        let place = (0u8..).zip(REASONS).find(|(_, other)| other == reason);
        out.push(place.map_or(u8::MAX, |(number, _)| number));
    });
    UNSERVED
}

pub(super) fn get_unserved(reader: &mut Reader<'_>) -> Result<Body, DecodeError> {
    let lines = get_list(reader, WATCH_SCOPES_MAX, "refusals", |r| {
        let scope = get_scope(r)?;
        let reason = REASONS.get(usize::from(r.u8()?)).copied();
        Ok((scope, reason.unwrap_or(Unserved::Other)))
    })?;
    Ok(Body::Unserved(lines))
}
