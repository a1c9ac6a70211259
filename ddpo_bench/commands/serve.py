"""`ddpo-bench serve`: trained models side by side in the browser, and results."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ddpo_bench.commands.command import Command, add_votes

if TYPE_CHECKING:
    from ddpo_bench.serve.settings import Settings

NOT_INSTALLED = 'serve needs FastAPI and uvicorn, which are not installed: pip install "ddpo-bench[serve]"'
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
SHORTEST_TOKEN = 16
EXAMPLES = """\
examples:
  ddpo-bench serve                                     everything in results/, on http://127.0.0.1:8000/
  ddpo-bench serve results/algos my-lora               one suite, and an exported LoRA
  ddpo-bench serve results/algos --memory 12GB         keep more fully trained models loaded
  ddpo-bench serve --host 0.0.0.0                      for others too: prints an address with a token
"""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        default=[Path("results")],
        metavar="RESULTS|RUN|LORA",
        help="results folders, folders of runs, and exported LoRA folders (default: results)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=port, default=8000, help="port to listen on; 0 takes a free one (default: 8000)")
    parser.add_argument(
        "--memory", type=size, default=size("4GB"), metavar="SIZE", help="what loaded models may take (default: 4GB)"
    )
    parser.add_argument(
        "--token",
        type=token,
        help="what every request must carry; beyond loopback one is made where none is given",
    )
    add_votes(parser)


def execute(args: Namespace) -> int:
    from ddpo_bench.config import ConfigError

    try:
        from ddpo_bench.serve.server import serve
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "prometheus_client", "starlette", "uvicorn"):
            raise
        raise ConfigError([NOT_INSTALLED]) from None
    try:
        serve(settings_of(args))
    except KeyboardInterrupt:
        print("\nStopped.")
    return 0


def settings_of(args: Namespace) -> Settings:
    """The settings, with a token of our own where others can reach the server and none was given.

    Raises:
        ConfigError: for a folder that does not exist.
    """
    import secrets

    from ddpo_bench.config import ConfigError
    from ddpo_bench.serve.settings import LOOPBACK, Settings
    from ddpo_bench.serve.votes import votes_file

    if missing := [folder for folder in args.folders if not folder.is_dir()]:
        told = "no such folder. Give results folders, folders of runs or exported LoRA folders"
        raise ConfigError([f"{folder}: {told}, or make results: ddpo-bench run smoke" for folder in missing])
    beyond = args.host not in LOOPBACK
    token = args.token or (secrets.token_urlsafe(24) if beyond else None)
    votes = args.votes or votes_file(args.folders)
    return Settings(tuple(args.folders), args.host, args.port, token, args.memory, votes=votes)


def size(text: str) -> int:
    """Parse a size such as 4GB or 500MB, in bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)B?", text.upper())
    if not match or not float(match[1]):
        raise ArgumentTypeError(f"expected a size such as 4GB or 500MB, got {text!r}")
    return int(float(match[1]) * UNITS[match[2]])


def port(text: str) -> int:
    """Parse the number of a port."""
    if not text.isdecimal() or int(text) > 65535:
        raise ArgumentTypeError(f"expected a port, 0 to 65535, got {text!r}")
    return int(text)


def token(text: str) -> str:
    """Parse a token, which must not be guessed."""
    if not re.fullmatch(r"[!-~]+", text) or len(text) < SHORTEST_TOKEN:
        raise ArgumentTypeError(f"expected at least {SHORTEST_TOKEN} letters, digits or signs without spaces")
    return text


COMMAND = Command("show results and trained models in the browser", EXAMPLES, add_options, execute)
