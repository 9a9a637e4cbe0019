"""What a notebook calls first: train what its profile lacks, and hand over the finished runs."""

from distillation.core.sweep import sweep
from distillation.mnist import examples, gradients
from distillation.mnist import nets as mnist
from distillation.mnist import plan as plans
from distillation.mnist.claims import Runs
from distillation.specialists import examples as specialist_examples
from distillation.specialists import generalists, inference_time, open_questions
from distillation.specialists import nets as specialists
from distillation.specialists import plan as specialist_plans
from distillation.specialists.claims import SpecialistRuns
from distillation.speech import alignment
from distillation.speech import examples as speech_examples
from distillation.speech import nets as speech
from distillation.speech import plan as speech_plans
from distillation.speech.claims import SpeechRuns


def reproduce(profile_name: str, notebook: str, train: bool) -> Runs:
    """The runs of a notebook ("01" or "02") at a profile.

    Trains what is missing, with progress, unless the profile is "paper" and train is False: then a missing record is an
    error when it is read.  Raises ValueError for an unknown profile.
    """
    profile = plans.profile(profile_name)
    if train or profile.name != "paper":
        store = profile.store("mnist")
        shown = {name: plans.section3(profile)[name][:1] for name in ("teacher", "plain", "distilled")}
        section = shown | plans.section2(profile) if notebook == "01" else plans.section3(profile)
        for number, (name, configs) in enumerate(section.items(), 1):
            mnist.run_all(configs, store, name=f"{number}/{len(section)} {name}")
        if notebook == "01":
            gradients.run_all(plans.gradient_noise(profile), profile.store("gradients"), name="gradients")
        if not examples.are_current(profile):
            nets = [configs[0] for configs in shown.values()]
            sweep(mnist.run, nets, store, name="examples", needs_tensors=True)
            examples.make(profile)
    return Runs(profile)


def reproduce_speech(profile_name: str, notebook: str, train: bool) -> SpeechRuns:
    """Likewise for notebooks "03" and "05": the corpus is aligned first, then acoustic models are trained."""
    profile = speech_plans.speech_profile(profile_name)
    if train or profile.name != "paper":
        aligned = [profile.alignment]
        sweep(alignment.run, aligned, profile.store("alignment"), name="alignment", needs_tensors=True)
        section = speech_plans.section4(profile) if notebook == "03" else speech_plans.section6(profile)
        for number, (name, configs) in enumerate(section.items(), 1):
            speech.run_all(configs, profile.store("speech"), name=f"{number}/{len(section)} {name}")
        if notebook == "03" and not speech_examples.are_current(profile):
            shown = [section[system][0] for system in speech_examples.SYSTEMS]
            speech.run_all(shown, profile.store("speech"), name="examples", needs_tensors=True)
            speech_examples.make(profile)
    return SpeechRuns(profile)


def reproduce_specialists(profile_name: str, notebook: str, train: bool) -> SpecialistRuns:
    """Likewise for notebooks "04" and "06": generalists, class assignments and specialists before what uses them."""
    profile = specialist_plans.specialist_profile(profile_name)
    if train or profile.name != "paper":
        store = profile.store("specialists")
        section = specialist_plans.section5(profile)
        if notebook == "06":
            section = {"specialists": section["specialists"], "rivals": specialist_plans.rivals(profile)}
        for number, (name, configs) in enumerate(section.items(), 1):
            specialists.run_all(configs, store, name=f"{number}/{len(section)} {name}")
        if notebook == "04":
            online = [config for config in specialist_plans.online(profile) if not store.has(config)]
            specialists.prepare(online, store, name="on-line clusters")
            sweep(inference_time.run, [profile.inference], profile.store("inference_time"), name="inference time")
            if not specialist_examples.are_current(profile):
                _examples(profile)
        else:
            _open_questions(profile)
    return SpecialistRuns(profile)


def _examples(profile: specialist_plans.SpecialistProfile) -> None:
    store, shown = profile.store("specialists"), specialist_plans.section5(profile)["specialists"][0]
    specialists.prepare([shown.assignment], store, name="examples")
    sweep(specialists.run, shown.members(store), store, name="examples", needs_tensors=True)
    specialist_examples.make(profile)


def _open_questions(profile: specialist_plans.SpecialistProfile) -> None:
    for softmax, configs in specialist_plans.soft_specialists(profile).items():
        assignments = [config.assignment for config in configs if not profile.store("specialists").has(config)]
        specialists.prepare(assignments, profile.store("specialists"), name=softmax)
        sweep(specialists.run, configs, profile.store("specialists"), name=f"specialists, {softmax} softmax")
    control = [specialist_plans.brief_generalist(profile)]
    sweep(generalists.run, control, profile.store("generalists"), name="a generalist trained briefly")
    rest = specialist_plans.mixtures(profile) | specialist_plans.distilled(profile)
    for number, (name, configs) in enumerate(rest.items(), 1):
        open_questions.run_all(configs, profile.store("open_questions"), name=f"{number}/{len(rest)} {name}")
