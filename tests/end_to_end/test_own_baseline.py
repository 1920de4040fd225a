"""The guides to a method and a selector of your own, followed to the letter in a fresh folder."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
GUIDES = [(ROOT / f"docs/guides/own-{name}.md").read_text(encoding="utf-8") for name in ("method", "selector")]


def files(guide):
    return dict(re.findall(r"`(conf/\w+/\w+\.yaml)`:\n\n```yaml\n(.*?)```", guide, re.DOTALL))


def commands(guide):
    """The lines that copy the example, and those that run it."""
    without = re.sub(r"```(yaml|python)\n.*?```\n", "", guide, flags=re.DOTALL)
    copy, run = re.findall(r"```\n(.*?)```\n", without, re.DOTALL)
    return copy, run


def shell(lines, cwd, home):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"HOME": str(home), "PATH": path, "OMP_NUM_THREADS": "1", "SUITE": str(ROOT)}
    return subprocess.run(["bash", "-ec", lines], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder in which the steps have been taken: files copied and written, then the commands in order."""
    home, said = tmp_path_factory.mktemp("home"), ""
    mine = home / "mine"
    for guide in GUIDES:
        copy, run = commands(guide)
        copied = shell(copy, ROOT, home)
        assert copied.returncode == 0, copied.stderr
        for name, text in files(guide).items():
            (mine / name).write_text(text)
        done = shell(run, mine, home)
        assert done.returncode == 0, done.stdout + done.stderr
        said += done.stdout + done.stderr
    (home / "said.txt").write_text(said)
    return home


def records(home):
    found = [json.loads(path.read_text()) for path in (home / "mine" / "runs").glob("*/*/*/run.json")]
    return {(record["names"]["method"], record["names"]["plugin"]): record for record in found}


def test_the_guides_show_the_examples_as_they_are():
    shown_files = {name: text for guide in GUIDES for name, text in files(guide).items()}
    for name, text in shown_files.items():
        assert text == (EXAMPLES / name).read_text()
    assert set(shown_files) == {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.glob("conf/*/*.yaml")}
    (shown,) = re.findall(r"```python\n(.*?)```", "".join(GUIDES), re.DOTALL)
    assert textwrap.indent(shown, "    ") in (EXAMPLES / "neighbours.py").read_text()


def test_one_run_and_a_parallel_sweep_leave_records_that_name_the_classes(home):
    found = records(home)
    assert set(found) == {(m, p) for m in ("ce", "bootstrapping") for p in ("none", "neighbours")}
    assert {record["state"] for record in found.values()} == {"done"}
    both = found["bootstrapping", "neighbours"]
    assert both["config"]["method"]["_target_"] == "bootstrapping.Bootstrapping"
    assert both["config"]["method"]["trust"] == 0.95
    assert both["config"]["plugin"]["_target_"] == "neighbours.NeighbourVote"
    assert set(both["environment"]["own_code"]) == {"bootstrapping.Bootstrapping", "neighbours.NeighbourVote"}
    assert found["ce", "none"]["environment"]["own_code"] == {}
    assert both["knows"] == []
    said = (home / "said.txt").read_text()
    assert "sweep of 4: 3 to run, 1 done" in said
    assert "4 of 4 runs done" in said


def test_the_examples_do_something_sensible(home):
    found = records(home)
    for record in found.values():
        assert 20 < record["metrics"]["test/acc/final"] <= 100  # chance is 10
    assert found["ce", "none"]["metrics"] != found["bootstrapping", "none"]["metrics"]
    assert found["ce", "neighbours"]["selection"]["auc"] > 0.85


def test_table_and_replay_answer_for_them(home):
    said = (home / "said.txt").read_text()
    assert re.search(r"\| bootstrapping +\| neighbours +\|", said)
    for neighbours in (5, 20, 50):
        (row,) = re.findall(rf"\| neighbours={neighbours} +\|(.*)", said)
        assert float(row.split("|")[1]) > 0.7  # the AUC, behind the epoch
    assert "remembers" not in said


def test_a_recorded_command_finds_its_run_from_anywhere_and_notices_other_code(home, tmp_path):
    record = records(home)["bootstrapping", "none"]
    code = home / "mine" / "bootstrapping.py"
    code.write_text(code.read_text() + "\n# changed\n")
    again = record["command"].replace("python run.py", "python $SUITE/run.py") + f" runs_dir={home}/mine/runs"
    done = shell(again, tmp_path, home)
    assert "already done" in done.stdout, done.stdout + done.stderr
    assert "the code of bootstrapping.Bootstrapping has changed since: raise revision" in done.stdout
    assert not any(tmp_path.iterdir())
