//! Writes everything of a stretch of time, rendered on all cores.
//!
//! Each thread takes an empty buffer, then the next part of the stretch, and renders it; the caller
//! writes the parts in order and gives the buffers back. Whoever has a buffer has the earliest part
//! that nobody took, so the part that is written next is always under way.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::exit::Failure;
use super::matching::unexpired;
use crate::mailbox::{Receiver, Sender, mailbox};
use crate::nostr::EventRef;
use crate::query::{self, Place, Stretch};
use crate::seq::Seq;
use crate::store::{Store, StoreError};
use crate::sys;

/// What is written.
#[derive(Clone, Copy)]
pub(super) struct Dump<'d> {
    pub(super) store: &'d Store,
    pub(super) stretch: Stretch,
    /// What is committed later is left out.
    pub(super) seq_max: Seq,
    pub(super) now: u64,
}

/// The lines of a part, or of its beginning.
#[derive(Default)]
struct Page {
    bytes: Vec<u8>,
    lines: u64,
    /// The last event if there are more.
    rest: Option<Place>,
}

type Rendered = (usize, Result<Page, StoreError>);

impl Dump<'_> {
    /// Writes all lines, oldest first; calls `note` with the number of lines now and then.
    pub(super) fn run(
        &self,
        out: &mut dyn Write,
        note: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        let parts = query::cut(self.store, self.stretch, PART_EVENTS)?;
        let next = AtomicUsize::new(0);
        let threads = sys::core_count();
        thread::scope(|scope| {
            let buffers = threads * 2 + 1;
            let (empty, taker) = mailbox(buffers);
            let (sender, rendered) = mailbox(buffers);
            for _ in 0..buffers {
                let _ = empty.send(Vec::new());
            }
            for _ in 0..threads {
                let (taker, sender) = (taker.clone(), sender.clone());
                let (parts, next) = (&parts, &next);
                scope.spawn(move || self.render_all(parts, next, &taker, &sender));
            }
            drop((taker, sender));
            self.write_all(&parts, empty, rendered, out, note)
        })
    }

    /// A rendering thread.
    fn render_all(
        &self,
        parts: &[Stretch],
        next: &AtomicUsize,
        empty: &Receiver<Vec<u8>>,
        rendered: &Sender<Rendered>,
    ) {
        while let Some(bytes) = empty.recv() {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(part) = parts.get(number) else { return };
            let mut page = Page { bytes, ..Page::default() };
            let result = self.render(*part, &mut page).map(|()| page);
            if rendered.send((number, result)).is_err() {
                return;
            }
        }
    }

    /// Renders a part, or what of it is behind `page.rest`, up to a number of bytes.
    fn render(&self, part: Stretch, page: &mut Page) -> Result<(), StoreError> {
        let Page { bytes, lines, rest } = page;
        let is_visible = unexpired(self.now);
        bytes.clear();
        *lines = 0;
        let mut last = None;
        let mut sink = |event: &EventRef<'_>| {
            if bytes.len() >= PAGE_BYTES_MAX {
                return ControlFlow::Break(());
            }
            if is_visible(event) {
                event.write_json(bytes);
                bytes.push(b'\n');
                *lines += 1;
            }
            last = Some(query::place_of(event));
            ControlFlow::Continue(())
        };
        let snapshot = self.store.snapshot()?;
        let is_whole = query::visit(&snapshot, part, self.seq_max, rest.take(), &mut sink)?;
        *rest = last.filter(|_| !is_whole);
        Ok(())
    }

    /// Writes the parts in order. It owns its ends of the mailboxes, so that the threads end with it.
    fn write_all(
        &self,
        parts: &[Stretch],
        empty: Sender<Vec<u8>>,
        rendered: Receiver<Rendered>,
        out: &mut dyn Write,
        note: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        let mut waiting = BTreeMap::new();
        let mut written = 0;
        for (number, part) in parts.iter().enumerate() {
            let mut page = loop {
                if let Some(page) = waiting.remove(&number) {
                    break page;
                }
                let Some((number, page)) = rendered.recv() else {
                    return Err(Failure::failed("a thread of the export panicked"));
                };
                waiting.insert(number, page?);
            };
            loop {
                out.write_all(&page.bytes).map_err(|error| Failure::of_output(&error))?;
                written += page.lines;
                note(written);
                if page.rest.is_none() {
                    break;
                }
                self.render(*part, &mut page)?;
            }
            let _ = empty.send(page.bytes);
        }
        drop((empty, rendered));
        Ok(())
    }
}

/// Events of one part, about: a few megabytes.
const PART_EVENTS: usize = if cfg!(test) { 10 } else { 4_096 };

/// Bytes of JSON that a thread holds; the rest of a part with more is rendered by the writer.
const PAGE_BYTES_MAX: usize = if cfg!(test) { 2_000 } else { 8 << 20 };
