"""Workers of a suite as a job array of Slurm, submitted through submitit.

Of submitit only the batch script and its submission are used, not its way to run a function.  That would unpickle
files of the results folder, and stand between Slurm and the worker: Slurm gives its signals to a task's own process,
not to the children of that, and a worker must get SIGTERM to save its state.  So the worker is the task.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any, get_args, get_type_hints

from ddpo_bench.files import exclusive
from ddpo_bench.registry import unknown

PROGRAM = (sys.executable, "-u", "-m", "ddpo_bench")  # unbuffered, so that the logs can be followed
PROGRAMS = ("sbatch", "srun", "squeue")  # of Slurm, that are used here
NOT_FOR_USERS = {"return", "command", "folder", "map_count", "additional_parameters", "use_srun"}  # of submitit's
ALIVE = "PENDING,RUNNING,SUSPENDED,COMPLETING"  # of squeue's states; one that is to run again is pending
SIGNAL_SECONDS = 90  # before the end of a worker's time it is told to save its state; --slurm signal_delay_s=...


class SlurmError(Exception):
    """Why nothing was submitted; a line for each mistake."""


def parameters(assignments: Sequence[str]) -> dict[str, Any]:
    """Slurm's parameters under submitit's names, of KEY=VALUE; those that are lists may be repeated.

    Raises:
        SlurmError: with every mistake, each with the nearest name that exists.
    """
    kinds, found, mistakes = known_parameters(), dict[str, Any](), list[str]()
    for text in assignments:
        key, _, value = text.partition("=")
        if not value:
            mistakes.append(f"--slurm {text}: write KEY=VALUE, as in partition=gpu.")
        elif key not in kinds:
            mistakes.append(f"--slurm {text}: {unknown('parameter', key, kinds)}")
        elif (converted := convert(value, kinds[key])) is None:
            mistakes.append(f"--slurm {text}: expected {'a whole number' if int in kinds[key] else 'true or false'}.")
        else:
            found[key] = found.get(key, []) + converted if isinstance(converted, list) else converted
    if mistakes:
        raise SlurmError("\n".join(mistakes))
    return found


def known_parameters() -> dict[str, tuple[Any, ...]]:
    """Names and types, as submitit's own function declares them.

    Raises:
        SlurmError: where submitit is not installed.
    """
    try:
        from submitit.slurm.slurm import _make_sbatch_string
    except ImportError:
        raise SlurmError("--executor slurm: needs submitit: pip install 'ddpo-bench[slurm]'.") from None
    hints = get_type_hints(_make_sbatch_string)
    return {name: get_args(hint) or (hint,) for name, hint in hints.items() if name not in NOT_FOR_USERS}


def convert(value: str, kinds: Sequence[Any]) -> int | bool | str | list[str] | None:
    """A parameter's value as one of these types; None where it is none of them."""
    if int in kinds:
        return int(value) if value.isdecimal() else None
    if bool in kinds and value in ("true", "false"):
        return value == "true"
    if str in kinds:
        return value
    return None if bool in kinds else [value]


def refuse_missing_slurm() -> None:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise SlurmError(
            f"--executor slurm: no {', '.join(missing)} in PATH. Run the command on a login node of the cluster, or "
            "leave out --executor to run here."
        )


def submit_workers(
    folder: Path, name: str, arguments: Sequence[str], count: int, options: Mapping[str, Any]
) -> tuple[str, Path]:
    """Submit `count` workers as one job array; none where an array of this folder is still alive.

    Args:
        folder: of the batch scripts and the logs.
        name: of the array.
        arguments: of ddpo-bench, that make a worker.
        options: as of `parameters`; they win over what is set here.
    Returns:
        The array's job id, and the pattern of its logs' names.
    Raises:
        SlurmError: where one is alive, or Slurm refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / "submitting.lock", f"{folder}: process {{pid}} is submitting workers just now."):
        refuse_second_array(folder)
        delay = options.get("signal_delay_s", SIGNAL_SECONDS)
        settings = {
            "job_name": f"ddpo-bench-{name}",
            "time": None,  # the partition's own limit, in place of submitit's five minutes
            "wckey": None,
            "additional_parameters": {"signal": f"TERM@{delay}"},  # in place of submitit's USR2
        }
        job = submit_array([*PROGRAM, *arguments], count, folder, {**settings, **options})
    return job, folder / f"{job}_*_log.*"


def submit_array(command: Sequence[str], count: int, folder: Path, settings: Mapping[str, Any]) -> str:
    """Submit an array of `count` tasks that run this command; returns its job id."""
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor = SlurmExecutor(folder)
    executor.update_parameters(**settings)
    executor.parameters["map_count"] = count
    try:
        with redirect_stderr(StringIO()):  # where submitit prints what its error says too
            return executor._submit_command(shlex.join(command)).job_id
    except (FailedJobError, FailedSubmissionError) as error:
        raise SlurmError(f"Slurm refused the job array: {in_one_line(str(error))}") from None


def refuse_second_array(folder: Path) -> None:
    """The arrays of before are known by the scripts that submitit keeps next to the logs."""
    jobs = [script.name.partition("_")[0] for script in folder.glob("*_submission.sh")]
    if alive := living(jobs):
        raise SlurmError(
            f"Nothing was submitted: job array {', '.join(alive)} still works on this suite. Let it end, or end it "
            f"with scancel {' '.join(alive)}; then the same command submits workers for the runs that are left."
        )


def living(jobs: Sequence[str]) -> list[str]:
    """Those of the job ids that wait or run, as squeue says, which needs no accounting as sacct does."""
    if not jobs:
        return []
    command = ["squeue", "--noheader", "--format=%F", f"--states={ALIVE}", f"--jobs={','.join(jobs)}"]
    asked = subprocess.run(command, capture_output=True, text=True)
    if asked.returncode and "Invalid job id" not in asked.stderr:  # as it calls one that ended minutes ago
        raise SlurmError(f"Nothing was submitted: squeue does not answer: {in_one_line(asked.stderr)}")
    return sorted(set(asked.stdout.split()) & set(jobs))


def in_one_line(text: str) -> str:
    return " ".join(text.split()) or "it gives no reason."
