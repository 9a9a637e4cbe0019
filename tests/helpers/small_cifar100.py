"""A miniature of CIFAR-100's archive, as if it were the published one."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from distillation.specialists.data import Pictures, cifar100

ROWS = {"train.bin": 24, "test.bin": 9}
FINE = ("cod", "fox", "owl", "emu", "elm", "ash")
COARSE = ("beast", "plant")
SUPERCLASS = (0, 0, 0, 0, 1, 1)  # of each class
COUNTS = {"fine_label_names.txt": 6, "coarse_label_names.txt": 2}
NAMES = {
    name: (hashlib.sha256("\n".join(names).encode()).hexdigest(), COUNTS[name])
    for name, names in zip(COUNTS, (FINE, COARSE), strict=True)
}
GZ, XZ = "cifar-100-binary.tar.gz", "cifar-100-binary.tar.xz"

Pack = Callable[[bytes], bytes]


def rows(name: str) -> np.ndarray:
    """As published: (rows, 3074)."""
    random = np.random.default_rng(len(name))
    found = random.integers(256, size=(ROWS[name], cifar100.ROW), dtype=np.uint8)
    found[:, 1] = np.arange(len(found)) % 6
    found[:, 0] = np.array(SUPERCLASS)[found[:, 1]]
    return found


def contents() -> dict[str, bytes]:
    return {
        **{name: rows(name).tobytes() for name in ROWS},
        "fine_label_names.txt": "\n".join(FINE).encode() + b"\n\n",
        "coarse_label_names.txt": "\n".join(COARSE).encode() + b"\n",
    }


def digest_of(content: bytes) -> str:
    """As the loader's constants were made: over the sorted digests of the rows."""
    each = sorted(hashlib.sha256(row).digest() for row in np.frombuffer(content, np.uint8).reshape(-1, cifar100.ROW))
    return hashlib.sha256(b"".join(each)).hexdigest()


def tar(members: dict[str, bytes], folder: str = "cifar-100-binary/") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("train.bin.link"))
        for name, content in members.items():
            member = tarfile.TarInfo(f"{folder}{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def gz(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The miniature archive, made the published one; the data folder is left to the test."""
    files = contents()
    packed = gz(tar(files))
    monkeypatch.setattr(cifar100, "FILES", {name: (digest_of(files[name]), number) for name, number in ROWS.items()})
    monkeypatch.setattr(cifar100, "NAMES", NAMES)
    monkeypatch.setattr(cifar100, "ARCHIVE_MD5", hashlib.md5(packed).hexdigest())
    return packed


@pytest.fixture
def cifar_folder(published: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder that holds the archive, with downloads forbidden."""
    monkeypatch.setenv("DISTILLATION_DATA", str(tmp_path))
    monkeypatch.setenv("DISTILLATION_OFFLINE", "1")
    (tmp_path / "cifar-100").mkdir()
    (tmp_path / "cifar-100" / GZ).write_bytes(published)
    return tmp_path / "cifar-100"


def same(a: Pictures, b: Pictures) -> bool:
    tensors = ("train_images", "train_labels", "test_images", "test_labels")
    others = ("name", "class_names", "superclasses", "superclass_names")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in tensors) and all(
        getattr(a, name) == getattr(b, name) for name in others
    )
