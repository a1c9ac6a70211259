/* What is to be drawn: the pretrained model, the prompt and the numbers of the sampler. */

import { byId, element } from "./dom.js";

export const NUMBERS = ["seed", "steps", "guidance", "eta"];
const EXAMPLES = 4;
const SEEDS = 100_000; // short enough to read out

export class SettingsForm {
  /** changed() is called whenever a value does, submitted() when it is sent. */
  constructor(changed, submitted) {
    this.changed = changed;
    byId("settings").addEventListener("input", changed);
    byId("settings").addEventListener("submit", (event) => {
      event.preventDefault();
      submitted();
    });
    byId("prompt").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      byId("settings").requestSubmit();
    });
    byId("dice").addEventListener("click", () => this.set("seed", Math.floor(Math.random() * SEEDS)));
  }

  offer(families, selected, chosen) {
    const alone = (name) => families.filter(({ base }) => base === name).length === 1;
    const names = families.map(({ base, family }, index) => element("option", { value: String(index) }, alone(base) ? base : family));
    byId("family").replaceChildren(...names);
    byId("family").value = String(families.indexOf(selected));
    byId("family-field").hidden = families.length < 2;
    byId("family").addEventListener("change", () => chosen(families[Number(byId("family").value)]));
  }

  /** A family's examples, and the values of a state or its defaults. */
  fill(family, state) {
    const { steps, guidance_scale: guidance, eta } = family.defaults;
    const usual = { seed: 0, steps, guidance, eta };
    const values = { ...usual, ...state };
    for (const name of NUMBERS) {
      const field = byId(name);
      field.value = String(values[name] ?? "");
      field.disabled = usual[name] === null; // this family has no such setting
      field.closest(".field").hidden = field.disabled;
    }
    byId("prompt").value = state.prompt ?? family.example_prompts[0] ?? "";
    const examples = family.example_prompts.slice(0, EXAMPLES);
    byId("examples").replaceChildren(
      ...examples.map((text) => element("button", { type: "button", onclick: () => this.set("prompt", text) }, text)),
    );
  }

  set(name, value) {
    byId(name).value = String(value);
    this.changed();
  }

  get prompt() {
    return byId("prompt").value.trim();
  }

  /** {seed, steps, guidance, eta}, without those that the family has not. */
  get numbers() {
    const fields = NUMBERS.map(byId).filter((field) => !field.disabled);
    return Object.fromEntries(fields.map((field) => [field.id, Number(field.value)]));
  }
}
