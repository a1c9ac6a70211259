"""What every policy promises: this covers a new one the moment it is registered."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines
import torch
from every_plugin import make, sampler_for
from tiny_pipelines import QUICK
from torch import Tensor

from ddpo_bench.algorithm_bases.transitions import transitions
from ddpo_bench.config import run_config
from ddpo_bench.noise import Noise
from ddpo_bench.protocols import Policy, Rollout
from ddpo_bench.registry import names
from ddpo_bench.rewards.jpeg import JpegCompressibility
from ddpo_bench.training.sampling import joined, sample_batches

CPU = torch.device("cpu")
Make = Callable[..., Policy]
PROMPTS = ["a dog", "two cats", "a frog", "an apple", "a cow and a pig", "three bees", "a horse"]
MICRO_BATCH, STEPS = 4, 3  # 7 prompts: a full batch and one of three
EVERY_PAIR = [  # of two settings
    {"adapter": {"name": adapter}, "guidance_scale": guidance, "precision": precision}
    for adapter, guidance, precision in (
        ("full", 1.0, "fp32"),
        ("lora", 3.0, "fp32"),
        ("full", 3.0, "bf16"),
        ("lora", 1.0, "bf16"),
    )
]


def variants() -> Iterator[Any]:
    """Every policy with its options; of the other families those two that have all of these settings."""
    for name in names("policy"):
        if name == "stable_diffusion":
            yield from ((name, options) for options in EVERY_PAIR)
        elif name in tiny_pipelines.FAMILIES:
            yield name, EVERY_PAIR[1]
            yield pytest.param((name, EVERY_PAIR[2]), marks=pytest.mark.long)
        else:
            yield name, {}


@pytest.fixture(
    params=variants(),
    ids=lambda param: "-".join([param[0], *map(str, param[1].values())]),
)
def make_policy(request: pytest.FixtureRequest, tiny_pipeline: Callable[[str], Path]) -> Make:
    """Makes and starts a policy with the same options each time."""
    name, options = request.param
    model = {"model": str(tiny_pipeline(name))} | QUICK.get(name, {}) if name in tiny_pipelines.FAMILIES else {}

    def make_one(seed: int = 0) -> Policy:
        policy = run_config({"policy": {"name": name, **model, **options}}, "test").policy.build()
        assert policy.mistakes() == []
        policy.start(CPU, seed)
        return policy

    return make_one


@pytest.fixture
def policy(make_policy: Make) -> Policy:
    return make_policy()


@pytest.fixture(scope="module")
def started() -> dict[str, Policy]:
    return {}


@pytest.fixture
def unchanged(request: pytest.FixtureRequest, make_policy: Make, started: dict[str, Policy]) -> Policy:
    """A policy that the tests which change nothing of it share."""
    key = str(request.node.callspec.params["make_policy"])
    if key not in started:
        started[key] = make_policy()
    return started[key]


def draw_rollout(policy: Policy) -> Rollout:
    sampler = make("sampler", sampler_for(policy), steps=STEPS)
    sampler.start(policy.scheduler_config, CPU)
    conditioning = policy.encode(PROMPTS)
    drawn = joined(
        sample_batches(policy, sampler, conditioning, MICRO_BATCH, Noise(0, 1, "rollout")), len(conditioning)
    )
    count = len(PROMPTS)
    return Rollout(
        PROMPTS, [{}] * count, conditioning, drawn.noise, drawn.latents[:, -1],
        torch.zeros(count, dtype=torch.float64), torch.ones(count), drawn, JpegCompressibility(), sampler, MICRO_BATCH,
    )  # fmt: skip


def predict(policy: Policy) -> Tensor:
    x_t = torch.randn(2, *policy.latent_shape, generator=torch.Generator().manual_seed(0))
    return policy.predict(x_t, torch.tensor([700, 3]), policy.encode(PROMPTS[:2]))


@torch.no_grad()
def disturb(policy: Policy) -> None:
    """Change what is trained, as an optimiser would."""
    generator = torch.Generator().manual_seed(1)
    for parameter in policy.parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


def all_ratios(policy: Policy, rollout: Rollout, batches: list[Tensor]) -> Tensor:
    """Of every transition, scored with gradients as learning does: each batch of samples at each step."""
    pairs = itertools.product(batches, range(STEPS))
    return torch.cat([transitions(policy, rollout, n, torch.full_like(n, k)).ratio.detach() for n, k in pairs])


def test_ratio_is_one_before_the_first_update(unchanged: Policy) -> None:
    rollout = draw_rollout(unchanged)
    batches = list(torch.arange(len(PROMPTS)).split(MICRO_BATCH))
    assert torch.equal(all_ratios(unchanged, rollout, batches), torch.ones(len(PROMPTS) * STEPS))
    batch = transitions(unchanged, rollout, batches[0], torch.zeros(MICRO_BATCH, dtype=torch.long))
    assert batch.kl.max() < 1e-11  # the rounding of x_prev, without whose noise the mean is recovered


def test_ratio_is_nearly_one_at_another_micro_batch(unchanged: Policy) -> None:
    rollout = draw_rollout(unchanged)
    order = torch.randperm(len(PROMPTS), generator=torch.Generator().manual_seed(0))
    for size in (1, 3, 7):
        largest = (all_ratios(unchanged, rollout, list(order.split(size))) - 1).abs().max()
        assert largest <= (1e-5 if unchanged.resolved_precision is torch.float32 else 1e-3)


def test_the_pretrained_copy_is_the_policy_before_any_update(policy: Policy) -> None:
    before = predict(policy)
    assert before.requires_grad
    assert len(before) == 2 * (1 + (policy.guidance_scale != 1.0))
    for _ in range(2):
        with policy.copy("pretrained"):
            pretrained = predict(policy)
        assert torch.equal(pretrained, before)
        assert not pretrained.requires_grad
        disturb(policy)
    assert not torch.allclose(predict(policy), before, atol=1e-3)


def test_a_lagged_copy_is_the_policy_as_it_was_kept(policy: Policy) -> None:
    disturb(policy)
    policy.keep("old")
    kept = predict(policy).detach()
    disturb(policy)
    moved = predict(policy).detach()
    for decay, expected in ((1.0, kept), (0.0, moved)):
        policy.blend("old", decay)
        with policy.copy("old"):
            assert torch.equal(predict(policy), expected)
        assert torch.equal(predict(policy), moved)


def test_the_pretrained_copy_leaves_learning_as_it_was(policy: Policy) -> None:
    disturb(policy)
    before, kept = predict(policy), policy.state_dict().keys()
    with policy.copy("pretrained"):
        predict(policy)
    (before - predict(policy).detach()).square().mean().backward()  # a graph from before the context still works
    reached = [parameter for parameter in policy.parameters() if parameter.grad is not None]  # not all of Qwen-Image's
    for parameter in reached:
        parameter.grad = None
    predict(policy).square().mean().backward()
    assert policy.state_dict().keys() == kept
    assert all(parameter.grad is not None for parameter in reached)
    assert any((parameter.grad != 0).any() for parameter in reached)


def test_the_trained_tensors_go_through_a_file(make_policy: Make, tmp_path: Path) -> None:
    policy, other = make_policy(), make_policy(seed=5)
    disturb(policy)
    torch.save(policy.state_dict(), tmp_path / "policy.pt")
    other.load_state_dict(torch.load(tmp_path / "policy.pt", weights_only=True))
    assert torch.equal(predict(other), predict(policy))


def test_conditioning_is_one_entry_a_prompt_with_a_pooled_vector(unchanged: Policy) -> None:
    conditioning = unchanged.encode(PROMPTS)
    assert len(conditioning) == len(conditioning.pooled) == len(PROMPTS)
    assert conditioning.pooled.ndim == 2
    assert conditioning.pooled.dtype == torch.float32
    chosen = torch.tensor([2, 5])
    alone = unchanged.encode([PROMPTS[n] for n in chosen])
    torch.testing.assert_close(conditioning[chosen].pooled, alone.pooled, rtol=1e-4, atol=1e-5)
    assert [unchanged.seen(prompt).tokens_cut for prompt in PROMPTS] == [0] * len(PROMPTS)


def test_images_lie_between_zero_and_one(unchanged: Policy) -> None:
    latents = torch.randn(3, *unchanged.latent_shape, generator=torch.Generator().manual_seed(0))
    images = unchanged.decode(10 * latents)
    assert images.shape[:2] == (3, 3)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1


def test_a_gradient_flows_from_images_to_latents(unchanged: Policy) -> None:
    latents = torch.randn(2, *unchanged.latent_shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (gradient,) = torch.autograd.grad(unchanged.decode(latents).sum(), latents)
    assert gradient.isfinite().all()
    assert (gradient.flatten(1) != 0).any(1).all()


def test_a_footprint_counts_what_is_trained_before_the_model_is_loaded(unchanged: Policy) -> None:
    if footprint := unchanged.footprint(CPU):
        assert footprint.trained == sum(parameter.numel() for parameter in unchanged.parameters())
        assert footprint.latents == 4 * math.prod(unchanged.latent_shape)


def test_the_noise_schedule_is_known_without_the_weights(unchanged: Policy) -> None:
    assert unchanged.stored_scheduler_config() == unchanged.scheduler_config
