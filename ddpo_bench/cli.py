"""The command line: commands and exit codes.  Imports nothing heavy, so that --help answers at once.

Exit codes: 0 success, 1 wrong input, 2 some runs failed, 3 `compare` found a regression, or `check` or `conformance`
something wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import NoReturn

from ddpo_bench.commands.command import Command
from ddpo_bench.encoding import make_output_legible
from ddpo_bench.quiet import quieten_libraries, silence_other_ranks
from ddpo_bench.signals import ending_as_ctrl_c, ignore_ending

USER_ERROR = 1
INTERRUPTED = 128 + signal.SIGINT
ENDED_BY_CLOSED_PIPE = 128 + signal.SIGPIPE
VERBS = (
    "run",
    "tune",
    "work",
    "status",
    "ls",
    "train",
    "table",
    "compare",
    "serve",
    "reward-server",
    "votes",
    "profile",
    "sample",
    "export",
    "list",
    "validate",
    "check",
    "embedded",
    "kernels",
    "throughput",
    "conformance",
)
DEBUG = "show tracebacks, and the warnings, logs and progress bars of libraries"
EXAMPLES = """\
examples:
  ddpo-bench run smoke                      check in under two minutes that everything works
  ddpo-bench run suites/algos.yaml          train algorithms x rewards x seeds, then compare them
  ddpo-bench tune tune-ppo                  search for better settings, then train the best on fresh seeds
  ddpo-bench table results/algos            print the comparison again, without training
  ddpo-bench compare results/algos new/algos    show what became better or worse
  ddpo-bench list algorithm                 show what `algorithm: {name: ...}` can be
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    make_output_legible()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--debug" not in arguments:
        silence_other_ranks()
    commands = load_commands()
    parser = build_parser(commands)
    refuse_unknown_command(parser, arguments)
    args = parser.parse_args(arguments)
    if args.version:
        from importlib import metadata

        print(f"ddpo-bench {metadata.version('ddpo-bench')}")
        return 0
    if args.verb is None:
        parser.print_help()
        return USER_ERROR
    if not args.debug:
        quieten_libraries()
    with ending_as_ctrl_c():
        return call(commands[args.verb], args, arguments)


def load_commands() -> dict[str, Command]:
    """All commands by their verbs, in the order of --help."""
    return {name: importlib.import_module(f"ddpo_bench.commands.{name.replace('-', '_')}").COMMAND for name in VERBS}


def call(command: Command, args: argparse.Namespace, arguments: Sequence[str]) -> int:
    try:
        code = command.execute(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        ignore_ending()
        again = "To resume: " if command.resumable else "To try again: "
        with suppress(OSError):  # a terminal that was closed
            print(f"\nInterrupted. {again}{shlex.join(['ddpo-bench', *arguments])}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # discards what is still buffered
        return ENDED_BY_CLOSED_PIPE
    except Exception as error:  # the promise to users: one line, a traceback only with --debug
        if args.debug:
            raise
        print(one_line_each(error), file=sys.stderr)
        return USER_ERROR


def one_line_each(error: Exception) -> str:
    """The message of an exception: our own are complete sentences, others are prefixed with their type."""
    if type(error).__module__.startswith(("ddpo_bench", "ddpo_kernels")):
        return str(error)
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first} (--debug shows the traceback)"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and exit code 1."""

    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"{self.prog}: {message}. See {self.prog} --help.\n")


def build_parser(commands: dict[str, Command]) -> Parser:
    parser = Parser(
        prog="ddpo-bench",
        description="Which policy-optimisation algorithm should fine-tune your diffusion model, and how sure are you?",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument("--debug", action="store_true", help=DEBUG)
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", title="commands")
    for name, command in commands.items():
        command.add_options(verb(verbs, name, command))
    return parser


def verb(verbs: argparse._SubParsersAction[Parser], name: str, command: Command) -> Parser:
    parser = verbs.add_parser(
        name,
        help=command.what,
        description=command.what[0].upper() + command.what[1:] + ".",
        epilog=command.examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=DEBUG)
    return parser


def refuse_unknown_command(parser: Parser, arguments: Sequence[str]) -> None:
    """Name the nearest command, which argparse does not."""
    first = next((argument for argument in arguments if not argument.startswith("-")), None)
    if first is not None and first not in VERBS:
        near = get_close_matches(first, VERBS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        parser.error(f"unknown command {first!r}.{hint} Known: {', '.join(VERBS)}")
