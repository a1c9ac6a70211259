"""A suite whose run is trained on two processes, one of which is killed, ends with the table of one process."""

import csv
import os
import signal

import pytest
import torch
from real_sweep import PPO, write_real_suite
from warm_processes import WARM

from ddpo_bench import cli
from ddpo_bench.run_folder.status import read_provenance
from ddpo_bench.sweep.sweep_queue import stored_attempts
from ddpo_bench.training import launch
from ddpo_bench.training.launch import Ranks

EPOCHS = 4
TIMED = ("seconds", "images_per_second", "memory")


@pytest.fixture
def killed(monkeypatch):
    """The processes of runs that were killed: the second one of the first run, at the end of its second epoch."""
    hear, found = Ranks.hear, []

    def hear_and_kill(ranks, rank, on_row):
        def pass_on(row):
            on_row(row)
            if row["epoch"] == 2 and "queries" in row and not found:
                found.append(ranks.processes[1].pid)
                os.kill(found[0], signal.SIGKILL)

        hear(ranks, rank, pass_on)

    monkeypatch.setattr(launch, "CONTEXT", WARM)
    monkeypatch.setattr(Ranks, "hear", hear_and_kill)
    return found


def table(root):
    """Column to value, of each row, without what is timed."""
    assert cli.main(["table", str(root)]) == 0
    with (root / "table.csv").open() as file:
        return [{key: text for key, text in row.items() if not key.startswith(TIMED)} for row in csv.DictReader(file)]


@pytest.mark.long
@pytest.mark.skipif(torch.cuda.is_available(), reason="warm processes have been started with the GPUs")
def test_a_suite_on_two_processes_survives_a_killed_one_with_the_table_of_one_process(
    tiny_model, tmp_path, killed, capsys
):
    suite = write_real_suite(tmp_path / "suite", tiny_model, algorithms=(PPO,), epochs=EPOCHS)
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert cli.main(["work", str(suite), "--results", str(alone)]) == 0
    assert not killed
    assert cli.main(["work", str(suite), "--results", str(together), "--set", "resources.processes=2"]) == 0
    said = capsys.readouterr().out
    assert killed
    assert "process 1 of 2 was killed (signal 9)" in said
    ends = [attempt.user_attrs["end"] for attempt in stored_attempts("mine", together / "mine")]
    assert ends == ["died", "done"], said
    (folder,) = together.glob("mine/runs/*/seed-0")
    assert read_provenance(folder)["processes"] == 2
    for expected, found in zip(table(alone / "mine"), table(together / "mine"), strict=True):
        assert found.keys() == expected.keys()
        for key, text in expected.items():
            assert found[key] == text or float(found[key]) == pytest.approx(float(text), rel=1e-3, abs=1e-5), key
