// Elements and words for people, in as few words of code as possible.

import { npub } from "./nostr.js";

// Makes an element: h("p.note", { title: "x" }, "text", child). Properties that begin with `on` are
// listeners, those with a dash are attributes.
export function h(name, properties, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  const isChild = properties instanceof Node || Array.isArray(properties) || typeof properties !== "object";
  if (isChild) children.unshift(properties);
  else {
    for (const [key, value] of Object.entries(properties ?? {})) {
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (key.includes("-") || key === "role" || key === "for") element.setAttribute(key, value);
      else element[key] = value;
    }
  }
  element.append(...children.flat(2).filter((it) => it !== undefined && it !== null && it !== false));
  return element;
}

const plain = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const number = (value) => plain.format(value);
export const brief = (value) => (value < 10000 ? plain.format(Math.round(value * 10) / 10) : short.format(value));

export function bytes(value) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let place = 0;
  for (; value >= 1000 && place < 4; place++) value /= 1000;
  return `${value < 10 && place ? value.toFixed(1) : Math.round(value)} ${units[place]}`;
}

export function span(secs) {
  for (const [unit, size] of [["year", 31536000], ["day", 86400], ["hour", 3600], ["minute", 60]]) {
    const count = Math.floor(secs / size);
    if (count) return `${count} ${unit}${count > 1 ? "s" : ""}`;
  }
  return `${Math.round(secs)} s`;
}

export function time(secs) {
  const date = new Date(secs * 1000);
  const valid = !Number.isNaN(date.getTime());
  const text = valid ? date.toISOString().replace("T", " ").slice(0, 16) : String(secs);
  return h("time", { dateTime: valid ? date.toISOString() : "", title: "UTC" }, text);
}

// A key or id that is too long to be read: its ends, and the whole to be copied.
export function key(text, whole = text) {
  return h("code.key", { title: whole }, text.length > 24 ? `${text.slice(0, 12)}\u2026${text.slice(-6)}` : text);
}
export const author = (hex) => key(npub(hex), npub(hex));

const said = document.getElementById("said");
let fading;
// Says what has happened, to eyes and to screen readers.
export function say(text, tone = "good") {
  said.textContent = text;
  said.dataset.tone = tone;
  clearTimeout(fading);
  fading = setTimeout(() => { said.textContent = ""; }, tone === "good" ? 5000 : 12000);
}

// Does what a button is for, once at a time. The button stays where the keyboard is.
async function once(it, act) {
  if (it.ariaDisabled === "true") return;
  it.ariaDisabled = "true";
  try {
    await act();
  } catch (error) {
    say(error.message, "bad");
  } finally {
    it.ariaDisabled = "false";
  }
}

// A button that does something that takes a while.
export function button(label, act, kind = "") {
  const it = h(`button${kind && `.${kind}`}`, { type: "button" }, label);
  it.addEventListener("click", () => once(it, act));
  return it;
}

let fields = 0;
// A labelled field. `properties.as` is the element, input by default.
export function field(label, { as = "input", hint, ...properties } = {}, ...children) {
  const id = `field-${++fields}`;
  const input = h(as, { id, autocomplete: "off", ...(as === "input" && { type: "text" }), ...properties }, ...children);
  const described = hint && h("p.note", { id: `${id}-hint` }, hint);
  if (hint) input.setAttribute("aria-describedby", `${id}-hint`);
  const row = h("div.field", h("label", { for: id }, label), input, described);
  return { row, input };
}

// A form that is sent by a button or the Enter key.
export function form(label, parts, act, kind = "main") {
  const send = h(`button.${kind}`, { type: "submit" }, label);
  const it = h("form.row", ...parts, send);
  it.addEventListener("submit", (event) => {
    event.preventDefault();
    once(send, act);
  });
  return it;
}

// A table; rows are lists of cells. Narrow screens show each row as a block with these headings.
export function table(caption, headings, rows, empty = "Nothing here.") {
  if (!rows.length) return h("p.empty", empty);
  const cell = (it, place) => h("td", { "data-label": headings[place] }, it);
  return h("table.list", h("caption.hidden", caption),
    h("thead", h("tr", headings.map((it) => h("th", { scope: "col" }, it)))),
    h("tbody", rows.map((row) => h("tr", row.map(cell)))));
}
