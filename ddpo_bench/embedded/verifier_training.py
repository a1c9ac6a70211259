"""Stage 4 of the recipe: the verifier, trained on rendered pictures and on pictures decoded by the autoencoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from ddpo_bench.embedded.autoencoder import scene_batch
from ddpo_bench.embedded.denoiser import LatentScenes
from ddpo_bench.embedded.fit import Schedule, autocast, fit
from ddpo_bench.embedded.scenes import COLOURS, NOUNS, PATTERNS, Scene
from ddpo_bench.embedded.verifier import Verifier

SCHEDULES = {"cpu": Schedule(steps=2500, batch=64), "cuda": Schedule(steps=2500, batch=256)}
NOUN_INDEX = {noun: index for index, noun in enumerate(NOUNS)}
LATENT_NOISE = 0.1  # most noise before decoding, in latent standard deviations: generated latents are not exact


class VerifierLoss:
    """Cross-entropy of the four heads, on a batch of half rendered and half decoded pictures."""

    def __init__(self, autoencoder: AutoencoderKL, data: LatentScenes):
        self.autoencoder, self.data = autoencoder, data

    def batch(self, seed: tuple[int, int], size: int) -> tuple[list[Scene], Tensor, Tensor, Tensor, Tensor]:
        """Scenes, pictures of the first half, places and noise of the latents of the second, noise of all pixels."""
        rng = np.random.default_rng((4, *seed))
        scenes, rendered = scene_batch((5, *seed), size // 2)
        index = rng.integers(len(self.data.scenes), size=size - size // 2)
        scale = rng.uniform(0, LATENT_NOISE, (len(index), 1, 1, 1)).astype(np.float32) / self.data.scaling_factor
        shift = scale * rng.standard_normal((len(index), 8, 8, 8), np.float32)
        grain = rng.standard_normal((size, *rendered.shape[1:]), np.float32)
        scenes += [self.data.scenes[i] for i in index]
        return scenes, rendered, torch.from_numpy(index), torch.from_numpy(shift), torch.from_numpy(grain)

    def loss(self, model: nn.Module, batch: tuple[list[Scene], Tensor, Tensor, Tensor, Tensor], seed: object) -> Tensor:
        device = self.data.latents.device
        rendered, index, shift, grain = (part.to(device) for part in batch[1:])
        images = torch.cat([(rendered + 1) / 2, self.decoded(self.data.latents[index].float() + shift)])
        return scene_loss(model(images + 0.02 * grain), batch[0])

    @torch.no_grad()
    def decoded(self, latents: Tensor) -> Tensor:
        with autocast(latents.device):
            images = self.autoencoder.decode(latents.contiguous(memory_format=torch.channels_last)).sample
        return (images.float() / 2 + 0.5).clamp(0, 1)


def scene_loss(logits: dict[str, Tensor], scenes: list[Scene]) -> Tensor:
    device = logits["nouns"].device
    present = torch.zeros(len(scenes), len(NOUNS))
    for row, scene in zip(present, scenes, strict=True):
        row[[NOUN_INDEX[noun] for noun in scene.nouns]] = 1
    present = present.to(device)
    target = {name: indices.to(device) for name, indices in targets(scenes).items()}
    loss = 20 * binary_cross_entropy_with_logits(logits["nouns"], present)  # about one noun in 85 is present
    return loss + sum(cross_entropy(logits[name], target[name]) for name in target)


def targets(scenes: list[Scene]) -> dict[str, Tensor]:
    """Class indices of the heads, [N] each."""
    return {
        "count": torch.tensor([scene.count * len(scene.nouns) - 1 for scene in scenes]),
        "colour": torch.tensor([tuple(COLOURS).index(str(scene.colour)) for scene in scenes]),
        "pattern": torch.tensor([PATTERNS.index(str(scene.pattern)) for scene in scenes]),
    }


def train_verifier(autoencoder: AutoencoderKL, data: LatentScenes, folder: Path) -> Verifier:
    """Train the verifier where the latents are, and return its exponential moving average, on the CPU."""
    torch.manual_seed(0)
    device = data.latents.device
    objective = VerifierLoss(autoencoder.to(device), data)
    model = fit("verifier", Verifier().to(device), objective, SCHEDULES[device.type], folder)
    assert isinstance(model, Verifier)
    autoencoder.to("cpu")
    return model.to("cpu")


@torch.no_grad()
def accuracy(verifier: Verifier, images: Tensor, scenes: list[Scene]) -> dict[str, float]:
    """Top-1 accuracy of each head; for a pair of nouns, both must be the top two.

    Args:
        verifier: the verifier.
        images: pictures, [N, 3, 64, 64] in [0, 1].
        scenes: what the pictures should show, fully specified.
    """
    found = verifier.probabilities(images)
    right = []
    for row, scene in zip(found["nouns"], scenes, strict=True):
        right.append(set(row.topk(len(scene.nouns)).indices.tolist()) == {NOUN_INDEX[noun] for noun in scene.nouns})
    scores = {name: float((found[name].argmax(1) == target).float().mean()) for name, target in targets(scenes).items()}
    return {"noun": sum(right) / len(right), **scores}
