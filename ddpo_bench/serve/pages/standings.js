/* What the votes say: ratings with intervals, and whether the rewards agree with people. */

import { element } from "./dom.js";
import { getJson } from "./api.js";
import { intervalBar } from "./charts.js";
import { figure } from "./formats.js";
import { breakable } from "./results_table.js";

const percent = (share) => (share === null ? "–" : `${Math.round(100 * share)} %`);
const signed = (value) => (value === null ? "–" : `${value > 0 ? "+" : ""}${figure(value, 2)}`);
const points = (value) => `${value > 0 ? "+" : ""}${Math.round(value)}`.replace("-", "−");

/** Draw them for a family of models into an element. */
export async function drawStandings(root, family) {
  const { families } = await getJson("api/ratings");
  const found = families.find((each) => each.family === family);
  if (!found) {
    root.replaceChildren(element("h2", {}, "Ratings"), element("p", { class: "muted" }, "No votes yet. The first ones appear here."));
    return;
  }
  root.replaceChildren(
    element("h2", {}, `Ratings after ${found.votes} vote${found.votes === 1 ? "" : "s"}`),
    element("p", { class: "muted" }, "Bradley–Terry, in Elo’s points around the average model, with 95 % intervals: a model that is 100 points ahead wins 64 % of its votes that are not ties. Means are over the pictures that were voted on."),
    entries(found),
    element("h2", {}, "Do the rewards agree with the votes?"),
    element("p", { class: "muted" }, "Agreement: the share of the votes in which a reward scored the chosen picture higher; 50 % is chance. Rank correlation: Spearman’s, of the models’ ratings and mean scores."),
    judges(found),
  );
}

function scroll(name, head, rows) {
  const headings = head.map((text) => element("th", { scope: "col" }, ...breakable(text)));
  const table = element("table", {}, element("caption", { class: "hidden" }, name), element("thead", {}, element("tr", {}, ...headings)), element("tbody", {}, ...rows));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, table);
}

function entries({ entries, judges }) {
  const least = Math.min(...entries.map((entry) => entry.low)), most = Math.max(...entries.map((entry) => entry.high));
  const rows = entries.map((entry) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, ...breakable(entry.label)),
      element("td", {}, points(entry.rating)),
      element("td", {}, `${points(entry.low)} to ${points(entry.high)} `, intervalBar({ value: entry.rating, low: entry.low, high: entry.high }, least, most)),
      element("td", {}, String(entry.votes)),
      ...judges.map((judge) => element("td", {}, figure(entry.rewards[judge.name]))),
    ),
  );
  return scroll("Ratings", ["model", "rating", "95 % interval", "votes", ...judges.map((judge) => judge.name)], rows);
}

function judges({ judges }) {
  const rows = judges.map((judge) => {
    const interval = judge.agreement === null ? "–" : `${percent(judge.low)} to ${percent(judge.high)} `;
    const bar = judge.agreement === null ? "" : intervalBar({ value: judge.agreement, low: judge.low, high: judge.high }, 0, 1);
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, ...breakable(judge.name)),
      element("td", {}, percent(judge.agreement)),
      element("td", {}, interval, bar),
      element("td", {}, String(judge.votes)),
      element("td", {}, signed(judge.correlation)),
    );
  });
  return scroll("Agreement of the rewards", ["reward", "agreement", "95 % interval", "votes", "rank correlation"], rows);
}
