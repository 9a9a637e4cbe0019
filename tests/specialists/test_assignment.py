"""Which classes go together, and which specialist takes which: each step by hand, and all of it on a few styles."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distillation.core.store import Store, StoreError
from distillation.specialists import assignment as assigning
from distillation.specialists.assignment import METHODS, Assignment, eta_squared, looks
from distillation.specialists.generalists import fit_logits, load


def test_covariance_is_numpys() -> None:
    p = torch.randn(50, 6).softmax(-1)
    found = assigning.covariance(p.split(7))
    assert found.dtype == torch.float64
    assert np.allclose(found, np.cov(p.double().numpy(), rowvar=False), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("bad", [[math.nan, 1.0], [1.5, -0.5], [0.5, 0.6]])
def test_covariance_refuses_what_is_no_distribution(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="predictions"):
        assigning.covariance([torch.tensor([[0.5, 0.5]]), torch.tensor([bad])])


def test_covariance_of_one_case_is_refused() -> None:
    with pytest.raises(ValueError, match="two cases"):
        assigning.covariance([torch.tensor([[0.5, 0.5]])])


def test_columns_have_unit_length_and_no_diagonal() -> None:
    matrix = torch.tensor([[9.0, 3e-9, 0.0], [4.0, 7.0, 0.0], [3.0, 4e-9, 5.0]])
    found = assigning.columns(matrix)
    assert torch.allclose(found, torch.tensor([[0, 0.8, 0.6], [0.6, 0, 0.8], [0, 0, 0]], dtype=torch.float64))
    assert matrix[0, 0] == 9


def test_confusion_counts_errors_either_way_round() -> None:
    predicted, labels = torch.tensor([0, 1, 1, 0, 2, 2]), torch.tensor([0, 0, 0, 1, 1, 2])
    assert assigning.confusion(predicted, labels, 4).tolist() == [[0, 3, 0, 0], [3, 0, 1, 0], [0, 1, 0, 0], [0] * 4]
    with pytest.raises(ValueError, match="from 0 to 2, but there are 2 classes"):
        assigning.confusion(predicted, labels, 2)


def confusable(groups: list[list[int]], cases: int = 3000) -> Tensor:
    """Predictions of a generalist that is unsure within these groups only."""
    random = torch.Generator().manual_seed(0)
    classes = sum(map(len, groups))
    logits = torch.randn(cases, classes, generator=random)
    chosen = torch.randint(len(groups), (cases,), generator=random)
    for number, group in enumerate(groups):
        logits[:, group] += 6.0 * (chosen == number)[:, None]
    return logits.softmax(-1)


@pytest.mark.parametrize("online", [False, True])
def test_clusters_are_the_groups_that_are_confused(online: bool) -> None:
    groups = [[0, 5, 7], [1, 2, 8, 11], [3, 4], [6, 9, 10]]
    points = assigning.columns(assigning.covariance([confusable(groups)]))
    found = assigning.cluster(points, 4, 0, online=online)
    assert found.dtype == torch.int64
    assert [(found == name).nonzero().flatten().tolist() for name in range(4)] == groups
    assert torch.equal(found, assigning.cluster(points, 4, 0, online=online))


def test_clusters_do_not_depend_on_how_often_a_class_is_predicted() -> None:
    """The variance and the size of a class's covariances say how often it is predicted: neither is clustered."""
    matrix = assigning.covariance([confusable([[0, 1, 2], [3, 4, 5], [6, 7, 8]])])
    matrix[0] *= 1e-4
    matrix.fill_diagonal_(100.0)
    assert assigning.cluster(assigning.columns(matrix), 3, 0).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("number", [0, 1, 6])
def test_a_number_of_clusters_that_is_impossible_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="choose from 2 to 5"):
        assigning.cluster(torch.randn(5, 5), number, 0)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_clusters_without_members_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 2"):
        assigning.cluster(torch.tensor([[0.0], [0.0], [1.0], [1.0]]), 3, 0)


def test_subsets_are_the_nearest_to_the_centroids_and_overlap() -> None:
    points, clusters = torch.randn(12, 3, dtype=torch.float64), torch.tensor([7] * 6 + [2] * 3 + [4] * 3)
    found = assigning.subsets(points, clusters, 5)
    for name, subset in zip([2, 4, 7], found, strict=True):
        centroid = points[clusters == name].numpy().mean(0)
        nearest = np.argsort([np.linalg.norm(point - centroid) for point in points.numpy()])[:5]
        assert subset == tuple(sorted(nearest.tolist()))
    assert len(set().union(*found)) < 12
    assert sum(map(len, found)) > len(set().union(*found))


def test_subsets_errors() -> None:
    points, clusters = torch.randn(6, 2), torch.tensor([0, 0, 0, 1, 1, 1])
    for size in (0, 6):
        with pytest.raises(ValueError, match=f"from 1 to 5 of them, not {size}"):
            assigning.subsets(points, clusters, size)
        with pytest.raises(ValueError, match=f"from 1 to 5 of them, not {size}"):
            assigning.random_subsets(range(6), 2, size, 0)
    with pytest.raises(ValueError, match="6 points but clusters of shape"):
        assigning.subsets(points, clusters[:5], 3)


def test_random_families_stay_whole_but_for_the_last() -> None:
    groups = [0, 1, 1, 2, 0, 3, 3, 3, 4, 2]
    for subset in assigning.random_subsets(groups, 50, 5, 0):
        inside = [groups[label] for label in subset]
        cut = [group for group in set(inside) if inside.count(group) < groups.count(group)]
        assert len(subset) == len(set(subset)) == 5
        assert len(cut) <= 1
    assert len(set(assigning.random_subsets(groups, 50, 5, 0))) > 10


def test_random_subsets_repeat_with_their_seed() -> None:
    found = assigning.random_subsets(range(30), 8, 6, 1)
    assert found == assigning.random_subsets(range(30), 8, 6, 1) != assigning.random_subsets(range(30), 8, 6, 2)
    assert len(set(found)) == 8
    for subset in found:
        assigning.check_subset(subset, 30)
        assert len(subset) == 6
        assert list(subset) == sorted(subset)


@pytest.mark.parametrize(
    ("subset", "message"),
    [([], "empty"), ([0, 1, 2, 3], "all 4"), ([1, 4, -1], r"\[4, -1\]"), ([2, 1, 2], r"\[2\] more than once")],
)
def test_bad_subsets_are_named(subset: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assigning.check_subset(subset, 4)


@pytest.mark.parametrize("method", METHODS)
def test_assignments(method: str, assignment: Assignment, made: Store) -> None:
    config, split = replace(assignment, method=method), load(assignment.generalist.data)
    found = made.metrics(config)
    subsets = found["subsets"]
    superclasses = torch.tensor(split.pictures.superclasses)
    assert len(subsets) == (12 if method == "superclasses" else 4)
    assert all(len(set(subset)) == 5 and subset == sorted(subset) for subset in subsets)
    assert assigning.subsets_of(config, made) == [tuple(subset) for subset in subsets]
    logits = fit_logits(assignment.generalist, made)
    points = assigning.columns(assigning.covariance([logits.double().softmax(1)]))
    if method in ("families", "random"):
        groups = superclasses.tolist() if method == "families" else range(24)
        assert found == {"subsets": [list(s) for s in assigning.random_subsets(groups, 4, 5, 0)]}
        assert made.metrics(replace(config, seed=1))["subsets"] != subsets
        return
    clusters = torch.tensor(found["clusters"])
    if method == "superclasses":
        assert torch.equal(clusters[:, None] == clusters, superclasses[:, None] == superclasses)
        assert found["rand_index"] == 1
    elif method == "confusion":
        points = assigning.columns(assigning.confusion(logits.argmax(1), split.fit_labels, 24))
    if method in ("covariance", "covariance on-line", "confusion"):
        again = assigning.cluster(points, 4, 0, online=method == "covariance on-line")
        assert torch.equal(clusters, again)
        assert found["rand_index"] < 1
    assert subsets == [list(subset) for subset in assigning.subsets(points, clusters, 5)]
    assert found["class_names"] == list(split.pictures.class_names)
    assert ("correlation" in found) == (method == "covariance")
    if method == "covariance":
        expected = torch.from_numpy(np.corrcoef(logits.double().softmax(1).numpy(), rowvar=False))
        torch.testing.assert_close(torch.tensor(found["correlation"]).double(), expected, atol=6e-4, rtol=0)


def test_an_unknown_method_is_refused(assignment: Assignment, made: Store) -> None:
    with pytest.raises(ValueError, match=r"Unknown way to assign classes 'guess': choose from covariance, .*random\."):
        replace(assignment, method="guess").run(made)


def test_the_same_assignment_gives_the_same_record(assignment: Assignment, made: Store) -> None:
    before = made.metrics(assignment)
    torch.manual_seed(123)  # the caller's generator does not matter
    assert json.loads(json.dumps(assignment.run(made)["metrics"])) == before


def test_nothing_is_assigned_without_the_generalist(assignment: Assignment, store: Store) -> None:
    with pytest.raises(StoreError, match=r"is not on this disk"):
        assignment.run(store)


# What clusters have in common


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_eta_squared_is_the_variance_between_clusters(classes: list[tuple[int, bool]]) -> None:
    clusters, has = zip(*classes, strict=True)
    mean = sum(has) / len(has)
    if mean in (0, 1):
        assert eta_squared(clusters, has) == 0
        return
    of = {name: [value for other, value in classes if other == name] for name in clusters}
    between = sum(len(values) * (sum(values) / len(values) - mean) ** 2 for values in of.values())
    assert eta_squared(clusters, has) == pytest.approx(between / (len(has) * mean * (1 - mean)), abs=1e-9)


def test_random_clusters_explain_what_is_said() -> None:
    random = torch.Generator().manual_seed(0)
    clusters, has = (torch.arange(200) % 10).tolist(), torch.rand(200, generator=random) < 0.3
    found = [eta_squared(clusters, has[torch.randperm(200, generator=random)].tolist()) for _ in range(300)]
    assert sum(found) / len(found) == pytest.approx(9 / 199, abs=0.004)


def test_looks_are_what_names_say_after_the_last_hyphen() -> None:
    names = ("Abel-Regular", "BlackOpsOne-Regular", "Lato-BlackItalic", "Lato-Thin", "DroidSans-Bold", "Light")
    assert looks(names) == {
        "slanted": [False, False, True, False, False, False],
        "bold": [False, False, True, False, True, False],
        "light": [False, False, False, True, False, False],
    }
