"""The claims of sections 5 to 8: what each is found from, and its verdict, from records written by hand."""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

from distillation.core.claims import COLUMNS, Findings
from distillation.core.statistics import estimate
from distillation.core.store import StoreError
from distillation.core.sweep import with_all_they_start_from
from distillation.specialists import plan
from distillation.specialists.claims import CLAIMS, control_note
from distillation.specialists.combination import Combination
from distillation.specialists.comparisons import (
    against_mixture,
    gain_kept,
    kl_over,
    over_random_subsets,
    over_training_on,
    rival_mixture,
    soft_advantage,
)
from distillation.specialists.results import MIXTURES, SpecialistResults, slope


@pytest.fixture
def findings(made_up: SpecialistResults) -> Findings:
    return Findings(CLAIMS, made_up)


def test_table_has_a_row_per_claim(
    made_up: SpecialistResults, findings: Findings, outcome: Callable, write: Callable
) -> None:
    said = {}
    for number, config in enumerate(made_up.configs("specialists")):
        covered = {"specialists": 1, "fixed": 17 if number else 30}
        said[config] = outcome({"specialists": 0}, covered, conditional=60.0)
    write(said | {config: {"accuracy": 81.0 + config.seed / 10} for config in made_up.configs("q")})
    found = findings.table()
    assert list(found) == list(COLUMNS)
    assert set(found["dataset"]) == {"fonts (embedded)"}
    values = {
        f"specialists.{system}.{value}" for system in ("baseline", "combined") for value in ("accuracy", "conditional")
    }
    named = ("relative_gain", "more_is_better", "clusters", "over_training_on", "kl_over_own_answer")
    effects = {f"specialists.{name}" for name in named}
    assert set(found["id"]) == values | effects | {"open.soft_specialists", "open.moe", "open.distil_back"}
    assert not found["id"].duplicated().any()
    by_id = found.set_index("id")
    assert by_id.loc["specialists.baseline.accuracy", ["ours", "paper"]].tolist() == [80, 25]
    assert by_id.loc["specialists.combined.accuracy", "ours"] == pytest.approx(80 + (3 + 1.7 + 1.7) / 3)
    assert by_id.loc["specialists.baseline.conditional", "ours"] == 60
    assert by_id.loc["specialists.combined.conditional", "ours"] == pytest.approx(61)
    gain = estimate([100 * 3 / 80, 100 * 1.7 / 80, 100 * 1.7 / 80])
    measured = by_id.loc["specialists.relative_gain", ["ours", "low", "high"]].tolist()
    assert measured == pytest.approx([gain.mean, gain.low, gain.high])
    assert by_id.loc["specialists.more_is_better", "ours"] == slope(made_up.table4()).mean
    assert by_id.loc["open.distil_back", "ours"] == gain_kept(made_up).mean
    assert by_id.loc["open.moe", "ours"] == against_mixture(made_up, rival_mixture(made_up)).mean
    assert by_id.loc["specialists.clusters", "ours"] == over_random_subsets(made_up).mean
    assert by_id.loc["specialists.over_training_on", "ours"] == over_training_on(made_up).mean
    assert by_id.loc["specialists.kl_over_own_answer", "ours"] == kl_over(made_up, "own answer").mean
    assert by_id.loc["open.soft_specialists", "ours"] == soft_advantage(made_up, min(made_up.profile.shares)).mean
    for notebook, start in {"04": "specialists.", "06": "open."}.items():
        part = findings.table(notebook)
        expected = found[found["id"].str.startswith(start)].reset_index(drop=True)
        pd.testing.assert_frame_equal(part, expected, check_dtype=False)
        assert set(part["notebook"].str[:2]) == {notebook}


@pytest.mark.parametrize(("fixed", "verdict"), [(30, "reproduced"), (8, "partly"), (-8, "not reproduced")])
def test_verdict_on_the_relative_gain(
    fixed: int, verdict: str, made_up: SpecialistResults, findings: Findings, outcome: Callable, write: Callable
) -> None:
    covered = {"specialists": 1, "fixed": max(fixed, 0), "broken": max(-fixed, 0)}
    write(dict.fromkeys(made_up.configs("specialists"), outcome({"specialists": 0}, covered)))
    assert findings["specialists.relative_gain"].verdict == verdict
    steeper = "reproduced" if fixed > 0 else "not reproduced"
    assert findings["specialists.more_is_better"].verdict == steeper


@pytest.mark.parametrize(("kept", "verdict"), [(4.0, "yes"), (1.0, "partly"), (-0.5, "no")])
def test_verdict_on_the_gain_kept(
    kept: float, verdict: str, made_up: SpecialistResults, findings: Findings, write: Callable
) -> None:
    # Specialists gain 5 points at n = 3.
    write({config: {"accuracy": 80.0 + kept} for config in made_up.configs("q")})
    assert findings["open.distil_back"].verdict == verdict


@pytest.mark.parametrize(("spread", "verdict"), [(1.2, "yes"), (1.6, "unclear")])
def test_a_mixture_whose_gate_does_not_divide_the_work_leaves_the_question_open(
    spread: float, verdict: str, made_up: SpecialistResults, findings: Findings, outcome: Callable, write: Callable
) -> None:
    said = {}
    for number, config in enumerate(made_up.configs("few specialists")):
        said[config] = outcome({"specialists": 0}, {"specialists": 1, "fixed": 30 + number})
    metrics = {"accuracy": 80.0, "parameters": 310, "expert_passes": 900, "gate_perplexity": spread}
    write(said | {config: metrics for name in MIXTURES for config in made_up.configs(name)})
    assert made_up.profile.rivals[0] + 1 == 3
    assert findings["open.moe"].verdict == verdict


def test_missing_records_name_the_command_that_makes_them(findings: Findings) -> None:
    with pytest.raises(StoreError, match=r"is missing: run \./run_all\.sh made up"):
        findings.table()


def test_every_claim_follows_from_questions_of_the_plan() -> None:
    questions = {name for asked in plan.plan(plan.PAPER).values() for name in asked}
    for claim in CLAIMS:
        assert claim.questions
        assert set(claim.questions) <= questions


def test_claims_on_the_second_data_set_are_those_on_the_first_from_its_own_records(
    made_up: SpecialistResults, outcome: Callable, write: Callable
) -> None:
    profile = replace(made_up.profile, beside=replace(plan.PAPER.beside, number=2, seeds=2))
    runs = SpecialistResults(profile, plan.plan(profile))
    write({})
    for config in with_all_they_start_from(runs.configs("cifar-100: specialists"), runs.store):
        if isinstance(config, Combination):
            fixed = 40 if config.first.seed else 20
            found = outcome({"specialists": 0}, {"specialists": 1, "fixed": fixed})
            runs.store.write(config, {"metrics": found, "history": [], "seconds": 1.0})
    rows = Findings(CLAIMS, runs).table().set_index("id")
    for name in ("relative_gain", "more_is_better"):
        assert rows.loc[f"specialists.{name}", "dataset"] == "fonts (embedded)"
        assert rows.loc[f"specialists.{name}.cifar100", "dataset"] == "cifar-100"
    assert rows.loc["specialists.relative_gain.cifar100", "ours"] == pytest.approx((2.5 + 5) / 2)
    assert rows.loc["specialists.more_is_better.cifar100", "ours"] == pytest.approx((5 + 10) / 2)
    assert rows.loc["specialists.relative_gain.cifar100", "seeds"] == 2


@pytest.mark.parametrize(("longer", "verdict"), [(79.0, "yes"), (83.0, "no")])
def test_answers_on_training_on(
    longer: float, verdict: str, made_up: SpecialistResults, findings: Findings, outcome: Callable, write: Callable
) -> None:
    covered = {"specialists": 1, "fixed": 20}
    said = {
        config: outcome({"specialists": 0}, covered | {"fixed": 20 + n})
        for n, config in enumerate(made_up.configs("specialists"))
    }
    write(said | {config: {"accuracy": longer} for config in made_up.configs("trained on")})
    assert findings["specialists.over_training_on"].verdict == verdict
    note = control_note(made_up)
    assert note.startswith("Specialists add 2.10 (1.85 to 2.35) points to a generalist of 80.0")
    assert f"adds {longer - 80:.2f}" in note
    assert "(3 seeds, notebook 04)" in note


@pytest.mark.parametrize(("own", "verdict"), [(4, "no"), (40, "yes")])
def test_answers_on_the_own_answer(
    own: int, verdict: str, made_up: SpecialistResults, findings: Findings, outcome: Callable, write: Callable
) -> None:
    said = {}
    for n, config in enumerate(made_up.configs("specialists")):
        metrics = outcome({"specialists": 0}, {"specialists": 1, "fixed": 20 + n, "broken": 0})
        for row in metrics["test"]["combined"]:
            if row["by"] == "own answer":
                row["accuracy"] = 84.0 - own / 10 + (0.1 * n if own > 4 else 0)
        said[config] = metrics
    write(said)
    found = findings["specialists.kl_over_own_answer"]
    assert found.verdict == verdict
    assert (found.ours.mean > 0) == (verdict == "yes")


@pytest.mark.parametrize(("fixed", "verdict"), [(200, "reproduced"), (0, "not reproduced"), (100, "inconclusive")])
def test_verdict_on_clusters(
    fixed: int, verdict: str, made_up: SpecialistResults, findings: Findings, outcome: Callable, write: Callable
) -> None:
    (random,) = (config for config in made_up.configs("methods") if config.assignment.method == "random")
    said = {random: outcome({"specialists": 0}, {"specialists": 1, "fixed": 100})}
    said[made_up.configs("specialists")[0]] = outcome({"specialists": 0}, {"specialists": 1, "fixed": fixed})
    write(said)
    assert findings["specialists.clusters"].verdict == verdict


def test_a_share_of_no_gain_is_unclear(
    made_up: SpecialistResults, findings: Findings, outcome: Callable, write: Callable
) -> None:
    gone = outcome({"specialists": 0}, {"specialists": 1, "broken": 60})
    said = dict.fromkeys(made_up.configs("specialists"), gone)
    write(said | {config: {"accuracy": 70.0} for config in made_up.configs("q")})
    assert findings["open.distil_back"].ours.mean > 50
    assert findings["open.distil_back"].verdict == "unclear"
