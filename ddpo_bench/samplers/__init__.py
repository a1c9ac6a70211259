"""Transition laws: what turns a model output into the Gaussian of x_{t-1}."""

from ddpo_bench.samplers.ddim_step import ddim_step_with_logprob
from ddpo_bench.samplers.pipeline import pipeline_with_logprob

__all__ = ["ddim_step_with_logprob", "pipeline_with_logprob"]
