"""Which suite a results folder belongs to: two of one name do not replace each other's tables."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from ddpo_bench import cli
from ddpo_bench.config import ConfigError
from ddpo_bench.run_folder.plan import PLAN, planned_runs, read_plan
from ddpo_bench.sweep.plan import runs_of
from ddpo_bench.sweep.plan_file import refuse_other_suite, source, write_plan
from ddpo_bench.sweep.shipped import find_suite
from ddpo_bench.sweep.suite import Suite, load_suite

ROOT = Path("results", "mine")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def suite(path: str, *algorithms: str, **base: Any) -> Suite:
    content = {"name": "mine", "base": {"epochs": 2, **base}, "matrix": {"algorithm": list(algorithms)}, "seeds": [0]}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(yaml.safe_dump(content))
    return load_suite(Path(path))


def run(planned: Suite) -> None:
    """As the command does with its plan."""
    refuse_other_suite(planned, ROOT)
    write_plan(planned, ROOT)


def test_the_plan_is_written_as_resolved() -> None:
    planned = suite("a.yaml", "frozen", "ppo")
    run(planned)
    held = read_plan(ROOT)
    assert (held["file"], held["base"]["epochs"], held["seeds"]) == ("../../a.yaml", 2, [0])
    assert [cell["varied"] for cell in held["cells"]] == [{"algorithm": "frozen"}, {"algorithm": "ppo"}]
    assert list(planned_runs(held)) == [one.folder for one in runs_of(planned)]


def test_another_suite_of_the_same_name_is_refused_in_one_line_that_names_both() -> None:
    run(suite("a.yaml", "frozen"))
    before = (ROOT / PLAN).read_bytes()
    with pytest.raises(ConfigError) as raised:
        run(suite("other/b.yaml", "ppo", epochs=3))
    assert str(raised.value) == (
        "other/b.yaml: results/mine holds the runs of another suite of this name, a.yaml, which has no cell in common "
        "with it. Give one of them another `name:`, or add --results DIR."
    )
    assert (ROOT / PLAN).read_bytes() == before


@pytest.mark.parametrize("command", ["run", "tune", "work", "validate"])
def test_every_command_refuses_it_before_any_work(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(suite("a.yaml", "frozen"))
    suite("b.yaml", "ppo", epochs=3)
    assert cli.main([command, "b.yaml"]) == 1
    assert "holds the runs of another suite of this name, a.yaml" in capsys.readouterr().err
    assert [path.name for path in ROOT.iterdir()] == [PLAN]


@pytest.mark.parametrize(
    ("file", "algorithms", "epochs"),
    [("a.yaml", ["ppo"], 9), ("moved/a.yaml", ["frozen", "ppo"], 2)],
    ids=["an edited suite", "a file elsewhere with a cell in common"],
)
def test_the_same_suite_shares_the_folder(file: str, algorithms: list[str], epochs: int) -> None:
    run(suite("a.yaml", "frozen"))
    run(suite(file, *algorithms, epochs=epochs))
    assert read_plan(ROOT)["file"] == f"../../{file}"


def test_results_without_a_plan_or_with_one_that_names_no_file_or_is_damaged_are_taken() -> None:
    planned = suite("a.yaml", "frozen")
    refuse_other_suite(planned, ROOT)
    write_plan(planned, ROOT)
    other = suite("b.yaml", "ppo")
    (ROOT / PLAN).write_text("name: mine\ncells: []\n")  # as older versions wrote it
    refuse_other_suite(other, ROOT)
    (ROOT / PLAN).write_text("# crc32: 00000000\nname: mine\n")
    refuse_other_suite(other, ROOT)


def test_a_shipped_suite_is_known_by_its_name_wherever_the_package_is() -> None:
    assert source(find_suite("smoke"), Path("results", "smoke")) == "shipped: smoke"
    write_plan(load_suite(find_suite("smoke")), Path("results", "smoke"))
    refuse_other_suite(load_suite(find_suite("smoke"), ["epochs=7"]), Path("results", "smoke"))
    copy = Path("smoke.yaml")
    shutil.copy(find_suite("smoke"), copy)
    refuse_other_suite(load_suite(copy), Path("results", "smoke"))
    with pytest.raises(ConfigError, match="another suite of this name"):
        refuse_other_suite(load_suite(copy, ["epochs=7"]), Path("results", "smoke"))
