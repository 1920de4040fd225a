"""Imports go the way that contributing/architecture.md §1 draws, and nothing private of other packages is used."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "sfa_bench"
# What each may import of the suite, beside itself. `parts` takes the names of the losses' code from `choices`.
ALLOWED = {
    "choices": set(),
    "parts": {"choices"},
    "store": {"doors", "errors"},
    "selectors": {"errors", "parts", "tables"},
    "config": {"choices", "doors", "errors", "parts"},
    "models": {"archives", "choices", "config", "errors", "numerics"},
    "methods": {"choices", "config", "data", "errors", "models", "numerics", "parts", "selectors", "streams"},
}


def imported(tree):
    """Packages of the suite that a file imports, inside functions too; not what only a type checker sees."""
    unseen = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in unseen:
            head, _, rest = node.module.partition(".")
            if head == "sfa_bench":
                yield from [rest.split(".")[0]] if rest else [alias.name for alias in node.names]


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_what_lies_below_it(package):
    for path in sorted((PACKAGE / package).rglob("*.py")):
        found = set(imported(ast.parse(path.read_text(encoding="utf-8")))) - {package}
        assert found <= ALLOWED[package], path.name


def test_imports_are_found_wherever_they_stand():
    code = "from sfa_bench import memory\ndef f():\n    from sfa_bench.engine.run import run\nif TYPE_CHECKING:\n"
    assert list(imported(ast.parse(code + "    from sfa_bench.data import x"))) == ["memory", "engine"]


# Names that begin with an underscore and are documented: Hydra's key, the end of a forked process, a named tuple's.
PUBLIC = {"_target_", "_exit", "_asdict"}


def foreign_private_names(trees):
    """Private names of other packages that the code uses: attributes, imported names and modules."""
    own = {
        name
        for node in (node for tree in trees for node in ast.walk(tree))
        for name in [getattr(node, "name", None), getattr(node, "attr", None), getattr(node, "id", None)]
        if not isinstance(getattr(node, "ctx", None), ast.Load)
    }
    for node in (node for tree in trees for node in ast.walk(tree)):
        names = []
        if isinstance(node, ast.Attribute):
            names = [node.attr] if node.attr not in own else []
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            names = [*module.split("."), *(part for alias in node.names for part in alias.name.split("."))]
            names = [] if module.startswith(("sfa_bench", "analysis", "__future__")) else names
        yield from (name for name in names if name[:1] == "_" and name[:2] != "__" and name not in PUBLIC)


def test_nothing_private_of_another_package_is_used():
    paths = [path for folder in (PACKAGE, PACKAGE.parent / "analysis") for path in folder.rglob("*.py")]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in paths]
    assert sorted(foreign_private_names(trees)) == []


def test_private_names_of_others_are_found_and_own_ones_are_not():
    code = "import a._b\nfrom c import _d\nfrom e._f import g\nh._i._j = h._k\ndef _k(): ...\nx._target_"
    assert sorted(foreign_private_names([ast.parse(code)])) == ["_b", "_d", "_f", "_i"]
