"""Section 5: the generalist, a convnet that knows all classes, and the pictures that all of sections 5 to 8 share."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillation.core.objectives import check_finite, class_labels
from distillation.core.store import Configuration, Store
from distillation.core.training import Optimisation, device, logits_of, train
from distillation.specialists.convnets import residual_net, strided_net
from distillation.specialists.data import Pictures, check_pictures, cifar100, fonts

CHUNK = 65_536  # pictures whose logits lie in memory together, where there are many
HELD_OUT = 10  # one training picture in so many is held out for every choice


@dataclass(frozen=True)
class Data:
    """Which pictures: name "cifar-100" or "fonts"; how many classes, pictures to fit and test pictures.

    fonts: also "fonts (embedded)", and either with " by letter" (see `data.fonts`); classes are whole families; what is
    held out and tested is the set's own rule.
    """

    name: str = "cifar-100"
    classes: int = 100
    cases: int = 45_000
    test: int = 10_000


@dataclass(frozen=True)
class Generalist(Configuration):
    """A convnet trained on the hard labels of all classes: `convnets.strided_net` on font styles, else `residual_net`.

    optimisation.jitter: pixels by which pictures are shifted; mirror: half of them are mirrored, too.
    """

    experiment: ClassVar[str] = "generalists"

    data: Data = Data()
    widths: tuple[int, ...] = (64, 128, 256)
    optimisation: Optimisation = Optimisation(epochs=25, batch_size=128, learning_rate=0.1, jitter=4)
    weight_decay: float = 5e-4
    mirror: bool = True
    seed: int = 0
    threads: int = 1

    def run(self, store: Store) -> dict:
        """Train and evaluate a generalist; return {"metrics": {...}, "history": [...]}.

        Metrics: accuracy (test), held_out_accuracy and fit_accuracy in percent, parameters and pictures_seen.  Weights,
        and the logits of the held-out and test pictures, are written beside the record.
        """
        split = load(self.data)
        torch.manual_seed(self.seed)
        model = build(self, split)
        labels = split.pictures.train_labels.to(device())
        history = train(
            model,
            training_batches(self.data, self.optimisation.jitter, self.mirror),
            lambda logits, index: F.cross_entropy(logits, labels[index]),
            self.optimisation,
            weight_decay=self.weight_decay,
            order=lambda: split.fit[torch.randperm(len(split.fit))],
            checkpoint=store.checkpoint(self),
        )
        logits = logits_on(model, split, ("held_out", "test"))
        store.write_tensors(self, weights(model) | logits)
        metrics = accuracies(logits, split) | {
            "fit_accuracy": fit_accuracy(model, split),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "cases": len(split.fit),
            "pictures_seen": len(history) * len(split.fit),
        }
        return {"metrics": metrics, "history": history}


@dataclass(frozen=True)
class Split:
    """The pictures with the training cases divided: fit and held_out (cases,) are indices into the training set."""

    pictures: Pictures
    fit: Tensor
    held_out: Tensor

    def images(self, part: str) -> Tensor:
        """The pictures of part "fit", "held_out" or "test"; those that lie side by side are not copied."""
        if part == "test":
            return self.pictures.test_images
        images, cases = self.pictures.train_images, {"fit": self.fit, "held_out": self.held_out}[part]
        if len(cases) and (cases.diff() == 1).all():
            return images[cases[0] : cases[0] + len(cases)]
        return images[cases]

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.pictures.class_names)

    @property
    def fit_labels(self) -> Tensor:
        """The labels of the fitted cases."""
        return self.pictures.train_labels[self.fit]

    @property
    def held_out_labels(self) -> Tensor:
        """The labels of the held-out cases."""
        return self.pictures.train_labels[self.held_out]


@dataclass(frozen=True)
class Batches:
    """Pictures of which batches are gathered, shifted and mirrored at random.

    padded: (cases, 1, height, width, channels) uint8 with a margin of `shift` zeros on every side, or (cases, 2, ...)
    with their mirror images.
    """

    padded: Tensor
    shift: int

    @classmethod
    def of(cls, pictures: Tensor, shift: int = 0, mirror: bool = False) -> "Batches":
        """Of pictures (cases, channels, height, width) uint8, shifted by up to so many pixels in either direction.

        Grey ones that are neither shifted nor mirrored are not copied.
        """
        check_pictures(pictures, "pictures")
        padded = F.pad(pictures, (shift,) * 4) if shift else pictures
        both = torch.stack([padded, padded.flip(-1)], 1) if mirror else padded.unsqueeze(1)
        return cls(both.permute(0, 1, 3, 4, 2).contiguous(), shift)  # channels last, as the convolutions want them

    def __len__(self) -> int:
        return len(self.padded)

    def gatherer(self, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """A function from case indices to a batch (len(indices), channels, height, width), about -2 to 2.

        Shift and mirror image are one gather from a view of the padded pictures.
        """
        height, width = (side - 2 * self.shift for side in self.padded.shape[2:4])
        windows = self.padded.to(device).unfold(2, height, 1).unfold(3, width, 1)

        def gather(index: Tensor) -> Tensor:
            mirrored = torch.randint(windows.shape[1], (len(index),), device=index.device)
            shifts = torch.randint(windows.shape[2], (2, len(index)), device=index.device)
            chosen = windows[index, mirrored, shifts[0], shifts[1]]
            return chosen.to(dtype).sub_(127.5).div_(64).contiguous(memory_format=torch.channels_last)

        return gather


@lru_cache(maxsize=2)
def load(data: Data) -> Split:
    """The pictures of a configuration, read once per process.  Raises ValueError for an unknown name."""
    if data.name == "cifar-100":
        pictures = cifar100.load()
    elif data.name.startswith("fonts"):
        pictures = fonts.named(data.name, data.classes)
    else:
        raise ValueError(f"Unknown data set {data.name!r}: use 'cifar-100' or 'fonts'.")
    if data.classes != len(pictures.class_names):
        raise ValueError(f"{data.name} has {len(pictures.class_names)} classes, not {data.classes}.")
    cases = len(pictures.train_labels)
    if pictures.held_out is None:
        order = torch.randperm(cases, generator=torch.Generator().manual_seed(0))
        fitted = cases - cases // HELD_OUT
    else:
        order = torch.arange(cases)
        fitted = cases - pictures.held_out
    if not 0 < data.cases <= fitted:
        raise ValueError(f"There are {fitted:,} pictures to fit, not {data.cases:,}.")
    tested = len(pictures.test_labels)
    if not 0 < data.test <= tested:
        raise ValueError(f"There are {tested:,} test pictures, not {data.test:,}.")
    images, labels = pictures.test_images[: data.test], pictures.test_labels[: data.test]
    pictures = replace(pictures, test_images=images, test_labels=labels)
    return Split(pictures, order[: data.cases], order[fitted:])


def build(config: Generalist, split: Split) -> nn.Sequential:
    """The untrained net of a configuration."""
    return net_for(config.data, split, config.widths, split.classes)


def net_for(data: Data, split: Split, widths: tuple[int, ...], outputs: int) -> nn.Sequential:
    """An untrained net for these pictures: residual, but for characters, which need no such depth."""
    kind = strided_net if data.name.startswith("fonts") else residual_net
    return kind(split.pictures.train_images.shape[1], widths, outputs)


def restore(config: Generalist, store: Store) -> nn.Sequential:
    """The trained net of a finished run."""
    model = build(config, load(config.data))
    saved = store.tensors(config)
    model.load_state_dict({name: saved[f"weights.{name}"] for name in model.state_dict()})
    return model


@lru_cache(maxsize=1)
def fit_logits(config: Generalist, store: Store) -> Tensor:
    """The logits (cases, classes) of a finished run on its fitted pictures, made from its weights, once per process."""
    with torch.random.fork_rng():  # what builds nets and gathers pictures draws numbers
        return logits_on(restore(config, store), load(config.data), ("fit",))["fit"]


@lru_cache(maxsize=1)
def training_batches(data: Data, shift: int, mirror: bool) -> Batches:
    """All training pictures of a configuration, held-out ones too, built once per process."""
    return Batches.of(load(data).pictures.train_images, shift, mirror)


def logits_on(model: nn.Module, split: Split, parts: tuple[str, ...]) -> dict[str, Tensor]:
    """The logits (cases, outputs) of the pictures of parts "fit", "held_out" or "test", by name."""
    return {part: logits_of(model, Batches.of(split.images(part)), precision="bf16") for part in parts}


def accuracies(logits: dict[str, Tensor], split: Split) -> dict:
    """Top-1 accuracy in percent, by part.  Raises ValueError for logits that are not finite."""
    labels = {"held_out": split.held_out_labels, "test": split.pictures.test_labels}
    names = {"held_out": "held_out_accuracy", "test": "accuracy"}
    return {
        names[part]: percent_right(check_finite(found, f"{part} logits").argmax(1), labels[part])
        for part, found in logits.items()
    }


def fit_accuracy(model: nn.Module, split: Split) -> float:
    """Top-1 accuracy in percent on the fitted pictures, whose logits would be many: some at a time."""
    images = split.images("fit")
    chunks = torch.arange(len(images)).split(CHUNK)
    answers = [logits_of(model, Batches.of(images[chunk]), precision="bf16").argmax(1) for chunk in chunks]
    return percent_right(torch.cat(answers), split.fit_labels)


def percent_right(predicted: Tensor, labels: Tensor) -> float:
    """Accuracy in percent; both (cases,) class indices.  Raises ValueError for others."""
    predicted = class_labels(predicted, name="predicted classes")
    labels = class_labels(labels, cases=len(predicted))
    return 100 * (predicted == labels).double().mean().item()


def weights(model: nn.Module) -> dict[str, Tensor]:
    """A model's state as named tensors to be stored."""
    return {f"weights.{name}": value.cpu() for name, value in model.state_dict().items()}
