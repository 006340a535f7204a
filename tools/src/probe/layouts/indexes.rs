//! Builds one index in one layout and asks it questions.

use std::path::Path;

use fastrand::Rng;
use heed::types::Bytes;
use heed::{
    CommitOrAbort, Database, DatabaseFlags, Env, EnvFlags, EnvOpenOptions, RoTxn, RwTxn, WithTls,
};

use super::blocks::{Blocks, Sharing};
use super::composite::Composite;
use super::duplicates::Duplicates;
use super::entries::{Entry, Index, Shape};
use crate::Failure;
use crate::probe::effort::{Effort, Spent};

/// A way to keep sorted entries in LMDB.
pub(crate) trait Layout {
    /// Adds sorted entries that are not there yet.
    fn insert(&mut self, tx: &mut RwTxn<'_>, sorted: &[Entry]) -> heed::Result<()>;

    /// Fills an empty database with sorted entries.
    fn load(&mut self, tx: &mut RwTxn<'_>, sorted: &[Entry]) -> heed::Result<()>;

    /// Reads the greatest entries of a prefix, greatest first.
    fn newest(&self, tx: &RoTxn<'_>, prefix: &[u8], limit: usize) -> heed::Result<Answer>;

    /// Reads all entries, greatest first.
    fn walk(&self, tx: &RoTxn<'_>) -> heed::Result<Answer>;
}

/// What was read: enough to prove that every entry was touched and that layouts agree.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) entries: u64,
    pub(crate) sum: u64,
}

impl Answer {
    /// Counts an entry by its last byte.
    pub(crate) fn add(&mut self, last: u8) {
        self.entries += 1;
        self.sum += u64::from(last);
    }
}

/// The layouts by name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LayoutKind {
    Composite,
    Duplicates,
    Blocks,
    PrefixBlocks,
}

impl LayoutKind {
    pub(crate) const ALL: [Self; 4] =
        [Self::Composite, Self::Duplicates, Self::Blocks, Self::PrefixBlocks];

    /// The name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Composite => "composite keys",
            Self::Duplicates => "duplicates",
            Self::Blocks => "blocks",
            Self::PrefixBlocks => "prefix blocks",
        }
    }

    fn open(
        self,
        database: Database<'static, Bytes, Bytes>,
        shape: &'static Shape,
    ) -> Box<dyn Layout> {
        match self {
            Self::Composite => Box::new(Composite { database, shape }),
            Self::Duplicates => Box::new(Duplicates { database, shape }),
            Self::Blocks => Box::new(Blocks::new(database, shape, Sharing::Nothing)),
            Self::PrefixBlocks => Box::new(Blocks::new(database, shape, Sharing::Prefix)),
        }
    }
}

/// An index in an LMDB environment of its own.
pub(crate) struct Built {
    env: Env<WithTls>,
    layout: Box<dyn Layout>,
    index_name: &'static str,
}

impl Built {
    /// Creates an empty one in an empty folder.
    pub(crate) fn create(
        folder: &Path,
        kind: LayoutKind,
        shape: &'static Shape,
    ) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder)?;
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES).max_dbs(1);
        // SAFETY: The folder is this probe's own; NO_SYNC risks only its measured data.
        let env = unsafe { options.flags(EnvFlags::NO_SYNC).open(folder)? };
        let database = env
            .create_databases_and_commit(env.write_txn()?, |opener, tx| {
                let mut options = opener.database_options().types::<Bytes, Bytes>();
                options.name(shape.name);
                if kind == LayoutKind::Duplicates {
                    options.flags(DatabaseFlags::DUP_SORT | DatabaseFlags::DUP_FIXED);
                }
                options.create(tx).map(CommitOrAbort::<_, ()>::Commit)
            })?
            .unwrap_commit();
        let layout = kind.open(database, shape);
        Ok(Self { env, layout, index_name: shape.name })
    }

    /// Inserts the entries of events, a transaction for each batch.
    pub(crate) fn insert(
        &mut self,
        index: &Index,
        events: std::ops::Range<usize>,
        batch: usize,
    ) -> Result<Spent, Failure> {
        let effort = Effort::start()?;
        let mut sorted = Vec::new();
        for start in events.clone().step_by(batch) {
            sorted.clear();
            sorted.extend_from_slice(index.of(start..(start + batch).min(events.end)));
            sorted.sort_unstable();
            let mut tx = self.env.write_txn()?;
            self.layout.insert(&mut tx, &sorted)?;
            tx.commit()?;
        }
        effort.spent()
    }

    /// Fills the empty index with the entries of events in key order, as compaction does.
    pub(crate) fn load(
        &mut self,
        index: &Index,
        events: std::ops::Range<usize>,
    ) -> Result<Spent, Failure> {
        let mut sorted = index.of(events).to_vec();
        sorted.sort_unstable();
        let effort = Effort::start()?;
        let mut tx = self.env.write_txn()?;
        self.layout.load(&mut tx, &sorted)?;
        tx.commit()?;
        effort.spent()
    }

    /// Size of the file with its free pages.
    pub(crate) fn file_bytes(&self) -> u64 {
        (self.env.info().last_page_number as u64 + 1) * 4_096
    }

    /// Size of the pages in use: what a compacting copy writes.
    pub(crate) fn live_bytes(&self) -> Result<u64, Failure> {
        let effort = Effort::start()?;
        let mut nowhere = std::fs::File::create("/dev/null")?;
        self.env.copy_to_file(&mut nowhere, heed::CompactionOption::Enabled)?;
        Ok(effort.spent()?.written_bytes)
    }

    /// Asks for the newest entries of prefixes that exist; returns the effort and the answers.
    pub(crate) fn ask(&self, index: &Index, questions: usize) -> Result<(Spent, Answer), Failure> {
        let entries = index.of(0..index.events());
        let mut rng = Rng::with_seed(QUESTION_SEED);
        let tx = self.env.read_txn()?;
        let mut total = Answer::default();
        let effort = Effort::start()?;
        for _ in 0..questions {
            let entry = &entries[rng.usize(0..entries.len())];
            let prefix = &entry[..index.shape.question_bytes];
            let answer = self.layout.newest(&tx, prefix, TAKEN)?;
            total.entries += answer.entries;
            total.sum += answer.sum;
        }
        Ok((effort.spent()?, total))
    }

    /// Walks the whole index; returns the effort and the answer.
    pub(crate) fn walk(&self) -> Result<(Spent, Answer), Failure> {
        let tx = self.env.read_txn()?;
        let effort = Effort::start()?;
        let answer = self.layout.walk(&tx)?;
        Ok((effort.spent()?, answer))
    }

    /// Closes the environment and removes its folder.
    pub(crate) fn remove(self) -> Result<(), Failure> {
        let folder = self.env.path().to_owned();
        let name = self.index_name;
        drop(self.layout);
        self.env.prepare_for_closing().wait();
        std::fs::remove_dir_all(&folder)
            .map_err(|error| format!("remove {name} in {}: {error}", folder.display()).into())
    }
}

/// The exclusive end of all keys that begin with a prefix.
pub(crate) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    end.resize(prefix.len() + super::entries::ENTRY_BYTES + 1, 0xff);
    end
}

/// How many entries a question takes.
pub(crate) const TAKEN: usize = 20;
const MAP_BYTES: usize = 64 << 30;
const QUESTION_SEED: u64 = 42;

#[cfg(test)]
mod tests {
    use super::super::entries::Indexes;
    use super::*;
    use crate::dataset::{Generator, Options, Signatures};

    fn indexes(events: u64) -> Indexes {
        let created_at = 1_600_000_000..=1_610_000_000;
        let signatures = Signatures::Noise;
        let mut generator =
            Generator::new(Options { events, seed: 9, created_at, signatures, threads: 1 });
        let mut indexes = Indexes::new();
        loop {
            let round = generator.next_round();
            if round.is_empty() {
                return indexes;
            }
            round.iter().for_each(|event| indexes.add(&event.event.view()));
        }
    }

    #[test]
    fn all_layouts_answer_alike_however_they_were_built() {
        let parent = std::env::temp_dir().join(format!("chappe-test-{}", std::process::id()));
        let material = indexes(1_500);
        let events = material.events();
        for index in &material.indexes {
            let mut expected = None;
            for (number, kind) in LayoutKind::ALL.into_iter().enumerate() {
                let folder = |how| parent.join(format!("{}-{number}-{how}", index.shape.name));
                let mut batched =
                    Built::create(&folder("batched"), kind, index.shape).expect("made");
                batched.insert(index, 0..events / 2, 400).expect("inserted");
                batched.insert(index, events / 2..events, 7).expect("inserted");
                let mut loaded = Built::create(&folder("loaded"), kind, index.shape).expect("made");
                loaded.load(index, 0..events).expect("loaded");
                for built in [batched, loaded] {
                    let newest = built.ask(index, 300).expect("answered").1;
                    let all = built.walk().expect("walked").1;
                    assert_eq!(all.entries as usize, index.of(0..events).len());
                    let answers = (newest, all);
                    assert_eq!(*expected.get_or_insert(answers), answers, "{}", kind.name());
                    built.remove().expect("removed");
                }
            }
        }
        std::fs::remove_dir_all(&parent).expect("removed");
    }
}
