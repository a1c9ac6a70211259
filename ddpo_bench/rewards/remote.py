"""A reward that is computed by a reward server, on another GPU or host."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import Metadata, Reward, RewardOutput
from ddpo_bench.registry import label, register
from ddpo_bench.reward_bases.api_key import url_mistake, variable_mistake
from ddpo_bench.reward_bases.checking import RewardError
from ddpo_bench.reward_bases.remote_client import Away, Refused, RemoteClient
from ddpo_bench.reward_bases.remote_format import TOKEN_VARIABLE, read_response, request_of

NOT_INSTALLED = 'needs httpx and tenacity, which are not installed: pip install "ddpo-bench[remote]"'


@register("reward", "remote")
@dataclass
class Remote(Reward):
    """A reward of a reward server (ddpo-bench reward-server), on another GPU or host; it may be restarted meanwhile.

    A run is known by the reward's name, and by its fingerprint where one is given; not by the server's address.
    """

    reward: str = option(MISSING, "the reward's name at the server")
    fingerprint: str = option(
        "", "what the server says of the reward's options and files; another is refused; empty: any", in_label=False
    )
    images: Literal["raw", "png"] = option(
        "raw", "how images are sent: raw as floats, which are scored as here; png as 8 bits, about a tenth of the size"
    )
    url: str = option("http://127.0.0.1:8100", "the server's address", execution=True)
    token_variable: str = option(TOKEN_VARIABLE, "the environment variable that holds its token", execution=True)
    batch_size: int = option(
        32, "images of one request", minimum=1, maximum=LARGEST_COUNT, unit="images", execution=True
    )
    timeout: float = option(
        600.0, "time to wait for a response", above=0, maximum=LARGEST_COUNT, unit="seconds", execution=True
    )
    patience: float = option(
        600.0,
        "time to wait while the server is away",
        minimum=0,
        maximum=LARGEST_COUNT,
        unit="seconds",
        execution=True,
    )
    client: RemoteClient = field(init=False, repr=False, compare=False)
    served: str = field(init=False, repr=False, compare=False)  # the fingerprint of what the server has

    waits_for: ClassVar[Literal["network", "gpu", "cpu"]] = "network"

    def __post_init__(self) -> None:
        if mistake := url_mistake(self.url):
            raise ValueError(f"url: {mistake}")
        if mistake := variable_mistake(self.token_variable):
            raise ValueError(f"token_variable: {mistake}")
        self.client = RemoteClient(self.url.rstrip("/"), self.token_variable, self.timeout, self.patience)

    def mistakes(self) -> list[str]:
        """What the server says now; it must be up before a run is begun."""
        if not all(map(importlib.util.find_spec, ("httpx", "tenacity"))):
            return [f"reward: {label('reward', self)} {NOT_INSTALLED}."]
        try:
            self.accept(self.client.fingerprint(self.reward))
        except Refused as refusal:
            return [f"reward.{refusal.option}: {refusal}"]
        except Away as error:
            return [f"reward.url: no reward server answers at {self.url} ({error}). Start ddpo-bench reward-server."]
        return []

    def accept(self, fingerprint: str) -> str:
        if self.fingerprint in ("", fingerprint):
            return fingerprint
        told = f"{self.url} has {self.reward} with the fingerprint {fingerprint}, not {self.fingerprint}"
        raise Refused("fingerprint", f"{told}. Start it with the options and files of then, or change the fingerprint.")

    def start(self, device: torch.device) -> None:
        """Ask the server for the reward, and wait for it where it is being started."""
        try:
            self.served = self.accept(self.client.patiently(self.client.fingerprint, reward=self.reward))
        except RewardError as error:
            raise self.named(error) from error

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        try:
            bodies = self.requests(images, prompts, metadata)
            outputs = [read_response(body) for body in self.client.scores(self.reward, self.served, bodies)]
        except RewardError as error:
            raise self.named(error) from error
        info: dict[str, list[Any]] = {key: [] for output in outputs for key in output.info}
        for output in outputs:
            for key, values in info.items():
                values += output.info.get(key, [None] * len(output.scores))
        return RewardOutput(torch.cat([output.scores for output in outputs]), info)

    def requests(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> Iterator[bytes]:
        for first in range(0, len(images), self.batch_size):
            some = slice(first, first + self.batch_size)
            yield request_of(images[some], prompts[some], metadata[some], self.images == "png")

    def named(self, error: RewardError) -> RewardError:
        return RewardError(f"reward {label('reward', self)}: {error}")

    def state_dict(self) -> dict[str, Any]:
        return {"fingerprint": self.served}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Refuse to go on with scores of another reward than those so far.

        Raises:
            RewardError: where the server has another one by now.
        """
        if state["fingerprint"] != self.served:
            told = f"{self.url} has another {self.reward} (fingerprint {self.served}) than the run began with"
            raise self.named(RewardError(f"{told} ({state['fingerprint']}). Serve that one, or begin another run."))
