from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def tiny():
    """The smallest example, as a dictionary."""
    return yaml.safe_load((EXAMPLES / "anyup_tiny.yaml").read_text())


@pytest.fixture
def write(tmp_path):
    """Write a configuration, and give its path."""

    def run(fields, name="train.yaml"):
        path = tmp_path / name
        path.write_text(yaml.safe_dump(fields) if isinstance(fields, dict) else fields)
        return path

    return run


@pytest.fixture
def accelerate():
    """Accelerate, which must forget the last test: its state belongs to the process."""
    accelerate = pytest.importorskip("accelerate")
    pytest.importorskip("tensorboard")
    yield accelerate
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory):
    """Five photographs of different sizes, smooth noise, each with a label map: where it is brighter than grey."""
    folder = tmp_path_factory.mktemp("photographs")
    for index, (height, width) in enumerate([(70, 96), (96, 70), (64, 64), (40, 100), (80, 81)]):
        random = np.random.default_rng(index)
        coarse = Image.fromarray(random.integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8))
        photo = coarse.resize((width, height), Image.Resampling.BICUBIC)
        photo.save(folder / f"{index}.png")
        labels = (np.asarray(photo).mean(2) > 128).astype(np.uint8)
        labels[:2] = 9  # to be ignored
        Image.fromarray(labels).save(folder / f"{index}.labels.png")
    return folder


@pytest.fixture(scope="session")
def smallest(photo_folder):
    """The fields of a configuration that takes a hundredth of a second a step."""
    return {
        "data": {"images": [str(photo_folder)], "image_size": 32, "input_size": 16, "crop_size": 16, "crops": 1},
        "backbones": [{"kind": "hog", "patch": 4}, {"kind": "colours", "patch": 2}],
        "losses": {"self_consistency_size": 8},
        "checkpoints": {"every": 2, "keep": 9},
        "steps": 6,
        "batch": 2,
    }
