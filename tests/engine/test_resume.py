"""A run goes on from a state that is its own, whole and finite, from the one before, or from the first epoch: never to
other numbers, and never into a failure that comes again.
"""

import errno
import io
import json
import shlex

import numpy as np
import pytest
import torch
from rich.console import Console

from sfa_bench.config import external
from sfa_bench.config.canonical import hashes
from sfa_bench.config.compose import compose
from sfa_bench.engine import checkpoints, posthoc
from sfa_bench.engine.run import run
from sfa_bench.engine.session import Session
from sfa_bench.engine.trained import load_trained
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.methods.base import Method
from sfa_bench.store.folder import RunFolder
from sfa_bench.store.warmups import shared_folder

SMALL = ["dataset=synthetic", "dataset.size=60", "dataset.classes=4", "epochs=4", "warmup_epochs=1", "batch_size=8"]
SMALL += ["threads=1", "imb_factor=0.3", "checkpoint_seconds=0", "method=ce", "plugin=sfa"]


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code handles it."""


def train(runs, *overrides):
    """Run in this process. Returns its folder, its record and what was printed."""
    printed = io.StringIO()
    typed = [*SMALL, *overrides, f"runs_dir={runs}"]
    path = run(compose(typed), shlex.join(["python", "run.py", *typed]), Console(file=printed, width=300))
    return path, json.loads((path / "run.json").read_text()), printed.getvalue()


def kill_in_epoch(monkeypatch, epoch):
    original = Session._one_epoch

    def one_epoch(self, e):
        if e == epoch:
            raise Killed
        original(self, e)

    monkeypatch.setattr(Session, "_one_epoch", one_epoch)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return train(tmp_path_factory.mktemp("straight"))[1]


def test_in_bfloat16_a_killed_run_ends_with_the_bits_of_one_that_was_not(tmp_path):
    words = ("precision=bf16", "method=dividemix")
    whole, expected, _ = train(tmp_path / "straight", *words)
    with pytest.MonkeyPatch.context() as patch:
        kill_in_epoch(patch, 3)
        with pytest.raises(Killed):
            train(tmp_path / "killed", *words)
    path, record, said = train(tmp_path / "killed", *words)
    assert "going on after epoch 2 of 4" in said
    assert record["environment"]["precision"] == "bf16"
    assert record["metrics"] == expected["metrics"]
    with np.load(path / "predictions.npz") as ours, np.load(whole / "predictions.npz") as theirs:
        assert ours.files == theirs.files
        assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours.files)


@pytest.fixture
def cut(tmp_path):
    """The folder of a run that was killed in its last epoch: last.pt is of the third, previous.pt of the second."""
    with pytest.MonkeyPatch.context() as patch:
        kill_in_epoch(patch, 4)
        with pytest.raises(Killed):
            train(tmp_path)
    (path,) = tmp_path.glob("*/*/*")
    return path


def change(path, how):
    """Change a checkpoint and write it as the first edition did: loadable, and without a digest."""
    state = torch.load(path, weights_only=True)
    how(state)
    torch.save(state, path)


def weights(state):
    return state["method"]["networks"][0]


def first_weights(state):
    return next(key for key, value in weights(state).items() if value.is_floating_point() and value.ndim > 1)


def of_shape(state, *shape):
    weights(state)[first_weights(state)] = torch.zeros(*shape)


def momentum(state):
    return state["method"]["optimisers"][0]["state"][0]


UNFIT = {
    "its epoch is -5": lambda s: s.update(epoch=-5),
    "its epoch is 0": lambda s: s.update(epoch=0),
    "its epoch is 1000000000": lambda s: s.update(epoch=10**9),
    "its epoch is 2.5": lambda s: s.update(epoch=2.5),
    "its epoch is '3'": lambda s: s.update(epoch="3"),
    "its epoch is True": lambda s: s.update(epoch=True),
    "it has no epoch": lambda s: s.pop("epoch"),
    "it has no method": lambda s: s.update(method=[1]),
    "it has no cost": lambda s: s.update(cost=[1]),
    "it has no cost ": lambda s: s["cost"].update(seconds={"training": "long"}),
    "it has no cost  ": lambda s: s["cost"].update(evaluated=None),
    "its uniform is 'yes'": lambda s: s.update(uniform="yes"),
    "it is of run 000000000000": lambda s: s.update(run="0" * 12),
    "is not float32 [": lambda s: of_shape(s, 3, 5),
    "is not float32 [ ": lambda s: weights(s).update({first_weights(s): [1.0]}),
    "is not a list of 1": lambda s: s["method"]["networks"].append({}),
    "it does not fit this run: RuntimeError": lambda s: weights(s).pop(first_weights(s)),
    "it does not fit this run: RuntimeError ": lambda s: weights(s).update(extra=torch.ones(2)),
    "it does not fit this run: KeyError": lambda s: s["method"].pop("networks"),
    "its weights are not finite": lambda s: weights(s)[first_weights(s)].fill_(float("nan")),
    "its momentum is not finite": lambda s: momentum(s)["momentum_buffer"].fill_(float("inf")),
    "or of other weights": lambda s: momentum(s).update(momentum_buffer=torch.zeros(2)),
    "settings are not numbers": lambda s: s["method"]["optimisers"][0]["param_groups"][0].update(momentum="much"),
    "it does not fit this run: ValueError": lambda s: s["method"]["optimisers"][0].update(param_groups=[]),
    "its selections are of other samples": lambda s: s["method"]["selections"][0].update(mask=torch.ones(3)),
    "it does not fit this run: TypeError": lambda s: s["method"]["selections"][0].update(strange=1),
    "method.cost.steps is not a number": lambda s: s["method"]["cost"].update(steps="many"),
}


@pytest.mark.parametrize("reason", UNFIT)
def test_a_loadable_state_that_is_not_of_this_run_is_broken_and_the_one_before_is_used(cut, straight, reason):
    change(cut / "last.pt", UNFIT[reason])
    _, again, printed = train(cut.parents[2])
    (note,) = (line for line in printed.splitlines() if "last.pt is damaged (" in line)
    assert reason.strip() in note
    assert note.endswith(": going on from previous.pt")
    assert "going on after epoch 2 of 4" in printed
    assert (again["metrics"], again["selection"]) == (straight["metrics"], straight["selection"])


def test_two_states_that_do_not_fit_are_a_new_start(cut, straight):
    change(cut / "last.pt", lambda state: state.update(epoch=-5))
    change(cut / "previous.pt", lambda state: of_shape(state, 7))
    _, again, printed = train(cut.parents[2])
    assert "starting again from the first epoch" in printed
    assert "going on" not in printed
    assert (again["metrics"], again["selection"]) == (straight["metrics"], straight["selection"])


def test_of_a_state_that_turns_out_unfit_once_it_is_loaded_nothing_stays(cut, straight):
    for name in ("last.pt", "previous.pt"):
        change(cut / name, lambda state: weights(state)[first_weights(state)].fill_(float("nan")))
    _, again, printed = train(cut.parents[2])
    assert "starting again from the first epoch" in printed
    assert (again["metrics"], again["selection"]) == (straight["metrics"], straight["selection"])


def test_a_state_that_fits_is_gone_on_from_also_where_the_first_edition_wrote_it(cut, straight):
    def as_before(state):
        del state["run"], state["lines"]

    for name in ("last.pt", "previous.pt"):
        change(cut / name, as_before)
    _, again, printed = train(cut.parents[2])
    assert "going on after epoch 3 of 4" in printed
    assert "broken" not in printed
    assert again["metrics"] == straight["metrics"]


@pytest.mark.parametrize(("epoch", "goes_on"), [(1, "starting again"), (2, "starting again"), (3, "from previous.pt")])
def test_a_digit_that_changed_in_metrics_is_in_no_result(cut, straight, epoch, goes_on):
    path = cut / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    row = json.loads(lines[epoch - 1])
    lines[epoch - 1] = json.dumps(row | {"test/acc": row["test/acc"] / 2 + 1}) + "\n"
    path.write_text("".join(lines))
    _, again, printed = train(cut.parents[2])
    assert "metrics.jsonl is not what it was when this was written" in printed
    assert goes_on in printed
    assert again["metrics"] == straight["metrics"]


@pytest.mark.parametrize("rows", [[1, 2, -3], [1, 1, 2, 3], [3, 2, 1], [2, 3]])
def test_lines_that_are_not_the_epochs_in_order_are_not_counted_twice(cut, straight, rows):
    path = cut / "metrics.jsonl"
    lines = {json.loads(line)["epoch"]: json.loads(line) for line in path.read_text().splitlines()}
    path.write_text("".join(json.dumps(lines[abs(e)] | {"epoch": e}) + "\n" for e in rows))
    _, again, _ = train(cut.parents[2])
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == [1, 2, 3, 4]
    assert again["metrics"] == straight["metrics"]


def test_one_flipped_bit_of_the_newest_state_changes_no_digit(cut, straight):
    content = bytearray((cut / "last.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (cut / "last.pt").write_bytes(content)
    _, again, printed = train(cut.parents[2])
    assert "last.pt is damaged: going on from previous.pt" in printed
    assert again["metrics"] == straight["metrics"]


def test_a_damaged_record_of_a_run_that_goes_on_is_said_and_the_run_ends_as_it_would_have(cut, straight):
    content = bytearray((cut / "run.json").read_bytes())
    content[content.index(b'"epochs": 4') + 10] = ord("5")
    (cut / "run.json").write_bytes(content)
    _, again, printed = train(cut.parents[2])
    assert "going on after epoch 3 of 4" in printed
    assert again["metrics"] == straight["metrics"]


def test_a_failure_right_after_going_on_says_what_to_delete(cut, monkeypatch):
    def fails(self, e):
        raise ZeroDivisionError

    monkeypatch.setattr(Method, "select", fails)
    printed = io.StringIO()
    typed = [*SMALL, f"runs_dir={cut.parents[2]}"]
    with pytest.raises(RunError):
        run(compose(typed), shlex.join(typed), Console(file=printed, width=300))
    sentence = f"it went on after epoch 3: where every try ends so, delete last.pt and previous.pt in {cut}"
    assert sentence in printed.getvalue()
    assert sentence in (cut / "log.txt").read_text()


def test_what_ended_with_all_kept_can_be_gone_on_from(tmp_path, straight, monkeypatch):
    def dies(self, state, error=None, real=Session._record):
        if state == "done":
            raise Killed
        real(self, state, error)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "_record", dies)
        with pytest.raises(Killed):
            train(tmp_path, "keep_checkpoint=all")
    _, again, printed = train(tmp_path, "keep_checkpoint=all")
    assert "going on after epoch 4 of 4" in printed
    assert again["metrics"] == straight["metrics"]


def everything(path):
    return {file.name: file.read_bytes() for file in path.iterdir() if file.name in ("last.pt", "metrics.jsonl")}


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), PermissionError(13, "")]
)
def test_want_of_memory_or_of_a_right_is_no_damage_and_loses_nothing(cut, straight, monkeypatch, error):
    def fails(*arguments, **options):
        raise error

    before = everything(cut)
    with monkeypatch.context() as patch:
        if isinstance(error, OSError):
            patch.setattr("sfa_bench.store.folder.load_state", fails)
        else:
            patch.setattr(Method, "load_state", fails)
        with pytest.raises(RunError):
            train(cut.parents[2])
    assert everything(cut) == before
    assert json.loads((cut / "run.json").read_text())["data"]["fingerprints"]
    _, record, printed = train(cut.parents[2])
    assert "going on after epoch 3 of 4" in printed
    assert record["metrics"] == straight["metrics"]


def test_a_checkpoint_says_itself_what_it_was_made_with(cut, monkeypatch):
    """The record may be of a later attempt that trained nothing."""

    def refused(*arguments):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(external, "sources", lambda config, groups=(): {"mine.Loss": "changed"})
    with monkeypatch.context() as patch:
        patch.setattr("sfa_bench.store.folder.load_state", refused)
        with pytest.raises(RunError, match="Permission denied"):
            train(cut.parents[2])
    for name in ("last.pt", "previous.pt"):
        change(cut / name, lambda state: state["origin"]["environment"].update(own_code={"mine.Loss": "as it was"}))
    _, _, printed = train(cut.parents[2])
    assert "the code of mine.Loss has changed: starting again from the first epoch" in printed


@pytest.mark.parametrize("where", ["sfa_bench.engine.session.build_method", "sfa_bench.engine.session.Loggers.open"])
def test_own_code_that_changed_starts_again_also_after_an_attempt_that_failed(cut, monkeypatch, where):
    """Noise of the user's own gives other labels then."""

    def fails(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr(external, "sources", lambda config, groups=(): {"mine.shift": "changed"})
    record = RunFolder(cut).read_record()
    record["environment"]["own_code"] = {"mine.shift": "as it was"}
    record["data"]["fingerprints"]["observed_labels"] = "others"
    RunFolder(cut).write_record(record)
    for name in ("last.pt", "previous.pt"):
        change(cut / name, lambda state: state.pop("origin"))  # as earlier versions wrote it
    with monkeypatch.context() as patch:
        patch.setattr(where, fails)
        with pytest.raises(RunError):
            train(cut.parents[2])
    _, again, printed = train(cut.parents[2])
    assert again["state"] == "done"
    if "build" in where:
        assert "the code of mine.shift has changed: starting again from the first epoch" in printed


def test_a_checkpoint_of_another_run_and_its_data_is_skipped(cut, straight, tmp_path):
    other, _, _ = train(tmp_path / "other", "replicate=1", "keep_checkpoint=all")
    (cut / "last.pt").write_bytes((other / "previous.pt").read_bytes())
    _, record, printed = train(cut.parents[2])
    assert "last.pt is damaged (it is of run" in printed
    assert "going on from previous.pt" in printed
    assert record["metrics"] == straight["metrics"]


def test_a_checkpoint_of_other_data_is_refused_where_the_record_is_lost(cut):
    change(cut / "last.pt", lambda state: state["origin"]["data"]["fingerprints"].update(images="others"))
    (cut / "run.json").unlink()
    with pytest.raises(ConfigError, match=r"this run was made on other data \(different: images\)"):
        train(cut.parents[2])


@pytest.mark.parametrize(("instructions", "uniform"), [(None, True), ("others", False)])
def test_a_checkpoint_of_another_machine_is_shared_by_nobody_whoever_tried_in_between(cut, instructions, uniform):
    if instructions:
        change(cut / "last.pt", lambda state: state["origin"]["environment"].update(instructions=instructions))
    train(cut.parents[2], "keep_checkpoint=all")
    assert torch.load(cut / "last.pt", weights_only=True)["uniform"] is uniform


@pytest.mark.parametrize("keep", ["all", "final"])
def test_an_earlier_checkpoint_of_a_finished_run_is_not_its_model(tmp_path, monkeypatch, keep):
    """Left where the newest is damaged, or where the disk was full when it should have been replaced."""

    def full(self, state):
        raise RunError("could not write last.pt: the disk is full")

    monkeypatch.setattr(RunFolder, "reduce_checkpoint", full)
    path, _, _ = train(tmp_path, f"keep_checkpoint={keep}")
    if keep == "all":
        content = bytearray((path / "last.pt").read_bytes())
        content[len(content) // 2] ^= 1
        (path / "last.pt").write_bytes(content)
    with pytest.raises(ConfigError, match="it is of epoch 3, and the run has 4"):
        load_trained(path)
    with pytest.raises(RunError, match="it is of epoch 3, and the run has 4"):
        posthoc.start(compose([*SMALL, "classifier=ncm", f"runs_dir={tmp_path}"]), "", Console(quiet=True))


# ---- shared warm-ups, and what is fitted on a finished run


def share(tmp_path, plugin):
    config = compose([*SMALL, f"plugin={plugin}", f"runs_dir={tmp_path}"])
    folder = shared_folder(tmp_path, hashes(config).warmup)
    folder.mkdir(parents=True, exist_ok=True)
    printed = io.StringIO()
    path = run(config, "python run.py", Console(file=printed, width=300))
    return folder, json.loads((path / "run.json").read_text()), printed.getvalue()


@pytest.mark.parametrize(
    "how",
    [
        lambda made: made.update(epoch=2),
        lambda made: made.update(rows=[]),
        lambda made: made.update(rows=[{"epoch": -1}]),
        lambda made: made.update(cost=None),
        lambda made: made.pop("run"),
        lambda made: weights(made)[first_weights(made)].fill_(float("nan")),
        lambda made: of_shape(made, 2, 2),
    ],
)
def test_a_shared_warm_up_that_does_not_fit_is_said_and_made_again(tmp_path, straight, how):
    folder, _, _ = share(tmp_path, "sfa_release")
    (made,) = folder.glob("*/last.pt")
    change(made, how)
    _, record, printed = share(tmp_path, "sfa")
    assert "shared epochs: " in printed
    assert "is damaged" in printed
    assert record["cost"]["shared"] is None
    assert record["metrics"] == straight["metrics"]


def test_weights_that_do_not_fit_are_no_classifier_and_the_sentence_names_the_way_out(tmp_path):
    path, _, _ = train(tmp_path)
    content = (path / "last.pt").read_bytes()
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 4
    (path / "last.pt").write_bytes(damaged)
    fit = [*SMALL, "classifier=ncm", f"runs_dir={tmp_path}"]
    way_out = "use another runs_dir, or delete that folder to train it again"
    with pytest.raises(RunError, match=rf"last\.pt is damaged\): {way_out}"):
        posthoc.start(compose(fit), "python run.py", Console(quiet=True))
    (path / "last.pt").write_bytes(content)
    change(path / "last.pt", lambda state: of_shape(state, 2, 2))
    with pytest.raises(RunError, match=rf"last\.pt is damaged \(method\.networks.* is not float32 .*{way_out}"):
        posthoc.start(compose(fit), "python run.py", Console(quiet=True))
    (path / "last.pt").write_bytes(content)
    fitted = posthoc.start(compose(fit), "python run.py", Console(quiet=True))
    assert np.isfinite(RunFolder(fitted).read_record()["metrics"]["test/acc/final"])


CHANGED = ["recipe.optimizer=adamw", "recipe.schedule=onecycle", "recipe.ema=0.9", "recipe.clip=1", "lr=0.005"]


@pytest.mark.parametrize(
    "method", [["plugin=sfa"], ["method=dividemix", "plugin=sfa"], ["method=ce_mixup", "plugin=none"]]
)
def test_a_changed_recipe_goes_on_to_the_same_bits(tmp_path, method):
    with pytest.MonkeyPatch.context() as patch:
        kill_in_epoch(patch, 3)
        with pytest.raises(Killed):
            train(tmp_path / "cut", *method, *CHANGED)
    path, record, printed = train(tmp_path / "cut", *method, *CHANGED)
    assert "going on after epoch 2 of 4" in printed
    whole, straight, _ = train(tmp_path / "whole", *method, *CHANGED)
    assert record["metrics"] == straight["metrics"]
    kept, other = (torch.load(folder / "last.pt", weights_only=True)["method"] for folder in (path, whole))
    for part in ("networks", "averages"):
        for one, two in zip(kept[part], other[part], strict=True):
            assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(kept["averages"][0]["module.main.weight"], kept["networks"][0]["main.weight"])


def test_a_state_that_is_kept_in_memory_is_a_copy_that_loads_as_the_original():
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    state = {"networks": [network.state_dict()], "cost": {"steps": 3}, "pair": (1, torch.ones(2)), "none": None}
    copied = checkpoints._copied(state)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        network[0].weight.add_(1)
    state["cost"]["steps"] = 4
    assert all(torch.equal(copied["networks"][0][name], value) for name, value in before.items())
    assert copied["networks"][0]._metadata == network.state_dict()._metadata  # the versions of the modules
    assert (copied["cost"], copied["pair"][0], copied["none"]) == ({"steps": 3}, 1, None)
