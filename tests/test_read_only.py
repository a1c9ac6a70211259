"""Results that one may only read can be read, and what cannot be written is known before the work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from ddpo_bench import cli
from ddpo_bench.files import DiskTrouble
from ddpo_bench.sweep.storage import open_storage
from ddpo_bench.training import generate, trainer

for tests in (Path(__file__).parent, Path(__file__).parent / "analysis"):
    sys.path.insert(0, str(tests))

import fabricate  # noqa: E402
from read_only import read_only  # noqa: E402

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with results/mine, a journal in it, and the suite's file."""
    home = tmp_path_factory.mktemp("home")
    folder = fabricate.fabricate_suite(home / "results" / "mine", ("frozen", "ppo"), seeds=1)
    fabricate.measure_parts(folder)
    open_storage(None, folder).create_new_study([], "mine-0123abcd")
    (home / "mine.yaml").write_text(yaml.safe_dump({"base": {"epochs": 2}, "seeds": [0]}))
    return home


@pytest.fixture(autouse=True)
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)


def files_of(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("place", ["results/mine", "mine.yaml"])
@pytest.mark.parametrize("verb", ["table", "status", "profile", "compare"])
def test_results_are_named_by_their_folder_or_their_suite_and_need_only_be_read(
    home: Path, capsys: Captured, verb: str, place: str
) -> None:
    before = files_of(home)
    with read_only(home):
        assert cli.main([verb, place, *[place] * (verb == "compare")]) == 0
    printed = capsys.readouterr()
    assert "ppo" in printed.out or "4/4 runs done" in printed.out
    assert ("Nothing was written, because results/mine is read-only" in printed.out) == (verb == "table")
    assert printed.err == ""
    assert files_of(home) == before


def test_ls_reads_only(home: Path, capsys: Captured) -> None:
    with read_only(home):
        assert cli.main(["ls"]) == 0
    assert "mine" in capsys.readouterr().out


def test_a_full_disk_is_an_error_after_the_table(home: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(results: Path) -> None:
        raise DiskTrouble(results, 28)

    monkeypatch.setattr("ddpo_bench.analysis.report.summary.summarise", full)
    assert cli.main(["table", "results/mine"]) == 1
    printed = capsys.readouterr()
    assert "ppo" in printed.out
    assert "no space is left" in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("out", "mistake"),
    [
        ("grid.txt", "--out grid.txt: '.txt' is not a picture format that can be written. Give a .png"),
        ("grid", "--out grid: has no suffix. Give a .png, as in --out grid.png."),
        ("grid.mpo5", "is not a picture format"),
        ("results", "--out results: is a folder. Give a file, as in --out results/samples.png."),
        ("mine.yaml/grid.png", "mine.yaml: cannot be created, because its name"),
        ("closed/grid.png", "closed: permission denied"),
        ("closed/new/grid.png", "closed/new: permission denied"),
    ],
)
def test_a_picture_that_cannot_be_written_is_known_before_it_is_drawn(
    home: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, out: str, mistake: str
) -> None:
    monkeypatch.setattr(generate, "sample_images", lambda *args: pytest.fail("drawn"))
    (home / "closed").mkdir(exist_ok=True)
    with read_only(home / "closed"):
        assert cli.main(["sample", "--out", out]) == 1
    error = capsys.readouterr().err
    assert mistake in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "command", [["train", "run.yaml", "--out", "closed/run"], ["kernels", "--out", "closed/kernels"]]
)
def test_an_output_folder_that_cannot_be_written_is_known_before_the_work(
    home: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    (home / "run.yaml").write_text("algorithm: ppo\n")
    (home / "closed").mkdir(exist_ok=True)
    monkeypatch.setattr(trainer, "train", lambda *args: pytest.fail("trained"))
    monkeypatch.setattr("ddpo_bench.microbench.run.run", lambda *args: pytest.fail("measured"))
    with read_only(home / "closed"):
        assert cli.main(command) == 1
    error = capsys.readouterr().err
    assert f"{command[-1]}: permission denied" in error
    assert error.count("\n") == 1
