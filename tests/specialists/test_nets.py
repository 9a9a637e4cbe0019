"""Specialists: the dustbin, what they are trained on and what is measured, by hand; and all of it on a few styles."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distillation.core.store import Store, StoreError
from distillation.core.training import Optimisation, device, logits_of
from distillation.specialists import generalists, nets
from distillation.specialists.assignment import Assignment, subsets_of
from distillation.specialists.convnets import MergedDustbin
from distillation.specialists.data import Pictures
from distillation.specialists.generalists import Batches, Generalist, Split
from distillation.specialists.nets import (
    Specialist,
    dustbin_calibration,
    half_and_half,
    on_classes,
    special_and_rest,
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def percent(values: list[bool]) -> float:
    return 100 * sum(values) / len(values)


# The dustbin


def test_dustbin_labels() -> None:
    found = nets.dustbin_labels(torch.tensor([0, 1, 2, 3, 4, 4]), [4, 1], 5)
    assert found.tolist() == [2, 1, 2, 2, 0, 0]
    for wrong in (5, -1):
        with pytest.raises(ValueError, match="but there are 5 classes"):
            nets.dustbin_labels(torch.tensor([wrong]), [4, 1], 5)


@pytest.mark.parametrize(
    ("subset", "message"),
    [([], "empty"), ([0, 1, 2, 3], "all 4"), ([1, 4, -1], r"\[4, -1\]"), ([2, 1, 2], r"\[2\] more than once")],
)
def test_bad_subsets_have_no_dustbin_labels(subset: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nets.dustbin_labels(torch.tensor([0]), subset, 4)


def test_the_papers_shift_for_ten_classes_of_a_hundred() -> None:
    assert nets.dustbin_shift(0.1) == pytest.approx(math.log(9))


@given(st.floats(0.001, 0.999), st.floats(0.05, 0.95), st.integers(0, 1000))
def test_the_shift_turns_the_sampled_posterior_into_the_true_one(share: float, sampled: float, seed: int) -> None:
    """Discrete features with known class-conditional probabilities, so that both posteriors are exact."""
    random = torch.Generator().manual_seed(seed)
    likelihood = torch.rand(7, 5, generator=random, dtype=torch.float64).softmax(0)  # (features, classes)
    prior = torch.rand(5, generator=random, dtype=torch.float64)
    special, rest = prior[:2] / prior[:2].sum(), prior[2:] / prior[2:].sum()

    def posterior(weight: float) -> Tensor:
        joint = likelihood * torch.cat([special * weight, rest * (1 - weight)])
        collapsed = torch.cat([joint[:, :2], joint[:, 2:].sum(1, keepdim=True)], dim=1)
        return collapsed / collapsed.sum(1, keepdim=True)

    raised = posterior(sampled).log()
    raised[:, -1] += nets.dustbin_shift(share, sampled)
    assert torch.allclose(raised.softmax(-1), posterior(share), rtol=1e-10, atol=0)
    logits = posterior(0.5).log() + 3.0
    before = logits.clone()
    assert torch.allclose(nets.corrected(logits, share).exp(), posterior(share), rtol=1e-10, atol=0)
    assert torch.equal(logits, before)


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, math.nan])
def test_impossible_shares_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="share must lie between 0 and 1"):
        nets.dustbin_shift(bad)
    with pytest.raises(ValueError, match="sampled must lie between 0 and 1"):
        nets.dustbin_shift(0.1, bad)


def test_a_diverged_specialist_is_refused() -> None:
    with pytest.raises(ValueError, match="diverged"):
        nets.corrected(torch.tensor([[0.0, math.inf]]), 0.1)


# What a specialist is trained on


def pictures(superclasses: tuple[int, ...], cases: int = 60) -> Pictures:
    classes = len(superclasses)
    images = torch.arange(cases, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32).contiguous()
    labels = torch.arange(cases) % classes
    names = tuple(f"class {c}" for c in range(classes))
    return Pictures("cifar-100", images, labels, images + 100, labels.flip(0), names, superclasses, ("a", "b", "c"))


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
def test_special_and_rest_are_a_share_of_each_class_and_all_others(share: float, specialist: Specialist) -> None:
    split, subset = small_split(), (1, 4)
    special, rest = special_and_rest(replace(specialist, share=share), subset, split)
    labels = split.pictures.train_labels
    fit = split.fit.tolist()
    expected = []
    for label in subset:
        of_class = [case for case in fit if labels[case] == label]
        expected += of_class[: max(1, round(share * len(of_class)))]
    assert special.tolist() == expected
    assert rest.tolist() == [case for case in fit if labels[case] not in subset]
    assert labels[special].unique().tolist() == [1, 4]


def test_losses_of_specialists(specialist: Specialist, monkeypatch: pytest.MonkeyPatch) -> None:
    split, subset, index = small_split(), (3, 1), torch.arange(60)[::2]
    labels = split.pictures.train_labels[index].tolist()
    logits = drawn(30, 3, seed=1)
    positions = [{3: 0, 1: 1}.get(label, 2) for label in labels]
    by_hand = -sum(logits.log_softmax(1)[row, place] for row, place in enumerate(positions)) / 30
    told = Store(Path("records"))
    found = nets.loss_of(specialist, subset, split, told)(logits.to(device()), index.to(device()))
    torch.testing.assert_close(found.cpu(), by_hand)
    with pytest.raises(ValueError, match=r"Unknown softmax 'half': use 'dustbin' or 'full'\."):
        nets.loss_of(replace(specialist, softmax="half"), subset, split, told)

    said, full = drawn(40, 5, seed=2), drawn(40, 5, seed=3)
    monkeypatch.setattr(nets, "fit_logits", lambda *_: said)
    found = nets.loss_of(replace(specialist, softmax="full"), subset, split, told)
    total = 0.0
    for row, case in enumerate(split.fit.tolist()):
        label = int(split.pictures.train_labels[case])
        target = F.one_hot(torch.tensor(label), 5) if label in subset else said[row].softmax(0)
        total -= (target * full[row].log_softmax(0)).sum().item()
    assert found(full.to(device()), split.fit.to(device())).item() == pytest.approx(total / 40, rel=1e-5)


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
    assert nets.special_share(subset, split) == pytest.approx(share)
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


# On a few styles


@pytest.fixture
def subset(assignment: Assignment, made: Store) -> tuple[int, ...]:
    """The first specialist's."""
    return subsets_of(assignment, made)[0]


@pytest.mark.parametrize("changes", [{}, {"softmax": "full"}, {"share": 0.2, "index": 2}])
def test_metrics_agree_with_logits_and_weights(
    changes: dict, specialist: Specialist, split: Split, made: Store
) -> None:
    config = replace(specialist, **changes)
    record, tensors = made.read(config), made.tensors(config)
    found, subset = record["metrics"], subsets_of(config.assignment, made)[config.index]
    assert tuple(found["subset"]) == subset
    special, _ = special_and_rest(config, subset, split)
    assert (found["special_cases"], found["pictures_seen"]) == (len(special), 2 * len(special))
    model = nets.restore(config, made)
    images = {"held_out": split.pictures.train_images[split.held_out], "test": split.pictures.test_images}
    logits = {part: logits_of(model, Batches.of(each)) for part, each in images.items()}
    assert logits["test"].shape == (240, 24 if config.softmax == "full" else 6)
    stored = {"held_out", "test"} if config.softmax == "dustbin" else set()  # all classes' would be many
    assert {name for name in tensors if not name.startswith("weights.")} == stored
    for part in stored:
        torch.testing.assert_close(logits[part], tensors[part])
    assert isinstance(model[-1], MergedDustbin) == (config.softmax == "dustbin")
    labels = split.pictures.test_labels
    alone = made.tensors(config.assignment.generalist)["test"]
    assert found["generalist"] == on_classes(alone, subset, labels, "full")
    scores = logits["test"]
    if config.softmax == "dustbin":
        share = torch.isin(split.fit_labels, torch.tensor(subset)).double().mean().item()
        scores = nets.corrected(scores, share)
        assert found["dustbin"] == dustbin_calibration(tensors["held_out"], subset, split)
        assert found["dustbin"]["corrected"] > found["dustbin"]["raw"]
    assert found["specialist"] == on_classes(scores, subset, labels, config.softmax)
    assert config.main_figure(found) == found["specialist"]["special_accuracy"]
    chosen = torch.isin(split.held_out_labels, torch.tensor(subset))
    columns = list(subset) if config.softmax == "full" else list(range(5))
    seen = logits["held_out"][chosen][:, columns]
    targets = torch.tensor([subset.index(label) for label in split.held_out_labels[chosen].tolist()])
    last = record["history"][-1]
    assert last["special_cross_entropy"] == pytest.approx(F.cross_entropy(seen, targets).item(), rel=1e-4)
    assert last["special_accuracy"] == pytest.approx(percent((seen.argmax(1) == targets).tolist()))


def test_a_specialist_starts_as_the_generalist(
    specialist: Specialist, generalist: Generalist, subset: tuple[int, ...], split: Split, made: Store
) -> None:
    logits = made.tensors(generalist)["test"]
    start = nets.build(replace(specialist, softmax="full"), subset, made)
    torch.testing.assert_close(logits_of(start, Batches.of(split.pictures.test_images)), logits)
    cut = nets.build(specialist, subset, made)
    found = logits_of(cut, Batches.of(split.pictures.test_images))
    p = logits.double().softmax(1)
    others = [c for c in range(24) if c not in subset]
    merged = torch.cat([p[:, list(subset)], p[:, others].sum(1, keepdim=True)], 1)
    share = nets.special_share(subset, split)
    torch.testing.assert_close(nets.corrected(found, share).exp(), merged, atol=1e-5, rtol=1e-4)
    before, after = generalists.weights(cut), made.tensors(specialist)
    assert not [name for name in before if torch.equal(before[name], after[name])]  # all of it is trained


def test_the_watch_looks_at_most_so_often_and_at_the_end(
    specialist: Specialist, brief: Optimisation, subset: tuple[int, ...], split: Split, made: Store
) -> None:
    model = nets.build(specialist, subset, made).train()
    for epochs, expected in {1: [1], 3: [1, 2, 3], 15: list(range(1, 16)), 32: [*range(3, 31, 3), 32]}.items():
        config = replace(specialist, optimisation=replace(brief, epochs=epochs))
        watch = nets.Watch(config, subset, split)
        assert [epoch for epoch in range(1, epochs + 1) if watch(model)] == expected
        assert len(expected) <= nets.EVALUATIONS
    assert model.training


def test_specialists_of_the_same_subset_differ(
    specialist: Specialist, subset: tuple[int, ...], made: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = made.tensors(specialist)["weights.0.weight"]
    store = Store(tmp_path / "records")
    shutil.copytree(made.folder / "generalists", store.folder / "generalists")
    monkeypatch.setattr(nets, "subsets_of", lambda assignment, store: [subset] * 2)
    weights = []
    for config in (specialist, replace(specialist, index=1), replace(specialist, seed=1)):
        config.run(store)
        weights.append(store.tensors(config)["weights.0.weight"])
    assert torch.equal(weights[0], expected)
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("softmax", ["dustbin", "full"])
def test_the_same_specialist_gives_the_same_record(softmax: str, specialist: Specialist, made: Store) -> None:
    config = replace(specialist, softmax=softmax)
    before = made.read(config)
    torch.manual_seed(123)  # the caller's generator does not matter
    again = config.run(made)
    assert json.loads(json.dumps(again["metrics"])) == before["metrics"]
    assert again["history"] == before["history"]


def test_a_specialist_starts_from_its_assignment_and_generalist(specialist: Specialist, store: Store) -> None:
    assert specialist.starts_from(store) == [specialist.assignment, specialist.assignment.generalist]
    with pytest.raises(StoreError, match=r"is missing"):
        specialist.run(store)
