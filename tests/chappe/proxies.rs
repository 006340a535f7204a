//! Proxies: whom a connection belongs to, and whose word about that is taken.

use crate::harness::{Client, RawSocket, Relay, key, now};

/// A relay on which each address may publish one event.
fn relay(settings: &[&str]) -> Relay {
    let rate = "rates_per_address.events=1/day";
    Relay::start_with(&[&["guard.exempt=", rate], settings].concat())
}

/// Publishes an event over a connection that begins so; returns whether it was taken.
#[track_caller]
fn may_publish(relay: &Relay, prefix: &[u8], headers: &[(&str, &str)]) -> bool {
    let mut client = Client::connect_through(relay.address(), prefix, headers)
        .unwrap_or_else(|status| panic!("the upgrade succeeds, not {status}"));
    let verdict = client.publish(&key(1).event(1, &fastrand::u64(..).to_string(), &[], now()));
    assert!(verdict.accepted || verdict.has_prefix("rate-limited"), "{verdict:?}");
    verdict.accepted
}

#[test]
fn the_client_is_the_last_address_that_is_no_trusted_proxy() {
    let relay = relay(&["server.trusted_proxies=127.0.0.1,10.0.0.0/8"]);
    let name = "X-Forwarded-For";
    let rows: [(&[(&str, &str)], bool); 8] = [
        (&[(name, "192.0.2.1")], true),
        (&[(name, "192.0.2.1")], false),
        (&[(name, "192.0.2.55, 192.0.2.1")], false),
        (&[(name, "192.0.2.1"), (name, "10.1.2.3")], false),
        (&[(name, "192.0.2.2"), (name, "10.1.2.3, 10.1.2.4")], true),
        (&[(name, "nonsense")], true),
        (&[], false),
        (&[(name, "2001:db8::1")], true),
    ];
    for (headers, expected) in rows {
        assert_eq!(may_publish(&relay, b"", headers), expected, "{headers:?}");
    }
}

#[test]
fn nobody_else_is_believed() {
    let relay = relay(&["server.trusted_proxies="]);
    assert!(may_publish(&relay, b"", &[("X-Forwarded-For", "192.0.2.1")]));
    assert!(!may_publish(&relay, b"", &[("X-Forwarded-For", "192.0.2.2")]));
}

#[test]
fn the_proxy_protocol_names_the_client_in_both_versions() {
    let relay = relay(&["server.proxy_naming=protocol"]);
    let binary = |last: u8| {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f".to_vec();
        // Addresses and ports, and something that nobody knows.
        header.extend([192, 0, 2, last, 127, 0, 0, 1, 1, 2, 0, 80, 0xee, 0, 0]);
        header
    };
    let rows: [(Vec<u8>, bool); 7] = [
        (b"PROXY TCP4 192.0.2.1 127.0.0.1 5 80\r\n".to_vec(), true),
        (b"PROXY TCP4 192.0.2.1 127.0.0.1 6 80\r\n".to_vec(), false),
        (binary(1), false),
        (binary(2), true),
        (b"PROXY TCP6 2001:db8::1 ::1 5 80\r\n".to_vec(), true),
        (b"PROXY UNKNOWN\r\n".to_vec(), true),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0".to_vec(), false),
    ];
    for (prefix, expected) in rows {
        // A header that the client may have sent says nothing.
        let headers = [("X-Forwarded-For", "192.0.2.99")];
        assert_eq!(may_publish(&relay, &prefix, &headers), expected, "{prefix:?}");
    }
}

#[test]
fn a_trusted_proxy_that_names_nobody_is_not_answered() {
    let mut relay = relay(&["server.proxy_naming=protocol"]);
    let starts: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PROXY TCP4 nonsense\r\n",
        b"PROXY TCP4 192.0.2.1 127.0.0.1 5 80 and much more than a line of this may ever have, \
            which is one hundred and seven bytes\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
    ];
    for start in starts {
        let mut socket = RawSocket::open(relay.address());
        socket.send(start);
        socket.finish_sending();
        assert_eq!(socket.read_to_end(), b"", "{start:?}");
    }
    assert!(may_publish(&relay, b"PROXY UNKNOWN\r\n", &[]));
    let said = relay.said();
    assert!(!said.contains("panicked"), "{said}");
    relay.stop(15);
}
