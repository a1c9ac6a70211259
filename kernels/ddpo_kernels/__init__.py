"""A denoising step as a policy: noise, sampling, log-prob, exact KL and PPO's loss, in Triton and in torch."""

from ddpo_kernels.affine import ppo_loss, sample, score
from ddpo_kernels.backend import Backend, BackendUnavailable, check_backend
from ddpo_kernels.gaussian import gaussian_kl, gaussian_log_prob, per_sample
from ddpo_kernels.loss import Statistics, excess
from ddpo_kernels.noise import normal
from ddpo_kernels.step import AffineStep, StepResult, form_mean, guided, std
from ddpo_kernels.table import NoDensity, coefficient_table

__all__ = [
    "AffineStep",
    "Backend",
    "BackendUnavailable",
    "NoDensity",
    "Statistics",
    "StepResult",
    "check_backend",
    "coefficient_table",
    "excess",
    "form_mean",
    "gaussian_kl",
    "gaussian_log_prob",
    "guided",
    "normal",
    "per_sample",
    "ppo_loss",
    "sample",
    "score",
    "std",
]
