"""OWLv2 (Minderer et al. 2023): boxes around the objects of classes that are named by words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpo_bench.reward_bases.eight_bit import eight_bit
from ddpo_bench.reward_bases.frozen_model import load_part
from ddpo_bench.reward_bases.geneval_rules import Box

Found = dict[str, tuple[list[Box], list[float]]]  # of each class of an image, boxes and their scores
WORDS = "a photo of a {}"


class ObjectDetector:
    """An Owlv2ForObjectDetection.

    Args:
        folder: of its tokenizer and image processor.
        batch_size: images at a time.
    Raises:
        RewardError: where the folder is not what it must be, in one line.
    """

    def __init__(self, model: Any, folder: Path, device: torch.device, batch_size: int):
        self.model, self.device, self.batch_size = model, device, batch_size
        self.longest = model.config.text_config.max_position_embeddings
        self.tokenizer = load_part("AutoTokenizer", folder)
        self.processor = load_part("AutoImageProcessor", folder)

    @torch.no_grad()
    def find(self, images: Tensor, classes: list[list[str]], threshold: float) -> list[Found]:
        """What is found in images [N, 3, H, W] of each one's own classes, with scores above a threshold.

        A box is of the class that it most resembles.  Images are taken together with those that ask for as many
        classes, so that no class is added to an image for the sake of others.
        """
        found: list[Found] = [{} for _ in classes]
        for count in sorted({len(own) for own in classes}):
            places = [place for place, own in enumerate(classes) if len(own) == count]
            for start in range(0, len(places), self.batch_size):
                part = places[start : start + self.batch_size]
                for place, one in zip(
                    part, self.batch(images[part], [classes[n] for n in part], threshold), strict=True
                ):
                    found[place] = one
        return found

    def batch(self, images: Tensor, classes: list[list[str]], threshold: float) -> list[Found]:
        words = [WORDS.format(name) for own in classes for name in own]
        read = self.tokenizer(
            words, padding="max_length", truncation=True, max_length=self.longest, return_tensors="pt"
        ).to(self.device)
        pixels = self.processor(list(eight_bit(images)), return_tensors="pt")["pixel_values"].to(self.device)
        output = self.model(
            input_ids=read["input_ids"], attention_mask=read["attention_mask"], pixel_values=pixels.float()
        )
        scores, labels = output.logits.sigmoid().max(dim=-1)  # [B, boxes]
        edges = corners(output.pred_boxes, *images.shape[-2:])  # [B, boxes, 4]
        values = zip(classes, edges.cpu(), scores.cpu(), labels.cpu(), strict=True)
        return [by_class(*one, threshold) for one in values]


def corners(boxes: Tensor, height: int, width: int) -> Tensor:
    """Edges in pixels, within the image, of centres and sizes [..., 4] relative to the square it was padded to."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    edges = torch.cat([centre - half, centre + half], dim=-1) * max(height, width)
    return torch.minimum(edges.clamp(min=0), edges.new_tensor([width, height, width, height]))


def by_class(classes: list[str], boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Found:
    found: Found = {}
    for label, name in enumerate(classes):
        chosen = (labels == label) & (scores > threshold)
        found[name] = [tuple(box) for box in boxes[chosen].tolist()], scores[chosen].tolist()
    return found
