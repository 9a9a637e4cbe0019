"""The three wings of the package, as what is done with all of them sees them."""

from collections.abc import Iterator

from distillation.commands.train import WINGS
from distillation.core.claims import Claim, Findings
from distillation.core.store import Configuration
from distillation.core.sweep import Plan, Results
from distillation.mnist import claims as mnist_claims
from distillation.mnist import examples as mnist_examples
from distillation.mnist import plan as mnist_plan
from distillation.mnist import results as mnist_results
from distillation.specialists import claims as specialists_claims
from distillation.specialists import examples as specialists_examples
from distillation.specialists import plan as specialists_plan
from distillation.specialists import results as specialists_results
from distillation.speech import claims as speech_claims
from distillation.speech import examples as speech_examples
from distillation.speech import plan as speech_plan
from distillation.speech import results as speech_results

PLANS = (mnist_plan, speech_plan, specialists_plan)
RESULTS = (mnist_results, speech_results, specialists_results)
NOTEBOOKS = {
    number: {"mnist": mnist_results, "speech": speech_results, "specialists": specialists_results}[wing]
    for number, wing in WINGS.items()
}
EXAMPLES = (mnist_examples, speech_examples, specialists_examples)


def results(profile: str = "paper") -> list[Results]:
    """The results of each wing at a profile, without running anything."""
    return [wing.results(profile) for wing in RESULTS]


def shown(of: Results) -> dict[str, tuple]:
    """The examples of a wing, by what captions call them: the file's name, its nets, and how it is collected."""
    return EXAMPLES[[type(each) for each in results()].index(type(of))].SHOWN


def findings() -> list[Findings]:
    """What the claims of each wing came out as in the published run."""
    claims = (mnist_claims.CLAIMS, speech_claims.CLAIMS, specialists_claims.CLAIMS)
    return [Findings(each, found) for each, found in zip(claims, results(), strict=True)]


def claims() -> list[Claim]:
    """The claims of the published run."""
    return [claim for each in findings() for claim in each.asked]


def plan(profile: str = "paper") -> Plan:
    """The plans of all wings, in the order of the notebooks.  Raises ValueError for an unknown profile."""
    found = {number: each for wing in PLANS for number, each in wing.plan(wing.profile(profile)).items()}
    return dict(sorted(found.items()))


def planned(profile: str = "paper") -> Iterator[tuple[str, str, Configuration]]:
    """(notebook, question, configuration) of all planned runs."""
    for notebook, questions in plan(profile).items():
        for question, configs in questions.items():
            for config in configs:
                yield notebook, question, config
