"""Whether a picture shows the text that its prompt quotes, read by GOT-OCR 2.0 (Wei et al. 2024) in transformers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from ddpo_bench.options import LARGEST_COUNT, option
from ddpo_bench.registry import register
from ddpo_bench.reward_bases.eight_bit import eight_bit
from ddpo_bench.reward_bases.frozen_model import load_model, load_part
from ddpo_bench.reward_bases.learned import LearnedReward
from ddpo_bench.reward_bases.model_files import folder_of
from ddpo_bench.reward_bases.written_text import WrittenText

INPUTS = ("input_ids", "attention_mask", "pixel_values")


@register("reward", "got_ocr")
@dataclass
class GotOCR(WrittenText, LearnedReward):
    """Text that the prompt quotes, 0 to 1, scored as by `ocr`, read by GOT-OCR 2.0 on a GPU; Apache-2.0, 2.3 GB."""

    model: str = option(
        "stepfun-ai/GOT-OCR-2.0-hf", "a GotOcr2ForConditionalGeneration: a folder saved by transformers, or a hub name"
    )
    batch_size: int = option(
        8, "images that the model is given at a time", minimum=1, maximum=LARGEST_COUNT, in_label=False
    )
    max_tokens: int = option(128, "number of tokens after which reading a picture ends", minimum=1, maximum=4096)
    network: Any = field(init=False, repr=False, compare=False)
    processor: Any = field(init=False, repr=False, compare=False)

    differentiable: ClassVar[bool] = False
    kind: ClassVar[str] = "GotOcr2ForConditionalGeneration"
    model_type: ClassVar[str | None] = "got_ocr2"

    def load(self, device: torch.device) -> None:
        folder = folder_of(self.model, self.revision, self.files())
        self.network = load_model(self.kind, folder, device)
        self.processor = load_part("GotOcr2Processor", folder)

    def read(self, images: Tensor) -> list[str]:
        return [text for part in images.split(self.batch_size) for text in self.read_batch(part)]

    @torch.no_grad()
    def read_batch(self, images: Tensor) -> list[str]:
        sight = self.network.config.vision_config
        seen = (sight.image_size // sight.patch_size // 4) ** 2  # tokens of a picture, after two strides of two
        pictures = [Image.fromarray(picture) for picture in eight_bit(images)]  # all that transformers 4 takes
        inputs = self.processor(pictures, return_tensors="pt", num_image_tokens=seen)
        end = self.processor.tokenizer.convert_tokens_to_ids(self.processor.message_end_token)
        written = self.network.generate(
            **{name: inputs[name].to(self.network.device) for name in INPUTS},
            do_sample=False,
            max_new_tokens=self.max_tokens,
            eos_token_id=end,
            pad_token_id=end,
        )
        answers = written[:, inputs["input_ids"].shape[1] :]
        texts: list[str] = self.processor.batch_decode(answers, skip_special_tokens=True)
        return texts
