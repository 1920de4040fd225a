"""Standard streams: whatever a terminal, a pipe or a disk does not take, runs go on and answers say so."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sfa_bench.config import terminal
from sfa_bench.config.terminal import Parser, SafeStream, door, entry_point
from sfa_bench.errors import ConfigError, Interrupted, RunError

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["method=ce", "plugin=none", "dataset=synthetic", "dataset.size=60", "batch_size=8", "epochs=1", "threads=1"]
RUNS = b"runs-\xff"
CLASS_NAME = "h\xe9\udcff"  # a letter that ASCII lacks, and a byte that is not UTF-8


def command(*words, cwd, **how):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **how.pop("environment", {})}
    return subprocess.run([sys.executable, *words], cwd=cwd, env=environment, stderr=subprocess.PIPE, **how)


class Fragile(io.TextIOWrapper):
    """A stream that fails as it is told."""

    def __init__(self, error):
        super().__init__(io.BytesIO(), encoding="ascii", write_through=True)
        self.error = error

    def write(self, text):
        if self.error:
            raise self.error
        return super().write(text)


@pytest.fixture
def streams(monkeypatch):
    def put(error=None, answers=True):
        monkeypatch.setattr(sys, "stdout", Fragile(error))
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
        monkeypatch.setattr(SafeStream, "answers", answers)
        return sys.stdout, sys.stderr

    return put


def said(stream):
    stream.flush()
    return stream.buffer.getvalue().decode("ascii")


def test_characters_that_the_encoding_lacks_are_replaced_by_what_a_reader_takes_for_them(streams):
    out, _ = streams()
    assert door(lambda _: print("92.1 ± 0.3 · a → b …", CLASS_NAME) or 0) == 0
    assert said(out) == "92.1 +- 0.3 - a -> b ... h\\xe9\\udcff\n"


def test_an_answer_that_cannot_be_written_is_a_failure_and_a_run_goes_on(streams):
    full = OSError(28, "No space left on device")
    _, err = streams(full)
    assert door(lambda _: print("a table") or 0) == 1
    assert said(err) == "failed: could not write to standard output: No space left on device\n"
    _, err = streams(full)
    assert door(lambda _: print("a table") or 2) == 2  # the worse status stays
    _, err = streams(full, answers=False)
    assert door(lambda _: print("epoch 1/9") or 0) == 0
    assert said(err) == ""


def test_a_reader_who_leaves_ends_an_answer_quietly_and_no_run(streams):
    _, err = streams(BrokenPipeError(32, "Broken pipe"))
    with pytest.raises(SystemExit) as ended:
        door(lambda _: print("a table") or 0)
    assert ended.value.code == 141  # as a shell says of SIGPIPE
    assert said(err) == ""
    streams(BrokenPipeError(32, "Broken pipe"), answers=False)
    assert door(lambda _: print("epoch 1/9") or 0) == 0


def test_a_folder_that_is_gone_is_a_sentence(streams, tmp_path, monkeypatch):
    _, err = streams()
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    assert door(lambda _: pytest.fail("begun")) == 2
    assert said(err).count("\n") == 1
    tmp_path.mkdir()


def test_streams_are_replaced_once(streams):
    streams()
    terminal.prepare()
    first = sys.stdout
    terminal.prepare()
    assert sys.stdout is first


def test_every_command_has_the_door():
    doors = [p for p in ROOT.rglob("*.py") if "tests" not in p.parts and "sys.exit(" in p.read_text(encoding="utf-8")]
    assert len(doors) > 12
    for path in doors:
        assert "sys.exit(door(main))" in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_sweep_is_done_in_an_encoding_that_lacks_its_characters(tmp_path, launcher):
    """Nor does a name of bytes that are not UTF-8 keep it from its end."""
    words = [str(ROOT / "run.py"), "-m", *SMALL, "replicate=0,1", f"hydra/launcher={launcher}", b"runs_dir='%s'" % RUNS]
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = command(*words, cwd=tmp_path, stdout=subprocess.PIPE, environment=ascii_only)
    assert done.returncode == 0, done.stderr
    assert b"2 of 2 runs done" in done.stdout
    assert done.stdout.isascii()
    logs = [path.read_text(encoding="utf-8") for path in (tmp_path / os.fsdecode(RUNS)).glob("*/*/*/log.txt")]
    assert ["· joint 0.4 ·" in log for log in logs] == [True, True]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_a_run_is_done_though_nobody_takes_what_it_says(tmp_path):
    words = [str(ROOT / "run.py"), *SMALL, "runs_dir=runs"]
    with open("/dev/full", "wb") as full:
        done = command(*words, cwd=tmp_path, stdout=full)
    assert (done.returncode, done.stderr) == (0, b"")
    with open("/dev/full", "wb") as full:
        table = command("-m", "analysis.table", f"{tmp_path}/runs", cwd=ROOT, stdout=full)
    assert (table.returncode, table.stderr.count(b"\n")) == (1, 1)
    reading, writing = os.pipe()
    os.close(reading)
    done = command(*words, "replicate=1", cwd=tmp_path, stdout=writing)
    assert (done.returncode, done.stderr) == (0, b"")
    shell = f'exec "{sys.executable}" "$@" replicate=2 <&- >&-'
    done = subprocess.run(["sh", "-c", shell, "sh", *words], cwd=tmp_path, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len([*tmp_path.glob("runs/*/*/*/predictions.npz")]) == 3


# ---- how commands end


@pytest.mark.parametrize(
    ("ending", "status", "said"),
    [
        (None, 0, ""),
        (3, 3, ""),
        (ConfigError("no such thing"), 2, "refused: no such thing\n"),
        (RunError("the disk is full"), 1, "failed: the disk is full\n"),
        (MemoryError("4 GB"), 1, "failed: there is not enough memory: 4 GB\n"),
        (KeyboardInterrupt(), 130, ""),
        (Interrupted(15), 143, ""),
    ],
)
def test_what_ends_a_command_is_a_status_and_at_most_one_sentence(ending, status, said, capsys):
    @entry_point
    def main(arguments):
        """What it does."""
        if isinstance(ending, BaseException):
            raise ending
        return ending

    assert (main([]), main.__doc__) == (status, "What it does.")
    assert capsys.readouterr().err == said


def test_a_mistake_of_the_programmer_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        entry_point(lambda arguments: 1 // 0)([])


def test_an_option_that_does_not_exist_is_refused_in_one_sentence():
    with pytest.raises(ConfigError, match=r"^unrecognized arguments: --colour; mine --help lists the options$"):
        Parser(prog="mine").parse_args(["--colour"])
