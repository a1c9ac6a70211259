"""`ddpo-bench embedded`: train the embedded models, or measure their quality."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ddpo_bench.commands.command import Command, positive

EXAMPLES = """\
examples:
  ddpo-bench embedded train --work embedded-work     run the whole recipe, or resume it in the folder
  ddpo-bench embedded train --device cuda            run it on a GPU, with more data and larger batches
  ddpo-bench embedded train --flow-only              train only the flow model
  ddpo-bench embedded evaluate                       measure the numbers in the model card
"""


def add_options(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    train = actions.add_parser(
        "train", help="render the data, train autoencoder, denoiser, decoder, verifier and flow model, save all"
    )
    train.add_argument(
        "--work",
        type=Path,
        default=Path("embedded-work"),
        metavar="DIR",
        help="folder for data and checkpoints (default: embedded-work)",
    )
    train.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="device to train on (default: cpu)")
    train.add_argument(
        "--flow-only",
        action="store_true",
        help="train only the flow model, from the UNet in the folder, or else from the embedded one",
    )
    evaluate = actions.add_parser("evaluate", help="measure the quality of a model")
    evaluate.add_argument("--model", type=Path, metavar="DIR", help="the model's folder (default: the embedded model)")
    evaluate.add_argument(
        "--samples",
        type=positive,
        default=500,
        metavar="N",
        help="number of images to generate and judge (default: 500)",
    )


def execute(args: Namespace) -> int:
    from ddpo_bench.embedded import MODEL_FOLDER, recipe

    if args.action == "train" and args.flow_only:
        recipe.train_flow_only(args.work, args.device)
    elif args.action == "train":
        recipe.train(args.work, args.device)
    else:
        recipe.evaluate(args.model or MODEL_FOLDER, args.samples)
    return 0


COMMAND = Command("train the embedded models, or measure their quality", EXAMPLES, add_options, execute, resumable=True)
