"""What can be chosen is described in one place: elsewhere no choice is told from another by its name.

Names are looked for where they decide something: in comparisons, in patterns of `match`, and as keys. As values (of a
recipe, a preset, a default) and in sentences they may stand anywhere.
"""

import ast
from pathlib import Path

import pytest

from sfa_bench.choices.classifiers import CLASSIFIERS
from sfa_bench.choices.losses import LOSSES
from sfa_bench.choices.methods import LEARNERS
from sfa_bench.choices.models import MODELS
from sfa_bench.choices.noises import NOISES
from sfa_bench.choices.selectors import NAMES
from sfa_bench.choices.sources import SOURCES

ROOT = Path(__file__).resolve().parents[2]
METHODS = {path.stem for path in (ROOT / "conf" / "method").glob("*.yaml")}
KINDS = {
    "model": set(MODELS),
    "loss": set(LOSSES),
    "noise": set(NOISES) - {"none", "joint"},  # `joint` is also the classifier that every network has
    "classifier": set(CLASSIFIERS) - {"joint", "ncm"},  # `ncm` is also a further answer of RoLT's
    "selector": set(NAMES) - {"none", "file"},  # `file` is also a key of noise models
    "method": METHODS | set(LEARNERS),
    # also a format of tables, where a run is kept, and what a probe holds
    "data set": set(SOURCES) - {"csv", "folder", "features"},
}
KINDS = {kind: names - {"external"} for kind, names in KINDS.items()}  # what users bring; other people's results
EXEMPT = {
    "analysis/reported.py",  # published numbers are called by names of their own, which these maps translate
    "analysis/presets.py",
    "sfa_bench/config/overrides.py",  # other names of the same things
}
# What else is called so: a variant of a selector's mixtures, and of a backbone; the run below a classifier's.
ALSO = {
    ("sfa_bench/engine/posthoc.py", "base"),
    ("sfa_bench/config/recipes.py", "webvision"),
    ("sfa_bench/selectors/loss.py", "webvision"),
    ("sfa_bench/selectors/prototype.py", "webvision"),
    ("sfa_bench/models/preact_resnet.py", "dividemix"),
}


def own_module(name, kind):
    """Whether it is the code of the choice itself."""
    if kind == "method":  # whose parts are measured by its name
        return name.startswith("sfa_bench/speed/")
    return kind == "data set" and name.startswith(("sfa_bench/data/sources/", "sfa_bench/data/tools/fake.py"))


def shipped():
    for top in ("sfa_bench", "analysis"):
        for path in sorted((ROOT / top).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name not in EXEMPT and not name.startswith("sfa_bench/choices/"):
                yield name, ast.parse(path.read_text(encoding="utf-8"))


def deciding(tree):
    """Texts that something is compared with or looked up by, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        elif isinstance(node, ast.Dict):
            parts = [key for key in node.keys if key is not None]
        elif isinstance(node, ast.Subscript):
            parts = [node.slice]
        else:
            continue
        for part in parts:
            for inner in ast.walk(part) if isinstance(part, (ast.Tuple, ast.List, ast.Set)) else [part]:
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                    yield inner.value, inner.lineno


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_asks_for_the_name_of_a_choice(kind):
    found = [
        f"{name}:{line}: {text}"
        for name, tree in shipped()
        for text, line in deciding(tree)
        if text in KINDS[kind] and (name, text) not in ALSO and not own_module(name, kind)
    ]
    assert not found


def test_names_that_decide_are_found():
    code = "a == 'x'\nb in ('y', 'z')\nmatch c:\n    case 'u' | 'v': pass\nd = {'k': 1}\ne['s']\nf = Recipe('w')"
    assert [text for text, _ in deciding(ast.parse(code))] == ["x", "y", "z", "k", "s", "u", "v"]
