"""One word for one thing: what the texts of the project do not say, by the last table of contributing/glossary.md."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = ROOT / "docs/contributing/glossary.md"
PATTERNS = ("*.md", "docs/**/*.md", "conf/**/*.yaml", "docs/examples/**/*", "run.py")
FOLDERS = ("sfa_bench", "analysis", "tools", "benchmarks")
NAMED_AS_THEY_WERE = {GLOSSARY, ROOT / "CHANGELOG.md"}  # the page itself, and the history


def searched():
    paths = [path for pattern in PATTERNS for path in ROOT.glob(pattern)]
    paths += [
        path for folder in FOLDERS for ending in ("py", "js", "html") for path in ROOT.glob(f"{folder}/**/*.{ending}")
    ]
    return sorted({path for path in paths if path.suffix and path.is_file()} - NAMED_AS_THEY_WERE)


def out():
    """Phrase → files that may have it, from the page."""
    table = GLOSSARY.read_text(encoding="utf-8").partition("| out | say | except in |\n|---|---|---|\n")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {phrase: set(re.findall(r"`([^`]+)`", where)) for first, _, where in rows for phrase in first.split(", ")}


OUT = out()


def pattern(phrase):
    words = [r"[\w.+/-]+=" if word == "KEY=" else rf"{re.escape(word)}\b" for word in phrase.split()]
    return re.compile(
        r"\b" + r"[\s#*]+".join([*words[:-1], words[-1].removesuffix(r"\b")]) + r"(?:s?\b)?", re.IGNORECASE
    )


def texts(path):
    """What a reader of the file reads: all of a page or YAML file; of code its texts, docstrings and comments."""
    content = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":  # keys of two lines are no sentence
        lines = [line.partition("# ") for line in content.splitlines()]
        return ["\n".join(comment for _, _, comment in lines), *(value for value, _, _ in lines)]
    if path.suffix != ".py":
        return [content]
    return [*strings(ast.parse(content)), comments(content)]


def strings(tree):
    """Every text of the code; a value in an f-string stands as X."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def comments(content):
    """Comments by lines, so that a sentence over two of them is found."""
    tokens = tokenize.generate_tokens(io.StringIO(content).readline)
    return "\n".join(token.string for token in tokens if token.type == tokenize.COMMENT)


def said(path):
    """Phrases that the file has and the page does not admit there."""
    read = "\n\0\n".join(texts(path))
    name = str(path.relative_to(ROOT))
    return [phrase for phrase, where in OUT.items() if name not in where and pattern(phrase).search(read)]


@pytest.mark.parametrize("path", searched(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_text_keeps_to_the_glossary(path):
    assert said(path) == []


def test_every_exception_is_of_use():
    for phrase, where in OUT.items():
        for name in where:
            assert pattern(phrase).search("\n\0\n".join(texts(ROOT / name))), f"{name} has no {phrase!r} any more"


def test_the_page_has_the_words_and_the_search_the_files():
    assert {"picture", "wrong label", "labels that people gave", "type KEY="} <= set(OUT)
    names = {str(path.relative_to(ROOT)) for path in searched()}
    assert {"README.md", "conf/config.yaml", "conf/noise/human.yaml", "docs/results.md", "sfa_bench/main.py"} <= names
    assert {"analysis/page/page.js", "sfa_bench/choices/methods.py", "docs/examples/neighbours.py"} <= names
    assert len(names) > 300


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Pictures of", "picture"),
        ("with wrong labels", "wrong label"),
        ("with wrong\n    # labels", "wrong label"),
        ("use plugin=sfa or type plugin.head=abc", "type KEY="),
        ("type +sweep=NAME", "type KEY="),
        ("labels that\npeople gave", "labels that people gave"),
    ],
)
def test_a_phrase_is_found(text, phrase):
    assert pattern(phrase).search(text)


@pytest.mark.parametrize("text", ["the type is int", "type: str", "data type=", "depicture", "a wrong key of labels"])
def test_other_words_are_not(text):
    assert not [phrase for phrase in OUT if pattern(phrase).search(text)]


def test_texts_of_code_are_docstrings_messages_and_comments_and_not_names():
    code = 'def pictures(type):\n    """A picture."""\n    return f"type {type}=1 " "or wrong label"  # ground truth\n'
    read = [*strings(ast.parse(code)), comments(code)]
    assert read == ["A picture.", "type X=1 or wrong label", "# ground truth"]
