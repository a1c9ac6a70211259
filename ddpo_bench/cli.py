"""The command line: verbs, their options, exit codes.  Imports nothing heavy, so that --help answers at once.

Exit codes: 0 all done, 1 the user's input, 2 some runs failed, 3 `compare` found a regression, 130
interrupted.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import NoReturn

USER_ERROR = 1
INTERRUPTED = 128 + signal.SIGINT
ENDED_BY_CLOSED_PIPE = 128 + signal.SIGPIPE

MAIN_EXAMPLES = """\
examples:
  ddpo-bench run smoke                      see that everything works, in under two minutes
  ddpo-bench run suites/algos.yaml          train algorithms x rewards x seeds, then compare them
  ddpo-bench table results/algos            the comparison again, without training
  ddpo-bench compare results/algos new/algos    what became better or worse
  ddpo-bench list algorithm                 what `algorithm: {name: ...}` can be
"""
RUN_EXAMPLES = """\
examples:
  ddpo-bench run smoke                                 a suite that comes with the package
  ddpo-bench run suites/algos.yaml --dry-run           which runs there are, and which are done
  ddpo-bench run algos --only 'ppo-*' --workers 2      some cells, two processes
  ddpo-bench run algos --only '*/seed-0'               every cell's first seed
  ddpo-bench run algos --set epochs=2 --results quick  another setting, elsewhere
  ddpo-bench run algos --seeds 0-9                     more seeds than the file says

The same command again resumes what was interrupted and skips what is done.  Given at the same time in another
terminal, or on another host that sees the same results folder, it shares the work.
"""
WORK_EXAMPLES = """\
examples:
  ddpo-bench work algos                                               in a second terminal
  srun -n 8 ddpo-bench work suites/algos.yaml                         eight workers of a cluster
  ddpo-bench work algos --storage postgresql://user@host/studies      the book in a database

Claims runs that nobody works on, one after the other; takes over those of workers that died.
"""
TRAIN_EXAMPLES = """\
examples:
  ddpo-bench train ppo.yaml                            a file that holds `algorithm: {name: ppo}` is enough
  ddpo-bench train ppo.yaml --out my-run --set seed=1
  ddpo-bench train ppo.yaml --set algorithm.learning_rate=1e-4 --set sampler.steps=20
"""
TABLE_EXAMPLES = """\
examples:
  ddpo-bench table results/algos                                 for reading; makes the plots and the report again
  ddpo-bench table results/algos --format tex                    for the paper
  ddpo-bench table results/algos --metric eval/target_colour     judged by another reward
  ddpo-bench table results/algos --budget seconds                training reward after equal time
  ddpo-bench table results/algos --budget kl --at 500            ... within 500 nats of the pretrained model

With any option it prints only, and writes nothing.
"""
COMPARE_EXAMPLES = """\
examples:
  ddpo-bench compare results/algos new/algos                     A is the old folder, B the new one
  ddpo-bench compare results/algos new/algos --min-effect 0.05   a smaller change does not count
  ddpo-bench compare results/algos new/algos --metric seconds --format json

Exit code 3 where any algorithm is worse on any reward, 0 where none is: it can guard a CI.
"""
SAMPLE_EXAMPLES = """\
examples:
  ddpo-bench sample                                        from the pretrained embedded model
  ddpo-bench sample --prompts 'a dog' 'three frogs' --out dog.png
  ddpo-bench sample --run results/algos/runs/CELL/seed-0   from a trained one
"""
LIST_EXAMPLES = """\
examples:
  ddpo-bench list
  ddpo-bench list reward
"""
VALIDATE_EXAMPLES = """\
examples:
  ddpo-bench validate suites/algos.yaml
"""
EMBEDDED_EXAMPLES = """\
examples:
  ddpo-bench embedded train --work embedded-work     the whole recipe; resumes what is in the folder
  ddpo-bench embedded evaluate                       the figures in the model card
"""
KERNELS_EXAMPLES = """\
examples:
  ddpo-bench kernels                                   all that this machine can measure
  ddpo-bench kernels --latent sd15 --batch 8 32        Stable Diffusion 1.5's latents, two batches
  ddpo-bench kernels --operation learning_step --dtype bf16
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    refuse_unknown_command(parser, arguments)
    args = parser.parse_args(arguments)
    if args.verb is None and not args.version:
        parser.print_help()
        return USER_ERROR
    quieten_libraries()
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        return call(args, arguments)
    finally:
        signal.signal(signal.SIGTERM, before)


def call(args: argparse.Namespace, arguments: Sequence[str]) -> int:
    from ddpo_bench import verbs

    try:
        code = verbs.version() if args.version else verbs.VERBS[args.verb](args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # nothing is left to stop
        again = "To go on where this stopped: " if args.verb in verbs.RESUMABLE else "To try again: "
        print(f"\nInterrupted. {again}{shlex.join(['ddpo-bench', *arguments])}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
        return ENDED_BY_CLOSED_PIPE
    except Exception as error:  # the promise to users: one line, a traceback only with --debug
        if args.debug:
            raise
        print(one_line_each(error), file=sys.stderr)
        return USER_ERROR


def one_line_each(error: Exception) -> str:
    """An exception for the user: our own are complete sentences, others are named."""
    if type(error).__module__.startswith(("ddpo_bench", "ddpo_kernels")):
        return str(error)
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first} (--debug shows where)"


def interrupt(signum: int, frame: FrameType | None) -> None:
    """SIGTERM ends the program as Ctrl-C does: state saved, no process left."""
    raise KeyboardInterrupt


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and exit code 1."""

    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"{self.prog}: {message}. See {self.prog} --help.\n")


def build_parser() -> Parser:
    parser = Parser(
        prog="ddpo-bench",
        description="Which policy-optimisation algorithm should fine-tune your diffusion model, and how sure are you?",
        epilog=MAIN_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", title="commands")
    for name, (add_options, what, examples) in COMMANDS.items():
        add_options(verb(verbs, name, what, examples))
    return parser


def verb(verbs: argparse._SubParsersAction[Parser], name: str, what: str, examples: str) -> Parser:
    parser = verbs.add_parser(
        name,
        help=what,
        description=what[0].upper() + what[1:] + ".",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
    return parser


def add_run(parser: Parser) -> None:
    add_suite(parser)
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="processes at a time (default: one a GPU, or one a CPU core)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("--retry-failed", action="store_true", help="run failed runs again")


def add_suite(parser: Parser) -> None:
    """What names the runs of a suite, their folder and their book."""
    parser.add_argument(
        "suite", metavar="SUITE", help="a YAML file, or the name of a suite that comes with the package"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="write to DIR/<suite name> (default: results)",
    )
    parser.add_argument("--only", metavar="GLOB", help="only the cells, or cell/seed-K, that match")
    parser.add_argument("--seeds", type=seeds, metavar="LIST", help="in place of the suite's own: 0-4 or 0,2,7")
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="of a database for the book of who runs what (default: study.journal in the results folder)",
    )
    add_set(parser, "change the suite's base")


def add_train(parser: Parser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="the run's folder; what is in it goes on (default: below results/train)"
    )
    add_set(parser, "change the configuration")


def add_table(parser: Parser) -> None:
    parser.add_argument("results", type=Path, metavar="DIR", help="results/<suite>")
    parser.add_argument(
        "--format", choices=["md", "csv", "tex", "json"], help="print that instead of a table for reading"
    )
    chosen = parser.add_mutually_exclusive_group()
    add_metric(chosen)
    chosen.add_argument(
        "--budget", choices=["queries", "seconds", "kl"], help="compare training rewards at an equal budget"
    )
    parser.add_argument(
        "--at", type=effect, metavar="X", help="the budget: images, s or nats (default: the largest that all reached)"
    )


def add_sample(parser: Parser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--run", type=Path, metavar="DIR", help="a run's folder: sample its trained policy")
    source.add_argument("--config", type=Path, metavar="FILE", help="a run configuration: sample its pretrained policy")
    parser.add_argument(
        "--prompts", nargs="+", metavar="TEXT", help="one image each (default: 16 of the configuration's prompts)"
    )
    parser.add_argument("--out", type=Path, default=Path("samples.png"), metavar="PNG", help="(default: samples.png)")
    parser.add_argument("--seed", type=int, default=0, help="of prompts and noise (default: 0)")


def add_compare(parser: Parser) -> None:
    parser.add_argument("old", type=Path, metavar="A", help="the old results folder, results/<suite>")
    parser.add_argument("new", type=Path, metavar="B", help="the new one")
    add_metric(parser)
    parser.add_argument(
        "--min-effect", type=effect, metavar="X", help="the smallest difference that counts (default: any)"
    )
    parser.add_argument("--format", choices=["md", "json"], help="print that instead of a table for reading")


def add_metric(parser: argparse._ActionsContainer) -> None:
    help = "final, eval/<reward>, kl, seconds, images_per_second or a column of metrics.jsonl (default: final)"
    parser.add_argument("--metric", metavar="NAME", help=help)


def add_list(parser: Parser) -> None:
    parser.add_argument(
        "kind", nargs="?", metavar="KIND", help="algorithm, reward, prompts, policy, sampler or advantages"
    )


def add_validate(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a YAML file, or the name of a suite that comes with the package")


def add_embedded(parser: Parser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    train = actions.add_parser(
        "train", help="render the data, train autoencoder, denoiser and verifier, save the model"
    )
    train.add_argument(
        "--work", type=Path, default=Path("embedded-work"), metavar="DIR", help="(default: embedded-work)"
    )
    evaluate = actions.add_parser("evaluate", help="measure the quality of a model")
    evaluate.add_argument("--model", type=Path, metavar="DIR", help="(default: the one that comes with the package)")
    evaluate.add_argument("--samples", type=positive, default=500, metavar="N", help="images to judge (default: 500)")


def add_kernels(parser: Parser) -> None:
    parser.add_argument(
        "--latent", nargs="+", metavar="NAME", help="sd15, sdxl, flux or embedded (default: the first three)"
    )
    parser.add_argument(
        "--batch", nargs="+", type=positive, metavar="N", help="(default: up to 256 on a GPU, up to 32 on a CPU)"
    )
    parser.add_argument("--dtype", nargs="+", metavar="NAME", help="bf16 or fp32 (default: both)")
    parser.add_argument(
        "--operation",
        nargs="+",
        metavar="NAME",
        help="sample, score, score_kl, backward, loss or learning_step (default: all)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("results", "kernels"),
        metavar="DIR",
        help="for kernels.md and kernels.csv (default: results/kernels)",
    )


def add_set(parser: Parser, what: str) -> None:
    help = f"{what}; dotted keys lead inside; may be repeated"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=help)


def seeds(text: str) -> list[int]:
    found: dict[int, None] = {}  # in order, without repetition
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and (not last.isdecimal() or int(last) < int(first))):
            raise argparse.ArgumentTypeError(f"expected seeds like 0-4 or 0,2,7, got {text!r}")
        found |= dict.fromkeys(range(int(first), int(last or first) + 1))
    return list(found)


def effect(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = math.nan
    if not 0 <= size < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number from 0 up, got {text!r}")
    return size


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 up, got {text!r}")
    return int(text)


COMMANDS: dict[str, tuple[Callable[[Parser], None], str, str]] = {
    "run": (add_run, "train a suite's runs and compare them", RUN_EXAMPLES),
    "work": (add_suite, "be one worker of a suite, in this terminal", WORK_EXAMPLES),
    "train": (add_train, "train one configuration", TRAIN_EXAMPLES),
    "table": (add_table, "compare the runs of a results folder", TABLE_EXAMPLES),
    "compare": (add_compare, "compare two results folders, old and new, run by run", COMPARE_EXAMPLES),
    "sample": (add_sample, "draw a grid of images", SAMPLE_EXAMPLES),
    "list": (add_list, "what can be named in a configuration", LIST_EXAMPLES),
    "validate": (add_validate, "check a suite or a run configuration", VALIDATE_EXAMPLES),
    "embedded": (add_embedded, "make or measure the embedded model", EMBEDDED_EXAMPLES),
    "kernels": (add_kernels, "measure the kernels beside eager torch and torch.compile", KERNELS_EXAMPLES),
}


def refuse_unknown_command(parser: Parser, arguments: Sequence[str]) -> None:
    """Name the nearest command, which argparse does not."""
    first = next((argument for argument in arguments if not argument.startswith("-")), None)
    if first is not None and first not in COMMANDS:
        near = get_close_matches(first, COMMANDS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        parser.error(f"unknown command {first!r}.{hint} Known: {', '.join(COMMANDS)}")


def quieten_libraries() -> None:
    """Keep advice to programmers from the user's terminal, in worker processes too; the user's own setting wins."""
    for library in ("TRANSFORMERS", "DIFFUSERS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
