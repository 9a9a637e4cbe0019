"""CIFAR-100 is read in any usual form, or one sentence says where was looked; a stand-in never comes unsaid."""

import lzma
from pathlib import Path

import pytest
from ordinary import permissions, public_folder
from served import allow_downloads, serve
from small_cifar100 import GZ, NAMES, ROWS, XZ, Pack, contents, gz, same, tar

from distillation.core.data import DataError
from distillation.specialists.data import cifar100

TAR = "cifar-100-binary.tar"


def put(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(("name", "pack"), [(TAR, bytes), (TAR, gz), (GZ, gz), (XZ, lzma.compress)])
@pytest.mark.parametrize("place", ["cifar-100", ".", "data/cifar-100"])
def test_an_archive_is_read_packed_or_not(place: str, name: str, pack: Pack, cifar_folder: Path) -> None:
    before = cifar100.load()
    (cifar_folder / GZ).unlink()
    put(cifar_folder.parent / place, {name: pack(tar(contents()))})
    assert same(cifar100.load(), before)


@pytest.mark.parametrize(
    "place", ["cifar-100/cifar-100-binary", "cifar-100", "cifar-100-binary", ".", "data/cifar-100/cifar-100-binary"]
)
def test_the_unpacked_files_are_read(place: str, cifar_folder: Path) -> None:
    before = cifar100.load()
    (cifar_folder / GZ).unlink()
    put(cifar_folder.parent / place, contents())
    assert same(cifar100.load(), before)


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        cifar100.load()
    message = str(caught.value)
    assert message.startswith(f"{folder} ")
    assert ": unpack it again, or set DISTILLATION_DATA to a folder with a whole copy" in message
    return message


@pytest.mark.parametrize("name", [*ROWS, *NAMES])
def test_what_the_unpacked_folder_lacks_is_named(name: str, cifar_folder: Path) -> None:
    (cifar_folder / GZ).unlink()
    files = contents()
    del files[name]
    put(cifar_folder / "cifar-100-binary", files)
    assert f"lacks {name}:" in refusal(cifar_folder / "cifar-100-binary")


@pytest.mark.parametrize("name", [*ROWS, *NAMES])
def test_an_altered_unpacked_file_is_refused(name: str, cifar_folder: Path) -> None:
    (cifar_folder / GZ).unlink()
    content = bytearray(contents()[name])
    content[0] ^= 1
    put(cifar_folder, contents() | {name: bytes(content)})
    message = refusal(cifar_folder)
    assert name in message
    assert "published" in message


def test_a_file_that_only_shares_a_name_is_not_taken_for_it(cifar_folder: Path) -> None:
    (cifar_folder / GZ).unlink()
    put(cifar_folder.parent, {"train.bin": b"tokens", "val.bin": b"tokens"})
    with pytest.raises(DataError, match=f"{GZ} is missing"):
        cifar100.load()


def test_what_is_missing_says_where_was_looked(cifar_folder: Path) -> None:
    (cifar_folder / GZ).rename(cifar_folder / "cifar-100-python.tar.gz")
    with pytest.raises(DataError) as caught:
        cifar100.load()
    notice = str(caught.value)
    assert f"cifar-100/{GZ} is missing and DISTILLATION_OFFLINE forbids downloads: unset it, or set" in notice
    assert f"{cifar_folder} (cifar-100-python.tar.gz)" in notice


def test_a_read_only_folder_is_named(published: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with public_folder() as root, serve() as mirrors:
        allow_downloads(root, monkeypatch)
        monkeypatch.setattr(cifar100, "MIRRORS", (f"{mirrors.url}/",))
        with permissions(root, 0o555), pytest.raises(DataError) as caught:
            cifar100.load()
        assert mirrors.asked == []
    notice = str(caught.value)
    assert f"cannot be downloaded to {root / 'cifar-100'} (Permission denied): make it writable" in notice
    assert "network" not in notice


@pytest.mark.parametrize("name", ["cifar-100-binary/test.bin", "cifar-100-binary", "."])
def test_what_may_not_be_read_is_named(name: str, published: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLATION_OFFLINE", "1")
    with public_folder() as root:
        monkeypatch.setenv("DISTILLATION_DATA", str(root))
        put(root / "cifar-100" / "cifar-100-binary", contents())
        refused = pytest.raises(DataError, match=f"^{root / 'cifar-100'}.* may not be read: grant the permission")
        with permissions(root / "cifar-100" / name, 0o000), refused:
            cifar100.load()
