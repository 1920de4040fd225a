"""An option that is typed acts in at least one of the runs asked for; no documented command is refused for it."""

import re
import shlex
from pathlib import Path

import pytest

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import compose, requested
from sfa_bench.config.overrides import last_of_each
from sfa_bench.errors import ConfigError
from sfa_bench.main import main
from sfa_bench.sweep.plan import plan
from tools.reproduction import Page

ROOT = Path(__file__).resolve().parents[2]

IDLE = [
    ("method.class_beta=0.5", "method.class_beta=0.5 has no effect in this run (method=dividemix plugin=sfa)"),
    ("noise.assumed_rate=0.3", "(method=dividemix plugin=sfa noise=joint): leave noise.assumed_rate out"),
    ("plugin.main_subset=all", "leave plugin.main_subset out"),
    ("method=ce plugin=none method.count_floor=2", "leave method.count_floor out"),
    ("method=ce plugin=none method.selector.view=train", "leave method.selector.view out"),
    ("method=ce plugin=none plugin.p_threshold=0.6", "leave plugin.p_threshold out"),
    ("method=ce plugin=abc plugin.abc.counts=observed", "leave plugin.abc.counts out"),
    ("plugin.draw=false plugin.samples=4", "leave plugin.samples out"),
    ("plugin.moments=none plugin.beta=0.5", "leave plugin.beta out"),
    ("plugin=ibc plugin.head=none plugin.epsilon=0.2", "leave plugin.epsilon out"),
    ("plugin=ibc plugin.head=none plugin.kappa=0.5", "leave plugin.kappa out"),
    ("plugin=ibc plugin.epsilon=0 plugin.query_centre=sample", "leave plugin.query_centre out"),
    ("plugin=ibc plugin.head=abc plugin.medium_warmup=false", "leave plugin.medium_warmup out"),
    ("plugin=ibc warmup_epochs=0 plugin.medium_warmup=false", "leave plugin.medium_warmup out"),
    ("method.lambda_u=0 method.ramp_epochs=4", "leave method.ramp_epochs out"),
    ("recipe.milestone=1 recipe.lr_drop=0.5", "leave recipe.lr_drop out"),
    ("model.variant=canonical", "leave model.variant out"),
    ("dataset=cifar10 method=rolt plugin=none recipe=native recipe.milestone=0.5", "leave recipe.milestone out"),
]


@pytest.mark.parametrize(("typed", "sentence"), IDLE)
def test_an_option_that_cannot_act_is_refused_in_a_single_run_and_in_a_sweep_of_such_runs(typed, sentence, tmp_path):
    words = typed.split()
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        requested(words)
    with pytest.raises(ConfigError, match="has no effect in any run of this sweep: leave"):
        plan([*words, "replicate=0,1", f"runs_dir={tmp_path}"])


ACTING = [
    "method=cb_ce plugin=none method.class_beta=0.5",
    "method=coteaching plugin=none noise.assumed_rate=0.3",
    "method=coteaching plugin=none noise.assumed_rate=0.4",  # which is known without it
    "method=ce plugin.main_subset=all",
    "plugin.main_subset=selected method.class_beta=0.9999 plugin.samples=1 plugin.draw=false",  # as they are anyway
    "noise=none noise_ratio=0.5",
    "imbalance=none imb_factor=0.5",
    "method=ce plugin=none warmup_epochs=3",
    "recipe.milestone=1",
]


@pytest.mark.parametrize("typed", ACTING)
def test_what_acts_somehow_is_the_default_anyway_or_is_an_axis_of_tables_is_not_refused(typed):
    assert run_hash(requested(typed.split())) == run_hash(compose(typed.split()))


def test_in_a_sweep_one_run_in_which_it_acts_is_enough_and_the_others_commands_do_not_name_it(tmp_path):
    planned = plan(
        [
            *("method=ce,coteaching,dividemix", "plugin=none", "noise.assumed_rate=0.3", "plugin.p_threshold=0.6"),
            *("noise_ratio=0.5", f"runs_dir={tmp_path}"),
        ]
    )
    assert not planned.not_valid
    ce, coteaching, dividemix = planned.runs.values()
    assert [word.split("=")[0] for word in ce] == ["method", "plugin", "noise_ratio", "runs_dir"]
    assert "noise.assumed_rate=0.3" in coteaching
    assert "plugin.p_threshold=0.6" not in coteaching
    assert {"noise.assumed_rate=0.3", "plugin.p_threshold=0.6"} < set(dividemix)  # whose mixture is told the rate
    for identity, job in planned.runs.items():
        assert run_hash(requested(job)) == identity


def test_a_value_that_others_refer_to_is_left_where_it_is():
    assert requested(["plugin.draw=false", "plugin.samples=3", "epochs=${plugin.samples}"]).epochs == 3


def test_of_a_key_typed_twice_the_last_counts_and_that_is_said(capsys):
    words, notes = last_of_each(["seed=1", "method=ce", "hydra.verbose=true", "seed=2", "method=gce"])
    assert words == ["hydra.verbose=true", "seed=2", "method=gce"]
    assert notes == [
        "seed is set twice: 'seed=2' counts, 'seed=1' does not",
        "method is set twice: 'method=gce' counts, 'method=ce' does not",
    ]
    assert main(["seed=1", "seed=2", "--cfg", "job"]) == 0
    out, err = capsys.readouterr()
    assert "seed: 2\n" in out
    assert err == "note: seed is set twice: 'seed=2' counts, 'seed=1' does not\n"


def documented():
    """Every command of the pages whose words are all there; whole sweep files have a test of their own."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("results/*/README.md"))]
    texts = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in pages}
    texts["reproduction.md"] = Page([]).text()  # made for the site, as `tools.reproduction` writes it
    for name, text in texts.items():
        for found in re.findall(r"^(?:.*&& )?python run\.py(.*)$", text.replace("\\\n", " "), re.MULTILINE):
            words = shlex.split(found, comments=True)
            if not {"--help", "--cfg"} & set(words) and not any("…" in word or "+sweep" in word for word in words):
                yield name, words


def test_no_documented_command_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"")
    commands = dict.fromkeys((page, *words) for page, words in documented())
    assert len(commands) > 150
    for _, *words in commands:
        words = [re.sub(r"^model.pretrained=(?!false).*", f"model.pretrained={weights}", word) for word in words]
        own = [word for word in words if not word.lstrip("+").startswith("hydra")]
        if "-m" in own:
            own = [word for word in own if not word.startswith("replicate=")]
            assert plan([word for word in own if word != "-m"]).runs
        else:
            requested(own)
