"use strict";
// The table's own sorting and filtering. Whoever wants to know what is shown listens for "shown" on the document.
const body = document.querySelector("#cells tbody");
const rows = [...body.rows];
const words = rows.map((row) => row.textContent.toLowerCase());
const more = document.getElementById("more");
const headings = [...document.querySelectorAll("#cells thead th")];

const { charts: chartSpecs, provenances } = JSON.parse(document.getElementById("charts-data").textContent);
const reasons = [...document.querySelectorAll("#reasons li")].map((item) => item.textContent);

// How a figure was obtained, or why there is none.
function provenance(cell) {
  if (cell.dataset.p) return provenances[cell.dataset.p - 1];
  return cell.classList.contains("none") ? reasons[cell.querySelector("sup").textContent - 1] : "";
}

function key(row, column) {
  const cell = row.cells[column];
  if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
  return cell.classList.contains("n") ? null : cell.textContent;
}

function sortBy(heading) {
  const column = headings.indexOf(heading);
  const down = heading.getAttribute("aria-sort") === "ascending";
  for (const other of headings) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const keyed = [...body.rows].map((row) => [key(row, column), row]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null); // a dash is no figure: last either way
    const order = typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
    return down ? -order : order;
  });
  body.append(...keyed.map(([, row]) => row));
  list();
}

// Thousands of rows take the browser a second to lay out: it lists the first of them until it is asked for all.
let limit = Number(body.dataset.limit);
function list() {
  let fitting = 0;
  for (const row of body.rows) if (!row.hidden) row.classList.toggle("over", ++fitting > limit);
  more.hidden = fitting <= limit;
  more.textContent = `List all ${fitting} (the first ${limit} are listed)`;
}

function filter() {
  const wanted = document.getElementById("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = [...document.querySelectorAll("#filter select")].filter((select) => select.value);
  const shown = new Set();
  rows.forEach((row, i) => {
    const fits = wanted.every((word) => words[i].includes(word))
      && chosen.every((select) => row.dataset[select.dataset.column] === select.value);
    if (row.hidden === fits) row.hidden = !fits;
    if (fits) shown.add(i);
  });
  list();
  document.getElementById("shown").textContent = `${shown.size} of ${rows.length} cells`;
  document.dispatchEvent(new CustomEvent("shown", { detail: shown }));
}

body.addEventListener("pointerover", ({ target }) => {
  const cell = target.closest("td");
  if (cell && !cell.title) cell.title = provenance(cell);
});
for (const heading of headings) heading.firstElementChild.addEventListener("click", () => sortBy(heading));
more.addEventListener("click", () => { limit = Infinity; list(); });
document.getElementById("filter").addEventListener("input", filter);
