"""Final samples noised again: the same noise for a tuple, fresh noise in every pass, and what outputs say of x_0."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import every_plugin
import pytest
import torch
from torch import Tensor
from toy import LinearPolicy, draw_rollout

from ddpo_bench.algorithm_bases.forward_process import ForwardProcessAlgorithm
from ddpo_bench.algorithm_bases.law import x_0_of
from ddpo_bench.algorithm_bases.noised_samples import NoisedSamples, noised_samples
from ddpo_bench.noise import Noise
from ddpo_bench.protocols import Rollout
from ddpo_bench.samplers.ddim import DDIM

pytestmark = pytest.mark.usefixtures("float64")


@dataclass
class Recorder(ForwardProcessAlgorithm):
    """Regresses, and remembers what it was given."""

    in_groups: bool = False

    def start(self, policy: Any, seed: int) -> None:
        super().start(policy, seed)
        self.seen: list[NoisedSamples] = []

    def together(self, rollout: Rollout) -> list[Tensor]:
        return rollout.groups if self.in_groups else super().together(rollout)

    def loss(self, batch: NoisedSamples) -> tuple[Tensor, dict[str, Tensor]]:
        self.seen.append(batch)
        return batch.mean_of_tuples(batch.error(batch.output)).mean(), {}


def learned(micro_batch: int = 32, **options: Any) -> tuple[list[NoisedSamples], LinearPolicy, dict[str, float]]:
    policy, algorithm = LinearPolicy(), Recorder(learning_rate=0.01, **options)
    rollout = dataclasses.replace(draw_rollout(policy), micro_batch=micro_batch)
    algorithm.start(policy, 0)
    return algorithm.seen, policy, algorithm.update(policy, rollout)


def test_every_pass_noises_every_sample_at_other_timesteps_with_other_noise() -> None:
    seen, *_ = learned(passes=3, minibatches=2, timesteps_per_sample=2, timestep_fraction=0.75)
    pairs = torch.cat([torch.stack([batch.samples, batch.steps], 1) for batch in seen])
    assert pairs[:, 0].bincount().tolist() == [6] * 32
    assert pairs[:, 1].max() == 2  # of the noisiest three of four
    for one_pass in pairs.split(64):
        assert len(set(map(tuple, one_pass.tolist()))) == 64
    noise = torch.cat([batch.x_t for batch in seen]).flatten(1)
    assert len(noise.unique(dim=0)) == len(noise)


def test_samples_of_a_tuple_share_their_noise_and_timestep_and_are_never_parted() -> None:
    seen, *_ = learned(micro_batch=2, in_groups=True, passes=2)
    assert len(seen) == 4  # two groups in two passes, each larger than the micro-batch
    for batch in seen:
        assert len(set(batch.steps.tolist())) == 1
        assert len({batch.rollout.prompts[n] for n in batch.samples.tolist()}) == 1
        share = batch.steps[0] / 4
        noise = (batch.x_t - share * batch.x_0).flatten(1)
        torch.testing.assert_close(noise, noise[:1].expand_as(noise))


def test_the_micro_batch_changes_nothing() -> None:
    _, whole, row = learned(minibatches=3, passes=2)
    for micro_batch in (1, 7):
        _, parted, same_row = learned(micro_batch, minibatches=3, passes=2)
        torch.testing.assert_close(list(parted.parameters()), list(whole.parameters()), rtol=1e-9, atol=1e-12)
        assert same_row == pytest.approx(row, rel=1e-9)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample", "flow"])
def test_the_true_target_tells_x_0_whatever_the_model_predicts(prediction: str) -> None:
    if prediction == "flow":
        sampler = every_plugin.make("sampler", "constant_sde")
        sampler.start(every_plugin.make("policy", "pooled").scheduler_config, torch.device("cpu"))
    else:
        sampler = DDIM()
        sampler.start({"prediction_type": prediction, "steps_offset": 1, "clip_sample": False}, torch.device("cpu"))
    x_0, noise = torch.randn(2, 10, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    x_t, target = sampler.noised(x_0, noise, torch.arange(10))
    torch.testing.assert_close(x_0_of(sampler, x_t, target, torch.arange(10)), x_0, rtol=1e-3, atol=1e-3)


def test_the_noise_level_of_flow_matching_is_its_time() -> None:
    policy, sampler = every_plugin.make("policy", "pooled"), every_plugin.make("sampler", "constant_sde", steps=4)
    policy.start(torch.device("cpu"), 0)
    sampler.start(policy.scheduler_config, torch.device("cpu"))
    rollout = dataclasses.replace(draw_rollout(LinearPolicy(), samples=4), sampler=sampler, x_0=torch.zeros(4, 3, 4, 4))
    one_by_one = list(torch.arange(4).split(1))
    batch = noised_samples(policy, rollout, one_by_one, torch.arange(4), torch.zeros(4).long(), Noise(0, 0, "learning"))
    torch.testing.assert_close(batch.noise_level, torch.tensor([1.0, 0.75, 0.5, 0.25]))


def test_passes_of_a_copy_count_as_work_and_carry_no_gradient() -> None:
    policy = LinearPolicy()
    policy.keep("old")
    rollout = draw_rollout(policy, samples=4)
    with torch.no_grad():
        policy.bias += 1
    nothing, sampled = torch.zeros(4).long(), rollout.network_passes.work
    batch = noised_samples(policy, rollout, list(torch.arange(4).split(1)), nothing, nothing, Noise(0, 0, "learning"))
    old = batch.output_of("old")
    assert rollout.network_passes.work == sampled + 4
    assert not old.requires_grad
    torch.testing.assert_close(batch.output - old, torch.ones_like(old))
