"""Ledgers of finished runs."""

import ledger_scale
import pytest
from ledgers import Ledger


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "runs")


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """200 generated runs, with their curves."""
    root = tmp_path_factory.mktemp("scale") / "runs"
    ledger_scale.write(root, 200)
    return root
