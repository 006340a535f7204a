//! Reads the SQLite database of nostr-rs-relay as the lines of JSON that it keeps.
//!
//! Its table `event` has each event as a text (`content`), and says which were deleted (`hidden`).
//! Rows are read in the order of their numbers, some at a time, so nothing is locked for long and
//! the other relay may run meanwhile.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, OpenFlags};

/// A database that is read as text, one event a line.
pub(super) struct Database {
    connection: Connection,
    /// The number of the last row that was read.
    last: i64,
    /// The largest number there is.
    end: i64,
    /// Lines that were not taken yet.
    lines: Vec<u8>,
    /// How many of their bytes were.
    taken_lines: usize,
    /// Bytes of the file, which are counted as taken as the rows are.
    file_bytes: u64,
    counted: u64,
    taken: Arc<AtomicU64>,
}

impl Database {
    /// Opens a database; `taken` counts its bytes as they are read, about.
    pub(super) fn open(path: &Path, taken: Arc<AtomicU64>) -> io::Result<Database> {
        let connection = connect(path)?;
        let mut columns = Vec::new();
        let listed = connection.pragma(None, "table_info", "event", |row| {
            columns.push(row.get::<_, String>(1)?);
            Ok(())
        });
        listed.map_err(of_database)?;
        if !["id", "content", "hidden"].iter().all(|name| columns.iter().any(|it| it == name)) {
            let text = "expected the table event of nostr-rs-relay, with id, content and hidden, \
                        found none";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let end = connection
            .query_row("SELECT coalesce(max(id), 0) FROM event", [], |row| row.get::<_, i64>(0));
        Ok(Database {
            end: end.map_err(of_database)?,
            last: i64::MIN,
            lines: Vec::new(),
            taken_lines: 0,
            file_bytes: path.metadata()?.len(),
            counted: 0,
            taken,
            connection,
        })
    }

    /// Reads the next rows; returns whether there were any.
    fn fill(&mut self) -> rusqlite::Result<bool> {
        self.lines.clear();
        self.taken_lines = 0;
        let mut statement = self.connection.prepare(ROWS)?;
        let mut rows = statement.query([self.last])?;
        let before = self.last;
        while let Some(row) = rows.next()? {
            self.last = row.get(0)?;
            let content = row.get_ref(1)?;
            let text = content.as_bytes().unwrap_or_default();
            // A line end within a text would be no JSON.
            self.lines.extend(text.iter().filter(|byte| **byte != b'\n'));
            self.lines.push(b'\n');
        }
        Ok(self.last != before)
    }

    fn count(&mut self) {
        let part = u128::try_from(self.last.max(0)).unwrap_or(0);
        let whole = u128::try_from(self.end.max(1)).unwrap_or(1);
        let counted = (u128::from(self.file_bytes) * part / whole).min(self.file_bytes.into());
        let counted = u64::try_from(counted).unwrap_or(self.file_bytes);
        self.taken.fetch_add(counted.saturating_sub(self.counted), Ordering::Relaxed);
        self.counted = self.counted.max(counted);
    }
}

impl Read for Database {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken_lines == self.lines.len() {
            if !self.fill().map_err(of_database)? {
                return Ok(0);
            }
            self.count();
        }
        let rest = &self.lines[self.taken_lines..];
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.taken_lines += count;
        Ok(count)
    }
}

/// Opens a database that is never written to.
fn connect(path: &Path) -> io::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(of_database)?;
    let looked = connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()));
    match looked {
        Ok(()) => Ok(connection),
        // In a folder that cannot be written to there is no place for the notes that readers of a
        // log keep. Without a log nobody writes, and the file is all there is.
        Err(error) if has_log(path) => Err(of_database(error)),
        Err(_) => {
            let flags = flags | OpenFlags::SQLITE_OPEN_URI;
            let text = path.to_string_lossy().replace('%', "%25").replace('?', "%3f");
            let uri = format!("file:{}?immutable=1", text.replace('#', "%23"));
            let connection = Connection::open_with_flags(uri, flags).map_err(of_database)?;
            connection
                .query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))
                .map_err(of_database)?;
            Ok(connection)
        }
    }
}

/// Returns whether there is a log beside the database that has something.
fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    Path::new(&log).metadata().is_ok_and(|it| it.len() > 0)
}

fn of_database(error: rusqlite::Error) -> io::Error {
    io::Error::other(error.to_string())
}

/// Rows behind one, without those that were deleted; some megabytes at most.
const ROWS: &str = "SELECT id, content FROM event WHERE id > ?1 AND hidden IS NOT TRUE \
                    ORDER BY id LIMIT 500";
