"""Where a run queue is kept: damage is named or repaired, and a database does as well as the journal."""

from dataclasses import replace

import pytest
from queues import sweep_place

from ddpo_bench.sweep.storage import StorageError, open_storage


@pytest.fixture
def place(tmp_path):
    """Of a queue in which two runs wait."""
    place = sweep_place(tmp_path)
    place.open().enter()
    return place


def test_an_entry_that_a_crash_cut_short_is_dropped(place):
    journal = place.root / "study.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole.splitlines()[-1][:40])
    queue = place.open()
    assert journal.read_bytes().startswith(whole)
    assert queue.claim() is not None
    assert [len(attempts) for attempts in place.open().attempts().values()] == [1, 1]


@pytest.mark.parametrize("url", ["nonsense", "mysql+nothing://host/x", "postgresql:/"])
def test_a_wrong_url_is_one_line(url, tmp_path):
    with pytest.raises(StorageError, match=r"^--storage ") as raised:
        open_storage(url, tmp_path)
    assert "\n" not in str(raised.value)


def test_a_database_file_keeps_a_queue_as_well(place, tmp_path):
    (place.root / "study.journal").unlink()
    queue = replace(place, storage=f"sqlite:///{tmp_path / 'queues.db'}").open()
    queue.enter()
    assert len([*iter(queue.claim, None)]) == 2
    assert not (place.root / "study.journal").exists()
