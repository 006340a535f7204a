//! Opens what is imported: files and standard input, plain or compressed, and databases of
//! nostr-rs-relay; all told by their content.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

/// One thing to import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// Standard input.
    Stdin,
    /// A file or named pipe.
    File(PathBuf),
}

impl Source {
    /// Reads an argument of the command line, where `-` is standard input.
    pub(super) fn of_argument(path: PathBuf) -> Self {
        if path.as_os_str() == "-" { Self::Stdin } else { Self::File(path) }
    }

    /// Returns the size on disk; `None` where it cannot be known, and an error where the file
    /// cannot be read at all.
    pub(super) fn size(&self) -> io::Result<Option<u64>> {
        let Self::File(path) = self else {
            return Ok(None);
        };
        let metadata = path.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !metadata.is_file() {
            return Ok(None);
        }
        File::open(path)?;
        Ok(Some(metadata.len()))
    }

    /// Returns whether the source is this file, under whatever name.
    pub(super) fn is_file(&self, path: &Path) -> bool {
        match (self, path.canonicalize()) {
            (Self::File(own), Ok(path)) => own.canonicalize().is_ok_and(|own| own == path),
            _ => false,
        }
    }

    /// Opens the source and unpacks it; `taken` counts the bytes taken from it before unpacking.
    pub(super) fn open(&self, taken: Arc<AtomicU64>) -> io::Result<Box<dyn Read>> {
        match self {
            Self::Stdin => unpack(Counted { input: io::stdin(), taken }),
            Self::File(path) if is_database(path)? => open_database(path, taken),
            Self::File(path) => unpack(Counted { input: File::open(path)?, taken }),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => formatter.write_str("standard input"),
            Self::File(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// Returns whether a file is an SQLite database; what is no plain file is none.
fn is_database(path: &Path) -> io::Result<bool> {
    if !path.metadata()?.is_file() {
        return Ok(false);
    }
    Ok(peek::<16>(&mut File::open(path)?)? == DATABASE_MAGIC)
}

#[cfg(feature = "sqlite")]
fn open_database(path: &Path, taken: Arc<AtomicU64>) -> io::Result<Box<dyn Read>> {
    Ok(Box::new(super::database::Database::open(path, taken)?))
}

#[cfg(not(feature = "sqlite"))]
fn open_database(_path: &Path, _taken: Arc<AtomicU64>) -> io::Result<Box<dyn Read>> {
    let text = "this build does not read SQLite databases (feature sqlite); \
                pipe them in: sqlite3 FILE 'SELECT content FROM event WHERE hidden IS NOT TRUE' | \
                relay import -";
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

/// Counts what is read through it.
struct Counted<R> {
    input: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(out)?;
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Unpacks a stream if its first bytes say that it is packed.
fn unpack(mut input: impl Read + 'static) -> io::Result<Box<dyn Read>> {
    let head = peek::<4>(&mut input)?;
    let is_zstd = head == ZSTD_MAGIC || is_zstd_skippable(&head);
    let is_gzip = head.starts_with(&GZIP_MAGIC);
    if DATABASE_MAGIC.starts_with(&head) && head.len() == 4 {
        let text = "expected lines of JSON, found an SQLite database; name its file instead";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let whole = Cursor::new(head).chain(input);
    if is_zstd {
        return skip_mark(zstd::stream::read::Decoder::new(whole)?);
    }
    if is_gzip {
        return skip_mark(MultiGzDecoder::new(whole));
    }
    skip_mark(whole)
}

/// Skips the byte order mark with which some editors begin a text.
fn skip_mark(mut input: impl Read + 'static) -> io::Result<Box<dyn Read>> {
    let head = peek::<3>(&mut input)?;
    if head == BYTE_ORDER_MARK {
        return Ok(Box::new(input));
    }
    Ok(Box::new(Cursor::new(head).chain(input)))
}

/// Reads the first bytes of a stream, fewer where it is shorter.
fn peek<const COUNT: usize>(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(COUNT);
    input.take(COUNT as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// Parallel compressors begin with a frame that carries no data.
fn is_zstd_skippable(head: &[u8]) -> bool {
    matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18])
}

const DATABASE_MAGIC: &[u8] = b"SQLite format 3\0";
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn zstd_of(text: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(text, 1).expect("memory does not fail")
    }

    fn gzip_of(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).expect("memory does not fail");
        encoder.finish().expect("memory does not fail")
    }

    fn read(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        unpack(Cursor::new(bytes))?.read_to_end(&mut text)?;
        Ok(text)
    }

    #[test]
    fn the_packing_is_told_by_the_content() {
        let text = b"{\"a\":1}\n{\"b\":2}\n";
        let twice = [text.as_slice(), text].concat();
        let marked = [BYTE_ORDER_MARK.as_slice(), text].concat();
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9], &zstd_of(text)[..]].concat();
        let rows: [(Vec<u8>, &[u8]); 11] = [
            (Vec::new(), b""),
            (b"{".to_vec(), b"{"),
            (text.to_vec(), text),
            (marked.clone(), text),
            (zstd_of(text), text),
            (gzip_of(text), text),
            (zstd_of(&marked), text),
            (gzip_of(b""), b""),
            ([zstd_of(text), zstd_of(text)].concat(), &twice),
            ([gzip_of(text), gzip_of(text)].concat(), &twice),
            (skippable, text),
        ];
        for (bytes, expected) in rows {
            assert_eq!(read(bytes.clone()).expect("a whole stream"), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_truncated_stream_is_an_error() {
        let text: Vec<u8> = (0..10_000_u32).flat_map(|n| n.to_string().into_bytes()).collect();
        for mut bytes in [zstd_of(&text), gzip_of(&text)] {
            bytes.truncate(bytes.len() / 2);
            assert!(read(bytes).is_err());
        }
    }
}
