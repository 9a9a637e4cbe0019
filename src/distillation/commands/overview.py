"""What the overview, the scorecard and the README show of all notebooks: claims, costs and times."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distillation.commands import wings
from distillation.core.claims import Claim
from distillation.core.data import REPOSITORY
from distillation.core.figures import COLOURS, PAPER, PUBLISHED, traced
from distillation.core.store import results_folder

# How a verdict looks: its colour and marker, so that it can be told without colours, too.
GOOD, HALF, BAD, OPEN = (COLOURS[2], "o"), (COLOURS[1], "s"), (COLOURS[3], "X"), (COLOURS[7], "D")
VERDICTS = {
    "holds": GOOD,
    "reproduced": GOOD,
    "yes": GOOD,
    "better": (COLOURS[9], "P"),
    "partly": HALF,
    "not reproduced": BAD,
    "does not hold": BAD,
    "no": BAD,
    "inconclusive": OPEN,
    "unclear": OPEN,
    "uninformative": (COLOURS[7], "v"),
    "context": (COLOURS[0], "^"),
}
MOST_TELLING = (
    "mnist.teacher",
    "mnist.plain",
    "mnist.distilled",
    "mnist.no3.corrected_threes",
    "soft.less_data",
    "speech.gain_kept",
    "reg.soft3.recovered",
    "specialists.relative_gain",
)
KINDS = {
    "identity": "identities of the loss",
    "figure": "figures on the paper's own data",
    "effect": "effects that the paper reports",
    "beyond": "questions that it leaves open",
    "context": "figures on other data, which have no verdict",
}
SECTIONS = {  # of the paper, by its notebooks
    "Sections 1 and 2: soft targets": ("01",),
    "Section 3: MNIST": ("02",),
    "Section 4: speech": ("03",),
    "Section 5: specialists": ("04",),
    "Section 6: little data": ("05",),
    "Sections 6.1 to 8: open questions": ("06",),
}
BEHIND = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}  # a text, so that lines do not cross it
WIDEST = (-0.6, 2.6)  # of the axis, in units of the paper's figure; what lies beyond is cut


@dataclass(frozen=True)
class Overview:
    """Where the notebooks that look at all wings save their figures and tables, which show published results."""

    profile: str

    @property
    def folder(self) -> Path:
        """results/<profile>."""
        return results_folder(self.profile)

    def heading(self, source: str) -> str:
        """Where the page of provenance says what they follow from; source: "claims"."""
        return source


def headline(folder: Path = PUBLISHED) -> pd.DataFrame:
    """The published `headline.csv` with each claim's text, unit and kind: columns of both, one row per claim."""
    rows = pd.read_csv(folder / "headline.csv")
    claims = pd.DataFrame(
        [
            {"id": claim.id, "claim": claim.text, "unit": claim.unit, "kind": claim.kind, "target": target(claim)}
            for claim in wings.claims()
        ]
    )
    return rows.merge(claims, on="id", how="left", validate="one_to_one")


def target(claim: Claim) -> str:
    """What a figure on the paper's own data must lie between to be reproduced, as text, where that was set before."""
    if claim.kind != "figure" or claim.target is None:
        return ""
    low, high = claim.target
    return f"at least {low:g}" if math.isinf(high) else f"at most {high:g}" if low <= 0 else f"{low:g} to {high:g}"


def most_telling(rows: pd.DataFrame) -> pd.DataFrame:
    """The few rows of the README's first screen, in the order of `MOST_TELLING`."""
    return rows.set_index("id", drop=False).loc[list(MOST_TELLING)].reset_index(drop=True)


def verdicts_by_kind(rows: pd.DataFrame) -> pd.DataFrame:
    """How many claims of each kind came out how, as text, from `headline`: kind, claims, verdicts."""
    counted = []
    for kind, called in KINDS.items():
        found = rows.loc[rows["kind"] == kind, "verdict"].value_counts()
        told = ", ".join(f"{found[verdict]} {verdict}" for verdict in VERDICTS if verdict in found)
        counted.append((called, str(found.sum()), told if kind != "context" else ""))
    return pd.DataFrame(counted, columns=["kind", "claims", "verdicts"])


def costs(folder: Path = PUBLISHED) -> pd.DataFrame:
    """Runs, core-hours and largest memory of the published records, one row per experiment."""
    rows = []
    for experiment in sorted(path for path in (folder / "records").iterdir() if path.is_dir()):
        records = [json.loads(path.read_text("utf-8")) for path in sorted(experiment.glob("*.json"))]
        if records:
            memory = max(record["environment"]["peak_memory_mb"] for record in records)
            rows.append(
                {
                    "experiment": experiment.name,
                    "runs": len(records),
                    "core-hours": round(sum(map(_core_seconds, records)) / 3600, 2),
                    "largest memory, MB": memory,
                    "device": ", ".join(sorted({record["environment"]["device"] for record in records})),
                }
            )
    return pd.DataFrame(rows)


def _core_seconds(record: dict) -> float:
    return record["seconds"] * record["config"]["threads"]


def notebook_times(folder: Path = PUBLISHED) -> pd.DataFrame:
    """The published times.csv (notebook, profile, seconds, peak memory, ...), or an empty table if there is none."""
    path = folder / "times.csv"
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def readme_table(rows: pd.DataFrame) -> str:
    """A table of results as Markdown, from rows of `headline`, as the README and the site have it."""
    shown = pd.DataFrame(
        {
            "claim": rows["claim"],
            "unit": rows["unit"],
            "paper": rows["paper"].fillna(""),
            "ours": [traced(number(row.ours), row.id) for row in rows.itertuples()],
            "95 % interval": [
                "" if pd.isna(low) else f"{number(low)} to {number(high)}"
                for low, high in zip(rows["low"], rows["high"], strict=True)
            ],
            "seeds": rows["seeds"].astype(str),
            "verdict": rows["verdict"],
            "notebook": [f"[{name[:2]}](notebooks/{name}.ipynb)" for name in rows["notebook"]],
        }
    )
    return shown.to_markdown(index=False, disable_numparse=True)


def needs(folder: Path = PUBLISHED) -> pd.DataFrame:
    """Time and memory of each profile, as text: as measured where all notebooks were; of "paper" from its records."""
    rows, times = [], notebook_times(folder)
    for name in ("smoke", "quick"):
        found = times[times["profile"] == name]
        if len(found) < len(list((REPOSITORY / "notebooks").glob("[0-9][0-9]_*.ipynb"))):
            continue
        minutes, cores = found["seconds"].sum() / 60, ", ".join(map(str, sorted(set(found["cores"]))))
        rows.append((name, f"{minutes:.1f} minutes, {cores} cores", found["peak_memory_mb"].max()))
    paid = costs(folder)
    trained = f"{paid['core-hours'].sum():.1f} core-hours of runs alone"
    rows.append(("paper", trained, paid["largest memory, MB"].max()))
    columns = ["profile", "time from nothing", "largest process"]
    return pd.DataFrame([(f"`{name}`", time, f"{mb / 1000:.1f} GB") for name, time, mb in rows], columns=columns)


def measured(row: pd.Series) -> str:
    """Our figure with its 95 % interval, if it has one, as text."""
    if pd.isna(row["low"]):
        return number(row["ours"])
    return f"{number(row['ours'])} ({number(row['low'])} to {number(row['high'])})"


def number(value: float) -> str:
    """Three digits, from 10 on two decimals, from 100 on none."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.{4 if abs(value) >= 10 else 3}g}"


def scorecard_table(rows: pd.DataFrame) -> pd.DataFrame:
    """The scorecard as text, one row per claim, from `headline`."""
    return pd.DataFrame(
        {
            "claim": [f"{row.claim} ({row.unit})" for row in rows.itertuples()],
            "paper": rows["paper"].fillna(""),
            "target": rows["target"],
            "ours": [traced(measured(row), row["id"], "../") for _, row in rows.iterrows()],
            "seeds": rows["seeds"].astype(str),
            "data set": rows["dataset"],
            "verdict": rows["verdict"],
            "notebook": [f"[{name[:2]}]({name}.ipynb)" for name in rows["notebook"]],
            "run it again": [f"`./run_all.sh paper {name[:2]}`" for name in rows["notebook"]],
        }
    )


def panels(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of `headline` by section of the paper, those of kind context apart."""
    is_context = rows["kind"] == "context"
    numbers = rows["notebook"].str[:2]
    found = {title: rows[~is_context & numbers.isin(notebooks)] for title, notebooks in SECTIONS.items()}
    return {title: each for title, each in (found | {"On other data": rows[is_context]}).items() if len(each)}


def scorecard(rows: pd.DataFrame) -> Figure:
    """Claims by section, a line each: text above, and below it ours in units of the paper's figure; see `panels`."""
    shown = panels(rows)
    heights = [len(each) + 0.9 for each in shown.values()]
    drawn, axes = plt.subplots(
        len(shown), figsize=(5.2, 0.38 * sum(heights) + 0.8), height_ratios=heights, sharex=True, squeeze=False
    )
    for panel, (title, each) in zip(axes[:, 0], shown.items(), strict=True):
        panel.set_title(title, loc="left", fontsize=9, fontweight="bold")
        panel.axvline(1, zorder=0, **PAPER)
        for place, (_, row) in zip(range(len(each))[::-1], each.iterrows(), strict=True):
            _point(panel, row, place)
            paper = f"; paper: {row['paper']}" if pd.notna(row["paper"]) else ""
            text = f"{row['claim']}: {measured(row)} {row['unit']}{paper}"
            label = "\n".join(wrap(text, 104))
            panel.text(WIDEST[0], place + 0.08, label, fontsize=6, va="bottom", zorder=1, bbox=BEHIND)
        panel.set(yticks=[], xlim=WIDEST, ylim=(-0.5, len(each) - 0.1))
        panel.spines["left"].set_visible(False)
    axes[-1, 0].set_xlabel("ours in units of the paper's figure (dashed)")
    counts = pd.concat(shown.values())["verdict"].value_counts()
    for name, (colour, marker) in VERDICTS.items():
        if name in counts:
            axes[0, 0].plot([], [], marker, color=colour, label=f"{name} ({counts[name]})")
    drawn.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=7)
    return drawn


def _point(axes: Axes, row: pd.Series, place: float) -> None:
    """Ours with its interval, a little below the row's text; an arrow where it lies beyond the axis.

    Without a single figure of the paper's, or with 0, there is no unit: a pale mark at the edge says only the verdict.
    """
    colour, marker = VERDICTS[row["verdict"]]
    theirs = pd.to_numeric(row["paper"], errors="coerce")
    if pd.isna(theirs) or theirs == 0:
        axes.plot(WIDEST[0], place - 0.12, marker, color=colour, alpha=0.6, clip_on=False, markersize=4.5)
        return
    mean, low, high = (row[name] / theirs for name in ("ours", "low", "high"))
    inside = float(np.clip(mean, *WIDEST))
    error = np.nan_to_num([[inside - min(low, high)], [max(low, high) - inside]]).clip(min=0)
    marker = marker if inside == mean else "<" if mean < inside else ">"
    axes.errorbar(inside, place - 0.12, xerr=error, fmt=marker, color=colour, capsize=2, markersize=4.5)
