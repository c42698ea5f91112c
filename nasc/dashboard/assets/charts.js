"use strict";
// From values to figures of plotly.js; colours of text and grid come from the style sheet.
(() => {
  const { byId, make } = nasc;
  const PALETTE = ["#2f6fed", "#e8710a", "#12a37f", "#c2338a", "#8a63d2", "#b8860b", "#0f9fb5", "#d64545", "#5f7f1f", "#7a5c3e"];
  const SYMBOLS = ["circle", "square", "triangle-up", "cross", "star", "hexagon", "triangle-down", "x", "diamond-tall", "pentagon"];
  const NEUTRAL = "#8a8f98";
  const config = { displaylogo: false, responsive: true, showSendToCloud: false, plotlyServerURL: "", displayModeBar: false };
  const drawn = new Map(); // element id -> figure, to be drawn again when the theme changes

  const narrow = () => window.matchMedia("(max-width: 720px)").matches;
  const style = (method) => {
    const place = Math.max(0, nasc.methods.indexOf(method));
    return { color: PALETTE[place % PALETTE.length], symbol: SYMBOLS[place % SYMBOLS.length] };
  };
  // Plotly reads a little HTML in its texts; names from records are text.
  const text = (value) => String(value).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function themed(layout) {
    const result = { ...layout };
    result.paper_bgcolor = result.plot_bgcolor = "rgba(0,0,0,0)";
    result.font = { family: getComputedStyle(document.body).fontFamily, size: narrow() ? 11 : 12.5, color: color("--ink") };
    result.hoverlabel = { align: "left", bgcolor: color("--card"), bordercolor: color("--line"), font: { color: color("--ink") } };
    const axis = { gridcolor: color("--grid"), linecolor: color("--line"), zerolinecolor: color("--line"), tickcolor: color("--line"), zeroline: false, automargin: true };
    for (const key of ["xaxis", "yaxis", ...Object.keys(layout).filter((name) => /^[xy]axis\d+$/.test(name))]) result[key] = { ...axis, ...layout[key] };
    result.margin = { l: narrow() ? 46 : 60, r: 14, t: 34, b: 52, ...layout.margin };
    result.legend = { orientation: "h", x: 0, y: 1.01, yanchor: "bottom", xanchor: "left", ...layout.legend };
    result.annotations = (layout.annotations ?? []).map((note) => ({ ...note, font: { color: color("--soft"), size: 11, ...note.font } }));
    result.dragmode = window.matchMedia("(pointer: fine)").matches ? "zoom" : false; // touch scrolls the page
    return result;
  }

  function draw(id, figure) {
    const element = byId(id);
    if (!element) return Promise.resolve();
    drawn.set(id, figure);
    element.style.height = `${figure.layout.height}px`;
    return Plotly.react(element, figure.data, themed(figure.layout), config);
  }

  const redraw = () => { for (const [id, figure] of drawn) if (byId(id)) draw(id, figure); else drawn.delete(id); };

  // A card with a figure inside and buttons that save it.
  function card(id, title, note, label) {
    const save = (format) => make("button", { type: "button", textContent: format.toUpperCase(), title: `Download as ${format.toUpperCase()}`,
      onclick: () => Plotly.downloadImage(id, { format, filename: id, scale: format === "png" ? 2 : 1, width: byId(id).clientWidth, height: byId(id).clientHeight }) });
    return make("section", { className: "card", "aria-labelledby": `${id}-head` },
      make("div", { className: "bar" }, make("h2", { id: `${id}-head`, textContent: title }),
        make("div", { className: "tools" }, save("png"), save("svg"))),
      make("p", { id: `${id}-note`, textContent: note }),
      make("div", { className: "plot", id, role: "img", "aria-label": label ?? title }));
  }

  function widths(run) {
    const names = run.widths.map((w) => text(w.name)), dense = run.widths.map((w) => w.dense), kept = run.widths.map((w) => w.kept);
    const hover = run.widths.map((w) => `<b>${text(w.name)}</b><br>${w.kept} of ${w.dense} kept (${Math.round(100 * w.kept / Math.max(w.dense, 1))} %)`);
    const bar = (name, x, fill, more) => ({ type: "bar", orientation: "h", name, x, y: names, marker: { color: fill }, hovertext: hover, hoverinfo: "text", ...more });
    return {
      data: [
        bar("dense", dense, "rgba(138,143,152,.28)", { text: run.widths.map((w) => `${w.kept} / ${w.dense}`), textposition: "outside", cliponaxis: false }),
        bar("kept", kept, PALETTE[0]),
      ],
      layout: { height: 100 + 26 * Math.max(names.length, 3), barmode: "overlay", bargap: 0.3,
        yaxis: { autorange: "reversed", type: "category", showgrid: false }, xaxis: { title: { text: "entries" }, range: [0, 1.25 * Math.max(1, ...dense)], showgrid: false } },
    };
  }

  function forms(run) {
    const names = run.forms.map((f) => text(f.name));
    const bars = (key, title, axis, fill) => ({ type: "bar", orientation: "h", name: title, y: names, x: run.forms.map((f) => f[key]), xaxis: axis, marker: { color: fill } });
    return {
      data: [bars("bits", "bits", "x", PALETTE[4]), bars("density", "share of weights that are not zero", "x2", PALETTE[2])],
      layout: { height: 110 + 24 * Math.max(names.length, 3), showlegend: false, yaxis: { autorange: "reversed", type: "category" },
        xaxis: { domain: [0, 0.47], title: { text: "bits" }, range: [0, 32] }, xaxis2: { domain: [0.53, 1], anchor: "y", title: { text: "density" }, range: [0, 1] } },
    };
  }

  const PANELS = [["loss", /loss/], ["accuracy", /accuracy/], ["price", /^(price|predicted_s)$/], ["strength λ", /^(strength|lambda)$/]];

  // Loss, accuracy, predicted latency with the target, and the strength λ, one above the other.
  function curves(run, target) {
    const { positions, series, unit } = run.curves;
    const panels = PANELS.map(([title, pattern]) => [title, Object.entries(series).filter(([name]) => pattern.test(name))]).filter(([, lines]) => lines.length);
    const layout = { height: 70 + 150 * Math.max(panels.length, 1), hovermode: "x unified", annotations: [], shapes: [], legend: { font: { size: 11 } } };
    const data = [], gap = 0.07, share = (1 - gap * (panels.length - 1)) / Math.max(panels.length, 1);
    panels.forEach(([title, lines], row) => {
      const suffix = row ? row + 1 : "";
      const timed = title === "price" && target !== null;
      const time = timed ? nasc.unitFor(lines.flatMap(([, values]) => values.filter((v) => v !== null))) : null;
      const scale = (value) => value === null ? null : timed ? time.of(value) : title === "accuracy" ? 100 * value : value;
      lines.forEach(([name, values], place) => data.push({
        type: "scatter", mode: positions.length > 30 ? "lines" : "lines+markers", name: text(name.replace(/_s$/, "").replaceAll("_", " ")), x: positions, y: values.map(scale),
        yaxis: `y${suffix}`, xaxis: "x", connectgaps: true, line: { width: 2, color: PALETTE[(row + 2 * place) % PALETTE.length] }, marker: { size: 5 },
      }));
      const top = 1 - row * (share + gap);
      const positive = lines.every(([, values]) => values.every((v) => v === null || v > 0));
      layout[`yaxis${suffix}`] = { domain: [Math.max(0, top - share), top], title: { text: timed ? `latency (${time.name})` : title === "accuracy" ? "accuracy (%)" : title },
        ...(title === "strength λ" ? { tickformat: ".0e", nticks: 5, ...(positive ? { type: "log" } : {}) } : {}) };
      if (timed) layout.shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, yref: `y${suffix}`, y0: time.of(target), y1: time.of(target), line: { dash: "dot", color: NEUTRAL, width: 1.5 } });
    });
    layout.xaxis = { title: { text: unit }, anchor: panels.length > 1 ? `y${panels.length}` : "y" };
    return { data, layout };
  }

  function predictions(places) {
    const c = nasc.columns, seen = new Set(), found = [];
    for (const i of places) {
      if (c.predicted_s[i] && c.measured_s[i]) found.push([c.label[i], c.predicted_s[i], c.measured_s[i], c.spread_s[i] ?? 0, c.method[i]]);
      const dense = `${c.model[i]}, dense, ${c.dense_predicted_s[i]}, ${c.dense_measured_s[i]}`;
      if (c.dense_predicted_s[i] && c.dense_measured_s[i] && !seen.has(dense)) found.push([`${c.model[i]}, dense`, c.dense_predicted_s[i], c.dense_measured_s[i], c.dense_spread_s[i] ?? 0, "dense"]);
      seen.add(dense);
    }
    if (!found.length) return null;
    const unit = nasc.unitFor(found.map((p) => p[2])), both = found.flatMap((p) => [unit.of(p[1]), unit.of(p[2])]);
    const ends = [0.93 * both.reduce((a, b) => Math.min(a, b)), 1.07 * both.reduce((a, b) => Math.max(a, b))];
    const groups = Object.entries(Object.groupBy ? Object.groupBy(found, (p) => p[4]) : found.reduce((all, p) => ({ ...all, [p[4]]: [...(all[p[4]] ?? []), p] }), {}));
    return {
      data: [
        { type: "scatter", x: [...ends, ...[...ends].reverse()], y: [...ends.map((e) => 0.97 * e), ...[...ends].reverse().map((e) => 1.03 * e)], fill: "toself", mode: "lines", line: { width: 0 }, fillcolor: "rgba(138,143,152,.2)", name: "± 3 %", hoverinfo: "skip" },
        { type: "scatter", x: ends, y: ends, mode: "lines", line: { color: NEUTRAL, dash: "dot" }, name: "equal", hoverinfo: "skip" },
        ...groups.map(([method, points]) => ({
          type: "scatter", mode: "markers", name: text(method), x: points.map((p) => unit.of(p[1])), y: points.map((p) => unit.of(p[2])),
          marker: { size: 9, opacity: 0.85, ...(method === "dense" ? { color: NEUTRAL, symbol: "diamond" } : style(method)) },
          ...(found.length <= 600 ? { error_y: { array: points.map((p) => unit.of(p[3])), thickness: 1.2, width: 3 } } : {}),
          hovertext: points.map((p) => `<b>${text(p[0])}</b><br>predicted ${nasc.seconds(p[1])}<br>measured ${nasc.seconds(p[2], p[3])}<br>error ${nasc.signed(100 * (p[1] / p[2] - 1), 1, "%")}`), hoverinfo: "text",
        })),
      ],
      layout: { height: 440, xaxis: { title: { text: `predicted by the table (${unit.name})` } }, yaxis: { title: { text: `measured (${unit.name})` } } },
    };
  }

  Object.assign(nasc, { PALETTE, NEUTRAL, narrow, style, text, color, draw, redraw, card, charts: { widths, forms, curves, predictions } });
})();
