/* One run: how it stands, its curves, its pictures through the epochs, its configuration. */

import { element } from "./dom.js";
import { getJson } from "./api.js";
import { duration, figure } from "./formats.js";
import { runCharts } from "./run_charts.js";
import { badge } from "./runs_list.js";
import { Scrubber } from "./scrubber.js";
import { compareWith } from "./suite_page.js";

export class RunPage {
  constructor(root, suite, cell, seed) {
    this.root = root;
    this.suite = suite;
    this.cell = cell;
    this.run = `${suite}/${cell}/${seed}`;
    this.openConfig = false;
  }

  async load() {
    this.view = await getJson(`api/runs/${this.run.split("/").map(encodeURIComponent).join("/")}`);
    this.draw();
  }

  /** Any change of this run is asked for; those of others are not shown here. */
  changed(run) {
    return run.id === this.run ? "another" : "same state";
  }

  draw() {
    const { summary, samples } = this.view;
    document.title = `${summary.label} · ${summary.reward} · seed ${summary.seed} · ddpo-bench`;
    if (samples && this.scrubber) this.scrubber.update(samples);
    else if (samples) this.scrubber = new Scrubber(samples);
    const focused = document.activeElement;
    this.root.replaceChildren(
      this.trail(),
      element("div", { class: "title" }, element("h1", {}, `${summary.label} on ${summary.reward}, seed ${summary.seed}`),
        badge(summary.status),
        summary.status === "done" ? compareWith([summary.id], "Compare live") : null),
      ...(summary.reason ? [element("pre", { class: "error" }, summary.reason)] : []),
      this.facts(),
      runCharts([this.view], [summary.label]),
      element("h2", {}, "Samples"),
      samples ? this.scrubber.element : element("p", { class: "muted" }, "No pictures yet: they come with the evaluations."),
      this.configuration(),
    );
    if (focused?.isConnected) focused.focus({ preventScroll: true });
  }

  trail() {
    const suite = `#${encodeURIComponent(this.suite)}`;
    return element(
      "nav",
      { class: "trail", "aria-label": "Where this is" },
      element("a", { href: suite }, this.suite), " / ",
      element("a", { href: `${suite}/${encodeURIComponent(this.cell)}` }, this.cell),
    );
  }

  facts() {
    const { summary, seconds, folder, provenance } = this.view;
    const known = [
      ["epoch", summary.epochs ? `${summary.epoch} of ${summary.epochs}` : String(summary.epoch)],
      ["final reward", figure(summary.final_reward)],
      ["run time", seconds ? duration(seconds) : "–"],
      ["precision", provenance.precision],
      ["commit", provenance.git_commit],
      ["folder", folder],
    ];
    const shown = known.filter(([, value]) => value);
    return element("dl", { class: "facts" }, ...shown.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
  }

  configuration() {
    const details = element("details", { class: "notes", open: this.openConfig, ontoggle: (event) => (this.openConfig = event.target.open) });
    details.append(element("summary", {}, "Configuration"), element("pre", { tabindex: "0" }, this.view.config || "not written yet"));
    return details;
  }
}
