//! The information document: what the relay says about itself over HTTP (NIP-11).
//!
//! A field that is absent is not in the JSON. Whoever fills it in says only what is true and
//! enforced.

use serde::{Serialize, Serializer};

use super::id::PublicKey;

/// Everything that NIP-11 defines and this relay can mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InformationDocument {
    /// A short name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for, in plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The address of a wide picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banner: Option<String>,
    /// The address of a small square picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// The key of its administrator.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub pubkey: Option<PublicKey>,
    /// The key that it signs with itself.
    #[serde(rename = "self", skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub own_key: Option<PublicKey>,
    /// Another way to reach the administrator, as a URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// The numbers of the NIPs that it implements.
    pub supported_nips: Vec<u16>,
    /// The address of the software's project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software: Option<String>,
    /// The version of the software.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The address of the terms of service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms_of_service: Option<String>,
    /// What is enforced.
    pub limitation: Limitation,
    /// What its groups can do (NIP-29).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nip29: Option<GroupFeatures>,
}

/// What the groups of a relay can do (NIP-29).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GroupFeatures {
    /// Groups can be below others.
    pub subgroups: bool,
}

/// The limits that a client can run into.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limitation {
    /// How many bytes a message may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_message_length: Option<u64>,
    /// How many subscriptions a connection may have open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_subscriptions: Option<u64>,
    /// To what a filter's limit is clamped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_limit: Option<u64>,
    /// How many characters a subscription id may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_subid_length: Option<u64>,
    /// How many tags an event may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_event_tags: Option<u64>,
    /// How many Unicode characters the content of an event may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_content_length: Option<u64>,
    /// How many leading zero bits an id needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_pow_difficulty: Option<u64>,
    /// Nothing works before NIP-42.
    pub auth_required: bool,
    /// Nothing works before payment.
    pub payment_required: bool,
    /// Writing has conditions that people know beforehand.
    pub restricted_writes: bool,
    /// How many seconds old an event may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at_lower_limit: Option<u64>,
    /// How many seconds in the future an event may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at_upper_limit: Option<u64>,
    /// What a filter without a limit gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_limit: Option<u64>,
}

impl InformationDocument {
    /// Returns the document as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings, numbers and lists of them are always JSON")
    }
}

/// What another relay says of itself, as far as it matters to who asks it for events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerInformation {
    /// The numbers of the NIPs that it says it implements.
    pub supported_nips: Vec<u16>,
    /// What it says that it enforces; what it does not say, or not as a number, is absent.
    pub limitation: Limitation,
}

impl PeerInformation {
    /// Reads a document; nothing if it is none. Whatever in it is of another type is ignored.
    pub fn parse(json: &[u8]) -> Option<PeerInformation> {
        let value: serde_json::Value = serde_json::from_slice(json).ok()?;
        let document = value.as_object()?;
        let nips = document.get("supported_nips").and_then(|nips| nips.as_array());
        let number = |nip: &serde_json::Value| u16::try_from(nip.as_u64()?).ok();
        let said = |name: &str| document.get("limitation")?.get(name)?.as_u64();
        let limitation = Limitation {
            max_message_length: said("max_message_length"),
            max_subscriptions: said("max_subscriptions"),
            max_limit: said("max_limit"),
            default_limit: said("default_limit"),
            ..Limitation::default()
        };
        let supported_nips = nips.into_iter().flatten().filter_map(number).collect();
        Some(PeerInformation { supported_nips, limitation })
    }
}

fn as_text<S: Serializer>(key: &Option<PublicKey>, serializer: S) -> Result<S::Ok, S::Error> {
    match key {
        Some(key) => serializer.collect_str(key),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_other_relays_say_is_read_as_far_as_it_makes_sense() {
        let text = br#"{"supported_nips":[1,77,"x",-1],"limitation":{"max_limit":500,
            "max_subscriptions":"many","max_message_length":-5},"other":null}"#;
        let found = PeerInformation::parse(text).expect("a document");
        assert_eq!(found.supported_nips, [1, 77]);
        let expected = Limitation { max_limit: Some(500), ..Limitation::default() };
        assert_eq!(found.limitation, expected);
        assert_eq!(PeerInformation::parse(b"{}"), Some(PeerInformation::default()));
        assert_eq!(
            PeerInformation::parse(b"{\"limitation\":[],\"supported_nips\":5}"),
            Some(PeerInformation::default())
        );
        for text in [&b""[..], b"[]", b"<html>", b"\xff"] {
            assert_eq!(PeerInformation::parse(text), None);
        }
    }

    #[test]
    fn absent_fields_are_left_out_and_keys_are_hexadecimal() {
        let document = InformationDocument {
            name: Some("a \"relay\"".to_owned()),
            own_key: Some(PublicKey([0xab; 32])),
            supported_nips: vec![1, 11],
            limitation: Limitation { max_limit: Some(500), ..Limitation::default() },
            ..InformationDocument::default()
        };
        let found: serde_json::Value =
            serde_json::from_str(&document.to_json()).expect("it is JSON");
        let expected = json!({
            "name": "a \"relay\"",
            "self": "ab".repeat(32),
            "supported_nips": [1, 11],
            "limitation": {
                "max_limit": 500,
                "auth_required": false,
                "payment_required": false,
                "restricted_writes": false,
            },
        });
        assert_eq!(found, expected);
    }
}
