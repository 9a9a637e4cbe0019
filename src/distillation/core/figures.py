"""The look of every figure, and what a notebook shows: figures and tables with captions and records, paragraphs."""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Image, Markdown, display
from matplotlib import rc_params_from_file
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distillation import PACKAGE, REPOSITORY
from distillation.core.statistics import estimate

LOOK = rc_params_from_file(PACKAGE / "core" / "figures.mplstyle", use_default_template=False)
COLOURS = LOOK["axes.prop_cycle"].by_key()["color"]
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
PUBLISHED = REPOSITORY / "results" / "paper"
PROVENANCE = "results/paper/provenance.md"  # where each published number comes from
PAPER = {"color": "0.35", "linestyle": (0, (4, 2)), "linewidth": 1.2}


def style() -> None:
    """Set the look of all figures: colour-blind safe, readable in print, fonts embedded as text, whoever draws them."""
    plt.rcdefaults()  # what a reader's own matplotlibrc says is for the reader's figures
    plt.rcParams.update(LOOK)


def show(figure: Figure, title: str, caption: str, results: Any, *sources: str) -> None:
    """Save a figure as <results.folder>/figures/<name>.png and .pdf, display it, and its caption below.

    title: its number and name, such as "2.3 mnist_widths".  sources: the questions of the plan whose records it shows,
    "examples" or "headline".
    """
    number, name = title.split()
    folder = results.folder / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", metadata={"Software": None})
    figure.set_layout_engine("none")  # laid out once, not anew for each file
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
    picture = io.BytesIO()  # not left to the kernel's backend, which a reader may have set to another
    figure.savefig(picture, format="png", dpi=figure.dpi, bbox_inches="tight", metadata={"Software": None})
    display(Image(picture.getvalue()))
    plt.close(figure)
    display(Markdown(f"*Figure {number} (`{name}`). {caption}{_records(results, sources)}*"))


def tabulate(table: pd.DataFrame, title: str, caption: str, results: Any, *sources: str) -> None:
    """Save a table as <results.folder>/tables/<name>.csv and .md, and display it with its caption; arguments: as above.

    Links lead on from the notebook alone: of those in the table only their text is saved.
    """
    number, name = title.split()
    folder = results.folder / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    text = table.to_markdown(index=False, disable_numparse=True)
    plain = table.map(lambda value: LINK.sub(r"\1", value) if isinstance(value, str) else value)
    plain.to_csv(folder / f"{name}.csv", index=False)
    (folder / f"{name}.md").write_text(plain.to_markdown(index=False, disable_numparse=True) + "\n", "utf-8")
    display(Markdown(f"{text}\n\n*Table {number} (`{name}`). {caption}{_records(results, sources)}*"))


def _records(results: Any, sources: Sequence[str]) -> str:
    # Only the published run has a page that says where its numbers come from.
    if not sources or results.folder != PUBLISHED:
        return ""
    return " Records: " + ", ".join(traced(name, results.heading(name), "../") for name in sources) + "."


def traced(text: str, heading: str, root: str = "") -> str:
    """A link to a heading of the page of provenance; root: the way from here to the repository, e.g. "../"."""
    slug = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")  # as GitHub makes headings into anchors
    return f"[{text}]({root}{PROVENANCE}#{slug})"


def say(text: str, *sources: str, **values: Any) -> None:
    """Display a paragraph, a template, with values put in; sources: questions that no figure or table shows."""
    display(Markdown(" ".join((text.format(**values) if values else text).split())))


def summarise(runs: pd.DataFrame, by: Sequence[str], value: str = "errors") -> pd.DataFrame:
    """One row per setting: mean, low, high (95 % interval over seeds) and seeds of a column of the runs."""
    found = [(key, estimate(group)) for key, group in runs.groupby(list(by), sort=False, dropna=False)[value]]
    rows = [(*key, each.mean, each.low, each.high, each.seeds) for key, each in found]
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "seeds"])


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


def dots(axes: Axes, found: pd.DataFrame, names: Sequence[str], paper: Sequence[float | None] = ()) -> None:
    """Horizontal dots with 95 % intervals, one row per name, and the paper's values as open diamonds."""
    mean, rows = found["mean"].to_numpy(), np.arange(len(found))[::-1]
    spread = np.nan_to_num(np.array([mean - found["low"], found["high"] - mean]))
    axes.errorbar(mean, rows, xerr=spread, fmt="o", color=COLOURS[0], capsize=3, label="ours, 95 % interval")
    marked = [(value, row) for value, row in zip(paper, rows, strict=False) if value is not None]
    if marked:
        style = {"markerfacecolor": "none", "color": COLOURS[1], "markersize": 8, "linestyle": "none"}
        axes.plot(*zip(*marked, strict=True), marker="D", label="paper", **style)
    axes.set(yticks=rows, yticklabels=names, ylim=(-0.6, len(found) - 0.4))


def legend_above(axes: Axes) -> None:
    """A legend in one row above the axes, where it hides nothing."""
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, borderaxespad=0.2)


def ticks_at(axes: Axes, values: Sequence[float]) -> None:
    """Label a logarithmic x axis at these values, in plain numbers."""
    axes.set_xscale("log")
    axes.set_xticks(list(values), [f"{value:g}" for value in values])
    axes.minorticks_off()
