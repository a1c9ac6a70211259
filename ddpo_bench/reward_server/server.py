"""The process of a reward server: its token, its socket, what it prints, and its end."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

import uvicorn

from ddpo_bench.config import ConfigError
from ddpo_bench.reward_bases.remote_format import TOKEN_VARIABLE
from ddpo_bench.reward_server.app import create_app
from ddpo_bench.reward_server.scoring import Scoring
from ddpo_bench.reward_server.settings import Settings

SHORTEST_TOKEN = 16
MOST_CONNECTIONS = 256
SECONDS_TO_END = 60  # for requests that are being answered


def serve(settings: Settings, listening: socket.socket, token: str, made: bool) -> None:
    """Answer requests until the process is told to end, and then those that have begun.

    Args:
        listening: the socket; connections wait there while rewards are loaded.
        made: whether the token is ours, so that it must be told.
    Raises:
        RewardError: where a reward cannot be loaded.
        KeyboardInterrupt: at the end.
    """
    scoring = Scoring(settings)
    scoring.start()
    config = uvicorn.Config(
        create_app(scoring, token), http="h11", ws="none", log_level="warning", access_log=False, proxy_headers=False,
        server_header=False, limit_concurrency=MOST_CONNECTIONS, timeout_graceful_shutdown=SECONDS_TO_END,
    )  # fmt: skip
    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    for name, fingerprint in scoring.fingerprints.items():
        print(f"reward: {{name: remote, reward: {name}, url: '{url}', fingerprint: {fingerprint}}}")
    if made:
        print(f"export {TOKEN_VARIABLE}={token}")
    print(f"Serving on {url}. Ctrl-C or SIGTERM ends it.", flush=True)
    uvicorn.Server(config).run([listening])


def token_of(file: Path | None) -> tuple[str, bool]:
    """The token of a file, or else of the environment, or else a new one; and whether it is new.

    Raises:
        ConfigError: where the file cannot be read, or the token is too short or cannot be sent.
    """
    where, given = f"the environment variable {TOKEN_VARIABLE}", os.environ.get(TOKEN_VARIABLE, "")
    if file:
        where = str(file)
        try:
            given = file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ConfigError([f"--token-file {file}: cannot be read: {error}."]) from None
    elif not given:
        return secrets.token_urlsafe(32), True
    token = given.strip()
    if len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigError([f"{where}: a token has at least {SHORTEST_TOKEN} letters, digits or signs, without spaces."])
    return token, False
