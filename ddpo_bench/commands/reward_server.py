"""`ddpo-bench reward-server`: rewards for runs on other GPUs and hosts."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ddpo_bench.commands.command import Command
from ddpo_bench.commands.serve import port

NOT_INSTALLED = (
    "reward-server needs FastAPI, uvicorn and prometheus-client, which are not installed: "
    'pip install "ddpo-bench[serve]"'
)
EXAMPLES = """\
examples:
  ddpo-bench reward-server rewards.yaml                       for runs on this machine, on http://127.0.0.1:8100
  ddpo-bench reward-server rewards.yaml --host 0.0.0.0        for runs on other machines too
  CUDA_VISIBLE_DEVICES=1 ddpo-bench reward-server rewards.yaml --token-file token.txt

FILE holds what is served, for example

  rewards:
    - reward: {name: pickscore, batch_size: 64}
    - {name: brightness, reward: python:my_rewards:brightness}

A run uses it by reward: {name: remote, reward: pickscore}. Both sides have the token in the environment variable
DDPO_BENCH_REWARD_TOKEN; the server makes and prints one where it is given none.
"""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a YAML file of rewards")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=port, default=8100, help="port to listen on; 0 takes a free one (default: 8100)")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="file of the token that requests must carry")


def execute(args: Namespace) -> int:
    from ddpo_bench.config import ConfigError

    try:
        from ddpo_bench.reward_server.server import serve, token_of
        from ddpo_bench.reward_server.settings import load_settings
        from ddpo_bench.serve.listening import listen
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "uvicorn", "starlette", "prometheus_client"):
            raise
        raise ConfigError([NOT_INSTALLED]) from None
    token, made = token_of(args.token_file)
    settings = load_settings(args.file)
    try:
        serve(settings, listen(args.host, args.port), token, made)
    except KeyboardInterrupt:
        print("Stopped.")
    return 0


COMMAND = Command("score images for runs on other GPUs and hosts", EXAMPLES, add_options, execute)
