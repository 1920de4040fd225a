"""A list of the user's own: which samples to keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sfa_bench.errors import ConfigError
from sfa_bench.selectors.base import Probe, Samples, Selection, Selector, SelectorInputs
from sfa_bench.tables import rows, whole

KEEP = {"0": False, "1": True}


class Listed(Selector):
    """Selects what a CSV file says, in every epoch: keep [N] bool, of the training samples in their order."""

    def __init__(self, keep: np.ndarray):
        self.keep = keep

    @classmethod
    def of(cls, inputs: SelectorInputs) -> Listed:
        """Raises: ConfigError where the file does not fit the samples, see `read`."""
        assert inputs.samples is not None
        return cls(read(Path(str(inputs.options.file)).expanduser(), inputs.samples))

    def select(self, probe: Probe, epoch: int) -> Selection:
        mask = self.keep if probe.rows is None else self.keep[probe.rows]
        return Selection.by_rule(probe, mask, mask.astype(np.float64), mask.astype(np.float64))


def read(file: Path, samples: Samples) -> np.ndarray:
    """Whether each training sample is kept, bool [N].

    The file has a column `keep`, 0 or 1, and a column `index` (in the training set of the data set) or, of image files,
    `path` (as in suspects.csv); of both, `index` is taken. It may list samples that this run holds out or leaves out.
    Raises: ConfigError for a sample that is missing, listed twice or unknown, and for any other keep.
    """
    name = f"method.selector.file={file}"
    known = None if samples.paths is None else {*samples.paths}
    by_index: dict[int, bool] = {}
    by_path: dict[str, bool] = {}
    for where, row in rows(file, ("keep",)):
        if row["keep"] not in KEEP:
            raise ConfigError(f"{where} has keep {row['keep']!r}: it must be 0 or 1")
        if "index" in row:
            index = whole(row["index"], f"{where} has index")
            if index >= samples.size:
                raise ConfigError(f"{where} has index {index}: the data set has {samples.size:,} training samples")
            twice, by_index[index] = index in by_index, KEEP[row["keep"]]
        elif "path" in row:
            path = row["path"]
            if known is None:
                raise ConfigError(f"{name} lists paths, and these samples are no image files: give a column index")
            if path not in known and len(known) == samples.size:
                raise ConfigError(f"{where} has path {path!r}, which is no training image of this data set")
            twice, by_path[path] = path in by_path, KEEP[row["keep"]]
        else:
            raise ConfigError(f"{name} has neither a column index nor a column path beside keep")
        if twice:
            raise ConfigError(f"{where} lists a sample that an earlier line lists: remove one of them")
    if by_path:
        assert samples.paths is not None
        kept = [by_path.get(path) for path in samples.paths]
    else:
        kept = [by_index.get(index) for index in samples.index.tolist()]
    if None in kept:
        at = kept.index(None)
        first = samples.paths[at] if by_path and samples.paths is not None else f"index {samples.index[at]}"
        raise ConfigError(
            f"{name} lacks {kept.count(None):,} of {len(kept):,} training samples, first {first}: list all, with keep "
            "0 or 1"
        )
    return np.array(kept, dtype=bool)
