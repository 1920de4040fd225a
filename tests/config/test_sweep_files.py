"""Grids that are kept: +sweep=NAME."""

import pytest

from sfa_bench.config.compose import compose
from sfa_bench.config.overrides import choices
from sfa_bench.config.sweep_files import jobs
from sfa_bench.errors import ConfigError
from sfa_bench.sweep.plan import plan

TWO_BLOCKS = """
common: {dataset: synthetic, replicate: "range(0,2)"}
exclude:
  - {method: gce, noise_ratio: [0.5, 0.6]}
blocks:
  - method: [ce, gce]
    plugin: none
    noise_ratio: [0.2, 0.5]
    exclude: [{method: ce, replicate: 1, noise_ratio: 0.20}]
  - method: dividemix
    plugin: [none, sfa]
    dataset.checksum: false
    epochs: null
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        (tmp_path / "conf" / "sweep").mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / "sweep" / "mine.yaml").write_text(text)
        return tmp_path / "conf"

    return write


def texts(overrides, conf):
    return [" ".join(one.text for one in job) for job in jobs(overrides, conf)]


def test_blocks_follow_each_other_with_what_they_have_in_common_and_without_what_is_excluded(written):
    first = [
        f"dataset=synthetic replicate={r} method={m} plugin=none noise_ratio={n}"
        for r, m, n in [(0, "ce", 0.2), (0, "ce", 0.5), (0, "gce", 0.2), (1, "ce", 0.5), (1, "gce", 0.2)]
    ]
    second = [
        f"dataset=synthetic replicate={r} method=dividemix plugin={p} dataset.checksum=False epochs=null"
        for r in (0, 1)
        for p in ("none", "sfa")
    ]
    assert texts(["+sweep=mine"], written(TWO_BLOCKS)) == first + second


def test_what_is_typed_takes_the_place_of_a_key_in_all_blocks(written):
    found = texts(["+sweep=mine", "replicate=7", "lr=0.1"], written(TWO_BLOCKS))
    assert len(found) == 5  # ce twice, gce once, dividemix twice
    assert all(line.endswith("replicate=7 lr=0.1") and line.count("replicate") == 1 for line in found)


@pytest.mark.parametrize("folder", ["D:\\data\\", "a b\\", "\\"])
def test_a_text_that_ends_in_a_backslash_is_a_value_of_its_own(written, folder):
    conf = written(f"blocks: [{{method: ce, data_dir: ['{folder}', b]}}]")
    assert [job[1].value for job in jobs(["+sweep=mine"], conf)] == [folder, "b"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("blocks: [{method: ce, hydra/launcher: joblib}]", "hydra/launcher belongs on the command line"),
        ("blocks: [{method: ce}]\ncommon: {hydra.launcher.n_jobs: 2}", "belongs on the command line"),
        ("method: ce", "has a list of blocks"),
        ("blocks: [ce]", "a block maps keys to values"),
        ("blocks: [{method: ce}]\nexcept: []", "except is none of common, blocks, exclude"),
        ("blocks: [{method: ce, exclude: [ce]}]", "exclude is a list of mappings"),
        ("blocks: [{metod: ce}]", "unknown key metod; did you mean method"),
        ("blocks: [{method: [ce, dividmix]}]", "did you mean method=dividemix"),
        ("blocks: [{method: ce, exclude: [{metod: ce}]}]", "unknown key metod"),
        ("blocks: [{sweep: mine}]", "cannot name another"),
        ("blocks: [{method: ce}]\ncommon: {runs_dir: there}", "set runs_dir=there on the command line"),
        ("blocks: [{method: ce, exclude: 3}]", "exclude is a list of mappings"),
        ("blocks: [{method: ce}]\nexclude: {method: ce}", "exclude is a list of mappings"),
        ("blocks: [", "is not valid YAML"),
    ],
)
def test_a_file_with_a_mistake_is_refused_whole(written, text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        texts(["+sweep=mine"], written(text))


def test_a_sweep_has_one_runs_folder():
    with pytest.raises(ConfigError, match="runs_dir=a,b: a sweep has one runs folder"):
        texts(["method=ce", "runs_dir=a,b"], None)


@pytest.mark.parametrize(
    ("grid", "excluded", "left"),
    [
        # a key at its default, by the schema or a choice, by another key, by the recipe, and a choice that is not typed
        ("{method: [ce, gce]}", "{method: gce, noise_ratio: 0.4}", ["method=ce"]),
        ("{method: [ce, gce]}", "{method: gce, plugin.phi: 1.005}", ["method=ce"]),
        ("{method: ce, replicate: [1, 2]}", "{seed: 2}", ["method=ce replicate=1"]),
        (
            "{method: ce, replicate: [1, 2], data_seed: 7}",
            "{seed: 2, data_seed: 7}",
            ["method=ce replicate=1 data_seed=7"],
        ),
        ("{seed: [1, 2], data_seed: '${seed}'}", "{data_seed: 1}", [r"seed=2 data_seed=$\{seed\}"]),
        ("{epochs: [null, 60, 61]}", "{epochs: 60}", ["epochs=61"]),
        ("{epochs: [null, 60, 61]}", "{epochs: null}", ["epochs=60", "epochs=61"]),
        ("{dataset: [digits, synthetic]}", "{batch_size: 64}", ["dataset=digits"]),
        ("{method: [ce, gce]}", "{method: ce, plugin: sfa}", ["method=gce"]),
        ("{method: [ce, rolt_plus]}", "{method: rolt_plus, plugin: sfa}", ["method=ce"]),  # which makes no sense
        ("{dataset: [digits, cifar10n]}", "{noise: human}", ["dataset=digits"]),
        # and what does not meet them
        ("{method: [ce, gce]}", "{method: gce, noise_ratio: 0.5}", ["method=ce", "method=gce"]),
        ("{method: ce, replicate: [1, 2]}", "{seed: 3}", ["method=ce replicate=1", "method=ce replicate=2"]),
        ("{method: [ce, gce]}", "{plugin: none}", ["method=ce", "method=gce"]),
        ("{method: [ce, gce]}", "{preset: release_rolt}", ["method=ce", "method=gce"]),
    ],
)
def test_an_exclusion_goes_by_what_acts_not_by_what_is_typed(written, grid, excluded, left):
    assert texts(["+sweep=mine"], written(f"blocks: [{grid}]\nexclude: [{excluded}]")) == left


def test_an_exclusion_goes_by_what_is_typed_on_the_command_line_too(written):
    conf = written("blocks: [{method: [ce, gce]}]\nexclude: [{method: gce, seed: 3}]")
    assert texts(["+sweep=mine", "replicate=3"], conf) == ["method=ce replicate=3"]
    assert len(texts(["+sweep=mine", "replicate=4"], conf)) == 2


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("blocks:\n  - method: ce\n    seed: 1\n    method: gce\n", "line 4: the key method occurs twice"),
        ("blocks: [{method: ce}]\nblocks: [{method: gce}]\n", "line 2: the key blocks occurs twice"),
        ("common: {seed: 1, seed: 2}\nblocks: [{method: ce}]", "line 1: the key seed occurs twice"),
        ("blocks: [{method: ce}]\nexclude: [{seed: 1, 'seed': 2}]", "line 2: the key seed occurs twice"),
    ],
)
def test_a_key_given_twice_in_a_file_is_refused_with_its_line(written, text, lines):
    with pytest.raises(ConfigError, match=f"mine.yaml, {lines}"):
        texts(["+sweep=mine"], written(text))


def test_a_block_may_change_what_is_common_and_a_merged_mapping_too(written):
    assert texts(["+sweep=mine"], written("common: {seed: 1}\nblocks: [{seed: 2}]")) == ["seed=2"]
    merged = "common: &all {seed: 1, lr: 0.1}\nblocks: [{<<: *all, seed: 2}]"
    assert texts(["+sweep=mine"], written(merged)) == ["seed=2 lr=0.1"]


def test_of_an_axis_typed_twice_the_last_one_counts():
    assert texts(["seed=1,2", "method=ce", "seed=3,4"], None) == ["method=ce seed=3", "method=ce seed=4"]
    assert texts(["+preset=release_rolt", "+preset=release_dividemix"], None) == ["+preset=release_dividemix"]


def test_an_empty_exclusion_excludes_nothing(written):
    assert texts(["+sweep=mine"], written("blocks: [{method: ce, exclude: null}]\nexclude:")) == ["method=ce"]


def test_a_sweep_file_is_no_single_run():
    with pytest.raises(ConfigError, match="a sweep file makes a sweep, and this is one run"):
        compose(["+sweep=digits_gain"])


@pytest.mark.parametrize("name", choices("sweep"))
def test_every_sweep_of_the_suite_makes_sense(name, tmp_path):
    planned = plan([f"+sweep={name}", f"runs_dir={tmp_path}"])
    assert not planned.not_valid
    assert planned.duplicates == 0
    assert len(planned.missing) == planned.asked >= 30
