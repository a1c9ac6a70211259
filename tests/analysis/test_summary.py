from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fabricate import plan, update
from fabricate_tuning import fabricate_tuning

import ddpo_bench.analysis
from ddpo_bench.analysis.report.summary import summarise

MODULES = sorted(path.stem for path in Path(ddpo_bench.analysis.__file__).parent.glob("[!_]*.py"))


def test_everything_is_written_and_nothing_temporary_stays(suite: Path) -> None:
    table = summarise(suite)
    written = {str(path.relative_to(suite)) for path in suite.rglob("*") if path.is_file() and "runs" not in path.parts}
    names = ("learning-curves", "intervals", "improvement", "frontier", "before-after")
    pictures = {f"plots/{name}.png" for name in names}
    assert written == {"table.md", "table.csv", "table.tex", "report.html"} | pictures
    assert (suite / "table.md").read_text() == table.to_markdown()


def test_writing_twice_changes_no_byte(suite: Path) -> None:
    fabricate_tuning(suite)
    summarise(suite)
    first = {path: path.read_bytes() for path in suite.rglob("*") if path.is_file()}
    summarise(suite)
    assert first == {path: path.read_bytes() for path in suite.rglob("*") if path.is_file()}


def test_the_table_ends_with_its_command_and_duration(suite: Path) -> None:
    assert "Made by `ddpo-bench run algos`." in summarise(suite).notes
    plan(suite, wall_seconds=930.0)
    assert "Made by `ddpo-bench run algos`, 15.5 minutes in all." in summarise(suite).notes


def test_a_sweep_with_nothing_done_yet_still_has_a_table(suite: Path) -> None:
    for run in suite.glob("runs/*/*"):
        update(run, "status.json", state="queued")
    table = summarise(suite)
    assert {row.values["n"] for row in table.rows} == {0}
    assert not list((suite / "plots").iterdir())


def test_analysis_never_imports_torch() -> None:
    imports = "; ".join(f"import ddpo_bench.analysis.{name}" for name in MODULES)
    heavy = "{'torch', 'diffusers', 'transformers', 'matplotlib.pyplot'} & set(sys.modules)"
    code = f"import sys; {imports}; found = {heavy}; assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)
