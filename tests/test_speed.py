"""How long planning and reading results take: CPU seconds, which a machine with other work does not stretch much."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from ddpo_bench.sweep.plan import runs_of
from ddpo_bench.sweep.suite import load_suite

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "analysis"))

import fabricate  # noqa: E402


def test_ten_thousand_runs_are_planned_in_under_two_seconds(tmp_path: Path) -> None:
    """Not counted: importing the plugins that the suite names, which is torch's time."""
    rates = [{"name": "ppo", "learning_rate": 1e-5 * (1 + i)} for i in range(100)]
    matrix = {"algorithm": rates, "sampler.steps": list(range(5, 15))}
    path = tmp_path / "large.yaml"
    path.write_text(yaml.safe_dump({"base": {"epochs": 2}, "matrix": matrix, "seeds": list(range(10))}))
    load_suite(ROOT / "suites" / "algos.yaml")
    start = time.process_time()
    runs = runs_of(load_suite(path))
    assert time.process_time() - start < 2
    assert len({run.folder for run in runs}) == 10_000


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 algorithms x 2 rewards x 100 seeds, done; their pictures are not looked at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fabricate, "write_samples", lambda folder, gain: None)
        return fabricate.fabricate_suite(tmp_path_factory.mktemp("results") / "many", tuple(fabricate.GAIN), 100)


def test_a_table_of_a_thousand_runs_takes_under_three_seconds(thousand: Path) -> None:
    command = [sys.executable, "-m", "ddpo_bench", "table", str(thousand), "--format", "md"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "1000 of 1000 runs done" in done.stdout
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 3


def test_a_table_without_frames_imports_neither_pandas_nor_matplotlib_nor_scipy(thousand: Path) -> None:
    code = (
        "import sys; from ddpo_bench import cli\n"
        f"cli.main(['table', {str(thousand)!r}, '--format', 'md'])\n"
        "print('heavy:', [name for name in ('pandas', 'matplotlib', 'scipy', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_planning_does_not_wait_for_diffusers(tmp_path: Path) -> None:
    code = (
        "import sys; from ddpo_bench import cli\n"
        f"cli.main(['run', 'algos', '--dry-run', '--results', {str(tmp_path)!r}])\n"
        "print('heavy:', [name for name in ('diffusers', 'transformers', 'peft', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"
