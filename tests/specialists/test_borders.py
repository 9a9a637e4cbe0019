"""Labels, masks and pictures of other types, other precisions, and what is not finite, at the specialists' borders."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from distillation.specialists import assignment, inference
from distillation.specialists.combination import by_coverage, combined, conditional_accuracy
from distillation.specialists.data import Pictures
from distillation.specialists.generalists import Batches, Split, accuracies, percent_right
from distillation.specialists.inference import Answer
from distillation.specialists.nets import corrected, dustbin_labels, on_classes

INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint64]
CLASSES, SUBSETS = 100, [(0, 40, 99), (40, 41), (7, 3, 98)]
LABELS = torch.randperm(CLASSES, generator=torch.Generator().manual_seed(0)).repeat(2)  # as many as a byte holds


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


SCORES = drawn(200, CLASSES)
PREDICTED = SCORES.argmax(1)
ANSWERS = [Answer(subset, drawn(200, len(subset) + 1, seed=n).log_softmax(1)) for n, subset in enumerate(SUBSETS)]
ACTIVE = inference.active(SCORES, SUBSETS, 30)
COVERED = torch.arange(CLASSES) % 2 == 0
TAKE_LABELS = {
    "confusion, labels": lambda labels: assignment.confusion(PREDICTED, labels, CLASSES),
    "confusion, predicted": lambda labels: assignment.confusion(labels, PREDICTED, CLASSES),
    "dustbin_labels": lambda labels: dustbin_labels(labels, (40, 3), CLASSES),
    "on_classes, full": lambda labels: on_classes(SCORES, (40, 3), labels, "full"),
    "on_classes, dustbin": lambda labels: on_classes(SCORES[:, :3], (40, 3), labels, "dustbin"),
    "percent_right, labels": lambda labels: percent_right(PREDICTED, labels),
    "percent_right, predicted": lambda labels: percent_right(labels, PREDICTED),
    "conditional_accuracy": lambda labels: conditional_accuracy(SCORES, COVERED, labels),
    "combined": lambda labels: combined(SCORES, ANSWERS, labels),
    "pictures": lambda labels: pictures(labels).train_labels,
}


def pictures(labels: Tensor, images: Tensor | None = None) -> Pictures:
    images = torch.zeros(200, 1, 8, 8, dtype=torch.uint8) if images is None else images
    groups = tuple(c % 5 for c in range(CLASSES))
    return Pictures("some", images, labels, images, labels, tuple(map(str, range(CLASSES))), groups, tuple("abcde"))


def equal(a: object, b: object) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) else a == b


# Labels


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", TAKE_LABELS)
def test_labels_of_any_integer_type_give_the_same(name: str, dtype: torch.dtype) -> None:
    assert equal(TAKE_LABELS[name](LABELS.to(dtype)), TAKE_LABELS[name](LABELS))


@pytest.mark.parametrize("name", TAKE_LABELS)
def test_labels_that_are_no_classes_are_refused(name: str) -> None:
    fewer = [LABELS[:1]] if name != "dustbin_labels" else []  # which takes as many as it is given
    for wrong in (LABELS.float(), LABELS > 3, LABELS[:, None], *fewer):
        with pytest.raises(ValueError, match=r"^The .* of shape \(\d+,( 1)?\); pass .*integer"):
            TAKE_LABELS[name](wrong)
    if not name.startswith("percent_right"):  # which knows no number of classes
        for wrong in (LABELS - 1, LABELS + (1 if name != "on_classes, dustbin" else -3)):
            with pytest.raises(ValueError, match=r"lie from -?\d+ to \d+, but there are \d+ classes\.$"):
                TAKE_LABELS[name](wrong)


@pytest.mark.parametrize("classes", [[1.0, 4.0], [True, False], torch.tensor([0.5, 1.0])])
def test_subsets_that_are_no_integers_are_refused(classes: object) -> None:
    with pytest.raises(ValueError, match=r"classes of the subset are torch\.\w+ of shape \(2,\); pass 2 integers"):
        assignment.check_subset(classes, 6)
    with pytest.raises(ValueError, match="classes of the subset"):
        assignment.membership([(0, 1), classes], 6)
    with pytest.raises(ValueError, match="classes of the subset"):
        dustbin_labels(torch.tensor([0]), classes, 6)


def test_subsets_may_be_of_any_integers_but_name_classes_once() -> None:
    expected = dustbin_labels(LABELS, (40, 3), CLASSES)
    for subset in (np.array([40, 3], np.uint8), torch.tensor([40, 3], dtype=torch.int16), [np.int32(40), 3]):
        assert torch.equal(dustbin_labels(LABELS, subset, CLASSES), expected)
    with pytest.raises(ValueError, match="more than once"):
        assignment.check_subset(torch.tensor([2, 1, 2]), 6)
    for wrong in ((1, -1), (1, 6)):  # a negative index would be counted from the end
        with pytest.raises(ValueError, match="but there are 6, counted from 0"):
            assignment.membership([wrong], 6)


def test_clusters_are_integers() -> None:
    points, clusters = drawn(6, 2), torch.tensor([0, 0, 0, 9, 9, 9])
    expected = assignment.subsets(points, clusters, 2)
    for dtype in INTEGERS[:4]:
        assert assignment.subsets(points, clusters.to(dtype), 2) == expected
    with pytest.raises(ValueError, match=r"clusters are torch\.float32"):
        assignment.subsets(points, clusters.float(), 2)


# Precision and what is not finite

METHODS = [inference.combine, inference.own_answer, inference.added_log_probabilities, inference.evidence]


def plain(found: object) -> list[Tensor]:
    return [found] if isinstance(found, Tensor) else list(vars(found).values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_halves_are_combined_in_double_precision(method: Callable, dtype: torch.dtype) -> None:
    few = [Answer(each.subset, each.log_probabilities[:20].to(dtype)) for each in ANSWERS]
    same = [Answer(each.subset, each.log_probabilities.double()) for each in few]
    scores, on = SCORES[:20].to(dtype), ACTIVE[:20]
    for half, full in zip(plain(method(scores, few, on)), plain(method(scores.double(), same, on)), strict=True):
        assert torch.equal(half, full)
        assert half.dtype in (torch.float64, torch.int64)
    assert torch.equal(inference.active(scores, SUBSETS, 3), inference.active(scores.float(), SUBSETS, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_covariances_and_corrections_of_halves_are_in_double_precision(dtype: torch.dtype) -> None:
    shares = SCORES.softmax(1).to(dtype)
    assert torch.allclose(assignment.covariance([shares]), torch.cov(shares.double().T), rtol=1e-12, atol=1e-15)
    assert torch.equal(corrected(SCORES.to(dtype), 0.1), corrected(SCORES.to(dtype).double(), 0.1))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_finite_is_named(method: Callable, bad: float) -> None:
    damaged = SCORES.clone()
    damaged[3, 5] = bad
    with pytest.raises(ValueError, match="generalist's log-probabilities hold NaN, infinity"):
        method(damaged, ANSWERS, ACTIVE)
    for value, place in ((bad, (2, 1)), (-math.inf, (2,))):  # a zero may be, but not all of a case
        answer = ANSWERS[1].log_probabilities.clone()
        answer[place] = value
        with pytest.raises(ValueError, match="log-probabilities of specialist 1 hold NaN, infinity"):
            method(SCORES, [ANSWERS[0], Answer(SUBSETS[1], answer), ANSWERS[2]], ACTIVE)
    with pytest.raises(ValueError, match="generalist's log-probabilities"):
        inference.active(damaged, SUBSETS)
    with pytest.raises(ValueError, match="generalist's predictions hold NaN"):
        assignment.covariance([damaged])
    with pytest.raises(ValueError, match="specialist's logits hold NaN"):
        corrected(damaged, 0.1)
    with pytest.raises(ValueError, match="scores hold NaN"):
        on_classes(damaged, (40, 3), LABELS, "full")
    with pytest.raises(ValueError, match="test logits hold NaN"):
        accuracies({"test": damaged}, Split(pictures(LABELS), torch.arange(150), torch.arange(150, 200)))


# Masks and pictures


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_masks_are_bool(dtype: torch.dtype) -> None:
    for method in METHODS:
        with pytest.raises(ValueError, match=r"active is torch\.\w+; pass bool"):
            method(SCORES, ANSWERS, ACTIVE.to(dtype))
    with pytest.raises(ValueError, match="covered is"):
        conditional_accuracy(SCORES, COVERED.to(dtype), LABELS)
    right = torch.tensor([True, False])
    for before, after in ((right.to(dtype), right), (right, right.to(dtype))):
        with pytest.raises(ValueError, match="pass bool"):
            by_coverage(torch.tensor([0, 1]), before, after)


@pytest.mark.parametrize("images", [torch.rand(200, 1, 8, 8), torch.zeros(200, 8, 8, dtype=torch.uint8)])
def test_pictures_that_are_no_bytes_or_lack_channels_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"pass uint8 \(cases, channels, height, width\)"):
        Batches.of(images)
    with pytest.raises(ValueError, match="train images of some are"):
        pictures(LABELS, images)


def test_outputs_of_a_dustbin_are_counted() -> None:
    with pytest.raises(ValueError, match="100 outputs, not those of 2 classes and a dustbin"):
        on_classes(SCORES, (40, 3), LABELS, "dustbin")
