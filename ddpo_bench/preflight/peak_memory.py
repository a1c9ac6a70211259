"""The largest sum of bytes that tensors hold at any moment, of computations on the meta device, which hold none."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):
    """Counts what is allocated inside it, until it is freed.

    Args:
        tokens: of the prompt, where attention maps are not to be counted: [heads, queries, keys or prompt tokens].
    """

    def __init__(self, tokens: int | None = None):
        super().__init__()
        self.tokens = tokens
        self.now = self.most = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        held = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage()._cdata not in held and not self.is_map(leaf):
                self.allocated(leaf.untyped_storage())
        return result

    def is_map(self, leaf: torch.Tensor) -> bool:
        return self.tokens is not None and leaf.ndim == 3 and leaf.shape[-1] in (leaf.shape[-2], self.tokens)

    def allocated(self, storage: torch.UntypedStorage) -> None:
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self.freed, storage.nbytes())

    def freed(self, count: int) -> None:
        self.now -= count
