"""Stands in for a Slurm cluster: programs that run the tasks of a job array as processes of this machine."""

import os
import signal
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

SBATCH = """
[ -e $FAKE_SLURM/refuses ] && { echo "sbatch: error: Batch job submission failed: Invalid partition" >&2; exit 1; }
job=$(( $(ls $FAKE_SLURM | grep -c script$) + 101 ))
script=$FAKE_SLURM/$job.script
cat > $script
echo "$@" > $FAKE_SLURM/$job.options
output=$(sed 's/.*--output=\\([^ ]*\\).*/\\1/' $FAKE_SLURM/$job.options)
last=$(sed -n 's/^#SBATCH --array=0-//p' $script)
for task in $(seq 0 $last); do
    log=$(sed "s/%A/$job/; s/%a/$task/" <<< "$output")
    SLURM_ARRAY_JOB_ID=$job SLURM_ARRAY_TASK_ID=$task setsid sh $script >$log 2>&1 &
    echo $! >> $FAKE_SLURM/$job.alive
done
echo $job
"""
SRUN = """
while [ "${1#--}" != "$1" ]; do shift; done
echo $$ > $FAKE_SLURM/$SLURM_ARRAY_JOB_ID.$SLURM_ARRAY_TASK_ID.pid
exec "$@"
"""
SQUEUE = """
[ -e $FAKE_SLURM/down ] && { echo "squeue: error: Unable to contact slurm controller" >&2; exit 1; }
for argument; do case $argument in --jobs=*) jobs=${argument#--jobs=};; esac; done
for job in ${jobs//,/ }; do
    for pid in $(cat $FAKE_SLURM/$job.alive); do kill -0 $pid 2>/dev/null && echo $job && found=1; done
done
case $found,$jobs in
    1,*|,*,*) exit 0;;
    *) echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1;;
esac
"""
SCANCEL = """
kill -TERM $(cat $FAKE_SLURM/${1/_/.}.pid)  # the task's own process alone, as Slurm's proctrack/cgroup does
"""


class FakeSlurm:
    """A cluster whose state is a folder."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder / "slurm"
        programs = folder / "bin"
        self.folder.mkdir()
        programs.mkdir()
        for name, body in {"sbatch": SBATCH, "srun": SRUN, "squeue": SQUEUE, "scancel": SCANCEL}.items():
            (programs / name).write_text("#!/bin/bash\n" + body)
            (programs / name).chmod(stat.S_IRWXU)
        monkeypatch.setenv("FAKE_SLURM", str(self.folder))
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    def scripts(self):
        """Of all arrays that were submitted, by job id."""
        return {int(path.stem): path.read_text() for path in sorted(self.folder.glob("*.script"))}

    def options(self, job):
        """The command line of sbatch."""
        return (self.folder / f"{job}.options").read_text().split()

    def cancel(self, task):
        """task: "101_0"."""
        subprocess.run(["scancel", task], check=True)

    def alive(self):
        return any(Path(f"/proc/{pid}").exists() for pid in self.pids())

    def pids(self):
        return [int(pid) for path in self.folder.glob("*.alive") for pid in path.read_text().split()]

    def close(self):
        """Kill what still runs; every task leads a session of its own.  The folder stays: a task may be writing."""
        for pid in self.pids():
            with suppress(ProcessLookupError):  # it has ended, maybe this very moment
                os.killpg(pid, signal.SIGKILL)
