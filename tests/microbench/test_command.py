"""`ddpo-bench kernels` and the pytest benchmarks, as a user runs them."""

from __future__ import annotations

import csv
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ddpo_bench import cli
from ddpo_bench.microbench import measure, timing, training_step
from ddpo_bench.microbench.calls import bind
from ddpo_bench.microbench.cases import Case, select_cases

ROOT = Path(__file__).parents[2]
TINY = ["kernels", "--latent", "sd15", "--batch", "1", "--dtype", "fp32"]
on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without CUDA")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Few repetitions, a small copy, and no compiler, whose absence must be said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(timing, "CPU_REPETITIONS", (3, 5))
    monkeypatch.setattr(timing, "COPIED", {"cpu": 2**22, "cuda": 2**22})


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@on_cpu
def test_a_tiny_grid_is_measured_printed_and_saved(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*TINY, "--operation", "score", "loss", "--out", "out"]) == 0
    printed = capsys.readouterr().out
    assert "sd15 4×64×64, batch 1, fp32" in printed
    assert "Triton was not measured: its kernels run on CUDA and ROCm devices, not on cpu." in printed
    assert "Compile was not measured: there is no C++ compiler (no-such-compiler)." in printed
    made = rows(Path("out/kernels.csv"))
    assert [(row["operation"], row["implementation"]) for row in made] == [
        (operation, name) for operation in ("score", "loss") for name in ("reference", "eager")
    ]
    for row in made:
        assert float(row["p20"]) <= float(row["us"]) <= float(row["p80"])
        assert row["graph_us"] == ""
        moved = (4 * 16384 * 4 + 12) if row["operation"] == "score" else 16
        assert float(row["gb_per_s"]) == pytest.approx(moved / float(row["us"]) / 1e3, rel=1e-4)
        assert 0 <= float(row["error"]) < 1e-5
    assert float(made[1]["speed_up"]) == 1
    assert float(made[0]["speed_up"]) == pytest.approx(float(made[1]["us"]) / float(made[0]["us"]), rel=1e-4)
    report = Path("out/kernels.md").read_text()
    assert f"* torch: {torch.__version__}" in report
    assert (
        "* command: `ddpo-bench kernels --latent sd15 --batch 1 --dtype fp32 --operation score loss --out out`"
        in report
    )
    assert sorted(path.name for path in Path("out").iterdir()) == ["kernels.csv", "kernels.md"]


@on_cpu
def test_a_learning_step_is_set_next_to_the_models_own_forward_and_backward(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main([*TINY, "--operation", "learning_step"]) == 0
    printed = capsys.readouterr().out
    assert "embedded model" in printed
    assert "## The learning step as a part of the training step" in Path("results/kernels/kernels.md").read_text()


@on_cpu
def test_an_interruption_keeps_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(implementation: str, operation: str, sets: object) -> object:
        if (implementation, operation) == ("eager", "loss"):
            raise KeyboardInterrupt
        return bind(implementation, operation, sets)  # type: ignore[arg-type]

    monkeypatch.setattr(measure, "bind", interrupted)
    assert cli.main([*TINY, "--operation", "score", "loss", "--out", "out"]) == cli.INTERRUPTED
    assert len(rows(Path("out/kernels.csv"))) == 3
    assert "Interrupted. To try again: ddpo-bench kernels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        (["--latent", "sd5"], "kernels: --latent: unknown latent 'sd5'. Did you mean 'sd15'?"),
        (["--dtype", "fp16"], "kernels: --dtype: unknown dtype 'fp16'."),
        (["--operation", "scoer"], "kernels: --operation: unknown operation 'scoer'. Did you mean 'score'?"),
    ],
)
def test_a_wrong_name_is_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str], arguments: list[str], mistake: str
) -> None:
    assert cli.main(["kernels", *arguments]) == 1
    error = capsys.readouterr().err
    assert mistake in error
    assert error.count("\n") == 1


def test_a_cpu_compiles_the_learning_step_at_its_largest_batches_where_there_are_many_cases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXX", sys.executable)  # something that is there
    device = torch.device("cpu")
    cases = select_cases(None, None, None, None, on_gpu=False)
    compiled = measure.compiled_cases(cases, device)
    assert {case.operation for case in compiled} == {"learning_step"}
    assert {(case.latent, case.batch) for case in compiled} == {("sd15", 32), ("sdxl", 32), ("flux", 8)}
    assert measure.compiled_cases(cases[:4], device) == cases[:4]


def test_a_timing_orders_its_percentiles() -> None:
    timed = timing.Timing.of([float(second) for second in range(1, 102)])
    assert (timed.p20, timed.median, timed.p80) == (21, 51, 81)


def test_repetitions_rotate_among_the_inputs() -> None:
    seen: list[int] = []
    calls = [lambda number=number: seen.append(number) or () for number in range(5)]  # type: ignore[misc, func-returns-value]
    timing.time_calls(calls, torch.device("cpu"))
    assert seen == [index % 5 for index in range(len(seen))]
    assert len(seen) >= 5


def test_the_frame_differentiates_every_parameter_of_the_model() -> None:
    unet = training_step.embedded_unet()
    case = Case("learning_step", "embedded", 2, "fp32")
    gradients = training_step.forward_and_backward(unet, case, 16, torch.device("cpu"))()
    assert len(gradients) == len(list(unet.parameters()))
    assert all(math.isfinite(gradient.norm().item()) for gradient in gradients)


@pytest.mark.long
@on_cpu
def test_the_pytest_benchmarks_compare_implementations_and_say_why_triton_is_skipped() -> None:
    only = "sd15 and (loss or score-reference or triton) and not learning_step"
    options = ["--benchmark-only", "--benchmark-max-time=0.05", "-p", "no:xdist", "-rs", "-k", only]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}  # of this run's xdist
    command = [sys.executable, "-m", "pytest", "kernels/benchmarks", *options]
    done = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "benchmark 'loss, sd15 4×64×64, batch 8, bf16': 2 tests" in done.stdout
    assert "triton: its kernels run on CUDA and ROCm devices, not on cpu" in done.stdout
