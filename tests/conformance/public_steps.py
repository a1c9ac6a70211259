"""Step functions in the calling conventions of the public implementations: right ones, and each with a fault."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
Step = Callable[..., Any]


def by_sample(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def ddim(fault: str = "") -> Step:
    """DDIM's step, with a fault of this name."""

    def step(
        scheduler: Any,
        model_output: Tensor,
        timestep: Any,
        sample: Tensor,
        eta: float = 0.0,
        generator: torch.Generator | None = None,
        prev_sample: Tensor | None = None,
    ) -> Any:
        if eta == 0 and fault != "no refusal":
            raise ValueError("eta = 0 has no density")
        output, x = model_output.float(), sample.float()
        if fault == "batch-global statistics":
            x = x * (1 + 0.01 * (x.std() - x.flatten(1).std(1).view(-1, 1, 1, 1)))
        t = torch.as_tensor(timestep).reshape(-1).expand(len(x))
        if fault == "first timestep for all":
            t = t[:1].expand(len(x))
        if fault == "item per sample":
            t = torch.tensor([one.item() for one in t])
        if fault == "wrong shared timestep" and torch.as_tensor(timestep).ndim == 0:
            t = t - 1
        before = t - scheduler.config.num_train_timesteps // scheduler.num_inference_steps
        alphas = scheduler.alphas_cumprod
        a, a_prev = alphas[t], alphas[before if fault == "wrong last step" else before.clamp_min(0)]
        if fault == "first step of another schedule":
            a = torch.where(t == scheduler.timesteps[0], alphas[-1], a)
        std = eta * ((1 - a_prev) / (1 - a) * (1 - a / a_prev)).sqrt()
        if fault == "sigma floor":
            std = std.clamp_min(0.05)
        a, a_prev, std = by_sample(a), by_sample(a_prev), by_sample(std)
        if scheduler.config.prediction_type == "epsilon":
            x_0, eps = (x - (1 - a).sqrt() * output) / a.sqrt(), output
        elif scheduler.config.prediction_type == "v_prediction":
            sign = -1 if fault == "wrong v-prediction" else 1
            x_0 = a.sqrt() * x - sign * (1 - a).sqrt() * output
            eps = a.sqrt() * output + (1 - a).sqrt() * x
        else:
            x_0, eps = output, (x - a.sqrt() * output) / (1 - a).sqrt()
        mean = a_prev.sqrt() * x_0 + (1 - a_prev - std**2).clamp_min(0).sqrt() * eps
        if fault == "gradient halved":
            mean = 0.5 * mean + 0.5 * mean.detach()
        if fault == "no gradient":
            mean = mean.detach()
        given = prev_sample is not None
        if prev_sample is None:
            if fault == "own seed":
                generator = torch.Generator().manual_seed(0)
            if fault == "unseeded":
                generator = torch.Generator()
                generator.seed()
            noise = torch.randn(mean.shape, generator=generator)
            drawn = mean + std * (0.9 if fault == "too little noise" else 1.0) * noise
            prev_sample = drawn if fault == "rounded after scoring" else drawn.to(sample.dtype)
        scored = prev_sample if fault == "gradient through prev_sample" else prev_sample.detach()
        squares = -((scored.float() - mean) ** 2)
        logs = {"no constants": 0.0, "no 2 pi": -std.log(), "no log std": -LOG_SQRT_2PI}
        log_prob = squares / (2 * std**2) + logs.get(fault, -std.log() - LOG_SQRT_2PI)
        if fault == "unweighted squares":
            log_prob = squares
        flat = log_prob.flatten(1)
        reduced = flat.sum(1) if fault == "sum" else flat.mean(1)
        if fault == "changed in place" and given:
            prev_sample.detach().clamp_(-1, 1)
        returned = prev_sample.clamp(-1, 1) if fault == "sample clamped" and given else prev_sample
        return returned.to(sample.dtype), reduced

    return step


def flow(fault: str = "") -> Step:
    """Flow-GRPO's step, with a fault of this name."""

    def step(
        scheduler: Any,
        model_output: Tensor,
        timestep: Tensor,
        sample: Tensor,
        noise_level: float = 0.7,
        prev_sample: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Any:
        if noise_level == 0 and fault != "no refusal":
            raise ValueError("noise_level = 0 has no density")
        v, x = model_output.float(), sample.float()
        index = (scheduler.timesteps == timestep[:, None]).long().argmax(1)
        s, following = scheduler.sigmas[index], scheduler.sigmas[index + 1]
        top = 0.99 if fault == "another first sigma" else scheduler.sigmas[1]
        g = noise_level * (s / (1 - torch.where(s == 1, top, s))).sqrt()
        if fault == "constant noise":
            g = torch.full_like(s, noise_level)
        s, dt, g = by_sample(s), by_sample(following - s), by_sample(g)
        std = g * (-dt).sqrt()
        mean = x * (1 + g**2 / (2 * s) * dt) + v * (1 + g**2 * (1 - s) / (2 * s)) * dt
        if prev_sample is None:
            prev_sample = (mean + std * torch.randn(mean.shape, generator=generator)).to(sample.dtype)
        squares = (prev_sample.detach().float() - mean) ** 2
        log_prob = (-squares / (2 * std**2) - std.log() - LOG_SQRT_2PI).flatten(1).mean(1)
        returned = mean + 0.1 * std if fault == "another mean returned" else mean
        return prev_sample, log_prob, returned, g if fault == "g for std" else std

    return step
