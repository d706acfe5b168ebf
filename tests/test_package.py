import json
import re
import subprocess
import sys
from importlib.metadata import metadata, version
from pathlib import Path

import pytest
import yaml

import omniup
from omniup.errors import check_installed, optional_import

ROOT = Path(__file__).parents[1]
HEAVY = ["torch", "numpy", "PIL", "skimage", "matplotlib", "typer", "rich", "pydantic", "safetensors", "yaml", "tqdm"]
OPTIONAL = ["timm", "torchvision", "transformers", "diffusers", "accelerate", "peft", "fastapi"]


def loaded_after(code):
    """The modules that a fresh Python has loaded after running some code."""
    program = f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(ran.stdout.splitlines()[-1]))


def test_importing_the_package_imports_nothing_heavy():
    assert loaded_after("import omniup; omniup.__version__; dir(omniup)").isdisjoint([*HEAVY, *OPTIONAL])


def test_the_methods_need_no_optional_package():
    inputs = "torch.rand(1, 3, 8, 8), torch.rand(1, 1, 2, 2)"
    fitted = f"omniup.upsample({inputs}, method='upsample_anything', iterations=1)"
    loaded = loaded_after(f"import omniup, torch; omniup.upsample({inputs}); {fitted}")
    assert loaded.isdisjoint(OPTIONAL)
    assert loaded.isdisjoint(["skimage", "matplotlib", "torch._dynamo"])


@pytest.mark.parametrize("name", omniup.__all__)
def test_every_public_name_resolves(name):
    assert getattr(omniup, name) is not None
    assert name in dir(omniup)


def test_there_is_nothing_else():
    with pytest.raises(AttributeError, match="module 'omniup' has no attribute 'downsample'"):
        omniup.downsample  # noqa: B018
    assert not hasattr(omniup, "torch")


def test_the_version_is_the_packages():
    assert omniup.__version__ == version("omniup")


def test_citation_and_changelog_are_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (omniup.__version__, metadata("omniup")["License-Expression"])
    assert all(each["authors"] and each["title"] for each in [citation, *citation["references"]])
    first, *_ = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert first in ("Unreleased", omniup.__version__)


def test_a_missing_package_is_named_with_the_way_to_install_it():
    message = r'^no_such_package is needed .*: pip install "omniup\[web\]"$'
    with pytest.raises(omniup.MissingPackageError, match=message):
        optional_import("no_such_package.part", extra="web")
    with pytest.raises(omniup.MissingPackageError, match=message):
        check_installed("json", "no_such_package", extra="web")
    assert optional_import("json", extra="web") is json
    check_installed("json", "numpy", extra="web")


def test_a_package_that_misses_one_of_its_own_says_so_itself(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package") as refusal:
        optional_import("half_installed", extra="web")
    assert not isinstance(refusal.value, omniup.MissingPackageError)


def test_mistakes_of_the_caller_are_value_errors():
    assert issubclass(omniup.InputError, ValueError)
    assert issubclass(omniup.MissingPackageError, omniup.InputError)
    assert issubclass(omniup.MissingPackageError, ImportError)
