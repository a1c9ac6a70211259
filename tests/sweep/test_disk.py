"""A full disk or a folder that cannot be written: one clear line, nothing lost, and the same command ends the work."""

import errno
import itertools
import json

import pytest
from chaos import PATIENCE, said, start
from full_disk import environment, fill
from queues import write_suite
from real_sweep import command, outcome, write_real_suite
from warm_processes import WARM

from ddpo_bench import cli
from ddpo_bench.files import naming_disk_trouble

FULL = "no space is left on the disk. Free some, then run the same command again. Nothing is lost."
NUMBERS = itertools.count()
KINDS = [  # what does not fit on the disk any more, and how many bytes of it did
    ("results/", 0),  # nothing at all
    ("study.journal", 300),  # less than the entry of a run takes
    (r"heartbeat\..*\.json", 0),
    (r"metrics\.jsonl$", 300),  # an appended row, cut short
    (r"epoch-0001.*\.partial", 50_000),  # a checkpoint
]


def work(suite, results, prepare=None, *args):
    """The bare worker with the real trainer, in a child process; returns its exit code and what it said."""
    log = suite.parent / f"said-{next(NUMBERS)}.txt"
    arguments = ["work", suite, "--results", results]
    process = WARM.Process(target=command, args=(arguments, log, prepare, *args))
    process.start()
    process.join()
    return process.exitcode, log.read_text()


def last_line(text):
    assert "Traceback" not in text
    return text.splitlines()[-1]


@pytest.fixture(scope="module")
def suite(tiny_model, tmp_path_factory):
    return write_real_suite(tmp_path_factory.mktemp("suite"), tiny_model)


@pytest.fixture(scope="module")
def undisturbed(suite):
    """What a sweep that nothing stopped came to."""
    assert work(suite, suite.parent / "undisturbed")[0] == 0
    return outcome(suite.parent / "undisturbed" / "mine")


def test_a_worker_on_a_full_disk_says_so_in_one_line_and_resumes_when_there_is_room(suite, undisturbed, tmp_path):
    results = tmp_path / "results"
    for pattern, room in KINDS:
        code, output = work(suite, results, fill, pattern, room)
        assert code == 1, pattern
        assert last_line(output).startswith(f"{results / 'mine'}"), pattern
        assert last_line(output).endswith(FULL), pattern
        assert not list(results.rglob("*.partial")), pattern
        states = [json.loads(path.read_text())["state"] for path in results.rglob("status.json")]
        assert set(states) <= {"running", "killed"}, pattern
    code, output = work(suite, results)
    assert code == 0, output
    assert outcome(results / "mine") == undisturbed


def test_a_folder_that_cannot_be_written_is_one_line_and_stays_as_it_was(suite, undisturbed, tmp_path):
    results = tmp_path / "results"
    assert work(suite, results, fill, r"epoch-0001.*\.partial")[0] == 1
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    for error, what in [(errno.EROFS, "it is read-only"), (errno.EACCES, "permission denied")]:
        code, output = work(suite, results, fill, "results/", 0, error)
        assert code == 1
        assert last_line(output).startswith(f"{results / 'mine'}: {what}")
        assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("verb", [["run", "smoke", "--results"], ["work", "smoke", "--results"]])
def test_a_results_folder_below_a_file_is_one_line(verb, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert cli.main([*verb, str(tmp_path / "file" / "results")]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path}/file/results/smoke: cannot be created, because its name or a parent's is that of a file. "
        "Choose another folder, then run the same command again. Nothing is lost."
    ]
    assert (tmp_path / "file").read_text() == "mine"


def test_trouble_with_a_file_elsewhere_is_not_the_folders(tmp_path):
    with pytest.raises(PermissionError), naming_disk_trouble(tmp_path / "results"):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "model.bin"))


def fake_run(folder, **variables):
    """`ddpo-bench run` with worker processes and the fake trainer; returns its exit code and what it said."""
    command = start(folder, "run", folder / "mine.yaml", "--results", folder / "results", "--workers", "2", **variables)
    code, output = command.wait(PATIENCE), said(folder)
    for path in folder.glob("output-*.txt"):
        path.unlink()
    return code, output


@pytest.mark.long
@pytest.mark.parametrize(("pattern", "room"), [(r"status\..*\.json", 300), (r"report\..*\.html", 1000)])
def test_workers_on_a_full_disk_end_the_command_with_one_line(tmp_path, pattern, room):
    write_suite(tmp_path / "mine.yaml", seeds=[0, 1])
    code, output = fake_run(tmp_path, **environment(pattern, room))
    assert code == 1, output
    assert last_line(output) == f"{tmp_path / 'results' / 'mine'}: {FULL}"
    code, output = fake_run(tmp_path)
    assert code == 0, output
    folders = [path.parent for path in (tmp_path / "results").rglob("metrics.jsonl")]
    assert [json.loads((folder / "status.json").read_text())["state"] for folder in folders] == ["done"] * 4
    assert [len((folder / "metrics.jsonl").read_text().splitlines()) for folder in folders] == [3 + 2] * 4
