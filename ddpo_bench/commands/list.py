"""`ddpo-bench list`: the plugins that a configuration can name, and their options."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from ddpo_bench.commands.command import Command

EXAMPLES = """\
examples:
  ddpo-bench list
  ddpo-bench list reward
  ddpo-bench list ppo             the options of ppo, with defaults and bounds
  ddpo-bench list --markdown      the options of all plugins, and the keys of runs and suites
"""


def add_options(parser: ArgumentParser) -> None:
    what = "a kind of plugin (algorithm, reward, prompts, policy, sampler, advantages), or the name of a plugin"
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("name", nargs="?", metavar="NAME", help=what)
    chosen.add_argument("--markdown", action="store_true", help="print all options as Markdown, as in docs/options.md")


def execute(args: Namespace) -> int:
    from ddpo_bench import registry
    from ddpo_bench.config import ConfigError

    if args.markdown:
        from ddpo_bench.commands.options_page import page

        print(page(), end="")
        return 0
    every = {kind: registry.names(kind) for kind in registry.FOLDERS}
    homes = [kind for kind in every if args.name in every[kind]]
    if args.name not in (None, *every, *(name for names in every.values() for name in names)):
        known = [*every, *(name for names in every.values() for name in names)]
        raise ConfigError([f"list: {registry.unknown('kind or name', args.name, known)}"])
    for kind in homes or ([args.name] if args.name else every):
        print("\n".join(options_of(kind, args.name) if homes else overview(kind)))
    return 0


def overview(kind: str) -> Iterator[str]:
    """The plugins of a kind, a line for each."""
    from ddpo_bench import registry
    from ddpo_bench.describe import purpose

    yield kind
    for name in registry.names(kind):
        yield f"  {name:<24}{purpose(registry.get(kind, name))}"


def options_of(kind: str, name: str) -> Iterator[str]:
    """What a plugin is, then two lines for each of its options."""
    from ddpo_bench import registry
    from ddpo_bench.describe import described, purpose

    plugin = registry.get(kind, name)
    options = list(described(plugin))
    yield f"{kind} {name}: {purpose(plugin)}"
    width = max((len(option.key) for option in options), default=0) + 2
    for option in options:
        default = "required" if option.default is None else f"default {option.default}"
        yield "  " + option.key.ljust(width) + ", ".join(filter(None, [option.type, default, option.bounds]))
        yield "  " + " " * width + option.help
    if not options:
        yield "  no options"


COMMAND = Command("list the plugins that a configuration can name, and their options", EXAMPLES, add_options, execute)
