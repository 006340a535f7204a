//! Other relays on other networks: TLS, SOCKS5 proxies, IPv6; through the commands and `[[peer]]`.

use std::net::TcpListener;
use std::thread::spawn;

use serde_json::json;
use tempfile::TempDir;

use crate::harness::front::{Manner, Socks, encrypted, pass};
use crate::harness::process::{start_with, text};
use crate::harness::{Finished, Relay, command, key, now};

const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chappe/fixtures/tls/ca.pem");

/// A relay that has one event.
fn relay() -> Relay {
    let relay = Relay::start();
    let event = key(1).note("hello", now());
    relay.connect().publish(&event).is_true("", &event);
    relay
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

fn sync(url: &str, settings: &[&str], environment: &[(&str, &str)]) -> Finished {
    let store = folder();
    let mut arguments = vec!["sync", url, "--json", "--data", text(store.path())];
    settings.iter().for_each(|setting| arguments.extend(["--set", *setting]));
    start_with(&arguments, environment).feed(b"").wait()
}

#[track_caller]
fn assert_synced(run: Finished) {
    let said = run.code(0).json();
    assert_eq!(
        (&said["in_sync"], &said["received"]["stored"]),
        (&json!(true), &json!(1)),
        "{said}"
    );
}

#[test]
fn an_encrypted_relay_is_dealt_with_if_an_authority_vouches_for_it() {
    let relay = relay();
    let port = encrypted(relay.address());
    let trusting = [("SSL_CERT_FILE", AUTHORITY)];
    assert_synced(sync(&format!("wss://localhost:{port}"), &[], &trusting));
    assert_synced(sync(&format!("wss://127.0.0.1:{port}"), &[], &trusting));
    // Nobody vouches for it, it is another one, or it does not encrypt.
    let run = sync(&format!("wss://localhost:{port}"), &[], &[]);
    run.code(1).says("agree on encryption with localhost");
    let socks = Socks::start(&format!("127.0.0.1:{port}"), Manner::Lead);
    let proxy = format!("network.clearnet_proxy={}", socks.address);
    let run = sync("wss://other.test", &[&proxy], &trusting);
    run.code(1).says("agree on encryption with other.test");
    let run = sync(&format!("wss://{}", relay.address()), &[], &trusting);
    run.code(1).says("agree on encryption");
    assert_synced(sync("wss://relay.test", &[&proxy], &trusting));
    let names = |it: &str| it == "other.test:443" || it == "relay.test:443";
    assert!(socks.asked().iter().all(|it| names(it)), "{:?}", socks.asked());
}

#[test]
fn every_network_is_reached_through_its_own_proxy_which_looks_the_name_up() {
    let relay = relay();
    for (url, key, asked) in [
        ("ws://abc.onion", "tor", "abc.onion:80"),
        ("ws://abc.b32.i2p:8080", "i2p", "abc.b32.i2p:8080"),
        ("ws://abc.loki/path", "lokinet", "abc.loki:80"),
        ("ws://relay.example.org", "clearnet", "relay.example.org:80"),
    ] {
        let socks = Socks::start(relay.address(), Manner::Lead);
        let proxy = format!("network.{key}_proxy={}", socks.address);
        if url.contains("/path") {
            // The relay has nothing there; it was reached.
            sync(url, &[&proxy], &[]).code(1).says("404");
        } else {
            assert_synced(sync(url, &[&proxy], &[]));
        }
        assert!(socks.asked().iter().all(|it| it == asked), "{url}: {:?}", socks.asked());
    }
    for (url, key) in [("ws://abc.onion", "tor"), ("ws://abc.i2p", "i2p")] {
        sync(url, &[], &[]).code(1).says(&format!("network.{key}_proxy"));
    }
}

#[test]
fn a_proxy_that_refuses_or_hangs_is_told_with_what_is_wrong() {
    for (manner, url, key, problem) in [
        (Manner::Refuse, "ws://abc.onion", "tor", "connect to abc.onion through the proxy"),
        (Manner::Hang, "ws://abc.i2p", "i2p", "reach abc.i2p within 1 s: connecting took longer"),
    ] {
        let socks = Socks::start("127.0.0.1:1", manner);
        let files = folder();
        let path = files.path().join("relay.toml");
        let (address, secs) = (&socks.address, "connect_secs = 1");
        let network = format!("[network]\n{key}_proxy = \"{address}\"\n{key}_{secs}\n");
        std::fs::write(&path, format!("{network}[[peer]]\nurl = \"{url}\"\n")).expect("written");
        Relay::start_on_file(&path).await_said(problem);
    }
}

#[test]
fn no_more_connections_than_a_network_takes_are_opened_at_a_time() {
    let relay = relay();
    for (most, is_right) in [(1, (|count| count == 1) as fn(usize) -> bool), (8, |count| count > 1)]
    {
        let socks = Socks::start(relay.address(), Manner::Lead);
        let proxy = format!("network.tor_proxy={}", socks.address);
        let opening = format!("network.tor_max_opening={most}");
        let urls: Vec<String> = (0..6).map(|n| format!("ws://r{n}.onion")).collect();
        let store = folder();
        let mut arguments = vec!["stream", "--data", text(store.path())];
        arguments.extend(urls.iter().map(String::as_str));
        arguments.extend(["--set", &proxy, "--set", &opening]);
        let running = start_with(&arguments, &[]);
        let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
        while socks.asked().len() < 6 {
            assert!(std::time::Instant::now() < deadline, "{:?}", socks.asked());
            std::thread::yield_now();
        }
        running.signal(libc::SIGINT);
        running.wait().code(130);
        assert!(is_right(socks.most()), "{most}: {} at a time", socks.most());
    }
}

#[test]
fn a_relay_is_reached_by_the_newer_version_of_the_protocol_too() {
    let relay = relay();
    let listener = TcpListener::bind("[::1]:0").expect("this machine has IPv6");
    let port = listener.local_addr().expect("bound").port();
    let to = relay.address().to_owned();
    spawn(move || {
        for client in listener.incoming() {
            let (client, to) = (client.expect("a connection"), to.clone());
            spawn(move || pass(&client, &to));
        }
    });
    assert_synced(sync(&format!("ws://[::1]:{port}"), &[], &[]));
}

#[test]
fn a_peer_has_a_proxy_of_its_own() {
    let there = relay();
    let socks = Socks::start(there.address(), Manner::Lead);
    let files = folder();
    let path = files.path().join("relay.toml");
    let part = format!("[[peer]]\nurl = \"ws://abc.onion\"\nproxy = \"{}\"\n", socks.address);
    std::fs::write(&path, part).expect("files can be written");
    let here = Relay::start_on_file(&path);
    here.await_said("in sync");
    assert!(socks.asked().iter().all(|it| it == "abc.onion:80") && !socks.asked().is_empty());
    let said = command(&["config", "show", "--config", text(&path)]).code(0);
    said.says(&socks.address).says("[[peer]]");
}
