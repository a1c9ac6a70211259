"""The server's process: its socket, its address, and its end."""

from __future__ import annotations

import socket

import uvicorn

from ddpo_bench.serve.app import create_app
from ddpo_bench.serve.listening import listen
from ddpo_bench.serve.settings import Settings

MOST_CONNECTIONS = 256
SECONDS_TO_END = 1  # for requests that are being answered
SECONDS_KEPT = 60  # that an idle connection stays: longer than any Retry-After, so that none is closed as it is used


def serve(settings: Settings) -> None:
    """Answer requests until the process is told to end.

    Raises:
        ConfigError: where nothing can listen on that address.
        KeyboardInterrupt: at the end.
    """
    listening = listen(settings.host, settings.port)
    print(f"Open {address(settings, listening)}\nCtrl-C ends it.", flush=True)
    config = uvicorn.Config(
        create_app(settings), http="h11", ws="none", log_level="warning", access_log=False, proxy_headers=False,
        server_header=False, limit_concurrency=MOST_CONNECTIONS, timeout_keep_alive=SECONDS_KEPT,
        timeout_graceful_shutdown=SECONDS_TO_END,
    )  # fmt: skip
    Server(config).run([listening])


class Server(uvicorn.Server):
    """A server whose event streams, which have no end of their own, end with it."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for task in self.server_state.tasks:
            task.cancel()
        await super().shutdown(sockets)


def address(settings: Settings, listening: socket.socket) -> str:
    """What to open in a browser, with the token."""
    host = socket.gethostname() if settings.host in ("0.0.0.0", "::") else settings.host
    token = f"?token={settings.token}" if settings.token else ""
    return f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/{token}"
