/* The gallery: the list of suites, and the suite, cell or run that the address after # names. */

import { byId, element } from "./dom.js";
import { explain, getJson } from "./api.js";
import { ago } from "./formats.js";
import { RunPage } from "./run_page.js";
import { SuitePage } from "./suite_page.js";

const SETTLE = 300; // milliseconds in which changes are gathered before anything is asked again

let listed = [];
let page = null;
let waiting = null;

/** The parts of the address: suite, cell, seed. */
const place = () => location.hash.slice(1).split("/").filter(Boolean).map(decodeURIComponent);

async function listSuites() {
  listed = await getJson("api/suites");
  drawSuites();
}

function drawSuites() {
  const [current] = place();
  const items = listed.map((suite) => {
    const counts = suite.total ? `${suite.done}/${suite.total} runs` : "table only";
    const details = [counts, suite.running && `${suite.running} running`, suite.failed && `${suite.failed} failed`];
    return element(
      "li",
      {},
      element(
        "a",
        { href: `#${encodeURIComponent(suite.name)}`, "aria-current": suite.name === current ? "page" : null },
        element("span", { class: `suite-name${suite.running ? " running" : ""}` }, suite.name),
        element("span", { class: "details" }, details.filter(Boolean).join(" · ")),
        suite.updated ? element("span", { class: "details" }, ago(suite.updated)) : null,
      ),
    );
  });
  byId("suites").replaceChildren(element("ul", {}, ...items));
}

/** What to do where there is nothing to see. */
function nothing() {
  document.title = "Results · ddpo-bench";
  byId("main").replaceChildren(
    element("h1", {}, "No results yet"),
    element("p", {}, "This page shows suites as they train, and opens on the newest one. Make one in another terminal:"),
    element("pre", {}, element("code", {}, "ddpo-bench run smoke")),
    element("p", { class: "muted" }, "It takes about two minutes on two CPU cores and appears here by itself, if its results ",
      "folder is below one that is served."),
  );
}

async function show() {
  const [suite, cell, seed] = place();
  try {
    await listSuites();
    const name = suite ?? listed[0]?.name;
    if (!name) return nothing();
    const kept = page?.suite === name && page?.run === (seed ? `${suite}/${cell}/${seed}` : undefined);
    if (!kept) {
      page?.close?.();
      page = seed ? new RunPage(byId("main"), suite, cell, seed) : new SuitePage(byId("main"), name);
    }
    if (!seed) page.cell = cell ?? null;
    await page.load();
  } catch (error) {
    failed(error);
  }
}

function failed(error) {
  page = null;
  const [what, remedy] = explain(error);
  byId("main").replaceChildren(element("h1", {}, "Results"), element("p", { class: "error", role: "alert" }, what), element("p", {}, remedy));
}

/** Ask again, once for many changes. */
function later() {
  waiting ??= setTimeout(async () => {
    waiting = null;
    try {
      await listSuites();
      await (page ? page.load() : show());
    } catch (error) {
      failed(error);
    }
  }, SETTLE);
}

function listen() {
  const live = byId("live");
  const source = new EventSource("api/events");
  let ready = false;
  source.addEventListener("ready", () => {
    live.textContent = "Live";
    live.className = "live on";
    if (ready) later(); // what happened while the connection was gone
    ready = true;
  });
  source.addEventListener("message", ({ data }) => {
    const run = JSON.parse(data);
    const known = page?.changed?.(run);
    if (known !== "same state") later();
  });
  source.addEventListener("error", () => {
    live.textContent = "Not live: connecting …";
    live.className = "live";
  });
}

addEventListener("hashchange", async () => {
  await show();
  if (!document.activeElement || document.activeElement === document.body) byId("main").focus({ preventScroll: true });
});
await show();
listen();
