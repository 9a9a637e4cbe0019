"""speechocean762 is read as published, packed or unpacked, or refused with the utterance and the remedy."""

import gzip
import hashlib
import io
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_an4 import tar

from distillation.core.data import DataError
from distillation.speech.data import speechocean
from distillation.speech.recogniser.corpus import corpus

WORDS = {"000010011": "A BEAR", "000010035": "TWO", "101570001": "BEAR", "100030002": "TWO A"}
HALF = {"000010011": "train", "000010035": "train", "101570001": "test", "100030002": "test"}
SAMPLES = {
    name: np.random.default_rng(place).integers(-(2**15), 2**15, 2000 + place, dtype=np.int16)
    for place, name in enumerate(WORDS)
}


def wav(samples: np.ndarray, rate: int = 16_000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def contents() -> dict[str, bytes]:
    """The members of a miniature archive, without the top folder."""
    members = {"resource/lexicon.txt": b"A AH0\nA AH1\nA EY0\nBEAR B EH1 R\nTWO T UW0\n", "train/spk2age": b"0001 6\n"}
    for half in ("train", "test"):
        inside = [name for name in WORDS if HALF[name] == half]
        members[f"{half}/text"] = "".join(f"{name}\t{WORDS[name]}\n" for name in inside).encode()
        members[f"{half}/utt2spk"] = "".join(f"{name} {name[1:5]}\n" for name in inside).encode()
        members[f"{half}/wav.scp"] = "".join(
            f"{name}\tWAVE/SPEAKER{name[1:5]}/{name}.WAV\n" for name in inside
        ).encode()
    return members | {f"WAVE/SPEAKER{name[1:5]}/{name}.WAV": wav(samples) for name, samples in SAMPLES.items()}


@dataclass
class Folder:
    """A data folder with the miniature, packed or not."""

    path: Path
    members: dict[str, bytes] = field(default_factory=contents)

    def pack(self) -> Path:
        archive = self.path / "speechocean762" / "speechocean762.tar.gz"
        archive.parent.mkdir(exist_ok=True)
        archive.write_bytes(gzip.compress(tar({f"speechocean762/{name}": c for name, c in self.members.items()})))
        return archive

    def unpack(self) -> Path:
        top = self.path / "speechocean762"
        for name, content in self.members.items():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_bytes(content)
        return top

    def alter(self, name: str, old: str, new: str) -> None:
        text = self.members[name].decode()
        assert old in text
        self.members[name] = text.replace(old, new, 1).encode()

    def refusal(self) -> str:
        self.pack()
        with pytest.raises(DataError) as told:
            speechocean.load_speechocean()
        assert "speechocean762.tar.gz" in str(told.value)
        assert "delete the file and run again, or set DISTILLATION_DATA" in str(told.value)
        return str(told.value)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setenv("DISTILLATION_DATA", str(tmp_path))
    monkeypatch.setenv("DISTILLATION_OFFLINE", "1")
    digests = {name: hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest() for name, samples in SAMPLES.items()}
    monkeypatch.setattr(speechocean, "PUBLISHED", digests)
    monkeypatch.setattr(speechocean, "TEST_SPEAKERS", frozenset({"0003"}))
    monkeypatch.setattr(speechocean, "DEVELOPMENT_SPEAKERS", frozenset({"0157"}))
    return Folder(tmp_path)


@pytest.mark.parametrize("form", ["pack", "unpack"])
def test_archive_or_folder_is_read(form: str, folder: Folder) -> None:
    getattr(folder, form)()
    data = speechocean.load_speechocean()
    parts = {"train": ["000010011", "000010035"], "development": ["101570001"], "test": ["100030002"]}
    assert {part: [utterance.name for utterance in getattr(data, part)] for part in parts} == parts
    for utterance in data.train + data.development + data.test:
        assert " ".join(utterance.words) == WORDS[utterance.name]
        assert utterance.speaker == utterance.name[1:5]
        assert np.array_equal(utterance.samples, SAMPLES[utterance.name])
    # Stress is taken off, and what differed in it alone is one pronunciation.
    assert data.lexicon == {"A": (("AH",), ("EY",)), "BEAR": (("B", "EH", "R"),), "TWO": (("T", "UW"),)}
    assert data.name == "speechocean762"


WAVE = "WAVE/SPEAKER0001/000010011.WAV"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (WAVE, None, "lacks the audio of utterance 000010011"),
        (WAVE, wav(SAMPLES["000010035"]), "does not hold utterance 000010011 as published"),
        (WAVE, wav(SAMPLES["000010011"], 8_000), "utterance 000010011 at 8,000 Hz in 1 channel"),
        (WAVE, b"RIFF", "has no readable WAV file of utterance 000010011"),
        ("train/text", None, "lacks train/text"),
        ("train/text", b"\xff\xfe", "has bytes in train/text that are no text"),
        ("resource/lexicon.txt", None, "lacks resource/lexicon.txt"),
    ],
)
def test_files_other_than_the_published_are_refused(
    name: str, content: bytes | None, reason: str, folder: Folder
) -> None:
    folder.members.pop(name)
    folder.members |= {name: content} if content is not None else {}
    assert reason in folder.refusal()


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("train/text", "A BEAR", "A WOLF", "the word WOLF in utterance 000010011, which resource/lexicon.txt lacks"),
        ("train/text", "A BEAR", "", "an empty transcript of utterance 000010011"),
        ("train/text", "000010035\tTWO\n", "", "utterance 000010035 in only one of train/text and train/utt2spk"),
        ("train/wav.scp", "000010035", "000010036", "000010035 in only one of train/text and train/wav.scp"),
        ("train/text", "000010035\tTWO", "000010011\tTWO", "lists utterance 000010011 twice in train/text"),
        ("resource/lexicon.txt", "TWO T UW0", "TWO", "has no pronunciation of TWO"),
    ],
)
def test_texts_that_do_not_fit_are_refused(name: str, old: str, new: str, reason: str, folder: Folder) -> None:
    folder.alter(name, old, new)
    assert reason in folder.refusal()


def test_an_utterance_that_is_not_published_is_refused(folder: Folder) -> None:
    for name in ("text", "utt2spk", "wav.scp"):
        folder.members[f"test/{name}"] += b"000099999 A\n"
    assert "has utterance 000099999 in its texts or among the published ones" in folder.refusal()


def test_without_it_one_is_told_where_it_was_looked_for(folder: Folder) -> None:
    with pytest.raises(DataError, match="DISTILLATION_OFFLINE forbids downloads"):
        speechocean.load_speechocean()


def test_it_is_a_corpus(folder: Folder) -> None:
    corpus.cache_clear()
    folder.pack()
    found = corpus("speechocean762")
    assert {name: len(part.utterances) for name, part in found.parts.items()} == {
        "train": 2,
        "development": 1,
        "test": 1,
    }
    corpus.cache_clear()


def test_the_committed_split_and_digests_are_of_the_whole_corpus() -> None:
    assert len(speechocean.PUBLISHED) == 5000
    assert all(len(digest) == 64 for digest in speechocean.PUBLISHED.values())
    speakers = Counter(name[1:5] for name in speechocean.PUBLISHED)
    assert (len(speakers), set(speakers.values())) == (250, {20})
    assert (len(speechocean.TEST_SPEAKERS), len(speechocean.DEVELOPMENT_SPEAKERS)) == (42, 18)
    assert not speechocean.TEST_SPEAKERS & speechocean.DEVELOPMENT_SPEAKERS
    assert speakers.keys() > speechocean.TEST_SPEAKERS | speechocean.DEVELOPMENT_SPEAKERS
    assert speechocean.CHILDREN < speechocean.TEST_SPEAKERS


def test_the_children_of_the_test_speakers_are_those_under_19() -> None:
    corpus_folder = speechocean.find()
    if corpus_folder is None or corpus_folder.is_file():
        pytest.skip("speechocean762 is not unpacked here")
    lines = (corpus_folder.parent / "test" / "spk2age").read_text("utf-8").split()
    ages = dict(zip(lines[::2], map(int, lines[1::2]), strict=True))
    assert {name for name in speechocean.TEST_SPEAKERS if ages[name] < 19} == speechocean.CHILDREN
