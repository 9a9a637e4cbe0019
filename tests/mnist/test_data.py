"""What is read is what was published, or an error that names the file and the remedy."""

import gzip
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from served import Server, allow_downloads, serve
from sklearn.datasets import load_digits
from small_mnist import IMAGES, contents, idx

from distillation.core import data as common
from distillation.core.data import DataError
from distillation.mnist import data as mnist


@pytest.fixture
def server(archives: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    allow_downloads(tmp_path, monkeypatch)
    with serve() as mirrors:
        monkeypatch.setattr(mnist, "MIRRORS", (f"{mirrors.url}/first/", f"{mirrors.url}/second/"))
        yield mirrors


def refusal(name: str = IMAGES) -> str:
    with pytest.raises(DataError) as caught:
        mnist.load_mnist()
    message = str(caught.value)
    assert f"mnist/{name}.gz" in message
    assert "DISTILLATION_DATA" in message
    return message


def test_files_in_the_folder_are_read(mnist_folder: Path) -> None:
    data = mnist.load("mnist")
    assert data.train_images.shape == (60, 28, 28)
    assert data.test_images.dtype == torch.uint8
    assert data.train_labels.dtype == torch.int64
    for name, found in {IMAGES: data.test_images, "train-labels-idx1-ubyte": data.train_labels}.items():
        assert found.to(torch.uint8).numpy().tobytes() == contents()[name][-found.numel() :]


@pytest.mark.parametrize("name", [IMAGES, "train-labels-idx1-ubyte"])
def test_truncated_file_is_refused_with_how_much_there_is(
    name: str, mnist_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = 4000
    shape = (cases, 28, 28) if "images" in name else (cases,)
    content = idx(np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8))
    packed = gzip.compress(content, mtime=0)
    monkeypatch.setitem(mnist.FILES, name, ("", hashlib.sha256(content).hexdigest(), cases))
    (mnist_folder / f"{name}.gz").write_bytes(packed[: len(packed) // 2])
    words = refusal(name).replace(",", "").split()
    have = int(words[words.index("about") + 1])
    assert have == pytest.approx(cases / 2, rel=0.1)
    assert words[words.index("of") + 1] == str(cases)


@pytest.mark.parametrize("place", [12, 100, 3000, -6])
def test_altered_byte_is_refused(place: int, mnist_folder: Path) -> None:
    packed = bytearray((mnist_folder / f"{IMAGES}.gz").read_bytes())
    packed[place] ^= 0x10
    (mnist_folder / f"{IMAGES}.gz").write_bytes(packed)
    refusal()


def test_altered_content_in_a_sound_archive_is_refused(mnist_folder: Path) -> None:
    content = bytearray(contents()[IMAGES])
    content[500] ^= 1
    (mnist_folder / f"{IMAGES}.gz").write_bytes(gzip.compress(content))
    assert "published" in refusal()


def test_mislabelled_file_is_refused(mnist_folder: Path) -> None:
    (mnist_folder / f"{IMAGES}.gz").write_bytes((mnist_folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    assert "published" in refusal()


@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>", b"\x1f\x8b", bytes(100)])
def test_what_is_no_archive_is_refused(content: bytes, mnist_folder: Path) -> None:
    (mnist_folder / f"{IMAGES}.gz").write_bytes(content)
    refusal()


def test_archive_compressed_otherwise_is_accepted(mnist_folder: Path) -> None:
    (mnist_folder / f"{IMAGES}.gz").write_bytes(gzip.compress(contents()[IMAGES], 1, mtime=7))
    assert len(mnist.load_mnist().test_images) == 10


def test_missing_file_offline_is_named(mnist_folder: Path) -> None:
    (mnist_folder / f"{IMAGES}.gz").unlink()
    with pytest.raises(DataError, match=rf"mnist/{IMAGES}\.gz is missing.*OFFLINE"):
        mnist.load_mnist()
    assert mnist.find() == "digits"


def test_damaged_file_is_no_reason_for_the_stand_in(mnist_folder: Path) -> None:
    (mnist_folder / f"{IMAGES}.gz").write_bytes(b"damaged")
    assert mnist.find() == "mnist"
    refusal()


def test_second_mirror_serves_what_the_first_lacks(server: Server, archives: dict[str, bytes]) -> None:
    server.answers = {f"/second/{name}.gz": (200, packed, len(packed)) for name, packed in archives.items()}
    assert len(mnist.load_mnist().train_labels) == 60
    assert f"/first/{IMAGES}.gz" in server.asked
    server.asked.clear()
    mnist.load_mnist()
    assert server.asked == []


def failed_download(server: Server, archives: dict[str, bytes], mnist_folder: Path) -> None:
    """The last file fails from both mirrors: an error, and nothing of it on disk."""
    for name, packed in archives.items():
        server.answers.setdefault(f"/first/{name}.gz", (200, packed, len(packed)))
    with pytest.raises(DataError, match=rf"{IMAGES}\.gz could not be downloaded.*DISTILLATION_DATA"):
        mnist.load_mnist()
    names = {path.name for path in (mnist_folder / "mnist").iterdir()}
    assert names <= {f"{name}.gz" for name in archives if name != IMAGES}


def test_interrupted_download_leaves_nothing(server: Server, archives: dict[str, bytes], tmp_path: Path) -> None:
    whole = archives[IMAGES]
    for mirror in ("first", "second"):
        server.answers[f"/{mirror}/{IMAGES}.gz"] = (200, whole[: len(whole) // 2], len(whole))
    failed_download(server, archives, tmp_path)
    server.answers[f"/second/{IMAGES}.gz"] = (200, whole, len(whole))
    assert len(mnist.load_mnist().test_images) == 10


def test_download_with_another_checksum_is_refused(server: Server, archives: dict[str, bytes], tmp_path: Path) -> None:
    other = gzip.compress(contents()[IMAGES][::-1])
    for mirror in ("first", "second"):
        server.answers[f"/{mirror}/{IMAGES}.gz"] = (200, other, len(other))
    failed_download(server, archives, tmp_path)


def test_no_mirror_means_the_stand_in(server: Server) -> None:
    assert mnist.find() == "digits"


def test_unknown_data_set_is_refused() -> None:
    with pytest.raises(ValueError, match="cifar"):
        mnist.load("cifar")


def test_stand_in_has_the_form_of_mnist() -> None:
    data = mnist.load("digits")
    assert data.train_images.shape == (5 * 1297, 28, 28)
    assert data.test_images.shape == (500, 28, 28)
    assert (data.train_images.dtype, data.test_labels.dtype) == (torch.uint8, torch.int64)
    assert len(data.train_labels) == 5 * 1297
    assert set(data.test_labels.tolist()) == set(range(10)) == set(data.train_labels.tolist())
    assert data.train_images[:, 0].max() == 0  # background is 0
    assert data.train_images.max() == 255


def test_stand_in_is_the_same_each_time() -> None:
    first, second = mnist.load_stand_in(), mnist.load_stand_in()
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        assert torch.equal(getattr(first, name), getattr(second, name))


def test_stand_in_keeps_test_digits_out_of_the_shifts() -> None:
    data = mnist.load_stand_in()
    seen = {image.numpy().tobytes() for image in data.train_images}
    for shift in [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]:
        assert not any(image.numpy().tobytes() in seen for image in data.test_images.roll(shift, (1, 2)))
    originals = load_digits().target
    assert data.train_labels.tolist() == originals[:-500].tolist() * 5
    assert data.test_labels.tolist() == originals[-500:].tolist()


def test_stand_in_is_centred_and_its_copies_shift_by_one_pixel() -> None:
    copies = mnist.load_stand_in().train_images.unflatten(0, (5, 1297))
    assert copies[0, :, :3].max() == copies[0, :, -3:].max() == 0
    assert torch.equal(copies[1, :, 1:], copies[0, :, :-1])
    assert torch.equal(copies[4, :, :, :-1], copies[0, :, :, 1:])


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = [os.environ.get("DISTILLATION_DATA"), common.REPOSITORY / "data", common.REPOSITORY / "../shared/data"]
    names = [f"mnist/{name}.gz" for name in mnist.FILES]
    for candidate in filter(None, candidates):
        if all((Path(candidate) / name).exists() for name in names):
            monkeypatch.setenv("DISTILLATION_DATA", str(candidate))
            return
    pytest.skip("MNIST is not here.")


def test_real_mnist_loads(real: None) -> None:
    data = mnist.load_mnist()
    assert data.train_images.shape == (60_000, 28, 28)
    assert data.test_images.shape == (10_000, 28, 28)
    assert data.train_labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.test_labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
