"""The hyper-parameters of every planned training of a net, from the configurations themselves.

But for the nets of the forced alignment, which `Alignment` describes.
"""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from distillation.commands import wings
from distillation.core.store import Configuration
from distillation.speech.nets import Constant

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
    "constant": "constant rate",
}


def table(profile: str) -> pd.DataFrame:
    """One row per question: notebook, question, runs and `COLUMNS`; several values are listed, or given as a range."""
    rows = [
        {"notebook": notebook, "runs": name, "number": str(len(nets))}
        | {column: listed([settings(net)[column] for net in nets]) for column in COLUMNS}
        for notebook, name, nets in trainings(profile)
    ]
    return pd.DataFrame(rows)


def trainings(profile: str) -> Iterator[tuple[str, str, list[Configuration]]]:
    """(notebook, question, nets that are trained) of a profile; of a combination the first specialist stands for all.

    In notebook 04 the generalists of combinations stand before their specialists.  Runs that an earlier notebook has
    under the same name are not repeated.
    """
    shown: set[tuple] = set()
    for notebook, questions in wings.plan(profile).items():
        new = {name: configs for name, configs in questions.items() if (name, *configs) not in shown}
        shown |= {(name, *configs) for name, configs in new.items()}
        combined = {name: configs for name, configs in new.items() if hasattr(configs[0], "first")}
        if notebook == "04":
            for name, configs in combined.items():
                yield notebook, f"generalists: {name}", [config.assignment.generalist for config in configs]
        for name, configs in new.items():
            nets = [_trained(config) for config in configs]
            if nets := [net for net in nets if hasattr(net, "optimisation") and net.experiment != "alignment"]:
                yield notebook, f"specialists: {name}" if notebook == "04" and name in combined else name, nets


def _trained(config: Any) -> Any:
    """The net that is trained for a run: of a combination a specialist, of a measurement what it is made on."""
    return next((getattr(config, name) for name in ("first", "model", "net") if hasattr(config, name)), config)


def settings(config: Any) -> dict[str, Any]:
    """What the table shows of one configuration; None for what it has not."""
    values, training = vars(config), vars(config.optimisation)
    net = config
    for name in ("assignment", "generalist"):  # a specialist's and a student's net is the generalist's
        net = getattr(net, name, net)
    described = {"mirror": getattr(net, "mirror", False)} | values | training
    described["constant"] = isinstance(config.optimisation, Constant)
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
