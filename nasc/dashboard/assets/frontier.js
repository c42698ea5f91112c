"use strict";
// Accuracy against measured latency, one chart for each set of conditions.
// Up to SHARP models are drawn one by one. Of more, those on the front are; the dominated ones become one picture behind
// them, so that ten thousand redraw in the time of a few hundred. They answer to the pointer all the same.
(() => {
  const { charts, text, style, NEUTRAL } = nasc;
  const SHARP = 600, DIMMED = 0.45, NEAR_PX = 9;
  const clouds = new Map(); // element id -> what its picture shows

  function hover(i) {
    const c = nasc.columns;
    const lines = [
      ["Model", c.model[i]], ["Method", `${c.method[i]}, seed ${c.seed[i]}`], ["Target", c.target[i]],
      ["Measured", nasc.seconds(c.measured_s[i], c.spread_s[i])], ["Predicted", c.predicted_s[i] && nasc.seconds(c.predicted_s[i])],
      ["Dense latency", c.dense_measured_s[i] && nasc.seconds(c.dense_measured_s[i])],
      ["Accuracy", nasc.percent(c.accuracy[i], c.accuracy_stderr[i])], ["Dense accuracy", c.dense_accuracy[i] !== null && nasc.percent(c.dense_accuracy[i])],
      ["MACs", nasc.amount(c.macs[i])], ["Parameters", nasc.amount(c.params[i])], ["File", c.artifact_bytes[i] && `${nasc.amount(c.artifact_bytes[i])}B`],
      ["Training", c.train_s[i] && nasc.seconds(c.train_s[i])], ["Date", c.date[i]],
    ];
    return [c.label[i], lines.filter(([, value]) => value)];
  }
  const hoverHtml = (i) => { const [label, lines] = hover(i); return `<b>${text(label)}</b><br>${lines.map(([name, value]) => `${name}: ${text(value)}`).join("<br>")}`; };
  const hoverText = (i) => { const [label, lines] = hover(i); return `${label}\n${lines.map(([name, value]) => `${name}: ${value}`).join("\n")}`; };

  const median = (values) => { const sorted = [...values].sort((a, b) => a - b); return sorted[Math.floor(sorted.length / 2)]; };

  // One point for each dense model: each of its runs trained or measured it anew.
  function densePoints(places) {
    const c = nasc.columns, models = new Map();
    for (const i of places) if (c.dense_measured_s[i] !== null && c.dense_accuracy[i] !== null) {
      if (!models.has(c.model[i])) models.set(c.model[i], []);
      models.get(c.model[i]).push(i);
    }
    return [...models].map(([model, same]) => ({ model, latency: median(same.map((i) => c.dense_measured_s[i])), accuracy: same.reduce((sum, i) => sum + c.dense_accuracy[i], 0) / same.length,
      spread: median(same.map((i) => c.dense_spread_s[i] ?? 0)), error: median(same.map((i) => c.dense_accuracy_stderr[i] ?? 0)) }));
  }

  // The frontier of the given runs, which share their conditions.
  function frontier(id, places, picked) {
    const c = nasc.columns, timed = places.filter((i) => c.measured_s[i] !== null), dense = densePoints(timed);
    if (!timed.length) return null;
    const unit = nasc.unitFor([...timed.map((i) => c.measured_s[i]), ...dense.map((d) => d.latency)]);
    const latency = [...c.measured_s, ...dense.map((d) => d.latency)], accuracy = [...c.accuracy, ...dense.map((d) => d.accuracy)];
    const all = [...timed, ...dense.map((_, k) => c.measured_s.length + k)];
    const front = nasc.pareto(all, latency, accuracy), onFront = new Set(front);
    const sharp = timed.length <= SHARP ? timed : timed.filter((i) => onFront.has(i) || i === picked);
    const behind = timed.length <= SHARP ? [] : timed.filter((i) => !onFront.has(i) && i !== picked);
    const data = [];
    if (front.length > 1) data.push({ type: "scatter", mode: "lines", name: "Pareto front", x: front.map((i) => unit.of(latency[i])), y: front.map((i) => 100 * accuracy[i]),
      line: { shape: "hv", color: "rgba(47,111,237,.55)", width: 2.5 }, hoverinfo: "skip" });
    const methods = [...new Set(timed.map((i) => c.method[i]))];
    for (const method of methods) {
      const own = sharp.filter((i) => c.method[i] === method), ownFront = nasc.pareto(timed.filter((i) => c.method[i] === method), c.measured_s, c.accuracy);
      if (methods.length > 1 && ownFront.length > 1) data.push({ type: "scatter", mode: "lines", name: text(method), legendgroup: method, showlegend: false, hoverinfo: "skip", opacity: 0.4,
        x: ownFront.map((i) => unit.of(c.measured_s[i])), y: ownFront.map((i) => 100 * c.accuracy[i]), line: { shape: "hv", width: 1.3, color: style(method).color } });
      // The legend takes the look of a trace's first point, which may be a dimmed one; so it has a trace of its own.
      data.push({ type: "scatter", mode: "markers", name: text(method), legendgroup: method, x: [null], y: [null], marker: { size: 10, ...style(method) } });
      data.push({ type: "scatter", mode: "markers", name: text(method), legendgroup: method, showlegend: false, x: own.map((i) => unit.of(c.measured_s[i])), y: own.map((i) => 100 * c.accuracy[i]), customdata: own,
        marker: { size: own.map((i) => i === picked ? 15 : 10), opacity: own.map((i) => onFront.has(i) || i === picked ? 1 : DIMMED), line: { width: 1, color: "rgba(255,255,255,.75)" }, ...style(method) },
        error_x: { array: own.map((i) => unit.of(c.spread_s[i] ?? 0)), thickness: 1.1, width: 2 }, error_y: { array: own.map((i) => 100 * (c.accuracy_stderr[i] ?? 0)), thickness: 1.1, width: 2 },
        hovertext: own.map(hoverHtml), hoverinfo: "text" });
    }
    if (dense.length) data.push({ type: "scatter", mode: "markers", name: "dense", x: dense.map((d) => unit.of(d.latency)), y: dense.map((d) => 100 * d.accuracy),
      marker: { color: NEUTRAL, symbol: "diamond", size: 12, line: { width: 1, color: "rgba(255,255,255,.75)" } }, hoverinfo: "text",
      error_x: { array: dense.map((d) => unit.of(d.spread)), thickness: 1.1, width: 2 }, error_y: { array: dense.map((d) => 100 * d.error), thickness: 1.1, width: 2 },
      hovertext: dense.map((d) => `<b>${text(d.model)}, dense</b><br>Measured: ${nasc.seconds(d.latency, d.spread)}<br>Accuracy: ${nasc.percent(d.accuracy, d.error)}`) });
    const targets = [...new Set(timed.map((i) => c.target_s[i]).filter((t) => t !== null))].sort((a, b) => a - b).slice(0, 12);
    const xs = all.map((i) => unit.of(latency[i])), ys = all.map((i) => 100 * accuracy[i]);
    const range = (values) => { const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b)), pad = 0.06 * (high - low || high || 1); return [low - pad, high + pad]; };
    const layout = { height: nasc.narrow() ? 420 : 480, showlegend: true,
      xaxis: { title: { text: `measured latency (${unit.name}), less is better` }, range: range(xs) }, yaxis: { title: { text: "test accuracy (%)" }, range: range(ys) },
      shapes: targets.map((t) => ({ type: "line", x0: unit.of(t), x1: unit.of(t), yref: "paper", y0: 0, y1: 1, line: { dash: "dot", width: 1.5, color: NEUTRAL } })),
      annotations: targets.length > 6 ? [] : targets.map((t) => ({ x: unit.of(t), yref: "paper", y: 1, text: `target ${Number(unit.of(t).toPrecision(3))} ${unit.name}`, textangle: -90, showarrow: false, xanchor: "right", yanchor: "top" })) };
    clouds.set(id, { places: behind, unit });
    if (behind.length) layout.images = [picture(behind, unit, layout.xaxis.range, layout.yaxis.range)];
    return { data, layout, front: front.filter((i) => i < c.measured_s.length) };
  }

  // The dominated models as one picture under the points, in the coordinates of the axes.
  function picture(places, unit, xs, ys) {
    const c = nasc.columns, canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
    [canvas.width, canvas.height] = [1100, 460];
    const fills = new Map(nasc.methods.map((method) => [method, style(method).color]));
    pen.globalAlpha = DIMMED;
    const scale = unit.of(1), [toX, toY] = [canvas.width / (xs[1] - xs[0]), canvas.height / (ys[1] - ys[0])];
    for (const [method, fill] of fills) {
      pen.fillStyle = fill;
      for (const i of places) if (c.method[i] === method) pen.fillRect((c.measured_s[i] * scale - xs[0]) * toX - 2.5, (ys[1] - 100 * c.accuracy[i]) * toY - 2.5, 5, 5);
    }
    return { source: canvas.toDataURL(), xref: "x", yref: "y", x: xs[0], y: ys[1], sizex: xs[1] - xs[0], sizey: ys[1] - ys[0], sizing: "stretch", layer: "below" };
  }

  // The model of a cloud nearest to the pointer, if any is near.
  function nearest(element, event) {
    const cloud = clouds.get(element.id), axes = element._fullLayout;
    if (!cloud?.places.length || !axes) return null;
    const box = element.getBoundingClientRect(), c = nasc.columns;
    const x = event.clientX - box.left - axes._size.l, y = event.clientY - box.top - axes._size.t;
    let best = null, distance = NEAR_PX ** 2;
    for (const i of cloud.places) {
      const d = (axes.xaxis.l2p(cloud.unit.of(c.measured_s[i])) - x) ** 2 + (axes.yaxis.l2p(100 * c.accuracy[i]) - y) ** 2;
      if (d < distance) [best, distance] = [i, d];
    }
    return best;
  }

  // Pointer and click for the models of the picture; those drawn one by one are plotly's own.
  function listen(element, onPick) {
    const tip = nasc.byId("tip");
    element.addEventListener("mousemove", (event) => {
      const place = nearest(element, event);
      tip.hidden = place === null;
      if (place === null) return;
      tip.textContent = hoverText(place);
      tip.style.left = `${Math.min(event.clientX + 14, innerWidth - 330)}px`;
      tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8)}px`;
    });
    element.addEventListener("mouseleave", () => { tip.hidden = true; });
    element.addEventListener("click", (event) => { const place = nearest(element, event); if (place !== null) onPick(place); });
    element.on("plotly_click", (event) => { const place = event.points[0].customdata; if (typeof place === "number") onPick(place); });
  }

  // The chart in words, for those who do not see it; the table has every number.
  function describe(places, front) {
    const c = nasc.columns;
    const ends = front.slice(0, 12).map((i) => `${c.label[i]} at ${nasc.seconds(c.measured_s[i])} and ${nasc.percent(c.accuracy[i])}`);
    return `Scatter chart of ${places.length} models; on the Pareto front, from fast to slow: ${ends.join(", ") || "dense models only"}`;
  }

  Object.assign(charts, { frontier });
  Object.assign(nasc, { listen, describe, nearest });
})();
