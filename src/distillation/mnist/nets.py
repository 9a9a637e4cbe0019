"""Sections 2 and 3: nets trained on hard labels, and students trained on the outputs of others."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillation.core import objectives
from distillation.core.models import mlp
from distillation.core.objectives import class_labels
from distillation.core.store import Configuration, Store
from distillation.core.training import Diverged, Optimisation, device, logits_of, train
from distillation.mnist import data as files
from distillation.mnist.data import Images
from distillation.mnist.limits import logit_matching_loss


@dataclass(frozen=True)
class Net(Configuration):
    """A net trained on hard labels.

    cases: which training cases it sees: "all", "fit" (all but 10,000 held out, a sixth of the set; such a net is
    evaluated on the held-out ones, never on the test set), "first half" or "second half".  size: only so many of them.
    """

    experiment: ClassVar[str] = "mnist"

    dataset: str = "mnist"
    hidden: tuple[int, ...] = (800, 800)
    input_dropout: float = 0.0
    hidden_dropout: float = 0.0
    cases: str = "all"
    size: int | None = None
    optimisation: Optimisation = Optimisation(epochs=20)
    seed: int = 0
    threads: int = 1

    def run(self, store: Store) -> dict:
        """`train_and_score`."""
        return train_and_score(self, store)


@dataclass(frozen=True)
class Ensemble:
    """Several nets whose distributions are averaged; mean: "arithmetic" or "geometric"."""

    members: tuple[Net, ...]
    mean: str = "arithmetic"

    @property
    def dataset(self) -> str:
        return self.members[0].dataset


@dataclass(frozen=True)
class Shifted(Configuration):
    """A teacher's outputs on the training images and on these shifted by a pixel: a larger transfer set, unlabelled."""

    experiment: ClassVar[str] = "mnist"

    teacher: Net
    threads: int = 1

    @property
    def dataset(self) -> str:
        return self.teacher.dataset

    def run(self, store: Store) -> dict:
        """Ask the teacher; its outputs on `transfer_images` are written beside the record."""
        data = load(self.dataset)
        model, saved = build(self.teacher, data), store.tensors(self.teacher)
        model.load_state_dict({name: saved[name] for name in model.state_dict()})
        logits = logits_of(model, as_floats(transfer_images(self, data)))
        store.write_tensors(self, {"train_logits": logits.half()})
        return {"metrics": {"train_cases": len(logits)}, "history": []}


@dataclass(frozen=True)
class Student(Configuration):
    """A net trained on a teacher's outputs, without dropout and max-norm.

    objective: "distillation" (equation 1 with the hard targets' weight), "logits" (squared error of zero-meaned logits)
    or "mixed labels" (the labels mixed into the soft targets with hard_weight).  omit: classes left out of the transfer
    set.  cases and size as in `Net`.
    """

    experiment: ClassVar[str] = "mnist"

    teacher: Net | Ensemble | Shifted
    hidden: tuple[int, ...] = (800, 800)
    objective: str = "distillation"
    temperature: float = 20.0
    hard_weight: float = 0.0
    omit: tuple[int, ...] = ()
    cases: str = "all"
    size: int | None = None
    optimisation: Optimisation = Optimisation(epochs=20)
    seed: int = 0
    threads: int = 1

    @property
    def dataset(self) -> str:
        return self.teacher.dataset

    def run(self, store: Store) -> dict:
        """`train_and_score`."""
        return train_and_score(self, store)


def train_and_score(config: Net | Student, store: Store) -> dict:
    """Train and evaluate one net; return {"metrics": {...}, "history": [...]}.

    Metrics: errors among `evaluated` cases (test, or held-out for cases="fit"), errors_by_class, train_errors, and for
    omitted classes the `bias` variants.  Weights and logits are written beside the record.  A diverged run is a result
    too: errors is null and `diverged` says where.
    """
    data = load(config.dataset)
    chosen = training_cases(data, config)
    inputs = as_floats(transfer_images(getattr(config, "teacher", None), data)[chosen])
    torch.manual_seed(config.seed)
    model = build(config, data)
    held_out = config.cases == "fit"
    scored_images, scored_labels = evaluation_cases(data, config.cases)
    scored = as_floats(scored_images)

    def held_out_errors(model: nn.Module) -> dict:
        return {"held_out_errors": errors(logits_of(model, scored, precision="bf16"), scored_labels)}

    loss = loss_of(config, data, chosen, store)
    try:
        history = train(
            model,
            inputs,
            loss,
            config.optimisation,
            checkpoint=store.checkpoint(config),
            after_epoch=held_out_errors if held_out else None,
        )
        logits = logits_of(model, scored)
        train_logits = logits_of(model, as_floats(data.train_images))
        wrong = mistakes(logits, scored_labels)
        labelled = chosen[chosen < len(train_logits)]
        train_errors = errors(train_logits[labelled], data.train_labels[labelled])
    except Diverged as reason:
        return {"metrics": {"errors": None, "evaluated": len(scored), "diverged": str(reason)}, "history": []}
    metrics = {
        "errors": int(wrong.sum()),
        "evaluated": len(scored),
        "errors_by_class": [int(wrong[scored_labels == c].sum()) for c in range(len(data.class_names))],
        "train_errors": train_errors,
        "train_cases": len(chosen),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    if isinstance(config, Student) and config.omit:
        metrics["bias"] = corrected_biases(logits, scored_labels, train_logits, data.train_labels, config.omit)
    weights = {name: value.cpu() for name, value in model.state_dict().items()}
    # In half precision: what students start from is small enough to be taken away without the weights.
    store.write_tensors(config, weights | {"train_logits": train_logits.half(), "scored_logits": logits.half()})
    return {"metrics": metrics, "history": history}


def members(teacher: Net | Ensemble | Shifted) -> tuple[Net | Shifted, ...]:
    """The runs whose outputs make a teacher's."""
    return teacher.members if isinstance(teacher, Ensemble) else (teacher,)


@lru_cache(maxsize=2)
def load(name: str) -> Images:
    """The data set, read once per process."""
    return files.load(name)


def as_floats(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1].  Raises ValueError for any other type."""
    if images.dtype != torch.uint8:
        raise ValueError(f"The images are {images.dtype}; pass uint8 from 0 for the background to 255.")
    return images.float() / 255


def build(config: Net | Student, data: Images) -> nn.Sequential:
    """The untrained net of a configuration."""
    sizes = (data.train_images[0].numel(), *config.hidden, len(data.class_names))
    if isinstance(config, Net):
        return mlp(sizes, input_dropout=config.input_dropout, hidden_dropout=config.hidden_dropout)
    return mlp(sizes)


def transfer_images(teacher: Net | Ensemble | Shifted | None, data: Images) -> Tensor:
    """The training images, for `Shifted` followed by these shifted by a pixel down, up, right and left."""
    images = data.train_images
    if not isinstance(teacher, Shifted):
        return images
    return torch.cat([images, *(images.roll(way, axis) for axis in (1, 2) for way in (1, -1))])


def training_cases(data: Images, config: Net | Student) -> Tensor:
    """Indices into `transfer_images` of the cases that a configuration is trained on, in a fixed random order."""
    order = _fixed_order(data)
    if isinstance(getattr(config, "teacher", None), Shifted):
        if config.omit or config.cases != "all" or config.hard_weight:
            raise ValueError("A transfer set of shifted images has no labels and is used whole.")
        order = torch.cat([order + copy * len(order) for copy in range(5)])
    half, fit = len(order) // 2, len(order) - len(order) // 6
    chosen = {"all": order, "fit": order[:fit], "first half": order[:half], "second half": order[half:]}[config.cases]
    if isinstance(config, Student) and config.omit:
        omitted = class_labels(config.omit, len(data.class_names), name="omitted classes")
        chosen = chosen[~torch.isin(class_labels(data.train_labels)[chosen], omitted)]
    return chosen[: config.size]


def training_labels(data: Images, chosen: Tensor) -> Tensor:
    """The labels of some training cases, as int64.  Raises ValueError for any that name no class."""
    return class_labels(data.train_labels[chosen], len(data.class_names), name="training labels")


def evaluation_cases(data: Images, cases: str) -> tuple[Tensor, Tensor]:
    """Images and labels to evaluate on: the held-out training cases if cases is "fit", else the test set."""
    if cases != "fit":
        return data.test_images, data.test_labels
    order = _fixed_order(data)
    held_out = order[len(order) - len(order) // 6 :]
    return data.train_images[held_out], data.train_labels[held_out]


def loss_of(config: Net | Student, data: Images, chosen: Tensor, store: Store) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss over (logits, batch index) of a configuration; a teacher's outputs are read once, here."""
    labelled = not isinstance(getattr(config, "teacher", None), Shifted)
    labels = training_labels(data, chosen).to(device()) if labelled else None
    if isinstance(config, Net):
        return lambda logits, index: F.cross_entropy(logits, labels[index])
    if config.objective == "logits":
        (teacher,) = members(config.teacher)
        found = store.tensors(teacher)["train_logits"]
        targets = objectives.check_finite(found, "teacher's logits")[chosen].to(device())
        return lambda logits, index: logit_matching_loss(logits, targets[index])
    soft = soft_targets(config.teacher, config.temperature, store)[chosen].to(device())
    hard_weight = config.hard_weight
    if config.objective == "mixed labels":
        soft, hard_weight = mix_labels(soft, labels, config.hard_weight), 0.0
    elif config.objective != "distillation":
        raise ValueError(f"Unknown objective {config.objective!r}: use 'distillation', 'logits' or 'mixed labels'.")
    return lambda logits, index: objectives.distillation_loss(
        logits,
        soft[index],
        labels[index] if hard_weight else None,
        temperature=config.temperature,
        hard_weight=hard_weight,
    )


def soft_targets(teacher: Net | Ensemble | Shifted, temperature: float, store: Store) -> Tensor:
    """The teacher's distributions (training cases, classes) at a temperature, from its stored outputs."""
    return softened(teacher, "train_logits", temperature, store)


def softened(teacher: Net | Ensemble | Shifted, outputs: str, temperature: float, store: Store) -> Tensor:
    """Those of the cases that it has stored the outputs of: "train_logits" or "scored_logits"."""
    logits = torch.stack([store.tensors(net)[outputs] for net in members(teacher)])
    if not isinstance(teacher, Ensemble) or teacher.mean == "arithmetic":
        mean = objectives.arithmetic_mean(objectives.soften(logits, temperature, "teacher's logits"))
    elif teacher.mean == "geometric":
        mean = objectives.geometric_mean(torch.log_softmax(objectives.widened(logits) / temperature, dim=-1))
    else:
        raise ValueError(f"Unknown mean {teacher.mean!r}: use 'arithmetic' or 'geometric'.")
    return objectives.check_soft_targets(mean)


def mix_labels(soft_targets: Tensor, labels: Tensor, weight: float) -> Tensor:
    """(1 - weight) p + weight * one-hot label, (batch, classes): the alternative that section 2 reports as worse."""
    if not 0 <= weight <= 1:
        raise ValueError(f"The labels' weight must lie between 0 and 1, not {weight}.")
    soft, (cases, classes) = objectives.widened(soft_targets), soft_targets.shape
    one_hot = F.one_hot(class_labels(labels, classes, cases=cases), classes).to(soft.dtype)
    return (1 - weight) * soft + weight * one_hot


def errors(logits: Tensor, labels: Tensor) -> int:
    """The number of `mistakes`."""
    return int(mistakes(logits, labels).sum())


def mistakes(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether the largest logit is not at the label, (cases,) bool.

    logits: (cases, classes); labels: (cases,) class indices.  Raises Diverged for logits that are not finite.
    """
    if not torch.isfinite(logits).all():
        raise Diverged("The logits became NaN or infinite; lower the learning rate.")
    return logits.argmax(1) != class_labels(labels, logits.shape[1], cases=len(logits))


def corrected_biases(
    logits: Tensor, labels: Tensor, train_logits: Tensor, train_labels: Tensor, omitted: tuple[int, ...]
) -> dict:
    """Errors after raising the biases of the omitted classes by one shift, chosen three ways (section 3).

    "none": no shift.  "prior": the shift at which the share of omitted classes among the predictions on the
    (unlabelled) training images is their prior.  "test": the best of 0, 0.1, ... 20 on the test labels, as in
    the paper.  Lowering the biases of the other classes is the same thing.  logits, labels: of the cases to evaluate.
    Raises ValueError for labels and omitted classes that are no classes, and for logits that are not finite.
    """
    classes = logits.shape[1]
    labels = class_labels(labels, classes, cases=len(logits))
    train_labels = class_labels(train_labels, classes, cases=len(train_logits), name="training labels")
    objectives.check_finite(logits, "logits")
    objectives.check_finite(train_logits, "training logits")
    is_omitted = torch.zeros(classes, dtype=torch.bool)
    is_omitted[class_labels(omitted, classes, name="omitted classes")] = True

    def margin(of: Tensor) -> Tensor:
        return of[:, ~is_omitted].max(1).values - of[:, is_omitted].max(1).values

    def result(shift: float) -> dict:
        wrong = (logits + shift * is_omitted).argmax(1) != labels
        return {"shift": shift, "errors": int(wrong.sum()), "errors_on_omitted": int(wrong[is_omitted[labels]].sum())}

    prior = is_omitted[train_labels].float().mean().item()
    matched = torch.quantile(margin(train_logits), prior).item()
    candidates = [result(step / 10) for step in range(201)]
    fewest = min(candidate["errors"] for candidate in candidates)
    best = [candidate for candidate in candidates if candidate["errors"] == fewest]
    return {
        "omitted_cases": int(is_omitted[labels].sum()),
        "none": result(0.0),
        "prior": result(matched),
        "test": best[len(best) // 2],
    }


def _fixed_order(data: Images) -> Tensor:
    return torch.randperm(len(data.train_labels), generator=torch.Generator().manual_seed(0))
