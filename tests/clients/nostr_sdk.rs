//! nostr-sdk, the client library of most Rust programs, against a running relay.

use std::collections::BTreeSet;
use std::time::Duration;

use clients::Relay;
use nostr_sdk::prelude::*;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client that keeps what it receives, connected to the relay.
async fn connect(relay: &Relay, keys: &Keys) -> Client {
    let options = MemoryDatabaseOptions { events: true, max_events: None };
    let database = MemoryDatabase::with_opts(options);
    let client = Client::builder().signer(keys.clone()).database(database).build();
    client.add_relay(relay.url()).await.expect("the address is one");
    let connected = client.try_connect(PATIENCE).await;
    assert!(connected.failed.is_empty(), "{connected:?}");
    client
}

async fn publish(client: &Client, builder: EventBuilder) -> EventId {
    let sent = client.send_event_builder(builder).await.expect("it is signed and sent");
    assert!(sent.failed.is_empty(), "{sent:?}");
    sent.val
}

/// What the relay has, asked for by somebody who keeps nothing.
async fn stored(client: &Client, filter: Filter) -> BTreeSet<EventId> {
    let found = client.fetch_events(filter, PATIENCE).await.expect("it is answered");
    found.into_iter().map(|event| event.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_are_published_found_counted_and_delivered_live() {
    let relay = Relay::start();
    let (alice, bob) = (Keys::generate(), Keys::generate());
    let (writer, reader) = (connect(&relay, &alice).await, connect(&relay, &bob).await);
    let mut notifications = reader.notifications();
    let filter = Filter::new().kind(Kind::TextNote).author(alice.public_key());
    reader.subscribe(filter.clone(), None).await.expect("it is sent");
    let text = "caf\u{e9} \"quoted\" \\ \n\t\u{1} \u{1f600}";
    let id = publish(&writer, EventBuilder::text_note(text)).await;
    let received = tokio::time::timeout(PATIENCE, async {
        loop {
            match notifications.recv().await.expect("the client goes on") {
                RelayPoolNotification::Event { event, .. } => return event,
                _ => continue,
            }
        }
    });
    let received = received.await.expect("it comes live");
    assert_eq!((received.id, received.content.as_str()), (id, text));
    assert_eq!(stored(&writer, filter.clone()).await, [id].into());
    let connection = reader.relay(relay.url()).await.expect("it was added");
    let count = connection.count_events(filter, PATIENCE).await.expect("COUNT is answered");
    assert_eq!(count, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_replaced_and_a_deleted_note_is_gone() {
    let relay = Relay::start();
    let keys = Keys::generate();
    let (client, other) = (connect(&relay, &keys).await, connect(&relay, &Keys::generate()).await);
    for (name, at) in [("old", 1_700_000_000), ("new", 1_700_000_001)] {
        let profile = EventBuilder::metadata(&Metadata::new().name(name));
        publish(&client, profile.custom_created_at(Timestamp::from(at))).await;
    }
    let found = other.fetch_metadata(keys.public_key(), PATIENCE).await.expect("it is answered");
    assert_eq!(found.and_then(|metadata| metadata.name), Some("new".to_owned()));
    let note = publish(&client, EventBuilder::text_note("to be deleted")).await;
    let by_id = Filter::new().id(note);
    assert_eq!(stored(&other, by_id.clone()).await.len(), 1);
    publish(&other, EventBuilder::delete(EventDeletionRequest::new().id(note))).await;
    let another = connect(&relay, &Keys::generate()).await;
    assert_eq!(stored(&another, by_id.clone()).await.len(), 1, "not by others");
    publish(&client, EventBuilder::delete(EventDeletionRequest::new().id(note))).await;
    let another = connect(&relay, &Keys::generate()).await;
    assert_eq!(stored(&another, by_id).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_message_reaches_its_recipient_alone() {
    let relay = Relay::start();
    let (alice, bob, eve) = (Keys::generate(), Keys::generate(), Keys::generate());
    let sender = connect(&relay, &alice).await;
    let sent = sender.send_private_msg(bob.public_key(), "psst", []).await;
    let sent = sent.expect("it is wrapped and sent");
    assert!(sent.failed.is_empty(), "{sent:?}");
    let filter = Filter::new().kind(Kind::GiftWrap).pubkey(bob.public_key());
    let reader = connect(&relay, &bob).await;
    let wraps = reader.fetch_events(filter.clone(), PATIENCE).await.expect("it is answered");
    let wrap = wraps.first().expect("it is there after AUTH");
    let gift = reader.unwrap_gift_wrap(wrap).await.expect("it is for this one");
    assert_eq!((gift.sender, gift.rumor.content.as_str()), (alice.public_key(), "psst"));
    let other = connect(&relay, &eve).await;
    let seen = other.fetch_events(filter, PATIENCE).await.map(|events| events.len());
    assert!(!matches!(seen, Ok(1..)), "it is not for this one");
    assert_eq!(stored(&other, Filter::new().id(wrap.id)).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_event_is_taken_from_its_author_alone() {
    let relay = Relay::start();
    let (alice, eve) = (Keys::generate(), Keys::generate());
    let note = EventBuilder::text_note("mine").tag(Tag::protected());
    let note = note.sign_with_keys(&alice).expect("it is signed");
    let other = connect(&relay, &eve).await;
    let sent = other.send_event(&note).await;
    assert!(sent.is_err() || sent.is_ok_and(|sent| sent.success.is_empty()));
    let author = connect(&relay, &alice).await;
    let sent = author.send_event(&note).await.expect("the client proves who it is by itself");
    assert!(sent.failed.is_empty(), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_are_reconciled_both_ways() {
    let relay = Relay::start();
    let keys = Keys::generate();
    let client = connect(&relay, &keys).await;
    let note = |number: u64| {
        let note = EventBuilder::text_note(format!("note {number}"));
        let note = note.custom_created_at(Timestamp::from(1_700_000_000 + number / 4));
        note.sign_with_keys(&keys).expect("it is signed")
    };
    let notes: Vec<Event> = (0..600).map(note).collect();
    // The relay has the first two thirds, a second client the last two.
    for note in &notes[..400] {
        let sent = client.send_event(note).await.expect("it is sent");
        assert!(sent.failed.is_empty(), "{sent:?}");
    }
    let other = connect(&relay, &Keys::generate()).await;
    for note in &notes[200..] {
        other.database().save_event(note).await.expect("it is kept");
    }
    let filter = Filter::new().author(keys.public_key()).kind(Kind::TextNote);
    let options = SyncOptions::default().direction(SyncDirection::Both);
    let synced = other.sync(filter.clone(), &options).await.expect("it is answered");
    assert!(synced.failed.is_empty(), "{synced:?}");
    let ids = |notes: &[Event]| notes.iter().map(|note| note.id).collect::<BTreeSet<_>>();
    let sent: BTreeSet<EventId> = synced.val.sent.iter().copied().collect();
    let received: BTreeSet<EventId> = synced.val.received.iter().copied().collect();
    assert_eq!(sent, ids(&notes[400..]));
    assert_eq!(received, ids(&notes[..200]));
    let kept = other.database().query(filter.clone()).await.expect("it is read");
    assert_eq!(kept.len(), 600);
    let third = connect(&relay, &Keys::generate()).await;
    assert_eq!(stored(&third, filter.limit(1_000)).await, ids(&notes));
    // Everything, from nothing, by the relay's own sums.
    let synced = third.sync(Filter::new(), &options).await.expect("it is answered");
    assert!(synced.failed.is_empty() && synced.val.local.is_empty(), "{synced:?}");
}
