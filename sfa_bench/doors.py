"""What a user writes before the keys of a run or a sweep. It depends on how the suite was started, and records and
messages name the command that was used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True)
class Door:
    """The commands of a run and of a sweep; `program` is the one whose subcommands they and the tools are, if any."""

    here: ClassVar[Door]  # of this process; an entry point may replace it before anything is read

    run: str
    sweep: str
    program: str | None = None

    @classmethod
    def of(cls, program: str) -> Door:
        """The subcommands of a program: `sfa-bench` or `python -m sfa_bench`."""
        return cls(f"{program} run", f"{program} sweep", program)

    def tool(self, module: str) -> str:
        """The command of a tool, such as `analysis.table`: its module, or the subcommand of its name."""
        return f"python -m {module}" if self.program is None else f"{self.program} {module.rpartition('.')[2]}"


# A tool started as a module, or the Python interface: only a checkout has run.py, beside the package.
if (Path(__file__).resolve().parents[1] / "run.py").is_file():
    Door.here = Door("python run.py", "python run.py -m")
else:
    Door.here = Door("sfa-bench run", "sfa-bench sweep")
