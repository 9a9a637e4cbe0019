"""The embedded minutes are AN4's, chosen by the stated rule, and refused where they are not as committed."""

import io
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distillation.core import data as common
from distillation.core.data import DataError
from distillation.speech.data import SAMPLE_RATE, an4, embedded
from distillation.speech.data.embedded import load_embedded
from distillation.speech.recogniser.corpus import PARTS

FLAC = "train/an251-fash-b.flac"
DIGESTS = {Path(utterance).name: digest for utterance, digest in an4.PUBLISHED.items()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the embedded files, to be damaged."""
    copy = shutil.copytree(embedded.FOLDER, tmp_path / "an4-small")
    monkeypatch.setattr(embedded, "FOLDER", copy)
    return copy


def flac(samples: np.ndarray, rate: int = SAMPLE_RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def refusal(name: str) -> str:
    with pytest.raises(DataError) as caught:
        load_embedded()
    message = str(caught.value)
    assert message.startswith(f"data/an4-small/{name} ")
    assert "git checkout data/an4-small" in message
    return message


def test_parts_have_speakers_of_their_own_and_words_of_the_lexicon() -> None:
    data = load_embedded()
    assert data.name == "an4 (embedded)"
    counts = [Counter(utterance.speaker for utterance in getattr(data, part)) for part in PARTS]
    assert [len(each) for each in counts] == [22, 4, 6]
    assert {number for each in counts for number in each.values()} == {4}
    everything = data.train + data.development + data.test
    assert len({utterance.speaker for utterance in everything}) == 32
    assert 5 < sum(len(utterance.samples) for utterance in everything) / SAMPLE_RATE / 60 < 5.5  # minutes
    assert all(utterance.samples.dtype == np.int16 for utterance in everything)
    assert {word for utterance in everything for word in utterance.words} == set(data.lexicon)
    assert {word for utterance in data.train for word in utterance.words} == set(data.lexicon)
    assert data.lexicon["A"] == (("AH",), ("EY",))
    assert data.train[3].words == (*"UMNYH", "SIX")


def test_utterances_are_those_of_the_stated_rule() -> None:
    data = load_embedded()
    listed = {"train": [], "development": [], "test": []}
    for utterance in an4.PUBLISHED:
        of, speaker, name = utterance.split("/")
        part = "test" if of == an4.FOLDERS["test"] else "train"
        listed["development" if speaker in an4.DEVELOPMENT_SPEAKERS else part].append((speaker, name))
    for part, number in {"train": 22, "development": 4, "test": 6}.items():
        speakers = list(dict.fromkeys(speaker for speaker, _ in listed[part]))
        expected = []
        for speaker in (speakers[i * len(speakers) // number] for i in range(number)):
            expected += [name for of, name in listed[part] if of == speaker and name.startswith("an")][:4]
        assert [utterance.name for utterance in getattr(data, part)] == expected


def test_digests_are_the_published_ones_and_there_are_no_other_files() -> None:
    lines = [line.split() for line in embedded.read_text("utterances.txt")]
    assert all(DIGESTS[Path(path).name] == digest for digest, path, *_ in lines)
    files = {path.relative_to(embedded.FOLDER).as_posix() for path in embedded.FOLDER.rglob("*") if path.is_file()}
    assert files == {f"{path}.flac" for _, path, *_ in lines} | set(embedded.TEXTS) | {"LICENSE"}
    assert sum((embedded.FOLDER / name).stat().st_size for name in files) < 5_000_000
    assert "Copyright (c) 1991-2005 Carnegie Mellon University" in (embedded.FOLDER / "LICENSE").read_text("utf-8")


def test_real_an4_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = [os.environ.get("DISTILLATION_DATA"), common.REPOSITORY / "data", common.REPOSITORY / "../shared/data"]
    here = [str(each) for each in filter(None, candidates) if (Path(each) / "an4" / an4.ARCHIVE).exists()]
    if not here:
        pytest.skip("AN4 is not here.")
    monkeypatch.setenv("DISTILLATION_DATA", here[0])
    data, real = load_embedded(), an4.load_an4()
    for part in PARTS:
        published = {utterance.name: utterance for utterance in getattr(real, part)}
        for utterance in getattr(data, part):
            same = published[utterance.name]
            assert (utterance.speaker, utterance.words) == (same.speaker, same.words)
            assert np.array_equal(utterance.samples, same.samples)
    assert all(real.lexicon[word] == spoken for word, spoken in data.lexicon.items())


@pytest.mark.parametrize("name", [FLAC, "utterances.txt", "lexicon.txt"])
def test_missing_file_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    assert "cannot be read (No such file" in refusal(name)


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.999])
def test_truncated_audio_is_refused(share: float, folder: Path) -> None:
    content = (folder / FLAC).read_bytes()
    (folder / FLAC).write_bytes(content[: int(len(content) * share)])
    assert re.search("is no readable FLAC file|is damaged or altered", refusal(FLAC))


@pytest.mark.parametrize(
    "alter",
    [
        lambda samples: flac(samples + 1),
        lambda samples: flac(samples[:-100]),
        lambda samples: flac(samples, rate=8_000),
        lambda samples: flac(samples.reshape(-1, 2)),
        lambda samples: flac(samples[::-1]),
        lambda samples: b"<html>Not found</html>",
    ],
    ids=["other samples", "shorter", "8 kHz", "stereo", "reversed", "a page"],
)
def test_altered_audio_is_refused(alter: Callable[[np.ndarray], bytes], folder: Path) -> None:
    samples, _ = soundfile.read(folder / FLAC, dtype="int16")
    (folder / FLAC).write_bytes(alter(samples))
    refusal(FLAC)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("utterances.txt", " YES\n", " NO\n"), ("lexicon.txt", "YES Y EH S", "YES Y S"), ("lexicon.txt", "Z Z IY\n", "")],
    ids=["another word", "another pronunciation", "a line less"],
)
def test_altered_text_is_refused(name: str, old: str, new: str, folder: Path) -> None:
    text = (folder / name).read_text("utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1), "utf-8")
    assert "SHA-256 differs" in refusal(name)


def test_text_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "lexicon.txt").write_bytes(b"\xff\xfe\x00")
    refusal("lexicon.txt")
