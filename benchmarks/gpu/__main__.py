"""Proves on a GPU what tests without one cannot, and how fast it is: `make gpu`, or

    python -m benchmarks.gpu --parts a,b --out results/gpu

Run it in the checkout; ddpo-bench need not be installed, only what it depends on.  Parts do not depend on each other:
each has a time limit and leaves its files at once.  Exit codes: 0, 1 wrong input, 2 a part failed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.gpu import summary
from benchmarks.gpu.part import OUTCOME, PARTS, ROOT, Part, environment, run, select

NO_GPU = "make gpu: torch finds no GPU here. To run all parts on the CPU, at small sizes: make gpu DEVICE=cpu"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="Prove promises and speed on a GPU, in parts.",
        epilog="\n".join(f"  {part.letter}  {part.name:<11} {part.title}, {part.seconds} s" for part in PARTS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--parts", default="", metavar="LIST", help="letters or names, such as a,b (default: all)")
    parser.add_argument("--out", type=Path, default=Path("results", "gpu"), metavar="DIR", help="default: results/gpu")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: small sizes, to test the parts")
    given = parser.parse_args()
    try:
        parts = select(given.parts) if given.parts else list(PARTS)
    except ValueError as mistake:
        print(mistake, file=sys.stderr)
        return 1
    say_missing(parts)
    machine = describe(given.device)
    if machine is None:
        print(NO_GPU, file=sys.stderr)
        return 1
    return 2 if run_all(parts, given.device, machine, given.out.resolve()) else 0


def say_missing(parts: list[Part]) -> None:
    packages = list(dict.fromkeys(package for part in parts for package in part.missing()))
    if packages:
        print(f"Not installed: {', '.join(packages)}. Parts that need them are left out. To have them:", flush=True)
        print(f"  {sys.executable} -m pip install {' '.join(packages)}", flush=True)
        print("  or put a folder that holds them on PYTHONPATH.", flush=True)


def describe(device: str) -> dict[str, str] | None:
    """The machine, as another process sees it, so that this one holds no GPU; None where there is no such device."""
    command = [sys.executable, "-m", "benchmarks.gpu.machine", "--device", device]
    done = subprocess.run(command, cwd=ROOT, env=environment(device), stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(1)  # it has said why
    return json.loads(done.stdout.splitlines()[-1])


def run_all(parts: list[Part], device: str, machine: dict[str, str], out: Path) -> list[str]:
    """Run the parts, write the summary after each, and return the names of those that did not pass."""
    out.mkdir(parents=True, exist_ok=True)
    (out / summary.MACHINE).write_text(json.dumps(machine, indent=1) + "\n", encoding="utf-8")
    not_passed = []
    for part in parts:
        folder = out / part.name
        print(f"\n== {part.letter}: {part.title}, at most {part.limit(device)} s", flush=True)
        shutil.rmtree(folder, ignore_errors=True)  # nothing of an earlier time may pass for a result of this one
        folder.mkdir(parents=True)
        packages = part.missing()
        ended, seconds = (f"left out: needs {', '.join(packages)}", 0.0) if packages else run(part, device, folder)
        outcome = {"ended": ended, "seconds": seconds, **{key: machine[key] for key in ("device", "commit", "date")}}
        (folder / OUTCOME).write_text(json.dumps(outcome) + "\n", encoding="utf-8")
        print(f"== {part.letter}: {ended}", flush=True)
        if ended != "passed":
            not_passed.append(part.name)
        page = summary.write(out)
    print(f"\n{page.read_text(encoding='utf-8')}\nSaved in {out}", flush=True)
    return not_passed


if __name__ == "__main__":
    sys.exit(main())
