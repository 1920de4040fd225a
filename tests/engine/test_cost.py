"""What the record says a run costs, against counts by hand (explanation/runs.md §4 `cost`)."""

import json

import pytest
from rich.console import Console

from sfa_bench.config.compose import compose
from sfa_bench.engine.cost import Cost
from sfa_bench.engine.run import run

# 4 classes of 20 vectors with 6 numbers, all of them kept; 4 × 5 to test on
DATA = "dataset=synthetic dataset.classes=4 dataset.size=20 dataset.test_size=5 dataset.dim=6 imbalance=none noise=none"
SHORT = "batch_size=8 epochs=3 warmup_epochs=1 model.width=2 threads=1"
# the perceptron 6 → 8 → 4 without biases, the affine terms behind its layers, the width under the heads
WEIGHTS, AFFINE, WIDTH = 6 * 8 + 8 * 4, 2 * 8 + 2 * 4, 4
TESTED = 3 * 20  # after each epoch; predictions.npz has the last one's


@pytest.mark.parametrize(
    ("typed", "networks", "heads", "steps", "samples"),
    [
        ("method=ce plugin=none", 1, 1, 3 * 5, (3 * 80, 0, 0)),  # batches of 16
        ("method=ce_mixup plugin=none", 1, 1, 3 * 5, (3 * 80, 0, 0)),
        ("method=ce plugin=abc method.networks=2", 2, 2, 2 * 3 * 5, (2 * 3 * 80, 0, 0)),
        ("method=ce plugin=none method.selector.name=oracle", 1, 1, 3 * 5, (3 * 80, 0, 2 * 80)),
        ("method=elr plugin=none method.mixup=true", 1, 1, 3 * 5, (3 * 80, 3 * 80, 0)),
        ("method=coteaching plugin=none", 2, 1, 2 * 3 * 5, (2 * 3 * 80, 0, 0)),
        # Every label is right and selected: in the two epochs after the warm-up 10 batches of 8, each in two views
        # that are guessed for and trained on, and no unlabelled batch beside them.
        (
            "method=dividemix plugin=none method.selector.name=oracle",
            2,
            1,
            2 * (5 + 2 * 10),
            (2 * (80 + 2 * 160), 2 * 2 * 160, 2 * 2 * 80),
        ),
    ],
)
def test_steps_samples_parameters_and_operations_are_those_counted_by_hand(
    tmp_path, typed, networks, heads, steps, samples
):
    config = compose([*DATA.split(), *SHORT.split(), *typed.split(), f"runs_dir={tmp_path}"])
    cost = json.loads((run(config, "", Console(quiet=True)) / "run.json").read_text())["cost"]
    trained, guessed, selected = samples
    counted = {"trained": trained, "guessed": guessed, "selected": selected, "evaluated": networks * TESTED}
    assert (cost["steps"], cost["samples"]) == (steps, counted)
    assert cost["parameters"] == networks * (WEIGHTS + AFFINE + heads * 4 * (WIDTH + 1))
    forward = 2 * (WEIGHTS + heads * 4 * WIDTH)  # a multiplication and an addition for each weight
    assert cost["flops_per_forward"] == forward
    assert cost["flops"] == forward * (3 * trained + guessed + selected + networks * TESTED)


def test_a_shared_warm_up_costs_what_its_maker_spent_but_the_data_are_read_here():
    maker, sharer = Cost(), Cost()
    maker.seconds.update({"data": 5.0, "warm-up": 3.0, "evaluation": 1.0})
    maker.evaluated = 700
    sharer.seconds.update({"data": 2.0, "warm-up": 9.0})  # of epochs that it gives up
    sharer.share(maker.state(), "a1", 4)
    assert dict(sharer.seconds) == {"data": 2.0, "warm-up": 3.0, "evaluation": 1.0}
    assert sharer.evaluated == 700
    assert sharer.shared == {"run": "a1", "epochs": 4, "seconds": 4.0}
    resumed = Cost()
    resumed.load(sharer.state())
    assert resumed.shared == sharer.shared
