"use strict";
// Latency tables as heat maps and staircases, sorted families as maps of members, two models layer by layer.
(() => {
  const { charts, text, PALETTE, NEUTRAL } = nasc;
  const SCALE = [[0, "#eef4ff"], [0.25, "#a9c8f7"], [0.5, "#5b93ea"], [0.75, "#2a5fc4"], [1, "#132f6b"]];

  // Two sizes of a kernel against each other, the others at their largest.
  function heat(grid) {
    if (grid.sizes.length < 2) return null;
    const [a, b] = grid.sizes.length === 2 ? [0, 1] : [grid.sizes.length - 2, grid.sizes.length - 1];
    const others = grid.sizes.map((_, k) => k).filter((k) => k !== a && k !== b);
    const top = others.map((k) => grid.rows.reduce((m, row) => Math.max(m, row[k]), 0));
    const plane = grid.rows.filter((row) => others.every((k, place) => row[k] === top[place]));
    const filled = (k) => plane.reduce((all, row) => all.set(row[k], (all.get(row[k]) ?? 0) + 1), new Map());
    const [ofA, ofB] = [filled(a), filled(b)]; // widths that were measured once are held out, and no line of the grid
    const rows = plane.filter((row) => ofA.get(row[a]) > 1 && ofB.get(row[b]) > 1);
    const xs = [...new Set(rows.map((row) => row[b]))].sort((p, q) => p - q), ys = [...new Set(rows.map((row) => row[a]))].sort((p, q) => p - q);
    if (xs.length < 2 || ys.length < 2) return null;
    const unit = nasc.unitFor(rows.map((row) => row.at(-1))), found = new Map(rows.map((row) => [`${row[a]} ${row[b]}`, row.at(-1)]));
    const z = ys.map((y) => xs.map((x) => unit.of(found.get(`${y} ${x}`))));
    return {
      data: [{ type: "heatmap", x: xs.map(String), y: ys.map(String), z, colorscale: SCALE, hoverongaps: false, colorbar: { title: { text: unit.name }, thickness: 12, outlinewidth: 0 },
        hovertemplate: `${grid.sizes[b]} %{x}<br>${grid.sizes[a]} %{y}<br>%{z:.4g} ${unit.name}<extra></extra>` }],
      layout: { height: 400, xaxis: { type: "category", title: { text: grid.sizes[b] }, showgrid: false }, yaxis: { type: "category", title: { text: grid.sizes[a] }, showgrid: false } },
    };
  }

  // Time along the last size, a line for each value of the others: where it jumps, the device takes a step.
  function stairs(grid) {
    const last = grid.sizes.length - 1, lines = new Map();
    for (const row of grid.rows) {
      const key = grid.sizes.slice(0, last).map((name, k) => `${name} ${row[k]}`).join(", ");
      if (!lines.has(key)) lines.set(key, []);
      lines.get(key).push([row[last], row.at(-1)]);
    }
    const long = [...lines].filter(([, points]) => points.length > 1).sort(([, p], [, q]) => q.length - p.length).slice(0, 8);
    if (!long.length) return null;
    const unit = nasc.unitFor(long.flatMap(([, points]) => points.map((p) => p[1])));
    return {
      data: long.map(([key, points], place) => ({ type: "scatter", mode: "lines+markers", name: text(key || "time"), x: points.map((p) => p[0]), y: points.map((p) => unit.of(p[1])),
        line: { color: PALETTE[place % PALETTE.length], width: 2, shape: "linear" }, marker: { size: 5 } })),
      layout: { height: 400, showlegend: long.length > 1, xaxis: { title: { text: grid.sizes[last] } }, yaxis: { title: { text: `time (${unit.name})` }, rangemode: "tozero" } },
    };
  }

  // Two runs, dim by dim: what share of it each keeps.
  function versus(first, second, names) {
    const dims = [...new Set([...first.widths, ...second.widths].map((w) => w.name))];
    const bar = (run, name, color) => {
      const known = new Map(run.widths.map((w) => [w.name, w]));
      return { type: "bar", orientation: "h", name: text(name), y: dims.map(text), x: dims.map((dim) => known.has(dim) ? 100 * known.get(dim).kept / Math.max(1, known.get(dim).dense) : null), marker: { color },
        hovertext: dims.map((dim) => known.has(dim) ? `${known.get(dim).kept} of ${known.get(dim).dense}` : "not in this model"), hoverinfo: "text+name" };
    };
    return { data: [bar(first, names[0], PALETTE[0]), bar(second, names[1], PALETTE[1])],
      layout: { height: 110 + 34 * Math.max(dims.length, 3), barmode: "group", bargap: 0.25, yaxis: { autorange: "reversed", type: "category", showgrid: false }, xaxis: { title: { text: "entries kept (%)" }, range: [0, 104] } } };
  }

  // The members of a sorted family, cheapest first; each row of the map is a dim, each column a member.
  function family(run) {
    const members = run.family, timed = members[0].unit === "seconds";
    const unit = timed ? nasc.unitFor(members.map((m) => m.price)) : { name: "MMAC", of: (value) => value / 1e6 };
    const dims = [...new Set(members.flatMap((m) => Object.keys(m.shares)))], prices = members.map((m) => Number(unit.of(m.price).toPrecision(4)));
    const points = (name, places, marker) => ({ type: "scatter", mode: "markers", name, x: places.map((k) => prices[k]), y: places.map((k) => 100 * members[k].accuracy), marker,
      hovertext: places.map((k) => `<b>${text(members[k].label)}</b><br>${prices[k]} ${unit.name}<br>${nasc.percent(members[k].accuracy)}${members[k].predicted ? " (predicted)" : ""}`), hoverinfo: "text" });
    const all = members.map((_, k) => k), known = all.filter((k) => !members[k].predicted), guessed = all.filter((k) => members[k].predicted);
    // Of the members within the target, the most accurate.
    const choose = (place) => all.filter((k) => members[k].price <= members[place].price).reduce((best, k) => members[k].accuracy > members[best].accuracy ? k : best, 0);
    return {
      members,
      map: dims.length ? { data: [{ type: "heatmap", x: prices.map((p, k) => `${k + 1}: ${p} ${unit.name}`), y: dims.map(text), z: dims.map((dim) => members.map((m) => 100 * (m.shares[dim] ?? 1))), zmin: 0, zmax: 100, colorscale: SCALE,
        colorbar: { title: { text: "% kept" }, thickness: 12, outlinewidth: 0 }, hovertemplate: "%{y}<br>member %{x}<br>%{z:.0f} %<extra></extra>" }],
        layout: { height: 120 + 22 * Math.max(dims.length, 4), xaxis: { type: "category", showticklabels: members.length <= 10, title: { text: "members, from fast to slow" }, showgrid: false }, yaxis: { type: "category", autorange: "reversed", showgrid: false } } } : null,
      line: (place) => ({ data: [points("evaluated", known, { size: 8, color: PALETTE[0], opacity: 0.6 }), ...(guessed.length ? [points("accuracy predicted", guessed, { size: 8, color: NEUTRAL, opacity: 0.6 })] : []),
        points("chosen", [choose(place)], { size: 15, color: PALETTE[1], line: { width: 2, color: "rgba(255,255,255,.8)" } })],
        layout: { height: 340, xaxis: { title: { text: timed ? `latency by the table (${unit.name})` : `multiply-adds (${unit.name})` } }, yaxis: { title: { text: "accuracy (%)" } },
          shapes: [{ type: "line", x0: prices[place], x1: prices[place], yref: "paper", y0: 0, y1: 1, line: { dash: "dot", color: NEUTRAL, width: 1.5 } }] } }),
      say: (place) => { const m = members[choose(place)]; return `${prices[place]} ${unit.name}: ${m.label}, accuracy ${nasc.percent(m.accuracy)}${m.predicted ? " (predicted)" : ""}`; },
    };
  }

  Object.assign(charts, { heat, stairs, versus, family });
})();
