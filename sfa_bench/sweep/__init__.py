"""Sweeps: which runs are asked for, which are missing, and handing those to Hydra's launchers.

`sfa_bench.sweep(…)` is the function of the Python interface. The package has its name, and so it can be called.
"""

import sys
from types import ModuleType

from sfa_bench.api.running import sweep


class _Callable(ModuleType):
    __call__ = staticmethod(sweep)


sys.modules[__name__].__class__ = _Callable
__doc__ = str(sweep.__doc__)
del sweep
