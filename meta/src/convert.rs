//! A store of format 1, in which each entry has a record of its own, becomes one of groups.

use crate::group::{GROUPS, Packer};
use crate::limits::GROUP_BYTES;
use crate::packed::Pace;
use crate::record::{ENTRIES, FORMAT, FORMAT_NAME, local_key, open_entry, seal_record};
use crate::sled_records::{Change, Records};
use crate::store_error::{SledError, bad_record};

/// Writes the groups, then the new format; the old records do not count from then on, and are removed later, beside other
/// work. A crash before the new format leaves the old store, whose conversion begins anew.
pub(crate) fn convert<R: Records>(records: &mut R, pace: Pace) -> Result<(), SledError> {
    remove_groups(records, pace)?;
    let (mut next, mut entries) = (1, 0_u64);
    let mut packer = Packer::new(next, GROUP_BYTES);
    let mut flush = |packer: Packer| -> Result<u64, SledError> {
        let groups = packer.finish();
        next += u64::try_from(groups.len()).unwrap_or(u64::MAX);
        let put = groups.into_iter().map(|(key, record)| (key, Some(record)));
        records.write(put.collect())?;
        Ok(next)
    };
    records.scan(ENTRIES, &mut |key, record| {
        if !key.starts_with(ENTRIES) {
            return Ok(false);
        }
        let entry =
            open_entry(key, record).map_err(|error| bad_record(records.path(), key, &error))?;
        packer.put(&entry);
        entries += 1;
        if packer.len() >= pace.convert {
            let full = std::mem::replace(&mut packer, Packer::new(0, GROUP_BYTES));
            packer = Packer::new(flush(full)?, GROUP_BYTES);
        }
        Ok(true)
    })?;
    flush(packer)?;
    let key = local_key(FORMAT_NAME);
    let record = seal_record(&key, FORMAT.as_bytes());
    records.write(vec![(key, Some(record))])?;
    records.sync()?;
    tracing::info!(path = %records.path().display(), entries, "the metadata store was converted to format 2");
    Ok(())
}

/// What a conversion left that did not come to its end.
fn remove_groups<R: Records>(records: &R, pace: Pace) -> Result<(), SledError> {
    loop {
        let mut batch: Vec<Change> = Vec::new();
        records.scan(GROUPS, &mut |key, _| {
            let wanted = key.starts_with(GROUPS) && batch.len() < pace.entries;
            if wanted {
                batch.push((key.to_vec(), None));
            }
            Ok(wanted)
        })?;
        if batch.is_empty() {
            return Ok(());
        }
        records.write(batch)?;
    }
}
