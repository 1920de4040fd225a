"""What runs leave on the disk, as Python's objects and pandas' tables."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from sfa_bench.errors import ConfigError
from sfa_bench.store.folder import RunFolder
from sfa_bench.store.ledger import run_folders
from sfa_bench.store.reading import Damaged
from sfa_bench.store.record import load as load_record

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from sfa_bench.api.trained import TrainedModel


class Run:
    """One run, as its folder says when this object is made.

    Args: path: the folder, which holds `run.json`. Raises: ConfigError where that cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        try:
            self.record = load_record(self.path / "run.json")
        except (OSError, Damaged) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(f"{self.path}/run.json cannot be read: {reason}") from error

    @property
    def hash(self) -> str:
        """The identity of its configuration, 12 hex digits."""
        return str(self.record["hash"])

    @property
    def state(self) -> str:
        """`running`, `interrupted`, `failed` or `done`."""
        return str(self.record["state"])

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration in plain types: `config["plugin"]["beta"]`."""
        return dict(self.record["config"])

    @property
    def metrics(self) -> dict[str, Any]:
        """The results by their names in records, such as `test/acc/final`; empty unless the run is done."""
        return dict(self.record["metrics"] or {})

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """One row an epoch; figures of the selection are columns such as `selection/precision`."""
        import pandas as pd

        return pd.DataFrame([_flat(row) for row in RunFolder(self.path).read_metrics()])

    @cached_property
    def predictions(self) -> dict[str, np.ndarray]:
        """The arrays of `predictions.npz`. Raises: ConfigError where the run has none yet."""
        try:
            return RunFolder(self.path).read_arrays("predictions.npz")
        except (OSError, Damaged) as error:
            reason = f"the run is {self.state}" if isinstance(error, FileNotFoundError) else error
            raise ConfigError(f"{self.path}/predictions.npz cannot be read: {reason}") from error

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row a training sample: index (in the data set as it stands), path (of an image file, below the data's
        folder), observed_label, clean_label (-1: unknown), observed_class, clean_class, clean_probability (mean over
        the networks), selected (by at least one), and with two networks the last two of each, with _1 and _2.

        Missing values stand for what is unknown, or what a run without a selector does not have.
        """
        import pandas as pd

        arrays, names = self.predictions, self.record["data"].get("classes")
        observed, clean, paths = arrays["observed_label"], arrays["clean_label"], arrays.get("path")

        def class_of(label: int) -> str | None:
            return None if label < 0 else str(label) if names is None else str(names[label])

        frame = pd.DataFrame(
            {
                "index": arrays["index"],
                "path": pd.Series(
                    [None] * len(observed) if paths is None else list(map(os.fsdecode, paths.tolist())), dtype=object
                ),
                "observed_label": observed,
                "clean_label": clean,
                "observed_class": [class_of(k) for k in observed.tolist()],
                "clean_class": pd.Series([class_of(k) for k in clean.tolist()], dtype=object),
            },
            index=range(len(observed)),
        )
        return frame.assign(**_selected(arrays))

    def model(self, device: str = "cpu") -> TrainedModel:
        """The trained network or networks with their preprocessing, ready to predict.

        Raises: ConfigError where no weights are kept, or they cannot be built any more.
        """
        from sfa_bench.api.trained import TrainedModel

        return TrainedModel(self.path, device)

    def evaluate(self, *, name: str | None = None, **keys: Any) -> dict[str, Any]:
        """Metrics of the saved networks on the test set of a data set with the same classes; also written to
        `evaluations/NAME.json` in the run's folder, where NAME is that of the data set unless one is given.

        Args: keys of data (`dataset`, `dataset.…`, `data_dir`, `data_seed`), without any the run's own test set;
        `device`, `threads`, `eval.ensemble`, `eval.batch_size`.
        Raises: ConfigError where no weights are kept, or the data do not fit them.
        """
        from sfa_bench.api.evaluation import evaluate
        from sfa_bench.api.running import undisturbed
        from sfa_bench.api.words import run_words

        with undisturbed():
            return dict(evaluate(self.path, run_words(keys), name)[1]["metrics"])

    def __repr__(self) -> str:
        names, accuracy = self.record["names"], self.metrics.get("test/acc/final")
        method = " + ".join(names[key] for key in ("method", "plugin") if names.get(key, "none") != "none")
        figure = "" if not isinstance(accuracy, float) else f", accuracy {accuracy:.2f}"
        return f"<Run {self.hash}: {method} on {names.get('dataset')}, {self.state}{figure}>"


class Runs(Sequence[Run]):
    """Several runs, in order."""

    def __init__(self, runs: Iterable[Run]):
        self._runs = tuple(runs)

    def __len__(self) -> int:
        return len(self._runs)

    @overload
    def __getitem__(self, place: int) -> Run: ...
    @overload
    def __getitem__(self, place: slice) -> Runs: ...
    def __getitem__(self, place: int | slice) -> Run | Runs:
        return Runs(self._runs[place]) if isinstance(place, slice) else self._runs[place]

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def frame(self) -> pd.DataFrame:
        """One row a run: folder, hash, state, command, the names of choices (`method`, `plugin` …), every path of the
        configuration, and every figure by its name in tables; lists as `NAME/0`, `NAME/1` ….
        """
        from sfa_bench.config.external import keep_analysis

        keep_analysis()  # with a folder of this name among the user's own files
        from analysis.columns import columns_of
        from analysis.export import tidy

        frame = tidy(columns_of([(run.path, run.record) for run in self._runs]).runs())
        if len(frame):
            frame.insert(2, "state", [run.state for run in self._runs])
        return frame

    def __repr__(self) -> str:
        states = ", ".join(f"{count} {state}" for state, count in Counter(run.state for run in self._runs).items())
        return f"<Runs: {states or 'none'}>"


def load(path: str | os.PathLike[str]) -> Run | Runs:
    """The run in a folder that holds a `run.json`; of any other folder all runs below it, finished or not.

    Raises: ConfigError where there is no such folder, or a record cannot be read.
    """
    place = Path(path).expanduser()
    if place.name == "run.json" and place.is_file():
        place = place.parent
    if not place.is_dir():
        raise ConfigError(f"{place}: there is no such folder")
    if (place / "run.json").is_file():
        return Run(place)
    return Runs(Run(folder) for folder in run_folders([place]))


def _flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as `outer/inner`."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}/")
        elif not (key == "selection" and value is None):
            flat[f"{prefix}{key}"] = value
    return flat


def _selected(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The columns of the last selection, of all networks together and of each."""
    import numpy as np
    import pandas as pd

    if "selected" not in arrays:
        samples = len(arrays["observed_label"])
        return {"clean_probability": np.nan, "selected": pd.array([None] * samples, dtype="boolean")}
    probability, mask = arrays["clean_probability"].astype(np.float64), arrays["selected"]
    judged = np.isfinite(probability)  # a network may have judged a draw only
    total = np.where(judged, probability, 0).sum(axis=0)
    mean = np.divide(total, judged.sum(axis=0), out=np.full(len(total), np.nan), where=judged.any(axis=0))
    columns = {"clean_probability": mean, "selected": mask.any(axis=0)}
    if len(mask) > 1:
        for k, (of_network, selected) in enumerate(zip(probability, mask, strict=True), start=1):
            columns |= {f"clean_probability_{k}": of_network, f"selected_{k}": selected}
    return columns
