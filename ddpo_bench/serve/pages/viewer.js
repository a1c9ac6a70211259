/* The pictures of one generation: their scrubber, the difference view, the scores under them, and the download. */

import { comparisonPng } from "./comparison_png.js";
import { FACTOR } from "./difference.js";
import { byId, element } from "./dom.js";
import { announce, count } from "./notices.js";
import { nameOf, originOf } from "./model_names.js";
import { PictureColumns } from "./picture_columns.js";
import { comparedScores } from "./scores.js";

const NOTHING = "Nothing generated yet";

export class Viewer {
  constructor() {
    this.columns = new PictureColumns();
    this.generation = null;
    this.models = [];
    byId("factor").textContent = `×${FACTOR}`;
    byId("step").addEventListener("input", () => this.draw());
    byId("difference").addEventListener("change", () => this.draw());
    byId("download").addEventListener("click", () => this.download());
  }

  /** Columns of these models, with what has been generated for them. */
  show(models) {
    this.models = models;
    this.columns.show(models);
    this.score();
  }

  /** Begin with no pictures: those of a generation that has been sent, or none. */
  begin(generation) {
    this.generation = generation;
    this.columns.clear();
    byId("progress").textContent = NOTHING;
    byId("caption").textContent = generation ? describe(generation.request, false) : "";
    byId("step").max = String((generation?.steps ?? 0) + 1);
    byId("step").value = "1";
    this.followed = 0; // the step that had arrived when the newest did
    for (const id of ["step", "difference", "download"]) byId(id).disabled = true;
    for (const id of ["commands", "legend"]) byId(id).hidden = true;
  }

  /** Show the step that has just arrived, unless the reader has gone back to an earlier one. */
  advance() {
    const arrived = this.generation.newest;
    const scrubber = byId("step");
    for (const id of ["step", "download"]) byId(id).disabled = false;
    byId("difference").disabled = this.base === null;
    if (Number(scrubber.value) >= this.followed) scrubber.value = String(arrived);
    this.followed = arrived;
    this.draw();
  }

  /** Id of the model that differences are taken from: the pretrained one, where its pictures are there. */
  get base() {
    const model = this.models.find(({ kind }) => kind === "pretrained");
    return model && model.id in (this.generation?.at(1)?.pictures ?? {}) ? model.id : null;
  }

  draw() {
    if (!this.generation?.newest) return;
    const scrubber = byId("step");
    const { step, words, pictures } = this.generation.at(Number(scrubber.value));
    scrubber.value = String(Math.min(Number(scrubber.value), this.generation.newest));
    scrubber.setAttribute("aria-valuetext", words);
    const last = step > this.generation.steps;
    byId("progress").textContent = last ? `${words} · ${this.generation.seconds.toFixed(1)} s` : words;
    const base = byId("difference").checked ? this.base : null;
    byId("caption").textContent = describe(this.generation.request, base !== null);
    this.columns.draw(pictures, words, base);
  }

  score() {
    if (!this.generation?.finished) return;
    this.columns.score(comparedScores(this.generation.scores, this.base), this.models);
    byId("legend").hidden = false;
  }

  finish() {
    this.score();
    announce(`Finished in ${this.generation.seconds.toFixed(1)} seconds.`);
  }

  async download() {
    const { request, finished, scores } = this.generation;
    const compared = finished ? comparedScores(scores, this.base) : {};
    const shown = this.models.filter((model) => model.id in this.generation.at(1).pictures);
    const columns = shown.map((model) => ({
      title: nameOf(model),
      origin: originOf(model),
      canvas: this.columns.canvas(model.id),
      scores: compared[model.id] ?? [],
    }));
    const picture = await comparisonPng(columns, byId("caption").textContent, byId("progress").textContent);
    const address = URL.createObjectURL(picture);
    element("a", { href: address, download: `compare-seed-${request.seed}.png` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }
}

function describe(request, isDifference) {
  const words = `“${request.prompt}” · ${numbersOf(request)}`;
  return isDifference ? `${words} · difference from pretrained ×${FACTOR} around grey` : words;
}

function numbersOf({ seed, steps, guidance_scale: guidance, eta }) {
  const parts = [`seed ${seed}`, count(steps, "step")];
  if (guidance !== undefined) parts.push(`guidance ${guidance}`);
  if (eta !== undefined) parts.push(`eta ${eta}`);
  return parts.join(" · ");
}
