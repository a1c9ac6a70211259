"""Several rewards as one: their weighted sum, their minimum or their product."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ddpo_bench.fingerprints import Inputs
from ddpo_bench.options import option
from ddpo_bench.protocols import Metadata, Reward, RewardOutput
from ddpo_bench.registry import register
from ddpo_bench.reward_bases.checking import FAILURE, RewardError, checked, is_shipped
from ddpo_bench.reward_bases.part import Part, Scale

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig


@register("reward", "combined")
@dataclass
class Combined(Reward):
    """Several rewards as one: the weighted sum, minimum or product of their scores, normalised if asked."""

    parts: list[Part] = option(MISSING, "the rewards, each as {reward: ..., weight: 1.0, normalise: none}")
    rule: Literal["sum", "min", "product"] = option(
        "sum", "sum and min are of the weighted scores; product is of scores of at least 0, without weights"
    )

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("parts: is empty. Give at least one, as {reward: jpeg_compressibility}.")
        self.part_labels: list[str] = []
        for place, part in enumerate(self.parts):
            if mistake := self.mistake_of(part):
                raise ValueError(f"parts[{place}].{mistake}")
            self.part_labels.append(part.reward.label)
        self.rewards: list[Reward] = [part.reward.build() for part in self.parts]
        self.scales = [Scale(part.normalise) for part in self.parts]
        self.tolerance = max(reward.tolerance for reward in self.rewards)  # type: ignore[misc]
        self.offline = all(reward.offline for reward in self.rewards)  # type: ignore[misc]
        if any(one.waits_for == "network" for one in self.rewards) and all(map(is_shipped, self.rewards)):
            self.waits_for = "network"  # type: ignore[misc]
        grouped = any(part.normalise == "group" for part in self.parts)
        self.differentiable = not grouped and all(one.differentiable for one in self.rewards)  # type: ignore[misc]

    def mistake_of(self, part: Part) -> str | None:
        """What is wrong with a part, next to those before it."""
        if part.reward.name == "combined":
            return "reward: combined cannot be part of another combined. List its parts here."
        if part.reward.label in self.part_labels:
            return f"reward: {part.reward.label} is there already. Leave one out, and change the weight of the other."
        if not part.weight:
            return "weight: is 0, so that the part counts for nothing. Leave the part out: judges score images anyway."
        if self.rule == "product" and (part.weight != 1 or part.normalise != "none"):
            key = "normalise" if part.weight == 1 else "weight"
            return f"{key}: a product takes scores as they are. Leave {key} out, or write rule: sum."
        if self.rule == "min" and part.weight < 0:
            return "weight: must be above 0 for rule: min, which would follow whichever score is the highest."
        return None

    @property
    def label(self) -> str:
        """The labels of the parts with what they count for: "combined 2 pickscore running + aesthetic"."""
        terms = []
        for part, name in zip(self.parts, self.part_labels, strict=True):
            weight = "" if part.weight == 1 else f"{part.weight:g} "
            terms.append(f"{weight}{name}{'' if part.normalise == 'none' else f' {part.normalise}'}")
        return f"combined {' + '.join(terms)}" if self.rule == "sum" else f"combined {self.rule}({', '.join(terms)})"

    def inputs(self) -> Inputs:
        found: Inputs = {}
        for place, reward in enumerate(self.rewards):
            read: Inputs = reward.inputs() if hasattr(reward, "inputs") else {}
            found |= {f"parts[{place}].reward.{option}": files for option, files in read.items()}
        return found

    def mistakes(self) -> list[str]:
        return [
            mistake.replace("reward", f"reward.parts[{place}].reward", 1)
            for place, reward in enumerate(self.rewards)
            for mistake in reward.mistakes()
        ]

    def mistakes_with(self, config: RunConfig) -> list[str]:
        """A group of one has nothing to be compared with."""
        if config.samples_per_prompt > 1 or all(part.normalise != "group" for part in self.parts):
            return []
        return [
            "samples_per_prompt: normalise: group compares the samples of a prompt and needs at least 2, got 1. "
            "Set samples_per_prompt: 8, or normalise: running."
        ]

    def start(self, device: torch.device) -> None:
        for reward in self.rewards:
            reward.start(device)

    def can_judge(self, prompt: str, metadata: Metadata) -> bool:
        return all(reward.can_judge(prompt, metadata) for reward in self.rewards)

    def prompt_mistake(self, prompt: str, metadata: Metadata) -> str | None:
        return next(filter(None, (reward.prompt_mistake(prompt, metadata) for reward in self.rewards)), None)

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        """Scores as far as they do not depend on other samples; info holds each part's own, and what it measured."""
        info: dict[str, list[Any]] = {FAILURE: [""] * len(prompts)}
        scores = []
        for name, reward, scale in zip(self.part_labels, self.rewards, self.scales, strict=True):
            if images.requires_grad:  # through `draft`, which follows the gradient of scores as they are
                output = reward(images, prompts, metadata)
            else:
                output = checked(reward, images, prompts, metadata)
            own = output.scores.double().cpu()
            info[name] = own.tolist()
            info |= {f"{name}/{key}": values for key, values in output.info.items() if key != FAILURE}
            for index, why in enumerate(output.info.get(FAILURE, [])):
                if why and not info[FAILURE][index]:
                    info[FAILURE][index] = f"{name}: {why}"
            scores.append(scale.alone(own))
        return RewardOutput(self.by_rule(scores, prompts), info)

    def of_all(self, scores: Tensor, numbers: Mapping[str, Tensor], prompts: list[str], training: bool) -> Tensor:
        parts = []
        for name, scale in zip(self.part_labels, self.scales, strict=True):
            parts.append(scale.trained(numbers[name], prompts) if training else scale.evaluated(numbers[name]))
        return self.by_rule(parts, prompts)

    def by_rule(self, scores: list[Tensor], prompts: list[str]) -> Tensor:
        """[N], of the parts' scores [N]; NaN where one is."""
        if self.rule == "product":
            self.refuse_negative(scores, prompts)
            return reduce(torch.mul, scores)
        weighted = [part.weight * own for part, own in zip(self.parts, scores, strict=True)]
        return reduce(torch.add if self.rule == "sum" else torch.minimum, weighted)

    def refuse_negative(self, scores: list[Tensor], prompts: list[str]) -> None:
        """Two bad scores must not make a good product."""
        for name, own in zip(self.part_labels, scores, strict=True):
            if (own < 0).any():
                worst = int(own.nan_to_num(math.inf).argmin())
                raise RewardError(
                    f"reward {self.label}: a product needs scores of at least 0; {name} gave {float(own[worst]):g} for "
                    f"{prompts[worst]!r}. Write rule: sum or rule: min."
                )

    def state_dict(self) -> dict[str, Any]:
        return {
            "scales": [scale.state_dict() for scale in self.scales],
            "rewards": [reward.state_dict() for reward in self.rewards],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for scale, own in zip(self.scales, state["scales"], strict=True):
            scale.load_state_dict(own)
        for reward, own in zip(self.rewards, state["rewards"], strict=True):
            reward.load_state_dict(own)
