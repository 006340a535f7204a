//! The relay under a service manager: readiness, watchdog, sockets that outlive the process, and
//! the units that the package installs.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::harness::process::{relay_command, send_signal, text};
use crate::harness::tls::{Files, SIGNED};
use crate::harness::{Client, PATIENCE, key};

#[test]
fn the_manager_is_told_when_clients_can_connect_that_all_is_well_and_when_it_stops() {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket can be bound");
    manager.set_read_timeout(Some(PATIENCE)).expect("a period of more than zero");
    let mut child = relay_command(&["serve", "--listen", "127.0.0.1:0", "--data", &data(&folder)])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000")
        .stderr(Stdio::null())
        .spawn()
        .expect("the relay binary starts");
    let ready = heard(&manager);
    assert!(ready.contains("READY=1"), "{ready}");
    let (_, address) = ready.split_once("STATUS=listening on ws://").expect("it says where");
    Client::connect(address.trim()).publish(&key(1).note("ready is ready", 1_700_000_000));
    assert_eq!(heard(&manager).trim(), "WATCHDOG=1");
    assert_eq!(heard(&manager).trim(), "WATCHDOG=1");
    send_signal(&child, libc::SIGTERM);
    while heard(&manager).trim() != "STOPPING=1" {}
    assert!(child.wait().expect("our own child can be waited for").success());
}

#[test]
fn a_socket_of_the_manager_keeps_clients_waiting_while_the_relay_restarts() {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("it is bound").to_string();
    let event = key(1).note("before the restart", 1_700_000_000);
    let mut first = activated([&socket; 2], &data(&folder), &[]);
    Client::connect(&address).publish(&event);
    send_signal(&first, libc::SIGTERM);
    assert!(first.wait().expect("our own child can be waited for").success());

    // Nobody runs, and yet nobody is refused: the client connects and its request waits.
    let waiting = std::thread::spawn(move || {
        Client::connect(&address).ids(&[serde_json::json!({ "ids": [event.id] })])
    });
    let mut second = activated([&socket; 2], &data(&folder), &[]);
    assert_eq!(waiting.join().expect("the client is answered").len(), 1);
    send_signal(&second, libc::SIGTERM);
    assert!(second.wait().expect("our own child can be waited for").success());
}

#[test]
fn tls_is_spoken_at_the_sockets_of_the_manager_whose_ports_are_those_of_tls() {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let address = |at: usize| sockets[at].local_addr().expect("it is bound").to_string();
    let files = Files::of(SIGNED);
    let mut settings = files.settings(&[]);
    settings[0] = format!("tls.listen=[::]:{}", sockets[1].local_addr().expect("bound").port());
    let flags: Vec<&str> = settings.iter().flat_map(|it| ["--set", it.as_str()]).collect();
    let mut relay = activated([&sockets[0], &sockets[1]], &data(&folder), &flags);
    let event = key(1).note("over TLS", 1_700_000_000);
    Client::connect_encrypted(&address(1)).publish(&event).is_true("", "an event");
    let found = Client::connect(&address(0)).ids(&[serde_json::json!({ "ids": [event.id] })]);
    assert_eq!(found.len(), 1);
    send_signal(&relay, libc::SIGTERM);
    assert!(relay.wait().expect("our own child can be waited for").success());
}

#[test]
fn the_units_call_commands_that_exist() {
    let unit = fs::read_to_string("systemd/relay.service").expect("the unit is there");
    let values = |key: &str| -> Vec<String> {
        let lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(values("Type"), ["notify"]);
    let called: Vec<String> = ["ExecStartPre", "ExecStart", "ExecReload"].map(values).concat();
    let own: Vec<&str> =
        called.iter().filter_map(|it| it.strip_prefix("/usr/bin/relay ")).collect();
    assert_eq!(own.len(), 3, "{called:?}");
    for line in own {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.starts_with('$')).collect();
        let help = [&words[..], &["--help"]].concat();
        crate::harness::command(&help).code(0);
    }
}

#[test]
fn completions_are_printed_for_every_shell_that_is_common() {
    for (shell, part) in
        [("bash", "complete -F"), ("zsh", "#compdef relay"), ("fish", "complete -c")]
    {
        crate::harness::command(&["completions", shell]).code(0).says(part).says("import");
    }
    crate::harness::command(&["completions", "tcsh"]).code(2).says("fish");
}

/// Starts the relay the way systemd does with a socket unit: the sockets are the descriptors from 3.
fn activated(sockets: [&TcpListener; 2], data: &str, flags: &[&str]) -> Child {
    let copy = |at: usize| {
        let socket: &TcpListener = sockets[at];
        OwnedFd::from(socket.try_clone().expect("a descriptor can be copied"))
    };
    let relay = relay_command(&[&["serve", "--data", data], flags].concat());
    let script =
        "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ LISTEN_FDS=2 exec \"$0\" \"$@\"";
    Command::new("sh")
        .args(["-c", script])
        .arg(relay.get_program())
        .args(relay.get_args())
        .stdin(Stdio::from(copy(0)))
        .stdout(Stdio::from(copy(1)))
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell starts")
}

fn heard(manager: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let count = manager.recv(&mut bytes).expect("the relay says something in time");
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

fn data(folder: &TempDir) -> String {
    text(&folder.path().join("data")).to_owned()
}
