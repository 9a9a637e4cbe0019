"""What is published beside the records follows from them, and what a text is filled with stands between its marks."""

import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from distillation.commands import publish, wings
from distillation.core.claims import COLUMNS
from distillation.core.data import REPOSITORY
from distillation.core.figures import PUBLISHED
from distillation.core.store import Store, has_diverged

RECORDS = PUBLISHED / "records"
INDEX = pd.read_csv(RECORDS / "index.csv", dtype={"notebook": str, "name": str}, keep_default_na=False)


# headline.csv


def test_headline_is_what_the_records_give(tmp_path: Path) -> None:
    assert publish.headline_csv(tmp_path).read_text() == (PUBLISHED / "headline.csv").read_text()


def test_headline_has_every_claim_once_in_the_agreed_columns() -> None:
    rows = pd.read_csv(PUBLISHED / "headline.csv")
    assert tuple(rows.columns) == COLUMNS
    assert rows["id"].tolist() == [claim.id for claim in wings.claims()]
    words = {
        "identity": {"holds", "does not hold"},
        "figure": {"reproduced", "better", "partly", "not reproduced"},
        "effect": {"reproduced", "partly", "not reproduced", "inconclusive", "uninformative"},
        "beyond": {"yes", "partly", "no", "unclear"},
        "context": {"context"},
    }
    kinds = [claim.kind for claim in wings.claims()]
    assert all(verdict in words[kind] for verdict, kind in zip(rows["verdict"], kinds, strict=True))
    sections = {"speech": "an4", "reg": "speechocean762", "specialists": "fonts", "open": "fonts"}
    wanted = rows["id"].str.split(".").str[0].map(sections).fillna("mnist")
    for second, of in {"cifar100": "cifar-100", "an4": "an4"}.items():
        wanted = wanted.mask(rows["id"].str.endswith(f".{second}"), of)
    assert (rows["dataset"] == wanted).all()
    with_seeds = rows[rows["seeds"] > 1]
    assert ((with_seeds["low"] <= with_seeds["ours"]) & (with_seeds["ours"] <= with_seeds["high"])).all()


# index.csv


def test_index_is_current() -> None:
    shown = publish.index().astype(str)
    pd.testing.assert_frame_equal(INDEX.astype(str), shown)


def test_index_has_every_record_and_a_row_per_question_and_record() -> None:
    names = set(INDEX["experiment"] + "/" + INDEX["name"])
    assert names == {f"{path.parent.name}/{path.stem}" for path in RECORDS.glob("*/*.json")}
    store = Store.of("paper")
    asked = INDEX[INDEX["question"] != ""]
    rows = (asked["notebook"] + " " + asked["question"] + " " + asked["experiment"] + "/" + asked["name"]).tolist()
    planned = [f"{notebook} {question} {store.name(config)}" for notebook, question, config in wings.planned()]
    assert rows == planned
    assert len(set(rows)) == len(rows)
    rest = INDEX[INDEX["question"] == ""]
    assert set(rest["notebook"]) == {""}
    assert not rest.duplicated(["experiment", "name"]).any()
    assert not set(rest["experiment"] + "/" + rest["name"]) & set(asked["experiment"] + "/" + asked["name"])


def figure_of(kind: str, metrics: dict) -> float | None:
    """The main figure of a run, looked up in its record's metrics."""
    if kind == "Combination":
        (once,) = [row for row in metrics["test"]["combined"] if (row["n"], row["by"]) == (1, "kl")]
        return 100 * (once["accuracy"] / metrics["test"]["accuracy"] - 1)
    names = {
        **dict.fromkeys(("Generalist", "Mixture", "Distilled"), "accuracy"),
        **dict.fromkeys(("AcousticModel", "Ensemble", "Stretched"), "frame_accuracy"),
        **dict.fromkeys(("Net", "EnsembleErrors"), "errors"),
        "SoftTargets": "held_out_accuracy",
        "Assignment": "rand_index",
        "Specialist": "special_accuracy",
        "Student": "errors" if "errors" in metrics else "frame_accuracy",
    }
    return metrics.get("specialist", metrics).get(names.get(kind, ""))


def test_figures_of_the_index_are_those_of_the_records() -> None:
    missing = Counter()
    for row in INDEX.to_dict("records"):
        record = json.loads((RECORDS / row["experiment"] / f"{row['name']}.json").read_text())
        kind, metrics = record["config"]["type"], record["metrics"]
        assert float(row["seconds"]) == record["seconds"]
        assert str(row["seed"]) == str(record["config"].get("seed", ""))
        figure = figure_of(kind, metrics)
        assert row["main figure"] == ("" if figure is None else f"{figure:.6g}"), row
        if kind == "Assignment":  # what is drawn at random has none
            assert (figure is None) == (record["config"]["method"] in ("random", "families"))
        if figure is None and not has_diverged(record):
            missing[kind] += 1
    assert missing.keys() == {
        "Alignment",
        "Assignment",
        "GradientNoise",
        "GradientNoiseAlong",
        "InferenceTime",
        "Transfer",
    }


# Texts


def test_readme_is_current() -> None:
    text = (REPOSITORY / "README.md").read_text()
    assert publish.readme(text) == text


def test_readme_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lost its marks"):
        publish.readme("no table here")


def test_a_text_is_filled_between_its_marks() -> None:
    text = "before\n<!-- a -->\nold\n<!-- end -->\nafter <!-- b --> other"
    found = publish.fill(text, "<!-- a -->", "<!-- end -->", r"new \1 \n", "a.md")
    assert found == "before\n<!-- a -->\nnew \\1 \\n\n<!-- end -->\nafter <!-- b --> other"
    assert publish.fill(found, "<!-- a -->", "<!-- end -->", "old", "a.md") == text
    with pytest.raises(ValueError, match=r"a\.md has lost its marks"):
        publish.fill(text, "<!-- end -->", "<!-- a -->", "new", "a.md")


def test_times_measured_here_take_the_place_of_the_published(tmp_path: Path) -> None:
    def write(profile: str, *rows: tuple[str, str, int]) -> Path:
        path = tmp_path / profile / "times.csv"
        path.parent.mkdir(exist_ok=True)
        pd.DataFrame(rows, columns=["notebook", "profile", "seconds"]).to_csv(path, index=False)
        return path

    published = write("paper", ("02_b", "quick", 1), ("01_a", "smoke", 2), ("02_b", "paper", 3))
    write("quick", ("02_b", "quick", 10), ("01_a", "quick", 11))
    publish.collect_times(published.parent)
    found = pd.read_csv(published)
    assert found.to_numpy().tolist() == [
        ["02_b", "paper", 3],
        ["01_a", "quick", 11],
        ["02_b", "quick", 10],
        ["01_a", "smoke", 2],
    ]


# Only into the repository


def test_another_folder_of_results_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    with pytest.raises(SystemExit, match="unset it first"):
        publish.main()


def test_examples_of_nets_that_are_not_here_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    for path in PUBLISHED.glob("records/*/*.json"):
        copy = tmp_path / "paper" / path.relative_to(PUBLISHED)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.symlink_to(path)
    for wing, results in zip(wings.EXAMPLES, wings.results(), strict=True):
        publish.from_weights(wing, results)
        said = capsys.readouterr().out
        for name, _, _ in wing.SHOWN.values():
            assert f"The nets of examples/{name} are not on this disk" in said
    assert [path.name for path in (tmp_path / "paper").iterdir()] == ["records"]
