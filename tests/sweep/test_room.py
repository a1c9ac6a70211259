"""Workers hold the GPUs that their runs ask for, and none is held twice unless that is asked for."""

import pytest
import torch

from ddpo_bench.config import Resources
from ddpo_bench.sweep import room
from ddpo_bench.sweep.room import NoRoom, room_for
from ddpo_bench.training.gpu_share import VARIABLE, gpu_share


@pytest.fixture
def machine(monkeypatch):
    """Returns a function that makes a machine with so many GPUs, as CUDA_VISIBLE_DEVICES shows them, and 16 cores."""

    def make(gpus, visible=None):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(room.os, "cpu_count", lambda: 16)
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return make


def held(found, count=None):
    return [one["CUDA_VISIBLE_DEVICES"] for one in found.environments(count or found.most)]


@pytest.mark.parametrize(
    ("gpus", "visible", "processes", "workers"),
    [
        (4, None, [1], ["0", "1", "2", "3"]),
        (4, None, [2], ["0,1", "2,3"]),
        (4, None, [1, 3], ["0,1,2"]),  # the largest run decides, and no GPU is left for half of it
        (2, "2, 5", [1], ["2", "5"]),
        (2, "GPU-8f3a,GPU-11bc", [2], ["GPU-8f3a,GPU-11bc"]),
        (1, "0,-1,1", [1], ["0"]),  # CUDA reads no further than a wrong number
        (1, "MIG-a1,MIG-b2", [1], ["MIG-a1", "MIG-b2"]),  # of which CUDA shows a process one
    ],
)
def test_every_worker_holds_gpus_of_its_own(machine, gpus, visible, processes, workers):
    machine(gpus, visible)
    assert held(room_for(Resources(processes=count) for count in processes)) == workers


def test_runs_share_a_gpu_where_that_is_asked_for(machine):
    machine(2, "4,7")
    shared = room_for([Resources()], runs_per_gpu=2)
    assert (shared.workers(None), held(shared)) == (4, ["4", "7", "4", "7"])
    assert [one[VARIABLE] for one in shared.environments(2)] == ["0.5", "0.5"]
    renumbered = shared.under_mps({"CUDA_MPS_PIPE_DIRECTORY": "pipe"})
    assert held(renumbered) == ["0", "1", "0", "1"]
    assert renumbered.environments(1)[0]["CUDA_MPS_PIPE_DIRECTORY"] == "pipe"


def test_a_run_fills_its_share_alone(monkeypatch):
    assert gpu_share() == 1.0
    monkeypatch.setenv(VARIABLE, "0.25")
    assert gpu_share() == 0.25


@pytest.mark.parametrize(("gpus", "hidden"), [(0, {}), (4, {"CUDA_VISIBLE_DEVICES": ""})])
def test_runs_without_gpus_have_a_core_for_each_process(machine, gpus, hidden):
    machine(gpus)
    found = room_for([Resources(processes=3, gpus=0)])
    assert (found.workers(None), found.workers(9)) == (5, 9)
    assert found.environments(1) == [{"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **hidden}]


@pytest.mark.parametrize(
    ("gpus", "processes", "asked", "runs_per_gpu", "line"),
    [
        (2, 1, 5, 1, "--workers 5: with 2 GPUs there is room for 2, each with 1 GPU. For several runs on a GPU, add "
                     "--runs-per-gpu 3."),
        (2, 1, 5, 2, "--workers 5: with 2 GPUs there is room for 4, each with 1 GPU. For several runs on a GPU, add "
                     "--runs-per-gpu 3."),
        (4, 2, 3, 1, "--workers 3: with 4 GPUs there is room for 2, each with 2 GPUs. Leave out --workers; "
                     "--runs-per-gpu is only for runs on one GPU."),
        (4, 2, None, 2, "--runs-per-gpu 2: only runs on one GPU can share it, and the largest run uses 2 on this "
                        "machine."),
        (0, 1, None, 2, "--runs-per-gpu 2: only runs on one GPU can share it, and the runs use none on this machine."),
    ],
)  # fmt: skip
def test_more_workers_than_have_a_gpu_are_one_line_with_its_remedy(machine, gpus, processes, asked, runs_per_gpu, line):
    machine(gpus)
    with pytest.raises(NoRoom) as refused:
        room_for([Resources(processes=processes)], runs_per_gpu).workers(asked)
    assert str(refused.value) == line


def test_a_plan_tells_what_there_is_room_for(machine):
    machine(4)
    assert str(room_for([Resources(processes=2)])) == "Room for 2 workers here, each with 2 processes and 2 GPUs"
    assert str(room_for([Resources(gpus=0)])) == "Room for 16 workers here, each with 1 process"
