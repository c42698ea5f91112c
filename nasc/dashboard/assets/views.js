"use strict";
// The views behind the tabs. Each is built once and drawn when it is looked at.
(() => {
  const { byId, make, card, charts, draw } = nasc;
  const PAGE = 100; // rows of the table at once
  const state = { sort: "accuracy", up: false, page: 0 };
  const say = (id, words) => { byId(id).textContent = words; };

  function empty(words) { return make("section", { className: "card" }, make("p", { className: "empty", textContent: words })); }

  // -- accuracy against latency ------------------------------------------------------------------------------------
  const MOST_CHARTS = 6;
  function frontiers(host, view) {
    const c = nasc.columns, groups = new Map();
    for (const i of view.chosen) if (c.measured_s[i] !== null) {
      if (!groups.has(c.conditions[i])) groups.set(c.conditions[i], []);
      groups.get(c.conditions[i]).push(i);
    }
    const shown = [...groups].sort(([a], [b]) => a - b).slice(0, MOST_CHARTS);
    const key = shown.map(([place]) => place).join();
    if (host.dataset.key !== key || !host.childElementCount) {
      host.dataset.key = key;
      host.replaceChildren(...shown.map(([place]) => {
        const { title, simulated } = nasc.overview.conditions[place];
        const section = card(`frontier-${place}`, "Accuracy against latency", `${title}. Up and to the left is better; dimmed models are dominated. Choose a point to see its run.`);
        if (simulated) section.querySelector("h2").append(make("span", { className: "badge", textContent: "no real device's times" }));
        return section;
      }));
      if (!shown.length) host.append(empty(nasc.count ? "No run that fits the filter has a measured latency." : "No finished run was found. Make one: nasc demo"));
    }
    for (const [place, places] of shown) {
      const id = `frontier-${place}`, fresh = !byId(id).dataset.heard, figure = charts.frontier(id, places, view.run);
      byId(id).setAttribute("aria-label", nasc.describe(places, figure.front));
      draw(id, figure).then(() => { if (fresh) { byId(id).dataset.heard = "yes"; nasc.listen(byId(id), (i) => view.pick(i, true)); } });
    }
  }

  // -- the table of runs -------------------------------------------------------------------------------------------
  const ratio = (a, b) => a !== null && b ? a / b - 1 : null;
  const COLUMNS = [
    ["Run", "label", (i) => nasc.columns.label[i]], ["Method", "method", (i) => nasc.columns.method[i]], ["Target", "target_s", (i) => nasc.columns.target[i]],
    ["Device", "device", (i) => nasc.columns.device[i]],
    ["Predicted", "predicted_s", (i) => nasc.seconds(nasc.columns.predicted_s[i])], ["Measured", "measured_s", (i) => nasc.seconds(nasc.columns.measured_s[i], nasc.columns.spread_s[i])],
    ["vs dense", (i) => ratio(nasc.columns.measured_s[i], nasc.columns.dense_measured_s[i]), (i, v) => v === null ? "–" : nasc.signed(100 * v, 1, "%")],
    ["Accuracy", "accuracy", (i) => nasc.percent(nasc.columns.accuracy[i], nasc.columns.accuracy_stderr[i])],
    ["vs dense", (i) => nasc.columns.dense_accuracy[i] === null ? null : nasc.columns.accuracy[i] - nasc.columns.dense_accuracy[i], (i, v) => v === null ? "–" : nasc.signed(100 * v, 2, "points")],
    ["MACs", "macs", (i) => nasc.amount(nasc.columns.macs[i])], ["Parameters", "params", (i) => nasc.amount(nasc.columns.params[i])],
    ["Training", "train_s", (i) => nasc.seconds(nasc.columns.train_s[i])], ["Seed", "seed", (i) => nasc.columns.seed[i]],
  ];
  const keyOf = (column) => typeof column[1] === "string" ? column[1] : `${column[0]} ${COLUMNS.indexOf(column)}`;
  const valueOf = (column, i) => typeof column[1] === "string" ? nasc.columns[column[1]][i] : column[1](i);

  function sorted(places) {
    const column = COLUMNS.find((one) => keyOf(one) === state.sort), values = new Map(places.map((i) => [i, valueOf(column, i)]));
    const order = (a, b) => {
      const [x, y] = [values.get(a), values.get(b)];
      if (x === null || y === null) return (x === null) - (y === null); // what is absent stays below
      const sign = typeof x === "string" ? x.localeCompare(y) : x - y;
      return state.up ? sign : -sign;
    };
    return [...places].sort(order);
  }

  function table(host, view) {
    if (!host.childElementCount) {
      const heads = COLUMNS.map((column) => make("th", { scope: "col", dataset: { key: keyOf(column) } }, make("button", { type: "button", textContent: column[0], onclick: () => {
        state.up = state.sort === keyOf(column) ? !state.up : true; state.sort = keyOf(column); state.page = 0; table(host, nasc.view);
      } })));
      host.append(make("section", { className: "card", "aria-labelledby": "runs-head" }, make("div", { className: "bar" }, make("h2", { id: "runs-head", textContent: "Runs" })),
        make("div", { className: "scroll tall", tabIndex: 0, role: "region", "aria-labelledby": "runs-head" }, make("table", { id: "runs" }, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}))),
        make("div", { className: "pager" }, make("button", { type: "button", id: "before", textContent: "Previous", onclick: () => { state.page--; table(host, nasc.view); } }),
          make("span", { id: "rows-shown", role: "status" }), make("button", { type: "button", id: "after", textContent: "Next", onclick: () => { state.page++; table(host, nasc.view); } }))));
    }
    const places = sorted(view.chosen), pages = Math.max(1, Math.ceil(places.length / PAGE));
    state.page = Math.min(Math.max(0, state.page), pages - 1);
    for (const head of host.querySelectorAll("th")) if (head.dataset.key === state.sort) head.setAttribute("aria-sort", state.up ? "ascending" : "descending"); else head.removeAttribute("aria-sort");
    const shown = places.slice(state.page * PAGE, (state.page + 1) * PAGE);
    byId("runs").setAttribute("aria-rowcount", places.length + 1);
    byId("runs").tBodies[0].replaceChildren(...shown.map((i, row) => make("tr", { dataset: { place: i }, "aria-rowindex": state.page * PAGE + row + 2, "aria-selected": String(i === view.run) },
      ...COLUMNS.map((column, k) => k === 0 ? make("td", {}, make("button", { type: "button", textContent: nasc.columns.label[i], onclick: () => view.pick(i, true) }))
        : make("td", { className: column[0] === "Measured" ? { true: "good", false: "bad" }[nasc.columns.met[i]] ?? "" : "", textContent: column[2](i, valueOf(column, i)) })))));
    say("rows-shown", places.length ? `${state.page * PAGE + 1} to ${state.page * PAGE + shown.length} of ${places.length.toLocaleString("en")}` : "no run fits the filter");
    byId("before").disabled = state.page === 0;
    byId("after").disabled = state.page >= pages - 1;
  }

  // -- one run, and two beside each other ---------------------------------------------------------------------------
  function picker(id, label, value, onPick, view, none) {
    const select = make("select", { id });
    const options = view.chosen.slice(0, 2000);
    if (value !== null && !options.includes(value)) options.unshift(value);
    if (none) select.append(make("option", { value: "", textContent: none }));
    select.append(...options.map((i) => make("option", { value: i, textContent: nasc.columns.label[i] })));
    select.value = value ?? "";
    select.addEventListener("change", () => onPick(select.value === "" ? null : Number(select.value)));
    return make("label", {}, `${label} `, select);
  }

  const pair = (...cards) => make("div", { className: "pair" }, ...cards);

  async function run(host, view) {
    if (view.run === null) { host.replaceChildren(empty("No run to show.")); return; }
    const place = view.run, found = await nasc.details(place);
    if (place !== view.run) return; // another was picked meanwhile
    const inside = [make("section", { className: "card" }, make("div", { className: "bar" }, make("h2", { textContent: "One run" }), picker("pick", "Run", place, (i) => view.pick(i, false), view)),
      make("p", { id: "run-title", role: "status", textContent: found.title }),
      ...[...found.warnings, ...found.problems].map((words) => make("div", { className: "problems", textContent: words })),
      make("details", { id: "provenance" }, make("summary", { textContent: "Conditions and provenance" }), make("dl", { className: "details" }, ...found.lines.flatMap(([name, words]) => [make("dt", { textContent: name }), make("dd", { textContent: words })]))))];
    const figures = [];
    const add = (id, title, note, figure) => { figures.push([id, figure]); return card(id, title, note); };
    const blocks = [];
    if (found.widths.length) blocks.push(add("widths", "What is kept of every dim", "Channels, hidden widths, heads and ranks, in the order of the network.", charts.widths(found)));
    if (found.curves) blocks.push(add("curves", "Training", "Loss, accuracy, predicted latency with the target, and the strength λ.", charts.curves(found, nasc.columns.target_s[place])));
    if (blocks.length) inside.push(blocks.length === 2 ? pair(...blocks) : blocks[0]);
    if (found.forms.length) inside.push(add("forms", "Bits and densities of the weights", "Grid width of every quantised tensor, and the share of its entries that are not zero.", charts.forms(found)));
    found.analyses.forEach((analysis, k) => inside.push(add(`analysis-${k}`, analysis.title, "From nasc analyze.", { data: analysis.figure.data, layout: { height: 420, ...analysis.figure.layout } })));
    const members = found.family.length ? charts.family(found) : null;
    if (members) inside.push(...familyCards(members, figures));
    if (inside.length === 1) inside.push(empty("The record lists no dims and has no training history."));
    host.replaceChildren(...inside);
    await Promise.all(figures.map(([id, figure]) => draw(id, figure)));
  }

  // The slider goes from the fastest member's price to the slowest's; each is a target.
  function familyCards(members, figures) {
    const move = () => { const place = Number(byId("member").value); byId("member-says").textContent = members.say(place); byId("member").setAttribute("aria-valuetext", members.say(place)); draw("family-line", members.line(place)); };
    const section = card("family-line", "A sorted family", "Move the target: of the members that meet it, the most accurate is chosen.");
    section.querySelector("p").after(make("div", { className: "slider" }, make("label", { for: "member", textContent: "Target" }),
      make("input", { type: "range", id: "member", min: 0, max: members.members.length - 1, step: 1, value: members.members.length - 1, oninput: move }), make("output", { id: "member-says", textContent: members.say(members.members.length - 1) })));
    figures.push(["family-line", members.line(members.members.length - 1)]);
    if (!members.map) return [section];
    figures.push(["family-map", members.map]);
    return [section, card("family-map", "Members of the family", "What share of every dim each member keeps.")];
  }

  // What one would compare a run with: another method for the same target under the same conditions, else any other run.
  function rival(view) {
    const c = nasc.columns, near = (i) => c.conditions[i] === c.conditions[view.run] && c.target[i] === c.target[view.run];
    return view.chosen.find((i) => near(i) && c.method[i] !== c.method[view.run]) ?? view.chosen.find((i) => i !== view.run);
  }

  async function versus(host, view) {
    if (view.run === null || nasc.count < 2) { host.replaceChildren(empty("Two runs are needed.")); return; }
    const other = view.with ?? rival(view) ?? view.run, [a, b] = [view.run, other];
    const [first, second] = await Promise.all([nasc.details(a), nasc.details(b)]);
    const c = nasc.columns, row = (name, show) => make("tr", {}, make("th", { scope: "row", textContent: name }), make("td", { textContent: show(a) }), make("td", { textContent: show(b) }));
    host.replaceChildren(make("section", { className: "card" }, make("div", { className: "bar" }, make("h2", { textContent: "Two models, layer by layer" }),
      picker("pick-a", "First", a, (i) => view.pick(i, false), view), picker("pick-b", "Second", b, (i) => view.compare(i), view)),
    make("div", { className: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, make("td", {}), make("th", { scope: "col", textContent: c.label[a] }), make("th", { scope: "col", textContent: c.label[b] }))),
      make("tbody", {}, row("Method", (i) => c.method[i]), row("Target", (i) => c.target[i]), row("Measured", (i) => nasc.seconds(c.measured_s[i], c.spread_s[i])), row("Predicted", (i) => nasc.seconds(c.predicted_s[i])),
        row("Accuracy", (i) => nasc.percent(c.accuracy[i], c.accuracy_stderr[i])), row("MACs", (i) => nasc.amount(c.macs[i])), row("Parameters", (i) => nasc.amount(c.params[i])))))),
    card("versus", "What each keeps", "Share of every dim that is kept; dims of one name are the same layer where the models are the same."));
    await draw("versus", charts.versus(first, second, [c.label[a], c.label[b]]));
  }

  // -- predictions and latency tables -------------------------------------------------------------------------------
  function predicted(host, view) {
    const figure = charts.predictions(view.chosen);
    if (!figure) { host.replaceChildren(empty("No run that fits the filter was both predicted and measured.")); return undefined; }
    if (!byId("predictions")) host.replaceChildren(card("predictions", "Predicted against measured", "Latency by the table and of the exported file. Points on the line agree; the band is ± 3 %."));
    return draw("predictions", figure);
  }

  const table_state = { table: 0, grid: 0 };
  async function latency(host) {
    const tables = nasc.overview.tables;
    if (!tables.length) { host.replaceChildren(empty("No latency table of these devices is on this machine. Make one: nasc profile")); return; }
    const known = tables[Math.min(table_state.table, tables.length - 1)], grid = known.grids[Math.min(table_state.grid, known.grids.length - 1)];
    const choose = (id, label, names, value, onChange) => { const select = make("select", { id, onchange: () => { onChange(Number(select.value)); latency(host); } }, ...names.map((name, k) => make("option", { value: k, textContent: name }))); select.value = value; return make("label", {}, `${label} `, select); };
    const figures = [["heat", charts.heat(grid), "Two sizes of the kernel against each other."], ["stairs", charts.stairs(grid), "Time along one size: where it jumps, the device takes a step."]].filter(([, figure]) => figure);
    host.replaceChildren(make("section", { className: "card" }, make("div", { className: "bar" }, make("h2", { textContent: "Latency tables" }),
      choose("table", "Table", tables.map((t) => `${t.name} (${t.rows} rows)`), tables.indexOf(known), (k) => { table_state.table = k; table_state.grid = 0; }),
      choose("kernel", "Kernel", known.grids.map((g) => `${g.kernel} (${g.rows.length})`), known.grids.indexOf(grid), (k) => { table_state.grid = k; })),
    make("p", { textContent: "Every row is the floor over fresh sessions of one kernel on the device." })),
    ...(figures.length ? [pair(...figures.map(([id, , note]) => card(id, id === "heat" ? "Heat map" : "Staircase", note)))] : [empty(`${grid.kernel}: one row, ${nasc.seconds(grid.rows[0].at(-1))}`)]));
    await Promise.all(figures.map(([id, figure]) => draw(id, figure)));
  }

  nasc.views = [["frontier", "Frontier", frontiers], ["runs", "Runs", table], ["run", "One run", run], ["compare", "Compare two", versus], ["predicted", "Predicted", predicted], ["tables", "Latency tables", latency]];
})();
