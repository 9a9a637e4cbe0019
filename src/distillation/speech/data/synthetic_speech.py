"""Synthetic speech: the embedded stand-in for a corpus, sentences of a small grammar spoken by espeak-ng.

espeak-ng (GPL-3, from the package espeakng-loader) is imported only where it is used and is no part of this package.
Its events say where each phone begins, so the alignments are exact.
"""

import ctypes
import itertools
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import fftconvolve, lfilter, resample_poly

from distillation.core.data import DataError
from distillation.speech.data import SAMPLE_RATE, Speech, Utterance

LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
ANSWERS = ("YES", "NO", "HELP")  # said alone: espeak-ng takes "no one" for one word
COMMANDS = ("GO", "START", "STOP", "ENTER", "ERASE", "REPEAT", "RUBOUT")
MONTHS = ("JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE", "JULY", "AUGUST", "SEPTEMBER", "OCTOBER")
MONTHS += ("NOVEMBER", "DECEMBER")
WORDS = LETTERS + DIGITS + ANSWERS + COMMANDS + MONTHS

# "en" is British; the Scottish accent has too many phones of its own.
ACCENTS = ("en-us", "en-us-nyc", "en", "en-gb-x-rp", "en-029")
# The variants that sound like a person, have no echo, which would fill the closures, and no noise from C's rand.
NAMES = (
    "f1 m1 m3 m4 m5 m6 m7 m8 Alex Andrea Andy Annie Denis Diogo Gene Henrique Hugo Jacky Lee Mario Michael Mike adam "
    "anika antonio aunty belinda benjamin boris david ed edward grandma grandpa gustave ian iven john linda marcelo "
    "max michel miguel norbert paul pedro quincy rob robert sandro shelby steph travis victor zac"
)
VARIANTS = tuple(NAMES.split())
# Mnemonics that differ by context or by a shade of accent only, and pauses.
FOLDED = {"t2": "t", "t[": "t", "I#": "I", "I2": "I", "a#": "@", "r-": "r", "o@": "O@", "_": "SIL", "_:": "SIL"}
GLIDE = b";"  # from a vowel to the next word's, left to the first
REMEDY = "Install it with `pip install espeakng-loader`."
NATIVE_RATE = 22_050  # of espeak-ng, in Hz
SHORTEST = 110  # what is shorter than 5 ms is no phone of its own
LEVELS = (10.0, 25.0)  # signal-to-noise ratios, in decibels

Starts = list[tuple[str, int]]  # (phone, first sample) in order


@dataclass(frozen=True)
class Voice:
    """How one speaker sounds.

    name: accent and variant, as "en-us+f1".  rate: words per minute.  pitch, pitch_range: 0 to 100.  step: the samples
    at 22,050 Hz that become 320 at 16 kHz; 441 keeps the voice, more makes it that of a smaller person.
    """

    name: str
    rate: int
    pitch: int
    pitch_range: int
    step: int


class Event(ctypes.Structure):
    """espeak_EVENT of espeak-ng's speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("mnemonic", ctypes.c_char * 8),
    )


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))
END, WORD, PHONEME = 0, 1, 7  # types of event
RATE, PITCH, PITCH_RANGE, WORD_GAP = 1, 3, 4, 7  # parameters of espeak_SetParameter


class Espeak:
    """A fresh espeak-ng, which says the same in the same order of calls.

    It keeps state from sentence to sentence that no call resets, so each instance loads a copy of the library of its
    own, which stays in memory (about 1 MB).  Raises DataError if espeak-ng is not installed.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader

            self.data = Path(espeakng_loader.get_data_path())
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                self.library = ctypes.CDLL(shutil.copy(espeakng_loader.get_library_path(), folder))
        except (ImportError, OSError) as error:
            raise DataError(f"Synthetic speech needs espeak-ng, which does not load ({error}). {REMEDY}") from None
        # 2: synchronous; 0: its usual buffer; 1: phoneme events
        if self.library.espeak_Initialize(2, 0, os.fsencode(self.data), 1) != NATIVE_RATE:
            raise DataError(f"espeak-ng does not start with its data in {self.data}. {REMEDY}")
        self.library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # else by the clock
        self.chunks: list[np.ndarray] = []
        self.events: list[tuple[int, int, bytes]] = []
        self.callback = CALLBACK(self._receive)  # kept, as the library holds no reference
        self.library.espeak_SetSynthCallback(self.callback)

    def set_voice(self, voice: Voice) -> None:
        """Raises ValueError for an unknown accent or variant, for which espeak-ng would take its default unasked."""
        variant = voice.name.partition("+")[2]
        known = sorted(path.name for path in (self.data / "voices" / "!v").iterdir())
        if variant and variant not in known:
            raise ValueError(f"Unknown voice variant {variant!r}: use one of {', '.join(known)}.")
        if self.library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise ValueError(f"Unknown voice {voice.name!r}: use one of the accents {', '.join(ACCENTS)}.")
        for parameter, value in ((RATE, voice.rate), (PITCH, voice.pitch), (PITCH_RANGE, voice.pitch_range)):
            self.library.espeak_SetParameter(parameter, value, 0)

    def say(self, words: tuple[str, ...], gap: int) -> tuple[np.ndarray, list[tuple[int, int, bytes]]]:
        """The samples (int16 at 22,050 Hz) and the events (type, sample, mnemonic); gap between words in 10 ms."""
        self.chunks.clear()
        self.events.clear()
        # Single letters are spelled only in capitals; "A" would be the article, and "eh" is its name.
        text = " ".join("eh" if word == "A" else word if len(word) == 1 else word.lower() for word in words).encode()
        self.library.espeak_SetParameter(WORD_GAP, gap, 0)
        self.library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 1, 0, 1, None, None)  # whole, in UTF-8
        return np.concatenate(self.chunks), list(self.events)

    def _receive(self, samples, count: int, events) -> int:
        if count > 0:
            self.chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        for event in itertools.takewhile(lambda event: event.type != END, map(events.__getitem__, itertools.count())):
            if event.type in (WORD, PHONEME):
                self.events.append((event.type, event.sample, event.mnemonic))
        return 0


def load_synthetic_speech(
    speakers: tuple[int, int, int] = (24, 4, 6),
    sentences: int = 8,
    seed: int = 0,
    variants: tuple[str, ...] = VARIANTS,
) -> Speech:
    """Sentences of 1 to 6 words by so many training, development and test speakers, the same for the same arguments.

    No two speakers share a variant of the voice until all are in use.  Noise and a light echo are added.  A phone's
    closure belongs to it.  The lexicon holds the words that were said, as they were said.  Raises DataError if
    espeak-ng is not installed, ValueError for an unknown variant.
    """
    espeak = Espeak()
    random = np.random.default_rng(seed)
    order = random.permutation(len(variants))
    lexicon: dict[str, set[tuple[str, ...]]] = {}
    parts: tuple[list[Utterance], ...] = ([], [], [])
    for index, part in enumerate(np.repeat(range(3), speakers)):
        voice = draw_voice(variants[order[index % len(variants)]], random)
        espeak.set_voice(voice)
        for sentence in range(sentences):
            words = draw_sentence(random)
            clean, events = espeak.say(words, int(random.integers(7)))
            spoken, starts = align(clean, events)
            for word, pronunciation in zip(words, spoken, strict=True):
                lexicon.setdefault(word, set()).add(pronunciation)
            samples, phones = record(clean, starts, voice.step, random)
            speaker = f"{index:03d}-{voice.name}"
            parts[part].append(Utterance(f"{speaker}-{sentence:02d}", speaker, samples, words, phones))
    ordered = {word: tuple(sorted(lexicon[word])) for word in WORDS if word in lexicon}
    return Speech("synthetic speech", *map(tuple, parts), ordered)


def draw_voice(variant: str, random: np.random.Generator) -> Voice:
    """A speaker with this variant of the voice."""
    rate, pitch, pitch_range, step = random.integers((130, 30, 30, 415), (200, 70, 70, 467), endpoint=True).tolist()
    return Voice(f"{random.choice(ACCENTS)}+{variant}", rate, pitch, pitch_range, step)


def draw_sentence(random: np.random.Generator) -> tuple[str, ...]:
    """Letters, digits, a month and digits, an answer, a command, or a command and letters or digits: 1 to 6 words."""
    letters, digits = (tuple(random.choice(words, random.integers(1, 6)).tolist()) for words in (LETTERS, DIGITS))
    alone, command, month = (str(random.choice(words)) for words in (ANSWERS + COMMANDS, COMMANDS, MONTHS))
    sentences = (letters, digits, (month, *digits), (alone,), (command, *letters), (command, *digits))
    return sentences[random.integers(len(sentences))]


def align(samples: np.ndarray, events: list[tuple[int, int, bytes]]) -> tuple[list[tuple[str, ...]], Starts]:
    """The pronunciation of each word, and where each phone begins, silence included, from espeak-ng's events.

    The event of a stop comes at its burst; the closure before it, which espeak-ng fills with zeros, belongs to the stop
    as far as the word reaches.  Two phones spoken as one, where espeak-ng gives the second no length ("l" after a
    vowel), are one here ("El").
    """
    entries: list[tuple[str, int, int]] = []  # phone, first sample, word
    bound, word = 0, -1
    for kind, sample, mnemonic in events:
        if kind == WORD:
            word += 1
        elif mnemonic != GLIDE:
            phone = mnemonic.decode().strip("',")  # of its stress
            phone, start = FOLDED.get(phone, phone), sample
            if phone != "SIL":
                sound = np.flatnonzero(samples[bound:sample])
                start = bound + int(sound[-1]) + 1 if sound.size else bound
            entries.append((phone, start, word))
        bound = sample
    words: list[tuple[str, ...]] = [()] * (word + 1)
    starts: Starts = []
    for (phone, start, word), end in zip(entries, [*(start for _, start, _ in entries[1:]), len(samples)], strict=True):
        if phone == "SIL":
            starts.append((phone, start))
        elif end - start < SHORTEST and words[word]:
            starts[-1] = (starts[-1][0] + phone, starts[-1][1])
            words[word] = (*words[word][:-1], starts[-1][0])
        else:
            starts.append((phone, start))
            words[word] = (*words[word], phone)
    return words, starts


def record(
    clean: np.ndarray, starts: Starts, step: int, random: np.random.Generator
) -> tuple[np.ndarray, tuple[tuple[str, int, int], ...]]:
    """The samples (int16 at 16 kHz) in a room with noise, silence before and after, and the phones with their extents.

    step: see Voice.  The echo leaves the direct sound where it is.
    """
    before, after = (int(SAMPLE_RATE * seconds) for seconds in random.uniform(0.1, 0.3, 2))
    sound = np.pad(resample_poly(clean.astype(np.float64), 320, step), (before, after))
    end = len(sound) - after
    moved = [("SIL", 0), *((phone, before + round(start * 320 / step)) for phone, start in starts), ("SIL", end)]
    kept = [here for last, here in zip([("", 0), *moved], moved, strict=False) if {last[0], here[0]} != {"SIL"}]
    ends = [start for _, start in kept[1:]] + [len(sound)]
    phones = tuple((phone, start, end) for (phone, start), end in zip(kept, ends, strict=True))
    sound = add_noise(add_echo(sound, random.uniform(0.05, 0.2), random), random.uniform(*LEVELS), random)
    sound *= 32767 * random.uniform(0.3, 0.9) / np.abs(sound).max()
    return sound.round().astype(np.int16), phones


def add_echo(sound: np.ndarray, seconds: float, random: np.random.Generator) -> np.ndarray:
    """The sound in a room that takes so many seconds to fall by 60 dB; the echo has a tenth of the sound's power."""
    times = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    response = random.standard_normal(len(times)) * 10 ** (-3 * times / seconds)
    response *= np.sqrt(0.1 / np.square(response[1:]).sum())
    response[0] = 1
    return fftconvolve(sound, response)[: len(sound)]


def add_noise(sound: np.ndarray, decibels: float, random: np.random.Generator) -> np.ndarray:
    """The sound with noise, from white to dull, so many decibels below its mean power."""
    noise = lfilter([1], [1, -random.uniform(0, 0.9)], random.standard_normal(len(sound)))
    return sound + noise * np.sqrt(np.square(sound).mean() / np.square(noise).mean() / 10 ** (decibels / 10))
