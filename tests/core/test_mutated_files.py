"""200 mutations of each kind of file: refused in one sentence, or without effect; never other content unnoticed."""

import gzip
import json
import lzma
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small_cifar100
import torch
from safetensors.torch import save_file
from small_an4 import Archive

from distillation.core import examples
from distillation.core.data import DataError
from distillation.core.store import Store, StoreError
from distillation.core.sweep import Results
from distillation.core.training import Optimisation, train
from distillation.mnist import data as mnist
from distillation.mnist.nets import Net, Student
from distillation.specialists.data import cifar100
from distillation.speech.data import an4, embedded

MUTATIONS = 200
REMEDY = "delete the file and run again, or set DISTILLATION_DATA to a folder with a whole copy"
KINDS = ("bit flips", "truncation", "swapped blocks", "zeroed range", "duplicated chunk")
CONFIG = Student(Net("digits", seed=3), omit=(3,))
RECORD = {
    "metrics": {"errors": 7, "errors_by_class": [1, 0, 2, 4], "bias": {"none": {"shift": 0.0, "errors": 12}}},
    "history": [{"loss": 0.53125}, {"loss": 0.25}],
    "seconds": 1.25,
}


def mutated(content: bytes, number: int) -> bytes:
    """Another content; the last of the mutations is the empty one."""
    if number == MUTATIONS - 1:
        return b""
    draw = random.Random(number)
    changed = bytearray(content)
    while changed == content:
        start, length = draw.randrange(len(content)), draw.randint(1, max(1, len(content) // 8))
        match KINDS[number % len(KINDS)]:
            case "bit flips":
                for place in [start, *(draw.randrange(len(content)) for _ in range(draw.randrange(3)))]:
                    changed[place] ^= 1 << draw.randrange(8)
            case "truncation":
                del changed[start:]
            case "swapped blocks":
                length = min(length, len(content) // 2)
                one = draw.randrange(len(content) - 2 * length + 1)
                two = draw.randrange(one + length, len(content) - length + 1)
                first, second = changed[one : one + length], changed[two : two + length]
                changed[one : one + length], changed[two : two + length] = second, first
            case "zeroed range":
                changed[start : start + length] = bytes(len(changed[start : start + length]))
            case "duplicated chunk":
                changed[start:start] = changed[start : start + length]
    return bytes(changed)


def outcomes(path: Path, load: Callable[[], Any], same: Callable[[Any], bool], words: tuple[str, ...]) -> Counter[str]:
    """How many mutations of a file were refused (in a sentence with these words), without effect, or neither."""
    whole = path.read_bytes()
    assert same(load())
    found = Counter()
    for number in range(MUTATIONS):
        path.write_bytes(mutated(whole, number))
        try:
            content = load()
        except (DataError, StoreError) as error:
            message = str(error)
            assert "\n" not in message
            assert len(message) < 400
            assert all(word in message for word in words), message
            found["refused"] += 1
        else:
            found["without effect" if same(content) else "other content"] += 1
    path.write_bytes(whole)
    print(path.name, dict(found))
    assert found.total() == MUTATIONS
    return found


def only_refused(found: Counter[str], without_effect: int) -> bool:
    """Whether no mutation gave other content and only so many had no effect."""
    return found["other content"] == 0 and found["without effect"] <= without_effect


def test_mnist(mnist_folder: Path) -> None:
    before = mnist.load_mnist()
    parts = ("train_images", "train_labels", "test_images", "test_labels")

    def same(data: Any) -> bool:
        return all(torch.equal(getattr(data, part), getattr(before, part)) for part in parts)

    for name in mnist.FILES:
        path = mnist_folder / f"{name}.gz"
        # The labels' files are so small that some mutations hit the header's time, system or level alone.
        assert only_refused(outcomes(path, mnist.load_mnist, same, (path.name, REMEDY)), 20), name


def test_an4(archive: Archive) -> None:
    before = an4.load_an4()

    def contents(data: Any) -> list:
        everything = data.train + data.development + data.test
        return [data.lexicon, *((each.name, each.speaker, each.words, each.samples.tobytes()) for each in everything)]

    found = outcomes(archive.path, an4.load_an4, lambda data: contents(data) == contents(before), (an4.ARCHIVE, REMEDY))
    assert only_refused(found, 5), found


@pytest.mark.parametrize("name", ["train/an251-fash-b.flac", "utterances.txt", "lexicon.txt"])
def test_embedded_speech(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "FOLDER", shutil.copytree(embedded.FOLDER, tmp_path / "an4-small"))
    digest = embedded.read_text("utterances.txt")[0].split()[0]  # of the first utterance, which is this one

    def load() -> Any:
        return embedded.read_samples(name, digest).tobytes() if name.endswith("flac") else embedded.read_text(name)

    before = load()
    found = outcomes(tmp_path / "an4-small" / name, load, lambda content: content == before, (name, "git checkout"))
    assert only_refused(found, 20), found


@pytest.mark.parametrize(
    ("name", "pack"), [(small_cifar100.GZ, gzip.compress), (small_cifar100.XZ, lzma.compress)], ids=["gz", "xz"]
)
def test_cifar_100(name: str, pack: Callable[[bytes], bytes], cifar_folder: Path) -> None:
    before = cifar100.load()
    (cifar_folder / small_cifar100.GZ).unlink()
    path = cifar_folder / name
    path.write_bytes(pack(small_cifar100.tar(small_cifar100.contents())))
    found = outcomes(path, cifar100.load, lambda data: small_cifar100.same(data, before), (path.name, REMEDY))
    assert only_refused(found, 20), found


def test_record(store: Store) -> None:
    store.write(CONFIG, RECORD)
    before = store.read(CONFIG)
    words = (store.path(CONFIG).name, "Delete it and run again.")
    found = outcomes(store.path(CONFIG), lambda: store.read(CONFIG), lambda record: record == before, words)
    assert only_refused(found, 5), found


def test_record_without_a_digest_is_refused(store: Store) -> None:
    store.write(CONFIG, RECORD)
    record = json.loads(store.path(CONFIG).read_text())
    del record["digest"]
    store.path(CONFIG).write_text(json.dumps(record))
    with pytest.raises(StoreError, match=r"is damaged .*Delete it and run again"):
        store.read(CONFIG)


def test_weights(store: Store) -> None:
    tensors = {"0.weight": torch.randn(20, 30), "train_logits": torch.randn(40, 10), "labels": torch.arange(9).short()}
    store.write_tensors(CONFIG, tensors)
    words = (store.tensors_path(CONFIG).name, "Delete it and run again.")
    found = outcomes(
        store.tensors_path(CONFIG), lambda: store.tensors(CONFIG), lambda content: same_tensors(content, tensors), words
    )
    assert only_refused(found, 5), found


def test_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    results = Results(SimpleNamespace(name="smoke"), {})
    results.store.write_tensors(CONFIG, {"weight": torch.ones(2)})
    results.store.write(CONFIG, RECORD)
    tensors = {"images": torch.arange(60).reshape(3, 20)}
    examples.make(results, "digits", [CONFIG], lambda: (tensors, "three digits"))
    path = examples.path_of(results, "digits")

    def load() -> examples.Cases:
        return examples.read(results, "digits", [CONFIG])

    def same(content: examples.Cases) -> bool:
        return same_tensors(content[0], tensors) and content[1] == "three digits"

    found = outcomes(path, load, same, (path.name, "run ./run_all.sh smoke"))
    assert only_refused(found, 5), found
    save_file(tensors, path, {"described": "three digits", "sources": "mnist/1"})  # without a digest
    with pytest.raises(StoreError, match=r"is damaged .* run \./run_all\.sh smoke"):
        load()


def same_tensors(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a)


def test_weights_without_a_digest_are_read(store: Store) -> None:
    """As they were written before there was one."""
    tensors = {"weight": torch.randn(3, 4)}
    store.tensors_path(CONFIG).parent.mkdir(parents=True)
    save_file(tensors, store.tensors_path(CONFIG))
    assert same_tensors(store.tensors(CONFIG), tensors)


def test_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A run continues from it or says that it starts again; either way it ends as an undisturbed one."""
    path = tmp_path / "1.checkpoint.safetensors"
    inputs = torch.randn(16, 5)
    saved = {}

    def keep(_: torch.nn.Module) -> dict:
        if path.exists():
            saved["after an epoch"] = path.read_bytes()
        return {}

    def run(seconds: float) -> list:
        """The history and the weights of a net whose checkpoint is saved that often."""
        monkeypatch.setattr("distillation.core.training.CHECKPOINT_SECONDS", seconds)
        torch.manual_seed(1)
        model = torch.nn.Linear(5, 2)
        settings = Optimisation(2, 16, learning_rate=0.01)
        history = train(
            model, inputs, lambda logits, _: logits.square().mean(), settings, checkpoint=path, after_epoch=keep
        )
        return [history, *(value.tolist() for value in model.state_dict().values())]

    before = run(seconds=-1)
    whole = saved["after an epoch"]
    path.write_bytes(whole)
    assert run(seconds=1000) == before
    assert not capsys.readouterr().out
    found = Counter()
    for number in range(MUTATIONS):
        path.write_bytes(mutated(whole, number))
        assert run(seconds=1000) == before, number
        found["starts again" if "is damaged; the run starts again" in capsys.readouterr().out else "continues"] += 1
    print(found)
    assert found.total() == MUTATIONS
    assert found["continues"] <= 5
