//! NIP-01, kinds: regular, replaceable, ephemeral and addressable events.

use serde_json::{Value, json};

use crate::harness::{Client, Event, Relay, fixture, key};

const AT: u64 = 1_700_000_000;

#[test]
fn of_a_replaceable_event_only_the_latest_is_kept() {
    // C01, C02, C14; NIP-01.35
    let relay = Relay::start();
    let mut client = relay.connect();
    for kind in [0, 3, 10_002, 19_999] {
        let [old, new] = [100, 200].map(|at| key(1).event(kind, &format!("{at}"), &[], at));
        client.publish_all([&old, &new]);
        let by_address = json!({"authors": [key(1).public()], "kinds": [kind]});
        assert_eq!(client.stored("address", &[by_address.clone()]), [new.clone()], "C01 {kind}");
        client.publish(&old).is_false("duplicate", format!("C02 kind {kind}"));
        let older = key(1).event(kind, "50", &[], 50);
        client.publish(&older).is_false("duplicate", format!("C02 kind {kind}, never seen"));
        assert_eq!(client.stored("address", &[by_address]), [new.clone()], "C02 {kind}");
        assert_eq!(client.stored("id", &[json!({"ids": [old.id, new.id]})]), [new], "C14 {kind}");
        client.close("address");
        client.close("id");
    }
    assert_eq!(client.ids(&[json!({})]).len(), 4);
}

#[test]
fn of_two_versions_at_the_same_second_the_lowest_id_is_kept() {
    // C03; NIP-01.36
    let [low, high] = [fixture("RL"), fixture("RH")];
    let filter = json!({"kinds": [10_000]});
    let relay = Relay::start();
    let mut client = relay.connect();
    client.publish_all([&high, &low]);
    assert_eq!(client.ids(&[filter.clone()]), [low.id.as_str()]);
    let relay = Relay::start();
    let mut client = relay.connect();
    client.publish_all([&low]);
    client.publish(&high).is_false("duplicate", "the higher id");
    assert_eq!(client.ids(&[filter]), [low.id.as_str()]);
    // The same for an address, in both orders.
    for (number, address) in ["x", "y"].into_iter().enumerate() {
        let mut versions: Vec<Event> = ["1", "2", "3", "4", "5", "6"]
            .iter()
            .map(|content| key(1).event(30_000, content, &[&["d", address]], AT))
            .collect();
        let lowest = versions.iter().map(|event| event.id.clone()).min();
        if number == 1 {
            versions.sort_by(|a, b| b.id.cmp(&a.id));
        }
        for version in &versions {
            let verdict = client.publish(version);
            assert!(verdict.accepted || verdict.has_prefix("duplicate"), "{verdict:?}");
        }
        let kept = client.ids(&[json!({"#d": [address]})]);
        assert_eq!(Some(&kept[0]), lowest.as_ref());
        assert_eq!(kept.len(), 1);
    }
}

#[test]
fn a_missing_an_empty_and_no_value_of_d_are_one_address() {
    // C05; NIP-01.38, NIP-01.39
    let relay = Relay::start();
    let mut client = relay.connect();
    let versions: [&[&[&str]]; 4] =
        [&[], &[&["d"]], &[&["d", ""]], &[&["t", "x"], &["d", "", "y"]]];
    let addressed = json!({"authors": [key(1).public()], "kinds": [30_000]});
    for (at, tags) in (AT..).zip(versions) {
        let event = key(1).event(30_000, "version", tags, at);
        client.publish(&event).is_true("", tags);
        assert_eq!(client.ids(&[addressed.clone()]), [event.id.as_str()], "C05 {tags:?}");
    }
    // A filter for the empty address finds addressable events without a d tag, and no others.
    let without = key(2).event(30_001, "", &[], AT);
    let replaceable = key(2).event(10_001, "", &[], AT);
    let regular = key(2).event(1, "", &[], AT);
    client.stored("live", &[json!({"#d": [""], "authors": [key(2).public()], "limit": 0})]);
    client.publish_all([&without, &replaceable, &regular]);
    let filter = json!({"#d": [""], "authors": [key(2).public()]});
    assert_eq!(client.ids(&[filter]), [without.id.as_str()], "NIP-01.39, stored");
    assert_eq!(client.live("live"), without, "NIP-01.39, live");
    client.assert_quiet();
}

#[test]
fn only_the_first_d_tag_makes_the_address() {
    // C06
    let relay = Relay::start();
    let mut client = relay.connect();
    let both = key(1).event(30_000, "1", &[&["d", "x"], &["d", "y"]], AT);
    let x = key(1).event(30_000, "2", &[&["d", "x"]], AT + 1);
    let y = key(1).event(30_000, "3", &[&["d", "y"]], AT + 2);
    client.publish_all([&both]);
    assert_eq!(client.ids(&[json!({"#d": ["y"]})]), [both.id.as_str()], "literal tag values");
    client.publish_all([&x, &y]);
    assert_eq!(client.ids(&[json!({"kinds": [30_000]})]), [y.id, x.id]);
}

#[test]
fn author_kind_and_d_together_are_the_address() {
    // C07, C08, C16
    let relay = Relay::start();
    let mut client = relay.connect();
    let long = "l".repeat(300);
    let longer = format!("{}m", &long[1..]);
    let emoji = "\u{1f600} \u{e9}";
    let names = ["x", "X", "x ", "a:b", "a", ":b", emoji, &long, &longer, "\"\\\n", ""];
    let mut expected = 0;
    for author in [key(1), key(2)] {
        for kind in [30_000, 30_023, 39_999] {
            for name in names {
                let old = author.event(kind, "old", &[&["d", name]], AT);
                let new = author.event(kind, "new", &[&["d", name]], AT + 1);
                client.publish_all([&old, &new]);
                expected += 1;
            }
        }
    }
    let all = client.stored("all", &[json!({"limit": 500})]);
    assert_eq!(all.len(), expected, "one event for each address");
    assert!(all.iter().all(|event| event.content == "new"), "and it is the newer");
    for name in names {
        let found = client.stored("by d", &[json!({"#d": [name]})]);
        assert_eq!(found.len(), 6, "C16 #d {name:?}");
        assert!(found.iter().all(|event| event.first("d") == Some(name)), "C16 #d {name:?}");
    }
    let [with, without] = [&[&["d", "q"] as &[&str]] as &[&[&str]], &[]];
    let first = key(1).event(10_003, "", without, AT);
    let second = key(1).event(10_003, "", with, AT + 1);
    let third = key(1).event(10_003, "", without, AT + 2);
    client.publish_all([&first, &second]);
    assert_eq!(client.ids(&[json!({"kinds": [10_003]})]), [second.id.as_str()], "C08");
    client.publish_all([&third]);
    assert_eq!(client.ids(&[json!({"kinds": [10_003]})]), [third.id.as_str()], "C08");
}

#[test]
fn the_range_of_a_kind_tells_how_it_is_kept() {
    // C09, C10; NIP-01.40
    let relay = Relay::start();
    let mut client = relay.connect();
    client.authenticate(&key(1));
    let kept = |client: &mut Client, kind: u16, tags: [&[&[&str]]; 2]| {
        let [first, second] =
            [0, 1].map(|n: usize| key(1).event(kind, &format!("{n}"), tags[n], AT + n as u64));
        client.publish_all([&first, &second]);
        let found = client.ids(&[json!({"kinds": [kind]})]);
        let newest_first = [second.id, first.id];
        assert_eq!(found, newest_first[..found.len().min(2)], "kind {kind}");
        found.len()
    };
    let regular = [
        1, 2, 4, 5, 6, 7, 8, 39, 40, 41, 42, 43, 44, 45, 78, 999, 1000, 1059, 1984, 9999, 40_000,
        48_000, 65_535,
    ];
    for kind in regular {
        assert_eq!(kept(&mut client, kind, [&[], &[]]), 2, "regular {kind}");
    }
    for kind in [0, 3, 10_000, 13_194, 19_999, 30_000, 30_023, 39_999] {
        assert_eq!(kept(&mut client, kind, [&[], &[]]), 1, "replaced {kind}");
    }
    for kind in [20_000, 21_059, 25_000, 29_999] {
        assert_eq!(kept(&mut client, kind, [&[], &[]]), 0, "ephemeral {kind}");
    }
    for kind in [30_001, 39_998] {
        let tags: [&[&[&str]]; 2] = [&[&["d", "a"]], &[&["d", "b"]]];
        assert_eq!(kept(&mut client, kind, tags), 2, "two addresses of kind {kind}");
    }
}

#[test]
fn an_author_may_have_two_channels() {
    // C10
    let relay = Relay::start();
    let mut client = relay.connect();
    let [one, two] =
        ["S1", "S2"].map(|name| key(1).event(41, "", &[&["e", &fixture(name).id, "", "root"]], AT));
    client.publish_all([&one, &two]);
    assert_eq!(client.ids(&[json!({"kinds": [41]})]).len(), 2);
}

#[test]
fn an_ephemeral_event_reaches_who_listens_and_is_not_stored() {
    // C11; NIP-01.42, NIP-01.43
    let relay = Relay::start();
    let [mut listener, mut author] = [relay.connect(), relay.connect()];
    listener.stored("live", &[json!({"kinds": [20_001]})]);
    let event = key(1).event(20_001, "gone soon", &[&["t", "x"]], AT);
    let verdict = author.publish(&event);
    assert!(verdict.accepted && verdict.text.is_empty(), "{verdict:?}");
    assert_eq!(listener.live("live"), event);
    for filter in [json!({"kinds": [20_001]}), json!({"ids": [event.id]}), json!({"#t": ["x"]})] {
        assert_eq!(author.stored("later", &[filter]), []);
    }
    let unheard = key(1).event(29_999, "nobody listens", &[], AT);
    author.publish(&unheard).is_true("", "an event that nobody hears");
    // It was not stored, so it may come again.
    author.close("later");
    author.fence();
    assert!(author.publish(&event).accepted, "an ephemeral event again");
    assert_eq!(listener.live("live"), event);
}

#[test]
fn an_ephemeral_event_that_was_acknowledged_before_a_request_never_answers_it() {
    // C11, NIP-01.42: later requests do not get it, on whichever core they arrive.
    let relay = Relay::start();
    let mut author = relay.connect();
    let mut others: Vec<Client> = (0..4).map(|_| relay.connect()).collect();
    for number in 0..8 {
        let content = |n: u64| format!("{number} {n}");
        let events: Vec<Event> =
            (0..200).map(|n| key(1).event(20_001, &content(n), &[], AT)).collect();
        author.publish_all(&events);
        for other in &mut others {
            other.request("later", &[json!({"kinds": [20_001]})]);
        }
        for other in &mut others {
            assert_eq!(other.until_eose("later"), [], "round {number}");
            other.close("later");
        }
    }
    for other in &mut others {
        other.assert_quiet();
    }
}

#[test]
fn live_subscribers_get_every_version_and_never_an_older_one() {
    // C13; NIP-01.41
    let relay = Relay::start();
    let [mut listener, mut author] = [relay.connect(), relay.connect()];
    listener.stored("live", &[json!({"kinds": [0], "authors": [key(1).public()]})]);
    let [v0, v1, v2] = [0, 1, 2].map(|n| key(1).event(0, &format!("v{n}"), &[], AT + n));
    author.publish_all([&v1, &v2]);
    assert_eq!(listener.live("live"), v1);
    assert_eq!(listener.live("live"), v2);
    assert_eq!(author.count(&[json!({"kinds": [0]})]), 1, "C13 COUNT");
    author.publish(&v0).is_false("duplicate", "an older version");
    author.publish(&v1).is_false("duplicate", "a replaced version");
    listener.assert_quiet();
}

#[test]
fn a_replaced_version_does_not_come_back_when_the_newer_one_is_out_of_range() {
    // C15; NIP-01.37
    let relay = Relay::start();
    let mut client = relay.connect();
    let [v1, v2] = [0, 100].map(|n| key(1).event(0, &format!("v{n}"), &[&["t", "x"]], AT + n));
    client.publish_all([&v1, &v2]);
    let author = key(1).public().to_owned();
    let rows: [Value; 5] = [
        json!({"kinds": [0], "until": AT + 50}),
        json!({"authors": [author], "until": AT + 50}),
        json!({"until": AT + 50}),
        json!({"#t": ["x"], "until": AT + 99}),
        json!({"ids": [v1.id]}),
    ];
    for filter in rows {
        assert_eq!(client.stored("range", &[filter.clone()]), [], "{filter}");
    }
}

#[test]
fn versions_that_race_on_many_connections_leave_exactly_the_newest() {
    let relay = Relay::start();
    let newest = AT + 39;
    std::thread::scope(|scope| {
        for start in 0..4 {
            let mut client = relay.connect();
            scope.spawn(move || {
                let versions: Vec<Event> = (0..10)
                    .map(|step| key(1).event(10_002, "", &[], AT + (step * 4 + start) * 7 % 40))
                    .collect();
                for version in &versions {
                    client.send(&json!(["EVENT", version.json()]));
                }
                for version in &versions {
                    let verdict = client.verdict(&version.id);
                    assert!(verdict.accepted || verdict.has_prefix("duplicate"), "{verdict:?}");
                }
            });
        }
    });
    let found = relay.connect().stored("left", &[json!({"kinds": [10_002]})]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].created_at, newest);
}

#[test]
fn events_of_one_connection_are_stored_in_the_order_in_which_they_were_sent() {
    let relay = Relay::start();
    let mut client = relay.connect();
    for round in 0..10 {
        // Were one stored before what was sent before it, one of them would be refused.
        let mut events = Vec::new();
        for number in 0..30 {
            let at = AT + 100 * round + number;
            let note = key(1).note(&format!("{round} {number}"), at);
            let request = key(1).event(5, "", &[&["e", &note.id]], at);
            events.extend([key(1).event(0, "{}", &[], at), note, request]);
        }
        client.publish_all(&events);
        assert_eq!(client.count(&[json!({"kinds": [1]})]), 0);
    }
}
