#!/usr/bin/env bash
# submitit 1.5.4: a job that SLURM preempted for good is never done, and one that it suspended is.
#
# Guess before it was run: where accounting says PREEMPTED (the last state of a job on a partition with PreemptMode=CANCEL),
# the job is over, as after NODE_FAIL or TIMEOUT.
# Seen: PREEMPTED counts as at work, so that `wait` and `result` of such a job never return, while those of a SUSPENDED job
# end with UncompletedJobError though it goes on later. One that accounting does not know (it keeps none, or `sacct` fails)
# is UNKNOWN, which is at work, too, for ever.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check submitit==1.5.4
mkdir "$work/bin"
cat >"$work/bin/sacct" <<'SH'
#!/bin/sh
# As sacct(1) with --parsable2 and these fields; job 17 is not in its accounts.
printf 'JobID|State|NodeList\n11|PREEMPTED|a\n12|SUSPENDED|a\n13|NODE_FAIL|a\n14|TIMEOUT|a\n15|RUNNING|a\n16|COMPLETED|a\n'
SH
chmod +x "$work/bin/sacct"
PATH="$work/bin:$PATH" "$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

from submitit.slurm.slurm import SlurmInfoWatcher

assert version("submitit") == "1.5.4"
watcher = SlurmInfoWatcher()
for job in map(str, range(11, 18)):
    watcher.register_job(job)
watcher.update()
done = {f"{job} {watcher.get_state(job, 'cache')}": watcher.is_done(job, "cache") for job in map(str, range(11, 18))}
print("submitit 1.5.4, done:", done)
assert done == {
    "11 PREEMPTED": False,
    "12 SUSPENDED": True,
    "13 NODE_FAIL": True,
    "14 TIMEOUT": True,
    "15 RUNNING": False,
    "16 COMPLETED": True,
    "17 UNKNOWN": False,
}
PY
