import pytest
import torch

from omniup.errors import InputError
from omniup.training.anyup.backbones import build
from omniup.training.anyup.configuration import DescriptorSettings, LocalSettings, TimmSettings

CPU = torch.device("cpu")

NETWORK = """
import torch

class Network(torch.nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))
        self.dropout = torch.nn.Dropout()

    def forward(self, image):
        features = self.dropout(torch.nn.functional.avg_pool2d(image, 8) * self.scale)
        return features, torch.nn.functional.avg_pool2d(features, 2)

def load(path=None):
    return Network(2.0 if path is None else float(path.read_text()))

def plain():
    return lambda image: image[:, :, ::8, ::8].double()

def fails():
    raise RuntimeError("no weights\\nfor you")

def number():
    return 7
"""


@pytest.fixture
def local(tmp_path):
    (tmp_path / "network.py").write_text(NETWORK)

    def make(function="load", **fields):
        return LocalSettings(kind="local", function=f"{tmp_path}/network.py:{function}", **({"patch": 8} | fields))

    return make


@pytest.fixture
def image():
    return torch.rand(2, 3, 32, 64)


def test_a_network_of_timm(image):
    backbone = build(TimmSettings(kind="timm", model="test_vit", layer=1, patch=16), CPU)
    assert backbone.name == "test_vit-layer1-patch16"
    assert backbone(image).shape == (2, 64, 2, 4)


def test_weights_that_cannot_be_had_are_refused_in_the_configuration_s_words(tmp_path, monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    settings = {"kind": "timm", "model": "test_vit", "patch": 16}
    refusal = r"^backbones.weights is published, and the weights of test_vit .*; accepted: a file, or random$"
    with pytest.raises(InputError, match=refusal):
        build(TimmSettings(**settings, weights="published"), CPU)
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"^backbones.weights is .*other.pth, which does not fit test_vit"):
        build(TimmSettings(**settings, weights=str(tmp_path / "other.pth")), CPU)


def test_a_descriptor(image):
    assert build(DescriptorSettings(kind="hog", patch=4), CPU)(image).shape == (2, 18, 8, 16)


def test_a_network_of_the_user_s(local, image):
    backbone = build(local(output=0), CPU)
    assert backbone.name == "network-output0-patch8"
    features = backbone(image)
    assert torch.equal(features, 2 * torch.nn.functional.avg_pool2d(image, 8))  # without dropout
    assert not features.requires_grad
    assert build(local(output=1, patch=16), CPU)(image).shape == (2, 3, 2, 4)


def test_its_weights_are_what_the_function_is_called_with(local, image, tmp_path):
    (tmp_path / "weights").write_text("3.0")
    features = build(local(output=0, weights=tmp_path / "weights"), CPU)(image)
    assert torch.equal(features, 3 * torch.nn.functional.avg_pool2d(image, 8))


def test_what_is_no_module_will_do(local, image):
    assert build(local("plain"), CPU)(image).dtype == torch.float32


@pytest.mark.parametrize(
    ("function", "fields", "said"),
    [
        ("fails", {}, r"network.py:fails raises RuntimeError: no weights\nfor you"),
        ("missing", {}, r"network.py:missing raises AttributeError: .*missing"),
        ("number", {}, "returns a int; accepted: what can be called"),
        ("load", {}, r"network-patch8 gives 2 of them; accepted: features \[B, C, h, w\]"),
        ("load", {"output": 2}, "output is 2, and network-output2-patch8 gives 2 of them"),
        ("load", {"output": 1}, r"gives \[2, 3, 2, 4\] for 2 images of 32 × 64 pixels; accepted: .* \[2, C, 4, 8\]"),
    ],
)
def test_what_gives_no_features_is_refused(function, fields, said, local, image):
    with pytest.raises(InputError, match=said):
        build(local(function, **fields), CPU)(image)


def test_the_street_scenes_network(shared):
    settings = LocalSettings(kind="local", function=f"{shared}/models/street_scenes.py:load", output=1, patch=16)
    assert build(settings, CPU)(torch.rand(1, 3, 64, 64)).shape == (1, 192, 4, 4)
