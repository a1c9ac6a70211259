"""What a reward server serves, and its limits: the YAML file of `ddpo-bench reward-server`."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import MISSING, dataclass, field
from pathlib import Path

import torch

from ddpo_bench.choices import Choice
from ddpo_bench.config import ConfigError
from ddpo_bench.options import option
from ddpo_bench.parsing import parse
from ddpo_bench.protocols import Reward
from ddpo_bench.yaml_file import load_yaml

NAME = r"[A-Za-z0-9._-]{1,100}"


@dataclass(frozen=True)
class Served:
    """A reward that is served."""

    reward: Choice = field(metadata={"kind": "reward", "help": "the reward, with its options"})
    name: str | None = option(None, "the name by which clients ask for it; null is the reward's own")

    def __post_init__(self) -> None:
        if self.name is not None and not re.fullmatch(NAME, self.name):
            raise ValueError(f"name: must be letters, digits, dots, dashes and underscores, got {self.name!r}.")
        if type(self.reward.build()).of_all is not Reward.of_all:
            raise ValueError(f"reward: {self.reward} depends on all samples of an epoch. Serve its parts instead.")

    @property
    def known_as(self) -> str:
        return self.name or self.reward.name

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits: a hash of the reward's name, options, files and version."""
        return hashlib.sha256(json.dumps(self.reward.identity(), sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Settings:
    """Of a reward server."""

    rewards: list[Served] = option(MISSING, "what is served, each as {reward: ...}, with a name of its own if needed")
    device: str = option("auto", "where rewards run that do not say so themselves; auto is the first GPU, or the CPU")
    most_images: int = option(256, "images of one request", minimum=1, maximum=100_000)
    largest_body: int = option(512, "size of a request", minimum=1, maximum=100_000, unit="MB")
    most_waiting: int = option(
        16, "requests at once; further ones are told to come back", minimum=1, maximum=10_000, unit="requests"
    )

    def __post_init__(self) -> None:
        if not self.rewards:
            raise ValueError("rewards: is empty. Give at least one, as {reward: pickscore}.")
        try:
            torch.device("cpu" if self.device == "auto" else self.device)
        except RuntimeError:
            raise ValueError(f"device: expected auto, or one such as cpu or cuda:1, got {self.device!r}.") from None
        names = [one.known_as for one in self.rewards]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"rewards: two are called {twice[0]}. Give each a name of its own.")


def load_settings(path: Path) -> Settings:
    """Read the settings.

    Raises:
        ConfigError: naming every mistake.
    """
    mistakes: list[str] = []
    settings: Settings | None = parse(Settings, load_yaml(path), "", mistakes)
    for place, one in enumerate(settings.rewards if settings and not mistakes else []):
        found = one.reward.build().mistakes()
        mistakes += [mistake.replace("reward", f"rewards[{place}].reward", 1) for mistake in found]
    if mistakes or settings is None:
        raise ConfigError([f"{path}: {mistake.removeprefix('top level: ')}" for mistake in mistakes])
    return settings
