"""Labels and pictures of other types, and logits that are not finite, at the borders of the MNIST nets."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from distillation.core.objectives import soften
from distillation.core.store import Configuration, Store
from distillation.core.training import Diverged, Optimisation, device
from distillation.mnist import nets
from distillation.mnist.data import Images
from distillation.mnist.nets import Ensemble, Net, Student

INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32]
TEACHER = Net("some", (8,), optimisation=Optimisation(1, 4))
STUDENT = Student(TEACHER, (8,), temperature=2.0, hard_weight=0.5)
LABELS = torch.tensor([2, 0, 1, 1, 0, 2])
LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
IMAGES = Images("some", torch.zeros(6, 4, 4, dtype=torch.uint8), LABELS, torch.zeros(0), torch.zeros(0), tuple("abc"))


class Told(Store):
    """A store that hands out the same logits for everything: as its folder is called."""

    def tensors(self, config: Configuration) -> dict[str, Tensor]:
        return {"train_logits": {"fine": LOGITS, "half": LOGITS.half(), "damaged": LOGITS * math.nan}[self.folder.name]}


@pytest.fixture
def told(tmp_path: Path) -> Store:
    return Told(tmp_path / "fine")


@pytest.mark.parametrize("dtype", INTEGERS)
def test_labels_of_any_integer_type_give_the_same(dtype: torch.dtype, told: Store) -> None:
    labels = LABELS.to(dtype)
    assert nets.errors(LOGITS, labels) == nets.errors(LOGITS, LABELS)
    expected = nets.corrected_biases(LOGITS, LABELS, LOGITS, LABELS, (1,))
    assert nets.corrected_biases(LOGITS, labels, LOGITS, labels, (1,)) == expected
    data, index = dataclasses.replace(IMAGES, train_labels=labels), torch.arange(6)
    for config in (TEACHER, STUDENT, dataclasses.replace(STUDENT, objective="mixed labels")):
        here = LOGITS.to(device()), index.to(device())
        found = nets.loss_of(config, data, index, told)(*here)
        assert torch.equal(found, nets.loss_of(config, IMAGES, index, told)(*here))
    without = dataclasses.replace(STUDENT, omit=(1, 2))
    assert torch.equal(nets.training_cases(data, without), nets.training_cases(IMAGES, without))


def test_labels_that_are_no_classes_are_refused(told: Store) -> None:
    for wrong, reason in ((LABELS.float(), "float32"), (LABELS > 0, "bool"), (LABELS + 1, "there are 3 classes")):
        with pytest.raises(ValueError, match=reason):
            nets.errors(LOGITS, wrong)
        with pytest.raises(ValueError, match=reason):
            nets.corrected_biases(LOGITS, LABELS, LOGITS, wrong, (1,))
        with pytest.raises(ValueError, match=reason):
            nets.loss_of(TEACHER, dataclasses.replace(IMAGES, train_labels=wrong), torch.arange(6), told)
    with pytest.raises(ValueError, match="pass 6 integers"):  # comparing would repeat the one for all
        nets.errors(LOGITS, LABELS[:1])
    for omitted in ((-1,), (3,)):
        with pytest.raises(ValueError, match="omitted classes lie from"):
            nets.corrected_biases(LOGITS, LABELS, LOGITS, LABELS, omitted)
        with pytest.raises(ValueError, match="omitted classes lie from"):
            nets.training_cases(IMAGES, dataclasses.replace(STUDENT, omit=omitted))


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_pictures_that_are_no_bytes_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=r"images are torch\.\w+; pass uint8"):
        nets.as_floats(torch.ones(2, 4, 4, dtype=dtype))


def test_a_teacher_that_diverged_is_named_and_not_the_student(tmp_path: Path) -> None:
    told = Told(tmp_path / "damaged")
    for objective in ("distillation", "logits", "mixed labels"):
        config = dataclasses.replace(STUDENT, objective=objective)
        with pytest.raises(ValueError, match="teacher's logits hold NaN or infinity"):
            nets.loss_of(config, IMAGES, torch.arange(6), told)
    with pytest.raises(ValueError, match="members' log-probabilities hold NaN"):
        nets.soft_targets(Ensemble((TEACHER, TEACHER), "geometric"), 2.0, told)


def test_logits_that_are_not_finite_have_no_errors(told: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for bad in (math.nan, math.inf):
        with pytest.raises(Diverged, match="NaN or infinite"):
            nets.errors(LOGITS * bad, LABELS)
    images = dataclasses.replace(IMAGES, test_images=IMAGES.train_images, test_labels=LABELS)
    monkeypatch.setattr(nets, "load", lambda name: images)
    monkeypatch.setattr(nets, "logits_of", lambda model, inputs, **more: LOGITS * math.nan)
    metrics = TEACHER.run(told)["metrics"]  # a last step may end in NaN though the loss before was none
    assert metrics["errors"] is None
    assert "lower the learning rate" in metrics["diverged"]


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_soft_targets_of_stored_halves_are_those_of_float32(mean: str, tmp_path: Path) -> None:
    found = nets.soft_targets(Ensemble((TEACHER,) * 3, mean), 250.0, Told(tmp_path / "half"))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, soften(LOGITS.half().float(), 250.0))
