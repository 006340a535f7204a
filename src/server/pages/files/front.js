// The page at `/`: the address to copy, and the numbers that move.

const address = document.getElementById("address");
if (!address.textContent) {
  // The operator has not said what the relay is called outside: it is what this page was asked from.
  address.textContent = location.origin.replace(/^http/, "ws");
}

document.getElementById("copy").addEventListener("click", async () => {
  const status = document.getElementById("copied");
  getSelection().selectAllChildren(address);
  try {
    // Browsers have a clipboard for pages over TLS only.
    if (navigator.clipboard) await navigator.clipboard.writeText(address.textContent);
    else if (!document.execCommand("copy")) throw new Error();
    status.textContent = "Copied.";
  } catch {
    status.textContent = "The address is selected: copy it with your keyboard or menu.";
  }
});

const PERIOD = 3000;
const counters = document.getElementById("counters");
const places = counters ? [...counters.querySelectorAll("[data-count]")] : [];
const number = new Intl.NumberFormat("en");

function span(secs) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (secs >= size) return `${Math.floor(secs / size)} ${unit}`;
  }
  return `${secs} s`;
}

async function count() {
  const answer = await fetch("/pages/counters.json", { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(answer.statusText);
  const counts = await answer.json();
  for (const place of places) {
    const name = place.dataset.count;
    const value = counts[name];
    place.parentElement.hidden = value === undefined;
    if (value === undefined) continue;
    place.textContent = name === "up_secs" ? span(value) : number.format(value);
  }
  counters.hidden = false;
}

async function watch() {
  // Nobody looks at a hidden tab.
  if (!document.hidden) await count().catch(() => {});
  setTimeout(watch, PERIOD);
}

if (counters) {
  watch();
  document.addEventListener("visibilitychange", () => document.hidden || count().catch(() => {}));
}
