"""NVIDIA's MPS around a sweep, by a script that stands in for its control program and notes what it is told."""

import os
from pathlib import Path

import pytest

from ddpo_bench.sweep.mps import CONTROL, sharing_gpus

# A daemon is a process that keeps its output open, as whoever waits for a pipe would notice.
SCRIPT = """#!/bin/sh
read command
echo "$1$command $CUDA_MPS_PIPE_DIRECTORY" >> {notes}
case "$1$command" in
    -d) {start};;
    get_server_list) [ -e {running} ] || { echo "Cannot find MPS control daemon process"; exit 1; };;
    quit) kill $(cat {pid});;
esac
"""
DAEMON = "sleep 60 & echo $! > {pid}"


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """Returns a function that installs the program, and gives what it was told, each line [command, pipe directory]."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    paths = {name: str(tmp_path / name) for name in ("notes", "running", "pid")}

    def install(start=DAEMON):
        script = SCRIPT.replace("{start}", start)
        for name, path in paths.items():
            script = script.replace("{" + name + "}", path)
        (tmp_path / CONTROL).write_text(script)
        (tmp_path / CONTROL).chmod(0o755)
        return lambda: [line.split() for line in Path(paths["notes"]).read_text().splitlines()]

    return install


@pytest.mark.parametrize("end", [KeyboardInterrupt, None])
def test_mps_is_started_in_folders_of_its_own_and_ends_with_the_command(notes, tmp_path, end):
    told = notes()
    try:
        with sharing_gpus() as sharing:
            pipe, log = sharing.variables["CUDA_MPS_PIPE_DIRECTORY"], sharing.variables["CUDA_MPS_LOG_DIRECTORY"]
            assert Path(pipe).is_dir()
            assert Path(log).is_dir()
            assert Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
            if end:
                raise end
    except KeyboardInterrupt:
        assert end
    assert told() == [["get_server_list"], ["-d", pipe], ["quit", pipe]]
    assert not Path(pipe).parent.exists()


def test_one_that_is_running_is_used_and_left_alone(notes, tmp_path):
    told = notes()
    (tmp_path / "running").touch()
    with sharing_gpus() as sharing:
        assert sharing == ("Runs share a GPU by the MPS that is already running.", {})
    assert told() == [["get_server_list"]]


def test_one_that_does_not_start_is_said_and_runs_take_turns(notes):
    told = notes("echo 'An instance is running elsewhere' >&2; exit 3")
    with sharing_gpus() as sharing:
        assert not sharing.variables
        assert "by time slices only: nvidia-cuda-mps-control -d: An instance is running elsewhere." in sharing.how
    assert [command for command, *_ in told()] == ["get_server_list", "-d"]


def test_without_mps_runs_take_turns(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with sharing_gpus() as sharing:
        line = "Runs share a GPU by time slices only: nvidia-cuda-mps-control, NVIDIA's MPS, is not in PATH."
        assert sharing == (line, {})
