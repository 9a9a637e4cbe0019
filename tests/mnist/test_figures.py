"""The explorer of notebooks 01 and 02: what it draws, and that its controls work in a kernel."""

import base64
from pathlib import Path

import ipywidgets
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from nbclient import NotebookClient

from distillation.commands.notebooks import NOTEBOOKS
from distillation.core.objectives import soften
from distillation.core.statistics import estimate
from distillation.mnist import figures
from distillation.mnist.examples import Examples

VIEW = "application/vnd.jupyter.widget-view+json"
MAKE = """
import base64
import torch
from IPython.display import display
from distillation.mnist import figures
from distillation.mnist.examples import Examples
generator = torch.Generator().manual_seed(0)
images, logits = torch.zeros(5, 28, 28, dtype=torch.uint8), torch.randn(3, 5, 10, generator=generator)
shown = figures.explorer(Examples(images, torch.arange(5), *logits))
case, temperature, logarithmic = shown.children[0].children
display(shown)
"""
LOOK = "print(base64.b64encode(shown.children[1].value).decode())"
CHANGES = ("temperature.value = 20.0", "case.value = case.options[-1][1]", "logarithmic.value = True")


@pytest.fixture
def examples() -> Examples:
    """Five digits; the nets agree on all but number 3."""
    logits = torch.randn(5, 10, generator=torch.Generator().manual_seed(1))
    logits[torch.arange(5), torch.arange(5)] += 10
    plain = logits.clone()
    plain[3, 8] += 20
    images = torch.randint(0, 255, (5, 28, 28), dtype=torch.uint8)
    return Examples(images, torch.arange(5), logits, 2 * logits, plain)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 20.0])
def test_bars_are_the_softened_logits(examples: Examples, temperature: float) -> None:
    figure = figures.draw(examples, 3, temperature)
    panels = figure.axes[1:]
    expected = (examples.teacher_logits, examples.plain_logits, examples.student_logits)
    for axes, logits in zip(panels, expected, strict=True):
        heights = [bar.get_height() for bar in axes.patches]
        assert heights == pytest.approx(soften(logits[3], temperature).tolist())
        assert [bar.get_hatch() is not None for bar in axes.patches] == [digit == 3 for digit in range(10)]
    names = [axes.get_title().split(":")[0] for axes in panels]
    answers = [axes.get_title().split(": ")[1][0] for axes in panels]
    assert (names, answers) == (["teacher", "hard targets", "distilled"], ["3", "8", "3"])
    plt.close(figure)


def test_disputed_digits_come_first_and_all_are_there(examples: Examples) -> None:
    differ, others = figures.disputed(examples)
    assert differ == [3]
    assert sorted(others) == [0, 1, 2, 4]
    sure = soften(examples.teacher_logits, 1.0).max(1).values.numpy()
    assert np.all(np.diff(sure[others]) >= 0)


@pytest.mark.parametrize("case", [-1, 5])
def test_a_digit_that_is_not_there_is_named(examples: Examples, case: int) -> None:
    with pytest.raises(IndexError, match=f"no digit {case}: the examples are 0 to 4"):
        figures.draw(examples, case, 1.0)
    assert not plt.get_fignums()


def test_a_temperature_of_zero_is_refused(examples: Examples) -> None:
    with pytest.raises(ValueError, match="temperature"):
        figures.draw(examples, 0, 0.0)
    assert not plt.get_fignums()


def test_each_control_redraws_in_a_kernel() -> None:
    sources = [MAKE, LOOK, *(source for change in CHANGES for source in (change, LOOK))]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, kernel_name="python3", store_widget_state=True, timeout=120).execute()
    pictures = [cell.outputs[0].text.strip() for cell in notebook.cells[1::2]]
    assert len(set(pictures)) == 1 + len(CHANGES)
    assert live_picture(notebook) == pictures[-1]


def test_a_refused_value_leaves_no_figure_behind(examples: Examples) -> None:
    case = ipywidgets.IntText(0)
    shown = figures.live(lambda case: figures.draw(examples, case, 1.0), case=case)
    picture = shown.children[1].value
    with pytest.raises(IndexError, match="no digit 5"):
        case.value = 5
    assert shown.children[1].value == picture
    assert not plt.get_fignums()


def widgets(notebook: nbformat.NotebookNode) -> dict:
    """The saved widgets by their identifier."""
    return notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]


def live_picture(notebook: nbformat.NotebookNode) -> str:
    """The PNG of the one picture among a notebook's saved widgets, in base64."""
    [picture] = [model for model in widgets(notebook).values() if model["model_name"] == "ImageModel"]
    [data] = [buffer["data"] for buffer in picture["buffers"] if buffer["path"] == ["value"]]
    return data.strip()


@pytest.mark.parametrize("name", ["01_temperature_and_logit_matching", "02_mnist"])
def test_committed_notebooks_hold_their_live_figures(name: str) -> None:
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4)
    assert base64.b64decode(live_picture(notebook)).startswith(b"\x89PNG")
    views = [
        output.data[VIEW].model_id
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if VIEW in output.get("data", {})
    ]
    assert views
    assert set(views) <= set(widgets(notebook))


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_notebook_has_an_output_area_that_could_stall_its_execution(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    if "widgets" in notebook.metadata:
        assert not [model for model in widgets(notebook).values() if model["model_name"] == "OutputModel"]


def test_epochs_are_counted_until_the_highest_of_the_final_errors_is_reached() -> None:
    percents = {(0.0, 0): (9, 5, 4), (0.0, 1): (9, 9, 6), (0.5, 0): (6, 7, 5), (0.5, 1): (8, 6, 3)}
    curves = pd.DataFrame(
        [
            {"hard_weight": weight, "seed": seed, "epoch": epoch, "percent": percent}
            for (weight, seed), run in percents.items()
            for epoch, percent in enumerate(run, 1)
        ]
    )
    goal, found = figures.epochs_to_reach(curves)
    assert goal == 6
    assert found["hard weight"].tolist() == ["0", "0.5"]
    assert found["epochs"].tolist() == [estimate([2, 3]).text(1), estimate([1, 2]).text(1)]
