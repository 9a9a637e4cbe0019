"""The hyper-parameters of every planned training of a net, from the configurations themselves.

But for the two nets of the forced alignment, which `Alignment` describes.
"""

from typing import Any

import pandas as pd

from distillation.mnist import plan as plans
from distillation.specialists import plan as specialist_plans
from distillation.speech import plan as speech_plans

COLUMNS = ("net", "epochs", "batch size", "learning rate", "temperature", "hard targets' weight", "other")
# Settings that are shown where they are not nothing: field, and how it is called.
OTHER = {
    "max_norm": "max-norm",
    "jitter": "jitter",
    "input_dropout": "input dropout",
    "hidden_dropout": "hidden dropout",
    "weight_decay": "weight decay",
    "mirror": "mirrored",
    "precision": "precision",
}


def questions(profile: str) -> dict[str, dict[str, list]]:
    """The planned runs of a profile: notebook, then question, then configurations."""
    mnist, speech = plans.profile(profile), speech_plans.speech_profile(profile)
    pictures = specialist_plans.specialist_profile(profile)
    section4 = speech_plans.section4(speech)
    section5 = {name: [config.first for config in found] for name, found in specialist_plans.section5(pictures).items()}
    nets = {f"generalists: {name}": [c.assignment.generalist for c in found] for name, found in section5.items()}
    soft = {f"softmax: {name}": found for name, found in specialist_plans.soft_specialists(pictures).items()}
    few = {"few specialists": [config.first for config in specialist_plans.rivals(pictures)]}
    few |= {"generalist trained briefly": [specialist_plans.brief_generalist(pictures)]}
    return {
        "01": plans.section2(mnist) | {"gradient noise": [config.student for config in plans.gradient_noise(mnist)]},
        "02": plans.section3(mnist),
        "03": {name: [c for c in found if hasattr(c, "optimisation")] for name, found in section4.items()},
        "04": nets | {f"specialists: {name}": found for name, found in section5.items()},
        "05": speech_plans.section6(speech),
        "06": soft | few | specialist_plans.mixtures(pictures) | specialist_plans.distilled(pictures),
    }


def table(profile: str) -> pd.DataFrame:
    """One row per question: notebook, question, runs and `COLUMNS`; several values are listed, or given as a range."""
    rows = []
    for notebook, named in questions(profile).items():
        for name, configs in named.items():
            if configs:
                found = [settings(config) for config in configs]
                shown = {column: listed([each[column] for each in found]) for column in COLUMNS}
                rows.append({"notebook": notebook, "runs": name, "number": str(len(configs))} | shown)
    return pd.DataFrame(rows)


def settings(config: Any) -> dict[str, Any]:
    """What the table shows of one configuration; None for what it has not."""
    values, training = vars(config), vars(config.optimisation)
    net = config
    for name in ("assignment", "generalist"):  # a specialist's and a student's net is the generalist's
        net = getattr(net, name, net)
    described = {"mirror": getattr(net, "mirror", False)} | values | training
    taught = values.get("targets", config) is not None  # without soft targets these two settings mean nothing
    other = [_other(called, described.get(name)) for name, called in OTHER.items()]
    return {
        "net": layers(net.hidden) if hasattr(net, "hidden") else "-".join(map(str, net.widths)),
        "epochs": training["epochs"],
        "batch size": training["batch_size"],
        "learning rate": training["learning_rate"],
        "temperature": values.get("temperature") if taught else None,
        "hard targets' weight": values.get("hard_weight") if taught else None,
        "other": ", ".join(text for text in other if text),
    }


def layers(hidden: tuple[int, ...]) -> str:
    """Hidden layers as the paper writes them, such as 2x800, if they are alike."""
    return f"{len(hidden)}x{hidden[0]}" if len(set(hidden)) == 1 else "-".join(map(str, hidden))


def listed(values: list) -> str:
    """Distinct values as text; more than four numbers as a range."""
    found = list(dict.fromkeys(value for value in values if value is not None))
    if len(found) > 4 and all(isinstance(value, int | float) for value in found):
        return f"{_plain(min(found))} to {_plain(max(found))}"
    return "; ".join(_plain(value) if isinstance(value, float) else str(value) for value in found)


def _plain(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _other(called: str, value: Any) -> str:
    if not value or value == "bf16":
        return ""
    return called if value is True else f"{called} {value:g}" if isinstance(value, int | float) else f"{value}"
