"""Generalists, specialists and what is made of them: each part against brute force, and all of it on a few glyphs."""

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from distillation.core.data import Pictures
from distillation.core.models import MergedDustbin
from distillation.core.store import Store, StoreError
from distillation.core.sweep import finish
from distillation.core.training import Optimisation, logits_of
from distillation.specialists import generalists, open_questions
from distillation.specialists import inference as specialists
from distillation.specialists import nets as experiment
from distillation.specialists.generalists import Batches, Data, Generalist, Split, first_classes, load
from distillation.specialists.inference import Answer
from distillation.specialists.nets import (
    METHODS,
    Assignment,
    Combination,
    Specialist,
    by_coverage,
    combined,
    conditional_accuracy,
    dustbin_calibration,
    half_and_half,
    on_classes,
    special_and_rest,
)
from distillation.specialists.open_questions import Distilled, Mixture, SoftTargets

DATA = Data("glyphs", 24, 720, 240)
BRIEF = Optimisation(1, 32, 0.02, jitter=2)
GENERALIST = Generalist(DATA, (4, 8), Optimisation(6, 16, 0.2, jitter=2), mirror=False)
ASSIGNMENT = Assignment(GENERALIST, number=4, size=5)
SPECIALIST = Specialist(ASSIGNMENT, optimisation=BRIEF)
FULL = replace(SPECIALIST, softmax="full")
COMBINATION = Combination(SPECIALIST)
TARGETS = SoftTargets(COMBINATION)
OWN = SoftTargets(COMBINATION, n=0)
DISTILLED = Distilled(GENERALIST, TARGETS, optimisation=BRIEF)
MIXTURE = Mixture(DATA, (4, 8), 2, (2, 4), optimisation=BRIEF, mirror=False)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def percent(values: list[bool]) -> float:
    return 100 * sum(values) / len(values)


# Batches


@pytest.mark.parametrize("channels", [1, 3])
def test_without_shift_a_batch_is_the_pictures_scaled(channels: int) -> None:
    pictures = torch.randint(256, (6, channels, 8, 10), dtype=torch.uint8)
    index = torch.tensor([3, 0, 3])
    batch = Batches.of(pictures).gatherer(torch.device("cpu"), torch.float32)(index)
    assert torch.equal(batch, (pictures[index].float() - 127.5) / 64)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert len(Batches.of(pictures)) == 6
    coarse = Batches.of(pictures).gatherer(torch.device("cpu"), torch.bfloat16)(index)
    assert coarse.dtype is torch.bfloat16
    assert torch.equal((coarse.float() * 64 + 127.5).to(torch.uint8), pictures[index])


@pytest.mark.parametrize(("shift", "mirror"), [(1, False), (1, True), (0, True), (2, True)])
def test_every_picture_is_one_of_the_windows_and_every_window_occurs(shift: int, mirror: bool) -> None:
    pictures = torch.randint(1, 256, (3, 2, 5, 4), dtype=torch.uint8)
    gather = Batches.of(pictures, shift, mirror).gatherer(torch.device("cpu"), torch.float32)
    index = torch.arange(3).repeat(400)
    padded = F.pad(pictures, (shift,) * 4)
    span = range(2 * shift + 1)
    allowed = {}
    for case, flipped, y, x in itertools.product(range(3), range(1 + mirror), span, span):
        window = padded[case, :, y : y + 5, x : x + 4]
        window = F.pad(pictures[case].flip(-1), (shift,) * 4)[:, y : y + 5, x : x + 4] if flipped else window
        allowed[case, window.numpy().tobytes()] = (flipped, y, x)
    batch = (gather(index) * 64 + 127.5).to(torch.uint8)
    found = [allowed[int(case), image.contiguous().numpy().tobytes()] for case, image in zip(index, batch, strict=True)]
    assert len(set(found)) == (1 + mirror) * len(span) ** 2
    assert not torch.equal(gather(index), gather(index))


# The pictures


def pictures(superclasses: tuple[int, ...], cases: int = 60) -> Pictures:
    classes = len(superclasses)
    images = torch.arange(cases, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32).contiguous()
    labels = torch.arange(cases) % classes
    names = tuple(f"class {c}" for c in range(classes))
    return Pictures("cifar-100", images, labels, images + 100, labels.flip(0), names, superclasses, ("a", "b", "c"))


def test_first_classes_are_whole_superclasses() -> None:
    whole = pictures((2, 0, 1, 0, 2, 1))
    found = first_classes(whole, 4)
    assert found.class_names == ("class 1", "class 2", "class 3", "class 5")
    assert found.superclasses == (0, 1, 0, 1)
    for part in ("train", "test"):
        images, labels = getattr(whole, f"{part}_images"), getattr(whole, f"{part}_labels")
        kept = [
            (image, c)
            for image, c in zip(images[:, 0, 0, 0].tolist(), labels.tolist(), strict=True)
            if c in (1, 2, 3, 5)
        ]
        assert getattr(found, f"{part}_images")[:, 0, 0, 0].tolist() == [image for image, _ in kept]
        names = [found.class_names[c] for c in getattr(found, f"{part}_labels").tolist()]
        assert names == [f"class {c}" for _, c in kept]
    assert first_classes(whole, 6) is whole


def test_split_is_fixed_disjoint_and_fewer_cases_are_the_first_of_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generalists.cifar100, "load", lambda: pictures((2, 0, 1, 0, 2, 1)))
    whole, again, half = (load.__wrapped__(Data(classes=6, cases=cases, test=0)) for cases in (54, 54, 20))
    assert (len(whole.fit), len(whole.held_out)) == (54, 6)
    assert sorted(torch.cat([whole.fit, whole.held_out]).tolist()) == list(range(60))
    assert whole.fit.tolist() != sorted(whole.fit.tolist())
    assert torch.equal(whole.fit, again.fit)
    assert torch.equal(half.fit, whole.fit[:20])
    assert torch.equal(half.held_out, whole.held_out)
    assert torch.equal(whole.fit_labels, whole.fit % 6)
    assert torch.equal(whole.held_out_labels, whole.held_out % 6)
    assert whole.classes == 6
    few = load.__wrapped__(Data(classes=4, cases=36, test=0))
    assert few.classes == 4
    assert len(few.pictures.train_labels) == 40
    for cases in (0, -1, 55):
        with pytest.raises(ValueError, match=rf"There are 54 pictures to fit, not {cases}\."):
            load.__wrapped__(Data(classes=6, cases=cases, test=0))


@pytest.mark.parametrize("cases", [720, 100, 101, 107, 108])
def test_as_many_glyphs_are_fitted_as_asked_for(cases: int) -> None:
    split = load.__wrapped__(Data("glyphs", 10, cases, 20))
    assert len(split.fit) == cases
    assert len(split.held_out) == pytest.approx(cases / 9, abs=1)
    assert not set(split.fit.tolist()) & set(split.held_out.tolist())
    assert len(split.fit) + len(split.held_out) == len(split.pictures.train_labels)
    assert len(split.pictures.test_labels) == 20


def test_an_unknown_data_set_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Unknown data set 'imagenet': use 'cifar-100' or 'glyphs'\."):
        load(Data("imagenet"))


# What a specialist is trained on


def small_split(fit: int = 40) -> Split:
    whole = pictures((0, 0, 1, 1, 2), 60)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    return Split(whole, order[:fit], order[50:])


@pytest.mark.parametrize("rest", [30, 12, 5])
def test_half_and_half_alternates_and_repeats_nothing_where_it_need_not(rest: int) -> None:
    special, ordinary = torch.arange(100, 112), torch.arange(rest)
    first = half_and_half(special, ordinary)
    assert sorted(first[::2].tolist()) == special.tolist()
    assert first[::2].tolist() != special.tolist()
    others = first[1::2].tolist()
    assert len(others) == 12
    assert set(others) <= set(range(rest))
    assert len(set(others)) == 12 or rest < 12
    second = half_and_half(special, ordinary)
    assert not torch.equal(first[::2], second[::2])
    assert not torch.equal(first[1::2], second[1::2])
    if rest > 12:
        assert set(others) != set(second[1::2].tolist())


@pytest.mark.parametrize("share", [1.0, 0.5, 0.01])
def test_special_and_rest_are_a_share_of_each_class_and_all_others(share: float) -> None:
    split, subset = small_split(), (1, 4)
    special, rest = special_and_rest(replace(SPECIALIST, share=share), subset, split)
    labels = split.pictures.train_labels
    fit = split.fit.tolist()
    expected = []
    for label in subset:
        of_class = [case for case in fit if labels[case] == label]
        expected += of_class[: max(1, round(share * len(of_class)))]
    assert special.tolist() == expected
    assert rest.tolist() == [case for case in fit if labels[case] not in subset]
    assert labels[special].unique().tolist() == [1, 4]


class Told(Store):
    """A store that hands out the same tensors for everything."""

    def __init__(self, given: dict[str, Tensor]):
        super().__init__(Path("records/told"), 1)
        object.__setattr__(self, "given", given)

    def tensors(self, config) -> dict[str, Tensor]:
        return self.given


def test_losses_of_specialists(monkeypatch: pytest.MonkeyPatch) -> None:
    split, subset, index = small_split(), (3, 1), torch.arange(60)[::2]
    labels = split.pictures.train_labels[index].tolist()
    logits = drawn(30, 3, seed=1)
    positions = [{3: 0, 1: 1}.get(label, 2) for label in labels]
    by_hand = -sum(logits.log_softmax(1)[row, place] for row, place in enumerate(positions)) / 30
    told = Told({})
    torch.testing.assert_close(experiment.loss_of(SPECIALIST, subset, split, told)(logits, index), by_hand)
    with pytest.raises(ValueError, match=r"Unknown softmax 'half': use 'dustbin' or 'full'\."):
        experiment.loss_of(replace(SPECIALIST, softmax="half"), subset, split, told)

    said, full = drawn(40, 5, seed=2), drawn(40, 5, seed=3)
    monkeypatch.setattr(experiment, "generalist_store", lambda store: store)
    found = experiment.loss_of(FULL, subset, split, Told({"fit": said, "held_out": drawn(10, 5)}))
    total = 0.0
    for row, case in enumerate(split.fit.tolist()):
        label = int(split.pictures.train_labels[case])
        target = F.one_hot(torch.tensor(label), 5) if label in subset else said[row].softmax(0)
        total -= (target * full[row].log_softmax(0)).sum().item()
    assert found(full, split.fit).item() == pytest.approx(total / 40, rel=1e-5)


# What is measured


@pytest.mark.parametrize("softmax", ["dustbin", "full"])
@pytest.mark.parametrize("subset", [(4, 1, 2), (0, 5)])
def test_what_a_net_knows_of_special_and_other_classes(softmax: str, subset: tuple[int, ...]) -> None:
    labels = torch.arange(60) % 6
    scores = drawn(60, len(subset) + 1 if softmax == "dustbin" else 6, seed=len(subset))
    if softmax == "full":
        scores[torch.arange(60), labels] += 2
    names = [*subset, None] if softmax == "dustbin" else list(range(6))
    special, recall, rest, claimed = [], [], [], []
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        said = dict(zip(names, row, strict=True))
        answer = max(said, key=said.get)
        if label in subset:
            special.append(max(subset, key=said.get) == label)
            recall.append(answer == label)
        else:
            rest.append(answer == label)
            claimed.append(answer in subset)
    found = on_classes(scores, subset, labels, softmax)
    assert found == {
        "special_accuracy": pytest.approx(percent(special)),
        "special_recall": pytest.approx(percent(recall)),
        "rest_accuracy": pytest.approx(percent(rest)) if softmax == "full" else None,
        "claimed": pytest.approx(percent(claimed)),
    }
    assert found["special_recall"] <= found["special_accuracy"]


def test_dustbin_calibration_by_hand() -> None:
    split, subset = small_split(), (0, 3)
    logits = drawn(10, 3)
    found = dustbin_calibration(logits, subset, split, bins=4)
    share = sum(label in subset for label in split.fit_labels.tolist()) / 40
    assert experiment.special_share(subset, split) == pytest.approx(share)
    other = [label not in subset for label in split.held_out_labels.tolist()]
    raw, fixed = [], []
    for row in logits.tolist():
        weights = [math.exp(value) for value in row]
        raw.append(weights[2] / sum(weights))
        weights[2] *= (1 - share) / share
        fixed.append(weights[2] / sum(weights))
    assert found["share"] == pytest.approx(sum(other) / 10)
    assert found["raw"] == pytest.approx(sum(raw) / 10)
    assert found["corrected"] == pytest.approx(sum(fixed) / 10)
    rows = []
    for low in range(4):
        inside = [case for case in range(10) if low <= 4 * fixed[case] < low + 1]
        if inside:
            mean, truth = (sum(of[case] for case in inside) / len(inside) for of in (fixed, other))
            rows.append([pytest.approx(mean), pytest.approx(truth), len(inside)])
    assert found["reliability"] == rows
    assert len(rows) > 1


def test_a_certain_dustbin_is_in_the_last_bin() -> None:
    logits = torch.tensor([[0.0, 0.0, 100.0]] * 10)
    ((mean, _, cases),) = dustbin_calibration(logits, (0, 3), small_split())["reliability"]
    assert (mean, cases) == (pytest.approx(1), 10)


def test_conditional_accuracy_by_hand() -> None:
    scores, labels = drawn(50, 6), torch.arange(50) % 6
    covered = torch.tensor([True, False, True, True, False, False])
    right = []
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        if label in (0, 2, 3):
            right.append(max((0, 2, 3), key=row.__getitem__) == label)
    assert conditional_accuracy(scores, covered, labels) == pytest.approx(percent(right))
    everything = conditional_accuracy(scores, torch.ones(6, dtype=torch.bool), labels)
    assert everything == pytest.approx(generalists.percent_right(scores.argmax(1), labels))


def test_changes_by_coverage_by_hand() -> None:
    coverage = torch.tensor([0, 0, 0, 2, 2, 2, 2, 5])
    before = torch.tensor([True, True, False, False, False, False, True, True])
    after = torch.tensor([True, False, False, True, True, False, False, True])
    assert by_coverage(coverage, before, after) == [
        {"specialists": 0, "cases": 3, "before": 2, "fixed": 0, "broken": 1},
        {"specialists": 2, "cases": 4, "before": 1, "fixed": 2, "broken": 1},
        {"specialists": 5, "cases": 1, "before": 1, "fixed": 0, "broken": 0},
    ]


def test_combined_by_hand() -> None:
    subsets, labels = [(0, 1, 2), (2, 3), (5, 1)], torch.arange(42) % 7
    generalist = drawn(42, 7)
    generalist[torch.arange(42), labels] += 1.5
    answers = [
        Answer(subset, drawn(42, len(subset) + 1, seed=number).double().log_softmax(1))
        for number, subset in enumerate(subsets, 1)
    ]
    found = combined(generalist, answers, labels)
    covered = {0, 1, 2, 3, 5}
    assert found["coverage"] == [1, 2, 2, 1, 0, 1, 0]
    alone = [int(row.argmax()) == label for row, label in zip(generalist, labels, strict=True)]
    assert found["accuracy"] == pytest.approx(percent(alone))
    assert [(row["n"], row["by"]) for row in found["combined"]] == [
        (n, by) for n in (1, 2, 3) for by in experiment.COMBINED_BY
    ]

    def conditional(scores: Tensor) -> float:
        kept = [
            max(covered, key=scores[case].tolist().__getitem__) == label
            for case, label in enumerate(labels.tolist())
            if label in covered
        ]
        return percent(kept)

    assert found["conditional"] == pytest.approx(conditional(generalist))
    for row in found["combined"]:
        active = torch.tensor(
            [
                [bool(set(subset) & set(case.topk(row["n"]).indices.tolist())) for subset in subsets]
                for case in generalist
            ]
        )
        assert row["active"] == pytest.approx(active.sum().item() / 42)
        if row["by"] == "kl":
            scores = specialists.combine(generalist, answers, active)
        elif row["by"] == "own answer":
            scores = generalist.softmax(1)
            own = specialists.own_answer(generalist, answers, active)
            scores[torch.arange(42), own] += 1
        else:
            scores = specialists.added_log_probabilities(generalist, answers, active)
        right = (scores.argmax(1) == labels).tolist()
        assert row["accuracy"] == pytest.approx(percent(right))
        assert row["conditional"] == pytest.approx(conditional(scores))
        number = [found["coverage"][label] for label in labels.tolist()]
        for each in row["covered"]:
            chosen = [case for case in range(42) if number[case] == each["specialists"]]
            assert each["cases"] == len(chosen)
            assert each["before"] == sum(alone[case] for case in chosen)
            assert each["fixed"] == sum(right[case] and not alone[case] for case in chosen)
            assert each["broken"] == sum(alone[case] and not right[case] for case in chosen)
        assert sum(each["cases"] for each in row["covered"]) == 42
        change = sum(each["fixed"] - each["broken"] for each in row["covered"])
        assert row["accuracy"] - found["accuracy"] == pytest.approx(100 * change / 42)
    assert len({row["accuracy"] for row in found["combined"]}) > 2


# Everything, on a few glyphs


@dataclass(frozen=True)
class World:
    """A store with runs, which are made when they are asked for."""

    split: Split
    store: Store  # the specialists'

    def of(self, config) -> tuple:
        """How a configuration is run, and its store."""
        if isinstance(config, Generalist):
            return generalists.run, experiment.generalist_store(self.store)
        if isinstance(config, Assignment | Specialist | Combination):
            return experiment.run, self.store
        return open_questions.run, Store(self.store.folder.parent / "open_questions", open_questions.RECIPE)

    def record(self, config) -> dict:
        run, store = self.of(config)
        finish(run, config, store)
        return store.read(config)

    def metrics(self, config) -> dict:
        return self.record(config)["metrics"]

    def tensors(self, config) -> dict[str, Tensor]:
        self.record(config)
        return self.of(config)[1].tensors(config)

    @property
    def subsets(self) -> list[tuple[int, ...]]:
        return experiment.subsets_of(ASSIGNMENT, self.store)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything here runs in this process and on one thread: the nets are tiny."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILLATION_JOBS", "1")
        patch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)  # the same numbers everywhere
        store = Store(tmp_path_factory.mktemp("results") / "records" / "specialists", experiment.RECIPE)
        experiment.run_all([COMBINATION], store, name="test")
        beside = Store(store.folder.parent / "open_questions", open_questions.RECIPE)
        open_questions.run_all([DISTILLED, replace(DISTILLED, targets=OWN)], beside, name="test")
        yield World(load(DATA), store)
    torch.set_num_threads(threads)


def test_generalists_metrics_agree_with_its_logits_and_weights(world: World) -> None:
    found, tensors, split = world.metrics(GENERALIST), world.tensors(GENERALIST), world.split
    labels = {"fit": split.fit_labels, "held_out": split.held_out_labels, "test": split.pictures.test_labels}
    for part, name in {"fit": "fit_accuracy", "held_out": "held_out_accuracy", "test": "accuracy"}.items():
        assert tensors[part].shape == (len(labels[part]), 24)
        assert found[name] == pytest.approx(100 * (tensors[part].argmax(1) == labels[part]).float().mean().item())
    assert found["fit_accuracy"] > 6  # 4 by chance: it learnt something
    assert (found["cases"], found["pictures_seen"]) == (720, 4320)
    model = generalists.restore(GENERALIST, experiment.generalist_store(world.store))
    assert found["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    images = split.pictures.train_images
    for part, cases in {"fit": split.fit, "held_out": split.held_out}.items():
        torch.testing.assert_close(logits_of(model, Batches.of(images[cases])), tensors[part])
    history = world.record(GENERALIST)["history"]
    assert len(history) == 6
    assert history[-1]["loss"] < history[0]["loss"]


def test_held_out_pictures_are_never_trained_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    split, seen = world.split, set()
    gatherer = Batches.gatherer

    def watched(batches: Batches, *arguments):
        gather = gatherer(batches, *arguments)
        if len(batches) < 800:
            return gather
        return lambda index: seen.update(index.tolist()) or gather(index)

    monkeypatch.setattr(Batches, "gatherer", watched)
    everything, fitted = set(range(800)), set(split.fit.tolist())
    for config in (replace(GENERALIST, optimisation=BRIEF), SPECIALIST, FULL, DISTILLED, MIXTURE):
        seen.clear()
        world.of(config)[0](config, world.of(config)[1])
        assert seen
        assert seen <= fitted
    seen.clear()
    with_held_out = replace(DISTILLED, held_out=True)
    world.of(with_held_out)[0](with_held_out, world.of(with_held_out)[1])
    assert seen == everything


@pytest.mark.parametrize("method", METHODS)
def test_assignments(method: str, world: World) -> None:
    config = replace(ASSIGNMENT, method=method)
    found = world.metrics(config)
    subsets = found["subsets"]
    superclasses = torch.tensor(world.split.pictures.superclasses)
    assert len(subsets) == (21 if method == "superclasses" else 4)
    assert all(len(set(subset)) == 5 and subset == sorted(subset) for subset in subsets)
    logits = world.tensors(GENERALIST)["fit"]
    points = specialists.columns(specialists.covariance(logits.double().softmax(1)))
    if method == "random":
        assert found == {"subsets": [list(s) for s in specialists.random_subsets(24, 4, 5, 0)]}
        assert world.metrics(replace(config, seed=1))["subsets"] != subsets
        return
    clusters = torch.tensor(found["clusters"])
    if method == "superclasses":
        assert torch.equal(clusters[:, None] == clusters, superclasses[:, None] == superclasses)
        assert found["rand_index"] == 1
    elif method == "confusion":
        points = specialists.columns(specialists.confusion(logits.argmax(1), world.split.fit_labels, 24))
    if method in ("covariance", "covariance on-line", "confusion"):
        again = specialists.cluster(points, 4, 0, online=method == "covariance on-line")
        assert torch.equal(clusters, again)
        assert found["rand_index"] < 1
    assert subsets == [list(subset) for subset in specialists.subsets(points, clusters, 5)]
    assert found["class_names"] == list(world.split.pictures.class_names)
    assert ("correlation" in found) == (method == "covariance")
    if method == "covariance":
        expected = torch.from_numpy(np.corrcoef(logits.double().softmax(1).numpy(), rowvar=False))
        torch.testing.assert_close(torch.tensor(found["correlation"]).double(), expected, atol=6e-4, rtol=0)


def test_an_unknown_method_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match=r"Unknown way to assign classes 'guess': choose from covariance, .*random\."):
        experiment.run(replace(ASSIGNMENT, method="guess"), world.store)


@pytest.mark.parametrize("config", [SPECIALIST, FULL, replace(SPECIALIST, share=0.2, index=2)])
def test_specialists_metrics_agree_with_their_logits_and_weights(config: Specialist, world: World) -> None:
    record, tensors, split = world.record(config), world.tensors(config), world.split
    found, subset = record["metrics"], world.subsets[config.index]
    assert tuple(found["subset"]) == subset
    special, _ = special_and_rest(config, subset, split)
    assert (found["special_cases"], found["pictures_seen"]) == (len(special), 2 * len(special))
    outputs = 24 if config.softmax == "full" else 6
    assert tensors["test"].shape == (240, outputs)
    assert "fit" not in tensors
    model = experiment.restore(config, world.store)
    images = split.pictures.train_images[split.held_out]
    torch.testing.assert_close(logits_of(model, Batches.of(images)), tensors["held_out"])
    assert isinstance(model[-1], MergedDustbin) == (config.softmax == "dustbin")
    labels = split.pictures.test_labels
    assert found["generalist"] == on_classes(world.tensors(GENERALIST)["test"], subset, labels, "full")
    scores = tensors["test"]
    if config.softmax == "dustbin":
        share = torch.isin(split.fit_labels, torch.tensor(subset)).double().mean().item()
        scores = specialists.corrected(scores, share)
        assert found["dustbin"] == dustbin_calibration(tensors["held_out"], subset, split)
        assert found["dustbin"]["corrected"] > found["dustbin"]["raw"]
    assert found["specialist"] == on_classes(scores, subset, labels, config.softmax)
    chosen = torch.isin(split.held_out_labels, torch.tensor(subset))
    columns = list(subset) if config.softmax == "full" else list(range(5))
    seen = tensors["held_out"][chosen][:, columns]
    targets = torch.tensor([subset.index(label) for label in split.held_out_labels[chosen].tolist()])
    last = record["history"][-1]
    assert last["special_cross_entropy"] == pytest.approx(F.cross_entropy(seen, targets).item(), rel=1e-4)
    assert last["special_accuracy"] == pytest.approx(percent((seen.argmax(1) == targets).tolist()))


def test_a_specialist_starts_as_the_generalist(world: World) -> None:
    split, logits = world.split, world.tensors(GENERALIST)["test"]
    subset = world.subsets[0]
    start = experiment.build(FULL, subset, world.store)
    torch.testing.assert_close(logits_of(start, Batches.of(split.pictures.test_images)), logits)
    cut = experiment.build(SPECIALIST, subset, world.store)
    found = logits_of(cut, Batches.of(split.pictures.test_images))
    p = logits.double().softmax(1)
    others = [c for c in range(24) if c not in subset]
    merged = torch.cat([p[:, list(subset)], p[:, others].sum(1, keepdim=True)], 1)
    share = experiment.special_share(subset, split)
    torch.testing.assert_close(specialists.corrected(found, share).exp(), merged, atol=1e-5, rtol=1e-4)
    before, after = generalists.weights(cut), world.tensors(SPECIALIST)
    assert not [name for name in before if torch.equal(before[name], after[name])]  # all of it is trained


def test_the_watch_looks_at_most_so_often_and_at_the_end(world: World) -> None:
    subset = world.subsets[0]
    model = experiment.build(SPECIALIST, subset, world.store).train()
    for epochs, expected in {1: [1], 3: [1, 2, 3], 15: list(range(1, 16)), 32: [*range(3, 31, 3), 32]}.items():
        config = replace(SPECIALIST, optimisation=replace(BRIEF, epochs=epochs))
        watch = experiment.Watch(config, subset, world.split)
        assert [epoch for epoch in range(1, epochs + 1) if watch(model)] == expected
        assert len(expected) <= experiment.EVALUATIONS
    assert model.training


def test_specialists_of_the_same_subset_differ(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    subset = world.subsets[0]
    monkeypatch.setattr(experiment, "subsets_of", lambda assignment, store: [subset] * 2)
    weights = []
    for config in (SPECIALIST, replace(SPECIALIST, index=1), replace(SPECIALIST, seed=1)):
        store = Store(world.store.folder.parent / "specialists", 99)
        experiment.run(config, store)
        weights.append(store.tensors(config)["weights.0.weight"])
    assert torch.equal(weights[0], world.tensors(SPECIALIST)["weights.0.weight"])
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_combination_is_of_the_corrected_specialists(world: World) -> None:
    found, split = world.metrics(COMBINATION), world.split
    assert found["specialists"] == 4
    assert [member.index for member in COMBINATION.members(world.store)] == [0, 1, 2, 3]
    seen = world.tensors(GENERALIST)
    for part, labels in {"held_out": split.held_out_labels, "test": split.pictures.test_labels}.items():
        answers = []
        for member, subset in zip(COMBINATION.members(world.store), world.subsets, strict=True):
            share = torch.isin(split.fit_labels, torch.tensor(subset)).double().mean().item()
            answers.append(Answer(subset, specialists.corrected(world.tensors(member)[part], share)))
        assert found[part] == combined(seen[part], answers, labels)


def test_soft_targets_are_the_combinations_distributions(world: World) -> None:
    split, generalist = world.split, world.tensors(GENERALIST)
    targets, own = world.tensors(TARGETS), world.tensors(OWN)
    for part, labels in {"fit": split.fit_labels, "held_out": split.held_out_labels}.items():
        torch.testing.assert_close(own[part], generalist[part].softmax(1))
        assert targets[part].shape == (len(labels), 24)
        torch.testing.assert_close(targets[part].sum(1), torch.ones(len(labels)))
        q = targets[part]
        found = world.metrics(TARGETS)
        assert found[f"{part}_accuracy"] == pytest.approx(percent((q.argmax(1) == labels).tolist()))
        assert found[f"{part}_entropy"] == pytest.approx(-(q * q.log()).sum(1).mean().item(), rel=1e-4)
    answers = experiment.answers_of(COMBINATION.members(world.store), world.store, split, "held_out")
    for n in (1, 2):
        active = specialists.active(generalist["held_out"], world.subsets, n)
        assert not active.all()
        expected = specialists.combine(generalist["held_out"], answers, active).float()
        found = world.tensors(replace(TARGETS, n=n))["held_out"]
        torch.testing.assert_close(found, expected, atol=1e-2, rtol=0)  # within 1e-4 nats
    accuracy = next(
        row for row in world.metrics(COMBINATION)["held_out"]["combined"] if (row["n"], row["by"]) == (1, "kl")
    )["accuracy"]
    assert world.metrics(TARGETS)["held_out_accuracy"] == pytest.approx(accuracy, abs=1.3)  # a tie at most


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_students_loss_is_that_of_section_2_on_their_targets(temperature: float, world: World) -> None:
    split, config = world.split, replace(DISTILLED, temperature=temperature, hard_weight=0.25)
    store = world.of(config)[1]
    loss = open_questions.loss_of(config, split, store)
    logits = drawn(80, 24)
    cases = torch.cat([split.fit[:50], split.held_out[:30]])
    q = torch.cat([world.tensors(TARGETS)["fit"][:50], world.tensors(TARGETS)["held_out"][:30]])
    q = q.double() ** (1 / temperature)
    q /= q.sum(1, keepdim=True)
    soft = -(temperature**2) * (q * (logits.double() / temperature).log_softmax(1)).sum(1).mean()
    labelled = F.cross_entropy(logits[:50], split.fit_labels[:50])  # the held-out pictures' labels are not used
    assert loss(logits, cases).item() == pytest.approx((0.75 * soft + 0.25 * labelled).item(), rel=1e-4)
    hard = open_questions.loss_of(replace(config, targets=None), split, store)
    labels = split.fit_labels[:80]
    assert hard(logits, split.fit[:80]).item() == pytest.approx(F.cross_entropy(logits, labels).item())


def test_students(world: World) -> None:
    found = world.metrics(DISTILLED)
    assert set(found) == {"accuracy", "held_out_accuracy", "pictures_seen"}
    assert found["pictures_seen"] == 720
    more = world.metrics(replace(DISTILLED, held_out=True))
    assert set(more) == {"accuracy", "pictures_seen"}  # what was trained on is not held out
    assert more["pictures_seen"] == 800
    others = [replace(DISTILLED, targets=OWN), replace(DISTILLED, targets=None), replace(DISTILLED, temperature=3.0)]
    losses = [world.record(config)["history"][0]["loss"] for config in (DISTILLED, *others)]
    assert len(set(losses)) == 4
    with pytest.raises(ValueError, match="Held-out pictures have no hard targets"):
        open_questions.run(replace(DISTILLED, targets=None, held_out=True), world.of(DISTILLED)[1])


def test_a_student_starts_from_nothing_or_as_the_generalist(world: World) -> None:
    still = replace(DISTILLED, optimisation=replace(BRIEF, learning_rate=0.0))
    continued = replace(still, continued=True)
    gap = world.metrics(continued)["accuracy"] - world.metrics(GENERALIST)["accuracy"]
    assert abs(gap) < 8  # only the statistics of its normalisations move
    losses = [world.record(config)["history"][0]["loss"] for config in (continued, still)]
    assert losses[0] < losses[1] - 0.05


def test_mixtures(world: World) -> None:
    found, start = world.metrics(MIXTURE), replace(MIXTURE, start=GENERALIST)
    one, gate = (
        sum(parameter.numel() for parameter in generalists.residual_net(1, widths, classes).parameters())
        for widths, classes in (((4, 8), 24), ((2, 4), 2))
    )
    assert found["parameters"] == 2 * one + gate
    assert (found["pictures_seen"], found["expert_passes"]) == (720, 1440)
    assert sum(found["gate_mean"]) == pytest.approx(1)
    assert len(found["gate_mean"]) == 2
    assert 1 <= found["gate_perplexity"] <= 2
    losses = [world.record(config)["history"][0]["loss"] for config in (start, MIXTURE)]
    assert losses[0] < losses[1]
    fresh = open_questions.build_mixture(MIXTURE, world.split, world.store)
    assert not torch.equal(*(expert[0].weight for expert in fresh.experts))
    model = open_questions.build_mixture(start, world.split, world.of(MIXTURE)[1])
    logits = logits_of(model, Batches.of(world.split.pictures.test_images))
    torch.testing.assert_close(logits, world.tensors(GENERALIST)["test"].log_softmax(1), atol=1e-4, rtol=1e-4)
    model.experts[0][0].weight.data.zero_()
    assert model.experts[1][0].weight.any()  # the experts are nets of their own


@pytest.mark.parametrize(
    "config",
    [GENERALIST, ASSIGNMENT, SPECIALIST, FULL, COMBINATION, TARGETS, DISTILLED, MIXTURE],
    ids=lambda config: type(config).__name__,
)
def test_the_same_configuration_gives_the_same_record(config, world: World) -> None:
    run, store = world.of(config)
    before = world.record(config)
    torch.manual_seed(123)  # the caller's generator does not matter
    again = run(config, store)
    assert json.loads(json.dumps(again["metrics"])) == before["metrics"]
    assert again["history"] == before["history"]


@pytest.mark.parametrize("config", [GENERALIST, DISTILLED, MIXTURE], ids=lambda config: type(config).__name__)
def test_another_seed_gives_another_net(config, world: World) -> None:
    run, store = world.of(config)
    brief = replace(config, optimisation=replace(BRIEF, learning_rate=0.2))
    losses = {run(replace(brief, seed=seed), store)["history"][0]["loss"] for seed in (0, 1)}
    assert len(losses) == 2


def test_everything_missing_is_made_in_order_and_nothing_twice(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for module in (generalists, experiment, open_questions):
        really = module.run
        noted = lambda config, store, really=really: made.append(config) or really(config, store)  # noqa: E731
        monkeypatch.setattr(module, "run", noted)
    monkeypatch.setattr(open_questions, "train_specialist", experiment.run)
    brief = replace(GENERALIST, optimisation=replace(BRIEF, learning_rate=0.2))
    targets = SoftTargets(
        Combination(replace(SPECIALIST, assignment=replace(ASSIGNMENT, generalist=brief, method="random", number=2)))
    )
    student = Distilled(brief, targets, optimisation=BRIEF)
    store = Store(tmp_path / "records" / "open_questions", open_questions.RECIPE)
    open_questions.run_all([student], store, name="test")
    first = targets.combination.first
    assert made == [brief, first.assignment, first, replace(first, index=1), targets, student]
    open_questions.run_all([student], store, name="test")
    beside = experiment.specialist_store(store)
    experiment.run_all([targets.combination], beside, name="test")
    assert made[6:] == [targets.combination]
    store.path(student).unlink()
    store.tensors_path(targets).unlink()
    beside.tensors_path(first).unlink()
    made.clear()
    open_questions.run_all([student], store, name="test")
    assert made == [first, targets, student]  # what is not on this disk


def test_nothing_is_trained_without_what_it_needs(tmp_path: Path) -> None:
    store = Store(tmp_path / "records" / "specialists", experiment.RECIPE)
    for config in (ASSIGNMENT, SPECIALIST, COMBINATION):
        with pytest.raises(StoreError, match=r"is missing|is not on this disk"):
            experiment.run(config, store)
    for config in (TARGETS, DISTILLED, replace(MIXTURE, start=GENERALIST)):
        with pytest.raises(StoreError, match=r"is missing|is not on this disk"):
            open_questions.run(config, Store(tmp_path / "records" / "open_questions", open_questions.RECIPE))
