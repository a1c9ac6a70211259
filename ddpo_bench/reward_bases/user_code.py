"""Running what a user wrote: with the import path and command line of a script, and with errors told as their own."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIBRARIES = ("site-packages", "dist-packages", sysconfig.get_path("stdlib"))


@contextmanager
def as_script(folder: str, name: str) -> Iterator[None]:
    """Within it modules of `folder` can be imported, and the command line is that of a script without arguments.

    Both only for a time: a folder of the user's must not shadow what others import later.
    """
    command = sys.argv
    sys.path.insert(0, folder)
    sys.argv = [name]
    try:
        yield
    finally:
        sys.argv = command
        if folder in sys.path:
            sys.path.remove(folder)


def told(error: BaseException) -> str:
    """An exception of the user's code in one line: what it is, and the innermost line of their own files."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({seen_from_here(error.filename)}, line {error.lineno})"
    first = str(error).strip().partition("\n")[0]
    what = f"{type(error).__name__}: {first}" if first else type(error).__name__
    frame = innermost(error)
    where = f" ({seen_from_here(frame.filename)}, line {frame.lineno}, in {frame.name})" if frame else ""
    remedy = ""
    if isinstance(error, SystemExit):
        remedy = "; it must not end the program: read a command line under if __name__ == '__main__' only"
    return f"{what}{where}{remedy}"


def innermost(error: BaseException) -> traceback.FrameSummary | None:
    """The last frame of the user's own files; of a reward that is installed, the first one after ours."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = max((i for i, frame in enumerate(frames) if is_ours(frame)), default=-1)
    theirs = [frame for frame in frames[ours + 1 :] if not frame.filename.startswith("<")]
    own = [frame for frame in theirs if not any(part in frame.filename for part in LIBRARIES)]
    return own[-1] if own else theirs[0] if theirs else None


def is_ours(frame: traceback.FrameSummary) -> bool:
    return Path(__file__).parents[1] in Path(frame.filename).parents


def seen_from_here(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename
