"""What a sweep knows of its jobs: those that differ in their seeds alone are composed, checked and serialised once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sfa_bench.config.canonical import Hashes, Identities, hashes
from sfa_bench.config.compose import compose_checked, compose_seedless
from sfa_bench.config.effect import idle
from sfa_bench.config.overrides import CheckedOverride
from sfa_bench.config.schema import RunConfig
from sfa_bench.config.stored import to_json, with_seeds
from sfa_bench.config.unseen import LookedError
from sfa_bench.errors import ConfigError

Job = Sequence[CheckedOverride]
Seeds = tuple[int, ...]  # the values of SEED_KEYS


class Setting:
    """The run of one job, which is composed by itself.

    idle: overrides that cannot act in it, which its run's own command does not name. The seeds that the methods take
    are those that `seeds` returns.
    """

    __slots__ = ("_hashes", "_kept", "_stored", "idle", "rerun", "retry_failed", "runs_dir")

    def __init__(self, job: Job, config: RunConfig):
        self.idle = idle(config, job)
        self._kept = [place for place, override in enumerate(job) if override not in self.idle]
        self.runs_dir, self.retry_failed, self.rerun = config.runs_dir, config.retry_failed, config.rerun
        self._identify(config)

    def _identify(self, config: RunConfig) -> None:
        self._hashes: Hashes = hashes(config)
        self._stored = to_json(config)

    def words(self, job: Job) -> list[str]:
        """The overrides in the command of a job's run."""
        return [job[place].text for place in self._kept]

    def seeds(self, job: Job) -> Seeds:
        return ()

    def run(self, seeds: Seeds) -> str:
        """The hash of a run; see `Hashes` for this and the next two."""
        return self._hashes.run

    def trained(self, seeds: Seeds) -> str:
        return self._hashes.trained

    def warmup(self, seeds: Seeds) -> str | None:
        return self._hashes.warmup

    def stored(self, seeds: Seeds) -> str:
        """The configuration of a run as JSON."""
        return self._stored


class Replicates(Setting):
    """The runs of jobs that differ in their seeds alone.

    config: that of each, with unseen seeds; sources: of each of `SEED_KEYS`, the override that sets it, or its value.
    """

    __slots__ = ("_identities", "_sources")

    def __init__(self, job: Job, config: RunConfig, sources: Mapping[str, str | int]):
        super().__init__(job, config)
        places = {override.key: place for place, override in enumerate(job)}
        self._sources = [(places[s], 0) if isinstance(s, str) else (None, s) for s in sources.values()]

    def _identify(self, config: RunConfig) -> None:
        self._identities = Identities(config)
        self._stored = to_json(replace(config, replicate=0, seed=0, data_seed=0))

    def seeds(self, job: Job) -> Seeds:
        return tuple([value if place is None else job[place].value for place, value in self._sources])

    def run(self, seeds: Seeds) -> str:
        return self._identities.run(seeds[1], seeds[2])

    def trained(self, seeds: Seeds) -> str:
        return self._identities.trained(*seeds[1:])

    def warmup(self, seeds: Seeds) -> str | None:
        return self._identities.warmup(*seeds[1:])

    def stored(self, seeds: Seeds) -> str:
        return with_seeds(self._stored, seeds)


class Settings:
    """The settings of a sweep, each composed at its first job."""

    def __init__(self, conf: Path | None):
        self._conf = conf
        # None: one has to look at the seeds, so each of its jobs is composed by itself.
        self._known: dict[tuple[int, ...], Setting | None] = {}
        self._refused: dict[tuple[int, ...], ConfigError] = {}
        self._idle: dict[str, CheckedOverride] = {}
        self._acting: set[str] = set()

    def of(self, job: Job, key: tuple[int, ...] | None) -> Setting:
        """The setting of a job; key: as of `jobs_by_setting`. Raises: ConfigError as `compose_checked`."""
        if key is None:
            return self._noted(job, Setting(job, compose_checked(job, self._conf)))
        if (setting := self._known.get(key)) is not None:
            return setting
        if key in self._refused:
            raise self._refused[key].with_traceback(None)
        if key not in self._known:
            try:
                self._known[key] = self._replicates(job)
            except ConfigError as error:
                self._refused[key] = error
                raise
        return self._known[key] or self.of(job, None)

    def without_effect(self) -> list[CheckedOverride]:
        """The options that act in none of the sweep's runs."""
        return [override for key, override in self._idle.items() if key not in self._acting]

    def _replicates(self, job: Job) -> Setting | None:
        try:
            shared = compose_seedless(job, self._conf)
            return None if shared is None else self._noted(job, Replicates(job, *shared))
        except LookedError:
            return None

    def _noted(self, job: Job, setting: Setting) -> Setting:
        self._idle |= {override.key: override for override in setting.idle}
        self._acting |= {override.key for override in job} - {override.key for override in setting.idle}
        return setting


class StoredConfigs(Mapping[str, str]):
    """The stored configuration of each run, as JSON, by its hash; made when it is asked for: it has some hundred bytes
    to a kilobyte.
    """

    def __init__(self, runs: Mapping[str, tuple[Setting, Seeds]]):
        self._runs = runs

    def __getitem__(self, identity: str) -> str:
        setting, seeds = self._runs[identity]
        return setting.stored(seeds)

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)
