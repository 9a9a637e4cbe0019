"""MNIST is read in any usual form, or one sentence says where was looked; a stand-in never comes unsaid."""

import gzip
import shutil
from pathlib import Path

import pytest
import torch
from ordinary import permissions, public_folder
from served import Server, allow_downloads, serve
from small_mnist import IMAGES, contents

from distillation.core.data import DataError
from distillation.mnist import data as mnist
from distillation.mnist import plan


def put(folder: Path, packed: bool, dotted: bool = False) -> None:
    """The four files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents().items():
        name = name.replace("-idx", ".idx") if dotted else name
        (folder / f"{name}{'.gz' * packed}").write_bytes(gzip.compress(content) if packed else content)


def same(a: mnist.Images, b: mnist.Images) -> bool:
    parts = ("train_images", "train_labels", "test_images", "test_labels")
    return all(torch.equal(getattr(a, part), getattr(b, part)) for part in parts)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dotted", [True, False])
@pytest.mark.parametrize(
    "place",
    [
        "mnist",
        "MNIST/raw",
        "mnist/MNIST/raw",
        "mnist/raw",
        ".",
        "raw",
        "data/mnist",
        "data/MNIST/raw",
        "data/mnist/MNIST/raw",
    ],
)
def test_every_usual_form_is_read(place: str, dotted: bool, packed: bool, mnist_folder: Path) -> None:
    before = mnist.load_mnist()
    shutil.rmtree(mnist_folder)
    put(mnist_folder.parent / place, packed, dotted)
    assert same(mnist.load_mnist(), before)
    assert mnist.find() == "mnist"


def test_files_in_several_forms_are_read(mnist_folder: Path) -> None:
    (mnist_folder / f"{IMAGES}.gz").unlink()
    (mnist_folder / IMAGES).write_bytes(contents()[IMAGES])
    assert mnist.find() == mnist.load_mnist().name == "mnist"


@pytest.mark.parametrize("change", ["altered", "truncated", "longer", "mislabelled", "empty"])
def test_unpacked_file_with_other_content_is_refused(change: str, mnist_folder: Path) -> None:
    whole = contents()[IMAGES]
    content = {
        "altered": whole[:500] + bytes([whole[500] ^ 1]) + whole[501:],
        "truncated": whole[:-1],
        "longer": whole + b"\0",
        "mislabelled": contents()["t10k-labels-idx1-ubyte"],
        "empty": b"",
    }[change]
    (mnist_folder / f"{IMAGES}.gz").unlink()
    (mnist_folder / IMAGES).write_bytes(content)
    size = f"{len(content):,}"
    with pytest.raises(DataError, match=rf"^{mnist_folder / IMAGES} does not hold MNIST as published .* {size} bytes"):
        mnist.load_mnist()
    assert mnist.find() == "mnist"  # no reason for the stand-in


def test_fashion_beside_it_is_not_taken_for_it(mnist_folder: Path) -> None:
    shutil.rmtree(mnist_folder)
    for name in ("fashion-mnist", "FashionMNIST/raw"):
        put(mnist_folder.parent / name, packed=True)
    assert mnist.find() == "digits"


def test_the_notice_of_the_stand_in_says_where_was_looked(
    mnist_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mnist_folder / f"{IMAGES}.gz").rename(mnist_folder / "t10k.zip")
    assert plan.profile("quick").dataset == "digits"
    (notice,) = capsys.readouterr().out.splitlines()
    assert notice.startswith("MNIST is not here and cannot be downloaded: scikit-learn's digits stand in for it. ")
    assert f"mnist/{IMAGES}.gz is missing and DISTILLATION_OFFLINE forbids downloads: unset it, or set" in notice
    assert f"{mnist_folder} (t10k-labels-idx1-ubyte.gz, t10k.zip, train-images" in notice
    assert f"{mnist_folder.parent} (mnist)" in notice


def test_a_read_only_folder_and_the_stand_in(
    archives: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with public_folder() as root, serve() as mirrors:
        allow_downloads(root, monkeypatch)
        monkeypatch.setattr(mnist, "MIRRORS", (f"{mirrors.url}/",))
        with permissions(root, 0o555):
            assert plan.profile("quick").dataset == "digits"
        assert mirrors.asked == []
    notice = capsys.readouterr().out
    assert f"cannot be downloaded to {root / 'mnist'} (Permission denied): make it writable" in notice
    assert "network" not in notice


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_may_not_be_read_is_no_reason_for_the_stand_in(
    what: str, archives: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILLATION_OFFLINE", "1")
    with public_folder() as root:
        monkeypatch.setenv("DISTILLATION_DATA", str(root))
        put(root / "mnist", packed=True)
        path = root / "mnist" / f"{IMAGES}.gz"
        with permissions(path if what == "file" else path.parent, 0o000):
            assert plan.profile("quick").dataset == "mnist"
            with pytest.raises(DataError, match=r"\.gz may not be read: grant the permission, or set DIST"):
                mnist.load_mnist()


@pytest.fixture
def server(archives: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    allow_downloads(tmp_path, monkeypatch)
    with serve() as mirrors:
        monkeypatch.setattr(mnist, "MIRRORS", (f"{mirrors.url}/",))
        yield mirrors


def test_what_is_there_unpacked_is_not_downloaded(server: Server, tmp_path: Path) -> None:
    put(tmp_path / "mnist", packed=False)
    assert len(mnist.load_mnist().test_labels) == 10
    assert server.asked == []


def test_offline_0_downloads(
    server: Server, archives: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILLATION_OFFLINE", "0")
    server.answers = {f"/{name}.gz": (200, packed, len(packed)) for name, packed in archives.items()}
    assert mnist.find() == "mnist"
    assert {path.name for path in (tmp_path / "mnist").iterdir()} == {f"{name}.gz" for name in archives}


def test_an_unreadable_flag_is_told(mnist_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not taken for one or the other, nor for a reason for the stand-in."""
    (mnist_folder / f"{IMAGES}.gz").unlink()
    monkeypatch.setenv("DISTILLATION_OFFLINE", "perhaps")
    with pytest.raises(ValueError, match="DISTILLATION_OFFLINE=perhaps is neither yes nor no"):
        plan.profile("quick")
