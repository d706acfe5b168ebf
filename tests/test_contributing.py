"""The example of CONTRIBUTING.md, run as a package that OmniUp knows nothing of."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with the example as an installed package: its module, and its entry point in the metadata."""
    folder = tmp_path_factory.mktemp("package")
    example = re.search(r"```python\n(.*?)```", (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    (folder / "my_package").mkdir()
    (folder / "my_package" / "__init__.py").touch()
    (folder / "my_package" / "by_colour.py").write_text(example, encoding="utf-8")
    metadata = folder / "my_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n", encoding="utf-8")
    entry = "[omniup.upsamplers]\nby_colour = my_package.by_colour\n"
    (metadata / "entry_points.txt").write_text(entry, encoding="utf-8")
    return folder


def run(package, *arguments):
    """Run a command where the package is installed."""
    path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


CHECK = """
import torch, omniup
from omniup.upsamplers import SIGNAL_TYPES
image, grid = torch.rand(2, 3, 24, 32), (6, 8)
signals = dict.fromkeys(SIGNAL_TYPES, torch.rand(2, 4, *grid)) | {
    "probabilities": torch.randn(2, 4, *grid).softmax(1), "labels": torch.randint(9, (2, 1, *grid)),
}
prepared = omniup.upsampler("by_colour", radius=2).prepare(image, grid)
for signal_type, signal in signals.items():
    full = prepared.render(signal, signal_type)
    assert torch.equal(full, omniup.upsample(image, signal, method="by_colour", radius=2, signal_type=signal_type))
    points = torch.tensor([[0, 0], [13, 21]])
    there = full[:, :, points[:, 0], points[:, 1]].mT
    torch.testing.assert_close(prepared.render_at(signal, points, signal_type), there)
assert set(prepared.render(signals["labels"], "labels").unique().tolist()) <= set(signals["labels"].unique().tolist())
flat = prepared.render(torch.full((2, 1, *grid), 0.3), "values")
torch.testing.assert_close(flat, torch.full_like(flat, 0.3))
try:
    omniup.upsampler("by_colour", radius=99)
except omniup.InputError as error:
    print(error.argument)
"""

LISTS = """
from omniup.cli import main
try:
    main(["methods"])
except SystemExit as left:
    assert left.code == 0
"""

PAGE = """
import io, json, numpy as np
from fastapi.testclient import TestClient
from PIL import Image
from omniup.web.app import create_app
from omniup.web.settings import Settings
with TestClient(create_app(Settings(offline=True)), base_url="http://127.0.0.1:8000") as client:
    described = {method["name"]: method for method in client.get("/api/options").json()["methods"]}["by_colour"]
    assert described["settings"] == {"radius": 1, "sigma_r": 0.1}, described
    image, signal = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.random.randint(0, 256, (32, 32, 3), dtype="u1")).save(image, "PNG")
    np.save(signal, np.random.rand(5, 4, 4).astype("f4"))
    files = {"image": ("a.png", image.getvalue()), "signal": ("a.npy", signal.getvalue())}
    answer = client.post("/api/upsample", data={"config": json.dumps({"method": "by_colour"})}, files=files)
    assert answer.status_code == 200, answer.text
    print(answer.json()["method"])
"""


def test_it_upsamples_every_signal_type_and_the_lists_and_the_page_know_it(package):
    """In one process, which takes seconds to start."""
    argument, *listed, answered = run(package, "-c", CHECK + LISTS + PAGE).split()
    assert argument == "radius"
    assert "by_colour" in listed
    assert answered == "by_colour"


def test_the_command_line_knows_it(package, tmp_path):
    signal, result = tmp_path / "low.npy", tmp_path / "full.npy"
    np.save(signal, np.random.default_rng(0).random((5, 16, 16), dtype=np.float32))
    chosen = ("--method", "by_colour", "--set", "radius=2", "--json")
    told = run(package, "-m", "omniup", "upsample", "sample:coffee", signal, "-o", result, *chosen)
    assert json.loads(told)["method"] == "by_colour"
    assert result.is_file()
