"""What is committed under results/paper and notebooks/ belongs together: records, weights, examples, notebooks."""

import json
from pathlib import Path

import nbformat
import pytest
from safetensors.torch import load_file

from distillation.commands import wings
from distillation.commands.notebooks import NOTEBOOKS
from distillation.core.data import REPOSITORY
from distillation.core.models import mlp
from distillation.core.store import Store, plain
from distillation.core.sweep import with_all_they_start_from
from distillation.core.training import logits_of
from distillation.mnist import nets as mnist_nets
from distillation.mnist import results as mnist_results
from distillation.mnist.examples import Examples
from distillation.specialists import results as specialists_results
from distillation.specialists.examples import BROKEN, CLASSES, FIXED, LETTERS, SUBSETS, PictureExamples
from distillation.speech import alignment
from distillation.speech import results as speech_results
from distillation.speech.examples import NAME, SYSTEMS, WEIGHTS, SpeechExamples
from distillation.speech.recogniser.filterbanks import Features, windows_of
from distillation.speech.results import kept_by_length, lengths, rates

MNIST, SPEECH, PICTURES = (wing.results("paper") for wing in (mnist_results, speech_results, specialists_results))
COMMITTED = sorted(NOTEBOOKS.glob("*.ipynb"))


def test_every_committed_record_belongs_to_the_plan_and_the_current_recipe() -> None:
    store = Store.of("paper")
    runs = with_all_they_start_from((config for _, _, config in wings.planned()), store)
    assert {store.path(config) for config in runs} == set(store.folder.glob("*/*.json"))
    assert {path.name for path in store.folder.iterdir() if path.is_dir()} == {config.experiment for config in runs}
    for config in runs:
        record = store.read(config)
        assert record["config"] == json.loads(json.dumps(plain(config)))
        assert record["environment"]["torch"]
        assert json.loads(store.path(config).read_text())["digest"]


@pytest.mark.parametrize("question", [name for name in SPEECH.questions if name.endswith(("alignment", "labels"))])
def test_the_frozen_alignments_are_published_whole(question: str) -> None:
    (frozen,) = SPEECH.configs(question)
    record = SPEECH.store.metrics(frozen)
    labels = alignment.read(frozen, SPEECH.store)
    assert {name: len(found) for name, found in labels.of.items()} == record["frames"]
    assert len(labels.states) == record["states"]
    assert all(int(found.min()) >= 0 and int(found.max()) < record["states"] for found in labels.of.values())
    assert sum(utterance["frames"] for utterance in record["test_utterances"]) == record["frames"]["test"]


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_published_acoustic_weights_fit_the_published_examples(name: str) -> None:
    examples = SpeechExamples.load(SPEECH)
    weights = load_file(SPEECH.folder / "models" / f"{name}.safetensors")
    hidden = SPEECH.profile.small if "small" in name else SPEECH.profile.hidden
    model = mlp((1040, *hidden, len(examples.phone_of)))
    model.load_state_dict({key: value.float() for key, value in weights.items()})
    right = 0.0
    for example in examples.utterances:
        windows = windows_of(Features(example.features.float(), (len(example.features),)))
        probabilities = logits_of(model, windows).softmax(-1)
        right += (probabilities.argmax(-1) == example.labels).float().mean().item() / len(examples.utterances)
        for system in {system for system, question in SYSTEMS[NAME].items() if question == WEIGHTS[name]}:
            by_phone = probabilities.new_zeros(len(probabilities), len(examples.phones))
            by_phone.index_add_(1, examples.phone_of, probabilities)
            published = example.posteriors[system].float()
            assert (by_phone - published).abs().mean() < 0.01
    assert right > 0.5


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_section_6_takes_the_lengths_that_are_best_on_development(kind: str) -> None:
    for runs in filter(None, (SPEECH, SPEECH.beside)):
        found = lengths(runs, kind)
        best = found[found["best"]].set_index("share")["epochs"]
        assert len(best) >= 1
        for of in runs.profile.section6.shares:
            assert best.get(of.share, getattr(of, kind).epochs) == getattr(of, kind).epochs


def test_section_4_takes_the_length_that_is_best_on_development_and_rates_that_bear_training() -> None:
    for runs in (each for each in (SPEECH, SPEECH.beside) if "length" in each.questions):
        found = kept_by_length(runs)
        assert found.loc[found["development"].idxmax(), "epochs"] == runs.profile.longer.epochs
        taken = runs["temperature"].groupby("temperature")["learning_rate"].first()
        assert all(rates(runs).loc[rate, temperature] > 0 for temperature, rate in taken.items())  # diverged: NaN


def test_published_pictures_are_those_whose_answer_the_specialists_change() -> None:
    examples = PictureExamples.load(PICTURES)
    assert examples.pictures.shape[1:] == (1, 32, 32)
    assert examples.alike.shape == (SUBSETS, CLASSES, len(LETTERS), 32, 32)
    assert len(examples.alike_classes.unique()) > SUBSETS
    before, after = (found.argmax(1) == examples.labels for found in (examples.generalist, examples.combined))
    put_right = [True] * FIXED + [False] * BROKEN
    assert after.tolist() == put_right
    assert before.tolist() == [not right for right in put_right]
    for found in (examples.generalist, examples.combined):
        assert found.sum(1).allclose(found.new_ones(len(found)))


def test_the_published_generalist_is_the_rung_that_the_rule_takes() -> None:
    rung, chosen = specialists_results.chosen_rung(PICTURES.ladder()), PICTURES.profile.generalist
    assert (rung["widths"], rung["epochs"]) == (chosen.widths, chosen.optimisation.epochs)


def test_no_run_was_tested_on_images_it_was_chosen_on() -> None:
    held_out = MNIST.configs("hard weight, held out")
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
    examples = Examples.load(MNIST)
    dropout = {"input_dropout": 0.2, "hidden_dropout": 0.5} if name == "teacher" else {}
    model = mlp(sizes, **dropout)
    weights = load_file(MNIST.folder / "models" / f"{name}.safetensors")
    model.load_state_dict({key: value.float() for key, value in weights.items()})
    found = model.eval()(mnist_nets.as_floats(examples.images).reshape(len(examples.images), -1))
    published = getattr(examples, logits)
    assert (found - published).abs().max() < 0.02 * published.abs().max()
    assert (found.argmax(1) == published.argmax(1)).float().mean() > 0.98


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
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
