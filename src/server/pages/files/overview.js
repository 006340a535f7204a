// The room that is seen first: what the relay does at this moment, in numbers and charts.

import { Chart } from "./chart.js";
import { brief, bytes, h, number, span } from "./dom.js";

const PERIOD = 2000;
const millis = (value) => (value < 1 ? `${value.toFixed(2)} ms` : `${brief(value)} ms`);

// Returns in which time so many of what came between two readings were done, in milliseconds: place n
// of a reading counts what took up to 2^n microseconds.
function quantile(before, now, share) {
  const counts = now.map((count, place) => count - before[place]);
  const wanted = counts.at(-1) * share;
  if (!wanted) return null;
  const place = counts.findIndex((it) => it >= wanted);
  const [below, low] = place ? [counts[place - 1], 2 ** (place - 1)] : [0, 0];
  return (low + ((2 ** place - low) * (wanted - below)) / (counts[place] - below)) / 1000;
}

// The charts of this visit: who comes back to the room finds them where they were.
let kept = null;

function drawn() {
  const names = ["Events stored", "Connections", "Subscriptions", "Store", "Memory", "Up for"];
  const it = {
    tiles: names.map((name) => ({ name, place: h("dd") })),
    charts: {
      events: new Chart("Events per second", ["received", "sent"], brief),
      latency: new Chart("Latency, p99", ["query", "commit"], millis),
      connections: new Chart("Connections", ["connections", "subscriptions"], brief),
      refused: new Chart("Refused per second", ["refused", "too fast"], brief),
      store: new Chart("Store", ["file"], bytes),
      processor: new Chart("Processor", ["cores in use"], (it) => it.toFixed(2)),
      peers: new Chart("Events of peers per second", ["came", "given"], brief),
    },
    last: null,
  };
  it.charts.peers.element.hidden = true;
  return it;
}

// Reads the figures, with totals in the words of the charts.
async function read(call) {
  const now = await call("chappe.stats");
  const sum = (counts) => Object.values(counts).reduce((all, it) => all + it, 0);
  const { received_total, sent_stored_total, sent_live_total, refused_total } = now.events;
  now.totals = {
    received: received_total, sent: sent_stored_total + sent_live_total,
    refused: sum(refused_total) + sum(now.clients.questions_refused_total),
    fast: sum(now.guard.too_fast_total), cpu: now.process.cpu_micros_total,
    came: now.peers.received_total, given: now.peers.accepted_total,
  };
  now.taken = performance.now();
  return now;
}

// Draws what came between the last figures and these.
function step(it, now) {
  const { charts, last } = it;
  it.last = now;
  const { store, clients, process, up_secs } = now;
  const values = [number(store.events), number(clients.connections), number(clients.subscriptions),
    bytes(store.file_bytes), bytes(process.resident_bytes), span(up_secs)];
  it.tiles.forEach(({ place }, at) => { place.textContent = values[at]; });
  // Another process has begun to count anew.
  if (!last || up_secs < last.up_secs) return;
  const secs = (now.taken - last.taken) / 1000;
  const rate = (name) => Math.max(0, (now.totals[name] - last.totals[name]) / secs);
  charts.events.add(rate("received"), rate("sent"));
  charts.refused.add(rate("refused"), rate("fast"));
  charts.connections.add(clients.connections, clients.subscriptions);
  charts.store.add(store.file_bytes);
  charts.processor.add(rate("cpu") / 1e6);
  const { following, syncing, away } = now.peers;
  charts.peers.element.hidden = following + syncing + away === 0;
  charts.peers.add(rate("came"), rate("given"));
  charts.latency.add(...["query_micros", "commit_micros"].map((name) => {
    return quantile(last.latency[name].at_most_power_of_two, now.latency[name].at_most_power_of_two, 0.99);
  }));
}

export const overview = {
  id: "overview",
  title: "Overview",
  needs: ["chappe.stats"],
  async show(body, { call }) {
    const it = (kept ??= drawn());
    step(it, await read(call));
    const halt = h("input", { type: "checkbox", id: "halt" });
    body.replaceChildren(
      h("dl.tiles", it.tiles.map(({ name, place }) => h("div", h("dt", name), place))),
      h("div.charts", Object.values(it.charts).map((chart) => chart.element)),
      h("label.check", halt, "Pause"),
      h("p.note", "Each look, every two seconds, is a signed request."));
    let timer;
    const turn = async () => {
      // Nobody looks at a hidden tab, and each look is a signature.
      if (!document.hidden && !halt.checked) await read(call).then((now) => step(it, now), () => {});
      if (timer !== null) timer = setTimeout(turn, PERIOD);
    };
    timer = setTimeout(turn, PERIOD);
    return () => {
      clearTimeout(timer);
      timer = null;
    };
  },
};
