"""A suite of which nothing is left to do is answered from what is there; outputs are made again where they must be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from ddpo_bench import cli
from ddpo_bench.analysis import outputs
from ddpo_bench.analysis.report import summary
from ddpo_bench.files import write_json
from ddpo_bench.sweep import runner
from ddpo_bench.sweep.plan import PlannedRun
from ddpo_bench.sweep.plan_file import write_plan
from ddpo_bench.sweep.suite import Suite

ROOT = Path("results", "mine")
HEAVY = ("torch", "diffusers", "transformers", "matplotlib", "optuna", "pandas")
ASK = f"""
import sys
from ddpo_bench import cli
code = cli.main(["run", "mine.yaml"])
print("imported:", [name for name in {HEAVY} if name in sys.modules])
sys.exit(code)
"""


def finish(suite: Suite, runs: Sequence[PlannedRun], root: Path, *others: Any, **options: Any) -> list[PlannedRun]:
    """Stands in for training: what a finished run leaves, where it is not there yet."""
    for run in runs:
        folder = root / run.folder
        if (folder / "status.json").exists():
            continue
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(run.config.to_dict()))
        write_json(folder / "provenance.json", {"device": "cpu"})
        rows: list[dict[str, Any]] = [{"epoch": epoch, "eval/jpeg_compressibility": -1.0 - epoch} for epoch in (0, 2)]
        rows.insert(1, {"epoch": 1, "queries": 4, "reward_mean": -1.5, "images_per_second": 2.0})
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        write_json(folder / "status.json", {"state": "done", "reason": None, "epoch": 2, "epochs": 2, "seconds": 4.0})
    write_plan(suite, root, 12.0)
    return []


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[Path]:
    """mine.yaml, run once in the current folder; collects what is drawn, which is a placeholder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "run_suite", finish)
    (tmp_path / "prompts.txt").write_text("a cat\na dog\na fox\na hen\na cow\na pig\na rat\na bat\nan ox\nan owl\n")
    base = {"prompts": {"name": "from_file", "path": "prompts.txt"}, "epochs": 2, "samples_per_epoch": 4}
    content = {"base": base, "matrix": {"algorithm": ["frozen", "ppo"]}, "seeds": [0, 1]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    found: list[Path] = []

    def draw(drawings: Any, folder: Path) -> dict[str, Path]:
        found.append(folder)
        (folder / "learning-curves.png").write_bytes(b"drawn")
        return {}

    monkeypatch.setattr(summary, "draw_each", draw)
    assert cli.main(["run", "mine.yaml"]) == 0
    assert found
    found.clear()
    capsys.readouterr()
    return found


def files() -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in ROOT.rglob("*") if path.is_file()}


def test_a_suite_with_nothing_left_is_answered_without_heavy_imports_and_nothing_is_touched(
    drawn: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["table", str(ROOT)]) == 0
    said, before = capsys.readouterr().out, files()
    repository = Path(outputs.__file__).parents[2]
    asked = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(repository)}
    )
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout == said + "imported: []\n"
    assert files() == before


def test_outputs_are_kept_where_another_option_means_that_the_suite_is_planned(drawn: list[Path]) -> None:
    assert cli.main(["run", "mine.yaml", "--only", "ppo*"]) == 0
    assert drawn == []


def edit(pattern: str, old: str, new: str) -> Callable[[], object]:
    def change() -> None:
        (path, *_) = Path().glob(pattern)
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


CHANGES: dict[str, Callable[[], object]] = {
    "prompts": edit("prompts.txt", "a cat", "a red cat"),
    "suite": edit("mine.yaml", "- 1", "- 1\n- 2"),
    "picture": (ROOT / "plots" / "learning-curves.png").unlink,
    "report": edit("results/mine/report.html", "<html", "<!--"),
    "rows": edit("results/mine/runs/ppo-*/seed-0/metrics.jsonl", "-3.0", "-2.0"),
    "record": edit("results/mine/outputs.json", "{", ""),
    "plan": edit("results/mine/suite.yaml", "name: mine", "name: other"),
}


@pytest.mark.parametrize("changed", CHANGES)
def test_what_has_changed_is_made_again(drawn: list[Path], changed: str) -> None:
    CHANGES[changed]()
    assert cli.main(["run", "mine.yaml"]) == 0
    assert drawn or changed == "plan"  # which is written anew as it was
    assert (ROOT / "plots" / "learning-curves.png").read_bytes() == b"drawn"
    assert (ROOT / "report.html").read_text()
    drawn.clear()
    assert cli.main(["run", "mine.yaml"]) == 0
    assert drawn == []


def test_a_run_that_failed_is_told_again_though_the_outputs_are_kept(
    drawn: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(suite: Suite, runs: Sequence[PlannedRun], root: Path, *others: Any, **options: Any) -> list[PlannedRun]:
        write_json(root / runs[0].folder / "status.json", {"state": "failed", "reason": "no judge"})
        return [runs[0]]

    monkeypatch.setattr(runner, "run_suite", fail)
    (ROOT / outputs.FILE).unlink()
    for expected in (True, False):
        assert cli.main(["run", "mine.yaml"]) == 2
        assert "frozen/seed-0: failed: no judge" in capsys.readouterr().out
        assert bool(drawn) == expected
        drawn.clear()


def test_plugins_from_elsewhere_are_asked_for_their_version(drawn: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    record = outputs.read_record(ROOT)
    asked = {key: value for key, value in record["asked"].items() if key != "read"}
    assert outputs.are_answer(ROOT, asked)
    monkeypatch.setattr(outputs, "entry_points", lambda group: [group])
    assert not outputs.are_answer(ROOT, asked)


def test_the_table_command_makes_them_again(drawn: list[Path]) -> None:
    assert cli.main(["table", str(ROOT)]) == 0
    assert drawn
