"""AN4 is read in any usual form, or one sentence says where was looked; a stand-in never comes unsaid."""

import gzip
import shutil
from pathlib import Path

import pytest
from ordinary import permissions, public_folder
from served import allow_downloads, serve
from small_an4 import FILEIDS, FIRST, SPHERE, Archive, contents, tar

from distillation.core.data import DataError
from distillation.speech import plan
from distillation.speech.data import Speech, an4


def put(folder: Path, members: dict[str, bytes], top: str = "") -> None:
    """The archive unpacked into a folder, with another top folder or, by default, none."""
    for name, content in members.items():
        path = folder / top / name.removeprefix("an4/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def everything(data: Speech) -> list:
    utterances = data.train + data.development + data.test
    return [data.lexicon, *((each.name, each.speaker, each.words, each.samples.tobytes()) for each in utterances)]


@pytest.mark.parametrize("name", ["an4_sphere.tar", "an4_sphere.tar.gz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("place", ["an4", ".", "data/an4"])
def test_an_archive_is_read_packed_or_not(place: str, pack, name: str, archive: Archive, tmp_path: Path) -> None:
    before = everything(an4.load_an4())
    archive.path.unlink()
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / name).write_bytes(pack(tar(contents())))
    assert everything(an4.load_an4()) == before
    assert an4.find() == "an4"


@pytest.mark.parametrize(("place", "top"), [("an4", "an4"), ("an4", ""), (".", ""), ("data/an4", "an4")])
def test_the_unpacked_archive_is_read(place: str, top: str, archive: Archive, tmp_path: Path) -> None:
    before = everything(an4.load_an4())
    archive.path.unlink()
    put(tmp_path / place, contents(), top)
    assert everything(an4.load_an4()) == before
    assert an4.find() == "an4"


def test_the_unpacked_folder_itself_may_have_any_name(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(an4.load_an4())
    put(tmp_path / "speech", contents())
    monkeypatch.setenv("DISTILLATION_DATA", str(tmp_path / "speech"))
    assert everything(an4.load_an4()) == before


def unpacked(archive: Archive, members: dict[str, bytes]) -> str:
    """What is said of these members, unpacked."""
    archive.path.unlink()
    put(archive.path.parent, members, "an4")
    assert an4.find() == "an4"  # no reason for the stand-in
    with pytest.raises(DataError) as caught:
        an4.load_an4()
    message = str(caught.value)
    assert message.startswith(f"{archive.path.parent / 'an4'} ")
    assert message.endswith(
        ": unpack it again, or set DISTILLATION_DATA to a folder with a whole copy (see data/README.md)."
    )
    return message


@pytest.mark.parametrize("name", [SPHERE, FILEIDS, "an4/etc/an4.dic"])
def test_what_the_unpacked_archive_lacks_is_named(name: str, archive: Archive) -> None:
    members = contents()
    del members[name]
    assert f"lacks {'the audio of utterance ' + FIRST if name == SPHERE else name}" in unpacked(archive, members)


def test_an_altered_sample_is_refused_in_the_unpacked_archive(archive: Archive) -> None:
    content = bytearray(contents()[SPHERE])
    content[-100] ^= 1
    assert f"{FIRST} as published" in unpacked(archive, contents() | {SPHERE: bytes(content)})


def test_a_folder_that_only_shares_a_name_is_not_taken_for_it(archive: Archive, tmp_path: Path) -> None:
    shutil.rmtree(archive.path.parent)
    (tmp_path / "wav").mkdir()
    (tmp_path / "etc").mkdir()
    assert an4.find() == "an4 (embedded)"


def test_the_notice_of_the_stand_in_says_where_was_looked(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    archive.path.rename(archive.path.with_name("an4_raw.tar.gz"))
    assert plan.profile("quick").dataset == "an4 (embedded)"
    (notice,) = capsys.readouterr().out.splitlines()
    assert notice.startswith("AN4 is not here and cannot be downloaded: five minutes of it, embedded, stand in. ")
    assert "an4/an4_sphere.tar.gz is missing and DISTILLATION_OFFLINE forbids downloads: unset it, or set" in notice
    assert f"{archive.path.parent} (an4_raw.tar.gz)" in notice


def test_a_read_only_folder_and_the_stand_in(
    packed: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with public_folder() as root, serve() as mirrors:
        allow_downloads(root, monkeypatch)
        monkeypatch.setattr(an4, "MIRRORS", (f"{mirrors.url}/",))
        with permissions(root, 0o555):
            assert plan.profile("quick").dataset == "an4 (embedded)"
        assert mirrors.asked == []
    notice = capsys.readouterr().out
    assert f"cannot be downloaded to {root / 'an4'} (Permission denied): make it writable" in notice
    assert "network" not in notice


@pytest.mark.parametrize("name", [SPHERE, FILEIDS, "an4/wav/an4_clstk"])
def test_what_may_not_be_read_is_no_reason_for_the_stand_in(
    name: str, packed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILLATION_OFFLINE", "1")
    with public_folder() as root:
        monkeypatch.setenv("DISTILLATION_DATA", str(root))
        put(root, contents(), "an4/an4")
        path = root / "an4" / name
        with permissions(path, 0o000):
            assert plan.profile("quick").dataset == "an4"
            with pytest.raises(DataError, match=f"^{path}.* may not be read: grant the permission"):
                an4.load_an4()
