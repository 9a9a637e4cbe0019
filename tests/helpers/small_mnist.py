"""Four small files in MNIST's format, as if they were the published ones."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from distillation.mnist import data as mnist

CASES = {"train-images-idx3-ubyte": 60, "train-labels-idx1-ubyte": 60, "t10k-images-idx3-ubyte": 10}
CASES["t10k-labels-idx1-ubyte"] = 10
IMAGES = "t10k-images-idx3-ubyte"


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def contents() -> dict[str, bytes]:
    random = np.random.default_rng(0)
    return {
        name: idx(random.integers(256, size=(cases, 28, 28), dtype=np.uint8))
        if "images" in name
        else idx(random.integers(10, size=cases, dtype=np.uint8))
        for name, cases in CASES.items()
    }


@pytest.fixture
def archives(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Four small files in MNIST's format, made the published ones; the data folder is left to the test."""
    packed = {name: gzip.compress(content, mtime=0) for name, content in contents().items()}
    digests = {
        name: (hashlib.md5(packed[name]).hexdigest(), hashlib.sha256(content).hexdigest(), CASES[name])
        for name, content in contents().items()
    }
    monkeypatch.setattr(mnist, "FILES", digests)
    return packed


@pytest.fixture
def mnist_folder(archives: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder that holds the four files, with downloads forbidden."""
    monkeypatch.setenv("DISTILLATION_DATA", str(tmp_path))
    monkeypatch.setenv("DISTILLATION_OFFLINE", "1")
    (tmp_path / "mnist").mkdir()
    for name, packed in archives.items():
        (tmp_path / "mnist" / f"{name}.gz").write_bytes(packed)
    return tmp_path / "mnist"
