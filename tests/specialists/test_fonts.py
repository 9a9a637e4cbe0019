"""Font styles: read as published or refused with the file and the remedy, drawn by the rule, divided by hash."""

import gzip
import hashlib
import io
import lzma
import os
import re
import tarfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from mutations import mutated
from PIL import features
from served import Server, allow_downloads, serve
from small_cifar100 import same

from distillation.core.data import ELSEWHERE, REPOSITORY, DataError
from distillation.specialists.data import Pictures, font_rendering, fonts
from distillation.specialists.data.font_rendering import Renderings, code_points, pictures, render
from distillation.specialists.generalists import Batches, Data, load

STYLES = (
    "fonts/abel/Abel-Bold.ttf",
    "fonts/abel/Abel-Italic.ttf",
    "fonts/abel/Abel-Regular.ttf",
    "fonts/bebel/Bebel.ttf",
    "fonts/cebel/Cebel-Light.ttf",
    "fonts/cebel/Cebel-Regular.ttf",
)
FAMILIES = ["abel", "abel", "abel", "bebel", "cebel", "cebel"]
CHARACTERS = [*range(65, 91), *range(97, 123), 0xC1, 0xE1, 0x391]
DEJAVU = Path(matplotlib.get_data_path()) / "fonts" / "ttf"

Pack = Callable[[bytes], bytes]


def made_up() -> Renderings:
    """A picture of each character in each style; its first pixel is its character's place, its second its style's."""
    styles = np.repeat(np.arange(len(STYLES)), len(CHARACTERS)).astype(np.int16)
    images = np.random.default_rng(1).integers(256, size=(len(styles), 32, 32), dtype=np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.tile(np.arange(len(CHARACTERS)), len(STYLES)), styles
    return Renderings(images, styles, np.tile(np.array(CHARACTERS, np.int32), len(STYLES)), STYLES)


def saved(renderings: Renderings, folder: Path) -> dict[str, bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    renderings.save(folder)
    return {name: (folder / name).read_bytes() for name in fonts.FILES}


def digests(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def tar(members: dict[str, bytes], folder: str = "fonts/") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"{folder}{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def gz(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The files of a miniature, made the published one; downloads are forbidden, the data folder is empty."""
    monkeypatch.setenv("DISTILLATION_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DISTILLATION_OFFLINE", "1")
    found = saved(made_up(), tmp_path / "published")
    monkeypatch.setattr(fonts, "FILES", digests(found))
    return found


@pytest.fixture
def folder(files: dict[str, bytes], tmp_path: Path) -> Path:
    """Where the archive or its files are looked for."""
    (tmp_path / "data" / "fonts").mkdir(parents=True)
    return tmp_path / "data" / "fonts"


def write(files: dict[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def refusal(*named: str) -> str:
    with pytest.raises(DataError) as caught:
        fonts.load(6)
    message = str(caught.value)
    for name in (*named, f"or {ELSEWHERE}"):
        assert name in message
    assert "\n" not in message
    return message


# What is read


@pytest.mark.parametrize("classes", [6, 3])
@pytest.mark.parametrize("by_letter", [False, True])
def test_every_picture_has_its_style_and_its_family(classes: int, by_letter: bool, files: dict, folder: Path) -> None:
    (folder / "fonts-32.tar.xz").write_bytes(lzma.compress(tar(files)))
    found, whole = fonts.load(classes, by_letter), made_up()
    assert found.name == ("fonts by letter" if by_letter else "fonts")
    assert len(found.class_names) == len(found.superclasses) == classes
    seen = set()
    for part in ("train", "test"):
        images, labels = getattr(found, f"{part}_images"), getattr(found, f"{part}_labels")
        assert images.shape == (len(labels), 1, 32, 32)
        assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
        for image, label in zip(images.numpy(), labels.tolist(), strict=True):
            place, style = image[0, 0, :2].tolist()
            assert image[0].tobytes() == whole.images[style * len(CHARACTERS) + place].tobytes()
            assert found.class_names[label] == Path(STYLES[style]).stem
            assert found.superclass_names[found.superclasses[label]] == FAMILIES[style]
            seen.add((place, style))
    assert len(seen) == len(found.train_labels) + len(found.test_labels) == classes * len(CHARACTERS)


@pytest.mark.parametrize(
    ("name", "pack"),
    [("fonts-32.tar.xz", lzma.compress), ("fonts-32.tar.gz", gz), ("fonts-32.tar", bytes), ("fonts-32.tar.xz", bytes)],
)
@pytest.mark.parametrize("inside", ["fonts/", "", "./a/b/"])
def test_other_forms_hold_the_same_pictures(name: str, pack: Pack, inside: str, files: dict, folder: Path) -> None:
    write(files, folder)
    before = fonts.load(6)
    (folder / "characters.npy").unlink()  # written last: the rest is not whole
    (folder / name).write_bytes(pack(tar(dict(reversed(files.items())), inside)))
    assert same(fonts.load(6), before)


def test_training_and_test_pictures_are_views_of_one_copy(files: dict, folder: Path) -> None:
    write(files, folder)
    found = fonts.load(6)
    assert found.train_images.untyped_storage().data_ptr() == found.test_images.untyped_storage().data_ptr()
    assert found.train_images.untyped_storage().nbytes() == 1024 * 6 * len(CHARACTERS)
    split = load.__wrapped__(Data("fonts", 6, 100, 20))
    one = split.pictures.train_images.untyped_storage().data_ptr()
    for part in ("fit", "held_out", "test"):
        assert split.images(part).untyped_storage().data_ptr() == one
        assert Batches.of(split.images(part)).padded.untyped_storage().data_ptr() == one


# What is refused


@pytest.mark.parametrize("pack", [gz, lzma.compress, bytes])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_archive_is_refused(pack: Pack, share: float, files: dict, folder: Path) -> None:
    packed = pack(tar(files))
    (folder / "fonts-32.tar.xz").write_bytes(packed[: int(share * len(packed))])
    message = refusal("fonts/fonts-32.tar.xz is truncated", "delete the file and run again")
    assert re.search(r"truncated( or damaged|, ending after \d of 4 files)", message)


@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>", b"\x1f\x8b", b"\xfd7zXZ\x00", b"x" * 2000])
def test_what_is_no_archive_is_refused(content: bytes, files: dict, folder: Path) -> None:
    (folder / "fonts-32.tar.xz").write_bytes(content)
    refusal("fonts/fonts-32.tar.xz is truncated", "delete the file and run again")


@pytest.mark.parametrize("name", fonts.FILES)
def test_archive_without_one_of_the_files_is_refused(name: str, files: dict, folder: Path) -> None:
    (folder / "fonts-32.tar.xz").write_bytes(tar({other: files[other] for other in files if other != name}))
    refusal(f"fonts/fonts-32.tar.xz lacks {name}: delete the file and run again")


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize("name", fonts.FILES)
@pytest.mark.parametrize("place", [0, 60, -1])
def test_altered_byte_is_refused(place: int, name: str, unpacked: bool, files: dict, folder: Path) -> None:
    content = bytearray(files[name])
    content[place] ^= 1
    altered = files | {name: bytes(content)}
    if unpacked:
        write(altered, folder)
    else:
        (folder / "fonts-32.tar.xz").write_bytes(tar(altered))
    source, remedy = (
        ("fonts", "unpack it again") if unpacked else ("fonts/fonts-32.tar.xz", "delete the file and run again")
    )
    refusal(f"{source} does not hold {name} as published (its digest differs): {remedy}")


@pytest.mark.parametrize("name", [name for name in fonts.FILES if name != fonts.FORMS[0]])
def test_what_the_unpacked_folder_lacks_is_named(name: str, files: dict, folder: Path) -> None:
    write({other: files[other] for other in files if other != name}, folder)
    refusal(f"fonts lacks {name}: unpack it again")


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize("place", ["fonts", ".", "data/fonts"])
def test_pictures_are_found_one_level_off(place: str, unpacked: bool, files: dict, folder: Path) -> None:
    (inside := folder.parent / place).mkdir(parents=True, exist_ok=True)
    write(files if unpacked else {"fonts-32.tar": tar(files)}, inside)
    assert fonts.load(6).name == "fonts"


@pytest.mark.parametrize("size", [0, 1, 100])
@pytest.mark.parametrize("name", fonts.FILES)
def test_truncated_file_is_refused(name: str, size: int, files: dict, folder: Path) -> None:
    write(files | {name: files[name][:size]}, folder)
    refusal(name)


def test_mislabelled_pictures_are_refused(files: dict, folder: Path, tmp_path: Path) -> None:
    whole = made_up()
    exchanged = Renderings(whole.images, whole.styles[::-1], whole.characters, whole.files)
    write(saved(exchanged, tmp_path / "other"), folder)
    assert "published" in refusal("styles.npy")
    renamed = Renderings(whole.images, whole.styles, whole.characters, whole.files[::-1])
    write(saved(renamed, tmp_path / "other"), folder)
    assert "published" in refusal("styles.txt")


@pytest.mark.parametrize("pack", [gz, lzma.compress, bytes])
@pytest.mark.parametrize("seed", range(10))
def test_no_mutation_crashes_or_gives_other_pictures(pack: Pack, seed: int, files: dict, folder: Path) -> None:
    archive = folder / "fonts-32.tar.xz"
    archive.write_bytes(lzma.compress(tar(files)))
    before = fonts.load(6)
    archive.write_bytes(mutated(pack(tar(files)), seed))
    try:
        found = fonts.load(6)
    except DataError as error:
        assert "DISTILLATION_DATA" in str(error)  # noqa: PT017
    else:
        assert same(found, before)


def test_missing_offline_is_named(folder: Path) -> None:
    (folder / "fonts-32.zip").touch()
    refusal("fonts/fonts-32.tar.xz is missing", "images.npy", "DISTILLATION_OFFLINE", f"{folder} (fonts-32.zip)")
    assert [path.name for path in folder.iterdir()] == ["fonts-32.zip"]


# How the pictures are divided


def cases(renderings: Renderings) -> tuple[list[str], list[int]]:
    return [renderings.files[style] for style in renderings.styles], renderings.characters.tolist()


def part_of(text: str) -> int:
    """0: to fit, 1: held out, 2: to test."""
    remainder = int(hashlib.sha256(text.encode()).hexdigest(), 16) % 10
    return max(remainder - 7, 0)


def test_split_follows_the_digests_alone() -> None:
    files, characters = cases(made_up())
    parts = fonts.split(files, characters)
    assert sorted(torch.cat(parts).tolist()) == list(range(len(files)))
    for number, part in enumerate(parts):
        each = [f"{files[case]}|{characters[case]}" for case in part]
        assert {part_of(text) for text in each} == {number}
        assert each == sorted(each, key=lambda text: hashlib.sha256(text.encode()).digest())
    some = np.random.default_rng(2).permutation(len(files))[:150]
    fewer = fonts.split([files[case] for case in some], [characters[case] for case in some])
    chosen = set(some.tolist())
    for part, few in zip(parts, fewer, strict=True):
        assert [some[case] for case in few] == [case for case in part.tolist() if case in chosen]


def test_shares_of_the_split() -> None:
    parts = fonts.split(["fonts/abel/Abel.ttf"] * 20_000, range(20_000))
    assert [len(part) / 20_000 for part in parts] == pytest.approx([0.8, 0.1, 0.1], abs=0.01)


def test_split_by_letter_keeps_all_forms_of_a_letter_together() -> None:
    files, characters = cases(made_up())
    parts = fonts.split_by_letter(files, characters)
    assert sorted(torch.cat(parts).tolist()) == list(range(len(files)))
    letters = [{fonts.letter_of(characters[case]) for case in part} for part in parts]
    assert not letters[0] & letters[1] | letters[0] & letters[2] | letters[1] & letters[2]
    assert all({part_of(letter) for letter in each} == {number} for number, each in enumerate(letters))
    assert parts[0].tolist() != sorted(parts[0].tolist())


@pytest.mark.parametrize(
    ("forms", "letter"),
    [("aAáÁàȧªⓐ", "a"), ("sSśſß", "s"), ("ﬁfF", "f"), ("αΑά", "α"), ("5⁵₅", "5"), ("øØ", "ø"), ("аА", "а")],
)
def test_letters(forms: str, letter: str) -> None:
    assert {fonts.letter_of(ord(form)) for form in forms} == {letter}


def test_whole_families_come_in_the_order_of_their_digests() -> None:
    families = [f"family {place}" for place, size in enumerate((3, 5, 2, *[1] * 12)) for _ in range(size)]
    sizes = Counter(families)
    order = sorted(sizes, key=lambda family: hashlib.sha256(family.encode()).digest())
    for number in range(1, 13):  # made up by families of one
        kept = fonts.whole_families(families, number)
        assert len(kept) == number
        assert kept == sorted(kept)
        taken = Counter(families[c] for c in kept)
        assert all(taken[family] == sizes[family] for family in taken)
        passed = [family for family in order if family not in taken]
        for family in passed:  # it was too large
            before = sum(taken[other] for other in order[: order.index(family)])
            assert before + sizes[family] > number


@pytest.mark.parametrize("number", [0, -1, 3, 7])
def test_whole_families_that_do_not_add_up_are_refused(number: int) -> None:
    families = ["a", "a", "b", "b", "c", "c"]
    assert len(fonts.whole_families(families, 4)) == 4
    with pytest.raises(ValueError, match=f"of the 6 styles do not add up to {number} classes"):
        fonts.whole_families(families, number)


def test_a_generalist_gets_the_sets_own_split(files: dict, folder: Path) -> None:
    write(files, folder)
    pictures, whole = fonts.load(6), fonts.split(*cases(made_up()))
    sizes = [len(part) for part in whole]
    split, fewer = (load.__wrapped__(Data("fonts", 6, number, sizes[2])) for number in (sizes[0], 40))
    assert (split.classes, len(split.fit), len(split.held_out), len(split.pictures.test_labels)) == (6, *sizes)
    for part, chosen in zip(("fit", "held_out", "test"), whole, strict=True):
        expected = torch.from_numpy(made_up().images[chosen.numpy()]).unsqueeze(1)
        assert torch.equal(split.images(part), expected)
    assert torch.equal(split.fit_labels, pictures.train_labels[: sizes[0]])
    assert torch.equal(split.held_out_labels, pictures.train_labels[sizes[0] :])
    assert torch.equal(fewer.fit, split.fit[:40])
    assert torch.equal(fewer.held_out, split.held_out)
    with pytest.raises(ValueError, match=rf"There are {sizes[0]} pictures to fit, not {sizes[0] + 1}\."):
        load.__wrapped__(Data("fonts", 6, sizes[0] + 1, 20))
    assert load.__wrapped__(Data("fonts by letter", 6, 40, 20)).pictures.name == "fonts by letter"


@pytest.mark.parametrize("name", ["fonts by hand", "fonts (small)", "fonts by letter by letter"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"Unknown fonts '{name}'".replace("(", r"\(").replace(")", r"\)")):
        load.__wrapped__(Data(name))


# How they are drawn


def dejavu(name: str) -> bytes:
    return (DEJAVU / f"{name}.ttf").read_bytes()


def test_characters_stand_on_the_baseline_in_the_middle() -> None:
    (picture,) = pictures(dejavu("DejaVuSans"), [ord("H")]).values()
    ink = np.frombuffer(picture, np.uint8).reshape(32, 32)
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    assert ink.max() == 255
    assert rows[-1] == 23  # the last above the baseline
    assert len(rows) == pytest.approx(0.73 * 24, abs=1)  # a capital's height
    assert (columns[0] + columns[-1] + 1) / 2 == pytest.approx(16, abs=1)


def test_blank_pictures_and_all_but_the_first_of_the_same_are_left_out() -> None:
    asked = [0x20, 0x41, 0x42, 0x391, 0x3A9]
    found = pictures(dejavu("DejaVuSans"), asked)
    assert list(found) == [0x41, 0x42, 0x3A9]  # no space, no Alpha
    assert all(len(picture) == 1024 for picture in found.values())
    assert len(set(found.values())) == 3


@pytest.mark.parametrize("number", [12, 13])
def test_placeholders_are_left_out(number: int) -> None:
    font, private = dejavu("DejaVuSans"), list(range(0xE100, 0xE100 + number))
    assert not set(private) & code_points(font)
    assert list(pictures(font, [0x41, *private])) == ([0x41, 0xE100] if number == 12 else [0x41])


def test_only_printable_characters_of_enough_fonts_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(font_rendering, "FONTS", 2)
    each = [{0x41, 0x20, 0xA0, 0x7F, 0xAD, 0x43}, {0x41, 0x20, 0xA0, 0x7F, 0xAD, 0xE000}, {0x43, 0x42, 0xE000}]
    assert font_rendering.shared(each) == [0x41, 0x43]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Two fonts that are classes, one that is none, and a file that is no font."""
    monkeypatch.setattr(font_rendering, "FONTS", 2)
    names = {"fonts/serif/DejaVuSerif.ttf": "DejaVuSerif", "fonts/sans/DejaVuSans.ttf": "DejaVuSans"}
    return {file: dejavu(name) for file, name in names.items()} | {
        "fonts/maths/Few.ttf": dejavu("cmr10"),
        "fonts/no/No.ttf": b"no font",
    }


def test_rendering_follows_the_rule(few: dict[str, bytes]) -> None:
    found, again = render(few), render(dict(reversed(few.items())))
    assert found.files == ("fonts/sans/DejaVuSans.ttf", "fonts/serif/DejaVuSerif.ttf")  # sorted; cmr10 has too few
    assert (found.images.dtype, found.styles.dtype, found.characters.dtype) == (np.uint8, np.int16, np.int32)
    assert found.images.shape == (len(found.styles), 32, 32) == (len(found.characters), 32, 32)
    order = list(zip(found.styles.tolist(), found.characters.tolist(), strict=True))
    assert order == sorted(set(order))
    has = {file: code_points(font) for file, font in few.items()}
    both = font_rendering.shared(has.values())
    for style, file in enumerate(found.files):
        chosen = found.styles == style
        expected = pictures(few[file], [point for point in both if point in has[file]])
        assert found.characters[chosen].tolist() == list(expected)
        assert found.images[chosen].tobytes() == b"".join(expected.values())
    assert found.images.tobytes() == again.images.tobytes()
    assert all(unicodedata.category(chr(point)) not in ("Zs", "Cc", "Cf") for point in found.characters)


def test_what_is_no_font_is_passed_over() -> None:
    assert code_points(b"no font") == set()
    assert pictures(b"no font", [0x41]) == {}


def test_a_character_that_freetype_gives_up_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = font_rendering.draw

    def fail(face: object, text: str) -> bytes:
        if text == "B":
            raise OSError("raster overflow")
        return draw(face, text)

    monkeypatch.setattr(font_rendering, "draw", fail)
    assert list(pictures(dejavu("DejaVuSans"), [0x41, 0x42, 0x43])) == [0x41, 0x43]


# From the fonts' repository


@pytest.fixture
def server(few: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Mirrors, not yet with the archive, of a repository whose rendering is the published one."""
    allow_downloads(tmp_path / "data", monkeypatch)
    monkeypatch.setattr(fonts, "FONTS", digests(few))
    monkeypatch.setattr(fonts, "FILES", digests(saved(render(few), tmp_path / "published")))
    with serve() as mirrors:
        monkeypatch.setattr(fonts, "MIRRORS", (f"{mirrors.url}/first.tar.gz#", f"{mirrors.url}/second#"))
        yield mirrors


def repository(files: dict[str, bytes]) -> bytes:
    return gz(tar(files | {"README.md": b"", "fonts/sans/OFL.txt": b"licence"}, fonts.FONT_FOLDER))


def answer(server: Server, packed: bytes) -> None:
    server.answers = {"/second": (200, packed, len(packed))}


def test_fonts_are_downloaded_and_rendered_once(few: dict[str, bytes], server: Server, tmp_path: Path) -> None:
    answer(server, repository(few))
    found = fonts.load(2)
    assert server.asked == ["/first.tar.gz", "/second"]
    assert found.class_names == ("DejaVuSans", "DejaVuSerif")
    assert found.superclass_names == ("sans", "serif")
    folder = tmp_path / "data" / "fonts"
    assert {path.name for path in folder.iterdir()} == {*fonts.FILES, fonts.FONT_ARCHIVE}
    (folder / fonts.FONT_ARCHIVE).unlink()
    assert same(fonts.load(2), found)
    assert len(server.asked) == 2


def test_an_archive_of_the_fonts_that_is_there_is_used_offline(
    few: dict[str, bytes], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILLATION_OFFLINE", "1")
    (tmp_path / "data" / "fonts").mkdir(parents=True)
    (tmp_path / "data" / "fonts" / fonts.FONT_ARCHIVE).write_bytes(repository(few))
    assert fonts.load(2).name == "fonts"
    assert server.asked == []


@pytest.mark.parametrize("what", ["altered", "missing", "truncated", "nothing"])
def test_other_fonts_are_refused(what: str, few: dict[str, bytes], server: Server, tmp_path: Path) -> None:
    file = "fonts/sans/DejaVuSans.ttf"
    files = few | {file: few["fonts/serif/DejaVuSerif.ttf"]}
    if what == "missing":
        files = {name: content for name, content in few.items() if name != file}
    packed = repository(files)
    if what != "nothing":
        answer(server, packed[: len(packed) // 2] if what == "truncated" else packed)
    said = {
        "altered": f"does not hold {file} as published (its digest differs): delete the file and run again",
        "missing": f"lacks {file}: delete the file and run again",
        "truncated": "is truncated",
        "nothing": "could not be downloaded",
    }[what]
    refusal(f"{fonts.FONT_ARCHIVE} {said}")
    assert not [name for name in fonts.FILES if (tmp_path / "data" / "fonts" / name).exists()]


def test_interrupted_download_leaves_nothing(few: dict[str, bytes], server: Server, tmp_path: Path) -> None:
    packed = repository(few)
    server.answers = {"/second": (200, packed[:1000], len(packed))}
    refusal(fonts.FONT_ARCHIVE, "could not be downloaded")
    assert list((tmp_path / "data" / "fonts").iterdir()) == []


def test_another_freetype_that_draws_otherwise_is_named(
    few: dict[str, bytes], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(server, repository(few))
    monkeypatch.setattr(fonts, "FILES", fonts.FILES | {"images.npy": "0" * 64})
    refusal("images.npy", fonts.WANTED, f"with FreeType {features.version('freetype2')}")
    assert [path.name for path in (tmp_path / "data" / "fonts").iterdir()] == [fonts.FONT_ARCHIVE]


def test_pictures_that_cannot_be_written_are_told(
    few: dict[str, bytes], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    answer(server, repository(few))
    monkeypatch.setattr(Renderings, "save", full)
    refusal(str(tmp_path / "data" / "fonts"), "cannot be written (No space left on device)")
    assert [path.name for path in (tmp_path / "data" / "fonts").iterdir()] == [fonts.FONT_ARCHIVE]


def test_the_list_names_the_fonts_by_path() -> None:
    assert len(fonts.FONTS) == 1_647
    assert list(fonts.FONTS) == sorted(fonts.FONTS)
    assert all(file.startswith("fonts/") and file.count("/") == 2 and file.endswith(".ttf") for file in fonts.FONTS)
    assert {len(digest) for digest in fonts.FONTS.values()} == {64}


# What is embedded


def test_embedded_tenth_loads() -> None:
    data = fonts.load_embedded()
    assert data.name == "fonts (embedded)"
    assert len(data.class_names) == 146
    assert len(data.superclass_names) == 62
    assert len(data.train_labels) + len(data.test_labels) == 53_611
    assert data.held_out == 5_407
    assert min(torch.cat([data.train_labels, data.test_labels]).bincount()) >= font_rendering.FEWEST
    note = (fonts.EMBEDDED.parent / "README.md").read_text("utf-8")
    assert [family for family in data.superclass_names if family not in note.split()] == []
    assert fonts.EMBEDDED.stat().st_size < 3.5e6


def test_fewer_embedded_classes_are_for_the_generalist() -> None:
    split = load.__wrapped__(Data("fonts (embedded)", 20, 1_000, 640))
    assert (split.classes, len(split.fit)) == (20, 1_000)


@pytest.mark.parametrize("what", ["missing", "truncated", "altered"])
def test_damaged_embedded_tenth_is_refused(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "fonts-small" / "fonts-small.tar.xz"
    copy.parent.mkdir()
    if what == "truncated":
        copy.write_bytes(fonts.EMBEDDED.read_bytes()[:100_000])
    elif what == "altered":
        copy.write_bytes(tar(saved(made_up(), tmp_path / "other")))
    monkeypatch.setattr(fonts, "EMBEDDED", copy)
    with pytest.raises(DataError, match=r"fonts-small/fonts-small\.tar\.xz.*git checkout -- data/fonts-small/"):
        fonts.load_embedded()


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = [os.environ.get("DISTILLATION_DATA"), REPOSITORY / "data", REPOSITORY / "../shared/data"]
    for candidate in filter(None, candidates):
        there = {path.name for path in (Path(candidate) / "fonts").glob("*")}
        if there >= set(fonts.FILES) or "fonts-32.tar.xz" in there:
            monkeypatch.setenv("DISTILLATION_DATA", str(candidate))
            return
    pytest.skip("The font styles are not here.")


def test_real_fonts_load_and_the_embedded_tenth_is_of_them(real: None, monkeypatch: pytest.MonkeyPatch) -> None:
    source = fonts._source()
    renderings = fonts.read(source, fonts.FILES)
    monkeypatch.setattr(fonts, "_source", lambda: source)
    monkeypatch.setattr(fonts, "read", lambda *_: renderings)
    data = fonts.load()
    assert data.train_images.shape == (474_865, 1, 32, 32)
    assert data.test_images.shape == (52_578, 1, 32, 32)
    assert data.held_out == 52_783
    assert (len(data.class_names), len(data.superclass_names)) == (1_463, 732)
    assert data.superclass_names[data.superclasses[data.class_names.index("Lato-Bold")]] == "lato"
    tenth: Pictures = fonts.load(fonts.EMBEDDED_CLASSES)
    monkeypatch.undo()
    embedded = fonts.load_embedded()
    assert embedded.held_out == tenth.held_out
    assert same(embedded, Pictures(**vars(tenth) | {"name": embedded.name}))
