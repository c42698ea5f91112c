"use strict";
// What the page knows: columns of all runs, the filter's choice among them, the details of single runs when asked for.
const nasc = {};
(() => {
  const byId = (id) => document.getElementById(id);
  const live = document.documentElement.dataset.source === "live";
  const blocks = new Map(); // number -> promise of its details

  function make(tag, properties = {}, ...children) {
    const { dataset, ...rest } = properties;
    const element = Object.assign(document.createElement(tag), rest);
    Object.assign(element.dataset, dataset);
    for (const [name, value] of Object.entries(rest)) if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  const PREFIXES = [[1, "s"], [1e-3, "ms"], [1e-6, "us"], [1e-9, "ns"]];

  // Seconds for people, the error with the same number of decimals.
  function seconds(value, spread) {
    if (value === null || value === undefined) return "–";
    const [scale, name] = PREFIXES.find(([scale]) => value >= scale) ?? PREFIXES[3];
    const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.max(value / scale, 1e-9))));
    const error = spread ? ` ± ${(spread / scale).toFixed(digits)}` : "";
    return `${(value / scale).toFixed(digits)}${error} ${name}`;
  }

  const percent = (value, error) => value === null || value === undefined ? "–"
    : `${(100 * value).toFixed(1)}${error ? ` ± ${(100 * error).toFixed(1)}` : ""} %`;
  const signed = (value, digits, unit) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)} ${unit}`;

  function amount(value) {
    if (value === null || value === undefined) return "–";
    for (const [scale, name] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (value >= scale) return `${(value / scale).toPrecision(3)} ${name}`;
    return String(value);
  }

  // One unit for an axis: that of the largest value.
  function unitFor(values) {
    const largest = values.reduce((a, b) => Math.max(a, b), 0);
    const [scale, name] = PREFIXES.find(([scale]) => largest >= scale) ?? PREFIXES[3];
    return { name, of: (value) => value === null || value === undefined ? null : value / scale };
  }

  function load(overview) {
    nasc.overview = overview;
    nasc.columns = overview.columns;
    nasc.count = overview.count;
    nasc.methods = [...new Set(overview.columns.method)];
    blocks.clear();
    const c = nasc.columns;
    nasc.words = c.label.map((label, i) => [label, c.model[i], c.data[i], c.method[i], c.device[i], c.target[i], `seed ${c.seed[i]}`].join(" ").toLowerCase());
  }

  // Places of the runs that fit the filter.
  function choose(filter) {
    const c = nasc.columns, wanted = filter.q.toLowerCase().split(/\s+/).filter(Boolean);
    const off = new Set(filter.off), found = [];
    for (let i = 0; i < nasc.count; i++) {
      if (off.has(c.method[i]) || (filter.model && c.model[i] !== filter.model) || (filter.device && c.device[i] !== filter.device)
        || (filter.target && c.target[i] !== filter.target)) continue;
      if (wanted.length && !wanted.every((word) => nasc.words[i].includes(word))) continue;
      found.push(i);
    }
    return found;
  }

  // Places that no other is at least as fast and as accurate as, from fast to slow; equal ones stay together.
  function pareto(places, latency, accuracy) {
    const order = [...places].sort((a, b) => latency[a] - latency[b] || accuracy[b] - accuracy[a]);
    const front = [];
    for (const i of order) {
      const last = front.at(-1);
      if (last === undefined || accuracy[i] > accuracy[last] || (accuracy[i] === accuracy[last] && latency[i] === latency[last])) front.push(i);
    }
    return front;
  }

  async function details(place) {
    const number = Math.floor(place / nasc.overview.block);
    if (!blocks.has(number)) {
      blocks.set(number, live ? fetch(`/blocks/${number}`).then((answer) => answer.json())
        : Promise.resolve(JSON.parse(byId(`block-${number}`).textContent)));
    }
    return (await blocks.get(number))[place % nasc.overview.block];
  }

  function toCsv(places) {
    const names = Object.keys(nasc.columns);
    const cell = (value) => value === null ? "" : /[",\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value);
    const shown = (name, i) => name === "conditions" ? nasc.overview.conditions[nasc.columns[name][i]].title : nasc.columns[name][i];
    return [names.join(","), ...places.map((i) => names.map((name) => cell(shown(name, i))).join(","))].join("\n") + "\n";
  }

  function save(text, name, type) {
    const link = make("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
    link.click();
    URL.revokeObjectURL(link.href);
  }

  Object.assign(nasc, { byId, live, make, seconds, percent, signed, amount, unitFor, load, choose, pareto, details, toCsv, save });
})();
