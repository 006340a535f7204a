//! A line between a client and a relay that is slow, breaks, or garbles what it carries.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// What the line does to a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    /// How long every byte is on its way, in each direction.
    pub(crate) delay: Duration,
    /// After how many bytes from the relay both ends are hung up.
    pub(crate) cut_after: Option<usize>,
    /// Which byte from the relay has a bit turned over.
    pub(crate) garble_at: Option<usize>,
}

/// A listening line. It ends with the process.
pub(crate) struct Proxy {
    address: String,
    to: Arc<Mutex<String>>,
    connections: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts a line to an address; the n-th connection has the n-th trouble, later ones the last.
    pub(crate) fn start(to: &str, troubles: Vec<Trouble>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let (connections, bytes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let to = Arc::new(Mutex::new(to.to_owned()));
        let (count, carried, toward) =
            (Arc::clone(&connections), Arc::clone(&bytes), Arc::clone(&to));
        spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let number = count.fetch_add(1, Ordering::SeqCst);
                let last = troubles.last().copied().unwrap_or_default();
                let trouble = troubles.get(number).copied().unwrap_or(last);
                let to = toward.lock().expect("nobody panics with the lock").clone();
                let Ok(server) = TcpStream::connect(&to) else { continue };
                let up = Trouble { cut_after: None, garble_at: None, ..trouble };
                carry(&client, &server, up, &carried);
                carry(&server, &client, trouble, &carried);
            }
        });
        Proxy { address, to, connections, bytes }
    }

    /// Leads to another address from here on.
    pub(crate) fn lead_to(&self, to: &str) {
        to.clone_into(&mut self.to.lock().expect("nobody panics with the lock"));
    }

    /// The address as a URL.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many bytes were carried in both directions.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }
}

/// Carries one direction: a reader, and a writer that holds each piece for the delay.
fn carry(from: &TcpStream, to: &TcpStream, trouble: Trouble, carried: &Arc<AtomicUsize>) {
    let (mut from, to) = (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
    let _ = to.set_nodelay(true);
    let (sender, pieces) = channel();
    let carried = Arc::clone(carried);
    spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            carried.fetch_add(count, Ordering::SeqCst);
            if sender.send((Instant::now() + trouble.delay, buffer[..count].to_vec())).is_err() {
                break;
            }
        }
    });
    spawn(move || deliver(&pieces, to, trouble));
}

fn deliver(pieces: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream, trouble: Trouble) {
    let mut count = 0;
    for (due, mut piece) in pieces {
        sleep(due.saturating_duration_since(Instant::now()));
        if let Some(byte) = trouble.garble_at.and_then(|at| piece.get_mut(at.checked_sub(count)?)) {
            *byte ^= 0x10;
        }
        let left = trouble.cut_after.map_or(usize::MAX, |most| most - count);
        let part = &piece[..piece.len().min(left)];
        count += part.len();
        if to.write_all(part).is_err() || part.len() < piece.len() {
            break;
        }
    }
    // Both ends, also of the other direction.
    let _ = to.shutdown(Shutdown::Both);
}
