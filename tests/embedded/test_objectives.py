"""What the denoiser and the decoder of the recipe minimise, against closed forms in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ddpo_bench.embedded.decoder import PredictedReconstruction
from ddpo_bench.embedded.denoiser import GUIDANCE_WEIGHT, SNR_CAP, Denoiser, LatentScenes, VelocityLoss, build_scheduler
from ddpo_bench.embedded.scenes import sample_scene
from ddpo_bench.embedded.tokenizer import build_tokenizer

CAPTIONED, EMPTY = 0.7, -0.4


class Constant(nn.Module):
    """Predicts one velocity with a caption, and another without."""

    def __init__(self, empty: Tensor):
        super().__init__()
        self.empty = empty

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        named = (tokens != self.empty).any(dim=1).view(-1, 1, 1, 1)
        return torch.where(named, CAPTIONED, EMPTY).expand_as(noisy)


def test_guidance_moves_the_target_of_captioned_samples_in_the_later_steps_alone() -> None:
    rng = np.random.default_rng(0)
    latents = torch.randn(32, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    data = LatentScenes(latents, [sample_scene(rng) for _ in range(32)], build_tokenizer())
    objective = VelocityLoss(data, guided_from=10)
    model = Constant(objective.empty)
    alphas = build_scheduler().alphas_cumprod.double()
    weights = (alphas / (1 - alphas)).clamp(max=SNR_CAP) / (alphas / (1 - alphas) + 1)
    for step, weight in ((9, 0.0), (10, GUIDANCE_WEIGHT)):
        batch = index, tokens, noise, t = objective.batch((step, 0), 64)
        named = (tokens != objective.empty).any(dim=1).view(-1, 1, 1, 1).double()
        assert 0 < named.mean() < 1
        alpha, sigma = (part[t].sqrt().view(-1, 1, 1, 1) for part in (alphas, 1 - alphas))
        target = alpha * noise - sigma * latents[index] * data.scaling_factor
        error = torch.where(named.bool(), CAPTIONED, EMPTY) - target - weight * named * (CAPTIONED - EMPTY)
        expected = (weights[t] * error.square().mean(dim=(1, 2, 3))).mean() / weights.mean()
        torch.testing.assert_close(objective.loss(model, batch, (step, 0)).double(), expected, rtol=1e-5, atol=0)


def test_the_decoder_gets_the_latents_themselves_from_a_denoiser_that_is_right() -> None:
    objective = PredictedReconstruction(Denoiser(build_tokenizer()), 0.5, torch.device("cpu"))
    latents, noise = torch.randn(2, 4, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0, 50, 150, 299])
    alphas = build_scheduler().alphas_cumprod[t].view(-1, 1, 1, 1)
    right = alphas.sqrt() * noise - (1 - alphas).sqrt() * 0.5 * latents
    objective.denoiser.forward = lambda noisy, timesteps, tokens: right  # type: ignore[method-assign]
    predicted = objective.predicted(latents, torch.zeros(4, 16, dtype=torch.long), noise, t)
    torch.testing.assert_close(predicted, latents, rtol=1e-5, atol=1e-5)
