"""Solutions of the exercises of notebooks 04 and 06."""

import math
from collections import Counter
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F

from distillation.specialists.assignment import random_subsets
from distillation.specialists.convnets import MixtureOfExperts
from distillation.specialists.data import fonts
from distillation.specialists.inference import Answer, combine
from distillation.specialists.nets import dustbin_shift


def test_fewer_special_pictures_in_a_batch_raise_the_dustbin_less() -> None:
    half, quarter = dustbin_shift(0.02), dustbin_shift(0.02, sampled=0.25)
    assert half - quarter == pytest.approx(math.log(3))  # the odds of its batches, 1 : 1 and 1 : 3
    assert dustbin_shift(0.02, sampled=0.02) == 0  # a fair sample needs no correction


def test_a_specialist_that_is_sure_moves_the_mass_but_not_the_proportions_outside() -> None:
    p = torch.tensor([[0.30, 0.05, 0.40, 0.20, 0.05]], dtype=torch.float64)
    for said in ([0.005, 0.005, 0.99], [0.98, 0.01, 0.01]):
        answer = Answer((0, 1), torch.tensor([said], dtype=torch.float64).log())
        q = combine(p.log(), [answer], torch.tensor([[True]]))[0]
        torch.testing.assert_close(q[:2], (p[0, :2] + torch.tensor(said[:2])) / 2)  # inside: the mean of both
        torch.testing.assert_close(q[2:] / q[2:].sum(), p[0, 2:] / p[0, 2:].sum())  # outside: the generalist's
    assert q[0] > 0.6


def test_whole_families_cover_classes_about_as_unevenly_as_single_ones() -> None:
    pictures = fonts.load_embedded()
    families = random_subsets(pictures.superclasses, 12, 12, 0)
    single = random_subsets(range(len(pictures.class_names)), 12, 12, 0)
    for subsets in (families, single):
        covered = Counter(label for subset in subsets for label in subset)
        assert 0.2 < 1 - len(covered) / len(pictures.class_names) < 0.6  # independent draws: about 1 / e in none
    relatives = [[len({pictures.superclasses[label] for label in subset}) for subset in s] for s in (families, single)]
    assert max(relatives[0]) < min(relatives[1])


def test_experts_that_start_alike_stay_alike_under_a_gate_of_halves() -> None:
    torch.manual_seed(0)
    expert, gate = torch.nn.Linear(4, 3), torch.nn.Linear(4, 2)
    torch.nn.init.zeros_(gate.weight)
    torch.nn.init.zeros_(gate.bias)
    mixture = MixtureOfExperts([expert, deepcopy(expert)], gate)
    inputs, labels = torch.randn(20, 4), torch.arange(20) % 3
    alone = torch.autograd.grad(F.cross_entropy(expert(inputs), labels), expert.weight)[0]
    F.cross_entropy(mixture(inputs), labels).backward()
    first, second = (each.weight.grad for each in mixture.experts)
    torch.testing.assert_close(first, alone / 2)  # each learns half of what it would learn by itself
    torch.testing.assert_close(first, second)  # the same half: only a gate that prefers one tells them apart
    torch.testing.assert_close(gate.weight.grad, torch.zeros(2, 4))  # and this one has no reason to


def test_a_full_softmax_gives_pictures_back_once_its_special_logits_are_lowered() -> None:
    logits = torch.randn(1_000, 10, generator=torch.Generator().manual_seed(0))  # of pictures of other classes
    logits[:, :2] += 1.5  # the special classes, which half of the training pictures were
    lowered = logits.clone()
    lowered[:, :2] -= dustbin_shift(0.2)
    claimed = [(scores.argmax(1) < 2).double().mean().item() for scores in (logits, lowered)]
    assert claimed[0] > 0.5 > 0.3 > claimed[1]
