//! Positions, sizes and rests of sync, fetch, replay, and of fetch and replay together.

use super::{Ask, flag};
use crate::macros::facts::Series;
use crate::macros::number::{Num, bytes, float};

pub(super) fn call(ask: &mut Ask<'_, '_>) -> Option<String> {
    let facts = ask.facts;
    let (res, me) = (ask.res, ask.me);
    Some(match ask.name {
        "writebackrest" => facts.rest(res, me, Series::Work).to_string(),
        "replaylognr" => facts.amounts(res, me).replay_nr.to_string(),
        "replaybasenr" => facts.amounts(res, me).base_nr.to_string(),
        "fetchlognr" => facts.amounts(res, me).fetch_nr.to_string(),
        "worklognr" => facts.amounts(res, me).work_nr.to_string(),
        "replaylogcount" => {
            let amounts = facts.amounts(res, me);
            (amounts.replay_nr - amounts.base_nr).to_string()
        }
        "fetchlogcount" => {
            let amounts = facts.amounts(res, me);
            (amounts.fetch_nr - amounts.replay_nr).to_string()
        }
        "worklogcount" => {
            let amounts = facts.amounts(res, me);
            (amounts.work_nr - amounts.replay_nr).to_string()
        }
        "summaryvector" => {
            let (back, fetched) = facts.progress(res, me, Series::Replay);
            let (_, known) = facts.progress(res, me, Series::Fetch);
            let delim = ask.arg(0).unwrap_or(":");
            format!("{back}{delim}{fetched}{delim}{known}")
        }
        "syncpossize" => sync_target(ask, 0),
        "syncpospos" => sync_target(ask, 1),
        "workrate" => {
            let rate = |name| facts.rate(res, me, name).saturating_mul(1024);
            rate("amount-file_rate")
                .max(rate("amount-replay_rate"))
                .to_string()
        }
        name => return series(ask, name),
    })
}

/// Where replay must be for the replica to be consistent after the sync: log number or position.
fn sync_target(ask: &Ask<'_, '_>, which: usize) -> String {
    let value = ask.facts.of(ask.res, &format!("syncpos-{}", ask.me));
    let value = value.unwrap_or_default();
    let part = value.split(',').nth(which).unwrap_or_default();
    let digits = part.strip_prefix("log-").unwrap_or(part);
    Num::read(digits).int().to_string()
}

fn series(ask: &Ask<'_, '_>, name: &str) -> Option<String> {
    let (series, what) = ["sync", "fetch", "replay", "work"]
        .iter()
        .find_map(|prefix| Some((Series::named(prefix)?, name.strip_prefix(prefix)?)))?;
    let (facts, res, me) = (ask.facts, ask.res, ask.me);
    let (pos, size) = facts.progress(res, me, series);
    let rest = size.saturating_sub(pos);
    Some(match what {
        "pos" if series == Series::Sync => facts
            .of(res, &format!("syncstatus-{me}"))
            .unwrap_or_default(),
        "pos" => pos.to_string(),
        "size" => size.to_string(),
        "rest" => rest.to_string(),
        "reached" => flag(rest == 0),
        "almostreached" => {
            let permille = Num::read(ask.arg(0).unwrap_or("990")).int();
            let permille = u64::try_from(permille).unwrap_or(0).max(1);
            flag(pos / permille >= size / 1000)
        }
        "thresholdreached" => {
            let number = |text| u64::try_from(Num::read(text).int()).unwrap_or(0);
            let given = ask
                .arg(0)
                .map(|text| bytes(text).unwrap_or_else(|| number(text)));
            let threshold = given.unwrap_or(facts.opts.threshold);
            flag(pos.saturating_add(threshold) >= size)
        }
        "percent" => share(pos, size, 100.5, 100.0),
        "permille" => share(pos, size, 1000.5, 1000.0),
        "vector" => format!("{pos}{}{size}", ask.arg(0).unwrap_or(":")),
        "rate" | "amountrate" => facts
            .rate(res, me, &format!("amount-{}_rate", rate_name(series)?))
            .saturating_mul(1024)
            .to_string(),
        "opsrate" => facts
            .rate(res, me, &format!("ops-{}_rate", rate_name(series)?))
            .to_string(),
        "remain" => remain(ask, series).to_string(),
        _ => return None,
    })
}

fn rate_name(series: Series) -> Option<&'static str> {
    match series {
        Series::Sync => Some("sync"),
        Series::Fetch => Some("file"),
        Series::Replay => Some("replay"),
        Series::Work => None,
    }
}

fn share(pos: u64, size: u64, factor: f64, most: f64) -> String {
    let share = if size == 0 {
        most
    } else {
        (factor * float(pos) / float(size)).min(most)
    };
    Num::Float(share).to_string()
}

/// Seconds that are left: 0 when done, -1 when not known.
fn remain(ask: &Ask<'_, '_>, series: Series) -> Num {
    let Some(name) = rate_name(series) else {
        let parts = [Series::Fetch, Series::Replay].map(|part| remain(ask, part));
        if parts.iter().any(|part| part.float() < 0.0) {
            return Num::Int(-1);
        }
        return parts[0].apply('+', parts[1]).unwrap_or(Num::Int(-1));
    };
    let rest = ask.facts.rest(ask.res, ask.me, series);
    let rate = ask
        .facts
        .rate(ask.res, ask.me, &format!("amount-{name}_rate"));
    let rate = Num::from(rate.saturating_mul(1024));
    if rest == 0 {
        return Num::Int(0);
    }
    if rate.float() <= 0.0 {
        return Num::Int(-1);
    }
    Num::Float(float(rest) / rate.float())
}
