// Charts of what happens, drawn as SVG: the last few minutes, one or two lines.

import { h, span } from "./dom.js";

const WIDTH = 480;
const HEIGHT = 120;
const POINTS = 120;

function draw(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// The next round number: 1, 2 or 5 with zeros.
function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((it) => it * power).find((it) => it >= value);
}

export class Chart {
  // `lines` are names; `write` makes a text of a value.
  constructor(title, lines, write) {
    this.title = title;
    this.write = write;
    this.lines = lines.map((name) => ({ name, values: [] }));
    this.paths = lines.map((_, place) => draw("path", { class: `line line-${place}` }));
    this.area = draw("path", { class: "area" });
    this.top = h("span.top-of-scale");
    this.since = h("span", "4 minutes ago");
    this.taken = [];
    this.values = lines.map(() => h("b", "\u2013"));
    const grid = [0.25, 0.5, 0.75].map((part) => {
      return draw("path", { class: "grid", d: `M0 ${HEIGHT * part}H${WIDTH}` });
    });
    this.svg = draw("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
    }, ...grid, this.area, ...this.paths);
    const legend = lines.map((name, place) => h(`span.legend.legend-${place}`, name, " ", this.values[place]));
    this.element = h("figure.chart", h("figcaption", h("h3", title), h("div.legends", legend)),
      h("div.plot", this.svg, this.top), h("div.times", this.since, h("span", "now")));
    this.element.dataset.points = 0;
    this.describe();
  }

  // Adds the newest value of each line; null where there is none.
  add(...values) {
    values.forEach((value, place) => {
      const line = this.lines[place].values;
      line.push(value);
      if (line.length > POINTS) line.shift();
      this.values[place].textContent = value === null ? "\u2013" : this.write(value);
    });
    this.element.dataset.points = this.lines[0].values.length;
    this.taken.push(performance.now());
    // Nothing is added while nobody looks, so the oldest may be older than it should be.
    if (this.taken.length > POINTS) {
      this.taken.shift();
      this.since.textContent = `${span(Math.round((this.taken.at(-1) - this.taken[0]) / 60000) * 60)} ago`;
    }
    this.render();
    this.describe();
  }

  render() {
    const all = this.lines.flatMap((line) => line.values.filter((it) => it !== null));
    const most = ceiling(Math.max(0, ...all));
    this.top.textContent = this.write(most);
    this.lines.forEach(({ values }, place) => {
      const offset = POINTS - values.length;
      let path = "";
      let down = false;
      values.forEach((value, at) => {
        if (value === null) { down = false; return; }
        const x = ((offset + at) * WIDTH) / (POINTS - 1);
        const y = HEIGHT - 2 - (value / most) * (HEIGHT - 6);
        path += `${down ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
        down = true;
      });
      this.paths[place].setAttribute("d", path);
      if (place === 0) {
        const whole = values.length > 1 && !values.includes(null);
        const left = (offset * WIDTH) / (POINTS - 1);
        this.area.setAttribute("d", whole ? `${path}V${HEIGHT}H${left.toFixed(1)}Z` : "");
      }
    });
  }

  describe() {
    const now = this.lines.map(({ name, values }) => {
      const value = values.at(-1);
      return `${name} ${value === undefined || value === null ? "not known" : this.write(value)}`;
    });
    this.svg.setAttribute("aria-label", `${this.title}: ${now.join(", ")}`);
  }
}
