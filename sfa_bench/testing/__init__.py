"""Contract tests for a method, a selector or a loss of your own, as scikit-learn's `check_estimator`: on tiny data, in
seconds, without a configuration. Each raises AssertionError with a sentence that says what to change.
"""

from sfa_bench.testing.losses import check_loss
from sfa_bench.testing.methods import check_method
from sfa_bench.testing.selectors import check_selector

__all__ = ["check_loss", "check_method", "check_selector"]
