//! The page at `/`.

use pages::browser::Look;
use pages::{Relay, Signer, Tab};

/// A relay with something to say, some of it hostile.
fn relay() -> Relay {
    let relay = Relay::start(|settings| {
        settings.relay.name = "Rue de l'Universite <script>x()</script>".to_owned();
        settings.relay.description = "A relay for the neighbourhood: notes, articles and long \
            conversations, kept for as long as the house stands.\n\nBe kind."
            .to_owned();
        settings.relay.contact = Some("javascript:alert(1)".to_owned());
        settings.relay.icon = Some("https://tracker.example/icon.png".to_owned());
        settings.relay.banner = Some("https://tracker.example/banner.png".to_owned());
        settings.relay.pubkey = Some(Signer::new(1).public());
        settings.policy.min_pow_difficulty = 0;
        settings.policy.max_bytes_by_kind = vec!["1=64k".to_owned()];
        settings.store.retention = vec!["kinds=7|1000-1999 age=30d".to_owned()];
    });
    let author = Signer::new(2);
    let notes: Vec<_> =
        (0..40).map(|n| author.event(1_700_000_000 + n, 1, &[], &format!("note {n}"))).collect();
    relay.publish(&notes);
    relay
}

#[test]
fn the_front_page_says_what_the_relay_is_and_how_to_connect() {
    let Some(mut tab) = Tab::open() else { return };
    let relay = relay();
    tab.go(&relay.origin());
    tab.until_shown("Rue de l'Universite <script>x()</script>");
    let address = relay.origin().replace("http", "ws");
    tab.until_shown(&address);
    for part in [
        "Be kind.",
        "Anyone may publish here.",
        "Events of kind 7 or 1000-1999 stay for 30 days.",
        "Kind 1: 64,000 bytes.",
        "Longest message",
        "javascript:alert(1)",
        "npub10xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqpkge6d",
    ] {
        tab.until_shown(part);
    }
    let links =
        tab.value("[...document.links].filter((it) => it.protocol === 'javascript:').length");
    assert_eq!(links, 0, "nobody follows a script by a click");
    // The numbers come, and move.
    tab.until("document.querySelector('[data-count=events]').textContent === '40'");
    relay.publish(&[Signer::new(2).event(1_700_001_000, 1, &[], "one more")]);
    tab.until("document.querySelector('[data-count=events]').textContent === '41'");
    tab.press("Copy");
    tab.until("document.getElementById('copied').textContent !== ''");
    tab.assert_clean(&relay.origin());
}

#[test]
fn the_front_page_fits_a_telephone() {
    let Some(mut tab) = Tab::open() else { return };
    let relay = relay();
    tab.look(Look { scheme: "light", width: 320, height: 640 });
    tab.go(&relay.origin());
    tab.until_shown("Events stored");
    let width = tab.value("document.documentElement.scrollWidth");
    assert_eq!(width, 320, "nothing has to be pushed sideways");
    tab.picture("front-phone");
    for (name, scheme) in [("front-light", "light"), ("front-dark", "dark")] {
        tab.look(Look { scheme, width: 1280, height: 900 });
        tab.picture(name);
    }
    tab.assert_clean(&relay.origin());
}

#[test]
fn the_front_page_can_be_read_and_used_by_everybody() {
    let Some(mut tab) = Tab::open() else { return };
    let relay = relay();
    tab.go(&relay.origin());
    tab.until_shown("Events stored");
    for scheme in ["light", "dark"] {
        tab.look(Look { scheme, width: 1280, height: 900 });
        crate::accessible::assert_accessible(&mut tab);
    }
}
