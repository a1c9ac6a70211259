"""Writes what a suite's results folder ends with: tables, plots and the report."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ddpo_bench.analysis.collect import RunRecord, collect
from ddpo_bench.analysis.comparison import comparison, is_done
from ddpo_bench.analysis.plots import learning_curves, reward_against_kl
from ddpo_bench.analysis.report import html_report
from ddpo_bench.analysis.strip import before_after, illustrated
from ddpo_bench.analysis.tables import Table
from ddpo_bench.config import load_yaml


def summarise(results: Path) -> Table:
    """Compare a suite's runs and write table.md, table.csv, table.tex, plots/*.png and report.html beside them.

    Args:
        results: results/<suite>.
    Returns:
        the table that was written.
    Raises:
        ResultsError, ConfigError: where there are no runs, or a file is damaged.
    """
    records = collect(results)
    suite = results.resolve().name
    table = comparison(records, suite)
    table = replace(table, notes=(*table.notes, origin(results, suite)))
    (results / "plots").mkdir(exist_ok=True)
    pictures = draw_pictures([record for record in records if is_done(record)], results / "plots")
    write(results / "table.md", table.to_markdown())
    write(results / "table.csv", table.to_csv())
    write(results / "table.tex", table.to_latex())
    write(results / "report.html", html_report(table, pictures))
    return table


def origin(results: Path, suite: str) -> str:
    """The command, and how long the whole suite took where the plan records it."""
    plan = load_yaml(results / "suite.yaml") if (results / "suite.yaml").exists() else {}
    seconds = plan.get("wall_seconds")
    took = f", {seconds / 60:.1f} minutes in all" if seconds else ""
    return f"Made by `ddpo-bench run {suite}`{took}."


def draw_pictures(done: list[RunRecord], folder: Path) -> dict[str, Path]:
    """Heading to file of the pictures that these runs allow."""
    plans = [
        ("Before and after: same prompt, same noise", "before-after.png", before_after, illustrated(done)),
        ("Learning curves", "learning-curves.png", learning_curves, done),
        ("Reward against KL", "reward-kl.png", reward_against_kl, done),
    ]
    for _, name, draw, runs in plans:
        if runs:
            draw(runs, folder / f".{name}")
            settle(folder / f".{name}", folder / name)
    return {heading: folder / name for heading, name, _, runs in plans if runs}


def write(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    settle(temporary, path)


def settle(temporary: Path, path: Path) -> None:
    """Make a finished temporary file durable, then put it in place."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
