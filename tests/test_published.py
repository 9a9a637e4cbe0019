"""What is committed under results/paper, README and notebooks follows from the records and the code."""

import json
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from safetensors.torch import load_file

from distillation import overview, plans, publish
from distillation.datasets.common import REPOSITORY
from distillation.examples import Examples
from distillation.experiments import mnist
from distillation.headline import COLUMNS
from distillation.models import mlp
from distillation.paper import CLAIMS
from distillation.store import plain

PAPER = plans.profile("paper")
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


def test_headline_is_what_the_records_give(tmp_path: Path) -> None:
    assert publish.headline_csv(tmp_path).read_text() == (PAPER.results / "headline.csv").read_text()


def test_headline_has_every_claim_once_in_the_agreed_columns() -> None:
    rows = pd.read_csv(PAPER.results / "headline.csv")
    assert tuple(rows.columns) == COLUMNS
    assert sorted(rows["id"]) == sorted(CLAIMS)
    assert set(rows["verdict"]) <= {"reproduced", "partly", "not reproduced", "inconclusive"}
    assert set(rows["dataset"]) == {"mnist"}
    with_seeds = rows[rows["seeds"] > 1]
    assert ((with_seeds["low"] <= with_seeds["ours"]) & (with_seeds["ours"] <= with_seeds["high"])).all()


def test_readme_is_current() -> None:
    text = (REPOSITORY / "README.md").read_text()
    assert publish.readme(text, overview.readme_table(overview.headline())) == text


def test_readme_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lost its marks"):
        publish.readme("no table here", "")


def test_every_committed_record_belongs_to_the_plan_and_the_current_recipe() -> None:
    nets = {c for runs in (plans.section3(PAPER) | plans.section2(PAPER)).values() for c in runs}
    nets |= {net for c in nets if isinstance(c, mnist.Student) for net in mnist.members(c.teacher)}
    for experiment, configs in (("mnist", nets), ("gradients", set(plans.gradient_noise(PAPER)))):
        store = PAPER.store(experiment)
        assert {path.stem for path in store.folder.glob("*.json")} == {store.key(config) for config in configs}
        for config in configs:
            record = store.read(config)
            assert record["config"] == json.loads(json.dumps(plain(config)))
            assert record["environment"]["torch"]


def test_no_run_was_tested_on_images_it_was_chosen_on() -> None:
    held_out = plans.section3(PAPER)["hard weight, held out"]
    assert all(config.cases == "fit" and config.teacher.cases == "fit" for config in held_out)


@pytest.mark.parametrize(
    ("name", "logits", "sizes"),
    [
        ("teacher", "teacher_logits", (784, 1200, 1200, 10)),
        ("distilled", "student_logits", (784, 800, 800, 10)),
        ("plain", "plain_logits", (784, 800, 800, 10)),
    ],
)
def test_published_weights_give_the_published_logits(name: str, logits: str, sizes: tuple[int, ...]) -> None:
    examples = Examples.load(PAPER)
    dropout = {"input_dropout": 0.2, "hidden_dropout": 0.5} if name == "teacher" else {}
    model = mlp(sizes, **dropout)
    weights = load_file(PAPER.results / "models" / f"{name}.safetensors")
    model.load_state_dict({key: value.float() for key, value in weights.items()})
    found = model.eval()(mnist.as_floats(examples.images).reshape(len(examples.images), -1))
    published = getattr(examples, logits)
    assert (found - published).abs().max() < 0.02 * published.abs().max()
    assert (found.argmax(1) == published.argmax(1)).float().mean() > 0.98


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebooks_are_executed_at_profile_paper_and_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    text = path.read_text()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    (parameters,) = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert 'profile = "paper"' in parameters.source
    assert any(cell.outputs for cell in code)
    for output in (output for cell in code for output in cell.outputs):
        assert output.output_type != "error"
        assert output.get("name") != "stderr"
    for forbidden in (str(Path.home()), str(REPOSITORY), '"start_time"', '"papermill"'):
        assert forbidden not in text
