"""The claims of sections 4 and 6, one row each, beside what was measured."""

from collections.abc import Callable

from distillation.core.claims import Claim, Finding
from distillation.core.statistics import above, best_of, estimate
from distillation.speech import paper
from distillation.speech.results import (
    SpeechResults,
    absolute,
    best_temperatures,
    gain_kept,
    on_share,
    recovered,
)

SYSTEMS = {
    "baseline": "acoustic model",
    "ensemble": "ensemble of 10",
    "distilled": "distilled single model (larger transfer set)",
}
VALUES = {"frame_accuracy": "test frame accuracy", "wer": "word error rate"}


def _system(system: str, value: str) -> Callable[[SpeechResults, Claim], Finding]:
    return lambda runs, claim: Finding(absolute(runs, system, value), "context")


def gain_finding(runs: SpeechResults, question: str = "distilled") -> Finding:
    """`gain_kept` with its verdict, of the students in the paper's table or of others."""
    kept = gain_kept(runs, question)
    # Most of the gain: at least half for "partly", the target of 70 % for "reproduced".
    return Finding(kept, above(kept, 50, 70))


def recipe_note(runs: SpeechResults) -> str:
    """What must be read beside the table's gain kept: that of the paper's own recipe."""
    found = gain_finding(runs, "distilled, same speech")
    return (
        "The distilled acoustic model of the table has a larger transfer set than the paper's recipe, with which the "
        "share of the gain kept is "
        f"{found.ours.text(0, ' %')}: {found.verdict} ({found.ours.seeds} seeds, notebook 03)."
    )


def _best_temperature(runs: SpeechResults, claim: Claim) -> Finding:
    best, near = best_temperatures(runs)
    # As for the temperatures of section 3: all that cannot be told from the best must be the paper's.
    others = "partly" if claim.paper in near else "not reproduced"
    judged = "reproduced" if near == (claim.paper,) else others
    return Finding(best_of(best, near, runs.profile.seeds), judged)


def _on_all(runs: SpeechResults, claim: Claim) -> Finding:
    return Finding(estimate(runs["full"]["frame_accuracy"]), "context")


def _on_least(question: str, column: str) -> Callable[[SpeechResults, Claim], Finding]:
    def find(runs: SpeechResults, claim: Claim) -> Finding:
        return Finding(estimate(on_share(runs, question, runs.profile.shares[0][0])[column]), "context")

    return find


def _recovered(runs: SpeechResults, claim: Claim) -> Finding:
    found = recovered(runs, runs.profile.shares[0][0])
    # "Most" of the loss: more than half for "partly"; near the paper's share, 75 %, for "reproduced".
    return Finding(found, above(found, 50, 75))


TABLE_1 = tuple(
    Claim(
        f"speech.{system}.{value}",
        "03",
        "context",
        (system, "alignment") if system == "ensemble" else (system,),
        f"{shown}: {name}",
        "percent",
        paper.SPEECH[system][value],
        _system(system, value),
    )
    for system, shown in SYSTEMS.items()
    for value, name in VALUES.items()
)

# fmt: off
# id, notebook, kind, questions of the plan,
#     text,
#     unit, the paper's figure, what finds ours, target
CLAIMS = (
    *TABLE_1,
    Claim("speech.gain_kept", "03", "effect", ("alignment", "baseline", "ensemble", "distilled"),
          "share of the ensemble's gain in frame accuracy kept (larger transfer set)",
          "percent", paper.SPEECH_GAIN_KEPT, lambda runs, claim: gain_finding(runs)),
    Claim("speech.best_temperature", "03", "effect", ("temperature",),
          "acoustic model: best temperature of 1, 2, 5, 10",
          "temperature", paper.SPEECH_TEMPERATURE, _best_temperature),
    Claim("reg.full.frame_accuracy", "05", "context", ("full",),
          "hard targets, all of the data: test frame accuracy",
          "percent", paper.THREE_PERCENT["full"], _on_all),
    Claim("reg.hard3.frame_accuracy", "05", "context", ("hard",),
          "hard targets, 3 % of the data, stopped early",
          "percent", paper.THREE_PERCENT["hard3"], _on_least("hard", "early_frame_accuracy")),
    Claim("reg.soft3.frame_accuracy", "05", "context", ("soft",),
          "soft targets, 3 % of the data",
          "percent", paper.THREE_PERCENT["soft3"], _on_least("soft", "frame_accuracy")),
    Claim("reg.soft3.recovered", "05", "effect", ("full", "hard", "soft"),
          "soft targets, 3 %: share of the lost accuracy recovered",
          "percent", paper.THREE_PERCENT_RECOVERED, _recovered),
)
# fmt: on
