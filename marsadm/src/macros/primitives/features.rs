//! Versions and features of the data planes.

use super::Ask;
use crate::macros::facts::{Mask, names_of};

pub(super) fn call(ask: &mut Ask<'_, '_>) -> Option<String> {
    let facts = ask.facts;
    let me = ask.me;
    Some(match ask.name {
        "tree" | "treeversion" => facts.get(&format!("actual-{me}/tree")).unwrap_or_default(),
        "featuresversion" => {
            let (features, strategy, mask) = facts.common_features();
            format!("{features},{strategy},0x{mask:08x}")
        }
        "potentialfeatures" => names_of(facts.common_features().2, Mask::Features),
        "usedlogcompression" => used(ask, "used-log-compression", Mask::Compressions),
        "usednetcompression" => used(ask, "used-net-compression", Mask::Compressions),
        "usedlogdigest" => used(ask, "used-log-digest", Mask::Digests),
        "usednetdigest" => used(ask, "used-net-digest", Mask::Digests),
        "enabledlogcompressions" => set(ask, "enabled-log-compressions", Mask::Compressions),
        "enablednetcompressions" => set(ask, "enabled-net-compressions", Mask::Compressions),
        "disabledlogdigests" => set(ask, "disabled-log-digests", Mask::Digests),
        "disablednetdigests" => set(ask, "disabled-net-digests", Mask::Digests),
        name => {
            let (key, what) = [("implemented", "features"), ("usable", "usable")]
                .iter()
                .find_map(|(prefix, key)| Some((*key, name.strip_prefix(prefix)?)))?;
            let which = match what {
                "features" => Mask::Features,
                "compressions" => Mask::Compressions,
                "digests" => Mask::Digests,
                _ => return None,
            };
            names_of(facts.feature_mask(me, key), which)
        }
    })
}

fn used(ask: &Ask<'_, '_>, name: &str, which: Mask) -> String {
    names_of(ask.facts.mask(&format!("actual-{}/{name}", ask.me)), which)
}

fn set(ask: &Ask<'_, '_>, name: &str, which: Mask) -> String {
    names_of(ask.facts.mask(&format!("defaults/{name}")), which)
}
