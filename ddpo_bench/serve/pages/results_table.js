/* The comparison table of a suite: sorted, filtered, and with a way from every row to its runs. */

import { element } from "./dom.js";
import { intervalBar } from "./charts.js";

const SORTS = { ascending: 1, descending: -1 };

/**
 * @param view What /api/suites/{suite} answers.
 * @param state {sort: {key, direction} | null, filter, further}, kept between two renderings.
 * @param selected The id of the cell whose row is marked, if any.
 * @param onSort Called with a column's key.
 */
export function resultsTable(view, state, selected, onSort) {
  const columns = view.columns.filter((column) => state.further || !column.further);
  const rows = sorted(view.rows.filter((row) => matches(rowText(row), state.filter)), state.sort);
  const scales = scalesOf(view.rows);
  const head = element("tr", {}, ...columns.map((column) => heading(column, state.sort, onSort)));
  const grouped = !state.sort;
  const body = rows.map((row, place) => {
    const first = grouped && place > 0 && rows[place - 1].cells.reward.text !== row.cells.reward.text;
    const marked = selected && cellOf(row) === selected;
    const look = [first && "first", marked && "selected"].filter(Boolean).join(" ");
    return element("tr", { class: look || null }, ...columns.map((column) => cell(view, row, column, scales, marked)));
  });
  const table = element("table", { class: "results" }, element("caption", { class: "hidden" }, view.title));
  table.append(element("thead", {}, head), element("tbody", {}, ...body));
  if (!rows.length) return element("p", { class: "muted" }, `No row holds “${state.filter}”.`);
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": view.title }, table);
}

const rowText = (row) => `${row.cells.algorithm.text} ${row.cells.reward.text}`;

/** Whether a text holds every word of a filter. */
export function matches(text, filter) {
  const low = text.toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => low.includes(word));
}

/** The cell of a row's runs, as in their ids. */
export const cellOf = (row) => (row.runs.length ? row.runs[0].split("/")[1] : null);

function sorted(rows, sort) {
  if (!sort) return rows;
  const value = (row) => {
    const { value: number, text } = row.cells[sort.key];
    return number === null ? (text === "–" ? null : text) : number;
  };
  return [...rows].sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === null || b === null) return (a === null) - (b === null); // what was not measured is last either way
    const order = typeof a === "number" ? a - b : String(a).localeCompare(String(b));
    return SORTS[sort.direction] * order;
  });
}

function heading(column, sort, onSort) {
  const direction = sort?.key === column.key ? sort.direction : null;
  const arrow = element("span", { class: "arrow", "aria-hidden": "true" }, direction === "ascending" ? "▲" : direction ? "▼" : "");
  const button = element("button", { type: "button", "data-focus": `sort ${column.key}`, onclick: () => onSort(column.key) });
  button.append(...breakable(column.label), arrow);
  return element("th", { scope: "col", class: column.kind, "aria-sort": direction ?? "none" }, button);
}

/** A text that may break at its underscores. */
export function breakable(text) {
  return text.split("_").flatMap((part, place) => (place ? ["_", document.createElement("wbr"), part] : [part]));
}

function cell(view, row, column, scales, marked) {
  const { text, mark, value } = row.cells[column.key];
  const bold = mark === "best";
  if (column.key === "algorithm") {
    const cellName = cellOf(row);
    const address = `#${encodeURIComponent(view.name)}/${encodeURIComponent(cellName ?? "")}`;
    const link = cellName
      ? element("a", { href: address, "data-focus": `row ${cellName}`, "aria-current": marked ? "true" : null }, ...breakable(text))
      : element("span", {}, ...breakable(text));
    return element("th", { scope: "row", class: "text" }, link);
  }
  const content = bold ? element("b", {}, text) : element("span", {}, ...breakable(text));
  const made = element("td", { class: column.kind }, content);
  if (column.key === "final" && value !== null) {
    const [least, most] = scales[row.cells.reward.text];
    made.append(" ", intervalBar(row.cells.final, least, most, bold));
  }
  return made;
}

/** Of every reward the range of its final rewards with their intervals. */
function scalesOf(rows) {
  const scales = {};
  for (const { cells } of rows) {
    if (!cells.final || cells.final.value === null) continue;
    const ends = [cells.final.value, cells.final.low ?? cells.final.value, cells.final.high ?? cells.final.value];
    const [least, most] = scales[cells.reward.text] ?? [Infinity, -Infinity];
    scales[cells.reward.text] = [Math.min(least, ...ends), Math.max(most, ...ends)];
  }
  return scales;
}
