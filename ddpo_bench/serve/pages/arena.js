/* The blind vote: two pictures from the same prompt and noise, one choice, and only then who drew them. */

import { byId, element } from "./dom.js";
import { explain, getJson, post } from "./api.js";
import { figure } from "./formats.js";
import { drawStandings } from "./standings.js";

const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie" };
const SIDES = ["left", "right"];
const SMALL = 256; // pixels; smaller pictures are enlarged as they are

let current = null; // the round that is shown; its `voted` says whether it has its vote
let coming = null; // a promise of the next, drawn while this one is looked at
let busy = false;

const notice = (text, look = "") => {
  byId("notice").textContent = text;
  byId("notice").className = `notice ${look}`;
};

async function chooseFamilies() {
  const { families } = await getJson("api/models");
  byId("family").append(...families.map(({ family, base }) => element("option", { value: family }, `${family} (${base})`)));
  byId("family-field").hidden = families.length < 2;
  const most = families.reduce((best, family) => (family.models.length > best.models.length ? family : best), families[0]);
  if (most) byId("family").value = most.family;
}

/** What is asked of the server for a round. */
const asked = () => ({ family: byId("family").value, prompt: byId("prompt").value.trim() || null });

async function draw(wanted) {
  const round = await (await post("api/arena/rounds", wanted)).json();
  return { ...round, wanted };
}

/** Show the next round, the one that was drawn ahead where it is still what is wanted. */
async function next() {
  if (busy) return;
  busy = true;
  setVoting(false);
  byId("round").setAttribute("aria-busy", "true");
  notice("Two models are drawing …");
  try {
    const wanted = asked();
    const ahead = coming;
    coming = null;
    const drawn = await ahead;
    current = drawn && same(drawn.wanted, wanted) ? drawn : await draw(wanted);
    show(current);
    coming = draw(wanted).catch(() => null); // what is wrong is told when it is asked for
  } catch (error) {
    const [what, remedy] = explain(error);
    notice(`${what} ${remedy}`, "error");
  } finally {
    busy = false;
    byId("round").removeAttribute("aria-busy");
  }
}

const same = (one, other) => one.family === other.family && one.prompt === other.prompt;

function show(round) {
  byId("shown-prompt").replaceChildren(element("q", {}, round.prompt));
  for (const side of SIDES) {
    const picture = byId(side);
    picture.onload = () => picture.classList.toggle("pixels", picture.naturalWidth < SMALL);
    picture.src = round[side];
    picture.alt = `${side} picture of ${round.prompt}`;
    byId(`${side}-side`).className = "";
    byId(`${side}-side`).querySelector("figcaption").replaceChildren();
  }
  notice("");
  byId("choices").hidden = false;
  byId("after").hidden = true;
  setVoting(true);
}

function setVoting(can) {
  for (const button of byId("choices").children) button.disabled = !can;
}

async function vote(choice) {
  if (!current || current.voted || busy) return;
  busy = true;
  setVoting(false);
  try {
    const revealed = await (await post(`api/arena/rounds/${current.round}/vote`, { choice })).json();
    current.voted = true;
    reveal(revealed, choice);
    rate();
  } catch (error) {
    const [what, remedy] = explain(error);
    notice(`${what} ${remedy}`, "error");
    setVoting(error.status !== 409 && error.status !== 404);
  } finally {
    busy = false;
  }
}

/** The ratings, for which nobody waits. */
const rate = () => drawStandings(byId("standings"), byId("family").value).catch((error) => notice(explain(error).join(" "), "error"));

/** Who drew which picture, and what every judge says of both. */
function reveal(revealed, choice) {
  for (const side of SIDES) {
    const other = revealed[side === "left" ? "right" : "left"];
    const { id, label, scores } = revealed[side];
    const figureElement = byId(`${side}-side`);
    figureElement.className = choice === side ? "chosen" : "";
    const link = id.startsWith("pretrained/") || id.startsWith("lora/") ? label : element("a", { href: `index.html#${id}` }, label);
    const rows = Object.entries(scores).map(([judge, score]) => {
      const higher = score !== null && other.scores[judge] !== null && score > other.scores[judge];
      const value = element(higher ? "b" : "span", {}, figure(score));
      return element("div", {}, element("dt", {}, judge), element("dd", {}, value));
    });
    figureElement.querySelector("figcaption").replaceChildren(element("strong", {}, link), element("dl", {}, ...rows));
  }
  const said = choice === "tie" ? "alike" : `${choice}: ${revealed[choice].label}`;
  notice(`Voted ${said}.`);
  byId("choices").hidden = true;
  byId("after").hidden = false;
  byId("next").focus({ preventScroll: true });
}

for (const button of byId("choices").children) button.addEventListener("click", () => vote(button.dataset.choice));
byId("next").addEventListener("click", next);
byId("settings").addEventListener("submit", (event) => {
  event.preventDefault();
  next();
});
addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea, .scroll") || event.ctrlKey || event.altKey || event.metaKey;
  if (typing || !(event.key in KEYS) || !current || current.voted) return;
  event.preventDefault();
  vote(KEYS[event.key]);
});

try {
  await chooseFamilies();
  byId("family").addEventListener("change", () => {
    rate();
    next();
  });
  rate();
  await next();
} catch (error) {
  notice(explain(error).join(" "), "error");
}
