"""Evaluation: fixed prompts and noise a seed, judged under the reward that is trained and others.

What no reward sees is measured too: diversity and low-level image statistics.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ddpo_bench import processes
from ddpo_bench.config import RunConfig
from ddpo_bench.files import replacing, write_json
from ddpo_bench.held_out import PromptFunction
from ddpo_bench.noise import Noise, Purpose
from ddpo_bench.protocols import Conditioning, Policy, Reward, Sampler, Trajectories
from ddpo_bench.registry import get, label
from ddpo_bench.reward_bases.judges import Seated, seated
from ddpo_bench.training.finite import check_finite
from ddpo_bench.training.image_statistics import diversity, image_statistics
from ddpo_bench.training.phases import Phases
from ddpo_bench.training.rollout import derived_seed, draw_prompts, seed_globals
from ddpo_bench.training.sampling import decode_in_batches, joined, reference_kl, sample_batches
from ddpo_bench.training.scoring import Scores, mean_of_scored, scored_by_all, scores

EVALUATION = 1_000_000_007  # separates evaluation seeds from training seeds
COLUMNS, PICTURES = 8, 16
DIVERSITY_PROMPTS, DIVERSITY_SAMPLES = 4, 4  # one sample of each prompt is judged anyway, so 12 are drawn for it


@dataclass
class Evaluator:
    """Judges a policy on the evaluation prompts and noise of one seed, the same under every algorithm.

    Args:
        draw: gives the evaluation prompts.
        pictures: called with the first images, their prompts and the epoch.
    """

    config: RunConfig
    policy: Policy
    sampler: Sampler
    draw: PromptFunction
    reward: Reward
    pictures: Callable[[Tensor, list[str], int], None]
    micro_batch: int

    def __post_init__(self) -> None:
        seed = self.config.seed
        rng = np.random.default_rng(derived_seed(EVALUATION, seed, 1))
        self.prompts, self.metadata = draw_prompts(self.draw, rng, self.config.evaluation.samples, repeats=1)
        seen = [self.policy.seen(prompt) for prompt in self.prompts]
        self.truncated = sum(prompt.tokens_cut > 0 for prompt in seen)
        texts = [prompt.text for prompt in seen]
        self.repeated = [texts.index(text) for text in dict.fromkeys(texts)][:DIVERSITY_PROMPTS]
        judges = seated(self.config.evaluation.judges, self.prompts, self.metadata)
        own = label("reward", self.reward)
        judges.pop(own, None)
        for judge in judges.values():
            judge.reward.start(self.policy.device)
        self.judges = judges | {own: Seated(self.reward, len(self.prompts))}

    def state_dict(self) -> dict[str, Any]:
        """What judges need to give the same scores in a resumed run; the run's own reward keeps it itself."""
        return {
            name: judge.reward.state_dict() for name, judge in self.judges.items() if judge.reward is not self.reward
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Judges that the run has had before."""
        for name in state.keys() & self.judges.keys():
            self.judges[name].reward.load_state_dict(state[name])

    def evaluate(self, epoch: int) -> dict[str, float]:
        """Metrics of the policy as it is; the first pictures go to `samples/`."""
        seed_globals(derived_seed(EVALUATION, self.config.seed, 2))
        phases = Phases("seconds_eval_")
        with phases.measure("sampling"):
            conditioning, drawn, images = self.sample(self.prompts, "evaluation")
            check_finite(epoch, latents=drawn.latents, log_probs=drawn.log_probs, images=images)
        with ExitStack() as stack:
            return self.measured(epoch, conditioning, drawn, images, self.asked(images, stack), phases)

    def measured(
        self,
        epoch: int,
        conditioning: Conditioning,
        drawn: Trajectories,
        images: Tensor,
        asked: dict[str, Scores],
        phases: Phases,
    ) -> dict[str, float]:
        """All metrics; judges that are apart score meanwhile."""
        row: dict[str, float] = {}
        with phases.measure("sampling"):
            samples = self.samples_a_prompt(images)
            check_finite(epoch, images=samples)
        with phases.measure("reward"):
            row["eval/diversity"] = diversity(samples)
            row |= {f"eval/image/{name}": value for name, value in image_statistics(images).items()}
        if self.sampler.noisy_steps:
            with phases.measure("kl"):
                has_learned = epoch and get("algorithm", self.config.algorithm.name).learns
                kl = self.reference_kl(drawn, conditioning) if has_learned else 0.0
            nats = kl * drawn.latents[0, 0].numel()
            row |= {"eval/kl_reference": kl, "eval/kl_reference_nats": nats}
        scored_from = time.perf_counter()
        with phases.measure("reward"):
            row |= self.judge(asked)
        if apart := [one for one in asked.values() if one.is_apart]:
            phases.seconds["seconds_eval_reward_overlapped"] = sum(one.seconds_before(scored_from) for one in apart)
        with phases.measure("files"):
            self.pictures(images[:PICTURES], self.prompts[:PICTURES], epoch)
        return row | {"prompts_truncated": self.truncated} | phases.seconds

    def reference_kl(self, drawn: Trajectories, conditioning: Conditioning) -> float:
        return reference_kl(self.policy, self.sampler, drawn, conditioning, self.micro_batch)

    def asked(self, images: Tensor, stack: ExitStack) -> dict[str, Scores]:
        """The scores of every judge, which those that are apart begin to compute."""
        asked = {}
        for name, (judge, count) in sorted(self.judges.items()):
            own = processes.share(count)
            asked[name] = stack.enter_context(scores(judge, self.config.scoring, self.policy.device))
            asked[name].add(images[own], self.prompts[own], self.metadata[own])
        return asked

    def judge(self, asked: dict[str, Scores]) -> dict[str, float]:
        """What the images are worth to every reward."""
        row: dict[str, float] = {}
        for name, (judge, count) in sorted(self.judges.items()):
            found = scored_by_all(judge, asked[name], self.prompts[:count], training=False)
            row[f"eval/{name}"] = mean_of_scored(found.scores)
            row |= {f"eval/{part}": found.means[part] for part in judge.part_labels if part in found.means}
            if missing := int(found.scores.isnan().sum()):
                row["scores_missing"] = row.get("scores_missing", 0) + missing
        return row

    def sample(self, prompts: list[str], purpose: Purpose) -> tuple[Conditioning, Trajectories, Tensor]:
        """One trajectory a prompt, and its image; the noise is the same after every epoch."""
        conditioning = self.policy.encode(prompts)
        noise = Noise(self.config.seed, 0, purpose)
        batches = sample_batches(self.policy, self.sampler, conditioning, self.micro_batch, noise)
        drawn = joined(batches, len(prompts))
        own = decode_in_batches(self.policy, drawn.latents[:, -1], self.micro_batch)
        return conditioning, drawn, processes.gathered(own, len(prompts))

    def samples_a_prompt(self, judged: Tensor) -> Tensor:
        """[P, S, 3, H, W]: the judged image of the first distinct prompts, and others of the same prompt."""
        others = [self.prompts[index] for index in self.repeated for _ in range(DIVERSITY_SAMPLES - 1)]
        _, _, images = self.sample(others, "diversity")
        more = images.unflatten(0, (len(self.repeated), DIVERSITY_SAMPLES - 1))
        return torch.cat([judged[self.repeated].unsqueeze(1), more], 1)


def save_grid(images: Tensor, prompts: list[str], folder: Path, epoch: int) -> None:
    """A lossless grid without padding, `epoch-<n>.png`, and index.json that tells its tiles and prompts."""
    pixels = to_pixels(images)
    height, width = pixels.shape[1:3]
    picture = tile(pixels, COLUMNS)
    with replacing(folder / f"epoch-{epoch:04d}.png") as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
    index = {"columns": COLUMNS, "tile": [width, height], "prompts": prompts}
    write_json(folder / "index.json", index)


def to_pixels(images: Tensor) -> np.ndarray:
    """[N, 3, H, W] in [0, 1] to uint8 [N, H, W, 3]."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def tile(pixels: np.ndarray, columns: int) -> np.ndarray:
    """uint8 [N, H, W, 3] as one picture, row by row; missing tiles of the last row are white."""
    count, height, width, _ = pixels.shape
    rows = -(-count // columns)
    canvas = np.full((rows * columns, height, width, 3), 255, np.uint8)
    canvas[:count] = pixels
    grid = canvas.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * height, columns * width, 3)
