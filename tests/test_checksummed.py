"""Every changed bit, cut and addition shows in files that carry a checksum; all places are tried, not some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ddpo_bench.checksummed import (
    Damaged,
    read_checksummed_json,
    read_checksummed_yaml,
    write_checksummed_json,
    write_checksummed_yaml,
)
from ddpo_bench.sweep.journal import ChecksummedJournal, DamagedJournal

DATA: dict[str, Any] = {"state": "done", "seconds": 1.25, "reason": None, "processor": "Intel® Core™ i7 é", "pid": [7]}
ENTRIES: list[dict[str, Any]] = [{"op_code": 0, "study_name": "mine"}, {"op_code": 4, "params": {"seed": 3}}]


def flips(content: bytes) -> Iterator[bytes]:
    """Every file that differs in one bit."""
    for at in range(len(content)):
        for bit in range(8):
            yield content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


def cuts_and_additions(content: bytes) -> Iterator[bytes]:
    yield from (content[:length] for length in range(len(content)))
    yield from (content + bytes([byte]) for byte in range(256))


def read_json(path: Path) -> None:
    read_checksummed_json(path, "Delete it.")


def read_yaml(path: Path) -> None:
    read_checksummed_yaml(path, "Delete it.")


def passed(read: Callable[[Path], object], path: Path, damaged: Iterator[bytes]) -> list[bytes]:
    """Those of the damaged contents that are read without a line that names the file."""
    found = []
    for content in damaged:
        path.write_bytes(content)
        said = ""
        try:
            read(path)
        except Damaged as damage:
            said = str(damage)
        if str(path) not in said or "\n" in said:
            found.append(content)
    return found


@pytest.mark.parametrize("data", [DATA, {}, {"one": 1}], ids=["full", "empty", "small"])
@pytest.mark.parametrize(("write", "read"), [(write_checksummed_json, read_json), (write_checksummed_yaml, read_yaml)])
def test_no_damage_to_a_checksummed_file_passes(
    tmp_path: Path, write: Callable[..., None], read: Callable[[Path], None], data: dict[str, Any]
) -> None:
    path = tmp_path / "file"
    write(path, data)
    whole = path.read_bytes()
    read(path)
    assert passed(read, path, flips(whole)) == []
    assert passed(read, path, cuts_and_additions(whole)) == []


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    write_checksummed_json(tmp_path / "file", DATA)
    assert read_checksummed_json(tmp_path / "file", "") == DATA


def test_a_file_without_a_checksum_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text('{"state": "done", "pid": 7}')
    assert read_checksummed_json(path, "") == {"state": "done", "pid": 7}
    path.write_text("name: mine\n")
    read_checksummed_yaml(path, "")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal of two entries."""
    path = tmp_path / "study.journal"
    path.touch()
    ChecksummedJournal(path).append_logs(ENTRIES)
    return path


def test_a_changed_bit_in_a_journal_is_named_or_cuts_its_last_line_short(journal: Path) -> None:
    whole = journal.read_bytes()
    assert list(ChecksummedJournal(journal).read_logs(0)) == ENTRIES
    for content in flips(whole):
        journal.write_bytes(content)
        with suppress(DamagedJournal):
            assert list(ChecksummedJournal(journal).read_logs(0)) in (ENTRIES[:-1], [])


def test_a_journal_that_was_cut_short_is_what_was_whole(journal: Path) -> None:
    whole = journal.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(len(whole)):
        journal.write_bytes(whole[:length])
        assert list(ChecksummedJournal(journal).read_logs(0)) == ENTRIES[: length >= first]


def test_a_journal_is_read_on_from_any_entry(journal: Path) -> None:
    reader = ChecksummedJournal(journal)
    assert list(reader.read_logs(1)) == ENTRIES[1:]
    ChecksummedJournal(journal).append_logs([{"op_code": 9}])
    assert list(reader.read_logs(2)) == [{"op_code": 9}]
    assert list(reader.read_logs(5)) == []
    assert list(reader.read_logs(1)) == [ENTRIES[1], {"op_code": 9}]
