"""The socket of a server, or why there is none."""

from __future__ import annotations

import errno
import socket

from ddpo_bench.config import ConfigError
from ddpo_bench.serve.access import SEND_SECONDS


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
