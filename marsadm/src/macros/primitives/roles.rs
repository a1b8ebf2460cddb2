//! Who is primary, and where the device is mounted.

use super::{Ask, flag};
use crate::snapshot::Device;

pub(super) fn call(ask: &mut Ask<'_, '_>) -> Option<String> {
    let facts = ask.facts;
    let res = ask.res;
    Some(match ask.name {
        "getprimary" => facts.primary(res).unwrap_or_default(),
        "actualprimary" => {
            ask.warnings
                .push("`actual-primary` is a guess: better ask `is-primary` of each host".into());
            if facts.device_present(res, ask.me) {
                ask.me.to_owned()
            } else {
                let first = facts.reported_primaries(res).into_iter().next();
                first.unwrap_or_default()
            }
        }
        "knowndevicemounted" => {
            let mounted = device(ask).is_some_and(|device| device.mountpoint.is_some());
            if mounted { flag(true) } else { String::new() }
        }
        "knowndevicemountpoint" => text(device(ask).and_then(|d| d.mountpoint.as_ref())),
        "knowndevicefstype" => text(device(ask).and_then(|d| d.fstype.as_ref())),
        "knowndevicemountflags" => text(device(ask).and_then(|d| d.mountflags.as_ref())),
        "getdisk" => facts.disk(res, &ask.host(0)).unwrap_or_default(),
        "getdevice" => facts.device(res, &ask.host(0)).unwrap_or_default(),
        _ => return None,
    })
}

/// The device as this machine knows it; nothing is known of other machines.
fn device<'a>(ask: &Ask<'a, '_>) -> Option<&'a Device> {
    let host = ask.host(0);
    let path = ask.facts.device(ask.res, &host)?;
    if !ask.facts.is_real(&host) {
        return None;
    }
    ask.facts.snap.header.devices.get(&path)
}

fn text(value: Option<&String>) -> String {
    value.cloned().unwrap_or_default()
}
