"""The resumable training loop of all stages of the embedded model's recipe: Muon, cosine decay, EMA, checkpoints.

On a CPU it is data parallel over processes of one thread each, which are faster than one process with many threads. On
a GPU it is one process, and others prepare its batches.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

EMA_DECAY = 0.998
WARMUP_STEPS = 100
CHECKPOINT_EVERY = 200


@dataclass(frozen=True)
class Schedule:
    """The length and step sizes of a stage: `steps` optimiser steps, each on `batch` samples over all processes."""

    steps: int
    batch: int
    muon_rate: float = 0.01
    adam_rate: float = 1.5e-3


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalised updates (Jordan et al. 2024) for matrices and convolutions, flattened to [out, -1].

    torch.optim.Muon takes only 2-D parameters, and most of ours are convolutions.
    """

    def __init__(self, params: list[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.01):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                momentum.lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(momentum, group["momentum"]).flatten(1)
                scale = max(1, update.shape[0] / update.shape[1]) ** 0.5
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(orthogonalise(update).reshape(parameter.shape), alpha=-group["lr"] * scale)


def orthogonalise(matrix: Tensor) -> Tensor:
    """Five Newton-Schulz steps towards the nearest semi-orthogonal matrix (Jordan et al. 2024)."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x.bfloat16() if has_bfloat16(matrix.device) else x
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes bf16 faster than fp32; a CPU without instructions for it emulates them slowly."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast(device: torch.device) -> torch.autocast:
    """Autocast to bf16 where the device has it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))


def world_and_rank() -> tuple[int, int]:
    """The number of processes that train together, and the index of this one."""
    return (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)


class Objective(Protocol):
    """What a stage minimises. `seed` is (step, rank), so that a resumed stage draws the same data and noise."""

    def batch(self, seed: tuple[int, int], size: int) -> Any:
        """The data of a step, tensors on the CPU; made in another process where the model is on a GPU."""

    def loss(self, model: nn.Module, batch: Any, seed: tuple[int, int]) -> Tensor:
        """The mean loss of a batch, a scalar."""


class Batches(Dataset[Any]):
    """The batches of one rank, by step."""

    def __init__(self, objective: Objective, rank: int, size: int):
        self.objective, self.rank, self.size = objective, rank, size

    def __getitem__(self, step: int) -> Any:
        return self.objective.batch((step, self.rank), self.size)


def loader(batches: Dataset[Any], order: Sequence[int], device: torch.device) -> DataLoader[Any]:
    """Items in order, made by as many processes as there are cores where the device is a GPU."""
    workers = os.cpu_count() or 1 if device.type == "cuda" else 0
    return DataLoader(batches, batch_size=None, sampler=order, num_workers=workers)


def fit(name: str, model: nn.Module, objective: Objective, schedule: Schedule, folder: Path) -> nn.Module:
    """Train `model` and return its exponential moving average, continuing from `folder/<name>.pt` where that exists.

    Args:
        name: the name of the stage.
        model: the model to train, on the device on which it is trained.
        objective: makes batches and losses.
        schedule: the length and step sizes.
        folder: where checkpoints are written.
    """
    world, rank = world_and_rank()
    path = folder / f"{name}.pt"
    average = copy.deepcopy(model).requires_grad_(False)
    optimisers = make_optimisers(model, schedule)
    start = restore(path, model, average, optimisers)
    clock, seen = time.perf_counter(), 0
    steps, device = range(start, schedule.steps), next(model.parameters()).device
    data = loader(Batches(objective, rank, schedule.batch // world), steps, device)
    for step, batch in zip(steps, data, strict=True):
        set_rates(optimisers, schedule, step)
        loss = objective.loss(model, batch, (step, rank))
        loss.backward()
        if world > 1:
            average_gradients(model, world)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        update_average(average, model, step)
        seen += schedule.batch
        if (step + 1) % 50 == 0 and rank == 0:
            rate = seen / (time.perf_counter() - clock)
            print(f"{name}: step {step + 1}/{schedule.steps}  loss {loss.item():.5f}  {rate:.0f} images/s", flush=True)
        if rank == 0 and ((step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == schedule.steps):
            save(path, step + 1, model, average, optimisers)
    return average.eval()


def average_gradients(model: nn.Module, world: int) -> None:
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients]) / world
    dist.all_reduce(flat)
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def make_optimisers(model: nn.Module, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Muon for hidden matrices and convolutions; AdamW for embeddings, norms (with what modulates them), biases, first
    and last layers."""
    edges = ("embed", "norm", "conv_in", "conv_out", "head", "transformer.proj_out")
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    hidden = [p for name, p in trained if p.ndim >= 2 and not any(edge in name for edge in edges)]
    chosen = {id(p) for p in hidden}
    rest = [p for _, p in trained if id(p) not in chosen]
    adam = torch.optim.AdamW(rest, lr=schedule.adam_rate, betas=(0.9, 0.98), weight_decay=0.0, foreach=True)
    return [Muon(hidden, lr=schedule.muon_rate), adam]


def set_rates(optimisers: list[torch.optim.Optimizer], schedule: Schedule, step: int) -> None:
    progress = step / schedule.steps
    factor = min(1.0, (step + 1) / WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * progress))
    for optimiser, rate in zip(optimisers, (schedule.muon_rate, schedule.adam_rate), strict=True):
        for group in optimiser.param_groups:
            group["lr"] = rate * factor


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, step: int) -> None:
    decay = min(EMA_DECAY, (step + 1) / (step + 10))
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


def save(path: Path, step: int, model: nn.Module, average: nn.Module, optimisers: list[torch.optim.Optimizer]) -> None:
    state = {
        "step": step,
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def restore(path: Path, model: nn.Module, average: nn.Module, optimisers: list[torch.optim.Optimizer]) -> int:
    """Load a checkpoint into the given objects and return the step to resume from, 0 without one."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(saved)
    return int(state["step"])
