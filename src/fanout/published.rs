//! What the ring carries of an event: the event, and the texts that all its deliveries share.

use std::sync::OnceLock;

use crate::deflate::{Deflater, STORED_HEADER_BYTES};
use crate::nostr::Event;
use crate::seq::Seq;

/// An event whose commit has returned (I3), with the JSON text every delivery shares.
#[derive(Debug)]
pub struct Published {
    /// The commit order of the event; [`Seq::ZERO`] for an ephemeral one, which is not stored.
    pub seq: Seq,
    /// The event, for matching.
    pub event: Event,
    /// The event as compact JSON, rendered once for all subscribers.
    pub json: Vec<u8>,
    /// The JSON with the bracket that ends its message, compressed; nothing if that is no shorter.
    deflated: OnceLock<Option<Box<[u8]>>>,
}

impl Published {
    /// Renders an event for its subscribers.
    pub fn new(seq: Seq, event: Event) -> Published {
        let mut json = Vec::with_capacity(event.view().json_len());
        event.view().write_json(&mut json);
        Published { seq, event, json, deflated: OnceLock::new() }
    }

    /// Returns whether the event has been compressed.
    pub fn is_deflated(&self) -> bool {
        self.deflated.get().is_some()
    }

    /// Returns what follows `["EVENT","...",` in a message with this event, compressed by itself;
    /// nothing if that does not pay.
    ///
    /// Who asks first compresses it for all. Two cores may do so at the same time, and one of the
    /// results stays: so no core ever waits for another.
    pub fn deflated(&self, deflater: &mut Deflater) -> Option<&[u8]> {
        if !self.is_deflated() {
            let mut blocks = Vec::new();
            deflater.append(&[&self.json, b"]"], &mut blocks);
            let is_shorter = blocks.len() + STORED_HEADER_BYTES <= self.json.len();
            // It fails if another core was faster.
            let _ = self.deflated.set(is_shorter.then(|| blocks.into_boxed_slice()));
        }
        self.deflated.get()?.as_deref()
    }

    /// Returns about what the event and its texts take.
    pub fn memory_bytes(&self) -> usize {
        // Compressed, the text is at most as long again.
        let texts = self.json.capacity() + self.json.len();
        size_of::<Published>() - size_of::<Event>() + self.event.memory_bytes() + texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deflate::Inflater;

    #[test]
    fn an_event_is_compressed_once_and_only_if_that_is_shorter() {
        let (mut one, mut other) = (Deflater::default(), Deflater::default());
        let spaces = Published { json: vec![b' '; 1_000], ..Published::new(Seq(1), event()) };
        assert!(!spaces.is_deflated());
        let blocks = spaces.deflated(&mut one).expect("spaces compress well");
        assert!(spaces.is_deflated());
        assert!(std::ptr::eq(blocks, spaces.deflated(&mut other).expect("kept")));
        let text = Inflater::default().inflate(blocks, 1_001).expect("whole").to_vec();
        assert_eq!(text, [&spaces.json[..], b"]"].concat());
        let mut random = fastrand::Rng::with_seed(1);
        let json = (0..1_000).map(|_| random.u8(..)).collect();
        let noise = Published { json, ..Published::new(Seq(1), event()) };
        assert_eq!(noise.deflated(&mut one), None);
        assert_eq!(noise.deflated(&mut one), None);
    }

    fn event() -> Event {
        let zeros = "0".repeat(64);
        let json = format!(
            r#"{{"id":"{zeros}","pubkey":"{zeros}","created_at":1,"kind":1,"tags":[],"content":"","sig":"{zeros}{zeros}"}}"#
        );
        Event::parse(json.as_bytes()).expect("the test's event is valid")
    }
}
