"""The figures of notebooks 01 and 02: what three nets answer to a digit at any temperature, drawn or live; details."""

import io
from collections.abc import Callable, Sequence
from functools import partial

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from distillation.core.figures import COLOURS
from distillation.core.objectives import soften
from distillation.core.statistics import estimate
from distillation.mnist.examples import Examples

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
    logarithmic = ipywidgets.Checkbox(False, description="logarithmic axis")
    return live(partial(draw, examples), case=case, temperature=temperature_slider(1.0), logarithmic=logarithmic)


def temperature_slider(value: float) -> ipywidgets.FloatLogSlider:
    """A slider from T = 0.5 to T = 100."""
    return ipywidgets.FloatLogSlider(
        value, min=-0.3, max=2, step=0.05, description="T", continuous_update=False, readout_format=".2f"
    )


def live(draw: Callable[..., Figure], **controls: ipywidgets.Widget) -> ipywidgets.VBox:
    """Controls above the figure that `draw` makes of their values, passed by name; drawn again at each change.

    The kernel fills the picture itself.  An output area would be filled by the client, and nbclient's answers to it
    can cost it the reply it waits for: it then waits for ever (https://github.com/jupyter/nbclient/issues/312).
    """
    picture = ipywidgets.Image(format="png", layout={"max_width": "100%", "align_self": "flex-start"})

    def redraw(_: object = None) -> None:
        figure = draw(**{name: control.value for name, control in controls.items()})
        png = io.BytesIO()
        figure.savefig(png, format="png", metadata={"Software": None})
        picture.width = str(round(figure.get_figwidth() * figure.dpi))  # saved finer, for dense screens
        picture.value = png.getvalue()
        plt.close(figure)

    for control in controls.values():
        control.observe(redraw, "value")
    redraw()
    return ipywidgets.VBox([ipywidgets.HBox([*controls.values()]), picture])


def epochs_to_reach(curves: pd.DataFrame) -> tuple[float, pd.DataFrame]:
    """Epochs until each hard weight first reaches an error, as text with a 95 % interval, and that error in percent.

    The error is the highest of the runs' final errors, so that every run reaches it.
    """
    goal = curves[curves["epoch"] == curves["epoch"].max()]["percent"].max()
    reached = curves[curves["percent"] <= goal].groupby(["hard_weight", "seed"])["epoch"].min()
    rows = [
        {"hard weight": f"{weight:g}", "epochs": estimate(values).text(1)}
        for weight, values in reached.groupby("hard_weight")
    ]
    return goal, pd.DataFrame(rows)


def plain_percents(axes: Axes) -> None:
    """Label a logarithmic y axis of percentages in plain numbers."""
    low, high = axes.get_ylim()
    values = [value for value in (0.5, 1, 2, 5, 10, 20, 50, 100) if low <= value <= high]
    axes.set_yticks(values, [f"{value:g}" for value in values])
    axes.yaxis.set_minor_locator(NullLocator())
