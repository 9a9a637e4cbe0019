"""Where each published number comes from: the page is current, and claims follow from the files it lists alone."""

import re
from pathlib import Path

import nbformat
import pytest
from matplotlib import pyplot as plt

from distillation.commands import overview, provenance
from distillation.commands.run import NOTEBOOKS
from distillation.core.data import REPOSITORY
from distillation.core.files import noted, watched

PAGE = provenance.PAGE.read_text()
LINK = re.compile(rf"\]\((?:\.\./)?{re.escape(overview.PROVENANCE)}#([^)]+)\)")


def anchors() -> set[str]:
    """The anchors that GitHub gives the page's headings."""
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_page_is_current() -> None:
    assert provenance.page() == PAGE


def test_links_of_the_page_lead_to_files() -> None:
    targets = re.findall(r"^\[[0-9a-f]{8}\]: (.+)$", PAGE, re.MULTILINE)
    targets += re.findall(r"\]\(([^)]+)\)", PAGE)
    assert len(targets) > 500
    assert [target for target in targets if not (provenance.PAGE.parent / target).exists()] == []
    used = set(re.findall(r"(?<!^)\[([0-9a-f]{8})\](?!:)", PAGE))
    assert used == {target.split("/")[-1][:8] for target in targets if target.startswith("records/")}


def test_claims_figures_and_tables_link_to_where_they_come_from() -> None:
    names = {f"Figure {path.stem}" for path in (overview.PUBLISHED / "figures").glob("*.png")}
    linked = set()
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        outputs = [output for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]
        texts = [output.get("data", {}).get("text/markdown", "") for output in outputs]
        linked |= {anchor for text in texts for anchor in LINK.findall(text)}
    claims = {overview.traced("", name).split("#")[1].rstrip(")") for name in overview.headline()["id"]}
    figures = {overview.traced("", name).split("#")[1].rstrip(")") for name in names}
    assert claims == set(LINK.findall((REPOSITORY / "README.md").read_text()))
    assert claims | figures <= linked <= anchors()


def test_claims_follow_from_the_listed_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = overview.headline().set_index("id")
    for number, shown in enumerate(provenance.of_claims()):
        root = tmp_path / str(number)
        for file in shown.files:
            copy = root / file.relative_to(overview.PUBLISHED.parent)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
        with monkeypatch.context() as patch:
            patch.setenv("DISTILLATION_RESULTS", str(root))
            (found,) = [claims[shown.name] for claims in provenance.all_claims() if shown.name in claims]
        assert float(f"{found.ours.mean:.6g}") == rows.loc[shown.name, "ours"], shown.name
        assert found.verdict == rows.loc[shown.name, "verdict"], shown.name


@pytest.fixture
def shown_by(tmp_path: Path):
    """What the provenance of a notebook of these cells is: name -> names of files."""

    def run(*sources: str) -> dict[str, set[str]]:
        cells = ["from distillation.core.files import noted\nfrom pathlib import Path\nimport matplotlib.pyplot as plt"]
        cells += ["from distillation.core.figures import say, show"]
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (*cells, *sources)])
        nbformat.write(notebook, tmp_path / "test.ipynb")
        found = provenance.of_notebook(tmp_path / "test.ipynb")
        return {shown.name: {file.name for file in shown.files} for shown in found}

    yield run
    plt.close("all")  # of cells that draw and show nothing


READ = "def read(name):\n    return noted(Path(name)).name"


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (("say(read('a'))",), {"a": {"a"}}),
        (("x = read('a')", "y = read('b')", "say(x)\nsay('only ' + y)"), {"a": {"a"}, "only b": {"b"}}),
        (("x = read('a')\ny = x + read('b')\nx = read('c')", "say(y)\nsay(x)"), {"ab": {"a", "b"}, "c": {"c"}}),
        (("x = [read('a')]\nx[0] += read('b')", "say(x[0])"), {"ab": {"a", "b"}}),
        (("x = read('a')\nif False:\n    x = read('b')", "say(x)"), {"a": {"a"}}),
        (("x = read('a')\nfor name in 'bc':\n    x += read(name)", "say(x)"), {"abc": {"a", "b", "c"}}),
        (("x = read('a')\ndef text():\n    return x", "say(text())"), {"a": {"a"}}),
        (("x = read('a')\nsay('nothing of it')",), {"nothing of it": set()}),
        (("x = []\nx.append(read('a'))", "say(x[0])"), {"a": {"a"}}),
        (("x = [[]]\nx[0].append(read('a'))", "say(x[0][0])"), {"a": {"a"}}),
        (("x = read('a')\ny = [x for x in [read('b')]]", "say(y[0])"), {"b": {"b"}}),
        (("x = read('a')\ny = [x + z for z in [read('b')]]", "say(y[0])"), {"ab": {"a", "b"}}),
        (("x = read('a')\nfor x in [read('b')]:\n    say(x)",), {"b": {"b"}}),
        (("x = read('a')\nfor y in 'b':\n    x = read(y)\n    z = x", "say(z)"), {"b": {"b"}}),
        (("x = ''\nfor y in 'ab':\n    z = x\n    x = read(y)", "say(z)"), {"a": {"a", "b"}}),
        (("x = read('a')\ndef text():\n    x = 'y'\n    return x", "say(text())"), {"y": set()}),
        (("def text():\n    return x", "x = read('a')", "say(text())"), {"a": {"a"}}),
        (("_, axes = plt.subplots()\nplt.title(read('a'))", "say(f'{plt.xlim()[0]:g}')"), {"0": set()}),
        (
            (
                "figure, axes = plt.subplots()\nx = read('a')\naxes.set(title=x)",
                "other, panels = plt.subplots(2)",
                "def draw(on, name):\n    on.set_xlabel(read(name))",
                "draw(axes, 'b')\nfor panel in panels:\n    draw(panel, 'c')",
                "show(figure, 'first')\nshow(other, 'second')\nsay(x)",
            ),
            {"Figure first": {"a", "b"}, "Figure second": {"c"}, "a": {"a"}},
        ),
    ],
)
def test_what_is_shown_follows_from_what_made_it(shown_by, cells, expected) -> None:
    assert shown_by(READ, *cells) == expected


def test_only_those_who_watch_are_told() -> None:
    a, b, c = (Path(name) for name in "abc")
    with watched() as outer:
        with watched():
            pass  # as empty as the other, which goes on
        noted(a)
        with watched() as inner:
            assert noted(b, c) == b
    noted(Path("later"))
    assert (outer, inner) == ({a, b, c}, {b, c})


def test_a_paragraph_is_told_by_its_first_words() -> None:
    assert provenance.opening("**Reading.** Short.") == "*Reading. Short.*"
    long = provenance.opening("word " * 40)
    assert long.endswith("word …*")
    assert len(long) < provenance.QUOTED + 5
