"""Operations of a denoising step as a policy: guidance, Gaussian log-prob, exact KL."""

from ddpo_kernels.gaussian import gaussian_kl, gaussian_log_prob, guided, per_sample

__all__ = ["gaussian_kl", "gaussian_log_prob", "guided", "per_sample"]
