import shutil
from pathlib import Path

import pytest

from omniup.files import image_tensor, sample_image


@pytest.fixture(scope="session")
def enhancer():
    """The tiny model, as it comes with the package."""
    pytest.importorskip("diffusers")
    from omniup.restoration import Enhancer

    return Enhancer.from_pretrained("tiny")


@pytest.fixture(scope="session")
def saved(enhancer, tmp_path_factory):
    """The tiny model as a training would leave it: a folder in diffusers' layout, to be read only."""
    from omniup import restoration

    folder = tmp_path_factory.mktemp("models") / "saved"
    shutil.copytree(Path(restoration.__file__).with_name("tiny"), folder)
    for part in ("unet", "vae", "text_encoder"):
        getattr(enhancer.networks, part).save_pretrained(folder / part)
    (folder / "hypir.json").write_text('{"patch": 128, "lora_rank": null}')
    return folder


@pytest.fixture(scope="session")
def photograph():
    """A small photograph, [1, 3, 100, 150] in 0..1."""
    return image_tensor(sample_image("coffee").resize((150, 100)))
