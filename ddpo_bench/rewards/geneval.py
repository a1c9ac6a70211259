"""GenEval (Ghosh et al. 2023): whether a picture has the objects, numbers, colours and positions that are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpo_bench.fingerprints import Inputs
from ddpo_bench.options import option
from ddpo_bench.protocols import Metadata, RewardOutput
from ddpo_bench.registry import label, register
from ddpo_bench.reward_bases.frozen_model import load_model
from ddpo_bench.reward_bases.geneval_rules import COLOURS, Box, Objects, clauses_mistake, kept, partial, strict
from ddpo_bench.reward_bases.image_text_model import ImageTextModel
from ddpo_bench.reward_bases.learned import LearnedReward
from ddpo_bench.reward_bases.model_files import SETTINGS, WEIGHTS, folder_of, input_hashes, place_mistake
from ddpo_bench.reward_bases.object_detector import ObjectDetector
from ddpo_bench.reward_bases.reward_error import RewardError

TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
DESCRIPTIONS = ("a photo of a {colour} {name}", "a photo of a {colour}-colored {name}", "a photo of a {colour} object")


@register("reward", "geneval")
@dataclass
class GenEval(LearnedReward):
    """Objects, counts, colours and positions in the metadata, up to 1, by OWLv2 and CLIP; Apache-2.0 and MIT, 2.3 GB.

    The rules are GenEval's; its detector, Mask2Former in mmdet, is not: compare scores only with those of this reward.
    """

    model: str = option(
        "google/owlv2-base-patch16-ensemble",
        "an Owlv2ForObjectDetection: a folder saved by transformers, or a hub name",
    )
    colours: str = option("openai/clip-vit-large-patch14", "a CLIPModel that tells the colour of an object")
    score: Literal["partial", "strict"] = option(
        "partial",
        "partial: Flow-GRPO's mean credit of counts, colours and positions; strict: 1 if all is right, else 0",
    )
    threshold: float = option(0.3, "the score above which a detected object counts", above=0, below=1)
    max_overlap: float = option(
        0.5, "intersection over union from which two boxes are one object; 1 is never", above=0, maximum=1
    )
    detector: ObjectDetector = field(init=False, repr=False, compare=False)

    differentiable: ClassVar[bool] = False
    kind: ClassVar[str] = "Owlv2ForObjectDetection"
    model_type: ClassVar[str | None] = "owlv2"

    def __post_init__(self) -> None:
        super().__post_init__()
        if mistake := place_mistake(self.colours, "clip"):
            raise ValueError(f"colours: {mistake}")

    def inputs(self) -> Inputs:
        found = input_hashes(self.colours, [*SETTINGS, *WEIGHTS])
        return super().inputs() | ({"colours": found} if found else {})

    def load(self, device: torch.device) -> None:
        detector, clip = (
            folder_of(name, revision, [*SETTINGS, *WEIGHTS])
            for name, revision in ((self.model, self.revision), (self.colours, None))
        )
        self.detector = ObjectDetector(load_model(self.kind, detector, device), detector, device, self.batch_size)
        self.encoders = ImageTextModel(load_model("CLIPModel", clip, device), clip, device, self.batch_size)

    def prompt_mistake(self, prompt: str, metadata: Metadata) -> str | None:
        mistake = clauses_mistake(metadata)
        return mistake and f"the metadata of {prompt!r} {mistake}."

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        """Metadata: `include`, `exclude` and `tag`, as in GenEval's evaluation_metadata.jsonl.

        `info` has both scores, and the strict one under the prompt's tag, so that each task has its own mean.
        """
        for prompt, facts in zip(prompts, metadata, strict=True):
            if mistake := self.prompt_mistake(prompt, facts):
                raise RewardError(f"reward {label('reward', self)}: {mistake}")
        found = self.detector.find(images, [classes_of(facts) for facts in metadata], self.threshold)
        info: dict[str, list[float | None]] = {name: [] for name in ("partial", "strict", *TAGS)}
        for image, facts, of_class in zip(images, metadata, found, strict=True):
            objects = {name: kept(*boxes_and_scores, self.max_overlap) for name, boxes_and_scores in of_class.items()}
            rights = self.scores_of(image, facts, objects)
            info["partial"].append(rights[0])
            info["strict"].append(rights[1])
            for tag in TAGS:
                info[tag].append(rights[1] if facts.get("tag") == tag else None)
        return RewardOutput(torch.tensor(info[self.score], dtype=torch.float64), dict(info))

    def scores_of(self, image: Tensor, facts: Metadata, objects: Objects) -> tuple[float, float]:
        """The partial and the strict score of one image [3, H, W]."""

        def colours_of(name: str, boxes: list[Box]) -> list[str]:
            return self.colours_in(image, name, boxes)

        return partial(facts, objects, colours_of), float(strict(facts, objects, colours_of))

    @torch.no_grad()
    def colours_in(self, image: Tensor, name: str, boxes: list[Box]) -> list[str]:
        """The colour of the objects in the boxes, by CLIP's zero-shot classification of what they enclose."""
        texts = [words.format(colour=colour, name=name) for colour in COLOURS for words in DESCRIPTIONS]
        described = self.encoders.texts(texts).view(len(COLOURS), len(DESCRIPTIONS), -1)
        classes = F.normalize(described.mean(dim=1), dim=-1)  # [10, D]
        seen = [self.encoders.images(crop(image, box)[None])[0] for box in boxes]  # [D] each
        return [COLOURS[int((classes @ one).argmax())] for one in seen]


def classes_of(facts: Metadata) -> list[str]:
    """Every class that a prompt asks for or excludes, once."""
    return list(dict.fromkeys(clause["class"] for clause in [*facts["include"], *facts.get("exclude", [])]))


def crop(image: Tensor, box: Box) -> Tensor:
    """What a box encloses of an image [3, H, W], at least a pixel."""
    left, top = (min(round(edge), size - 1) for edge, size in zip(box[:2], image.shape[:0:-1], strict=True))
    right, bottom = max(round(box[2]), left + 1), max(round(box[3]), top + 1)
    return image[:, top:bottom, left:right]
