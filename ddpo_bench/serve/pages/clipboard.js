/* Copying, also where the page is served without TLS to another machine and the browser offers no clipboard. */

import { announce } from "./notices.js";

const SHOWN_FOR = 1500; // milliseconds

/** Copy a text and say so on the button that was pressed. */
export async function copyText(text, button) {
  const done = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  const words = done || copySelected(text) ? "Copied" : "Not allowed";
  button.dataset.label ??= button.textContent;
  button.textContent = words;
  announce(words);
  setTimeout(() => (button.textContent = button.dataset.label), SHOWN_FOR);
}

function copySelected(text) {
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}
