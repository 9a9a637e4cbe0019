"""The scorecard shows every claim with its figures and its verdict."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from distillation.commands import overview, scorecard
from distillation.commands.overview import measured, number
from distillation.commands.scorecard import VERDICTS

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
    found = scorecard.table(ROWS)
    page = "../results/paper/provenance.md"
    expected = {"a": "150 (140 to 160)", "b": "1 (3 to -1)", "c": "0.25", "d": "0"}
    assert found["ours"].tolist() == [f"[{text}]({page}#{name})" for name, text in expected.items()]
    assert found["paper"].tolist() == [100, -2, "", 0]
    assert found["run it again"].tolist()[1] == "`./run_all.sh paper 03`"
    assert found["notebook"][2] == "[04](04_specialists.ipynb)"
    assert [number(value) for value in (0.123456, 8.6667, 97.4653, 158.6)] == ["0.123", "8.67", "97.47", "159"]


def test_published_claims_are_all_there() -> None:
    rows = overview.headline()
    table = scorecard.table(rows)
    assert len(table) == len(rows)
    assert set(rows["verdict"]) <= set(VERDICTS)
    drawn = scorecard.figure(rows)
    (axes,) = drawn.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == rows["claim"].tolist()
    written = {text.get_text().split("  |  ")[0] for text in axes.texts}
    assert {measured(row) for _, row in rows.iterrows()} <= written
    plt.close(drawn)


def test_figure_is_in_units_of_the_papers() -> None:
    drawn = scorecard.figure(ROWS)
    (axes,) = drawn.axes
    bars = [container for container in axes.containers if len(container.lines[0].get_xdata())]
    centres = [container.lines[0].get_xdata()[0] for container in bars]
    assert centres == pytest.approx([1.5, -0.5])  # the third has no figure of the paper's, the fourth is 0
    ends = bars[0].lines[2][0].get_segments()[0][:, 0]
    assert ends.tolist() == pytest.approx([1.4, 1.6])
    ends = bars[1].lines[2][0].get_segments()[0][:, 0]
    assert sorted(ends.tolist()) == pytest.approx([-1.5, 0.5])
    names = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert names == ["reproduced (1)", "partly (1)", "not reproduced (1)", "inconclusive (1)", "context (0)"]
    plt.close(drawn)
