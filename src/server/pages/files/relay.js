// Rooms about the relay itself: its people, what it says of itself, its store, settings and journal.

import { author, button, bytes, field, form, h, key, number, say, span, table, time } from "./dom.js";
import { certain } from "./moderation.js";
import { note, read } from "./nostr.js";

function card(title, about, ...parts) {
  return h("section.card", h("h2", title), about && h("p.muted", about), ...parts);
}

const period = (secs) => span(secs).replace(/^1 /, "");

// What is said of a key, for calls that take one.
function keyOf(text) {
  const found = read(text);
  if (!found || found.id) throw new Error("That is no key: expected npub or 64 hexadecimal digits.");
  return found.key ?? found.either;
}

export const people = {
  id: "people",
  title: "People",
  needs: ["chappe.listmembers"],
  async show(body, { call, methods }) {
    const again = () => people.show(body, { call, methods });
    const admins = methods.has("chappe.listadmins") && await administrators(call);
    let members;
    try {
      members = await call("chappe.listmembers");
    } catch (error) {
      if (error.state !== "failed") throw error;
      body.replaceChildren(...[h("p.empty", `${error.message}`), admins].filter(Boolean));
      return;
    }
    const known = methods.has("chappe.listroles") ? await call("chappe.listroles") : [];
    const uses = field("Good for how many", { type: "number", min: 1, max: 1000, value: 1 });
    const days = field("Good for days", { type: "number", min: 1, max: 365, value: 7 });
    const made = h("div", { role: "status" });
    const invite = methods.has("chappe.createinvite") && card("Invite", "Whoever has the code becomes a member.",
      form("Make a code", [uses.row, days.row], async () => {
        const { code } = await call("chappe.createinvite", Number(uses.input.value), days.input.value * 86400);
        made.replaceChildren(h("p", "Give this to who is to join. It is not shown again."), h("pre", { tabIndex: 0 }, code));
      }), made);
    const who = field("Key", { spellcheck: false, required: true });
    const add = methods.has("chappe.addmember") && form("Add", [who.row], async () => {
      await call("chappe.addmember", keyOf(who.input.value));
      say("Added.");
      await again();
    });
    const rows = members.map(({ pubkey, roles }) => [author(pubkey), has(pubkey, roles, known, { call, methods }),
      methods.has("chappe.removemember") ? button("Remove", async () => {
        await call("chappe.removemember", pubkey);
        say("Removed.");
        await again();
      }, "danger") : ""]);
    body.replaceChildren(...[card("Members", `${number(members.length)} member${members.length === 1 ? "" : "s"}.`, add,
      table("Members", ["Key", "Roles", ""], rows, "Nobody yet.")), invite, described(known, again, { call, methods }), admins]
      .filter(Boolean));
  },
};

// Who may do what here.
async function administrators(call) {
  const rows = (await call("chappe.listadmins")).map(({ pubkey, rights }) => [author(pubkey),
    h("div.tags", rights.map((it) => h("span.tag", it)))]);
  return card("Administrators", "Who may do what on this page: whom the configuration names as management.admins, and to whom methods were assigned.",
    table("Administrators", ["Key", "May"], rows));
}

// The roles of a member, to be given and taken.
function has(pubkey, roles, known, { call, methods }) {
  const names = new Map(known.map((it) => [it.id, it.label || it.id]));
  for (const id of roles) if (!names.has(id)) names.set(id, id);
  if (!methods.has("assignrole") || !methods.has("unassignrole") || !names.size) return roles.map((id) => names.get(id)).join(", ");
  return h("fieldset.tags", h("legend.hidden", "Roles"), [...names].map(([id, label]) => {
    const box = h("input", { type: "checkbox", checked: roles.includes(id) });
    box.addEventListener("change", async () => {
      box.disabled = true;
      try {
        await call(box.checked ? "assignrole" : "unassignrole", pubkey, id);
        say(`${label}: ${box.checked ? "given" : "taken"}.`);
      } catch (error) {
        box.checked = !box.checked;
        say(error.message, "bad");
      }
      box.disabled = false;
      box.focus();
    });
    return h("label.check", box, label);
  }));
}

// What roles there are; one that is named again is changed.
function described(known, again, { call, methods }) {
  const id = field("Name of the role", { maxLength: 64, required: true, placeholder: "such as moderator" });
  const label = field("Shown as", { maxLength: 100 });
  const about = field("Description", { as: "textarea", maxLength: 1000 });
  const hue = field("Hue", { type: "number", min: 0, max: 360, placeholder: "of its colour, 0 to 360" });
  const order = field("Order", { type: "number", min: 0, placeholder: "smaller comes first" });
  const optional = ({ input }) => (input.value === "" ? null : Number(input.value));
  const save = methods.has("createrole") && methods.has("editrole") && form("Save role",
    [id.row, label.row, about.row, hue.row, order.row], async () => {
      const name = id.input.value.trim();
      const method = known.some((it) => it.id === name) ? "editrole" : "createrole";
      await call(method, name, label.input.value.trim(), about.input.value.trim(), optional(hue), optional(order));
      say(`${name}: saved.`);
      await again();
    });
  const change = (it) => {
    [[id, it.id], [label, it.label], [about, it.description], [hue, it.color], [order, it.order]]
      .forEach(([to, value]) => { to.input.value = value ?? ""; });
    label.input.focus();
  };
  const remove = async (it) => {
    const text = "It is taken from all members who have it.";
    if (!await certain(`Delete the role ${it.label || it.id}?`, text, "Delete role")) return;
    await call("deleterole", it.id);
    say(`${it.id}: deleted.`);
    await again();
  };
  const rows = known.map((it) => [h("span.tag", it.label || it.id), h("code", it.id), it.description ?? "", h("div.actions",
    save && button("Change", () => change(it)), methods.has("deleterole") && button("Delete", () => remove(it), "danger"))]);
  return card("Roles", "What members are called here (NIP-43). Clients show it; it allows nothing by itself. Saved under a name that there is, a role is changed.",
    table("Roles", ["Shown as", "Name", "Description", ""], rows, "None yet."), save);
}

export const peers = {
  id: "peers",
  title: "Peers",
  needs: ["chappe.peers"],
  async show(body, { call }) {
    const tones = { following: "good", away: "bad" };
    const ways = { both: "both ways", down: "from there", up: "to there" };
    const since = (secs) => (secs ? time(secs) : "never");
    const cards = (await call("chappe.peers")).map((it) => card(it.name || it.url, it.url,
      h("p", h(`span.tag.${tones[it.stage] ?? "plain"}`, it.stage), ` ${ways[it.direction] ?? it.direction}, as of `, time(it.noted_at)),
      h("dl.pairs",
        h("dt", "Came"), h("dd", `${number(it.received)}: ${number(it.stored)} stored, ${number(it.duplicate)} known, ` +
          `${number(it.refused + it.invalid)} refused`),
        h("dt", "Given"), h("dd", `${number(it.accepted)}: ${number(it.known_there)} more were known there, ` +
          `${number(it.refused_there)} refused, ${number(it.waiting)} wait`),
        h("dt", "Agreed"), h("dd", since(it.agreed_at)),
        it.last_error && [h("dt", "Last error"), h("dd", time(it.last_error_at), ` ${it.last_error}`)])));
    body.replaceChildren(...(cards.length ? cards : [h("p.empty", "This relay has no peers.")]));
  },
};

export const relay = {
  id: "relay",
  title: "Relay",
  needs: ["changerelayname", "allowkind"],
  async show(body, { call, methods }) {
    const answer = await fetch("/", { headers: { accept: "application/nostr+json" } });
    const said = await answer.json();
    const parts = [
      ["changerelayname", "Name", said.name, {}],
      ["changerelaydescription", "Description", said.description, { as: "textarea" }],
      ["changerelayicon", "Address of an icon", said.icon, { type: "url" }],
    ].filter(([method]) => methods.has(method)).map(([method, label, value = "", properties]) => {
      const it = field(label, { ...properties, value });
      return form("Save", [it.row], async () => {
        await call(method, it.input.value);
        say(`${label}: saved.`);
      });
    });
    const about = "What clients and people see. Empty: what the configuration says.";
    const sections = parts.length ? [card("About", about, ...parts)] : [];
    if (methods.has("allowkind")) {
      const [allowed, refused] = [await call("listallowedkinds"), await call("listdisallowedkinds")];
      const kind = field("Kind", { type: "number", min: 0, max: 65535, required: true });
      const decide = (method) => async () => {
        await call(method, Number(kind.input.value));
        say(`Kind ${kind.input.value}: done.`);
        await relay.show(body, { call, methods });
      };
      const refuse = methods.has("disallowkind") && button("Refuse", decide("disallowkind"), "danger");
      const both = form("Allow", [kind.row], decide("allowkind"), "main");
      if (refuse) both.append(refuse);
      sections.push(card("Kinds", null, h("dl.pairs",
        h("dt", "Taken"), h("dd", allowed.length ? allowed.join(", ") : "All that are not refused"),
        h("dt", "Refused"), h("dd", refused.length ? refused.join(", ") : "None")), both));
    }
    body.replaceChildren(...sections);
  },
};

export const storage = {
  id: "storage",
  title: "Storage",
  needs: ["chappe.retention"],
  async show(body, { call, methods }) {
    const sections = [];
    if (methods.has("chappe.stats")) {
      const { store } = await call("chappe.stats");
      const tiles = [["Events", number(store.events)], ["Size", bytes(store.file_bytes)],
        ["Can grow to", bytes(store.map_bytes)], ["To be merged", number(store.unmerged)],
        ["Not yet freed", number(store.dead)]];
      sections.push(h("dl.tiles", tiles.map(([name, value]) => h("div", h("dt", name), h("dd", value)))));
    }
    const { rules, period_secs, is_sweeping, last } = await call("chappe.retention");
    const rule = (text) => h("li", h("code", text));
    const done = last ? [time(last.at), `, ${number(last.removed)} events removed`] : ["not since the start"];
    const sweep = rules.length > 0 && methods.has("chappe.sweep") && button("Look now", async () => {
      await call("chappe.sweep");
      say("All events are being looked at.");
    });
    sections.push(card("Retention", rules.length
      ? `All events are looked at every ${period(period_secs)}, and those go that these rules let go.`
      : "There are no rules: events stay until their author deletes them or they expire.",
      rules.length ? h("ul.rules", rules.map(rule)) : null,
      h("dl.pairs", h("dt", "Last look"), h("dd", is_sweeping ? "under way" : done)), sweep));
    if (methods.has("chappe.backups")) sections.push(await backups(call, methods));
    body.replaceChildren(...sections);
  },
};

async function backups(call, methods) {
  const { folder, period_secs, is_on, last, failed_total } = await call("chappe.backups");
  if (!folder) return card("Backups", "None are made: maintenance.backup_folder of the configuration names a place.");
  const now = methods.has("chappe.backup") && button("Back up now", async () => {
    await call("chappe.backup");
    say("A backup is being made.");
  });
  return card("Backups", `One is made every ${period(period_secs)}, of what came since the one before.`,
    h("dl.pairs", h("dt", "Folder"), h("dd", h("code", folder)),
      h("dt", "Last"), h("dd", last ? [time(last.at), last.bytes !== null && `, ${bytes(last.bytes)}`] : "none yet",
        is_on && ", the next is under way"),
      failed_total > 0 && [h("dt", "Failed"), h("dd", `${number(failed_total)} times since the start; the log says why`)]),
    now);
}

export const configuration = {
  id: "configuration",
  title: "Configuration",
  needs: ["chappe.config"],
  async show(body, { call }) {
    const keys = await call("chappe.config");
    const part = field("Key", { type: "search", placeholder: "part of a name" });
    const only = h("input", { type: "checkbox", id: "only", checked: keys.some((it) => !it.is_default) });
    const slot = h("div.settings");
    const shown = (value) => (value === null ? "absent" : typeof value === "string" ? value : JSON.stringify(value));
    const draw = () => {
      const wanted = part.input.value.trim().toLowerCase();
      const rows = keys.filter((it) => it.key.includes(wanted) && !(only.checked && it.is_default));
      slot.replaceChildren(rows.length ? h("dl", rows.map((it) => h("div",
        h("dt", h("code", it.key), !it.is_default && h("span.tag.good", "set")),
        h("dd", h("code", shown(it.value))), h("dd.muted", it.doc,
          it.reloads ? "" : " A change needs a restart.")))) : h("p.empty", "No such key."));
    };
    part.input.addEventListener("input", draw);
    only.addEventListener("change", draw);
    draw();
    body.replaceChildren(h("p.muted", "What is in force. It is changed in the configuration file."),
      h("div.row", part.row, h("label.check", only, "Only what differs from the defaults")), slot);
  },
};

// A parameter of an act; methods about events are named so, and all others that take 64 digits take keys.
function shown(method, value) {
  if (value === null || value === "") return "";
  if (!/^[0-9a-f]{64}$/.test(value)) return h("div", typeof value === "object" ? JSON.stringify(value) : String(value));
  return h("div", method.endsWith("event") ? key(note(value), note(value)) : author(value));
}

export const log = {
  id: "journal",
  title: "Journal",
  needs: ["chappe.log"],
  async show(body, { call }) {
    const slot = h("div");
    const all = [];
    const more = async () => {
      const entries = await call("chappe.log", 50, all.at(-1)?.number);
      all.push(...entries);
      const rows = all.map((it) => [time(it.at), /^[0-9a-f]{64}$/.test(it.by) ? author(it.by) : it.by,
        h("code", it.method), it.params.map((value) => shown(it.method, value)),
        it.error ? h("span.tag.bad", it.error) : "done"]);
      const older = entries.length === 50 ? button("Older", more) : "";
      slot.replaceChildren(h("div.card", table("Acts", ["When", "Who", "What", "About", "Outcome"], rows, "Nothing was done yet.")), older);
    };
    await more();
    body.replaceChildren(h("p.muted", "What administrators have done, here and by ", h("code", "relay admin"), "."), slot);
  },
};
