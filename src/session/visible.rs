//! The one predicate that everything passes before it leaves: stored results, live push, COUNT.
//!
//! What a client may read is decided here and nowhere else, so that no path can forget it. That an
//! event is deleted, vanished or superseded is the store's knowledge: it does not show such events.
//!
//! For nearly every event the answer depends on its kind alone. So readers pay one comparison of
//! kinds per event; a filter that can find nothing for its reader is refused before anything is
//! looked for, and kinds of which a reader may see nothing are not looked through.

use std::sync::Arc;

use crate::nostr::{EventRef, Filter, Kind, KindClass, Prefix, PublicKey, Reject, TagMode, Value};
use crate::policy::Standing;

/// Kinds that only those involved may read: the author, and who is tagged with `p` (NIP-04, NIP-17,
/// NIP-59). Sorted; cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct RestrictedKinds(Arc<[u16]>);

impl RestrictedKinds {
    /// Returns the set of these kinds.
    pub fn new(kinds: impl IntoIterator<Item = u16>) -> RestrictedKinds {
        let mut kinds: Vec<u16> = kinds.into_iter().collect();
        kinds.sort_unstable();
        kinds.dedup();
        RestrictedKinds(kinds.into())
    }

    /// Tells whether events of this kind are not for everybody.
    #[inline]
    pub fn has(&self, kind: Kind) -> bool {
        // A few numbers: looking at each is faster than searching.
        self.0.contains(&kind.0)
    }

    /// Returns the kinds, ascending.
    pub fn kinds(&self) -> &Arc<[u16]> {
        &self.0
    }
}

/// Who reads, as far as it matters to what may be read. Goes along with a query to other threads.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    restricted: RestrictedKinds,
    /// Who the client has proven to be, sorted; nobody for most clients.
    keys: Option<Arc<[PublicKey]>>,
    /// What stands, if it withholds any event from this reader; nothing otherwise.
    standing: Option<Arc<Standing>>,
    /// The version of the standing that was looked at last.
    version: u64,
}

/// Why an event is or is not shown to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It is shown.
    Shown,
    /// It is not for this reader.
    Withheld,
    /// It is for nobody any more.
    Gone,
}

impl Reader {
    /// Returns a reader who has not said who it is.
    pub fn stranger(restricted: RestrictedKinds) -> Reader {
        Reader { restricted, ..Reader::default() }
    }

    /// Goes by what stands from here on.
    #[inline]
    pub fn follow(&mut self, standing: &Arc<Standing>) {
        if self.version != standing.version() {
            self.look_at(standing);
        }
    }

    /// Returns whether this reader may read an event that is shown at all.
    #[inline]
    pub fn may_read(&self, event: &EventRef<'_>) -> bool {
        (!self.restricted.has(event.kind) || self.is_involved(event))
            && self.standing.as_ref().is_none_or(|it| it.may_read(event, self.keys()))
    }

    /// Returns whether any event may be withheld from this reader for another reason than its kind.
    pub fn is_partial(&self) -> bool {
        self.standing.is_some()
    }

    /// Returns whether the reader has proven to be somebody.
    pub fn is_authenticated(&self) -> bool {
        self.keys.is_some()
    }

    /// Returns whether the reader has proven to be this one.
    pub fn is(&self, key: &PublicKey) -> bool {
        self.keys().binary_search(key).is_ok()
    }

    /// Returns who the reader has proven to be.
    pub fn keys(&self) -> &[PublicKey] {
        self.keys.as_deref().unwrap_or_default()
    }

    /// Notes that the reader has proven to be this one, beside all it was before.
    pub(super) fn add(&mut self, key: PublicKey) {
        let mut keys = self.keys().to_vec();
        if let Err(place) = keys.binary_search(&key) {
            keys.insert(place, key);
            self.keys = Some(keys.into());
            // What stands may mean something else for this key.
            self.version = STALE;
        }
    }

    /// Changes what is not for everybody.
    pub(super) fn restrict(&mut self, kinds: RestrictedKinds) {
        self.restricted = kinds;
    }

    #[cold]
    fn look_at(&mut self, standing: &Arc<Standing>) {
        self.version = standing.version();
        self.standing = standing.withholds_from(self.keys()).then(|| Arc::clone(standing));
    }

    /// Returns the restricted kinds of which this reader may see some events.
    pub fn partly_visible(&self) -> &[u16] {
        if self.is_authenticated() { &self.restricted.0 } else { &[] }
    }

    /// Returns the kinds of which this reader may see nothing; nothing at all if there are none.
    pub fn hidden(&self) -> Option<&Arc<[u16]>> {
        let has_any = !self.is_authenticated() && !self.restricted.0.is_empty();
        has_any.then_some(&self.restricted.0)
    }

    /// Returns the filters without kinds of which this reader may see nothing; nothing if they
    /// name none of those.
    pub fn narrowed(&self, filters: &[Filter]) -> Option<Vec<Filter>> {
        let hidden = self.hidden()?;
        let is_open = |kind: &u16| !hidden.contains(kind);
        if filters.iter().filter_map(|filter| filter.kinds.as_deref()).flatten().all(is_open) {
            return None;
        }
        let narrow = |filter: &Filter| {
            let kinds = filter.kinds.as_ref();
            let kinds = kinds.map(|kinds| kinds.iter().copied().filter(is_open).collect());
            Filter { kinds, ..filter.clone() }
        };
        Some(filters.iter().map(narrow).collect())
    }

    /// Returns why nothing is looked for, if none of the filters could ever find anything that
    /// this reader may see.
    pub(super) fn refusal(&self, filters: &[Filter]) -> Option<Reject> {
        if !filters.iter().all(|filter| self.is_out_of_reach(filter)) {
            return None;
        }
        Some(if self.is_authenticated() {
            Reject::new(Prefix::Restricted, "these events are for others")
        } else {
            Reject::new(Prefix::AuthRequired, "these events are only for those they concern")
        })
    }

    /// Returns whether a filter asks for restricted kinds alone and for nobody this reader is, or by
    /// name for what else is withheld from it.
    fn is_out_of_reach(&self, filter: &Filter) -> bool {
        if self.standing.as_ref().is_some_and(|it| it.is_out_of_reach(filter, self.keys())) {
            return true;
        }
        let is_restricted = |kind: &u16| self.restricted.has(Kind(*kind));
        let Some(kinds) = &filter.kinds else { return false };
        if kinds.is_empty() || !kinds.iter().all(is_restricted) {
            return false;
        }
        if !self.is_authenticated() {
            return true;
        }
        let mut recipients = filter.tags.iter().filter(|it| it.letter == b'p').peekable();
        // A filter that names no recipients is answered event by event.
        recipients.peek().is_some()
            && !filter.authors.iter().flatten().any(|author| self.is(author))
            && recipients.any(|condition| {
                let is_self = |key: &PublicKey| {
                    condition.values.iter().any(|it| it.as_value() == Value::Hex(&key.0))
                };
                condition.mode == TagMode::Any && !self.keys().iter().any(is_self)
            })
    }

    #[cold]
    fn is_involved(&self, event: &EventRef<'_>) -> bool {
        if !self.is_authenticated() {
            return false;
        }
        let is_recipient =
            |value: Value<'_>| value.as_hex().is_some_and(|key| self.is(&PublicKey(*key)));
        self.is(event.pubkey) || event.values_of(b'p').any(is_recipient)
    }
}

/// Returns whether `reader` may read `event` at the second `now`.
pub fn visible(event: &EventRef<'_>, reader: &Reader, now: u64) -> bool {
    sight(event, reader, now) == Sight::Shown
}

/// Returns whether `reader` may read `event` at the second `now`, and if not, whether that is
/// because of who it is.
pub fn sight(event: &EventRef<'_>, reader: &Reader, now: u64) -> Sight {
    if !reader.may_read(event) {
        return Sight::Withheld;
    }
    if is_shown(event, now) { Sight::Shown } else { Sight::Gone }
}

/// Returns whether `event` is shown to anybody: the part of [`visible`] that one event has in
/// common for all its readers.
pub fn is_shown(event: &EventRef<'_>, now: u64) -> bool {
    !BEARER_KINDS.contains(&event.kind) && !is_expired(event, now)
}

/// Returns whether the time an event sets for itself has passed (NIP-40).
///
/// Ephemeral events are passed on whatever they say: they are not kept anyway.
pub(super) fn is_expired(event: &EventRef<'_>, now: u64) -> bool {
    event.expiration().is_some_and(|expiration| expiration <= now)
        && event.kind.class() != KindClass::Ephemeral
}

/// No standing's version.
const STALE: u64 = u64::MAX;

/// Events that prove something to whoever holds them: showing them to others would give the proof
/// away. Authentication (NIP-42), HTTP (NIP-98) and Blossom tokens, requests to join or leave with
/// their codes (NIP-43).
const BEARER_KINDS: [Kind; 5] =
    [Kind::AUTHENTICATION, Kind(24_242), Kind(27_235), Kind::JOIN_REQUEST, Kind::LEAVE_REQUEST];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::Keypair;

    #[test]
    fn nip_40_2_an_event_is_shown_until_the_second_it_sets() {
        let tags = [vec!["expiration".to_owned(), "100".to_owned()]];
        let rows = [(1, 99, true), (1, 100, false), (1, 101, false), (20_000, 101, true)];
        for (kind, now, expected) in rows {
            let event = keys(1).sign_event(1, Kind(kind), &tags, "");
            assert_eq!(visible(&event.view(), &Reader::default(), now), expected, "{kind} {now}");
        }
    }

    #[test]
    fn what_proves_something_to_its_holder_is_shown_to_nobody() {
        for (kind, expected) in [(27_235, false), (22_242, false), (24_242, false), (24_133, true)]
        {
            let event = keys(1).sign_event(1, Kind(kind), &[], "");
            assert_eq!(visible(&event.view(), &Reader::default(), 1), expected, "{kind}");
        }
    }

    #[test]
    fn nip_59_1_restricted_kinds_are_shown_to_those_involved() {
        let tag = |number| vec!["p".to_owned(), keys(number).public_key().to_string()];
        let tags = [tag(2), tag(3)];
        for (kind, open) in [(4, false), (1059, false), (21_059, false), (1, true), (1060, true)] {
            let event = keys(1).sign_event(1, Kind(kind), &tags, "");
            let rows: [(&[u8], bool); 6] = [
                (&[], open),
                (&[1], true),
                (&[2], true),
                (&[3], true),
                (&[4], open),
                (&[4, 5, 3], true),
            ];
            for (who, expected) in rows {
                let found = visible(&event.view(), &reader(who), 1);
                assert_eq!(found, expected, "kind {kind} for {who:?}");
            }
        }
    }

    #[test]
    fn nip_59_6_what_is_withheld_is_told_apart_from_what_is_gone() {
        let tags = [vec!["expiration".to_owned(), "100".to_owned()]];
        let event = keys(1).sign_event(1, Kind(4), &tags, "");
        let rows: [(&[u8], u64, Sight); 4] = [
            (&[], 99, Sight::Withheld),
            (&[1], 99, Sight::Shown),
            (&[], 100, Sight::Withheld),
            (&[1], 100, Sight::Gone),
        ];
        for (who, now, expected) in rows {
            assert_eq!(sight(&event.view(), &reader(who), now), expected, "{who:?} {now}");
        }
    }

    #[test]
    fn nip_59_2_and_3_filters_that_can_find_nothing_are_refused() {
        let [one, two] = [keys(1).public_key(), keys(2).public_key()];
        let two_of = format!(r##"{{"kinds":[1059],"#p":["{two}"]}}"##);
        let both = format!(r##"{{"kinds":[1059],"#p":["{one}","{two}"]}}"##);
        let sent = format!(r##"{{"kinds":[4],"#p":["{two}"],"authors":["{one}"]}}"##);
        let foreign = format!(r##"{{"kinds":[4],"#p":["{two}"],"authors":["{two}"]}}"##);
        let mixed = format!(r##"{{"kinds":[1,1059],"#p":["{two}"]}}"##);
        let plain = format!(r##"{{"#p":["{two}"]}}"##);
        let [anyone, author] = ["auth-required", "restricted"].map(Some);
        let rows: [(&[&str], Option<&str>, Option<&str>); 12] = [
            (&[r#"{"kinds":[1059]}"#], anyone, None),
            (&[r#"{"kinds":[4,1059,21059]}"#], anyone, None),
            (&[&two_of], anyone, author),
            (&[&foreign], anyone, author),
            (&[&both], anyone, None),
            (&[&sent], anyone, None),
            (&[&mixed], None, None),
            (&[&plain], None, None),
            (&["{}"], None, None),
            (&[r#"{"kinds":[]}"#], None, None),
            (&[&two_of, "{}"], None, None),
            (&[&two_of, &foreign], anyone, author),
        ];
        for (texts, of_stranger, of_one) in rows {
            let parse = |text: &&str| Filter::parse(text.as_bytes()).expect("it is a filter");
            let filters: Vec<Filter> = texts.iter().map(parse).collect();
            let found = |reader: Reader| reader.refusal(&filters).map(|it| it.prefix.word());
            assert_eq!(found(reader(&[])), of_stranger, "{texts:?}");
            assert_eq!(found(reader(&[1])), of_one, "{texts:?}");
        }
    }

    #[test]
    fn filters_are_narrowed_for_strangers_alone_and_only_where_it_matters() {
        let parse = |text: &str| Filter::parse(text.as_bytes()).expect("it is a filter");
        let filters = [parse(r#"{"kinds":[1,4]}"#), parse(r#"{"limit":1}"#)];
        let narrowed = reader(&[]).narrowed(&filters).expect("kind 4 is hidden");
        assert_eq!(narrowed, [parse(r#"{"kinds":[1]}"#), parse(r#"{"limit":1}"#)]);
        assert_eq!(reader(&[1]).narrowed(&filters), None);
        assert_eq!(reader(&[]).narrowed(&filters[1..]), None);
        assert_eq!(Reader::default().narrowed(&filters), None);
    }

    fn reader(who: &[u8]) -> Reader {
        let mut reader = Reader::stranger(RestrictedKinds::new([21_059, 4, 1059, 4]));
        for number in who {
            reader.add(keys(*number).public_key());
        }
        reader
    }

    fn keys(number: u8) -> Keypair {
        Keypair::from_secret([number; 32]).expect("the secret is in range")
    }
}
