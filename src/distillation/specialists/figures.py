"""The figures and tables of notebooks 04 and 06 that need more than a line: knows tables, metrics and examples."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from distillation.core.figures import COLOURS, MARKERS, PAPER, legend_above, summarise
from distillation.core.statistics import estimate
from distillation.specialists import paper
from distillation.specialists.examples import PictureExamples

METHOD_NAMES = {
    "covariance": "covariance of the predictions",
    "confusion": "confusion matrix",
    "superclasses": "the data set's superclasses",
    "families": "random subsets of whole families",
    "random": "random subsets",
}
WAY_NAMES = {
    "kl": "KL solution",
    "own answer": "own answer",
    "added log-probabilities": "added log-probabilities",
}
SOFTMAX_NAMES = {"dustbin": "dustbin, hard targets", "full": "full softmax, soft targets"}
SYSTEM_NAMES = {
    "generalist": "generalist",
    "generalist, early": "generalist, trained briefly",
    "generalist, large": "a larger generalist",
    "large": "a larger generalist and all specialists",
    "trained on": "generalist, trained on",
    "few specialists": "generalist and few specialists",
    "specialists": "generalist and all specialists",
    "mixture, divided": "mixture, an expert per cluster",
    "mixture, alike": "mixture of generalists",
}
REGIMES = {  # of generalists, as in plan.Profile.regimes
    "specialists": "",
    "early": ", trained briefly",
    "half": ", half the data",
    "large": ", a larger net",
    "by letter": ", other letters to test",
}
NEEDS = {
    "generalist": "nothing: a single net",
    "few specialists": "the generalist's weights, once",
    "specialists": "the generalist's weights, once",
    "mixture, divided": "all others' outputs, in every step",
    "mixture, alike": "all others' outputs, in every step",
}
STUDENT_NAMES = {
    "combined": "generalist and specialists",
    "q": "student of q",
    "p": "student of p_g",
    "larger student": "larger student of q",
    "larger generalist": "larger net on hard targets",
    "held out": "student of q, held-out pictures too",
    "trained on": "the generalist, trained on",
}


def covariance_figure(assignment: dict, class_names: Sequence[str]) -> Figure:
    """Heat map of the correlation of the generalist's predictions in cluster order, from an assignment's metrics."""
    clusters = np.array(assignment["clusters"])
    order = np.argsort(clusters, kind="stable")
    shown = np.array(assignment["correlation"])[np.ix_(order, order)]
    np.fill_diagonal(shown, np.nan)
    limit = np.nanquantile(np.abs(shown), 0.99)
    figure, axes = plt.subplots(figsize=(7.2, 7.6))
    names = [class_names[c].replace("_", " ") for c in order]
    picture = axes.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit)
    figure.colorbar(picture, label="correlation (1 % lie beyond)", shrink=0.5, aspect=40, location="bottom")
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", labelsize=5 if len(names) > 60 else 7, length=0)
    for edge in np.flatnonzero(np.diff(clusters[order])) + 0.5:
        axes.axhline(edge, color="0.4", linewidth=0.4)
        axes.axvline(edge, color="0.4", linewidth=0.4)
    axes.set_xlabel("the same classes in the same order")
    return figure


def alike_figure(examples: PictureExamples, class_names: Sequence[str]) -> Figure:
    """A panel per subset: some letters in some of its classes, a class per row, with their names."""
    panels = [*zip(examples.alike, examples.alike_classes.tolist(), strict=True)]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(7.2, 2.0 * rows), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (pictures, classes) in zip(grid.flat, panels, strict=False):
        height = pictures.shape[-2]
        side_by_side = pictures.permute(0, 2, 1, 3).flatten(2).flatten(0, 1).numpy()
        axes.set_axis_on()
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.imshow(side_by_side, cmap="gray_r", interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks(height * (np.arange(len(classes)) + 0.5), [class_names[c] for c in classes], fontsize=5.5)
        axes.tick_params(length=0)
    return figure


def clusters_table(assignment: dict, class_names: Sequence[str], subsets: int, classes: int) -> pd.DataFrame:
    """The first clusters, with how many classes each has, and the first classes that its specialist takes, as text."""
    sizes = np.bincount(assignment["clusters"])
    rows = []
    for number, subset in enumerate(assignment["subsets"][:subsets]):
        names = dict.fromkeys(class_names[c].replace("_", " ") for c in subset)  # two styles may share one
        told = ", ".join(list(names)[:classes])
        rows.append({"classes in the cluster": str(sizes[number]), "its specialist takes, among others": told})
    return pd.DataFrame(rows)


def examples_figure(examples: PictureExamples, class_names: Sequence[str]) -> Figure:
    """Each picture beside the classes that generalist or combination hold for likely, with bars of both."""
    number = len(examples.labels)
    rows = -(-number // 2)
    ratios = {"width_ratios": [0.45, 1] * 2, "squeeze": False}
    figure, panels = plt.subplots(rows, 4, figsize=(7.2, 1.35 * rows + 0.3), **ratios)
    for axes in panels.flat:
        axes.set_axis_off()
    right = examples.combined.argmax(1) == examples.labels
    for case, label in enumerate(examples.labels.tolist()):
        picture, bars = panels[case // 2, 2 * (case % 2) : 2 * (case % 2) + 2]
        picture.imshow(examples.pictures[case].permute(1, 2, 0).squeeze().numpy(), cmap="gray_r")
        picture.set_title("put right" if right[case] else "put wrong", fontsize=7)
        _bars(bars, examples.generalist[case].numpy(), examples.combined[case].numpy(), label, class_names)
    figure.legend(*panels[0, 1].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _bars(axes: Axes, before: np.ndarray, after: np.ndarray, label: int, class_names: Sequence[str]) -> None:
    """The likeliest classes, names above their bars, the right one's in bold."""
    top = np.argsort(-np.maximum(before, after))[:3][::-1]
    places = np.arange(len(top))
    axes.set_axis_on()
    axes.grid(False)
    axes.barh(places + 0.05, before[top], height=0.24, color="0.7", label="generalist")
    axes.barh(places - 0.2, after[top], height=0.24, color=COLOURS[0], label="with specialists")
    for place, chosen in zip(places, top, strict=True):
        weight = "bold" if chosen == label else "normal"
        axes.text(0.01, place + 0.2, class_names[chosen].replace("_", " "), fontsize=6.5, fontweight=weight)
    axes.set(xlim=(0, 1), ylim=(-0.4, len(top) - 0.4), yticks=[], xticks=[0, 0.5, 1])
    axes.tick_params(axis="x", labelsize=6)


def binned(calibration: pd.DataFrame) -> pd.DataFrame:
    """Per seed and bin of corrected dustbin probability: its mean (said) and the share of other classes (true)."""
    rows = [
        {"seed": row.seed, "bin": round(10 * mean - 0.5), "mean": mean, "share": share, "cases": cases}
        for row in calibration.itertuples()
        for mean, share, cases in row.reliability
    ]
    found = pd.DataFrame(rows)
    found["said"], found["true"] = found["mean"] * found["cases"], found["share"] * found["cases"]
    pooled = found.groupby(["seed", "bin"])[["said", "true", "cases"]].sum().reset_index()
    for column in ("said", "true"):
        pooled[column] /= pooled["cases"]
    return pooled


def reliability(axes: Axes, calibration: pd.DataFrame) -> None:
    """Share of other classes against the corrected dustbin probability, per bin, over seeds."""
    pooled = binned(calibration)
    means = pooled.groupby("bin")[["said", "true"]].mean()
    spread = [estimate(each["true"]) for _, each in pooled.groupby("bin")]
    error = np.nan_to_num([[each.mean - each.low, each.high - each.mean] for each in spread]).T
    axes.plot([0, 1], [0, 1], **PAPER, label="perfectly calibrated")
    axes.errorbar(means["said"], means["true"], yerr=error, fmt="o-", color=COLOURS[0], capsize=3, label="specialists")
    axes.set(xlabel="corrected probability of the dustbin", ylabel="share of other classes", ylim=(-0.03, 1.03))
    axes.legend()


def coverage(axes: Axes, tables: dict[str, pd.DataFrame]) -> None:
    """Relative change against the number of specialists covering the class, of named tables and the paper's table 4."""
    axes.axhline(0, color="0.6", linewidth=0.8)
    for number, (name, table4) in enumerate(tables.items()):
        colour, marker = COLOURS[(0, 2)[number]], MARKERS[number]
        found = summarise(table4, ["specialists"], "relative").sort_values("specialists", ignore_index=True)
        error = np.nan_to_num([found["mean"] - found["low"], found["high"] - found["mean"]])
        error[:, found["seeds"] < found["seeds"].max()] = 0  # classes that only some seeds have
        axes.plot(table4["specialists"], table4["relative"], ".", color=colour, alpha=0.5)
        style = {"marker": marker, "color": colour, "label": name}
        if error.any():
            axes.errorbar(found["specialists"], found["mean"], yerr=error, capsize=3, **style)
        else:
            axes.plot(found["specialists"], found["mean"], **style)
    theirs = np.array(paper.COVERAGE)
    axes.plot(theirs[:, 0], theirs[:, 3], "D--", color=COLOURS[1], markerfacecolor="none", label="paper")
    axes.set(xlabel="specialists that cover the right class", ylabel="relative change in accuracy, %")
    axes.set_xticks(theirs[:, 0].astype(int))
    legend_above(axes)


def by_setting(axes: Axes, runs: pd.DataFrame, x: str, value: str, by: str) -> None:
    """Mean, 95 % interval and seeds of a column for each setting, groups side by side."""
    settings, groups = list(dict.fromkeys(runs[x])), list(dict.fromkeys(runs[by]))
    axes.axhline(0, color="0.6", linewidth=0.8)
    for number, group in enumerate(groups):
        offset = 0.2 * (number - (len(groups) - 1) / 2)
        colour, marker = COLOURS[number], MARKERS[number]
        for place, setting in enumerate(settings):
            values = runs[(runs[x] == setting) & (runs[by] == group)][value].to_numpy()
            found = estimate(values)
            error = np.nan_to_num([[found.mean - found.low], [found.high - found.mean]])
            axes.plot(np.full(len(values), place + offset + 0.05), values, ".", color=colour, alpha=0.4, markersize=4)
            label = group if place == 0 else None
            axes.errorbar(place + offset, found.mean, yerr=error, fmt=marker, color=colour, capsize=3, label=label)
    axes.set_xticks(range(len(settings)), settings)


def difference_curves(axes: Axes, differences: pd.DataFrame, value: str, shares: Sequence[float]) -> None:
    """Mean and 95 % interval of a column, over `index`, against `percent`: a line per share."""
    axes.axhline(0, color="0.6", linewidth=0.8)
    for number, share in enumerate(shares):
        found = summarise(differences[differences["share"] == share], ["percent"], value).sort_values("percent")
        colour, style = COLOURS[number], {"marker": MARKERS[number], "markersize": 3, "label": f"{100 * share:g} %"}
        axes.plot(found["percent"], found["mean"], color=colour, **style)
        axes.fill_between(found["percent"], found["low"], found["high"], color=colour, alpha=0.18, linewidth=0)


def intervals(axes: Axes, found: pd.DataFrame, names: str, by: str) -> None:
    """Horizontal dots with the given intervals (mean, low, high), one row per name, groups one below the other."""
    rows, groups = list(dict.fromkeys(found[names])), list(dict.fromkeys(found[by]))
    axes.axvline(0, color="0.6", linewidth=0.8)
    for number, group in enumerate(groups):
        each = found[found[by] == group].set_index(names).loc[rows]
        places = np.arange(len(rows))[::-1] - 0.2 * (number - (len(groups) - 1) / 2)
        error = np.nan_to_num([each["mean"] - each["low"], each["high"] - each["mean"]])
        style = {"fmt": MARKERS[number], "color": COLOURS[number], "capsize": 3, "markersize": 5}
        axes.errorbar(each["mean"], places, xerr=error, label=group, **style)
    axes.set_yticks(np.arange(len(rows))[::-1], rows)


def budgets(pictures: Axes, minutes: Axes, found: pd.DataFrame) -> None:
    """Accuracy of each system of `SpecialistResults.systems` against pictures seen, and against its least minutes."""
    for number, (system, runs) in enumerate(found.groupby("system", sort=False)):
        got = estimate(runs["accuracy"])
        error = np.nan_to_num([[got.mean - got.low], [got.high - got.mean]])
        style = {"yerr": error, "color": COLOURS[number], "fmt": MARKERS[number], "capsize": 3}
        pictures.errorbar(runs["passes"].mean() / 1e6, got.mean, label=SYSTEM_NAMES[system], **style)
        serial, parallel = (runs[name].min() / 60 for name in ("serial", "parallel"))
        minutes.plot([serial, parallel], [got.mean] * 2, color=COLOURS[number], linewidth=0.8)
        minutes.errorbar(parallel, got.mean, **style)
        minutes.errorbar(serial, got.mean, markerfacecolor="white", **style)
    for axes, label in ((pictures, "pictures seen, millions"), (minutes, "minutes of training")):
        axes.set(xscale="log", xlabel=label)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    pictures.set_ylabel("test accuracy, %")
    pictures.figure.legend(loc="outside lower center", ncols=3, frameon=False)


def regime_name(row: pd.Series) -> str:
    """A generalist's regime in words."""
    times = "once" if row["seen"] == 1 else f"{row['seen']} times"
    return f"{row['dataset']}, {row['pictures']:,} pictures {times}{REGIMES[row['regime']]}"


def regimes(axes: Axes, found: pd.DataFrame) -> None:
    """Relative gain against the gap between the accuracies on training and test pictures, a marker per regime."""
    axes.axhline(0, color="0.6", linewidth=0.8)
    for number, (_, row) in enumerate(found.iterrows()):
        error = [[row["relative"] - row["relative_low"]], [row["relative_high"] - row["relative"]]]
        style = {"fmt": MARKERS[number % len(MARKERS)], "color": COLOURS[number % len(COLOURS)], "capsize": 3}
        axes.errorbar(row["fit"] - row["alone"], row["relative"], yerr=error, label=regime_name(row), **style)
    axes.set(xlabel="accuracy on training minus test pictures, points", ylabel="relative gain, %")
    axes.figure.legend(fontsize=7, loc="outside lower center", ncols=2, frameon=False)


def regimes_table(found: pd.DataFrame) -> pd.DataFrame:
    """The regimes as text."""
    return pd.DataFrame(
        {
            "generalist": [regime_name(row) for _, row in found.iterrows()],
            "seeds": found["seeds"].astype(str),
            "pictures seen": [f"{value:,.0f}" for value in found["pictures_seen"]],
            "by each specialist": [f"{value:,.0f}" for value in found["specialist_pictures"]],
            "training accuracy, %": [f"{value:.1f}" for value in found["fit"]],
            "test accuracy, %": [f"{value:.1f}" for value in found["alone"]],
            "gain, points": [
                f"{row['mean']:.2f} ({row['low']:.2f} to {row['high']:.2f})" for _, row in found.iterrows()
            ],
            "relative gain, %": [
                f"{row['relative']:.1f} ({row['relative_low']:.1f} to {row['relative_high']:.1f})"
                for _, row in found.iterrows()
            ],
        }
    )


def times(axes: Axes, methods: pd.DataFrame) -> None:
    """Seconds per method as bars on a logarithmic axis, labelled."""
    places = np.arange(len(methods))[::-1]
    axes.barh(places, methods["seconds"], color=COLOURS[0], height=0.6)
    for place, seconds in zip(places, methods["seconds"], strict=True):
        label = f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.3g} s"
        axes.annotate(label, (seconds, place), xytext=(3, 0), textcoords="offset points", va="center")
    axes.set_yticks(places, methods["method"])
    axes.set(xscale="log", xlabel="seconds", xlim=(methods["seconds"].min() / 3, 4 * methods["seconds"].max()))
