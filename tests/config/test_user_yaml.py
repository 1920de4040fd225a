"""YAML of a user's own: what would take all memory, never end or be lost is refused in a sentence with its place."""

import os

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sfa_bench import replay
from sfa_bench.config import user_yaml
from sfa_bench.config.compose import compose
from sfa_bench.config.sweep_files import jobs
from sfa_bench.data.tools import command as data_command
from sfa_bench.errors import ConfigError
from sfa_bench.main import main


def nested(levels):
    return "a: " + "[" * (levels - 1) + "]" * (levels - 1)


def doubled(times):
    """A list of two, twice, and so on: 2^(n + 1) - 1 values in each, that one included."""
    lines = ["a0: &a0 [1, 1]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, times)]
    return "\n".join(lines)


REFUSED = [
    ("a: &a\n  b: *a\n", "line 2: *a stands for what it lies in"),
    ("- &a [*a]\n", "line 1: *a stands for what it lies in"),
    (doubled(12), "line 12: aliases stand for over 10,000 values"),
    ("a: &a {x: 1}\nb:\n  <<: [" + ", ".join(["*a"] * 3334) + "]\n", "line 3: aliases stand for"),
    (nested(51), "line 1: more than 50 levels"),
    ("\n".join(["a0: &a0 [1]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 60))]), "line 49: more than 50 levels"),
    ("x: 1\nlr: 1\ny:\n  lr: 2\nlr: 3\n", "line 5: the key lr occurs twice"),
    ("a: 1\nb:\n\tc: 2\n", "line 3 is not valid YAML: found character"),
    (b"a: 1\nb: \xe9\n", "line 2 is not valid YAML: byte 0xe9 is not UTF-8"),
    ("a: 1\n".encode("utf-16"), "line 1 is not valid YAML: byte 0xff"),
    (b"a: \x00\n", "characters are not allowed"),
    ("#" * (user_yaml.LARGEST + 1), "at most 1,000,000 bytes"),
    ("a: " + "9" * 5000, "4300 digits"),
    ("a: 2026-13-45\n", "month must be in 1..12"),
    ("a: !!python/object/apply:os.system [exit]\n", "could not determine a constructor"),
    ("a: 1\n---\nb: 1\n", "another document"),
    ("a: *b\n", "undefined alias 'b'"),
]


@pytest.mark.parametrize(("content", "reason"), REFUSED, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("group", ["method", "dataset", "sweep"])
def test_what_hydra_could_not_bear_is_refused_before_it_reads_it(tmp_path, content, reason, group):
    path = tmp_path / "conf" / group / "bad.yaml"
    path.parent.mkdir(parents=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError) as refused:
        list(jobs(["+sweep=bad"], path.parents[1])) if group == "sweep" else compose([f"{group}=bad"], path.parents[1])
    assert reason in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_lies_within_the_bounds_is_read(tmp_path):
    path = tmp_path / "a.yaml"
    for text in (doubled(11), nested(50), "a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a\n", "\ufeffa: é\n", ""):
        path.write_text(text, encoding="utf-8")
        assert user_yaml.read(path) == yaml.safe_load(text)


def size(node):
    """Values of a node with what its aliases stand for, counted one by one."""
    if isinstance(node, dict):
        return 1 + sum(1 + size(value) for value in node.values())
    return 1 + sum(map(size, node)) if isinstance(node, list) else 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=4), min_size=1, max_size=12))
def test_aliases_are_counted_with_all_that_they_stand_for(tmp_path_factory, lists):
    """Lists of numbers and of earlier lists, whose aliases are counted by hand."""
    words = [[f"*a{one}" if one < place else str(one) for one in row] for place, row in enumerate(lists)]
    text = "\n".join(f"a{place}: &a{place} [{', '.join(row)}]" for place, row in enumerate(words))
    loaded = yaml.safe_load(text)
    aliased = sum(size(loaded[word[1:]]) for row in words for word in row if word.startswith("*"))
    path = tmp_path_factory.mktemp("aliases") / "a.yaml"
    path.write_text(text)
    before = user_yaml.MOST_ALIASED
    try:
        user_yaml.MOST_ALIASED = aliased
        assert user_yaml.read(path) == loaded
        user_yaml.MOST_ALIASED = aliased - 1
        if aliased:
            with pytest.raises(ConfigError, match="aliases stand for"):
                user_yaml.read(path)
    finally:
        user_yaml.MOST_ALIASED = before


def test_a_pipe_and_a_device_are_no_yaml(tmp_path):
    (tmp_path / "method").mkdir()
    os.mkfifo(tmp_path / "method/pipe.yaml")
    with pytest.raises(ConfigError, match=r"pipe\.yaml is not a regular file"):
        compose([], tmp_path)
    (tmp_path / "method/pipe.yaml").unlink()
    (tmp_path / "method/zero.yaml").symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match=r"zero\.yaml is not a regular file"):
        compose([], tmp_path)


def test_all_that_a_composition_could_reach_is_read_first(tmp_path):
    """Also what lists of defaults lead to, outside the groups, and folders that are links into themselves."""
    for folder in ("method/deeper", "shared"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "method/mine.yaml").write_text("defaults:\n  - ce\n  - /shared/part@_here_\n")
    (tmp_path / "method/deeper/again").symlink_to(tmp_path / "method")
    (tmp_path / "shared/part.yaml").write_text("smoothing: 0\n")
    with pytest.raises(ConfigError, match=r"unknown key method\.smoothing"):  # composed
        compose(["method=mine"], tmp_path)
    (tmp_path / "shared/part.yaml").write_text("a: &a [*a]\n")
    with pytest.raises(ConfigError, match=r"part\.yaml, line 1: \*a stands for what it lies in"):
        compose([], tmp_path)
    (tmp_path / "shared/part.yaml").write_text("a: 1\n")
    (tmp_path / "method/deeper/x.yaml").write_text("a: &a [*a]\n")
    with pytest.raises(ConfigError, match=r"deeper/.*x\.yaml, line 1"):
        compose([], tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- 1\n", "must hold lines of KEY: VALUE"),
        ("", "dataset=mine needs dataset.name"),
        ("# @package foo\nname: x\n", "dataset=mine: its YAML leaves no values of dataset"),
        ("defaults: 3\nname: x\n", "defaults must be a list"),
        ("defaults:\n  - mine\nname: x\n", "leads back to itself"),
        ("defaults:\n  - nothing\nname: x\n", "dataset/nothing, and there is no such file"),
        ("1: 2\nname: x\n", "unknown key dataset.1"),
    ],
)
@pytest.mark.parametrize("mode", [[], ["-m"], ["-m", "replicate=0,1"]])
def test_a_choice_that_makes_no_sense_is_one_sentence(tmp_path, text, reason, mode, capsys, monkeypatch):
    (tmp_path / "conf/dataset").mkdir(parents=True)
    (tmp_path / "conf/dataset/mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["run.py"])
    assert main(["--config-dir", "conf", *mode, "dataset=mine"]) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert len(said.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


COMMANDS = {
    "run": lambda where: main(["--config-dir", where]),
    "run with a key": lambda where: main(["epochs=1", "--config-dir", where]),
    "sweep": lambda where: main(["-m", "epochs=1", "--config-dir", where]),
    "help": lambda where: main(["--help", "--config-dir", where]),
    "cfg": lambda where: main(["--cfg", "job", "--config-dir", where]),
    "info": lambda where: main(["--info", "all", "--config-dir", where]),
    "describe": lambda where: data_command.main(["describe", "--config-dir", where]),
    "check": lambda where: data_command.main(["check", "digits", "--config-dir", where]),
    "export": lambda where: data_command.main(["export", "-o", "labels.csv", "--config-dir", where]),
    "fingerprints": lambda where: data_command.main(["fingerprints", "--config-dir", where]),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("nowhere", "there is no such folder"),
        ("afile", "is a file, not a folder"),
        ("empty", "holds no choice"),
    ],
)
def test_a_folder_that_holds_no_choices_is_refused_by_every_command(
    tmp_path, monkeypatch, capsys, command, where, reason
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "afile").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["run.py"])
    assert COMMANDS[command](where) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert len(said.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "afile"}


def test_a_replay_refuses_the_folder_too(tmp_path):
    with pytest.raises(ConfigError, match="there is no such folder"):
        replay.split_sweep([], tmp_path / "nowhere")
    assert main(["--config-dir", ""]) == 2
