"""What people cite agrees with itself: versions, dates, titles."""

import json
import re
import tomllib

import yaml

from distillation.core.data import REPOSITORY

CITATION = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
README = (REPOSITORY / "README.md").read_text()


def test_one_version_everywhere() -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert (REPOSITORY / "results" / "paper" / "VERSION").read_text() == f"{version}\n"
    assert CITATION["version"] == CITATION["preferred-citation"]["version"] == version
    assert json.loads((REPOSITORY / ".zenodo.json").read_text())["version"] == version
    changes = re.findall(r"^## (\S+) \((\S+)\)$", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert changes[0] == (version, str(CITATION["date-released"]))
    assert re.search(r"version = \{(.*)\}", README)[1] == version


def test_the_citations_name_the_same_work() -> None:
    zenodo = json.loads((REPOSITORY / ".zenodo.json").read_text())
    assert zenodo["title"] == CITATION["title"] == CITATION["preferred-citation"]["title"]
    assert f"{{{CITATION['title']}}}" in README
    assert zenodo["license"] == CITATION["license"]
    assert [creator["name"] for creator in zenodo["creators"]] == [author["name"] for author in CITATION["authors"]]
    (paper,) = CITATION["references"]
    assert paper["url"].removeprefix("https://arxiv.org/abs/") in paper["journal"]
    assert zenodo["related_identifiers"][0]["identifier"] == paper["journal"]


def test_the_public_workflow_runs_the_readmes_test_command() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "test.yml").read_text())
    steps = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
    assert steps == ["./run_all.sh test"]
    assert "\n./run_all.sh test " in README
    versions = [job["python"] for job in workflow["jobs"]["test"]["strategy"]["matrix"]["include"]]
    assert {"3.11", "3.14"} <= set(versions)  # the oldest and the newest that are promised
