"""CMU AN4 (Acero, 1993): spelled words, numbers and dates, read by 74 speakers for training and 10 for testing."""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from distillation.core.data import DataError, obtain, read_files, reading
from distillation.speech.data import Speech, Utterance, differs, digest_of, read_audio, text_lines

MIRRORS = (
    "http://www.speech.cs.cmu.edu/databases/an4/",
    "https://dldata-public.s3.us-east-2.amazonaws.com/",
)
ARCHIVE = "an4_sphere.tar.gz"
ARCHIVE_SHA256 = "a0525579493735d32b60fb6fa5975dd0eaacde087b0a4eeb7f13b7ef33077b12"
FOLDERS = {"train": "an4_clstk", "test": "an4test_clstk"}
LEXICON = "an4/etc/an4.dic"
# utterance, such as "an4_clstk/fash/an251-fash-b": SHA-256 of its samples as 16-bit little-endian
PUBLISHED = {
    line.split()[1].removeprefix("an4/wav/").removesuffix(".sph"): line.split()[0]
    for line in Path(__file__).with_name("an4.sha256").read_text("ascii").splitlines()
    if not line.startswith("#")
}
# Drawn once, 3 women and 5 men, by random.Random(0).sample from the sorted training speakers with 12 to 14 utterances.
# A digit seems to mark a second session (mdcs, mdcs2), so to split nobody between the parts, names with a digit and
# mdcs were left out of the draw.
DEVELOPMENT_SPEAKERS = frozenset({"fclc", "fnsv", "fplp", "mgah", "mjdr", "mmaf", "mmtm", "mnfe"})


def find() -> str:
    """The data set to use: "an4" if it is there or can be downloaded, else "an4 (embedded)", and it prints why."""
    try:
        _source()
    except DataError as reason:
        print(f"AN4 is not here and cannot be downloaded: five minutes of it, embedded, stand in. {reason}")
        return "an4 (embedded)"
    return "an4"


def load_an4() -> Speech:
    """948 training and 130 test utterances, from $DISTILLATION_DATA, data/ or the mirrors; nothing is unpacked to disk.

    DEVELOPMENT_SPEAKERS are taken out of the training part.  Utterances come in the order of the published list,
    whatever the archive's.  Raises DataError, naming the archive, the utterance and the remedy, for samples other than
    the published ones, and for text that does not fit them.
    """
    source = _source()
    wanted = {f"an4/wav/{utterance}.sph" for utterance in PUBLISHED} | {LEXICON}
    wanted |= {f"an4/etc/an4_{part}.{kind}" for part in FOLDERS for kind in ("fileids", "transcription")}
    with reading(source):
        files = read_files(source, wanted)
        lexicon = read_lexicon(text_lines(files, LEXICON, LEXICON))
        train, test = (read_part(files, part, lexicon) for part in FOLDERS)
    return Speech(
        "an4",
        tuple(utterance for utterance in train if utterance.speaker not in DEVELOPMENT_SPEAKERS),
        tuple(utterance for utterance in train if utterance.speaker in DEVELOPMENT_SPEAKERS),
        tuple(test),
        lexicon,
    )


def read_part(files: dict[str, bytes], part: str, lexicon: Collection[str]) -> list[Utterance]:
    """The utterances of "train" or "test", as published.  Raises DataError, naming what is missing or differs."""
    published = [utterance for utterance in PUBLISHED if utterance.startswith(f"{FOLDERS[part]}/")]
    listing, transcription = f"an4/etc/an4_{part}.fileids", f"an4/etc/an4_{part}.transcription"
    _check_same(listing, text_lines(files, listing, listing), published)
    transcripts = [_transcript(transcription, line) for line in text_lines(files, transcription, transcription)]
    _check_same(transcription, [name for name, _ in transcripts], [_name(utterance) for utterance in published])
    for name, transcript in transcripts:
        if unknown := next((word for word in transcript if word not in lexicon), None):
            raise DataError(f"has the word {unknown} in utterance {name}, which {LEXICON} lacks")
    words = dict(transcripts)
    return [
        Utterance(
            _name(utterance),
            PurePosixPath(utterance).parent.name,
            read_samples(utterance, files.get(f"an4/wav/{utterance}.sph")),
            words[_name(utterance)],
        )
        for utterance in published
    ]


def read_lexicon(lines: Iterable[str]) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Each word's pronunciations, those of "A(2)" with A's, from lines such as "A(2)  EY".

    Raises DataError, naming the word, for a line without phones.
    """
    lexicon: dict[str, tuple[tuple[str, ...], ...]] = {}
    for line in lines:
        entry, *phones = line.split()
        if not phones:
            raise DataError(f"has no pronunciation of {entry} in {LEXICON}")
        word = re.sub(r"\(\d+\)$", "", entry)
        lexicon[word] = (*lexicon.get(word, ()), tuple(phones))
    return lexicon


def read_samples(utterance: str, content: bytes | None) -> np.ndarray:
    """The (samples,) int16 at 16 kHz in a SPHERE file, verified by content.

    Raises DataError, naming the utterance, for a missing (None) or damaged file and for anything but the published
    samples.
    """
    samples = read_audio(utterance, content, "SPHERE")
    if digest_of(samples) == PUBLISHED[utterance]:
        return samples
    announced = re.search(rb"sample_count -i (\d+)", content[:1024])
    if announced and len(samples) < int(announced[1]):
        raise DataError(f"has only {len(samples):,} of the {int(announced[1]):,} samples of utterance {utterance}")
    raise differs(utterance)


def _source() -> Path:
    """Where AN4 is: its archive, or the folder of the unpacked etc/ and wav/."""
    forms = (ARCHIVE, "an4_sphere.tar", "an4/wav/an4_clstk", "wav/an4_clstk")
    found = obtain(("an4",), forms, MIRRORS, f"sha256:{ARCHIVE_SHA256}")
    return found.parents[1] if found.name == "an4_clstk" else found


def _transcript(file: str, line: str) -> tuple[str, tuple[str, ...]]:
    """The name and words in a line such as "<s> ERASE C (an407-fcaw-b)"; the official archive may omit the marks."""
    match = re.fullmatch(r"(.*)\((\S+)\)", line)
    if not match:
        raise DataError(f"has a line in {file} that ends with no utterance in parentheses: {line[:80]}")
    words = tuple(word for word in match[1].split() if word not in ("<s>", "</s>"))
    if not words:
        raise DataError(f"has an empty transcript of utterance {match[2]} in {file}")
    return match[2], words


def _name(utterance: str) -> str:
    """The file's name: unique in the published list."""
    return PurePosixPath(utterance).name


def _check_same(file: str, found: list[str], expected: list[str]) -> None:
    counts, published = Counter(found), set(expected)
    if twice := next((name for name, count in counts.items() if count > 1), None):
        raise DataError(f"lists utterance {twice} twice in {file}")
    if unknown := next((name for name in found if name not in published), None):
        raise DataError(f"lists utterance {unknown} in {file}, which is not among the published ones")
    if missing := next((name for name in expected if name not in counts), None):
        raise DataError(f"lacks utterance {missing} in {file}")
