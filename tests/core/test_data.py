"""A file of a data set is found in any usual form and place, or one sentence says where was looked and what to do."""

import errno
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ordinary import permissions, public_folder
from served import Server, allow_downloads, serve

from distillation.core.data import DataError, is_offline, obtain, read_files, reading

FORMS = ("set.tar.gz", "set.tar", "set/one.bin")
FILES = {"top/one.bin": b"one", "top/within/two.bin": b"two"}


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, with downloads forbidden."""
    monkeypatch.setenv("DISTILLATION_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DISTILLATION_OFFLINE", "1")
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    allow_downloads(tmp_path, monkeypatch)
    with serve() as mirrors:
        yield mirrors


def found(*urls: str) -> Path:
    return obtain(("shapes", "SHAPES"), FORMS, urls, "md5:0")


def refusal(*urls: str) -> str:
    with pytest.raises(DataError) as caught:
        found(*urls)
    message = str(caught.value)
    assert message.startswith("shapes/set.tar.gz ")
    assert message.endswith(".")
    assert "\n" not in message
    assert "set DISTILLATION_DATA to a folder" in message
    return message


def put(path: Path, content: bytes = b"content") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("word", ["", "0", "false", "no", "False", "NO"])
def test_not_offline(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLATION_OFFLINE", word)
    assert not is_offline()


@pytest.mark.parametrize("word", ["1", "true", "yes", "True", "YES"])
def test_offline(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLATION_OFFLINE", word)
    assert is_offline()


def test_unset_is_not_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISTILLATION_OFFLINE", raising=False)
    assert not is_offline()


@pytest.mark.parametrize("word", ["off", "2", "ja", "-1", "none"])
def test_other_words_get_a_sentence(word: str, offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLATION_OFFLINE", word)
    with pytest.raises(ValueError, match=f"DISTILLATION_OFFLINE={word} is neither yes nor no: set it to 1"):
        found()


def test_zero_lets_downloads_happen(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLATION_OFFLINE", "0")
    refusal(f"{server.url}/")
    assert server.asked == ["/set.tar.gz"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("folder", ["shapes", "SHAPES", ".", "data/shapes", "any/SHAPES"])
def test_a_file_is_found_in_every_form_and_one_level_off(form: str, folder: str, offline: Path) -> None:
    path = put(offline / folder / form)
    assert found() == path


def test_the_first_form_in_the_first_place_is_taken(offline: Path) -> None:
    below, outside = put(offline / "any" / "shapes" / "set.tar.gz"), put(offline / "set.tar.gz")
    assert found() == outside
    inside = put(offline / "shapes" / "set.tar")
    assert found() == inside
    packed = put(offline / "shapes" / "set.tar.gz")
    assert found() == packed
    assert below.exists()


def test_another_sets_folder_is_left_alone(offline: Path) -> None:
    """Fashion-MNIST's files, for one, have MNIST's names."""
    put(offline / "other" / "set.tar.gz")
    put(offline / "other" / "raw" / "set.tar.gz")
    refusal()


def test_what_is_missing_is_told_with_where_was_looked_and_what_is_there(offline: Path) -> None:
    put(offline / "shapes" / "set.zip")
    put(offline / "elsewhere" / "shapes" / "readme.txt")
    message = refusal()
    assert "is missing and DISTILLATION_OFFLINE forbids downloads: unset it" in message
    for folder, names in ((offline / "shapes", "set.zip"), (offline, "elsewhere, shapes")):
        assert f"{folder} ({names})" in message
    assert f"{offline / 'elsewhere' / 'shapes'} (readme.txt)" in message
    assert "network" not in message


@pytest.mark.parametrize("what", ["nothing", "a file", "a dangling link", "a link to itself"])
def test_a_data_folder_that_is_none_is_told(what: str, offline: Path) -> None:
    offline.rmdir()
    match what:
        case "a file":
            put(offline)
        case "a dangling link":
            offline.symlink_to("nowhere")
        case "a link to itself":
            offline.symlink_to(offline)
    assert f"looked in {offline} (no folder that can be read)" in refusal()


def test_an_empty_data_folder_is_told(offline: Path) -> None:
    assert f"looked in {offline} (empty)" in refusal()


def test_long_folders_are_told_in_short(offline: Path) -> None:
    for number in range(1000):
        put(offline / f"{number:03}")
    assert len(refusal()) < 500


def test_an_unreachable_mirror_is_the_networks(server: Server, tmp_path: Path) -> None:
    put(tmp_path / "shapes" / "set.zip")
    message = refusal(f"{server.url}/first/", "http://127.0.0.1:9/")
    assert f"could not be downloaded ({server.url}/first/: HTTPError; http://127.0.0.1:9/: Conn" in message
    assert "): check the network, or set" in message
    assert f"{tmp_path / 'shapes'} (set.zip)" in message


def test_a_read_only_folder_is_told_as_such(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with public_folder() as root:
        monkeypatch.setenv("DISTILLATION_DATA", str(root))
        for folder in (root, root / "shapes"):  # either it cannot be made, or it cannot be written to
            with permissions(root if folder == root else folder, 0o555):
                message = refusal(f"{server.url}/")
            assert f"cannot be downloaded to {root / 'shapes'} (Permission denied): make it writable, or" in message
            assert "network" not in message
            (root / "shapes").mkdir(exist_ok=True)
    assert server.asked == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_takes_nothing_is_told_as_such(
    number: int, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def retrieve(*_: str, **__: str) -> str:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("pooch.retrieve", retrieve)
    message = refusal(f"{server.url}/")
    assert f"({os.strerror(number)}): make it writable" in message
    assert "network" not in message


@pytest.mark.parametrize("what", ["file", "folder", "data folder"])
def test_what_may_not_be_read_counts_as_there_and_is_told_as_such(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLATION_OFFLINE", "1")
    with public_folder() as root:
        monkeypatch.setenv("DISTILLATION_DATA", str(root))
        path = put(root / "shapes" / "set.tar.gz")
        forbidden = {"file": path, "folder": path.parent, "data folder": root}[what]
        with permissions(forbidden, 0o000):
            assert found() == path
            with pytest.raises(DataError, match=rf"^{path} may not be read: grant the permission, or set DIST.*\.$"):
                read(path, ["one.bin"])


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_may_not_be_read_in_an_unpacked_folder_is_told_as_such(what: str) -> None:
    with public_folder() as root:
        path = put(root / "top" / "within" / "two.bin")
        with (
            permissions(path if what == "file" else path.parent, 0o000),
            pytest.raises(DataError, match=f"^{path} may not be read: grant the permission"),
        ):
            read(root / "top", ["top/within/two.bin"])


def read(path: Path, names: list[str]) -> dict[str, bytes]:
    with reading(path):
        return read_files(path, names)


def tar(pack: Callable[[bytes], bytes] = bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return pack(buffer.getvalue())


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_an_archive_is_read_by_path_or_base_name_however_it_is_packed(
    pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = put(tmp_path / "set.tar.gz", tar(pack))
    assert read(path, [*FILES, "three.bin"]) == FILES
    assert read(path, ["two.bin"]) == {"two.bin": b"two"}
    assert list(tmp_path.iterdir()) == [path]


def test_an_unpacked_folder_is_read_alike(tmp_path: Path) -> None:
    for name, content in FILES.items():
        put(tmp_path / name, content)
    assert read(tmp_path / "top", [*FILES, "top/three.bin"]) == FILES
    assert read(tmp_path / "top", ["one.bin"]) == {"one.bin": b"one"}


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"x" * 2000, tar(gzip.compress)[:-6], tar(lzma.compress)[:90]],
    ids=["empty", "page", "other", "short gzip", "short xz"],  # a gzip holds the time: several workers must agree
)
def test_what_is_no_whole_archive_is_told_with_the_remedy(content: bytes, tmp_path: Path) -> None:
    path = put(tmp_path / "set.tar", content)
    with pytest.raises(DataError, match=rf"^{path} is truncated.*: delete the file and run again, or set .*\.$"):
        read(path, [*FILES])


def test_a_folder_is_not_to_be_deleted(tmp_path: Path) -> None:
    """It may hold other things as well."""
    with pytest.raises(DataError, match=rf"^{tmp_path} lacks a file: unpack it again, or set"), reading(tmp_path):
        raise DataError("lacks a file")
