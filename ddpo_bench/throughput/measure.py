"""Measurements of settings: rounds of sampling, decoding, scoring and learning, the settings of a micro-batch in turn.

A round samples trajectories of fewer steps, and learns from fewer transitions, than an epoch does where those would
take too long; both are sums of equal steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from ddpo_bench.algorithm_bases.trajectory import GradientAlgorithm
from ddpo_bench.architectures.flops import PassFlops
from ddpo_bench.microbench.measure import Advance
from ddpo_bench.protocols import Metadata, Policy, Reward
from ddpo_bench.reward_bases.checking import score
from ddpo_bench.throughput.loops import LEAST_STEPS, Work, loop_of
from ddpo_bench.throughput.measured import PHASES, Measured, Round, precision_of, transitions_of
from ddpo_bench.throughput.memory import is_out_of_memory, peak_memory, release_memory, reset_peak_memory
from ddpo_bench.throughput.settings import Setting
from ddpo_bench.throughput.stopwatch import Stopwatch
from ddpo_bench.training.rollout import draw_prompts, prompt_sides
from ddpo_bench.training.sampling import decode_in_batches

ROUNDS = 3
SAMPLING = 0.4  # share of a round's time; learning from a transition takes about three times as long as sampling it


@dataclass(frozen=True)
class Bench:
    """What settings of one network and micro-batch share.

    Attributes:
        policy: started.
        reward: started; None where it is not measured.
        flops, peak_flops: as for `Measured`.
        seconds: that a setting may take, about.
    """

    policy: Policy
    reward: Reward | None
    flops: PassFlops
    peak_flops: float
    seconds: float


def measure(bench: Bench, settings: Sequence[Setting], advance: Advance) -> list[Measured]:
    """Measure settings of one network and micro-batch, in turn.

    Args:
        bench: what they share.
        settings: the settings.
        advance: called before each is tried, and before each of its rounds.
    """
    size = f"micro-batch {settings[0].micro_batch}"
    works = {setting: work_of(bench, setting) for setting in settings}
    tried: dict[Setting, list[Round]] = {}
    for setting, work in works.items():
        advance(f"{size}, trial", setting.name)
        tried[setting] = trial(work, setting)
    steps, chunks = fitted([rounds[-1] for rounds in tried.values() if rounds], settings, bench.seconds)
    rounds: dict[Setting, list[Round]] = {setting: [] for setting in settings}
    sized = {setting: replace(work, steps=steps, chunks=chunks) for setting, work in works.items() if tried[setting]}
    for number in range(1, ROUNDS + 1):
        for setting, work in sized.items():
            advance(f"{size}, round {number} of {ROUNDS}", setting.name)
            rounds[setting] += [made] if (made := one_round(work, setting)) else []
    return [row(bench, setting, rounds[setting], steps, chunks) for setting in settings]


def trial(work: Work, setting: Setting) -> list[Round]:
    """Two short rounds, the first of which may compile; empty where memory does not suffice."""
    rounds = [one_round(work, setting) for _ in range(2)]
    return [made for made in rounds if made] if all(rounds) else []


def work_of(bench: Bench, setting: Setting) -> Work:
    draw, _ = prompt_sides(setting.config, bench.policy)
    prompts: list[str]
    metadata: list[Metadata]
    prompts, metadata = draw_prompts(draw, np.random.default_rng(0), setting.micro_batch, repeats=1)
    return Work(setting.config, bench.policy, bench.policy.encode(prompts), prompts, metadata, bench.reward)


def one_round(work: Work, setting: Setting) -> Round | None:
    """One round of one loop, with an optimiser of its own; None where memory does not suffice."""
    device = work.policy.device
    reset_peak_memory(device)
    made = None
    try:
        seconds = seconds_of_round(work, setting)
        made = Round(seconds, peak_memory(device))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    for parameter in work.policy.parameters():
        parameter.grad = None
    if made is None:
        release_memory()
    return made


def seconds_of_round(work: Work, setting: Setting) -> dict[str, float]:
    stopwatch = Stopwatch(work.policy.device)
    loop = loop_of(setting.loop, work)
    with stopwatch.phase("sampling"):
        x_0 = loop.sample(stopwatch)
    with stopwatch.phase("decoding"):
        images = decode_in_batches(work.policy, x_0, setting.micro_batch)
    if work.reward:
        with stopwatch.phase("reward"):
            score(work.reward, images, work.prompts, work.metadata)
    if loop.learns:
        with stopwatch.phase("learning"):
            loop.learn()
    seconds = stopwatch.seconds()
    seconds["law"] = seconds.pop("sampling") - seconds["network"]
    return seconds


def fitted(tried: Sequence[Round], settings: Sequence[Setting], seconds: float) -> tuple[int, int]:
    """Steps of a trajectory, and micro-batches in an optimiser step, that fit the time of the slowest loop's round.

    Args:
        tried: rounds of the smallest work.
        settings: of which none has fewer of either in an epoch.
        seconds: that all rounds of a setting may take.
    """
    steps, chunks = LEAST_STEPS, 1
    if tried:
        step = max(made.seconds["network"] + made.seconds["law"] for made in tried) / LEAST_STEPS
        chunk = max(made.seconds.get("learning", 0.0) for made in tried)
        other = max(made.seconds["decoding"] + made.seconds.get("reward", 0.0) for made in tried)
        room = max(0.0, seconds / ROUNDS - other)
        steps = max(steps, int(room * (SAMPLING if chunk else 1) / step))
        chunks = max(chunks, int(room * (1 - SAMPLING) / chunk)) if chunk else chunks
    return min(steps, *(setting.steps for setting in settings)), min(chunks, *map(accumulated, settings))


def accumulated(setting: Setting) -> int:
    """Micro-batches in an optimiser step of an epoch."""
    config = setting.config
    algorithm = config.algorithm.build()
    updates = algorithm.minibatches if isinstance(algorithm, GradientAlgorithm) else 1
    return max(1, config.samples_per_epoch * transitions_of(setting) // updates // setting.micro_batch)


def row(bench: Bench, setting: Setting, rounds: Sequence[Round], steps: int, chunks: int) -> Measured:
    transitions = transitions_of(setting) * setting.config.algorithm.options.get("passes", 1)
    found = {
        phase: median(made.seconds[phase] for made in rounds)
        for phase in PHASES
        if len(rounds) == ROUNDS and phase in rounds[0].seconds
    }
    an_image = {
        "network": setting.steps / steps,
        "law": setting.steps / steps,
        "learning": transitions / chunks,
    }
    return Measured(
        setting,
        precision=precision_of(bench.policy, setting.config),
        flops=bench.flops,
        peak_flops=bench.peak_flops,
        transitions=transitions,
        seconds={phase: time * an_image.get(phase, 1) / setting.micro_batch for phase, time in found.items()},
        memory=max(made.peak for made in rounds) if found else None,
    )
