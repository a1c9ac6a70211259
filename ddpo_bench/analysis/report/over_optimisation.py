"""The panel of what optimising cost as a table with coloured cells."""

from __future__ import annotations

import math
from html import escape
from itertools import groupby

from ddpo_bench.analysis.over_optimisation import DIVERSITY, IMAGE, KL, Change, Panel
from ddpo_bench.analysis.report.webpage import breakable, cell, grid, line, paragraph

RISE, FALL, NEUTRAL = (0, 114, 178), (213, 94, 0), (90, 90, 90)  # Okabe and Ito 2008; neutral: can only rise
STRONGEST = 0.5  # opacity of a column's largest change; dark text stays readable on it
HEADINGS = {DIVERSITY: "diversity", KL: "KL (nats)"}
NOTES = (
    "What a reward does not see shows in the rest: for each algorithm and trained reward, the change of everything "
    "measured on the evaluation's images, from the pretrained model (first line, the same prompts and noise) to "
    "the end of training. Framed: the reward that was optimised. Blue rose, orange fell, stronger for what is a large "
    "change in its column; KL is that to the pretrained model. Grey italics: the seeds do not all agree on the sign.",
    "A reward or the diversity that fell was paid for the final reward; of brightness, contrast, colourfulness and "
    "sharpness no direction is better, a large change says that the pictures became others. Diversity is the distance "
    "of samples of one prompt.",
)


def panel_html(panel: Panel) -> str:
    """The table and its notes; empty where no run learned."""
    if not panel.rows:
        return ""
    columns = panel.measures
    groups = [(name, len(list(members))) for name, members in groupby(columns, group_of)]
    over = [cell("", "group", tag="th")]
    over += [f'<th class="group" colspan="{count}">{escape(name)}</th>' for name, count in groups]
    heads = [cell("algorithm", "key", tag="th")] + [cell(heading(name), tag="th") for name in columns]
    lines = [line(over), line(heads)]
    for task, rows in panel.rows.items():
        before = [cell(figure(panel.pretrained[task][name], panel.decimals(name))) for name in columns]
        lines.append(
            line([f'<td class="key" colspan="{1 + len(columns)}">trained on <b>{escape(task)}</b></td>'], "first")
        )
        lines.append(line([cell("pretrained", "key"), *before], "before"))
        for row in rows:
            changes = [change_cell(row.changes[name], panel, name) for name in columns]
            lines.append(line([cell(escape(row.label), "key"), *changes]))
    notes = list(NOTES)
    if panel.missing:
        notes.append(f"Not measured in these runs: {' and '.join(panel.missing)}. Runs of this version measure them.")
    return "\n".join([*map(paragraph, notes[:1]), grid(lines, "tight"), *map(paragraph, notes[1:])])


def change_cell(change: Change | None, panel: Panel, measure: str) -> str:
    """A signed change on a colour that says which way and how far."""
    if change is None:
        return cell("–")
    kind = " ".join(
        name for name, applies in (("trained", change.trained), ("unsettled", not change.settled)) if applies
    )
    return cell(figure(change.value, panel.decimals(measure), "+"), kind, colour(change, panel, measure))


def colour(change: Change, panel: Panel, measure: str) -> str:
    largest = panel.largest_change(measure)
    if not round(change.value, panel.decimals(measure)):  # nothing that the cell shows
        return ""
    red, green, blue = NEUTRAL if measure == KL else RISE if change.value > 0 else FALL
    return f"background: rgba({red}, {green}, {blue}, {STRONGEST * abs(change.value) / largest:.2f})"


def figure(value: float, places: int, sign: str = "") -> str:
    """A number with a true minus, or a dash where it was not measured."""
    return "–" if math.isnan(value) else f"{value:{sign}z.{places}f}".replace("-", "−")


def group_of(measure: str) -> str:
    return "image statistics" if measure.startswith(IMAGE) else "" if measure in HEADINGS else "judged by"


def heading(measure: str) -> str:
    """As a column's title."""
    return HEADINGS.get(measure, breakable(measure.removeprefix(IMAGE)))
