"use strict";
// The page reads without this; it only lets columns be sorted, rows be found, and long tables start short.
const table = document.getElementById("patients");
const body = table.tBodies[0];
const collator = new Intl.Collator("en", { numeric: true });
let rows = Array.from(body.rows);
let limit = 200;

function key(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.sort === undefined ? cell.textContent.trim() : cell.dataset.sort;
  return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
}

function compare(one, other, direction) {
  // Rows without a value stay last, whichever way the column is sorted.
  if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
  return direction * (typeof one === "number" ? one - other : collator.compare(one, other));
}

function show() {
  const wanted = field.value.trim().toLowerCase();
  let found = 0;
  for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted) || ++found > limit;
  more.hidden = found <= limit;
  more.textContent = `Show all ${found}`;
}

function sort(column, header) {
  const direction = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const cell of header.parentNode.cells) cell.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  const keyed = rows.map((row) => [key(row, column), row]);
  keyed.sort(([one], [other]) => compare(one, other, direction));
  rows = keyed.map(([, row]) => row);
  show();
  body.replaceChildren(...rows);
}

Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...header.childNodes);
  header.append(button);
  button.addEventListener("click", () => sort(column, header));
});

const label = document.createElement("label");
label.className = "find";
label.textContent = "Find ";
const field = document.createElement("input");
field.type = "search";
field.addEventListener("input", show);
label.append(field);
table.parentNode.before(label);

const more = document.createElement("button");
more.type = "button";
more.className = "more";
more.addEventListener("click", () => { limit = Infinity; show(); });
table.parentNode.after(more);
show();
