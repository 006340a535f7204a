//! Lengthening the log's file page by page, ahead of the commits.
//!
//! A commit that lengthens the file makes the disk write down the new length too, and the kernel
//! caches what one call writes beyond the end in folios as large as the call: who adds to one later
//! is accounted the whole of it as written, up to a megabyte for the smallest commit. So the file is
//! lengthened here first, one page a call: what is then committed lands in single pages.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::error::StoreError;

/// How far the file has been lengthened.
#[derive(Debug, Default)]
pub(super) struct Extension {
    /// Pages of the file that are in the cache one by one.
    pages: u64,
}

impl Extension {
    /// Makes sure that the next `count` pages after `last` are in the file, or half of them; returns
    /// whether it was lengthened.
    ///
    /// The caller holds LMDB's write lock: nobody uses the pages after the last one then.
    ///
    /// # Errors
    ///
    /// If the disk is full or the file cannot be written.
    pub(super) fn reach(
        &mut self,
        file: &File,
        last: u64,
        count: u64,
        page_bytes: usize,
    ) -> Result<bool, StoreError> {
        let until = last + 1 + count;
        // Half is enough for now; so a stream of small commits comes here seldom.
        if self.pages > last + count / 2 {
            return Ok(false);
        }
        let page = vec![0; page_bytes];
        let from = self.pages.max(last + 1);
        for number in from..until {
            file.write_all_at(&page, number * page_bytes as u64)
                .map_err(|error| StoreError::of_write(heed::Error::Io(error)))?;
        }
        self.pages = until;
        Ok(true)
    }
}
