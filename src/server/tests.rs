//! A core without sockets: clients talk to it directly, the pool's jobs are done when a test says
//! so, and the writer is the real one. So the order in which a commit, a slice, a delivery and a
//! message meet can be chosen at random.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::caretaker::Maintenance;
use super::connection::Talk;
use super::core::{Core, CoreParts, Inboxes, Message, More, Relay};
use super::in_force::InForce;
use super::management;
use super::negentropy::Kept;
use super::pages::Counters;
use super::plugin::{self, OnFailure, PluginSettings, Question};
use super::pool::{self, JobReceiver};
use super::render::SliceSize;
use super::settings::{
    About, Compression, LiveSettings, ManagementSettings, MembershipSettings, PageSettings, Proxies,
};
use super::warden::{Retention, Sweeps};
use super::wishes::Wishes;
use super::work::{Tools, Worker};
use crate::address::{Aliases, ClientNaming};
use crate::clock::Clock;
use crate::deflate::Inflater;
use crate::fanout::{self, RingLimits};
use crate::ingest::{self, WriterThread};
use crate::mailbox::Inbox;
use crate::metrics::CaretakerMetrics;
use crate::net::{Conversation, Encoding, Ending, Flow, Outbound, OutboundLimits};
use crate::nostr::delegation::Treatment;
use crate::nostr::{Event, Keypair, Kind};
use crate::policy::{
    Allowance, BanRules, Circle, Crowd, Invites, MembershipTerms, Misconduct, Quotas, Standings,
};
use crate::query::{Budget, QueryLimits, ReconcileLimits};
use crate::session::{
    Authentication, Commitment, EventLimits, NegentropyLimits, OwnNames, RestrictedKinds,
    SessionLimits, WorkLimits,
};
use crate::store::{Durability, Store, StoreOptions};

#[test]
fn i7_every_event_reaches_every_subscription_once_across_stored_and_live() {
    for seed in 0..40 {
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let batches = if random.bool() { 2 } else { 64 };
        let mut house = House::new(&Options { batches, ..Options::default() });
        let mut author = house.client();
        let mut readers: Vec<Client> = (0..3).map(|_| house.client()).collect();
        let mut published = Vec::new();
        for _ in 0..150 {
            match random.u32(..10) {
                0..3 => {
                    let count = random.usize(1..5);
                    let burst: Vec<Event> =
                        (0..count).map(|at| note(published.len() + at, "")).collect();
                    author.publish(&burst);
                    published.extend(burst);
                }
                3 => {
                    let reader = random.choice(&mut readers).unwrap();
                    let id = random.u32(..3).to_string();
                    // What is under way under the former subscription of this id is over.
                    reader.read();
                    reader.received.remove(&id);
                    reader.say(&format!(r#"["REQ","{id}",{{}}]"#));
                }
                4..6 => house.step(),
                6..8 => house.work_once(),
                _ => random.choice(&mut readers).unwrap().read(),
            }
        }
        house.settle(&mut author, published.len());
        let expected: HashSet<String> = published.iter().map(|it| it.id.to_string()).collect();
        for reader in &mut readers {
            reader.read_all(&mut house);
            for (id, received) in &reader.received {
                assert_eq!(received.ends, 1, "seed {seed}, subscription {id}: EOSE");
                let distinct: HashSet<String> = received.events.iter().cloned().collect();
                assert_eq!(received.events.len(), distinct.len(), "seed {seed}: sent twice");
                assert_eq!(distinct, expected, "seed {seed}, subscription {id}");
            }
        }
    }
}

#[test]
fn a_lapped_core_reads_from_the_store_what_it_missed() {
    let mut house = House::new(&Options { batches: 2, ..Options::default() });
    let (mut author, mut reader) = (house.client(), house.client());
    reader.say(r#"["REQ","a",{"kinds":[1]}]"#);
    for number in 0..50 {
        let _ = house.core.give_turn();
        author.publish(&[note(number, "")]);
        // The writer commits each alone, and this core looks at none of it.
        house.wait_for_seq(number as u64 + 1);
    }
    house.settle(&mut author, 50);
    reader.read_all(&mut house);
    assert_eq!(reader.received["a"].events.len(), 50);
    assert!(house.core.metrics.lapped_total.total() > 0);
}

#[test]
fn nip_01_30_an_identical_event_is_a_duplicate_and_a_forged_one_is_not() {
    let mut house = House::new(&Options::default());
    let mut author = house.client();
    let event = note(1, "content");
    author.publish(std::slice::from_ref(&event));
    house.settle(&mut author, 1);
    assert_eq!(author.oks, [(event.id.to_string(), true, String::new())]);
    let mut forged = event.clone();
    forged.sig.0[63] ^= 1;
    let mut altered = note(1, "contenT");
    (altered.id, altered.sig) = (event.id, event.sig);
    for (event, accepted, prefix) in [
        (&event, true, "duplicate: "),
        (&forged, false, "invalid: "),
        (&altered, false, "invalid: "),
    ] {
        author.oks.clear();
        author.publish(std::slice::from_ref(event));
        house.settle(&mut author, 1);
        assert_eq!(author.oks[0].1, accepted, "{prefix}");
        assert!(author.oks[0].2.starts_with(prefix), "{}", author.oks[0].2);
    }
    assert_eq!(house.core.metrics.events_duplicate_total.total(), 1);
}

#[test]
fn a_burst_has_one_ok_for_each_event_whatever_became_of_it() {
    let mut house = House::new(&Options { jobs: 2, ..Options::default() });
    let mut author = house.client();
    let mut burst: Vec<Event> = (0..100).map(|number| note(number, "")).collect();
    for event in burst.iter_mut().step_by(10) {
        event.sig.0[0] ^= 1;
    }
    burst.push(burst[1].clone());
    // Seven chunks, and room for two: the line holds the others, and the socket is not read.
    author.publish(&burst);
    assert!(!author.outbound.is_reading());
    assert!(!house.core.stalled.borrow().is_empty());
    assert!(house.rings.load(Ordering::Relaxed) > 0, "somebody attends to the line");
    house.settle(&mut author, burst.len());
    assert!(author.outbound.is_reading());
    let count = |accepted: bool, prefix: &str| {
        let is_such = |it: &&(String, bool, String)| it.1 == accepted && it.2.starts_with(prefix);
        author.oks.iter().filter(is_such).count()
    };
    assert_eq!(count(false, "invalid: "), 10);
    assert_eq!(count(true, "duplicate: "), 1);
    assert_eq!(author.oks.len(), 101);
}

#[test]
fn i6_a_client_that_does_not_read_has_its_query_parked() {
    let mut house = House::new(&Options { bytes_high: 2_000, ..Options::default() });
    let (mut author, mut reader) = (house.client(), house.client());
    house.fill(&mut author, 40);
    reader.say(r#"["REQ","a",{}]"#);
    for _ in 0..100 {
        house.step();
        house.work_once();
    }
    let queued = reader.outbound.queued_bytes();
    assert!((2_000..4_000).contains(&queued), "{queued} bytes are queued");
    assert!(reader.received.is_empty());
    reader.read_all(&mut house);
    assert_eq!((reader.received["a"].events.len(), reader.received["a"].ends), (40, 1));
}

#[test]
fn queries_of_one_connection_wait_for_each_other_and_all_are_answered() {
    let mut house = House::new(&Options { jobs: 1, ..Options::default() });
    let (mut author, mut reader) = (house.client(), house.client());
    house.fill(&mut author, 20);
    for number in 0..40 {
        reader.say(&format!(r#"["REQ","{number}",{{}}]"#));
        reader.say(&format!(r#"["COUNT","{number}",{{}}]"#));
    }
    reader.say(r#"["CLOSE","39"]"#);
    reader.read_all(&mut house);
    for number in 0..39 {
        let received = &reader.received[&number.to_string()];
        assert_eq!((received.events.len(), received.ends), (20, 1), "subscription {number}");
    }
    assert!(!reader.received.contains_key("39"), "closed before it had its turn");
    assert_eq!(reader.counts, [20; 40]);
}

#[test]
fn nip_01_63_nothing_is_sent_for_a_closed_subscription() {
    let mut house = House::new(&Options::default());
    let (mut author, mut reader) = (house.client(), house.client());
    house.fill(&mut author, 20);
    reader.say(r#"["REQ","a",{}]"#);
    reader.say(r#"["REQ","b",{"kinds":[1],"limit":0}]"#);
    while reader.received.get("a").is_none_or(|received| received.events.is_empty()) {
        house.work_once();
        house.step();
        reader.read();
    }
    // The next chunk is under way.
    reader.say(r#"["CLOSE","a"]"#);
    let before = reader.received["a"].events.len();
    assert!(before < 20, "the first chunk has not sent everything");
    author.oks.clear();
    author.publish(&[note(1_000, "")]);
    house.settle(&mut author, 1);
    reader.read_all(&mut house);
    assert_eq!(reader.received["a"].events.len(), before);
    assert_eq!((reader.received["b"].events.len(), reader.received["b"].ends), (1, 1));
}

#[test]
fn a_connection_that_is_over_leaves_nothing_behind() {
    let mut house = House::new(&Options::default());
    let mut author = house.client();
    house.fill(&mut author, 20);
    for _ in 0..3 {
        let mut reader = house.client();
        for number in 0..20 {
            reader.say(&format!(r#"["REQ","{number}",{{}}]"#));
        }
        reader.publish(&[note(7, "again"), note(8, "again"), note(9, "again")]);
        reader.talk.closed(Ending::Client);
        drop(reader);
        // A newcomer gets the same slot, and none of what is under way for the former.
        let mut newcomer = house.client();
        newcomer.read_all(&mut house);
        assert!(newcomer.received.is_empty());
        assert!(newcomer.oks.is_empty());
        newcomer.talk.closed(Ending::Client);
    }
    assert_eq!(house.core.index.borrow().count(), 0);
    let metrics = &house.core.metrics;
    assert_eq!(metrics.subscriptions_opened_total.total(), 60);
    assert_eq!(metrics.subscriptions_closed_total.total(), 60);
    assert_eq!(metrics.connections_opened_total.total(), 7);
    assert_eq!(metrics.connections_closed_total.total(), 6);
}

#[test]
fn ephemeral_events_are_delivered_and_not_stored_and_bearer_tokens_are_not_delivered() {
    let mut house = House::new(&Options::default());
    let (mut author, mut reader) = (house.client(), house.client());
    reader.say(r#"["REQ","a",{}]"#);
    let event = |kind| keys().sign_event(now(), Kind(kind), &[], "");
    author.publish(&[event(20_001), event(27_235)]);
    house.settle(&mut author, 2);
    reader.say(r#"["REQ","b",{}]"#);
    reader.read_all(&mut house);
    assert!(author.oks.iter().all(|(_, accepted, _)| *accepted));
    assert_eq!(reader.received["a"].events, [event(20_001).id.to_string()]);
    assert_eq!((reader.received["b"].events.len(), reader.received["b"].ends), (0, 1));
}

#[test]
fn nip_01_56_stored_events_come_newest_first_through_all_slices() {
    let mut house = House::new(&Options::default());
    let (mut author, mut reader) = (house.client(), house.client());
    let events = house.fill(&mut author, 30);
    reader.say(r#"["REQ","a",{"limit":25}]"#);
    reader.read_all(&mut house);
    let mut expected: Vec<&Event> = events.iter().collect();
    expected.sort_by_key(|event| (std::cmp::Reverse(event.created_at), event.id));
    let expected: Vec<String> = expected.iter().take(25).map(|it| it.id.to_string()).collect();
    assert_eq!(reader.received["a"].events, expected);
}

#[test]
fn who_has_just_come_waits_for_another_round_when_one_is_full() {
    let mut house = House::new(&Options::default());
    let (mut first, mut second) = (house.client(), house.client());
    let ends = |client: &Client| client.received.get("a").map_or(0, |it| it.ends);
    let question = r#"["REQ","a",{}]"#;
    first.say(question);
    first.read();
    assert_eq!(ends(&first), 1, "there is room in the round");
    let rings = house.rings.load(Ordering::Relaxed);
    // More than all that is worked out in one round.
    house.core.spend(first.talk.connection(), 1_000_000);
    second.say(question);
    second.read();
    assert_eq!((ends(&second), second.outbound.is_reading()), (0, false));
    assert!(house.rings.load(Ordering::Relaxed) > rings, "the next round is not slept over");
    house.step();
    second.read();
    assert_eq!((ends(&second), second.outbound.is_reading()), (1, true));
}

#[test]
fn a_full_plugin_stage_pauses_the_socket_and_loses_nothing() {
    let plugin = PluginSettings {
        command: "none".to_owned(),
        processes: 1,
        pending_max: 1,
        timeout: Duration::from_secs(1),
        on_failure: OnFailure::Reject,
    };
    let plugin = Some(Arc::new(plugin));
    let mut house = House::new(&Options { plugin, jobs: 1_000, ..Options::default() });
    let mut author = house.client();
    let room = house.questions.capacity();
    let notes: Vec<Event> = (0..room + 40).map(|number| note(number, "")).collect();
    for burst in notes[..room].chunks(256) {
        author.publish(burst);
        house.finish();
        assert!(!author.outbound.is_reading(), "it has more there than its share");
        author.outbound.resume_reading();
    }
    // One way leads over the pool, the other does not.
    author.publish(&notes[room..room + 1]);
    assert!(!author.outbound.is_reading());
    author.publish(&notes[room + 1..]);
    house.finish();
    house.step();
    assert!(author.oks.is_empty() && house.core.metrics.paused_total.total() > 0);
    let mut asked = 0;
    while let Ok(question) = house.questions.try_recv() {
        let client = std::net::IpAddr::from([127, 0, 0, 1]);
        assert_eq!(question.source, crate::policy::PluginSource::Client(client));
        assert_eq!(question.authed, None);
        assert_eq!(question.submission.event.event().id, notes[asked].id, "in order");
        house.core.writer.submit(question.submission).expect("the writer has room");
        asked += 1;
        house.step();
    }
    assert_eq!(asked, notes.len());
    house.settle(&mut author, notes.len());
    assert!(author.outbound.is_reading());
}

#[test]
fn events_of_a_connection_are_stored_as_they_were_sent_whoever_verifies_them_first() {
    for seed in 0..12 {
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let jobs = if random.bool() { 2 } else { 64 };
        let mut house = House::new(&Options { jobs, ..Options::default() });
        let mut author = house.client();
        // Were a version stored before an older one, the older one would be refused.
        let version = |number: u64| keys().sign_event(number, Kind(10_000), &[], "");
        let (mut sent, mut held) = (0, Vec::new());
        while sent < 250 {
            if author.outbound.is_reading() && random.bool() {
                let count = if random.bool() { 1 } else { random.u64(1..80) };
                author.publish(&(sent..sent + count).map(version).collect::<Vec<Event>>());
                sent += count;
            }
            while let Some(job) = house.jobs.try_recv() {
                held.push(job);
            }
            for _ in 0..random.usize(..4).min(held.len()) {
                let job = held.swap_remove(random.usize(..held.len()));
                house.worker.work_on(job, &mut house.tools);
            }
            house.step();
        }
        held.into_iter().rev().for_each(|job| house.worker.work_on(job, &mut house.tools));
        house.settle(&mut author, sent as usize);
        assert_eq!(author.oks.iter().find(|(_, is_taken, _)| !is_taken), None, "seed {seed}");
        author.publish(&[version(sent)]);
        house.settle(&mut author, sent as usize + 1);
        assert!(author.talk.connection().lane.borrow().is_none(), "all is handed on");
    }
}

#[test]
fn a_connection_is_not_read_while_too_much_of_it_waits_for_one_chunk() {
    let mut house = House::new(&Options { jobs: 10_000, ..Options::default() });
    let mut author = house.client();
    let notes: Vec<Event> = (0..2_000).map(|number| note(number, "")).collect();
    let mut bursts = notes.chunks(100);
    let mut sent = 0;
    while author.outbound.is_reading() {
        let burst = bursts.next().expect("it is paused before all is sent");
        author.publish(burst);
        sent += burst.len();
        house.step();
    }
    assert!((900..=1_300).contains(&sent), "{sent}");
    let Some(first) = house.jobs.try_recv() else { panic!("there are jobs") };
    while house.jobs.count() > 0 {
        house.work_once();
        house.step();
    }
    assert!(!author.outbound.is_reading(), "nothing goes before the first chunk");
    house.worker.work_on(first, &mut house.tools);
    house.settle(&mut author, sent);
    assert!(author.outbound.is_reading());
}

/// What differs between the houses of the tests.
struct Options {
    batches: usize,
    jobs: usize,
    bytes_high: usize,
    plugin: Option<Arc<PluginSettings>>,
}

impl Default for Options {
    fn default() -> Options {
        Options { batches: 64, jobs: 16, bytes_high: 1 << 20, plugin: None }
    }
}

/// One core, its store and writer, and a worker that works when told to.
struct House {
    core: Rc<Core>,
    worker: Worker,
    jobs: JobReceiver,
    tools: Tools,
    /// How often the core would have been woken.
    rings: Arc<AtomicUsize>,
    limits: OutboundLimits,
    writer: Option<WriterThread>,
    /// What the plugin stage would take, if there is to be a plugin.
    questions: tokio::sync::mpsc::Receiver<Question>,
    _folder: tempfile::TempDir,
}

impl House {
    fn new(options: &Options) -> House {
        let folder = tempfile::tempdir().unwrap();
        let store_options =
            StoreOptions { map_bytes: Some(64 << 20), durability: Durability::Lazy, salt: [5; 16] };
        let store = Store::open(folder.path(), &store_options).unwrap();
        let rings = Arc::new(AtomicUsize::new(0));
        let inbox: Arc<Inbox<Message>> = {
            let rings = Arc::clone(&rings);
            Inbox::new(move || {
                rings.fetch_add(1, Ordering::Relaxed);
            })
        };
        let inboxes = Inboxes(Arc::from([Arc::clone(&inbox)]));
        let ring = RingLimits { batches: options.batches, bytes: 1 << 30 };
        let (producer, ring) = fanout::ring(ring, Vec::new());
        let (consumer, last) = (ring.consumer(), store.last_seq());
        let event = EventLimits {
            tags_max: 100,
            content_characters_max: 1_000,
            past_secs_max: None,
            future_secs_max: None,
            work: WorkLimits { bits_min: 0, commitment: Commitment::Optional },
            refused_kinds: Box::default(),
            rules: None,
        };
        let session = SessionLimits {
            subscriptions_max: 100,
            filters_max: 10,
            event,
            negentropy: NegentropyLimits { open_max: 3, idle_secs_max: 10 },
            authentication: Authentication::Optional,
            restricted: RestrictedKinds::new([4, 1059, 21_059]),
            delegation: Treatment::Ignored,
            names: OwnNames::Local("127.0.0.1:7777".parse().unwrap()),
            quotas: Quotas::default(),
        };
        let terms = MembershipTerms {
            writes: Circle::Everyone,
            reads: Circle::Everyone,
            invites: Invites::ByOperator,
            open_kinds: Box::default(),
        };
        let live = LiveSettings {
            certificate: None,
            membership: MembershipSettings { terms, codes: Box::default(), invite_secs: 60 },
            connections_max: 10,
            message_bytes_max: 100_000,
            outbound_bytes_max: 1 << 30,
            outbound_total_bytes_max: usize::MAX,
            compression: Compression::All,
            session,
            query: QueryLimits { default_limit: 10_000, max_limit: 10_000 },
            count_max: 1_000,
            slow_query: None,
            client_naming: ClientNaming::Hashed,
            maintenance: Maintenance::default(),
            reconcile: ReconcileLimits { items_max: 1_000, answer_bytes_max: 4096 },
            about: About::default(),
            pages: PageSettings::default(),
            proxies: Proxies::default(),
            retention: Retention {
                rules: Arc::default(),
                period: Duration::from_secs(1),
                came_from: |_, _, _| Ok(()),
            },
            plugin: options.plugin.clone(),
            names: None,
            management: ManagementSettings::default(),
        };
        let relay = Arc::new(Relay {
            office: management::office_channel().0,
            sweeps: Sweeps::default(),
            own_key: None,
            standings: Standings::default(),
            store: store.clone(),
            clock: Clock::system(),
            random: || [9; 16],
            crowd: Arc::new(Crowd::new(100)),
            in_force: InForce::new(live, "127.0.0.1:7777".parse().unwrap()),
            aliases: Aliases::new([9; 16]),
            kept: Kept::default(),
            cores: Arc::default(),
            counters: Counters::default(),
            caretaking: CaretakerMetrics::default(),
            wishes: Wishes::default(),
            gate: Arc::default(),
            // As small as can be: whatever a slice may leave undone, it does.
            slice_inline: SliceSize { budget: Budget { steps: 1 }, chunk_bytes: 1 },
            slice_pooled: SliceSize { budget: Budget { steps: 1 }, chunk_bytes: 700 },
        });
        let replies = Box::new(inboxes.clone());
        let writer = ingest::spawn(store, producer, replies, None, None, relay.clock).unwrap();
        let (work, jobs) = pool::pool(options.jobs);
        let (sender, questions) = plugin::question_channel();
        let core = Core::new(CoreParts {
            number: 0,
            relay: Arc::clone(&relay),
            inbox,
            consumer,
            last,
            work,
            writer: writer.handle.clone(),
            herald: None,
            questions: sender.clone(),
            metrics: Arc::default(),
            seed: 1,
        });
        let (jobs_of_worker, writer_of_worker) = (jobs.clone(), writer.handle.clone());
        let worker = Worker {
            relay,
            jobs: jobs_of_worker,
            writer: writer_of_worker,
            questions: sender,
            inboxes,
        };
        let bytes_high = options.bytes_high;
        House {
            core: Rc::new(core),
            worker,
            jobs,
            tools: Tools::default(),
            rings,
            limits: OutboundLimits { bytes_high, bytes_low: bytes_high / 4, bytes_max: 1 << 30 },
            writer: Some(writer),
            questions,
            _folder: folder,
        }
    }

    /// Returns a client; every other one takes compressed messages.
    fn client(&self) -> Client {
        self.client_with(Allowance::unlimited())
    }

    fn client_with(&self, allowance: Allowance) -> Client {
        let clients = self.core.metrics.connections_opened_total.total();
        let encoding = if clients.is_multiple_of(2) { Encoding::Plain } else { Encoding::Deflate };
        let outbound = Outbound::new(self.limits, encoding);
        Client {
            talk: Talk::begin(&self.core, [127, 0, 0, 1].into(), allowance, outbound.clone()),
            outbound,
            received: HashMap::new(),
            oks: Vec::new(),
            counts: Vec::new(),
            reconciled: Vec::new(),
        }
    }

    /// Does what a core's thread does when its bell rang.
    fn step(&mut self) {
        let _ = self.core.attend_to_some();
        let _ = self.core.deliver_some();
        self.core.retry_stalled();
        let _ = self.core.give_turn();
    }

    fn work_once(&mut self) {
        if let Some(job) = self.jobs.try_recv() {
            self.worker.work_on(job, &mut self.tools);
        }
    }

    /// Goes on until this client has so many OKs and nothing is left to do.
    fn settle(&mut self, client: &mut Client, oks: usize) {
        let deadline = Instant::now() + DEADLINE;
        while client.oks.len() < oks {
            assert!(Instant::now() < deadline, "{} of {oks} answers", client.oks.len());
            self.work_once();
            self.step();
            client.read();
            std::thread::yield_now();
        }
        self.finish();
    }

    /// Goes on until nothing is left to do but for the writer.
    fn finish(&mut self) {
        loop {
            let jobs = self.jobs.count();
            self.work_once();
            let messages = self.core.attend_to_some();
            let events = self.core.deliver_some();
            self.core.retry_stalled();
            let turns = self.core.give_turn();
            if (jobs, messages, events, turns) == (0, More::No, More::No, More::No) {
                return;
            }
        }
    }

    fn wait_for_seq(&self, seq: u64) {
        let deadline = Instant::now() + DEADLINE;
        while self.core.relay.store.last_seq().0 < seq {
            assert!(Instant::now() < deadline, "seq {seq} was not stored");
            std::thread::yield_now();
        }
    }

    /// Stores events of different times.
    fn fill(&mut self, author: &mut Client, count: usize) -> Vec<Event> {
        let events: Vec<Event> = (0..count).map(|number| note(number, "filling")).collect();
        author.publish(&events);
        self.settle(author, count);
        events
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.join();
        }
    }
}

/// One client: what it says is handed over as its socket would, what it is sent is read when it
/// chooses to.
struct Client {
    talk: Talk,
    outbound: Outbound,
    received: HashMap<String, Stored>,
    oks: Vec<(String, bool, String)>,
    counts: Vec<u64>,
    /// Verb, name and text.
    reconciled: Vec<(String, String, String)>,
}

/// What came for one subscription.
#[derive(Default)]
struct Stored {
    events: Vec<String>,
    ends: usize,
}

impl Client {
    fn say(&mut self, message: &str) {
        let flow = self.talk.text(message);
        self.follow(flow);
        let flow = self.talk.burst_end();
        self.follow(flow);
    }

    fn publish(&mut self, burst: &[Event]) {
        for event in burst {
            let mut message = b"[\"EVENT\",".to_vec();
            event.view().write_json(&mut message);
            message.push(b']');
            let flow = self.talk.text(std::str::from_utf8(&message).unwrap());
            self.follow(flow);
        }
        let flow = self.talk.burst_end();
        self.follow(flow);
    }

    fn follow(&mut self, flow: Flow) {
        if flow == Flow::Pause {
            self.outbound.pause_reading();
        }
    }

    /// Reads all that was sent so far.
    fn read(&mut self) {
        let mut bytes = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(self.outbound.poll_write(&mut bytes, &mut context), Poll::Ready(Ok(()))));
        let mut rest = &bytes[..];
        while let [first @ (0x81 | 0xc1), len, tail @ ..] = rest {
            let (len, tail) = match len {
                126 => (usize::from(u16::from_be_bytes([tail[0], tail[1]])), &tail[2..]),
                127 => panic!("no message of the tests is that long"),
                len => (usize::from(*len), tail),
            };
            if *first == 0x81 {
                self.take(&tail[..len]);
            } else {
                assert_eq!(self.outbound.encoding(), Encoding::Deflate);
                let mut inflater = Inflater::default();
                self.take(inflater.inflate(&tail[..len], 10_000).unwrap());
            }
            rest = &tail[len..];
        }
        assert!(rest.is_empty(), "only whole text frames are sent");
        if self.outbound.take_drained() {
            self.talk.drained();
        }
    }

    /// Reads until nothing more comes.
    fn read_all(&mut self, house: &mut House) {
        loop {
            house.finish();
            if self.outbound.queued_bytes() == 0 {
                return;
            }
            self.read();
        }
    }

    fn take(&mut self, message: &[u8]) {
        let message: serde_json::Value = serde_json::from_slice(message).unwrap();
        let text = |at: usize| message[at].as_str().unwrap_or_default().to_owned();
        match text(0).as_str() {
            "EVENT" => {
                let id = message[2]["id"].as_str().unwrap().to_owned();
                self.received.entry(text(1)).or_default().events.push(id);
            }
            "EOSE" => self.received.entry(text(1)).or_default().ends += 1,
            "OK" => self.oks.push((text(1), message[2].as_bool().unwrap(), text(3))),
            "NEG-MSG" | "NEG-ERR" => self.reconciled.push((text(0), text(1), text(2))),
            "AUTH" => assert_eq!(text(1), CHALLENGE),
            "COUNT" => self.counts.push(message[2]["count"].as_u64().unwrap()),
            other => panic!("{other} was not expected: {message}"),
        }
    }
}

#[test]
fn who_asks_for_little_is_answered_while_those_who_ask_for_much_wait_for_their_turns() {
    let mut house = House::new(&Options::default());
    let mut author = house.client();
    house.fill(&mut author, 3);
    let (mut light, mut newcomer) = (house.client(), None);
    let mut heavy: Vec<Client> = (0..10).map(|_| house.client()).collect();
    for round in 0..5 {
        for client in &mut heavy {
            house.core.spend(client.talk.connection(), 1_000_000);
            client.say(&format!(r#"["REQ","{round}",{{}}]"#));
            assert!(!client.outbound.is_reading(), "its turn is over");
        }
        // By the second round the others have taken more than what everybody begins with.
        if round > 0 {
            house.core.begin_round();
            light.say(&format!(r#"["REQ","{round}",{{"limit":0}}]"#));
            light.read();
            assert_eq!(light.received[&round.to_string()].ends, 1, "at once");
            assert!(light.outbound.is_reading());
        }
        if round == 2 {
            let mut client = house.client();
            house.core.spend(heavy[0].talk.connection(), 50_000);
            client.say(r#"["REQ","new",{"limit":0}]"#);
            assert!(!client.outbound.is_reading(), "who has just come takes turns too");
            newcomer = Some(client);
        }
        heavy.iter_mut().for_each(|client| assert!(!client.outbound.is_reading()));
        house.finish();
        for client in heavy.iter_mut().chain(&mut newcomer) {
            assert!(client.outbound.is_reading(), "everybody's turn comes");
            client.read_all(&mut house);
        }
    }
    for client in &heavy {
        assert_eq!(client.received.len(), 5, "nothing is lost");
        client.received.values().for_each(|it| assert_eq!((it.events.len(), it.ends), (3, 1)));
    }
    assert_eq!(newcomer.expect("it has come").received["new"].ends, 1);
}

#[test]
fn a_full_round_leaves_in_their_sockets_what_comes_but_for_who_took_less() {
    let mut house = House::new(&Options::default());
    let (mut heavy, light) = (house.client(), house.client());
    assert!(!heavy.talk.must_wait() && !light.talk.must_wait(), "nothing was done yet");
    house.core.spend(heavy.talk.connection(), 2_000_000);
    house.core.begin_round();
    house.core.spend(heavy.talk.connection(), 50_000);
    assert!(heavy.talk.must_wait() && !light.talk.must_wait());
    heavy.talk.left_waiting();
    assert!(!heavy.outbound.is_reading());
    house.step();
    assert!(heavy.outbound.is_reading() && !heavy.talk.must_wait());
    house.core.spend(light.talk.connection(), 2_000_000);
    assert!(!heavy.talk.must_wait(), "it is its turn");
    house.core.spend(heavy.talk.connection(), 5_000);
    assert!(heavy.talk.must_wait() && light.talk.must_wait(), "nobody has more in one round");
}

#[test]
fn what_a_banned_address_has_waiting_is_not_verified() {
    let house = House::new(&Options::default());
    let quotas = Quotas {
        bans: Some(BanRules {
            tolerated: "1/min".parse().expect("a rate"),
            duration: Duration::from_secs(60),
            duration_max: Duration::from_secs(60),
        }),
        ..Quotas::default()
    };
    let crowd = &house.core.relay.crowd;
    let visit = crowd.enter([192, 0, 2, 1].into(), &quotas, now()).expect("it is let in");
    let mut sender = house.client_with(Allowance::of(crowd, visit));
    sender.publish(&(0..40).map(|number| note(number, "")).collect::<Vec<Event>>());
    let session = &sender.talk.connection().session;
    session.borrow().allowance().misbehave(Misconduct::Forgery, &quotas, now());
    let mut house = house;
    house.finish();
    // What others send is stored, and nothing before it.
    let mut other = house.client();
    other.publish(&[note(100, "")]);
    house.settle(&mut other, 1);
    assert_eq!(house.core.relay.store.last_seq().0, 1);
    assert!(!sender.outbound.is_open(), "and its connection ends");
}

#[test]
fn nip_77_2_reconciliations_go_on_in_slices_and_leave_nothing_behind() {
    let mut house = House::new(&Options { jobs: 1, ..Options::default() });
    let (mut author, mut reader) = (house.client(), house.client());
    house.fill(&mut author, 40);
    for filter in [r#"{"kinds":[1]}"#, "{}", r#"{"since":1600000000}"#] {
        reader.say(&format!(r#"["NEG-OPEN","a",{filter},"6100000200"]"#));
        reader.read_all(&mut house);
        let (verb, id, text) = reader.reconciled.pop().expect("it is answered");
        assert_eq!((&*verb, &*id, text.len()), ("NEG-MSG", "a", 10 + 40 * 64), "{filter}");
        // Replaced, closed, and gone with its connection while it is under way.
        reader.say(&format!(r#"["NEG-OPEN","a",{filter},"6100000200"]"#));
        reader.say(&format!(r#"["NEG-OPEN","a",{filter},"61"]"#));
        reader.read_all(&mut house);
        let expected = ("NEG-MSG".to_owned(), "a".to_owned(), "61".to_owned());
        assert_eq!(std::mem::take(&mut reader.reconciled), [expected], "{filter}");
        reader.say(r#"["NEG-CLOSE","a"]"#);
        reader.say(&format!(r#"["NEG-OPEN","b",{filter},"61"]"#));
        reader.say(r#"["NEG-CLOSE","b"]"#);
        reader.read_all(&mut house);
        assert!(reader.reconciled.is_empty(), "{filter}");
        let mut leaver = house.client();
        leaver.say(&format!(r#"["NEG-OPEN","a",{filter},"61"]"#));
        leaver.talk.closed(Ending::Client);
        house.finish();
    }
    reader.say(r#"["NEG-OPEN","a",{"kinds":[1]},"61"]"#);
    reader.read_all(&mut house);
    assert_eq!(house.core.relay.kept.count(), 40);
    house.core.end_idle_reconciliations(now() + 1_000);
    reader.read_all(&mut house);
    assert!(reader.reconciled[1].2.starts_with("closed: "), "{:?}", reader.reconciled);
    assert_eq!(house.core.relay.kept.count(), 0);
    assert!(house.core.reconcilers.borrow().is_empty());
}

fn keys() -> Keypair {
    Keypair::from_secret([1; 32]).unwrap()
}

fn now() -> u64 {
    Clock::system().now_secs()
}

/// A note of its own; several share a second.
fn note(number: usize, content: &str) -> Event {
    let created_at = 1_600_000_000 + number as u64 / 3;
    keys().sign_event(created_at, Kind::TEXT_NOTE, &[], &format!("{content} {number}"))
}

const CHALLENGE: &str = "09090909090909090909090909090909";
const DEADLINE: Duration = Duration::from_secs(20);
