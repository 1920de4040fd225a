"""Whether a sweep's jobs on SLURM are over: the controller's queue says it, also of those that left no result."""

from __future__ import annotations

import os

from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

# squeue(1), job state codes: from these no job comes back. (Requeued, suspended or held ones are others.)
ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "REVOKED", "TIMEOUT"),
}
DELAY_SECONDS = 60  # at most, between two questions; the first ones follow each other more closely


class QueueWatcher(SlurmInfoWatcher):
    """Asks the queue where submitit's own asks the accounting: on a cluster that keeps none, a sweep would wait for
    ever for a job that was killed. And submitit takes a suspended job for ended, and one that was preempted for good
    for one at work (findings/submitit_preempted_jobs.sh).
    """

    def __init__(self) -> None:
        super().__init__(DELAY_SECONDS)
        self.jobs: set[str] = set()

    def register_job(self, job_id: str) -> None:
        super().register_job(job_id)
        self.jobs.add(job_id)

    def _make_command(self) -> list[str]:
        return ["squeue", "--noheader", "--array", f"--user={os.getuid()}", "--states=all", "--format=%F|%K|%T|%N"]

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        """Each job's state. One that is not listed ended some minutes ago: the controller has forgotten it."""
        found = {}
        for line in (string if isinstance(string, str) else string.decode()).splitlines():
            job, task, state, nodes = line.strip().split("|")
            found[f"{job}_{task}" if task.isdecimal() else job] = {"State": state, "NodeList": nodes}
        waited_for = [job for job in self.jobs if not self.is_done(job, "cache")]
        return {job: found.get(job, {"State": "COMPLETED"}) for job in waited_for}

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        return self.get_state(job_id, mode) in ENDED


def ask_the_queue() -> None:
    """From now on submitit asks SLURM's queue about the jobs of this process."""
    SlurmJob.watcher = QueueWatcher()
