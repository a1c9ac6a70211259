"""No damaged file of a results folder is read silently: it is named with its remedy, or what it said is made anew."""

import itertools
import json
import random
import shutil
from types import SimpleNamespace

import pytest
from real_sweep import SAC, outcome, write_real_suite
from test_disk import work

from ddpo_bench.analysis.collect import collect
from ddpo_bench.checksummed import Damaged
from ddpo_bench.config import ConfigError
from ddpo_bench.run_folder.places import ResultsError
from ddpo_bench.run_folder.status import read_status
from ddpo_bench.sweep.lease import HEARTBEAT, Heartbeat, news_of
from ddpo_bench.sweep.storage import StorageError, open_storage
from ddpo_bench.training.checkpoint import CorruptCheckpoint, load_newest
from ddpo_bench.training.metrics_file import MetricsFile

SEED = 11  # of the damages
CUT, EMPTY, FLIPPED = "cut short", "empty", "flipped"
NAMED = (Damaged, ResultsError, ConfigError, CorruptCheckpoint, StorageError)


def damages(content, how_many=25):
    """Kind and content of `how_many` files cut short at random, as many with a byte changed, and an empty one."""
    rng = random.Random(SEED)
    yield EMPTY, b""
    for _ in range(how_many):
        yield CUT, content[: rng.randrange(1, len(content))]
        yield FLIPPED, flipped(content, rng.randrange(len(content)), rng.randrange(8))


def flipped(content, at, bit=0):
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


def read_or_named(read, path):
    """What `read` gives, or None where it names the file in one line instead."""
    try:
        return read()
    except NAMED as error:
        line = str(error)
    assert str(path) in line
    assert "\n" not in line
    return None


def times_named(path, read, how_many=25):
    """How many damages of a file are named; with the others, what is read must be as before."""
    whole, before, named = path.read_bytes(), read(), 0
    for kind, content in damages(whole, how_many):
        path.write_bytes(content)
        found = read_or_named(read, path)
        named += found is None
        assert found in (None, before), f"{kind}, silently"
    return named


@pytest.fixture(scope="module")
def suite(tiny_model, tmp_path_factory):
    return write_real_suite(tmp_path_factory.mktemp("suite"), tiny_model, algorithms=(SAC,), epochs=3)


@pytest.fixture(scope="module")
def finished(suite):
    """results/<suite> with one run that is done."""
    assert work(suite, suite.parent / "finished")[0] == 0
    return suite.parent / "finished" / "mine"


def stop_after_two_epochs():
    from ddpo_bench.training.checkpoint import Checkpoints

    save = Checkpoints.save

    def save_twice(self, epoch, state, keep):
        save(self, epoch, state, keep)
        if epoch == 2:
            raise KeyboardInterrupt

    Checkpoints.save = save_twice


@pytest.fixture(scope="module")
def broken_off(suite):
    """results/<suite> with one run that was interrupted after two of its three epochs."""
    assert work(suite, suite.parent / "broken-off", stop_after_two_epochs)[0] == 130
    return suite.parent / "broken-off" / "mine"


@pytest.fixture
def place(tmp_path):
    """Copies a results folder; gives its root and the folder of its run."""

    def copied(results):
        root = shutil.copytree(results, tmp_path / "results" / "mine")
        (run,) = root.glob("runs/*/seed-0")
        return SimpleNamespace(root=root, run=run)

    return copied


@pytest.mark.parametrize(
    "name", ["status.json", "config.yaml", "provenance.json", "metrics.jsonl", "../../../suite.yaml"]
)
def test_a_table_names_a_damaged_file_or_is_as_it_was(finished, place, name):
    def figures():
        (record,) = collect(here.root)
        return record.status, record.seconds, record.config, record.provenance, record.epochs, record.evaluated

    here = place(finished)
    assert times_named((here.run / name).resolve(), figures) > 45


def test_a_checkpoint_is_loaded_as_it_was_written_or_named(broken_off, place):
    import torch

    here = place(broken_off)
    path = sorted((here.run / "checkpoint").iterdir())[-1]
    assert times_named(path, lambda: flat(load_newest(here.run, torch.device("cpu"))), 60) > 100


def flat(state):
    """All leaves of nested containers, tensors as lists."""
    if isinstance(state, dict):
        state = list(itertools.chain(*state.items()))
    if isinstance(state, (list, tuple)):
        return [leaf for part in state for leaf in flat(part)]
    return [state.tolist() if hasattr(state, "tolist") else state]


def test_rows_that_a_checkpoint_has_seen_are_there_on_resuming_or_named(broken_off, place):
    here = place(broken_off)
    path = here.run / "metrics.jsonl"
    whole, file = path.read_bytes(), MetricsFile(path)
    for line in whole.splitlines():
        file.append(json.loads(line))  # behind those that are there: only the checksum is wanted
    seen = file.state_dict()
    path.write_bytes(whole + b'{"epoch": 3, "que')
    MetricsFile(path).load_state_dict(seen)
    assert path.read_bytes() == whole
    for _, content in damages(whole):
        path.write_bytes(content)
        assert read_or_named(lambda: MetricsFile(path).load_state_dict(seen) or "read", path) is None
        assert path.read_bytes() == content


def test_a_damaged_heartbeat_is_no_news(tmp_path):
    with Heartbeat(tmp_path, lambda: True) as heartbeat:
        heartbeat.news = {"epoch": 3, "sampled": 4}
        heartbeat.write()
        whole = (tmp_path / HEARTBEAT).read_bytes()
        for _, content in damages(whole):
            (tmp_path / HEARTBEAT).write_bytes(content)
            assert news_of(tmp_path) in ({}, {"epoch": 3, "sampled": 4})


def test_a_damaged_journal_is_named_or_is_as_it_was_up_to_where_it_was_cut(finished, tmp_path):
    whole = (finished / "study.journal").read_bytes()
    path = tmp_path / "study.journal"
    path.write_bytes(whole)
    entries = [state_of(tmp_path)]
    for line in reversed(whole.splitlines(keepends=True)):
        path.write_bytes(path.read_bytes()[: -len(line)])
        entries.append(state_of(tmp_path))
    for kind, content in damages(whole, 60):
        path.write_bytes(content)
        found = read_or_named(lambda: state_of(tmp_path), path)
        assert found is None or found in entries, f"{kind}, silently"


def state_of(root):
    stored = open_storage(None, root)
    return [
        (study.study_name, [(t.state, t.params, t.user_attrs, t.intermediate_values, t.values) for t in trials])
        for study in stored.get_all_studies()
        for trials in [stored.get_all_trials(study._study_id)]
    ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("metrics.jsonl", CUT),
        ("checkpoint", FLIPPED),
        ("status.json", EMPTY),
        ("config.yaml", CUT),
        ("provenance.json", EMPTY),
        ("heartbeat.json", FLIPPED),
        ("suite.yaml", EMPTY),
        ("study.journal", CUT),
        ("study.journal", FLIPPED),
    ],
)
def test_a_sweep_resumes_to_the_same_numbers_or_names_the_file_and_a_remedy_that_works(
    suite, finished, broken_off, place, name, kind
):
    here = place(broken_off)
    path = here.root / name if name in ("suite.yaml", "study.journal") else here.run / name
    path = sorted(path.iterdir())[-1] if path.is_dir() else path
    if name == "heartbeat.json":
        path.write_text('{"epoch": 3, "sampled": 2}')
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes({EMPTY: b"", CUT: content[:middle], FLIPPED: flipped(content, middle)}[kind])
    code, said = work(suite, here.root.parent, with_a_short_lease)
    assert "Traceback" not in said
    if code != 0:
        reason = said + str(json.loads((here.run / "status.json").read_text())["reason"] if code == 2 else "")
        assert str(path) in reason
        assert "elete" in reason
        delete(here, path, reason)
        code, said = work(suite, here.root.parent, with_a_short_lease)
    assert code == 0, said
    assert outcome(here.root) == outcome(finished)


def with_a_short_lease():
    """A journal cut short may end with a claim that nobody has signed, whose holder is given up after a lease."""
    from ddpo_bench.sweep import lease

    lease.LEASE_SECONDS = 1.0


def delete(here, path, reason):
    """Do as the line says, and make a failed run one that is to be done."""
    if f"Delete {here.run}" in reason:
        shutil.rmtree(here.run)
        return
    path.unlink()
    if (status := here.run / "status.json").exists() and read_status(here.run)["state"] == "failed":
        status.unlink()
