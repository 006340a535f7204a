//! What the relay tells of itself: metrics, health, the log; and that small machines are enough.

use serde_json::{Value, json};

use crate::harness::tls::{Files, SIGNED};
use crate::harness::{Client, Relay, http, key, now};

/// The address that the relay says its metrics are at.
fn metrics_address(relay: &Relay) -> String {
    relay.await_said("/metrics\n");
    let said = relay.said();
    let rest = said.split("metrics       http://").nth(1).expect("it says where its metrics are");
    rest.split("/metrics").next().unwrap_or_default().to_owned()
}

/// The samples of a page.
struct Page(String);

impl Page {
    fn of(relay: &Relay) -> Page {
        let response = http(&metrics_address(relay), "GET", "/metrics", &[]);
        assert_eq!(response.status, 200);
        let kind = response.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        Page(String::from_utf8(response.body).expect("metrics are text"))
    }

    /// The sum of the samples that begin so.
    fn sum(&self, start: &str) -> f64 {
        let is_meant = |line: &&str| {
            line.strip_prefix(start).is_some_and(|rest| rest.starts_with(['{', ' ', ',']))
        };
        let value = |line: &str| line.rsplit(' ').next().and_then(|it| it.parse::<f64>().ok());
        self.0.lines().filter(is_meant).filter_map(value).sum()
    }

    fn names(&self) -> Vec<&str> {
        self.0.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
    }
}

/// The page of metrics of a relay that serves one.
pub(crate) fn page_of(relay: &Relay) -> String {
    Page::of(relay).0
}

const OBSERVED: &str = "metrics.listen=127.0.0.1:0";

#[test]
fn what_clients_do_is_counted() {
    let relay = Relay::start_with(&[OBSERVED]);
    let mut client = relay.connect();
    let notes: Vec<_> = (0..5).map(|n| key(1).note(&format!("note {n}"), now())).collect();
    client.publish_all(&notes);
    client.publish(&notes[0]).is_true("duplicate", "a note that is known");
    client.publish(&key(1).event(20_001, "gone", &[], now())).is_true("", "an ephemeral event");
    client.publish(&key(1).event(0, "{}", &[], now() - 9)).is_true("", "a profile");
    let older = key(1).event(0, "{}", &[], now() - 99);
    client.publish(&older).is_false("duplicate", "an older profile");
    let mut forged = key(1).note("forged", now());
    forged.sig = notes[0].sig.clone();
    client.publish(&forged).is_false("invalid", "a forged note");
    client.publish(&key(1).event(14, "bare", &[], now())).is_false("blocked", "a bare message");
    assert_eq!(
        client.stored("all", &[json!({"kinds": [1], "authors": [key(1).public()]})]).len(),
        5
    );
    client.stored("ids", &[json!({"ids": [notes[0].id]})]);
    client.count(&[json!({"kinds": [1]})]);
    let page = Page::of(&relay);
    let regular = |verdict: &str| {
        page.sum(&format!("chappe_events_total{{class=\"regular\",verdict=\"{verdict}\"}}"))
    };
    assert_eq!(regular("stored"), 5.0, "{}", page.0);
    assert_eq!(page.sum("chappe_events_total{class=\"ephemeral\",verdict=\"ephemeral\"}"), 1.0);
    let old = page.sum("chappe_events_total{class=\"replaceable\",verdict=\"superseded\"}");
    assert_eq!(old, 1.0, "{}", page.0);
    assert_eq!(page.sum("chappe_events_known_total"), 1.0);
    assert_eq!(page.sum("chappe_events_refused_total{reason=\"invalid\"}"), 1.0);
    assert_eq!(page.sum("chappe_events_refused_total{reason=\"blocked\"}"), 1.0);
    assert_eq!(page.sum("chappe_connections"), 1.0);
    assert_eq!(page.sum("chappe_subscriptions"), 2.0);
    assert_eq!(page.sum("chappe_counts_total"), 1.0);
    assert_eq!(page.sum("chappe_query_rows_total{plan=\"authors\"}"), 5.0, "{}", page.0);
    assert_eq!(page.sum("chappe_query_seconds_count{plan=\"ids\"}"), 1.0, "{}", page.0);
    assert_eq!(page.sum("chappe_store_events"), 6.0);
    assert!(page.sum("chappe_commit_seconds_count") >= 3.0, "{}", page.0);
    assert_eq!(page.sum("chappe_batch_events_sum"), 8.0, "{}", page.0);
    assert!(page.sum("chappe_received_bytes_total") > 1_000.0, "{}", page.0);
    assert!(page.sum("chappe_sent_bytes_total") > 1_000.0, "{}", page.0);
    assert!(page.sum("process_open_fds") > 5.0);
    assert!(page.sum("process_resident_memory_bytes") > 1e6);
    drop(client);
}

#[test]
fn a_relay_that_serves_is_healthy_and_ready_and_tells_nobody_else() {
    let relay = Relay::start_with(&[OBSERVED]);
    let address = metrics_address(&relay);
    for path in ["/health", "/ready"] {
        let response = http(&address, "GET", path, &[]);
        assert_eq!((response.status, &response.body[..]), (200, &b"ok\n"[..]), "{path}");
        assert_eq!(http(relay.address(), "GET", path, &[]).status, 404, "clients get no {path}");
    }
    assert_eq!(http(relay.address(), "GET", "/metrics", &[]).status, 404);
    assert_eq!(http(&address, "GET", "/nowhere", &[]).status, 404);
    assert_eq!(http(&address, "POST", "/metrics", &[("Content-Length", "0")]).status, 405);
    let upgrade = [("Connection", "upgrade"), ("Upgrade", "websocket")];
    assert_eq!(http(&address, "GET", "/", &upgrade).status, 404, "no websockets there");
    let unobserved = Relay::start();
    unobserved.await_said("Ctrl-C");
    assert!(!unobserved.said().contains("/metrics"), "{}", unobserved.said());
}

#[test]
fn every_metric_of_the_dashboard_exists() {
    let root = env!("CARGO_MANIFEST_DIR");
    let path = format!("{root}/dist/grafana/chappe.json");
    let text = std::fs::read_to_string(path).expect("the repository has the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("the dashboard is JSON");
    // Of peers and of a certificate it is told where there are some.
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let file = folder.path().join("config.toml");
    let certificate = Files::of(SIGNED);
    let all = "metrics.listen = \"127.0.0.1:0\"\n".to_owned()
        + &certificate.section()
        + "[[peer]]\nurl = \"ws://127.0.0.1:1\"\n";
    std::fs::write(&file, all).expect("it can be written");
    let relay = Relay::start_on_file(&file);
    let page = Page::of(&relay);
    let names = page.names();
    let mut used = Vec::new();
    for panel in dashboard["panels"].as_array().expect("it has panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().expect("a target has a query");
            let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            used.extend(
                words.filter(|it| ["chappe_", "process_"].iter().any(|p| it.starts_with(p))),
            );
        }
    }
    assert!(used.len() > 20, "{used:?}");
    for name in used {
        let parts = ["_bucket", "_sum", "_count"];
        let base = parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        assert!(names.contains(&name) || names.contains(&base), "{name} is no metric");
    }
    // As Prometheus wants them: help and type once, before the samples.
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), names.len(), "each metric once");
}

#[test]
fn a_slow_query_is_told_by_its_form_alone() {
    // A millisecond is less than it takes to write so much.
    let relay = Relay::start_with(&["log.slow_query_millis=1", "log.format=json"]);
    let mut client = relay.connect();
    let notes: Vec<_> =
        (0..150).map(|n| key(1).note(&"secret ".repeat(9_000), 1_700_000_000 + n)).collect();
    client.publish_all(&notes);
    let author = key(1).public().to_owned();
    let filter = json!({"authors": [author], "kinds": [1], "since": 5, "limit": 200});
    assert_eq!(client.stored("all", &[filter]).len(), 150);
    relay.await_said("slow query");
    let said = relay.said();
    let line = said.lines().find(|line| line.contains("slow query")).expect("it was said");
    let line: Value = serde_json::from_str(line).expect("lines are JSON");
    assert_eq!(line["plan"], "authors", "{line}");
    assert_eq!(line["form"], "authors:1 kinds:1 since limit=200", "{line}");
    assert_eq!(line["level"], "WARN", "{line}");
    for secret in ["secret", key(1).public()] {
        assert!(!said.contains(secret), "{secret} in {said}");
    }
}

/// The clients that the lines of a JSON log name, in order.
fn clients_named(said: &str) -> Vec<String> {
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| line["client"].as_str().map(str::to_owned)).collect()
}

/// Has clients of some addresses do whatever is told in the log, at its most talkative.
fn relay_that_has_much_to_tell(settings: &[&str]) -> Relay {
    let talkative =
        ["log.level=trace", "log.format=json", "guard.exempt=", "guard.ban_tolerance=900/day"];
    let relay = Relay::start_with(&[&talkative, settings].concat());
    let from = |address: &str| {
        Client::connect_through(relay.address(), b"", &[("X-Forwarded-For", address)])
    };
    let mut client = from("192.0.2.1").expect("it is let in");
    let event = key(1).note("what I have to say", now());
    client.publish(&event).is_true("", "a note");
    assert_eq!(client.ids(&[json!({"authors": [key(1).public()]})]).len(), 1);
    drop(client);
    drop(from("192.0.2.1").expect("it is let in"));
    let mut forger = from("192.0.2.2").expect("it is let in");
    for number in 0..2 {
        let mut forged = key(2).note(&format!("what I never said {number}"), now());
        forged.sig = event.sig.clone();
        forger.publish(&forged).is_false("invalid", "a forged note");
    }
    forger.send(&json!(["CLOSE", "nothing"]));
    relay.await_said("a client was disconnected: its address is banned");
    assert!(from("192.0.2.2").is_err(), "it is banned");
    relay.await_said("a connection was turned away");
    relay
}

#[test]
fn the_log_names_clients_by_an_alias_and_tells_nothing_of_what_they_say() {
    let relay = relay_that_has_much_to_tell(&[]);
    let said = relay.said();
    for secret in ["192.0.2", "have to say", "never said", key(1).public(), key(2).public()] {
        assert!(!said.contains(secret), "{secret} in {said}");
    }
    let named = clients_named(&said);
    let is_alias = |name: &String| {
        name.len() == 12 && name.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
    };
    assert!(named.iter().all(is_alias), "{named:?}");
    // Opened twice by the one, and all that was against the other, are two names.
    let mut different = named.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), 2, "{named:?}");
    assert!(named.len() >= 6, "{named:?}");
}

#[test]
fn the_log_names_clients_by_their_address_where_the_operator_wants_that() {
    let relay = relay_that_has_much_to_tell(&["log.client_addresses=plain"]);
    let named = clients_named(&relay.said());
    assert!(named.iter().all(|name| ["192.0.2.1", "192.0.2.2"].contains(&&**name)), "{named:?}");
}

#[test]
fn a_small_machine_is_enough_without_tuning() {
    // 400 MB of addresses, 64 open files.
    let mut relay = Relay::start_within("ulimit -v 400000; ulimit -n 64");
    relay.await_said("address space is limited");
    relay.await_said("the limit of open files allows fewer connections");
    let mut clients: Vec<_> = (0..10).map(|_| relay.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let note = |n: u64| key(1).note(&format!("note {number} {n}"), 1_700_000_000 + n);
        let notes: Vec<_> = (0..50).map(note).collect();
        client.publish_all(&notes);
    }
    assert_eq!(clients[0].count(&[json!({"kinds": [1]})]), 500);
    relay.assert_serving();
}

#[test]
fn how_long_events_wait_for_a_plugin_is_told_beside_what_it_takes() {
    let command = "plugin.command=while IFS= read -r line; do id=${line#*'\"id\":\"'}; \
                   printf '{\"id\":\"%s\",\"action\":\"accept\",\"msg\":\"\"}\\n' \"${id%%'\"'*}\"; done";
    let relay = Relay::start_with(&[OBSERVED, command]);
    let mut client = relay.connect();
    for content in ["one", "two"] {
        client.publish(&key(1).note(content, now())).is_true("", content);
    }
    let page = Page::of(&relay);
    for name in ["chappe_plugin_wait_seconds_count", "chappe_plugin_answer_seconds_count"] {
        assert_eq!(page.sum(name) as u64, 2, "{name}");
    }
}
