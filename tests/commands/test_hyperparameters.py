"""The table of hyper-parameters says what the plans say."""

import pandas as pd
import pytest

from distillation.commands import hyperparameters
from distillation.commands.hyperparameters import COLUMNS, layers, listed, settings
from distillation.core.figures import PUBLISHED
from distillation.core.training import Optimisation
from distillation.mnist import plan as mnist_plan
from distillation.mnist.measurements import EnsembleErrors
from distillation.mnist.nets import Net
from distillation.specialists import plan as specialists_plan
from distillation.speech import plan as speech_plan
from distillation.speech.alignment import Alignment
from distillation.speech.nets import Ensemble


@pytest.mark.parametrize("profile", ["smoke", "paper"])
def test_every_question_has_its_row(profile: str) -> None:
    table = hyperparameters.table(profile)
    assert tuple(table.columns) == ("notebook", "runs", "number", *COLUMNS)
    assert not table.duplicated(["notebook", "runs"]).any()
    by_notebook = {notebook: set(rows["runs"]) for notebook, rows in table.groupby("notebook")}
    plan = mnist_plan.plan(mnist_plan.profile(profile)) | speech_plan.plan(speech_plan.profile(profile))
    for notebook, questions in plan.items():
        untrained = (Ensemble, Alignment, EnsembleErrors)
        trained = {name for name, runs in questions.items() if not isinstance(runs[0], untrained)}
        assert by_notebook[notebook] == trained
    pictures = specialists_plan.profile(profile)
    section5 = {name for name, runs in specialists_plan.section5(pictures).items() if hasattr(runs[0], "first")}
    combined = {f"{kind}: {name}" for kind in ("generalists", "specialists") for name in section5}
    single = {"trained on", *(["ladder"] if pictures.ladder else [])}
    assert by_notebook["04"] == combined | single
    shared = {"specialists", "trained on"}  # with notebook 04
    assert by_notebook["06"] == set(specialists_plan.open_questions(pictures)) - shared


def test_published_table_is_current() -> None:
    published = pd.read_csv(PUBLISHED / "tables" / "hyperparameters.csv", dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(hyperparameters.table("paper"), published)


def test_rows_by_hand() -> None:
    table = hyperparameters.table("paper").set_index(["notebook", "runs"])
    teacher = table.loc[("02", "teacher")]
    assert (teacher["net"], teacher["temperature"]) == ("2x1200", "")
    assert teacher["other"] == "max-norm 3.5, jitter 2, input dropout 0.2, hidden dropout 0.5"
    assert table.loc[("04", "specialists: specialists"), "net"] == table.loc[("06", "q"), "net"] == "8-16-32-64"
    assert table.loc[("04", "ladder"), "net"].count(";") == 2
    for rows in ("generalists: cifar-100: specialists", "specialists: cifar-100: specialists"):
        assert table.loc[("04", rows), "net"] == "64-128-256"
        assert "mirrored" in table.loc[("04", rows), "other"]  # a specialist is trained as the generalist is
    assert table.loc[("05", "hard, constant rate"), "other"] == "constant rate"
    assert table.loc[("03", "an4: sizes"), "net"].endswith("8x2560")
    of_hard_targets_alone = table.loc[("04", "trained on"), ["temperature", "hard targets' weight"]]
    assert of_hard_targets_alone.tolist() == ["", ""]
    assert table.loc[("01", "size"), "epochs"] == "10 to 1,000"
    profile = specialists_plan.profile("paper")
    assert table.loc[("06", "temperature"), "temperature"] == "; ".join(map(str, profile.temperatures))


def test_settings_and_lists() -> None:
    net = Net(hidden=(30, 20), optimisation=Optimisation(7, 64, 0.05, precision="float32"))
    found = settings(net)
    assert found["net"] == layers((30, 20)) == "30-20"
    assert (found["epochs"], found["batch size"], found["learning rate"]) == (7, 64, 0.05)
    assert (found["temperature"], found["other"]) == (None, "float32")
    assert listed([1, 1, None, 2.5]) == "1; 2.5"
    assert listed([5.0, 1.0, 4.0, 2.0, 3.0]) == "1 to 5"
    assert listed([None]) == ""
