"""AN4 is read as published, whatever the archive around it, or refused with the utterance and the remedy."""

import gzip
import os
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from served import Server, allow_downloads, serve
from small_an4 import (
    FILEIDS,
    FIRST,
    SAMPLES,
    SPHERE,
    TRANSCRIPTION,
    TRANSCRIPTS,
    Archive,
    contents,
    refusal,
    sphere,
    tar,
)

from distillation.core import data as common
from distillation.core.data import DataError
from distillation.speech.data import SAMPLE_RATE, an4


@pytest.fixture
def server(packed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    allow_downloads(tmp_path, monkeypatch)
    with serve() as mirrors:
        monkeypatch.setattr(an4, "MIRRORS", (f"{mirrors.url}/first/", f"{mirrors.url}/second/"))
        yield mirrors


def test_archive_in_the_folder_is_read_in_the_published_order(archive: Archive) -> None:
    data = an4.load_an4()
    parts = {"train": ["fash", "fash", "mblb"], "development": ["fclc"], "test": ["fcaw", "marh"]}
    assert {part: [utterance.speaker for utterance in getattr(data, part)] for part in parts} == parts
    found = {utterance.name: utterance for utterance in data.train + data.development + data.test}
    for name, words in TRANSCRIPTS.items():
        utterance = found.pop(Path(name).name)
        assert " ".join(utterance.words) == words
        assert utterance.samples.dtype == np.int16
        assert np.array_equal(utterance.samples, SAMPLES[name])
    assert not found
    assert [utterance.name for utterance in data.train] == ["an251-fash-b", "cen1-fash-b", "an2-mblb-b"]
    assert data.lexicon == {"A": (("AH",), ("EY",)), "TWO": (("T", "UW"),), "YES": (("Y", "EH", "S"),)}
    assert data.name == "an4" == an4.find()


def test_nothing_is_written(archive: Archive, tmp_path: Path) -> None:
    an4.load_an4()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive.path]


def test_transcripts_without_sentence_marks_are_equal(archive: Archive) -> None:
    marked = archive.load()
    archive.alter(TRANSCRIPTION, "<s> ", "")
    archive.alter(TRANSCRIPTION, " </s>", "")
    bare = archive.load()
    assert [(utterance.name, utterance.words) for utterance in bare.train + bare.development] == [
        (utterance.name, utterance.words) for utterance in marked.train + marked.development
    ]


def test_archive_packed_otherwise_is_accepted(archive: Archive) -> None:
    members = {f"./{name}": content for name, content in reversed(archive.members.items())}
    members["./an4/README"] = b"Read me."
    archive.path.write_bytes(gzip.compress(tar(members), 1, mtime=7))
    assert len(an4.load_an4().test) == 2


@pytest.mark.parametrize(("share", "have"), [(0.05, 0), (0.3, 3), (0.9, 11)])
def test_truncated_archive_is_refused_with_how_much_there_is(share: float, have: int, archive: Archive) -> None:
    packed = gzip.compress(tar(archive.members), 0, mtime=0)
    archive.path.write_bytes(packed[: int(len(packed) * share)])
    assert re.search(rf"truncated, ending after {have} of 11 files", refusal())


def test_archive_without_its_last_bytes_is_refused(archive: Archive) -> None:
    archive.path.write_bytes(archive.path.read_bytes()[:-6])
    assert "truncated" in refusal()


def test_altered_byte_in_a_transcript_is_refused(archive: Archive) -> None:
    packed = gzip.compress(tar(archive.members) + bytes(1 << 20), 0, mtime=0)  # the checksum lies far behind
    assert packed.count(b"<s> TWO A </s>") == 1
    archive.path.write_bytes(packed.replace(b"<s> TWO A </s>", b"<s> YES A </s>"))
    assert "truncated or damaged" in refusal()


def test_damaged_compression_behind_the_members_is_refused(archive: Archive) -> None:
    packing = zlib.compressobj(wbits=31)
    packed = packing.compress(tar(archive.members) + bytes(1 << 20)) + packing.flush(zlib.Z_FULL_FLUSH)
    archive.path.write_bytes(packed + b"\x07" * 100)  # a type of block that does not exist
    assert "truncated or damaged" in refusal()


@pytest.mark.parametrize("place", [12, 100, 3000, -6])
def test_altered_byte_in_the_archive_is_refused(place: int, archive: Archive) -> None:
    packed = bytearray(archive.path.read_bytes())
    packed[place] ^= 0x10
    archive.path.write_bytes(packed)
    refusal()


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>Not found</html>", b"\x1f\x8b", gzip.compress(b""), gzip.compress(b"<html>" * 1000)],
    ids=["empty", "a page", "two bytes", "gzip of nothing", "gzip of a page"],
)
def test_what_is_no_archive_is_refused(content: bytes, archive: Archive) -> None:
    archive.path.write_bytes(content)
    refusal()


def test_altered_sample_is_refused(archive: Archive) -> None:
    content = bytearray(archive.members[SPHERE])
    content[-100] ^= 1
    archive.members[SPHERE] = bytes(content)
    assert f"{FIRST} as published" in archive.refusal()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (sphere(SAMPLES[FIRST], rate=8_000), "8,000 Hz in 1 channel"),
        (sphere(SAMPLES[FIRST].reshape(-1, 2)), "16,000 Hz in 2 channel"),
        (sphere(SAMPLES[FIRST])[:-100], "only 250 of the 300 samples"),
        (sphere(SAMPLES[FIRST])[:500], "no readable SPHERE file"),
        (b"", "no readable SPHERE file"),
        (sphere(SAMPLES["an4_clstk/fash/cen1-fash-b"]), "published"),
    ],
    ids=["8 kHz", "stereo", "without its end", "without its header", "empty", "of another utterance"],
)
def test_other_audio_is_refused(content: bytes, problem: str, archive: Archive) -> None:
    archive.members[SPHERE] = content
    message = archive.refusal()
    assert problem in message
    assert FIRST in message


@pytest.mark.parametrize("name", [SPHERE, FILEIDS, TRANSCRIPTION, "an4/etc/an4.dic"])
def test_missing_member_is_named(name: str, archive: Archive) -> None:
    del archive.members[name]
    message = archive.refusal()
    assert "lacks" in message
    assert (FIRST if name == SPHERE else name) in message


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        (FILEIDS, f"{FIRST}\n", "", f"lacks utterance {FIRST}"),
        (FILEIDS, f"{FIRST}\n", f"{FIRST}\n{FIRST}\n", f"{FIRST} twice"),
        (FILEIDS, FIRST, f"{FIRST}x", f"utterance {FIRST}x"),
        (FILEIDS, FIRST, "an4test_clstk/fcaw/an406-fcaw-b", "utterance an4test_clstk/fcaw/an406-fcaw-b"),
        (TRANSCRIPTION, "<s> YES </s> (an251-fash-b)\n", "", "lacks utterance an251-fash-b"),
        (TRANSCRIPTION, "an251-fash-b", "cen1-fash-b", "cen1-fash-b twice"),
        (TRANSCRIPTION, "an251-fash-b", "an406-fcaw-b", "utterance an406-fcaw-b"),
    ],
    ids=["missing", "twice", "unknown", "in the wrong part", "untold", "told twice", "told in the wrong part"],
)
def test_text_that_does_not_fit_the_utterances_is_refused(
    name: str, old: str, new: str, problem: str, archive: Archive
) -> None:
    archive.alter(name, old, new)
    message = archive.refusal()
    assert problem in message
    assert name in message


@pytest.mark.parametrize("line", ["<s> </s> (an251-fash-b)", "(an251-fash-b)"])
def test_empty_transcript_is_refused(line: str, archive: Archive) -> None:
    archive.alter(TRANSCRIPTION, "<s> YES </s> (an251-fash-b)", line)
    assert "empty transcript of utterance an251-fash-b" in archive.refusal()


def test_transcript_without_its_utterance_is_refused(archive: Archive) -> None:
    archive.alter(TRANSCRIPTION, " (an251-fash-b)", "")
    message = archive.refusal()
    assert "<s> YES </s>" in message
    assert TRANSCRIPTION in message


def test_word_outside_the_lexicon_is_refused(archive: Archive) -> None:
    archive.alter(TRANSCRIPTION, "<s> YES </s> (an251", "<s> YES PERHAPS </s> (an251")
    assert re.search(r"word PERHAPS in utterance an251-fash-b\b", archive.refusal())


def test_word_without_pronunciation_is_refused(archive: Archive) -> None:
    archive.alter("an4/etc/an4.dic", "T UW", "")
    assert "pronunciation of TWO" in archive.refusal()


def test_text_that_is_no_text_is_refused(archive: Archive) -> None:
    archive.members["an4/etc/an4.dic"] = b"\xff\xfe\x00"
    assert "an4/etc/an4.dic" in archive.refusal()


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "an4/../../evil", f"an4/../{SPHERE}"])
def test_path_that_leads_out_is_refused(name: str, archive: Archive) -> None:
    archive.members[name] = b"evil"
    assert f"unsafe path {name}" in archive.refusal()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_neither_file_nor_folder_is_refused(kind: bytes, archive: Archive) -> None:
    other = tarfile.TarInfo("an4/etc/odd")
    other.type, other.linkname = kind, SPHERE
    assert "an4/etc/odd, which is neither" in archive.refusal(other)


def test_folders_are_accepted(archive: Archive) -> None:
    folder = tarfile.TarInfo("an4/etc")
    folder.type = tarfile.DIRTYPE
    archive.save(folder)
    assert an4.load_an4().name == "an4"


def test_member_found_twice_is_refused(archive: Archive) -> None:
    archive.members[f"./{SPHERE}"] = archive.members[SPHERE]
    assert f"{SPHERE} twice" in archive.refusal()


def test_missing_archive_offline_is_named(archive: Archive) -> None:
    archive.path.unlink()
    with pytest.raises(DataError, match=r"an4/an4_sphere\.tar\.gz is missing.*OFFLINE"):
        an4.load_an4()
    assert an4.find() == "an4 (embedded)"


def test_damaged_archive_is_no_reason_for_the_stand_in(archive: Archive) -> None:
    archive.path.write_bytes(b"damaged")
    assert an4.find() == "an4"
    refusal()


def test_second_mirror_serves_what_the_first_lacks(server: Server, packed: bytes) -> None:
    server.answers["/second/an4_sphere.tar.gz"] = (200, packed, len(packed))
    assert len(an4.load_an4().test) == 2
    assert server.asked == ["/first/an4_sphere.tar.gz", "/second/an4_sphere.tar.gz"]
    server.asked.clear()
    an4.load_an4()
    assert server.asked == []


def test_interrupted_download_leaves_nothing(server: Server, packed: bytes, tmp_path: Path) -> None:
    for mirror in ("first", "second"):
        server.answers[f"/{mirror}/an4_sphere.tar.gz"] = (200, packed[: len(packed) // 2], len(packed))
    failed_download(tmp_path)
    server.answers["/second/an4_sphere.tar.gz"] = (200, packed, len(packed))
    assert len(an4.load_an4().test) == 2


def test_download_with_another_checksum_is_refused(server: Server, tmp_path: Path) -> None:
    other = gzip.compress(tar(contents()), 1, mtime=7)
    for mirror in ("first", "second"):
        server.answers[f"/{mirror}/an4_sphere.tar.gz"] = (200, other, len(other))
    failed_download(tmp_path)


def test_no_mirror_means_the_stand_in(server: Server) -> None:
    assert an4.find() == "an4 (embedded)"


def failed_download(folder: Path) -> None:
    """No mirror delivers the archive: an error, and nothing of it on disk."""
    with pytest.raises(DataError, match=r"an4_sphere\.tar\.gz could not be downloaded.*DISTILLATION_DATA"):
        an4.load_an4()
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_published_list_is_whole() -> None:
    folders = Counter(utterance.split("/")[0] for utterance in an4.PUBLISHED)
    assert folders == {"an4_clstk": 948, "an4test_clstk": 130}
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in an4.PUBLISHED.values())
    assert len({Path(utterance).name for utterance in an4.PUBLISHED}) == 1078  # names alone tell utterances apart


def test_development_speakers_are_as_drawn() -> None:
    train = Counter(utterance.split("/")[1] for utterance in an4.PUBLISHED if utterance.startswith("an4_clstk/"))
    assert Counter(speaker[0] for speaker in an4.DEVELOPMENT_SPEAKERS) == {"f": 3, "m": 5}
    assert all(12 <= train[speaker] <= 14 for speaker in an4.DEVELOPMENT_SPEAKERS)
    people = {speaker: speaker.rstrip("2") for speaker in train}  # mdcs2 is mdcs in another session
    others = {person for speaker, person in people.items() if speaker not in an4.DEVELOPMENT_SPEAKERS}
    assert others.isdisjoint(people[speaker] for speaker in an4.DEVELOPMENT_SPEAKERS)


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = [os.environ.get("DISTILLATION_DATA"), common.REPOSITORY / "data", common.REPOSITORY / "../shared/data"]
    for candidate in filter(None, candidates):
        if (Path(candidate) / "an4" / an4.ARCHIVE).exists():
            monkeypatch.setenv("DISTILLATION_DATA", str(candidate))
            return
    pytest.skip("AN4 is not here.")


def test_real_an4_loads(real: None) -> None:
    data = an4.load_an4()
    assert (len(data.train), len(data.development), len(data.test)) == (845, 103, 130)
    train, development, test = (
        {utterance.speaker for utterance in part} for part in (data.train, data.development, data.test)
    )
    assert development == an4.DEVELOPMENT_SPEAKERS
    assert (len(train), len(test)) == (66, 10)
    assert len(train | development | test) == 84  # they share none
    everything = data.train + data.development + data.test
    assert 48 < sum(len(utterance.samples) for utterance in everything) / SAMPLE_RATE / 60 < 49  # minutes
    assert len({utterance.name for utterance in everything}) == 1078
    assert {word for utterance in everything for word in utterance.words} <= set(data.lexicon)
    assert "SIL" not in {phone for ways in data.lexicon.values() for way in ways for phone in way}
    assert data.lexicon["A"] == (("AH",), ("EY",))
    assert next(u.words for u in data.test if u.name == "an406-fcaw-b") == ("RUBOUT", *"GMEF", "THREE", "NINE")
