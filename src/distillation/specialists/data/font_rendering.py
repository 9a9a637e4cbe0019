"""Characters drawn from font files by a rule without chance: the same fonts give the same pictures, to the byte."""

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont, TTLibError
from PIL import Image, ImageDraw, ImageFont
from tqdm.auto import tqdm

SIZE, EM = 32, 24  # of a picture, of a font, in pixels
ORIGIN = (16, 24)  # pixels from left and top: the middle of a character on its baseline
FONTS = 100  # have a character, or it is drawn from none
PLACEHOLDER = 12  # characters that may look the same in a font; a picture of more only says that they are missing
FEWEST = 150  # pictures of a font that is a class

TYPES = {"images.npy": "|u1", "styles.npy": "<i2", "characters.npy": "<i4"}
HEADER = 128  # bytes of these files before their values
Contents = Mapping[str, bytes | np.ndarray]  # of files, by name


@dataclass(frozen=True)
class Renderings:
    """Pictures of characters in the order of class, then code point.

    images (pictures, 32, 32) uint8, 0 for background; styles (pictures,) int16, their classes; characters (pictures,)
    int32, their Unicode code points; files: the font file of each class, as its path in the fonts' repository.
    """

    images: np.ndarray
    styles: np.ndarray
    characters: np.ndarray
    files: tuple[str, ...]

    @classmethod
    def of_files(cls, contents: Contents) -> "Renderings":
        """Of the contents, not copied, of the files that `save` writes."""
        images, styles, characters = (
            np.frombuffer(contents[name], dtype, offset=HEADER) for name, dtype in TYPES.items()
        )
        files = bytes(contents["styles.txt"]).decode("ascii").split()
        return cls(images.reshape(-1, SIZE, SIZE), styles, characters, tuple(files))

    def save(self, folder: Path) -> None:
        """Write images.npy, styles.npy, characters.npy and styles.txt."""
        for (name, dtype), values in zip(TYPES.items(), (self.images, self.styles, self.characters), strict=True):
            np.save(folder / name, values.astype(dtype, copy=False))
        (folder / "styles.txt").write_text("".join(f"{file}\n" for file in self.files), "ascii", newline="\n")


def render(fonts: dict[str, bytes]) -> Renderings:
    """All pictures of the fonts, given as the contents of TrueType files by path, with a progress bar.

    The characters are those that at least FONTS of the fonts have.  A font that cannot be opened, or has fewer than
    FEWEST different pictures, is no class.
    """
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it warns of faults in tables that are not used
    has = {file: code_points(fonts[file]) for file in sorted(fonts)}
    common = shared(has.values())
    images, styles, characters, files = bytearray(), [], [], []  # a bytearray becomes an array without a copy
    for file, points in tqdm(has.items(), desc="Rendering fonts", unit="font"):
        found = pictures(fonts[file], [point for point in common if point in points])
        if len(found) >= FEWEST:
            images += b"".join(found.values())
            styles += [len(files)] * len(found)
            characters += found
            files.append(file)
    return Renderings(
        np.frombuffer(images, np.uint8).reshape(-1, SIZE, SIZE),
        np.array(styles, np.int16),
        np.array(characters, np.int32),
        tuple(files),
    )


def code_points(font: bytes) -> set[int]:
    """Which characters a font has; none if it cannot be opened."""
    try:
        return set(TTFont(BytesIO(font), lazy=True).getBestCmap() or ())
    except (TTLibError, KeyError):  # no font; none with a table of characters
        return set()


def shared(each: Collection[set[int]]) -> list[int]:
    """The characters that at least FONTS of the fonts have, but for white space and what cannot be printed."""
    counts = Counter(point for points in each for point in points)
    enough = sorted(point for point, number in counts.items() if number >= FONTS)
    return [point for point in enough if chr(point).isprintable() and not chr(point).isspace()]


def pictures(font: bytes, characters: list[int]) -> dict[int, bytes]:
    """A font's pictures, 32 x 32 bytes each, by code point.

    Blank ones and placeholders are left out, and of characters that look the same (Latin A, Greek Alpha) all but the
    first.  So is a character that FreeType gives up, as it does a few.
    """
    looks: dict[bytes, list[int]] = {}
    with suppress(OSError):  # cannot be opened
        face = ImageFont.truetype(BytesIO(font), EM, layout_engine=ImageFont.Layout.BASIC)
        for character in characters:
            with suppress(OSError):
                looks.setdefault(draw(face, chr(character)), []).append(character)
    looks.pop(bytes(SIZE * SIZE), None)
    return {alike[0]: picture for picture, alike in looks.items() if len(alike) <= PLACEHOLDER}


def draw(face: ImageFont.FreeTypeFont, text: str) -> bytes:
    """A picture, row by row: white on black."""
    image = Image.new("L", (SIZE, SIZE))
    ImageDraw.Draw(image).text(ORIGIN, text, fill=255, font=face, anchor="ms")
    return image.tobytes()
