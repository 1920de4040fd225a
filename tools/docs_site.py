"""Pages of the documentation's site besides the files in `docs/`: a hook of MkDocs, see `hooks` in mkdocs.yml.

Pages made from the code (configuration, commands, published numbers), CONTRIBUTING.md, and the folders in `results/`.
`GENERATED` names the pages that no file of `docs/` is behind; `tests/docs/` checks their text and the links to them.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # MkDocs loads this file by its path
    sys.path.insert(0, str(ROOT))

from sfa_bench.cli import COMMANDS  # noqa: E402
from sfa_bench.config.help import default_choices, first_comment, keys, keys_of  # noqa: E402
from sfa_bench.config.overrides import APPENDED, choice_file, choices  # noqa: E402
from sfa_bench.config.schema import CHOSEN, GROUPS, RunConfig  # noqa: E402
from sfa_bench.config.values import describe, range_text, show  # noqa: E402
from tools.reproduction import Page  # noqa: E402

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page as SitePage

WIDTH = "100"  # columns of the commands' help
SUBCOMMANDS = {"data": ("check", "describe", "export", "fingerprints", "make-fake"), "status": ("clean",)}
LISTED = ("run", "sweep")  # whose help is the configuration's page


# ---- configuration


def configuration() -> str:
    """Every group with its choices, and every key with type, range and default, from the schema and the YAML files."""
    parts = [
        "# Configuration",
        "Made from the schema and the YAML files in `conf/`; `python run.py --help` prints the same. Set a key with "
        "`KEY=VALUE` and a choice with `GROUP=CHOICE`; a preset or a sweep file is `+preset=NAME` or `+sweep=NAME`. "
        "Defaults of a group's options are those of its default choice; null stands for the value that the help names.",
        "## Groups and choices",
        *(_choices(group) for group in (*CHOSEN, *APPENDED)),
        "## Keys of a run",
        _table(_rows(keys(RunConfig))),
    ]
    for group in GROUPS:
        rows = list(_rows(keys_of(group)))
        if rows:
            parts += [f"## Options of `{group}`", _table(rows)]
    return "\n\n".join(parts) + "\n"


def _choices(group: str) -> str:
    default = default_choices().get(group)
    lines = [f"### `{'+' if group in APPENDED else ''}{group}`", "", "| choice | what it is |", "|:--|:--|"]
    for choice in choices(group):
        mark = " (default)" if choice == default else ""
        lines.append(f"| `{choice}`{mark} | {_cell(first_comment(choice_file(group, choice)))} |")
    return "\n".join(lines)


def _rows(options: Iterator[tuple[str, Any, Any, Mapping[str, Any]]]) -> Iterator[tuple[str, str, str, str]]:
    """Key, default, what is allowed, help, for each option that can be set."""
    for path, default, kind, limits in options:
        ranged = range_text("value", limits)
        allowed = describe(kind).removeprefix("one of ") + (f", {ranged}" if ranged != "value" else "")
        yield path, show(default), allowed, limits["help"]


def _table(rows: Any) -> str:
    lines = ["| key | default | allowed | meaning |", "|:--|:--|:--|:--|"]
    lines += [f"| `{key}` | `{default}` | {_cell(allowed)} | {_cell(text)} |" for key, default, allowed, text in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


# ---- commands


def commands() -> str:
    """Every subcommand with the help that it prints."""
    parts = [
        "# Commands",
        "`sfa-bench SUBCOMMAND …` and `python -m sfa_bench SUBCOMMAND …` are the same. In a checkout `python run.py` "
        "is `sfa-bench run`, `python run.py -m` is `sfa-bench sweep`, and the others are the modules that their usage "
        "line names. The exit status is 0 when done, 1 when something failed, 2 when the command was refused, and 130 "
        "or 143 when it was interrupted.",
    ]
    for name, (_, _, _, what) in COMMANDS.items():
        parts += [f"## {name}", f"{what[0].upper()}{what[1:]}."]
        if name in LISTED:
            parts.append("Groups, choices and keys are listed in [Configuration](configuration.md).")
            continue
        parts.append(_block(name))
        for subcommand in SUBCOMMANDS.get(name, ()):
            parts += [f"### {name} {subcommand}", _block(name, subcommand)]
    return "\n\n".join(parts) + "\n"


def _block(*words: str) -> str:
    return f"```text\n{help_of(*words).strip()}\n```"


def help_of(name: str, *words: str) -> str:
    """What `sfa-bench NAME WORDS… --help` prints. Raises RuntimeError where that is not a help with status 0."""
    module, function, before, _ = COMMANDS[name]
    printed, columns = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = WIDTH
    try:
        with redirect_stdout(printed):
            status = getattr(import_module(module), function)([*before, *words, "--help"])
    except SystemExit as ended:
        status = ended.code
    finally:
        del os.environ["COLUMNS"]
        if columns is not None:
            os.environ["COLUMNS"] = columns
    if status or not printed.getvalue().strip():
        raise RuntimeError(f"sfa-bench {' '.join([name, *words])} --help ended with {status}")
    return printed.getvalue()


# ---- pages that stand elsewhere in the repository


def reproduction() -> str:
    """The page of published numbers, without runs of ours."""
    return Page([]).text()


def contributing() -> str:
    return (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").replace("](docs/", "](../")


def result_page(path: Path) -> str:
    """A Markdown file of `results/NAME/`, whose list of files becomes links."""
    text = path.read_text(encoding="utf-8")
    if path.name == "README.md":
        return re.sub(r"^- `([\w.]+)`", r"- [`\1`](\1)", text, flags=re.MULTILINE)
    title = path.stem.replace("_", " ")
    return f"# {path.parent.name}: {title}\n\n{text}"


GENERATED: dict[str, Callable[[], str]] = {
    "reference/configuration.md": configuration,
    "reference/commands.md": commands,
    "reproduction.md": reproduction,
    "contributing/index.md": contributing,
}


def site_links(text: str) -> str:
    """Links of a page in `docs/` as they are on the site, where `results/` lies beside the pages."""
    return re.sub(r"\]\(\.\./results(?:/([^)\s]*))?\)", lambda m: f"](results/{m[1] or 'README.md'})", text)


def results_index() -> str:
    """A list of the folders in `results/`."""
    lines = ["# Tables\n", "Each folder has every run as a line of `runs.csv`, and the commands that make it again.\n"]
    for page in sorted(ROOT.glob("results/*/README.md")):
        title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        lines.append(f"- [{page.parent.name}]({page.parent.name}/README.md): {title}")
    return "\n".join([*lines, ""])


# ---- what MkDocs calls


def on_files(files: Files, config: MkDocsConfig) -> Files:
    from mkdocs.structure.files import File

    for name, make in GENERATED.items():
        files.append(File.generated(config, name, content=make()))
    files.append(File.generated(config, "results/README.md", content=results_index()))
    for path in sorted(ROOT.glob("results/*/*")):
        name = path.relative_to(ROOT).as_posix()
        if path.suffix == ".md":
            files.append(File.generated(config, name, content=result_page(path)))
        else:
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: SitePage, config: MkDocsConfig, files: Files) -> str:
    return site_links(markdown) if "/" not in page.file.src_uri else markdown
