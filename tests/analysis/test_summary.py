from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import yaml

from ddpo_bench.analysis.summary import summarise

MODULES = ("collect", "comparison", "plots", "report", "statistics", "strip", "summary", "tables", "terminal")


def test_everything_is_written_and_nothing_temporary_stays(suite: Path) -> None:
    table = summarise(suite)
    written = {str(path.relative_to(suite)) for path in suite.rglob("*") if path.is_file() and "runs" not in path.parts}
    pictures = {f"plots/{name}.png" for name in ("learning-curves", "reward-kl", "before-after")}
    assert written == {"table.md", "table.csv", "table.tex", "report.html"} | pictures
    assert (suite / "table.md").read_text() == table.to_markdown()


def test_writing_twice_changes_no_byte(suite: Path) -> None:
    summarise(suite)
    first = {path: path.read_bytes() for path in suite.rglob("*") if path.is_file()}
    summarise(suite)
    assert first == {path: path.read_bytes() for path in suite.rglob("*") if path.is_file()}


def test_the_table_ends_with_its_command_and_duration(suite: Path) -> None:
    assert "Made by `ddpo-bench run algos`." in summarise(suite).notes
    folders = sorted({path.parent.name for path in suite.glob("runs/*/seed-0")})
    cells = [{"name": name[:-13], "hash": name[-12:], "varied": {}} for name in folders]
    plan = {"cells": cells, "seeds": [0, 1, 2], "wall_seconds": 930.0}
    (suite / "suite.yaml").write_text(yaml.safe_dump(plan))
    assert "Made by `ddpo-bench run algos`, 15.5 minutes in all." in summarise(suite).notes


def test_a_sweep_with_nothing_done_yet_still_has_a_table(suite: Path) -> None:
    for path in suite.glob("runs/*/*/status.json"):
        path.write_text(json.dumps({"state": "queued", "reason": None, "seconds": 0.0}))
    table = summarise(suite)
    assert {row.values["n"] for row in table.rows} == {0}
    assert not list((suite / "plots").iterdir())


class Tags(HTMLParser):
    """Collects the sources of a page and checks that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [str(value) for key, value in attrs if key in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_is_one_well_formed_file_without_script(suite: Path) -> None:
    table = summarise(suite)
    page = (suite / "report.html").read_text()
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert len(tags.sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in tags.sources)
    assert "<script" not in page
    assert "http" not in re.sub(r'src="[^"]*"', "", page)
    for row in table.rows:
        assert all(table.cell(row, column) in page for column in table.part("main"))


def test_the_report_escapes_what_runs_say(suite: Path) -> None:
    path = next(suite.glob("runs/ppo-*/seed-0/status.json"))
    path.write_text(json.dumps({"state": "failed", "reason": "<script>alert(1)</script>", "seconds": 1.0}))
    summarise(suite)
    assert "<script" not in (suite / "report.html").read_text()


def test_analysis_never_imports_torch() -> None:
    imports = "; ".join(f"import ddpo_bench.analysis.{name}" for name in MODULES)
    heavy = "{'torch', 'diffusers', 'transformers', 'matplotlib.pyplot'} & set(sys.modules)"
    code = f"import sys; {imports}; found = {heavy}; assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_module_is_in_the_list_of_the_test_above() -> None:
    import ddpo_bench.analysis

    folder = Path(ddpo_bench.analysis.__file__).parent
    assert sorted(MODULES) == sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
