"""Workers of a suite as a job array of Slurm: a batch script, every task of which is one `ddpo-bench work`."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ddpo_bench.config import Resources
from ddpo_bench.files import exclusive, write_text

PROGRAM = (sys.executable, "-u", "-m", "ddpo_bench")  # unbuffered, so that the logs can be followed
PROGRAMS = ("sbatch", "srun", "squeue")
ALIVE = "PENDING,RUNNING,SUSPENDED,COMPLETING"  # of squeue's states; a job that is to run again is pending
# The worker is the task itself, because Slurm sends its signals to tasks and not to their children, and a worker must
# get SIGTERM to save its state: 90 seconds before its time ends.
CORES = {"cpus_per_task", "cpus_per_gpu", "exclusive"}  # options of sbatch by which a user has asked for them
GPUS = {"gpus", "gpus_per_node", "gpus_per_task", "gpus_per_socket", "gres", "tres_per_task"}
SCRIPT = """\
#!/bin/sh
#SBATCH --job-name=ddpo-bench-{name}
#SBATCH --array=0-{last}
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --signal=TERM@90
#SBATCH --open-mode=append
srun --unbuffered ${{SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK}} {command}
"""


class SlurmError(Exception):
    """Why nothing was submitted, in one line."""


def refuse_missing_slurm() -> None:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise SlurmError(
            f"--executor slurm: no {', '.join(missing)} in PATH. Run the command on a login node of the cluster, or "
            "leave out --executor to run here."
        )


def submit_workers(
    folder: Path, name: str, arguments: Sequence[str], count: int, options: Sequence[str]
) -> tuple[str, Path]:
    """Submit `count` workers as one job array; none where an array of this folder still exists.

    Args:
        folder: of the batch scripts and the logs.
        name: of the suite.
        arguments: of ddpo-bench, that make a worker.
        options: of sbatch, as KEY=VALUE or KEY; they win over those in the script.
    Returns:
        The array's job id, and the pattern of its logs' names.
    Raises:
        SlurmError: where an array exists, or Slurm refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / "submitting.lock", f"{folder}: process {{pid}} is submitting workers just now."):
        refuse_second_array(folder)
        script = SCRIPT.format(name=name, last=count - 1, command=shlex.join([*PROGRAM, *arguments]))
        output = f"--output={folder.absolute()}/%A_%a.log"
        asked = run("sbatch", "--parsable", output, *map(as_option, options), given=script)
        if asked.returncode:
            raise SlurmError(f"Slurm refused the job array: {in_one_line(asked.stderr)}")
        job = asked.stdout.strip().partition(";")[0]  # behind it, the name of the cluster
        write_text(folder / f"{job}.sh", script)
    return job, folder / f"{job}_*.log"


def options_for(runs: Iterable[Resources], given: Sequence[str]) -> list[str]:
    """What a worker must have for these runs, as options of sbatch, unless the given ones ask for it already.

    A login node has no GPUs that could tell what `gpus: auto` is on the others: these are asked for by the user.
    """
    wanted, keys = list(runs), {option.partition("=")[0].replace("-", "_") for option in given}
    processes = max(one.processes for one in wanted)
    gpus = max(one.gpus_of(0) for one in wanted)
    cores = [f"cpus_per_task={processes}"] if processes > 1 and keys.isdisjoint(CORES) else []
    return cores + ([f"gpus_per_node={gpus}"] if gpus and keys.isdisjoint(GPUS) else [])


def as_option(text: str) -> str:
    """gpus_per_node=1 as --gpus-per-node=1."""
    key, equals, value = text.partition("=")
    return f"--{key.replace('_', '-')}{equals}{value}"


def refuse_second_array(folder: Path) -> None:
    """Earlier arrays are known by their scripts."""
    jobs = [script.stem for script in folder.glob("*.sh")]
    if alive := existing(jobs):
        raise SlurmError(
            f"Nothing was submitted: job array {', '.join(alive)} still works on this suite. Let it end, or end it "
            f"with scancel {' '.join(alive)}; then the same command submits workers for the runs that are left."
        )


def existing(jobs: Sequence[str]) -> list[str]:
    """Those of the job ids that wait or run, as squeue says, which needs no accounting as sacct does."""
    if not jobs:
        return []
    asked = run("squeue", "--noheader", "--format=%F", f"--states={ALIVE}", f"--jobs={','.join(jobs)}")
    if asked.returncode and "Invalid job id" not in asked.stderr:  # as it calls a job that ended minutes ago
        raise SlurmError(f"Nothing was submitted: squeue does not answer: {in_one_line(asked.stderr)}")
    return sorted(set(asked.stdout.split()) & set(jobs))


def run(*command: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=given, capture_output=True, text=True)


def in_one_line(text: str) -> str:
    return " ".join(text.split()) or "it gives no reason."
