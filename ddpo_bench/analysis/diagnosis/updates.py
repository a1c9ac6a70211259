"""Rules about the updates: the ratio, the gradient, the clip, and the KL."""

from __future__ import annotations

from ddpo_bench.analysis.diagnosis.metrics import Metrics, Row, count, thirds

ROUNDING = 1e-5  # of a log-ratio on equal batches; healthy implementations stay below it
SMALLEST_CLIP_RANGE = 1e-4  # in mean units, of the published recipes: a larger deviation is clipped before any update
EPSILON_MARGIN = 10  # times Adam's epsilon: below, it is more than a tenth of what divides the step
SHORTEST = 3  # epochs before "in every epoch" is no accident of the first, which begins at the pretrained policy
ALMOST_ALL = 0.9  # of the transitions that can be clipped
LONG = 6  # epochs before a trend is one
GROWTH = 2  # of the KL between the middle and the last third of a run: by then a bounded one has levelled off
SMALLEST_NATS = 1.0  # below, a policy is still the pretrained one
PENALTIES = {  # metric to the option that is its weight
    "kl_penalty": "kl_weight",
    "nft/pretrained_mse": "kl_weight",
    "dgpo/pretrained_mse": "kl_weight",
    "awm/distance_pretrained": "beta",
}


def ratio_not_one(run: Metrics) -> str | None:
    """The ratio before the first update, which rounding alone moves, and on equal batches hardly that."""
    found = [row for row in run.epochs if row.get("ratio_deviation_max", 0) > tolerance(run, row)]
    if not found:
        return None
    worst = max(found, key=lambda row: row["ratio_deviation_max"])
    return (
        f"before the first update the ratio deviated from 1 by up to {worst['ratio_deviation_max']:.2g} "
        f"in {count(len(found), len(run.epochs))}; rounding explains at most {tolerance(run, worst):g}"
    )


def tolerance(run: Metrics, row: Row) -> float:
    return ROUNDING if batches_agree(run, row) else SMALLEST_CLIP_RANGE


def batches_agree(run: Metrics, row: Row) -> bool:
    """Whether learning went through the network in batches as large as those of sampling."""
    samples, sampler = run.config.get("samples_per_epoch", 0), run.config.get("sampler", {})
    steps = (sampler.get("window") or {}).get("steps", run.noisy_steps or sampler.get("steps", 0))
    trained = max(1, int(steps * run.algorithm.get("timestep_fraction", 1.0) + 1e-9))
    minibatches, micro_batch = run.algorithm.get("minibatches", 0), run.micro_batch
    alone = run.config.get("resources", {}).get("processes", 1) == 1
    if not (alone and samples and steps and minibatches and micro_batch) or row.get("no_advantage_fraction"):
        return False
    return samples % micro_batch == 0 and samples * trained % (minibatches * micro_batch) == 0


def small_gradient(run: Metrics) -> str | None:
    """A gradient that is not large against Adam's epsilon; 0 has no gradient to judge (UniRL 407)."""
    epsilon = float(run.algorithm.get("adam_epsilon", 0))
    small = [rms for rms in run.values("grad_rms") if 0 < rms < EPSILON_MARGIN * epsilon]
    if not small:
        return None
    return (
        f"the gradient's RMS, {min(small):.2g}, is not well above algorithm.adam_epsilon, {epsilon:g}, in "
        f"{count(len(small), len(run.epochs))}: AdamW hardly adapts its steps"
    )


def no_contrast(run: Metrics) -> str | None:
    """`nft` whose lagged policy is the trained one, in at least half of the epochs (UniRL 420)."""
    found = run.values("nft/contrast")
    none = found.count(0)
    if not none or none < len(found) / 2:
        return None
    return (
        f"nft/contrast was exactly 0 in {count(none, len(found))}: the lagged policy is the trained one, so that good "
        "and bad samples are not told apart but by their weights"
    )


def clip_never_acts(run: Metrics) -> str | None:
    """A clip fraction of 0 all along; a single step an epoch, at a ratio of 1, has nothing to clip."""
    found = run.values("clip_fraction")
    if len(found) < SHORTEST or any(found) or not has_clip(run) or run.steps_per_epoch == 1:
        return None
    return f"no transition was outside the clip range in any of {len(found)} epochs: it is too wide to act"


def clip_stops_almost_all(run: Metrics) -> str | None:
    """A clip fraction near the most that it can be all along: the first step of an epoch begins at a ratio of 1."""
    found, steps = run.values("clip_fraction"), run.steps_per_epoch
    most = 1 - 1 / steps if steps > 1 else 1.0
    if not found or min(found) < ALMOST_ALL * most:
        return None
    return f"at least {100 * min(found):.0f} % of the transitions of every epoch were clipped, and taught nothing"


def has_clip(run: Metrics) -> bool:
    """`dpo` has none by default."""
    return run.algorithm.get("clip_range") not in (0, 0.0)


def kl_without_effect(run: Metrics) -> str | None:
    """A penalty that is weighed and stays exactly 0, though the policy moves: it holds nothing back."""
    for metric, weight in PENALTIES.items():
        found = run.values(metric)
        if run.steps_per_epoch == 1:  # the only step of the first epoch begins at the pretrained policy
            found = found[1:]
        if run.algorithm.get(weight) and found and not any(found):
            return f"{metric} was exactly 0 in {count(len(found), len(found))}, although {weight} is on"
    return None


def kl_runs_away(run: Metrics) -> str | None:
    """A KL to the pretrained model that keeps growing while the reward is no higher than at the start."""
    rows = [row for row in run.epochs if row.get("kl_reference_nats") is not None and "reward_mean" in row]
    if len(rows) < LONG:
        return None
    _, middle, last = thirds([row["kl_reference_nats"] for row in rows])
    before, _, after = thirds([row["reward_mean"] for row in rows])
    if last < max(GROWTH * middle, SMALLEST_NATS) or after > before:
        return None
    return (
        f"the KL to the pretrained model grew from {middle:.4g} nats in the middle third of the epochs to {last:.4g} "
        f"in the last, while the reward went from {before:.4g} in the first third to {after:.4g}"
    )
