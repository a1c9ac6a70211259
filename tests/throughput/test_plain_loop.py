"""The plain loop computes what this package's own sampling and learning compute, from the same noise."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ddpo_bench.algorithms.ppo import PPO
from ddpo_bench.config import run_config
from ddpo_bench.noise import Noise
from ddpo_bench.protocols import Policy
from ddpo_bench.throughput import plain_loop
from ddpo_bench.throughput.loops import OwnLoop, PlainLoop, Work
from ddpo_bench.throughput.stopwatch import Stopwatch
from ddpo_bench.training.sampling import decode_in_batches
from ddpo_bench.training.trainer import start_policy

CPU = torch.device("cpu")
PROMPTS = ["three frogs", "a red cat"]
STEPS, CLIP = 4, 1e-4


@pytest.fixture(params=["embedded", "tiny, guidance, LoRA"])
def work(request: pytest.FixtureRequest, tiny_model: Path) -> Work:
    embedded = request.param == "embedded"  # v_prediction; the tiny model predicts epsilon
    policy = {"name": "stable_diffusion", "precision": "fp32"}
    policy |= {} if embedded else {"model": str(tiny_model), "guidance_scale": 3.0, "adapter": {"name": "lora"}}
    config = run_config({"policy": policy, "sampler": {"steps": STEPS}, "micro_batch": 2, "samples_per_epoch": 4}, "")
    started: Policy = start_policy(config, CPU)[0]
    return Work(config, started, started.encode(PROMPTS), PROMPTS, [{}, {}], None, steps=STEPS, chunks=STEPS)


def sampled_by_both(work: Work) -> tuple[OwnLoop, PlainLoop]:
    """Both loops, with trajectories drawn from the same noise."""
    own, plain = OwnLoop(work), PlainLoop(work)
    own.sample(Stopwatch(CPU))
    noise = Noise(work.config.seed, 1, "rollout")
    x_t, *noises = noise.draw_steps(STEPS + 1, len(PROMPTS), work.policy.latent_shape, CPU)
    plain.drawn = plain_loop.sample_trajectories(
        plain.network, plain.schedule, x_t, plain.text, plain.policy.guidance_scale, noises
    )
    return own, plain


def test_both_loops_draw_the_same_trajectories_log_probs_and_images(work: Work) -> None:
    own, plain = sampled_by_both(work)
    torch.testing.assert_close(plain.drawn.latents, own.drawn.latents, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(plain.drawn.log_probs, own.drawn.log_probs, rtol=1e-5, atol=1e-5)
    images = [decode_in_batches(work.policy, loop.drawn.latents[:, -1], 2) for loop in (own, plain)]
    torch.testing.assert_close(images[1], images[0], rtol=0, atol=1e-3)


def test_both_loops_accumulate_the_same_gradient(work: Work) -> None:
    own, plain = sampled_by_both(work)
    assert isinstance(own.algorithm, PPO)
    own.algorithm.clip = CLIP
    gradients = []
    steps = list(range(STEPS))
    plain_loop.accumulate(
        plain.network, plain.schedule, plain.drawn, work.advantages(), steps, plain.policy.guidance_scale, CLIP
    )
    gradients.append(taken(work.policy))
    own.algorithm.optimiser.step = lambda: None  # type: ignore[method-assign]
    own.learn()
    gradients.append(taken(work.policy))
    scale = gradients[1].abs().max()
    assert scale > 0
    torch.testing.assert_close(gradients[0] / scale, gradients[1] / scale, rtol=0, atol=1e-3)


def taken(policy: Policy) -> Tensor:
    """The gradient of everything that is trained, which is cleared."""
    found = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
    for parameter in policy.parameters():
        parameter.grad = None
    return found


def test_a_plain_optimiser_step_changes_what_is_trained(work: Work) -> None:
    plain = PlainLoop(work)
    before = [parameter.detach().clone() for parameter in work.policy.parameters()]
    plain.sample(Stopwatch(CPU))
    plain.learn()
    pairs = zip(before, work.policy.parameters(), strict=True)
    assert any(not torch.equal(old, new) for old, new in pairs)
    assert all(parameter.grad is None for parameter in work.policy.parameters())
