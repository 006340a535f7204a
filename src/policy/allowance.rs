//! What one connection may still do: its own quotas, and its part in those it shares.

use std::sync::Arc;

use super::crowd::{Crowd, TOO_FAST_POINTS, Visit, Visitor};
use super::quota::{Activity, Meters, Quotas, Scope};
use super::rate::Wait;
use crate::nostr::{Prefix, PublicKey, Reject};

/// What one connection may still do. Nothing is measured of those who are exempt.
#[derive(Debug, Default)]
pub struct Allowance(Option<Box<Measured>>);

#[derive(Debug)]
struct Measured {
    crowd: Arc<Crowd>,
    own: Meters,
    visit: Visit,
    /// What the keys have taken that the client has proven to own.
    keys: Vec<Arc<Meters>>,
}

/// What is held against an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misconduct {
    /// A message that is none.
    Junk,
    /// An event with a wrong id or signature.
    Forgery,
    /// More than a quota allows.
    TooFast,
}

impl Misconduct {
    fn points(self) -> u64 {
        match self {
            Misconduct::Junk => JUNK_POINTS,
            Misconduct::Forgery => FORGERY_POINTS,
            Misconduct::TooFast => TOO_FAST_POINTS,
        }
    }
}

impl Allowance {
    /// Returns the allowance of somebody who is not measured.
    pub fn unlimited() -> Allowance {
        Allowance(None)
    }

    /// Returns the allowance of one of the crowd.
    pub fn of(crowd: &Arc<Crowd>, visit: Visit) -> Allowance {
        let (crowd, own) = (Arc::clone(crowd), Meters::default());
        Allowance(Some(Box::new(Measured { crowd, own, visit, keys: Vec::new() })))
    }

    /// Returns what is known of the address, if anything is measured of it.
    pub fn visitor(&self) -> Option<Arc<Visitor>> {
        self.0.as_ref().map(|measured| measured.visit.share())
    }

    /// Tells whether anything is measured.
    pub fn is_measured(&self) -> bool {
        self.0.is_some()
    }

    /// Notes that the client is also this one.
    pub fn add_key(&mut self, key: &PublicKey, now: u64) {
        if let Some(measured) = &mut self.0 {
            let meters = measured.crowd.key(key, now);
            if !measured.keys.iter().any(|it| Arc::ptr_eq(it, &meters)) {
                measured.keys.push(meters);
            }
        }
    }

    /// Takes one of an activity.
    ///
    /// # Errors
    ///
    /// The refusal, if a quota does not allow it; that counts as misconduct.
    #[inline]
    pub fn take(&self, activity: Activity, quotas: &Quotas, now: u64) -> Result<(), Reject> {
        match &self.0 {
            None => Ok(()),
            Some(measured) => measured.take(activity, quotas, now),
        }
    }

    /// Charges what has been done already, whether it was allowed or not; returns for how many
    /// seconds there is a debt.
    #[inline]
    pub fn charge(&self, activity: Activity, amount: u64, quotas: &Quotas, now: u64) -> u64 {
        self.0.as_ref().map_or(0, |measured| measured.charge(activity, amount, quotas, now))
    }

    /// Tells whether one query has caused as much work as one may, for this client.
    ///
    /// # Errors
    ///
    /// The refusal, if it has.
    pub fn check_query(&self, work: u64, quotas: &Quotas) -> Result<(), Reject> {
        match quotas.query_work_max {
            Some(max) if work > max && self.is_measured() => {
                let text = "the query costs too much: ask for less, or for a shorter time";
                Err(Reject::new(Prefix::RateLimited, text))
            }
            _ => Ok(()),
        }
    }

    /// Holds something against the client.
    #[inline]
    pub fn misbehave(&self, misconduct: Misconduct, quotas: &Quotas, now: u64) {
        if let Some(measured) = &self.0 {
            measured.misbehave(misconduct, quotas, now);
        }
    }

    /// Returns for how many more seconds the client's address is shut out, if it is.
    #[inline]
    pub fn ban_left(&self, now: u64) -> Option<u64> {
        self.0.as_ref().and_then(|measured| measured.visit.visitor().ban_left(now))
    }
}

impl Measured {
    fn scopes(&self) -> impl Iterator<Item = (Scope, &Meters)> {
        let keys = self.keys.iter().map(|meters| (Scope::Key, &**meters));
        [(Scope::Connection, &self.own), (Scope::Address, &self.visit.visitor().meters)]
            .into_iter()
            .chain(keys)
            .chain([(Scope::Everybody, self.crowd.everybody())])
    }

    fn take(&self, activity: Activity, quotas: &Quotas, now: u64) -> Result<(), Reject> {
        // Who has caused too much work gets nothing done that causes more.
        let is_question =
            matches!(activity, Activity::Request | Activity::Count | Activity::Reconcile);
        for (scope, meters) in self.scopes() {
            // Events belong to their authors, who are known when the signature was checked.
            if scope == Scope::Key && activity == Activity::Event {
                continue;
            }
            let rates = quotas.of(scope);
            let refused = |activity: Activity, wait: Wait| {
                self.crowd.tally().refuse(activity);
                self.misbehave(Misconduct::TooFast, quotas, now);
                too_much(activity, scope, wait)
            };
            if is_question {
                let checked = meters.check(rates, Activity::Work, now);
                checked.map_err(|wait| refused(Activity::Work, wait))?;
            }
            meters.take(rates, activity, 1, now).map_err(|wait| refused(activity, wait))?;
        }
        Ok(())
    }

    fn charge(&self, activity: Activity, amount: u64, quotas: &Quotas, now: u64) -> u64 {
        let charge = |(scope, meters): (Scope, &Meters)| {
            let charged = meters.charge(quotas.of(scope), activity, amount, now);
            charged.map_or_else(|wait| wait.0, |()| 0)
        };
        let secs = self.scopes().map(charge).max().unwrap_or(0);
        if secs > 0 {
            self.crowd.tally().refuse(activity);
        }
        secs
    }

    fn misbehave(&self, misconduct: Misconduct, quotas: &Quotas, now: u64) {
        let (rules, points) = (quotas.bans.as_ref(), misconduct.points());
        self.crowd.misbehave(self.visit.visitor(), rules, points, now);
    }
}

/// Says that a quota is used up.
pub fn too_much(activity: Activity, scope: Scope, wait: Wait) -> Reject {
    let (what, whose, secs) = (activity.word(), scope.word(), wait.0);
    let text = format!("too much: {what} {whose}; wait {secs} s");
    Reject::new(Prefix::RateLimited, text)
}

/// Points for a message that is none: it costs little to find that out.
const JUNK_POINTS: u64 = 20;
/// Points for a wrong id or signature: it costs more than most of what is right, and who passes on
/// what others have made sees one now and then at most.
const FORGERY_POINTS: u64 = 500;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::quota::{BanRules, Rates};
    use super::super::rate::Rate;
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn only(activity: Activity, rate: &str) -> Rates {
        Rates::new(|it| (it == activity).then(|| rate.parse::<Rate>().expect("a rate")))
    }

    fn visit(crowd: &Arc<Crowd>, address: &str, quotas: &Quotas) -> Allowance {
        let address = address.parse().expect("an address");
        Allowance::of(crowd, crowd.enter(address, quotas, NOW).expect("nothing is against it"))
    }

    #[test]
    fn each_scope_is_measured_by_itself() {
        let quotas = Quotas {
            connection: only(Activity::Request, "2/min"),
            address: only(Activity::Request, "3/min"),
            everybody: only(Activity::Request, "4/min"),
            ..Quotas::default()
        };
        let crowd = Arc::new(Crowd::new(100));
        let [a, b, c, d] = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"]
            .map(|address| visit(&crowd, address, &quotas));
        let rows = [
            (&a, None),
            (&a, None),
            (&a, Some("requests on this connection")),
            (&b, None),
            (&b, Some("requests from this address")),
            (&c, None),
            (&d, Some("requests by all clients together")),
        ];
        for (number, (allowance, expected)) in rows.into_iter().enumerate() {
            let found = allowance.take(Activity::Request, &quotas, NOW);
            match expected {
                None => assert_eq!(found, Ok(()), "{number}"),
                Some(words) => {
                    let text = found.expect_err("it is too much").to_string();
                    assert!(text.starts_with("rate-limited: "), "{text}");
                    assert!(text.contains(words), "{number}: {text}");
                }
            }
        }
        assert_eq!(d.take(Activity::Count, &quotas, NOW), Ok(()));
        assert_eq!(Allowance::unlimited().take(Activity::Request, &quotas, NOW), Ok(()));
    }

    #[test]
    fn a_key_is_measured_over_all_its_connections() {
        let quotas = Quotas { key: only(Activity::Count, "2/min"), ..Quotas::default() };
        let crowd = Arc::new(Crowd::new(100));
        let key = PublicKey([7; 32]);
        let mut all = ["192.0.2.1", "192.0.2.2"].map(|it| visit(&crowd, it, &quotas));
        for allowance in &mut all {
            assert_eq!(allowance.take(Activity::Count, &quotas, NOW), Ok(()));
            allowance.add_key(&key, NOW);
            allowance.add_key(&key, NOW);
            assert_eq!(allowance.take(Activity::Count, &quotas, NOW), Ok(()));
        }
        assert!(all[0].take(Activity::Count, &quotas, NOW).is_err());
    }

    #[test]
    fn whoever_caused_too_much_work_asks_nothing_until_it_is_paid() {
        let quotas = Quotas { address: only(Activity::Work, "10/s"), ..Quotas::default() };
        let crowd = Arc::new(Crowd::new(100));
        let [a, b] = ["192.0.2.1"; 2].map(|it| visit(&crowd, it, &quotas));
        assert_eq!(a.take(Activity::Request, &quotas, NOW), Ok(()));
        assert_eq!(a.charge(Activity::Work, 35, &quotas, NOW), 3);
        assert!(b.take(Activity::Request, &quotas, NOW).is_err());
        assert_eq!(b.take(Activity::Event, &quotas, NOW), Ok(()));
        assert_eq!(b.take(Activity::Reconcile, &quotas, NOW + 3), Ok(()));
    }

    #[test]
    fn junk_forgeries_and_haste_are_held_against_an_address() {
        let bans = BanRules {
            tolerated: "1k/min".parse().expect("a rate"),
            duration: Duration::from_secs(60),
            duration_max: Duration::from_secs(60),
        };
        let rows = [(Misconduct::Junk, 50), (Misconduct::Forgery, 2), (Misconduct::TooFast, 1_000)];
        for (misconduct, tolerated) in rows {
            let quotas = Quotas { bans: Some(bans), ..Quotas::default() };
            let crowd = Arc::new(Crowd::new(100));
            let [a, b] = ["192.0.2.1"; 2].map(|it| visit(&crowd, it, &quotas));
            for _ in 0..tolerated {
                a.misbehave(misconduct, &quotas, NOW);
            }
            assert_eq!(b.ban_left(NOW), None, "{misconduct:?}");
            a.misbehave(misconduct, &quotas, NOW);
            assert_eq!(b.ban_left(NOW), Some(60), "{misconduct:?}");
        }
    }
}
