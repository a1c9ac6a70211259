"""A denoising step as a policy: sampling, log-prob, exact KL and policy losses, in Triton and in torch."""

from ddpo_kernels.affine import policy_loss, sample, score, step_loss
from ddpo_kernels.backend import Backend, BackendUnavailable, check_backend
from ddpo_kernels.gaussian import gaussian_kl, gaussian_log_prob, per_sample
from ddpo_kernels.loss import STATISTICS, PolicyLoss
from ddpo_kernels.step import AffineStep, StepResult, form_mean, guided, std
from ddpo_kernels.table import NoDensity, coefficient_table

__all__ = [
    "STATISTICS",
    "AffineStep",
    "Backend",
    "BackendUnavailable",
    "NoDensity",
    "PolicyLoss",
    "StepResult",
    "check_backend",
    "coefficient_table",
    "form_mean",
    "gaussian_kl",
    "gaussian_log_prob",
    "guided",
    "per_sample",
    "policy_loss",
    "sample",
    "score",
    "std",
    "step_loss",
]
