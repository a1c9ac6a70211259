/* Which models are compared: the pretrained one, always, and up to eight others, grouped by suite and searched by words. */

import { byId, element } from "./dom.js";
import { nameOf } from "./model_names.js";

export const MOST = 8;
const ELSEWHERE = "Other";

/** The models of a family as a list to choose from; calls changed() whenever the choice does. */
export class ModelPicker {
  constructor(changed) {
    this.changed = changed;
    this.models = [];
    byId("search").addEventListener("input", () => this.filter());
    byId("search").addEventListener("keydown", (event) => this.leaveSearch(event));
    byId("clear").addEventListener("click", () => this.choose([]));
    byId("models").addEventListener("keydown", (event) => this.walk(event));
    byId("models").addEventListener("change", () => this.update());
  }

  show(models, chosen) {
    this.models = models;
    this.base = models.find((model) => model.kind === "pretrained") ?? null;
    const groups = Map.groupBy(models, (model) => (model === this.base ? "Always compared" : (model.suite ?? ELSEWHERE)));
    byId("models").replaceChildren(...Array.from(groups, ([name, members]) => this.group(name, members)));
    if (models.length <= 1)
      byId("models").append(element("p", { class: "muted" }, "No trained run is served. Give a results folder: ddpo-bench serve results/algos"));
    this.filter();
    this.choose(chosen);
  }

  group(name, models) {
    const rows = Map.groupBy(models, nameOf);
    const numbered = models.some((model) => Number.isFinite(model.seed));
    return element("fieldset", {}, element("legend", {}, element("span", {}, name), numbered ? element("span", {}, "seeds") : null), ...Array.from(rows, ([label, seeds]) => this.row(label, seeds)));
  }

  /** A cell: its name, which is also the label of its first seed, and a box for each seed. */
  row(label, seeds) {
    const first = `box-${this.models.indexOf(seeds[0])}`;
    return element(
      "div",
      { class: "model" },
      element("label", { class: "name", for: first }, label),
      ...seeds.map((model) => this.option(model, label)),
    );
  }

  option(model, label) {
    const always = model === this.base;
    const seed = Number.isFinite(model.seed) ? String(model.seed) : null;
    const box = element("input", {
      type: "checkbox",
      id: `box-${this.models.indexOf(model)}`,
      value: model.id,
      "aria-label": seed === null ? label : `${label} seed ${seed}`,
      checked: always,
      disabled: always,
      tabindex: "-1",
    });
    return element("label", { class: "seed" }, box, seed);
  }

  boxes() {
    return Array.from(byId("models").querySelectorAll("input"));
  }

  /** The chosen models, the pretrained one first. */
  chosen() {
    const ids = new Set(this.boxes().filter((box) => box.checked).map((box) => box.value));
    const chosen = this.models.filter((model) => ids.has(model.id) && model !== this.base);
    return this.base ? [this.base, ...chosen] : chosen;
  }

  choose(ids) {
    const wanted = new Set(ids.filter((id) => id !== this.base?.id).slice(0, MOST));
    for (const box of this.boxes()) box.checked = wanted.has(box.value) || box.value === this.base?.id;
    this.update();
  }

  update() {
    const count = this.chosen().length - (this.base ? 1 : 0);
    for (const box of this.boxes()) box.disabled = box.value === this.base?.id || (count >= MOST && !box.checked);
    byId("chosen-count").textContent = `${count} of at most ${MOST} chosen`;
    byId("clear").disabled = count === 0;
    this.keepOneTabStop();
    this.changed();
  }

  filter() {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const described = new Map(this.models.map((model) => [model.id, describe(model)]));
    for (const box of this.boxes())
      box.parentElement.hidden = !words.every((word) => described.get(box.value).includes(word));
    for (const part of byId("models").querySelectorAll(".model, fieldset"))
      part.hidden = !part.querySelector(".seed:not([hidden])");
    this.keepOneTabStop();
  }

  reachable() {
    return this.boxes().filter((box) => !box.disabled && !box.parentElement.hidden);
  }

  keepOneTabStop() {
    const reachable = this.reachable();
    const stop = reachable.find((box) => box === document.activeElement) ?? reachable.find((box) => box.checked) ?? reachable[0];
    for (const box of this.boxes()) box.tabIndex = box === stop ? 0 : -1;
  }

  leaveSearch(event) {
    if (event.key === "Enter") event.preventDefault(); // a search does not start a generation
    if (event.key !== "ArrowDown") return;
    event.preventDefault();
    this.reachable()[0]?.focus();
  }

  walk(event) {
    const boxes = this.reachable();
    const here = boxes.indexOf(document.activeElement);
    const there = { ArrowDown: here + 1, ArrowRight: here + 1, ArrowUp: here - 1, ArrowLeft: here - 1, Home: 0, End: boxes.length - 1 }[event.key];
    if (here < 0 || there === undefined) return;
    event.preventDefault();
    if (there < 0) byId("search").focus();
    else boxes[Math.min(there, boxes.length - 1)].focus();
    this.keepOneTabStop();
  }
}

function describe(model) {
  return [model.label, model.suite, model.algorithm, model.reward, `seed ${model.seed}`].join(" ").toLowerCase();
}

/** What a page without a link begins with: of the first suite, the first seed of up to four cells that learn. */
export function firstChoice(models) {
  const runs = models.filter((model) => model.kind !== "pretrained" && model.algorithm !== "frozen");
  const seen = new Set();
  const different = runs.filter((model) => {
    const key = model.kind === "run" ? nameOf(model) : model.id;
    if (model.suite !== runs[0].suite || seen.has(key)) return false;
    return seen.add(key);
  });
  return different.slice(0, 4).map((model) => model.id);
}
