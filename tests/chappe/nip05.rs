//! NIP-05 as a rule of who may publish: domains are asked, believed, asked again, and not waited for.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::json;

use crate::harness::{Client, Key, PATIENCE, Relay, key, now};

/// A domain on this machine, where HTTP will do.
struct Domain {
    name: String,
    said: Arc<Mutex<Said>>,
}

#[derive(Default)]
struct Said {
    names: HashMap<String, String>,
    /// What is answered in place of the names.
    instead: Option<String>,
    /// What was asked.
    paths: Vec<String>,
}

impl Domain {
    fn start() -> Domain {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let name = listener.local_addr().expect("it is bound").to_string();
        let said = Arc::<Mutex<Said>>::default();
        let shared = Arc::clone(&said);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.expect("a connection"));
                let (mut first, mut line) = (String::new(), String::new());
                let _ = stream.read_line(&mut first);
                while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                    line.clear();
                }
                let answer = {
                    let mut said = shared.lock().expect("nobody panics with it");
                    said.paths.extend(first.split(' ').nth(1).map(str::to_owned));
                    let body = json!({ "names": said.names }).to_string();
                    let length = body.len();
                    let usual =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
                    said.instead.clone().unwrap_or(usual)
                };
                let _ = stream.get_mut().write_all(answer.as_bytes());
            }
        });
        Domain { name, said }
    }

    fn knows(&self, name: &str, key: &Key) {
        self.change(|said| drop(said.names.insert(name.to_owned(), key.public().to_owned())));
    }

    fn change(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.said.lock().expect("nobody panics with it"));
    }

    fn asked(&self) -> usize {
        self.said.lock().expect("nobody panics with it").paths.len()
    }

    fn relay(&self, settings: &[&str]) -> Relay {
        let domains = format!("policy.nip05_domains={}", self.name);
        Relay::start_with(&[&[domains.as_str()], settings].concat())
    }

    /// Publishes a profile that claims a name here.
    fn claim(&self, client: &mut Client, who: &Key, name: &str, at: u64) {
        let content = json!({ "name": "x", "nip05": format!("{name}@{}", self.name) }).to_string();
        client.publish(&who.event(0, &content, &[], at)).is_true("", "profiles are for anybody");
    }
}

/// Publishes until that is taken, or not any more.
#[track_caller]
fn wait_until(client: &mut Client, who: &Key, is_taken: bool) {
    let patience = Instant::now() + PATIENCE;
    for number in 0.. {
        // A note of its own each time.
        let verdict = client.publish(&who.note(&format!("{number}"), now()));
        if verdict.has_prefix("restricted") != is_taken {
            return;
        }
        assert!(Instant::now() < patience, "taken: {is_taken}");
    }
}

#[test]
fn whom_a_domain_names_may_publish_as_soon_as_it_has_said_so() {
    let domain = Domain::start();
    let (bob, eve, stranger) = (key(2), key(3), key(4));
    domain.knows("bob", &bob);
    let relay = domain.relay(&[]);
    let mut client = relay.connect();
    client.publish(&bob.note("x", now())).is_false("restricted", "nothing is claimed");
    let refused = client.publish(&stranger.note("x", now()));
    assert!(format!("{refused:?}").contains(&domain.name), "{refused:?} names the domain");
    domain.claim(&mut client, &bob, "bob", now() - 20);
    wait_until(&mut client, &bob, true);
    domain.claim(&mut client, &eve, "bob", now() - 20);
    wait_for_question(&domain, 2);
    client.publish(&eve.note("x", now())).is_false("restricted", "the name is bob's");
    client.publish(&stranger.note("x", now())).is_false("restricted", "nothing is claimed");
    let paths = domain.said.lock().expect("nobody panics with it").paths.clone();
    assert_eq!(paths[0], "/.well-known/nostr.json?name=bob");
    // Another profile, without a name: it counts at once.
    client.publish(&bob.event(0, "{}", &[], now() - 10)).is_true("", "a profile");
    wait_until(&mut client, &bob, false);
}

fn wait_for_question(domain: &Domain, count: usize) {
    let patience = Instant::now() + PATIENCE;
    while domain.asked() < count {
        assert!(Instant::now() < patience, "the domain is asked {count} times");
        std::thread::yield_now();
    }
}

#[test]
fn what_was_confirmed_is_there_after_a_restart_without_asking_and_asked_again_later() {
    let domain = Domain::start();
    let bob = key(2);
    domain.knows("bob", &bob);
    let mut relay = domain.relay(&["policy.nip05_refresh_secs=10"]);
    domain.claim(&mut relay.connect(), &bob, "bob", now());
    wait_until(&mut relay.connect(), &bob, true);
    domain
        .change(|said| said.instead = Some("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".into()));
    relay.kill();
    relay.restart();
    wait_until(&mut relay.connect(), &bob, true);
    // A domain that cannot be asked changes nothing yet; one that names somebody else does.
    let before = domain.asked();
    wait_for_question(&domain, before + 1);
    relay.connect().publish(&bob.note("y", now())).is_true("", "still confirmed");
    domain.change(|said| (said.instead, said.names) = (None, HashMap::new()));
    relay.kill();
    relay.restart();
    wait_until(&mut relay.connect(), &bob, false);
}

#[test]
fn answers_that_are_none_confirm_nothing() {
    let domain = Domain::start();
    domain.knows("bob", &key(2));
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://{}/elsewhere\r\nContent-Length: 0\r\n\r\n",
        domain.name
    );
    let mut relay = domain.relay(&[]);
    let mut client = relay.connect();
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(5 << 20));
    let answers = [redirect, "nonsense\r\n\r\n".to_owned(), String::new(), endless];
    for (number, answer) in (10..).zip(answers) {
        domain.change(|said| said.instead = Some(answer));
        let asked = domain.asked();
        domain.claim(&mut client, &key(number), "bob", now());
        wait_for_question(&domain, asked + 1);
        client.publish(&key(number).note("x", now())).is_false("restricted", number);
    }
    relay.await_said("does not answer");
    domain.change(|said| said.instead = None);
    domain.claim(&mut client, &key(2), "bob", now());
    wait_until(&mut client, &key(2), true);
    relay.assert_serving();
}
