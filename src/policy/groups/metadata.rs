//! What is said about a group: the fields of kind 39000 that admins set with kind 9002.

use super::TEXT_BYTES_MAX;
use crate::nostr::{EventRef, Kind, Reject};

/// What is said about a group; an absent field is an absent tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The texts of [`TEXTS`], in that order.
    texts: [Option<String>; TEXTS.len()],
    /// Only members read what is sent to the group.
    pub is_private: bool,
    /// Only members send to the group.
    pub is_restricted: bool,
    /// Only members see that the group exists.
    pub is_hidden: bool,
    /// Requests to join need a code.
    pub is_closed: bool,
    /// It has rooms for voice and video.
    pub has_livekit: bool,
    /// The kinds that are taken; all if it does not say.
    pub supported_kinds: Option<Vec<u16>>,
}

impl Metadata {
    /// Reads the fields from the tags of an event; what is no field is left out.
    ///
    /// # Errors
    ///
    /// If a supported kind is no kind, or the texts are too long.
    pub fn read(event: &EventRef<'_>) -> Result<Metadata, Reject> {
        let mut found = Metadata::default();
        for tag in event.tags() {
            let name = tag.name().to_text();
            if let Some(place) = TEXTS.iter().position(|text| *text == name) {
                let text = tag.value().map(|value| value.to_text().into_owned());
                found.texts[place] = text.filter(|text| !text.is_empty());
                continue;
            }
            match &*name {
                "private" => found.is_private = true,
                "restricted" => found.is_restricted = true,
                "hidden" => found.is_hidden = true,
                "closed" => found.is_closed = true,
                "livekit" => found.has_livekit = true,
                "supported_kinds" => {
                    let kinds = tag.elements().skip(1).map(|kind| kind.to_text().parse());
                    let kinds: Result<Vec<u16>, _> = kinds.collect();
                    found.supported_kinds =
                        Some(kinds.map_err(|_| Reject::invalid("`supported_kinds` are numbers"))?);
                }
                _ => {}
            }
        }
        let bytes: usize = found.texts.iter().flatten().map(String::len).sum();
        if bytes > TEXT_BYTES_MAX {
            let text = format!("the texts about a group have at most {TEXT_BYTES_MAX} bytes");
            return Err(Reject::invalid(text));
        }
        Ok(found)
    }

    /// Returns the tags of the fields.
    pub fn tags(&self) -> Vec<Vec<String>> {
        let mut tags = Vec::new();
        for (name, text) in TEXTS.iter().zip(&self.texts) {
            tags.extend(text.iter().map(|text| vec![(*name).to_owned(), text.clone()]));
        }
        let flags = [
            ("private", self.is_private),
            ("restricted", self.is_restricted),
            ("hidden", self.is_hidden),
            ("closed", self.is_closed),
            ("livekit", self.has_livekit),
        ];
        let set = flags.into_iter().filter(|(_, is_set)| *is_set);
        tags.extend(set.map(|(name, _)| vec![name.to_owned()]));
        if let Some(kinds) = &self.supported_kinds {
            let name = std::iter::once("supported_kinds".to_owned());
            tags.push(name.chain(kinds.iter().map(u16::to_string)).collect());
        }
        tags
    }

    /// Tells whether some of what belongs to the group is not for everybody.
    pub fn is_veiled(&self) -> bool {
        self.is_private || self.is_hidden
    }

    /// Tells whether the group takes events of a kind.
    pub fn takes(&self, kind: Kind) -> bool {
        self.supported_kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind.0))
    }
}

/// Fields that are text.
const TEXTS: [&str; 4] = ["name", "picture", "banner", "about"];
