"""Which attention is quicker on this CPU: plain matrix products or torch's fused one, forward and backward.

    OMP_NUM_THREADS=1 python benchmarks/attention.py embedded --batch 64

Prints CPU seconds of a pass forward, and of one forward and backward: the least of several, the two taken in turn.
docs/performance.md has the figures that `choose_attention` rests on.
"""

from __future__ import annotations

import argparse
import time

import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from ddpo_bench.policies.stable_diffusion import StableDiffusion

PROCESSORS = {"plain": AttnProcessor, "fused": AttnProcessor2_0}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare plain and fused attention on a CPU.")
    parser.add_argument("model", help="embedded, a folder that StableDiffusionPipeline saved, or a hub name")
    parser.add_argument("--batch", type=int, default=16, help="samples in a pass")
    parser.add_argument("--guidance", type=float, default=1.0, help="classifier-free guidance; 1.0 is none")
    parser.add_argument("--rounds", type=int, default=10, help="passes of which the quickest counts")
    given = parser.parse_args()
    for precision in ("fp32", "bf16"):
        policy = StableDiffusion(given.model, guidance_scale=given.guidance, precision=precision)
        policy.start(torch.device("cpu"), seed=0)
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in PROCESSORS}
        for _ in range(given.rounds):
            for name, processor in PROCESSORS.items():
                policy.network.set_attn_processor(processor())
                seconds[name].append(measured(policy, given.batch))
        for name, pairs in seconds.items():
            forward, both = (min(values) for values in zip(*pairs, strict=True))
            print(f"{precision} {name}: forward {forward:.3f} s, forward and backward {both:.3f} s", flush=True)


def measured(policy: StableDiffusion, batch: int) -> tuple[float, float]:
    """CPU seconds of one pass forward, and of it with its backward pass."""
    conditioning, x_t = policy.encode(["a cat"] * batch), torch.randn(batch, *policy.latent_shape)
    start = time.process_time()
    output = policy.predict(x_t, torch.full((batch,), 500), conditioning)
    middle = time.process_time()
    output.float().square().mean().backward()
    return middle - start, time.process_time() - start


if __name__ == "__main__":
    main()
