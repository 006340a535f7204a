//! Names of groups, as they stand in `h` and `d` tags.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::hex;
use crate::nostr::Value;

/// The id of a group: any text. Kept in canonical escaped form; cloning shares it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(Arc<[u8]>);

impl GroupId {
    /// Returns the id that the value of a tag is.
    pub fn of(value: Value<'_>) -> GroupId {
        GroupId(with_text(value, |text| Arc::from(text)))
    }

    /// Returns the value of a tag with this id.
    pub fn value(&self) -> GroupValue {
        match hex::decode_32(&self.0) {
            Some(bytes) => GroupValue::Hex(bytes),
            None => GroupValue::Text(Arc::clone(&self.0)),
        }
    }

    /// Returns the text itself, without escapes.
    pub fn to_text(&self) -> String {
        Value::Text(&self.0).to_text().into_owned()
    }
}

/// The value of a tag that names a group.
#[derive(Clone, Debug)]
pub enum GroupValue {
    /// The text of 64 lower-case hexadecimal digits that these bytes have.
    Hex([u8; 32]),
    /// Any other text, in canonical escaped form.
    Text(Arc<[u8]>),
}

impl GroupValue {
    /// Borrows it in the form in which tags give their values.
    pub fn as_value(&self) -> Value<'_> {
        match self {
            GroupValue::Hex(bytes) => Value::Hex(bytes),
            GroupValue::Text(text) => Value::Text(text),
        }
    }
}

impl Borrow<[u8]> for GroupId {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_text(), f)
    }
}

/// Calls `work` with the canonical escaped text of a value.
pub(super) fn with_text<T>(value: Value<'_>, work: impl FnOnce(&[u8]) -> T) -> T {
    match value {
        Value::Text(text) => work(text),
        Value::Hex(bytes) => {
            let mut text = Vec::with_capacity(64);
            hex::encode_into(bytes, &mut text);
            work(&text)
        }
    }
}
