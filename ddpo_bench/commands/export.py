"""`ddpo-bench export`: what a run trained, as diffusers loads it, with a model card."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ddpo_bench.commands.command import Command

if TYPE_CHECKING:
    from ddpo_bench.analysis.model_card import Base
    from ddpo_bench.config import RunConfig

FOLDER = "export"  # in a run's own
EXAMPLES = """\
examples:
  ddpo-bench export results/algos/runs/CELL/seed-0                       to the folder export in the run's own
  ddpo-bench export results/algos/runs/CELL/seed-0 --to my-lora
  ddpo-bench export results/algos/runs/CELL/seed-0 --push owner/name     to the Hugging Face hub too

LoRA is loaded by pipeline.load_lora_weights("my-lora"), next to which kohya.safetensors is for ComfyUI; a fully trained
model by from_pretrained("my-lora"). The folder holds a model card, README.md, and run.yaml, which trains the same
again. The newest checkpoint is exported; with `ema`, its average.
"""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--to", type=Path, metavar="DIR", help=f"the folder to write (default: RUN/{FOLDER})")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in that folder")
    parser.add_argument("--push", metavar="OWNER/NAME", help="upload the folder to this repository of the hub as well")


def execute(args: Namespace) -> int:
    from ddpo_bench.analysis.model_card import write_card
    from ddpo_bench.analysis.records import read_run
    from ddpo_bench.commands.planning import load_run
    from ddpo_bench.files import naming_disk_trouble, refuse_unwritable, replacing_folder
    from ddpo_bench.training.export import export_weights

    target: Path = args.to or args.run / FOLDER
    config = load_run(args.run / "config.yaml", [])
    refuse_wrong_places(target, args.overwrite, args.push)
    refuse_unwritable(target)
    with naming_disk_trouble(target.parent), replacing_folder(target) as folder:
        epoch = export_weights(config, args.run, folder)
        write_card(read_run(args.run), base_of(config), epoch, folder)
    print(f"Saved {target}: the weights after epoch {epoch}; README.md says how to load them")
    if args.push:
        print(f"Pushed to {push(target, args.push)}")
    return 0


def refuse_wrong_places(target: Path, overwrite: bool, repository: str | None) -> None:
    """Check before anything is read that what is written replaces only an earlier export, and only if that is meant.

    Raises:
        ConfigError: saying what to choose instead.
    """
    from ddpo_bench.config import ConfigError
    from ddpo_bench.policies.pipeline_folder import is_hub_name
    from ddpo_bench.run_folder.places import EXPORTED

    if target.exists() and not (target / EXPORTED).is_file():
        raise ConfigError([f"--to {target}: exists, and is no earlier export. Choose another folder."])
    if target.exists() and not overwrite:
        raise ConfigError([f"--to {target}: holds an earlier export. Choose another folder, or add --overwrite."])
    if repository is not None and not is_hub_name(repository):
        raise ConfigError([f"--push {repository}: is no name of a repository. Write it as owner/name."])


def base_of(config: RunConfig) -> Base:
    """The model that the policy was made of."""
    from ddpo_bench.analysis.model_card import Base
    from ddpo_bench.policies.licence import licence_of
    from ddpo_bench.policies.pipeline_folder import is_hub_name, model_path
    from ddpo_bench.policies.stored_pipeline import StoredPipeline

    policy = config.policy.build()
    if not isinstance(policy, StoredPipeline):
        return Base(type(policy).__name__, config.policy.name, False, {})
    on_hub = is_hub_name(policy.model) and not model_path(policy.model).is_dir()
    return Base(policy.layout.pipeline, policy.model, on_hub, licence_of(policy.model, policy.revision))


def push(folder: Path, repository: str) -> str:
    """Upload a folder to the hub, making the repository if there is none; returns its address.

    Raises:
        NoExport: where the hub refuses, saying why.
    """
    from huggingface_hub import HfApi

    from ddpo_bench.training.export import NoExport

    api = HfApi()
    try:
        address = api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Export from ddpo-bench")
    except Exception as error:  # of the hub, or of whichever HTTP library its version uses
        reason = str(error).strip().partition("\n")[0]
        raise NoExport(
            f"--push {repository}: {type(error).__name__}: {reason} Mend that (`hf auth login` logs in), and upload "
            f"{folder}, which is complete: hf upload {repository} {folder}"
        ) from error
    return str(address)


COMMAND = Command("write what a run trained as diffusers loads it", EXAMPLES, add_options, execute)
