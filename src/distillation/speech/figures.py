"""The figures of notebooks 03 and 05: an utterance with its aligned phones and posteriors, confusions, curves."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from distillation.core.figures import COLOURS, MARKERS
from distillation.speech.examples import Example, SpeechExamples
from distillation.speech.recogniser.filterbanks import SHIFT_MS


def utterance_figure(example: Example, examples: SpeechExamples) -> Figure:
    """Filterbanks of an utterance with the phones of the alignment, and under it each system's phone posteriors."""
    aligned = examples.phone_of[example.labels].numpy()
    shown = list(dict.fromkeys(aligned.tolist()))
    systems = example.posteriors
    figure, panels = plt.subplots(
        1 + len(systems), 1, figsize=(7.2, 6.4), sharex=True, height_ratios=[1.5, *[1] * len(systems)]
    )
    seconds = len(aligned) * SHIFT_MS / 1000
    features = example.features.float().numpy().T
    panels[0].imshow(features, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, len(features)))
    panels[0].set(ylabel="mel band", title=f"“{example.words.lower()}”, speaker {example.speaker}")
    _phone_labels(panels[0], aligned, examples.phones, len(features))
    for axes, (system, posteriors) in zip(panels[1:], systems.items(), strict=True):
        found = posteriors.float().numpy()[:, shown]
        picture = axes.imshow(
            found.T,
            aspect="auto",
            cmap="cividis",
            vmin=0,
            vmax=1,
            extent=(0, seconds, len(shown), 0),
            interpolation="nearest",
        )
        axes.set_yticks(np.arange(len(shown)) + 0.5, [examples.phones[phone] for phone in shown], fontsize=6)
        axes.set_ylabel(system)
        axes.grid(False)
    panels[0].grid(False)
    panels[-1].set_xlabel("seconds")
    figure.colorbar(picture, ax=panels[1:], label="probability of the phone", shrink=0.8)
    return figure


def confusion_figure(examples: SpeechExamples, system: str) -> Figure:
    """Phones of a system's most probable states against those of the alignment, in percent of each row."""
    counts = examples.confusions[system].numpy()
    share = 100 * counts / counts.sum(1, keepdims=True).clip(1)
    figure, axes = plt.subplots(figsize=(6.4, 5.4))
    # By the square root, in which rare confusions can be seen.
    picture = axes.imshow(share, cmap="cividis", norm=PowerNorm(0.5, 0, 100))
    figure.colorbar(picture, label="% of the phone's test frames", ticks=[0, 1, 5, 10, 20, 40, 60, 80, 100], shrink=0.9)
    axes.grid(False)
    axes.set_xticks(range(len(share)), examples.phones, rotation="vertical")
    axes.set_yticks(range(len(share)), examples.phones)
    axes.tick_params(labelsize=6)
    axes.set(xlabel=f"phone of the {system} model's most probable state", ylabel="phone of the alignment")
    return figure


def _phone_labels(axes: Axes, aligned: np.ndarray, phones: tuple[str, ...], top: int) -> None:
    starts = [0, *(np.flatnonzero(np.diff(aligned)) + 1).tolist(), len(aligned)]
    for start, end in itertools.pairwise(starts):
        axes.axvline(start * SHIFT_MS / 1000, color="white", linewidth=0.5)
        middle = (start + end) / 2 * SHIFT_MS / 1000
        axes.text(middle, top * 0.94, phones[aligned[start]], color="white", fontsize=6, ha="center", va="top")


def worst_confusions(examples: SpeechExamples, system: str, number: int) -> str:
    """The pairs of phones, silence aside, that cost most test frames, as "M for N (31 frames), ..."."""
    counts = examples.confusions[system].clone()
    counts.fill_diagonal_(0)
    counts[-1], counts[:, -1] = 0, 0  # silence is the last phone
    worst = counts.flatten().argsort(descending=True, stable=True)[:number].tolist()
    pairs = [divmod(cell, len(examples.phones)) for cell in worst]
    return ", ".join(f"{examples.phones[b]} for {examples.phones[a]} ({counts[a, b]:,} frames)" for a, b in pairs)


def ranges(axes: Axes, runs: pd.DataFrame, x: str, value: str, by: str) -> None:
    """Mean and range of a column against x, a line per group: for curves of runs with as many points each."""
    for number, (key, group) in enumerate(runs.groupby(by, sort=False)):
        found = group.groupby(x)[value].agg(["mean", "min", "max"])
        colour = COLOURS[number]
        axes.fill_between(found.index, found["min"], found["max"], color=colour, alpha=0.18, linewidth=0)
        axes.plot(found.index, found["mean"], color=colour, marker=MARKERS[number], markersize=3, label=str(key))
