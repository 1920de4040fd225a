"""Classes of the user's own: found beside their conf folder, held against their signature, part of the identity."""

import hashlib
import json
import sys

import pytest

from sfa_bench.config.canonical import canonical, run_hash
from sfa_bench.config.compose import compose
from sfa_bench.config.external import sources
from sfa_bench.config.overrides import as_axes, check_overrides, split_sweep
from sfa_bench.engine.build import knows
from sfa_bench.engine.changes import changed_code
from sfa_bench.errors import ConfigError
from sfa_bench.main import main

CODE = """
from typing import Literal
from sfa_bench.methods.base import Method
from sfa_bench.selectors.base import Selector

class Mine(Method):
    networks_used = 2
    knows = ("rate",)
    def __init__(self, training, *, strength: float, name: str = "a", mixup: bool = True, lambda_u: int | None = 3,
                 mode: Literal["fast", "slow"] = "fast", shape: list = ()):
        super().__init__(training)

class Near(Selector):
    def __init__(self, thresholds, *, neighbours: int = 5, samples: float = 0.5):
        pass

class Careful(Method):
    def __init__(self, training, *, share: float = 0.5):
        super().__init__(training)
        if not 0 <= share <= 1:
            raise ValueError(f"share={share:g} must lie between 0 and 1")
        if share == 1:
            raise KeyError("gone")

class Wise(Method):
    knows = ("everything",)

class Free(Method):
    def __init__(self, training, **rest):
        super().__init__(training)

class Stranger:
    pass
"""
METHODS = {
    "mine": "# mine\n_target_: {0}.Mine\nstrength: 2\nmixup: true\nlambda_u: 3\nmode: fast\nshape: [1]\nrevision: 1\n",
    "strange": "_target_: {0}.Stranger\n",
    "absent": "_target_: {0}.Absent\n",
    "needy": "_target_: {0}.Mine\n",
    "misspelt": "_target_: {0}.Mine\nstrength: 2\nsrength: 3\n",
    "careful": "_target_: {0}.Careful\nshare: 0.5\n",
    "wise": "_target_: {0}.Wise\n",
    "free": "_target_: {0}.Free\nanything: [1, 2]\n",
    "nowhere": "_target_: {0}_nowhere.Mine\n",
    "unnamed": "_target_: Mine\n",
    "unreadable": "_target_: {0}_syntax.Mine\n",
    "lacking": "_target_: {0}_lacking.Mine\n",
    "crashing": "_target_: {0}_crashing.Mine\n",
}


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """A folder of the user's with a module, methods and a selector; the module's name is new in every test."""
    module = f"own_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{module}.py").write_text(CODE)
    (tmp_path / f"{module}_syntax.py").write_text("def broken(:\n")
    (tmp_path / f"{module}_lacking.py").write_text("import a_package_that_nobody_has\n")
    (tmp_path / f"{module}_crashing.py").write_text("\n1 / 0\n")
    folder = tmp_path / "conf"
    for group in ("method", "plugin"):
        (folder / group).mkdir(parents=True)
    for name, text in METHODS.items():
        (folder / "method" / f"{name}.yaml").write_text(text.format(module))
    near = f"# near\n_target_: {module}.Near\nneighbours: 7\nsamples: 0.25\nhead: abc\n"
    (folder / "plugin" / "near.yaml").write_text(near)
    monkeypatch.setattr("sys.path", list(sys.path))
    return folder


def test_a_class_is_configured_like_any_method(conf):
    run = compose(["method=mine", "plugin=none", "method.strength=3"], conf)
    assert (run.method.learner, run.method.networks) == ("external", 2)
    plain = run.to_plain()["method"]
    assert (plain["strength"], plain["_target_"]) == (3, run.method.target)
    run = compose(["method=ce", "plugin=near"], conf)
    assert (run.method.selector.name, run.plugin.head) == ("external", "abc")
    # `samples` is a key of plugin=sfa too, with other values; here it is the class's.
    assert run.plugin.arguments == {"neighbours": 7, "samples": 0.25}


def test_defaults_of_the_signature_are_in_the_record_in_their_types(conf):
    run = compose(["method=mine", "plugin=none"], conf)
    given = {"strength": 2.0, "mixup": True, "lambda_u": 3, "mode": "fast", "shape": [1]}
    assert run.method.arguments == {**given, "name": "a"}
    assert isinstance(run.method.arguments["strength"], float)  # so 2 and 2.0 are the same run
    assert compose(["method=free", "plugin=none"], conf).method.arguments == {"anything": [1, 2]}


@pytest.mark.parametrize(
    "change",
    [
        *("method.strength=3", "method.mixup=false", "method.lambda_u=4", "method.lambda_u=null"),
        *("method.mode=slow", "method.shape=[2]"),
    ],
)
def test_every_option_is_part_of_the_identity_whatever_it_is_called(conf, change):
    typed = ["method=mine", "plugin=none"]
    assert run_hash(compose([*typed, change], conf)) != run_hash(compose(typed, conf))


def test_what_does_not_act_is_no_part_of_the_identity(conf):
    typed = ["method=mine", "plugin=none"]
    assert run_hash(compose([*typed, "warmup_epochs=3"], conf)) == run_hash(compose(typed, conf))
    assert {key.removeprefix("method.") for key in canonical(compose(typed, conf)) if key.startswith("method.")} == {
        *("_target_", "learner", "strength", "name", "mixup", "lambda_u", "mode", "shape")
    }
    near = ["method=ce", "plugin=near"]
    for change in ("plugin.neighbours=8", "plugin.samples=0.3"):
        assert run_hash(compose([*near, change], conf)) != run_hash(compose(near, conf))


def test_what_a_class_is_told_is_declared_by_it(conf):
    assert knows(compose(["method=mine", "plugin=none"], conf)) == ["rate"]
    assert knows(compose(["method=free", "plugin=none", "dataset.val=clean_balanced"], conf)) == ["clean_val"]


def test_a_record_knows_whether_the_code_of_a_class_is_still_the_same(conf):
    run = compose(["method=mine", "plugin=near"], conf)
    (module,) = {target.rpartition(".")[0] for target in sources(run)}
    file = conf.parent / f"{module}.py"
    content = hashlib.sha256(file.read_bytes()).hexdigest()
    record = {"environment": {"own_code": sources(run)}}
    assert sources(run) == {f"{module}.Mine": content, f"{module}.Near": content}
    assert changed_code(run, record) == ""
    file.write_text(CODE + "# other")
    assert changed_code(run, record) == f"the code of {module}.Mine and {module}.Near has changed"
    assert changed_code(run, {"environment": {}}) == ""


def test_an_unfinished_run_of_other_code_starts_again(conf, tmp_path, monkeypatch, capsys):
    """Its record would say that the new code made all of it."""
    file = next(conf.parent.glob("own_*[0-9].py"))
    line = "\nclass Failing(Single):\n    def __init__(self, training):\n"
    line += "        super().__init__(training, loss=make_loss('ce'), loss_name='ce')\n"
    line += "    def epoch(self, e):\n        if e == 3 and FAIL: raise RuntimeError('mine')\n"
    line += "        return super().epoch(e)\n"
    imports = "from sfa_bench.methods.single import Single\nfrom sfa_bench.parts.losses import make_loss\nFAIL = True\n"
    file.write_text(CODE + imports + line)
    (conf / "method" / "failing.yaml").write_text(f"_target_: {file.stem}.Failing\n")
    typed = ["--config-dir", str(conf), "method=failing", "plugin=none", "epochs=3", "checkpoint_seconds=0"]
    typed += [f"runs_dir={tmp_path}/runs", "threads=1", "keep_checkpoint=all"]
    assert main(typed) == 1
    assert "RuntimeError: mine" in capsys.readouterr().err
    monkeypatch.setattr(sys.modules[file.stem], "FAIL", False)  # the file's content is as it was
    assert main(typed) == 0
    assert "going on after epoch 2 of 3" in capsys.readouterr().out
    record = next((tmp_path / "runs").glob("*/*/*/run.json"))
    record.write_text(json.dumps({**json.loads(record.read_text()), "state": "failed"}))
    file.write_text(CODE + imports + line + "# other")
    assert main(typed) == 0
    assert "has changed: starting again from the first epoch" in " ".join(capsys.readouterr().out.split())


REFUSED = [
    ("method=mine method.strength=lots", r"method\.strength=lots: must be a number"),
    ("method=mine method.mixup=1", r"method\.mixup=1: must be true or false"),
    ("method=mine method.lambda_u=0.5", r"method\.lambda_u=0\.5: must be a whole number or null"),
    ("method=mine method.mode=medium", r"method\.mode=medium: must be one of fast, slow"),
    ("method=mine method.strenght=1", r"unknown key method\.strenght; did you mean method\.strength\?"),
    ("method=misspelt", r"method\.srength: own_\w+\.Mine takes strength, name"),
    ("method=needy", r"method\.strength has no value: own_\w+\.Mine needs one"),
    ("method=strange", r"must be a subclass of sfa_bench\.methods\.base\.Method"),
    ("method=absent", r"MODULE\.CLASS, and the module lies beside"),
    ("method=nowhere", r"No module named 'own_\d+_nowhere'; it is MODULE\.CLASS"),
    ("method=unnamed", r"method\._target_=Mine: must be MODULE\.CLASS"),
    ("method=unreadable", r"cannot be imported: SyntaxError: .*own_\d+_syntax\.py, line 1\)"),
    ("method=lacking", r"cannot be imported: ModuleNotFoundError: .*nobody_has.*_lacking\.py, line 1\)"),
    ("method=crashing", r"cannot be imported: ZeroDivisionError: division by zero .*_crashing\.py, line 2\)"),
    ("method=wise", r"knows=everything: must be among rate, type"),
    ("method=ce method.strength=1", r"no effect with method=ce: it belongs to method=mine"),
    ("method=ce plugin=near plugin.neighbours=many", r"plugin\.neighbours=many: must be a whole number"),
    ("method=ce plugin=near plugin.beta=0.5", r"plugin\.beta has no effect with plugin=near"),
    ("method=ce method._target_=os.system", r"unknown key method\._target_"),
]


@pytest.mark.parametrize(("typed", "sentence"), REFUSED)
def test_what_does_not_fit_is_refused(conf, typed, sentence):
    plugin = [] if "plugin=" in typed else ["plugin=none"]
    with pytest.raises(ConfigError, match=sentence):
        compose([*typed.split(), *plugin], conf)


@pytest.mark.parametrize(
    ("typed", "status", "sentence"),
    [
        ("method=unreadable", 2, "SyntaxError"),
        ("-m method=ce,unreadable", 2, "SyntaxError"),
        ("-m dataset=digits,broken", 2, "broken.yaml"),
        ("-m dataset=broken", 2, "broken.yaml"),
        ("method=careful method.share=2", 2, "share=2 must lie between 0 and 1"),
        ("method=careful method.share=1", 1, "KeyError: 'gone'"),
    ],
)
def test_a_mistake_in_a_file_is_one_sentence_on_the_command_line(
    conf, tmp_path, monkeypatch, capsys, typed, status, sentence
):
    (conf / "dataset").mkdir()
    (conf / "dataset" / "broken.yaml").write_text("a: [1\n")
    runs = ["plugin=none", "epochs=1", f"runs_dir={tmp_path}/runs"]
    monkeypatch.setattr("sys.argv", ["run.py"])
    assert main(["--config-dir", str(conf), *typed.split(), *runs]) == status
    said = capsys.readouterr().err.strip()
    assert sentence in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "a: [1\n", "\xff"])
def test_a_file_that_is_no_mapping_is_refused_by_name(conf, text):
    (conf / "method" / "odd.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"odd\.yaml"):
        compose(["method=odd", "plugin=none"], conf)
    assert compose(["method=ce", "plugin=none"], conf).names["method"] == "ce"  # it may never be chosen


def test_a_folder_that_is_not_there_and_a_name_that_is_taken_are_refused(conf, tmp_path):
    with pytest.raises(ConfigError, match="there is no such folder"):
        check_overrides(["method=ce"], tmp_path / "nowhere")
    (conf / "method" / "ce.yaml").write_text("learner: single\n")
    with pytest.raises(ConfigError, match="ce exists in the suite already"):
        compose(["method=ce", "plugin=none"], conf)


def test_in_a_sweep_a_single_value_of_a_groups_option_is_an_axis_with_the_same_jobs(conf):
    typed = ["method=ce,mine", "method.strength=3", "epochs=2", "method.shape=[1,2]", "noise.file='a, b.npy'", "lr=1,2"]
    axes = as_axes(typed)
    assert axes == [
        *("method=ce,mine", "method.strength=choice(3)", "epochs=2", "method.shape=choice([1,2])"),
        *("noise.file=choice('a, b.npy')", "lr=1,2"),
    ]

    def jobs(overrides):
        return [[(t.key, t.value) for t in check_overrides(job, conf)] for job in split_sweep(overrides, conf)]

    assert jobs(axes) == jobs(typed)
    assert len(jobs(axes)) == 4
