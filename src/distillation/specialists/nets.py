"""Section 5: which specialist gets which classes, the specialists, and what they add to the generalist."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn

from distillation.core.models import MergedDustbin
from distillation.core.store import Store
from distillation.core.sweep import sweep
from distillation.core.training import Optimisation, device, logits_of, train
from distillation.specialists import generalists
from distillation.specialists import inference as specialists
from distillation.specialists.generalists import Generalist, Split, load, logits_on, percent_right, training_batches
from distillation.specialists.inference import Answer

# Raise this number whenever the code would give other results: records of other recipes are never shown.
RECIPE = 1
METHODS = ("covariance", "covariance on-line", "confusion", "superclasses", "random")
MOST_SHOWN = 100  # classes, up to which an assignment's record holds the matrix of correlations
EVALUATIONS = 15  # of a specialist during its training, at most
COMBINED_BY = ("kl", "own answer", "added log-probabilities")


@dataclass(frozen=True)
class Assignment:
    """Which classes each of the specialists takes: the `size` nearest to the centroid of one of `number` clusters.

    method: what is clustered (`METHODS`): columns of the covariance of the generalist's predictions on its training
    pictures (section 5.3; "on-line": by mini-batch k-means), columns of its confusion matrix there, the data set's own
    superclasses (as many specialists as there are), or nothing: random subsets.
    """

    generalist: Generalist
    method: str = "covariance"
    number: int = 20
    size: int = 10
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True)
class Specialist:
    """A net that starts as the generalist and learns to tell the classes of one subset apart (section 5.2).

    softmax: "dustbin" (the subset and one class for all others, hard targets) or "full" (section 6.1: all classes, the
    generalist's soft targets for pictures of other classes).  share: of the subset's training pictures.
    """

    assignment: Assignment
    index: int = 0
    softmax: str = "dustbin"
    share: float = 1.0
    optimisation: Optimisation = Optimisation(epochs=3, batch_size=128, learning_rate=0.02, jitter=4)
    weight_decay: float = 5e-4
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True)
class Combination:
    """A generalist with all specialists of an assignment, which are like `first` but for their index."""

    first: Specialist
    threads: int = 1

    @property
    def assignment(self) -> Assignment:
        """That of the specialists."""
        return self.first.assignment

    def members(self, store: Store) -> list[Specialist]:
        """The specialists, one per subset of the finished assignment."""
        return [replace(self.first, index=index) for index in range(len(subsets_of(self.assignment, store)))]


Config = Assignment | Specialist | Combination


def run(config: Config, store: Store) -> dict:
    """Assign classes, train a specialist, or evaluate a combination: {"metrics": {...}, "history": [...]}."""
    if isinstance(config, Assignment):
        return _assign(config, store)
    return _specialise(config, store) if isinstance(config, Specialist) else _evaluate(config, store)


def run_all(combinations: list[Combination], store: Store, *, name: str) -> list[dict]:
    """Sweep combinations with all that they are made of: generalists, assignments and specialists."""
    missing = [config for config in combinations if not store.has(config)]
    prepare([config.assignment for config in missing], store, name=name)
    members = [member for config in missing for member in config.members(store)]
    sweep(run, members, store, name=f"{name}: specialists", needs_tensors=True)
    return sweep(run, combinations, store, name=name)


def prepare(assignments: list[Assignment], store: Store, *, name: str) -> None:
    """Sweep the generalists and assignments that specialists start from."""
    nets = [assignment.generalist for assignment in assignments]
    sweep(generalists.run, nets, generalist_store(store), name=f"{name}: generalists", needs_tensors=True)
    sweep(run, assignments, store, name=f"{name}: assignments")


def generalist_store(store: Store) -> Store:
    """The generalists' store, beside this experiment's."""
    return Store(store.folder.parent / "generalists", generalists.RECIPE)


def specialist_store(store: Store) -> Store:
    """This experiment's store, beside another's."""
    return Store(store.folder.parent / "specialists", RECIPE)


def subsets_of(assignment: Assignment, store: Store) -> list[tuple[int, ...]]:
    """The subsets of a finished assignment."""
    return [tuple(subset) for subset in store.read(assignment)["metrics"]["subsets"]]


def _assign(config: Assignment, store: Store) -> dict:
    split = load(config.generalist.data)
    logits = generalist_store(store).tensors(config.generalist)["fit"]
    superclasses = torch.tensor(split.pictures.superclasses)
    covariance = specialists.covariance(logits.double().softmax(1))
    points = specialists.columns(covariance)
    if config.method not in METHODS:
        raise ValueError(f"Unknown way to assign classes {config.method!r}: choose from {', '.join(METHODS)}.")
    if config.method == "random":
        drawn = specialists.random_subsets(split.classes, config.number, config.size, config.seed)
        return {"metrics": {"subsets": drawn}, "history": []}
    if config.method == "confusion":
        points = specialists.columns(specialists.confusion(logits.argmax(1), split.fit_labels, split.classes))
    if config.method == "superclasses":
        clusters = superclasses.unique(return_inverse=True)[1]
    else:
        clusters = specialists.cluster(points, config.number, config.seed, online="on-line" in config.method)
    metrics = {
        "subsets": specialists.subsets(points, clusters, config.size),
        "clusters": clusters.tolist(),
        "rand_index": float(adjusted_rand_score(superclasses, clusters)),
        "class_names": list(split.pictures.class_names),
    }
    if config.method == "covariance" and split.classes <= MOST_SHOWN:
        spread = covariance.diagonal().sqrt()
        metrics["correlation"] = [
            [round(v, 3) for v in row] for row in (covariance / spread / spread[:, None]).tolist()
        ]
    return {"metrics": metrics, "history": []}


def _specialise(config: Specialist, store: Store) -> dict:
    generalist, split = config.assignment.generalist, load(config.assignment.generalist.data)
    subset = subsets_of(config.assignment, store)[config.index]
    specialists.check_subset(subset, split.classes)
    # Specialists of one combination differ in their random numbers: two of them may have the same subset.
    torch.manual_seed(1000 * config.seed + config.index)
    model = build(config, subset, store)
    special, rest = special_and_rest(config, subset, split)
    watch = Watch(config, subset, split)
    history = train(
        model,
        training_batches(generalist.data, config.optimisation.jitter, generalist.mirror),
        loss_of(config, subset, split, store),
        config.optimisation,
        weight_decay=config.weight_decay,
        order=lambda: half_and_half(special, rest),
        after_epoch=watch,
    )
    logits = logits_on(model, split, ("held_out", "test"))
    store.write_tensors(config, generalists.weights(model) | logits)
    seen = generalist_store(store).tensors(generalist)
    metrics = {
        "subset": list(subset),
        "special_cases": len(special),
        "pictures_seen": len(history) * 2 * len(special),
        "generalist": on_classes(seen["test"], subset, split.pictures.test_labels, "full"),
    }
    scores = logits["test"]
    if config.softmax == "dustbin":
        scores = specialists.corrected(scores, special_share(subset, split))
        metrics["dustbin"] = dustbin_calibration(logits["held_out"], subset, split)
    metrics["specialist"] = on_classes(scores, subset, split.pictures.test_labels, config.softmax)
    return {"metrics": metrics, "history": history}


def build(config: Specialist, subset: tuple[int, ...], store: Store) -> nn.Module:
    """The specialist before training: the generalist, which for a dustbin merges the other classes' probabilities."""
    generalist = config.assignment.generalist
    model = generalists.restore(generalist, generalist_store(store))
    if config.softmax == "dustbin":
        share = special_share(subset, load(generalist.data))
        model[-1] = MergedDustbin(model[-1], subset, specialists.dustbin_shift(share))
    return model


def restore(config: Specialist, store: Store) -> nn.Module:
    """The trained net of a finished run."""
    model = build(config, subsets_of(config.assignment, store)[config.index], store)
    saved = store.tensors(config)
    model.load_state_dict({name: saved[f"weights.{name}"] for name in model.state_dict()})
    return model


def special_and_rest(config: Specialist, subset: tuple[int, ...], split: Split) -> tuple[Tensor, Tensor]:
    """Training pictures of the subset (of each class the configured share, at least one) and of all other classes."""
    labels = split.fit_labels
    special = []
    for label in subset:
        of_class = split.fit[labels == label]
        special.append(of_class[: max(1, round(config.share * len(of_class)))])
    return torch.cat(special), split.fit[~torch.isin(labels, torch.tensor(subset))]


def half_and_half(special: Tensor, rest: Tensor) -> Tensor:
    """An epoch's pictures: each special one, shuffled, alternates with one at random from the rest (section 5.2)."""
    ordinary = torch.randperm(len(rest))[: len(special)]
    if len(ordinary) < len(special):
        ordinary = torch.randint(len(rest), (len(special),))
    return torch.stack([special[torch.randperm(len(special))], rest[ordinary]], 1).flatten()


def loss_of(
    config: Specialist, subset: tuple[int, ...], split: Split, store: Store
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss over (logits, training indices) of a specialist.  Raises ValueError for an unknown softmax."""
    labels = split.pictures.train_labels
    if config.softmax == "dustbin":
        targets = specialists.dustbin_labels(labels, subset, split.classes).to(device())
        return lambda logits, index: F.cross_entropy(logits, targets[index])
    if config.softmax != "full":
        raise ValueError(f"Unknown softmax {config.softmax!r}: use 'dustbin' or 'full'.")
    targets = F.one_hot(labels, split.classes).float()
    soft = generalist_store(store).tensors(config.assignment.generalist)["fit"].softmax(1)
    ordinary = ~torch.isin(split.fit_labels, torch.tensor(subset))
    targets[split.fit[ordinary]] = soft[ordinary]
    targets = targets.to(device())
    return lambda logits, index: F.cross_entropy(logits, targets[index])


class Watch:
    """Called after each epoch: now and then the cross-entropy and accuracy in the subset, on its held-out pictures."""

    def __init__(self, config: Specialist, subset: tuple[int, ...], split: Split):
        chosen = torch.isin(split.held_out_labels, torch.tensor(subset))
        self.pictures = generalists.Batches.of(split.pictures.train_images[split.held_out[chosen]])
        self.labels = specialists.dustbin_labels(split.held_out_labels[chosen], subset, split.classes)
        self.outputs = list(subset) if config.softmax == "full" else list(range(len(subset)))
        self.epoch, self.last = 0, config.optimisation.epochs
        self.every = -(-self.last // EVALUATIONS)

    def __call__(self, model: nn.Module) -> dict:
        """The columns that this epoch adds to the history."""
        self.epoch += 1
        if self.epoch % self.every and self.epoch != self.last:
            return {}
        logits = logits_of(model, self.pictures, precision="bf16")[:, self.outputs]
        cross_entropy = F.cross_entropy(logits, self.labels).item()
        return {
            "special_cross_entropy": cross_entropy,
            "special_accuracy": percent_right(logits.argmax(1), self.labels),
        }


def on_classes(scores: Tensor, subset: tuple[int, ...], labels: Tensor, softmax: str) -> dict:
    """What a net knows of its special classes and of the rest, in percent of the pictures of either.

    scores: (cases, outputs), of all classes, or of the subset and a dustbin.  special_accuracy: right when only the
    subset's classes may be answered; special_recall: right when all may; rest_accuracy: right on other classes (None
    for a dustbin, which names none); claimed: pictures of other classes that are taken for special ones.
    """
    is_special = torch.isin(labels, torch.tensor(subset))
    within = specialists.dustbin_labels(labels, subset, int(max(labels.max(), max(subset))) + 1)[is_special]
    outputs = list(subset) if softmax == "full" else list(range(len(subset)))
    answers = scores.argmax(1)
    answered_special = torch.isin(answers, torch.tensor(outputs))
    named = (
        torch.tensor(subset)[answers[is_special].clamp(max=len(subset) - 1)]
        if softmax == "dustbin"
        else answers[is_special]
    )
    right = answered_special[is_special] & (named == labels[is_special])
    return {
        "special_accuracy": percent_right(scores[is_special][:, outputs].argmax(1), within),
        "special_recall": 100 * right.double().mean().item(),
        "rest_accuracy": percent_right(answers[~is_special], labels[~is_special]) if softmax == "full" else None,
        "claimed": 100 * answered_special[~is_special].double().mean().item(),
    }


def dustbin_calibration(logits: Tensor, subset: tuple[int, ...], split: Split, bins: int = 10) -> dict:
    """How well the dustbin's probability matches the truth on the held-out pictures, which nobody over-sampled.

    share: of pictures of other classes; raw, corrected: mean dustbin probability before and after the correction of
    section 5.2; reliability: per bin of the corrected probability its mean, the share of other classes, and the cases.
    """
    other = ~torch.isin(split.held_out_labels, torch.tensor(subset))
    found = {
        "raw": logits.double().softmax(1)[:, -1],
        "corrected": specialists.corrected(logits, special_share(subset, split)).exp()[:, -1],
    }
    bin_of = (found["corrected"] * bins).long().clamp(max=bins - 1)
    reliability = [
        [
            found["corrected"][bin_of == b].mean().item(),
            other[bin_of == b].double().mean().item(),
            int((bin_of == b).sum()),
        ]
        for b in range(bins)
        if (bin_of == b).any()
    ]
    means = {name: values.mean().item() for name, values in found.items()}
    return {"share": other.double().mean().item(), **means, "reliability": reliability}


def special_share(subset: tuple[int, ...], split: Split) -> float:
    """The subset's true share of the training pictures."""
    return torch.isin(split.fit_labels, torch.tensor(subset)).double().mean().item()


def answers_of(members: list[Specialist], store: Store, split: Split, part: str) -> list[Answer]:
    """What finished dustbin specialists say of the "held_out" or "test" pictures, corrected."""
    found = []
    for member in members:
        subset = subsets_of(member.assignment, store)[member.index]
        logits = store.tensors(member)[part]
        found.append(Answer(subset, specialists.corrected(logits, special_share(subset, split))))
    return found


def _evaluate(config: Combination, store: Store) -> dict:
    split = load(config.assignment.generalist.data)
    seen = generalist_store(store).tensors(config.assignment.generalist)
    members = config.members(store)
    labels = {"held_out": split.held_out_labels, "test": split.pictures.test_labels}
    metrics = {
        part: combined(seen[part], answers_of(members, store, split, part), labels[part])
        for part in ("held_out", "test")
    }
    return {"metrics": metrics | {"specialists": len(members)}, "history": []}


def combined(generalist: Tensor, answers: list[Answer], labels: Tensor) -> dict:
    """Tables 3 and 4: accuracies in percent of the generalist alone and with its specialists.

    accuracy, conditional: of the generalist; the latter over pictures of classes that some specialist covers, answers
    restricted to those classes.  combined: one row per n and way to combine with accuracy, conditional, active (mean
    number of active specialists), and `covered`, see `by_coverage`.
    """
    classes = generalist.shape[1]
    subsets = [answer.subset for answer in answers]
    cover = torch.zeros(classes, dtype=torch.int64)
    for subset in subsets:
        cover[list(subset)] += 1
    alone = generalist.argmax(1)
    rows = []
    for n in (1, 2, 3):
        active = specialists.active(generalist, subsets, n)
        for way, scores in _scores(generalist, answers, active).items():
            answered = scores.argmax(1)
            rows.append(
                {
                    "n": n,
                    "by": way,
                    "active": active.sum(1).double().mean().item(),
                    "accuracy": percent_right(answered, labels),
                    "conditional": conditional_accuracy(scores, cover > 0, labels),
                    "covered": by_coverage(cover[labels], alone == labels, answered == labels),
                }
            )
    return {
        "accuracy": percent_right(alone, labels),
        "conditional": conditional_accuracy(generalist, cover > 0, labels),
        "coverage": cover.tolist(),
        "combined": rows,
    }


def _scores(generalist: Tensor, answers: list[Answer], active: Tensor) -> dict[str, Tensor]:
    # The generalist's probabilities stand below the answer, for when it may not be given.
    own = F.one_hot(specialists.own_answer(generalist, answers, active), generalist.shape[1]) + generalist.softmax(1)
    found = (
        specialists.combine(generalist, answers, active),
        own,
        specialists.added_log_probabilities(generalist, answers, active),
    )
    return dict(zip(COMBINED_BY, found, strict=True))


def conditional_accuracy(scores: Tensor, covered: Tensor, labels: Tensor) -> float:
    """Accuracy in percent on pictures of covered classes, answers restricted to those (table 3).

    scores: (cases, classes); covered: (classes,) bool.
    """
    chosen = covered[labels]
    return percent_right(scores[chosen].double().masked_fill(~covered, -torch.inf).argmax(1), labels[chosen])


def by_coverage(coverage: Tensor, before: Tensor, after: Tensor) -> list[dict]:
    """Table 4: per number of specialists covering the right class the cases, and what the specialists changed.

    before: right by the generalist alone; fixed: wrong before and right after; broken: the other way round.
    """
    return [
        {
            "specialists": number,
            "cases": int((coverage == number).sum()),
            "before": int(before[coverage == number].sum()),
            "fixed": int((~before & after)[coverage == number].sum()),
            "broken": int((before & ~after)[coverage == number].sum()),
        }
        for number in coverage.unique().tolist()
    ]
