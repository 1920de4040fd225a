"""What expected costs rest on: which runs are alike, and what the page says of however few were checked."""

from pathlib import Path

import pytest

from analysis.runs import Run
from sfa_bench.config.compose import compose
from sfa_bench.errors import ConfigError
from tools import hours
from tools.reproduction import Page


@pytest.mark.parametrize(
    ("typed", "same"),
    [
        ("method=ce plugin=none method.selector.name=oracle", False),
        ("method=dividemix plugin=none method.selector.name=oracle", False),
        ("method=dividemix plugin=none method.selector.name=proto", False),
        ("method=dividemix plugin=none method.selector.name=loss_gmm", True),
        ("method=dividemix plugin=none method.selector.name=tabasco", False),
        ("method=dasc plugin=abc", True),
        ("method=unicon plugin=none", True),
        ("method=rolt_drw plugin=none", True),
        ("method=rolt_plus plugin=none", True),
        ("method=elr plugin=none", True),
        ("method=ce plugin=sfa", True),
    ],
)
def test_a_selector_that_is_not_the_methods_own_is_another_cost(typed, same):
    config = compose(typed.split())
    run = Run(Path(), {"config": config.to_plain(), "names": config.names})
    method, plugin = (word.partition("=")[2] for word in typed.split()[:2])
    assert (hours.kind(run.fields) == (method, plugin)) == same


def test_results_of_other_peoples_code_have_no_cost_to_measure():
    run = Run(Path(), {"config": {}, "names": {}, "environment": {"external": {"like": "x"}}})
    for measure in (hours.cost_csv, hours.checked_csv):
        with pytest.raises(ConfigError, match="none of these runs"):
            measure([run])


def test_the_page_says_what_was_checked_and_nothing_of_what_was_not(monkeypatch):
    line = {"method": "ce", "plugin": "none", "runs": "3", "flops": "1", "seconds": "0.5"}
    monkeypatch.setattr(hours, "checked", lambda: [{"dataset": "fashion_mnist", **line}])
    text = Page([]).text()
    assert "ce on fashion_mnist 1 and 0.5 (3)" in text
    assert not any(f"on {name}" in text.split("**Checked")[1].split("\n")[0] for name in ("digits", "CIFAR-10"))
