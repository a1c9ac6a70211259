/* How numbers and texts of results are written. */

import { element } from "./dom.js";

/** A number in four significant digits with a true minus; a dash where it was not measured. */
export function figure(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const places = Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(places, 6)).replace("-", "−");
}

/** A note in which `code` is marked up. */
export function withCode(note) {
  return note.split("`").map((part, place) => (place % 2 ? element("code", {}, part) : part));
}

/** "3 minutes ago", of a date. */
export function ago(date, now = Date.now()) {
  const seconds = Math.max(0, (now - new Date(date)) / 1000);
  const units = [["day", 86400], ["hour", 3600], ["minute", 60]];
  for (const [unit, length] of units) {
    const count = Math.floor(seconds / length);
    if (count) return `${count} ${unit}${count > 1 ? "s" : ""} ago`;
  }
  return "just now";
}

/** "2 h 5 min", "40 s". */
export function duration(seconds) {
  const minutes = Math.round(seconds / 60);
  if (seconds < 100) return `${figure(seconds, 2)} s`;
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
