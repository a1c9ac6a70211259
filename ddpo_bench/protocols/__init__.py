"""What plugins must offer, and the data that passes between them."""

from ddpo_bench.protocols.advantages import AdvantageEstimator
from ddpo_bench.protocols.algorithms import Algorithm
from ddpo_bench.protocols.policies import Conditioning, CopyName, Footprint, PassCost, Policy, SeenPrompt
from ddpo_bench.protocols.rewards import Metadata, Reward, RewardOutput
from ddpo_bench.protocols.rollouts import Rollout, Trajectories
from ddpo_bench.protocols.samplers import Law, Sampler

__all__ = [
    "AdvantageEstimator",
    "Algorithm",
    "Conditioning",
    "CopyName",
    "Footprint",
    "Law",
    "Metadata",
    "PassCost",
    "Policy",
    "Reward",
    "RewardOutput",
    "Rollout",
    "Sampler",
    "SeenPrompt",
    "Trajectories",
]
