"""What the overview and the scorecard show: every claim with its figures and verdict, costs and times."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from distillation.commands import overview, wings
from distillation.commands.overview import VERDICTS, measured, number

ROWS = pd.DataFrame(
    [
        ("a", 100.0, 150.0, 140.0, 160.0, 5, "mnist", "partly", "02_mnist", "first", "errors"),
        ("b", -2.0, 1.0, 3.0, -1.0, 3, "an4", "not reproduced", "03_speech", "second", "exponent"),
        ("c", np.nan, 0.25, np.nan, np.nan, 1, "cifar-100", "inconclusive", "04_specialists", "third", "ratio"),
        ("d", 0.0, 0.0, np.nan, np.nan, 1, "mnist", "reproduced", "01_temperature", "fourth", "absolute"),
    ],
    columns=["id", "paper", "ours", "low", "high", "seeds", "dataset", "verdict", "notebook", "claim", "unit"],
)


def test_table_by_hand() -> None:
    found = overview.scorecard_table(ROWS)
    page = "../results/paper/provenance.md"
    expected = {"a": "150 (140 to 160)", "b": "1 (3 to -1)", "c": "0.25", "d": "0"}
    assert found["ours"].tolist() == [f"[{text}]({page}#{name})" for name, text in expected.items()]
    assert found["paper"].tolist() == [100, -2, "", 0]
    assert found["run it again"].tolist()[1] == "`./run_all.sh paper 03`"
    assert found["notebook"][2] == "[04](04_specialists.ipynb)"
    assert [number(value) for value in (0.123456, 8.6667, 97.4653, 158.6)] == ["0.123", "8.67", "97.47", "159"]


def test_published_claims_are_all_there() -> None:
    rows = overview.headline()
    table = overview.scorecard_table(rows)
    assert len(table) == len(rows)
    assert set(rows["verdict"]) <= set(VERDICTS)
    drawn = overview.scorecard(rows)
    (axes,) = drawn.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == rows["claim"].tolist()
    written = {text.get_text().split("  |  ")[0] for text in axes.texts}
    assert {measured(row) for _, row in rows.iterrows()} <= written
    plt.close(drawn)


def test_figure_is_in_units_of_the_papers() -> None:
    drawn = overview.scorecard(ROWS)
    (axes,) = drawn.axes
    bars = [container for container in axes.containers if len(container.lines[0].get_xdata())]
    centres = [container.lines[0].get_xdata()[0] for container in bars]
    assert centres == pytest.approx([1.5, -0.5])  # the third has no figure of the paper's, the fourth is 0
    ends = bars[0].lines[2][0].get_segments()[0][:, 0]
    assert ends.tolist() == pytest.approx([1.4, 1.6])
    ends = bars[1].lines[2][0].get_segments()[0][:, 0]
    assert sorted(ends.tolist()) == pytest.approx([-1.5, 0.5])
    names = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert names == [
        "reproduced (1)",
        "partly (1)",
        "not reproduced (1)",
        "inconclusive (1)",
    ]  # what none has is left out
    plt.close(drawn)


def test_headline_has_the_text_of_every_claim() -> None:
    rows = overview.headline()
    assert rows["id"].tolist() == [claim.id for claim in wings.claims()]
    assert rows["claim"].tolist() == [claim.text for claim in wings.claims()]
    assert rows["unit"].tolist() == [claim.unit for claim in wings.claims()]


def test_costs_are_those_of_every_core(tmp_path: Path) -> None:
    folder = tmp_path / "records" / "speech"
    folder.mkdir(parents=True)
    for threads in (1, 2):
        environment = {"peak_memory_mb": 99 + threads, "device": "cpu"}
        record = {"seconds": 3600.0, "config": {"threads": threads}, "environment": environment}
        (folder / f"{threads}.json").write_text(json.dumps(record))
    (row,) = overview.costs(tmp_path).to_dict("records")
    assert row["core-hours"] == pytest.approx(3)
    assert (row["runs"], row["largest memory, MB"]) == (2, 101)


def test_needs_are_those_measured_on_all_notebooks(tmp_path: Path) -> None:
    folder = tmp_path / "records" / "mnist"
    folder.mkdir(parents=True)
    environment = {"peak_memory_mb": 1200, "device": "cpu"}
    record = {"seconds": 7200.0, "config": {"threads": 1}, "environment": environment}
    (folder / "1.json").write_text(json.dumps(record))
    row = {"profile": "smoke", "seconds": 30, "peak_memory_mb": 800, "dataset": "digits", "device": "cpu", "cores": 2}
    rows = [row | {"notebook": f"0{count}_a"} for count in range(8)]
    rows += [rows[0] | {"profile": "quick"}]  # of one notebook: not told
    pd.DataFrame(rows).to_csv(tmp_path / "times.csv", index=False)
    found = overview.needs(tmp_path)
    assert found["profile"].tolist() == ["`smoke`", "`paper`"]
    assert found["time from nothing"].tolist() == ["4.0 minutes, 2 cores", "2.0 core-hours of runs alone"]
    assert found["largest process"].tolist() == ["0.8 GB", "1.2 GB"]
