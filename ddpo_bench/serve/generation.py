"""The pictures of several models from one prompt and the same noise, step by step side by side.

Each model is sampled as `ddpo-bench sample` samples it, so that its command gives the same picture, bit for bit.
"""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any, NamedTuple

import torch
from ddpo_kernels import guided
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from ddpo_bench.algorithm_bases.law import x_0_of
from ddpo_bench.config import RunConfig
from ddpo_bench.options import LARGEST_SEED
from ddpo_bench.parsing import ConfigError
from ddpo_bench.protocols import Policy, Reward, Sampler
from ddpo_bench.registry import unknown
from ddpo_bench.reward_bases.checking import RewardError, score
from ddpo_bench.reward_bases.judges import shipped_judges
from ddpo_bench.serve.models import Family, ServedModel
from ddpo_bench.training.evaluation import to_pixels
from ddpo_bench.training.generate import noise_of_pictures, sampled_with
from ddpo_bench.training.sampling import Step, denoising

MOST_MODELS = 9  # the pretrained one and eight runs
Pictures = dict[str, bytes]  # PNG files by the id of the model


class GenerateRequest(BaseModel):
    """What to draw, and with which models; what is left out is as the family's first model has it."""

    model_config = ConfigDict(extra="forbid")

    models: list[str] = Field(
        min_length=1,
        max_length=MOST_MODELS,
        description="ids of one family, from /api/models",
        examples=[["pretrained/stable_diffusion/embedded"]],
    )
    prompt: str = Field(min_length=1, max_length=1000, pattern=r"\S", examples=["a red circle"])
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED, description="of the noise, which is the same for all models")
    steps: int | None = Field(default=None, ge=1, le=200)
    guidance_scale: float | None = Field(default=None, ge=0, le=30)
    eta: float | None = Field(default=None, ge=0, le=1, description="noise of the sampler; 0 is deterministic")


class Event(NamedTuple):
    """Something to tell a client; `pictures` are told as data URLs, under "images"."""

    kind: str
    data: dict[str, Any]
    pictures: Pictures | None = None


@dataclass(frozen=True)
class Plan:
    """A request whose models are known and whose settings each of them takes.

    Attributes:
        configs: of the models, with the settings of the request.
        previews: whether the predictions of x_0 are wanted too.
    """

    request: GenerateRequest
    models: tuple[ServedModel, ...]
    configs: tuple[RunConfig, ...]
    previews: bool = True

    @cached_property
    def steps(self) -> int:
        return self.configs[0].sampler.build().steps


def plan(request: GenerateRequest, known: Sequence[Family], previews: bool = True) -> Plan:
    """Check a request before it waits for its turn.

    Raises:
        ConfigError: where a model is unknown or of another family, a setting is none of theirs, or the prompt too long.
    """
    by_id = {model.id: model for family in known for model in family.models}
    if absent := [id for id in request.models if id not in by_id]:
        raise ConfigError([f"models: {unknown('model', id, list(by_id))}" for id in absent[:1]])
    models = tuple(by_id[id] for id in dict.fromkeys(request.models))
    if len({model.family for model in models}) > 1:
        raise ConfigError(["models: are of several families; choose those of one."])
    first = next(family for family in known if family.name == models[0].family).config
    asked = request.model_dump(include={"steps", "guidance_scale", "eta"})
    usual = first.policy.options | first.sampler.options
    settings = {name: usual.get(name) if value is None else value for name, value in asked.items()}
    configs = tuple(sampled_with(model.config, **taken(model.config, settings)) for model in models)
    if request.eta is not None and not any("eta" in config.sampler.options for config in configs):
        raise ConfigError([f"eta: the sampler {configs[0].sampler.name} has none. Leave it out."])
    refuse_unfit(request.prompt, configs)
    return Plan(request, models, configs, previews)


def taken(config: RunConfig, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings that a model's policy and sampler have."""
    known = config.policy.options.keys() | config.sampler.options.keys()
    return {name: value for name, value in settings.items() if name in known}


def refuse_unfit(prompt: str, configs: Sequence[RunConfig]) -> None:
    """Refuse what can be seen before a model is loaded not to fit it."""
    policy: Policy = configs[0].policy.build()
    if policy.too_long([prompt]):
        raise ConfigError(["prompt: is longer than the model's text encoder reads. Shorten it."])
    scheduler = policy.stored_scheduler_config()
    for config in configs if scheduler is not None else ():
        try:
            config.sampler.build().fits(scheduler)
        except ValueError as error:
            raise ConfigError([str(error)]) from None


@torch.no_grad()
def draw(plan: Plan, policies: Sequence[Policy], judged: Judges) -> Iterator[Event | None]:
    """The events of a generation; None is nothing to tell, but a place to stop.

    Args:
        policies: of the plan's models.
    """
    began = time.monotonic()
    request, ids = plan.request, [model.id for model in plan.models]
    each = zip(plan.models, plan.configs, strict=True)
    commands = {model.id: command(request.prompt, request.seed, model, config) for model, config in each}
    yield Event("start", {"models": ids, "steps": plan.steps, "command": commands})
    columns = [Column(*each, request) for each in zip(ids, plan.configs, policies, strict=True)]
    for k in range(plan.steps):
        for column in columns:
            column.advance()
            yield None
        if plan.previews:
            told = {"step": k + 1, "of": plan.steps, "timestep": columns[0].timestep(k)}
            yield Event("step", told, {column.id: png(column.preview()) for column in columns})
    images = torch.cat([column.image() for column in columns])
    scores = judged.scores(images, request.prompt)
    by_id = dict(zip(ids, scores, strict=True))
    yield Event(
        "final",
        {"scores": by_id, "seconds": time.monotonic() - began},
        {column.id: png(image[None]) for column, image in zip(columns, images, strict=True)},
    )


class Column:
    """One model on its way from x_T to x_0."""

    def __init__(self, id: str, config: RunConfig, policy: Policy, request: GenerateRequest):
        self.id, self.policy = id, policy
        self.sampler: Sampler = config.sampler.build()
        self.sampler.start(policy.scheduler_config, policy.device, config.backend)
        policy.guidance_scale = config.policy.build().guidance_scale
        noise = noise_of_pictures(request.seed)
        self.steps: Iterator[Step] = denoising(policy, self.sampler, policy.encode([request.prompt]), noise)

    def advance(self) -> None:
        self.step = next(self.steps)

    def timestep(self, k: int) -> float:
        return float(self.sampler.timesteps[k])

    def preview(self) -> Tensor:
        """The picture of the x_0 that the model predicts, [1, 3, H, W]."""
        step = self.step
        output = guided(step.output.to(step.x_t.dtype), len(step.x_t), self.policy.guidance_scale)
        return self.policy.decode(x_0_of(self.sampler, step.x_t, output, step.steps))

    def image(self) -> Tensor:
        """The picture, [1, 3, H, W], on the CPU."""
        return self.policy.decode(self.step.x_prev).cpu()


class Judges:
    """The rewards that judge pictures, each started when it first does."""

    def __init__(self, device: torch.device):
        self.device = device
        self.started: dict[str, Reward] = {}

    def scores(self, images: Tensor, prompt: str) -> list[dict[str, float | None]]:
        """Of each image by the name of the judge; None where it has no score."""
        prompts = [prompt] * len(images)
        by_judge = {}
        for name, reward in shipped_judges([prompt]).items():
            if name not in self.started:
                reward.start(self.device)
                self.started[name] = reward
            try:
                found = score(self.started[name], images, prompts, [{}] * len(images)).scores.tolist()
            except RewardError:
                found = [math.nan] * len(images)
            by_judge[name] = [None if math.isnan(value) else value for value in found]
        return [{name: values[n] for name, values in by_judge.items()} for n in range(len(images))]


def png(images: Tensor) -> bytes:
    """One image [1, 3, H, W] as a PNG file, which says nothing but its pixels."""
    file = BytesIO()
    Image.fromarray(to_pixels(images)[0]).save(file, "PNG", compress_level=1)
    return file.getvalue()


def row(pictures: Pictures) -> bytes:
    """The pictures of several models next to one another, as one PNG file."""
    opened = [Image.open(BytesIO(picture)) for picture in pictures.values()]
    canvas = Image.new("RGB", (sum(image.width for image in opened), max(image.height for image in opened)))
    left = 0
    for image in opened:
        canvas.paste(image, (left, 0))
        left += image.width
    file = BytesIO()
    canvas.save(file, "PNG")
    return file.getvalue()


def command(prompt: str, seed: int, model: ServedModel, config: RunConfig) -> str:
    """The `ddpo-bench sample` command that gives the same picture of a model."""
    source = ["--run", model.folder] if model.folder else ["--config", model.source] if model.source else []
    settings: dict[str, Any] = {
        "--steps": config.sampler.options["steps"],
        "--guidance-scale": config.policy.options.get("guidance_scale"),
        "--eta": config.sampler.options.get("eta"),
    }
    words = [str(word) for name, value in settings.items() if value is not None for word in (name, value)]
    return shlex.join(
        [
            "ddpo-bench",
            "sample",
            *map(str, source),
            f"--prompts={prompt}",
            "--seed",
            str(seed),
            *words,
            "--out",
            "picture.png",
        ]
    )
