/* The same pictures from the command line: a command for each model, to copy. */

import { copyText } from "./clipboard.js";
import { byId, element } from "./dom.js";

/** commands: {model id: command}; models: those that have labels. */
export function showCommands(commands, models) {
  const labels = new Map(models.map((model) => [model.id, model.label]));
  const rows = Object.entries(commands).map(([id, command]) => row(labels.get(id) ?? id, command));
  byId("command-list").replaceChildren(...rows);
  byId("commands").hidden = false;
}

function row(label, command) {
  const button = element("button", { type: "button", "aria-label": `Copy the command of ${label}` }, "Copy");
  button.addEventListener("click", () => copyText(command, button));
  return element(
    "div",
    { class: "command" },
    element("span", { class: "muted" }, label),
    element("pre", { tabindex: "0", "aria-label": `Command of ${label}` }, element("code", {}, command)),
    button,
  );
}
