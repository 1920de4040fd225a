"""One word for one thing (docs/contributing/glossary.md): what the pages do not say."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = ROOT / "docs/contributing/glossary.md"
PAGES = [ROOT / "README.md", *(path for path in ROOT.glob("docs/**/*.md") if path != GLOSSARY)]
AVOIDED = re.compile(r"\bpictures?\b|labels that people gave|\bwrong(?:ly)? label|\bto type\b", re.IGNORECASE)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_keeps_to_the_glossary(path):
    assert AVOIDED.findall(path.read_text(encoding="utf-8")) == []


def test_the_words_avoided_are_the_glossarys():
    page = GLOSSARY.read_text(encoding="utf-8")
    assert "| image | what a sample shows | picture |" in page
    assert "| labels that people gave |" in page
    assert "| wrong, corrupted |" in page
    assert AVOIDED.findall("a picture with wrong labels") == ["picture", "wrong label"]
