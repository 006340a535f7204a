//! Mailboxes: how threads talk. The only module that knows crossbeam.
//!
//! A bounded mailbox ([`mailbox`]) is where work enters a thread: *full* is a value its sender
//! handles, never a silent drop and never a wait. One that a single thread reads ([`lone_mailbox`])
//! costs less where messages come one by one. An [`Inbox`] is where answers return to a thread
//! that sleeps in its own runtime: it has no bound of its own, because everything in it answers
//! something that was admitted through a bounded mailbox before (I8).

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, TryRecvError, TrySendError};

/// Creates a mailbox that holds at most `capacity` messages.
pub fn mailbox<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = crossbeam_channel::bounded(capacity);
    (Sender { sender, sleeper: None }, Receiver { receiver })
}

/// Creates a mailbox that holds at most `capacity` messages and that one thread reads.
///
/// A [`Receiver`] that finds nothing looks again for a while, giving way to others each time,
/// before it sleeps. This one sleeps at once: a thread to which messages come one by one would only
/// keep others from working.
pub fn lone_mailbox<T>(capacity: usize) -> (Sender<T>, LoneReceiver<T>) {
    let (sender, receiver) = crossbeam_channel::bounded(capacity);
    let sleeper = Arc::<Sleeper>::default();
    (Sender { sender, sleeper: Some(Arc::clone(&sleeper)) }, LoneReceiver { receiver, sleeper })
}

/// The sending end of a mailbox.
#[derive(Debug)]
pub struct Sender<T> {
    sender: crossbeam_channel::Sender<T>,
    /// Whom to wake, if it sleeps in its own way.
    sleeper: Option<Arc<Sleeper>>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender { sender: self.sender.clone(), sleeper: self.sleeper.clone() }
    }
}

/// Why a message was not taken; it is handed back.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused<T> {
    /// The mailbox is full.
    Full(T),
    /// Nobody will ever read it.
    Closed(T),
}

impl<T> Sender<T> {
    /// Puts a message into the mailbox, or hands it back at once.
    pub fn try_send(&self, message: T) -> Result<(), Refused<T>> {
        self.sender.try_send(message).map_err(|error| match error {
            TrySendError::Full(message) => Refused::Full(message),
            TrySendError::Disconnected(message) => Refused::Closed(message),
        })?;
        self.wake();
        Ok(())
    }

    /// Waits for room; only for threads that may block. Hands the message back when the receiver
    /// is gone.
    pub fn send(&self, message: T) -> Result<(), T> {
        self.sender.send(message).map_err(|error| error.0)?;
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        if let Some(sleeper) = &self.sleeper {
            sleeper.wake();
        }
    }

    /// Returns how many messages are waiting.
    pub fn count(&self) -> usize {
        self.sender.len()
    }
}

/// The receiving end of a mailbox.
pub struct Receiver<T> {
    receiver: crossbeam_channel::Receiver<T>,
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Receiver { receiver: self.receiver.clone() }
    }
}

/// What a receiver found.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<T> {
    /// A message.
    Message(T),
    /// Nothing (in time).
    Nothing,
    /// Nothing, and every sender is gone.
    Closed,
}

impl<T> Receiver<T> {
    /// Waits for a message; `None` once every sender is gone and the mailbox is empty.
    pub fn recv(&self) -> Option<T> {
        self.receiver.recv().ok()
    }

    /// Takes a message if there is one.
    pub fn try_recv(&self) -> Received<T> {
        try_recv(&self.receiver)
    }

    /// Waits at most `timeout` for a message.
    pub fn recv_timeout(&self, timeout: Duration) -> Received<T> {
        self.recv_deadline(Instant::now() + timeout)
    }

    /// Waits until `deadline` at most for a message.
    pub fn recv_deadline(&self, deadline: Instant) -> Received<T> {
        match self.receiver.recv_deadline(deadline) {
            Ok(message) => Received::Message(message),
            Err(RecvTimeoutError::Timeout) => Received::Nothing,
            Err(RecvTimeoutError::Disconnected) => Received::Closed,
        }
    }

    /// Returns how many messages are waiting.
    pub fn count(&self) -> usize {
        self.receiver.len()
    }
}

fn try_recv<T>(receiver: &crossbeam_channel::Receiver<T>) -> Received<T> {
    match receiver.try_recv() {
        Ok(message) => Received::Message(message),
        Err(TryRecvError::Empty) => Received::Nothing,
        Err(TryRecvError::Disconnected) => Received::Closed,
    }
}

/// The receiving end of a mailbox that one thread reads.
#[derive(Debug)]
pub struct LoneReceiver<T> {
    receiver: crossbeam_channel::Receiver<T>,
    sleeper: Arc<Sleeper>,
}

impl<T> LoneReceiver<T> {
    /// Takes a message if there is one.
    pub fn try_recv(&self) -> Received<T> {
        try_recv(&self.receiver)
    }

    /// Waits at most `timeout` for a message. That the last sender went is noticed by the end of it.
    pub fn recv_timeout(&self, timeout: Duration) -> Received<T> {
        let first = self.try_recv();
        if timeout.is_zero() || !matches!(first, Received::Nothing) {
            return first;
        }
        let deadline = Instant::now() + timeout;
        loop {
            self.sleeper.lie_down();
            // What was sent before this look is seen, and whoever sends later sees the sleeper.
            let found = self.try_recv();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !matches!(found, Received::Nothing) {
                self.sleeper.get_up();
                return found;
            }
            thread::park_timeout(left);
        }
    }
}

/// A thread that sleeps until somebody wakes it.
#[derive(Debug, Default)]
struct Sleeper {
    is_asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Sleeper {
    /// Says that this thread is about to sleep.
    fn lie_down(&self) {
        self.thread.get_or_init(thread::current);
        self.is_asleep.store(true, Ordering::Release);
        // Pairs with the one in `wake`: of sending and lying down, one sees the other.
        fence(Ordering::SeqCst);
    }

    fn get_up(&self) {
        self.is_asleep.store(false, Ordering::Relaxed);
    }

    /// Wakes the thread if it sleeps, or is about to.
    fn wake(&self) {
        fence(Ordering::SeqCst);
        let is_asleep = self.is_asleep.load(Ordering::Relaxed);
        if is_asleep
            && self.is_asleep.swap(false, Ordering::AcqRel)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

/// The answers on their way to one thread, and the bell that wakes it.
pub struct Inbox<T> {
    sender: crossbeam_channel::Sender<T>,
    receiver: crossbeam_channel::Receiver<T>,
    rung: AtomicBool,
    bell: Box<dyn Fn() + Send + Sync>,
}

impl<T: Send + 'static> Inbox<T> {
    /// Creates an inbox; `bell` wakes its thread and must be cheap and never block.
    pub fn new(bell: impl Fn() + Send + Sync + 'static) -> Arc<Inbox<T>> {
        let (sender, receiver) = crossbeam_channel::unbounded();
        Arc::new(Inbox { sender, receiver, rung: AtomicBool::new(false), bell: Box::new(bell) })
    }

    /// Adds a message and wakes the thread.
    pub fn put(&self, message: T) {
        self.sender.send(message).expect("the inbox holds its own receiver");
        self.ring();
    }

    /// Returns how many messages are waiting.
    pub fn count(&self) -> usize {
        self.receiver.len()
    }

    /// Wakes the thread without a message. Rings once until [`Inbox::answer`].
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            (self.bell)();
        }
    }

    /// Lets the bell ring again; called by the thread before it looks at what there is, so that
    /// nothing put later can be overlooked.
    pub fn answer(&self) {
        self.rung.swap(false, Ordering::AcqRel);
    }

    /// Takes the oldest message, if there is one.
    pub fn take(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn a_full_mailbox_hands_the_message_back() {
        let (sender, receiver) = mailbox(2);
        assert_eq!(sender.try_send(1), Ok(()));
        assert_eq!(sender.try_send(2), Ok(()));
        assert_eq!(sender.try_send(3), Err(Refused::Full(3)));
        assert_eq!(receiver.recv(), Some(1));
        assert_eq!(sender.try_send(3), Ok(()));
        assert_eq!(receiver.count(), 2);
    }

    #[test]
    fn a_mailbox_without_its_other_end_is_closed_but_loses_nothing() {
        let (sender, receiver) = mailbox(2);
        assert_eq!(sender.send(1), Ok(()));
        drop(sender);
        assert_eq!(receiver.try_recv(), Received::Message(1));
        assert_eq!(receiver.try_recv(), Received::Closed);
        let (sender, receiver) = mailbox(2);
        drop(receiver);
        assert_eq!(sender.try_send(1), Err(Refused::Closed(1)));
    }

    #[test]
    fn whoever_sleeps_is_woken_by_every_message() {
        const MESSAGES: u64 = 20_000;
        let (sender, receiver) = lone_mailbox(4);
        let (back, answers) = mailbox(1);
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut next = 0;
                while next < MESSAGES {
                    match receiver.recv_timeout(Duration::from_secs(60)) {
                        Received::Message(number) => {
                            assert_eq!(number, next);
                            next += 1;
                            // Every other time it is not waited for, so that both meet anywhere.
                            if number % 2 == 0 {
                                back.send(number).unwrap();
                            }
                        }
                        other => panic!("{other:?} instead of message {next}"),
                    }
                }
            });
            for number in 0..MESSAGES {
                sender.send(number).unwrap();
                if number % 2 == 0 {
                    assert_eq!(answers.recv(), Some(number));
                }
            }
        });
    }

    #[test]
    fn a_lone_receiver_gives_up_in_time_and_hears_of_the_end() {
        let (sender, receiver) = lone_mailbox::<u8>(1);
        assert_eq!(receiver.recv_timeout(Duration::from_millis(1)), Received::Nothing);
        assert_eq!(sender.try_send(1), Ok(()));
        assert_eq!(sender.try_send(2), Err(Refused::Full(2)));
        drop(sender);
        assert_eq!(receiver.recv_timeout(Duration::ZERO), Received::Message(1));
        assert_eq!(receiver.recv_timeout(Duration::from_secs(60)), Received::Closed);
    }

    #[test]
    fn the_bell_rings_once_until_it_is_answered() {
        let rings = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&rings);
        let inbox = Inbox::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        inbox.put('a');
        inbox.put('b');
        inbox.ring();
        assert_eq!(rings.load(Ordering::Relaxed), 1);
        inbox.answer();
        assert_eq!((inbox.take(), inbox.take(), inbox.take()), (Some('a'), Some('b'), None));
        inbox.put('c');
        assert_eq!(rings.load(Ordering::Relaxed), 2);
    }
}
