"""Rows of the tables of sections 2 and 3, from tiny nets on scikit-learn's digits."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import pytest

from distillation.core.sweep import sweep
from distillation.core.training import Optimisation
from distillation.mnist import results
from distillation.mnist.measurements import EnsembleErrors, GradientNoiseAlong
from distillation.mnist.nets import Ensemble, Net, Student
from distillation.mnist.profiles import SMOKE
from distillation.mnist.results import MnistResults

BRIEF = Optimisation(1, 128)
TEACHER = Net("digits", (12,), optimisation=BRIEF)
STUDENT = Student(TEACHER, (8,), optimisation=BRIEF)
WILD = dataclasses.replace(STUDENT, optimisation=dataclasses.replace(BRIEF, learning_rate=1e20))
OMITTING = dataclasses.replace(STUDENT, omit=(3, 5))
FIT = dataclasses.replace(TEACHER, cases="fit", optimisation=Optimisation(2, 128))
HELD_OUT = Student(FIT, (8,), cases="fit", hard_weight=0.2, optimisation=Optimisation(2, 128), seed=3)
NOISE = GradientNoiseAlong(dataclasses.replace(STUDENT, seed=2), (0, 25, 50), cases=30)
OF_HARD = GradientNoiseAlong(Net("digits", (8,), optimisation=BRIEF, seed=2), (0, 25, 50), cases=30)
SHORTER = dataclasses.replace(OMITTING, optimisation=Optimisation(1, 256), seed=1)
MEMBERS = (TEACHER, dataclasses.replace(TEACHER, seed=1))
MEANS = [EnsembleErrors(Ensemble(MEMBERS, mean)) for mean in ("arithmetic", "geometric")]
PLAN = {
    "01": {"gradients along training": [OF_HARD, NOISE]},
    "02": {
        "some": [WILD, TEACHER, OMITTING],
        "hard weight, held out": [HELD_OUT],
        "no 3s": [OMITTING],
        "length": [SHORTER, STUDENT],
        "means": MEANS,
    },
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MnistResults]:
    """A finished plan."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILLATION_RESULTS", str(tmp_path_factory.mktemp("results")))
        patch.setenv("DISTILLATION_JOBS", "1")
        found = MnistResults(SMOKE, PLAN)
        sweep([config for configs in found.questions.values() for config in configs], found.store)
        yield found


pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the run that diverges


def test_table_has_a_row_per_run_with_its_settings(runs: MnistResults) -> None:
    found, metrics = runs["some"], [runs.store.metrics(config) for config in runs.configs("some")]
    assert found["targets"].tolist() == ["soft", "hard", "soft"]
    assert found["width"].tolist() == [8, 12, 8]
    assert found["omit"].tolist() == [(), None, (3, 5)]
    assert found["learning_rate"].tolist() == [1e20, 0.2, 0.2]
    assert found["errors"].tolist()[1:] == [each["errors"] for each in metrics[1:]]
    assert found["train_errors"].tolist()[1:] == [each["train_errors"] for each in metrics[1:]]
    assert found["percent"].tolist()[1:] == [each["errors"] / 5 for each in metrics[1:]]
    assert runs.errors("some", width=12) == [metrics[1]["errors"]]


def test_a_run_that_diverged_has_a_row_without_errors(runs: MnistResults) -> None:
    assert runs["some"]["percent"].isna().tolist() == [True, False, False]


def test_a_student_without_some_classes_has_the_biases_in_its_row(runs: MnistResults) -> None:
    bias = runs.store.metrics(OMITTING)["bias"]
    row = runs["some"].iloc[2]
    assert row["errors_prior"] == bias["prior"]["errors"]
    assert row["errors_on_omitted_none"] == bias["none"]["errors_on_omitted"]
    assert row["shift_test"] == bias["test"]["shift"]
    assert row["omitted_cases"] == bias["omitted_cases"]


def test_gradients_have_a_row_per_kind_of_targets_and_step(runs: MnistResults) -> None:
    found, hard, soft = runs.gradients(), *(runs.store.metrics(each)["along"] for each in (OF_HARD, NOISE))
    np.testing.assert_equal(found["temperature"].tolist(), 3 * [np.nan] + 3 * [20.0])
    assert found["ratio"].tolist() == [row["ratio"] for row in (*hard, *soft)]
    assert found["epochs"].tolist() == 2 * [0, 0.5, 1]
    assert set(found["seed"]) == {2}
    both = [math.prod(row["ratio"] for row in rows) ** (1 / 3) for rows in (soft, hard)]
    assert results.gradient_ratio(runs).mean == pytest.approx(both[0] / both[1])
    assert results.gradient_ratio(runs, 20, 0, 0).mean == pytest.approx(soft[0]["ratio"] / hard[0]["ratio"])
    norms = [math.sqrt(rows[0]["signal"]) for rows in (soft, hard)]
    assert results.norm_ratio(runs, 20)[2] == pytest.approx(norms[0] / norms[1])


def test_held_out_curves_have_a_row_per_epoch(runs: MnistResults) -> None:
    found, record = runs.held_out_curves(), runs.store.read(HELD_OUT)
    assert found["epoch"].tolist() == [1, 2]
    assert found["percent"].tolist() == [100 * row["held_out_errors"] / (6485 // 6) for row in record["history"]]
    assert set(zip(found["hard_weight"], found["seed"], strict=True)) == {(0.2, 3)}


def test_shorter_trainings_are_those_of_the_same_transfer_set(runs: MnistResults) -> None:
    found = results.by_length(runs, "no 3s")
    assert found["omit"].tolist() == [(3, 5)] * 2
    assert found["seed"].tolist() == [1, 0]


def test_what_ensembles_gain_is_over_their_own_members(runs: MnistResults) -> None:
    arithmetic, geometric = (runs.store.metrics(config)["errors"] for config in MEANS)
    assert results.errors_of_means(runs, "arithmetic") == [arithmetic]
    assert results.errors_of_means(runs, "geometric") == [geometric]
    members = [runs.store.metrics(net)["errors"] for net in MEMBERS]
    assert results.ensemble_gain(runs).mean == sum(members) / 2 - arithmetic
