"""The notebook of the guide, executed as a reader does: no error, progress in place, and the numbers of the run."""

import ast
import json

import nbformat
import pytest
from nbclient import NotebookClient

import sfa_bench
from tools.docs_site import ROOT

PATH = ROOT / "docs/guides/python.ipynb"


class Watching(NotebookClient):
    """Keeps what was shown in the place of something else."""

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] == "update_display_data":
            self.lines.append(msg["content"]["data"]["text/plain"])
        return super().process_message(msg, cell, cell_index)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The folder in which it ran, its code cells with what they printed, and the lines of progress."""
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("OMP_NUM_THREADS", "1")
        notebook = nbformat.read(PATH, as_version=4)
        client = Watching(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}})
        client.lines = []
        client.execute()
    return folder, [cell for cell in notebook.cells if cell.cell_type == "code"], client.lines


def results(cells):
    return [
        output.data["text/plain"] for cell in cells for output in cell.outputs if output.output_type == "execute_result"
    ]


def test_it_is_kept_without_outputs():
    for cell in json.loads(PATH.read_text(encoding="utf-8"))["cells"]:
        assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)


def test_its_numbers_are_those_of_the_run_on_the_disk(executed):
    folder, cells, _ = executed
    found = results(cells)
    runs = {run.hash: run for run in sfa_bench.load(folder / "runs")}
    assert len(runs) == 5
    run = next(run for run in runs.values() if run.config["plugin"].get("beta") == 0.9 and run.hash in found[0])
    assert ast.literal_eval(found[1]) == (run.metrics["test/acc/final"], "done", 0.9)
    accuracy, last = ast.literal_eval(
        next(text for text in found if text.startswith("(np.float64(")).replace("np.float64", "")
    )
    assert accuracy == pytest.approx(last, abs=1e-9)
    assert "<Runs: 4 done>" in found
    assert "<Runs: 5 done>" in found


def test_progress_is_one_line_that_is_gone_at_the_end_and_nothing_goes_to_standard_error(executed):
    outputs = [output for cell in executed[1] for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    shown = [output for output in executed[1][0].outputs if output.output_type == "display_data"]
    assert [output.data["text/plain"] for output in shown].count("") == 1
    assert not any("epoch 3/12" in json.dumps(output) for output in outputs)
    assert [line for line in executed[2] if line.startswith("epoch 3/12 · ")]
    assert any("12 epochs" in json.dumps(output) or "final (mean" in json.dumps(output) for output in shown)


def test_it_shows_a_refusal(executed):
    assert "did you mean 0.4?" in json.dumps([cell.outputs for cell in executed[1]])
