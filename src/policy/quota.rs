//! How much of what is allowed to whom: the settings of the quotas, and their words.

use std::net::IpAddr;
use std::time::Duration;

use super::rate::{Meter, Rate, Wait};
use crate::address::AddressRanges;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Coming in: connections that begin.
    Connect,
    /// EVENT and AUTH.
    Event,
    /// REQ.
    Request,
    /// COUNT.
    Count,
    /// NEG-OPEN and NEG-MSG.
    Reconcile,
    /// Bytes of messages.
    Bytes,
    /// What answers cost: steps of about 10 nanoseconds.
    Work,
}

impl Activity {
    /// Every activity, in the order of its number.
    pub const ALL: [Activity; 7] = [
        Activity::Connect,
        Activity::Event,
        Activity::Request,
        Activity::Count,
        Activity::Reconcile,
        Activity::Bytes,
        Activity::Work,
    ];

    /// Returns what there is too much of, in the words of a refusal.
    pub fn word(self) -> &'static str {
        match self {
            Activity::Connect => "connections",
            Activity::Event => "events",
            Activity::Request => "requests",
            Activity::Count => "counts",
            Activity::Reconcile => "reconciliations",
            Activity::Bytes => "bytes",
            Activity::Work => "work",
        }
    }
}

/// Who is measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One connection.
    Connection,
    /// Everything from one address, or one network of IPv6 (/64).
    Address,
    /// Everything of one public key: events by their author, questions by who is authenticated.
    Key,
    /// Everybody.
    Everybody,
}

impl Scope {
    /// Returns whose doing it is, in the words of a refusal.
    pub fn word(self) -> &'static str {
        match self {
            Scope::Connection => "on this connection",
            Scope::Address => "from this address",
            Scope::Key => "by this key",
            Scope::Everybody => "by all clients together",
        }
    }
}

/// The rates of one scope; what has none is not measured.
#[derive(Clone, Debug, Default)]
pub struct Rates([Option<Rate>; 7]);

impl Rates {
    /// Returns the rates that `of` says.
    pub fn new(of: impl Fn(Activity) -> Option<Rate>) -> Rates {
        Rates(Activity::ALL.map(of))
    }

    /// Returns the rate of an activity.
    pub fn of(&self, activity: Activity) -> Option<&Rate> {
        self.0[activity as usize].as_ref()
    }
}

/// When an address is shut out, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct BanRules {
    /// How many points of misconduct are tolerated.
    pub tolerated: Rate,
    /// How long the first ban lasts; each further one twice as long.
    pub duration: Duration,
    /// The longest one.
    pub duration_max: Duration,
}

/// What clients are held to. Any value is legal.
#[derive(Clone, Debug, Default)]
pub struct Quotas {
    /// For one connection.
    pub connection: Rates,
    /// For one address.
    pub address: Rates,
    /// For one public key.
    pub key: Rates,
    /// For everybody together.
    pub everybody: Rates,
    /// Connections of one address at a time; `None` for any number.
    pub connections_max: Option<u32>,
    /// When addresses are banned; `None` for never.
    pub bans: Option<BanRules>,
    /// Who is not measured.
    pub exempt: AddressRanges,
    /// Who is let in; nobody named: everybody.
    pub allowed: AddressRanges,
    /// Who is not let in.
    pub denied: AddressRanges,
    /// The most work that one query may cause; `None` for any.
    pub query_work_max: Option<u64>,
}

impl Quotas {
    /// Returns whether an address is wanted at all.
    pub fn admits(&self, address: IpAddr) -> bool {
        !self.denied.has(address) && (self.allowed.is_empty() || self.allowed.has(address))
    }

    /// Returns the rates of a scope.
    pub fn of(&self, scope: Scope) -> &Rates {
        match scope {
            Scope::Connection => &self.connection,
            Scope::Address => &self.address,
            Scope::Key => &self.key,
            Scope::Everybody => &self.everybody,
        }
    }
}

/// What one of a scope has taken of each activity.
#[derive(Debug, Default)]
pub struct Meters([Meter; 7]);

impl Meters {
    /// Takes an amount.
    ///
    /// # Errors
    ///
    /// How long to wait, if the rate does not allow it.
    pub fn take(
        &self,
        rates: &Rates,
        activity: Activity,
        amount: u64,
        now: u64,
    ) -> Result<(), Wait> {
        let meter = &self.0[activity as usize];
        rates.of(activity).map_or(Ok(()), |rate| meter.take(rate, amount, now))
    }

    /// Takes an amount whether it is allowed or not.
    ///
    /// # Errors
    ///
    /// How long it takes until the debt is paid.
    pub fn charge(
        &self,
        rates: &Rates,
        activity: Activity,
        amount: u64,
        now: u64,
    ) -> Result<(), Wait> {
        let meter = &self.0[activity as usize];
        rates.of(activity).map_or(Ok(()), |rate| meter.charge(rate, amount, now))
    }

    /// Tells whether there is no debt.
    ///
    /// # Errors
    ///
    /// How long it takes until there is none.
    pub fn check(&self, rates: &Rates, activity: Activity, now: u64) -> Result<(), Wait> {
        let meter = &self.0[activity as usize];
        rates.of(activity).map_or(Ok(()), |rate| meter.check(rate, now))
    }

    /// Tells whether everything has come back.
    pub fn is_full(&self, now: u64) -> bool {
        self.0.iter().all(|meter| meter.is_full(now))
    }
}
