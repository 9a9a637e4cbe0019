"""The classes and letters that notebook 04 shows, and the figure of them."""

from dataclasses import replace

import pytest
import torch

from distillation.specialists.data import Pictures, fonts
from distillation.specialists.examples import LETTERS, PictureExamples, letters, superclasses_first
from distillation.specialists.figures import alike_figure


@pytest.mark.parametrize(
    ("subset", "superclasses", "expected"),
    [
        ((0, 1, 2, 3), [0, 0, 1, 1], [0, 2, 1, 3]),
        ((3, 1, 0), [5, 5, 2, 5], [0, 1, 3]),
        ((1, 2), [0, 1, 2], [1, 2]),
    ],
)
def test_classes_of_other_superclasses_come_first(
    subset: tuple[int, ...], superclasses: list[int], expected: list[int]
) -> None:
    assert superclasses_first(subset, superclasses) == expected


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return fonts.load_embedded(24)


def test_letters_are_the_training_pictures_of_these_characters(pictures: Pictures) -> None:
    assert len(pictures.characters) == len(pictures.train_labels)
    for label in range(24):
        for letter, found in zip(LETTERS, letters(pictures, label), strict=True):
            chosen = (pictures.train_labels == label) & (pictures.characters == ord(letter))
            assert chosen.sum() <= 1
            expected = pictures.train_images[chosen, 0]
            assert torch.equal(found, expected[0]) if len(expected) else not found.any()


def test_a_letter_that_is_not_there_is_zeros(pictures: Pictures) -> None:
    without = replace(pictures, characters=torch.where(pictures.characters == ord("a"), 0, pictures.characters))
    found = torch.stack([letters(without, label) for label in range(24)])
    assert not found[:, LETTERS.index("a")].any()
    assert found[:, LETTERS.index("R")].any()


def test_the_figure_has_a_panel_per_subset_and_a_name_per_class(pictures: Pictures) -> None:
    chosen = [[0, 1, 2], [5, 6, 7], [3, 4, 8], [9, 10, 11]]
    alike = torch.stack([torch.stack([letters(pictures, label) for label in classes]) for classes in chosen])
    examples = PictureExamples(*[torch.empty(0)] * 4, alike=alike, alike_classes=torch.tensor(chosen))
    panels = [axes for axes in alike_figure(examples, pictures.class_names).axes if axes.images]
    for axes, classes, shown in zip(panels, chosen, alike, strict=True):
        assert [text.get_text() for text in axes.get_yticklabels()] == [pictures.class_names[c] for c in classes]
        image = torch.from_numpy(axes.images[0].get_array().data)
        assert image.shape == (3 * 32, len(LETTERS) * 32)
        assert torch.equal(image[32:64, 64:96], shown[1, 2])
