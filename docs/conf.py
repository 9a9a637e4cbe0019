"""Sphinx's settings for the site that `./run_all.sh site` builds.  Nothing on it comes from another host."""

import re
from importlib.resources import files

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

project = "Distilling the Knowledge in a Neural Network, reproduced"
extensions = ["myst_nb"]
exclude_patterns = ["README.md", "scorecard.md"]  # parts of the landing page

nb_execution_mode = "off"
nb_render_markdown_format = "myst"  # outputs hold tables, links and figures
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
nb_ipywidgets_js = {}  # would be loaded from another host
myst_enable_extensions = ["dollarmath", "attrs_block", "attrs_inline"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "Distilling the Knowledge, reproduced"
html_static_path = ["static", str(files("ziamath") / "fonts" / "STIXTwoMath-Regular.ttf")]
html_favicon = "static/favicon.svg"
html_css_files = ["custom.css"]
html_js_files = ["enlarge.js", "fold.js"]
html_math_renderer = "mathml"
html_copy_source = False
html_use_index = False
html_show_copyright = False

BAR = '<mo stretchy="false" lspace="0" rspace="0">|'  # else a browser sets |A| as it would "given A"
LONG = 40  # characters of TeX from which an inline equation may be wider than a phone


def mathml(tex: str, display: str) -> str:
    """The equation as MathML, which browsers draw themselves.  Warns of a command that the converter does not know."""
    spaced = re.sub(r"\\(log|ln|exp)\b", r"\\,\\\1\\,", tex)  # TeX sets these spaces by itself
    converted = convert(spaced, display=display).replace('<mo stretchy="false">&#x0007C;', BAR)
    if unknown := re.findall(r"\\[a-zA-Z]+", converted):
        logging.getLogger(__name__).warning("latex2mathml does not know %s in: %s", ", ".join(unknown), tex)
    return converted


def visit_math(translator: HTML5Translator, node: nodes.math) -> None:
    """Write an equation within a line; a long one can be scrolled."""
    tex = node.astext()
    name = "math long" if len(tex) > LONG else "math"
    translator.body.append(f'<span class="{name}">{mathml(tex, "inline")}</span>')
    raise nodes.SkipNode


def visit_math_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write an equation on a line of its own."""
    translator.body.append(f'<div class="math">{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Register the renderer of equations."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
