//! Who administers the relay over the network (NIP-86), and what each of them may do.

use std::collections::{BTreeSet, HashMap};
use std::str::FromStr;

use crate::nostr::{PublicKey, bech32};

/// What belongs together in what administrators may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// What every administrator may do.
    Any,
    /// Look: lists, figures, the log, the configuration.
    Read,
    /// Ban and allow authors, events and addresses.
    Moderate,
    /// Roles, members and invitations.
    People,
    /// What the relay calls itself, and which kinds it takes.
    Relay,
    /// What is in the store: removing much at once, retention, backups.
    Store,
}

impl Right {
    /// Every right that is given.
    pub const ALL: [Right; 5] =
        [Right::Read, Right::Moderate, Right::People, Right::Relay, Right::Store];

    /// Returns the word that settings have for it.
    pub fn word(self) -> &'static str {
        match self {
            Right::Any => "any",
            Right::Read => "read",
            Right::Moderate => "moderate",
            Right::People => "people",
            Right::Relay => "relay",
            Right::Store => "store",
        }
    }
}

/// What one administrator may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    rights: BTreeSet<Right>,
    /// Methods by name, beside those.
    methods: BTreeSet<Box<str>>,
}

impl Permissions {
    /// Returns the permission to do everything.
    pub fn all() -> Permissions {
        Permissions { rights: Right::ALL.into(), methods: BTreeSet::new() }
    }

    /// Returns whether a method may be called that belongs to this right.
    pub fn allow(&self, method: &str, right: Right) -> bool {
        right == Right::Any || self.rights.contains(&right) || self.methods.contains(method)
    }

    /// Permits methods by name, too.
    pub fn add_methods<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        self.methods.extend(names.map(Box::from));
    }

    /// Returns whether nothing is permitted.
    pub fn is_empty(&self) -> bool {
        self.rights.is_empty() && self.methods.is_empty()
    }

    /// Returns the words for what is permitted.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.rights.iter().map(|it| it.word()).chain(self.methods.iter().map(|it| &**it))
    }
}

/// One administrator, as settings name one: `KEY` for all rights, or `KEY=read|moderate|banevent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Whose signature counts.
    pub key: PublicKey,
    /// What for.
    pub permissions: Permissions,
}

/// A text names no administrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it names no administrator")]
pub struct AdminError;

impl FromStr for Admin {
    type Err = AdminError;

    fn from_str(text: &str) -> Result<Admin, AdminError> {
        let (key, words) = match text.split_once('=') {
            Some((key, words)) => (key, Some(words)),
            None => (text, None),
        };
        let key = PublicKey::from_hex(key.as_bytes())
            .or_else(|| bech32::decode("npub", key).map(PublicKey))
            .ok_or(AdminError)?;
        let Some(words) = words else {
            return Ok(Admin { key, permissions: Permissions::all() });
        };
        let mut permissions = Permissions::default();
        for word in words.split('|') {
            let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'.';
            match Right::ALL.iter().find(|right| right.word() == word) {
                Some(right) => drop(permissions.rights.insert(*right)),
                None if word == "all" => permissions.rights.extend(Right::ALL),
                None if !word.is_empty() && word.bytes().all(is_name) => {
                    permissions.methods.insert(word.into());
                }
                None => return Err(AdminError),
            }
        }
        Ok(Admin { key, permissions })
    }
}

/// Every administrator.
#[derive(Clone, Debug, Default)]
pub struct Admins(HashMap<PublicKey, Permissions>);

impl Admins {
    /// Returns what somebody may do; nothing if it is no administrator.
    pub fn of(&self, key: &PublicKey) -> Option<&Permissions> {
        self.0.get(key)
    }

    /// Returns all of them with what they may do, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&PublicKey, &Permissions)> {
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all.into_iter()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Who is named twice has the rights of both.
impl FromIterator<Admin> for Admins {
    fn from_iter<I: IntoIterator<Item = Admin>>(named: I) -> Admins {
        let mut admins = Admins::default();
        for Admin { key, permissions } in named {
            let known = admins.0.entry(key).or_default();
            known.rights.extend(permissions.rights);
            known.methods.extend(permissions.methods);
        }
        admins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_administrator_may_do_what_the_settings_say() {
        let key = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let rows: [(&str, &[&str]); 5] = [
            ("", &["read", "moderate", "people", "relay", "store"]),
            ("=all", &["read", "moderate", "people", "relay", "store"]),
            ("=read", &["read"]),
            ("=moderate|read", &["read", "moderate"]),
            ("=read|chappe.search", &["read", "chappe.search"]),
        ];
        for (words, expected) in rows {
            let admin: Admin = format!("{key}{words}").parse().expect("it is right");
            assert_eq!(admin.permissions.words().collect::<Vec<_>>(), expected);
        }
        for wrong in ["", "=all", "x=all", &key[1..], &format!("{key}="), &format!("{key}=Read")] {
            assert_eq!(wrong.parse::<Admin>(), Err(AdminError), "{wrong}");
        }
        let admins: Admins = [format!("{key}=read"), format!("{key}=banevent")]
            .iter()
            .map(|text| text.parse::<Admin>().expect("it is right"))
            .collect();
        let key = PublicKey::from_hex(key.as_bytes()).expect("a key");
        let permissions = admins.of(&key).expect("an administrator");
        assert!(
            permissions.allow("x", Right::Read) && permissions.allow("banevent", Right::Moderate)
        );
        assert!(!permissions.allow("banpubkey", Right::Moderate));
        let mut more = Permissions::default();
        assert!(more.is_empty());
        more.add_methods(["banpubkey"].into_iter());
        assert!(!more.is_empty() && more.allow("banpubkey", Right::Moderate));
        assert_eq!(admins.of(&PublicKey([1; 32])), None);
    }
}
