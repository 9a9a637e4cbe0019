"""Findings are computed one by one, when they are asked for, and tabulated as they are published."""

import dataclasses
import math
from types import SimpleNamespace

import pandas as pd
import pytest

from distillation.core.claims import COLUMNS, Claim, Finding, Findings
from distillation.core.statistics import above, estimate

RESULTS = SimpleNamespace(
    profile=SimpleNamespace(name="smoke", dataset="coins"), values=(3.0, 4.0, 5.0), questions={"heads": []}
)


class Found:
    """Computes findings, and notes for which claims."""

    def __init__(self) -> None:
        self.of: list[str] = []

    def __call__(self, results: SimpleNamespace, claim: Claim) -> Finding:
        self.of.append(claim.id)
        ours = estimate(results.values[:1] if claim.target is None else results.values)
        return Finding(ours, above(ours, *(claim.target or (0, 0))))


@pytest.fixture
def found() -> Found:
    return Found()


@pytest.fixture
def findings(found: Found) -> Findings:
    def claim(name: str, notebook: str, paper: float | str, target: tuple[float, float] | None = None) -> Claim:
        return Claim(name, notebook, "effect", ("heads",), f"about {name}", "heads", paper, found, target)

    return Findings(
        (claim("tails", "05", "1 to 2", (0.5, 1)), claim("heads", "02", 2.5), claim("edge", "05", "", (9, 10))), RESULTS
    )


def test_a_finding_is_computed_from_the_results_by_its_own_claim_when_it_is_asked_for(
    findings: Findings, found: Found
) -> None:
    assert [claim.id for claim in findings.asked] == ["tails", "heads", "edge"]
    assert findings.claim("heads").paper == 2.5
    assert found.of == []
    assert findings["tails"] == Finding(estimate([3, 4, 5]), "reproduced")
    assert found.of == ["tails"]
    assert findings["edge"].verdict == "not reproduced"
    assert found.of == ["tails", "edge"]


def test_claims_whose_questions_the_plan_does_not_ask_are_passed_over(findings: Findings) -> None:
    (first, *rest) = findings.claims
    tails = dataclasses.replace(first, questions=("heads", "tails"))
    fewer = Findings((tails, *rest, dataclasses.replace(first, text="asked")), RESULTS)
    assert [claim.text for claim in fewer.asked] == ["about heads", "about edge", "asked"]
    assert fewer.claim("tails").text == "asked"
    later = dataclasses.replace(first, text="later")
    assert [claim.text for claim in Findings((first, *rest, later), RESULTS).asked] == [
        "later",
        "about heads",
        "about edge",
    ]
    assert fewer.table()["id"].tolist() == ["heads", "edge", "tails"]


def test_claims_are_looked_up_by_their_ids(findings: Findings) -> None:
    assert [findings.claim(claim.id) for claim in findings.asked] == list(findings.claims)
    assert findings.claim("edge").text == "about edge"


def test_table_has_a_row_for_each_claim_in_order(findings: Findings) -> None:
    table = findings.table()
    assert tuple(table.columns) == COLUMNS
    assert COLUMNS == ("id", "paper", "ours", "low", "high", "seeds", "dataset", "verdict", "notebook")
    assert table["id"].tolist() == ["tails", "heads", "edge"]
    assert table["paper"].tolist() == ["1 to 2", 2.5, ""]
    row, ours = table.iloc[0], estimate(RESULTS.values)
    assert (row["ours"], row["low"], row["high"], row["seeds"]) == (4, ours.low, ours.high, 3)
    assert (row["dataset"], row["verdict"]) == ("coins", "reproduced")
    assert row["notebook"] == "05_soft_targets_as_regularizers"
    alone = table.iloc[1]
    assert (alone["ours"], alone["seeds"], alone["verdict"]) == (3, 1, "inconclusive")
    assert math.isnan(alone["low"])


def test_table_of_a_notebook_computes_its_claims_alone(findings: Findings, found: Found) -> None:
    table = findings.table("05")
    assert found.of == ["tails", "edge"]
    pd.testing.assert_frame_equal(table, findings.table().iloc[[0, 2]].reset_index(drop=True))
    empty = findings.table("01")
    assert (len(empty), tuple(empty.columns)) == (0, COLUMNS)
