"""A keep list of the user's own: what it selects, and what is refused."""

import io

import numpy as np
import pytest
from rich.console import Console

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import compose
from sfa_bench.engine.run import run
from sfa_bench.errors import ConfigError
from sfa_bench.selectors.base import Probe, Samples
from sfa_bench.selectors.listed import Listed, read

FILES = Samples(np.array([4, 0, 7]), ["a/x.jpg", "b/=y.jpg", "=z.jpg"], 3)
VECTORS = Samples(np.array([4, 0, 7]), None, 8)


def keep(folder, text, samples=VECTORS):
    file = folder / "keep.csv"
    file.write_text(text, encoding="utf-8")
    return read(file, samples).tolist()


def test_samples_are_found_by_their_index_or_path(tmp_path):
    assert keep(tmp_path, "index,keep\n0,1\n4,0\n7,1\n") == [False, True, True]
    assert keep(tmp_path, "keep,index\n1,7\n0,0\n1,3\n1,4\n") == [True, False, True]  # 3 is held out, or left out
    assert keep(tmp_path, "path,keep\n'=z.jpg,0\na/x.jpg,1\nb/=y.jpg,0\n", FILES) == [True, False, False]
    assert keep(tmp_path, "index,path,keep\n0,?,1\n4,?,0\n7,?,1\n") == [False, True, True]


@pytest.mark.parametrize(
    ("text", "samples", "sentence"),
    [
        ("index,keep\n0,1\n4,0\n", VECTORS, "lacks 1 of 3 training samples, first index 7: list all"),
        ("path,keep\na/x.jpg,1\n=z.jpg,1\n", FILES, "lacks 1 of 3 training samples, first b/=y.jpg"),
        ("index,keep\n0,1\n4,0\n7,1\n4,0\n", VECTORS, "line 5 of .* lists a sample that an earlier line lists"),
        ("index,keep\n0,1\n4,0\n7,1\n8,1\n", VECTORS, "line 5 of .* has index 8: the data set has 8 training samples"),
        ("index,keep\n-1,1\n", VECTORS, "line 2 of .* has index '-1': it must be a whole number"),
        ("index,keep\n0,yes\n", VECTORS, "line 2 of .* has keep 'yes': it must be 0 or 1"),
        ("path,keep\nc.jpg,1\n", FILES, "line 2 of .* has path 'c.jpg', which is no training image"),
        ("path,keep\na/x.jpg,1\n", VECTORS, "lists paths, and these samples are no image files"),
        ("name,keep\n0,1\n", VECTORS, "neither a column index nor a column path"),
        ("index,kept\n0,1\n", VECTORS, "has no column keep: it has index, kept"),
        ("index,keep\n0,1,2\n", VECTORS, "line 2 of .* has more or fewer cells"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path, text, samples, sentence):
    with pytest.raises(ConfigError, match=sentence):
        keep(tmp_path, text, samples)


def test_of_a_draw_it_selects_what_the_list_says_of_these_samples():
    labels = np.array([1, 0])
    probe = Probe(np.zeros((2, 3)), np.zeros((2, 4)), None, labels, rows=np.array([2, 0]))
    selection = Listed(np.array([False, True, True])).answer(probe, 1)
    assert selection.mask.tolist() == [True, False]
    assert selection.clean_probability.tolist() == [1, 0]
    assert selection.class_counts.tolist() == [0, 1, 0, 0]


def test_a_run_trains_on_what_the_list_keeps_and_its_content_is_its_identity(tmp_path):
    words = ["method=ce", "plugin=none", "epochs=2", "warmup_epochs=1", "imb_factor=0.02", "threads=1"]
    words += ["method.selector.name=file", f"method.selector.file={tmp_path}/keep.csv", f"runs_dir={tmp_path}/runs"]

    def write(name, even):
        (tmp_path / name).write_text("index,keep\n" + "".join(f"{i},{int(i % 2 == even)}\n" for i in range(1438)))

    write("keep.csv", 0)
    path = run(compose(words), "python run.py", Console(file=io.StringIO()))
    with np.load(path / "predictions.npz") as arrays:
        assert arrays["selected"][0].tolist() == (arrays["index"] % 2 == 0).tolist()
    before = run_hash(compose(words))
    write("copy.csv", 0)
    assert run_hash(compose([word.replace("keep.csv", "copy.csv") for word in words])) == before
    write("keep.csv", 1)
    assert run_hash(compose(words)) != before
