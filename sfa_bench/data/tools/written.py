"""What `describe -o FOLDER` writes; it imports Matplotlib, which is slow."""

from __future__ import annotations

from pathlib import Path

from sfa_bench.config.schema import RunConfig
from sfa_bench.data.tools import figures, page
from sfa_bench.data.tools.describe import Description, refuse_full
from sfa_bench.store.atomic import write_bytes
from sfa_bench.store.folder import writing


def write(found: Description, config: RunConfig, command: str, folder: Path) -> list[Path]:
    """The figures as SVG and PNG, and a page that needs no other file. Returns what was written.

    Raises: ConfigError where the folder holds anything, RunError when the disk fails.
    """
    refuse_full(folder)
    drawn = figures.draw(found)
    files = {f"{name}.{ending}": content for name, kinds in drawn.items() for ending, content in kinds.items()}
    svgs = {name: kinds["svg"] for name, kinds in drawn.items()}
    files["index.html"] = page.render(found, config.data_seed, svgs, command).encode()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_bytes(folder / name, content)
    return [folder / name for name in files]
