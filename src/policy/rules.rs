//! What is taken from whom: lists of authors, kinds, tags and words, and limits by kind.
//!
//! Requests to vanish are obeyed before any of this is asked (NIP-62.5).

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::kinds::{ByKind, KindRange};
use super::moderation::Moderation;
use super::named::Named;
use super::trust::Web;
use super::words::Words;
use crate::nostr::{EventRef, Kind, Prefix, PublicKey, Reject};

/// What is taken from whom. Any value is legal; the default takes everything.
#[derive(Clone, Debug, Default)]
pub struct WriteRules {
    /// Whose events are taken; `None` for anybody's, unless there is a web.
    pub allowed_authors: Option<HashSet<PublicKey>>,
    /// Whose events are taken beside those, because others trust them.
    pub trusted: Option<Arc<Web>>,
    /// Whose events are taken beside those, because a domain names them (NIP-05).
    pub named: Option<Arc<Named>>,
    /// Whose events are not taken.
    pub refused_authors: HashSet<PublicKey>,
    /// Which kinds are taken; `None` for all that are not refused.
    pub allowed_kinds: Option<Box<[KindRange]>>,
    /// Kinds that are taken from anybody who is not refused.
    pub open_kinds: Box<[KindRange]>,
    /// Names and values of tags of which an event needs one; without a value any will do. None: it
    /// needs none.
    pub allowed_tags: Box<[(String, Option<String>)]>,
    /// Words of which a content needs one; `None` if it needs none.
    pub allowed_words: Option<Words>,
    /// Names and values of tags that no event may have; without a value any will do.
    pub refused_tags: Box<[(String, Option<String>)]>,
    /// Words that no content may have.
    pub refused_words: Option<Words>,
    /// How many bytes content and tags may have together.
    pub bytes_max: ByKind,
    /// How many seconds `created_at` may lie behind.
    pub past_secs_max: ByKind,
    /// How much work the id needs (NIP-13).
    pub work_bits_min: ByKind,
}

impl WriteRules {
    /// Returns whether only some may publish.
    pub fn is_restricted(&self) -> bool {
        self.allowed_authors.is_some() || self.trusted.is_some() || self.named.is_some()
    }

    /// Returns whether nothing is refused by these rules.
    pub fn is_empty(&self) -> bool {
        !self.is_restricted()
            && self.refused_authors.is_empty()
            && self.allowed_kinds.is_none()
            && !self.has_subject()
            && self.refused_tags.is_empty()
            && self.refused_words.is_none()
            && [&self.bytes_max, &self.past_secs_max, &self.work_bits_min]
                .into_iter()
                .all(ByKind::is_empty)
    }

    /// Goes on with the web of other rules, if it is woven in the same way; so with names.
    pub fn keep_web(&mut self, others: &WriteRules) {
        if let (Some(named), Some(other)) = (&mut self.named, &others.named)
            && named.rules() == other.rules()
        {
            *named = Arc::clone(other);
        }
        if let (Some(web), Some(other)) = (&mut self.trusted, &others.trusted)
            && web.rules() == other.rules()
        {
            *web = Arc::clone(other);
        }
    }

    /// Decides about an event at the second `now`; `sender` are the keys that whoever sends it has
    /// proven to own, and `allowances` what administrators have let in beside these rules.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    pub fn judge(
        &self,
        event: &EventRef<'_>,
        sender: &[PublicKey],
        allowances: Option<&Moderation>,
        now: u64,
    ) -> Result<(), Reject> {
        if self.refuses(event.pubkey) {
            return Err(blocked("events of this author are not taken here"));
        }
        if self.allowed_kinds.as_ref().is_some_and(|kinds| !has(kinds, event.kind))
            && !allowances.is_some_and(|it| it.allows_kind(event.kind))
        {
            return Err(blocked(format!("kind {} is not taken here", event.kind)));
        }
        if self.is_restricted() && !self.is_welcome(event, sender, allowances) {
            return Err(Reject::new(Prefix::Restricted, self.who_may()));
        }
        self.check_size_and_age(event, now)?;
        if self.has_subject() {
            self.check_subject(event)?;
        }
        if !self.refused_tags.is_empty() && has_one(&self.refused_tags, event) {
            return Err(blocked("the event has a tag that is not taken here"));
        }
        if self.refused_words.as_ref().is_some_and(|words| words.are_in(event.content)) {
            return Err(blocked("the content has a word that is not taken here"));
        }
        Ok(())
    }

    /// Returns whether nothing is taken from an author.
    pub fn refuses(&self, author: &PublicKey) -> bool {
        self.refused_authors.contains(author)
    }

    /// Says who may publish.
    #[cold]
    fn who_may(&self) -> Cow<'static, str> {
        let Some(named) = &self.named else { return "not everybody may publish here".into() };
        let domains = named.rules().domains.join(", ");
        format!(
            "not everybody may publish here; those may whose profile (kind 0) has a nip05 address \
             that one of these confirms: {domains}"
        )
        .into()
    }

    fn is_allowed(&self, key: &PublicKey, allowances: Option<&Moderation>) -> bool {
        self.allowed_authors.as_ref().is_some_and(|keys| keys.contains(key))
            || self.trusted.as_ref().is_some_and(|web| web.has(key))
            || self.named.as_ref().is_some_and(|named| named.has(key))
            || allowances.is_some_and(|it| it.allows_key(key))
    }

    fn is_welcome(
        &self,
        event: &EventRef<'_>,
        sender: &[PublicKey],
        allowances: Option<&Moderation>,
    ) -> bool {
        let is_allowed = |key: &PublicKey| self.is_allowed(key, allowances);
        if is_allowed(event.pubkey) || has(&self.open_kinds, event.kind) {
            return true;
        }
        // The author of a wrap is nobody (NIP-59): who sends it or gets it is somebody.
        let recipients = || event.values_of(b'p').filter_map(|value| value.as_hex().copied());
        WRAP_KINDS.contains(&event.kind)
            && (sender.iter().any(is_allowed)
                || recipients().any(|key| is_allowed(&PublicKey(key))))
    }

    fn check_size_and_age(&self, event: &EventRef<'_>, now: u64) -> Result<(), Reject> {
        if let Some(max) = self.bytes_max.of(event.kind) {
            let bytes = event.content.len() + event.tags_packed.len();
            if bytes as u64 > max {
                let kind = event.kind;
                let text = format!("{bytes} bytes, of kind {kind} this relay takes {max}");
                return Err(Reject::invalid(text));
            }
        }
        if let Some(max) = self.past_secs_max.of(event.kind)
            && event.created_at < now.saturating_sub(max)
        {
            let (kind, behind) = (event.kind, now - event.created_at);
            let text = format!(
                "created_at is {behind} seconds ago, of kind {kind} this relay takes {max}"
            );
            return Err(Reject::invalid(text));
        }
        Ok(())
    }

    /// Returns whether events have to be about something.
    pub fn has_subject(&self) -> bool {
        !self.allowed_tags.is_empty() || self.allowed_words.is_some()
    }

    /// Sees to it that an event is about what this relay is about. Who may publish may also delete.
    fn check_subject(&self, event: &EventRef<'_>) -> Result<(), Reject> {
        if event.kind == Kind::DELETION || has(&self.open_kinds, event.kind) {
            return Ok(());
        }
        if !self.allowed_tags.is_empty() && !has_one(&self.allowed_tags, event) {
            return Err(blocked("the event has none of the tags that this relay takes"));
        }
        if self.allowed_words.as_ref().is_some_and(|words| !words.are_in(event.content)) {
            return Err(blocked("the content has none of the words that this relay takes"));
        }
        Ok(())
    }
}

/// Returns whether an event has one of these tags.
fn has_one(listed: &[(String, Option<String>)], event: &EventRef<'_>) -> bool {
    event.tags().any(|tag| {
        listed.iter().any(|(name, listed)| {
            let has_value = |listed: &String| {
                tag.value().is_some_and(|value| value.to_text() == listed.as_str())
            };
            tag.is_named(name) && listed.as_ref().is_none_or(has_value)
        })
    })
}

fn has(ranges: &[KindRange], kind: Kind) -> bool {
    ranges.iter().any(|range| range.has(kind))
}

fn blocked(text: impl Into<Cow<'static, str>>) -> Reject {
    Reject::new(Prefix::Blocked, text)
}

/// Gift wraps, kept and passed on (NIP-59).
const WRAP_KINDS: [Kind; 2] = [Kind::GIFT_WRAP, Kind(21_059)];

#[cfg(test)]
mod tests {
    use super::super::kinds::{amount, parse_by_kind, period};
    use super::super::trust::TrustRules;
    use super::*;
    use crate::nostr::Keypair;

    const NOW: u64 = 1_700_000_000;

    fn keys(number: u8) -> Keypair {
        Keypair::from_secret([number; 32]).expect("the secret is in range")
    }

    fn kinds(texts: &[&str]) -> Box<[KindRange]> {
        texts.iter().map(|it| it.parse().expect("kinds")).collect()
    }

    #[track_caller]
    fn check(rules: &WriteRules, who: u8, kind: u16, tags: &[[&str; 2]], expected: Option<&str>) {
        let tags: Vec<Vec<String>> =
            tags.iter().map(|tag| tag.map(str::to_owned).to_vec()).collect();
        let event = keys(who).sign_event(NOW, Kind(kind), &tags, "a Casino");
        let found = rules.judge(&event.view(), &[], None, NOW);
        assert_eq!(found.err().map(|it| it.prefix.word()), expected, "kind {kind} of {who}");
    }

    #[test]
    fn without_rules_everything_is_taken() {
        check(&WriteRules::default(), 1, 1, &[["t", "spam"]], None);
        assert!(!WriteRules::default().is_restricted());
    }

    #[test]
    fn lists_say_whose_events_are_taken_and_of_which_kinds() {
        let allowed = HashSet::from([keys(1).public_key()]);
        let rules = WriteRules {
            allowed_authors: Some(allowed),
            refused_authors: HashSet::from([keys(3).public_key()]),
            open_kinds: kinds(&["10002", "0"]),
            ..WriteRules::default()
        };
        let one = keys(1).public_key().to_string();
        type Row<'a> = (u8, u16, &'a [[&'a str; 2]], Option<&'a str>);
        let rows: [Row<'_>; 9] = [
            (1, 1, &[], None),
            (2, 1, &[], Some("restricted")),
            (2, 0, &[], None),
            (2, 10_002, &[], None),
            (3, 10_002, &[], Some("blocked")),
            (2, 1_059, &[["p", &one]], None),
            (2, 1_059, &[], Some("restricted")),
            (2, 1, &[["p", &one]], Some("restricted")),
            (3, 1_059, &[["p", &one]], Some("blocked")),
        ];
        for (who, kind, tags, expected) in rows {
            check(&rules, who, kind, tags, expected);
        }
        let wrap = keys(9).sign_event(NOW, Kind(1_059), &[], "");
        assert_eq!(rules.judge(&wrap.view(), &[keys(1).public_key()], None, NOW), Ok(()));
        let rules = WriteRules { allowed_kinds: Some(kinds(&["0-9"])), ..WriteRules::default() };
        check(&rules, 1, 7, &[], None);
        check(&rules, 1, 10, &[], Some("blocked"));
    }

    #[test]
    fn whom_the_web_has_is_as_good_as_listed() {
        let roots = [keys(1).public_key()].into();
        let web = Arc::new(Web::new(TrustRules { roots, depth: 1, keys_max: 10 }));
        let rules = WriteRules { trusted: Some(Arc::clone(&web)), ..WriteRules::default() };
        check(&rules, 1, 1, &[], None);
        check(&rules, 2, 1, &[], Some("restricted"));
        let follow = |_: &PublicKey, out: &mut Vec<PublicKey>| {
            out.push(keys(2).public_key());
            Ok::<(), ()>(())
        };
        web.weave(follow).expect("nothing fails");
        check(&rules, 2, 1, &[], None);
    }

    #[test]
    fn tags_and_words_are_refused() {
        let tag = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        let rules = WriteRules {
            refused_tags: [tag("t", Some("spam")), tag("ad", None)].into(),
            ..WriteRules::default()
        };
        check(&rules, 1, 1, &[["t", "spam"]], Some("blocked"));
        check(&rules, 1, 1, &[["t", "spams"], ["T", "spam"]], None);
        check(&rules, 1, 1, &[["t", "x"], ["ad", "anything"]], Some("blocked"));
        let words = Words::new(["casino"]).expect("one is few");
        let rules = WriteRules { refused_words: words, ..WriteRules::default() };
        check(&rules, 1, 1, &[], Some("blocked"));
    }

    #[test]
    fn where_a_relay_is_about_something_events_need_one_of_its_tags_and_of_its_words() {
        let words = |word| Words::new([word]).expect("one is few");
        let rules = WriteRules {
            allowed_tags: [("t".to_owned(), Some("chess".to_owned())), ("h".to_owned(), None)]
                .into(),
            allowed_words: words("casino"),
            open_kinds: kinds(&["10002"]),
            ..WriteRules::default()
        };
        assert!(!rules.is_empty() && !rules.is_restricted());
        check(&rules, 1, 1, &[["t", "chess"]], None);
        check(&rules, 1, 1, &[["t", "go"], ["h", "any"]], None);
        check(&rules, 1, 1, &[["t", "go"]], Some("blocked"));
        check(&rules, 1, 1, &[], Some("blocked"));
        check(&rules, 1, 10_002, &[], None);
        check(&rules, 1, 5, &[], None);
        let rules = WriteRules { allowed_words: words("chess"), ..WriteRules::default() };
        check(&rules, 1, 1, &[], Some("blocked"));
    }

    #[test]
    fn kinds_have_limits_of_their_own() {
        let rules = WriteRules {
            bytes_max: parse_by_kind("1=7", amount).into_iter().collect(),
            past_secs_max: parse_by_kind("7=1h", period).into_iter().collect(),
            ..WriteRules::default()
        };
        check(&rules, 1, 1, &[], Some("invalid"));
        check(&rules, 1, 2, &[], None);
        for (behind, expected) in [(3_600, true), (3_601, false)] {
            let event = keys(1).sign_event(NOW - behind, Kind(7), &[], "");
            assert_eq!(rules.judge(&event.view(), &[], None, NOW).is_ok(), expected, "{behind}");
        }
    }
}
