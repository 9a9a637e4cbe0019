"""Sections 5.4 and 5.5: a generalist with all its specialists, and what they add to it (tables 3 and 4)."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from distillation.core.objectives import class_labels, widened
from distillation.core.store import Configuration, Store
from distillation.specialists import inference
from distillation.specialists.assignment import Assignment, check_bool, subsets_of
from distillation.specialists.generalists import Split, load, percent_right
from distillation.specialists.inference import Answer
from distillation.specialists.nets import Specialist, corrected, special_share

COMBINED_BY = ("kl", "own answer", "added log-probabilities")


@dataclass(frozen=True)
class Combination(Configuration):
    """A generalist with all specialists of an assignment, which are like `first` but for their index."""

    experiment: ClassVar[str] = "specialists"
    has_tensors: ClassVar[bool] = False

    first: Specialist
    threads: int = 1

    @property
    def assignment(self) -> Assignment:
        """That of the specialists."""
        return self.first.assignment

    def members(self, store: Store) -> list[Specialist]:
        """The specialists, one per subset of the finished assignment."""
        return [replace(self.first, index=index) for index in range(len(subsets_of(self.assignment, store)))]

    def starts_from(self, store: Store) -> list[Configuration]:
        """Assignment and generalist; once the assignment is finished and tells how many there are, the specialists."""
        found = [self.assignment, self.assignment.generalist]
        return found + self.members(store) if store.has(self.assignment) else found

    def run(self, store: Store) -> dict:
        """Combine on the held-out and test pictures; return {"metrics": {part: `combined`}, "history": []}."""
        split = load(self.assignment.generalist.data)
        seen = store.tensors(self.assignment.generalist)
        members = self.members(store)
        labels = {"held_out": split.held_out_labels, "test": split.pictures.test_labels}
        metrics = {
            part: combined(seen[part], answers_of(members, store, split, part), labels[part])
            for part in ("held_out", "test")
        }
        return {"metrics": metrics | {"specialists": len(members)}, "history": []}

    def main_figure(self, metrics: dict) -> float:
        """The relative gain of n = 1, in percent."""
        found = metrics["test"]
        return 100 * (by_kl(found, 1)["accuracy"] / found["accuracy"] - 1)


def answers_of(members: list[Specialist], store: Store, split: Split, part: str) -> list[Answer]:
    """What finished dustbin specialists say of the "held_out" or "test" pictures, corrected."""
    found = []
    for member in members:
        subset = subsets_of(member.assignment, store)[member.index]
        logits = store.tensors(member)[part]
        found.append(Answer(subset, corrected(logits, special_share(subset, split))))
    return found


def combined(generalist: Tensor, answers: list[Answer], labels: Tensor) -> dict:
    """Tables 3 and 4: accuracies in percent of the generalist alone and with its specialists.

    accuracy, conditional: of the generalist; the latter over pictures of classes that some specialist covers, answers
    restricted to those classes.  combined: one row per n and way to combine with accuracy, conditional, active (mean
    number of active specialists), and `covered`, see `by_coverage`.  Raises ValueError for labels that are no classes.
    """
    classes = generalist.shape[1]
    labels = class_labels(labels, classes, cases=len(generalist))
    subsets = [answer.subset for answer in answers]
    cover = torch.zeros(classes, dtype=torch.int64)
    for subset in subsets:
        cover[list(subset)] += 1
    alone = generalist.argmax(1)
    rows = []
    for n in (1, 2, 3):
        active = inference.active(generalist, subsets, n)
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
    own = widened(generalist).softmax(1)
    own[torch.arange(len(own)), inference.own_answer(generalist, answers, active)] += 1
    found = (
        inference.combine(generalist, answers, active),
        own,
        inference.added_log_probabilities(generalist, answers, active),
    )
    return dict(zip(COMBINED_BY, found, strict=True))


def conditional_accuracy(scores: Tensor, covered: Tensor, labels: Tensor) -> float:
    """Accuracy in percent on pictures of covered classes, answers restricted to those (table 3).

    scores: (cases, classes); covered: (classes,) bool.  Raises ValueError for other types, and labels that are no
    classes.
    """
    check_bool(covered, "covered")
    labels = class_labels(labels, scores.shape[1], cases=len(scores))
    chosen = covered[labels]
    return percent_right(scores[chosen].double().masked_fill(~covered, -torch.inf).argmax(1), labels[chosen])


def by_coverage(coverage: Tensor, before: Tensor, after: Tensor) -> list[dict]:
    """Table 4: per number of specialists covering the right class the cases, and what the specialists changed.

    coverage: (cases,) of the right class; before, after: (cases,) bool, whether the answers are right.  In a row,
    before: right by the generalist alone; fixed: wrong before and right after; broken: the other way round.
    """
    check_bool(before, "before")
    check_bool(after, "after")
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


def by_kl(evaluated: dict, n: int) -> dict:
    """The KL solution's row of what `combined` gives."""
    (chosen,) = [each for each in evaluated["combined"] if each["n"] == n and each["by"] == "kl"]
    return chosen
