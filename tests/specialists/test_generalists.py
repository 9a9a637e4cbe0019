"""The pictures and how they are divided, batches of them, and the generalist on a few styles of type."""

import itertools
import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from distillation.core.store import Configuration, Store
from distillation.core.training import Optimisation, logits_of
from distillation.specialists import generalists
from distillation.specialists.data import Pictures
from distillation.specialists.generalists import Batches, Data, Generalist, Split, load

# Batches


@pytest.mark.parametrize("channels", [1, 3])
def test_without_shift_a_batch_is_the_pictures_scaled(channels: int) -> None:
    pictures = torch.randint(256, (6, channels, 8, 10), dtype=torch.uint8)
    index = torch.tensor([3, 0, 3])
    batch = Batches.of(pictures).gatherer(torch.device("cpu"), torch.float32)(index)
    assert torch.equal(batch, (pictures[index].float() - 127.5) / 64)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert len(Batches.of(pictures)) == 6
    coarse = Batches.of(pictures).gatherer(torch.device("cpu"), torch.bfloat16)(index)
    assert coarse.dtype is torch.bfloat16
    assert torch.equal((coarse.float() * 64 + 127.5).to(torch.uint8), pictures[index])


@pytest.mark.parametrize(("shift", "mirror"), [(1, False), (1, True), (0, True), (2, True)])
def test_every_picture_is_one_of_the_windows_and_every_window_occurs(shift: int, mirror: bool) -> None:
    pictures = torch.randint(1, 256, (3, 2, 5, 4), dtype=torch.uint8)
    gather = Batches.of(pictures, shift, mirror).gatherer(torch.device("cpu"), torch.float32)
    index = torch.arange(3).repeat(400)
    padded = F.pad(pictures, (shift,) * 4)
    span = range(2 * shift + 1)
    allowed = {}
    for case, flipped, y, x in itertools.product(range(3), range(1 + mirror), span, span):
        window = padded[case, :, y : y + 5, x : x + 4]
        window = F.pad(pictures[case].flip(-1), (shift,) * 4)[:, y : y + 5, x : x + 4] if flipped else window
        allowed[case, window.numpy().tobytes()] = (flipped, y, x)
    batch = (gather(index) * 64 + 127.5).to(torch.uint8)
    found = [allowed[int(case), image.contiguous().numpy().tobytes()] for case, image in zip(index, batch, strict=True)]
    assert len(set(found)) == (1 + mirror) * len(span) ** 2
    assert not torch.equal(gather(index), gather(index))


# The pictures


def pictures(superclasses: tuple[int, ...], cases: int = 60) -> Pictures:
    classes = len(superclasses)
    images = torch.arange(cases, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32).contiguous()
    labels = torch.arange(cases) % classes
    names = tuple(f"class {c}" for c in range(classes))
    return Pictures("cifar-100", images, labels, images + 100, labels.flip(0), names, superclasses, ("a", "b", "c"))


def test_split_is_fixed_disjoint_and_fewer_cases_are_the_first_of_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generalists.cifar100, "load", lambda: pictures((2, 0, 1, 0, 2, 1)))
    whole, again, half = (load.__wrapped__(Data(classes=6, cases=cases, test=60)) for cases in (54, 54, 20))
    assert (len(whole.fit), len(whole.held_out)) == (54, 6)
    assert sorted(torch.cat([whole.fit, whole.held_out]).tolist()) == list(range(60))
    assert whole.fit.tolist() != sorted(whole.fit.tolist())
    assert torch.equal(whole.fit, again.fit)
    assert torch.equal(half.fit, whole.fit[:20])
    assert torch.equal(half.held_out, whole.held_out)
    assert torch.equal(whole.fit_labels, whole.fit % 6)
    assert torch.equal(whole.held_out_labels, whole.held_out % 6)
    assert whole.classes == 6
    few = load.__wrapped__(Data(classes=6, cases=54, test=7))
    assert torch.equal(few.pictures.test_labels, whole.pictures.test_labels[:7])
    assert torch.equal(few.images("test"), whole.images("test")[:7])
    with pytest.raises(ValueError, match=r"cifar-100 has 6 classes, not 4\."):
        load.__wrapped__(Data(classes=4, cases=36, test=60))
    for test in (0, 61):
        with pytest.raises(ValueError, match=rf"There are 60 test pictures, not {test}\."):
            load.__wrapped__(Data(classes=6, cases=54, test=test))
    for cases in (0, -1, 55):
        with pytest.raises(ValueError, match=rf"There are 54 pictures to fit, not {cases}\."):
            load.__wrapped__(Data(classes=6, cases=cases, test=60))


def test_an_unknown_data_set_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Unknown data set 'imagenet': use 'cifar-100' or 'fonts'\."):
        load(Data("imagenet"))


# The generalist


def test_metrics_agree_with_logits_and_weights(generalist: Generalist, split: Split, made: Store) -> None:
    found, tensors = made.metrics(generalist), made.tensors(generalist)
    assert "fit" not in tensors
    tensors["fit"] = generalists.fit_logits(generalist, made)
    labels = {"fit": split.fit_labels, "held_out": split.held_out_labels, "test": split.pictures.test_labels}
    for part, name in {"fit": "fit_accuracy", "held_out": "held_out_accuracy", "test": "accuracy"}.items():
        assert tensors[part].shape == (len(labels[part]), 24)
        assert found[name] == pytest.approx(100 * (tensors[part].argmax(1) == labels[part]).float().mean().item())
    assert found["fit_accuracy"] > 6  # 4 by chance: it learnt something
    assert (found["cases"], found["pictures_seen"]) == (720, 4320)
    model = generalists.restore(generalist, made)
    assert found["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    images = split.pictures.train_images
    for part, cases in {"fit": split.fit, "held_out": split.held_out}.items():
        torch.testing.assert_close(logits_of(model, Batches.of(images[cases])), tensors[part])
    history = made.read(generalist)["history"]
    assert len(history) == 6
    assert history[-1]["loss"] < history[0]["loss"]


@pytest.mark.parametrize(
    ("name", "changes", "holds_out"),
    [
        ("generalist", {"seed": 1}, True),
        ("specialist", {}, True),
        ("specialist", {"softmax": "full"}, True),
        ("mixture", {}, True),
        ("distilled", {}, True),
        ("distilled", {"held_out": True}, False),
    ],
)
def test_held_out_pictures_are_never_trained_on(
    name: str,
    changes: dict,
    holds_out: bool,
    brief: Optimisation,
    split: Split,
    made: Store,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config: Configuration = replace(request.getfixturevalue(name), optimisation=brief, **changes)
    for part in config.starts_from(made):
        made.read(part)
    seen, gatherer = set(), Batches.gatherer

    def watched(batches: Batches, *arguments):
        gather = gatherer(batches, *arguments)
        if len(batches) < len(split.pictures.train_labels):
            return gather
        return lambda index: seen.update(index.tolist()) or gather(index)

    monkeypatch.setattr(Batches, "gatherer", watched)
    config.run(made)
    assert seen
    if holds_out:
        assert seen <= set(split.fit.tolist())
    else:
        assert seen <= {*split.fit.tolist(), *split.held_out.tolist()}
        assert seen & set(split.held_out.tolist())


def test_the_same_generalist_gives_the_same_record_and_another_seed_another_net(
    generalist: Generalist, brief: Optimisation, made: Store
) -> None:
    before = made.read(generalist)
    torch.manual_seed(123)  # the caller's generator does not matter
    again = generalist.run(made)
    assert json.loads(json.dumps(again["metrics"])) == before["metrics"]
    assert again["history"] == before["history"]
    brief = replace(brief, learning_rate=0.2)
    others = [replace(generalist, optimisation=brief, seed=seed) for seed in (0, 1)]
    assert len({config.run(made)["history"][0]["loss"] for config in others}) == 2
