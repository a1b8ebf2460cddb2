//! Features that the data planes have in common, as names.

use super::Facts;
use super::hosts::Part;

/// Names of the bits, in ascending order.
const BITS: &[(u32, &str)] = &[
    (0x0001_0000, "CHKSUM_MD5_OLD"),
    (0x0002_0000, "CHKSUM_MD5"),
    (0x0004_0000, "CHKSUM_CRC32C"),
    (0x0008_0000, "CHKSUM_CRC32"),
    (0x0010_0000, "CHKSUM_SHA1"),
    (0x0100_0000, "COMPRESS_LZO"),
    (0x0200_0000, "COMPRESS_LZ4"),
    (0x0400_0000, "COMPRESS_ZLIB"),
];

/// Which bits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mask {
    /// All.
    Features,
    /// Compressions.
    Compressions,
    /// Digests.
    Digests,
}

/// The names of the bits of a mask, joined by `|`; what has no name is shown as a number for `Mask::Features` only.
pub(crate) fn names_of(mask: u32, which: Mask) -> String {
    let wanted = |name: &str| match which {
        Mask::Features => true,
        Mask::Compressions => name.starts_with("COMPRESS"),
        Mask::Digests => name.starts_with("CHKSUM"),
    };
    let mut names: Vec<String> = Vec::new();
    let mut rest = mask;
    for (bit, name) in BITS {
        if mask & bit != 0 && wanted(name) {
            names.push((*name).to_owned());
        }
        rest &= !bit;
    }
    if rest != 0 && which == Mask::Features {
        names.push(format!("{rest:#x}"));
    }
    names.join("|")
}

/// Reads a mask: names, `0x` hexadecimal, octal with a leading 0, or decimal, separated by `|`.
fn mask_of(text: &str) -> u32 {
    let mut mask = 0;
    for part in text.split('|').map(str::trim) {
        let named = BITS.iter().find(|bit| bit.1 == part).map(|bit| bit.0);
        let number = || {
            if let Some(hex) = part.strip_prefix("0x") {
                u32::from_str_radix(hex, 16).ok()
            } else if part.len() > 1 && part.starts_with('0') {
                u32::from_str_radix(part, 8).ok()
            } else {
                part.parse().ok()
            }
        };
        mask |= named.or_else(number).unwrap_or(0);
    }
    mask
}

/// `features version, strategy version, mask`.
fn triple(value: &str) -> Option<(i64, i64, u32)> {
    let mut parts = value.split(',').map(str::trim);
    let features = parts.next()?.parse().ok()?;
    let strategy = parts.next().and_then(|p| p.parse().ok()).unwrap_or(0);
    Some((features, strategy, mask_of(parts.next().unwrap_or("0"))))
}

impl Facts<'_> {
    /// The minimum of what all hosts with a recent sign of life offer.
    pub(crate) fn common_features(&self) -> (i64, i64, u32) {
        const YEAR: f64 = 366.0 * 86_400.0;
        let mut common: Option<(i64, i64, u32)> = None;
        for host in self.total_peers() {
            let here = host == self.opts.host
                || self
                    .resources()
                    .iter()
                    .any(|res| self.takes_part(res, &host, Part::Any));
            let young = self.alive_age(&host).is_some_and(|age| age < YEAR);
            if !here || !young || self.is_deleted_peer(&host) {
                continue;
            }
            let own = self
                .get(&format!("actual-{host}/features"))
                .and_then(|value| triple(&value))
                .unwrap_or((0, 0, 0));
            common = Some(common.map_or(own, |c| (c.0.min(own.0), c.1.min(own.1), c.2 & own.2)));
        }
        common.unwrap_or((0, 0, 0))
    }

    /// The mask in `actual-HOST/NAME`: `features` or `usable`.
    pub(crate) fn feature_mask(&self, host: &str, name: &str) -> u32 {
        self.get(&format!("actual-{host}/{name}"))
            .and_then(|value| triple(&value))
            .map_or(0, |triple| triple.2)
    }

    /// A mask that stands alone in a key.
    pub(crate) fn mask(&self, path: &str) -> u32 {
        self.get(path).map_or(0, |value| mask_of(&value))
    }
}
