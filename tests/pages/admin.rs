//! The page at `/admin`, as an administrator uses it.

use std::path::Path;

use chappe::config::Settings;
use chappe::peer::PeerStatus;
use chappe::policy::Circle;
use pages::browser::Look;
use pages::relay::now;
use pages::{Relay, Signer, Tab};
use serde_json::Value;
use tempfile::TempDir;

/// Who administers the relay of these tests.
fn admin() -> Signer {
    Signer::new(1)
}

fn relay() -> Relay {
    Relay::start(|settings| {
        settings.relay.name = "Rue de l'Universite".to_owned();
        settings.management.admins = vec![admin().public()];
    })
}

fn notes(author: &Signer, count: u64) -> Vec<Value> {
    let text = |n| format!("note {n} of the neighbourhood");
    (0..count).map(|n| author.event(1_700_000_000 + n, 1, &[], &text(n))).collect()
}

/// Opens the page and logs in.
fn log_in(tab: &mut Tab, relay: &Relay) {
    tab.install(admin());
    tab.go(&format!("{}/admin", relay.origin()));
    tab.press("Log in with extension");
    tab.until_shown("Log out");
}

#[test]
fn somebody_without_an_extension_is_told() {
    let Some(mut tab) = Tab::open() else { return };
    let relay = relay();
    tab.go(&format!("{}/admin", relay.origin()));
    tab.press("Log in with extension");
    tab.until_shown("No extension found");
    tab.picture("admin-no-extension");
    crate::accessible::assert_accessible(&mut tab);
    tab.assert_clean(&relay.origin());
}

#[test]
fn extensions_reach_the_page_though_it_runs_nothing_of_others() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("extension");
    let Some(mut tab) = Tab::open_with(Some(&folder)) else { return };
    let relay = relay();
    tab.go(&format!("{}/admin", relay.origin()));
    tab.press("Log in with extension");
    tab.until_shown("this extension never signs");
}

#[test]
fn a_key_that_is_no_administrators_is_refused() {
    let Some(mut tab) = Tab::open() else { return };
    let relay = relay();
    tab.install(Signer::new(9));
    tab.go(&format!("{}/admin", relay.origin()));
    tab.press("Log in with extension");
    tab.until_shown("Refused");
    tab.until_shown("This key is no administrator's.");
    // How to let it in.
    tab.until_shown("admins = [\"npub1");
    tab.picture("admin-refused");
    assert_eq!(tab.value("document.querySelectorAll('nav a').length"), 0);
    tab.assert_clean(&relay.origin());
}

#[test]
fn a_signature_for_another_address_is_not_accepted() {
    let Some(mut tab) = Tab::open() else { return };
    let relay = Relay::start(|settings| {
        settings.relay.url = vec!["wss://relay.example".to_owned()];
        settings.management.admins = vec![admin().public()];
    });
    tab.install(admin());
    tab.go(&format!("{}/admin", relay.origin()));
    tab.press("Log in with extension");
    tab.until_shown("Signature not accepted");
    tab.until_shown("relay.url");
    tab.assert_clean(&relay.origin());
}

#[test]
fn somebody_who_does_not_sign_is_told() {
    let Some(mut tab) = Tab::open() else { return };
    let relay = relay();
    tab.install(admin().unwilling());
    tab.go(&format!("{}/admin", relay.origin()));
    tab.press("Log in with extension");
    tab.until_shown("Not signed");
    tab.until_shown("User rejected");
    tab.assert_clean(&relay.origin());
}

#[test]
fn a_relay_that_goes_away_is_told_and_comes_back() {
    let Some(mut tab) = Tab::open() else { return };
    let mut relay = relay();
    log_in(&mut tab, &relay);
    tab.until_shown("Events stored");
    relay.stop();
    tab.until_shown("The relay does not answer");
    tab.press("Log out");
    tab.press("Log in with extension");
    tab.until_shown("The relay does not answer");
}

#[test]
fn a_machine_whose_clock_is_wrong_logs_in_all_the_same() {
    let Some(mut tab) = Tab::open() else { return };
    let relay = relay();
    tab.prepare("{ const right = Date.now; Date.now = () => right() + 600_000; }");
    log_in(&mut tab, &relay);
    tab.until_shown("Events stored");
    assert_eq!(tab.seen().signed, 3, "once with its own clock, twice with the relay's");
}

#[test]
fn who_may_do_less_is_offered_less() {
    let Some(mut tab) = Tab::open() else { return };
    let relay = Relay::start(|settings| {
        settings.management.admins = vec![format!("{}=read", admin().public())];
    });
    relay.publish(&notes(&Signer::new(2), 1));
    log_in(&mut tab, &relay);
    tab.press("Search");
    tab.press_in("main form", "Search");
    tab.until_shown("note 0 of the neighbourhood");
    tab.press("Bans");
    tab.until_shown("Blocked addresses");
    let offered = tab.value("document.querySelectorAll('main .danger, main form').length");
    assert_eq!(offered, 0, "nothing to ban with");
    let rooms = tab.value("[...document.querySelectorAll('nav a')].map((it) => it.hash)");
    assert!(!rooms.to_string().contains("#relay"), "{rooms}");
    tab.assert_clean(&relay.origin());
}

#[test]
fn charts_follow_what_happens() {
    let Some(mut tab) = Tab::open() else { return };
    let relay = relay();
    log_in(&mut tab, &relay);
    tab.until_shown("Events per second");
    let points =
        |count: u32| format!("Number(document.querySelector('.chart').dataset.points) >= {count}");
    tab.until(&points(1));
    relay.publish(&notes(&Signer::new(2), 30));
    tab.until("document.querySelector('.tiles dd').textContent === '30'");
    tab.until(&points(3));
    let line = "document.querySelector('.chart .line-0').getAttribute('d')";
    tab.until(&format!("{line}.includes('L')"));
    let label = tab.value("document.querySelector('.chart svg').getAttribute('aria-label')");
    assert!(label.as_str().is_some_and(|it| it.starts_with("Events per second: received ")));
    let signed = tab.seen().signed;
    assert!(signed >= 4, "each request is signed: {signed}");
    tab.assert_clean(&relay.origin());
}

#[test]
fn an_author_is_found_banned_and_let_in_again() {
    let Some(mut tab) = Tab::open() else { return };
    let (relay, author) = (relay(), Signer::new(2));
    relay.publish(&notes(&author, 3));
    log_in(&mut tab, &relay);
    tab.press("Search");
    tab.write("Key or id", &author.public());
    tab.write("Kind", "1");
    tab.press_in("main form", "Search");
    tab.until_shown("note 2 of the neighbourhood");
    assert_eq!(tab.value("document.querySelectorAll('.event').length"), 3);

    tab.press("Ban author");
    tab.until_shown("Ban this author?");
    tab.write("Reason", "noise");
    tab.picture("admin-question");
    tab.press_in("dialog", "Ban author");
    tab.until_shown("The author is banned.");
    let late = author.event(1_700_000_100, 1, &[], "late");
    let refused = relay.try_publish(&late).expect_err("the author is banned");
    assert!(refused.starts_with("blocked:"), "{refused}");

    tab.press("Bans");
    tab.until_shown("noise");
    tab.press_in("#listbannedpubkeys", "Unban");
    tab.until_gone("noise");
    assert_eq!(relay.try_publish(&late), Ok(()));
    tab.assert_clean(&relay.origin());
}

/// Returns how many events of an author are stored.
fn stored(relay: &Relay, author: &Signer) -> usize {
    relay.ask(&serde_json::json!({ "authors": [author.public()] })).len()
}

#[test]
fn all_that_a_search_finds_is_counted_and_removed_if_that_is_confirmed() {
    let Some(mut tab) = Tab::open() else { return };
    let (relay, spammer, other) = (relay(), Signer::new(2), Signer::new(3));
    relay.publish(&notes(&spammer, 7));
    relay.publish(&notes(&other, 2));
    let deletion = spammer.event(1_700_000_050, 5, &[], "never mind");
    relay.publish(&[deletion]);
    log_in(&mut tab, &relay);
    tab.press("Search");
    tab.press_in("main form", "Search");
    tab.until_shown("10 found");
    assert!(!tab.text().contains("Remove all"), "not everything at once");
    tab.write("Key or id", &spammer.public());
    tab.press_in("main form", "Search");
    tab.until_shown("8 found");
    tab.press("Remove all\u{2026}");
    tab.until_shown("Remove 7 events?");
    tab.until_shown("Requests to delete and to vanish stay (1)");
    tab.picture("admin-remove");
    tab.press_in("dialog", "Cancel");
    tab.until("!document.querySelector('dialog').open");
    assert_eq!(stored(&relay, &spammer), 8, "nothing was confirmed");
    tab.press("Remove all\u{2026}");
    tab.press_in("dialog", "Remove 7 events");
    tab.until_shown("7 events removed.");
    tab.until_shown("1 found");
    assert_eq!((stored(&relay, &spammer), stored(&relay, &other)), (1, 2));
    tab.press("Journal");
    tab.until_shown("chappe.removeevents");
    tab.assert_clean(&relay.origin());
}

#[test]
fn what_a_banned_author_has_stored_goes_with_the_ban_or_later() {
    let Some(mut tab) = Tab::open() else { return };
    let (relay, first, second) = (relay(), Signer::new(2), Signer::new(3));
    relay.publish(&notes(&first, 4));
    relay.publish(&notes(&second, 3));
    log_in(&mut tab, &relay);
    tab.press("Search");
    tab.write("Key or id", &first.public());
    tab.press_in("main form", "Search");
    tab.until_shown("4 found");
    tab.press("Ban author");
    tab.until_shown("Also remove what is stored: 4 events");
    tab.value("document.querySelector('#also').click()");
    tab.press_in("dialog", "Ban author");
    tab.until_shown("4 events removed.");
    assert_eq!((stored(&relay, &first), stored(&relay, &second)), (0, 3));
    tab.press("Bans");
    tab.write("Key", &second.public());
    tab.press("Ban");
    tab.until("document.querySelectorAll('#listbannedpubkeys tbody tr').length === 2");
    assert_eq!(stored(&relay, &second), 3, "a ban by itself removes nothing");
    tab.value(
        "[...document.querySelectorAll('#listbannedpubkeys button')]\
             .filter((it) => it.innerText.startsWith('Remove')).forEach((it) => it.click())",
    );
    tab.until_shown("Remove 3 events?");
    tab.press_in("dialog", "Remove 3 events");
    tab.until_shown("3 events removed.");
    assert_eq!(stored(&relay, &second), 0);
    tab.assert_clean(&relay.origin());
}

#[test]
fn roles_are_made_given_taken_and_deleted_and_who_may_do_what_is_told() {
    let Some(mut tab) = Tab::open() else { return };
    let (relay, _folder) = lived_in();
    let member = Signer::new(8);
    log_in(&mut tab, &relay);
    tab.press("People");
    tab.until_shown("Administrators");
    tab.until_shown("moderate");
    tab.write("Key", &member.public());
    tab.press("Add");
    tab.until_shown("1 member.");
    tab.write("Name of the role", "keeper");
    tab.write("Shown as", "Keeper of the tower");
    tab.write("Hue", "210");
    tab.press("Save role");
    tab.until_shown("keeper: saved.");
    let role = serde_json::json!({ "kinds": [33_534] });
    assert_eq!(relay.ask(&role).len(), 1);
    tab.until("document.querySelector('fieldset.tags input')");
    tab.value("document.querySelector('fieldset.tags input').click()");
    tab.until_shown("Keeper of the tower: given.");
    let list = serde_json::json!({ "kinds": [13_534] });
    let told = |relay: &Relay| relay.ask(&list).iter().any(|it| it.to_string().contains("keeper"));
    assert!(told(&relay), "the relay's list of members says so");
    tab.reload();
    tab.until("document.querySelector('fieldset.tags input')?.checked");
    tab.value("document.querySelector('fieldset.tags input').click()");
    tab.until_shown("Keeper of the tower: taken.");
    tab.press("Change");
    tab.write("Description", "Sees far");
    tab.press("Save role");
    tab.until_shown("Sees far");
    tab.press("Delete");
    tab.press_in("dialog", "Delete role");
    tab.until_shown("None yet.");
    assert_eq!(relay.ask(&role).len(), 0);
    assert!(!told(&relay));
    tab.assert_clean(&relay.origin());
}

/// Reports of an event, by two people.
fn complaints(event: &Value) -> Vec<Value> {
    let id = event["id"].as_str().expect("events have ids").to_owned();
    let by = event["pubkey"].as_str().expect("events have authors").to_owned();
    let tags = vec![vec!["e".to_owned(), id, "spam".to_owned()], vec!["p".to_owned(), by]];
    let says = |number, text| Signer::new(number).event(1_700_000_200, 1984, &tags, text);
    vec![says(5, "Advertising, again and again."), says(6, "")]
}

#[test]
fn reported_events_are_kept_or_banned() {
    let Some(mut tab) = Tab::open() else { return };
    let (relay, author) = (relay(), Signer::new(2));
    let events = notes(&author, 2);
    relay.publish(&events);
    relay.publish(&events.iter().flat_map(complaints).collect::<Vec<_>>());
    log_in(&mut tab, &relay);
    tab.press("Reports");
    tab.until_shown("2 wait for a decision");
    tab.until_shown("Advertising, again and again.");
    let first = tab.value("document.querySelector('.event .content').innerText");
    let first = first.as_str().expect("an event with content").to_owned();
    tab.press("Keep");
    tab.until_gone(&first);
    tab.press("Ban event");
    tab.press_in("dialog", "Ban event");
    tab.until_shown("The event is banned.");
    tab.until("!document.querySelector('.event')");
    // Neither comes back with the page.
    tab.reload();
    tab.until_shown("Nothing waits for a decision.");
    let refused: Vec<bool> = events.iter().map(|event| relay.try_publish(event).is_err()).collect();
    assert_eq!(refused.iter().filter(|it| **it).count(), 1, "one stays, one is banned");
    tab.press("Journal");
    tab.until_shown("banevent");
    tab.until_shown("allowevent");
    tab.assert_clean(&relay.origin());
}

#[test]
fn what_cannot_be_done_is_told() {
    let Some(mut tab) = Tab::open() else { return };
    let relay = relay();
    log_in(&mut tab, &relay);
    tab.press("Search");
    tab.write("Key or id", "banana");
    tab.press_in("main form", "Search");
    tab.until_shown("That is no key and no id");
    tab.press("Bans");
    tab.write("Address", "elsewhere");
    tab.press("Block");
    tab.until_shown("expected an address such as 192.0.2.7");
    tab.press("People");
    tab.until_shown("This relay has no members");
    tab.assert_clean(&relay.origin());
}

#[test]
fn the_relay_is_called_otherwise_at_once() {
    let Some(mut tab) = Tab::open() else { return };
    let relay = relay();
    log_in(&mut tab, &relay);
    tab.press("Relay");
    tab.write("Name", "Another <b>name</b>");
    tab.press_in("main form", "Save");
    tab.until_shown("Name: saved.");
    tab.go(&relay.origin());
    tab.until("document.querySelector('h1').innerText === 'Another <b>name</b>'");
    tab.assert_clean(&relay.origin());
}

#[test]
fn somebody_is_invited_and_shown_out() {
    let Some(mut tab) = Tab::open() else { return };
    let (relay, _folder) = lived_in();
    log_in(&mut tab, &relay);
    tab.press("People");
    tab.until_shown("0 members.");
    tab.press("Make a code");
    tab.until("document.querySelector('.card pre')");
    let code = tab.value("document.querySelector('.card pre').innerText");
    let claim = vec!["claim".to_owned(), code.as_str().expect("a code").to_owned()];
    let guest = Signer::new(9);
    let request = guest.event(now(), 28_934, &[vec!["-".to_owned()], claim], "");
    assert_eq!(relay.publish_as(&guest, &request), Ok(()));
    tab.press("Journal");
    tab.until_shown("chappe.createinvite");
    tab.press("People");
    tab.until_shown("1 member.");
    tab.press("Remove");
    tab.until_shown("0 members.");
    tab.assert_clean(&relay.origin());
}

#[test]
fn the_store_is_looked_after() {
    let Some(mut tab) = Tab::open() else { return };
    let (relay, _folder) = lived_in();
    log_in(&mut tab, &relay);
    tab.press("Storage");
    tab.until_shown("except_kinds=0|3 size=80%");
    tab.press("Look now");
    tab.until_shown("All events are being looked at.");
    tab.press("Back up now");
    tab.until_shown("A backup is being made.");
    tab.press("Journal");
    tab.until_shown("chappe.sweep");
    tab.until_shown("chappe.backup");
    tab.assert_clean(&relay.origin());
}

/// A peer with which all is well.
fn near() -> PeerStatus {
    PeerStatus {
        name: "lille".to_owned(),
        url: "wss://lille.example".to_owned(),
        direction: "both".to_owned(),
        stage: "following".to_owned(),
        noted_at: 1_700_000_000,
        agreed_at: 1_700_000_000,
        received: 12_345,
        stored: 12_000,
        accepted: 678,
        ..PeerStatus::default()
    }
}

/// A peer that cannot be reached.
fn far() -> PeerStatus {
    PeerStatus {
        name: "strasbourg".to_owned(),
        stage: "away".to_owned(),
        errors: 3,
        last_error: "the connection was refused".to_owned(),
        last_error_at: 1_700_000_000,
        ..near()
    }
}

/// A relay that people have used for a while.
fn lived_in() -> (Relay, TempDir) {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let secret = folder.path().join("secret.key");
    std::fs::write(&secret, "5".repeat(64)).expect("the folder can be written to");
    let owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&secret, owner).expect("the file is ours");
    let backups = folder.path().join("backups");
    let change = |settings: &mut Settings| {
        settings.maintenance.backup_folder = Some(backups);
        settings.relay.name = "Rue de l'Universite".to_owned();
        settings.relay.secret_key_file = Some(secret);
        settings.management.admins = vec![admin().public()];
        settings.membership.enabled = true;
        settings.membership.writes = Circle::Everyone;
        settings.store.retention =
            vec!["kinds=7 age=30d".to_owned(), "except_kinds=0|3 size=80%".to_owned()];
        settings.limits.max_limit = 2_000;
    };
    let relay = Relay::start_with_peers(change, &[near(), far()]);
    let texts = [
        "Rain over the roofs since noon, and the towers on the hill are blind again. \
         We wait for the mist to lift.",
        "Buy now!!! Best prices, only today, click here for the offer of your life.",
        "The message from Lille took nine minutes. Nine! The post takes a day.",
        "<img src=https://tracker.example/x.png onerror=alert(1)><b>bold</b>",
    ];
    let events: Vec<Value> = (2..)
        .zip(texts)
        .map(|(key, text)| Signer::new(key).event(1_700_000_150, 1, &[], text))
        .collect();
    relay.publish(&events);
    relay.publish(&complaints(&events[1]));
    (relay, folder)
}

#[test]
fn every_room_fits_every_screen_and_is_accessible() {
    let Some(mut tab) = Tab::open() else { return };
    let (relay, _folder) = lived_in();
    log_in(&mut tab, &relay);
    tab.until_shown("Events per second");
    for n in 0..3_u8 {
        relay.publish(&notes(&Signer::new(3 + n), 20 + 30 * u64::from(n % 3)));
        tab.until(&format!("Number(document.querySelector('.chart').dataset.points) > {n}"));
    }
    tab.press("Bans");
    tab.write("Key", &Signer::new(7).public());
    tab.write("Reason", "Impersonates the harbour office");
    tab.press("Ban");
    tab.until_shown("Unban");
    tab.press("People");
    tab.write("Key", &Signer::new(8).public());
    tab.press("Add");
    tab.until_shown("1 member.");
    for (id, label, about) in [
        ("keeper", "Keeper of the tower", "Sees far, and passes on what comes from Lille."),
        ("clerk", "", ""),
    ] {
        tab.write("Name of the role", id);
        tab.write("Shown as", label);
        tab.write("Description", about);
        tab.press("Save role");
        let listed = format!(
            "[...document.querySelectorAll('td code')].some((it) => it.innerText === '{id}')"
        );
        tab.until(&listed);
    }
    tab.value("document.querySelector('fieldset.tags input').click()");
    tab.until_shown(": given.");
    let rooms = tab.value("[...document.querySelectorAll('nav a')].map((it) => it.innerText)");
    let rooms: Vec<String> = serde_json::from_value(rooms).expect("rooms have names");
    assert!(rooms.len() >= 10, "{rooms:?}");
    tab.press("Peers");
    tab.until_shown("wss://lille.example");
    tab.until_shown("the connection was refused");
    for room in &rooms {
        see(&mut tab, room);
    }
    tab.assert_clean(&relay.origin());
}

/// Looks at a room by day, by night, and on a telephone.
fn see(tab: &mut Tab, room: &str) {
    tab.press_in("nav", room);
    tab.until(&format!("document.querySelector('h1').innerText === '{room}'"));
    tab.until("!document.querySelector('main').innerText.includes('Loading')");
    if room == "Search" {
        tab.write("Kind", "1984");
        tab.press_in("main form", "Search");
        tab.until_shown("2 found");
        tab.write("Kind", "1");
        tab.press_in("main form", "Search");
        tab.until_shown("onerror=alert(1)><b>bold</b>");
        tab.write("Kind", "1984");
        tab.press_in("main form", "Search");
        tab.until_shown("2 found");
    }
    if room == "Journal" {
        // Authors as everywhere else, and nothing where nothing was said.
        let about = tab.value(
            "[...document.querySelectorAll('td:nth-child(4)')].map((it) => it.innerText).join(' ')",
        );
        let about = about.as_str().unwrap_or_default();
        assert!(about.contains("npub1") && !about.contains("null"), "{about}");
    }
    for (name, width, height) in [("light", 1280, 900), ("dark", 1280, 900), ("phone", 320, 700)] {
        let scheme = if name == "dark" { "dark" } else { "light" };
        tab.look(Look { scheme, width, height });
        let wide = tab.value("document.documentElement.scrollWidth");
        assert_eq!(wide, width, "{room} fits {name}");
        tab.picture(&format!("admin-{}-{name}", room.to_lowercase()));
        crate::accessible::assert_accessible(tab);
    }
}
