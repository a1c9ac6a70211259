"""A reward that is the user's own Python function."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor

from ddpo_bench.fingerprints import Inputs
from ddpo_bench.options import option
from ddpo_bench.protocols import Metadata, Reward, RewardOutput
from ddpo_bench.registry import register, unknown
from ddpo_bench.reward_bases.conventions import Pictures, as_asked, is_factory, made_by, pictures_of
from ddpo_bench.reward_bases.module_sources import module_file, sources
from ddpo_bench.reward_bases.process_state import kept_process_state
from ddpo_bench.reward_bases.reward_error import RewardError
from ddpo_bench.reward_bases.user_code import as_script, told


@register("reward", "python")
@dataclass
class PythonFunction(Reward):
    """Your own function(images, prompts, metadata) -> scores, or (scores, info); write it as python:module:function."""

    function: str = option(MISSING, "module:function, where the module is installed or in the current directory")
    call: Callable[..., Any] = field(init=False, repr=False)
    pictures: Pictures = field(init=False, repr=False)

    offline: ClassVar[bool] = True  # as far as anybody can tell: a wrong function is best found before a run

    def __post_init__(self) -> None:
        self.folder = str(Path.cwd())
        self.module, self.call = load_function(self.function, self.folder, "my_rewards:brightness")
        try:
            self.factory = self.call if is_factory(self.call) else None
        except ValueError as error:
            raise ValueError(f"function: {self.function} {error}") from None
        self.pictures = pictures_of(self.call)
        self.waits_for = "network" if getattr(self.call, "waits_for", None) == "network" else "cpu"  # type: ignore[misc]

    @property
    def label(self) -> str:
        """The function: two of them are two rewards."""
        return self.function

    def inputs(self) -> Inputs:
        """The module's source, and those next to it that it imports."""
        return {"module": sources(self.module)}

    def start(self, device: torch.device) -> None:
        """Make the function, where it comes from a factory.

        Raises:
            RewardError: where the factory raises anything, in one line.
        """
        if self.factory is None:
            return
        try:
            with kept_process_state(), as_script(self.folder, self.module.__name__):
                self.call = made_by(self.factory, device)
        except (Exception, SystemExit) as error:  # a user's function may raise anything
            raise RewardError(f"reward {self.function}: {told(error)}") from error
        self.pictures = pictures_of(self.call)

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        """Whatever the function returned; `checking.score` makes sure of it."""
        with as_script(self.folder, self.module.__name__):
            result = self.call(as_asked(images, self.pictures), prompts, metadata)
        if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict):
            return RewardOutput(*result)
        return RewardOutput(result)


def load_function(named: str, folder: str, like: str) -> tuple[ModuleType, Callable[..., Any]]:
    """Import the module of a user's function, and give both.

    Args:
        named: module:function.
        folder: searched next to what is installed.
        like: an example, for the message.
    Raises:
        ValueError: as `import_module`, or where the module has no such function.
    """
    module_name, _, name = named.partition(":")
    if not name or not module_name or module_name.startswith("."):
        raise ValueError(f"function: write module:function, like {like}; got {named!r}.")
    module = import_module(module_name, folder)
    if not hasattr(module, name):
        functions = [key for key, value in vars(module).items() if callable(value)]
        raise ValueError(f"function: {unknown(f'function of module {module_name}', name, functions)}")
    call = getattr(module, name)
    if not callable(call):
        raise ValueError(f"function: {named!r} is of type {type(call).__name__}, not a function.")
    return module, call


def import_module(name: str, folder: str) -> ModuleType:
    """Import a module, also from a folder that console scripts do not search.

    Raises:
        ValueError: where there is none, it hides behind another of its name, or it cannot be imported.
    """
    file = module_file(Path(folder), name)
    if file and name.partition(".")[0] in sys.stdlib_module_names:
        raise ValueError(
            f"function: {name!r} is a module of Python's own, which hides {file}. Give yours another name."
        )
    try:
        with kept_process_state(), as_script(folder, name):
            module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            remedy = "write a.b for the file a/b.py"
            raise ValueError(f"function: no module {name!r}, neither installed nor in {folder}; {remedy}.") from None
        raise ValueError(f"function: module {name!r} cannot be imported: {told(error)}.") from error
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise ValueError(f"function: module {name!r} cannot be imported: {told(error)}.") from error
    found = getattr(module, "__file__", None)
    if file and found and not file.samefile(found):
        raise ValueError(f"function: {name!r} is another module, {found}, which hides {file}. Give yours another name.")
    return module
