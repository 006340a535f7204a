//! Authors whom a domain names (NIP-05): what profiles claim, what domains confirm, and for how long
//! that counts. Who asks the domains is not said here.

use std::sync::Arc;

use arc_swap::ArcSwap;
use imbl::OrdSet;
use serde_json::Value;

use crate::nostr::{EventRef, PublicKey};

/// Whose word counts, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRules {
    /// The domains, in lower case, with a port if it is not the usual one.
    pub domains: Box<[Box<str>]>,
    /// After so many seconds a domain is asked again.
    pub refresh_secs: u64,
    /// What was confirmed counts for so many seconds if the domain cannot be asked again.
    pub expiry_secs: u64,
    /// How many authors may be confirmed at a time.
    pub keys_max: usize,
}

/// Who is confirmed at this moment. Read by any thread, changed by one.
#[derive(Debug)]
pub struct Named {
    rules: NameRules,
    keys: ArcSwap<OrdSet<PublicKey>>,
}

/// What a profile says: that a domain knows its author by a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameClaim {
    /// The name at the domain, `_` for the domain itself.
    pub name: Box<str>,
    /// One of the domains of the rules.
    pub domain: Box<str>,
}

impl Named {
    /// Returns nobody yet, by these rules.
    pub fn new(rules: NameRules) -> Named {
        Named { rules, keys: ArcSwap::default() }
    }

    /// Returns the rules.
    pub fn rules(&self) -> &NameRules {
        &self.rules
    }

    /// Returns whether somebody is confirmed.
    pub fn has(&self, key: &PublicKey) -> bool {
        self.keys.load().contains(key)
    }

    /// Returns how many are confirmed.
    pub fn count(&self) -> usize {
        self.keys.load().len()
    }

    /// Confirms some, and takes that back of others; of one in both lists it is taken back.
    pub fn change(&self, confirmed: &[PublicKey], others: &[PublicKey]) {
        let mut keys = OrdSet::clone(&self.keys.load());
        for key in confirmed {
            keys.insert(*key);
        }
        for key in others {
            keys.remove(key);
        }
        self.keys.store(Arc::new(keys));
    }
}

impl NameRules {
    /// Returns what a profile claims of one of these domains; nothing if it does not.
    pub fn claim(&self, profile: &EventRef<'_>) -> Option<NameClaim> {
        let domain_is_in = |domain: &str| memchr::memmem::find(profile.content, domain.as_bytes());
        // Most profiles of the world name others; letters may be written in upper case, though.
        if profile.content.is_ascii()
            && !profile.content.iter().any(u8::is_ascii_uppercase)
            && !self.domains.iter().any(|domain| domain_is_in(domain).is_some())
        {
            return None;
        }
        // The content is in its escaped form.
        let quoted = [b"\"", profile.content, b"\""].concat();
        let content: String = serde_json::from_slice(&quoted).ok()?;
        let profile: Value = serde_json::from_str(&content).ok()?;
        self.read(profile.get("nip05")?.as_str()?)
    }

    /// Reads an identifier such as `bob@example.org`, or `example.org` for the domain itself.
    pub fn read(&self, identifier: &str) -> Option<NameClaim> {
        let identifier = identifier.trim().to_ascii_lowercase();
        let (name, domain) = identifier.split_once('@').unwrap_or(("_", &identifier));
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_name = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_legal);
        let domain = self.domains.iter().find(|known| ***known == *domain)?;
        is_name.then(|| NameClaim { name: name.into(), domain: domain.clone() })
    }
}

impl NameClaim {
    /// Returns the path at the domain where the answer is.
    pub fn path(&self) -> String {
        format!("/.well-known/nostr.json?name={}", self.name)
    }

    /// Returns whether the domain's document confirms the claim of somebody.
    pub fn is_confirmed(&self, document: &[u8], key: &PublicKey) -> bool {
        let document: Value = serde_json::from_slice(document).unwrap_or_default();
        let named = document.get("names").and_then(|names| names.get(&*self.name));
        named.and_then(Value::as_str).is_some_and(|it| it == key.to_string())
    }
}

impl std::fmt::Display for NameClaim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.domain)
    }
}

const NAME_BYTES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::{Keypair, Kind};

    fn rules() -> NameRules {
        NameRules {
            domains: ["example.org".into(), "127.0.0.1:8080".into()].into(),
            refresh_secs: 10,
            expiry_secs: 20,
            keys_max: 5,
        }
    }

    #[test]
    fn a_profile_claims_a_name_of_one_of_the_domains_or_nothing() {
        let keys = Keypair::from_secret([1; 32]).expect("the secret is in range");
        let rows = [
            (r#"{"name":"x","nip05":"bob@example.org"}"#, Some("bob@example.org")),
            (r#"{"nip05":" Bob@EXAMPLE.org "}"#, Some("bob@example.org")),
            (r#"{"nip05":"example.org"}"#, Some("_@example.org")),
            (r#"{"nip05":"_@127.0.0.1:8080"}"#, Some("_@127.0.0.1:8080")),
            (r#"{"nip05":"bob@evil.example"}"#, None),
            (r#"{"nip05":"bob@sub.example.org"}"#, None),
            (r#"{"nip05":"bob@evil.example/example.org"}"#, None),
            (r#"{"nip05":"a b@example.org"}"#, None),
            (r#"{"nip05":"a&b=c@example.org"}"#, None),
            (r#"{"nip05":"@example.org"}"#, None),
            (r#"{"nip05":7,"about":"example.org"}"#, None),
            (r#"{"about":"bob@example.org"}"#, None),
            ("example.org", None),
            ("", None),
        ];
        for (content, expected) in rows {
            let profile = keys.sign_event(1, Kind::METADATA, &[], content);
            let claim = rules().claim(&profile.view()).map(|claim| claim.to_string());
            assert_eq!(claim.as_deref(), expected, "{content}");
        }
    }

    #[test]
    fn a_domain_confirms_the_key_that_it_lists_and_no_other() {
        let key = Keypair::from_secret([1; 32]).expect("the secret is in range").public_key();
        let claim = rules().read("bob@example.org").expect("a claim");
        assert_eq!(claim.path(), "/.well-known/nostr.json?name=bob");
        let rows = [
            (format!(r#"{{"names":{{"bob":"{key}","eve":"x"}}}}"#), true),
            (format!(r#"{{"names":{{"eve":"{key}"}}}}"#), false),
            (r#"{"names":{"bob":"x"}}"#.to_owned(), false),
            (r#"{"names":["bob"]}"#.to_owned(), false),
            ("<html>".to_owned(), false),
            (String::new(), false),
        ];
        for (document, expected) in rows {
            assert_eq!(claim.is_confirmed(document.as_bytes(), &key), expected, "{document}");
        }
    }

    #[test]
    fn whoever_was_confirmed_is_there_until_that_is_taken_back() {
        let named = Named::new(rules());
        let (one, two) = (PublicKey([1; 32]), PublicKey([2; 32]));
        named.change(&[one, two], &[]);
        assert!(named.has(&one) && named.has(&two));
        named.change(&[one], &[one, two]);
        assert_eq!(named.count(), 0);
    }
}
