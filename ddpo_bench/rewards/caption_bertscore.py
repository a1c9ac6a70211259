"""DDPO's alignment reward: how much of the prompt a vision-language model's caption of the picture says again."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ddpo_bench.fingerprints import Inputs
from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.protocols import Metadata, RewardOutput
from ddpo_bench.registry import register
from ddpo_bench.reward_bases.bert_score import BertScore
from ddpo_bench.reward_bases.chat_client import NoAnswer
from ddpo_bench.reward_bases.checking import RewardError
from ddpo_bench.reward_bases.model_files import SETTINGS, input_hashes, place_mistake
from ddpo_bench.reward_bases.vision_questions import VisionModel, data_urls

QUESTION = "Answer concisely: what is going on in this image?"
REFERENCE = "The image contains {prompt}"
LONGEST = 128  # tokens of a caption
DEFAULT = "microsoft/deberta-xlarge-mnli"


@register("reward", "caption_bertscore")
@dataclass
class CaptionBertScore(VisionModel):
    """BERTScore recall, -1 to 1, of the prompt in a caption by any OpenAI-compatible server; DeBERTa is MIT, 2.6 GB.

    Black et al. (2024), section 5.2, with the question, the reference and the encoder of ddpo-pytorch and its LLaVA
    server.
    """

    encoder: str = option(DEFAULT, "the text encoder: a folder saved by transformers, or a hub name")
    encoder_revision: str | None = option(None, "branch, tag or commit of a hub encoder; null is its main branch")
    layer: int = option(
        40, "which layer's outputs are compared; 40 is bert_score's for the default encoder", minimum=1, maximum=1000
    )
    device: str | None = option(
        None, "where the encoder runs, such as cuda:1 or cpu; null is where the policy runs", execution=True
    )
    batch_size: int = option(
        32, "texts that the encoder is given at a time", minimum=1, maximum=LARGEST_COUNT, execution=True
    )
    bert_score: BertScore = field(init=False, repr=False, compare=False)

    tolerance: ClassVar[float] = 1e-4  # fp32 networks round differently at another batch size

    def __post_init__(self) -> None:
        super().__post_init__()
        if mistake := place_mistake(self.encoder):
            raise ValueError(f"encoder: {mistake}")
        try:
            torch.device(self.device or "cpu")
        except RuntimeError:
            raise ValueError(f"device: expected one such as cpu, cuda or cuda:1, got {self.device!r}.") from None

    @property
    def label(self) -> str:
        """The model, and the encoder unless it is the default."""
        encoder = "" if self.encoder == DEFAULT else f" {self.encoder.rstrip('/').rpartition('/')[2]}"
        return f"caption_bertscore {self.model.rpartition('/')[2]}{encoder}"

    def inputs(self) -> Inputs:
        found = input_hashes(self.encoder, [*SETTINGS, "*.safetensors", "pytorch_model.bin"])
        return {"encoder": found} if found else {}

    def start(self, device: torch.device) -> None:
        super().start(device)
        place = torch.device(self.device) if self.device else device
        try:
            self.bert_score = BertScore(self.encoder, self.encoder_revision, self.layer, place, self.batch_size)
        except RewardError as error:
            raise RewardError(f"reward {self.label}: {error}") from error

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        asked = [(url, QUESTION) for url in data_urls(images, self.image_format)]
        answers = self.ask(asked, {"max_tokens": LONGEST}, caption_in)
        captions = {row: answer["answer"] for row, answer in enumerate(answers) if not isinstance(answer, NoAnswer)}
        scores = torch.full((len(prompts),), math.nan, dtype=torch.float64)
        info = self.measured([[answer] for answer in answers])
        info |= {name: [None] * len(prompts) for name in ("caption", "precision", "f1")}
        references = [REFERENCE.replace("{prompt}", prompts[row]) for row in captions]
        matches = self.bert_score([*captions.values()], references)
        for index, (row, caption) in enumerate(captions.items()):
            scores[row] = matches.recall[index]
            info["caption"][row] = caption
            info["precision"][row], info["f1"][row] = float(matches.precision[index]), float(matches.f1[index])
        return RewardOutput(scores, info)


def caption_in(choice: dict[str, Any]) -> str:
    caption = choice["message"]["content"]
    if not isinstance(caption, str) or not caption.strip():
        raise NoAnswer("the caption is empty")
    return caption
