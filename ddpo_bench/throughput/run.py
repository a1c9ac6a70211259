"""One run of the measurements: a policy is started once for the settings of one network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch

from ddpo_bench.architectures.flops import PassFlops, count
from ddpo_bench.config import RunConfig
from ddpo_bench.microbench.measure import Advance
from ddpo_bench.microbench.progress import progress
from ddpo_bench.policies.precision import allow_tf32
from ddpo_bench.protocols import Conditioning, Policy, Reward
from ddpo_bench.throughput.measure import ROUNDS, Bench, measure
from ddpo_bench.throughput.measured import Measured, precision_of, without_memory
from ddpo_bench.throughput.memory import is_out_of_memory, release_memory
from ddpo_bench.throughput.peak import Peak, matrix_product_peak
from ddpo_bench.throughput.random_weights import RandomWeights
from ddpo_bench.throughput.settings import Setting
from ddpo_bench.training.trainer import compiles


@dataclass
class Measurements:
    """What has been measured so far.

    Attributes:
        device: where.
        seconds: that a setting may take, about.
        rows: in the order of the settings.
        peaks: the fastest matrix products, by precision.
    """

    device: torch.device
    seconds: float
    rows: list[Measured] = field(default_factory=list)
    peaks: dict[str, Peak] = field(default_factory=dict)


def run(settings: Sequence[Setting], made: Measurements, say: Callable[[str], None]) -> None:
    """Measure settings.

    Args:
        settings: those of one network in a row, and among them those of one micro-batch.
        made: is added to, so that an interruption loses no row.
        say: prints a line of progress where output is not a terminal.
    """
    with progress(len(settings) * (1 + ROUNDS), say) as advance:
        for _, of_network in groupby(settings, key=lambda setting: setting.network):
            alike = list(of_network)
            try:
                of_one_network(alike, made, advance)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                measured = [row.setting for row in made.rows]
                made.rows += [without_memory(setting) for setting in alike if setting not in measured]
            release_memory()


def of_one_network(settings: Sequence[Setting], made: Measurements, advance: Advance) -> None:
    config = settings[0].config
    allow_tf32(config.tf32)
    policy = policy_of(settings[0])
    policy.start(made.device, config.seed)
    flops = flops_of_pass(policy)
    policy.prepare_network(compiles(config, made.device), config.gradient_checkpointing)
    precision = precision_of(policy, config)
    if precision not in made.peaks:
        made.peaks[precision] = matrix_product_peak(made.device, policy.resolved_precision)
    bench = Bench(policy, offline_reward(config, made.device), flops, made.peaks[precision].flops, made.seconds)
    for _, of_size in groupby(settings, key=lambda setting: setting.micro_batch):
        made.rows += measure(bench, list(of_size), advance)


def policy_of(setting: Setting) -> Policy:
    """The configured policy, or one of the named architecture with its other options."""
    policy: Policy = setting.config.policy.build()
    if not setting.architecture:
        return policy
    options = {key: setting.config.policy.options[key] for key in ("adapter", "guidance_scale", "precision")}
    return RandomWeights(setting.architecture, **options)


def offline_reward(config: RunConfig, device: torch.device) -> Reward | None:
    """The configured reward, started; None for one that needs a download or a server."""
    reward: Reward = config.reward.build()
    if not type(reward).offline:
        return None
    reward.start(device)
    return reward


def flops_of_pass(policy: Policy) -> PassFlops:
    """Of the policy's pass for one transition, with guidance, and of the gradient in what it trains."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    text = policy.encode(["a dog"])
    x_t = torch.zeros(1, *policy.latent_shape, device=policy.device)
    timesteps = torch.zeros(1, dtype=torch.long, device=policy.device)
    with torch.no_grad():
        policy.predict(x_t, timesteps, text)  # moves to the device, or away, what is not there yet
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake = Conditioning({name: torch.empty_like(it) for name, it in text.tensors.items()}, text.pooled)
        inputs = torch.empty_like(x_t), torch.empty_like(timesteps), fake
        return count(lambda: policy.predict(*inputs), list(policy.parameters()))
