"""The acoustic models, their ensembles and their students, with tiny nets on a little speech."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from small_speech import few_speakers
from torch import Tensor, nn

from distillation.core.store import Store, StoreError
from distillation.core.sweep import finish, sweep
from distillation.core.training import Optimisation, device, logits_of
from distillation.speech import alignment, nets
from distillation.speech.alignment import Alignment, log_posteriors
from distillation.speech.data import SAMPLE_RATE
from distillation.speech.measurements import GradientNoise
from distillation.speech.nets import (
    AcousticModel,
    Config,
    Constant,
    Ensemble,
    Stretched,
    Student,
    Transfer,
    at_speed,
    at_speeds,
    chosen_utterances,
    soft_targets,
    stretched,
)
from distillation.speech.recogniser import decoding
from distillation.speech.recogniser.corpus import Corpus, Part
from distillation.speech.recogniser.flat_start import Rounds
from distillation.speech.recogniser.scoring import GRID, Labels
from distillation.speech.results import REPORTED

ALIGNMENT = Alignment("small", leaves=150, rounds=Rounds(((1, 3),), ((1, 1),)), network_rounds=0, threads=1)
BRIEF = Optimisation(2, 64, 0.1)
MEMBER = AcousticModel(ALIGNMENT, (16,), optimisation=BRIEF)
ENSEMBLE = Ensemble(MEMBER, 3)
GEOMETRIC = replace(ENSEMBLE, mean="geometric")
STUDENT = Student(ENSEMBLE, (16,), optimisation=BRIEF, seed=100)
TRANSFER = Transfer(ENSEMBLE)
EARLY = AcousticModel(ALIGNMENT, (16,), share=0.3, optimisation=Optimisation(5, 16, 0.1), evaluate_every=2, seed=7)
FLOOR = 1e-12  # of a mean probability, whose logarithm is kept


@dataclass(frozen=True)
class World:
    """A little corpus, its frozen alignment, and a store with finished runs."""

    corpus: Corpus
    labels: Labels
    store: Store

    def metrics(self, config: Config) -> dict:
        """Of a run, which is made if it is not there."""
        finish(config, self.store)
        return self.store.metrics(config)

    def posteriors(self, config: AcousticModel | Student, part: str) -> Tensor:
        """In double precision."""
        net = nets.restore(config, self.store, len(self.labels.states))
        return log_posteriors(net, self.corpus[part]).double()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything here runs in this process and on one thread: the products are small."""
    threads, really = torch.get_num_threads(), nets.corpus
    torch.set_num_threads(1)
    corpus = replace(few_speakers(4, 2, 2), name="small")
    store = Store(tmp_path_factory.mktemp("results") / "records")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILLATION_JOBS", "1")
        for module in (alignment, nets):
            patch.setattr(module, "corpus", lambda name: corpus if name == "small" else really(name))
        at_speeds.cache_clear()
        for config in (ALIGNMENT, *ENSEMBLE.members, ENSEMBLE, GEOMETRIC, TRANSFER):
            finish(config, store)
        yield World(corpus, alignment.read(ALIGNMENT, store), store)
    at_speeds.cache_clear()
    torch.set_num_threads(threads)


def untimed(metrics: dict) -> dict:
    found = {name: value for name, value in metrics.items() if name != "real_time_factor"}
    return found | {"early_stopped": untimed(found["early_stopped"])} if "early_stopped" in found else found


def average(world: World, part: str, mean: str, members: tuple[AcousticModel, ...]) -> Tensor:
    """The log of the members' mean distribution in double precision."""
    each = torch.stack([world.posteriors(member, part) for member in members])
    if mean == "arithmetic":
        return log_arithmetic_mean(each)
    return each.mean(0).log_softmax(-1)


def log_arithmetic_mean(each: Tensor) -> Tensor:
    return each.exp().mean(0).clamp(min=FLOOR).log()


def percent_right(log_probabilities: Tensor, labels: Tensor) -> float:
    return 100 * float((log_probabilities.argmax(-1) == labels).double().mean())


# One model


def test_metrics_agree_with_each_other_and_with_the_corpus(world: World) -> None:
    found, test = world.metrics(MEMBER), world.corpus["test"]
    assert set(found) == {*REPORTED, "words", "decoder", "correct_frames", "word_errors"}
    assert 100 * sum(found["correct_frames"]) / len(test.windows) == pytest.approx(found["frame_accuracy"], abs=1e-4)
    assert all(0 <= n <= m for n, m in zip(found["correct_frames"], test.features.lengths, strict=True))
    assert len(found["word_errors"]) == len(test.utterances)
    assert found["words"] == sum(len(utterance.words) for utterance in test.utterances)
    assert 100 * sum(found["word_errors"]) / found["words"] == pytest.approx(found["wer"])
    assert sum(found[name] for name in ("substitutions", "deletions", "insertions")) == sum(found["word_errors"])
    assert found["train_frames"] == len(world.corpus["train"].windows)
    assert found["steps"] == 2 * (found["train_frames"] // 64)
    states = len(world.labels.states)
    assert found["parameters"] == 1040 * 16 + 16 + 16 * states + states
    assert decoding.Weights(**found["decoder"]) in GRID
    history = world.store.read(MEMBER)["history"]
    assert history[1]["loss"] < history[0]["loss"]
    assert found["train_frame_accuracy"] > 10  # it learnt something


def test_stored_weights_give_the_stored_accuracies(world: World) -> None:
    found = world.metrics(MEMBER)
    for part, name in {"test": "", "development": "development_", "train": "train_"}.items():
        again = percent_right(world.posteriors(MEMBER, part), world.labels.of[part])
        assert found[f"{name}frame_accuracy"] == pytest.approx(again, abs=1e-4)
    right = (world.posteriors(MEMBER, "test").argmax(-1) == world.labels.of["test"]).split(
        list(world.corpus["test"].features.lengths)
    )
    assert found["correct_frames"] == [int(frames.sum()) for frames in right]


@pytest.mark.parametrize("config", [MEMBER, STUDENT, replace(MEMBER, hidden_dropout=0.2), EARLY])
def test_a_seed_gives_the_same_net_again_and_another_seed_another(config: Config, world: World) -> None:
    before, weights = world.metrics(config), world.store.tensors_path(config).read_bytes()
    again = config.run(world.store)["metrics"]
    assert untimed(again) == untimed(before)
    assert world.store.tensors_path(config).read_bytes() == weights
    other = replace(config, seed=config.seed + 50)
    assert world.metrics(other)["correct_frames"] != before["correct_frames"]


def test_an_unknown_data_set_or_mean_is_refused_with_a_sentence(world: World) -> None:
    with pytest.raises(ValueError, match=r"Unknown speech data set 'shouting': use"):
        replace(MEMBER, alignment=Alignment("shouting")).run(world.store)
    with pytest.raises(ValueError, match=r"Unknown mean 'harmonic': use"):
        replace(ENSEMBLE, mean="harmonic").run(world.store)


def test_nothing_is_trained_without_a_teacher_or_an_alignment(world: World, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="needs_tensors"):
        replace(STUDENT, teacher=replace(MEMBER, seed=77)).run(world.store)
    with pytest.raises(StoreError, match="alignment"):
        MEMBER.run(Store(tmp_path / "records"))


# What is chosen on the development split


def test_what_is_said_in_the_test_set_changes_no_net_epoch_or_weight(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, weights = world.metrics(EARLY), world.store.tensors_path(EARLY).read_bytes()
    test, word = world.corpus["test"], min(world.corpus.lexicon)
    other = replace(test, utterances=tuple(replace(utterance, words=(word,)) for utterance in test.utterances))
    mixed = world.labels.of["test"].flip(0)
    corpus = Corpus("small", MappingProxyType({**world.corpus.parts, "test": other}), world.corpus.lexicon)
    labels = Labels(world.labels.states, world.labels.of | {"test": mixed})
    monkeypatch.setattr(nets, "corpus", lambda name: corpus)
    monkeypatch.setattr(nets, "labels_of", lambda config, store: labels)
    after = EARLY.run(world.store)["metrics"]
    assert after["correct_frames"] != before["correct_frames"]
    assert after["wer"] != before["wer"]
    assert world.store.tensors_path(EARLY).read_bytes() == weights
    for name in ("decoder", "development_wer", "development_frame_accuracy"):
        assert after[name] == before[name]
        assert after["early_stopped"][name] == before["early_stopped"][name]
    assert after["early_stopped"]["epoch"] == before["early_stopped"]["epoch"]


def test_development_is_evaluated_at_the_stated_epochs_and_the_best_is_kept(world: World) -> None:
    found, history = world.metrics(EARLY), world.store.read(EARLY)["history"]
    watched = {epoch: row.get("development_frame_accuracy") for epoch, row in enumerate(history, 1)}
    seen = {epoch: accuracy for epoch, accuracy in watched.items() if accuracy is not None}
    assert len(history) == 5
    assert list(seen) == [2, 4, 5]
    assert seen[5] == found["development_frame_accuracy"]
    early = found["early_stopped"]
    assert early["development_frame_accuracy"] == max(seen.values()) == seen[early["epoch"]]
    assert early["epoch"] == max(seen, key=seen.get)
    assert {*REPORTED[:5], "epoch"} <= set(early)
    right = world.labels.of["development"][:, None]
    expected = -world.posteriors(EARLY, "development").gather(1, right).mean().item()
    assert history[-1]["development_cross_entropy"] == pytest.approx(expected, rel=1e-3)
    assert "early_stopped" not in world.metrics(MEMBER)


def test_watch_keeps_the_weights_of_the_first_of_the_best(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    held_out, right = world.corpus["development"], world.labels.of["development"]
    states, epochs = len(world.labels.states), iter((0.2, 0.6, 0.6, 0.4))

    def pretended(model: nn.Module, part: Part) -> Tensor:
        assert part is held_out
        correct = torch.arange(len(right)) < next(epochs) * len(right)
        return F.one_hot(torch.where(correct, right, (right + 1) % states), states).float()

    monkeypatch.setattr(nets, "log_posteriors", pretended)
    watch = nets.Watch(held_out, right, replace(EARLY, optimisation=Optimisation(4), evaluate_every=1))
    model, rows = nn.Linear(1, 1), []
    for epoch in range(1, 5):
        nn.init.constant_(model.weight, epoch)
        rows.append(watch(model)["development_frame_accuracy"])
    assert rows == pytest.approx([20, 60, 60, 40], abs=0.1)
    assert watch.best_epoch == 2
    assert watch.best["weight"].item() == 2  # a copy: training went on


# On which utterances


def test_shares_of_the_utterances_are_drawn_by_subset_alone(world: World) -> None:
    part = world.corpus["train"]
    assert chosen_utterances(MEMBER, part) == list(range(16))
    for share, number in {0.5: 8, 0.3: 5, 0.001: 1, 0.99: 16}.items():
        draws = [chosen_utterances(replace(MEMBER, share=share, subset=subset), part) for subset in range(6)]
        for subset, draw in enumerate(draws):
            assert len(set(draw)) == len(draw) == number
            assert set(draw) <= set(range(16))
            for config in (replace(STUDENT, seed=3), replace(MEMBER, seed=9)):  # soft and hard, whatever the seed
                assert chosen_utterances(replace(config, share=share, subset=subset), part) == draw
        if number < 16:
            assert len({tuple(draw) for draw in draws}) > 1


def test_resampled_utterances_are_as_many_with_repetitions(world: World) -> None:
    part = world.corpus["train"]
    draws = [chosen_utterances(replace(MEMBER, resample=True, seed=seed), part) for seed in range(3)]
    for seed, draw in enumerate(draws):
        assert len(draw) == 16
        assert len(set(draw)) < 16
        assert set(draw) <= set(range(16))
        assert draw == chosen_utterances(replace(MEMBER, resample=True, seed=seed), part)
    assert draws[0] != draws[1] != draws[2]


@pytest.mark.parametrize("change", [{"share": 0.3, "subset": 1}, {"resample": True}])
def test_nets_learn_the_frames_of_their_utterances_with_their_labels(
    change: dict, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, given = replace(MEMBER, **change), {}
    part = world.corpus["train"]

    def spy(model, inputs, loss, settings, **_) -> list[dict]:
        given.update(windows=inputs, loss=loss)
        return []

    monkeypatch.setattr(nets, "train", spy)
    found = config.run(world.store)["metrics"]
    rows = torch.cat([torch.arange(len(part.windows))[part.slices()[n]] for n in chosen_utterances(config, part)])
    assert len(rows) == len(given["windows"]) == found["train_frames"]
    assert torch.equal(batch(given["windows"]), batch(part.windows[rows]))
    logits, index = torch.randn(len(rows), len(world.labels.states)), torch.arange(len(rows))
    expected = F.cross_entropy(logits, world.labels.of["train"][rows])
    torch.testing.assert_close(given["loss"](logits, index), expected)


def batch(windows) -> Tensor:
    return windows.gatherer(torch.device("cpu"), torch.float32)(torch.arange(len(windows)))


# Ensembles


@pytest.mark.parametrize("config", [ENSEMBLE, GEOMETRIC])
def test_an_ensemble_keeps_the_mean_of_its_members_distributions(config: Ensemble, world: World) -> None:
    stored = world.store.tensors(config)["log_probabilities"].double()
    expected = average(world, "train", config.mean, config.members)
    torch.testing.assert_close(stored, expected, rtol=1e-3, atol=1e-3)  # it is kept in half precision
    torch.testing.assert_close(stored.exp().sum(-1), torch.ones(len(stored), dtype=torch.float64), rtol=0, atol=5e-3)
    found = world.metrics(config)
    assert found["train_frame_accuracy"] == pytest.approx(percent_right(expected, world.labels.of["train"]), abs=0.2)
    for part, name in {"test": "frame_accuracy", "development": "development_frame_accuracy"}.items():
        again = percent_right(average(world, part, config.mean, config.members), world.labels.of[part])
        assert found[name] == pytest.approx(again, abs=0.3)  # logits in bfloat16 have ties
    assert sum(found["correct_frames"]) == round(found["frame_accuracy"] / 100 * len(world.corpus["test"].windows))


def test_the_two_means_differ(world: World) -> None:
    arithmetic, geometric = (world.store.tensors(c)["log_probabilities"].float().exp() for c in (ENSEMBLE, GEOMETRIC))
    assert (arithmetic - geometric).abs().max() > 0.05


def test_members_differ_in_their_seed_alone() -> None:
    config = replace(ENSEMBLE, member=replace(MEMBER, seed=4, resample=True))
    assert config.members == tuple(replace(MEMBER, seed=seed, resample=True) for seed in (4, 5, 6))
    assert config.alignment == Student(config).alignment == Transfer(config).alignment == ALIGNMENT


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_an_ensemble_of_one_is_its_member(mean: str, world: World) -> None:
    member = ENSEMBLE.members[1]
    alone, found = world.metrics(Ensemble(member, 1, mean)), world.metrics(member)
    for name in ("correct_frames", "word_errors", "decoder", "development_frame_accuracy", "development_wer"):
        assert alone[name] == found[name]
    assert [row["frame_accuracy"] for row in alone["growth"]] == [found["frame_accuracy"]]


def test_growth_has_all_rings_of_neighbours_and_the_whole_once(world: World) -> None:
    found = world.metrics(ENSEMBLE)
    rows = {(row["members"], row["first"]): row for row in found["growth"]}
    assert list(rows) == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (3, 0)]
    for first, member in enumerate(ENSEMBLE.members):
        assert rows[1, first]["frame_accuracy"] == pytest.approx(world.metrics(member)["frame_accuracy"], abs=1e-4)
        pair = average(world, "test", "arithmetic", (member, ENSEMBLE.members[(first + 1) % 3]))
        again = percent_right(pair, world.labels.of["test"])
        assert rows[2, first]["frame_accuracy"] == pytest.approx(again, abs=0.3)  # logits in bfloat16 have ties
    assert rows[3, 0]["frame_accuracy"] == found["frame_accuracy"]
    assert rows[3, 0]["wer"] == found["wer"]
    assert rows[1, 0]["wer"] == world.metrics(MEMBER)["wer"]
    assert [key for key, row in rows.items() if "wer" in row] == [(1, 0), (2, 0), (3, 0)]


# Students


@pytest.mark.parametrize("temperature", [1, 2, 5.0])
def test_an_ensembles_soft_targets_are_its_mean_softened(temperature: float, world: World) -> None:
    rows = torch.tensor([5, 2, 900, 2])
    found = soft_targets(replace(STUDENT, temperature=temperature), rows, world.store)
    expected = torch.softmax(average(world, "train", "arithmetic", ENSEMBLE.members)[rows] / temperature, -1)
    torch.testing.assert_close(found.double(), expected, rtol=5e-3, atol=1e-4)
    torch.testing.assert_close(found.float().sum(-1), torch.ones(4), rtol=0, atol=2e-3)


@pytest.mark.parametrize("temperature", [1, 2, 5.0])
def test_a_nets_soft_targets_are_its_softened_logits(temperature: float, world: World) -> None:
    rows = torch.tensor([5, 2, 900, 2])
    found = soft_targets(replace(STUDENT, teacher=MEMBER, temperature=temperature), rows, world.store)
    net = nets.restore(MEMBER, world.store, len(world.labels.states))
    logits = logits_of(net, world.corpus["train"].windows[rows], precision="bf16").double()
    torch.testing.assert_close(found.double(), torch.softmax(logits / temperature, -1), rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("teacher", [MEMBER, ENSEMBLE])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_students_loss_weighs_soft_and_hard_targets_of_the_same_frames(
    teacher: AcousticModel | Ensemble, weight: float, world: World
) -> None:
    rows, index = torch.tensor([800, 30, 7, 1200]), torch.tensor([2, 0])
    config, targets = replace(STUDENT, teacher=teacher, hard_weight=weight), world.labels.of["train"][rows]
    logits = torch.randn(2, len(world.labels.states))
    here = logits.to(device()), index.to(device())
    found = nets.loss_of(config, targets, rows, world.store)(*here).cpu()
    soft = soft_targets(config, rows[index], world.store).float()
    softly = 4 * -(soft * F.log_softmax(logits / 2, -1)).sum(-1).mean()
    hardly = F.cross_entropy(logits, world.labels.of["train"][rows[index]])
    torch.testing.assert_close(found, (1 - weight) * softly + weight * hardly)
    if weight == 1:
        torch.testing.assert_close(found, nets.loss_of(MEMBER, targets, rows, world.store)(*here).cpu())


def test_a_student_on_a_share_learns_from_its_teacher(world: World) -> None:
    for teacher in (MEMBER, ENSEMBLE):
        config = replace(STUDENT, teacher=teacher, share=0.5, hard_weight=0.0, optimisation=Optimisation(4, 32, 0.05))
        found = world.metrics(config)
        assert found["train_frame_accuracy"] > 20  # 45 when written; the most frequent state has 8
        assert found["train_frames"] < len(world.corpus["train"].windows)
        assert set(found) == set(world.metrics(MEMBER))
        files = [world.store.tensors_path(member) for member in ENSEMBLE.members]
        before = [path.read_bytes() for path in files]
        config.run(world.store)
        assert [path.read_bytes() for path in files] == before  # teachers stay as they are


# A larger transfer set


def test_the_original_frames_come_first_and_unchanged(world: World) -> None:
    part, original = at_speeds("small", (0.9, 1.1)), world.corpus["train"]
    number, frames = len(original.utterances), len(original.windows)
    assert part.utterances[:number] == original.utterances
    assert part.features.lengths[:number] == original.features.lengths
    assert torch.equal(part.features.frames[:frames], original.features.frames)
    assert torch.equal(batch(part.windows[torch.arange(frames)]), batch(original.windows))
    assert len(part.utterances) == 3 * number
    assert len(part.windows) == len(part.features.frames) == sum(part.features.lengths)
    for position, speed in enumerate((0.9, 1.1), 1):
        lengths = part.features.lengths[position * number : (position + 1) * number]
        assert sum(lengths) == pytest.approx(frames / speed, rel=0.02)
        for utterance, before in zip(part.utterances[position * number :], original.utterances, strict=False):
            assert utterance.words == before.words
            assert utterance.speaker == f"{before.speaker} at {speed}"


def test_speakers_are_normalised_anew_at_each_speed(world: World) -> None:
    part = at_speeds("small", (0.9, 1.1))
    for speaker in {utterance.speaker for utterance in part.utterances}:
        spoken = zip(part.utterances, part.features.per_utterance(), strict=True)
        frames = torch.cat([rows for utterance, rows in spoken if utterance.speaker == speaker])
        assert frames.mean(0).abs().max() < 1e-3
        torch.testing.assert_close(frames.std(0), torch.ones(40), rtol=1e-3, atol=1e-3)


def test_speed_changes_length_and_pitch_and_one_is_the_identity() -> None:
    tone = (8000 * np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)).astype(np.int16)
    assert np.array_equal(at_speed(tone, 1.0), tone)
    for speed in (0.9, 1.1):
        found = at_speed(tone, speed)
        assert len(found) == pytest.approx(len(tone) / speed, abs=2)
        peak = np.abs(np.fft.rfft(found)).argmax() * SAMPLE_RATE / len(found)
        assert peak == pytest.approx(1000 * speed, abs=3)
        assert np.abs(found).max() == pytest.approx(8000, rel=0.05)


def test_a_transfer_set_has_the_ensembles_mean_on_all_its_frames(world: World) -> None:
    stored = world.store.tensors(TRANSFER)["log_probabilities"]
    part, frames = at_speeds("small", (0.9, 1.1)), len(world.corpus["train"].windows)
    assert world.metrics(TRANSFER) == {"train_frames": len(part.windows)}
    assert len(stored) == len(part.windows)
    own = world.store.tensors(ENSEMBLE)["log_probabilities"]
    torch.testing.assert_close(stored[:frames].float(), own.float(), rtol=5e-3, atol=5e-3)
    members = [nets.restore(member, world.store, len(world.labels.states)) for member in ENSEMBLE.members]
    expected = log_arithmetic_mean(torch.stack([log_posteriors(net, part).double() for net in members]))
    torch.testing.assert_close(stored.double(), expected, rtol=1e-3, atol=1e-3)


def test_students_of_a_transfer_set_learn_from_all_of_it_without_hard_targets(world: World) -> None:
    config = replace(STUDENT, teacher=TRANSFER, hard_weight=0.0)
    found = world.metrics(config)
    assert found["train_frames"] == world.metrics(TRANSFER)["train_frames"]
    assert found["steps"] == 2 * (found["train_frames"] // 64)
    again = percent_right(world.posteriors(config, "train"), world.labels.of["train"])
    assert found["train_frame_accuracy"] == pytest.approx(again, abs=1e-4)  # of the frames that have labels
    with pytest.raises(ValueError, match="unlabelled transfer set"):
        replace(config, hard_weight=0.1).run(world.store)
    with pytest.raises(ValueError, match="set share to 1"):
        replace(config, share=0.5).run(world.store)


# Sweeps


def needs(config: Config | Alignment) -> list[Config | Alignment]:
    """What must be on the disk before a run."""
    if isinstance(config, Alignment):
        return []
    if isinstance(config, Student):
        return [ALIGNMENT, config.teacher]
    ensemble = config.ensemble if isinstance(config, Transfer) else config
    return [ALIGNMENT, *(ensemble.members if isinstance(ensemble, Ensemble) else [])]


@pytest.fixture
def pretended(world: World, monkeypatch: pytest.MonkeyPatch) -> list[Config | Alignment]:
    """The configurations of the runs, in order; nothing is trained, but what they start from must be there."""
    calls: list[Config | Alignment] = []

    def run(config: Config | Alignment, store: Store) -> dict:
        for needed in needs(config):
            store.tensors(needed)
        calls.append(config)
        store.write_tensors(config, {"weights": torch.zeros(1)})
        return {"metrics": {}, "history": []}

    for kind in (Alignment, AcousticModel, Ensemble, Transfer, Student):
        monkeypatch.setattr(kind, "run", run)
    return calls


def test_members_and_teachers_are_trained_first_and_nothing_twice(
    store: Store, pretended: list[Config | Alignment]
) -> None:
    configs = [replace(STUDENT, teacher=TRANSFER, hard_weight=0.0), STUDENT, replace(STUDENT, teacher=EARLY)]
    records = sweep(configs, store, name="test")
    assert [record["config"]["seed"] for record in records] == [100] * 3
    assert pretended[-3:] == configs
    assert set(pretended) == {ALIGNMENT, *ENSEMBLE.members, ENSEMBLE, TRANSFER, EARLY, *configs}
    assert len(pretended) == len(set(pretended))
    assert max(map(pretended.index, ENSEMBLE.members)) < min(map(pretended.index, (ENSEMBLE, TRANSFER)))
    sweep(configs, store, name="test")
    assert len(pretended) == 10
    sweep([ENSEMBLE, *ENSEMBLE.members], store, name="test")
    assert len(pretended) == 10


def test_a_transfer_set_needs_the_members_and_not_the_ensemble(
    store: Store, pretended: list[Config | Alignment]
) -> None:
    sweep([TRANSFER], store, name="test")
    assert pretended == [ALIGNMENT, *ENSEMBLE.members, TRANSFER]


def test_members_without_weights_are_trained_again_where_a_student_needs_them(
    store: Store, pretended: list[Config | Alignment]
) -> None:
    def lose(*configs: Config) -> None:
        pretended.clear()
        for config in configs:
            store.tensors_path(config).unlink()

    sweep([STUDENT], store, name="test")
    lose(ENSEMBLE.members[1], ENSEMBLE, STUDENT)
    sweep([STUDENT], store, name="test")
    assert pretended == []  # its record is there
    new = replace(STUDENT, seed=101)
    sweep([new], store, name="test")
    assert pretended == [ENSEMBLE.members[1], ENSEMBLE, new]
    lose(*ENSEMBLE.members)
    new = replace(STUDENT, seed=102)
    sweep([new], store, name="test")
    assert pretended == [new]  # the ensemble's outputs are all it needs
    lose()
    sweep(ENSEMBLE.members, store, name="test", needs_tensors=True)
    assert pretended == list(ENSEMBLE.members)


@pytest.mark.parametrize("new", [replace(MEMBER, seed=50), GEOMETRIC, TRANSFER, STUDENT])
def test_a_lost_alignment_is_made_again_for_each_kind_of_run(
    new: Config, store: Store, pretended: list[Config | Alignment]
) -> None:
    sweep([ENSEMBLE], store, name="test")
    pretended.clear()
    store.tensors_path(ALIGNMENT).unlink()
    sweep([new], store, name="test")
    assert pretended == [ALIGNMENT, new]


# More speech on hard targets, and a rate that stays


@pytest.mark.parametrize(
    ("labels", "length", "expected"),
    [
        ([1, 2, 3], 3, [1, 2, 3]),
        ([1, 2], 4, [1, 1, 2, 2]),
        ([1, 1, 2, 2, 3, 3], 3, [1, 2, 3]),
        ([4], 5, [4] * 5),
        ([1, 2, 3], 1, [2]),
    ],
)
def test_stretched_labels_are_those_of_the_same_moments(labels: list[int], length: int, expected: list[int]) -> None:
    assert stretched(torch.tensor(labels), length).tolist() == expected


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 90))
def test_stretching_keeps_the_order_of_labels(labels: list[int], length: int) -> None:
    found = stretched(torch.arange(len(labels)), length)
    assert len(found) == length
    assert (found.diff() >= 0).all()
    moments = (torch.arange(length) + 0.5) / length  # in units of the utterance
    assert ((found + 0.5) / len(labels) - moments).abs().max() <= 0.5 / len(labels) + 1e-6
    assert set(stretched(torch.tensor(labels), length).tolist()) <= set(labels)


def test_the_control_of_a_larger_transfer_set_learns_its_stretched_labels(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Stretched(replace(MEMBER, seed=100))
    targets: list[Tensor] = []
    really = nets.cross_entropy
    monkeypatch.setattr(nets, "cross_entropy", lambda labels: targets.append(labels) or really(labels))
    found = world.metrics(config)
    part, original = at_speeds("small", config.speeds), world.corpus["train"]
    assert found["train_frames"] == len(part.windows) == len(targets[0]) > 3 * len(original.windows)
    of = targets[0].split(part.features.lengths)
    truth = world.labels.of["train"].split(original.features.lengths)
    for number, labels in enumerate(of):
        right = truth[number % len(truth)]
        assert torch.equal(labels, stretched(right, len(labels)))
    assert torch.equal(torch.cat(of[: len(truth)]), world.labels.of["train"])
    assert found["steps"] == 2 * (len(part.windows) // 64)
    assert set(found) == {*REPORTED, "words", "decoder", "correct_frames", "word_errors"}
    net = nets.restore(
        config.model, SimpleNamespace(tensors=lambda _: world.store.tensors(config)), len(world.labels.states)
    )
    assert found["frame_accuracy"] == pytest.approx(
        percent_right(log_posteriors(net, world.corpus["test"]), world.labels.of["test"]), abs=1e-4
    )
    assert config.starts_from(world.store) == [ALIGNMENT]


def test_a_constant_rate_rises_and_stays() -> None:
    settings = Constant(4, 64, 0.2)
    rising = [settings.schedule(progress) for progress in (0, 0.05, 0.1)]
    assert rising == [Optimisation(4, 64, 0.2).schedule(progress) for progress in (0, 0.05, 0.1)]
    assert [settings.schedule(progress) for progress in (0.2, 0.7, 1.0)] == [pytest.approx((0.2, 0.9))] * 3


def test_runs_at_a_constant_rate_have_names_and_results_of_their_own(world: World) -> None:
    falling = replace(MEMBER, seed=50)
    staying = replace(falling, optimisation=Constant(**vars(BRIEF)))
    assert falling != staying
    assert world.store.name(falling) != world.store.name(staying)
    losses = []
    for config in (falling, staying):
        world.metrics(config)
        losses.append(world.store.read(config)["history"][-1]["loss"])
    assert losses[0] != losses[1]


# Gradients


@pytest.mark.parametrize("taught", [False, True])
def test_gradients_of_frames_are_those_of_the_nets_own_loss(taught: bool, world: World) -> None:
    net = replace(MEMBER, share=0.5) if not taught else replace(STUDENT, share=0.5, hard_weight=0.0, temperature=5.0)
    config = GradientNoise(net, frames=40)
    found = config.run(world.store)["metrics"]
    assert len(found["along"]) == 1 + net.optimisation.epochs
    assert len({row["signal"] for row in found["along"]}) == len(found["along"])
    assert config.run(world.store)["metrics"] == found
    part, rows = nets.training_part(net)
    torch.manual_seed(net.seed)
    model = nets.build(net, len(world.labels.states))
    few = torch.randperm(len(rows))[:40]
    loss = nets.loss_of(net, world.labels.of["train"][rows], rows, world.store)
    inputs = part.windows.gatherer(torch.device("cpu"), torch.float32)(few)
    each = []
    for case, row in zip(inputs, few, strict=True):
        value = loss(model(case[None]).to(device()), row[None].to(device()))
        each.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, list(model.parameters()))]).double())
    gradients = torch.stack(each)
    signal, noise = gradients.mean(0).square().sum(), gradients.var(0, correction=0).sum()
    assert found["along"][0]["signal"] == pytest.approx(signal.item(), rel=1e-3)
    assert found["along"][0]["noise"] == pytest.approx(noise.item(), rel=1e-3)
    if taught:
        p = soft_targets(net, rows[few], world.store).double()
        assert found["entropy"] == pytest.approx(-(p * p.log()).nansum(1).mean().item(), rel=1e-2)
    else:
        assert "entropy" not in found


def test_a_diverged_run_is_a_result(world: World) -> None:
    found = replace(MEMBER, optimisation=replace(BRIEF, learning_rate=1e9)).run(world.store)
    assert "lower the learning rate" in found["metrics"]["diverged"]
