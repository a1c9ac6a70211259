"""A reward server in a thread, of the real application; and one in a process of its own."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from warm_processes import WARM

from ddpo_bench import cli
from ddpo_bench.reward_bases.remote_format import TOKEN_VARIABLE

TOKEN = "a-token-of-tests-0123456789"
REWARDS = [
    {"reward": "target_colour"},
    {"name": "red", "reward": {"name": "target_colour", "colour": "red"}},
    {"name": "scenes", "reward": "scene_alignment"},
    {"name": "size", "reward": "jpeg_compressibility"},
]


@cache
def scoring() -> Any:
    """The rewards of the server in a thread."""
    import torch

    from ddpo_bench.parsing import parse
    from ddpo_bench.reward_server.scoring import Scoring
    from ddpo_bench.reward_server.settings import Settings

    made = Scoring(parse(Settings, {"rewards": REWARDS, "most_images": 4, "largest_body": 1}, "", []))
    for name in set(made.rewards) - {"scenes"}:
        made.rewards[name].start(torch.device("cpu"))
    return made


@cache
def url() -> str:
    """Of the server in a thread, which is started at the first call."""
    import uvicorn

    from ddpo_bench.reward_server.app import create_app

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(scoring(), TOKEN), log_level="warning")
    threading.Thread(target=uvicorn.Server(config).run, args=([listening],), daemon=True).start()
    os.environ[TOKEN_VARIABLE] = TOKEN
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


def options_of(reward: str) -> dict[str, Any]:
    """Of the reward `remote`, so that it asks the server in a thread; of another reward none."""
    return {"url": url(), "batch_size": 3} if reward == "remote" else {}


def process(file: Path, port: int) -> Any:
    """A server of its own, not started; its end by SIGTERM is exit code 0."""
    return WARM.Process(target=serve, args=(str(file), str(port)))


def serve(file: str, port: str) -> None:
    os.environ[TOKEN_VARIABLE] = TOKEN
    raise SystemExit(cli.main(["reward-server", file, "--port", port]))


def wait_for(port: int) -> None:
    """Until a server listens there."""
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
