"""Classes of the user's own: found beside their conf folder, held against their signature, part of the identity."""

import pytest

from sfa_bench.config.canonical import canonical, run_hash
from sfa_bench.config.compose import check_overrides, compose
from sfa_bench.errors import ConfigError

CODE = """
from sfa_bench.methods.base import Method
from sfa_bench.selectors.base import Selector

class Mine(Method):
    networks_used = 2
    def __init__(self, training, *, strength: float, name: str = "a"):
        super().__init__(training)

class Near(Selector):
    def __init__(self, thresholds, *, neighbours: int = 5):
        pass

class Stranger:
    pass
"""


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """A folder of the user's with a module, a method and a selector; the module's name is new in every test."""
    module = f"own_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{module}.py").write_text(CODE)
    folder = tmp_path / "conf"
    for group in ("method", "plugin"):
        (folder / group).mkdir(parents=True)
    (folder / "method" / "mine.yaml").write_text(f"# mine\n_target_: {module}.Mine\nstrength: 2\nrevision: 1\n")
    (folder / "method" / "strange.yaml").write_text(f"_target_: {module}.Stranger\n")
    (folder / "method" / "absent.yaml").write_text(f"_target_: {module}.Absent\n")
    (folder / "plugin" / "near.yaml").write_text(f"# near\n_target_: {module}.Near\nneighbours: 7\nhead: abc\n")
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    return folder


def test_a_class_is_configured_like_any_method(conf):
    run = compose(["method=mine", "plugin=none", "method.strength=3"], conf)
    assert (run.method.learner, run.method.networks, run.method.arguments) == ("external", 2, {"strength": 3})
    plain = run.to_plain()["method"]
    assert (plain["strength"], plain["_target_"]) == (3, run.method.target)
    run = compose(["method=ce", "plugin=near"], conf)
    assert (run.method.selector.name, run.plugin.arguments, run.plugin.head) == ("external", {"neighbours": 7}, "abc")


def test_arguments_are_part_of_the_identity_and_what_does_not_act_is_not(conf):
    typed = ["method=mine", "plugin=none"]
    first = run_hash(compose(typed, conf))
    assert run_hash(compose([*typed, "method.strength=3"], conf)) != first
    assert run_hash(compose([*typed, "warmup_epochs=3"], conf)) == first
    assert {key for key in canonical(compose(typed, conf)) if key.startswith("method.")} == {
        *("method._target_", "method.learner", "method.strength")
    }
    near = run_hash(compose(["method=ce", "plugin=near"], conf))
    assert run_hash(compose(["method=ce", "plugin=near", "plugin.neighbours=8"], conf)) != near


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("method=mine method.strength=lots", r"method\.strength=lots: must be a number"),
        ("method=mine method.strenght=1", r"unknown key method\.strenght; did you mean method\.strength\?"),
        ("method=strange", "must be a subclass of sfa_bench.methods.base.Method"),
        ("method=absent", "MODULE.CLASS, and the module lies beside"),
        ("method=ce method.strength=1", r"no effect with method=ce: it belongs to method=mine"),
        ("method=ce plugin=near plugin.neighbours=many", r"plugin\.neighbours=many: must be a whole number"),
        ("method=ce method._target_=os.system", r"unknown key method\._target_"),
    ],
)
def test_what_does_not_fit_is_refused(conf, typed, sentence):
    plugin = [] if "plugin=" in typed else ["plugin=none"]
    with pytest.raises(ConfigError, match=sentence):
        compose([*typed.split(), *plugin], conf)


def test_a_folder_that_is_not_there_and_a_name_that_is_taken_are_refused(conf, tmp_path):
    with pytest.raises(ConfigError, match="there is no such folder"):
        check_overrides(["method=ce"], tmp_path / "nowhere")
    (conf / "method" / "ce.yaml").write_text("learner: single\n")
    with pytest.raises(ConfigError, match="ce exists in the suite already"):
        compose(["method=ce", "plugin=none"], conf)
