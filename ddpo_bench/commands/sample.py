"""`ddpo-bench sample`: a grid of images sampled from a pretrained or trained policy."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddpo_bench.commands.command import Command, amount, positive, seed

if TYPE_CHECKING:
    import numpy as np

    from ddpo_bench.config import RunConfig

GRID_COLUMNS = 8
DEFAULT_SAMPLES = 16
EXAMPLES = """\
examples:
  ddpo-bench sample                                        sample the pretrained embedded model
  ddpo-bench sample --prompts 'a dog' 'three frogs' --out dog.png
  ddpo-bench sample --run results/algos/runs/CELL/seed-0   sample a trained policy
  ddpo-bench sample --run my-lora --steps 20 --eta 0       an exported one, with other steps and noise
"""


def add_options(parser: ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--run", type=Path, metavar="DIR", help="a run's folder, or what was exported of one: sample its trained policy"
    )
    source.add_argument("--config", type=Path, metavar="FILE", help="a run configuration: sample its pretrained policy")
    parser.add_argument(
        "--prompts",
        nargs="+",
        metavar="TEXT",
        help="one image for each (default: 16 of the configuration's evaluation prompts)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("samples.png"), metavar="PNG", help="picture to write (default: samples.png)"
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of prompts and noise (default: 0)")
    parser.add_argument("--steps", type=positive, metavar="N", help="denoising steps (default: the configuration's)")
    parser.add_argument(
        "--guidance-scale", type=amount, metavar="X", help="classifier-free guidance (default: the configuration's)"
    )
    parser.add_argument("--eta", type=amount, metavar="X", help="noise of the sampler (default: the configuration's)")


def execute(args: Namespace) -> int:
    from ddpo_bench.training.generate import sample_images, sampled_with

    refuse_picture(args.out)
    config, run = source_of(args)
    config = sampled_with(config, args.steps, args.guidance_scale, args.eta)
    prompts = args.prompts or draw_prompts(config, args.seed)
    save_grid(sample_images(config, prompts, args.seed, run), args.out)
    for index, prompt in enumerate(prompts):
        print(f"{index // GRID_COLUMNS + 1}.{index % GRID_COLUMNS + 1}  {prompt}")
    print(f"Saved {args.out} (row.column: prompt)")
    return 0


def source_of(args: Namespace) -> tuple[RunConfig, Path | None]:
    """The configuration of what is sampled, and the run whose checkpoint it is; None where it is none."""
    from ddpo_bench.commands.planning import load_run
    from ddpo_bench.config import run_config
    from ddpo_bench.run_folder.places import EXPORTED
    from ddpo_bench.training.generate import of_export

    if args.run and (args.run / EXPORTED).is_file():
        return of_export(load_run(args.run / EXPORTED, []), args.run), None
    if args.run:
        return load_run(args.run / "config.yaml", []), args.run
    return load_run(args.config, []) if args.config else run_config({}, "defaults"), None


def draw_prompts(config: RunConfig, seed: int) -> list[str]:
    import numpy as np

    from ddpo_bench.held_out import split

    _, draw = split(config.prompts.build(), config.evaluation.prompts)
    rng = np.random.default_rng(seed)
    return [draw(rng)[0] for _ in range(DEFAULT_SAMPLES)]


def save_grid(images: np.ndarray[Any, Any], path: Path) -> None:
    """Write images in rows of GRID_COLUMNS, without padding; empty places are white.

    Args:
        images: uint8 [N, H, W, 3].
        path: the picture to write.
    """
    from PIL import Image

    from ddpo_bench.files import replacing
    from ddpo_bench.training.evaluation import tile

    grid = tile(images, min(GRID_COLUMNS, len(images)))
    with replacing(path) as temporary:
        Image.fromarray(grid).save(temporary)


def refuse_picture(path: Path) -> None:
    """Check before any image is sampled that the grid can be saved.

    Raises:
        ConfigError: where the suffix is not that of a picture format.
        DiskTrouble: where the folder cannot be written to.
    """
    from io import BytesIO

    from PIL import Image

    from ddpo_bench.config import ConfigError
    from ddpo_bench.files import refuse_unwritable

    if path.is_dir():
        raise ConfigError([f"--out {path}: is a folder. Give a file, as in --out {path / 'samples.png'}."])
    form = Image.registered_extensions().get(path.suffix.lower())
    try:
        Image.new("RGB", (8, 8)).save(BytesIO(), form or "")
    except (KeyError, OSError, ValueError):
        given = f"{path.suffix!r} is not a picture format that can be written" if path.suffix else "has no suffix"
        raise ConfigError([f"--out {path}: {given}. Give a .png, as in --out {path.with_suffix('.png')}."]) from None
    refuse_unwritable(path)


COMMAND = Command("sample a grid of images", EXAMPLES, add_options, execute)
