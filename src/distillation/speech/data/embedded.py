"""Five minutes of CMU AN4 that come with the repository, for the profile smoke and where AN4 cannot be had."""

import hashlib
import io

import numpy as np
import soundfile

from distillation.core.data import REPOSITORY, DataError
from distillation.speech.data import SAMPLE_RATE, Speech, Utterance, digest_of
from distillation.speech.data.an4 import read_lexicon

FOLDER = REPOSITORY / "data" / "an4-small"
# SHA-256 of the texts.  A line of utterances.txt: SHA-256 of the samples, part/utterance, words.
TEXTS = {
    "utterances.txt": "90ded215c7694c702630f855025d3147b21e9431c2e530b80ca52754f3cbeacf",
    "lexicon.txt": "8dd90a12ebfce6938625a5bfe2c94858ab6577d07fb7c748c2d5051cba587a64",
}


def load_embedded() -> Speech:
    """88 training, 16 development and 24 test utterances: four of each of 32 speakers, as data/README.md says.

    Raises DataError, naming the file and the remedy, for one that is missing, damaged or altered.
    """
    parts: dict[str, list[Utterance]] = {"train": [], "development": [], "test": []}
    for line in read_text("utterances.txt"):
        digest, path, *words = line.split()
        part, name = path.split("/")
        speaker = name.split("-")[1]
        parts[part].append(Utterance(name, speaker, read_samples(f"{path}.flac", digest), tuple(words)))
    lexicon = read_lexicon(read_text("lexicon.txt"))
    return Speech("an4 (embedded)", *(tuple(utterances) for utterances in parts.values()), lexicon)


def read_text(name: str) -> list[str]:
    """The lines of a text file, verified by its SHA-256."""
    content = _read(name)
    if hashlib.sha256(content).hexdigest() != TEXTS[name]:
        raise _refusal(name, "is damaged or altered (its SHA-256 differs)")
    return content.decode().splitlines()


def read_samples(name: str, digest: str) -> np.ndarray:
    """The (samples,) int16 at 16 kHz in a FLAC file, verified by their SHA-256."""
    try:
        samples, rate = soundfile.read(io.BytesIO(_read(name)), dtype="int16")
    except soundfile.LibsndfileError as error:
        raise _refusal(name, f"is no readable FLAC file ({error.error_string})") from None
    is_same = digest_of(samples) == digest
    if not is_same or samples.ndim > 1 or rate != SAMPLE_RATE:
        raise _refusal(name, "is damaged or altered (it does not hold the published samples at 16 kHz)")
    return samples


def _read(name: str) -> bytes:
    try:
        return (FOLDER / name).read_bytes()
    except OSError as error:
        raise _refusal(name, f"cannot be read ({error.strerror})") from None


def _refusal(name: str, problem: str) -> DataError:
    return DataError(f"data/an4-small/{name} {problem}. Get it back with `git checkout data/an4-small`.")
