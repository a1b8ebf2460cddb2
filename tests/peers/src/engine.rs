//! The other engines behind one face: plain sled, SQLite in WAL mode, redb.

use redb::ReadableDatabase as _;
use std::fs::File;
use std::path::Path;

/// Keys with their values.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// One engine on one folder.
pub trait Engine: Send {
    /// Writes a batch atomically; durable when it returns.
    fn put_durable(&mut self, pairs: &Pairs);
    /// Writes a batch; durable after the next [`Engine::sync`].
    fn put_lazy(&mut self, pairs: &Pairs);
    /// Makes everything durable.
    fn sync(&mut self);
    /// Reads one value.
    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>>;
    /// Reads every pair once, in the order of keys; says how many there are.
    fn read_all(&mut self) -> usize;
}

/// Names of all engines, in the order of the tables.
pub const ENGINES: [&str; 3] = ["plain sled", "SQLite WAL", "redb"];

/// Opens the engine `name` in `dir`, which exists.
pub fn open(name: &str, dir: &Path) -> Box<dyn Engine> {
    match name {
        "plain sled" => Box::new(Sled::open(dir)),
        "SQLite WAL" => Box::new(Sqlite::open(dir)),
        "redb" => Box::new(Redb::open(dir)),
        other => panic!("no engine '{other}'"),
    }
}

struct Sled {
    db: sled::Db,
    data: File,
}

impl Sled {
    fn open(dir: &Path) -> Self {
        // The same settings as the store's own.
        let db = sled::Config::new()
            .path(dir)
            .mode(sled::Mode::HighThroughput)
            .cache_capacity(64 << 20)
            .flush_every_ms(Some(250))
            .open()
            .unwrap();
        let data = File::open(dir.join("db")).unwrap();
        Self { db, data }
    }
}

impl Engine for Sled {
    fn put_durable(&mut self, pairs: &Pairs) {
        self.put_lazy(pairs);
        self.sync();
    }
    fn put_lazy(&mut self, pairs: &Pairs) {
        let mut batch = sled::Batch::default();
        for (key, value) in pairs {
            batch.insert(&key[..], &value[..]);
        }
        self.db.apply_batch(batch).unwrap();
    }
    fn sync(&mut self) {
        self.db.flush().unwrap();
        self.data.sync_data().unwrap();
    }
    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.db.get(key).unwrap().map(|value| value.to_vec())
    }
    fn read_all(&mut self) -> usize {
        self.db.iter().map(|pair| pair.unwrap()).filter(|(_, value)| !value.is_empty()).count()
    }
}

struct Sqlite(rusqlite::Connection);

impl Sqlite {
    fn open(dir: &Path) -> Self {
        let db = rusqlite::Connection::open(dir.join("db")).unwrap();
        db.execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-65536;
             CREATE TABLE IF NOT EXISTS t(k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID;",
        )
        .unwrap();
        Self(db)
    }
    fn write(&mut self, pairs: &Pairs) {
        let tx = self.0.transaction().unwrap();
        {
            let mut insert = tx.prepare_cached("INSERT OR REPLACE INTO t VALUES(?1,?2)").unwrap();
            for (key, value) in pairs {
                insert.execute((key, value)).unwrap();
            }
        }
        tx.commit().unwrap();
    }
}

impl Engine for Sqlite {
    fn put_durable(&mut self, pairs: &Pairs) {
        self.write(pairs);
    }
    fn put_lazy(&mut self, pairs: &Pairs) {
        self.0.execute_batch("PRAGMA synchronous=OFF").unwrap();
        self.write(pairs);
        self.0.execute_batch("PRAGMA synchronous=FULL").unwrap();
    }
    fn sync(&mut self) {
        self.0.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    }
    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let mut select = self.0.prepare_cached("SELECT v FROM t WHERE k=?1").unwrap();
        select.query_row((key,), |row| row.get(0)).ok()
    }
    fn read_all(&mut self) -> usize {
        let mut select = self.0.prepare_cached("SELECT k, v FROM t ORDER BY k").unwrap();
        let mut rows = select.query(()).unwrap();
        let mut count = 0;
        while let Some(row) = rows.next().unwrap() {
            let (key, value) = (row.get_ref(0).unwrap(), row.get_ref(1).unwrap());
            count += usize::from(!key.as_blob().unwrap().is_empty() && !value.as_blob().unwrap().is_empty());
        }
        count
    }
}

const TABLE: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("t");

struct Redb(redb::Database);

impl Redb {
    fn open(dir: &Path) -> Self {
        let db = redb::Database::builder().set_cache_size(64 << 20).create(dir.join("db")).unwrap();
        let tx = db.begin_write().unwrap();
        tx.open_table(TABLE).unwrap();
        tx.commit().unwrap();
        Self(db)
    }
    fn write(&mut self, pairs: &Pairs, durability: redb::Durability) {
        let mut tx = self.0.begin_write().unwrap();
        tx.set_durability(durability).unwrap();
        {
            let mut table = tx.open_table(TABLE).unwrap();
            for (key, value) in pairs {
                table.insert(&key[..], &value[..]).unwrap();
            }
        }
        tx.commit().unwrap();
    }
}

impl Engine for Redb {
    fn put_durable(&mut self, pairs: &Pairs) {
        self.write(pairs, redb::Durability::Immediate);
    }
    fn put_lazy(&mut self, pairs: &Pairs) {
        self.write(pairs, redb::Durability::None);
    }
    fn sync(&mut self) {
        self.write(&Pairs::new(), redb::Durability::Immediate);
    }
    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let tx = self.0.begin_read().unwrap();
        let table = tx.open_table(TABLE).unwrap();
        table.get(key).unwrap().map(|value| value.value().to_vec())
    }
    fn read_all(&mut self) -> usize {
        use redb::ReadableTable as _;
        let tx = self.0.begin_read().unwrap();
        let table = tx.open_table(TABLE).unwrap();
        table.iter().unwrap().map(|pair| pair.unwrap()).filter(|(_, value)| !value.value().is_empty()).count()
    }
}
