//! How the types of settings are read from a layer and written as TOML.
//!
//! A reader answers only yes or no: what was expected is said by the key's [`Range`], what was
//! found by the [`Raw`] value, so that every error of the configuration reads the same.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::key::{Range, Raw};
use crate::policy::Rate;

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
            _ => return None,
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

/// A rate that something is held to, if it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimit {
    /// It is not.
    Off,
    /// To this one.
    Rate(Rate),
}

impl RateLimit {
    /// How no limit is written.
    pub(super) const OFF: &str = "off";

    /// Returns the rate, if there is one.
    pub fn rate(self) -> Option<Rate> {
        match self {
            RateLimit::Off => None,
            RateLimit::Rate(rate) => Some(rate),
        }
    }
}

impl Value for RateLimit {
    fn read(raw: &Raw, range: &Range) -> Option<Self> {
        let text = String::read(raw, range)?;
        if text == Self::OFF {
            return Some(RateLimit::Off);
        }
        text.parse().ok().map(RateLimit::Rate)
    }

    fn write(&self) -> Option<String> {
        match self {
            RateLimit::Off => Self::OFF.to_owned().write(),
            RateLimit::Rate(rate) => rate.to_string().write(),
        }
    }
}

impl Value for bool {
    fn read(raw: &Raw, _range: &Range) -> Option<Self> {
        match raw {
            Raw::Truth(value) => Some(*value),
            Raw::Bare(text) => text.parse().ok(),
            _ => None,
        }
    }

    fn write(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// A list: an array of the file, items separated by commas elsewhere. A single item of the file
/// needs no brackets; an empty text of the command line or the environment is the empty list.
impl<T: Value> Value for Vec<T> {
    fn read(raw: &Raw, range: &Range) -> Option<Self> {
        let Range::ListOf(range) = range else { return None };
        match raw {
            Raw::List(items) => items.iter().map(|item| T::read(item, range)).collect(),
            Raw::Bare(text) if text.trim().is_empty() => Some(Vec::new()),
            Raw::Bare(text) => {
                let items = text.split(',').map(|item| Raw::Bare(item.trim().to_owned()));
                items.map(|item| T::read(&item, range)).collect()
            }
            single => T::read(single, range).map(|item| vec![item]),
        }
    }

    fn write(&self) -> Option<String> {
        let items: Option<Vec<String>> = self.iter().map(T::write).collect();
        Some(format!("[{}]", items?.join(", ")))
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
        _ => None,
    }
}

/// A rate that the table itself says.
pub(super) fn rate(text: &'static str) -> RateLimit {
    RateLimit::Rate(text.parse().expect("the table's own rates are rates"))
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

/// Importance of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Data lost or service down.
    Error,
    /// Unexpected but whole.
    Warn,
    /// The operator's own actions.
    Info,
    /// For the developers of the relay.
    Debug,
    /// Everything.
    Trace,
}

words! {
    Level {
        "error" => Level::Error,
        "warn" => Level::Warn,
        "info" => Level::Info,
        "debug" => Level::Debug,
        "trace" => Level::Trace,
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

words! { LogFormat { "text" => LogFormat::Text, "json" => LogFormat::Json } }
