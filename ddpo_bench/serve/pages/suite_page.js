/* One suite: how far it is, its table, the runs behind a row, its plots. */

import { element } from "./dom.js";
import { getJson } from "./api.js";
import { lineChart } from "./charts.js";
import { withCode } from "./formats.js";
import { cellOf, matches, resultsTable } from "./results_table.js";
import { legend, runCharts } from "./run_charts.js";
import { addressOf, badge, runsList } from "./runs_list.js";

const MOST_COMPARED = 8; // models next to each other on the other page

export class SuitePage {
  constructor(root, suite) {
    this.root = root;
    this.suite = suite;
    this.cell = null;
    this.table = { sort: null, filter: "", further: false };
    this.state = "all";
    this.openNotes = false;
  }

  async load() {
    const view = await getJson(`api/suites/${encodeURIComponent(this.suite)}`);
    const views = this.cell ? await this.viewsOf(view) : [];
    this.view = view;
    this.views = views;
    this.draw();
  }

  /** All about the runs of the chosen cell that have begun. */
  async viewsOf(view) {
    const begun = view.runs.filter((run) => run.cell === this.cell && !["queued", "damaged"].includes(run.status));
    return Promise.all(begun.map((run) => getJson(`api/runs/${run.id.split("/").map(encodeURIComponent).join("/")}`)));
  }

  /** A run has changed: "same state" where the table and the counts are as they were. */
  changed(run) {
    if (run.suite !== this.suite || !this.view) return "another";
    const place = this.view.runs.findIndex((known) => known.id === run.id);
    if (place < 0 || this.view.runs[place].status !== run.status || this.cell === run.cell) return "another";
    this.view.runs[place] = { ...run, label: this.view.runs[place].label, reward: this.view.runs[place].reward };
    this.drawRuns();
    return "same state";
  }

  draw() {
    const { view } = this;
    const focus = document.activeElement?.dataset?.focus;
    document.title = `${view.name} · ddpo-bench`;
    this.tablePlace = element("div");
    this.chosenPlace = element("div");
    this.runsPlace = element("div");
    this.root.replaceChildren(
      element("div", { class: "title" }, element("h1", {}, view.name), ...this.counts(), this.compareLink()),
      ...(view.problem ? [element("p", { class: "error", role: "alert" }, view.problem)] : []),
      ...(view.rows.length ? [this.controls(), this.tablePlace] : []),
      this.chosenPlace,
      ...(view.notes.length ? [this.notes()] : []),
      this.runsPlace,
      ...(view.pictures.length ? [this.plots()] : []),
    );
    this.drawTable();
    this.drawChosen();
    this.drawRuns();
    if (focus) this.root.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
  }

  counts() {
    const { runs } = this.view;
    if (!runs.length) return [element("span", { class: "muted" }, "the table of runs that are not in this folder")];
    const states = ["done", "running", "failed", "damaged", "killed", "queued"];
    const counted = states.map((state) => [state, runs.filter((run) => run.status === state).length]).filter(([, n]) => n);
    const bar = element("span", { class: "bar", "aria-hidden": "true" });
    for (const [state, count] of counted) {
      const part = element("span", { class: state });
      part.style.flexGrow = count;
      bar.append(part);
    }
    const texts = counted.map(([state, count]) => element("span", { class: `state ${state}` }, `${count} ${state}`));
    return [bar, ...texts];
  }

  /** A link to the page that draws with one run of every row. */
  compareLink() {
    const done = new Set(this.view.runs.filter((run) => run.status === "done" && run.algorithm !== "frozen").map((run) => run.id));
    const firsts = this.view.rows.map((row) => row.runs.find((run) => done.has(run))).filter(Boolean);
    return firsts.length ? compareWith(firsts.slice(0, MOST_COMPARED), "Compare live") : null;
  }

  controls() {
    const filter = element("input", {
      type: "search", id: "filter", value: this.table.filter, placeholder: "algorithm or reward", "data-focus": "filter",
      oninput: (event) => {
        this.table.filter = event.target.value;
        this.drawTable();
        this.drawRuns();
      },
    });
    const further = element("input", {
      type: "checkbox", id: "further", "data-focus": "further", checked: this.table.further,
      onchange: (event) => {
        this.table.further = event.target.checked;
        this.drawTable();
      },
    });
    return element(
      "div",
      { class: "controls" },
      element("label", { for: "filter" }, "Filter"), filter,
      element("label", { class: "check" }, further, "all measurements"),
      element("span", { class: "muted hint" }, "Bold: the best of its reward. ≈: its interval overlaps the best’s."),
    );
  }

  drawTable() {
    const scrolled = this.tablePlace.firstChild?.scrollLeft ?? 0;
    this.tablePlace.replaceChildren(resultsTable(this.view, this.table, this.cell, (key) => this.sortBy(key)));
    this.tablePlace.firstChild.scrollLeft = scrolled;
  }

  /** First the largest first, then the smallest, then as it was. */
  sortBy(key) {
    const { sort } = this.table;
    const text = this.view.columns.find((column) => column.key === key).kind === "text";
    const order = text ? ["ascending", "descending", null] : ["descending", "ascending", null];
    const next = order[sort?.key === key ? order.indexOf(sort.direction) + 1 : 0];
    this.table.sort = next ? { key, direction: next } : null;
    this.drawTable();
    this.root.querySelector(`[data-focus="sort ${CSS.escape(key)}"]`).focus();
  }

  /** The curves of the chosen row's seeds. */
  drawChosen() {
    if (!this.cell) return this.chosenPlace.replaceChildren();
    const row = this.view.rows.find((each) => cellOf(each) === this.cell);
    const title = row ? `${row.cells.algorithm.text} on ${row.cells.reward.text}` : this.cell;
    const runs = this.view.runs.filter((run) => run.cell === this.cell);
    const names = this.views.map((view) => `seed ${view.summary.seed}`);
    const links = runs.map((run) =>
      element("li", {}, run.status === "queued" ? `seed ${run.seed}` : element("a", { href: addressOf(run) }, `seed ${run.seed}`), " ", badge(run.status)),
    );
    const done = runs.filter((run) => run.status === "done").map((run) => run.id);
    this.chosenPlace.replaceChildren(
      element(
        "section",
        { class: "chosen", "aria-label": title },
        element("div", { class: "title" }, element("h2", {}, title),
          element("ul", { class: "inline" }, ...links),
          done.length ? compareWith(done.slice(0, MOST_COMPARED), "Compare its seeds live") : null,
          element("a", { href: `#${encodeURIComponent(this.suite)}`, class: "close" }, "Close")),
        ...(this.views.length > 1 ? [legend(names, names.map((_, place) => place + 1))] : []),
        this.views.length ? runCharts(this.views, names) : element("p", { class: "muted" }, "None of its runs has begun."),
      ),
    );
  }

  drawRuns() {
    const { runs } = this.view;
    if (!runs.length) return;
    const focus = document.activeElement?.dataset?.focus;
    const labels = [...new Set(runs.filter((run) => run.algorithm).map((run) => run.label))];
    labels.sort((one, other) => (other === "frozen") - (one === "frozen"));
    const colours = Object.fromEntries(labels.map((label, place) => [label, place + (labels[0] !== "frozen")]));
    const shown = runs.filter((run) => matches(`${run.label} ${run.reward} ${run.cell} seed ${run.seed}`, this.table.filter));
    const listed = shown.filter((run) => this.state === "all" || run.status === this.state);
    const found = ["all", ...new Set(runs.map((run) => run.status))];
    const choice = element(
      "select",
      { id: "state", "data-focus": "state", onchange: (event) => { this.state = event.target.value; this.drawRuns(); } },
      ...found.map((state) => element("option", { value: state, selected: state === this.state }, state)),
    );
    this.runsPlace.replaceChildren(
      element("h2", {}, "Training"),
      legend(labels, labels.map((label) => colours[label])),
      this.overview(shown, colours),
      element("div", { class: "title" }, element("h2", {}, "Runs"), element("label", { for: "state" }, "State"), choice),
      runsList(listed, colours),
    );
    if (focus) this.runsPlace.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
  }

  /** The training reward of all runs, a chart a reward. */
  overview(runs, colours) {
    const rewards = [...new Set(runs.filter((run) => run.rewards.length).map((run) => run.reward))];
    const charts = rewards.map((reward) => {
      const of = runs.filter((run) => run.reward === reward && run.rewards.length);
      return lineChart(reward, of.map((run) => ({ name: `${run.label} ${run.seed}`, colour: colours[run.label] ?? 0, points: run.rewards, faint: run.status !== "running" && of.some((other) => other.status === "running") })));
    });
    return element("div", { class: "charts" }, ...charts);
  }

  notes() {
    const notes = element("details", { class: "notes", ontoggle: (event) => (this.openNotes = event.target.open), open: this.openNotes });
    notes.append(element("summary", {}, "What the numbers mean, and where they are from"));
    for (const note of this.view.notes) notes.append(element("p", {}, ...withCode(note)));
    return notes;
  }

  plots() {
    const pictures = this.view.pictures.map(({ name, url }) =>
      element("li", {}, element("a", { href: url }, element("img", { src: url, alt: "", loading: "lazy" }), title(name))),
    );
    return element("section", {}, element("h2", {}, "Plots"), element("ul", { class: "plots" }, ...pictures));
  }
}

const title = (name) => (name[0].toUpperCase() + name.slice(1).replaceAll("-", " ")).replace("Before after", "Before and after");

/** A link to the page that draws with these runs. */
export function compareWith(runs, text) {
  const query = new URLSearchParams(runs.map((run) => ["model", run]));
  return element("a", { href: `compare.html?${query}`, class: "action" }, text);
}
