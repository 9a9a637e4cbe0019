"""A miniature of AN4's archive, as if it were the published one."""

import gzip
import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distillation.core.data import DataError
from distillation.speech.data import Speech, an4

TRANSCRIPTS = {
    "an4_clstk/fash/an251-fash-b": "YES",
    "an4_clstk/fash/cen1-fash-b": "A TWO",
    "an4_clstk/fclc/an1-fclc-b": "TWO A",
    "an4_clstk/mblb/an2-mblb-b": "YES YES",
    "an4test_clstk/fcaw/an406-fcaw-b": "A A A",
    "an4test_clstk/marh/cen8-marh-b": "TWO",
}
FIRST = "an4_clstk/fash/an251-fash-b"
SPHERE = f"an4/wav/{FIRST}.sph"
FILEIDS, TRANSCRIPTION = "an4/etc/an4_train.fileids", "an4/etc/an4_train.transcription"
SAMPLES = {
    utterance: np.random.default_rng(place).integers(-(2**15), 2**15, 300 + place, dtype=np.int16)
    for place, utterance in enumerate(TRANSCRIPTS)
}


def sphere(samples: np.ndarray, rate: int = 16_000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="NIST", subtype="PCM_16")
    return buffer.getvalue()


def contents() -> dict[str, bytes]:
    """The members of the miniature archive, in another order than the published one."""
    members = {f"an4/wav/{utterance}.sph": sphere(samples) for utterance, samples in reversed(SAMPLES.items())}
    members["an4/etc/an4.dic"] = b"A   AH\nA(2)   EY\nTWO   T UW\nYES   Y EH S\n"
    for part, folder in {"train": "an4_clstk", "test": "an4test_clstk"}.items():
        inside = {name: words for name, words in reversed(TRANSCRIPTS.items()) if name.startswith(f"{folder}/")}
        lines = [f"<s> {words} </s> ({Path(name).name})\n" for name, words in inside.items()]
        members[f"an4/etc/an4_{part}.fileids"] = "".join(f"{name}\n" for name in inside).encode()
        members[f"an4/etc/an4_{part}.transcription"] = "".join(lines).encode()
    return members


def tar(members: dict[str, bytes], *others: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for other in others:
            archive.addfile(other)
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@dataclass
class Archive:
    """The miniature archive: its members, to be altered by a test, and where it is saved."""

    path: Path
    members: dict[str, bytes]

    def save(self, *others: tarfile.TarInfo) -> None:
        self.path.write_bytes(gzip.compress(tar(self.members, *others), mtime=0))

    def load(self) -> Speech:
        self.save()
        return an4.load_an4()

    def alter(self, name: str, old: str, new: str) -> None:
        assert old in self.members[name].decode()
        self.members[name] = self.members[name].decode().replace(old, new).encode()

    def refusal(self, *others: tarfile.TarInfo) -> str:
        self.save(*others)
        return refusal()


def refusal() -> str:
    with pytest.raises(DataError) as caught:
        an4.load_an4()
    message = str(caught.value)
    assert "an4/an4_sphere.tar.gz" in message
    assert "DISTILLATION_DATA" in message
    return message


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The miniature archive, made the published one; the data folder is left to the test."""
    packed = gzip.compress(tar(contents()), mtime=0)
    digests = {name: hashlib.sha256(samples.tobytes()).hexdigest() for name, samples in SAMPLES.items()}
    monkeypatch.setattr(an4, "PUBLISHED", digests)
    monkeypatch.setattr(an4, "ARCHIVE_SHA256", hashlib.sha256(packed).hexdigest())
    return packed


@pytest.fixture
def archive(packed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """The miniature archive in a data folder, with downloads forbidden."""
    monkeypatch.setenv("DISTILLATION_DATA", str(tmp_path))
    monkeypatch.setenv("DISTILLATION_OFFLINE", "1")
    (tmp_path / "an4").mkdir()
    (tmp_path / "an4" / "an4_sphere.tar.gz").write_bytes(packed)
    return Archive(tmp_path / "an4" / "an4_sphere.tar.gz", contents())
