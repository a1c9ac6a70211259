"""A run on a remote and a local reward survives the death of the server, and of itself, with the same numbers."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import reward_servers
from killable import DieAtRow
from run_rows import numbers, rows_of
from warm_processes import WARM

from ddpo_bench.config import RunConfig
from ddpo_bench.reward_bases.remote_format import TOKEN_VARIABLE
from ddpo_bench.training.trainer import train

LOGGER = "wandb" if importlib.util.find_spec("wandb") else "none"


@dataclass
class KillAtRow:
    """SIGKILL another process when the n-th row has been written."""

    n: int
    process: int

    def __call__(self, row: dict[str, Any]) -> None:
        self.n -= "sampled" not in row
        if self.n == 0 and "sampled" not in row:
            os.kill(self.process, signal.SIGKILL)


def train_with_token(config: RunConfig, folder: Path, *on_row: Callable[[dict[str, Any]], None]) -> None:
    """Processes have the environment of the server that forks them, which may be older than the test."""
    os.environ |= {TOKEN_VARIABLE: reward_servers.TOKEN, "WANDB_MODE": "offline"}
    train(config, folder, *on_row)


def session(config: RunConfig, folder: Path, *on_row: Callable[[dict[str, Any]], None]) -> Any:
    process = WARM.Process(target=train_with_token, args=(config, folder, *on_row))
    process.start()
    return process


def serving(file: Path, port: int) -> Any:
    process = reward_servers.process(file, port)
    process.start()
    return process


def test_a_run_goes_on_where_its_reward_server_is_killed_and_where_it_is_killed_itself(
    tiny_run: Callable[..., RunConfig], tmp_path: Path
) -> None:
    (tmp_path / "rewards.yaml").write_text("rewards: [{reward: {name: target_colour, colour: red}, name: red}]")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    remote = {"name": "remote", "reward": "red", "url": f"http://127.0.0.1:{port}", "batch_size": 3}
    parts = [{"reward": remote, "normalise": "running"}, {"reward": "jpeg_compressibility", "weight": 0.1}]
    config, logged = (
        tiny_run("epochs=4", reward={"name": "combined", "parts": parts}, logger=logger) for logger in ("none", LOGGER)
    )
    server = serving(tmp_path / "rewards.yaml", port)
    unbroken = session(config, tmp_path / "unbroken")
    unbroken.join()
    assert unbroken.exitcode == 0

    killed = session(logged, tmp_path / "broken", DieAtRow(2))  # before the checkpoint that follows
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    resumed = session(logged, tmp_path / "broken", KillAtRow(1, server.pid))
    server.join()
    assert server.exitcode == -signal.SIGKILL
    server = serving(tmp_path / "rewards.yaml", port)
    resumed.join()
    assert resumed.exitcode == 0
    server.terminate()
    server.join()
    assert server.exitcode == 0

    assert numbers(tmp_path / "broken") == numbers(tmp_path / "unbroken")
    status = json.loads((tmp_path / "broken" / "status.json").read_text())
    assert status["state"] == "done"
    (row,) = [row for row in rows_of(tmp_path / "broken") if row.get("queries") == 16]
    assert {"reward/remote reward=red", "reward/jpeg_compressibility"} <= row.keys()
    last = rows_of(tmp_path / "broken")[-1]
    assert {"eval/remote reward=red", "eval/jpeg_compressibility"} <= last.keys()
    assert any(key.startswith("eval/combined remote reward=red running") for key in last)
