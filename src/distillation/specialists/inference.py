"""Section 5.4: one distribution from a generalist and its active specialists."""

from dataclasses import dataclass

import torch
from torch import Tensor

from distillation.specialists.assignment import check_bool, check_known, membership, plain

SMALLEST = 1e-300  # a smaller probability of the generalist's is a zero: dividing by it would overflow
TINY = 1e-300  # in place of a zero
CACHED = 1_000_000  # numbers of (cases, active, special classes) treated at a time
AT_ONCE = 4096  # cases
HALVINGS = 60  # of a step, at most


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
    """The objective of section 5.4, minus the sum of `direct` log q and `dustbin` log(q outside), up to a constant.

    direct: (cases, classes), what the generalist and the active specialists give each class by name, summed.
    dustbin: (cases, specialists), what each active one gives its dustbin (0: not active).
    outside: (specialists, classes), 1 where the dustbin stands for the class.
    models: (cases, 1), how many distributions are combined.  All float64.
    """

    direct: Tensor
    dustbin: Tensor
    outside: Tensor
    models: Tensor


def evidence(generalist: Tensor, answers: list[Answer], active: Tensor) -> Evidence:
    """Collect what the models say.  Arguments and errors: see `combine`."""
    _check_fit(generalist, answers, active)
    return _evidence(generalist, answers, active)


def _evidence(generalist: Tensor, answers: list[Answer], active: Tensor) -> Evidence:
    direct = generalist.double().softmax(-1)
    if (direct < SMALLEST).any():
        raise ValueError(
            "The generalist gives a class no probability at all; pass float64 log-probabilities, not -inf."
        )
    dustbin = torch.zeros(active.shape, dtype=torch.float64)
    for number, answer in enumerate(answers):
        cases = active[:, number].nonzero()[:, 0]
        p = answer.log_probabilities[cases].double().softmax(-1)
        direct[cases[:, None], torch.tensor(answer.subset)] += p[:, :-1]
        dustbin[cases, number] = p[:, -1]
    outside = (~membership([answer.subset for answer in answers], direct.shape[1])).double()
    if (dustbin[:, outside.sum(1) == 0] > 0).any():
        raise ValueError("A specialist of all classes gives its dustbin a probability, which no class could have.")
    return Evidence(direct, dustbin, outside, 1.0 + active.double().sum(1, keepdim=True))


def expected(q: Tensor, given: Evidence) -> Tensor:
    """What the models give each class, (cases, classes), each dustbin shared out in proportion to q.

    q: (cases, classes).  q times the number of models, minus this, is the objective's gradient in z, where
    q = softmax(z).
    """
    mass = (q @ given.outside.T).clamp_min(1e-305)  # only the empty outside of a full distribution is smaller
    return given.direct + q * ((given.dustbin / mass) @ given.outside)


def combine(
    generalist: Tensor,
    answers: list[Answer],
    active: Tensor,
    *,
    tolerance: float = 1e-10,
    most_steps: int = 100,
) -> Tensor:
    """The q that minimises KL(p_g, q) + the sum of KL(p_m, q) over active specialists: (cases, classes) float64.

    Section 5.4.  generalist: (cases, classes) log-probabilities or logits; active: (cases, specialists) bool, see
    `active`.  KL(p_m, q) compares class by class within the subset, and the dustbin with the sum of q outside.

    The paper descends the gradient for each image.  But the optimum is known up to one number for each active
    specialist, in closed form for a single one, and by Newton's method for several: see `solved`.  No case is further
    than `tolerance` nats from its optimum.

    Raises ValueError for NaN and infinity (but -inf, a specialist's zero), for label spaces or numbers of cases that do
    not fit, and for a class to which the generalist gives no probability; RuntimeError for cases that most_steps leave
    further from their optimum.
    """
    _check_fit(generalist, answers, active)
    q, gap = torch.empty(generalist.shape, dtype=torch.float64), torch.empty(len(active), dtype=torch.float64)
    most = max((len(answer.subset) for answer in answers), default=0)
    for start in range(0, len(active), AT_ONCE):
        cases = slice(start, start + AT_ONCE)
        some = [Answer(answer.subset, answer.log_probabilities[cases]) for answer in answers]
        given, counts = _evidence(generalist[cases], some, active[cases]), active[cases].sum(1)
        for count in counts.unique().tolist():
            # As many at a time as a processor's cache holds: memory does not grow with the number of specialists.
            for block in (counts == count).nonzero()[:, 0].split(max(1, CACHED // max(1, count * count * most))):
                of = start + block
                q[of], gap[of], _ = solved(select(given, block), active[of], tolerance, most_steps)
    if len(far := gap[~(gap <= tolerance)]):
        raise RuntimeError(
            f"After {most_steps} steps {len(far)} cases may still be {far.max():.1e} nats from their optimum: raise "
            "the tolerance to that."
        )
    return q


def solved(given: Evidence, active: Tensor, tolerance: float, most_steps: int) -> tuple[Tensor, Tensor, int]:
    """The optimal q (cases, classes), a bound in nats (cases,) on how far it is from that, and the steps that it took.

    active: (cases, specialists) bool, as many for each case.  With d the `direct`, b_m an active specialist's
    `dustbin`, M their number and w_m = b_m / (q outside S_m), the objective's gradient vanishes where

        q_i = d_i / r_i,  r_i = 1 + M - the sum of w_m over the m whose dustbin stands for i,

    and these w maximise the concave sum of d_i log r_i and of b_m log w_m.  A single specialist has
    w = 2 b / (b + the sum of d outside S).  Several start there, scaled to leave r positive, and take Newton steps,
    each as long as the slope along it does not turn steeply down.  `rest`, 1 + M - the sum of all w, is a variable of
    its own: a specialist that contradicts a saturated generalist makes it as small as 1e-30.  For any feasible w the
    objective's lower bound tells how far q is from the optimum.
    """
    cases, number = len(active), int(active[0].sum())
    special, direct, outside, b = _special(given, active)
    others = direct[:, -1:].clamp_min(TINY)
    apart = _sums(outside, direct)
    apart = torch.where(apart > 0, apart, 1.0)  # of a specialist of all classes, whose dustbin says nothing
    scale = (number + 1) / max(number, 1)
    w = scale * b / (b + apart)
    rest = (scale * apart / (b + apart)).sum(1, keepdim=True) if number else torch.ones_like(given.models)
    left, found, gap = torch.arange(cases), torch.empty_like(direct), torch.empty_like(rest[:, 0])
    for steps in range(most_steps + 1):
        r, q, mass = _shares(direct, outside, w, rest)
        ratio = b / w / mass
        found[left], gap[left] = q, (1 + number) * q.sum(1).log() + (b * ratio.log()).sum(1)
        far = ~(gap[left] <= tolerance)  # NaN is far too
        if steps == most_steps or not far.any():
            found /= found.sum(1, keepdim=True)
            q = (given.direct * (found[:, -1:] / others)).scatter(1, special, 0)
            return q.scatter_add_(1, special, found[:, :-1]), gap, steps
        left, direct, outside, b, w, rest, r, q, ratio = (
            each[far] for each in (left, direct, outside, b, w, rest, r, q, ratio)
        )
        step, slope = _newton_step(outside, q / r, b, w, ratio)
        moved = (step * w).sum(1, keepdim=True)
        length = (0.9 / (-step).amax(1, keepdim=True).clamp_min(0.9)).clamp_max(1)  # w stays positive, and rest
        length = torch.where(moved > 0, torch.minimum(length, 0.9 * rest / moved.clamp_min(TINY)), length)
        steep = torch.arange(len(left))
        for _ in range(HALVINGS):
            new = (w * (1 + length * step))[steep]
            _, _, mass = _shares(direct[steep], outside[steep], new, (rest - length * moved)[steep])
            along = ((b[steep] / new - mass) * (step * w)[steep]).sum(1)
            steep = steep[along < -slope[steep] / 4]
            if len(steep) == 0:
                break
            length[steep] /= 2
        w, rest = w * (1 + length * step), rest - length * moved


def _special(given: Evidence, active: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The evidence on the classes of the active subsets, all others being one, whose r is the same.

    Arguments: see `solved`.  Gives the classes, (cases, special), one of several subsets as often; what the models give
    each of these, equal parts for the same class, and, last, all others; where the active dustbins stand for them,
    (cases, active, special + 1); and what those hold, (cases, active).
    """
    who = active.nonzero()[:, 1].view(len(active), -1)
    inside = 1 - given.outside
    held, table = inside.topk(int(inside.sum(1).max()) if len(inside) else 0)
    table = torch.where(held > 0, table, table[:, :1])  # a shorter subset's first class stands in its empty places
    special = table[who].flatten(1)
    outside = given.outside[who[:, :, None], special[:, None]]
    parts = held[who].flatten(1) / (who.shape[1] - outside.sum(1))
    others = given.direct.scatter(1, special, 0).sum(1, keepdim=True)
    direct = torch.cat((given.direct.gather(1, special) * parts, others), 1)
    outside = torch.cat((outside, torch.ones_like(who)[:, :, None]), 2)
    return special, direct, outside, given.dustbin.gather(1, who).clamp_min(TINY)


def _shares(direct: Tensor, outside: Tensor, w: Tensor, rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """r and d / r, (cases, classes), and the sums of the latter outside of each subset, (cases, active)."""
    r = rest + (w[:, None] @ (1 - outside))[:, 0]
    q = direct / r
    return r, q, _sums(outside, q).clamp_min(TINY)


def _sums(outside: Tensor, values: Tensor) -> Tensor:
    return (outside @ values[:, :, None])[:, :, 0]


def _newton_step(outside: Tensor, curvature: Tensor, b: Tensor, w: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Newton's step in each w as a share of it, (cases, active), and the slope along it, (cases,)."""
    gradient = b * (1 - 1 / ratio)
    hessian = (outside * curvature[:, None]) @ outside.mT * w[:, :, None] * w[:, None] + torch.diag_embed(b)
    size = hessian.diagonal(dim1=1, dim2=2).sqrt()
    factor = torch.linalg.cholesky(hessian / size[:, :, None] / size[:, None])
    step = torch.cholesky_solve((gradient / size)[:, :, None], factor)[:, :, 0] / size
    return step, (step * gradient).sum(1)


def objective(q: Tensor, generalist: Tensor, answers: list[Answer], active: Tensor) -> Tensor:
    """KL(p_g, q) + the sum of KL(p_m, q) over active specialists, (cases,) in nats, for any q (cases, classes)."""
    given, p = evidence(generalist, answers, active), generalist.double().softmax(-1)
    entropy = torch.xlogy(p, p).sum(-1)
    for number, answer in enumerate(answers):
        p = answer.log_probabilities.double().softmax(-1)
        entropy += active[:, number] * torch.xlogy(p, p).sum(-1)
    return entropy + divergence(q, given)


def divergence(q: Tensor, given: Evidence) -> Tensor:
    """The objective of section 5.4, up to a constant, (cases,) in nats, of q (cases, classes)."""
    named = torch.xlogy(given.direct, q).sum(-1)
    return -named - torch.xlogy(given.dustbin, q @ given.outside.T).sum(-1)


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
    constant = (objective(z.exp(), generalist, answers, active) - divergence(z.exp(), given)).mean()
    optimiser = torch.optim.Adam([z], lr=learning_rate)
    for step in range(steps):
        q = z.softmax(-1)
        if until is not None and step % 10 == 0 and divergence(q, given).mean() + constant <= until:
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
        cases, inside = active[:, number].nonzero()[:, 0], membership([answer.subset], log_g.shape[1])[0]
        log_p = answer.log_probabilities[cases].double().log_softmax(-1)
        full = log_p[:, -1:] + log_g[cases] - log_g[cases][:, ~inside].logsumexp(1, keepdim=True)
        full[:, list(answer.subset)] = log_p[:, :-1]
        total[cases] += full
    if total.isneginf().all(1).any():
        raise ValueError("The models together exclude every class of a case; pass log-probabilities without -inf.")
    return total.softmax(-1)


def select(given: Evidence, cases: Tensor) -> Evidence:
    """The evidence of some cases."""
    return Evidence(given.direct[cases], given.dustbin[cases], given.outside, given.models[cases])


def _check_fit(generalist: Tensor, answers: list[Answer], active: Tensor) -> None:
    cases, classes = _checked(generalist, "generalist's log-probabilities").shape
    if active.shape != (cases, len(answers)):
        raise ValueError(f"active is {tuple(active.shape)}, not {cases} cases by {len(answers)} specialists.")
    check_bool(active, "active")
    for number, answer in enumerate(answers):
        if not check_known(answer.subset, classes):
            raise ValueError(f"Specialist {number} has no special class; leave it out.")
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
