"""Where each published number comes from: the page is current, and claims and notebooks name the records they read."""

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import nbformat
import pytest
from IPython import display
from matplotlib import pyplot as plt
from torch import nn
from watching import watched

from distillation.commands import overview, provenance, wings
from distillation.commands.notebooks import NOTEBOOKS
from distillation.core import figures, training
from distillation.core.claims import Claim, Findings
from distillation.core.data import REPOSITORY
from distillation.core.figures import PROVENANCE, PUBLISHED
from distillation.core.sweep import Results
from distillation.core.training import Optimisation
from notebooks import write_notebook

PAGE = provenance.PAGE.read_text()
LINK = re.compile(rf"\]\((?:\.\./)?{re.escape(PROVENANCE)}#([^)]+)\)")
COMMITTED = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
WITH_RECORDS = [path for path in COMMITTED if path.name[:2] in wings.NOTEBOOKS]


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


ANCHORS = [anchor(heading) for heading in re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)]


# The page


def test_page_is_current() -> None:
    assert provenance.page() == PAGE


def test_links_of_the_page_lead_somewhere() -> None:
    targets = dict(re.findall(r"^\[([0-9a-f]{8})\]: (.+)$", PAGE, re.MULTILINE))
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert len(targets) > 500
    assert all(Path(target).name.startswith(name) for name, target in targets.items())
    files = [target for target in (*targets.values(), *links) if not target.startswith("#")]
    assert [target for target in files if not (provenance.PAGE.parent / target).exists()] == []
    inside = {link.removeprefix("#") for link in links if link.startswith("#")}
    assert len(inside) > 20
    assert inside <= set(ANCHORS)
    assert len(ANCHORS) == len(set(ANCHORS))  # else a link would lead to the first of two
    used = set(re.findall(r"(?<!^)\[([0-9a-f]{8})\](?!:)", PAGE))
    assert used <= set(targets)
    whole = re.findall(r"`(records/\S+)`: all", PAGE)  # without a link for each
    assert [name for name in targets if name not in used and Path(targets[name]).parent.as_posix() not in whole] == []


def test_page_has_every_claim_and_question_with_all_its_records() -> None:
    assert {anchor(claim.id) for claim in wings.claims()} <= set(ANCHORS)
    of_name = dict(re.findall(r"^\[([0-9a-f]{8})\]: (.+)$", PAGE, re.MULTILINE))
    parts = dict(re.findall(r"^### (Notebook .+?)\n\n(.+?)\n\n", PAGE, re.MULTILINE | re.DOTALL))
    for results in wings.results():
        for question in (*results.questions, *wings.shown(results)):
            part = parts.pop(results.heading(question), None)
            if part is None:  # of a question that two notebooks ask, with one heading
                assert sum(question in questions for questions in results.plan.values()) > 1
                continue
            listed = {of_name[name] for name in re.findall(r"\[([0-9a-f]{8})\]", part)}
            listed |= set(re.findall(r"\]\(([^)]+)\)", part))
            for folder in re.findall(r"`(\S+)`: all", part):
                listed |= {f"{folder}/{path.name}" for path in (PUBLISHED / folder).glob("*.json")}
            files = provenance.files_of(results, question)
            assert listed == {path.relative_to(PUBLISHED).as_posix() for path in files}, question
    assert not parts


def test_links_to_the_page_lead_somewhere() -> None:
    claims = {anchor(claim.id) for claim in wings.claims()}
    linked = set(LINK.findall((REPOSITORY / "README.md").read_text()))
    assert linked == {anchor(name) for name in overview.MOST_TELLING} <= claims
    for path in COMMITTED:
        outputs = [output for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]
        texts = [output.get("data", {}).get("text/markdown", "") for output in outputs]
        linked = {link for text in texts for link in LINK.findall(text)}
        assert linked, path.stem
        assert linked <= set(ANCHORS), path.stem
        if path.stem == "07_scorecard":
            assert claims <= linked


# Claims


@pytest.mark.parametrize(
    ("claim", "findings"),
    [pytest.param(claim, findings, id=claim.id) for findings in wings.findings() for claim in findings.asked],
)
def test_claim_follows_from_the_records_of_its_questions_alone(
    claim: Claim, findings: Findings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files_of = {question: provenance.files_of(findings.results, question) for question in claim.questions}
    with watched() as read:
        findings[claim.id]
    assert read <= set().union(*files_of.values())
    assert [question for question, files in files_of.items() if not files & read] == []
    # Nor does it follow from what is read without being noted.
    for file in set().union(*files_of.values()):
        copy = tmp_path / file.relative_to(PUBLISHED.parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    monkeypatch.setenv("DISTILLATION_RESULTS", str(tmp_path))
    found, row = findings[claim.id], overview.headline().set_index("id").loc[claim.id]
    assert (float(f"{found.ours.mean:.6g}"), found.verdict) == (row["ours"], row["verdict"])


# Notebooks


def train_briefly(
    net: nn.Module, inputs: Any, loss: Any, settings: Optimisation, *, whole: Callable = training.train, **more: Any
) -> list[dict]:
    """In place of `training.train`, for live cells whose nets are not what is tested."""
    return whole(net, inputs, loss, dataclasses.replace(settings, epochs=1), **more)


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Figures are drawn and shown nowhere, and live cells train for one epoch."""
    before = matplotlib.get_backend()
    matplotlib.use("agg")
    with plt.rc_context():
        monkeypatch.setattr(display, "display", lambda *_, **__: None)
        monkeypatch.setattr(training, "train", train_briefly)
        yield
    plt.close("all")
    matplotlib.use(before)


def undeclared(notebook: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Executes a notebook's code cells here; gives what its declared sources and the records that it read disagree on.

    The records read in a cell must belong to sources that are declared in that cell or later; where it draws nothing,
    also to those declared before, of which the text then tells once more.  Of each source that is declared some record
    must have been read by then.
    """
    names: dict[str, Any] = {"__name__": notebook.stem}
    cells = [cell.source for cell in nbformat.read(notebook, 4).cells if cell.cell_type == "code"]
    declared: list[set[Path]] = [set() for _ in cells]
    draws: set[int] = set()
    read: list[set[Path]] = []
    problems = []

    def say(_text: str, *sources: str, **_values: Any) -> None:
        for source in sources:
            files = provenance.files_of(names["runs"], source)
            declared[len(read)] |= files
            if not files & set().union(*read, now):
                problems.append(f"cell [{len(read) + 1}] declares {source!r}, of which nothing was read")

    def show(_figure: Any, _name: str, caption: str, _results: Results, *sources: str) -> None:
        draws.add(len(read))
        say(caption, *sources)

    for name, replacement in {"show": show, "tabulate": show, "say": say}.items():
        monkeypatch.setattr(figures, name, replacement)
    for source in cells:
        with watched() as now:
            exec(source, names)
        read.append(set(now))
    store, questions = names["runs"].store, names["runs"].questions
    for number, files in enumerate(read):
        if left := files.difference(*declared[number if number in draws else 0 :]):
            asked = [name for name, configs in questions.items() if left & {store.path(config) for config in configs}]
            problems.append(f"cell [{number + 1}] reads and nothing declares {len(left)} records: {', '.join(asked)}")
    return problems


IMPORTS = """from distillation.core.figures import say, show, tabulate
from distillation.mnist import results
runs = results.results(profile, "02", train)"""
TABLE = 'tabulate(table, "1.1 name", "Caption.", runs, "plain")'


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (('table = runs["plain"]', TABLE), ""),
        (('table = runs["plain"]\n' + TABLE,), ""),
        (('table = runs["plain"]', 'say("Of the table.", "plain")'), ""),
        (('table = runs["plain"]', TABLE, 'say(str(runs["plain"]))'), ""),
        (('table = runs["plain"]',), "cell [3] reads and nothing declares 5 records: plain"),
        (('table = runs["plain"]', 'tabulate(table, "1.1 name", "", runs)'), "cell [3] reads and nothing declares 5"),
        (('say("", *[runs["plain"]][1:])',), "cell [3] reads and nothing declares 5"),
        (
            ('table = runs["plain"]', TABLE, 'show(runs["plain"], "again", "", runs)'),
            "cell [5] reads and nothing declares 5",
        ),
        (('table = runs["teacher"], runs["plain"]', TABLE), "cell [3] reads and nothing declares 5 records: teacher"),
        (("table = None", TABLE), "cell [4] declares 'plain', of which nothing was read"),
        (("table = None", TABLE, 'say(str(runs["plain"]), "plain")'), "cell [4] declares 'plain'"),
        (('table = runs["plain"]', TABLE, 'show(None, "name", "", runs, "teacher")'), "cell [5] declares 'teacher'"),
    ],
)
def test_what_a_notebook_reads_and_does_not_declare_is_found(
    cells: tuple[str, ...], problem: str, tmp_path: Path, drawing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = undeclared(write_notebook(tmp_path / "notebooks", "01_a.ipynb", IMPORTS, *cells), monkeypatch)
    assert len(found) == bool(problem)
    assert all(each.startswith(problem) for each in found)


@pytest.mark.parametrize("path", WITH_RECORDS, ids=lambda path: path.stem)
def test_notebook_declares_what_it_reads(path: Path, drawing: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert undeclared(path, monkeypatch) == []
