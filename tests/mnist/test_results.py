"""Rows of the tables of sections 2 and 3, from tiny nets on scikit-learn's digits."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from distillation.core.sweep import sweep
from distillation.core.training import Optimisation
from distillation.mnist.measurements import GradientNoise
from distillation.mnist.nets import Net, Student
from distillation.mnist.profiles import SMOKE
from distillation.mnist.results import MnistResults

BRIEF = Optimisation(1, 128)
TEACHER = Net("digits", (12,), optimisation=BRIEF)
STUDENT = Student(TEACHER, (8,), optimisation=BRIEF)
WILD = dataclasses.replace(STUDENT, optimisation=dataclasses.replace(BRIEF, learning_rate=1e20))
OMITTING = dataclasses.replace(STUDENT, omit=(3, 5))
FIT = dataclasses.replace(TEACHER, cases="fit", optimisation=Optimisation(2, 128))
HELD_OUT = Student(FIT, (8,), cases="fit", hard_weight=0.2, optimisation=Optimisation(2, 128), seed=3)
NOISE = GradientNoise(STUDENT, (1.0, 20.0), cases=30, seed=2)
PLAN = {
    "01": {"gradient noise": [NOISE]},
    "02": {"some": [WILD, TEACHER, OMITTING], "hard weight, held out": [HELD_OUT]},
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


def test_gradients_have_a_row_per_kind_of_targets(runs: MnistResults) -> None:
    found, metrics = runs.gradients(), runs.store.metrics(NOISE)
    np.testing.assert_equal(found["temperature"].tolist(), [np.nan, 1.0, 20.0])
    assert found["ratio"].tolist() == [metrics["hard"]["ratio"], *(row["ratio"] for row in metrics["soft"])]
    assert set(found["seed"]) == {2}
    assert set(found["percent"]) == {100 * metrics["train_errors"] / 30}


def test_held_out_curves_have_a_row_per_epoch(runs: MnistResults) -> None:
    found, record = runs.held_out_curves(), runs.store.read(HELD_OUT)
    assert found["epoch"].tolist() == [1, 2]
    assert found["percent"].tolist() == [100 * row["held_out_errors"] / (6485 // 6) for row in record["history"]]
    assert set(zip(found["hard_weight"], found["seed"], strict=True)) == {(0.2, 3)}
