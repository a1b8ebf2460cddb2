//! The single owner of a store: clock, merge, commit, table. Synchronous, without threads of its own.

use crate::collect::Bringer;
use crate::job::{Change, Committed, Done, EpochRefusal, Job, Merged, WriteError};
use crate::ledger::{self, Grave, Places};
use crate::limits::{
    CEILING_AHEAD_NS, CEILING_STEP_NS, GRAVE_AGE_NS, LOCAL_NAME_LEN_MAX, LOCAL_VALUE_LEN_MAX,
};
use crate::record::{FIRST_GROUP, FORMAT_NAME};
use mars_lamport::{Clock, Timestamp};
use mars_meta_model::collect::{Mark, Position};
use mars_meta_model::{
    Cell, Durable, Entry, Key, NodeId, Scope, Store, Table, Value, View as _, Write,
    announced_epoch, encoded_len, epoch_key, epoch_may_follow, is_volatile,
};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Name of the local record that holds the clock's ceiling.
pub(crate) const CEILING: &str = "ceiling";
/// Why a local record may not be written.
pub(crate) const OWN_NAME: &str = "the name belongs to the store itself";

/// Why a store could not be taken into use. It was not changed.
#[derive(Debug, thiserror::Error)]
pub enum CoreOpenError<E> {
    /// The backend could not be read.
    #[error("the metadata store cannot be read: {0}")]
    Store(#[source] E),
    /// The record of the clock's ceiling is no 8-byte number.
    #[error("the local record 'ceiling' of the metadata store is damaged ({0} bytes, not 8)")]
    Ceiling(usize),
    /// A record of the collection of tombstones cannot be read.
    #[error("the local record '{0}' of the metadata store is damaged, or of a later version")]
    Collection(String),
}

/// The table that a core fills and others may read.
pub type SharedTable = Arc<RwLock<Table>>;

/// Locks `table` for reading; a panic elsewhere does not lock anybody out.
pub(crate) fn read(table: &RwLock<Table>) -> RwLockReadGuard<'_, Table> {
    table.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(table: &RwLock<Table>) -> RwLockWriteGuard<'_, Table> {
    table.write().unwrap_or_else(PoisonError::into_inner)
}

/// The owner of a [`Store`] and of the [`Table`] in memory.
///
/// # Invariants
/// * I-1: a durable entry is committed before the table shows it.
/// * I-2: no stamp is shown that lies above the ceiling on disk, so a restarted node issues only greater ones.
/// * I-3: a local write is newer than everything that the table holds at that moment.
/// * I-4: after a store error nothing is written any more; reads go on.
#[derive(Debug)]
pub struct Core<S> {
    store: S,
    table: SharedTable,
    pub(crate) clock: Clock,
    /// The ceiling on disk.
    ceiling: Timestamp,
    max_ahead_ns: u64,
    /// The epoch of the cluster's clock: the greatest that was announced. Own writes carry it.
    pub(crate) epoch: u16,
    pub(crate) node: NodeId,
    pub(crate) boot: u64,
    poisoned: Option<Arc<str>>,
    places: Places,
    /// Length of the durable entries, encoded.
    durable_bytes: u64,
    /// A peer's global scope was found equal in this life.
    pub(crate) learnt_global: bool,
    /// System clock (ns) at the first look of this life at what can be collected.
    pub(crate) first_tick: Option<u64>,
}

/// Changes of a group that are decided but not yet committed.
#[derive(Default)]
pub(crate) struct Staged {
    /// `None`: the key is forgotten.
    pub(crate) entries: BTreeMap<Key, Option<Entry>>,
    local: BTreeMap<String, Vec<u8>>,
    pub(crate) marks: BTreeMap<Scope, Mark>,
    /// Live entries that a collection drops.
    pub(crate) buried: Vec<Entry>,
    /// A new epoch begins: the ceiling of the old one is void.
    new_epoch: bool,
}

impl Staged {
    pub(crate) fn held<'a>(&'a self, table: &'a Table, key: &Key) -> Option<&'a Entry> {
        match self.entries.get(key) {
            Some(staged) => staged.as_ref(),
            None => table.entry(key),
        }
    }
}

impl<S: Store> Core<S> {
    /// Loads all of `store`. `boot` is drawn anew for each start, `max_ahead_ns` is the clock's drift bound.
    ///
    /// # Errors
    /// [`CoreOpenError`]; the store was not changed.
    pub fn open(
        mut store: S,
        node: NodeId,
        boot: u64,
        max_ahead_ns: u64,
    ) -> Result<Self, CoreOpenError<S::Error>> {
        let mut entries = Vec::new();
        let mut outdated = Vec::new();
        let (mut last, mut epoch) = (Timestamp::ZERO, 0);
        let mut durable_bytes = 0;
        store
            .load(&mut |entry| {
                // Stamps of earlier epochs are below every stamp of the present one.
                (epoch, last) = (epoch, last).max((entry.epoch, entry.stamp));
                if is_volatile(&entry) {
                    // Stored by a version whose schema called the key durable.
                    outdated.push(entry.key);
                } else {
                    durable_bytes += bytes_of(&entry);
                    entries.push(entry);
                }
            })
            .map_err(CoreOpenError::Store)?;
        entries.shrink_to_fit();
        let mut table = Table::from_sorted(entries);
        let ceiling = match store.local(CEILING).map_err(CoreOpenError::Store)? {
            None => Timestamp::ZERO,
            Some(bytes) => {
                let len = bytes.len();
                let bytes = bytes.try_into().map_err(|_| CoreOpenError::Ceiling(len))?;
                Timestamp::from_nanos(u64::from_le_bytes(bytes))
            }
        };
        let (marks, places) = ledger::load(&mut store)
            .map_err(CoreOpenError::Store)?
            .map_err(CoreOpenError::Collection)?;
        for (_, mark) in marks.iter() {
            if mark.floor.epoch == epoch {
                last = last.max(mark.floor.stamp);
            }
        }
        *table.ledger_mut() = marks;
        if !outdated.is_empty() {
            let writes: Vec<Write<'_>> = outdated.iter().map(Write::Remove).collect();
            store.commit(&writes).map_err(CoreOpenError::Store)?;
        }
        Ok(Self {
            store,
            table: Arc::new(RwLock::new(table)),
            clock: Clock::new(last.max(ceiling), max_ahead_ns),
            ceiling,
            max_ahead_ns,
            epoch,
            node,
            boot,
            poisoned: None,
            places,
            durable_bytes,
            learnt_global: false,
            first_tick: None,
        })
    }

    /// Writes one batch. See [`Job::Apply`].
    ///
    /// # Errors
    /// [`WriteError`]; the table is unchanged.
    pub fn apply(
        &mut self,
        wall_ns: u64,
        changes: Vec<Change>,
        forced: bool,
    ) -> Result<Committed, WriteError> {
        match self.commit_one(wall_ns, Job::Apply { changes, forced })? {
            Done::Applied(committed) => Ok(committed),
            _ => Err(WriteError::Closed),
        }
    }

    /// Merges entries with the stamps that they carry. See [`Job::Merge`].
    ///
    /// # Errors
    /// [`WriteError`]; the table is unchanged.
    pub fn merge(&mut self, wall_ns: u64, entries: Vec<Entry>) -> Result<Merged, WriteError> {
        match self.commit_one(wall_ns, Job::Merge { entries })? {
            Done::Merged(merged) => Ok(merged),
            _ => Err(WriteError::Closed),
        }
    }

    fn commit_one(&mut self, wall_ns: u64, job: Job) -> Result<Done, WriteError> {
        let mut done = self.commit_group(wall_ns, vec![job], |_| {})?;
        done.pop().ok_or(WriteError::Closed)
    }

    /// Carries out all `jobs` in order with one atomic commit, and gives one answer per job.
    ///
    /// `publish` sees the answers in the moment in which the table shows them: readers are locked out
    /// meanwhile, so it must be short and must not read the table.
    ///
    /// # Errors
    /// [`WriteError`]: for all jobs; the table is unchanged and `publish` was not called.
    pub fn commit_group(
        &mut self,
        wall_ns: u64,
        jobs: Vec<Job>,
        publish: impl FnOnce(&[Done]),
    ) -> Result<Vec<Done>, WriteError> {
        if let Some(reason) = &self.poisoned {
            return Err(WriteError::Poisoned(Arc::clone(reason)));
        }
        for job in &jobs {
            check_local(job)?;
        }
        let mut staged = Staged::default();
        let mut done: Vec<Done> = jobs
            .into_iter()
            .map(|job| self.stage(wall_ns, job, &mut staged))
            .collect();
        let overwritten = self.write_out(wall_ns, &mut staged)?;
        for done in &mut done {
            if let Done::Collected(collected) = done {
                collected.overwritten = overwritten;
            }
        }
        let mut table = write(&self.table);
        for (key, entry) in staged.entries {
            // What is staged won by the merge rule already, perhaps after the held entry was forgotten.
            match entry {
                Some(entry) => table.put(entry),
                None => {
                    table.remove(&key);
                }
            }
        }
        for (scope, mark) in staged.marks {
            table.ledger_mut().set(scope, mark);
        }
        publish(&done);
        drop(table);
        Ok(done)
    }

    fn stage(&mut self, wall_ns: u64, job: Job, staged: &mut Staged) -> Done {
        match job {
            Job::Apply { changes, forced } => {
                Done::Applied(self.stage_apply(wall_ns, changes, forced, staged))
            }
            Job::Merge { entries } => {
                Done::Merged(self.stage_merge(wall_ns, entries, Bringer::Peer, staged))
            }
            Job::Import { entries } => {
                Done::Merged(self.stage_merge(wall_ns, entries, Bringer::Tree, staged))
            }
            Job::Restore { entries } => {
                Done::Merged(self.stage_merge(wall_ns, entries, Bringer::Backup, staged))
            }
            Job::Collect(task) => Done::Collected(self.stage_collect(wall_ns, task, staged)),
            Job::Forget { keys } => {
                let table = read(&self.table);
                let mut forgotten = Vec::new();
                for (key, stamp) in keys {
                    if let Some(held) = staged.held(&table, &key)
                        && held.stamp == stamp
                    {
                        forgotten.push(held.clone());
                        staged.entries.insert(key, None);
                    }
                }
                Done::Forgotten(forgotten)
            }
            Job::Observe { stamp } => Done::Observed(self.clock.observe(wall_ns, stamp).is_ok()),
            Job::Reassert { key, above } => {
                Done::Applied(self.stage_reassert(wall_ns, key, above, staged))
            }
            Job::BeginEpoch { note } => Done::Epoch(self.stage_epoch(wall_ns, note, staged)),
            Job::PutLocal { name, value } => {
                staged.local.insert(name, value);
                Done::Local
            }
        }
    }

    pub(crate) fn stage_apply(
        &mut self,
        wall_ns: u64,
        changes: Vec<Change>,
        forced: bool,
        staged: &mut Staged,
    ) -> Committed {
        let count = u64::try_from(changes.len()).unwrap_or(u64::MAX);
        let first = self.clock.tick_batch(wall_ns, count);
        let mut last_of_key = BTreeMap::new();
        for (index, (key, _)) in changes.iter().enumerate() {
            last_of_key.insert(key.clone(), index);
        }
        let mut entries = Vec::with_capacity(last_of_key.len());
        for (index, (key, value)) in changes.into_iter().enumerate() {
            if last_of_key.get(&key) != Some(&index) {
                continue;
            }
            let offset = u64::try_from(index).unwrap_or(u64::MAX);
            let entry = Entry {
                key: key.clone(),
                cell: value.map_or(Cell::Tombstone, Cell::Live),
                epoch: self.epoch,
                stamp: first.plus_nanos(offset),
                origin: self.node,
                boot: self.boot,
                forced,
                ext: Box::default(),
            };
            staged.entries.insert(key, Some(entry.clone()));
            entries.push(entry);
        }
        Committed { first, entries }
    }

    /// A forged entry is out-voted by what this node holds, or by a tombstone where it holds nothing.
    fn stage_reassert(
        &mut self,
        wall_ns: u64,
        key: Key,
        above: Position,
        staged: &mut Staged,
    ) -> Committed {
        let nothing = Committed {
            first: above.stamp,
            entries: Vec::new(),
        };
        // Whatever stamp it has: what is written now is above all of an earlier epoch.
        let earlier = above.epoch < self.epoch;
        if above.epoch > self.epoch
            || (!earlier && self.clock.observe(wall_ns, above.stamp).is_err())
        {
            return nothing;
        }
        let table = Arc::clone(&self.table);
        let table = read(&table);
        let value = match staged.held(&table, &key) {
            Some(held) if Position::of(held) > above => return nothing,
            held => held.and_then(|held| held.value().cloned()),
        };
        self.stage_apply(wall_ns, vec![(key, value)], false, staged)
    }

    fn stage_epoch(
        &mut self,
        wall_ns: u64,
        note: Value,
        staged: &mut Staged,
    ) -> Result<Committed, EpochRefusal> {
        let next = self
            .epoch
            .checked_add(1)
            .and_then(|next| Some((next, epoch_key(next)?)));
        let Some((next, key)) = next else {
            return Err(EpochRefusal::Exhausted(self.epoch));
        };
        let table = Arc::clone(&self.table);
        let table = read(&table);
        if let Some(began) = announced_at(self.epoch, &table, staged)
            && !epoch_may_follow(
                Some(began),
                Timestamp::from_nanos(wall_ns),
                self.newest(wall_ns),
            )
        {
            let epoch = self.epoch;
            return Err(EpochRefusal::TooSoon { epoch, began });
        }
        self.enter_epoch(next, staged);
        Ok(self.stage_apply(wall_ns, vec![(key, Some(note))], true, staged))
    }

    pub(crate) fn enter_epoch(&mut self, epoch: u16, staged: &mut Staged) {
        self.epoch = epoch;
        self.clock.begin_epoch();
        staged.new_epoch = true;
    }

    /// The newest stamp that the clock takes.
    pub(crate) fn newest(&self, wall_ns: u64) -> Timestamp {
        Timestamp::from_nanos(wall_ns.saturating_add(self.max_ahead_ns))
    }

    /// One commit for all that is staged, including a new ceiling if the clock passed the one on disk.
    fn write_out(&mut self, wall_ns: u64, staged: &mut Staged) -> Result<u32, WriteError> {
        self.places.marks(&staged.marks, &mut staged.local);
        let (age, buried) = (GRAVE_AGE_NS, std::mem::take(&mut staged.buried));
        let overwritten = self.places.bury(wall_ns, age, &buried, &mut staged.local);
        let last = self.clock.last();
        let mut ceiling = self.ceiling;
        if last > ceiling || staged.new_epoch {
            ceiling = next_ceiling(wall_ns, last);
            let bytes = ceiling.as_nanos().to_le_bytes().to_vec();
            staged.local.insert(CEILING.to_owned(), bytes);
        }
        let table = read(&self.table);
        let mut writes = Vec::with_capacity(staged.entries.len() + staged.local.len());
        let mut durable_bytes = self.durable_bytes;
        for (key, entry) in &staged.entries {
            let stored = table.entry(key).filter(|held| !is_volatile(held));
            durable_bytes = durable_bytes.saturating_sub(stored.map_or(0, bytes_of));
            match entry {
                Some(entry) if !is_volatile(entry) => {
                    durable_bytes += bytes_of(entry);
                    writes.push(Write::Put(entry));
                }
                _ if stored.is_some() => writes.push(Write::Remove(key)),
                _ => {}
            }
        }
        drop(table);
        for (name, value) in &staged.local {
            writes.push(Write::Local { name, value });
        }
        if writes.is_empty() {
            return Ok(overwritten);
        }
        if let Err(error) = self.store.commit(&writes) {
            let reason: Arc<str> = error.to_string().into();
            self.poisoned = Some(Arc::clone(&reason));
            return Err(WriteError::Store(reason));
        }
        self.ceiling = ceiling;
        self.durable_bytes = durable_bytes;
        Ok(overwritten)
    }

    /// One step of what the backend has to do beside its commits ([`Store::tidy`]); whether there is more.
    ///
    /// # Errors
    /// [`WriteError`]: nothing is written from now on.
    pub fn tidy(&mut self) -> Result<bool, WriteError> {
        if let Some(reason) = &self.poisoned {
            return Err(WriteError::Poisoned(Arc::clone(reason)));
        }
        let table = read(&self.table);
        let held = DurableEntries {
            table: &table,
            bytes: self.durable_bytes,
        };
        self.store.tidy(&held).map_err(|error| {
            let reason: Arc<str> = error.to_string().into();
            self.poisoned = Some(Arc::clone(&reason));
            WriteError::Store(reason)
        })
    }

    /// Lowers the ceiling to the last stamp: the clock of a node that is stopped in order does not jump ahead.
    /// To be called last; a later write raises the ceiling again.
    ///
    /// # Errors
    /// [`WriteError`]; the ceiling on disk is then the old one, which is safe.
    pub fn settle(&mut self) -> Result<(), WriteError> {
        if let Some(reason) = &self.poisoned {
            return Err(WriteError::Poisoned(Arc::clone(reason)));
        }
        let last = self.clock.last();
        if last == self.ceiling {
            return Ok(());
        }
        let record = Write::Local {
            name: CEILING,
            value: &last.as_nanos().to_le_bytes(),
        };
        if let Err(error) = self.store.commit(&[record]) {
            let reason: Arc<str> = error.to_string().into();
            self.poisoned = Some(Arc::clone(&reason));
            return Err(WriteError::Store(reason));
        }
        self.ceiling = last;
        Ok(())
    }

    /// The live entries that collections have dropped within the last 30 days before `wall_ns`, oldest first.
    ///
    /// # Errors
    /// If the backend cannot be read.
    pub fn graveyard(&mut self, wall_ns: u64) -> Result<Vec<Grave>, S::Error> {
        let since = wall_ns.saturating_sub(GRAVE_AGE_NS);
        self.places.graves(&mut self.store, since)
    }

    /// A record of the node's own, if it was ever set.
    ///
    /// # Errors
    /// If the backend cannot be read.
    pub fn local(&mut self, name: &str) -> Result<Option<Vec<u8>>, S::Error> {
        self.store.local(name)
    }

    /// The table, locked for reading. Drop it before the next write of the same thread.
    pub fn table(&self) -> RwLockReadGuard<'_, Table> {
        read(&self.table)
    }

    /// The table for readers on other threads.
    #[must_use]
    pub fn shared_table(&self) -> SharedTable {
        Arc::clone(&self.table)
    }

    /// The greatest stamp issued or observed.
    #[must_use]
    pub const fn last_stamp(&self) -> Timestamp {
        self.clock.last()
    }

    /// The clock's reading at `wall_ns`, without an event.
    #[must_use]
    pub fn now(&self, wall_ns: u64) -> Timestamp {
        self.clock.now(wall_ns)
    }

    /// The epoch of the cluster's clock.
    #[must_use]
    pub const fn epoch(&self) -> u16 {
        self.epoch
    }

    /// The node whose name own writes carry.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// Why the core takes no writes any more, if so.
    #[must_use]
    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    /// The store, for tests of what it holds.
    #[cfg(test)]
    pub(crate) const fn store(&self) -> &S {
        &self.store
    }

    /// Gives the store back.
    #[must_use]
    pub fn into_store(self) -> S {
        self.store
    }
}

/// Stamp of the announcement of an epoch, if it is held; the first epoch has none.
pub(crate) fn announced_at(epoch: u16, table: &Table, staged: &Staged) -> Option<Timestamp> {
    let held = staged.held(table, &epoch_key(epoch)?)?;
    announced_epoch(held).map(|_| held.stamp)
}

/// What of a table is in the store.
struct DurableEntries<'t> {
    table: &'t Table,
    bytes: u64,
}

impl Durable for DurableEntries<'_> {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn behind<'a>(&'a self, after: Option<&Key>) -> Box<dyn Iterator<Item = &'a Entry> + 'a> {
        let entries = self.table.scan_after("", after);
        Box::new(entries.filter(|entry| !is_volatile(entry)))
    }
}

fn bytes_of(entry: &Entry) -> u64 {
    u64::try_from(encoded_len(entry)).unwrap_or(u64::MAX)
}

/// The ceiling that covers `last` and the time to come.
fn next_ceiling(wall_ns: u64, last: Timestamp) -> Timestamp {
    let ahead = Timestamp::from_nanos(wall_ns.saturating_add(CEILING_AHEAD_NS));
    ahead.max(last.plus_nanos(CEILING_STEP_NS))
}

pub(crate) fn check_local(job: &Job) -> Result<(), WriteError> {
    let Job::PutLocal { name, value } = job else {
        return Ok(());
    };
    let reason = if [CEILING, FORMAT_NAME, FIRST_GROUP].contains(&name.as_str())
        || ledger::is_own_name(name)
    {
        OWN_NAME
    } else if name.is_empty() || name.len() > LOCAL_NAME_LEN_MAX {
        "its name must have 1 to 64 bytes"
    } else if value.len() > LOCAL_VALUE_LEN_MAX {
        "its content may have at most 65536 bytes"
    } else {
        return Ok(());
    };
    Err(WriteError::BadLocal {
        name: name.clone(),
        reason,
    })
}
