"""The wheel and the source distribution: what is in them, what an index shows, and that the wheel works alone."""

import email
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

import omniup

ROOT = Path(__file__).parents[1]

#: An address as those who publish set it.
REPOSITORY = "https://example.org/someone/omniup"

#: Bytes that the wheel may have, with its trained weights and beside them.
LARGEST_WHEEL, LARGEST_BESIDE = 10_000_000, 1_500_000


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with both files, as a release builds them."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the package, is not installed")
    folder = tmp_path_factory.mktemp("dist")
    environment = {**os.environ, "OMNIUP_REPOSITORY": f"{REPOSITORY}/"}
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    return built / f"omniup-{omniup.__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def sources(built):
    return built / f"omniup-{omniup.__version__}.tar.gz"


@pytest.fixture(scope="module")
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return email.message_from_bytes(archive.read(f"omniup-{omniup.__version__}.dist-info/METADATA"))


def test_the_wheel_has_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    tracked = subprocess.run(["git", "ls-files", "src/omniup"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode == 0 and tracked.stdout:
        assert packed <= {name.removeprefix("src/") for name in tracked.stdout.splitlines()}
    assert packed >= {"omniup/py.typed", "omniup/web/static/index.html", "omniup/cli/bench.py"}
    assert {PurePosixPath(name).suffix for name in packed} == {
        *(".py", ".typed", ".npz", ".json", ".txt"),
        *(".safetensors", ".md"),  # the small restorer with its card
        *(".js", ".html", ".css", ".svg", ".webp"),  # the page
    }
    with zipfile.ZipFile(wheel) as archive:
        weights = sum(each.compress_size for each in archive.infolist() if each.filename.endswith(".safetensors"))
    assert wheel.stat().st_size < LARGEST_WHEEL
    assert wheel.stat().st_size - weights < LARGEST_BESIDE


def test_the_source_distribution_has_all_that_is_needed_to_test_and_build(sources):
    with tarfile.open(sources) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert packed >= {
        *("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.zh.md", "LICENSE", "README.md", "SECURITY.md"),
        *("Makefile", "constraints.txt", "hubconf.py", "mkdocs.yml", "pyproject.toml", "tools/package_metadata.py"),
        *("docs/anyup.zh.md", "docs/pictures/sheet.webp", "tests/test_distribution.py"),
        *("benchmarks/pyproject.toml", "src/omniup/__init__.py"),
    }


def test_twine_finds_nothing_wrong(built):
    pytest.importorskip("twine", reason="twine is not installed")
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count("PASSED") == 2


def test_an_index_finds_the_addresses_of_the_project(metadata):
    urls = dict(line.split(", ") for line in metadata.get_all("Project-URL"))
    assert urls["Source"] == REPOSITORY
    assert set(urls) == {"Source", "Documentation", "Changelog", "Issues"}
    assert all(url.startswith(REPOSITORY) for url in urls.values())


def test_an_index_shows_the_pictures_and_links_of_the_readme(metadata):
    text = metadata.get_payload(decode=True).decode()
    found = re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", text)
    assert sum(mark == "!" for mark, _ in found) >= 1
    for mark, address in found:
        if address.startswith(REPOSITORY):
            place, tag, path = address.removeprefix(f"{REPOSITORY}/").split("/", 2)
            assert (place, tag) == ("raw" if mark else "blob", f"v{omniup.__version__}")
            assert (ROOT / path.partition("#")[0]).is_file(), address
        else:
            assert not mark
            assert address.startswith(("https://", "#")), address


def test_without_an_address_none_is_invented(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling, which builds the package, is not installed")
    from hatchling.builders.wheel import WheelBuilder

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OMNIUP_REPOSITORY", raising=False)
        core = WheelBuilder(str(ROOT)).metadata.core
    assert core.urls == {}
    assert core.readme == (ROOT / "README.en.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_wheel_alone_reconstructs_a_photograph(wheel, tmp_path):
    """In a folder of its own, with this environment's other packages, but not with the sources."""
    pytest.importorskip("uv", reason="uv, which installs the wheel, is not installed")
    installed, folder = tmp_path / "installed", tmp_path / "folder"
    folder.mkdir()
    options = ["--quiet", "--offline", "--no-deps", "--python", sys.executable, "--target", str(installed)]
    subprocess.run([sys.executable, "-m", "uv", "pip", "install", *options, str(wheel)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(installed)}

    def run(*arguments):
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert Path(run("-c", "import omniup; print(omniup.__file__)").strip()).is_relative_to(installed)
    told = json.loads(run("-m", "omniup", "reconstruct", "sample:coffee", "--size", "128", "-o", "out", "--json"))
    assert told["gain_db"] > 1
    assert {"metrics.json", "sheet.png"} <= {path.name for path in (folder / "out").iterdir()}
