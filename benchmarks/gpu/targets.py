"""The targets, each judged by the files that the parts left."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.throughput import MEASURED

LARGE = 256e6  # bytes that a launch moves, from which on its bandwidth is to be that of a copy
SHARE_OF_COPY = 0.85
TIMES_EAGER = 8.0
UTILISATION = 0.40
TIMES_PLAIN_LOOP = 3.0
TIMES_COMPILE = 0.98  # equal, within what timings repeat to
OTHER_BATCHES = ("sac",)  # measures ratios in batches of another size than it samples, which may round differently
Row = dict[str, str]


class Verdict(NamedTuple):
    """What became of a target.

    Attributes:
        met: None where it was not measured.
        found: the figure, in words.
    """

    target: str
    met: bool | None
    found: str

    @property
    def word(self) -> str:
        return {True: "met", False: "**missed**", None: "not measured"}[self.met]


def judge(out: Path, parts: set[str]) -> list[Verdict]:
    """All targets in the order of the parts, by the files of some of these."""
    known = {"parity": parity, "kernels": kernels, "throughput": throughput, "suite": suite}
    return [verdict for name, judged in known.items() for verdict in judged(out / name if name in parts else None)]


def least(target: str, goal: float, ratios: dict[str, float], unit: Callable[[float], str]) -> Verdict:
    """Met where the lowest of several ratios reaches the goal; the lowest is named."""
    if not ratios:
        return Verdict(target, None, "")
    where = min(ratios, key=lambda name: ratios[name])
    return Verdict(target, ratios[where] >= goal, f"{unit(ratios[where])} ({where}, the lowest of {len(ratios)})")


def best(target: str, goal: float, ratios: dict[str, float], unit: Callable[[float], str]) -> Verdict:
    """Met where the highest of several settings, from which a user chooses, reaches the goal; it is named."""
    if not ratios:
        return Verdict(target, None, "")
    where = max(ratios, key=lambda name: ratios[name])
    return Verdict(target, ratios[where] >= goal, f"{unit(ratios[where])} ({where}, the best of {len(ratios)})")


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def times(ratio: float) -> str:
    return f"{ratio:.2f}x"


def parity(folder: Path | None) -> Iterator[Verdict]:
    files = sorted(folder.glob("checks-*.jsonl")) if folder else []
    rows = [json.loads(line) for path in files for line in lines_of(path)]
    planned = sum(row.get("collected", 0) for row in rows)
    tests = [row for row in rows if "test" in row]
    yield counted("Parity, and promises to the bit", tests, planned)
    waiting = [row for row in tests if "never_waits" in row["test"]]
    yield counted("No host synchronisation in a sampling or learning step", waiting, len(waiting))


def counted(target: str, tests: list[dict[str, Any]], planned: int) -> Verdict:
    outcomes = [row["outcome"] for row in tests]
    passed, failed, skipped = (outcomes.count(name) for name in ("passed", "failed", "skipped"))
    if not passed + failed:
        return Verdict(target, None, "")
    left = planned - len(tests)
    others = [
        f"{number} {what}" for number, what in ((failed, "failed"), (skipped, "skipped"), (left, "not run")) if number
    ]
    return Verdict(target, not failed and not left, ", ".join([f"{passed} of {planned} passed", *others]))


def lines_of(path: Path | None) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []


def kernels(folder: Path | None) -> Iterator[Verdict]:
    rows = list(csv.DictReader(lines_of(folder and folder / "kernels.csv")))
    by = {(case_of(row), row["implementation"]): row for row in rows}
    fused = {case: row for (case, name), row in by.items() if name == "triton" and row["graph_us"]}
    large = {case: float(row["share_of_copy"]) for case, row in fused.items() if moved(row) >= LARGE}
    yield least("Forward and backward at 85 % of copy bandwidth, from 256 MB", SHARE_OF_COPY, large, percent)
    small = {case: row for case, row in fused.items() if (row["latent"], row["batch"]) == ("sd15", "8")}
    graph, launched = "graph_us", "us"
    yield least(
        "8 times eager at SD1.5 B = 8, in CUDA graphs", TIMES_EAGER, ratios_to("eager", small, by, graph), times
    )
    for where, column in (("in CUDA graphs", graph), ("launched from Python", launched)):
        ratios = ratios_to("compile", fused, by, column)
        yield least(f"Not slower than `torch.compile`, {where}", TIMES_COMPILE, ratios, times)


def case_of(row: Row) -> str:
    return f"{row['operation']}, {row['latent']}, B = {row['batch']}, {row['dtype']}"


def moved(row: Row) -> float:
    """Bytes that one call moves: bandwidth times time on the device."""
    return float(row["gb_per_s"]) * 1e9 * float(row["graph_us"]) * 1e-6


def ratios_to(other: str, fused: dict[str, Row], by: dict[tuple[str, str], Row], column: str) -> dict[str, float]:
    """How many times faster than another implementation each case is, by one column of times."""
    slower = {case: by[case, other][column] for case in fused if (case, other) in by}
    return {case: float(time) / float(fused[case][column]) for case, time in slower.items() if time}


def throughput(folder: Path | None) -> Iterator[Verdict]:
    files = [path for name in MEASURED["cuda"] for path in sorted(folder.glob(f"{name}/*/*.csv"))] if folder else []
    rows = [row for path in files for row in csv.DictReader(lines_of(path)) if row["loop"] != "plain loop"]
    mfu, speed = ({setting(row): float(row[key]) for row in rows if row[key]} for key in ("learning_mfu", "speed_up"))
    yield best("Model FLOP utilisation of 40 % in learning, SD1.5 with LoRA", UTILISATION, mfu, percent)
    yield best("3 times the images a second of the plain loop, end to end", TIMES_PLAIN_LOOP, speed, times)


def setting(row: Row) -> str:
    compiled = "compiled" if row["compile"] != "none" else "eager"
    return f"micro-batch {row['micro_batch']}, {row['precision']}, {compiled}"


def suite(folder: Path | None) -> Iterator[Verdict]:
    text = "\n".join(lines_of(folder and folder / "suite.json"))
    found: dict[str, Any] = json.loads(text) if text else {}
    suites: dict[str, Any] = {name: found[name] for name in ("smoke", "algos") if name in found}
    yield runs_done(suites)
    yield exact_ratios(suites)
    yield resumed(found.get("resume", {}).get("ways", {}))


def runs_done(suites: dict[str, Any]) -> Verdict:
    target = "All runs of the suites done, many at once on the device"
    if not suites:
        return Verdict(target, None, "")
    words = [
        f"{name}: {one['done']} runs in {one['seconds']:.0f} s with {one['workers']} workers"
        for name, one in suites.items()
    ]
    return Verdict(target, all(one["complete"] for one in suites.values()), "; ".join(words))


def exact_ratios(suites: dict[str, Any]) -> Verdict:
    """Of the algorithms that learn in the batches that they sampled; what the others measured is told."""
    target = "Importance ratio exactly 1 before the first update"
    largest: dict[str, float] = {}
    for one in suites.values():
        for name, deviation in one["ratio_deviation_max"].items():
            largest[name] = max(deviation, largest.get(name, 0.0))
    judged = [deviation for name, deviation in largest.items() if name not in OTHER_BATCHES]
    if not judged:
        return Verdict(target, None, "")
    words = ", ".join(f"{name} {deviation:g}" for name, deviation in largest.items())
    rows = sum(one["ratio_rows"] for one in suites.values())
    return Verdict(target, max(judged) == 0, f"largest deviation in {rows} epochs: {words}")


def resumed(ways: dict[str, Any]) -> Verdict:
    target = "A killed run resumes bit for bit"
    if not ways:
        return Verdict(target, None, "")
    words = [f"{name}: " + (way["difference"] or f"{way['rows']} rows equal") for name, way in ways.items()]
    return Verdict(target, any(way["difference"] is None for way in ways.values()), "; ".join(words))
