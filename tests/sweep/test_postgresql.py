"""A run queue in a real PostgreSQL, which the test starts on the loopback."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from queues import write_suite
from test_chaos import share_and_check

from ddpo_bench import cli

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path(shutil.which("initdb") or "/none/bin").parent]
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not (BINARIES[-1] / "initdb").exists(), reason="PostgreSQL's server is not installed"),
]


def as_server(*command):
    """A command of the server's, which refuses to run as root."""
    switch = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    subprocess.run([*switch, *map(str, command)], check=True, stdout=subprocess.DEVNULL, cwd="/")


@pytest.fixture
def database():
    """URL of an empty database."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    as_server(BINARIES[-1] / "initdb", "--auth=trust", "--username=sweeper", "-D", folder / "data")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    as_server(BINARIES[-1] / "pg_ctl", "-w", "-D", folder / "data", "-l", folder / "log", "-o", options, "start")
    yield f"postgresql://sweeper@127.0.0.1:{port}/postgres"
    as_server(BINARIES[-1] / "pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")
    shutil.rmtree(folder)


def test_two_hosts_share_a_database_while_workers_of_both_are_killed(tmp_path, database):
    share_and_check(tmp_path, "--storage", database, storage=database)
    assert not (tmp_path / "suite" / "study.journal").exists()


def test_a_database_that_is_not_there_is_one_line_and_exit_code_1(tmp_path, capsys):
    url = "postgresql://sweeper@127.0.0.1:1/postgres"
    suite = write_suite(tmp_path / "mine.yaml")
    assert cli.main(["run", str(suite), "--results", str(tmp_path), "--storage", url]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"--storage {url}: cannot be opened")
    assert said.count("\n") == 1
