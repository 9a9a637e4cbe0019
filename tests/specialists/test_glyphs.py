"""Glyphs are the same for a seed, balanced, distorted, and of classes that can be told apart."""

import hashlib
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
import torch
from torch import Tensor

from distillation.specialists.data import Pictures, glyphs

CLASSES, TRAIN, TEST = 60, 2_130, 130  # two chunks and a part of one; no multiple of the classes


@pytest.fixture(scope="module")
def data() -> Pictures:
    return glyphs.load(CLASSES, TRAIN, TEST)


def digest(data: Pictures) -> str:
    tensors = (data.train_images, data.train_labels, data.test_images, data.test_labels)
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()


def rendered(characters: str) -> Tensor:
    """(characters, fonts, 64, 64) uint8"""
    return torch.stack([torch.from_numpy(pixels) for _, pixels in glyphs.render(list(characters))])


def fixed(**changes: float) -> Tensor:
    """The distortion that changes nothing but ink to white on black, with some changes (1, that of DISTORTION)."""
    plain = dict.fromkeys(glyphs.DISTORTION, 0.0) | {"threshold": 0.5, "sharpness": 1.0, "bright": 1.0, "polarity": 1.0}
    return torch.tensor([list((plain | changes).values())])


def distorted(character: str, **changes: float) -> Tensor:
    """(32, 32) in [0, 1]"""
    distortion = fixed(**changes)
    return glyphs.distort(rendered(character)[:, 0], distortion, torch.zeros(1, 32, 32))[0].float() / 255


def centre(image: Tensor) -> tuple[float, float]:
    """The column and the row of the ink's centre."""
    places = torch.arange(32.0)
    return tuple(float((image.sum(axis) * places).sum() / image.sum()) for axis in (0, 1))


def test_shapes_types_and_sizes(data: Pictures) -> None:
    assert data.name == "glyphs"
    assert data.train_images.shape == (TRAIN, 1, 32, 32)
    assert data.test_images.shape == (TEST, 1, 32, 32)
    assert data.train_labels.shape == (TRAIN,)
    assert data.test_labels.shape == (TEST,)
    assert data.train_images.dtype == data.test_images.dtype == torch.uint8
    assert data.train_labels.dtype == data.test_labels.dtype == torch.int64
    assert len(data.class_names) == len(data.superclasses) == CLASSES


def test_the_default_is_five_hundred_classes() -> None:
    names, groups, _ = glyphs.alphabet()
    assert len(names) >= 1000
    assert len(set(groups[:500])) == len(glyphs.SUPERCLASSES)


@pytest.mark.parametrize("part", ["train", "test"])
def test_classes_are_balanced_to_within_one(data: Pictures, part: str) -> None:
    counts = getattr(data, f"{part}_labels").bincount(minlength=CLASSES)
    assert len(counts) == CLASSES
    assert counts.max() - counts.min() == 1  # as the classes do not divide the cases


def test_the_order_of_the_classes_is_shuffled(data: Pictures) -> None:
    first, second = data.train_labels[: 2 * CLASSES].split(CLASSES)
    assert not first.equal(second)
    assert not first.equal(first.sort().values)


def test_the_same_seed_gives_the_same_images_in_another_process(data: Pictures) -> None:
    code = "import test_glyphs as t; print(t.digest(t.glyphs.load(t.CLASSES, t.TRAIN, t.TEST)))"
    paths = [str(Path(__file__).parent), str(Path(glyphs.__file__).parents[3])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest(data)


def test_the_global_generator_is_neither_used_nor_moved(data: Pictures) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert digest(glyphs.load(CLASSES, TRAIN, TEST)) == digest(data)
    assert torch.get_rng_state().equal(before)


def test_fewer_cases_are_the_first_of_more(data: Pictures) -> None:
    for train, test in ((1_999, 77), (613, 60)):
        fewer = glyphs.load(CLASSES, train, test)
        assert fewer.train_images.equal(data.train_images[:train])
        assert fewer.train_labels.equal(data.train_labels[:train])
        assert fewer.test_images.equal(data.test_images[:test])
        assert fewer.test_labels.equal(data.test_labels[:test])


def test_fewer_classes_are_the_first_of_more(data: Pictures) -> None:
    fewer = glyphs.load(20, 40, 40)
    assert fewer.class_names == data.class_names[:20]
    fewer_super = [fewer.superclass_names[index] for index in fewer.superclasses]
    assert fewer_super == [data.superclass_names[index] for index in data.superclasses[:20]]


def test_parts_and_seeds_have_different_images(data: Pictures) -> None:
    others = (data.test_images, *(glyphs.load(CLASSES, 100, 100, seed).train_images for seed in (1, 2)))
    others += (glyphs.load(CLASSES, 100, 100, 1).test_images,)
    images = torch.cat([data.train_images, *others]).flatten(1)
    assert len(images.unique(dim=0)) == len(images)


def test_characters_that_look_the_same_are_one_class_and_similar_ones_are_not() -> None:
    names = glyphs.alphabet()[0]
    latin, greek = rendered("AΑ")
    assert latin.equal(greek)
    assert set("AOTXaoc") <= set(names)
    assert not set("ΑАОΟТΤХΧаοос") & set(names)  # Greek and Cyrillic
    assert set("O0Ql1|B8ßβεcC") <= set(names)


def test_only_lookalikes_are_left_out() -> None:
    names = glyphs.alphabet()[0]
    assert set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") <= set(names)
    assert "Ă" not in names or "Ǎ" not in names
    left_out = [character for character in glyphs.candidates() if character not in names]
    kept = rendered("".join(names[:200]))
    # Each picture that repeats an earlier one is left out, and what is left out repeats one.
    assert glyphs.distinct(torch.cat([kept, kept])) == list(range(200))
    assert all(" WITH " in unicodedata.name(c) or unicodedata.name(c)[:5] != "LATIN" for c in left_out if c < "Ā")


def test_undistorted_classes_are_distinct_and_within_the_frame() -> None:
    names, _, renderings = glyphs.alphabet()
    assert renderings.shape == (len(names), 12, 64, 64)
    assert len(renderings.flatten(1).unique(dim=0)) == len(names)
    assert (renderings.flatten(2).amax(2) > 0).all()  # each has ink in each font
    ink = renderings.float().mean((2, 3))
    assert (ink[:, 1] > ink[:, 0]).float().mean() > 0.8  # fonts differ: bold is heavier than regular


def test_characters_stand_on_one_baseline_in_the_middle() -> None:
    rows = rendered("AHnx")[:, 0].amax(2)
    bottoms = {int(row.nonzero().max()) for row in rows}
    assert len(bottoms) == 1
    assert bottoms <= {glyphs.BASELINE - 2, glyphs.BASELINE - 1}  # a bitmap may have a spare row
    assert rendered("g")[0, 0, glyphs.BASELINE + 4 :].max() > 0
    columns = rendered("AHnx|")[:, 0].amax(1)
    for column in columns:
        first, last = int(column.nonzero().min()), int(column.nonzero().max())
        assert abs(first + last - 63) <= 2


def test_class_names_are_unique_single_characters() -> None:
    names = glyphs.alphabet()[0]
    assert len(set(names)) == len(names)
    assert all(len(name) == 1 and name.isprintable() and not name.isspace() for name in names)


def test_a_few_classes_are_of_several_scripts(data: Pictures) -> None:
    scripts = {unicodedata.name(name).split()[0] for name in data.class_names}
    assert {"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN", "DIGIT"} <= scripts
    assert sum(name.isascii() for name in data.class_names) < CLASSES / 2


@pytest.mark.parametrize(
    ("character", "expected"),
    [
        ("A", "Latin capital"),
        ("a", "Latin small"),
        ("é", "accented Latin small"),
        ("Ç", "accented Latin capital"),
        ("ɐ", "phonetic letter"),
        ("Ω", "Greek capital"),
        ("ω", "Greek small"),
        ("Ж", "Cyrillic capital"),
        ("ж", "Cyrillic small"),
        ("Բ", "Armenian capital"),
        ("բ", "Armenian small"),
        ("ბ", "Georgian"),
        ("7", "digit"),
        ("½", "small figure or fraction"),
        ("?", "punctuation"),
        ("]", "bracket"),
        ("€", "currency sign"),
        ("→", "arrow"),
        ("⇀", "arrow"),
        ("≤", "mathematical symbol"),
        ("■", "geometric shape"),
        ("♣", "other symbol"),
        ("\u202f", ""),  # the narrow space
        ("\u0301", ""),  # a combining mark
        ("\u2126", ""),  # the ohm sign
    ],
)
def test_superclass_of_a_character(character: str, expected: str) -> None:
    assert glyphs.superclass(character) == expected


def test_names_and_superclasses_are_those_of_the_renderings() -> None:
    names, groups, renderings = glyphs.alphabet()
    sample = range(0, len(names), 37)
    assert renderings[sample].equal(rendered("".join(names[index] for index in sample)))
    assert all(glyphs.SUPERCLASSES[groups[index]] == glyphs.superclass(names[index]) for index in sample)


def test_images_are_of_their_class_in_any_font(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glyphs, "distort", lambda pictures, distortion, noise: pictures[:, :32, :32])
    fonts = len(glyphs.FONTS)
    numbered = torch.arange(3 * fonts, dtype=torch.uint8).view(3, fonts, 1, 1).expand(-1, -1, 64, 64)
    images, labels = glyphs.draw(numbered, 1_200, 0)
    numbers = images[:, 0, 0, 0].long()
    assert (numbers // fonts).equal(labels)
    assert numbers.bincount(minlength=3 * fonts).min() > 10  # 33 on average


def test_superclasses_are_consistent() -> None:
    for classes in (2, 19, CLASSES, 500):
        data = glyphs.load(classes, classes, classes)
        assert set(data.superclasses) == set(range(len(data.superclass_names)))
        for name, index in zip(data.class_names, data.superclasses, strict=True):
            assert data.superclass_names[index] == glyphs.superclass(name)
    counts = torch.tensor(data.superclasses).bincount()
    assert data.superclass_names == glyphs.SUPERCLASSES
    assert counts.min() >= 10


def test_labels_name_what_the_images_show() -> None:
    data = glyphs.load(10, 3_000, 500)
    # Nearest centroids in the size of the contrast: far above chance, though not of the best nets.
    train, test = (
        (images.float() - images.float().flatten(1).median(1).values[:, None, None, None]).abs().flatten(1)
        for images in (data.train_images, data.test_images)
    )
    train, test = (torch.nn.functional.normalize(part, dim=1) for part in (train, test))
    centroids = torch.stack([train[data.train_labels == label].mean(0) for label in range(10)])
    right = (torch.cdist(test, centroids).argmin(1) == data.test_labels).float().mean()
    assert right > 0.4  # of 0.1 by chance


def test_distortion_varies_from_case_to_case() -> None:
    """Of one class, both the glyph (without noise) and the paper, the polarity and the noise differ."""
    data = glyphs.load(2, 2_000, 2)
    images = data.train_images[data.train_labels == 0].float()[:, 0]
    corners = images[:, :4, :4].flatten(1)
    assert corners.mean(1).std() > 50  # dark and bright paper
    bright = (corners.mean(1) > 128).float().mean()
    assert 0.4 < bright < 0.6
    loud = corners.std(1)
    assert loud.max() > 4 * loud.min()
    ink = ((images - corners.mean(1)[:, None, None]).abs() > 80).float()
    share = ink.mean((1, 2))
    assert share.quantile(0.9) > 1.5 * share.quantile(0.1)  # sizes and strokes
    centres = torch.tensor([centre(image) for image in ink if image.sum() > 20])
    assert (centres.std(0) > 1).all()


def test_undistorted_is_the_rendering_at_half_the_size() -> None:
    small = torch.nn.functional.avg_pool2d(rendered("R")[:, 0].float() / 255, 2)[0]
    assert torch.corrcoef(torch.stack([small.flatten(), distorted("R").flatten()]))[0, 1] > 0.95


def test_shift_size_and_width() -> None:
    plain = distorted("x")
    column, row = centre(plain)
    moved = centre(distorted("x", right=0.25, down=0.125))
    assert moved == pytest.approx((column + 4, row + 2), abs=0.1)
    assert distorted("x", size=0.3).sum() / plain.sum() == pytest.approx(1.82, rel=0.05)
    wide = distorted("x", width=0.4)
    spans = [[int((image.amax(axis) > 0.3).sum()) for axis in (0, 1)] for image in (plain, wide)]
    assert spans[1][0] > spans[0][0]
    assert spans[1][1] < spans[0][1]


def test_turn_is_a_rotation_and_shear_leans() -> None:
    quarter = distorted("+", turn=torch.pi / 2)
    shift = distorted("+").flip(0).t()  # a plus below the middle comes to its side
    assert min(float((quarter - image).abs().mean()) for image in (shift, shift.flip(1))) < 0.02
    straight, leaning = (distorted("|", shear=shear).amax(0) > 0.3 for shear in (0.0, 0.3))
    assert leaning.sum() > straight.sum() + 3


def test_stroke_contrast_polarity_and_noise() -> None:
    assert distorted("A", threshold=0.2, sharpness=4).sum() > 1.3 * distorted("A", threshold=0.6, sharpness=4).sum()
    grey = distorted("A", dark=0.2, bright=0.6)
    assert float(grey.min()) == pytest.approx(0.2, abs=0.01)
    assert float(grey.max()) == pytest.approx(0.6, abs=0.01)
    torch.testing.assert_close(distorted("A", polarity=-1.0), 1 - distorted("A"), atol=1 / 255, rtol=0)
    noise = torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(0))
    noisy = glyphs.distort(rendered(".")[:, 0], fixed(dark=0.5, noise=0.1), noise)[0, :8].float() / 255
    assert float(noisy.std()) == pytest.approx(0.1, rel=0.1)
    assert not glyphs.distort(rendered(".")[:, 0], fixed(noise=1.0), torch.full((1, 32, 32), -9.0)).any()  # no wrap


def test_any_part_of_the_range_is_used(data: Pictures) -> None:
    assert int(data.train_images.min()) == 0
    assert int(data.train_images.max()) == 255
    assert len(data.train_images.unique()) == 256


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 10, 10), r"2 to 1,\d\d\d classes of glyphs to choose from, not 1\."),
        ((100_000, 200_000, 200_000), r"2 to 1,\d\d\d classes of glyphs to choose from, not 100,000\."),
        ((60, 59, 100), r"Each of the 60 classes needs a case: 59 are too few\."),
        ((60, 100, 0), r"Each of the 60 classes needs a case: 0 are too few\."),
    ],
)
def test_impossible_requests_are_refused(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        glyphs.load(*arguments)


def test_every_class_there_is_can_be_drawn() -> None:
    names = glyphs.alphabet()[0]
    data = glyphs.load(len(names), len(names), len(names))
    assert data.train_labels.unique().equal(torch.arange(len(names)))
    assert data.class_names == names
