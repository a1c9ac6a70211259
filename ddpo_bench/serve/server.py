"""The server's process: its socket, its address, and its end."""

from __future__ import annotations

import errno
import socket

import uvicorn

from ddpo_bench.config import ConfigError
from ddpo_bench.serve.access import SEND_SECONDS
from ddpo_bench.serve.app import create_app
from ddpo_bench.serve.settings import Settings

MOST_CONNECTIONS = 256
SECONDS_TO_END = 1  # for requests that are being answered


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
        server_header=False, limit_concurrency=MOST_CONNECTIONS, timeout_graceful_shutdown=SECONDS_TO_END,
    )  # fmt: skip
    uvicorn.Server(config).run([listening])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, whose connections the kernel ends where a client takes nothing for some time.

    Raises:
        ConfigError: where nothing can listen there.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SEND_SECONDS * 1000)
        listening.bind(place)
        listening.listen(128)
    except OSError as error:
        raise ConfigError([mistake(host, port, error)]) from None
    return listening


def mistake(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--port {port}: another program listens there. Give another, or 0 for any that is free."
    if error.errno == errno.EACCES:
        return f"--port {port}: needs the rights of the administrator. Give one above 1023."
    reason = error.strerror or error
    return f"--host {host}: cannot listen there: {reason}. Give an address of this machine, as in --host 127.0.0.1."


def address(settings: Settings, listening: socket.socket) -> str:
    """What to open in a browser, with the token."""
    host = socket.gethostname() if settings.host in ("0.0.0.0", "::") else settings.host
    token = f"?token={settings.token}" if settings.token else ""
    return f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/{token}"
