//! What this machine can do at best: the same primitives, with nothing around them.

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Instant;

use heed::types::Bytes;
use heed::{CommitOrAbort, Env, EnvFlags, EnvOpenOptions, PutFlags};
use secp256k1::schnorr;
use sha2::{Digest, Sha256};

use super::Failure;
use super::timing::{Figure, Limit, Report};

/// The limits, in nanoseconds.
pub(crate) struct Limits {
    schnorr: f64,
    sha256_byte: f64,
    memcpy_byte: f64,
    sync: f64,
    lmdb_put: f64,
    lmdb_get: f64,
    lmdb_step: f64,
}

impl Limits {
    /// Measures them all.
    pub(crate) fn measure(report: &mut Report, folder: &Path) -> Result<Limits, Failure> {
        let schnorr = report.add_limit("limit: Schnorr verification", schnorr()?, None);
        let block = vec![7u8; 65_536];
        let figure = Figure::measure(|| {
            black_box(Sha256::digest(black_box(&block)));
            1
        });
        let sha256 = report.add_limit("limit: SHA-256 of 64 KB", figure, Some(65_536.0));
        let large = 64 << 20;
        report.add_limit("limit: memcpy of 64 MB", memcpy(large), Some(large as f64));
        let memcpy = report.add_limit("limit: memcpy of 64 KB", memcpy(65_536), Some(65_536.0));
        let sync = report.add_limit("limit: write 4 KB + fdatasync", sync(folder)?, None);
        let loopback = loopback()?;
        report.add_limit("limit: write 1 KB to a socket", loopback, Some(1_024.0));
        let [lmdb_put, lmdb_get, lmdb_step] = lmdb(report, &folder.join("raw"))?;
        let per_byte = 1.0 / 65_536.0;
        Ok(Limits {
            schnorr,
            sha256_byte: sha256 * per_byte,
            memcpy_byte: memcpy * per_byte,
            sync,
            lmdb_put,
            lmdb_get,
            lmdb_step,
        })
    }

    /// Copying so many bytes that are in the cache.
    pub(crate) fn memcpy(&self, bytes: f64) -> Option<Limit> {
        Some(Limit { name: "memcpy", ns: self.memcpy_byte * bytes })
    }

    /// Hashing so many bytes.
    pub(crate) fn sha256(&self, bytes: f64) -> Option<Limit> {
        Some(Limit { name: "SHA-256", ns: self.sha256_byte * bytes })
    }

    /// Hashing so many bytes and verifying one signature.
    pub(crate) fn verification(&self, bytes: f64) -> Option<Limit> {
        Some(Limit { name: "SHA-256 + Schnorr", ns: self.schnorr + self.sha256_byte * bytes })
    }

    /// One of `batch` events that are put into LMDB and synchronised together.
    pub(crate) fn synced_put(&self, batch: usize) -> Option<Limit> {
        Some(Limit { name: "sync / batch + put", ns: self.sync / batch as f64 + self.lmdb_put })
    }

    /// One put into LMDB.
    pub(crate) fn put(&self) -> Option<Limit> {
        Some(Limit { name: "LMDB put", ns: self.lmdb_put })
    }

    /// So many random reads of LMDB.
    pub(crate) fn gets(&self, count: f64) -> Option<Limit> {
        Some(Limit { name: "LMDB gets", ns: self.lmdb_get * count })
    }

    /// One step of an LMDB cursor.
    pub(crate) fn step(&self) -> Option<Limit> {
        Some(Limit { name: "LMDB step", ns: self.lmdb_step })
    }
}

fn schnorr() -> Result<Figure, Failure> {
    let keypair = secp256k1::Keypair::from_secret_bytes([7; 32])?;
    let message = [9; 32];
    let signature: schnorr::Signature = keypair.sign_schnorr_no_aux_rand(&message);
    let (key, _) = keypair.x_only_public_key();
    Ok(Figure::measure(|| usize::from(signature.verify(black_box(&message), &key).is_ok())))
}

fn memcpy(length: usize) -> Figure {
    let source = vec![1u8; length];
    let mut target = vec![0u8; length];
    Figure::measure(|| {
        target.copy_from_slice(black_box(&source));
        black_box(&mut target);
        1
    })
}

fn sync(folder: &Path) -> Result<Figure, Failure> {
    let mut file = File::create(folder.join("synced"))?;
    let block = [3u8; 4_096];
    let mut rounds = Vec::new();
    for _ in 0..200 {
        let start = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        rounds.push(start.elapsed().as_nanos() as f64);
    }
    Ok(Figure::of(rounds))
}

/// Writes to a socket that another thread reads.
fn loopback() -> Result<Figure, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut writer = TcpStream::connect(listener.local_addr()?)?;
    writer.set_nodelay(true)?;
    let (mut reader, _) = listener.accept()?;
    let reading = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while reader.read(&mut buffer).is_ok_and(|count| count > 0) {}
    });
    let block = [5u8; 1_024];
    let figure = Figure::measure(|| usize::from(writer.write_all(&block).is_ok()));
    drop(writer);
    reading.join().map_err(|_| "the reader panicked")?;
    Ok(figure)
}

/// Puts, gets and steps of a table whose values are as large as records.
fn lmdb(report: &mut Report, folder: &Path) -> Result<[f64; 3], Failure> {
    std::fs::create_dir(folder)?;
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES).max_dbs(1);
    // SAFETY: The folder is this program's own, and no other environment is open on it; NO_SYNC
    // risks only what is measured here.
    let env: Env = unsafe { options.flags(EnvFlags::NO_SYNC).open(folder)? };
    let table = env
        .create_databases_and_commit(env.write_txn()?, |opener, txn| {
            let mut options = opener.database_options().types::<Bytes, Bytes>();
            options.name("raw");
            options.create(txn).map(CommitOrAbort::<_, ()>::Commit)
        })?
        .unwrap_commit();
    let value = [1u8; RECORD_BYTES];
    let mut last = 0u64;
    let mut rounds = Vec::new();
    for _ in 0..10 {
        let start = Instant::now();
        let mut txn = env.write_txn()?;
        for _ in 0..PUTS {
            last += 1;
            table.put_with_flags(&mut txn, PutFlags::APPEND, &last.to_be_bytes(), &value)?;
        }
        txn.commit()?;
        rounds.push(start.elapsed().as_nanos() as f64 / f64::from(PUTS));
    }
    let put = report.add_limit("limit: LMDB put, 10,000 a batch", Figure::of(rounds), None);
    let txn = env.read_txn()?;
    let mut rng = fastrand::Rng::with_seed(1);
    let figure = Figure::measure(|| {
        let key = rng.u64(1..=last).to_be_bytes();
        usize::from(black_box(table.get(&txn, &key)).is_ok())
    });
    let get = report.add_limit("limit: LMDB get, random", figure, None);
    let figure = Figure::measure(|| {
        let rows = table.iter(&txn).into_iter().flatten().flatten();
        rows.fold(0, |count, (_, value)| {
            black_box(value);
            count + 1
        })
    });
    let step = report.add_limit("limit: LMDB step", figure, None);
    Ok([put, get, step])
}

const MAP_BYTES: usize = 4 << 30;
/// What a record of an event of a thousand bytes of JSON takes.
const RECORD_BYTES: usize = 600;
const PUTS: u32 = 10_000;
