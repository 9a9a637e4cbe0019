from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from distillation.core.store import Store

pytest_plugins = ["small_mnist", "small_an4", "small_cifar100"]
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=30)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True, scope="session")
def _on_the_cpu_of_this_machine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILLATION_DEVICE", "cpu")
        patch.delenv("DISTILLATION_SCHEDULER", raising=False)
        yield


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "records")
