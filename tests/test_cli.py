"""The command line: what it prints, what it imports, its exit codes."""

import json
import re
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import fake_trainer
import numpy as np
import pytest
from PIL import Image
from queues import write_suite

from ddpo_bench import cli
from ddpo_bench.commands.sample import save_grid
from ddpo_bench.sweep import runner

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "pandas", "rich", "matplotlib", "diffusers", "numpy", "yaml")


def run_suite_here(suite, runs, root, workers, display, retry_failed=False, storage=None, pool=None):
    """As the runner, with the fake trainer and in this process: another one would import torch for seconds."""
    settled = {"done"} if retry_failed else {"done", "failed"}
    if any(runner.state(run, root) not in settled for run in runs):
        runner.work_on_suite(suite, runs, root, display, storage, train=fake_trainer.TRAIN)
    return [run for run in runs if runner.state(run, root) == "failed"]


def write(*algorithms):
    base = {"epochs": 2, "samples_per_epoch": 4}
    return str(write_suite(Path("mine.yaml"), base=base, matrix={"algorithm": list(algorithms)}))


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """Writes a suite of these algorithms and returns its path; its runs are trained by the fake trainer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "run_suite", run_suite_here)

    return write


def python(code):
    """Run code in a fresh interpreter; returns (standard output, seconds of CPU)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_help_imports_nothing_heavy_and_answers_at_once():
    code = (
        "import sys; from ddpo_bench import cli\n"
        "try: cli.main(['run', '--help'])\n"
        f"except SystemExit: print('heavy:', [name for name in {HEAVY} if name in sys.modules])"
    )
    output, seconds = python(code)
    assert "heavy: []" in output
    assert seconds < 0.5


@pytest.mark.parametrize("command", [[], *([name] for name in cli.VERBS)], ids=lambda words: " ".join(words) or "main")
def test_every_help_shows_examples_that_parse(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--help"])
    assert ended.value.code == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  ddpo-bench ")]
    assert lines
    for line in lines:
        command = re.split(r" {2,}", line)[0]  # what follows two spaces explains it
        cli.build_parser(cli.load_commands()).parse_args(shlex.split(command)[1:])


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        (["rnu"], "unknown command 'rnu'. Did you mean 'run'?"),
        (["run"], "the following arguments are required: SUITE"),
        (["run", "smoke", "--workers", "0"], "expected a whole number of at least 1, got '0'"),
        (["table", "results", "--format", "pdf"], "invalid choice: 'pdf'"),
        (["table", "results", "--metric", "kl", "--budget", "kl"], "--budget: not allowed with argument --metric"),
        (["table", "results", "--budget", "kl", "--at", "-1"], "expected a number of at least 0, got '-1'"),
        (["compare", "a", "b", "--min-effect", "nan"], "expected a number of at least 0, got 'nan'"),
        (["compare", "a"], "the following arguments are required: B"),
        (["run", "smoke", "--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_1(capsys, arguments, mistake):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert mistake in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        (["run", "smke"], "unknown shipped suite 'smke'. Did you mean 'smoke'?"),
        (["run", "smoke", "--only", "ppo-jpeg", "--dry-run"], "unknown cell 'ppo-jpeg'. Did you mean 'ppo-jpeg_compr"),
        (
            ["run", "smoke", "--set", "epohcs=1", "--dry-run"],
            "--set epohcs=1: unknown key 'epohcs'. Did you mean 'epochs'?",
        ),
        (["run", "smoke", "--set", "backend=trition"], "--set backend=trition: unknown value 'trition'."),
        (
            ["run", "smoke", "--set", "backend=triton"],
            "--set backend=triton: triton: its kernels run on CUDA and ROCm devices",
        ),
        (["train", "missing.yaml"], "missing.yaml: no such file."),
        (["train", str(ROOT / "suites" / "smoke.yaml")], "is a suite, not the configuration of one run"),
        (["list", "algoritm"], "unknown kind or name 'algoritm'. Did you mean 'algorithm'?"),
        (["table", "nowhere"], "nowhere: no such folder or file; unknown shipped suite"),
        (["table", "nowhere", "--at", "3"], "--at: needs a budget."),
        (["compare", "nowhere", "elsewhere"], "nowhere: no such folder or file; unknown shipped suite"),
        (["validate", "missing"], "missing: no such file"),
        (["sample", "--run", "nowhere"], "nowhere/config.yaml: no such file."),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_1(capsys, tmp_path, monkeypatch, arguments, mistake):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 1
    error = capsys.readouterr().err
    assert mistake in error
    assert error.count("\n") == 1


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(Exception, match="no such file"):
        cli.main(["train", str(tmp_path / "missing.yaml"), "--debug"])


def test_a_dry_run_prints_the_plan_and_writes_nothing(suite, capsys):
    assert cli.main(["run", suite("frozen", "ppo"), "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert "frozen" in output
    assert "1 queued" in output
    assert "16 images (reward queries) in all, 16 of them to do" in output
    assert not Path("results").exists()


def test_a_suite_is_run_once_and_its_table_printed_every_time(suite, capsys):
    assert cli.main(["run", suite("frozen", "ppo"), "--workers", "1"]) == 0
    first = capsys.readouterr().out
    assert "frozen/seed-0: started" in first
    assert "ppo/seed-0: epoch 2/2, reward -0.2276, 10 images/s" in first
    assert "ppo/seed-0: done (2/2 runs done)" in first
    assert Path("results/mine/table.md").read_text().startswith("# ")
    assert "results/mine/report.html" in first
    assert cli.main(["run", "mine.yaml"]) == 0
    second = capsys.readouterr().out
    assert "started" not in second
    assert second.splitlines()[1:] == first.splitlines()[-len(second.splitlines()) + 1 :]
    assert cli.main(["run", "mine.yaml", "--dry-run"]) == 0
    assert "0 of them to do" in capsys.readouterr().out


@pytest.mark.parametrize("algorithms", [["frozen", "trpo_penalty"], ["trpo_penalty"]])
def test_failed_runs_give_exit_code_2_and_the_reason(suite, capsys, algorithms):
    assert cli.main(["run", suite(*algorithms), "--workers", "1"]) == 2
    output = capsys.readouterr().out
    assert "trpo_penalty/seed-0: failed: ValueError: the reward returned NaN" in output
    assert "--retry-failed" in output
    assert cli.main(["run", "mine.yaml"]) == 2  # it is not tried again, and not forgotten


@pytest.fixture(scope="module")
def frozen_and_ppo(tmp_path_factory):
    """A folder with mine.yaml and its results."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(runner, "run_suite", run_suite_here)
        write("frozen", "ppo")
        assert cli.main(["run", "mine.yaml", "--workers", "1"]) == 0
    return folder


@pytest.fixture
def finished(frozen_and_ppo, tmp_path, monkeypatch, capsys):
    """In a folder of its own, mine.yaml and results/mine."""
    shutil.copytree(frozen_and_ppo, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    ("options", "begins"),
    [
        (["--format", "md"], "# "),
        (["--format", "csv"], "algorithm,reward,"),
        (["--format", "tex"], "% "),
        (["--format", "json"], "{"),
        (["--metric", "eval/jpeg_compressibility"], "mine: eval/jpeg_compressibility by algorithm\n"),
        (["--budget", "queries"], "mine: training reward by algorithm at 8 images\n"),
    ],
)
def test_a_table_with_options_is_printed_as_asked_for_and_writes_nothing(capsys, options, begins):
    for path in Path("results/mine").glob("table.*"):
        path.unlink()
    assert cli.main(["table", "results/mine", *options]) == 0
    assert capsys.readouterr().out.startswith(begins)
    assert not list(Path("results/mine").glob("table.*"))


@pytest.fixture
def two_results(finished):
    """results/mine, and new/mine with another final reward of ppo."""

    def change(by):
        shutil.copytree("results/mine", "new/mine")
        (path,) = Path("new/mine").glob("runs/ppo-*/seed-0/metrics.jsonl")
        *rows, last = path.read_text().splitlines()
        last = json.loads(last)
        last["eval/jpeg_compressibility"] += by
        path.write_text("\n".join([*rows, json.dumps(last)]) + "\n")
        return ["compare", "results/mine", "new/mine"]

    return change


@pytest.mark.parametrize(
    ("by", "options", "code", "verdict"),
    [
        (-0.2, ["--min-effect", "0.1"], 3, "worse"),
        (-0.2, ["--min-effect", "0.3"], 0, "same"),
        (-0.2, [], 0, "undecided"),  # a single seed
        (0.2, ["--min-effect", "0.1"], 0, "better"),
        (-0.2, ["--min-effect", "0.1", "--metric", "eval/beauty"], 1, None),  # which the fake trainer does not measure
    ],
)
def test_compare_gives_exit_code_3_for_a_regression_alone(two_results, capsys, by, options, code, verdict):
    assert cli.main([*two_results(by), *options, "--format", "json"]) == code
    output = capsys.readouterr().out
    if verdict:
        verdicts = {row["algorithm"]: row["verdict"] for row in json.loads(output)["rows"]}
        assert verdicts["ppo"] == verdict
    else:
        assert output == ""


def test_version(capsys, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: {"ddpo-bench": "1.2.3"}[name])
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == "ddpo-bench 1.2.3\n"


def test_a_grid_holds_every_image_in_rows_of_eight(tmp_path):
    images = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 5, 3), np.uint8)
    save_grid(images, tmp_path / "new" / "grid.png")
    grid = np.asarray(Image.open(tmp_path / "new" / "grid.png"))
    assert grid.shape == (2 * 4, 8 * 5, 3)
    assert grid[::4, ::5, 0].tolist() == [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9, *[255] * 6]]  # missing tiles are white


def test_output_into_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m ddpo_bench list | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "policy\n"
    assert done.stderr == ""
