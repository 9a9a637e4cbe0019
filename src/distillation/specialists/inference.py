"""Section 5: specialists for classes that a generalist confuses, and one distribution from all of them."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sklearn.cluster import KMeans, MiniBatchKMeans
from torch import Tensor

SMALLEST = 1e-300  # a smaller probability of the generalist's is a zero: dividing by it would overflow


def covariance(probabilities: Tensor) -> Tensor:
    """Covariance of the generalist's predictions (section 5.3): (cases, classes) -> (classes, classes) float64.

    No true labels are needed.  Raises ValueError for fewer than two cases, NaN or infinity, negative values, and rows
    that do not sum to one.
    """
    if len(probabilities) < 2:
        raise ValueError(f"A covariance needs the predictions of at least two cases, not of {len(probabilities)}.")
    if not torch.isfinite(probabilities).all():
        raise ValueError("The generalist's predictions hold NaN or infinity; look at its logits.")
    sums = probabilities.double().sum(-1)
    if (probabilities < 0).any() or not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        raise ValueError("The generalist's predictions are not distributions over the classes; pass probabilities.")
    return torch.cov(probabilities.double().T)


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How often each two classes were taken for each other, either way round: (classes, classes) float64.

    predicted, labels: (cases,) class indices.  Raises ValueError for indices outside the classes.
    """
    _check_labels(predicted, classes)
    _check_labels(labels, classes)
    counts = torch.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes).double()
    return (counts + counts.T).fill_diagonal_(0)


def columns(matrix: Tensor) -> Tensor:
    """What is clustered, (classes, classes) float64, one row per class: the matrix's columns, scaled to unit length.

    The diagonal is set to 0 first: a class's variance says nothing of its neighbours.  A column of zeros stays zero.
    """
    points = matrix.double().T.clone().fill_diagonal_(0)
    length = points.norm(dim=1, keepdim=True)
    return torch.where(length > 0, points / length, 0.0)


def cluster(points: Tensor, number: int, seed: int, *, online: bool = False) -> Tensor:
    """K-means (section 5.3): the cluster of each class, (classes,) int64, numbered in the order of first members.

    points: (classes, dimensions), see `columns`.  online: the mini-batch variant.  Raises ValueError unless
    2 <= number <= classes, and where fewer clusters than that hold a class.
    """
    if not 2 <= number <= len(points):
        raise ValueError(f"{len(points)} classes cannot form {number} clusters: choose from 2 to {len(points)}.")
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
    numbers.  Raises ValueError unless 1 <= size < classes, and for another number of classes in clusters.
    """
    _check_size(size, len(points))
    if clusters.shape != (len(points),):
        raise ValueError(f"There are {len(points)} points but clusters of shape {tuple(clusters.shape)}.")
    centroids = torch.stack([points[clusters == name].mean(0) for name in clusters.unique()])
    distances = torch.cdist(centroids, points, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.argsort(dim=1, stable=True)[:, :size]
    return [tuple(row) for row in nearest.sort(dim=1).values.tolist()]


def random_subsets(classes: int, number: int, size: int, seed: int) -> list[tuple[int, ...]]:
    """The control for `subsets`: so many subsets of random classes, each sorted, drawn independently."""
    _check_size(size, classes)
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randperm(classes, generator=generator)[:size] for _ in range(number)]
    return [tuple(sorted(subset.tolist())) for subset in drawn]


def check_subset(classes: Sequence[int], number: int) -> None:
    """Raise ValueError unless these are some but not all of `number` classes, each once."""
    if len(classes) == 0:
        raise ValueError("A specialist needs at least one class; its subset is empty.")
    _check_known(classes, number)
    if len(classes) == number:
        raise ValueError(f"The subset holds all {number} classes and leaves none for the dustbin; train a generalist.")


def dustbin_labels(labels: Tensor, subset: Sequence[int], classes: int) -> Tensor:
    """Labels in the specialist's softmax (section 5.2): the position in the subset, or len(subset) for the dustbin.

    labels: (cases,) class indices.  Raises ValueError for a subset that `check_subset` refuses, and for labels outside
    the classes.
    """
    check_subset(subset, classes)
    _check_labels(labels, classes)
    positions = torch.full((classes,), len(subset))
    positions[list(subset)] = torch.arange(len(subset))
    return positions[labels]


def dustbin_shift(share: float, sampled: float = 0.5) -> float:
    """What raises the dustbin's logit after training on too many special cases (section 5.2), in nats.

    share: the special classes' share of all cases; sampled: their share of the training batches, the other cases being
    a fair sample of the rest.  By Bayes' theorem the trained odds of the dustbin are
        p(x | rest) / p(x | special) * (1 - sampled) / sampled, and the true ones
        p(x | rest) / p(x | special) * (1 - share) / share: their ratio's logarithm is the shift.
    Raises ValueError unless both lie between 0 and 1.
    """
    for name, value in (("share", share), ("sampled", sampled)):
        if not 0 < value < 1:
            raise ValueError(f"The special classes' {name} must lie between 0 and 1, not be {value}.")
    return math.log((1 - share) / share) + math.log(sampled / (1 - sampled))


def corrected(logits: Tensor, share: float) -> Tensor:
    """The specialist's log-probabilities, (cases, special + 1) float64, after raising the last logit, the dustbin's.

    share: see `dustbin_shift`; half of each training batch was special.  Raises ValueError for NaN or infinite logits.
    """
    if not torch.isfinite(logits).all():
        raise ValueError("The logits hold NaN or infinity; a specialist has diverged. Lower its learning rate.")
    raised = logits.double().clone()
    raised[:, -1] += dustbin_shift(share)
    return raised.log_softmax(-1)


@dataclass(frozen=True)
class Answer:
    """What one specialist says of each case.

    subset: its classes.  log_probabilities: (cases, special + 1), in the subset's order, and last the dustbin, which
    stands for all other classes.
    """

    subset: tuple[int, ...]
    log_probabilities: Tensor


def active(generalist: Tensor, subsets: list[tuple[int, ...]], n: int = 1) -> Tensor:
    """Whose subset holds one of the generalist's n most probable classes (section 5.4): (cases, specialists) bool.

    generalist: (cases, classes) log-probabilities or logits.  Raises ValueError unless 1 <= n <= classes.
    """
    classes = generalist.shape[1]
    if not 1 <= n <= classes:
        raise ValueError(f"The generalist has {classes} classes; n must lie between 1 and that, not be {n}.")
    return _membership(subsets, classes)[:, generalist.topk(n, dim=1).indices].any(-1).T


@dataclass(frozen=True)
class Evidence:
    """The objective of section 5.4, minus the sum of `direct` log q and `dustbin` log(q outside), plus `constant`.

    direct: (cases, classes), what the generalist and the active specialists give each class by name, summed.
    dustbin: (cases, specialists), what each active one gives its dustbin (0: not active).
    outside: (specialists, classes), 1 where the dustbin stands for the class.
    models: (cases, 1), how many distributions are combined.  constant: (cases,), minus the sum of their entropies.
    All float64.
    """

    direct: Tensor
    dustbin: Tensor
    outside: Tensor
    models: Tensor
    constant: Tensor


def evidence(generalist: Tensor, answers: list[Answer], active: Tensor) -> Evidence:
    """Collect what the models say.  Arguments and errors: see `combine`."""
    _check_fit(generalist, answers, active)
    direct = generalist.double().softmax(-1)
    if (direct < SMALLEST).any():
        raise ValueError(
            "The generalist gives a class no probability at all; pass float64 log-probabilities, not -inf."
        )
    constant = torch.xlogy(direct, direct).sum(-1)
    dustbin = torch.zeros(active.shape, dtype=torch.float64)
    for number, answer in enumerate(answers):
        p = active[:, number, None] * answer.log_probabilities.double().softmax(-1)
        direct[:, list(answer.subset)] += p[:, :-1]
        dustbin[:, number] = p[:, -1]
        constant += torch.xlogy(p, p).sum(-1)
    outside = (~_membership([answer.subset for answer in answers], direct.shape[1])).double()
    if (dustbin[:, outside.sum(1) == 0] > 0).any():
        raise ValueError("A specialist of all classes gives its dustbin a probability, which no class could have.")
    return Evidence(direct, dustbin, outside, 1.0 + active.double().sum(1, keepdim=True), constant)


def expected(q: Tensor, given: Evidence) -> Tensor:
    """What the models give each class, (cases, classes), each dustbin shared out in proportion to q.

    q: (cases, classes).  Divided by the number of models it is the next q of the expectation-maximisation; q times that
    number, minus it, is the objective's gradient in z, where q = softmax(z).
    """
    mass = (q @ given.outside.T).clamp_min(1e-305)  # only the empty outside of a full distribution is smaller
    return given.direct + q * ((given.dustbin / mass) @ given.outside)


def combine(
    generalist: Tensor,
    answers: list[Answer],
    active: Tensor,
    *,
    tolerance: float = 1e-9,
    most_iterations: int = 10_000,
) -> Tensor:
    """The q that minimises KL(p_g, q) + the sum of KL(p_m, q) over active specialists: (cases, classes) float64.

    Section 5.4.  generalist: (cases, classes) log-probabilities or logits; active: (cases, specialists) bool, see
    `active`.  KL(p_m, q) compares class by class within the subset, and the dustbin with the sum of q outside.

    The objective is convex.  The paper descends its gradient for each image; here expectation-maximisation treats all
    at once (hidden is which class a dustbin meant), see `improved`: no iteration raises the objective and there is no
    learning rate.  A case is finished once no q could be better by more than `tolerance` nats.

    Raises ValueError for NaN, for label spaces or numbers of cases that do not fit, and for a class to which the
    generalist gives no probability (the iteration could not leave 0); RuntimeError for cases unfinished at the end.
    """
    given = evidence(generalist, answers, active)
    q = generalist.double().softmax(-1)
    left, excess = torch.arange(len(q)), q.new_full((len(q),), torch.inf)
    for _ in range(most_iterations):
        if len(left) == 0:
            return q
        for block in left.split(1000):  # one that a processor's cache holds
            q[block], excess[block] = improved(q[block], _select(given, block))
        left = left[excess[left] > tolerance]
    if len(left):
        raise RuntimeError(
            f"After {most_iterations} iterations {len(left)} cases may still be {excess.max():.1e} nats from their "
            "optimum: raise the tolerance to that."
        )
    return q


def improved(q: Tensor, given: Evidence) -> tuple[Tensor, Tensor]:
    """A better q, (cases, classes), and a bound in nats, (cases,), on how far above its minimum the objective is at q.

    The bound is max_i (n_i / q_i) - the number of models, with n the `expected`; it follows from convexity.  Two steps
    of expectation-maximisation are extrapolated in log q (SQUAREM, Varadhan and Roland 2008), since plain steps crawl
    where a specialist contradicts a saturated generalist; the leap counts only where it is the better.
    """
    once = expected(q, given) / given.models
    twice = expected(once, given) / given.models
    speed = (once / q).log()
    bend = (twice / once).log() - speed
    stride = ((q * speed**2).sum(1, keepdim=True) / (q * bend**2).sum(1, keepdim=True)).sqrt()
    stride = stride.nan_to_num(1.0).clamp(1.0, 1e6)
    leap = (q.log() + 2 * stride * speed + stride**2 * bend).softmax(-1)
    landed = expected(leap, given) / given.models
    better = divergence(landed, given) <= divergence(twice, given)
    return torch.where(better[:, None], landed, twice), given.models[:, 0] * ((once / q).amax(1) - 1)


def objective(q: Tensor, generalist: Tensor, answers: list[Answer], active: Tensor) -> Tensor:
    """KL(p_g, q) + the sum of KL(p_m, q) over active specialists, (cases,) in nats, for any q (cases, classes)."""
    return divergence(q, evidence(generalist, answers, active))


def divergence(q: Tensor, given: Evidence) -> Tensor:
    """The objective of section 5.4, (cases,) in nats, of q (cases, classes)."""
    named = torch.xlogy(given.direct, q).sum(-1)
    return given.constant - named - torch.xlogy(given.dustbin, q @ given.outside.T).sum(-1)


def by_gradient_descent(
    generalist: Tensor,
    answers: list[Answer],
    active: Tensor,
    *,
    steps: int,
    learning_rate: float,
    until: float | None = None,
) -> Tensor:
    """The paper's own way to `combine`, for comparison: Adam on z, q = softmax(z), from the generalist's z.

    until: the objective, averaged over the cases, at which to stop early; looked at every tenth step.
    """
    given = evidence(generalist, answers, active)
    z = generalist.double().log_softmax(-1)
    optimiser = torch.optim.Adam([z], lr=learning_rate)
    for step in range(steps):
        q = z.softmax(-1)
        if until is not None and step % 10 == 0 and divergence(q, given).mean() <= until:
            break
        z.grad = given.models * q - expected(q, given)
        optimiser.step()
    return z.softmax(-1)


def own_answer(generalist: Tensor, answers: list[Answer], active: Tensor) -> Tensor:
    """Instead of `combine`, the best special class of the surest active specialist: class indices, (cases,) int64.

    The surest is the one with the least probable dustbin (the first of equals).  Where none is active the generalist
    answers.  Arguments and errors: see `combine`.
    """
    _check_fit(generalist, answers, active)
    answered = generalist.argmax(1)
    doubt = torch.full((len(generalist),), torch.inf, dtype=torch.float64)
    for number, answer in enumerate(answers):
        log_p = answer.log_probabilities.double().log_softmax(-1)
        surer = active[:, number] & (log_p[:, -1] < doubt)
        answered = torch.where(surer, torch.tensor(answer.subset)[log_p[:, :-1].argmax(1)], answered)
        doubt = torch.where(surer, log_p[:, -1], doubt)
    return answered


def added_log_probabilities(generalist: Tensor, answers: list[Answer], active: Tensor) -> Tensor:
    """A product of experts, the alternative to `combine` in closed form: probabilities, (cases, classes) float64.

    Adds to log p_g the log-probabilities of the active specialists, each of which shares its dustbin among the classes
    outside its subset in the generalist's proportions, and normalises.  Arguments: see `combine`.  Raises ValueError
    also where the models together exclude every class.
    """
    _check_fit(generalist, answers, active)
    log_g = generalist.double().log_softmax(-1)
    total = log_g.clone()
    for number, answer in enumerate(answers):
        inside = _membership([answer.subset], log_g.shape[1])[0]
        log_p = answer.log_probabilities.double().log_softmax(-1)
        full = log_p[:, -1:] + log_g - log_g[:, ~inside].logsumexp(1, keepdim=True)
        full[:, list(answer.subset)] = log_p[:, :-1]
        total += torch.where(active[:, number, None], full, 0.0)
    if total.isneginf().all(1).any():
        raise ValueError("The models together exclude every class of a case; pass log-probabilities without -inf.")
    return total.softmax(-1)


def _membership(subsets: Sequence[Sequence[int]], classes: int) -> Tensor:
    """Which classes each subset holds, (subsets, classes) bool."""
    held = torch.zeros(len(subsets), classes, dtype=torch.bool)
    for row, subset in zip(held, subsets, strict=True):
        row[list(subset)] = True
    return held


def _select(given: Evidence, cases: Tensor) -> Evidence:
    return Evidence(
        given.direct[cases], given.dustbin[cases], given.outside, given.models[cases], given.constant[cases]
    )


def _check_fit(generalist: Tensor, answers: list[Answer], active: Tensor) -> None:
    cases, classes = generalist.shape
    if active.shape != (cases, len(answers)):
        raise ValueError(f"active is {tuple(active.shape)}, not {cases} cases by {len(answers)} specialists.")
    if generalist.isnan().any():
        raise ValueError("The generalist's log-probabilities hold NaN; look at its logits.")
    for number, answer in enumerate(answers):
        _check_known(answer.subset, classes)
        if answer.log_probabilities.shape != (cases, len(answer.subset) + 1):
            raise ValueError(
                f"Specialist {number} answers {tuple(answer.log_probabilities.shape)}, not {cases} cases by "
                f"{len(answer.subset)} classes and a dustbin."
            )
        if answer.log_probabilities.isnan().any():
            raise ValueError(f"The log-probabilities of specialist {number} hold NaN; look at its logits.")


def _check_known(classes: Sequence[int], number: int) -> None:
    if unknown := [each for each in classes if not 0 <= each < number]:
        raise ValueError(f"The subset names classes {unknown}, but there are {number}, counted from 0.")
    if repeated := [each for each, count in Counter(classes).items() if count > 1]:
        raise ValueError(f"The subset names classes {repeated} more than once; name each once.")


def _check_labels(labels: Tensor, classes: int) -> None:
    if ((labels < 0) | (labels >= classes)).any():
        raise ValueError(f"The labels lie from {labels.min()} to {labels.max()}, but there are {classes} classes.")


def _check_size(size: int, classes: int) -> None:
    if not 1 <= size < classes:
        raise ValueError(f"A subset of {classes} classes must hold from 1 to {classes - 1} of them, not {size}.")
