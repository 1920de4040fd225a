"""Whatever is typed becomes a configuration or one sentence: override lists drawn from the schema with hostile values.

SFA_BENCH_FULL=1: 10,000 lists and sweeps are composed, and 200 that make sense are run to an end.
"""

import io
import itertools
import json
import os
import time
from contextlib import suppress
from dataclasses import is_dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import compose, requested
from sfa_bench.config.overrides import choices
from sfa_bench.config.schema import GROUPS
from sfa_bench.config.sweep_files import jobs
from sfa_bench.config.values import options
from sfa_bench.engine import posthoc
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.models.timm_backbone import unknown

_ = unknown("")  # imports timm, once a process, which may take longer than SLOW
FULL = os.environ.get("SFA_BENCH_FULL") == "1"
SLOW = 5.0  # seconds of the processor; a list takes some milliseconds
KEYS = [
    *options(),
    *GROUPS,
    "+preset",
    "+sweep",
    "~plugin",
    "++lr",
    "noise@x",
    "noize",
    "plugin.schedule",
    "é",
    "a.b",
    "",
]
SEPARATE = r"""
null true FALSE nan -inf inf 0 -0 -1 1e309 1e-400 1_000 0x10 007 1.10 .5 1. 1e3 +5 2026_11_28 0.1 1 2
a,b 1,2 1, , [] [1] [cpu,cpu] [[[[ {a:1} { } ( ) ' " '' "x" '1.10' 'null' \ \' '\ a=b lr=1 0.2method=ce
${seed} ${ ${} ${nope} ${oc.env:NO_SUCH} ${oc.env:NO_SUCH,3} ${hydra:x} ${.x} ${${seed}} $x ???
${oc.decode:'[1,2]'} ${oc.create:{a:1}} ${eval} ${lr} r/${seed} ${oc.select:epochs,5}
range(0,3) range(0,0) range(3,0) range(0,1e9) range(0.1,0.6,0.1) range(1,2,0) range(a) range() range(0,inf)
choice(1,2) choice(null) choice() choice(a,[1],{b:2}) interval(0,1) glob(*) glob(x) choice(range(0,3)) [range(0,2)]
sort(3,1,2) sort(range(3,0,-1)) shuffle(1,2) tag(a,choice(1)) int(1.5) str(1) float(x) bool(2) json_str({}) nope(1)
# %s {0} ~/x ../up /dev/null é 日本 [bold] <script> !!python/object:os.system &a *a sfa ce digits cpu auto
"""
HOSTILE = [*SEPARATE.split(), "", " ", "'a b'", "a b", "\x00", "\n", "\t", "\ud800", "\u202e"]
HOSTILE += ["9" * 30, "9" * 5000, "[" * 500, "x" * 300, str(2**63), str(2**63 - 1)]
WORDS = st.one_of(
    st.sampled_from(HOSTILE),
    st.integers().map(str),
    st.floats(allow_nan=True).map(repr),
    st.text(max_size=12),
    st.tuples(st.sampled_from(HOSTILE), st.sampled_from(HOSTILE)).map(",".join),
)
CHOICES = {group: choices(group) for group in (*GROUPS, "preset", "sweep")}


def sensible(key):
    """A value that the key may well have."""
    if key.lstrip("+") in CHOICES:
        return st.sampled_from(CHOICES[key.lstrip("+")])
    _, limits = options().get(key, (str, {}))
    low, high = limits.get("low", limits.get("above", 0)), limits.get("high", limits.get("below", 3))
    return st.sampled_from([str(low), str(high), str((low + min(high, 10)) / 2), "true", "none", "auto", "null"])


LISTS = st.lists(
    st.sampled_from(KEYS).flatmap(lambda key: st.tuples(st.just(key), st.one_of(WORDS, sensible(key)))).map("=".join),
    max_size=5,
)
PAIRS = st.fixed_dictionaries({}, optional={group: st.sampled_from(CHOICES[group]) for group in GROUPS})


def one_sentence(error, words):
    text = str(error)
    assert text
    assert text.count("\n") <= 1
    assert len(text) < 1000, text
    if text.startswith("a sweep of "):  # no value alone is to blame
        return
    named = [part for word in words for part in (word, *word.lstrip("+~").split("=", 1)) if part]
    assert any(part[:20] in text for part in named) or any(group in text for group in GROUPS), (text, words)


@settings(deadline=None, max_examples=10_000 if FULL else 150, suppress_health_check=list(HealthCheck))
@given(PAIRS, LISTS)
def test_any_list_of_overrides_is_a_configuration_or_one_sentence(pairs, typed):
    words = [*(f"{group}={choice}" for group, choice in pairs.items()), *typed]
    begun = time.process_time()
    for read in (compose, requested):
        try:
            run_hash(read(words))
        except ConfigError as error:
            one_sentence(error, words)
    assert time.process_time() - begun < SLOW


@settings(deadline=None, max_examples=5_000 if FULL else 75, suppress_health_check=list(HealthCheck))
@given(PAIRS, LISTS)
def test_any_sweep_is_a_list_of_configurations_or_one_sentence(pairs, typed):
    words = [*(f"{group}={choice}" for group, choice in pairs.items()), *typed]
    begun = time.process_time()
    try:
        for job in itertools.islice(jobs(words, None), 3):
            try:
                run_hash(compose([one.text for one in job]))
            except ConfigError as error:
                one_sentence(error, [*words, *(one.text for one in job)])
    except ConfigError as error:
        one_sentence(error, words)
    assert time.process_time() - begun < SLOW


SMALL = ["dataset=synthetic", "dataset.classes=3", "dataset.size=12", "dataset.dim=4", "dataset.groups=1"]
SMALL += ["dataset.test_size=4"]
SMALL += ["epochs=2", "warmup_epochs=1", "batch_size=8", "model.width=2", "imb_factor=0.5", "threads=1"]
OF_RUNS = {key.split("=")[0] for key in SMALL} | {"runs_dir", "data_dir", "device", "compile", "dataset.submodes"}
TRIED = [key for key, (kind, _) in options().items() if not is_dataclass(kind) and key not in OF_RUNS]
SETTINGS = st.lists(
    st.sampled_from(TRIED).flatmap(lambda key: st.tuples(st.just(key), sensible(key))).map("=".join),
    max_size=3,
    unique_by=lambda word: word.split("=")[0],
)
LEARNING = st.fixed_dictionaries({group: st.sampled_from(CHOICES[group]) for group in ("method", "plugin", "noise")})


@settings(deadline=None, max_examples=2_000 if FULL else 12, suppress_health_check=list(HealthCheck))
@given(LEARNING, SETTINGS)
def test_what_makes_sense_runs_to_an_end_or_fails_by_name(tmp_path_factory, pairs, typed):
    if FULL and len(RUN) >= 200:
        return
    words = [*SMALL, *(f"{group}={choice}" for group, choice in pairs.items()), *typed]
    try:
        config = requested([*words, f"runs_dir={tmp_path_factory.mktemp('runs')}"])
    except ConfigError:
        return
    RUN.append(words)
    with suppress(ConfigError, RunError):  # of its data, or a loss that is not finite
        path = posthoc.start(config, "", Console(file=io.StringIO()))
        assert json.loads((path / "run.json").read_text())["state"] == "done"


RUN: list[list[str]] = []
