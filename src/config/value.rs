//! How the types of settings are read from a layer and written as TOML.
//!
//! A reader answers only yes or no: what was expected is said by the key's [`Range`], what was
//! found by the [`Raw`] value, so that every error of the configuration reads the same.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::key::{Range, Raw};

/// A type that a setting can have.
pub(super) trait Value: Sized {
    /// Reads a value; `None` when its type or its range is wrong.
    fn read(raw: &Raw, range: &Range) -> Option<Self>;

    /// Writes the value as TOML text; `None` when it is absent.
    fn write(&self) -> Option<String>;
}

impl Value for u64 {
    fn read(raw: &Raw, range: &Range) -> Option<Self> {
        let value = match raw {
            Raw::Integer(value, _) => (*value)?,
            Raw::Bare(text) => text.replace('_', "").parse().ok()?,
            Raw::Text(_) | Raw::Other(_) => return None,
        };
        range.accepts_integer(value).then_some(value)
    }

    fn write(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for String {
    fn read(raw: &Raw, range: &Range) -> Option<Self> {
        let text = text_of(raw)?;
        range.accepts_text(text).then(|| text.to_owned())
    }

    fn write(&self) -> Option<String> {
        Some(toml::Value::String(self.clone()).to_string())
    }
}

impl Value for PathBuf {
    fn read(raw: &Raw, range: &Range) -> Option<Self> {
        String::read(raw, range).map(Self::from)
    }

    fn write(&self) -> Option<String> {
        self.to_string_lossy().into_owned().write()
    }
}

impl Value for SocketAddr {
    fn read(raw: &Raw, range: &Range) -> Option<Self> {
        String::read(raw, range)?.parse().ok()
    }

    fn write(&self) -> Option<String> {
        self.to_string().write()
    }
}

/// An optional key: an empty text of the command line or the environment makes it absent again.
impl<T: Value> Value for Option<T> {
    fn read(raw: &Raw, range: &Range) -> Option<Self> {
        match raw {
            Raw::Bare(text) if text.is_empty() => Some(None),
            _ => T::read(raw, range).map(Some),
        }
    }

    fn write(&self) -> Option<String> {
        self.as_ref().and_then(T::write)
    }
}

/// Returns the text of a raw value that is text.
fn text_of(raw: &Raw) -> Option<&str> {
    match raw {
        Raw::Text(text) | Raw::Bare(text) => Some(text),
        Raw::Integer(..) | Raw::Other(_) => None,
    }
}

/// Implements [`Value`] for an enum whose variants are words.
macro_rules! words {
    ($type:ty { $($word:literal => $variant:path),+ $(,)? }) => {
        impl Value for $type {
            fn read(raw: &Raw, range: &Range) -> Option<Self> {
                match String::read(raw, range)?.as_str() {
                    $($word => Some($variant),)+
                    _ => None,
                }
            }

            fn write(&self) -> Option<String> {
                match self {
                    $($variant => $word.to_owned().write(),)+
                }
            }
        }
    };
}

pub(super) use words;
