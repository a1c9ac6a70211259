"""A window of noisy steps: where it is, and that all else of a trajectory is deterministic and never learned from."""

from __future__ import annotations

from typing import Any

import every_plugin
import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from ddpo_bench.advantages.batch import Batch
from ddpo_bench.algorithm_bases.transitions import measure, transitions
from ddpo_bench.algorithms.ppo import PPO
from ddpo_bench.config import run_config
from ddpo_bench.parsing import ConfigError
from ddpo_bench.protocols import Rollout
from ddpo_bench.rewards.target_colour import TargetColour
from ddpo_bench.samplers.ddim import DDIM
from ddpo_bench.samplers.window import Window, of_epoch
from ddpo_bench.training.rollout import Collector

CPU, CONFIG = torch.device("cpu"), every_plugin.make("policy", "pooled_diffusion").scheduler_config


def started(**options: Any) -> DDIM:
    sampler = DDIM(steps=6, **options)
    sampler.start(CONFIG, CPU)
    return sampler


def collect(sampler: DDIM, algorithm: Any, epoch: int = 1) -> tuple[Any, Rollout, Collector]:
    policy = every_plugin.make("policy", "pooled_diffusion")
    policy.start(CPU, 0)
    algorithm.start(policy, 0)
    parts = (policy, sampler, lambda rng: (str(rng.choice(["a", "b"])), {}), TargetColour(), Batch(), algorithm)
    collector = Collector(*parts, 8, 1, 4, seed=0)
    return policy, collector.collect(epoch, lambda done: None)[0], collector


def firsts(schedule: Any, seed: int = 0) -> list[int]:
    return [Window(4, schedule, every=2).place(7, seed, epoch).start for epoch in range(1, 15)]


def test_the_window_is_the_same_for_all_samples_and_processes_and_moves_by_its_schedule() -> None:
    """It follows from seed and epoch alone: where each GPU drew its own, groups could not be compared (verl-omni)."""
    assert firsts("fixed") == [0] * 14
    assert firsts("progressive") == [0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 1, 1, 2, 2]
    assert firsts("random") == firsts("random") != firsts("random", seed=1)
    assert firsts("random")[::2] == firsts("random")[1::2]
    assert set(firsts("random")) <= {0, 1, 2, 3}


def test_outside_the_window_a_step_is_diffusers_ddim_with_eta_0() -> None:
    sampler, _, noisy = of_epoch(started(window=Window(2, "progressive", 1)), 0, 3)
    assert noisy == range(2, 4)
    reference = DDIMScheduler.from_config(CONFIG, set_alpha_to_one=False)  # the last step clamps
    reference.set_timesteps(6)
    generator = torch.Generator().manual_seed(0)
    output, x_t, noise = (torch.randn(1, 3, 4, 4, generator=generator) for _ in range(3))
    for k, timestep in enumerate(reference.timesteps):
        law = sampler.law(output, x_t, torch.tensor([k]), 1.0)
        assert (law.std > 0).item() is (k in noisy)
        given: dict[str, Any] = {"eta": 1.0, "variance_noise": noise} if k in noisy else {"eta": 0.0}
        expected = reference.step(output, timestep, x_t, **given).prev_sample
        torch.testing.assert_close(law.draw(noise)[0], expected, rtol=1e-5, atol=1e-5)


def test_without_a_window_the_sampler_is_itself() -> None:
    sampler = started()
    assert of_epoch(sampler, 0, 1) == (sampler, sampler, range(6))


def test_a_rollout_stores_and_learns_from_the_window_alone() -> None:
    algorithm = PPO(minibatches=1)
    policy, rollout, collector = collect(started(window=Window(2, "progressive", 1)), algorithm, epoch=2)
    assert rollout.steps == 2
    assert rollout.latents.shape[1] == 3
    assert rollout.log_probs.shape == (8, 2)
    assert torch.equal(rollout.sampler.timesteps, collector.sampler.timesteps[1:3])
    assert not torch.equal(rollout.latents[:, -1], rollout.x_0)
    seen: list[Tensor] = []
    predict = policy.predict
    policy.predict = lambda x, t, c: (seen.append(t), predict(x, t, c))[1]
    row = algorithm.update(policy, rollout)
    assert row["ratio_deviation_max"] < 1e-5
    assert set(torch.cat(seen).tolist()) == set(rollout.sampler.timesteps.tolist())
    assert collector.compare(2, rollout)["kl_reference"] > 0
    config = run_config({"sampler": {"steps": 6, "window": {"steps": 2}}, "epochs": 1}, "test")
    assert algorithm.network_passes(config) == (128 * 2, 128 * 2)


def test_the_kl_of_a_window_is_that_of_its_steps() -> None:
    policy, rollout, _ = collect(started(window=Window(3, "fixed")), PPO())
    rollout.network_passes.work = 10**6
    assert measure(policy, rollout, 1.0, torch.Generator())[1] < 1e-9  # the noise of the right steps is taken away
    with torch.no_grad():
        policy.parameters()[-1].add_(0.05)
    n, k = torch.cartesian_prod(torch.arange(8), torch.arange(3)).unbind(1)
    exact = transitions(policy, rollout, n, k).kl.view(8, 3).sum(1).mean().item()
    assert measure(policy, rollout, 1.0, torch.Generator().manual_seed(0))[1] == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"sampler": {"steps": 3, "window": {"steps": 4}}},
            r"sampler: window\.steps: must be at most 3, the steps that can be noisy",
        ),
        ({"sampler": {"window": {}}, "algorithm": "sac"}, r"sampler\.window: the critics of sac value every step"),
        ({"sampler": {"window": {"schedule": "rolling"}}}, r"sampler\.window\.schedule: unknown value 'rolling'"),
    ],
)
def test_a_window_that_does_not_fit_is_one_line(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        run_config(data, "test")
    assert len(raised.value.mistakes) == 1
