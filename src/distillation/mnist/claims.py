"""The claims of sections 1 to 3, one row each, beside what was measured."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from distillation.core.claims import Claim, Finding
from distillation.core.statistics import (
    Estimate,
    above,
    agreement,
    answered,
    below,
    best_of,
    estimate,
    presuming,
    similar,
)
from distillation.mnist import limits, paper
from distillation.mnist.examples import Examples
from distillation.mnist.results import (
    MnistResults,
    advantage_at,
    advantage_of_short,
    best_hard_weights,
    best_temperatures,
    bootstrapped_spread,
    data_share,
    difference,
    ensemble_difference,
    ensemble_gain,
    gradient_ratio,
    learning_rate_ratio,
    outside_minus_inside,
    spread_at_high_temperatures,
    transferred,
)

NAN = float("nan")


def _exact(ours: float, holds: bool) -> Finding:
    return Finding(Estimate(ours, NAN, NAN, (ours,)), "holds" if holds else "does not hold")


def _absolute(runs: MnistResults, claim: Claim, values, better: int = -1) -> Finding:
    found = estimate(values)
    # Only errors on the paper's own digits can agree with the paper's.
    on_mnist = runs.profile.dataset == "mnist"
    return Finding(found, agreement(found, claim.paper, claim.target, better) if on_mnist else "context")


def _example_logits(runs: MnistResults) -> tuple[Tensor, Tensor]:
    examples = Examples.load(runs)
    return examples.student_logits, examples.teacher_logits


def _gradient(runs: MnistResults, claim: Claim) -> Finding:
    # To twelve decimals: what lies below differs between processors.
    deviation = round(limits.gradient_deviation(*_example_logits(runs), [1.0, 2.5, 20.0]), 12)
    return _exact(deviation, deviation < claim.target)


def _scaling(runs: MnistResults, claim: Claim) -> Finding:
    z, v = _example_logits(runs)
    far = limits.logit_range(z, v)
    grid = list(np.geomspace(10 * far, 1000 * far, 9))
    slope = limits.exponent(limits.against_temperature(z, v, grid), "plain", 10 * far)
    return _exact(slope, abs(slope + 2) < claim.target)


def _logit_limit(runs: MnistResults, claim: Claim) -> Finding:
    z, v = _example_logits(runs)
    limit = limits.against_temperature(z, v, [100 * limits.logit_range(z, v)])["deviation"].item()
    return _exact(limit, limit < claim.target)


def _gradient_variance(runs: MnistResults, claim: Claim) -> Finding:
    found = gradient_ratio(runs)
    return Finding(found, below(found, 0.5, 1))


def _learning_rate(runs: MnistResults, claim: Claim) -> Finding:
    found = learning_rate_ratio(runs)
    return Finding(found, above(found, 1, 2))


def _less_data(runs: MnistResults, claim: Claim) -> Finding:
    percent = data_share(runs)
    share = Estimate(0.01 * percent.mean, 0.01 * percent.low, 0.01 * percent.high, percent.values)
    return Finding(share, below(percent, 50, 100))


def _errors(question: str) -> Callable[[MnistResults, Claim], Finding]:
    return lambda runs, claim: _absolute(runs, claim, runs.errors(question))


def _no_threes(column: str) -> Callable[[MnistResults, Claim], Finding]:
    return lambda runs, claim: _absolute(runs, claim, runs["no 3s"][column])


def _threes_recognised(runs: MnistResults, claim: Claim) -> Finding:
    found = runs["no 3s"]
    return _absolute(runs, claim, 100 * (1 - found["errors_on_omitted_test"] / found["omitted_cases"]), better=1)


def _sevens_and_eights(column: str) -> Callable[[MnistResults, Claim], Finding]:
    def find(runs: MnistResults, claim: Claim) -> Finding:
        found = runs["only 7s and 8s"]
        return _absolute(runs, claim, 100 * found[column] / found["evaluated"])

    return find


def _advantage_kept(runs: MnistResults, claim: Claim) -> Finding:
    found = transferred(runs)
    return Finding(found, presuming(difference(runs.errors("plain"), runs.errors("teacher")), above(found, 50, 75)))


def _high_temperatures(runs: MnistResults, claim: Claim) -> Finding:
    _width, spread = spread_at_high_temperatures(runs)
    return Finding(spread, similar(spread, advantage_of_short(runs)))


def _low_temperatures(runs: MnistResults, claim: Claim) -> Finding:
    # Below every temperature outside the paper's range, but for those next to it; partly: the best lies inside.
    width, (low, high) = min(runs.profile.widths), paper.BEST_TEMPERATURES_30_UNITS
    best, near = best_temperatures(runs, width)
    gaps = outside_minus_inside(runs, width)
    if min(gap.low for gap in gaps) > 0:
        judged = "reproduced"
    elif low <= best <= high:
        judged = "partly"
    else:
        judged = "not reproduced" if min(gap.high for gap in gaps) < 0 else "inconclusive"
    return Finding(best_of(best, near, _seeds(runs, "temperature", width=width)), judged)


def _hard_weight(runs: MnistResults, claim: Claim) -> Finding:
    best, near = best_hard_weights(runs)
    if near[-1] < 0.5:
        judged = "reproduced"
    elif best < 0.5:
        judged = "partly"
    else:
        judged = "inconclusive" if near[0] < 0.5 else "not reproduced"
    return Finding(best_of(best, near, _seeds(runs, "hard weight, held out")), judged)


def _seeds(runs: MnistResults, question: str, **where) -> int:
    return len(set(runs.matching(question, **where)["seed"]))


def _unlabelled(runs: MnistResults, claim: Claim) -> Finding:
    unseen, own = (runs.errors("unlabelled", cases=half) for half in ("second half", "first half"))
    allowed = advantage_of_short(runs) / 4
    return Finding(estimate(unseen), below(difference(unseen, own), allowed, allowed))


def _means(runs: MnistResults, claim: Claim) -> Finding:
    found = ensemble_difference(runs)
    students = difference(runs.errors("plain"), runs.errors("ensemble", mean_of="arithmetic"))
    return Finding(found, presuming(ensemble_gain(runs), similar(found, students.mean)))


def _ensembles_student(runs: MnistResults, claim: Claim) -> Finding:
    found = difference(runs.errors("ensemble's student"), runs.errors("distilled"))
    return Finding(found, answered(Estimate(-found.mean, -found.high, -found.low, found.values)))


# Of the plan in the making.


def _high_temperatures_by_width(runs: MnistResults, claim: Claim) -> Finding:
    width, spread = bootstrapped_spread(runs)
    return Finding(spread, similar(spread, advantage_at(runs, width)))


def _unlabelled_against_hard(runs: MnistResults, claim: Claim) -> Finding:
    found = difference(runs.errors("unlabelled", cases="second half"), runs.errors("half, hard targets"))
    return Finding(found, below(found, 0, 0))


def _range(low: float, high: float) -> str:
    return f"{low:g}-{high:g}"


# fmt: off
# id, notebook, kind, questions of the plan,
#     text,
#     unit, the paper's figure, what finds ours, target
CLAIMS = (
    Claim("loss.gradient", "01", "identity", ("examples",),
          "the softened cross-entropy's gradient is (q - p) / T: largest deviation",
          "absolute", 0, _gradient, 1e-12),
    Claim("loss.t2_scaling", "01", "identity", ("examples",),
          "soft gradients scale as 1/T²: exponent of T",
          "exponent", -2, _scaling, 0.05),
    Claim("loss.logit_limit", "01", "identity", ("examples",),
          "high temperature matches logits: relative deviation at 100 logit ranges",
          "ratio", 0, _logit_limit, 0.05),
    Claim("soft.gradient_variance", "01", "effect", ("gradients along training",),
          "soft targets: less gradient noise to signal, soft over hard, first epoch",
          "ratio", "", _gradient_variance),
    Claim("soft.learning_rate", "01", "effect", ("learning rate, held out", "gradients along training"),
          "soft targets: a higher learning rate, soft over hard, at equal gradient norms",
          "ratio", "", _learning_rate),
    Claim("soft.less_data", "01", "effect", ("size",),
          "soft targets: less data, share at which soft equals hard on all",
          "ratio", "", _less_data),
    Claim("mnist.teacher", "02", "figure", ("teacher",),
          "large net 2x1200 with dropout, max-norm and jitter",
          "errors", paper.TEACHER_ERRORS, _errors("teacher"), (0, 72)),
    Claim("mnist.plain", "02", "figure", ("plain",),
          "small net 2x800 on hard targets",
          "errors", paper.PLAIN_ERRORS, _errors("plain"), (135, 160)),
    Claim("mnist.distilled", "02", "figure", ("distilled",),
          "small net 2x800 on soft targets at T = 20",
          "errors", paper.DISTILLED_ERRORS, _errors("distilled"), (0, 88)),
    Claim("mnist.advantage_kept", "02", "effect", ("teacher", "plain", "distilled"),
          "share of the large net's advantage that the small one keeps",
          "percent", paper.ADVANTAGE_KEPT, _advantage_kept),
    Claim("mnist.temperature_300", "02", "effect", ("temperature", "plain, short"),
          "300 units or more, T >= 8: largest difference",
          "errors", "", _high_temperatures),
    Claim("mnist.temperature_30", "02", "effect", ("temperature",),
          "30 units: best temperature",
          "temperature", _range(*paper.BEST_TEMPERATURES_30_UNITS), _low_temperatures),
    Claim("mnist.no3.errors", "02", "figure", ("no 3s",),
          "no 3s in the transfer set",
          "errors", paper.NO_THREES["errors"], _no_threes("errors")),
    Claim("mnist.no3.errors_on_threes", "02", "figure", ("no 3s",),
          "no 3s: errors on the threes",
          "errors", paper.NO_THREES["errors_on_threes"], _no_threes("errors_on_omitted_none")),
    Claim("mnist.no3.corrected_errors", "02", "figure", ("no 3s",),
          "no 3s, bias of 3 corrected",
          "errors", paper.NO_THREES["corrected"], _no_threes("errors_test")),
    Claim("mnist.no3.corrected_threes", "02", "figure", ("no 3s",),
          "no 3s, bias corrected: threes recognised",
          "percent", paper.NO_THREES["percent"], _threes_recognised, (98, 100)),
    Claim("mnist.only78.error", "02", "figure", ("only 7s and 8s",),
          "only 7s and 8s in the transfer set",
          "percent", paper.ONLY_SEVENS_AND_EIGHTS["error_percent"], _sevens_and_eights("errors")),
    Claim("mnist.only78.corrected_error", "02", "figure", ("only 7s and 8s",),
          "only 7s and 8s, biases corrected",
          "percent", paper.ONLY_SEVENS_AND_EIGHTS["corrected_percent"], _sevens_and_eights("errors_test")),
    Claim("mnist.hard_weight", "02", "effect", ("hard weight, held out",),
          "best weight of the hard targets",
          "weight", "", _hard_weight),
    Claim("mnist.unlabelled", "02", "effect", ("unlabelled", "plain, short", "temperature"),
          "images new to the teacher, unlabelled (judged: minus those that it learnt)",
          "errors", "", _unlabelled),
    Claim("ensemble.mean", "02", "effect", ("ensemble", "means", "plain"),
          "geometric minus arithmetic mean of an ensemble",
          "errors", "", _means),
    Claim("mnist.ensemble_student", "02", "beyond", ("ensemble's student", "distilled"),
          "a small net taught by an ensemble of large ones: errors minus those of students of one",
          "errors", "", _ensembles_student),
    # Of the plan in the making: where a plan asks all of a row's questions, it stands in place of that above.
    Claim("mnist.temperature_300", "02", "effect", ("temperature", "plain", "plain, narrower"),
          "300 units or more, T >= 8: largest difference",
          "errors", "", _high_temperatures_by_width),
    Claim("mnist.unlabelled", "02", "effect", ("unlabelled", "half, hard targets"),
          "unlabelled images new to the teacher: errors minus those of hard targets of the same",
          "errors", "", _unlabelled_against_hard),
)
# fmt: on
