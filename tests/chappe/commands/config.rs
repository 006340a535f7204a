//! `relay config`, the layers of the configuration, and the command line itself.

use std::fs;

use super::{file, folder, path};
use crate::harness::process::{start_with, text};
use crate::harness::{Relay, command, http};

#[test]
fn the_example_is_complete_valid_and_what_the_repository_has() {
    let example = command(&["config", "example"]).code(0);
    let keys = [
        "name",
        "description",
        "contact",
        "path",
        "map_bytes",
        "durability",
        "listen",
        "threads",
        "max_connections",
        "max_message_bytes",
        "max_subscriptions",
        "max_filters",
        "max_limit",
        "default_limit",
        "max_event_tags",
        "max_content_length",
        "created_at_past_secs",
        "created_at_future_secs",
        "outbound_bytes_max",
        "level",
    ];
    for key in keys {
        assert!(example.text().contains(&format!("{key} = ")), "{key} is in the example");
    }
    let files = folder();
    let whole = file(&files, "whole.toml");
    fs::write(&whole, &example.stdout).expect("files can be written");
    command(&["config", "check", "--config", &whole]).code(0);
    // Every key that is commented out is valid with its example value, too; the files that keys
    // name are read, and are not here.
    let uncommented: String = example
        .text()
        .lines()
        .map(|line| match line.strip_prefix("# ").or_else(|| line.strip_prefix('#')) {
            Some(rest) if is_assignment(rest) && !rest.contains("_file = ") => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    fs::write(&whole, uncommented).expect("files can be written");
    command(&["config", "check", "--config", &whole]).code(0);
    fs::write(&whole, "[policy]\nallowed_authors_file = \"/no/such/file\"\n")
        .expect("files can be written");
    command(&["config", "check", "--config", &whole]).refused().says("/no/such/file");
    let root = env!("CARGO_MANIFEST_DIR");
    let kept = fs::read_to_string(format!("{root}/config.toml.example"));
    assert_eq!(kept.expect("the repository has config.toml.example"), example.text());
}

fn is_assignment(text: &str) -> bool {
    let name = text.split(" = ").next().unwrap_or_default();
    // A part that may be there any number of times is commented out with its header.
    text.starts_with("[[")
        || text.contains(" = ")
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[test]
fn a_mistake_is_told_with_file_line_and_the_nearest_key() {
    let files = folder();
    let place = file(&files, "relay.toml");
    let rows = [
        ("[limits]\n\nmax_limt = 5\n", ":3", "max_limit"),
        ("[limits]\nmax_subscription = 5\n", ":2", "max_subscriptions"),
        ("# a comment\n[limit]\nmax_limit = 5\n", ":2", "limits"),
        ("[relay]\nname = 5\n", ":2", "name"),
        ("[limits]\nmax_limit = \"many\"\n", ":2", "max_limit"),
        ("[limits]\nmax_limit = -1\n", ":2", "max_limit"),
        ("[store]\ndurability = \"never\"\n", ":2", "sync"),
        ("[relay]\nname = \"x\"\nname = \"y\"\n", ":3", ""),
        ("[relay\n", ":1", ""),
        ("max_limit = 5\n", ":1", "max_limit"),
    ];
    for (content, line, nearest) in rows {
        fs::write(&place, content).expect("files can be written");
        let run = command(&["config", "check", "--config", &place]).code(2);
        let named = format!("{place}{line}");
        assert!(run.stderr.contains(&named), "{content:?}: {named} in {}", run.describe());
        assert!(run.stderr.contains(nearest), "{content:?}: {nearest} in {}", run.describe());
        // The same stops every command, first of all the relay.
        let serve = command(&["serve", "--config", &place, "--data", path(&files)]).code(2);
        assert!(serve.stderr.contains(&named), "{}", serve.describe());
    }
    let missing = file(&files, "missing.toml");
    command(&["config", "check", "--config", &missing]).code(2).says("missing.toml");
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let files = folder();
    let place = file(&files, "relay.toml");
    let content = "[limits]\nmax_limit = 701\ndefault_limit = 51\nmax_filters = 31\n";
    fs::write(&place, content).expect("files can be written");
    let environment = [("RELAY_LIMITS_MAX_LIMIT", "702"), ("RELAY_LIMITS_DEFAULT_LIMIT", "52")];
    let set = ["--config", &place, "--set", "limits.max_limit=703"];
    let run = start_with(&[&["config", "show"], &set[..]].concat(), &environment).wait().code(0);
    for (value, stale) in [("703", "702"), ("52", "51"), ("31", "701")] {
        assert!(run.text().contains(value), "{value} in {}", run.describe());
        assert!(!run.text().contains(stale), "no {stale} in {}", run.describe());
    }
    type Environment<'a> = &'a [(&'a str, &'a str)];
    let rows: [(Environment<'_>, &[&str], &str); 5] = [
        (&[("RELAY_LIMITS_MAX_LIMT", "5")], &[], "RELAY_LIMITS_MAX_LIMT"),
        (&[("RELAY_LIMITS_MAX_LIMIT", "x")], &[], "RELAY_LIMITS_MAX_LIMIT"),
        (&[], &["--set", "limits.max_limt=5"], "max_limit"),
        (&[], &["--set", "limits.max_limit=x"], "max_limit"),
        (&[], &["--set", "nothing"], "nothing"),
    ];
    for (environment, arguments, said) in rows {
        let run = start_with(&[&["config", "check"], arguments].concat(), environment);
        run.wait().code(2).says(said);
    }
}

#[test]
fn settings_of_a_file_reach_the_relay() {
    let mut relay = Relay::start_with(&["relay.name=From a flag"]);
    let response = http(relay.address(), "GET", "/", &[("Accept", "application/nostr+json")]);
    assert_eq!(response.json()["name"], "From a flag");
    // It goes on talking after it has said where it listens.
    relay.stop(libc::SIGTERM);
    let said = relay.said();
    assert!(said.contains(relay.data()), "it says where its data is: {said}");
    assert!(said.contains("import"), "it says how to import: {said}");
}

#[test]
fn help_and_version_are_data_and_mistakes_are_not() {
    let help = command(&["--help"]).code(0);
    let commands =
        ["serve", "import", "export", "info", "scan", "delete", "compact", "check", "config"];
    for name in commands {
        assert!(help.text().contains(name), "{name} in {}", help.describe());
        let own = command(&[name, "--help"]).code(0);
        let first = own.text().lines().next().unwrap_or_default();
        assert!(!first.is_empty() && !first.ends_with('.'), "{name}: {first:?}");
    }
    let version = command(&["--version"]).code(0);
    assert!(version.text().contains(env!("CARGO_PKG_VERSION")), "{}", version.describe());
    for arguments in [&["serv"] as &[&str], &["serve", "--lisen", "x"], &["scan"]] {
        let run = command(arguments).code(2);
        assert_eq!(run.text(), "", "mistakes are told on stderr: {}", run.describe());
    }
    let files = folder();
    let listen = ["serve", "--listen", "nowhere", "--data", text(files.path())];
    command(&listen).code(2).says("nowhere");
}
