"""Whether a picture shows the text that its prompt quotes, read by PP-OCR, whose models come with rapidocr."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.registry import register
from ddpo_bench.reward_bases.eight_bit import eight_bit
from ddpo_bench.reward_bases.model_files import one_line
from ddpo_bench.reward_bases.reward_error import RewardError
from ddpo_bench.reward_bases.written_text import WrittenText

MODELS = {"Det": "PP-OCRv6_det_small.onnx", "Rec": "PP-OCRv6_rec_small.onnx"}  # named, so that none is downloaded
NOT_INSTALLED = "needs the extra `ocr`, which is not installed: pip install 'ddpo-bench[ocr]'"


@register("reward", "ocr")
@dataclass
class OCR(WrittenText):
    """Text that the prompt quotes, 0 to 1: 1 - edit distance / length of what PP-OCRv6 reads; Apache-2.0, 32 MB.

    Case and white space do not count.  It runs on the CPU, whatever the device.
    """

    enlarge: int = option(
        736,
        "pixels to which an image's shorter side is enlarged; 256 takes a fifth of the time",
        minimum=32,
        maximum=2048,
    )
    reader: Any = field(init=False, repr=False, compare=False, default=None)

    offline: ClassVar[bool] = True

    def mistakes(self) -> list[str]:
        installed = all(map(importlib.util.find_spec, ("rapidocr", "onnxruntime")))
        return [] if installed else [f"reward: ocr {NOT_INSTALLED}."]

    def start(self, device: torch.device) -> None:
        """Load the models that come with rapidocr; nothing is downloaded."""
        if mistakes := self.mistakes():
            raise RewardError(mistakes[0])
        try:
            self.reader = make_reader(self.enlarge, torch.get_num_threads())
        except Exception as error:  # of rapidocr, onnxruntime, or of a library that OpenCV needs
            raise RewardError(f"reward ocr: its models could not be loaded: {one_line(error)}") from error

    def read(self, images: Tensor) -> list[str]:
        pictures = np.ascontiguousarray(eight_bit(images)[..., ::-1])  # it takes arrays for BGR
        return [" ".join(self.reader(picture).txts or ()) for picture in pictures]


def make_reader(side: int, threads: int) -> Any:
    """A callable from uint8 [H, W, 3] to an object with the lines of text in `txts`, from top to bottom."""
    import cv2
    import rapidocr

    models = Path(rapidocr.__file__).parent / "models"
    if absent := [name for name in MODELS.values() if not (models / name).is_file()]:
        raise FileNotFoundError(f"this version of rapidocr has no {absent[0]}; install 3.10")
    cv2.setNumThreads(threads)
    settings = {
        "Global.log_level": "error",  # that a picture shows no text is no warning
        "Global.use_cls": False,  # whether text is upside down, which Flow-GRPO does not ask either
        "EngineConfig.onnxruntime.intra_op_num_threads": min(threads, os.cpu_count() or 1),  # more would mean all
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        "Det.limit_side_len": side,
    }
    return rapidocr.RapidOCR(
        params=settings | {f"{part}.model_path": str(models / name) for part, name in MODELS.items()}
    )
