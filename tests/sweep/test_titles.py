"""What tells the runs of a sweep apart, in a few words each."""

import pytest

from sfa_bench.config.terminal import about
from sfa_bench.sweep.plan import plan
from sfa_bench.sweep.titles import differing, title


def titles(*words, tmp_path):
    planned = plan([*words, f"runs_dir={tmp_path}/runs"])
    keys = differing(planned.runs.values())
    return [title(planned.runs[h], keys, config) for h, config in planned.configs.items()]


@pytest.mark.parametrize(
    ("words", "first", "last"),
    [
        (
            ("replicate=0,1", "method=ce,dividemix", "plugin=sfa", "noise_ratio=0.2,0.5"),
            "ce + sfa · noise 0.2 · replicate 0",
            "dividemix + sfa · noise 0.5 · replicate 1",
        ),
        (("method=ce", "plugin=none,abc", "epochs=30"), "ce", "ce + abc"),
        (("lr=0.01,0.02", "imb_factor=0.1"), "dividemix + sfa · lr 0.01", "dividemix + sfa · lr 0.02"),
        (("dataset=digits,synthetic",), "dividemix + sfa · digits", "dividemix + sfa · synthetic"),
        (
            ("noise=joint,symmetric", "noise_ratio=0.2,0.4", "imb_factor=0.1,0.2"),
            "dividemix + sfa · noise joint 0.2 · imbalance 0.1",
            "dividemix + sfa · noise symmetric 0.4 · imbalance 0.2",
        ),
        (("method=ce", "loss=gce,sce", "plugin=none"), "gce", "sce"),
        (("method=ce", "plugin=abc", "classifier=joint,tau_norm"), "ce + abc", "ce + abc + tau_norm"),
        (("method=ce", "plugin=none"), "ce", "ce"),
    ],
)
def test_a_title_has_the_names_and_the_keys_that_differ_in_the_sweep(words, first, last, tmp_path):
    found = titles(*words, tmp_path=tmp_path)
    assert (found[0], found[-1]) == (first, last)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (372, "6 min"), (3599, "1 h 0 min"), (3671, "1 h 1 min")],
)
def test_an_estimate_of_time_is_in_words(seconds, words):
    assert about(seconds) == words
