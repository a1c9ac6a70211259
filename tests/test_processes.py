"""What processes of one run tell each other: on one process nothing is touched, on three every one has the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from process_group import Group, group_of
from torch import Tensor

from ddpo_bench import processes
from ddpo_bench.process_errors import ProcessLost, errors_told, one_error_for_all


@pytest.fixture(scope="module")
def three() -> Iterator[Group]:
    with group_of(3) as group:
        yield group


def parts_of(items: int, at_once: int) -> list[tuple[list[int], int]]:
    return [(list(range(items))[part.rows], part.kept) for part in processes.deal(items, at_once)]


def rows_back(items: int) -> Tensor:
    processes.BUCKET = 12  # two rows at once on three processes
    rows = torch.arange(2.0 * items, dtype=torch.float64).view(items, 2)
    return processes.gathered(rows[processes.share(items)], items)


def numbers() -> dict[str, Any]:
    own = processes.rank() + 1.1
    return {
        "total": processes.total(own),
        "of a tensor": processes.total(torch.tensor([own, -own])).tolist(),
        "largest": processes.largest(own),
        "smallest": processes.smallest(int(own)),
        "everyones": processes.everyones(int(own)),
        "agreed": processes.agreed({"rank": processes.rank()}),
    }


def summed() -> list[Tensor]:
    shapes = [(2, 3), (5,), (), (4, 1)]
    tensors = [torch.full(shape, float(processes.rank() + i)) for i, shape in enumerate(shapes)]
    transposed = torch.full((2, 3), 1.0 + processes.rank()).T  # not contiguous
    processes.sum_in_place([*tensors, transposed, half := torch.ones(3, dtype=torch.float64)])
    return [*tensors, transposed, half]


def fail_on(ranks: list[int]) -> None:
    with one_error_for_all():
        if processes.rank() in ranks:
            raise LookupError(f"process {processes.rank()} found nothing")


def leave(rank: int, words: str) -> None:
    with errors_told():
        if processes.rank() == rank and words:
            raise LookupError(words)
        if processes.rank() == rank:
            torch.distributed.destroy_process_group()
            return
        if processes.rank():
            processes.total(1.0)


def test_one_process_has_it_all_and_sends_nothing() -> None:
    rows = torch.ones(5)
    assert processes.share(5) == slice(0, 5)
    assert parts_of(5, 2) == [([0, 1], 2), ([2, 3], 2), ([4], 1)]
    assert processes.gathered(rows, 5) is rows
    assert (
        processes.total(rows) is processes.largest(rows) is processes.smallest(rows) is processes.agreed(rows) is rows
    )
    with pytest.raises(LookupError), one_error_for_all(), errors_told():
        raise LookupError


@pytest.mark.parametrize(("items", "at_once"), [(10, 3), (8, 2), (3, 5), (1, 1), (2, 4)])
def test_shares_are_in_order_and_parts_equally_many(three: Group, items: int, at_once: int) -> None:
    dealt = three.call(parts_of, items, at_once)
    assert [item for parts in dealt for rows, kept in parts for item in rows[:kept]] == list(range(items))
    assert len({len(parts) for parts in dealt}) == 1
    assert {len(rows) for parts in dealt for rows, _ in parts} <= set(range(1, at_once + 1))  # no pass is empty
    for rows in three.call(rows_back, items):
        assert torch.equal(rows, torch.arange(2.0 * items, dtype=torch.float64).view(items, 2))


def test_numbers_become_the_same_everywhere(three: Group) -> None:
    expected = {
        "total": pytest.approx(6.3, rel=1e-15),
        "of a tensor": pytest.approx([6.3, -6.3], rel=1e-6),
        "largest": 3.1,
        "smallest": 1,
        "everyones": [1, 2, 3],
        "agreed": {"rank": 0},
    }
    found = three.call(numbers)
    assert found[0] == found[1] == found[2] == expected


def test_gradients_are_summed_whatever_their_shapes(three: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    for tensors in three.call(summed):
        assert [float(tensor.flatten()[0]) for tensor in tensors] == [3, 6, 9, 12, 6, 3]
        assert all((tensor == tensor.flatten()[0]).all() for tensor in tensors)


@pytest.mark.parametrize("ranks", [[2], [1, 2], [0]])
def test_what_one_process_raises_all_raise_in_its_words(three: Group, ranks: list[int]) -> None:
    for error in three.call(fail_on, ranks):
        assert isinstance(error, LookupError)
        assert str(error) == f"process {ranks[0]} found nothing"


@pytest.mark.parametrize("words", ["the model is not there", ""])
def test_a_process_that_is_gone_is_missed_with_the_words_that_it_left(words: str) -> None:
    with group_of(2) as group:
        group.pipes[0].send((leave, (0, words)))
        told = group.pipes[0].recv()
        if words:
            group.processes[0].kill()
        group.pipes[1].send((leave, (0, words)))
        missed = group.pipes[1].recv()
    assert (type(told), type(missed)) == ((LookupError, LookupError) if words else (type(None), ProcessLost))
    assert str(missed) == (words or "another of the run's 2 processes is gone")
