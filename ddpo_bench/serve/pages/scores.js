/* Every judge's score of a picture, how far it is from the pretrained model's, and which is the best of a comparison. */

import { element } from "./dom.js";

const MINUS = "\u2212";

/** Scores of judges by model as they are shown.
 *
 * Args:
 *   scores: {model id: {judge: number or null}}.
 *   base: id of the pretrained model, or null.
 * Returns: {model id: [{judge, value, change, best}]}, with value and change as text, change null where there is none.
 */
export function comparedScores(scores, base) {
  const ids = Object.keys(scores);
  const judges = [...new Set(ids.flatMap((id) => Object.keys(scores[id])))];
  const compared = Object.fromEntries(ids.map((id) => [id, []]));
  for (const judge of judges) {
    const values = ids.map((id) => scores[id][judge]).filter(Number.isFinite);
    const digits = decimals(values);
    const shown = (value) => Number(value.toFixed(digits)); // what looks alike is not called better
    const most = Math.max(...values.map(shown));
    const distinguishes = values.some((value) => shown(value) < most);
    for (const id of ids) {
      const value = scores[id][judge];
      const from = scores[base]?.[judge];
      const known = Number.isFinite(value);
      compared[id].push({
        judge,
        value: known ? signed(value, digits) : "none",
        change: known && Number.isFinite(from) && id !== base ? signed(value - from, digits, "+") : null,
        best: known && distinguishes && shown(value) === most,
      });
    }
  }
  return compared;
}

function decimals(values) {
  const largest = Math.max(...values.map(Math.abs), 0);
  return largest >= 100 ? 1 : largest >= 1 ? 2 : 3;
}

function signed(value, digits, plus = "") {
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return text;
  return (value < 0 ? MINUS : plus) + text;
}

/** The scores under one picture; the judge whose reward the model was trained on is marked. */
export function scoreList(rows, trainedOn) {
  return element("dl", { class: "scores" }, ...rows.map((row) => scoreRow(row, row.judge === trainedOn)));
}

function scoreRow({ judge, value, change, best }, trained) {
  const mark = trained ? element("dd", { class: "trained", title: "the reward that this run was trained on" }, "trained") : null;
  const star = best ? element("span", { class: "star" }, element("span", { "aria-hidden": "true" }, "★"), hidden("best")) : null;
  const difference = change === null ? null : element("span", { class: "change" }, `(${change})`, hidden("from pretrained"));
  return element(
    "div",
    { class: best ? "score best" : "score" },
    element("dt", {}, judge),
    element("dd", {}, star, element("b", {}, value), difference),
    mark,
  );
}

const hidden = (text) => element("span", { class: "hidden" }, text);
