"""The typed configuration of one run; all mistakes are reported at once, each with its place and remedy."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ddpo_bench.choices import Choice, to_plain
from ddpo_bench.fingerprints import Inputs
from ddpo_bench.held_out import EvaluationPrompts, too_few
from ddpo_bench.judge import SHIPPED, SUITE, Judges
from ddpo_bench.options import LARGEST_COUNT, LARGEST_SEED, option
from ddpo_bench.parsing import ConfigError, choose, parse

# Keys that do not change what a run computes, and so not its identity.
EXECUTION_KEYS = (
    "seed",
    "compile",
    "gradient_checkpointing",
    "micro_batch",
    "rollout_device",
    "tf32",
    "logger",
    "checkpoints_kept",
    "checkpoint_seconds",
    "resources",
    "scoring",
)
MOST_PROCESSES = 1024


@dataclass(frozen=True)
class Evaluation:
    """Evaluation before and after training, under the reward that is trained and every judge."""

    prompts: EvaluationPrompts = option(
        "held_out",
        "held_out: a fifth of all prompts, never drawn by training; training: all prompts, drawn by training too",
    )
    samples: int = option(
        64, "images of an evaluation, each of its own prompt and noise", minimum=1, maximum=LARGEST_COUNT, unit="images"
    )
    every: int = option(
        0,
        "epochs between evaluations during training; 0 evaluates only before and after it",
        minimum=0,
        maximum=LARGEST_COUNT,
        unit="epochs",
    )
    judges: Judges = option(
        (SUITE, SHIPPED),
        "rewards that score the images as well, each with `samples` if it is to score the first ones alone; suite: "
        "every reward that the suite trains; shipped: those that need no download, with default options",
    )


@dataclass(frozen=True)
class Scoring:
    """What is done where a reward fails; what a run computes is the same as long as none does."""

    timeout: float = option(
        0.0,
        "longest time to wait for the scores of a batch by a distant reward or your own function; 0: no limit",
        minimum=0,
        maximum=LARGEST_COUNT,
        unit="seconds",
    )
    on_error: Literal["fail", "drop"] = option(
        "fail",
        "a reward that raises an error, stalls or returns NaN: fail ends the run, which can be resumed; drop leaves "
        "the images concerned without a score",
    )


@dataclass(frozen=True)
class Resources:
    """What one run is trained on; the numbers of a run are the same, within rounding, whatever they are."""

    processes: int = option(
        1,
        "processes that share the work of the run; a launcher, such as torchrun, decides their number instead",
        minimum=1,
        maximum=MOST_PROCESSES,
    )
    gpus: int | Literal["auto"] = option(
        "auto",
        "GPUs of the run: 0, or one for each process; auto is one for each process where there are GPUs, 0 elsewhere",
        minimum=0,
        maximum=MOST_PROCESSES,
    )

    def __post_init__(self) -> None:
        if self.gpus not in ("auto", 0, self.processes):
            each = f" (one for each of {self.processes} processes)" if self.processes > 1 else ""
            raise ValueError(
                f"gpus must be 0, {self.processes}{each} or auto, "
                f"got {self.gpus}. For {self.gpus} GPUs, set processes to {self.gpus}."
            )

    def gpus_of(self, available: int) -> int:
        """The number of GPUs that the run uses on a machine with `available` ones, which may be too few."""
        if self.gpus == "auto":
            return self.processes if available else 0
        return self.gpus


def plugin(kind: str, help: str) -> Any:
    """A RunConfig field that holds a plugin; its default is that of `registry.DEFAULTS`."""
    return field(default_factory=lambda: choose(kind, {}, kind, []), metadata={"kind": kind, "help": help})


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the numbers of one training run."""

    policy: Choice = plugin("policy", "the diffusion model that is trained")
    sampler: Choice = plugin("sampler", "how a trajectory is sampled, and the transition law of each step")
    prompts: Choice = plugin("prompts", "where prompts come from")
    reward: Choice = plugin("reward", "how images are scored")
    algorithm: Choice = plugin("algorithm", "how the policy is improved")
    advantages: Choice = plugin("advantages", "how rewards become the advantages of trajectories")
    samples_per_epoch: int = option(
        128, "images, and so reward queries, in an epoch", minimum=1, maximum=LARGEST_COUNT, unit="images"
    )
    samples_per_prompt: int = option(
        1,
        "images of each prompt that an epoch draws; group advantages need at least 2",
        minimum=1,
        maximum=LARGEST_COUNT,
        unit="images",
    )
    micro_batch: int | Literal["auto"] = option(
        "auto",
        "samples in one forward pass, in sampling and in learning; auto is the most that fit on a GPU, up to 256, and "
        "up to 64 on a CPU",
        minimum=1,
        maximum=LARGEST_COUNT,
        unit="samples",
    )
    rollout_device: Literal["auto", "device", "host"] = option(
        "auto",
        "where an epoch's latents are kept; auto is host memory if they are over a quarter of a GPU's free memory",
    )
    ema: float = option(
        0.0,
        "decay, at every optimiser step, of the average of the trained weights that evaluations and pictures use; "
        "0 uses the weights themselves",
        minimum=0,
        below=1,
    )
    epochs: int = option(12, "rounds of sampling and learning", minimum=0, maximum=LARGEST_COUNT)
    backend: Literal["auto", "triton", "torch"] = option(
        "auto", "how the log-prob, KL and loss of a step are computed; auto is triton on GPUs, torch elsewhere"
    )
    compile: Literal["none", "regional"] = option(
        "none",
        "regional compiles the blocks that the trained network repeats, once a batch size; GPUs only: ignored on a CPU",
    )
    gradient_checkpointing: bool = option(
        False, "computes activations again in the backward pass: less memory, more time in learning, the same numbers"
    )
    tf32: bool = option(
        False, "lets GPUs round the factors of fp32 products to 10 bits of mantissa: faster fp32; no effect on a CPU"
    )
    seed: int = option(0, "seed of prompts, noise, shuffles and initial adapters", minimum=0, maximum=LARGEST_SEED)
    evaluation: Evaluation = option(Evaluation(), "evaluation before and after training")
    logger: Literal["none", "wandb", "trackio", "tensorboard"] = option(
        "none", "where metrics are logged in addition to metrics.jsonl; a resumed run continues there"
    )
    checkpoints_kept: int = option(2, "number of newest checkpoints that are kept", minimum=1, maximum=LARGEST_COUNT)
    checkpoint_seconds: float = option(
        10.0,
        "shortest time between checkpoints, which are written at the end of an epoch; 0 writes one after each epoch",
        minimum=0,
        maximum=LARGEST_COUNT,
        unit="seconds",
    )
    resources: Resources = option(Resources(), "processes and GPUs of the run")
    scoring: Scoring = option(Scoring(), "what is done where a reward fails")

    def to_dict(self) -> dict[str, Any]:
        """The configuration as nested mappings with all defaults, as config.yaml holds it."""
        plain: dict[str, Any] = {}
        for f in dataclasses.fields(self):
            plain[f.name] = to_plain(getattr(self, f.name))
        return plain

    def identity(self) -> str:
        """Twelve hex digits: a hash of the configuration without its seed, and the keys and options of execution.

        It includes the versions of the plugins, and the content of the files that they read in place of their paths.
        """
        plain = trained(self.to_dict())
        plain |= {key: choice.identity() for key, choice in self.choices.items()}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]

    def sharing(self, seen: dict[str, Choice]) -> RunConfig:
        """This configuration with the choices in `seen` where they are equal, so that a suite reads each file once."""
        shared: dict[str, Any] = {key: seen.setdefault(repr(choice), choice) for key, choice in self.choices.items()}
        return dataclasses.replace(self, **shared)

    def inputs(self) -> Inputs:
        """Hashes of the files that the run reads, by the key that names them, as they were for `identity`."""
        return self.inputs_of(lambda choice: choice.inputs)

    def inputs_now(self) -> Inputs:
        """Hashes of the files that the run reads, as they are now."""
        return self.inputs_of(lambda choice: dataclasses.replace(choice).inputs)

    def inputs_of(self, read: Callable[[Choice], Inputs]) -> Inputs:
        return {f"{key}.{option}": files for key, it in self.choices.items() for option, files in read(it).items()}

    def execution_options(self) -> list[str]:
        """The options of plugins that decide no number, by their keys."""
        return [f"{key}.{option}" for key, choice in self.choices.items() for option in choice.execution_options()]

    @property
    def choices(self) -> dict[str, Choice]:
        """The plugins, by key."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if "kind" in f.metadata}


def trained(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Of a configuration as nested mappings, what decides the numbers that are trained, the seed excepted."""
    return {key: value for key, value in without_judges(plain).items() if key not in EXECUTION_KEYS}


def without_judges(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The same without the judges: a run that is done need not be trained again because there is a further one."""
    evaluation = {key: value for key, value in plain.get("evaluation", {}).items() if key != "judges"}
    return {**plain, **({"evaluation": evaluation} if evaluation else {})}


def run_config(data: Mapping[str, Any], source: str) -> RunConfig:
    """Make a RunConfig of nested mappings.

    Args:
        data: the mappings, as read from YAML.
        source: what error lines begin with, usually the file's name.
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
    plugins = (config.algorithm.build(), config.advantages.build())
    found = [mistake for plugin in plugins if hasattr(plugin, "mistakes") for mistake in plugin.mistakes(config)]
    found += config.reward.build().mistakes_with(config)
    lack = too_few(config.prompts.build(), config.evaluation.prompts)
    return [*found, f"prompts: {lack}"] if lack else found
