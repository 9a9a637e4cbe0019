"""What is committed under results/paper, README and notebooks follows from the records and the code."""

import json
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from safetensors.torch import load_file

from distillation.commands import publish
from distillation.commands.published import Published
from distillation.core.claims import COLUMNS
from distillation.core.data import REPOSITORY
from distillation.core.models import mlp
from distillation.core.paper import CLAIMS
from distillation.core.store import plain
from distillation.core.training import logits_of
from distillation.mnist import nets as mnist
from distillation.mnist import plan as plans
from distillation.mnist.claims import Runs
from distillation.mnist.examples import Examples
from distillation.specialists import plan as specialist_plans
from distillation.specialists.examples import BROKEN, FIXED, PictureExamples
from distillation.speech import alignment
from distillation.speech import plan as speech_plans
from distillation.speech.examples import WEIGHTS, SpeechExamples
from distillation.speech.recogniser.filterbanks import Features, windows_of

PAPER = plans.profile("paper")
SPEECH = speech_plans.speech_profile("paper")
PICTURES = specialist_plans.specialist_profile("paper")
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


def test_headline_is_what_the_records_give(tmp_path: Path) -> None:
    assert publish.headline_csv(tmp_path).read_text() == (PAPER.results / "headline.csv").read_text()


def test_headline_has_every_claim_once_in_the_agreed_columns() -> None:
    rows = pd.read_csv(PAPER.results / "headline.csv")
    assert tuple(rows.columns) == COLUMNS
    assert sorted(rows["id"]) == sorted(CLAIMS)
    assert set(rows["verdict"]) <= {"reproduced", "partly", "not reproduced", "inconclusive", "context"}
    sections = {"speech": "an4", "reg": "an4", "specialists": "cifar-100", "open": "cifar-100"}
    assert (rows["dataset"] == rows["id"].str.split(".").str[0].map(sections).fillna("mnist")).all()
    with_seeds = rows[rows["seeds"] > 1]
    assert ((with_seeds["low"] <= with_seeds["ours"]) & (with_seeds["ours"] <= with_seeds["high"])).all()


def test_gradients_are_those_of_nets_that_have_learnt() -> None:
    assert Runs(PAPER).gradients()["percent"].max() < 10


def test_readme_is_current() -> None:
    text = (REPOSITORY / "README.md").read_text()
    assert publish.readme(text) == text


def test_readme_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lost its marks"):
        publish.readme("no table here")


def test_every_committed_record_belongs_to_the_plan_and_the_current_recipe() -> None:
    published = Published()
    assert {path.name for path in published.records.iterdir()} == set(published.runs())
    for experiment, configs in published.runs().items():
        store = published.store(experiment)
        assert {path.stem for path in store.folder.glob("*.json")} == {store.key(config) for config in configs}
        for config in configs:
            record = store.read(config)
            assert record["config"] == json.loads(json.dumps(plain(config)))
            assert record["environment"]["torch"]
            assert json.loads(store.path(config).read_text())["digest"]


def test_the_frozen_alignment_is_published_whole() -> None:
    record = SPEECH.store("alignment").read(SPEECH.alignment)["metrics"]
    labels = alignment.read(SPEECH.alignment, SPEECH.store("alignment"))
    assert {name: len(found) for name, found in labels.of.items()} == record["frames"]
    assert len(labels.states) == record["states"]
    assert all(int(found.min()) >= 0 and int(found.max()) < record["states"] for found in labels.of.values())
    assert sum(utterance["frames"] for utterance in record["test_utterances"]) == record["frames"]["test"]


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_published_acoustic_weights_fit_the_published_examples(name: str) -> None:
    examples = SpeechExamples.load(SPEECH)
    weights = load_file(SPEECH.results / "models" / f"{name}.safetensors")
    hidden = SPEECH.small if "small" in name else SPEECH.hidden
    model = mlp((1040, *hidden, len(examples.phone_of)))
    model.load_state_dict({key: value.float() for key, value in weights.items()})
    right = 0.0
    for example in examples.utterances:
        windows = windows_of(Features(example.features.float(), (len(example.features),)))
        probabilities = logits_of(model, windows).softmax(-1)
        right += (probabilities.argmax(-1) == example.labels).float().mean().item() / len(examples.utterances)
        if WEIGHTS[name] in example.posteriors:
            by_phone = probabilities.new_zeros(len(probabilities), len(examples.phones))
            by_phone.index_add_(1, examples.phone_of, probabilities)
            published = example.posteriors[WEIGHTS[name]].float()
            assert (by_phone - published).abs().mean() < 0.01
    assert right > 0.5


def test_published_pictures_are_those_whose_answer_the_specialists_change() -> None:
    examples = PictureExamples.load(PICTURES)
    assert examples.pictures.shape[1:] == (3, 32, 32)
    before, after = (found.argmax(1) == examples.labels for found in (examples.generalist, examples.combined))
    put_right = [True] * FIXED + [False] * BROKEN
    assert after.tolist() == put_right
    assert before.tolist() == [not right for right in put_right]
    for found in (examples.generalist, examples.combined):
        assert found.sum(1).allclose(found.new_ones(len(found)))


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
