"""A reward that is the user's own Python function."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.protocols import Metadata, RewardOutput
from ddpo_bench.registry import register, unknown


@register("reward", "python")
@dataclass
class PythonFunction:
    """Your own function(images, prompts, metadata) -> scores, or (scores, info); write it as python:module:function."""

    function: str = option(MISSING, "module:function, importable or a file in the current directory")
    call: Callable[..., Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        module_name, _, name = self.function.partition(":")
        if not name or not module_name or module_name.startswith("."):
            raise ValueError(f"function: write module:function, like my_rewards:brightness; got {self.function!r}.")
        module = import_module(module_name)
        if not hasattr(module, name):
            functions = [key for key, value in vars(module).items() if callable(value)]
            raise ValueError(f"function: {unknown(f'function of module {module_name}', name, functions)}")
        self.call = getattr(module, name)
        if not callable(self.call):
            raise ValueError(f"function: {self.function!r} is of type {type(self.call).__name__}, not a function.")

    @property
    def label(self) -> str:
        """The function: two of them are two rewards."""
        return self.function

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        """Whatever the function returned; `checking.score` makes sure of it."""
        result = self.call(images, prompts, metadata)
        if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict):
            return RewardOutput(*result)
        return RewardOutput(result)


def import_module(name: str) -> ModuleType:
    """Import a module, also from the current directory, which console scripts do not search."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except (ImportError, SyntaxError) as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            remedy = "write a.b for the file a/b.py"
            raise ValueError(f"function: no module {name!r}, neither installed nor in {here}; {remedy}.") from None
        raise ValueError(f"function: module {name!r} cannot be imported: {error}.") from error
    finally:
        sys.path.remove(here)  # a folder of the user's must not shadow what others import later
