"""Strict YAML: plain values under text keys; mistakes are reported with file and line.

Where YAML 1.1 surprises, values are read as in YAML 1.2: `yes`, `on`, dates and 1:30 are text.  Refused are numbers
whose base is ambiguous, such as 010, tags, duplicate keys, and aliases that expand to too many values.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.constructor import ConstructorError

from ddpo_bench.parsing import ConfigError

DEEPEST = 50  # allowed levels of nesting
MOST_REPEATED = 100_000  # values that aliases may add
STANDARD = "tag:yaml.org,2002:"
DOUBTFUL = f"{STANDARD}int-of-doubtful-base"
PATTERNS = {  # what a plain scalar is, by the characters that it may begin with
    f"{STANDARD}bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    DOUBTFUL: (r"[-+]?0[0-7_]+", "-+0"),
    f"{STANDARD}int": (r"[-+]?(?:0b[01]{1,64}|0x[0-9a-fA-F]{1,16}|0|[1-9][0-9_]{0,60})", "-+0123456789"),
    f"{STANDARD}float": (
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    f"{STANDARD}null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    f"{STANDARD}merge": (r"<<", "<"),
}


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping.

    Raises:
        ConfigError: where the file is missing, is not YAML of this kind, or its top level is not a mapping.
    """
    text = read_text(path)
    try:
        data = yaml.load(text, StrictLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError([f"{path}{line_of(error, text)}: not valid YAML: {reason(error)}."]) from None
    if data is None:
        raise ConfigError([f"{path}: is empty; it must hold a mapping of keys."])
    if not isinstance(data, dict):
        raise ConfigError([f"{path}: must hold a mapping of keys, found {type(data).__name__}."])
    return data


def apply_overrides(data: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """A copy of `data` with `--set key.path=value` applied; values are YAML.

    Raises:
        ConfigError: where an override has no "=", or a key on its path is not a mapping.
    """
    result = copy.deepcopy(data)
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path:
            raise ConfigError([f"--set {override}: write key=value, for example algorithm.learning_rate=1e-4."])
        *parents, last = path.strip().split(".")
        target: Any = result
        for key in parents:
            target = target.setdefault(key, {}) if isinstance(target, dict) else None
        if not isinstance(target, dict):
            raise ConfigError([f"--set {override}: {'.'.join(parents)} is not a mapping."])
        try:
            target[last] = yaml.load(text, StrictLoader)
        except (yaml.YAMLError, RecursionError) as error:
            raise ConfigError([f"--set {override}: {text!r} is not a YAML value: {reason(error)}."]) from None
    return result


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, or in UTF-16 with a byte order mark."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file."]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}."]) from None
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}, line {line}: cannot be read as text. Save the file in UTF-8."]) from None


def line_of(error: Exception, text: str) -> str:
    """The place of an error, ", line 3", counted from 1; empty where it is not known."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if isinstance(error, yaml.reader.ReaderError):
        return f", line {text.count(chr(10), 0, error.position) + 1}"
    return f", line {mark.line + 1}" if mark else ""


def reason(error: Exception) -> str:
    """The reason that PyYAML gives for an error, in one clause."""
    if isinstance(error, RecursionError):
        return f"it is nested deeper than {DEEPEST} levels"
    if isinstance(error, yaml.reader.ReaderError):
        return f"the character {error.character!r} is not allowed"
    parts = [getattr(error, name, None) for name in ("context", "problem")]
    told = ", ".join(str(part) for part in parts if part) or "it does not parse"
    hint = ". Indent with spaces, not tabs" if "'\\t'" in told else ""
    return " ".join(told.split()) + hint


class StrictLoader(yaml.SafeLoader):
    """YAML of plain values under text keys."""

    def __init__(self, stream: str):
        super().__init__(stream)
        self.depth = 0
        self.sizes: dict[int, int | None] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if getattr(event, "tag", None):
            refuse(f"the tag {event.tag!r} is not allowed; write a plain value", event.start_mark)
        self.depth += 1
        if self.depth > DEEPEST:
            refuse(f"it is nested deeper than {DEEPEST} levels", event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None and self.size(node) > len(self.sizes) + MOST_REPEATED:
            refuse("its aliases expand to too many values", node.start_mark)
        return node

    def size(self, node: yaml.Node) -> int:
        """The number of values in a node once its aliases are expanded."""
        if id(node) not in self.sizes:
            self.sizes[id(node)] = None
            self.sizes[id(node)] = 1 + sum(map(self.size, children(node)))
        known = self.sizes[id(node)]
        if known is None:
            refuse("an alias refers to a value that contains it", node.start_mark)
        return known


def children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [inner for pair in node.value for inner in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def refuse(problem: str, mark: yaml.Mark | None) -> NoReturn:
    raise ConstructorError(None, None, problem, mark)


def unique_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    """A mapping with text keys and no duplicates, except for keys merged by <<."""
    seen = set()
    for key, _ in node.value:
        if key.tag not in (f"{STANDARD}str", f"{STANDARD}merge"):
            shown = repr(key.value) if isinstance(key, yaml.ScalarNode) else "that is a list or mapping"
            refuse(f"the key {shown} is not text; quote it", key.start_mark)
        if key.value in seen:
            refuse(f"key {key.value!r} is given twice", key.start_mark)
        seen.add(key.value)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


def plain_text(loader: StrictLoader, node: yaml.ScalarNode) -> str:
    text = str(loader.construct_scalar(node))
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        refuse("text may not contain NUL or half of a surrogate pair", node.start_mark)
    return text


def doubtful_number(loader: StrictLoader, node: yaml.ScalarNode) -> NoReturn:
    digits = str(node.value).replace("_", "")
    readings = f"{int(digits, 8)} or {int(digits)}" if len(digits) < 60 else "it without the zero"
    refuse(f"{node.value} would be octal in YAML 1.1 and decimal in YAML 1.2; write {readings}", node.start_mark)


def make_strict(loader: Any) -> None:
    """Make a subclass of a safe loader strict in the way of this module."""
    loader.yaml_implicit_resolvers = {}  # none of YAML 1.1's
    for tag, (pattern, first) in PATTERNS.items():
        loader.add_implicit_resolver(tag, re.compile(rf"(?:{pattern})\Z"), first)
    loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, unique_mapping)
    loader.add_constructor(f"{STANDARD}str", plain_text)
    loader.add_constructor(DOUBTFUL, doubtful_number)


make_strict(StrictLoader)
