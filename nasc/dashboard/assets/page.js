"use strict";
// The page: filter and view are kept in the address, so that a link leads to what is seen.
(() => {
  const { byId, make } = nasc;
  const EMPTY = { view: "frontier", q: "", model: "", device: "", target: "", off: [], run: null, with: null };
  const view = nasc.view = { ...EMPTY, chosen: [], pick, compare };

  function pick(place, open) {
    view.run = place;
    if (open) view.view = "run";
    show();
    if (open) byId("tab-run").focus();
  }
  function compare(place) { view.with = place; show(); }

  function toAddress() {
    const parts = new URLSearchParams();
    for (const name of ["view", "q", "model", "device", "target"]) if (view[name] !== EMPTY[name]) parts.set(name, view[name]);
    if (view.off.length) parts.set("off", view.off.join(","));
    for (const name of ["run", "with"]) if (view[name] !== null && view.touched) parts.set(name, nasc.columns.label[view[name]]);
    if (document.documentElement.dataset.theme) parts.set("theme", document.documentElement.dataset.theme);
    history.replaceState(null, "", `#${parts}`);
  }

  function fromAddress() {
    const parts = new URLSearchParams(location.hash.slice(1));
    for (const name of ["view", "q", "model", "device", "target"]) view[name] = parts.get(name) ?? EMPTY[name];
    if (!nasc.views.some(([name]) => name === view.view)) view.view = EMPTY.view;
    view.off = (parts.get("off") ?? "").split(",").filter((name) => nasc.methods.includes(name));
    const place = (name) => { const found = nasc.columns.label.indexOf(parts.get(name)); return found < 0 ? null : found; };
    [view.run, view.with] = [place("run"), place("with")];
    if (["light", "dark"].includes(parts.get("theme"))) document.documentElement.dataset.theme = parts.get("theme");
  }

  function fill() {
    const { overview, columns } = nasc;
    document.title = `${overview.title} · nasc`;
    byId("title").textContent = overview.title;
    byId("footer").textContent = `Made by nasc ${overview.version} on ${overview.date}. Times are of the exported files, measured on the device under the conditions named with them.`;
    byId("problems").hidden = !overview.problems.length;
    byId("problems").replaceChildren("Not everything could be read; the rest is shown.", make("ul", {}, ...overview.problems.slice(0, 50).map((words) => make("li", { textContent: words }))));
    const mood = { true: " good", false: " bad" };
    byId("headlines").replaceChildren(...overview.headlines.map((line) => make("div", {}, make("dt", { textContent: line.label }), make("dd", { className: `value${mood[line.good] ?? ""}`, textContent: line.value }), make("dd", { className: `note${mood[line.good] ?? ""}`, textContent: line.note }))));
    for (const name of ["model", "device", "target"]) {
      const values = [...new Set(columns[name])].sort();
      byId(`f-${name}`).replaceChildren(make("option", { value: "", textContent: "all" }), ...values.map((value) => make("option", { value, textContent: value })));
    }
    byId("f-methods").replaceChildren(...nasc.methods.map((method) => {
      const box = make("input", { type: "checkbox", value: method, name: "method" });
      const label = make("label", {}, box, method);
      label.style.setProperty("--chip", nasc.style(method).color);
      return label;
    }));
    byId("filters").hidden = nasc.count === 0;
  }

  function reflect() {
    for (const name of ["q", "model", "device", "target"]) { const field = byId(name === "q" ? "q" : `f-${name}`); if (field.value !== view[name]) field.value = view[name]; }
    for (const box of document.querySelectorAll("#f-methods input")) box.checked = !view.off.includes(box.value);
  }

  // Everything that depends on filter, view and run; only the view that is looked at is drawn.
  function show() {
    view.chosen = nasc.choose(view);
    if (view.run === null || view.run >= nasc.count) view.run = view.chosen[0] ?? (nasc.count ? 0 : null);
    reflect();
    const all = nasc.count.toLocaleString("en");
    const runs = view.chosen.length === nasc.count ? `${all} finished run${nasc.count === 1 ? "" : "s"}` : `${view.chosen.length.toLocaleString("en")} of ${all} finished runs`;
    byId("subtitle").textContent = `${runs}, accuracy against measured latency`;
    for (const [name, , drawView] of nasc.views) {
      const active = name === view.view, tab = byId(`tab-${name}`), panel = byId(`view-${name}`);
      tab.setAttribute("aria-selected", String(active));
      tab.tabIndex = active ? 0 : -1;
      panel.hidden = !active;
      if (active) drawView(panel, view);
    }
    toAddress();
  }

  function build() {
    for (const [name, title] of nasc.views) {
      byId("tabs").append(make("button", { type: "button", role: "tab", id: `tab-${name}`, textContent: title, "aria-controls": `view-${name}`, onclick: () => { view.view = name; show(); } }));
      byId("views").append(make("div", { id: `view-${name}`, role: "tabpanel", "aria-labelledby": `tab-${name}`, tabIndex: -1, hidden: true }));
    }
    byId("tabs").addEventListener("keydown", (event) => {
      const names = nasc.views.map(([name]) => name), step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const next = event.key === "Home" ? 0 : event.key === "End" ? names.length - 1 : step ? (names.indexOf(view.view) + step + names.length) % names.length : null;
      if (next === null) return;
      event.preventDefault();
      view.view = names[next];
      show();
      byId(`tab-${names[next]}`).focus();
    });
    let waiting = 0;
    byId("q").addEventListener("input", () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(() => { view.q = byId("q").value; show(); }); });
    for (const name of ["model", "device", "target"]) byId(`f-${name}`).addEventListener("change", () => { view[name] = byId(`f-${name}`).value; show(); });
    byId("f-methods").addEventListener("change", () => { view.off = [...document.querySelectorAll("#f-methods input:not(:checked)")].map((box) => box.value); show(); });
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("reset").addEventListener("click", () => { Object.assign(view, { ...EMPTY, view: view.view, run: view.run, with: view.with }); show(); });
    byId("csv").addEventListener("click", () => nasc.save(nasc.toCsv(view.chosen), "nasc-runs.csv", "text/csv"));
    byId("copy-link").addEventListener("click", () => navigator.clipboard?.writeText(location.href).then(() => { byId("copy-link").textContent = "Copied"; setTimeout(() => { byId("copy-link").textContent = "Copy link"; }, 1500); }));
    byId("theme").addEventListener("click", () => {
      const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      toAddress();
      nasc.redraw();
    });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nasc.redraw);
    window.addEventListener("hashchange", () => { fromAddress(); show(); });
  }

  // Runs that ended since: everything is read again, what is looked at stays.
  function listen() {
    const source = new EventSource("/events");
    let known = null;
    source.onmessage = async (event) => {
      if (known !== null && event.data !== known) {
        const label = view.run === null ? null : nasc.columns.label[view.run];
        nasc.load(await (await fetch("/data.json")).json());
        fill();
        view.run = label === null ? null : nasc.columns.label.indexOf(label);
        if (view.run < 0) view.run = null;
        show();
      }
      known = event.data;
      byId("subtitle").classList.add("live");
    };
    source.onerror = () => byId("subtitle").classList.remove("live");
  }

  nasc.load(JSON.parse(byId("data").textContent));
  build();
  fill();
  fromAddress();
  const choose = pick;
  view.pick = (place, open) => { view.touched = true; choose(place, open); };
  view.compare = (place) => { view.touched = true; compare(place); };
  if (view.run !== null) view.touched = true;
  show();
  nasc.shown = performance.now(); // how long until the first view was drawn, for whoever looks
  if (nasc.live) listen();
})();
