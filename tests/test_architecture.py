"""Imports between the packages go the way that contributing/architecture.md §1 draws."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "sfa_bench"
# What each may import of the suite, beside itself. `parts` takes the names of the losses' code from `choices`.
ALLOWED = {
    "choices": set(),
    "parts": {"choices"},
    "store": {"errors"},
    "selectors": {"errors", "parts"},
    "config": {"choices", "errors", "parts"},
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
