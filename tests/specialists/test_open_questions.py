"""Sections 7 and 8 on a few styles of type: mixtures, soft targets, students, and what each of them needs."""

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from distillation.core.store import Configuration, Store, StoreError
from distillation.core.sweep import sweep
from distillation.core.training import Optimisation, device, logits_of
from distillation.specialists import inference, open_questions
from distillation.specialists.assignment import Assignment, clusters_of, subsets_of
from distillation.specialists.combination import Combination, answers_of, by_kl
from distillation.specialists.convnets import strided_net
from distillation.specialists.generalists import Batches, Generalist, Split, fit_logits
from distillation.specialists.nets import Specialist
from distillation.specialists.open_questions import Distilled, Mixture, SoftTargets


def percent(values: list[bool]) -> float:
    return 100 * sum(values) / len(values)


@pytest.fixture
def own(soft_targets: SoftTargets) -> SoftTargets:
    """The generalist's own distributions."""
    return replace(soft_targets, n=0)


def test_soft_targets_are_the_combinations_distributions(
    soft_targets: SoftTargets, own: SoftTargets, split: Split, made: Store
) -> None:
    combination, generalist = soft_targets.combination, made.tensors(soft_targets.generalist)
    generalist["fit"] = fit_logits(soft_targets.generalist, made)
    targets, given = made.tensors(soft_targets), made.tensors(own)
    for part, labels in {"fit": split.fit_labels, "held_out": split.held_out_labels}.items():
        assert given[part].dtype == targets[part].dtype == torch.bfloat16  # within 0.4 %, however small
        torch.testing.assert_close(given[part].float(), generalist[part].softmax(1), rtol=4e-3, atol=0)
        assert targets[part].shape == (len(labels), 24)
        q = targets[part].float()
        torch.testing.assert_close(q.sum(1), torch.ones(len(labels)), rtol=0, atol=4e-3)
        found = made.metrics(soft_targets)
        assert found[f"{part}_accuracy"] == pytest.approx(percent((q.argmax(1) == labels).tolist()))
        assert found[f"{part}_entropy"] == pytest.approx(-(q * q.log()).sum(1).mean().item(), rel=1e-4)
    answers = answers_of(combination.members(made), made, split, "held_out")
    subsets = subsets_of(combination.assignment, made)
    for n in (1, 2):
        active = inference.active(generalist["held_out"], subsets, n)
        assert not active.all()
        expected = inference.combine(generalist["held_out"], answers, active).float()
        found = made.tensors(replace(soft_targets, n=n))["held_out"].float()
        torch.testing.assert_close(found, expected, atol=1e-2, rtol=0)  # within 1e-4 nats
    accuracy = by_kl(made.metrics(combination)["held_out"], 1)["accuracy"]
    assert made.metrics(soft_targets)["held_out_accuracy"] == pytest.approx(accuracy, abs=1.3)  # a tie at most


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_students_loss_is_that_of_section_2_on_their_targets(
    temperature: float, distilled: Distilled, split: Split, made: Store
) -> None:
    config, targets = replace(distilled, temperature=temperature, hard_weight=0.25), made.tensors(distilled.targets)
    loss = open_questions.loss_of(config, split, made)
    logits = 2 * torch.randn(80, 24, generator=torch.Generator().manual_seed(0))
    cases = torch.cat([split.fit[:50], split.held_out[:30]])
    q = torch.cat([targets["fit"][:50], targets["held_out"][:30]])
    q = q.double().clamp(min=1e-12) ** (1 / temperature)
    q /= q.sum(1, keepdim=True)
    soft = -(temperature**2) * (q * (logits.double() / temperature).log_softmax(1)).sum(1).mean()
    labelled = F.cross_entropy(logits[:50], split.fit_labels[:50])  # the held-out pictures' labels are not used
    assert loss(logits.to(device()), cases.to(device())).item() == pytest.approx(
        (0.75 * soft + 0.25 * labelled).item(), rel=1e-4
    )
    hard = open_questions.loss_of(replace(config, targets=None), split, made)
    labels = split.fit_labels[:80]
    found = hard(logits.to(device()), split.fit[:80].to(device())).item()
    assert found == pytest.approx(F.cross_entropy(logits, labels).item())


def test_students(distilled: Distilled, own: SoftTargets, split: Split, made: Store) -> None:
    found = made.metrics(distilled)
    assert set(found) == {"accuracy", "held_out_accuracy", "pictures_seen"}
    assert found["pictures_seen"] == 720
    more = made.metrics(replace(distilled, held_out=True))
    assert set(more) == {"accuracy", "pictures_seen"}  # what was trained on is not held out
    assert more["pictures_seen"] == len(split.fit) + len(split.held_out)
    others = [replace(distilled, targets=own), replace(distilled, targets=None), replace(distilled, temperature=3.0)]
    losses = [made.read(config)["history"][0]["loss"] for config in (distilled, *others)]
    assert len(set(losses)) == 4
    with pytest.raises(ValueError, match="Held-out pictures have no hard targets"):
        replace(distilled, targets=None, held_out=True).run(made)


def test_a_student_starts_from_nothing_or_as_the_generalist(
    distilled: Distilled, brief: Optimisation, made: Store
) -> None:
    still = replace(distilled, optimisation=replace(brief, learning_rate=0.0))
    continued = replace(still, continued=True)
    gap = made.metrics(continued)["accuracy"] - made.metrics(distilled.generalist)["accuracy"]
    assert abs(gap) < 8  # only the statistics of its normalisations move
    losses = [made.read(config)["history"][0]["loss"] for config in (continued, still)]
    assert losses[0] < losses[1] - 0.05


def test_mixtures(mixture: Mixture, generalist: Generalist, split: Split, made: Store) -> None:
    found = made.metrics(mixture)
    one, gate = (
        sum(parameter.numel() for parameter in strided_net(1, widths, classes).parameters())
        for widths, classes in ((mixture.widths, 24), (mixture.gate_widths, 2))
    )
    assert found["parameters"] == 2 * one + gate
    assert (found["pictures_seen"], found["expert_passes"]) == (720, 1440)
    assert sum(found["gate_mean"]) == pytest.approx(1)
    assert len(found["gate_mean"]) == 2
    assert 1 <= found["gate_perplexity"] <= 2
    model = open_questions.build_mixture(mixture, split, made)
    logits = logits_of(model, Batches.of(split.pictures.test_images))
    torch.testing.assert_close(logits, made.tensors(generalist)["test"].log_softmax(1), atol=1e-4, rtol=1e-4)
    model.experts[0][0].weight.data.zero_()
    assert model.experts[1][0].weight.any()  # the experts are nets of their own


def test_a_mixture_of_clusters_starts_as_the_generalist_given_the_cluster(
    mixture: Mixture, assignment: Assignment, split: Split, made: Store
) -> None:
    two = replace(assignment, number=2)
    config = replace(mixture, start=two)
    made.read(config)
    clusters, logits = clusters_of(two, made), made.tensors(two.generalist)["test"]
    model = open_questions.build_mixture(config, split, made)
    for number, expert in enumerate(model.experts):
        found = logits_of(expert, Batches.of(split.pictures.test_images)).double().softmax(1)
        wanted = logits.double().softmax(1) * torch.where(clusters == number, 2, 1)
        torch.testing.assert_close(found, wanted / wanted.sum(1, keepdim=True), rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="There are 2 clusters for 3 experts; assign as many"):
        open_questions.build_mixture(replace(config, experts=3), split, made)


def test_the_gate_of_a_mixture_of_clusters_learns_the_clusters(
    mixture: Mixture, assignment: Assignment, split: Split, made: Store
) -> None:
    two, index = replace(assignment, number=2), split.fit[:60]
    config = replace(mixture, start=two)
    made.read(config)
    of = open_questions.mixture_loss
    random = torch.Generator().manual_seed(0)
    classes, gate = (torch.randn(60, size, generator=random).log_softmax(1) for size in (24, 2))
    outputs, labels = torch.cat([classes, gate], 1), split.pictures.train_labels[index]
    alone = F.nll_loss(classes, labels).item()
    assert of(mixture, split, made)(outputs.to(device()), index.to(device())).item() == (pytest.approx(alone))
    said = F.nll_loss(gate, clusters_of(two, made)[labels]).item()
    assert of(config, split, made)(outputs.to(device()), index.to(device())).item() == pytest.approx(alone + said)
    longer = replace(config, optimisation=replace(config.optimisation, epochs=6, learning_rate=0.1))
    free = replace(longer, start=mixture.start)
    assert made.metrics(longer)["gate_perplexity"] < made.metrics(free)["gate_perplexity"]


@pytest.mark.parametrize("name", ["soft_targets", "distilled", "mixture"])
def test_the_same_configuration_gives_the_same_record(name: str, made: Store, request: pytest.FixtureRequest) -> None:
    config: Configuration = request.getfixturevalue(name)
    before = made.read(config)
    torch.manual_seed(123)  # the caller's generator does not matter
    again = config.run(made)
    assert json.loads(json.dumps(again["metrics"])) == before["metrics"]
    assert again["history"] == before["history"]


@pytest.mark.parametrize("name", ["distilled", "mixture"])
def test_another_seed_gives_another_net(
    name: str, brief: Optimisation, made: Store, request: pytest.FixtureRequest
) -> None:
    config = replace(request.getfixturevalue(name), optimisation=replace(brief, learning_rate=0.2))
    made.read(config)  # with all it starts from
    losses = {replace(config, seed=seed).run(made)["history"][0]["loss"] for seed in (0, 1)}
    assert len(losses) == 2


def test_everything_missing_is_made_in_order_and_nothing_twice(
    generalist: Generalist,
    assignment: Assignment,
    specialist: Specialist,
    brief: Optimisation,
    made: Store,  # for its settings
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[Configuration] = []

    def noting(kind: type[Configuration]) -> None:
        really = kind.run
        monkeypatch.setattr(kind, "run", lambda config, store: begun.append(config) or really(config, store))

    for kind in (Generalist, Assignment, Specialist, Combination, SoftTargets, Distilled):
        noting(kind)
    net = replace(generalist, optimisation=replace(brief, learning_rate=0.2))
    two = replace(assignment, generalist=net, method="random", number=2)
    targets = SoftTargets(Combination(replace(specialist, assignment=two)))
    student = Distilled(net, targets, optimisation=brief)
    sweep([student], store)
    first = targets.combination.first
    assert begun == [net, first.assignment, first, replace(first, index=1), targets, student]
    sweep([student], store)
    sweep([targets.combination], store)
    assert begun[6:] == [targets.combination]
    store.path(student).unlink()
    store.tensors_path(targets).unlink()
    store.tensors_path(first).unlink()
    begun.clear()
    sweep([student], store)
    assert begun == [first, targets, student]  # what is not on this disk


def test_what_each_starts_from(
    soft_targets: SoftTargets,
    own: SoftTargets,
    distilled: Distilled,
    mixture: Mixture,
    generalist: Generalist,
    store: Store,
) -> None:
    assert soft_targets.starts_from(store) == soft_targets.combination.starts_from(store)
    assert own.starts_from(store) == [generalist]
    assert distilled.starts_from(store) == [soft_targets]
    assert replace(distilled, continued=True).starts_from(store) == [soft_targets, generalist]
    assert replace(distilled, targets=None).starts_from(store) == []
    assert mixture.starts_from(store) == [generalist]
    assigned = replace(mixture, start=soft_targets.combination.assignment)
    assert assigned.starts_from(store) == [assigned.start, generalist]
    for config in (soft_targets, distilled, mixture):
        with pytest.raises(StoreError, match=r"is missing|is not on this disk"):
            config.run(store)
