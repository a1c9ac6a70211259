"""`ddpo-bench kernels`: the kernels compared with eager torch and torch.compile."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ddpo_bench.commands.command import Command, positive

EXAMPLES = """\
examples:
  ddpo-bench kernels                                   everything that this machine can measure
  ddpo-bench kernels --latent sd15 --batch 8 32        the latents of Stable Diffusion 1.5, two batch sizes
  ddpo-bench kernels --operation learning_step --dtype bf16
"""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--latent",
        nargs="+",
        metavar="NAME",
        help="latent sizes: sd15, sdxl, flux or embedded (default: the first three)",
    )
    parser.add_argument(
        "--batch",
        nargs="+",
        type=positive,
        metavar="N",
        help="batch sizes (default: up to 256 on a GPU, up to 32 on a CPU)",
    )
    parser.add_argument("--dtype", nargs="+", metavar="NAME", help="number formats: bf16 or fp32 (default: both)")
    parser.add_argument(
        "--operation",
        nargs="+",
        metavar="NAME",
        help="operations: sample, score, score_kl, backward, loss or learning_step (default: all)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("results", "kernels"),
        metavar="DIR",
        help="folder for kernels.md and kernels.csv (default: results/kernels)",
    )


def execute(args: Namespace) -> int:
    import torch

    from ddpo_bench.analysis.terminal import TerminalTable
    from ddpo_bench.console import say, wide_console
    from ddpo_bench.files import refuse_unwritable
    from ddpo_bench.microbench.cases import select_cases
    from ddpo_bench.microbench.machine import describe
    from ddpo_bench.microbench.run import run
    from ddpo_bench.training.provenance import git_commit, processor_name

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cases = select_cases(args.latent, args.batch, args.dtype, args.operation, device.type == "cuda")
    refuse_unwritable(args.out / "kernels.md")
    machine = describe(device, processor_name(), git_commit(), command_of(args))
    for made in run(cases, device, machine, args.out, say):
        wide_console().print(TerminalTable(made), "")
    print("\n".join(f"{name}: {value}" for name, value in machine.items()))
    return 0


def command_of(args: Namespace) -> str:
    """The command line of these arguments."""
    words = ["ddpo-bench", "kernels"]
    for option in ("latent", "batch", "dtype", "operation"):
        if given := getattr(args, option):
            words += [f"--{option}", *map(str, given)]
    return shlex.join([*words, "--out", str(args.out)])


COMMAND = Command("compare the kernels with eager torch and torch.compile", EXAMPLES, add_options, execute)
