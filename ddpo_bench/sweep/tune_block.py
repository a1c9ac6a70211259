"""The `tune:` block of a suite file: what is searched, within which budget, by which means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import Any, Literal, NamedTuple

from ddpo_bench.config import parse
from ddpo_bench.options import LARGEST_COUNT, LARGEST_SEED, option
from ddpo_bench.quantity import NATS
from ddpo_bench.registry import get, unknown
from ddpo_bench.sweep.search_space import amount

KL = "eval/kl_reference_nats"  # what the measure "kl" is in a row of metrics.jsonl
FEWEST_FOR_WILCOXON = 5  # seeds: before its last one a trial must have four, the fewest that can pass the test's 0.1


class Limit(NamedTuple):
    """A constraint: a measure of the last evaluation, mean over seeds, may not leave this interval."""

    min: float | None
    max: float | None


@dataclass(frozen=True)
class Tune:
    """A `tune:` block.

    Every cell that has a space gets a study of its own: `trials` configurations, each tried on all `seeds`, judged by
    the interquartile mean of the final reward.  The `top` ones are run again on the suite's own seeds.
    """

    space: dict = option(MISSING, "mapping of keys to {low, high, log} or {choices}, or of algorithms to such mappings")
    trials: int = option(MISSING, "number of configurations tried for each cell", minimum=1, maximum=LARGEST_COUNT)
    seeds: list[int] = option(
        MISSING, "seeds of every trial, none of which is reported", minimum=0, maximum=LARGEST_SEED
    )
    equal_budget: bool = option(
        False, "checks that every algorithm except frozen is tuned, and that one configuration of each is run"
    )
    top: int = option(
        1,
        "number of configurations of each cell that are run again on the suite's seeds",
        minimum=1,
        maximum=LARGEST_COUNT,
    )
    sampler: Literal["tpe", "gp", "random"] = option("tpe", "how settings are searched; gp suits few expensive trials")
    pruner: Literal["none", "wilcoxon", "hyperband"] = option(
        "none", "how trials are stopped early: wilcoxon between seeds, hyperband between epochs"
    )
    objectives: list[Literal["reward", "kl"]] = option(
        ["reward"], "[reward] or [reward, kl], where kl is the KL to the pretrained model in nats"
    )
    constraints: dict = option({}, "mapping of metrics to {min, max}")
    seed: int = option(0, "seed of the sampler", minimum=0, maximum=LARGEST_SEED)

    def __post_init__(self) -> None:
        if self.top > self.trials:
            raise ValueError(f"top: must be at most trials ({self.trials}), got {self.top}.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: give different whole numbers of at least 0, for example [100, 101].")
        if self.objectives not in (["reward"], ["reward", "kl"]):
            raise ValueError("objectives: must be [reward] or [reward, kl].")
        if self.pruner != "none" and len(self.objectives) > 1:
            raise ValueError(f"pruner: {self.pruner} supports only one objective. Remove it, or the objective kl.")
        if self.pruner == "wilcoxon" and len(self.seeds) < FEWEST_FOR_WILCOXON:
            raise ValueError(f"pruner: wilcoxon compares seeds, and needs at least {FEWEST_FOR_WILCOXON}.")
        if self.equal_budget and (self.top > 1 or len(self.objectives) > 1):
            raise ValueError(
                "equal_budget: runs one configuration of each algorithm; needs top: 1 and objectives: [reward]."
            )

    @property
    def limits(self) -> dict[str, Limit]:
        """The constraints, by measure."""
        return {
            name: Limit(limit(name, ends.get("min")), limit(name, ends.get("max")))
            for name, ends in self.constraints.items()
        }


def check_tune(data: Any, report_seeds: Sequence[int], mistakes: list[str]) -> Tune | None:
    """A `tune:` block without regard to the cells; None where it is malformed."""
    own: list[str] = []
    tune: Tune | None = parse(Tune, data, "tune", own)
    if tune is not None:
        for name, ends in tune.constraints.items():
            own += constraint_mistakes(f"tune.constraints.{name}", str(name), ends)
        shared = [seed for seed in tune.seeds if seed in report_seeds]
        if shared:
            own.append(f"tune.seeds: {shared} are also the suite's. Tune on other seeds than you report.")
    mistakes += own
    return None if own else tune


def constraint_mistakes(where: str, name: str, ends: Any) -> list[str]:
    if name != "kl" and not name.startswith("eval/"):
        return [f"{where}: is not a measure of an evaluation. Name kl, or eval/diversity, eval/<reward> and the like."]
    if not isinstance(ends, Mapping) or not ends or not ends.keys() <= {"min", "max"}:
        return [f"{where}: expected {{min: ...}}, {{max: ...}} or both, got {ends!r}."]
    expected = "a number of nats" if name == "kl" else "a number"
    wrong = {key: value for key, value in ends.items() if limit(name, value) is None}
    return [f"{where}.{key}: expected {expected}, got {value!r}." for key, value in wrong.items()]


def limit(name: str, value: Any) -> float | None:
    """The end of a constraint as a number; that of the KL, which is measured in nats, may say so."""
    given = amount(value)
    return None if given is None or (given.unit == NATS and name != "kl") else given.value


def spaces(
    tune: Tune, cells: Sequence[tuple[str, str]], mistakes: list[str]
) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """The place and the space, still as written, of each cell's label: one for all that learn, or one for each by name.

    Args:
        cells: label and algorithm of each; a space may be named after either.
    """
    learning = {label: algorithm for label, algorithm in cells if get("algorithm", algorithm).learns}
    names = list(dict.fromkeys([*learning, *learning.values()]))
    if not tune.space:
        mistakes.append("tune.space: is empty. Give a key with {low, high} or {choices}.")
        return {}
    if not tune.space.keys() & {name for cell in cells for name in cell}:
        return dict.fromkeys(learning, ("tune.space", tune.space))
    for name, space in tune.space.items():
        if name not in names:
            mistakes.append(f"tune.space.{name}: {unknown('algorithm of this suite', name, names)}")
        elif not isinstance(space, Mapping) or not space:
            mistakes.append(f"tune.space.{name}: expected keys with {{low, high}} or {{choices}}, got {space!r}.")
    chosen = {label: label if label in tune.space else algorithm for label, algorithm in learning.items()}
    missing = [label for label, name in chosen.items() if name not in tune.space]
    if tune.equal_budget and missing:
        mistakes.append(f"tune.space: equal budgets need a space for every algorithm; none for {', '.join(missing)}.")
    return {
        label: (f"tune.space.{name}", tune.space[name])
        for label, name in chosen.items()
        if isinstance(tune.space.get(name), Mapping)
    }
