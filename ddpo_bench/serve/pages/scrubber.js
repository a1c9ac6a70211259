/* The pictures of a run's evaluations: a slider through the epochs, and one prompt through all of them. */

import { element } from "./dom.js";

const FRAME = 450; // milliseconds an epoch is shown while playing

export class Scrubber {
  /** @param samples Of a run, as /api/runs/... answers. */
  constructor(samples) {
    this.slider = element("input", { type: "range", min: 0, step: 1, id: "epoch-slider", oninput: () => this.show() });
    this.output = element("output", { for: "epoch-slider" });
    this.play = element("button", { type: "button", onclick: () => this.toggle() }, "Play");
    this.tiles = element("ul", { class: "tiles" });
    this.strip = element("div", { class: "strip", hidden: true });
    const controls = element(
      "div",
      { class: "scrub" },
      element("label", { for: "epoch-slider" }, "Epoch"),
      this.slider,
      this.output,
      this.play,
    );
    this.element = element("div", { class: "samples" }, controls, this.tiles, this.strip);
    this.update(samples);
  }

  /** Take what there is now; who looks at the last epoch goes on to see the last one. */
  update(samples) {
    const atEnd = !this.samples || Number(this.slider.value) === this.samples.grids.length - 1;
    this.samples = samples;
    this.slider.max = samples.grids.length - 1;
    if (atEnd) this.slider.value = this.slider.max;
    this.play.disabled = samples.grids.length < 2;
    this.buttons = samples.prompts.map((prompt, place) => this.tile(prompt, place));
    this.tiles.replaceChildren(...this.buttons.map((button) => element("li", {}, button)));
    for (const { url } of samples.grids.slice(-40)) new Image().src = url; // so that the slider does not flicker
    this.show();
    if (this.chosen !== undefined) this.follow(this.chosen);
  }

  tile(prompt, place) {
    const picture = element("span", { class: "picture pixels" });
    return element(
      "button",
      { type: "button", class: "tile", "aria-label": `${prompt}: show through all epochs`, onclick: () => this.follow(place) },
      picture,
      element("span", { class: "prompt" }, prompt),
    );
  }

  show() {
    const { grids } = this.samples;
    const { epoch, url } = grids[this.slider.value];
    const text = epoch === 0 ? "0, the pretrained model" : String(epoch);
    this.output.textContent = text;
    this.slider.setAttribute("aria-valuetext", `epoch ${text}`);
    this.buttons.forEach((button, place) => this.paint(button.firstChild, url, place));
  }

  /** Make an element show one tile of a grid. */
  paint(picture, url, place) {
    const { columns, prompts } = this.samples;
    const rows = Math.ceil(prompts.length / columns);
    const share = (index, count) => (count > 1 ? (100 * index) / (count - 1) : 0);
    picture.style.backgroundImage = `url("${url}")`;
    picture.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
    picture.style.backgroundPosition = `${share(place % columns, columns)}% ${share(Math.floor(place / columns), rows)}%`;
    picture.style.aspectRatio = this.samples.tile.join(" / ");
  }

  /** One prompt through all epochs. */
  follow(place) {
    this.chosen = place;
    const pictures = this.samples.grids.map(({ epoch, url }) => {
      const picture = element("span", { class: "picture pixels", role: "img", "aria-label": `epoch ${epoch}` });
      this.paint(picture, url, place);
      return element("li", {}, picture, element("span", { class: "muted" }, epoch === 0 ? "pretrained" : String(epoch)));
    });
    const title = element("p", { class: "strip-title" }, "Through the epochs: ", element("b", {}, this.samples.prompts[place]));
    const list = element("ul", { class: "film", tabindex: "0", "aria-label": this.samples.prompts[place] }, ...pictures);
    this.strip.replaceChildren(title, list);
    this.strip.hidden = false;
    this.buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(index === place)));
  }

  toggle() {
    if (this.timer) return this.stop();
    if (this.slider.value === this.slider.max) this.slider.value = 0;
    this.play.textContent = "Stop";
    this.show();
    this.timer = setInterval(() => {
      this.slider.stepUp();
      this.show();
      if (this.slider.value === this.slider.max || !this.element.isConnected) this.stop();
    }, FRAME);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.play.textContent = "Play";
  }
}
