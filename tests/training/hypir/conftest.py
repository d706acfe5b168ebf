import pytest

pytest.importorskip("diffusers")
pytest.importorskip("peft")


@pytest.fixture
def photographs(request):
    """Real photographs: two of BSDS500 where they are, else two that come along."""
    try:
        folder = request.getfixturevalue("shared") / "data/bsds500/train"
    except pytest.skip.Exception:
        folder = None
    found = sorted(folder.glob("*.jpg"))[:2] if folder and folder.is_dir() else []
    return [str(path) for path in found] or ["sample:coffee", "sample:chelsea"]


@pytest.fixture
def smallest(photographs):
    """The fields of a configuration that takes a tenth of a second a step: everything that learns, but no VGG16."""
    return {
        "data": {"images": photographs, "image_size": 32, "keep": [0.2, 0.4]},
        "degradation": {"pool_size": 3},
        "generator": {"model": "tiny"},
        "discriminator": {"backbone": "test_convnext", "weights": "random", "width": 4},
        "losses": {"perceptual": 0},
        "optimiser": {"learning_rate": 1e-3, "discriminator_rate": 1e-3},
        "checkpoints": {"every": 2, "keep": 9},
        "precision": "no",
        "steps": 4,
        "batch": 2,
    }
