//! Hands on what is taken from whom, in the words of `policy`; reads the files with lists.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::exit::Failure;
use crate::config::Settings;
use crate::config::settings::PolicySettings;
use crate::net::Address;
use crate::nostr::PublicKey;
use crate::peer::{self, PeerStatus};
use crate::policy::{
    self, ByKind, KindRange, NameRules, Named, TrustRules, Web, Words, WriteRules,
};
use crate::seq::Seq;
use crate::server::Retention;
use crate::store::{Store, StoreError};

/// Returns the rules, if the settings say anything.
pub(super) fn write_rules(settings: &Settings) -> Result<Option<Arc<WriteRules>>, Failure> {
    let policy = &settings.policy;
    let has_list = !policy.allowed_authors.is_empty() || policy.allowed_authors_file.is_some();
    let allowed = keys(&policy.allowed_authors, policy.allowed_authors_file.as_deref())?;
    let rules = WriteRules {
        allowed_authors: has_list.then_some(allowed),
        trusted: trusted(policy),
        named: named(policy),
        refused_authors: keys(&policy.refused_authors, policy.refused_authors_file.as_deref())?,
        allowed_kinds: (!policy.allowed_kinds.is_empty()).then(|| ranges(&policy.allowed_kinds)),
        open_kinds: ranges(&policy.open_kinds),
        allowed_tags: policy.allowed_tags.iter().map(|it| tag(it)).collect(),
        allowed_words: words("allowed_words", policy.allowed_words.iter().map(String::as_str))?,
        refused_tags: policy.refused_tags.iter().map(|it| tag(it)).collect(),
        refused_words: refused_words(policy)?,
        bytes_max: by_kind(&policy.max_bytes_by_kind, policy::amount),
        past_secs_max: by_kind(&policy.max_age_by_kind, policy::period),
        work_bits_min: by_kind(&policy.min_pow_by_kind, policy::plain),
    };
    Ok((!rules.is_empty()).then(|| Arc::new(rules)))
}

/// Returns what is kept for how long.
pub(super) fn retention(settings: &Settings) -> Retention {
    let store = &settings.store;
    Retention {
        rules: store.retention.iter().filter_map(|text| text.parse().ok()).collect(),
        period: Duration::from_secs(store.retention_period_secs),
        came_from,
    }
}

/// Tells what came first from a peer, by its address or the name by which it is known.
fn came_from(
    store: &Store,
    peer: Option<&str>,
    sink: &mut dyn FnMut(Seq),
) -> Result<(), StoreError> {
    let Some(peer) = peer else { return peer::each_from(store, None, sink) };
    let url = match Address::parse(peer) {
        Ok(address) => Some(address.to_string()),
        Err(_) => {
            let known = PeerStatus::all(store)?;
            known.into_iter().find(|status| status.name == peer).map(|status| status.url)
        }
    };
    url.map_or(Ok(()), |url| peer::each_from(store, Some(&url), sink))
}

fn trusted(policy: &PolicySettings) -> Option<Arc<Web>> {
    let roots: Box<[PublicKey]> = policy.trust_roots.iter().filter_map(|it| key(it)).collect();
    let rules = TrustRules {
        roots,
        depth: u32::try_from(policy.trust_depth).unwrap_or(u32::MAX),
        keys_max: usize::try_from(policy.trust_max_keys).unwrap_or(usize::MAX),
    };
    (!rules.roots.is_empty()).then(|| Arc::new(Web::new(rules)))
}

fn named(policy: &PolicySettings) -> Option<Arc<Named>> {
    let domains = policy.nip05_domains.iter().map(|domain| domain.to_ascii_lowercase().into());
    let rules = NameRules {
        domains: domains.collect(),
        refresh_secs: policy.nip05_refresh_secs,
        expiry_secs: policy.nip05_expiry_secs.max(policy.nip05_refresh_secs),
        keys_max: usize::try_from(policy.nip05_max_keys).unwrap_or(usize::MAX),
    };
    (!rules.domains.is_empty()).then(|| Arc::new(Named::new(rules)))
}

fn keys(listed: &[String], file: Option<&Path>) -> Result<HashSet<PublicKey>, Failure> {
    let mut keys: HashSet<PublicKey> = listed.iter().filter_map(|text| key(text)).collect();
    let Some(path) = file else { return Ok(keys) };
    for (number, line) in (1..).zip(read(path)?.lines()) {
        let text = line.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        let Some(found) = key(text) else {
            let place = path.display();
            let text = format!("{place}:{number}: expected a public key, found {text:?}");
            return Err(Failure::usage(text).hint("a key is 64 lower-case hex digits"));
        };
        keys.insert(found);
    }
    Ok(keys)
}

fn key(text: &str) -> Option<PublicKey> {
    PublicKey::from_hex(text.as_bytes())
}

fn refused_words(policy: &PolicySettings) -> Result<Option<Words>, Failure> {
    let text = policy.refused_words_file.as_deref().map(read).transpose()?.unwrap_or_default();
    let listed = policy.refused_words.iter().map(String::as_str);
    words("refused_words", listed.chain(text.lines().map(str::trim)))
}

fn words<'a>(key: &str, listed: impl Iterator<Item = &'a str>) -> Result<Option<Words>, Failure> {
    let too_many = |error| Failure::usage(format!("too many words in policy.{key}: {error}"));
    Words::new(listed).map_err(too_many)
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        let path: PathBuf = path.to_owned();
        Failure::usage(format!("failed to read {}: {error}", path.display()))
    })
}

// What follows was checked by the settings table.

fn ranges(texts: &[String]) -> Box<[KindRange]> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

fn by_kind(texts: &[String], unit: fn(&str) -> Option<u64>) -> ByKind {
    texts.iter().filter_map(|text| policy::parse_by_kind(text, unit)).collect()
}

fn tag(text: &str) -> (String, Option<String>) {
    match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
}
