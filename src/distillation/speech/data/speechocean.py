"""speechocean762 (Zhang et al., 2021): read English by 250 learners with Mandarin as their first language, 5.6 hours.

Half of the speakers are children, and the lexicon's pronunciations are canonical: what was said may differ.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from distillation.core.data import DataError, obtain, read_files, reading
from distillation.speech.data import Speech, Utterance, differs, digest_of, read_audio, text_lines

NAME = "speechocean762"
FORMS = (f"{NAME}.tar.gz", f"{NAME}.tar", "WAVE")
MIRRORS = ("https://www.openslr.org/resources/101/", "https://us.openslr.org/resources/101/")
HALVES = ("train", "test")  # as published: 125 speakers each
TEXTS = ("text", "utt2spk", "wav.scp")
LEXICON = "resource/lexicon.txt"
# utterance, such as "000010011": SHA-256 of its samples as 16-bit little-endian
PUBLISHED = {
    line.split()[1]: line.split()[0]
    for line in Path(__file__).with_name("speechocean.sha256").read_text("ascii").splitlines()
    if not line.startswith("#")
}
# Drawn once from the published test half, in proportion to its strata of age (up to 9, 10 to 15, from 19; nobody is 16
# to 18) and gender, by random.Random(0).sample from each stratum's sorted speakers, the test speakers first.
TESTED = """0003 0049 0094 0133 0306 0457 0567 0811 1030 1181 1186 1292 1334 1404 1420 1469 2002 2014 2027 2030 2448
2451 2488 2538 2740 3012 3014 3027 3412 5017 5220 5432 6099 6902 8063 9101 9555 9601 9623 9626 9629 9635"""
DEVELOPED = "0122 0157 1061 1075 1076 1099 1502 2252 2917 2937 3075 5029 8068 8153 9612 9617 9618 9622"
# Of the test speakers those under 19.
YOUNG = """0003 0049 0094 0133 1404 1469 2014 2027 2030 3012 3014 3027 3412 5017 5220 5432 6099 6902 8063 9101 9555"""
TEST_SPEAKERS, DEVELOPMENT_SPEAKERS = frozenset(TESTED.split()), frozenset(DEVELOPED.split())
CHILDREN = frozenset(YOUNG.split())


def find() -> Path | None:
    """Where the corpus is on this machine; it is not fetched."""
    with suppress(DataError):
        return obtain((NAME,), FORMS, (), None)


def load_speechocean() -> Speech:
    """20 utterances each of 190 training, 18 development and 42 test speakers, as the names above divide them.

    From $DISTILLATION_DATA, data/ or the mirrors: the archive, or the folder that it unpacks to.  Stress marks are
    taken off the phones.  Raises DataError, naming the archive, the utterance and the remedy, for samples other than
    the published ones, and for texts that do not fit them or each other.
    """
    source = obtain((NAME,), FORMS, MIRRORS, None, bar=True)
    source = source.parent if source.name == "WAVE" else source
    texts = {f"{NAME}/{half}/{text}" for half in HALVES for text in TEXTS} | {f"{NAME}/{LEXICON}"}
    with reading(source):
        waves = {wave_of(utterance) for utterance in PUBLISHED}
        files = read_files(source, texts | waves)
        lexicon = read_lexicon(text_lines(files, f"{NAME}/{LEXICON}", LEXICON))
        words, speakers = {}, {}
        for half in HALVES:
            found, of, places = (_table(files, f"{half}/{text}") for text in TEXTS)
            for name, other in (("utt2spk", of), ("wav.scp", places)):
                if odd := sorted(found.keys() ^ other.keys()):
                    raise DataError(f"has utterance {odd[0]} in only one of {half}/text and {half}/{name}")
            words, speakers = words | found, speakers | of
        if odd := sorted(words.keys() ^ PUBLISHED.keys()):
            raise DataError(f"has utterance {odd[0]} in its texts or among the published ones, but not in both")
        utterances = [
            Utterance(name, speakers[name], _samples(name, files), _known(name, words[name], lexicon))
            for name in PUBLISHED
        ]
    special = TEST_SPEAKERS | DEVELOPMENT_SPEAKERS
    parts = (
        tuple(each for each in utterances if each.speaker not in special),
        tuple(each for each in utterances if each.speaker in DEVELOPMENT_SPEAKERS),
        tuple(each for each in utterances if each.speaker in TEST_SPEAKERS),
    )
    return Speech(NAME, *parts, lexicon)


def wave_of(utterance: str) -> str:
    """Where an utterance's audio lies in the archive: the folder of its speaker, whose number the name begins with."""
    return f"{NAME}/WAVE/SPEAKER{utterance[1:5]}/{utterance}.WAV"


def read_lexicon(lines: Iterable[str]) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Each word's pronunciations without stress marks, from lines such as "ABLE  EY1 B AH0 L".

    Raises DataError, naming the word, for a line without phones.
    """
    lexicon: dict[str, tuple[tuple[str, ...], ...]] = {}
    for line in lines:
        word, *phones = line.split()
        if not phones:
            raise DataError(f"has no pronunciation of {word} in {LEXICON}")
        spoken = tuple(re.sub(r"\d$", "", phone) for phone in phones)
        if spoken not in lexicon.get(word, ()):  # two may have differed in stress alone
            lexicon[word] = (*lexicon.get(word, ()), spoken)
    return lexicon


def _samples(utterance: str, files: dict[str, bytes]) -> np.ndarray:
    """The (samples,) int16 at 16 kHz of an utterance, verified by content."""
    samples = read_audio(utterance, files.get(wave_of(utterance)), "WAV")
    if digest_of(samples) != PUBLISHED[utterance]:
        raise differs(utterance)
    return samples


def _known(utterance: str, transcript: str, lexicon: dict) -> tuple[str, ...]:
    words = tuple(transcript.split())
    if not words:
        raise DataError(f"has an empty transcript of utterance {utterance}")
    if unknown := next((word for word in words if word not in lexicon), None):
        raise DataError(f"has the word {unknown} in utterance {utterance}, which {LEXICON} lacks")
    return words


def _table(files: dict[str, bytes], name: str) -> dict[str, str]:
    """What a Kaldi-style file says of each utterance."""
    found: dict[str, str] = {}
    for line in text_lines(files, f"{NAME}/{name}", name):
        utterance, *said = line.split(None, 1)
        if utterance in found:
            raise DataError(f"lists utterance {utterance} twice in {name}")
        found[utterance] = said[0] if said else ""
    return found
