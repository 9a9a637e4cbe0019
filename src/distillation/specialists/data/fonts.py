"""Styles of type (Regular, Bold, Italic, Condensed ...): one character, and in which of 1,463 fonts it is set.

The fonts are those of the Google Font Directory as it was in 2015; of them only these pictures are kept.
"""

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import __version__ as pillow
from PIL import features
from torch import Tensor

from distillation.core.data import ELSEWHERE, REPOSITORY, DataError, obtain, read_files, reading
from distillation.specialists.data import Pictures
from distillation.specialists.data.font_rendering import Contents, Renderings, render

ARCHIVE = "fonts-32.tar.xz"
FILES = {  # in the archive, or unpacked, written in this order: SHA-256
    "images.npy": "e02c4fbab4feed05a60e4c16421290c19f51ec4046a8cb244c3559f91a78ced3",
    "styles.npy": "e4b2f9b72ede1a0089fd76726e9a3b329536be276e8b05d302406ae5957ac630",
    "styles.txt": "865a7b7ecff978b4056ee5e93b6d12a30c78b33347c84427412c5a0b6a234e85",
    "characters.npy": "6258459698d458564d769c7629afb1f69bfea33185bc9620e4bb7fae05b3ea7a",
}
FORMS = ("characters.npy", ARCHIVE, "fonts-32.tar.gz", "fonts-32.tar")  # the first is as good as all in its folder
CLASSES = 1_463
EMBEDDED = REPOSITORY / "data" / "fonts-small" / "fonts-small.tar.xz"
EMBEDDED_FILES = {
    "images.npy": "ed77e01c63ad678811dd1980d547c4fa15fb929426fac9101cbbe6c5d0719085",
    "styles.npy": "8c244b15787e16d4ad76f424dc4f90601bed2860ee86b5b1e8b2c07f4c8e9bb9",
    "characters.npy": "a8b33c91f08a359718992db50d0045ed0bb3af7990c9148cf0e6250824361206",
    "styles.txt": "7fde17e6977332d7bc6fa45e3ad364a78dc2e618b79809129bbe4204ff751de7",
}
EMBEDDED_CLASSES = 146

COMMIT = "99a3665212628be1e2ee70730008229c68ec7e7c"
FONT_FOLDER = f"googlefontdirectory-{COMMIT}/"
FONT_ARCHIVE = f"googlefontdirectory-{COMMIT}.tar.gz"  # named as browsers save it
MIRRORS = (  # from # on, an address is not sent: it takes the name that `fetch` appends
    f"https://github.com/w0ng/googlefontdirectory/archive/{COMMIT}.tar.gz#",
    f"https://codeload.github.com/w0ng/googlefontdirectory/tar.gz/{COMMIT}#",
)
# font file, by its path in the repository: SHA-256 (of the archive, which GitHub packs anew, there is none)
FONTS = {
    line.split()[1]: line.split()[0]
    for line in Path(__file__).with_name("fonts.sha256").read_text("ascii").splitlines()
    if not line.startswith("#")
}
WANTED = "Pillow 13.0.0 with FreeType 2.14.3"


def named(name: str, classes: int) -> Pictures:
    """The data set "fonts" or "fonts (embedded)"; " by letter" behind the name asks for that split.

    Raises ValueError for another name.
    """
    loaders = {"fonts": load, "fonts (embedded)": load_embedded}
    if (loader := loaders.get(name.removesuffix(" by letter"))) is None:
        raise ValueError(f"Unknown fonts {name!r}: use 'fonts' or 'fonts (embedded)', ' by letter' or not.")
    return loader(classes, name.endswith(" by letter"))


def load(classes: int = CLASSES, by_letter: bool = False) -> Pictures:
    """527,443 pictures, (1, 32, 32), in 1,463 classes, or those of fewer classes: whole families, chosen by hash.

    They come from $DISTILLATION_DATA or data/: the files, unpacked, or fonts-32.tar.xz; else they are rendered, once,
    from the fonts, which are downloaded.  A class is a style, named as its font file is, without the
    ending (five names occur twice, in two folders).  A superclass is a family: the folder that the file lies in, such
    as "alegreya" for fonts/alegreya/Alegreya-Bold.ttf.  Training cases are those to fit, then those held out: see
    `split`, and `split_by_letter`.  Raises DataError, naming the file and the remedy, for anything but the published
    content; ValueError if whole families do not add up to so many classes.
    """
    return _pictures("fonts", read(_drawn(_source()), FILES), classes, by_letter)


def load_embedded(classes: int = EMBEDDED_CLASSES, by_letter: bool = False) -> Pictures:
    """The tenth of the styles that this repository holds: the same pictures as load(146).  Raises as `load` does."""
    again = "restore it by git checkout -- data/fonts-small/fonts-small.tar.xz"
    return _pictures("fonts (embedded)", read(EMBEDDED, EMBEDDED_FILES, again), classes, by_letter)


def split(files: Iterable[str], characters: Iterable[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Which cases to fit, hold out and test, as indices (cases,), from each case's font file and code point.

    The SHA-256 of a case, such as "fonts/abel/Abel-Regular.ttf|65", modulo 10 says so: up to 7 fit, 8 held out, 9 test.
    Each part is in the order of these digests, so at random, whatever the order of the cases and whichever others
    there are.
    """
    digests = [_digest(f"{file}|{character}") for file, character in zip(files, characters, strict=True)]
    return _parts(digests, digests)


def split_by_letter(files: Iterable[str], characters: Iterable[int]) -> tuple[Tensor, Tensor, Tensor]:
    """As `split`, but the SHA-256 of a case's letter decides, so that all forms of a letter are in one part.

    See `letter_of`.  Letters have few forms or many, so of all pictures 71 % are to fit, 9 % held out, 20 % to test.
    """
    characters = list(characters)
    of_letters = {character: _digest(letter_of(character)) for character in set(characters)}
    digests = [_digest(f"{file}|{character}") for file, character in zip(files, characters, strict=True)]
    return _parts([of_letters[character] for character in characters], digests)


def letter_of(character: int) -> str:
    """What a code point is a form of: the first character of its small form when decomposed (NFKD), "a" of Á and ª."""
    return unicodedata.normalize("NFKD", chr(character).casefold())[0]


def whole_families(families: list[str], number: int) -> list[int]:
    """So many classes, of whole families, given each class's family.  Raises ValueError if they do not add up.

    Families are taken in the order of their names' SHA-256; one that has too many classes is passed over.
    """
    sizes, taken = Counter(families), Counter[str]()
    for family in sorted(sizes, key=_digest):
        if taken.total() + sizes[family] <= number:
            taken[family] = sizes[family]
    if not taken or taken.total() != number:
        raise ValueError(f"Whole families of the {len(families):,} styles do not add up to {number:,} classes.")
    return [c for c, family in enumerate(families) if family in taken]


def read(source: Path, digests: Mapping[str, str], again: str = "") -> Renderings:
    """The renderings whose files, verified by their SHA-256, are in an archive or a folder.  Raises DataError.

    again: the remedy, if another than to get the source again.
    """
    with reading(source, again):
        contents = read_unpacked(source) if source.is_dir() else read_files(source, digests)
        refuse_altered(contents, digests)
    return Renderings.of_files(contents)


def read_unpacked(folder: Path) -> Contents:
    """The bytes of those files that are there, mapped into memory, which processes then share."""
    found = {}
    for name in FILES:
        with suppress(FileNotFoundError):
            empty = os.path.getsize(folder / name) == 0  # and cannot be mapped
            found[name] = b"" if empty else np.memmap(folder / name, np.uint8, "r")
    return found


def refuse_altered(contents: Contents, digests: Mapping[str, str]) -> None:
    """Raises DataError, to be completed by `reading`, unless all files are there and as published."""
    if missing := sorted(set(digests) - set(contents)):
        others = f" and {len(missing) - 4:,} others" if len(missing) > 4 else ""
        raise DataError(f"lacks {', '.join(missing[:4])}{others}")
    for name, digest in digests.items():
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            raise DataError(f"does not hold {name} as published (its digest differs)")


def _pictures(name: str, found: Renderings, classes: int, by_letter: bool) -> Pictures:
    """The chosen classes' pictures, gathered once in the order of the split; training and test are views of them."""
    families = [PurePosixPath(file).parent.name for file in found.files]
    kept = whole_families(families, classes)
    cases = np.flatnonzero(np.isin(found.styles, kept))
    parts = (split_by_letter if by_letter else split)(
        [found.files[style] for style in found.styles[cases].tolist()], found.characters[cases].tolist()
    )
    order = cases[torch.cat(parts).numpy()]
    images = torch.from_numpy(found.images[order]).unsqueeze(1)
    labels = torch.from_numpy(np.searchsorted(kept, found.styles[order]))
    trained = len(order) - len(parts[2])
    names = sorted({families[c] for c in kept})
    return Pictures(
        name + " by letter" * by_letter,
        *(images[:trained], labels[:trained], images[trained:], labels[trained:]),
        class_names=tuple(PurePosixPath(found.files[c]).stem for c in kept),
        superclasses=tuple(names.index(families[c]) for c in kept),
        superclass_names=tuple(names),
        held_out=len(parts[1]),
        characters=torch.from_numpy(found.characters[order[:trained]]),
    )


def _parts(deciding: list[bytes], ordering: list[bytes]) -> tuple[Tensor, Tensor, Tensor]:
    order = torch.tensor(sorted(range(len(ordering)), key=ordering.__getitem__), dtype=torch.int64)
    remainders = torch.tensor([int.from_bytes(digest, "big") % 10 for digest in deciding], dtype=torch.int64)[order]
    return order[remainders < 8], order[remainders == 8], order[remainders == 9]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _source() -> Path:
    """The archive of the pictures, or the folder with its files, or the archive of the fonts.  Raises DataError."""
    with suppress(DataError):
        found = obtain(("fonts",), FORMS, (), None)
        return found.parent if found.name == FORMS[0] else found
    try:
        return obtain(("fonts",), (FONT_ARCHIVE,), MIRRORS, None, bar=True)
    except DataError as reason:
        raise DataError(f"fonts/{ARCHIVE} is missing, so is one of {', '.join(FILES)}, and {reason}") from None


def _drawn(source: Path) -> Path:
    """Where the pictures are: beside the archive of the fonts, from which they are rendered first, or the source."""
    if source.name != FONT_ARCHIVE:
        return source
    with reading(source):
        found = read_files(source, {FONT_FOLDER + file for file in FONTS})
        fonts = {name.removeprefix(FONT_FOLDER): content for name, content in found.items()}
        refuse_altered(fonts, FONTS)
    _cache(render(fonts), source.parent)
    return source.parent


def _cache(rendered: Renderings, folder: Path) -> None:
    """Write the files, if they are as published.  Raises DataError if not, or if they cannot be written."""
    try:
        with TemporaryDirectory(".partial", dir=folder) as partial:
            rendered.save(Path(partial))
            refuse_altered(read_unpacked(Path(partial)), FILES)
            for name in FILES:
                os.replace(Path(partial) / name, folder / name)
    except DataError as problem:
        here = f"What Pillow {pillow} with FreeType {features.version('freetype2')} draws"
        raise DataError(f"{here} {problem}: install {WANTED}, or {ELSEWHERE}.") from None
    except OSError as error:
        raise DataError(f"{folder} cannot be written ({error.strerror or error}): make room, or {ELSEWHERE}.") from None
