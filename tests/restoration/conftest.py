import pytest

from omniup.files import image_tensor, sample_image


@pytest.fixture(scope="session")
def enhancer():
    """The tiny model, as it comes with the package."""
    pytest.importorskip("diffusers")
    from omniup.restoration import Enhancer

    return Enhancer.from_pretrained("tiny")


@pytest.fixture(scope="session")
def photograph():
    """A small photograph, [1, 3, 100, 150] in 0..1."""
    return image_tensor(sample_image("coffee").resize((150, 100)))
