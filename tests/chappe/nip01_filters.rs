//! NIP-01, filters: what each condition means, and how many events come in which order.

use serde_json::{Value, json};

use crate::harness::{Client, Event, Relay, fixture, key};

const AT: u64 = 1_700_000_000;

#[test]
fn the_newest_events_come_first_and_ties_by_lowest_id() {
    // D03, D10; NIP-01.56
    let relay = Relay::start();
    let mut client = relay.connect();
    let events: Vec<Event> =
        (0..60).map(|n| key(1).event(1, &format!("{n}"), &[&["t", "x"]], AT + n / 7)).collect();
    client.publish_all(&events);
    let mut order: Vec<&Event> = events.iter().collect();
    order.sort_by(|a, b| b.created_at.cmp(&a.created_at).then(a.id.cmp(&b.id)));
    let order: Vec<&str> = order.into_iter().map(|event| event.id.as_str()).collect();
    let all_ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
    let rows = [
        json!({}),
        json!({"kinds": [1]}),
        json!({"kinds": [0, 1, 2, 3]}),
        json!({"authors": [key(1).public()]}),
        json!({"authors": [key(1).public()], "kinds": [1]}),
        json!({"#t": ["x"]}),
        json!({"#t": ["x"], "kinds": [1]}),
        json!({"ids": all_ids}),
        json!({"since": AT}),
    ];
    for filter in rows {
        assert_eq!(client.ids(&[filter.clone()]), order, "{filter}");
        for limit in [1, 3, 8, 59, 60, 61] {
            let mut limited = filter.clone();
            limited["limit"] = json!(limit);
            let expected = &order[..order.len().min(limit)];
            assert_eq!(client.ids(&[limited.clone()]), expected, "D03 {limited}");
        }
    }
    // Paging by `until` inside a second that is cut by the limit repeats only that second.
    let page = client.stored("page", &[json!({"limit": 10})]);
    let last = page[9].created_at;
    let next = client.ids(&[json!({"limit": 10, "until": last})]);
    assert_eq!(next[0], order[4], "the whole second comes again");
}

#[test]
fn without_a_limit_or_with_a_large_one_the_relay_chooses() {
    // D05, D10; NIP-01.57
    let relay = Relay::start_with(&["limits.max_limit=10", "limits.default_limit=5"]);
    let mut client = relay.connect();
    let events: Vec<Event> = (0..15).map(|n| key(1).note(&format!("{n}"), AT + n)).collect();
    client.publish_all(&events);
    for (filter, count) in [
        (json!({}), 5),
        (json!({"kinds": [1]}), 5),
        (json!({"limit": 9}), 9),
        (json!({"limit": 10}), 10),
        (json!({"limit": 11}), 10),
        (json!({"limit": 1_000_000}), 10),
        (json!({"limit": u64::MAX}), 10),
    ] {
        let ids = client.ids(&[filter.clone()]);
        assert_eq!(ids.len(), count, "D05, D10 {filter}");
        assert_eq!(ids[0], events[14].id);
    }
}

#[test]
fn limit_zero_gives_no_stored_events_and_all_live_ones() {
    // D04
    let relay = Relay::start();
    let mut client = relay.connect();
    let stored = key(1).note("stored", AT);
    client.publish_all([&stored]);
    assert_eq!(client.stored("zero", &[json!({"limit": 0})]), []);
    let live = key(1).note("live", AT);
    client.publish_all([&live]);
    assert_eq!(client.live("zero"), live);
    // One filter of several may be the one without stored events.
    let both = [json!({"kinds": [1], "limit": 0}), json!({"ids": [stored.id]})];
    assert_eq!(client.stored("both", &both), [stored]);
}

#[test]
fn since_and_until_include_their_second() {
    // D06; NIP-01.55
    let relay = Relay::start();
    let mut client = relay.connect();
    let events: Vec<Event> =
        (0..5).map(|n| key(1).event(1, &format!("{n}"), &[&["t", "x"]], AT + n)).collect();
    client.publish_all(&events);
    let rows: [(Value, &[usize]); 11] = [
        (json!({"since": AT + 3}), &[4, 3]),
        (json!({"until": AT + 1}), &[1, 0]),
        (json!({"since": AT + 2, "until": AT + 2}), &[2]),
        (json!({"since": AT + 1, "until": AT + 3}), &[3, 2, 1]),
        (json!({"since": AT + 3, "until": AT + 2}), &[]),
        (json!({"since": AT + 5}), &[]),
        (json!({"until": AT - 1}), &[]),
        (json!({"since": 0, "until": u64::MAX}), &[4, 3, 2, 1, 0]),
        (json!({"since": u64::MAX}), &[]),
        (json!({"until": 0}), &[]),
        (json!({"until": AT + 3, "limit": 2}), &[3, 2]),
    ];
    let shapes = [
        json!({}),
        json!({"kinds": [1]}),
        json!({"authors": [key(1).public()]}),
        json!({"authors": [key(1).public()], "kinds": [1]}),
        json!({"#t": ["x"]}),
        json!({"ids": events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>()}),
    ];
    for (range, expected) in rows {
        let expected: Vec<&str> = expected.iter().map(|n| events[*n].id.as_str()).collect();
        for shape in &shapes {
            let filter = merged(shape, &range);
            assert_eq!(client.ids(&[filter.clone()]), expected, "{filter}");
        }
    }
}

#[test]
fn all_conditions_of_a_filter_must_hold_and_one_value_of_each() {
    // D07; NIP-01.47, NIP-01.48
    let relay = Relay::start();
    let mut client = relay.connect();
    let full = key(1).event(1, "", &[&["t", "a"], &["p", key(3).public()]], AT);
    let others = [
        key(2).event(1, "", &[&["t", "a"], &["p", key(3).public()]], AT),
        key(1).event(7, "", &[&["t", "a"], &["p", key(3).public()]], AT),
        key(1).event(1, "", &[&["t", "c"], &["p", key(3).public()]], AT),
        key(1).event(1, "", &[&["t", "a"], &["p", key(4).public()]], AT),
        key(1).event(1, "", &[&["t", "a"]], AT),
        key(1).event(1, "", &[&["t", "a"], &["p", key(3).public()]], AT - 1),
        key(1).event(1, "", &[&["x", "a"], &["t", key(3).public()]], AT),
    ];
    let filter = json!({
        "authors": [key(1).public(), key(5).public()], "kinds": [1, 6], "#t": ["a", "b"],
        "#p": [key(3).public()], "since": AT,
    });
    client.stored("live", &[filter.clone()]);
    client.publish_all(&others);
    client.publish_all([&full]);
    assert_eq!(client.live("live"), full);
    assert_eq!(client.ids(&[filter]), [full.id.as_str()]);
    let listed = json!({"ids": [full.id, others[0].id], "authors": [key(2).public()]});
    assert_eq!(client.ids(&[listed]), [others[0].id.as_str()], "ids and authors");
    client.assert_quiet();
}

#[test]
fn several_filters_are_one_union_in_one_order() {
    // D08; NIP-01.58
    let relay = Relay::start();
    let mut client = relay.connect();
    let events: Vec<Event> = (0..30)
        .map(|n| key(1 + n % 3).event(1 + (n % 2) as u16, "", &[&["t", "x"]], AT + u64::from(n)))
        .collect();
    client.publish_all(&events);
    let expected = |keep: &dyn Fn(&Event) -> bool| -> Vec<String> {
        events.iter().rev().filter(|event| keep(event)).map(|event| event.id.clone()).collect()
    };
    let filters =
        [json!({"kinds": [1]}), json!({"authors": [key(1).public()]}), json!({"#t": ["x"]})];
    assert_eq!(client.ids(&filters), expected(&|_| true), "D08 each once, newest first");
    let two = [json!({"kinds": [1], "limit": 2}), json!({"kinds": [2], "limit": 3})];
    let newest: Vec<String> = [29, 28, 27, 26, 25].map(|n: usize| events[n].id.clone()).to_vec();
    assert_eq!(client.ids(&two), newest, "limit belongs to its filter");
    let apart = [json!({"until": AT + 1}), json!({"since": AT + 28}), json!({"until": AT + 1})];
    let ends: Vec<String> = [29, 28, 1, 0].map(|n: usize| events[n].id.clone()).to_vec();
    assert_eq!(client.ids(&apart), ends);
    let author = key(2).public().to_owned();
    let union = [json!({"authors": [author]}), json!({"kinds": [2]})];
    assert_eq!(client.ids(&union), expected(&|event| event.pubkey == author || event.kind == 2));
}

#[test]
fn an_empty_list_matches_nothing() {
    // D09; NIP-01.49
    let relay = Relay::start();
    let mut client = relay.connect();
    let stored = key(1).event(1, "", &[&["t", "x"]], AT);
    client.publish_all([&stored]);
    let rows = ["ids", "authors", "kinds", "#t", "#e", "#p"];
    for name in rows {
        assert_eq!(client.stored(name, &[json!({name: []})]), [], "D09 {name}");
        assert_eq!(client.stored("two", &[json!({name: [], "since": 0})]), [], "D09 {name}");
    }
    let second = [json!({"ids": []}), json!({"kinds": [1]})];
    assert_eq!(client.stored("second", &second), [stored], "D09 the second filter works");
    let live = key(1).event(1, "live", &[&["t", "x"]], AT);
    client.publish_all([&live]);
    assert_eq!(client.live("second"), live);
    client.assert_quiet();
}

#[test]
fn ids_authors_e_and_p_are_whole_lower_case_hex() {
    // D11, D12; NIP-01.50
    let relay = Relay::start();
    let mut client = relay.connect();
    client.publish_all([&fixture("S1")]);
    let upper = key(1).public().to_uppercase();
    let good = key(1).public().to_owned();
    for name in ["ids", "authors", "#e", "#p"] {
        let long = format!("{good}0");
        let zeds = "z".repeat(64);
        for value in ["bde202ea", "79be66", "", "abc", &zeds, &upper, &good[1..], &long] {
            client.refused(&[json!({name: [value]})], "invalid");
            client.refused(&[json!({name: [good, value]})], "invalid");
            client.refused(&[json!({}), json!({name: [value]})], "invalid");
        }
        for value in
            [json!(good), json!([5]), json!([null]), json!([[good]]), json!(null), json!({})]
        {
            client.refused(&[json!({name: value})], "invalid");
        }
    }
    // Other letters take any text.
    for name in ["#E", "#P", "#a", "#q", "#d"] {
        assert_eq!(client.ids(&[json!({name: ["abc", upper, ""]})]).len(), 0, "{name}");
    }
    client.assert_quiet();
}

#[test]
fn values_of_the_wrong_type_are_invalid() {
    // D31; NIP-01.46, NIP-01.51, NIP-01.55
    let relay = Relay::start();
    let mut client = relay.connect();
    let rows = [
        json!({"since": -1}),
        json!({"since": 1.5}),
        json!({"since": "5"}),
        json!({"since": null}),
        json!({"since": [5]}),
        json!({"until": -1}),
        json!({"until": 1.5}),
        json!({"until": "5"}),
        json!({"limit": -1}),
        json!({"limit": 1.5}),
        json!({"limit": "5"}),
        json!({"limit": null}),
        json!({"kinds": 1}),
        json!({"kinds": [-1]}),
        json!({"kinds": [1.5]}),
        json!({"kinds": ["1"]}),
        json!({"kinds": [null]}),
        json!({"#t": "x"}),
        json!({"#t": [1]}),
        json!({"#t": [null]}),
        json!({"#t": [["x"]]}),
        json!({"search": 5}),
    ];
    for filter in rows {
        client.refused(&[filter], "invalid");
    }
    for filter in [json!(null), json!(5), json!("x"), json!([]), json!([{}])] {
        client.refused(&[filter.clone()], "invalid");
        client.refused(&[json!({}), filter], "invalid");
    }
    client.refused(&[], "invalid");
    assert_eq!(client.ids(&[json!({"kinds": [65_536, 100_000]})]).len(), 0, "NIP-01.51");
    client.publish_all([&fixture("S1")]);
    assert_eq!(client.ids(&[json!({"kinds": [65_537, 1]})]).len(), 1, "NIP-01.51");
    client.assert_quiet();
}

#[test]
fn what_a_filter_cannot_ask_is_unsupported() {
    // D13, D14; NIP-01.53, NIP-01.54
    let relay = Relay::start();
    let mut client = relay.connect();
    let names = [
        "foo", "Kinds", "id", "author", "kind", "", "#", "#proxy", "#-", "#1", "#\u{e9}", "#tt",
        "t", "& ", "&&", "##",
    ];
    for name in names {
        client.refused(&[json!({"kinds": [1], name: ["x"]})], "unsupported");
    }
    client.refused(&[json!({"kinds": [1], "foo": 1})], "unsupported");
    // L09; NIP-50.9
    client.refused(&[json!({"kinds": [1], "search": "purple"})], "unsupported");
    client.count_refused(&[json!({"search": "purple"})], "unsupported");
    client.assert_quiet();
}

#[test]
fn the_case_of_a_tag_letter_matters() {
    // D15; NIP-01.52
    let relay = Relay::start();
    let mut client = relay.connect();
    let id = fixture("S1").id;
    let upper = key(1).event(1111, "upper", &[&["E", &id], &["T", "x"]], AT);
    let lower = key(1).event(1111, "lower", &[&["e", &id], &["t", "x"]], AT);
    client.publish_all([&upper, &lower]);
    let rows =
        [("#E", &id[..], &upper), ("#e", &id, &lower), ("#T", "x", &upper), ("#t", "x", &lower)];
    for (name, value, event) in rows {
        assert_eq!(client.stored("case", &[json!({name: [value]})]), [event.clone()], "D15 {name}");
    }
    let letters: Vec<char> = ('a'..='z').chain('A'..='Z').collect();
    let tags = letters.iter().map(|letter| vec![letter.to_string(), format!("{letter}!")]);
    let event = key(1).event_owned(1, "", tags.collect(), AT);
    client.publish_all([&event]);
    for letter in letters.iter().filter(|letter| !"ep".contains(**letter)) {
        let filter = json!({format!("#{letter}"): [format!("{letter}!")]});
        assert_eq!(client.ids(&[filter]), [event.id.as_str()], "every letter: {letter}");
    }
}

#[test]
fn only_the_first_value_of_a_tag_is_asked_for() {
    // D16, D17; NIP-01.52, NIP-01.69; the answers of stored and live agree.
    let relay = Relay::start();
    let mut client = relay.connect();
    let rows: [(&[&str], &str, bool); 8] = [
        (&["t", "a", "b"], "a", true),
        (&["t", "a", "b"], "b", false),
        (&["t"], "", false),
        (&["t", ""], "", true),
        (&["t", "", "x"], "x", false),
        (&["t", "A"], "a", false),
        (&["t", "ab"], "a", false),
        (&["tt", "a"], "a", false),
    ];
    for (at, (tag, value, found)) in (AT..).zip(rows) {
        let filter = json!({"#t": [value], "since": at, "until": at});
        client.stored("live", &[filter.clone()]);
        let event = key(1).event(1, "", &[tag], at);
        client.publish_all([&event]);
        let stored = client.ids(&[filter]);
        assert_eq!(!stored.is_empty(), found, "stored {tag:?} {value:?}");
        let live = client.fence();
        assert_eq!(!live.is_empty(), found, "live {tag:?} {value:?}: {live:?}");
    }
}

#[test]
fn hex_values_and_texts_that_look_alike_are_told_apart() {
    let relay = Relay::start();
    let mut client = relay.connect();
    let hex = fixture("S1").id;
    let upper = hex.to_uppercase();
    let binary: String = (0..32_u8).map(|n| char::from(n % 26 + 65)).collect();
    let values = [&hex[..], &upper, &hex[..63], &binary, "0", "00"];
    for value in values {
        client.publish_all([&key(1).event(1, value, &[&["x", value], &["y", value]], AT)]);
    }
    for value in values {
        for name in ["#x", "#y"] {
            let found = client.stored("hex", &[json!({name: [value]})]);
            assert_eq!(found.len(), 1, "{name} {value}");
            assert_eq!(found[0].content, value);
        }
    }
}

#[test]
fn values_listed_twice_give_each_event_once() {
    // D32
    let relay = Relay::start();
    let mut client = relay.connect();
    let event = key(1).event(1, "", &[&["t", "x"], &["t", "x"], &["t", "y"]], AT);
    client.publish_all([&event]);
    let author = key(1).public().to_owned();
    let rows = [
        json!({"ids": [event.id, event.id]}),
        json!({"authors": [author, author]}),
        json!({"kinds": [1, 1, 1]}),
        json!({"#t": ["x", "y", "x"]}),
        json!({"authors": [author, author], "kinds": [1, 1], "#t": ["y", "x", "y"]}),
    ];
    for filter in rows {
        assert_eq!(client.ids(&[filter.clone()]), [event.id.as_str()], "D32 {filter}");
        assert_eq!(client.ids(&[filter.clone(), filter.clone()]), [event.id.as_str()], "{filter}");
    }
}

#[test]
fn an_and_condition_asks_for_all_its_values() {
    // D37; NIP-91
    let relay = Relay::start();
    let mut client = relay.connect();
    let tagged = |values: &[&str]| {
        let tags = values.iter().map(|value| vec!["t".to_owned(), (*value).to_owned()]);
        key(1).event_owned(1, &values.concat(), tags.collect(), AT)
    };
    let lists: [&[&str]; 7] =
        [&["a"], &["a", "b"], &["a", "b", "c"], &["d", "b", "a"], &["c", "d"], &["a", "c"], &[]];
    let events: Vec<Event> = lists.iter().map(|values| tagged(values)).collect();
    client.stored("live", &[json!({"&t": ["a", "b"], "#t": ["c", "d"]})]);
    client.publish_all(&events);
    let rows = [
        (json!({"&t": ["a", "b"]}), vec!["ab", "abc", "dba"]),
        (json!({"&t": ["a", "b"], "#t": ["c", "d"]}), vec!["abc", "dba"]),
        (json!({"&t": ["a"]}), vec!["a", "ab", "abc", "ac", "dba"]),
        (json!({"&t": ["a", "a"]}), vec!["a", "ab", "abc", "ac", "dba"]),
        (json!({"&t": ["a", "z"]}), vec![]),
        (json!({"&t": ["a", "b"], "kinds": [2]}), vec![]),
    ];
    for (filter, expected) in rows {
        let found = client.stored("and", &[filter.clone()]);
        let mut found: Vec<&str> = found.iter().map(|event| event.content.as_str()).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{filter}");
    }
    let mut live = [client.live("live").content, client.live("live").content];
    live.sort();
    assert_eq!(live, ["abc", "dba"], "live");
    client.fence();
}

#[test]
fn filters_with_thousands_of_authors_and_ids_work() {
    // NIP-01.67
    let relay = Relay::start();
    let mut client = relay.connect();
    let events: Vec<Event> =
        (1..=8).map(|n| key(n).note("in a crowd", AT + u64::from(n))).collect();
    client.publish_all(&events);
    let expected: Vec<&str> = events.iter().rev().map(|event| event.id.as_str()).collect();
    let crowd = |own: &dyn Fn(&Event) -> String| -> Vec<String> {
        let strangers = (0..5000_u64).map(|n| format!("{:064x}", n.wrapping_mul(0x9e37_79b9) + 9));
        strangers.chain(events.iter().map(own)).collect()
    };
    let authors = crowd(&|event| event.pubkey.clone());
    let ids = crowd(&|event| event.id.clone());
    let rows = [
        json!({"authors": authors}),
        json!({"authors": authors, "kinds": [1], "limit": 20}),
        json!({"authors": authors, "kinds": [0, 1, 6, 7]}),
        json!({"ids": ids}),
        json!({"kinds": (0..5000).collect::<Vec<u32>>()}),
    ];
    for filter in rows {
        assert_eq!(client.ids(&[filter]), expected);
    }
    client.stored("live", &[json!({"authors": authors, "limit": 0})]);
    client.publish_all([&key(8).note("live", AT), &key(9).note("a stranger", AT)]);
    assert_eq!(client.live("live").content, "live");
    client.assert_quiet();
}

fn merged(one: &Value, other: &Value) -> Value {
    let mut merged = one.clone();
    let members = other.as_object().expect("a filter is an object").clone();
    merged.as_object_mut().expect("a filter is an object").extend(members);
    merged
}

#[test]
fn a_rare_author_is_found_under_a_popular_tag() {
    // The answer must not depend on which index is the fast one.
    let relay = Relay::start();
    let mut client = relay.connect();
    let mut events: Vec<Event> =
        (0..300).map(|n| key(2).event(1, &format!("{n}"), &[&["t", "popular"]], AT + n)).collect();
    events.push(key(1).event(1, "rare", &[&["t", "popular"]], AT - 5));
    client.publish_all(&events);
    let find = |client: &mut Client, filter: Value| {
        let found = client.stored("rare", &[filter]);
        assert_eq!(found.iter().map(|event| event.content.as_str()).collect::<Vec<_>>(), ["rare"]);
    };
    find(&mut client, json!({"authors": [key(1).public()], "#t": ["popular"]}));
    find(&mut client, json!({"authors": [key(1).public()], "#t": ["popular"], "limit": 1}));
    find(&mut client, json!({"kinds": [1], "#t": ["popular"], "until": AT - 1}));
    find(&mut client, json!({"authors": [key(1).public(), key(3).public()], "kinds": [1, 7]}));
}
