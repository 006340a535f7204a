// nostr-tools (npm) and the ws package against a running relay, as a web client uses them:
// publish and subscribe, AUTH, private messages, COUNT, deletion, reconciliation (NIP-77), the
// information document, and compressed messages as browsers send them.
//
// It needs Node.js and packages from npm, which building and testing the relay do not, so it is no
// part of `cargo test`. Run it by hand, against a relay with an empty store:
//
//     relay serve --data "$(mktemp -d)" --listen 127.0.0.1:7777 --set server.compression=all &
//     cd "$(mktemp -d)" && npm install nostr-tools ws
//     cp PATH/TO/tests/clients/nostr-tools.mjs . && node nostr-tools.mjs ws://127.0.0.1:7777
//
// Prints one line a check; the exit status is the number of checks that failed.

import assert from "node:assert/strict";
import { finalizeEvent, generateSecretKey, getPublicKey } from "nostr-tools/pure";
import { Relay, useWebSocketImplementation } from "nostr-tools/relay";
import { SimplePool, useWebSocketImplementation as useInPool } from "nostr-tools/pool";
import { nip77 } from "nostr-tools";
import * as nip11 from "nostr-tools/nip11";
import * as nip17 from "nostr-tools/nip17";
import * as nip45 from "nostr-tools/nip45";
import WebSocket from "ws";

const { NegentropyStorageVector, NegentropySync } = nip77;
const url = process.argv[2] ?? "ws://127.0.0.1:7777";
const now = () => Math.floor(Date.now() / 1000);
const [alice, bob, eve] = [generateSecretKey(), generateSecretKey(), generateSecretKey()];
const sign = (key, kind, content, tags = [], created_at = now()) =>
  finalizeEvent({ kind, content, tags, created_at }, key);

useWebSocketImplementation(WebSocket);
useInPool(WebSocket);

/** Connects; with a key, AUTH is answered in its name whenever it is asked for. */
async function connect(key) {
  const relay = await Relay.connect(url);
  if (key) relay.onauth = async (template) => finalizeEvent(template, key);
  return relay;
}

/** Collects what is stored. */
function stored(relay, filters) {
  return new Promise((resolve, reject) => {
    const events = [];
    const subscription = relay.subscribe(filters, {
      eoseTimeout: 20_000,
      onevent: (event) => events.push(event),
      oneose: () => (resolve(events), subscription.close()),
      onclose: (reason) => reject(new Error(reason)),
    });
  });
}

const checks = {
  async "an event is published, found, and not doubled"() {
    const relay = await connect();
    const note = sign(alice, 1, "caf\u00e9 \"quoted\" \\ \n\t\u0001 \ud83d\ude00");
    assert.equal(await relay.publish(note), "");
    assert.match(await relay.publish(note), /^duplicate: /);
    const found = await stored(relay, [{ ids: [note.id] }]);
    const { id, sig, content } = found[0];
    assert.deepEqual([found.length, id, sig, content], [1, note.id, note.sig, note.content]);
    relay.close();
  },

  async "a forged event is refused with a reason"() {
    const relay = await connect();
    const note = { ...sign(alice, 1, "true"), content: "false" };
    await assert.rejects(relay.publish(note), /invalid: /);
    relay.close();
  },

  async "a subscription goes on live until it is closed"() {
    const [reader, writer] = [await connect(), await connect()];
    const events = [];
    const came = new Promise((resolve) => {
      const subscription = reader.subscribe([{ authors: [getPublicKey(bob)], kinds: [1] }], {
        oneose: () => writer.publish(sign(bob, 1, "live")),
        onevent: (event) => (events.push(event), subscription.close(), resolve()),
      });
    });
    await came;
    assert.equal(events[0].content, "live");
    reader.close();
    writer.close();
  },

  async "the newest replaceable event stands"() {
    const relay = await connect();
    await relay.publish(sign(alice, 0, "{\"name\":\"new\"}", [], now()));
    await relay.publish(sign(alice, 0, "{\"name\":\"old\"}", [], now() - 100)).catch(() => {});
    const found = await stored(relay, [{ kinds: [0], authors: [getPublicKey(alice)] }]);
    assert.deepEqual(found.map((event) => event.content), ["{\"name\":\"new\"}"]);
    relay.close();
  },

  async "what is deleted is gone and stays gone"() {
    const relay = await connect();
    const note = sign(alice, 1, "to be deleted");
    await relay.publish(note);
    await relay.publish(sign(bob, 5, "", [["e", note.id]]));
    assert.equal((await stored(relay, [{ ids: [note.id] }])).length, 1, "not by others");
    await relay.publish(sign(alice, 5, "", [["e", note.id]]));
    assert.equal((await stored(relay, [{ ids: [note.id] }])).length, 0);
    await assert.rejects(relay.publish(note), /blocked: /);
    relay.close();
  },

  async "private messages reach the recipient alone (NIP-17, NIP-42)"() {
    const [sender, reader, other, stranger] =
      [await connect(alice), await connect(bob), await connect(eve), await connect()];
    const wraps = nip17.wrapManyEvents(alice, [{ publicKey: getPublicKey(bob) }], "psst");
    for (const wrap of wraps) await sender.publish(wrap);
    const filter = { kinds: [1059], "#p": [getPublicKey(bob)] };
    await assert.rejects(stored(stranger, [filter]), /auth-required: /);
    await reader.auth(reader.onauth);
    await other.auth(other.onauth);
    const rumors = (await stored(reader, [filter])).map((wrap) => nip17.unwrapEvent(wrap, bob));
    assert.deepEqual(rumors.map((rumor) => rumor.content), ["psst"]);
    const seen = await stored(other, [filter]).catch((error) => error.message);
    assert.ok(seen.length === 0 || /restricted: /.test(seen), String(seen));
    assert.equal((await stored(stranger, [{ ids: wraps.map((wrap) => wrap.id) }])).length, 0);
    for (const relay of [sender, reader, other, stranger]) relay.close();
  },

  async "a protected event is taken from its author after AUTH (NIP-70)"() {
    const relay = await connect();
    const note = sign(alice, 1, "mine", [["-"]]);
    await assert.rejects(relay.publish(note), /auth-required: /);
    await relay.auth(async (template) => finalizeEvent(template, alice));
    assert.equal(await relay.publish(note), "");
    relay.close();
  },

  async "events are counted, with registers that can be added up (NIP-45)"() {
    const relay = await connect();
    const target = getPublicKey(eve);
    for (const key of [alice, bob]) await relay.publish(sign(key, 3, "", [["p", target]]));
    const filter = nip45.getCountManyFilter(target, "followers");
    assert.equal(await relay.count([filter], {}), 2);
    const { count, hll } = await relay.countWithHLL([filter], {});
    const offset = nip45.computeOffset(target);
    const expected = nip45.newHll();
    for (const key of [alice, bob]) nip45.feedPubkey(expected, getPublicKey(key), offset);
    assert.deepEqual([count, hll], [2, nip45.hllEncode(expected)]);
    relay.close();
  },

  async "two sets are reconciled, each side learning what it lacks (NIP-77)"() {
    const relay = await connect();
    const key = generateSecretKey();
    const notes = Array.from({ length: 600 }, (_, at) => sign(key, 1, `note ${at}`, [], 1_700_000_000 + (at >> 2)));
    await Promise.all(notes.slice(0, 500).map((note) => relay.publish(note)));
    for (const own of [[], notes.slice(250), notes.slice(500), notes.slice(0, 500)]) {
      const storage = new NegentropyStorageVector();
      for (const note of own) storage.insert(note.created_at, note.id);
      storage.seal();
      const [have, need] = [new Set(), new Set()];
      await new Promise((resolve, reject) => {
        const sync = new NegentropySync(relay, storage, { authors: [getPublicKey(key)] }, {
          onhave: (id) => have.add(id),
          onneed: (id) => need.add(id),
          onclose: (reason) => (reason ? reject(new Error(reason)) : resolve()),
        });
        sync.start();
      });
      const ids = (list) => list.map((note) => note.id).sort();
      const [ours, theirs] = [new Set(ids(own)), new Set(ids(notes.slice(0, 500)))];
      assert.deepEqual([...have].sort(), ids(own).filter((id) => !theirs.has(id)));
      assert.deepEqual([...need].sort(), [...theirs].filter((id) => !ours.has(id)).sort());
    }
    relay.close();
  },

  async "a pool reads and writes"() {
    const pool = new SimplePool();
    const note = sign(bob, 1, "through a pool");
    await Promise.all(pool.publish([url], note));
    const found = await pool.get([url], { ids: [note.id] });
    assert.equal(found?.content, "through a pool");
    const many = await pool.querySync([url], { authors: [getPublicKey(bob)] });
    assert.ok(many.length >= 2);
    pool.close([url]);
  },

  async "the information document is what the library reads (NIP-11)"() {
    const document = await nip11.fetchRelayInformation(url);
    for (const nip of [1, 9, 11, 42, 45, 70, 77]) assert.ok(document.supported_nips.includes(nip), nip);
  },

  async "compressed messages as browsers send them (RFC 7692)"() {
    const offers = [
      true,
      { clientNoContextTakeover: true, serverNoContextTakeover: true },
      { threshold: 0 },
      { serverMaxWindowBits: 12, clientMaxWindowBits: 10, threshold: 0 },
    ];
    for (const perMessageDeflate of offers) {
      const socket = new WebSocket(url, { perMessageDeflate });
      const messages = [];
      const opened = new Promise((resolve, reject) => socket.on("open", resolve).on("error", reject));
      const until = (wanted) => new Promise((resolve) => {
        socket.on("message", (data) => {
          const message = JSON.parse(data);
          messages.push(message);
          if (message[0] === wanted) resolve(message);
        });
      });
      await opened;
      assert.match(socket.extensions, /^permessage-deflate/);
      const note = sign(alice, 1, "compress me ".repeat(2_000) + Math.random());
      const verdict = until("OK");
      socket.send(JSON.stringify(["EVENT", note]), { compress: true });
      assert.equal((await verdict)[2], true);
      const end = until("EOSE");
      socket.send(JSON.stringify(["REQ", "all", { ids: [note.id] }]), { compress: true });
      await end;
      const event = messages.find((message) => message[0] === "EVENT");
      assert.equal(event[2].content, note.content);
      socket.close();
      await new Promise((resolve) => socket.on("close", resolve));
    }
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`ok    ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL  ${name}\n${error?.stack ?? error}`);
  }
}
process.exit(failed);
