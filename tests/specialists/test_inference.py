"""The inference of section 5.4 against closed forms, scipy and gradient descent, and its alternatives."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from distillation.core.objectives import arithmetic_mean, geometric_mean
from distillation.specialists import inference
from distillation.specialists.assignment import random_subsets
from distillation.specialists.inference import Answer, active, combine, objective

OVERLAPPING = [(0, 1, 2), (2, 3, 4), (5, 6, 7, 8), (1, 2)]


def drawn(cases: int, classes: int, subsets: list[tuple[int, ...]], seed: int = 0, scale: float = 2.0) -> tuple:
    random = torch.Generator().manual_seed(seed)
    generalist = scale * torch.randn(cases, classes, generator=random, dtype=torch.float64)
    answers = []
    for subset in subsets:
        logits = scale * torch.randn(cases, len(subset) + 1, generator=random, dtype=torch.float64)
        answers.append(Answer(subset, logits.log_softmax(-1)))
    return generalist.log_softmax(-1), answers


def everywhere(cases: int, answers: list) -> Tensor:
    return torch.ones(cases, len(answers), dtype=torch.bool)


def by_definition(q: Tensor, generalist: Tensor, answers: list[Answer], active: Tensor) -> Tensor:
    """The sum of the divergences, case by case and class by class."""
    totals = []
    for case, row in enumerate(q):
        total = sum(p * (math.log(p) - math.log(row[i])) for i, p in enumerate(generalist[case].exp().tolist()))
        for number, answer in enumerate(answers):
            if not active[case, number]:
                continue
            collapsed = [row[i].item() for i in answer.subset]
            collapsed.append(sum(row[i].item() for i in range(len(row)) if i not in answer.subset))
            p = answer.log_probabilities[case].exp().tolist()
            total += sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, collapsed, strict=True))
        totals.append(total)
    return torch.tensor(totals, dtype=torch.float64)


def test_active_are_those_whose_subset_meets_the_most_probable_classes() -> None:
    generalist = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.05, 0.15, 0.3, 0.5]]).log()
    assert active(generalist, [(0,), (1, 2)], 1).tolist() == [[True, False], [False, False]]
    assert active(generalist, [(0,), (1, 2)], 2).tolist() == [[True, True], [False, True]]
    assert active(generalist, [], 1).shape == (2, 0)
    for n in (0, 5):
        with pytest.raises(ValueError, match="has 4 classes"):
            active(generalist, [(0,)], n)


def test_objective_is_the_sum_of_the_divergences() -> None:
    generalist, answers = drawn(8, 10, OVERLAPPING)
    on = torch.rand(8, 4) < 0.6
    q = torch.randn(8, 10, dtype=torch.float64).softmax(-1)
    assert torch.allclose(objective(q, generalist, answers, on), by_definition(q, generalist, answers, on), rtol=1e-12)


def test_without_active_specialists_the_generalist_speaks() -> None:
    generalist, answers = drawn(5, 6, [(0, 1), (2, 3)])
    assert torch.allclose(combine(generalist, answers, ~everywhere(5, answers)), generalist.exp(), rtol=1e-14)
    assert torch.allclose(combine(generalist, [], everywhere(5, [])), generalist.exp(), rtol=1e-14)


def full_distributions() -> tuple[Tensor, list[Answer], Tensor]:
    """Three models of all five classes; an answer's dustbin is then impossible."""
    p = torch.randn(3, 4, 5, dtype=torch.float64).log_softmax(-1)
    return p[0], [Answer((0, 1, 2, 3, 4), torch.cat([each, torch.full((4, 1), -math.inf)], 1)) for each in p[1:]], p


def test_full_distributions_give_the_arithmetic_mean() -> None:
    generalist, answers, p = full_distributions()
    q = combine(generalist, answers, everywhere(4, answers))
    assert torch.allclose(q, arithmetic_mean(p.exp()), rtol=1e-12)


def test_full_distributions_turned_round_give_the_geometric_mean() -> None:
    """For KL(q, p) instead of KL(p, q): no q near the geometric mean is better."""
    _, _, p = full_distributions()

    def turned(log_q: Tensor) -> Tensor:
        return (log_q.exp() * (log_q - p)).sum((0, -1))

    best = geometric_mean(p).log()
    for _ in range(50):
        assert (turned(best) < turned((best + 0.01 * torch.randn_like(best)).log_softmax(-1))).all()
    assert (turned(best) < turned(arithmetic_mean(p.exp()).log())).all()


def test_one_specialist_has_a_closed_form() -> None:
    generalist, (one,) = drawn(6, 7, [(5, 1, 4)])
    p, m = generalist.exp(), one.log_probabilities.exp()
    q = combine(generalist, [one], everywhere(6, [one]))
    assert torch.allclose(q[:, [5, 1, 4]], (p[:, [5, 1, 4]] + m[:, :-1]) / 2, rtol=1e-9)
    # Outside, the generalist's proportions stay: half of the generalist's and the dustbin's mass together.
    outside = p[:, [0, 2, 3, 6]]
    mass = outside.sum(1, keepdim=True)
    assert torch.allclose(q[:, [0, 2, 3, 6]], outside / mass * (mass + m[:, -1:]) / 2, rtol=1e-9)


@given(st.integers(0, 10_000))
def test_agrees_with_a_general_minimiser(seed: int) -> None:
    generalist, answers = drawn(1, 5, [(0, 1), (1, 2, 3), (3, 0)], seed, scale=1.0)
    on = everywhere(1, answers)
    start, whole = np.full(5, 0.2), {"type": "eq", "fun": lambda q: q.sum() - 1}
    options = {"ftol": 1e-14, "maxiter": 500}

    def cost(q: np.ndarray) -> float:
        return by_definition(torch.from_numpy(q)[None], generalist, answers, on).item()

    found = minimize(cost, start, method="SLSQP", bounds=[(1e-9, 1)] * 5, constraints=[whole], options=options)
    q = combine(generalist, answers, on)[0].numpy()
    assert cost(q) <= found.fun + 1e-10
    assert np.allclose(q, found.x, atol=1e-4)


def test_agrees_with_gradient_descent() -> None:
    generalist, answers = drawn(20, 10, OVERLAPPING)
    on = active(generalist, [answer.subset for answer in answers], 3)
    q = combine(generalist, answers, on, tolerance=1e-12)
    z = q.log().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(z.softmax(-1), generalist, answers, on).sum(), z)
    assert gradient.abs().max() < 1e-6
    descended = inference.by_gradient_descent(generalist, answers, on, steps=2000, learning_rate=0.03)
    assert torch.allclose(q, descended, atol=1e-6)
    best = objective(q, generalist, answers, on)
    assert (objective(descended, generalist, answers, on) >= best - 1e-12).all()
    stopped = inference.by_gradient_descent(
        generalist, answers, on, steps=2000, learning_rate=0.03, until=best.mean().item() + 1e-3
    )
    above = objective(stopped, generalist, answers, on) - best
    assert 1e-6 < above.mean() <= 1e-3


@given(st.integers(0, 10_000), st.floats(0.1, 40.0), st.integers(0, 4), st.integers(0, 6))
def test_the_bound_holds_after_any_number_of_steps(seed: int, scale: float, number: int, steps: int) -> None:
    generalist, answers = drawn(10, 10, OVERLAPPING, seed, scale)
    random = torch.Generator().manual_seed(seed)
    on = torch.zeros(10, 4, dtype=torch.bool)
    on.scatter_(1, torch.rand(10, 4, generator=random).topk(number, dim=1).indices, True)
    evidence = inference.evidence(generalist, answers, on)
    best = objective(combine(generalist, answers, on, tolerance=1e-12), generalist, answers, on)
    q, gap, taken = inference.solved(evidence, on, 1e-12, steps)
    above = objective(q, generalist, answers, on) - best
    assert (above >= -1e-9).all()
    assert (above <= gap + 1e-9).all()
    assert taken <= steps
    assert torch.allclose(q.sum(-1), torch.ones(10, dtype=torch.float64), rtol=1e-12)
    if number <= 1:
        assert taken == 0  # in closed form


@pytest.mark.parametrize(
    ("scale", "n", "size"), [(3.0, 1, 10), (3.0, 5, 10), (40.0, 1, 10), (40.0, 40, 10), (40.0, 3, 50)]
)
def test_a_few_steps_solve_whatever_the_models_say(scale: float, n: int, size: int) -> None:
    """Up to 20 active specialists, and logits so large that these contradict a generalist who is sure."""
    subsets = random_subsets(range(100), 20, size, 0)
    generalist, answers = drawn(500, 100, subsets, scale=scale)
    on = active(generalist, subsets, n)
    q = combine(generalist, answers, on, tolerance=1e-12, most_steps=40)
    assert torch.allclose(q.sum(-1), torch.ones((), dtype=torch.float64), rtol=1e-12)
    z = q.log().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(z.softmax(-1), generalist, answers, on).sum(), z)
    assert gradient.abs().max() < 1e-5


def test_each_case_is_within_the_tolerance_whatever_its_neighbours() -> None:
    generalist, answers = drawn(1300, 10, OVERLAPPING, scale=4.0)
    on = torch.rand(1300, 4) < 0.5
    q = combine(generalist, answers, on, tolerance=1e-8)
    best = objective(combine(generalist, answers, on, tolerance=1e-12), generalist, answers, on)
    assert (objective(q, generalist, answers, on) - best).max() <= 1e-8
    alone = [Answer(each.subset, each.log_probabilities[1290:1291]) for each in answers]
    assert torch.allclose(combine(generalist[1290:1291], alone, on[1290:1291], tolerance=1e-8), q[1290], rtol=1e-9)


def test_order_of_classes_and_specialists_does_not_matter() -> None:
    generalist, answers = drawn(9, 10, OVERLAPPING)
    on = torch.rand(9, 4) < 0.7
    order, who = torch.randperm(10), [2, 0, 3, 1]
    place = order.argsort().tolist()  # where each class has gone
    moved = [Answer(tuple(place[i] for i in answers[m].subset), answers[m].log_probabilities) for m in who]
    for method in (combine, inference.added_log_probabilities):
        expected = method(generalist, answers, on)[:, order]
        assert torch.allclose(method(generalist[:, order], moved, on[:, who]), expected, atol=1e-8)
    found = inference.own_answer(generalist[:, order], moved, on[:, who])
    assert torch.equal(order[found], inference.own_answer(generalist, answers, on))


def test_identical_specialists_weigh_as_many() -> None:
    generalist, (one,) = drawn(6, 7, [(1, 4, 5)])
    q = combine(generalist, [one, one], everywhere(6, [one, one]))
    inside = (generalist.exp()[:, [1, 4, 5]] + 2 * one.log_probabilities.exp()[:, :-1]) / 3
    assert torch.allclose(q[:, [1, 4, 5]], inside, atol=1e-8)


def test_logits_and_float32_give_the_same_as_log_probabilities() -> None:
    generalist, answers = drawn(5, 10, OVERLAPPING)
    shifted = [Answer(each.subset, (each.log_probabilities + 5).float()) for each in answers]
    expected = combine(generalist, answers, everywhere(5, answers))
    found = combine((generalist - 3).float(), shifted, everywhere(5, answers))
    assert found.dtype == torch.float64
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("lowest", [-800.0, -math.inf])
@pytest.mark.parametrize("where", [0, 1, -1])
def test_a_specialists_zero_is_no_obstacle(lowest: float, where: int) -> None:
    generalist, answers = drawn(6, 10, OVERLAPPING)
    for answer in answers:
        answer.log_probabilities[:, where] = lowest
    on = everywhere(6, answers)
    q = combine(generalist, answers, on)
    assert q.isfinite().all()
    descended = inference.by_gradient_descent(generalist, answers, on, steps=3000, learning_rate=0.03)
    assert torch.allclose(q, descended, atol=1e-5)
    assert objective(q, generalist, answers, on).isfinite().all()


@pytest.mark.parametrize("lowest", [-math.inf, -720.0])
def test_a_zero_of_the_generalist_is_refused(lowest: float) -> None:
    generalist, answers = drawn(1, 4, [(0, 1)])
    generalist[0, 2] = lowest
    with pytest.raises(ValueError, match="no probability at all"):
        combine(generalist, answers, everywhere(1, answers))


def test_almost_a_zero_of_the_generalist_is_not() -> None:
    generalist, answers = drawn(1, 6, [(0, 1), (1, 2)])
    generalist[0, 3:] = -680.0
    assert combine(generalist, answers, everywhere(1, answers)).isfinite().all()


METHODS = [combine, inference.own_answer, inference.added_log_probabilities]


@pytest.mark.parametrize("method", METHODS)
def test_what_does_not_fit_is_refused(method) -> None:
    generalist, answers = drawn(3, 4, [(0, 1), (1, 2)])
    on = everywhere(3, answers)
    first, second = answers

    def refused(message: str, generalist: Tensor = generalist, answers: list = answers, on: Tensor = on) -> None:
        with pytest.raises(ValueError, match=message):
            method(generalist, answers, on)

    nan = torch.full((3, 3), math.nan)
    refused("generalist's log-probabilities hold NaN", generalist=generalist * math.nan)
    refused("specialist 1 hold NaN", answers=[first, Answer((1, 2), nan)])
    refused(r"classes \[4\], but there are 4", answers=[first, dataclasses.replace(second, subset=(1, 4))])
    refused(r"classes \[1\] more than once", answers=[first, dataclasses.replace(second, subset=(1, 1))])
    refused("Specialist 1 has no special class", answers=[first, dataclasses.replace(second, subset=())])
    refused("Specialist 1 answers", answers=[first, dataclasses.replace(second, subset=(1, 2, 3))])
    refused("Specialist 0 answers", answers=[Answer((0, 1), first.log_probabilities[:2]), second])
    refused(r"not 3 cases by 2 specialists", on=on[:, :1])
    refused(r"not 3 cases by 2 specialists", on=on[:2])


def test_a_dustbin_for_no_class_is_refused() -> None:
    generalist, answers = drawn(3, 4, [(0, 1, 2, 3)])
    with pytest.raises(ValueError, match="gives its dustbin a probability"):
        combine(generalist, answers, everywhere(3, answers))


def test_too_few_steps_are_told() -> None:
    generalist, answers = drawn(30, 10, OVERLAPPING)
    with pytest.raises(RuntimeError, match=r"30 cases may still be .* raise the tolerance"):
        combine(generalist, answers, everywhere(30, answers), most_steps=1)


# The alternatives


def test_own_answer_is_that_of_the_surest_active_specialist() -> None:
    generalist = torch.tensor([[0.1, 0.2, 0.3, 0.4]] * 4).log()
    one = Answer((2, 0), torch.tensor([[0.5, 0.2, 0.3]] * 4).log())
    two = Answer((1, 3), torch.tensor([[0.3, 0.1, 0.6]] * 4).log())
    on = torch.tensor([[True, True], [False, True], [True, False], [False, False]])
    found = inference.own_answer(generalist, [one, two], on)
    assert found.dtype == torch.int64
    assert found.tolist() == [2, 1, 2, 3]
    assert inference.own_answer(generalist, [two, one], on.flip(1)).tolist() == [2, 1, 2, 3]


def test_added_log_probabilities_are_a_product() -> None:
    generalist, answers = drawn(7, 10, OVERLAPPING)
    on = torch.rand(7, 4) < 0.6
    found = inference.added_log_probabilities(generalist, answers, on)
    for case in range(7):
        p = generalist[case].exp()
        product = p.clone()
        for number, answer in enumerate(answers):
            if on[case, number]:
                m = answer.log_probabilities[case].exp()
                rest = [i for i in range(10) if i not in answer.subset]
                product[rest] *= m[-1] * p[rest] / p[rest].sum()
                product[list(answer.subset)] *= m[:-1]
        assert torch.allclose(found[case], product / product.sum(), rtol=1e-10)


def test_experts_that_exclude_every_class_are_told() -> None:
    generalist, (one, two) = drawn(1, 4, [(0, 1), (2, 3)])
    one.log_probabilities[:, -1] = -math.inf
    two.log_probabilities[:, -1] = -math.inf
    with pytest.raises(ValueError, match="exclude every class"):
        inference.added_log_probabilities(generalist, [one, two], everywhere(1, [one, two]))
