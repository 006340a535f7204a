//! The LMDB environment: opening, tables, the meta rows, the format version.
//!
//! Layout, byte by byte: schema/FORMAT.md.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
use heed::byteorder::NativeEndian;
use heed::types::{Bytes, Str, U64};
use heed::{
    CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, IntegerComparator, RoTxn, WithoutTls,
};
use imbl::OrdMap;

use super::error::StoreError;
use super::extend::Extension;
use super::key::{Index, Salt};
use super::nearby::Nearby;
use super::overlay::{Collected, Layers};
use super::record;
use super::snapshot::{Snapshot, View};
use super::sums::Mark;
use crate::seq::Seq;
use crate::sys;

/// The version of the layout that this program reads and writes (schema/FORMAT.md, "Versions").
pub const FORMAT: u32 = 2;

/// What an acknowledged event has survived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Every batch is on disk before it is acknowledged: it survives a power cut.
    Sync,
    /// The system writes when it likes: a batch survives a crash of the relay, not of the machine.
    Lazy,
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Bytes of address space for the map; `None` follows the disk.
    pub map_bytes: Option<u64>,
    /// When a batch counts as written.
    pub durability: Durability,
    /// Sixteen random bytes, used if the store is created.
    pub salt: [u8; 16],
}

pub(super) type Table = Database<'static, Bytes, Bytes>;
/// The log of records. LMDB compares the native integers of its keys faster than bytes.
pub(super) type Log = Database<'static, U64<NativeEndian>, Bytes, IntegerComparator>;

/// The tables of the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tables {
    pub(super) events: Log,
    pub(super) dead: Table,
    pub(super) meta: Database<'static, Str, Bytes>,
    pub(super) fingerprints: Table,
    pub(super) facts: Database<'static, Str, Bytes>,
    pub(super) indexes: [Table; Index::ALL.len()],
}

/// What belongs to the one who writes.
#[derive(Debug, Default)]
pub(super) struct Writing {
    /// Whether a commit has failed, so that nothing more is written (I9).
    pub(super) is_poisoned: bool,
    extension: Extension,
}

/// A store: events, their indexes, and the memory that belongs to them. A clone is a reference.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    env: Env<WithoutTls>,
    tables: Tables,
    salt: Salt,
    layers: ArcSwap<Layers>,
    nearby: Nearby,
    /// Held by the one who may write (I1).
    writer: Mutex<Writing>,
    /// The data file.
    file: File,
    page_bytes: usize,
    path: PathBuf,
    /// Shared lock on the folder for as long as the store is open; `compact` takes it alone.
    _lock: File,
}

impl Store {
    /// Opens the store in a folder, creating both if they do not exist.
    ///
    /// # Errors
    ///
    /// If the folder cannot be used, holds something else, or has another format.
    pub fn open(path: &Path, options: &StoreOptions) -> Result<Store, StoreError> {
        let lock = lock_folder(path)?;
        Store::open_locked(path, options, lock)
    }

    pub(super) fn open_locked(
        path: &Path,
        options: &StoreOptions,
        lock: File,
    ) -> Result<Store, StoreError> {
        let io = |source| StoreError::Io { path: path.to_owned(), source };
        let env = open_env(path, options)?;
        env.clear_stale_readers()?;
        let tables = open_tables(&env, path)?;
        let salt = open_meta(&env, &tables, path, options)?;
        let page_bytes = env.unnamed_database_stat().page_size as usize;
        let file = File::options().write(true).open(path.join(DATA_FILE)).map_err(io)?;
        let store = Store {
            inner: Arc::new(Inner {
                env,
                tables,
                salt,
                layers: ArcSwap::default(),
                nearby: Nearby::new(),
                writer: Mutex::default(),
                file,
                page_bytes,
                path: path.canonicalize().map_err(io)?,
                _lock: lock,
            }),
        };
        store.refresh()?;
        Ok(store)
    }

    /// Returns a store on the same file that shares nothing of ours, as another process would.
    #[cfg(test)]
    pub(super) fn twin(&self) -> Result<Store, StoreError> {
        let inner = Inner {
            env: self.inner.env.clone(),
            tables: self.inner.tables,
            salt: self.inner.salt,
            layers: ArcSwap::default(),
            nearby: Nearby::new(),
            writer: Mutex::default(),
            file: self
                .inner
                .file
                .try_clone()
                .map_err(|source| StoreError::Io { path: self.inner.path.clone(), source })?,
            page_bytes: self.inner.page_bytes,
            path: self.inner.path.clone(),
            _lock: lock_folder(&self.inner.path)?,
        };
        let store = Store { inner: Arc::new(inner) };
        store.refresh()?;
        Ok(store)
    }

    /// Returns a consistent view of everything that was applied until here.
    ///
    /// # Errors
    ///
    /// If LMDB has no reader slot left.
    pub fn snapshot(&self) -> Result<Snapshot<'_>, StoreError> {
        // The layers first: what is merged away from newer layers is then surely in the blocks
        // that the transaction sees.
        let layers = self.inner.layers.load_full();
        let txn = self.inner.env.read_txn()?;
        Ok(Snapshot::new(self, layers, txn))
    }

    /// Returns the newest event that this process has applied.
    pub fn last_seq(&self) -> Seq {
        self.inner.layers.load().last
    }

    /// Applies what other processes have committed; returns the newest event.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn refresh(&self) -> Result<Seq, StoreError> {
        if self.inner.env.info().last_txn_id != self.inner.layers.load().transaction {
            let _writing = self.writing();
            let txn = self.inner.env.read_txn()?;
            self.catch_up(&txn, txn.id())?;
        }
        Ok(self.last_seq())
    }

    /// Returns the folder of the store.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Returns the key of the store's tag hashes.
    pub(crate) fn salt(&self) -> &Salt {
        &self.inner.salt
    }

    pub(super) fn tables(&self) -> &Tables {
        &self.inner.tables
    }

    pub(super) fn nearby(&self) -> &Nearby {
        &self.inner.nearby
    }

    pub(super) fn env(&self) -> &Env<WithoutTls> {
        &self.inner.env
    }

    /// Returns the largest value that fits into exactly one overflow page.
    pub(super) fn block_bytes(&self) -> usize {
        const PAGE_HEADER_BYTES: usize = 16;
        self.inner.page_bytes - PAGE_HEADER_BYTES
    }

    pub(super) fn page_bytes(&self) -> usize {
        self.inner.page_bytes
    }

    pub(super) fn layers(&self) -> Arc<Layers> {
        self.inner.layers.load_full()
    }

    pub(super) fn publish(&self, layers: Layers) {
        self.inner.layers.store(Arc::new(layers));
    }

    /// Takes the right to write and to replace the layers.
    pub(super) fn writing(&self) -> MutexGuard<'_, Writing> {
        self.inner.writer.lock().unwrap_or_else(|poisoned| {
            // A panic while writing: nothing more is written by this process (I9).
            let mut guard = poisoned.into_inner();
            guard.is_poisoned = true;
            guard
        })
    }

    /// Lengthens the data file for a transaction that has just begun and may need `pages`.
    pub(super) fn extend(&self, writing: &mut Writing, pages: u64) -> Result<(), StoreError> {
        let info = self.inner.env.info();
        let last = info.last_page_number as u64;
        let room = (info.map_size / self.inner.page_bytes) as u64 - last;
        let pages = (pages + PAGES_MORE).min(room.saturating_sub(1));
        writing.extension.reach(&self.inner.file, last, pages, self.inner.page_bytes)
    }

    /// Brings the layers up to what `txn` sees, which is the state after transaction `id`.
    ///
    /// The caller holds [`Store::writing`].
    pub(super) fn catch_up(&self, txn: &RoTxn<'_>, id: usize) -> Result<(), StoreError> {
        let old = self.layers();
        if old.transaction == id {
            return Ok(());
        }
        let merged = read_seq(self.tables(), txn, META_MERGED)?;
        if old.transaction == 0 || old.merged != merged {
            return self.rebuild(txn, id);
        }
        self.apply_log(txn, id, Layers::clone(&old))
    }

    /// Builds the layers anew from what `txn` sees, which is the state after transaction `id`: of a
    /// write transaction, the one before it, because it may yet be aborted.
    ///
    /// The caller holds [`Store::writing`].
    pub(super) fn rebuild(&self, txn: &RoTxn<'_>, id: usize) -> Result<(), StoreError> {
        let merged = read_seq(self.tables(), txn, META_MERGED)?;
        let totals = read_totals(self.tables(), txn)?;
        self.apply_log(txn, id, Layers { totals, merged, last: merged, ..Layers::default() })
    }

    /// Adds the dead and the log behind `layers.last` to the layers and publishes them.
    fn apply_log(&self, txn: &RoTxn<'_>, id: usize, mut layers: Layers) -> Result<(), StoreError> {
        let tables = self.tables();
        for row in tables.dead.iter(txn)? {
            let (key, value) = row?;
            let seq = seq_of(key)?;
            if seq > layers.last || value == DEAD_UNCOUNTED {
                layers.dead.insert(seq.0);
            } else if !layers.is_dead(seq) {
                let event = record::dead_at(tables, txn, seq)?;
                layers.bury(seq, event.kind.0, Mark::of(&event, seq));
            }
        }
        let mut collected = Collected::default();
        let mut dead = Vec::new();
        for row in tables.events.range(txn, &(layers.last.0 + 1..))? {
            let (seq, value) = row?;
            let seq = Seq(seq);
            let event = record::decode(value, seq)?;
            collected.add(&self.inner.salt, &event, seq);
            if layers.is_dead(seq) {
                dead.extend(Mark::of(&event, seq));
            } else {
                layers.count_in(event.kind.0, 1);
            }
            layers.last = seq;
        }
        layers.young.add(&mut collected);
        layers.young.remove(&mut dead);
        layers.last = layers.last.max(read_seq(tables, txn, META_LAST)?);
        layers.transaction = id;
        self.publish(layers);
        Ok(())
    }

    /// Returns a view of an open write transaction with the given layers.
    pub(super) fn view<'t>(&'t self, txn: &'t RoTxn<'t>, layers: &'t Layers) -> View<'t> {
        View::new(self, txn, layers)
    }
}

/// The seq up to which the blocks are complete.
pub(super) const META_MERGED: &str = "merged";
/// The newest seq at the last merge; seqs are never given twice even if the newest event is gone.
pub(super) const META_LAST: &str = "last";
/// Living events by kind at the last merge.
pub(super) const META_TOTALS: &str = "totals";
/// Pages by which the file is lengthened beyond what is needed at once.
const PAGES_MORE: u64 = 64;
/// The value in `dead` of an event that totals and sums no longer count.
pub(super) const DEAD_UNCOUNTED: &[u8] = &[1];
const META_FORMAT: &str = "format";
const META_SALT: &str = "salt";

pub(super) fn read_seq(tables: &Tables, txn: &RoTxn<'_>, name: &str) -> Result<Seq, StoreError> {
    tables.meta.get(txn, name)?.map_or(Ok(Seq::ZERO), seq_of)
}

/// Reads the seq of a key of `events` or `dead`.
pub(super) fn seq_of(bytes: &[u8]) -> Result<Seq, StoreError> {
    let bytes = bytes.try_into().map_err(|_| damaged("a seq"))?;
    let seq = Seq(u64::from_be_bytes(bytes));
    if seq <= Seq::MAX { Ok(seq) } else { Err(damaged("a seq")) }
}

pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Damaged { what: what.to_owned() }
}

fn read_totals(tables: &Tables, txn: &RoTxn<'_>) -> Result<OrdMap<u16, u64>, StoreError> {
    let bytes = tables.meta.get(txn, META_TOTALS)?.unwrap_or_default();
    let (rows, rest) = bytes.as_chunks::<10>();
    if !rest.is_empty() {
        return Err(damaged("the totals"));
    }
    let row = |row: &[u8; 10]| {
        let count = row[2..].iter().fold(0, |count, byte| count << 8 | u64::from(*byte));
        (u16::from_be_bytes([row[0], row[1]]), count)
    };
    Ok(rows.iter().map(row).collect())
}

/// Writes the totals as rows of kind and count.
pub(super) fn totals_bytes(totals: &OrdMap<u16, u64>) -> Vec<u8> {
    totals
        .iter()
        .flat_map(|(kind, count)| kind.to_be_bytes().into_iter().chain(count.to_be_bytes()))
        .collect()
}

/// Opens and locks `store.lock` in the folder, shared with other users of the store.
fn lock_folder(path: &Path) -> Result<File, StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    fs::create_dir_all(path).map_err(io)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .read(true)
        .open(path.join(LOCK_FILE))
        .map_err(io)?;
    match file.try_lock_shared() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::Busy { path: path.to_owned() }),
        Err(fs::TryLockError::Error(source)) => Err(io(source)),
    }
}

/// The file whose lock says who uses the store.
pub(super) const LOCK_FILE: &str = "store.lock";
/// LMDB's data file.
pub(super) const DATA_FILE: &str = "data.mdb";

fn open_env(path: &Path, options: &StoreOptions) -> Result<Env<WithoutTls>, StoreError> {
    let mut flags = EnvFlags::empty();
    if options.durability == Durability::Lazy {
        flags |= EnvFlags::NO_SYNC;
    }
    // The pages of a scan are rarely neighbours in the file.
    flags |= EnvFlags::NO_READ_AHEAD;
    let mut map_bytes = options.map_bytes.unwrap_or_else(map_bytes_possible).max(MAP_BYTES_MIN);
    loop {
        let mut open = EnvOpenOptions::new().read_txn_without_tls();
        open.map_size(usize::try_from(map_bytes).unwrap_or(usize::MAX) & !0xf_ffff)
            .max_dbs(16)
            .max_readers(256);
        // SAFETY: the map is only changed through LMDB, whose lock file is on the same local
        // file system; NO_SYNC gives up durability, not the integrity of the map; the folder's
        // lock keeps `compact` from replacing the file under us. Two environments of one process
        // are refused by heed itself.
        let result = unsafe { open.flags(flags).open(path) };
        match result {
            Ok(env) => return Ok(env),
            Err(heed::Error::Io(error))
                if error.kind() == std::io::ErrorKind::OutOfMemory
                    && options.map_bytes.is_none()
                    && map_bytes / 2 >= MAP_BYTES_MIN =>
            {
                map_bytes /= 2;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns how much address space the map may take: where there is little, half of it is left to
/// everything else.
fn map_bytes_possible() -> u64 {
    let mut bytes = MAP_BYTES_MAX;
    if sys::has_address_space(bytes) {
        return bytes;
    }
    while bytes > MAP_BYTES_MIN && !sys::has_address_space(bytes) {
        bytes /= 2;
    }
    let bytes = (bytes / 2).max(MAP_BYTES_MIN);
    tracing::warn!(
        map_bytes = bytes,
        "address space is limited, so the store can hold no more than that; raise the limit \
         (ulimit -v), or set store.map_bytes"
    );
    bytes
}

/// Address space asked for first; nothing of it is used before there is data.
const MAP_BYTES_MAX: u64 = 1 << 40;
const MAP_BYTES_MIN: u64 = 64 << 20;

fn open_tables(env: &Env<WithoutTls>, path: &Path) -> Result<Tables, StoreError> {
    if env.unnamed_database_stat().entries > 0 && !has_meta(env)? {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    let txn = env.write_txn()?;
    let opened = env.create_databases_and_commit(txn, |open, txn| {
        let mut names = Index::ALL.map(Index::name).into_iter();
        let mut indexes = [None; Index::ALL.len()];
        for slot in &mut indexes {
            *slot = Some(open.create_database::<Bytes, Bytes>(txn, names.next())?);
        }
        let opened = (
            open.database_options()
                .types::<U64<NativeEndian>, Bytes>()
                .key_comparator::<IntegerComparator>()
                .name("events")
                .create(txn)?,
            open.create_database::<Bytes, Bytes>(txn, Some("dead"))?,
            open.create_database::<Str, Bytes>(txn, Some("meta"))?,
            open.create_database::<Bytes, Bytes>(txn, Some("fingerprints"))?,
            open.create_database::<Str, Bytes>(txn, Some("facts"))?,
            indexes,
        );
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(opened))
    })?;
    let (events, dead, meta, fingerprints, facts, indexes) = opened.unwrap_commit();
    let indexes = indexes.map(|table| table.expect("every index was created"));
    Ok(Tables { events, dead, meta, fingerprints, facts, indexes })
}

/// Returns whether the file has our table of meta rows.
fn has_meta(env: &Env<WithoutTls>) -> Result<bool, StoreError> {
    let found = env.open_databases_and_commit(env.read_txn()?, |open, txn| {
        let meta = open.open_database::<Str, Bytes>(txn, Some("meta"))?;
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(meta))
    })?;
    Ok(found.unwrap_commit().is_some())
}

/// Checks the format and returns the salt; writes both into a new store.
fn open_meta(
    env: &Env<WithoutTls>,
    tables: &Tables,
    path: &Path,
    options: &StoreOptions,
) -> Result<Salt, StoreError> {
    let mut txn = env.write_txn()?;
    match tables.meta.get(&txn, META_FORMAT)? {
        None if tables.events.is_empty(&txn)? => {
            tables.meta.put(&mut txn, META_FORMAT, &FORMAT.to_be_bytes())?;
            tables.meta.put(&mut txn, META_SALT, &options.salt)?;
            txn.commit()?;
            Ok(Salt(options.salt))
        }
        None => Err(StoreError::Foreign { path: path.to_owned() }),
        Some(bytes) => {
            let found =
                bytes.try_into().map(u32::from_be_bytes).map_err(|_| damaged("the format"))?;
            if found != FORMAT {
                return Err(StoreError::Format { path: path.to_owned(), expected: FORMAT, found });
            }
            let salt = tables.meta.get(&txn, META_SALT)?.unwrap_or_default();
            salt.try_into().map(Salt).map_err(|_| damaged("the salt"))
        }
    }
}
