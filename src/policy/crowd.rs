//! Everybody who is measured: what is known of each address and each public key, shared by all
//! cores.
//!
//! The tables are bounded and sharded. A connection looks its address up once and holds on to what
//! it found, so messages cost no look-up. Who has nothing open and nothing to answer for is
//! forgotten when room is needed; if all room is taken by others, newcomers share one entry.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::quota::{Activity, BanRules, Meters, Quotas};
use super::rate::{Meter, Wait};
use crate::address::client_number;
use crate::nostr::PublicKey;

/// Everybody who is measured.
#[derive(Debug)]
pub struct Crowd {
    visitors: Table<u64, Visitor>,
    keys: Table<PublicKey, Meters>,
    everybody: Meters,
    tally: Tally,
}

/// How often clients were refused something; shared by all threads, because it is seldom.
#[derive(Debug, Default)]
pub struct Tally {
    /// Refusals for being too fast, by number of the activity.
    refused: [AtomicU64; Activity::ALL.len()],
    /// Addresses that were banned.
    banned: AtomicU64,
    /// Connections that were not let in because their address is banned, or denied.
    shut_out: AtomicU64,
    /// Connections that were not let in because their address had as many as it may.
    crowded_out: AtomicU64,
}

/// What is known of one address, or of one network of IPv6.
#[derive(Debug, Default)]
pub struct Visitor {
    pub(super) meters: Meters,
    misconduct: Meter,
    /// The second up to which it is shut out.
    banned_until: AtomicU64,
    /// How often it was shut out, as far as that counts.
    bans: AtomicU32,
    connections: AtomicU32,
    /// Whether it stands for all who found no room: they are not made to answer for each other.
    is_shared: bool,
}

/// One connection of a visitor; it counts as long as this lives.
#[derive(Debug)]
pub struct Visit(Arc<Visitor>);

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// The address is not wanted here.
    Denied,
    /// The address is banned for so many more seconds.
    Banned(u64),
    /// The address is banned from here on, for so many seconds, because of this connection.
    Caught(u64),
    /// The address has as many connections as one may have.
    Full(u32),
    /// Connections come too fast.
    TooFast(Wait),
}

impl Crowd {
    /// Returns a crowd of nobody that will remember so many addresses, and as many keys.
    pub fn new(remembered_max: usize) -> Crowd {
        let shared = Visitor { is_shared: true, ..Visitor::default() };
        Crowd {
            visitors: Table::new(remembered_max, shared),
            keys: Table::new(remembered_max, Meters::default()),
            everybody: Meters::default(),
            tally: Tally::default(),
        }
    }

    /// Returns how often clients were refused something.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Lets one connection in, if the quotas allow it.
    ///
    /// # Errors
    ///
    /// Why they do not.
    pub fn enter(&self, address: IpAddr, quotas: &Quotas, now: u64) -> Result<Visit, Turned> {
        let entered = self.admit(address, quotas, now);
        match entered {
            Ok(_) => {}
            Err(Turned::Denied | Turned::Banned(_)) => self.tally.shut_out_one(),
            Err(Turned::Full(_)) => add_one(&self.tally.crowded_out),
            Err(Turned::TooFast(_) | Turned::Caught(_)) => self.tally.refuse(Activity::Connect),
        }
        entered
    }

    fn admit(&self, address: IpAddr, quotas: &Quotas, now: u64) -> Result<Visit, Turned> {
        if !quotas.admits(address) {
            return Err(Turned::Denied);
        }
        let visitor = self.visitors.entry(client_number(address), now);
        if let Some(secs) = visitor.ban_left(now) {
            return Err(Turned::Banned(secs));
        }
        let connect = Activity::Connect;
        let taken = visitor
            .meters
            .take(&quotas.address, connect, 1, now)
            .and_then(|()| self.everybody.take(&quotas.everybody, connect, 1, now));
        if let Err(wait) = taken {
            self.misbehave(&visitor, quotas.bans.as_ref(), TOO_FAST_POINTS, now);
            return Err(visitor.ban_left(now).map_or(Turned::TooFast(wait), Turned::Caught));
        }
        let max = quotas.connections_max.filter(|_| !visitor.is_shared).unwrap_or(u32::MAX);
        let one_more = |count: u32| (count < max).then_some(count + 1);
        let counted =
            visitor.connections.try_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        if counted.is_err() {
            return Err(Turned::Full(max));
        }
        Ok(Visit(visitor))
    }

    /// Adds points of misconduct; with too many of them the address is banned.
    pub(super) fn misbehave(
        &self,
        visitor: &Visitor,
        rules: Option<&BanRules>,
        points: u64,
        now: u64,
    ) {
        if visitor.misbehave(rules, points, now) == Consequence::Ban {
            add_one(&self.tally.banned);
        }
    }

    /// Lets an address in again that was banned, as if it had always behaved.
    pub fn pardon(&self, address: IpAddr, now: u64) {
        let visitor = self.visitors.entry(client_number(address), now);
        visitor.misconduct.refill();
        visitor.bans.store(0, Ordering::Relaxed);
        visitor.banned_until.store(0, Ordering::Relaxed);
    }

    /// Returns what a public key has taken.
    pub fn key(&self, key: &PublicKey, now: u64) -> Arc<Meters> {
        self.keys.entry(*key, now)
    }

    /// Returns what all have taken together.
    pub fn everybody(&self) -> &Meters {
        &self.everybody
    }
}

impl Visit {
    /// Returns who visits.
    pub fn visitor(&self) -> &Visitor {
        &self.0
    }

    /// Returns who visits, to be known longer than the visit.
    pub(super) fn share(&self) -> Arc<Visitor> {
        Arc::clone(&self.0)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Visitor {
    /// Returns for how many more seconds this address is shut out, if it is.
    pub fn ban_left(&self, now: u64) -> Option<u64> {
        let until = self.banned_until.load(Ordering::Relaxed);
        (until > now).then(|| until - now)
    }

    /// Adds points of misconduct.
    fn misbehave(&self, rules: Option<&BanRules>, points: u64, now: u64) -> Consequence {
        let Some(rules) = rules.filter(|_| !self.is_shared) else { return Consequence::None };
        let is_tolerated = self.misconduct.take(&rules.tolerated, points, now).is_ok();
        if is_tolerated || self.ban_left(now).is_some() {
            return Consequence::None;
        }
        // Who behaved for as long as the longest ban starts again with the shortest.
        let before = self.banned_until.load(Ordering::Relaxed);
        let forgotten = before.saturating_add(rules.duration_max.as_secs());
        let count = if forgotten < now { 0 } else { self.bans.load(Ordering::Relaxed) };
        self.bans.store(count.saturating_add(1), Ordering::Relaxed);
        let duration = rules.duration.as_secs().saturating_mul(1 << count.min(DOUBLINGS_MAX));
        let duration = duration.min(rules.duration_max.as_secs());
        self.banned_until.store(now.saturating_add(duration), Ordering::Relaxed);
        Consequence::Ban
    }
}

/// What follows from misconduct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consequence {
    None,
    Ban,
}

impl Tally {
    /// Counts a refusal for being too fast.
    pub fn refuse(&self, activity: Activity) {
        add_one(&self.refused[activity as usize]);
    }

    /// Counts a connection that was not let in because its address is banned, or denied.
    pub fn shut_out_one(&self) {
        add_one(&self.shut_out);
    }

    /// Returns how often somebody was refused for being too fast at something.
    pub fn refused(&self, activity: Activity) -> u64 {
        self.refused[activity as usize].load(Ordering::Relaxed)
    }

    /// Returns how often an address was banned.
    pub fn banned(&self) -> u64 {
        self.banned.load(Ordering::Relaxed)
    }

    /// Returns how many connections were not let in because their address is banned or denied.
    pub fn shut_out(&self) -> u64 {
        self.shut_out.load(Ordering::Relaxed)
    }

    /// Returns how many connections were not let in because their address had as many as it may.
    pub fn crowded_out(&self) -> u64 {
        self.crowded_out.load(Ordering::Relaxed)
    }
}

fn add_one(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// Something that may be forgotten when nobody needs it.
trait Forgettable {
    /// Tells whether nothing would be lost.
    fn is_settled(&self, now: u64) -> bool;
}

impl Forgettable for Visitor {
    fn is_settled(&self, now: u64) -> bool {
        // A ban is remembered for as long again, because the next one depends on it.
        let until = self.banned_until.load(Ordering::Relaxed);
        let is_forgiven = until == 0 || until.saturating_add(BAN_REMEMBERED_SECS) < now;
        is_forgiven && self.misconduct.is_full(now) && self.meters.is_full(now)
    }
}

impl Forgettable for Meters {
    fn is_settled(&self, now: u64) -> bool {
        self.is_full(now)
    }
}

/// A bounded table of shared entries.
#[derive(Debug)]
struct Table<K, V> {
    hasher: RandomState,
    shards: Box<[Mutex<Shard<K, V>>]>,
    shard_entries_max: usize,
    /// For whom there is no room.
    shared: Arc<V>,
}

#[derive(Debug)]
struct Shard<K, V> {
    entries: HashMap<K, Arc<V>>,
    /// The second in which what could be forgotten last was.
    swept: u64,
}

impl<K: Hash + Eq, V: Default + Forgettable> Table<K, V> {
    fn new(entries_max: usize, shared: V) -> Table<K, V> {
        let shard = || Mutex::new(Shard { entries: HashMap::new(), swept: 0 });
        Table {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| shard()).collect(),
            shard_entries_max: entries_max.div_ceil(SHARDS),
            shared: Arc::new(shared),
        }
    }

    fn entry(&self, key: K, now: u64) -> Arc<V> {
        let place = self.hasher.hash_one(&key) as usize % SHARDS;
        // Nothing under the lock can leave an entry half done.
        let mut shard = self.shards[place].lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = shard.entries.len() >= self.shard_entries_max;
        if is_full && !shard.entries.contains_key(&key) && !shard.make_room(now) {
            return Arc::clone(&self.shared);
        }
        match shard.entries.entry(key) {
            Entry::Occupied(entry) => Arc::clone(entry.get()),
            Entry::Vacant(entry) => Arc::clone(entry.insert(Arc::default())),
        }
    }
}

impl<K: Hash + Eq, V: Forgettable> Shard<K, V> {
    /// Forgets who can be forgotten, at most once a second; returns whether that made room.
    fn make_room(&mut self, now: u64) -> bool {
        if self.swept == now {
            return false;
        }
        self.swept = now;
        let before = self.entries.len();
        self.entries.retain(|_, entry| Arc::strong_count(entry) > 1 || !entry.is_settled(now));
        self.entries.len() < before
    }
}

/// Enough that cores seldom meet in one.
const SHARDS: usize = 64;
/// A ban gets no longer by doubling than by this.
const DOUBLINGS_MAX: u32 = 20;
/// How long it is remembered that an address was banned, where room is needed.
const BAN_REMEMBERED_SECS: u64 = 3_600;
/// Points for being too fast: an honest client in a hurry has to do that for long.
pub(super) const TOO_FAST_POINTS: u64 = 1;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::super::quota::Rates;
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    fn quotas() -> Quotas {
        Quotas {
            address: Rates::new(|it| {
                (it == Activity::Connect).then(|| "10/min".parse().expect("a rate"))
            }),
            connections_max: Some(3),
            bans: Some(BanRules {
                tolerated: "100/min".parse().expect("a rate"),
                duration: Duration::from_secs(60),
                duration_max: Duration::from_secs(200),
            }),
            ..Quotas::default()
        }
    }

    #[test]
    fn one_address_has_so_many_connections_at_a_time_and_so_many_in_a_time() {
        let (crowd, quotas) = (Crowd::new(100), quotas());
        let enter = |number, now| crowd.enter(address(number), &quotas, now);
        let visits: Vec<Visit> = (0..3).map(|_| enter(1, NOW).expect("room")).collect();
        assert_eq!(enter(1, NOW).err(), Some(Turned::Full(3)));
        assert!(enter(2, NOW).is_ok());
        drop(visits);
        for _ in 4..10 {
            assert!(enter(1, NOW).is_ok());
        }
        assert_eq!(enter(1, NOW).err(), Some(Turned::TooFast(Wait(6))));
        let tally = crowd.tally();
        assert_eq!((tally.refused(Activity::Connect), tally.crowded_out()), (1, 1));
        assert!(enter(1, NOW + 6).is_ok());
    }

    #[test]
    fn who_is_not_wanted_is_not_let_in() {
        let ranges = |text: &str| [text.parse().expect("a range")].into_iter().collect();
        let mut quotas = Quotas { denied: ranges("192.0.2.7"), ..Quotas::default() };
        let crowd = Crowd::new(100);
        let enter = |text: &str, quotas: &Quotas| {
            crowd.enter(text.parse().expect("an address"), quotas, NOW).err()
        };
        assert_eq!(enter("192.0.2.7", &quotas), Some(Turned::Denied));
        assert_eq!(enter("198.51.100.1", &quotas), None);
        quotas.allowed = ranges("192.0.2.0/24");
        assert_eq!(enter("192.0.2.7", &quotas), Some(Turned::Denied), "a refusal goes first");
        assert_eq!(enter("192.0.2.8", &quotas), None);
        assert_eq!(enter("198.51.100.1", &quotas), Some(Turned::Denied));
    }

    #[test]
    fn misconduct_leads_to_bans_that_end_and_get_longer() {
        let (crowd, quotas) = (Crowd::new(100), quotas());
        let misbehave = |visit: &Visit, points, now| {
            crowd.misbehave(visit.visitor(), quotas.bans.as_ref(), points, now);
        };
        let mut now = NOW;
        for expected in [60, 120, 200, 200] {
            let visit = crowd.enter(address(1), &quotas, now).expect("nothing is against it");
            misbehave(&visit, 100, now);
            assert_eq!(visit.visitor().ban_left(now), None);
            misbehave(&visit, 1, now);
            assert_eq!(visit.visitor().ban_left(now), Some(expected));
            let entered = crowd.enter(address(1), &quotas, now);
            assert_eq!(entered.err(), Some(Turned::Banned(expected)));
            assert!(crowd.enter(address(2), &quotas, now).is_ok());
            now += expected;
            assert_eq!(visit.visitor().ban_left(now), None);
            now += 60;
        }
        let visit = crowd.enter(address(1), &quotas, now).expect("the ban is over");
        misbehave(&visit, 101, now);
        crowd.pardon(address(1), now);
        let visit = crowd.enter(address(1), &quotas, now).expect("somebody has lifted it");
        misbehave(&visit, 100, now);
        assert_eq!(visit.visitor().ban_left(now), None, "nothing is held against it");
        misbehave(&visit, 1, now);
        assert_eq!(visit.visitor().ban_left(now), Some(60), "it is the first ban again");
        crowd.pardon(address(1), now);
        let visit = crowd.enter(address(1), &quotas, now + 1_000).expect("the ban is over");
        misbehave(&visit, 101, now + 1_000);
        assert_eq!(visit.visitor().ban_left(now + 1_000), Some(60), "all is forgiven");
        assert_eq!((crowd.tally().banned(), crowd.tally().shut_out()), (7, 4));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_only_who_is_settled() {
        let (crowd, quotas) = (Crowd::new(640), quotas());
        let held: Vec<Visit> =
            (0..200).map(|it| crowd.enter(address(it), &quotas, NOW).expect("room")).collect();
        let banned = crowd.enter(address(1_000), &quotas, NOW).expect("room");
        banned.visitor().misbehave(quotas.bans.as_ref(), 1_000, NOW);
        drop(banned);
        for number in 2_000..100_000 {
            let entered = crowd.enter(address(number), &quotas, NOW + u64::from(number));
            assert!(!matches!(entered, Err(Turned::Full(_))), "{number}");
        }
        let count: usize =
            crowd.visitors.shards.iter().map(|it| it.lock().expect("no panic").entries.len()).sum();
        assert!(count <= 640, "{count} entries");
        for (number, visit) in held.iter().enumerate() {
            let again = crowd.visitors.entry(client_number(address(number as u32)), NOW);
            assert!(Arc::ptr_eq(&visit.0, &again), "{number} is still known");
        }
    }

    #[test]
    fn who_finds_no_room_is_not_banned_for_others() {
        let (crowd, quotas) = (Crowd::new(SHARDS), quotas());
        let all: Vec<Visit> =
            (0..10_000).filter_map(|it| crowd.enter(address(it), &quotas, NOW).ok()).collect();
        assert!(all.len() <= SHARDS + 10, "newcomers share one rate: {}", all.len());
        let shared = all.iter().find(|it| it.visitor().is_shared).expect("there was no room");
        shared.visitor().misbehave(quotas.bans.as_ref(), 1_000, NOW);
        assert_eq!(shared.visitor().ban_left(NOW), None);
    }
}
