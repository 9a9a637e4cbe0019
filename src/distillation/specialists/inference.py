"""Section 5.4: one distribution from a generalist and its active specialists."""

from dataclasses import dataclass

import torch
from torch import Tensor

from distillation.specialists.assignment import check_bool, check_known, membership, plain

SMALLEST = 1e-300  # a smaller probability of the generalist's is a zero: dividing by it would overflow


@dataclass(frozen=True)
class Answer:
    """What one specialist says of each case.

    subset: its classes.  log_probabilities: (cases, special + 1), in the subset's order, and last the dustbin, which
    stands for all other classes.
    """

    subset: tuple[int, ...]
    log_probabilities: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "subset", tuple(plain(self.subset)))


def active(generalist: Tensor, subsets: list[tuple[int, ...]], n: int = 1) -> Tensor:
    """Whose subset holds one of the generalist's n most probable classes (section 5.4): (cases, specialists) bool.

    generalist: (cases, classes) log-probabilities or logits.  Raises ValueError unless 1 <= n <= classes, and for NaN
    and infinity.
    """
    _, classes = _checked(generalist, "generalist's log-probabilities").shape
    if not 1 <= n <= classes:
        raise ValueError(f"The generalist has {classes} classes; n must lie between 1 and that, not be {n}.")
    return membership(subsets, classes)[:, generalist.topk(n, dim=1).indices].any(-1).T


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
    outside = (~membership([answer.subset for answer in answers], direct.shape[1])).double()
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

    Raises ValueError for NaN and infinity (but -inf, a specialist's zero), for label spaces or numbers of cases that do
    not fit, and for a class to which the generalist gives no probability (the iteration could not leave 0);
    RuntimeError for cases unfinished at the end.
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
        inside = membership([answer.subset], log_g.shape[1])[0]
        log_p = answer.log_probabilities.double().log_softmax(-1)
        full = log_p[:, -1:] + log_g - log_g[:, ~inside].logsumexp(1, keepdim=True)
        full[:, list(answer.subset)] = log_p[:, :-1]
        total += torch.where(active[:, number, None], full, 0.0)
    if total.isneginf().all(1).any():
        raise ValueError("The models together exclude every class of a case; pass log-probabilities without -inf.")
    return total.softmax(-1)


def _select(given: Evidence, cases: Tensor) -> Evidence:
    return Evidence(
        given.direct[cases], given.dustbin[cases], given.outside, given.models[cases], given.constant[cases]
    )


def _check_fit(generalist: Tensor, answers: list[Answer], active: Tensor) -> None:
    cases, classes = _checked(generalist, "generalist's log-probabilities").shape
    if active.shape != (cases, len(answers)):
        raise ValueError(f"active is {tuple(active.shape)}, not {cases} cases by {len(answers)} specialists.")
    check_bool(active, "active")
    for number, answer in enumerate(answers):
        check_known(answer.subset, classes)
        if answer.log_probabilities.shape != (cases, len(answer.subset) + 1):
            raise ValueError(
                f"Specialist {number} answers {tuple(answer.log_probabilities.shape)}, not {cases} cases by "
                f"{len(answer.subset)} classes and a dustbin."
            )
        _checked(answer.log_probabilities, f"log-probabilities of specialist {number}")


def _checked(log_probabilities: Tensor, name: str) -> Tensor:
    if log_probabilities.ndim != 2:
        raise ValueError(f"The {name} are of shape {tuple(log_probabilities.shape)}; pass (cases, classes).")
    if not torch.isfinite(log_probabilities.amax(1)).all():  # -inf, a zero, may be, but not everywhere
        raise ValueError(f"The {name} hold NaN, infinity or nothing but zeros; look at the logits.")
    return log_probabilities
