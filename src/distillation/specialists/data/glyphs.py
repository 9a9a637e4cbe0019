"""Pictures of characters: the embedded stand-in for CIFAR-100, and a data set that is as large as one asks for.

The characters are rendered from the fonts that matplotlib ships (DejaVu Sans, Serif and Mono in all their styles), so
nothing is downloaded.  Another release of matplotlib or of its FreeType may draw them a little differently.
"""

import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import zip_longest
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.ft2font import FT2Font, LoadFlags
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, normalize

from distillation.specialists.data import Pictures

UPRIGHT, SLANTED = ("", "-Bold"), ("-Oblique", "-BoldOblique")
FONTS = (
    *(f"DejaVuSans{style}.ttf" for style in UPRIGHT + SLANTED),
    *(f"DejaVuSansMono{style}.ttf" for style in UPRIGHT + SLANTED),
    *(f"DejaVuSerif{style}.ttf" for style in (*UPRIGHT, "-Italic", "-BoldItalic")),
)
SIZE = 32  # of an image, in pixels
FRAME, EM, BASELINE = 64, 44, 47  # of a rendering, in pixels; the baseline from the top
ALIKE = 0.965  # cosine of two renderings, over all fonts, above which hardly anyone would read them apart

SUPERCLASSES = (
    "Latin capital",
    "Latin small",
    "Greek capital",
    "Greek small",
    "Cyrillic capital",
    "Cyrillic small",
    "Armenian capital",
    "Armenian small",
    "Georgian",
    "digit",
    "accented Latin capital",
    "accented Latin small",
    "phonetic letter",
    "punctuation",
    "bracket",
    "currency sign",
    "small figure or fraction",
    "arrow",
    "mathematical symbol",
    "geometric shape",
    "other symbol",
)
PHONETIC = range(0x250, 0x2B0)  # of the international phonetic alphabet
SHAPES = range(0x25A0, 0x2600)
# Too many marks on a letter or too little ink to be read in 32x32 pixels, or lines that only join others.
UNREADABLE = (range(0x1E00, 0x2000), range(0x239B, 0x23AF), range(0x2500, 0x25A0), range(0xFFF0, 0x10000))
CATEGORIES = {"Nd": "digit", "No": "small figure or fraction", "Sc": "currency sign", "Sm": "mathematical symbol"}
CATEGORIES |= {"Ps": "bracket", "Pe": "bracket", "So": "other symbol"}
CATEGORIES |= dict.fromkeys(("Pc", "Pd", "Pi", "Pf", "Po"), "punctuation")

CHUNK = 1000  # images drawn at a time
# Between what each image's distortion is drawn, evenly.
DISTORTION = {
    "turn": (-0.35, 0.35),  # radians
    "shear": (-0.25, 0.25),
    "size": (-0.15, 0.3),  # logarithm
    "width": (-0.2, 0.2),  # logarithm, by the height
    "right": (-0.2, 0.2),  # half images
    "down": (-0.2, 0.2),
    "threshold": (0.25, 0.55),  # of ink in the blurred rendering: a low one gives broad strokes
    "sharpness": (1.5, 4.0),
    "dark": (0.0, 0.35),  # as shares of white, here and below
    "bright": (0.6, 1.0),
    "polarity": (-1.0, 1.0),  # bright on dark if positive
    "noise": (0.02, 0.15),  # standard deviation
}


def load(classes: int = 500, train: int = 40_000, test: int = 5_000, seed: int = 0) -> Pictures:
    """Distorted characters, grey and 32x32, so many for training and for testing, balanced to within one per class.

    The same arguments give the same images.  More classes keep the former ones, and fewer cases are the first of more,
    in each part.  The two parts are drawn independently, from the same fonts and distortions.  See `alphabet` for the
    classes; only the superclasses that have any are named.  Raises ValueError for fewer than two classes or more than
    there are, and for fewer cases than classes.
    """
    names, groups, renderings = alphabet()
    if not 2 <= classes <= len(names):
        raise ValueError(f"There are 2 to {len(names):,} classes of glyphs to choose from, not {classes:,}.")
    if min(train, test) < classes:
        raise ValueError(f"Each of the {classes:,} classes needs a case: {min(train, test):,} are too few.")
    return Pictures(
        "glyphs",
        *draw(renderings[:classes], train, 2 * seed),
        *draw(renderings[:classes], test, 2 * seed + 1),
        names[:classes],
        groups[:classes],
        SUPERCLASSES[:classes],  # the first classes are one of each
    )


@cache
def alphabet() -> tuple[tuple[str, ...], tuple[int, ...], Tensor]:
    """The name and the superclass of every class, and its renderings (classes, fonts, 64, 64) uint8, in a fixed order.

    The order takes a character from each superclass in turn, so that a few classes are of several scripts.  Characters
    that look the same in all fonts (Latin A, Greek Alpha, Cyrillic А), or nearly so (Ă and Ǎ), are one class, named and
    drawn by the one that comes first in Unicode: no net can tell them apart, so they would only bound the accuracy.
    What can be told apart at a second look (O and 0) stays.  A name is one character; `unicodedata.name` says which of
    those that look alike it is.
    """
    characters, arrays = zip(*render(candidates()), strict=True)
    renderings = torch.from_numpy(np.stack(arrays))
    kept = distinct(renderings)
    kept.sort(key=lambda index: " WITH " in unicodedata.name(characters[index]))  # letters without a mark first
    members = [[index for index in kept if superclass(characters[index]) == group] for group in SUPERCLASSES]
    order = [index for turn in zip_longest(*members) for index in turn if index is not None]
    names = tuple(characters[index] for index in order)
    return names, tuple(SUPERCLASSES.index(superclass(name)) for name in names), renderings[order]


def superclass(character: str) -> str:
    """The script and case of a letter, the kind of another character, by its name in Unicode; "" if it has no use."""
    code, category, name = ord(character), unicodedata.category(character), unicodedata.name(character, "")
    if any(code in block for block in UNREADABLE):
        return ""
    if code in PHONETIC:
        return "phonetic letter"
    if category[0] == "S" and ("ARROW" in name or "HARPOON" in name):  # not the narrow space
        return "arrow"
    if code in SHAPES:
        return "geometric shape"
    if category not in ("Lu", "Ll", "Lo"):
        return CATEGORIES.get(category, "")
    script = name.partition(" ")[0].capitalize()
    case = "capital" if category == "Lu" else "small"
    accented = "accented " if script == "Latin" and " WITH " in name else ""
    return next((known for known in (script, f"{accented}{script} {case}") if known in SUPERCLASSES), "")


def candidates() -> list[str]:
    """The characters that every font has and that belong to a superclass, in the order of Unicode."""
    codes = set.intersection(*(set(font.get_charmap()) for font in fonts()))
    return [chr(code) for code in sorted(codes) if superclass(chr(code))]


def render(characters: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Each character with its ink (fonts, 64, 64) uint8, centred on the common baseline, unless a font's is too big."""
    faces = fonts()
    for character in characters:
        inks = [ink(font, character) for font in faces]
        if all(top >= 0 and top + len(pixels) <= FRAME >= pixels.shape[1] for pixels, top in inks):
            yield character, np.stack([framed(pixels, top) for pixels, top in inks])


def fonts() -> list[FT2Font]:
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    faces = [FT2Font(str(folder / name)) for name in FONTS]
    for face in faces:
        face.set_size(EM, 72)  # at 72 dots per inch a point is a pixel
    return faces


def ink(font: FT2Font, character: str) -> tuple[np.ndarray, int]:
    """The character's bounding box (height, width) uint8, 255 for ink, and the row of its top in the frame."""
    font.set_text(character, 0, flags=LoadFlags.NO_HINTING)
    font.draw_glyphs_to_bitmap(antialiased=True)
    pixels = np.asarray(font.get_image())
    return pixels, BASELINE + round(font.get_descent() / 64) - len(pixels)


def framed(pixels: np.ndarray, top: int) -> np.ndarray:
    frame = np.zeros((FRAME, FRAME), np.uint8)
    left = (FRAME - pixels.shape[1]) // 2
    frame[top : top + len(pixels), left : left + pixels.shape[1]] = pixels
    return frame


def distinct(renderings: Tensor) -> list[int]:
    """The indices of the renderings (cases, fonts, 64, 64) that look like no earlier one of these."""
    pooled = torch.stack([avg_pool2d(rendering.float(), FRAME // SIZE).flatten() for rendering in renderings])
    features = normalize(pooled, dim=1)
    kept: list[int] = []
    for index, alike in enumerate(features @ features.T > ALIKE):
        if not alike[kept].any():
            kept.append(index)
    return kept


def draw(renderings: Tensor, cases: int, seed: int) -> tuple[Tensor, Tensor]:
    """Distorted images (cases, 1, 32, 32) uint8 of the renderings (classes, fonts, 64, 64), and their classes (cases,).

    Each run of as many cases as there are classes has each class once.  A chunk's random numbers are all drawn, however
    few of its cases are asked for, so that fewer cases are the first of more.
    """
    classes = len(renderings)
    order = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.randperm(classes, generator=order) for _ in range(-(-cases // classes))])[:cases]
    generator = torch.Generator().manual_seed(seed)
    low, high = torch.tensor(list(DISTORTION.values())).t()
    images = torch.empty(cases, 1, SIZE, SIZE, dtype=torch.uint8)
    for image, label in zip(images.split(CHUNK), labels.split(CHUNK), strict=True):
        drawn = slice(len(label))
        font = torch.randint(len(FONTS), (CHUNK,), generator=generator)[drawn]
        distortion = (low + (high - low) * torch.rand(CHUNK, len(low), generator=generator))[drawn]
        noise = torch.randn(CHUNK, SIZE, SIZE, generator=generator)[drawn]
        image[:, 0] = distort(renderings[label, font], distortion, noise)
    return images, labels


def distort(glyphs: Tensor, distortion: Tensor, noise: Tensor) -> Tensor:
    """The glyphs (cases, 64, 64) by their distortion (cases, that of DISTORTION), as images (cases, 32, 32) uint8.

    noise: (cases, 32, 32) of unit variance.
    """
    values = dict(zip(DISTORTION, distortion[:, :, None, None].unbind(1), strict=True))
    grid = affine_grid(affine(distortion), [len(glyphs), 1, SIZE, SIZE], align_corners=False)
    blurred = avg_pool2d(glyphs[:, None].float() / 255, 3, stride=1, padding=1)
    sampled = grid_sample(blurred, grid, align_corners=False)[:, 0]
    ink = (0.5 + values["sharpness"] * (sampled - values["threshold"])).clamp(0, 1)
    share = torch.where(values["polarity"] > 0, ink, 1 - ink)
    brightness = torch.lerp(values["dark"], values["bright"], share) + values["noise"] * noise
    return (brightness * 255).round().clamp(0, 255).to(torch.uint8)


def affine(distortion: Tensor) -> Tensor:
    """The maps (cases, 2, 3) from an image's places to the glyph's, both from -1 to 1, as affine_grid wants them."""
    turn, shear, size, width, right, down = distortion[:, :6].unbind(1)
    across, along = torch.exp(-size - width / 2), torch.exp(-size + width / 2)
    cos, sin = turn.cos(), turn.sin()
    first = across[:, None] * torch.stack([cos + shear * sin, shear * cos - sin], 1)
    second = along[:, None] * torch.stack([sin, cos], 1)
    matrix = torch.stack([first, second], 1)
    return torch.cat([matrix, -matrix @ torch.stack([right, down], 1)[:, :, None]], 2)
