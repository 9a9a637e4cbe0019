"""What the overview notebook and the README show of all notebooks: headline rows, costs and times."""

import json
import re
from pathlib import Path

import pandas as pd

from distillation.core.data import REPOSITORY
from distillation.core.files import noted
from distillation.core.paper import CLAIMS

PUBLISHED = REPOSITORY / "results" / "paper"
PROVENANCE = "results/paper/provenance.md"  # where each number comes from, as `provenance.page` gives it


def headline(folder: Path = PUBLISHED) -> pd.DataFrame:
    """The published `headline.csv` with each claim's text and unit: columns of both, one row per claim."""
    rows = pd.read_csv(noted(folder / "headline.csv"))
    claims = pd.DataFrame([{"id": name, "claim": claim, "unit": unit} for name, (claim, unit) in CLAIMS.items()])
    return rows.merge(claims, on="id", how="left", validate="one_to_one")


def costs(folder: Path = PUBLISHED) -> pd.DataFrame:
    """Runs, core-hours and largest memory of the published records, one row per experiment."""
    rows = []
    for experiment in sorted(path for path in (folder / "records").iterdir() if path.is_dir()):
        records = [json.loads(noted(path).read_text()) for path in sorted(experiment.glob("*.json"))]
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
    return pd.read_csv(noted(path)) if path.exists() else pd.DataFrame()


def readme_table(rows: pd.DataFrame) -> str:
    """The README's results table as Markdown, from `headline`."""
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


def traced(text: str, name: str, root: str = "") -> str:
    """A link to where the number of that name (a claim's id, "Figure speech_systems" ...) comes from.

    root: the way from the linking page to the repository, e.g. "../".
    """
    slug = re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-")  # as GitHub makes headings into anchors
    return f"[{text}]({root}{PROVENANCE}#{slug})"


def measured(row: pd.Series) -> str:
    """Our figure with its 95 % interval, if it has one, as text."""
    if pd.isna(row["low"]):
        return number(row["ours"])
    return f"{number(row['ours'])} ({number(row['low'])} to {number(row['high'])})"


def number(value: float) -> str:
    """Three digits, from 10 on two decimals, from 100 on none."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.{4 if abs(value) >= 10 else 3}g}"
