"""Sources → long tail → label noise → loader. `build(config)` gives the data of one run."""

from sfa_bench.data.build import build
from sfa_bench.data.loader import Loader, augment, batches, to_float
from sfa_bench.data.types import Data, EvaluationSet, LearnerView, Transform

__all__ = ["Data", "EvaluationSet", "LearnerView", "Loader", "Transform", "augment", "batches", "build", "to_float"]
