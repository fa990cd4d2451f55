"use strict";
// The page reads without this; it only lets columns be sorted and rows be found.
const table = document.getElementById("patients");
const body = table.tBodies[0];
const rows = Array.from(body.rows);

function key(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.sort === undefined ? cell.textContent.trim() : cell.dataset.sort;
  return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
}

function compare(one, other) {
  // Rows without a value stay last, whichever way the column is sorted.
  if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
  return typeof one === "number" ? one - other : one.localeCompare(other);
}

function sort(column, header) {
  const descending = header.getAttribute("aria-sort") === "ascending";
  for (const cell of header.parentNode.cells) cell.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const keyed = rows.map((row) => [key(row, column), row]);
  keyed.sort(([one], [other]) => compare(one, other) * (descending && typeof one === typeof other ? -1 : 1));
  body.append(...keyed.map(([, row]) => row));
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
label.append(field);
table.parentNode.before(label);
field.addEventListener("input", () => {
  const wanted = field.value.trim().toLowerCase();
  for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
});
