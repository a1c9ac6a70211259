"""`ddpo-bench serve` as a process of its own, with many clients at once, some of which do not read."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from served import make_run

from ddpo_bench import cli

CLIENTS, UNREAD = 50, 6
GROWTH = 200 * 2**20  # bytes, of which most is memory that is used and given back in each generation


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    folder = tmp_path_factory.mktemp("process")
    make_run(folder / "results" / "tiny", tiny_model, "ppo", 0)
    command = [sys.executable, "-m", "ddpo_bench", "serve", str(folder / "results"), "--port", "0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder)
    try:
        assert process.stdout is not None
        address = re.fullmatch(r"Open (http://127\.0\.0\.1:\d+/)\n", process.stdout.readline())
        assert address
        yield process, address[1]
    finally:
        process.kill()
        process.wait()


def resident(process: subprocess.Popen[str]) -> int:
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def one_client(client: httpx.AsyncClient, number: int) -> tuple[int, bytes]:
    """Asks until it gets a picture; returns how often it was told to come again, and the picture."""
    body = {"models": ["tiny/ppo-0123456789ab/seed-0"], "prompt": "rain", "seed": number, "steps": 1}
    for refused in range(200):
        answer = await client.post("api/generate", json=body, headers={"Accept": "image/png"})
        if answer.status_code == 200:
            return refused, answer.content
        assert answer.status_code == 503
        await asyncio.sleep(int(answer.headers["Retry-After"]))
    raise AssertionError("never answered")


def test_fifty_clients_all_get_their_picture_while_others_do_not_read(
    server: tuple[subprocess.Popen[str], str],
) -> None:
    process, address = server

    async def load() -> list[tuple[int, bytes]]:
        limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=address, timeout=300, limits=limits) as client:
            await one_client(client, 0)
            before = resident(process)
            with ExitStack() as stuck:
                for _ in range(UNREAD):
                    stuck.enter_context(unread(address))
                found = await asyncio.gather(*(one_client(client, number) for number in range(CLIENTS)))
                assert resident(process) - before < GROWTH
                return found

    found = asyncio.run(load())
    assert len({picture for _, picture in found}) == CLIENTS  # each its own, since each has a seed of its own
    assert any(refused for refused, _ in found)  # more came than may wait
    text = httpx.get(f"{address}metrics").text
    print(f"waited at most: 95 % {quantile(text, 0.95)} s; refused {sum(refused for refused, _ in found)} times")
    assert re.search(r'generations_total\{outcome="done"\} (\d+)', text)


def unread(address: str) -> socket.socket:
    """A connection that asks for a stream and never reads it."""
    host, port = re.findall(r"//(.+):(\d+)/", address)[0]
    connection = socket.create_connection((host, int(port)))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    body = b'{"models": ["tiny/ppo-0123456789ab/seed-0"], "prompt": "rain", "steps": 8}'
    head = f"POST /api/generate HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    head += f"Accept: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def quantile(metrics: str, share: float) -> str:
    """The upper end of the bucket in which a share of the waits lies."""
    buckets = re.findall(r'waited_seconds_bucket\{le="([^"]+)"\} ([\d.]+)', metrics)
    return next(end for end, count in buckets if float(count) >= share * float(buckets[-1][1]))


def test_a_port_that_is_taken_is_one_line(
    server: tuple[subprocess.Popen[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = server[1].rpartition(":")[2].strip("/")
    assert cli.main(["serve", str(tmp_path), "--port", port]) == 1
    told = f"--port {port}: another program listens there. Give another, or 0 for any that is free.\n"
    assert capsys.readouterr().err == told


def test_ctrl_c_ends_it_while_a_client_listens(server: tuple[subprocess.Popen[str], str]) -> None:
    process, address = server
    listening = unread(address)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    listening.close()
    assert process.returncode == 0
    assert output.rstrip().endswith("Stopped.")
