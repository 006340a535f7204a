// The page at /admin: logging in, the way between its rooms, and what is said when the relay is away.

import { Trouble, call } from "./api.js";
import { author, button, h, say } from "./dom.js";
import { npub } from "./nostr.js";
import { bans, reports, search } from "./moderation.js";
import { overview } from "./overview.js";
import { configuration, log, peers, people, relay, storage } from "./relay.js";

const ROOMS = [overview, reports, search, bans, people, relay, storage, peers, configuration, log];

const view = document.getElementById("view");
const nav = document.getElementById("rooms");
const who = document.getElementById("who");
const leave = document.getElementById("leave");
const away = document.getElementById("away");

// Who is logged in: { key, methods, call }; null if nobody is.
let session = null;
// Ends what the room at hand does by itself.
let close = () => {};

// Calls a method for a room: whoever is thrown out meanwhile sees why.
async function ask(method, ...params) {
  try {
    const result = await call(method, ...params);
    away.textContent = "";
    return result;
  } catch (error) {
    if (error.state === "offline") away.textContent = "The relay does not answer. This page goes on trying.";
    throw error;
  }
}

function rooms() {
  return ROOMS.filter((room) => room.needs.some((method) => session.methods.has(method)));
}

async function enter() {
  close();
  close = () => {};
  const open = rooms();
  const room = open.find((it) => `#${it.id}` === location.hash) ?? open[0];
  nav.replaceChildren(h("ul", open.map((it) => {
    const link = h("a", { href: `#${it.id}` }, it.title);
    if (it === room) link.setAttribute("aria-current", "page");
    return h("li", link);
  })));
  nav.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  if (!room) {
    view.replaceChildren(h("h1", "Nothing to do"), h("p", "This key has no rights here."));
    return;
  }
  const heading = h("h1", room.title);
  const body = h("div.room", h("p.muted", "Loading\u2026"));
  view.replaceChildren(heading, body);
  document.title = `${room.title} \u2013 Administration`;
  const mine = session;
  try {
    const end = await room.show(body, session);
    // Somebody may have gone on to another room meanwhile.
    if (!body.isConnected || mine !== session) end?.();
    else close = end ?? close;
  } catch (error) {
    if (!body.isConnected) return;
    const again = button("Try again", enter);
    body.replaceChildren(h("div.trouble", { role: "alert" }, h("p", error.message), again));
  }
}

function door(trouble) {
  close();
  close = () => {};
  session = null;
  nav.hidden = true;
  who.hidden = true;
  leave.hidden = true;
  away.textContent = "";
  document.title = "Administration";
  const card = h("div.card.door",
    h("h1", "Administration"),
    h("p.muted", "Log in with the key of an administrator. It stays in your browser extension, which signs " +
      "each request that this page makes."),
    button("Log in with extension", logIn, "main"),
    h("div.outcome", { role: "alert" }, trouble && explain(trouble)));
  view.replaceChildren(card);
}

function explain({ state, message, key }) {
  const texts = {
    extension: ["No extension found", "This browser has none that signs for Nostr (NIP-07). Install one, such as " +
      "nos2x or Alby, and allow it on this page; then log in."],
    unwilling: ["Not signed", message],
    wrong: ["Signature not accepted", message],
    refused: ["Refused", message],
    offline: ["The relay does not answer", "It may be restarting, or the network is away. Try again in a moment."],
    failed: ["That did not work", message],
  };
  const [title, text] = texts[state] ?? texts.failed;
  const parts = [h("h2", title), h("p", text)];
  if (state === "refused" && key) {
    parts.push(h("p.muted", "You are ", author(key), ". To let this key in, add it to the configuration:"),
      h("pre", { tabIndex: 0 }, `[management]\nadmins = ["${npub(key)}"]`));
  }
  return parts;
}

// Extensions may come a little later than the page.
async function extension() {
  for (let tries = 0; !window.nostr && tries < 10; tries++) {
    await new Promise((done) => { setTimeout(done, 100); });
  }
  if (!window.nostr) throw new Trouble("extension", "");
  return window.nostr;
}

async function logIn() {
  let key;
  try {
    key = await (await extension()).getPublicKey();
    const me = await call("chappe.whoami");
    session = { key, methods: new Set(me.methods), call: ask };
  } catch (error) {
    sessionStorage.removeItem("in");
    door({ state: error.state, message: error.message, key });
    return;
  }
  // Only that somebody was in: a page that is loaded again asks the extension again.
  sessionStorage.setItem("in", "yes");
  who.replaceChildren(author(key));
  who.hidden = false;
  leave.hidden = false;
  nav.hidden = false;
  view.focus();
  await enter();
}

leave.addEventListener("click", () => {
  sessionStorage.removeItem("in");
  door();
  say("Logged out.");
});

addEventListener("hashchange", () => {
  if (!session || location.hash === "#view") return;
  // What was said is about the room that is left.
  say("");
  enter();
  view.focus();
});

// The relay says itself what it is called.
fetch("/", { headers: { accept: "application/nostr+json" } })
  .then((answer) => answer.json())
  .then(({ name }) => { if (name) document.getElementById("name").textContent = name; })
  .catch(() => {});

door();
if (sessionStorage.getItem("in")) logIn();
