"""CIFAR-100 is read as published, whatever the archive around it, or refused with the file and the remedy."""

import hashlib
import io
import lzma
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mutations import mutated
from served import Server, allow_downloads, serve
from small_cifar100 import (
    COARSE,
    COUNTS,
    FINE,
    GZ,
    NAMES,
    ROWS,
    SUPERCLASS,
    XZ,
    Pack,
    contents,
    digest_of,
    gz,
    rows,
    same,
    tar,
)

from distillation.core import data as common
from distillation.core.data import DataError
from distillation.specialists.data import cifar100


@pytest.fixture
def server(published: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    allow_downloads(tmp_path, monkeypatch)
    with serve() as mirrors:
        monkeypatch.setattr(cifar100, "MIRRORS", (f"{mirrors.url}/first/", f"{mirrors.url}/second/"))
        yield mirrors


def refusal(*named: str) -> str:
    with pytest.raises(DataError) as caught:
        cifar100.load()
    message = str(caught.value)
    for name in (*named, "DISTILLATION_DATA"):
        assert name in message
    return message


def test_archive_is_read(cifar_folder: Path) -> None:
    found = cifar100.load()
    assert found.name == "cifar-100"
    assert (found.class_names, found.superclass_names, found.superclasses) == (FINE, COARSE, SUPERCLASS)
    for part in ("train", "test"):
        images, labels = getattr(found, f"{part}_images"), getattr(found, f"{part}_labels")
        content = rows(f"{part}.bin")
        assert images.shape == (len(content), 3, 32, 32)
        assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
        in_order = sorted(content, key=lambda row: hashlib.sha256(row.tobytes()).digest())
        assert labels.tolist() == [row[1] for row in in_order]
        for image, row in zip(images.numpy(), in_order, strict=True):
            red, green, blue = row[2:1026], row[1026:2050], row[2050:]  # each row by row
            assert image[0].tobytes() == red.tobytes()
            assert image[1, 3].tobytes() == green[96:128].tobytes()
            assert image[2].tobytes() == blue.tobytes()


@pytest.mark.parametrize(("name", "pack"), [(GZ, gz), (XZ, lzma.compress), (GZ, bytes), (GZ, lzma.compress)])
@pytest.mark.parametrize("inside", ["cifar-100-binary/", "", "./a/b/"])
def test_other_archives_with_the_same_rows_in_another_order_give_the_same_pictures(
    name: str, pack: Pack, inside: str, cifar_folder: Path
) -> None:
    before = cifar100.load()
    random = np.random.default_rng(1)
    files = contents() | {part: random.permutation(rows(part)).tobytes() for part in ROWS}
    assert files["train.bin"] != contents()["train.bin"]
    (cifar_folder / GZ).unlink()
    (cifar_folder / name).write_bytes(pack(tar(dict(reversed(files.items())), inside)))
    assert same(cifar100.load(), before)


@pytest.mark.parametrize(("name", "pack"), [(GZ, gz), (XZ, lzma.compress)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_archive_is_refused(name: str, pack: Pack, share: float, cifar_folder: Path) -> None:
    (cifar_folder / GZ).unlink()
    packed = pack(tar(contents()))
    (cifar_folder / name).write_bytes(packed[: int(share * len(packed))])
    assert "truncated" in refusal(f"cifar-100/{name}", "delete the file")


@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>", b"\x1f\x8b", b"\xfd7zXZ\x00", b"x" * 2000])
@pytest.mark.parametrize("name", [GZ, XZ])
def test_what_is_no_archive_is_refused(content: bytes, name: str, cifar_folder: Path) -> None:
    (cifar_folder / GZ).unlink()
    (cifar_folder / name).write_bytes(content)
    refusal(f"cifar-100/{name}", "delete the file")


@pytest.mark.parametrize("name", [*ROWS, *NAMES])
def test_archive_without_one_of_the_files_is_refused(name: str, cifar_folder: Path) -> None:
    files = contents()
    del files[name]
    (cifar_folder / GZ).write_bytes(gz(tar(files)))
    message = refusal(f"cifar-100/{GZ}", f"lacks {name}:", "delete the file")
    assert not [other for other in files if other in message]


def test_folders_of_the_wanted_names_are_no_files(cifar_folder: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in (*ROWS, *NAMES):
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE
            archive.addfile(member)
    (cifar_folder / GZ).write_bytes(gz(buffer.getvalue()))
    refusal(*ROWS, *NAMES)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("place", [0, 1, 2, 5000, -1])
def test_altered_byte_is_refused(name: str, place: int, cifar_folder: Path) -> None:
    content = bytearray(contents()[name])
    content[place] ^= 1
    (cifar_folder / GZ).write_bytes(gz(tar(contents() | {name: bytes(content)})))
    assert "published" in refusal(name, "delete the file")


def test_a_row_in_place_of_another_is_refused(cifar_folder: Path) -> None:
    content = rows("test.bin")
    content[3] = content[4]
    (cifar_folder / GZ).write_bytes(gz(tar(contents() | {"test.bin": content.tobytes()})))
    assert "published" in refusal("test.bin")


@pytest.mark.parametrize(
    ("cut", "number"), [(cifar100.ROW, "23.0"), (-cifar100.ROW, "25.0"), (cifar100.ROW // 2, "23.5"), (1, "24.0")]
)
def test_wrong_number_of_rows_is_told(cut: int, number: str, cifar_folder: Path) -> None:
    content = contents()["train.bin"]
    content = content[:-cut] if cut > 0 else content + content[:-cut]
    (cifar_folder / GZ).write_bytes(gz(tar(contents() | {"train.bin": content})))
    assert f"{number} rows instead of 24" in refusal("train.bin", "delete the file")


def test_train_in_place_of_test_is_refused(cifar_folder: Path) -> None:
    files = contents()
    (cifar_folder / GZ).write_bytes(gz(tar(files | {"test.bin": files["train.bin"]})))
    assert "24.0 rows instead of 9" in refusal("test.bin")


@pytest.mark.parametrize(
    ("name", "content", "number"),
    [
        ("fine_label_names.txt", b"cod\nfox\nowl\nemu\nelm\n", 5),
        ("fine_label_names.txt", b"cod\nfox\nowl\nemu\nelm\ncod\n", 6),
        ("fine_label_names.txt", b"cid\nfox\nowl\nemu\nelm\nash\n", 6),
        ("fine_label_names.txt", b"cod\nfox\nowl\nemu\nelm\nash\nash\n", 7),
        ("coarse_label_names.txt", b"beast\nplant\nplace\n", 3),
        ("coarse_label_names.txt", b"", 0),
        ("coarse_label_names.txt", b"\xff\xfe", 1),
    ],
)
def test_missing_additional_or_altered_names_are_told(
    name: str, content: bytes, number: int, cifar_folder: Path
) -> None:
    (cifar_folder / GZ).write_bytes(gz(tar(contents() | {name: content})))
    assert f"{number} names, but not the {COUNTS[name]} as published" in refusal(name, "delete the file")


def test_a_class_in_two_superclasses_is_refused(cifar_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = rows("train.bin")
    content[8, 0] = 1 - content[8, 0]
    files = contents() | {"train.bin": content.tobytes()}
    altered = {"train.bin": (digest_of(files["train.bin"]), 24)}
    monkeypatch.setattr(cifar100, "FILES", cifar100.FILES | altered)
    (cifar_folder / GZ).write_bytes(gz(tar(files)))
    assert "two superclasses" in refusal("delete the file")


def test_superclasses_are_those_of_the_rows() -> None:
    found = cifar100.superclasses_of(torch.tensor([[7, 2], [3, 0], [3, 1], [7, 2], [3, 0]], dtype=torch.uint8))
    assert found.tolist() == [3, 3, 7]


@pytest.mark.parametrize("pack", [gz, lzma.compress, bytes])
@pytest.mark.parametrize("seed", range(10))
def test_no_mutation_crashes_or_gives_other_pictures(pack: Pack, seed: int, cifar_folder: Path) -> None:
    before = cifar100.load()
    (cifar_folder / GZ).write_bytes(mutated(pack(tar(contents())), seed))
    try:
        found = cifar100.load()
    except DataError as error:
        assert "DISTILLATION_DATA" in str(error)  # noqa: PT017
    else:
        assert same(found, before)


def test_missing_archive_offline_is_named(cifar_folder: Path) -> None:
    (cifar_folder / GZ).unlink()
    with pytest.raises(DataError, match=rf"cifar-100/{GZ} is missing.*DISTILLATION_OFFLINE"):
        cifar100.load()
    assert list(cifar_folder.iterdir()) == []


def test_archive_is_downloaded_once(server: Server, published: bytes, tmp_path: Path) -> None:
    server.answers = {f"/second/{GZ}": (200, published, len(published))}
    assert cifar100.load().class_names == FINE
    assert server.asked == [f"/first/{GZ}", f"/second/{GZ}"]
    server.asked.clear()
    cifar100.load()
    assert server.asked == []
    assert [path.name for path in (tmp_path / "cifar-100").iterdir()] == [GZ]


@pytest.mark.parametrize("what", ["interrupted", "another checksum", "nothing"])
def test_failed_download_leaves_nothing(what: str, server: Server, published: bytes, tmp_path: Path) -> None:
    other = gz(tar(dict(reversed(contents().items()))))
    answer = {
        "interrupted": (200, published[: len(published) // 2], len(published)),
        "another checksum": (200, other, len(other)),
        "nothing": (404, b"", 0),
    }[what]
    server.answers = {f"/{mirror}/{GZ}": answer for mirror in ("first", "second")}
    refusal(GZ, "could not be downloaded", "/first/", "/second/")
    assert not (tmp_path / "cifar-100").exists() or not list((tmp_path / "cifar-100").iterdir())


def test_an_archive_that_is_there_is_not_downloaded(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cifar-100").mkdir()
    (tmp_path / "cifar-100" / XZ).write_bytes(lzma.compress(tar(contents())))
    assert cifar100.load().class_names == FINE
    assert server.asked == []


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = [os.environ.get("DISTILLATION_DATA"), common.REPOSITORY / "data", common.REPOSITORY / "../shared/data"]
    for candidate in filter(None, candidates):
        if any((Path(candidate) / "cifar-100" / name).exists() for name in (GZ, XZ)):
            monkeypatch.setenv("DISTILLATION_DATA", str(candidate))
            return
    pytest.skip("CIFAR-100 is not here.")


def test_real_cifar_loads(real: None) -> None:
    data = cifar100.load()
    assert data.train_images.shape == (50_000, 3, 32, 32)
    assert data.test_images.shape == (10_000, 3, 32, 32)
    assert data.train_labels.bincount().tolist() == [500] * 100
    assert data.test_labels.bincount().tolist() == [100] * 100
    assert torch.tensor(data.superclasses).bincount().tolist() == [5] * 20
    assert data.class_names[:3] == ("apple", "aquarium_fish", "baby")
    assert data.superclass_names[data.superclasses[1]] == "fish"
