"""Legible output in any encoding: characters that it lacks are replaced by the nearest it has, never an error."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

LEGIBLE = "ddpo_bench.legible"
DEFAULTS = ("strict", "surrogateescape", "backslashreplace")  # Python's; any other is the user's own choice
NEAREST = {"≈": "~", "–": "-", "−": "-", "±": "+-", "×": "x", "µ": "u", "…": ".", "’": "'"} | dict(
    zip("▁▂▃▄▅▆▇█", "_.-:=+*#", strict=True)
)


def make_output_legible() -> None:
    """Let standard output and standard error accept any text, whatever their encoding."""
    codecs.register_error(LEGIBLE, nearest)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in DEFAULTS:
            stream.reconfigure(errors=LEGIBLE)


def nearest(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler of `codecs` for characters that an encoding lacks: mostly one for one, so that columns align."""
    assert isinstance(error, UnicodeEncodeError)
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":  # an undecodable byte of a file name
        return character.encode("ascii", "surrogateescape"), error.start + 1
    plain = NEAREST.get(character) or unicodedata.normalize("NFKD", character)
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return letters if letters.isascii() and letters else escaped(character), error.start + 1


def escaped(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode("ascii")
