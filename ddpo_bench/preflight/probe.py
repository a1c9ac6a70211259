"""The time and memory that a run would take, by a measurement: one micro-batch is sampled, judged and learned from."""

from __future__ import annotations

from dataclasses import dataclass

from ddpo_bench.config import RunConfig
from ddpo_bench.preflight.flops import evaluated_images, evaluations, now
from ddpo_bench.protocols import AdvantageEstimator, Algorithm, Reward

PASSES = 2  # of which the last is timed: the first allocates, compiles, and is a warm-up for algorithms that have one


@dataclass(frozen=True)
class Pace:
    """Seconds and bytes on this machine, with one thread where there is no GPU, as every worker has.

    Attributes:
        samples: in the micro-batch.
        start: loading the model.
        sampling: of the micro-batch, with its reward and its KL to the pretrained model.
        learning: of one update on it.
        scales: whether learning takes longer with more samples.
        peak: bytes of memory, torch itself among them.
    """

    samples: int
    start: float
    sampling: float
    learning: float
    scales: bool
    peak: int

    def of_run(self, config: RunConfig) -> float:
        """A whole run: epochs, and the evaluations between and around them, shared by its processes."""
        batches = config.samples_per_epoch / self.samples
        learning = self.learning * (batches if self.scales else 1)
        evaluating = evaluations(config) * self.sampling * evaluated_images(config) / self.samples
        work = config.epochs * (self.sampling * batches + learning) + evaluating
        return self.start + work / config.resources.processes


def measure(config: RunConfig) -> Pace:
    """Load the model and go through one micro-batch."""
    import torch

    from ddpo_bench import processes
    from ddpo_bench.training.micro_batch import Trial, resolve
    from ddpo_bench.training.rollout import Collector, prompt_sides
    from ddpo_bench.training.trainer import peak_memory_mb, start_policy

    device = processes.device()
    if device.type == "cpu":
        torch.set_num_threads(1)
    clock = now(device)
    policy, sampler = start_policy(config, device)
    algorithm: Algorithm = config.algorithm.build()
    advantages: AdvantageEstimator = config.advantages.build()
    algorithm.start(policy, config.seed)
    start = now(device) - clock
    reward: Reward = config.reward.build()
    reward.start(device)
    training_prompts, _ = prompt_sides(config, policy)
    micro_batch = resolve(Trial(config, policy, sampler, training_prompts, reward, algorithm))
    samples = samples_of(config, micro_batch)
    collector = Collector(
        policy, sampler, training_prompts, reward, advantages, algorithm,
        samples, config.samples_per_prompt, micro_batch, config.seed,
    )  # fmt: skip
    for epoch in range(1, PASSES + 1):
        clock = now(device)
        rollout, _ = collector.collect(epoch, lambda done: None)
        sampled = now(device)
        algorithm.update(policy, rollout)
        learned = now(device)
        collector.compare(epoch, rollout)
        sampling = sampled - clock + now(device) - learned
    peak = round(peak_memory_mb(device) * 1e6)
    return Pace(samples, start, sampling, learned - sampled, algorithm.learns_from_all, peak)


def samples_of(config: RunConfig, micro_batch: int) -> int:
    """A micro-batch of whole groups of one prompt."""
    groups = max(1, min(micro_batch, config.samples_per_epoch) // config.samples_per_prompt)
    return groups * config.samples_per_prompt
