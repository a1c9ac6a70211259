"""A book in a real PostgreSQL, which the test starts on the loopback."""

import os
import random
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from test_chaos import check, harass, start, undisturbed, write_suite  # noqa: F401

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path(shutil.which("initdb") or "/none/bin").parent]
pytestmark = pytest.mark.skipif(not (BINARIES[-1] / "initdb").exists(), reason="PostgreSQL's server is not installed")


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


def test_two_hosts_share_a_database_while_workers_of_both_are_killed(undisturbed, tmp_path, database):  # noqa: F811
    folder = write_suite(tmp_path / "shared")
    options = ("--workers", "2", "--storage", database)
    commands = [start(folder, *options, FAKE_HOST=host) for host in ("castor", "pollux")]
    killed = harass(commands, random.Random(3), mean_pause=0.7)
    output = "\n".join(path.read_text() for path in folder.glob("output-*.txt"))
    assert [command.returncode for command in commands] == [0, 0], output
    assert killed > 0
    check(folder, undisturbed, database)
    assert not (folder / "suite" / "study.journal").exists()


def test_a_database_that_is_not_there_is_one_line_and_exit_code_1(tmp_path):
    folder = write_suite(tmp_path / "lonely")
    command = start(folder, "--storage", "postgresql://sweeper@127.0.0.1:1/postgres")
    assert command.wait(120) == 1
    (output,) = [path.read_text() for path in folder.glob("output-*.txt")]
    assert output.startswith("--storage postgresql://sweeper@127.0.0.1:1/postgres: cannot be opened")
    assert output.count("\n") == 1
