"""Part d: the shipped suites `smoke` and `algos` with many runs on the device at once, and a kill with its resume.

Runs stay in a temporary folder; the tables, plots and reports are kept, and suite.json with what the runs' metrics say.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu import resume
from benchmarks.gpu.part import ROOT, select
from benchmarks.gpu.targets import OTHER_BATCHES
from ddpo_bench.yaml_file import load_yaml

SUITES = {"cuda": ("smoke", "algos"), "cpu": ("smoke",)}
WORKERS = {"smoke": 4, "algos": 10}  # on one GPU, at most one for each core
KEPT_BACK = 25  # seconds of the part's limit, for a suite to save its state and for its table
TINY = ["samples_per_epoch=4", "micro_batch=4", "epochs=1", "sampler.steps=5", "evaluation.samples=2"]
OPTIONS = {"cuda": [], "cpu": ["--seeds", "0", *(word for change in TINY for word in ("--set", change))]}
KEPT = ("table.md", "table.csv", "report.html", "plots")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    deadline = time.monotonic() + select("suite")[0].limit(given.device) - KEPT_BACK
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        suite = partial(run_suite, device=given.device, work=Path(work), out=given.out, deadline=deadline)
        *first, last = SUITES[given.device]
        for name in first:
            note(found, name, suite(name), given.out)
        # The kill and its resume take place next to a suite, which leaves cores of the CPU idle.
        with ThreadPoolExecutor() as threads:
            resumed = threads.submit(run_resume, given.device, Path(work) / "resume")
            note(found, last, suite(last), given.out)
            note(found, "resume", resumed.result(), given.out)
    return 0 if all(part["passed"] for part in found.values()) else 2


def note(found: dict[str, Any], name: str, result: dict[str, Any], out: Path) -> None:
    found[name] = result
    (out / "suite.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{name}: {result}", flush=True)


def run_resume(device: str, work: Path) -> dict[str, Any]:
    """It passes where at least torch's deterministic algorithms resume to the bit."""
    ways = resume.compare(device, work)
    return {"passed": any(way["difference"] is None for way in ways.values()), "ways": ways}


def run_suite(name: str, device: str, work: Path, out: Path, deadline: float) -> dict[str, Any]:
    """It passes where every run is done and its importance ratios were exactly 1 before the first update.

    Where time ends, the table is made of the runs that are done.
    """
    start = time.monotonic()
    workers = min(WORKERS[name], os.cpu_count() or 1)
    ddpo_bench, results = [sys.executable, "-m", "ddpo_bench"], ["--results", str(work)]
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // workers))}
    command = [*ddpo_bench, "run", f"suites/{name}.yaml", *results, "--workers", str(workers), *OPTIONS[device]]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | threads)
    try:
        code = process.wait(max(1.0, deadline - start))
    except subprocess.TimeoutExpired:
        process.terminate()
        code = process.wait()
        subprocess.run([*ddpo_bench, "table", str(work / name)], cwd=ROOT)
    keep(work / name, out / name)
    facts = facts_of(work / name / "runs")
    complete = code == 0 and facts["done"] == facts["runs"] > 0
    exact = all(deviation == 0 for name, deviation in facts["ratio_deviation_max"].items() if name not in OTHER_BATCHES)
    return {
        "passed": complete and exact,
        "complete": complete,
        "seconds": round(time.monotonic() - start, 1),
        "workers": workers,
        **facts,
    }


def keep(source: Path, target: Path) -> None:
    """Copy what `ddpo-bench table` wrote."""
    target.mkdir(parents=True, exist_ok=True)
    for path in (source / name for name in KEPT):
        if path.is_dir():
            shutil.copytree(path, target / path.name, dirs_exist_ok=True)
        elif path.exists():
            shutil.copy(path, target)


def facts_of(runs: Path) -> dict[str, Any]:
    """What the folders of runs say: how many are done, and by algorithm the largest deviation of a ratio from 1."""
    folders = sorted(path.parent for path in runs.glob("*/*/metrics.jsonl"))
    states = [json.loads((folder / "status.json").read_text(encoding="utf-8"))["state"] for folder in folders]
    deviations: dict[str, list[float]] = {}
    for folder in folders:
        algorithm = load_yaml(folder / "config.yaml")["algorithm"]["name"]
        found = [row["ratio_deviation_max"] for row in resume.numbers(folder) if "ratio_deviation_max" in row]
        deviations.setdefault(algorithm, []).extend(found)
    return {
        "runs": len(folders),
        "done": states.count("done"),
        "ratio_rows": sum(map(len, deviations.values())),
        "ratio_deviation_max": {name: max(values) for name, values in deviations.items() if values},
    }


if __name__ == "__main__":
    sys.exit(main())
