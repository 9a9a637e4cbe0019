"""All runs that a profile plans, across the paper's sections, and where their records are."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from distillation.core.store import Store
from distillation.mnist import gradients
from distillation.mnist import nets as mnist
from distillation.mnist import plan as plans
from distillation.specialists import plan as specialist_plans
from distillation.specialists.plan import SpecialistProfile
from distillation.speech import alignment
from distillation.speech import nets as speech
from distillation.speech import plan as speech_plans
from distillation.speech.alignment import Alignment
from distillation.speech.plan import SpeechProfile

RECIPES = specialist_plans.RECIPES | {
    "mnist": mnist.RECIPE,
    "gradients": gradients.RECIPE,
    "alignment": alignment.RECIPE,
    "speech": speech.RECIPE,
}


@dataclass(frozen=True)
class Run:
    """A planned run: its experiment and configuration."""

    experiment: str
    config: Any


@dataclass(frozen=True)
class Published:
    """The runs of a profile (by default the published one) and their stores.

    folder: of the records, if they are not the profile's own.
    """

    profile: str = "paper"
    folder: Path | None = None

    @property
    def records(self) -> Path:
        """The folder that holds a folder of records for each experiment."""
        return self.folder or plans.results_folder(self.profile) / "records"

    @cached_property
    def speech(self) -> SpeechProfile:
        """What the profile plans for sections 4 and 6."""
        return speech_plans.speech_profile(self.profile)

    @cached_property
    def pictures(self) -> SpecialistProfile:
        """What the profile plans for sections 5 to 8."""
        return specialist_plans.specialist_profile(self.profile)

    @property
    def alignment(self) -> Alignment:
        """The alignment, which is frozen: every acoustic model shares it."""
        return self.speech.alignment

    def store(self, experiment: str) -> Store:
        """An experiment's store."""
        return Store(self.records / experiment, RECIPES[experiment])

    def name(self, run: Run) -> str:
        """Where the run's record lies in the folder of records, without its ending."""
        return f"{run.experiment}/{self.store(run.experiment).key(run.config)}"

    def runs(self) -> dict[str, set]:
        """The configurations of all planned runs, by experiment.

        Members of specialists are known from the records of their assignments.  Raises StoreError if these are missing.
        """
        main = plans.profile(self.profile)
        nets = {config for runs in (plans.section3(main) | plans.section2(main)).values() for config in runs}
        nets |= {net for config in nets if isinstance(config, mnist.Student) for net in mnist.members(config.teacher)}
        sections = speech_plans.section4(self.speech) | speech_plans.section6(self.speech)
        models = {config for runs in sections.values() for config in runs}
        models |= set(speech.teachers_of(list(models)))
        found = {"mnist": nets, "gradients": set(plans.gradient_noise(main))}
        found |= {"speech": models, "alignment": {self.alignment}}
        pictures = self.pictures
        for runs in (specialist_plans.section5_runs(pictures), specialist_plans.open_question_runs(pictures)):
            for experiment, configs in runs.items():
                found[experiment] = found.get(experiment, set()) | configs
        return found

    def claims(self) -> dict[str, list[Run]]:
        """The headline results that can be run with fresh seeds: their runs, one per seed."""
        section3 = plans.section3(plans.profile(self.profile))
        section4 = speech_plans.section4(self.speech)
        combined = specialist_plans.section5(self.pictures)["specialists"]
        found = {
            **{f"mnist.{name}": ("mnist", section3[name]) for name in ("teacher", "plain", "distilled")},
            "speech.baseline.frame_accuracy": ("speech", section4["baseline"]),
            "specialists.baseline.accuracy": ("generalists", [config.assignment.generalist for config in combined]),
            "specialists.relative_gain": ("specialists", combined),
        }
        return {name: [Run(experiment, config) for config in configs] for name, (experiment, configs) in found.items()}
