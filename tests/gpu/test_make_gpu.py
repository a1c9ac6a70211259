"""`make gpu` on a machine without a GPU: it says so; at small sizes on the CPU every part passes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu.part import PARTS, ROOT, end_group, environment, select, wait

RUN = [sys.executable, "-m", "benchmarks.gpu"]
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["benchmarks.gpu", *arguments])
    return command.main()


@without_gpu
def test_without_a_gpu_one_line_says_how_to_use_the_cpu() -> None:
    done = subprocess.run(["make", "--silent", "gpu"], cwd=ROOT, capture_output=True, text=True)
    said, *rest = done.stderr.splitlines()
    assert "make gpu DEVICE=cpu" in said
    assert [line for line in rest if not line.startswith("make")] == []
    assert done.stdout == ""


def test_parts_run_in_the_order_of_their_value(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [part.letter for part in select("kernels, a")] == ["a", "b"]
    with pytest.raises(ValueError, match=r"unknown part 'e'\. Known: a, parity, b"):
        select("a,e")
    assert run(monkeypatch, "--parts", "e") == 1


def test_what_is_not_installed_is_named_and_costs_only_the_parts_that_need_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("benchmarks.gpu.part.find_spec", lambda name: None if name == "optuna" else ModuleType(name))
    monkeypatch.setattr(command, "run", lambda part, device, folder: ("passed", 1.0))
    machine = dict.fromkeys(("device", "commit", "date"), "here")
    command.say_missing(list(PARTS))
    assert command.run_all(list(PARTS), "cuda", machine, tmp_path) == ["suite"]
    printed = capsys.readouterr().out
    assert "Not installed: optuna." in printed
    assert "-m pip install optuna" in printed
    assert "left out: needs optuna" in (tmp_path / "README.md").read_text()


def test_a_part_whose_time_is_over_is_ended_with_all_its_processes() -> None:
    """Its output ends only when everything that could write to it has ended."""
    child = "import time; print('begun', flush=True); time.sleep(600)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout.readline() == b"begun\n"
        assert wait(process, 0.1, io.BytesIO()) == "out of time"
        end_group(process)
        assert process.stdout.read() == b""


def test_names_that_only_a_gpu_reaches_exist() -> None:
    graphs = ("CUDAGraph", "graph", "Stream", "stream", "Event", "synchronize")
    memory = ("mem_get_info", "empty_cache", "max_memory_allocated", "get_device_properties")
    for name in (*graphs, *memory, "set_sync_debug_mode", "get_sync_debug_mode", "is_bf16_supported"):
        assert hasattr(torch.cuda, name), name
    assert hasattr(torch.backends.cuda, "enable_mem_efficient_sdp")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_part_passes_on_a_cpu_at_small_sizes(tmp_path: Path) -> None:
    options = ["--device", "cpu", "--out", str(tmp_path)]
    done = subprocess.run([*RUN, *options], cwd=ROOT, env=environment("cpu"), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "README.md").read_text()
    assert "It says nothing about any GPU" in page
    assert page.count("| passed |") == len(PARTS)
    for part in PARTS:
        assert json.loads((tmp_path / part.name / "outcome.json").read_text())["ended"] == "passed"
        assert (tmp_path / part.name / "log.txt").exists()
    on_gpus_alone = ("copy bandwidth", "times eager", "torch.compile", "synchronisation", "plain loop", "utilisation")
    for target in on_gpus_alone:
        (line,) = [line for line in page.splitlines() if target in line and line.startswith("|")][:1]
        assert "| not measured |" in line
