/* What the page says: progress on screen and to screen readers, and what went wrong with what to do about it. */

import { explain } from "./api.js";
import { byId, element } from "./dom.js";

/** To screen readers only. */
export function announce(words) {
  byId("announcements").textContent = words;
}

export function say(words) {
  byId("progress").textContent = words;
  announce(words);
}

export function showProblem(error) {
  showNotice(...explain(error));
}

export function showNotice(what, whatToDo) {
  byId("problem").replaceChildren(element("b", {}, what), " ", whatToDo);
  byId("problem").hidden = false;
}

export function hideNotice() {
  byId("problem").hidden = true;
}

export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
