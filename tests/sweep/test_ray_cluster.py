"""What is refused or computed before anything becomes a Ray task; Ray itself is not needed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
from queues import sweep_place

from ddpo_bench import cli
from ddpo_bench.config import Resources
from ddpo_bench.sweep.ray_cluster import Cluster, RayUnavailable
from ddpo_bench.sweep.ray_workers import RayPool
from ddpo_bench.sweep.sweep_queue import SweepQueue
from ddpo_bench.sweep.worker import work


def cluster_of(working_dir: str | None = None, **nodes: float) -> Cluster:
    """A cluster whose nodes have these in all, seen from a job with this working directory."""
    cluster = Cluster.__new__(Cluster)
    context = SimpleNamespace(runtime_env={"working_dir": working_dir} if working_dir else {})
    cluster.ray = SimpleNamespace(cluster_resources=lambda: nodes, get_runtime_context=lambda: context)
    return cluster


def test_a_run_needs_a_core_for_each_process_and_its_gpus() -> None:
    runs = {Resources(): 1, Resources(processes=2): 2, Resources(processes=2, gpus=0): 0}
    gpus = cluster_of(CPU=16.0, GPU=4.0)
    assert [gpus.needs(run) for run in runs] == [{"num_cpus": run.processes, "num_gpus": n} for run, n in runs.items()]
    assert cluster_of(CPU=16.0).needs(Resources(processes=2)) == {"num_cpus": 2, "num_gpus": 0}
    assert [gpus.room([run]) for run in runs] == [4, 2, 8]
    assert cluster_of().room([Resources()]) == 1  # pending, until an autoscaler adds a node


def test_results_in_a_folder_that_ray_deletes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = sweep_place(tmp_path)
    follower = SimpleNamespace(queue=SweepQueue(place))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RayUnavailable, match="Write elsewhere: --results DIR"):
        RayPool(cluster_of("gcs://_ray_pkg.zip"), work, (place, "fake_trainer:train"), 1, follower)  # type: ignore[arg-type]
    RayPool(cluster_of(), work, (place, "fake_trainer:train"), 1, follower)  # type: ignore[arg-type]


@pytest.mark.parametrize("verb", ["run", "tune"])
def test_what_cannot_be_used_is_refused_in_one_line(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main([verb, "algos-tuned", "--ray-address", "auto"]) == 1
    assert capsys.readouterr().err == "--ray-address auto: needs --executor ray.\n"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main([verb, "algos-tuned", "--executor", "ray"]) == 1
    error = "--executor ray: ray is not installed. Run: pip install 'ddpo-bench[ray]'.\n"
    assert capsys.readouterr().err == error
