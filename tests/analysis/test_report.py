"""The report as text; tests/analysis/test_report_in_a_browser.py opens it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from fabricate import measure_parts, plan, update, without
from fabricate_tuning import fabricate_tuning

import ddpo_bench.analysis
from ddpo_bench.analysis.report import summary
from ddpo_bench.analysis.report.summary import summarise
from ddpo_bench.analysis.tabulate import tabulate


class Tags(HTMLParser):
    """Collects the sources, links and ids of a page and checks that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [str(value) for key, value in attrs if key == "src"]
        self.links += [str(value) for key, value in attrs if key == "href"]
        self.ids += [str(value) for key, value in attrs if key == "id"]
        if tag not in ("meta", "img", "br", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    return tags


@pytest.fixture
def page(suite: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Makes the page of the suite, without pictures."""
    monkeypatch.setattr(summary, "draw_each", lambda drawings, folder: {})

    def made() -> str:
        summarise(suite)
        return (suite / "report.html").read_text()

    return made


def test_everything_is_written_and_the_report_is_one_file_without_script_or_request(suite: Path) -> None:
    table = summarise(suite)
    names = ("learning-curves", "intervals", "improvement", "frontier", "before-after")
    outputs = {"table.md", "table.csv", "table.tex", "report.html", *(f"plots/{name}.png" for name in names)}
    written = {path.relative_to(suite).as_posix() for path in suite.rglob("*") if path.is_file()}
    assert {path for path in written if not path.startswith("runs/")} == outputs
    assert (suite / "table.md").read_text() == table.to_markdown()
    page = (suite / "report.html").read_text()
    tags = read(page)
    assert tags.open == []
    assert len(tags.sources) == len(names)
    assert all(source.startswith("data:image/png;base64,") for source in tags.sources)
    assert "<script" not in page
    assert not re.search(r"https?:|url\(|@import", re.sub(r'src="[^"]*"', "", page))
    for row in table.rows:
        assert all(table.cell(row, column) in page for column in table.part("main"))
    assert tags.links == [f"#{anchor}" for anchor in tags.ids]
    assert len(set(tags.ids)) == len(tags.ids) == 8


def test_writing_twice_changes_no_byte(suite: Path) -> None:
    fabricate_tuning(suite)
    summarise(suite)
    first = {path: path.read_bytes() for path in suite.rglob("*") if path.is_file()}
    summarise(suite)
    assert first == {path: path.read_bytes() for path in suite.rglob("*") if path.is_file()}


def test_tuning_stands_between_the_summary_and_the_learning_curves(suite: Path, page: Callable[[], str]) -> None:
    assert "tuning" not in read(page()).ids
    fabricate_tuning(suite)
    found = page()
    tags = read(found)
    assert tags.open == []
    assert tags.ids[:2] == ["summary", "tuning"]
    assert "ddpo-bench train results/algos/best-ppo-jpeg_compressibility.yaml" in found
    note = "Every algorithm was tuned with 8 trials x 2 seeds (100 and 101) a cell, on other seeds than reported."
    assert note in found
    assert note in (suite / "table.md").read_text()


def test_where_there_is_no_common_scale_it_says_why(suite: Path, page: Callable[[], str]) -> None:
    assert "No averages" not in page()
    for run in suite.glob("runs/trpo_penalty-target_colour-*/*"):
        update(run, "status.json", state="queued")
    assert "<p>No averages over all rewards: they need every algorithm on every reward" in page()


def test_where_the_time_went_is_a_table(suite: Path, page: Callable[[], str]) -> None:
    assert "time" not in read(page()).ids  # an older version did not measure it
    measure_parts(suite)
    found = page()
    assert "time" in read(found).ids
    assert "<td>72.0</td>" in found  # sampling of three runs


def test_results_of_an_older_version_give_what_they_hold(suite: Path) -> None:
    for start in ("eval/image/", "eval/diversity", "seconds_", "kl_reference"):
        without(suite, start)
    summarise(suite)
    page = (suite / "report.html").read_text()
    assert "Not measured in these runs: diversity and image statistics." in page
    assert len(read(page).sources) == 5


def test_it_escapes_what_runs_say(suite: Path, page: Callable[[], str]) -> None:
    run = next(suite.glob("runs/ppo-*/seed-0"))
    update(run, "status.json", state="failed", reason="<script>alert(1)</script>")
    found = page()
    assert "<script" not in found
    assert "failed (&lt;script&gt;alert(1)" in found


def test_it_gives_the_commands_and_the_plan_that_they_ran(suite: Path, page: Callable[[], str]) -> None:
    matrix = {"reward": ["target_colour"]}
    planned = {"name": "algos", "base": {"epochs": 6}, "matrix": matrix, "tune": {"trials": 8}}
    plan(suite, seeds=2, wall_seconds=1.0, **planned)
    found = page()
    assert "git checkout abc1234\nddpo-bench run algos\n" in found
    trained = re.search(r"ddpo-bench train results/algos/(\S+)", found)
    assert trained
    assert (suite / trained[1]).exists()
    shown = re.search(r"</summary><pre>(.*?)</pre>", found, re.DOTALL)
    assert shown
    assert yaml.safe_load(shown[1]) == planned | {"seeds": [0, 1]}


def test_a_sweep_with_nothing_done_yet_still_has_a_report(suite: Path) -> None:
    for run in suite.glob("runs/*/*"):
        update(run, "status.json", state="queued")
    assert {row.values["n"] for row in summarise(suite).rows} == {0}
    found = (suite / "report.html").read_text()
    assert read(found).sources == []
    assert "Not done, and left out: frozen-jpeg_compressibility queued: seed 0, 1, 2;" in found


def test_the_table_ends_with_its_command_and_duration(suite: Path) -> None:
    assert "Made by `ddpo-bench run algos`." in tabulate(suite).notes
    plan(suite, wall_seconds=930.0)
    assert "Made by `ddpo-bench run algos`, 15.5 minutes in all." in tabulate(suite).notes


def test_analysis_never_imports_torch() -> None:
    modules = sorted(path.stem for path in Path(ddpo_bench.analysis.__file__).parent.glob("[!_]*.py"))
    imports = "; ".join(f"import ddpo_bench.analysis.{name}" for name in [*modules, "report.summary"])
    heavy = "{'torch', 'diffusers', 'transformers', 'matplotlib.pyplot'} & set(sys.modules)"
    code = f"import sys; {imports}; found = {heavy}; assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)
