"""A ledger of finished runs."""

import pytest
from ledgers import Ledger


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "runs")
