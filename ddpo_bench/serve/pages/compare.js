/* Compare live: the pretrained model and what was trained from it draw one prompt from the same noise, side by side. */

import { getJson } from "./api.js";
import { copyText } from "./clipboard.js";
import { showCommands } from "./commands.js";
import { fromAddress, toAddress } from "./comparison_state.js";
import { byId } from "./dom.js";
import { Generation } from "./generation.js";
import { firstChoice, ModelPicker } from "./model_picker.js";
import { announce, count, hideNotice, say, showNotice, showProblem } from "./notices.js";
import { SettingsForm } from "./settings_form.js";
import { Viewer } from "./viewer.js";

const NARROW = "(max-width: 760px)"; // as in compare.css

const viewer = new Viewer();
const form = new SettingsForm(remember, generate);
const picker = new ModelPicker(() => {
  viewer.show(picker.chosen());
  remember();
});
let running = null;

start().catch(showProblem);

async function start() {
  if (matchMedia(NARROW).matches) byId("picker").open = false;
  const asked = fromAddress();
  const { families } = await getJson("api/models");
  const familyOf = new Map(families.flatMap((family) => family.models.map((model) => [model.id, family])));
  const known = asked.models.filter((id) => familyOf.has(id));
  const family = familyOf.get(known[0]) ?? families[0];
  if (!family) return showNotice("No model is served.", "Give ddpo-bench serve a results folder.");
  byId("difference").checked = asked.difference;
  form.offer(families, family, changeFamily);
  changeFamily(family, { ...asked, models: known.length ? known : firstChoice(family.models) });
  const unknown = asked.models.length - known.length;
  if (unknown)
    showNotice(`This server does not have ${count(unknown, "model")} of this link.`, "Give ddpo-bench serve their results folder too.");
  byId("generate").disabled = false;
  byId("cancel").addEventListener("click", () => running?.cancel());
  byId("share").addEventListener("click", () => copyText(location.href, byId("share")));
  byId("difference").addEventListener("change", remember);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") running?.cancel();
  });
}

function changeFamily(family, state = { models: firstChoice(family.models) }) {
  running?.cancel();
  viewer.begin(null);
  form.fill(family, state);
  picker.show(family.models, state.models);
}

/** Keep the address in step with the page. */
function remember() {
  const models = picker.chosen().map((model) => model.id);
  toAddress({ models, prompt: form.prompt, difference: byId("difference").checked, ...form.numbers });
}

async function generate() {
  if (running) return;
  const models = picker.chosen().map((model) => model.id);
  const { seed, steps, guidance, eta } = form.numbers;
  const mine = new Generation({ models, prompt: form.prompt, seed, steps, guidance_scale: guidance, eta });
  setRunning(mine);
  viewer.begin(mine);
  hideNotice();
  say("Sent to the server.");
  try {
    for await (const [name, data] of mine.run()) take(mine, name, data);
  } catch (error) {
    const cancelled = error.name === "AbortError";
    if (viewer.generation === mine) say(`${cancelled ? "Cancelled" : "Stopped"} after ${count(mine.newest, "step")}.`);
    if (!cancelled) showProblem(error);
  }
  setRunning(null);
}

function take(mine, name, data) {
  if (name === "queued") say(data.position > 0 ? `Waiting in the queue, ${data.position} ahead.` : "Next in the queue.");
  if (name === "start") {
    say(`Loading and denoising ${count(data.models.length, "model")}.`);
    showCommands(data.command, picker.models);
  }
  if (name === "step" || name === "final") viewer.advance();
  if (name === "final") viewer.finish();
  if (name === "step" && data.step % Math.ceil(data.of / 4) === 0) announce(`Step ${data.step} of ${data.of}.`);
}

/** One button stands for the other, and the keyboard's focus stays where it was pressed. */
function setRunning(generation) {
  running = generation;
  const [shown, hidden] = generation ? [byId("cancel"), byId("generate")] : [byId("generate"), byId("cancel")];
  const focused = document.activeElement === hidden;
  shown.hidden = false;
  hidden.hidden = true;
  if (focused) shown.focus();
}
