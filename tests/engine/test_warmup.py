"""Runs that begin with the same epochs share them, to the same bits (explanation/runs.md §6)."""

import errno
import io
import json
import os
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from sfa_bench.config.canonical import hashes
from sfa_bench.config.compose import compose
from sfa_bench.engine import posthoc
from sfa_bench.engine.warmup import find
from sfa_bench.errors import RunError
from sfa_bench.methods.base import Method
from sfa_bench.store.claim import Claim
from sfa_bench.store.warmups import shared_folder

SMALL = ["dataset=synthetic", "dataset.size=60", "dataset.classes=4", "epochs=5", "warmup_epochs=3", "batch_size=8"]
SMALL += ["threads=1", "imb_factor=0.3", "checkpoint_seconds=0"]


@pytest.fixture
def trained(monkeypatch):
    """The epochs that any method was asked to train, in order."""
    found = []
    real = Method.prepare

    def prepare(self, k, e):
        if k == 0:
            found.append(e)
        return real(self, k, e)

    monkeypatch.setattr(Method, "prepare", prepare)
    return found


@pytest.fixture
def lost_in(trained, monkeypatch):
    """Start a run, which breaks off in this epoch."""

    def lose(epoch, config):
        def dies(self, k, loss, step=Method.step):
            if trained[-1] == epoch:
                raise OSError("gone")
            return step(self, k, loss)

        with monkeypatch.context() as patch:
            patch.setattr(Method, "step", dies)
            with pytest.raises(RunError, match="gone"):
                run(config)

    return lose


def asked(runs, *words):
    """The configuration, with the folder that a sweep of several such runs makes."""
    config = compose([*SMALL, *words, f"runs_dir={runs}"])
    folder = shared_folder(runs, hashes(config).warmup)
    folder.mkdir(parents=True, exist_ok=True)
    return config, folder


def run(config):
    said = io.StringIO()
    path = posthoc.start(config, "python run.py", Console(file=said, width=200))
    return path, said.getvalue()


def content(path):
    """What came out of it, without what it cost in seconds."""
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    record = json.loads((path / "run.json").read_text())
    for row in rows:
        del row["seconds"]
    cost = {key: record["cost"][key] for key in ("steps", "samples", "flops")}
    arrays = (path / "predictions.npz").read_bytes()
    return rows, record["metrics"], record["selection"], cost, arrays, (path / "last.pt").read_bytes()


def shared(path):
    return json.loads((path / "run.json").read_text())["cost"]["shared"]


@pytest.mark.parametrize(
    ("method", "first", "second"),
    [
        (["method=dividemix"], ["plugin=sfa"], ["plugin=sfa_release", "method.lambda_u=3"]),
        (["method=dividemix", "plugin=none"], [], ["method.selector.name=proto", "method.schedule=drw"]),
        (["method=rolt_plus", "plugin=none", "replicate=3"], [], ["method.selector.name=loss_gmm_cls"]),
        (["method=ce"], ["plugin=sfa"], ["plugin=abc", "method.selector.name=oracle"]),
        (["method=ce_mixup", "method.networks=2"], ["plugin=sfa"], ["plugin=sfa", "plugin.beta=0.5", "epochs=6"]),
        (["method=rolt"], ["plugin=sfa"], ["plugin=sfa_release", "method.ensemble_bias=release"]),
        (["plugin.head=experts"], ["plugin=sfa"], ["plugin=ibc", "plugin.epsilon=0.3", "plugin.kappa=0.5"]),
        (["method=ldam"], ["plugin=sfa", "plugin.head=none"], ["plugin=none", "method.selector.name=proto"]),
    ],
)
def test_a_run_that_takes_up_anothers_warm_up_is_the_same_to_the_last_bit(tmp_path, trained, method, first, second):
    alone, _ = run(compose([*SMALL, *method, *second, f"runs_dir={tmp_path}/alone"]))
    assert shared(alone) is None
    assert not (tmp_path / "alone" / ".warmup").exists()
    maker, _ = run(asked(tmp_path / "runs", *method, *first)[0])
    trained.clear()
    sharer, said = run(asked(tmp_path / "runs", *method, *second)[0])
    assert min(trained) == 4
    assert content(sharer) == content(alone)
    assert shared(maker) is None
    assert (shared(sharer)["run"], shared(sharer)["epochs"]) == (maker.name, 3)
    assert shared(sharer)["seconds"] > 0
    assert f"epochs 1 to 3 are those of run {maker.name}" in said


@pytest.mark.parametrize("word", ["threads=2", "precision=bf16", "data_seed=7", "share_warmup=false", "lr=0.03"])
def test_who_would_not_train_to_the_same_bits_shares_nothing(tmp_path, trained, word):
    run(asked(tmp_path, "method=ce", "plugin=sfa")[0])
    trained.clear()
    path, _ = run(compose([*SMALL, "method=ce", "plugin=sfa_release", word, f"runs_dir={tmp_path}"]))
    assert trained == [1, 2, 3, 4, 5]
    assert shared(path) is None


def test_no_run_shares_unless_a_sweep_asks_for_it(tmp_path, trained):
    for plugin in ("sfa", "sfa_release"):
        run(compose([*SMALL, "method=ce", f"plugin={plugin}", f"runs_dir={tmp_path}"]))
    assert trained == [1, 2, 3, 4, 5] * 2
    assert not (tmp_path / ".warmup").exists()


def test_a_run_that_fails_later_has_handed_its_warm_up_on(tmp_path, trained, monkeypatch):
    def breaks(self, k, e):
        raise OSError("no more")

    with monkeypatch.context() as patch:
        patch.setattr(Method, "_probes", breaks)  # in epoch 4, after the warm-up
        config, _ = asked(tmp_path, "method=ce", "plugin=sfa")
        with pytest.raises(RunError, match="no more"):
            run(config)
    sharer, _ = run(asked(tmp_path, "method=ce", "plugin=sfa_release")[0])
    assert shared(sharer)["run"] == hashes(config)[0]


def test_a_warm_up_whose_maker_died_in_the_middle_is_made_by_who_waits_for_it(tmp_path, trained, lost_in):
    config, folder = asked(tmp_path, "method=ce", "plugin=sfa")
    lost_in(2, config)
    assert not list(folder.glob("*/last.pt"))
    other, _ = run(asked(tmp_path, "method=ce", "plugin=sfa_release")[0])
    assert shared(other) is None
    trained.clear()
    again, _ = run(config)  # from epoch 2 on, but the others' warm-up is there
    assert trained == [4, 5]
    assert shared(again)["run"] == other.name
    alone, _ = run(compose([*SMALL, "method=ce", "plugin=sfa", f"runs_dir={tmp_path}/alone"]))
    assert content(again) == content(alone)


def test_epochs_that_began_under_other_conditions_are_nobody_elses(tmp_path, trained, lost_in, monkeypatch):
    config, folder = asked(tmp_path, "method=ce", "plugin=sfa")
    lost_in(2, config)
    monkeypatch.setattr("sfa_bench.engine.machine.code", lambda: "another version")
    lost_in(3, config)  # now the record is of the new version, too
    run(config)
    assert trained == [1, 2, 2, 3, 3, 4, 5]
    assert not list(folder.glob("*/last.pt"))
    sharer, _ = run(asked(tmp_path, "method=ce", "plugin=sfa_release")[0])
    assert shared(sharer) is None


CONDITIONS = ("versions", "code", "device", "device_name", "instructions", "threads", "precision", "deterministic")


@pytest.mark.parametrize("key", CONDITIONS)
def test_each_condition_has_a_warm_up_of_its_own(tmp_path, key):
    config, _ = asked(tmp_path, "method=ce", "plugin=sfa")
    data = SimpleNamespace(fingerprints={"images": "a"})
    environment = dict.fromkeys([*CONDITIONS, "host"], "here")
    place = find(config, data, environment).path
    assert find(config, data, environment | {"host": "there"}).path == place
    assert find(config, data, environment | {key: "there"}).path != place
    assert find(config, SimpleNamespace(fingerprints={"images": "b"}), environment).path != place


def test_weights_that_begin_inside_the_warm_up_count_with_the_length_of_the_run():
    late = ["method=ce_drw", "plugin=sfa", "recipe.milestone=0.95", "warmup_epochs=12"]
    assert hashes(compose([*late, "epochs=13"])).warmup != hashes(compose([*late, "epochs=14"])).warmup  # from 11, 12
    assert hashes(compose([*late, "epochs=30"])).warmup == hashes(compose([*late, "epochs=40"])).warmup


def test_a_broken_shared_warm_up_is_made_again(tmp_path, trained):
    config, folder = asked(tmp_path, "method=ce", "plugin=sfa")
    run(config)
    (made,) = folder.glob("*/last.pt")
    made.write_bytes(made.read_bytes()[:500])
    trained.clear()
    path, _ = run(asked(tmp_path, "method=ce", "plugin=sfa_release")[0])
    assert trained[0] == 1
    assert shared(path) is None
    path, _ = run(asked(tmp_path, "method=ce", "plugin=sfa", "plugin.beta=0.5")[0])
    assert shared(path) is not None


def test_a_run_that_cannot_share_makes_its_epochs_itself_and_says_so(tmp_path, trained):
    config, folder = asked(tmp_path, "method=ce", "plugin=sfa")
    run(config)
    (inner,) = folder.iterdir()
    for path in inner.iterdir():
        path.unlink()
    inner.rmdir()
    inner.write_text("a file where the folder was")
    path, said = run(asked(tmp_path, "method=ce", "plugin=sfa_release")[0])
    assert "these epochs are not shared: cannot write to" in said
    assert shared(path) is None


def test_a_run_that_may_not_read_what_is_shared_makes_its_epochs_itself_and_says_so(tmp_path, trained, monkeypatch):
    config, folder = asked(tmp_path, "method=ce", "plugin=sfa")
    run(config)
    (made,) = folder.glob("*/last.pt")
    real = os.open

    def refused(path, *more, **how):
        if str(path) == str(made):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *more, **how)

    monkeypatch.setattr(os, "open", refused)
    path, said = run(asked(tmp_path, "method=ce", "plugin=sfa_release")[0])
    assert f"shared epochs: cannot read {made}: Permission denied" in said
    assert shared(path) is None


def test_who_shares_holds_no_claim_while_it_trains_on(tmp_path, monkeypatch):
    config, folder = asked(tmp_path, "method=ce", "plugin=sfa")
    seen = []
    real = Method.select
    monkeypatch.setattr(
        Method, "select", lambda self, e: (seen.append(Claim(next(folder.iterdir())).holder()), real(self, e))
    )
    run(config)
    assert seen == [None, None]


def test_a_changed_file_of_the_users_own_shares_with_nobody_who_had_the_other(tmp_path, monkeypatch):
    """A loss acts in these epochs; a selector acts after them, and shares with runs that have none."""
    module = f"own_warmup_{abs(hash(str(tmp_path)))}"
    code = "import torch.nn.functional as F\nfrom sfa_bench.selectors.base import Selector\n\n"
    code += "def loss(logits, labels, class_counts):\n    return F.cross_entropy(logits, labels, reduction='none')\n"
    code += "\nclass Mine(Selector):\n    def __init__(self, thresholds):\n        pass\n"
    (tmp_path / f"{module}.py").write_text(code)
    for name, target in (("loss", "loss"), ("plugin", "Mine")):
        (tmp_path / "conf" / name).mkdir(parents=True)
        (tmp_path / "conf" / name / "mine.yaml").write_text(f"_target_: {module}.{target}\n")
    monkeypatch.setattr("sys.path", list(sys.path))
    data, environment = SimpleNamespace(fingerprints={"images": "a"}), {"device": "cpu"}

    def place(*typed):
        config = compose(["method=ce", "warmup_epochs=2", f"runs_dir={tmp_path}", *typed], tmp_path / "conf")
        shared_folder(tmp_path, hashes(config).warmup).mkdir(parents=True, exist_ok=True)
        return find(config, data, environment).path

    own_loss, own_selector = place("loss=mine", "plugin=sfa"), place("plugin=mine")
    (tmp_path / f"{module}.py").write_text(code + "# changed\n")
    assert place("loss=mine", "plugin=sfa") != own_loss
    assert place("plugin=mine") == own_selector
