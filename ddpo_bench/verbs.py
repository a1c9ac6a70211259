"""What each command does.  torch and pandas are imported by the commands that need them."""

from __future__ import annotations

import dataclasses
import shlex
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddpo_bench import registry
from ddpo_bench.config import ConfigError, RunConfig, apply_overrides, load_yaml, run_config

if TYPE_CHECKING:
    import numpy as np

    from ddpo_bench.analysis.tables import Table
    from ddpo_bench.sweep.plan import PlannedRun
    from ddpo_bench.sweep.suite import Suite

SOME_FAILED = 2
REGRESSION = 3
GRID_COLUMNS = 8
DEFAULT_SAMPLES = 16


def run(args: Namespace) -> int:
    """Train what a suite still lacks, then print its table."""
    from ddpo_bench.console import display
    from ddpo_bench.sweep.runner import run_suite
    from ddpo_bench.sweep.workers import default_count

    suite, runs, root = planned_runs(args)
    if args.dry_run:
        return print_plan(suite, runs, root)
    refuse_missing_backends(runs)
    failed = run_suite(suite, runs, root, args.workers or default_count(), display, args.retry_failed, args.storage)
    print_failures(failed, root)
    print_summary(root)
    return SOME_FAILED if failed else 0


def work(args: Namespace) -> int:
    """Be one worker of a suite."""
    import torch

    from ddpo_bench.console import PlainLines
    from ddpo_bench.sweep.runner import state, work_on_suite

    suite, runs, root = planned_runs(args)
    refuse_missing_backends(runs)
    if not torch.cuda.is_available():
        torch.set_num_threads(1)  # as in every worker, so that numbers do not depend on who computes them
    work_on_suite(suite, runs, root, PlainLines, args.storage)
    states = [state(run, root) for run in runs]
    print(f"{states.count('done')} of {len(runs)} runs are done, {states.count('failed')} failed: {root}")
    return SOME_FAILED if "failed" in states else 0


def planned_runs(args: Namespace) -> tuple[Suite, list[PlannedRun], Path]:
    """The suite, those of its runs that are meant, and its results folder."""
    from ddpo_bench.sweep.plan import plan, select
    from ddpo_bench.sweep.shipped import find_suite
    from ddpo_bench.sweep.suite import load_suite

    suite = load_suite(find_suite(args.suite), args.set)
    if args.seeds:
        suite = dataclasses.replace(suite, seeds=args.seeds)
    runs = plan(suite)
    return suite, select(runs, args.only) if args.only else runs, args.results / suite.name


def refuse_missing_backends(runs: Sequence[PlannedRun]) -> None:
    """Say once, before any run, what would end each of them."""
    import torch
    from ddpo_kernels import check_backend

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for backend in {run.config.backend for run in runs}:
        check_backend(backend, device)


def train(args: Namespace) -> int:
    """Train one configuration in this process."""
    from ddpo_kernels import BackendUnavailable, NoDensity

    from ddpo_bench.console import display
    from ddpo_bench.files import exclusive
    from ddpo_bench.policies.stable_diffusion import ModelNotFound
    from ddpo_bench.sweep.plan import PlannedRun, run_folder
    from ddpo_bench.training import trainer
    from ddpo_bench.training.loggers import MissingExtra

    config = load_run(args.config, args.set)
    folder = args.out or Path("results", "train") / run_folder(args.config.stem, config.identity(), config.seed)
    planned = PlannedRun(args.config.stem, config, folder)
    busy = f"{folder}: another process ({{pid}}) trains here. Wait for it, or give another --out DIR."
    with exclusive(folder / ".lock", busy), display([planned], 0) as watcher:
        watcher.started(planned, "this process")
        try:
            trainer.train(config, folder, lambda row: watcher.row(planned, row))
        except (trainer.DifferentConfig, ModelNotFound, NoDensity, BackendUnavailable, MissingExtra):
            raise  # the user's input, not a failed run
        except Exception as error:
            if args.debug:
                raise
            watcher.ended(planned, "failed", f"{type(error).__name__}: {error}")
            return SOME_FAILED
        watcher.ended(planned, "done", None)
    print(f"The run is in {folder}")
    return 0


def table(args: Namespace) -> int:
    """Print the comparison of a results folder; without options also make its plots and report again."""
    if args.at is not None and args.budget is None:
        raise ConfigError(["--at: says how much of a budget. Give --budget queries, seconds or kl too."])
    if not (args.format or args.metric or args.budget):
        print_summary(args.results)
        return 0
    from ddpo_bench.analysis.tabulate import tabulate

    print_table_as(tabulate(args.results, args.metric or "final", args.budget, args.at), args.format)
    return 0


def compare(args: Namespace) -> int:
    """Print what differs between two results folders."""
    from ddpo_bench.analysis import compare as comparing

    found = comparing.compare(args.old, args.new, args.metric or "final", args.min_effect)
    print_table_as(found.table, args.format)
    return REGRESSION if found.regressed else 0


def sample(args: Namespace) -> int:
    """Draw a grid of images from a pretrained or a trained policy."""
    from ddpo_bench.training.generate import sample_images

    source = args.run / "config.yaml" if args.run else args.config
    config = load_run(source, []) if source else run_config({}, "defaults")
    prompts = args.prompts or draw_prompts(config, args.seed)
    save_grid(sample_images(config, prompts, args.seed, args.run), args.out)
    for index, prompt in enumerate(prompts):
        print(f"{index // GRID_COLUMNS + 1}.{index % GRID_COLUMNS + 1}  {prompt}")
    print(f"Saved {args.out} (row.column: prompt)")
    return 0


def list_plugins(args: Namespace) -> int:
    """Print the plugins of one kind, or of all, a line each."""
    if args.kind is not None and args.kind not in registry.FOLDERS:
        raise ConfigError([f"list: {registry.unknown('kind', args.kind, registry.FOLDERS)}"])
    for kind in [args.kind] if args.kind else registry.FOLDERS:
        print(kind)
        for name in registry.names(kind):
            print(f"  {name:<24}{first_line(registry.get(kind, name))}")
    return 0


def validate(args: Namespace) -> int:
    """Say whether a file is a sound suite or run configuration, or name all that is wrong with it."""
    from ddpo_bench.sweep.plan import plan
    from ddpo_bench.sweep.shipped import find_suite
    from ddpo_bench.sweep.suite import is_suite, load_suite

    path = find_suite(args.file)
    if not is_suite(load_yaml(path)):
        config = load_run(path, [])
        images = config.epochs * config.samples_per_epoch
        print(f"{path}: ok, one run of {config.algorithm} on {config.reward}, {images:,} images")
        return 0
    suite = load_suite(path)
    runs = plan(suite)
    cells = f"{len(suite.cells)} cells x {len(suite.seeds)} seeds"
    print(f"{path}: ok, a suite of {len(runs)} runs ({cells}), {count_images(runs)} images")
    return 0


def embedded(args: Namespace) -> int:
    """Make the embedded model, or measure one."""
    from ddpo_bench.embedded import MODEL_FOLDER, recipe

    if args.action == "train":
        recipe.train(args.work)
    else:
        recipe.evaluate(args.model or MODEL_FOLDER, args.samples)
    return 0


def kernels(args: Namespace) -> int:
    """Measure the kernels beside eager torch and torch.compile, and print the tables."""
    import torch

    from ddpo_bench.console import say, wide_console
    from ddpo_bench.microbench.cases import plan
    from ddpo_bench.microbench.machine import describe
    from ddpo_bench.microbench.run import run
    from ddpo_bench.training.provenance import git_commit, processor_name

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cases = plan(args.latent, args.batch, args.dtype, args.operation, device.type == "cuda")
    machine = describe(device, processor_name(), git_commit(), kernels_command(args))
    for made in run(cases, device, machine, args.out, say):
        wide_console().print(made.to_rich(), "")
    print("\n".join(f"{name}: {value}" for name, value in machine.items()))
    return 0


def version() -> int:
    """Print the installed version."""
    print(f"ddpo-bench {metadata.version('ddpo-bench')}")
    return 0


VERBS: dict[str, Callable[[Namespace], int]] = {
    "run": run,
    "work": work,
    "train": train,
    "table": table,
    "compare": compare,
    "sample": sample,
    "list": list_plugins,
    "validate": validate,
    "embedded": embedded,
    "kernels": kernels,
}
RESUMABLE = ("run", "work", "train", "embedded")


def kernels_command(args: Namespace) -> str:
    """The command line that these arguments came from."""
    words = ["ddpo-bench", "kernels"]
    for option in ("latent", "batch", "dtype", "operation"):
        if given := getattr(args, option):
            words += [f"--{option}", *map(str, given)]
    return shlex.join([*words, "--out", str(args.out)])


def load_run(path: Path, overrides: Sequence[str]) -> RunConfig:
    """A run's configuration from a file.

    Raises:
        ConfigError: also where the file is a suite.
    """
    from ddpo_bench.sweep.suite import is_suite, spelled_out

    data = load_yaml(path)
    if data and is_suite(data):
        raise ConfigError([f"{path}: is a suite, not the configuration of one run. Use: ddpo-bench run {path}"])
    data = spelled_out(data)
    return run_config(apply_overrides(data, list(overrides)) if overrides else data, str(path))


def print_plan(suite: Suite, runs: Sequence[PlannedRun], root: Path) -> int:
    from ddpo_bench.console import print_table
    from ddpo_bench.sweep.runner import state

    cells: dict[Path, list[PlannedRun]] = {}
    for planned in runs:
        cells.setdefault(planned.folder.parent, []).append(planned)
    rows = []
    for folder, members in cells.items():
        states = [state(member, root) for member in members]
        counted = [f"{states.count(name)} {name}" for name in dict.fromkeys(states)]
        seeds = ", ".join(str(member.config.seed) for member in members)
        rows.append([members[0].cell, folder.name[-12:], seeds, count_images(members), ", ".join(counted)])
    print_table(f"{suite.name}: {len(runs)} runs", ["cell", "hash", "seeds", "images", "state"], rows)
    todo = [planned for planned in runs if state(planned, root) != "done"]
    print(f"{count_images(runs)} images (reward queries) in all, {count_images(todo)} of them to do, in {root}")
    return 0


def count_images(runs: Sequence[PlannedRun]) -> str:
    return f"{sum(planned.images for planned in runs):,}"


def print_failures(failed: Sequence[PlannedRun], root: Path) -> None:
    from ddpo_bench.sweep.run_state import read_status

    for planned in failed:
        print(f"{planned.name}: failed: {read_status(root / planned.folder)['reason']} (see {root / planned.folder})")
    if failed:
        print(f"{len(failed)} failed; to run them again add --retry-failed")


def print_summary(results: Path) -> None:
    """Make the table, plots and report of a results folder and print the table."""
    from ddpo_bench.analysis.summary import summarise

    print_table_as(summarise(results), None)
    print(f"\nReport: {results / 'report.html'}\nTables: {results}/table.md, .csv, .tex\nPictures: {results / 'plots'}")


def print_table_as(table: Table, form: str | None) -> None:
    """Print a table of results: for reading, or in the form asked for."""
    if form:
        forms = {"md": table.to_markdown, "csv": table.to_csv, "tex": table.to_latex, "json": table.to_json}
        print(forms[form](), end="")
        return
    from ddpo_bench.console import wide_console

    wide_console().print(table.to_rich())


def draw_prompts(config: RunConfig, seed: int) -> list[str]:
    import numpy as np

    prompts, rng = config.prompts.build(), np.random.default_rng(seed)
    return [prompts(rng)[0] for _ in range(DEFAULT_SAMPLES)]


def save_grid(images: np.ndarray[Any, Any], path: Path) -> None:
    """images: uint8 [N, H, W, 3]; rows of GRID_COLUMNS, no padding, the rest white."""
    from PIL import Image

    from ddpo_bench.training.evaluation import tile

    grid = tile(images, min(GRID_COLUMNS, len(images)))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid).save(path)


def first_line(plugin: type) -> str:
    """The first line of a plugin's own docstring; a dataclass without one has a generated signature for it."""
    generated = dataclasses.is_dataclass(plugin) and (plugin.__doc__ or "").startswith(f"{plugin.__name__}(")
    return "" if generated else (plugin.__doc__ or "").strip().partition("\n")[0]
