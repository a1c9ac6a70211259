/* The runs of a suite, a line each, which change as they train. */

import { element } from "./dom.js";
import { sparkline } from "./charts.js";
import { figure } from "./formats.js";
import { breakable } from "./results_table.js";

export const STATES = ["running", "failed", "damaged", "killed", "done", "queued"];

export const addressOf = (run) => `#${run.id.split("/").map(encodeURIComponent).join("/")}`;

/** A state as a coloured dot and a word. */
export const badge = (state) => element("span", { class: `state ${state}` }, state);

/**
 * @param runs What to list.
 * @param colours Colour by label.
 * @param total All of them, before they were filtered.
 */
export function runsList(runs, colours) {
  const head = [
    element("th", { scope: "col" }, "run"),
    element("th", { scope: "col" }, "state"),
    element("th", { scope: "col", class: "number" }, "epoch"),
    element("th", { scope: "col", class: "number" }, "training reward"),
    element("td"),
    element("th", { scope: "col", class: "number" }, "final reward"),
  ];
  const rows = [...runs].sort((one, other) => STATES.indexOf(one.status) - STATES.indexOf(other.status));
  const table = element("table", { class: "runs" }, element("caption", { class: "hidden" }, "Runs"));
  table.append(
    element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, ...rows.flatMap((run) => lines(run, colours))),
  );
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Runs" }, table);
}

function lines(run, colours) {
  const name = [...breakable([run.label, run.reward].filter(Boolean).join(" · ")), ` · seed ${run.seed}`];
  const begun = run.status !== "queued";
  const link = begun
    ? element("a", { href: addressOf(run), "data-focus": run.id }, ...name)
    : element("span", { class: "muted" }, ...name);
  const row = element(
    "tr",
    { "data-run": run.id },
    element("th", { scope: "row" }, link),
    element("td", {}, badge(run.status)),
    element("td", { class: "number" }, begun ? progress(run) : "–"),
    element("td", { class: "number" }, figure(run.reward_mean)),
    element("td", {}, sparkline(run.rewards, colours[run.label] ?? 0)),
    element("td", { class: "number" }, figure(run.final_reward)),
  );
  if (!run.reason) return [row];
  return [row, element("tr", { class: "reason" }, element("td", { colspan: "6" }, run.reason))];
}

/** "3/12" with a bar while it is running. */
function progress(run) {
  const text = run.epochs ? `${run.epoch}/${run.epochs}` : String(run.epoch);
  if (run.status !== "running" || !run.epochs) return text;
  const bar = element("progress", { value: run.epoch, max: run.epochs, "aria-label": "epochs" });
  return element("span", { class: "progress" }, bar, ` ${text}`);
}
