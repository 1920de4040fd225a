"""The plan of a sweep the long way: each job composed, checked, hashed and serialised by itself."""

from collections import Counter

from sfa_bench.config.canonical import hashes
from sfa_bench.config.compose import compose_checked
from sfa_bench.config.effect import idle, no_effect
from sfa_bench.config.external import make_importable
from sfa_bench.config.stored import to_json
from sfa_bench.config.sweep_files import jobs
from sfa_bench.errors import ConfigError
from sfa_bench.store.warmups import shared_folder


def plan(overrides, conf=None):
    """Runs (hash → words), their configurations, warm-ups that they share, combinations that make no sense, repeats."""
    make_importable(conf)
    runs, configs, warmups, trained, not_valid, repeats = {}, {}, {}, {}, [], 0
    lazy, acting = {}, set()
    for job in jobs(overrides, conf):
        try:
            config = compose_checked(job, conf)
        except ConfigError as error:
            if not error.invalid_combination:
                raise
            not_valid.append(([override.text for override in job], str(error)))
            continue
        idlers = idle(config, job)
        lazy |= {override.key: override for override in idlers}
        acting |= {override.key for override in job} - {override.key for override in idlers}
        identity, base, warmup = hashes(config)
        if identity in runs:
            repeats += 1
            continue
        runs[identity] = [override.text for override in job if override not in idlers]
        configs[identity] = to_json(config)
        if warmup is not None:
            warmups[identity] = shared_folder(config.runs_dir, warmup)
            trained[identity] = base
    for key in lazy.keys() - acting:
        raise no_effect(lazy[key])
    several = Counter(folder for folder, _ in {(folder, trained[h]) for h, folder in warmups.items()})
    return {
        "runs": list(runs.items()),
        "configs": configs,
        "warmups": {h: folder for h, folder in warmups.items() if several[folder] > 1},
        "not valid": not_valid,
        "repeats": repeats,
    }
