"""A real SLURM of one node on loopback, for tests: Debian's slurmctld, slurmd, slurm-client and munge, as root."""

import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

from processes import wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")


def lacking():
    """Why there can be none here; empty where there can."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed (Debian's slurmctld slurmd slurm-client munge)"
    return "" if os.geteuid() == 0 else "a test's own SLURM has to be started by root"


class Cluster:
    """Started on entering; nothing of it is left on leaving."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen] = {}

    def __enter__(self):
        for name in ("state", "spool", "log", "run"):
            (self.folder / name).mkdir()
        (self.folder / "slurm.conf").write_text(self._configuration())
        for place in ("/run/munge", "/etc/munge", "/var/log/munge", "/var/lib/munge"):
            Path(place).mkdir(exist_ok=True)
            shutil.chown(place, "munge", "munge")
        if not Path("/etc/munge/munge.key").exists():  # the package makes one
            subprocess.run(["runuser", "-u", "munge", "--", "mungekey", "--create"], check=True)
        self._start("munged", "runuser", "-u", "munge", "--", "munged", "--foreground", "--force")
        self._start("slurmctld", "slurmctld", "-D", "-f", self.environment["SLURM_CONF"])
        self.start_node()
        wait_until(lambda: self.state() == "idle", 60)
        return self

    def __exit__(self, *exception):
        with suppress(subprocess.CalledProcessError):
            self.run("scancel", "--full", "--signal=KILL", "--user=root")
        self.kill_node()
        for daemon in ("slurmctld", "munged"):
            self._daemons[daemon].terminate()
            self._daemons[daemon].wait(30)

    def start_node(self):
        self._start("slurmd", "slurmd", "-D", "-f", self.environment["SLURM_CONF"])

    def kill_daemon(self):
        """Kill the node's daemon alone: its jobs go on."""
        self._daemons["slurmd"].kill()
        self._daemons["slurmd"].wait(30)

    def kill_node(self):
        """Kill the daemon and every process of a job, as a power cut would."""
        self.kill_daemon()
        stopped: set[int] = set()
        while born := self._of_jobs() - stopped:  # what is stopped starts nothing that would outlive the rest
            for pid in born:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            stopped |= born
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def state(self):
        """The node's."""
        return self.run("sinfo", "-h", "-o", "%t").strip()

    def run(self, *words):
        done = subprocess.run(words, env=os.environ | self.environment, capture_output=True, text=True, check=True)
        return done.stdout

    def jobs(self):
        """Number of an array's task -> (job, state, reason why it waits)."""
        lines = [line.split("|") for line in self.run("squeue", "-h", "-r", "-o", "%K|%F_%K|%T|%r").splitlines()]
        return {int(task): (job, state, reason) for task, job, state, reason in lines if task.isdecimal()}

    def report(self):
        """What stands still and why, for a test that waited in vain."""
        said = self.run("squeue", "-a", "-r"), self.run("sinfo", "-N", "-l"), self.run("sinfo", "-R")
        logs = [(self.folder / "log" / f"{name}.log").read_text()[-3000:] for name in ("Slurmctld", "Slurmd")]
        return "\n".join((*said, *logs))

    def start_waiting(self):
        """What is queued again waits for two minutes by SLURM's own rule; an operator may end that."""
        for job, _, reason in self.jobs().values():
            if reason == "BeginTime":
                with suppress(subprocess.CalledProcessError):  # it is not yet off its node
                    self.run("scontrol", "update", f"JobId={job}", "StartTime=now")

    def _start(self, name, *command):
        log = open(self.folder / "log" / f"{name}.out", "ab")  # noqa: SIM115  the daemon's
        self._daemons[name] = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | self.environment)

    def _of_jobs(self):
        """Processes of SLURM's steps and all below them."""
        parents, steps = {}, set()
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal():
                with suppress(OSError):
                    name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
                    parents[int(folder.name)] = int(rest.split()[1])
                    if name == "slurmstepd":
                        steps.add(int(folder.name))
        found = set(steps)
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found

    def _configuration(self):
        here, cores = socket.gethostname(), len(os.sched_getaffinity(0))
        daemons = "\n".join(
            f"{daemon}PidFile={self.folder}/run/{daemon}.pid\n{daemon}LogFile={self.folder}/log/{daemon}.log"
            for daemon in ("Slurmctld", "Slurmd")
        )
        return f"""ClusterName=loop
SlurmctldHost={here}(127.0.0.1)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool
{daemons}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
SlurmdTimeout=6
MpiDefault=none
NodeName={here} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=2000 State=UNKNOWN
PartitionName=debug Nodes={here} Default=YES MaxTime=INFINITE State=UP
"""
