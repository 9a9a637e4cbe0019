"""Section 3: nets trained on hard labels, and students trained on the outputs of others."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillation.core import ensembles, objectives
from distillation.core.data import Images
from distillation.core.models import mlp
from distillation.core.statistics import estimate
from distillation.core.store import Store
from distillation.core.sweep import sweep
from distillation.core.training import Diverged, Optimisation, device, logits_of, train
from distillation.mnist import data as mnist

# Raise this number whenever the code would give other results: records of other recipes are never shown.
RECIPE = 1


@dataclass(frozen=True)
class Net:
    """A net trained on hard labels.

    cases: which training cases it sees: "all", "fit" (all but 10,000 held out, a sixth of the set; such a net is
    evaluated on the held-out ones, never on the test set), "first half" or "second half".  size: only so many of them.
    """

    dataset: str = "mnist"
    hidden: tuple[int, ...] = (800, 800)
    input_dropout: float = 0.0
    hidden_dropout: float = 0.0
    cases: str = "all"
    size: int | None = None
    optimisation: Optimisation = Optimisation(epochs=20)
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True)
class Ensemble:
    """Several nets whose distributions are averaged; mean: "arithmetic" or "geometric"."""

    members: tuple[Net, ...]
    mean: str = "arithmetic"

    @property
    def dataset(self) -> str:
        return self.members[0].dataset


@dataclass(frozen=True)
class Student:
    """A net trained on a teacher's outputs, without jitter or other regularisation.

    objective: "distillation" (equation 1 with the hard targets' weight), "logits" (squared error of zero-meaned logits)
    or "mixed labels" (the labels mixed into the soft targets with hard_weight).  omit: classes left out of the transfer
    set.  cases and size as in `Net`.
    """

    teacher: Net | Ensemble
    hidden: tuple[int, ...] = (800, 800)
    objective: str = "distillation"
    temperature: float = 20.0
    hard_weight: float = 0.0
    omit: tuple[int, ...] = ()
    cases: str = "all"
    size: int | None = None
    optimisation: Optimisation = Optimisation(epochs=20)
    seed: int = 0
    threads: int = 1

    @property
    def dataset(self) -> str:
        return self.teacher.dataset


def run(config: Net | Student, store: Store) -> dict:
    """Train and evaluate one net; return {"metrics": {...}, "history": [...]}.

    Metrics: errors among `evaluated` cases (test, or held-out for cases="fit"), errors_by_class, train_errors, and for
    omitted classes the `bias` variants.  Weights and logits are written beside the record.  A diverged run is a result
    too: errors is null and `diverged` says where.
    """
    data = load(config.dataset)
    chosen = training_cases(data, config)
    inputs = as_floats(data.train_images[chosen])
    torch.manual_seed(config.seed)
    model = build(config, data)
    held_out = config.cases == "fit"
    scored_images, scored_labels = evaluation_cases(data, config.cases)
    scored = as_floats(scored_images)

    def held_out_errors(model: nn.Module) -> dict:
        return {"held_out_errors": errors(logits_of(model, scored, precision="bf16"), scored_labels)}

    loss = loss_of(config, data, chosen, store)
    try:
        history = train(
            model,
            inputs,
            loss,
            config.optimisation,
            checkpoint=store.checkpoint(config),
            after_epoch=held_out_errors if held_out else None,
        )
    except Diverged as reason:
        return {"metrics": {"errors": None, "evaluated": len(scored), "diverged": str(reason)}, "history": []}
    logits = logits_of(model, scored)
    train_logits = logits_of(model, as_floats(data.train_images))
    wrong = logits.argmax(1) != scored_labels
    metrics = {
        "errors": int(wrong.sum()),
        "evaluated": len(scored),
        "errors_by_class": [int(wrong[scored_labels == c].sum()) for c in range(len(data.class_names))],
        "train_errors": errors(train_logits[chosen], data.train_labels[chosen]),
        "train_cases": len(chosen),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    if isinstance(config, Student) and config.omit:
        metrics["bias"] = corrected_biases(logits, scored_labels, train_logits, data.train_labels, config.omit)
    weights = {name: value.cpu() for name, value in model.state_dict().items()}
    store.write_tensors(config, weights | {"train_logits": train_logits, "scored_logits": logits})
    return {"metrics": metrics, "history": history}


def run_all(configs: list[Net | Student], store: Store, *, name: str) -> list[dict]:
    """Sweep nets and students; teachers first, and again where a missing student needs their outputs."""
    students = [c for c in configs if isinstance(c, Student) and not store.has(c)]
    teachers = [net for student in students for net in members(student.teacher)]
    sweep(run, teachers, store, name=f"{name}: teachers", needs_tensors=True)
    return sweep(run, configs, store, name=name)


def table(configs: list[Net | Student], store: Store) -> pd.DataFrame:
    """One row per run: its settings, `errors` (of `evaluated` cases), `percent`, train_errors and the bias variants.

    errors_<variant>, errors_on_omitted_<variant> and shift_<variant> are those of `corrected_biases`.
    """
    rows = []
    for config in configs:
        metrics = store.read(config)["metrics"]
        row = {
            "targets": "hard" if isinstance(config, Net) else "soft",
            "width": config.hidden[0],
            "seed": config.seed,
            "cases": config.cases,
            "size": config.size,
            "learning_rate": config.optimisation.learning_rate,
            "epochs": config.optimisation.epochs,
        }
        for name in ("temperature", "hard_weight", "objective", "omit"):
            row[name] = getattr(config, name, None)
        row["mean_of"] = getattr(getattr(config, "teacher", None), "mean", None)
        row |= {name: metrics.get(name) for name in ("errors", "evaluated", "train_errors", "train_cases")}
        if metrics["errors"] is not None:
            row["percent"] = 100 * metrics["errors"] / metrics["evaluated"]
        for variant in ("none", "prior", "test"):
            bias = metrics.get("bias", {}).get(variant, {})
            row |= {f"{name}_{variant}": value for name, value in bias.items()}
        row["omitted_cases"] = metrics.get("bias", {}).get("omitted_cases")
        rows.append(row)
    return pd.DataFrame(rows)


def held_out_curves(configs: list[Student], store: Store) -> pd.DataFrame:
    """Held-out errors during training: hard_weight, seed, epoch (from 1) and percent, one row per run and epoch."""
    rows = []
    for config in configs:
        record = store.read(config)
        for epoch, row in enumerate(record["history"], 1):
            percent = 100 * row["held_out_errors"] / record["metrics"]["evaluated"]
            rows.append({"hard_weight": config.hard_weight, "seed": config.seed, "epoch": epoch, "percent": percent})
    return pd.DataFrame(rows)


def epochs_to_reach(curves: pd.DataFrame) -> tuple[float, pd.DataFrame]:
    """Epochs until each hard weight first reaches an error, as text with a 95 % interval, and that error in percent.

    The error is the highest of the runs' final errors, so that every run reaches it.
    """
    goal = curves[curves["epoch"] == curves["epoch"].max()]["percent"].max()
    reached = curves[curves["percent"] <= goal].groupby(["hard_weight", "seed"])["epoch"].min()
    rows = [
        {"hard weight": f"{weight:g}", "epochs": estimate(values).text(1)}
        for weight, values in reached.groupby("hard_weight")
    ]
    return goal, pd.DataFrame(rows)


def members(teacher: Net | Ensemble) -> tuple[Net, ...]:
    """The nets that make a teacher."""
    return teacher.members if isinstance(teacher, Ensemble) else (teacher,)


@lru_cache(maxsize=2)
def load(name: str) -> Images:
    """The data set, read once per process."""
    return mnist.load(name)


def as_floats(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1]."""
    return images.float() / 255


def build(config: Net | Student, data: Images) -> nn.Sequential:
    """The untrained net of a configuration."""
    sizes = (data.train_images[0].numel(), *config.hidden, len(data.class_names))
    if isinstance(config, Net):
        return mlp(sizes, input_dropout=config.input_dropout, hidden_dropout=config.hidden_dropout)
    return mlp(sizes)


def training_cases(data: Images, config: Net | Student) -> Tensor:
    """Indices into the training set of the cases that a configuration is trained on, in a fixed random order."""
    order = _fixed_order(data)
    half, fit = len(order) // 2, len(order) - len(order) // 6
    chosen = {"all": order, "fit": order[:fit], "first half": order[:half], "second half": order[half:]}[config.cases]
    if isinstance(config, Student) and config.omit:
        chosen = chosen[~torch.isin(data.train_labels[chosen], torch.tensor(config.omit))]
    return chosen[: config.size]


def evaluation_cases(data: Images, cases: str) -> tuple[Tensor, Tensor]:
    """Images and labels to evaluate on: the held-out training cases if cases is "fit", else the test set."""
    if cases != "fit":
        return data.test_images, data.test_labels
    order = _fixed_order(data)
    held_out = order[len(order) - len(order) // 6 :]
    return data.train_images[held_out], data.train_labels[held_out]


def loss_of(config: Net | Student, data: Images, chosen: Tensor, store: Store) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss over (logits, batch index) of a configuration; a teacher's outputs are read once, here."""
    labels = data.train_labels[chosen].to(device())
    if isinstance(config, Net):
        return lambda logits, index: F.cross_entropy(logits, labels[index])
    if config.objective == "logits":
        (teacher,) = members(config.teacher)
        targets = store.tensors(teacher)["train_logits"][chosen].to(device())
        return lambda logits, index: objectives.logit_matching_loss(logits, targets[index])
    soft = soft_targets(config.teacher, config.temperature, store)[chosen].to(device())
    hard_weight = config.hard_weight
    if config.objective == "mixed labels":
        soft, hard_weight = objectives.mix_labels(soft, labels, config.hard_weight), 0.0
    elif config.objective != "distillation":
        raise ValueError(f"Unknown objective {config.objective!r}: use 'distillation', 'logits' or 'mixed labels'.")
    return lambda logits, index: objectives.distillation_loss(
        logits, soft[index], labels[index], temperature=config.temperature, hard_weight=hard_weight
    )


def soft_targets(teacher: Net | Ensemble, temperature: float, store: Store) -> Tensor:
    """The teacher's distributions (training cases, classes) at a temperature, from its stored outputs."""
    logits = torch.stack([store.tensors(net)["train_logits"] for net in members(teacher)])
    if isinstance(teacher, Net) or teacher.mean == "arithmetic":
        mean = ensembles.arithmetic_mean(objectives.soften(logits, temperature))
    elif teacher.mean == "geometric":
        mean = ensembles.geometric_mean(torch.log_softmax(logits / temperature, dim=-1))
    else:
        raise ValueError(f"Unknown mean {teacher.mean!r}: use 'arithmetic' or 'geometric'.")
    return objectives.check_soft_targets(mean)


def errors(logits: Tensor, labels: Tensor) -> int:
    """The number of cases whose largest logit is not at the label."""
    return int((logits.argmax(1) != labels).sum())


def corrected_biases(
    logits: Tensor, labels: Tensor, train_logits: Tensor, train_labels: Tensor, omitted: tuple[int, ...]
) -> dict:
    """Errors after raising the biases of the omitted classes by one shift, chosen three ways (section 3).

    "none": no shift.  "prior": the shift at which the share of omitted classes among the predictions on the
    (unlabelled) training images is their prior.  "test": the best of 0, 0.1, ... 20 on the test labels, as in
    the paper.  Lowering the biases of the other classes is the same thing.  logits, labels: of the cases to evaluate.
    """
    is_omitted = torch.zeros(logits.shape[1], dtype=torch.bool)
    is_omitted[list(omitted)] = True

    def margin(of: Tensor) -> Tensor:
        return of[:, ~is_omitted].max(1).values - of[:, is_omitted].max(1).values

    def result(shift: float) -> dict:
        wrong = (logits + shift * is_omitted).argmax(1) != labels
        return {"shift": shift, "errors": int(wrong.sum()), "errors_on_omitted": int(wrong[is_omitted[labels]].sum())}

    prior = is_omitted[train_labels].float().mean().item()
    matched = torch.quantile(margin(train_logits), prior).item()
    candidates = [result(step / 10) for step in range(201)]
    fewest = min(candidate["errors"] for candidate in candidates)
    best = [candidate for candidate in candidates if candidate["errors"] == fewest]
    return {
        "omitted_cases": int(is_omitted[labels].sum()),
        "none": result(0.0),
        "prior": result(matched),
        "test": best[len(best) // 2],
    }


def _fixed_order(data: Images) -> Tensor:
    return torch.randperm(len(data.train_labels), generator=torch.Generator().manual_seed(0))
