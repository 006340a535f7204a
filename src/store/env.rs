//! The store's files: the log, the LMDB environment with its tables and meta rows, the format version.
//!
//! Layout, byte by byte: schema/FORMAT.md.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
use heed::types::{Bytes, Str};
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, RoTxn, WithoutTls};
use imbl::OrdMap;

use super::error::StoreError;
use super::extend::Extension;
use super::frame::{Frame, Tail};
use super::key::{Index, Salt};
use super::lock::{Alone, lock_folder, lock_reading};
use super::log::{Generation, Log};
use super::overlay::Layers;
use super::rooms::Rooms;
use super::snapshot::{Snapshot, View};
use crate::nostr::delegation::Treatment;
use crate::seq::Seq;

/// The version of the layout that this program reads and writes (schema/FORMAT.md, "Versions").
pub const FORMAT: u32 = 3;

/// What an acknowledged event has survived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Every batch is on disk before it is acknowledged: it survives a power cut.
    Sync,
    /// The system writes when it likes: a batch survives a crash of the relay, not of the machine,
    /// which may take the last seconds with it.
    Lazy,
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Bytes of address space for the maps; `None` takes what the system gives.
    pub map_bytes: Option<u64>,
    /// When a batch counts as written.
    pub durability: Durability,
    /// Sixteen random bytes: the key of a new store, and what tells apart who writes to one.
    pub salt: [u8; 16],
}

pub(super) type Table = Database<'static, Bytes, Bytes>;

/// The tables of the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tables {
    pub(super) dead: Table,
    pub(super) segments: Table,
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
    /// The frame of the next commit, empty; kept for its memory.
    pub(super) frame: Frame,
    extension: Extension,
}

/// A store: events, their indexes, and the memory that belongs to them. A clone is a reference.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
    delegation: Treatment,
}

#[derive(Debug)]
struct Inner {
    env: Env<WithoutTls>,
    tables: Tables,
    log: Log,
    salt: Salt,
    durability: Durability,
    /// Tells the frames of this opening from those of others.
    opening: u32,
    layers: ArcSwap<Layers>,
    /// Held by the one who may write (I1).
    writer: Mutex<Writing>,
    page_bytes: usize,
    path: PathBuf,
    generation: Generation,
    /// Shared lock on the folder for as long as the store is open; `compact` takes it alone.
    _lock: File,
    /// Shared lock by which others know that somebody reads here.
    reading: File,
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

    /// Returns the store, in which events may be deleted as delegation is treated (NIP-26).
    pub fn treating(self, delegation: Treatment) -> Store {
        Store { delegation, ..self }
    }

    /// Returns how delegation is treated.
    pub(super) fn delegation(&self) -> Treatment {
        self.delegation
    }

    pub(super) fn open_locked(
        path: &Path,
        options: &StoreOptions,
        lock: File,
    ) -> Result<Store, StoreError> {
        Store::open_or_create(path, options, lock, Generation(1))
    }

    /// Creates the store in a folder, with a log of this generation.
    pub(super) fn create(
        path: &Path,
        options: &StoreOptions,
        generation: Generation,
    ) -> Result<Store, StoreError> {
        let lock = lock_folder(path)?;
        Store::open_or_create(path, options, lock, generation)
    }

    fn open_or_create(
        path: &Path,
        options: &StoreOptions,
        lock: File,
        first: Generation,
    ) -> Result<Store, StoreError> {
        let io = |source| StoreError::Io { path: path.to_owned(), source };
        let room = Rooms::of(options);
        let env = open_env(path, room.tables)?;
        env.clear_stale_readers()?;
        let tables = open_tables(&env, path)?;
        let (salt, generation) = open_meta(&env, &tables, path, (options, first))?;
        let page_bytes = env.unnamed_database_stat().page_size as usize;
        let [a, b, c, d, ..] = options.salt;
        let store = Store {
            inner: Arc::new(Inner {
                env,
                tables,
                log: Log::open(path, generation, room.log)?,
                salt,
                durability: options.durability,
                opening: u32::from_le_bytes([a, b, c, d]),
                layers: ArcSwap::default(),
                writer: Mutex::default(),
                page_bytes,
                path: path.canonicalize().map_err(io)?,
                generation,
                _lock: lock,
                reading: lock_reading(path)?,
            }),
            delegation: Treatment::Ignored,
        };
        store.recover()?;
        Ok(store)
    }

    /// Returns a store on the same files that shares nothing of ours, as another process would.
    #[cfg(test)]
    pub(super) fn twin(&self) -> Result<Store, StoreError> {
        let ours = &self.inner;
        let room = Rooms::of_bytes(256 << 20).log;
        let inner = Inner {
            env: ours.env.clone(),
            tables: ours.tables,
            log: Log::open(&ours.path, ours.generation, room)?,
            salt: ours.salt,
            durability: ours.durability,
            opening: ours.opening.wrapping_add(1),
            layers: ArcSwap::default(),
            writer: Mutex::default(),
            page_bytes: ours.page_bytes,
            path: ours.path.clone(),
            generation: ours.generation,
            _lock: lock_folder(&ours.path)?,
            reading: lock_reading(&ours.path)?,
        };
        let store = Store { inner: Arc::new(inner), delegation: Treatment::Ignored };
        store.recover()?;
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
        let layers = self.inner.layers.load();
        let has_merged = self.inner.env.info().last_txn_id != layers.transaction;
        if has_merged || self.log().goes_on(layers.tail) {
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

    pub(super) fn log(&self) -> &Log {
        &self.inner.log
    }

    pub(super) fn generation(&self) -> Generation {
        self.inner.generation
    }

    pub(super) fn durability(&self) -> Durability {
        self.inner.durability
    }

    /// Returns a proof that no other process has the store open, nor will before it is dropped.
    pub(super) fn alone(&self) -> Option<Alone<'_>> {
        Alone::try_be(&self.inner.reading)
    }

    /// Returns the number that this opening of the store puts into its frames.
    pub(super) fn opening(&self) -> u32 {
        self.inner.opening
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

    /// Lengthens the log's file for commits that follow a tail, unless there is room already.
    ///
    /// The caller holds LMDB's write lock.
    pub(super) fn extend_log(&self, writing: &mut Writing, tail: Tail) -> Result<(), StoreError> {
        let file = self.log().file();
        let page = self.inner.page_bytes;
        let last = tail.at * 8 / page as u64;
        let room = (file.room() / page as u64).saturating_sub(last + 1);
        if writing.extension.reach(file.file(), last, PAGES_MORE.min(room), page)? {
            file.notice_length();
        }
        Ok(())
    }

    /// Returns a view of an open write transaction with the given layers.
    pub(super) fn view<'t>(&'t self, txn: &'t RoTxn<'t>, layers: &'t Layers) -> View<'t> {
        View::new(self, txn, layers)
    }
}

/// The seq up to which the blocks are complete.
pub(super) const META_MERGED: &str = "merged";
/// Where the log ended then, and the checksum of the frame before.
pub(super) const META_TAIL: &str = "tail";
/// Living events by kind then, and the bytes of the log that their records take.
pub(super) const META_TOTALS: &str = "totals";
pub(super) const META_BYTES: &str = "bytes";
/// Pages by which the log's file is lengthened at once.
const PAGES_MORE: u64 = 64;
pub(super) const META_FORMAT: &str = "format";
pub(super) const META_SALT: &str = "salt";
/// Which files the log is.
pub(super) const META_GENERATION: &str = "generation";

pub(super) fn read_seq(tables: &Tables, txn: &RoTxn<'_>, name: &str) -> Result<Seq, StoreError> {
    tables.meta.get(txn, name)?.map_or(Ok(Seq::ZERO), seq_of)
}

/// Reads the seq of a key of `dead`.
pub(super) fn seq_of(bytes: &[u8]) -> Result<Seq, StoreError> {
    let bytes = bytes.try_into().map_err(|_| damaged("a seq"))?;
    let seq = Seq(u64::from_be_bytes(bytes));
    if seq <= Seq::MAX { Ok(seq) } else { Err(damaged("a seq")) }
}

pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Damaged { what: what.to_owned() }
}

pub(super) fn read_tail(tables: &Tables, txn: &RoTxn<'_>) -> Result<Tail, StoreError> {
    let words = tables.meta.get(txn, META_TAIL)?.unwrap_or_default().as_chunks::<8>();
    let ([at, chain], []) = words else { return Err(damaged("the log's tail")) };
    Ok(Tail { at: u64::from_be_bytes(*at), chain: u64::from_be_bytes(*chain) })
}

/// Writes a tail as it stands in `meta`.
pub(super) fn tail_bytes(tail: Tail) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&tail.at.to_be_bytes());
    bytes[8..].copy_from_slice(&tail.chain.to_be_bytes());
    bytes
}

pub(super) fn read_count(tables: &Tables, txn: &RoTxn<'_>, name: &str) -> Result<u64, StoreError> {
    let bytes = tables.meta.get(txn, name)?.unwrap_or(&[0; 8]);
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| damaged("a number of the store"))
}

pub(super) fn read_totals(
    tables: &Tables,
    txn: &RoTxn<'_>,
) -> Result<OrdMap<u16, u64>, StoreError> {
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

/// What the tables of a store say that its log does not, and where they know it to have ended.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) salt: [u8; 16],
    pub(super) generation: Generation,
    pub(super) tail: Tail,
    pub(super) facts: Vec<(String, Vec<u8>)>,
}

/// Reads that from tables whose log may be damaged; the caller holds the folder's lock.
pub(super) fn read_tables(path: &Path, options: &StoreOptions) -> Result<Told, StoreError> {
    if !path.join(DATA_FILE).exists() {
        return Err(damaged("the tables"));
    }
    let env = open_env(path, Rooms::of(options).tables)?;
    let tables = open_tables(&env, path)?;
    let txn = env.read_txn()?;
    if tables.meta.get(&txn, META_FORMAT)?.is_none() {
        return Err(damaged("the tables"));
    }
    let (Salt(salt), generation) = open_meta(&env, &tables, path, (options, Generation(1)))?;
    let facts = tables.facts.iter(&txn)?;
    let facts = facts.map(|row| row.map(|(name, value)| (name.to_owned(), value.to_vec())));
    let facts = facts.collect::<Result<_, heed::Error>>()?;
    Ok(Told { salt, generation, tail: read_tail(&tables, &txn)?, facts })
}

/// LMDB's data file.
pub(super) const DATA_FILE: &str = "data.mdb";

/// Opens the tables of a store of any format, to be read; the caller holds the folder's lock.
pub(super) fn open_to_read(
    path: &Path,
    options: &StoreOptions,
) -> Result<Env<WithoutTls>, StoreError> {
    if !path.join(DATA_FILE).exists() {
        return Err(damaged("the tables"));
    }
    open_env_with(path, Rooms::of(options).tables, EnvFlags::READ_ONLY)
}

fn open_env(path: &Path, map_bytes: u64) -> Result<Env<WithoutTls>, StoreError> {
    // The pages of a scan are rarely neighbours in the file.
    let mut flags = EnvFlags::NO_READ_AHEAD;
    if cfg!(test) {
        // Tests crash processes, not machines.
        flags |= EnvFlags::NO_SYNC;
    }
    open_env_with(path, map_bytes, flags)
}

fn open_env_with(
    path: &Path,
    map_bytes: u64,
    flags: EnvFlags,
) -> Result<Env<WithoutTls>, StoreError> {
    let mut open = EnvOpenOptions::new().read_txn_without_tls();
    open.map_size(usize::try_from(map_bytes).unwrap_or(usize::MAX) & !0xf_ffff)
        .max_dbs(16)
        .max_readers(256);
    // SAFETY: the map is only changed through LMDB, whose lock file is on the same local
    // file system; the folder's lock keeps `compact` from replacing the file under us. Two
    // environments of one process are refused by heed itself.
    Ok(unsafe { open.flags(flags).open(path) }?)
}

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
            open.create_database::<Bytes, Bytes>(txn, Some("dead"))?,
            open.create_database::<Bytes, Bytes>(txn, Some("segments"))?,
            open.create_database::<Str, Bytes>(txn, Some("meta"))?,
            open.create_database::<Bytes, Bytes>(txn, Some("fingerprints"))?,
            open.create_database::<Str, Bytes>(txn, Some("facts"))?,
            indexes,
        );
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(opened))
    })?;
    let (dead, segments, meta, fingerprints, facts, indexes) = opened.unwrap_commit();
    let indexes = indexes.map(|table| table.expect("every index was created"));
    Ok(Tables { dead, segments, meta, fingerprints, facts, indexes })
}

/// Returns whether the file has our table of meta rows.
fn has_meta(env: &Env<WithoutTls>) -> Result<bool, StoreError> {
    let found = env.open_databases_and_commit(env.read_txn()?, |open, txn| {
        let meta = open.open_database::<Str, Bytes>(txn, Some("meta"))?;
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(meta))
    })?;
    Ok(found.unwrap_commit().is_some())
}

/// Checks the format and returns the salt and which files the log is; makes a store if there is none.
fn open_meta(
    env: &Env<WithoutTls>,
    tables: &Tables,
    path: &Path,
    (options, generation): (&StoreOptions, Generation),
) -> Result<(Salt, Generation), StoreError> {
    let mut txn = env.write_txn()?;
    let meta = &tables.meta;
    match meta.get(&txn, META_FORMAT)? {
        None if meta.is_empty(&txn)? => {
            let [chain, _] = options.salt.as_chunks().0 else {
                unreachable!("16 bytes are two words")
            };
            let tail = Log::create(path, generation, u64::from_le_bytes(*chain))?;
            meta.put(&mut txn, META_FORMAT, &FORMAT.to_be_bytes())?;
            meta.put(&mut txn, META_SALT, &options.salt)?;
            meta.put(&mut txn, META_GENERATION, &generation.0.to_be_bytes())?;
            meta.put(&mut txn, META_TAIL, &tail_bytes(tail))?;
            txn.commit()?;
            Ok((Salt(options.salt), generation))
        }
        None => Err(StoreError::Foreign { path: path.to_owned() }),
        Some(bytes) => {
            let found =
                bytes.try_into().map(u32::from_be_bytes).map_err(|_| damaged("the format"))?;
            if found != FORMAT {
                return Err(StoreError::Format { path: path.to_owned(), expected: FORMAT, found });
            }
            let salt = meta.get(&txn, META_SALT)?.unwrap_or_default();
            let salt = salt.try_into().map(Salt).map_err(|_| damaged("the salt"))?;
            let generation = meta.get(&txn, META_GENERATION)?.unwrap_or_default();
            let generation = generation
                .try_into()
                .map(|bytes| Generation(u32::from_be_bytes(bytes)))
                .map_err(|_| damaged("the log's generation"))?;
            Ok((salt, generation))
        }
    }
}
