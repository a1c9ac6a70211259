"""Workers as a job array, on a fake Slurm: its sbatch runs the tasks as processes of this machine."""

import json
import pickle
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from chaos import wait_for
from fake_slurm import FakeSlurm
from fake_trainer import without_policy
from queues import tuned_suite, write_suite

from ddpo_bench import cli
from ddpo_bench.commands.planning import planned_runs
from ddpo_bench.config import Resources
from ddpo_bench.sweep import slurm
from ddpo_bench.sweep.sweep_queue import stored_attempts

TESTS = Path(__file__).parents[1]
EPOCHS = 6
RUN = ["run", "mine.yaml", "--executor", "slurm", "--workers"]
pytestmark = pytest.mark.skipif(not Path("/proc").is_dir() or not shutil.which("setsid"), reason="needs Linux")


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """mine.yaml, of four runs, in the current folder."""
    monkeypatch.chdir(tmp_path)
    write_suite(Path("mine.yaml"), base={"epochs": EPOCHS, "samples_per_epoch": 4}, seeds=[0, 1])


@pytest.fixture
def cluster(suite, tmp_path, monkeypatch):
    """A Slurm whose workers end at once; `quick_workers` makes them train."""
    monkeypatch.setattr(slurm, "PROGRAM", ("true",))
    cluster = FakeSlurm(tmp_path, monkeypatch)
    yield cluster
    cluster.close()


@pytest.fixture
def quick_workers(cluster, monkeypatch):
    plan, runs, root = planned_runs(parsed(["work", "mine.yaml"]))
    plan = replace(plan, cells=[without_policy(cell) for cell in plan.cells])
    Path("plan.pickle").write_bytes(pickle.dumps((plan, [without_policy(run) for run in runs], root)))
    monkeypatch.setattr(slurm, "PROGRAM", (sys.executable, str(TESTS / "fake_command.py")))
    monkeypatch.setenv("PYTHONPATH", str(TESTS.parent))
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.5")


def parsed(words):
    return cli.build_parser(cli.load_commands()).parse_args(words)


def refusal(capsys, words):
    """What a command that is refused says."""
    assert cli.main(words) == 1
    return capsys.readouterr().err


def finish(folder, state="done"):
    """As if a run were over."""
    folder.mkdir(parents=True)
    (folder / "status.json").write_text(json.dumps({"state": state, "reason": "none"}))
    (folder / "metrics.jsonl").write_text(json.dumps({"epoch": EPOCHS, "eval/jpeg_compressibility": -0.5}) + "\n")


def run_folders():
    _, runs, root = planned_runs(parsed(["work", "mine.yaml"]))
    return [root / run.folder for run in runs]


@pytest.mark.long
def test_the_arrays_workers_do_every_run_once_and_a_preempted_workers_run_resumes_elsewhere(
    cluster, quick_workers, capsys
):
    assert cli.main([*RUN, "3", "--slurm", "partition=gpu"]) == 0
    said = capsys.readouterr().out
    assert "Submitted job array 101: 3 workers for 4 runs." in said
    assert "results/mine/slurm/101_*.log" in said
    assert "ddpo-bench status results/mine" in said
    assert "ddpo-bench table results/mine" in said

    begun = Path("results/mine").glob
    wait_for(lambda: list(begun("runs/*/*/status.json")))
    (preempted, *_) = [path.parent for path in begun("runs/*/*/status.json")]
    victim = json.loads((preempted / "status.json").read_text())["pid"]
    (task,) = [path.suffixes[0][1:] for path in cluster.folder.glob("*.pid") if path.read_text() == f"{victim}\n"]
    cluster.cancel(f"101_{task}")

    error = refusal(capsys, [*RUN, "3"])
    assert "Nothing was submitted: job array 101 still works on this suite." in error
    assert "scancel 101" in error
    assert error.count("\n") == 1

    wait_for(lambda: not cluster.alive())
    assert list(cluster.scripts()) == [101]
    for folder in run_folders():
        sessions = (folder / "sessions.txt").read_text().splitlines()
        assert len(sessions) == (2 if folder == preempted else 1)
        assert json.loads((folder / "status.json").read_text())["state"] == "done"
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == EPOCHS + 2
        assert not (folder / "overlaps.txt").exists()
    assert "Traceback" not in Path(f"results/mine/slurm/101_{task}.log").read_text()
    ends = [trial.user_attrs["end"] for trial in stored_attempts("mine", Path("results/mine"))]
    tried = [end for end in ends if end != "duplicate"]  # of two workers that saw it leave at once
    assert sorted(tried) == ["done"] * 4 + ["interrupted"]  # it saved its state and left, rather than died

    assert cli.main([*RUN, "3"]) == 0
    said = capsys.readouterr().out
    assert "Nothing is left to submit: 4 of 4 runs have ended." in said
    assert "results/mine/report.html" in said
    assert list(cluster.scripts()) == [101]


def test_no_more_workers_are_submitted_than_runs_are_left(cluster, capsys):
    finish(run_folders()[0])
    finish(run_folders()[1], "failed")
    assert cli.main([*RUN, "16"]) == 0
    assert "101: 2 workers for 2 runs" in capsys.readouterr().out
    wait_for(lambda: not cluster.alive())
    assert cli.main([*RUN, "16", "--retry-failed"]) == 0  # the first array is over
    assert "102: 3 workers for 3 runs" in capsys.readouterr().out
    assert "#SBATCH --array=0-1\n" in cluster.scripts()[101]
    assert "#SBATCH --array=0-2\n" in cluster.scripts()[102]


def test_slurm_gets_its_options_and_the_worker_time_to_save(cluster):
    given = ["time=240", "gpus_per_node=1", "exclusive"]
    assert cli.main([*RUN, "1", *(word for text in given for word in ("--slurm", text))]) == 0
    assert {"--time=240", "--gpus-per-node=1", "--exclusive"} < set(cluster.options(101))
    assert not any("cpus" in option for option in cluster.options(101))
    script = cluster.scripts()[101]
    assert "#SBATCH --job-name=ddpo-bench-mine\n#SBATCH --array=0-0\n" in script
    assert "#SBATCH --signal=TERM@90\n" in script
    assert Path("results/mine/slurm/101.sh").read_text() == script


@pytest.mark.parametrize(
    ("resources", "given", "asked"),
    [
        ({}, [], []),
        ({"processes": 2}, ["gpus_per_node=2"], ["cpus_per_task=2"]),
        ({"processes": 2, "gpus": 2}, [], ["cpus_per_task=2", "gpus_per_node=2"]),
        ({"processes": 2, "gpus": 2}, ["gres=gpu:a100:2", "cpus-per-task=8"], []),
        ({"processes": 3, "gpus": 0}, ["gpus_per_task=1"], ["cpus_per_task=3"]),
    ],
)
def test_slurm_is_asked_for_what_a_run_needs_unless_the_user_has(resources, given, asked):
    assert slurm.options_for([Resources(), Resources(**resources)], given) == asked


def test_a_worker_means_the_same_runs_as_the_command_that_submits_it(cluster):
    options = ["--only", "*/seed-3", "--seeds", "3-4", "--set", "epochs=2", "--set", "reward=jpeg_incompressibility"]
    options += ["--results", "else where", "--storage", "sqlite:///queue.db"]
    assert cli.main([*RUN, "1", *options]) == 0
    (line,) = [line for line in cluster.scripts()[101].splitlines() if " work " in line]
    words = shlex.split(line)
    worker = parsed(words[words.index("work") :])
    assert worker.storage == "sqlite:///queue.db"
    assert planned_runs(worker) == planned_runs(parsed(["run", "mine.yaml", *options]))


def test_a_suite_to_be_tuned_gets_as_many_workers_as_are_asked_for(cluster, capsys):
    tuned_suite(Path("."))
    assert cli.main([*RUN, "5"]) == 0
    assert "Submitted job array 101: 5 workers for the trials" in capsys.readouterr().out
    assert "#SBATCH --array=0-4\n" in cluster.scripts()[101]
    wait_for(lambda: not cluster.alive())
    assert refusal(capsys, [*RUN, "5", "--retry-failed"]).startswith(
        "--retry-failed: with --executor slurm, works only for"
    )


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        (["run", "mine.yaml", "--slurm", "partition=gpu"], "--slurm partition=gpu: needs --executor slurm."),
        (RUN[:-1], "--executor slurm: give the largest number of workers in the array, as in --workers 8."),
        ([*RUN, "2"], "Slurm refused the job array: sbatch: error: Batch job submission failed: Invalid partition"),
    ],
)
def test_a_submission_that_is_refused_is_one_line(cluster, capsys, words, mistake):
    (cluster.folder / "refuses").touch()
    assert refusal(capsys, words) == f"{mistake}\n"


def test_a_machine_without_slurm_is_one_line_with_its_remedy(suite, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    error = refusal(capsys, [*RUN, "2"])
    assert error.startswith("--executor slurm: no sbatch, srun, squeue in PATH. Run the command on a login node")
    assert error.count("\n") == 1


def test_nothing_is_submitted_while_slurm_does_not_say_whether_the_array_before_is_over(cluster, capsys):
    assert cli.main([*RUN, "1"]) == 0
    (cluster.folder / "down").touch()
    capsys.readouterr()
    error = refusal(capsys, [*RUN, "1"])
    assert "squeue does not answer: squeue: error: Unable to contact slurm controller" in error
    assert list(cluster.scripts()) == [101]
