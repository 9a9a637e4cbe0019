"""Section 5.3: which classes go together, and which specialist takes which of them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from distillation.core.objectives import check_finite, check_soft_targets, class_labels
from distillation.core.store import Configuration, Store
from distillation.specialists.generalists import Generalist, fit_logits, load

METHODS = ("covariance", "covariance on-line", "confusion", "superclasses", "families", "random")
CHUNK = 65_536  # pictures whose predictions are looked at together
LOOKS = {  # of a style of type, and words that the end of its name has then
    "slanted": ("Italic", "Oblique", "Slanted"),
    "bold": ("Bold", "Black", "Heavy"),
    "light": ("Light", "Thin"),
}
MOST_SHOWN = 150  # classes, up to which an assignment's record holds the matrix of correlations


@dataclass(frozen=True)
class Assignment(Configuration):
    """Which classes each of the specialists takes: the `size` nearest to the centroid of one of `number` clusters.

    method: what is clustered (`METHODS`): columns of the covariance of the generalist's predictions on its training
    pictures (section 5.3; "on-line": by mini-batch k-means), columns of its confusion matrix there, the data set's own
    superclasses (as many specialists as there are), or nothing: random subsets, of whole superclasses ("families") or
    of single classes ("random").
    """

    experiment: ClassVar[str] = "specialists"
    has_tensors: ClassVar[bool] = False

    generalist: Generalist
    method: str = "covariance"
    number: int = 20
    size: int = 10
    seed: int = 0
    threads: int = 1

    def run(self, store: Store) -> dict:
        """Give each specialist its classes; return {"metrics": {"subsets": ..., ...}, "history": []}."""
        split = load(self.generalist.data)
        superclasses = torch.tensor(split.pictures.superclasses)
        if self.method not in METHODS:
            raise ValueError(f"Unknown way to assign classes {self.method!r}: choose from {', '.join(METHODS)}.")
        if self.method in ("families", "random"):
            groups = superclasses.tolist() if self.method == "families" else range(split.classes)
            return {"metrics": {"subsets": random_subsets(groups, self.number, self.size, self.seed)}, "history": []}
        from sklearn.metrics import adjusted_rand_score  # slow to load

        logits = fit_logits(self.generalist, store)
        if self.method == "confusion":
            points = columns(confusion(logits.argmax(1), split.fit_labels, split.classes))
        else:
            spread_together = covariance(chunk.double().softmax(1) for chunk in logits.split(CHUNK))
            points = columns(spread_together)
        if self.method == "superclasses":
            clusters = superclasses.unique(return_inverse=True)[1]
        else:
            clusters = cluster(points, self.number, self.seed, online="on-line" in self.method)
        metrics = {
            "subsets": subsets(points, clusters, self.size),
            "clusters": clusters.tolist(),
            "rand_index": float(adjusted_rand_score(superclasses, clusters)),
            "class_names": list(split.pictures.class_names),
        }
        if self.method == "covariance" and split.classes <= MOST_SHOWN:
            spread = spread_together.diagonal().sqrt()
            metrics["correlation"] = [
                [round(v, 3) for v in row] for row in (spread_together / spread / spread[:, None]).tolist()
            ]
        return {"metrics": metrics, "history": []}


def subsets_of(assignment: Assignment, store: Store) -> list[tuple[int, ...]]:
    """The subsets of a finished assignment."""
    return [tuple(subset) for subset in store.read(assignment)["metrics"]["subsets"]]


def clusters_of(assignment: Assignment, store: Store) -> Tensor:
    """The cluster of each class, (classes,) int64, of a finished assignment.  KeyError for random subsets."""
    return torch.tensor(store.metrics(assignment)["clusters"])


def eta_squared(clusters: Sequence[int], has: Sequence[bool]) -> float:
    """How much of the variance of what classes have, or have not, their clusters explain: 0 to 1.

    0 where all have it, or none.  Random clusters explain (clusters - 1) / (classes - 1), on average.
    """
    groups, values = torch.tensor(clusters), torch.tensor(has, dtype=torch.float64)
    sizes = torch.bincount(groups).clamp(min=1)
    within = values - (torch.bincount(groups, values) / sizes)[groups]
    total = (values - values.mean()).square().sum().item()
    return 1 - within.square().sum().item() / total if total > 0 else 0.0


def covariance(predictions: Iterable[Tensor]) -> Tensor:
    """Covariance of the generalist's predictions (section 5.3): chunks of (cases, classes) -> (classes, classes).

    Float64; no true labels are needed.  Raises ValueError for fewer than two cases, NaN or infinity, negative values,
    and rows that do not sum to one.
    """
    cases, total, products = 0, 0.0, 0.0
    for chunk in predictions:
        p = check_soft_targets(chunk, "generalist's predictions").double()
        cases, total, products = cases + len(p), total + p.sum(0), products + p.T @ p
    if cases < 2:
        raise ValueError(f"A covariance needs predictions of at least two cases, not {cases}.")
    return (products - torch.outer(total, total) / cases) / (cases - 1)


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How often each two classes were taken for each other, either way round: (classes, classes) float64.

    predicted, labels: (cases,) class indices.  Raises ValueError for indices outside the classes.
    """
    predicted = class_labels(predicted, classes, name="predicted classes")
    labels = class_labels(labels, classes, cases=len(predicted))
    counts = torch.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes).double()
    return (counts + counts.T).fill_diagonal_(0)


def columns(matrix: Tensor) -> Tensor:
    """What is clustered, (classes, classes) float64, one row per class: the matrix's columns, scaled to unit length.

    The diagonal is set to 0 first: a class's variance says nothing of its neighbours.  A column of zeros stays zero.
    """
    points = matrix.double().T.clone().fill_diagonal_(0)
    length = points.norm(dim=1, keepdim=True)
    return torch.where(length > 0, points / length, 0.0)


def looks(class_names: Sequence[str]) -> dict[str, list[bool]]:
    """Which styles of type are slanted, bold or light, by what their names say after the last hyphen."""
    ends = [name.rpartition("-")[2] if "-" in name else "" for name in class_names]
    return {look: [any(word in end for word in words) for end in ends] for look, words in LOOKS.items()}


def cluster(points: Tensor, number: int, seed: int, *, online: bool = False) -> Tensor:
    """K-means (section 5.3): the cluster of each class, (classes,) int64, numbered in the order of first members.

    points: (classes, dimensions), see `columns`.  online: the mini-batch variant.  Raises ValueError unless
    2 <= number <= classes, and where fewer clusters than that hold a class.
    """
    if not 2 <= number <= len(points):
        raise ValueError(f"{len(points)} classes cannot form {number} clusters: choose from 2 to {len(points)}.")
    from sklearn.cluster import KMeans, MiniBatchKMeans  # slow to load

    method = MiniBatchKMeans if online else KMeans
    found = method(number, n_init=10, random_state=seed).fit_predict(points.numpy()).tolist()
    names = {name: position for position, name in enumerate(dict.fromkeys(found))}
    if len(names) < number:
        raise ValueError(f"K-means filled {len(names)} of {number} clusters: ask for at most {len(names)}.")
    return torch.tensor([names[name] for name in found])


def subsets(points: Tensor, clusters: Tensor, size: int) -> list[tuple[int, ...]]:
    """For each cluster the `size` classes nearest its centroid, the mean of its members' points; each sorted.

    Subsets may overlap and a class may be in none (section 5.3, table 4).  points: (classes, dimensions).  clusters:
    (classes,) from `cluster`, or any other partition, such as the superclasses; the subsets are in the order of its
    numbers.  Raises ValueError unless 1 <= size < classes, for another number of classes in clusters, clusters that are
    no integers, and points that are not finite.
    """
    _check_size(size, len(points))
    if clusters.shape != (len(points),):
        raise ValueError(f"There are {len(points)} points but clusters of shape {tuple(clusters.shape)}.")
    clusters, points = class_labels(clusters, name="clusters"), check_finite(points, "points")
    centroids = torch.stack([points[clusters == name].mean(0) for name in clusters.unique()])
    distances = torch.cdist(centroids, points, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.argsort(dim=1, stable=True)[:, :size]
    return [tuple(row) for row in nearest.sort(dim=1).values.tolist()]


def random_subsets(groups: Sequence[int], number: int, size: int, seed: int) -> list[tuple[int, ...]]:
    """The control for `subsets`: so many random subsets, each sorted, drawn independently.

    groups: each class's, such as its superclass; whole groups are drawn, the last of them cut to the size.
    """
    _check_size(size, len(groups))
    generator = torch.Generator().manual_seed(seed)
    members: dict[int, list[int]] = {}
    for label, group in enumerate(groups):
        members.setdefault(group, []).append(label)
    names = list(members)
    orders = [torch.randperm(len(names), generator=generator).tolist() for _ in range(number)]
    return [tuple(sorted([label for place in order for label in members[names[place]]][:size])) for order in orders]


def membership(subsets: Sequence[Sequence[int]], classes: int) -> Tensor:
    """Which classes each subset holds, (subsets, classes) bool.  Raises ValueError for unknown and repeated ones."""
    held = torch.zeros(len(subsets), classes, dtype=torch.bool)
    for row, subset in zip(held, subsets, strict=True):
        row[check_known(subset, classes)] = True
    return held


def check_subset(classes: Sequence[int], number: int) -> list[int]:
    """Return `plain` classes; raise ValueError unless they are some but not all of `number`, each once."""
    if len(classes) == 0:
        raise ValueError("A specialist needs at least one class; its subset is empty.")
    found = check_known(classes, number)
    if len(found) == number:
        raise ValueError(f"The subset holds all {number} classes and leaves none for the dustbin; train a generalist.")
    return found


def check_known(classes: Sequence[int], number: int) -> list[int]:
    """Return `plain` classes; raise ValueError unless they are of `number`, each once."""
    found = plain(classes)
    if unknown := [each for each in found if not 0 <= each < number]:
        raise ValueError(f"The subset names classes {unknown}, but there are {number}, counted from 0.")
    if repeated := [each for each, count in Counter(found).items() if count > 1]:
        raise ValueError(f"The subset names classes {repeated} more than once; name each once.")
    return found


def plain(classes: Sequence[int]) -> list[int]:
    """The classes of a subset as Python's integers: bytes would be a mask.  Raises ValueError for other types."""
    size = len(classes)
    return class_labels(classes, cases=size, name="classes of the subset").tolist() if size else []


def check_bool(values: Tensor, name: str) -> None:
    """Raise ValueError for another type, of which ~ and indexing mean something else."""
    if values.dtype != torch.bool:
        raise ValueError(f"{name} is {values.dtype}; pass bool.")


def _check_size(size: int, classes: int) -> None:
    if not 1 <= size < classes:
        raise ValueError(f"A subset of {classes} classes must hold from 1 to {classes - 1} of them, not {size}.")
