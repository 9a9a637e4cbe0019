"""What three nets answer to one test digit at any temperature, side by side: drawn, or live in Jupyter."""

from collections.abc import Sequence

import ipywidgets
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distillation.examples import Examples
from distillation.figures import COLOURS
from distillation.objectives import soften

SMALLEST = 1e-6  # probability at the foot of a logarithmic axis
CLASSES = range(10)


def nets(examples: Examples) -> dict:
    """The logits of the three nets, (cases, 10), by what the panels call them."""
    return {
        "teacher": examples.teacher_logits,
        "hard targets": examples.plain_logits,
        "distilled": examples.student_logits,
    }


def disputed(examples: Examples) -> tuple[list[int], list[int]]:
    """The digits on whose most probable class the nets differ, and all others, those first that the teacher doubts."""
    answers = np.stack([logits.argmax(1).numpy() for logits in nets(examples).values()])
    differ = np.flatnonzero((answers != answers[0]).any(0)).tolist()
    doubtful = soften(examples.teacher_logits, 1.0).max(1).values.argsort().tolist()
    return differ, [case for case in doubtful if case not in differ]


def draw(examples: Examples, case: int, temperature: float, logarithmic: bool = False) -> Figure:
    """One digit and the nets' distributions at a temperature.

    Raises IndexError for a digit that is not among the examples, ValueError for a temperature of 0 or less.
    """
    if not 0 <= case < len(examples.labels):
        raise IndexError(f"There is no digit {case}: the examples are 0 to {len(examples.labels) - 1}.")
    soften(examples.teacher_logits, temperature)  # refuses a temperature before there is a figure
    figure, panels = plt.subplots(1, 4, figsize=(8.4, 1.9), width_ratios=[0.7, 1, 1, 1])
    fill(panels, examples, case, temperature, logarithmic)
    return figure


def grid(examples: Examples, cases: Sequence[int], temperature: float) -> Figure:
    """Several digits, one below the other, at a temperature."""
    figure, rows = plt.subplots(len(cases), 4, figsize=(8.4, 1.7 * len(cases)), width_ratios=[0.7, 1, 1, 1])
    for panels, case in zip(np.atleast_2d(rows), cases, strict=True):
        fill(panels, examples, case, temperature)
    for panels in np.atleast_2d(rows)[:-1]:
        for axes in panels[1:]:
            axes.set_xlabel("")
    return figure


def fill(panels: Sequence[Axes], examples: Examples, case: int, temperature: float, logarithmic: bool = False) -> None:
    """Draw one digit into the first of four panels, and the nets' distributions into the others."""
    right = int(examples.labels[case])
    panels[0].imshow(255 - examples.images[case], cmap="gray")
    panels[0].set(xticks=[], yticks=[], xlabel=f"test digit {case}: a {right}")
    panels[0].spines[:].set_visible(False)
    for axes, (name, logits) in zip(panels[1:], nets(examples).items(), strict=True):
        probabilities = soften(logits[case], temperature).numpy()
        bars = axes.bar(CLASSES, probabilities, color=COLOURS[7])
        bars[right].set(
            facecolor=COLOURS[0], hatch="////", edgecolor="white", linewidth=0
        )  # told apart without colours, too
        answer = int(probabilities.argmax())
        axes.set_title(f"{name}: {answer} ({probabilities[answer]:.2f})", fontsize=9)
        axes.set(xticks=CLASSES, xlabel="digit", ylim=(0, 1))
        if logarithmic:
            axes.set(yscale="log", ylim=(SMALLEST, 1.5))
    panels[1].set_ylabel(f"probability, T = {temperature:g}")


def explorer(examples: Examples) -> ipywidgets.Widget:
    """Controls for the digit, the temperature and the axis, above what `draw` makes of them."""
    differ, others = disputed(examples)
    right = examples.labels.tolist()
    case = ipywidgets.Dropdown(
        options=[(f"{each}: a {right[each]}", each) for each in differ + others], description="digit"
    )
    temperature = ipywidgets.FloatLogSlider(
        1.0, min=-0.3, max=2, step=0.05, description="T", continuous_update=False, readout_format=".2f"
    )
    logarithmic = ipywidgets.Checkbox(False, description="logarithmic axis")

    def redraw(case: int, temperature: float, logarithmic: bool) -> None:
        draw(examples, case, temperature, logarithmic)
        plt.show()

    controls = {"case": case, "temperature": temperature, "logarithmic": logarithmic}
    return ipywidgets.VBox([ipywidgets.HBox([*controls.values()]), ipywidgets.interactive_output(redraw, controls)])
