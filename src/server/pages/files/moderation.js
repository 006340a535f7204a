// Rooms about events and people that somebody minds: reports, search, bans.

import { author, button, field, form, h, key, number, say, table, time } from "./dom.js";
import { note, read } from "./nostr.js";

const question = document.getElementById("question");

// Asks before something is done that others feel; returns whether it is to be done.
export function certain(title, text, label, ...parts) {
  const no = h("button", { type: "button", onclick: () => question.close() }, "Cancel");
  const yes = h("button.danger", { type: "submit" }, label);
  const sheet = h("form", { method: "dialog" },
    h("h2", { id: "question-title" }, title), h("p", text), ...parts, h("div.actions", no, yes));
  question.replaceChildren(sheet);
  return new Promise((done) => {
    let answer = false;
    sheet.onsubmit = () => { answer = true; };
    question.onclose = () => done(answer);
    question.showModal();
    (sheet.querySelector("input[type=text]") ?? no).focus();
  });
}

// The same for what has a reason: returns that, null if it is not to be done.
async function sure(title, text, label, ...parts) {
  const reason = field("Reason", { hint: "Optional. It is kept with the decision.", maxLength: 500 });
  return await certain(title, text, label, reason.row, ...parts) ? reason.input.value.trim() : null;
}

const counted = (count) => `${number(count)} event${count === 1 ? "" : "s"}`;

// Removes all that a search finds, step by step; returns how many that were.
async function removeAll(wanted, call) {
  for (let total = 0; ;) {
    const { removed, more } = await call("chappe.removeevents", wanted);
    total += removed;
    say(`${counted(total)} removed${more ? ", going on" : ""}.`);
    if (!more || !removed) return total;
  }
}

// Counts what a search finds and asks whether it is to go; returns whether it went.
async function remove(wanted, whose, call) {
  const { count, kept } = await call("chappe.countevents", wanted);
  if (!count) {
    say(kept ? "Only requests to delete are left, which stay." : "Nothing is stored.");
    return false;
  }
  const text = `${whose} They are removed from this relay for good. Others may publish them again unless their author is banned.` +
    (kept ? ` Requests to delete and to vanish stay (${kept}), or what they removed could come back.` : "");
  const yes = await certain(`Remove ${counted(count)}?`, text, `Remove ${counted(count)}`);
  if (yes) await removeAll(wanted, call);
  return yes;
}

// What can be done about an event, for who may; `waits` if somebody has reported it.
function actions(event, { methods, call }, card, waits) {
  const done = (text) => {
    say(text);
    card.remove();
  };
  const act = (method, label, kind, run) => methods.has(method) && button(label, run, kind);
  return h("div.actions",
    waits && act("allowevent", "Keep", "", async () => {
      await call("allowevent", event.id, "");
      done("The event stays.");
    }),
    act("banevent", "Ban event", "danger", async () => {
      const reason = await sure("Ban this event?", "It is removed, and not taken again.", "Ban event");
      if (reason === null) return;
      await call("banevent", event.id, reason);
      done("The event is banned.");
    }),
    act("banpubkey", "Ban author", "danger", async () => {
      await banAuthor(event.pubkey, { methods, call });
    }));
}

// May bulk removal be offered?
const mayRemove = (methods) => methods.has("chappe.removeevents") && methods.has("chappe.countevents");

async function banAuthor(pubkey, { methods, call }) {
  const wanted = `author:${pubkey}`;
  const count = mayRemove(methods) ? (await call("chappe.countevents", wanted)).count : 0;
  const also = h("input", { type: "checkbox", id: "also" });
  const text = "No further events of this author are taken. What is stored stays" + (count ? ", unless you remove it too." : ".");
  const reason = await sure("Ban this author?", text, "Ban author",
    count > 0 && h("label.check", also, `Also remove what is stored: ${counted(count)}`));
  if (reason === null) return false;
  await call("banpubkey", pubkey, reason);
  if (count && also.checked) await removeAll(wanted, call);
  else say("The author is banned.");
  return true;
}

// An event as people judge it. `said` is what others say of it.
function card(event, session, said = []) {
  const it = h("article.event");
  it.append(h("header", author(event.pubkey), h("span.tag", `kind ${event.kind}`), time(event.created_at)));
  if (said.length) it.append(h("ul.complaints", { "aria-label": "Reports" }, said));
  const content = h("div.content", event.content || h("span.muted", "No content"));
  if (event.content.length > 600 || event.content.split("\n").length > 8) {
    content.classList.add("long");
    const more = h("button.quiet", { type: "button" }, "Show all");
    more.onclick = () => {
      content.classList.remove("long");
      more.remove();
    };
    it.append(content, more);
  } else it.append(content);
  const raw = h("details", h("summary", "Event ", key(note(event.id))),
    h("pre", { tabIndex: 0 }, JSON.stringify(event, null, 1)));
  it.append(raw, actions(event, session, it, said.length > 0));
  return it;
}

const complaint = ({ by, type, text }) => h("li", h("b", type), " by ", author(by), text && `: ${text}`);

// Somebody who was reported, not for one event but as a whole.
function person({ pubkey, reports: complaints }, session) {
  const it = h("article.event", h("header", author(pubkey), h("span.tag", "author")));
  const act = (method, label, kind, run) => session.methods.has(method) && button(label, run, kind);
  it.append(h("ul.complaints", { "aria-label": "Reports" }, complaints.map(complaint)), h("div.actions",
    act("allowpubkey", "Keep", "", async () => {
      await session.call("allowpubkey", pubkey, "");
      say("The author stays.");
      it.remove();
    }),
    act("banpubkey", "Ban author", "danger", async () => {
      if (await banAuthor(pubkey, session)) it.remove();
    })));
  return it;
}

export const reports = {
  id: "reports",
  title: "Reports",
  needs: ["chappe.queue"],
  async show(body, session) {
    const { events, events_total, pubkeys, pubkeys_total } = await session.call("chappe.queue", PAGE);
    if (!events.length && !pubkeys.length) {
      body.replaceChildren(h("p.empty", "Nothing waits for a decision."));
      return;
    }
    const waiting = events_total + pubkeys_total;
    const intro = `${waiting} ${waiting === 1 ? "waits" : "wait"} for a decision: what people have reported ` +
      "(NIP-56). Keep what is well, and it does not come back.";
    body.replaceChildren(h("p.muted", intro), h("div.events",
      events.map(({ event, reports: said }) => card(event, session, said.map(complaint))),
      pubkeys.map((it) => person(it, session))));
  },
};

const PAGE = 50;

// Returns what somebody is looking for in the words of the relay, or says what is wrong.
function words(text, kind) {
  const parts = [];
  if (text.trim()) {
    const named = read(text);
    if (!named) throw new Error("That is no key and no id: expected npub, note or 64 hexadecimal digits.");
    parts.push(named.either ?? (named.id ? `id:${named.id}` : `author:${named.key}`));
  }
  if (kind) {
    if (!/^\d{1,5}$/.test(kind) || Number(kind) > 65535) throw new Error("A kind is a number from 0 to 65535.");
    parts.push(`kind:${kind}`);
  }
  return parts.join(" ");
}

export const search = {
  id: "search",
  title: "Search",
  needs: ["chappe.search"],
  async show(body, session) {
    const what = field("Key or id", { placeholder: "npub, note or hexadecimal", spellcheck: false });
    const kind = field("Kind", { inputMode: "numeric", maxLength: 5, className: "short" });
    const said = h("p.muted", { role: "status" });
    const results = h("div.events");
    const more = h("div.more");
    const all = h("div.actions");
    const look = async (wanted, until) => {
      const found = await session.call("chappe.search", wanted, PAGE, until);
      if (until === undefined) results.replaceChildren();
      results.append(...found.events.map((event) => card(event, session)));
      const count = results.children.length;
      said.textContent = count ? `${count}${found.more ? " and more" : ""} found, the newest first` : "Nothing is found.";
      const oldest = found.events.at(-1)?.created_at;
      more.replaceChildren(found.more ? button("Older", () => look(wanted, oldest - 1)) : "");
      all.replaceChildren(wanted && count && mayRemove(session.methods) ? button("Remove all\u2026", async () => {
        if (await remove(wanted, "All that this search finds.", session.call)) await look(wanted);
      }, "danger") : "");
    };
    const run = form("Search", [what.row, kind.row], () => look(words(what.input.value, kind.input.value.trim())));
    body.replaceChildren(run, h("div.row.found", said, all), results, more);
  },
};

// A list of decisions: how it is called, what is listed, and how something comes and goes.
const LISTS = [
  {
    title: "Banned keys", list: "listbannedpubkeys", item: "pubkey", label: "Key", parse: keyOf, show: author,
    add: ["banpubkey", "Ban", "danger"], remove: ["unbanpubkey", "Unban"],
    about: "No event of these authors is taken.",
    more: (pubkey, { methods, call }) => mayRemove(methods) && button("Remove events\u2026",
      () => remove(`author:${pubkey}`, "All that this author has published here.", call), "danger"),
  },
  {
    title: "Allowed keys", list: "listallowedpubkeys", item: "pubkey", label: "Key", parse: keyOf, show: author,
    add: ["allowpubkey", "Allow", "main"], remove: ["unallowpubkey", "Remove"],
    about: "Where not everybody may publish, these may.",
  },
  {
    title: "Banned events", list: "listbannedevents", item: "id", label: "Event", parse: idOf,
    show: (id) => key(note(id)), add: ["banevent", "Ban", "danger"], remove: ["allowevent", "Allow"],
    about: "They were removed, and are not taken again.",
  },
  {
    title: "Blocked addresses", list: "listblockedips", item: "ip", label: "Address", parse: (it) => it.trim(),
    show: (ip) => h("code", ip), add: ["blockip", "Block", "danger"], remove: ["unblockip", "Unblock"],
    about: "Nobody is served there. An address, or a range such as 192.0.2.0/24.",
  },
];

function keyOf(text) {
  const found = read(text);
  if (!found || found.id) throw new Error("That is no key: expected npub or 64 hexadecimal digits.");
  return found.key ?? found.either;
}

function idOf(text) {
  const found = read(text);
  if (!found || found.key) throw new Error("That is no id: expected note or 64 hexadecimal digits.");
  return found.id ?? found.either;
}

// One list with its form; it loads itself again after each change.
async function listed(it, session) {
  const { call, methods } = session;
  const slot = h("div");
  const load = async () => {
    const rows = (await call(it.list)).map((row) => [
      it.show(row[it.item]), row.reason ?? "",
      h("div.actions", methods.has(it.remove[0]) && button(it.remove[1], async () => {
        await call(it.remove[0], row[it.item]);
        say(`${it.remove[1]}: done.`);
        await load();
      }), it.more?.(row[it.item], session)),
    ]);
    slot.replaceChildren(table(it.title, [it.label, "Reason", ""], rows, "None."));
  };
  await load();
  const what = field(it.label, { spellcheck: false, required: true });
  const reason = field("Reason", { maxLength: 500 });
  const add = methods.has(it.add[0]) && form(it.add[1], [what.row, reason.row], async () => {
    await call(it.add[0], it.parse(what.input.value), reason.input.value.trim());
    what.input.value = "";
    reason.input.value = "";
    say(`${it.add[1]}: done.`);
    await load();
  }, it.add[2]);
  const id = it.list;
  return h("section.card", { id, "aria-labelledby": `${id}-title` },
    h("h2", { id: `${id}-title` }, it.title), h("p.muted", it.about), add, slot);
}

export const bans = {
  id: "bans",
  title: "Bans",
  needs: LISTS.map((it) => it.list),
  async show(body, session) {
    const sections = [];
    for (const it of LISTS) if (session.methods.has(it.list)) sections.push(await listed(it, session));
    body.replaceChildren(...sections);
  },
};
