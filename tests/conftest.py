import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from distillation.core.store import Store

# The CPU, unless a device is named: before tests are collected, which make tensors where they are compared.
os.environ.setdefault("DISTILLATION_DEVICE", "cpu")
pytest_plugins = ["small_mnist", "small_cifar100"]
if find_spec("soundfile"):  # a machine for training alone may lack it
    pytest_plugins += ["small_an4"]
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=30)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that nobody waits for it alone at the end."""
    items.sort(key=lambda item: "test_readme.py" not in item.nodeid)


@pytest.fixture(autouse=True, scope="session")
def _on_this_machine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DISTILLATION_SCHEDULER", raising=False)
        yield


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that look into each step, which a captured one does not call."""
    monkeypatch.setenv("DISTILLATION_DEVICE", "cpu")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "records")
