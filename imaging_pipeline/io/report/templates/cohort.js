"use strict";
// The page reads without this; it only lets columns be sorted, rows be found, and long tables start short.
const table = document.getElementById("patients");
const body = table.tBodies[0];
const collator = new Intl.Collator("en", { numeric: true });
const BEST = 3, PROBLEMS = 1;
let rows = Array.from(body.rows, (row) => ({ row, keys: Array.from(row.cells, key), text: row.textContent.toLowerCase() }));
let limit = 100;

function key(cell) {
  const text = cell.dataset.sort === undefined ? cell.textContent.trim() : cell.dataset.sort;
  return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
}

function compare(one, other, direction) {
  // Rows without a value stay last, whichever way the column is sorted.
  if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
  return direction * (typeof one === "number" ? one - other : collator.compare(one, other));
}

// Only the rows on show are in the page: sorting thousands costs no more than sorting a few.
function show() {
  const wanted = field.value.trim().toLowerCase();
  const found = rows.filter(({ keys, text }) =>
    text.includes(wanted) && (!best.value || keys[BEST] === best.value) && (!troubled.checked || keys[PROBLEMS] > 0));
  body.replaceChildren(...found.slice(0, limit).map(({ row }) => row));
  more.hidden = found.length <= limit;
  more.textContent = `Show all ${found.length}`;
  tally.textContent = `${found.length} of ${rows.length}`;
}

function sort(column, header) {
  const direction = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const cell of header.parentNode.cells) cell.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  rows.sort((one, other) => compare(one.keys[column], other.keys[column], direction));
  show();
}

function labelled(text, element) {
  const label = document.createElement("label");
  label.append(text, element);
  return label;
}

Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...header.childNodes);
  header.append(button);
  button.addEventListener("click", () => sort(column, header));
});

const field = Object.assign(document.createElement("input"), { type: "search" });
const best = document.createElement("select");
best.append(new Option("any", ""));
for (const code of new Set(rows.map(({ keys }) => keys[BEST]))) if (code && code !== "–") best.append(new Option(code, code));
const troubled = Object.assign(document.createElement("input"), { type: "checkbox" });
const tally = document.createElement("output");
const find = document.createElement("p");
find.className = "find";
find.append(labelled("Find ", field), labelled("Best response ", best), labelled("With problems only ", troubled), tally);
table.parentNode.before(find);
for (const control of [field, best, troubled]) control.addEventListener("input", show);

const more = Object.assign(document.createElement("button"), { type: "button", className: "more" });
more.addEventListener("click", () => { limit = Infinity; show(); });
table.parentNode.after(more);
// Bars, threads and lanes lead to the patient's page; by keyboard the table's links do.
for (const figure of document.querySelectorAll(".chart svg")) {
  figure.addEventListener("click", (event) => {
    const part = event.target.closest("[data-link]");
    if (part) location.href = part.dataset.link;
  });
}
window.addEventListener("beforeprint", () => more.click());
show();
