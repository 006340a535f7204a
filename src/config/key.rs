//! What the settings table says about one key, and the macros that turn the table into structs.
//!
//! May assume nothing about which keys exist; the keys themselves are listed in `settings`.

use super::settings::Settings;

/// One key of the configuration, as the table describes it.
#[derive(Debug)]
pub struct Key {
    /// Section of the file, such as `limits`.
    pub section: &'static str,
    /// Name inside the section, such as `max_limit`.
    pub name: &'static str,
    /// What the key does, one line an element, as written above the field.
    pub doc: &'static [&'static str],
    /// Unit of the value, such as `bytes`; empty where the value has none.
    pub unit: &'static str,
    /// Values that are possible.
    pub range: Range,
    /// Whether a running relay takes up a changed value.
    pub reload: Reload,
    /// TOML text shown where the default is an absent value.
    pub example: Option<&'static str>,
    pub(super) set: fn(&mut Settings, &Raw, &Range) -> bool,
    pub(super) show: fn(&Settings) -> Option<String>,
    /// Copies the value from the first settings to the second.
    pub(super) copy: fn(&Settings, &mut Settings),
}

impl Key {
    /// Returns the full name, `section.key`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// Returns the name of the environment variable, `RELAY_SECTION_KEY`.
    pub fn variable(&self) -> String {
        format!("RELAY_{}_{}", self.section, self.name).to_ascii_uppercase()
    }

    /// Returns the value of this key in `settings` as TOML text, `None` when it is absent.
    pub fn value(&self, settings: &Settings) -> Option<String> {
        (self.show)(settings)
    }

    /// Says in words which values are possible, with the unit.
    pub fn expectation(&self) -> String {
        let range = self.range.describe();
        if self.unit.is_empty() { range } else { format!("{range} ({})", self.unit) }
    }
}

/// One section of the configuration file.
#[derive(Debug)]
pub struct Section {
    /// Name in brackets in the file.
    pub name: &'static str,
    /// What the section is about, one line an element.
    pub doc: &'static [&'static str],
    /// Its keys in the order of the file.
    pub keys: &'static [Key],
}

/// Values that a key accepts.
#[derive(Debug)]
pub enum Range {
    /// Whole numbers from the first to the second, both included.
    Integers(u64, u64),
    /// Text of this many characters, both bounds included.
    Characters(usize, usize),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// The path of a file that is read when the relay starts and whenever it or the configuration
    /// changes.
    File,
    /// Text of a form that is easier described than computed.
    Form {
        /// The form in words, fitting after "expected".
        described: &'static str,
        /// Decides whether a text has the form.
        accepts: fn(&str) -> bool,
    },
    /// `true` or `false`.
    Truth,
    /// A list, each item of which is in a range of its own.
    ListOf(&'static Range),
}

impl Range {
    /// Says in words what is accepted, fitting after "expected".
    pub fn describe(&self) -> String {
        match self {
            Self::Integers(min, max) => format!("a whole number from {min} to {max}"),
            Self::Characters(min, max) => format!("text of {min} to {max} characters"),
            Self::OneOf(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
                format!("one of {}", quoted.join(", "))
            }
            Self::File => {
                format!("the path of a file, of at most {PATH_CHARACTERS_MAX} characters")
            }
            Self::Form { described, .. } => (*described).to_owned(),
            Self::Truth => "true or false".to_owned(),
            Self::ListOf(item) => format!("a list, each item {}", item.describe()),
        }
    }

    /// Returns whether a text is accepted; only ranges of text accept one.
    pub fn accepts_text(&self, text: &str) -> bool {
        match self {
            Self::Integers(..) | Self::Truth | Self::ListOf(_) => false,
            Self::Characters(min, max) => (*min..=*max).contains(&text.chars().count()),
            Self::OneOf(words) => words.contains(&text),
            Self::File => (1..=PATH_CHARACTERS_MAX).contains(&text.chars().count()),
            Self::Form { accepts, .. } => accepts(text),
        }
    }

    /// Returns whether a number is accepted; only a range of integers accepts one.
    pub fn accepts_integer(&self, value: u64) -> bool {
        matches!(self, Self::Integers(min, max) if (*min..=*max).contains(&value))
    }
}

/// Whether a running relay takes up a changed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// Without a restart.
    Yes,
    /// Only when it starts.
    No,
}

/// A value as a layer wrote it, before the key's type has read it.
#[derive(Debug, Clone)]
pub enum Raw {
    /// A quoted string of the file.
    Text(String),
    /// Unquoted text of the command line or the environment, whose type the key decides.
    Bare(String),
    /// An integer of the file: its value, if it fits, and how it was written.
    Integer(Option<u64>, String),
    /// `true` or `false` of the file.
    Truth(bool),
    /// An array of the file.
    List(Vec<Raw>),
    /// A value of the file that no key takes, named for the error.
    Other(String),
}

impl Raw {
    /// Returns the value as one word of a rule; the items of a list are separated by bars.
    pub(super) fn in_one_word(&self) -> String {
        match self {
            Self::Text(text) | Self::Bare(text) | Self::Integer(_, text) | Self::Other(text) => {
                text.clone()
            }
            Self::Truth(value) => value.to_string(),
            Self::List(items) => {
                items.iter().map(Self::in_one_word).collect::<Vec<String>>().join("|")
            }
        }
    }

    /// Shows the value for "found ...".
    pub fn describe(&self) -> String {
        match self {
            Self::Text(text) | Self::Bare(text) => format!("{:?}", shorten(text)),
            Self::Integer(_, text) | Self::Other(text) => text.clone(),
            Self::Truth(value) => value.to_string(),
            Self::List(items) => {
                let shown: Vec<String> = items.iter().map(Raw::describe).collect();
                shorten(&format!("[{}]", shown.join(", ")))
            }
        }
    }
}

/// Cuts a value that is too long to be repeated in an error.
fn shorten(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARACTERS_MAX {
        return text.to_owned();
    }
    let head: String = text.chars().take(SHOWN_CHARACTERS_MAX).collect();
    format!("{head}...")
}

/// As long as a path may be on Linux.
const PATH_CHARACTERS_MAX: usize = 4_096;
const SHOWN_CHARACTERS_MAX: usize = 80;

/// Turns a section of the table into its struct, with the section's [`Key`]s.
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])+
        [$section:ident] $structure:ident {$(
            $(#[doc = $doc:literal])+
            #[key(unit = $unit:literal, range = $range:expr, reload = $reload:ident
                $(, example = $example:literal)?)]
            $field:ident: $type:ty = $default:expr;
        )+}
    ) => {
        $(#[doc = $section_doc])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $structure {$(
            $(#[doc = $doc])+
            pub $field: $type,
        )+}

        impl Default for $structure {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $structure {
            /// What the table says about this section.
            pub(in crate::config) const SECTION: Section = Section {
                name: stringify!($section),
                doc: &[$($section_doc),+],
                keys: &[$(Key {
                    section: stringify!($section),
                    name: stringify!($field),
                    doc: &[$($doc),+],
                    unit: $unit,
                    range: $range,
                    reload: Reload::$reload,
                    example: section!(@example $($example)?),
                    set: |settings, raw, range| match <$type as Value>::read(raw, range) {
                        Some(value) => {
                            settings.$section.$field = value;
                            true
                        }
                        None => false,
                    },
                    show: |settings| settings.$section.$field.write(),
                    copy: |from, to| to.$section.$field = from.$section.$field.clone(),
                }),+],
            };
        }
    };
    (@example) => { None };
    (@example $example:literal) => { Some($example) };
}

/// Puts the sections together, in the order of the file.
macro_rules! settings {
    ($($section:ident: $structure:ident,)+) => {
        /// Every setting of the relay, one field a section.
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct Settings {$(
            #[doc = concat!("The section `", stringify!($section), "`.")]
            pub $section: $structure,
        )+}

        /// The sections in the order of the file.
        pub static SECTIONS: &[Section] = &[$($structure::SECTION),+];
    };
}

pub(super) use {section, settings};
