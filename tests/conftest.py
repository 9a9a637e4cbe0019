import pytest
import torch
from hypothesis import settings

from distillation.experiments import mnist
from distillation.store import Store

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=30)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _one_cpu_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLATION_DEVICE", "cpu")
    torch.manual_seed(0)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "records" / "mnist", mnist.RECIPE)
