/* The curves of one run, or of several on the same axes. */

import { element } from "./dom.js";
import { lineChart } from "./charts.js";

/**
 * @param views What /api/runs/... answers, one a line.
 * @param names The lines' names.
 */
export function runCharts(views, names) {
  const of = (value) =>
    views.map((view, place) => ({
      name: names[place],
      colour: views.length > 1 ? place + 1 : 1,
      points: view.curve.map((point) => [point.epoch, value(point)]),
    }));
  const reward = views[0].summary.reward;
  const judges = [...new Set(views.flatMap((view) => view.judges))];
  const trained = judges.find((judge) => judge === reward) ?? null;
  const ordered = trained ? [trained, ...judges.filter((judge) => judge !== trained)] : judges;
  const charts = [
    lineChart("training reward", of((point) => point.reward_mean)),
    lineChart("KL to pretrained", of((point) => point.kl_reference_nats), { unit: "nats" }),
    ...ordered.map((judge) =>
      lineChart(`${judge}${judge === trained ? ", trained on" : ""}`, of((point) => point.eval[judge] ?? null)),
    ),
  ];
  return element("div", { class: "charts" }, ...charts);
}

/** Which colour is whose. */
export function legend(names, colours) {
  const list = element("ul", { class: "legend" });
  names.forEach((name, place) => list.append(element("li", { class: `series-${colours[place] % 8}` }, name)));
  return list;
}
