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
        ("a", 100.0, 150.0, 140.0, 160.0, 5, "mnist", "partly", "02_mnist", "first", "errors", "figure"),
        ("b", -2.0, 1.0, 1.1, -1.0, 3, "an4", "not reproduced", "03_speech", "second", "exponent", "effect"),
        (
            "c",
            np.nan,
            0.25,
            np.nan,
            np.nan,
            1,
            "cifar-100",
            "inconclusive",
            "04_specialists",
            "third",
            "ratio",
            "effect",
        ),
        ("d", 0.0, 0.0, np.nan, np.nan, 1, "mnist", "reproduced", "01_temperature", "fourth", "absolute", "identity"),
        ("e", 10.0, 50.0, 48.0, 52.0, 3, "an4", "context", "03_speech", "fifth", "percent", "context"),
    ],
    columns=["id", "paper", "ours", "low", "high", "seeds", "dataset", "verdict", "notebook", "claim", "unit", "kind"],
).assign(target="")


def test_table_by_hand() -> None:
    found = overview.scorecard_table(ROWS)
    page = "../results/paper/provenance.md"
    expected = {"a": "150 (140 to 160)", "b": "1 (1.1 to -1)", "c": "0.25", "d": "0", "e": "50 (48 to 52)"}
    assert found["ours"].tolist() == [f"[{text}]({page}#{name})" for name, text in expected.items()]
    assert found["paper"].tolist() == [100, -2, "", 0, 10]
    assert found["run it again"].tolist()[1] == "`./run_all.sh paper 03`"
    assert found["notebook"][2] == "[04](04_specialists.ipynb)"
    assert [number(value) for value in (0.123456, 8.6667, 97.4653, 158.6)] == ["0.123", "8.67", "97.47", "159"]


def test_published_claims_are_all_there() -> None:
    rows = overview.headline()
    table = overview.scorecard_table(rows)
    assert len(table) == len(rows)
    assert set(rows["verdict"]) <= set(VERDICTS)
    drawn = overview.scorecard(rows)
    written = [" ".join(text.get_text().split()) for axes in drawn.axes for text in axes.texts]
    wanted = sorted(f"{row['claim']}: {measured(row)} {row['unit']}" for _, row in rows.iterrows())
    assert [text.split("; paper: ")[0] for text in sorted(written)] == wanted
    plt.close(drawn)


def test_figure_is_in_units_of_the_papers() -> None:
    drawn = overview.scorecard(ROWS)
    titles = [axes.get_title(loc="left") for axes in drawn.axes]
    assert titles == [
        "Sections 1 and 2: soft targets",
        "Section 3: MNIST",
        "Section 4: speech",
        "Section 5: specialists",
        "On other data",  # apart from its section
    ]
    bars = {title: axes.containers for title, axes in zip(titles, drawn.axes, strict=True)}
    centres = {title: [bar.lines[0].get_xdata()[0] for bar in each] for title, each in bars.items() if each}
    # The third has no figure of the paper's, that of the fourth is 0; the fifth lies beyond the axis.
    expected = {titles[1]: [1.5], titles[2]: [-0.5], titles[4]: [overview.WIDEST[1]]}
    assert centres == {title: pytest.approx(each) for title, each in expected.items()}
    ends = [bars[titles[n]][0].lines[2][0].get_segments()[0][:, 0].tolist() for n in (1, 2)]
    assert [sorted(each) for each in ends] == [pytest.approx([1.4, 1.6]), pytest.approx([-0.55, 0.5])]
    assert bars[titles[4]][0].lines[0].get_marker() == ">"
    names = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert set(names) == {f"{name} (1)" for name in ROWS["verdict"]}  # what none has is left out
    plt.close(drawn)


def test_every_claim_is_in_one_panel() -> None:
    rows = overview.headline()
    found = pd.concat(overview.panels(rows).values())
    assert sorted(found["id"]) == sorted(rows["id"])


def test_targets_are_those_of_the_claims() -> None:
    rows = overview.headline().set_index("id")
    assert rows.loc["mnist.plain", "target"] == "135 to 160"
    assert rows.loc["mnist.teacher", "target"] == "at most 72"
    assert set(rows.loc[rows["kind"] != "figure", "target"]) == {""}


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
