"""`ddpo-bench embedded`: make the embedded model, or measure one."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ddpo_bench.commands.command import Command, positive

EXAMPLES = """\
examples:
  ddpo-bench embedded train --work embedded-work     the whole recipe; resumes what is in the folder
  ddpo-bench embedded evaluate                       the figures in the model card
"""


def add_options(parser: ArgumentParser) -> None:
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


def execute(args: Namespace) -> int:
    from ddpo_bench.embedded import MODEL_FOLDER, recipe

    if args.action == "train":
        recipe.train(args.work)
    else:
        recipe.evaluate(args.model or MODEL_FOLDER, args.samples)
    return 0


COMMAND = Command("make or measure the embedded model", EXAMPLES, add_options, execute, resumable=True)
