"""Who is alive, as the system and a heartbeat tell, and how a worker leaves that is taken for dead."""

import ctypes
import multiprocessing
import os
import platform
import signal
import threading
import time
from pathlib import Path

import pytest
from chaos import wait_for
from crash_points import in_a_process

from ddpo_bench.sweep import lease
from ddpo_bench.sweep.lease import HEARTBEAT, LEASE_SECONDS, Heartbeat, birth, is_alive, this_process, time_there

DEAD = {"host": "elsewhere", "space": "", "pid": 1, "born": "1"}


def test_a_process_that_got_a_dead_workers_number_is_not_the_worker():
    assert is_alive(this_process(), Path("."), 0.0)
    assert not is_alive(this_process() | {"born": "1"}, Path("."), 0.0)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="knows this machine's number of the system call exit")
def test_a_process_lives_while_one_of_its_threads_does():
    def leave_a_thread():
        threading.Thread(target=time.sleep, args=(60,)).start()
        ctypes.CDLL(None).syscall(60, 0)  # ends the first thread alone

    process = multiprocessing.get_context("fork").Process(target=leave_a_thread)
    process.start()
    stat = Path(f"/proc/{process.pid}/stat")
    wait_for(lambda: ") Z " in stat.read_text())
    assert birth(process.pid) is not None
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: birth(process.pid) is None)
    process.join()


def test_a_worker_on_another_host_lives_as_long_as_its_heartbeat(tmp_path):
    heartbeat = tmp_path / HEARTBEAT
    heartbeat.write_text("{}")
    assert is_alive(DEAD, tmp_path, 0.0)
    long_ago = heartbeat.stat().st_mtime - 2 * LEASE_SECONDS
    os.utime(heartbeat, (long_ago, long_ago))
    assert not is_alive(DEAD, tmp_path, 0.0)
    assert is_alive({}, tmp_path, time.time())  # claimed just now, and not signed yet


def test_where_nothing_can_be_written_our_own_clock_must_do(tmp_path, monkeypatch):
    monkeypatch.setattr(lease.time, "time", lambda: 7.0)
    assert time_there(tmp_path / "missing") == 7.0
    assert time_there(tmp_path) > 7.0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("still_ours", "reason"),
    [
        (lambda: False, "another worker has taken over the run"),
        (lambda: 1 / 0, "no heartbeat could be written for 0 s"),
    ],
)
def test_a_worker_that_cannot_show_that_it_lives_ends_and_says_why(tmp_path, capfd, still_ours, reason):
    def overtaken():
        lease.BEAT_SECONDS, lease.LEASE_SECONDS = 0.01, 0.1
        with Heartbeat(tmp_path, still_ours) as heartbeat:
            heartbeat.over.wait(60)

    assert in_a_process(overtaken) == 1
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith(f"{tmp_path}: {reason}")
    assert line.endswith("This worker ends; another one resumes from the checkpoint.")


def test_a_heartbeat_shows_life_on_a_full_disk(tmp_path, monkeypatch):
    def no_space(*args):
        raise OSError

    with Heartbeat(tmp_path, lambda: True) as heartbeat:
        monkeypatch.setattr(lease, "write_checksummed_json", no_space)
        os.utime(tmp_path / HEARTBEAT, (0, 0))
        heartbeat.write()
        assert (tmp_path / HEARTBEAT).stat().st_mtime > 0
