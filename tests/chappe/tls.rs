//! TLS of the relay's own: everything works over it, nothing that speaks to it harms anybody, and
//! certificates are renewed while clients stay.

use std::fs;
use std::io::{Read, Write};
use std::time::Instant;

use serde_json::json;

use crate::harness::client::encrypted_url;
use crate::harness::management::post_over;
use crate::harness::process::text;
use crate::harness::raw::{Mask, UPGRADE};
use crate::harness::tls::{Files, Line, OWN, Pair, SIGNED, pem};
use crate::harness::{
    Call, Client, PATIENCE, RawSocket, Relay, Response, base64, command, http, key, now,
};

/// A relay that speaks TLS, and the files of its certificate.
fn relay(pair: Pair, settings: &[&str]) -> (Relay, Files) {
    let files = Files::of(pair);
    let all = files.settings(settings);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    (Relay::start_with(&all), files)
}

/// Asks for something on a connection of its own.
fn https(address: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    RawSocket::open_encrypted(address).request(method, path, headers, "localhost")
}

/// The number that `/metrics` has for a name with labels.
fn metric(relay: &Relay, name: &str) -> u64 {
    let said = relay.said();
    let address = said.split_once("  metrics       http://").expect("it says where").1;
    let address = address.split('/').next().expect("a path follows");
    let page = http(address, "GET", "/metrics", &[]).body;
    let page = String::from_utf8(page).expect("metrics are text");
    let lines = page.lines().filter_map(|line| line.rsplit_once(' '));
    let of_name = lines.filter(|(key, _)| key.starts_with(name));
    of_name.map(|(_, value)| value.parse::<u64>().expect("a whole number")).sum()
}

#[test]
fn everything_that_is_at_the_plain_address_is_there_over_tls() {
    let (relay, _files) = relay(SIGNED, &["metrics.listen=127.0.0.1:0"]);
    let address = relay.encrypted_address();
    let accept = [("Accept", "application/nostr+json")];
    let document = https(&address, "GET", "/", &accept).json();
    assert_eq!(document, http(relay.address(), "GET", "/", &accept).json());
    assert_eq!(https(&address, "GET", "/pages/counters.json", &[]).status, 200);
    for path in ["/", "/admin", "/nothing"] {
        let (over, plain) =
            (https(&address, "GET", path, &[]), http(relay.address(), "GET", path, &[]));
        assert_eq!((over.status, over.body), (plain.status, plain.body), "{path}");
    }
    let (mut here, mut there) = (relay.connect(), Client::connect_encrypted(&address));
    assert!(here.stored("all", &[json!({"kinds": [1]})]).is_empty());
    assert!(there.stored("all", &[json!({"kinds": [1]})]).is_empty());
    there.authenticate(&key(3));
    let event = key(1).note("over TLS", now());
    there.publish(&event).is_true("", "an event over TLS");
    for client in [&mut here, &mut there] {
        assert_eq!(client.live("all"), event);
    }
    assert_eq!(there.ids(&[json!({"ids": [event.id]})]).len(), 1);
    assert_eq!(there.count(&[json!({"kinds": [1]})]), 1);
    assert!(metric(&relay, "chappe_tls_handshakes_total") >= 6);
    assert_eq!(metric(&relay, "chappe_tls_handshakes_failed_total"), 0);
    assert!(metric(&relay, "chappe_tls_certificate_days_left") > 36_000);
}

#[test]
fn administrators_call_over_tls() {
    let named = format!("management.admins={}", key(1).public());
    let (relay, _files) = relay(SIGNED, &[&named]);
    let address = relay.encrypted_address();
    let admin = key(1);
    let mut call = Call::new(&address, &admin, "supportedmethods", &json!([]));
    call.url = encrypted_url(&address).replace("wss:", "https:");
    let authorization = format!("Nostr {}", base64(call.authorization().line().as_bytes()));
    let line = RawSocket::open_encrypted(&address);
    let answer = post_over(line, "localhost", &call.body, &[("Authorization", &authorization)]);
    assert_eq!(answer.status, 200);
    assert!(answer.json()["result"].is_array(), "{answer:?}");
}

#[test]
fn both_versions_carry_large_messages_in_both_directions() {
    let (relay, _files) = relay(OWN, &[]);
    let address = relay.encrypted_address();
    let events: Vec<_> = (0..60)
        .map(|n| key(2).note(&format!("{n} {}", "large ".repeat(20_000)), 1_700_000_000 + n))
        .collect();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let line = Line::open(&address).encrypt_by(&[version]);
        let mut client = Client::over(line, encrypted_url(&address), &[]).expect("an upgrade");
        for event in &events {
            client.publish(event).is_true("", "a large event");
        }
        // Seven megabytes, which the socket takes in many pieces.
        let mut found = client.stored("large", &[json!({"authors": [key(2).public()]})]);
        found.reverse();
        assert!(found == events, "{version:?}");
    }
}

#[test]
fn many_clients_are_served_at_a_time_and_each_is_told() {
    let (relay, _files) = relay(SIGNED, &[]);
    let address = relay.encrypted_address();
    let mut clients: Vec<Client> = (0..100).map(|_| Client::connect_encrypted(&address)).collect();
    for client in &mut clients {
        client.stored("live", &[json!({"kinds": [1], "limit": 0})]);
    }
    let event = key(1).note("to all", now());
    clients[0].publish(&event).is_true("", "an event");
    for client in &mut clients {
        assert_eq!(client.live("live"), event);
    }
}

#[test]
fn who_does_not_speak_tls_is_told_or_hung_up_on_and_counted() {
    let (mut relay, _files) = relay(SIGNED, &["metrics.listen=127.0.0.1:0"]);
    let address = relay.encrypted_address();
    let answer = http(&address, "GET", "/", &[]);
    assert_eq!(answer.status, 400);
    assert!(String::from_utf8_lossy(&answer.body).contains("wss://"), "{answer:?}");
    assert_eq!(http(&address, "GET", "/", &UPGRADE).status, 400);
    let hello = hello();
    let mut starts: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"\x00\x00\x00\x00 no protocol at all".to_vec(),
        b"\x16".to_vec(),
        b"\x16\x03\x01\xff\xff".to_vec(),
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff".to_vec(),
        b"\x16\x03\x01\x00\x00".repeat(1000),
        // A message of the handshake that says it is long, in records of a byte.
        [&b"\x16\x03\x01\x00\x04\x01\x00\xff\xff"[..], &b"\x16\x03\x01\x00\x01x".repeat(20_000)]
            .concat(),
        hello[..hello.len() / 2].to_vec(),
        [&hello[..], b"\x17\x03\x03\x00\x05hello"].concat(),
    ];
    for place in (0..hello.len()).step_by(7) {
        let mut garbled = hello.clone();
        garbled[place] ^= 0x55;
        starts.push(garbled);
    }
    for start in &starts {
        let mut socket = RawSocket::open(&address);
        socket.send(start);
        socket.finish_sending();
        socket.read_to_end();
    }
    relay.assert_serving();
    Client::connect_encrypted(&address).assert_quiet();
    assert!(metric(&relay, "chappe_tls_handshakes_failed_total{reason=\"plain\"}") >= 3);
    assert!(metric(&relay, "chappe_tls_handshakes_failed_total{reason=\"refused\"}") >= 3);
    assert!(metric(&relay, "chappe_tls_handshakes_failed_total{reason=\"gone\"}") >= 2);
}

/// What a client says first.
fn hello() -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let Line::Encrypted(mut stream) = Line::open(&address).encrypt() else { unreachable!() };
    let mut bytes = Vec::new();
    stream.conn.write_tls(&mut bytes).expect("memory takes all");
    bytes
}

#[test]
fn the_end_is_announced_whoever_brings_it() {
    let (mut relay, _files) = relay(SIGNED, &[]);
    let address = relay.encrypted_address();
    let mut page = RawSocket::open_encrypted(&address);
    page.request("GET", "/", &[("Connection", "close")], "localhost");
    assert!(page.line().ends_in_order(), "after an answer");

    let upgraded = || {
        let mut socket = RawSocket::open_encrypted(&address);
        assert_eq!(socket.request("GET", "/", &UPGRADE, "localhost").status, 101);
        socket
    };
    let mut client = upgraded();
    client.send_frame(0x88, Mask::Yes, b"\x03\xe8");
    assert!(client.line().ends_in_order(), "after the client's farewell");

    let mut client = upgraded();
    let Line::Encrypted(stream) = client.line() else { unreachable!() };
    stream.conn.send_close_notify();
    stream.flush().expect("the relay reads");
    assert!(client.line().ends_in_order(), "after the client's end of TLS");

    let mut client = upgraded();
    client.send_frame(0x82, Mask::Yes, b"binary");
    client.send_frame(0x88, Mask::Yes, b"");
    assert!(client.line().ends_in_order(), "after a violation");

    let mut client = upgraded();
    client.read_frame();
    relay.signal(libc::SIGTERM);
    assert_eq!(client.end(), Some(1001));
    client.send_frame(0x88, Mask::Yes, b"");
    assert!(client.line().ends_in_order(), "when the relay stops");
    assert!(relay.stop(libc::SIGTERM).success());
}

#[test]
fn a_client_may_change_its_keys_on_the_way() {
    let (relay, _files) = relay(SIGNED, &[]);
    let mut socket = RawSocket::open_encrypted(&relay.encrypted_address());
    assert_eq!(socket.request("GET", "/", &UPGRADE, "localhost").status, 101);
    socket.read_frame();
    for n in 0..20 {
        let Line::Encrypted(stream) = socket.line() else { unreachable!() };
        stream.conn.refresh_traffic_keys().expect("TLS 1.3");
        socket.send_frame(0x89, Mask::Yes, &[n]);
        let pong = crate::harness::raw::Frame::Data(10, vec![n]);
        assert_eq!(socket.read_frame(), pong);
    }
}

#[test]
fn nobody_is_met_whom_the_gate_refuses() {
    // A trusted proxy says with each request for whom it speaks; there is none here.
    let denied = ["guard.exempt=", "guard.denied=127.0.0.1", "server.trusted_proxies="];
    let settings = [&denied[..], &["metrics.listen=127.0.0.1:0"]].concat();
    let (relay, _files) = relay(SIGNED, &settings);
    let mut socket = RawSocket::open(&relay.encrypted_address());
    socket.send(&hello());
    assert_eq!(socket.read_to_end(), b"");
    assert_eq!(metric(&relay, "chappe_tls_handshakes"), 0);
    assert_eq!(metric(&relay, "chappe_connections_refused_total{reason=\"banned\"}"), 1);
}

#[test]
fn a_proxy_names_its_client_before_the_handshake() {
    let settings = ["guard.exempt=", "guard.denied=192.0.2.9", "server.proxy_naming=protocol"];
    let (relay, _files) = relay(SIGNED, &settings);
    let address = relay.encrypted_address();
    let begin = |client: &str| {
        let mut line = Line::open(&address);
        let header = format!("PROXY TCP4 {client} 127.0.0.1 5 443\r\n");
        line.write_all(header.as_bytes()).expect("a new connection takes a few bytes");
        line
    };
    let client = Client::over(begin("192.0.2.1").encrypt(), encrypted_url(&address), &[]);
    client.expect("an upgrade").assert_quiet();
    let mut refused = begin("192.0.2.9");
    refused.write_all(&hello()).expect("a new connection takes a few bytes");
    let mut bytes = Vec::new();
    let _ = refused.read_to_end(&mut bytes);
    assert_eq!(bytes, b"");
}

/// A relay that reads a file, in which the certificate is named.
fn configured(files: &Files, others: &str) -> Relay {
    let path = files.path("relay.toml");
    fs::write(&path, files.section() + others).expect("files can be written");
    Relay::start_on_file(&path)
}

#[track_caller]
fn until_shown(address: &str, pair: Pair) {
    let deadline = Instant::now() + PATIENCE;
    while Line::open(address).encrypt().certificate() != pair.certificate {
        assert!(Instant::now() < deadline, "in the end the other certificate is shown");
    }
}

#[test]
fn a_renewed_certificate_is_shown_to_whoever_comes_and_nobody_has_to_go() {
    let files = Files::of(SIGNED);
    let relay = configured(&files, "");
    let address = relay.encrypted_address();
    let mut client = Client::connect_encrypted(&address);
    client.stored("live", &[json!({"kinds": [1], "limit": 0})]);
    until_shown(&address, SIGNED);
    files.put(OWN);
    until_shown(&address, OWN);
    files.put(SIGNED);
    relay.signal(libc::SIGHUP);
    until_shown(&address, SIGNED);
    relay.await_said("there is another certificate, which expires in ");
    let event = key(1).note("the same connection", now());
    Client::connect_encrypted(&address).publish(&event).is_true("", "an event");
    assert_eq!(client.live("live"), event);
    assert!(!relay.said().contains("stays as it was"), "{}", relay.said());
}

#[test]
fn a_renewed_pair_that_is_broken_leaves_the_old_one_and_other_settings_are_taken() {
    let files = Files::of(SIGNED);
    let relay = configured(&files, "");
    let address = relay.encrypted_address();
    let kept = |what: &str| {
        relay.signal(libc::SIGHUP);
        relay.await_said(what);
        assert_eq!(Line::open(&address).encrypt().certificate(), SIGNED.certificate, "{what}");
    };
    files.put_text("chain.pem", "");
    kept("of no use: tls.certificate_file: ");
    files.put_text("chain.pem", &pem("CERTIFICATE", OWN.certificate));
    kept("the key is not that of the certificate");
    files.put_text("chain.pem", &pem("CERTIFICATE", &expired()));
    kept("the new one has expired already");
    fs::remove_file(files.path("key.pem")).expect("files can be removed");
    let configuration = files.section() + "[relay]\nname = \"Other\"\n";
    fs::write(files.path("relay.toml"), configuration).expect("files can be written");
    kept("of no use: tls.key_file: ");
    relay.await_said("relay.name is \"Other\"");
    let said = relay.said();
    assert!(said.contains("ERROR") && said.contains("stays as it was (expires in 36"), "{said}");
    files.put(OWN);
    until_shown(&address, OWN);
}

/// The signed certificate as one that ended in 2020; nobody checks its signature but clients.
fn expired() -> Vec<u8> {
    let mut bytes = SIGNED.certificate.to_vec();
    let end = bytes.windows(4).position(|digits| digits == b"2126").expect("it ends in 2126");
    bytes[end..end + 4].copy_from_slice(b"2020");
    // It began in this year, by two digits.
    let begin = bytes.windows(6).position(|it| it == b"261121").expect("it began in 2026");
    bytes[begin..begin + 2].copy_from_slice(b"19");
    bytes
}

#[test]
fn mistakes_are_told_by_the_check_and_stop_the_start() {
    let files = Files::of(SIGNED);
    let path = files.path("relay.toml");
    let both = files.section();
    let line = |name: &str| {
        let named = both.lines().find(|line| line.starts_with(name));
        format!("{}\n", named.expect("it is in the section"))
    };
    let check = |configuration: &str| {
        fs::write(&path, configuration).expect("files can be written");
        command(&["config", "check", "--config", text(&path)])
    };
    let without = |name: &str| both.replace(&line(name), "");
    let same_port = format!("[server]\nlisten = \"127.0.0.1:7443\"\n{both}").replace(":0", ":7443");
    let rows: [(String, &str); 4] = [
        (without("key_file"), "tls.certificate_file: expected the file with its key"),
        (without("certificate_file"), "tls.key_file: expected the file with its certificate"),
        (both.replace("[\"127.0.0.1:0\"]", "[]"), "tls.listen: expected an address"),
        (same_port, "tls.listen: expected another port than that of server.listen, found 7443"),
    ];
    for (configuration, expected) in &rows {
        check(configuration).code(2).says(expected).says("relay.toml:");
    }
    let key_says = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
    let rows: [(&str, String, &str); 7] = [
        ("chain.pem", "no PEM".to_owned(), "expected certificates in PEM"),
        ("chain.pem", key_says("CERTIFICATE"), "expected a certificate of X.509"),
        ("chain.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n".to_owned(), "expected PEM"),
        ("chain.pem", pem("CERTIFICATE", OWN.certificate), "is not that of the certificate"),
        ("key.pem", pem("CERTIFICATE", OWN.certificate), "expected a private key in PEM"),
        ("key.pem", key_says("PRIVATE KEY"), "expected a key of RSA"),
        ("key.pem", key_says("ENCRYPTED PRIVATE KEY"), "without a pass phrase"),
    ];
    for (name, content, expected) in &rows {
        files.put(SIGNED);
        files.put_text(name, content);
        check(&both).code(2).says(expected).says("tls.").says(".pem");
    }
    let data = files.path("data");
    let serve = ["serve", "--config", text(&path), "--data", text(&data)];
    command(&serve).code(2).says("without a pass phrase");
    fs::remove_file(files.path("key.pem")).expect("files can be removed");
    check(&both).code(2).says("tls.key_file").says("No such file");
}

#[test]
fn what_clients_would_stumble_over_is_told_before_they_do() {
    let files = Files::of(SIGNED);
    let path = files.path("relay.toml");
    let check = |others: &str| {
        fs::write(&path, files.section() + others).expect("files can be written");
        command(&["config", "check", "--config", text(&path)]).code(0)
    };
    check("").says("warning: relay.url is not set").says("certificate of who vouches for it");
    let url = "[relay]\nurl = [\"wss://relay.example.org\", \"ws://x.onion\"]\n";
    let checked = check(url).says("the certificate is not for wss://relay.example.org");
    assert!(!checked.stderr.contains("onion"), "{}", checked.stderr);
    let url = "[relay]\nurl = [\"wss://relay.test\", \"wss://[::1]:443\", \"wss://127.0.0.1\"]\n";
    let checked = check(url);
    assert!(!checked.stderr.contains("is not for"), "{}", checked.stderr);
    files.put_text("chain.pem", &pem("CERTIFICATE", &expired()));
    check(url).says("warning: the certificate has expired");
    let chain = pem("CERTIFICATE", SIGNED.certificate) + &pem("CERTIFICATE", OWN.certificate);
    files.put_text("chain.pem", &chain);
    fs::set_permissions(files.path("key.pem"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("it is our own");
    let checked = check(url);
    assert!(!checked.stderr.contains("warning"), "{}", checked.stderr);
}
