"""Synthetic speech is the same for a seed, its speakers stay in their part, and its phones are where they are heard."""

import hashlib
import importlib.util
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from distillation.core.data import DataError
from distillation.speech.data import SAMPLE_RATE, Speech, Utterance, synthetic_speech
from distillation.speech.data.synthetic_speech import (
    PHONEME,
    VARIANTS,
    WORD,
    WORDS,
    Espeak,
    Voice,
    align,
    load_synthetic_speech,
)

SMALL = ((3, 1, 2), 4)
ALL = ((len(VARIANTS), 1, 1), 2)  # every variant is heard
spoken = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="espeak-ng is not here: pip install espeakng-loader"
)


def utterances(data: Speech) -> tuple[Utterance, ...]:
    return data.train + data.development + data.test


def digest(data: Speech) -> str:
    sums = hashlib.sha256(repr(data.lexicon).encode())
    for utterance in utterances(data):
        sums.update(repr((utterance.name, utterance.words, utterance.phones)).encode() + utterance.samples.tobytes())
    return sums.hexdigest()


@pytest.fixture(scope="module")
def corpus() -> Speech:
    return load_synthetic_speech()


@spoken
def test_corpus_has_the_sizes_asked_for_and_disjoint_speakers(corpus: Speech) -> None:
    parts = (corpus.train, corpus.development, corpus.test)
    assert [len(part) for part in parts] == [24 * 8, 4 * 8, 6 * 8]
    speakers = [{utterance.speaker for utterance in part} for part in parts]
    assert [len(part) for part in speakers] == [24, 4, 6]
    assert len(set.union(*speakers)) == 34
    variants = {speaker.partition("+")[2] for speaker in set.union(*speakers)}
    assert len(variants) == 34  # not the same voice under two names either
    assert len({utterance.name for utterance in utterances(corpus)}) == 34 * 8


@spoken
def test_utterances_are_sentences_at_16_khz(corpus: Speech) -> None:
    for utterance in utterances(corpus):
        assert utterance.samples.dtype == np.int16
        assert 1 <= len(utterance.words) <= 6
        assert set(utterance.words) <= set(WORDS)
        assert 0.2 < len(utterance.samples) / SAMPLE_RATE < 10
        assert 8000 < np.abs(utterance.samples.astype(int)).max() < 32767


@spoken
def test_phones_cover_the_utterance_in_order(corpus: Speech) -> None:
    for utterance in utterances(corpus):
        names, starts, ends = zip(*utterance.phones, strict=True)
        assert (starts[0], ends[-1]) == (0, len(utterance.samples))
        assert starts[1:] == ends[:-1]
        assert min(end - start for start, end in zip(starts, ends, strict=True)) > 0.005 * SAMPLE_RATE
        assert names[0] == names[-1] == "SIL"
        assert ("SIL", "SIL") not in itertools.pairwise(names)


def fits(phones: tuple[str, ...], words: tuple[str, ...], lexicon: dict[str, tuple[tuple[str, ...], ...]]) -> bool:
    if not words:
        return not phones
    return any(
        phones[: len(spelling)] == spelling and fits(phones[len(spelling) :], words[1:], lexicon)
        for spelling in lexicon[words[0]]
    )


@spoken
def test_phones_are_pronunciations_of_the_words(corpus: Speech) -> None:
    for utterance in utterances(corpus):
        phones = tuple(phone for phone, _, _ in utterance.phones if phone != "SIL")
        assert fits(phones, utterance.words, corpus.lexicon), utterance.name
    assert set(corpus.lexicon) == {word for utterance in utterances(corpus) for word in utterance.words}


@spoken
def test_lexicon_is_small_and_right(corpus: Speech) -> None:
    assert max(map(len, corpus.lexicon.values())) <= 4
    phones = {phone for spellings in corpus.lexicon.values() for spelling in spellings for phone in spelling}
    assert len(phones) <= 44
    assert "SIL" not in phones
    assert corpus.lexicon["YES"] == (("j", "E", "s"),)
    assert corpus.lexicon["X"] == (("E", "k", "s"),)
    assert corpus.lexicon["A"] == (("eI",),)


@spoken
def test_seed_gives_the_same_corpus_in_a_fresh_process() -> None:
    code = "from test_synthetic_speech import *; print(digest(load_synthetic_speech(*ALL, seed=5)))"
    paths = [str(Path(__file__).parent), *filter(None, sys.path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", code]
    fresh = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert fresh.stderr == ""
    other = digest(load_synthetic_speech(*ALL, seed=6))
    again = digest(load_synthetic_speech(*ALL, seed=5))  # in a process that has spoken before
    assert fresh.stdout.strip() == again != other


@spoken
def test_noise_is_as_loud_as_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    add_noise = synthetic_speech.add_noise

    def noting(sound: np.ndarray, decibels: float, random: np.random.Generator) -> np.ndarray:
        drawn.append(decibels)
        return add_noise(sound, decibels, random)

    monkeypatch.setattr(synthetic_speech, "add_noise", noting)
    heard = []
    for utterance in utterances(load_synthetic_speech((2, 1, 1), 4)):
        power = np.square(utterance.samples.astype(float))
        noise = power[: utterance.phones[0][2] - 50].mean()  # resampling spreads the first phone a little
        heard.append(10 * np.log10(power.mean() / noise - 1))
    assert 10 <= min(drawn) < max(drawn) <= 25
    assert heard == pytest.approx(drawn, abs=2)


@spoken
def test_unknown_voices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"variant 'nosuch'.*f1, f2"):
        load_synthetic_speech((1, 0, 0), 1, variants=("nosuch",))
    with pytest.raises(ValueError, match=r"voice 'xx\+f1'.*en-us"):
        Espeak().set_voice(Voice("xx+f1", 160, 50, 50, 441))


@spoken
def test_every_variant_and_accent_is_there() -> None:
    espeak = Espeak()
    for index, variant in enumerate(VARIANTS):
        accent = synthetic_speech.ACCENTS[index % len(synthetic_speech.ACCENTS)]
        espeak.set_voice(Voice(f"{accent}+{variant}", 160, 50, 50, 441))


@spoken
def test_library_that_does_not_load_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.so").write_bytes(b"no library")
    monkeypatch.setattr("espeakng_loader.get_library_path", lambda: str(tmp_path / "broken.so"))
    with pytest.raises(DataError, match="pip install espeakng-loader"):
        load_synthetic_speech(*SMALL)


def test_missing_library_is_reported_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(DataError, match=r"needs espeak-ng.*pip install espeakng-loader"):
        load_synthetic_speech(*SMALL)


def test_closures_belong_to_their_stops_and_lengthless_phones_to_their_vowels() -> None:
    samples = np.ones(10_000, np.int16)
    for closure in (slice(1000, 1500), slice(3000, 4200), slice(5000, 5500)):
        samples[closure] = 0
    events = [
        (WORD, 0, b"\x01"),
        (PHONEME, 0, b"'E"),
        (PHONEME, 1000, b"l"),  # of no length once the next closure has its due
        (PHONEME, 1500, b"p"),
        (PHONEME, 2000, b"_"),
        (WORD, 3600, b"\x02"),  # pause from 2000 on, closure from 3600 on
        (PHONEME, 4200, b"t2"),
        (PHONEME, 4500, b",i:"),
        (PHONEME, 4900, b";"),
        (WORD, 4900, b"\x03"),
        (PHONEME, 5500, b"t"),
        (PHONEME, 6000, b"a#"),
        (PHONEME, 9000, b"_:"),
    ]
    words, starts = align(samples, events)
    assert words == [("El", "p"), ("t", "i:"), ("t", "@")]
    expected = [("El", 0), ("p", 1000), ("SIL", 2000), ("t", 3600), ("i:", 4500), ("t", 5000), ("@", 6000)]
    assert starts == [*expected, ("SIL", 9000)]


@pytest.mark.parametrize("step", [415, 441, 467])
def test_recording_keeps_a_click_at_the_start_of_its_phone(step: int) -> None:
    clean = np.zeros(22_050, np.int16)
    clean[9000] = 20_000
    starts = [("a", 0), ("k", 9000), ("SIL", 15_000), ("SIL", 16_000)]
    samples, phones = synthetic_speech.record(clean, starts, step, np.random.default_rng(0))
    assert [phone for phone, _, _ in phones] == ["SIL", "a", "k", "SIL"]
    assert phones[2][1] == pytest.approx(np.abs(samples.astype(int)).argmax(), abs=1)
    assert phones[-1][2] == len(samples)
    assert 0.2 * SAMPLE_RATE < len(samples) - 22_050 * 320 / step < 0.6 * SAMPLE_RATE
