"""Build a static site from the committed notebooks, without executing them: the back of ./run_all.sh site.

The pages' sources are staged in a temporary folder, laid out as the repository is, so that links keep working there;
Sphinx's settings, the landing page, style and script are in docs/.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from distillation.commands import overview
from distillation.commands.entry import command
from distillation.commands.notebooks import NOTEBOOKS
from distillation.core.data import REPOSITORY
from distillation.core.figures import LINK, PROVENANCE, PUBLISHED

SETTINGS = REPOSITORY / "docs"
OUTPUT = REPOSITORY / "site"
FIGURES, RECORDS, EXAMPLES = (PUBLISHED / name for name in ("figures", "records", "examples"))
# As figures.show writes it.
CAPTION = re.compile(r"\*Figure (?P<number>[\d.]+) \(`(?P<name>\w+)`\)\. (?P<text>.*)\*", re.DOTALL)
PAGES = (
    *("README.md", "CONTRIBUTING.md", "NOTICES.md", "LICENSE", "CITATION.cff", "docs/scaling.md"),
    *("data/README.md", "data/fonts-small/README.md"),
    *(PROVENANCE, "results/paper/headline.csv", "results/paper/times.csv"),
)
WIDGET = "application/vnd.jupyter.widget-view+json"
CONTROLS = "*Controls, and the picture that follows them, stand here in Jupyter.*"
RECORDS_LINKS = re.compile(r" Records: (\[[^]]*\]\([^)]*\)(, )?)+\.$")  # as figures.show appends them


class SiteError(RuntimeError):
    """The site cannot be built; the message says why and what to do."""


@command
def main() -> int:
    """Build the site into site/ and say where it is; return the exit status."""
    try:
        build(OUTPUT)
    except SiteError as reason:
        print(reason, file=sys.stderr)
        return 1
    print(f"The site is in {OUTPUT.relative_to(REPOSITORY)}/: open {OUTPUT / 'index.html'} in a browser.")
    return 0


def build(output: Path, notebooks: Path = NOTEBOOKS) -> None:
    """Build the site from the notebooks of a folder; what the output folder held is replaced.

    Raises SiteError if Sphinx is missing, a figure cannot be shown, or Sphinx warns, as of a broken link.
    """
    try:
        import furo  # noqa: F401
        import myst_nb  # noqa: F401
        from sphinx.cmd.build import build_main
    except ImportError as error:
        raise SiteError(
            f"The site needs {error.name}, which is not installed: ./run_all.sh site installs it, as does "
            "pip install -r requirements.txt."
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder, "source"), Path(folder, "built")
        stage(source, notebooks)
        options = ["--quiet", "--fail-on-warning", "--keep-going", "-b", "html", "-c", str(SETTINGS)]
        if build_main([*options, "-d", str(Path(folder, "doctrees")), str(source), str(built)]) != 0:
            raise SiteError("Sphinx found something wrong with the pages (above), so the site was not changed.")
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(built, output, ignore=shutil.ignore_patterns(".buildinfo", "objects.inv"))


def stage(folder: Path, notebooks: Path) -> None:
    """Lay the sources of all pages into a new folder.  Raises SiteError for a figure that cannot be shown."""
    import nbformat

    (folder / "notebooks").mkdir(parents=True)
    for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb")):
        nbformat.write(page(nbformat.read(path, 4), path.stem), folder / "notebooks" / path.name)
    shutil.copytree(RECORDS, folder / RECORDS.relative_to(REPOSITORY), ignore=not_records)
    shutil.copytree(EXAMPLES, folder / EXAMPLES.relative_to(REPOSITORY), ignore=shutil.ignore_patterns("*.md"))
    shutil.copytree(FIGURES, folder / FIGURES.relative_to(REPOSITORY), ignore=shutil.ignore_patterns("*.pdf"))
    for linked in ("src/distillation", "tests"):
        shutil.copytree(REPOSITORY / linked, folder / linked, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(SETTINGS / "index.md", folder)
    for name in PAGES:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, target)
    (folder / "scorecard.md").write_text(scorecard(), "utf-8")
    (folder / "citation.bib").write_text(bibliography((REPOSITORY / "CITATION.cff").read_text("utf-8")), "utf-8")


def not_records(folder: str, names: list[str]) -> set[str]:
    """Of a folder of records: the weights and locks that may lie beside them."""
    return {name for name in names if Path(folder, name).is_file() and not name.endswith((".json", ".csv"))}


def page(notebook: Any, name: str) -> Any:
    """Make a notebook (e.g. "02_mnist") fit to be a page, in place; return it.

    Its title gets its number, its code is folded away but for the method's, its figures become those that figures.show
    saved, with their captions as alternative text, and a word stands for widgets, which need a kernel.  Raises
    SiteError for a figure without caption.
    """
    notebook.metadata.pop("widgets", None)
    first = notebook.cells[0]
    first.source = re.sub(r"^# ", f"# {name[:2]} · ", first.source)
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            tags = cell.metadata.get("tags", [])
            cell.metadata["tags"] = tags if "method" in tags else [*tags, "hide-input"]
            cell.outputs = shown(cell.outputs, f"Cell {number} of {name}.ipynb")
    return notebook


def shown(outputs: list[Any], place: str) -> list[Any]:
    """A cell's outputs for a page: pictures and the captions that follow them as one, a word for widgets."""
    kept = []
    pictures = 0  # whose captions have not come yet
    for output in outputs:
        data = output.get("data", {})
        if "image/png" in data:
            pictures += 1
        elif found := CAPTION.fullmatch(data.get("text/markdown", "").strip()):
            if not pictures:
                raise SiteError(f"{place} has a caption without a figure: {found['name']}.")
            pictures -= 1
            data["text/markdown"] = figure(found["number"], found["name"], " ".join(found["text"].split()))
            kept.append(output)
        else:
            if WIDGET in data:
                output["data"] = {"text/markdown": CONTROLS}
            kept.append(output)
    if pictures:
        raise SiteError(f"{place} has a figure without a caption: draw it with distillation.core.figures.show.")
    return kept


def figure(number: str, name: str, caption: str) -> str:
    """MyST's directive for a figure that figures.show saved.  Raises SiteError if it is not there."""
    path = FIGURES / f"{name}.png"
    if not path.exists():
        raise SiteError(f"{path.relative_to(REPOSITORY)} is missing: execute its notebook with figures.show again.")
    alternative = LINK.sub(r"\1", RECORDS_LINKS.sub("", caption)).replace("`", "").replace("*", "")
    address = "/" + path.relative_to(REPOSITORY).as_posix()
    return f"```{{figure}} {address}\n:alt: {alternative}\n\nFigure {number} (`{name}`). {caption}\n```"


def scorecard() -> str:
    """The results table as Markdown, below a sentence that counts its verdicts."""
    rows = overview.headline()
    counts = ", ".join(f"{number} {verdict}" for verdict, number in rows["verdict"].value_counts().items())
    styled = [f"[{verdict}]{{.verdict .{verdict.replace(' ', '-')}}}" for verdict in rows["verdict"]]
    return f"{len(rows)} claims: {counts}.\n\n{{.scorecard}}\n{overview.readme_table(rows.assign(verdict=styled))}\n"


def bibliography(citation: str) -> str:
    """BibTeX entries of the preferred citation and the references of a CITATION.cff."""
    import yaml

    described = yaml.safe_load(citation)
    return "\n\n".join(bibtex(entry) for entry in (described["preferred-citation"], *described["references"])) + "\n"


def bibtex(entry: dict[str, Any]) -> str:
    """One entry of a CITATION.cff as BibTeX, with a key of a name (or else the title's first word) and the year."""
    authors = [
        ", ".join((who["family-names"], who["given-names"])) for who in entry["authors"] if "family-names" in who
    ]
    authors += [f"{{{who['name']}}}" for who in entry["authors"] if "name" in who]
    fields = {"title": f"{{{entry['title']}}}", "author": " and ".join(authors)}
    fields |= {name: entry[name] for name in ("journal", "year", "version", "url") if name in entry}
    first_word = entry["authors"][0].get("family-names", entry["title"]).split()[0]
    lines = [f"  {name:<7} = {{{value}}}" for name, value in fields.items()]
    return ",\n".join([f"@{entry['type']}{{{first_word.lower()}{entry['year']}", *lines]) + "\n}"


if __name__ == "__main__":
    sys.exit(main())
