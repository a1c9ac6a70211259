"""docs/options.md: every key of a run's configuration and of a suite, from the fields that define them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ddpo_bench import registry
from ddpo_bench.config import RunConfig
from ddpo_bench.describe import Described, described, purpose
from ddpo_bench.options import options_of
from ddpo_bench.sweep.form import SuiteFile
from ddpo_bench.sweep.tune_block import Tune

REGENERATE = "ddpo-bench list --markdown > docs/options.md"
HEAD = f"""\
# Options

Every key of a run's configuration and of a suite, with its default and bounds. This page is generated from the code by
`{REGENERATE}`. `ddpo-bench list NAME` prints the options of one plugin, including those of other
packages. A quantity is a number with its unit, such as `1.6 nats`, or a bare number in mean units.
"""


def page() -> str:
    """The page in Markdown, with the plugins that come with this package."""
    return "\n".join(line for part in (HEAD, *sections()) for line in [*part.splitlines(), ""]).rstrip() + "\n"


def sections() -> Iterator[str]:
    yield f"## A run\n\n{table(described(RunConfig))}"
    yield f"Each of these keys holds a plugin, by its `name` and options, or by its name alone:\n\n{plugin_keys()}"
    yield f"## A suite\n\n{table(described(SuiteFile))}"
    yield "How a matrix and its setups work: [suites](suites.md)."
    yield f"The `tune` block ([tuning](tuning.md)):\n\n{table(described(Tune))}"
    for kind in registry.FOLDERS:
        yield f"## {kind}"
        for name in registry.names(kind):
            plugin = registry.get(kind, name)
            if plugin.__module__.startswith("ddpo_bench."):
                yield f"### {name}\n\n{purpose(plugin)}\n\n{table(described(plugin))}"


def plugin_keys() -> str:
    chosen = {key: field.metadata for key, field in options_of(RunConfig).items() if "kind" in field.metadata}
    lines = [
        [f"[`{key}`](#{key})", f"`{registry.DEFAULTS[about['kind']]}`", about["help"]] for key, about in chosen.items()
    ]
    return rows(["key", "default", "what"], lines)


def table(options: Iterable[Described]) -> str:
    lines = [[f"`{option.key}`", option.type, default(option), option.bounds, option.help] for option in options]
    return rows(["key", "type", "default", "bounds", "what"], lines) if lines else "No options."


def default(option: Described) -> str:
    return "required" if option.default is None else f"`{option.default}`"


def rows(titles: list[str], lines: list[list[str]]) -> str:
    """A Markdown table."""
    cells = [titles, ["---"] * len(titles), *([text.replace("|", r"\|") for text in line] for line in lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
