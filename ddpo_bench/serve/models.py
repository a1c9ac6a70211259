"""The models that can be chosen: runs with a checkpoint, exports, and of each family the model before training.

A family is what can be compared from the same noise: runs of one model, whatever of it they trained.  Of a run's
configuration only what sampling needs is read, so that no code is run that a reward or a prompt function names.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ddpo_bench.config import RunConfig, run_config
from ddpo_bench.run_folder.places import EXPORTED, cell_of, seed_of
from ddpo_bench.run_folder.status import read_config, read_provenance
from ddpo_bench.serve import folders
from ddpo_bench.training.checkpoint import newest
from ddpo_bench.training.generate import of_export
from ddpo_bench.yaml_file import load_yaml

SAMPLED = ("policy", "sampler", "micro_batch", "tf32", "backend", "seed")  # keys that decide a picture
NOT_OF_THE_FAMILY = ("adapter", "guidance_scale")
UNTRAINED = "epoch-0000"  # the checkpoint before the first epoch, of the pretrained model
EXAMPLES = 6  # prompts


@dataclass(frozen=True)
class ServedModel:
    """A model that can be chosen.

    Attributes:
        id: under which clients ask for it.
        kind: pretrained, run or lora (an exported folder, also of a fully trained model).
        suite, algorithm, reward: where it comes from; empty of a pretrained one.
        folder: of a run or an export.
        source: the configuration's file; None for the defaults.
        config: what decides its pictures.
        before: the same of the model with which training began.
        family: the models that it can be compared with.
    """

    id: str
    label: str
    kind: str
    suite: str
    algorithm: str
    reward: str
    seed: int | None
    folder: Path | None
    source: Path | None
    config: RunConfig
    before: RunConfig
    family: str

    @property
    def run(self) -> Path | None:
        """The run whose checkpoint holds its weights."""
        return self.folder if self.kind == "run" else None

    @property
    def version(self) -> str:
        """Changes when a run writes another checkpoint."""
        return str(newest(self.run)) if self.run else ""


@dataclass(frozen=True)
class Family:
    """Models that can be compared from the same noise.

    Attributes:
        models: the pretrained one first.
    """

    name: str
    base: str
    models: tuple[ServedModel, ...]

    @property
    def config(self) -> RunConfig:
        return self.models[0].config


def families(places: Iterable[Path]) -> list[Family]:
    """All that can be chosen; where nothing was trained, the embedded model alone."""
    trained: dict[str, list[ServedModel]] = {}
    for model in trained_models(list(places)):
        trained.setdefault(model.family, []).append(model)
    named: dict[str, Family] = {}
    for models in trained.values() or [[]]:
        pretrained = pretrained_model(models)
        base = base_of(pretrained.config)
        name = folders.free_name(f"{pretrained.config.policy.name}/{base}", named)
        members = (replace(pretrained, id=f"pretrained/{name}"), *models)
        named[name] = Family(name, base, tuple(replace(model, family=name) for model in members))
    return list(named.values())


def pretrained_model(models: Sequence[ServedModel]) -> ServedModel:
    """What the models of a family were before training, with a LoRA's configuration where there is one.

    Its weights are frozen, so that it and the LoRA runs share them.
    """
    like = min(models, key=lambda model: adapter(model.before) != "lora", default=None)
    config, source = (like.before, like.source) if like else (default_config(), None)
    return ServedModel("", "pretrained", "pretrained", "", "", "", None, None, source, config, config, "")


def trained_models(places: list[Path]) -> Iterator[ServedModel]:
    """Runs and exports, each with its options that it shares with its family in place of the family's name."""
    for name, run in folders.runs(places).items():
        newest_file = newest(run)
        if newest_file is not None and newest_file.stem != UNTRAINED:
            label = f"{cell_of(run)} seed {seed_of(run)}"
            yield from readable(name, label, "run", name.split("/")[0], run, run / "config.yaml")
    for name, folder in folders.exports(places).items():
        yield from readable(name, folder.name, "lora", "", folder, folder / EXPORTED)


def readable(id: str, label: str, kind: str, suite: str, folder: Path, file: Path) -> Iterator[ServedModel]:
    """The model of a folder; none, and a line on stderr, where its configuration cannot be read."""
    try:
        config, facts = sampling_config(file, file.stat().st_mtime_ns)
        reward = read_provenance(folder).get("reward") or facts["reward"]
    except Exception as error:  # of damaged files, of plugins that are not installed
        tell_once(f"{folder}: is not served: {str(error) or type(error).__name__}")
        return
    trained = of_export(config, folder) if kind == "lora" else config
    names = facts["algorithm"], reward, config.seed
    yield ServedModel(id, label, kind, suite, *names, folder, file, trained, config, facts["family"])


@functools.lru_cache(maxsize=10_000)
def sampling_config(file: Path, changed: int) -> tuple[RunConfig, dict[str, str]]:
    """What of a configuration decides pictures, and what is shown of the rest.

    Args:
        changed: when the file last changed, so that a new one is read anew.
    """
    data = read_config(file.parent) if file.name == "config.yaml" else load_yaml(file)
    config = run_config({key: data[key] for key in SAMPLED if key in data}, str(file))
    names = {kind: str(data.get(kind, {}).get("name", "")) for kind in ("algorithm", "reward")}
    shared = {key: value for key, value in config.policy.options.items() if key not in NOT_OF_THE_FAMILY}
    return config, {**names, "family": repr((config.policy.name, shared))}


@functools.cache
def tell_once(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@functools.cache
def default_config() -> RunConfig:
    return run_config({}, "defaults")


def adapter(config: RunConfig) -> str:
    found = config.policy.options.get("adapter")
    return str(getattr(found, "name", "full"))


def base_of(config: RunConfig) -> str:
    """The model's name, without the folders that it is in."""
    return Path(str(config.policy.options.get("model", config.policy.name))).name


def example_prompts(family: Family) -> list[str]:
    """Prompts on which its runs were evaluated, or on which the embedded model would be."""
    for run in filter(None, (model.run for model in family.models)):
        try:
            index = json.loads((run / "samples" / "index.json").read_text(encoding="utf-8"))
            return [str(prompt) for prompt in dict.fromkeys(index["prompts"])][:EXAMPLES]
        except (TypeError, OSError, ValueError, KeyError):  # a run of another version, or none
            continue
    return drawn_prompts()


@functools.cache
def drawn_prompts() -> list[str]:
    import numpy as np

    draw, rng = default_config().prompts.build(), np.random.default_rng(0)
    return list(dict.fromkeys(draw(rng)[0] for _ in range(2 * EXAMPLES)))[:EXAMPLES]
