//! What this relay takes, shows and keeps, in sentences for people: read off the settings that are
//! enforced.

use std::fmt::{Display, Write};

use super::super::settings::LiveSettings;
use super::front::Subject;
use crate::nostr::Kind;
use crate::policy::{
    Circle, KindRange, Moderation, RetentionRule, SizeLimit, Subject as Decided, WriteRules,
};
use crate::session::Authentication;

/// Sentences about one thing.
pub(super) struct Terms {
    pub(super) about: &'static str,
    pub(super) sentences: Vec<String>,
}

/// Returns the policy of a relay.
pub(super) fn terms(settings: &LiveSettings, subject: &Subject<'_>) -> [Terms; 3] {
    [
        Terms { about: "Publishing", sentences: publishing(settings, subject) },
        Terms { about: "Reading", sentences: reading(settings, subject) },
        Terms { about: "Keeping", sentences: keeping(settings) },
    ]
}

fn publishing(settings: &LiveSettings, subject: &Subject<'_>) -> Vec<String> {
    let event = &settings.session.event;
    let rules = event.rules.as_deref();
    let mut said = vec![welcome(settings, subject, rules)];
    if subject.has_groups {
        said.push("Groups say themselves who publishes and reads in them (NIP-29).".to_owned());
    }
    if settings.plugin.is_some() {
        said.push("A program of the operator judges each event.".to_owned());
    }
    if event.work.bits_min > 0 {
        let bits = event.work.bits_min;
        said.push(format!("Events need proof of work of {bits} bits (NIP-13)."));
    }
    if let Some(rules) = rules {
        said.extend(by_rules(rules));
    }
    let refused = refused_kinds(settings, subject.moderation);
    if !refused.is_empty() {
        said.push(format!("Not taken are events of kind {}.", list(&refused)));
    }
    match (event.past_secs_max, event.future_secs_max) {
        (None, None) => {}
        (Some(past), None) => said.push(format!("Events may be up to {} old.", span(past))),
        (None, Some(ahead)) => {
            said.push(format!("Events may be dated up to {} ahead.", span(ahead)));
        }
        (Some(past), Some(ahead)) => said.push(format!(
            "Events may be up to {} old, and dated up to {} ahead.",
            span(past),
            span(ahead)
        )),
    }
    said
}

/// Says who may publish.
fn welcome(settings: &LiveSettings, subject: &Subject<'_>, rules: Option<&WriteRules>) -> String {
    let is_members_only = subject.members.is_some_and(|it| it.terms.writes == Circle::Members);
    let mut some: Vec<String> = Vec::new();
    if let Some(rules) = rules {
        let is_listed = rules.allowed_authors.is_some();
        some.extend(is_listed.then(|| "authors on the operator's list".to_owned()));
        let is_woven = rules.trusted.is_some();
        some.extend(is_woven.then(|| "authors in the operator's web of trust".to_owned()));
        let named = rules.named.as_ref().map(|named| list(&named.rules().domains));
        some.extend(named.map(|domains| format!("authors whom {domains} confirms (NIP-05)")));
    }
    let some = some.join(", and ");
    let who = match (is_members_only, some.is_empty()) {
        (false, true) => "Anyone may publish here".to_owned(),
        (false, false) => format!("Only {some} publish here"),
        (true, true) => "Only members publish here (NIP-43)".to_owned(),
        (true, false) => format!("Only members (NIP-43) publish here, and of them only {some}"),
    };
    match settings.session.authentication {
        Authentication::Required => format!("{who}, after proving who they are (NIP-42)."),
        Authentication::Optional => format!("{who}."),
    }
}

/// Returns the kinds that are not taken, by the configuration or by what administrators decided.
fn refused_kinds(settings: &LiveSettings, moderation: Option<&Moderation>) -> Vec<u16> {
    let decided = moderation.into_iter().flat_map(Moderation::iter);
    let decided = decided.filter_map(|(subject, _)| match subject {
        Decided::RefusedKind(kind) => Some(kind.0),
        _ => None,
    });
    let mut kinds: Vec<u16> =
        settings.session.event.refused_kinds.iter().copied().chain(decided).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

fn by_rules(rules: &WriteRules) -> Vec<String> {
    let mut said = Vec::new();
    if rules.is_restricted() && !rules.open_kinds.is_empty() {
        said.push(format!("Events of kind {} are taken from anyone.", list(&rules.open_kinds)));
    }
    if let Some(kinds) = &rules.allowed_kinds {
        said.push(format!("Taken are events of kind {}, and no others.", list(kinds)));
    }
    let by_kind = |rows: &[(KindRange, u64)], write: &dyn Fn(u64) -> String| -> Vec<String> {
        let row = |(kinds, value): &(KindRange, u64)| format!("kind {kinds}: {}", write(*value));
        rows.iter().map(row).collect()
    };
    let work = by_kind(rules.work_bits_min.rows(), &|bits| format!("{bits} bits"));
    if !work.is_empty() {
        said.push(format!("Some events need proof of work (NIP-13). {}.", sentence(&work)));
    }
    let sizes = by_kind(rules.bytes_max.rows(), &|bytes| format!("{} bytes", grouped(bytes)));
    if !sizes.is_empty() {
        said.push(format!("Some events have to be short. {}.", sentence(&sizes)));
    }
    let ages = by_kind(rules.past_secs_max.rows(), &span);
    if !ages.is_empty() {
        said.push(format!("Some events have to be recent. {}.", sentence(&ages)));
    }
    if rules.has_subject() {
        let tags = rules.allowed_tags.iter().map(|(name, value)| match value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        });
        let tags: Vec<String> = tags.collect();
        said.push(match tags.is_empty() {
            true => "Events need one of certain words.".to_owned(),
            false => format!("Events need one of these tags: {}.", tags.join(", ")),
        });
    }
    if rules.refused_words.is_some() || !rules.refused_tags.is_empty() {
        said.push("Some words and tags are not taken.".to_owned());
    }
    said
}

fn reading(settings: &LiveSettings, subject: &Subject<'_>) -> Vec<String> {
    let is_members_only = subject.members.is_some_and(|it| it.terms.reads == Circle::Members);
    let who = match (is_members_only, settings.session.authentication) {
        (true, _) => "Only members read here, after proving who they are (NIP-42).",
        (false, Authentication::Required) => {
            "Everyone may read, after proving who they are (NIP-42)."
        }
        (false, Authentication::Optional) => "Everyone may read.",
    };
    let mut said = vec![who.to_owned()];
    if settings.session.restricted.has(Kind::GIFT_WRAP) {
        said.push("Private messages are shown to those they are for, and nobody else.".to_owned());
    }
    said
}

fn keeping(settings: &LiveSettings) -> Vec<String> {
    let rules = &settings.retention.rules;
    let mut said = vec![if rules.is_empty() {
        "Events stay until their author deletes them or they expire.".to_owned()
    } else {
        "Not every event stays for good.".to_owned()
    }];
    said.extend(rules.iter().map(retained));
    said.push("Requests to delete and to vanish are obeyed (NIP-09, NIP-62).".to_owned());
    said
}

fn retained(rule: &RetentionRule) -> String {
    let mut which = match rule.kinds.is_empty() {
        true => "All events".to_owned(),
        false => format!("Events of kind {}", list(&rule.kinds)),
    };
    if !rule.except_kinds.is_empty() {
        // Writing into a text cannot fail.
        let _ = write!(which, " except of kind {}", list(&rule.except_kinds));
    }
    if !rule.except_authors.is_empty() {
        which.push_str(", but for some authors,");
    }
    let mut bounds = Vec::new();
    bounds.extend(rule.age_max.map(|secs| format!("stay for {}", span(secs))));
    bounds.extend(rule.per_author_max.map(|count| {
        format!("stay as long as they are among the newest {} of their author", grouped(count))
    }));
    bounds.extend(rule.size_max.map(|size| match size {
        SizeLimit::Bytes(bytes) => format!("make room once the store has {} bytes", grouped(bytes)),
        SizeLimit::Percent(share) => {
            format!("make room once the store fills {share} % of the disk")
        }
    }));
    format!("{which} {}.", bounds.join(", and "))
}

fn list(items: &[impl Display]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    match items.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => items.join(""),
    }
}

/// Returns parts as the words of a sentence, without its end.
fn sentence(parts: &[String]) -> String {
    let text = parts.join("; ");
    let (first, rest) = text.split_at(text.len().min(1));
    format!("{}{rest}", first.to_uppercase())
}

/// Returns a time in the largest unit that it is a whole number of.
pub(super) fn span(secs: u64) -> String {
    let units = [("year", 31_536_000), ("day", 86_400), ("hour", 3_600), ("minute", 60)];
    let fits = units.iter().find(|(_, size)| secs >= *size && secs.is_multiple_of(*size));
    let (unit, size) = fits.copied().unwrap_or(("second", 1));
    let count = secs / size;
    format!("{} {unit}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// Returns a number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_written_for_people() {
        for (number, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1 << 20, "1,048,576")]
        {
            assert_eq!(grouped(number), expected);
        }
        let rows = [
            (0, "0 seconds"),
            (1, "1 second"),
            (90, "90 seconds"),
            (3_600, "1 hour"),
            (2_592_000, "30 days"),
            (94_608_000, "3 years"),
        ];
        for (secs, expected) in rows {
            assert_eq!(span(secs), expected);
        }
    }

    #[test]
    fn rules_of_retention_are_sentences() {
        let rows = [
            ("kinds=7|1000-1999 age=30d", "Events of kind 7 or 1000-1999 stay for 30 days."),
            (
                "except_kinds=0|3 per_author=1000 size=80%",
                "All events except of kind 0 or 3 stay as long as they are among the newest 1,000 \
                 of their author, and make room once the store fills 80 % of the disk.",
            ),
        ];
        for (rule, expected) in rows {
            assert_eq!(retained(&rule.parse().expect("a rule")), expected);
        }
    }
}
