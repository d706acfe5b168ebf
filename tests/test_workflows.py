"""Workflows and issue forms can be read, and what they run is there; they run where the code is hosted."""

import re
from importlib.metadata import metadata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = [path for path in sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")) if path.stem != "config"]
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs(name):
    return read(ROOT / f".github/workflows/{name}.yml")["jobs"]


def commands(job):
    return [line for step in job["steps"] if "run" in step for line in step["run"].splitlines()]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_targets_of_the_makefile_with_few_rights(path):
    workflow = read(path)
    assert workflow[True]  # `on`, which YAML 1.1 takes for a truth value
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 120
        assert job.get("needs", next(iter(workflow["jobs"]))) in workflow["jobs"]
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])
        assert all(re.fullmatch(r"[\w-]+/[\w-]+@[\w./]+", step["uses"]) for step in job["steps"] if "uses" in step)
        made = [line.split()[1] for line in commands(job) if line.startswith("make ")]
        assert set(made) <= TARGETS
    assert any(commands(job) for job in workflow["jobs"].values())


def test_every_system_and_every_supported_python_is_tested():
    matrix = jobs("ci")["test"]["strategy"]["matrix"]
    assert matrix["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    prefix = "Programming Language :: Python :: "
    assert [prefix + python for python in matrix["python"]] == [
        each for each in metadata("omniup").get_all("Classifier") if each.startswith(prefix)
    ]
    assert "make test PYTHON=python" in commands(jobs("ci")["test"])


def test_a_release_uploads_what_was_built_and_checked_without_a_password():
    build, upload = jobs("release").values()
    assert [line for line in commands(build) if line.startswith("make")][-2:] == ["make test-release", "make package"]
    assert "OMNIUP_REPOSITORY" in build["env"]
    assert upload["needs"] == "build"
    assert upload["permissions"] == {"id-token": "write"}
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text()


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_asks_in_both_languages(path):
    form = read(path)
    assert form["name"]
    assert re.search("[一-鿿]", form["name"] + form["description"])
    questions = [each for each in form["body"] if each["type"] != "markdown"]
    assert {each["type"] for each in questions} <= {"textarea", "input", "dropdown", "checkboxes"}
    assert len({each["id"] for each in questions}) == len(questions)
    assert all(each["attributes"]["label"] for each in questions)
    assert any(each.get("validations", {}).get("required") for each in questions)


def test_there_is_a_form_for_bugs_features_and_questions():
    assert [path.stem for path in FORMS] == ["bug", "feature", "question"]
