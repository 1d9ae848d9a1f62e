// Draws each chart when it comes near the screen, and again when the filter, the colours or the medium change.
const specs = new Map(chartSpecs.map((spec) => [spec.id, spec]));
const plots = [...document.querySelectorAll(".plot")];
const drawn = new Set();
const dark = matchMedia("(prefers-color-scheme: dark)");
const printing = matchMedia("print");
let matching = new Set(rows.keys());

const escaped = (text) => text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
const titles = headings.map((heading) => heading.textContent.trim());
const isGuide = (trace) => trace.hoverinfo === "skip"; // a line or a legend entry, without marks

// The hover text of a mark: its row of the table, so that the two always agree.
const hoverText = (i) => [...rows[i].cells].map((cell, k) => {
  const how = provenance(cell);
  return `${escaped(titles[k])}: ${escaped(cell.firstChild.textContent.trim())}` + (how ? ` <i>${escaped(how)}</i>` : "");
}).join("<br>");

// The trace with the marks of the kept rows only. A null row is a gap between two lines, or a guide.
function masked(trace, kept, ink) {
  const keep = trace.rows.flatMap((row, at) => (row === null || kept.has(row) ? [at] : []));
  const pick = (values) => (Array.isArray(values) ? keep.map((at) => values[at]) : values);
  const colour = (value) => (value === "ink" ? ink : value);
  const copy = { ...trace, x: pick(trace.x), y: pick(trace.y), customdata: pick(trace.rows) };
  for (const bars of ["error_x", "error_y"]) {
    if (trace[bars]) {
      copy[bars] = Object.fromEntries(Object.entries(trace[bars]).map(([name, value]) => [name, colour(pick(value))]));
    }
  }
  if (trace.marker) {
    const colours = pick(trace.marker.color);
    copy.marker = { ...trace.marker, symbol: pick(trace.marker.symbol), color: Array.isArray(colours) ? colours.map(colour) : colour(colours) };
  }
  if (trace.line) copy.line = { ...trace.line, color: colour(trace.line.color) };
  if (!isGuide(trace)) {
    copy.text = copy.customdata.map(hoverText);
    copy.hovertemplate = "%{text}<extra></extra>";
  }
  delete copy.rows;
  return copy;
}

function plottedRows(spec) {
  const withMarks = new Set(spec.data.filter((trace) => !isGuide(trace)).flatMap((trace) => trace.rows));
  const all = [...matching].filter((row) => withMarks.has(row));
  return [new Set(spec.cap ? all.slice(0, spec.cap) : all), all.length];
}

function draw(plot) {
  const spec = specs.get(plot.dataset.chart);
  const style = getComputedStyle(document.documentElement);
  const [ink, soft, line, back] = ["--ink", "--soft", "--line", "--paper"].map((name) => style.getPropertyValue(name).trim());
  const [kept, total] = plottedRows(spec);
  const axis = { gridcolor: line, linecolor: soft, zerolinecolor: line, tickcolor: soft, automargin: true, exponentformat: "SI" };
  const layout = {
    ...spec.layout, xaxis: { ...axis, ...spec.layout.xaxis }, yaxis: { ...axis, ...spec.layout.yaxis },
    paper_bgcolor: back, plot_bgcolor: back, font: { color: ink, size: 13 }, margin: { l: 70, r: 15, t: 15, b: 55 },
    hovermode: "closest", legend: { orientation: "h", y: 1.02, yanchor: "bottom" }, hoverlabel: { align: "left" },
    ...(printing.matches ? { width: 1000, height: 400 } : {}),
  };
  if (spec.cap && kept.size > 40) layout.xaxis.showticklabels = false;
  const message = kept.size < total
    ? `First ${kept.size} of ${countCells(total)} plotted; narrow the filter to see the others.`
    : `${countCells(total)} plotted.`;
  document.querySelector(`[data-drawn="${spec.id}"]`).textContent = message;
  drawn.add(plot);
  return Plotly.react(plot, spec.data.map((trace) => masked(trace, kept, ink)), layout, { responsive: !printing.matches, displaylogo: false });
}

const redraw = () => drawn.forEach(draw);
const drawAll = () => plots.forEach(draw);
const near = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting && !drawn.has(entry.target)) draw(entry.target);
}, { rootMargin: "300px" });
plots.forEach((plot) => near.observe(plot));
document.addEventListener("filtered", (event) => { matching = event.detail; redraw(); });
dark.addEventListener("change", redraw);
printing.addEventListener("change", drawAll); // print every chart, also those not yet drawn; then restore the screen's size
