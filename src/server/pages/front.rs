//! The page at `/`: what this relay is and takes, and how to connect, for people.
//!
//! Names and texts are the operator's, and may have been taken from elsewhere: whatever is not of
//! this file or its template goes through [`escaped`].

use super::super::settings::LiveSettings;
use super::file::File;
use super::library::ADMIN;
use super::terms::{grouped, span, terms};
use crate::nostr::{InformationDocument, bech32};
use crate::policy::{Activity, MembershipRules, Moderation, Rate};

/// What the page is about.
pub(in crate::server) struct Subject<'a> {
    /// What the relay says of itself to programs; the page says the same.
    pub(in crate::server) document: &'a InformationDocument,
    /// What membership is good for, if there is any.
    pub(in crate::server) members: Option<&'a MembershipRules>,
    /// What administrators have decided, if anything.
    pub(in crate::server) moderation: Option<&'a Moderation>,
    /// Whether there are groups.
    pub(in crate::server) has_groups: bool,
}

/// Writes the page.
pub(in crate::server) fn front(settings: &LiveSettings, subject: &Subject<'_>) -> File {
    let document = subject.document;
    let name = document.name.as_deref().filter(|name| !name.is_empty());
    let name = escaped(name.unwrap_or("A Nostr relay"));
    let description = document.description.as_deref().unwrap_or_default();
    let address = settings.about.url.as_deref().unwrap_or_default();
    let pages = &settings.pages;
    let page = fill(TEMPLATE, |place| match place {
        "name" => name.clone(),
        "summary" => escaped(&summary(description)),
        "description" => paragraphs(description),
        "address" => escaped(address),
        "counters" => if pages.counters { COUNTERS } else { "" }.to_owned(),
        "terms" => policy(settings, subject),
        "limits" => limits(document, settings),
        "nips" => nips(&document.supported_nips),
        "operator" => operator(document),
        "admin" if pages.admin && !settings.management.admins.is_empty() => {
            format!("<a href=\"{ADMIN}\">Administration</a>")
        }
        "version" => env!("CARGO_PKG_VERSION").to_owned(),
        _ => String::new(),
    });
    File::new("text/html; charset=utf-8", page)
}

/// Returns a text with what `put` returns for each `{{place}}` in it.
fn fill(template: &str, put: impl Fn(&str) -> String) -> String {
    let mut page = String::with_capacity(2 * template.len());
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once("{{") {
        let (place, after) = behind.split_once("}}").expect("the template closes its places");
        page.push_str(before);
        page.push_str(&put(place));
        rest = after;
    }
    page.push_str(rest);
    page
}

/// Returns a text as it may stand in HTML, between tags and in quoted attributes.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // These turn what stands around them about, or are not legal here.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            other if other.is_control() && other != '\n' && other != '\t' => {}
            other => safe.push(other),
        }
    }
    safe
}

/// Returns the first words of a text.
fn summary(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SUMMARY_CHARACTERS).collect()
}

fn paragraphs(text: &str) -> String {
    let parts = text.split("\n\n").map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| format!("<p class=\"lead\">{}</p>\n", escaped(part))).collect()
}

fn policy(settings: &LiveSettings, subject: &Subject<'_>) -> String {
    let mut html = String::new();
    for part in terms(settings, subject) {
        html.push_str(&format!("<div>\n<dt>{}</dt>\n", part.about));
        for sentence in part.sentences {
            html.push_str(&format!("<dd>{}</dd>\n", escaped(&sentence)));
        }
        html.push_str("</div>\n");
    }
    html
}

fn limits(document: &InformationDocument, settings: &LiveSettings) -> String {
    let limits = &document.limitation;
    let rate = |activity| settings.session.quotas.address.of(activity).map(Rate::to_string);
    let number = |value: Option<u64>, unit: &str| value.map(|it| format!("{} {unit}", grouped(it)));
    let rows = [
        ("Longest message", number(limits.max_message_length, "bytes")),
        ("Longest content", number(limits.max_content_length, "characters")),
        ("Tags of an event", number(limits.max_event_tags, "")),
        ("Subscriptions of a connection", number(limits.max_subscriptions, "")),
        ("Longest subscription id", number(limits.max_subid_length, "characters")),
        ("Events a filter gets", limited(limits.default_limit, limits.max_limit)),
        ("Least proof of work", number(limits.min_pow_difficulty, "bits")),
        ("Oldest event", limits.created_at_lower_limit.map(span)),
        ("Farthest ahead", limits.created_at_upper_limit.map(span)),
        ("Events from an address", rate(Activity::Event)),
        ("Questions from an address", rate(Activity::Request)),
    ];
    let row = |(name, value): (&str, Option<String>)| {
        let value = value?;
        Some(format!("<tr><th scope=\"row\">{name}</th><td>{}</td></tr>\n", value.trim()))
    };
    rows.into_iter().filter_map(row).collect()
}

fn limited(default: Option<u64>, max: Option<u64>) -> Option<String> {
    match (default, max) {
        (Some(default), Some(max)) if default != max => {
            Some(format!("{}, up to {} if it asks", grouped(default), grouped(max)))
        }
        (_, max) => max.map(grouped),
    }
}

fn nips(supported: &[u16]) -> String {
    let item = |nip: &u16| {
        let title = TITLES.iter().find(|(number, _)| number == nip).map(|(_, title)| *title);
        let href = format!("https://github.com/nostr-protocol/nips/blob/master/{nip:02}.md");
        format!("<li><a href=\"{href}\"><b>{nip:02}</b> {}</a></li>\n", title.unwrap_or_default())
    };
    supported.iter().map(item).collect()
}

fn operator(document: &InformationDocument) -> String {
    let key = |name: &str, key: &[u8; 32]| {
        let npub = bech32::encode("npub", key);
        format!("<div><dt>{name}</dt><dd class=\"key\">{npub}</dd></div>\n")
    };
    let mut html = String::new();
    if let Some(contact) = document.contact.as_deref().filter(|contact| !contact.is_empty()) {
        let text = escaped(contact);
        let shown = match is_link(contact) {
            true => format!("<a href=\"{text}\" rel=\"noreferrer\">{text}</a>"),
            false => text,
        };
        html.push_str(&format!("<div><dt>Contact</dt><dd>{shown}</dd></div>\n"));
    }
    html.extend(document.pubkey.map(|it| key("Operator", &it.0)));
    html.extend(document.own_key.map(|it| key("Signs as", &it.0)));
    match html.is_empty() {
        true => html,
        false => format!(
            "<section>\n<h2>Who runs it</h2>\n<dl class=\"facts\">\n{html}</dl>\n</section>"
        ),
    }
}

/// Returns whether an address may be followed by a click: others, such as `javascript:`, may not.
fn is_link(address: &str) -> bool {
    let scheme = address.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    scheme.is_some_and(|scheme| LINKED.contains(&scheme.as_str()))
}

const TEMPLATE: &str = include_str!("files/front.html");
const COUNTERS: &str = include_str!("files/counters.html");
const SUMMARY_CHARACTERS: usize = 160;
const LINKED: [&str; 4] = ["mailto", "https", "http", "nostr"];
const TITLES: [(u16, &str); 24] = [
    (1, "Events and subscriptions"),
    (2, "Follow lists"),
    (4, "Direct messages, the old kind"),
    (9, "Deletion"),
    (11, "Information document"),
    (13, "Proof of work"),
    (17, "Private messages"),
    (29, "Groups"),
    (40, "Expiration"),
    (42, "Authentication"),
    (43, "Membership"),
    (45, "Counting"),
    (50, "Search"),
    (56, "Reports"),
    (59, "Gift wraps"),
    (62, "Vanishing"),
    (65, "Relay lists"),
    (66, "Relay discovery"),
    (67, "Complete answers"),
    (70, "Protected events"),
    (77, "Reconciliation"),
    (86, "Management"),
    (91, "Tags that all match"),
    (98, "Authorized requests"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_texts_stay_texts() {
        let text = "</title><script>alert('1')</script> \"x\" &amp; \u{202e}\u{0}\n";
        let safe = escaped(text);
        assert!(!safe.contains(['<', '>', '"', '\'', '\u{202e}', '\u{0}']), "{safe}");
        assert!(safe.contains("&amp;amp;"), "{safe}");
        for (address, expected) in [
            ("mailto:a@b.example", true),
            ("HTTPS://b.example", true),
            ("javascript:alert(1)", false),
            (" javascript:alert(1)", false),
            ("data:text/html,x", false),
            ("nobody", false),
        ] {
            assert_eq!(is_link(address), expected, "{address}");
        }
    }

    #[test]
    fn every_place_of_the_template_is_filled_once() {
        let page = fill("a {{x}} b{{y}}{{x}}", |place| place.to_uppercase());
        assert_eq!(page, "a X bYX");
        assert!(!fill(TEMPLATE, |_| String::new()).contains(['{', '}']));
    }
}
