"""The equations of section 2, in float64, against their definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distillation.core import objectives
from distillation.mnist import limits, nets

seeds = st.integers(0, 2**31)
batches = st.integers(1, 7)
class_counts = st.integers(2, 12)
temperatures = st.floats(0.5, 100)


def random_logits(seed: int, *shape: int, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pair(seed: int, batch: int = 8, classes: int = 10) -> tuple[Tensor, Tensor]:
    student, teacher = random_logits(seed, 2, batch, classes)
    return student.requires_grad_(), teacher


def per_case_gradient(loss: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(loss, logits)[0] * len(logits)


def soft_gradient(z: Tensor, v: Tensor, temperature: float) -> Tensor:
    soft = objectives.soften(v, temperature)
    return per_case_gradient(objectives.soft_cross_entropy(z, soft, temperature), z)


def fitted_exponent(values: list[float], at: np.ndarray) -> float:
    return float(np.polyfit(np.log(at), np.log(values), 1)[0])


@given(seeds, batches, class_counts, temperatures)
def test_soften_is_the_softmax_of_equation_1(seed: int, batch: int, classes: int, temperature: float) -> None:
    logits = random_logits(seed, batch, classes)
    powers = np.exp(logits.numpy() / temperature)
    expected = powers / powers.sum(1, keepdims=True)
    np.testing.assert_allclose(objectives.soften(logits, temperature).numpy(), expected, rtol=1e-12)


@given(seeds, batches, class_counts, temperatures)
def test_soft_gradient_is_q_minus_p_over_temperature(seed: int, batch: int, classes: int, temperature: float) -> None:
    z, v = pair(seed, batch, classes)
    expected = (torch.softmax(z / temperature, 1) - torch.softmax(v / temperature, 1)) / temperature
    torch.testing.assert_close(soft_gradient(z, v, temperature), expected.detach(), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("temperature", [1.0, 2.5, 20.0])
def test_soft_gradient_agrees_with_finite_differences(temperature: float) -> None:
    z, v = pair(1, 3, 4)
    gradient, step = soft_gradient(z, v, temperature), 1e-5
    soft = objectives.soften(v, temperature)
    for case, unit in np.ndindex(3, 4):
        shift = torch.zeros(3, 4, dtype=torch.float64)
        shift[case, unit] = step
        above, below = (objectives.soft_cross_entropy(z.detach() + s, soft, temperature) for s in (shift, -shift))
        assert 3 * float(above - below) / (2 * step) == pytest.approx(float(gradient[case, unit]), abs=1e-9)


def test_gradient_falls_with_the_square_of_a_high_temperature_and_the_factor_levels_it() -> None:
    z, v = pair(2, 100)
    high = np.geomspace(10, 1000, 8) * limits.logit_range(z.detach(), v)
    plain = [soft_gradient(z, v, t).norm().item() for t in high]
    assert fitted_exponent(plain, high) == pytest.approx(-2, abs=0.02)
    scaled = [per_case_gradient(distilled(z, v, t), z).norm().item() for t in high]
    assert fitted_exponent(scaled, high) == pytest.approx(0, abs=0.02)


def test_factor_does_not_level_the_gradient_at_low_temperatures() -> None:
    z, v = pair(2, 100)
    low = np.geomspace(0.02, 0.2, 8) * limits.logit_range(z.detach(), v)
    scaled = [per_case_gradient(distilled(z, v, t), z).norm().item() for t in low]
    assert fitted_exponent(scaled, low) > 0.3


def distilled(z: Tensor, v: Tensor, temperature: float) -> Tensor:
    soft = objectives.soften(v, temperature)
    return objectives.distillation_loss(z, soft, None, temperature=temperature, hard_weight=0.0)


@pytest.mark.parametrize("classes", [2, 10, 61])
def test_scaled_gradient_converges_to_logit_matching(classes: int) -> None:
    z, v = pair(3, 50, classes)
    limit = ((z - z.mean(1, keepdim=True)) - (v - v.mean(1, keepdim=True))).detach() / classes
    high = np.geomspace(10, 1000, 8) * limits.logit_range(z.detach(), v)
    distances = [float((per_case_gradient(distilled(z, v, t), z) - limit).norm() / limit.norm()) for t in high]
    # With two classes the softmax is odd in the logits' difference, so that the term in 1 / T vanishes.
    assert fitted_exponent(distances, high) == pytest.approx(-2 if classes == 2 else -1, abs=0.1)
    assert distances[-1] < 1e-3


@given(seeds, batches, class_counts)
def test_logit_matching_gradient_is_the_zero_meaned_difference_over_classes(
    seed: int, batch: int, classes: int
) -> None:
    z, v = pair(seed, batch, classes)
    gradient = per_case_gradient(limits.logit_matching_loss(z, v), z)
    expected = (z - v - (z - v).mean(1, keepdim=True)).detach() / classes
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-13)


@given(seeds, st.floats(-50, 50))
def test_logit_matching_ignores_a_shift_of_all_logits(seed: int, shift: float) -> None:
    z, v = pair(seed)
    torch.testing.assert_close(limits.logit_matching_loss(z + shift, v), limits.logit_matching_loss(z, v))


@given(seeds, batches, class_counts, temperatures, st.floats(0, 1))
def test_distillation_loss_is_the_mean_over_cases_of_sums_over_classes(
    seed: int, batch: int, classes: int, temperature: float, weight: float
) -> None:
    z, v = pair(seed, batch, classes)
    soft, labels = objectives.soften(v, temperature), v.argmax(1)
    found = objectives.distillation_loss(z, soft, labels, temperature=temperature, hard_weight=weight)
    cases = [
        (1 - weight) * temperature**2 * cross_entropy(z[case].tolist(), soft[case].tolist(), temperature)
        + weight * cross_entropy(z[case].tolist(), [float(labels[case] == c) for c in range(classes)], 1.0)
        for case in range(batch)
    ]
    assert found.item() == pytest.approx(sum(cases) / batch, rel=1e-9)


def cross_entropy(logits: list[float], targets: list[float], temperature: float) -> float:
    normaliser = math.log(sum(math.exp(logit / temperature) for logit in logits))
    return sum(target * (normaliser - logit / temperature) for logit, target in zip(logits, targets, strict=True))


@given(seeds, temperatures)
def test_whole_hard_weight_is_cross_entropy_at_temperature_one(seed: int, temperature: float) -> None:
    z, v = pair(seed)
    labels = v.argmax(1)
    found = objectives.distillation_loss(
        z, objectives.soften(v, temperature), labels, temperature=temperature, hard_weight=1
    )
    torch.testing.assert_close(found, -torch.log_softmax(z, 1)[range(len(z)), labels].mean())


def test_labels_may_be_missing_only_without_hard_weight() -> None:
    z, v = pair(4)
    soft = objectives.soften(v, 2.0)
    assert objectives.distillation_loss(z, soft, None, temperature=2.0, hard_weight=0).isfinite()
    with pytest.raises(ValueError, match="hard_weight"):
        objectives.distillation_loss(z, soft, None, temperature=2.0, hard_weight=0.1)


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan, math.inf])
def test_weight_outside_the_unit_interval_is_refused(weight: float) -> None:
    z, v = pair(4)
    with pytest.raises(ValueError, match="hard_weight"):
        objectives.distillation_loss(z, torch.softmax(v, 1), v.argmax(1), temperature=1.0, hard_weight=weight)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, -math.inf])
def test_temperature_must_be_positive(temperature: float) -> None:
    z, v = pair(4)
    soft = torch.softmax(v, 1)
    with pytest.raises(ValueError, match="temperature"):
        objectives.soften(z, temperature)
    with pytest.raises(ValueError, match="temperature"):
        objectives.soft_cross_entropy(z, soft, temperature)
    with pytest.raises(ValueError, match="temperature"):
        objectives.distillation_loss(z, soft, None, temperature=temperature, hard_weight=0)


def test_soften_refuses_logits_that_are_not_finite() -> None:
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="diverged"):
            objectives.soften(torch.tensor([[0.0, bad]]), 1.0)


@pytest.mark.parametrize(
    ("row", "reason"),
    [([0.5, math.nan], "NaN"), ([1.5, -0.5], "negative"), ([0.5, 0.4], "sum"), ([3.0, 4.0], "sum")],
)
def test_what_is_no_distribution_is_no_soft_target(row: list[float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        objectives.check_soft_targets(torch.tensor([[0.5, 0.5], row]))


def test_distributions_pass_as_soft_targets() -> None:
    soft = torch.tensor([[0.25, 0.75], [0.0, 1.0]])
    assert objectives.check_soft_targets(soft) is soft


def test_mismatched_shapes_are_refused() -> None:
    z, v = torch.zeros(4, 3), torch.zeros(4, 1)  # broadcasting would hide the mistake
    with pytest.raises(ValueError, match="shape"):
        objectives.soft_cross_entropy(z, v, 1.0)
    with pytest.raises(ValueError, match="shape"):
        limits.logit_matching_loss(z, v)


@given(seeds, batches, class_counts, st.floats(0, 1))
def test_mixed_labels_stay_distributions(seed: int, batch: int, classes: int, weight: float) -> None:
    soft = torch.softmax(random_logits(seed, batch, classes), 1)
    labels = torch.arange(batch) % classes
    mixed = objectives.check_soft_targets(nets.mix_labels(soft, labels, weight))
    at_label = mixed[range(batch), labels]
    torch.testing.assert_close(at_label, (1 - weight) * soft[range(batch), labels] + weight)


@given(seeds, st.integers(2, 5))
def test_ensemble_means_against_brute_force(seed: int, members: int) -> None:
    probabilities = torch.softmax(random_logits(seed, members, 4, 6), -1)
    arithmetic = objectives.arithmetic_mean(probabilities)
    geometric = objectives.geometric_mean(probabilities.log())
    p = probabilities.numpy()
    roots = p.prod(0) ** (1 / members)
    np.testing.assert_allclose(arithmetic.numpy(), sum(p) / members, rtol=1e-12)
    np.testing.assert_allclose(geometric.numpy(), roots / roots.sum(-1, keepdims=True), rtol=1e-9)
    for mean in (arithmetic, geometric):
        objectives.check_soft_targets(mean)
    assert (arithmetic - geometric).abs().max() > 1e-4


@given(seeds, temperatures)
def test_geometric_mean_is_the_softmax_of_the_mean_logits(seed: int, temperature: float) -> None:
    logits = random_logits(seed, 3, 4, 6) / temperature
    found = objectives.geometric_mean(torch.log_softmax(logits, -1))
    torch.testing.assert_close(found, torch.softmax(logits.mean(0), -1))


def test_probability_that_underflows_does_not_veto_a_class() -> None:
    logits = torch.tensor([[[0.0, -200.0]], [[0.0, 190.0]]])
    found = objectives.geometric_mean(torch.log_softmax(logits, -1))
    torch.testing.assert_close(found, torch.softmax(torch.tensor([[0.0, -5.0]]), -1))
