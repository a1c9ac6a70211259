"""What rewards that ask a vision-language model share: the endpoint's options, requests with pictures, measurements."""

from __future__ import annotations

import base64
import importlib.util
import io
import math
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field
from typing import Any, ClassVar, Literal

import torch
from PIL import Image
from torch import Tensor

from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import Reward
from ddpo_bench.reward_bases import answer_cache
from ddpo_bench.reward_bases.api_key import key_mistake, url_mistake, variable_mistake
from ddpo_bench.reward_bases.chat_client import NOT_INSTALLED, ChatClient, NoAnswer, Parse
from ddpo_bench.reward_bases.checking import FAILURE, RewardError
from ddpo_bench.reward_bases.eight_bit import eight_bit

FIRST_TOKEN: dict[str, Any] = {"max_tokens": 1, "logprobs": True, "top_logprobs": 20}  # keys of a request
MEASURED = ("prompt_tokens", "completion_tokens", "seconds")


@dataclass
class VisionModel(Reward):
    """A reward that asks a vision-language model behind an OpenAI-compatible endpoint."""

    model: str = option(MISSING, "the model's name at the endpoint")
    url: str = option("http://localhost:8000/v1", "the endpoint, up to /v1", execution=True)
    api_key_variable: str = option("", "the environment variable that holds the API key; none if empty", execution=True)
    image_format: Literal["png", "jpeg"] = option("png", "how images are sent; jpeg is smaller, of quality 95")
    concurrency: int = option(
        16, "number of requests at once, of each process", minimum=1, maximum=1024, execution=True
    )
    attempts: int = option(
        6, "number of times that a request is sent before it has failed", minimum=1, maximum=100, execution=True
    )
    timeout: float = option(
        60.0, "time to wait for a response", above=0, maximum=LARGEST_COUNT, unit="s", execution=True
    )
    input_price: float = option(
        0.0, "price of a million tokens that are read, for the metrics", minimum=0, maximum=1e6, execution=True
    )
    output_price: float = option(
        0.0, "price of a million tokens that are written", minimum=0, maximum=1e6, execution=True
    )
    client: ChatClient = field(init=False, repr=False, compare=False)

    waits_for: ClassVar[Literal["network", "gpu", "cpu"]] = "network"

    def __post_init__(self) -> None:
        if mistake := url_mistake(self.url):
            raise ValueError(f"url: {mistake}")
        if self.api_key_variable and (mistake := variable_mistake(self.api_key_variable)):
            raise ValueError(f"api_key_variable: {mistake}")
        self.client = ChatClient(self.url, self.api_key_variable, self.concurrency, self.attempts, self.timeout)

    def mistakes(self) -> list[str]:
        if not all(map(importlib.util.find_spec, ("httpx", "tenacity"))):
            return [f"reward: {self.label} {NOT_INSTALLED}."]
        mistake = key_mistake(self.api_key_variable)
        return [f"reward.api_key_variable: {mistake}"] if mistake else []

    def start(self, device: torch.device) -> None:
        if mistakes := self.mistakes():
            raise RewardError(mistakes[0])
        answer_cache.known([])  # cannot be opened: told before anything is sampled

    @property
    def label(self) -> str:
        raise NotImplementedError

    def ask(self, asked: Iterable[tuple[str, str]], answered: dict[str, Any], parse: Parse) -> list[Any]:
        """Answers, or NoAnswer, to pairs of a picture's URL and a question.

        Args:
            answered: further keys of a request, which say in what form it is answered.
        """
        requests = [
            {"model": self.model, "temperature": 0, "messages": [message(url, question)], **answered}
            for url, question in asked
        ]
        return self.client.ask(requests, parse)

    def measured(self, answers: list[list[Any]]) -> dict[str, list[Any]]:
        """The info of N images: tokens, seconds and cost of their answers, and why an image has no score."""
        info: dict[str, list[Any]] = {FAILURE: [], "cost": [], **{name: [] for name in MEASURED}}
        for own in answers:
            failed = [answer for answer in own if isinstance(answer, NoAnswer)]
            info[FAILURE].append(str(failed[0]) if failed else "")
            sums = {name: math.fsum(answer[name] for answer in own) if not failed else None for name in MEASURED}
            read, written = sums["prompt_tokens"], sums["completion_tokens"]
            cost = None
            if read is not None and written is not None and (self.input_price or self.output_price):
                cost = (read * self.input_price + written * self.output_price) / 1e6
            info["cost"].append(cost)
            for name in MEASURED:
                info[name].append(sums[name])
        return info


def message(url: str, question: str) -> dict[str, Any]:
    return {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}],
    }


def data_urls(images: Tensor, image_format: str) -> list[str]:
    """[N, 3, H, W] in [0, 1] as data URLs of 8-bit pictures."""
    return [data_url(Image.fromarray(one), image_format) for one in eight_bit(images)]


def data_url(image: Image.Image, image_format: str) -> str:
    file = io.BytesIO()
    image.save(file, format=image_format, **({"quality": 95} if image_format == "jpeg" else {}))
    return f"data:image/{image_format};base64,{base64.b64encode(file.getvalue()).decode()}"


def json_form(key: str, kind: str) -> dict[str, Any]:
    """The keys of a request that is answered by a JSON object with one key."""
    schema = {
        "type": "object", "properties": {key: {"type": kind}}, "required": [key], "additionalProperties": False,
    }  # fmt: skip
    return {"response_format": {"type": "json_schema", "json_schema": {"name": key, "strict": True, "schema": schema}}}
