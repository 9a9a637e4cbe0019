"""Notebooks made for a test."""

from pathlib import Path

import nbformat

PARAMETERS = 'profile = "paper"\ntrain = False'


def write_notebook(folder: Path, name: str, *sources: str) -> Path:
    """A notebook with a parameters cell and these code cells."""
    cells = [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    folder.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / name)
    return folder / name
