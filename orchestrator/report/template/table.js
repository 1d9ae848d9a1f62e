"use strict";
// Sorts and filters the table. A "filtered" event on the document has the numbers of the rows that match.
const body = document.querySelector("#cells tbody");
const rows = [...body.rows];
const words = rows.map((row) => row.textContent.toLowerCase());
const more = document.getElementById("more");
const headings = [...document.querySelectorAll("#cells thead th")];

const { charts: chartSpecs, provenances } = JSON.parse(document.getElementById("charts-data").textContent);
const countCells = (count) => `${count} cell${count === 1 ? "" : "s"}`;
const reasons = [...document.querySelectorAll("#reasons li")].map((item) => item.textContent);

// How a value was obtained, or why it is missing.
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
    if (a === null || b === null) return (a === null) - (b === null); // a missing value sorts last in both directions
    const order = typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
    return down ? -order : order;
  });
  body.append(...keyed.map(([, row]) => row));
  list();
}

// The browser takes a second to lay out thousands of rows, so the table lists only the first until "List all" is clicked.
let limit = Number(body.dataset.limit);
function list() {
  let count = 0;
  for (const row of body.rows) if (!row.hidden) row.classList.toggle("over", ++count > limit);
  more.hidden = count <= limit;
  more.textContent = `List all ${count} (the first ${limit} are listed)`;
}

function filter() {
  const wanted = document.getElementById("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = [...document.querySelectorAll("#filter select")].filter((select) => select.value);
  const matching = new Set();
  rows.forEach((row, i) => {
    const matches = wanted.every((word) => words[i].includes(word))
      && chosen.every((select) => row.dataset[select.dataset.column] === select.value);
    if (row.hidden === matches) row.hidden = !matches;
    if (matches) matching.add(i);
  });
  list();
  document.getElementById("matching").textContent = `${matching.size} of ${countCells(rows.length)}`;
  document.dispatchEvent(new CustomEvent("filtered", { detail: matching }));
}

body.addEventListener("pointerover", ({ target }) => {
  const cell = target.closest("td");
  if (cell && !cell.title) cell.title = provenance(cell);
});
for (const heading of headings) heading.firstElementChild.addEventListener("click", () => sortBy(heading));
more.addEventListener("click", () => { limit = Infinity; list(); });
document.getElementById("filter").addEventListener("input", filter);
