"""The validation set chooses an epoch for each network by itself (algorithms/methods.md §7, Clothing1M)."""

import numpy as np
import pytest

from sfa_bench.engine.chosen import Chosen

LABELS = np.array([0, 1, 2, 0])


def says(*classes):
    """Logits of one network with a clear opinion."""
    return {"main": 5.0 * np.eye(3)[list(classes)]}


RIGHT, HALF, WRONG = says(0, 1, 2, 0), says(0, 1, 0, 1), says(1, 2, 0, 1)
# epoch → what the two networks say about the validation set, and about the test set
EPOCHS = {1: ((HALF, WRONG), (says(0, 0, 0, 0), says(1, 1, 1, 1))), 2: ((RIGHT, WRONG), (RIGHT, says(2, 2, 2, 2)))}
EPOCHS |= {3: ((RIGHT, HALF), (WRONG, says(0, 0, 2, 2)))}


def update(chosen, *epochs):
    for e in epochs:
        validation, test = EPOCHS[e]
        chosen.update(e, list(validation), LABELS, list(test))


def test_each_network_has_the_first_of_its_best_epochs_and_they_predict_together():
    chosen = Chosen("logit_sum")
    update(chosen, 1, 2, 3)
    assert chosen.epochs == [2, 3]
    assert chosen.accuracies == [100.0, 50.0]
    together = (EPOCHS[2][1][0]["main"] + EPOCHS[3][1][1]["main"]).argmax(axis=1)
    assert chosen.test_accuracy(LABELS) == pytest.approx(100 * (together == LABELS).mean())


def test_a_state_goes_on_as_if_nothing_had_happened():
    straight, stopped, again = Chosen("main"), Chosen("main"), Chosen("main")
    update(straight, 1, 2, 3)
    update(stopped, 1, 2)
    again.load_state(stopped.state())
    update(again, 3)
    assert (again.epochs, again.accuracies) == (straight.epochs, straight.accuracies)
    assert again.test_accuracy(LABELS) == straight.test_accuracy(LABELS)
