"""The site, built once from the committed notebooks and read in a real browser, where there is one."""

import functools
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urldefrag, urljoin

import nbformat
import pytest
from matplotlib import pyplot as plt
from playwright.sync_api import Browser, Page, sync_playwright

from distillation.commands import overview, site
from distillation.commands.notebooks import NOTEBOOKS
from distillation.core import figures
from distillation.core.data import REPOSITORY
from distillation.core.figures import traced

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
NAMES = [path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
PAGES = [
    "index.html",
    "data/README.html",
    "results/paper/provenance.html",
    *(f"notebooks/{path.stem}.html" for path in sorted(NOTEBOOKS.glob("*.ipynb"))),
]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1_400, "height": 900}
FIGURE_BUTTON = "article button.enlarge"
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


class Quiet(SimpleHTTPRequestHandler):
    """A handler that serves files and says nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site") / "site"
    site.build(folder)
    return folder


@pytest.fixture(scope="module")
def address(built: Path) -> Iterator[str]:
    """Where the built site is served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(built)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium with an empty profile of its own."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (on Debian: apt-get install chromium), so no page was looked at.")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page that notes its requests in `requested`, and errors of the console or network in `problems`."""
    opened = browser.new_page(color_scheme="light")
    opened.set_default_timeout(60_000)
    opened.requested, opened.problems = [], []
    opened.on("request", lambda request: opened.requested.append(request.url))
    opened.on("console", lambda said: opened.problems.append(said.text) if said.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: opened.problems.append(str(error)))
    opened.on("requestfailed", lambda request: opened.problems.append(f"{request.url}: {request.failure}"))
    yield opened
    opened.close()


@pytest.mark.parametrize("name", PAGES)
def test_page_loads_whole_and_from_this_host_alone(page: Page, address: str, name: str) -> None:
    page.goto(address + name)
    assert page.problems == []
    assert [url for url in page.requested if not url.startswith((address, "data:"))] == []
    assert page.evaluate("[...document.images].filter(image => !image.naturalWidth).map(image => image.src)") == []
    unnamed = (
        "[...document.images].filter(image => !image.alt.trim() || image.alt.endsWith('.png')).map(image => image.src)"
    )
    assert page.evaluate(unnamed) == []


@pytest.mark.parametrize("name", PAGES)
def test_page_fits_a_phone(page: Page, address: str, name: str) -> None:
    page.set_viewport_size(PHONE)
    page.goto(address + name)
    for element in ("document.documentElement", "document.querySelector('.content')"):
        assert page.evaluate(f"{element}.scrollWidth") <= page.evaluate(f"{element}.clientWidth"), element


TOO_WIDE = """[...document.querySelectorAll("article .table-wrapper")]
    .filter(table => table.scrollWidth > table.clientWidth + 1).map(table => table.innerText.slice(0, 60))"""


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_every_table_is_seen_whole(page: Page, address: str, size: dict, name: str) -> None:
    page.set_viewport_size(size)
    page.goto(address + name)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert page.evaluate(TOO_WIDE) == []


def test_on_a_phone_a_claim_is_a_card_that_unfolds(page: Page, address: str) -> None:
    page.set_viewport_size(PHONE)
    page.goto(address)
    row = page.locator("table.scorecard tbody tr").first
    shown = [cell for cell in row.locator("td").all() if cell.is_visible()]
    assert {cell.get_attribute("data-name") for cell in shown[1:-1]} <= {"paper", "ours", "verdict"}
    assert not row.locator("td[data-name=seeds]").is_visible()
    row.locator("button.unfold").click()
    assert row.locator("td[data-name=seeds]").is_visible()
    assert row.locator("button.unfold").get_attribute("aria-expanded") == "true"
    row.locator("button.unfold").press("Enter")
    assert not row.locator("td[data-name=seeds]").is_visible()
    page.set_viewport_size(DESK)
    assert row.locator("td[data-name=seeds]").is_visible()
    assert not row.locator("button.unfold").is_visible()


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(page: Page, address: str, name: str) -> None:
    page.goto(address + name)
    links = page.evaluate("[...document.querySelectorAll('a[href]')].map(link => link.getAttribute('href'))")
    for url, anchor in {urldefrag(urljoin(address + name, link)) for link in links}:
        if not url.startswith(address):
            continue
        answer = page.request.get(url)
        assert answer.ok, url
        assert not anchor or f'id="{anchor}"' in answer.text(), f"{url}#{anchor}"


def test_every_figure_of_the_notebooks_is_there(page: Page, address: str) -> None:
    for name in NAMES:
        cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4).cells
        drawn = [
            output for cell in cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
        ]
        page.goto(f"{address}notebooks/{name}.html")
        assert page.locator("article figure img").count() == len(drawn)


def test_equations_are_drawn(page: Page, address: str) -> None:
    page.goto(address + "notebooks/04_specialists.html")
    text = page.locator("article").inner_text()
    assert "$" not in text
    assert "\\" not in text
    sizes = page.evaluate("[...document.querySelectorAll('math')].map(math => math.getBoundingClientRect().height)")
    assert len(sizes) > 10
    assert min(sizes) > 5
    fraction = "math mfrac > :nth-child({})"
    above, below = (page.locator(fraction.format(part)).first.bounding_box() for part in (1, 2))
    assert above["y"] + above["height"] <= below["y"] + 1  # a browser without MathML would put them side by side
    assert page.evaluate("document.fonts.check('16px \"STIX Two Math\"')")


def test_dark_mode_can_be_switched_and_figures_keep_a_white_plate(page: Page, address: str) -> None:
    page.goto(address + PAGES[-1])
    seen = {page.evaluate(BACKGROUND)}
    for _ in range(3):  # by the system, light, dark
        page.locator(".theme-toggle-content button").click()
        seen.add(page.evaluate(BACKGROUND))
        plate = page.locator("article img").first
        assert plate.evaluate("image => getComputedStyle(image).backgroundColor") == "rgb(255, 255, 255)"
    assert len(seen) == 2
    dark = min(sum(map(int, colour.removeprefix("rgb(").rstrip(")").split(","))) for colour in seen)
    assert dark < 3 * 60


def test_figure_is_enlarged_by_click_and_by_key_and_closed_again(page: Page, address: str) -> None:
    page.goto(address + "notebooks/02_mnist.html")
    button = page.locator(FIGURE_BUTTON).first
    small = button.locator("img").bounding_box()["width"]
    large = page.locator("dialog.enlarged img")
    button.click()
    assert large.bounding_box()["width"] > 1.2 * small
    assert large.get_attribute("alt") == button.locator("img").get_attribute("alt")
    large.click()
    large.wait_for(state="hidden")
    button.press("Enter")
    large.wait_for(state="visible")
    page.keyboard.press("Escape")
    large.wait_for(state="hidden")


def test_landing_page_leads_from_every_claim_to_its_records_and_notebook(page: Page, address: str) -> None:
    page.goto(address)
    rows = page.locator("table.scorecard tbody tr")
    claims = overview.headline()
    assert rows.count() == len(claims)
    links = rows.locator("a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert links[1::2] == [f"notebooks/{name}.html" for name in claims["notebook"]]
    for words in ("@software{", "@article{hinton2015", "./run_all.sh site"):
        assert words in page.locator("article").inner_text()
    records, anchors = zip(*map(urldefrag, links[::2]), strict=True)
    page.goto(address + records[0])
    headings = [page.locator(f"[id='{anchor}']").locator("h1, h2, h3").first.inner_text() for anchor in anchors]
    assert [heading.rstrip("#¶") for heading in headings] == claims["id"].tolist()
    assert set(records) == {records[0]}


def cell(*outputs: dict) -> nbformat.NotebookNode:
    """A code cell that displayed these."""
    shown = [nbformat.v4.new_output("display_data", output) for output in outputs]
    return nbformat.v4.new_code_cell("draw()", outputs=shown)


@pytest.mark.parametrize("sources", [(), ("plain",), ("hard weight, held out", "examples")])
def test_captions_become_the_figures_alternative_text(sources: tuple[str, ...]) -> None:
    said = "Errors of [all\nnets](02_mnist.ipynb), *by* `T`."
    links = ", ".join(traced(source, f"Notebook 02: {source}", "../") for source in sources)
    records = f" Records: {links}." if sources else ""
    caption = f"*Figure 2.1 (`mnist_systems`). {said}{records}*"
    drawn = cell({"image/png": ""}, {"text/markdown": caption}, {site.WIDGET: {}}, {"text/markdown": "some text"})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title\n\n# Other"), drawn])
    title, changed = site.page(notebook, "07_scorecard").cells
    assert title.source == "# 07 · Title\n\n# Other"
    picture, controls, text = (output.data["text/markdown"] for output in changed.outputs)
    assert controls == site.CONTROLS
    assert all(set(output.data) == {"text/markdown"} for output in changed.outputs)
    assert "{figure} /results/paper/figures/mnist_systems.png\n:alt: Errors of all nets, by T.\n" in picture
    assert f"\nFigure 2.1 (`mnist_systems`). Errors of [all nets](02_mnist.ipynb), *by* `T`.{records}\n" in picture
    assert text == "some text"


def test_captions_are_those_that_figures_show_writes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With links to records, as in the published run."""
    outputs = []
    monkeypatch.setattr(figures, "display", lambda shown: outputs.append(shown))
    monkeypatch.setattr(figures, "PUBLISHED", tmp_path)
    results = SimpleNamespace(folder=tmp_path, heading=lambda source: f"Notebook 02: {source}")
    figures.show(plt.figure(), "2.1 mnist_systems", "Errors of all\nnets.", results, "plain", "hard weight, held out")
    drawn = cell({"image/png": ""}, {"text/markdown": outputs[-1].data})
    (shown,) = site.shown(drawn.outputs, "here")
    assert "\n:alt: Errors of all nets.\n" in shown.data["text/markdown"]
    assert "Records: [plain](../results/paper/provenance.md#notebook-02-plain), [" in shown.data["text/markdown"]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([{"image/png": ""}], "Cell 0 of 02_a.ipynb has a figure without a caption"),
        (
            [{"text/markdown": "*Figure 2.1 (`mnist_systems`). Text.*"}],
            "Cell 0 of 02_a.ipynb has a caption without a figure",
        ),
        (
            [{"image/png": ""}, {"text/markdown": "*Figure 2.2 (`gone`). Text.*"}],
            "results/paper/figures/gone.png is missing",
        ),
    ],
)
def test_a_figure_that_cannot_be_shown_is_named(outputs: list[dict], message: str) -> None:
    with pytest.raises(site.SiteError, match=message):
        site.page(nbformat.v4.new_notebook(cells=[cell(*outputs)]), "02_a")


def test_missing_sphinx_gets_one_clear_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "myst_nb", None)
    assert site.main() == 1
    assert "The site needs myst_nb, which is not installed: ./run_all.sh site installs it" in capsys.readouterr().err


def test_citations_are_complete_bibtex() -> None:
    text = site.bibliography((REPOSITORY / "CITATION.cff").read_text())
    assert "@software{distilling2026,\n" in text
    assert "author  = {Hinton, Geoffrey and Vinyals, Oriol and Dean, Jeff},\n" in text
    assert text.count("{") == text.count("}")
