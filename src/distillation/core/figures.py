"""The look of every figure, and saving it with the table it was drawn from.  Knows only tables."""

import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from distillation.commands.overview import PUBLISHED, traced
from distillation.core.statistics import estimate

COLOURS = sns.color_palette("colorblind")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
PAPER = {"color": "0.35", "linestyle": (0, (4, 2)), "linewidth": 1.2}


def style() -> None:
    """Set the look of all figures: colour-blind safe, readable in print, fonts embedded as text."""
    sns.set_theme(context="paper", style="ticks", palette="colorblind", font_scale=1.05)
    plt.rcParams.update(
        {"figure.dpi": 110, "savefig.dpi": 200, "axes.grid": True, "grid.alpha": 0.3, "pdf.fonttype": 42}
    )
    plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True})


def show(figure: Figure, name: str, caption: str, results: Path) -> None:
    """Save a figure as <results>/figures/<name>.png and .pdf, display it, and its caption below."""
    folder = results / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", metadata={"Software": None})
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
    display(figure)
    plt.close(figure)
    display(Markdown(f"*Figure `{name}`. {caption}{_records(f'Figure {name}', results)}*"))


def tabulate(table: pd.DataFrame, name: str, caption: str, results: Path) -> None:
    """Save a table as <results>/tables/<name>.csv and .md, and display it with its caption.

    Links lead on from the notebook alone: of those in the table only their text is saved.
    """
    folder = results / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    text = table.to_markdown(index=False, disable_numparse=True)
    plain = table.map(lambda value: LINK.sub(r"\1", value) if isinstance(value, str) else value)
    plain.to_csv(folder / f"{name}.csv", index=False)
    (folder / f"{name}.md").write_text(plain.to_markdown(index=False, disable_numparse=True) + "\n")
    display(Markdown(f"{text}\n\n*Table `{name}`. {caption}{_records(f'Table {name}', results)}*"))


def _records(name: str, results: Path) -> str:
    # Only the published run has a page that says where its numbers come from.
    return f" {traced('Records', name, '../')}." if results == PUBLISHED else ""


def say(text: str) -> None:
    """Display a paragraph whose numbers were filled in from the records."""
    display(Markdown(" ".join(text.split())))


def summarise(runs: pd.DataFrame, by: Sequence[str], value: str = "errors") -> pd.DataFrame:
    """One row per setting: mean, low, high (95 % interval over seeds) and seeds of a column of the runs."""
    rows = []
    for key, group in runs.groupby(list(by), sort=False, dropna=False):
        found = estimate(group[value])
        row = dict(zip(by, key, strict=True))
        rows.append(row | {"mean": found.mean, "low": found.low, "high": found.high, "seeds": found.seeds})
    return pd.DataFrame(rows)


def lines(axes: Axes, runs: pd.DataFrame, x: str, value: str = "errors", by: str | None = None, labels=str) -> None:
    """Mean of a column against x, a line per group, with bands for the 95 % interval and a dot for every seed.

    The vertical axis spans the seeds; an interval of very few seeds may leave it.
    """
    groups = [("", runs)] if by is None else list(runs.groupby(by, sort=False))
    for number, (key, group) in enumerate(groups):
        found = summarise(group, [x], value).sort_values(x)
        colour, marker = COLOURS[number], MARKERS[number]
        axes.plot(group[x], group[value], ".", color=colour, alpha=0.35, markersize=4)
        axes.fill_between(found[x], found["low"], found["high"], color=colour, alpha=0.18, linewidth=0)
        axes.plot(found[x], found["mean"], marker=marker, markersize=4, color=colour, label=labels(key) if by else None)
    axes.set_ylim(0.9 * runs[value].min(), 1.1 * runs[value].max())


def ranges(axes: Axes, runs: pd.DataFrame, x: str, value: str, by: str) -> None:
    """Mean and range of a column against x, a line per group: for curves of runs with as many points each."""
    for number, (key, group) in enumerate(runs.groupby(by, sort=False)):
        found = group.groupby(x)[value].agg(["mean", "min", "max"])
        colour = COLOURS[number]
        axes.fill_between(found.index, found["min"], found["max"], color=colour, alpha=0.18, linewidth=0)
        axes.plot(found.index, found["mean"], color=colour, marker=MARKERS[number], markersize=3, label=str(key))


def dots(axes: Axes, found: pd.DataFrame, names: Sequence[str], paper: Sequence[float | None] = ()) -> None:
    """Horizontal dots with 95 % intervals, one row per name, and the paper's values as open diamonds."""
    rows = np.arange(len(found))[::-1]
    mean = found["mean"].to_numpy()
    spread = np.nan_to_num(np.array([mean - found["low"], found["high"] - mean]))
    axes.errorbar(mean, rows, xerr=spread, fmt="o", color=COLOURS[0], capsize=3, label="ours, 95 % interval")
    marked = [(value, row) for value, row in zip(paper, rows, strict=False) if value is not None]
    if marked:
        style = {"markerfacecolor": "none", "color": COLOURS[1], "markersize": 8, "linestyle": "none"}
        axes.plot(*zip(*marked, strict=True), marker="D", label="paper", **style)
    axes.set_yticks(rows, names)
    axes.set_ylim(-0.6, len(found) - 0.4)


def legend_above(axes: Axes) -> None:
    """A legend in one row above the axes, where it hides nothing."""
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, borderaxespad=0.2)


def plain_percents(axes: Axes) -> None:
    """Label a logarithmic y axis of percentages in plain numbers."""
    low, high = axes.get_ylim()
    values = [value for value in (0.5, 1, 2, 5, 10, 20, 50, 100) if low <= value <= high]
    axes.set_yticks(values, [f"{value:g}" for value in values])
    axes.yaxis.set_minor_locator(NullLocator())


def ticks_at(axes: Axes, values: Sequence[float]) -> None:
    """Label a logarithmic x axis at these values, in plain numbers."""
    axes.set_xscale("log")
    axes.set_xticks(list(values), [f"{value:g}" for value in values])
    axes.minorticks_off()
