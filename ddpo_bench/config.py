"""Typed configuration of one run: all mistakes at once, each with its place and remedy."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ddpo_bench import registry
from ddpo_bench.fingerprints import Inputs
from ddpo_bench.held_out import EvaluationPrompts, too_few
from ddpo_bench.options import LARGEST_COUNT, LARGEST_SEED, option
from ddpo_bench.parsing import Choice, ConfigError, choose, parse, to_plain

# Keys that do not change what a run computes, hence not its identity.
EXECUTION_KEYS = ("seed", "logger", "checkpoints_kept", "checkpoint_seconds")


@dataclass(frozen=True)
class Evaluation:
    """Evaluation before and after training, under every shipped reward that needs no extra."""

    prompts: EvaluationPrompts = option(
        "held_out", "held_out: prompts that training never draws, a fifth of all; training: those that it draws"
    )
    samples: int = option(
        64, "images, each with its own prompt and noise", minimum=1, maximum=LARGEST_COUNT, unit="images"
    )
    every: int = option(
        0,
        "epochs between evaluations within a run; 0 evaluates before and after only",
        minimum=0,
        maximum=LARGEST_COUNT,
        unit="epochs",
    )


def plugin(kind: str, help: str) -> Any:
    """A RunConfig field that holds a plugin, by default that of `registry.DEFAULTS`."""
    return field(default_factory=lambda: choose(kind, {}, kind, []), metadata={"kind": kind, "help": help})


@dataclass(frozen=True)
class RunConfig:
    """One training: everything that decides its numbers."""

    policy: Choice = plugin("policy", "the diffusion model that is trained")
    sampler: Choice = plugin("sampler", "how a trajectory is sampled, and the law of each of its steps")
    prompts: Choice = plugin("prompts", "where prompts come from")
    reward: Choice = plugin("reward", "what images are worth")
    algorithm: Choice = plugin("algorithm", "how the policy is improved")
    advantages: Choice = plugin("advantages", "how rewards become the credit of a trajectory")
    samples_per_epoch: int = option(
        128, "images, and reward queries, an epoch", minimum=1, maximum=LARGEST_COUNT, unit="images"
    )
    samples_per_prompt: int = option(
        1,
        "images of each prompt drawn in an epoch; group advantages need more than one",
        minimum=1,
        maximum=LARGEST_COUNT,
        unit="images",
    )
    micro_batch: int = option(
        64, "samples in one forward pass, in sampling and in learning", minimum=1, maximum=LARGEST_COUNT, unit="samples"
    )
    epochs: int = option(12, "rounds of sampling and learning", minimum=0, maximum=LARGEST_COUNT)
    backend: Literal["auto", "triton", "torch"] = option(
        "auto", "what computes a step's log-prob, KL and loss; auto is triton on GPUs"
    )
    seed: int = option(0, "of prompts, noise, shuffles and initial adapters", minimum=0, maximum=LARGEST_SEED)
    evaluation: Evaluation = option(Evaluation(), "held-out evaluation")
    logger: Literal["none", "wandb", "tensorboard"] = option(
        "none", "where metrics go besides metrics.jsonl, which is always written"
    )
    checkpoints_kept: int = option(2, "newest checkpoints that stay on disk", minimum=1, maximum=LARGEST_COUNT)
    checkpoint_seconds: float = option(
        10.0,
        "least time from one checkpoint to the next, which ends an epoch; 0 makes one after every epoch",
        minimum=0,
        maximum=LARGEST_COUNT,
        unit="seconds",
    )

    def to_dict(self) -> dict[str, Any]:
        """Plain nested mappings, defaults visible: what config.yaml holds."""
        plain: dict[str, Any] = {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Choice):
                plain[f.name] = {"name": value.name, **to_plain(value.options)}
            else:
                plain[f.name] = to_plain(value)
        return plain

    def identity(self) -> str:
        """Twelve hex digits that name this configuration without its seed and execution, plus what plugins are.

        That is their versions and, in place of the paths that name them, the files that they read.
        """
        plain = {key: value for key, value in self.to_dict().items() if key not in EXECUTION_KEYS}
        for key, choice in self.choices.items():
            version = getattr(registry.get(choice.kind, choice.name), "version", 1)
            plain[key] |= {**choice.inputs, "version": version}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]

    def sharing(self, seen: dict[str, Choice]) -> RunConfig:
        """The same with choices that were seen before, so that cells of a suite look at what they read once."""
        shared: dict[str, Any] = {key: seen.setdefault(repr(choice), choice) for key, choice in self.choices.items()}
        return dataclasses.replace(self, **shared)

    def inputs(self) -> Inputs:
        """The files that the run reads, by the key that names them, as they were when the identity was taken."""
        return self.inputs_of(lambda choice: choice.inputs)

    def inputs_now(self) -> Inputs:
        """The files that the run reads, as they are at this moment."""
        return self.inputs_of(lambda choice: dataclasses.replace(choice).inputs)

    def inputs_of(self, read: Callable[[Choice], Inputs]) -> Inputs:
        return {f"{key}.{option}": files for key, it in self.choices.items() for option, files in read(it).items()}

    @property
    def choices(self) -> dict[str, Choice]:
        """The plugins, by key."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if "kind" in f.metadata}


def run_config(data: Mapping[str, Any], source: str) -> RunConfig:
    """A RunConfig from plain mappings.

    Args:
        source: what error lines begin with, mostly the file's name.
    Raises:
        ConfigError: naming every mistake.
    """
    mistakes: list[str] = []
    config = parse(RunConfig, data, "", mistakes)
    if not mistakes:
        mistakes += inconsistencies(config)
    if mistakes:
        raise ConfigError([f"{source}: {mistake}" for mistake in mistakes])
    return config


def inconsistencies(config: RunConfig) -> list[str]:
    """Mistakes that only several keys together show."""
    if config.samples_per_epoch % config.samples_per_prompt:
        return [f"samples_per_epoch: must be a multiple of samples_per_prompt ({config.samples_per_prompt})."]
    advantages = config.advantages.build()
    found = advantages.mistakes(config) if hasattr(advantages, "mistakes") else []
    lack = too_few(config.prompts.build(), config.evaluation.prompts)
    return [*found, f"prompts: {lack}"] if lack else found
