"""Whether an algorithm has the log-probs that it learns from: deterministic samplers have none."""

from __future__ import annotations

from ddpo_bench.config import RunConfig
from ddpo_bench.registry import get, names


def density_mistake(config: RunConfig) -> str | None:
    """What is wrong with a sampler without noise under an algorithm that needs log-probs; None where nothing is."""
    algorithm, sampler = get("algorithm", config.algorithm.name), config.sampler
    if not learns_from(algorithm, "transitions") or len(sampler.build().noisy_steps):
        return None
    key, remedy = "sampler", "Choose flow_sde, dance_sde or cps"
    if "eta" in sampler.options:
        key, remedy = "sampler.eta", "Use eta > 0"
        if sampler.options["eta"]:
            key, remedy = "sampler.steps", "Use more steps"
    others = [name for name in names("algorithm") if learns_from(get("algorithm", name), "x_0")]
    return (
        f"{key}: {sampler.name} has no noisy step here, and so no log-prob, from which {config.algorithm.name} learns. "
        f"{remedy}, or an algorithm that learns from final samples ({', '.join(others)})."
    )


def learns_from(algorithm: type, needs: str) -> bool:
    return bool(getattr(algorithm, "learns", True)) and getattr(algorithm, "needs", "transitions") == needs
