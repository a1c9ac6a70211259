"""One run on several processes: every one of them holds the whole epoch, and only the work is shared.

The group is that of torch.distributed, which `accelerate.PartialState()` makes.  With one process every function
returns what it was given, and nothing is sent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:  # its import takes seconds, which those who only start processes need not wait for
    import torch
    from torch import Tensor

Value = TypeVar("Value")
Number = TypeVar("Number", int, float, "Tensor")
BUCKET = 2**25  # numbers that are held, to be sent or as received, at once


class Part(NamedTuple):
    """Some of the items that were dealt out.

    Attributes:
        rows: which ones.
        kept: how many of them count: all, or 0 where the share is used up and one item of it is only repeated.
    """

    rows: slice
    kept: int


def rank() -> int:
    """The number of this process, from 0."""
    import torch

    return torch.distributed.get_rank() if is_group() else 0


def count() -> int:
    """How many processes train this run."""
    import torch

    return torch.distributed.get_world_size() if is_group() else 1


def is_group() -> bool:
    import torch

    return torch.distributed.is_available() and torch.distributed.is_initialized()


def device() -> torch.device:
    """Where this process trains: on its own GPU, or on the CPU; joins the group of a launcher that has started it."""
    import torch
    from accelerate import PartialState

    found = PartialState().device
    return torch.device("cpu") if found.type == "cpu" else found  # not cpu:1, of the second process, as it may be


def share(items: int, of: int | None = None) -> slice:
    """A process's share of a count of items, in a row; shares differ by at most one.

    Args:
        items: how many there are, over all processes.
        of: the rank of the process; None for this one.
    """
    number = rank() if of is None else of
    return slice(number * items // count(), (number + 1) * items // count())


def deal(items: int, at_once: int) -> Iterator[Part]:
    """This process's share, in parts that are equally many on every process.

    With a network pass for every part the passes are equally many too, which sharded networks need.

    Args:
        items: how many there are, over all processes.
        at_once: the most items in one part.
    """
    own, longest = share(items), -(-items // count())
    for start in range(own.start, own.start + longest, at_once):
        rows = slice(start, min(start + at_once, own.stop))
        kept = max(0, rows.stop - rows.start)
        yield Part(rows if kept else slice(own.start, own.start + 1), kept)


def total(value: Number) -> Number:
    """The sum over processes of a number, or of a tensor of one shape; the same bits on all of them."""
    return reduced(value, "sum")


def largest(value: Number) -> Number:
    """The largest over processes of a number, or of each element of a tensor."""
    return reduced(value, "max")


def smallest(value: Number) -> Number:
    """The smallest over processes; otherwise as `largest`."""
    return value if count() == 1 else -largest(-value)


def reduced(value: Number, reduction: str) -> Number:
    if count() == 1:
        return value
    import torch
    from accelerate.utils import reduce

    if isinstance(value, torch.Tensor):
        return reduce(value.detach().to(wire()), reduction).to(value.device)
    return type(value)(reduce(torch.tensor(value, dtype=torch.float64, device=wire()), reduction).item())


def gathered(own: Tensor, items: int) -> Tensor:
    """The rows of all processes in order, on the device of this process's.

    Args:
        own: [share, ...], those of this process's share of the items; it may be empty.
        items: how many rows there are in all.
    Returns:
        [items, ...].
    """
    if count() == 1:
        return own
    from accelerate.utils import gather

    own, shape = own.detach(), own.shape[1:]
    whole, longest = own.new_empty((items, *shape)), -(-items // count())
    at_once = max(1, BUCKET // max(1, count() * math.prod(shape)))
    for first in range(0, longest, at_once):
        sent = own.new_zeros((min(at_once, longest - first), *shape), device=wire())
        some = own[first : first + at_once]
        sent[: len(some)] = some
        for number, part in enumerate(gather(sent).split(len(sent))):
            rows = whole[share(items, number)][first : first + at_once]
            rows.copy_(part[: len(rows)])
    return whole


def everyones(value: Value) -> list[Value]:
    """What each process has of a picklable value, in the order of their ranks."""
    if count() == 1:
        return [value]
    from accelerate.utils import gather_object

    found: list[Value] = gather_object([value])
    return found


def agreed(value: Value) -> Value:
    """Process 0's, whatever the others have; it must be picklable."""
    if count() == 1:
        return value
    from accelerate.utils import broadcast_object_list

    found: Value = broadcast_object_list([value])[0]
    return found


def sum_in_place(tensors: Iterable[Tensor]) -> None:
    """Replace tensors, the same ones on every process, by their sums over processes, sent as a few long rows.

    Args:
        tensors: without gradients of their own, such as those of parameters.
    """
    if count() == 1:
        return
    import torch

    for (_, device, _), bucket in groupby(in_buckets(tensors), key=lambda placed: placed[0]):
        some = [tensor for _, tensor in bucket]
        flat = torch.cat([tensor.reshape(-1) for tensor in some]).to(wire())
        torch.distributed.all_reduce(flat)
        parts = flat.to(device).split([tensor.numel() for tensor in some])
        for tensor, part in zip(some, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


def in_buckets(tensors: Iterable[Tensor]) -> Iterator[tuple[tuple[torch.dtype, torch.device, int], Tensor]]:
    """Tensors with their bucket: those that follow one another, of one dtype and device, up to a size."""
    seen = 0
    for tensor in tensors:
        yield (tensor.dtype, tensor.device, seen // BUCKET), tensor
        seen += tensor.numel()


def wire() -> torch.device:
    """Where tensors are sent from: the accelerator of this process, or under gloo host memory."""
    import torch

    return torch.device("cpu") if torch.distributed.get_backend() == "gloo" else device()
