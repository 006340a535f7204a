//! The registrar: asks domains whom they name (NIP-05), for whoever claims that in a profile. It has
//! a thread of its own, which there is only where the operator wants names; nobody waits for it.
//!
//! It follows the profiles (kind 0) in the store, as they are when it starts and as they come. What
//! a domain has confirmed is kept as a fact, so that a restart lets nobody wait, and asked again
//! now and then. All it does is bounded: claims, requests at a time, the answers.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::core::Relay;
use crate::ingest::WriterHandle;
use crate::net::{self, Address, ClientOptions, Network};
use crate::nostr::{EventRef, Filter, Kind, PublicKey};
use crate::policy::{NameClaim, Named};
use crate::query;
use crate::seq::Seq;
use crate::store::{FactChange, StoreError};

/// How domains are asked.
#[derive(Clone, Debug)]
pub struct NameSettings {
    /// Ways, deadlines and certificates.
    pub client: ClientOptions,
}

/// A running registrar; dropping it ends it.
pub(super) struct Registrar {
    named: Arc<Named>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Registrar {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that asks domains panicked");
        }
    }
}

impl Registrar {
    /// Starts to ask for those who claim names.
    pub(super) fn start(
        named: &Arc<Named>,
        settings: &NameSettings,
        relay: &Arc<Relay>,
        writer: &WriterHandle,
    ) -> std::io::Result<Registrar> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let mut book = Book {
            named: Arc::clone(named),
            relay: Arc::clone(relay),
            writer: writer.clone(),
            client: settings.client.clone(),
            seen: Seq::ZERO,
            claims: HashMap::new(),
            due: BTreeSet::new(),
        };
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    // An error means that whoever could say so is gone, which says the same.
                    _ = stopped => {}
                    () = book.keep() => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("names".to_owned()).spawn(run)?;
        Ok(Registrar { named: Arc::clone(named), stop: Some(stop), thread: Some(thread) })
    }

    /// Returns whether it asks for these.
    pub(super) fn is_of(&self, named: &Arc<Named>) -> bool {
        Arc::ptr_eq(&self.named, named)
    }
}

/// What is known of each claim.
struct Book {
    named: Arc<Named>,
    relay: Arc<Relay>,
    writer: WriterHandle,
    client: ClientOptions,
    /// Up to here the log was looked through for profiles.
    seen: Seq,
    claims: HashMap<PublicKey, Entry>,
    /// When who is to be asked for.
    due: BTreeSet<(u64, PublicKey)>,
}

/// One claim.
struct Entry {
    claim: NameClaim,
    /// When it was confirmed last; 0 for never.
    confirmed_at: u64,
    due_at: u64,
    /// How often in a row the domain could not be asked, or did not confirm.
    failures: u32,
}

/// What a domain has said to a claim.
enum Said {
    Yes,
    No,
    /// It could not be asked.
    Nothing,
}

impl Book {
    async fn keep(&mut self) {
        if let Err(error) = self.open() {
            tracing::error!(%error, "the profiles in the store could not be read");
        }
        let mut asked: JoinSet<(PublicKey, NameClaim, Said)> = JoinSet::new();
        loop {
            if let Err(error) = self.follow() {
                tracing::error!(%error, "new profiles could not be read");
            }
            let now = self.relay.clock.now_secs();
            while asked.len() < REQUESTS_MAX {
                let Some((key, claim)) = self.next_due(now) else { break };
                let client = self.client.clone();
                asked.spawn(async move {
                    let said = ask(&claim, &key, &client).await;
                    (key, claim, said)
                });
            }
            let heard = async {
                match asked.join_next().await {
                    Some(Ok(heard)) => Some(heard),
                    // Nothing is under way: time passes.
                    Some(Err(_)) | None => std::future::pending().await,
                }
            };
            if let Ok(Some((key, claim, said))) = tokio::time::timeout(LOOK_PERIOD, heard).await {
                self.hear(key, &claim, &said);
            }
        }
    }

    /// Takes up what was confirmed before the start, and what the profiles in the store claim.
    fn open(&mut self) -> Result<(), StoreError> {
        let store = self.relay.store.clone();
        self.seen = store.last_seq();
        let now = self.relay.clock.now_secs();
        let mut confirmed_at = HashMap::new();
        for (name, value) in store.snapshot()?.facts(NAMES)? {
            let key = PublicKey::from_hex(&name.as_bytes()[NAMES.len()..]);
            let text = String::from_utf8_lossy(&value);
            let (at, identifier) = text.split_once(' ').unwrap_or_default();
            if let (Some(key), Ok(at)) = (key, at.parse::<u64>())
                && now < at.saturating_add(self.named.rules().expiry_secs)
                && let Some(claim) = self.named.rules().read(identifier)
            {
                confirmed_at.insert(key, (at, claim));
            }
        }
        let keys: Vec<PublicKey> = confirmed_at.keys().copied().collect();
        self.named.change(&keys, &[]);
        for (key, (at, claim)) in confirmed_at {
            let due_at = at.saturating_add(self.named.rules().refresh_secs);
            self.enter(key, Entry { claim, confirmed_at: at, due_at, failures: 0 });
        }
        let mut until = u64::MAX;
        loop {
            let filter = Filter {
                kinds: Some([Kind::METADATA.0].into()),
                until: Some(until),
                limit: Some(PROFILES_AT_ONCE),
                ..Filter::default()
            };
            let snapshot = store.snapshot()?;
            let found = query::find_all(&snapshot, &filter, &|_| true)?;
            let mut oldest = until;
            for seq in &found {
                if let Some(profile) = snapshot.by_seq(*seq)? {
                    oldest = oldest.min(profile.created_at);
                    self.note(&profile, now);
                }
            }
            if (found.len() as u64) < PROFILES_AT_ONCE {
                return Ok(());
            }
            until = if oldest == until { oldest.saturating_sub(1) } else { oldest };
        }
    }

    /// Looks through what was stored since the last time.
    fn follow(&mut self) -> Result<(), StoreError> {
        let store = self.relay.store.clone();
        let (last, now) = (store.last_seq(), self.relay.clock.now_secs());
        while self.seen < last {
            let snapshot = store.snapshot()?;
            let mut looked_at = 0;
            for item in snapshot.log(self.seen)? {
                let (seq, event) = item?;
                self.seen = seq;
                if event.kind == Kind::METADATA {
                    self.note(&event, now);
                }
                looked_at += 1;
                if looked_at == EVENTS_PER_SLICE {
                    break;
                }
            }
            if looked_at < EVENTS_PER_SLICE {
                // What is left is dead.
                self.seen = self.seen.max(last);
            }
        }
        Ok(())
    }

    /// Takes note of what somebody's newest profile claims.
    fn note(&mut self, profile: &EventRef<'_>, now: u64) {
        let key = *profile.pubkey;
        let claim = self.named.rules().claim(profile);
        match (self.claims.get(&key), claim) {
            (None, None) => {}
            (Some(entry), Some(claim)) if entry.claim == claim => {}
            (Some(_), None) => self.forget(&key),
            (before, Some(claim)) => {
                // Another name: the domain has not said anything about it yet.
                if before.is_some() {
                    self.forget(&key);
                }
                let is_full = self.claims.len() >= self.named.rules().keys_max;
                if is_full {
                    return tracing::warn!("more authors claim names than policy.nip05_max_keys");
                }
                self.enter(key, Entry { claim, confirmed_at: 0, due_at: now, failures: 0 });
            }
        }
    }

    fn enter(&mut self, key: PublicKey, entry: Entry) {
        self.due.insert((entry.due_at, key));
        self.claims.insert(key, entry);
    }

    fn forget(&mut self, key: &PublicKey) {
        let Some(entry) = self.claims.remove(key) else { return };
        self.due.remove(&(entry.due_at, *key));
        if entry.confirmed_at > 0 {
            self.named.change(&[], &[*key]);
            self.store(FactChange::remove(format!("{NAMES}{key}")));
        }
    }

    /// Returns who is to be asked for; the one is not due again until there is an answer.
    fn next_due(&mut self, now: u64) -> Option<(PublicKey, NameClaim)> {
        let (at, key) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.due.remove(&(at, key));
        let entry = self.claims.get(&key)?;
        Some((key, entry.claim.clone()))
    }

    fn hear(&mut self, key: PublicKey, claim: &NameClaim, said: &Said) {
        let now = self.relay.clock.now_secs();
        let rules = self.named.rules().clone();
        // Meanwhile the profile may have changed.
        let Some(entry) = self.claims.get_mut(&key).filter(|entry| entry.claim == *claim) else {
            return;
        };
        let is_expired = now >= entry.confirmed_at.saturating_add(rules.expiry_secs);
        match said {
            Said::Yes => {
                (entry.confirmed_at, entry.failures) = (now, 0);
                entry.due_at = now.saturating_add(rules.refresh_secs);
                self.due.insert((entry.due_at, key));
                // Kept first: who was let in once is let in after a restart.
                self.store(FactChange::put(format!("{NAMES}{key}"), format!("{now} {claim}")));
                self.named.change(&[key], &[]);
                tracing::debug!("a domain has confirmed an author");
            }
            Said::Nothing if entry.failures < FAILURES_MAX && !is_expired => self.put_off(key, now),
            Said::No | Said::Nothing if entry.failures < FAILURES_MAX => {
                // It is not confirmed from here on, but may be mended soon.
                if entry.confirmed_at > 0 {
                    entry.confirmed_at = 0;
                    self.named.change(&[], &[key]);
                    self.store(FactChange::remove(format!("{NAMES}{key}")));
                }
                self.put_off(key, now);
            }
            // A later profile is asked for again.
            Said::No | Said::Nothing => self.forget(&key),
        }
    }

    fn put_off(&mut self, key: PublicKey, now: u64) {
        let Some(entry) = self.claims.get_mut(&key) else { return };
        let wait = RETRY_SECS << entry.failures;
        entry.failures += 1;
        entry.due_at = now.saturating_add(wait);
        self.due.insert((entry.due_at, key));
    }

    fn store(&self, change: FactChange) {
        if let Err(reject) = self.writer.change_facts(vec![change]) {
            tracing::error!(%reject, "what a domain has said was not kept");
        }
    }
}

/// Asks a domain. It answers over HTTPS; where a network encrypts by itself, or none is used, HTTP
/// will do. Answers that lead elsewhere are none (NIP-05).
async fn ask(claim: &NameClaim, key: &PublicKey, client: &ClientOptions) -> Said {
    let address =
        |scheme: &str| Address::parse(&format!("{scheme}://{}{}", claim.domain, claim.path()));
    let Ok(mut at) = address("wss") else { return Said::No };
    let is_local = matches!(at.host(), "localhost" | "127.0.0.1" | "::1");
    if at.network() != Network::Clearnet || is_local {
        match address("ws") {
            Ok(plain) => at = plain,
            Err(_) => return Said::No,
        }
    }
    match net::fetch(&at, "application/json", DOCUMENT_BYTES_MAX, client).await {
        Ok(document) if claim.is_confirmed(&document, key) => Said::Yes,
        Ok(_) => Said::No,
        Err(error) => {
            tracing::warn!(
                domain = claim.domain,
                %error,
                "a domain of policy.nip05_domains does not answer: whom it has not confirmed yet \
                 cannot publish until it does"
            );
            Said::Nothing
        }
    }
}

/// Names of facts about names begin so.
const NAMES: &str = "name/";
/// Requests under way at a time.
const REQUESTS_MAX: usize = 4;
/// Domains that have one document for all of their names.
const DOCUMENT_BYTES_MAX: usize = 4 << 20;
/// How often new profiles are looked for.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// The first time that a domain is asked again after a failure; each further one takes twice as long.
const RETRY_SECS: u64 = 60;
/// With so many failures in a row a claim is forgotten: after some days.
const FAILURES_MAX: u32 = 12;
/// Profiles looked at with one snapshot (I6).
const PROFILES_AT_ONCE: u64 = 2_000;
/// Events of the log looked at with one snapshot (I6).
const EVENTS_PER_SLICE: usize = 10_000;
