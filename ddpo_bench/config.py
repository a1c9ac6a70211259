"""Typed configuration of one run: all mistakes at once, each with its place and remedy."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ddpo_bench import registry
from ddpo_bench.fingerprints import Inputs
from ddpo_bench.held_out import EvaluationPrompts, too_few
from ddpo_bench.options import LARGEST_COUNT, LARGEST_SEED, bound_mistakes, is_required, option, options_of

# Keys that do not change what a run computes, hence not its identity.
EXECUTION_KEYS = ("seed", "logger", "checkpoints_kept", "checkpoint_seconds")


class ConfigError(Exception):
    """What is wrong in a configuration, one line a mistake."""

    def __init__(self, mistakes: list[str]):
        self.mistakes = [" ".join(mistake.split("\n")) for mistake in mistakes]
        super().__init__("\n".join(self.mistakes))


@dataclass(frozen=True)
class Choice:
    """A plugin by name with its options, defaults filled in."""

    kind: str
    name: str
    options: dict[str, Any]

    def build(self) -> Any:
        """Make the plugin object."""
        return registry.get(self.kind, self.name)(**self.options)

    @functools.cached_property
    def label(self) -> str:
        """What tells this choice from others of its kind, in metrics and tables."""
        return registry.label(self.kind, self.build())

    @functools.cached_property
    def inputs(self) -> Inputs:
        """The files that the plugin reads, as they were when this was first asked for."""
        plugin = self.build()
        return plugin.inputs() if hasattr(plugin, "inputs") else {}

    def __str__(self) -> str:
        return self.name


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


def plugin(kind: str, name: str, help: str) -> Any:
    """A RunConfig field that holds a plugin; `name` is the default choice."""
    metadata = {"kind": kind, "name": name, "help": help}
    return field(default_factory=lambda: choose(kind, {}, kind, []), metadata=metadata)


@dataclass(frozen=True)
class RunConfig:
    """One training: everything that decides its numbers."""

    policy: Choice = plugin("policy", "stable_diffusion", "the diffusion model that is trained")
    sampler: Choice = plugin("sampler", "ddim", "how a trajectory is sampled, and the law of each of its steps")
    prompts: Choice = plugin("prompts", "simple_animals", "where prompts come from")
    reward: Choice = plugin("reward", "jpeg_compressibility", "what images are worth")
    algorithm: Choice = plugin("algorithm", "ppo", "how the policy is improved")
    advantages: Choice = plugin("advantages", "per_prompt", "how rewards become the credit of a trajectory")
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


@functools.lru_cache(maxsize=256)
def type_hints(cls: type) -> dict[str, Any]:
    """The types of a dataclass's fields; evaluating them is half of what a large suite's plan takes."""
    return typing.get_type_hints(cls)


def parse(cls: type, data: Any, where: str, mistakes: list[str]) -> Any:
    """Build dataclass `cls` from a mapping, appending to `mistakes`; what could not be parsed keeps its default."""
    if not isinstance(data, Mapping):
        mistakes.append(f"{where or 'top level'}: expected a mapping of keys, got {data!r}.")
        return None
    prefix = f"{where}." if where else ""
    hints = type_hints(cls)
    known = options_of(cls)
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in known:
            newer = getattr(cls, "renamed", {}).get(key)
            wrong = f"is called {newer} now." if newer else registry.unknown("key", key, known)
            mistakes.append(f"{prefix}{key}: {wrong}")
        elif kind := known[key].metadata.get("kind"):
            values[key] = choose(kind, value, prefix + key, mistakes)
        else:
            own: list[str] = []
            values[key] = convert(hints[key], value, prefix + key, own)
            mistakes += own or bound_mistakes(known[key], values[key], prefix + key)
    for name, f in known.items():
        if is_required(f) and name not in data:
            mistakes.append(f"{prefix}{name}: is required.")
    if mistakes:
        return None
    try:
        return cls(**values)
    except ValueError as error:  # a plugin's own check of its options
        mistakes.append(f"{where or 'top level'}: {error}")
        return None


def choose(kind: str, data: Any, where: str, mistakes: list[str]) -> Any:
    """A Choice from `name` or {name: ..., options...}, its options checked against the plugin's dataclass fields.

    Options without a name are the default plugin's.
    """
    if isinstance(data, str):
        data = {"name": data}
    name = data.get("name", default_name(kind)) if isinstance(data, Mapping) else None
    if not isinstance(name, str):
        mistakes.append(f"{where}: give a name, for example {{name: {default_name(kind)}}}; got {data!r}.")
        return None
    if kind == "reward" and name.startswith("python:"):
        data = {
            "name": "python",
            "function": name.removeprefix("python:"),
            **{k: v for k, v in data.items() if k != "name"},
        }
        name = "python"
    try:
        cls = registry.get(kind, name)
    except registry.UnknownName as error:
        mistakes.append(f"{where}: {error}")
        return None
    own: list[str] = []
    made = parse(cls, {key: value for key, value in data.items() if key != "name"}, where, own)
    mistakes += own
    if own:
        return None
    return Choice(kind, name, {f.name: getattr(made, f.name) for f in dataclasses.fields(cls) if f.init})


def default_name(kind: str) -> str:
    """The plugin of a kind that a configuration gets where it names none."""
    return next(f.metadata["name"] for f in dataclasses.fields(RunConfig) if f.metadata.get("kind") == kind)


def convert(hint: Any, value: Any, where: str, mistakes: list[str]) -> Any:
    """`value` as the annotated type, or a mistake."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        choices = typing.get_args(hint)
        if not any(value == choice and type(value) is type(choice) for choice in choices):
            mistakes.append(f"{where}: {registry.unknown('value', value, map(str, choices))}")
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in typing.get_args(hint):
            return None
        (hint,) = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        return convert(hint, value, where, mistakes)
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            mistakes.append(f"{where}: expected a list, got {value!r}.")
            return value
        inner = typing.get_args(hint)[0]
        return origin(convert(inner, item, f"{where}[{i}]", mistakes) for i, item in enumerate(value))
    if hasattr(hint, "parse"):  # a class that reads itself, as a quantity from "1.6 nats"
        try:
            return hint.parse(value)
        except ValueError as error:
            mistakes.append(f"{where}: {error}")
            return value
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return parse(hint, value, where, mistakes)
    return scalar(hint, value, where, mistakes)


def scalar(hint: Any, value: Any, where: str, mistakes: list[str]) -> Any:
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 1e-4 as text
        except (ValueError, OverflowError):
            pass
    elif isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "text", dict: "a mapping"}
    mistakes.append(f"{where}: expected {names.get(hint, hint)}, got {value!r}.")
    return value


def to_plain(value: Any) -> Any:
    """Dataclasses and tuples as mappings and lists, quantities as text, ready for YAML and JSON."""
    if hasattr(value, "plain"):  # as a quantity is "1.6 nats"
        return value.plain()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value
