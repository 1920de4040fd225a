"""Comments cite the documentation by page and section (`algorithms/sfa.md §2.4`, `Q21`): what they cite exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SEARCHED = ("sfa_bench/**/*.py", "analysis/**/*.py", "tools/**/*.py", "tests/**/*.py", "conf/**/*.yaml", "run.py")
FILES = sorted(path for pattern in SEARCHED for path in ROOT.glob(pattern) if path.parent != Path(__file__).parent)

PLACE = r"§\d+(?:\.\d+)?(?:[–-]\d+(?:\.\d+)?)?"
CITATION = re.compile(rf"(?<![\w./])([a-z_]+(?:/\w+)*\.md)((?:,? {PLACE})*)")
QUIRK = re.compile(r"\bQ\d+\b")
FOLDERS = {"algorithms", "explanation"}  # whose pages are cited as a whole, too
LEFTOVER = re.compile(r"\bspec/\w|\bdesign\.md|\bspec §|(?<![\w./])(?:sfa|methods|data|models|quirks)\.md")


def joined(text):
    """A comment or docstring that goes on in the next line, in one line."""
    return re.sub(r"\s*\n\s*(?:# )?", " ", text)


def citations(text):
    """Page and sections (`2`, `2.4`) of each citation; a range is all between its ends."""
    for page, places in CITATION.findall(joined(text)):
        if not places and page.partition("/")[0] not in FOLDERS:
            continue  # the name of a file that is no page of ours
        sections = []
        for first, last in re.findall(r"§(\d+(?:\.\d+)?)(?:[–-](\d+(?:\.\d+)?))?", places):
            whole = last and "." not in first + last
            sections += map(str, range(int(first), int(last) + 1)) if whole else [first, *([last] if last else [])]
        yield page, sections


def sections_of(page):
    """The numbers of a page's headings, and of the steps of numbered lists below them: step 4 of section 2 is 2.4."""
    found, section = set(), ""
    for line in page.splitlines():
        if heading := re.match(r"#{2,4} (\d+(?:\.\d+)?)\.? ", line):
            section = heading[1]
            found.add(section)
        elif (step := re.match(r"(\d+)\. ", line)) and section:
            found.add(f"{section}.{step[1]}")
    return found


def wrong(text, quirks):
    """Sentences on what a file cites and does not exist."""
    said = []
    for page, sections in citations(text):
        path = DOCS / page
        if not path.is_file():
            said.append(f"docs/{page} does not exist")
            continue
        there = sections_of(path.read_text(encoding="utf-8"))
        said += [f"docs/{page} has no section {section}" for section in sections if section not in there]
    return said + [f"docs/algorithms/quirks.md has no {name}" for name in QUIRK.findall(text) if name not in quirks]


@pytest.fixture(scope="module")
def quirks():
    page = (DOCS / "algorithms/quirks.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| (Q\d+)(?: ★)? \|", page, re.MULTILINE))


def test_the_quirks_are_numbered_from_1_without_a_gap(quirks):
    assert quirks == {f"Q{n}" for n in range(1, len(quirks) + 1)}
    assert len(quirks) >= 70


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_file_cites_exists(path, quirks):
    assert wrong(path.read_text(encoding="utf-8"), quirks) == []


def test_no_file_cites_a_document_that_is_not_in_the_repository():
    left = {}
    for path in FILES:
        if found := LEFTOVER.findall(joined(path.read_text(encoding="utf-8"))):
            left[str(path.relative_to(ROOT))] = found
    assert left == {}


def test_there_are_citations():
    texts = [path.read_text(encoding="utf-8") for path in FILES if path.is_relative_to(ROOT / "sfa_bench")]
    assert sum(len(list(citations(text))) for text in texts) > 80
    assert sum(len(QUIRK.findall(text)) for text in texts) > 10


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("see algorithms/sfa.md §99", "docs/algorithms/sfa.md has no section 99"),
        ("see algorithms/sfa.md §2.99", "docs/algorithms/sfa.md has no section 2.99"),
        ("(algorithms/methods.md §1, §44)", "docs/algorithms/methods.md has no section 44"),
        ("algorithms/methods.md\n    # §55", "docs/algorithms/methods.md has no section 55"),
        ("algorithms/data.md §7-99", "docs/algorithms/data.md has no section 99"),
        ("algorithms/nothing.md", "docs/algorithms/nothing.md does not exist"),
        ("nothing.md §1", "docs/nothing.md does not exist"),
        ("as the release (Q999)", "docs/algorithms/quirks.md has no Q999"),
    ],
)
def test_a_citation_of_what_does_not_exist_is_found(text, sentence, quirks):
    assert sentence in wrong(text, quirks)


def test_a_citation_of_what_exists_is_none(quirks):
    text = "(algorithms/sfa.md §2.4, algorithms/methods.md §2–4, §3.5; protocol.md §3, Q21), written to page.md"
    assert list(citations(text)) == [
        ("algorithms/sfa.md", ["2.4"]),
        ("algorithms/methods.md", ["2", "3", "4", "3.5"]),
        ("protocol.md", ["3"]),
    ]
    assert wrong(text, quirks) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_of_the_documentation_that_are_named_exist(path):
    named = set(re.findall(r"(?<![\w/])docs/[\w/]+\.\w+", path.read_text(encoding="utf-8")))
    assert {name for name in named if not (ROOT / name).is_file()} == set()
