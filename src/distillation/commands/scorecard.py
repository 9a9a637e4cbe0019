"""Every claim at a glance: the scorecard's table and figure, from headline.csv."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distillation.commands.overview import measured, traced
from distillation.core.figures import COLOURS, PAPER

# How a verdict looks: its colour and marker, so that it can be told without colours, too.
VERDICTS = {
    "reproduced": (COLOURS[2], "o"),
    "partly": (COLOURS[1], "s"),
    "not reproduced": (COLOURS[3], "X"),
    "inconclusive": (COLOURS[7], "D"),
    "context": (COLOURS[0], "^"),
}
WIDEST = (-1.5, 3.0)  # of the axis, in units of the paper's figure; what lies beyond is cut


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The scorecard as text, one row per claim, from `overview.headline`."""
    return pd.DataFrame(
        {
            "claim": [f"{row.claim} ({row.unit})" for row in rows.itertuples()],
            "paper": rows["paper"].fillna(""),
            "ours": [traced(measured(row), row["id"], "../") for _, row in rows.iterrows()],
            "seeds": rows["seeds"].astype(str),
            "data set": rows["dataset"],
            "verdict": rows["verdict"],
            "notebook": [f"[{name[:2]}]({name}.ipynb)" for name in rows["notebook"]],
            "run it again": [f"`./run_all.sh paper {name[:2]}`" for name in rows["notebook"]],
        }
    )


def figure(rows: pd.DataFrame) -> Figure:
    """All claims, one below the other: ours in units of the paper's figure, both as text, and the verdict."""
    drawn, axes = plt.subplots(figsize=(8.4, 0.5 + 0.21 * len(rows)))
    places = np.arange(len(rows))[::-1]
    axes.axvline(1, **PAPER)
    for place, (_, row) in zip(places, rows.iterrows(), strict=True):
        colour, marker = VERDICTS[row["verdict"]]
        text = f"{measured(row)}  |  {row['paper'] if pd.notna(row['paper']) else '–'}  {row['unit']}"
        axes.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=6.5)
        _point(axes, row, place, colour, marker)
    for name, (colour, marker) in VERDICTS.items():
        count = int((rows["verdict"] == name).sum())
        axes.plot([], [], marker, color=colour, label=f"{name} ({count})")
    axes.set_yticks(places, [f"{row.claim}" for row in rows.itertuples()], fontsize=6.5)
    axes.set(xlim=WIDEST, ylim=(-1, len(rows)), xlabel="ours in units of the paper's figure (dashed)")
    axes.annotate("ours  |  paper", (1.01, len(rows) - 0.3), xycoords=("axes fraction", "data"), fontsize=7)
    drawn.legend(loc="outside upper center", ncols=5, frameon=False, fontsize=7)
    return drawn


def _point(axes: Axes, row: pd.Series, place: int, colour: tuple, marker: str) -> None:
    # Without a figure of the paper's, or with 0, there is no unit: a pale mark at the edge says only the verdict.
    theirs = pd.to_numeric(row["paper"], errors="coerce")
    if pd.isna(theirs) or theirs == 0:
        axes.plot(WIDEST[0], place, marker, color=colour, alpha=0.6, clip_on=False, markersize=5)
        return
    mean, low, high = (row[name] / theirs for name in ("ours", "low", "high"))
    error = np.nan_to_num([[mean - min(low, high)], [max(low, high) - mean]])
    axes.errorbar(mean, place, xerr=error, fmt=marker, color=colour, capsize=2, markersize=5)
