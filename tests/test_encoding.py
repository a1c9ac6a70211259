"""Output of any encoding takes every table and every name; files are UTF-8 whatever the terminal is."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
import yaml

from ddpo_bench import cli
from ddpo_bench.encoding import make_output_legible
from ddpo_bench.sweep.worker import redirect_output

sys.path.insert(0, str(Path(__file__).parent / "analysis"))

import fabricate

NAME = "größe"  # of the results folder
TABLES = [
    ["table", f"results/{NAME}"],
    *(["table", f"results/{NAME}", "--format", form] for form in ("md", "csv", "tex", "json")),
    ["table", f"results/{NAME}", "--budget", "queries"],
    ["compare", f"results/{NAME}", f"results/{NAME}", "--min-effect", "0.1"],
    ["status", f"results/{NAME}"],
    ["ls"],
    ["run", "mine.yaml", "--dry-run"],
    ["tune", "mine.yaml", "--dry-run"],
    ["profile", "mine.yaml", "--results", "measured"],
    ["validate", "mine.yaml"],
    ["list"],
    ["table", "nowhere–else"],
]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch):
    """Runs a command with standard output and error of an encoding; returns exit code and text."""

    def run(encoding: str, command: list[str]) -> tuple[int, str]:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2)]
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        code = cli.main(command)
        text = ""
        for stream in streams:
            stream.flush()
            text += stream.buffer.getvalue().decode(encoding)
        return code, text

    return run


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a suite and its results, whose name only some encodings can write."""
    folder = tmp_path_factory.mktemp("encoded")
    fabricate.fabricate_suite(folder / "results" / NAME, ("frozen", "ppo"), seeds=1)
    suite = {"base": {"epochs": 2}, "matrix": {"algorithm": ["frozen", "ppo"]}, "seeds": [0]}
    suite["tune"] = {
        "trials": 2,
        "seeds": [9],
        "space": {"ppo": {"algorithm.learning_rate": {"low": 1e-5, "high": 1e-4}}},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(suite))
    fabricate.measure_parts(fabricate.fabricate_suite(folder / "measured" / "mine", ("frozen", "ppo"), seeds=1))
    return folder


@pytest.mark.parametrize("command", TABLES, ids=" ".join)
def test_every_table_can_be_printed_in_ascii(printed, results, monkeypatch, command):
    monkeypatch.chdir(results)
    code, text = printed("ascii", command)
    assert "Error" not in text
    assert code == ("nowhere–else" in command), text
    assert text


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8"])
def test_what_an_encoding_has_is_kept(printed, results, monkeypatch, encoding):
    monkeypatch.chdir(results)
    code, text = printed(encoding, ["compare", f"results/{NAME}", f"results/{NAME}", "--min-effect", "0.1"])
    assert code == 0
    assert NAME in text
    assert "within ±0.1" in text


@pytest.mark.parametrize(
    ("encoding", "text", "written"),
    [
        ("ascii", "0.5 ≈ 1–2 ± 3×4 µs −1", b"0.5 ~ 1-2 +- 3x4 us -1"),
        ("ascii", "naïve café", b"naive cafe"),
        ("cp1252", "≈ – é", "~ – é".encode("cp1252")),
        ("latin-1", "狗", b"\\u72d7"),
        ("utf-8", "≈ – 狗", "≈ – 狗".encode()),
        ("utf-8", os.fsdecode(b"caf\xe9.yaml"), b"caf\xe9.yaml"),  # a file's name that is not UTF-8
        ("ascii", "▁▄█", b"_:#"),
    ],
)
def test_signs_that_an_encoding_lacks_have_neighbours(monkeypatch, encoding, text, written):
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    make_output_legible()
    print(text, end="", flush=True)
    assert stream.buffer.getvalue() == written


def test_an_error_handler_that_the_user_chose_is_kept(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii", errors="replace"))
    make_output_legible()
    assert sys.stdout.errors == "replace"


def test_a_workers_log_is_utf_8(monkeypatch, tmp_path):
    with (tmp_path / "terminal").open("w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(os, "dup2", lambda source, target: None)
        redirect_output(tmp_path / "output.log")
        print("≈", file=stream, flush=True)
        monkeypatch.undo()
    assert (tmp_path / "terminal").read_text(encoding="utf-8") == "≈\n"
