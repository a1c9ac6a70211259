/* One column a model: its picture at the step that is shown, or what the run changed in it, and its scores. */

import { byId, element } from "./dom.js";
import { difference } from "./difference.js";
import { nameOf, originOf } from "./model_names.js";
import { scoreList } from "./scores.js";

const NARROWEST = 210; // CSS pixels of a column with its gap, where there is room for two
const WIDEST = 384;
const CRISP = 3; // below this, a whole number would waste too much of the width

export class PictureColumns {
  constructor() {
    this.columns = new Map(); // model id -> {figure, canvas, scores}
    this.turn = 0;
    new ResizeObserver(() => this.fit()).observe(byId("columns"));
  }

  /** Columns of these models, in this order; those that stay keep their pictures and scores. */
  show(models) {
    const before = this.columns;
    this.columns = new Map(models.map((model) => [model.id, before.get(model.id) ?? column(model)]));
    byId("columns").replaceChildren(...Array.from(this.columns.values(), ({ figure }) => figure));
    this.fit();
  }

  clear() {
    this.turn += 1;
    for (const { figure, canvas, scores } of this.columns.values()) {
      scores.replaceChildren();
      figure.classList.remove("drawn");
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
      canvas.setAttribute("aria-label", "not generated yet");
    }
  }

  /** Draw one step; pictures: {id: Blob}, words: of the step; base: id of the model that others are compared with, or null. */
  async draw(pictures, words, base) {
    const turn = (this.turn += 1);
    const ids = Object.keys(pictures).filter((id) => this.columns.has(id));
    const read = await Promise.all(ids.map((id) => pixels(pictures[id])));
    const reference = base === null ? null : await pixels(pictures[base]);
    if (turn !== this.turn) return; // another step has been asked for meanwhile
    ids.forEach((id, index) => {
      const { figure, canvas } = this.columns.get(id);
      const compared = reference && id !== base;
      const shown = compared ? difference(read[index], reference) : read[index];
      canvas.width = shown.width;
      canvas.height = shown.height;
      canvas.getContext("2d").putImageData(shown, 0, 0);
      canvas.setAttribute("aria-label", compared ? `${words}, difference from pretrained` : words);
      figure.classList.add("drawn");
    });
    this.fit();
  }

  score(compared, models) {
    for (const model of models)
      if (compared[model.id]) this.columns.get(model.id)?.scores.replaceChildren(scoreList(compared[model.id], model.algorithm === "frozen" ? null : model.reward));
  }

  /** Columns as wide as fit in a row; small pictures are enlarged by whole numbers, so that their pixels stay even. */
  fit() {
    const all = byId("columns");
    const gap = parseFloat(getComputedStyle(all).columnGap);
    const room = all.clientWidth + gap;
    const across = Math.max(1, Math.min(this.columns.size, Math.floor(room / Math.min(NARROWEST, room / 2))));
    const width = Math.min(room / across - gap, WIDEST);
    const pixels = Math.max(0, ...Array.from(this.columns.values(), ({ canvas }) => canvas.width));
    const times = (width * devicePixelRatio) / pixels;
    all.style.setProperty("--picture", `${times < CRISP ? width : (Math.floor(times) * pixels) / devicePixelRatio}px`);
    for (const { canvas } of this.columns.values()) canvas.classList.toggle("enlarged", times >= 1);
  }

  canvas(id) {
    return this.columns.get(id).canvas;
  }
}

function column(model) {
  const canvas = element("canvas", { width: "64", height: "64", role: "img", "aria-label": "not generated yet" });
  const scores = element("div", { class: "judged" });
  const figure = element(
    "figure",
    { class: model.kind },
    element("figcaption", {}, element("b", {}, nameOf(model)), element("span", { class: "muted" }, originOf(model))),
    canvas,
    scores,
  );
  return { figure, canvas, scores };
}

async function pixels(blob) {
  const bitmap = await createImageBitmap(blob);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}
