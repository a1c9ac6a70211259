"""Standard output of any encoding: what it lacks is written with the nearest signs that it has, never an error."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

LEGIBLE = "ddpo_bench.legible"
DEFAULTS = ("strict", "surrogateescape", "backslashreplace")  # of Python; another one is the user's own choice
NEAREST = {"≈": "~", "–": "-", "−": "-", "±": "+-", "×": "x", "µ": "u", "…": ".", "’": "'"} | dict(
    zip("▁▂▃▄▅▆▇█", "_.-:=+*#", strict=True)
)


def make_output_legible() -> None:
    """Let standard output and standard error take any text, whatever their encoding."""
    codecs.register_error(LEGIBLE, nearest)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in DEFAULTS:
            stream.reconfigure(errors=LEGIBLE)


def nearest(error: UnicodeError) -> tuple[str | bytes, int]:
    """What stands for characters that an encoding lacks, as codecs ask: mostly one for one, so that columns align."""
    assert isinstance(error, UnicodeEncodeError)
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":  # a byte of a file's name, as the system gave it
        return character.encode("ascii", "surrogateescape"), error.start + 1
    plain = NEAREST.get(character) or unicodedata.normalize("NFKD", character)
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return letters if letters.isascii() and letters else escaped(character), error.start + 1


def escaped(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode("ascii")
