"""`--help` names everything that can be typed, and nothing else."""

from sfa_bench.config.compose import compose
from sfa_bench.config.help import help_text
from sfa_bench.config.overrides import CONF, check_overrides, choices
from sfa_bench.config.schema import GROUPS
from sfa_bench.config.values import options
from sfa_bench.errors import ConfigError


def test_help_explains_every_key_and_every_choice():
    lines = help_text().splitlines()
    explained = {
        line.split()[0]: line.split(None, 2) for line in lines if line.startswith("  ") and len(line.split()) > 1
    }
    for path, (kind, limits) in options().items():
        if hasattr(kind, "__dataclass_fields__") or limits.get("fixed"):
            continue
        assert len(explained[path]) == 3, f"{path} has no explanation"
    for group in (*GROUPS, "preset"):
        for choice in choices(group):
            assert any(choice in line.split()[:2] and len(line.split()) > 2 for line in lines), choice
    assert max(map(len, lines)) <= 150


def test_defaults_that_help_shows_can_be_typed():
    shown = [
        line.split()[:2] for line in help_text().split("Keys (KEY=VALUE)")[1].splitlines() if line.startswith("  ")
    ]
    assert len(shown) > 50
    for key, default in shown:
        assert check_overrides([f"{key}={default}"])[0].key == key


def test_help_marks_the_default_choices():
    text = help_text()
    for choice in ("digits", "joint", "exp", "dividemix", "sfa", "auto", "matched"):
        assert f"   * {choice} " in text


def goes_with(method, plugin):
    try:
        compose([f"method={method}", f"plugin={plugin}"])
    except ConfigError as error:
        return "–" if error.invalid_combination else str(error)
    return "yes"


def test_the_reference_shows_which_plugin_goes_with_which_method():
    page = (CONF.parent / "docs/reference/choices.md").read_text(encoding="utf-8")
    plugins = ("none", "abc", "sfa", "sfa_release", "ibc", "ibc_release")
    lines = [f"| method | {' | '.join(plugins)} |", "|:--|" + ":-:|" * len(plugins)]
    lines += [f"| {m} | {' | '.join(goes_with(m, plugin) for plugin in plugins)} |" for m in choices("method")]
    table = "\n".join(lines)
    assert table in page, f"this is the table for the page:\n{table}"
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in lines[2:]}
    assert [cell.strip() for cell in rows["elr"]] == ["yes", "yes", "–", "–", "–", "–"]
    assert [cell.strip() for cell in rows["ldam_drw"]] == ["yes"] * 4 + ["–"] * 2
    assert [cell.strip() for cell in rows["dividemix"]] == ["yes"] * 6
