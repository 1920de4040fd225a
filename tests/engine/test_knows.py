"""What the record says a method was told, by its options (explanation/runs.md §4 `knows`)."""

import pytest

from sfa_bench.config.compose import compose
from sfa_bench.engine.build import knows


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("method=ce noise_ratio=0.9", []),
        ("method=coteaching", ["rate"]),  # how many to leave out
        ("method=coteaching method.forget_rate=0.3", []),
        ("method=dividemix noise_ratio=0.5", []),
        ("method=dividemix noise_ratio=0.5 noise.assumed_rate=0.9", ["rate"]),  # averaged losses
        ("method=dividemix noise=asymmetric", ["type"]),  # the penalty of its warm-up
        ("method=dividemix noise=asymmetric noise_ratio=0.9", ["rate", "type"]),
        ("method=dividemix method.lambda_u=paper", ["rate", "type"]),
        ("method=dividemix dataset=webvision method.lambda_u=paper", []),  # 0 there, whatever the rate
        ("method=rolt_plus noise_ratio=0.9", []),
        ("method=rolt noise=asymmetric", []),
        ("method=elr", []),
        ("method=elr noise=asymmetric", ["type"]),  # its own constants
        ("method=elr noise=asymmetric dataset=cifar100", []),
        ("method=nfl noise=symmetric", ["type"]),  # its own scale
        ("method=nfl noise=pair", []),
        ("method=ngce noise=symmetric", []),
        ("method=ngce noise=symmetric dataset=digits", ["type"]),
        ("method=ce method.selector.name=oracle", ["clean_labels"]),
        ("method=ce dataset.val=clean_balanced", ["clean_val"]),
        ("method=ce dataset.val=noisy", []),
        ("method=dividemix dataset=cifar10n", []),
        ("method=coteaching dataset=cifar10n noise.assumed_rate=0.4", ["rate"]),
    ],
)
def test_a_method_knows_what_its_options_ask_for(typed, told):
    assert knows(compose(["dataset=cifar10", "plugin=none", *typed.split()])) == told


def test_who_starts_from_pretrained_weights_knows_them(tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"never read here")
    typed = ["dataset=clothing1m", "method=ce", "plugin=none"]
    assert knows(compose([*typed, f"model.pretrained={tmp_path / 'weights.pth'}"])) == ["pretraining"]
    assert knows(compose([*typed, "model.pretrained=false"])) == []
