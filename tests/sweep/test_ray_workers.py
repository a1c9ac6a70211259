"""Workers as Ray tasks, on a real cluster of two nodes on this machine, one of which is lost while the suite runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from fake_trainer import run_suite, sessions
from queues import write_suite

from ddpo_bench import cli
from ddpo_bench.run_folder.metrics import read_rows
from ddpo_bench.run_folder.status import read_status
from ddpo_bench.sweep.plan import PlannedRun, runs_of
from ddpo_bench.sweep.ray_cluster import connected
from ddpo_bench.sweep.ray_workers import workers_of
from ddpo_bench.sweep.suite import load_suite
from ddpo_bench.sweep.sweep_queue import stored_attempts
from ddpo_bench.tuning.display import Quiet

pytest.importorskip("ray", reason="needs ray: pip install 'ddpo-bench[ray]'")
pytestmark = pytest.mark.long
EPOCHS = 8
MEMORY = 80 * 2**20  # of a node's object store, in bytes: the least that Ray takes


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head, on which nothing is trained, and two nodes with room for one run each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAKE_EPOCH_SECONDS", "0.5")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")  # with tokens, Ray would write one into the home folder
        head = {"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
        yield cluster
        cluster.shutdown()


class CtrlC(Quiet):
    """A display during which the user interrupts the command, as soon as a run is in its epochs."""

    def row(self, run: PlannedRun, row: dict[str, Any]) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_cancels_the_tasks_which_give_their_runs_back(cluster: Any, tmp_path: Path) -> None:
    path = write_suite(tmp_path / "mine.yaml", base={"epochs": 100, "samples_per_epoch": 4})
    suite, root = load_suite(path), tmp_path / "results"
    with connected(cluster.address) as ray, pytest.raises(KeyboardInterrupt):
        run_suite(suite, runs_of(suite), root, 1, lambda *_: nullcontext(CtrlC()), pool=workers_of(ray))
    interrupted, waiting = (read_status(root / run.folder)["state"] for run in runs_of(suite))
    assert (interrupted, waiting) == ("killed", "queued")
    ends = [attempt.user_attrs.get("end") for attempt in stored_attempts("mine", root)]
    assert ends.count("interrupted") == 1
    assert "died" not in ends


class Disaster(Quiet):
    """A display that takes a node off the cluster as soon as both work on a run."""

    def __init__(self, cluster: Any):
        self.cluster = cluster
        self.working: set[str] = set()
        self.ends: list[str] = []

    def row(self, run: PlannedRun, row: dict[str, Any]) -> None:
        self.working.add(run.name)
        if len(self.working) == 2 and len(self.cluster.worker_nodes) == 2:
            self.cluster.remove_node(sorted(self.cluster.worker_nodes, key=str)[0], allow_graceful=False)

    def ended(self, run: PlannedRun, state: str, reason: str | None) -> None:
        self.ends.append(state)


def test_a_suite_loses_a_node_and_every_run_is_done_exactly_once(cluster: Any, tmp_path: Path) -> None:
    path = write_suite(tmp_path / "mine.yaml", base={"epochs": EPOCHS, "samples_per_epoch": 4}, seeds=[0, 1, 2])
    suite, root, display = load_suite(path), tmp_path / "results", Disaster(cluster)
    runs = runs_of(suite)
    with connected(cluster.address) as ray:
        assert ray.room([runs[0].config.resources]) == 2
        assert run_suite(suite, runs, root, 2, lambda *_: nullcontext(display), pool=workers_of(ray)) == []
    folders = [root / run.folder for run in runs]
    assert [read_status(folder)["state"] for folder in folders] == ["done"] * 6
    assert [row["epoch"] for row in read_rows(folders[0])] == [*range(EPOCHS + 1), EPOCHS]
    assert Counter(len(sessions(folder)) for folder in folders) == {1: 5, 2: 1}  # one was resumed
    assert not list(root.glob("runs/*/*/overlaps.txt"))
    ends = Counter(attempt.user_attrs["end"] for attempt in stored_attempts("mine", root))
    assert ends == {"done": 6, "died": 1}
    assert Counter(display.ends) == {"done": 6, "killed": 1}
    assert all("with 1 threads" in line for folder in folders for line in sessions(folder))
    assert cli.main(["table", str(root)]) == 0
    assert (root / "table.md").read_text().count("ppo") >= 1
