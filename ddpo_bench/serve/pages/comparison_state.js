/* A comparison as the page's address, so that a link shares it. */

import { NUMBERS } from "./settings_form.js";

/** What the address asks for: {models, prompt, seed, steps, guidance, eta, difference}; absent keys are undefined. */
export function fromAddress() {
  const query = new URLSearchParams(location.search);
  const state = {
    models: query.getAll("model"),
    prompt: query.get("prompt") ?? undefined,
    difference: query.get("difference") === "1",
  };
  for (const name of NUMBERS) {
    const given = query.get(name);
    if (given !== null && given !== "" && Number.isFinite(Number(given))) state[name] = Number(given);
  }
  return state;
}

export function toAddress(state) {
  const query = new URLSearchParams(state.models.map((id) => ["model", id]));
  query.set("prompt", state.prompt);
  for (const name of NUMBERS) if (name in state) query.set(name, state[name]);
  if (state.difference) query.set("difference", "1");
  history.replaceState(null, "", `?${query}`);
}
