"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const narrow = () => window.matchMedia("(max-width: 720px)").matches;
  const config = {
    displaylogo: false, responsive: true, showSendToCloud: false, plotlyServerURL: "",
    modeBarButtonsToRemove: ["sendChartToCloud", "lasso2d", "select2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg" },
  };
  const drawn = new Map(); // element id -> figure, to be drawn again when the theme changes

  // The figures leave colours of text, grid and hover boxes open; they come from the style sheet's variables.
  function themed(layout) {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const result = structuredClone(layout);
    result.font = { family: getComputedStyle(document.body).fontFamily, size: narrow() ? 11 : 12.5, color: color("--ink") };
    result.hoverlabel = { ...result.hoverlabel, bgcolor: color("--card"), bordercolor: color("--line"), font: { color: color("--ink") } };
    result.modebar = { color: color("--soft"), activecolor: color("--accent"), bgcolor: "rgba(0,0,0,0)" };
    for (const [key, axis] of Object.entries(result)) {
      if (!/^[xy]axis\d*$/.test(key)) continue;
      Object.assign(axis, { gridcolor: color("--grid"), linecolor: color("--line"), zerolinecolor: color("--line"), tickcolor: color("--line") });
    }
    for (const note of result.annotations ?? []) note.font = { ...note.font, color: color("--soft"), size: 11 };
    if (narrow()) {
      result.margin = { ...result.margin, l: 46, r: 8 };
      result.legend = { ...result.legend, entrywidth: 0.46, entrywidthmode: "fraction", font: { size: 10.5 } };
    }
    result.dragmode = window.matchMedia("(pointer: fine)").matches ? "zoom" : false; // touch scrolls the page
    return result;
  }

  function draw(id, figure) {
    const element = byId(id);
    if (!element || !figure) return;
    drawn.set(id, figure);
    element.style.height = `${figure.layout.height}px`;
    return Plotly.react(element, figure.data, themed(figure.layout), { ...config, displayModeBar: narrow() ? false : "hover" });
  }

  function fillDetails(run) {
    const list = byId("run-details");
    list.replaceChildren(...run.details.flatMap(([label, text]) => {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = label; dd.textContent = text;
      return [dt, dd];
    }));
    const warnings = byId("run-warnings");
    warnings.hidden = run.warnings.length === 0;
    warnings.replaceChildren(...run.warnings.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  }

  function show(id, emptyId, figure) {
    byId(id).hidden = !figure;
    byId(emptyId).hidden = Boolean(figure);
    if (figure) return draw(id, figure);
    drawn.delete(id);
  }

  function pick(key) {
    const run = data.runs[key];
    if (!run) return;
    byId("pick").value = String(key);
    byId("run-title").textContent = run.title;
    show("widths", "no-widths", run.widths);
    show("curves", "no-curves", run.curves);
    fillDetails(run);
    for (const row of document.querySelectorAll("tbody tr")) row.setAttribute("aria-selected", String(row.dataset.key === String(key)));
  }

  function sortBy(header) {
    const column = header.cellIndex;
    const up = header.getAttribute("aria-sort") !== "ascending";
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (row) => row.cells[column].dataset.sort;
    const body = document.querySelector("tbody");
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === ""); // what is absent stays below
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : Number(x) - Number(y);
      return up ? order : -order;
    };
    body.append(...[...body.rows].sort(compare));
  }

  function filterRows(words) {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of document.querySelectorAll("tbody tr")) {
      const text = row.textContent.toLowerCase();
      row.hidden = !wanted.every((word) => text.includes(word));
    }
  }

  function switchTheme() {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    redraw();
  }

  const redraw = () => drawn.forEach((figure, id) => draw(id, figure));

  for (const [id, figure] of Object.entries(data.figures)) {
    Promise.resolve(draw(id, figure)).then(() => byId(id).on("plotly_click", (event) => {
      const key = event.points[0].customdata;
      if (key !== null && key !== undefined) pick(key);
    }));
  }
  byId("theme").addEventListener("click", switchTheme);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  if (data.runs.length) {
    byId("pick").addEventListener("change", (event) => pick(Number(event.target.value)));
    byId("filter").addEventListener("input", (event) => filterRows(event.target.value));
    for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => sortBy(button.parentElement));
    for (const button of document.querySelectorAll("td button")) {
      button.addEventListener("click", () => { pick(Number(button.closest("tr").dataset.key)); byId("run").scrollIntoView({ behavior: "smooth" }); });
    }
    pick(0);
  }
})();
