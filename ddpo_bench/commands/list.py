"""`ddpo-bench list`: what can be named in a configuration."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ddpo_bench.commands.command import Command

EXAMPLES = """\
examples:
  ddpo-bench list
  ddpo-bench list reward
"""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "kind", nargs="?", metavar="KIND", help="algorithm, reward, prompts, policy, sampler or advantages"
    )


def execute(args: Namespace) -> int:
    from ddpo_bench import registry
    from ddpo_bench.config import ConfigError

    if args.kind is not None and args.kind not in registry.FOLDERS:
        raise ConfigError([f"list: {registry.unknown('kind', args.kind, registry.FOLDERS)}"])
    for kind in [args.kind] if args.kind else registry.FOLDERS:
        print(kind)
        for name in registry.names(kind):
            print(f"  {name:<24}{first_line(registry.get(kind, name))}")
    return 0


def first_line(plugin: type) -> str:
    """The first line of a plugin's own docstring; a dataclass without one has a generated signature for it."""
    import dataclasses

    generated = dataclasses.is_dataclass(plugin) and (plugin.__doc__ or "").startswith(f"{plugin.__name__}(")
    return "" if generated else (plugin.__doc__ or "").strip().partition("\n")[0]


COMMAND = Command("what can be named in a configuration", EXAMPLES, add_options, execute)
