"""A generalist with its specialists: tables 3 and 4 by hand, and the combination on a few styles of type."""

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from distillation.core.store import Store, StoreError
from distillation.specialists import generalists, inference, nets
from distillation.specialists.assignment import subsets_of
from distillation.specialists.combination import (
    COMBINED_BY,
    Combination,
    answers_of,
    by_coverage,
    by_kl,
    combined,
    conditional_accuracy,
)
from distillation.specialists.generalists import Split
from distillation.specialists.inference import Answer


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def percent(values: list[bool]) -> float:
    return 100 * sum(values) / len(values)


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
    assert [(row["n"], row["by"]) for row in found["combined"]] == [(n, by) for n in (1, 2, 3) for by in COMBINED_BY]

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
            scores = inference.combine(generalist, answers, active)
        elif row["by"] == "own answer":
            scores = generalist.softmax(1)
            own = inference.own_answer(generalist, answers, active)
            scores[torch.arange(42), own] += 1
        else:
            scores = inference.added_log_probabilities(generalist, answers, active)
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


def test_combination_is_of_the_corrected_specialists(combination: Combination, split: Split, made: Store) -> None:
    found, subsets = made.metrics(combination), subsets_of(combination.assignment, made)
    assert found["specialists"] == 4
    members = combination.members(made)
    assert [member.index for member in members] == [0, 1, 2, 3]
    seen = made.tensors(combination.assignment.generalist)
    for part, labels in {"held_out": split.held_out_labels, "test": split.pictures.test_labels}.items():
        answers = []
        for member, subset in zip(members, subsets, strict=True):
            share = torch.isin(split.fit_labels, torch.tensor(subset)).double().mean().item()
            answers.append(Answer(subset, nets.corrected(made.tensors(member)[part], share)))
        assert found[part] == combined(seen[part], answers, labels)
        for one, other in zip(answers_of(members, made, split, part), answers, strict=True):
            assert one.subset == other.subset
            assert torch.equal(one.log_probabilities, other.log_probabilities)
    alone, once = found["test"]["accuracy"], by_kl(found["test"], 1)
    assert (once["n"], once["by"]) == (1, "kl")
    assert combination.main_figure(found) == pytest.approx(100 * (once["accuracy"] - alone) / alone)


def test_the_same_combination_gives_the_same_record(combination: Combination, made: Store) -> None:
    before = made.metrics(combination)
    assert json.loads(json.dumps(combination.run(made)["metrics"])) == before


def test_what_it_starts_from_is_told_by_the_finished_assignment(
    combination: Combination, made: Store, store: Store
) -> None:
    first = [combination.assignment, combination.assignment.generalist]
    assert combination.starts_from(store) == first
    with pytest.raises(StoreError, match=r"is missing|is not on this disk"):
        combination.run(store)
    made.read(combination.assignment)
    members = [replace(combination.first, index=index) for index in range(4)]
    assert combination.starts_from(made) == [*first, *members]
