"""Links of the README and of the documentation lead somewhere, on a page that hosts the code and on the site."""

import re

import pytest
import yaml

from tools.docs_site import GENERATED, ROOT, result_page, results_index, site_links

DOCS = ROOT / "docs"
TEST_COMMAND = "pip install -e '.[test]' && pytest"
PAGES = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("results/*/README.md")]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def without_code(text):
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def links(text):
    return [link for link in LINK.findall(without_code(text)) if not re.match(r"[a-z]+:", link)]


def anchors(text):
    """The anchors of a page's headings, as Markdown's table of contents makes them of plain headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", h.lower()).strip()) for h in headings}


def target(page, link):
    path = link.partition("#")[0]
    return (page.parent / path).resolve() if path else page


def text_of(path):
    """The text of a page, or of one that is made for the site; None where there is neither."""
    if path.is_file():
        return path.read_text(encoding="utf-8") if path.suffix == ".md" else ""
    if path.is_dir():
        return ""
    make = GENERATED.get(str(path.relative_to(DOCS))) if path.is_relative_to(DOCS) else None
    return make() if make else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_or_a_generated_page_and_its_heading(page):
    for link in links(page.read_text(encoding="utf-8")):
        text = text_of(target(page, link))
        assert text is not None, f"{link} leads nowhere"
        anchor = link.partition("#")[2]
        assert not anchor or anchor in anchors(text), f"{link}: the page has no such heading"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "AGENTS.md"])
def test_links_of_pages_outside_of_the_site_lead_to_files_of_the_repository(name):
    page = ROOT / name
    for link in links(page.read_text(encoding="utf-8")):
        assert target(page, link).exists(), f"{link} is not in the repository"


def test_the_readme_is_short_and_has_the_test_command():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.encode()) <= 8192
    assert f"\n{TEST_COMMAND}\n" in text
    assert TEST_COMMAND in (ROOT / ".ci/run").read_text(encoding="utf-8")


def listed(nav):
    for entry in nav:
        for page in entry.values():
            if isinstance(page, list):
                yield from listed(page)
            else:
                yield page


def test_the_site_lists_every_page_once():
    pages = list(listed(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    assert len(pages) == len(set(pages))
    there = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert set(pages) == there | set(GENERATED) | {"results/README.md"}
    assert not there & set(GENERATED), "a generated page is in the repository too"


def test_the_readme_names_every_guide():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"(docs/guides/{path.name})" in text for path in (DOCS / "guides").glob("*.md"))


def test_links_to_results_are_the_sites():
    text = "[a](../results/x/README.md), [b](../results), [c](protocol.md)"
    assert site_links(text) == "[a](results/x/README.md), [b](results/README.md), [c](protocol.md)"


def test_pages_of_results_link_their_files_and_are_listed():
    for page in ROOT.glob("results/*/README.md"):
        assert f"({page.parent.name}/README.md)" in results_index()
        found = links(result_page(page))
        assert "runs.csv" in found
        assert all((page.parent / link).is_file() for link in found)


def test_files_that_pages_name_exist():
    """Paths in code that look like files of the repository."""
    pattern = re.compile(r"`((?:docs|tests|tools|conf|results|sfa_bench|analysis|\.ci)/[\w/.-]*\w)`")
    for page in PAGES:
        for name in pattern.findall(page.read_text(encoding="utf-8")):
            later = "NAME" in name or name.startswith("results/gpu")  # which a device's first run makes
            there = (ROOT / name).exists() or (DOCS / "examples" / name).exists()
            assert there or later, f"{page.relative_to(ROOT)}: {name}"


def test_no_page_names_another_place_than_its_sources():
    hosts = set()
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        hosts |= set(re.findall(r"https?://([\w.-]+)", page.read_text(encoding="utf-8")))
    assert hosts <= {"download.pytorch.org"}
