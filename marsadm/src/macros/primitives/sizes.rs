//! Sizes, space and rates of the device.

use super::Ask;
use crate::macros::facts::Part;
use crate::macros::number::Num;

pub(super) fn call(ask: &mut Ask<'_, '_>) -> Option<String> {
    let facts = ask.facts;
    let (res, me) = (ask.res, ask.me);
    Some(match ask.name {
        "disksize" => {
            let host = ask.host(0);
            let size = facts.of(res, &format!("actsize-{host}"));
            ask.wanted(size, &format!("the disk size of host `{host}`"))
        }
        "resourcesize" => facts.of(res, "size").unwrap_or_default(),
        "devicesize" => {
            let host = ask.host(0);
            if !facts.device_present(res, &host) {
                return Some(facts.of(res, "size").unwrap_or_default());
            }
            let path = facts.device(res, &host).unwrap_or_default();
            let device = facts.snap.header.devices.get(&path);
            let sectors = device
                .filter(|_| facts.is_real(&host))
                .and_then(|device| device.sectors);
            sectors.unwrap_or(0).saturating_mul(512).to_string()
        }
        "resourcepossiblesize" => {
            let members = facts.peers_of(res, Part::Member);
            let sizes = members
                .iter()
                .filter(|host| facts.disk(res, host).is_some())
                .filter_map(|host| facts.number_of(res, &format!("actsize-{host}")));
            sizes.min().unwrap_or(0).to_string()
        }
        "occupiedsize" => facts.log_bytes(res).0.to_string(),
        "deletablesize" => facts.log_bytes(res).1.to_string(),
        "restspace" => space(ask, "rest-space"),
        "totalspace" => space(ask, "total-space"),
        "deviceopsrate" => facts.rate(res, me, "ops-if_rate").to_string(),
        "deviceamountrate" | "devicerate" => facts
            .rate(res, me, "amount-if_rate")
            .saturating_mul(1024)
            .to_string(),
        "globalsynclimitvalue" => {
            let value = facts.get(&format!("defaults-{me}/sync-limit"));
            Num::read(&value.unwrap_or_default()).to_string()
        }
        _ => return None,
    })
}

fn space(ask: &Ask<'_, '_>, name: &str) -> String {
    let host = ask.host(0);
    ask.facts
        .get(&format!("actual-{host}/{name}"))
        .unwrap_or_default()
}
