"""Latents that stay in host memory while learning is elsewhere; the meta device stands in for a GPU."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ddpo_bench.algorithm_bases.replay import Replay
from ddpo_bench.host_memory import empty_like_first, is_large, pick
from ddpo_bench.protocols import Conditioning

CPU, ELSEWHERE = torch.device("cpu"), torch.device("meta")


def test_what_is_picked_comes_to_the_device_and_the_rest_stays() -> None:
    stored = torch.arange(24.0).view(4, 3, 2)
    samples, steps = torch.tensor([3, 0]), torch.tensor([1, 2])
    assert torch.equal(pick(stored, samples, steps, CPU), stored[[3, 0], [1, 2]])
    moved = pick(stored, samples, steps, ELSEWHERE)
    assert (moved.device, moved.shape) == (ELSEWHERE, (2, 2))


def test_a_replay_follows_where_rollouts_are_kept_and_learns_on_the_device_of_its_rewards() -> None:
    conditioning = Conditioning({}, torch.zeros(2, 3))
    on_host = Replay(torch.zeros(2, 4, 1), torch.zeros(2), conditioning)
    elsewhere = dataclasses.replace(on_host, latents=on_host.latents.to(ELSEWHERE))
    assert on_host.extended(elsewhere, 3).latents.device == ELSEWHERE
    assert on_host.extended(on_host, 3).latents.shape == (3, 4, 1)
    assert on_host.states(torch.tensor([1]), torch.tensor([3])).shape == (1, 1)


def test_a_rollout_over_a_quarter_of_what_is_free_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (600, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)  # 200 are cached, and free too
    assert [is_large(size, gpu) for size in (200, 201)] == [False, True]
    assert not is_large(10**15, CPU)
    assert empty_like_first(torch.zeros(2, 3), 5, on_host=True).shape == (5, 3)
